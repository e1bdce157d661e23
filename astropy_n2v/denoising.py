# Licensed under a 3-clause BSD style license - see LICENSE
"""
Denoising of containers: what comes in comes out, with everything that it held.
"""

import logging
import os
from dataclasses import dataclass, fields

import numpy as np

from .audit import AuditReport, severity
from .config import conf
from .containers.container import Container
from .exceptions import AuditError
from .noise import SetNoise
from .noise.quantisation import ROUNDED
from .planes import find_hole, find_planes, warn_of_patterns
from .provenance import aperture_factor, provenance
from .utils.checks import check_integer, check_number, check_training_options, parse_hole
from .utils.warn import warn_user

__all__ = ['denoise']

log = logging.getLogger(__name__)


def _load_model(model, hole, needed, planes, seed, device, progress_bar, train_options):
    """
    The Denoiser for a model's name, the pixels of each plane that may judge it (None: all), and whether to whiten.

    ``hole`` is what the user asked for, ``needed`` what noise that is not whitened calls for.
    """
    from .denoiser import Denoiser
    held_out = None
    whiten = hole is None
    if isinstance(model, Denoiser):
        denoiser = model
    elif model in ('self', 'adapt'):
        from .training.train import train_on_frames
        init = Denoiser.load('default') if model == 'adapt' else None
        if init is not None:
            _check_hole(hole, init)
        frames = [(plane.values, plane.noise, plane.mask) for plane in planes]
        denoiser, held_out = train_on_frames(frames, init=init, hole=hole or (1, 1), whiten=whiten, seed=seed,
                                           device=device, progress_bar=progress_bar, **train_options)
        denoiser.metadata['name'] = model
    elif isinstance(model, (str, os.PathLike)):
        denoiser = Denoiser.load(model)
    else:
        raise TypeError("model must be 'default', 'self', 'adapt', a path or a Denoiser, got "
                        f'{type(model).__name__}')
    _check_hole(hole, denoiser)
    whiten = whiten and denoiser.whitens
    if hole is None and not whiten and not _covers(denoiser.hole, needed):
        warn_user(f'the noise of neighbouring pixels is correlated and calls for a hole of {needed[0]}x{needed[1]}'
                  f' pixels; the model has {denoiser.hole[0]}x{denoiser.hole[1]} and will take part of the noise '
                  'for structure')
    return denoiser, held_out, whiten


def _covers(hole, needed):
    return hole[0] >= needed[0] and hole[1] >= needed[1]


def _check_hole(hole, denoiser):
    """Check that a hole, if one was asked for, is that of a model."""
    if hole not in (None, denoiser.hole):
        given, known = (f'{height}x{width}' for height, width in (hole, denoiser.hole))
        raise ValueError(f"hole must be {known}, that of the model, or not be given, got {given}; model='self' and "
                         'train() train with any hole')


