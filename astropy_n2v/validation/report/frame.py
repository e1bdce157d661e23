# Licensed under a 3-clause BSD style license - see LICENSE
"""
All measures of one frame: tables, by name.
"""

import json
import logging

import numpy as np
from astropy.table import Table
from scipy.spatial import cKDTree

from ...exceptions import CannotDenoiseError
from ...noise import noise_autocorrelation
from ...photometry.inputs import stated_sigma
from ...utils.robust import robust_std
from ..detection.completeness import matched_filter_snr
from ..detection.maps import detection_maps, find_residual_sources, find_sources, matched_filter
from ..detection.thresholds import sweep_thresholds
from ..injection.catalogue import TooManySourcesError
from ..injection.recovery import inject_and_recover
from ..measures.background import sky_offset
from ..measures.correlation import aperture_noise, autocorrelation
from ..measures.flux import compare_fluxes, compare_total_flux, growth_shares
from ..measures.images import error_sums, image_metrics
from ..measures.residuals import residual_correlation_sums, residual_sums, residual_whiteness
from ..measures.shapes import compare_shapes
from ..measures.tables import stack_named, values_of
from ..measures.uncertainty import find_pulls, pull_sums
from .task import BRIGHT_SNR, UNCERTAINTY_BINS, Measures, thresholds_of

__all__ = ['measure_frame']

log = logging.getLogger(__name__)

_OWN_SNR = 50   # sources of the frame itself: so bright that their selection does not bias their flux
_MAX_SOURCES = 3000
_MAX_PULLS = 4000
_CUTOUT = 220   # pixels
_MAX_LAG = 4   # pixels; for the correlation of noise


def measure_frame(task):
    """
    Make all measures that a frame, with all that is known of it, allows.

    Parameters
    ----------
    task : FrameTask
        The frame.

    Returns
    -------
    Measures
        Tables, and why others are missing.
    """
    measures = Measures(images=_cutouts(task))
    for function, names in _STAGES.items():
        try:
            measures.tables.update(function(task, measures))
        except ValueError as error:   # of one stage; what the others need may be there
            measures.reasons.update(dict.fromkeys(names, str(error)))
            log.info('no %s: %s', ', '.join(names), error)
    return measures


def _container(task, measures):
    """Check the unit, WCS, mask and pixels that a result must keep of the frame."""
    frame, result = task.frame, task.result
    masked = np.zeros(frame.shape, bool) if frame.mask is None else np.asarray(frame.mask, dtype=bool)
    lost = []
    if result.unit != frame.unit:
        lost.append(f'unit ({frame.unit} became {result.unit})')
    if (frame.wcs is None) != (getattr(result, 'wcs', None) is None):
        lost.append('WCS')
    if masked.any() and (result.mask is None or not np.asarray(result.mask, dtype=bool)[masked].all()):
        lost.append('mask')
    if (np.isfinite(frame.data) & ~masked & ~np.isfinite(result.data)).any():
        lost.append('pixels, which are not finite any more')
    return {'container': Table({'lost': [', '.join(lost)], 'n_lost': [len(lost)]})}


def _background(task, measures):
    """Measure level, apertures and correlation of the sky."""
    known = {'mask': task.mask, 'truth': task.truth}
    exact = known if task.kind == 'truth' else {'mask': task.mask}   # the noise of a reference is not the result's
    cells = sky_offset(task.frame, task.result, select=task.sky, noise=task.noise, mask=task.mask)
    after = aperture_noise(task.result, select=task.sky, **exact, **task.common)
    before = aperture_noise(task.frame, select=task.sky, **exact, **task.common)
    after['sigma_before'] = np.interp(after['area'], before['area'], before['sigma'])
    return {'sky_cells': cells, 'aperture_noise': after,
            'output_autocorrelation': autocorrelation(task.result, select=task.sky, max_lag=5, **exact),
            'noise_autocorrelation': _noise_autocorrelation(task, exact)}


def _noise_autocorrelation(task, exact):
    """Autocorrelation of the noise of the frame; where the truth is not known, of its finest structure."""
    table = autocorrelation(task.frame, select=task.sky, max_lag=_MAX_LAG, **exact)
    if 'truth' in exact:
        return table
    try:
        known = noise_autocorrelation(np.asarray(task.frame.data, dtype=float), task.mask, max_lag=_MAX_LAG)
    except CannotDenoiseError as error:
        log.info('the noise is taken to be correlated as the sky is: %s', error)
        return table
    # Of the sky itself, what is left of its background would count, too.
    for row in table:
        row['correlation'] = known[_MAX_LAG + int(row['dy']), _MAX_LAG + int(row['dx'])]
    return table


