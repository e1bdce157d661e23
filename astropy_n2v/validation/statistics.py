# Licensed under a 3-clause BSD style license - see LICENSE
"""
Estimates with intervals: bootstrap, binomial, robust scatter, pulls.
"""

__all__ = ['Estimate', 'binomial_interval', 'bootstrap_interval', 'robust_scatter', 'summarize_pulls']

from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """
    A measured value with its interval: value, low, high, n, confidence (0.6827: "one sigma").

    Properties: ``error`` (half width, scaled to one sigma). Methods: ``significance(expected=0.0)`` -> float,
    (value - expected) over the one-sigma error on that side; ``differs(expected=0.0, *, tolerance=0.0,
    n_sigma=3.0)`` -> bool.
    """

    value: float
    low: float
    high: float
    n: int
    confidence: float = 0.6827


def bootstrap_interval(values, statistic='median', *, groups=None, weights=None, confidence=0.6827, n_resamples=1000,
                       seed=None):
    """Estimate of 'mean', 'median', 'rms', 'scatter' (robust) or a callable; ``values`` (n,) or a tuple of paired
    (n,) arrays for callables; ``groups`` (n,) labels that are resampled together (blocks of correlated pixels)."""
    raise NotImplementedError


def binomial_interval(successes, trials, *, confidence=0.6827, method='jeffreys'):
    """(fraction, low, high) arrays; astropy.stats.binom_conf_interval; NaN, 0, 1 where there were no trials."""
    raise NotImplementedError


def robust_scatter(values, axis=None):
    """1.4826 times the median absolute deviation, NaN ignored."""
    raise NotImplementedError


def summarize_pulls(pulls, *, groups=None, confidence=0.6827, n_resamples=1000, seed=None):
    """dict of Estimate: mean, median, scatter (robust), rms, coverage68, coverage95."""
    raise NotImplementedError
