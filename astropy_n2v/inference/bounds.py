# Licensed under a 3-clause BSD style license - see LICENSE
"""
Bounds of the blind prediction from the surrounding data.

Far outside of its training data, the output of a network is arbitrary. The blind mean is bounded by the surrounding
valid pixels: by their range without the most extreme one, which may be a hot pixel, widened by that range and by
the noise.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..utils.sampling import row_blocks, with_halo

__all__ = ['bound_prediction']

_REACH = 4   # pixels on each side: the bounds are from 9x9 pixels
# Widening in units of the range of these pixels. A star of FWHM 1.5 pixels has a third of its peak in the nearest
# pixels, so that a correct prediction of the peak is two ranges above them; 3 leaves such a star alone at any position.
_WIDENING = 3.0
_SIGMAS = 3.0   # widening in standard deviations of the noise
_MAX_WINDOWS = 20_000   # windows of 9x9 pixels that are processed at a time


def bound_prediction(image, mean, spread):
    """
    Bound the blind mean of an image in place.

    Where the mean is cut, the spread becomes at least as large as the cut.

    Parameters
    ----------
    image : NormalizedImage
        The image.
    mean, spread : `~numpy.ndarray`
        Its blind mean and spread in units of the sky noise, shape (ny, nx), float32; they are changed.

    Returns
    -------
    int
        Number of pixels whose mean was cut.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v import NoiseModel
    >>> from astropy_n2v.inference.bounds import bound_prediction
    >>> from astropy_n2v.inference.normalization import NormalizedImage
    >>> data = np.random.default_rng(0).normal(100.0, 5.0, (64, 64))
    >>> image = NormalizedImage.prepare(data, NoiseModel(5.0))
    >>> mean, spread = np.zeros((2, 64, 64), dtype=np.float32)
    >>> mean[20, 30] = 1e6
    >>> bound_prediction(image, mean, spread)
    1
    >>> bool(mean[20, 30] < 40), bool(spread[20, 30] > 9e5)
    (True, True)
    """
    ny, nx = image.shape
    widest = None
    count = 0
    for rows in row_blocks(ny):
        wide, inner = with_halo(rows, _REACH, ny)
        part = image.part(wide, slice(0, nx))
        values = part.values().astype(np.float32)
        noise = np.sqrt(part.noise_variance(np.where(part.valid, values, 0))).astype(np.float32)
        y, x = np.nonzero(_suspicious(values, part.valid, noise, inner, mean[rows]))
        for n in range(0, y.size, _MAX_WINDOWS):
            pixels = y[n:n + _MAX_WINDOWS], x[n:n + _MAX_WINDOWS]
            low, high = _limits(values, part.valid, noise, (pixels[0] + inner.start, pixels[1]))
            lonely = np.isnan(low)
            if lonely.any():
                widest = _widest(image) if widest is None else widest
                low[lonely], high[lonely] = widest
            old = mean[rows][pixels]
            # A mean that is not finite is replaced by the middle.
            new = np.clip(np.where(np.isnan(old), 0.5 * (low + high), old), low, high)
            cut = np.where(np.isfinite(old), np.abs(new - old), high - low)
            mean[rows][pixels] = new
            spread[rows][pixels] = np.where(cut > 0, np.fmax(spread[rows][pixels], cut), spread[rows][pixels])
            count += int(np.count_nonzero(cut))
    return count


def _suspicious(values, valid, noise, inner, mean):
    """
    Find pixels that may be out of bounds.

    The two neighbours along a row decide for nearly all pixels at little cost: the limits are never narrower than
    the lower one plus its noise and the higher one minus its noise.
    """
    high = np.full(values.shape, -np.inf, dtype=np.float32)
    low = np.full(values.shape, np.inf, dtype=np.float32)
    values, noise = np.where(valid, values, np.nan), _SIGMAS * noise
    # fmin and fmax would ignore NaN: a pixel with a masked neighbour must be examined.
    high[:, 1:-1] = np.minimum(values[:, :-2] + noise[:, :-2], values[:, 2:] + noise[:, 2:])
    low[:, 1:-1] = np.maximum(values[:, :-2] - noise[:, :-2], values[:, 2:] - noise[:, 2:])
    return ~((mean <= high[inner]) & (mean >= low[inner]))


def _limits(values, valid, noise, pixels):
    """Return limits at some pixels; NaN with fewer than three valid pixels around."""
    size = 2 * _REACH + 1
    windows = []
    for array, fill in ((values, np.nan), (noise, np.nan)):
        padded = np.pad(np.where(valid, array, fill), _REACH, constant_values=fill)
        windows.append(sliding_window_view(padded, (size, size))[pixels].reshape(len(pixels[0]), -1))
    around, noise = windows
    around[:, size * size // 2] = np.nan
    around = np.sort(around, axis=1)   # NaN last
    n = np.count_nonzero(np.isfinite(around), axis=1)
    enough = n >= 3
    index = np.arange(len(n))
    smallest, largest = around[index, np.where(enough, 1, 0)], around[index, np.maximum(n - 2, 0)]
    margin = _WIDENING * (largest - smallest) + _SIGMAS * np.nanmax(noise, axis=1, initial=0)
    return np.where(enough, smallest - margin, np.nan), np.where(enough, largest + margin, np.nan)


def _widest(image):
    """Return limits for pixels with too few valid neighbours: the range of the whole image, widened alike."""
    low, high = np.inf, -np.inf
    for rows in row_blocks(image.shape[0]):
        part = image.part(rows, slice(0, image.shape[1]))
        values = part.values()[part.valid]
        if values.size:
            low, high = min(low, values.min()), max(high, values.max())
    return low - _SIGMAS, high + _SIGMAS
