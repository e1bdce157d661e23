# Licensed under a 3-clause BSD style license - see LICENSE
"""
Masks from the quality planes of FITS files.
"""

import logging
import re
from collections import Counter

import numpy as np
from astropy.io.fits import VerifyError
from astropy.nddata.bitmask import interpret_bit_flags

from ..utils.scratch import blockwise, every
from ..utils.warn import warn_user
from .conventions import card_text
from .sections import load

__all__ = []

log = logging.getLogger(__name__)

# Words in the names of bits that say something about a pixel whose value is good: it belongs to a source, lies near an
# edge or a bright star, is part of a coadd with a rejected exposure, and the like (LSST, HSC, ZTF).
_INFORMATIVE = set('DETECTED DETECTION DETECT SOURCE SOURCES OBJECT OBJECTS STAR STARS FAKE INJECTED DEBLENDED BLENDED '
                   'CLIPPED REJECTED EDGE PSF CROSSTALK PARTLY HALO FOOTPRINT RESERVED'.split())
_DO_NOT_USE = 1       # JWST and Roman: pixels whose other bits are set may be good
_REFERENCE = 1 << 31  # JWST and Roman: reference pixel
_DES_STAR = 32        # DES: in the halo of a bright star
_OSIRIS_GOOD = 9      # Keck OSIRIS: value of good pixels
_MOST = 0.5           # of the pixels; so much bad is worth a warning
# Share of the pixels from which on one value that is not zero must stand for good pixels. Below it may be the gaps
# between the slits of a spectrograph.
_NEARLY_ALL = 0.9
# Correlation of neighbouring flags along both axes. Bad pixels are scattered (0 for single ones, 0.5 for groups of
# 2x2), gaps between slits and what lies outside of a field are not (0.8 for gaps of 10 pixels).
_SCATTERED = 0.6
_SAMPLE = 100_000     # pixels that are looked at


def read_mask(hdu, ignore_bits, *, role='bad', header=None, names=(), data=None):
    """
    Find the bad pixels from a quality plane.

    Parameters
    ----------
    hdu : HDU
        The plane.
    ignore_bits : int, str or list of int
        Bits that do not make a pixel bad, or their names.
    role : {'bad', 'good'}, optional
        Meaning of pixels that are not zero.
    header : `~astropy.io.fits.Header`, optional
        Cards of the image, which say from which observatory it is.
    names : iterable of str, optional
        Names of the extensions of the file.
    data : `~numpy.ndarray`, optional
        The image.

    Returns
    -------
    `~numpy.ndarray` of bool
        True where pixels are bad.

    Raises
    ------
    ValueError
        If ``ignore_bits`` has a name that no bit has.
    """
    label = f'{hdu.name},{hdu.ver}'
    flags = _as_integers(np.asarray(load(hdu)))
    header = {} if header is None else header
    if role == 'good':
        return _by_value(blockwise(lambda part: part == 0, flags), label, 'not zero')
    if hdu.name.upper() == 'DQ' and _is_osiris(header):
        return _by_value(blockwise(lambda part: part != _OSIRIS_GOOD, flags), label, _OSIRIS_GOOD)
    if flags.dtype.kind not in 'iu':
        mask, reason = blockwise(lambda part: part.astype(bool), flags), 'what is not zero is bad'
    else:
        keep, reason = _bad_bits(hdu, flags, header, names)
        keep &= ~_ignored_bits(ignore_bits, named_bits(hdu.header), label)
        bits = _as_type(keep, flags.dtype)
        mask = blockwise(lambda part: (part & bits) != 0, flags)
    share = mask.mean() if mask.size else 0
    log.info('%s: %s; %.2f %% of the pixels are bad', label, reason, 100 * share)
    if share > _MOST:
        return _check_sense(mask, flags, data, label, share)
    return mask


def _is_osiris(header):
    """Check if an image is from OSIRIS at Keck, and not from the instrument of this name at the GTC."""
    return 'KECK' in card_text(header, 'TELESCOP') and 'OSIRIS' in ' '.join(
        card_text(header, keyword) for keyword in ('INSTRUME', 'CURRINST'))


