# Licensed under a 3-clause BSD style license - see LICENSE
"""
Frames that could have been taken instead of one that was: its denoised scene with other noise.
"""

import copy
import warnings

import numpy as np
from astropy.nddata import StdDevUncertainty
from scipy.signal import fftconvolve

from ..blind_spot import own_autocorrelation
from ..containers.container import Container
from ..inference.whitening_filter import Whitening
from ..planes import find_planes

__all__ = ['RepeatedFrames']


class RepeatedFrames:
    """
    Repetitions of an exposure: scenes that may be the true one, each with noise drawn from the noise model.

    Parameters
    ----------
    original : `~astropy.nddata.NDData`
        The frame as measured, shape (ny, nx).
    clean : `~astropy.nddata.NDData`
        The frame denoised, with its uncertainty, on the same grid and in the same unit.
    stamp : array_like, optional
        Point-spread function, of odd height and width: errors of the scene are correlated over it.
    **parameters
        ``noise``, ``gain`` and ``readnoise``, as for `astropy_n2v.denoise`.

    Attributes
    ----------
    mask : `~numpy.ndarray` of bool
        True where the frame does not count: masked, saturated or not finite.
    scene, deviation : `~numpy.ndarray`
        The denoised image and its uncertainty, in data units.
    sigma : `~numpy.ndarray`
        Standard deviation of the noise of each pixel of the scene, in data units.
    correlation : `~numpy.ndarray`
        Autocorrelation of the noise, 1 in the middle.

    Raises
    ------
    ValueError
        If the shapes do not agree.

    Notes
    -----
    This is the posterior predictive distribution (Gelman et al. 2013, "Bayesian Data Analysis", section 6.3). The scene
    of each repetition departs from the denoised image by as much as its uncertainty says, as the truth does, with
    light of the shape of the point-spread function: stars too faint to be found, members of unresolved pairs. Without
    these, repetitions of crowded fields had a third of the false sources of the frames. White noise has the Poisson
    distribution of its photons; noise that is correlated is filtered, so that its variance and its autocorrelation are
    right, and comes close to a Gaussian distribution.

    Examples
    --------
    >>> from astropy_n2v import denoise
    >>> from astropy_n2v.simulate import make_scene
    >>> from astropy_n2v.sources import RepeatedFrames
    >>> ccd = make_scene('survey', (64, 64), seed=1).observe(seed=2)
    >>> frames = RepeatedFrames(ccd, denoise(ccd))
    >>> frames.draw(seed=3).shape
    (64, 64)
    """

    def __init__(self, original, clean, stamp=None, **parameters):
        frame = Container(original)
        scene = np.asarray(clean.data, dtype=float)
        if len(frame.shape) != 2 or scene.shape != frame.shape:
            raise ValueError(f'original and clean must be two-dimensional and of one shape, got {frame.shape} and '
                             f'{scene.shape}')
        self.original, self.values = original, np.asarray(frame.values, dtype=float)
        self.mask = np.asarray(frame.mask) | ~np.isfinite(self.values) | ~np.isfinite(scene)
        self.scene = np.where(self.mask, 0, scene)
        deviation = stated_deviation(clean)
        self.deviation = np.where(np.isfinite(deviation) & ~self.mask, deviation, 0)
        self._shape = np.ones((1, 1)) if stamp is None else np.asarray(stamp, dtype=float)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')   # they came when the frame was denoised
            self._planes = find_planes(frame, **parameters)[0]
            self._whitenings = [Whitening.find(own_autocorrelation(plane), np.count_nonzero(~plane.mask))
                                for plane in self._planes]
        first = self._whitenings[0]
        self.correlation = np.ones((1, 1)) if first is None else first.correlation
        self.sigma = np.full(scene.shape, np.nan)
        for plane in self._planes:
            self.sigma[plane.view] = np.sqrt(plane.data_noise.variance(self.scene[plane.view]))

    def draw(self, seed=None):
        """
        Draw a frame.

        Parameters
        ----------
        seed : int or `~numpy.random.Generator`, optional
            Seed of the noise.

        Returns
        -------
        `~astropy.nddata.NDData`
            Like the original, with other data; pixels that do not count are as in the original.
        """
        rng = np.random.default_rng(seed)
        data = self.values.copy()
        truth = self.scene + self.deviation * _filtered(rng.normal(size=self.scene.shape), self._shape)
        for plane, whitening in zip(self._planes, self._whitenings):
            scene = truth[plane.view]
            noisy = plane.data_noise.sample(scene, rng)
            if whitening is not None:
                sigma = np.sqrt(plane.data_noise.variance(scene))
                noisy = scene + sigma * _filtered((noisy - scene) / np.where(sigma > 0, sigma, 1), whitening.inverse)
            data[plane.view] = noisy
        result = copy.deepcopy(self.original)
        data = np.where(self.mask, self.values, data)
        # Integers would round once more.
        kind = np.asarray(self.original.data).dtype
        result.data = data.astype(np.float32 if kind.itemsize <= 4 else float)
        return result


def stated_deviation(clean):
    """Return the standard deviation that a result states, in data units; ValueError if it states none."""
    if clean.uncertainty is None or clean.uncertainty.array is None:
        raise ValueError('clean must have an uncertainty, the deviation that denoise() returns, got none')
    return np.asarray(clean.uncertainty.represent_as(StdDevUncertainty).array, dtype=float)


def _filtered(white, kernel):
    """Filter white noise; the variance stays 1."""
    pad = [(n // 2, n // 2) for n in kernel.shape]
    return fftconvolve(np.pad(white, pad, mode='wrap'), kernel / np.sqrt(np.sum(kernel ** 2)), mode='valid')
