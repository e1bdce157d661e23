# Licensed under a 3-clause BSD style license - see LICENSE
"""
Real repeated exposures, each judged by the others: ``python benchmarks/exposures.py``.

The error of an exposure is the mean of (exposure - A)(exposure - B) over pixels, with A and B the means of two
disjoint halves of the other exposures: their noise is independent, so that this is the exposure's own mean square
error, without knowledge of the noise of the references. Pixels are chosen on the smoothed mean of the others: chosen
on single pixels, the errors of A and B would be tied to each other. Every method gets the same estimate of the noise.
Frames of M 13 have misreadings, which are kept unless ``reject_outliers`` is given; it is measured for them, too.

Writes ``results/exposures.csv``. Needs the environment variable ASTROPY_N2V_TEST_DATA.
"""

import argparse
import os
import warnings
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.utils.exceptions import AstropyUserWarning
from scipy.ndimage import gaussian_filter, shift, zoom

from astropy_n2v import denoise, estimate_noise
from common import Frame, use_threads, write_table
from peers import run_method

__all__ = ['align', 'block_products', 'interval', 'main', 'match_level', 'read_decam', 'read_m13']

_BLOCK = 32   # pixels: what is drawn in the bootstrap
# How far (dy, dx) the stars of each exposure are from the first: from the peak of the cross-correlation of stars.
_M13_DRIFT = (0, 0), (0.41, -11.57), (2.99, -24.48), (3.39, -34.47), (3.55, -46.45)
METHODS = 'ours', 'ours, as read', 'bm3d'
# Misreadings of single pixels, too dark by 5 to 10 sigma: half a per cent of the pixels of M 13, each time others.
_MISREADINGS = 'ours, reject_outliers'


def read_decam(folder, field):
    """Five aligned exposures of a DECam field: name, frame, and where its stars are, (dy, dx)."""
    paths = [folder / 'sfft_decam' / f'DEC-OBS{field}{letter}.mini.fits' for letter in 'abcde']
    return [(path.name[:10], CCDData.read(path, unit='adu'), (0, 0)) for path in paths]


