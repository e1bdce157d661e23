# Licensed under a 3-clause BSD style license - see LICENSE
"""
Injection and recovery: what becomes of artificial sources.
"""

__all__ = ['Recovery', 'bin_recovery', 'inject_and_recover']


class Recovery:
    """
    Frozen dataclass: what was injected, what was found, and what is false.

    ``injected``: Table, a row for each source in each map: ``image`` (name of the map), ``frame`` (number of the
    realisation), ``id``, ``kind``, ``x``, ``y``, ``mag``, ``flux``, ``r_eff``, ``score`` (of its detection, NaN if
    below the floor), ``dx``, ``dy`` (found minus injected, pix), ``flux_found`` (PSF-weighted flux at the injected
    position above the frame without injections, on the noisy frame for 'raw' and 'matched filter', else on the
    denoised one).
    ``false``: Table, a row for each detection where nothing is: ``image``, ``frame``, ``x``, ``y``, ``score``.
    ``area``: Mpix searched in each injected frame x realisations; ``false_area``: Mpix of source-free/flipped frames.
    ``floor``: the lowest score that was searched.

    Recovery.stack([..]) joins those of several frames; ``.write_to(dict)``-free: use the tables.
    """


def inject_and_recover(ccd, denoiser, psf, *, n_realisations=10, n_sources=200, magnitudes=None, zeropoint=0.0,
                       galaxies=0.0, gain=None, noise=None, sigma=None, blank='flip', n_blank=1, radius=None,
                       floor=3.0, spacing=None, avoid=None, mask=None, extra=None, progress=None, seed=None):
    """
    Inject, denoise, find, match -> `Recovery`. blank: where false detections are counted: 'flip' (the frame upside
    down), 'noise' (simulated noise), a list of source-free CCDData, or None. progress: function(done, total).
    """
    raise NotImplementedError


def bin_recovery(recovery, image, *, threshold, bins=8, confidence=0.95):
    """
    Completeness, flux and position of recovered sources in bins of magnitude -> Table: ``mag_lo``, ``mag_hi``,
    ``mag``, ``n``, ``n_detected``, ``completeness``, ``completeness_lo``, ``completeness_hi``, ``flux_bias`` (median
    of (found - injected) / injected, of *all* injected sources), ``flux_bias_error``, ``flux_scatter``, ``dx``,
    ``dx_error``, ``dy``, ``dy_error`` (pix; of the recovered).
    """
    raise NotImplementedError
