# Licensed under a 3-clause BSD style license - see LICENSE
"""
Depth at equal false-detection rate.
"""

import numpy as np
from astropy import units as u
from astropy.table import Table

from ...utils.checks import require
from ...utils.warn import warn_user
from .completeness import _LOGIT90, check_fraction, logistic_fit
from .thresholds import PER_MEGAPIXEL

__all__ = ['compare_depth', 'threshold_at_false_rate', 'threshold_at_purity']

_CELL = 64   # pixels: false detections of one such cell are resampled together


def _scores(name, values):
    """Convert scores to an array of the finite ones."""
    values = np.asarray(values, dtype=float)
    require(values.ndim == 1, name, 'be one-dimensional', values.shape)
    return values[np.isfinite(values)]


def threshold_at_false_rate(false_scores, area, rate, *, floor=0.0):
    """
    Find the lowest threshold with at most a given rate of false detections.

    Parameters
    ----------
    false_scores : array_like
        Scores of false detections, shape (n,).
    area : float
        Where they were counted, in megapixels.
    rate : float
        False detections per megapixel that are allowed.
    floor : float, optional
        The lowest score that was looked for, the smallest threshold.

    Returns
    -------
    float
        Detections *above* it count.

    Raises
    ------
    ValueError
        If ``area`` or ``rate`` is not positive, or less than one detection would be allowed.

    Examples
    --------
    >>> from astropy_n2v.validation import threshold_at_false_rate
    >>> threshold_at_false_rate([3.0, 5.0, 4.0, 3.5], 0.1, 20.0)
    3.5
    """
    require(area > 0, 'area', 'be a positive number of megapixels', area)
    require(rate * area >= 1, 'rate',
            f'be at least {1 / area:.3g} per megapixel, one detection in the {area:.3g} megapixels searched', rate)
    scores = _scores('false_scores', false_scores)
    return _rate_threshold(np.sort(scores)[::-1], np.ones(scores.size), rate * area, floor)


def _rate_threshold(scores, weights, allowed, floor):
    """The first score, of falling ones, whose weights add up to more than is allowed."""
    over = np.flatnonzero(np.cumsum(weights) > allowed + 1e-9)
    return float(scores[over[0]]) if over.size else float(floor)


def threshold_at_purity(scores, false_scores, purity, *, area_ratio=1.0, floor=0.0):
    """
    Find the lowest threshold at which the detections have a given purity.

    Parameters
    ----------
    scores : array_like
        Scores of the sources that were there, shape (n,); NaN for those without a detection.
    false_scores : array_like
        Scores of false detections.
    purity : float
        True over all detections.
    area_ratio : float, optional
        The area where the sources were over that where the false detections were counted.
    floor : float, optional
        The lowest score that was looked for, the smallest threshold.

    Returns
    -------
    float
        Detections *above* it count; infinite if there are no sources.

    Raises
    ------
    ValueError
        If ``purity`` is not between 0 and 1, or ``area_ratio`` is not positive.

    Examples
    --------
    >>> from astropy_n2v.validation import threshold_at_purity
    >>> threshold_at_purity([6.0, 7.0, 8.0, 4.5], [3.0, 4.0, 5.0], 0.7)
    4.0
    """
    check_fraction('purity', purity)
    require(area_ratio > 0, 'area_ratio', 'be positive', area_ratio)
    scores, false_scores = _scores('scores', scores), _scores('false_scores', false_scores)
    return _purity_threshold(scores, np.ones(scores.size), np.sort(false_scores)[::-1], np.ones(false_scores.size),
                             purity, area_ratio, floor)


def _purity_threshold(scores, weights, false_scores, false_weights, purity, area_ratio, floor):
    """The lowest threshold of a purity, for weighted scores."""
    if scores.size == 0:
        return np.inf
    order = np.argsort(-scores)
    ranked, total = -scores[order], np.concatenate([[0.0], np.cumsum(weights[order])])
    # With the k-th false score as threshold the k before it are counted; then, all.
    candidates = np.append(false_scores, floor)
    false = np.concatenate([[0.0], np.cumsum(false_weights)]) * area_ratio
    true = total[np.searchsorted(ranked, -candidates, side='left')]
    good = np.flatnonzero((true > 0) & (true >= purity * (true + false)))
    return float(candidates[good[-1]]) if good.size else np.inf


