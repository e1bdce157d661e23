# Licensed under a 3-clause BSD style license - see LICENSE
"""
Parts of an image that are separate images: colours, phases of an interpolation, amplifiers.
"""

import logging

import numpy as np

from ..utils.warn import warn_user
from .amplifier_edges import amplifier_edges
from .model import NoiseModel
from .phases import interpolation_period
from .stripes import announces_mosaic, mosaic_contrast

__all__ = ['WHOLE', 'is_mosaic', 'lattice', 'part_of', 'pixels_of', 'split_views']

log = logging.getLogger(__name__)

#: The view of all pixels.
WHOLE = slice(None), slice(None)

# Least difference of the levels of colours in units of the noise, with and without a header that announces them.
_ANNOUNCED, _UNANNOUNCED = 0.1, 0.5
_MIN_SIZE = 16   # pixels along each axis of a part


def is_mosaic(image, mask, header):
    """
    Recognise a raw mosaic of colour filters: the levels of the pixels of 2x2 blocks differ.

    Parameters
    ----------
    image : `~numpy.ndarray`
        Data of shape (ny, nx).
    mask : `~numpy.ndarray` of bool
        True where they do not count.
    header : mapping
        Header or other metadata. Where it announces a mosaic (card BAYERPAT and the like), smaller differences suffice.

    Returns
    -------
    bool
        True for a raw mosaic.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.noise.views import is_mosaic
    >>> image = np.random.default_rng(0).normal(100, 5, (128, 128))
    >>> image[::2, ::2] += 10
    >>> is_mosaic(image, np.zeros(image.shape, bool), {})
    True
    """
    if min(image.shape) < 2 * _MIN_SIZE:
        return False
    least = _ANNOUNCED if announces_mosaic(header) else _UNANNOUNCED
    return bool(mosaic_contrast(image, mask, least=least) > 0)


def lattice(period):
    """
    Divide an image into the phases of a lattice.

    Parameters
    ----------
    period : int
        Its period along both axes, in pixels.

    Returns
    -------
    list of tuple of slice
        Index of the pixels of each phase, ``period ** 2`` of them.

    Examples
    --------
    >>> from astropy_n2v.noise.views import lattice
    >>> lattice(2)[1]
    (slice(0, None, 2), slice(1, None, 2))
    """
    return [(slice(y, None, period), slice(x, None, period)) for y in range(period) for x in range(period)]


def split_views(image, mask, header, parameters, name=''):
    """
    Divide an image into parts whose noise is of one kind each.

    Parameters
    ----------
    image : `~numpy.ndarray`
        Data of shape (ny, nx).
    mask : `~numpy.ndarray` of bool
        True where they do not count.
    header : mapping
        Header or other metadata.
    parameters : dict
        Parameters of the noise from the user: ``noise``, ``gain``, ``readnoise``. Where these vary over the image,
        they define the amplifiers.
    name : str, optional
        Name of the image at the start of a warning.

    Returns
    -------
    list of tuple of slice
        Each pixel belongs to one of them. A warning is issued where the user may not know of the parts.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.noise.views import split_views
    >>> image = np.random.default_rng(0).normal(size=(128, 128))
    >>> split_views(image, np.zeros((128, 128), bool), {}, {})
    [(slice(None, None, None), slice(None, None, None))]
    >>> image[::2, 1::2] += 5
    >>> split_views(image, np.zeros((128, 128), bool), {}, {})[1]
    (slice(0, None, 2), slice(1, None, 2))
    """
    if is_mosaic(image, mask, header):
        log.info('%smosaic of colour filters: their levels differ by more than the noise, each is denoised by itself',
                 name)
        return lattice(2)
    period = interpolation_period(image, mask)
    if period > 1 and min(image.shape) >= period * _MIN_SIZE:
        warn_user(f'{name}interpolated noise: its size changes with a period of {period} pixels, as in a frame '
                  'that was debayered or enlarged. Pixels of each phase are denoised by themselves; better denoise '
                  'before interpolation')
        return lattice(period)
    return _amplifiers(image, mask, parameters, name)


def pixels_of(view):
    """
    Name the pixels of a mosaic in a view.

    Parameters
    ----------
    view : tuple of slice
        From `split_views`.

    Returns
    -------
    str
        Such as '1::2, 0::2'; 'all' if the view is not a lattice.

    Examples
    --------
    >>> from astropy_n2v.noise.views import WHOLE, pixels_of
    >>> pixels_of(WHOLE), pixels_of((slice(1, None, 2), slice(0, None, 2)))
    ('all', '1::2, 0::2')
    """
    if all(axis.step is None for axis in view):
        return 'all'
    return ', '.join(f'{axis.start}::{axis.step}' for axis in view)


def _amplifiers(image, mask, parameters, name):
    noise = parameters.get('noise')
    known = [getattr(noise, part, None) for part in ('sigma', 'gain', 'zero_point')]
    if any(np.size(value) > 1 for value in (*known, parameters.get('gain'), parameters.get('readnoise'))):
        return [WHOLE]
    edges = amplifier_edges(image, mask)
    if not any(edges):
        return [WHOLE]
    text = ' and '.join(f'{what} {", ".join(map(str, where))}' for what, where in zip(('row', 'column'), edges)
                        if where)
    warn_user(f'{name}level or noise has a step at {text}, as where two amplifiers meet: each part is denoised by '
              'itself. Give gain as an array if sources reach across')
    bounds = [[0, *where, n] for where, n in zip(edges, image.shape)]
    rows, columns = ([slice(*pair) for pair in zip(axis[:-1], axis[1:])] for axis in bounds)
    return [(row, column) for row in rows for column in columns]


def part_of(value, shape, view):
    """
    Return a parameter of the noise for some pixels of an image.

    Parameters
    ----------
    value : float, array_like, `~astropy.units.Quantity`, NoiseModel or None
        Value for the whole image.
    shape : tuple of int
        Shape of the image that it broadcasts to.
    view : tuple of slice
        The pixels.

    Returns
    -------
    as ``value``
        Value for these pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.noise.views import part_of
    >>> part_of(np.array([1.0, 2.0, 3.0]), (2, 3), (slice(0, 1), slice(1, None)))
    array([[2., 3.]])
    """
    if isinstance(value, NoiseModel) and view != WHOLE:
        return value.map(lambda _, values: part_of(values, shape, view))
    if value is None or np.ndim(value) == 0 or view == WHOLE:
        return value
    try:
        return np.broadcast_to(value, shape, subok=True)[view]
    except ValueError:
        return value   # the code that uses it raises the error
