# Licensed under a 3-clause BSD style license - see LICENSE
"""
Frames in units of their noise, and the patches that training draws from them.
"""

from dataclasses import replace

import numpy as np
import torch

from ..inference.normalization import NormalizedImage
from ..inference.whitened_image import whiten_image

__all__ = ['PatchSampler', 'TrainingFrame', 'likelihood_noise', 'split_planes']

# Planes of a frame: what a patch is cut from.
_Z, _SEEN, _WEIGHT, _V0, _SLOPE, _ZERO, _VARIANCE = range(7)


class TrainingFrame:
    """
    A frame in units of its sky noise, with the parameters of its noise.

    Parameters
    ----------
    data : `~numpy.ndarray`
        Image of shape (ny, nx).
    noise : `~astropy_n2v.NoiseModel`
        Its noise, in data units.
    mask : `~numpy.ndarray` of bool, optional
        True where the data do not count.
    held_out : float, optional
        Fraction of the valid pixels that the loss never sees; they judge.
    rng : `~numpy.random.Generator`, optional
        Draws the pixels held out.
    signal : `~numpy.ndarray`, optional
        Signal that the variance of the noise of a simulated image follows where it is whitened; by default the
        prediction.
    whiten : bool, optional
        If true, whiten the noise where it is correlated.

    Attributes
    ----------
    planes : tensor
        Shape (7, ny, nx): value, may be seen, weight in the loss, noise parameters, and the variance of the noise
        where it is known better than from these, else 0. Where the noise is correlated, of the whitened image, which is
        somewhat larger.
    held_out : tensor
        Weight of each pixel in the judgement, of that shape.
    held_out_pixels : `~numpy.ndarray` of bool
        The pixels of the image that are held out.
    n_valid : int
        Number of pixels that may be seen.
    whitened : bool
        True if the noise was correlated.
    """

    def __init__(self, data, noise, mask=None, *, held_out=0.0, rng=None, signal=None, whiten=True):
        image = NormalizedImage.prepare(data, noise, mask)
        pad, variance = 0, 0.0
        whitened = whiten_image(image) if whiten else None
        if whitened is not None:
            if signal is not None:
                z = replace(image, data=signal, valid=np.ones(image.shape, dtype=bool)).values()
                variance = whitened.variance(np.pad(z, whitened.pad, mode='edge'))
            image, pad = whitened.white, whitened.pad
        z, seen, (v0, slope, zero) = image.values(), image.seen, image.noise_parameters()
        held_out_pixels = np.zeros(seen.shape, dtype=bool)
        if held_out:
            held_out_pixels = seen & (rng.random(seen.shape) < held_out)
        planes = [z, seen, seen & ~held_out_pixels, v0, slope, zero, variance]
        self.planes = torch.from_numpy(np.stack([np.broadcast_to(plane, z.shape).astype(np.float32)
                                                 for plane in planes]))
        self.held_out_pixels = held_out_pixels[pad:held_out_pixels.shape[0] - pad, pad:held_out_pixels.shape[1] - pad]
        self.held_out = torch.from_numpy(held_out_pixels.astype(np.float32))
        self.n_valid = int(seen.sum())
        self.whitened = whitened is not None


def split_planes(planes):
    """Split planes of shape (n, 7, h, w) into a dictionary of tensors of shape (n, 1, h, w)."""
    names = ('z', 'seen', 'weight', 'v0', 'slope', 'zero', 'variance')
    return dict(zip(names, planes.split(1, dim=1)))


def likelihood_noise(planes):
    """
    Compute the parameters of the noise for the likelihood.

    Parameters
    ----------
    planes : dict of tensor
        From `split_planes`.

    Returns
    -------
    dict of tensor
        ``v0``, ``slope`` and ``zero``; where the variance is known, it is ``v0`` and does not grow with the prediction.
    """
    known = planes['variance'] > 0
    return {'v0': torch.where(known, planes['variance'], planes['v0']),
            'slope': torch.where(known, 0, planes['slope']), 'zero': planes['zero']}


class PatchSampler:
    """
    Draws batches of patches from frames, flipped and turned at random.

    Only what leaves the noise of neighbouring pixels independent is done to a patch: no
    rotation by other angles, no sub-pixel shift.

    Parameters
    ----------
    frames : list of TrainingFrame
        Frames to draw from, in proportion to their valid pixels. The list may be changed
        between draws.
    patch_size : int
        Height and width of a patch.
    batch_size : int
        Patches in a batch.
    rng : `~numpy.random.Generator`
        Source of randomness.
    mask_probability : float, optional
        Probability that random regions of a patch are hidden from the network, as by a
        mask or the border of an image.
    """

    def __init__(self, frames, patch_size, batch_size, rng, *, mask_probability=0.3):
        self.frames = frames
        self.patch_size = patch_size
        self.batch_size = batch_size
        self.rng = rng
        self.mask_probability = mask_probability

    def close(self):
        """Release what draws need; nothing can be drawn any more."""

    @property
    def state(self):
        """Return the random state, to resume from."""
        return self.rng.bit_generator.state

    @state.setter
    def state(self, state):
        self.rng.bit_generator.state = state

    def _anywhere(self, frame):
        """Draw the first row and column of a patch, which may hang over the edge, so that borders are learned, too."""
        size = self.patch_size
        return tuple(int(self.rng.integers(-size // 8, max(1, n - size + size // 8 + 1)))
                     for n in frame.planes.shape[1:])

    def _patch(self, frame, place=None):
        size = self.patch_size
        for _ in range(20):
            y, x = (place or self._anywhere)(frame)
            inside = frame.planes[:, max(y, 0):y + size, max(x, 0):x + size]
            if inside[_WEIGHT].sum() > 0:
                break
        patch = frame.planes.new_zeros((len(frame.planes), size, size))
        patch[_V0] = 1
        y0, x0 = max(-y, 0), max(-x, 0)
        patch[:, y0:y0 + inside.shape[1], x0:x0 + inside.shape[2]] = inside
        if self.rng.random() < self.mask_probability:
            self._hide(patch)
        turns, flip = self.rng.integers(4), self.rng.integers(2)
        patch = torch.rot90(patch, int(turns), dims=(1, 2))
        return patch.flip(2) if flip else patch

    def _hide(self, patch):
        """Hide a few pixels, a rectangle or a column."""
        size, rng = self.patch_size, self.rng
        hidden = torch.zeros((size, size), dtype=torch.bool)
        draw = rng.random()
        if draw < 0.4:
            hidden |= torch.from_numpy(rng.random((size, size)) < 10 ** rng.uniform(-3, -1))
        if draw > 0.3:
            y, x = rng.integers(0, size, 2)
            height, width = (1 + rng.exponential(size / 8, 2)).astype(int)
            if rng.random() < 0.4:
                y, height = 0, size
                width = min(width, 3)
            hidden[y:y + height, x:x + width] = True
        patch[_SEEN][hidden] = 0
        patch[_WEIGHT][hidden] = 0

    def draw(self):
        """
        Draw a batch.

        Returns
        -------
        tensor
            Planes of shape (batch_size, 7, patch_size, patch_size).
        """
        share = np.array([frame.n_valid for frame in self.frames], dtype=float)
        chosen = self.rng.choice(len(self.frames), self.batch_size, p=share / share.sum())
        return torch.stack([self._patch(self.frames[i]) for i in chosen])
