# Licensed under a 3-clause BSD style license - see LICENSE
"""
The visible part of an image as a picture of the size of its pane, at a cost that does not grow with the image.
"""

import itertools
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

__all__ = ['COLOUR_MAPS', 'CUTS', 'STRETCHES', 'Picture', 'Pyramid', 'colour', 'find_norm']

#: Stretches from values to brightness that the page offers.
STRETCHES = 'asinh', 'linear', 'log', 'sqrt'
#: Ranges of values that the page offers, and how they are found.
CUTS = {
    'sky to stars': 'from 3 standard deviations below the sky to the 99.9th percentile of the result',
    'zscale': 'limits of the zscale algorithm of IRAF',
    '99 %': 'from the 0.5th to the 99.5th percentile',
    'all': 'from the lowest to the highest value',
}
#: Colour maps of matplotlib that the page offers; but for the first two, those that the colour-blind can read.
COLOUR_MAPS = 'gray', 'gray_r', 'viridis', 'cividis', 'inferno'
_SMALLEST = 256    # pixels on a side of the smallest overview: smaller ones save nothing
_SAMPLE = 512      # pixels on a side of the sample that cuts are measured on
_COLOURS = 256     # of a colour map
_LOG = 1000.0      # contrast of the logarithmic stretch, the default of DS9


class Picture(NamedTuple):
    """Values at the resolution of the screen, their place, and how many pixels of the image were read for them."""

    values: np.ndarray
    extent: tuple
    n_touched: int


