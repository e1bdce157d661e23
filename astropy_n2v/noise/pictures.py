# Licensed under a 3-clause BSD style license - see LICENSE
"""
Images that are pictures: of 8 bits, compressed, debayered, stretched.
"""

import re

import numpy as np

from .brightness import channel_noise, fine_noise, is_structured, noise_where_bright, white_noise
from .phases import has_compression_blocks, interpolation_period
from .stripes import mosaic_contrast

__all__ = ['is_colour_cube', 'is_debayered_nebula', 'noise_of_picture', 'stretched_noise', 'was_stretched']

_SMALLEST = 32   # pixels along each axis of a picture
_TOP = 255       # the largest value of 8 bits
# As programs write into HISTORY that they stretched: Siril ("Asinh Transformation", "Histogram Transf.", "GHS ..."),
# PixInsight ("HistogramTransformation"), and others.
_STRETCHED = re.compile(r'stretch|asinh|histogram *transf|\bGH[ST]\b', re.IGNORECASE)
# Ratio of the noise of the brightest parts to the background, below which it falls for certain; below which it does not
# grow. In simulated linear frames of stars and of nebulae it was 1.1 to 1.9, in stretched ones 0.3 to 1.
_FALLS, _GROWS = 0.7, 1.05
# The same ratio from which on an image of 8 bits with white noise is a linear frame: in simulated frames of 3 and 20
# electrons a unit it was 1.1 to 2.6, in stretched pictures that were not compressed 0.1 to 1.2.
_LINEAR = 1.2
# Share of the range of values that a picture reaches at least, and how many times the noise of its background fits into
# the range above: on simulated stretched pictures 20 to 35, in linear frames from 40 (few counts) to thousands.
_REACHED, _RANGE = 0.9, 50.0
# Names of a third axis of colours.
_COLOURS = re.compile(r'|RGB.*|COLOU?RS?|CHANNELS?|BANDS?', re.IGNORECASE)
_MOSAIC = 0.5    # least difference of the levels of colours in units of the noise, as for a frame without a header


def is_colour_cube(shape, header):
    """
    Check if the planes of an image are red, green and blue.

    Parameters
    ----------
    shape : tuple of int
        Shape of the data.
    header : mapping
        Header or other metadata.

    Returns
    -------
    bool
        True for the shape (3, ny, nx), unless the header gives the first axis a type, a unit or a step, as cubes of
        spectra and polarisation have.

    Examples
    --------
    >>> from astropy_n2v.noise.pictures import is_colour_cube
    >>> is_colour_cube((3, 64, 64), {}), is_colour_cube((3, 64, 64), {'CTYPE3': 'FREQ'})
    (True, False)
    """
    if len(shape) != 3 or shape[0] != 3:
        return False
    kind = str(header.get('CTYPE3', '')).strip()
    step = header.get('CDELT3', header.get('CD3_3', 1))
    return bool(_COLOURS.fullmatch(kind)) and not str(header.get('CUNIT3', '')).strip() and step in (0, 1)


def was_stretched(planes, header):
    """
    Check if the planes of a colour image were stretched.

    Parameters
    ----------
    planes : list of SkySample
        Red, green and blue.
    header : mapping
        Header or other metadata.

    Returns
    -------
    bool
        True if HISTORY says so; or if, in one of them, bright parts have less noise than the background; or if they
        have no more, and the range, from 0 to 1 or to the largest integer of 16 bits, is filled, and has room for no
        more than 50 times the noise.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.noise import SkySample
    >>> from astropy_n2v.noise.pictures import was_stretched
    >>> linear = np.random.default_rng(0).poisson(np.repeat([100, 100, 100, 400], 32)[:, None] * np.ones(128)) / 1000
    >>> mask = np.zeros(linear.shape, bool)
    >>> [was_stretched([SkySample(image, mask)], {}) for image in (linear, np.arcsinh(30 * linear) / 4)]
    [False, True]
    >>> was_stretched([SkySample(linear, mask)], {'HISTORY': 'Asinh Transformation'})
    True
    """
    if _STRETCHED.search(str(header.get('HISTORY', ''))):
        return True
    ratios = [noise_where_bright(sky.values, sky.mask) for sky in planes]
    return any(ratio < _FALLS or ratio < _GROWS and _fills_range(sky) for sky, ratio in zip(planes, ratios))


def _fills_range(sky):
    """Check if an image fills the range of its values, whose noise is no small part of it."""
    valid = sky.values[~np.asarray(sky.mask)]
    if not valid.size or valid.min() < 0:
        return False
    least, most = sky.level, float(np.max(sky.values[np.isfinite(sky.values)]))
    top = next((top for top in (1, 65535) if most <= top), 0)
    return bool(most > _REACHED * top and top - least < _RANGE * fine_noise(sky.values, sky.mask))


def is_debayered_nebula(sky):
    """
    Check if an image has interpolated noise in nebulosity that fills it.

    Then the phases of an interpolation are no images of their own: each would lose what their light has in common.

    Parameters
    ----------
    sky : SkySample
        Image of shape (ny, nx).

    Returns
    -------
    bool
        True if it has.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.noise import SkySample
    >>> from astropy_n2v.noise.pictures import is_debayered_nebula
    >>> is_debayered_nebula(SkySample(np.random.default_rng(0).normal(size=(64, 64)), np.zeros((64, 64), bool)))
    False
    """
    return (min(sky.values.shape) >= _SMALLEST and interpolation_period(sky.values, sky.mask) > 1
            and is_structured(sky.values, sky.mask) and not mosaic_contrast(sky.values, sky.mask, least=_MOSAIC))


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
        if the image does not look like a picture: of 8 bits (integers that are no photons, or their 255th parts), or
        with the blocks of JPEG; or if it is a mosaic of colours; or of 8 bits and linear, with white noise that grows
        with brightness, as from a guide camera.

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
    if min(sky.values.shape) < _SMALLEST or not (
            _has_8_bits(sky, eight_bits) and not _is_linear(sky) or has_compression_blocks(sky.values, sky.mask)):
        return None
    if mosaic_contrast(sky.values, sky.mask, least=_MOSAIC):
        return None
    return stretched_noise(sky)


def stretched_noise(sky):
    """
    Measure the noise of an image at each brightness, not less than of its rounding.

    Parameters
    ----------
    sky : SkySample
        Image of shape (ny, nx).

    Returns
    -------
    NoiseModel
        From `~astropy_n2v.noise.brightness.channel_noise`.

    Raises
    ------
    CannotDenoiseError
        If there is no noise, or no pixel to measure it on.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.noise import SkySample
    >>> from astropy_n2v.noise.pictures import stretched_noise
    >>> image = np.random.default_rng(0).normal(100, 5, (64, 64))
    >>> stretched_noise(SkySample(image, np.zeros(image.shape, bool))).sigma.shape
    (64, 64)
    """
    return channel_noise(sky.values, sky.mask, floor=0.0 if sky.steps is None else sky.steps.step / np.sqrt(12))


def _has_8_bits(sky, integers):
    """Check for the values of 8 bits."""
    if integers:
        return sky.photons() is None
    valid = sky.values[~np.asarray(sky.mask)]
    if not valid.size or not 0 <= valid.min() <= valid.max() <= 1:
        return False
    return sky.steps is not None and abs(sky.steps.step * _TOP - 1) < 1e-3


def _is_linear(sky):
    """Check if white noise grows with brightness: as photon noise does, and hardly after a stretch."""
    return noise_where_bright(sky.values, sky.mask) > _LINEAR and white_noise(sky.values, sky.mask) is not None
