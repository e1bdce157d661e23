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

from ..noise.model import BROAD_WEIGHT
from ..utils.sampling import brightness_bins
from .blank_sky import blank_fraction

__all__ = ['Recalibration']

# Sky: where the spread adds less than this share to the noise. There its correction is bounded,
# since a small error of the noise feigns a large one of the spread.
_SKY_SHARE = 0.1
_MAX_SKY_FACTOR = 2.0
# By how much the factors of frames of all kinds scatter: what is measured is believed as far as it is known better.
_SKY_SCATTER = 0.2
# Where the pixels of the sky are too few to tell the factor this well, it stays as it is.
_MAX_SKY_ERROR = 0.3
# Innovations within this of unit rms do not contradict the noise; where the prediction has a share in their variance,
# so much more for it: on fields of nebulosity without gaps rms of 0.8 to 1.35 belong to noise that is right.
_NOISE_LIMIT, _PER_SHARE = 0.1, 0.5
# Relative error by which the variance of the noise may be larger than estimated, where it may be smaller by more.
_LARGEST_EXCESS = 0.03


@dataclass(frozen=True, eq=False)
class Recalibration:
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
    blank_sky : tuple of float, optional
        What to multiply it by instead on a sky without sources, and how far; see
        `~astropy_n2v.inference.blank_sky.variance_factor`.
    share : float, optional
        The share of the blind spread in the variance of the innovation of the typical pixel, before any correction.
    outlier_share : float, optional
        The share of the pixels brighter than foreseen whose value cannot be foreseen from their surroundings.
    """

    mean: np.ndarray
    offset: np.ndarray
    factor: np.ndarray
    innovation_rms: float
    blank_sky: tuple = (1.0, 0.0)
    share: float = 0.0
    outlier_share: float = BROAD_WEIGHT

    @property
    def contradicts_noise(self):
        """True if the innovations cannot have the rms that they have unless the noise is wrong."""
        return bool(abs(self.innovation_rms - 1) > _NOISE_LIMIT + _PER_SHARE * self.share)

    @classmethod
    def neutral(cls):
        """The recalibration that changes nothing."""
        return cls(np.zeros(1), np.zeros(1), np.ones(1), np.nan)

    @classmethod
    def fit(cls, difference, mean, spread, noise_variance, weight, *, held_out=None, relative_error=0.003):
        """
        Learn the corrections.

        Parameters
        ----------
        difference : `~numpy.ndarray`
            Data minus blind mean, shape (n,).
        mean, spread : `~numpy.ndarray`
            Blind mean and spread.
        noise_variance : `~numpy.ndarray`
            Variance of the noise that is expected of blind mean and spread.
        weight : `~numpy.ndarray`
            Probability that the pixel is none of the outliers.
        held_out : `~numpy.ndarray` of bool, optional
            Pixels that the prediction was not trained on; the spread is corrected by them alone.
            By default all.
        relative_error : float, optional
            How accurately the variance of the noise is known.

        Returns
        -------
        Recalibration
            Corrections, each shrunk by its own uncertainty (James & Stein 1961), that of the sky
            towards what it is on frames of all kinds, so that few pixels correct little.
        """
        bins = [(middle, part, counts) for middle, part, own in brightness_bins(mean)
                if (counts := weight[part] * own).sum() > 20]
        if not bins:
            return cls.neutral()
        held_out = np.ones(mean.size, dtype=bool) if held_out is None else held_out
        prior = spread ** 2
        values = difference, prior, noise_variance, weight
        # What all pixels have in common is known best; a part deviates only as far as is certain.
        # Offsets: the mean of all is kept as it is. Spreads: the sky, where little can be told, as one.
        common = np.average(difference / np.sqrt(prior + noise_variance), weights=weight)
        sky = held_out & (prior < _SKY_SHARE * noise_variance)
        factor = 1.0
        share = prior[sky] / (prior + noise_variance)[sky]
        if np.sum(weight[sky] * share ** 2) / 2 > 1 / _MAX_SKY_ERROR ** 2:
            factor, error = cls._fit_factor(*(v[sky] for v in values), common, relative_error)
            weight = _SKY_SCATTER ** 2 / (_SKY_SCATTER ** 2 + error ** 2)
            factor = float(np.clip(1 + weight * (factor - 1), 1 / _MAX_SKY_FACTOR, _MAX_SKY_FACTOR))
        rows = []
        for middle, part, counts in bins:
            part_values = [*(v[part] for v in values[:3]), counts]
            z = part_values[0] / np.sqrt(part_values[1] + part_values[2])
            offset = np.average(z, weights=counts)
            scatter = np.sqrt(np.average((z - offset) ** 2, weights=counts))
            offset = common + _shrink(offset - common, scatter / np.sqrt(counts.sum()))
            own_judged = held_out[part]
            part_values = [v[own_judged] for v in part_values]
            if part_values[3].sum() < 20:
                rows.append((middle, offset, 1.0, np.nan))
                continue
            rms = np.sqrt(np.average(z[own_judged] ** 2, weights=part_values[3]))
            if np.median(part_values[1] / part_values[2]) < _SKY_SHARE:
                own = factor
            else:
                own, error = cls._fit_factor(*part_values, offset, relative_error)
                # In the logarithm: a factor of nearly zero is known no better for that.
                own = float(np.exp(_shrink(np.log(own), error / own)))
            rows.append((middle, offset, own, rms))
        centres, offsets, factors, rms = np.array(rows).T
        return cls(centres, offsets, factors, float(np.nanmedian(rms)) if np.isfinite(rms).any() else np.nan,
                   share=float(np.median(prior / (prior + noise_variance))))

    @staticmethod
    def _fit_factor(difference, prior, noise, weight, offset, relative_error):
        """
        Factor of the prior variance under which the innovations are most likely, and its error.

        The scale of the noise is fitted with it, within its own uncertainty: pixels that the prediction is
        less sure of tell more, and their contrast to others does not depend on the noise model.
        """
        squares = (difference - offset * np.sqrt(prior + noise)) ** 2
        # Structure makes an estimate of the noise too large, never too small.
        errors = relative_error, min(relative_error, _LARGEST_EXCESS)
        if_less, if_more = (1 / max(error, 1e-9) ** 2 for error in errors)
        factor, scale = 1.0, 1.0
        for _ in range(20):
            total = factor * prior + scale * noise
            z2 = squares / total
            # Fisher's scoring for a Gaussian, in the logarithm of the factor, which stays positive.
            slopes = np.stack([factor * prior, noise]) / total
            score = 0.5 * slopes @ (weight * (z2 - 1))
            known = if_less if scale < 1 or scale == 1 and score[1] < 0 else if_more
            score[1] += known * (1 - scale)
            information = 0.5 * (weight * slopes) @ slopes.T + np.diag([1e-12, known])
            step = np.linalg.solve(information, score)
            factor = float(np.clip(factor * np.exp(np.clip(step[0], -1, 1)), 0.02, 50))
            scale = float(np.clip(scale + step[1], 0.5, 2))
            if abs(step[0]) < 1e-4:
                break
        # Innovations that are not Gaussian tell less.
        count = weight.sum()
        kurtosis = np.sum(weight * (z2 - np.sum(weight * z2) / count) ** 2) / count / 2
        error = factor * np.sqrt(np.linalg.inv(information)[0, 0] * max(kurtosis, 1.0))
        return factor, error

    def apply(self, mean, spread, noise_variance):
        """
        Correct a blind prediction.

        Parameters
        ----------
        mean, spread, noise_variance : `~numpy.ndarray`
            Blind mean, blind spread and the variance of the noise that is expected of them, shape (ny, nx).

        Returns
        -------
        mean, spread : `~numpy.ndarray`
            The corrected ones.
        """
        # The blind means of a frame reach over decades.
        position, nodes = np.arcsinh(mean), np.arcsinh(self.mean)
        corrected = mean + np.interp(position, nodes, self.offset) * np.sqrt(spread ** 2 + noise_variance)
        factor = np.interp(position, nodes, self.factor)
        own, weight = self.blank_sky
        if weight > 0:
            share = weight * blank_fraction(mean / np.sqrt(np.maximum(noise_variance, np.finfo(float).tiny)))
            factor = own ** share * factor ** (1 - share)
        return corrected, spread * np.sqrt(factor)


def _shrink(value, error):
    """Shrink a deviation by what its uncertainty alone would make of it."""
    if value == 0:
        return 0.0
    return value * max(0.0, 1 - (error / value) ** 2)
