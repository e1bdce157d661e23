# Licensed under a 3-clause BSD style license - see LICENSE
"""
Innovations: they have unit variance wherever they are, and were corrected by little.
"""

import numpy as np
from scipy.ndimage import maximum_filter
from scipy.stats import norm

from .findings import judge
from .residuals import Ratios, ratio

__all__ = ['check_calibration', 'check_innovations']

# Side of blocks in pixels.
_BLOCK = 32
# Edges of the classes of local structure: gradient of the blind mean in units of the noise per pixel.
_GRADIENTS = 0.0, 0.3, 1.0, 3.0, 10.0, np.inf
# A single innovation counts no more than this.
_LARGEST = 5.0


def check_innovations(sample):
    """
    Check that innovations have unit variance by position, local structure and distance from masked pixels.

    Parameters
    ----------
    sample : Sample
        Cut-outs.

    Returns
    -------
    Ratios
        A check for each class.
    """
    squares = np.minimum(sample.z ** 2, _LARGEST ** 2)
    judged, kurtosis = sample.judged & sample.counted, sample.kurtosis
    checks, rows = [_check_blocks(squares, judged, kurtosis)], []
    noise = np.maximum(sample.noise, np.finfo('f4').tiny)
    gradient = np.zeros(sample.shape, dtype=np.float32)
    gradient[:, 1:-1] = (sample.signal[:, 2:] - sample.signal[:, :-2]) / 2
    across = np.zeros_like(gradient)
    across[:, :, 1:-1] = (sample.signal[:, :, 2:] - sample.signal[:, :, :-2]) / 2
    gradient = np.hypot(gradient, across) / noise
    classes = {f'gradient {low:g} to {high:g}': judged & (gradient >= low) & (gradient < high)
               for low, high in zip(_GRADIENTS[:-1], _GRADIENTS[1:])}
    bad = ~sample.valid
    if bad.any():
        near, far = maximum_filter(bad, (1, 3, 3)), maximum_filter(bad, (1, 9, 9))
        classes |= {'next to masked pixels': judged & near, 'near masked pixels': judged & far & ~near}
    for name, select in classes.items():
        value, error = ratio(squares[select], np.ones(np.count_nonzero(select)), kurtosis[select])
        rms = np.sqrt(value)
        checks.append(judge(f'innovations ({name})', rms, 1, (value - 1) / error, limit=0.15, threshold=5,
                            message=f'innovations have an rms of {rms:.2f} instead of 1 ({name}): the uncertainty is '
                                    f'too {"small" if rms > 1 else "large"} there'))
        if np.isfinite(value):
            prior = sample.spread[select] ** 2
            rows.append((np.median(sample.signal[select]), value,
                         np.mean(prior / (prior + sample.noise[select] ** 2))))
    return Ratios(checks, *np.array(rows).reshape(-1, 3).T)


def _check_blocks(squares, judged, kurtosis):
    """The block whose innovations are furthest from unit variance."""
    n, ny, nx = judged.shape
    height, width = min(_BLOCK, ny), min(_BLOCK, nx)
    cut = (slice(None), slice(ny // height * height), slice(nx // width * width))

    def blocks(values):
        return values[cut].reshape(n, ny // height, height, nx // width, width).sum(axis=(2, 4), dtype=float)

    counts, sums = blocks(judged), blocks(np.where(judged, squares, 0))
    fourth, chance = blocks(np.where(judged, squares ** 2, 0)), blocks(np.where(judged, 2 + kurtosis, 0))
    enough = counts > max(height * width / 4, 100)
    if not enough.any():
        return judge('innovations (blocks)', np.nan, 1, np.nan, limit=0, threshold=0, message='')
    counts, values = counts[enough], (sums / np.maximum(counts, 1))[enough]
    scatter = np.maximum(fourth[enough] / counts - values ** 2, chance[enough] / counts)
    z = (values - 1) / np.sqrt(scatter / counts)
    worst = np.argmax(np.abs(z))
    rms = np.sqrt(values[worst])
    return judge('innovations (blocks)', rms, 1, z[worst], limit=0.15,
                 threshold=norm.isf(1e-5 / z.size / 2),
                 message=f'innovations have an rms of {rms:.2f} instead of 1 in a block of {height}x{width} pixels: '
                         'the noise differs from place to place')


def check_calibration(calibration):
    """
    Check that the blind prediction was not corrected by much.

    Parameters
    ----------
    calibration : `~astropy_n2v.calibration.Calibration` or None
        The correction.

    Returns
    -------
    list of Finding
        One check.
    """
    name = 'correction'
    if calibration is None or not np.isfinite(calibration.innovation_rms):
        return [judge(name, np.nan, 1, np.nan, limit=1, threshold=0, message='')]
    factors = np.asarray(calibration.factor)
    worst = factors[np.argmax(np.abs(np.log(factors)))]
    size = float(max(worst, 1 / worst))
    return [judge(name, size, 1, size, limit=1, threshold=0, consequence='note',
                  message=f'the variance of the blind prediction had to be corrected by a factor of {worst:.2g}')]
