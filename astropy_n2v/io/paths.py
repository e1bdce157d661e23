# Licensed under a 3-clause BSD style license - see LICENSE
"""
Paths and streams of any kind: compressed files, names of results, errors in one line.

The content of FITS files is read in ``io/reading.py``; files are written safely by ``utils/atomic_files.py``.
"""

import bz2
import errno
import gzip
import io
import lzma
import math
import os
import re
import zlib
from pathlib import Path

from ..utils.atomic_files import temporary_file
from ..utils.names import printable

__all__ = ['describe_error', 'open_decompressed', 'output_path', 'split_extension']

_MAGIC = {b'\x1f\x8b': gzip, b'BZh': bz2, b'\xfd7zXZ': lzma}
_COMPRESSED_SUFFIXES = ('.gz', '.bz2', '.xz')
# Compressed in ways that are not read here, and the program that decompresses them.
_OTHER_MAGIC = {b'\x1f\x9d': ('with compress (.Z)', 'uncompress or gzip -d'),
                b'\x1f\x1e': ('with pack (.z)', 'gzip -d'),
                b'\x1f\xa0': ('with lzh (.z)', 'gzip -d'), b'PK\x03\x04': ('as a ZIP archive', 'unzip'),
                b'\x28\xb5\x2f\xfd': ('with zstd', 'zstd -d'), b'\x04\x22\x4d\x18': ('with lz4', 'lz4 -d'),
                b'7z\xbc\xaf': ('as a 7z archive', '7z x')}
_BLOCK, _CARD = 2880, 80   # bytes of FITS
# Of the FITS standard; columns are as many at most.
_LARGEST = {b'NAXIS': 999, b'ZNAXIS': 999, b'TFIELDS': 999}
_LARGEST_SETTING = 10 ** 6   # of a compression; real ones are below a thousand
# A card that counts axes or columns, or what is in them, or sets a compression, whose code crashes with odd ones.
_COUNT = re.compile(rb'(Z?NAXIS\d{0,3}|TFIELDS|[PG]COUNT|ZVAL\d{1,3}) *= *([-+]?\d{1,40})')
# Errors that writing alone can meet, which name no file.
_ON_WRITING = {errno.ENOSPC: 'the disk is full', errno.EDQUOT: 'the quota of the disk is used up',
               errno.EFBIG: 'files cannot be as large there', errno.EROFS: 'the file system is read-only'}
# Bytes that any file may have, and times by which larger ones may grow. Images of one value alone shrink by more, with
# gzip by 1000.
_SMALL, _MOST_EXPANSION = 1 << 30, 200
_IN_MEMORY = 1 << 28   # bytes of a decompressed file from which on it is kept in a file, if there is a place for one


def open_decompressed(path, folder=None):
    """
    Open a file for reading bytes; what gzip, bzip2 or xz compressed is decompressed in memory.

    Parameters
    ----------
    path : str or path-like
        The file. Its content, not its name, says whether it is compressed.
    folder : str or path-like, optional
        Where there is room for what does not fit into memory. By default all must fit.

    Returns
    -------
    file object
        Binary and seekable; the caller closes it.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, PermissionError
        If it cannot be opened.
    OSError
        If the compressed data are truncated or damaged, compressed in another way, or more than 1 GiB and 200 times
        larger than the file.

    Examples
    --------
    >>> import gzip
    >>> import tempfile
    >>> from pathlib import Path
    >>> from astropy_n2v.io import open_decompressed
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = Path(directory) / 'a.fits'   # whatever its name
    ...     _ = path.write_bytes(gzip.compress(b'SIMPLE  ='))
    ...     with open_decompressed(path) as file:
    ...         file.read()
    b'SIMPLE  ='
    """
    file = open(path, 'rb')
    start = file.read(6)
    file.seek(0)
    module = next((module for magic, module in _MAGIC.items() if start.startswith(magic)), None)
    if module is None:
        for magic, (way, program) in _OTHER_MAGIC.items():
            if start.startswith(magic):
                file.close()
                raise OSError(f'{os.fspath(path)} is compressed {way}, which cannot be read: decompress it first, with '
                              f'{program}')
        return file
    with file:
        try:
            with module.open(file) as stream:
                return _read_limited(stream, os.fstat(file.fileno()).st_size, path, folder)
        except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
            if getattr(error, 'errno', None) in (errno.ENOSPC, errno.EDQUOT):   # of the folder
                raise
            raise OSError(f'{os.fspath(path)}: compressed data are truncated or damaged: {error}') from error


def _read_limited(stream, size, path, folder):
    """Read what is compressed to so many bytes into memory, or a file in a folder, unless it is absurdly much."""
    content = io.BytesIO()
    try:
        while chunk := stream.read(1 << 24):
            if folder is not None and isinstance(content, io.BytesIO) and content.tell() > _IN_MEMORY:
                in_memory, content = content, temporary_file(folder)
                content.write(in_memory.getbuffer())
            content.write(chunk)
            refuse_bomb(content.tell(), size, path)
        content.flush()
    except BaseException:
        content.close()
        raise
    content.seek(0)
    return content


def refuse_bomb(unpacked, packed, path):
    """Refuse data that are far larger than their compressed form: made to fill memories, they come from no camera."""
    if unpacked > _SMALL and unpacked > _MOST_EXPANSION * packed:
        raise OSError(f'{os.fspath(path)}: {packed} compressed bytes would become {unpacked} or more, which is no '
                      'plausible image; if it is one, decompress it first')


