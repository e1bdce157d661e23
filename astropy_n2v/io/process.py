# Licensed under a 3-clause BSD style license - see LICENSE
"""
Files in which images are replaced in place, and everything else stays as it was.
"""

import math
import warnings
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from astropy.nddata import StdDevUncertainty
from astropy.utils.exceptions import AstropyUserWarning

from ..config import conf
from ..exceptions import CannotDenoiseError
from ..utils.atomic_files import atomic_write
from ..utils.scratch import blockwise, every, scratch_for
from ..utils.warn import warn_user
from .headers import transfer_cards
from .illegal_cards import hide_cards
from .reading import read_image
from .select import companions, hdu_label, science_hdus
from .source import FitsSource
from .writing import Extensions, make_hdu, open_output, write_hdu

__all__ = ['FitsResult', 'ImageResult', 'process_fits']

_SCALING = ('BZERO', 'BSCALE', 'BLANK')
_CHECKSUMS = ('CHECKSUM', 'DATASUM')


class FitsResult(NamedTuple):
    """
    Outcome for the images of a file.

    Parameters
    ----------
    output : `pathlib.Path`
        The file that was written.
    denoised : list of str
        Numbers and names of the HDUs whose data were replaced.
    unchanged : list of str
        Those that were chosen, but passed through as they were.
    images : list of ImageResult
        All that were chosen, in the order of the file.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from astropy_n2v.batch import denoise_fits
    >>> from astropy_n2v.simulate import make_scene
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = Path(directory) / 'a.fits'
    ...     make_scene('survey', (64, 64), seed=1).observe(seed=1).write(path)
    ...     result = denoise_fits(path, Path(directory) / 'b.fits')
    >>> len(result.denoised), result.unchanged, result.output.name
    (1, [], 'b.fits')
    """

    output: Path
    denoised: list
    unchanged: list
    images: list = ()


class ImageResult(NamedTuple):
    """
    Outcome of one image of a file.

    Parameters
    ----------
    hdu : str
        Number and name of its HDU.
    error : str
        Why it passed through as it was, or was not written at all; empty if it was denoised.
    cards : `~astropy.io.fits.Header`
        The cards N2V* that say how the result was made, also if they were not to be written. Without a
        result, N2VAUDIT if an audit refused it.

    Examples
    --------
    >>> from astropy.io import fits
    >>> from astropy_n2v.io import ImageResult
    >>> ImageResult('1 (SCI,1)', '', fits.Header({'N2VMODEL': 'default-1x1'})).cards['N2VMODEL']
    'default-1x1'
    """

    hdu: str
    error: str
    cards: fits.Header


def values_per_image(values, chosen):
    """
    Return the values for each image of a file, from values for all and lists.

    Parameters
    ----------
    values : dict
        The values.
    chosen : list
        The images.

    Returns
    -------
    list of dict
        Keywords for each image.

    Raises
    ------
    ValueError
        If a list has another length.
    """
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


@contextmanager
def reading(path):
    """Turn all errors that libraries raise for damaged files into OSError."""
    try:
        yield
    except (OSError, ValueError):
        raise
    except MemoryError as error:
        raise OSError(f'{path}: memory does not suffice to read it, or it is damaged') from error
    except Exception as error:
        text = ' '.join(str(error).split())
        raise OSError(f'{path} is damaged: {type(error).__name__}: {text}') from error


@contextmanager
def _naming(label):
    """Say of which HDU it is what is warned of meanwhile."""
    caught = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            yield
    finally:
        for warning in caught:
            if issubclass(warning.category, AstropyUserWarning):
                warn_user(f'{warning.message} [HDU {label}]', warning.category)
            else:
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


class _Style(NamedTuple):
    """How images are written: with HISTORY, with uncertainties in place of old ones, with loss."""

    provenance: bool = True
    replace_uncertainty: bool = False
    quantize: float = None


