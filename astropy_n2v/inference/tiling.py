# Licensed under a 3-clause BSD style license - see LICENSE
"""
Tiles: division of a large image into parts, and the weights with which the parts are blended.

Interior edges of a tile have no weight within a margin where the missing surroundings affect the
prediction. Between neighbours the weights change smoothly and sum to one everywhere, borders of the
image included.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ['Tile', 'Tiling']


@dataclass(frozen=True)
class Tile:
    """
    A part of an image.

    Parameters
    ----------
    y, x : slice
        Position of the tile in the padded image.
    weight_y, weight_x : `~numpy.ndarray`
        One-dimensional weights along each axis; the weight of a pixel is their product.
    """

    y: slice
    x: slice
    weight_y: np.ndarray
    weight_x: np.ndarray

    @property
    def weight(self):
        """Weight of each pixel of the tile."""
        return self.weight_y[:, None] * self.weight_x[None, :]

    @property
    def inner(self):
        """The rows and columns of the tile with weight."""
        return tuple(slice(int(used[0]), int(used[-1]) + 1)
                     for used in (np.flatnonzero(weight) for weight in (self.weight_y, self.weight_x)))

    @property
    def inner_y(self):
        """The rows of the image at the inner part."""
        return slice(self.y.start + self.inner[0].start, self.y.start + self.inner[0].stop)

    @property
    def inner_x(self):
        """The columns of the image at the inner part."""
        return slice(self.x.start + self.inner[1].start, self.x.start + self.inner[1].stop)


class Tiling:
    """
    Overlapping tiles that cover an image.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the image in pixels.
    tile_size : int
        Largest height and width of a tile.
    margin : int
        Pixels next to interior edges without weight.
    alignment : int, optional
        Positions and sizes of tiles are multiples of this.
    blend : int, optional
        Pixels over which the weights of neighbouring tiles change.

    Attributes
    ----------
    padded_shape : tuple of int
        The image must be padded at its end to this shape.

    Raises
    ------
    ValueError
        If ``tile_size`` leaves no room between the margins.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.inference.tiling import Tiling
    >>> tiling = Tiling((100, 300), 128, 24, alignment=16)
    >>> total = np.zeros(tiling.padded_shape)
    >>> for tile in tiling:
    ...     total[tile.y, tile.x] += tile.weight
    >>> bool(np.allclose(total, 1))
    True
    """

    def __init__(self, shape, tile_size, margin, *, alignment=1, blend=16):
        self.shape = tuple(shape)
        self.margin = margin
        self.blend = blend
        self.padded_shape = tuple(-(-n // alignment) * alignment for n in shape)
        smallest = self.least_size(margin, alignment, blend)
        if max(self.padded_shape) > tile_size and tile_size < smallest:
            raise ValueError(f'tile_size must be at least {smallest} pixels for this model, got {tile_size}')
        self._spans = [self._split(n, tile_size, alignment) for n in self.padded_shape]

    @staticmethod
    def least_size(margin, alignment=1, blend=16):
        """Height and width of the smallest tiles that leave room between the margins, in pixels."""
        return 2 * margin + blend + 2 * alignment

    def _split(self, length, tile_size, alignment):
        """Return starts, ends and weights of the tiles along an axis."""
        tile_size = tile_size // alignment * alignment
        if length <= tile_size:
            return [(0, length, np.ones(length, dtype=np.float32))]
        # Positions are rounded down to the alignment, which may reduce the overlap.
        overlap = 2 * self.margin + self.blend + alignment
        count = -(-(length - overlap) // (tile_size - overlap))
        # No larger than necessary for this number of tiles.
        tile_size = -(-(-(-(length - overlap) // count) + overlap) // alignment) * alignment
        starts = np.linspace(0, length - tile_size, count)
        starts = [int(start) // alignment * alignment for start in starts]
        weights = np.ones((count, tile_size))
        for i in range(count - 1):
            overlap = starts[i] + tile_size - starts[i + 1]
            weights[i] *= self._ramp(overlap, tile_size)[::-1]
            weights[i + 1] *= self._ramp(overlap, tile_size)
        # Already one, except where more than two tiles overlap.
        total = np.zeros(length)
        for start, weight in zip(starts, weights):
            total[start:start + tile_size] += weight
        return [(start, start + tile_size, (weight / total[start:start + tile_size]).astype(np.float32))
                for start, weight in zip(starts, weights)]

    def _ramp(self, overlap, size):
        """Rise from 0 to 1 in the middle of an overlap at the start of a tile."""
        t = np.clip((np.arange(size) + 0.5 - (overlap - self.blend) / 2) / self.blend, 0, 1)
        return t * t * (3 - 2 * t)

    def __iter__(self):
        for y0, y1, weight_y in self._spans[0]:
            for x0, x1, weight_x in self._spans[1]:
                yield Tile(slice(y0, y1), slice(x0, x1), weight_y, weight_x)

    def __len__(self):
        return len(self._spans[0]) * len(self._spans[1])
