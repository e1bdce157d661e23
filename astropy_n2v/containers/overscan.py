# Licensed under a 3-clause BSD style license - see LICENSE
"""
Find overscan: strips of an image without light.
"""

import re

import numpy as np

from ..utils.sampling import subsample
from ..utils.scratch import blockwise, full, zeros

__all__ = ['overscan']

_NARROWEST = 4   # least number of rows or columns of a strip


def _section(text, shape):
    """Return rows and columns of a section such as '[1:20,1:512]' of a header, or None."""
    match = re.fullmatch(r'\s*\[\s*(\d+)\s*:\s*(\d+)\s*,\s*(\d+)\s*:\s*(\d+)\s*\]\s*', str(text))
    if match is None:
        return None
    x0, x1, y0, y1 = map(int, match.groups())
    (x0, x1), (y0, y1) = sorted((x0, x1)), sorted((y0, y1))
    if min(x0, y0) < 1 or x1 > shape[1] or y1 > shape[0] or (x1 - x0 + 1, y1 - y0 + 1) == shape[::-1]:
        return None   # a section of the untrimmed or unbinned frame, or all of it
    return slice(y0 - 1, y1), slice(x0 - 1, x1)


def overscan(values, mask, header):
    """
    Find overscan strips: columns or rows without light.

    A strip is darker than the data beside it, with a sharp step, and less noisy. Strips that the header names (BIASSEC,
    DATASEC, TRIMSEC) are used if they differ from the data at all, since these cards outlive a trimming.

    Parameters
    ----------
    values : `~numpy.ndarray`
        Data of shape (ny, nx).
    mask : `~numpy.ndarray` of bool
        True for pixels that are left out; same shape.
    header : mapping
        FITS header or dictionary.

    Returns
    -------
    `~numpy.ndarray` of bool or None
        Same shape; None without a strip.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.containers.overscan import overscan
    >>> rng = np.random.default_rng(1)
    >>> image = rng.normal(500, 20, (64, 200))
    >>> image[:, 180:] = rng.normal(100, 5, (64, 20))
    >>> strip = overscan(image, np.zeros(image.shape, bool), {})
    >>> int(strip.sum(axis=1)[0]), bool(strip[:, 180:].all())
    (20, True)
    """
    found = zeros(values.shape, dtype=bool)
    for axis in (0, 1):
        for start, stop in _dark_strips(values, mask, axis):
            (found if axis == 0 else found.T)[:, start:stop] = True
    for keyword, inverted in ('BIASSEC', False), ('TRIMSEC', True), ('DATASEC', True):
        section = _section(header[keyword], values.shape) if keyword in header else None
        if section is None:
            continue
        part = full(values.shape, inverted, dtype=bool)
        part[section] = not inverted
        if _differs(values, blockwise(lambda own, bad: own & ~bad, part, mask),
                    blockwise(lambda own, other, bad: ~(own | other | bad), part, found, mask)):
            found |= part
    if not found.any():
        return None
    blockwise(lambda own, bad: own & ~bad, found, mask, out=found)
    return found if found.any() else None


def _differs(values, strip, data):
    """Check if the pixels of a strip are less noisy than others, or lower."""
    strip, data = (values[part] for part in (strip, data))
    strip, data = (subsample(part[np.isfinite(part)], 100_000).astype(float) for part in (strip, data))
    if min(strip.size, data.size) < 16:
        return False
    low, width = (np.diff(np.percentile(part, (16, 50)))[0] for part in (strip, data))
    step = np.median(data) - np.median(strip)
    return bool(step > 0.5 * max(width, low) or low < 0.8 * width and step > -0.5 * width)


def _dark_strips(values, mask, axis):
    """Find the first and last (not included) columns (axis 0) or rows of dark strips with a sharp edge."""
    image, bad = (values, mask) if axis == 0 else (values.T, mask.T)
    step = max(1, image.shape[0] // 64)
    lines = np.ascontiguousarray(np.where(bad[::step], np.nan, image[::step]).T, dtype=np.float32)
    n = np.count_nonzero(np.isfinite(lines), axis=1)
    columns = np.flatnonzero(2 * n > lines.shape[1])
    if columns.size < 32 or lines.shape[1] < 8:
        return []
    # NaN is sorted to the end.
    lines, n = np.sort(lines[columns], axis=1), n[columns]
    low, level, high = (np.take_along_axis(lines, (share * n).astype(int)[:, None], axis=1)[:, 0].astype(float)
                        for share in (0.1587, 0.5, 0.8413))
    width = (high - low) / 2
    typical = np.median(width)
    if not typical > 0:
        return []
    # Differences over more than one column, so that a column in transition does not hide the edge.
    edges = np.flatnonzero(np.abs(np.diff(level)) > 3 * typical) + 1
    bounds = [0, *edges.tolist(), columns.size]
    parts = [(a, b) for a, b in zip(bounds[:-1], bounds[1:])]
    long = [i for i, (a, b) in enumerate(parts) if b - a > 0.15 * columns.size]
    if len(parts) > 12 or not long:
        return []
    found = []
    for i, (a, b) in enumerate(parts):
        beside = [parts[j] for j in (max((j for j in long if j < i), default=None),
                                     min((j for j in long if j > i), default=None)) if j is not None]
        if i in long or b - a < _NARROWEST:
            continue
        flat = np.ptp(np.percentile(level[a:b], (10, 90))) < typical
        quiet = all(np.median(width[a:b]) < 0.8 * np.median(width[c:d]) for c, d in beside)
        darker = any(np.median(level[a:b]) < np.median(level[c:d]) - 3 * typical for c, d in beside)
        if flat and quiet and darker:
            found.append((columns[a], columns[b - 1] + 1))
    return found
