# Licensed under a 3-clause BSD style license - see LICENSE
"""
The stated uncertainty where there may be a faint star: ``python benchmarks/faint_stars.py``.

Pulls are sorted by the *truth*, by the result, by its stated deviation, and by the signal-to-noise ratio of the data
around the pixel (convolved with the point-spread function). A right posterior has an rms pull of 1 in bins of anything
that the data say, but not in bins of the truth: of the few stars that the noise hides, it says that there is probably
none.

The populations are stars on a blank sky, all of them near the limit of detection or of all brightnesses, and fields of
`astropy_n2v.simulate`. Writes ``results/faint_stars.csv``.
"""

import numpy as np
from common import Frame, Recorder, make_frame, parse
from scipy.signal import oaconvolve
from scipy.special import ndtr

from astropy_n2v import Denoiser, NoiseModel
from astropy_n2v.simulate import Scene

__all__ = ['POPULATIONS', 'main', 'make_stars']

_SKY, _READNOISE = 200.0, 5.0   # electrons
#: Signal-to-noise ratios, in the matched filter, of the faintest and the brightest stars of a population, and stars in
#: a million pixels; None for a kind of scene.
POPULATIONS = {'near the limit': (3, 8, 600), 'at the limit': (3, 5, 300), 'all brightnesses': (3, 300, 600),
               'survey': None, 'nothing': (3, 8, 0)}
#: Bins in standard deviations of the noise; of the signal-to-noise ratio for the last.
BINS = {'truth': (-np.inf, 0.2, 0.5, 1, 2, 4, np.inf), 'result': (-np.inf, 0.05, 0.2, 0.5, 1, 2, 4, np.inf),
        'stated deviation': (0, 0.05, 0.1, 0.2, 0.4, 0.8, np.inf),
        'signal-to-noise ratio': (-np.inf, 1, 2, 3, 4, 5, 8, np.inf)}


def make_stars(low, high, density, size, seed):
    """
    Observe Gaussian stars, of FWHM 1.6 to 3.5 pixels, on a blank sky.

    Parameters
    ----------
    low, high : float
        Signal-to-noise ratios in the matched filter, between which their logarithms are distributed uniformly.
    density : float
        Number of stars in a million pixels.
    size : int
        Height and width in pixels.
    seed : int
        Seed.

    Returns
    -------
    Frame
        The observation.
    """
    rng = np.random.default_rng(seed)
    width = rng.uniform(1.6, 3.5) / 2.3548
    edges = np.arange(size + 1) - 0.5
    truth = np.full((size, size), _SKY)
    for _ in range(rng.poisson(density * size ** 2 / 1e6)):
        ratio = low * (high / low) ** rng.uniform()
        profile = [np.diff(ndtr((edges - rng.uniform(0, size - 1)) / width)) for _ in 'yx']
        truth += ratio * np.sqrt((_SKY + _READNOISE ** 2) * 4 * np.pi) * width * np.outer(*profile)
    line = np.diff(ndtr((np.arange(-10, 12) - 0.5) / width))
    scene = Scene(truth, _SKY, _READNOISE, np.outer(line, line), None, 'stars')
    return Frame(scene.observe(seed=(seed, 1)), NoiseModel(_READNOISE, gain=1.0), scene.psf, scene)


def _quantities(frame, result):
    """Return what the pixels are sorted by."""
    above = frame.data - frame.scene.sky
    ratio = oaconvolve(above, frame.psf[::-1, ::-1], mode='same') / np.sqrt(np.sum(frame.psf ** 2))
    values = frame.truth - frame.scene.sky, result.mean - frame.scene.sky, result.std, ratio
    return dict(zip(BINS, (value / frame.sky_sigma for value in values)))


def main(argv=None):
    arguments = parse(__doc__, argv, n_seeds=12, size=256, choices={'populations': POPULATIONS})
    denoiser, table = Denoiser.load('default'), Recorder('faint_stars', f'{arguments.size}x{arguments.size} pixels')
    for population in arguments.populations:
        stars, sums = POPULATIONS[population], {}
        for seed in arguments.seeds:
            frame = make_frame(population, seed, arguments.size) if stars is None else \
                make_stars(*stars, arguments.size, seed)
            result = denoiser.predict(frame.data, frame.noise)
            squares = ((result.mean - frame.truth) / result.std) ** 2
            parts = np.stack([np.ones(squares.shape), squares, (result.mean - frame.truth) ** 2 / frame.sky_sigma ** 2,
                              result.std ** 2 / frame.sky_sigma ** 2])
            for name, values in _quantities(frame, result).items():
                index = np.digitize(values, BINS[name][1:-1])
                for i in range(len(BINS[name]) - 1):
                    sums[name, i] = sums.get((name, i), 0) + parts[:, index == i].sum(axis=1)
        for (name, i), (n, *means) in sums.items():
            pull, error, stated = np.sqrt(np.array(means) / max(n, 1))
            if n:
                table.add(population=population, sorted_by=name, low=BINS[name][i], high=BINS[name][i + 1], n=int(n),
                          rms_pull=pull, rms_error=error, rms_stated=stated)


if __name__ == '__main__':
    main()
