# Licensed under a 3-clause BSD style license - see LICENSE
"""
Blocks and samples of pixels for the estimates of the noise and of its autocorrelation.
"""

import numpy as np
from astropy.nddata import NDData

from ..containers.parsing import CompleteMask, measured, take_apart
from ..exceptions import CannotDenoiseError
from ..utils.blocks import as_blocks
from ..utils.sampling import cutouts, subsample

__all__ = ['as_image', 'block_means', 'occupied', 'sample', 'valid_image']


def as_image(data, mask):
    """Return data of any kind as an array, unchanged, and a mask of the pixels to leave out."""
    ndim = np.ndim(data.data if isinstance(data, NDData) else data)
    if ndim != 2:
        raise ValueError(f'data must be two-dimensional, got {ndim} dimensions')
    if not isinstance(mask, CompleteMask):
        image = measured(data, mask)
        return image.values, image.mask
    # An input of this package, taken apart before.
    values = take_apart(data).values
    if mask.shape != values.shape:
        raise ValueError(f'mask must have the shape of data, {values.shape}, got {mask.shape}')
    return values, mask


def sample(data, mask, part):
    """Return some part of an image as a float array with NaN at masked pixels."""
    image = data[part].astype(float)
    image[~np.isfinite(image) | np.asarray(mask)[part]] = np.nan
    return image


def valid_image(data, mask):
    """Return data of any kind as a float array with NaN at masked pixels; of a large image, some parts."""
    data, mask = as_image(data, mask)
    # Some parts of a large image are a sufficient sample.
    image = sample(data, mask, cutouts(data.shape))
    if not np.isfinite(image).any():
        raise CannotDenoiseError('data has no valid pixel: all are masked or not finite')
    return image


def block_means(values, size):
    """Average over blocks; NaN where less than half of a block is finite."""
    size = [min(size, n) for n in values.shape]
    blocks = as_blocks(values, size)
    good = np.isfinite(blocks)
    count = good.sum(axis=(1, 3))
    total = np.where(good, blocks, 0).sum(axis=(1, 3))
    return np.where(2 * count >= size[0] * size[1], total / np.maximum(count, 1), np.nan).ravel()


def occupied(image):
    """Return the fraction of pixels that differ from the most common value: small if photons are few."""
    values, counts = np.unique(subsample(image[np.isfinite(image)], 100_000), return_counts=True)
    return 1 - counts.max() / counts.sum()
