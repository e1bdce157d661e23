# Licensed under a 3-clause BSD style license - see LICENSE
"""
Which extensions of a FITS file are images of the sky, and which belong to them.
"""

import logging
import re
from itertools import pairwise

import numpy as np
from astropy.io import fits

from .axes import describe_axes, plane_shape
from .conventions import KINDS, MASKS, Meaning, card_text, meaning_of, meaning_of_name

__all__ = ['companions', 'hdu_label', 'science_hdus']

log = logging.getLogger(__name__)

_SMALLEST = 8   # pixels; smaller images cannot be denoised
_IMAGES = (fits.PrimaryHDU, fits.ImageHDU, fits.CompImageHDU)


def hdu_label(hdu, index):
    """
    Name an HDU for people: its number, and its name if it has one.

    Parameters
    ----------
    hdu : HDU
        The HDU.
    index : int
        Its position in the file.

    Returns
    -------
    str
        Such as ``'1 (SCI,1)'``.

    Examples
    --------
    >>> from astropy.io import fits
    >>> from astropy_n2v.io import hdu_label
    >>> hdu_label(fits.ImageHDU(name='SCI'), 1)
    '1 (SCI,1)'
    """
    return f'{index} ({hdu.name},{hdu.ver})' if hdu.name else str(index)


def _is_image(hdu, smallest=2):
    """Check if an HDU holds an image of two or more dimensions; its data are not read."""
    if not isinstance(hdu, _IMAGES) or isinstance(hdu, fits.GroupsHDU):
        return False
    shape = hdu.shape
    if len(shape) < 2 or 0 in shape:
        return False
    return min(shape[-2:]) >= smallest or len(shape) > 2 and min(plane_shape(hdu)) >= smallest


def _meanings(hdus, smallest=2):
    """Find the meaning of each image of a file."""
    primary = hdus[0].header
    return {i: meaning_of(hdu, primary) for i, hdu in enumerate(hdus) if _is_image(hdu, smallest)}


def science_hdus(hdus, ext=None):
    """
    Choose the science images of a file.

    Parameters
    ----------
    hdus : `~astropy.io.fits.HDUList`
        The file.
    ext : int, str, tuple or list of these, optional
        Numbers, names ('SCI', all that have it), or names with versions ('SCI,2' or
        ('SCI', 2)). By default the images that are known to be science: all SCI extensions; where
        there are none, the ones with another name of science images (DATA, FLUX, IMAGE, ...); where
        there are none, the ones without a name (not behind a primary image of their shape) or with
        the name of a detector, chip, amplifier or filter; or else the only image of the file. Images
        smaller than 8x8 are chosen by their names only.

    Returns
    -------
    list of int
        Positions in the file, in its order.

    Raises
    ------
    ValueError
        If no image is known to be science, there is no extension of that name, or it is not an image.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.io import fits
    >>> from astropy_n2v.io import companions, science_hdus
    >>> hdus = fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU(np.zeros((8, 8)), name=name)
    ...                                           for name in ('DATA', 'STAT', 'DQ', 'EXTINCTION'))])
    >>> science_hdus(hdus), companions(hdus, 1)
    ([1], (2, 3))
    """
    if ext is None or (isinstance(ext, (list, tuple)) and len(ext) == 0):
        chosen = _known_science(hdus)
        if not chosen:
            raise ValueError(_no_science(hdus))
        return chosen
    if not isinstance(ext, list):
        single = np.ndim(ext) == 0 or (len(ext) == 2 and isinstance(ext[0], str) and isinstance(ext[1], int))
        ext = [ext] if single else list(ext)
    chosen = []
    for entry in ext:
        for i in _find(hdus, entry):
            if not _is_image(hdus[i]):
                raise ValueError(f'ext {entry!r} must be an image of two or more dimensions, got '
                                 f'{_describe(hdus[i], i)}')
            chosen.append(i)
    return sorted(set(chosen))


def _find(hdus, entry):
    """Find the positions of the HDUs that an entry of ``ext`` means."""
    name, ver = entry if isinstance(entry, tuple) else (entry, None)
    if isinstance(name, str) and ver is None:
        match = re.fullmatch(r'(.*?)\s*,\s*(\d+)', name.strip())
        name, ver = (match.group(1), int(match.group(2))) if match else (name.strip(), None)
        if ver is None and re.fullmatch(r'\d+', name):
            name = int(name)
    if isinstance(name, str):
        found = [i for i, hdu in enumerate(hdus) if hdu.name.upper() == name.upper() and ver in (None, hdu.ver)]
    else:
        found = [name] if 0 <= name < len(hdus) else []
    if not found:
        raise ValueError(f'ext {entry!r} must be the number or name of an extension; the file has {_listing(hdus)}')
    return found


