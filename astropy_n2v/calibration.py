# Licensed under a 3-clause BSD style license - see LICENSE
"""
What the innovations of a frame say about its blind prediction and its noise.

A blind mean has not seen its own pixel, so that the difference of the two, over pixels that
are selected by their blind mean, must average to zero and scatter by what the blind spread
and the noise say. Where it does not, the prediction is corrected: this is a cross-validation
that costs nothing, on the very frame.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ['Calibration']

# Relative accuracy with which the variance of the noise is trusted to be known.
_VARIANCE_TOLERANCE = 0.02
_MIN_PER_BIN = 200


@dataclass(frozen=True, eq=False)
class Calibration:
    """
    Corrections of the blind mean and of the blind spread as functions of the blind mean.

    Parameters
    ----------
    mean : `~numpy.ndarray`
        Blind means at which the corrections are known, increasing.
    offset : `~numpy.ndarray`
        What to add to the blind mean, in units of the total spread of the innovation.
    factor : `~numpy.ndarray`
        What to multiply the variance of the blind spread by.
    innovation_rms : float
        Rms of the normalised innovations of the typical pixel, before any correction.
    """

    mean: np.ndarray
    offset: np.ndarray
    factor: np.ndarray
    innovation_rms: float

    @classmethod
    def neutral(cls):
        """The calibration that changes nothing."""
        return cls(np.zeros(1), np.zeros(1), np.ones(1), np.nan)

    @classmethod
    def fit(cls, difference, mean, spread, noise_variance, weight):
        """
        Learn the corrections from pixels that the prediction was not trained on.

        Parameters
        ----------
        difference : `~numpy.ndarray`
            Data minus blind mean, shape (n,).
        mean, spread : `~numpy.ndarray`
            Blind mean and spread.
        noise_variance : `~numpy.ndarray`
            Variance of the noise at the blind mean.
        weight : `~numpy.ndarray`
            Probability that the pixel is none of the outliers.

        Returns
        -------
        Calibration
            Corrections, each shrunk by its own uncertainty (James & Stein 1961), so that few
            pixels correct little.
        """
        n = mean.size
        if n < _MIN_PER_BIN:
            return cls.neutral()
        order = np.argsort(mean)
        # Twentieths, the brightest again and again in halves: bright pixels are few.
        tail = 0.05 * 0.5 ** np.arange(1, 30)
        edges = np.concatenate([np.arange(0, 0.96, 0.05), 1 - tail])
        edges = np.unique(np.append(edges[n * (1 - edges) >= _MIN_PER_BIN], 1.0))
        parts = [order[int(a * n):int(b * n)] for a, b in zip(edges[:-1], edges[1:])]
        parts = [part for part in parts if part.size >= _MIN_PER_BIN // 2 and weight[part].sum() > 20]
        # The mean of all pixels is kept as it is; that of some deviates from it only as far as is certain.
        common = np.average(difference / np.sqrt(spread ** 2 + noise_variance), weights=weight)
        rows = [cls._fit_bin(difference[i], spread[i] ** 2, noise_variance[i], weight[i], common) for i in parts]
        if not rows:
            return cls.neutral()
        offset, factor, rms = np.array(rows).T
        return cls(np.array([np.median(mean[i]) for i in parts]), offset, factor, float(np.median(rms)))

    @staticmethod
    def _fit_bin(difference, prior, noise, weight, common):
        total = np.sqrt(prior + noise)
        count = weight.sum()

        def average(values):
            return np.sum(weight * values) / count

        z = difference / total
        rms = np.sqrt(average(z ** 2))
        offset = common + _shrink(average(z) - common, rms / np.sqrt(count))
        squares = (difference - offset * total) ** 2
        low, high = np.log(0.02), np.log(50.0)
        for _ in range(30):
            middle = 0.5 * (low + high)
            if average(squares / (np.exp(middle) * prior + noise)) > 1:
                low = middle
            else:
                high = middle
        # What an error of the noise's variance, and the finite number of pixels, feign.
        share = average(prior / (prior + noise))
        scatter = np.sqrt(average((z ** 2 - rms ** 2) ** 2) / count)
        error = np.hypot(scatter, _VARIANCE_TOLERANCE * (1 - share)) / max(share, 1e-6)
        return offset, 1 + _shrink(np.exp(middle) - 1, error), rms

    def apply(self, mean, spread, noise_variance):
        """
        Correct a blind prediction.

        Parameters
        ----------
        mean, spread, noise_variance : `~numpy.ndarray`
            Blind mean, blind spread and the variance of the noise at the blind mean.

        Returns
        -------
        mean, spread : `~numpy.ndarray`
            The corrected ones.
        """
        total = np.sqrt(spread ** 2 + noise_variance)
        # The blind means of a frame reach over decades.
        position, nodes = np.arcsinh(mean), np.arcsinh(self.mean)
        corrected = mean + np.interp(position, nodes, self.offset) * total
        return corrected, spread * np.sqrt(np.interp(position, nodes, self.factor))


def _shrink(value, error):
    """Shrink a deviation by what its uncertainty alone would make of it."""
    if value == 0:
        return 0.0
    return value * max(0.0, 1 - (error / value) ** 2)
