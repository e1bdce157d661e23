# Licensed under a 3-clause BSD style license - see LICENSE
"""
Find blocks of an image whose values are random numbers, as after bit flips or in tiles that were lost.
"""

import numpy as np
from scipy.ndimage import binary_closing, binary_dilation, binary_erosion, find_objects, label

from ..utils.blocks import as_blocks
from ..utils.robust import MEDIAN_ABSOLUTE
from ..utils.sampling import subsample
from ..utils.scratch import blockwise, count_where, zeros

__all__ = ['damaged_blocks']

# Distance from the level of the image, in units of its noise, from which a value may be damaged. Others are outliers,
# which do no harm to the rest of an image.
_WILD = 300.0
_CELL = 8          # pixels: height and width of the cells that are examined
_SHARE = 0.25      # least fraction of wild values in a cell: half of all random floats of 32 bits are tiny
# Least fraction of wild values in the cells that are judged of a small group, relative to the one with most.
_DENSE = 0.8
_CELLS = 64        # largest number of cells that are judged
_LAGS = 3          # pixels: largest distance of neighbours that are compared; mosaics of colours repeat after two
# Largest correlation of neighbours in random values, on a logarithmic scale, besides its error. That of stars with a
# FWHM of one pixel is 0.4, of others 0.6 and more.
_RANDOM, _ERRORS = 0.2, 2.0
# Least median difference of neighbours on this scale, in powers of e. It is 1 or more in random values, and below 0.1
# in bright areas, where it is due to photon noise.
_SCATTER = 0.3
# Largest difference from one of the ratio of the median to the rms deviation, besides its error, scaled to be one for a
# normal distribution, as of noise: values of damaged files are uniform (1.28) or spread over powers of ten (0).
_NORMAL = 0.1
_MOST = 0.3        # largest fraction of an image; if it is more, the image may be like that
_NEAR = 5          # pixels: width of gaps between wild values that belong to a block


def damaged_blocks(values, mask):
    """
    Find blocks of values that are extreme, and have nothing to do with their neighbours.

    Images of stars, however bright, vary smoothly from pixel to pixel.

    Parameters
    ----------
    values : `~numpy.ndarray`
        Data of shape (ny, nx).
    mask : `~numpy.ndarray` of bool
        True for pixels that are left out; same shape.

    Returns
    -------
    damaged : `~numpy.ndarray` of bool or None
        Same shape; None without such a block.
    places : list of tuple of slice
        Rows and columns of each block.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.containers.damage import damaged_blocks
    >>> rng = np.random.default_rng(1)
    >>> image = rng.normal(100, 5, (64, 64))
    >>> image[16:32, 8:40] = rng.uniform(-1e7, 1e7, (16, 32))
    >>> damaged_blocks(image, np.zeros(image.shape, bool))[1]
    [(slice(16, 32, None), slice(8, 40, None))]
    """
    sample = subsample(values)[~subsample(mask)].astype(float)
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        return None, []
    level = np.median(sample)
    noise = np.median(np.abs(sample - level)) / MEDIAN_ABSOLUTE
    if not noise > 0:
        return None, []

    def is_wild(part, bad):
        with np.errstate(invalid='ignore'):   # of signalling NaN
            return (np.abs(part.astype(float) - level) > _WILD * noise) & ~bad

    if count_where(is_wild, values, mask) < _SHARE * _CELL ** 2:
        return None, []
    wild = blockwise(is_wild, values, mask)
    numbers = as_blocks(wild, _CELL, pad=True).sum(axis=(-3, -1))
    groups, count = label(numbers >= _SHARE * _CELL ** 2, np.ones((3, 3)))
    damaged, places = None, []
    for number, box in enumerate(find_objects(groups), 1):
        inside = groups[box] == number
        if not _is_random(values, mask, inside, numbers[box], box, level, noise):
            continue
        damaged = zeros(values.shape, dtype=bool) if damaged is None else damaged
        places.append(_mark(damaged, wild, groups == number, box))
    if damaged is None or np.count_nonzero(damaged) > _MOST * damaged.size:
        return None, []
    return damaged, places


def _is_random(values, mask, inside, numbers, box, level, noise):
    """Check that the values of some cells differ from their neighbours as random numbers do."""
    judged = binary_erosion(inside)   # without those at the edge of a block
    if not judged.any():
        judged = inside & (numbers >= _DENSE * numbers[inside].max())
    corners = np.argwhere(judged) + [part.start for part in box]
    corners = corners[::-(-len(corners) // _CELLS)] * _CELL
    cells = []
    for y, x in corners:
        part = (slice(y, y + _CELL), slice(x, x + _CELL))
        if values[part].shape == (_CELL, _CELL):
            cells.append(np.where(mask[part], np.nan, values[part].astype(float)))
    if not cells:
        return False
    if _is_normal(np.array(cells)):
        return False
    with np.errstate(invalid='ignore', over='ignore'):
        scaled = np.arcsinh((np.array(cells) - level) / noise)
        scaled[~np.isfinite(scaled)] = np.nan
        scaled -= np.nanmean(scaled) if np.isfinite(scaled).any() else 0.0
        pairs = [(scaled[:, lag:], scaled[:, :-lag]) if axis == 0 else (scaled[..., lag:], scaled[..., :-lag])
                 for lag in range(1, _LAGS + 1) for axis in (0, 1)]
        products = [(first * second)[np.isfinite(first * second)] for first, second in pairs]
        steps = [np.abs(first - second) for first, second in pairs[:2]]
    variance = np.nanmean(scaled ** 2)
    if not variance > 0 or min(product.size for product in products) < _CELL:
        return False
    limits = [_RANDOM + _ERRORS / np.sqrt(product.size) for product in products]
    scatter = np.nanmedian(np.concatenate([step.ravel() for step in steps]))
    return scatter > _SCATTER and all(np.mean(product) < limit * variance for product, limit in zip(products, limits))


def _is_normal(values):
    """Check that values are distributed as noise is, however large: errors of some parts of an image may be."""
    values = values[np.isfinite(values)]
    with np.errstate(over='ignore', invalid='ignore'):
        deviations = np.abs(values - np.median(values))
        ratio = np.median(deviations) / MEDIAN_ABSOLUTE / np.sqrt(np.mean(deviations ** 2))
    return abs(ratio - 1) < _NORMAL + 1 / np.sqrt(values.size)


def _mark(damaged, wild, group, box):
    """Mark the values of a group of cells, and others between them; return the rows and columns."""
    # Cells at its edge may have fewer.
    cells = tuple(slice(max(part.start - 1, 0), part.stop + 1) for part in box)
    area = tuple(slice(part.start * _CELL, part.stop * _CELL) for part in cells)
    near = binary_dilation(group[cells], np.ones((3, 3))).repeat(_CELL, axis=0).repeat(_CELL, axis=1)
    own = wild[area] & near[:wild[area].shape[0], :wild[area].shape[1]]
    own = binary_closing(np.pad(own, _NEAR), np.ones((_NEAR, _NEAR)))[_NEAR:-_NEAR, _NEAR:-_NEAR]
    damaged[area] |= own
    return tuple(slice(int(start + found.min()), int(start + found.max()) + 1) for start, found in zip(
        (part.start for part in area), np.nonzero(own)))
