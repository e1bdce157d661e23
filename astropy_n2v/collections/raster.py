# Licensed under a 3-clause BSD style license - see LICENSE
"""
Pictures (PNG, JPEG and TIFF) as images of a collection.
"""

import numpy as np
from astropy import units as u
from astropy.nddata import CCDData

from ..io.raster import read_raster

__all__ = ['read_picture']


def read_picture(path):
    """
    Read a picture.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    `~astropy.nddata.CCDData`
        In adu, shape (ny, nx), or (3, ny, nx) of a colour picture; pixels without opacity are masked. Numbers are as
        they are stored: of most JPEG files they are not linear in flux.

    Raises
    ------
    ImportError
        If Pillow, or tifffile for TIFF, is not installed.
    OSError, ValueError
        If it cannot be read, or is neither grey nor RGB.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from PIL import Image
    >>> from astropy_n2v.collections.raster import read_picture
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = Path(directory) / 'm.png'
    ...     Image.fromarray(np.zeros((8, 9, 3), dtype='u1')).save(path)
    ...     read_picture(path).shape
    (3, 8, 9)
    """
    picture = read_raster(path)
    data = picture.data[0] if len(picture.data) == 1 else picture.data
    mask = None if picture.alpha is None else np.broadcast_to(picture.alpha == 0, data.shape).copy()
    return CCDData(np.array(data), unit=u.adu, mask=mask)