def _describe(hdu, index):
    if isinstance(hdu, fits.GroupsHDU):
        kind = 'random groups, which are not read'
    elif not isinstance(hdu, _IMAGES):
        kind = 'table' if isinstance(hdu, (fits.BinTableHDU, fits.TableHDU)) else 'no image'
    else:
        kind = 'x'.join(map(str, hdu.shape)) or 'no data'
    return f'{hdu_label(hdu, index)}: {kind}'


def _listing(hdus):
    return '; '.join(_describe(hdu, i) for i, hdu in enumerate(hdus))


def _known_science(hdus):
    """Find the images that are science by a convention."""
    found = _meanings(hdus, _SMALLEST)
    best = [i for i, meaning in found.items() if meaning.role == 'science' and _is_sci(hdus[i].name)]
    science = [i for i, meaning in found.items() if meaning.role == 'science']
    plain = [i for i, meaning in found.items() if meaning.role in ('unnamed', 'detector')]
    partly = [i for i, meaning in found.items() if meaning.role is None and _is_sci(hdus[i].name)]
    chosen = best or science or _without_flags(hdus, plain) or partly or _only_image(found)
    left = [i for i in found if i not in chosen and found[i].role in (None, 'unnamed')]
    if chosen and left:
        log.info('not known to be science, left as they are: %s', ', '.join(hdu_label(hdus[i], i) for i in left))
    return chosen


def _is_sci(name):
    return re.search(r'(?<![A-Z])SCI(ENCE|IMG)?(?![A-Z])', name.upper()) is not None


def _without_flags(hdus, plain):
    """
    Leave out images without a name that the file says to be something else.

    Integers behind real numbers of the same shape, and bytes behind wider numbers, are flags or numbers of exposures.
    GALFIT says in OBJECT which of its images is the model. Behind an image in the primary HDU, one of its shape may be
    its error, its weight or a model of it, and nothing says that it is not.
    """
    chosen, behind = [], set()
    for i in plain:
        hdu = hdus[i]
        nameless = hdu.name.strip().upper() in ('', 'PRIMARY', 'COMPRESSED_IMAGE')
        bits = hdu.header['BITPIX']
        is_model = meaning_of_name(card_text(hdu.header, 'OBJECT')).role == 'other'
        belongs_to_primary = 0 in chosen and hdu.shape == hdus[0].shape
        if nameless and chosen and (is_model or belongs_to_primary or (hdu.shape, bits) in behind):
            continue
        behind |= {(hdu.shape, smaller) for smaller in ((8, 16, 32, 64) if bits < 0 else (8,) if bits > 8 else ())}
        chosen.append(i)
    return chosen


def _only_image(found):
    """Find the only image of a file, besides uncertainties and masks."""
    others = [i for i, meaning in found.items() if meaning.role not in (*KINDS, *MASKS)]
    return others if len(others) == 1 and found[others[0]].role is None else []


def _no_science(hdus):
    found = _meanings(hdus, _SMALLEST)
    text = f'the file has no science image of at least {_SMALLEST}x{_SMALLEST} pixels'
    if not found:
        # Images that lie across what is taken for planes, such as spectra that come first in a file.
        across = [i for i, hdu in enumerate(hdus)
                  if isinstance(hdu, _IMAGES) and len(hdu.shape) > 2 and 0 not in hdu.shape
                  and sorted(hdu.shape)[-2] >= _SMALLEST]
        more = f'; HDU {hdu_label(hdus[across[0]], across[0])}: {describe_axes(hdus[across[0]])}' if across else ''
        return f'{text}; it has {_listing(hdus)}{more}'
    # An unknown image may be one, rather than what is known to be something else.
    first = min(found, key=lambda i: (found[i].role is not None, i))
    entry = f'{hdus[first].name},{hdus[first].ver}' if hdus[first].name else first
    return (f'{text} that is known as such by its name; choose with ext (--ext), such as --ext "{entry}"; it has '
            f'{_listing(hdus)}')


def mask_hdus(hdus):
    """
    Find the extensions of a file that may be masks.

    Parameters
    ----------
    hdus : `~astropy.io.fits.HDUList`
        The file.

    Returns
    -------
    list of int
        Positions of those that are known to be masks, or else all images.
    """
    found = _meanings(hdus)
    return _first_names(found, MASKS) or list(found)


def uncertainty_hdus(hdus):
    """
    Find the extensions of a file that may be uncertainties.

    Parameters
    ----------
    hdus : `~astropy.io.fits.HDUList`
        The file.

    Returns
    -------
    list of int
        Positions of those that are known to be uncertainties, or else all images.
    """
    found = _meanings(hdus)
    return _first_names(found, KINDS) or list(found)


