# Licensed under a 3-clause BSD style license - see LICENSE
"""
Counts of pixels that noise does not explain, and the range of the result.
"""

import numpy as np
from scipy.stats import norm, poisson

from .findings import judge
from .limits import LIMITS, Limit

__all__ = ['PixelCounts', 'check_dark']

# Edges of the classes of brightness: blind mean above the background, in units of the noise.
_EDGES = 3.0, 30.0
_CLASSES = 'faint', 'middle', 'bright'
_BEYOND = 5.0
# Largest fraction of unexplained pixels; with more of them the result is wrong elsewhere, too.
_REFUSED_SHARE = 0.01
_REFUSED_LEAST = 20
# Largest excess of the result over the range of the data, in units of the noise of the pixel.
_RANGE = 5.0


class PixelCounts:
    """
    Numbers of pixels with large deviations, by brightness and sign.

    Parameters
    ----------
    limit : float
        Largest deviation; a pixel beyond is returned as measured.
    """

    def __init__(self, limit):
        self.limit = limit
        self.n, self.n_infinite, self.n_returned = 0, 0, 0
        self.by_class = np.zeros(3, dtype=int)
        self.beyond, self.returned = np.zeros((2, 3), dtype=int), np.zeros((2, 3), dtype=int)
        self.largest = 0.0
        self.low, self.high = np.inf, -np.inf

    def add(self, infinite, known, mean, noise_std, signal, index, deviations):
        """Count some rows; the last two arguments are pixels with large deviations."""
        self.n_infinite += int(np.count_nonzero(infinite))
        self.n += int(np.count_nonzero(known))
        above = known & (signal > _EDGES[0] * noise_std)
        bright = signal[above] > _EDGES[1] * noise_std[above]
        self.by_class[1:] += bright.size, np.count_nonzero(bright)
        if deviations.size:
            kind = np.searchsorted(_EDGES, signal[index] / noise_std[index])
            size = np.abs(deviations)
            sign = (deviations > 0).astype(int)
            # A result outside of the range of all data deviates from its own pixel by at least as much.
            self.low = min(self.low, np.min(mean[index] + _RANGE * noise_std[index]))
            self.high = max(self.high, np.max(mean[index] - _RANGE * noise_std[index]))
            self.largest = max(self.largest, float(size.max()))
            np.add.at(self.beyond, (sign, kind), (size > _BEYOND) & (size <= self.limit))
            np.add.at(self.returned, (sign, kind), size > self.limit)

    def checks(self, image):
        """Compare the counts with chance, and the result with the range of the data."""
        self.n_returned = self.n_infinite + int(self.returned.sum())
        by_class = self.by_class.copy()
        by_class[0], by_class[1] = self.n - by_class[1], by_class[1] - by_class[2]
        found = [judge('finite', self.n_infinite, 0, 10.0 * (self.n_infinite > 0), consequence='refusal',
                       message=f'{self.n_infinite} pixels of the result are not finite')]
        n = int(self.returned.sum())
        share = max(_REFUSED_SHARE * self.n, _REFUSED_LEAST)
        found.append(judge(
            'pixels', n, 0, self.largest, consequence='returned', limit=Limit(0, 0, np.inf, self.limit, share),
            message=f'{n} pixels of the result are further from their data than noise can be (up to '
                    f'{self.largest:.1f} sigma); they are returned as measured'))
        chance = norm.sf(_BEYOND) * by_class
        for sign, word in enumerate(('below', 'above')):
            for kind, name in enumerate(_CLASSES):
                count = int(self.beyond[sign, kind])
                significance = norm.isf(max(poisson.sf(count - 1, max(chance[kind], 1e-12)), 1e-300)) if count else 0
                found.append(judge(
                    f'explained ({name}, {word})', count, chance[kind], significance,
                    message=f'{count} {name} pixels of the data lie more than 5 sigma {word} the result, where chance '
                            f'has {chance[kind]:.2g}: the noise is too small, or structure was removed'))
        return [*found, self._check_range(image)]

    def _check_range(self, image):
        beyond = full = 0.0
        if self.high > -np.inf:
            lowest = np.min(image.data, where=image.valid, initial=np.inf)
            highest = np.max(image.data, where=image.valid, initial=-np.inf)
            beyond, full = max(lowest - self.low, self.high - highest, 0.0), max(highest - lowest, 0.0)
        return judge('range', beyond, 0, np.inf if beyond else 0.0, consequence='returned',
                     limit=Limit(0, 0, 1, 1, full),
                     message=f'the result is outside of the range of the data, by {beyond:.4g}')


def check_dark(n, n_valid):
    """
    Check that few pixels are darker than their surroundings predict.

    Such pixels are kept, since the measurement may be correct. If they are many, most of them are misreadings.

    Parameters
    ----------
    n, n_valid : int
        Number of such pixels, and of all pixels.

    Returns
    -------
    Finding
        The fraction of such pixels.
    """
    limit = LIMITS['dark pixels'].above
    share = n / n_valid if n_valid else np.nan
    return judge('dark pixels', share, 0, (share - limit) * np.sqrt(n_valid / limit), consequence='note',
                 message=f'{100 * share:.2g} % of the pixels are darker than their surroundings by more than noise, '
                         'and are kept; if they are misreadings of the detector, reject_outliers=True '
                         '(--reject-outliers) replaces single ones')
