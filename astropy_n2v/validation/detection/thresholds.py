# Licensed under a 3-clause BSD style license - see LICENSE
"""
Detections against threshold, true and false.
"""

import numpy as np
from astropy import units as u
from astropy.stats import poisson_conf_interval
from astropy.table import Table
from scipy.spatial import cKDTree
from scipy.stats import norm

from ...photometry.frames import frame_arrays
from ...photometry.inputs import position_array
from .completeness import check_fraction, wilson_interval
from .maps import find_sources
from .matching import match_sources

__all__ = ['combine_sweeps', 'sweep_thresholds']

PER_MEGAPIXEL = u.Unit('1 / Mpix')


def poisson_rate(n, area, confidence=0.95):
    """Compute the rate of events with the classical (Garwood 1936) interval, as quantities per megapixel."""
    n = np.atleast_1d(np.asarray(n, dtype=int))
    low, high = poisson_conf_interval(n, 'frequentist-confidence', sigma=norm.isf((1 - confidence) / 2))
    return n / area * PER_MEGAPIXEL, low / area * PER_MEGAPIXEL, high / area * PER_MEGAPIXEL


def check_thresholds(thresholds):
    """Convert thresholds to an increasing array; raise ValueError if it is empty or one is not positive."""
    thresholds = np.unique(np.asarray(thresholds, dtype=float))
    if thresholds.size == 0:
        raise ValueError('thresholds must hold at least one value, got none')
    if not (np.isfinite(thresholds) & (thresholds > 0)).all():
        raise ValueError(f'thresholds must be positive numbers, got {thresholds.tolist()}')
    return thresholds


def detection_scores(tp, fp, fn):
    """
    Compute precision, recall and F1.

    Parameters
    ----------
    tp, fp, fn : array_like
        Numbers of sources that were found, of false detections and of missed sources, in arrays of one shape.

    Returns
    -------
    precision : `~numpy.ndarray`
        Share of true sources among the detections; NaN where nothing was found.
    recall : `~numpy.ndarray`
        Share of the true sources that were found; NaN where there was nothing to find.
    f1 : `~numpy.ndarray`
        Harmonic mean of the two; NaN where nothing was found and there was nothing to find.
    """
    tp, fp, fn = (np.asarray(value, dtype=float) for value in (tp, fp, fn))
    with np.errstate(invalid='ignore', divide='ignore'):
        return tp / (tp + fp), tp / (tp + fn), 2 * tp / (2 * tp + fp + fn)


def _catalogs(image, thresholds, mask, options):
    """Find the sources at each threshold. Of peaks, the lowest threshold finds all."""
    if options.get('method', 'peaks') == 'segmentation':
        return [find_sources(image, threshold, mask=mask, **options) for threshold in thresholds]
    found = find_sources(image, thresholds[0], mask=mask, **options)
    return [found[found['score'] > threshold] for threshold in thresholds]


def _on_good_pixels(sources, bad):
    """Choose the positions on pixels that count."""
    xy = position_array('truth', sources)
    x, y = np.rint(xy.T).astype(int)
    inside = (x >= 0) & (y >= 0) & (x < bad.shape[1]) & (y < bad.shape[0])
    inside[inside] = ~bad[y[inside], x[inside]]
    return xy[inside]


