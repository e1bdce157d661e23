# Licensed under a 3-clause BSD style license - see LICENSE
"""
What the estimates of noise and of its autocorrelation share.
"""

import numpy as np
from astropy.nddata import NDData

from ..exceptions import CannotDenoiseError
from ..scaling import cutouts, subsample

__all__ = ['block_means', 'occupied', 'valid_image']


def valid_image(data, mask):
    """Data of any kind as a float array with NaN where it does not count; some parts of a large one."""
    own_mask = None
    if isinstance(data, NDData):
        data, own_mask = data.data, data.mask
    elif isinstance(data, np.ma.MaskedArray):
        data, own_mask = data.data, np.ma.getmaskarray(data)
    data = np.asarray(data)   # of a Quantity, its value
    if data.ndim != 2:
        raise ValueError(f'data must be two-dimensional, got {data.ndim} dimensions')
    if mask is None:
        mask = np.zeros(data.shape, dtype=bool)
    elif np.shape(mask) != data.shape:
        raise ValueError(f'mask must have the shape of data, {data.shape}, got {np.shape(mask)}')
    # Of a large image, some parts tell as much as all of it.
    part = cutouts(data.shape)
    bad = np.asarray(mask, dtype=bool)[part]
    if own_mask is not None:
        bad = bad | np.broadcast_to(np.asarray(own_mask, dtype=bool), data.shape)[part]
    image = np.where(bad, np.nan, data[part].astype(float))
    image[~np.isfinite(image)] = np.nan
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
