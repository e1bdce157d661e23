# Licensed under a 3-clause BSD style license - see LICENSE
"""
Single pixels that are not compatible with any point-spread function: cosmic rays and misreadings.
"""

import numpy as np
from scipy.stats import norm

from ..utils.robust import MEDIAN_ABSOLUTE
from ..utils.sampling import row_blocks, with_halo
from ..utils.scratch import zeros

__all__ = ['single_pixel_outliers']

# Sharpest star that is accepted: mean excess of the four nearest pixels over the excess of the central one. A Gaussian
# star of FWHM 1 pixel at the centre of a pixel has 0.158; the rest allows for its wings in the local level.
_SHARPEST = 0.13
# Least ratio of this value for the sharpest stars of a frame to its typical stars. Undersampled stars vary with their
# position, and the measured ones may be galaxies.
_ALLOWED = 0.5
_MIN_STARS = 10   # least number of local maxima for a measurement of the point-spread function
_STAR = 15.0   # standard deviations of the noise: least excess of such maxima
_LEAST = 5.0   # standard deviations of the noise: smaller excesses may be noise
# Misreadings that are smaller: dark pixels by more than 3.5 standard deviations count, too, where at most a tenth of
# them can be noise. In an exposure of M 13 these are 3,500 of 410,000, at most 170 of them noise.
_LEAST_DARK, _NOISE_SHARE = 3.5, 0.1
# Variances for pixels of variance 1: of the level, a median of 16; of the mean of the middle two of four.
_OF_LEVEL, _OF_MIDDLE = 1.5 / 16, 0.2982
_CERTAIN = 4.0   # standard deviations: least deficit of the neighbours relative to a star
# If the extremes of one sign have hardly any light beside them on average, most of them are outliers. These are the
# least odds for one of them to be an outlier, too, that is not certain by itself. A dark star is rarer than a bright
# one. The odds assume the largest possible number of stars. Of the misreadings of 5 to 10 sigma in an exposure of
# M 13, dark odds of 30 find a quarter, 5 four fifths, and 1 nearly all.
_DARK_ODDS, _BRIGHT_ODDS = 1.0, 1000.0


def single_pixel_outliers(image, *, frequent=True):
    """
    Find single pixels, bright or dark, that are not compatible with the point-spread function of an image.

    The four nearest pixels of a star share its light. A pixel is an outlier if their fraction of its excess is four
    standard deviations below the value for a narrow star. This star has half the width of the stars in the image, or,
    if the image shows no stars, a full width at half maximum of one pixel.

    Parameters
    ----------
    image : NormalizedImage
        The image.
    frequent : bool, optional
        If true, find dark pixels of less than 5 standard deviations, too, where noise would make far fewer.

    Returns
    -------
    `~numpy.ndarray` of bool
        True for outliers, shape (ny, nx).

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v import NoiseModel
    >>> from astropy_n2v.inference.outliers import single_pixel_outliers
    >>> from astropy_n2v.inference.normalization import NormalizedImage
    >>> data = np.random.default_rng(0).normal(100.0, 5.0, (64, 64))
    >>> data[20, 30], data[40, 40] = 300, -100
    >>> np.argwhere(single_pixel_outliers(NormalizedImage.prepare(data, NoiseModel(5.0)))).tolist()
    [[20, 30], [40, 40]]
    """
    ny, nx = image.shape
    parts = []
    for rows in row_blocks(ny):
        wide, inner = with_halo(rows, 3, ny)
        parts.append(_candidates(image.part(wide, slice(0, nx)), wide.start, inner))
    y, x, excess, neighbours, noise, error = (np.concatenate(values) for values in zip(*parts))
    large = np.abs(excess) > _LEAST * noise
    if frequent:
        large[~large] = _more_than_noise(-excess[~large] / noise[~large], ny * nx)
    y, x, excess, neighbours, noise, error = (values[large] for values in (y, x, excess, neighbours, noise, error))
    share = neighbours / excess
    stars = share[(excess > _STAR * noise) & (share > _SHARPEST)]
    sharpest = _SHARPEST
    if stars.size >= _MIN_STARS:
        sharpest = max(sharpest, _ALLOWED * np.percentile(stars, 10))
    size, beside = np.abs(excess), np.sign(excess) * neighbours
    found = sharpest * size - beside > _CERTAIN * error
    for these, odds in ((excess < 0, _DARK_ODDS), (excess > 0, _BRIGHT_ODDS)):
        found[these] |= _odds_in_class(size[these], beside[these], error[these], sharpest) > odds
    result = zeros(image.shape, dtype=bool)
    result[y[found], x[found]] = True
    return result


