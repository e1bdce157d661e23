# Licensed under a 3-clause BSD style license - see LICENSE
"""
The stated uncertainty on skies without sources: ``python benchmarks/empty_sky.py``.

Random scenes, of which the default model was trained on others, with and without the correction that
`astropy_n2v.inference.blank_sky` makes. Writes ``results/empty_sky.csv``, a row for each frame on which it does
anything; how many frames there were is in its first line.
"""

from unittest import mock

import numpy as np
from common import parse, say, write_table

from astropy_n2v import Denoiser
from astropy_n2v.simulate import random_observation
from astropy_n2v.validation import judge_uncertainty, mean_squared_error

__all__ = ['main']


def _judge(denoiser, observation, when):
    """Measure the rms pull, the coverage, and the rms error in units of the noise; and return the correction."""
    result = denoiser.predict(observation.data, observation.noise, observation.mask)
    truth = np.where(np.isfinite(result.innovation), observation.truth, np.nan)
    sigma = np.sqrt(observation.noise.variance(observation.truth))
    pulls = judge_uncertainty(result.mean, truth, uncertainty=result.std, n_resamples=100)[0]
    error = np.sqrt(mean_squared_error(result.mean / sigma, truth / sigma))
    return {f'rms_pull_{when}': float(pulls['rms_pull']), f'coverage_95_{when}': float(pulls['coverage95']),
            f'error_{when}': error}, result.recalibration.blank_sky


def main(argv=None):
    arguments = parse(__doc__, argv, n_seeds=60, size=448)
    denoiser, rows = Denoiser.load('default'), []
    for seed in arguments.seeds:
        observation = random_observation((arguments.size, arguments.size), seed=seed)
        after, (factor, weight) = _judge(denoiser, observation, 'after')
        if weight == 0:
            continue
        with mock.patch('astropy_n2v.inference.pipeline.variance_factor', return_value=(1.0, 0.0)):
            before, _ = _judge(denoiser, observation, 'before')
        rows.append({'seed': seed, 'field': observation.kind, 'factor': factor, 'weight': weight, **before, **after})
        say(rows[-1])
    for end in 'before', 'after':
        scatter = np.sqrt(np.mean([np.log(row[f'rms_pull_{end}']) ** 2 for row in rows])) if rows else np.nan
        print(f'{end}: rms of the logarithm of the rms pull {scatter:.2f}')
    write_table(rows, 'empty_sky', f'{len(rows)} of {len(arguments.seeds)} frames')


if __name__ == '__main__':
    main()
