# Licensed under a 3-clause BSD style license - see LICENSE
"""
The background of an image: its level, and its smooth part (moonlight, twilight, vignetting).

A network predicts a flat sky better than a slope, which it must measure locally at each pixel. A polynomial of the
third degree is therefore fitted to the background, subtracted before the network and added afterwards.
"""

import itertools
import warnings
from dataclasses import dataclass

import numpy as np
from astropy.modeling.fitting import FittingWithOutlierRemoval, LinearLSQFitter
from astropy.modeling.models import Polynomial2D
from astropy.stats import sigma_clip, sigma_clipped_stats
from astropy.utils.exceptions import AstropyUserWarning

from .exceptions import CannotDenoiseError
from .utils.blocks import as_blocks
from .utils.sampling import coprime_step

__all__ = ['Gradient', 'background_level', 'clipped_mean']

_DEGREE = 3   # total degree of the polynomial surface in x and y
_CELLS = 8   # number of cells along each axis, each with one measured level
_SMALLEST = 16   # pixels: least size of a cell along each axis
_MAX_LEVEL_SAMPLE = 1_000_000   # largest number of pixels from which the level is measured
_MAX_SAMPLE = 4_000_000   # largest number of pixels for the fit of a surface; larger images are sampled
# Number of pixels that are averaged where photons are few, in a cell and for the level; for the latter also the least
# number of averages.
_GROUP = 16
_LEVEL_GROUP, _MIN_GROUPED = 64, 1024
# Least fraction of pixels with the most common value where photons are few: 0.125 for Poisson counts with a mean of 10.
_COMMONEST = 0.12
# Least variation of the surface in units of the scatter of the cells around it: nebulae and large galaxies, which no
# polynomial describes, are left to the network. On random scenes it improves the result from here on.
_LEAST_SIGNIFICANCE = 10.0
# Least rms of the surface, in units of the noise of the sky; a smaller slope does not matter.
_LEAST_VARIATION = 0.1
# Largest extrapolation beyond the range of the surface at the centres of the cells, as a fraction of this range.
_EXTRAPOLATION = 0.5


@dataclass(frozen=True)
class Gradient:
    """
    A smooth surface over an image.

    Parameters
    ----------
    rows, columns : `~numpy.ndarray`
        The surface is their product; shapes (ny, k) and (k, nx).
    low, high : float
        Limits of the values.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.background import Gradient
    >>> slope = np.add.outer(np.arange(256), np.zeros(256)) / 25
    >>> gradient = Gradient.fit(np.random.default_rng(0).normal(slope, 1.0), None, 5.0, 1.0)
    >>> bool(abs(5.0 + gradient.at(slice(0, 256), slice(0, 256)) - slope).max() < 0.2)
    True
    """

    rows: np.ndarray
    columns: np.ndarray
    low: float = -np.inf
    high: float = np.inf

    def at(self, y, x):
        """Return the values at the pixels [y, x] of the image, two slices or two arrays of indices."""
        rows, columns = self.rows[y], self.columns[:, x]
        values = rows @ columns if isinstance(y, slice) else np.einsum('ik,ki->i', rows, columns)
        return np.clip(values, self.low, self.high)

    @property
    def range(self):
        """The difference between its largest and its least value."""
        # The surface is smooth: 129 rows and columns suffice, including the edges.
        y, x = (np.unique(np.linspace(0, n - 1, 129).astype(int)) for n in (len(self.rows), self.columns.shape[1]))
        return float(np.ptp(np.clip(self.rows[y] @ self.columns[:, x], self.low, self.high)))

    @classmethod
    def fit(cls, data, mask, level, scale):
        """
        Measure the gradient of an image.

        Parameters
        ----------
        data : array_like
            Image of shape (ny, nx); non-finite values are ignored.
        mask : array_like of bool or None
            True where the data are not to be used.
        level, scale : float
            The background and its noise, in the units of ``data``.

        Returns
        -------
        Gradient or None
            The background minus the level; None if the image is too small, or its background is flat or not smooth.
        """
        cells = _Cells(np.asarray(data), mask)
        found = cells.fit(level)
        if found is None:
            return None
        coefficients, surface, scatter = found
        if not np.std(surface) > max(_LEAST_SIGNIFICANCE * scatter, _LEAST_VARIATION * scale):
            return None
        margin = _EXTRAPOLATION * np.ptp(surface)
        limits = surface.min() - margin, surface.max() + margin
        # Slopes and curvature within a cell bias its clipped mean: repeat the fit without them.
        rest = cells.fit(level, cls._of(coefficients, np.shape(data)))
        if rest is not None:
            coefficients = coefficients + rest[0]
        return cls._of(coefficients, np.shape(data), *limits)

    @classmethod
    def _of(cls, coefficients, shape, *limits):
        """Return the surface of polynomial coefficients, ordered by powers of y, then of x."""
        rows, columns = (np.vander(_positions(n), _DEGREE + 1, increasing=True) for n in shape)
        return cls(rows @ coefficients, columns.T, *limits)


def _positions(n):
    """Return coordinates from -1 to 1 along an axis of n pixels."""
    return np.linspace(-1, 1, n)


