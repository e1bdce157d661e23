# Licensed under a 3-clause BSD style license - see LICENSE
"""
By how much a stated uncertainty is to be enlarged.
"""

import numpy as np

__all__ = ['enlargement']

_LARGEST = 30.0


def enlargement(by_variance, by_innovation, scaling):
    """
    Factors of the uncertainty where the audit found it too small.

    Parameters
    ----------
    by_variance, by_innovation : Ratios
        Checks by brightness, and by everything else.
    scaling : `~astropy_n2v.scaling.Scaling`
        Level of the background.

    Returns
    -------
    levels, factors : `~numpy.ndarray` or None
        Values of the result in data units, and factors there; None if nothing was found.
    """
    worst = [check.value for check in (*by_variance.checks, *by_innovation.checks)
             if check.consequence in ('warning', 'refusal') and check.value > 1]
    if not worst:
        return None, None
    return np.array([0.0]), np.array([min(max(worst), _LARGEST)])
