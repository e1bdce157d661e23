# Licensed under a 3-clause BSD style license - see LICENSE
"""
Pictures: JPEG, PNG and TIFF, with all that they hold, in and out.
"""

import os
import struct
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..utils.atomic_files import atomic_write
from .paths import refuse_bomb

__all__ = ['RasterImage', 'is_raster', 'read_raster', 'write_raster']

_FORMATS = {'.jpg': 'JPEG', '.jpeg': 'JPEG', '.png': 'PNG', '.tif': 'TIFF', '.tiff': 'TIFF'}
# Of the JPEG that is written: coarser steps would add more noise than is left.
_QUALITY = 97
_PNG = b'\x89PNG\r\n\x1a\n'
_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}   # of the colour types of PNG that are not a palette
# Chunks of a PNG that depend on its pixels, and are not copied.
_OF_PIXELS = b'IHDR', b'IDAT', b'IEND', b'PLTE', b'tRNS'
# Tags of TIFF that are copied: resolution and its unit, artist, copyright, ICC profile, XMP.
_TIFF_TAGS = 315, 700, 33432, 34675


def is_raster(path):
    """
    Return True if a file is a picture by its name.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    bool
        True for JPEG, PNG and TIFF.

    Examples
    --------
    >>> from astropy_n2v.io.raster import is_raster
    >>> is_raster('m51.TIF'), is_raster('m51.fits')
    (True, False)
    """
    return Path(os.fspath(path)).suffix.lower() in _FORMATS


@dataclass
class RasterImage:
    """
    A picture as it is in its file.

    Parameters
    ----------
    data : `~numpy.ndarray`
        Channels of shape (n, ny, nx), 1 for grey and 3 for colour, as stored: unsigned integers, or floats.
    alpha : `~numpy.ndarray` or None
        Opacity, shape (ny, nx), of the same kind.
    kind : str
        'JPEG', 'PNG' or 'TIFF'.
    extras : dict
        Other content that goes back into a file: EXIF, ICC profile, resolution, text.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.io.raster import RasterImage
    >>> RasterImage(np.zeros((3, 4, 5), dtype='u2')).top
    65535.0
    """

    data: np.ndarray
    alpha: np.ndarray = None
    kind: str = 'PNG'
    extras: dict = field(default_factory=dict, repr=False)

    @property
    def top(self):
        """The largest value of integers; 1 for floats."""
        return float(np.iinfo(self.data.dtype).max) if self.data.dtype.kind in 'ui' else 1.0

    def with_values(self, values):
        """
        Make a picture of other values.

        Parameters
        ----------
        values : array_like
            Of the shape of ``data``.

        Returns
        -------
        RasterImage
            With everything else of this one; integers are rounded, and cut at the ends of their range.
        """
        values = np.asarray(values, dtype=float)
        if self.data.dtype.kind in 'ui':
            values = np.clip(np.rint(values), 0, self.top)
        return replace(self, data=values.astype(self.data.dtype))


def _need(module, purpose):
    """Import a module of the extra ``raster``; ImportError with the command that installs it."""
    import importlib
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f'{purpose} needs {module.split(".")[0]}, which is not installed: '
                          "pip install 'astropy-n2v[raster]'") from error


def read_raster(path):
    """
    Read a picture.

    Parameters
    ----------
    path : str or path-like
        JPEG, PNG (8 or 16 bits) or TIFF (8, 16 or 32 bits, or floats), grey or RGB, with or without alpha.

    Returns
    -------
    RasterImage
        The picture.

    Raises
    ------
    ImportError
        If Pillow, or tifffile for TIFF, is not installed: they are the extra ``raster``.
    OSError
        If the file cannot be read, or would become more than 1 GiB and 200 times larger than it is.
    ValueError
        If it is neither grey nor RGB.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from astropy_n2v.io.raster import RasterImage, read_raster, write_raster
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = Path(directory) / 'a.png'
    ...     write_raster(path, RasterImage(np.full((3, 8, 8), 1000, dtype='u2')))
    ...     read_raster(path).data.dtype.name
    'uint16'
    """
    path = Path(os.fspath(path))
    kind = _FORMATS.get(path.suffix.lower())
    if kind is None:
        raise ValueError(f'{path} must be a picture with one of the extensions {", ".join(_FORMATS)}')
    if kind == 'TIFF':
        return _read_tiff(path)
    with open(path, 'rb') as file:
        start = file.read(26)
    if start.startswith(_PNG) and start[24:25] == b'\x10':
        return _read_png16(path.read_bytes(), path)
    image_module = _need('PIL.Image', f'reading {kind}')
    try:
        with image_module.open(path) as image:
            refuse_bomb(image.width * image.height * len(image.getbands()), path.stat().st_size, path)
            image.load()
            return _from_pillow(image, kind, path)
    except (image_module.UnidentifiedImageError, SyntaxError) as error:   # SyntaxError: of a damaged PNG
        raise OSError(f'{path} is no {kind} file, or it is damaged: {error}') from error


