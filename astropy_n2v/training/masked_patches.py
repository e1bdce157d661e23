# Licensed under a 3-clause BSD style license - see LICENSE
"""
Patches with hidden pixels, for the classical strategies: from frames in memory, or from the blocks of a collection.
"""

import numpy as np
import torch

from ..utils.checks import check_integer

__all__ = ['BlockPatches', 'HiddenError', 'MaskedPatches', 'hidden_error']


class MaskedPatches:
    """
    Draws batches of patches from scaled frames, and hides pixels of them.

    Borders of frames are reflected into patches that are larger.

    Parameters
    ----------
    frames : list of tuple of `~numpy.ndarray`
        Scaled image, shape (channels, ny, nx), and the pixels that may be hidden and count then, bool of shape
        (ny, nx).
    masking : Masking
        How pixels are hidden.
    size, batch_size : int
        Height and width of a patch, and patches in a batch.
    masked : float
        Share of the pixels that are hidden.
    rng : `~numpy.random.Generator`
        Source of randomness.

    Raises
    ------
    ValueError
        If no pixel may be hidden.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.training.masked_patches import MaskedPatches
    >>> from astropy_n2v.training.masking import Masking
    >>> rng = np.random.default_rng(0)
    >>> frame = rng.normal(size=(1, 40, 40)), np.ones((40, 40), dtype=bool)
    >>> inputs, targets, chosen = MaskedPatches([frame], Masking(), 32, 2, 0.1, rng).draw()
    >>> inputs.shape, bool((inputs == targets)[chosen == 0].all())
    (torch.Size([2, 1, 32, 32]), True)
    """

    def __init__(self, frames, masking, size, batch_size, masked, rng):
        self.masking, self.size, self.batch_size, self.masked, self.rng = masking, size, batch_size, masked, rng
        # An autocorrelation is the same after half a turn, and after nothing else: that along rows must stay there.
        self.turns, self.flips = ((0, 1, 2, 3), (1, -1)) if masking.struct is None else ((0, 2), (1,))
        self._use(frames)

    def _use(self, frames):
        weights = np.array([counts.sum() for _, counts in frames], dtype=float)
        if not weights.any():
            raise ValueError('images must have pixels that count, got none: the masks cover all')
        padding = [[(0, max(self.size - n, 0)) for n in counts.shape] for _, counts in frames]
        self.frames = [(np.pad(z, [(0, 0), *pad], mode='symmetric'), np.pad(counts, pad)) if np.any(pad) else
                       (z, counts) for (z, counts), pad in zip(frames, padding)]
        self.share = weights / weights.sum()

    @property
    def state(self):
        """Return the random state, to resume from."""
        return self.rng.bit_generator.state

    @state.setter
    def state(self, state):
        self.rng.bit_generator.state = state

    def draw(self):
        """
        Draw a batch.

        Returns
        -------
        inputs : tensor
            Patches without the hidden pixels, shape (n, channels, size, size).
        targets : tensor
            Patches as they are, of the same shape.
        chosen : tensor
            1 where hidden pixels count, else 0, shape (n, 1, size, size).
        """
        parts = [self._patch() for _ in range(self.batch_size)]
        return tuple(torch.from_numpy(np.stack(plane).astype(np.float32)) for plane in zip(*parts))

    def _patch(self):
        rng, size = self.rng, self.size
        for _ in range(20):   # a patch without a pixel that counts teaches nothing
            z, counts = self.frames[rng.choice(len(self.frames), p=self.share)]
            y, x = (int(rng.integers(n - size + 1)) for n in counts.shape)
            part = slice(y, y + size), slice(x, x + size)
            if counts[part].any():
                break
        turn, flip = self.turns[rng.integers(len(self.turns))], self.flips[rng.integers(len(self.flips))]
        z, counts = (np.rot90(plane[..., *part], turn, axes=(-2, -1))[..., ::flip, :] for plane in (z, counts))
        coordinates = np.argwhere((rng.random(counts.shape) < self.masked) & counts)
        chosen = np.zeros((1, *counts.shape), dtype=bool)
        chosen[0, *coordinates.T] = True
        return self.masking.hide(z, coordinates, rng), z, chosen


