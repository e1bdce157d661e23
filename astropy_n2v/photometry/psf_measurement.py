# Licensed under a 3-clause BSD style license - see LICENSE
"""
Measure the point-spread function on the stars of a frame.
"""

import warnings

import numpy as np
from astropy.modeling.fitting import TRFLSQFitter
from astropy.nddata import NDData
from astropy.table import Table
from photutils.psf import EPSFBuilder, GaussianPRF, ImagePSF, MoffatPSF, extract_stars
from scipy.spatial import cKDTree

from ..utils.checks import require
from .frames import frame_arrays, local_maxima, mesh_background
from .psf import PSF

__all__ = ['measure_psf']

_METHODS = ('epsf', 'moffat', 'gaussian')


def _choose_stars(data, bad, sigma, size, threshold, n_stars):
    """Bright, isolated, round, unsaturated stars, and the FWHM that most of them have."""
    half = size // 2
    x, y, peak = local_maxima(np.where(bad, 0, data / sigma), 5.0, box_size=5)
    order = np.argsort(-peak)
    x, y, peak = x[order], y[order], peak[order]
    tree = cKDTree(np.stack([x, y], axis=1)) if len(x) else None
    chosen = []
    for i in np.flatnonzero(peak > threshold):
        iy, ix = int(y[i]), int(x[i])
        inside = half <= iy < data.shape[0] - half and half <= ix < data.shape[1] - half
        if not inside or bad[iy - half:iy + half + 1, ix - half:ix + half + 1].any():
            continue
        others = [k for k in tree.query_ball_point((x[i], y[i]), 1.2 * half) if k != i]
        core = data[iy - 2:iy + 3, ix - 2:ix + 3]
        # A flat top is a saturated one; a single pixel is a cosmic ray.
        if (others and peak[others].max() > 0.05 * peak[i]) or np.sum(core == core.max()) > 1:
            continue
        stamp = data[iy - half:iy + half + 1, ix - half:ix + half + 1]
        area = np.sum(stamp > stamp.max() / 2)
        if area >= 3:
            chosen.append((ix, iy, peak[i], 2 * np.sqrt(area / np.pi)))
        if len(chosen) >= 4 * n_stars:
            break
    if not chosen:
        return np.empty((0, 4)), np.nan
    chosen = np.array(chosen)
    # Stars are the narrowest that are common; galaxies scatter above them.
    width = np.median(chosen[:, 3])
    for _ in range(5):
        near = np.abs(chosen[:, 3] / width - 1) < 0.25
        if not near.any():
            break
        width = np.median(chosen[near, 3])
    near = np.abs(chosen[:, 3] / width - 1) < 0.25
    return chosen[near][:2 * n_stars], width


def measure_psf(ccd, *, method='moffat', n_stars=50, size=None, threshold=30.0, stars=None, mask=None):
    """
    Measure the point-spread function on the bright, isolated stars of a frame.

    Parameters
    ----------
    ccd : `~astropy.nddata.CCDData` or array_like
        The frame.
    method : {'moffat', 'gaussian', 'epsf'}, optional
        'moffat' and 'gaussian': fits to each star with `astropy.modeling`, of which the median is
        taken. 'epsf': an effective PSF of any shape (`photutils.psf.EPSFBuilder`; Anderson & King
        2000, PASP 112, 1360), of twice the resolution of the pixels; it wants 16 bright stars or
        more.
    n_stars : int, optional
        The largest number of stars, of the brightest.
    size : int, optional
        Odd size in pixels of the part around a star that is used; by default about eight FWHM.
        The flux of a star is what falls there.
    threshold : float, optional
        The smallest height of a star, in units of the noise of a pixel.
    stars : `~astropy.table.Table`, optional
        Stars to use, with columns ``x`` and ``y``, instead of those that are found.
    mask : array_like of bool, optional
        True where the data are not to be used (saturated pixels, too), besides the mask of ``ccd``.

    Returns
    -------
    PSF
        The function, with its FWHM, the error of that, and the number of stars.

    Raises
    ------
    ValueError
        If ``method`` or ``size`` is not valid, or too few stars are found.

    Examples
    --------
    >>> from astropy_n2v.simulate import make_scene
    >>> from astropy_n2v.photometry import measure_psf
    >>> scene = make_scene('survey', (300, 300), seed=3)
    >>> psf = measure_psf(scene.observe(seed=4), method='moffat')
    >>> bool(abs(psf.fwhm - 3.2) < 0.2)
    True
    """
    require(method in _METHODS, 'method', f'be one of {", ".join(map(repr, _METHODS))}', method)
    require(size is None or (size % 2 == 1 and size >= 5), 'size', 'be odd and at least 5', size)
    require(n_stars >= 1, 'n_stars', 'be at least 1', n_stars)
    data, bad = frame_arrays(ccd, mask)
    background, sigma = mesh_background(data, bad)
    data = np.where(bad, 0, data - background)
    if stars is not None:
        y, x = np.rint(stars['y']).astype(int), np.rint(stars['x']).astype(int)
        width = np.nan
    else:
        found, width = _choose_stars(data, bad, sigma, size or 25, threshold, n_stars)
        x, y = found[:, 0].astype(int), found[:, 1].astype(int)
    size = size or (2 * int(np.clip(np.ceil(4 * width), 5, 40)) + 1 if np.isfinite(width) else 25)
    half = size // 2
    keep = (x >= half) & (y >= half) & (x < data.shape[1] - half) & (y < data.shape[0] - half)
    x, y = x[keep], y[keep]
    # Twice the resolution needs several stars in each quarter of a pixel.
    fewest = 16 if method == 'epsf' else 1
    with warnings.catch_warnings():
        # A star that does not converge is left out below, or clipped by the builder.
        warnings.simplefilter('ignore')
        widths, models = _fit_stars(data, x, y, half, 'gaussian' if method == 'epsf' else method, width)
        keep = np.ones(len(x), dtype=bool) if stars is not None else _common(widths, n_stars)
        if keep.sum() < fewest:
            raise ValueError(f"ccd must show at least {fewest} isolated stars higher than {threshold} sigma to measure "
                             f"its PSF (method={method!r}), got {keep.sum()}: lower threshold, give stars, or give the "
                             'PSF')
        widths = widths[keep]
        if method == 'epsf':
            model = _build_epsf(data, x[keep], y[keep], size)
        else:
            model = _median_model([model for model, good in zip(models, keep) if good])
    error = 1.2533 * np.std(widths, ddof=1) / np.sqrt(len(widths)) if len(widths) > 1 else np.nan
    return PSF.from_any(model, size=size, fwhm_err=float(error), n_stars=int(keep.sum()), method=method)