def _by_value(mask, label, good):
    """Log the value of good pixels and the share of bad ones, and warn if these are most; return the mask."""
    share = mask.mean() if mask.size else 0
    log.info('%s: good is %s; %.2f %% of the pixels are bad', label, good, 100 * share)
    if share > _MOST:
        warn_user(f'{label} masks {100 * share:.0f} % of the image: good is what is {good}')
    return mask


def _as_integers(flags):
    """Bring flags to the native byte order, and whole numbers in floating point back to integers."""
    if flags.dtype.kind == 'f':
        if not every(np.isfinite, flags):
            flags = blockwise(lambda part: np.where(np.isfinite(part), part, 1), flags, dtype=flags.dtype)
        whole = every(lambda part: part == np.trunc(part), flags)
        return blockwise(lambda part: part, flags, dtype=np.int64) if whole else flags
    return flags.astype(flags.dtype.newbyteorder('='), copy=False)


def _as_type(bits, dtype):
    """Convert bits to some type of integers, of which the highest bit may be the sign."""
    size = 8 * dtype.itemsize
    return np.array(bits & ((1 << size) - 1), dtype=f'u{dtype.itemsize}').astype(dtype)


def named_bits(header):
    """
    Find the names that a header gives to the bits of its flags.

    Parameters
    ----------
    header : `~astropy.io.fits.Header`
        MP_DETECTED = 5 (LSST, HSC), MSKNAM00 = 'DETECTOR' and MSKVAL00 = 1 (Pan-STARRS), or BIT01 = 1 / CONTAINS
        SEXTRACTOR DETECTION (ZTF, PTF).

    Returns
    -------
    dict
        For each name the value of the bit.

    Examples
    --------
    >>> from astropy.io import fits
    >>> from astropy_n2v.io.flags import named_bits
    >>> named_bits(fits.Header({'MP_BAD': 0, 'MP_SAT': 1, 'MP_CR': 3}))
    {'BAD': 1, 'SAT': 2, 'CR': 8}
    """
    found = {}
    for card in header.cards:
        keyword = card.keyword
        if not re.fullmatch(r'MP_.+|MSKNAM\d+|BIT\d\d?', keyword):
            continue
        try:
            if keyword.startswith('MP_'):
                name, bit = keyword[3:], 1 << int(card.value)
            elif keyword.startswith('MSKNAM'):
                name, bit = str(card.value), int(header[keyword.replace('NAM', 'VAL')])
            else:
                name, bit = card.value if isinstance(card.value, str) else card.comment, 1 << int(keyword[3:])
        except (TypeError, ValueError, KeyError, VerifyError):   # no such card
            continue
        if name.strip():
            found[name.strip().upper()] = bit
    return found


def _is_informative(name):
    return bool(_INFORMATIVE & set(re.findall('[A-Z]+', name)))


def _bad_bits(hdu, flags, header, names):
    """Find the bits that make a pixel bad, and say why."""
    every = (1 << 64) - 1
    named = named_bits(hdu.header)
    if named:
        good = [name for name in named if _is_informative(name)]
        keep = every & ~sum({named[name] for name in good})
        bad = ', '.join(name for name in named if named[name] & keep) or 'none'
        return keep, f'bad are {bad}; {", ".join(good) or "none"} only inform'
    observatory = _says_do_not_use(header, names, flags)
    if observatory:
        return _DO_NOT_USE, f'bad is DO_NOT_USE (1) alone, as in files of {observatory}'
    if isinstance(hdu.header.get('BADBITS'), int):
        keep = int(hdu.header['BADBITS'])
        return keep, f'bad are the bits of BADBITS = {keep}'
    if hdu.name.upper() == 'MSK' and 'DECAM' in card_text(header, 'INSTRUME'):
        return every & ~_DES_STAR, f'all bits are bad but {_DES_STAR} (halo of a bright star), as in files of DES'
    return every, 'all bits are bad'


