# Licensed under a 3-clause BSD style license - see LICENSE
"""
Read the cards of an exposure from the header of an image.
"""

import re
import warnings

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io.fits import VerifyError
from astropy.time import Time
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales

from ..config import conf
from ..io.headers import ADU_LIKE, header_value, parse_unit
from ..noise import FrameGroup, header_gain

__all__ = ['exposure_cards', 'sky_position', 'stored_type']

_EXPOSURES = 'EXPTIME', 'EXPOSURE', 'ITIME', 'ELAPTIME', 'TEXPTIME', 'EXP_TIME'
_TYPES = 'IMAGETYP', 'OBSTYPE', 'IMAGETYPE', 'FRAME', 'IMGTYPE'
_TIMES = 'TIME-OBS', 'UT', 'UTC-OBS', 'UTSTART', 'UTC'
_CLOCK = re.compile(r'\d{1,2}:\d{2}(:\d{2}(\.\d*)?)?')


def _text(header, *keywords):
    """The first of some cards that says something, in one line."""
    for keyword in keywords:
        try:
            text = ' '.join(str(header.get(keyword, '')).split())
        except VerifyError:   # the text is not a card
            continue
        if text:
            return text
    return ''


def exposure_cards(header, sky=None):
    """
    Read the cards of a header that describe an exposure.

    Parameters
    ----------
    header : `~astropy.io.fits.Header`
        Header of the image, with the cards of the primary header.
    sky : `~astropy_n2v.noise.SkyNoise`, optional
        The noise of the image, against which the gain is checked.

    Returns
    -------
    dict
        Columns of a catalogue.

    Examples
    --------
    >>> from astropy.io import fits
    >>> from astropy_n2v.collections.headers import exposure_cards
    >>> cards = exposure_cards(fits.Header({'INSTRUME': 'CAM', 'EXPTIME': 30, 'DATE-OBS': '2025-03-01T04:05:06'}))
    >>> cards['instrument'], cards['exptime'], cards['date']
    ('CAM', 30.0, '2025-03-01T04:05:06.000')
    """
    unit = parse_unit(header.get('BUNIT'))
    gain = None
    if unit in ADU_LIKE or unit == u.dimensionless_unscaled:
        gain = header_gain(sky, header)[1]   # of other units it does not hold any more
    numbers = {'exptime': header_value(header, _EXPOSURES)[1], 'gain': gain,
               'readnoise': header_value(header, conf.readnoise_keywords)[1]}
    return {'unit': str(unit), 'telescope': _text(header, 'TELESCOP'), 'instrument': _text(header, 'INSTRUME'),
            'filter': FrameGroup.of(header, unit).filter, 'object': _text(header, 'OBJECT'),
            'imagetype': _text(header, *_TYPES), 'date': _date(header),
            **{name: float(value) for name, value in numbers.items() if value is not None}}


def _date(header):
    """Start of the exposure, as in FITS; as it is written where that cannot be understood."""
    text = _text(header, 'DATE-OBS')
    if not text:
        day = header_value(header, ['MJD-OBS'])[1]
        return '' if day is None else Time(day, format='mjd').isot
    if 'T' not in text:
        clock = _CLOCK.search(_text(header, *_TIMES))
        text += f'T{clock[0]}' if clock else ''
    try:
        return Time(text, format='fits' if 'T' in text else 'iso').isot
    except ValueError:
        return text


def sky_position(header, hdus, shape):
    """
    Find the place on the sky and the scale of an image.

    Parameters
    ----------
    header : `~astropy.io.fits.Header`
        Header of the image.
    hdus : `~astropy.io.fits.HDUList`
        Its file, which may have tables of distortions.
    shape : tuple of int
        Rows and columns.

    Returns
    -------
    dict
        Right ascension and declination of the middle in degrees and the scale in arcsec; empty if there is no
        WCS of the sky.
    """
    if not _text(header, 'CTYPE1'):
        return {}
    # The WCS of real files breaks in many ways, and none of them is a reason not to have the image.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            wcs = WCS(header, hdus).celestial
            if wcs.naxis != 2:
                return {}
            x, y = (shape[1] - 1) / 2, (shape[0] - 1) / 2
            if wcs.wcs.ctype[0].startswith('RA'):
                ra, dec = map(float, wcs.all_pix2world(x, y, 0))
            else:
                middle = SkyCoord.from_pixel(x, y, wcs).icrs
                ra, dec = float(middle.ra.deg), float(middle.dec.deg)
            scale = float(np.sqrt(np.prod(proj_plane_pixel_scales(wcs)))) * 3600
    except Exception:
        return {}
    if not np.isfinite([ra, dec, scale]).all() or abs(dec) > 90 or not scale > 0:
        return {}
    return {'ra': ra % 360, 'dec': dec, 'pixel_scale': scale}


def stored_type(header):
    """
    Name the type of the numbers of an image.

    Parameters
    ----------
    header : mapping
        With BITPIX, BZERO and BSCALE.

    Returns
    -------
    str
        Such as 'uint16', or 'float32' where integers stand for others.

    Examples
    --------
    >>> from astropy_n2v.collections.headers import stored_type
    >>> stored_type({'BITPIX': 16, 'BZERO': 32768}), stored_type({'BITPIX': -32})
    ('uint16', 'float32')
    """
    bits, zero = header['BITPIX'], header.get('BZERO', 0)
    if bits < 0:
        return f'float{-bits}'
    if header.get('BSCALE', 1) != 1:
        return 'float32' if bits <= 16 else 'float64'
    if bits == 8:
        return 'int8' if zero == -128 else 'uint8' if zero == 0 else 'float32'
    if zero == 0:
        return f'int{bits}'
    return f'uint{bits}' if zero == 2 ** (bits - 1) else 'float32' if bits <= 16 else 'float64'
