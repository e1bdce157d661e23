# Licensed under a 3-clause BSD style license - see LICENSE
"""
Headers and units of FITS images as they are in the wild.
"""

import re
import warnings

import numpy as np
from astropy import units as u
from astropy.io import fits

__all__ = ['ADU_LIKE', 'header_value', 'merge_headers', 'parse_unit', 'transfer_cards']

#: Units of what an analogue-to-digital converter counts.
ADU_LIKE = (u.adu, u.count, u.DN)

# Spellings of observatories that the FITS standard does not have, as patterns and their meaning.
_SPELLINGS = [
    (r'[\[\]]', ''),
    (r'\((s)\)', r'\1'),   # electron(s)
    (r'\bcounts?[ _-]rate\b', 'ct/s'),
    (r'(?<![\w.])e[-_](?![\w.])', 'electron'),
    (r'(?<![\w.])e(?![\w]|[-+]\d)', 'electron'),   # but 1.e-19
    (r'\b(photo-?)?elec(tron)?s?\b', 'electron'),
    (r'\ba/?dc?[ _-]?(counts?|units?)\b', 'adu'),
    (r'\b(digital|data)[ _-]?(numbers?|units?)\b', 'adu'),
    (r'\badus?\b', 'adu'),
    (r'\bdns?\b', 'adu'),
    (r'\bcps\b', 'ct/s'),
    (r'\beps\b', 'electron/s'),
    (r'\b(counts?|cts?|cnts?)\b', 'ct'),
    (r'\b(photons?|phts?|phs?)\b', 'photon'),
    (r'\b(s|sec|secs|second|seconds)\b', 's'),
    (r'\bbeam\b', 'beam'),
    (r'(?<=jy/)bm?(?![a-z])', 'beam'),
    (r'\b(pix|pixel|pixels|px|spaxels?)\b', 'pix'),
    (r'/ ?(coadds?|fib(er|re)s?)\b', ''),   # what is one of them is no unit
    (r'(?-i:\bMJY ?/ ?SR\b)', 'MJy/sr'),
    (r'\b(micro|mu)-?(jy|jansk(y|ys|ies))\b', 'uJy'),
    (r'\b(m|milli)-?jansk(y|ys|ies)\b', 'mJy'),
    (r'\bjansk(y|ys|ies)\b', 'Jy'),
    (r'\bjy\b', 'Jy'),
    (r'\bsr\b', 'sr'),
    (r'\bhz\b', 'Hz'),
    (r'\bn(ano)?(maggy|maggies?|mgy)\b', 'nmgy'),
    (r'\b(maggy|maggies?)\b', 'mgy'),
    (r'\bflam\b', 'erg/s/cm2/Angstrom'),
    (r'\bfnu\b', 'erg/s/cm2/Hz'),
    (r'\bphotlam\b', 'photon/s/cm2/Angstrom'),
    (r'\bergs?\b', 'erg'),
    (r'\bw(atts?)?(?= ?/)', 'W'),
    (r'\bcm(?![a-z])', 'cm'),
    (r'\bkm(?![a-z])', 'km'),
    (r'(?-i:\bM(?= ?/ ?[Ss]\b))', 'm'),
    (r'\b(microns?|(?-i:UM))\b', 'um'),
    (r'\b(arc|a)secs?(?![a-z])', 'arcsec'),
    (r'\b(angstroms?|angs?)(?![a-z])', 'Angstrom'),
    (r'\bkelvins?\b', 'K'),
    (r'(?-i:(?<=K)_?(CMB|RJ|cmb|rj)\b)', ''),   # of which scale of temperatures
    (r'\bgauss\b', 'G'),
    (r'\bteslas?\b', 'T'),
    (r'\brayleighs?\b', 'R'),
    (r'/ ?beam[ .*]+(k?m) ?(?:/ ?s|s-1)\b', r' \1/s/beam'),   # of maps of moments
    (r'\bper\b', '/'),
]
_SPELLINGS = [(re.compile(pattern, re.IGNORECASE), meaning) for pattern, meaning in _SPELLINGS]

