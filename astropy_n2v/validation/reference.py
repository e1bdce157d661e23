# Licensed under a 3-clause BSD style license - see LICENSE
"""
References from the sky: a deeper image, or the other exposures of a series.
"""

__all__ = ['LinearScale', 'align_reference', 'cross_error', 'fit_scale', 'judge_exposures']

from dataclasses import dataclass


@dataclass(frozen=True)
class LinearScale:
    """image = slope * reference + offset: slope, slope_err, offset, offset_err, n; apply(reference) -> array/CCDData."""

    slope: float
    slope_err: float
    offset: float
    offset_err: float
    n: int


def align_reference(reference, frame, *, pixel_values='flux', method='exact', min_coverage=0.99):
    """CCDData of reference on the grid of frame (both with WCS), masked outside its footprint. ``pixel_values``:
    'flux' (per pixel: scaled by the ratio of pixel areas) or 'surface_brightness'. ``method``: 'exact', 'adaptive' or
    'interp' (reproject). ValueError without overlap or WCS."""
    raise NotImplementedError


def fit_scale(reference, frame, *, second=None, mask=None, fit_slope=True):
    """LinearScale, robust; with ``second`` (an independent reference) free of the attenuation by noise."""
    raise NotImplementedError


def cross_error(image, first, second, *, select=None, mask=None, block=16, confidence=0.6827, n_resamples=1000,
                seed=None):
    """Estimate of mean((image - first)(image - second)): mean square error without the references' noise."""
    raise NotImplementedError


def judge_exposures(frames, results, *, noise=None, scale=True, selection=None, bins=None, mask=None,
                    confidence=0.6827, n_resamples=1000, seed=None):
    """Table, rows exposure x brightness bin: exposure, brightness_low, brightness_high, n, mse_before, mse_after (in
    sigma**2 of the sky, each with _low, _high), ratio (mse_before / mse_after, + _low, _high), offset (mean error of
    after in sigma, + _low, _high). At least four aligned exposures (three with ``selection``)."""
    raise NotImplementedError