class _Cells:
    """An image divided into cells, the at least half valid ones; of a large image, a sample of its pixels."""

    def __init__(self, data, mask):
        # An odd step, which samples even and odd rows and columns.
        step = next(step for step in itertools.count(1, 2) if data.size <= _MAX_SAMPLE * step ** 2)
        size = [-(-n // step) // _CELLS for n in data.shape]
        self.n = 0
        if min(size) * step < _SMALLEST:
            return
        self.part = tuple(slice(0, n * _CELLS * step, step) for n in size)
        self.size = size
        values = self._divide(data[self.part])
        good = np.isfinite(values)
        if mask is not None:
            good &= ~self._divide(np.asarray(mask, dtype=bool)[self.part])
        self.enough = 2 * np.count_nonzero(good, axis=1) >= good.shape[1]
        self.n = np.count_nonzero(self.enough)
        self.values = np.where(good, values, np.nan)[self.enough].astype(float)
        self.few_photons = _has_few_photons(self.values[np.isfinite(self.values)][::16])
        centres = (_positions(n)[(np.arange(_CELLS) * m + (m - 1) / 2).astype(int) * step]
                   for n, m in zip(data.shape, size))
        self.y, self.x = (centre.ravel()[self.enough] for centre in np.meshgrid(*centres, indexing='ij'))

    def _divide(self, image):
        """Divide the sampled pixels into an array of shape (cells, pixels)."""
        return as_blocks(image, self.size).swapaxes(1, 2).reshape(_CELLS ** 2, -1)

    def means(self, level, gradient=None):
        """Return the clipped means of the cells above the level and the gradient."""
        # Subtract the level first, so that no precision is lost to a large pedestal.
        values = self.values - level
        if gradient is not None:
            values -= self._divide(gradient.at(*self.part))[self.enough]
        if self.few_photons:
            groups = values[:, :values.shape[1] // _GROUP * _GROUP].reshape(self.n, -1, _GROUP)
            values = np.ma.masked_invalid(groups).mean(axis=2).filled(np.nan)
        return sigma_clipped_stats(values, np.isnan(values), axis=1, sigma=3, maxiters=10)[0]

    def fit(self, level, gradient=None):
        """Return the polynomial coefficients, its values at the cells, and their scatter; None if undetermined."""
        if self.n < _CELLS ** 2 // 2:
            return None
        values = self.means(level, gradient)
        # Sources make cells brighter.
        fitter = FittingWithOutlierRemoval(LinearLSQFitter(), sigma_clip, niter=10, sigma_lower=5, sigma_upper=2.5,
                                           stdfunc='mad_std')
        with warnings.catch_warnings():
            # Cells in few rows or columns do not determine all coefficients.
            warnings.filterwarnings('error', 'The fit may be poorly conditioned', AstropyUserWarning)
            try:
                model, _ = fitter(Polynomial2D(_DEGREE), self.x, self.y, values)
            except AstropyUserWarning:
                return None
        coefficients = np.zeros((_DEGREE + 1, _DEGREE + 1))
        for name, value in zip(model.param_names, model.parameters):
            x_power, y_power = map(int, name[1:].split('_'))
            coefficients[y_power, x_power] = value
        surface = model(self.x, self.y)
        # The standard deviation from the 90th percentile of a normal distribution: some cells hold bright sources.
        return coefficients, surface, np.percentile(np.abs(values - surface), 90) / 1.645


def _has_few_photons(values):
    """
    Decide if averages of pixels should be clipped, not single pixels.

    The distribution of few photons is skewed, so that clipping of single pixels would lower the mean.
    """
    _, counts = np.unique(values, return_counts=True)
    return counts.max(initial=0) > _COMMONEST * counts.sum()


def background_level(data, mask=None):
    """
    Measure the level of the background: the mean after clipping sources.

    Unlike the median, it is not biased to an integer where counts are few.

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
    If no pixel is valid.
        If no pixel is left.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.background import background_level
    >>> float(background_level(np.array([[1.0, 3.0], [2.0, np.nan]])))
    2.0
    """
    data = np.asarray(data)
    step = coprime_step(data.size // _MAX_LEVEL_SAMPLE, data.shape[-1] if data.ndim else 1)
    values = data.ravel()[::step]
    good = np.isfinite(values)
    if mask is not None:
        good &= ~np.asarray(mask, dtype=bool).ravel()[::step]
    values = values[good].astype(float)
    if values.size == 0:
        raise CannotDenoiseError('data has no valid pixel: all are masked or not finite')
    # Subtract the median first, so that no precision is lost to a large pedestal or to the scale.
    reference = np.median(values)
    values = values - reference
    if values.size >= _MIN_GROUPED and _has_few_photons(values[:100_000]):
        values = values[:values.size // _LEVEL_GROUP * _LEVEL_GROUP].reshape(-1, _LEVEL_GROUP).mean(axis=1)
    return reference + clipped_mean(values, 3)


def clipped_mean(values, sigma, iterations=10):
    """
    Average values after iterative removal of the extreme ones.

    Parameters
    ----------
    values : `~numpy.ndarray`
        Finite values.
    sigma : float
        Values farther from the median than this many standard deviations are left out.
    iterations : int, optional
        The largest number of iterations.

    Returns
    -------
    float
        As from `astropy.stats.SigmaClip` and a mean.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.background import clipped_mean
    >>> float(clipped_mean(np.append(np.arange(9.0), 1000), 2.5))
    4.0
    """
    # In sorted order the median is known, and the remaining values are contiguous.
    values = np.sort(values, axis=None)
    for _ in range(iterations):
        middle = (values[(values.size - 1) // 2] + values[values.size // 2]) / 2
        reach = sigma * values.std()
        kept = values[np.searchsorted(values, middle - reach):np.searchsorted(values, middle + reach, side='right')]
        if kept.size == values.size:
            break
        values = kept
    return values.mean()