# With these, A is no ampere.
_OF_LIGHT = re.compile(r'\b(erg|W|photon|Jy|J|ct|electron)\b')
_ANGSTROM = re.compile(r'(?<!\w)[Aa](?![A-Za-z])')
# Words behind a unit, such as the scale of its temperatures.
_REMARK = re.compile(r'(?<=[\w)]) ?\([A-Za-z][A-Za-z*_ ]*\)$')

# Words of magnitudes and other logarithms, and the units that stand for them here. None of them adds up.
_LOGARITHMS = [
    (r'(AB|ST|VEGA|BOL|M|MILLI|D|DELTA|ASINH)*(MAG|MAGS|MAGNITUDES?)(AB|ST|VEGA|BOL)?|M(AB|VEGA|ST)|M (AB|VEGA|ST)|'
     r'A(RC)?SINH|LUPT(ITUDES?)?', u.mag),
    (r'A?LOG|LN|DEX', u.dex),
    (r'D[ ]?B(M|JY|K|W)?|DECIBELS?', u.dB),
]

# Cards that describe how the array is stored, which is not what it means.
_STRUCTURE = re.compile(r'SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|BZERO|BSCALE|BLANK|CHECKSUM|DATASUM|'
                        r'NEXTEND|GROUPS')
# Cards of the primary HDU that name it, and not what it is about.
_OWN = re.compile(r'EXTNAME|EXTVER|EXTLEVEL|INHERIT')


def parse_unit(text):
    """
    Find the unit that a BUNIT card means, however it is spelled.

    Parameters
    ----------
    text : str or None
        Value of the card, None without one.

    Returns
    -------
    `~astropy.units.Unit`
        Without a card, or with an empty one, adu, as of raw frames; dimensionless if the text cannot
        be understood; mag, dex or dB for all magnitudes and logarithms, which cannot be denoised.

    Examples
    --------
    >>> from astropy_n2v.io import parse_unit
    >>> parse_unit('COUNTS/S'), parse_unit('e-'), parse_unit('Jy/Beam')
    (Unit("ct / s"), Unit("electron"), Unit("Jy / beam"))
    >>> parse_unit(None), parse_unit('arbitrary')
    (Unit("adu"), Unit(dimensionless))
    """
    text = '' if text is None or isinstance(text, fits.card.Undefined) else str(text).strip()
    if not text:
        return u.adu
    if text.lower() in ('unitless', 'none', 'dimensionless', 'n/a'):
        return u.dimensionless_unscaled
    words = ' '.join(re.findall('[A-Z]+', text.upper()))
    for pattern, logarithm in _LOGARITHMS:
        if re.search(rf'(?<![^ ])({pattern})(?![^ ])', words):
            return logarithm
    if words in ('AB', 'ST', 'VEGA'):
        return u.mag
    power = re.fullmatch(r'\((.+)\) ?(?:\^|\*\*) ?(-?\d)', text)
    if power:
        return parse_unit(power[1]) ** int(power[2])
    spelled = _spelled(text)
    for candidate in (spelled, text, _spelled(_REMARK.sub('', text))):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')   # deprecated spellings, two slashes
                unit = u.Unit(candidate)
        except (ValueError, TypeError):
            continue
        if isinstance(unit, u.function.FunctionUnitBase):
            return unit.function_unit
        return unit
    return u.dimensionless_unscaled


def _spelled(text):
    """Spell a unit as the FITS standard does."""
    for pattern, meaning in _SPELLINGS:
        text = pattern.sub(meaning, text)
    return _ANGSTROM.sub('Angstrom', text) if _OF_LIGHT.search(text) else text


