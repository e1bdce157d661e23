# Licensed under a 3-clause BSD style license - see LICENSE
"""
FITS files in and out: images are replaced in place, everything else stays as it was.
"""

import io
import logging
import shutil
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, InverseVariance, StdDevUncertainty, VarianceUncertainty
from astropy.nddata.bitmask import bitfield_to_boolean_mask
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS

from .files import open_decompressed, replacing
from .headers import merge_headers, parse_unit, transfer_cards
from .select import UNCERTAINTY_NAMES, companions, hdu_label, science_hdus

__all__ = ['FitsResult', 'denoise_fits', 'process_fits', 'read_fits_images']

log = logging.getLogger(__name__)

_BLOCK = 2880
_UNCERTAINTIES = {'std': StdDevUncertainty, 'var': VarianceUncertainty, 'ivar': InverseVariance}
_SCALING = ('BZERO', 'BSCALE', 'BLANK')
_CHECKSUMS = ('CHECKSUM', 'DATASUM')


class FitsResult(NamedTuple):
    """
    What became of the images of a file.

    Parameters
    ----------
    output : `pathlib.Path`
        The file that was written.
    denoised : list of str
        Numbers and names of the HDUs whose data were replaced.
    unchanged : list of str
        Those that were chosen, but passed through as they were.
    """

    output: Path
    denoised: list
    unchanged: list


class _Source:
    """
    A FITS file that is read twice: its images decoded, and the bytes of all HDUs as they are.

    Bytes, because astropy mends cards and compresses images anew when it writes.
    """

    def __init__(self, path):
        self.path = path
        self.stream = open_decompressed(path)
        self.hdus = None
        try:
            self.spans, self.sizes = self._layout()
            with warnings.catch_warnings():
                # Where only the padding of the last block is missing nothing is lost.
                warnings.filterwarnings('ignore', 'File may have been truncated', AstropyUserWarning)
                self.hdus = self._open()
                len(self.hdus)   # reads all headers
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

    def _open(self, **kwargs):
        # HDUList.close closes what it was opened on; bytes of BytesIO are shared, not copied.
        stream = io.BytesIO(self.stream.getvalue()) if isinstance(self.stream, io.BytesIO) else open(self.path, 'rb')
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
        """Where the HDUs begin and end, and how long their data are."""
        end = self.stream.seek(0, io.SEEK_END)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')   # what astropy suspects is checked below
            with self._open(disable_image_compression=True) as hdus:
                infos = [hdu.fileinfo() for hdu in hdus]
                sizes = [hdu.size for hdu in hdus]
        spans = [(info['hdrLoc'], info['datLoc'] + info['datSpan']) for info in infos]
        missing = infos[-1]['datLoc'] + sizes[-1] - end
        if missing > 0:
            raise OSError(f'{self.path} is truncated: {missing} bytes of data of its last HDU are missing')
        self.stream.seek(min(spans[-1][1], end))
        if self.stream.read(8) == b'XTENSION':
            raise OSError(f'{self.path} is truncated or damaged: the header after HDU {len(infos) - 1} cannot be read')
        return spans, sizes

    def copy(self, index, out):
        """Write an HDU as it is to a file."""
        start, end = self.spans[index]
        self.stream.seek(start)
        left = end - start
        while left:
            chunk = self.stream.read(min(left, 1 << 24))
            if not chunk:   # some files lack the padding of their last block
                out.write(bytes(left))
                break
            out.write(chunk)
            left -= len(chunk)


def _read_mask(hdu, ignore_bits):
    """True where the quality plane says that pixels are bad."""
    flags = np.asarray(hdu.data)
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


def _read_uncertainty(hdu, unit):
    """An uncertainty from its HDU, for data in some unit."""
    kind = UNCERTAINTY_NAMES[hdu.name.upper()]
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
    return _UNCERTAINTIES[kind](np.asarray(hdu.data), unit=own)


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


def _read_image(hdus, index, ignore_bits, *, wcs=False):
    """An image with its uncertainty and mask as a CCDData."""
    hdu = hdus[index]
    primary = hdus[0].header if index else None
    header = merge_headers(hdu.header, primary)
    unit = parse_unit(header.get('BUNIT'))
    uncertainty, mask = companions(hdus, index)
    log.info('HDU %s: %s, unit %s, uncertainty %s, mask %s', hdu_label(hdu, index), 'x'.join(map(str, hdu.shape)),
             unit, *('none' if i is None else hdu_label(hdus[i], i) for i in (uncertainty, mask)))
    own_wcs = _read_wcs(header, hdus) if wcs else None
    ccd = CCDData(
        hdu.data, unit=unit, meta=header, wcs=own_wcs,
        uncertainty=None if uncertainty is None else _read_uncertainty(hdus[uncertainty], unit),
        mask=None if mask is None or ignore_bits is None else _read_mask(hdus[mask], ignore_bits))
    # The data live on in ccd only, so that they go when it goes.
    for i in (index, uncertainty, mask):
        if i is not None:
            del hdus[i].data
    return ccd


