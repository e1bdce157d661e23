# Licensed under a 3-clause BSD style license - see LICENSE
"""
Gain and read noise as users and headers give them.
"""

import numpy as np
from astropy import units as u

from ..io.headers import ADU_LIKE

__all__ = ['gain_value', 'readnoise_value']


def _numbers(name, value, *, zero=False):
    """Return a finite and positive array, or one that may be zero; raise an error otherwise."""
    try:
        value = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f'{name} must be a number or an array of numbers, got {value!r}') from None
    if not (np.isfinite(value).all() and ((value >= 0) if zero else (value > 0)).all()):
        raise ValueError(f'{name} must be finite and {"not negative" if zero else "positive"}, got {value}')
    return value


def gain_value(gain, unit):
    """
    Convert a gain that may have a unit to electrons per data unit.

    Parameters
    ----------
    gain : float, array_like or `~astropy.units.Quantity`
        A number is taken to be in electrons per data unit.
    unit : `~astropy.units.Unit` or None
        Unit of the data; None counts as adu. adu, count and DN are synonyms.

    Returns
    -------
    `~numpy.ndarray`
        The gain.

    Raises
    ------
    `~astropy.units.UnitsError`
        If the product of the units of gain and data is not electrons.
    ValueError
        If the gain is not positive.

    Examples
    --------
    >>> from astropy import units as u
    >>> from astropy_n2v.noise import gain_value
    >>> float(gain_value(1.9 * u.electron / u.adu, u.count))
    1.9
    """
    if isinstance(gain, u.Quantity) and gain.unit != u.dimensionless_unscaled:
        unit = u.adu if unit in (None, u.dimensionless_unscaled) else unit
        for denominator in (unit, *(ADU_LIKE if unit in ADU_LIKE else ())):
            if gain.unit.is_equivalent(u.electron / denominator):
                return _numbers('gain', gain.to_value(u.electron / denominator))
        raise u.UnitsError(f'gain must be in electron / {unit} for data in {unit}, got {gain.unit}')
    return _numbers('gain', gain)


def readnoise_value(readnoise):
    """
    Convert a read noise that may have a unit to electrons.

    Parameters
    ----------
    readnoise : float, array_like or `~astropy.units.Quantity`
        The read noise.

    Returns
    -------
    `~numpy.ndarray`
        In electrons.

    Raises
    ------
    `~astropy.units.UnitsError`
        If its unit is not electrons.
    ValueError
        If it is negative.

    Examples
    --------
    >>> from astropy import units as u
    >>> from astropy_n2v.noise import readnoise_value
    >>> float(readnoise_value(5 * u.electron))
    5.0
    """
    if isinstance(readnoise, u.Quantity) and readnoise.unit != u.dimensionless_unscaled:
        try:
            readnoise = readnoise.to_value(u.electron)
        except u.UnitsError:
            raise u.UnitsError(f'readnoise must be in electron, got {readnoise.unit}') from None
    return _numbers('readnoise', readnoise, zero=True)
