# Licensed under a 3-clause BSD style license - see LICENSE
"""
Samples of the pixels of an image: representative pixels and parts, bins of brightness, and blocks of rows.
"""

import math

import numpy as np

from .scratch import blocks

__all__ = ['brightness_bins', 'coprime_step', 'cutouts', 'middle_cutout', 'row_blocks', 'subsample', 'subsample_where',
           'with_halo']

_MAX_SAMPLE = 1_000_000   # largest number of pixels of a sample
_ROWS = 256   # rows of an image that are processed at a time, to limit temporary arrays
_MIN_PER_BIN = 200   # least number of pixels in a bin of brightness


def subsample(values, size=_MAX_SAMPLE):
    """
    Take every n-th element of an array, at most ``size`` of them, from all its columns.

    Parameters
    ----------
    values : `~numpy.ndarray`
        Any shape.
    size : int, optional
        The largest number of elements.

    Returns
    -------
    `~numpy.ndarray`
        One-dimensional.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.utils.sampling import subsample
    >>> subsample(np.arange(10), 5).tolist()
    [0, 3, 6, 9]
    """
    values = np.asarray(values)
    step = coprime_step(-(-values.size // size), values.shape[-1] if values.ndim else 1)
    return values.ravel()[::step]


def subsample_where(values, where, size=_MAX_SAMPLE):
    """
    Take every n-th of the pixels of an image that are selected, at most ``size`` of them.

    Parameters
    ----------
    values : `~numpy.ndarray`
        Any shape.
    where : `~numpy.ndarray` of bool
        True for the pixels, of that shape.
    size : int, optional
        The largest number of pixels.

    Returns
    -------
    `~numpy.ndarray`
        As ``subsample(values[where], size)``, without the memory that all selected pixels take.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.utils.sampling import subsample_where
    >>> image = np.arange(10).reshape(2, 5)
    >>> subsample_where(image, image > 2, 3).tolist()
    [3, 6, 9]
    """
    total = np.count_nonzero(where)
    step = coprime_step(-(-total // size), total)
    parts, first = [np.zeros(0, values.dtype)], 0
    for index in blocks(values.shape):
        part = values[index][where[index]]
        parts.append(part[first::step])
        first = (first - part.size) % step
    return np.concatenate(parts)


def coprime_step(step, width):
    """
    Choose a step through a flattened image that samples all of its columns.

    Parameters
    ----------
    step : int
        The least step; values below 1 are replaced by 1.
    width : int
        Number of columns.

    Returns
    -------
    int
        The smallest larger or equal step without a common divisor with ``width``.

    Examples
    --------
    >>> from astropy_n2v.utils.sampling import coprime_step
    >>> coprime_step(16, 4000)
    17
    """
    step = max(1, int(step))
    while step > 1 and math.gcd(step, int(width)) > 1:
        step += 1
    return step


def cutouts(shape, size=448):
    """
    Return the index of nine cut-outs that are evenly spread over an image and represent it.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the image.
    size : int, optional
        Height and width of a cut-out in pixels.

    Returns
    -------
    tuple
        Index into the image: the cut-outs side by side, or all of an image that is not larger than the
        cut-outs together.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.utils.sampling import cutouts
    >>> image = np.zeros((4096, 1000), dtype='f4')
    >>> image[cutouts(image.shape)].shape
    (1344, 1000)
    """
    axes = []
    for n in shape:
        starts = np.linspace(0, n - size, 3).astype(int)
        axes.append(np.arange(n) if n <= 3 * size else np.concatenate([np.arange(i, i + size) for i in starts]))
    if all(axis.size == n for axis, n in zip(axes, shape)):
        return slice(None), slice(None)
    return np.ix_(*axes)


def row_blocks(n_rows, size=_ROWS):
    """
    Divide the rows of an image into blocks, to process them one after the other in little memory.

    Parameters
    ----------
    n_rows : int
        Number of rows.
    size : int, optional
        Number of rows of a block; the last one may have fewer.

    Returns
    -------
    list of slice
        The rows of each block.

    See Also
    --------
    with_halo : Add the rows around a block that a filter needs.

    Examples
    --------
    >>> from astropy_n2v.utils.sampling import row_blocks
    >>> row_blocks(10, 4)
    [slice(0, 4, None), slice(4, 8, None), slice(8, 10, None)]
    """
    return [slice(start, min(start + size, n_rows)) for start in range(0, n_rows, size)]


def with_halo(rows, halo, n_rows):
    """
    Add the surrounding rows to a block of rows, within the image.

    Parameters
    ----------
    rows : slice
        The block, as from `row_blocks`.
    halo : int
        Number of rows above and below.
    n_rows : int
        Number of rows of the image.

    Returns
    -------
    wide : slice
        The rows of the block and around it, in the image.
    inner : slice
        The rows of the block, in the part of the image at ``wide``.

    Examples
    --------
    >>> from astropy_n2v.utils.sampling import with_halo
    >>> with_halo(slice(4, 8), 2, 9)
    (slice(2, 9, None), slice(2, 6, None))
    """
    first = max(rows.start - halo, 0)
    return slice(first, min(rows.stop + halo, n_rows)), slice(rows.start - first, rows.stop - first)


def middle_cutout(counts, size):
    """
    Return the index of a cut-out around the middle of the valid pixels.

    The middle of the image itself may be masked.

    Parameters
    ----------
    counts : array_like of bool
        True for the valid pixels, shape (ny, nx); at least one.
    size : int
        Height and width of the cut-out in pixels; less where the image is smaller.

    Returns
    -------
    tuple of slice
        Rows and columns.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.utils.sampling import middle_cutout
    >>> counts = np.zeros((100, 200), dtype=bool)
    >>> counts[60:90] = True
    >>> middle_cutout(counts, 20)
    (slice(64, 84, None), slice(90, 110, None))
    """
    counts = np.asarray(counts)
    # The row with as many pixels above as below, and its middle pixel.
    in_rows = np.cumsum(np.count_nonzero(counts, axis=1))
    row = np.searchsorted(in_rows, in_rows[-1] / 2)
    in_row = np.flatnonzero(counts[row])
    middle = row, in_row[len(in_row) // 2]
    starts = [min(max(0, int(m) - size // 2), max(0, n - size)) for m, n in zip(middle, counts.shape)]
    return tuple(slice(start, min(start + size, n)) for start, n in zip(starts, counts.shape))


def brightness_bins(mean):
    """
    Divide pixels into bins of brightness, each with enough of them for statistics.

    The bins overlap: a pixel belongs to the two bins with the nearest middles, with linear weights. No result
    therefore depends on the rounding error of a pixel at an edge.

    Parameters
    ----------
    mean : `~numpy.ndarray`
        Blind means, shape (n,).

    Returns
    -------
    list of tuple
        For each bin, faint ones first: the blind mean at its middle, the indices of its pixels and their
        weights, up to 1. Empty if pixels are too few.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.utils.sampling import brightness_bins
    >>> [(float(middle), round(weight.sum())) for middle, _, weight in brightness_bins(np.arange(20000.0))][-4:]
    [(18500.0, 875), (19250.0, 562), (19625.0, 312), (19875.0, 250)]
    """
    n = mean.size
    if n < _MIN_PER_BIN:
        return []
    order = np.argsort(mean)
    # Twentieths, and for the few bright pixels repeated halves of the brightest one.
    tail = 0.05 * 0.5 ** np.arange(1, 30)
    edges = np.concatenate([np.arange(0, 0.96, max(0.05, _MIN_PER_BIN / n)), 1 - tail])
    edges = np.unique(np.append(edges[n * (1 - edges) >= _MIN_PER_BIN], 1.0))
    middles = n * (edges[:-1] + edges[1:]) / 2
    bins = []
    for i, middle in enumerate(middles):
        first = 0 if i == 0 else int(middles[i - 1])
        stop = n if i == len(middles) - 1 else int(middles[i + 1]) + 1
        # The first and the last bin include all pixels beyond their middles.
        own = np.interp(np.arange(first, stop), middles, np.arange(len(middles)) == i)
        bins.append((mean[order[int(middle)]], order[first:stop], own))
    return bins