def read_fits_images(path, ext=None, *, ignore_bits=0):
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
        If it has no (such) science image.

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
    with _Source(path) as source:
        return [_read_image(source.hdus, i, ignore_bits, wcs=True) for i in science_hdus(source.hdus, ext)]


def _per_image(values, chosen):
    """Keywords for each image from values that are one for all, or a list of one for each."""
    rows = [{} for _ in chosen]
    for name, value in values.items():
        if isinstance(value, (list, tuple)):
            if len(value) not in (1, len(chosen)):
                raise ValueError(f'{name} must have one value, or one for each of the {len(chosen)} images of the '
                                 f'file, got {len(value)}')
            value = list(value) * (len(chosen) // len(value))
        else:
            value = [value] * len(chosen)
        for row, entry in zip(rows, value):
            row[name] = entry
    return rows


def _encode(hdu, checksum):
    """The bytes of an HDU."""
    buffer = io.BytesIO()
    primary = isinstance(hdu, fits.PrimaryHDU)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', fits.verify.VerifyWarning)   # cards of the input that are mended
        fits.HDUList([hdu] if primary else [fits.PrimaryHDU(), hdu]).writeto(
            buffer, output_verify='silentfix+ignore', checksum=checksum)
    return buffer.getbuffer()[0 if primary else _BLOCK:]


def _make_hdu(data, header, like):
    """An HDU of the kind of another: primary, extension, or losslessly compressed."""
    if isinstance(like, fits.CompImageHDU):
        # Quantised as usual, a denoised image would lose what was gained: its noise is far below the input's.
        return fits.CompImageHDU(data, header, compression_type='GZIP_2', quantize_level=0,
                                 tile_shape=tuple(int(n) for n in like.tile_shape))
    if isinstance(like, fits.PrimaryHDU):
        header['EXTEND'] = True
        return fits.PrimaryHDU(data, header)
    return fits.ImageHDU(data, header)


class _Uncertainties:
    """The UNCERT extensions to be appended, kept on disk until all others have been written."""

    def __init__(self, hdus, directory):
        self.taken = {hdu.ver for hdu in hdus if hdu.name.upper() == 'UNCERT'}
        self.file = tempfile.TemporaryFile(dir=directory)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.file.close()

    def add(self, array, science, index, unit):
        """Add the deviation of an image; return the version of its extension."""
        ver = science.ver
        if ver in self.taken:
            ver = max(self.taken) + 1
        self.taken.add(ver)
        header = fits.Header()
        header['EXTNAME'] = ('UNCERT', 'extension name')
        header['EXTVER'] = (ver, 'extension version number')
        if unit is not None:
            header['BUNIT'] = unit
        header['UTYPE'] = ('StdDevUncertainty', 'type of the uncertainty')
        header.add_comment(f'Standard deviation of HDU {hdu_label(science, index)}, from astropy_n2v')
        like = science if isinstance(science, fits.CompImageHDU) else None
        self.file.write(_encode(_make_hdu(array, header, like), checksum=False))
        return ver

    def copy(self, out):
        """Write them to a file."""
        self.file.seek(0)
        shutil.copyfileobj(self.file, out, 1 << 24)


def _replace(source, index, result, before, out, uncertainties, provenance):
    """Write an HDU with new data, and queue its deviation."""
    science = source.hdus[index]
    header = source.headers[index]
    checksum = any(keyword in header for keyword in _CHECKSUMS)
    for keyword in (*_SCALING, *_CHECKSUMS):
        header.remove(keyword, ignore_missing=True, remove_all=True)
    # Arithmetic with CCDData makes plain dictionaries of headers.
    if isinstance(result.meta, fits.Header):
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', fits.verify.VerifyWarning)   # comments cut to fit the card
            transfer_cards(before, result.meta, header)
    std = result.uncertainty
    if std is not None:
        ver = uncertainties.add(std.represent_as(StdDevUncertainty).array, science, index, before.get('BUNIT'))
        if provenance:
            header.add_history(f'astropy_n2v: standard deviation of the result is in UNCERT,{ver}')
            stale = [i for i in (companions(source.hdus, index)[0],) if i is not None]
            for i in stale:
                hdu = source.hdus[i]
                header.add_history(f'astropy_n2v: {hdu.name},{hdu.ver} is that of the data before denoising')
    out.write(_encode(_make_hdu(result.data, header, science), checksum))


def _open_output(path, name):
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


def process_fits(path, output, function, *, ext=None, ignore_bits=0, overwrite=False, protect=(), provenance=True,
                 per_image=None):
    """
    Replace the science images of a FITS file by what a function makes of them.

    Parameters
    ----------
    path : str or path-like
        FITS file; it may be compressed as a whole or tile by tile.
    output : str or path-like
        File to be written. It appears when it is complete. ``.gz`` means compressed.
    function : callable
        Takes a `~astropy.nddata.CCDData` and returns another with new data and uncertainty, and
        with new cards if its meta is a `~astropy.io.fits.Header`.
    ext, ignore_bits : optional
        See `read_fits_images`.
    overwrite : bool, optional
        Whether to replace an existing ``output``.
    protect : iterable of path, optional
        Files beside ``path`` that must not be replaced in any case.
    provenance : bool, optional
        Whether to say in HISTORY where the uncertainty is.
    per_image : dict, optional
        Keywords for ``function``: values that are lists or tuples have one entry for each
        image, all others are the same for all.

    Returns
    -------
    FitsResult
        What was done.

    Raises
    ------
    OSError
        If the file does not exist, is not FITS or is truncated, or the output cannot be
        written or exists.
    ValueError
        If there is no (such) image, or output and input are the same file, or from
        ``function``; where there are several images, one that is constant or fully masked
        passes through with a warning.

    Notes
    -----
    Of the images only data and the cards that ``function`` added or changed are written; BZERO,
    BSCALE and BLANK go, and CHECKSUM is updated if there was one. Compressed images
    are written without loss. All other HDUs are copied byte by byte. The uncertainty is
    appended as an UNCERT extension of the same EXTVER, or if there is one already, of the next
    free version.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from pathlib import Path
    >>> from astropy.io import fits
    >>> from astropy_n2v.io import process_fits
    >>> def halve(ccd):
    ...     return ccd.divide(2.0, handle_meta='first_found')
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path, output = Path(directory) / 'a.fits', Path(directory) / 'b.fits'
    ...     fits.writeto(path, np.ones((16, 24)))
    ...     result = process_fits(path, output, halve)
    ...     float(fits.getdata(output).mean())
    0.5
    """
    output = Path(output)
    denoised, unchanged = [], []
    with replacing(output, overwrite=overwrite, inputs=[path, *protect]) as temporary, _Source(path) as source:
        chosen = science_hdus(source.hdus, ext)
        keywords = dict(zip(chosen, _per_image(per_image or {}, chosen)))
        # Before the data are read, which takes the scaling out of a header.
        source.headers = {i: source.hdus[i].header.copy() for i in chosen}
        reason = None
        with _open_output(temporary, output) as out, _Uncertainties(source.hdus, output.parent) as uncertainties:
            for i, hdu in enumerate(source.hdus):
                result = None
                if i in chosen:
                    ccd = _read_image(source.hdus, i, ignore_bits)
                    before = ccd.meta.copy()
                    try:
                        result = function(ccd, **keywords[i])
                    except ValueError as error:
                        reason = error
                        if len(chosen) == 1 or not ('constant' in str(error) or 'no valid pixel' in str(error)):
                            raise
                        warnings.warn(f'HDU {hdu_label(hdu, i)} passes through as it is: {error}', AstropyUserWarning,
                                      stacklevel=2)
                        unchanged.append(hdu_label(hdu, i))
                    del ccd
                if result is None:
                    source.copy(i, out)
                else:
                    _replace(source, i, result, before, out, uncertainties, provenance)
                    denoised.append(hdu_label(hdu, i))
            if not denoised:
                raise reason
            uncertainties.copy(out)
    return FitsResult(output, denoised, unchanged)


def denoise_fits(path, output, model=None, *, ext=None, ignore_bits=0, gain=None, readnoise=None, satlevel=None,
                 overwrite=False, protect=(), add_keyword=True, **kwargs):
    """
    Denoise the science images of a FITS file; everything else in it stays as it was.

    Parameters
    ----------
    path : str or path-like
        FITS file; it may be compressed as a whole or tile by tile.
    output : str or path-like
        File to be written. It appears when it is complete.
    model : str, path or Denoiser, optional
        See `astropy_n2v.denoise`.
    ext, ignore_bits : optional
        See `read_fits_images`.
    gain, readnoise, satlevel : optional
        See `astropy_n2v.denoise`. Lists or tuples have one entry for each image.
    overwrite : bool, optional
        Whether to replace an existing ``output``.
    protect : iterable of path, optional
        Files beside ``path`` that must not be replaced in any case.
    add_keyword : bool, optional
        Whether to write to the headers how the result was made.
    **kwargs
        Other keywords of `astropy_n2v.denoise`, for all images.

    Returns
    -------
    FitsResult
        What was done.

    Raises
    ------
    OSError
        If the file does not exist, is not FITS or is truncated, or the output cannot be
        written or exists.
    ValueError
        If there is no (such) image, or output and input are the same file, or
        `astropy_n2v.denoise` does not accept the image.

    See Also
    --------
    process_fits : What happens to the file.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from astropy_n2v.io import denoise_fits
    >>> from astropy_n2v.simulate import make_scene
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path, output = Path(directory) / 'a.fits', Path(directory) / 'b.fits'
    ...     make_scene('survey', (64, 64), seed=1).observe(seed=2).write(path)
    ...     denoise_fits(path, output).denoised
    ['0 (PRIMARY,1)']
    """
    def function(ccd, **own):
        from ..ccd import denoise
        return denoise(ccd, model, add_keyword=add_keyword, **kwargs, **own)

    return process_fits(path, output, function, ext=ext, ignore_bits=ignore_bits, overwrite=overwrite, protect=protect,
                        provenance=add_keyword,
                        per_image={'gain': gain, 'readnoise': readnoise, 'satlevel': satlevel})
