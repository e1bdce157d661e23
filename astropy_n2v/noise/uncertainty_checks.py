# Licensed under a 3-clause BSD style license - see LICENSE
"""
Checks of a plane of uncertainty against the noise of its image: its scale, its depth, its correlation.

``noise/uncertainty.py`` makes the noise model of a plane that passes.
"""

from dataclasses import replace

import numpy as np

from ..background import background_level
from ..exceptions import CannotDenoiseError
from ..utils.sampling import cutouts
from .correlation import choose_hole
from .estimation import measure_sky
from .origin import SizeFrom
from .sky import SkySample

__all__ = ['describes_depth', 'neighbour_correlation', 'scaled_noise']

# Largest ratio of the scatter of block variances in units of a plane to their scatter without it, for a plane that
# describes them.
_LESS_SCATTER = 0.9
# Largest growth of the stated noise from the sky to bright sources, for a plane of depths.
_GROWTH = 1.3


def neighbour_correlation(image, mask):
    """
    Measure the noise that neighbouring pixels have in common.

    Resampling preserves the noise of sums over many pixels and lowers the noise of single pixels. Weight
    maps of drizzled images state the former.

    Parameters
    ----------
    image : `~numpy.ndarray`
        Data of shape (ny, nx).
    mask : `~numpy.ndarray` of bool
        True where they do not count.

    Returns
    -------
    nearest : float
        Mean correlation of a pixel with its four nearest neighbours; 0 where the noise is white.
    ratio : float
        Noise that pixels would have without the correlation, over their actual noise; 1 where the noise is white.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.noise import neighbour_correlation
    >>> white = np.random.default_rng(0).normal(size=(256, 257))
    >>> smooth = 0.5 * (white[:, 1:] + white[:, :-1])
    >>> nearest, ratio = neighbour_correlation(smooth, np.zeros(smooth.shape, bool))
    >>> round(nearest, 2), round(ratio, 1)
    (0.25, 1.4)
    """
    return sky_correlation(SkySample(image, mask))


def sky_correlation(sky):
    """Measure the noise of a SkySample that neighbouring pixels have in common; see `neighbour_correlation`."""
    try:
        correlation = sky.autocorrelation
    except CannotDenoiseError:
        return 0.0, 1.0
    if choose_hole(correlation) == (1, 1):
        return 0.0, 1.0
    middle = correlation.shape[0] // 2
    nearest = 0.5 * (correlation[middle, middle + 1] + correlation[middle + 1, middle])
    return float(nearest), float(np.sqrt(max(correlation.sum(), 1.0)))


def describes_depth(image, mask, noise):
    """
    Decide if a stated noise varies over the sky as the measured noise does, up to a factor.

    Parameters
    ----------
    image : `~numpy.ndarray`
        Data of shape (ny, nx).
    mask : `~numpy.ndarray` of bool
        True where they do not count.
    noise : NoiseModel
        With one value of ``sigma`` a pixel.

    Returns
    -------
    bool
        False for a plane of one value, and for one that follows the sources.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v import NoiseModel
    >>> from astropy_n2v.noise import describes_depth
    >>> sigma = np.where(np.arange(128) < 64, 2.0, 5.0) * np.ones((128, 1))
    >>> image = np.random.default_rng(0).normal(0, sigma)
    >>> describes_depth(image, np.zeros(image.shape, bool), NoiseModel(sigma / 10))
    True
    """
    if np.ndim(noise.sigma) != 2 or noise.gain is not None:
        return False
    part = cutouts(image.shape)
    sigma = np.broadcast_to(noise.sigma, image.shape)[part].astype(float)
    image, mask = image[part], mask[part] | (sigma <= 0)
    level = background_level(image, mask)
    with np.errstate(divide='ignore', invalid='ignore'):
        units = (image - level) / sigma
    try:
        before, after = measure_sky(image, mask), measure_sky(units, mask)
    except CannotDenoiseError:
        return False
    bright = ~mask & (image > level + 20 * before.deviation)
    sky = ~mask & ~bright
    if bright.any() and np.median(sigma[bright]) > _GROWTH * np.median(sigma[sky]):
        return False
    return bool(_scatter(after) < _LESS_SCATTER * _scatter(before))


def _scatter(sky):
    """Return the scatter of the logarithm of block variances, for the half with the least influence of sources."""
    values = np.log(sky.variance[sky.variance > 0])
    low, high = np.quantile(values, [0.1, 0.7])
    return high - low


def scaled_noise(noise, factor):
    """
    Scale the standard deviations of a noise model, not the data.

    Parameters
    ----------
    noise : NoiseModel
        The model.
    factor : float
        Positive.

    Returns
    -------
    NoiseModel
        Its source says so.

    Examples
    --------
    >>> from astropy_n2v import NoiseModel
    >>> from astropy_n2v.noise import scaled_noise
    >>> scaled_noise(NoiseModel(2.0, source='uncertainty'), 3.0)
    NoiseModel(sigma=6, gain=None, zero_point=0, source='uncertainty x 3, measured')
    """
    gain = None if noise.gain is None else noise.gain / factor ** 2
    origin = replace(noise.origin, name=f'{noise.source} x {factor:.3g}', details=('measured',), size=SizeFrom.IMAGE)
    return replace(noise, sigma=noise.sigma * factor, gain=gain).of_origin(origin)
