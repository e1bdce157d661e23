# Licensed under a 3-clause BSD style license - see LICENSE
"""
Find saturated pixels: by a level that is given or in the header, by the largest integer, by a pile-up at the maximum.
"""

import numpy as np
from astropy import units as u
from scipy.ndimage import binary_dilation

from ..config import conf
from ..io.headers import ADU_LIKE, header_value
from ..utils.sampling import subsample
from ..utils.warn import warn_user
from .nodata import quantisation_step

__all__ = ['saturated_pixels']

# A saturation level that masks more than this is not the level of these data.
_MAX_SATURATED = 0.5
# Largest values of converters of 12 and 14 bits, as they are and as cameras scale them to 16 bits.
_LARGEST = (4095, 16383, 65520, 65532)
# A pile-up at the maximum: so many pixels, so many times as many as in the next 2 % of the range below, and so large a
# share of them side by side, or so many times that it does not matter (stars of one saturated pixel); the maximum so
# many quantisation steps, and tenths of the width of the data, above the median.
_PILE, _EXCESS, _CLUMPED, _CERTAIN = 4, 2.0, 0.5, 10.0
_SLICE = 0.02
_FAR = 50
_BRIGHT = 0.1    # how high the neighbours of a plateau are (75th percentile) between the median and the maximum


def saturated_pixels(values, mask, header, unit, satlevel=None, largest=None):
    """
    Find the saturated pixels of an image.

    Parameters
    ----------
    values : `~numpy.ndarray`
        Data of any shape.
    mask : `~numpy.ndarray` of bool
        True for pixels that are not looked at; same shape.
    header : mapping
        May hold the level (`astropy_n2v.conf.saturation_keywords`), which is used for data in adu or without a unit.
    unit : `~astropy.units.Unit` or None
        Unit of the data.
    satlevel : float, `~astropy.units.Quantity` or array_like, optional
        Data at or above it are saturated.
    largest : int, optional
        The largest value that the integers can have that the data came as.

    Returns
    -------
    saturated : `~numpy.ndarray` of bool or None
        Same shape; None where no pixel is saturated.
    reason : str
        How they were found, for messages.

    Raises
    ------
    ValueError
        If ``satlevel`` is no finite number, of a wrong shape, or below all data.
    `~astropy.units.UnitsError`
        If its unit does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.containers.saturation import saturated_pixels
    >>> image = np.random.default_rng(1).normal(1000, 50, (32, 32))
    >>> image[8:12, 8:12] = 9000
    >>> image[7:13, 7:13] = np.maximum(image[7:13, 7:13], 5000)
    >>> saturated, reason = saturated_pixels(image, np.zeros(image.shape, bool), {}, None)
    >>> int(saturated.sum()), reason
    (16, 'pile up at the maximum, 9000')
    """
    keyword = None
    if satlevel is None and unit in (None, u.dimensionless_unscaled, *ADU_LIKE):
        keyword, satlevel = header_value(header, conf.saturation_keywords)
    if satlevel is not None:
        found = _above(values, mask, unit, satlevel, keyword)
        if found is not None:
            return found, f'are at or above {keyword or "satlevel"}'
        if keyword is None:
            return None, ''
    return _piled_up(values, mask, largest)


def _level(satlevel, unit, shape):
    """A saturation level as an array of finite numbers in the unit of the data."""
    if isinstance(satlevel, u.Quantity):
        if unit is None:
            raise u.UnitsError(f'satlevel must have no unit, as the data, got {satlevel.unit}')
        satlevel = satlevel.to_value(unit)
    try:
        satlevel = np.asarray(satlevel, dtype=float)
        np.broadcast_to(satlevel, shape)
    except (TypeError, ValueError):
        raise ValueError(f'satlevel must be a number, or an array that broadcasts to the shape of the data, '
                         f'{shape}, got {satlevel!r}') from None
    if not np.isfinite(satlevel).all():
        raise ValueError(f'satlevel must be finite, got {satlevel}')
    return satlevel


def _above(values, mask, unit, satlevel, keyword):
    """Pixels at or above a level, or None if the level of the header cannot be meant or none is."""
    satlevel = _level(satlevel, unit, values.shape)
    with np.errstate(invalid='ignore'):
        # In the precision of the data: a level that they have must not lie above them by its rounding.
        saturated = values >= satlevel.astype(values.dtype)
    valid = ~mask & np.isfinite(values)
    share = np.count_nonzero(saturated & valid) / max(np.count_nonzero(valid), 1)
    if share == 1 and keyword is None:
        raise ValueError(f'satlevel must be above the data, got {satlevel}, and there is no valid pixel below it')
    if share > _MAX_SATURATED:
        what = f'{keyword} = {satlevel:g} of the header is not used' if keyword else f'satlevel is {satlevel}'
        warn_user(f'{what}: {100 * share:.0f} % of the pixels are at or above it')
        if keyword:
            return None
    return saturated if saturated.any() else None


def _piled_up(values, mask, largest):
    """Pixels of exactly the maximum of the data if the detector or the converter made it."""
    maximum = np.max(values, where=np.isfinite(values) & ~mask, initial=-np.inf)
    if not np.isfinite(maximum):
        return None, ''
    clipped = (values == maximum) & ~mask
    count = np.count_nonzero(clipped)
    if count > _MAX_SATURATED * (mask.size - np.count_nonzero(mask)):
        return None, ''
    if maximum == largest:
        return clipped, f'have the largest value of their integers, {maximum:g}'
    if largest is not None and maximum in _LARGEST:
        return clipped, f'have the largest value of a converter, {maximum:g}'
    if count >= _PILE and _is_pile(values, mask, maximum, clipped, count):
        return clipped, f'pile up at the maximum, {maximum:g}'
    return None, ''


def _is_pile(values, mask, maximum, clipped, count):
    """Check if pixels of the maximum are more than expected, side by side, and far above the others."""
    sample = subsample(values, 100_000)
    sample = sample[~subsample(mask, 100_000) & np.isfinite(sample)].astype(float)
    low, median = np.percentile(sample, (16, 50))
    height = float(maximum) - median
    if not height > _FAR * max(quantisation_step(sample), (median - low) / 10):
        return False
    just_below = np.count_nonzero((values < maximum) & (values >= maximum - _SLICE * height) & ~mask)
    if count < _EXCESS * just_below:
        return False
    beside = np.zeros(clipped.shape, dtype=bool)
    for axis in (-1, -2):
        for shift in (1, -1):
            beside |= np.roll(clipped, shift, axis=axis)
    if np.count_nonzero(beside & clipped) < _CLUMPED * count and count < _CERTAIN * (just_below + 1):
        return False
    cross = np.zeros((1,) * (values.ndim - 2) + (3, 3), dtype=bool)
    cross[..., 1, :] = cross[..., :, 1] = True
    around = values[binary_dilation(clipped, cross) & ~clipped & ~mask & np.isfinite(values)]
    return around.size > 0 and np.percentile(around, 75) > median + _BRIGHT * height
