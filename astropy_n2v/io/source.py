# Licensed under a 3-clause BSD style license - see LICENSE
"""
FITS files as bytes and as HDUs at the same time.
"""

import io
import math
import os
import re
import warnings

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from ..utils.names import printable
from .illegal_cards import Overlay, add_up, forbidden_cards, mended, set_card
from .paths import open_decompressed, refuse_bomb, refuse_endless_headers

__all__ = ['FitsSource']

_CHUNK = 1 << 24   # bytes that are read at a time
_SIGNED = -128   # BZERO of bytes with a sign, which some write as a real number


class FitsSource:
    """
    A FITS file that is read twice: its images decoded, and the bytes of all HDUs as they are.

    Bytes, because astropy mends cards and compresses images anew when it writes.

    Parameters
    ----------
    path : str or path-like
        The file; it may be compressed as a whole or tile by tile.
    quiet : bool, optional
        If true, log nothing about guesses.
    folder : str or path-like, optional
        Where there is room for a large file that is compressed as a whole, and does not fit into memory.

    Attributes
    ----------
    hdus : `~astropy.io.fits.HDUList`
        Its HDUs, decoded when they are asked for.
    checksums : list of bool
        True where they have one, as they are in the file.
    forbidden : list of list
        The cards of each that hold control characters and the like, see `forbidden_cards` in ``cards.py``; ``hdus``
        has them mended.

    Raises
    ------
    OSError
        If the file does not exist, is not FITS or is truncated.
    """

    def __init__(self, path, quiet=False, folder=None):
        self.path = path
        self.quiet = quiet
        self.stream = open_decompressed(path, folder)
        self.hdus = None
        self._said = set()
        self._patches = []
        try:
            self._check_kind()
            refuse_endless_headers(self.stream, path)
            self.spans, self.sizes = self._layout()
            with warnings.catch_warnings():
                # Where only the padding of the last block is missing nothing is lost.
                warnings.filterwarnings('ignore', 'File may have been truncated', AstropyUserWarning)
                self.hdus = self._open()
                len(self.hdus)   # reads all headers
            for hdu, size in zip(self.hdus, self.sizes):
                if getattr(hdu, '_orig_bzero', None) == _SIGNED:
                    hdu._orig_bzero = _SIGNED   # astropy cannot add -128.0 to bytes
                if isinstance(hdu, fits.CompImageHDU):
                    refuse_bomb(math.prod(hdu.shape) * abs(hdu.header['BITPIX']) // 8, size, path)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        """Close the file."""
        if self.hdus is not None:
            self.hdus.close()
        self.stream.close()

    def say(self, log, message):
        """Log a warning about the file, once."""
        if message not in self._said and not self.quiet:
            self._said.add(message)
            log.warning('%s: %s', printable(os.path.basename(self.path)), message)

    def _open(self, **kwargs):
        # HDUList.close closes what it was opened on; bytes of BytesIO are shared, not copied.
        in_memory = isinstance(self.stream, io.BytesIO)
        stream = io.BytesIO(self.stream.getvalue()) if in_memory else open(self.stream.name, 'rb')
        if self._patches:
            stream = Overlay(stream, self._patches)
        try:
            return fits.open(stream, memmap=False, **kwargs)
        except OSError as error:
            stream.close()
            reason = str(error).partition(' If this is')[0]   # advice on options of fits.open
            raise OSError(f'{self.path} is not a FITS file: {reason}') from error
        except BaseException:
            stream.close()
            raise

    def _layout(self):
        """Find where the HDUs begin and end, and how long their data are."""
        end = self.stream.seek(0, io.SEEK_END)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')   # what astropy suspects is checked below
            with self._open(disable_image_compression=True) as hdus:
                infos = [hdu.fileinfo() for hdu in hdus]
                sizes = [hdu.size for hdu in hdus]
                # Decoded headers of compressed images do not have them.
                self._sums = [hdu.header.get('DATASUM') for hdu in hdus]
                self.checksums = [not {'CHECKSUM', 'DATASUM'}.isdisjoint(hdu.header) for hdu in hdus]
        self._data = [info['datLoc'] for info in infos]
        spans = [(info['hdrLoc'], info['datLoc'] + info['datSpan']) for info in infos]
        self.forbidden = [self._mend(info['hdrLoc'], info['datLoc']) for info in infos]
        missing = infos[-1]['datLoc'] + sizes[-1] - end
        if missing > 0:
            raise OSError(f'{self.path} is truncated: {missing} bytes of data of its last HDU are missing')
        self.stream.seek(min(spans[-1][1], end))
        if self.stream.read(8) == b'XTENSION':
            raise OSError(f'{self.path} is truncated or damaged: the header after HDU {len(infos) - 1} cannot be read')
        return spans, sizes

    def _check_kind(self):
        """Refuse files whose data cannot be understood, although they look like FITS."""
        self.stream.seek(0)
        card = mended(self.stream.read(80))
        if re.match(rb'SIMPLE *= *F *(/|$)', card):
            raise OSError(f'{self.path} says SIMPLE = F: it departs from the FITS standard, and the format of '
                          'its data is not known. If they are known to be as in FITS, change the F in the first card '
                          'of a copy to T')

    def _mend(self, start, end):
        """Find the cards of a header that must not be, and hide them from astropy from now on."""
        self.stream.seek(start)
        header = self.stream.read(end - start)
        if header.isascii() and header.decode().isprintable():
            return []
        self._patches.append((start, mended(header)))
        return forbidden_cards(header)

    def agrees_with_sum(self, index):
        """Check if the data of an HDU have the sum that its DATASUM says; true without one."""
        try:
            expected = int(self._sums[index])
        except (TypeError, ValueError):   # none, or none that can be read
            return True
        self.stream.seek(self._data[index])
        left, total = self.spans[index][1] - self._data[index], 0
        while left > 0 and (chunk := self.stream.read(min(left, _CHUNK))):
            total = add_up(np.frombuffer(chunk.ljust(-(-len(chunk) // 4) * 4, b'\0'), dtype='>u4'), total)
            left -= len(chunk)
        return total == expected

    def copy(self, index, out):
        """Write an HDU as it is to a file."""
        start, end = self.spans[index]
        self.stream.seek(start)
        left = end - start
        while left:
            chunk = self.stream.read(min(left, _CHUNK))
            if not chunk:   # some files lack the padding of their last block
                out.write(bytes(left))
                break
            out.write(chunk)
            left -= len(chunk)

    def copy_with_card(self, index, out, card):
        """Write an HDU as it is, but for one `~astropy.io.fits.Card`, to a file."""
        content = io.BytesIO()
        self.copy(index, content)
        out.write(set_card(content.getvalue(), card))
