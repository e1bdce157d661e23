# Licensed under a 3-clause BSD style license - see LICENSE
"""
Validation of a denoiser, whatever it is, on frames: ``validate``.
"""

import logging
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from astropy.utils.exceptions import AstropyUserWarning

from ...utils.checks import check_integer
from ...utils.names import counted
from ...version import __version__
from ..measures.frames import run_denoiser
from . import remarks
from .arguments import check_options, given_psf, is_path, one_each, read_frames, read_image, try_directory
from .cache import FrameStore, hash_of
from .combine import combine_frames
from .frame import measure_frame
from .prepare import Given, Settings, measure_noise, prepare
from .report import Report, refuse_existing
from .series import find_misaligned, judge_gain, judge_uncertainty_by_others
from .task import Measures, bootstrap_of
from .verdicts import make_checks

__all__ = ['DEFAULT_THRESHOLDS', 'validate']

log = logging.getLogger(__name__)

#: Detection thresholds, in units of the error of the matched filter on the input.
DEFAULT_THRESHOLDS = (2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 8.0)

_STORE = 'finished'   # folder of the records of finished frames, in the directory of the report


def validate(frames, denoiser, *, truth=None, reference=None, catalog=None, inject=0, n_sources=200, magnitudes=None,
             galaxies=0.0, psf=None, noise=None, gain=None, readnoise=None, satlevel=None,
             detection_image='auto', thresholds=DEFAULT_THRESHOLDS, radius=None, false_rate=None, confidence=0.99,
             n_resamples=1000, limits=None, names=None, denoiser_name=None, seed=0, report_dir=None, overwrite=False,
             progress_bar=False):
    """
    Find out whether flux and detections survive a denoiser.

    All tests that the inputs allow are made; the others name the inputs that they lack. Any denoiser can be judged.

    Parameters
    ----------
    frames : `~astropy.nddata.CCDData`, path, or list of these
        Noisy frames. Paths are read when it is their turn: the science images of FITS files.
    denoiser : callable
        Function from `~astropy.nddata.CCDData` to `~astropy.nddata.CCDData`, such as `astropy_n2v.denoise`.
    truth : array_like, `~astropy.nddata.NDData`, path, or list of these, optional
        The noise-free image of each frame, or one for all of them, on the same grid.
    reference : `~astropy.nddata.CCDData`, path, list of these, or 'others', optional
        A deeper or independent image of each frame, or one for all. One on another grid is aligned by its WCS; its
        level is scaled to the frame. If it has an uncertainty, uncertainties are judged by it, too. 'others': the
        frames are aligned exposures of one field (at least four), each of which is judged by the others.
    catalog : `~astropy.table.Table`, `~numpy.ndarray` or list of these, optional
        Positions of sources, columns ``x`` and ``y`` in pixels or an array of shape (n, 2), to be used instead of
        sources that are found.
    inject : int, optional
        Number of times that artificial sources are injected into each frame before it is denoised.
    n_sources : int, optional
        Number of sources injected at a time.
    magnitudes : tuple of float, optional
        Brightest and faintest magnitude of injected sources, ``-2.5 log10(flux)``; by default they reach from well
        above to well below the detection limit.
    galaxies : float, optional
        Fraction of injected sources that are galaxies.
    psf : PSF, `~numpy.ndarray`, model, float, or list of these, optional
        The point-spread function of all frames or of each; a number is the FWHM in pixels of a Moffat profile. By
        default it is measured on the frame, which takes isolated stars.
    noise : `~astropy_n2v.NoiseModel`, optional
        Noise of the frames; by default it is found from gain, uncertainty, header and image.
    gain, readnoise : float, array_like or `~astropy.units.Quantity`, optional
        Electrons per data unit, and read noise in electrons, as for `astropy_n2v.denoise`. Not handed to the denoiser.
    satlevel : float or `~astropy.units.Quantity`, optional
        Data at or above it are saturated and do not count, as for `astropy_n2v.denoise`. Not handed to the denoiser.
    detection_image : {'auto'}, callable or None, optional
        Function of a denoised `~astropy.nddata.CCDData` and an image of the PSF that returns the significance map on
        which users are to detect; it is compared with the peaks of the result, and with these over their uncertainty.
        'auto': `astropy_n2v.detection_image` where results state an uncertainty.
    thresholds : sequence of float, optional
        Detection thresholds, in units of the error of the matched filter on the input. Maps with noise of another
        height are also cut at lower and higher ones.
    radius : float, optional
        Radius in pixels of the aperture for photometry; by default one FWHM.
    false_rate : float, optional
        False detections per megapixel at which depths are compared; by default they are compared where 95 % of the
        detections are true.
    confidence : float, optional
        Confidence of intervals.
    n_resamples : int, optional
        Number of samples of the bootstrap that intervals are from.
    limits : dict, optional
        Limits of tests other than the default ones, as (lowest, highest) by the name of the test.
    names : list of str, optional
        Names of the frames.
    denoiser_name : str, optional
        Name of the denoiser. With one, a frame that is finished is not computed again if frame, options and name are
        the same: let the name change with the denoiser. Without one, all frames are computed.
    seed : int, optional
        Seed of all that is random.
    report_dir : str or path-like, optional
        Directory to write the report to. With ``denoiser_name``, it also keeps the results of
        finished frames, for a run that is repeated.
    overwrite : bool, optional
        If true, replace an earlier report.
    progress_bar : bool, optional
        Whether to show progress.

    Returns
    -------
    Report
        Verdicts, tables and figures.

    Raises
    ------
    FileExistsError
        If there is a report in ``report_dir`` and ``overwrite`` is false.
    TypeError
        If ``denoiser`` is no function.
    ValueError
        If an input cannot be used: a truth of another shape, a reference that does not overlap, an empty list of
        thresholds, a PSF larger than the frame, ... Of many frames, one that fails is reported, and the others go on.

    Examples
    --------
    >>> from astropy.nddata import CCDData
    >>> from scipy.ndimage import gaussian_filter
    >>> from astropy_n2v.simulate import make_scene
    >>> from astropy_n2v.validation import validate
    >>> def blur(ccd):
    ...     return CCDData(gaussian_filter(ccd.data, 1.5), unit=ccd.unit)
    >>> scene = make_scene('survey', (160, 160), seed=1)
    >>> report = validate(scene.observe(seed=2), blur, truth=scene.truth, psf=scene.psf)
    >>> report['residual_sources'].verdict
    'fail'
    """
    options = check_options(inject=inject, n_sources=n_sources, magnitudes=magnitudes, galaxies=galaxies,
                            detection_image=detection_image, thresholds=thresholds, radius=radius,
                            false_rate=false_rate, confidence=confidence, n_resamples=n_resamples)
    if not callable(denoiser):
        raise TypeError(f'denoiser must be a function from CCDData to CCDData, got {type(denoiser).__name__}')
    if truth is not None and reference is not None:
        raise ValueError('truth and reference must not both be given, got both: leave out reference')
    if report_dir is not None:
        refuse_existing(report_dir, ['report.json', 'report.html'], overwrite)
        try_directory(report_dir)
    others = isinstance(reference, str) and reference == 'others'
    frames = read_frames(frames, names)
    parts = {'truth': truth, 'reference': None if others else reference, 'catalog': catalog, 'psf': psf}
    parts = {name: one_each(name, value, len(frames)) for name, value in parts.items()}
    if others and len(frames) < 4:
        raise ValueError(f"reference='others' needs at least four aligned exposures, got {len(frames)} frames")
    make_checks({}, {}, limits=limits)
    settings = Settings(denoiser, options, {'noise': noise, 'gain': gain, 'readnoise': readnoise}, satlevel,
                        check_integer('seed', seed, 0) or 0)
    store = FrameStore(Path(report_dir) / _STORE if report_dir is not None and denoiser_name else None)
    name = str(denoiser_name or getattr(denoiser, '__name__', type(denoiser).__name__))
    finished, failed = _measure_all(frames, parts, settings, store, name, progress_bar, keep=others)
    report = _make_report(finished, failed, settings, name, limits, others)
    if report_dir is not None:
        report.write(report_dir, overwrite=overwrite)
    return report


