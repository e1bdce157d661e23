# Licensed under a 3-clause BSD style license - see LICENSE
"""
From the measures of single frames to those of all.
"""

import json
import warnings

import numpy as np
from astropy.table import Table, vstack
from astropy.utils.exceptions import AstropyUserWarning

from ..detection.completeness import measure_completeness
from ..detection.depth import compare_depth
from ..detection.thresholds import combine_sweeps
from ..injection.recovery import MAPS_BEFORE, Recovery
from ..measures.flux import flux_bias, flux_correlation
from ..measures.shapes import shape_change
from ..measures.statistics import bootstrap_interval
from .task import BRIGHT_SNR, thresholds_of

__all__ = ['FLUX_BINS', 'average_tables', 'combine_frames']

#: Signal-to-noise ratios between which sources are faint, moderate and bright.
FLUX_BINS = (3, 5, BRIGHT_SNR, np.inf)

_STACKED = ('container', 'image_metrics', 'sources', 'total_flux', 'shapes', 'sky_cells', 'residual_stars', 'pulls',
            'injected', 'false', 'searched', 'frames')

# Tables of statistics with the columns that name their rows, and the columns that are counts.
_AVERAGED = {'growth': ('rank',), 'aperture_noise': ('size', 'area'),
             'residual_statistics': ('brightness_low', 'brightness_high'), 'residual_correlation': ('measure',),
             'uncertainty': ('brightness_low', 'brightness_high'),
             'noise_by_brightness': ('brightness_low', 'brightness_high'),
             'residual_autocorrelation': ('dy', 'dx'), 'output_autocorrelation': ('dy', 'dx'),
             'noise_autocorrelation': ('dy', 'dx')}


def values_of(table, name):
    """A column as a plain array."""
    column = table[name]
    return np.ma.getdata(np.asarray(getattr(column, 'value', column)))


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
    for kind in dict.fromkeys(key for frame in measured for key in frame):
        parts = [(name, frame[kind]) for name, frame in zip(names, measured) if kind in frame]
        if kind in _STACKED:
            tables[kind] = _stack(parts)
        elif kind in _AVERAGED:
            # In a frame without sources, the share of their signal is not known at all.
            weights = 'interval' if kind == 'residual_correlation' else 'n'
            tables[kind] = average_tables([part for _, part in parts], _AVERAGED[kind], weights=weights)
    common = {'confidence': options['confidence'], 'n_resamples': options['n_resamples'], 'seed': seed}
    if 'sources' in tables:
        tables['flux_bias'] = flux_bias(tables['sources'], bins=FLUX_BINS, **common)
        try:
            tables['flux_correlation'] = flux_correlation(tables['sources'], **common)
        except ValueError as error:   # too few sources
            reasons['flux_correlation'] = str(error)
    if 'shapes' in tables:
        # All sources in it are bright.
        tables['shape_change'] = shape_change(tables['shapes'], bins=(BRIGHT_SNR, 100, np.inf), **common)
    sweeps = [frame['sweep'] for frame in measured if 'sweep' in frame]
    if sweeps:
        tables['sweep'] = _join_sweeps(sweeps)
    if 'injected' in tables:
        _combine_recovery(tables, measured, reasons, options, common)
    return tables, reasons


def _stack(parts):
    """The rows of all frames, and whose they are."""
    for name, part in parts:
        part['frame'] = np.full(len(part), name, dtype=f'U{max(len(name), 1)}')
    table = vstack([part for _, part in parts], metadata_conflicts='silent')
    return table[['frame', *(column for column in table.colnames if column != 'frame')]]


def average_tables(tables, keys, *, weights='n'):
    """
    Average tables of statistics row by row.

    Parameters
    ----------
    tables : list of `~astropy.table.Table`
        With the same columns; errors and half widths of intervals (columns ``_low``, ``_high``) add in quadrature.
    keys : tuple of str
        Columns that name a row. Rows that are missing in some tables are averaged over the others.
    weights : {'n', 'interval'}, optional
        Weighted by the numbers ``n`` that they rest on, or by the inverse square of the interval from ``value_low``
        to ``value_high``.

    Returns
    -------
    `~astropy.table.Table`
        A row for each row of any of the tables.

    Examples
    --------
    >>> from astropy.table import Table
    >>> from astropy_n2v.validation.report.combine import average_tables
    >>> one = Table({'k': [1], 'n': [10], 'a': [1.0], 'a_low': [0.0], 'a_high': [2.0]})
    >>> two = Table({'k': [1], 'n': [10], 'a': [2.0], 'a_low': [1.0], 'a_high': [3.0]})
    >>> row = average_tables([one, two], ('k',))[0]
    >>> int(row['n']), float(row['a']), round(float(row['a_low']), 3)
    (20, 1.5, 0.793)
    """
    if len(tables) == 1:
        return tables[0]
    rows = {}
    for table in tables:
        for i, key in enumerate(zip(*(_rounded(values_of(table, name)) for name in keys))):
            rows.setdefault(key, []).append((table, i))
    result = Table()
    for name in tables[0].colnames:
        column = [_average(name, members, tables[0].colnames, weights) for members in rows.values()]
        result[name] = column
        result[name].unit = tables[0][name].unit
    return result


