# Licensed under a 3-clause BSD style license - see LICENSE
"""
The tests of a validation: what is asked, what is accepted, and what the answers mean.
"""

import math
from numbers import Real

import numpy as np
from scipy.stats import chi2, norm

from ..injection.recovery import MAPS_BEFORE
from .combine import FLUX_BINS, values_of
from .report import Check, judge_interval
from .texts import TEXTS

__all__ = ['LIMITS', 'make_checks']

#: What the tests accept: the lowest and the highest value, None where there is no limit.
LIMITS = {
    'container': (None, 0),
    'flux_bright': (-0.005, 0.005),
    'flux_moderate': (-0.03, 0.03),
    'flux_faint': (-0.1, 0.1),
    'growth': (-0.01, 0.01),
    'centroid': (-0.02, 0.02),
    'fwhm': (-0.02, 0.02),
    'sky_offset': (-0.02, 0.02),
    'residual_sources': (-0.005, 0.005),
    'residual_variance': (None, 1.15),
    'residual_white': (-0.05, 0.05),
    'uncertainty_sky': (0.9, 1.1),
    'uncertainty_sources': (0.8, 1.25),
    'noise_reduction': (1.1, None),
    'noise_worst': (0.95, None),
    'depth': (-0.1, None),
    'invented': (None, 10.0),
    'removed': (None, 10.0),
}


class NotMeasured(Exception):
    """There is nothing to judge; the message says why."""


def make_checks(tables, reasons, *, limits=None, confidence=0.99):
    """
    Judge what was measured.

    Parameters
    ----------
    tables : dict of `~astropy.table.Table`
        From `~astropy_n2v.validation.report.combine.combine_frames`.
    reasons : dict of str
        Why some are missing.
    limits : dict, optional
        Limits other than `LIMITS`, by the name of the test.
    confidence : float, optional
        Confidence of the intervals.

    Returns
    -------
    list of Check
        One for each of `LIMITS`.

    Raises
    ------
    ValueError
        If ``limits`` has a test that there is not, or one is no pair of numbers in order.

    Examples
    --------
    >>> from astropy_n2v.validation.report.checks import make_checks
    >>> checks = make_checks({}, {'container': 'no frame'})
    >>> checks[0].name, checks[0].verdict, checks[0].reason
    ('container', 'not run', 'no frame')
    """
    unknown = set(limits or {}) - set(LIMITS)
    if unknown:
        raise ValueError(f'limits must be of {", ".join(LIMITS)}, got {", ".join(sorted(unknown))}')
    limits = {**LIMITS, **(limits or {})}
    for name, pair in limits.items():
        if not (isinstance(pair, (tuple, list)) and len(pair) == 2
                and all(end is None or isinstance(end, Real) and not math.isnan(end) for end in pair)
                and (None in pair or pair[0] <= pair[1])):
            raise ValueError(f'limits[{name!r}] must be the lowest and the highest number, None for none, got {pair}')
    return [_judge(name, tables, reasons, limits[name], confidence) for name in LIMITS]


def _judge(name, tables, reasons, limits, confidence):
    """The check of one test."""
    title, question, good, bad = TEXTS[name]
    measure, unit, groups = _MEASURES[name]
    known = {'limits': limits, 'unit': unit}
    try:
        bounds = tuple(end if given is None else given for given, end in zip(limits, (-math.inf, math.inf)))
        value, interval, n, note = measure(tables, bounds, confidence)
    except NotMeasured as missing:
        reason = next((reasons[group] for group in groups if group in reasons), str(missing))
        return Check(name, title, question, 'not run', reason=reason, **known)
    value, interval = float(value), tuple(float(end) for end in interval)
    verdict = judge_interval(value, interval, limits)
    if verdict == 'not run':
        return Check(name, title, question, verdict, reason='too few data for an interval', **known)
    meaning = {'pass': good, 'fail': bad}.get(verdict, '')
    if verdict == 'inconclusive':
        more = ' or more injected sources' if name == 'depth' or name.startswith('flux') else ''
        note = f'{note}The interval reaches over the limit: more frames{more} would decide.'
    return Check(name, title, question, verdict, meaning, value, interval, n=int(n), reason=note.strip(), **known)