def _replace(source, index, result, extras, before, out, extensions, style, mask, uncertainty):
    """Write an HDU with new data, and queue its deviation and what else there is."""
    provenance = style.provenance
    science = source.hdus[index]
    header = source.headers[index]
    hidden = hide_cards(header, source.forbidden[index])
    for keyword in (*_SCALING, *_CHECKSUMS):
        header.remove(keyword, ignore_missing=True, remove_all=True)
    # Arithmetic with CCDData makes plain dictionaries of headers.
    if isinstance(result.meta, fits.Header):
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', fits.verify.VerifyWarning)   # comments cut to fit the card
            transfer_cards(before, result.meta, header)
    label = hdu_label(science, index)
    if mask is not None:
        # The name that CCDData.read looks for, in the order of CCDData.write, unless a mask of the input has it.
        taken = ('MASK', science.ver) in extensions.taken
        name = 'MASK_N2V' if taken else 'MASK'
        ver = extensions.add(name, mask.view(np.uint8), science,
                             comment=f'1 where HDU {label} did not count, from astropy_n2v')
        if provenance:
            header.add_history(f'astropy_n2v: pixels that did not count are 1 in {name},{ver}')
    if result.uncertainty is not None and not (
            style.replace_uncertainty and _replace_uncertainty(source, index, result, extensions, uncertainty, header)):
        std = _as_kind(result.uncertainty, StdDevUncertainty)
        stale = companions(source.hdus, index)[0]
        old = None if stale is None else source.hdus[stale]
        # A reader would take it for the uncertainty of the result. If it comes first, it has been written.
        instead = stale if old is not None and old.name == 'UNCERT' and stale > index else None
        name = '' if old is None else old.name if instead is None else 'UNCERT_IN'
        ver = extensions.add('UNCERT', std, science, unit=before.get('BUNIT'), utype='StdDevUncertainty',
                             comment=f'Standard deviation of HDU {label}, from astropy_n2v', instead_of=instead)
        if instead is not None:
            extensions.rename(old, name)
        if provenance:
            header.add_history(f'astropy_n2v: standard deviation of the result is in UNCERT,{ver}')
            if old is not None:
                header.add_history(f'astropy_n2v: {name},{old.ver} is the uncertainty before denoising')
    for name, (array, has_unit, comment) in extras.items():
        extensions.add(name, array, science, unit=before.get('BUNIT') if has_unit else None,
                       comment=f'{comment}, of HDU {label}, from astropy_n2v')
    write_hdu(make_hdu(result.data, header, science, style.quantize), source.checksums[index], out,
              extensions.directory, hidden)


def _as_kind(uncertainty, kind):
    """Return the array of an uncertainty as one of another kind."""
    if isinstance(uncertainty, kind):
        return uncertainty.array
    return blockwise(lambda part: type(uncertainty)(part, copy=False).represent_as(kind).array, uncertainty.array,
                     dtype=uncertainty.array.dtype)


def _replace_uncertainty(source, index, result, extensions, old, header):
    """Replace the uncertainty of the data by the one of a result, in its kind; return if that was possible."""
    stale = companions(source.hdus, index)[0]
    if stale is None or old is None:
        return False
    hdu = source.hdus[stale]
    if stale < index:
        warn_user(f'{hdu.name},{hdu.ver} comes before its image and stays; the uncertainty of the result is in UNCERT')
        return False
    array = _as_kind(result.uncertainty, type(old))
    unit = type(result.uncertainty)(np.ones(1), unit=result.uncertainty.unit).represent_as(type(old)).unit
    if old.unit is not None and unit is not None and old.unit != unit:
        array = blockwise(lambda part: (part * unit).to_value(old.unit), array, dtype=array.dtype)
    if hdu.shape != array.shape:
        return False
    own = hdu.header.copy()
    for keyword in (*_SCALING, *_CHECKSUMS):
        own.remove(keyword, ignore_missing=True, remove_all=True)
    own.add_history(f'astropy_n2v: uncertainty of the result in HDU {hdu_label(source.hdus[index], index)}')
    extensions.put(stale, make_hdu(array.astype(np.float32, copy=False), own, hdu), source.checksums[stale])
    header.add_history(f'astropy_n2v: uncertainty of the result is in {hdu.name},{hdu.ver}')
    return True


def _mask_to_add(mask, known):
    """Return the mask of a result if it has more than is known from the file, else None."""
    if mask is None or mask is np.ma.nomask:
        return None
    mask = np.asarray(mask, dtype=bool)
    if known is None:
        return mask if mask.any() else None
    return None if every(lambda own, before: ~own | before, mask, np.broadcast_to(known, mask.shape)) else mask


