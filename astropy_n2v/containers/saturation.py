# Licensed under a 3-clause BSD style license - see LICENSE
"""
Find saturated pixels: by a given level or one of the header, the largest integer, or a pile-up at the maximum.
"""

import numpy as np
from astropy import units as u
from scipy.ndimage import binary_dilation

from ..config import conf
from ..io.headers import ADU_LIKE, header_value
from ..utils.sampling import subsample
from ..utils.scratch import blocks, blockwise, count_where
from ..utils.warn import warn_user
from .nodata import quantisation_step

__all__ = ['saturated_pixels']

# Largest fraction of saturated pixels; a level that gives more does not apply to these data.
_MAX_SATURATED = 0.5
# Largest values of converters of 12 and 14 bits, unscaled and as cameras scale them to 16 bits.
_LARGEST = (4095, 16383, 65520, 65532)
# A pile-up at the maximum, at least: its number of pixels; this number over the number of pixels just below; the
# fraction of them side by side; the excess beyond which this fraction does not matter (stars of one saturated pixel).
_PILE, _EXCESS, _CLUMPED, _CERTAIN = 4, 2.0, 0.5, 10.0
_SLICE = 0.02    # range just below the maximum, as a fraction of the distance from the median
_FAR = 50        # least distance of the maximum from the median, in quantisation steps and in tenths of the width
_BRIGHT = 0.1    # least level of the neighbours of a plateau (75th percentile): 0 is the median, 1 the maximum


def saturated_pixels(values, mask, header, unit, satlevel=None, largest=None):
    """
    Find the saturated pixels of an image.

    Parameters
    ----------
    values : `~numpy.ndarray`
        Data of any shape.
    mask : `~numpy.ndarray` of bool
        True for pixels that are left out; same shape.
    header : mapping
        A level in it (`astropy_n2v.conf.saturation_keywords`) is used for data in adu or without a unit.
    unit : `~astropy.units.Unit` or None
        Unit of the data.
    satlevel : float, `~astropy.units.Quantity` or array_like, optional
        Data at or above it are saturated.
    largest : int, optional
        Largest possible value of the original integers.

    Returns
    -------
    saturated : `~numpy.ndarray` of bool or None
        Same shape; None without saturated pixels.
    reason : str
        Description of the method, for messages.

    Raises
    ------
    ValueError
        If ``satlevel`` is not a finite number, of a wrong shape, or below all data.
    `~astropy.units.UnitsError`
        If its unit is not compatible.

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
    """Return a saturation level as an array of finite numbers in the unit of the data."""
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
    """Return the pixels at or above a level; None without any, or if the level of the header does not apply."""
    satlevel = _level(satlevel, unit, values.shape)
    with np.errstate(invalid='ignore'):
        # In the precision of the data, so that the rounding of a level does not raise it above them.
        level = np.broadcast_to(satlevel.astype(values.dtype), values.shape)
        saturated = blockwise(np.greater_equal, values, level)
    valid = count_where(lambda part, bad: ~bad & np.isfinite(part), values, mask)
    above = count_where(lambda part, bad, high: ~bad & np.isfinite(part) & high, values, mask, saturated)
    share = above / max(valid, 1)
    if share == 1 and keyword is None:
        raise ValueError(f'satlevel must be above the data, got {satlevel}, and there is no valid pixel below it')
    if share > _MAX_SATURATED:
        what = f'{keyword} = {satlevel:g} of the header is not used' if keyword else f'satlevel is {satlevel}'
        warn_user(f'{what}: {100 * share:.0f} % of the pixels are at or above it')
        if keyword:
            return None
    return saturated if saturated.any() else None


def _piled_up(values, mask, largest):
    """Find pixels at exactly the maximum of the data, if it is due to the detector or the converter."""
    maximum = max((np.max(values[i], where=np.isfinite(values[i]) & ~mask[i], initial=-np.inf)
                   for i in blocks(values.shape)), default=-np.inf)
    if not np.isfinite(maximum):
        return None, ''
    clipped = blockwise(lambda part, bad: (part == maximum) & ~bad, values, mask)
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
    just_below = count_where(lambda part, bad: (part < maximum) & (part >= maximum - _SLICE * height) & ~bad,
                             values, mask)
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