def _table(tables, name, why='not measured'):
    """A table; NotMeasured if there is none or it has no row."""
    if name not in tables or not len(tables[name]):
        raise NotMeasured(why)
    return tables[name]


def _row(table, i, name):
    """Value, interval and number of a statistic in a row."""
    value, low, high = (float(values_of(table, column)[i]) for column in (name, f'{name}_low', f'{name}_high'))
    return value, (low, high), int(values_of(table, 'n')[i]) if 'n' in table.colnames else 0


def _containers(tables, limits, confidence):
    """Number of frames whose results lost something."""
    table = _table(tables, 'container')
    lost = [f'{frame}: {what}' for frame, what in zip(values_of(table, 'frame'), values_of(table, 'lost')) if what]
    return len(lost), (len(lost), len(lost)), len(table), '; '.join(lost[:5])


def _flux(which):
    """A measure of the flux bias in one of the bins of S/N."""
    low, high = FLUX_BINS[which], FLUX_BINS[which + 1]

    def measure(tables, limits, confidence):
        found = []
        if 'flux_bias' in tables:
            table = tables['flux_bias']
            known = np.isfinite(values_of(tables['sources'], 'flux_true')).any()
            # Without a truth, the noise of the input has chosen which sources are faint.
            if known or which == 2:
                rows = np.flatnonzero(values_of(table, 'snr_low')[1:] == low) + 1
                names = ('bias', 'bias_truth') if known else ('bias',)
                found += [(*_row(table, i, name), 'Measured by forced photometry. ') for i in rows for name in names]
        if 'recovered_flux' in tables:
            table = tables['recovered_flux']
            rows = np.flatnonzero((values_of(table, 'image') == 'denoised') & (values_of(table, 'snr_low') == low))
            found += [(*_row(table, i, 'bias'), 'Measured on injected sources. ') for i in rows]
        found = [item for item in found if np.isfinite([item[0], *item[1]]).all() and item[2] >= 5]
        if not found:
            snr = f'above {low:g}' if math.isinf(high) else f'of {low:g} to {high:g}'
            raise NotMeasured(f'fewer than 5 sources {snr} sigma with a known flux')
        # Within an aperture and by the profile of a star, a fault may show in one of them only: what is surely
        # beyond the limits counts, else the narrowest interval.

        def beyond(item):
            return max(limits[0] - item[1][1], item[1][0] - limits[1])

        worst = max(found, key=beyond)
        return worst if beyond(worst) > 0 else min(found, key=lambda item: item[1][1] - item[1][0])
    return measure


def _growth(tables, limits, confidence):
    """The change of the flux within the radius where it is worst."""
    table = _table(tables, 'growth', 'no bright source')
    change, low, high = (values_of(table, name) - 1 for name in ('ratio', 'ratio_low', 'ratio_high'))
    good = np.isfinite(change) & np.isfinite(low) & np.isfinite(high)
    if not good.any():
        raise NotMeasured('no bright source')
    # The radius that is farthest beyond the limits, by the near end of its interval.
    beyond = np.where(good, np.maximum(low, -high), -np.inf)
    widest = np.where(good, np.maximum(np.abs(low), np.abs(high)), -np.inf)
    i = int(np.argmax(beyond)) if beyond.max() > limits[1] else int(np.argmax(widest))
    note = f'The largest change, at a radius of {values_of(table, "radius")[i]:.1f} px. '
    return change[i], (low[i], high[i]), values_of(table, 'n')[i], note


def _shape(*names):
    """A measure of the worst of some changes of shapes."""
    def measure(tables, limits, confidence):
        table = _table(tables, 'shape_change', 'no bright source')
        found = [_row(table, 0, name) for name in names]
        if names == ('fwhm_ratio',):
            found = [(value - 1, (low - 1, high - 1), n) for value, (low, high), n in found]
        found = [(*item, f'Along {name[1:]}. ' if len(names) > 1 else '') for name, item in zip(names, found)]
        found = [item for item in found if np.isfinite([item[0], *item[1]]).all() and item[2] >= 5]
        if not found:
            raise NotMeasured('fewer than 5 bright sources whose shape could be fitted')
        return max(found, key=lambda item: abs(item[0]))
    return measure


