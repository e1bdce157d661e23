# Licensed under a 3-clause BSD style license - see LICENSE
"""
Validation of a denoiser, whatever it is, on frames: ``validate``.
"""

import copy
import logging
import warnings
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from astropy.nddata import CCDData
from astropy.table import Table
from astropy.utils.exceptions import AstropyUserWarning

from ...containers.container import Container
from ...planes import find_planes
from ...utils.checks import check_integer
from ...version import __version__
from ..measures.exposures import judge_exposures
from ..measures.frames import run_denoiser
from ..measures.inputs import position_array, stated_sigma
from ..measures.reference import align_reference, fit_scale
from .arguments import (
    NoPSF,
    as_array,
    check_options,
    find_psf,
    given_psf,
    is_path,
    one_each,
    read_frames,
    read_image,
    same_grid,
    try_directory,
)
from .cache import FrameStore, fingerprint
from .checks import make_checks
from .combine import combine_frames
from .frame import measure_frame
from .remarks import count_injected, describe_frame, option_text, write_advice, write_notes
from .report import Report
from .series import average_exposures, judge_uncertainty_by_others
from .task import FrameTask

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
        Noise of the frames; by default what gain, uncertainty, header and image tell.
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
        raise ValueError('truth and reference must not both be given: a truth is the better reference')
    if report_dir is not None:
        from .report import refuse_existing
        refuse_existing(report_dir, ['report.json', 'report.html'], overwrite)
        try_directory(report_dir)
    others = isinstance(reference, str) and reference == 'others'
    frames = read_frames(frames, names)
    parts = {'truth': truth, 'reference': None if others else reference, 'catalog': catalog, 'psf': psf}
    parts = {name: one_each(name, value, len(frames)) for name, value in parts.items()}
    if others and len(frames) < 4:
        raise ValueError(f"reference='others' needs at least four aligned exposures, got {len(frames)} frames")
    make_checks({}, {}, limits=limits)
    noise = {'noise': noise, 'gain': gain, 'readnoise': readnoise}
    run = _Run(denoiser, denoiser_name, options, noise, satlevel, seed, FrameStore(
        None if report_dir is None else Path(report_dir) / _STORE), progress_bar, keep=others)
    with run.progress(len(frames) * (1 + (inject + 2 if inject else 0))):
        for i, frame in enumerate(frames):
            run.add(frame, **{name: value[i] for name, value in parts.items()})
    report = run.finish(limits)
    if report_dir is not None:
        report.write(report_dir, overwrite=overwrite)
    return report


