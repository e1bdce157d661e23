# Licensed under a 3-clause BSD style license - see LICENSE
"""
The background after denoising: its level, its noise in apertures, the correlation of its noise.
"""

__all__ = ['aperture_noise', 'autocorrelation', 'sky_offset', 'sky_pixels', 'summarize_sky_offset']


def sky_pixels(image, *, sigma=None, mask=None, smoothing=2.0, threshold=3.0, grow=3):
    """Boolean array, True on sky without visible sources, chosen on a smoothed image (truth, reference or output)."""
    raise NotImplementedError


def sky_offset(before, after, *, truth=None, mesh=32, select=None, noise=None, mask=None):
    """Table, a row per mesh cell: x, y (centre), n, offset (mean of after - before, or - truth where there is one),
    offset_err, offset_sigma (over the sky noise of a pixel), significance. meta: sigma, compared_with."""
    raise NotImplementedError


def summarize_sky_offset(cells, *, confidence=0.6827, n_resamples=1000, seed=None):
    """Table of one row: offset, offset_low, offset_high (sigma of a pixel, mean of cells), significance, scatter
    (of cells' significance), worst (largest |offset_sigma|), worst_significance, n."""
    raise NotImplementedError


def aperture_noise(image, *, noise=None, sizes=(1, 2, 3, 5, 7, 9, 13), select=None, truth=None, mask=None,
                   confidence=0.6827, n_resamples=1000, seed=None):
    """Table, a row per square aperture: size, area, n, sigma (of sums), sigma_low, sigma_high, sigma_white
    (sqrt(area) sigma_1), factor (sigma / sigma_white), quoted (summed variances, NaN without), factor_quoted (+ _low,
    _high): what to multiply an error from summed variances with. meta: sigma_pixel, alpha, beta of
    sigma = sigma_1 alpha area**beta."""
    raise NotImplementedError


def autocorrelation(image, *, truth=None, select=None, mask=None, max_lag=8):
    """Table, a row per lag (dy >= 0 half plane without 0): dy, dx, correlation, error (expected scatter for white
    noise), significance, n. meta: array (2-D), chi2, n_lags, p_value, variance, effective_area."""
    raise NotImplementedError
