# Licensed under a 3-clause BSD style license - see LICENSE
"""
What can be wrong with a frame: the defects that the fuzz plants, in frames whose truth and noise stay known.

Each defect is a function of a random generator and a `Shot` of ``fuzz_frames.py``, which it changes. To add one, write
the function and decorate it with its stage (they are applied in this order), and the words that name it in a warning.
"""

from dataclasses import dataclass

import numpy as np
from astropy.nddata import InverseVariance, StdDevUncertainty, VarianceUncertainty
from scipy.ndimage import convolve

from astropy_n2v import NoiseModel
from astropy_n2v.simulate import add_cosmic_rays, make_trails

__all__ = ['DEFECTS', 'Defect', 'draw_names']

#: Defects by name.
DEFECTS = {}
# Of each of these sets a frame has at most one: the others would undo it or make no sense with it.
_APART = ({'smoothed', 'shifted', 'upsampled', 'debayered'}, {'units', 'gain', 'errors', 'junk errors'},
          {'counts', 'bias', 'pedestal'}, {'counts', 'units', 'gain'}, {'counts', 'quantised'}, {'counts', 'step'},
          {'counts', 'stripes'})
# How far from 1 a factor is at least that a plane of errors is wrong by: less is no fault.
_WRONG = 1.7


@dataclass(frozen=True)
class Defect:
    """A defect: what makes it, when, the words that name it, and whether it should do no harm."""

    make: object
    stage: int
    words: tuple
    harmless: bool
    #: A warning of it is right even where it does no harm, such as that fill values are masked.
    said: bool


def _defect(name, stage, *words, harmless=False, said=False):
    def register(function):
        DEFECTS[name] = Defect(function, stage, words, harmless, said)
        return function
    return register


def draw_names(rng):
    """One to three defects that can go together, in their order; in a third of the frames all are harmless."""
    names = rng.permutation(list(DEFECTS)).tolist()
    if rng.uniform() < 1 / 3:
        names = [name for name in names if DEFECTS[name].harmless]
    else:
        harmful = next(name for name in names if not DEFECTS[name].harmless)
        names = [harmful, *(name for name in names if name != harmful)]
    wanted, chosen = rng.integers(1, 4), []
    for name in names:
        if len(chosen) < wanted and all(len({*chosen, name} & apart) < 2 for apart in _APART):
            chosen.append(name)
    return sorted(chosen, key=lambda name: DEFECTS[name].stage)


def _log(rng, low, high):
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


# Stage 0: of the scene, in electrons.

@_defect('trails', 0, 'trail', harmless=True)
def _trails(rng, shot):
    amplitude = _log(rng, 0.5, 100) * np.sqrt(np.median(shot.truth) + shot.readnoise ** 2)
    trails = make_trails(shot.truth.shape, amplitude=amplitude, width=_log(rng, 0.3, 3), n=1 + int(rng.poisson(0.5)),
                         seed=rng)
    shot.foreign = trails > 0.1 * np.sqrt(shot.truth + shot.readnoise ** 2)
    shot.truth = shot.truth + trails


@_defect('dark structure', 0, 'dark', 'below', 'absorption', 'as measured')
def _dark(rng, shot):
    """Globules that absorb, from the size of the point-spread function to a part of the frame."""
    y, x = np.indices(shot.truth.shape)
    depth = np.zeros(shot.truth.shape)
    for _ in range(int(_log(rng, 2, 60))):
        radius = _log(rng, 0.7, 10)
        squared = (y - rng.uniform(0, len(y))) ** 2 + (x - rng.uniform(0, x.shape[1])) ** 2
        depth += _log(rng, 0.2, 4) * np.exp(-squared / (2 * radius ** 2))
    shot.truth = shot.truth * np.exp(-depth)


@_defect('counts', 0, 'count', 'poisson', 'photon', 'zero')
def _counts(rng, shot):
    """Few photons a pixel, counted without read noise; integers or floats, the unit as one likes it."""
    factor = _log(rng, 1e-4, 5) / np.median(shot.truth)
    shot.truth, shot.level, shot.readnoise, shot.gain = shot.truth * factor, shot.level * factor, 0.0, 1.0
    shot.unit = rng.choice(['ct', 'photon', 'electron', 'adu', ''])
    shot.dtype = str(rng.choice(['f4', 'i4', 'i2']))


