# Licensed under a 3-clause BSD style license - see LICENSE
"""
Decide the noise of a frame: from its user, its uncertainty, its header or its pixels, in this order.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from operator import attrgetter

import numpy as np
from astropy import units as u
from scipy.ndimage import gaussian_filter

from ..config import conf
from ..exceptions import CannotDenoiseError
from ..io.headers import ADU_LIKE, header_value
from ..utils.robust import robust_std
from ..utils.sampling import cutouts, subsample
from ..utils.warn import warn_user
from .amplifiers import AmplifierScale, amplifier_labels, amplifier_regions
from .estimation import sky_noise
from .gains import doubt_gain, header_gain
from .model import NoiseModel
from .origin import GainFrom, Origin, SizeFrom
from .parameters import gain_value, readnoise_value
from .photons import PHOTONS
from .sky import SkySample
from .uncertainty import noise_from_deviation
from .uncertainty_checks import describes_depth, scaled_noise, sky_correlation

__all__ = ['resolve_noise']

log = logging.getLogger(__name__)

# Largest relative difference of a stated and the measured standard deviation of the sky.
_AGREEMENT = 0.2
# Noise of the sky in electrons below which the median deviation is compared, since single photons are outliers.
_FEW_ELECTRONS = 0.3
# Largest factor between the standard deviation of the sky from an uncertainty and the measured one; beyond it the
# uncertainty is not used.
_CONTRADICTION = 1.5
# Mean correlation of a pixel with its four nearest neighbours beyond which the measured noise may be due to sources.
# NICMOS in a crowded field: 0.5; pattern noise of a read-out: 0.1.
_CROWDED = 0.25
# Noise in steps, rounding included, below which neighbours are rounded alike. Without rounding it is 0.42.
_ROUNDED = 0.51


@dataclass(frozen=True)
class _Evidence:
    """All evidence on the noise of an image; see `resolve_noise`."""

    sky: SkySample
    noise: NoiseModel = None
    gain: object = None
    readnoise: object = None
    deviation: np.ndarray = None
    header: Mapping = None
    unit: u.UnitBase = None
    set_gain: float = None

    def __post_init__(self):
        if self.header is None:
            object.__setattr__(self, 'header', {})

    @property
    def image(self):
        return self.sky.values

    @property
    def mask(self):
        return self.sky.mask

    @property
    def counts(self):
        """Check if the data are in the counts of a converter."""
        if self.unit == u.dimensionless_unscaled and str(self.header.get('BUNIT', '')).strip():
            return False   # an unknown unit is not a unit of counts
        return self.unit in (None, u.dimensionless_unscaled, *ADU_LIKE)


def _in_units_of(noise, sky):
    """Return the sky-subtracted image in units of a noise that varies over it; some parts of a large one."""
    noise = noise.at(sky.values.shape, *cutouts(sky.values.shape))
    sky = sky.cutouts()
    image, level = sky.values, sky.level
    good = np.isfinite(image) & ~sky.mask
    local = gaussian_filter(np.where(good, image, level).astype(float), 8)
    # On the sky the level is known more accurately than the single pixels.
    local = np.where(np.abs(local - level) > 0.5 * np.sqrt(noise.variance(level)), local, level)
    sigma = np.sqrt(noise.variance(local))
    with np.errstate(divide='ignore', invalid='ignore'):
        return np.where(good, (image - level) / sigma, np.nan), float(np.median(sigma))


def _variance_of(units, correlated):
    """Return the variance of the sky of an image with NaN; None if it cannot be measured."""
    sky = SkySample(units, ~np.isfinite(units))
    measured = _try(lambda: sky_noise(sky, correlated=correlated).model())
    return None if measured is None else float(measured.variance(0.0))


def _white_variance(sky, noise, make_units):
    """Return the variance of the sky in units of a noise, assumed white; measured once for each noise."""
    key = tuple(None if part is None else (part.dtype.str, hash(part.tobytes()))
                for part in (noise.sigma, noise.gain, noise.zero_point))
    return sky.once(('white', key), lambda: _variance_of(make_units(), correlated=False))


def looks_white(sky, noise):
    """
    Check if a SkySample has the variance between neighbours that white noise of a given size has.

    Structure that resembles correlated noise is then ruled out. False also where the noise was measured on
    the image itself, which is no evidence, except for counted photons.
    """
    if noise.origin.size is not SizeFrom.STATEMENT:
        return noise.origin.size is SizeFrom.PHOTONS
    variance = _white_variance(sky, noise, lambda: _in_units_of(noise, sky)[0])
    return variance is not None and 0.9 < variance < 1.1


def _sky_ratio(sky, noise):
    """Return the measured noise of the sky over the modelled one, None if it cannot be measured; and the latter."""
    amplifiers = AmplifierScale.find(sky.values, sky.mask, noise)
    if amplifiers is not None:
        sky, noise = SkySample(amplifiers.forward(sky.values), sky.mask), amplifiers.noise(noise)
    units, given = _in_units_of(noise, sky)
    if noise.gain is not None and given * np.median(noise.gain) < _FEW_ELECTRONS:
        return _ratio_of_few_electrons(sky, noise, given)
    # Structure may pass for correlation: the noise with or without it must agree. The faster test comes first.
    ratio = None
    for measure in (lambda: _white_variance(sky, noise, lambda: units), lambda: _variance_of(units, correlated=True)):
        variance = measure()
        if variance is None:
            return None, given
        ratio = float(np.sqrt(variance))
        if _within(ratio, 1 + _AGREEMENT):
            break
    return ratio, given


def _ratio_of_few_electrons(sky, noise, given):
    """Do as `_sky_ratio` for noise in which single photons are outliers, too few for the variance of blocks."""
    sample = subsample(np.where(sky.mask, np.nan, sky.values))
    sample = sample[np.isfinite(sample)]
    level = np.median(sample)
    measured = robust_std(sample)
    # Such rare photons hardly contribute; but a model may count noise of the read-out as Poisson noise.
    choice = [float(np.median(noise.sigma)), float(np.sqrt(np.median(noise.variance(level))))]
    choice = [(measured / given, given) for given in choice if given and measured]
    return min(choice, key=lambda pair: abs(np.log(pair[0])), default=(None, given))


def _within(ratio, factor):
    return (ratio >= 1 / factor) & (ratio <= factor)


def _agrees(sky, noise, what):
    """Check if the measured noise of the sky agrees with a model of it; warn if not."""
    ratio, given = _sky_ratio(sky, noise)
    if ratio is None or _within(ratio, 1 + _AGREEMENT):
        return True
    _warn_of(what, given, ratio)
    return False


def _warn_of(what, given, ratio, then=''):
    warn_user(f'the sky noise according to {what} is {given:.4g}, but {ratio * given:.4g} is measured on the image'
              f'{then}')


def _is_that_of_photons(sky, noise, unit):
    """Check if a noise is the photon noise of an image of counts; empty blocks of few photons are no evidence."""
    photons = sky.photons(unit)
    if photons is None:
        return False
    good = np.isfinite(sky.values) & ~sky.mask
    expected, stated = (np.mean(model.variance(sky.values)[good]) for model in (photons, noise))
    return bool(_within(np.sqrt(expected / stated), 1 + _AGREEMENT))


def _from_deviation(known):
    """Return noise from the uncertainty of a frame; None, with a warning, if the image contradicts it."""
    if known.deviation is None:
        return None
    sky, deviation = known.sky, known.deviation
    model = noise_from_deviation(sky.values, sky.mask, deviation)
    if model is None:
        warn_user('the uncertainty has hardly any finite, positive value: the noise is estimated from the image')
        return None
    photons = sky.photons()
    if photons is not None and _is_of_photons(sky, deviation, photons):
        # The empty pixels of such an image allow no measurement, and its steps are not rounding.
        return photons.of_origin(replace(photons.origin, name='uncertainty'))
    ratio, given = _sky_ratio(sky, model)
    if ratio is None or _within(ratio, 1 + _AGREEMENT) or _is_that_of_photons(sky, model, known.unit):
        return model
    return _contradicted(sky, model, ratio, given)


def _contradicted(sky, model, ratio, given):
    """Return the noise of an uncertainty that the sky contradicts: unchanged, scaled, or None, with a warning."""
    nearest, uncorrelated = sky_correlation(sky)
    # Sources that fill a frame look like correlated noise: a smaller stated noise cannot be refuted there.
    if ratio > 1 and nearest > _CROWDED:
        _warn_of('the uncertainty', given, ratio, ', where sources fill the image, or correlated noise does, which '
                 'cannot be distinguished: the uncertainty is used as it is')
        return model
    if _within(ratio, _CONTRADICTION):
        _warn_of('the uncertainty', given, ratio)
        return model
    if uncorrelated > 1 + _AGREEMENT and _within(ratio * uncorrelated, _CONTRADICTION):
        _warn_of('the uncertainty', given, ratio, ', whose pixels are correlated: as weight maps of resampled images '
                 'do, it states the noise that they would have if they were not, and is scaled')
        return scaled_noise(model, ratio)
    if describes_depth(sky.values, sky.mask, model):
        _warn_of('the uncertainty', given, ratio, f': it is multiplied by {ratio:.3g}, since it varies over the image '
                 'as the noise does')
        return scaled_noise(model, ratio)
    _warn_of('the uncertainty', given, ratio, ': it is not used, and the noise is measured. Call '
             'ccdproc.create_deviation on the raw frames, without which their own noise is missing; the scatter of '
             'exposures lacks the noise of the calibration frames that they share')
    return None


def _is_of_photons(sky, deviation, photons):
    """Check if the stated variance of counted photons is their expected number."""
    usable = np.isfinite(deviation) & np.isfinite(sky.values) & ~sky.mask
    counts = np.sum((sky.values[usable].astype(float) - photons.zero_point) * photons.gain)
    if not counts > 0:
        return False
    ratio = np.sqrt(np.sum((deviation[usable].astype(float) * photons.gain) ** 2) / counts)
    return bool(_within(ratio, 1 + _AGREEMENT + 2 / np.sqrt(counts)))


def _try(measure):
    """Return the result of a function, or None where the image does not allow the measurement."""
    try:
        return measure()
    except ValueError as error:
        log.debug('not measured: %s', error)
        return None


def resolve_noise(image, mask, *, noise=None, gain=None, readnoise=None, deviation=None, header=None, unit=None,
                  set_gain=None):
    """
    Find the noise of a frame, from the most to the least trusted source.

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
        Electrons per data unit. Amplifiers with different gains get separate levels.
    readnoise : float, array_like or `~astropy.units.Quantity`, optional
        In electrons.
    deviation : `~numpy.ndarray`, optional
        Standard deviation of each pixel, NaN where it is not known.
    header : mapping, optional
        Header or other metadata.
    unit : `~astropy.units.Unit`, optional
        Unit of the data.
    set_gain : float, optional
        Gain of a set of frames, in place of one that would be measured on the image.

    Returns
    -------
    NoiseModel
        Its ``source`` names its origin.

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
    return resolve_sky(SkySample(image, mask), noise=noise, gain=gain, readnoise=readnoise, deviation=deviation,
                       header=header, unit=unit, set_gain=set_gain)


