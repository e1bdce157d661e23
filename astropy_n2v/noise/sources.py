# Licensed under a 3-clause BSD style license - see LICENSE
"""
Where the noise of a frame is known from: its user, its uncertainty, its header, its pixels.
"""

import logging
import re
import warnings
from dataclasses import replace

import numpy as np
from astropy import units as u
from astropy.nddata import InverseVariance, NDUncertainty, VarianceUncertainty
from astropy.utils.exceptions import AstropyUserWarning
from scipy.ndimage import gaussian_filter, median_filter

from ..config import conf
from ..scaling import background_level, cutouts
from .estimation import allows_gain, estimate_noise
from .model import NoiseModel

__all__ = ['gain_value', 'header_value', 'looks_white', 'readnoise_value', 'resolve_noise', 'variance_plane']

log = logging.getLogger(__name__)

# Given and measured noise of the sky may differ by this fraction.
_AGREEMENT = 0.2


def header_value(header, keywords):
    """
    The first usable positive number among some header cards.

    Parameters
    ----------
    header : mapping
        FITS header or dictionary.
    keywords : list of str
        Keywords in order of preference.

    Returns
    -------
    keyword : str or None
        The card that was used.
    value : float or None
        Its value; a number at the start of a string is accepted.

    Examples
    --------
    >>> from astropy_n2v.noise import header_value
    >>> header_value({'GAIN': '1.9 e-/ADU'}, ['EGAIN', 'GAIN'])
    ('GAIN', 1.9)
    """
    for keyword in keywords:
        if keyword not in header:
            continue
        match = re.match(r'\s*([-+]?(\d+\.?\d*|\.\d+)([eEdD][-+]?\d+)?)', str(header[keyword]))
        if match:
            value = float(match.group(1).lower().replace('d', 'e'))
            if np.isfinite(value) and value > 0:
                return keyword, value
    return None, None


def _positive(name, value, *, zero=False):
    value = np.asarray(value, dtype=float)
    if not (np.isfinite(value).all() and ((value >= 0) if zero else (value > 0)).all()):
        raise ValueError(f'{name} must be finite and {"not negative" if zero else "positive"}, got {value}')
    return value


def gain_value(gain, unit):
    """
    Electrons per data unit from a gain that may have a unit.

    Parameters
    ----------
    gain : float, array_like or `~astropy.units.Quantity`
        A number is taken to be in electrons per data unit.
    unit : `~astropy.units.Unit` or None
        Unit of the data; none counts as adu.

    Returns
    -------
    `~numpy.ndarray`
        The gain.

    Raises
    ------
    `~astropy.units.UnitsError`
        If the unit of the gain times that of the data is not electrons.
    ValueError
        If the gain is not positive.
    """
    if isinstance(gain, u.Quantity) and gain.unit != u.dimensionless_unscaled:
        unit = u.adu if unit in (None, u.dimensionless_unscaled) else unit
        try:
            gain = gain.to_value(u.electron / unit)
        except u.UnitsError:
            raise u.UnitsError(f'gain must be in electron / {unit} for data in {unit}, got {gain.unit}') from None
    return _positive('gain', gain)


def readnoise_value(readnoise):
    """
    Read noise in electrons from one that may have a unit.

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
    """
    if isinstance(readnoise, u.Quantity) and readnoise.unit != u.dimensionless_unscaled:
        try:
            readnoise = readnoise.to_value(u.electron)
        except u.UnitsError:
            raise u.UnitsError(f'readnoise must be in electron, got {readnoise.unit}') from None
    return _positive('readnoise', readnoise, zero=True)