# Stage 2: what makes the noise of neighbours correlated.

_CORRELATED = ('correlat', 'interpolat', 'smooth', 'resampl', 'debayer', 'upsampl')


def _weights(kernel, positions, n):
    """Matrix that interpolates n pixels at some positions."""
    weights = kernel(np.clip(positions, 0, n - 1)[:, None] - np.arange(n))
    return weights / weights.sum(axis=1, keepdims=True)


def _bilinear(t):
    return np.maximum(1 - np.abs(t), 0)


def _lanczos(t):
    return np.where(np.abs(t) < 3, np.sinc(t) * np.sinc(t / 3), 0)


@_defect('smoothed', 2, *_CORRELATED)
def _smoothed(rng, shot):
    """A Gaussian from charge diffusion to the beam of a radio map."""
    width = _log(rng, 0.35, 3)
    shot.resample(*(_weights(lambda t: np.exp(-t ** 2 / (2 * width ** 2)), np.arange(n), n) for n in shot.data.shape))


@_defect('shifted', 2, *_CORRELATED)
def _shifted(rng, shot):
    kernel = (_bilinear, _lanczos)[rng.integers(2)]
    shot.resample(*(_weights(kernel, np.arange(n) + rng.uniform(-0.5, 0.5), n) for n in shot.data.shape))


@_defect('upsampled', 2, *_CORRELATED)
def _upsampled(rng, shot):
    """A part of the frame on a grid that is up to twice as fine, or, rarely, with each pixel repeated."""
    kernel = (_bilinear, _lanczos, lambda t: (t >= -0.5) & (t < 0.5))[rng.choice(3, p=(0.5, 0.4, 0.1))]
    factor = rng.choice([2, rng.uniform(1.2, 2)])
    shot.resample(*(_weights(kernel, (np.arange(n) + 0.5) / factor - 0.5, n) for n in shot.data.shape))


@_defect('debayered', 2, *_CORRELATED, 'bayer', 'mosaic')
def _debayered(rng, shot):
    """One colour of a mosaic, the pixels between interpolated linearly."""
    y, x = np.indices(shot.data.shape)
    if rng.uniform() < 0.5:
        known, kernel = (y + x) % 2 == 1, np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]]) / 4
    else:
        known, kernel = (y % 2 == 0) & (x % 2 == 0), np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 4

    def interpolate(image, kernel):
        return convolve(np.where(known, image, 0), kernel, mode='mirror')

    shot.data, shot.truth, shot.level = (interpolate(image, kernel) for image in (shot.data, shot.truth, shot.level))
    shot.sigma, shot.noise = np.sqrt(interpolate(shot.sigma ** 2, kernel ** 2)), None


# Stage 3: of the detector.

@_defect('step', 3, 'amplifier', 'step', 'jump', 'levels')
def _step(rng, shot):
    """Two amplifiers, the one with another pedestal and a slightly other gain; both are part of the truth."""
    half = np.zeros(shot.data.shape, dtype=bool)
    axis = rng.integers(2)
    np.moveaxis(half, axis, 0)[int(rng.uniform(0.35, 0.65) * half.shape[axis]):] = True
    offset = _log(rng, 0.3, 100) * shot.sky_sigma
    factor = 1 + (0.1 * rng.standard_normal() if rng.uniform() < 0.5 else 0)
    for name in 'data', 'truth', 'level':
        setattr(shot, name, np.where(half, getattr(shot, name) * factor + offset, getattr(shot, name)))
    shot.sigma, shot.noise = np.where(half, shot.sigma * factor, shot.sigma), None


@_defect('stripes', 3, 'stripe', 'whole rows', 'whole columns', 'pattern', 'correlat')
def _stripes(rng, shot):
    """Whole rows or columns with a noise of their own: as much a part of the noise as any other."""
    size = _log(rng, 0.1, 5) * shot.sky_sigma
    shape = [(n, 1) if i == 0 else (1, n) for i, n in enumerate(shot.data.shape)][rng.integers(2)]
    shot.data = shot.data + size * rng.standard_normal(shape)
    shot.sigma, shot.noise = np.hypot(shot.sigma, size), None