def process_fits(path, output, function, *, ext=None, ignore_bits=0, mask=None, uncertainty=None, overwrite=False,
                 protect=(), per_image=None, complete=None, **style):
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
        with new cards if its meta is a `~astropy.io.fits.Header`; or a pair of that and a
        dictionary of further extensions: for each EXTNAME an array, whether it has the unit of
        the data, and a comment.
    ext, ignore_bits, mask, uncertainty : optional
        See `read_fits_images`.
    overwrite : bool, optional
        Whether to replace an existing ``output``.
    protect : iterable of path, optional
        Files beside ``path`` that must not be replaced in any case.
    provenance : bool, optional
        Whether to say in HISTORY where uncertainty and mask are.
    per_image : dict, optional
        Keywords for ``function``: values that are lists or tuples have one entry for each
        image, all others are the same for all.
    complete : callable, optional
        Called with the temporary file when it is complete, and the result, before the file has its name. An
        error that it raises keeps the file from appearing.
    replace_uncertainty : bool, optional
        If true, an uncertainty of the file (ERR, VAR, ...) that comes after its image is replaced by the
        uncertainty of the result, in its kind and unit. By default it stays, and UNCERT is appended.
    quantize : float, optional
        Into how many steps the noise of an image that is compressed tile by tile is divided, as by ``fpack -q``; its
        compression then loses what is below. By default it loses nothing.

    Returns
    -------
    FitsResult
        The outcome for each image.

    Raises
    ------
    OSError
        If the file does not exist, is not FITS or is truncated, or the output cannot be
        written or exists.
    ValueError
        If there is no (such) image, or output and input are the same file, or from
        ``function``; where there are several images, one of which it raises a
        `~astropy_n2v.CannotDenoiseError` passes through with a warning.

    Notes
    -----
    Of the images only data and the cards that ``function`` added or changed are written; BZERO,
    BSCALE and BLANK go, and CHECKSUM is updated if there was one. Compressed images
    are written without loss. All other HDUs are copied byte by byte. The uncertainty is
    appended as an UNCERT extension of the same EXTVER. If there is one already that belongs to the
    image, it takes its place, and the old one is appended as UNCERT_IN; if there is another, it gets
    a version that no HDU has. The mask of the result is appended as MASK (1 where pixels did not count)
    where it has more than the masks of the file; as MASK_N2V if there is a MASK of that version.

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
    images = []
    given = {} if uncertainty is None else {'uncertainty': uncertainty}
    style = _Style(**style)
    with ExitStack() as stack:
        temporary = stack.enter_context(atomic_write(output, overwrite=overwrite, inputs=[path, *protect]))
        with reading(path):
            source = stack.enter_context(FitsSource(path, folder=conf.scratch_directory or output.parent))
            chosen = science_hdus(source.hdus, ext)
        largest = max((source.hdus[i].shape for i in chosen), key=math.prod)
        stack.enter_context(scratch_for(largest, output.parent))
        keywords = dict(zip(chosen, values_per_image(per_image or {}, chosen)))
        # Before the data are read, which takes the scaling out of a header.
        source.headers = {i: source.hdus[i].header.copy() for i in chosen}
        with open_output(temporary, output) as out, Extensions(source.hdus, output.parent) as extensions:
            for i, hdu in enumerate(source.hdus):
                if i not in chosen:
                    if not extensions.replace(i, out):
                        source.copy(i, out)
                    continue
                label = hdu_label(hdu, i)
                with reading(path):
                    # The WCS names the axes of the sky of a cube.
                    ccd = read_image(source, i, ignore_bits, mask=mask, wcs=len(hdu.shape) > 2, **given)
                before = ccd.meta.copy()
                # A mask from elsewhere is not in the file.
                known = ccd.mask if mask is None else None
                old = ccd.uncertainty if uncertainty is None else None
                try:
                    with _naming(label) if len(chosen) > 1 else nullcontext():
                        result = function(ccd, **keywords[i])
                except CannotDenoiseError as error:
                    images.append(ImageResult(label, str(error), refusal_cards(error)))
                    if sum(bool(image.error) for image in images) == len(chosen):
                        raise
                    warn_user(f'HDU {label} passes through as it is: {error}')
                    _pass_through(source, i, out, images[-1].cards if style.provenance else None)
                    continue
                finally:
                    del ccd
                result, extras = result if isinstance(result, tuple) else (result, {})
                _replace(source, i, result, extras, before, out, extensions, style,
                         _mask_to_add(result.mask, known), old)
                images.append(ImageResult(label, '', own_cards(result.meta)))
                del result, extras, known, old
            extensions.copy(out)
        result = FitsResult(output, [image.hdu for image in images if not image.error],
                            [image.hdu for image in images if image.error], images)
        if complete is not None:
            complete(temporary, result)
    return result


def refusal_cards(error):
    """Return the card that says what an audit found if it refused a result, else an empty header."""
    report = getattr(error, 'report', None)
    return fits.Header() if report is None else fits.Header(
        [('N2VAUDIT', report.summary(), 'of a result that was refused: data as measured')])


def _pass_through(source, index, out, cards):
    """Write an HDU as it is, or with one card more."""
    if cards:
        source.copy_with_card(index, out, cards.cards[0])
    else:
        source.copy(index, out)


def own_cards(meta):
    """Take the cards that this package writes from a header or dictionary."""
    if isinstance(meta, fits.Header):
        return fits.Header([card for card in meta.cards if card.keyword.startswith('N2V')])
    return fits.Header({name: value for name, value in meta.items() if str(name).startswith('N2V')})