def resolve_sky(sky, **known):
    """Find the noise of a SkySample; see `resolve_noise`."""
    known = _Evidence(sky, **known)
    models = (provide(known) for provide in _PROVIDERS)
    return _with_quantum(sky, next(model for model in models if model is not None), known.unit)


def _from_model(known):
    """Return the noise that the user gave."""
    noise = known.noise
    if noise is None:
        return None
    if not isinstance(noise, NoiseModel):
        raise TypeError(f'noise must be a NoiseModel, a SetNoise or the path of its file, got {type(noise).__name__}')
    noise.check_shape(known.image.shape)
    more = np.any(noise.sigma) or np.any(noise.zero_point) or np.size(noise.gain) > 1
    if more or not _is_counted(known.sky, noise.gain):
        _agrees(known.sky, noise, 'the given noise model')
    # The correlation of another image does not apply to this one.
    return noise if noise.autocorrelation is None else replace(noise, autocorrelation=None)


def _from_gain(known):
    """Return noise from the gain and the read noise that the user gave."""
    given = {'gain': known.gain, 'readnoise': known.readnoise}
    origin = Origin('+'.join(name for name, value in given.items() if value is not None))
    if not origin.name:
        return None
    gain, readnoise = known.gain, known.readnoise
    if gain is not None:
        gain = gain_value(gain, known.unit)
    elif known.unit in (u.electron, u.photon):
        gain = np.asarray(1.0)
    elif known.counts:
        name, gain, _ = header_gain(_try(lambda: sky_noise(known.sky)), known.header)
        if name is not None:
            origin, gain = origin.but(f'header {name}'), np.asarray(gain)
    if readnoise is not None:
        if gain is None:
            raise ValueError(f'readnoise is in electrons and needs gain, which is neither given nor in the header, '
                             f'got readnoise={readnoise}')
        readnoise = readnoise_value(readnoise)
    _check_shapes(known.image.shape, gain=gain, readnoise=readnoise)
    return _of_amplifiers(known.sky, gain, readnoise, origin)