def variance_plane(uncertainty, shape, unit):
    """
    The variance of each pixel from an uncertainty.

    Parameters
    ----------
    uncertainty : `~astropy.nddata.NDUncertainty` or None
        Standard deviation, variance or inverse variance, with or without a unit.
    shape : tuple of int
        Shape of the data.
    unit : `~astropy.units.Unit` or None
        Unit of the data.

    Returns
    -------
    variance : `~numpy.ndarray` or None
        In the unit of the data squared; NaN where it is not known.
    masked : `~numpy.ndarray` of bool or None
        Where the uncertainty says that the data mean nothing: zero inverse variance.

    Raises
    ------
    ValueError
        If the uncertainty does not have the shape of the data.
    `~astropy.units.UnitsError`
        If its unit does not fit that of the data.
    """
    if uncertainty is None or uncertainty.array is None:
        return None, None
    if not isinstance(uncertainty, NDUncertainty) or uncertainty.uncertainty_type == 'unknown':
        warnings.warn(f'uncertainty of type {uncertainty.uncertainty_type!r} is not used: its meaning is not known',
                      AstropyUserWarning, stacklevel=3)
        return None, None
    if np.shape(uncertainty.array) != tuple(shape):
        raise ValueError(f'uncertainty must have the shape of the data, {tuple(shape)}, got '
                         f'{np.shape(uncertainty.array)}')
    values = np.asarray(uncertainty.array, dtype=float)
    masked = None
    with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
        if isinstance(uncertainty, InverseVariance):
            masked = values == 0
            variance = 1 / values
        elif isinstance(uncertainty, VarianceUncertainty):
            variance = values.copy()
        else:
            variance = values ** 2
    power = {'ivar': -2, 'var': 2}.get(uncertainty.uncertainty_type, 1)
    if uncertainty.unit is not None and unit is not None:
        base = (uncertainty.unit ** (1 / power)) if power != 1 else uncertainty.unit
        try:
            variance *= base.to(unit) ** 2
        except u.UnitsError:
            raise u.UnitsError(f'uncertainty must have a unit that fits data in {unit}, got '
                               f'{uncertainty.unit}') from None
    variance[~(np.isfinite(variance) & (variance > 0))] = np.nan
    return variance, masked


def _from_variance(image, mask, variance):
    """Noise from a plane of variances, with the Poisson term taken out of a plane computed from the data."""
    usable = np.isfinite(variance) & np.isfinite(image) & ~mask
    if usable.sum() < max(16, 0.01 * image.size):
        return None
    sky = background_level(image, ~usable)
    typical = np.median(variance[usable])
    slope = _own_slope(image, variance, usable, sky, typical)
    if not slope:
        filled = np.where(np.isfinite(variance), variance, typical)
        return NoiseModel(np.sqrt(filled), source='uncertainty', relative_error=0.02)
    # Does the plane stop falling at zero, as that of a sky-subtracted frame with max(data, 0)?
    negative = usable & (image < 0)
    zero = sky - 0.9 * np.median(variance[usable & (image < sky + 3 * np.sqrt(typical))]) / slope
    if negative.sum() > 100 and np.ptp(variance[negative]) < 0.3 * slope * np.ptp(image[negative]):
        zero = 0.0
    elif negative.sum() == 0 and np.mean(~np.isfinite(variance) & (image < 0)) > 0.01:
        zero = 0.0   # no value at all below zero: the root of a negative number
    static = variance - slope * np.maximum(image - zero, 0)
    floor = np.median(static[usable])
    # What fluctuation is left of the data (a plane of absolute values, flat-fielded) must not stay either.
    static = median_filter(np.where(np.isfinite(static), static, floor), 5)
    return NoiseModel(np.sqrt(np.maximum(static, 0.02 * typical)), gain=1 / slope, zero_point=zero,
                      source='uncertainty, Poisson term rebuilt', relative_error=0.02)


