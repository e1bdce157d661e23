# Licensed under a 3-clause BSD style license - see LICENSE
"""
Parse images of any kind, and find the pixels that do not count.

All functions that accept an image use `take_apart`, and functions that accept a measured image use `measured`, so that
they agree on mask, fill values, saturation and unit.
"""

import logging
from dataclasses import dataclass, field

import numpy as np
from astropy import units as u
from astropy.nddata import NDData
from astropy.utils.masked import Masked

from ..io.axes import other_axes
from ..utils.scratch import blocks, blockwise, count_where, zeros
from ..utils.warn import warn_user
from .damage import damaged_blocks
from .deviations import Deviations
from .nodata import constant_regions, fill_values
from .overscan import overscan
from .saturation import saturated_pixels

__all__ = ['CompleteMask', 'Measured', 'Parts', 'celestial_order', 'extend_mask', 'measured', 'merge_mask',
           'take_apart']

log = logging.getLogger(__name__)

_PLACES = 3   # that are named in a message


class CompleteMask(np.ndarray):
    """
    A mask that is known to contain all pixels that do not count, so that no second search is needed.

    Slices of it, and its combinations by ``|`` and ``&``, are of this class, too.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.containers.parsing import CompleteMask
    >>> mask = np.zeros((4, 4), bool).view(CompleteMask)
    >>> type(mask[:2] | True).__name__
    'CompleteMask'
    """


@dataclass
class Parts:
    """
    The parts of an image of any kind.

    Parameters
    ----------
    values : `~numpy.ndarray`
        The data, unchanged.
    unit : `~astropy.units.Unit` or None
        Their unit.
    mask : array_like or None
        Their mask, of bool or of flags.
    uncertainty : `~astropy.nddata.NDUncertainty` or None
        Their uncertainty.
    header : mapping
        Header or meta; empty without one.
    """

    values: np.ndarray
    unit: object = None
    mask: object = None
    uncertainty: object = None
    header: dict = field(default_factory=dict)


def take_apart(data, name='data'):
    """
    Parse an image of any kind.

    Parameters
    ----------
    data : `~astropy.nddata.NDData`, `~astropy.units.Quantity`, `~astropy.utils.masked.Masked` or array_like
        Numbers of any shape.
    name : str, optional
        Name of the parameter, for messages.

    Returns
    -------
    Parts
        Its parts; arrays are shared.

    Raises
    ------
    TypeError
        If the data are not real numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.containers.parsing import take_apart
    >>> parts = take_apart(np.ma.masked_greater([1.0, 9.0], 5))
    >>> parts.values.tolist(), parts.mask.tolist()
    ([1.0, 9.0], [False, True])
    """
    parts = Parts(data)
    if isinstance(data, NDData):
        parts = Parts(data.data, data.unit, data.mask, data.uncertainty, data.meta)
        data = data.data   # which may be of a type handled below
    if isinstance(data, Masked):
        parts.mask = data.mask if parts.mask is None else parts.mask | data.mask
        parts.values = data = data.unmasked
    elif isinstance(data, np.ma.MaskedArray):
        own = np.ma.getmaskarray(data)
        parts.mask = own if parts.mask is None else np.asarray(parts.mask) | own
        parts.values = data.data
    if isinstance(data, u.Quantity):
        parts.values, parts.unit = data.value, data.unit if parts.unit is None else parts.unit
    parts.values = np.asarray(parts.values)
    if parts.mask is np.ma.nomask:
        parts.mask = None
    if parts.values.dtype.kind == 'O':
        kind = f'an array of dtype {data.dtype}' if isinstance(data, np.ndarray) else type(data).__name__
        raise TypeError(f'{name} must be an array, Quantity or NDData of real numbers, got {kind}')
    if parts.values.dtype.kind not in 'buif':
        raise TypeError(f'{name} must be real numbers, got an array of dtype {parts.values.dtype}')
    return parts


def merge_mask(mask, part, name, order=None):
    """
    Add a mask or flags to a mask.

    Parameters
    ----------
    mask : `~numpy.ndarray` of bool
        Mask to extend, in place.
    part : array_like or None
        True or not 0 where pixels are masked; of the shape of the mask, or of its planes (the last two axes), or one
        number.
    name : str
        Name of ``part`` in messages.
    order : tuple of int, optional
        Order in which to transpose the axes of ``part``, if it has the shape of the original data.

    Raises
    ------
    TypeError
        If ``part`` is neither of bool nor of numbers.
    ValueError
        If the shapes do not agree.
    """
    if part is None or part is np.ma.nomask:
        return
    part = np.asarray(part)
    if part.dtype.kind not in 'buif':
        raise TypeError(f'{name} must be of bool or numbers, got an array of dtype {part.dtype}')
    shape = mask.shape if order is None else tuple(mask.shape[order.index(i)] for i in range(mask.ndim))
    if part.shape == shape and order is not None:
        part = part.transpose(order)
    elif part.shape != mask.shape and part.shape not in ((), mask.shape[-2:]):
        raise ValueError(f'{name} must have the shape of the data, {shape}, got {part.shape}')
    blockwise(lambda own, more: own | more.astype(bool, copy=False), mask, np.broadcast_to(part, mask.shape), out=mask)