def _from_image(known):
    """Return noise from the image, with a gain from its unit, its header or its set if the image agrees."""
    photons = known.sky.photons(known.unit)
    if photons is not None:
        log.info('the noise is the Poisson noise of counted photons, one of which has the value %g', 1 / photons.gain)
        _doubt_photons(photons, known.header, known.unit)
        return photons
    measured = sky_noise(known.sky)
    gain, readnoise, origin = _gain_of_image(known, measured)
    return measured.model(gain, readnoise).of_origin(origin)


def _gain_of_image(known, measured):
    """Return gain and read noise from unit, header or set, None if the image must show them, and the origin."""
    unit, origin = known.unit, Origin('image', SizeFrom.IMAGE, GainFrom.IMAGE)
    card, stated = header_value(known.header, conf.readnoise_keywords)
    gain = readnoise = None
    if unit in (u.electron, u.photon):
        reason = doubt_gain(measured, 1.0, readnoise=stated, most=np.inf)
        if reason is None:
            origin, gain, readnoise = origin.but('electrons', gain=GainFrom.STATEMENT), 1.0, stated
        else:
            warn_user(f'the data are not taken to be in {unit}: {reason}. The gain is measured on the image; give '
                      'gain if you know it')
    elif known.counts:
        name, gain, readnoise = header_gain(measured, known.header)
        if name is not None:
            origin = origin.but(f'header {name}', gain=GainFrom.STATEMENT)
        elif unit == u.count:
            origin = origin.but('not Poisson', gain=GainFrom.COUNTS)
            log.info('data in %s do not have the noise of counted photons: their gain is measured', unit)
    if gain is None and known.set_gain is not None and doubt_gain(measured, known.set_gain, most=np.inf) is None:
        return known.set_gain, None, origin.but('gain of the set', gain=GainFrom.SET)
    return gain, readnoise, origin if readnoise is None else origin.but(card)