@dataclass
class _Finished:
    """A frame that was measured, as it goes into the report."""

    record: dict
    kind: str | None
    measures: Measures
    exposure: tuple = ()   # frame and result, for a series; the result is None if it was not computed in this run


def _measure_all(frames, parts, settings, store, name, progress_bar, keep):
    """Measure all frames; return what is finished, and pairs of a record and an error of those that failed."""
    from tqdm import tqdm

    from ...io.paths import describe_error
    each = 1 + (settings.options['inject'] + 2 if settings.options['inject'] else 0)
    finished, failed = [], []
    with tqdm(total=len(frames) * each, disable=not progress_bar, desc='validating', unit='image') as bar:
        for i, (label, frame) in enumerate(frames):
            try:
                for image in _read(label, frame, **{key: values[i] for key, values in parts.items()}):
                    finished.append(_measure(*image, settings, store, name, bar.update, keep))
            except Exception as error:  # whatever is wrong with one frame, the others are not to blame
                text = describe_error(error, frame if is_path(frame) else '')
                log.warning('%s: %s', label, text)
                failed.append(({'name': label, 'status': 'failed', 'error': text}, error, len(finished)))
            bar.update(max((i + 1) * each - bar.n, 0))
    return finished, failed


def _read(label, frame, truth, reference, catalog, psf):
    """Yield the name, pixels and `Given` of each image of a frame, which may be a file of several."""
    images = [frame]
    if is_path(frame):
        from ...io import read_fits_images
        images = read_fits_images(frame)
    n = len(images)
    for i, image in enumerate(images):
        given = Given(read_image('truth', truth, i, n), read_image('reference', reference, i, n), catalog,
                      None if psf is None else given_psf(psf, image))
        yield label if n == 1 else f'{label}[{i + 1}]', image, given


