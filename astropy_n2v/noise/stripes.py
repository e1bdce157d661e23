# Licensed under a 3-clause BSD style license - see LICENSE
"""
Stripes of the read-out: noise that whole rows or columns have in common.
"""

import numpy as np

from ..exceptions import CannotDenoiseError
from ..utils.robust import MEDIAN_ABSOLUTE
from .blocks import valid_image
from .differences import correlation_of_differences

__all__ = ['announces_mosaic', 'mosaic_contrast', 'stripe_fraction']

# Lags along a stripe, in pixels: larger than a hole, a star or a cosmic ray.
_LAGS = (16, 20, 25, 31, 38, 46)
# Scatter of the fraction in white noise, times the root of the number of pixels.
_SCATTER = 0.8
# Parts of a row, each tested for light; least deviation of a bright part, in units of the median: 5 sigma.
_SECTIONS, _EXTREME = 4, 7.4
_MOSAIC_KEYWORDS = 'BAYERPAT', 'COLORTYP', 'CFAPAT', 'CFAIMAGE', 'XBAYROFF', 'BAYERIND'
_MIN_MOSAIC = 1000   # least number of pixels of each of the four positions in 2x2 blocks
_MAX_MOSAIC = 60_000   # largest number of pixels that are used


def stripe_fraction(data, mask=None):
    """
    Measure the fraction of the noise variance that rows, or columns, have in common.

    It is the correlation along the stripes, over many pixels, of differences of fourth order across the
    stripes. Sources hardly contribute to these. Stripes that vary slowly from one to the next are not
    detected.

    Parameters
    ----------
    data : array_like, `~astropy.units.Quantity` or `~astropy.nddata.NDData`
        Image of shape (ny, nx).
    mask : array_like of bool, optional
        True where the data are not to be used, in addition to the mask of an NDData.

    Returns
    -------
    rows : float
        The fraction that rows have in common; 0 if it is not significant, or the image is too small.
    columns : float
        The fraction that columns have in common, likewise.

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
    values = correlation_of_differences(np.where(_bright_rows(image)[:, None], np.nan, image), _LAGS, orders=(4,))
    if values is None:
        return 0.0
    certain = 5 * _SCATTER / np.sqrt(np.count_nonzero(np.isfinite(image)))
    fraction = float(np.mean(values))
    # A stripe has one correlation along all its length; the correlation of structure decreases.
    return fraction if fraction > certain and values.min() > 0.5 * fraction else 0.0


def _bright_rows(image):
    """Find rows with light along them, as in a spectrum: stripes have nearly equal size in all rows."""
    found = np.zeros(len(image), dtype=bool)
    # In sections, since a spectrum may be inclined.
    for section in np.array_split(image, _SECTIONS, axis=1):
        some = np.isfinite(section).any(axis=1)
        levels = np.full(len(image), np.nan)
        levels[some] = np.nanmean(section[some], axis=1)
        differences = np.abs(np.diff(levels, 4))
        known = differences[np.isfinite(differences)]
        extreme = differences > _EXTREME * (np.median(known) if known.size else np.inf)
        found |= np.convolve(extreme, np.ones(5)) > 0
    return found


def announces_mosaic(header):
    """
    Check if a header says that an image is a raw mosaic of colour filters.

    Parameters
    ----------
    header : mapping
        Header or other metadata.

    Returns
    -------
    bool
        True if a card names a pattern of filters.

    Examples
    --------
    >>> from astropy_n2v.noise import announces_mosaic
    >>> announces_mosaic({'BAYERPAT': 'RGGB'})
    True
    """
    return any(str(header.get(keyword, '')).strip() not in ('', 'F', 'False', 'NONE') for keyword in _MOSAIC_KEYWORDS)


def mosaic_contrast(data, mask=None, *, least=0.5):
    """
    Measure the differences between the levels of the four pixels of 2x2 blocks, in units of the noise.

    They occur in a raw mosaic of colour filters, and where read-outs of different level alternate.

    Parameters
    ----------
    data : array_like, `~astropy.units.Quantity` or `~astropy.nddata.NDData`
        Image of shape (ny, nx).
    mask : array_like of bool, optional
        True where the data are not to be used, in addition to the mask of an NDData.
    least : float, optional
        Smaller differences are set to zero.

    Returns
    -------
    float
        Difference of the highest and the lowest median, over the scatter of pixels two columns apart;
        0 if it is not significant, or the image is too small.

    Raises
    ------
    ValueError
        If ``data`` is not two-dimensional.
    CannotDenoiseError
        If no pixel is valid.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.noise import mosaic_contrast
    >>> image = np.random.default_rng(0).normal(size=(128, 128))
    >>> mosaic_contrast(image)
    0.0
    >>> image[::2, ::2] += 3
    >>> round(mosaic_contrast(image))
    3
    """
    image = valid_image(data, mask)
    # Complete blocks of some rows are sufficient.
    step = max(1, image.size // _MAX_MOSAIC)
    image = image[:len(image) // 2 * 2].reshape(-1, 2, image.shape[1])[::step].reshape(-1, image.shape[1])
    phases = [image[y::2, x::2] for y in (0, 1) for x in (0, 1)]
    n = min(np.count_nonzero(np.isfinite(phase)) for phase in phases)
    if n < _MIN_MOSAIC:
        return 0.0
    differences = np.abs(image[:, 2:] - image[:, :-2])
    scatter = float(np.nanmedian(differences)) / MEDIAN_ABSOLUTE / np.sqrt(2)
    levels = [np.nanmedian(phase) for phase in phases]
    # Structure scatters medians more than noise does: half of the noise is significant.
    contrast = float(np.ptp(levels)) / scatter if scatter > 0 else 0.0
    return contrast if contrast > max(least, 10 / np.sqrt(n)) else 0.0