class _Sample:
    """The scores of one map, in an order that is the same for all maps."""

    def __init__(self, recovery, image, cells):
        rows = recovery.injected[recovery.injected['image'] == image]
        rows.sort(['frame', 'id'])
        self.image, self.floor = image, recovery.injected.meta['floor'][image]
        self.mag, score = np.asarray(rows['mag'], dtype=float), np.asarray(rows['score'], dtype=float)
        self.score = np.where(np.isfinite(score), score, -np.inf)
        self.chance = np.asarray(rows['score_before'], dtype=float)
        select = np.asarray(recovery.false['image']) == image
        false = np.asarray(recovery.false['score'], dtype=float)[select]
        order = np.argsort(-false)
        self.false, self.cell = false[order], cells[select][order]

    def threshold(self, weights, cell_weights, allowed, purity, area_ratio):
        """Find the threshold of a rate or a purity, with sources and cells weighted."""
        false_weights = cell_weights[self.cell]
        if purity is None:
            return _rate_threshold(self.false, false_weights, allowed, self.floor)
        return _purity_threshold(self.score, weights, self.false, false_weights, purity, area_ratio, self.floor)

    def magnitudes(self, threshold, weights):
        """Fit the magnitudes of 50 and 90 % completeness at a threshold."""
        detected = self.score > threshold
        share = np.sum(weights * detected) / np.sum(weights)
        if not 0 < share < 1:
            return np.nan, np.nan
        m50, width, _ = logistic_fit(self.mag, detected, weights)
        return m50, m50 - _LOGIT90 * width


def _cells(false, area):
    """Number the cells in which false detections lie, and return how many cells there are."""
    keys = np.stack([np.asarray(false['frame'], dtype=int), *(np.asarray(false[name]).astype(int) // _CELL
                                                              for name in ('x', 'y'))], axis=1)
    if len(keys) == 0:
        return np.empty(0, dtype=int), 1
    _, cells = np.unique(keys, axis=0, return_inverse=True)
    return cells.ravel(), max(int(np.ceil(area * 1e6 / _CELL ** 2)), cells.max() + 1)


def compare_depth(recovery, *, false_rate=None, purity=None, reference='matched filter', n_bootstrap=200,
                  confidence=0.95, seed=None):
    """
    Compare how deep the maps go at equal false-detection rate.

    Parameters
    ----------
    recovery : Recovery
        From `inject_and_recover`.
    false_rate : float, optional
        False detections per megapixel, the same for all maps.
    purity : float, optional
        Instead: true over all detections, of the population that was injected, as densely as it
        was; by default 0.95.
    reference : str, optional
        The map that the gain is against.
    n_bootstrap : int, optional
        Number of samples for the intervals.
    confidence : float, optional
        Confidence level of the intervals.
    seed : int or `~numpy.random.Generator`, optional
        Seed of the samples.

    Returns
    -------
    `~astropy.table.Table`
        A row a map: ``image``, ``threshold``, ``false_per_megapixel`` and ``purity`` at it, ``n``,
        ``n_detected``, ``chance`` (the fraction of places at which something is found without the
        injection), ``m50`` and ``m90`` (50 and 90 % completeness), and ``gain``, m50 minus m50 of the
        reference; the last three with ``_low`` and ``_high``. Meta: ``reference``, ``false_rate``,
        ``purity``, ``confidence``, ``n_bootstrap``, ``blank``.

    Raises
    ------
    ValueError
        If both rate and purity are given, there are no false detections to go by, or the rate is
        out of the range that was searched.

    Warns
    -----
    `~astropy.utils.exceptions.AstropyUserWarning`
        If a map finds all sources or none: then m50 is NaN.

    Notes
    -----
    k sigma of each image's own noise are not comparable: denoising correlates the noise and
    shrinks it. Sources that are found at equal numbers of false detections are counted. The bootstrap
    is paired: each sample takes the same sources, and the same cells of 64 pixels of the blank
    frames, in all maps, so that the interval of the gain is narrower than the ones of m50, and holds
    the uncertainty of the thresholds, too.

    Examples
    --------
    >>> from astropy_n2v.simulate import make_scene
    >>> from astropy_n2v.validation import compare_depth, inject_and_recover
    >>> scene = make_scene('survey', (256, 256), seed=1)
    >>> recovery = inject_and_recover(scene.observe(seed=2), lambda ccd: ccd, scene.psf, n_realisations=3,
    ...                               n_sources=30, seed=3)
    >>> depth = compare_depth(recovery, false_rate=40, seed=4)
    >>> gain = dict(zip(depth['image'], depth['gain']))
    >>> bool(gain['matched filter'] == 0 and gain['raw'] < 0)
    True
    """
    if false_rate is not None and purity is not None:
        raise ValueError(f'false_rate or purity must be given, not both, got {false_rate} and {purity}')
    check_fraction('confidence', confidence)
    require(n_bootstrap >= 2, 'n_bootstrap', 'be at least 2', n_bootstrap)
    require(reference in recovery.images, 'reference', f'be one of {", ".join(map(repr, recovery.images))}', reference)
    area = recovery.false_area
    if not area > 0:
        raise ValueError("recovery must have false detections to compare at an equal rate, got one with blank=None")
    purity = 0.95 if false_rate is None and purity is None else purity
    if purity is not None:
        check_fraction('purity', purity)
    elif not false_rate * area >= 1:
        raise ValueError(f'false_rate must be at least {1 / area:.3g} per megapixel, one detection in the {area:.3g} '
                         f'megapixels of blank frames, got {false_rate}')
    cells, n_cells = _cells(recovery.false, area)
    samples = [_Sample(recovery, image, cells) for image in recovery.images]
    _check_range(samples, false_rate, area)
    rng, n = np.random.default_rng(seed), samples[0].mag.size
    options = (false_rate * area if purity is None else None, purity, recovery.area / area)
    best = _depths(samples, np.ones(n), np.ones(n_cells), options)
    # The same draws for all maps.
    draws = np.array([_depths(samples, rng.multinomial(n, np.full(n, 1 / n)),
                              rng.multinomial(n_cells, np.full(n_cells, 1 / n_cells)), options)[:, 1:]
                      for _ in range(n_bootstrap)])
    at = recovery.images.index(reference)
    meta = {'reference': reference, 'false_rate': false_rate, 'purity': purity, 'confidence': confidence,
            'n_bootstrap': n_bootstrap, 'blank': recovery.false.meta['blank']}
    return _depth_table(samples, best, draws, at, recovery, meta)


