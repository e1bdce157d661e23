# Licensed under a 3-clause BSD style license - see LICENSE
"""
Where the noise of a frame is known from: its user, its uncertainty, its header, its pixels.
"""

import logging
import math
import warnings
from dataclasses import replace

import numpy as np
from astropy import units as u
from astropy.utils.exceptions import AstropyUserWarning
from scipy.ndimage import gaussian_filter

from ..config import conf
from ..exceptions import CannotDenoiseError
from ..scaling import background_level, cutouts
from .amplifiers import AmplifierScale, amplifier_labels, amplifier_regions
from .estimation import allows_gain, estimate_noise
from .model import NoiseModel
from .parameters import ADU_LIKE, gain_value, header_value, readnoise_value
from .uncertainty import noise_from_deviation

__all__ = ['resolve_noise']

log = logging.getLogger(__name__)

# Given and measured noise of the sky may differ by this fraction.
_AGREEMENT = 0.2


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
    Whether an image has the variance between neighbours that white noise of a given size has.

    Structure that resembles correlated noise then need not be feared. False also where the noise
    was measured on the image itself, which proves nothing.
    """
    if 'image' in noise.source or 'measured' in noise.source:
        return False
    units, _ = _in_units_of(noise, image, mask)
    white = _try_estimate(units, ~np.isfinite(units), correlated=False)
    return white is not None and 0.9 < float(white.variance(0.0)) < 1.2


def _agrees(image, mask, noise, what):
    """Whether the measured noise of the sky agrees with a model of it; warn if not."""
    amplifiers = AmplifierScale.find(image, mask, noise)
    if amplifiers is not None:
        image, noise = amplifiers.forward(image), amplifiers.noise(noise)
    units, given = _in_units_of(noise, image, mask)
    # Structure may pass for correlation: the one or the other has to agree. The quick one first.
    for correlated in (False, True):
        measured = _try_estimate(units, ~np.isfinite(units), correlated=correlated)
        if measured is None:
            return True
        ratio = float(np.sqrt(measured.variance(0.0)))
        if 1 / (1 + _AGREEMENT) <= ratio <= 1 + _AGREEMENT:
            return True
    warnings.warn(f'the sky noise according to {what} is {given:.4g}, but {ratio * given:.4g} is measured on the image',
                  AstropyUserWarning, stacklevel=4)
    return False


def _try_estimate(image, mask, **kwargs):
    try:
        return estimate_noise(image, mask, **kwargs)
    except ValueError as error:
        log.debug('no noise estimate: %s', error)
        return None


def resolve_noise(image, mask, *, noise=None, gain=None, readnoise=None, deviation=None, header=None, unit=None):
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
        Electrons per data unit. Amplifiers with gains of their own get levels of their own.
    readnoise : float, array_like or `~astropy.units.Quantity`, optional
        In electrons.
    deviation : `~numpy.ndarray`, optional
        Standard deviation of each pixel, NaN where it is not known.
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
        If a parameter is out of its range or does not broadcast to the image.
    CannotDenoiseError
        If the noise must be estimated from an image that is constant or too small.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy import units as u
    >>> from astropy_n2v.noise import resolve_noise
    >>> image = np.random.default_rng(0).normal(100, 5, (64, 64))
    >>> noise = resolve_noise(image, np.zeros(image.shape, bool), header={'GAIN': 2.0}, unit=u.adu)
    >>> noise.source
    'image, header GAIN'
    """
    if noise is not None:
        if not isinstance(noise, NoiseModel):
            raise TypeError(f'noise must be a NoiseModel, got {type(noise).__name__}')
        noise.check_shape(image.shape)
        _agrees(image, mask, noise, 'the given noise model')
        return noise
    header = {} if header is None else header
    given = gain is not None or readnoise is not None
    source = 'gain' if gain is not None else 'readnoise'
    header_readnoise = None
    if gain is not None:
        gain = gain_value(gain, unit)
    elif unit in (u.electron, u.photon):
        gain = np.asarray(1.0)
    elif _counts(unit, header) and (given or deviation is None):
        name, gain, header_readnoise = _header_gain(image, mask, header)
        if name is not None:
            source = f'{source}, header {name}' if given else f'image, header {name}'
    if readnoise is not None:
        if gain is None:
            raise ValueError(f'readnoise is in electrons and needs gain, which is neither given nor in the header, '
                             f'got readnoise={readnoise}')
        readnoise = readnoise_value(readnoise)
    _check_shapes(image.shape, gain=gain, readnoise=readnoise)
    if given:
        return _from_gain(image, mask, gain, readnoise, source)
    if deviation is not None:
        model = noise_from_deviation(image, mask, deviation)
        if model is not None:
            _agrees(image, mask, model, 'the uncertainty')
            return model
        warnings.warn('the uncertainty has hardly any finite, positive value: the noise is estimated from the image',
                      AstropyUserWarning, stacklevel=3)
    if gain is None:
        source = 'image'
    elif unit in (u.electron, u.photon):
        source = 'image, electrons'
        header_readnoise = header_value(header, conf.readnoise_keywords)[1]
    elif not allows_gain(image, mask, float(gain)):
        warnings.warn(f'the gain of the header ({source[14:]} = {float(gain):g}) is not used: bright parts of the '
                      'image have less noise than their photons would have', AstropyUserWarning, stacklevel=3)
        gain, source, header_readnoise = None, 'image', None
    model = estimate_noise(image, mask, gain=gain, readnoise=header_readnoise)
    if header_readnoise is not None:
        source = f'{source}, {header_value(header, conf.readnoise_keywords)[0]}'
    return replace(model, source=source)