def _own_slope(image, variance, usable, sky, typical):
    """Slope of the variance against the data's own fluctuations on the sky; 0 if it has none."""
    near = usable & (np.abs(image - sky) < 5 * np.sqrt(typical))
    pairs = near[:, 1:] & near[:, :-1]
    difference, rise = np.diff(image, axis=1), np.diff(variance, axis=1)
    if pairs.sum() < 50:
        return 0.0
    both = difference[pairs], rise[pairs]
    norm = np.sqrt(np.sum(both[0] ** 2) * np.sum(both[1] ** 2))
    if not norm > 0 or np.sum(both[0] * both[1]) / norm < 0.3:
        return 0.0
    # Above the sky, where a plane cut off at zero still follows the data.
    above = pairs & (image[:, 1:] > sky) & (image[:, :-1] > sky)
    x, y = (difference[above], rise[above]) if above.sum() > 50 else both
    return max(float(np.sum(x * y) / np.sum(x ** 2)), 0.0)


def _in_units_of(noise, image, mask):
    """The sky-subtracted image in units of a given noise, which varies over it; some parts of a large one."""
    part = cutouts(image.shape)
    noise = noise.at(image.shape, *part)
    image, mask = image[part], mask[part]
    level = background_level(image, mask)
    good = np.isfinite(image) & ~mask
    local = gaussian_filter(np.where(good, image, level).astype(float), 8)
    # On the sky the level is known better than that.
    local = np.where(np.abs(local - level) > 0.5 * np.sqrt(noise.variance(level)), local, level)
    sigma = np.sqrt(noise.variance(local))
    with np.errstate(divide='ignore', invalid='ignore'):
        return np.where(good, (image - level) / sigma, np.nan), float(np.median(sigma))


def looks_white(image, mask, noise):
    """
    Whether an image has the variance between neighbouring pixels that white noise of a given size has.

    Structure that resembles correlated noise then need not be feared.

    Parameters
    ----------
    image : `~numpy.ndarray`
        Data of shape (ny, nx).
    mask : `~numpy.ndarray` of bool
        True where they do not count.
    noise : NoiseModel
        The noise, known from elsewhere than the image.

    Returns
    -------
    bool
        False also where the noise was measured on the image itself, which proves nothing.
    """
    if 'image' in noise.source or 'measured' in noise.source:
        return False
    units, _ = _in_units_of(noise, image, mask)
    white = _try_estimate(units, ~np.isfinite(units), correlated=False)
    return white is not None and 0.9 < float(white.variance(0.0)) < 1.2


def _agrees(image, mask, noise, what):
    """Whether the measured noise of the sky agrees with a model of it; warn if not."""
    units, given = _in_units_of(noise, image, mask)
    ratios = []
    # Structure may pass for correlation: the one or the other has to agree.
    for correlated in (True, False):
        measured = _try_estimate(units, ~np.isfinite(units), correlated=correlated)
        if measured is None:
            return True
        ratios.append(float(np.sqrt(measured.variance(0.0))))
    if any(1 / (1 + _AGREEMENT) <= ratio <= 1 + _AGREEMENT for ratio in ratios):
        return True
    warnings.warn(f'the sky noise according to {what} is {given:.4g}, but {ratios[0] * given:.4g} is measured on the '
                  'image', AstropyUserWarning, stacklevel=4)
    return False


def _try_estimate(image, mask, **kwargs):
    try:
        return estimate_noise(image, mask, **kwargs)
    except ValueError as error:
        log.debug('no noise estimate: %s', error)
        return None


