# Licensed under a 3-clause BSD style license - see LICENSE
"""
Images of FITS files with all that belongs to them.
"""

import logging
import os
import re
import warnings
from collections import Counter
from functools import partial

import numpy as np
from astropy import units as u
from astropy.nddata import CCDData, InverseVariance, NDUncertainty, StdDevUncertainty, VarianceUncertainty
from astropy.nddata.bitmask import bitfield_to_boolean_mask
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS

from .headers import merge_headers, parse_unit
from .select import UNCERTAINTY_NAMES, companions, hdu_label, mask_hdus, science_hdus, uncertainty_hdus
from .source import FitsSource

__all__ = ['read_fits_images']

log = logging.getLogger(__name__)

_UNCERTAINTIES = {'std': StdDevUncertainty, 'var': VarianceUncertainty, 'ivar': InverseVariance}


def read_mask(hdu, ignore_bits):
    """True where a quality plane says that pixels are bad."""
    flags = np.asarray(hdu.data)
    if flags.dtype.kind == 'f' and ignore_bits and (np.isfinite(flags) & (flags == np.trunc(flags))).all():
        flags = flags.astype(np.int64)   # flags that something has made floating-point numbers of
    if flags.dtype.kind not in 'iu':
        return flags.astype(bool)
    if flags.dtype.kind == 'i' and flags.dtype.byteorder == '>':
        flags = flags.astype(flags.dtype.newbyteorder('='))
    mask = bitfield_to_boolean_mask(flags, ignore_flags=ignore_bits, good_mask_value=False, dtype=bool)
    share = mask.mean()
    if share > 0.5:
        bits = Counter({1 << bit: int(np.count_nonzero(flags[mask] & (1 << bit)))
                        for bit in range(8 * flags.dtype.itemsize - (flags.dtype.kind == 'i'))})
        common = ', '.join(f'{bit} ({100 * n / mask.size:.0f} %)' for bit, n in bits.most_common(3) if n)
        warnings.warn(f'{hdu.name},{hdu.ver} masks {100 * share:.0f} % of the image, most by the bits {common}; '
                      'if some of them are harmless, name them in ignore_bits', AstropyUserWarning, stacklevel=4)
    return mask


def _read_uncertainty(hdu, unit, shape):
    """An uncertainty from its HDU, for data in some unit; that of one plane is that of all planes of a cube."""
    kind = UNCERTAINTY_NAMES.get(hdu.name.upper(), 'std')
    kinds = {cls.__name__: name for name, cls in _UNCERTAINTIES.items()}
    kind = kinds.get(str(hdu.header.get('UTYPE')), kind)
    own = hdu.header.get('BUNIT')
    power = {'std': 1, 'var': 2, 'ivar': -2}[kind]
    own = parse_unit(own) if own else None
    if own is not None and own != u.dimensionless_unscaled and not own.is_equivalent(unit ** power):
        warnings.warn(f'{hdu.name},{hdu.ver} has the unit {own}, which does not fit data in {unit}; it is taken to be '
                      'in the unit of the data', AstropyUserWarning, stacklevel=4)
        own = None
    if own is not None and own == u.dimensionless_unscaled:
        own = None
    return _UNCERTAINTIES[kind](np.array(np.broadcast_to(hdu.data, shape)), unit=own)


def _read_wcs(header, hdus):
    # The WCS of real files breaks in many ways, and none of them is a reason not to have the image.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            wcs = WCS(header, hdus)
        return wcs if any(wcs.wcs.ctype) else None
    except Exception as error:
        log.info('no WCS: %s', error)
        return None


def read_image(source, index, ignore_bits, *, mask=None, uncertainty=None, wcs=False):
    """
    An image with its uncertainty and mask as a CCDData.

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
    """
    hdus = source.hdus
    hdu = hdus[index]
    header = merge_headers(hdu.header, hdus[0].header if index else None)
    unit = _read_unit(source, header)
    errors, flags = companions(hdus, index)
    log.info('HDU %s: %s, unit %s, uncertainty %s, mask %s', hdu_label(hdu, index), 'x'.join(map(str, hdu.shape)),
             unit, *('none' if i is None else hdu_label(hdus[i], i) for i in (errors, flags)))
    own_mask = None
    if flags is not None and ignore_bits is not None:
        own_mask = np.broadcast_to(read_mask(hdus[flags], ignore_bits), hdu.shape)
    if mask is not None:
        more = _find_given('mask', mask, source, index, partial(_mask_of, ignore_bits=ignore_bits))
        own_mask = more if own_mask is None else own_mask | more
    own_mask = None if own_mask is None else np.array(own_mask)
    if uncertainty is not None:
        uncertainty = _find_given('uncertainty', uncertainty, source, index, partial(_uncertainty_of, unit=unit))
    elif errors is not None:
        uncertainty = _read_uncertainty(hdus[errors], unit, hdu.shape)
    ccd = CCDData(hdu.data, unit=unit, meta=header, wcs=_read_wcs(header, hdus) if wcs else None,
                  uncertainty=uncertainty, mask=own_mask)
    # The data live on in ccd only, so that they go when it goes.
    for i in (index, errors, flags):
        if i is not None:
            del hdus[i].data
    return ccd


