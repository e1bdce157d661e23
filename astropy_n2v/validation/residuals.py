# Licensed under a 3-clause BSD style license - see LICENSE
"""
What a denoiser took away: before minus after.
"""

__all__ = ['residual_correlation', 'residual_statistics', 'residual_whiteness']

BRIGHTNESS_BINS = (-float('inf'), 1, 3, 10, 30, 100, float('inf'))


def residual_statistics(before, after, *, noise=None, brightness=None, bins=BRIGHTNESS_BINS, mask=None,
                        confidence=0.6827, n_resamples=1000, seed=None):
    """
    Table, a row per brightness bin and first one of all: brightness_low, brightness_high (sigma of the sky), n, mean
    (in noise sigma), mean_low, mean_high, variance_ratio (mean square over noise variance), _low, _high,
    expected_ratio (1 - stated variance / noise variance, NaN without uncertainty).

    ``brightness``: image that says how bright a pixel is: truth, reference; default: after.
    """
    raise NotImplementedError


def residual_whiteness(before, after, *, noise=None, select=None, mask=None, max_lag=4):
    """Table as of `autocorrelation`."""
    raise NotImplementedError


def residual_correlation(before, after, *, brightness=None, noise=None, mask=None, confidence=0.6827,
                         n_resamples=1000, seed=None):
    """Table, a row per measure ('pearson', 'spearman', 'slope': share of the signal found in the residual): measure,
    value, low, high, n."""
    raise NotImplementedError