class Pyramid:
    """
    An image with overviews of it, each of half the height and width of the one before.

    Parameters
    ----------
    levels : list of `~numpy.ndarray`
        The image, shape (ny, nx), and its overviews: means of the finite pixels of blocks of 2x2.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.gui.render import Pyramid
    >>> [level.shape for level in Pyramid.of(np.zeros((600, 1000))).levels]
    [(600, 1000), (300, 500), (150, 250)]
    """

    def __init__(self, levels):
        self.levels = levels

    @property
    def shape(self):
        """Shape of the image."""
        return self.levels[0].shape

    @classmethod
    def of(cls, image):
        """
        Compute the overviews of an image.

        Parameters
        ----------
        image : array_like
            Shape (ny, nx).

        Returns
        -------
        Pyramid
            In single precision, unless the image has double precision.
        """
        image = np.asarray(image)
        levels = [image.astype(_precision(image), copy=False)]
        while max(levels[-1].shape) > _SMALLEST:
            levels.append(_halve(levels[-1]))
        return cls(levels)

    @staticmethod
    def write(folder, name, shape, strips):
        """
        Write an image that comes in strips, and its overviews, to the files ``name.0.npy``, ``name.1.npy``, ...

        Parameters
        ----------
        folder : path-like
            Where to; files of these names are replaced.
        name : str
            Of the image.
        shape : tuple of int
            Of the image.
        strips : iterable of tuple
            First row and values of each strip, shape (n, nx).

        Examples
        --------
        >>> import tempfile
        >>> import numpy as np
        >>> from astropy_n2v.gui.render import Pyramid
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Pyramid.write(folder, 'a', (4, 3), [(0, np.zeros((2, 3))), (2, np.ones((2, 3)))])
        ...     float(Pyramid.load(folder, 'a').value(0, 3))
        1.0
        """
        folder, level = Path(folder), None
        # Removed first: those that a page still reads must stay as they are, under no name.
        for old in folder.glob(f'{name}.*.npy'):
            old.unlink()
        for start, values in strips:
            if level is None:
                level = np.lib.format.open_memmap(folder / f'{name}.0.npy', 'w+', _precision(values), tuple(shape))
            level[start:start + len(values)] = values
        for k in itertools.count(1):
            if max(level.shape) <= _SMALLEST:
                return
            level = _halve(level, partial(np.lib.format.open_memmap, folder / f'{name}.{k}.npy', 'w+'))

    @classmethod
    def load(cls, folder, name):
        """Open an image that was written; values are read from the disk when they are needed."""
        levels = []
        while (path := Path(folder) / f'{name}.{len(levels)}.npy').exists():
            levels.append(np.load(path, mmap_mode='r'))
        return cls(levels)

    def render(self, viewport, size):
        """
        Average the visible part to the resolution of the screen.

        Parameters
        ----------
        viewport : tuple of float
            Left, right, bottom and top in pixels of the image; the centre of the first pixel is 0.
        size : tuple of int
            Width and height of the pane in pixels of the screen.

        Returns
        -------
        Picture or None
            With at most one value for each pixel of the screen, and the extent (left, right, bottom, top) that they
            cover; None if nothing of the image is visible. At most ``(2 width + 4) (2 height + 4)`` pixels are read.
        """
        left, right, bottom, top = viewport
        width, height = (max(int(n), 1) for n in size)
        scale = max((right - left) / width, (top - bottom) / height, 1.0)
        k = min(int(np.log2(scale)), len(self.levels) - 1)
        level, block = self.levels[k], 2 ** k
        # Odd rows and columns are averaged with nothing, so that blocks keep their size.
        rows = _visible(bottom, top, block, level.shape[0])
        columns = _visible(left, right, block, level.shape[1])
        if rows.stop <= rows.start or columns.stop <= columns.start:
            return None
        part = np.asarray(level[rows, columns])
        extent = tuple(edge * block - 0.5 for edge in (columns.start, columns.stop, rows.start, rows.stop))
        return Picture(_shrink(part, (height, width)), extent, part.size)

    def value(self, x, y):
        """Value of the pixel at a place, NaN outside of the image."""
        i, j = int(np.floor(y + 0.5)), int(np.floor(x + 0.5))
        inside = 0 <= i < self.shape[0] and 0 <= j < self.shape[1]
        return float(self.levels[0][i, j]) if inside else float('nan')

    def sample(self):
        """Take every n-th pixel in both directions, so many as cuts need."""
        step = max(1, -(-max(self.shape) // _SAMPLE))
        return np.asarray(self.levels[0][::step, ::step], dtype=float)


def _precision(values):
    """Choose double precision for values that have it, else single."""
    return np.float64 if values.dtype.kind == 'f' and values.dtype.itemsize == 8 else np.float32


def _visible(low, high, block, n):
    """Find the blocks that an interval of pixels meets."""
    start, stop = np.floor((low + 0.5) / block), np.ceil((high + 0.5) / block)
    return slice(int(np.clip(start, 0, n)), int(np.clip(stop, 0, n)))


def _halve(image, make=np.empty):
    """Average blocks of 2x2, of the pixels that are there and finite."""
    ny, nx = image.shape
    result = make(dtype=image.dtype, shape=(-(-ny // 2), -(-nx // 2)))
    for start in range(0, result.shape[0], _SAMPLE):   # strips, as copies of large images take memory
        strip = image[2 * start:2 * (start + _SAMPLE)]
        padded = np.pad(strip, [(0, n % 2) for n in strip.shape], constant_values=np.nan)
        result[start:start + _SAMPLE] = _mean(padded, np.arange(0, padded.shape[0], 2),
                                              np.arange(0, padded.shape[1], 2))
    return result


def _mean(part, rows, columns):
    """Average the finite pixels of blocks that begin at some rows and columns; NaN where no pixel is finite."""
    def total(values):
        return np.add.reduceat(np.add.reduceat(values, rows, axis=0), columns, axis=1)

    good = np.isfinite(part)
    if good.all():
        counts = np.outer(np.diff(rows, append=part.shape[0]), np.diff(columns, append=part.shape[1]))
        return (total(part) / counts).astype(part.dtype)
    sums, counts = total(np.where(good, part, 0)), total(good.astype(part.dtype))
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan, dtype=part.dtype), where=counts > 0)


def _shrink(part, size):
    """Average to at most a size."""
    if part.shape[0] <= size[0] and part.shape[1] <= size[1]:
        return part
    rows, columns = (np.arange(min(n, m)) * n // min(n, m) for n, m in zip(part.shape, size))
    return _mean(part, rows, columns)


def find_norm(sample, top, *, cuts='sky to stars', stretch='asinh'):
    """
    Find the scale from values to brightness that input and result share.

    Parameters
    ----------
    sample : `~numpy.ndarray`
        Pixels of the input, from `Pyramid.sample`.
    top : `~numpy.ndarray`
        The same of the result, or again of the input.
    cuts : str or tuple of float, optional
        Of `CUTS`, or the lowest and the highest value.
    stretch : str, optional
        Of `STRETCHES`.

    Returns
    -------
    `~astropy.visualization.ImageNormalize`
        The scale.

    Raises
    ------
    ValueError
        If the cuts are no two increasing numbers, or no pixel is finite.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.gui.render import find_norm
    >>> sample = np.arange(100.0).reshape(10, 10)
    >>> norm = find_norm(sample, sample, cuts=(10, 20), stretch='linear')
    >>> float(norm(15.0))
    0.5
    """
    from astropy.visualization import AsinhStretch, ImageNormalize, LinearStretch, LogStretch, SqrtStretch

    from ..visualization import shared_norm
    found = shared_norm(sample, top=top)
    low, high, linear = found.vmin, found.vmax, found.stretch.a * (found.vmax - found.vmin)
    if not isinstance(cuts, str):
        low, high = cuts
        if None in (low, high) or not (np.isfinite([low, high]).all() and low < high):
            raise ValueError(f'cuts must be two increasing numbers, got {low} and {high}')
    elif cuts in ('zscale', '99 %'):
        other = shared_norm(sample, stretch='zscale' if cuts == 'zscale' else 'linear')
        low, high = other.vmin, other.vmax
    elif cuts == 'all':
        finite = sample[np.isfinite(sample)]
        low, high = finite.min(), finite.max()
        high = high if high > low else low + 1
    made = {'asinh': AsinhStretch(min(linear / (high - low), 1.0)), 'linear': LinearStretch(), 'log': LogStretch(_LOG),
            'sqrt': SqrtStretch()}[stretch]
    return ImageNormalize(vmin=float(low), vmax=float(high), stretch=made, clip=True)


def colour(values, norm, colour_map='gray'):
    """
    Colour values.

    Parameters
    ----------
    values : `~numpy.ndarray`
        Shape (ny, nx).
    norm : `~astropy.visualization.ImageNormalize`
        Scale from values to brightness.
    colour_map : str, optional
        Name of a colour map of matplotlib.

    Returns
    -------
    `~numpy.ndarray` of uint8
        Red, green, blue and opacity, shape (ny, nx, 4); values that are not finite are transparent.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.gui.render import colour, find_norm
    >>> values = np.array([[0.0, 1.0, np.nan]])
    >>> colour(values, find_norm(values, values, cuts=(0, 1), stretch='linear'))[0].tolist()
    [[0, 0, 0, 255], [255, 255, 255, 255], [0, 0, 0, 0]]
    """
    import matplotlib
    table = (matplotlib.colormaps[colour_map](np.linspace(0, 1, _COLOURS)) * 255).round().astype(np.uint8)
    good = np.isfinite(values)
    brightness = np.asarray(norm(np.where(good, values, norm.vmin)))
    picture = table[np.clip(brightness * _COLOURS, 0, _COLOURS - 1).astype(np.intp)]
    picture[~good] = 0
    return picture