def _flag(rng, shot, where):
    """Some defects of the detector are known."""
    if rng.uniform() < 0.3:
        shot.mask = where if shot.mask is None else shot.mask | where


@_defect('hot columns', 3, 'column', 'hot', 'outlier', 'bad pixel', 'cosmic', 'mask', 'extreme')
def _hot_columns(rng, shot):
    """Columns, or parts of one, that are hot or dead."""
    height, width = shot.data.shape
    for x in rng.integers(0, width, rng.integers(1, 6)):
        where = np.zeros(shot.data.shape, dtype=bool)
        where[0 if rng.uniform() < 0.6 else int(rng.integers(height)):, x] = True
        hot = shot.data[where] + _log(rng, 3, 3e3) * shot.sky_sigma
        shot.spoil(where, hot if rng.uniform() < 0.7 else 0.0)
    _flag(rng, shot, shot.destroyed)


@_defect('huge pixels', 3, 'outlier', 'cosmic', 'hot', 'huge', 'extreme', 'bad pixel', 'mask', 'as measured')
def _huge(rng, shot):
    """Cosmic rays, or single pixels of up to 1e5 sigma."""
    n, amplitude = 1 + int(_log(rng, 3e-5, 5e-3) * shot.data.size), _log(rng, 10, 1e5) * shot.sky_sigma
    if rng.uniform() < 0.5:
        image, where = add_cosmic_rays(shot.data, max(n // 4, 1), amplitude=amplitude, seed=rng)
        shot.spoil(where, image[where])
    else:
        where = np.zeros(shot.data.size, dtype=bool)
        where[rng.choice(where.size, n, replace=False)] = True
        where = where.reshape(shot.data.shape)
        shot.spoil(where, shot.data[where] + amplitude * rng.lognormal(0, 1, np.count_nonzero(where)))
    _flag(rng, shot, where)


# Stages 4 to 6: other numbers for the same measurement.

@_defect('bias', 4, 'bias', 'pedestal', harmless=True)
def _bias(rng, shot):
    shot.scale(offset=_log(rng, 10, 1e4) * max(shot.sky_sigma, 0.1 / shot.gain))


@_defect('pedestal', 4, 'negative', 'pedestal', harmless=True)
def _pedestal(rng, shot):
    """A negative one: the sky subtracted, or more than the sky."""
    sky = float(np.median(shot.data))
    shot.scale(offset=-sky * (rng.normal(1, 0.02) if rng.uniform() < 0.5 else _log(rng, 1, 100)))


@_defect('quantised', 5, 'quanti', 'digit', 'rounded', 'integer', 'step', 'whole numbers', 'distinct',
         'gain of the header')
def _quantised(rng, shot):
    """Coarse steps: integers, multiples of 16 (of 12 bits), or floats."""
    step = _log(rng, 0.5, 6) * shot.sky_sigma
    shot.data = np.rint(shot.data / step) * step
    shot.sigma = np.hypot(shot.sigma, step / np.sqrt(12))
    if shot.noise is not None:
        shot.noise = NoiseModel(np.hypot(shot.noise.sigma, step / np.sqrt(12)), shot.noise.gain, shot.noise.zero_point)
    unit = rng.choice([0, 1, 16])
    if unit:
        shot.scale(unit / step)
        # Rounding errors of the scale must not be truncated to another integer.
        shot.data, shot.dtype = np.rint(shot.data), str(rng.choice(['i2', 'u2', 'i4', 'f4']))
        shot.gain *= step


@_defect('units', 6, 'unit', harmless=True)
def _units(rng, shot):
    """From 1e-20 to 1e12 of any unit, or all of the frame from 0 to 1."""
    shot.dtype = 'f4'
    if rng.uniform() < 0.3:
        low, high = shot.data.min(), shot.data.max()
        shot.scale(1 / (high - low), -low / (high - low))
        shot.unit = (None, '')[rng.integers(2)]
        return
    shot.scale(10 ** rng.uniform(-20, 12))
    shot.unit = rng.choice(['Jy', 'nJy', 'uJy / beam', 'MJy / sr', 'nmgy', 'erg / (s cm2 AA)', 'electron / s', 'K',
                            'adu / s', 'ct / s', '1e-20 erg / (s cm2 AA)'])


# Stage 7: pixels without a measurement.

_NO_DATA = ('mask', 'fill', 'no data', 'constant', 'missing', 'footprint', 'do not count', 'blank')


def _rectangle(rng, shape):
    start = [int(rng.integers(0, n)) for n in shape]
    size = [int(_log(rng, 4, 0.7 * n)) for n in shape]
    return tuple(slice(a, a + n) for a, n in zip(start, size))


def _regions(rng, shot):
    """Outside of a footprint, missing blocks, or a gap between chips; a fifth of the frame is left at least."""
    y, x = np.indices(shot.data.shape)
    where = np.zeros(shot.data.shape, dtype=bool)
    draw = rng.uniform()
    if draw < 0.4:
        angle, centre = rng.uniform(0, np.pi), np.array(where.shape) * rng.uniform(0.35, 0.65, 2)
        along = (x - centre[1]) * np.cos(angle) + (y - centre[0]) * np.sin(angle)
        across = (y - centre[0]) * np.cos(angle) - (x - centre[1]) * np.sin(angle)
        half = rng.uniform(0.3, 0.7, 2) * min(where.shape)
        where = (np.abs(along) > half[0]) | (np.abs(across) > half[1])
    elif draw < 0.8:
        for _ in range(int(rng.integers(1, 7))):
            block = _rectangle(rng, where.shape)
            if np.count_nonzero(where) + np.count_nonzero(~where[block]) < 0.8 * where.size:
                where[block] = True
    else:
        start, width = int(rng.integers(0, where.shape[1])), int(_log(rng, 2, 40))
        where[:, start:start + width] = True
    return where


@_defect('zeros', 7, 'zero', *_NO_DATA, harmless=True, said=True)
def _zeros(rng, shot):
    shot.spoil(_regions(rng, shot), 0.0)


@_defect('fill', 7, 'fill', *_NO_DATA, harmless=True, said=True)
def _fill(rng, shot):
    """Regions or single pixels of -999, -1e30 and the like."""
    where = _regions(rng, shot)
    if rng.uniform() < 0.5:
        where = rng.uniform(size=shot.data.shape) < _log(rng, 1e-4, 0.1)
    shot.spoil(where, rng.choice([-999.0, -1e30, -9999.0, -32768.0, 1e30]))


# Stage 9: what is wrong in what is known of the noise; stage 8 is what is right.

@_defect('gain', 9, 'gain', 'noise model')
def _gain(rng, shot):
    """A gain that is wrong by 0.1 to 100, in the header or given."""
    wrong = shot.gain * _log(rng, 0.1, 100)
    shot.uncertainty, shot.options = None, {}
    if rng.uniform() < 0.6:
        shot.header['GAIN'] = wrong
    else:
        shot.options['gain'] = wrong


def _state(rng, shot, deviation):
    kind, power = ((StdDevUncertainty, 1), (VarianceUncertainty, 2), (InverseVariance, -2))[rng.integers(3)]
    with np.errstate(all='ignore'):
        plane = np.sign(deviation) * np.abs(deviation) ** power
    shot.uncertainty = kind(plane)
    shot.options = {}


@_defect('errors', 9, 'uncertainty', 'error plane', 'stated')
def _errors(rng, shot):
    """A plane of errors that is too small or too large, or of one number."""
    if rng.uniform() < 0.25:
        _state(rng, shot, np.full(shot.data.shape, np.percentile(shot.sigma, rng.uniform(0, 100))))
        return
    _state(rng, shot, shot.sigma * (_log(rng, 0.1, 1 / _WRONG) if rng.uniform() < 0.4 else _log(rng, _WRONG, 100)))


@_defect('junk errors', 9, 'uncertainty', 'error plane', 'stated')
def _junk_errors(rng, shot):
    """Right errors, but for some pixels whose error is no number, none or absurd."""
    where = rng.uniform(size=shot.data.shape) < _log(rng, 5e-5, 0.03)
    where.flat[rng.integers(where.size)] = True
    junk = rng.choice([np.inf, 0.0, np.nan, 1e30, -1.0, 1e10])
    _state(rng, shot, np.where(where, junk if junk in (0, np.inf) else junk * shot.sky_sigma, shot.sigma))
