# Licensed under a 3-clause BSD style license - see LICENSE
"""
The map from an image to units of its sky noise above its background, and an image in these units.

In units of the sky noise above the background all frames look alike. Nothing is clipped, and the inverse is exact.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import uniform_filter1d

from ..background import Gradient, background_level
from ..noise import NoiseModel
from ..utils.sampling import cutouts, row_blocks, subsample, with_halo
from ..utils.scratch import blockwise, empty, is_large

__all__ = ['NormalizedImage', 'Normalization']

# Floor of the variance, in units of the sky noise: it vanishes where neither read noise nor signal is expected.
_LEAST_VARIANCE = 1e-3
# Largest noise of a pixel, in units of the scale, that the network may use. A noisier pixel has little information, and
# such noise was not in the training data: with one pixel in a hundred ten times noisier, pulls were 7.
_MAX_NOISE = 4.0
# Least fraction of usable pixels in 17x17; others are predicted again on the scale of the noisier pixels.
_SUPPORT, _SUPPORT_SIZE = 0.6, 17
# Range of the variance of the noise along a gradient that is subtracted, relative to the variance at the level.
_GROWTH = 0.2, 9.0
# Least light of the sky in the training data, in electrons per pixel (`astropy_n2v.simulate.random_scene`).
_LEAST_SKY = 0.05


def _known_scale(level, scale, noise):
    """Raise level and scale of a sky with fewer photons than in the training to the least trained ones."""
    if noise.gain is None:
        return level, scale
    electron = 1 / float(np.median(subsample(noise.gain)))
    least = math.sqrt(_LEAST_SKY) * electron
    if scale >= least:
        return level, scale
    return max(level, float(np.median(subsample(noise.zero_point))) + _LEAST_SKY * electron), least


@dataclass(frozen=True)
class Normalization:
    """
    The affine map between an image and units of its sky noise above its background.

    Parameters
    ----------
    level : float or `~numpy.ndarray`
        The background, in data units; an array has a value for each pixel.
    scale : float
        The sky noise, in data units.
    gradient : `~astropy_n2v.background.Gradient`, optional
        Surface to add to the level, for an image whose background slopes.
    sky, sky_noise : float, optional
        The measured background and its noise, in data units; by default ``level`` and ``scale``. They differ if the
        photons are fewer than in the training data. The scale is then from a sky of 0.05 electrons, at which zeros
        and single events look to the network as in its training.

    Examples
    --------
    >>> from astropy_n2v.inference.normalization import Normalization
    >>> Normalization(100.0, 5.0).forward(110.0)
    2.0
    """

    level: float
    scale: float
    gradient: Gradient = None
    sky: float = None
    sky_noise: float = None

    def __post_init__(self):
        for name, own in (('sky', self.level), ('sky_noise', self.scale)):
            if getattr(self, name) is None:
                object.__setattr__(self, name, own)

    @classmethod
    def from_image(cls, data, noise, mask=None):
        """Measure level and gradient of an image whose noise is known, and take the noise at that level."""
        level = background_level(data, mask)
        part = cutouts(data.shape)
        sample = noise.at(data.shape, *part)
        variance = sample.variance(level)
        dark = not np.any(variance > 0)
        if dark:
            # Without a photon on the sky, use the noise of the average pixel.
            valid = np.isfinite(data[part]) if mask is None else np.isfinite(data[part]) & ~mask[part]
            variance = np.mean(sample.variance(np.where(valid, data[part], level))[valid])
        good = np.isfinite(variance) & (variance > 0)
        if not good.any():
            raise ValueError('noise must have a positive variance at the level of the background, got none')
        scale = np.median(subsample(variance[good]))
        level, scale = float(level), float(np.sqrt(scale))
        gradient = Gradient.fit(data, mask, level, scale)
        if gradient is not None:
            part = tuple(slice(0, n, 15) for n in data.shape)
            sample = noise.at(data.shape, *part)
            before, after = np.broadcast_arrays(sample.variance(level), sample.variance(level + gradient.at(*part)))
            counts = np.isfinite(data[part]) & (np.maximum(before, after) > 0)
            if mask is not None:
                counts &= ~np.asarray(mask, dtype=bool)[part]
            # Where photons become few, the network would attribute the low noise to the detector.
            before, after = before[counts], after[counts]
            if np.any(after < _GROWTH[0] * before) or np.any(after > _GROWTH[1] * before):
                gradient = None
        return cls(*_known_scale(level, 0.0 if dark else scale, noise), gradient, level, scale)

    def at(self, y, x):
        """Return the map for the pixels [y, x] of the image, two slices or two arrays of indices."""
        if self.gradient is not None:
            return replace(self, level=self.level + self.gradient.at(y, x), gradient=None)
        return self if np.ndim(self.level) == 0 else replace(self, level=self.level[y, x])

    @property
    def few_photons(self):
        """True if the scale is not from the image, since photons are fewer than in the training of the network."""
        return self.scale != self.sky_noise

    def forward(self, data):
        """Convert data units to units of the sky noise."""
        return (data - self.level) / self.scale

    def backward(self, z):
        """Convert units of the sky noise to data units."""
        return z * self.scale + self.level

    def noise_parameters(self, noise):
        """
        Return the parameters ``v0, slope, zero`` of a noise model in units of the sky noise.

        Parameters
        ----------
        noise : `~astropy_n2v.NoiseModel`
            Noise in data units.

        Returns
        -------
        v0 : float or `~numpy.ndarray`
            Variance without light; the variance at z is ``v0 + slope * max(z - zero, 0)``.
        slope : float or `~numpy.ndarray`
            Growth of the variance with the signal.
        zero : float or `~numpy.ndarray`
            The value without light.
        """
        return ((noise.sigma / self.scale) ** 2, noise.slope / self.scale,
                (noise.zero_point - self.level) / self.scale)


@dataclass(frozen=True, eq=False)
class NormalizedImage:
    """
    An image with its valid pixels, its noise and its scale.

    Parameters
    ----------
    data : `~numpy.ndarray`
        Values in data units, shape (ny, nx), or (n,) for pixels selected from it.
    valid : `~numpy.ndarray` of bool
        True where they count, of the same shape.
    noise : `~astropy_n2v.NoiseModel`
        Their noise, in data units.
    scaling : Normalization
        Map from data units to units of the sky noise above the background.
    seen : `~numpy.ndarray` of bool, optional
        True for pixels that the network may use; by default ``valid``.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v import NoiseModel
    >>> from astropy_n2v.inference.normalization import NormalizedImage
    >>> image = NormalizedImage.prepare(np.random.default_rng(0).normal(100.0, 5.0, (64, 64)), NoiseModel(5.0))
    >>> round(float(image.values().std()), 1), image.part(slice(0, 8), slice(0, 16)).data.shape
    (1.0, (8, 16))
    """

    data: np.ndarray
    valid: np.ndarray
    noise: NoiseModel
    scaling: Normalization
    seen: np.ndarray = None

    def __post_init__(self):
        if self.seen is None:
            object.__setattr__(self, 'seen', self.valid)

    @classmethod
    def prepare(cls, data, noise, mask=None):
        """
        Find the valid pixels, the level of the sky and its noise.

        Parameters
        ----------
        data : `~numpy.ndarray`
            Image of shape (ny, nx); non-finite pixels do not count.
        noise : `~astropy_n2v.NoiseModel`
            Its noise. Pixels without noise do not count: they cannot be weighed against their surroundings.
        mask : `~numpy.ndarray` of bool, optional
            True where the data do not count.

        Returns
        -------
        NormalizedImage
            The image.

        Raises
        ------
        ValueError
            If no pixel is valid, or the noise on the sky is zero.
        """
        valid = blockwise(np.isfinite, data)
        for bad in mask, noise.unusable(data.shape):
            if bad is not None:
                blockwise(lambda own, part: own & ~part, valid, bad, out=valid)
        image = cls(data, valid, noise, Normalization.from_image(data, noise, blockwise(np.logical_not, valid)))
        return image.on_scale(image.scaling.scale)

    def on_scale(self, scale):
        """
        Change the scale, and hide pixels with far larger noise from the network.

        Parameters
        ----------
        scale : float
            Noise of typical pixels, in data units.

        Returns
        -------
        NormalizedImage
            The image with another ``scaling`` and ``seen``.
        """
        scaling = replace(self.scaling, scale=scale)
        noise = self.noise
        if np.ndim(noise.sigma) == np.ndim(noise.slope) == 0:
            return replace(self, scaling=scaling)
        seen = empty(self.shape, dtype=bool)
        for rows in row_blocks(self.shape[0]):
            own = noise.at(self.shape, rows, slice(None))
            # At the level of the background, since bright sources have photon noise of their own.
            seen[rows] = self.valid[rows] & (own.variance(self.scaling.sky) <= (_MAX_NOISE * scale) ** 2)
        return replace(self, scaling=scaling, seen=seen)

    def unsupported(self):
        """
        Find noisy parts in which the network may use too few pixels.

        Returns
        -------
        `~numpy.ndarray` of bool or None
            Shape of the image; None without such pixels.
        """
        if self.seen is self.valid:
            return None
        hidden = blockwise(lambda valid, seen: valid & ~seen, self.valid, self.seen)
        if not hidden.any():
            return None
        for rows in row_blocks(self.shape[0]):
            if hidden[rows].any():
                hidden[rows] &= self._support(rows) < _SUPPORT
        return hidden if hidden.any() else None

    def _support(self, rows):
        """Return the share of the pixels around the pixels of some rows that the network may use."""
        # An axis at a time, and down first: sums along an axis depend on where they begin.
        wide, inner = with_halo(rows, _SUPPORT_SIZE // 2, self.shape[0])
        support = uniform_filter1d(self.seen[wide].astype(np.float32), _SUPPORT_SIZE, axis=0, mode='constant')
        return uniform_filter1d(support, _SUPPORT_SIZE, axis=1, mode='constant')[inner]

    def noise_scale(self, where):
        """Measure the typical noise of some pixels at the level of the background, in data units."""
        y, x = (index[::max(1, index.size // 100_000)] for index in np.nonzero(where))
        return float(np.sqrt(np.median(self.noise.at(self.shape, y, x).variance(self.scaling.sky))))

    @property
    def shape(self):
        """Shape of the image."""
        return self.data.shape

    def part(self, y, x):
        """Return the pixels [y, x], two slices or two arrays of indices."""
        return NormalizedImage(self.data[y, x], self.valid[y, x], self.noise.at(self.shape, y, x),
                               self.scaling.at(y, x), self.seen[y, x])

    def without(self, rejected):
        """Remove pixels whose measurement must not be used."""
        valid, seen = (blockwise(lambda own, bad: own & ~bad, own, rejected) for own in (self.valid, self.seen))
        return replace(self, valid=valid, seen=seen)

    def observed(self, data):
        """Replace the data."""
        return replace(self, data=data)

    def values(self):
        """Return values in units of the sky noise, float64; 0, the level of the background, at invalid pixels."""
        scaling = self._scaling
        with np.errstate(invalid='ignore', over='ignore'):
            return np.where(self.valid, scaling.forward(np.where(self.valid, self.data, 0).astype(float)), 0)

    def noise_parameters(self):
        """Return ``v0, slope, zero`` of the noise in sky noise units; see `Normalization.noise_parameters`."""
        if self.scaling.gradient is None or not is_large(self.shape, float):
            return self._scaling.noise_parameters(self.noise)
        v0, slope, _ = self.scaling.noise_parameters(self.noise)
        zero = empty(self.shape, float)
        for rows in row_blocks(self.shape[0]):
            zero[rows] = self.part(rows, slice(0, self.shape[1])).noise_parameters()[2]
        return v0, slope, zero

    def backward(self, z):
        """Convert units of the sky noise to data units."""
        return self._scaling.backward(z)

    def noise_variance(self, z):
        """Return the noise variance for the true value ``z`` in squared units of the sky noise, at least 0.001."""
        variance = self.noise.variance(self.backward(z)) / self.scaling.scale ** 2
        return np.maximum(np.broadcast_to(variance, np.shape(z)), _LEAST_VARIANCE)

    @property
    def _scaling(self):
        """Return the scaling with the level of each pixel."""
        return self.scaling.at(*(slice(0, n) for n in self.shape)) if self.data.ndim == 2 else self.scaling
