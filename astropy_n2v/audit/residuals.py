# Licensed under a 3-clause BSD style license - see LICENSE
"""
Checks of the residuals: their variance, their independence of sources, and the remaining uncertainty.
"""

from dataclasses import dataclass

import numpy as np

from .findings import judge
from .limits import BRIGHTNESS_BINS

__all__ = ['Ratios', 'check_slopes', 'check_stated', 'check_variance', 'ratio', 'removed_share']

_MIN_PIXELS = 100   # least number of pixels for a ratio or a slope
_MIN_STATED = 10   # least number of pixels in a brightness bin for a check of the stated uncertainty
# Largest spread of the prediction in units of the noise; beyond it the data are returned, and no residual is left.
_LARGEST_SPREAD = 3.0
# Largest share of a single pixel in a slope.
_LARGEST_LEVERAGE = 0.02


@dataclass(frozen=True, eq=False)
class Ratios:
    """
    Checks of a variance by class, with the underlying numbers.

    Parameters
    ----------
    checks : list of Finding
        The checks.
    found, middle, ratio, share : `~numpy.ndarray`
        For each class that was checked: a flag for a finding, the blind mean above the background in data units, the
        variance over its expectation, and the share of the blind prediction in the expectation.
    """

    checks: list
    found: np.ndarray
    middle: np.ndarray
    ratio: np.ndarray
    share: np.ndarray


def ratio(observed, expected, chance):
    """
    Compare a sum of squares with its expectation.

    Parameters
    ----------
    observed, expected : `~numpy.ndarray`
        Squares, and their expectation, shape (n,).
    chance : `~numpy.ndarray`
        Relative variance of each square by chance, see `Sample.chance`.

    Returns
    -------
    ratio : float
        Ratio of the sums; NaN where pixels are too few.
    error : float
        Its standard error.
    """
    total = np.sum(expected, dtype=float)
    if observed.size < _MIN_PIXELS or not total > 0:
        return np.nan, np.nan
    value = np.sum(observed, dtype=float) / total
    # Twice the square is the variance of the square of a Gaussian; the excess is correlated between neighbours.
    scatter = np.sum((observed - value * expected) ** 2 * (chance / 2), dtype=float)
    # A few pixels may by chance contain no outlier.
    return value, np.sqrt(max(scatter, np.sum(chance * expected ** 2, dtype=float))) / total


def removed_share(std, noise, strength=1.0):
    """
    Compute the variance that denoising removes, as a share of the variance of the noise.

    For a posterior mean, the covariance of error and noise is v, the variance of the posterior (Tweedie's formula;
    Efron 2011, JASA 106, 1602). The mean square of the residual is therefore the variance of the noise minus v.

    Parameters
    ----------
    std, noise : array_like
        Stated standard deviation of the result, and of the noise of the data.
    strength : float, optional
        Strength of the result.

    Returns
    -------
    `~numpy.ndarray`
        Values from 0 to 1.

    Examples
    --------
    >>> from astropy_n2v.audit import removed_share
    >>> float(removed_share(3.0, 5.0))
    0.64
    """
    return strength / (2 - strength) * np.clip(1 - np.square(np.divide(std, noise)), 0, 1)


def check_variance(sample, strength):
    """
    Compare the variance of the residuals with its expectation, in bins of the blind mean.

    The expectation is the variance of the noise minus the stated variance of the result.

    Parameters
    ----------
    sample : Sample
        Cut-outs.
    strength : float
        Strength of the result.

    Returns
    -------
    Ratios
        A check for each bin.
    """
    select = sample.held_out & sample.counted & (sample.spread < _LARGEST_SPREAD * sample.noise)
    noise = sample.noise[select].astype(float)
    signal = sample.signal[select] / noise
    observed = (sample.removed[select] / noise) ** 2
    expected = removed_share(sample.std[select], noise, strength)
    share = sample.spread[select] ** 2 / (sample.spread[select] ** 2 + noise ** 2)
    chance = sample.chance()[select]
    checks, rows = [], []
    bins = np.searchsorted(BRIGHTNESS_BINS[1:-1], signal)
    for i in range(len(BRIGHTNESS_BINS) - 1):
        own = bins == i
        value, error = ratio(observed[own], expected[own], chance[own])
        rms = np.sqrt(value)
        where = _describe_bin(BRIGHTNESS_BINS[i], BRIGHTNESS_BINS[i + 1])
        name = f'removed variance ({where})'
        size = 'larger' if rms > 1 else 'smaller'
        checks.append(judge(name, rms, 1, (value - 1) / error,
                            message=f'what was removed where the signal is {where} is {rms:.2f} times as large as '
                                    f'noise and stated uncertainty allow: the noise is {size} than the noise model says'
                                    + (', or the gain is wrong. Give noise or gain' if i > 1 else '. Give noise')))
        if np.isfinite(value) and own.any():
            rows.append((bool(checks[-1].message), np.median(sample.signal[select][own]), value, np.mean(share[own])))
    columns = np.array(rows).reshape(-1, 4).T
    return Ratios(checks, *columns)