def _says_do_not_use(header, names, flags):
    """Name the observatory with a bit DO_NOT_USE that the file is from, or None."""
    says = ' '.join(card_text(header, keyword) for keyword in ('TELESCOP', 'OBSERVAT', 'MISSION'))
    for name, words in ('JWST', 'JWST|JAMES WEBB'), ('Roman', r'\bROMAN\b|WFIRST'):
        if re.search(words, says):
            return name
    if {'VAR_POISSON', 'VAR_RNOISE'} <= {name.upper() for name in names}:
        return 'JWST or Roman (they have VAR_POISSON and VAR_RNOISE)'
    if flags.dtype == np.uint32 and not says.strip():
        reference = (flags & np.uint32(_REFERENCE)) != 0
        if reference.any() and (flags[reference] & np.uint32(_DO_NOT_USE)).all():
            return 'JWST or Roman (bit 31 marks reference pixels)'
    return None


def _ignored_bits(ignore_bits, named, label):
    """Convert the bits that the caller wants to ignore to a number."""
    entries = re.split(r'[,+|]', ignore_bits) if isinstance(ignore_bits, str) else ignore_bits
    if not isinstance(entries, (list, tuple)) or not any(re.search('[A-Za-z]', str(entry)) for entry in entries):
        return interpret_bit_flags(ignore_bits) or 0
    bits = 0
    for entry in map(str.strip, map(str, entries)):
        name = entry.upper().removeprefix('MP_')
        if entry.isdigit():
            bits |= int(entry)
        elif name in named:
            bits |= named[name]
        else:
            raise ValueError(f'ignore_bits must be numbers or names of bits of {label}, got {entry!r}; names are '
                             f'{", ".join(named) or "none"}')
    return bits


def _check_sense(mask, flags, data, label, share):
    """Turn round a mask of most of an image if its most frequent value must stand for good pixels; warn."""
    common = np.median(flags)
    most = flags == common
    many = most.mean()
    # If there is no other value, all may well be bad: that is an error later on.
    if common and _MOST < many < 1 and data is not None and _is_good(most, many, data):
        warn_user(f'{label} is {common:g} in {100 * many:.1f} % of the image, which looks like data: these pixels '
                  'are taken to be good, all others bad')
        return ~most
    if flags.dtype.kind not in 'iu':
        reason = ''
    else:
        bits = Counter({1 << bit: int(np.count_nonzero(flags[mask] & _as_type(1 << bit, flags.dtype)))
                        for bit in range(8 * flags.dtype.itemsize - (flags.dtype.kind == 'i'))})
        reason = ', most by the bits ' + ', '.join(
            f'{bit} ({100 * n / mask.size:.0f} %)' for bit, n in bits.most_common(3) if n)
    warn_user(f'{label} masks {100 * share:.0f} % of the image{reason}; if some of them are harmless, name them in '
              'ignore_bits; if it marks good pixels, give its inverse as mask')
    return mask


def _is_good(most, share, data):
    """Check if the pixels with the most frequent flag are those with data."""
    if data.ndim > most.ndim:
        data = data[(0,) * (data.ndim - most.ndim)]
    if data.shape != most.shape or not _looks_like_data(data[most]):
        return False
    return share > _NEARLY_ALL or _is_scattered(most) or not _looks_like_data(data[~most])


def _is_scattered(most):
    """Check that the pixels with other flags than the most frequent one do not form regions."""
    most = most - most.mean()
    pairs = (most[..., 1:] * most[..., :-1]).mean(), (most[..., 1:, :] * most[..., :-1, :]).mean()
    return max(pairs) < _SCATTERED * np.square(most).mean()


def _looks_like_data(values):
    values = values[::max(1, values.size // _SAMPLE)]
    if values.size == 0 or np.mean(np.isfinite(values)) < _NEARLY_ALL:
        return False
    counts = np.unique(values, return_counts=True)[1]
    return values.size < 10 or counts.max() < _MOST * values.size
