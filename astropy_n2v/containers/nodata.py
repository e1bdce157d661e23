# Licensed under a 3-clause BSD style license - see LICENSE
"""
Find the pixels of an image that hold no measurement: fill values and regions of one constant value.
"""

import numpy as np
from scipy.ndimage import (
    binary_dilation,
    label,
    maximum_filter,
    maximum_filter1d,
    minimum_filter,
    minimum_filter1d,
    uniform_filter,
)

from ..utils.blocks import as_blocks
from ..utils.sampling import subsample, subsample_where, with_halo
from ..utils.scratch import blocks, blockwise, count_where, zeros

__all__ = ['constant_regions', 'fill_values', 'huge_values', 'quantisation_step']

# Least ratio of magnitudes that are not measurements to others. Rounding errors of a convolution may be smaller
# than its peak by 1e17.
_MAX_RANGE = 1e20
_GAP = 1e10   # least ratio of fill values to the largest value of the data
_ALIKE = 100   # least ratio of the quartiles of magnitudes in a model without noise; it is 4 for noise around zero
_SAMPLE = 100_000   # largest number of pixels that are examined
_FEW = 0.01        # least fraction of small magnitudes in a sample for the larger ones to be fill values
_WINDOW = 4        # pixels: height and width of the smallest region that can be found
_STRIP = 256       # rows processed at a time, to limit temporary arrays
_MAX_VALUES = 4    # largest number of constants that are examined, the most frequent ones
_MIN_SHARE = 0.05  # least fraction of all constant windows that have one value
_MIN_TOTAL = 0.6   # and that have any such value: in an image enlarged by repetition, all values have some windows
# Pixels of other values that a block outside of a region must have for the region not to be due to chance. A block
# of mean 25, at which so few are rare, is empty once in 1e11.
_OCCUPIED = 12
_DISTINCT = 0.95   # least fraction of distinct values in a sample of data without quantisation
_SAME_PHASE = 0.05   # largest distance of quantised values from multiples of the step, in steps
_DENSE = 0.9       # least mean fraction of other values in the 3x3 pixels around each of them
_MIN_FULL = 32     # least number of well-filled blocks
_MAX_LOW = 0.05    # largest fraction of blocks with fewer: fading sources, or few photons, leave many
_MAX_LOW_EDGE = 0.5   # or fraction of the blocks at a long edge: few others fit into thin corners
_MAX_STRAY = 0.002  # largest fraction of other values in a region; noise or photons leave more
# Width in pixels of the band around a region in which others must be dense; least density relative to distant ones.
_BAND, _FADING = 8, 0.4
_PILE = 3          # least number of pixels of the lowest value for a fill value far below all others
_GAP_BELOW = 20    # least gap in widths of the lower half of the data (median minus 1st percentile)


def quantisation_step(values):
    """
    Measure the smallest difference between values of an image.

    Parameters
    ----------
    values : `~numpy.ndarray`
        Data of any shape.

    Returns
    -------
    float
        In the unit of the data; 0 if all are equal.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.containers.nodata import quantisation_step
    >>> quantisation_step(np.array([[0, 16], [48, 16]]))
    16.0
    """
    sample = subsample(values, 20_000).astype(float)
    steps = np.diff(np.unique(sample[np.isfinite(sample)]))
    return float(steps.min()) if steps.size else 0.0


def fill_values(values, mask):
    """
    Find values that are far from all others, such as -1e30 or a repeated -32768.

    Parameters
    ----------
    values : `~numpy.ndarray`
        Data of any shape.
    mask : `~numpy.ndarray` of bool
        True for pixels that are left out; same shape.

    Returns
    -------
    `~numpy.ndarray` of bool or None
        Same shape; None without such a value.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.containers.nodata import fill_values
    >>> image = np.full((8, 8), -1e30)   # even where they are the majority
    >>> image[:3] = np.random.default_rng(1).normal(5, 1, (3, 8))
    >>> int(fill_values(image, np.zeros(image.shape, bool)).sum())
    40
    """
    found, ordered = _huge_values(values, mask)
    if ordered is None:
        return None
    lowest = _lowest(values, mask, found, ordered)
    if lowest is not None:
        blockwise(lambda huge, part, bad: (huge | (part == lowest)) & np.isfinite(part) & ~bad, found, values, mask,
                  out=found)
    return found if found.any() else None


