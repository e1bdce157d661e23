# Licensed under a 3-clause BSD style license - see LICENSE
"""
Blocks of the images of a collection, cut straight from the files, with their noise.
"""

import logging
import math
import re
import warnings
from functools import lru_cache

import numpy as np

from ..blind_spot import find_hole
from ..containers.container import Container
from ..exceptions import CannotDenoiseError
from ..io.raster import is_raster
from ..io.reading import read_image
from ..io.source import FitsSource
from ..noise.views import WHOLE
from ..planes import Plane, find_planes
from ..utils.checks import check_integer
from ..utils.names import printable
from .raster import read_picture

__all__ = ['CollectionBlocks', 'read_section']

log = logging.getLogger(__name__)

# Blocks begin at multiples of it, in pixels, so that mosaics keep their phase; as for the noise of a set.
_PERIODS = 12
# Height and width, in pixels, of the middle of an image that its noise is measured on.
_MEASURED = 1024
# Images whose noise a process remembers: a kilobyte each.
_REMEMBERED = 4096
# Cards that give parts of the frame as pixels; and the parts of it that they are about: the data, or what is not.
_AREAS = {'BIASSEC': False, 'TRIMSEC': True, 'DATASEC': True}


def read_section(path, ext, section, *, shape=None, ignore_bits=0):
    """
    Read a part of an image, with its uncertainty and its mask.

    Of a FITS file only these pixels are read: rows of an image as it is, tiles of one that is compressed by tiles
    (``.fz``). A file that is compressed as a whole (``.gz``, ``.bz2``) is decompressed each time.

    Parameters
    ----------
    path : str
        FITS file or raster image.
    ext : int
        Number of the HDU.
    section : tuple of int or slice
        Index of the part, slices of rows and columns last.
    shape : tuple of int, optional
        Rows and columns of the image, for cards that name parts of it.
    ignore_bits : int, str, list of int or None, optional
        See `~astropy_n2v.io.read_fits_images`.

    Returns
    -------
    `~astropy.nddata.CCDData`
        The part. Cards DATASEC, TRIMSEC and BIASSEC of its header describe the part.

    Raises
    ------
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from astropy.io import fits
    >>> from astropy_n2v.collections import read_section
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = Path(directory) / 'a.fits'
    ...     fits.writeto(path, np.arange(400).reshape(20, 20))
    ...     read_section(path, 0, (slice(3, 5), slice(0, 3))).data.tolist()
    [[60, 61, 62], [80, 81, 82]]
    """
    if is_raster(path):
        return read_picture(path)[section]
    with FitsSource(path, quiet=True) as source:
        ccd = read_image(source, ext, ignore_bits, section=section)
        shape = shape or source.hdus[ext].shape[-2:]
    cut_areas(ccd, shape, section[-2:])
    return ccd


def cut_areas(ccd, shape, cut):
    """
    Express the parts of a frame that its header names in pixels of a part of it; mask a part without light.

    Parameters
    ----------
    ccd : `~astropy.nddata.CCDData`
        The part of the frame. Its header is changed; it may get a mask.
    shape : tuple of int
        Rows and columns of the frame.
    cut : tuple of slice
        Rows and columns of the part.
    """
    for keyword, is_data in _AREAS.items():
        found = re.findall(r'\d+', str(ccd.header.get(keyword, '')))
        if len(found) != 4:
            continue
        x0, x1, y0, y1 = map(int, found)
        (x0, x1), (y0, y1) = sorted((x0, x1)), sorted((y0, y1))
        if min(x0, y0) < 1 or x1 > shape[1] or y1 > shape[0]:
            continue   # of the frame before it was trimmed or binned
        if not is_data and (y1 - y0 + 1, x1 - x0 + 1) == tuple(shape):
            continue   # no overscan is all of the frame
        (first_y, last_y), (first_x, last_x) = ((part.start, part.stop) for part in cut)
        y0, y1 = max(y0 - first_y, 1), min(y1, last_y) - first_y
        x0, x1 = max(x0 - first_x, 1), min(x1, last_x) - first_x
        empty = y0 > y1 or x0 > x1
        whole = not empty and (y1 - y0 + 1, x1 - x0 + 1) == (last_y - first_y, last_x - first_x)
        if (empty and is_data) or (whole and not is_data):
            ccd.mask = np.ones(ccd.shape, dtype=bool)
        if empty or whole:
            ccd.header.remove(keyword)
        else:
            ccd.header[keyword] = f'[{x0}:{x1},{y0}:{y1}]'


