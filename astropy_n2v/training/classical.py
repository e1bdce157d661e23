# Licensed under a 3-clause BSD style license - see LICENSE
"""
Noise2Void as it was first: a plain U-Net, from whose input some pixels are hidden.

Pixels that are drawn at random are replaced, and the network learns to predict what was there; only these count in the
loss. It states no uncertainty, and does not use the measurement of the pixel itself. For comparison: the blind-spot
networks of `astropy_n2v.train` learn from all pixels at once, and know the noise.
"""

import hashlib
import json
import logging
import warnings
from functools import partial

import numpy as np
import torch

from ..collections import CollectionBlocks, read_section
from ..containers.container import Container
from ..denoiser import ClassicalDenoiser, select_device
from ..exceptions import CannotDenoiseError
from ..inference.plain import LinearScale, predict_plain
from ..networks import UNet, isolated_rng
from ..planes import find_planes, group_channels
from ..utils.checks import check_integer, check_number
from ..utils.names import printable
from ..utils.warn import warn_user
from .checkpoints import pixels_identity
from .loop import Trainer
from .masked_patches import BlockPatches, HiddenError, MaskedPatches, hidden_error
from .masking import STRATEGIES, STRATEGY_NAMES, Masking
from .monitor import Monitor
from .options import CLASSICAL_DEFAULTS, check_training_options
from .processes import Processes

__all__ = ['STRATEGIES', 'STRATEGY_NAMES', 'Masking', 'train_classical', 'train_classical_collection']

log = logging.getLogger(__name__)

_JUDGEMENTS = 20   # in a training, as of `astropy_n2v.train`
# Blocks of the validation frames that judge, and how many are looked at for so many that can be used.
_JUDGES, _LOOKED_AT = 8, 64


def train_classical(images, strategy='uniform', *, struct=None, roi_size=11, masked=0.02, channels=1, mask=None,
                    satlevel=None, names=None, seed=0, device=None, progress_bar=False, **options):
    """
    Train a plain U-Net by one of the classical strategies.

    Parameters
    ----------
    images : image or list of images
        Frames as `astropy_n2v.denoise` takes them. Of several, those that are constant, fully masked or the like are
        left out with a warning.
    strategy : {'uniform', 'median', 'struct', 'n2v', 'n2v2', 'structn2v'}, optional
        See ``STRATEGIES`` and, for the last three, ``STRATEGY_NAMES``. With 'median' the network has blur pooling and
        no top skip, as in N2V2.
    struct, roi_size : optional
        See ``Masking``.
    masked : float, optional
        Fraction of the pixels of a patch that are hidden.
    channels : int, optional
        Planes that the network sees and predicts together, such as 3 for colours: images then have the shape
        (..., channels, ny, nx), and the same pixels of all channels are hidden.
    mask : array_like of bool, optional
        True where the frames do not count, in addition to their own masks.
    satlevel : optional
        As for `astropy_n2v.denoise`.
    names : list of str, optional
        Names of the images in warnings; by default their positions.
    seed : int, optional
        Seed of weights and patches.
    device : str, optional
        By default `astropy_n2v.conf.device`.
    progress_bar : bool or callable, optional
        As for `astropy_n2v.train`.
    **options
        ``max_steps`` (by default 2000), ``patch_size`` (64), ``batch_size`` (16), ``learning_rate``,
        ``max_time``, ``patience``, ``min_delta``, ``held_out``, ``amp``, ``checkpoint`` and ``log`` of
        `astropy_n2v.train`; the mean squared error of hidden pixels judges. ``network_options`` are options of
        `~astropy_n2v.networks.UNet`: by default the original's 4 levels, 48 channels at full resolution, no batch
        normalisation, transposed up-sampling.

    Returns
    -------
    ClassicalDenoiser
        It takes the place of a `~astropy_n2v.Denoiser`; results have no uncertainty.

    Raises
    ------
    ValueError
        If an option is out of its range, or the masks cover all pixels.
    CannotDenoiseError
        If no image can be denoised, or one does not have as many channels.
    TypeError
        If there is no such option.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v import denoise
    >>> from astropy_n2v.training.classical import train_classical
    >>> frame = np.random.default_rng(0).normal(100, 5, (48, 48))
    >>> model = train_classical(frame, max_steps=2, patch_size=32, batch_size=2,
    ...                         network_options={'levels': 2, 'base': 4})
    >>> denoise(frame, model).shape
    (48, 48)
    """
    masking = Masking(strategy, roi_size, struct)
    images = images if isinstance(images, (list, tuple)) else [images]
    if not images:
        raise ValueError('images must hold at least one image, got none')
    if names is not None and len(names) != len(images):
        raise ValueError(f'names must have one entry for each of the {len(images)} images, got {len(names)}')
    channels = check_integer('channels', channels, 1)
    frames, used = [], 0
    for i, image in enumerate(images):
        try:
            found = _find_frames(find_planes(Container(image, mask, satlevel))[0], channels)
        except CannotDenoiseError as error:
            if len(images) == 1:
                raise
            warn_user(f'{i if names is None else names[i]}: the image is left out: {error}')
            continue
        frames, used = frames + found, used + 1
    if not frames:
        raise CannotDenoiseError('images must hold at least one that can be denoised, got none')
    return _train(_Frames(frames), masking, channels, masked, seed=seed, device=device, progress_bar=progress_bar,
                  images=used, **options)


