# Licensed under a 3-clause BSD style license - see LICENSE
"""
Raster images: PNG, JPEG and TIFF.
"""

import re

import numpy as np
from astropy import units as u
from astropy.nddata import CCDData

__all__ = ['is_raster', 'raster_layout', 'read_raster']

_SUFFIX = re.compile(r'\.(png|jpe?g|tiff?)$', re.IGNORECASE)
# Modes of pillow whose numbers are pixels, and their types.
_TYPES = {'1': 'bool', 'L': 'uint8', 'I;16': 'uint16', 'I;16B': 'uint16', 'I;16L': 'uint16', 'I': 'int32',
          'F': 'float32', 'RGB': 'uint8'}


def is_raster(path):
    """Recognise the name of a raster image."""
    return _SUFFIX.search(str(path)) is not None


def _open(path):
    from PIL import Image, UnidentifiedImageError
    try:
        return Image.open(path)
    except (UnidentifiedImageError, SyntaxError) as error:
        raise OSError(f'{path} is no raster image, or it is damaged') from error


def _mode(image):
    """The mode in which an image is read: palettes, transparency and other colours become red, green and blue."""
    if image.mode in _TYPES:
        return image.mode
    return 'L' if image.mode == 'LA' else 'RGB'


def raster_layout(path):
    """
    Read the shape and type of a raster image, and no pixels.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    shape : tuple of int
        Rows and columns, behind the number of colours if there are several.
    dtype : str
        Type of the stored numbers.

    Raises
    ------
    OSError
        If it is no raster image.
    """
    with _open(path) as image:
        mode = _mode(image)
        shape = image.height, image.width
    return ((3, *shape) if mode == 'RGB' else shape), _TYPES[mode]


def read_raster(path, section=None):
    """
    Read a raster image.

    Parameters
    ----------
    path : str or path-like
        The file.
    section : tuple of int or slice, optional
        Index of the part that is kept.

    Returns
    -------
    `~astropy.nddata.CCDData`
        In adu; colours are planes. Numbers are as they are stored: of most JPEG files they are not linear in flux.

    Raises
    ------
    OSError
        If it is no raster image, or it is truncated.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from PIL import Image
    >>> from astropy_n2v.collections.raster import read_raster
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = Path(directory) / 'm.png'
    ...     Image.fromarray(np.zeros((8, 9, 3), dtype='u1')).save(path)
    ...     read_raster(path).shape
    (3, 8, 9)
    """
    with _open(path) as image:
        mode = _mode(image)
        array = np.asarray(image if image.mode == mode else image.convert(mode))
    if array.dtype == bool:
        array = array.astype(np.uint8)
    if array.ndim == 3:
        array = np.moveaxis(array, 2, 0)
    return CCDData(np.array(array if section is None else array[section]), unit=u.adu)