def _sky_offset(tables, limits, confidence):
    """The mean offset of the sky."""
    from ..measures.background import summarize_sky_offset
    cells = _table(tables, 'sky_cells', 'no sky')
    summary = summarize_sky_offset(cells, confidence=confidence, seed=0)
    value, interval, _ = _row(summary, 0, 'offset')
    return value, interval, len(cells), ''


def _residual_sources(tables, limits, confidence):
    """The share of the signal in what was removed."""
    table = _table(tables, 'residual_correlation')
    i = int(np.flatnonzero(values_of(table, 'measure') == 'share')[0])
    return *_row(table, i, 'value'), ''


def _residual_variance(tables, limits, confidence):
    """What was removed over the noise, at the brightness where it is worst."""
    table = _table(tables, 'residual_statistics')
    found = [(*_row(table, i, 'variance_ratio'), f'At {_describe_bin(table, i)}. ') for i in range(1, len(table))]
    # A thousand pixels tell a variance to a tenth; fewer tell only large faults.
    found = [item for item in found if np.isfinite([item[0], *item[1]]).all()
             and (item[2] >= 1000 or (item[2] >= 100 and item[1][0] > limits[1]))]
    if not found:
        raise NotMeasured('no bin of brightness with 1000 pixels')
    return max(found, key=lambda item: item[1][0] if item[1][0] > limits[1] else item[1][1] - 1e3)


def _describe_bin(table, i):
    """A bin of brightness in words."""
    low, high = (float(values_of(table, name)[i]) for name in ('brightness_low', 'brightness_high'))
    if not math.isfinite(low):
        return f'pixels below {high:g} sigma'
    return f'pixels above {low:g} sigma' if not math.isfinite(high) else f'pixels of {low:g} to {high:g} sigma'


def _residual_white(tables, limits, confidence):
    """The worst difference between the correlations of what was removed and of the noise."""
    table = _table(tables, 'residual_autocorrelation', 'nothing was taken away')
    own = {key: value for key, value in zip(zip(values_of(tables['noise_autocorrelation'], 'dy').tolist(),
                                                values_of(tables['noise_autocorrelation'], 'dx').tolist()),
                                            values_of(tables['noise_autocorrelation'], 'correlation'))}
    lags = list(zip(values_of(table, 'dy').tolist(), values_of(table, 'dx').tolist()))
    difference = values_of(table, 'correlation') - np.array([own.get(lag, 0.0) for lag in lags])
    if not np.isfinite(difference).any():
        raise NotMeasured('too little sky')
    i = int(np.nanargmax(np.abs(difference)))
    # The worst of many lags, each with its own scatter.
    reach = norm.isf((1 - confidence) / (2 * len(lags))) * float(values_of(table, 'correlation_err')[i])
    value = float(difference[i])
    note = f'The largest difference, at lag (y, x) = ({lags[i][0]:g}, {lags[i][1]:g}). '
    return value, (value - reach, value + reach), values_of(table, 'n')[i], note


def _pulls(row):
    """A measure of the errors of pixels over their stated uncertainty."""
    def measure(tables, limits, confidence):
        table = _table(tables, 'uncertainty', 'this needs a truth or a reference')
        rows = [i for i in range(1, len(table)) if (values_of(table, 'brightness_low')[i] >= 3) == (row == 'sources')
                and (row == 'sources' or not math.isfinite(values_of(table, 'brightness_low')[i]))]
        found = [_row(table, i, 'rms_pull') for i in rows]
        found = [item for item in found if item[2] >= 50 and np.isfinite([item[0], *item[1]]).all()]
        if not found:
            raise NotMeasured('fewer than 50 such pixels')
        note = 'The root mean square of error over stated uncertainty. '
        if not limits[0] <= found[0][0] <= limits[1]:
            note += 'Below 1 it is stated too large. ' if found[0][0] < 1 else 'Above 1 it is stated too small. '
        return *found[0], note
    return measure