def celestial_order(data):
    """
    Find the order of axes that has the two celestial ones last.

    Parameters
    ----------
    data : object
        An `~astropy.nddata.NDData` with a WCS, or anything else.

    Returns
    -------
    tuple of int or None
        For `numpy.transpose`; None where the axes are in that order already, or the order is not known.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.nddata import NDData
    >>> from astropy.wcs import WCS
    >>> from astropy_n2v.containers.parsing import celestial_order
    >>> wcs = WCS(naxis=3)
    >>> wcs.wcs.ctype = 'WAVE', 'RA---TAN', 'DEC--TAN'   # FITS counts axes from the other end
    >>> celestial_order(NDData(np.zeros((9, 8, 3)), wcs=wcs))
    (2, 0, 1)
    """
    ndim = np.ndim(getattr(data, 'data', data)) if isinstance(data, NDData) else 0
    if ndim < 3:
        return None
    first = _other_axes(data, ndim)
    if first is None or sorted(first) == list(range(ndim - 2)):
        return None
    return (*first, *(i for i in range(ndim) if i not in first))


def _other_axes(data, ndim):
    """Return the axes of an array that are not celestial, or None if they are not known."""
    others = other_axes(data.wcs, data.data.shape)
    if others is not None:
        return others
    spectral = getattr(data, 'spectral_axis_index', None)
    return [spectral % ndim] if ndim == 3 and spectral is not None else None


@dataclass
class Measured:
    """
    A measured image, and the pixels of it that count.

    Parameters
    ----------
    values : `~numpy.ndarray`
        The data, of float32 or float64 and native byte order; celestial axes last. Shared with the input if it has
        this type.
    mask : CompleteMask
        True where they do not count, except for values that are not finite; same shape.
    dtype : type
        The smallest float that holds the data.
    unit : `~astropy.units.Unit` or None
        Their unit.
    header : mapping
        Header or meta.
    deviations : Deviations
        Their uncertainty.
    own_mask : array_like or None
        Their original mask or flags.
    order : tuple of int or None
        Order of the axes of the input in ``values``; None for the original order.
    """

    values: np.ndarray
    mask: CompleteMask
    dtype: type
    unit: object
    header: dict
    deviations: Deviations
    own_mask: object = None
    order: tuple | None = None


def measured(data, mask=None, satlevel=None, *, name='data', check=None):
    """
    Parse a measured image and find all the pixels that do not count.

    Besides the pixels of its own mask and of ``mask``, these are fill values, saturated pixels, regions of one constant
    value, overscan, and pixels whose stated error marks them as without information.

    Parameters
    ----------
    data : `~astropy.nddata.NDData`, `~astropy.units.Quantity`, `~astropy.utils.masked.Masked` or array_like
        Image of shape (ny, nx), or planes.
    mask : array_like of bool, optional
        True where the data do not count. A `CompleteMask` is used as it is.
    satlevel : float, `~astropy.units.Quantity` or array_like, optional
        Data at or above it are saturated.
    name : str, optional
        Name of the parameter, for messages.
    check : callable, optional
        Function of the array and the unit that raises an error for data that cannot be used.

    Returns
    -------
    Measured
        The image.

    Warns
    -----
    `~astropy.utils.exceptions.AstropyUserWarning`
        If there are fill values, regions of one value or overscan strips.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.containers.parsing import measured
    >>> image = np.random.default_rng(1).normal(100, 5, (32, 32))
    >>> image[3, 4] = np.nan
    >>> int(measured(image, mask=image > 110).mask.sum()) == int((image > 110).sum())
    True
    """
    parts = take_apart(data, name)
    if check is not None:
        check(parts.values, parts.unit)
    order = celestial_order(data)
    array = parts.values if order is None else parts.values.transpose(order)
    integer = array.dtype.kind in 'iu'
    wide = array.dtype.itemsize >= (4 if integer else 8)
    values = _as_floats(array, np.dtype(np.float64 if wide else np.float32))
    # Integers of more than 24 bits do not fit into float32.
    dtype = np.float32 if not wide or integer and _largest(values) <= 2 ** 24 else np.float64
    bad = zeros(values.shape, dtype=bool)
    merge_mask(bad, parts.mask, f'mask of {name}', order)
    merge_mask(bad, mask, 'mask', order)
    deviations = Deviations(parts.uncertainty, parts.values.shape, parts.unit)
    if order is not None:
        deviations.transpose(order)
        if np.ndim(satlevel) > 2:
            satlevel = np.broadcast_to(satlevel, parts.values.shape, subok=True).transpose(order)
    if not isinstance(mask, CompleteMask):
        largest = np.iinfo(array.dtype).max if integer and not wide else None
        _find(values, bad, parts, satlevel, largest)
    junk, reason = deviations.find_junk(values, bad)
    if junk is not None:
        log.info('%d pixels count as masked: their stated errors are %s', np.count_nonzero(junk), reason)
        bad |= junk
    return Measured(values, bad.view(CompleteMask), dtype, parts.unit, parts.header, deviations, parts.mask, order)


