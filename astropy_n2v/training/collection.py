# Licensed under a 3-clause BSD style license - see LICENSE
"""
Training on a catalogue of frames that need not fit into memory.
"""

import hashlib
import json

from ..collections import CollectionBlocks
from ..utils.checks import check_integer, parse_hole
from .checkpoints import training_identity
from .options import check_training_options
from .processes import Processes
from .streaming import StreamSampler, training_frames
from .train import STAR_SHARE, find_start, train_on_frames

__all__ = ['CollectionFrames', 'train_collection']

# Blocks of the validation frames that judge, and how many are looked at for so many that can be used.
_JUDGES, _LOOKED_AT = 8, 64


class CollectionFrames:
    """
    Frames of a collection to train on, of which a pool of blocks is in memory.

    Parameters
    ----------
    training, validation : `~astropy_n2v.collections.CollectionBlocks`
        Blocks to train on, and those that judge.
    **options
        Options of `~astropy_n2v.training.streaming.StreamSampler`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from astropy_n2v.collections import CollectionBlocks, make_manifest
    >>> from astropy_n2v.simulate import make_scene
    >>> from astropy_n2v.training.collection import CollectionFrames
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     for n in range(2):
    ...         make_scene('survey', (96, 96), seed=n).observe(seed=n).write(Path(directory) / f'{n}.fits')
    ...     manifest = make_manifest(directory)
    ...     frames = CollectionFrames(CollectionBlocks(manifest[:1]), CollectionBlocks(manifest[1:]), thinning=0.0)
    ...     judges = frames.prepare(0.0, None, whiten=True)
    ...     patches = frames.sampler(32, 2, np.random.default_rng(0)).draw()
    >>> len(frames), len(judges), patches.shape
    (1, 1, torch.Size([2, 7, 32, 32]))
    """

    def __init__(self, training, validation, **options):
        self.training, self.validation, self.options = training, validation, options
        self.whiten = True

    def __len__(self):
        return len(self.training.images)

    def prepare(self, held_out, rng, whiten):
        """
        Read the frames that judge.

        Parameters
        ----------
        held_out, rng : optional
            Not used: all pixels of the validation frames are held out.
        whiten : bool
            Whether to whiten noise.

        Returns
        -------
        list of TrainingFrame
            Blocks of validation frames.
        """
        self.whiten = whiten
        found = []
        for n in range(min(len(self.validation), _LOOKED_AT)):
            found += training_frames(self.validation, n, whiten, held_out=1.0)
            if len(found) >= _JUDGES:
                break
        if not found:
            raise ValueError('split must have validation frames with pixels that count, got none')
        return found[:_JUDGES]

    def sampler(self, size, batch_size, rng):
        """
        Make the source of patches.

        Parameters
        ----------
        size, batch_size : int
            Height and width of patches, and their number in a batch.
        rng : `~numpy.random.Generator`
            Source of randomness.

        Returns
        -------
        StreamSampler
            The source.
        """
        return StreamSampler(self.training, size, batch_size, rng, whiten=self.whiten, **self.options)

    def images(self):
        """
        Read images to inject stars into: blocks of the validation frames.

        Yields
        ------
        tuple
            Image, its `~astropy_n2v.NoiseModel`, and its mask.
        """
        for n in range(min(len(self.validation), _LOOKED_AT)):
            for plane in self.validation.planes(n):
                yield plane.values, plane.noise, plane.mask

    def held_out(self):
        """Return None: the frames that judge are not those that were trained on."""

    def identity(self, **options):
        """
        Name the data and options that a checkpoint belongs to.

        Parameters
        ----------
        **options
            Options of the training.

        Returns
        -------
        dict
            A digest of data, noise and way of loading each, and the options.
        """
        blocks = self.training, self.validation
        # The seed of the blocks to train on depends on the process.
        data = [[block.contents, block.block_size, self.validation.seed] for block in blocks]
        # How many processes read does not matter.
        own = {name: value for name, value in self.options.items() if name != 'workers'}
        return {**training_identity([], **options), **{
            name: hashlib.sha256(json.dumps(values, default=str).encode()).hexdigest()[:16]
            for name, values in (('data', data), ('noise', [block.noise for block in blocks]), ('loading', own))}}


def train_collection(manifest, split, *, init=None, hole=None, seed=None, device=None, progress_bar=False,
                     ignore_bits=0, satlevel=None, noise=None, gain=None, readnoise=None, block_size=512, loading=None,
                     **options):
    """
    Train a blind-spot network on the frames of a catalogue.

    Blocks of the frames are read from the files as they are needed, so that memory does not grow with their number.
    Validation frames judge, all of their pixels; test frames are not touched. Processes that torchrun started train one
    network together, each on blocks in an order of its own, and each returns it.

    Parameters
    ----------
    manifest : `~astropy.table.Table`
        From `~astropy_n2v.collections.make_manifest`.
    split : `~astropy_n2v.collections.Split`
        From `~astropy_n2v.collections.split_manifest`.
    init, hole, seed, device, progress_bar : optional
        As for `astropy_n2v.train`.
    ignore_bits : int, str, list of int or None, optional
        See `~astropy_n2v.io.read_fits_images`.
    satlevel, noise, gain, readnoise : optional
        As for `astropy_n2v.denoise`, for all frames.
    block_size : int, optional
        Height and width of the blocks that are read, in pixels.
    loading : dict, optional
        Options of `~astropy_n2v.training.streaming.StreamSampler`: ``pool``, ``patches_per_block``, ``workers``,
        ``source_share``, ``thinning``, ``rotation``, ``shift``.
    **options
        As for `astropy_n2v.train`, but for ``held_out``.

    Returns
    -------
    Denoiser
        The trained model; its metadata say how, and if it is better than the shipped one on the validation frames
        (``against_default``).

    Raises
    ------
    ValueError
        If the split has no training or no validation frames that can be used, or an option is out of its range.
    OSError
        If a file cannot be read any more.
    TypeError
        If there is no such option.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from astropy_n2v.collections import make_manifest, split_manifest
    >>> from astropy_n2v.simulate import make_scene
    >>> from astropy_n2v.training.collection import train_collection
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     for n in range(3):
    ...         make_scene('survey', (64, 64), seed=n).observe(seed=n).write(Path(directory) / f'{n}.fits')
    ...     manifest = make_manifest(directory)
    ...     denoiser = train_collection(manifest, split_manifest(manifest), max_steps=2, patch_size=32, batch_size=2)
    >>> denoiser.metadata['images']
    1
    """
    check_training_options(options)
    if 'held_out' in options:
        raise TypeError("'held_out' is no keyword: the validation frames are held out")
    seed = check_integer('seed', seed, 0) or 0
    reading = {'ignore_bits': ignore_bits, 'satlevel': satlevel, 'noise': noise, 'gain': gain, 'readnoise': readnoise,
               'block_size': block_size}
    processes = Processes.joined()
    frames = CollectionFrames(*(CollectionBlocks(split.rows(manifest, name), seed=own, **reading)
                                for name, own in (('train', seed + processes.rank), ('validation', seed))),
                              **(loading or {}))
    init, hole, whiten = find_start(init, parse_hole(hole))
    denoiser = train_on_frames(frames, init=init, hole=hole, whiten=whiten, seed=seed, device=device,
                               progress_bar=progress_bar, compare=True, processes=processes,
                               **{'star_share': STAR_SHARE, **options})
    denoiser.metadata['images'] = len(frames)
    return denoiser