def huge_values(values, mask):
    """
    Find values that are larger than others by an implausible factor.

    Parameters
    ----------
    values : `~numpy.ndarray`
        Data of any shape.
    mask : `~numpy.ndarray` of bool
        True for pixels that are left out; same shape.

    Returns
    -------
    `~numpy.ndarray` of bool or None
        Same shape; None without such a value.
    """
    found, _ = _huge_values(values, mask)
    return found if found is not None and found.any() else None


def _huge_values(values, mask):
    """Find huge values, and a sorted sample of the others."""
    sample, bad = subsample(values, _SAMPLE), subsample(mask, _SAMPLE)
    sample = sample[~bad & np.isfinite(sample)]
    if not sample.size:
        return None, None
    limit = _huge(np.abs(sample[sample != 0]))
    with np.errstate(over='ignore', invalid='ignore'):
        found = blockwise(lambda part, bad: ((part > limit) | (part < -limit)) & np.isfinite(part) & ~bad, values, mask)
        ordered = np.sort(sample[np.abs(sample) <= limit])
    return found, ordered


def _huge(magnitudes):
    """Return the magnitude above which values are fill values."""
    if not magnitudes.size:
        return np.inf
    magnitudes = magnitudes.astype(float)   # the median of integers or float32 may overflow
    typical = float(np.median(magnitudes))
    with np.errstate(under='ignore'):
        small = magnitudes[magnitudes < magnitudes.max() / _MAX_RANGE]
    if small.size >= _FEW * magnitudes.size:
        reference = float(np.median(small))
        # Few distinct values: the core of a noise-free model has as many as pixels.
        if np.unique(magnitudes[magnitudes / _MAX_RANGE > reference]).size <= _MAX_VALUES:
            typical = reference
    limit = _MAX_RANGE * typical
    beyond = magnitudes > limit
    # The wings of a noise-free model are arbitrarily faint relative to its peak, but all intermediate values occur.
    # They do, too, among random bits of a damaged block, in an image whose other values are much alike.
    low, high = np.quantile(magnitudes, [0.25, 0.75])
    if high < _ALIKE * low:
        return limit
    if beyond.any() and magnitudes[beyond].min() < _GAP * magnitudes[~beyond].max(initial=0.0):
        return np.inf
    return limit


