# Licensed under a 3-clause BSD style license - see LICENSE
"""
Check of single pixels: the noise must explain the difference of data and result.
"""

import numpy as np
from scipy.stats import norm

__all__ = ['deviation', 'least_unexplained', 'unexplained']

# Probability of at least one unexplained pixel in the whole image by noise alone.
_CHANCE = 5e-5
# Least deviation that is examined in detail, in units of the noise.
_CANDIDATE = 4.0


def least_unexplained(n_pixels):
    """
    Compute the deviation, in units of the noise, that chance does not exceed in an image of so many pixels.

    Parameters
    ----------
    n_pixels : int
        Number of pixels of the image.

    Returns
    -------
    float
        The deviation, at least 5.

    Examples
    --------
    >>> from astropy_n2v.audit import least_unexplained
    >>> round(float(least_unexplained(4096)), 1), round(float(least_unexplained(1e6)), 1)
    (5.7, 6.6)
    """
    return max(5.0, norm.isf(_CHANCE / 2 / max(n_pixels, 1)))


def deviation(difference, variance, third_moment):
    """
    Compute the deviation of data from their expectation, in units of the noise, as an equivalent Gaussian one.

    It is the signed root of the deviance of a shifted Poisson distribution with the variance and the third moment of
    the noise: two electrons where 0.05 are expected are not a five-sigma event.

    Parameters
    ----------
    difference : `~numpy.ndarray`
        Data minus expectation.
    variance, third_moment : float or `~numpy.ndarray`
        Second and third central moment of the noise; the third is 0 if the noise is Gaussian.

    Returns
    -------
    `~numpy.ndarray`
        Deviations.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.audit import deviation
    >>> deviation(np.array([2.0, 2.0]), 0.05, np.array([0.0, 0.05])).round(1).tolist()
    [8.9, 3.4]
    """
    variance = np.maximum(variance, np.finfo(float).tiny)
    with np.errstate(over='ignore', invalid='ignore'):
        x = np.maximum(difference * third_moment / variance ** 2, -1 + 1e-6)
        small = np.abs(x) < 0.02
        exact = 2 * ((1 + x) * np.log1p(x) - x) / np.where(small, 1, x) ** 2
        squared = difference ** 2 / variance * np.where(small, 1 - x / 3 + x ** 2 / 6, exact)
    return np.sign(difference) * np.sqrt(squared)


def unexplained(removed, noise_std, result, noise, limit):
    """
    Find the pixels whose data the noise does not explain, given the result.

    Parameters
    ----------
    removed : `~numpy.ndarray`
        Data minus result, shape (ny, nx); 0 at masked pixels.
    noise_std : `~numpy.ndarray`
        Assumed standard deviation of the noise.
    result : `~numpy.ndarray`
        The result.
    noise : `~astropy_n2v.NoiseModel`
        The noise of these pixels.
    limit : float
        Largest deviation of an explained pixel, in units of the noise.

    Returns
    -------
    index : tuple of `~numpy.ndarray`
        Rows and columns of all pixels with a large deviation.
    deviations : `~numpy.ndarray`
        Deviations of these pixels.
    bad : `~numpy.ndarray` of bool
        True, among these, for unexplained pixels.
    """
    candidates = np.abs(removed) > _CANDIDATE * noise_std
    index = np.nonzero(candidates)
    if not index[0].size:
        return index, np.zeros(0), np.zeros(0, dtype=bool)
    own = noise.at(removed.shape, *index)
    # The larger of two variances: a pixel brighter than predicted has more photons.
    variance = np.maximum(noise_std[index] ** 2, own.variance(result[index]))
    photon = np.maximum(variance - own.sigma ** 2, 0)
    deviations = deviation(removed[index], variance, own.slope * photon)
    return index, deviations, np.abs(deviations) > limit