def sweep_thresholds(image, thresholds, *, truth=None, ignore=None, blank=None, radius=3.0, method='peaks', fwhm=None,
                     mask=None, n_pixels=5, deblend=True, matching='mutual', confidence=0.95):
    """
    Count true and false detections at each of several thresholds.

    Parameters
    ----------
    image : array_like or `~astropy.nddata.NDData`
        Significance map, or an image whose background is subtracted.
    thresholds : array_like
        In the units of ``image``.
    truth : `~astropy.table.Table` or array_like, optional
        Positions of the true sources, or of those on a deeper image (columns ``x`` and ``y``, or
        shape (n, 2)). Those on masked pixels or outside do not count.
    ignore : `~astropy.table.Table` or array_like, optional
        Positions of real sources that need not be found, such as fainter ones. Detections of
        them are neither true nor false.
    blank : array_like, or list of them, optional
        The same kind of map of frames without sources, or of frames that were turned upside down
        (`flip_frame`) before they were denoised. If it is given, false detections are counted
        there and scaled to the area of ``image``, else they are those without a true source.
    radius : float, optional
        The largest distance of a match in pixels.
    method, fwhm : optional
        As for `find_sources`.
    mask : array_like of bool, optional
        True where not to look.
    n_pixels, deblend : optional
        As for `find_sources`.
    matching : {'mutual', 'optimal'}, optional
        As for `match_sources`.
    confidence : float, optional
        Confidence level of the intervals.

    Returns
    -------
    `~astropy.table.Table`
        One row a threshold: ``threshold``, ``n_detected`` (without ignored ones), ``tp``, ``fp``,
        ``fn``, ``n_truth``, ``n_false`` (as counted, before scaling), ``precision``, ``recall``, ``f1`` and
        ``false_per_megapixel``; ``precision``, ``recall`` and the last with ``_low`` and ``_high``
        (Wilson's binomial and the classical Poisson interval). NaN is what cannot be known.
        Without a truth, the detections beyond the false ones are taken to be true. Meta:
        ``area`` and ``false_area`` (megapixels), ``false_from`` ('truth' or 'blank'), ``radius``,
        ``matching``, ``method``, ``confidence``.

    Raises
    ------
    ValueError
        If ``thresholds`` is empty or not positive, or neither ``truth`` nor ``blank`` is given.

    See Also
    --------
    combine_sweeps : Sum the sweeps of several frames.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.validation import sweep_thresholds
    >>> image = np.zeros((20, 20))
    >>> image[5, 5], image[15, 15] = 9.0, 4.0
    >>> sweep = sweep_thresholds(image, [3, 6], truth=[[5, 5]])
    >>> sweep['precision'].tolist(), sweep['recall'].tolist()
    ([0.5, 1.0], [1.0, 1.0])
    """
    thresholds = check_thresholds(thresholds)
    check_fraction('confidence', confidence)
    if truth is None and blank is None:
        raise ValueError('truth or blank must be given, to know which detections are false; got neither')
    data, bad = frame_arrays(image, mask, name='image')
    options = {'method': method, 'fwhm': fwhm, 'n_pixels': n_pixels, 'deblend': deblend}
    catalogs = _catalogs(data, thresholds, bad, options)
    n_detected = np.array([len(found) for found in catalogs])
    area = float(np.sum(~bad) / 1e6)
    if truth is None:
        matched, n_truth = np.full(n_detected.shape, -1), -1
    else:
        truth = _on_good_pixels(truth, bad)
        matches = [match_sources(found, truth, radius, method=matching) for found in catalogs]
        matched, n_truth = np.array([match.tp for match in matches]), len(truth)
        n_detected -= [_count_ignored(found, match, ignore, radius) for found, match in zip(catalogs, matches)]
    if blank is None:
        n_false, false_area = n_detected - matched, area
    else:
        n_false, false_area = _count_blank(blank, thresholds, options)
    meta = {'area': area, 'false_area': false_area, 'false_from': 'truth' if blank is None else 'blank',
            'radius': float(radius), 'matching': matching, 'method': method, 'confidence': confidence}
    return _sweep_table(thresholds, n_detected, matched, n_false, n_truth, meta)


def _count_ignored(found, match, ignore, radius):
    """Count detections that match no source, but are near one that is to be ignored."""
    ignore = position_array('ignore', ignore)
    if not len(ignore):
        return 0
    rest = np.delete(position_array('detected', found), match.detected, axis=0)
    return int(np.sum(cKDTree(ignore).query(rest, distance_upper_bound=radius)[0] <= radius)) if len(rest) else 0


