# Licensed under a 3-clause BSD style license - see LICENSE
"""
The axes of an image among the axes of an array, by its WCS.
"""

import logging
import re
import warnings

import numpy as np
from astropy.wcs import WCS

from ..utils.warn import warn_user

__all__ = []

log = logging.getLogger(__name__)

# CTYPE of spectral axes that WCS libraries do not know, other than in the standard.
_SPECTRAL = re.compile(r'(LAMBDA|WAVELEN|WAVE|AWAV|FREQ|VELO|VRAD|VOPT|FELO|ENER|SPECTR|CHAN(NEL|$))', re.IGNORECASE)


def read_wcs(header, hdus=None):
    """
    Read the WCS of an image.

    Parameters
    ----------
    header : `~astropy.io.fits.Header`
        Its header.
    hdus : `~astropy.io.fits.HDUList`, optional
        The file, which may have tables of distortions.

    Returns
    -------
    `~astropy.wcs.WCS` or None
        None without a WCS, or if it cannot be read.
    """
    # The WCS of real files breaks in many ways, and none of them is a reason not to have the image.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            wcs = WCS(header, hdus)
        return wcs if any(wcs.wcs.ctype) else None
    except Exception as error:
        log.info('no WCS: %s', error)
        return None


def other_axes(wcs, shape):
    """
    Find the axes of an array that do not belong to an image.

    Parameters
    ----------
    wcs : `~astropy.wcs.WCS`, `~astropy.wcs.wcsapi.BaseLowLevelWCS` or None
        Its WCS.
    shape : tuple of int
        Its shape.

    Returns
    -------
    list of int or None
        All but two, ascending; None if they are not known.

    Examples
    --------
    >>> from astropy.wcs import WCS
    >>> from astropy_n2v.io.axes import other_axes
    >>> wcs = WCS(naxis=3)
    >>> wcs.wcs.ctype = 'WAVE', 'RA---TAN', 'DEC--TAN'   # FITS counts axes from the other end
    >>> other_axes(wcs, (9, 8, 3))
    [2]
    """
    ndim = len(shape)
    wcs = getattr(wcs, 'low_level_wcs', wcs)
    if wcs is None or wcs.pixel_n_dim != ndim:
        return None
    types = [str(kind or '') for kind in wcs.world_axis_physical_types]
    matrix = np.asarray(wcs.axis_correlation_matrix)
    sky = [kind.startswith(('pos.', 'custom:pos.')) for kind in types]
    axes = matrix[sky].any(axis=0)
    if np.count_nonzero(axes) == 2:
        return [ndim - 1 - int(i) for i in np.flatnonzero(~axes)[::-1]]
    if np.count_nonzero(axes) > 2:
        warn_user(f'the WCS does not single out two axes of the data, of shape {shape}, as axes of '
                  'an image: more than two depend on the position in the sky. The last two are taken; '
                  'transpose the data if others are meant')
        return None
    # Without celestial axes: a spectrum or a time series at each pixel of an image.
    names = list(wcs.wcs.ctype) if isinstance(wcs, WCS) else [''] * len(types)
    other = matrix[[kind.startswith(('em.', 'spect.', 'time')) or not kind and _SPECTRAL.match(name) is not None
                    for kind, name in zip(types, names)]].any(axis=0)
    if np.count_nonzero(other) == ndim - 2:
        return [ndim - 1 - int(i) for i in np.flatnonzero(other)[::-1]]
    return None


def image_axes(hdu):
    """
    Find the axes of the planes of an image: the axes of the sky, or else the last two.

    Parameters
    ----------
    hdu : HDU
        An image of two or more dimensions.

    Returns
    -------
    tuple of int
        Axes of its array, ascending.
    """
    axes = tuple(range(len(hdu.shape)))
    if len(axes) == 2:
        return axes
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')   # said when the image is read
        others = other_axes(read_wcs(hdu.header), tuple(hdu.shape))
    return axes[-2:] if others is None else tuple(axis for axis in axes if axis not in others)


def plane_shape(hdu):
    """Find the height and width of the planes of an image, see `image_axes`."""
    return tuple(hdu.shape[axis] for axis in image_axes(hdu))


def check_sky_last(hdu, label):
    """
    Refuse an image of which the axes of the sky are not the last two, where its planes are read one by one.

    Raises
    ------
    ValueError
        If they are not.
    """
    if image_axes(hdu)[0] != len(hdu.shape) - 2:
        raise ValueError(f'HDU {label} must have the axes of the sky at the end of its array for this: '
                         f'{describe_axes(hdu)}')


def describe_axes(hdu):
    """
    Name the axes of an image with three or more, and say how to put the axes of an image last.

    Parameters
    ----------
    hdu : HDU
        The image.

    Returns
    -------
    str
        Such as "its axes, in the order of an array, are 64 (NAXIS3, DEC--TAN), ...".
    """
    shape = tuple(hdu.shape)
    names = [f'{n} (NAXIS{i}{_ctype(hdu.header, i)})' for n, i in zip(shape, range(len(shape), 0, -1))]
    image = image_axes(hdu)
    if image[0] == len(shape) - 2:   # not known: the longest ones, it may be
        image = sorted(sorted(range(len(shape)), key=lambda axis: shape[axis])[-2:])
    others = [axis for axis in range(len(shape)) if axis not in image]
    how = f'moveaxis(data, {others[0]}, 0)' if len(others) == 1 else f'transpose(data, {(*others, *image)})'
    return (f'its axes, in the order of an array, are {", ".join(names)}; images are taken over the last two, if '
            f'CTYPEn do not name the axes of the sky. Bring these to the end, as by numpy.{how}')


def _ctype(header, axis):
    try:
        name = str(header.get(f'CTYPE{axis}', '')).strip()
    except Exception:   # a card that cannot be parsed
        name = ''
    return f', {name}' if name else ''
