# Licensed under a 3-clause BSD style license - see LICENSE
"""
The error of a network that was trained on a single frame.

The spread of such a network follows the innovations of this frame rather than its errors. The frame is therefore
observed again (parametric bootstrap: Efron 1979, Ann. Statist. 7, 1): the result serves as the truth, new noise is
drawn, and the network predicts this new frame, with known errors.
"""

import logging
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from ..exceptions import CannotDenoiseError
from ..noise import noise_autocorrelation
from ..utils.sampling import brightness_bins, middle_cutout, row_blocks

__all__ = ['BOOTSTRAP_SIZE', 'SpreadCorrection', 'bootstrap_spread', 'correlated_normal']

log = logging.getLogger(__name__)

#: Height and width in pixels of the part of an image that is observed again.
BOOTSTRAP_SIZE = 768
_ROWS = 64   # rows that are processed at a time, to limit memory in double precision
# Smallest value of a parameter: smaller ones do not matter, and the logarithm stays finite.
_LEAST = np.exp(-8.0)


@dataclass(frozen=True, eq=False)
class SpreadCorrection:
    """
    Variance of the blind prediction from its stated spread, by brightness.

    It is ``slope * spread**2 + least * noise_variance``: where a network cannot distinguish pixels, all have the
    least variance.

    Parameters
    ----------
    mean : `~numpy.ndarray`
        Blind means at which the parameters are known, increasing.
    slope, least : `~numpy.ndarray`
        The parameters at these means.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.inference.bootstrap import SpreadCorrection
    >>> rng, ones = np.random.default_rng(0), np.ones(10000)
    >>> correction = SpreadCorrection.fit(0.2 * rng.normal(size=10000), rng.normal(size=10000), 0.5 * ones, ones)
    >>> bool(abs(correction.apply(np.zeros(1), 0.5 * ones[:1], ones[:1])[0] - 0.2) < 0.03)
    True
    """

    mean: np.ndarray
    slope: np.ndarray
    least: np.ndarray

    @classmethod
    def fit(cls, error, mean, spread, noise_variance):
        """
        Find the parameters of maximum likelihood.

        Parameters
        ----------
        error : `~numpy.ndarray`
            Known errors of the blind mean, shape (n,).
        mean, spread, noise_variance : `~numpy.ndarray`
            Blind mean, blind spread and the variance of the noise at the blind mean, in units of the
            sky noise; of the same shape.

        Returns
        -------
        SpreadCorrection or None
            None if the pixels are too few.
        """
        rows = []
        for middle, part, weight in brightness_bins(mean):
            square, prior = error[part] ** 2 / noise_variance[part], spread[part] ** 2 / noise_variance[part]
            rows.append((middle, *_most_likely(square, prior, weight / weight.sum())))
        return cls(*np.transpose(rows)) if rows else None

    def apply(self, mean, spread, noise_variance):
        """
        Correct a spread.

        Parameters
        ----------
        mean, spread, noise_variance : `~numpy.ndarray`
            As in `fit`, of any one shape.

        Returns
        -------
        `~numpy.ndarray`
            The corrected spread, of that shape.
        """
        position, nodes = np.arcsinh(mean), np.arcsinh(self.mean)
        # Both span decades, from the sky to the stars.
        slope, least = (np.exp(np.interp(position, nodes, np.log(values))) for values in (self.slope, self.least))
        return np.sqrt(slope * spread ** 2 + least * noise_variance)


def _most_likely(square, prior, weight):
    """Find the slope and the least variance of maximum likelihood for Gaussian errors of these squares."""
    typical = max(weight @ square, _LEAST)

    def surprise(logarithms):
        slope, least = np.exp(logarithms)
        variance = slope * prior + least * typical
        gain = (1 - square / variance) / variance
        return (weight @ (np.log(variance) + square / variance),
                np.array([slope * (weight @ (gain * prior)), least * typical * (weight @ gain)]))

    best = minimize(surprise, [-0.7, -0.7], jac=True, method='L-BFGS-B', bounds=[(np.log(_LEAST), 3)] * 2)
    slope, least = np.exp(best.x)
    return slope, least * typical


