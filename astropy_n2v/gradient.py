# Licensed under a 3-clause BSD style license - see LICENSE
"""
The smooth part of a background: moonlight, twilight, vignetting.

A network foresees a flat sky better than a slope, of which it has to find out everywhere how steep it is. So what a
polynomial of the third degree explains of the background is taken off the image before, and put back afterwards.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from astropy.modeling.fitting import FittingWithOutlierRemoval, LinearLSQFitter
from astropy.modeling.models import Polynomial2D
from astropy.stats import sigma_clip, sigma_clipped_stats
from astropy.utils.exceptions import AstropyUserWarning

__all__ = ['Gradient']

_DEGREE = 3
_CELLS = 8   # along each axis
_SMALLEST = 16   # pixels along each axis of a cell
_MAX_SAMPLE = 1_000_000
_GROUP = 16   # pixels that are averaged where photons are few
# The surface is believed where it varies by so many times the scatter of the cells around it: nebulae and large
# galaxies, which no polynomial describes, are left to the network. On random scenes it gains from here on.
_LEAST_SIGNIFICANCE = 10.0
# Below this share of the noise (rms) a slope costs nothing.
_LEAST_VARIATION = 0.1
# A polynomial is not to be trusted beyond the centres of the outermost cells: by at most this share of its range.
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
        What its values are limited to.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.gradient import Gradient
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
        """The values at the pixels [y, x] of the image, two slices or two arrays of indices."""
        rows, columns = self.rows[y], self.columns[:, x]
        values = rows @ columns if isinstance(y, slice) else np.einsum('ik,ki->i', rows, columns)
        return np.clip(values, self.low, self.high)

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
            The background less the level; None where the image is too small, or its background flat or not smooth.
        """
        found = _fit_cells(*_cells(data, mask, level))
        if found is None:
            return None
        coefficients, surface, scatter = found
        if not np.std(surface) > max(_LEAST_SIGNIFICANCE * scatter, _LEAST_VARIATION * scale):
            return None
        margin = _EXTRAPOLATION * np.ptp(surface)
        limits = surface.min() - margin, surface.max() + margin
        # Slopes and curvature within a cell move the clipped mean off the value at its centre: once more without them.
        rest = _fit_cells(*_cells(data, mask, level, cls._of(coefficients, np.shape(data))))
        if rest is not None:
            coefficients = coefficients + rest[0]
        return cls._of(coefficients, np.shape(data), *limits)

    @classmethod
    def _of(cls, coefficients, shape, *limits):
        """That of a polynomial of given coefficients, first by powers of y, then of x."""
        rows, columns = (np.vander(_positions(n), _DEGREE + 1, increasing=True) for n in shape)
        return cls(rows @ coefficients, columns.T, *limits)


def _fit_cells(values, y, x):
    """Coefficients of the polynomial, its values at the cells, and their scatter; None where it is not determined."""
    if len(values) < _CELLS ** 2 // 2:
        return None
    # Sources make cells brighter.
    fitter = FittingWithOutlierRemoval(LinearLSQFitter(), sigma_clip, niter=10, sigma_lower=5, sigma_upper=2.5,
                                       stdfunc='mad_std')
    with warnings.catch_warnings():
        # Cells in few rows or columns do not determine all of it.
        warnings.filterwarnings('error', 'The fit may be poorly conditioned', AstropyUserWarning)
        try:
            model, _ = fitter(Polynomial2D(_DEGREE), x, y, values)
        except AstropyUserWarning:
            return None
    coefficients = np.zeros((_DEGREE + 1, _DEGREE + 1))
    for name, value in zip(model.param_names, model.parameters):
        x_power, y_power = map(int, name[1:].split('_'))
        coefficients[y_power, x_power] = value
    surface = model(x, y)
    # The standard deviation of a normal distribution, from what 90 % are within: some cells hold bright sources.
    return coefficients, surface, np.percentile(np.abs(values - surface), 90) / 1.645


def _positions(n):
    """From -1 to 1 along an axis of n pixels."""
    return np.linspace(-1, 1, n)


def _cells(data, mask, level, gradient=None):
    """Clipped means, above what is known, of the cells of an image of which half is valid; where their centres are."""
    data = np.asarray(data)
    step = 1 + int(np.sqrt(data.size // _MAX_SAMPLE))
    size = [-(-n // step) // _CELLS for n in data.shape]
    if min(size) * step < _SMALLEST:
        return (np.empty(0),) * 3
    part = tuple(slice(0, n * _CELLS * step, step) for n in size)
    good = np.isfinite(data[part])
    if mask is not None:
        good &= ~np.asarray(mask, dtype=bool)[part]
    # Without the level no precision is lost to a large pedestal.
    values = np.where(good, data[part], np.nan) - level - (0 if gradient is None else gradient.at(*part))
    cells, good = (image.reshape(_CELLS, size[0], _CELLS, size[1]).swapaxes(1, 2).reshape(_CELLS ** 2, -1)
                   for image in (values, good))
    enough = 2 * np.count_nonzero(good, axis=1) >= good.shape[1]
    cells = cells[enough]
    _, counts = np.unique(cells[:, ::16], return_counts=True)
    if counts.max(initial=0) > 0.12 * counts.sum():
        # Few photons are skewed, so that clipping single pixels would lower the mean: clip averages of pixels.
        groups = cells[:, :cells.shape[1] // _GROUP * _GROUP].reshape(len(cells), -1, _GROUP)
        cells = np.ma.masked_invalid(groups).mean(axis=2).filled(np.nan)
    means = (sigma_clipped_stats(cells, np.isnan(cells), axis=1, sigma=3, maxiters=10)[0] if len(cells)
             else np.empty(0))
    centres = (_positions(n)[(np.arange(_CELLS) * m + (m - 1) / 2).astype(int) * step]
               for n, m in zip(data.shape, size))
    y, x = (centre.ravel()[enough] for centre in np.meshgrid(*centres, indexing='ij'))
    return means, y, x
