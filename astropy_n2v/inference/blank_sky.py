# Licensed under a 3-clause BSD style license - see LICENSE
"""
The error of the blind prediction on an empty sky.

Most fields have sources below the noise, and models learned a spread that includes them. On a sky without sources, the
error is smaller than stated. Innovations do not show this, since the variance of the prediction is a hundredth of the
variance of the noise. Products of neighbouring pixels show it: neighbours have the light of sources in common, but not
the noise.
"""

import numpy as np
from scipy.ndimage import gaussian_filter, maximum_filter1d
from scipy.stats import truncnorm

from ..utils.sampling import row_blocks

__all__ = ['REACH', 'variance_factor', 'blank_fraction']

#: Distance in pixels of the neighbours that decide if the sky at a pixel is empty.
REACH = 8
# The sky is empty if the blind mean is below the first value at all neighbours, and partly empty up to the second.
_FAINT, _BRIGHT = 0.5, 1.0   # in units of the noise
_SIGMA = 1.5   # pixels: width of the Gaussian weights of neighbours
_RADIUS = 5
_LAGS = np.hypot(*np.mgrid[-_RADIUS:_RADIUS + 1, -_RADIUS:_RADIUS + 1])
_WEIGHTS = gaussian_filter((_LAGS == 0).astype(float), _SIGMA, mode='constant', radius=_RADIUS)
_CENTRE = _WEIGHTS[_RADIUS, _RADIUS]
_OTHERS = np.where(_LAGS == 0, 0, _WEIGHTS)
# Variance of the light over its covariance between neighbours: least, usual and largest value.
_SHARPNESS = 1.2, 1.5, 10.0
# Variance of the light in units of the variance of the prediction: sky is empty up to the first, not beyond the second.
_EMPTY = 0.6, 0.9
# For the light of faint sources: the fraction of its covariance that the network predicts, the relative error of this
# estimate, and the unpredicted part in units of the variance of the prediction.
_FORESEEN, _FORESEEN_ERROR, _UNFORESEEN = 0.35, 0.6, 0.15
_LEAST_FACTOR = 0.1
_MIN_PIXELS = 3000
# Largest growth of the variance with the signal, in units of the sky noise. Beyond it, with less than 0.45 electrons of
# sky, the wings of sources pass for empty sky, and pulls of faint sources doubled to 4.
_MAX_SLOPE = 1.5
_ROWS = 128   # rows of a part of the image; of a large image every n-th part is used
_MAX_PIXELS = 4_000_000


def blank_fraction(mean):
    """
    Measure to which degree each pixel belongs to a sky without detectable sources.

    Parameters
    ----------
    mean : `~numpy.ndarray`
        Blind means in units of the noise of each pixel, shape (ny, nx).

    Returns
    -------
    `~numpy.ndarray`
        From 0 to 1, of that shape.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.inference.blank_sky import blank_fraction
    >>> mean = np.zeros((5, 40))
    >>> mean[2, 3] = 20
    >>> blank_fraction(mean)[2, [3, 11, 12]].tolist()
    [0.0, 0.0, 1.0]
    """
    for axis in range(2):
        mean = maximum_filter1d(mean, 2 * REACH + 1, axis=axis, mode='nearest')
    return np.clip((_BRIGHT - mean) / (_BRIGHT - _FAINT), 0, 1)


