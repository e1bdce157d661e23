# Licensed under a 3-clause BSD style license - see LICENSE
"""
Denoising of containers: what comes in comes out, with everything that it held.
"""

import copy
import datetime
import logging
import os
import warnings
from dataclasses import fields

import numpy as np
from astropy import units as u
from astropy.nddata import NDData, StdDevUncertainty
from astropy.utils.exceptions import AstropyUserWarning

from .config import conf
from .noise import choose_hole, header_value, looks_white, noise_autocorrelation, resolve_noise, variance_plane
from .scaling import cutouts

__all__ = ['denoise']

log = logging.getLogger(__name__)

_APERTURE = 5   # pixels; side of the square in which summed errors are compared


def _parse_hole(hole):
    """A hole as a pair of odd numbers, or None."""
    if hole is None:
        return None
    pair = (hole, hole) if np.ndim(hole) == 0 else tuple(hole)
    if len(pair) != 2 or not all(isinstance(size, (int, np.integer)) and size % 2 == 1 and 1 <= size <= 31
                                 for size in pair):
        raise ValueError(f'hole must be an odd number of pixels from 1 to 31, or a pair of them, got {hole!r}')
    return int(pair[0]), int(pair[1])


class _Frame:
    """The parts of any kind of input, and the way back to its kind."""

    def __init__(self, data, mask, satlevel):
        self.container = data
        self.unit = self.uncertainty = None
        self.header = {}
        own_mask = None
        if isinstance(data, NDData):
            values, self.unit, self.uncertainty, own_mask = data.data, data.unit, data.uncertainty, data.mask
            self.header = data.meta
        elif isinstance(data, u.Quantity):
            values, self.unit = data.value, data.unit
        elif isinstance(data, np.ma.MaskedArray):
            values, own_mask = data.data, np.ma.getmaskarray(data)
        else:
            values = np.asarray(data)
        values = np.asarray(values)
        if values.dtype.kind not in 'buif':
            raise TypeError(f'data must be real numbers, got an array of dtype {values.dtype}')
        if values.ndim < 2:
            raise ValueError(f'data must have at least two dimensions, got shape {values.shape}')
        if values.size == 0:
            raise ValueError(f'data must not be empty, got shape {values.shape}')
        if min(values.shape[-2:]) < 8:
            raise ValueError(f'data must be at least 8x8 pixels along its last two axes, got {values.shape}')
        self.dtype = np.float64 if values.dtype.kind == 'f' and values.dtype.itemsize == 8 else np.float32
        # Integers of more than 24 bits do not fit float32.
        wide = self.dtype == np.float64 or (values.dtype.kind in 'iu' and values.dtype.itemsize > 2)
        self.values = values.astype(np.float64 if wide else np.float32, copy=False)
        if not self.values.dtype.isnative:
            self.values = self.values.astype(self.values.dtype.newbyteorder('='))
        self.shape = values.shape
        self.mask = np.zeros(self.shape, dtype=bool)
        for name, part in (('mask of data', own_mask), ('mask', mask)):
            if part is None or part is np.ma.nomask:
                continue
            part = np.asarray(part)
            if part.shape != self.shape and part.shape not in ((), self.shape[-2:]):
                raise ValueError(f'{name} must have the shape of the data, {self.shape}, got {part.shape}')
            self.mask |= part.astype(bool)
        self._mask_saturated(satlevel)
        self.variance, meaningless = variance_plane(self.uncertainty, self.shape, self.unit)
        if meaningless is not None:
            self.mask |= meaningless

    def _mask_saturated(self, satlevel):
        if satlevel is None and self.unit in (None, u.adu, u.dimensionless_unscaled):
            satlevel = header_value(self.header, conf.saturation_keywords)[1]
        if satlevel is None:
            return
        if isinstance(satlevel, u.Quantity):
            if self.unit is None:
                raise u.UnitsError(f'satlevel must have no unit, as the data, got {satlevel.unit}')
            satlevel = satlevel.to_value(self.unit)
        satlevel = np.asarray(satlevel, dtype=float)
        if not np.isfinite(satlevel).all():
            raise ValueError(f'satlevel must be finite, got {satlevel}')
        with np.errstate(invalid='ignore'):
            self.mask |= self.values >= satlevel

    def planes(self):
        """Indices of the two-dimensional planes."""
        return list(np.ndindex(self.shape[:-2]))

    def pack(self, mean, std, header_cards, history):
        """A container of the kind that came in."""
        data = self.container
        if isinstance(data, np.ma.MaskedArray):
            return np.ma.MaskedArray(mean, mask=np.array(data.mask), fill_value=data.fill_value)
        if isinstance(data, u.Quantity):
            return u.Quantity(mean, data.unit, dtype=mean.dtype, copy=False)
        if not isinstance(data, NDData):
            return mean
        result = copy.copy(data)
        # Deep copies of everything but the arrays that are replaced.
        for name, value in vars(data).items():
            if name not in ('_data', '_uncertainty'):
                setattr(result, name, copy.deepcopy(value))
        result._data = mean
        result._uncertainty = None
        result.uncertainty = StdDevUncertainty(std)
        if header_cards:
            _record(result.meta, header_cards, history)
        return result


