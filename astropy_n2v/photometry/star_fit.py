# Licensed under a 3-clause BSD style license - see LICENSE
"""
Least-squares fits of a star at each pixel of an image: the matched filter.
"""

import numpy as np
from scipy.signal import fftconvolve

__all__ = ['StarFit', 'correlate']


def correlate(image, kernel):
    """Sum an image around each pixel, weighted by a kernel of odd size; zero beyond the edges."""
    return fftconvolve(image, kernel[::-1, ::-1], mode='same')


class StarFit:
    """
    Weighted least-squares fits of the flux of a star at each pixel, alone or together with a constant background.

    The sums of weights are computed once, for all images with this noise.

    Parameters
    ----------
    star : `~numpy.ndarray`
        Image of a star of flux 1 at the centre of the central pixel; odd size.
    weights : `~numpy.ndarray`
        Inverse variance of each pixel, 0 at masked pixels; shape (ny, nx).
    aperture : `~numpy.ndarray`, optional
        Pixels in which a constant background is fitted together with the star (1, else 0), of the shape of ``star``,
        which is 0 outside. By default no background is fitted.

    Attributes
    ----------
    information : `~numpy.ndarray`
        Inverse variance of the flux, shape (ny, nx).

    Notes
    -----
    With weights w, star p and the data d above the background, the flux is ``sum(w p d) / sum(w p**2)``, the filter
    of North (1943). With a constant it becomes the filter of DAOFIND (Stetson 1987, PASP 99, 191), whose kernel sums
    to zero.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.photometry.star_fit import StarFit
    >>> star = np.outer([0.25, 0.5, 0.25], [0.25, 0.5, 0.25])
    >>> image = np.zeros((7, 7))
    >>> image[2:5, 1:4] = 8 * star
    >>> fit = StarFit(star, np.ones((7, 7)))
    >>> float((fit.numerator(image) / fit.information)[3, 2].round(6))
    8.0
    """

    def __init__(self, star, weights, aperture=None):
        self.star, self.weights, self.aperture = star, weights, aperture
        self.information = correlate(weights, star ** 2)
        if aperture is not None:
            self._total = np.maximum(correlate(weights, aperture), 1e-3)
            self._light = correlate(weights, star)
            self.information = self.information - self._light ** 2 / self._total

    def numerator(self, data):
        """
        Fit all pixels of an image.

        Parameters
        ----------
        data : `~numpy.ndarray`
            Finite values, shape (ny, nx).

        Returns
        -------
        `~numpy.ndarray`
            Flux times ``information``.
        """
        weighted = data * self.weights
        result = correlate(weighted, self.star)
        if self.aperture is None:
            return result
        return result - self._light * correlate(weighted, self.aperture) / self._total
