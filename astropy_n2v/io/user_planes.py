# Licensed under a 3-clause BSD style license - see LICENSE
"""
Masks and uncertainties that the caller gives in place of, or in addition to, what a FITS file has.
"""

import os
import re

import numpy as np
from astropy.nddata import NDUncertainty

from ..utils.scratch import blockwise
from .neighbours import role_of_file
from .select import hdu_label, mask_hdus, science_hdus, uncertainty_hdus
from .source import FitsSource

__all__ = []


def find_given(name, given, source, index, read):
    """
    Find a mask or an uncertainty that the caller gives.

    Parameters
    ----------
    name : {'mask', 'uncertainty'}
        Its kind.
    given : array_like, `~astropy.nddata.NDUncertainty`, str or path-like
        An array, a file, ``FILE[EXT]``, or an extension of the file of the image.
    source : FitsSource
        The file of the image.
    index : int
        Position of the image.
    read : callable
        Makes a mask or an uncertainty of an HDU, the primary header of its file, and the role that the name of
        the file says, or None; or of an array, None and None.

    Returns
    -------
    `~numpy.ndarray` or `~astropy.nddata.NDUncertainty`
        A copy, of the shape of the image.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If there is no such extension, it is not clear which one is meant, or its shape is another.
    """
    science = source.hdus[index]
    if not isinstance(given, (str, os.PathLike)):
        found, where = read(given, None, None), 'an array'
    else:
        path, ext = os.fspath(given), None
        bracket = re.fullmatch(r'(.+)\[([^][]+)\]', path)
        if bracket and not os.path.exists(path):
            path, ext = bracket.groups()
        if os.path.exists(path):
            with FitsSource(path) as other:
                hdu, where = _choose_given(name, other.hdus, ext, science)
                found = read(hdu, other.hdus[0].header, role_of_file(path))
            where = f'{where} of {path}'
        elif ext is not None:
            raise FileNotFoundError(2, 'No such file or directory', path)
        else:
            try:
                hdu, where = _choose_given(name, source.hdus, path, science)
            except ValueError as error:
                raise ValueError(f'{name} must be a file or an extension, got {path!r}: {error}') from None
            found = read(hdu, source.hdus[0].header, None)
    array = found.array if isinstance(found, NDUncertainty) else found
    if np.shape(array) not in (science.shape, science.shape[-2:]):
        raise ValueError(f'{name} must have the shape of the data, {science.shape}, got {np.shape(array)} from {where}')
    return broadcast(found, science.shape)


def broadcast(found, shape):
    """Copy a mask or an uncertainty to all planes of a cube."""
    if isinstance(found, NDUncertainty):
        return type(found)(broadcast(found.array, shape), copy=False, unit=found.unit)
    found = np.asarray(found)
    return blockwise(lambda part: part, np.broadcast_to(found, shape), dtype=found.dtype)


def _choose_given(name, hdus, ext, science):
    """Choose the extension of a file that the caller means; of several, the one with the version of the image."""
    if ext is not None:
        chosen = science_hdus(hdus, ext)
    else:
        chosen = mask_hdus(hdus) if name == 'mask' else uncertainty_hdus(hdus)
    fitting = [i for i in chosen if hdus[i].ver == science.ver] if len(chosen) > 1 else chosen
    if len(fitting) != 1:
        names = ', '.join(hdu_label(hdus[i], i) for i in chosen) or 'none'
        raise ValueError(f'{name} must have one extension for version {science.ver}, got {names}')
    return hdus[fitting[0]], hdu_label(hdus[fitting[0]], fitting[0])
