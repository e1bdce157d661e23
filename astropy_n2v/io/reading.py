# Licensed under a 3-clause BSD style license - see LICENSE
"""
Images of FITS files with all that belongs to them.
"""

import logging
import os
from functools import partial

import numpy as np
from astropy import units as u
from astropy.nddata import CCDData, InverseVariance, NDUncertainty, StdDevUncertainty, VarianceUncertainty

from ..utils.names import printable
from ..utils.scratch import blockwise, copy_where, is_large
from ..utils.warn import warn_user
from .axes import read_wcs
from .conventions import KINDS, card_text, is_background_noise, meaning_of
from .flags import read_mask
from .headers import merge_headers, parse_unit
from .neighbours import files_beside, image_beside
from .sections import load, section_of
from .select import companions, hdu_label, misfits, science_hdus
from .source import FitsSource
from .user_planes import broadcast, find_given

__all__ = ['read_fits_images']

log = logging.getLogger(__name__)

_UNCERTAINTIES = {'std': StdDevUncertainty, 'var': VarianceUncertainty, 'ivar': InverseVariance}
_POWERS = {'std': 1, 'var': 2, 'ivar': -2}   # of the unit of the data


def _read_uncertainty(hdu, primary, unit, ndim, named=None):
    """Read an uncertainty from its HDU, for data in some unit."""
    label = f'{hdu.name},{hdu.ver}'
    role = meaning_of(hdu, primary).role
    kind, own = _kind_and_unit(hdu, role if role in KINDS else named, unit, label)
    if kind is None:
        kind = 'std'
        log.info('%s: nothing says what kind of uncertainty it is; taken for standard deviations', label)
    if is_background_noise(hdu.name):
        warn_user(f'{label} is by its name the noise of the background alone, and the noise of bright sources is '
                  'larger; give gain, or an uncertainty of all of the noise')
    array = load(hdu)
    if not is_large(array.shape, np.uint8):
        array = np.array(array)   # astropy keeps its own
    return _UNCERTAINTIES[kind](_drop_axes(array, ndim), copy=False, unit=own)


def _kind_and_unit(hdu, role, unit, label):
    """Find the kind and the unit of an uncertainty from its role and its BUNIT; None where nothing says so."""
    kind = role if role in KINDS else None
    own = parse_unit(hdu.header['BUNIT']) if card_text(hdu.header, 'BUNIT') else u.dimensionless_unscaled
    if own == u.dimensionless_unscaled:
        return kind, None
    fitting = [name for name, power in _POWERS.items() if own.is_equivalent(unit ** power)]
    if fitting and kind in (None, 'std'):
        return fitting[0], own   # nobody squares a unit by mistake
    if kind in fitting:
        return kind, own
    warn_user(f'{label} has the unit {own}, which does not fit data in {unit}; it is taken to be in the unit of '
              'the data')
    return kind, None


def _drop_axes(array, ndim):
    """Drop the first axes of one element, such as planes that are stored as cubes have."""
    while array.ndim > ndim and array.shape[0] == 1:
        array = array[0]
    return array


def _read_data(hdu):
    """
    Read the data of an image, NaN where they are BLANK.

    astropy compares BLANK with signed integers only, and not if it is 0; in unsigned integers, which are stored as
    signed ones plus 2**15 or 2**31, blank pixels would pass for data.
    """
    header = hdu.header
    blank, zero = header.get('BLANK'), header.get('BZERO', 0)
    if isinstance(blank, bool) or not isinstance(blank, int) or header['BITPIX'] < 0:
        return load(hdu)
    if header['BITPIX'] == 8 and zero == -128 and header.get('BSCALE', 1) == 1:
        hdu._blank = None   # astropy fails to set signed bytes to NaN
    data = load(hdu)
    if data.dtype.kind in 'iu':
        bad = blockwise(lambda part: part == blank + int(zero), data)
        if not bad.any():
            return data
        data = blockwise(lambda part: part, data, dtype=np.float32 if data.dtype.itemsize < 4 else np.float64)
    elif blank == 0:
        bad = blockwise(lambda part: part == data.dtype.type(zero), data)
    else:
        return data
    copy_where(bad, np.broadcast_to(np.float32(np.nan), data.shape), data)
    return data


