# Licensed under a 3-clause BSD style license - see LICENSE
"""
Frames with correlated noise: resampled, drizzled, smoothed, or from a correlated read-out.

The noise is not drawn from a covariance: exposures are made and processed as in a pipeline.
"""

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d, map_coordinates

from ..noise import NoiseModel
from .detector import DEFECTS, check_flagged, combine_masks, expose
from .observations import Observation

__all__ = ['KERNELS', 'observe_correlated_readout', 'observe_drizzled', 'observe_resampled', 'observe_smoothed']

_PAD = 6   # pixels: least border of an exposure around the frame


def _bilinear(t):
    return np.maximum(1 - np.abs(t), 0)


def _cubic(t):
    # Keys (1981, IEEE Trans. ASSP 29, 1153) with a = -1/2.
    t = np.abs(t)
    return np.where(t < 1, (1.5 * t - 2.5) * t ** 2 + 1, np.where(t < 2, ((2.5 - 0.5 * t) * t - 4) * t + 2, 0))


def _lanczos3(t):
    return np.where(np.abs(t) < 3, np.sinc(t) * np.sinc(t / 3), 0)


#: Interpolation kernels of `observe_resampled`.
KERNELS = {'bilinear': 'linear between 2 x 2 pixels', 'cubic': 'cubic convolution of 4 x 4 pixels (Keys 1981)',
           'lanczos3': 'windowed sinc of 6 x 6 pixels'}
# Functions of the distance, and their radius in pixels.
_KERNELS = {'bilinear': (_bilinear, 1), 'cubic': (_cubic, 2), 'lanczos3': (_lanczos3, 3)}


class _Coadd:
    """Weighted mean of exposures, with the fraction of their variance that remains."""

    def __init__(self, shape):
        self.data, self.truth, self.weight, self.square = np.zeros((4, *shape))
        self.defects = np.zeros(shape, dtype=bool)

    def add(self, data, truth, weight, square, defects):
        self.data += weight * data
        self.truth += weight * truth
        self.weight += weight
        self.square += square
        self.defects |= defects

    def observation(self, readnoise, area):
        """Return the mean as an Observation; ``area`` is the area of its pixels in pixels of the detector."""
        covered = self.weight > 1e-6
        weight = np.where(covered, self.weight, 1)
        share = self.square / weight ** 2
        share = np.where(covered, share, np.median(share[covered]) if covered.any() else 1.0)
        noise = NoiseModel(readnoise * area * np.sqrt(share), gain=1 / (area * share), source='simulated')
        data = np.where(covered, area * self.data / weight, np.nan)
        truth = np.where(covered, area * self.truth / weight, 0)
        return Observation(data, truth, noise, ~covered, self.defects | ~covered)


def _positions(shape, angle, scale, shift):
    """Return row and column, in an exposure, of each pixel; a pure shift has one column or row."""
    centre_y, centre_x = (np.array(shape) - 1) / 2
    y = np.arange(shape[0])[:, None] - centre_y
    x = np.arange(shape[1])[None, :] - centre_x
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    if s == 0:
        return c * y + shift[0], c * x + shift[1]
    return c * y - s * x + shift[0], s * y + c * x + shift[1]


def _interpolate(planes, y, x, kernel):
    """Interpolate planes at rows y and columns x; also return the sum of the squared weights."""
    function, reach = _KERNELS[kernel]
    y0, x0 = np.floor(y).astype(int), np.floor(x).astype(int)
    taps = range(1 - reach, reach + 1)
    weights_y, weights_x = (np.array([function(p - i - t) for t in taps]) for p, i in ((y, y0), (x, x0)))
    weights_y /= weights_y.sum(axis=0)
    weights_x /= weights_x.sum(axis=0)
    results = [0.0] * len(planes)
    for j, tap_y in enumerate(taps):
        rows = [0.0] * len(planes)
        for i, tap_x in enumerate(taps):
            index = (y0 + tap_y) * planes[0].shape[1] + (x0 + tap_x)
            for k, plane in enumerate(planes):
                rows[k] = rows[k] + weights_x[i] * plane.ravel()[index]
        for k in range(len(planes)):
            results[k] = results[k] + weights_y[j] * rows[k]
    return results, np.sum(weights_y ** 2, axis=0) * np.sum(weights_x ** 2, axis=0)