def _counts(unit, header):
    """Whether data in some unit are what a converter counts."""
    if unit == u.dimensionless_unscaled and str(header.get('BUNIT', '')).strip():
        return False   # a unit that was not understood, but no count
    return unit in (None, u.dimensionless_unscaled, *ADU_LIKE)


def _check_shapes(shape, **parameters):
    for name, value in parameters.items():
        try:
            np.broadcast_to(0 if value is None else value, shape)
        except ValueError:
            raise ValueError(f'{name} must broadcast to the shape of the data, {shape}, got an array of shape '
                             f'{np.shape(value)}') from None


def _header_gain(image, mask, header):
    """
    Name and value of the gain, and the read noise, that a header gives.

    The gain of an average of n exposures is n times that of one of them, and so are the electrons
    that a data unit stands for; their read noises add in quadrature.
    """
    name, gain = header_value(header, conf.gain_keywords)
    if name is None:
        return None, None, None
    readnoise = header_value(header, conf.readnoise_keywords)[1]
    counter, n = header_value(header, conf.ncombine_keywords)
    if counter is None or n <= 1:
        return name, np.asarray(gain), readnoise
    measured = _try_estimate(image, mask)
    measured = None if measured is None or measured.gain is None else float(measured.gain)
    if measured is not None and abs(math.log(measured / gain)) < abs(math.log(measured / (gain * n))):
        warnings.warn(f'{counter} = {n:g} of the header is not used: the noise of bright parts calls for a gain of '
                      f'{measured:.3g}, nearer to {name} = {gain:g} than to {n:g} times as much. The exposures may '
                      f'have been added, or {name} be that of their average', AstropyUserWarning, stacklevel=4)
        return name, np.asarray(gain), readnoise
    readnoise = None if readnoise is None else readnoise * math.sqrt(n)
    return f'{name} x {counter}', np.asarray(gain * n), readnoise


def _from_gain(image, mask, gain, readnoise, source):
    """Noise from gain and read noise, as far as the image agrees; each amplifier for itself."""
    if readnoise is not None and 'readnoise' not in source:
        source = f'{source}+readnoise'
    labels = amplifier_labels(gain, 0.0 if readnoise is None else readnoise)
    if labels is None:
        return _of_amplifier(image, mask, gain, readnoise, source)
    gains, readnoises = (None if value is None else np.broadcast_to(value, image.shape)
                         for value in (gain, readnoise))
    models = []
    for box, outside in amplifier_regions(labels, image.shape):
        own_gain, own_readnoise = (None if values is None else values[box][~outside][0]
                                   for values in (gains, readnoises))
        where = f' in [{box[0].start}:{box[0].stop}, {box[1].start}:{box[1].stop}]'
        try:
            models.append(_of_amplifier(image[box], mask[box] | outside, own_gain, own_readnoise, source, where))
        except CannotDenoiseError as error:
            log.info('the noise%s cannot be measured: %s', where, error)
            models.append(own_gain)
    measured = [model for model in models if isinstance(model, NoiseModel)]
    if not measured:
        raise CannotDenoiseError('data has no part of one gain whose noise can be measured')
    # A part of which nothing can be said has the read noise of the others.
    electrons = np.median([model.sigma * model.gain for model in measured])
    levels = np.median([model.zero_point * model.gain for model in measured])
    rows = [(model.sigma, model.zero_point) if isinstance(model, NoiseModel) else (electrons / model, levels / model)
            for model in models]
    sigma, zero = np.array(rows, dtype=float).T
    sources = {model.source for model in measured}
    return NoiseModel(sigma[labels - 1], gain, zero[labels - 1], max(sources, key=len),
                      relative_error=max(model.relative_error for model in measured))


def _of_amplifier(image, mask, gain, readnoise, source, where=''):
    """Noise of an image of one gain."""
    if readnoise is not None:
        formula = NoiseModel(readnoise / gain, gain, 0.0, source, relative_error=0.01)
        # A pedestal, or a sky that was subtracted, makes any formula from the level wrong.
        measured = _try_estimate(image, mask, gain=gain, readnoise=readnoise)
        if measured is None or _agrees(image, mask, formula, f'gain and readnoise{where}'):
            return formula
    else:
        measured = estimate_noise(image, mask, gain=gain)
    return replace(measured, source=f'{source}, level measured')