def read_image(source, index, ignore_bits, *, mask=None, uncertainty=None, wcs=False, section=None):
    """
    Read an image with its uncertainty and mask.

    Parameters
    ----------
    source : FitsSource
        The file.
    index : int
        Position of the image.
    ignore_bits : int, str, list of int or None
        See `read_fits_images`.
    mask, uncertainty : optional
        See `read_fits_images`.
    wcs : bool, optional
        Whether to read the WCS.
    section : tuple of int or slice, optional
        Index of a part of the image, slices of rows and columns last; nothing else is read of it and of what belongs to
        it. It does not go with ``mask``, ``uncertainty`` and ``wcs``.

    Returns
    -------
    `~astropy.nddata.CCDData`
        The image.

    Raises
    ------
    OSError, ValueError
        See `read_fits_images`.
    """
    hdus = source.hdus
    hdu = hdus[index]
    header = merge_headers(hdu.header, hdus[0].header if index else None)
    unit = _read_unit(source, header)
    errors, flags = companions(hdus, index)
    log.info('HDU %s: %s, unit %s, uncertainty %s, mask %s', hdu_label(hdu, index), 'x'.join(map(str, hdu.shape)),
             unit, *('none' if i is None else hdu_label(hdus[i], i) for i in (errors, flags)))
    if errors is None and uncertainty is None or flags is None and mask is None:
        for i in misfits(hdus, index):
            source.say(log, f'HDU {hdu_label(hdus[i], i)} is not used: its shape, {hdus[i].shape}, differs from '
                            f'{hdu.shape} of HDU {hdu_label(hdu, index)}')
    if section is None and not source.agrees_with_sum(index):
        source.say(log, f'DATASUM of HDU {hdu_label(hdu, index)} does not agree with its data: they are damaged, or '
                        'were changed by a program that left the card as it was')
    part = section_of(hdu, section)
    data = _read_data(part)
    with_flags = partial(_read_flags, ignore_bits=ignore_bits, header=header, hdus=hdus, data=data)
    own_mask = None
    if flags is not None and ignore_bits is not None:
        own_mask = broadcast(with_flags(section_of(hdus[flags], section), hdus[0].header), part.shape)
    if mask is not None:
        more = find_given('mask', mask, source, index, with_flags)
        own_mask = more if own_mask is None else own_mask | more
    if uncertainty is not None:
        uncertainty = find_given('uncertainty', uncertainty, source, index,
                                 partial(_uncertainty_of, unit=unit, ndim=data.ndim))
    elif errors is not None:
        uncertainty = _read_uncertainty(section_of(hdus[errors], section), hdus[0].header, unit, data.ndim)
        uncertainty = broadcast(uncertainty, part.shape)
    _point_to_neighbours(source, uncertainty is None, own_mask is None)
    ccd = CCDData(data, unit=unit, meta=header, wcs=read_wcs(header, hdus) if wcs else None,
                  uncertainty=uncertainty, mask=own_mask)
    # The data live on in ccd only, so that they go when it goes.
    for i in (index, errors, flags):
        if i is not None and section is None:
            del hdus[i].data
    return ccd


def _point_to_neighbours(source, without_uncertainty, without_mask):
    """Say which other files seem to hold the uncertainty and the mask of an image that has none."""
    if source.quiet:
        return
    image = image_beside(source.path)
    if image is not None:
        source.say(log, f'by its name, it belongs to {printable(os.path.basename(image))} and is no image of the sky: '
                        'leave it out if so')
        return
    kinds = {'std': 'standard deviations', 'var': 'variances', 'ivar': 'inverse variances'}
    for path, role in files_beside(source.path):
        name = printable(os.path.basename(path))
        if role in kinds and without_uncertainty:
            source.say(log, f'{name} seems to have its {kinds[role]}; to use them, give '
                            f'uncertainty={printable(path)!r} (--uncertainty)')
        elif role == 'bad' and without_mask:
            source.say(log, f'{name} seems to be its mask; to use it, give mask={printable(path)!r} (--mask)')


