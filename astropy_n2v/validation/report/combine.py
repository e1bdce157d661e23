# Licensed under a 3-clause BSD style license - see LICENSE
"""
Combine the measures of single frames into tables of all.
"""

import json
import warnings
from dataclasses import replace

import numpy as np
from astropy.table import Table, vstack
from astropy.utils.exceptions import AstropyUserWarning

from ..detection.completeness import measure_completeness
from ..detection.depth import compare_depth
from ..detection.thresholds import combine_sweeps, detection_scores
from ..injection.recovery import MAPS_BEFORE, Recovery
from ..measures.correlation import combine_apertures, combine_autocorrelations
from ..measures.flux import estimate_growth, flux_bias, flux_correlation
from ..measures.images import ERROR_COLUMNS
from ..measures.residuals import RESIDUAL_COLUMNS, estimate_correlation
from ..measures.shapes import shape_change
from ..measures.tables import estimate_sums, merge_bins, stack_named, values_of
from ..measures.uncertainty import PULL_COLUMNS
from .task import BRIGHT_SNR, bootstrap_of, thresholds_of

__all__ = ['FLUX_BINS', 'GAIN_BINS', 'combine_frames', 'stack_sums']

#: Signal-to-noise ratios between which sources are faint, moderate and bright.
FLUX_BINS = (3, 5, BRIGHT_SNR, np.inf)

#: Brightness of pixels, in sigma of the sky, between which they are sky, faint and bright.
GAIN_BINS = (-np.inf, 1, 10, np.inf)


def combine_frames(names, measured, options, seed):
    """
    Combine the tables of frames.

    Parameters
    ----------
    names : list of str
        Names of the frames.
    measured : list of dict
        Their tables, by name.
    options : dict
        Those of `~astropy_n2v.validation.validate`.
    seed : int
        Seed of the resampling.

    Returns
    -------
    tables : dict of `~astropy.table.Table`
        By name.
    reasons : dict of str
        Why some could not be made, by name.
    """
    tables, reasons = {}, {}
    bootstrap = bootstrap_of(options, seed)
    for kind in dict.fromkeys(key for frame in measured for key in frame):
        own, parts = zip(*((name, frame[kind]) for name, frame in zip(names, measured) if kind in frame))
        tables[kind] = _COMBINE[kind](own, parts, bootstrap)
    if 'own_noise' in tables:
        _allow_for_own_noise(tables['residual_correlation'], tables.pop('own_noise'))
    if 'noise_by_brightness' in tables:
        sums = stack_sums([frame['noise_by_brightness'] for frame in measured if 'noise_by_brightness' in frame])
        tables['gain'] = estimate_sums(merge_bins(sums, GAIN_BINS), ERROR_COLUMNS, bootstrap)
    if 'sources' in tables:
        tables['flux_bias'] = flux_bias(tables['sources'], bins=FLUX_BINS, **vars(bootstrap))
        try:
            tables['flux_correlation'] = flux_correlation(tables['sources'], **vars(bootstrap))
        except ValueError as error:   # too few sources
            reasons['flux_correlation'] = str(error)
    if 'shapes' in tables:
        # All sources in it are bright.
        tables['shape_change'] = shape_change(tables['shapes'], bins=(BRIGHT_SNR, 100, np.inf), **vars(bootstrap))
    if 'injected' in tables:
        _combine_recovery(tables, measured, reasons, options, bootstrap)
    return tables, reasons


def _stack(names, parts, bootstrap):
    """The rows of all frames, and whose they are."""
    return stack_named('frame', names, parts)


def stack_sums(tables):
    """Stack the sums over blocks of several frames, with new numbers of the blocks."""
    parts, start = [], 0
    for table in tables:
        part = table.copy()
        part['block'] += start
        start = int(np.max(part['block'])) + 1
        parts.append(part)
    return vstack(parts, join_type='exact', metadata_conflicts='silent')