def refuse_endless_headers(stream, path):
    """
    Refuse headers whose numbers of axes or columns no file can have.

    Libraries count to the number of axes for hours, and behind an axis of less than nothing the next header seems to
    come before this one, again and again.

    Parameters
    ----------
    stream : file object
        The file, decompressed; it is left at its end.
    path : str or path-like
        Its name.

    Raises
    ------
    OSError
        If a header is such.
    """
    stream.seek(0)
    in_header = False
    while chunk := stream.read(_BLOCK << 12):
        for start in range(0, len(chunk), _BLOCK):
            # Wherever one may begin: where the last one ends is not to be trusted, either.
            in_header = in_header or chunk.startswith((b'SIMPLE  ', b'XTENSION'), start)
            if in_header:
                in_header = _check_counts(chunk[start:start + _BLOCK], path)


def _check_counts(block, path):
    """Check a block of a header; return if it goes on in the next."""
    for start in range(0, len(block), _CARD):
        match = _COUNT.match(block, start)
        if match is not None:
            most = _LARGEST.get(match[1], _LARGEST_SETTING if match[1].startswith(b'ZVAL') else math.inf)
            if not 0 <= int(match[2]) <= most:
                raise OSError(f'{os.fspath(path)} has a header with {match[1].decode()} = {match[2].decode()}, which '
                              'FITS does not allow')
        if block[start:start + 8] == b'END     ':
            return False
    return True


def split_extension(name):
    """
    Take a name such as ``frame.fits[SCI,1]`` apart.

    Parameters
    ----------
    name : str or path-like
        File, with or without an extension in brackets.

    Returns
    -------
    path : str
        The file.
    ext : str or None
        The number or name of the extension, for `~astropy_n2v.io.science_hdus`. None without brackets, or if a file
        has that very name.

    Examples
    --------
    >>> from astropy_n2v.io import split_extension
    >>> split_extension('frame.fits[SCI,1]')
    ('frame.fits', 'SCI,1')
    >>> split_extension('frame.fits')
    ('frame.fits', None)
    """
    name = os.fspath(name)
    match = re.fullmatch(r'(.+)\[([^][]+)\]', name, re.DOTALL)
    if match is None or os.path.lexists(name):
        return name, None
    return match.group(1), match.group(2).strip()


def output_path(path, directory, suffix='_n2v'):
    """
    Name the result of a file: its name with a suffix before the extension.

    Parameters
    ----------
    path : str or path-like
        Input file.
    directory : str or path-like
        Where the result goes.
    suffix : str, optional
        Added to the stem.

    Returns
    -------
    `pathlib.Path`
        The ending stays, so that the result is compressed as the input is: ``.fits.gz``, ``.fits.bz2``,
        ``.fits.xz``, ``.fits.fz``.

    Raises
    ------
    ValueError
        If ``suffix`` has a directory in it.

    Examples
    --------
    >>> from astropy_n2v.io import output_path
    >>> output_path('night1/m51.fits.gz', 'out').as_posix()
    'out/m51_n2v.fits.gz'
    >>> output_path('m51.fit.bz2', 'out').as_posix()
    'out/m51_n2v.fit.bz2'
    """
    if os.path.basename(suffix) != suffix:
        raise ValueError(f'suffix must be part of a file name, without a directory, got {suffix!r}')
    name = Path(path).name
    ending = ''
    for compressed in (*_COMPRESSED_SUFFIXES, '.fz'):
        if name.lower().endswith(compressed):
            name, ending = name[:-len(compressed)], name[-len(compressed):]
            break
    stem, extension = os.path.splitext(name)
    return Path(directory) / f'{stem}{suffix}{extension}{ending}'


def describe_error(error, path=''):
    """
    Say in one line what went wrong with a file.

    Parameters
    ----------
    error : Exception
        The error that was raised.
    path : str or path-like, optional
        The file; the line does not repeat its name at the start.

    Returns
    -------
    str
        The line.

    Examples
    --------
    >>> from astropy_n2v.io import describe_error
    >>> describe_error(ValueError('gain must be positive'))
    'gain must be positive'
    >>> describe_error(FileNotFoundError(2, 'No such file or directory', 'a.fits'), 'a.fits')
    'No such file or directory'
    """
    if isinstance(error, OSError) and error.strerror and str(error.filename) == os.fspath(path):
        return error.strerror
    if isinstance(error, OSError) and error.errno in _ON_WRITING:
        return f'cannot be written: {_ON_WRITING[error.errno]}'
    text = str(error)
    if isinstance(error, OSError) and error.strerror and error.filename2 is None:
        # without the number of the error, which Python puts first
        name = '' if error.filename is None else f'{printable(os.fsdecode(error.filename))}: '
        text = f'{name}{error.strerror}'
    path = os.fspath(path)
    # The name of a result has the stem of the file in it, too.
    for part in path, os.path.dirname(path), os.path.basename(path).partition('.')[0]:
        if part:
            text = text.replace(part, printable(part))
    text = printable(re.sub(r'\s*[\r\n]+\s*', ' ', text.strip())) or type(error).__name__
    if path and text.startswith(printable(path)):
        text = text[len(printable(path)):].lstrip(': ')
    # Of an error that was not foreseen, the text alone may mean nothing.
    return text if isinstance(error, (ValueError, OSError)) else f'{type(error).__name__}: {text}'