class CollectionBlocks:
    """
    Blocks of the images of a collection in a random order, each read when it is asked for.

    The order follows from the seed alone: the n-th block is the same in any process, so that several of them can read
    ahead and a training can be resumed. Every epoch, all images come in another order, divided at other places.

    Parameters
    ----------
    manifest : `~astropy.table.Table`
        Rows of a catalogue; all of them are used.
    block_size : int, optional
        Height and width of a block in pixels, and up to 12 more; smaller images are one block.
    seed : int, optional
        Seed of the order.
    ignore_bits : int, str, list of int or None, optional
        See `~astropy_n2v.io.read_fits_images`.
    satlevel, noise, gain, readnoise : optional
        As for `astropy_n2v.denoise`, for all images. By default the noise of each image is measured once, on its
        middle, or follows from its uncertainty.

    Raises
    ------
    ValueError
        If there is no row, or ``block_size`` is less than 32.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from astropy_n2v.collections import CollectionBlocks, make_manifest
    >>> from astropy_n2v.simulate import make_scene
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     make_scene('survey', (128, 192), seed=1).observe(seed=1).write(Path(directory) / 'a.fits')
    ...     blocks = CollectionBlocks(make_manifest(directory), block_size=96)
    ...     (plane,) = blocks.planes(0)
    >>> len(blocks), plane.values.shape
    (4, (104, 108))
    """

    def __init__(self, manifest, *, block_size=512, seed=0, ignore_bits=0, satlevel=None, noise=None, gain=None,
                 readnoise=None):
        self.block_size, self.seed = check_integer('block_size', block_size, 32), check_integer('seed', seed, 0)
        if not len(manifest):
            raise ValueError('manifest must have at least one row, got none')
        self.images = [(path, ext, tuple(map(int, shape.split('x')))) for path, ext, shape in zip(
            *(manifest[name].tolist() for name in ('path', 'ext', 'shape')))]
        #: SHA-1 and extension of each image.
        self.contents = list(zip(*(manifest[name].tolist() for name in ('sha1', 'ext'))))
        self.ignore_bits, self.satlevel = ignore_bits, satlevel
        self.noise = {'noise': noise, 'gain': gain, 'readnoise': readnoise}
        counts = [math.prod(shape[:-2]) * math.prod(map(self._divide, shape[-2:])) for _, _, shape in self.images]
        self._ends = np.cumsum(counts)
        self._own_noise = lru_cache(_REMEMBERED)(self._measure_noise)

    def __len__(self):
        return int(self._ends[-1])

    def __getstate__(self):
        # Measurements stay with the process that made them.
        return {name: value for name, value in vars(self).items() if name not in ('_own_noise', '_order')}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._own_noise = lru_cache(_REMEMBERED)(self._measure_noise)

    def _divide(self, n):
        """Number of blocks along an axis."""
        return max(1, -(-n // self.block_size))

    def place(self, n):
        """
        Find the n-th block.

        Parameters
        ----------
        n : int
            From 0; from ``len(blocks)`` on, the next epoch begins.

        Returns
        -------
        image : int
            Number of the row of the manifest.
        section : tuple of int or slice
            Plane, rows and columns.
        """
        epoch, position = divmod(int(n), len(self))
        if getattr(self, '_order', (None,))[0] != epoch:
            self._order = epoch, np.random.default_rng([self.seed, epoch]).permutation(len(self))
        block = int(self._order[1][position])
        image = int(np.searchsorted(self._ends, block, side='right'))
        block -= int(self._ends[image - 1]) if image else 0
        shape = self.images[image][2]
        parts = tuple(map(self._divide, shape[-2:]))
        *plane, y, x = map(int, np.unravel_index(block, (*shape[:-2], *parts)))
        rng = np.random.default_rng([self.seed, epoch, image, *plane, y, x])
        return image, (*plane, *(self._slice(size, i, count, rng) for size, i, count in zip(shape[-2:], (y, x), parts)))

    def _slice(self, size, i, count, rng):
        """Part of an axis: of equal blocks from its first to its last pixel, those between them moved at random."""
        if count == 1 and size <= self.block_size:
            return slice(0, size)
        last = size - self.block_size
        reach = self.block_size // 8
        start = round(i * last / (count - 1))
        if 0 < i < count - 1:
            start += int(rng.integers(-reach, reach + 1))
        # The phase moves it forward by less than a period, which its length makes up for.
        start = min(max(start, 0), last) // _PERIODS * _PERIODS
        return slice(start, min(start + self.block_size + _PERIODS, size))

    def read(self, n):
        """
        Read the n-th block.

        Parameters
        ----------
        n : int
            As for `place`.

        Returns
        -------
        `~astropy.nddata.CCDData`
            Its data, with uncertainty and mask.
        """
        image, section = self.place(n)
        return self._read(image, section)

    def _read(self, image, section):
        path, ext, shape = self.images[image]
        return read_section(path, ext, section, shape=shape[-2:], ignore_bits=self.ignore_bits)

    def planes(self, n):
        """
        Read the n-th block and find its noise.

        Parameters
        ----------
        n : int
            As for `place`.

        Returns
        -------
        list of Plane
            As `astropy_n2v.denoise` sees them: several where colours or amplifiers are apart, none where the block
            has nothing to train on.

        Raises
        ------
        OSError, ValueError
            If the file has changed since it was catalogued.
        """
        image, section = self.place(n)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')   # of each block; what is wrong with a frame check_manifest() says
            try:
                frame = Container(self._read(image, section), satlevel=self.satlevel)
                given = any(value is not None for value in self.noise.values())
                noise = None if given or frame.deviations else self._own_noise(image, section[:-2])
                if noise is not None:
                    planes = [Plane((), frame.values, noise, np.asarray(frame.mask), noise)]
                else:
                    planes = find_planes(frame, **self.noise)[0]
                    find_hole(planes)
            except CannotDenoiseError as error:
                log.info('a block of %s is left out: %s', printable(self.images[image][0]), error)
                return []
        return [plane for plane in planes if not (plane.mask | ~np.isfinite(plane.values)).all()]

    def _measure_noise(self, image, plane):
        """The noise of an image from its middle, with its autocorrelation; None if it is not one for all pixels."""
        shape = self.images[image][2]
        middle = []
        for n in shape[-2:]:
            start = max(0, n - _MEASURED) // 2 // _PERIODS * _PERIODS
            middle.append(slice(start, min(start + _MEASURED, n)))
        try:
            planes = find_planes(Container(self._read(image, (*plane, *middle)), satlevel=self.satlevel))[0]
        except CannotDenoiseError:
            return None
        if len(planes) > 1 or planes[0].view != WHOLE or planes[0].patterns or planes[0].amplifiers:
            return None
        find_hole(planes)
        noise = planes[0].noise
        scalar = all(np.ndim(value) == 0 for value in (noise.sigma, noise.slope, noise.zero_point, noise.quantum))
        return noise if scalar else None
