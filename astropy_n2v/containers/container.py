# Licensed under a 3-clause BSD style license - see LICENSE
"""
Containers of images: parsing of any kind of input, and results of the same kind.
"""

import copy

import numpy as np
from astropy import units as u
from astropy.nddata import NDData, StdDevUncertainty
from astropy.utils.masked import Masked

from ..exceptions import CannotDenoiseError
from .cards import write_cards
from .parsing import extend_mask, measured

__all__ = ['Container']

_SMALLEST = 8   # pixels: least height and width


class Container:
    """
    Parse input of any kind, and convert results to the same kind.

    Parameters
    ----------
    data : `~astropy.nddata.NDData`, `~astropy.units.Quantity`, array_like
        Image of shape (ny, nx), or planes of shape (..., ny, nx).
    mask : array_like of bool, optional
        True where the data do not count.
    satlevel : float or `~astropy.units.Quantity`, optional
        Data at or above it do not count.

    Attributes
    ----------
    values : `~numpy.ndarray`
        The data, float32 or float64 of native byte order; shared with the input if it has this type.
    mask : `~astropy_n2v.containers.parsing.CompleteMask`
        True where they do not count, except for values that are not finite; same shape.
    dtype : type
        Type of the result.
    order : tuple of int or None
        Order of the axes of the input in ``values``, celestial ones last; None for the original order.
    unit, header : `~astropy.units.Unit` or None, mapping
        Unit and header of the input.
    deviations : Deviations
        Uncertainty of the input.

    Raises
    ------
    TypeError
        If the data are not real numbers.
    ValueError
        If shapes do not fit or a number is out of its range.
    CannotDenoiseError
        If the data are empty or smaller than 8x8.
    """

    def __init__(self, data, mask=None, satlevel=None):
        self.container = data
        image = measured(data, mask, satlevel, check=_check_data)
        self.values, self.mask, self.dtype, self.order = image.values, image.mask, image.dtype, image.order
        self.shape = self.values.shape
        self.unit, self.header, self.deviations = image.unit, image.header, image.deviations
        if min(self.shape[-2:]) < _SMALLEST:
            raise CannotDenoiseError(f'data must be at least {_SMALLEST}x{_SMALLEST} pixels along the two axes of an '
                                     f'image, got {self.shape[-2:]}')

    @property
    def source_dtype(self):
        """The type of the values of the input; None for lists and tuples."""
        data = self.container
        return getattr(data.data if isinstance(data, NDData) else data, 'dtype', None)

    def planes(self):
        """Return the indices of the two-dimensional planes."""
        return list(np.ndindex(self.shape[:-2]))

    def parameter(self, name, value, index):
        """Return a noise parameter, given for all planes or in the shape of the data, for one plane."""
        if value is None or np.ndim(value) <= 2:
            return value
        try:
            # A view, also for a Quantity.
            value = np.broadcast_to(value, self._original_shape, subok=True)
        except ValueError:
            raise ValueError(f'{name} must broadcast to the shape of the data, {self._original_shape}, got an array '
                             f'of shape {np.shape(value)}') from None
        return (value if self.order is None else value.transpose(self.order))[index]

    @property
    def _original_shape(self):
        return self.shape if self.order is None else tuple(self.shape[i] for i in np.argsort(self.order))

    def original_order(self, array):
        """
        Bring an array to the order of axes of the input.

        Parameters
        ----------
        array : `~numpy.ndarray` or None
            Array of the shape of `values`.

        Returns
        -------
        `~numpy.ndarray` or None
            The array itself if the order is the same.
        """
        if array is None or self.order is None:
            return array
        return np.ascontiguousarray(array.transpose(np.argsort(self.order)))

    def pack(self, mean, std, cards, history):
        """
        Build a container of the kind of the input.

        Parameters
        ----------
        mean, std : `~numpy.ndarray`
            Result and standard deviation, of the shape of `values`; None in place of the latter if it is not known.
        cards, history : dict and list of str, or None
            See `astropy_n2v.containers.cards.write_cards`.

        Returns
        -------
        object
            Of the type of the input. Its mask contains all pixels that do not count and were not replaced.
        """
        data, added = self.container, self.original_order(self._not_replaced(mean, std))
        mean, std = self.original_order(mean), None if std is None else self.original_order(std)
        if isinstance(data, np.ma.MaskedArray):
            return np.ma.MaskedArray(mean, mask=extend_mask(np.ma.getmaskarray(data), added),
                                     fill_value=data.fill_value)
        if isinstance(data, u.Quantity):
            mean = u.Quantity(mean, data.unit, dtype=mean.dtype, copy=False)
        if isinstance(data, Masked):
            return Masked(mean, mask=extend_mask(data.mask, added))
        if not isinstance(data, NDData):
            return mean
        result = copy.copy(data)
        # Deep copies of everything except for the arrays that are replaced.
        for name, value in vars(data).items():
            if name not in ('_data', '_uncertainty', '_mask'):
                setattr(result, name, copy.deepcopy(value))
        result._data = mean
        result._uncertainty = None
        result.uncertainty = None if std is None else StdDevUncertainty(std)
        result._mask = extend_mask(data.mask, added)
        # These reserved keywords describe the array and must be updated.
        for keyword, extreme in ('DATAMIN', np.min), ('DATAMAX', np.max):
            if keyword in result.meta:
                # Cards cannot hold numbers that are not finite.
                result.meta[keyword] = float(extreme(mean[np.isfinite(mean)]))
        write_cards(result.meta, cards, history)
        return result

    def _not_replaced(self, mean, std):
        """Return the pixels that do not count and were not filled, and the pixels without a standard deviation."""
        result = np.zeros(mean.shape, dtype=bool) if std is None else ~np.isfinite(std)
        bad = np.asarray(self.mask) | ~np.isfinite(self.values)
        result[bad] |= (mean[bad] == self.values[bad].astype(mean.dtype)) | ~np.isfinite(mean[bad])
        return result


def _check_data(values, unit):
    if unit is not None and (not isinstance(unit, u.UnitBase) or u.dex in unit.decompose().bases):
        raise u.UnitsError(f'data must be linear in flux, got the unit {unit}: magnitudes do not add up, and their '
                           'noise is no sum of photon and read noise')
    if values.ndim < 2:
        raise ValueError(f'data must have at least two dimensions, got shape {values.shape}')
    if values.size == 0:
        raise CannotDenoiseError(f'data must not be empty, got shape {values.shape}')
