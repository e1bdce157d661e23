# Licensed under a 3-clause BSD style license - see LICENSE
"""
Observations with known truth, noise and defects.
"""

from dataclasses import dataclass, field

import numpy as np

from ..noise import NoiseModel

__all__ = ['Observation']


@dataclass
class Observation:
    """
    A noisy frame with known truth, noise and defects.

    Parameters
    ----------
    data : `~numpy.ndarray`
        The frame, float64, shape (ny, nx), in the unit that ``gain`` of the noise refers to.
    truth : `~numpy.ndarray`
        The data without noise and defects, in the same unit.
    noise : `~astropy_n2v.NoiseModel`
        The noise of the data; its ``variance(truth)`` is the variance of each pixel.
    mask : `~numpy.ndarray`
        Boolean, True where a defect is flagged.
    defects : `~numpy.ndarray`
        Boolean, True where there is a defect, flagged or not.
    kind : str
        Kind of the scene.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.simulate import make_scene, observe_smoothed
    >>> observation = observe_smoothed(make_scene('survey', (64, 64), seed=1).truth, readnoise=5.0, seed=2)
    >>> observation.data.shape, bool(observation.mask.any())
    ((64, 64), False)
    """

    data: np.ndarray
    truth: np.ndarray
    noise: NoiseModel
    mask: np.ndarray = field(repr=False)
    defects: np.ndarray = field(repr=False)
    kind: str = 'custom'

    @property
    def innovation(self):
        """(data - truth) in units of the noise: of mean 0 and variance 1 off defects; NaN where the noise is zero."""
        difference, sigma = np.broadcast_arrays(self.data - self.truth, np.sqrt(self.noise.variance(self.truth)))
        return np.divide(difference, sigma, out=np.full(sigma.shape, np.nan), where=sigma > 0)
