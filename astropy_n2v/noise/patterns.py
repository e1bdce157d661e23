# Licensed under a 3-clause BSD style license - see LICENSE
"""
Patterns of the read-out that are longer than any blind spot: detection and subtraction.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_dilation, gaussian_filter

from ..utils.robust import MEDIAN_ABSOLUTE
from ..utils.scratch import blockwise, empty
from .offsets import find_offsets, section_edges
from .photons import photon_noise
from .quantisation import ROUNDED, find_steps
from .stripes import announces_mosaic

__all__ = ['Patterns', 'Stripes', 'find_patterns']

_TILE = 32   # pixels: size of a tile in which the background is constant for the detection of sources
_BLUR = 1.5   # pixels: blur for the detection of sources, about the narrowest point-spread function
_SOURCE, _SPREAD = 4.0, 3   # threshold of sources in sigma of the blurred noise, and margin in pixels
_LEAST_SKY = 0.25   # least fraction of pixels without sources
_PARTS = 1, 2, 4   # numbers of parts of a row: of the amplifiers that may read it
_BLOCK = 256   # rows that are processed together


class _Rows:
    """Rows of an image, or its columns, as float arrays with NaN where they do not count, without patterns found."""

    def __init__(self, values, bad, axis, found=()):
        self.values, self.bad = (values, bad) if axis == 'rows' else (values.T, bad.T)
        self.shape, self._axis, self._found = self.values.shape, axis, found

    def __getitem__(self, rows):
        part = self.values[rows].astype(float)
        part[self.bad[rows]] = np.nan
        for stripes in self._found:
            part -= stripes.model(rows, self._axis)
        return part

    def blocks(self, size=_BLOCK):
        """Yield slices of rows, one after the other."""
        return [slice(start, min(start + size, self.shape[0])) for start in range(0, self.shape[0], size)]


def _pixel_noise(image):
    """Measure the noise of a pixel without offsets of rows and columns, from differences along both."""
    step = max(1, image.shape[0] // 512)
    differences = []
    for start in range(0, image.shape[0] - 2, step):
        three = image[start:start + 3]
        line = three[0] - 2 * three[1] + three[2]
        differences.append(np.abs(line[:-2] - 2 * line[1:-1] + line[2:]))
    values = np.concatenate(differences) if differences else np.zeros(0)
    values = values[np.isfinite(values)]
    return float(np.median(values)) / MEDIAN_ABSOLUTE / 6 if values.size > 1000 else 0.0


def _section_medians(image):
    """Return the median of each section of each row, and where at least half of its pixels are valid."""
    edges = section_edges(image.shape[1])
    means, good = (np.zeros((image.shape[0], edges.size - 1), dtype=kind) for kind in (float, bool))
    for rows in image.blocks():
        block = image[rows]
        for k, part in enumerate(zip(edges[:-1], edges[1:])):
            section = block[:, slice(*part)]
            count = np.isfinite(section).sum(axis=1)
            good[rows, k] = 2 * count >= section.shape[1]
            full = count == section.shape[1]
            level = np.zeros(len(section))
            level[full] = np.median(section[full], axis=1)
            some = good[rows, k] & ~full
            if some.any():
                level[some] = np.nanmedian(section[some], axis=1)
            means[rows, k] = level
    return means, good


def _tile_levels(image, offsets):
    """Measure the levels of the background in tiles."""
    shape = [max(1, -(-n // _TILE)) for n in image.shape]
    levels = np.full(shape, np.nan)
    for y, rows in enumerate(image.blocks(_TILE)):
        band = (image[rows] - offsets[rows])[::2, ::2]
        for x in range(shape[1]):
            tile = band[:, x * _TILE // 2:(x + 1) * _TILE // 2]
            tile = tile[np.isfinite(tile)]
            if tile.size >= _TILE:
                levels[y, x] = np.median(tile)
    missing = np.isnan(levels)
    if missing.all():
        return np.zeros(shape)
    levels[missing] = np.median(levels[~missing])
    return levels


def _interpolated(levels, shape, rows):
    """Interpolate levels of tiles at the pixels of some rows, bilinearly."""
    y, x = ((np.arange(n) + 0.5) / _TILE - 0.5 for n in shape)
    y = np.clip(y[rows], 0, levels.shape[0] - 1)
    x = np.clip(x, 0, levels.shape[1] - 1)
    low = np.minimum(y.astype(int), max(levels.shape[0] - 2, 0))
    high = np.minimum(low + 1, levels.shape[0] - 1)
    lines = levels[low] + (y - low)[:, None] * (levels[high] - levels[low])
    left = np.minimum(x.astype(int), max(levels.shape[1] - 2, 0))
    right = np.minimum(left + 1, levels.shape[1] - 1)
    return lines[:, left] + (x - left) * (lines[:, right] - lines[:, left])


def _sky_means(image, offsets, noise):
    """Average each section of each row without sources and background; return means and where they count."""
    edges = section_edges(image.shape[1])
    levels = _tile_levels(image, offsets)
    means, counts = (np.zeros((image.shape[0], edges.size - 1)) for _ in range(2))
    margin = int(4 * _BLUR) + _SPREAD + 1
    unit = noise / (2 * np.sqrt(np.pi) * _BLUR)
    for block in image.blocks():
        rows = slice(max(block.start - margin, 0), min(block.stop + margin, image.shape[0]))
        inner = slice(block.start - rows.start, block.stop - rows.start)
        background = _interpolated(levels, image.shape, rows)
        values = image[rows]
        part = values - offsets[rows] - background
        valid = np.isfinite(part)
        blurred = np.abs(gaussian_filter(np.where(valid, part, 0), _BLUR, mode='nearest'))
        limit = _SOURCE * unit
        while True:
            sky = valid & ~binary_dilation(blurred > limit, iterations=_SPREAD)
            if np.count_nonzero(sky) >= _LEAST_SKY * np.count_nonzero(valid):
                break
            limit *= 2
        sky = sky[inner]
        # The background is averaged over all pixels of a section, also over the ones that are masked.
        background = background[inner]
        sums = np.add.reduceat(np.where(sky, values[inner] - background, 0), edges[:-1], axis=1)
        counts[block] = np.add.reduceat(sky.astype(float), edges[:-1], axis=1)
        means[block] = (sums / np.maximum(counts[block], 1)
                        + np.add.reduceat(background, edges[:-1], axis=1) / np.diff(edges))
    return means, counts >= 0.25 * np.diff(edges)


@dataclass
class Stripes:
    """
    Offsets that rows or columns share.

    Parameters
    ----------
    axis : str
        'rows' or 'columns'.
    edges : tuple of int
        First pixel along them of each part with offsets of its own, and the end.
    offsets, error : `~numpy.ndarray`
        Offsets and the standard deviation of their errors, of shape (rows or columns, parts), in data units.
    amplitude : float
        Standard deviation of the offsets in data units.
    period : int
        Number of pixels after which the offsets repeat; 0 if they do not.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.noise import Stripes
    >>> offsets = np.array([[3.0], [-3.0]])
    >>> Stripes('rows', (0, 100), offsets, np.full((2, 1), 0.1), amplitude=3.0, period=2).offsets.ravel().tolist()
    [3.0, -3.0]
    """

    axis: str
    edges: tuple
    offsets: np.ndarray
    error: np.ndarray
    amplitude: float
    period: int = 0

    def model(self, rows=slice(None), axis='rows', values=None):
        """
        Return the offsets of the pixels of some rows of the image.

        Parameters
        ----------
        rows : slice, optional
            Rows, or columns.
        axis : str, optional
            'rows' or 'columns'; for 'columns' the result has the columns along its first axis.
        values : `~numpy.ndarray`, optional
            Values of the shape of the offsets, to use in place of them.

        Returns
        -------
        `~numpy.ndarray`
            Broadcasts to these rows.
        """
        values = self.offsets if values is None else values
        if axis == self.axis:
            return values[rows] if values.shape[1] == 1 else np.repeat(values[rows], np.diff(self.edges), axis=1)
        return np.repeat(values, np.diff(self.edges), axis=1).T[rows] if values.shape[1] > 1 else values.T

    def describe(self, noise):
        """
        Describe the offsets as text.

        Parameters
        ----------
        noise : float
            Noise of a pixel in data units, the unit of the amplitude in the text.

        Returns
        -------
        str
            Without a full stop.
        """
        period = f' that repeat after {self.period}' if self.period else ''
        parts = f' in {len(self.edges) - 1} parts' if len(self.edges) > 2 else ''
        return f'offsets of {self.axis}{parts}{period}, rms {self.amplitude / noise:.2g} sigma'


class Patterns:
    """
    Patterns of the read-out in an image: offsets that rows or columns share.

    Parameters
    ----------
    stripes : list of Stripes
        Offsets of rows and of columns.
    noise : float
        Noise of a pixel of the sky without the patterns, in data units.
    shape : tuple of int
        Shape of the image.
    step : float, optional
        Step of the quantisation of the data; 0 for none.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.noise import Patterns
    >>> rng = np.random.default_rng(0)
    >>> image = rng.normal(size=(128, 128))
    >>> Patterns.find(image) is None
    True
    >>> offsets = 0.5 * rng.normal(size=(128, 1))
    >>> found = Patterns.find(image + offsets)
    >>> found.stripes[0].axis
    'rows'
    >>> bool(np.std(found.remove(image + offsets) - image) < 0.2)
    True
    """

    def __init__(self, stripes, noise, shape, step=0.0):
        self.stripes, self.noise, self.shape, self.step = stripes, noise, shape, step

    @classmethod
    def find(cls, values, mask=None):
        """
        Find the significant patterns of an image.

        Parameters
        ----------
        values : `~numpy.ndarray`
            Data of shape (ny, nx).
        mask : `~numpy.ndarray` of bool, optional
            True where they do not count.

        Returns
        -------
        Patterns or None
            None without such patterns.

        Raises
        ------
        ValueError
            If the image is not two-dimensional, or the mask is not of its shape.
        """
        values = np.asarray(values)
        if values.ndim != 2:
            raise ValueError(f'values must be two-dimensional, got {values.ndim} dimensions')
        bad = blockwise(lambda part: ~np.isfinite(part), values)
        if mask is not None:
            if np.shape(mask) != values.shape:
                raise ValueError(f'mask must have the shape of values, {values.shape}, got {np.shape(mask)}')
            blockwise(np.logical_or, bad, np.asarray(mask, dtype=bool), out=bad)
        noise = _pixel_noise(_Rows(values, bad, 'rows'))
        if not noise > 0:
            return None
        stripes = []
        for axis in 'rows', 'columns':
            stripes += _find_stripes(_Rows(values, bad, axis, tuple(stripes)), axis, noise)
        return cls(stripes, noise, values.shape) if stripes else None

    def model(self, rows=slice(None)):
        """
        Sum the patterns at the pixels of some rows.

        Parameters
        ----------
        rows : slice, optional
            By default all.

        Returns
        -------
        `~numpy.ndarray`
            In data units; of a shape that broadcasts to these rows.
        """
        return sum(stripes.model(rows) for stripes in self.stripes)

    def remove(self, values):
        """
        Subtract the patterns from an image.

        Parameters
        ----------
        values : `~numpy.ndarray`
            Data of shape (ny, nx).

        Returns
        -------
        `~numpy.ndarray`
            A new array of the same type.
        """
        result = empty(values.shape, values.dtype)
        for start in range(0, len(result), _BLOCK):
            rows = slice(start, start + _BLOCK)
            result[rows] = values[rows] - self.model(rows).astype(result.dtype, copy=False)
        return result

    def deviation(self, rows=slice(None)):
        """
        Return the standard deviation of the error of `model`.

        Parameters
        ----------
        rows : slice, optional
            By default all.

        Returns
        -------
        `~numpy.ndarray`
            In data units; of a shape that broadcasts to these rows.
        """
        return np.sqrt(sum(stripes.model(rows, values=stripes.error) ** 2 for stripes in self.stripes))

    def blocks(self, view):
        """
        Yield the patterns in a part of the image, some rows at a time.

        Parameters
        ----------
        view : tuple of slice
            Rows and columns of the part.

        Yields
        ------
        rows : slice
            Rows of the part.
        model, deviation : `~numpy.ndarray`
            See `model` and `deviation`, of the shape of these rows.
        """
        at = np.arange(self.shape[0])[view[0]]
        for start in range(0, at.size, _BLOCK):
            rows = at[start:start + _BLOCK]
            yield slice(start, start + rows.size), *(
                np.broadcast_to(values, (rows.size, self.shape[1]))[:, view[1]]
                for values in (self.model(rows), self.deviation(rows)))

    def describe(self):
        """
        Describe the patterns as text.

        Returns
        -------
        str
            Patterns and their amplitudes in units of the noise.
        """
        return '; '.join(stripes.describe(self.noise) for stripes in self.stripes)


def _find_stripes(image, axis, noise):
    """Find offsets of rows; of parts of the rows, as of amplifiers, if these differ."""
    means, good = _section_medians(image)
    first = _in_parts(means, good, noise)
    if not first:
        return []
    edges = section_edges(image.shape[1])
    better, sky = _sky_means(image, _Spread(first, edges), noise)
    # Rows that are full of light have no sky: only their median is available.
    bright = (sky.mean(axis=1) < 0.5) & good.any(axis=1)
    better[bright], sky[bright] = means[bright], good[bright]
    second = _in_parts(better, sky, noise)
    chosen = second if second and _expected(second) < _expected(first) else first
    return _as_stripes(chosen, axis, edges)


def _as_stripes(found, axis, edges):
    stripes = []
    for parts in found:
        offsets, error = (np.stack([getattr(part, name) for part in parts], axis=1) for name in ('values', 'error'))
        periods = {part.period for part in parts}
        stripes.append(Stripes(axis, tuple(edges[::(edges.size - 1) // len(parts)].tolist()), offsets, error,
                               float(np.sqrt(np.mean([part.amplitude ** 2 for part in parts]))),
                               periods.pop() if len(periods) == 1 else 0))
    return stripes


def _expected(stripes):
    return np.sqrt(sum(np.mean([part.expected ** 2 for part in found]) for found in stripes))


class _Spread:
    """Offsets of rows and of parts of them, at all pixels of some rows."""

    def __init__(self, found, edges):
        self._parts = [(np.stack([part.values for part in parts], axis=1),
                        np.diff(edges[::(edges.size - 1) // len(parts)])) for parts in found]

    def __getitem__(self, rows):
        return sum(np.repeat(values[rows], width, axis=1) for values, width in self._parts)


def _in_parts(means, good, noise):
    """Find the offsets of whole rows, then of halves and quarters: a list of lists of `Offsets`."""
    result, means = [], means.copy()
    for n in _PARTS:
        if means.shape[1] % n:
            continue
        found = []
        for part, counts in zip(np.split(means, n, axis=1), np.split(good, n, axis=1)):
            found.append(find_offsets(part, counts, noise))
            if found[-1] is None:
                break
        else:
            result.append(found)
            means -= np.repeat(np.stack([part.values for part in found], axis=1), means.shape[1] // n, axis=1)
    return result


def find_patterns(image, mask, header):
    """
    Find the patterns to subtract from an image before its noise is measured.

    Parameters
    ----------
    image : `~numpy.ndarray`
        Data of shape (ny, nx).
    mask : `~numpy.ndarray` of bool
        True where they do not count.
    header : mapping
        Header or other metadata.

    Returns
    -------
    Patterns or None
        None, too, for the colours of a mosaic, counted photons, and noise of less than half a step of the
        quantisation, where a signal could be removed.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.noise import find_patterns
    >>> rng = np.random.default_rng(0)
    >>> image = rng.normal(size=(128, 128)) + np.arange(128) % 2
    >>> find_patterns(image, np.zeros(image.shape, bool), {}).stripes[0].period
    2
    """
    found = Patterns.find(image, mask)
    if found is None or photon_noise(image, mask) is not None:
        return None
    even = {stripes.axis for stripes in found.stripes if stripes.period and stripes.period % 2 == 0}
    if len(even) == 2 or even and announces_mosaic(header):
        return None
    steps = find_steps(image, mask)
    found.step = 0.0 if steps is None else steps.step
    return found if found.noise > ROUNDED * found.step else None
