# Licensed under a 3-clause BSD style license - see LICENSE
"""
Steps in level or noise where the amplifiers of a detector meet.
"""

import warnings

import numpy as np

from ..utils.robust import MEDIAN_ABSOLUTE, robust_std
from .blocks import as_image, sample

__all__ = ['amplifier_edges']

# Positions where detectors are divided, as fractions of the columns, up to some pixels that a trim removes.
_PARTS = (0.25, 0.5, 0.75)
_SLACK = 0.01   # tolerance of the position, as a fraction of the columns
_MIN_SIZE = 64   # least rows and columns of an image that may be divided
_NEAR = 6   # columns on each side that are compared in level
# Columns on each side that are compared in noise; fewer in small images.
_WIDE, _WIDE_SMALL = 32, 16
_ROWS = 256   # number of rows in which columns are compared, at most
_SECTIONS = 16   # number of sections along the edge, each of which must show the step
_NOISE_SECTIONS = 8   # number of sections that must show a change of the noise, which needs more pixels
# Least step in units of the noise, and least relative change of the noise.
_MIN_STEP, _MIN_CHANGE = 0.3, 0.15
_CERTAIN = 8.0   # least significance of a step in standard errors


def amplifier_edges(data, mask=None):
    """
    Find where amplifiers with a level or a noise of their own meet.

    Parameters
    ----------
    data : array_like, `~astropy.units.Quantity` or `~astropy.nddata.NDData`
        Image of shape (ny, nx).
    mask : array_like of bool, optional
        True where the data are not to be used, in addition to the mask of an NDData.

    Returns
    -------
    rows : list of int
        The first row of each amplifier but the first.
    columns : list of int
        The first column of each amplifier but the first.

    Raises
    ------
    ValueError
        If ``data`` is not two-dimensional, or ``mask`` is not of its shape.

    Notes
    -----
    A step must be sharp, at a half or a quarter of the image, and constant along the edge. A change of the noise
    alone is searched at the half only.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.noise import amplifier_edges
    >>> image = np.random.default_rng(0).normal(size=(128, 128))
    >>> amplifier_edges(image)
    ([], [])
    >>> image[:, 64:] += 5
    >>> amplifier_edges(image)
    ([], [64])
    """
    data, mask = as_image(data, mask)
    return _edges(data.T, None if mask is None else mask.T), _edges(data, mask)


def _edges(data, mask):
    """First columns of the amplifiers side by side."""
    if min(data.shape) < _MIN_SIZE:
        return []
    image = sample(data, mask, slice(None, None, max(1, data.shape[0] // _ROWS)))
    filled = np.flatnonzero(np.isfinite(image).mean(axis=0) > 0.5)   # an overscan between them is masked
    if filled.size < _MIN_SIZE:
        return []
    edges = []
    wide = _WIDE if filled.size >= 8 * _WIDE else _WIDE_SMALL
    for part in _PARTS:
        middle, slack = round(part * filled.size), max(2, int(_SLACK * filled.size))
        reach = slack + wide + 2 * _NEAR + 1
        if middle < reach or middle > filled.size - reach:
            continue
        columns = filled[middle - reach:middle + reach]
        local = _find_edge(image[:, columns], reach, slack, wide, part == 0.5)
        if local is not None:
            edges.append(int(columns[local]))
    return edges


def _find_edge(image, middle, slack, wide, noise_alone):
    """Find the column with a step within a tolerance of the middle; None without a step."""
    # Differences of fourth order contain hardly any structure.
    differences = np.abs(np.diff(image, 4, axis=0))
    noise = _median(differences, 0) / MEDIAN_ABSOLUTE / np.sqrt(70)
    # Columns of constant values, or with hardly any values.
    if not np.isfinite(noise).all() or not (noise > 0).all():
        return None
    candidates = np.arange(middle - slack, middle + slack + 1)
    across = _median(image[:, candidates] - image[:, candidates - 1], 0)
    if not np.isfinite(across).all():
        return None
    best = np.argmax(np.abs(across))
    column = candidates[best]
    if (abs(across[best]) > 0.5 * _MIN_STEP * np.median(noise)
            and _is_step(image, column, across[best], float(np.median(noise)))):
        return column
    if not noise_alone:
        return None
    logarithm = np.log(noise)
    changes = [_change(logarithm, candidate, wide) for candidate in candidates]
    column = candidates[np.argmax(np.abs(changes))]
    return column if _is_change(logarithm, column, wide) and _is_along(differences, column, wide) else None


def _is_step(image, column, across, noise):
    """Check if the level changes at a column: at once, by a constant amount along it, and not beside it."""
    near = image[:, column - 2 * _NEAR:column + 2 * _NEAR]
    sections = [section.reshape(-1, 4, _NEAR) for section in np.array_split(near, _SECTIONS)]
    # A section may be masked completely.
    levels = [_median(section, (0, 2)) for section in sections if np.isfinite(section).any(axis=(0, 2)).all()]
    if len(levels) < _SECTIONS // 2:
        return False
    left, step, right = np.diff(levels, axis=1).T
    typical = np.median(step)
    if typical == 0:
        return False
    rows = image.shape[0] / _SECTIONS
    scatter = max(robust_std(step), 1.8 * noise / np.sqrt(rows * _NEAR))
    alike = np.abs(step - typical) < max(0.5 * abs(typical), 3 * scatter)
    beside = max(abs(np.median(left)), abs(np.median(right)))
    least = max(_MIN_STEP * noise, _CERTAIN * scatter / np.sqrt(_SECTIONS), 4 * beside)
    return (abs(typical) > least and across / typical > 0.6
            and alike.mean() > 0.7 and (np.sign(step) == np.sign(typical)).mean() > 0.85)


def _change(values, column, wide):
    return values[column:column + wide].mean() - values[column - wide:column].mean()


def _is_change(logarithm, column, wide):
    """Check if the noise changes at a column, at once and not beside it."""
    change, near = (_change(logarithm, column, width) for width in (wide, wide // 4))
    left, right = logarithm[column - wide:column], logarithm[column:column + wide]
    error = np.sqrt((left.var() + right.var()) / wide)
    # Compare the halves of each side to estimate the change by chance.
    beside = max(abs(part[:wide // 2].mean() - part[wide // 2:].mean()) for part in (left, right))
    return abs(change) > max(_MIN_CHANGE, _CERTAIN * error, 3 * beside) and 0.6 < near / change < 1.4


def _is_along(differences, column, wide):
    """Check if the noise changes along all of an edge, and not only where a nebula is beside it."""
    left, right = differences[:, column - wide:column], differences[:, column:column + wide]
    ratios = []
    for parts in zip(*(np.array_split(side, _NOISE_SECTIONS) for side in (left, right))):
        if all(np.isfinite(part).any() for part in parts):
            medians = [_median(part, None) for part in parts]
            ratios.append(np.log(medians[1] / medians[0]) if min(medians) > 0 else 0.0)
    ratios = np.array(ratios)
    typical = np.median(ratios) if ratios.size else 0.0
    return bool(typical) and bool(np.min(ratios / typical) > 0 and np.mean(ratios / typical > 0.5) >= 0.75)


def _median(values, axis):
    """Return the median along axes, NaN without values; the function that ignores NaN is slower by far."""
    if np.isfinite(values).all():
        return np.median(values, axis=axis)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', RuntimeWarning)   # masked columns
        return np.nanmedian(values, axis=axis)
