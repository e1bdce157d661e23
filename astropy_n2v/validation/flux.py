# Licensed under a 3-clause BSD style license - see LICENSE
"""
Whether a denoiser preserves flux, positions and sizes of sources.
"""

__all__ = ['SNR_BINS', 'compare_fluxes', 'compare_growth', 'compare_shapes', 'compare_total_flux', 'flux_bias',
           'flux_correlation', 'shape_change']

SNR_BINS = (0, 3, 5, 10, 30, 100, float('inf'))


def compare_fluxes(before, after, positions, *, truth=None, true_flux=None, method='aperture', radius=None, psf=None,
                   annulus=None, noise=None, mask=None):
    """
    Table, one row per source: id, x, y, flux_before, err_before, flux_after, err_after (summed variances of after,
    NaN without), flux_true (NaN without truth), snr (of truth where there is one), flag.

    ``truth``: image without noise, or a deeper aligned reference. ``true_flux``: fluxes (n,), of a catalogue.
    meta: method, radius, annulus, snr_from ('truth', 'catalogue' or 'before': then low S/N is selected on the noise
    that is judged, and bins below 10 are no evidence).
    """
    raise NotImplementedError


def flux_bias(sources, *, bins=SNR_BINS, confidence=0.6827, n_resamples=1000, seed=None):
    """
    Table, a row per S/N bin and first one of all: snr_low, snr_high, n, snr (median), and each with _low, _high:
    bias = median((F_after - F_before) / F_true), bias_truth = median((F_after - F_true) / F_true) (NaN without),
    scatter_before, scatter_after (robust, of (F - F_true) / err_before), pull_before, pull_after (median),
    pull_rms_before, pull_rms_after ((F - F_true) / own quoted error).
    """
    raise NotImplementedError


def flux_correlation(sources, *, against='truth', confidence=0.6827, n_resamples=1000, seed=None):
    """Table, a row per measure: measure ('pearson', 'pearson_log', 'spearman', 'slope', 'intercept'), value, low,
    high, expected (1 or 0), n."""
    raise NotImplementedError


def compare_growth(before, after, positions, radii, *, truth=None, annulus=None, mask=None, confidence=0.6827,
                   n_resamples=1000, seed=None):
    """Table, a row per radius: radius, growth_before, growth_after, growth_true, change = median of
    (F_after(r) - F_before(r)) / F_true(r_max), change_low, change_high, n."""
    raise NotImplementedError


def compare_total_flux(before, after, *, truth=None, noise=None, mask=None):
    """Table of one row: total_before, total_after, total_true, total_err, difference (after - before),
    difference_err, relative_difference (over the flux of sources), relative_difference_err, significance, n_pixels."""
    raise NotImplementedError


def compare_shapes(before, after, positions, *, fwhm, truth=None, snr=None, noise=None, mask=None):
    """Table, one row per source: id, x, y, snr, dx, dy, shift (after - before, or - truth where there is one),
    fwhm_before, fwhm_after, fwhm_true, fwhm_ratio (after over truth or before), flag."""
    raise NotImplementedError


def shape_change(sources, *, bins=SNR_BINS, confidence=0.6827, n_resamples=1000, seed=None):
    """Table, a row per S/N bin and first one of all: snr_low, snr_high, n, dx, dy, fwhm_ratio (medians), scatter_dx,
    scatter_dy each with _low, _high."""
    raise NotImplementedError