def _residual(task, measures):
    """Measure the residual."""
    brightness = task.truth   # by default the brightness of the result
    known = {'brightness': brightness, 'noise': task.noise, 'mask': task.mask}
    tables = {'residual_statistics': residual_sums(task.frame, task.result, **known),
              'residual_correlation': residual_correlation_sums(task.frame, task.result, **known)}
    if task.truth is None:
        tables['own_noise'] = _own_noise(task)
    change = (np.asarray(task.frame.data, dtype=float) - task.result.data)[~task.mask]
    if np.std(change) > 1e-3 * task.sky_sigma:
        tables['residual_autocorrelation'] = residual_whiteness(
            task.frame, task.result, noise=task.noise, select=task.sky, mask=task.mask, max_lag=_MAX_LAG)
    else:
        measures.reasons['residual_autocorrelation'] = 'nothing was taken away'
    return tables


def _own_noise(task):
    """Sum the variance that the result may have kept, and the square of its signal, in units of the noise."""
    result = np.asarray(task.result.data, dtype=float)
    good = ~task.mask
    sigma2 = np.broadcast_to(task.noise.variance(np.where(good, result, 0)), result.shape)[good]
    sigma = stated_sigma(task.result)
    if sigma is None:
        sky = result[task.sky & good]
        sigma = np.full(result.shape, np.std(sky) if sky.size else 0.0)
    signal = result[good] - np.median(result[task.sky & good] if (task.sky & good).any() else result[good])
    return Table({'kept': [np.nanmean(sigma[good] ** 2 / sigma2) * signal.size],
                  'power': [np.sum(signal ** 2 / sigma2)], 'n': [signal.size]})


def _against_truth(task, measures):
    """Measure errors of pixels, and compare them with their stated uncertainty."""
    if task.truth is None:
        raise ValueError('this needs a truth or a reference')
    frame, result, truth = task.frame, task.result, task.truth
    tables = {'image_metrics': image_metrics(frame, result, truth, noise=task.noise, mask=task.mask)}
    if task.kind == 'truth' or task.truth_std is not None:
        tables['noise_by_brightness'] = error_sums(frame, result, truth, noise=task.noise, mask=task.mask)
    else:
        reason = 'the noise of the reference is not known'
        measures.reasons.update(noise_by_brightness=reason, gain=reason)
    if stated_sigma(result) is None:
        measures.reasons['uncertainty'] = 'the result states no uncertainty'
    elif task.kind == 'reference' and task.truth_std is None:
        measures.reasons['uncertainty'] = 'the noise of the reference is not known'
    else:
        known = {'truth_std': task.truth_std, 'sigma': task.sky_sigma, 'mask': task.mask}
        tables['uncertainty'] = pull_sums(result, truth, bins=UNCERTAINTY_BINS, **known)
        tables['pulls'] = _pulls(task, known)
    return tables


def _pulls(task, known):
    """Draw a sample of the pulls of pixels of the sky and of sources, for the figure."""
    pulls, brightness, _ = find_pulls(task.result, task.truth, **known)
    rng, edges, parts = np.random.default_rng(task.seed), UNCERTAINTY_BINS, {}
    for kind, select in ('sky', brightness < edges[1]), ('sources', brightness >= edges[-2]):
        found = pulls[select & np.isfinite(pulls)]
        parts[kind] = rng.choice(found, min(found.size, _MAX_PULLS), replace=False) if found.size else found
    kinds = np.repeat(np.array(list(parts), dtype='U7'), [found.size for found in parts.values()])
    return Table({'kind': kinds, 'pull': np.concatenate(list(parts.values()))})


def _need_psf(task):
    """Raise ValueError without a PSF."""
    if task.psf is None:
        raise ValueError(task.no_psf)


def _sources_of_guide(task, threshold):
    """Find columns and rows of what stands out of truth, reference or result."""
    _need_psf(task)
    # In a reference with noise of its own, sources have to stand out of that.
    sigma = None if task.kind == 'reference' else task.sky_sigma
    # A truth without sources has no noise that a background could be measured by.
    level = float(np.median(task.guide[~task.mask])) if np.ptp(task.guide[task.sky]) == 0 else None
    significance = matched_filter(task.guide, task.psf, sigma=sigma, background=level, mask=task.mask)
    found = find_sources(significance, threshold, fwhm=task.psf.fwhm, mask=task.mask)
    return tuple(values_of(found, name) for name in 'xy')


