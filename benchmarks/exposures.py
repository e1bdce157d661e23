# Licensed under a 3-clause BSD style license - see LICENSE
"""
Real repeated exposures, each judged by the others: ``python benchmarks/exposures.py``.

The error of an exposure is the mean of (exposure - A)(exposure - B) over pixels, with A and B
the means of two disjoint halves of the other exposures: the noise of A and B is independent,
so that this is the exposure's own mean square error. Pixels are chosen on the smoothed mean of the
others: chosen on single pixels, the errors of A and B would be tied to each other. Needs the
environment variable ASTROPY_N2V_TEST_DATA.
"""

import os
import warnings
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.utils.exceptions import AstropyUserWarning
from scipy.ndimage import gaussian_filter

from astropy_n2v import denoise

RESULTS = Path(__file__).parent / 'results'


def cross_error(image, first, second, select):
    """Mean square error from two independent references."""
    return np.mean(((image - first) * (image - second))[select])


def main():
    folder = Path(os.environ['ASTROPY_N2V_TEST_DATA']) / 'sfft_decam'
    rows = []
    for field in '04', '18':
        frames = [fits.getdata(folder / f'DEC-OBS{field}{letter}.mini.fits') for letter in 'abcde']
        # Offsets between exposures are no errors of a denoiser.
        frames = [frame - np.median(frame) for frame in frames]
        for i, frame in enumerate(frames):
            others = [other for j, other in enumerate(frames) if j != i]
            first, second = np.mean(others[:2], axis=0), np.mean(others[2:], axis=0)
            mean = np.mean(others, axis=0)
            smooth = gaussian_filter(mean, 2)
            with warnings.catch_warnings():
                warnings.simplefilter('ignore', AstropyUserWarning)
                clean = denoise(frame)
            for name, select in ('sky', np.abs(smooth) < 15), ('faint sources', (smooth > 30) & (smooth < 300)):
                before, after = (cross_error(image, first, second, select) for image in (frame, clean))
                distance, nearer = (np.mean((image - mean)[select] ** 2) for image in (frame, clean))
                rows.append({'exposure': f'DEC-OBS{field}{"abcde"[i]}', 'pixels': name, 'mse_before': before,
                             'mse_after': after, 'ratio_to_mean_of_others': distance / nearer})
    table = Table(rows=rows)
    for name in table.colnames[2:]:
        table[name].info.format = '.3g'
    RESULTS.mkdir(exist_ok=True)
    table.write(RESULTS / 'exposures.csv', format='ascii.csv', overwrite=True)
    table.pprint_all()


if __name__ == '__main__':
    main()
