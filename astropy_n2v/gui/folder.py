# Licensed under a 3-clause BSD style license - see LICENSE
"""
Browse the files below the one folder that the page may see, and nothing else.

Images are read by ``io/``.
"""

import os
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ..io import describe_error, hdu_label, science_hdus
from ..io.raster import is_raster
from ..io.source import FitsSource

__all__ = ['Folder', 'Hdu', 'OutsideError', 'is_known', 'list_hdus', 'read_header']

# Endings of names of FITS files, as they are or compressed.
_FITS = tuple(f'{stem}{packed}' for stem in ('.fits', '.fit', '.fts') for packed in ('', '.gz', '.fz', '.bz2', '.xz'))
# Cards without which nobody looks at a header on a page.
_MOST_CARDS = 2000


def is_known(name):
    """
    Check by the name of a file if the page can open it.

    Parameters
    ----------
    name : str
        The name.

    Returns
    -------
    bool
        True for FITS files, compressed or not, JPEG, PNG and TIFF.

    Examples
    --------
    >>> from astropy_n2v.gui.folder import is_known
    >>> is_known('a.fits.gz'), is_known('a.TIF'), is_known('a.txt')
    (True, True, False)
    """
    return name.lower().endswith(_FITS) or is_raster(name)


class OutsideError(PermissionError):
    """A path leads out of the folder that the page may read."""


class Hdu(NamedTuple):
    """An HDU of a file: number, name for people, shape, if it is an image, and if it is known to be of the sky."""

    index: int
    label: str
    shape: tuple
    is_image: bool
    is_science: bool


class Folder:
    """
    The folder that the page may read and write.

    Parameters
    ----------
    path : str or path-like
        A folder, or a file, whose folder is meant.

    Attributes
    ----------
    root : `pathlib.Path`
        The folder.
    first : str
        Name of the file that was given, or ''.

    Raises
    ------
    FileNotFoundError
        If there is no such folder or file.

    Examples
    --------
    >>> import tempfile
    >>> from astropy_n2v.gui.folder import Folder
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     Folder(directory).find('../secret.fits')
    Traceback (most recent call last):
    ...
    astropy_n2v.gui.folder.OutsideError: ../secret.fits leads out of the folder of the page
    """

    def __init__(self, path='.'):
        path = Path(path).resolve(strict=True)
        self.first = '' if path.is_dir() else path.name
        self.root = path if path.is_dir() else path.parent

    def find(self, name):
        """
        Find a file or folder.

        Parameters
        ----------
        name : str
            Its path from the folder on, with slashes.

        Returns
        -------
        `pathlib.Path`
            It need not exist.

        Raises
        ------
        OutsideError
            If it is absolute, or holds ``..`` or a symbolic link.
        """
        parts = PurePosixPath(name).parts
        path = self.root
        refused = '\0' in name or '\\' in name or PurePosixPath(name).is_absolute() or Path(name).drive
        for part in parts:
            path = path / part
            refused = refused or part == '..' or path.is_symlink()
        if refused:
            raise OutsideError(f'{name} leads out of the folder of the page')
        return path

    def entries(self, name=''):
        """
        List the folders, FITS files and pictures of a folder.

        Parameters
        ----------
        name : str, optional
            The folder, as for `find`.

        Returns
        -------
        folders : list of str
            Names of folders, sorted; without symbolic links and hidden ones.
        files : list of str
            Names of files, likewise.

        Raises
        ------
        OSError
            If it cannot be read.
        """
        folders, files = [], []
        with os.scandir(self.find(name)) as found:
            for entry in found:
                if entry.name.startswith('.') or entry.is_symlink():
                    continue
                if entry.is_dir():
                    folders.append(entry.name)
                elif is_known(entry.name):
                    files.append(entry.name)
        return sorted(folders), sorted(files)


def list_hdus(path):
    """
    List the HDUs of a file.

    Parameters
    ----------
    path : path-like
        FITS file.

    Returns
    -------
    list of Hdu
        In their order.

    Raises
    ------
    OSError
        If it is no FITS file, or truncated.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from pathlib import Path
    >>> from astropy.io import fits
    >>> from astropy_n2v.gui.folder import list_hdus
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = Path(directory) / 'a.fits'
    ...     fits.writeto(path, np.ones((16, 24)))
    ...     list_hdus(path)
    [Hdu(index=0, label='0 (PRIMARY,1)', shape=(16, 24), is_image=True, is_science=True)]
    """
    with FitsSource(path, quiet=True) as source:
        try:
            science = science_hdus(source.hdus)
        except ValueError:   # no image is known to be of the sky
            science = []
        return [Hdu(i, hdu_label(hdu, i), tuple(getattr(hdu, 'shape', ())), _is_image(source.hdus, i), i in science)
                for i, hdu in enumerate(source.hdus)]


def _is_image(hdus, index):
    """Check if an HDU can be denoised."""
    try:
        return science_hdus(hdus, index) == [index]
    except ValueError:
        return False


def read_header(path, index):
    """
    Read the header of an HDU as text.

    Parameters
    ----------
    path : path-like
        FITS file.
    index : int
        Number of the HDU.

    Returns
    -------
    str
        A card a line, the first 2000 of them; or why it cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from pathlib import Path
    >>> from astropy.io import fits
    >>> from astropy_n2v.gui.folder import read_header
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = Path(directory) / 'a.fits'
    ...     fits.writeto(path, np.ones((16, 24)))
    ...     read_header(path, 0).splitlines()[0].split('/')[0].split()
    ['SIMPLE', '=', 'T']
    """
    try:
        with FitsSource(path, quiet=True) as source:
            cards = source.hdus[index].header.tostring(sep='\n', padding=False).splitlines()
    except (OSError, ValueError) as error:
        return describe_error(error, path)
    return '\n'.join(card.rstrip() for card in cards[:_MOST_CARDS])
