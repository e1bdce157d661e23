# Licensed under a 3-clause BSD style license - see LICENSE
"""
Stripes of the read-out: noise that whole rows or columns share.
"""

import numpy as np

from ..exceptions import CannotDenoiseError
from .blocks import valid_image
from .correlation import correlation_of_differences

__all__ = ['stripe_fraction']

# Lags along a stripe, in pixels: beyond any hole, beyond what a star or a cosmic ray spans.
_LAGS = (16, 20, 25, 31, 38, 46)
# In white noise the fraction scatters by this over the root of the number of pixels.
_SCATTER = 0.8


def stripe_fraction(data, mask=None):
    """
    The share of the noise variance that rows, or columns, have in common.

    Measured on differences of fourth order across the stripes, in which sources hardly show,
    as their correlation along the stripes over many pixels. Stripes that vary slowly from one to
    the next are not seen.

    Parameters
    ----------
    data : array_like, `~astropy.units.Quantity` or `~astropy.nddata.NDData`
        Image of shape (ny, nx).
    mask : array_like of bool, optional
        True where the data are not to be used, in addition to the mask of an NDData.

    Returns
    -------
    rows, columns : float
        0 where nothing significant is found, or the image is too small to tell.

    Raises
    ------
    ValueError
        If ``data`` is not two-dimensional.
    CannotDenoiseError
        If no pixel is valid.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.noise import stripe_fraction
    >>> rng = np.random.default_rng(0)
    >>> rows, columns = stripe_fraction(rng.normal(size=(256, 256)) + 0.3 * rng.normal(size=(256, 1)))
    >>> bool(abs(rows - 0.08) < 0.02), columns
    (True, 0.0)
    """
    image = valid_image(data, mask)
    scale = np.nanstd(image)
    if not scale > 0:
        raise CannotDenoiseError('data is constant: it has no noise')
    image = (image - np.nanmean(image)) / scale
    return _along_rows(image), _along_rows(image.T)


def _along_rows(image):
    if image.shape[1] < 2 * _LAGS[-1] or image.shape[0] < 16:
        return 0.0
    values = correlation_of_differences(image, _LAGS, orders=(4,))
    if values is None:
        return 0.0
    certain = 5 * _SCATTER / np.sqrt(np.count_nonzero(np.isfinite(image)))
    fraction = float(np.mean(values))
    # One stripe stands for all its length, structure for less and less of it.
    return fraction if fraction > certain and values.min() > 0.5 * fraction else 0.0
