# Licensed under a 3-clause BSD style license - see LICENSE
"""
The stated uncertainty on skies without sources: ``python benchmarks/empty_sky.py``.

Random scenes, of which the default model was trained on others, with and without the correction that
`astropy_n2v.inference.blank_sky` makes. Writes ``results/empty_sky.csv``, a row for each frame on which it does
anything; how many frames there were is in its first line.
"""

from unittest import mock

import numpy as np
from common import parse, write_table

from astropy_n2v import Denoiser
from astropy_n2v.simulate import random_observation

__all__ = ['main']


def _judge(denoiser, observation):
    """Rms pull, coverage, and rms error in units of the noise; and what was corrected."""
    result = denoiser.predict(observation.data, observation.noise, observation.mask)
    counts = np.isfinite(result.innovation)
    error = (result.mean - observation.truth)[counts]
    pull = error / result.std[counts]
    noise = np.sqrt(np.broadcast_to(observation.noise.variance(observation.truth), counts.shape)[counts])
    measures = {'rms_pull': np.sqrt(np.mean(pull ** 2)), 'coverage_95': np.mean(np.abs(pull) < 1.96),
                'error': np.sqrt(np.mean((error / noise) ** 2))}
    return measures, result.recalibration.blank_sky


def main(argv=None):
    arguments = parse(__doc__, argv, n_seeds=60, size=448)
    denoiser, rows = Denoiser.load('default'), []
    for seed in arguments.seeds:
        observation = random_observation((arguments.size, arguments.size), seed=seed)
        after, (factor, weight) = _judge(denoiser, observation)
        if weight == 0:
            continue
        with mock.patch('astropy_n2v.inference.pipeline.variance_factor', return_value=(1.0, 0.0)):
            before, _ = _judge(denoiser, observation)
        rows.append({'seed': seed, 'field': observation.kind, 'factor': factor, 'weight': weight,
                     **{f'{name}_before': value for name, value in before.items()},
                     **{f'{name}_after': value for name, value in after.items()}})
        print(*(f'{name} {value:.3g}' if isinstance(value, float) else value for name, value in rows[-1].items()),
              flush=True)
    for end in 'before', 'after':
        scatter = np.sqrt(np.mean([np.log(row[f'rms_pull_{end}']) ** 2 for row in rows])) if rows else np.nan
        print(f'{end}: rms of the logarithm of the rms pull {scatter:.2f}')
    write_table(rows, 'empty_sky', f'{len(rows)} of {len(arguments.seeds)} frames')


if __name__ == '__main__':
    main()