def observe_resampled(truth, *, readnoise=0.0, n_exposures=1, kernel='bilinear', rotation=0.0, scale=1.0, flagged=(),
                      seed=None, **defects):
    """
    Observe with dithered exposures that are interpolated onto one grid and averaged.

    Each exposure is displaced by a random fraction of a pixel and has independent noise. Interpolation
    correlates this noise and, depending on the phase, reduces it.

    Parameters
    ----------
    truth : array_like
        Expected number of electrons of an exposure, in pixels of the result, shape (ny, nx).
    readnoise : float, optional
        Read noise of an exposure in electrons.
    n_exposures : int, optional
        Number of exposures.
    kernel : {'bilinear', 'cubic', 'lanczos3'}, optional
        Interpolation: see `KERNELS`.
    rotation : float, optional
        Angle in radians between the rows of the detector and of the result.
    scale : float, optional
        Size of a pixel of the result in pixels of the detector.
    flagged : str or sequence of str, optional
        Defects that are known and excluded from the mean: of `DEFECTS`, or 'all'.
    seed : int or `~numpy.random.Generator`, optional
        Seed of displacements and noise.
    **defects
        Keywords of `~astropy_n2v.simulate.observe` that make defects: ``cosmic_rays``,
        ``hot_pixels``, ``bad_columns``, ``satlevel``, ``bleed``.

    Returns
    -------
    Observation
        Data and truth (the truth as resampled) in electrons of an exposure; read noise and
        gain of the noise are arrays.

    Raises
    ------
    ValueError
        If ``kernel`` is unknown, or ``scale`` or ``n_exposures`` is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.simulate import observe_resampled
    >>> frame = observe_resampled(np.full((64, 64), 100.0), kernel='lanczos3', n_exposures=3, seed=0)
    >>> bool(abs(np.var(frame.innovation) - 1) < 0.1)
    True
    """
    if kernel not in KERNELS:
        raise ValueError(f'kernel must be one of {", ".join(map(repr, KERNELS))}, got {kernel!r}')
    _check(scale, n_exposures)
    truth, rng = np.asarray(truth, dtype=float), np.random.default_rng(seed)
    coadd = _Coadd(truth.shape)
    # An exposure holds the rotated frame and the radius of the kernel.
    size = [int(np.ceil(scale * (n + abs(np.sin(rotation)) * max(truth.shape)))) + 2 * _PAD for n in truth.shape]
    for _ in range(n_exposures):
        shift = rng.uniform(-0.5, 0.5, 2)
        y, x = _positions(truth.shape, rotation, scale, (np.array(size) - 1) / 2 + shift)
        back = _positions(size, -rotation, 1 / scale, (np.array(truth.shape) - 1) / 2 - _turned(shift, rotation, scale))
        expected = map_coordinates(truth, np.broadcast_arrays(*back), order=1, mode='nearest') / scale ** 2
        data, masks = expose(expected, readnoise=readnoise, seed=rng, **defects)
        known, all_bad = _two_masks(masks, flagged, data.shape)
        planes = [data, expected] + ([known.astype(float), all_bad.astype(float)] if masks else [])
        (data, smooth, *bad), square = _interpolate(planes, y, x, kernel)
        known, all_bad = (np.abs(plane) > 1e-3 for plane in bad) if bad else (np.zeros(truth.shape, bool),) * 2
        coadd.add(data, smooth, 1.0 - known, square * ~known, all_bad & ~known)
    return coadd.observation(readnoise, scale ** 2)


def _turned(shift, rotation, scale):
    """Return the displacement of an exposure on the grid of the result."""
    c, s = np.cos(rotation) / scale, np.sin(rotation) / scale
    return np.array([c * shift[0] + s * shift[1], c * shift[1] - s * shift[0]])


def _two_masks(masks, flagged, shape):
    return combine_masks(masks, check_flagged(flagged), shape), combine_masks(masks, DEFECTS, shape)


def _overlaps(edges_to, edges_from):
    """Return the lengths by which intervals (low, high) overlap, shape (n_to, n_from)."""
    low = np.maximum(edges_to[0][:, None], edges_from[0])
    high = np.minimum(edges_to[1][:, None], edges_from[1])
    return np.maximum(high - low, 0)