class _Run:
    """The frames of a validation, one after the other."""

    def __init__(self, denoiser, name, options, noise, satlevel, seed, store, progress_bar, keep):
        self.denoiser, self.options, self.store = denoiser, options, store
        self.noise, self.satlevel = noise, satlevel
        self.seed = check_integer('seed', seed, 0) or 0
        self.name = str(name or getattr(denoiser, '__name__', type(denoiser).__name__))
        self.identity = self.name if name else denoiser
        self.show = progress_bar
        self.kept = [] if keep else None
        self.names, self.measured, self.records, self.reasons, self.images = [], [], [], {}, {}
        self.errors, self.notes, self.kind = [], [], None

    def progress(self, total):
        """Show progress, of so many images."""
        from tqdm import tqdm
        self.bar = tqdm(total=total, disable=not self.show, desc='validating', unit='image')
        return self.bar

    def add(self, named, truth, reference, catalog, psf):
        """Validate a frame, or note why that is not possible."""
        name, frame = named
        expected = self.bar.n + 1 + (self.options['inject'] + 2 if self.options['inject'] else 0)
        try:
            images = [frame]
            if is_path(frame):
                from ...io import read_fits_images
                images = read_fits_images(frame)
            n = len(images)
            for i, image in enumerate(images):
                label = name if n == 1 else f'{name}[{i + 1}]'
                self._add_image(label, image, read_image('truth', truth, i, n),
                                read_image('reference', reference, i, n), catalog, psf)
        except Exception as error:  # whatever is wrong with one frame, the others are not to blame
            from ...io.files import describe_error
            text = describe_error(error, frame if is_path(frame) else '')
            log.warning('%s: %s', name, text)
            self.records.append({'name': name, 'status': 'failed', 'error': text})
            self.errors.append(error)
        self.bar.update(max(expected - self.bar.n, 0))

    def _add_image(self, name, frame, truth, reference, catalog, psf):
        """Validate an image, unless its results are kept."""
        key = fingerprint(frame, truth, reference, catalog, psf, self.noise, self.satlevel, self.options,
                          self.seed, self.identity, __version__)
        measures = self.store.load(key)
        resumed = measures is not None
        if resumed and self.kept is not None:
            self.kept.append((frame, None))
        if not resumed:
            # Of its data and not of its place, so that more frames do not change those that are finished; nor of the
            # denoiser, so that all are judged by the same injected sources.
            seed = int(fingerprint(np.asarray(frame.data), self.seed)[:8], 16)
            task = self._prepare(frame, truth, reference, catalog, psf, seed)
            self.bar.update(1)
            measures = measure_frame(task, self.bar.update)
            measures.tables['frames'] = describe_frame(task)
            measures.reasons |= self._task_reasons
            self.store.save(key, measures)
            if self.kept is not None:
                self.kept.append((frame, task.result))
        self.kind = 'truth' if truth is not None else 'reference' if reference is not None else self.kind
        self.names.append(name)
        self.measured.append(measures.tables)
        self.records.append({'name': name, 'status': 'done', 'resumed': resumed, 'key': key,
                             'audit': str(measures.tables['frames']['audit'][0])})
        self.reasons = {**measures.reasons, **self.reasons}
        self.images = self.images or measures.images

    def _prepare(self, frame, truth, reference, catalog, psf, seed):
        """Denoise a frame, and find out about its noise and its PSF."""
        self._task_reasons = {}
        if np.ndim(frame.data) != 2:
            raise ValueError(f'frames must be two-dimensional, got the shape {np.shape(frame.data)}')
        denoiser = _once(self.denoiser, frame)
        original, (frame, noise) = frame, self._measured(frame)
        kind, guide, guide_std = self._guide(frame, truth, reference)
        catalog = None if catalog is None else Table(position_array('catalog', catalog), names=('x', 'y'))
        try:
            psf = find_psf(frame) if psf is None else given_psf(psf, frame)
        except NoPSF as error:
            psf = None
            for group in 'sources', 'stars', 'sweep', 'injection':
                self._task_reasons[group] = str(error)
        return FrameTask(frame, denoiser(original), denoiser, noise, self.options, psf=psf, truth=guide, kind=kind,
                         truth_std=guide_std, catalog=catalog, seed=seed)

    def _measured(self, frame):
        """A frame with a mask of all pixels that `astropy_n2v.denoise` does not use, and the noise that it uses."""
        parsed = Container(frame, satlevel=self.satlevel)
        planes, _ = find_planes(parsed, **self.noise)
        if frame.mask is not None or parsed.mask.any():
            frame = copy.copy(frame)
            frame.mask = np.array(parsed.mask, subok=False)
        return frame, planes[0].data_noise

    def _guide(self, frame, truth, reference):
        """What the result is compared with, as an array on the grid of the frame; its kind, and its noise."""
        if truth is not None:
            values = as_array(truth, frame.unit, 'truth')
            if values.shape != frame.shape:
                raise ValueError(f'truth must have the shape of the frame, {frame.shape}, got {values.shape}')
            if not np.isfinite(values).any():
                raise ValueError('truth must have a valid pixel: all are masked or not finite')
            return 'truth', values, None
        if reference is None:
            return None, None, None
        if not isinstance(reference, CCDData):
            raise TypeError(f'reference must be CCDData or a path, got {type(reference).__name__}')
        if reference.wcs is not None and frame.wcs is not None and not same_grid(reference, frame):
            reference = align_reference(reference, frame)
        elif reference.shape != frame.shape:
            raise ValueError(f'reference must have the shape of the frame, {frame.shape}, got {reference.shape}, or '
                             'both must have a WCS to align it by')
        values = as_array(reference, None)
        if not np.isfinite(values).any():
            raise ValueError('reference must have a valid pixel on the frame: all are masked or not finite')
        scale = fit_scale(values, as_array(frame, None))   # whatever its unit is
        values = scale.apply(values)
        sigma = stated_sigma(reference)
        return 'reference', values, None if sigma is None else abs(scale.slope) * sigma

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
                'options': {key: option_text(value) for key, value in self.options.items()},
                'compared_with': self.kind or ('other exposures' if self.kept is not None else ''),
                'n_injected': count_injected(tables), 'notes': notes + write_notes(tables),
                'advice': write_advice(tables)}
        return Report(checks, tables, meta, self.images)

    def _judge_exposures(self, tables, reasons):
        """Judge each exposure by the others."""
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', AstropyUserWarning)   # they came when the frame was judged by itself
            frames, noises = zip(*(self._measured(frame) for frame, _ in self.kept))
        results = [run_denoiser(self.denoiser, frame) if result is None else result for frame, result in self.kept]
        try:
            table = judge_exposures(list(frames), results, confidence=self.options['confidence'],
                                    n_resamples=self.options['n_resamples'], seed=self.seed)
        except ValueError as error:
            reasons['exposures'] = str(error)
            return
        tables['exposures'] = table
        if all(result.uncertainty is not None for result in results):
            tables['uncertainty'], reason = judge_uncertainty_by_others(list(frames), results, list(noises),
                                                                        self.options, self.seed)
            if reason:
                reasons['uncertainty'] = reason
        else:
            reasons['uncertainty'] = 'the result states no uncertainty'
        tables['exposure_bins'] = average_exposures(table)


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
