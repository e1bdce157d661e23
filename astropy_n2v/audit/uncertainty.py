# Licensed under a 3-clause BSD style license - see LICENSE
"""
Factors for uncertainties that are too small.
"""

import numpy as np

__all__ = ['enlargement']

# Largest factors by which a stated standard deviation is enlarged: in general, and where the noise is overstated.
_LARGEST, _LARGEST_SMOOTH = 10.0, 2.0
# Least share of the blind prediction in the variance of innovations for it to cause an excess.
_LEAST_SHARE = 0.1
# Blind mean above the background, in units of the noise of the sky: largest one of the sky, and least one without
# any sky.
_SKY, _NO_SKY = 1.0, 2.0


def enlargement(by_variance, by_innovation, sky, stated, noise, scaling):
    """
    Find the factors of the uncertainty where the audit found it too small.

    Parameters
    ----------
    by_variance, by_innovation : Ratios
        Checks by brightness, and by all other classes.
    sky, stated, noise : Finding
        Checks of the uncertainty on the sky, of its consistency, and of the noise.
    scaling : `~astropy_n2v.inference.normalization.Normalization`
        Level and noise of the background.

    Returns
    -------
    levels : `~numpy.ndarray` or None
        Values of the result in data units, increasing; None without a finding.
    factors : `~numpy.ndarray` or None
        Factors at these values; None without a finding.
    """
    level = float(np.median(scaling.level))
    by_brightness = _factors(by_variance)
    # Positions and structure have no brightness: a finding there, without one by brightness, applies to all of them.
    common = max([1.0, *_factors(by_innovation) / max([1.0, *by_brightness])])
    if noise.message:
        common = max(common, noise.value)
    if stated.message:
        common = max(common, 1 / max(stated.value, 1 / _LARGEST))
    levels = level + scaling.scale * np.array([_SKY, _NO_SKY])
    factors = np.array([max(common, sky.value) if sky.message else common, common])
    # Overstated noise makes the result smoother than the data justify; the stated uncertainty does not include this.
    smooth = by_variance.found.astype(bool) & (by_variance.ratio < 1)
    by_brightness[smooth] = np.minimum(1 / np.sqrt(by_variance.ratio[smooth]), _LARGEST_SMOOTH)
    if np.any(by_brightness > 1):
        order = np.argsort(by_variance.middle)
        nodes, own = by_variance.middle[order] + level, np.maximum(by_brightness, common)[order]
        own[nodes <= levels[0]] = np.maximum(own[nodes <= levels[0]], factors[0])
        levels, factors = nodes, own
    return (levels, np.minimum(factors, _LARGEST)) if factors.max() > 1 else (None, None)


def _factors(ratios):
    """Compute the factor of the standard deviation for each class; 1 without a finding."""
    factors = []
    for found, value, share in zip(ratios.found, ratios.ratio, ratios.share):
        # Either the noise is larger, or the prediction is less certain, or both.
        own = (1 + (value - 1) / max(share, _LEAST_SHARE)) / value
        factors.append(np.sqrt(max(value, own)) if found and value > 1 else 1.0)
    return np.array(factors)
