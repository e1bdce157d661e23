# Licensed under a 3-clause BSD style license - see LICENSE
"""
Checks of neighbouring pixels on the sky: correlation of the removed noise, and error of the blind prediction.
"""

import numpy as np

from .findings import judge

__all__ = ['check_sky', 'check_whiteness']

# Distances (dy, dx) in pixels between the neighbours whose covariance is measured.
_LAGS = (0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0)
# Largest standard deviation of the blind prediction on source-free sky, in units of the noise.
_FORESEEN = 0.5
_MIN_PAIRS = 400
# Weights of the lags in the covariance of light: a Gaussian of 1.5 pixels.
_WEIGHTS = np.exp(-np.array([dy ** 2 + dx ** 2 for dy, dx in _LAGS]) / (2 * 1.5 ** 2))
# Largest measurement error in units of the stated variance of the prediction; otherwise the check is not made.
_VISIBLE = 4.0


class _Sky:
    """Source-free sky, in units of the noise, relative to its mean."""

    def __init__(self, sample):
        self.noise = np.maximum(sample.noise, np.finfo('f4').tiny)
        self.where = sample.used & (np.abs(sample.signal) < self.noise) & (sample.spread < _FORESEEN * self.noise)
        self.n = max(np.count_nonzero(self.where), 1)
        weights = self.where.astype(np.float32)
        # Each cut-out has its own level.
        self.n_own = np.maximum(self.where.sum(axis=(1, 2), keepdims=True), 1)
        self.pairs = np.array([np.sum(np.multiply(*_shifted(weights, *lag)), dtype=float) for lag in _LAGS])

    def centred(self, values):
        """Subtract the mean over the sky; 0 elsewhere."""
        values = np.where(self.where, values, 0)
        return np.where(self.where, values - values.sum(axis=(1, 2), keepdims=True) / self.n_own, 0)

    def mean(self, values):
        """Average values over the sky that are 0 elsewhere."""
        return np.sum(values, dtype=float) / self.n

    def covariances(self, values):
        """Compute the covariance of pixels at each of the lags."""
        sums = [np.sum(np.multiply(*_shifted(values, *lag)), dtype=float) for lag in _LAGS]
        return np.array(sums) / np.maximum(self.pairs, 1)


def _shifted(values, dy, dx):
    """Return the pixels of all pairs at a lag, the first and the second of each."""
    ny, nx = values.shape[1:]
    first = values[:, :ny - dy, max(0, -dx):nx - max(0, dx)]
    return first, values[:, dy:, max(0, dx):nx - max(0, -dx)]


def check_whiteness(sample, white, correlation):
    """
    Check that the removed signal on source-free sky has the correlation of the noise.

    Parameters
    ----------
    sample : Sample
        Cut-outs.
    white : bool
        True if the noise is taken to be white.
    correlation : `~numpy.ndarray` or None
        Its measured autocorrelation.

    Returns
    -------
    list of Finding
        A check for each lag.
    """
    sky = _Sky(sample)
    values = sky.centred(sample.removed / sky.noise)
    variance = sky.mean(values ** 2)
    found = []
    for (dy, dx), value, pairs in zip(_LAGS, sky.covariances(values), sky.pairs):
        expected = 0.0 if white else np.nan
        if correlation is not None:
            centre = correlation.shape[0] // 2, correlation.shape[1] // 2
            inside = dy <= centre[0] and abs(dx) <= centre[1]
            expected = float(correlation[centre[0] + dy, centre[1] + dx]) if inside else 0.0
        significance = np.nan
        if pairs >= _MIN_PAIRS and variance > 0 and np.isfinite(expected):
            value /= variance
            # The residual of an average over m pixels of white noise has correlations of -1 / m.
            significance = max((value - expected) * np.sqrt(pairs), 0.0)
        found.append(judge(f'correlation ({dy}, {dx})', value, expected, significance,
                           message=f'on the sky, what was removed has a correlation of {value:+.2f} between pixels '
                                   f'{dy}, {dx} apart, where the noise has {expected:+.2f}: the noise is '
                                   'correlated, or structure was removed'))
    return found


def check_sky(sample, white):
    """
    Check the error of the blind prediction on source-free sky, which innovations do not show.

    Let y be the data, whose noise is white, :math:`\\mu` the blind mean, which does not depend on the noise of its
    pixel, and x the truth. The mean square error of :math:`\\mu` is the mean of :math:`\\mu^2 - 2 \\mu y + x^2`. The
    mean of :math:`x^2` is at least the covariance of y between neighbours, since these have light in common, but not
    noise.

    Parameters
    ----------
    sample : Sample
        Cut-outs.
    white : bool
        True if the noise is taken to be white.

    Returns
    -------
    Finding
        The error over the stated one; 'not checked' if there is too little sky, or the noise is too large.
    """
    sky = _Sky(sample)
    name = 'sky uncertainty'
    pairs = np.sum(_WEIGHTS * sky.pairs)
    if not white or sky.pairs.min() < _MIN_PAIRS:
        return judge(name, np.nan, 1, np.nan)
    mean = sky.centred(sample.signal / sky.noise)
    data = sky.centred((sample.signal + sample.z * np.hypot(sample.noise, sample.spread)) / sky.noise)
    stated = sky.mean(np.where(sky.where, sample.spread / sky.noise, 0) ** 2)
    own, common, scatter = sky.mean(mean ** 2), sky.mean(mean * data), sky.mean(data ** 2)
    light = np.sum(_WEIGHTS * sky.pairs * sky.covariances(data)) / pairs
    error = scatter * np.sqrt(np.sum(_WEIGHTS ** 2 * sky.pairs)) / pairs
    # At least the variance that the prediction explains.
    least = common ** 2 / max(own, np.finfo(float).tiny)
    error = np.sqrt(4 * own / sky.n + (error ** 2 if light > least else 0))
    actual = own - 2 * common + max(light, least)
    if not stated > 0 or error > _VISIBLE * stated:
        return judge(name, np.nan, 1, np.nan)
    value = np.sqrt(max(actual, 0) / stated)
    return judge(name, value, 1, max((actual - stated) / error, 0),
                 message=f'on the sky, errors of the prediction are {value:.1f} times as large as it states: the '
                         'uncertainty is too small there')
