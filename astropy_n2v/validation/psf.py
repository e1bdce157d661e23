# Licensed under a 3-clause BSD style license - see LICENSE
"""
The point-spread function of a frame.
"""

__all__ = ['PSF', 'measure_psf']


class PSF:
    """
    A point-spread function (frozen dataclass): ``model`` (photutils/astropy 2-D model with flux, x_0, y_0), ``stamp``
    (odd 2-D array, sum 1), ``fwhm``, ``fwhm_error`` (pixels), ``n_stars``, ``method``.

    ``PSF.from_any(psf)`` takes a PSF, a stamp (array), or a photutils model; every ``psf`` argument of this subpackage
    goes through it.
    """


def measure_psf(ccd, *, method='epsf', fwhm=None, n_stars=50, size=25, threshold=30.0, mask=None, stars=None):
    """
    Measure the PSF on the bright, isolated stars of a frame -> `PSF`.

    method: 'epsf' (photutils EPSFBuilder), 'moffat' or 'gaussian' (fits of each star with astropy.modeling).
    ``stars``: table with x, y, instead of found ones.
    """
    raise NotImplementedError