def _common(widths, n_stars):
    """The stars among candidates, brightest first: galaxies are wider, blends too, and few have the same width."""
    good = np.isfinite(widths) & (widths > 0.5)
    if not good.any():
        return good
    # The densest place among the logarithms of the widths.
    values = np.log(np.where(good, widths, 1.0))
    density = np.array([np.sum(np.exp(-0.5 * ((values[good] - value) / 0.06) ** 2)) for value in values])
    mode = values[good][np.argmax(density[good])]
    keep = good & (np.abs(values - mode) < 0.12)
    return keep & (np.cumsum(keep) <= n_stars)


def _fit_stars(data, x, y, half, method, width):
    """FWHM and model of each star, the sky around it fitted by its border."""
    fitter = TRFLSQFitter()
    grid_y, grid_x = np.mgrid[-half:half + 1, -half:half + 1]
    border = np.maximum(np.abs(grid_x), np.abs(grid_y)) == half
    width = width if np.isfinite(width) else 3.0
    widths, models = [], []
    for ix, iy in zip(x, y):
        stamp = data[iy - half:iy + half + 1, ix - half:ix + half + 1]
        stamp = stamp - np.median(stamp[border])
        flux = stamp.sum()
        if method == 'moffat':
            # alpha of the FWHM at beta = 3
            start = MoffatPSF(flux=flux, x_0=0, y_0=0, alpha=0.98 * width, beta=3.0)
            start.alpha.fixed = start.beta.fixed = False
            start.beta.bounds = (1.1, 20)
        else:
            start = GaussianPRF(flux=flux, x_0=0, y_0=0, x_fwhm=width, y_fwhm=width, theta=0)
            start.x_fwhm.fixed = start.y_fwhm.fixed = False
        fitted = fitter(start, grid_x.astype(float), grid_y.astype(float), stamp)
        shape = fitted.fwhm if method == 'moffat' else np.sqrt(abs(fitted.x_fwhm * fitted.y_fwhm))
        widths.append(float(shape))
        models.append(fitted)
    return np.array(widths), models


def _median_model(models):
    """A model with the median parameters of some."""
    first = models[0].copy()
    for name in models[0].param_names:
        setattr(first, name, np.median([getattr(model, name).value for model in models]))
    return first


def _build_epsf(data, x, y, size):
    """An effective PSF of stars."""
    half, flat = size // 2, data.copy()
    for ix, iy in zip(x, y):
        where = slice(iy - half, iy + half + 1), slice(ix - half, ix + half + 1)
        ring = np.concatenate([data[where][[0, -1]].ravel(), data[where][:, [0, -1]].ravel()])
        flat[where] = data[where] - np.median(ring)
    stars = extract_stars(NDData(flat), Table({'x': x.astype(float), 'y': y.astype(float)}), size=size)
    builder = EPSFBuilder(oversampling=2, smoothing_kernel='quadratic', maxiters=8,
                          progress_bar=False)
    epsf = builder(stars).epsf
    return ImagePSF(epsf.data, flux=1, x_0=0, y_0=0, origin=epsf.origin, oversampling=epsf.oversampling)