def _read_flags(given, primary, named=None, *, ignore_bits, header, hdus, data):
    """Read a mask from an HDU, or take an array for one."""
    if not hasattr(given, 'header'):
        return np.asarray(given, dtype=bool)
    role = meaning_of(given, primary).role
    mask = read_mask(given, 0 if ignore_bits is None else ignore_bits, role='good' if role == 'good' else 'bad',
                     header=header, names=[hdu.name for hdu in hdus], data=data)
    return _drop_axes(mask, data.ndim)


def _uncertainty_of(given, primary, named, *, unit, ndim):
    """Read an uncertainty from an HDU, or take an array for standard deviations."""
    if isinstance(given, NDUncertainty):
        return given
    if hasattr(given, 'header'):
        return _read_uncertainty(given, primary, unit, ndim, named)
    return StdDevUncertainty(np.asarray(given), unit=getattr(given, 'unit', None))


def _read_unit(source, header):
    """The unit of an image; what had to be guessed is said once for each file."""
    if 'BSOFTEN' in header and 'BOFFSET' in header:
        source.say(log, 'BSOFTEN and BOFFSET say that the values are inverse hyperbolic sines of the flux, as in '
                        'stacks of Pan-STARRS: denoise BOFFSET + 2 * BSOFTEN * sinh(data / 1.0857362)')
        return u.mag
    text = header.get('BUNIT')
    unit = parse_unit(text)
    if not str(text or '').strip():
        source.say(log, 'no BUNIT: the data are taken to be in adu')
    elif unit == u.dimensionless_unscaled and u.Unit(str(text), parse_strict='silent') != unit:
        source.say(log, f'BUNIT {text!r} is no known unit: the data are treated as if they had none')
    return unit


def read_fits_images(path, ext=None, *, ignore_bits=0, mask=None, uncertainty=None):
    """
    Read the science images of a FITS file.

    Parameters
    ----------
    path : str or path-like
        FITS file; it may be compressed as a whole or tile by tile.
    ext : int, str, tuple or list of these, optional
        Which HDUs: see `~astropy_n2v.io.science_hdus`.
    ignore_bits : int, str, list of int or None, optional
        Bits of the quality plane that do not make a pixel bad: their sum, a list, or text such
        as '16,64' (see `astropy.nddata.bitmask.interpret_bit_flags`) or, where the header of the
        plane names them, 'SUSPECT,EDGE'. `None`: no pixel is bad. Bits that are known to inform
        only, such as MP_DETECTED or what is not DO_NOT_USE in files of JWST, never make one bad.
    mask : array_like of bool, str or path-like, optional
        A mask in addition to the one in the file: an array, a FITS file (``mask.fits`` or
        ``mask.fits[EXT]``), or an extension of ``path`` itself. Of a file or an extension bits
        count as in the mask of the file; of several extensions, the one with the EXTVER of the image is
        taken.
    uncertainty : array_like, `~astropy.nddata.NDUncertainty`, str or path-like, optional
        An uncertainty in place of the one in the file: an array of standard deviations or, as for
        ``mask``, a FITS file or an extension. Its name, UTYPE, HDUCLAS3 or BUNIT says if it is a
        variance or an inverse variance; else it is taken for standard deviations.

    Returns
    -------
    list of `~astropy.nddata.CCDData`
        One for each image. The header has the cards of the primary header under the cards of the
        image. Uncertainty and mask are the extensions that belong to it, see
        `~astropy_n2v.io.companions`. BLANK pixels are NaN.

    Raises
    ------
    OSError
        If the file does not exist, is not FITS or is truncated.
    ValueError
        If it has no (such) science image, or the mask does not fit.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from pathlib import Path
    >>> from astropy.io import fits
    >>> from astropy_n2v.io import read_fits_images
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = Path(directory) / 'raw.fits'
    ...     fits.writeto(path, np.ones((16, 24), dtype='u2'), fits.Header({'GAIN': 1.9}))
    ...     (ccd,) = read_fits_images(path)
    >>> ccd.shape, str(ccd.unit), ccd.header['GAIN']
    ((16, 24), 'adu', 1.9)
    """
    with FitsSource(path) as source:
        return [read_image(source, i, ignore_bits, mask=mask, uncertainty=uncertainty, wcs=True)
                for i in science_hdus(source.hdus, ext)]
