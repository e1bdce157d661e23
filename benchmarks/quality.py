# Licensed under a 3-clause BSD style license - see LICENSE
"""
Quality on simulated fields whose truth is known, against the peers: ``python benchmarks/quality.py``.

Writes ``results/quality.csv``, a row for each field and method, and ``results/uncertainty.csv``: what the
stated uncertainty of our result is worth, by the brightness of the result. ``--trained`` measures ``model='self'``
and the peers that are trained on each frame (minutes each), and writes ``results/quality_trained.csv``. ``--flat``
measures the mean of flat Poisson frames, and writes ``results/flat.csv``.
"""

import numpy as np
from common import make_frame, parse, write_table
from peers import CORRELATED, METHODS, TRAINED, run_method

from astropy_n2v import NoiseModel, denoise
from astropy_n2v.validation import mean_offset, noise_reduction

__all__ = ['BINS', 'classes', 'flat_frames', 'judge', 'judge_uncertainty', 'main']

#: Edges of the bins of brightness, in sigma of the sky above the sky.
BINS = -np.inf, 1, 3, 10, 30, 100, np.inf
#: Mean counts of the flat frames.
FLAT_COUNTS = 0.05, 0.2, 1, 5, 50


def classes(frame):
    """Pixels by their true signal: all, faint (1-10 sigma of the sky above the sky) and bright ones (> 30)."""
    signal = (frame.truth - frame.scene.sky) / frame.sky_sigma
    return {'all': np.isfinite(signal), 'faint': (signal > 1) & (signal < 10), 'bright': signal > 30}


def judge(frame, image, std=None):
    """
    Compare a result with the truth.

    Parameters
    ----------
    frame : Frame
        The observation.
    image, std : `~numpy.ndarray`
        The result and its stated uncertainty, if there is one.

    Returns
    -------
    dict
        Noise reduction of all, faint and bright pixels (see `classes`); mean offset in sigma of all pixels, and of
        those within one sigma of the median of the result; rms pull and coverage.
    """
    truth, sigma = frame.truth, frame.sigma
    nr = {name: noise_reduction(frame.data, image, truth, sigma, select=select)
          for name, select in classes(frame).items()}
    sky = np.abs(image - np.median(image)) < frame.sky_sigma
    row = {'nr': nr['all'], 'nr_faint': nr['faint'], 'nr_bright': nr['bright'],
           'offset': mean_offset(image, truth, sigma), 'sky_offset': mean_offset(image, truth, sigma, select=sky)}
    pull = np.full(1, np.nan) if std is None else (image - truth) / std
    return {**row, 'rms_pull': np.sqrt(np.mean(pull ** 2)), 'coverage_68': _covered(pull, 1.0),
            'coverage_95': _covered(pull, 1.96)}


def _covered(pull, width):
    return np.mean(np.abs(pull) < width) if np.isfinite(pull).all() else np.nan


def judge_uncertainty(frame, image, std):
    """Rows of pull, coverage and noise reduction by the brightness of the result; bins of 100 pixels at least."""
    signal = (image - frame.scene.sky) / frame.sky_sigma
    rows = []
    for low, high in zip(BINS[:-1], BINS[1:]):
        select = (signal >= low) & (signal < high)
        if select.sum() < 100:
            continue
        pull = ((image - frame.truth) / std)[select]
        rows.append({'from_sigma': low, 'to_sigma': high, 'pixels': int(select.sum()),
                     'nr': noise_reduction(frame.data, image, frame.truth, frame.sigma, select=select),
                     'offset': mean_offset(image, frame.truth, frame.sigma, select=select),
                     'rms_pull': np.sqrt(np.mean(pull ** 2)), 'coverage_68': _covered(pull, 1.0),
                     'coverage_95': _covered(pull, 1.96)})
    return rows


def flat_frames(size, seed):
    """Rows of the ratio of the mean of flat Poisson frames after to that before, by their counts."""
    rows = []
    for i, counts in enumerate(FLAT_COUNTS):
        data = np.random.default_rng((seed, i)).poisson(counts, (size, size)).astype(np.float32)
        clean = denoise(data, noise=NoiseModel(0.0, gain=1.0), hole=1)
        rows.append({'counts': counts, 'mean_ratio': clean.mean(dtype=float) / data.mean(dtype=float)})
    return rows


def main(argv=None):
    arguments = parse(__doc__, argv, n_seeds=4, flags={'trained': 'measure what is trained on each frame',
                                                       'flat': 'measure flat Poisson frames instead of scenes'})
    special = *TRAINED, *CORRELATED
    methods = ('bm3d', *TRAINED) if arguments.trained else [name for name in METHODS if name not in special]
    note = f'{arguments.size}x{arguments.size} pixels'
    if arguments.flat:
        write_table(flat_frames(arguments.size, arguments.first_seed), 'flat', note)
        return
    rows, bins = [], []
    for kind in arguments.kinds:
        for seed in arguments.seeds:
            frame = make_frame(kind, seed, arguments.size)
            for name in arguments.methods or methods:
                result = run_method(name, frame)
                rows.append({'kind': kind, 'seed': seed, 'method': name,
                             **judge(frame, result['image'], result['std']), 'seconds': result['seconds'],
                             'peak_mb': result['memory']})
                if result['std'] is not None:
                    bins += [{'kind': kind, 'seed': seed, **row}
                             for row in judge_uncertainty(frame, result['image'], result['std'])]
                print(kind, seed, name, *(f'{key} {rows[-1][key]:.3g}' for key in list(rows[-1])[3:]), flush=True)
                write_table(rows, 'quality_trained' if arguments.trained else 'quality', note)
    if bins and not arguments.trained:
        write_table(bins, 'uncertainty', note)


if __name__ == '__main__':
    main()
