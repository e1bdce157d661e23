# Licensed under a 3-clause BSD style license - see LICENSE
"""
Limits of the checks.

A finding needs both a relevant difference and a significance that chance does not reach.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ['BRIGHTNESS_BINS', 'LIMITS', 'Limit', 'of_many']

#: Edges of the bins of brightness, in units of the noise of the sky above the sky.
BRIGHTNESS_BINS = -np.inf, 1.0, 3.0, 10.0, 30.0, 100.0, np.inf


@dataclass(frozen=True)
class Limit:
    """
    Least values of a finding, and of a refusal.

    Parameters
    ----------
    below, above : float
        Least difference from the expected value, in units of the number, for smaller and for larger numbers.
    sigma_below, sigma_above : float
        Least significance.
    refused : float
        Least absolute difference at which the result is refused.
    """

    below: float
    above: float
    sigma_below: float
    sigma_above: float
    refused: float = np.inf


def of_many(z, n):
    """
    Convert the largest of n deviations to the significance of a single one.

    Parameters
    ----------
    z : float
        The deviation, in units of its error.
    n : float
        Number of deviations of which it is the largest.

    Returns
    -------
    float
        The significance, of the same sign; 0 if chance has an equal one.

    Examples
    --------
    >>> from astropy_n2v.audit.limits import of_many
    >>> round(float(of_many(-6.0, 1000)), 1), float(of_many(3.0, 1000))
    (-4.7, 0.0)
    """
    return np.sign(z) * np.sqrt(max(z ** 2 - 2 * np.log(max(n, 1)), 0.0))


def _both(difference, sigma, refused=np.inf):
    return Limit(difference, difference, sigma, sigma, refused)


#: Limits by the name of a check, or its first part. Significances are near the values that an exponential tail, fitted
#: to the largest hundredth, exceeds once in 1,000 frames over all checks together: on 2,200 clean frames of 64 to 256
#: pixels of all kinds (``benchmarks/audit.py``). Limits below the expectation are larger: noise models often overstate
#: the noise. Differences: a fifth of an offset of 0.1 sigma, 0.3 % of the flux, noise with an error of 15 %.
LIMITS = {
    'finite': _both(0, 1),
    # Chance does not exceed 5 sigma: the least significant triplet of a small image.
    'explained': _both(2, 4.5),
    # Fraction of the pixels: 0.17 to 0.5 % in available frames with misreadings, 0.1 % at most in others.
    'dark pixels': _both(1e-3, 5),
    'flux (all)': _both(0.02, 4.5, 0.5),
    'flux (sky)': _both(0.02, 4.5, 0.5),
    'flux (sources)': _both(0.003, 4.5, 0.1),
    'flux in boxes': _both(0, 5.3),
    'removed variance': Limit(0.15, 0.15, 8, 6, 1.5),
    # Missing structure in a prediction does less harm than false structure.
    'innovations and blind mean': Limit(0.1, 0.3, 7, 14),
    'removed flux': _both(0.003, 4.5, 0.2),
    'correlation': _both(0.1, 5),
    'innovations (blocks)': Limit(0.15, 0.15, 9, 6),
    'innovations': _both(0.15, 7.5),
    'sky uncertainty': _both(0.2, 3.5),
    'stated uncertainty': Limit(0.05, np.inf, 0, 0),
    'noise': _both(0.1, 6),
    'correction (spread)': _both(1.0, 0),
    'correction (mean)': _both(0.5, 0),
}
