# Licensed under a 3-clause BSD style license - see LICENSE
"""
Measurements of the sky of one image that several steps need, each made once.
"""

from functools import cached_property

import numpy as np

from ..background import background_level
from ..containers.parsing import CompleteMask
from ..utils.sampling import cutouts
from .blocks import as_image, valid_image
from .correlation import autocorrelation_of
from .photons import COUNTING, photon_noise
from .quantisation import find_steps
from .smoothing import smoothed_noise

__all__ = ['SkySample']


class SkySample:
    """
    Measure the sky of an image: each quantity once, when it is first needed.

    Only small results are kept, so that the samples of the planes of a cube need little memory.

    Parameters
    ----------
    values : `~numpy.ndarray`
        Data of shape (ny, nx). They must not change afterwards.
    mask : `~numpy.ndarray` of bool
        True where they do not count; values that are not finite do not count either.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.noise import SkySample
    >>> image = np.random.default_rng(0).normal(100, 5, (128, 128))
    >>> sky = SkySample(image, np.zeros(image.shape, bool))
    >>> round(sky.level), sky.steps is None, sky.smoothed is None
    (100, True, True)
    """

    def __init__(self, values, mask):
        self.values, self.mask = values, mask
        self._known = {}

    @classmethod
    def of(cls, data, mask=None):
        """
        Create a sample from an image of any kind.

        Parameters
        ----------
        data : array_like, `~astropy.units.Quantity` or `~astropy.nddata.NDData`
            Image of shape (ny, nx).
        mask : array_like of bool, optional
            True where the data do not count, in addition to the mask of an NDData.

        Returns
        -------
        SkySample
            The sample; nothing is measured yet.

        Raises
        ------
        ValueError
            If ``data`` is not two-dimensional, or ``mask`` is not of its shape.
        """
        return cls(*as_image(data, mask))

    def once(self, key, measure):
        """
        Return a measurement, which is made at the first call for a key.

        Parameters
        ----------
        key : hashable
            Name of the measurement.
        measure : callable
            Makes it; takes no arguments.

        Returns
        -------
        object
            The result of the first ``measure()``.
        """
        if key not in self._known:
            self._known[key] = measure()
        return self._known[key]

    def image(self):
        """
        Return the image, or some parts of a large one.

        Returns
        -------
        `~numpy.ndarray` of float
            In data units, with NaN where it does not count; two-dimensional.
        """
        return valid_image(self.values, self.mask)

    def cutouts(self):
        """
        Return the sample of the parts that represent a large image.

        Returns
        -------
        SkySample
            Of a small image, the sample itself.
        """
        if all(isinstance(axis, slice) for axis in cutouts(self.values.shape)):
            return self
        image = self.image()
        return SkySample(image, np.isnan(image).view(CompleteMask))

    @cached_property
    def level(self):
        """Level of the background, in data units."""
        return background_level(self.values, self.mask)

    @cached_property
    def steps(self):
        """The quantisation, a `~astropy_n2v.noise.Steps` or None."""
        return find_steps(self.values, self.mask)

    @cached_property
    def smoothed(self):
        """Noise that was smoothed, a `~astropy_n2v.noise.SmoothedNoise` or None."""
        return smoothed_noise(self.values, self.mask)

    @cached_property
    def autocorrelation(self):
        """Autocorrelation of the noise, shape (9, 9), as from `~astropy_n2v.noise_autocorrelation`."""
        sample = self.cutouts()
        return autocorrelation_of(sample.image(), lambda: sample.smoothed, max_lag=4)

    def photons(self, unit=None):
        """
        Find the noise of counted photons, see `~astropy_n2v.noise.photon_noise`.

        Parameters
        ----------
        unit : `~astropy.units.Unit` or None, optional
            Unit of the data.

        Returns
        -------
        NoiseModel or None
            None if the values are not counted photons.
        """
        return self.once(('photons', unit in COUNTING), lambda: photon_noise(self.values, self.mask, unit))