def find_positions(task):
    """
    Find positions of sources that were not chosen on the noise of the frame.

    Parameters
    ----------
    task : FrameTask
        The frame.

    Returns
    -------
    `~astropy.table.Table`
        Columns x and y: from the catalog, or found on truth, reference or result, away from the edges.
        ``meta['origin']`` has the source of the positions.

    Raises
    ------
    ValueError
        If there is no source.
    """
    if task.catalog is not None:
        origin = 'the catalog'
        x, y = np.asarray(task.catalog['x']), np.asarray(task.catalog['y'])
    else:
        threshold = {'truth': 3.0, 'reference': 5.0, None: _OWN_SNR}[task.kind]
        origin = f'the {task.kind or "result"} above {threshold:g} sigma'
        x, y = _sources_of_guide(task, threshold)
        if not x.size:
            raise ValueError(f'no source found on the {task.kind or "result"} above {threshold:g} sigma'
                             + ('' if task.kind else '; give a truth, a reference or a catalog, or inject sources'))
    margin = 2 if task.psf is None else 2 * task.psf.fwhm
    inside = (np.minimum(x, y) > margin) & (x < task.frame.shape[1] - 1 - margin) \
        & (y < task.frame.shape[0] - 1 - margin)
    x, y = x[inside][:_MAX_SOURCES], y[inside][:_MAX_SOURCES]
    if not x.size:
        raise ValueError('no source of the catalog lies on the frame, away from its edge' if task.catalog is not None
                         else 'no source found that is not at the edge of the frame')
    return Table({'x': x, 'y': y}, meta={'origin': origin})


def _isolated(positions, distance):
    """Which positions have no other within a distance; all, if hardly any is alone."""
    points = np.stack([positions['x'], positions['y']], axis=1)
    if len(points) < 2:
        return np.ones(len(points), dtype=bool)
    alone = cKDTree(points).query(points, k=2)[0][:, 1] > distance
    return alone if alone.sum() >= 10 else np.ones(len(points), dtype=bool)


def _sources(task, measures):
    """Photometry, growth and shapes of sources at given positions."""
    positions = find_positions(task)
    fwhm = 3.0 if task.psf is None else task.psf.fwhm
    radius = task.options['radius'] or max(fwhm, 1.5)
    annulus = (max(3 * fwhm, radius + 2), max(5 * fwhm, radius + 5))
    known = {'truth': task.truth, 'mask': task.mask}
    sources = compare_fluxes(task.frame, task.result, positions, radius=radius, annulus=annulus, noise=task.noise,
                             **known)
    sources['origin'] = positions.meta['origin']
    tables = {'sources': sources, 'total_flux': compare_total_flux(task.frame, task.result, noise=task.noise, **known)}
    snr = np.nan_to_num(np.asarray(sources['snr'], dtype=float))
    bright = (snr > BRIGHT_SNR) & _isolated(positions, 2.5 * fwhm)
    if not bright.any():
        reason = f'no source with a signal-to-noise ratio above {BRIGHT_SNR}'
        measures.reasons.update(growth=reason, shape_change=reason)
        return tables
    radii = fwhm * np.array([0.5, 0.75, 1.0, 1.5, 2.0])
    growth = growth_shares(task.frame, task.result, positions[bright], radii, annulus=annulus, **known)
    growth['exact'] = task.kind == 'truth'
    return {**tables, 'growth': growth,
            'shapes': compare_shapes(task.frame, task.result, positions[bright], fwhm=fwhm, snr=snr[bright],
                                     noise=task.noise, **known)}


def _residual_stars(task, measures):
    """Measure stars in result minus frame."""
    _need_psf(task)
    threshold = 5.0
    significance = matched_filter(task.frame, task.psf, sigma=task.sky_sigma, mask=task.mask)[task.sky]
    # Where neighbouring pixels share noise, the filter does not suppress it as much.
    correlated = max(1.0, robust_std(significance))
    if correlated < 1.15:
        correlated = 1.0   # unresolved sources also widen it
    found = find_residual_sources(task.frame, task.result, task.psf, threshold=threshold * correlated,
                                  sigma=task.noise, mask=task.mask)
    kinds = np.asarray(found['kind'])
    expected = find_residual_sources(task.frame, task.frame, task.psf, threshold=threshold, sigma=task.noise,
                                     mask=task.mask).meta['expected']
    return {'residual_stars': Table({'invented': [int(np.sum(kinds == 'invented'))],
                                     'removed': [int(np.sum(kinds == 'removed'))],
                                     'expected': [expected / 2], 'area': [found.meta['area']],
                                     'threshold': [threshold * correlated]})}


