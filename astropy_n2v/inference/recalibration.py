# Licensed under a 3-clause BSD style license - see LICENSE
"""
Corrections of the blind prediction and of the noise from the innovations of a frame.

A blind mean does not depend on its own pixel. The difference of the two, over pixels that are
selected by their blind mean, must therefore average to zero and scatter by the blind spread and
the noise. Where it does not, the prediction is corrected: this is a cross-validation on the
frame itself, at no cost.
"""

from dataclasses import dataclass

import numpy as np

from ..noise.model import BROAD_WEIGHT
from ..utils.sampling import brightness_bins
from .blank_sky import blank_fraction

__all__ = ['Recalibration']

# Largest share of the spread in the variance of the sky, relative to the noise. The correction is bounded there,
# since a small error of the noise causes a large one of the spread.
_SKY_SHARE = 0.1
_MAX_SKY_FACTOR = 2.0
# Scatter of the factor over random scenes, the prior towards which it is shrunk.
_SKY_SCATTER = 0.2
# Largest error of the factor of the sky for a correction; it is larger if the pixels of the sky are too few.
_MAX_SKY_ERROR = 0.3
# Largest difference of the rms of innovations from 1 that does not contradict the noise, and its growth with the share
# of the prediction in their variance: on fields of nebulosity without gaps, correct noise has an rms of 0.8 to 1.35.
_NOISE_LIMIT, _PER_SHARE = 0.1, 0.5
# Largest relative excess of the variance of the noise over its estimate; a deficit may be larger.
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
        Correction to add to the blind mean, in units of the total spread of the innovation.
    factor : `~numpy.ndarray`
        Factor of the variance of the blind spread.
    innovation_rms : float
        Rms of the normalised innovations of the typical pixel, before any correction.
    blank_sky : tuple of float, optional
        Factor to use instead on a sky without sources, and its weight; see
        `~astropy_n2v.inference.blank_sky.variance_factor`.
    share : float, optional
        Share of the blind spread in the variance of the innovation of the typical pixel, before any correction.
    outlier_share : float, optional
        Fraction of positive outliers: pixels whose value cannot be predicted from their surroundings.
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
        """True if the rms of the innovations contradicts the noise."""
        return bool(abs(self.innovation_rms - 1) > _NOISE_LIMIT + _PER_SHARE * self.share)

    @classmethod
    def neutral(cls):
        """Return the recalibration without any correction."""
        return cls(np.zeros(1), np.zeros(1), np.ones(1), np.nan)

    @classmethod
    def fit(cls, difference, mean, spread, noise_variance, weight, *, held_out=None, relative_error=0.003):
        """
        Fit the corrections.

        Parameters
        ----------
        difference : `~numpy.ndarray`
            Data minus blind mean, shape (n,).
        mean, spread : `~numpy.ndarray`
            Blind mean and spread.
        noise_variance : `~numpy.ndarray`
            Variance of the noise expected for blind mean and spread.
        weight : `~numpy.ndarray`
            Probability that the pixel is not an outlier.
        held_out : `~numpy.ndarray` of bool, optional
            Pixels that the prediction was not trained on; the spread is corrected by them alone.
            By default all.
        relative_error : float, optional
            Relative error of the variance of the noise.

        Returns
        -------
        Recalibration
            Corrections, each shrunk by its own uncertainty (James & Stein 1961). The factor of the sky is
            shrunk towards its distribution over random scenes, so that few pixels correct little.
        """
        bins = [(middle, part, counts) for middle, part, own in brightness_bins(mean)
                if (counts := weight[part] * own).sum() > 20]
        if not bins:
            return cls.neutral()
        held_out = np.ones(mean.size, dtype=bool) if held_out is None else held_out
        prior = spread ** 2
        values = difference, prior, noise_variance, weight
        # The mean over all pixels is most accurate; a part deviates only as far as it is significant.
        # Offsets: the mean of all pixels is not shrunk. Spreads: the sky, with little information, has one factor.
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
                # In the logarithm: a factor near zero is not more accurate.
                own = float(np.exp(_shrink(np.log(own), error / own)))
            rows.append((middle, offset, own, rms))
        centres, offsets, factors, rms = np.array(rows).T
        return cls(centres, offsets, factors, float(np.nanmedian(rms)) if np.isfinite(rms).any() else np.nan,
                   share=float(np.median(prior / (prior + noise_variance))))

    @staticmethod
    def _fit_factor(difference, prior, noise, weight, offset, relative_error):
        """
        Fit the factor of the prior variance by maximum likelihood; return it and its error.

        The scale of the noise is fitted, too, within its own uncertainty. Pixels with a less certain prediction have
        more information on the factor, and their contrast to others does not depend on the noise model.
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
        # Innovations that are not Gaussian contain less information.
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
            Blind mean, blind spread and the variance of the noise expected for them, shape (ny, nx).

        Returns
        -------
        mean : `~numpy.ndarray`
            The corrected mean.
        spread : `~numpy.ndarray`
            The corrected spread.
        """
        # The blind means of a frame span decades.
        position, nodes = np.arcsinh(mean), np.arcsinh(self.mean)
        corrected = mean + np.interp(position, nodes, self.offset) * np.sqrt(spread ** 2 + noise_variance)
        factor = np.interp(position, nodes, self.factor)
        own, weight = self.blank_sky
        if weight > 0:
            share = weight * blank_fraction(mean / np.sqrt(np.maximum(noise_variance, np.finfo(float).tiny)))
            factor = own ** share * factor ** (1 - share)
        return corrected, spread * np.sqrt(factor)


def _shrink(value, error):
    """Shrink a deviation according to its uncertainty."""
    if value == 0:
        return 0.0
    return value * max(0.0, 1 - (error / value) ** 2)
