# Licensed under a 3-clause BSD style license - see LICENSE
"""
Noise with a pattern that repeats: of an interpolation between measured pixels.
"""

import numpy as np

from .blocks import as_image, sample

__all__ = ['interpolation_period']

_PERIODS = (2, 3, 4)   # pixels
_MAX_PIXELS = 60_000   # of which differences are taken
_GROUP = 12   # rows: a multiple of all periods
_MIN_PIXELS = 400   # of each phase
# Least contrast of the mean absolute differences. Odd and even columns of detectors differ by up to 3 %; of an image
# that was debayered bilinearly, or made twice as large by linear or cubic interpolation, by 40 % and more.
# Of 200 random scenes and all real frames at hand none had more than 10 % at a period of 2, or 20 % at 3 and 4.
_MIN_CONTRAST = {2: 0.15, 3: 0.3, 4: 0.3}


def interpolation_period(data, mask=None):
    """
    The period in pixels with which the noise of an image changes its size or its correlation.

    It does where pixels were interpolated between others that were measured: a mosaic of colour filters
    (period 2), an enlarged image. Sources do not know of such a grid, and the mean differences of neighbouring
    pixels are the same everywhere on it unless the noise is not.

    Parameters
    ----------
    data : array_like, `~astropy.units.Quantity` or `~astropy.nddata.NDData`
        Image of shape (ny, nx).
    mask : array_like of bool, optional
        True where the data are not to be used, in addition to the mask of an NDData.

    Returns
    -------
    int
        2, 3 or 4; 1 if there is no such pattern.

    Raises
    ------
    ValueError
        If ``data`` is not two-dimensional, or ``mask`` is not of its shape.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.noise import interpolation_period
    >>> image = np.random.default_rng(0).normal(size=(129, 129))
    >>> interpolation_period(image)
    1
    >>> image[:, 1:-1:2] = (image[:, :-2:2] + image[:, 2::2]) / 2
    >>> interpolation_period(image)
    2
    """
    data, mask = as_image(data, mask)
    lines = _groups(data, mask), _groups(data.T, None if mask is None else mask.T)
    tables = {period: [_means(values, period, order) for values in lines for order in (1, 2)] for period in _PERIODS}
    for period in _PERIODS[:2]:
        if any(_contrast(*table) for table in tables[period]):
            # The pattern of an image enlarged four times has a part that repeats after two pixels.
            finer = period == 2 and any(_contrast(means[y::2, x::2], certain) for means, certain in tables[4]
                                        for y in (0, 1) for x in (0, 1))
            return 4 if finer else period
    return 4 if any(_contrast(*table) for table in tables[4]) else 1


def _groups(data, mask):
    """Groups of rows, evenly spread over an image, each a multiple of any period, shape (n, 12, nx)."""
    n = data.shape[0] // _GROUP
    step = max(1, n * _GROUP * data.shape[1] // _MAX_PIXELS)
    rows = (np.arange(0, n, step)[:, None] * _GROUP + np.arange(_GROUP)).ravel()
    return sample(data, mask, rows).reshape(-1, _GROUP, data.shape[1])


def _means(groups, period, order):
    """Mean absolute differences along rows for each phase, and by how much they differ by chance at most."""
    differences = np.abs(np.diff(groups, order, axis=2))
    differences = differences[:, :, :differences.shape[2] // period * period]
    phases = differences.reshape(-1, period, differences.shape[2] // period, period)
    good = np.isfinite(phases)
    count = good.sum(axis=(0, 2))
    if count.min() < _MIN_PIXELS:
        return np.ones((period, period)), np.inf
    phases = np.where(good, phases, 0)
    # Stars are on all phases alike, but few of them.
    limit = 3 * np.median(differences[np.isfinite(differences)])
    phases = np.minimum(phases, limit if limit > 0 else 4 * phases.sum() / count.sum())
    return phases.sum(axis=(0, 2)) / count, max(_MIN_CONTRAST[period], 8 / np.sqrt(count.min()))


def _contrast(means, certain):
    """Whether phases differ by more than chance and detectors make them differ."""
    return means.max() > (1 + certain) * means.min()
