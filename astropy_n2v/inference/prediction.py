# Licensed under a 3-clause BSD style license - see LICENSE
"""
The result for an image, and the list of its planes.
"""

from dataclasses import dataclass, field, fields, replace
from enum import Enum

import numpy as np

from ..audit import AuditReport
from ..utils.scratch import full
from .normalization import Normalization
from .recalibration import Recalibration
from .whitening_filter import Whitening

__all__ = ['PLANES', 'PlaneKind', 'PredictedPlane', 'Prediction']


class PlaneKind(Enum):
    """How a plane of a prediction is converted to another scale of the data."""

    #: In the unit of the data: multiplied, and moved with their zero point.
    VALUE = 'value'
    #: In the unit of the data: multiplied only.
    DEVIATION = 'deviation'
    #: Without a unit: unchanged.
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
        Conversion to another scale of the data.
    extension : str, optional
        Name of its FITS extension; '' for the result itself and its uncertainty.
    text : str, optional
        Its contents, in one line.
    """

    kind: PlaneKind
    extension: str = ''
    text: str = ''


def _plane(kind, extension='', text='', **options):
    return field(metadata={'plane': PredictedPlane(kind, extension, text)}, **options)


@dataclass(frozen=True, eq=False)
class Prediction:
    """
    The prediction of a `Denoiser` for an image; all arrays have its shape and its units.

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
        Probability that the pixel could not be predicted from its surroundings: transients,
        cosmic rays, hot pixels.
    noise_std : `~numpy.ndarray` or None
        Standard deviation of the assumed noise.
    scaling : Normalization
        Background and sky noise used.
    recalibration : Recalibration
        Corrections from the innovations.
    n_rejected : int
        Number of pixels whose measurement was replaced, with ``reject_outliers``.
    audit : `~astropy_n2v.audit.AuditReport` or None
        The audit of the result against its data.
    whitening : Whitening or None
        The filter that whitened correlated noise. With a filter, blind mean and spread, innovation and outlier refer
        to the whitened image.
    precision : {'float32', 'bfloat16'}
        Floating-point type of the network.
    device : str
        Device on which the network was computed, such as 'cpu' or 'cuda:0'.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v import Denoiser, NoiseModel
    >>> data = np.random.default_rng(0).normal(100, 5, (64, 64))
    >>> prediction = Denoiser.load('default').predict(data, NoiseModel(5.0))
    >>> prediction.mean.shape, bool(np.median(prediction.std) < 2)
    ((64, 64), True)
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
    device: str = 'cpu'

    @staticmethod
    def names(full_output=True):
        """
        List the names of the planes.

        Parameters
        ----------
        full_output : bool, optional
            If true, list all planes, else only mean and standard deviation.

        Returns
        -------
        list of str
            Names of attributes.
        """
        return [name for name, plane in PLANES.items() if full_output or not plane.extension]

    @classmethod
    def empty(cls, shape, dtype, full_output=True):
        """
        Allocate empty planes.

        Parameters
        ----------
        shape : tuple of int
            Their shape.
        dtype : type
            Type of their values, which are NaN.
        full_output : bool, optional
            If true, allocate more than mean and standard deviation.

        Returns
        -------
        Prediction
            A prediction with planes, and without other attributes.

        Examples
        --------
        >>> from astropy_n2v.denoiser import Prediction
        >>> list(Prediction.empty((8, 8), float, full_output=False).planes)
        ['mean', 'std']
        """
        return cls(**{name: full(shape, np.nan, dtype=dtype) for name in cls.names(full_output)})

    @property
    def planes(self):
        """The existing planes, by their names."""
        return {name: values for name in PLANES if (values := getattr(self, name)) is not None}

    def map(self, function):
        """
        Apply a function to all existing planes.

        Parameters
        ----------
        function : callable
            Takes an array and returns another one.

        Returns
        -------
        Prediction
            A prediction with the new planes; this one is not changed.
        """
        return replace(self, **{name: function(values) for name, values in self.planes.items()})

    def rescale(self, value, deviation):
        """
        Convert the planes to another scale of the data.

        Parameters
        ----------
        value, deviation : callable
            Functions of an array that convert values, and standard deviations.

        Returns
        -------
        Prediction
            The prediction on the other scale.
        """
        convert = {PlaneKind.VALUE: value, PlaneKind.DEVIATION: deviation}
        return replace(self, **{name: convert[PLANES[name].kind](values) for name, values in self.planes.items()
                                if PLANES[name].kind in convert})

    def without_planes(self):
        """
        Drop the planes, and keep all other attributes.

        Returns
        -------
        Prediction
            A prediction without planes; this one is not changed.
        """
        return replace(self, **dict.fromkeys(PLANES))

    def fill(self, other, index, view):
        """
        Write the planes of a part of the image into the planes of this prediction.

        Parameters
        ----------
        other : Prediction
            Prediction of the part.
        index : tuple
            Leading indices of the plane in the arrays of this prediction.
        view : tuple of slice
            Rows and columns of the part.
        """
        for name, values in self.planes.items():
            values[index][view] = getattr(other, name)


#: The planes of a prediction, with their description, by the names of its attributes.
PLANES = {entry.name: entry.metadata['plane'] for entry in fields(Prediction) if 'plane' in entry.metadata}
