# Licensed under a 3-clause BSD style license - see LICENSE
"""
Observations with all that can go wrong, drawn at random.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import gaussian_filter

from ..noise import NoiseModel
from .detector import DEFECTS, combine_masks, expose, make_flat
from .random import random_scene

__all__ = ['Observation', 'random_observation']


@dataclass
class Observation:
    """
    A noisy frame of which everything is known.

    Parameters
    ----------
    data : `~numpy.ndarray`
        The frame, float64, shape (ny, nx), in the unit that ``gain`` of the noise refers to.
    truth : `~numpy.ndarray`
        What the data would be without noise and defects, in the same unit.
    noise : `~astropy_n2v.NoiseModel`
        The noise of the data; its ``variance(truth)`` is the variance of each pixel.
    mask : `~numpy.ndarray`
        Boolean, True where a defect is flagged.
    defects : `~numpy.ndarray`
        Boolean, True where there is a defect, flagged or not.
    kind : str
        What it shows.
    """

    data: np.ndarray
    truth: np.ndarray
    noise: NoiseModel
    mask: np.ndarray = field(repr=False)
    defects: np.ndarray = field(repr=False)
    kind: str = 'custom'

    @property
    def innovation(self):
        """(data - truth) in units of the noise: of mean 0 and variance 1 off defects."""
        return (self.data - self.truth) / np.sqrt(self.noise.variance(self.truth))


def _log_uniform(rng, low, high):
    return np.exp(rng.uniform(np.log(low), np.log(high)))


def _random_defects(rng, truth, sigma):
    """Keywords of `expose` for defects, and which of them are flagged."""
    options, flagged = {}, []
    if rng.uniform() < 0.35:
        options['cosmic_rays'] = int(rng.poisson(_log_uniform(rng, 1, 15)))
        flagged += ['cosmic_rays'] if rng.uniform() < 0.5 else []
    if rng.uniform() < 0.3:
        options['hot_pixels'] = int(rng.poisson(_log_uniform(rng, 1, 40)))
        flagged += ['hot_pixels'] if rng.uniform() < 0.5 else []
    if rng.uniform() < 0.15:
        options['bad_columns'] = int(rng.integers(1, 5))
        flagged += ['bad_columns'] if rng.uniform() < 0.7 else []
    if rng.uniform() < 0.4:
        # Never more than some per cent of the frame, whatever it shows.
        full_well = max(np.median(truth) + _log_uniform(rng, 100, 3e4) * sigma, np.quantile(truth, 0.985))
        options.update(satlevel=full_well + 5 * np.sqrt(full_well), bleed=bool(rng.uniform() < 0.6))
        flagged.append('saturated')
    return options, flagged


def _random_flat(rng, scene, sigma):
    """Response of single pixels, or None, its error, and the smooth response."""
    error, flat, smooth = 0.0, None, 1.0
    if rng.uniform() < 0.3:
        # Below the photon noise, else nobody would be content with the flat field.
        error = min(_log_uniform(rng, 1e-4, 0.01), 0.4 * sigma / max(np.median(scene.truth), 1e-3))
        flat = make_flat(scene.truth.shape, error=error, seed=rng)
    if rng.uniform() < 0.2:
        smooth = make_flat(scene.truth.shape, error=0, vignetting=rng.uniform(0, 0.05),
                           smooth=_log_uniform(rng, 1e-3, 0.01), seed=rng)
    return flat, error, smooth


def random_observation(shape=(256, 256), *, hole=1, seed=None):
    """
    Draw a scene and observe it with a detector drawn, too.

    Gain and its quantisation, errors of the flat field, cosmic rays, hot pixels, bad columns
    and saturated stars with their bleed trails are there in some of the frames; saturated
    pixels are always flagged, other defects in about half of the frames.

    Parameters
    ----------
    shape : tuple of int, optional
        Height and width in pixels.
    hole : int, optional
        1 for noise that is independent between pixels; 3, 5, ... for noise that is
        correlated, but not noticeably beyond a square of ``hole`` pixels around each.
    seed : int or `~numpy.random.Generator`, optional
        Seed of everything.

    Returns
    -------
    Observation
        Data, truth, noise model and masks.

    Raises
    ------
    ValueError
        If ``hole`` is not an odd number.

    Examples
    --------
    >>> from astropy_n2v.simulate import random_observation
    >>> observation = random_observation((64, 64), seed=5)
    >>> good = ~observation.defects
    >>> bool(abs(observation.innovation[good].std() - 1) < 0.1)
    True
    """
    if hole < 1 or hole % 2 == 0:
        raise ValueError(f'hole must be an odd number, got {hole}')
    rng = np.random.default_rng(seed)
    scene = random_scene(shape, seed=rng)
    sigma = np.sqrt(np.median(scene.truth) + scene.readnoise ** 2)
    flat, error, smooth = _random_flat(rng, scene, sigma)
    truth = scene.truth * smooth
    options, flagged = _random_defects(rng, truth, sigma)
    if hole > 1:
        return _observe_correlated(scene, truth, hole, options, flagged, rng)
    gain = _log_uniform(rng, 0.1, 10)
    if 'satlevel' in options:
        options['satlevel'] /= gain
    quantize = bool(rng.uniform() < 0.3 and sigma > 2 and gain < 0.7 * sigma)
    data, masks = expose(truth, gain=gain, readnoise=scene.readnoise, flat=flat, quantize=quantize, seed=rng, **options)
    # The error of the flat field is taken at the level of the sky; rounding has a variance of 1/12.
    variance = (scene.readnoise ** 2 + (error * np.median(truth)) ** 2) / gain ** 2 + quantize / 12
    noise = NoiseModel(np.sqrt(variance), gain=gain, source='simulated')
    return Observation(data, truth / gain, noise, combine_masks(masks, flagged, shape),
                       combine_masks(masks, DEFECTS, shape), scene.kind)


def _observe_correlated(scene, truth, hole, options, flagged, rng):
    data, masks = expose(truth, readnoise=scene.readnoise, seed=rng, **options)
    kernel = rng.uniform(0.35, 0.8), rng.uniform(0.35, 0.8)
    response = gaussian_filter(np.pad([[1.0]], 8), kernel)
    share = np.sum(response ** 2)
    # Smoothing leaves this share of the variance, in each pixel.
    noise = NoiseModel(scene.readnoise * np.sqrt(share), gain=1 / share, source='simulated')
    return Observation(gaussian_filter(data, kernel), gaussian_filter(truth, kernel), noise,
                       combine_masks(masks, flagged, truth.shape), combine_masks(masks, DEFECTS, truth.shape),
                       scene.kind)
