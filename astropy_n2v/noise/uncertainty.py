# Licensed under a 3-clause BSD style license - see LICENSE
"""
Noise model from the uncertainty of a frame.

``containers/deviations.py`` parses the uncertainty; ``noise/uncertainty_checks.py`` compares it with the image;
``noise/resolve.py`` decides if it is used.
"""

from dataclasses import replace

import numpy as np
from scipy.ndimage import median_filter

from ..background import background_level
from ..utils.sampling import cutouts, row_blocks, subsample_where, with_halo
from ..utils.scratch import blockwise, empty, every
from .model import NoiseModel
from .origin import Origin

__all__ = ['noise_from_deviation']

_REBUILT = Origin('uncertainty', details=('Poisson term rebuilt',))
# A smooth plane holds photon noise if the data are a linear function of its variance within their noise: least
# significance in sigma, least ratio of high to low variance, and range of the mean square of the residuals.
_CERTAIN, _LEAST_RATIO, _CHI_SQUARED = 20.0, 1.2, (0.85, 1.2)
_OUTLIER = 5.0   # least residual of an outlier in units of the stated noise


def noise_from_deviation(image, mask, deviation):
    """
    Convert a plane of standard deviations to a noise model.

    A plane that was computed from the data themselves follows the fluctuation of each pixel. This Poisson
    term is subtracted and becomes a gain. A gain is also found if the data are a linear function of a
    smooth plane.

    Parameters
    ----------
    image : `~numpy.ndarray`
        Data of shape (ny, nx).
    mask : `~numpy.ndarray` of bool
        True where they do not count.
    deviation : `~numpy.ndarray`
        Standard deviation of each pixel, same shape; NaN where it is not known.

    Returns
    -------
    NoiseModel or None
        None if hardly any deviation is usable.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.noise import noise_from_deviation
    >>> image = np.random.default_rng(0).poisson(400, (64, 64)).astype(float)
    >>> noise = noise_from_deviation(image, np.zeros(image.shape, bool), np.sqrt(image))
    >>> noise.source, round(float(noise.gain), 6)
    ('uncertainty, Poisson term rebuilt', 1.0)
    """
    usable = blockwise(lambda error, part, bad: np.isfinite(error) & np.isfinite(part) & ~bad, deviation, image, mask)
    if usable.sum() < max(16, 0.01 * image.size):
        return None
    typical = np.median(subsample_where(deviation, usable)).astype(float)
    slope, zero = _own_slope(image, deviation, usable, typical ** 2)
    if not slope:
        if not every(np.isfinite, deviation):
            instead = deviation.dtype.type(typical)
            deviation = blockwise(lambda error: np.where(np.isfinite(error), error, instead), deviation,
                                  dtype=deviation.dtype)
        return _of_smooth(image, deviation, usable, typical) \
            or NoiseModel(deviation, origin=Origin('uncertainty'), relative_error=0.02)
    return NoiseModel(_static_part(image, deviation, usable, slope, zero, typical), gain=1 / slope, zero_point=zero,
                      origin=_REBUILT, relative_error=0.02)


def _of_smooth(image, deviation, usable, typical):
    """
    Convert a plane to which the expected photons contribute to a noise model; None for other planes.

    With the plane itself, a network would mistake a part of the light of bright sources for noise: it receives the
    noise of each pixel without its origin.
    """
    part = cutouts(image.shape)
    some = usable[part] & (deviation[part] > 0)
    y, variance = image[part][some].astype(float), (deviation[part][some].astype(float) / typical) ** 2
    low, high = np.percentile(variance, (10, 99.5)) if y.size > 1000 else (1, 1)
    if not high > _LEAST_RATIO * low:
        return None
    middle = np.median(y)
    y = (y - middle) / typical
    good = np.ones(y.size, dtype=bool)
    for _ in range(3):
        # The data have errors and the plane has none, so the data are fitted as a function of the plane.
        weight = np.where(good, 1 / variance, 0)
        centre = np.average(variance, weights=weight), np.average(y, weights=weight)
        norm = np.sum(weight * (variance - centre[0]) ** 2)
        gain = np.sum(weight * (variance - centre[0]) * (y - centre[1])) / norm
        start = centre[1] - gain * centre[0]   # the value at which the noise vanishes
        residual = (y - start - gain * variance) ** 2 / variance
        good = residual < _OUTLIER ** 2
        if not good.any():
            return None
    if not gain * np.sqrt(norm) > _CERTAIN or np.mean(good) < 0.95:
        return None
    bright = good & (variance > np.sqrt(low * high))
    for select in (good, bright):
        if not _CHI_SQUARED[0] < np.mean(residual[select]) < _CHI_SQUARED[1]:
            return None
    floor = 0.1 * low
    zero = (start + gain * floor) * typical + middle
    noise = NoiseModel(np.sqrt(floor) * typical, gain=gain / typical, zero_point=zero,
                       origin=_REBUILT, relative_error=0.02)
    own = _not_of_photons(image, deviation, noise, np.sqrt(low) * typical)
    return noise if not own.any() else replace(
        noise, sigma=blockwise(lambda is_own, error: np.where(is_own, error, noise.sigma), own, deviation,
                               dtype=np.float32))


