# Licensed under a 3-clause BSD style license - see LICENSE
"""
Which extensions of a FITS file are images of the sky, and which belong to them.
"""

import re

import numpy as np
from astropy.io import fits

__all__ = ['companions', 'hdu_label', 'science_hdus']

UNCERTAINTY_NAMES = {
    'UNCERT': 'std', 'ERR': 'std', 'ERROR': 'std', 'STDDEV': 'std', 'SIGMA': 'std', 'RMS': 'std',
    'VAR': 'var', 'VARIANCE': 'var', 'IVAR': 'ivar', 'INVVAR': 'ivar',
}
MASK_NAMES = ('DQ', 'MASK', 'BPM')
# Companions of images, and tables that happen to be stored as images.
_NO_SCIENCE = {
    *UNCERTAINTY_NAMES, *MASK_NAMES, 'SAMP', 'TIME', 'WCSDVARR', 'D2IMARR', 'WHT', 'WEIGHT', 'WEIGHTS', 'CTX', 'CON',
    'CONTEXT', 'HDRLET', 'FLAG', 'FLAGS', 'FLG', 'DQF', 'QUALITY', 'EXP', 'EXPMAP', 'EXPOSURE', 'NSAMP', 'AREA',
    'APERTURE', 'PSF', 'SEGM', 'SEGMENTATION', 'COVERAGE', 'NOISE', 'BLIND', 'SPREAD', 'INNOVATION', 'OUTLIER',
}
_SCIENCE = {'SCI', 'SCIENCE'}
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
    """
    return f'{index} ({hdu.name},{hdu.ver})' if hdu.name else str(index)


def _is_image(hdu, smallest=2):
    """Whether an HDU holds an image of two or more dimensions; its data are not read."""
    if not isinstance(hdu, _IMAGES) or isinstance(hdu, fits.GroupsHDU):
        return False
    shape = hdu.shape
    return len(shape) >= 2 and min(shape[-2:]) >= smallest and 0 not in shape


def _words(hdu):
    return set(re.split(r'[^A-Z0-9]+', hdu.name.upper()))


def science_hdus(hdus, ext=None):
    """
    Choose the science images of a file.

    Parameters
    ----------
    hdus : `~astropy.io.fits.HDUList`
        The file.
    ext : int, str, tuple or list of these, optional
        Numbers, names ('SCI', all that have it), or names with versions ('SCI,2' or
        ('SCI', 2)). By default all SCI extensions; where there are none, all images of two or
        more dimensions that are no errors, flags, weights, exposure maps, distortion tables or
        the like by their name. Images smaller than 8x8 are chosen by their names only.

    Returns
    -------
    list of int
        Positions in the file, in its order.

    Raises
    ------
    ValueError
        If there is no image, no extension of that name, or it is not an image.
    """
    if ext is None or (isinstance(ext, (list, tuple)) and len(ext) == 0):
        images = [i for i, hdu in enumerate(hdus) if _is_image(hdu, _SMALLEST)]
        chosen = [i for i in images if _words(hdus[i]) & _SCIENCE and not _words(hdus[i]) & _NO_SCIENCE]
        chosen = chosen or [i for i in images if not _words(hdus[i]) & _NO_SCIENCE]
        if not chosen:
            raise ValueError(f'the file has no science image of at least {_SMALLEST}x{_SMALLEST} pixels; it has '
                             f'{_listing(hdus)}')
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
    """Positions of the HDUs that an entry of ``ext`` means."""
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
    if not isinstance(hdu, _IMAGES):
        kind = 'table' if isinstance(hdu, (fits.BinTableHDU, fits.TableHDU)) else 'no image'
    else:
        kind = 'x'.join(map(str, hdu.shape)) or 'no data'
    return f'{hdu_label(hdu, index)}: {kind}'


def _listing(hdus):
    return '; '.join(_describe(hdu, i) for i, hdu in enumerate(hdus))


def mask_hdus(hdus):
    """Positions of the extensions that may be masks: those with the name of one, or else all images."""
    images = [i for i, hdu in enumerate(hdus) if _is_image(hdu)]
    return [i for i in images if hdus[i].name.upper() in MASK_NAMES] or images


def uncertainty_hdus(hdus):
    """Positions of the extensions that may be uncertainties: those with the name of one, or else all images."""
    images = [i for i, hdu in enumerate(hdus) if _is_image(hdu)]
    return [i for i in images if hdus[i].name.upper() in UNCERTAINTY_NAMES] or images


def companions(hdus, index):
    """
    Find the uncertainty and the mask that belong to a science image.

    They have the same EXTVER and the same shape, or that of the planes of a cube. If several science images share the
    EXTVER nothing can be said.

    Parameters
    ----------
    hdus : `~astropy.io.fits.HDUList`
        The file.
    index : int
        Position of the image.

    Returns
    -------
    uncertainty, mask : int or None
        Positions.
    """
    science = hdus[index]
    same = [i for i, hdu in enumerate(hdus) if _is_image(hdu) and hdu.ver == science.ver
            and hdu.shape in (science.shape, science.shape[-2:]) and i != index]
    for i in same:
        words = _words(hdus[i])
        if hdus[i].shape != science.shape:
            continue
        if not words & _NO_SCIENCE and (words & _SCIENCE or not _words(science) & _SCIENCE):
            return None, None

    def first(names):
        for name in names:
            for i in same:
                if hdus[i].name.upper() == name:
                    return i
        return None

    return first(UNCERTAINTY_NAMES), first(MASK_NAMES)
