# Licensed under a 3-clause BSD style license - see LICENSE
"""
Growth of the noise with the signal, from innovations.
"""

import numpy as np

from ..utils.sampling import brightness_bins

__all__ = ['noise_growth']

# Largest share of the prediction in the variance of innovations from which the noise is measured.
_LARGEST_SHARE = 0.5
# Least significance of a growth, and least ratio of the largest to the smallest variance of all bins.
_CERTAIN, _LEAST_RATIO = 8.0, 1.3
# Limit of a single innovation, in units of the scatter of its bin.
_LARGEST = 5.0


def noise_growth(sample, recalibration, scale):
    """
    Fit the variance of the noise as a linear function of the signal.

    Parameters
    ----------
    sample : Sample
        Cut-outs.
    recalibration : `~astropy_n2v.inference.recalibration.Recalibration` or None
        The correction of the blind prediction. It is undone, since it attributes noise to the prediction.
    scale : float
        The noise of the sky, in data units.

    Returns
    -------
    variance : float or None
        Variance where the blind mean is at the background, in squared data units; None if the growth is
        not significant.
    slope : float or None
        Growth of the variance with the signal, in data units; None if it is not significant.
    """
    signal, spread, noise, z = (values[sample.held_out].astype(float) / unit for values, unit in
                                ((sample.signal, scale), (sample.spread, scale), (sample.noise, scale), (sample.z, 1)))
    squares, prior = z ** 2 * (spread ** 2 + noise ** 2), spread ** 2
    if recalibration is not None:
        prior = prior / np.interp(np.arcsinh(signal), np.arcsinh(recalibration.mean), recalibration.factor)
    mostly_noise = prior < _LARGEST_SHARE / (1 - _LARGEST_SHARE) * noise ** 2
    signal, squares, prior = (values[mostly_noise] for values in (signal, squares, prior))
    rows = []
    for _, part, weight in brightness_bins(signal):
        own = np.minimum(squares[part], _LARGEST ** 2 * np.average(squares[part], weights=weight)) - prior[part]
        mean, n = np.average(own, weights=weight), weight.sum()
        rows.append((np.average(signal[part], weights=weight), mean, np.sqrt(np.mean((own - mean) ** 2) / n)))
    if len(rows) < 3:
        return None
    x, y, error = np.array(rows).T
    if not (error > 0).all():
        return None
    design = np.stack([np.ones_like(x), x], axis=1) / error[:, None]
    covariance = np.linalg.pinv(design.T @ design)
    variance, slope = covariance @ design.T @ (y / error)
    certain = slope > _CERTAIN * np.sqrt(covariance[1, 1]) and variance > 0
    if not (certain and variance + slope * x[-1] > _LEAST_RATIO * (variance + slope * max(x[0], 0))):
        return None
    return float(variance * scale ** 2), float(slope * scale)
