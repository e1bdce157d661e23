# Licensed under a 3-clause BSD style license - see LICENSE
"""
Stripes of the read-out on simulated fields: ``python benchmarks/stripes.py``.

Rows or columns get offsets of half the noise of the sky. How many times smaller the rms of the row means of the error
is in the result of ``denoise``, and when they have only been taken off, without a network; the relative error of the
flux of a galaxy of 200 pixels, of a trail along a row and of a step between amplifiers, before and after; and in how
many scenes without a pattern one is found.
Writes ``results/stripes.csv``.
"""

import warnings

import numpy as np
from astropy.utils.exceptions import AstropyUserWarning
from common import Recorder, make_frames, parse

from astropy_n2v import denoise
from astropy_n2v.noise import Patterns

__all__ = ['main']

_AMPLITUDE = 0.5   # of the noise of the sky


def _lights(size, rng):
    """Draw light that must not be taken for stripes, in units of the noise of the sky."""
    y, x = np.indices((size, size))
    row, column = rng.uniform(0.35 * size, 0.65 * size, 2)
    return {'nothing': np.zeros((size, size)),
            'galaxy': 100 * np.exp(-np.hypot(x - column, 1.4 * (y - row)) / (size / 21)),
            'trail': 20 * np.exp(-0.5 * ((y - row) / 1.4) ** 2),
            'gradient': 20 * (y / size + 0.3 * x / size + 0.5 * (y / size) ** 2),
            'step': np.where(x < size // 2, 0.0, 5.0)}


def _judge(truth, light, data, offsets, axis):
    turned = (lambda image: image) if axis == 'rows' else np.transpose
    false = Patterns.find(turned(data)) is not None
    found = Patterns.find(turned(data + offsets))
    model = 0 * data if found is None else np.broadcast_to(turned(found.model()), data.shape)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', AstropyUserWarning)
        result = turned(denoise(turned(data + offsets), audit='warn'))
    error = {'input': data + offsets - truth, 'taken_off': data + offsets - model - truth, 'result': result - truth}
    rms = {f'row_means_{name}': np.std(values.mean(axis=1)) for name, values in error.items()}
    size = np.sum(light ** 2) or np.inf
    return {**rms, 'smaller': rms['row_means_input'] / rms['row_means_result'],
            'flux_input': np.sum(error['input'] * light) / size, 'flux_result': np.sum(error['result'] * light) / size,
            'found_without': int(false)}


def main(argv=None):
    arguments = parse(__doc__, argv, n_seeds=4, size=512)
    table = Recorder('stripes')
    for kind, seed, frame in make_frames(arguments):
        rng, scene = np.random.default_rng((seed, 2)), frame.scene
        for i, (name, light) in enumerate(_lights(arguments.size, rng).items()):
            truth = scene.truth + frame.sky_sigma * light
            data = rng.poisson(truth) + rng.normal(0, scene.readnoise, truth.shape)
            offsets = _AMPLITUDE * frame.sky_sigma * rng.normal(size=(arguments.size, 1))
            axis = ('rows', 'columns')[(i + seed) % 2]
            table.add(field=kind, light=name, seed=seed, axis=axis,
                      **_judge(truth, frame.sky_sigma * light, data, offsets, axis))


if __name__ == '__main__':
    main()
