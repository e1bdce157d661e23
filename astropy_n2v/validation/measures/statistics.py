# Licensed under a 3-clause BSD style license - see LICENSE
"""
Estimates with intervals: bootstrap, binomial, robust scatter, pulls.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from astropy.stats import binom_conf_interval
from scipy.stats import norm, t

from ...utils.checks import require
from ...utils.robust import MEDIAN_ABSOLUTE, robust_scatter

__all__ = ['Estimate', 'binomial_interval', 'bootstrap_interval', 'robust_scatter']

_CHUNK = 4_000_000         # resampled values held at a time
_MAX_GROUPS = 1000         # that are resampled one by one
_NODES = 2000              # of the histogram that stands for a distribution of grouped values


@dataclass(frozen=True)
class Estimate:
    """
    A measured value and its interval.

    Parameters
    ----------
    value : float
        The value.
    low, high : float
        Ends of the interval.
    n : int
        Number of values that it rests on.
    confidence : float, optional
        Confidence of the interval; the default corresponds to one sigma.
    error : float, optional
        Standard error; by default half the width of the interval, as for one sigma.

    Examples
    --------
    >>> from astropy_n2v.validation import Estimate
    >>> estimate = Estimate(1.0, 0.9, 1.1, 50)
    >>> round(estimate.significance(0.7), 1)
    3.0
    >>> estimate.differs(0.7, tolerance=0.1)
    False
    """

    value: float
    low: float
    high: float
    n: int
    confidence: float = 0.6827
    error: float = None

    def __post_init__(self):
        if self.error is None:
            sigmas = float(norm.ppf(0.5 + self.confidence / 2))
            object.__setattr__(self, 'error', (self.high - self.low) / 2 / sigmas)

    def significance(self, expected=0.0):
        """
        Compute the number of standard errors between the value and the expected one (negative: below).

        Parameters
        ----------
        expected : float, optional
            The expected value.

        Returns
        -------
        float
            NaN where the error is not known. The end of an interval of one sigma is no measure of what three
            are: the median of few values jumps from one to the next.
        """
        difference = self.value - expected
        if difference == 0:
            return 0.0
        return difference / self.error if self.error else math.copysign(math.inf, difference)

    def columns(self, name):
        """
        Write the estimate as columns of a row.

        Parameters
        ----------
        name : str
            Name of the column of the value.

        Returns
        -------
        dict
            Value, standard error and ends of the interval: ``name``, ``name_err``, ``name_low``, ``name_high``.
        """
        return {name: self.value, f'{name}_err': self.error, f'{name}_low': self.low, f'{name}_high': self.high}

    def differs(self, expected=0.0, *, tolerance=0.0, n_sigma=3.0):
        """
        Compare the value with the expected one: true if they differ significantly, by more than a tolerance.

        Parameters
        ----------
        expected : float, optional
            The expected value.
        tolerance : float, optional
            Differences up to this are no matter.
        n_sigma : float, optional
            Standard deviations that count as significant.

        Returns
        -------
        bool
            True if the value is ``n_sigma`` beyond ``expected`` plus or minus ``tolerance``.
        """
        difference = self.value - expected
        if abs(difference) <= tolerance:
            return False
        return bool(abs(self.significance(expected + math.copysign(tolerance, difference))) > n_sigma)


_STATISTICS = {
    'mean': lambda values, axis=-1: np.mean(values, axis=axis),
    'median': lambda values, axis=-1: np.median(values, axis=axis),
    'rms': lambda values, axis=-1: np.sqrt(np.mean(values ** 2, axis=axis)),
    'scatter': lambda values, axis=-1: robust_scatter(values, axis=axis),
}


def bootstrap_interval(values, statistic='median', *, groups=None, confidence=0.6827, n_resamples=1000, seed=None):
    """
    Estimate a statistic with its interval by resampling.

    Parameters
    ----------
    values : array_like or tuple of array_like
        Shape (n,); several for a statistic of pairs. Entries that are not finite are left out.
    statistic : {'mean', 'median', 'rms', 'scatter'} or callable, optional
        'scatter' is `robust_scatter`. A callable takes the arrays, with further dimensions in front,
        and ``axis=-1``.
    groups : array_like, optional
        Labels, shape (n,). Values of a group are resampled together, as the errors of
        neighbouring pixels ask for; only for the named statistics and 'ratio', the ratio of the
        means of two arrays.
    confidence : float, optional
        Confidence of the interval, in (0, 1); the default corresponds to one sigma.
    n_resamples : int, optional
        Number of resamples.
    seed : int or `~numpy.random.Generator`, optional
        Of the resampling.

    Returns
    -------
    Estimate
        NaN without a finite value; the ends are NaN if only one value or group is left.

    Raises
    ------
    ValueError
        If an argument is out of its range, or shapes do not agree.

    Notes
    -----
    The expanded percentile interval of Hesterberg 2015 (The American Statistician 69, 371): the
    percentiles of the resampled statistic, widened as Student's t widens a normal interval. The standard
    error is the standard deviation of the resampled statistic, widened in the same way.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.validation import bootstrap_interval
    >>> values = np.random.default_rng(0).normal(5, 1, 400)
    >>> mean = bootstrap_interval(values, 'mean', seed=1)
    >>> bool(mean.low < 5.1 and mean.high > 4.9 and 0.04 < mean.error < 0.06)
    True
    """
    return Bootstrap(confidence, n_resamples, seed).interval(values, statistic, groups=groups)


@dataclass(frozen=True)
class Bootstrap:
    """
    Settings of the resampling that intervals of estimates come from.

    Parameters
    ----------
    confidence : float, optional
        Confidence of the intervals, in (0, 1); the default corresponds to one sigma.
    n_resamples : int, optional
        Number of resamples, at least 100.
    seed : int or `~numpy.random.Generator`, optional
        Of the resampling. Every table that is made with an integer begins anew.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> from astropy_n2v.validation.measures.statistics import Bootstrap
    >>> Bootstrap(confidence=0.95, seed=1).interval([1, 2, 3, 4], 'mean').value
    2.5
    """

    confidence: float = 0.6827
    n_resamples: int = 1000
    seed: object = None

    def __post_init__(self):
        require(0 < self.confidence < 1, 'confidence', 'be between 0 and 1', self.confidence)
        require(self.n_resamples >= 100, 'n_resamples', 'be at least 100', self.n_resamples)

    def started(self):
        """Return a copy whose successive intervals draw from one stream of random numbers."""
        return replace(self, seed=np.random.default_rng(self.seed))

    def interval(self, values, statistic='median', *, groups=None):
        """Estimate a statistic with its interval; see `bootstrap_interval` for the parameters."""
        require(callable(statistic) or statistic in (*_STATISTICS, 'ratio'), 'statistic',
                f'be callable or one of {", ".join(map(repr, _STATISTICS))} or "ratio"', statistic)
        values = values if isinstance(values, tuple) else (values,)
        arrays = [np.asarray(part, dtype=float).ravel() for part in values]
        if len({part.size for part in arrays}) != 1:
            raise ValueError(f'values must be arrays of one length, got {[part.size for part in arrays]}')
        good = np.logical_and.reduce([np.isfinite(part) for part in arrays])
        arrays = [part[good] for part in arrays]
        n = arrays[0].size
        if groups is not None:
            groups = np.asarray(groups).ravel()
            require(groups.size == good.size, 'groups', f'have the length of values, {good.size}', groups.size)
            if callable(statistic):
                raise ValueError('groups work with the named statistics only, got a callable')
        if n == 0:
            return Estimate(np.nan, np.nan, np.nan, 0, self.confidence)
        rng = np.random.default_rng(self.seed)
        if groups is not None:
            labels, n_free = fold_labels(groups[good])
            value, resampled = _resample_groups(statistic, arrays, labels, self._weights(n_free, rng))
            return self._estimate(value, resampled, n_free, n)
        function = statistic if callable(statistic) else _STATISTICS.get(statistic, _ratio)
        resampled = _resample(function, arrays, self.n_resamples, rng) if n > 1 else None
        return self._estimate(float(function(*arrays, axis=-1)), resampled, n, n)

    def ratio(self, top, bottom, labels, *, n, root=False):
        """
        Estimate the ratio of two totals, such as a mean, from their sums over groups.

        Parameters
        ----------
        top, bottom : array_like
            Sums over groups, shape (n_groups,): of squares and of numbers of values for a mean square, ...
        labels : array_like of int
            Groups of one label are resampled together.
        n : int
            Number of values that they are sums of.
        root : bool, optional
            Return the root of the ratio; NaN where that is negative.

        Returns
        -------
        Estimate
            NaN if ``bottom`` adds up to nothing.
        """
        top, bottom = (np.asarray(part, dtype=float) for part in (top, bottom))
        with np.errstate(divide='ignore', invalid='ignore'):
            value = float(top.sum() / bottom.sum()) if top.size else np.nan
            if not np.isfinite(value):
                return Estimate(np.nan, np.nan, np.nan, 0 if np.isnan(value) else n, self.confidence)
            labels, n_groups = fold_labels(np.asarray(labels))
            weights = self._weights(n_groups, np.random.default_rng(self.seed))
            top, bottom = (np.bincount(labels, part, n_groups) for part in (top, bottom))
            estimate = self._estimate(value, (weights @ top) / (weights @ bottom), n_groups, n)
            if not root:
                return estimate
            ends = np.sqrt([estimate.value, estimate.low, estimate.high])
            return Estimate(*map(float, ends), n, self.confidence, float(estimate.error / (2 * ends[0])))

    def _weights(self, n_groups, rng):
        """Draw how often each group is taken, a row for each resample."""
        return rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=self.n_resamples).astype(float)

    def _estimate(self, value, resampled, n_free, n):
        """Make an estimate of a value and its resamples from a number of independent items."""
        resampled = resampled[np.isfinite(resampled)] if n_free > 1 else np.empty(0)
        if resampled.size == 0:
            return Estimate(value, np.nan, np.nan, n, self.confidence)
        wider = np.sqrt(n_free / (n_free - 1))
        tail = norm.cdf(wider * t.ppf((1 - self.confidence) / 2, n_free - 1))
        low, high = np.quantile(resampled, [tail, 1 - tail])
        error = np.std(resampled) * wider * t.ppf(norm.cdf(1), n_free - 1)
        return Estimate(value, float(low), float(high), n, self.confidence, float(error))


def fold_labels(labels):
    """Give labels numbers from 0, and count these; of very many labels, some share a number."""
    if labels.dtype.kind in 'iu' and labels.size and 0 <= labels.min() and labels.max() < 4 * labels.size + 1000:
        # Without sorting: images have many pixels.
        labels = (np.cumsum(np.bincount(labels) > 0) - 1)[labels]
    else:
        _, labels = np.unique(labels, return_inverse=True)
    # An interval of so many groups is known to some per cent, and large images have many more.
    labels = labels % _MAX_GROUPS
    return labels, int(labels.max()) + 1 if labels.size else 0


def _ratio(first, second, axis=-1):
    """Compute the ratio of means."""
    with np.errstate(divide='ignore', invalid='ignore'):
        return np.mean(first, axis=axis) / np.mean(second, axis=axis)


def _resample(function, arrays, n_resamples, rng):
    """Compute a statistic of resampled values, in parts that fit into memory."""
    n, done, parts = arrays[0].size, 0, []
    while done < n_resamples:
        size = min(n_resamples - done, max(1, _CHUNK // n))
        index = rng.integers(0, n, (size, n))
        parts.append(function(*(part[index] for part in arrays), axis=-1))
        done += size
    return np.concatenate(parts)


def _resample_groups(statistic, arrays, labels, weights):
    """Compute a named statistic of values, and of their resampled groups."""
    n_groups = weights.shape[1]

    def mean(values):
        total = np.bincount(labels, values, n_groups)
        return weights @ total / (weights @ np.bincount(labels, minlength=n_groups))

    first = arrays[0]
    if statistic == 'ratio':
        with np.errstate(divide='ignore', invalid='ignore'):
            return float(_ratio(*arrays)), mean(first) / mean(arrays[1])
    value = float(_STATISTICS[statistic](first))
    if statistic == 'mean':
        return value, mean(first)
    if statistic == 'rms':
        return value, np.sqrt(mean(first ** 2))
    if statistic == 'median':
        return value, _grouped_medians(first, labels, weights)
    return value, _grouped_medians(np.abs(first - np.median(first)), labels, weights) / MEDIAN_ABSOLUTE


def _grouped_medians(values, labels, weights):
    """Compute medians of resampled groups, from histograms of the groups on the quantiles of all values."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, min(_NODES, values.size) + 1)))
    if edges.size == 1:
        return np.full(len(weights), edges[0])
    place = np.clip(np.searchsorted(edges, values, side='right') - 1, 0, edges.size - 2)
    counts = np.bincount(labels * (edges.size - 1) + place, minlength=weights.shape[1] * (edges.size - 1))
    cumulative = np.cumsum(weights @ counts.reshape(weights.shape[1], -1), axis=1)
    half = cumulative[:, -1:] / 2
    index = np.argmax(cumulative >= half, axis=1)
    row = np.arange(len(weights))
    below = np.where(index > 0, cumulative[row, index - 1], 0)
    part = (half[:, 0] - below) / np.maximum(cumulative[row, index] - below, 1e-300)
    return edges[index] + part * (edges[index + 1] - edges[index])