def observe_drizzled(truth, *, readnoise=0.0, n_exposures=4, pixfrac=0.8, scale=0.7, flagged=(), seed=None, **defects):
    """
    Observe with dithered exposures that are drizzled onto a finer grid.

    The method is the variable-pixel linear reconstruction of Fruchter & Hook (2002, PASP 114, 144), for
    exposures that are displaced, not rotated: each pixel of an exposure is shrunk by ``pixfrac`` and
    distributed over the pixels that it overlaps.

    Parameters
    ----------
    truth : array_like
        Expected number of electrons of an exposure, in pixels of the result, shape (ny, nx).
    readnoise : float, optional
        Read noise of an exposure in electrons.
    n_exposures : int, optional
        Number of exposures.
    pixfrac : float, optional
        Size of a drop in units of the detector's pixel, in (0, 1].
    scale : float, optional
        Size of a pixel of the result in pixels of the detector.
    flagged : str or sequence of str, optional
        Defects that are known and get no weight: of `DEFECTS`, or 'all'.
    seed : int or `~numpy.random.Generator`, optional
        Seed of displacements and noise.
    **defects
        Keywords of `~astropy_n2v.simulate.observe` that make defects.

    Returns
    -------
    Observation
        Data and truth (the truth as binned to the detector and drizzled) in electrons of an
        exposure per pixel of the result; read noise and gain of the noise are arrays. Pixels
        that no drop reaches are NaN and masked.

    Raises
    ------
    ValueError
        If ``pixfrac`` is not in (0, 1], or ``scale`` or ``n_exposures`` is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.simulate import observe_drizzled
    >>> frame = observe_drizzled(np.full((64, 64), 100.0), n_exposures=8, seed=0)
    >>> z = frame.innovation[~frame.mask]
    >>> bool(abs(np.var(z) - 1) < 0.1)
    True
    """
    if not 0 < pixfrac <= 1:
        raise ValueError(f'pixfrac must be in (0, 1], got {pixfrac}')
    _check(scale, n_exposures)
    truth, rng = np.asarray(truth, dtype=float), np.random.default_rng(seed)
    coadd = _Coadd(truth.shape)
    pad = int(np.ceil(2 / scale)) + 1
    padded = np.pad(truth, pad, mode='edge')
    for shift in _dithers(rng, n_exposures):
        bins, drops = zip(*(_drizzle_axis(n, pad, s, pixfrac, scale) for n, s in zip(truth.shape, shift)))
        expected = bins[0] @ padded @ bins[1].T
        data, masks = expose(expected, readnoise=readnoise, seed=rng, **defects)
        known, all_bad = _two_masks(masks, flagged, data.shape)
        good = (~known).astype(float)
        squares = drops[0] ** 2 @ good @ (drops[1] ** 2).T
        weight = drops[0] @ good @ drops[1].T
        safe = np.maximum(weight, 1e-12)
        coadd.add(drops[0] @ (good * data) @ drops[1].T / safe, drops[0] @ (good * expected) @ drops[1].T / safe,
                  weight, squares, drops[0] @ (good * all_bad) @ drops[1].T > 0)
    return coadd.observation(readnoise, scale ** 2)


def _drizzle_axis(n, pad, shift, pixfrac, scale):
    """
    Return the matrices of one axis: from padded pixels of the result to the detector, and from drops back.

    Coordinates are pixels of the detector.
    """
    fine = np.arange(-pad, n + pad) * scale
    m = int(np.ceil(n * scale)) + 2
    coarse = np.arange(-1, m - 1) + shift
    drop = (1 - pixfrac) / 2
    bins = _overlaps((coarse, coarse + 1), (fine, fine + scale)) / scale
    drops = _overlaps((fine[pad:-pad], fine[pad:-pad] + scale), (coarse + drop, coarse + 1 - drop))
    return bins, drops


def _dithers(rng, n):
    """Return displacements that sample the pixel evenly: a rank-1 lattice, shifted and perturbed."""
    i = np.arange(n)
    lattice = np.stack([(i + 0.5) / n, (i * 0.6180339887 + 0.5) % 1], axis=1)
    return (lattice + rng.uniform(size=2) + rng.normal(0, 0.07, (n, 2))) % 1 - 0.5