class BlockPatches(MaskedPatches):
    """
    Draw batches of patches from a pool of blocks of a collection, which is renewed block by block.

    Parameters
    ----------
    read : callable
        Returns the frames of the n-th block, as ``MaskedPatches`` takes them: a list, empty where none of its pixels
        count. From ``n_blocks`` on, blocks come again.
    n_blocks : int
        Number of different blocks.
    *options : object
        ``masking``, ``size``, ``batch_size``, ``masked`` and ``rng``, see ``MaskedPatches``.
    pool : int, optional
        Number of blocks in memory.
    patches_per_block : int, optional
        Patches that are drawn for each block that is read.

    Raises
    ------
    ValueError
        If an option is out of its range, or no pixel counts.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.training.masked_patches import BlockPatches
    >>> from astropy_n2v.training.masking import Masking
    >>> def read(n):
    ...     return [(np.full((1, 40, 40), float(n)), np.ones((40, 40), dtype=bool))]
    >>> patches = BlockPatches(read, 6, Masking(), 32, 2, 0.1, np.random.default_rng(0), pool=2, patches_per_block=2)
    >>> for _ in range(12):   # a new block for each batch of two
    ...     _, targets, _ = patches.draw()
    >>> set(targets.unique().tolist()) <= {11, 12}
    True
    """

    def __init__(self, read, n_blocks, *options, pool=32, patches_per_block=64):
        self.read, self.pool = read, min(check_integer('pool', pool, 1), n_blocks)
        self.drawn = 0
        self._slots = [read(n) for n in range(self.pool)]
        super().__init__(self._listed(), *options)
        per_batch = round(check_integer('patches_per_block', patches_per_block, 1) / self.batch_size)
        # Of a collection that fits into the pool, nothing need be read again.
        self.renew_every = 0 if self.pool == n_blocks else max(1, per_batch)

    def _listed(self):
        return [frame for frames in self._slots for frame in frames]

    def _read_slot(self, n):
        """Read the n-th block; its slot is n modulo the size of the pool."""
        self._slots[n % self.pool] = self.read(n)

    def draw(self):
        """
        Draw a batch, and renew a block of the pool when it is due.

        Returns
        -------
        tuple of tensor
            Inputs, targets and chosen pixels, as from ``MaskedPatches.draw``.
        """
        if self.drawn and self.renew_every and self.drawn % self.renew_every == 0:
            self._read_slot(self.pool + self.drawn // self.renew_every - 1)
            self._use(self._listed())
        self.drawn += 1
        return super().draw()

    @property
    def state(self):
        """Return the random state and the number of draws, to resume from."""
        return {'rng': self.rng.bit_generator.state, 'drawn': self.drawn}

    @state.setter
    def state(self, state):
        self.rng.bit_generator.state, self.drawn = state['rng'], state['drawn']
        if self.renew_every:
            renewed = max(self.drawn - 1, 0) // self.renew_every
            for n in range(renewed, renewed + self.pool):
                self._read_slot(n)
            self._use(self._listed())


def hidden_error(predicted, targets, chosen):
    """
    Compute the mean squared error of the pixels that are hidden.

    Parameters
    ----------
    predicted : tensor
        Output of a network for the inputs of a batch of `MaskedPatches`, shape (n, channels, size, size).
    targets, chosen : tensor
        The others of the batch.

    Returns
    -------
    tensor
        A single value, in units of the variance of the training frames.

    Examples
    --------
    >>> import torch
    >>> from astropy_n2v.training.masked_patches import hidden_error
    >>> hidden_error(torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), torch.eye(2)[None, None]).item()
    1.0
    """
    return (chosen * (predicted - targets) ** 2).sum() / (chosen.sum() * targets.shape[1]).clamp(min=1)


class HiddenError:
    """
    Judges a network by the squared error of the same hidden pixels each time.

    Parameters
    ----------
    patches : MaskedPatches
        Patches of the pixels that are held out.
    batches : int, optional
        Number of batches.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.networks import UNet
    >>> from astropy_n2v.training.masked_patches import HiddenError, MaskedPatches
    >>> from astropy_n2v.training.masking import Masking
    >>> rng = np.random.default_rng(0)
    >>> frame = rng.normal(size=(1, 40, 40)), np.ones((40, 40), dtype=bool)
    >>> judge = HiddenError(MaskedPatches([frame], Masking(), 32, 2, 0.1, rng))
    >>> 0.5 < judge(UNet(levels=2, base=4)) < 2
    True
    """

    def __init__(self, patches, batches=4):
        self.batches = [patches.draw() for _ in range(batches)]

    def __call__(self, network):
        """Return the mean squared error, in units of the variance of the training frames."""
        network.eval()
        device = next(network.parameters()).device
        with torch.inference_mode():
            return float(np.mean([float(hidden_error(network(inputs), targets, chosen)) for inputs, targets, chosen in
                                  ((plane.to(device) for plane in batch) for batch in self.batches)]))
