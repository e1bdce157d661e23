# Licensed under a 3-clause BSD style license - see LICENSE
"""
Images that are pictures: of 8 bits, compressed, debayered.
"""

import numpy as np

from .brightness import channel_noise, is_structured
from .phases import has_compression_blocks, interpolation_period
from .stripes import mosaic_contrast

__all__ = ['noise_of_picture']

_SMALLEST = 32   # pixels along each axis of a picture
_TOP = 255       # the largest value of 8 bits
_MOSAIC = 0.5    # least difference of the levels of colours in units of the noise, as for a frame without a header


def noise_of_picture(sky, *, eight_bits=False):
    """
    Measure the noise of an image that looks like a picture.

    Parameters
    ----------
    sky : SkySample
        Image of shape (ny, nx).
    eight_bits : bool, optional
        True if the values were unsigned integers of 8 bits.

    Returns
    -------
    NoiseModel or None
        Standard deviation of each pixel and autocorrelation, from `~astropy_n2v.noise.brightness.channel_noise`. None
        if the image does not look like a picture: of 8 bits (integers that are no photons, or their 255th parts), with
        the blocks of JPEG, or with interpolated noise in nebulosity that fills it; or if it is a mosaic of colours.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.noise import SkySample
    >>> from astropy_n2v.noise.pictures import noise_of_picture
    >>> image = np.random.default_rng(0).normal(100, 5, (64, 64))
    >>> noise_of_picture(SkySample(image, np.zeros(image.shape, bool))) is None
    True
    >>> noise = noise_of_picture(SkySample(np.rint(image) / 255, np.zeros(image.shape, bool)))
    >>> bool(abs(255 * np.median(noise.sigma) - 5) < 0.3)
    True
    """
    image, mask = sky.values, sky.mask
    if min(image.shape) < _SMALLEST or not (
            _has_8_bits(sky, eight_bits) or has_compression_blocks(image, mask)
            or interpolation_period(image, mask) > 1 and is_structured(image, mask)):
        return None
    if mosaic_contrast(image, mask, least=_MOSAIC):
        return None
    return channel_noise(image, mask, floor=0.0 if sky.steps is None else sky.steps.step / np.sqrt(12))


def _has_8_bits(sky, integers):
    """Check for the values of 8 bits."""
    if integers:
        return sky.photons() is None
    valid = sky.values[~np.asarray(sky.mask)]
    if not valid.size or not 0 <= valid.min() <= valid.max() <= 1:
        return False
    return sky.steps is not None and abs(sky.steps.step * _TOP - 1) < 1e-3
