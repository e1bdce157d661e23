# Licensed under a 3-clause BSD style license - see LICENSE
"""
Detections on frames of nothing but noise.
"""

import numpy as np
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.table import Table
from scipy.signal import fftconvolve

from ...noise import NoiseModel
from ...photometry.frames import sky_of
from ...photometry.psf_measurement import PSF
from ...utils.checks import require
from ..measures.frames import run_denoiser
from .completeness import check_fraction
from .maps import StarFilter, find_sources, maps_of
from .thresholds import check_thresholds, poisson_rate

__all__ = ['make_noise_frame', 'noise_detections']


def make_noise_frame(shape, noise, *, level=0.0, kernel=None, unit='adu', seed=None):
    """
    Make a frame of nothing but noise.

    Parameters
    ----------
    shape : tuple of int
        Height and width in pixels.
    noise : `~astropy_n2v.NoiseModel` or float
        The noise; a number is the standard deviation of Gaussian noise. With a gain the
        photons are drawn from the Poisson distribution.
    level : float, optional
        The sky, in data units.
    kernel : array_like, optional
        The noise is convolved with it, as by resampling or drizzling, and keeps its variance.
    unit : str or `~astropy.units.Unit`, optional
        Of the data.
    seed : int or `~numpy.random.Generator`, optional
        Seed of the noise.

    Returns
    -------
    `~astropy.nddata.CCDData`
        The frame, with the standard deviation of its pixels as uncertainty.

    Raises
    ------
    ValueError
        If ``shape``, ``noise`` or ``kernel`` is not valid.

    Examples
    --------
    >>> from astropy_n2v.validation import make_noise_frame
    >>> ccd = make_noise_frame((64, 64), 3.0, level=100.0, seed=0)
    >>> bool(abs(ccd.data.std() - 3) < 0.2)
    True
    """
    require(len(shape) == 2 and min(shape) >= 1, 'shape', 'be two positive numbers', shape)
    noise = noise if isinstance(noise, NoiseModel) else NoiseModel(noise)
    noise.check_shape(shape)
    rng = np.random.default_rng(seed)
    sigma = np.sqrt(np.broadcast_to(noise.variance(level), shape))
    data = noise.sample(np.full(shape, level, dtype=float), rng) - level
    if kernel is not None:
        kernel = np.asarray(kernel, dtype=float)
        require(kernel.ndim == 2 and np.isfinite(kernel).all() and (kernel ** 2).sum() > 0, 'kernel',
                'be a finite two-dimensional array that is not zero', kernel.shape)
        pad = [(n // 2, n // 2) for n in kernel.shape]
        data = fftconvolve(np.pad(data, pad, mode='wrap'), kernel / np.sqrt((kernel ** 2).sum()), mode='same')
        data = data[tuple(slice(p[0], p[0] + n) for p, n in zip(pad, shape))]
    return CCDData((data + level).astype(np.float32), unit=unit,
                   uncertainty=StdDevUncertainty(sigma.astype(np.float32)))


def noise_detections(denoiser, psf, noise, *, thresholds=(3.0, 3.5, 4.0, 4.5, 5.0, 6.0), shape=(512, 512), n_frames=4,
                     level=0.0, kernel=None, unit='adu', confidence=0.95, extra=None, seed=None):
    """
    Count the detections on frames of pure noise, which are all false.

    Parameters
    ----------
    denoiser : callable
        Function from `~astropy.nddata.CCDData` to `~astropy.nddata.CCDData`.
    psf : PSF, `~numpy.ndarray` or model
        The point-spread function.
    noise : `~astropy_n2v.NoiseModel` or float
        The noise, as for `make_noise_frame`.
    thresholds : array_like, optional
        In the units of the maps: see `detection_maps`.
    shape : tuple of int, optional
        Of the frames.
    n_frames : int, optional
        Number of frames; they are made one at a time.
    level, kernel, unit : optional
        As for `make_noise_frame`; with a ``kernel`` the noise is correlated.
    confidence : float, optional
        Confidence level of the intervals.
    extra : dict, optional
        Further maps, as for `detection_maps`.
    seed : int or `~numpy.random.Generator`, optional
        Seed of the noise.

    Returns
    -------
    `~astropy.table.Table`
        A row for each map and threshold: ``image``, ``threshold``, ``n`` and ``per_megapixel`` with
        ``_low`` and ``_high`` (classical Poisson interval). Meta: ``area`` (megapixels),
        ``correlated``, ``confidence``.

    Raises
    ------
    ValueError
        If ``thresholds`` is empty or ``n_frames`` is not positive.

    Examples
    --------
    >>> from astropy_n2v.simulate import make_psf
    >>> from astropy_n2v.validation import noise_detections
    >>> counts = noise_detections(lambda ccd: ccd, make_psf(3.0, half_size=9), 2.0, shape=(128, 128),
    ...                           n_frames=1, thresholds=[6.0], seed=0)
    >>> dict(zip(counts['image'], counts['n'].tolist()))['matched filter']
    0
    """
    thresholds = check_thresholds(thresholds)
    check_fraction('confidence', confidence)
    require(n_frames >= 1, 'n_frames', 'be at least 1', n_frames)
    rng, psf, counts, area = np.random.default_rng(seed), PSF.from_any(psf), {}, 0.0
    for _ in range(n_frames):
        ccd = make_noise_frame(shape, noise, level=level, kernel=kernel, unit=unit, seed=rng)
        _, bad, background, sigma = sky_of(ccd, None, ccd.uncertainty.array, level)
        star_filter = StarFilter(psf, bad, background, sigma)
        area += np.sum(star_filter.useful) / 1e6
        for name, image in maps_of(star_filter, ccd, run_denoiser(denoiser, ccd), extra).items():
            score = find_sources(image, thresholds[0], fwhm=psf.fwhm)['score']
            counts[name] = counts.get(name, 0) + np.array([np.sum(score > threshold) for threshold in thresholds])
    names = list(counts)
    n = np.concatenate([counts[name] for name in names])
    rate, low, high = poisson_rate(n, area, confidence)
    return Table({'image': np.repeat(names, thresholds.size), 'threshold': np.tile(thresholds, len(names)), 'n': n,
                  'per_megapixel': rate, 'per_megapixel_low': low, 'per_megapixel_high': high},
                 meta={'area': float(area), 'correlated': kernel is not None, 'confidence': confidence})