def _noise_bins(tables):
    """Rows of noise reduction, from truth or from the other exposures."""
    table = tables.get('noise_by_brightness', tables.get('exposure_bins'))
    if table is None or not len(table):
        raise NotMeasured('this needs a truth, a reference of known noise, or other exposures')
    return table


def _noise_reduction(tables, limits, confidence):
    """The noise reduction of all pixels."""
    table = _noise_bins(tables)
    return *_row(table, 0, 'noise_reduction'), ''


def _noise_worst(tables, limits, confidence):
    """The noise reduction at the brightness where it is worst."""
    table = _noise_bins(tables)
    found = [(*_row(table, i, 'noise_reduction'), f'At {_describe_bin(table, i)}. ') for i in range(1, len(table))]
    found = [item for item in found if item[2] >= 100 and np.isfinite([item[0], *item[1]]).all()]
    if not found:
        raise NotMeasured('no bin of brightness with 100 pixels')
    return min(found, key=lambda item: item[1][1] if item[1][1] < limits[0] else 1e3 + item[1][0])


def _depth(tables, limits, confidence):
    """The gain in depth of the deepest map of the result."""
    table = _table(tables, 'depth', 'this needs injected sources')
    found = [(*_row(table, i, 'gain'), f'Measured on the {name} map, the deepest of the result; positive is deeper. ')
             for i, name in enumerate(values_of(table, 'image').tolist()) if name not in MAPS_BEFORE]
    found = [item for item in found if np.isfinite([item[0], *item[1]]).all()]
    if not found:
        raise NotMeasured('no magnitude of half completeness: nothing or everything was found')
    return max(found, key=lambda item: item[0])


def _stars(kind):
    """A measure of the rate of invented or removed stars."""
    def measure(tables, limits, confidence):
        table = _table(tables, 'residual_stars')
        number, expected, area = (values_of(table, name).sum() for name in (kind, 'expected', 'area'))
        tail = (1 - confidence) / 2
        lower = chi2.ppf(tail, 2 * number) / 2 if number else 0.0
        upper = chi2.ppf(1 - tail, 2 * number + 2) / 2
        # Noise alone makes a few.
        rates = [(count - expected) / area for count in (number, lower, upper)]
        return (rates[0], (rates[1], rates[2]), number,
                f'{number:d} in {area:.3g} megapixels, where noise alone makes {expected:.2g}; the value is the rest. ')
    return measure


# How each is measured, its unit, and the groups of measures whose reasons explain that it was not.
_MEASURES = {
    'container': (_containers, '', ('container',)),
    'flux_bright': (_flux(2), '', ()),
    'flux_moderate': (_flux(1), '', ()),
    'flux_faint': (_flux(0), '', ()),
    'growth': (_growth, '', ('bright', 'sources')),
    'centroid': (_shape('dx', 'dy'), 'pix', ('bright', 'sources')),
    'fwhm': (_shape('fwhm_ratio'), '', ('bright', 'sources')),
    'sky_offset': (_sky_offset, 'sigma', ('background',)),
    'residual_sources': (_residual_sources, '', ('residual',)),
    'residual_variance': (_residual_variance, '', ('residual',)),
    'residual_white': (_residual_white, '', ('whiteness', 'residual', 'background')),
    'uncertainty_sky': (_pulls('sky'), '', ('uncertainty', 'truth')),
    'uncertainty_sources': (_pulls('sources'), '', ('uncertainty', 'truth')),
    'noise_reduction': (_noise_reduction, '', ('exposures', 'noise_by_brightness')),
    'noise_worst': (_noise_worst, '', ('exposures', 'noise_by_brightness')),
    'depth': (_depth, 'mag', ('depth', 'injection')),
    'invented': (_stars('invented'), 'per Mpix', ('stars',)),
    'removed': (_stars('removed'), 'per Mpix', ('stars',)),
}