def observe_smoothed(truth, *, readnoise=0.0, sigma=0.6, flagged=(), seed=None, **defects):
    """
    Observe once and smooth with a Gaussian, as by interpolation, filtering or charge diffusion.

    Parameters
    ----------
    truth : array_like
        Expected number of electrons, shape (ny, nx).
    readnoise : float, optional
        Read noise in electrons.
    sigma : float or tuple of float, optional
        Standard deviation of the Gaussian in pixels, or standard deviations along columns and along rows;
        (0, 0.6) correlates along rows only.
    flagged : str or sequence of str, optional
        Defects that are flagged, with all pixels that they spread to: of `DEFECTS`, or 'all'.
    seed : int or `~numpy.random.Generator`, optional
        Seed of the noise.
    **defects
        Keywords of `~astropy_n2v.simulate.observe` that make defects.

    Returns
    -------
    Observation
        Data and truth are both smoothed.

    Raises
    ------
    ValueError
        If ``sigma`` is negative.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.simulate import observe_smoothed
    >>> frame = observe_smoothed(np.full((64, 64), 100.0), sigma=0.6, seed=0)
    >>> bool(abs(np.var(frame.innovation) - 1) < 0.1)
    True
    """
    if not np.all(np.asarray(sigma) >= 0):
        raise ValueError(f'sigma must not be negative, got {sigma}')
    data, masks = expose(truth, readnoise=readnoise, seed=seed, **defects)
    known, all_bad = (gaussian_filter(mask.astype(float), sigma) > 1e-3
                      for mask in _two_masks(masks, flagged, data.shape))
    # Fraction of the variance of each pixel that remains after smoothing.
    share = np.sum(gaussian_filter(np.pad([[1.0]], 16), sigma) ** 2)
    noise = NoiseModel(readnoise * np.sqrt(share), gain=1 / share, source='simulated')
    return Observation(gaussian_filter(data, sigma), gaussian_filter(np.asarray(truth, dtype=float), sigma), noise,
                       known, all_bad)


def observe_correlated_readout(truth, *, readnoise, length=0.6, flagged=(), seed=None, **defects):
    """
    Observe with read noise that is correlated along rows, as by slow or filtered electronics.

    Parameters
    ----------
    truth : array_like
        Expected number of electrons, shape (ny, nx).
    readnoise : float
        Read noise in electrons, per pixel.
    length : float, optional
        Standard deviation, in pixels, of the Gaussian that the electronics smooth with.
    flagged : str or sequence of str, optional
        Defects that are flagged: of `DEFECTS`, or 'all'.
    seed : int or `~numpy.random.Generator`, optional
        Seed of the noise.
    **defects
        Keywords of `~astropy_n2v.simulate.observe` that make defects.

    Returns
    -------
    Observation
        The variance equals the variance of white noise: photon noise and signal are not smoothed.

    Raises
    ------
    ValueError
        If ``readnoise`` or ``length`` is negative.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.simulate import observe_correlated_readout
    >>> frame = observe_correlated_readout(np.ones((64, 64)), readnoise=10.0, seed=0)
    >>> z = frame.innovation
    >>> bool(np.mean(z[:, 1:] * z[:, :-1]) > 0.3), bool(abs(np.mean(z[1:] * z[:-1])) < 0.1)
    (True, True)
    """
    for name, value in (('readnoise', readnoise), ('length', length)):
        if not value >= 0:
            raise ValueError(f'{name} must not be negative, got {value}')
    rng = np.random.default_rng(seed)
    truth = np.asarray(truth, dtype=float)
    white = rng.standard_normal((truth.shape[0], truth.shape[1] + 32))
    lines = gaussian_filter1d(white, length, axis=1)[:, 16:-16] if length else white[:, 16:-16]
    response = gaussian_filter1d(np.eye(1, 33, 16), length, axis=1) if length else np.ones(1)
    data, masks = expose(truth, seed=rng, **defects)
    data = data + readnoise * lines / np.sqrt(np.sum(response ** 2))
    return Observation(data, truth, NoiseModel(readnoise, gain=1.0, source='simulated'),
                       *_two_masks(masks, flagged, data.shape))


def _check(scale, n_exposures):
    if not scale > 0:
        raise ValueError(f'scale must be positive, got {scale}')
    if n_exposures < 1:
        raise ValueError(f'n_exposures must be positive, got {n_exposures}')
