# Licensed under a 3-clause BSD style license - see LICENSE
"""
The growth of noise with the signal in the pixels of stars, for images whose blocks are too large to show it.
"""

from math import comb

import numpy as np
from scipy.optimize import nnls

from ..utils.robust import MEDIAN_SQUARE

__all__ = ['star_slope']

# Order of the differences along rows and columns: 0.1 % of a star of FWHM 3 pixels and all white noise remain.
_ORDER = 8
# Pixels that are used above the sky and on the sky, and number of bins, each of at least a hundred pixels.
_BRIGHT, _SKY, _BINS = 20_000, 5_000, 16
# Conditions for a slope: least significance in standard errors; largest part of the growth at the brightest pixels
# that is due to residuals of stars; largest ratio of the noise of the sky to its measured noise; largest reduced chi
# square of a straight line. Fixed on scenes of gain 1: FWHM 2.2 to 4 pixels, crowded and not, with and without cosmic
# rays, where it finds 0.5 to 1.4; and on SDSS, where it finds 1340 instead of 930.
_ERRORS, _STARS, _AGREEMENT, _CHI_SQUARE = 4.0, 0.3, 1.2, 2.5


def star_slope(image, deviation):
    """
    Measure the growth of the noise variance with the signal in single pixels.

    Parameters
    ----------
    image : `~numpy.ndarray`
        Data of shape (ny, nx) above their background, NaN where they do not count.
    deviation : float
        Noise of the sky.

    Returns
    -------
    The inverse of the gain in electrons per data unit; 0 if it is not significant.
        The inverse of the gain in electrons per data unit; 0 if it is not seen.

    Notes
    -----
    Squared differences of high order, binned by the mean level of their pixels, are a photon transfer curve
    (Janesick 2007, "Photon Transfer"). The residual of a star grows with the square of its signal.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.noise import star_slope
    >>> from astropy_n2v.simulate import make_scene
    >>> scene = make_scene('globular', (384, 384), seed=5)
    >>> image = scene.observe(seed=6).data - scene.sky
    >>> bool(0.7 < star_slope(image, float(scene.noise.variance(scene.sky)) ** 0.5) < 1.4)
    True
    """
    half = _ORDER // 2
    inner = image[half:-half, half:-half]
    if min(inner.shape) < 16:
        return 0.0
    y, x = _some(*np.nonzero(inner > 3 * deviation), _BRIGHT)
    if y.size < 200:
        return 0.0
    on_sky = np.abs(inner[::7, ::5]) < 2 * deviation
    sky_y, sky_x = _some(*np.nonzero(on_sky), _SKY)
    squares, level = _differences(image, np.concatenate([7 * sky_y, y]), np.concatenate([5 * sky_x, x]))
    bins = min(_BINS, level.size // 100)
    if bins < 5:
        return 0.0
    rows = []
    for part in np.array_split(np.argsort(level), bins):
        # The variance from the median of squares of a Gaussian; neighbours have six pixels or more in common.
        variance = np.median(squares[part]) / MEDIAN_SQUARE
        rows.append((level[part].mean(), variance, 1.6 * variance / np.sqrt(part.size / 6)))
    return _fitted(*np.array(rows).T, deviation ** 2)


def _some(y, x, most):
    step = max(1, -(-y.size // most))
    return y[::step], x[::step]


def _differences(image, y, x):
    """Return squares of normalised differences of pixels from [y, x] on, and the level with equal weights."""
    kernel = np.array([(-1) ** i * comb(_ORDER, i) for i in range(_ORDER + 1)], dtype=float)
    kernel /= np.sqrt(np.sum(kernel ** 2))
    difference, level = np.zeros(y.size), np.zeros(y.size)
    for i, first in enumerate(kernel):
        for j, second in enumerate(kernel):
            values = image[y + i, x + j]
            difference += first * second * values
            level += (first * second) ** 2 * values
    good = np.isfinite(difference)
    return difference[good] ** 2, level[good]


def _fitted(level, variance, error, sky_variance):
    """Return the linear term of a parabola through the variances, or 0 if it is not significant."""
    # No pixel has less noise than the sky; coarsely quantised plateaus show rounding errors of the sums.
    if not (variance > 1e-6 * sky_variance).all():
        return 0.0
    scale = level.max()
    design = np.stack([np.ones(level.size), level / scale, (level / scale) ** 2], axis=1) / error[:, None]
    coefficients, _ = nnls(design, variance / error)
    residual = design @ coefficients - variance / error
    uncertainty = np.sqrt(np.linalg.inv(design.T @ design)[1, 1])
    constant, linear, square = coefficients
    if linear < _ERRORS * uncertainty or square > _STARS * linear \
            or not 1 / _AGREEMENT < constant / sky_variance < _AGREEMENT \
            or np.sum(residual ** 2) > _CHI_SQUARE * (level.size - 3):
        return 0.0
    return float(linear / scale)