def _measure(label, frame, given, settings, store, name, tick, keep):
    """Measure an image, unless its results are kept under the name of the denoiser."""
    key = hash_of(frame, given.truth, given.reference, given.catalog, given.psf and given.psf.stamp, settings.noise,
                  settings.satlevel, settings.options, settings.seed, name, __version__) if store.directory else None
    measures, result = store.load(key), None
    resumed = measures is not None
    if not resumed:
        task = prepare(frame, given, settings, tick)
        measures, result = measure_frame(task), task.result
        measures.tables['frames'] = remarks.describe_frame(task)
        store.save(key, measures)
    record = {'name': label, 'status': 'done', 'resumed': resumed, 'key': key or '',
              'audit': str(measures.tables['frames']['audit'][0])}
    return _Finished(record, given.kind, measures, (frame, result) if keep else ())


def _make_report(finished, failed, settings, name, limits, others):
    """Combine what was measured, and judge it."""
    if not finished:
        raise failed[0][1] if len(failed) == 1 else ValueError(
            'no frame could be validated; the first: ' + failed[0][0]['error'])
    tables, reasons = combine_frames([frame.record['name'] for frame in finished],
                                     [frame.measures.tables for frame in finished], settings.options, settings.seed)
    for frame in finished:
        reasons = {**frame.measures.reasons, **reasons}
    total = counted(len(finished) + len(failed), 'frame')
    notes = [f'{len(failed)} of {total} could not be validated.'] if failed else []
    if others:
        notes += _judge_series([frame.exposure for frame in finished], settings, tables, reasons)
    records = [frame.record for frame in finished]
    for record, _, place in reversed(failed):
        records.insert(place, record)
    kinds = [frame.kind for frame in finished if frame.kind]
    meta = {'denoiser': name, 'version': __version__, 'seed': settings.seed,
            'created': datetime.now(UTC).isoformat(timespec='seconds'), 'frames': records,
            'options': {key: remarks.option_text(value) for key, value in settings.options.items()},
            'compared_with': kinds[-1] if kinds else 'other exposures' if others else '',
            'n_injected': remarks.count_injected(tables), 'sources': remarks.describe_sources(tables),
            'psf': remarks.describe_psf(tables), 'headline': remarks.write_headline(tables),
            'notes': notes + remarks.write_notes(tables), 'advice': remarks.write_advice(tables)}
    images = next((frame.measures.images for frame in finished if frame.measures.images), {})
    return Report(make_checks(tables, reasons, limits=limits, confidence=settings.options['confidence']), tables, meta,
                  images)


def _judge_series(exposures, settings, tables, reasons):
    """Judge each exposure by the others, if they are aligned; return notes."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', AstropyUserWarning)   # they came when the frame was judged by itself
        frames, noises = zip(*(measure_noise(frame, settings) for frame, _ in exposures))
    misaligned = find_misaligned(frames)
    if misaligned:
        reasons.update(noise_by_brightness=misaligned, gain=misaligned, uncertainty=misaligned)
        return [f'No exposure was judged by the others: {misaligned}.']
    bootstrap = bootstrap_of(settings.options, settings.seed)
    results = [run_denoiser(settings.denoiser, frame) if result is None else result for frame, result in exposures]
    try:
        tables.update(judge_gain(list(frames), results, bootstrap))
    except ValueError as error:
        reasons.update(noise_by_brightness=str(error), gain=str(error), uncertainty=str(error))
        return []
    if any(result.uncertainty is None for result in results):
        reasons['uncertainty'] = 'the result states no uncertainty'
        return []
    tables['uncertainty'], reason = judge_uncertainty_by_others(list(frames), results, list(noises), bootstrap)
    if reason:
        reasons['uncertainty'] = reason
    return []
