# Licensed under a 3-clause BSD style license - see LICENSE
"""
The result for an image, and the one list of the planes that it has.
"""

from dataclasses import dataclass, field, fields, replace
from enum import Enum

import numpy as np

from ..audit import AuditReport
from .normalization import Normalization
from .recalibration import Recalibration
from .whitening import Whitening

__all__ = ['PLANES', 'PlaneKind', 'PredictedPlane', 'Prediction']


class PlaneKind(Enum):
    """How a plane of a prediction follows a change of the scale of the data."""

    #: In the unit of the data: multiplied, and moved with their zero point.
    VALUE = 'value'
    #: In the unit of the data: multiplied only.
    DEVIATION = 'deviation'
    #: Without a unit: it stays as it is.
    NUMBER = 'number'

    @property
    def has_unit(self):
        """True if the plane has the unit of the data."""
        return self is not PlaneKind.NUMBER


@dataclass(frozen=True)
class PredictedPlane:
    """
    Describe a plane of a prediction.

    Parameters
    ----------
    kind : PlaneKind
        How it follows the scale of the data.
    extension : str, optional
        Name of the FITS extension that it is written to; '' for the result itself and its uncertainty.
    text : str, optional
        What it holds, in one line.
    """

    kind: PlaneKind
    extension: str = ''
    text: str = ''


def _plane(kind, extension='', text='', **options):
    return field(metadata={'plane': PredictedPlane(kind, extension, text)}, **options)


@dataclass(frozen=True, eq=False)
class Prediction:
    """
    What a `Denoiser` says of an image; all arrays have its shape and its units.

    Parameters
    ----------
    mean, std : `~numpy.ndarray`
        Mean and standard deviation of the posterior.
    blind_mean, blind_std : `~numpy.ndarray` or None
        Mean and spread of a pixel given its surroundings alone.
    innovation : `~numpy.ndarray` or None
        (data - blind mean) / its expected deviation, which should be N(0, 1); NaN where the
        data do not count.
    outlier : `~numpy.ndarray` or None
        Probability that the pixel could not be foreseen from its surroundings: transients,
        cosmic rays, hot pixels.
    noise_std : `~numpy.ndarray` or None
        Standard deviation of the noise that was assumed.
    scaling : Normalization
        Background and sky noise that were used.
    recalibration : Recalibration
        What the innovations said.
    n_rejected : int
        Number of pixels whose measurement was replaced, with ``reject_outliers``.
    audit : `~astropy_n2v.audit.AuditReport` or None
        What the data say of the result.
    whitening : Whitening or None
        The filter that made correlated noise white. If there was one, blind mean and spread, innovation and outlier
        are those of the whitened image.
    precision : {'float32', 'bfloat16'}
        Numbers in which the network predicted.
    """

    mean: np.ndarray = _plane(PlaneKind.VALUE)
    std: np.ndarray = _plane(PlaneKind.DEVIATION)
    blind_mean: np.ndarray = _plane(
        PlaneKind.VALUE, 'BLIND', 'Mean of each pixel given its surroundings alone', default=None)
    blind_std: np.ndarray = _plane(
        PlaneKind.DEVIATION, 'SPREAD', 'Standard deviation of each pixel given its surroundings alone', default=None)
    innovation: np.ndarray = _plane(
        PlaneKind.NUMBER, 'INNOVATION', 'Data minus BLIND in units of the deviation to be expected', default=None)
    outlier: np.ndarray = _plane(
        PlaneKind.NUMBER, 'OUTLIER', 'Probability that the pixel could not be foreseen', default=None)
    noise_std: np.ndarray = _plane(
        PlaneKind.DEVIATION, 'NOISE', 'Standard deviation of the noise that was assumed', default=None)
    scaling: Normalization = None
    recalibration: Recalibration = None
    n_rejected: int = 0
    audit: AuditReport = None
    whitening: Whitening = None
    precision: str = 'float32'

    @staticmethod
    def names(full_output=True):
        """List the names of the planes: all, or those of the result itself."""
        return [name for name, plane in PLANES.items() if full_output or not plane.extension]

    @classmethod
    def empty(cls, shape, dtype, full_output=True):
        """
        Allocate planes that are to be filled.

        Parameters
        ----------
        shape : tuple of int
            Their shape.
        dtype : type
            Of their values, which are NaN.
        full_output : bool, optional
            Whether to allocate more than mean and standard deviation.

        Returns
        -------
        Prediction
            With planes, and without all else.

        Examples
        --------
        >>> from astropy_n2v.denoiser import Prediction
        >>> list(Prediction.empty((8, 8), float, full_output=False).planes)
        ['mean', 'std']
        """
        return cls(**{name: np.full(shape, np.nan, dtype=dtype) for name in cls.names(full_output)})

    @property
    def planes(self):
        """The planes that there are, by their names."""
        return {name: values for name in PLANES if (values := getattr(self, name)) is not None}

    def map(self, function):
        """Apply a function to all planes that there are."""
        return replace(self, **{name: function(values) for name, values in self.planes.items()})

    def rescale(self, value, deviation):
        """
        Bring the planes to another scale of the data.

        Parameters
        ----------
        value, deviation : callable
            Functions of an array that convert values, and standard deviations.

        Returns
        -------
        Prediction
            On the other scale.
        """
        convert = {PlaneKind.VALUE: value, PlaneKind.DEVIATION: deviation}
        return replace(self, **{name: convert[PLANES[name].kind](values) for name, values in self.planes.items()
                                if PLANES[name].kind in convert})

    def without_planes(self):
        """Drop the planes, and keep all else."""
        return replace(self, **dict.fromkeys(PLANES))

    def fill(self, other, index, view):
        """Copy the planes of a part of the image to where they belong, in place."""
        for name, values in self.planes.items():
            values[index][view] = getattr(other, name)


#: The planes of a prediction, by the names of its attributes, with what describes them.
PLANES = {entry.name: entry.metadata['plane'] for entry in fields(Prediction) if 'plane' in entry.metadata}
