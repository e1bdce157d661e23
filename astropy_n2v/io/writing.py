# Licensed under a 3-clause BSD style license - see LICENSE
"""
From HDUs to bytes, and the extensions that are appended to a file.
"""

import io
import shutil
import tempfile
import warnings
from pathlib import Path

from astropy.io import fits

__all__ = []

_BLOCK = 2880


def encode(hdu, checksum):
    """The bytes of an HDU."""
    buffer = io.BytesIO()
    primary = isinstance(hdu, fits.PrimaryHDU)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', fits.verify.VerifyWarning)   # cards of the input that are mended
        fits.HDUList([hdu] if primary else [fits.PrimaryHDU(), hdu]).writeto(
            buffer, output_verify='silentfix+ignore', checksum=checksum)
    return buffer.getbuffer()[0 if primary else _BLOCK:]


def make_hdu(data, header, like):
    """An HDU of the kind of another: primary, extension, or losslessly compressed."""
    if isinstance(like, fits.CompImageHDU):
        # Quantised as usual, a denoised image would lose what was gained: its noise is far below the input's.
        return fits.CompImageHDU(data, header, compression_type='GZIP_2', quantize_level=0,
                                 tile_shape=tuple(int(n) for n in like.tile_shape))
    if isinstance(like, fits.PrimaryHDU):
        header['EXTEND'] = True
        return fits.PrimaryHDU(data, header)
    return fits.ImageHDU(data, header)


class Appended:
    """
    Extensions to be appended to a file, kept on disk until all others have been written.

    Parameters
    ----------
    hdus : `~astropy.io.fits.HDUList`
        The file as it was.
    directory : path
        Where there is room for them.
    """

    def __init__(self, hdus, directory):
        self.taken = {(hdu.name.upper(), hdu.ver) for hdu in hdus}
        self.file = tempfile.TemporaryFile(dir=directory)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.file.close()

    def add(self, name, array, science, *, unit=None, utype=None, comment=''):
        """Add an array that belongs to an image; return the version of its extension."""
        ver = science.ver
        if (name, ver) in self.taken:
            ver = max(other for used, other in self.taken if used == name) + 1
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
        self.file.write(encode(make_hdu(array, header, like), checksum=False))
        return ver

    def copy(self, out):
        """Write them to a file."""
        self.file.seek(0)
        shutil.copyfileobj(self.file, out, 1 << 24)


def open_output(path, name):
    """Open a file for writing, compressed if the name that it will have says so."""
    suffix = Path(name).suffix.lower()
    if suffix == '.gz':
        import gzip
        return gzip.open(path, 'wb', compresslevel=6)
    if suffix in ('.bz2', '.xz'):
        import bz2
        import lzma
        return (bz2 if suffix == '.bz2' else lzma).open(path, 'wb')
    return open(path, 'wb')