def _rounded(column):
    """A column of keys, so that what is equal but for rounding agrees."""
    return np.round(column, 6).tolist() if column.dtype.kind == 'f' else column.tolist()


def _average(name, members, names, weighting):
    """One value of an averaged row."""
    values = np.array([values_of(table, name)[i] for table, i in members])
    if values.dtype.kind not in 'fiu':
        return values[0]
    if name in ('n', 'n_pixels'):
        return int(values.sum())
    if weighting == 'interval':
        width = np.array([values_of(table, 'value_high')[i] - values_of(table, 'value_low')[i] for table, i in members])
        weights = 1 / np.maximum(width, 1e-12) ** 2
    else:
        weights = np.array([values_of(table, 'n')[i] if 'n' in names else 1.0 for table, i in members], dtype=float)
    base = next((name[:-len(end)] for end in ('_low', '_high')
                 if name.endswith(end) and name[:-len(end)] in names), None)
    centre = values if base is None else np.array([values_of(table, base)[i] for table, i in members])
    good = np.isfinite(values) & np.isfinite(centre) & (weights > 0)
    # Value and interval are of the same frames.
    stem = base or name
    for end in '_low', '_high':
        if f'{stem}{end}' in names:
            good &= np.isfinite([float(values_of(table, f'{stem}{end}')[i]) for table, i in members])
    if not good.any():
        return values[0]
    weights = weights[good] / weights[good].sum()
    if name == 'significance' or name.endswith('_err'):
        # Errors of independent frames; what is in units of them grows as they shrink.
        power = np.sqrt(np.sum(weights ** 2))
        return float(np.sum(weights * values[good]) * (1 / power if name == 'significance' else power))
    values, centre = values[good], centre[good]
    # An rms is that of the pixels of all frames.
    is_rms = 'rms' in stem.split('_')
    if is_rms:
        values, centre = values ** 2, centre ** 2
    average = float(np.sum(weights * centre))
    if base is not None:
        average += float(np.sign(np.sum(values - centre)) * np.sqrt(np.sum((weights * (values - centre)) ** 2)))
    return float(np.sqrt(max(average, 0.0))) if is_rms else average


def _join_sweeps(sweeps):
    """The sweeps of all frames, map by map."""
    joined = []
    for name in dict.fromkeys(values_of(sweeps[0], 'image').tolist()):
        parts = []
        for sweep in sweeps:
            rows = values_of(sweep, 'image') == name
            if rows.any():
                part = sweep[rows]
                part.meta['area'] = float(values_of(part, 'area')[0])
                part.remove_columns(['image', 'area'])
                parts.append(part)
        table = combine_sweeps(parts)
        table['image'] = np.full(len(table), name, dtype='U32')
        joined.append(table)
    table = vstack(joined, metadata_conflicts='silent')
    return table[['image', *(column for column in table.colnames if column != 'image')]]


def recovery_of(measured):
    """The injections of all frames as one."""
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


def _combine_recovery(tables, measured, reasons, options, common):
    """Depth at equal false rate, completeness there, and the flux of what was injected."""
    tables['recovered_flux'] = _recovered_flux(tables['injected'], common)
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
                n_bootstrap=max(200, options['n_resamples']), seed=common['seed'])
    except ValueError as error:
        reasons['depth'] = str(error)
        return
    parts = []
    injected = recovery.injected
    for row in tables['depth']:
        rows = values_of(injected, 'image') == row['image']
        found = values_of(injected, 'score')[rows] > float(row['threshold'])
        part = measure_completeness(values_of(injected, 'mag')[rows], found, bins=10, confidence=options['confidence'])
        part['image'] = np.full(len(part), str(row['image']), dtype='U32')
        parts.append(part)
    tables['completeness'] = vstack(parts, metadata_conflicts='silent')


def _recovered_flux(injected, common):
    """
    Bias of the flux of injected stars, by signal-to-noise ratio.

    What the injection changed: that is free of the noise that was there before.
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
                estimate = bootstrap_interval(part, 'median', **common)
                rows.append((name, low, high, float(np.median(snr_part)), part.size, estimate.value, estimate.low,
                             estimate.high))
    return Table(rows=rows or None, names=('image', 'snr_low', 'snr_high', 'snr', 'n', 'bias', 'bias_low',
                                           'bias_high'), dtype=('U32', float, float, float, int, float, float, float))


def _sweep_injected(recovery, options):
    """Detections against threshold of injected sources; false ones are counted where there is no source."""
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
    tp, fp, fn = (values_of(table, name).astype(float) for name in ('tp', 'fp', 'fn'))
    with np.errstate(invalid='ignore', divide='ignore'):
        table['precision'], table['recall'], table['f1'] = tp / (tp + fp), tp / (tp + fn), 2 * tp / (2 * tp + fp + fn)
    return table