def binomial_interval(successes, trials, *, confidence=0.6827, method='jeffreys'):
    """
    Compute fractions with binomial intervals.

    Parameters
    ----------
    successes, trials : int or array_like of int
        Numbers of successes and of trials.
    confidence : float, optional
        Confidence of the interval, in (0, 1).
    method : {'jeffreys', 'wilson', 'flat', 'wald'}, optional
        As in `astropy.stats.binom_conf_interval`, which computes it. 'jeffreys' covers at the
        stated rate on average over fractions (Brown, Cai & DasGupta 2001, Statistical Science 16, 101).

    Returns
    -------
    fraction : float or `~numpy.ndarray`
        Successes over trials; NaN where there was no trial.
    low : float or `~numpy.ndarray`
        Lower end of the interval; 0 where there was no trial.
    high : float or `~numpy.ndarray`
        Upper end of the interval; 1 where there was no trial.

    Raises
    ------
    ValueError
        If there are more successes than trials, or negative numbers.

    Examples
    --------
    >>> from astropy_n2v.validation import binomial_interval
    >>> fraction, low, high = binomial_interval([0, 5, 0], [10, 10, 0])
    >>> fraction
    array([0. , 0.5, nan])
    >>> low.round(2), high.round(2)
    (array([0.  , 0.35, 0.  ]), array([0.09, 0.65, 1.  ]))
    """
    successes, trials = np.broadcast_arrays(np.asarray(successes), np.asarray(trials))
    require(0 < confidence < 1, 'confidence', 'be between 0 and 1', confidence)
    if (successes < 0).any() or (successes > trials).any():
        raise ValueError(f'successes must be between 0 and trials, got {successes.tolist()} of {trials.tolist()}')
    none = trials == 0
    low, high = binom_conf_interval(np.where(none, 0, successes), np.where(none, 1, trials), confidence, method)
    # The equal-tailed interval excludes 0 of n, which would be the best estimate.
    low = np.where(none | (successes == 0), 0.0, low)
    high = np.where(none | (successes == trials), 1.0, high)
    fraction = np.where(none, np.nan, successes / np.where(none, 1, trials))
    return fraction[()], low[()], high[()]