def _from_pillow(image, kind, path):
    """A picture from Pillow, of 8 bits."""
    if image.mode in ('P', 'CMYK', 'YCbCr', '1'):
        image = image.convert('RGBA' if 'transparency' in image.info else 'RGB' if image.mode != '1' else 'L')
    if image.mode not in ('L', 'LA', 'RGB', 'RGBA'):
        raise ValueError(f'{path} must be grey or RGB of 8 or 16 bits, got the mode {image.mode}')
    values = np.asarray(image)
    values = np.moveaxis(values, -1, 0) if values.ndim == 3 else values[None]
    extras = {name: image.info[name] for name in ('exif', 'icc_profile', 'dpi', 'xmp') if image.info.get(name)}
    alpha = values[-1] if image.mode.endswith('A') else None
    return RasterImage(values[:-1] if alpha is not None else values, alpha, kind, extras)


def _read_tiff(path):
    """A picture from tifffile."""
    tifffile = _need('tifffile', 'reading TIFF')
    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
            refuse_bomb(page.nbytes, path.stat().st_size, path)
            values, axes = page.asarray(), page.axes
            if page.photometric not in (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.RGB):
                raise ValueError(f'{path} must be grey or RGB, got {page.photometric.name}')
            tags = {code: page.tags[code].value for code in _TIFF_TAGS if code in page.tags}
            extras = {'tags': tags, 'compression': page.compression,
                      'resolution': tuple(page.tags[code].value for code in (282, 283) if code in page.tags),
                      'unit': page.tags[296].value if 296 in page.tags else None}
    except tifffile.TiffFileError as error:
        raise OSError(f'{path} is no TIFF file, or truncated: {error}') from error
    values = values[None] if values.ndim == 2 else np.moveaxis(values, axes.index('S'), 0)
    if values.dtype.kind not in 'uf' or len(values) not in (1, 2, 3, 4):
        raise ValueError(f'{path} must have 1 to 4 channels of unsigned integers or floats, got {len(values)} of '
                         f'{values.dtype}')
    alpha = values[-1] if len(values) in (2, 4) else None
    return RasterImage(values[:-1] if alpha is not None else values, alpha, 'TIFF', extras)


def _chunks(content, path):
    """Yield kind and content of the chunks of a PNG."""
    place = len(_PNG)
    while place + 8 <= len(content):
        size, kind = struct.unpack('>I4s', content[place:place + 8])
        data = content[place + 8:place + 8 + size]
        if len(data) < size:
            raise OSError(f'{path} is truncated')
        yield kind, data
        place += size + 12


def _read_png16(content, path):
    """A PNG of 16 bits, of which Pillow would drop 8."""
    chunks = list(_chunks(content, path))
    width, height, depth, colour, _, _, interlaced = struct.unpack('>IIBBBBB', chunks[0][1])
    if depth != 16 or colour not in _CHANNELS or interlaced:
        raise ValueError(f'{path} must not be interlaced to be read with 16 bits')
    n = _CHANNELS[colour]
    size = height * (1 + 2 * n * width)
    refuse_bomb(size, len(content), path)
    try:
        # No more than the header says, whatever there is.
        raw = zlib.decompressobj().decompress(b''.join(data for kind, data in chunks if kind == b'IDAT'), size)
    except zlib.error as error:
        raise OSError(f'{path} is truncated or damaged: {error}') from error
    if len(raw) < size:
        raise OSError(f'{path} is truncated or damaged: {size - len(raw)} bytes of its pixels are missing')
    lines = np.frombuffer(raw, dtype=np.uint8).reshape(height, 1 + 2 * n * width)
    values = _unfilter(lines, 2 * n).view('>u2').astype(np.uint16).reshape(height, width, n)
    values = np.moveaxis(values, -1, 0)
    kept = [(kind, data) for kind, data in chunks if kind not in _OF_PIXELS]
    alpha = values[-1] if n in (2, 4) else None
    return RasterImage(values[:-1] if alpha is not None else values, alpha, 'PNG', {'chunks': kept})


