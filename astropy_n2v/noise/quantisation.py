# Licensed under a 3-clause BSD style license - see LICENSE
"""
Steps between the values of an image, as of a converter, of rounding or of lossy compression.
"""

import math
from dataclasses import dataclass

import numpy as np

from ..utils.sampling import subsample

__all__ = ['ROUNDED', 'Steps', 'find_steps']

#: Noise, in steps of the quantisation, below which neighbours are rounded alike. Their common rounding error is
#: 0.01 steps at 0.4, 0.04 at 0.3, and 0.1 at 0.2 (Fourier series of the rounding error); 0.5 includes the rounding.
ROUNDED = 0.5

# Number of pixels that are examined: relevant steps are larger than a tenth of the noise.
_SAMPLE = 20_000
# Number of distinct values, as a fraction of the pixels, beyond which steps are absent or negligible.
_DISTINCT = 0.25
# Smaller limit for steps of different sizes, for which there is no other evidence.
_DISTINCT_UNEVEN = 0.05
# Deviation from a multiple, in steps, due to single precision and repeated scaling; least fraction of values within.
_TOLERANCE, _SHARE = 0.02, 0.99


@dataclass(frozen=True)
class Steps:
    """
    The steps between the values of an image.

    Parameters
    ----------
    step : float
        Size of the steps in data units; of steps that are not uniform, at the typical level.
    offset : float
        The most common value. All others differ from it by multiples of the step.
    uniform : bool, optional
        False if the steps are not all of one size, as after square-root companding.
    growth : float, optional
        Growth of the square of the step with the level, in data units; constant for square-root
        companding.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.noise import find_steps
    >>> image = np.random.default_rng(0).normal(100, 40, (64, 64))
    >>> find_steps(np.round(image / 16) * 16, np.zeros(image.shape, bool)).step
    16.0
    """

    step: float
    offset: float
    uniform: bool = True
    growth: float = 0.0

    def at(self, level):
        """
        Return the size of the steps at a level.

        Parameters
        ----------
        level : float
            In data units.

        Returns
        -------
        float
            In data units.
        """
        return math.sqrt(max(self.step ** 2 + self.growth * (level - self.offset), 0.0))


def _clusters(sample):
    """Return values that occur at least twice, and their numbers; equal means within single precision."""
    values, counts = np.unique(sample, return_counts=True)
    magnitude = np.abs(values)
    rounding = 4 * np.finfo(np.float32).eps * np.maximum(magnitude, np.median(magnitude))
    first = np.concatenate([[True], np.diff(values) > rounding[1:]])
    counts = np.bincount(np.cumsum(first) - 1, counts)
    return values[first], counts


def _refined(values, offset, step):
    """Refine a step so that it fits values far from the offset, where its error accumulates."""
    distance = values - offset
    for reach in (8, 64, 512, 4096, 65536):
        near = np.abs(distance) < reach * step
        number = np.round(distance[near] / step)
        norm = np.sum(number ** 2)
        step = np.sum(number * distance[near]) / norm if norm else step
    return step


def find_steps(image, mask):
    """
    Find the steps that the values of an image are quantised in, from the values alone.

    Parameters
    ----------
    image : `~numpy.ndarray`
        Data of shape (ny, nx): integers, or floats that are multiples of a step plus an offset.
    mask : `~numpy.ndarray` of bool
        True where they do not count.

    Returns
    -------
    Steps or None
        None if the values are not quantised, or in negligible steps.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.noise import find_steps
    >>> image = np.random.default_rng(0).normal(100, 2, (64, 64))
    >>> find_steps(image, np.zeros(image.shape, bool)) is None
    True
    >>> find_steps(np.round(image) / 8 + 0.3, np.zeros(image.shape, bool)).step
    0.125
    """
    sample = subsample(image, _SAMPLE)
    sample = sample[~subsample(mask, _SAMPLE) & np.isfinite(sample)].astype(float)
    if sample.size < 64:
        return None
    values, counts = _clusters(sample)
    if not 1 < values.size < _DISTINCT * sample.size:
        return None
    common = values[counts > 1]
    if common.size < 2:
        common = values   # all pixels but a few have one value
    gaps = np.diff(common)
    offset = values[np.argmax(counts)]
    step = _refined(values, offset, gaps.min())
    number = (sample - offset) / step
    if np.mean(np.abs(number - np.round(number)) < _TOLERANCE) > _SHARE:
        return Steps(round_off(step), float(offset))
    if common.size < 4 or values.size > _DISTINCT_UNEVEN * sample.size:
        return None   # values that occur twice may be copies, as of a mosaic
    # Near the typical level, where no value is missing.
    middle = np.argmin(np.abs(common - offset))
    near = slice(max(0, middle - 3), middle + 3)
    distance, gaps = 0.5 * (common[1:] + common[:-1])[near] - offset, gaps[near]
    present = gaps < 1.5 * np.min(gaps)
    if np.count_nonzero(present) < 3:
        return None
    growth, square = np.polyfit(distance[present], gaps[present] ** 2, 1)
    if not square > 0:
        return None
    return Steps(float(np.sqrt(square)), float(offset), False, float(growth))


def round_off(step):
    """Round a step to remove the errors of single precision."""
    return float(f'{step:.7g}')
