# Licensed under a 3-clause BSD style license - see LICENSE
"""
From HDUs to bytes, and the extensions that are appended to a file.
"""

import io
import shutil
import tempfile
import warnings
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from astropy.io import fits

from ..utils.scratch import is_large
from .compressed import write_compressed
from .illegal_cards import add_up, show_cards
from .sections import load

__all__ = []

_BLOCK = 2880
# Compressions that take numbers that were rounded; PLIO takes small integers alone.
_OF_ROUNDED = 'RICE_1', 'GZIP_1', 'GZIP_2', 'HCOMPRESS_1'
_CHUNK = 1 << 24   # bytes that are copied at a time


def write_hdu(hdu, checksum, out, folder, hidden=None):
    """
    Write an HDU to a file.

    Parameters
    ----------
    hdu : HDU
        The HDU.
    checksum : bool
        True if it has a checksum.
    out : file object
        Where to write it.
    folder : path
        Where there is room for a large one.
    hidden : dict, optional
        Cards that are hidden, from `~astropy_n2v.io.illegal_cards.hide_cards`.
    """
    data = hdu.data
    if data is not None and is_large(data.shape, np.uint8) and isinstance(hdu, fits.CompImageHDU):
        write_compressed(hdu, checksum, out, folder, hidden, _encode)
        return
    if data is None or data.dtype.kind != 'f' or not is_large(data.shape, np.uint8):
        content = _encode(hdu, checksum, io.BytesIO()).getbuffer()[_start(hdu):]
        out.write(show_cards(content, hidden) if hidden else content)
        return
    total = _data_sum(data) if checksum else 0
    hdu._calculate_datasum = lambda: total   # astropy copies all data for it
    with tempfile.TemporaryFile(dir=folder) as file:
        _encode(hdu, checksum, file)
        length = file.tell() - _start(hdu) - -(-data.nbytes // _BLOCK) * _BLOCK
        file.seek(_start(hdu))
        header = file.read(length)
        out.write(show_cards(header, hidden, total) if hidden else header)
        shutil.copyfileobj(file, out, _CHUNK)


def _start(hdu):
    """First byte of an HDU in a file of its own, in which an extension comes after a primary HDU."""
    return 0 if isinstance(hdu, fits.PrimaryHDU) else _BLOCK


def _data_sum(data):
    """The checksum of an array as FITS stores it."""
    flat, total = data.reshape(-1), 0
    for first in range(0, flat.size, _CHUNK // 8):
        part = flat[first:first + _CHUNK // 8]
        total = add_up(part.astype(part.dtype.newbyteorder('>')).view('>u4'), total)
    return total


def _encode(hdu, checksum, file):
    """Write an HDU to a file of its own, and return this."""
    primary = isinstance(hdu, fits.PrimaryHDU)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', fits.verify.VerifyWarning)   # cards of the input that are mended
        fits.HDUList([hdu] if primary else [fits.PrimaryHDU(), hdu]).writeto(
            file, output_verify='silentfix+ignore', checksum=checksum)
    return file


def make_hdu(data, header, like, quantize=None):
    """
    Make an HDU of the kind of another: primary, extension, or compressed tile by tile.

    Compression is without loss, for which floats take gzip whatever the other HDU has, unless ``quantize`` says
    into how many steps the noise of the data is divided.
    """
    if isinstance(like, fits.CompImageHDU) and quantize is not None:
        # The dither, which is taken out again when it is read, keeps means of pixels what they are.
        kind = like.compression_type if like.compression_type in _OF_ROUNDED else 'RICE_1'
        return fits.CompImageHDU(data, header, compression_type=kind, quantize_level=quantize, quantize_method=1,
                                 dither_seed=1, tile_shape=tuple(int(n) for n in like.tile_shape))
    if isinstance(like, fits.CompImageHDU):
        # Quantised as usual, a denoised image would lose what was gained: its noise is far below the input's.
        return fits.CompImageHDU(data, header, compression_type='GZIP_2', quantize_level=0,
                                 tile_shape=tuple(int(n) for n in like.tile_shape))
    if isinstance(like, fits.PrimaryHDU):
        header['EXTEND'] = True
        return fits.PrimaryHDU(data, header)
    return fits.ImageHDU(data, header)


class Extensions:
    """
    Extensions to be written to a file later than they are made, kept on disk until then.

    Parameters
    ----------
    hdus : `~astropy.io.fits.HDUList`
        The file as it was.
    directory : path
        Where there is room for them.
    """

    def __init__(self, hdus, directory):
        self.taken = {(hdu.name.upper(), hdu.ver) for hdu in hdus}
        self.versions = {hdu.ver for hdu in hdus}
        self.directory = directory
        self.file = tempfile.TemporaryFile(dir=directory)
        self.replacements = {}

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        for file in (self.file, *self.replacements.values()):
            file.close()

    def add(self, name, array, science, *, unit=None, utype=None, comment='', instead_of=None):
        """
        Add an array that belongs to an image; return the version of its extension.

        It is appended, or comes to where there was the HDU with the number ``instead_of``.
        """
        ver = science.ver
        if (name, ver) in self.taken and instead_of is None:
            # Not the version of another image either, to which it would seem to belong.
            ver = max(self.versions) + 1
            self.versions.add(ver)
        self.taken.add((name, ver))
        header = fits.Header()
        header['EXTNAME'] = (name, 'extension name')
        header['EXTVER'] = (ver, 'extension version number')
        if unit is not None:
            header['BUNIT'] = unit
        if utype is not None:
            header['UTYPE'] = (utype, 'type of the uncertainty')
        header.add_comment(comment)
        like = science if isinstance(science, fits.CompImageHDU) else None
        hdu = make_hdu(array, header, like)
        if instead_of is None:
            write_hdu(hdu, False, self.file, self.directory)
        else:
            self.put(instead_of, hdu, False)
        return ver

    def put(self, index, hdu, checksum):
        """Keep an HDU that replaces one of the file."""
        self.replacements[index] = tempfile.TemporaryFile(dir=self.directory)
        write_hdu(hdu, checksum, self.replacements[index], self.directory)

    def rename(self, hdu, name):
        """Add an HDU of the file under another name."""
        header = hdu.header.copy()
        header['EXTNAME'] = name
        for keyword in 'CHECKSUM', 'DATASUM':
            header.remove(keyword, ignore_missing=True)
        write_hdu(make_hdu(load(hdu), header, hdu), False, self.file, self.directory)

    def copy(self, out):
        """Write the extensions that are to be appended to a file."""
        _copy(self.file, out)

    def replace(self, index, out):
        """Write the extension that replaces an HDU of the file; return True if there is one."""
        file = self.replacements.pop(index, None)
        if file is None:
            return False
        with file:
            _copy(file, out)
        return True


def _copy(file, out):
    file.seek(0)
    shutil.copyfileobj(file, out, _CHUNK)


@contextmanager
def open_output(path, name):
    """Open a file for writing, compressed if the name that it will have says so."""
    suffix = Path(name).suffix.lower()
    with ExitStack() as stack:
        file = stack.enter_context(open(path, 'wb'))
        if suffix == '.gz':
            import gzip
            # Without name and time the same content gives the same file.
            file = stack.enter_context(gzip.GzipFile('', 'wb', 6, file, mtime=0))
        elif suffix in ('.bz2', '.xz'):
            import bz2
            import lzma
            file = stack.enter_context((bz2 if suffix == '.bz2' else lzma).open(file, 'wb'))
        yield file