def variance_factor(image, mean, spread, recalibration):
    """
    Find the factor for the variance of the blind prediction on a sky without sources.

    Let y be the data, whose noise is white, :math:`\\mu` the blind mean, which does not depend on the noise of its
    pixel, and x the truth. The mean square error of :math:`\\mu` is the mean of :math:`\\mu^2 - 2 \\mu y + x^2`. The
    mean of :math:`x^2` follows from the covariance of y between neighbours. It is accurate enough only where it is
    small.

    Parameters
    ----------
    image : NormalizedImage
        The image.
    mean, spread : `~numpy.ndarray`
        Its blind mean and spread, in units of the sky noise.
    recalibration : Recalibration
        Corrections from the innovations: means are corrected by them, and their factor is replaced.

    Returns
    -------
    factor : float
        The factor, at most 1.
    weight : float
        The certainty that the sky is empty, from 0 to 1.
    """
    if np.median(image.noise.slope / image.scaling.scale) > _MAX_SLOPE:
        return 1.0, 0.0
    step = -(-image.data.size // _MAX_PIXELS)
    parts = [_Sky(image.part(rows, slice(0, image.shape[1])), mean[rows], spread[rows], recalibration)
             for rows in row_blocks(image.shape[0], _ROWS)[::step]]
    n = sum(np.count_nonzero(part.empty) for part in parts)
    if n < _MIN_PIXELS:
        return 1.0, 0.0

    def average(values):
        return sum(values(part)[part.empty].sum() for part in parts) / n

    level, offset = average(lambda part: part.data), average(lambda part: part.mean)
    pairs = sum(np.sum(part.empty * _around(part.empty.astype(float))) for part in parts)
    above = [np.where(part.empty, part.data - level, 0) for part in parts]
    covariance = sum(np.sum(values * _around(values)) for values in above) / pairs
    scatter = average(lambda part: (part.data - level) ** 2)
    if not scatter > 0:   # constant
        return 1.0, 0.0
    error = scatter * np.sqrt(2 * np.sum(_OTHERS ** 2) / np.sum(_OTHERS) / pairs)
    variance = average(lambda part: part.variance)
    own = average(lambda part: (part.mean - offset) ** 2)
    common = average(lambda part: (part.mean - offset) * (part.data - level))
    # At least the variance that the prediction explains.
    least = common ** 2 / max(own, np.finfo(float).tiny)
    light = max(_sharpness(parts) * _at_most(covariance, error, common, variance), least)
    factor = np.clip((own - 2 * common + light) / variance, _LEAST_FACTOR, 1.0)
    weight = np.interp(light / variance, _EMPTY, (1.0, 0.0))
    return float(factor), float(weight)


def _at_most(covariance, error, common, variance):
    """
    Return a covariance plus its error.

    The measured covariance is combined with its value from the prediction, and with the condition that it is not
    negative. The error is added, since an uncertainty should be too large rather than too small.
    """
    likely = max(common, 0) / _FORESEEN
    spread = np.hypot(_FORESEEN_ERROR * likely, _UNFORESEEN * variance)
    weight = spread ** 2 / (spread ** 2 + error ** 2)
    middle, width = likely + weight * (covariance - likely), np.sqrt(weight) * error
    possible = truncnorm(-middle / width, np.inf, loc=middle, scale=width)
    return possible.mean() + possible.std()


class _Sky:
    """A part of an image and its prediction, in units of the noise, and where it is empty."""

    def __init__(self, image, mean, spread, recalibration):
        mean = mean.astype(float)
        noise_variance = image.noise_variance(mean)
        mean, _ = recalibration.apply(mean, spread, noise_variance)
        deviation = np.sqrt(noise_variance)
        self.data, self.mean, self.variance = image.values() / deviation, mean / deviation, (spread / deviation) ** 2
        self.share = blank_fraction(self.mean)
        # Outliers are not faint sources.
        self.empty = image.valid & (self.share > 0) & (np.abs(self.data - self.mean) < 5)


def _around(values):
    """Sum the neighbours of each pixel with weights, without the pixel itself."""
    return gaussian_filter(values, _SIGMA, mode='constant', radius=_RADIUS) - _CENTRE * values


def _sharpness(parts):
    """Measure the variance over the covariance of neighbours, for the light of detected sources."""
    least, usual, most = _SHARPNESS
    sources = [np.where(part.share == 0, np.clip(part.mean, 0, 100), 0) for part in parts]
    light = sum(np.sum(values ** 2) for values in sources)
    shared = sum(np.sum(values * _around(values)) for values in sources) / np.sum(_OTHERS)
    # Light in single pixels has no covariance.
    return max(float(light / max(shared, light / most)), least) if light > 0 else usual