def train_classical_collection(manifest, split, strategy='uniform', *, struct=None, roi_size=11, masked=0.02,
                               channels=1, ignore_bits=0, satlevel=None, block_size=512, loading=None, seed=0,
                               device=None, progress_bar=False, **options):
    """
    Train a plain U-Net by one of the classical strategies on the frames of a catalogue.

    Blocks of the frames are read from the files as they are needed. Validation frames judge; test frames are not
    touched.

    Parameters
    ----------
    manifest : `~astropy.table.Table`
        As for `~astropy_n2v.training.collection.train_collection`.
    split : `~astropy_n2v.collections.Split`
        As for `~astropy_n2v.training.collection.train_collection`.
    strategy, struct, roi_size, masked, channels : optional
        As for `train_classical`.
    ignore_bits, satlevel, block_size : optional
        As for `~astropy_n2v.training.collection.train_collection`.
    loading : dict, optional
        ``pool`` and ``patches_per_block`` of `~astropy_n2v.training.masked_patches.BlockPatches`.
    seed, device, progress_bar : optional
        As for `train_classical`.
    **options
        As for `train_classical`, but for ``held_out``.

    Returns
    -------
    ClassicalDenoiser
        The trained model.

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
    >>> from astropy_n2v.training.classical import train_classical_collection
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     for n in range(3):
    ...         make_scene('survey', (64, 64), seed=n).observe(seed=n).write(Path(directory) / f'{n}.fits')
    ...     manifest = make_manifest(directory)
    ...     model = train_classical_collection(manifest, split_manifest(manifest), 'n2v2', max_steps=2, patch_size=32,
    ...                                        batch_size=2, network_options={'levels': 2, 'base': 4})
    >>> model.metadata['images']
    1
    """
    if 'held_out' in options:
        raise TypeError("'held_out' is no keyword: the validation frames are held out")
    masking = Masking(strategy, roi_size, struct)
    channels = check_integer('channels', channels, 1)
    reading = {'ignore_bits': ignore_bits, 'satlevel': satlevel, 'block_size': block_size,
               'seed': check_integer('seed', seed, 0)}
    training, validation = (CollectionBlocks(split.rows(manifest, name), **reading) for name in ('train', 'validation'))
    source = _Blocks(training, validation, channels, loading or {})
    return _train(source, masking, channels, masked, seed=seed, device=device, progress_bar=progress_bar,
                  images=len(training.images), **options)


def _find_frames(planes, channels):
    """Find frames of planes: data of shape (channels, ny, nx), and where each channel counts."""
    frames = []
    for group in group_channels(planes, channels):
        data = np.stack([np.asarray(plane.values) for plane in group])
        bad = [np.broadcast_to(False if plane.mask is None else np.asarray(plane.mask), plane.values.shape)
               for plane in group]
        frames.append((data, np.isfinite(data) & ~np.stack(bad)))
    return frames