#: Sources of the noise, from the most to the least trusted; each returns None where it does not apply.
_PROVIDERS = _from_model, _from_gain, _from_deviation, _from_image


def _doubt_photons(photons, header, unit):
    """Warn if values that look like photons may also have been rounded to coarse steps."""
    step = 1 / float(photons.gain)
    gain = header_value(header, conf.gain_keywords)[1]
    if unit not in ADU_LIKE or gain is None or abs(step - 1) < 1e-3 or abs(step * gain - 1) < 0.1:
        return   # counts over an exposure, or over a gain, have any step
    warn_user(f'the values are multiples of {step:.4g}, and one such step is taken for a photon. If they were '
              'rounded to it, what was smaller is lost, and the result and its uncertainty are wrong: give noise')


def _with_quantum(sky, model, unit):
    """Return a model with the step of the quantisation; warn if neighbours are rounded alike."""
    if np.all(model.sigma == 0):
        return model
    steps = sky.steps
    if steps is None or _is_that_of_photons(sky, model, unit):
        return model   # steps of photons are not rounding
    sample = subsample(sky.values, 20_000)
    sample = sample[~subsample(sky.mask, 20_000) & np.isfinite(sample)]
    level, bright = np.quantile(sample, [0.5, 0.999])
    noise, at_bright = (float(np.sqrt(np.median(model.variance(x)))) for x in (level, bright))
    if noise < _ROUNDED * steps.step:
        warn_user(f'the data are quantised in steps of {steps.step:.4g}, and the noise is '
                  f'{noise / steps.step:.2g} steps with rounding: neighbours are rounded alike, and the result may '
                  'be wrong by up to half a step')
    elif not steps.uniform and at_bright < _ROUNDED * steps.at(bright):
        warn_user(f'the steps that the data are quantised in grow with the level, from {steps.step:.4g} to '
                  f'{steps.at(bright):.4g}, where the noise is {at_bright:.4g}: bright neighbours are rounded '
                  'alike, and the result may be wrong by up to half a step')
    return model if np.any(model.quantum) else replace(model, quantum=steps.step)