def _extra_maps(task):
    """The map that is made to detect on, if there is one."""
    make = task.options['detection_image']
    if isinstance(make, str):
        if stated_sigma(task.result) is None:
            return None
        from ...significance import detection_image as make
    if make is None:
        return None

    def draw(noisy, denoised):
        image = make(denoised, task.psf.stamp)
        return np.asarray(getattr(image, 'data', image), dtype=float)
    return {'detection image': draw}


def _sweep(task, measures):
    """Count detections against the threshold, judged by truth or reference."""
    if task.truth is None:
        raise ValueError('this needs a truth or a reference')
    _need_psf(task)
    positions = find_positions(task)
    # Real sources that are too faint or too near to the edge to be asked for are not falsely found either.
    faint = np.stack(_sources_of_guide(task, {'truth': 1.5, 'reference': 3.0}[task.kind]), axis=1)
    maps = detection_maps(task.frame, task.result, task.psf, sigma=task.sky_sigma, mask=task.mask,
                          extra=_extra_maps(task))
    sweeps = []
    for name, image in maps.items():
        sweep = sweep_thresholds(image, thresholds_of(name, task.options['thresholds']), truth=positions, ignore=faint,
                                 radius=task.psf.fwhm, fwhm=task.psf.fwhm, mask=task.mask,
                                 confidence=task.options['confidence'])
        sweep['area'] = sweep.meta['area']
        sweeps.append(sweep)
    return {'sweep': stack_named('image', list(maps), sweeps)}


def _injection(task, measures):
    """Injected sources, found and lost."""
    _need_psf(task)
    if not task.options['inject']:
        raise ValueError('this needs injected sources')
    recovery = _recover(task)
    injected, false = recovery.injected, recovery.false
    injected['snr'] = matched_filter_snr(values_of(injected, 'flux'), task.psf, task.sky_sigma)
    meta = injected.meta
    for table in injected, false:
        table.rename_column('frame', 'realisation')
    return {'injected': injected, 'false': false,
            'searched': Table({'area': [recovery.area], 'false_area': [recovery.false_area],
                               'radius': [meta['radius']], 'fwhm': [meta['fwhm']], 'zeropoint': [meta['zeropoint']],
                               'blank': [false.meta['blank']], 'floor': [json.dumps(meta['floor'])]})}


def _recover(task):
    """Inject and recover as many sources as asked for, or as fit."""
    options = task.options
    number = options['n_sources']
    while True:
        try:
            return inject_and_recover(
                task.frame, task.denoiser, task.psf, n_realisations=options['inject'], n_sources=number,
                magnitudes=options['magnitudes'], galaxies=options['galaxies'], noise=task.noise, sigma=task.sky_sigma,
                mask=task.mask, extra=_extra_maps(task), seed=task.seed)
        except TooManySourcesError:
            number = int(0.7 * number)
            if number < 5:
                raise


def _cutouts(task):
    """A part of the frame with something to see: around the brightest part of the guide."""
    ny, nx = task.frame.shape
    guide = np.where(task.mask, np.nan, task.guide)
    step = max(1, _CUTOUT // 4)
    best, corner = -np.inf, (0, 0)
    top = np.nanpercentile(guide, 99.5)
    for y in range(0, max(ny - _CUTOUT, 0) + 1, step):
        for x in range(0, max(nx - _CUTOUT, 0) + 1, step):
            part = guide[y:y + _CUTOUT, x:x + _CUTOUT]
            score = np.nansum(np.minimum(part, top)) / part.size
            if score > best:
                best, corner = score, (y, x)
    part = tuple(slice(start, start + _CUTOUT) for start in corner)
    images = {'before': task.frame.data, 'after': task.result.data, 'truth': task.truth}
    images = {name: np.array(image[part], dtype=np.float32) for name, image in images.items() if image is not None}
    for image in images.values():
        image[task.mask[part]] = np.nan
    return {**images, 'sigma': task.sky_sigma}


# All measurements, in order, and the tables that each makes or that are made of them when frames are combined. If a
# stage cannot be, the reason is given for all of them.
_STAGES = {
    _container: ('container',),
    _background: ('sky_cells', 'aperture_noise', 'output_autocorrelation', 'noise_autocorrelation'),
    _residual: ('residual_statistics', 'residual_correlation', 'residual_autocorrelation'),
    _against_truth: ('image_metrics', 'noise_by_brightness', 'gain', 'uncertainty', 'pulls'),
    _sources: ('sources', 'total_flux', 'growth', 'shapes', 'flux_bias', 'flux_correlation', 'shape_change'),
    _residual_stars: ('residual_stars',),
    _sweep: ('sweep',),
    _injection: ('injected', 'false', 'searched', 'recovered_flux', 'completeness', 'depth'),
}
