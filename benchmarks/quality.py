# Licensed under a 3-clause BSD style license - see LICENSE
"""
Quality on simulated fields whose truth is known, against the peers: ``python benchmarks/quality.py``.

Writes ``results/quality.csv``, a row for each field and method, and ``results/uncertainty.csv``: the errors of our
result in units of its stated uncertainty, by the brightness of the result. ``--trained`` measures ``model='self'``
and the peers that are trained on each frame (minutes each), and writes ``results/quality_trained.csv``. ``--flat``
measures the mean of flat Poisson frames after the default model and after small networks of the classical strategies
that are trained on them, and writes ``results/flat.csv``.
"""

import numpy as np
from common import Recorder, make_frames, parse, say, write_table
from peers import CORRELATED, METHODS, TRAINED, run_method

from astropy_n2v import NoiseModel, denoise
from astropy_n2v.training.classical import train_classical
from astropy_n2v.validation import judge_uncertainty, mean_offset, noise_reduction

__all__ = ['BINS', 'FLAT_COUNTS', 'FLAT_METHODS', 'classes', 'compare', 'flat_frames', 'judge', 'judge_pulls', 'main']

#: Edges of the bins of brightness, in sigma of the sky above the sky.
BINS = -np.inf, 1, 3, 10, 30, 100, np.inf
#: Mean counts of the flat frames.
FLAT_COUNTS = 0.05, 0.2, 1, 5, 50
#: What flat frames are denoised by: the default model, and strategies of `astropy_n2v.training.classical`.
FLAT_METHODS = 'ours', 'n2v', 'n2v2', 'structn2v'
_FEWEST = 100   # pixels of a bin
_PULLS = {'rms_pull': 'rms_pull', 'coverage_68': 'coverage68', 'coverage_95': 'coverage95'}


def classes(frame):
    """Select pixels by their true signal: all, faint (1-10 sigma of the sky above the sky) and bright (> 30)."""
    signal = (frame.truth - frame.scene.sky) / frame.sky_sigma
    return {'all': np.isfinite(signal), 'faint': (signal > 1) & (signal < 10), 'bright': signal > 30}


def judge_pulls(frame, image, std):
    """
    Measure errors in units of the stated uncertainty, by the brightness of the result.

    Parameters
    ----------
    frame : Frame
        The observation.
    image, std : `~numpy.ndarray`
        The result and its stated uncertainty.

    Returns
    -------
    `~astropy.table.Table`
        From `astropy_n2v.validation.judge_uncertainty`: a row for all pixels, then one for each bin of enough pixels.
    """
    pulls = judge_uncertainty(image, frame.truth, uncertainty=std, truth_std=frame.truth_std, sigma=frame.sky_sigma,
                              brightness=image, bins=BINS, n_resamples=100, seed=1)
    columns = ['brightness_low', 'brightness_high', 'n', 'mean_pull', 'rms_pull', 'rms_pull_err', *_PULLS.values()]
    return pulls[list(dict.fromkeys(columns))][pulls['n'] >= _FEWEST]


def judge(frame, image, pulls=None):
    """
    Compare a result with the truth.

    Parameters
    ----------
    frame : Frame
        The observation.
    image : `~numpy.ndarray`
        The result.
    pulls : `~astropy.table.Table`, optional
        From `judge_pulls`, if an uncertainty is stated.

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
    return {'nr': nr['all'], 'nr_faint': nr['faint'], 'nr_bright': nr['bright'],
            'offset': mean_offset(image, truth, sigma), 'sky_offset': mean_offset(image, truth, sigma, select=sky),
            **{name: np.nan if pulls is None else float(pulls[column][0]) for name, column in _PULLS.items()}}


def compare(frames, methods, recorder):
    """
    Apply methods to frames, and record how good their results are.

    Parameters
    ----------
    frames : iterable of tuple
        Columns that name a frame, as a dict, and the frame.
    methods : sequence of str
        Names in ``peers.METHODS``.
    recorder : Recorder
        Takes the rows.

    Returns
    -------
    list of dict
        Rows of `judge_pulls`, one for each bin and frame, of the methods that state an uncertainty.
    """
    bins = []
    for labels, frame in frames:
        for name in methods:
            result = run_method(name, frame)
            pulls = None if result['std'] is None else judge_pulls(frame, result['image'], result['std'])
            recorder.add(**labels, method=name, **judge(frame, result['image'], pulls), seconds=result['seconds'],
                         peak_mb=result['memory'])
            bins += [] if pulls is None else [{**labels, **dict(zip(pulls.colnames, row))} for row in pulls[1:]]
    return bins


def _flat_result(method, data):
    """Denoise a flat frame; a classical network is trained on it."""
    noise = NoiseModel(0.0, gain=1.0)
    if method == 'ours':
        return denoise(data, noise=noise, hole=1)
    model = train_classical(data, method, struct=np.ones((1, 5)) if method == 'structn2v' else None,
                            max_steps=50, network_options={'levels': 3, 'base': 8})
    return model.predict(data, noise).mean


def flat_frames(size, seed, methods=FLAT_METHODS):
    """
    Measure the ratio of the mean of flat Poisson frames after to that before, a row for each method and mean count.

    Parameters
    ----------
    size, seed : int
        Height and width in pixels, and the first seed.
    methods : sequence of str, optional
        Of ``FLAT_METHODS``; classical networks are trained on the frame itself.

    Returns
    -------
    list of dict
        The rows.
    """
    rows = []
    for method in methods:
        for i, counts in enumerate(FLAT_COUNTS):
            data = np.random.default_rng((seed, i)).poisson(counts, (size, size)).astype(np.float32)
            clean = _flat_result(method, data)
            rows.append({'method': method, 'counts': counts,
                         'mean_ratio': clean.mean(dtype=float) / data.mean(dtype=float)})
            say(rows[-1])
    return rows


def main(argv=None):
    arguments = parse(__doc__, argv, n_seeds=4, size=512, flags={
        'trained': 'measure what is trained on each frame', 'flat': 'measure flat Poisson frames instead of scenes'})
    special = *TRAINED, *CORRELATED
    methods = ('bm3d', *TRAINED) if arguments.trained else [name for name in METHODS if name not in special]
    note = f'{arguments.size}x{arguments.size} pixels'
    if arguments.flat:
        write_table(flat_frames(arguments.size, arguments.first_seed, arguments.methods or FLAT_METHODS), 'flat', note)
        return
    frames = (({'kind': kind, 'seed': seed}, frame) for kind, seed, frame in make_frames(arguments))
    table = Recorder('quality_trained' if arguments.trained else 'quality', note)
    bins = compare(frames, arguments.methods or methods, table)
    if bins and not arguments.trained:
        write_table(bins, 'uncertainty', note)


if __name__ == '__main__':
    main()