def _read_unit(source, header):
    """The unit of an image; what had to be guessed is said once for each file."""
    text = header.get('BUNIT')
    unit = parse_unit(text)
    if not str(text or '').strip():
        source.say(log, 'no BUNIT: the data are taken to be in adu')
    elif unit == u.dimensionless_unscaled and u.Unit(str(text), parse_strict='silent') != unit:
        source.say(log, f'BUNIT {text!r} is no known unit: the data are treated as if they had none')
    return unit


def _find_given(name, given, source, index, read):
    """A mask or an uncertainty that the caller gives: an array, a file, or an extension of this or another file."""
    science = source.hdus[index]
    if not isinstance(given, (str, os.PathLike)):
        found, where = read(given), 'an array'
    else:
        path, ext = os.fspath(given), None
        bracket = re.fullmatch(r'(.+)\[([^][]+)\]', path)
        if bracket and not os.path.exists(path):
            path, ext = bracket.groups()
        if os.path.exists(path):
            with FitsSource(path) as other:
                hdu, where = _choose_given(name, other.hdus, ext, science)
                found = read(hdu)
            where = f'{where} of {path}'
        elif ext is not None:
            raise FileNotFoundError(2, 'No such file or directory', path)
        else:
            try:
                hdu, where = _choose_given(name, source.hdus, path, science)
            except ValueError as error:
                raise ValueError(f'{name} must be a file or an extension, got {path!r}: {error}') from None
            found = read(hdu)
    if found.shape not in (science.shape, science.shape[-2:]):
        raise ValueError(f'{name} must have the shape of the data, {science.shape}, got {found.shape} from {where}')
    return _broadcast(found, science.shape)


def _choose_given(name, hdus, ext, science):
    """The extension of a file that a caller means, and its name; of several, that of the version of the image."""
    if ext is not None:
        chosen = science_hdus(hdus, ext)
    else:
        chosen = mask_hdus(hdus) if name == 'mask' else uncertainty_hdus(hdus)
    fitting = [i for i in chosen if hdus[i].ver == science.ver] if len(chosen) > 1 else chosen
    if len(fitting) != 1:
        names = ', '.join(hdu_label(hdus[i], i) for i in chosen) or 'none'
        raise ValueError(f'which extension is the {name} of version {science.ver} is not clear, there are {names}')
    return hdus[fitting[0]], hdu_label(hdus[fitting[0]], fitting[0])


def _broadcast(found, shape):
    if isinstance(found, NDUncertainty):
        return type(found)(np.array(np.broadcast_to(found.array, shape)), unit=found.unit)
    return np.broadcast_to(found, shape)


def _mask_of(given, ignore_bits):
    if not hasattr(given, 'header'):
        return np.asarray(given, dtype=bool)
    return read_mask(given, 0 if ignore_bits is None else ignore_bits)


def _uncertainty_of(given, unit):
    if isinstance(given, NDUncertainty):
        return given
    if not hasattr(given, 'header'):
        return StdDevUncertainty(given)
    return _read_uncertainty(given, unit, given.shape)


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
        as '16,64' (see `astropy.nddata.bitmask.interpret_bit_flags`). `None`: no pixel is bad.
    mask : array_like of bool, str or path-like, optional
        A mask in addition to that of the file: an array, a FITS file (``mask.fits`` or
        ``mask.fits[EXT]``), or an extension of ``path`` itself. All that is not zero is bad, but
        for ``ignore_bits``; of several extensions, that of the EXTVER of the image is taken.
    uncertainty : array_like, `~astropy.nddata.NDUncertainty`, str or path-like, optional
        An uncertainty in place of that of the file: an array of standard deviations or, as for
        ``mask``, a FITS file or an extension. Its name or UTYPE says if it is a standard
        deviation (also if they say nothing), a variance or an inverse variance.

    Returns
    -------
    list of `~astropy.nddata.CCDData`
        One for each image. The header has the cards of the primary header under those of the
        image. The ERR, UNCERT, ... and DQ, MASK, ... extensions of the same EXTVER are
        uncertainty and mask.

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
        return [read_image(source, i, ignore_bits, mask=mask, uncertainty=uncertainty, wcs=True) for i in science_hdus(source.hdus, ext)]