def _estimate(estimate, *columns):
    """Make a function that estimates from the sums of all frames."""
    return lambda names, parts, bootstrap: estimate(stack_sums(parts), *columns, bootstrap)


def _growth(names, parts, bootstrap):
    """Combine curves of growth: the better one of two estimates, with the noise of the frame or without."""
    shares = vstack(list(parts), join_type='exact', metadata_conflicts='silent')
    n_radii = int(np.max(shares['rank'])) + 1
    # One of several radii is judged.
    bootstrap = replace(bootstrap, confidence=1 - (1 - bootstrap.confidence) / n_radii)
    known = np.isfinite(values_of(shares, 'true')).any()
    tables = [estimate_growth(shares, bootstrap)]
    if values_of(shares, 'exact').all():
        tables.append(estimate_growth(shares, bootstrap, against='true'))
    for table in tables:
        # The change of the flux within a radius, over that flux and not over all of it.
        expected = values_of(table, 'growth_true' if known else 'growth_before')
        for end in ('', '_low', '_high'):
            table[f'ratio{end}'] = 1 + values_of(table, f'change{end}') / expected
    return min(tables, key=lambda table: float(np.mean(values_of(table, 'change_high') - table['change_low'])))


def _allow_for_own_noise(table, own):
    """
    Widen the interval of the share of the signal in the residual by what noise of the result can do.

    Where the result itself says how bright pixels are, the noise that it kept is in both. For independent errors of
    variance v the share is lowered by v over the mean square signal; for a posterior mean, whose error goes with the
    noise of the frame (Efron 2011, JASA 106, 1602, on Tweedie's formula), it is raised by as much.
    """
    n = np.sum(own['n'])
    reach = np.sum(own['kept']) / max(np.sum(own['power']), 1e-12 * n)
    rows = values_of(table, 'measure') == 'share'
    for end, shift in ('low', -reach), ('high', reach):
        table[f'value_{end}'] = values_of(table, f'value_{end}') + np.where(rows, shift, 0)


def _sweeps(names, sweeps, bootstrap):
    """The sweeps of all frames, map by map."""
    names, joined = list(dict.fromkeys(values_of(sweeps[0], 'image').tolist())), []
    for name in names:
        parts = []
        for sweep in sweeps:
            rows = values_of(sweep, 'image') == name
            if rows.any():
                part = sweep[rows]
                part.meta['area'] = float(values_of(part, 'area')[0])
                part.remove_columns(['image', 'area'])
                parts.append(part)
        joined.append(combine_sweeps(parts))
    return stack_named('image', names, joined)


def recovery_of(measured):
    """Join the injections of all frames."""
    return Recovery.stack([_recovery_of(tables) for tables in measured if 'injected' in tables])


def _recovery_of(tables):
    """The injections into one frame, from its tables."""
    injected, false, searched = tables['injected'].copy(), tables['false'].copy(), tables['searched']
    known = {name: values_of(searched, name)[0] for name in searched.colnames}
    for table in injected, false:
        table.remove_columns([name for name in ('frame',) if name in table.colnames])
        table.rename_column('realisation', 'frame')
    injected.meta = {'area': float(known['area']), 'floor': json.loads(str(known['floor'])),
                     **{name: float(known[name]) for name in ('radius', 'fwhm', 'zeropoint')}}
    false.meta = {'area': float(known['false_area']), 'blank': str(known['blank'])}
    return Recovery(injected, false)


