# Licensed under a 3-clause BSD style license - see LICENSE
"""
Checks of the flux, in total, on the sky, in sources and in boxes.
"""

import numpy as np

from .findings import judge
from .limits import of_many
from .pixels import deviation
from .sample import COMMON

__all__ = ['Totals', 'check_boxes']

# Largest blind mean above the background for sky, and least one for sources, in units of the noise.
_SKY, _SOURCES = 1.0, 3.0
_BOXES = 3, 9, 33   # pixels: sizes of the boxes
_MIN_PIXELS = 30
# Excess kurtosis of the noise of a pixel above which large sums over boxes are not Gaussian, and least size of such
# sums in units of their error.
_SKEWED, _LARGE = 1e-3, 3.0


class Totals:
    """Sums over all pixels of the image, by brightness."""

    def __init__(self):
        # Number, removed flux, its variance, variance of the noise, and signal: for all pixels, sky and sources.
        self.sums = np.zeros((5, 3))

    def add(self, counted, removed, signal, noise_std, spread, strength):
        """Add some rows; the removed flux is 0 at masked pixels."""
        noise, prior = np.square(noise_std, dtype=float), np.square(spread, dtype=float)
        share = strength * noise / np.maximum(noise + prior, np.finfo(float).tiny)
        values = np.stack([counted, removed, share ** 2 * (noise + COMMON * prior), noise, signal]).reshape(5, -1)
        if not counted.all():
            values = np.where(counted.ravel(), values, 0)
        brightness = signal.ravel() / np.maximum(noise_std.ravel(), np.finfo(float).tiny)
        total = values.sum(axis=1)
        # Most pixels belong to the sky.
        above = np.flatnonzero(brightness >= _SKY)
        values, brightness = values[:, above], brightness[above]
        self.sums += np.stack([total, total - values.sum(axis=1),
                               values[:, brightness > _SOURCES].sum(axis=1)], axis=1)

    def checks(self, sample):
        """Compare the removed flux with its error."""
        growth = sample.growth
        found = []
        for name, (n, removed, variance, noise, signal) in zip(('all', 'sky', 'sources'), self.sums.T):
            significance, offset = np.nan, np.nan
            if n >= _MIN_PIXELS and variance > 0:
                significance, offset = -removed / np.sqrt(growth * variance), -removed / np.sqrt(n * noise)
            if name == 'sources':
                offset = -removed / signal if signal > 0 else np.nan
                found.append(judge('flux (sources)', offset, 0, significance,
                                   message=f'the flux of sources is {100 * offset:+.2g} % off the flux in the data'))
            else:
                found.append(judge(f'flux ({name})', offset, 0, significance,
                                   message=f'the mean of the result differs from the mean of the data by {offset:+.2g} '
                                           f'sigma of the noise ({name})'))
        return found


def check_boxes(sample, strength):
    """
    Compare the flux of the result with the flux of the data, in boxes.

    Parameters
    ----------
    sample : Sample
        Cut-outs.
    strength : float
        Strength of the result.

    Returns
    -------
    list of Finding
        One for each box size.
    """
    own, foreseen = sample.expected_variance(strength)
    growth = sample.growth
    used = sample.used
    skew = np.any(sample.kurtosis[used] > _SKEWED)
    # Standard deviation of the removed part in units of the noise.
    share = np.sqrt(own) / np.maximum(sample.noise, np.finfo('f4').tiny)
    tables = [_integrate(np.where(used, values, 0)) for values in
              (sample.removed, own * growth, foreseen, used, sample.third * share ** 3 if skew else 0)]
    found = []
    for size in _BOXES:
        name = f'flux in boxes ({size})'
        if min(sample.shape[1:]) < size:
            found.append(judge(name, np.nan, 0, np.nan))
            continue
        total, noise, prior, filled, third = (_boxes(table, size) for table in tables)
        variance = noise + min(size ** 2, COMMON) * prior
        enough = (filled > size ** 2 / 2) & (variance > 0)
        n = np.count_nonzero(enough)
        if not n:
            found.append(judge(name, np.nan, 0, np.nan))
            continue
        total, variance = total[enough], variance[enough]
        z = total / np.sqrt(variance)
        if skew:
            large = np.abs(z) > _LARGE
            z[large] = deviation(total[large], variance[large], third[enough][large])
        extreme = -float(z[np.argmax(np.abs(z))])
        # Boxes at all positions overlap: more of them are independent than fit side by side.
        step = _step(size)
        found.append(judge(name, extreme, 0, of_many(extreme, 3 * n * step ** 2 / size ** 2),
                           message=f'the flux of the result in boxes of {size} pixels differs from the data by '
                                   f'up to {extreme:+.1f} sigma'))
    return found


def _integrate(values):
    """Sum all values above and to the left of each pixel corner of cut-outs."""
    table = np.zeros((values.shape[0], values.shape[1] + 1, values.shape[2] + 1))
    np.cumsum(values, axis=1, dtype=float, out=table[:, 1:, 1:])
    np.cumsum(table[:, 1:, 1:], axis=2, out=table[:, 1:, 1:])
    return table


def _step(size):
    """Choose the distance between boxes."""
    return max(1, size // 4)


def _boxes(table, size):
    """Sum over boxes at regular positions."""
    step = _step(size)
    low, high = slice(None, -size, step), slice(size, None, step)
    return table[:, high, high] - table[:, low, high] - table[:, high, low] + table[:, low, low]