def _unfilter(lines, step):
    """Undo the filters of PNG (section 9 of its specification); ``step`` bytes are a pixel."""
    result = np.zeros((len(lines), lines.shape[1] - 1), dtype=np.uint8)
    above = np.zeros(result.shape[1], dtype=np.uint8)
    for row, line in zip(result, lines):
        row[:] = line[1:]
        if line[0] == 1:
            # Each byte is a difference to the same byte of the pixel before.
            row[:] = np.cumsum(row.reshape(-1, step), axis=0, dtype=np.uint8).ravel()
        elif line[0] == 2:
            row += above
        elif line[0] in (3, 4):
            _predict(row, above, step, paeth=line[0] == 4)
        above = row
    return result


def _predict(row, above, step, *, paeth):
    """Undo the filters that need each pixel before the next, in place."""
    line, up = row.reshape(-1, step).astype(int), above.reshape(-1, step).astype(int)
    left, corner = np.zeros(step, dtype=int), np.zeros(step, dtype=int)
    for i in range(len(line)):
        if paeth:
            guess = left + up[i] - corner
            a, b, c = np.abs(guess - left), np.abs(guess - up[i]), np.abs(guess - corner)
            best = np.where((a <= b) & (a <= c), left, np.where(b <= c, up[i], corner))
        else:
            best = (left + up[i]) // 2
        left = line[i] = (line[i] + best) & 255
        corner = up[i]
    row[:] = line.astype(np.uint8).ravel()


def write_raster(path, image, *, overwrite=False, inputs=(), complete=None):
    """
    Write a picture.

    Parameters
    ----------
    path : str or path-like
        File of the kind of the picture.
    image : RasterImage
        The picture; alpha, EXIF, ICC profile and resolution are written as they were read.
    overwrite : bool, optional
        If true, replace an existing file.
    inputs : iterable of path, optional
        Files that must not be replaced in any case.
    complete : callable, optional
        Called with the temporary file when it is complete, before it has its name.

    Raises
    ------
    ImportError
        If Pillow or tifffile is not installed.
    OSError
        If the file exists, or cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from astropy_n2v.io.raster import RasterImage, write_raster
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     write_raster(Path(directory) / 'a.png', RasterImage(np.zeros((1, 8, 8), dtype='u2')))
    """
    channels = image.data if image.alpha is None else np.concatenate([image.data, image.alpha[None]])
    values = np.moveaxis(channels, 0, -1)
    values = values[..., 0] if values.shape[-1] == 1 else values
    with atomic_write(path, overwrite=overwrite, inputs=inputs) as temporary:
        if image.kind == 'TIFF':
            _write_tiff(temporary, values, image)
        elif image.kind == 'PNG' and image.data.dtype.itemsize == 2:
            temporary.write_bytes(_png16(values, image.extras.get('chunks', [])))
        else:
            _need('PIL.Image', f'writing {image.kind}').fromarray(values).save(
                temporary, image.kind, **image.extras, **({'quality': _QUALITY, 'subsampling': 0}
                                                          if image.kind == 'JPEG' else {}))
        if complete is not None:
            complete(temporary)


def _write_tiff(path, values, image):
    """Write TIFF as it was compressed, with the tags that are copied."""
    tifffile = _need('tifffile', 'writing TIFF')
    extras = image.extras
    tags = [(code, 's' if isinstance(value, str) else 'B', 0 if isinstance(value, str) else len(value), value, True)
            for code, value in extras.get('tags', {}).items()]
    resolution = extras.get('resolution') or None
    compression = extras.get('compression', 1)
    tifffile.imwrite(path, values, photometric='rgb' if len(image.data) == 3 else 'minisblack',
                     planarconfig='contig' if values.ndim == 3 else None, metadata=None, extratags=tags,
                     extrasamples=None if image.alpha is None else ['unassalpha'],
                     resolution=resolution if resolution and len(resolution) == 2 else None,
                     resolutionunit=extras.get('unit'),
                     # Of the others, most need a further package.
                     compression='zlib' if compression in (8, 32946) else None)


def _png16(values, chunks):
    """A PNG of 16 bits."""
    height, width = values.shape[:2]
    n = 1 if values.ndim == 2 else values.shape[2]
    colour = next(kind for kind, channels in _CHANNELS.items() if channels == n)
    lines = np.ascontiguousarray(values, dtype='>u2').reshape(height, -1).view(np.uint8).reshape(height, -1, 2 * n)
    # Differences to the pixel before compress better.
    lines = np.diff(lines, axis=1, prepend=np.zeros((height, 1, 2 * n), dtype=np.uint8)).reshape(height, -1)
    raw = np.concatenate([np.ones((height, 1), dtype=np.uint8), lines], axis=1).tobytes()
    header = struct.pack('>IIBBBBB', width, height, 16, colour, 0, 0, 0)
    parts = [(b'IHDR', header), *chunks, (b'IDAT', zlib.compress(raw, 6)), (b'IEND', b'')]
    return _PNG + b''.join(struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
                           for kind, data in parts)
