# Licensed under a 3-clause BSD style license - see LICENSE
"""
Patches of a collection that does not fit into memory.
"""

import signal

import numpy as np
import torch
from scipy.ndimage import uniform_filter
from torch.utils.data import DataLoader, Dataset

from ..utils.checks import check_integer, check_number
from .augmentation import rotate_patch, thin_patch
from .patches import PatchSampler, TrainingFrame

__all__ = ['StreamSampler', 'source_cells', 'training_frames']

# Means over so many pixels on a side show sources, where they are so many of their standard deviations above the sky.
# Noise alone does it in a millionth of the places, so that patches are not chosen by their noise.
_SMOOTHED, _SIGNIFICANT = 5, 5.0
_CELL = 8   # pixels: height and width of the cells that count as sources
_LEAST_SHARE = 0.5   # of the exposure that thinning leaves


def source_cells(frame):
    """
    Find the cells of a frame that have a source in them.

    Parameters
    ----------
    frame : TrainingFrame
        The frame.

    Returns
    -------
    `~numpy.ndarray` of int
        First row and column of each cell, shape (n, 2).
    """
    z, seen = (frame.planes[i].numpy() for i in (0, 1))
    mean, share = (uniform_filter(values, _SMOOTHED, mode='constant') for values in (z * seen, seen))
    with np.errstate(divide='ignore', invalid='ignore'):
        significance = np.where(share > 0.5, mean / np.sqrt(share) * _SMOOTHED, 0)
    height, width = (n // _CELL * _CELL for n in significance.shape)
    cells = significance[:height, :width].reshape(height // _CELL, _CELL, width // _CELL, _CELL)
    return np.argwhere(cells.max(axis=(1, 3)) > _SIGNIFICANT).astype(np.int16) * _CELL


def training_frames(blocks, n, whiten=True, held_out=0.0):
    """
    Make the n-th block of a collection ready for training.

    Parameters
    ----------
    blocks : `~astropy_n2v.collections.CollectionBlocks`
        Where blocks come from.
    n : int
        Which.
    whiten : bool, optional
        If true, whiten the noise where it is correlated.
    held_out : float, optional
        Fraction of the pixels that are held out.

    Returns
    -------
    list of TrainingFrame
        With the additional attribute ``sources``, from `source_cells`.
    """
    frames = []
    rng = np.random.default_rng([blocks.seed, n])
    for plane in blocks.planes(n):
        frame = TrainingFrame(plane.values, plane.noise, plane.mask, held_out=held_out, rng=rng, whiten=whiten)
        frame.sources = source_cells(frame)
        frames.append(frame)
    return frames


class _Blocks(Dataset):
    """The blocks of a collection from some number on, in the form of torch."""

    def __init__(self, blocks, first, whiten):
        self.blocks, self.first, self.whiten = blocks, first, whiten

    def __len__(self):
        return 2 ** 31   # epoch after epoch

    def __getitem__(self, n):
        return training_frames(self.blocks, self.first + n, self.whiten)


def _as_it_is(value):
    return value


def _ignore_signals(worker):
    """Leave signals, which terminals and batch systems send to all processes, to the one that trains and ends these."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Only once: SIGTERM is how an interpreter that exits ends its processes.
    signal.signal(signal.SIGTERM, lambda number, frame: signal.signal(number, signal.SIG_DFL))


class StreamSampler(PatchSampler):
    """
    Draws batches of patches from a pool of blocks of a collection, which is renewed block by block.

    Memory is needed for the pool alone, however many frames there are. The random state and the number of
    draws decide which patches are drawn; processes that read ahead do not change it.

    Parameters
    ----------
    blocks : `~astropy_n2v.collections.CollectionBlocks`
        Where blocks come from.
    patch_size, batch_size : int
        Height and width of a patch, and patches in a batch.
    rng : `~numpy.random.Generator`
        Source of randomness.
    pool : int, optional
        Number of blocks in memory; 7 MB each, of 512 pixels.
    patches_per_block : int, optional
        Patches that are drawn for each block that is read.
    workers : int, optional
        Processes that read ahead; 0 to read in this one.
    source_share : float, optional
        Share of the patches that are drawn around sources, from all parts of them alike; the others are drawn from all
        pixels alike. Sky, of which there is most, has least to be learned.
    thinning : float, optional
        Share of the patches that are made to be of shorter exposures, by half at most: see
        `~astropy_n2v.training.augmentation.thin_patch`.
    rotation, shift : float, optional
        Largest angle in degrees and largest shift in pixels by which patches are interpolated. It correlates the noise,
        which a blind-spot network then predicts; so they are 0.
    whiten : bool, optional
        If true, whiten the noise where it is correlated.

    Raises
    ------
    ValueError
        If an option is out of its range, or no block has anything to train on.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from astropy_n2v.collections import CollectionBlocks, make_manifest
    >>> from astropy_n2v.simulate import make_scene
    >>> from astropy_n2v.training.streaming import StreamSampler
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     make_scene('survey', (96, 96), seed=1).observe(seed=1).write(Path(directory) / 'a.fits')
    ...     sampler = StreamSampler(CollectionBlocks(make_manifest(directory)), 32, 4, np.random.default_rng(0))
    ...     batch = sampler.draw()
    >>> batch.shape
    torch.Size([4, 7, 32, 32])
    """

    def __init__(self, blocks, patch_size, batch_size, rng, *, pool=32, patches_per_block=64, workers=0,
                 source_share=0.5, thinning=0.25, rotation=0.0, shift=0.0, whiten=True):
        super().__init__([], patch_size, batch_size, rng)
        self.workers = check_integer('workers', workers, 0)
        patches_per_block = check_integer('patches_per_block', patches_per_block, 1)
        self.source_share, self.thinning = (
            check_number(name, value, 'between 0 and 1', lambda value: 0 <= value <= 1)
            for name, value in (('source_share', source_share), ('thinning', thinning)))
        self.rotation, self.shift = (check_number(name, value, 'a number from 0 on', lambda value: value >= 0)
                                     for name, value in (('rotation', rotation), ('shift', shift)))
        self.blocks, self.whiten = blocks, whiten
        self.pool = min(check_integer('pool', pool, 1), len(blocks))
        # Of a collection that fits into the pool, nothing need be read again.
        self.renew_every = 0 if self.pool == len(blocks) else max(1, round(patches_per_block / batch_size))
        self.drawn = 0
        self._fill(0)

    def _fill(self, renewed):
        """Read the pool as it is after so many blocks of it were renewed."""
        self._slots = [[] for _ in range(self.pool)]
        stream = iter(self._loader(renewed))
        # The n-th block goes to the slot n modulo the size of the pool.
        for n in range(renewed, renewed + self.pool):
            self._slots[n % self.pool] = next(stream)
        self._stream = stream if self.renew_every else None
        self._list()

    def _loader(self, first):
        context = {'multiprocessing_context': 'spawn', 'prefetch_factor': 2} if self.workers else {}
        # With a generator of its own, the global random state of torch stays as it is.
        return DataLoader(_Blocks(self.blocks, first, self.whiten), batch_size=None, collate_fn=_as_it_is,
                          num_workers=self.workers, generator=torch.Generator(), worker_init_fn=_ignore_signals,
                          **context)

    def _list(self):
        self.frames = [frame for frames in self._slots for frame in frames]
        valid = np.array([frame.n_valid for frame in self.frames], dtype=float)
        sources = np.array([len(frame.sources) for frame in self.frames], dtype=float)
        if not valid.any():
            raise ValueError('blocks must have something to train on, got none with pixels that count')
        self._shares = valid / valid.sum(), sources / max(sources.sum(), 1)

    def _renew(self):
        n = self.pool + self.drawn // self.renew_every - 1
        self._slots[n % self.pool] = next(self._stream)
        self._list()

    def _near_source(self, frame):
        """Draw the first row and column of a patch that has some source in it, anywhere."""
        size = self.patch_size
        cell = frame.sources[self.rng.integers(len(frame.sources))]
        starts = (int(first) + _CELL // 2 - int(self.rng.integers(size)) for first in cell)
        return tuple(min(max(start, -size // 8), max(0, n - size + size // 8))
                     for start, n in zip(starts, frame.planes.shape[1:]))

    def _patch(self, frame, place=None):
        patch = super()._patch(frame, place)
        if self.rng.random() < self.thinning and not frame.whitened:
            patch = thin_patch(patch, self.rng.uniform(_LEAST_SHARE, 1), self.rng)
        if self.rotation or self.shift:
            patch = rotate_patch(patch, self.rng.uniform(-self.rotation, self.rotation),
                                 self.rng.uniform(-self.shift, self.shift, 2))
        return patch

    def draw(self):
        """
        Draw a batch, and renew a block of the pool when it is due.

        Returns
        -------
        tensor
            Planes of shape (batch_size, 7, patch_size, patch_size).
        """
        if self.drawn and self.renew_every and self.drawn % self.renew_every == 0:
            self._renew()
        self.drawn += 1
        by_pixels, by_sources = self._shares
        patches = []
        for around in self.rng.random(self.batch_size) < self.source_share:
            around = around and by_sources.any()
            i = self.rng.choice(len(self.frames), p=by_sources if around else by_pixels)
            patches.append(self._patch(self.frames[i], self._near_source if around else self._anywhere))
        return torch.stack(patches)

    def close(self):
        """End the processes that read ahead; nothing can be drawn any more."""
        self._stream = None

    @property
    def state(self):
        """Return the random state and the number of draws, to resume from."""
        return {'rng': self.rng.bit_generator.state, 'drawn': self.drawn}

    @state.setter
    def state(self, state):
        self.rng.bit_generator.state = state['rng']
        self.drawn = state['drawn']
        if self.renew_every:
            self._fill(max(self.drawn - 1, 0) // self.renew_every)
