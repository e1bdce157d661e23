# Licensed under a 3-clause BSD style license - see LICENSE
"""
Uncertainties and masks of images in files of their own: which file belongs to which, by their names.
"""

import os
import re
from functools import lru_cache

__all__ = []

# Words in the names of files and their meaning. Of Pan-STARRS: wt is a variance. Weights of SWarp, SExtractor, DES and
# the community pipeline of DECam (oow) are inverse variances; drizzled ones (wht) are not, and are not among them.
_WORDS = {
    'std': 'rms err error sigma unc uncert uncertainty noise stddev',
    'var': 'var variance wt',
    'ivar': 'ivar invvar weight wgt oow opw osw',
    'bad': 'mask msk bpm dq flag flags flg badpix ood opd osd',
}
_ROLES = {word: role for role, words in _WORDS.items() for word in words.split()}
# Words for which such a word stands in the name of the other file, as in -image-r.fits and -invvar-r.fits.
_SCIENCE = {'sci', 'image', 'img', 'int', 'data', 'science', 'ooi', 'opi', 'osi'}
_HAS_ROLE = re.compile('|'.join(_ROLES), re.IGNORECASE)
_ENDING = re.compile(r'(\.(fits?|fts))?(\.(fz|gz|bz2|xz))?$', re.IGNORECASE)


def role_of_file(path):
    """
    Find the role of the images of a file by its name.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    str or None
        'std', 'var', 'ivar' or 'bad'; None if the name says nothing.

    Examples
    --------
    >>> from astropy_n2v.io.neighbours import role_of_file
    >>> role_of_file('skycell.1234.wt.fits'), role_of_file('m31_rms.fits.gz'), role_of_file('m31.fits')
    ('var', 'std', None)
    """
    roles = [_ROLES[word] for word in _words(path) if word in _ROLES]
    return roles[-1] if roles else None


def files_beside(path):
    """
    Find the uncertainties and masks of an image among the files of its folder.

    Parameters
    ----------
    path : str or path-like
        The file of the image.

    Returns
    -------
    list of (str, str)
        Paths and roles, see `role_of_file`.
    """
    own = _words(path)
    return [(other, _ROLES[word]) for other, words in _others(path, with_role=True) for word in words
            if word in _ROLES and _belong(own, words, word)]


def image_beside(path):
    """Find the image whose uncertainty or mask a file is, by the names of both; None if there is none."""
    own = _words(path)
    roles = [word for word in own if word in _ROLES]
    return next((other for other, words in (_others(path) if roles else ()) for word in roles
                 if _belong(words, own, word)), None)


def _belong(image, other, word):
    """Check that the words of a name are those of an image with another one more, or in place of one for science."""
    at = other.index(word)
    rest = (*other[:at], *other[at + 1:])
    return rest == image or len(image) == len(other) and image[at] in _SCIENCE and rest == (
        *image[:at], *image[at + 1:])


def _words(path):
    """Split the name of a file, without its ending, into words."""
    return tuple(re.split(r'[._-]', _ENDING.sub('', os.path.basename(path)).lower()))


def _others(path, with_role=False):
    """List the other FITS files of the folder of a file, and the words of their names."""
    folder, name = os.path.split(os.fspath(path))
    try:
        names = _fits_files(folder, os.stat(folder or '.').st_mtime_ns, with_role)
    except OSError:
        return []
    return [(os.path.join(folder, other), words) for other, words in names if other != name]


@lru_cache(maxsize=4)
def _fits_files(folder, changed, with_role):
    """
    List the FITS files of a folder once, until it is changed; all, or those with the word for a role.

    In a folder of many files that changes with each result, few or none have one.
    """
    return [(name, _words(name)) for name in sorted(os.listdir(folder or '.'))
            if (not with_role or _HAS_ROLE.search(name)) and _ENDING.search(name)[1] and not name.startswith('.')]
