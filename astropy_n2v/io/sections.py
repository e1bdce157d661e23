# Licensed under a 3-clause BSD style license - see LICENSE
"""
Parts of images, read without the rest.
"""

import math

import numpy as np
from astropy.io import fits

from ..utils.scratch import blocks, empty, is_large

__all__ = []


class HduSection:
    """
    An HDU of which a part is read.

    Of an image that is not compressed its rows are read and no others; of one that is compressed tile by tile, the
    tiles.

    Parameters
    ----------
    hdu : HDU
        An image of two or more dimensions.
    section : tuple of int or slice
        Index of the part; the last two entries are slices of rows and columns. Missing axes of ``hdu`` are left out,
        and of additional ones the first element is taken.
    """

    def __init__(self, hdu, section):
        n = len(hdu.shape)
        self.hdu = hdu
        self.key = (*(0,) * (n - len(section)), *section[-n:])

    def __getattr__(self, name):
        return getattr(self.hdu, name)

    @property
    def data(self):
        """The pixels of the part."""
        if isinstance(self.hdu, fits.CompImageHDU):
            return self.hdu.section[self.key]
        # Whole rows lie side by side; of parts of them, each is read by itself, which takes longer.
        return self.hdu.section[self.key[:-1]][..., self.key[-1]]

    @property
    def shape(self):
        """Shape of the part."""
        return tuple(len(range(*key.indices(size))) for key, size in zip(self.key, self.hdu.shape)
                     if isinstance(key, slice))

    @property
    def _blank(self):
        return self.hdu._blank

    @_blank.setter
    def _blank(self, value):
        self.hdu._blank = value


def section_of(hdu, section):
    """Take a section of an HDU; without a section, all of it."""
    return hdu if section is None else HduSection(hdu, section)


def load(hdu):
    """
    Read the pixels of an HDU; of a large one some rows at a time, into a file that is mapped into memory.

    Parameters
    ----------
    hdu : HDU or HduSection
        An image.

    Returns
    -------
    `~numpy.ndarray`
        As ``hdu.data``; of a large image in native byte order.
    """
    if isinstance(hdu, HduSection) or len(hdu.shape) < 2 or not is_large(hdu.shape, np.uint8):
        return hdu.data
    data = None
    for index in tile_rows(hdu):
        part = HduSection(hdu, (*index, slice(0, hdu.shape[-1]))).data
        if data is None:
            data = empty(hdu.shape, part.dtype.newbyteorder('='))
        data[index] = part
    return data


def tile_rows(hdu):
    """Yield the index of rows that are processed together: of whole tiles of an image that is compressed by tiles."""
    *planes, tile, _ = hdu.tile_shape if isinstance(hdu, fits.CompImageHDU) else (1,) * len(hdu.shape)
    *first, height, width = hdu.shape
    done = {}
    # Tiles may have several planes, which are then processed together.
    for *group, rows in blocks((*(-(-n // step) for n, step in zip(first, planes)), height, width * math.prod(planes))):
        start = done.get(tuple(group), 0)
        stop = height if rows.stop == height else rows.stop // tile * tile
        if stop > start:
            done[tuple(group)] = stop
            yield *(i if step == 1 else slice(i * step, min((i + 1) * step, n))
                    for i, step, n in zip(group, planes, first)), slice(start, stop)