def _not_of_photons(image, deviation, noise, sky):
    """Find pixels with far larger errors than their light explains, or with none; both are without weight."""
    result = empty(image.shape, dtype=bool)
    for rows in row_blocks(image.shape[0]):
        values = np.nan_to_num(image[rows].astype(float), posinf=0, neginf=0)
        expected = np.maximum(np.sqrt(noise.variance(values)), sky)
        result[rows] = ~((deviation[rows] > 0) & (deviation[rows] < 2 * expected))
    return result


def _own_slope(image, deviation, usable, typical):
    """Fit the slope of the variance against fluctuations of the data on the sky, 0 if none; and its zero point."""
    sky = background_level(image, ~usable)
    part = cutouts(image.shape)
    image, usable, variance = image[part].astype(float), usable[part], deviation[part].astype(float) ** 2
    near = usable & (np.abs(image - sky) < 5 * np.sqrt(typical))
    pairs = near[:, 1:] & near[:, :-1]
    difference, rise = np.diff(image, axis=1), np.diff(variance, axis=1)
    if pairs.sum() < 50:
        return 0.0, 0.0
    both = difference[pairs] / np.sqrt(typical), rise[pairs] / typical
    norm = np.sqrt(np.sum(both[0] ** 2) * np.sum(both[1] ** 2))
    if not norm > 0 or np.sum(both[0] * both[1]) / norm < 0.3:
        return 0.0, 0.0
    # Above the sky, where a plane that was clipped at zero still follows the data.
    above = (pairs & (image[:, 1:] > sky) & (image[:, :-1] > sky))[pairs]
    x, y = (values[above] for values in both) if above.sum() > 50 else both
    slope = float(np.sum(x * y) / np.sum(x ** 2)) * np.sqrt(typical)
    if not slope > 0:
        return 0.0, 0.0
    # Does the plane stop falling at zero, as the plane of a sky-subtracted frame with max(data, 0)?
    negative = usable & (image < 0)
    low = usable & (image < sky + 3 * np.sqrt(typical))
    zero = sky - 0.9 * np.median(variance[low]) / slope
    if negative.sum() > 100 and np.ptp(variance[negative]) < 0.3 * slope * np.ptp(image[negative]):
        zero = 0.0
    elif negative.sum() == 0 and np.mean(~np.isfinite(variance) & (image < 0)) > 0.01:
        zero = 0.0   # no value below zero: the root of a negative number
    return slope, zero


def _static_part(image, deviation, usable, slope, zero, typical):
    """Subtract the photon noise of the data from the deviation, in single precision."""
    def static(part):
        with np.errstate(invalid='ignore'):
            return deviation[part].astype(float) ** 2 - slope * np.maximum(image[part].astype(float) - zero, 0)

    part = cutouts(image.shape)
    floor = np.median(static(part)[usable[part]]) if usable[part].any() else typical ** 2
    result = empty(image.shape, dtype=np.float32)
    size = 5
    for rows in row_blocks(image.shape[0]):
        wide, inner = with_halo(rows, size // 2, image.shape[0])
        values = static(wide)
        # Remove remaining fluctuations of the data, too (a plane of absolute values, flat-fielded).
        values = median_filter(np.where(np.isfinite(values), values, floor), size)[inner]
        result[rows] = np.sqrt(np.maximum(values, 0.02 * typical ** 2))
    return result