def merge_headers(own, primary=None):
    """
    Merge the cards of an image with the cards of the primary header, where it has none of that name.

    Parameters
    ----------
    own : `~astropy.io.fits.Header`
        Header of the image.
    primary : `~astropy.io.fits.Header`, optional
        Primary header of the file. It is left out if ``own`` has the card INHERIT = F.

    Returns
    -------
    `~astropy.io.fits.Header`
        Without the cards that describe how the array is stored.

    Examples
    --------
    >>> from astropy.io import fits
    >>> from astropy_n2v.io import merge_headers
    >>> merged = merge_headers(fits.Header({'GAIN': 2.0}), fits.Header({'GAIN': 1.0, 'RDNOISE': 5.0}))
    >>> merged['GAIN'], merged['RDNOISE']
    (2.0, 5.0)
    """
    merged = own.copy()
    if primary is not None and own.get('INHERIT', True) is not False:
        # Not Header.extend: it would append the HISTORY of the primary HDU as well.
        for card in primary.cards:
            if card.keyword and card.keyword not in ('HISTORY', 'COMMENT') and card.keyword not in merged \
                    and not _OWN.fullmatch(card.keyword):
                merged.append(card, end=True)
    for keyword in {keyword for keyword in merged if _STRUCTURE.fullmatch(keyword)}:
        merged.remove(keyword, remove_all=True)
    return merged


def _same(first, second):
    try:
        return first.value == second.value
    except fits.VerifyError:   # of an invalid card: it stays as it is
        return first.image == second.image


def transfer_cards(before, after, header):
    """
    Write to a header the cards that were added or changed between two states of another.

    Others stay, except cards N2V* that are not there any more.

    Parameters
    ----------
    before, after : `~astropy.io.fits.Header`
        The two states.
    header : `~astropy.io.fits.Header`
        Is changed.

    Examples
    --------
    >>> from astropy.io import fits
    >>> from astropy_n2v.io import transfer_cards
    >>> header = fits.Header({'A': 1})
    >>> transfer_cards(fits.Header({'B': 2}), fits.Header({'B': 2, 'C': 3}), header)
    >>> dict(header)
    {'A': 1, 'C': 3}
    """
    for keyword in dict.fromkeys(after):
        if not keyword or keyword in ('HISTORY', 'COMMENT'):
            continue
        # A keyword may be there several times.
        old, new = ([card for card in cards.cards if card.keyword == keyword] for cards in (before, after))
        for i, card in enumerate(new):
            if i < len(old) and _same(old[i], card):
                continue
            if keyword in header and i < header.count(keyword):
                header[keyword, i] = (card.value, card.comment)
            else:
                header.append(card)
    # Cards of this package about an earlier result do not hold for a later one.
    for keyword in dict.fromkeys(before):
        if keyword.startswith('N2V') and keyword not in after:
            header.remove(keyword, ignore_missing=True, remove_all=True)
    for keyword in ('HISTORY', 'COMMENT'):
        if keyword in after:
            known = len(before[keyword]) if keyword in before else 0
            for line in list(after[keyword])[known:]:
                header.add_history(line) if keyword == 'HISTORY' else header.add_comment(line)


def header_value(header, keywords):
    """
    Find the first usable positive number among some header cards.

    Parameters
    ----------
    header : mapping
        FITS header or dictionary.
    keywords : list of str
        Keywords in order of preference.

    Returns
    -------
    keyword : str or None
        The card that was used.
    value : float or None
        Its value; a number at the start of a string is accepted.

    Examples
    --------
    >>> from astropy_n2v.io.headers import header_value
    >>> header_value({'GAIN': '1.9 e-/ADU'}, ['EGAIN', 'GAIN'])
    ('GAIN', 1.9)
    """
    for keyword in keywords:
        if keyword not in header:
            continue
        try:
            text = str(header[keyword])
        except fits.VerifyError:   # an invalid card
            continue
        match = re.match(r'\s*([-+]?(\d+\.?\d*|\.\d+)([eEdD][-+]?\d+)?)', text)
        if match:
            value = float(match.group(1).lower().replace('d', 'e'))
            if np.isfinite(value) and value > 0:
                return keyword, value
    return None, None