def _more_than_noise(depths, n_pixels):
    """Select depths, in standard deviations, of which few can be noise (Benjamini & Hochberg 1995, JRSS B 57, 289)."""
    by_chance = norm.sf(depths / np.sqrt(1 + _OF_LEVEL)) * n_pixels
    in_order = np.sort(by_chance)
    few = in_order[in_order <= _NOISE_SHARE * np.arange(1, len(in_order) + 1)]
    return by_chance <= few.max(initial=-1)


def _odds_in_class(size, beside, error, sharpest):
    """Compute the odds that extremes are outliers and not stars, from their neighbours and the share of stars."""
    light = np.sum(sharpest * size)
    if not light > 0:
        return np.zeros(size.shape)
    stars = np.clip(max(np.sum(beside) / light, 0) + 2 * np.sqrt(np.sum(error ** 2)) / light, 1e-3, 1)
    # A star gives its neighbours at least this signal.
    expected = np.maximum(sharpest * size, np.minimum(beside, size))
    log_ratio = 0.5 * ((beside - expected) ** 2 - beside ** 2) / error ** 2
    return (1 - stars) / stars * np.exp(np.clip(log_ratio, -50, 50))


def _beside(nearest, dark):
    """Average the four nearest pixels, the middle two of them beside a dark one: another misreading may be there."""
    return np.where(dark, np.sort(nearest, axis=0)[1:3].mean(axis=0), nearest.mean(axis=0))


def _candidates(part, first, inner):
    """Find extremes of some rows; return them, their excess, the mean excess of the nearest pixels, and the noise."""
    with np.errstate(over='ignore'):   # errors of invalid pixels
        values = np.where(part.valid, part.values(), np.nan).astype(np.float32)
        rough = np.sqrt(part.noise_variance(np.nan_to_num(np.minimum(values, 0)))).astype(np.float32)
    padded = np.pad(values, 1, constant_values=np.nan)
    nearest = np.stack([padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]])
    with np.errstate(invalid='ignore'):
        # All four must be valid: a masked neighbour may have been part of the event.
        highest, contrast = values > nearest.max(axis=0), (values - nearest.mean(axis=0)) / rough
        extreme = highest & ((contrast > 0.5 * _LEAST) | (values > _STAR * rough)) \
            | (values < nearest.min(axis=0)) & (contrast < -0.5 * _LEAST_DARK)
    extreme[:inner.start] = extreme[inner.stop:] = False
    y, x = np.nonzero(extreme)
    if not y.size:
        return [np.zeros(0, dtype=int)] * 2 + [np.zeros(0)] * 4
    # The local level without the event: the median of the border of 5x5 pixels.
    ring = np.pad(values, 2, constant_values=np.nan)
    offsets = [(dy, dx) for dy in range(5) for dx in range(5) if dy in (0, 4) or dx in (0, 4)]
    around = np.stack([ring[y + dy, x + dx] for dy, dx in offsets])
    enough = np.count_nonzero(np.isfinite(around), axis=0) >= 8
    y, x, around = y[enough], x[enough], around[:, enough]
    level = np.nanmedian(around, axis=0)
    excess = values[y, x] - level
    beside = _beside(nearest[:, y, x], excess < 0)
    pixels = part.part(y, x)
    noise = np.sqrt(pixels.noise_variance(np.maximum(level, beside)))
    # Surrounding structure makes the level less certain than its noise.
    scatter = np.nanmedian(np.abs(around - level), axis=0) / MEDIAN_ABSOLUTE
    of_nearest = np.where(excess < 0, _OF_MIDDLE, 1 / 4)
    error = np.sqrt((noise ** 2 + np.maximum(scatter - noise, 0) ** 2) * (of_nearest + _OF_LEVEL))
    # A difference between neighbours does, too, as between two bright stars.
    error = np.hypot(error, np.maximum(np.ptp(nearest[:, y, x], axis=0) / 2 - 2 * noise, 0))
    large = (excess > _LEAST * noise) | (excess < -_LEAST_DARK * noise)
    return [values[large] for values in (y + first, x, excess, beside - level, noise, error)]