def correlated_normal(correlation, shape, rng):
    """
    Draw Gaussian noise of variance 1 that is correlated between neighbours.

    Parameters
    ----------
    correlation : `~numpy.ndarray`
        From `~astropy_n2v.noise_autocorrelation`: an odd number of lags along each axis, 1 in the middle.
    shape : tuple of int
        Height and width.
    rng : `~numpy.random.Generator`
        Source of randomness.

    Returns
    -------
    `~numpy.ndarray`
        Shape ``shape``.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.inference.bootstrap import correlated_normal
    >>> noise = correlated_normal(np.array([[0, 0, 0], [0.5, 1, 0.5], [0, 0, 0]]), (64, 64), np.random.default_rng(0))
    >>> bool(np.mean(noise[:, 1:] * noise[:, :-1]) > 0.4)
    True
    """
    reach = len(correlation) // 2
    # A border for the lags, so that the noise of opposite edges is not correlated.
    size = [n + 2 * reach for n in shape]
    lags = np.zeros(size)
    offsets = np.arange(-reach, reach + 1)
    np.add.at(lags, np.ix_(offsets % size[0], offsets % size[1]), correlation)
    # The measured values need not be an exact autocorrelation.
    power = np.fft.fft2(lags).real.clip(min=0)
    noise = np.fft.ifft2(np.sqrt(power / power.mean()) * np.fft.fft2(rng.normal(size=size))).real
    return noise[:shape[0], :shape[1]]


def bootstrap_spread(image, mean, spread, hole, predict):
    """
    Correct the spread of a network that was trained on this image alone.

    Parameters
    ----------
    image : NormalizedImage
        The image.
    mean, spread : `~numpy.ndarray`
        Its blind mean and spread, in units of the sky noise.
    hole : tuple of int
        Hole of the network: if above 1, the noise is drawn with its measured autocorrelation.
    predict : callable
        Function of a NormalizedImage that returns its blind mean and spread.

    Returns
    -------
    `~numpy.ndarray`
        The corrected spread; the original one if there are too few pixels.

    Notes
    -----
    The first result serves as the truth, is observed again, and predicted. It is rougher than the truth, since it
    contains some noise. The result with the corrected spread is smoother, since it lacks sources that are too faint
    to be detected. It is therefore observed, too, and both are used together.
    """
    from .posterior import posterior  # needs torch
    cutout = middle_cutout(image.valid, BOOTSTRAP_SIZE)
    part, part_mean, part_spread = image.part(*cutout), mean[cutout], spread[cutout]
    rng = np.random.default_rng(0)
    correlation = _correlation(image, max(hole) // 2) if max(hole) > 1 else None
    samples, corrected = [], part_spread
    for _ in range(2):
        result = posterior(part, part_mean, corrected)
        truth = part.observed(result['mean'].astype(float))
        if correlation is None:
            data = part.noise.sample(truth.data, rng)
        else:
            data = truth.data + (np.sqrt(part.noise.variance(truth.data))
                                 * correlated_normal(correlation, part.shape, rng))
        blind, stated = predict(part.observed(data))
        # Exclude outliers.
        counts = part.valid & (result['outlier'] < 0.5)
        samples.append([values[counts].astype(float) for values in (
            blind - part.scaling.forward(truth.data), blind, stated, part.noise_variance(blind))])
        correction = SpreadCorrection.fit(*(np.concatenate(values) for values in zip(*samples)))
        if correction is None:
            return spread
        corrected = correction.apply(part_mean, part_spread, part.noise_variance(part_mean))
    spread = spread.copy()
    for rows in row_blocks(len(mean), _ROWS):
        variance = image.part(rows, slice(0, image.shape[1])).noise_variance(mean[rows])
        spread[rows] = correction.apply(mean[rows], spread[rows], variance)
    return spread


def _correlation(image, max_lag):
    """Measure the autocorrelation of the noise of an image; None where this fails."""
    try:
        return noise_autocorrelation(image.data, ~image.valid, max_lag=max_lag)
    except CannotDenoiseError:
        log.info('the noise is taken to be white, as its autocorrelation cannot be measured')
