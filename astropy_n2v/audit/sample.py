# Licensed under a 3-clause BSD style license - see LICENSE
"""
The cut-outs of an image for the audit by bin, by block and by lag.
"""

import numpy as np

from ..utils.blocks import as_blocks
from ..utils.robust import robust_std

__all__ = ['COMMON', 'Sample', 'choose_cutouts']

_MAX_PIXELS = 250_000   # pixels of the largest image that is used whole; larger ones are sampled by cut-outs
_SIZE = 128     # pixels: size of a cut-out; nine of them have fewer pixels than _MAX_PIXELS
_LARGEST_KURTOSIS = 1.0   # largest excess kurtosis of the noise for a check of single pixels: about one photon
#: Number of neighbouring pixels over which errors of the blind prediction are correlated, approximately.
COMMON = 12.0
_NAMES = 'removed', 'signal', 'noise', 'third', 'spread', 'std', 'z'


def choose_cutouts(valid):
    """
    Choose up to nine cut-outs of one shape that represent an image.

    Parameters
    ----------
    valid : `~numpy.ndarray` of bool
        True where the data count, shape (ny, nx).

    Returns
    -------
    starts : list of tuple
        First row and column of each.
    shape : tuple
        Height and width of all of them.
    """
    ny, nx = valid.shape
    if ny * nx <= _MAX_PIXELS:
        return [(0, 0)], (ny, nx)
    height = min(ny, _SIZE)
    rows = min(3, ny // height)
    width = min(nx, max(_SIZE, 9 * _SIZE ** 2 // (9 * height)))
    columns = min(9 // rows, nx // width)
    grid = [(y, x) for y in np.linspace(0, ny - height, rows).astype(int)
            for x in np.linspace(0, nx - width, columns).astype(int)]
    counts = [np.count_nonzero(valid[y:y + height:4, x:x + width:4]) for y, x in grid]
    if 16 * np.mean(counts) < 0.5 * height * width:
        # Most of the image is masked: use the other parts, on a grid of cells.
        cells = [(y, x) for y in range(0, ny - height + 1, height) for x in range(0, nx - width + 1, width)]
        filled = [np.count_nonzero(valid[y:y + height:4, x:x + width:4]) for y, x in cells]
        grid = [cells[i] for i in sorted(np.argsort(filled)[::-1][:len(grid)])]
    return grid, (height, width)


class Sample:
    """
    Cut-outs of an image and its result, filled row by row.

    Parameters
    ----------
    valid : `~numpy.ndarray` of bool
        True where the data count, shape (ny, nx).

    Attributes
    ----------
    removed, signal, noise, third, spread, std, z : `~numpy.ndarray`
        Data minus result, blind mean above the background, standard deviation and third moment of the noise, standard
        deviations of blind prediction and result, and innovation: shape (number of cut-outs, height, width).
    valid, used, held_out : `~numpy.ndarray` of bool
        Valid pixels; the predictable ones among them; and among these the ones that may judge the prediction.
    """

    def __init__(self, valid):
        self.starts, shape = choose_cutouts(valid)
        shape = len(self.starts), *shape
        for name in _NAMES:
            # Single precision is sufficient in units of the noise, and fast.
            setattr(self, name, np.zeros(shape, dtype=np.float32))
        self.valid, self.used, self.held_out = (np.zeros(shape, dtype=bool) for _ in range(3))
        self.shape, self._kurtosis, self._growth = shape, None, None

    def meets(self, rows):
        """Check if some rows of the image are in any of the cut-outs."""
        return any(rows.start < y + self.shape[1] and rows.stop > y for y, _ in self.starts)

    def fill(self, rows, **values):
        """Insert some rows of the image; each of the arrays has the shape (rows, nx)."""
        for i, (y, x) in enumerate(self.starts):
            first, stop = max(rows.start, y), min(rows.stop, y + self.shape[1])
            if first < stop:
                for name, array in values.items():
                    getattr(self, name)[i, first - y:stop - y] = \
                        array[first - rows.start:stop - rows.start, x:x + self.shape[2]]

    @property
    def kurtosis(self):
        """Excess kurtosis of the noise: about the square of its skewness, for photons exactly."""
        if self._kurtosis is None and not self.third.any():
            self._kurtosis = np.zeros(self.shape, dtype=np.float32)
        if self._kurtosis is None:
            self._kurtosis = self.third ** 2 / np.maximum(self.noise ** 2, np.finfo('f4').tiny) ** 3
        return self._kurtosis

    @property
    def growth(self):
        """Variance of sums over blocks of the residuals, over the sum of variances: 1 where noise is white."""
        if self._growth is None:
            self._growth = _growth_of(self)
        return self._growth

    @property
    def counted(self):
        """Find the pixels with enough photons for squares of single pixels to be significant."""
        return self.kurtosis < _LARGEST_KURTOSIS

    def chance(self):
        """
        Compute the relative variance of the square of an innovation: 2 where all is Gaussian and independent.

        Photons add to it, and so do errors of the blind prediction, which are correlated between neighbours.
        """
        prior = self.spread ** 2
        share = prior / np.maximum(prior + self.noise ** 2, np.finfo('f4').tiny)
        # Squares of neighbours are less correlated than the values themselves.
        return (2 + self.kurtosis) * (1 + COMMON * share ** 2) * (1 + (self.growth - 1) / 2)

    def expected_variance(self, strength):
        """Compute the two parts of the variance of the residuals: from the noise, and from the prediction."""
        noise, prior = self.noise.astype(float) ** 2, self.spread.astype(float) ** 2
        total = np.maximum(noise + prior, np.finfo(float).tiny)
        share = strength * noise / total
        return share ** 2 * noise, share ** 2 * prior


def _growth_of(sample, size=8):
    """Compare the variance of sums over blocks with the sum of variances; at least 1."""
    n, ny, nx = sample.shape
    if (ny // size) * (nx // size) * n < 16:
        return 1.0
    blocks = as_blocks(np.where(sample.used, sample.removed / np.maximum(sample.noise, np.finfo('f4').tiny), 0), size)
    counts = as_blocks(sample.used, size).sum(axis=(-3, -1))
    full = counts > size ** 2 / 2
    if np.count_nonzero(full) < 16:
        return 1.0
    sums, squares = blocks.sum(axis=(-3, -1))[full], (blocks ** 2).sum(axis=(-3, -1))[full]
    scaled = sums / np.sqrt(np.maximum(squares, np.finfo('f4').tiny))
    # The middle of the distribution, since faults in a few blocks must be found and not allowed for.
    return max(1.0, robust_std(scaled) ** 2)
