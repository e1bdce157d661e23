# Licensed under a 3-clause BSD style license - see LICENSE
"""
Files that come from the browser, in a private folder that is removed with its page.
"""

import re
import shutil
import tempfile
import unicodedata
from pathlib import Path, PureWindowsPath

from .folder import is_known

__all__ = ['MOST', 'Uploads', 'clean_name']

#: Bytes of all files of a page together: four frames of 10,000x10,000 pixels in single precision, or so.
MOST = 2 << 30
_LONGEST = 100       # characters of a name
_ROOM = 1 << 28      # bytes that stay free on the disk
# All characters but letters and digits of any script, and those that are harmless in file names of all systems.
_OTHERS = re.compile(r'[^\w.+\- ]')


def clean_name(name):
    """
    Make a harmless name of a file of the name that a browser gives.

    Parameters
    ----------
    name : str
        Any text.

    Returns
    -------
    str
        Its last part, without characters that mean something to a file system, not hidden, and of at most 100
        characters.

    Raises
    ------
    ValueError
        If it is neither a FITS file nor a JPEG, PNG or TIFF.

    Examples
    --------
    >>> from astropy_n2v.gui.uploads import clean_name
    >>> clean_name('../../etc/.m 51<b>.fits')
    'm 51_b_.fits'
    """
    last = PureWindowsPath(unicodedata.normalize('NFKC', str(name))).name
    cleaned = _OTHERS.sub('_', last).strip('. ')
    if len(cleaned) > _LONGEST:
        endings = ''.join(Path(cleaned).suffixes[-2:])[-20:]
        cleaned = cleaned[:_LONGEST - len(endings)] + endings
    if not is_known(cleaned) or not Path(cleaned).stem:
        raise ValueError(f'a file to upload must be FITS (.fits, .fit, .fts, with .gz, .fz, .bz2 or .xz), JPEG, PNG or '
                         f'TIFF, got {cleaned or "no name"!r}')
    return cleaned


class Uploads:
    """
    The files that came from the browser of one page.

    Parameters
    ----------
    most : int, optional
        Bytes of all of them together; 0 refuses all.

    Attributes
    ----------
    files : dict of `pathlib.Path`
        Those that are complete, by name.
    share : float
        Of the file that is coming, from 0 to 1.

    Examples
    --------
    >>> from astropy_n2v.gui.uploads import Uploads
    >>> uploads = Uploads()
    >>> uploads.begin('a.fits', 4)
    >>> uploads.add(b'SIMP')
    'a.fits'
    >>> uploads.files['a.fits'].read_bytes()
    b'SIMP'
    >>> uploads.close()
    """

    def __init__(self, most=MOST):
        self.most, self.files = most, {}
        self._directory = self._file = None
        self._name, self._size, self._come = '', 0, 0

    @property
    def share(self):
        """Share of the file that has come."""
        return self._come / self._size if self._size else 0.0

    def begin(self, name, size):
        """
        Make place for a file; one that was coming is dropped.

        Parameters
        ----------
        name : str
            As the browser gives it.
        size : int
            Bytes.

        Raises
        ------
        ValueError
            If it is too large, empty, or of no known kind.
        OSError
            If the disk is full.
        """
        self.drop()
        name = clean_name(name)
        if not isinstance(size, int) or isinstance(size, bool) or size <= 0:
            raise ValueError(f'{name} is empty')
        used = sum(path.stat().st_size for other, path in self.files.items() if other != name)
        if used + size > self.most:
            raise ValueError(f'{name} has {size / 1e6:.0f} MB: a page takes {self.most / 1e6:.0f} MB in all, of which '
                             f'{used / 1e6:.0f} MB are used; copy it to the folder of the page instead')
        if self._directory is None:
            self._directory = tempfile.TemporaryDirectory(prefix='astropy-n2v-')   # of its user alone (0700)
        free = shutil.disk_usage(self._directory.name).free
        if size + _ROOM > free:
            raise OSError(f'{name} has {size / 1e6:.0f} MB, and {free / 1e6:.0f} MB are free for temporary files')
        self._name, self._size, self._come = name, size, 0
        self._file = open(self._path('part'), 'wb')

    def _path(self, ending=''):
        return Path(self._directory.name) / f'{self._name}{ending and "." + ending}'

    def add(self, part):
        """
        Add bytes to the file.

        Parameters
        ----------
        part : bytes
            The next bytes.

        Returns
        -------
        str
            Its name when it is complete, else ''.

        Raises
        ------
        ValueError
            If no file was begun, or more comes than was said.
        """
        if self._file is None:
            raise ValueError('no upload has begun')
        # A browser may send anything.
        if not isinstance(part, bytes) or not part or self._come + len(part) > self._size:
            self.drop()
            raise ValueError('the file does not have the size that was announced')
        self._file.write(part)
        self._come += len(part)
        if self._come < self._size:
            return ''
        self._file.close()
        self._file = None
        self.files[self._name] = self._path('part').replace(self._path())
        return self._name

    def drop(self):
        """Forget the file that is coming."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._path('part').unlink(missing_ok=True)

    def close(self):
        """Remove all files."""
        self.drop()
        self.files = {}
        if self._directory is not None:
            self._directory.cleanup()
            self._directory = None
