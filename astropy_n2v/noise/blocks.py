# Licensed under a 3-clause BSD style license - see LICENSE
"""
What the estimates of noise and of its autocorrelation share.
"""

import numpy as np
from astropy.nddata import NDData

from ..exceptions import CannotDenoiseError
from ..scaling import cutouts, subsample

__all__ = ['as_image', 'block_means', 'occupied', 'sample', 'valid_image']


def as_image(data, mask):
    """Data of any kind as an array as it is, and where it does not count: an array, or None for nowhere."""
    own_mask = None
    if isinstance(data, NDData):
        data, own_mask = data.data, data.mask
    elif isinstance(data, np.ma.MaskedArray):
        data, own_mask = data.data, np.ma.getmaskarray(data)
    data = np.asarray(data)   # of a Quantity, its value
    if data.ndim != 2:
        raise ValueError(f'data must be two-dimensional, got {data.ndim} dimensions')
    if mask is not None and np.shape(mask) != data.shape:
        raise ValueError(f'mask must have the shape of data, {data.shape}, got {np.shape(mask)}')
    mask = None if mask is None else np.asarray(mask, dtype=bool)
    if own_mask is not None:
        own_mask = np.broadcast_to(np.asarray(own_mask, dtype=bool), data.shape)
        mask = own_mask if mask is None else mask | own_mask
    return data, mask


def sample(data, mask, part):
    """Some part of an image as a float array with NaN where it does not count."""
    image = data[part].astype(float)
    bad = ~np.isfinite(image)
    if mask is not None:
        bad |= mask[part]
    image[bad] = np.nan
    return image


def valid_image(data, mask):
    """Data of any kind as a float array with NaN where it does not count; some parts of a large one."""
    data, mask = as_image(data, mask)
    # Of a large image, some parts tell as much as all of it.
    image = sample(data, mask, cutouts(data.shape))
    if not np.isfinite(image).any():
        raise CannotDenoiseError('data has no valid pixel: all are masked or not finite')
    return image


def block_means(values, size):
    """Means over blocks; NaN where less than half of a block is finite."""
    ny, nx = (max(n // size, 1) for n in values.shape)
    size_y, size_x = min(size, values.shape[0]), min(size, values.shape[1])
    blocks = values[:ny * size_y, :nx * size_x].reshape(ny, size_y, nx, size_x)
    good = np.isfinite(blocks)
    count = good.sum(axis=(1, 3))
    total = np.where(good, blocks, 0).sum(axis=(1, 3))
    return np.where(2 * count >= size_y * size_x, total / np.maximum(count, 1), np.nan).ravel()


def occupied(image):
    """Fraction of the pixels that do not have the most common value: small if photons are few."""
    values, counts = np.unique(subsample(image[np.isfinite(image)], 100_000), return_counts=True)
    return 1 - counts.max() / counts.sum()
