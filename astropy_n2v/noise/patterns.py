# Licensed under a 3-clause BSD style license - see LICENSE
"""
Patterns of the read-out, which are longer than any blind spot: found on an image, and taken off.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_dilation, gaussian_filter, zoom

from .offsets import find_offsets, section_edges

__all__ = ['Patterns', 'Stripes']

_TILE = 32   # pixels: the background that sources are seen against is as smooth
_BLUR = 1.5   # pixels: of which the point-spread function is no less by much
_SOURCE, _SPREAD = 4.0, 3   # sigma of the blurred noise, and pixels around
_LEAST_SKY = 0.25   # share of the pixels that must be left beside sources
_PARTS = 1, 2, 4   # of a row, as many amplifiers may read it
_BLOCK = 256   # rows that are looked at together


def _pixel_noise(image):
    """Noise of a pixel without what rows or columns share, from differences along both."""
    step = max(1, image.shape[0] // 512)
    rows = [image[i:i + 3] for i in range(0, image.shape[0] - 2, step)]
    across = np.array([a - 2 * b + c for a, b, c in rows])
    values = np.abs(across[:, :-2] - 2 * across[:, 1:-1] + across[:, 2:])
    values = values[np.isfinite(values)]
    return float(np.median(values)) / 0.6745 / 6 if values.size > 1000 else 0.0


def _section_medians(image):
    """Median of each section of each row, and where at least half of its pixels are valid."""
    edges = section_edges(image.shape[1])
    means, good = (np.zeros((image.shape[0], edges.size - 1), dtype=kind) for kind in (float, bool))
    for k, part in enumerate(zip(edges[:-1], edges[1:])):
        section = image[:, slice(*part)]
        count = np.isfinite(section).sum(axis=1)
        good[:, k] = 2 * count >= section.shape[1]
        full = count == section.shape[1]
        means[full, k] = np.median(section[full], axis=1)
        some = good[:, k] & ~full
        if some.any():
            means[some, k] = np.nanmedian(section[some], axis=1)
    return means, good


def _tile_levels(image):
    """Levels of the background in tiles, and the zoom to the pixels."""
    shape = [max(1, -(-n // _TILE)) for n in image.shape]
    levels = np.full(shape, np.nan)
    for y in range(shape[0]):
        band = image[y * _TILE:(y + 1) * _TILE:2]
        for x in range(shape[1]):
            tile = band[:, x * _TILE:(x + 1) * _TILE:2]
            tile = tile[np.isfinite(tile)]
            if tile.size >= _TILE:
                levels[y, x] = np.median(tile)
    missing = np.isnan(levels)
    if missing.all():
        return np.zeros(shape)
    levels[missing] = np.median(levels[~missing])
    return levels


def _interpolated(levels, shape, rows):
    """Levels of tiles at the pixels of some rows, bilinear."""
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
    """Mean of each section of each row, sources and the background along rows left out; and where they count."""
    edges = section_edges(image.shape[1])
    clean = image - offsets
    levels = _tile_levels(clean)
    means, counts = (np.zeros((image.shape[0], edges.size - 1)) for _ in range(2))
    margin = int(4 * _BLUR) + _SPREAD + 1
    unit = noise / (2 * np.sqrt(np.pi) * _BLUR)
    for start in range(0, image.shape[0], _BLOCK):
        stop = min(start + _BLOCK, image.shape[0])
        rows = slice(max(start - margin, 0), min(stop + margin, image.shape[0]))
        inner = slice(start - rows.start, stop - rows.start)
        background = _interpolated(levels, image.shape, rows)
        part = clean[rows] - background
        valid = np.isfinite(part)
        blurred = np.abs(gaussian_filter(np.where(valid, part, 0), _BLUR, mode='nearest'))
        limit = _SOURCE * unit
        while True:
            sky = valid & ~binary_dilation(blurred > limit, iterations=_SPREAD)
            if np.count_nonzero(sky) >= _LEAST_SKY * np.count_nonzero(valid):
                break
            limit *= 2
        sky = sky[inner]
        # The background counts with the mean of all of a section, whichever pixels of it are left.
        background = background[inner]
        sums = np.add.reduceat(np.where(sky, image[start:stop] - background, 0), edges[:-1], axis=1)
        counts[start:stop] = np.add.reduceat(sky.astype(float), edges[:-1], axis=1)
        means[start:stop] = (sums / np.maximum(counts[start:stop], 1)
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
        After which they repeat, in pixels; 0 if they do not.
    """

    axis: str
    edges: tuple
    offsets: np.ndarray
    error: np.ndarray
    amplitude: float
    period: int = 0

    def model(self, rows=slice(None), values=None):
        """Offsets, or other values of their shape, at the pixels of some rows of the image."""
        values = np.repeat(self.offsets if values is None else values, np.diff(self.edges), axis=1)
        return values[rows] if self.axis == 'rows' else values.T[rows]


class Patterns:
    """
    Patterns of an image.

    Parameters
    ----------
    stripes : list of Stripes
        Offsets of rows and of columns.
    noise : float
        Of a pixel without them, in data units.
    """

    def __init__(self, stripes, noise):
        self.stripes, self.noise = stripes, noise

    @classmethod
    def find(cls, values, mask):
        """
        Find the patterns of an image that are beyond doubt.

        Parameters
        ----------
        values : `~numpy.ndarray`
            Data of shape (ny, nx).
        mask : `~numpy.ndarray` of bool
            True where they do not count.

        Returns
        -------
        Patterns or None
            None if there are none.
        """
        image = np.where(np.asarray(mask), np.nan, values)
        image[~np.isfinite(image)] = np.nan
        noise = _pixel_noise(image)
        if not noise > 0:
            return None
        stripes = []
        for axis in 'rows', 'columns':
            found = _find_stripes(image if axis == 'rows' else image.T, axis, noise)
            for one in found:
                image -= one.model()
            stripes += found
        return cls(stripes, noise) if stripes else None


def _find_stripes(image, axis, noise):
    """Offsets of rows; those of parts of the rows, as of amplifiers, if they have their own."""
    means, good = _section_medians(image)
    first = _in_parts(means, good, noise)
    if not first:
        return []
    edges = section_edges(image.shape[1])
    better, sky = _sky_means(image, sum(_spread(found, edges) for found in first), noise)
    # Of rows that are full of light, the median is all there is.
    bright = (sky.mean(axis=1) < 0.5) & good.any(axis=1)
    better[bright], sky[bright] = means[bright], good[bright]
    second = _in_parts(better, sky, noise)
    chosen = second if second and _expected(second) < _expected(first) else first
    stripes = []
    for found in chosen:
        offsets, error = (np.stack([getattr(part, name) for part in found], axis=1) for name in ('values', 'error'))
        periods = {part.period for part in found}
        stripes.append(Stripes(axis, tuple(edges[::(edges.size - 1) // len(found)]), offsets, error,
                               float(np.sqrt(np.mean([part.amplitude ** 2 for part in found]))),
                               periods.pop() if len(periods) == 1 else 0))
    return stripes


def _expected(stripes):
    return np.sqrt(sum(np.mean([part.expected ** 2 for part in found]) for found in stripes))


def _spread(found, edges):
    """Offsets of parts of rows at all pixels."""
    width = np.diff(edges[::(edges.size - 1) // len(found)])
    return np.repeat(np.stack([part.values for part in found], axis=1), width, axis=1)


def _in_parts(means, good, noise):
    """What whole rows share, then what halves and quarters of them do: a list of lists of `Offsets`."""
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
