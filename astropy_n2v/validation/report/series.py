# Licensed under a 3-clause BSD style license - see LICENSE
"""
Several exposures of one field, each judged by the others.
"""

import numpy as np
from astropy.table import vstack
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.ndimage import median_filter

from ..measures.exposures import EXPOSURE_COLUMNS, estimate_exposures, exposure_sums
from ..measures.inputs import smooth_good, smoothed
from ..measures.reference import fit_scale
from ..measures.statistics import robust_scatter
from ..measures.tables import estimate_sums, merge_bins, values_of
from ..measures.uncertainty import HALVES_COLUMNS, halves_sums
from .arguments import as_array
from .combine import GAIN_BINS
from .task import UNCERTAINTY_BINS

__all__ = []

# Pixels. Exposures that lie farther from each other are not aligned: half a pixel makes an error of a few sigma at the
# flanks of stars of 20 sigma and 3 pixels.
_MAX_SHIFT = 0.5

# Height of the peak of a cross-correlation, in units of its scatter, from which on it shows where exposures lie. Of
# 10^5 values of noise the highest is at 4.5.
_MIN_PEAK = 8

# Gains beyond 100 are not known: what is left of the noise, measured by others, may come out as zero or less.
_LEAST_LEFT = 1e-4


def find_shift(image, other):
    """
    Measure by how much an exposure is shifted against another, by the cross-correlation of their sources.

    Parameters
    ----------
    image, other : `~numpy.ndarray`
        Exposures of one shape; NaN where pixels do not count.

    Returns
    -------
    tuple of float or None
        Along y and x in pixels, positive if sources of ``image`` have larger coordinates; None if there is too little
        to see.
    """
    stars = [_sources_only(part) for part in (image, other)]
    shape = [next_fast_len(2 * n, real=True) for n in image.shape]
    first, second = (rfft2(part, shape) for part in stars)
    product = irfft2(first * np.conj(second), shape)
    reach = [max(n // 2, 1) for n in image.shape]
    lags = [np.arange(-r, r + 1) for r in reach]
    product = product[np.ix_(*lags)]
    scatter = robust_scatter(product)
    at = np.unravel_index(np.argmax(product), product.shape)
    if not product[at] - np.median(product) > _MIN_PEAK * scatter:
        return None
    return tuple(float(lags[axis][at[axis]] + _vertex(np.take(product, at[1 - axis], axis=1 - axis), at[axis]))
                 for axis in (0, 1))


def _sources_only(image):
    """An image without its background and single bright pixels, which stay where they are when the sky moves."""
    good = np.isfinite(image)
    values = median_filter(np.where(good, image, np.median(image[good])), 3)
    values = values - smooth_good(values, good, 16.0)
    scatter = robust_scatter(values[good])
    # The brightest sources shall not outweigh all others.
    return np.where(good, np.clip(values, -3 * scatter, 30 * scatter), 0)


def _vertex(values, i):
    """Position of the vertex of the parabola through a maximum and its neighbours, relative to it."""
    if not 0 < i < len(values) - 1:
        return 0.0
    left, top, right = values[i - 1:i + 2]
    return 0.5 * (left - right) / (left - 2 * top + right)


def find_misaligned(frames):
    """
    Find an exposure that is not aligned with the first one.

    Parameters
    ----------
    frames : list of `~astropy.nddata.CCDData`
        Exposures of one field.

    Returns
    -------
    str
        Fault and remedy; empty if the exposures are aligned, or show too little to judge by.
    """
    first = as_array(frames[0], None)
    for i, frame in enumerate(frames[1:]):
        values = as_array(frame, None)
        if values.shape != first.shape:
            return f'the exposures differ in shape: {first.shape} and {values.shape}'
        shift = find_shift(values, first)
        if shift is not None and np.hypot(*shift) > _MAX_SHIFT:
            return (f'the exposures are not aligned: exposure {i + 2} is shifted against the first one by '
                    f'{shift[1]:.1f} pixels in x and {shift[0]:.1f} in y, by their cross-correlation; align them by '
                    'whole pixels or cut out what they share')
    return ''


def judge_gain(frames, results, bootstrap):
    """
    Measure how much nearer to the truth each result is than its exposure, by the other exposures.

    Returns the tables by name: of each exposure, of all together by brightness, and of sky, faint and bright pixels.
    """
    parts = exposure_sums(frames, results)
    # A block of one exposure is resampled with the blocks of the others, which it is compared with.
    sums = vstack(parts, metadata_conflicts='silent')
    return {'exposures': estimate_exposures(parts, bootstrap), 'noise_by_brightness': _gain(sums, bootstrap),
            'gain': _gain(merge_bins(sums, GAIN_BINS), bootstrap)}


def _gain(sums, bootstrap):
    """The noise reduction by brightness."""
    table = estimate_sums(sums, {**EXPOSURE_COLUMNS, 'left': ('after', 'before')}, bootstrap)
    for end, source in ('', ''), ('_low', '_high'), ('_high', '_low'):
        table[f'noise_reduction{end}'] = np.maximum(values_of(table, f'left{source}'), _LEAST_LEFT) ** -0.5
    table['n'] //= sums.meta['splits']
    table.remove_columns([f'left{end}' for end in ('', '_err', '_low', '_high')])
    return table


def judge_uncertainty_by_others(frames, results, noises, bootstrap):
    """
    Judge the stated uncertainty of each exposure by the means of two halves of the others.

    Returns the table, and why brightness is left out where exposures differ by more than noise: there even the
    input, whose noise is known, does not agree with the others, be it for seeing or transparency.
    """
    parts, inputs = [], []
    for i, (frame, result, noise) in enumerate(zip(frames, results, noises)):
        others = [other for j, other in enumerate(frames) if j != i]
        shifted = [fit_scale(other, frame, fit_slope=False).apply(as_array(other, None)) for other in others]
        halves = [np.mean(shifted[k::2], axis=0) for k in (0, 1)]
        guide = smoothed(as_array(result, None))   # the same bins for both
        known = {'bins': UNCERTAINTY_BINS, 'brightness': guide}
        parts.append(halves_sums(result, *halves, **known))
        stated = np.sqrt(noise.variance(np.nan_to_num(np.asarray(result.data, dtype=float))))
        inputs.append(halves_sums(frame, *halves, uncertainty=stated, **known))
    table, before = (estimate_sums(vstack(each, metadata_conflicts='silent'), HALVES_COLUMNS, bootstrap)
                     for each in (parts, inputs))
    differ = values_of(before, 'rms_pull_low') > 1.1
    reason = None
    if differ[1:].any():
        worst = float(np.nanmax(values_of(before, 'rms_pull')[1:]))
        reason = (f'the exposures differ by more than their noise ({worst:.1f} times): by seeing or transparency, '
                  'or the noise is larger than thought')
        table = table[~differ | (np.arange(len(table)) == 0)]
    return table, reason