class _Frames:
    """Frames that are all in memory, of which some pixels judge."""

    def __init__(self, frames):
        self.frames = frames

    def divide(self, scaled, held_out, rng):
        """Return the function that makes the source of patches, and the frames with the pixels that judge."""
        training, judging = [], []
        for z, counts in map(scaled, self.frames):
            held = counts & (rng.random(counts.shape) < held_out)
            training.append((z, counts & ~held))
            judging.append((z, held))
        if not any(held.any() for _, held in judging):
            raise ValueError(f'held_out must leave some pixels to judge by, got {held_out}, which leaves none')
        return partial(MaskedPatches, training), judging, held_out

    def identity(self):
        """Describe the data that a checkpoint belongs to."""
        return pixels_identity([array for frame in self.frames for array in frame])


class _Blocks:
    """Frames of a collection, of which a pool of blocks is in memory; validation frames judge, all of their pixels."""

    def __init__(self, training, validation, channels, loading):
        self.training, self.validation, self.channels, self.loading = training, validation, channels, loading
        for path, _, shape in training.images + validation.images:
            if channels > 1 and shape[-3:-2] != (channels,):
                raise ValueError(f'channels must be the number of channels of each image, got {channels}: {path} has '
                                 f'the shape {"x".join(map(str, shape))}')
        # The scale of the data is measured on them.
        self.frames = [frame for n in range(min(len(training), _LOOKED_AT)) for frame in self._read(training, n)]
        if not self.frames:
            raise ValueError('split must have training frames with pixels that count, got none')

    def _read(self, blocks, n):
        if self.channels == 1:
            return _find_frames(blocks.planes(n), 1)
        # Blocks are of single planes; of each of them all channels are read.
        image, (*plane, y, x) = blocks.place(n)
        path, ext, shape = blocks.images[image]
        ccd = read_section(path, ext, (*plane[:-1], slice(None), y, x), shape=shape[-2:],
                           ignore_bits=blocks.ignore_bits)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')   # of each block; check_manifest() names the faults of a frame
            try:
                return _find_frames(find_planes(Container(ccd, satlevel=blocks.satlevel))[0], self.channels)
            except CannotDenoiseError as error:
                log.info('a block of %s is left out: %s', printable(path), error)
                return []

    def divide(self, scaled, held_out, rng):
        """Return the function that makes the source of patches to train on, and the frames that judge."""
        judging = []
        for n in range(min(len(self.validation), _LOOKED_AT)):
            judging += map(scaled, self._read(self.validation, n))
            if len(judging) >= _JUDGES:
                break
        if not judging:
            raise ValueError('split must have validation frames with pixels that count, got none')

        def read(n):
            return [scaled(frame) for frame in self._read(self.training, n)]

        return partial(BlockPatches, read, len(self.training), **self.loading), judging, 1.0

    def identity(self):
        """Describe the data that a checkpoint belongs to, and how they are loaded."""
        data = [[blocks.contents, blocks.block_size, blocks.seed] for blocks in (self.training, self.validation)]
        return hashlib.sha256(json.dumps([data, self.loading], default=str).encode()).hexdigest()[:16]


class _ClassicalTrainer(Trainer):
    """The training loop, with the squared error of hidden pixels in place of the likelihood of all."""

    def _losses(self, fraction):
        inputs, targets, chosen = (plane.to(self.device) for plane in self.sampler.draw())
        with self.precision.autocast(fraction):
            predicted = self.parallel(inputs)
        loss = hidden_error(predicted.float(), targets, chosen)
        return loss, loss.detach()


