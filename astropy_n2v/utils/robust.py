# Licensed under a 3-clause BSD style license - see LICENSE
"""
Scatter from medians, which are robust against outliers.
"""

import numpy as np

__all__ = ['MEDIAN_ABSOLUTE', 'MEDIAN_SQUARE', 'robust_scatter', 'robust_std']

#: Median of the absolute values of a normal distribution, in units of its standard deviation.
MEDIAN_ABSOLUTE = 0.6745
#: Median of the squares of a normal distribution, in units of its variance.
MEDIAN_SQUARE = 0.455


def robust_std(values):
    """
    Measure the standard deviation of normally distributed values of which some are outliers.

    Parameters
    ----------
    values : `~numpy.ndarray`
        Finite values of any shape, at least one.

    Returns
    -------
    float
        From the median of the absolute deviations from the median, in the units of ``values``.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.utils.robust import robust_std
    >>> values = np.random.default_rng(0).normal(5, 2, 10_000)
    >>> values[:100] = 1e6
    >>> bool(abs(robust_std(values) / 2 - 1) < 0.05)
    True
    """
    return float(np.median(np.abs(values - np.median(values)))) / MEDIAN_ABSOLUTE


def robust_scatter(values, axis=None):
    """
    Measure the standard deviation of values of which some are outliers or NaN, along an axis.

    Parameters
    ----------
    values : array_like
        Values; NaN are ignored.
    axis : int, optional
        Axis along which to compute it.

    Returns
    -------
    float or `~numpy.ndarray`
        The median absolute deviation from the median, divided by its value for a standard normal
        distribution; NaN if there is no value.

    Examples
    --------
    >>> from astropy_n2v.validation import robust_scatter
    >>> float(robust_scatter([1, 2, 3, 4, 1000]).round(4))
    1.4826
    """
    values = np.asarray(values, dtype=float)
    if np.isnan(values).any():
        good = np.isfinite(values)
        if not good.any():
            return np.full(np.nanmax(values, axis=axis, initial=0).shape, np.nan)[()]
        centre = np.nanmedian(values, axis=axis, keepdims=True)
        return np.nanmedian(np.abs(values - centre), axis=axis) / MEDIAN_ABSOLUTE
    if values.size == 0:
        return np.nan
    return np.median(np.abs(values - np.median(values, axis=axis, keepdims=True)), axis=axis) / MEDIAN_ABSOLUTE
