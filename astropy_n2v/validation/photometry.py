# Licensed under a 3-clause BSD style license - see LICENSE
"""
Forced photometry: the same positions, apertures and weights on any image.

``positions``: Table with columns x, y (0 is the centre of the first pixel) or an array of shape (n, 2) of x, y.
``noise``: NoiseModel, a number or an array (standard deviation); default the uncertainty of data.
"""

__all__ = ['forced_photometry', 'growth_curve', 'measure_shapes']


def forced_photometry(data, positions, *, method='aperture', radius=None, psf=None, annulus=None, noise=None,
                      signal=None, mask=None):
    """Table, one row per position: id, x, y, flux, flux_err, background (per pixel), background_err, flag
    (1 beyond the edge, 2 masked pixels inside, 4 no local background); flux NaN where flag has 1 or 2.
    method 'aperture' (radius) or 'psf' (psf: stamp, sum 1, or a photutils model; groups fitted together)."""
    raise NotImplementedError


def measure_shapes(data, positions, *, fwhm, noise=None, mask=None, fit_size=None):
    """Table: id, x, y (given), x_fit, y_fit, x_err, y_err, fwhm, fwhm_err, flux, flag. Gaussian fits by photutils."""
    raise NotImplementedError


def growth_curve(data, positions, radii, *, annulus=None, noise=None, mask=None):
    """Table, a row per radius: radius, flux (median over sources, normalised to the largest radius), flux_low,
    flux_high, n."""
    raise NotImplementedError