def _first_names(found, roles):
    """Find the extensions with one of some roles whose name comes first in the table of conventions."""
    ranks = [meaning.rank for meaning in found.values() if meaning.role in roles]
    return [i for i, meaning in found.items() if meaning.role in roles and meaning.rank == min(ranks)]


def companions(hdus, index):
    """
    Find the uncertainty and the mask that belong to a science image.

    They have the same shape, or the shape of the planes of a cube, and the same EXTVER and prefix of their names
    ('1-1.E.SCI' and '1-1.E.RMS'), or follow each of several images in the same way. Where it is not clear to which of
    several images they belong, the result is None.

    Parameters
    ----------
    hdus : `~astropy.io.fits.HDUList`
        The file.
    index : int
        Position of the image.

    Returns
    -------
    uncertainty : int or None
        Position of the uncertainty; None without one.
    mask : int or None
        Position of the mask; None without one.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.io import fits
    >>> from astropy_n2v.io import companions
    >>> images = [fits.ImageHDU(np.ones((8, 8)), name=name) for name in ('SCI', 'ERR')]
    >>> hdus = fits.HDUList([fits.PrimaryHDU(), *images])
    >>> companions(hdus, 1)
    (2, None)
    """
    found = _meanings(hdus)
    found.setdefault(index, Meaning('unnamed'))
    science = _known_science(hdus)
    if index not in science:
        # One that the user has chosen; if nothing is known, any other may be science as well.
        unknown = [] if science else [i for i in found if found[i].role is None]
        science = sorted({index, *science, *unknown})
    return tuple(_companion(hdus, index, found, science, roles) for roles in (KINDS, MASKS))


def misfits(hdus, index):
    """
    Find extensions that would be the uncertainty or the mask of an image if they had its shape.

    Parameters
    ----------
    hdus : `~astropy.io.fits.HDUList`
        The file.
    index : int
        Position of the image.

    Returns
    -------
    list of int
        Positions.
    """
    found = _meanings(hdus)
    group = found.get(index, Meaning('unnamed')).group
    return [i for i, meaning in found.items() if meaning.role in (*KINDS, *MASKS) and hdus[i].ver == hdus[index].ver
            and meaning.group == group and not _fits(hdus[i], hdus[index])]


def _companion(hdus, index, found, science, roles):
    """Find the best of the extensions with one of some roles that belong to an image."""
    image, group = hdus[index], found[index].group
    pool = [i for i in found if found[i].role in roles and i not in science and _fits(hdus[i], image)
            and card_text(hdus[i].header, 'SCIDATA') in ('', image.name.upper())]
    result = f'of HDU {hdu_label(image, index)}, from astropy_n2v'
    for i in pool:
        # Whatever the names say, this package has written it for the image.
        if hdus[i].name.upper() == 'UNCERT' and result in str(hdus[i].header.get('COMMENT', '')):
            return i
    rivals = [i for i in science if i == index or _plane(hdus[i]) == _plane(image)]
    twins = [i for i in rivals if (hdus[i].ver, found[i].group) == (image.ver, group)]
    same = [i for i in pool if (hdus[i].ver, found[i].group) == (image.ver, group)]
    if len(twins) > 1:
        same = _following(hdus, index, twins, same)
    elif not same and sum(hdus[i].ver == image.ver for i in rivals) == 1:
        same = [i for i in pool if hdus[i].ver == image.ver and not found[i].group]
    if not same and len(rivals) == 1:
        same = [i for i in pool if found[i].group in ((), group)]
    named = {card_text(image.header, keyword) for keyword in ('ERRDATA', 'QUALDATA')} - {''}
    return min(same, default=None, key=lambda i: (hdus[i].name.upper() not in named, found[i].rank, i))


def _following(hdus, index, images, pool):
    """Find the extensions between an image and the next one, if the same names follow each of them."""
    parts = [[i for i in pool if start < i < stop] for start, stop in pairwise([*sorted(images), len(hdus)])]
    names = [{hdus[i].name.upper() for i in part} for part in parts]
    return parts[sorted(images).index(index)] if all(name == names[0] for name in names) else []


def _plane(hdu):
    return tuple(hdu.shape[-2:])


def _fits(hdu, image):
    """Check if an HDU has the shape of an image, or of its planes, apart from axes of one element."""
    shape, own = tuple(hdu.shape), tuple(image.shape)
    while len(shape) > max(len(own), 2) and shape[0] == 1:
        shape = shape[1:]
    return shape in (own, own[-2:])
