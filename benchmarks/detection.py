# Licensed under a 3-clause BSD style license - see LICENSE
"""
How deep one can detect at equal purity: ``python benchmarks/detection.py``.

Writes ``results/detection.csv``: for each kind of field the threshold at 5 % false detections, the significance of
an isolated star that is found half of the time, and how many magnitudes deeper than the matched filter on the noisy
frame that is; and ``results/false_detections.csv``: peaks per megapixel of pure noise above these thresholds.
"""

import numpy as np
from astropy.nddata import CCDData, StdDevUncertainty
from common import Frame, make_frame, parse, psf_fwhm, write_table
from depth import Detections, bootstrap_depth, depth, find_peaks, matched_filter
from peers import run_method
from scipy.ndimage import shift

from astropy_n2v import NoiseModel, detection_image
from astropy_n2v.simulate import make_psf

__all__ = ['MAPS', 'main', 'noise_frame', 'significance']

#: Maps: the matched filter above the known sky, and above the local background, whichever is deeper; and ours.
MAPS = 'matched filter', 'matched filter, local sky', 'ours'


def significance(name, frame):
    """
    A map of a frame.

    Parameters
    ----------
    name : str
        One of `MAPS`, or a method of ``peers.py``, whose result is filtered like ours, with a deviation of 1.
    frame : Frame
        The observation.

    Returns
    -------
    `~numpy.ndarray`
        The map.
    """
    if name.startswith('matched filter'):
        return matched_filter(frame, local=name.endswith('local sky'))
    result = run_method(name, frame)
    std = np.full(frame.data.shape, frame.sky_sigma) if result['std'] is None else result['std']
    clean = CCDData(result['image'], unit=frame.ccd.unit, uncertainty=StdDevUncertainty(std))
    return detection_image(clean, frame.psf).data


def noise_frame(kind, seed, size=512):
    """
    A frame without sources.

    Parameters
    ----------
    kind : {'white', 'correlated'}
        Correlated: the noise of an exposure that was moved by a third of a pixel and a half, by linear interpolation.
    seed : int
        Seed of the noise.
    size : int, optional
        Height and width in pixels.

    Returns
    -------
    Frame
        Sky of 200 electrons and read noise 5, stars of FWHM 3.2 pixels to look for.
    """
    rng = np.random.default_rng((seed, 2))
    noise = rng.normal(0, 15, (size + 8, size + 8))
    if kind == 'correlated':
        noise = shift(noise, (1 / 3, 1 / 2), order=1)
        noise *= 15 / noise[4:-4, 4:-4].std()
    data = (200 + noise[4:-4, 4:-4]).astype(np.float32)

    class Sky:
        sky = 200.0
        truth = np.full(data.shape, 200.0)

    return Frame(CCDData(data, unit='electron'), NoiseModel(5.0, gain=1.0), make_psf(3.2, half_size=16), Sky())


def _sources(arguments, names):
    """Detections of each map by kind, and the rows of the table."""
    rows, thresholds = [], {}
    for kind in arguments.kinds:
        found = {name: Detections() for name in names}
        for seed in arguments.seeds:
            frame = make_frame(kind, seed, arguments.size)
            radius = 0.6 * psf_fwhm(frame.psf)
            for name, detections in found.items():
                detections.add(significance(name, frame), frame, radius)
        depths = {name: depth(detections) for name, detections in found.items()}
        reference = max((name for name in names if name.startswith('matched')), key=lambda name: depths[name][1])
        for name in names:
            threshold, half = depths[name]
            error = 0.0
            if name != reference:
                error = bootstrap_depth(found[name], found[reference], arguments.bootstrap)
            thresholds[kind, name] = threshold
            rows.append({'kind': kind, 'map': name, 'seeds': len(arguments.seeds),
                         'stars': len(found[name].arrays()[1][0]), 'threshold': threshold,
                         'snr_50': 10 ** (-0.4 * half), 'deeper_mag': half - depths[reference][1],
                         'error_mag': error, 'reference': name == reference})
            print(*rows[-1].values(), flush=True)
        write_table(rows, 'detection', f'{arguments.size}x{arguments.size} pixels')
    return thresholds


def _noise(arguments, names, thresholds):
    rows = []
    for noise in 'white', 'correlated':
        peaks = {name: [] for name in names}
        for seed in arguments.seeds:
            frame = noise_frame(noise, seed, arguments.size)
            for name in names:
                peaks[name].append(find_peaks(significance(name, frame), 0)[2])
        megapixels = len(arguments.seeds) * arguments.size ** 2 / 1e6
        for (kind, name), threshold in thresholds.items():
            count = (np.concatenate(peaks[name]) > threshold).sum()
            rows.append({'noise': noise, 'threshold_of': kind, 'map': name, 'per_megapixel': count / megapixels,
                         'error': np.sqrt(max(count, 1)) / megapixels})
    write_table(rows, 'false_detections', f'{arguments.size}x{arguments.size} pixels')


def main(argv=None):
    arguments = parse(__doc__, argv, n_seeds=8)
    arguments.bootstrap = 100
    names = [*MAPS, *(arguments.methods or [])]
    _noise(arguments, names, _sources(arguments, names))


if __name__ == '__main__':
    main()