def _count_blank(blank, thresholds, options):
    """False detections on blank maps, and the area of these."""
    blanks = blank if isinstance(blank, (list, tuple)) else [blank]
    if not blanks:
        raise ValueError('blank must hold at least one map, got none')
    n_false, area = np.zeros(thresholds.size, dtype=int), 0.0
    for one in blanks:
        data, bad = frame_arrays(one, name='blank')
        n_false += [len(found) for found in _catalogs(data, thresholds, bad, options)]
        area += float(np.sum(~bad) / 1e6)
    return n_false, area


def _sweep_table(thresholds, n_detected, matched, n_false, n_truth, meta):
    """Compute rates from counts; ``matched`` and ``n_truth`` are -1 where there is no truth."""
    confidence, scale = meta['confidence'], meta['area'] / meta['false_area']
    blank, known = meta['false_from'] == 'blank', n_truth >= 0
    fp = n_false * scale if blank else n_false.astype(float)
    tp = matched.astype(float) if known else np.maximum(n_detected - fp, 0)
    rate, rate_low, rate_high = poisson_rate(n_false, meta['false_area'], confidence)
    fn = n_truth - tp if known else np.full(tp.shape, np.nan)
    precision, recall, f1 = detection_scores(tp, fp, fn if n_truth else np.nan)
    if not blank:
        low, high = wilson_interval(matched, n_detected, confidence)
    else:
        many, few = (limit.value * meta['area'] for limit in (rate_high, rate_low))
        with np.errstate(divide='ignore', invalid='ignore'):
            low, high = (tp / (tp + false) if known else 1 - np.minimum(false / n_detected, 1)
                         for false in (many, few))
    recall_low, recall_high = wilson_interval(matched, np.full(tp.shape, max(n_truth, 0)), confidence)
    return Table({
        'threshold': thresholds, 'n_detected': n_detected, 'tp': tp, 'fp': fp,
        'fn': fn, 'n_truth': np.full(tp.shape, n_truth), 'n_false': n_false,
        'precision': precision, 'precision_low': low, 'precision_high': high,
        'recall': recall, 'recall_low': recall_low, 'recall_high': recall_high, 'f1': f1,
        'false_per_megapixel': rate, 'false_per_megapixel_low': rate_low,
        'false_per_megapixel_high': rate_high}, meta=meta)


def combine_sweeps(sweeps):
    """
    Sum the sweeps of several frames.

    Parameters
    ----------
    sweeps : list of `~astropy.table.Table`
        From `sweep_thresholds`, with the same thresholds.

    Returns
    -------
    `~astropy.table.Table`
        Counts are summed, rates and intervals follow from the sums.

    Raises
    ------
    ValueError
        If there is no sweep, or they were made in different ways.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.validation import combine_sweeps, sweep_thresholds
    >>> sweep = sweep_thresholds(np.eye(9) * 5, [3], truth=[[4, 4]])
    >>> combine_sweeps([sweep, sweep])['n_truth'].tolist()
    [2]
    """
    sweeps = list(sweeps)
    if not sweeps:
        raise ValueError('sweeps must hold at least one table, got none')
    first = sweeps[0]
    for other in sweeps[1:]:
        if not np.array_equal(other['threshold'], first['threshold']):
            raise ValueError(f'sweeps must have the same thresholds, got {first["threshold"].tolist()} and '
                             f'{other["threshold"].tolist()}')
        for name in ('false_from', 'method', 'confidence'):
            if other.meta[name] != first.meta[name]:
                raise ValueError(f'sweeps must agree in {name}, got {first.meta[name]!r} and {other.meta[name]!r}')
        if (other['n_truth'][0] < 0) != (first['n_truth'][0] < 0):
            raise ValueError('sweeps must all have a truth or none, got both kinds')
    total = {name: np.sum([np.asarray(sweep[name]) for sweep in sweeps], axis=0)
             for name in ('n_detected', 'tp', 'n_false', 'n_truth')}
    meta = {**first.meta, **{name: sum(sweep.meta[name] for sweep in sweeps) for name in ('area', 'false_area')}}
    n_truth = int(total['n_truth'][0]) if first['n_truth'][0] >= 0 else -1
    return _sweep_table(np.asarray(first['threshold']), total['n_detected'], total['tp'].astype(int), total['n_false'],
                        n_truth, meta)
