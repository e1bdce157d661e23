# Licensed under a 3-clause BSD style license - see LICENSE
"""
Checks of the innovations, and of the recalibration from them.
"""

import numpy as np
from scipy.ndimage import maximum_filter

from ..utils.blocks import as_blocks
from .findings import judge
from .limits import of_many
from .residuals import Ratios, ratio

__all__ = ['check_calibration', 'check_innovations']

# Side of blocks in pixels.
_BLOCK = 32
# Edges of the classes of local structure: gradient of the blind mean in units of the noise per pixel.
_GRADIENTS = 0.0, 0.3, 1.0, 3.0, 10.0, np.inf
# Stride of the pixels from which the typical correction is measured, and their least number.
_STRIDE, _LEAST_SAMPLE = 29, 30
# Largest share of the blind prediction in the variance of innovations that judge the noise.
_NOISE_SHARE = 0.15
# Limit of a single innovation.
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
    held_out, chance = sample.held_out & sample.counted, sample.chance()
    checks, rows = [_check_blocks(squares, held_out, chance)], []
    noise = np.maximum(sample.noise, np.finfo('f4').tiny)
    gradient = np.zeros(sample.shape, dtype=np.float32)
    gradient[:, 1:-1] = (sample.signal[:, 2:] - sample.signal[:, :-2]) / 2
    across = np.zeros_like(gradient)
    across[:, :, 1:-1] = (sample.signal[:, :, 2:] - sample.signal[:, :, :-2]) / 2
    gradient = np.hypot(gradient, across) / noise
    classes = {f'gradient {low:g} to {high:g}': held_out & (gradient >= low) & (gradient < high)
               for low, high in zip(_GRADIENTS[:-1], _GRADIENTS[1:])}
    bad = ~sample.valid
    if bad.any():
        near, far = maximum_filter(bad, (1, 3, 3)), maximum_filter(bad, (1, 9, 9))
        classes |= {'next to masked pixels': held_out & near, 'near masked pixels': held_out & far & ~near}
    for name, select in classes.items():
        value, error = ratio(squares[select], np.ones(np.count_nonzero(select)), chance[select])
        rms = np.sqrt(value)
        checks.append(judge(f'innovations ({name})', rms, 1, (value - 1) / error,
                            message=f'innovations have an rms of {rms:.2f} instead of 1 ({_in_words(name)}): the noise '
                                    f'is {"larger" if rms > 1 else "smaller"} than stated there, or the image is like '
                                    'none that the model has seen. Check noise and gain'))
        if np.isfinite(value):
            prior = sample.spread[select] ** 2
            rows.append((bool(checks[-1].message), np.median(sample.signal[select]), value,
                         np.mean(prior / (prior + sample.noise[select] ** 2))))
    return Ratios(checks, *np.array(rows).reshape(-1, 4).T)


def _in_words(name):
    """Describe a class in words."""
    low_high = name.removeprefix('gradient ')
    return name if low_high == name else f'where the image changes by {low_high} sigma from pixel to pixel'


def _check_blocks(squares, held_out, chance):
    """Find the block whose innovations are furthest from unit variance."""
    height, width = (min(_BLOCK, n) for n in held_out.shape[1:])

    def blocks(values):
        return as_blocks(values, (height, width)).sum(axis=(-3, -1), dtype=float)

    counts, sums = blocks(held_out), blocks(np.where(held_out, squares, 0))
    fourth, chance = blocks(np.where(held_out, squares ** 2, 0)), blocks(np.where(held_out, chance, 0))
    enough = counts > max(height * width / 4, 100)
    if not enough.any():
        return judge('innovations (blocks)', np.nan, 1, np.nan)
    counts, values = counts[enough], (sums / np.maximum(counts, 1))[enough]
    chance = chance[enough] / counts
    scatter = np.maximum((fourth[enough] / counts - values ** 2) * chance / 2, chance)
    z = (values - 1) / np.sqrt(scatter / counts)
    worst = np.argmax(np.abs(z))
    rms = np.sqrt(values[worst])
    return judge('innovations (blocks)', rms, 1, of_many(z[worst], z.size),
                 message=f'innovations have an rms of {rms:.2f} instead of 1 in a block of {height}x{width} pixels: '
                         'the noise differs from place to place. Give it as the uncertainty of the data')


def check_calibration(recalibration, sample, scale):
    """
    Check that the blind prediction was not corrected by much.

    Parameters
    ----------
    recalibration : `~astropy_n2v.inference.recalibration.Recalibration` or None
        The correction.
    sample : Sample
        Cut-outs.
    scale : float
        The noise of the sky, in data units.

    Returns
    -------
    list of Finding
        Checks of the noise, of the correction of the spread, and of the mean.
    """
    names = 'noise', 'correction (spread)', 'correction (mean)'
    select = sample.held_out & sample.counted
    signal, spread, noise = (values[select][::_STRIDE].astype(float)
                             for values in (sample.signal, sample.spread, sample.noise))
    if recalibration is None or not np.isfinite(recalibration.innovation_rms) or signal.size < _LEAST_SAMPLE:
        return [judge(name, np.nan, 1, np.nan) for name in names]
    factor, offset = (np.interp(np.arcsinh(signal / scale), np.arcsinh(recalibration.mean), values)
                      for values in (recalibration.factor, recalibration.offset))
    prior = spread ** 2 / np.maximum(factor, np.finfo(float).tiny)
    share = np.median(prior / (prior + noise ** 2))
    # For the typical pixel, since the correction of the few bright ones is less certain.
    factor, offset = np.sqrt(np.median(factor)), np.median(offset)
    return [_check_noise(names[0], recalibration, share, np.count_nonzero(select)),
            judge(names[1], max(factor, 1 / factor), 1, np.inf if factor != 1 else 0.0, consequence='note',
                  message=f'the spread of the blind prediction had to be corrected by a factor of {factor:.2g}'),
            judge(names[2], offset, 0, np.inf if offset else 0.0, consequence='note',
                  message=f'the blind prediction had to be corrected by {offset:+.2g} of the spread of innovations')]


def _check_noise(name, recalibration, share, n):
    """Check the rms of innovations before any correction, where noise dominates them."""
    if share > _NOISE_SHARE:
        return judge(name, np.nan, 1, np.nan)
    rms = recalibration.innovation_rms
    size = 'larger' if rms > 1 else 'smaller'
    return judge(name, rms, 1, (rms ** 2 - 1) * np.sqrt(n / 2) * recalibration.contradicts_noise,
                 message=f'the innovations have an rms of {rms:.2f} instead of 1: the noise is {size} than the noise '
                         f'model says; noise {rms:.2f} times as large would agree with the image')
