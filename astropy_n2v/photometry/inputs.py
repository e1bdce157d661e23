# Licensed under a 3-clause BSD style license - see LICENSE
"""
Images, their noise, and positions, as measurements take them.
"""

import numpy as np
from astropy import units as u
from scipy.ndimage import gaussian_filter

from ..containers.deviations import Deviations
from ..containers.nodata import huge_values
from ..containers.parsing import merge_mask, take_apart
from ..noise import NoiseModel, estimate_noise
from ..utils.checks import require

__all__ = ['as_floats', 'as_image', 'as_positions', 'check_sigma', 'image_array', 'noise_sigma', 'position_array',
           'set_units', 'stated_sigma']


def as_image(name, data, mask=None, *, unit=None):
    """
    Convert an image to an array that is NaN at pixels that do not count.

    Parameters
    ----------
    name : str
        The parameter, for messages.
    data : `~astropy.nddata.NDData`, `~astropy.units.Quantity` or array_like
        Two-dimensional.
    mask : array_like of bool, optional
        True where it does not count, besides its own mask.
    unit : `~astropy.units.Unit`, optional
        Convert to this unit, if the data have one.

    Returns
    -------
    values : `~numpy.ndarray` of float64
        The image, shape (ny, nx).
    unit : `~astropy.units.Unit` or None
        Their unit.

    Raises
    ------
    ValueError
        If ``data`` is not two-dimensional or empty, or shapes do not agree.
    `~astropy.units.UnitConversionError`
        If its unit cannot be converted.

    Examples
    --------
    >>> from astropy_n2v.photometry.inputs import as_image
    >>> as_image('data', [[1, 2]], [[False, True]])[0]
    array([[ 1., nan]])
    """
    values, bad, own_unit = image_array(data, mask, name)
    values = np.array(values, dtype=float)
    if unit is not None and own_unit is not None and own_unit != unit:
        values *= own_unit.to(unit)
    values[bad] = np.nan
    return values, own_unit if unit is None else unit


def image_array(data, mask=None, name='data'):
    """
    Take a two-dimensional image apart.

    Parameters
    ----------
    data : `~astropy.nddata.NDData`, `~astropy.units.Quantity` or array_like
        Two-dimensional, measured, denoised or noise-free.
    mask : array_like of bool, optional
        True where it does not count, besides its own mask.
    name : str, optional
        The parameter, for messages.

    Returns
    -------
    values : `~numpy.ndarray`
        As they came.
    bad : `~numpy.ndarray` of bool
        True where they are masked, not finite, or fill values such as -1e30.
    unit : `~astropy.units.Unit` or None
        Their unit.

    Raises
    ------
    ValueError
        If ``data`` is not two-dimensional or empty, or shapes do not agree.
    """
    parts = take_apart(data, name)
    values = parts.values
    if values.ndim != 2:
        raise ValueError(f'{name} must be two-dimensional, got shape {values.shape}')
    if values.size == 0:
        raise ValueError(f'{name} must be an image with pixels, got shape {values.shape}')
    bad = ~np.isfinite(values)
    merge_mask(bad, parts.mask, f'mask of {name}')
    merge_mask(bad, mask, 'mask')
    found = huge_values(values, bad)
    return values, bad if found is None else bad | found, parts.unit


def as_floats(values):
    """Convert numbers to a float array, NaN where they are masked."""
    if isinstance(values, np.ma.MaskedArray):
        return values.astype(float).filled(np.nan)
    return np.asarray(values, dtype=float)


def position_array(name, sources):
    """
    Convert positions to one array.

    Parameters
    ----------
    name : str
        The parameter, for messages.
    sources : `~astropy.table.Table`, array_like or None
        With columns x and y, or of shape (n, 2) with x, y; None, which photutils returns where it finds nothing, is no
        source.

    Returns
    -------
    `~numpy.ndarray`
        Shape (n, 2).

    Raises
    ------
    ValueError
        If they have another shape, or are not finite.

    Examples
    --------
    >>> from astropy_n2v.photometry.inputs import position_array
    >>> position_array('truth', [(3, 4.5)]).tolist()
    [[3.0, 4.5]]
    """
    if sources is None:
        return np.empty((0, 2))
    columns = getattr(sources, 'colnames', None)
    if columns is not None:
        require({'x', 'y'} <= set(columns), name, 'have the columns x and y', columns)
        xy = np.stack([as_floats(sources['x']), as_floats(sources['y'])], axis=1)
    else:
        xy = as_floats(sources)
        if xy.size == 0:
            return np.empty((0, 2))
        if xy.ndim != 2 or xy.shape[1] != 2:
            raise ValueError(f'{name} must be a table with the columns x and y or of shape (n, 2), got shape '
                             f'{xy.shape}')
    if not np.isfinite(xy).all():
        raise ValueError(f'{name} must be finite, got {np.sum(~np.isfinite(xy).all(axis=1))} positions that are not')
    return xy