def _combine_recovery(tables, measured, reasons, options, bootstrap):
    """Depth at equal false rate, completeness there, and the flux of what was injected."""
    tables['recovered_flux'] = _recovered_flux(tables['injected'], bootstrap)
    try:
        recovery = recovery_of(measured)
        if 'sweep' not in tables:
            tables['sweep'] = _sweep_injected(recovery, options)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', AstropyUserWarning)   # of maps without a depth, which the table shows
            # The best of several maps of the result is judged.
            tried = max(1, sum(name not in MAPS_BEFORE for name in recovery.images))
            tables['depth'] = compare_depth(
                recovery, false_rate=options['false_rate'], confidence=1 - (1 - options['confidence']) / tried,
                n_bootstrap=max(200, options['n_resamples']), seed=bootstrap.seed)
    except ValueError as error:
        reasons['depth'] = str(error)
        return
    parts = []
    injected = recovery.injected
    for row in tables['depth']:
        rows = values_of(injected, 'image') == row['image']
        found = values_of(injected, 'score')[rows] > float(row['threshold'])
        parts.append(measure_completeness(values_of(injected, 'mag')[rows], found, confidence=options['confidence']))
    tables['completeness'] = stack_named('image', values_of(tables['depth'], 'image'), parts)


def _recovered_flux(injected, bootstrap):
    """
    Combine the bias of the flux of injected stars, by signal-to-noise ratio.

    Measure the flux that the injection changed, which is free of the noise that was there before.
    """
    injected = injected[values_of(injected, 'kind') == 'star']
    images, snr, flux, change = (values_of(injected, name) for name in ('image', 'snr', 'flux', 'flux_change'))
    bias = (change - flux) / flux
    rows = []
    for name in dict.fromkeys(images.tolist()):
        for low, high in zip(FLUX_BINS[:-1], FLUX_BINS[1:]):
            part = bias[(images == name) & (snr >= low) & (snr < high) & np.isfinite(bias)]
            snr_part = snr[(images == name) & (snr >= low) & (snr < high)]
            if part.size >= 5:
                estimate = bootstrap.interval(part)
                rows.append((name, low, high, float(np.median(snr_part)), part.size, estimate.value, estimate.low,
                             estimate.high))
    return Table(rows=rows or None, names=('image', 'snr_low', 'snr_high', 'snr', 'n', 'bias', 'bias_low',
                                           'bias_high'), dtype=('U32', float, float, float, int, float, float, float))


def _sweep_injected(recovery, options):
    """Combine detections against threshold of injected sources; false ones are counted where there is no source."""
    images, score = values_of(recovery.injected, 'image'), values_of(recovery.injected, 'score')
    false_images, false_score = values_of(recovery.false, 'image'), values_of(recovery.false, 'score')
    rows = []
    for name in recovery.images:
        mine, false = score[images == name], false_score[false_images == name]
        for threshold in thresholds_of(name, options['thresholds']):
            if threshold < recovery.injected.meta['floor'][name]:
                continue   # nothing below was kept
            found = int(np.sum(mine > threshold))
            wrong = float(np.sum(false > threshold)) * recovery.area / max(recovery.false_area, 1e-12)
            rows.append((name, threshold, found, int(round(wrong)), mine.size - found))
    table = Table(rows=rows or None, names=('image', 'threshold', 'tp', 'fp', 'fn'),
                  dtype=('U32', float, int, int, int))
    counts = (values_of(table, name) for name in ('tp', 'fp', 'fn'))
    table['precision'], table['recall'], table['f1'] = detection_scores(*counts)
    return table


# How the tables of single frames become one, by name. There is no rule for a table that is not here.
_COMBINE = {
    **dict.fromkeys(('container', 'image_metrics', 'sources', 'total_flux', 'shapes', 'sky_cells', 'residual_stars',
                     'pulls', 'own_noise', 'injected', 'false', 'searched', 'frames'), _stack),
    'residual_statistics': _estimate(estimate_sums, RESIDUAL_COLUMNS),
    'residual_correlation': _estimate(estimate_correlation),
    'noise_by_brightness': _estimate(estimate_sums, ERROR_COLUMNS),
    'uncertainty': _estimate(estimate_sums, PULL_COLUMNS),
    'growth': _growth,
    'sweep': _sweeps,
    'aperture_noise': lambda names, parts, bootstrap: combine_apertures(parts),
    **dict.fromkeys(('residual_autocorrelation', 'output_autocorrelation', 'noise_autocorrelation'),
                    lambda names, parts, bootstrap: combine_autocorrelations(parts)),
}
