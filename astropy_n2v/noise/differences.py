# Licensed under a 3-clause BSD style license - see LICENSE
"""
Products of pixels at some lags, and differences of high order, in which structure has vanished.
"""

from math import comb, prod

import numpy as np

from ..background import clipped_mean
from ..utils.blocks import as_blocks
from ..utils.robust import MEDIAN_ABSOLUTE

__all__ = ['ORDERS', 'correlation_of_differences', 'high_pass', 'pairs', 'products_of_differences', 'typical_products',
           'white_variance']

# Orders of differences in which structure has vanished; the lower one where a mask leaves too little for the other.
ORDERS = (8, 4)
# Height and width, in pixels, of the blocks whose mean products are clipped, and their least number.
_BLOCK, _FEWEST_BLOCKS = 32, 16


def pairs(values, lag_y, lag_x):
    """Return the pixels of an image that have another one at a lag, and those others."""
    ny, nx = values.shape
    return (values[:ny - lag_y, max(0, -lag_x):nx - max(0, lag_x)],
            values[lag_y:, max(0, lag_x):nx - max(0, -lag_x)])


def high_pass(image, order):
    """Return differences of an order along columns, scaled at each order: binomial coefficients may overflow."""
    for _ in range(order):
        image = 0.5 * np.diff(image, axis=0)
    return image


def white_variance(order):
    """Return the variance that `high_pass` leaves of white noise of variance 1."""
    return comb(2 * order, order) / 4 ** order


def products_of_differences(image, lags, order):
    """Average products along rows, at lag 0 and some others, of differences along columns; None of too few pixels."""
    differences = high_pass(image, order)
    spread = np.nanmedian(np.abs(differences)) / MEDIAN_ABSOLUTE if np.isfinite(differences).any() else 0.0
    if not spread > 0:
        return None
    differences = np.where(np.abs(differences) < 5 * spread, differences, np.nan)
    if np.count_nonzero(np.isfinite(differences)) <= max(0.2 * np.count_nonzero(np.isfinite(image)), 2000):
        return None
    return np.array(typical_products(differences, [(0, 0), *((0, lag) for lag in lags)]))


def correlation_of_differences(image, lags, orders=ORDERS):
    """
    Measure the autocorrelation along rows, at some lags, of differences of high order along columns.

    The first order that leaves enough pixels is used; None if none does.
    """
    for order in orders:
        products = products_of_differences(image, lags, order)
        if products is not None:
            return products[1:] / products[0]
    return None


def typical_products(residual, lags):
    """Average products of pixels at some lags (y, x) over blocks without the extreme ones; NaN is left out."""
    good = np.isfinite(residual)
    # Zeros in place of NaN, so that no image of the products is needed.
    residual, good = np.where(good, residual, 0), good.astype(np.float32)
    return [_typical_product(residual, good, *lag) for lag in lags]


def _typical_product(values, good, lag_y, lag_x):
    products, counted = (pairs(image, lag_y, lag_x) for image in (values, good))
    size = [min(_BLOCK, n) for n in products[0].shape]
    # A small image has too few blocks, so that none need be summed.
    if prod(n // m for n, m in zip(products[0].shape, size)) >= _FEWEST_BLOCKS:
        sums, counts = (_block_products(*images, size) for images in (products, counted))
        enough = 2 * counts >= size[0] * size[1]
        if np.count_nonzero(enough) >= _FEWEST_BLOCKS:
            return clipped_mean(sums[enough] / counts[enough], 2.5)
    count = np.vdot(*counted)
    return np.vdot(*products) / count if count else 0.0


def _block_products(first, second, size):
    """Sum the products of two images over blocks of a height and width."""
    return np.einsum('iajb,iajb->ij', *(as_blocks(image, size) for image in (first, second)))