def resolve_noise(image, mask, *, noise=None, gain=None, readnoise=None, variance=None, header=None, unit=None):
    """
    Find the noise of a frame, from what is trusted most to what is trusted least.

    In this order: ``noise``; ``gain`` and ``readnoise``; the uncertainty of the frame; the
    image itself, with the gain of its header where the data are in adu or have no unit.

    Parameters
    ----------
    image : `~numpy.ndarray`
        Data of shape (ny, nx).
    mask : `~numpy.ndarray` of bool
        True where they do not count.
    noise : NoiseModel, optional
        Used as it is.
    gain : float, array_like or `~astropy.units.Quantity`, optional
        Electrons per data unit.
    readnoise : float, array_like or `~astropy.units.Quantity`, optional
        In electrons.
    variance : `~numpy.ndarray`, optional
        From `variance_plane`.
    header : mapping, optional
        Header or other metadata.
    unit : `~astropy.units.Unit`, optional
        Unit of the data.

    Returns
    -------
    NoiseModel
        Its ``source`` says where it comes from.

    Raises
    ------
    TypeError
        If ``noise`` is no NoiseModel.
    ValueError
        If the noise must be estimated from an image that is constant.
    """
    if noise is not None:
        if not isinstance(noise, NoiseModel):
            raise TypeError(f'noise must be a NoiseModel, got {type(noise).__name__}')
        noise.check_shape(image.shape)
        _agrees(image, mask, noise, 'the given noise model')
        return noise
    header = {} if header is None else header
    counts = unit in (None, u.dimensionless_unscaled, u.adu, u.count)
    if unit == u.dimensionless_unscaled and str(header.get('BUNIT', '')).strip():
        counts = False   # a unit that was not understood, but no count
    given = gain is not None or readnoise is not None
    source = 'gain' if gain is not None else 'readnoise'
    if gain is not None:
        gain = gain_value(gain, unit)
    elif unit in (u.electron, u.photon):
        gain = np.asarray(1.0)
    elif counts and (given or variance is None):
        keyword, value = header_value(header, conf.gain_keywords)
        if keyword:
            gain = np.asarray(value)
            source = f'{source}, header {keyword}' if given else f'image, header {keyword}'
    if readnoise is not None:
        if gain is None:
            raise ValueError(f'readnoise is in electrons and needs gain, which is neither given nor in the header, '
                             f'got readnoise={readnoise}')
        readnoise = readnoise_value(readnoise)
    for name, value in (('gain', gain), ('readnoise', readnoise)):
        try:
            np.broadcast_to(0 if value is None else value, image.shape)
        except ValueError:
            raise ValueError(f'{name} must broadcast to the shape of the data, {image.shape}, got an array of shape '
                             f'{np.shape(value)}') from None
    if given:
        return _from_gain(image, mask, gain, readnoise, source)
    if variance is not None:
        model = _from_variance(image, mask, variance)
        if model is not None:
            _agrees(image, mask, model, 'the uncertainty')
            return model
        warnings.warn('the uncertainty has hardly any finite, positive value: the noise is estimated from the image',
                      AstropyUserWarning, stacklevel=3)
    if gain is not None and unit in (u.electron, u.photon):
        source = 'image, electrons'
    elif gain is None:
        source = 'image'
    header_readnoise = header_value(header, conf.readnoise_keywords)[1] if gain is not None else None
    if source.startswith('image, header') and not allows_gain(image, mask, float(gain)):
        warnings.warn(f'the gain of the header ({source[14:]} = {float(gain):g}) is not used: bright parts of the '
                      'image have less noise than their photons would have', AstropyUserWarning, stacklevel=3)
        gain, source, header_readnoise = None, 'image', None
    model = estimate_noise(image, mask, gain=gain, readnoise=header_readnoise)
    return replace(model, source=source)


def _from_gain(image, mask, gain, readnoise, source):
    """Noise from gain and read noise, as far as the image agrees."""
    measured = _try_estimate(image, mask, gain=gain, readnoise=readnoise)
    if readnoise is not None:
        source = source if 'readnoise' in source else f'{source}+readnoise'
        formula = NoiseModel(readnoise / gain, gain, 0.0, source, relative_error=0.01)
        # A pedestal, or a sky that was subtracted, makes any formula from the level wrong.
        if measured is None or _agrees(image, mask, formula, 'gain and readnoise'):
            return formula
    elif measured is None:
        estimate_noise(image, mask, gain=gain)   # raises what is wrong with the image
    return replace(measured, source=f'{source}, level measured')
