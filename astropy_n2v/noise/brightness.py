# Licensed under a 3-clause BSD style license - see LICENSE
"""
Noise of pictures: at each brightness, as a stretch leaves no gain that describes it, and with its autocorrelation.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.ndimage import convolve, convolve1d, gaussian_filter, maximum_filter

from ..background import background_level
from ..exceptions import CannotDenoiseError
from ..utils.robust import MEDIAN_ABSOLUTE
from ..utils.warn import warn_user
from .model import NoiseModel
from .origin import GainFrom, Origin, SizeFrom

__all__ = ['channel_noise', 'fine_noise', 'is_structured', 'noise_where_bright', 'picture_noise', 'relative_noise',
           'white_noise']

# Sees noise, and neither slopes nor straight edges: Immerkaer (1996), Computer Vision and Image Understanding 64, 300.
_HIGH_PASS = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]]) / 6
_SMOOTH = 1.5        # pixels, deviation of the Gaussian that brightness is the mean of
_LEAST_WEIGHT = 1e-3  # of the valid pixels around a pixel, of whose brightness they say something
_N_BINS = 24         # of brightness, with as many pixels each
_FEWEST = 200        # pixels in a bin
# Limit of the ratio to the noise of the background. A stretch that shows faint light compresses bright light
# and its noise; what seems to be more is the structure of stars and galaxies. From so many times on nothing is known of
# the noise there, and it is taken to be small, so that they come out as they are: with 1, stars changed colour by 2 %.
_LIMITS = 0.05, 1.0
_STRUCTURE, _UNKNOWN = 1.2, 0.2
_SKY = 6.0   # standard deviations above its level up to which the smoothed sky reaches
# Differences of the third order see no nebulosity. Along both axes they see the highest frequencies; along one of them,
# with a mean of the same length along the other, those that correlated noise has more of.
_THIRD, _MEAN = np.array([1, -3, 3, -1]) / np.sqrt(20), np.array([1, 3, 3, 1]) / np.sqrt(20)
# Least ratio of the two of white noise: 1.0, behind a nebula 0.8; of debayered pictures and JPEG it is 0.2 to 0.6.
_LEAST_WHITE = 0.7
# Blocks on which noise is measured: their height and width, the step between them, in pixels; the degree of the
# polynomial in x and y that is taken off for the light; the largest lag of the autocorrelation. Blocks of 16 pixels
# left so much of a nebula that its noise was taken to be twice as large.
_BLOCK, _STEP, _DEGREE, _LAGS = 8, 4, 3, 2
_MOST_BLOCKS = 20_000
# Blocks count as noise alone up to this variance in units of the most frequent one.
_FLAT = 1.3
# Blocks do not hold noise alone if slopes and curvatures in them have so many times the variance of the rest: on
# simulated pictures with a sky (stars, crowded or not; debayered, JPEG) they had up to 26 and 14, noise alone 8 and 7,
# a slope without structure has no curvature, and nebulae had 41 and 8.8 or more.
_SLOPES, _CURVATURES = 32.0, 8.0
_WHITE = np.pad([[1.0]], 4)   # autocorrelation
_ORIGIN = Origin('image', SizeFrom.IMAGE, GainFrom.IMAGE)


def channel_noise(values, mask=None, *, floor=0.0):
    """
    Measure the noise of a channel of a picture.

    Parameters
    ----------
    values : array_like
        Image of shape (ny, nx), stretched or not.
    mask : array_like of bool, optional
        True where it does not count.
    floor : float, optional
        Least standard deviation, such as of the rounding.

    Returns
    -------
    `~astropy_n2v.NoiseModel`
        Standard deviation of each pixel, nowhere larger than on the background, and the autocorrelation.

    Raises
    ------
    CannotDenoiseError
        If there is no noise, or no pixel to measure it on.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.noise.brightness import channel_noise
    >>> noise = channel_noise(np.random.default_rng(0).normal(50, 2, (64, 64)))
    >>> bool(abs(np.median(noise.sigma) - 2) < 0.2)
    True
    """
    values = np.asarray(values, dtype=float)
    bad = ~np.isfinite(values) if mask is None else np.asarray(mask, dtype=bool) | ~np.isfinite(values)
    if bad.all():
        raise CannotDenoiseError('all of its pixels are masked or not finite')
    if not np.ptp(values[~bad]) > 0:
        raise CannotDenoiseError(f'it is constant ({values[~bad][0]:g}): it has no noise')
    sigma = white_noise(values, bad)
    if sigma:
        return NoiseModel(np.maximum(sigma * relative_noise(values, bad), floor), autocorrelation=_WHITE,
                          origin=_ORIGIN)
    return picture_noise(values, bad, floor=floor)


def relative_noise(image, mask=None):
    """
    Measure the noise at each brightness, over the noise of the background.

    Parameters
    ----------
    image : array_like
        Image of shape (ny, nx).
    mask : array_like of bool, optional
        True where it does not count.

    Returns
    -------
    `~numpy.ndarray`
        For each pixel, the noise at the brightness of its surroundings in units of the noise at the level of the
        background, between 0.05 and 1; 0.2 where the structure of stars and galaxies hides it.

    Notes
    -----
    In each of 24 bins of brightness it is the median absolute value of a second difference along both axes, which sees
    noise and no slopes. Of noise that is correlated the difference sees less; of the ratio that cancels.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.noise.brightness import relative_noise
    >>> level = np.repeat([10.0, 10.0, 10.0, 50.0], 32)[:, None] * np.ones(128)
    >>> image = np.random.default_rng(0).normal(level, 10 / level)
    >>> ratio = relative_noise(image)
    >>> bool(abs(ratio[:64].mean() - 1) < 0.1), bool(abs(ratio[-16:].mean() - 0.2) < 0.05)
    (True, True)
    """
    image = np.asarray(image, dtype=float)
    levels = _noise_by_brightness(image, mask)
    if levels is None:
        return np.ones(image.shape)
    sizes = np.where((levels.sizes > _STRUCTURE) & (levels.places > levels.sky), _UNKNOWN, levels.sizes)
    # Beyond what there are many pixels of, only the middles of stars and galaxies are.
    places = np.append(levels.places, max(levels.last, levels.sky))
    sizes = np.append(sizes, min(sizes[-1], _UNKNOWN))
    return np.clip(np.interp(levels.brightness, places, sizes), *_LIMITS)


class _Levels(NamedTuple):
    """Noise at each brightness: of each pixel, of bins (and the noise there), where sky ends, and the brightest."""

    brightness: np.ndarray
    places: np.ndarray
    sizes: np.ndarray
    sky: float
    last: float


def _noise_by_brightness(image, mask, high_pass=_HIGH_PASS):
    """Measure the noise by brightness, over the noise of the background; None for too few pixels, or without noise."""
    good = np.isfinite(image) if mask is None else np.isfinite(image) & ~np.asarray(mask, dtype=bool)
    if good.sum() < 4 * _FEWEST:
        return None
    level = background_level(image, ~good)
    filled = np.where(good, image, level)
    brightness, clear = gaussian_filter(filled, _SMOOTH), good
    if not good.all():
        # The level in place of a masked pixel is neither its brightness nor its noise.
        weight = gaussian_filter(good.astype(float), _SMOOTH)
        total = gaussian_filter(np.where(good, image, 0), _SMOOTH)
        brightness = np.divide(total, weight, out=np.full(image.shape, level), where=weight > _LEAST_WEIGHT)
        clear = ~maximum_filter(~good, max(high_pass.shape) // 2 * 2 + 1)
        if np.count_nonzero(clear) < 4 * _FEWEST:
            clear = good
    difference = np.abs(convolve(filled, high_pass))
    values, spread = brightness[clear], difference[clear]
    order = np.argsort(values, kind='stable')
    n_bins = int(np.clip(order.size // _FEWEST, 4, _N_BINS))
    bins = np.array_split(order, n_bins)
    places = np.array([np.median(values[part]) for part in bins])
    # Of whole numbers, the median of small differences is a whole number, too.
    sizes = np.array([np.mean(np.minimum(spread[part], 4 * max(np.median(spread[part]), np.mean(spread[part]) / 4)))
                      for part in bins])
    reference = np.interp(level, places, sizes)
    if not reference > 0:
        return None
    below = values[values <= level]
    sky = level + _SKY * np.median(level - below) / MEDIAN_ABSOLUTE if below.size else level
    last = np.percentile(values[bins[-1]], 95)
    return _Levels(brightness, places, sizes / reference, sky, last)


def noise_where_bright(image, mask=None):
    """
    Compare the noise of the brightest parts of an image with the noise of its background.

    Parameters
    ----------
    image : array_like
        Image of shape (ny, nx).
    mask : array_like of bool, optional
        True where it does not count.

    Returns
    -------
    float
        Ratio of the noise of the brightest of 24 bins (fewer in small images) to that at the level of the background,
        at the highest frequencies along both axes; NaN for too few pixels. In linear images it is one or more, and what
        is left of the structure of stars adds to it.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.noise.brightness import noise_where_bright
    >>> linear = np.random.default_rng(0).poisson(np.repeat([100, 100, 100, 400], 32)[:, None] * np.ones(128))
    >>> bool(noise_where_bright(linear) > 1.3), bool(noise_where_bright(np.log(linear)) < 0.7)
    (True, True)
    """
    levels = _noise_by_brightness(np.asarray(image, dtype=float), mask, np.outer(_THIRD, _THIRD))
    return np.nan if levels is None else float(levels.sizes[-1])


def fine_noise(image, mask=None):
    """
    Measure the noise at high frequencies along one axis, of which nebulosity has little and correlated noise enough.

    Parameters
    ----------
    image : array_like
        Image of shape (ny, nx).
    mask : array_like of bool, optional
        True where it does not count.

    Returns
    -------
    float
        Standard deviation that white noise of this power has; 0 without valid pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.noise.brightness import fine_noise
    >>> bool(abs(fine_noise(np.random.default_rng(0).normal(0, 3, (128, 128))) - 3) < 0.2)
    True
    """
    image = np.asarray(image, dtype=float)
    good = np.isfinite(image) if mask is None else np.isfinite(image) & ~np.asarray(mask, dtype=bool)
    if not good.any():
        return 0.0
    filled = np.where(good, image, np.median(image[good]))
    return min(_size(filled, 1.0, good, *axes) for axes in ((_THIRD, _MEAN), (_MEAN, _THIRD)))


def white_noise(image, mask=None):
    """
    Measure the noise of a picture, if it is white.

    Parameters
    ----------
    image : array_like
        Image of shape (ny, nx).
    mask : array_like of bool, optional
        True where it does not count.

    Returns
    -------
    float or None
        Standard deviation at the level of the background, from the differences of the third order along both axes;
        `None` if these are smaller than those along one axis, which white noise makes as large.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.noise.brightness import white_noise
    >>> noise = np.random.default_rng(0).normal(0, 3, (128, 129))
    >>> bool(abs(white_noise(noise) - 3) < 0.2), white_noise(noise[:, 1:] + noise[:, :-1])
    (True, None)
    """
    image = np.asarray(image, dtype=float)
    good = np.isfinite(image) if mask is None else np.isfinite(image) & ~np.asarray(mask, dtype=bool)
    if good.sum() < _FEWEST:
        return None
    scaled = np.where(good, image, np.median(image[good])), relative_noise(image, ~good)
    both, one, other = (_size(*scaled, good, *axes) for axes in ((_THIRD, _THIRD), (_THIRD, _MEAN), (_MEAN, _THIRD)))
    return both if both > _LEAST_WHITE * max(one, other) else None


def _size(image, ratio, good, rows, columns):
    """Standard deviation of an image filtered along rows and columns, in units of the relative noise."""
    values = convolve1d(convolve1d(image, rows, axis=0), columns, axis=1) / ratio
    return float(np.median(np.abs(values[good])) / MEDIAN_ABSOLUTE)


def picture_noise(image, mask=None, *, floor=0.0):
    """
    Measure the noise of a picture and its autocorrelation.

    Parameters
    ----------
    image : array_like
        Image of shape (ny, nx), at least 32 pixels along each axis.
    mask : array_like of bool, optional
        True where it does not count.
    floor : float or array_like, optional
        Least standard deviation of each pixel, such as of the rounding.

    Returns
    -------
    `~astropy_n2v.NoiseModel`
        Standard deviation of each pixel, and the autocorrelation.

    Raises
    ------
    CannotDenoiseError
        If too few pixels count, or the picture is flat and without noise.

    Warns
    -----
    `~astropy.utils.exceptions.AstropyUserWarning`
        If nebulosity fills the picture.

    Notes
    -----
    A polynomial of the third degree is taken off blocks of 8x8 pixels, so that nebulosity hardly counts; of what
    remains, the most frequent variance is the variance of the noise, and the mean products of neighbours in blocks of
    that variance are, but for what the polynomial took, its autocovariance. Where nebulosity fills the picture, no
    block is free of it, and light and correlated noise are alike: only the noise that is left at the highest
    frequencies along both axes is taken for noise then, as if it were white, so that too little is removed and not
    too much.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.noise.brightness import picture_noise
    >>> noise = np.random.default_rng(0).normal(0, 3, (128, 129))
    >>> model = picture_noise(50 + (noise[:, 1:] + noise[:, :-1]) / 2 ** 0.5)
    >>> bool(abs(np.median(model.sigma) - 3) < 0.2), bool(abs(model.autocorrelation[2, 3] - 0.5) < 0.1)
    (True, True)
    """
    image, good, ratio = _with_ratio(image, mask)
    noise = _flat_blocks(image, ratio, good)
    if noise.structured:
        return _finest_noise(image, ratio, good, floor)
    products = np.array([np.mean(_shifted(noise.rest, lag) * _shifted(noise.rest, tuple(-k for k in lag)))
                         for lag in _half_plane()])
    covariance = np.linalg.lstsq(_response(), products, rcond=1e-3)[0]
    sigma = np.sqrt(max(covariance[0], products[0]))
    rho = np.zeros((2 * _LAGS + 1, 2 * _LAGS + 1))
    for (y, x), value in zip(_half_plane(), covariance / max(covariance[0], products[0])):
        rho[_LAGS + y, _LAGS + x] = rho[_LAGS - y, _LAGS - x] = value
    rho[_LAGS, _LAGS] = 1
    return NoiseModel(np.maximum(sigma * ratio, floor), origin=_ORIGIN, autocorrelation=rho)


def is_structured(image, mask=None):
    """
    Check if nebulosity fills a picture, so that no block of 8x8 pixels shows noise alone.

    Parameters
    ----------
    image : array_like
        Image of shape (ny, nx), at least 32 pixels along each axis.
    mask : array_like of bool, optional
        True where it does not count.

    Returns
    -------
    bool
        True if, in the blocks with the least of all else, slopes and curvatures are far beyond what noise has.

    Raises
    ------
    CannotDenoiseError
        If too few pixels count, or the picture is flat and without noise.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.ndimage import gaussian_filter
    >>> from astropy_n2v.noise.brightness import is_structured
    >>> noise = np.random.default_rng(0).normal(size=(128, 128))
    >>> nebula = sum(scale ** 2 * gaussian_filter(noise, scale) for scale in (1.5, 3, 6, 12))
    >>> is_structured(noise), is_structured(nebula + 0.1 * noise[::-1])
    (False, True)
    """
    image, good, ratio = _with_ratio(image, mask)
    return _flat_blocks(image, ratio, good).structured


def _with_ratio(image, mask):
    """An image whose masked pixels have the level of the others, its valid pixels, and its relative noise."""
    image = np.asarray(image, dtype=float)
    good = np.isfinite(image) if mask is None else np.isfinite(image) & ~np.asarray(mask, dtype=bool)
    ratio = relative_noise(image, ~good)
    return np.where(good, image, np.median(image[good]) if good.any() else 0.0), good, ratio


class _Blocks(NamedTuple):
    """Blocks of a picture that hold hardly more than noise, without polynomials, shape (n, 8, 8)."""

    rest: np.ndarray
    structured: bool


def _flat_blocks(image, ratio, good):
    """The blocks of a picture that have the most frequent variance, in units of the relative noise."""
    use = _blocks(good).all(axis=(1, 2))
    if use.sum() < 8:
        raise CannotDenoiseError('image must have blocks of 8x8 valid pixels to measure its noise on, got '
                                 f'{use.sum()}')
    values, weights = (_blocks(each)[use].reshape(-1, _BLOCK ** 2) for each in (image, ratio))
    basis = _polynomials()
    light = values @ basis
    rest = values - light @ basis.T
    scale = np.sqrt(np.mean(weights ** 2, axis=1))
    variance = np.mean(rest ** 2, axis=1) / scale ** 2
    some = variance > 0
    if not some.any():
        raise CannotDenoiseError('image is constant: it has no noise')
    typical = np.exp(_half_sample_mode(np.log(variance[some])))
    chosen = some & (variance < _FLAT * typical) & (variance > typical / _FLAT)
    light, rest = light[chosen] / scale[chosen, None], rest[chosen] / scale[chosen, None]
    return _Blocks(rest.reshape(-1, _BLOCK, _BLOCK), _is_structured(light, rest))


def _is_structured(light, rest):
    """Check if blocks hold nebulosity, from the coefficients of their polynomials and what is left without these."""
    degrees = np.array([degree for degree, *_ in _terms()])
    noise = np.mean(rest ** 2) * rest.shape[1] / (rest.shape[1] - len(degrees))
    sizes = [np.median(np.mean(light[:, degrees == degree] ** 2, axis=1)) / noise for degree in (1, 2)]
    return bool(sizes[0] > _SLOPES and sizes[1] > _CURVATURES)


def _finest_noise(image, ratio, good, floor):
    """The noise at the highest frequencies, as if it were white."""
    sigma = _size(image, ratio, good, _THIRD, _THIRD)
    if not sigma > 0 and not np.any(floor):
        raise CannotDenoiseError('image has no noise at the highest frequencies, and nebulosity hides the noise at '
                                 'others')
    warn_user('nebulosity fills the picture, and cannot be distinguished from noise that neighbouring pixels share, '
              'as after debayering and in JPEG: only the finest noise is removed. Denoise before that, if possible')
    return NoiseModel(np.maximum(sigma * ratio, floor), origin=_ORIGIN, autocorrelation=_WHITE)


def _blocks(image):
    """Cut an image into blocks, shape (n, 8, 8)."""
    windows = np.lib.stride_tricks.sliding_window_view(image, (_BLOCK, _BLOCK))[::_STEP, ::_STEP]
    blocks = windows.reshape(-1, _BLOCK, _BLOCK)
    return blocks[::max(1, -(-len(blocks) // _MOST_BLOCKS))]


def _terms():
    """Degree and powers of x and y of the terms of a polynomial, lower degrees first."""
    return [(degree, i, degree - i) for degree in range(_DEGREE + 1) for i in range(degree + 1)]


@lru_cache(maxsize=1)
def _polynomials():
    """Orthonormal polynomials in x and y on a block, shape (64, 10)."""
    y, x = np.meshgrid(*2 * [np.linspace(-1, 1, _BLOCK)], indexing='ij')
    terms = [(x ** i * y ** j).ravel() for _, i, j in _terms()]
    return np.linalg.qr(np.stack(terms, axis=1))[0]


@lru_cache(maxsize=1)
def _half_plane():
    """List lags (y, x), each up to its sign, the lag 0 first."""
    return tuple(sorted(((y, x) for y in range(_LAGS + 1) for x in range(-_LAGS, _LAGS + 1) if y > 0 or x >= 0),
                        key=lambda lag: lag != (0, 0)))


def _shifted(blocks, lag):
    """The part of blocks that has a neighbour at a lag."""
    return blocks[(..., *(slice(max(-k, 0), blocks.shape[i - 2] - max(k, 0)) for i, k in enumerate(lag)))]


@lru_cache(maxsize=1)
def _response():
    """Mean products that noise of unit covariance at one lag leaves on blocks, for each lag of both, (13, 13)."""
    index = np.arange(_BLOCK ** 2).reshape(_BLOCK, _BLOCK)
    basis, lags = _polynomials(), _half_plane()
    pairs = [(_shifted(index, lag).ravel(), _shifted(index, tuple(-k for k in lag)).ravel()) for lag in lags]
    response = np.empty((len(lags), len(lags)))
    for j, (first, second) in enumerate(pairs):
        covariance = np.zeros(2 * [_BLOCK ** 2])
        covariance[first, second] = covariance[second, first] = 1
        left = covariance - basis @ (basis.T @ covariance)
        left -= (left @ basis) @ basis.T
        response[:, j] = [np.mean(left[a, b]) for a, b in pairs]
    return response


def _half_sample_mode(values):
    """The most frequent of some values: the densest half, of that the densest half, and so on."""
    values = np.sort(values)
    while len(values) > 24:
        half = (len(values) + 1) // 2
        start = int(np.argmin(values[half - 1:] - values[:len(values) - half + 1]))
        values = values[start:start + half]
    return float(np.median(values))
