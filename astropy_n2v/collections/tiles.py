# Licensed under a 3-clause BSD style license - see LICENSE
"""
Stores of tiles on disk, for programs that want them.
"""

import json
import math
import os
from pathlib import Path

import numpy as np

from ..background import background_level
from ..containers.parsing import measured
from ..exceptions import CannotDenoiseError
from ..noise import measure_sky
from ..utils.checks import check_integer
from .loading import read_section

__all__ = ['TileStore', 'write_tiles']

_FORMAT = 'astropy_n2v tiles'
_VERSION = 1   # of the format of the stores that are written, and the only one that is read
_INDEX = 'tiles.json'


def _starts(n, size, stride):
    """First pixels of the tiles along an axis; the last tile ends with the axis, so that nothing is padded."""
    size = min(size, n)
    starts = list(range(0, n - size + 1, stride))
    return starts if starts[-1] + size == n else [*starts, n - size]


def write_tiles(manifest, directory, *, size=512, stride=256, form='npy'):
    """
    Cut the images of a catalogue into tiles on disk.

    Training does not need them: it cuts patches from the files themselves. Tiles are stored as they were measured, in
    the type of the data, and the index has the level and noise of the sky of each image: nothing is rounded or clipped,
    so that the normalization is inverted exactly.

    Parameters
    ----------
    manifest : `~astropy.table.Table`
        Rows of a catalogue; those with an ``error`` are left out.
    directory : str or path-like
        Directory to make.
    size, stride : int, optional
        Height and width of tiles, and the distance between their first pixels. Smaller images are one tile; the last
        tile along an axis ends with the image.
    form : {'npy', 'zarr'}, optional
        A file with all tiles for each image, to be mapped into memory; or a zarr store with an array for each (needs
        zarr).

    Returns
    -------
    TileStore
        The store.

    Raises
    ------
    FileExistsError
        If the directory exists.
    ValueError
        If there is no image, or an option is out of its range.
    ImportError
        If ``form`` is 'zarr', and zarr is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from astropy_n2v.collections import make_manifest, write_tiles
    >>> from astropy_n2v.simulate import make_scene
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     make_scene('survey', (100, 160), seed=1).observe(seed=1).write(Path(directory) / 'a.fits')
    ...     store = write_tiles(make_manifest(directory), Path(directory) / 'tiles', size=64, stride=48)
    ...     z = store.normalized(0)
    >>> len(store), z.shape, bool(abs(z.mean()) < 5)
    (6, (64, 64), True)
    """
    size, stride = check_integer('size', size, 8), check_integer('stride', stride, 1)
    if stride > size:
        raise ValueError(f'stride must be at most size, {size}, so that no pixel is left out, got {stride}')
    if form not in ('npy', 'zarr'):
        raise ValueError(f"form must be 'npy' or 'zarr', got {form!r}")
    manifest = manifest[[not error for error in manifest['error'].tolist()]]
    if not len(manifest):
        raise ValueError('manifest must have at least one image that can be read, got none')
    save = _saver(form, directory)
    Path(directory).mkdir(parents=True)
    images = []
    for number, row in enumerate(manifest):
        shape = tuple(map(int, row['shape'].split('x')))
        for plane in np.ndindex(shape[:-2]):
            name = '-'.join(map(str, (row['id'] or number, row['ext'], *plane)))
            image = read_section(row['path'], int(row['ext']), (*plane, *(slice(0, n) for n in shape[-2:])))
            data, mask, level, noise = _normalization(image)
            places = [(y, x) for y in _starts(shape[-2], size, stride) for x in _starts(shape[-1], size, stride)]
            height, width = (min(size, n) for n in shape[-2:])
            save(name, np.stack([data[y:y + height, x:x + width] for y, x in places]))
            if mask.any():
                save(f'{name}-mask', np.stack([mask[y:y + height, x:x + width] for y, x in places]))
            images.append({'name': name, 'path': os.path.abspath(row['path']), 'sha1': str(row['sha1']),
                           'ext': int(row['ext']), 'plane': plane, 'level': level, 'noise': noise,
                           'masked': bool(mask.any()), 'places': places})
    # Last, so that a store that has an index is complete.
    index = {'format': _FORMAT, 'version': _VERSION, 'form': form, 'size': size, 'stride': stride, 'images': images}
    (Path(directory) / _INDEX).write_text(json.dumps(index), encoding='utf-8')
    return TileStore(directory)


def _normalization(image):
    """Return data, pixels that do not count, level and noise of the sky of an image; an unknown level is 0."""
    frame = measured(image)
    data = np.asarray(image.data)
    mask = np.asarray(frame.mask) | ~np.isfinite(frame.values)
    if mask.all():
        return data, mask, 0.0, 1.0
    level = float(background_level(frame.values, mask))
    try:
        noise = measure_sky(frame.values, mask).deviation
    except CannotDenoiseError:
        noise = 1.0
    return data, mask, level, noise if noise > 0 and math.isfinite(noise) else 1.0


