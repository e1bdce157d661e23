# Licensed under a 3-clause BSD style license - see LICENSE
"""
Header cards that FITS does not allow: kept byte by byte, while astropy sees them mended.
"""

import io
import re
import warnings

import numpy as np
from astropy.io import fits

__all__ = []

_CARD = 80      # bytes
_BLOCK = 2880   # bytes
_FORBIDDEN = re.compile(rb'[^ -~]')
_TOKEN = '@n2v{:05d}@'
# Cards that astropy must understand, or writes anew.
_UNDERSTOOD = re.compile(r'SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|[PG]COUNT|GROUPS|BZERO|BSCALE|BLANK|CHECKSUM|DATASUM|'
                         r'EXTNAME|EXTVER')


class Overlay(io.RawIOBase):
    """
    A file of which some bytes read as others.

    Parameters
    ----------
    file : file object
        Binary and seekable; it is closed with this one.
    patches : list of (int, bytes)
        Position and new content of each part.
    """

    def __init__(self, file, patches):
        self._file = file
        self._patches = patches

    def readable(self):
        """Allow reading."""
        return True

    def seekable(self):
        """Allow seeking."""
        return True

    def seek(self, offset, whence=io.SEEK_SET):
        """Go to a position."""
        return self._file.seek(offset, whence)

    def tell(self):
        """Give the position."""
        return self._file.tell()

    def readinto(self, buffer):
        """Read, and put the patches over the bytes."""
        start = self._file.tell()
        count = self._file.readinto(buffer)
        for position, content in self._patches:
            first, last = max(position, start), min(position + len(content), start + count)
            if first < last:
                buffer[first - start:last - start] = content[first - position:last - position]
        return count

    def close(self):
        """Close the file, too."""
        self._file.close()
        super().close()


def mended(header):
    """Replace the bytes of a header that must not be there: controls by blanks, others by question marks."""
    return _FORBIDDEN.sub(lambda found: b' ' if found[0] < b' ' or found[0] == b'\x7f' else b'?', header)


def forbidden_cards(header):
    """
    Find the cards of a header that have bytes other than printable ASCII.

    Parameters
    ----------
    header : bytes
        As it is in the file, to its end.

    Returns
    -------
    list of (str, int, int, bytes)
        Keyword, number among the cards of that keyword and of how many, and bytes with CONTINUE cards, of each.
    """
    cards = [header[i:i + _CARD] for i in range(0, len(header), _CARD)]
    end = next((i for i, card in enumerate(cards) if mended(card).rstrip() == b'END'), len(cards))
    joined = []
    for card in cards[:end]:
        if card.startswith(b'CONTINUE') and joined:
            joined[-1] += card
        else:
            joined.append(card)
    while joined and not mended(joined[-1]).strip():
        joined.pop()   # blank cards before END are padding
    keywords = [fits.Card.fromstring(mended(card)).keyword for card in joined]
    return [(keyword, keywords[:i].count(keyword), keywords.count(keyword), card)
            for i, (keyword, card) in enumerate(zip(keywords, joined)) if _FORBIDDEN.search(card)]


def hide_cards(header, forbidden):
    """
    Put tokens in the place of cards.

    Parameters
    ----------
    header : `~astropy.io.fits.Header`
        Is changed.
    forbidden : list
        From `forbidden_cards`.

    Returns
    -------
    dict
        The bytes for each token. Cards that describe how the data are stored are not among them.
    """
    hidden = {}
    places = {}
    for i, card in enumerate(header.cards):
        places.setdefault(card.keyword, []).append(i)
    for keyword, number, total, card in forbidden:
        # Headers of compressed images may lack some.
        if _UNDERSTOOD.fullmatch(keyword) or len(places.get(keyword, [])) != total:
            continue
        token = _TOKEN.format(len(hidden))
        hidden[token.encode()] = card
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')   # long keywords, and those that are there several times
            try:
                instead = fits.Card(keyword, token)
            except ValueError:   # no keyword at all
                instead = fits.Card('COMMENT', token)
            del header[places[keyword][number]]
            header.insert(places[keyword][number], instead)
    return hidden


def show_cards(content, hidden, more=0):
    """
    Put cards back in the place of their tokens, in the bytes of an HDU.

    Parameters
    ----------
    content : bytes-like
        The HDU.
    hidden : dict
        From `hide_cards`.
    more : int, optional
        Checksum of data that are not among the bytes.

    Returns
    -------
    bytes
        The HDU; its checksum holds if there was one.
    """
    cards, data = _split(bytes(content))
    found = [re.search(rb'@n2v\d{5}@', card) for card in cards]
    return _join([hidden.get(token[0], card) if token else card for token, card in zip(found, cards)], data, more)


def set_card(content, card):
    """
    Set a card in the bytes of an HDU, and leave all others as they are.

    Parameters
    ----------
    content : bytes
        The HDU.
    card : `~astropy.io.fits.Card`
        What to set.

    Returns
    -------
    bytes
        The HDU; its checksum holds if there was one.
    """
    cards, data = _split(content)
    return _join([*(old for old in cards if old[:8].rstrip() != card.keyword.encode()), card.image.encode()], data)


def _split(content):
    """Take an HDU apart: its cards before END, and its data."""
    cards, at = [], 0
    while (card := content[at:at + _CARD]) and mended(card).rstrip() != b'END':
        cards.append(card)
        at += _CARD
    while cards and not cards[-1].strip():
        cards.pop()   # padding
    return cards, content[-(-(at + _CARD) // _BLOCK) * _BLOCK:]


def _join(cards, data, more=0):
    """Put an HDU together from its cards and data."""
    header = b''.join([*cards, b'END'.ljust(_CARD)])
    content = header.ljust(-(-len(header) // _BLOCK) * _BLOCK) + data
    place = next((i * _CARD for i, card in enumerate(cards) if card.startswith(b'CHECKSUM=')), None)
    return content if place is None else _with_checksum(content, place, more)


def add_up(words, more=0):
    """
    Add 32-bit words with the carry brought round, as a FITS checksum does.

    Parameters
    ----------
    words : `~numpy.ndarray` of uint32
        The words.
    more : int, optional
        Sum of others.

    Returns
    -------
    int
        The sum, below 2**32.
    """
    total = int(words.sum(dtype=np.uint64)) + more
    while total >> 32:
        total = (total & 0xffffffff) + (total >> 32)
    return total


def _with_checksum(content, place, more):
    """Set the CHECKSUM card at a position of an HDU anew (FITS Standard 4.0, appendix J)."""
    start = place + 11   # of the 16 characters of its value
    content = bytearray(content)
    content[start:start + 16] = b'0' * 16
    total = add_up(np.frombuffer(content, dtype='>u4'), more)
    text = bytearray(16)
    for i, byte in enumerate((~total & 0xffffffff).to_bytes(4, 'big')):
        # Four characters whose codes, less '0' each, sum up to the byte.
        parts = [byte // 4 + 48 + (byte % 4 if n == 0 else 0) for n in range(4)]
        while any(58 <= part <= 64 or 91 <= part <= 96 for part in parts):   # neither digits nor letters
            for n in (0, 2):
                if any(58 <= part <= 64 or 91 <= part <= 96 for part in parts[n:n + 2]):
                    parts[n] += 1
                    parts[n + 1] -= 1
        text[i::4] = bytes(parts)
    content[start:start + 16] = text[-1:] + text[:-1]
    return bytes(content)
