# Licensed under a 3-clause BSD style license - see LICENSE
"""
Finding sources, and the maps to find them on.
"""

__all__ = ['detection_maps', 'find_residual_sources', 'find_sources', 'flip_frame', 'matched_filter']


def find_sources(image, threshold, *, method='peaks', fwhm=None, mask=None, n_pixels=5, deblend=True, border=0):
    """
    Find sources -> Table with ``id``, ``x``, ``y`` (pix), ``score`` (peak value in the units of the threshold),
    segmentation also ``n_pixels``. An empty table if there is none. Sorted by falling score.

    method: 'peaks' (local maxima of a significance map), 'daofind' (DAOStarFinder, needs fwhm), 'segmentation'.
    """
    raise NotImplementedError


def matched_filter(data, psf, *, sigma=None, background=None, mask=None):
    """
    Significance of a star at each pixel (ndarray), flux / its error. sigma: number, array, NoiseModel or None (measured
    background rms); background: number, array or None (measured on a mesh).
    """
    raise NotImplementedError


def detection_maps(noisy, denoised, psf, *, sigma=None, background=None, extra=None):
    """
    The maps that are compared -> dict name -> ndarray: 'raw', 'matched filter', 'denoised', and, where the denoised
    frame has an uncertainty, 'denoised / uncertainty'; extra: {'name': function(noisy, denoised) -> ndarray}.

    'raw', 'matched filter' and 'denoised' are in the same unit: flux of a star (by its peak pixel, by the filter) over
    the error of the matched filter's flux.
    """
    raise NotImplementedError


def find_residual_sources(noisy, denoised, psf, *, threshold=5.0, sigma=None, mask=None):
    """
    Stars that the denoiser invented or removed: peaks of the matched filter of denoised - noisy.

    -> Table ``x``, ``y``, ``score`` (signed), ``kind`` ('invented' or 'removed'); meta: threshold, area, expected
    (number expected of white noise alone).
    """
    raise NotImplementedError


def flip_frame(ccd, background=None):
    """The frame with its noise and sources turned upside down about the background -> CCDData."""
    raise NotImplementedError