def _check_range(samples, false_rate, area):
    """Raise ValueError if lower scores than those searched would be needed."""
    for sample in samples:
        kept = sample.false.size / area
        if false_rate is not None and sample.floor > 1e-5 and kept < false_rate:
            raise ValueError(f'false_rate must be at most {kept:.4g} per megapixel, what was kept of the false '
                             f'detections (max_false_rate), got {false_rate}')


def _depths(samples, weights, cell_weights, options):
    """Threshold, m50 and m90 of each map for one set of weights."""
    rows = []
    for sample in samples:
        threshold = sample.threshold(weights, cell_weights, *options)
        rows.append((threshold, *sample.magnitudes(threshold, weights)))
    return np.array(rows)


def _depth_table(samples, best, draws, at, recovery, meta):
    """The table of `compare_depth`."""
    ends = 50 * (1 - meta['confidence']), 50 * (1 + meta['confidence'])
    rows = []
    for k, sample in enumerate(samples):
        threshold, m50, m90 = best[k]
        n_false, detected = np.sum(sample.false > threshold), sample.score > threshold
        rate = n_false / recovery.false_area
        found = detected.sum()
        if not np.isfinite(m50):
            warn_user(f'm50 of {sample.image!r} is not known: {found} of {detected.size} sources were found at '
                      f'{threshold:.3g}')
        row = [sample.image, threshold, rate, found / (found + rate * recovery.area) if found else np.nan,
               detected.size, found, np.mean(sample.chance > threshold)]
        for value, drawn in ((m50, draws[:, k, 0]), (m90, draws[:, k, 1]),
                             (m50 - best[at, 1], draws[:, k, 0] - draws[:, at, 0])):
            drawn = drawn[np.isfinite(drawn)]
            row += [value, *(np.percentile(drawn, ends) if drawn.size and np.isfinite(value) else (np.nan, np.nan))]
        rows.append(row)
    magnitudes = [f'{name}{end}' for name in ('m50', 'm90', 'gain') for end in ('', '_low', '_high')]
    table = Table(rows=rows, names=('image', 'threshold', 'false_per_megapixel', 'purity', 'n', 'n_detected',
                                    'chance', *magnitudes), meta=meta)
    table['false_per_megapixel'].unit = PER_MEGAPIXEL
    for name in magnitudes:
        table[name].unit = u.mag
    return table