def denoise(data, model=None, *, mask=None, noise=None, gain=None, readnoise=None, satlevel=None, hole=None,
            strength=1.0, fill_masked=False, reject_outliers=False, tile_size=None, device=None, seed=None,
            full_output=False, progress_bar=False, add_keyword=True, audit=None, **train_options):
    """
    Denoise an astronomical image without a clean reference.

    Each pixel is predicted from its surroundings by a network that cannot see the pixel
    itself, and the prediction is combined with the pixel's own measurement, by Bayes' rule
    with the noise of the frame.

    Parameters
    ----------
    data : `~astropy.nddata.CCDData`, `~astropy.nddata.NDData`, `~astropy.units.Quantity`, array_like
        Image of shape (ny, nx), at least 8x8, or planes of shape (..., ny, nx) that are processed
        one by one; where a WCS says that other axes are the celestial ones, planes are taken over
        those. It is not modified. Pixels that hold no measurement count as masked: those that are
        not finite, fill values, regions of one constant value, overscan.
    model : str, path or Denoiser, optional
        'default': the weights shipped with the package. 'self': train on this very frame
        (minutes). 'adapt': fine-tune the default on it. Otherwise a file written by
        `Denoiser.save`, or a `Denoiser`. The default is `astropy_n2v.conf.default_model`.
    mask : array_like of bool, optional
        True where the data do not count, in addition to the mask of ``data``.
    noise : NoiseModel, SetNoise, str or path-like, optional
        The noise of the data; or that of a set of frames, from `estimate_set_noise` or a file of it: the
        autocorrelation and the gain are then those of the group of the frame, and all else is measured as without.
    gain : float, `~astropy.units.Quantity` or array_like, optional
        Electrons per data unit (electron / adu). An array broadcasts to the data; parts of one
        gain are amplifiers, with pedestals and sky noise of their own.
    readnoise : float, `~astropy.units.Quantity` or array_like, optional
        Read noise in electrons; as for ``gain``.
    satlevel : float or `~astropy.units.Quantity`, optional
        Data at or above this level are saturated and count as masked. By default the level
        of the header (SATURATE), if the data are in adu or have no unit; else integers are saturated at the
        largest value of 8, 12, 14 or 16 bits, and other data where several pixels side by side
        share the maximum exactly.
    hole : int or tuple of int, optional
        Odd height and width of the part around a pixel that the network does not see: any with
        'self', else that of the model, which is a pixel for 'default' and 'adapt'. By default that
        of the model, and noise that is correlated is whitened before, if the model was trained so.
        With a hole that is given, noise is not whitened.
    strength : float, optional
        From 0 (the data) to 1 (the posterior mean).
    fill_masked : bool, optional
        Whether masked, non-finite and saturated pixels become the prediction from their
        surroundings. By default they come out as they went in.
    reject_outliers : bool, optional
        Whether to replace single pixels, dark or bright, that no point-spread function of the
        image can have made, by the prediction from their surroundings: cosmic rays that hit one
        pixel, and misreadings. By default all that was measured is kept.
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
    audit : {'refuse', 'warn', 'off'}, optional
        What to do with a result that its own data exclude. 'refuse': raise `AuditError`, or return
        that plane of several as measured, with a warning. 'warn': return it with a warning. 'off':
        make no audit. By default ``astropy_n2v.conf.audit``. Findings that are less grave make a
        warning; single pixels that the noise does not explain are returned as measured.
    **train_options
        For the models 'self' and 'adapt': ``max_steps``, ``max_time`` and other options of
        `astropy_n2v.train`.

    Returns
    -------
    result : as ``data``
        Posterior mean, float64 if ``data`` is float64 or has integers of more than 24 bits, else
        float32. For CCDData and NDData
        ``uncertainty`` is the standard deviation of the posterior; masked and other pixels that
        come out as they went in keep the uncertainty that they had, or NaN. WCS, header, unit,
        flags and psf are kept; the mask is kept, and extended by the pixels that do not count.
        NaN uncertainty occurs only where the result is masked.
    prediction : `~astropy_n2v.denoiser.Prediction`
        Only with ``full_output``: standard deviation, blind mean and its spread, innovation and
        noise, arrays of the shape of the data; and the report of the audit.

    Raises
    ------
    ValueError
        If shapes do not agree or a number is out of its range.
    AuditError
        If the result is excluded by its own data, and ``audit`` is 'refuse'.
    CannotDenoiseError
        If all pixels are masked, there are fewer than 8x8, or the noise of a constant image must
        be estimated. A plane of several of which that is true passes through with a warning.
    OSError
        If a file of the noise or the model cannot be read.
    TypeError
        If ``data``, ``noise`` or ``model`` are of no known type, or there is no such option.
    `~astropy.units.UnitsError`
        If units do not fit, such as a gain in adu per electron, or data are magnitudes.

    Warns
    -----
    `~astropy.utils.exceptions.AstropyUserWarning`
        If what is given about the noise disagrees with the image, or the result with what it
        should be; the message says in what and by how much.

    See Also
    --------
    train : Train a model on frames.
    estimate_noise : What is done if nothing is known about the noise.
    estimate_set_noise : Measure the noise of many frames once.

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
    hole = parse_hole(hole)
    check_number('strength', strength, 'between 0 and 1', lambda value: 0 <= value <= 1)
    check_integer('tile_size', tile_size, 1)
    check_integer('seed', seed, 0)
    audit = _check_audit(audit)
    check_training_options(train_options)
    if train_options and model not in ('self', 'adapt'):
        raise TypeError(f"{', '.join(train_options)}: training options go with model='self' or 'adapt', got "
                        f'model={model!r}')
    if isinstance(noise, (str, os.PathLike)):
        noise = SetNoise.read(noise)
    frame = Container(data, mask, satlevel)
    if 'N2VVERS' in frame.header:
        warn_user('the data have been denoised before, according to the header: their noise is correlated and '
                  'is not what the noise model says')
    planes, rejected = find_planes(frame, noise=noise, gain=gain, readnoise=readnoise)
    needed = find_hole(planes) if hole is None else hole
    warn_of_patterns(planes)
    denoiser, held_out, whiten = _load_model(model, hole, needed, planes, seed, device, progress_bar, train_options)
    leaks = not whiten and not _covers(denoiser.hole, needed)
    result, scaling, innovation_rms = _predict_planes(
        frame, planes, denoiser, held_out, leaks=leaks, progress_bar=progress_bar, whiten=whiten, strength=strength,
        audit=audit, rejected=rejected, reject_outliers=reject_outliers, tile_size=tile_size, device=device,
        full_output=full_output)
    mean, std = result.mean, result.std
    # Outliers are rejected from the data themselves, too.
    _restore_verbatim(frame, planes, rejected, mean, std, fill_masked, exactly=strength == 0 and not reject_outliers)
    cards = history = None
    if add_keyword:
        first = planes[0].index
        used = np.isfinite(mean[first]) & np.isfinite(std[first]) & ~frame.mask[first]
        factor = aperture_factor(mean[first], std[first], used)
        cards, history = provenance(
            model, denoiser, planes[0].data_noise, scaling, innovation_rms, strength, factor,
            precision=result.precision, masked=np.mean(frame.mask[first] | ~np.isfinite(frame.values[first])),
            std=np.median(std[first][used]) if used.any() else None,
            n_rejected=result.n_rejected if reject_outliers else None, group=planes[0].group,
            audit='off' if result.audit is None else result.audit.summary(), whitening=result.whitening,
            patterns=planes[0].patterns)
        if len(frame.planes()) > 1:
            history.append(f'astropy_n2v: cards N2V* are those of plane {first}'[:72])
    packed = frame.pack(mean, std, cards, history)
    if not full_output:
        return packed
    for name, value in vars(result).items():
        if isinstance(value, np.ndarray):
            setattr(result, name, frame.original_order(value))
    return packed, result


def _check_audit(audit):
    audit = conf.audit if audit is None else audit
    if audit not in ('refuse', 'warn', 'off'):
        raise ValueError(f"audit must be 'refuse', 'warn' or 'off', got {audit!r}")
    return audit


def _predict_planes(frame, planes, denoiser, held_out, *, leaks, progress_bar, full_output, audit, rejected, strength,
                    **options):
    """Predictions of all planes in one, scaling of the first, and rms of its innovations."""
    from tqdm import tqdm

    from .denoiser import Prediction
    others = 'scaling', 'recalibration', 'n_rejected', 'audit', 'whitening', 'precision'
    names = [field.name for field in fields(Prediction) if field.name not in others]
    names = names if full_output else names[:2]
    together = None
    if len(planes) > 1 or frame.shape[:-2]:
        together = Prediction(**{name: np.full(frame.shape, np.nan, dtype=frame.dtype) for name in names})
    first, n_rejected, worst, found = None, 0, None, []
    with tqdm(total=len(planes), disable=not progress_bar, desc='denoising', unit='plane') as bar:
        for n, plane in enumerate(planes):
            def progress(fraction, n=n):
                bar.update(n + fraction - bar.n)

            prediction, plane = _predict(
                denoiser, plane, held_out=None if held_out is None else held_out[n], full_output=full_output,
                progress=progress, audit=audit != 'off', strength=strength, **options)
            planes[n] = plane
            report, beam = prediction.audit, prediction.whitening is not None and prediction.whitening.is_broad
            if report is not None:
                report = report.without_leak() if leaks else report.without_beam() if beam else report
            found.append(_Judgement(report, _check_innovations(prediction, plane.data_noise, leaks)))
            if n + 1 == len(planes) or planes[n + 1].index != plane.index:
                # All parts of a plane at once.
                judgement, found = max(found, key=_Judgement.gravity), []
                if judgement.conclude(plane.index, audit):
                    rejected.append(plane.index)
                if judgement.report is not None and (worst is None or severity(judgement.report) > severity(worst)):
                    worst = judgement.report
            if leaks:
                plane.allow_for_leak(prediction)
            plane.restore(prediction, strength)
            first = first or prediction
            if together is not None:
                for name in names:
                    getattr(together, name)[plane.index][plane.view] = getattr(prediction, name)
                    setattr(prediction, name, None)
            n_rejected += prediction.n_rejected
    result = first if together is None else together
    result.scaling, result.recalibration = scaling, recalibration = first.scaling, first.recalibration
    result.whitening, result.precision = first.whitening, first.precision
    result.n_rejected, result.audit = n_rejected, worst
    for name in names:
        setattr(result, name, getattr(result, name).astype(frame.dtype, copy=False))
    return result, scaling, recalibration.innovation_rms


def _predict(denoiser, plane, **options):
    """Prediction of a plane, and the plane with the noise that it was made with."""
    prediction = denoiser.predict(plane.values, plane.noise, plane.mask, **options)
    grown = plane.with_growth(prediction.audit)
    if grown is not None:
        again = denoiser.predict(grown.values, grown.noise, grown.mask, **options)
        before, after = ((severity(audit), len(audit.findings)) for audit in (prediction.audit, again.audit))
        if after <= before and not again.audit.blames_noise:
            return again, grown
    return prediction, plane


def _restore_verbatim(frame, planes, rejected, mean, std, fill_masked, *, exactly):
    """Put in what comes out as it went in, with the uncertainty that it had."""
    verbatim = frame.mask | ~np.isfinite(frame.values)
    for plane in planes:
        noiseless = plane.noise.unusable(plane.values.shape)
        if noiseless is not None:
            verbatim[plane.index][plane.view] |= noiseless
        if fill_masked:
            verbatim[plane.index][plane.view] = False
    for i in rejected:
        verbatim[i] = True
    if exactly:
        # The data as they came, to the last bit; scales of amplifiers and of the noise round them.
        valid = ~frame.mask & np.isfinite(frame.values)
        mean[valid] = frame.values[valid]
    if verbatim.any():
        mean[verbatim] = frame.values[verbatim]
        std[verbatim] = frame.deviations.at(verbatim) if frame.deviations else np.nan
        std[verbatim & np.isnan(frame.values)] = np.nan


@dataclass(frozen=True)
class _Judgement:
    """Findings of the audit in a plane or a part of it, and of its innovations about the noise."""

    report: AuditReport = None
    noise: str = None

    def gravity(self):
        return 0 if self.report is None else severity(self.report), bool(self.noise)

    def conclude(self, index, audit):
        """Act on it; return whether the plane is to be returned as measured."""
        where, report, text = f'plane {index}: ' if index else '', self.report, self.noise
        grave = report is not None and report.worst in ('warning', 'refusal')
        refused = grave and report.worst == 'refusal' and audit == 'refuse'
        if report is not None and report.findings:
            log.info('%s%s', where, '; '.join(check.message for check in report.findings))
        if grave:
            # One message of one fault: which noise model is wrong, and how wrong, is more than the audit knows.
            text = report.message(None if report.worst == 'refusal' else self.noise)
        if refused and not index:
            raise AuditError(f"the data exclude the result: {text}. audit='warn' (--audit warn) returns it all the "
                             'same', report)
        if refused:
            text = f'returned as measured, as the data exclude the result: {text}'
        if text:
            warn_user(f'{where}{text}')
        return refused


def _check_innovations(prediction, noise, leaks):
    """Say in words that the noise model is wrong if the innovations do; '' if what they say is to be ignored."""
    rms = prediction.recalibration.innovation_rms
    # Of few photons, the spread is stated for the fewest that the network knows.
    if not prediction.recalibration.contradicts_noise or prediction.scaling.few_photons:
        return None
    rounded = np.any(noise.quantum) and prediction.scaling.sky_noise < ROUNDED * np.max(noise.quantum)
    if rms < 1 and (leaks or rounded):   # warned of as such
        return ''
    size = 'smaller' if rms < 1 else 'larger'
    return (f'the innovations have an rms of {rms:.2f} instead of 1: the noise is {size} than the noise model says '
            f'({noise.source}). Noise {rms:.2f} times as large would agree with the image')
