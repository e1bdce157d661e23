# Licensed under a 3-clause BSD style license - see LICENSE
"""
Images that are compressed by tiles, written some rows of tiles at a time.
"""

import io
import re
import shutil
import tempfile

import numpy as np
from astropy.io import fits

from .illegal_cards import add_up, show_cards
from .sections import tile_rows

__all__ = []

_BLOCK = 2880
_CHUNK = 1 << 24   # bytes that are copied at a time, a multiple of the words of a checksum
_SEEDS = 10000   # of the dither, which repeats after so many tiles (FITS Standard 4.0, appendix I)


def write_compressed(hdu, checksum, out, folder, hidden, encode):
    """
    Write a compressed image, of which a few rows are in memory at a time.

    Parameters
    ----------
    hdu : `~astropy.io.fits.CompImageHDU`
        The image.
    checksum : bool
        True if it has a checksum.
    out : file object
        Where to write it.
    folder : path
        Where there is room for it.
    hidden : dict
        Cards that are hidden, from `~astropy_n2v.io.illegal_cards.hide_cards`.
    encode : callable
        Writes an HDU with or without a checksum behind a primary one to a file, and returns this.
    """
    header, rows, size = None, 0, 0
    with tempfile.TemporaryFile(dir=folder) as table, tempfile.TemporaryFile(dir=folder) as heap:
        for index in tile_rows(hdu):
            part = _part(hdu, index, rows)
            own, tiles, content = _take_apart(encode(part, False, io.BytesIO()))
            header = own if header is None else header
            for name in 'ZBLANK', 'BLANK':   # the first part may have no such pixels
                if name in own and name not in header:
                    header[name] = own[name]
            for name in _pointers(tiles):
                tiles[name][:, 1] += size
            table.write(tiles.tobytes())
            heap.write(content)
            rows, size = rows + len(tiles), size + len(content)
        _complete(header, hdu, tiles.dtype, rows, size)
        total = 0
        if checksum:
            total = _sum(heap, _sum(table, 0))
            header['CHECKSUM'], header['DATASUM'] = '0' * 16, str(total)
        out.write(show_cards(header.tostring().encode('ascii'), hidden or {}, total))
        for file in table, heap:
            file.seek(0)
            shutil.copyfileobj(file, out, _CHUNK)
        out.write(bytes(-(table.tell() + heap.tell()) % _BLOCK))


def _part(hdu, index, n_before):
    """Some rows of an image, behind so many tiles."""
    data = hdu.data[tuple(i if isinstance(i, slice) else slice(i, i + 1) for i in index)]
    return fits.CompImageHDU(data, hdu.header, compression_type=hdu.compression_type,
                             quantize_level=hdu.quantize_level, quantize_method=hdu.quantize_method,
                             dither_seed=n_before % _SEEDS + 1, tile_shape=tuple(int(n) for n in hdu.tile_shape))


def _take_apart(file):
    """Header, table and heap of a compressed image; what the table says of the place in the heap has 64 bits."""
    content = file.getvalue()
    with fits.open(io.BytesIO(content), disable_image_compression=True) as hdus:
        header, start = hdus[1].header.copy(), hdus[1].fileinfo()['datLoc']
        dtype = hdus[1].columns.dtype.newbyteorder('>')
    end = start + header['NAXIS1'] * header['NAXIS2']
    table = np.frombuffer(content[start:end], dtype)
    wide = np.dtype([(name, '>i8', (2,)) if dtype[name].shape == (2,) else (name, dtype[name]) for name in dtype.names])
    return header, table.astype(wide), bytes(content[end:end + header['PCOUNT']])


def _pointers(table):
    """Name the columns that say where in the heap a tile is."""
    return [name for name in table.dtype.names if table.dtype[name].shape == (2,)]


def _complete(header, hdu, dtype, rows, size):
    """Turn the header of a part into the header of the whole."""
    header['NAXIS1'], header['NAXIS2'], header['PCOUNT'] = dtype.itemsize, rows, size
    for i, n in enumerate(reversed(hdu.data.shape), 1):
        header[f'ZNAXIS{i}'] = n
    for i in range(1, header['TFIELDS'] + 1):
        # The number in brackets, which need not be there, is the size of the longest entry.
        header[f'TFORM{i}'] = re.sub(r'1P(\w)\(\d+\)', r'1Q\1', header[f'TFORM{i}'])


def _sum(file, total):
    """Add the bytes of a file to a checksum."""
    file.seek(0)
    while chunk := file.read(_CHUNK):
        total = add_up(np.frombuffer(chunk.ljust(-(-len(chunk) // 4) * 4, b'\0'), '>u4'), total)
    return total
