# Licensed under a 3-clause BSD style license - see LICENSE
"""
Steps in level or noise where the amplifiers of a detector meet.
"""

import numpy as np

from .blocks import as_image, sample

__all__ = ['amplifier_edges']

# Detectors are divided into halves or quarters, within some pixels that a trim leaves.
_PARTS = (0.25, 0.5, 0.75)
_SLACK = 0.01   # of the number of columns
_MIN_SIZE = 64   # pixels
_NEAR = 6   # columns on each side that are compared in level
_WIDE = 16   # columns on each side that are compared in noise
_ROWS = 256   # of which the columns are compared
_SECTIONS = 16   # along the edge, each of which must show the step
# Least step in units of the noise, and least change of the noise.
_MIN_STEP, _MIN_CHANGE = 0.3, 0.15
_CERTAIN = 10.0


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
    rows, columns : list of int
        The first row, or column, of each amplifier but the first. A step counts if it is sharp, at a half or a
        quarter of the image, and the same along all of it.

    Raises
    ------
    ValueError
        If ``data`` is not two-dimensional, or ``mask`` is not of its shape.

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
    for part in _PARTS:
        middle, slack = round(part * filled.size), max(2, int(_SLACK * filled.size))
        reach = slack + 2 * _WIDE + 1
        if middle < reach or middle > filled.size - reach:
            continue
        columns = filled[middle - reach:middle + reach]
        local = _find_edge(image[:, columns], reach, slack)
        if local is not None:
            edges.append(int(columns[local]))
    return edges


def _find_edge(image, middle, slack):
    """The column within a slack of the middle where a step is; None if there is none."""
    noise = np.nanmedian(np.abs(np.diff(image, 2, axis=0)), axis=0) / 0.6745 / np.sqrt(6)
    # A column of constant values, or with hardly any.
    if not np.isfinite(noise).all() or not (noise > 0).all():
        return None
    candidates = np.arange(middle - slack, middle + slack + 1)
    across = np.nanmedian(image[:, candidates] - image[:, candidates - 1], axis=0)
    column = candidates[np.argmax(np.abs(across))]
    if np.abs(across).max() > 0.5 * _MIN_STEP * np.median(noise) and _is_step(image, column, float(np.median(noise))):
        return column
    logarithm = np.log(noise)
    changes = [_change(logarithm, candidate) for candidate in candidates]
    column = candidates[np.argmax(np.abs(changes))]
    return column if _is_change(logarithm, column) else None


def _is_step(image, column, noise):
    """Whether the level changes at a column, by the same amount along all of it, and not beside it."""
    sections = np.array_split(image, _SECTIONS)
    levels = np.array([[np.nanmedian(section[:, start:start + _NEAR])
                        for start in range(column - 2 * _NEAR, column + 2 * _NEAR, _NEAR)] for section in sections])
    left, step, right = np.diff(levels, axis=1).T
    typical = np.median(step)
    rows = image.shape[0] / _SECTIONS
    scatter = max(np.median(np.abs(step - typical)) / 0.6745, 1.8 * noise / np.sqrt(rows * _NEAR))
    alike = np.abs(step - typical) < max(0.5 * abs(typical), 3 * scatter)
    beside = max(abs(np.median(left)), abs(np.median(right)))
    return (abs(typical) > max(_MIN_STEP * noise, _CERTAIN * scatter / np.sqrt(_SECTIONS), 4 * beside)
            and alike.mean() > 0.7 and (np.sign(step) == np.sign(typical)).mean() > 0.85)


def _change(values, column):
    return values[column:column + _WIDE].mean() - values[column - _WIDE:column].mean()


def _is_change(logarithm, column):
    """Whether the noise changes at a column, and not beside it."""
    change = _change(logarithm, column)
    left, right = logarithm[column - _WIDE:column], logarithm[column:column + _WIDE]
    error = np.sqrt((left.var() + right.var()) / _WIDE)
    beside = max(abs(_change(logarithm, column - _WIDE)), abs(_change(logarithm, column + _WIDE)))
    return abs(change) > max(_MIN_CHANGE, _CERTAIN * error, 4 * beside)
