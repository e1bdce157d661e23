# Licensed under a 3-clause BSD style license - see LICENSE
"""
What the estimates of noise and of its autocorrelation share.
"""

import numpy as np
from astropy.nddata import NDData

from ..containers.parsing import CompleteMask, measured, take_apart
from ..exceptions import CannotDenoiseError
from ..utils.blocks import as_blocks
from ..utils.sampling import cutouts, subsample

__all__ = ['as_image', 'block_means', 'occupied', 'sample', 'valid_image']


def as_image(data, mask):
    """Take data of any kind apart into an array as it is, and a mask of what does not count."""
    ndim = np.ndim(data.data if isinstance(data, NDData) else data)
    if ndim != 2:
        raise ValueError(f'data must be two-dimensional, got {ndim} dimensions')
    if not isinstance(mask, CompleteMask):
        image = measured(data, mask)
        return image.values, image.mask
    # One of this package: it was taken apart before.
    values = take_apart(data).values
    if mask.shape != values.shape:
        raise ValueError(f'mask must have the shape of data, {values.shape}, got {mask.shape}')
    return values, mask


def sample(data, mask, part):
    """Make some part of an image a float array with NaN where it does not count."""
    image = data[part].astype(float)
    image[~np.isfinite(image) | np.asarray(mask)[part]] = np.nan
    return image


def valid_image(data, mask):
    """Make data of any kind a float array with NaN where it does not count; some parts of a large one."""
    data, mask = as_image(data, mask)
    # Of a large image, some parts say as much as all of it.
    image = sample(data, mask, cutouts(data.shape))
    if not np.isfinite(image).any():
        raise CannotDenoiseError('data has no valid pixel: all are masked or not finite')
    return image


def block_means(values, size):
    """Means over blocks; NaN where less than half of a block is finite."""
    size = [min(size, n) for n in values.shape]
    blocks = as_blocks(values, size)
    good = np.isfinite(blocks)
    count = good.sum(axis=(1, 3))
    total = np.where(good, blocks, 0).sum(axis=(1, 3))
    return np.where(2 * count >= size[0] * size[1], total / np.maximum(count, 1), np.nan).ravel()


def occupied(image):
    """Fraction of the pixels that do not have the most common value: small if photons are few."""
    values, counts = np.unique(subsample(image[np.isfinite(image)], 100_000), return_counts=True)
    return 1 - counts.max() / counts.sum()
