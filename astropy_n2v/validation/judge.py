# Licensed under a 3-clause BSD style license - see LICENSE
"""
Validation of a denoiser, whatever it is, on frames: ``validate``.
"""

import logging
import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.nddata import CCDData, NDData
from astropy.table import Table
from scipy.ndimage import gaussian_filter

from .. import __version__
from ..io.files import replacing
from ..noise import resolve_noise, variance_plane
from .checks import make_checks
from .combine import average_tables, combine_frames, values_of
from .exposures import judge_exposures
from .frames import run_denoiser
from .measure import UNCERTAINTY_BINS, FrameTask, measure_frame
from .psf import PSF, measure_psf
from .reference import align_reference, fit_scale
from .report import Report
from .store import FrameStore, fingerprint
from .uncertainty import judge_uncertainty_by_halves

__all__ = ['DEFAULT_THRESHOLDS', 'validate']

log = logging.getLogger(__name__)

#: Detection thresholds, in units of the error of the matched filter on the input.
DEFAULT_THRESHOLDS = (2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 8.0)

_STORE = 'finished'   # folder of the records of finished frames, in the directory of the report


def validate(frames, denoiser, *, truth=None, reference=None, catalog=None, inject=0, n_sources=200, magnitudes=None,
             galaxies=0.0, psf=None, noise=None, detection_image=None, thresholds=DEFAULT_THRESHOLDS, radius=None,
             false_rate=None, confidence=0.99, n_resamples=1000, limits=None, names=None, denoiser_name=None, seed=0,
             report_dir=None, overwrite=False, progress_bar=False):
    """
    Find out whether flux and detections survive a denoiser.

    All tests are made that the inputs allow; the others say what they would need. Any denoiser can be judged.

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
    catalog : `~astropy.table.Table` or list of these, optional
        Positions of sources, columns ``x`` and ``y`` in pixels, to be used instead of sources that are found.
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
        Noise of the frames; by default what uncertainty, header and image tell.
    detection_image : callable, optional
        Function of a denoised `~astropy.nddata.CCDData` and an image of the PSF that returns the significance map on
        which users are to detect; the depth is then judged on it.
    thresholds : sequence of float, optional
        Detection thresholds, in units of the error of the matched filter on the input.
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
        Name of the denoiser. A frame that is finished is not computed again if frame, options and this name (without
        one, the code of the function) are the same: let the name change with the denoiser.
    seed : int, optional
        Seed of all that is random.
    report_dir : str or path-like, optional
        Directory to write the report to. It also keeps the results of finished frames, for a run that is repeated.
    overwrite : bool, optional
        Whether an earlier report may be replaced.
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
    >>> from astropy.nddata import CCDData, StdDevUncertainty
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
    options = _check_options(inject=inject, n_sources=n_sources, magnitudes=magnitudes, galaxies=galaxies,
                             detection_image=detection_image, thresholds=thresholds, radius=radius,
                             false_rate=false_rate, confidence=confidence, n_resamples=n_resamples)
    if not callable(denoiser):
        raise TypeError(f'denoiser must be a function from CCDData to CCDData, got {type(denoiser).__name__}')
    if truth is not None and reference is not None:
        raise ValueError('truth and reference must not both be given: a truth is the better reference')
    if report_dir is not None:
        from .report import refuse_existing
        refuse_existing(report_dir, ['report.json', 'report.html'], overwrite)
        _try_directory(report_dir)
    others = isinstance(reference, str) and reference == 'others'
    frames = _read_frames(frames, names)
    parts = {'truth': truth, 'reference': None if others else reference, 'catalog': catalog, 'psf': psf}
    parts = {name: _one_each(name, value, len(frames)) for name, value in parts.items()}
    if others and len(frames) < 4:
        raise ValueError(f"reference='others' needs at least four aligned exposures, got {len(frames)} frames")
    make_checks({}, {}, limits=limits)
    run = _Run(denoiser, denoiser_name, options, noise, seed, FrameStore(
        None if report_dir is None else Path(report_dir) / _STORE), progress_bar, keep=others)
    with run.progress(len(frames) * (1 + (inject + 2 if inject else 0))):
        for i, frame in enumerate(frames):
            run.add(frame, **{name: value[i] for name, value in parts.items()})
    report = run.finish(limits)
    if report_dir is not None:
        report.write(report_dir, overwrite=overwrite)
    return report


def _check_options(**options):
    """Refuse what makes no sense before any work is done."""
    thresholds = np.atleast_1d(np.asarray(options['thresholds'], dtype=float))
    if not thresholds.size:
        raise ValueError('thresholds must hold at least one number, got an empty list')
    if not (np.isfinite(thresholds).all() and (thresholds > 0).all()):
        raise ValueError(f'thresholds must be positive numbers, got {options["thresholds"]}')
    for name, low in ('inject', 0), ('n_sources', 1), ('n_resamples', 100):
        if options[name] != int(options[name]) or options[name] < low:
            raise ValueError(f'{name} must be an integer of at least {low}, got {options[name]}')
    if not 0.5 <= options['confidence'] < 1:
        raise ValueError(f'confidence must be from 0.5 to below 1, got {options["confidence"]}')
    if not 0 <= options['galaxies'] <= 1:
        raise ValueError(f'galaxies must be a fraction from 0 to 1, got {options["galaxies"]}')
    for name in 'radius', 'false_rate':
        if options[name] is not None and not options[name] > 0:
            raise ValueError(f'{name} must be positive, got {options[name]}')
    if options['detection_image'] is not None and not callable(options['detection_image']):
        raise TypeError('detection_image must be a function of a CCDData and a PSF, got '
                        f'{type(options["detection_image"]).__name__}')
    return {**options, 'thresholds': tuple(sorted(thresholds.tolist()))}


def _try_directory(directory):
    """Fail before the work if nothing can be written."""
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError as error:
        raise type(error)(f'cannot make the directory {os.fspath(directory)}: {error.strerror}') from error
    try:
        with replacing(Path(directory) / 'report.html', overwrite=True):
            raise _Stop
    except _Stop:
        pass


class _Stop(Exception):
    pass


def _is_path(value):
    return isinstance(value, (str, os.PathLike))


def _read_frames(frames, names):
    """Pairs of a name and a frame, or a path to be read later."""
    if isinstance(frames, NDData) or _is_path(frames):
        frames = [frames]
    frames = list(frames)
    if not frames:
        raise ValueError('frames must hold at least one frame, got none')
    if names is None:
        names = [os.path.basename(os.fspath(frame)) if _is_path(frame) else f'frame {i + 1}'
                 for i, frame in enumerate(frames)]
    elif len(names) != len(frames):
        raise ValueError(f'names must have one name for each of the {len(frames)} frames, got {len(names)}')
    for i, frame in enumerate(frames):
        if not (isinstance(frame, CCDData) or _is_path(frame)):
            raise TypeError(f'frames must be CCDData or paths, got {type(frame).__name__} as number {i + 1}')
    # Two frames of one name could not be told apart in the tables.
    counts = {}
    unique = []
    for name in map(str, names):
        counts[name] = counts.get(name, 0) + 1
        unique.append(name if counts[name] == 1 else f'{name} ({counts[name]})')
    return list(zip(unique, frames))


def _one_each(name, value, n):
    """A value for each frame, from one for all of them or a list."""
    if not isinstance(value, (list, tuple)):
        return [value] * n
    if len(value) != n:
        raise ValueError(f'{name} must be one for all frames, or one for each of the {n} frames, got {len(value)}')
    return list(value)


def _read(value):
    """An image, from a file if it is a path; of a file with many, the first that is a science image."""
    if not _is_path(value):
        return value
    from ..io.fits import read_fits_images
    return read_fits_images(value)[0]


class _Run:
    """The frames of a validation, one after the other."""

    def __init__(self, denoiser, name, options, noise, seed, store, progress_bar, keep):
        self.denoiser, self.options, self.noise, self.seed, self.store = denoiser, options, noise, int(seed), store
        self.name = str(name or getattr(denoiser, '__name__', type(denoiser).__name__))
        self.identity = self.name if name else denoiser
        self.show = progress_bar
        self.kept = [] if keep else None
        self.names, self.measured, self.records, self.reasons, self.images = [], [], [], {}, {}
        self.errors, self.notes, self.kind = [], [], None

    def progress(self, total):
        from tqdm import tqdm
        self.bar = tqdm(total=total, disable=not self.show, desc='validating', unit='image')
        return self.bar

    def add(self, named, truth, reference, catalog, psf):
        """Validate a frame, or note why that is not possible."""
        name, frame = named
        expected = self.bar.n + 1 + (self.options['inject'] + 2 if self.options['inject'] else 0)
        try:
            images = [frame]
            if _is_path(frame):
                from ..io.fits import read_fits_images
                images = read_fits_images(frame)
            for i, image in enumerate(images):
                label = name if len(images) == 1 else f'{name}[{i + 1}]'
                self._add_image(label, image, truth, reference, catalog, psf)
        except (OSError, ValueError, TypeError) as error:
            from ..batch import describe_error
            text = describe_error(error, frame if _is_path(frame) else '')
            log.warning('%s: %s', name, text)
            self.records.append({'name': name, 'status': 'failed', 'error': text})
            self.errors.append(error)
        self.bar.update(max(expected - self.bar.n, 0))

    def _add_image(self, name, frame, truth, reference, catalog, psf):
        key = fingerprint(frame, _read(truth), _read(reference), catalog, psf, self.noise, self.options, self.seed,
                          self.identity, __version__)
        measures = self.store.load(key)
        resumed = measures is not None
        if resumed and self.kept is not None:
            self.kept.append((frame, None))
        if not resumed:
            # Of its content and not of its place, so that more frames do not change those that are finished.
            seed = (self.seed + int(key[:8], 16)) % 2 ** 32
            task = self._prepare(frame, truth, reference, catalog, psf, seed)
            self.bar.update(1)
            measures = measure_frame(task, self.bar.update)
            measures.tables['frames'] = _describe_frame(task)
            measures.reasons |= self._task_reasons
            self.store.save(key, measures)
            if self.kept is not None:
                self.kept.append((frame, task.result))
        self.kind = 'truth' if truth is not None else 'reference' if reference is not None else self.kind
        self.names.append(name)
        self.measured.append(measures.tables)
        self.records.append({'name': name, 'status': 'done', 'resumed': resumed, 'key': key})
        self.reasons = {**measures.reasons, **self.reasons}
        self.images = self.images or measures.images

    def _prepare(self, frame, truth, reference, catalog, psf, seed):
        """Denoise a frame, and find out about its noise and its PSF."""
        self._task_reasons = {}
        if np.ndim(frame.data) != 2:
            raise ValueError(f'frames must be two-dimensional, got the shape {np.shape(frame.data)}')
        noise = self._noise_of(frame)
        kind, guide, guide_std = self._guide(frame, truth, reference)
        try:
            psf = _measure_psf(frame) if psf is None else _given_psf(psf, frame)
        except _NoPSF as error:
            psf = None
            for group in 'sources', 'stars', 'sweep', 'injection':
                self._task_reasons[group] = str(error)
        denoiser = _once(self.denoiser, frame)
        return FrameTask(frame, denoiser(frame), denoiser, noise, self.options, psf=psf, truth=guide, kind=kind,
                         truth_std=guide_std, catalog=None if catalog is None else Table(catalog), seed=seed)

    def _noise_of(self, frame):
        bad = ~np.isfinite(frame.data)
        if frame.mask is not None:
            bad = bad | np.asarray(frame.mask, dtype=bool)
        variance, masked = variance_plane(frame.uncertainty, frame.shape, frame.unit)
        if masked is not None:
            bad = bad | masked
        if bad.all():
            raise ValueError('the frame has no valid pixel: all are masked or not finite')
        return resolve_noise(np.asarray(frame.data, dtype=float), bad, noise=self.noise, variance=variance,
                             header=frame.meta, unit=frame.unit)

    def _guide(self, frame, truth, reference):
        """What the result is compared with, as an array on the grid of the frame; its kind, and its noise."""
        if truth is not None:
            values = _as_array(_read(truth), frame.unit)
            if values.shape != frame.shape:
                raise ValueError(f'truth must have the shape of the frame, {frame.shape}, got {values.shape}')
            return 'truth', values, None
        if reference is None:
            return None, None, None
        reference = _read(reference)
        if not isinstance(reference, CCDData):
            raise TypeError(f'reference must be CCDData or a path, got {type(reference).__name__}')
        if reference.wcs is not None and frame.wcs is not None and not _same_grid(reference, frame):
            reference = align_reference(reference, frame)
        elif reference.shape != frame.shape:
            raise ValueError(f'reference must have the shape of the frame, {frame.shape}, got {reference.shape}, or '
                             'both must have a WCS to align it by')
        scale = fit_scale(reference, frame)
        values = scale.slope * _as_array(reference, None) + scale.offset
        if not np.isfinite(values).any():
            raise ValueError('reference does not overlap with the frame')
        variance, _ = variance_plane(reference.uncertainty, reference.shape, reference.unit)
        return 'reference', values, None if variance is None else abs(scale.slope) * np.sqrt(variance)

    def finish(self, limits):
        """The report of all frames."""
        if not self.measured:
            raise self.errors[0] if len(self.errors) == 1 else ValueError(
                'no frame could be validated; the first: ' + self.records[0]['error'])
        tables, reasons = combine_frames(self.names, self.measured, self.options, self.seed)
        reasons = {**self.reasons, **reasons}
        if self.kept is not None:
            self._judge_exposures(tables, reasons)
        checks = make_checks(tables, reasons, limits=limits, confidence=self.options['confidence'])
        failed = sum(record['status'] == 'failed' for record in self.records)
        notes = [f'{failed} of {len(self.records)} frames could not be validated.'] if failed else []
        meta = {'denoiser': self.name, 'version': __version__, 'seed': self.seed,
                'created': datetime.now(UTC).isoformat(timespec='seconds'), 'frames': self.records,
                'options': {key: _text(value) for key, value in self.options.items()},
                'compared_with': self.kind or ('other exposures' if self.kept is not None else ''),
                'n_injected': _count_injected(tables), 'notes': notes + _notes(tables),
                'advice': _advice(tables)}
        return Report(checks, tables, meta, self.images)

    def _judge_exposures(self, tables, reasons):
        """Judge each exposure by the others."""
        frames = [frame for frame, _ in self.kept]
        results = [run_denoiser(self.denoiser, frame) if result is None else result for frame, result in self.kept]
        try:
            table = judge_exposures(frames, results, confidence=self.options['confidence'],
                                    n_resamples=self.options['n_resamples'], seed=self.seed)
        except ValueError as error:
            reasons['exposures'] = str(error)
            return
        tables['exposures'] = table
        if all(result.uncertainty is not None for result in results):
            noises = [self._noise_of(frame) for frame in frames]
            tables['uncertainty'], reason = _halves_of_others(frames, results, noises, self.options, self.seed)
            if reason:
                reasons['uncertainty'] = reason
        else:
            reasons['uncertainty'] = 'the result states no uncertainty'
        tables['exposure_bins'] = _average_exposures(table)


class _NoPSF(Exception):
    """The PSF cannot be measured; the message says why."""


def _measure_psf(frame):
    """The PSF by the brightest isolated stars that there are."""
    for threshold in 30.0, 10.0:
        try:
            psf = measure_psf(frame, threshold=threshold)
        except ValueError as error:
            reason = str(error)
            continue
        if psf.n_stars >= 3:
            return psf
        reason = f'only {psf.n_stars} isolated stars to measure the point-spread function on'
    raise _NoPSF(f'{reason}; give psf')


def _given_psf(psf, frame):
    """A PSF that was given, as a stamp that fits the frame."""
    if np.isscalar(psf):
        from ..simulate import make_psf
        half = min(int(6 * psf) + 1, (min(frame.shape) - 1) // 2)
        psf = make_psf(float(psf), half_size=half)
    psf = PSF.from_any(psf)
    if any(n > m for n, m in zip(psf.stamp.shape, frame.shape)):
        raise ValueError(f'psf must not be larger than the frame, {frame.shape}, got a stamp of {psf.stamp.shape}')
    return psf


def _halves_of_others(frames, results, noises, options, seed):
    """
    The stated uncertainty of each exposure, by the means of two halves of the others.

    Returns the table, and why brightness is left out where exposures differ by more than noise: there even the
    input, whose noise is known, does not agree with the others, be it for seeing or transparency.
    """
    parts, inputs = [], []
    common = {'bins': UNCERTAINTY_BINS, 'seed': seed, 'confidence': options['confidence'],
              'n_resamples': options['n_resamples']}
    for i, (frame, result, noise) in enumerate(zip(frames, results, noises)):
        others = [other for j, other in enumerate(frames) if j != i]
        shifted = [fit_scale(other, frame, fit_slope=False).apply(_as_array(other, None)) for other in others]
        halves = [np.mean(shifted[k::2], axis=0) for k in (0, 1)]
        guide = gaussian_filter(_as_array(result, None), 2)   # the same bins for both
        parts.append(judge_uncertainty_by_halves(result, *halves, brightness=guide, **common))
        stated = np.sqrt(noise.variance(np.nan_to_num(np.asarray(result.data, dtype=float))))
        inputs.append(judge_uncertainty_by_halves(frame, *halves, uncertainty=stated, brightness=guide, **common))
    table, before = (_average_squares(each) for each in (parts, inputs))
    differ = values_of(before, 'rms_pull_low') > 1.1
    reason = None
    if differ[1:].any():
        worst = float(np.nanmax(values_of(before, 'rms_pull')[1:]))
        reason = (f'the exposures differ by more than their noise ({worst:.1f} times): by seeing or transparency, '
                  'or the noise is larger than thought')
        table = table[~differ | (np.arange(len(table)) == 0)]
    return table, reason


def _average_squares(tables):
    """The tables of all exposures as one: squares average, their roots do not."""
    table = average_tables(tables, ('brightness_low', 'brightness_high'))
    for end in '', '_low', '_high':
        square = values_of(table, f'square_pull{end}')
        table[f'rms_pull{end}'] = np.sqrt(np.where(square >= 0, square, np.nan))
    return table


def _average_exposures(table):
    """Noise reduction by brightness of all exposures together."""
    exposures = values_of(table, 'exposure')
    parts = [table[exposures == exposure] for exposure in dict.fromkeys(exposures.tolist())]
    bins = average_tables(parts, ('brightness_low', 'brightness_high'))
    before = values_of(bins, 'mse_before')
    for end, source in ('', ''), ('_low', '_high'), ('_high', '_low'):
        # What is left may be measured as zero or less: the gain is then only known to be large.
        after = np.maximum(values_of(bins, f'mse_after{source}'), 1e-4 * before)
        with np.errstate(invalid='ignore', divide='ignore'):
            bins[f'noise_reduction{end}'] = np.sqrt(before / after)
    return bins


def _once(denoiser, frame):
    """A denoiser that does a certain frame only once."""
    results = []

    def denoise(ccd):
        if ccd is not frame:
            return run_denoiser(denoiser, ccd)
        if not results:
            results.append(run_denoiser(denoiser, ccd.copy()))
        return results[0]
    return denoise


def _as_array(image, unit):
    """Values of an image as floats, NaN where it is masked."""
    values = image.data if isinstance(image, NDData) else getattr(image, 'value', image)
    values = np.array(values, dtype=float)
    own = getattr(image, 'unit', None)
    if unit is not None and own not in (None, u.dimensionless_unscaled, unit):
        values *= own.to(unit)
    if isinstance(image, NDData) and image.mask is not None:
        values[np.asarray(image.mask, dtype=bool)] = np.nan
    return values


def _same_grid(first, second):
    """Whether two images have the same pixels on the sky, to a hundredth of a pixel."""
    if first.shape != second.shape:
        return False
    ny, nx = first.shape
    corners = np.array([[0, nx - 1, 0, nx - 1], [0, 0, ny - 1, ny - 1]], dtype=float)
    try:
        found = second.wcs.world_to_pixel(first.wcs.pixel_to_world(*corners))
    except Exception as error:  # of many libraries; where grids cannot be compared they are not the same
        log.debug('grids cannot be compared: %s', error)
        return False
    return bool(np.allclose(found, corners, atol=0.01))


def _describe_frame(task):
    row = {'ny': task.frame.shape[0], 'nx': task.frame.shape[1], 'sky_sigma': task.sky_sigma,
           'fwhm': np.nan if task.psf is None else task.psf.fwhm, 'noise_source': str(task.noise.source or ''),
           'masked': float(task.mask.mean())}
    return Table({name: [value] for name, value in row.items()})


def _count_injected(tables):
    if 'injected' not in tables:
        return 0
    images = values_of(tables['injected'], 'image')
    return int(np.sum(images == images[0]))


def _notes(tables):
    notes = []
    if 'frames' in tables and (values_of(tables['frames'], 'noise_source') == 'image').any():
        notes.append('The photon noise of sources is not known where a frame states no gain: tests of bright pixels '
                     'may fail for that alone. Give noise, gain or an uncertainty.')
    return notes


def _advice(tables):
    """What to do, in numbers, to measure on the results."""
    advice = []
    if 'aperture_noise' in tables and 'factor' in tables['aperture_noise'].colnames:
        table = tables['aperture_noise']
        for size in 5, 9:
            rows = np.flatnonzero(values_of(table, 'size') == size)
            if not rows.size:
                continue
            factor = float(values_of(table, 'factor')[rows[0]])
            quoted = float(values_of(table, 'factor_quoted')[rows[0]])
            text = f'Errors of sums over {size}x{size} pixels of sky are {factor:.1f} times those of independent pixels'
            if np.isfinite(quoted):
                text += f'; multiply an error from the summed variances of the result by {quoted:.1f}'
            advice.append(text + '.')
    if 'depth' in tables:
        for row in tables['depth']:
            if np.isfinite(row['m50']):
                advice.append(f'{row["image"]}: half of the sources are found at {float(row["m50"]):.2f} mag, '
                              f'{float(row["gain"]):+.2f} mag against the matched filter, with a threshold of '
                              f'{float(row["threshold"]):.1f}.')
    return advice


def _text(value):
    return value if isinstance(value, (int, float, str, type(None))) else (
        list(value) if isinstance(value, tuple) else getattr(value, '__name__', str(value)))
