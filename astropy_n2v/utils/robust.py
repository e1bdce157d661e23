# Licensed under a 3-clause BSD style license - see LICENSE
"""
Scatter from medians, which are robust against outliers.
"""

import numpy as np

__all__ = ['MEDIAN_ABSOLUTE', 'MEDIAN_SQUARE', 'robust_std']

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
