# Licensed under a 3-clause BSD style license - see LICENSE
"""
Flux: a result has that of its data, in total, on the sky, in sources and in boxes.
"""

import numpy as np
from scipy.ndimage import uniform_filter

from .findings import judge
from .limits import of_many
from .pixels import deviation
from .sample import COMMON

__all__ = ['Totals', 'check_boxes']

# Blind mean above the background, in units of the noise, below which there is sky, and above which there are sources.
_SKY, _SOURCES = 1.0, 3.0
_BOXES = 3, 9, 33   # pixels


class Totals:
    """Sums over all pixels of the image, by brightness."""

    def __init__(self):
        self.n, self.removed, self.variance, self.noise, self.signal = np.zeros((5, 3))

    def add(self, counted, removed, signal, noise_std, spread, strength):
        """Add some rows."""
        noise = np.square(noise_std, dtype=float)
        prior = np.square(spread, dtype=float)
        variance = (strength * noise / np.maximum(noise + prior, np.finfo(float).tiny)) ** 2 * (noise + COMMON * prior)
        for i, select in enumerate((counted, counted & (signal < _SKY * noise_std),
                                    counted & (signal > _SOURCES * noise_std))):
            self.n[i] += np.count_nonzero(select)
            for sums, values in ((self.removed, removed), (self.variance, variance), (self.noise, noise),
                                 (self.signal, signal)):
                sums[i] += np.sum(values, where=select, dtype=float)

    def checks(self, sample):
        """Compare what was removed with its error."""
        growth = _correlated_growth(sample)
        found = []
        for i, name in enumerate(('all', 'sky', 'sources')):
            if self.n[i] < 30 or not self.variance[i] > 0:
                significance, offset = np.nan, np.nan
            else:
                significance = -self.removed[i] / np.sqrt(growth * self.variance[i])
                offset = -self.removed[i] / np.sqrt(self.n[i] * self.noise[i])
            if name == 'sources':
                offset = -self.removed[i] / self.signal[i] if self.signal[i] > 0 else np.nan
                found.append(judge('flux (sources)', offset, 0, significance,
                                   message=f'the flux of sources is {100 * offset:+.2g} % off that of the data'))
            else:
                found.append(judge(f'flux ({name})', offset, 0, significance,
                                   message=f'the mean of the result differs from that of the data by {offset:+.2g} '
                                           f'sigma of the noise ({name})'))
        return found


def _correlated_growth(sample, size=8):
    """By how much the variance of sums over blocks exceeds the sum of variances; at least 1."""
    n, ny, nx = sample.shape
    cut = (slice(None), slice(ny // size * size), slice(nx // size * size))
    if (ny // size) * (nx // size) * n < 16:
        return 1.0
    blocks = np.where(sample.used, sample.removed / np.maximum(sample.noise, np.finfo('f4').tiny), 0)[cut]
    blocks = blocks.reshape(n, ny // size, size, nx // size, size)
    counts = sample.used[cut].reshape(blocks.shape).sum(axis=(2, 4))
    full = counts > size ** 2 / 2
    if np.count_nonzero(full) < 16:
        return 1.0
    sums, squares = blocks.sum(axis=(2, 4))[full], (blocks ** 2).sum(axis=(2, 4))[full]
    scaled = sums / np.sqrt(np.maximum(squares, np.finfo('f4').tiny))
    # The middle of the distribution: what is wrong in few blocks is to be found, not allowed for.
    return max(1.0, float(np.median(np.abs(scaled - np.median(scaled))) / 0.6745) ** 2)


def check_boxes(sample, strength):
    """
    Compare the flux in boxes with that of the data.

    Parameters
    ----------
    sample : Sample
        Cut-outs.
    strength : float
        As of the result.

    Returns
    -------
    list of Finding
        One for each size of boxes.
    """
    found = []
    noise = sample.noise.astype(float) ** 2
    own, foreseen = sample.expected_variance(strength)
    share = np.divide(own, noise, out=np.zeros_like(noise), where=noise > 0)
    removed = np.where(sample.used, sample.removed, 0).astype(float)
    third = np.where(sample.used, sample.third, 0) * share ** 1.5
    growth = _correlated_growth(sample)
    for size in _BOXES:
        name = f'flux in boxes ({size})'
        if min(sample.shape[1:]) < size:
            found.append(judge(name, np.nan, 0, np.nan))
            continue
        inner = (slice(None), *(slice(size // 2, n - size // 2) for n in sample.shape[1:]))
        variance = np.where(sample.used, own * growth + min(size ** 2, COMMON) * foreseen, 0)
        total, expected, skew, filled = (
            uniform_filter(values, (1, size, size), mode='constant')[inner] * size ** 2
            for values in (removed, variance, third, sample.used.astype(float)))
        enough = (filled > size ** 2 / 2) & (expected > 0)
        n = np.count_nonzero(enough)
        if not n:
            found.append(judge(name, np.nan, 0, np.nan))
            continue
        z = deviation(total[enough], np.maximum(expected[enough], 1e-30), skew[enough])
        extreme = -float(z[np.argmax(np.abs(z))])
        # Boxes at all positions overlap: there are more independent ones than fit side by side.
        found.append(judge(name, extreme, 0, of_many(extreme, 3 * n / size ** 2),
                           message=f'the flux of the result in boxes of {size} pixels differs from that of the data by '
                                   f'up to {extreme:+.1f} sigma'))
    return found
