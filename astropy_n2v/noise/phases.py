# Licensed under a 3-clause BSD style license - see LICENSE
"""
Periodic noise of an interpolation between measured pixels.
"""

import numpy as np

from .blocks import as_image, sample

__all__ = ['has_compression_blocks', 'interpolation_period']

_MAX_PIXELS = 60_000   # pixels of which differences are taken, at most
_GROUP = 12   # rows per group: a multiple of all periods
_MIN_PIXELS = 400   # least number of pixels of each phase
_MIN_EFFECTIVE = 100   # least effective number of non-zero differences of each phase
# Least contrast of the mean absolute differences for each period; a pattern along one axis only needs more. Real
# frames have up to 11 % along both axes, and up to 25 % along one (a lossy compression). An image that was debayered,
# or enlarged by linear or cubic interpolation, has 25 % and more along both.
_MIN_CONTRAST = {2: 0.15, 3: 0.25, 4: 0.3}
_ONE_AXIS = 0.5
# Pixels of the blocks of JPEG; by how much, and by how many deviations, differences across their borders stand out,
# along both axes; how far the next phase may. On simulated pictures of quality 90 and less that are not flat they did
# by 10 % and 8 deviations or more, noise of other kinds and all real frames by 4 but one, by 6, with another phase as
# much.
_BLOCK, _STANDS_OUT, _LEAST, _NEXT = 8, 0.05, 6.5, 0.6


def interpolation_period(data, mask=None):
    """
    Find the period in pixels with which the noise of an image changes its size or its correlation.

    Noise is periodic where pixels were interpolated between measured ones: a mosaic of colour filters
    (period 2), an enlarged image. Sources do not depend on such a grid. Mean differences of neighbouring
    pixels therefore depend on the phase only if the noise does.

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
    if _is_repeated(lines, 2):
        # The pattern of an image enlarged four times has a component with a period of two pixels.
        period = 4 if _is_repeated(lines, 4, every=2) else 2
    else:
        period = next((period for period in (3, 4) if _is_repeated(lines, period)), 1)
    # Phases of four pixels share the borders of blocks of eight.
    return 1 if period > 1 and has_compression_blocks(data, mask) else period


def has_compression_blocks(data, mask=None):
    """
    Check if an image was compressed in blocks of 8x8 pixels, as JPEG does.

    Parameters
    ----------
    data : array_like, `~astropy.units.Quantity` or `~astropy.nddata.NDData`
        Image of shape (ny, nx).
    mask : array_like of bool, optional
        True where the data are not to be used, in addition to the mask of an NDData.

    Returns
    -------
    bool
        True if neighbours differ more at every eighth column and at every eighth row. In pictures of high quality, and
        in noise, borders may be too faint to be seen.

    Raises
    ------
    ValueError
        If ``data`` is not two-dimensional, or ``mask`` is not of its shape.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.noise import has_compression_blocks
    >>> image = np.random.default_rng(0).normal(size=(128, 128))
    >>> has_compression_blocks(image), has_compression_blocks(image + np.kron(image[:16, :16], np.ones((8, 8))))
    (False, True)
    """
    data, mask = as_image(data, mask)
    return all(_has_borders(values, bad) for values, bad in ((data, mask), (data.T, mask.T)))


def _has_borders(data, mask):
    """Check if the differences between neighbours along rows stand out at every eighth place."""
    step = max(1, data.size // _MAX_PIXELS)
    width = data.shape[1] // _BLOCK * _BLOCK
    differences = np.abs(np.diff(sample(data, mask, slice(None, None, step)), axis=1, append=np.nan))[:, :width]
    phases = differences.reshape(-1, _BLOCK)
    good = np.isfinite(phases)
    if good.sum(axis=0).min() < _MIN_PIXELS:
        return False
    # Stars are on all phases equally often, but few in number.
    limit = 3 * np.median(phases[good]) or 4 * np.mean(phases[good])
    phases = np.minimum(np.where(good, phases, 0), limit)
    means = phases.sum(axis=0) / good.sum(axis=0)
    usual = np.median(means)
    if not usual > 0:
        return False
    chance = np.sqrt(_BLOCK * np.square(phases).sum()) / phases.sum()
    second, first = np.sort(means / usual - 1)[-2:]
    return bool(first > max(_STANDS_OUT, _LEAST * chance) and second < _NEXT * first)


def _is_repeated(lines, period, every=1):
    """Check if phases ``every`` pixels apart differ: along both axes, or by much along one."""
    contrasts = []
    for groups in lines:
        for order in (1, 2):
            means, chance = _means(groups, period, order)
            parts = [means[y::every, x::every] for y in range(every) for x in range(every)]
            ratio = max(part.max() / max(part.min(), 1e-12 * part.max(), 1e-300) for part in parts)
            contrasts.append(ratio - 1 if ratio - 1 > chance else 0.0)
    axes = max(contrasts[:2]), max(contrasts[2:])
    return min(axes) > _MIN_CONTRAST[period] or max(axes) > _ONE_AXIS


def _groups(data, mask):
    """Return groups of rows, evenly spread over an image, each a multiple of any period, shape (n, 12, nx)."""
    n = data.shape[0] // _GROUP
    step = max(1, n * _GROUP * data.shape[1] // _MAX_PIXELS)
    rows = (np.arange(0, n, step)[:, None] * _GROUP + np.arange(_GROUP)).ravel()
    return sample(data, mask, rows).reshape(-1, _GROUP, data.shape[1])


def _means(groups, period, order):
    """Average absolute differences along rows for each phase, and bound their difference by chance."""
    differences = np.abs(np.diff(groups, order, axis=2))
    differences = differences[:, :, :differences.shape[2] // period * period]
    phases = differences.reshape(-1, period, differences.shape[2] // period, period)
    good = np.isfinite(phases)
    count = good.sum(axis=(0, 2))
    if count.min() < _MIN_PIXELS:
        return np.ones((period, period)), np.inf
    phases = np.where(good, phases, 0)
    # Stars are on all phases equally often, but few in number.
    limit = 3 * np.median(differences[np.isfinite(differences)])
    phases = np.minimum(phases, limit if limit > 0 else 4 * phases.sum() / count.sum())
    # Where photons are few, few differences are significant.
    squares = np.square(phases).sum()
    n_effective = phases.sum() ** 2 / squares / period ** 2 if squares > 0 else 0.0
    chance = 6.5 / np.sqrt(n_effective) if n_effective > _MIN_EFFECTIVE else np.inf
    return phases.sum(axis=(0, 2)) / count, chance
