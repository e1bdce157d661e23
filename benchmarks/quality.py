# Licensed under a 3-clause BSD style license - see LICENSE
"""
Quality on simulated fields whose truth is known: ``python benchmarks/quality.py``.

Writes ``benchmarks/results/quality-MODEL.csv``, a row for each kind of scene, and
``flat-MODEL.csv`` for flat Poisson frames. The scenes have seeds of their own, that no
training has seen.
"""

import argparse
import platform
import time
from pathlib import Path

import numpy as np
import torch
from astropy.table import Table

from astropy_n2v import NoiseModel, denoise
from astropy_n2v.simulate import make_psf, make_scene
from astropy_n2v.validation import noise_reduction

RESULTS = Path(__file__).parent / 'results'
KINDS = 'survey', 'crowded', 'nebula', 'low_counts'


def plant(truth, sigma, rng, n=40):
    """Add single-pixel spikes and stars of FWHM 0.9 px, both with a peak of 30 sigma, on the darker half."""
    truth = truth.copy()
    star = make_psf(0.9, half_size=4, oversampling=5)[3:-3, 3:-3].reshape(7, 5, 7, 5).sum(axis=(1, 3))
    star *= 30 / star.max()
    places = {'spike': [], 'star': []}
    dark = np.median(truth)
    free = np.ones(truth.shape, dtype=bool)
    while min(map(len, places.values())) < n:
        kind = 'spike' if len(places['spike']) < n else 'star'
        y, x = (int(rng.integers(12, size - 12)) for size in truth.shape)
        around = (slice(y - 8, y + 9), slice(x - 8, x + 9))
        if truth[around].max() > dark + 3 * sigma or not free[around].all():
            continue
        free[around] = False
        if kind == 'spike':
            truth[y, x] += 30 * sigma
        else:
            truth[y - 3:y + 4, x - 3:x + 4] += star * sigma
        places[kind].append((y, x))
    return truth, places


def kept(result, truth, added, places, half):
    """Mean fraction of the planted flux that is in a result, above the truth without it."""
    boxes = [(slice(y - half, y + half + 1), slice(x - half, x + half + 1)) for y, x in places]
    return np.mean([(result - truth)[box].sum() / added[box].sum() for box in boxes])


def measure(kind, model, seed, options):
    """One row of the table."""
    scene = make_scene(kind, seed=seed)
    sky_sigma = float(np.sqrt(scene.noise.variance(scene.sky)))
    noisy = scene.observe(seed=seed + 1)
    start = time.perf_counter()
    clean, parts = denoise(noisy, model, noise=scene.noise, full_output=True, **options)
    seconds = time.perf_counter() - start
    truth = scene.truth
    sigma = np.sqrt(scene.noise.variance(truth))
    error = (clean.data - truth) / sigma
    signal = (truth - scene.sky) / sky_sigma

    def nr(select=None):
        return noise_reduction(noisy.data, clean.data, truth, sigma, select=select)

    order = np.argsort(parts.blind_mean.ravel())
    bins = [*np.array_split(order, 40), order[-1000:], order[-300:]]
    worst = min(nr(np.isin(np.arange(order.size), part).reshape(truth.shape)) for part in bins)
    level = parts.scaling.level
    sky = np.abs(clean.data - level) < sky_sigma
    pull = (clean.data - truth) / clean.uncertainty.array
    row = {'kind': kind, 'model': model, 'nr': nr(), 'nr_faint': nr((signal > 1) & (signal < 10)),
           'nr_bright': nr(signal > 30), 'nr_worst_bin': worst, 'offset': error.mean(), 'sky_offset': error[sky].mean(),
           'rms_pull': np.sqrt(np.mean(pull ** 2)), 'coverage_95': np.mean(np.abs(pull) < 1.96), 'seconds': seconds}
    # What cannot be foreseen, in a frame of its own: planted, observed, and denoised like the other.
    if model != 'self':
        planted, places = plant(truth, sky_sigma, np.random.default_rng(seed + 2))
        scene.truth = planted
        noisy = scene.observe(seed=seed + 3)
        clean = denoise(noisy, model, noise=scene.noise, **options)
        row['spike_kept'] = kept(clean.data, truth, planted - truth, places['spike'], 0)
        row['narrow_star_kept'] = kept(clean.data, truth, planted - truth, places['star'], 2)
    return row


def flat_frames(model, seed, options):
    """Ratio of the mean of flat Poisson frames after and before."""
    rows = []
    for i, mean in enumerate((0.05, 0.2, 1, 5, 50)):
        data = np.random.default_rng((seed, i)).poisson(mean, (512, 512)).astype(np.float32)
        clean = denoise(data, model, noise=NoiseModel(0.0, gain=1.0), hole=1, **options)
        rows.append({'counts': mean, 'model': model, 'mean_ratio': clean.mean(dtype=float) / data.mean(dtype=float)})
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--model', default='default')
    parser.add_argument('--kinds', nargs='+', default=KINDS)
    parser.add_argument('--seed', type=int, default=7001)
    parser.add_argument('--max-steps', type=int, help="of the training, for 'self' and 'adapt'")
    parser.add_argument('--no-flat', action='store_true', help='leave out the flat Poisson frames')
    arguments = parser.parse_args()
    options = {'hole': 1}
    if arguments.max_steps:
        options['max_steps'] = arguments.max_steps
    RESULTS.mkdir(exist_ok=True)
    machine = f'{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}'
    rows = []
    for i, kind in enumerate(arguments.kinds):
        rows.append({**measure(kind, arguments.model, arguments.seed + 10 * i, options), 'machine': machine})
        print({name: round(float(value), 4) if isinstance(value, float) else value
               for name, value in rows[-1].items()},
              flush=True)
        write(rows, f'quality-{arguments.model}.csv')
    if not arguments.no_flat:
        options.pop('hole')
        write(flat_frames(arguments.model, arguments.seed, options), f'flat-{arguments.model}.csv')


def write(rows, name):
    table = Table(rows=rows)
    for column in table.itercols():
        if column.dtype.kind == 'f':
            column.info.format = '.4g'
    table.write(RESULTS / name, format='ascii.csv', overwrite=True)


if __name__ == '__main__':
    main()