def read_m13(folder, size=640):
    """Five exposures of M 13, whose stars drift over the detector: name, central part, and where its stars are."""
    exposures = []
    for i, drift in enumerate(_M13_DRIFT):
        name = f'M13_blue_000{i + 1}'
        data = fits.getdata(folder / 'm13_blue' / f'{name}.fits').astype(np.float32)
        y, x = (n // 2 - size // 2 for n in data.shape)
        exposures.append((name, CCDData(data[y:y + size, x:x + size], unit='adu'), drift))
    return exposures


def align(data, drift):
    """Move an image to where the stars of another are; only references are ever resampled."""
    return data if not any(drift) else shift(data, drift, order=3, mode='nearest')


def _smooth_median(image, box):
    """Medians of boxes, interpolated."""
    rows, columns = (max(1, n // box) for n in image.shape)
    medians = np.array([[np.median(part) for part in np.array_split(row, columns, axis=1)]
                        for row in np.array_split(image, rows, axis=0)])
    return zoom(medians, (image.shape[0] / rows, image.shape[1] / columns), order=min(1, min(medians.shape) - 1),
                mode='nearest', grid_mode=True)


def match_level(image, reference, box=64):
    """
    The smooth difference between an image and a reference, and their ratio of scale.

    Sky glow and transparency differ between exposures, which is no error of a denoiser.

    Parameters
    ----------
    image, reference : `~numpy.ndarray`
        Aligned images.
    box : int, optional
        Size in pixels of the boxes whose medians are interpolated.

    Returns
    -------
    scale : float
        By which to multiply the reference.
    offset : `~numpy.ndarray`
        To be added to it then.
    """
    second = gaussian_filter(reference - _smooth_median(reference, box), 1.5)
    # Well above the noise, which would make the ratio too small, and not saturated.
    noise = 1.4826 * np.median(np.abs(second))
    bright = (second > 10 * noise) & (second < max(np.percentile(second, 99.8), 20 * noise))
    scale = 1.0
    # Crowding shifts medians by as much as it is bright, so that one depends on the other.
    for _ in range(4 if bright.sum() > 50 else 0):
        rest = gaussian_filter(image - scale * reference - _smooth_median(image - scale * reference, box), 1.5)
        scale += float(np.sum(rest[bright] * second[bright]) / np.sum(second[bright] ** 2))
    return scale, _smooth_median(image - scale * reference, box)


def block_products(image, first, second, select):
    """Sum of (image - first)(image - second) over the selected pixels of each block, and their number."""
    product = np.where(select, (image - first) * (image - second), 0)
    starts = [np.arange(0, n, _BLOCK) for n in image.shape]

    def blocks(values):
        return np.add.reduceat(np.add.reduceat(values, starts[0], axis=0), starts[1], axis=1).ravel()

    return blocks(product), blocks(select.astype(float))


def interval(before, after, n=1000, seed=1):
    """
    How many times smaller one mean square error is than another, and the interval of 95 %, from sums over blocks.

    Returns
    -------
    ratio, low, high : float
        Infinite where the error after may be zero.
    """
    before, after = np.asarray(before), np.asarray(after)
    draws = np.random.default_rng(seed).integers(0, len(before), (n, len(before)))
    with np.errstate(divide='ignore'):
        remaining = after[draws].sum(axis=1) / before[draws].sum(axis=1)
        remaining = np.concatenate([[after.sum() / before.sum()], np.percentile(remaining, [97.5, 2.5])])
        return tuple(1 / np.maximum(remaining, 0.0))


def _clean(name, ccd, noise):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', AstropyUserWarning)
        if name == 'ours, as read':
            return np.asarray(denoise(ccd).data, dtype=float)
        if name == _MISREADINGS:
            return np.asarray(denoise(ccd, noise=noise, reject_outliers=True).data, dtype=float)
        return run_method(name, Frame(ccd, noise, None))['image']


def _measure(exposures, methods):
    """Sums over blocks of all exposures of a field, by method and kind of pixel."""
    sums = {}
    moved = any(any(drift) for _, _, drift in exposures)
    cut = (slice(64, -64),) * 2 if moved else (slice(None),) * 2
    for i, (_, ccd, drift) in enumerate(exposures):
        data = np.asarray(ccd.data, dtype=float)
        others = []
        for j, (_, other, place) in enumerate(exposures):
            if j != i:
                other = align(np.asarray(other.data, dtype=float), np.subtract(drift, place))[cut]
                scale, offset = match_level(data[cut], other)
                others.append(scale * other + offset)
        first, second, mean = np.mean(others[::2], axis=0), np.mean(others[1::2], axis=0), np.mean(others, axis=0)
        noise = estimate_noise(data)
        smooth = gaussian_filter(mean, 2) - np.median(mean)
        sigma = 1.4826 * np.median(np.abs(data - np.median(data)))
        pixels = {'sky': np.abs(smooth) < 0.5 * sigma, 'faint sources': (smooth > sigma) & (smooth < 10 * sigma)}
        for method in ('noisy', *methods):
            image = (data if method == 'noisy' else _clean(method, ccd, noise))[cut]
            for name, select in pixels.items():
                sums.setdefault((method, name), []).append(block_products(image, first, second, select))
    return {key: tuple(map(np.concatenate, zip(*parts))) for key, parts in sums.items()}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--methods', nargs='+', default=METHODS)
    arguments = parser.parse_args(argv)
    use_threads(arguments.threads)
    folder = Path(os.environ['ASTROPY_N2V_TEST_DATA'])
    rows = []
    for field, exposures in (('DECam 04', read_decam(folder, '04')), ('DECam 18', read_decam(folder, '18')),
                             ('M 13', read_m13(folder))):
        methods = arguments.methods
        if field == 'M 13' and 'ours' in methods:
            methods = [*methods, _MISREADINGS]
        sums = _measure(exposures, methods)
        for (method, pixels), (after, count) in sums.items():
            if method == 'noisy':
                continue
            before, _ = sums['noisy', pixels]
            ratio, low, high = interval(before, after)
            rows.append({'field': field, 'pixels': pixels, 'method': method, 'n_pixels': int(count.sum()),
                         'mse_before': before.sum() / count.sum(), 'mse_after': after.sum() / count.sum(),
                         'ratio': ratio, 'low': low, 'high': high})
            if 'bm3d' in methods:
                # Much of the error is of the exposures and common to all methods.
                than_bm3d = interval(sums['bm3d', pixels][0], after)
                rows[-1].update(zip(('than_bm3d', 'than_bm3d_low', 'than_bm3d_high'), than_bm3d))
            print(*rows[-1].values(), flush=True)
    write_table(rows, 'exposures', 'each exposure against two halves of the four others')


if __name__ == '__main__':
    main()
