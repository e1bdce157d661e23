# Licensed under a 3-clause BSD style license - see LICENSE
"""
Whether the stated uncertainty of a result is right.
"""

__all__ = ['judge_uncertainty', 'judge_uncertainty_by_halves']


def judge_uncertainty(result, truth, *, uncertainty=None, truth_std=None, sigma=None, brightness=None, bins=None,
                      mask=None, confidence=0.6827, n_resamples=1000, seed=None):
    """
    Table, a row per brightness bin and first one of all: brightness_low, brightness_high (sigma of the sky), n, and
    with _low, _high: mean_pull, rms_pull, scatter_pull (robust), coverage68, coverage95.

    ``truth_std``: noise of a reference used as truth, added in quadrature.
    """
    raise NotImplementedError


def judge_uncertainty_by_halves(result, first, second, *, uncertainty=None, sigma=None, brightness=None, bins=None,
                                mask=None, confidence=0.6827, n_resamples=1000, seed=None):
    """Table as above with rms_pull = sqrt(mean((result - first)(result - second) / stated variance)) (+ _low, _high):
    no coverage, but no need to know the noise of the references."""
    raise NotImplementedError