def as_positions(positions):
    """
    Convert positions to arrays x and y.

    Parameters
    ----------
    positions : `~astropy.table.Table` or array_like
        With columns x and y, or of shape (n, 2) with x, y; 0 is the centre of the first pixel.

    Returns
    -------
    x : `~numpy.ndarray`
        Positions along the columns, in pixels.
    y : `~numpy.ndarray`
        Positions along the rows, in pixels.

    Raises
    ------
    ValueError
        If there is no position, or they have another shape, or are not finite.
    """
    xy = position_array('positions', positions)
    if not len(xy):
        raise ValueError('positions must hold at least one source, got none')
    return xy[:, 0], xy[:, 1]


def noise_sigma(noise, data, signal=None, *, unit=None):
    """
    Find the standard deviation of the noise of each pixel.

    Parameters
    ----------
    noise : `~astropy_n2v.NoiseModel`, float, array_like or None
        The noise; None takes the uncertainty of ``data``, or measures the noise on the data.
    data : `~astropy.nddata.NDData` or array_like
        The noisy image.
    signal : `~numpy.ndarray`, optional
        Signal that the photon noise grows with; by default the mean of the data around each pixel, without its own: by
        about a pixel, so that it is too small at the peaks of narrow stars. A truth or a reference is better.
    unit : `~astropy.units.Unit`, optional
        Unit of ``noise`` if it is a Quantity.

    Returns
    -------
    `~numpy.ndarray`
        Of the shape of the data; NaN where unknown.

    Raises
    ------
    ValueError
        If ``noise`` is not positive or of another shape.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v import NoiseModel
    >>> from astropy_n2v.photometry.inputs import noise_sigma
    >>> float(noise_sigma(NoiseModel(3.0, gain=1.0), np.full((8, 8), 16.0))[4, 4])
    5.0
    """
    values, own_unit = as_image('data', data, unit=unit)
    if noise is None:
        noise = stated_sigma(data)
        if noise is None:
            noise = estimate_noise(values)
    if isinstance(noise, NoiseModel):
        noise.check_shape(values.shape)
        if signal is None:
            signal = _surroundings(values)
        variance = np.broadcast_to(noise.variance(np.where(np.isfinite(signal), signal, np.nan)), values.shape)
        return np.sqrt(variance)
    if isinstance(noise, u.Quantity):
        noise = noise.to_value(own_unit or u.dimensionless_unscaled)
    return np.broadcast_to(check_sigma('noise', noise, values.shape), values.shape)


def check_sigma(name, sigma, shape, kinds='a number'):
    """
    Check the standard deviation of noise, of all pixels or of each.

    Parameters
    ----------
    name : str
        Name of the argument.
    sigma : array_like or `~astropy.units.Quantity`
        The argument, of which a unit is ignored.
    shape : tuple of int
        Shape of the image.
    kinds : str, optional
        Values that are accepted beside an image.

    Returns
    -------
    `~numpy.ndarray`
        Of no dimension or of the given shape.

    Raises
    ------
    ValueError
        If the shape is another, or a finite value is not positive, or none is finite.
    """
    sigma = np.asarray(getattr(sigma, 'value', sigma), dtype=float)
    require(sigma.shape in ((), shape), name, f'be {kinds} or have the shape of the image, {shape}', sigma.shape)
    if not np.isfinite(sigma).any() or not (sigma[np.isfinite(sigma)] > 0).all():
        raise ValueError(f'{name} must be positive, got a minimum of {np.min(sigma)}')
    return sigma


def _surroundings(values):
    """
    The Gaussian mean of the pixels around each, without itself.

    With itself, pixels that noise has made bright would be said to be noisier, and the mean of all pulls would not be 0
    (at one count a pixel, -0.06).
    """
    good = np.isfinite(values)

    def smooth(image):
        return gaussian_filter(image, 1.0, mode='constant')   # mirrored edges would count pixels twice
    centre = smooth(np.pad([[1.0]], 4))[4, 4]
    filled, one = np.where(good, values, 0), good.astype(float)
    weight = smooth(one) - centre * one
    return np.where(weight > 0.05, (smooth(filled) - centre * filled) / np.maximum(weight, 1e-6), np.nan)


def stated_sigma(data):
    """
    Return the standard deviation that an image states, or None.

    Parameters
    ----------
    data : `~astropy.nddata.NDData` or array_like
        An image.

    Returns
    -------
    `~numpy.ndarray` or None
        NaN where it is not positive and finite.
    """
    if getattr(data, 'uncertainty', None) is None:
        return None
    parts = take_apart(data)
    stated = Deviations(parts.uncertainty, parts.values.shape, parts.unit)
    if not stated:
        return None
    sigma = stated.at(...)
    return sigma if np.isfinite(sigma).any() else None


def set_units(table, unit, columns):
    """
    Set the unit of the columns, of which a table may lack some.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Changed in place, and returned.
    unit : `~astropy.units.Unit` or None
        The unit.
    columns : iterable of str
        Names.

    Returns
    -------
    `~astropy.table.Table`
        The table.
    """
    for name in columns:
        if name in table.colnames and unit is not None:
            table[name].unit = unit
    return table