def _record(meta, cards, history):
    """Write provenance to a header or to a plain dictionary."""
    if hasattr(meta, 'add_history'):
        for keyword, (value, comment) in cards.items():
            meta[keyword] = (value, comment)
        for line in history:
            meta.add_history(line)
        return
    for keyword, (value, _) in cards.items():
        meta[keyword] = value
    earlier = meta.get('HISTORY', [])
    meta['HISTORY'] = ([earlier] if isinstance(earlier, str) else list(earlier)) + history


def _aperture_factor(mean, std, used):
    """
    How much larger the scatter of sums over apertures on the sky is than summed variances say.

    Faint structure counts as error here, so that the factor is rather too large than too small.
    """
    part = cutouts(mean.shape)
    mean, std, used = mean[part], std[part], used[part]
    ny, nx = (n // _APERTURE for n in mean.shape)
    cut = (slice(ny * _APERTURE), slice(nx * _APERTURE))

    def blocks(values):
        return values[cut].reshape(ny, _APERTURE, nx, _APERTURE)

    complete = blocks(used).all(axis=(1, 3))
    sums = np.where(complete, blocks(np.where(used, mean, 0)).sum(axis=(1, 3), dtype=float), np.nan)
    quoted = np.sqrt(np.where(complete, blocks(np.where(used, std, 0).astype(float) ** 2).sum(axis=(1, 3)), np.nan))
    # Neighbouring apertures share the background; their difference has twice the variance.
    difference = np.abs(np.diff(sums, axis=1)) / np.hypot(quoted[:, 1:], quoted[:, :-1])
    difference = difference[np.isfinite(difference)]
    return float(np.median(difference) / 0.6745) if difference.size >= 30 else None


def _load_model(model, hole, needed, frames, seed, device, progress_bar, train_options):
    """The Denoiser for a model's name, and the pixels of each frame that may judge it (None: all)."""
    from .denoiser import Denoiser
    judged = None
    wanted = hole or needed
    if isinstance(model, Denoiser):
        denoiser = model
    elif model in ('self', 'adapt'):
        from .training.train import train_on_frames
        init = Denoiser.load('default', hole=wanted) if model == 'adapt' else None
        denoiser, judged = train_on_frames(frames, init=init, hole=init.hole if init else wanted, seed=seed,
                                           device=device, progress_bar=progress_bar, **train_options)
        denoiser.metadata['name'] = model
    elif model == 'default':
        denoiser = Denoiser.load('default', hole=wanted)
    elif isinstance(model, (str, os.PathLike)):
        denoiser = Denoiser.load(model)
    else:
        raise TypeError("model must be 'default', 'self', 'adapt', a path or a Denoiser, got "
                        f'{type(model).__name__}')
    if hole is not None and model not in ('default', 'adapt') and denoiser.hole != hole:
        raise ValueError(f'hole must be {denoiser.hole}, that of the model, or not be given, got {hole}')
    if hole is None and (denoiser.hole[0] < needed[0] or denoiser.hole[1] < needed[1]) and model != 'default':
        warnings.warn(f'the noise of neighbouring pixels is correlated and calls for a hole of {needed[0]}x{needed[1]}'
                      f' pixels; the model has {denoiser.hole[0]}x{denoiser.hole[1]} and will take part of the noise '
                      'for structure', AstropyUserWarning, stacklevel=4)
    return denoiser, judged


def denoise(data, model=None, *, mask=None, noise=None, gain=None, readnoise=None, satlevel=None, hole=None,
            strength=1.0, fill_masked=False, tile_size=None, device=None, seed=None, full_output=False,
            progress_bar=False, add_keyword=True, **train_options):
    """
    Denoise an astronomical image without a clean reference.

    Each pixel is predicted from its surroundings by a network that cannot see the pixel
    itself, and the prediction is combined with the pixel's own measurement, by Bayes' rule
    with the noise of the frame.

    Parameters
    ----------
    data : `~astropy.nddata.CCDData`, `~astropy.nddata.NDData`, `~astropy.units.Quantity`, array_like
        Image of shape (ny, nx), at least 8x8, or planes of shape (..., ny, nx) that are processed
        one by one. It is not modified. Non-finite pixels count as masked.
    model : str, path or Denoiser, optional
        'default': weights shipped with the package. 'self': train on this very frame (minutes).
        'adapt': fine-tune the default on it. Otherwise a file written by `Denoiser.save`, or a
        `Denoiser`. The default is `astropy_n2v.conf.default_model`.
    mask : array_like of bool, optional
        True where the data do not count, in addition to the mask of ``data``.
    noise : NoiseModel, optional
        The noise of the data.
    gain : float, `~astropy.units.Quantity` or array_like, optional
        Electrons per data unit (electron / adu); may vary over the image.
    readnoise : float, `~astropy.units.Quantity` or array_like, optional
        Read noise in electrons; may vary over the image.
    satlevel : float or `~astropy.units.Quantity`, optional
        Data at or above this level are saturated and count as masked. By default the header
        tells (SATURATE), if the data are in adu or have no unit.
    hole : int or tuple of int, optional
        Odd height and width of what the network does not see around a pixel. By default as
        large as the measured autocorrelation of the noise calls for.
    strength : float, optional
        From 0 (the data) to 1 (the posterior mean).
    fill_masked : bool, optional
        Whether masked, non-finite and saturated pixels become the prediction from their
        surroundings. By default they come out as they went in.
    tile_size : int, optional
        Large images are processed in tiles of this height and width, in pixels.
    device : str, optional
        'auto', 'cpu', 'cuda', ...; by default `astropy_n2v.conf.device`.
    seed : int, optional
        Seed of training, for the models 'self' and 'adapt'. By default 0.
    full_output : bool, optional
        Whether to return more than the denoised data.
    progress_bar : bool, optional
        Whether to show a progress bar on stderr.
    add_keyword : bool, optional
        Whether to write to header or meta how the result was made.
    **train_options
        For the models 'self' and 'adapt': ``max_steps``, ``max_time`` and other options of
        `astropy_n2v.train`.

    Returns
    -------
    result : as ``data``
        Posterior mean, float64 if ``data`` is float64, else float32. For CCDData and NDData
        ``uncertainty`` is the standard deviation of the posterior; masked and other pixels that
        come out as they went in keep the uncertainty that they had, or NaN. WCS, header, unit,
        mask, flags and psf are kept.
    prediction : `~astropy_n2v.denoiser.Prediction`
        Only with ``full_output``: standard deviation, blind mean and its spread, innovation and
        noise, arrays of the shape of the data.

    Raises
    ------
    ValueError
        If shapes do not agree, all pixels are masked, a number is out of its range, or the
        noise of a constant image must be estimated.
    TypeError
        If ``data``, ``noise`` or ``model`` are of no known type.
    `~astropy.units.UnitsError`
        If units do not fit, such as a gain in adu per electron.

    Warns
    -----
    `~astropy.utils.exceptions.AstropyUserWarning`
        If what is given about the noise disagrees with the image, or the result with what it
        should be; the message says in what and by how much.

    See Also
    --------
    train : Train a model on frames.
    estimate_noise : What is done if nothing is known about the noise.

    Notes
    -----
    The errors of neighbouring pixels of the result are strongly correlated: variances must not
    be summed over an aperture. The card N2VAPFAC holds the measured factor for 5x5 pixels.

    The method is that of Laine et al. (2019, arXiv:1901.10277), after Noise2Void (Krull et al.
    2019, arXiv:1811.10980).

    Examples
    --------
    >>> from astropy_n2v import denoise
    >>> from astropy_n2v.simulate import make_scene
    >>> scene = make_scene('survey', (64, 64), seed=1)
    >>> clean = denoise(scene.observe(seed=2))
    >>> clean.unit, clean.uncertainty.uncertainty_type
    (Unit("electron"), 'std')
    """
    model = conf.default_model if model is None else model
    hole = _parse_hole(hole)
    if not 0 <= strength <= 1:
        raise ValueError(f'strength must be between 0 and 1, got {strength}')
    if tile_size is not None and (not isinstance(tile_size, (int, np.integer)) or tile_size < 1):
        raise ValueError(f'tile_size must be a positive number of pixels, got {tile_size!r}')
    if train_options and model not in ('self', 'adapt'):
        raise TypeError(f"{', '.join(train_options)}: training options go with model='self' or 'adapt', got "
                        f'model={model!r}')
    frame = _Frame(data, mask, satlevel)
    if 'N2VVERS' in frame.header:
        warnings.warn('the data have been denoised before, according to the header: their noise is correlated and '
                      'is not what the noise model says', AstropyUserWarning, stacklevel=2)
    if noise is None:
        for name, value in (('gain', gain), ('readnoise', readnoise)):
            if value is not None and np.ndim(value) > 2:
                raise ValueError(f'{name} must broadcast to the planes of the data, got {np.ndim(value)} dimensions')

    planes, noises, rejected = _prepare_planes(frame, noise=noise, gain=gain, readnoise=readnoise)
    needed = _needed_hole(frame, planes, noises) if hole is None else hole
    inputs = [(frame.values[i], noises[i], frame.mask[i]) for i in planes]
    denoiser, judged = _load_model(model, hole, needed, inputs, seed, device, progress_bar, train_options)

    mean, std, extra, predictions = _predict_planes(
        frame, planes, noises, denoiser, judged, strength=strength, tile_size=tile_size, device=device,
        full_output=full_output, progress_bar=progress_bar, fill_masked=fill_masked, rejected=rejected)
    cards = history = None
    if add_keyword:
        cards, history = _provenance(model, denoiser, noises[planes[0]], predictions[0], frame, mean, std, strength)
    result = frame.pack(mean, std, cards, history)
    return (result, extra) if full_output else result


def _prepare_planes(frame, **known):
    """The planes that can be denoised and their noise; others of a larger array pass through."""
    planes, noises, rejected = [], {}, []
    header = frame.header
    for i in frame.planes():
        image, mask = frame.values[i], frame.mask[i]
        variance = None if frame.variance is None else frame.variance[i]
        good = np.isfinite(image) & ~mask
        try:
            if not good.any():
                raise ValueError('data has no valid pixel: all are masked or not finite')
            noises[i] = resolve_noise(image, ~good, variance=variance, header=header, unit=frame.unit, **known)
            planes.append(i)
        except ValueError as error:
            # A single image is what the call is about; one plane of many is not.
            reason = str(error)
            if i == () or not ('constant' in reason or 'no valid pixel' in reason):
                raise
            warnings.warn(f'plane {i} passes through as it is: {reason}', AstropyUserWarning, stacklevel=3)
            rejected.append(i)
    if not planes:
        raise ValueError('data has no plane that can be denoised: all are constant or masked')
    return planes, noises, rejected


def _needed_hole(frame, planes, noises):
    """The hole that the autocorrelation of the noise calls for, from at most three planes."""
    chosen = planes[::max(1, len(planes) // 3)][:3]
    correlations = []
    for i in chosen:
        image, mask = frame.values[i], frame.mask[i]
        if (np.isfinite(image) & ~mask).sum() < 4000:
            continue
        mask = mask | ~np.isfinite(image)
        if looks_white(image, mask, noises[i]):
            return 1, 1
        try:
            correlations.append(noise_autocorrelation(image, mask))
        except ValueError:
            continue
    return choose_hole(np.median(correlations, axis=0)) if correlations else (1, 1)


def _predict_planes(frame, planes, noises, denoiser, judged, *, strength, tile_size, device, full_output,
                    progress_bar, fill_masked, rejected):
    from tqdm import tqdm

    from .denoiser import Prediction
    names = [field.name for field in fields(Prediction) if field.name not in ('scaling', 'calibration')]
    single = frame.shape[:-2] == ()
    extra = {}
    if not single:
        extra = {name: np.full(frame.shape, np.nan, dtype=frame.dtype)
                 for name in (names if full_output else names[:2])}
    predictions = []
    with tqdm(total=len(planes), disable=not progress_bar, desc='denoising', unit='plane') as bar:
        for n, i in enumerate(planes):
            done = [0.0]

            def progress(fraction):
                bar.update(fraction - done[0])
                done[0] = fraction

            prediction = denoiser.predict(
                frame.values[i], noises[i], frame.mask[i], judged=None if judged is None else judged[n],
                strength=strength, tile_size=tile_size, device=device, full_output=full_output, progress=progress)
            _check_innovations(prediction.calibration, noises[i])
            for name in names:
                values = getattr(prediction, name)
                if single:
                    extra[name] = values
                elif values is not None:
                    extra[name][i] = values
                    setattr(prediction, name, None)
            predictions.append(prediction)
    mean, std = (extra[name].astype(frame.dtype, copy=False) for name in names[:2])
    for i in rejected:
        mean[i] = frame.values[i]
    verbatim = frame.mask | ~np.isfinite(frame.values)
    for i in planes:
        noiseless = noises[i].unusable(frame.shape[-2:])
        if noiseless is not None:
            verbatim[i] |= noiseless
    if fill_masked:
        verbatim[tuple(np.transpose(planes)) if not single else ()] = False
    if verbatim.any():
        mean[verbatim] = frame.values[verbatim]
        std[verbatim] = np.nan if frame.variance is None else np.sqrt(frame.variance[verbatim])
        std[verbatim & np.isnan(frame.values)] = np.nan
    extra['mean'], extra['std'] = mean, std
    details = Prediction(**{name: extra.get(name) for name in names}, scaling=predictions[0].scaling,
                         calibration=predictions[0].calibration)
    return mean, std, details, predictions


def _check_innovations(calibration, noise):
    """Warn if the innovations say that the noise model is wrong."""
    rms = calibration.innovation_rms
    if np.isfinite(rms) and abs(rms - 1) > 0.1:
        size = 'smaller' if rms < 1 else 'larger'
        warnings.warn(f'the innovations have an rms of {rms:.2f} instead of 1: the noise is {size} than the noise '
                      f'model says ({noise.source}). Noise {rms:.2f} times as large would agree with the image',
                      AstropyUserWarning, stacklevel=4)


def _provenance(model, denoiser, noise, prediction, frame, mean, std, strength):
    """Header cards and history lines that tell how the result was made."""
    from . import __version__
    name = str(denoiser.metadata.get('name', 'custom'))
    if isinstance(model, (str, os.PathLike)) and model not in ('self', 'adapt', 'default'):
        name = os.path.basename(os.fspath(model))
    # Cards take printable ASCII only.
    name, source = (''.join(c if ' ' <= c <= '~' else '?' for c in text)[:60] for text in (name, noise.source))
    scaling = prediction.scaling
    gain = None if noise.gain is None else float(np.median(noise.gain))
    date = datetime.datetime.now(datetime.timezone.utc).strftime('%Y-%m-%dT%H:%M:%S')
    cards = {
        'N2VVERS': (__version__, 'astropy_n2v version'),
        'N2VMODEL': (name, 'denoising model'),
        'N2VSHA': (denoiser.sha256[:16], 'SHA-256 of the model (first 16 digits)'),
        'N2VHOLE': (f'{denoiser.hole[0]}x{denoiser.hole[1]}', '[pix] hole, height x width'),
        'N2VSTREN': (float(strength), 'strength: 0 data, 1 posterior mean'),
        'N2VNSRC': (source, 'source of the noise model'),
        'N2VSKY': (scaling.level, '[data unit] background level'),
        'N2VSIGMA': (scaling.scale, '[data unit] noise at the background level'),
        'N2VSIG0': (float(np.median(noise.sigma)), '[data unit] noise without light'),
        'N2VZERO': (float(np.median(noise.zero_point)), '[data unit] level without light'),
    }
    if gain is not None:
        cards['N2VGAIN'] = (gain, '[electron/data unit] gain')
    rms = prediction.calibration.innovation_rms
    if np.isfinite(rms):
        cards['N2VZRMS'] = (round(rms, 4), 'rms of normalised innovations, 1 expected')
    first = frame.planes()[0]
    used = np.isfinite(mean[first]) & np.isfinite(std[first]) & ~frame.mask[first]
    factor = _aperture_factor(mean[first], std[first], used)
    if factor is not None:
        cards['N2VAPFAC'] = (round(factor, 2), f'error of {_APERTURE}x{_APERTURE} sums / root of summed variance')
    cards['N2VDATE'] = (date, 'UTC of denoising')
    # Of 72 characters at most: longer lines are broken inside words.
    history = [f'astropy_n2v {__version__}: denoised, model {name}'[:72],
               'astropy_n2v: errors are correlated, do not sum variances, see N2VAPFAC']
    return cards, history
