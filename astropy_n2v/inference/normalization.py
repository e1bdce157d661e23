# Licensed under a 3-clause BSD style license - see LICENSE
"""
An image in units of its sky noise, with what is known of it.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import uniform_filter1d

from ..noise import NoiseModel
from .scaling import Scaling

__all__ = ['ScaledImage']

# Without read noise there is none where no light is expected; errors in units of it are to be finite.
_LEAST_VARIANCE = 1e-3
_ROWS = 256
# Pixels whose noise is larger than the scale by more than this do not show the network much but their noise, of a kind
# that it was not trained on: with a single pixel in a hundred ten times noisier, pulls were 7. It does not see them.
_MAX_NOISE = 4.0
# A prediction from fewer visible pixels than this share of 17x17 is made again on the scale of the noisier ones.
_SUPPORT, _SUPPORT_SIZE = 0.6, 17


@dataclass(frozen=True, eq=False)
class ScaledImage:
    """
    An image, which of its pixels count, its noise and its scale.

    Parameters
    ----------
    data : `~numpy.ndarray`
        Values in data units, shape (ny, nx), or (n,) for pixels picked from it.
    valid : `~numpy.ndarray` of bool
        True where they count, of the same shape.
    noise : `~astropy_n2v.NoiseModel`
        Their noise, in data units.
    scaling : Scaling
        From data units to units of the sky noise above the background.
    seen : `~numpy.ndarray` of bool, optional
        True where the network may see them; by default as ``valid``.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v import NoiseModel
    >>> from astropy_n2v.inference.normalization import ScaledImage
    >>> image = ScaledImage.prepare(np.random.default_rng(0).normal(100.0, 5.0, (64, 64)), NoiseModel(5.0))
    >>> round(float(image.values().std()), 1), image.part(slice(0, 8), slice(0, 16)).data.shape
    (1.0, (8, 16))
    """

    data: np.ndarray
    valid: np.ndarray
    noise: NoiseModel
    scaling: Scaling
    seen: np.ndarray = None

    def __post_init__(self):
        if self.seen is None:
            object.__setattr__(self, 'seen', self.valid)

    @classmethod
    def prepare(cls, data, noise, mask=None):
        """
        Find the pixels that count, the level of the sky and its noise.

        Parameters
        ----------
        data : `~numpy.ndarray`
            Image of shape (ny, nx); not finite pixels do not count.
        noise : `~astropy_n2v.NoiseModel`
            Its noise. Pixels without any do not count: they cannot be weighed against their surroundings.
        mask : `~numpy.ndarray` of bool, optional
            True where the data do not count.

        Returns
        -------
        ScaledImage
            The image.

        Raises
        ------
        ValueError
            If no pixel counts, or there is no noise on the sky.
        """
        valid = np.isfinite(data)
        if mask is not None:
            valid &= ~mask
        bad = noise.unusable(data.shape)
        if bad is not None:
            valid &= ~bad
        image = cls(data, valid, noise, Scaling.from_image(data, noise, ~valid))
        return image.on_scale(image.scaling.scale)

    def on_scale(self, scale):
        """
        Change the scale, and hide from the network the pixels that are much noisier than that.

        Parameters
        ----------
        scale : float
            Noise of typical pixels, in data units.

        Returns
        -------
        ScaledImage
            The image with another ``scaling`` and ``seen``.
        """
        scaling = replace(self.scaling, scale=scale)
        noise = self.noise
        if np.ndim(noise.sigma) == np.ndim(noise.slope) == 0:
            return replace(self, scaling=scaling)
        seen = self.valid.copy()
        for start in range(0, self.shape[0], _ROWS):
            rows = slice(start, start + _ROWS)
            own = noise.at(self.shape, rows, slice(None))
            # At the level of the background: bright sources are noisy by what they show.
            seen[rows] &= own.variance(self.scaling.sky) <= (_MAX_NOISE * scale) ** 2
        return replace(self, scaling=scaling, seen=seen)

    def unsupported(self):
        """
        Find noisy parts in which the network sees too few pixels.

        Returns
        -------
        `~numpy.ndarray` of bool or None
            Shape of the image; None where there are no such pixels.
        """
        if self.seen is self.valid:
            return None
        hidden = self.valid & ~self.seen
        if not hidden.any():
            return None
        support = self.seen.astype(np.float32)
        for axis in range(2):
            support = uniform_filter1d(support, _SUPPORT_SIZE, axis=axis, mode='constant')
        hidden &= support < _SUPPORT
        return hidden if hidden.any() else None

    def noise_scale(self, where):
        """Measure the typical noise of some pixels at the level of the background, in data units."""
        y, x = (index[::max(1, index.size // 100_000)] for index in np.nonzero(where))
        return float(np.sqrt(np.median(self.noise.at(self.shape, y, x).variance(self.scaling.sky))))

    @property
    def shape(self):
        """That of the data."""
        return self.data.shape

    def part(self, y, x):
        """The pixels [y, x], two slices or two arrays of indices."""
        return ScaledImage(self.data[y, x], self.valid[y, x], self.noise.at(self.shape, y, x), self.scaling.at(y, x),
                           self.seen[y, x])

    def without(self, rejected):
        """Take out pixels whose measurement is not to count."""
        return replace(self, valid=self.valid & ~rejected, seen=self.seen & ~rejected)

    def observed(self, data):
        """Put in other data."""
        return replace(self, data=data)

    def values(self):
        """In units of the sky noise, float64; 0, the level of the background, where the data do not count."""
        scaling = self._scaling
        with np.errstate(invalid='ignore', over='ignore'):
            return np.where(self.valid, scaling.forward(np.where(self.valid, self.data, 0).astype(float)), 0)

    def noise_parameters(self):
        """The parameters ``v0, slope, zero`` of the noise in units of the sky noise; see `Scaling.noise_parameters`."""
        return self._scaling.noise_parameters(self.noise)

    def backward(self, z):
        """From units of the sky noise to data units."""
        return self._scaling.backward(z)

    def noise_variance(self, z):
        """Variance of the noise where the truth is ``z``, in units of that of the sky; at least a thousandth."""
        variance = self.noise.variance(self.backward(z)) / self.scaling.scale ** 2
        return np.maximum(np.broadcast_to(variance, np.shape(z)), _LEAST_VARIANCE)

    @property
    def _scaling(self):
        """The scaling with the level of each pixel."""
        return self.scaling.at(*(slice(0, n) for n in self.shape)) if self.data.ndim == 2 else self.scaling
