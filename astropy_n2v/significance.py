# Licensed under a 3-clause BSD style license - see LICENSE
"""
A map of significance for source detection, from a denoised frame.
"""

import numpy as np
from astropy import units as u
from astropy.nddata import CCDData, NDData, StdDevUncertainty
from scipy.ndimage import distance_transform_edt, gaussian_filter, percentile_filter

from .containers.nodata import huge_values
from .containers.parsing import merge_mask, take_apart
from .photometry.psf import PSF
from .photometry.star_fit import StarFit

__all__ = ['detection_image']

# All fixed on simulated scenes that no benchmark uses. In units of the FWHM:
_RADIUS = 1.25    # radius of the aperture in which a star is fitted with its local background
_WINDOW = 8.0     # height and width of the neighbourhood from which the deviation of the sky is measured
# Percentile of the deviation in this neighbourhood: sources raise the deviation, which must not hide other sources.
_PERCENTILE = 25
_LEAST = 0.25     # least remaining fraction of the information on a star beside masked pixels and edges
_FLOOR = 0.05     # least deviation in units of the median: nearly noiseless parts would be significant anywhere


def _star_and_aperture(psf):
    """Cut out the part of a point-spread function that is fitted to a star, and the aperture."""
    stamp = psf.stamp
    y, x = (np.arange(n) - n // 2 for n in stamp.shape)
    aperture = np.hypot(y[:, None], x) <= max(_RADIUS * psf.fwhm, 1.5)
    rows, columns = (np.nonzero(aperture.any(axis=axis))[0] for axis in (1, 0))
    cut = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    star = np.where(aperture, stamp, 0)[cut]
    return star / star.sum(), aperture[cut].astype(float)


def _fit_stars(data, good, star, aperture):
    """
    Fit the flux of a star with a constant background at each pixel, in units of its error at unit deviation.

    Returns the ratio and the remaining fraction of the information.
    """
    fit = StarFit(star, good.astype(float), aperture)
    numerator = fit.numerator(np.where(good, data - np.median(data[good]), 0))
    full = (star ** 2).sum() - star.sum() ** 2 / aperture.sum()
    return numerator / np.sqrt(np.maximum(fit.information, _LEAST * full)), fit.information / full


def _sky_deviation(std, good, fwhm):
    """Return the smoothed deviation of the sky around each pixel."""
    nearest = distance_transform_edt(~good, return_distances=False, return_indices=True)
    std = std[tuple(nearest)]
    step = max(1, int(fwhm))
    coarse = std[::step, ::step]
    size = max(3, 2 * round(_WINDOW * fwhm / step / 2) + 1)
    coarse = gaussian_filter(percentile_filter(coarse, _PERCENTILE, size), size / 4)
    y, x = (np.clip(np.round(np.arange(n) / step).astype(int), 0, m - 1) for n, m in zip(std.shape, coarse.shape))
    return coarse[np.ix_(y, x)]


def detection_image(ccd, psf):
    """
    Make a map of significance of point sources in a denoised frame, for detection.

    At each pixel a star with a constant local background is fitted by least squares to the posterior mean, within
    1.25 FWHM. Its flux is divided by the error for independent pixels with the posterior standard deviation of
    the surrounding sky: the lower quartile within 8 FWHM.

    Parameters
    ----------
    ccd : `~astropy.nddata.CCDData`
        The result of `~astropy_n2v.denoise`, or any other image of shape (ny, nx) with an uncertainty.
    psf : array_like, float, `~astropy_n2v.photometry.PSF` or `~astropy.modeling.Fittable2DModel`
        The point-spread function on the pixels of the image, centred on the central pixel of an array
        with odd sizes; its full width at half maximum in pixels, for a Moffat profile with a power index of 3; or a
        model, like the models of `photutils.psf`.

    Returns
    -------
    `~astropy.nddata.CCDData`
        The map, dimensionless, with the WCS and the header of the frame. Its mask is True where the frame is
        masked or not finite, or where such pixels leave too little of a star; the map is 0 there.

    Raises
    ------
    TypeError
        If ``ccd`` is not an `~astropy.nddata.NDData`.
    ValueError
        If ``ccd`` is not two-dimensional, has no uncertainty or no valid pixel, or ``psf`` is neither
        a width nor an image of odd sizes.

    See Also
    --------
    astropy_n2v.denoise : Denoise the frame first.

    Notes
    -----
    The fit is the filter of DAOFIND (Stetson 1987, PASP 99, 191), whose kernel sums to zero, made exact beside
    masked pixels and edges. Errors of a denoised image *are* correlated: the map orders sources by their
    significance, but a threshold is not in Gaussian sigma. Choose it by the rate of false detections: from a
    simulation, or from the sign-flipped frame. Measure the detected sources on the original frame.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v import denoise, detection_image
    >>> from astropy_n2v.simulate import make_scene
    >>> scene = make_scene('survey', (96, 96), seed=1)
    >>> clean = denoise(scene.observe(seed=2))
    >>> significance = detection_image(clean, scene.psf)
    >>> significance.shape
    (96, 96)
    """
    if not isinstance(ccd, NDData):
        raise TypeError(f'ccd must be a CCDData with an uncertainty, got {type(ccd).__name__}')
    if np.ndim(ccd.data) != 2:
        raise ValueError(f'ccd must be two-dimensional, got {np.ndim(ccd.data)} dimensions')
    if ccd.uncertainty is None or ccd.uncertainty.array is None:
        raise ValueError('ccd must have an uncertainty, the deviation that denoise() returns, got none')
    parts = take_apart(ccd, 'ccd')
    data = np.asarray(parts.values, dtype=float)
    std = parts.uncertainty.represent_as(StdDevUncertainty)
    if std.array.shape != data.shape:
        raise ValueError(f'the uncertainty of ccd must have the shape of its data, {data.shape}, got {std.array.shape}')
    factor = 1.0 if std.unit is None or ccd.unit is None else std.unit.to(ccd.unit)
    std = np.asarray(std.array, dtype=float) * factor
    psf = PSF.from_any(psf)
    star, aperture = _star_and_aperture(psf)

    bad = ~(np.isfinite(data) & np.isfinite(std) & (std >= 0))
    merge_mask(bad, parts.mask, 'mask of ccd')
    found = huge_values(data, bad)
    good = ~bad if found is None else ~(bad | found)
    if not good.any():
        raise ValueError('ccd has no valid pixel: all are masked or not finite')
    floor = max(_FLOOR * np.median(std[good]), 4 * np.finfo(np.float32).eps * np.median(np.abs(data[good])),
                np.finfo(float).tiny)
    amplitude, left = _fit_stars(data, good, star, aperture)
    mask = ~good | (left < _LEAST)
    significance = np.where(mask, 0, amplitude / np.maximum(_sky_deviation(std, good, psf.fwhm), floor))

    header = ccd.meta.copy()
    if hasattr(header, 'add_history'):
        header.add_history('astropy_n2v: significance of point sources')
    if 'BUNIT' in header:
        header['BUNIT'] = ''
    return CCDData(significance, unit=u.dimensionless_unscaled, mask=mask, wcs=ccd.wcs, meta=header)
