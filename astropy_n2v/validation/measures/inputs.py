# Licensed under a 3-clause BSD style license - see LICENSE
"""
Inputs that all measures share: images of one shape, bins of brightness, smoothing.
"""

import numpy as np
from scipy.ndimage import gaussian_filter

from ...audit.limits import BRIGHTNESS_BINS
from ...background import background_level
from ...photometry.inputs import as_image, noise_sigma

__all__ = ['BRIGHTNESS_BINS', 'SNR_BINS', 'as_images', 'block_labels', 'brightness_in_sigma', 'check_bins',
           'compared_images', 'smooth_good', 'smoothed']

#: Edges of the bins of the signal-to-noise ratio of sources.
SNR_BINS = (0, 3, 5, 10, 30, 100, np.inf)

_SMOOTHING = 2.0   # pixels
_BLOCK = 16   # pixels; errors of a denoised image are correlated over less than that


def as_images(mask=None, **images):
    """
    Convert images to one shape and unit, each NaN where any of them is; None stays None.

    Parameters
    ----------
    mask : array_like of bool, optional
        True where they do not count.
    **images
        Images by the names of the parameters; the first sets shape and unit.

    Returns
    -------
    images : list of `~numpy.ndarray` or None
        In the order given.
    unit : `~astropy.units.Unit` or None
        Of the first.

    Raises
    ------
    ValueError
        If shapes do not agree, or no pixel is valid in all of them.
    """
    result, first, unit = [], None, None
    for name, image in images.items():
        if image is None:
            result.append(None)
            continue
        values, its_unit = as_image(name, image, mask, unit=unit)
        if first is None:
            first, unit = (name, values.shape), its_unit
        elif values.shape != first[1]:
            raise ValueError(f'{name} must have the shape of {first[0]}, {first[1]}, got {values.shape}')
        result.append(values)
    bad = np.logical_or.reduce([np.isnan(values) for values in result if values is not None])
    if bad.all():
        raise ValueError(f'{", ".join(images)} have no valid pixel in common: all are masked or not finite')
    for values in result:
        if values is not None:
            values[bad] = np.nan
    return result, unit


def compared_images(before, after, truth, noise, mask):
    """
    Convert the images of a comparison, and find the noise of the first.

    Parameters
    ----------
    before, after : `~astropy.nddata.CCDData` or array_like
        Images of one shape and unit.
    truth : `~astropy.nddata.CCDData`, array_like or None
        The truth, if it is known.
    noise : `~astropy_n2v.NoiseModel`, float, array_like or None
        Noise of ``before``, as in `noise_sigma`.
    mask : array_like of bool or None
        Pixels to leave out.

    Returns
    -------
    images : list of `~numpy.ndarray`
        The three images.
    sigma : `~numpy.ndarray`
        Standard deviation of the noise of each pixel.
    unit : `~astropy.units.Unit` or None
        Their unit.
    """
    images, unit = as_images(mask, before=before, after=after, truth=truth)
    return images, noise_sigma(noise, before, images[2], unit=unit), unit


def brightness_in_sigma(brightness, sigma):
    """
    Measure the brightness above the background in units of the noise of the sky, and this noise.

    Parameters
    ----------
    brightness : `~numpy.ndarray`
        An image.
    sigma : `~numpy.ndarray`
        Standard deviation of the noise of each pixel.

    Returns
    -------
    brightness : `~numpy.ndarray`
        In units of the noise of the sky.
    sigma_sky : float
        That noise.
    """
    level = background_level(brightness)
    good = np.isfinite(brightness) & np.isfinite(sigma)
    # The darker half of the pixels is sky.
    sky = sigma[good & (brightness <= np.median(brightness[good]))]
    sigma_sky = float(np.median(sky))
    return (brightness - level) / sigma_sky, sigma_sky


def smoothed(values):
    """
    Measure the brightness of each pixel by its surroundings in an image.

    Parameters
    ----------
    values : `~numpy.ndarray`
        The image; not finite pixels do not count.

    Returns
    -------
    `~numpy.ndarray`
        It, smoothed by 2 pixels: the noise of the single pixel hardly matters.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.validation.measures.inputs import smoothed
    >>> image = np.ones((9, 9))
    >>> image[4, 4] = np.nan
    >>> bool(np.allclose(smoothed(image), 1))
    True
    """
    return smooth_good(values, np.isfinite(values), _SMOOTHING)


def smooth_good(values, good, sigma):
    """Compute the Gaussian mean of the good pixels around each pixel."""
    weight = gaussian_filter(good.astype(float), sigma)
    return gaussian_filter(np.where(good, values, 0), sigma) / np.maximum(weight, 1e-9)


def block_labels(shape, size=_BLOCK):
    """
    Number the square blocks of an image, for resampling pixels whose errors are correlated.

    Parameters
    ----------
    shape : tuple of int
        Height and width.
    size : int, optional
        Of a block in pixels.

    Returns
    -------
    `~numpy.ndarray`
        Integers, of that shape.
    """
    size = max(1, min(size, min(shape) // 4))
    y, x = np.indices(shape) // size
    return y * (x.max() + 1) + x


def check_bins(bins, default=BRIGHTNESS_BINS):
    """
    Convert edges of bins to an array, and check them.

    Parameters
    ----------
    bins : sequence of float or None
        Increasing edges.
    default : sequence of float, optional
        Used for None.

    Returns
    -------
    `~numpy.ndarray`
        The edges.

    Raises
    ------
    ValueError
        If they are fewer than two or do not increase.
    """
    edges = np.asarray(default if bins is None else bins, dtype=float)
    if edges.ndim != 1 or edges.size < 2 or not (np.diff(edges) > 0).all():
        raise ValueError(f'bins must be at least two increasing edges, got {bins}')
    return edges
