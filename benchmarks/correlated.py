# Licensed under a 3-clause BSD style license - see LICENSE
"""
Correlated noise on simulated fields whose truth is known: ``python benchmarks/correlated.py``.

White Gaussian noise goes through a filter along columns and one along rows, is normalised to a variance of one, and is
multiplied by the noise of each pixel: the root of photon and read noise of the truth. So all kinds of noise have the
same variance in each pixel and are made from one draw, and the scene stays as it is. The noise model is known to
all methods, the autocorrelation to none but ``bm3d, known spectrum``: ours measures it on the frame.

Writes ``results/correlated.csv``: rms errors in units of the noise; these over the rms error of ours on white noise of
the same scene (``ratio``), and the limit of that ratio in linear theory; the rms pull, by the brightness of the result.
With ``--methods`` the rows of other methods stay as they are.
"""

from dataclasses import replace

import numpy as np
from astropy.nddata import CCDData
from common import Recorder, make_frames, parse
from peers import CORRELATED, run_method
from quality import BINS, classes, judge_pulls
from scipy.ndimage import convolve1d

__all__ = ['FILTERS', 'KINDS', 'correlate', 'correlated_noise', 'linear_limit', 'main', 'noise_power']

KINDS = 'survey', 'crowded', 'sky_limited'
METHODS = 'ours', 'bm3d', *CORRELATED
#: Seeds from here on belong to this benchmark alone.
FIRST_SEED = 7900


def _moving_average(rho):
    """Filter of two pixels after which the autocorrelation at lag 1 is ``rho``."""
    return np.array([1, (1 - np.sqrt(1 - 4 * rho ** 2)) / (2 * rho)])


def _lanczos(shift):
    """Interpolation between 6 pixels, the windowed sinc, at a fraction of a pixel."""
    distance = np.arange(-2, 4) - shift
    return np.sinc(distance) * np.sinc(distance / 3)


def _linear(shift):
    """Interpolation between 2 pixels at a fraction of a pixel."""
    return np.array([1 - shift, shift])


_SAME = np.ones(1)
#: Kinds of noise and their filters along columns and rows. The autocorrelation at lag 1, (y, x): rows (0, -0.2) and
#: (0, 0.3), Lanczos (0.19, 0.11), bilinear (0.36, 0.36), drizzle-like (0.67, 0.67): linear at half a pixel, twice.
FILTERS = {
    'white': (_SAME, _SAME),
    'rows, -0.2': (_SAME, _moving_average(-0.2)),
    'rows, +0.3': (_SAME, _moving_average(0.3)),
    'lanczos shift': (_lanczos(0.35), _lanczos(0.25)),
    'bilinear shift': (_linear(0.298), _linear(0.298)),
    'drizzle-like': (np.array([1, 2, 1]), np.array([1, 2, 1])),
}


def correlated_noise(kind, shape, seed):
    """
    Draw stationary noise of variance 1.

    Parameters
    ----------
    kind : str
        One of `FILTERS`.
    shape : tuple of int
        Shape (ny, nx).
    seed : int
        All kinds of one seed are filtered from the same white noise.

    Returns
    -------
    `~numpy.ndarray`
        The noise.
    """
    pad = max(len(weights) for pair in FILTERS.values() for weights in pair)
    noise = np.random.default_rng((seed, 3)).normal(size=[n + 2 * pad for n in shape])
    for axis, weights in enumerate(FILTERS[kind]):
        noise = convolve1d(noise, weights / np.sqrt((weights ** 2).sum()), axis=axis)
    return noise[pad:-pad, pad:-pad]


def noise_power(kind, shape):
    """Power spectrum of `correlated_noise` at the frequencies of `numpy.fft.fft2`, mean 1."""
    column, row = (np.abs(np.fft.fft(weights, n)) ** 2 / (weights ** 2).sum()
                   for weights, n in zip(FILTERS[kind], shape))
    return column[:, None] * row


def correlate(frame, kind, seed):
    """Observe the scene of a frame with correlated noise of the same variance."""
    data = frame.truth + frame.sigma * correlated_noise(kind, frame.truth.shape, seed)
    return replace(frame, ccd=CCDData(data.astype(np.float32), unit=frame.ccd.unit),
                   power=noise_power(kind, data.shape))


def linear_limit(frame):
    """
    Limit of linear filters: the rms error over that on white noise.

    A scene of spectrum S in noise of spectrum P, stationary and both known, is left with a mean square error of the
    integral of S P / (S + P) by the best filter there is (Wiener 1949). Here S is the spectrum of the truth under a
    Hann window, in units of the noise of the sky, and P has a mean of 1.

    Parameters
    ----------
    frame : Frame
        The observation, with its ``power``.

    Returns
    -------
    float
        The ratio, 1 for white noise.
    """
    window = np.outer(*(np.hanning(n) for n in frame.truth.shape))
    signal = (frame.truth - frame.truth.mean()) / frame.sky_sigma
    spectrum = np.abs(np.fft.fft2(window * signal)) ** 2 / (window ** 2).sum()
    error = spectrum * frame.power / np.maximum(spectrum + frame.power, 1e-30)
    return float(np.sqrt(error.sum() / (spectrum / (spectrum + 1)).sum()))


def _errors(frame, image):
    """Measure the rms errors in units of the noise of each pixel, by class of pixel."""
    residual = (image - frame.truth) / frame.sigma
    return {name: np.sqrt(np.mean(residual[select] ** 2)) if select.any() else np.nan
            for name, select in classes(frame).items()}


def _pulls(frame, image, std):
    """Measure the rms pull of all pixels and by the brightness of the result; NaN without uncertainty or pixels."""
    names = {-np.inf: 'pull_below_1', **{edge: f'pull_{edge:g}' for edge in BINS[1:-1]}}
    pulls = {'pull': np.nan, **dict.fromkeys(names.values(), np.nan)}
    if std is not None:
        first, *bins = judge_pulls(frame, image, std)
        pulls['pull'] = float(first['rms_pull'])
        pulls |= {names[row['brightness_low']]: float(row['rms_pull']) for row in bins}
    return pulls


def _add_ratios(rows):
    """Divide the errors of rows by those of ours on white noise of the same scene."""
    white = {(row['kind'], row['seed']): row for row in rows if (row['noise'], row['method']) == ('white', 'ours')}
    for row in rows:
        reference = white.get((row['kind'], row['seed']), {})
        row.update({f'ratio_{name}': row[f'error_{name}'] / reference.get(f'error_{name}', np.nan)
                    for name in ('all', 'faint', 'bright')})
    return rows


def main(argv=None):
    arguments = parse(__doc__, argv, n_seeds=2, size=512, kinds=KINDS, first_seed=FIRST_SEED)
    keys = ('kind', 'seed', 'noise', 'method') if arguments.methods else None
    table = Recorder('correlated', f'{arguments.size}x{arguments.size} pixels', keys, _add_ratios)
    for kind, seed, white in make_frames(arguments):
        for noise in FILTERS:
            frame = correlate(white, noise, seed)
            limit = linear_limit(frame)
            for method in arguments.methods or METHODS:
                result = run_method(method, frame)
                errors = _errors(frame, result['image'])
                table.add(kind=kind, seed=seed, noise=noise, method=method,
                          **{f'error_{name}': error for name, error in errors.items()}, limit=limit,
                          **_pulls(frame, result['image'], result['std']))


if __name__ == '__main__':
    main()