def _describe_bin(low, high):
    """A bin of brightness in words."""
    if np.isinf(low):
        return f'below {high:g} sigma'
    return f'above {low:g} sigma' if np.isinf(high) else f'{low:g} to {high:g} sigma'


def check_stated(sample, strength):
    """
    Check that the stated uncertainty follows from noise and blind prediction.

    Parameters
    ----------
    sample : Sample
        Cut-outs.
    strength : float
        Strength of the result.

    Returns
    -------
    Finding
        The stated uncertainty over the value from noise and blind prediction, in the brightness bin with the lowest
        ratio.
    """
    select = sample.used & (sample.noise > 0)
    noise, prior = sample.noise[select].astype(float) ** 2, sample.spread[select].astype(float) ** 2
    expected = (noise * prior + (1 - strength) ** 2 * noise ** 2) / np.maximum(noise + prior, np.finfo(float).tiny)
    bins = np.searchsorted(BRIGHTNESS_BINS[1:-1], sample.signal[select] / np.sqrt(noise))
    stated, expected, counts = (np.bincount(bins, values, minlength=len(BRIGHTNESS_BINS) - 1)
                                for values in (sample.std[select].astype(float) ** 2, expected, np.ones(bins.size)))
    enough = (counts >= _MIN_STATED) & (expected > 0)
    if not enough.any():
        return judge('stated uncertainty', np.nan, 1, np.nan)
    value = np.sqrt(np.min(stated[enough] / expected[enough]))
    return judge('stated uncertainty', value, 1, np.inf if value < 1 else 0.0,
                 message=f'the stated uncertainty is {value:.2f} times what noise and blind prediction give')


def check_slopes(sample):
    """
    Check that innovations are uncorrelated with the blind mean, and residuals with sources.

    The covariance with the *result* is the variance of the posterior, not zero.

    Parameters
    ----------
    sample : Sample
        Cut-outs.

    Returns
    -------
    list of Finding
        A check for each.
    """
    total = np.maximum(np.hypot(sample.noise, sample.spread), np.finfo('f4').tiny).astype(float)
    signal = sample.signal / total
    found = []
    for name, select in (('sky', sample.held_out & (np.abs(signal) < 2)), ('sources', sample.held_out & (signal > 5))):
        # An uncertain prediction has a small weight in the result, and so have its errors.
        weight = (sample.noise[select] / total[select]) ** 2
        value, significance = _slope(weight * sample.z[select], weight * signal[select])
        significance /= np.sqrt(sample.growth)
        found.append(judge(f'innovations and blind mean ({name})', value, 0, significance,
                           message=f'innovations go with the blind mean ({name}, slope {value:+.2f}): the blind '
                                   'prediction has structure that the data do not have, or lacks some'))
    select = sample.used & (signal > 5)
    value, significance = _slope(sample.removed[select] / total[select], signal[select], centred=False)
    significance /= np.sqrt(sample.growth)
    found.append(judge('removed flux (sources)', value, 0, significance,
                       message=f'{100 * value:.2g} % of the light of sources was removed'))
    return found


def _slope(values, signal, centred=True):
    """Fit the slope of values with the signal; return it with its significance."""
    if values.size < _MIN_PIXELS:
        return np.nan, np.nan
    if centred:
        signal = signal - signal.mean()
    squares = signal ** 2
    # A few pixels that are much brighter than the others must not dominate.
    squares = np.minimum(squares, _LARGEST_LEVERAGE * np.sum(squares))
    signal = np.sign(signal) * np.sqrt(squares)
    norm = np.sum(squares)
    if not norm > 0:
        return np.nan, np.nan
    slope = np.sum(values * signal) / norm
    residual = (values - slope * signal) / (1 - squares / norm)
    error = np.sqrt(np.sum((residual * signal) ** 2)) / norm
    return slope, slope / max(error, 1 / np.sqrt(norm), np.finfo(float).tiny)
