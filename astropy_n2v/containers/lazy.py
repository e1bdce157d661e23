# Licensed under a 3-clause BSD style license - see LICENSE
"""
Dask arrays, which may be larger than the memory: in, and out again.
"""

import copy

import numpy as np
from astropy.nddata import NDData
from astropy.units import Quantity

from ..utils.scratch import empty, zeros

__all__ = ['from_dask', 'is_dask', 'to_dask']


def is_dask(data):
    """Check if data, or the data of a container, are a dask array; dask is not imported for this check."""
    array = data.data if isinstance(data, NDData) else data
    return type(array).__module__.partition('.')[0] == 'dask' and hasattr(array, 'chunks')


def from_dask(data):
    """
    Compute the dask arrays of data, chunk by chunk.

    Parameters
    ----------
    data : object
        A dask array, an `~astropy.nddata.NDData` that has some, or anything else.

    Returns
    -------
    object
        The data, whose dask arrays are now `~numpy.ndarray`, mapped from files if they are large (see
        `~astropy_n2v.utils.scratch`), or `~numpy.ma.MaskedArray` if chunks are masked.

    Raises
    ------
    ValueError
        If the shape of an array is not known.
    TypeError
        If chunks are `~astropy.units.Quantity`, whose unit dask does not keep.
    """
    if not is_dask(data):
        return data
    return _replaced(data, _computed) if isinstance(data, NDData) else _computed(data)


def to_dask(data, like=None):
    """
    Turn the arrays of a result into dask arrays.

    Parameters
    ----------
    data : object
        Array, or `~astropy.nddata.NDData`.
    like : object, optional
        The dask array, or container of one, whose chunks they have. By default dask chooses them.

    Returns
    -------
    object
        The data, of the same kind, with dask arrays.

    Raises
    ------
    ImportError
        If dask is not installed.
    """
    import dask.array as da
    chunks = 'auto'
    if like is not None and is_dask(like):
        chunks = (like.data if isinstance(like, NDData) else like).chunks

    def convert(array):
        # Without a name from its contents, for which all of them would be read.
        return array if array is None or is_dask(array) else da.from_array(array, chunks, name=False)

    return _replaced(data, convert) if isinstance(data, NDData) else convert(data)


def _computed(array):
    """Compute a dask array into one of numpy; others stay as they are."""
    if not is_dask(array):
        return array
    from dask.array.core import slices_from_chunks
    if np.isnan(array.shape).any():
        raise ValueError(f'data must be a dask array of known shape, see its compute_chunk_sizes(), got {array.shape}')
    if isinstance(array._meta, Quantity):
        raise TypeError('data must not be a dask array of Quantity, whose unit dask does not keep: give the numbers in '
                        f'an NDData or CCDData with unit={str(array._meta.unit)!r}')
    values, mask = empty(array.shape, array.dtype), None
    for index in slices_from_chunks(array.chunks):
        part = array[index].compute()
        values[index] = np.ma.getdata(part)
        if isinstance(part, np.ma.MaskedArray):
            mask = zeros(array.shape, bool) if mask is None else mask
            mask[index] = np.ma.getmaskarray(part)
    return values if mask is None else np.ma.MaskedArray(values, mask, copy=False)


def _replaced(data, convert):
    """Copy a container with other arrays."""
    result = copy.copy(data)
    result._data, result._mask = convert(data.data), convert(data.mask)
    if data.uncertainty is not None:
        result._uncertainty = None
        result.uncertainty = type(data.uncertainty)(convert(data.uncertainty.array), copy=False,
                                                    unit=data.uncertainty.unit)
    return result
