# Licensed under a 3-clause BSD style license - see LICENSE
"""
The map between an image and units of its sky noise above its background, and an image in these units.

In units of the sky noise above the background all frames look alike. Nothing is clipped, and the way back is exact.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import uniform_filter1d

from ..background import Gradient, background_level
from ..noise import NoiseModel
from ..utils.sampling import cutouts, row_blocks, subsample

__all__ = ['NormalizedImage', 'Normalization']

# Without read noise there is none where no light is expected; errors in units of it are to be finite.
_LEAST_VARIANCE = 1e-3
# Pixels whose noise is larger than the scale by more than this do not show the network much but their noise, of a kind
# that it was not trained on: with a single pixel in a hundred ten times noisier, pulls were 7. It does not see them.
_MAX_NOISE = 4.0
# A prediction from fewer visible pixels than this share of 17x17 is made again on the scale of the noisier ones.
_SUPPORT, _SUPPORT_SIZE = 0.6, 17
# What the variance of the noise along a gradient that is taken off may be, relative to that at the level.
_GROWTH = 0.2, 9.0
# Least light of the sky that the network was trained on, in electrons per pixel (`astropy_n2v.simulate.random_scene`).
_LEAST_SKY = 0.05


def _known_scale(level, scale, noise):
    """Level and scale that a network knows: of a sky with fewer photons than in its training, those of the least."""
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
        The background, in data units; an array is that of each pixel.
    scale : float
        The sky noise, in data units.
    gradient : `~astropy_n2v.background.Gradient`, optional
        What is to be added to the level, of an image whose background slopes.
    sky, sky_noise : float, optional
        The measured background and its noise, in data units; by default ``level`` and ``scale``. They differ where
        photons are so few that the network has seen nothing of the kind: there the scale is that of a sky of 0.05
        electrons, at which the network sees zeros and single events as it knows them.

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
            # Not even a photon on the sky: the noise of the average pixel.
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
            # Where photons become few, the network would take the low noise for a property of the detector.
            before, after = before[counts], after[counts]
            if np.any(after < _GROWTH[0] * before) or np.any(after > _GROWTH[1] * before):
                gradient = None
        return cls(*_known_scale(level, 0.0 if dark else scale, noise), gradient, level, scale)

    def at(self, y, x):
        """The same for the pixels [y, x] of the image, two slices or two arrays of indices."""
        if self.gradient is not None:
            return replace(self, level=self.level + self.gradient.at(y, x), gradient=None)
        return self if np.ndim(self.level) == 0 else replace(self, level=self.level[y, x])

    @property
    def few_photons(self):
        """True where the scale is not that of the image, as photons are fewer than in the training of the network."""
        return self.scale != self.sky_noise

    def forward(self, data):
        """From data units to units of the sky noise."""
        return (data - self.level) / self.scale

    def backward(self, z):
        """From units of the sky noise to data units."""
        return z * self.scale + self.level

    def noise_parameters(self, noise):
        """
        The parameters ``v0, slope, zero`` of a noise model in units of the sky noise.

        Parameters
        ----------
        noise : `~astropy_n2v.NoiseModel`
            Noise in data units.

        Returns
        -------
        v0, slope, zero : float or `~numpy.ndarray`
            So that the variance at z is ``v0 + slope * max(z - zero, 0)``.
        """
        return ((noise.sigma / self.scale) ** 2, noise.slope / self.scale,
                (noise.zero_point - self.level) / self.scale)


@dataclass(frozen=True, eq=False)
class NormalizedImage:
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
    scaling : Normalization
        From data units to units of the sky noise above the background.
    seen : `~numpy.ndarray` of bool, optional
        True where the network may see them; by default as ``valid``.

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
        NormalizedImage
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
        image = cls(data, valid, noise, Normalization.from_image(data, noise, ~valid))
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
        NormalizedImage
            The image with another ``scaling`` and ``seen``.
        """
        scaling = replace(self.scaling, scale=scale)
        noise = self.noise
        if np.ndim(noise.sigma) == np.ndim(noise.slope) == 0:
            return replace(self, scaling=scaling)
        seen = self.valid.copy()
        for rows in row_blocks(self.shape[0]):
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
        return NormalizedImage(self.data[y, x], self.valid[y, x], self.noise.at(self.shape, y, x),
                               self.scaling.at(y, x), self.seen[y, x])

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
        """``v0, slope, zero`` of the noise in units of the sky noise; see `Normalization.noise_parameters`."""
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