def _as_floats(array, dtype):
    """Convert numbers to floats of native byte order, if they are others."""
    return array if array.dtype == dtype else blockwise(lambda part: part, array, dtype=dtype)


def _largest(values):
    """Return the largest magnitude."""
    return max((np.abs(values[i]).max(initial=0) for i in blocks(values.shape)), default=0)


def _find(values, bad, parts, satlevel, largest):
    """Add pixels that are not measurements to a mask."""
    _find_damage(values, bad)
    found = fill_values(values, bad)
    if found is not None:
        _warn(f'{np.count_nonzero(found)} values such as {values[found][0]:g}, far from all others',
              'taken for fill values')
        bad |= found
    found, reason = saturated_pixels(values, bad, parts.header, parts.unit, satlevel, largest)
    if found is not None:
        log.info('%d pixels count as saturated: they %s', count_where(lambda new, old: new & ~old, found, bad), reason)
        bad |= found
    numbers, constants = {'constant': 0, 'overscan': 0}, set()
    for i in np.ndindex(values.shape[:-2]):
        found, its = constant_regions(values[i], bad[i])
        if found is not None:
            numbers['constant'] += np.count_nonzero(found)
            constants |= set(its)
            bad[i] |= found
        found = overscan(values[i], bad[i], parts.header)
        if found is not None:
            numbers['overscan'] += np.count_nonzero(found)
            bad[i] |= found
    if numbers['constant']:
        values_found = ', '.join(f'{value:g}' for value in sorted(constants)[:4])
        _warn(f'{numbers["constant"]} pixels in regions of one constant value ({values_found})', 'no measurements')
    if numbers['overscan']:
        _warn(f'{numbers["overscan"]} pixels in strips without light', 'taken for overscan')


def _find_damage(values, bad):
    """Add blocks of random numbers to a mask."""
    number, places = 0, []
    for i in np.ndindex(values.shape[:-2]):
        found, own = damaged_blocks(values[i], bad[i])
        if found is not None:
            number += np.count_nonzero(found)
            where = f'plane {i}, ' if i else ''
            places += [f'{where}rows {rows.start} to {rows.stop - 1}, columns {columns.start} to {columns.stop - 1}'
                       for rows, columns in own]
            bad[i] |= found
    if places:
        more = f' and {len(places) - _PLACES} more places' if len(places) > _PLACES else ''
        _warn(f'{number} values in blocks of random numbers ({"; ".join(places[:_PLACES])}{more})',
              'taken for damage, as of a file that was corrupted,')


def _warn(which, what):
    warn_user(f'data has {which}: they are {what} and do not count')


def extend_mask(own, added):
    """
    Extend a mask or flags.

    Parameters
    ----------
    own : array_like of bool, flags or None
        The original mask of an image.
    added : `~numpy.ndarray` of bool
        True at the pixels to add, of the shape of the image.

    Returns
    -------
    `~numpy.ndarray` or None
        Of the type of ``own``: bool, or flags, in which an unused bit (else the lowest) marks the added pixels. None if
        there was no mask and nothing is added.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.containers.parsing import extend_mask
    >>> extend_mask(np.array([[5, 0]], 'u1'), np.array([[True, True]]))
    array([[5, 2]], dtype=uint8)
    """
    if own is None or own is np.ma.nomask:
        return added if added.any() else None
    own = np.asarray(own)
    new = blockwise(lambda more, old: more & ~old.astype(bool), added, np.broadcast_to(own, added.shape))
    if not new.any():
        return np.array(own)
    own = blockwise(lambda old: old, np.broadcast_to(own, added.shape), dtype=own.dtype)
    if own.dtype.kind not in 'iu':
        return blockwise(lambda old, more: np.where(more, True, old), own, new, out=own)
    used = int(np.bitwise_or.reduce(own, axis=None))
    bits = 8 * own.dtype.itemsize - (own.dtype.kind == 'i')
    bit = own.dtype.type(next((1 << bit for bit in range(bits) if not used >> bit & 1), 1))
    return blockwise(lambda old, more: np.where(more, old | bit, old), own, new, out=own)
