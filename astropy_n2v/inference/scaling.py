# Licensed under a 3-clause BSD style license - see LICENSE
"""
The scale of an image: its background and its sky noise.

In units of the sky noise above the background all frames look alike. Nothing is clipped,
and the way back is exact.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from ..exceptions import CannotDenoiseError
from ..background import Gradient

__all__ = ['Scaling', 'background_level', 'coprime_step', 'cutouts', 'middle_cutout', 'subsample']

_MAX_SAMPLE = 1_000_000   # most pixels from which the level of the background is measured
# What the variance of the noise along a gradient that is taken off may be, relative to that at the level.
_GROWTH = 0.2, 9.0
# Least light of the sky that the network was trained on, in electrons per pixel (`astropy_n2v.simulate.random_scene`).
_LEAST_SKY = 0.05


def subsample(values, size=_MAX_SAMPLE):
    """
    Every n-th element of an array, at most ``size`` of them, from all its columns.

    Parameters
    ----------
    values : `~numpy.ndarray`
        Any shape.
    size : int, optional
        The largest number of elements.

    Returns
    -------
    `~numpy.ndarray`
        One-dimensional.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.inference.scaling import subsample
    >>> subsample(np.arange(10), 5).tolist()
    [0, 3, 6, 9]
    """
    values = np.asarray(values)
    step = coprime_step(-(-values.size // size), values.shape[-1] if values.ndim else 1)
    return values.ravel()[::step]


def coprime_step(step, width):
    """
    A step through a flattened image that comes by all of its columns.

    Parameters
    ----------
    step : int
        The smallest step wanted; values below 1 count as 1.
    width : int
        Number of columns.

    Returns
    -------
    int
        The smallest step from there on that has no divisor in common with ``width``.

    Examples
    --------
    >>> from astropy_n2v.inference.scaling import coprime_step
    >>> coprime_step(16, 4000)
    17
    """
    step = max(1, int(step))
    while step > 1 and math.gcd(step, int(width)) > 1:
        step += 1
    return step


def cutouts(shape, size=448):
    """
    Index of nine cut-outs, evenly spread over an image, that stand for all of it.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the image.
    size : int, optional
        Height and width of a cut-out in pixels.

    Returns
    -------
    tuple
        To index the image with: the cut-outs side by side, or all of an image that is not
        larger than they are together.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.inference.scaling import cutouts
    >>> image = np.zeros((4096, 1000), dtype='f4')
    >>> image[cutouts(image.shape)].shape
    (1344, 1000)
    """
    axes = []
    for n in shape:
        starts = np.linspace(0, n - size, 3).astype(int)
        axes.append(np.arange(n) if n <= 3 * size else np.concatenate([np.arange(i, i + size) for i in starts]))
    if all(axis.size == n for axis, n in zip(axes, shape)):
        return slice(None), slice(None)
    return np.ix_(*axes)


def middle_cutout(counts, size):
    """
    Index of a cut-out around the middle of the pixels that count.

    The middle of the image itself may be masked.

    Parameters
    ----------
    counts : array_like of bool
        True for the pixels that count, shape (ny, nx); for one at least.
    size : int
        Height and width of the cut-out in pixels; less where the image is smaller.

    Returns
    -------
    tuple of slice
        Rows and columns.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.inference.scaling import middle_cutout
    >>> counts = np.zeros((100, 200), dtype=bool)
    >>> counts[60:90] = True
    >>> middle_cutout(counts, 20)
    (slice(64, 84, None), slice(90, 110, None))
    """
    counts = np.asarray(counts)
    # The row with as many above as below, and the middle one in it.
    in_rows = np.cumsum(np.count_nonzero(counts, axis=1))
    row = np.searchsorted(in_rows, in_rows[-1] / 2)
    in_row = np.flatnonzero(counts[row])
    middle = row, in_row[len(in_row) // 2]
    starts = [min(max(0, int(m) - size // 2), max(0, n - size)) for m, n in zip(middle, counts.shape)]
    return tuple(slice(start, min(start + size, n)) for start, n in zip(starts, counts.shape))


def background_level(data, mask=None):
    """
    The level of the background: the mean after clipping sources.

    Unlike the median it does not lock in to an integer where counts are few.

    Parameters
    ----------
    data : array_like
        Image of any shape and unit-less values; non-finite values are ignored.
    mask : array_like of bool, optional
        True where the data are not to be used.

    Returns
    -------
    float
        The level, in the units of ``data``.

    Raises
    ------
    CannotDenoiseError
        If no pixel is left.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.inference.scaling import background_level
    >>> float(background_level(np.array([[1.0, 3.0], [2.0, np.nan]])))
    2.0
    """
    data = np.asarray(data)
    good = np.isfinite(data)
    if mask is not None:
        good &= ~np.asarray(mask, dtype=bool)
    step = coprime_step(data.size // _MAX_SAMPLE, data.shape[-1] if data.ndim else 1)
    values = data.ravel()[::step][good.ravel()[::step]].astype(float)
    if values.size == 0:
        raise CannotDenoiseError('data has no valid pixel: all are masked or not finite')
    # The median first, so that no precision is lost to a large pedestal or to the scale.
    reference = np.median(values)
    values = values - reference
    _, counts = np.unique(values[:100_000], return_counts=True)
    if values.size >= 1024 and counts.max() > 0.12 * counts.sum():
        # Few photons are skewed, so that clipping single pixels would lower the mean: clip averages of pixels.
        values = values[:values.size // 64 * 64].reshape(-1, 64).mean(axis=1)
    return reference + clipped_mean(values, 3)


def clipped_mean(values, sigma, iterations=10):
    """
    Average values without the extreme ones, which are left out again and again.

    Parameters
    ----------
    values : `~numpy.ndarray`
        Finite values.
    sigma : float
        Values farther from the median than this many standard deviations are left out.
    iterations : int, optional
        The largest number of times.

    Returns
    -------
    float
        As `astropy.stats.SigmaClip` and a mean have it.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.inference.scaling import clipped_mean
    >>> float(clipped_mean(np.append(np.arange(9.0), 1000), 2.5))
    4.0
    """
    # In order, the median is known, and the values that are left are neighbours.
    values = np.sort(values, axis=None)
    for _ in range(iterations):
        middle = (values[(values.size - 1) // 2] + values[values.size // 2]) / 2
        reach = sigma * values.std()
        kept = values[np.searchsorted(values, middle - reach):np.searchsorted(values, middle + reach, side='right')]
        if kept.size == values.size:
            break
        values = kept
    return values.mean()


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
class Scaling:
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
    >>> from astropy_n2v.inference.scaling import Scaling
    >>> Scaling(100.0, 5.0).forward(110.0)
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
