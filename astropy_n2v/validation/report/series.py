# Licensed under a 3-clause BSD style license - see LICENSE
"""
Several exposures of one field, each judged by the others.
"""

import numpy as np

from ..measures.inputs import smoothed
from ..measures.reference import fit_scale
from ..measures.uncertainty import judge_uncertainty_by_halves
from .arguments import as_array
from .combine import average_tables, values_of
from .task import UNCERTAINTY_BINS

__all__ = []


def judge_uncertainty_by_others(frames, results, noises, options, seed):
    """
    The stated uncertainty of each exposure, by the means of two halves of the others.

    Returns the table, and why brightness is left out where exposures differ by more than noise: there even the
    input, whose noise is known, does not agree with the others, be it for seeing or transparency.
    """
    parts, inputs = [], []
    common = {'bins': UNCERTAINTY_BINS, 'seed': seed, 'confidence': options['confidence'],
              'n_resamples': options['n_resamples']}
    for i, (frame, result, noise) in enumerate(zip(frames, results, noises)):
        others = [other for j, other in enumerate(frames) if j != i]
        shifted = [fit_scale(other, frame, fit_slope=False).apply(as_array(other, None)) for other in others]
        halves = [np.mean(shifted[k::2], axis=0) for k in (0, 1)]
        guide = smoothed(as_array(result, None))   # the same bins for both
        parts.append(judge_uncertainty_by_halves(result, *halves, brightness=guide, **common))
        stated = np.sqrt(noise.variance(np.nan_to_num(np.asarray(result.data, dtype=float))))
        inputs.append(judge_uncertainty_by_halves(frame, *halves, uncertainty=stated, brightness=guide, **common))
    table, before = (_average_squares(each) for each in (parts, inputs))
    differ = values_of(before, 'rms_pull_low') > 1.1
    reason = None
    if differ[1:].any():
        worst = float(np.nanmax(values_of(before, 'rms_pull')[1:]))
        reason = (f'the exposures differ by more than their noise ({worst:.1f} times): by seeing or transparency, '
                  'or the noise is larger than thought')
        table = table[~differ | (np.arange(len(table)) == 0)]
    return table, reason


def _average_squares(tables):
    """The tables of all exposures as one: squares average, their roots do not."""
    table = average_tables(tables, ('brightness_low', 'brightness_high'))
    for end in '', '_low', '_high':
        square = values_of(table, f'square_pull{end}')
        table[f'rms_pull{end}'] = np.sqrt(np.where(square >= 0, square, np.nan))
    return table


def average_exposures(table):
    """Noise reduction by brightness of all exposures together."""
    exposures = values_of(table, 'exposure')
    parts = [table[exposures == exposure] for exposure in dict.fromkeys(exposures.tolist())]
    bins = average_tables(parts, ('brightness_low', 'brightness_high'))
    before = values_of(bins, 'mse_before')
    for end, source in ('', ''), ('_low', '_high'), ('_high', '_low'):
        # What is left may be measured as zero or less: the gain is then only known to be large.
        after = np.maximum(values_of(bins, f'mse_after{source}'), 1e-4 * before)
        with np.errstate(invalid='ignore', divide='ignore'):
            bins[f'noise_reduction{end}'] = np.sqrt(before / after)
    return bins