def _lowest(values, mask, huge, ordered):
    """Return the lowest value if several pixels have it and a wide gap is above it, or None."""
    if ordered.size < 64:
        return None
    lowest = min(np.min(values[i], where=np.isfinite(values[i]) & ~(mask[i] | huge[i]), initial=ordered[0])
                 for i in blocks(values.shape))
    rest = ordered[np.searchsorted(ordered, lowest, side='right'):].astype(float)
    if 2 * rest.size < ordered.size:
        return None   # more than half of all pixels: a region, or few photons
    median = np.median(rest)
    # With few photons, half of the pixels are empty, and there is no lower half.
    width = median - rest[rest.size // 100] or np.percentile(rest, 84) - median or np.ptp(rest)
    if not (width > 0 and rest[0] - lowest > _GAP_BELOW * width):
        return None
    piled = count_where(lambda part, bad, far: (part == lowest) & ~(bad | far), values, mask, huge)
    return lowest if piled >= _PILE else None


def constant_regions(values, mask):
    """
    Find regions of one constant value that are not due to chance.

    Examples are zeros outside a footprint, chip gaps and missing blocks. The zeros of an image of few photons are data,
    and so are the plateaus of coarsely quantised images. A region must therefore meet two conditions: outside of it,
    blocks of its size are well filled with other values, and its value is not one step from its neighbours.

    Parameters
    ----------
    values : `~numpy.ndarray`
        Data of shape (ny, nx).
    mask : `~numpy.ndarray` of bool
        True for pixels that are left out; same shape.

    Returns
    -------
    regions : `~numpy.ndarray` of bool or None
        Same shape; None without a region.
    constants : list of float
        Values of the regions.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.containers.nodata import constant_regions
    >>> image = np.random.default_rng(1).normal(100, 5, (64, 64))
    >>> image[:16, :16] = 0
    >>> regions, constants = constant_regions(image, np.zeros(image.shape, bool))
    >>> int(regions.sum()), constants
    (256, [0.0])
    """
    found, constants = None, []
    for value in _candidates(values, mask):
        same = _equal(values, value, mask)
        region = same if _is_foreign(values, mask, value, same) else _unlikely(
            same, blockwise(lambda part, bad: ~np.isfinite(part) | bad, values, mask))
        if region is None:
            continue
        if region is not same:
            region = _grow(region, same)
            if _is_plateau(values, region, value, mask):
                continue
        found = region if found is None else blockwise(np.logical_or, found, region)
        constants.append(float(value))
    lines = _constant_lines(values, mask if found is None else blockwise(np.logical_or, mask, found))
    if lines is not None:
        others = np.unique(values[lines])[:_MAX_VALUES]
        constants += [value for value in others.astype(float).tolist() if value not in constants]
        found = lines if found is None else blockwise(np.logical_or, found, lines)
        for value in others:
            # A slightly rotated footprint leaves columns that are partly empty.
            same = _equal(values, value, mask)
            if _is_foreign(values, mask, value, same):
                found |= same
    return found, constants


def _equal(values, value, mask):
    """Find the pixels of a value that count."""
    return blockwise(lambda part, bad: (part == value) & ~bad, values, mask)


def _candidates(values, mask):
    """Return values that fill a notable fraction of all constant 4x4 windows."""
    corners, numbers = [], []
    size = _WINDOW - 1
    for start in range(0, values.shape[0] - size, _STRIP):
        part = values[start:start + _STRIP + size]
        beside = part[:, 1:] == part[:, :-1]
        if not beside.any():
            continue
        rows = beside[:, :-2] & beside[:, 1:-1] & beside[:, 2:]
        below = (part[1:] == part[:-1])[:, :-size]
        below &= rows[1:] & rows[:-1]
        window = below[:-2] & below[1:-1] & below[2:]
        window &= ~mask[start:start + window.shape[0], :window.shape[1]]
        found, counts = np.unique(part[:window.shape[0], :window.shape[1]][window], return_counts=True)
        corners.append(found)
        numbers.append(counts)
    total = sum(counts.sum() for counts in numbers)
    if not total:
        return []
    found, strip = np.unique(np.concatenate(corners), return_inverse=True)
    counts = np.bincount(strip, np.concatenate(numbers)).astype(int)
    order = [i for i in np.argsort(counts)[::-1][:_MAX_VALUES] if counts[i] >= _MIN_SHARE * total]
    return [found[i] for i in order] if counts[order].sum() >= _MIN_TOTAL * total else []


def _is_foreign(values, mask, value, same):
    """Check that a value is not due to chance: far from all others, or among others that do not repeat."""
    sample, bad = subsample(values, _SAMPLE), subsample(mask, _SAMPLE)
    others = np.sort(sample[~bad & np.isfinite(sample) & (sample != value)]).astype(float)
    if others.size < 100:
        return False
    steps = np.diff(others)
    steps = steps[steps > 0]
    below = np.searchsorted(others, float(value)) / others.size
    if 0.01 < below < 0.99:
        # Otherwise it may be the value at which data were clipped.
        return steps.size > _DISTINCT * others.size or _is_between_steps(others, float(value))
    few = others.size // 1000   # dead or hot pixels
    low, median, high = np.percentile(others, (16, 50, 84))
    gap = float(value) - others[-1 - few] if below > 0.5 else others[few] - float(value)
    width = high - median if below > 0.5 else median - low
    if not (steps.size and width > 0 and gap > max(width, 4 * steps.min())):
        return False
    # Few photons are far from 0, too, but do not fill their surroundings.
    return _density(values, mask, same) > _DENSE


def _density(values, mask, same):
    """Average the share of the pixels of other values in the 3x3 pixels around each of them."""
    share = number = 0
    for (rows,) in blocks(values.shape):
        wide, inner = with_halo(rows, 1, values.shape[0])
        others = np.isfinite(values[wide]) & ~same[wide] & ~mask[wide]
        around = uniform_filter(others.astype(np.float32), 3)[inner]
        share += around[others[inner]].sum(dtype=float)
        number += np.count_nonzero(others[inner])
    return share / number if number else np.nan


def _is_between_steps(others, value):
    """Check that a value lies between the steps of all other values, so that it was not rounded with them."""
    # Excluding the step across the value, which may be one of three levels.
    steps = np.concatenate([np.diff(side) for side in np.split(others, [np.searchsorted(others, value)])])
    steps = steps[steps > 0]
    if not steps.size:
        return False
    phase = (others - value) / steps.min() % 1
    return bool(np.ptp(phase) < _SAME_PHASE < phase.mean() < 1 - _SAME_PHASE)


def _opened(pixels):
    """Find the pixels that lie in windows of 4x4 that are all true."""
    # For an even size, the windows of the second filter must extend to the opposite side of a pixel.
    for filter1d, origin in (minimum_filter1d, 0), (maximum_filter1d, -1):
        for axis in (0, 1):
            pixels = filter1d(pixels, _WINDOW, axis=axis, mode='constant', cval=0, origin=origin)
    return pixels


def _blocks(array, size):
    """Sum over blocks."""
    return as_blocks(array, size).sum(axis=(-3, -1), dtype=np.int32)


def _unlikely(same, bad):
    """Find pixels of one value in windows where other values would be expected from the rest of the image."""
    empty, others, valid, unit = same.view(np.uint8), ~same & ~bad, ~bad, 1
    while min(empty.shape) >= 2 * _WINDOW:
        covered = _opened(empty)
        if not covered.any():
            return None
        outside = _blocks(covered, _WINDOW) == 0
        inside = minimum_filter(~outside, 3)
        count, usable = _blocks(others, _WINDOW), _blocks(valid, _WINDOW)
        outside &= 2 * usable >= (unit * _WINDOW) ** 2
        low = outside & (count < _OCCUPIED * usable / (unit * _WINDOW) ** 2)
        n_low, n_full = np.count_nonzero(low), np.count_nonzero(outside & ~low)
        strays = count[inside].sum() > _MAX_STRAY * usable[inside].sum()
        allowed = _MAX_LOW * min(n_full, np.count_nonzero(covered) / _WINDOW ** 2)
        edge = np.count_nonzero(outside & maximum_filter(~outside, 3))
        if edge < 0.5 * n_full:
            allowed = max(allowed, _MAX_LOW_EDGE * edge)   # blocks on an edge
        if n_full >= _MIN_FULL and not strays and n_low <= allowed:
            covered = covered.view(bool).repeat(unit, axis=0).repeat(unit, axis=1)
            pad = [(0, n - m) for n, m in zip(same.shape, covered.shape)]
            return np.pad(covered, pad, mode='edge') & same
        others, valid = _blocks(others, 2), _blocks(valid, 2)
        unit *= 2
        empty = ((others == 0) & (valid == unit ** 2)).view(np.uint8)
    return None


def _is_plateau(values, region, value, mask):
    """Check if others come close to a region in value (a band of a quantised image) or are few beside it."""
    counts = ~mask & np.isfinite(values)
    step = quantisation_step(values[counts] if mask.any() else values)
    outside = counts & ~region
    ring = binary_dilation(region) & outside

    def near(part):
        """Return the fraction of the pixels of another value that are one step away."""
        part = subsample_where(values, part, _SAMPLE).astype(float) - float(value)
        others = np.abs(part[part != 0])
        return np.mean(others <= 1.5 * step) if others.size else 0.0

    beside, elsewhere = near(ring), near(outside)
    if beside <= 0.25:
        return False
    size = min(8, *values.shape)
    n, others = _blocks(outside, size), _blocks(outside & (values != value), size)
    n, others = n[2 * n > size ** 2], others[2 * n > size ** 2]
    density = np.percentile(others / n, 90) if n.size else 0.0
    # Photons that become fewer towards a region: a natural edge, not a cut-off.
    band = binary_dilation(region, iterations=_BAND) & outside
    if np.count_nonzero(band & (values != value)) < _FADING * density * np.count_nonzero(band):
        return True
    # Of few photons above 0 most are 1, everywhere; but then most pixels are 0.
    return beside > 2 * elsewhere or density > 0.9 and (elsewhere > 0.8 or beside > (1 + elsewhere) / 2)


def _grow(region, same):
    """Add to a region the connected pixels of its value, unless that value is everywhere."""
    total, size = np.count_nonzero(same), np.count_nonzero(region)
    outside = max(same.size - size, 1)
    if total - size > max(0.1 * size, 0.05 * outside):
        return binary_dilation(region, np.ones((3, 3), bool), iterations=2, mask=same)
    parts, _ = label(same, np.ones((3, 3)))
    wanted = np.zeros(parts.max() + 1, dtype=bool)
    wanted[parts[region]] = True
    wanted[0] = False
    grown = wanted[parts]
    # A value that is not due to chance at all: the rest are fragments of the region.
    return same if total - np.count_nonzero(grown) < min(0.25 * size, 0.005 * outside) else grown


def _constant_lines(values, mask):
    """Find rows and columns of one value: dead columns, edges that a shift left empty."""
    found = None
    for axis in (0, 1):
        image, bad = (values, mask) if axis == 0 else (values.T, mask.T)
        equal, n = _repetitions(values, mask, axis)
        lines = np.flatnonzero((equal > 0.9 * n) & (n > max(16, image.shape[0] // 2)))
        # In an image of few distinct values, all lines are like that.
        if not lines.size or lines.size > 0.2 * image.shape[1] or np.median(equal / n) > 0.2:
            continue
        found = zeros(values.shape, dtype=bool) if found is None else found
        for i in lines:
            column = image[:, i][~bad[:, i]]
            options, counts = np.unique(column, return_counts=True)
            (found if axis == 0 else found.T)[:, i] |= (image[:, i] == options[counts.argmax()]) & ~bad[:, i]
    return found


def _repetitions(values, mask, axis):
    """Count along an axis the pixels that equal the one before them, and those that count, at least one."""
    shape = values.shape[1 - axis]
    equal, n = np.zeros(shape, dtype=int), np.zeros(shape, dtype=int)
    for (rows,) in blocks(values.shape):
        # Of columns, with the row before; of rows, which are complete, the whole is counted at once.
        wide = slice(max(rows.start - 1, 0), rows.stop) if axis == 0 else rows
        good, part = ~mask[rows], values[wide]
        if axis == 0:
            equal += np.count_nonzero((part[1:] == part[:-1]) & good[len(good) + 1 - len(part):], axis=0)
            n += np.count_nonzero(good, axis=0)
        else:
            equal[rows] = np.count_nonzero((part[:, 1:] == part[:, :-1]) & good[:, 1:], axis=1)
            n[rows] = np.count_nonzero(good, axis=1)
    return equal, np.maximum(n, 1)