def _check_shapes(shape, **parameters):
    for name, value in parameters.items():
        try:
            np.broadcast_to(0 if value is None else value, shape)
        except ValueError:
            raise ValueError(f'{name} must broadcast to the shape of the data, {shape}, got an array of shape '
                             f'{np.shape(value)}') from None


def _is_counted(sky, gain):
    """Check if an image has the noise of counted photons, one of which has the value 1 / gain above zero."""
    photons = None if gain is None else sky.photons(u.electron)
    return photons is not None and photons.zero_point == 0 and bool(np.all(_within(photons.gain / gain, 1.01)))


def _of_amplifiers(sky, gain, readnoise, origin):
    """Return noise from gain and read noise where the image agrees, for each amplifier separately."""
    labels = amplifier_labels(gain, 0.0 if readnoise is None else readnoise)
    if labels is None:
        return _of_amplifier(sky, gain, readnoise, origin)
    gains, readnoises = (None if value is None else np.broadcast_to(value, sky.values.shape)
                         for value in (gain, readnoise))
    models = []
    for box, outside in amplifier_regions(labels, sky.values.shape):
        own_gain, own_readnoise = (None if values is None else values[box][~outside][0]
                                   for values in (gains, readnoises))
        where = f' in [{box[0].start}:{box[0].stop}, {box[1].start}:{box[1].stop}]'
        try:
            part = SkySample(sky.values[box], sky.mask[box] | outside)
            models.append(_of_amplifier(part, own_gain, own_readnoise, origin, where))
        except CannotDenoiseError as error:
            log.info('the noise%s cannot be measured: %s', where, error)
            models.append(own_gain)
    measured = [model for model in models if isinstance(model, NoiseModel)]
    if not measured:
        raise CannotDenoiseError('data has no part of one gain whose noise can be measured')
    # Amplifiers without an estimate get the median read noise of the others.
    electrons = np.median([model.sigma * model.gain for model in measured])
    levels = np.median([model.zero_point * model.gain for model in measured])
    rows = [(model.sigma, model.zero_point) if isinstance(model, NoiseModel) else (electrons / model, levels / model)
            for model in models]
    sigma, zero = np.array(rows, dtype=float).T
    return NoiseModel(sigma[labels - 1], gain, zero[labels - 1],
                      origin=max((model.origin for model in measured), key=attrgetter('size')),
                      relative_error=max(model.relative_error for model in measured))


def _of_amplifier(sky, gain, readnoise, origin, where=''):
    """Return the noise of an image of one gain."""
    if (readnoise is None or not np.any(readnoise)) and _is_counted(sky, gain):
        return NoiseModel(0.0, gain, origin=origin.but(PHOTONS, size=SizeFrom.PHOTONS), relative_error=0.01)
    if readnoise is not None:
        formula = NoiseModel(readnoise / gain, gain, 0.0, origin=origin, relative_error=0.01)
        ratio, given = _try(lambda: _sky_ratio(sky, formula)) or (None, None)
        if ratio is None or _within(ratio, 1 + _AGREEMENT):
            return formula
        # A pedestal, or a sky that was subtracted, invalidates any formula for the noise at the level.
        measured = _try(lambda: sky_noise(sky).model(gain, readnoise))
        if measured is None:
            return formula
        _warn_of(f'gain and readnoise{where}', given, ratio)
    else:
        measured = sky_noise(sky)
        value = float(np.median(gain))
        reason = doubt_gain(measured, value, most=np.inf)
        if reason is not None:
            warn_user(f'the given gain{where} ({value:g}) is used, but {reason}')
        measured = measured.model(gain)
    return measured.of_origin(origin.but('level measured', size=SizeFrom.IMAGE))