def _saver(form, directory):
    """Function that writes an array of a name; files of one content have one name, and the same tiles."""
    if form == 'npy':
        return lambda name, array: np.save(Path(directory) / f'{name}.npy', array)
    zarr = _import_zarr()

    def save(name, array):
        array = array.astype(array.dtype.newbyteorder('='))
        zarr.open_group(str(Path(directory) / 'tiles.zarr'), mode='a').create_array(
            name, data=array, chunks=(1, *array.shape[1:]), overwrite=True)

    return save


def _import_zarr():
    try:
        import zarr
    except ImportError as error:
        raise ImportError("form 'zarr' needs zarr: pip install 'astropy-n2v[zarr]', or take 'npy'") from error
    return zarr


class TileStore:
    """
    A store of tiles.

    Parameters
    ----------
    directory : str or path-like
        Directory that `write_tiles` made.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is no store, one of a newer version, or is damaged.

    See Also
    --------
    write_tiles : Make one.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from astropy_n2v.collections import TileStore, make_manifest, write_tiles
    >>> from astropy_n2v.simulate import make_scene
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     make_scene('survey', (64, 64), seed=1).observe(seed=1).write(Path(directory) / 'a.fits')
    ...     made = write_tiles(make_manifest(directory), Path(directory) / 'tiles', size=32, stride=32)
    ...     store = TileStore(Path(directory) / 'tiles')
    ...     same = np.array_equal(store.denormalized(3, store.normalized(3)).astype('f4'), store.data(3))
    >>> len(store), store.place(3), same
    (4, (32, 32), True)
    """

    def __init__(self, directory):
        self.directory = Path(directory)
        text = (self.directory / _INDEX).read_text(encoding='utf-8')
        try:
            index = json.loads(text)
            if index['format'] != _FORMAT or index['version'] != _VERSION:
                raise ValueError(f'it has the format {index["format"]!r}, version {index["version"]}')
            self.form, self.images = index['form'], index['images']
            self.tiles = [(i, n) for i, image in enumerate(self.images) for n in range(len(image['places']))]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f'{self.directory} is no store of tiles of this version, or it is damaged: '
                             f'{error}') from error
        self._zarr = None

    def __len__(self):
        return len(self.tiles)

    def _array(self, name):
        if self.form == 'npy':
            return np.load(self.directory / f'{name}.npy', mmap_mode='r', allow_pickle=False)
        if self._zarr is None:
            self._zarr = _import_zarr().open_group(str(self.directory / 'tiles.zarr'), mode='r')
        return self._zarr[name]

    def image(self, i):
        """
        Return the entry of the index for the image of the i-th tile.

        Parameters
        ----------
        i : int
            Number of the tile.

        Returns
        -------
        dict
            Among others, path and extension of the image, and level and noise of its sky in data units.
        """
        return self.images[self.tiles[i][0]]

    def place(self, i):
        """
        Return the place of the i-th tile in its image.

        Parameters
        ----------
        i : int
            Number of the tile.

        Returns
        -------
        tuple of int
            First row and first column, counted from 0.
        """
        image, n = self.tiles[i]
        return tuple(self.images[image]['places'][n])

    def data(self, i):
        """
        Read the i-th tile as it was measured.

        Parameters
        ----------
        i : int
            Number of the tile.

        Returns
        -------
        `~numpy.ndarray`
            In data units, shape (size, size).
        """
        return np.array(self._array(self.image(i)['name'])[self.tiles[i][1]])

    def mask(self, i):
        """
        Read the mask of the i-th tile.

        Parameters
        ----------
        i : int
            Number of the tile.

        Returns
        -------
        `~numpy.ndarray` of bool
            True where pixels do not count, shape (size, size).
        """
        image = self.image(i)
        if not image['masked']:
            return np.zeros(self._array(image['name']).shape[1:], dtype=bool)
        return np.array(self._array(f'{image["name"]}-mask')[self.tiles[i][1]])

    def normalized(self, i):
        """
        Give the i-th tile in units of the noise of the sky above its level.

        Parameters
        ----------
        i : int
            Number of the tile.

        Returns
        -------
        `~numpy.ndarray` of float
            Double precision; NaN where pixels do not count.
        """
        image = self.image(i)
        z = (self.data(i).astype(float) - image['level']) / image['noise']
        z[self.mask(i)] = np.nan
        return z

    def denormalized(self, i, z):
        """
        Bring an array from the units of `normalized` back to data units.

        Parameters
        ----------
        i : int
            Number of the tile.
        z : array_like
            Such as a denoised tile.

        Returns
        -------
        `~numpy.ndarray` of float
            Double precision.
        """
        image = self.image(i)
        return np.asarray(z, dtype=float) * image['noise'] + image['level']