def _train(source, masking, channels, masked, *, images, seed, device, progress_bar, **options):
    """Train on a source of frames."""
    if 'star_share' in options:
        raise TypeError("'star_share' is no keyword of classical strategies: hidden pixels alone judge")
    options = check_training_options({**CLASSICAL_DEFAULTS, **options})
    masked = check_number('masked', masked, 'between 0 and 1', lambda value: 0 < value < 1)
    seed = check_integer('seed', seed, 0) or 0
    processes = Processes.joined()   # before a device is chosen: each has a GPU of its own
    defaults = {'blur_pool': True, 'top_skip': False} if masking.strategy == 'median' else {}
    with isolated_rng(seed):
        network = UNet(channels, channels, **{**defaults, **(options['network_options'] or {})})
    device = select_device(device)
    network.to(device)
    scale = _find_scale(source.frames)

    def scaled(frame):
        data, valid = frame
        return np.where(valid, scale.forward(np.where(valid, data, 0)), 0).astype(np.float32), valid.all(axis=0)

    size, batch_size = -(-options['patch_size'] // network.alignment) * network.alignment, options['batch_size']
    make_patches, judging, share = source.divide(scaled, options['held_out'], np.random.default_rng([seed, 1]))
    # As many of the held-out pixels are hidden at once as of all in training.
    judge = HiddenError(MaskedPatches(judging, masking, size, batch_size, min(masked / share, 1.0),
                                      np.random.default_rng([seed, 2])))
    max_steps = options['max_steps']
    rng = np.random.default_rng((seed, processes.rank) if processes.rank else seed)
    trainer = _ClassicalTrainer(
        network, make_patches(masking, size, -(-batch_size // processes.size), masked, rng), max_steps=max_steps,
        judge=judge if processes.first else None, judge_every=max(max_steps // _JUDGEMENTS, 1), processes=processes,
        **{name: options[name] for name in ('max_time', 'learning_rate', 'patience', 'min_delta', 'amp')})
    checkpoint = options['checkpoint']
    identity = None if checkpoint is None and processes.size == 1 else {
        'data': source.identity(), 'strategy': masking.strategy, 'roi_size': masking.roi_size,
        'covered': masking.covered.tolist(), 'masked': masked, 'patch_size': size, 'batch_size': batch_size,
        'seed': seed, 'processes': processes.size,
        **{name: options[name] for name in ('learning_rate', 'held_out', 'amp')},
        'network': json.dumps(network.config, sort_keys=True)}
    with Monitor(trainer, show=progress_bar if processes.first else False,
                 log=options['log'] if processes.first else None,
                 quantity='squared error / variance of the data') as trainer.progress:
        trainer.run(checkpoint=checkpoint, identity=identity)
    _centre(network, scale, source.frames, device)
    metadata = {'name': f'classical {masking.strategy}', 'strategy': masking.strategy, 'images': images, 'seed': seed,
                'steps': trainer.step, 'held_out_error': trainer.best,
                'scale': [np.squeeze(value).tolist() for value in (scale.mean, scale.deviation)],
                'hole': [1, 1] if masking.struct is None else list(np.shape(masking.struct))}
    # Only the first process has judged.
    return ClassicalDenoiser(network.cpu(), processes.gather(metadata)[0])


def _find_scale(frames):
    """Measure mean and standard deviation of each channel on the valid pixels of frames."""
    pixels = [np.concatenate([data[channel][valid[channel]] for data, valid in frames]).astype(float)
              for channel in range(len(frames[0][0]))]
    return LinearScale(*(np.array([function(values) for values in pixels])[:, None, None]
                         for function in (np.mean, np.std)))


def _centre(network, scale, frames, device):
    """
    Move the last biases so that predictions of the frames have the mean of the data, as the least squared error has.

    Few steps do not get there: a hundredth of a sky of 0.05 photons is a five-hundredth of its noise.
    """
    total = count = 0
    for data, valid in frames:
        predicted = predict_plain(network, scale, data.astype(float), valid, tile_size=1024, device=device)
        total += np.sum(data - predicted, axis=(1, 2), where=valid)
        count += np.sum(valid, axis=(1, 2))
    with torch.no_grad():
        network.last.bias += torch.from_numpy(total / count / np.squeeze(scale.deviation, axis=(1, 2))).to(
            network.last.bias)
