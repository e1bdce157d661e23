# Licensed under a 3-clause BSD style license - see LICENSE
"""
The stated spread of the blind prediction where faint structure fills the sky.

The spread that a network states varies from pixel to pixel with the noise. On a sky of faint clouds, the errors of
pixels with the smallest spread were 2 to 3 times as large as stated, and the errors of pixels with the largest spread
were as stated. The mean over the surrounding pixels was right.
"""

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

from ..utils.blocks import as_blocks
from ..utils.sampling import row_blocks, subsample, with_halo
from ..utils.scratch import empty, zeros

__all__ = ['even_spread']

# Largest spread in units of the noise of a pixel that is predictable. Of 420 random scenes, the intervals of 95 %
# covered less than 85 % in 13, and in 2 with the mean over the surrounding pixels.
_FORESEEN = 0.5
_RADIUS = 8.0   # pixels: standard deviation of the Gaussian mean over surrounding pixels
_CELL = 4   # pixels: size of the cells in which the mean is computed
# Largest spread in units of the noise for a test of structure; scatter of the blind mean over the typical spread, up to
# which the prediction is flat, and from which on there is structure. Random scenes with too small an uncertainty had
# 0.8 to 5, empty fields and fields of stars 0.3 to 0.8.
_SURE, _FLAT, _STRUCTURE = 0.25, 0.85, 1.1
_ROWS = 64   # rows that are processed at a time: a multiple of the cell


def even_spread(image, mean, spread):
    """
    Raise the spread of a blind prediction to its mean over the surrounding pixels, where there is faint structure.

    Parameters
    ----------
    image : NormalizedImage
        The image.
    mean, spread : `~numpy.ndarray`
        Its blind mean and spread in units of the sky noise, shape (ny, nx), float32.

    Returns
    -------
    `~numpy.ndarray`
        The spread, nowhere smaller than before; ``spread`` itself if the sky is flat.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v import NoiseModel
    >>> from astropy_n2v.inference.evenness import even_spread
    >>> from astropy_n2v.inference.normalization import NormalizedImage
    >>> rng = np.random.default_rng(0)
    >>> clouds = np.sin(np.arange(64) / 5)[:, None] * np.ones(64)
    >>> image = NormalizedImage.prepare(rng.normal(clouds, 1.0), NoiseModel(1.0))
    >>> spread = rng.uniform(0.02, 0.1, (64, 64)).astype(np.float32)
    >>> float(spread.min().round(2)), float(even_spread(image, clouds, spread).min().round(2))
    (0.02, 0.06)
    """
    weight = _structure(image, mean, spread)
    if not weight:
        return spread
    shape = [-(-n // _CELL) for n in image.shape]
    squares, counts = zeros(shape, float), zeros(shape, float)
    for rows in _parts(image):
        ratio, noise = _in_noise(image, mean, spread, rows)
        foreseen = ratio < _FORESEEN
        cells = slice(rows.start // _CELL, -(-rows.stop // _CELL))
        squares[cells], counts[cells] = _cells(np.where(foreseen, ratio, 0) ** 2), _cells(foreseen)
    around = empty(shape, np.float32)
    for cells in row_blocks(shape[0]):
        wide, inner = with_halo(cells, int(4 * _RADIUS / _CELL) + 1, shape[0])
        own = [gaussian_filter(sums[wide], _RADIUS / _CELL, mode='nearest')[inner] for sums in (squares, counts)]
        around[cells] = np.sqrt(weight * own[0] / np.maximum(own[1], 1e-6))
    result = empty(spread.shape, spread.dtype)
    for rows in _parts(image):
        ratio, noise = _in_noise(image, mean, spread, rows)
        least = (_enlarged(around, rows, image.shape[1]) * noise).astype(spread.dtype)
        result[rows] = np.where(ratio < _FORESEEN, np.maximum(spread[rows], least), spread[rows])
    return result


def _structure(image, mean, spread):
    """Return the certainty of structure at predictable pixels, from 0 to 1."""
    if image.scaling.gradient is not None:
        return 1.0   # clouds that span the frame may pass for a gradient, and their small parts remain
    valid, mean, spread = (subsample(values) for values in (image.valid, mean, spread))
    known = valid & (spread < _SURE)
    if np.count_nonzero(known) < 100:
        return 0.0
    low, high = np.quantile(mean[known], [0.159, 0.841])
    scatter = (high - low) / 2 / np.median(spread[known])
    return float(np.clip((scatter - _FLAT) / (_STRUCTURE - _FLAT), 0, 1))


def _parts(image):
    return row_blocks(image.shape[0], _ROWS)


def _enlarged(cells, rows, width):
    """Interpolate values of cells at the pixels of some rows, the first of which begins a cell."""
    own = slice(rows.start // _CELL, -(-rows.stop // _CELL))
    wide, inner = with_halo(own, 1, len(cells))
    pixels = zoom(cells[wide], _CELL, order=1, mode='nearest', grid_mode=True)
    first = inner.start * _CELL
    return pixels[first:first + rows.stop - rows.start, :width]


def _in_noise(image, mean, spread, rows):
    """Return the spread of some rows in units of the noise of each pixel, and this noise."""
    part = image.part(rows, slice(0, image.shape[1]))
    noise = np.sqrt(part.noise_variance(mean[rows]))
    return spread[rows] / noise, noise


def _cells(values):
    """Sum over cells; cells at the edges may be smaller."""
    return as_blocks(values.astype(float), _CELL, pad=True).sum(axis=(-3, -1))
