# Licensed under a 3-clause BSD style license - see LICENSE
"""
The books of a batch: a line of JSON for each file, appended as soon as its fate is known.
"""

import errno
import json
import logging
import math
import os
import time
from pathlib import Path

from ..utils.names import printable

try:
    import fcntl
except ImportError:   # Windows
    fcntl = None

__all__ = ['JOURNAL_NAME', 'Journal', 'read_journal']

log = logging.getLogger(__name__)

#: Name of the journal in a folder of results.
JOURNAL_NAME = 'n2v-journal.jsonl'
_VERSION = 1   # of the format of the lines; readers ignore lines of others
# Seconds between two waits for the disk. Results are on the disk before they have a name; of a journal that loses its
# last second with the power, their files count as not known.
_SYNC_EVERY = 1.0


class Journal:
    """
    A journal that several processes append to at the same time.

    Parameters
    ----------
    path : str or path-like
        The file; it is made with the first line.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from astropy_n2v.batch import Journal, read_journal
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     journal = Journal(Path(directory) / 'night1.jsonl')
    ...     journal.append({'status': 'failed', 'error': 'No such file or directory'})
    ...     read_journal(journal.path)[0]['status']
    'failed'
    """

    def __init__(self, path):
        self.path = Path(os.path.abspath(path))
        self._synced = -math.inf

    def check(self):
        """
        Check that lines can be written, before hours of work that they are of.

        Raises
        ------
        OSError
            If its folder is missing, it is a folder itself, or writing is not allowed.
        """
        folder = self.path.parent
        if not folder.is_dir():
            raise FileNotFoundError(errno.ENOENT, f'cannot write the journal {self.path}: there is no folder {folder}')
        if self.path.is_dir():
            raise IsADirectoryError(errno.EISDIR, f'cannot write the journal {self.path}: it is a folder')
        if not os.access(self.path if self.path.exists() else folder, os.W_OK):
            raise PermissionError(errno.EACCES, f'cannot write the journal {self.path}: writing is not allowed')

    def append(self, entry):
        """
        Append a line.

        Parameters
        ----------
        entry : dict
            Values that can be written as JSON; numbers that are not finite become null.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        line = json.dumps(_finite({'journal': _VERSION, **entry}), allow_nan=False).encode() + b'\n'
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise type(error)(error.errno, f'cannot write the journal {self.path}: {error.strerror}') from error
        try:
            _lock(descriptor)
            _append(descriptor, line)
            if time.monotonic() - self._synced > _SYNC_EVERY:
                os.fsync(descriptor)
                self._synced = time.monotonic()
        except OSError as error:
            raise type(error)(error.errno, f'cannot write the journal {self.path}: {error.strerror}') from error
        finally:
            os.close(descriptor)   # unlocks it

    def name(self, path):
        """
        Name a file as the journal does: relative to its folder, so that both can be moved together.

        Parameters
        ----------
        path : str or path-like
            The file.

        Returns
        -------
        str
            Its name, with slashes on all systems.
        """
        try:
            return Path(os.path.relpath(path, self.path.parent)).as_posix()
        except ValueError:   # on another drive
            return Path(path).absolute().as_posix()


def _lock(descriptor):
    """Lock a file, lest lines of two machines get mixed; some network file systems have no locks."""
    if fcntl is not None:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX)
        except OSError:
            pass


def _append(descriptor, line):
    """Append a line, on a line of its own even if the last one was cut off by the end of its process."""
    size = os.fstat(descriptor).st_size
    if size:
        os.lseek(descriptor, size - 1, os.SEEK_SET)
        if os.read(descriptor, 1) != b'\n':
            line = b'\n' + line
    while line:
        line = line[os.write(descriptor, line):]


def _finite(value):
    """Replace numbers that JSON has not."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return value


def _parse(line):
    """Read a line; None if it is cut off, or not of a journal."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and entry.get('journal') == _VERSION else None


def read_journal(path):
    """
    Read a journal.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    list of dict
        Its lines, in the order in which they were written; those that a killed process cut off are left out. See
        :doc:`/batches` for what they hold.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If none of its lines is one of a journal.

    See Also
    --------
    summary_table : Make a table of them.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from astropy_n2v.batch import denoise_files, read_journal
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     records = denoise_files(['missing.fits'], directory, journal=Path(directory) / 'a.jsonl')
    ...     (entry,) = read_journal(Path(directory) / 'a.jsonl')
    >>> entry['status'], entry['error']
    ('failed', 'No such file or directory')
    """
    with open(path, 'rb') as file:
        found = [_parse(line) for line in file]
    entries = [entry for entry in found if entry is not None]
    if found and not entries:
        raise ValueError(f'{os.fspath(path)} is not a journal of astropy_n2v')
    if len(entries) < len(found):
        log.warning('%s: %d lines are cut off or not of a journal, and left out', printable(path),
                    len(found) - len(entries))
    return entries


class KnownResults:
    """
    The results that a journal knows, kept up to date while others append to it.

    Parameters
    ----------
    journal : Journal
        The journal; it need not exist.
    """

    def __init__(self, journal):
        self.journal = journal
        self._entries = {}
        self._read = 0   # bytes

    def entry(self, output):
        """
        Find the line about the making of a file; None without such a line.

        Of two runs at the same time both may have written one, and it is the file of one: size and time say whose.
        Else it is the last.
        """
        self._update()
        entries = self._entries.get(self.journal.name(output), [])
        if len(entries) > 1:
            try:
                status = os.stat(output)
            except OSError:
                return entries[-1]
            state = status.st_size, status.st_mtime_ns
            entries = [entry for entry in entries if (entry['output'].get('size'), entry['output'].get('mtime_ns')) ==
                       state] or entries
        return entries[-1] if entries else None

    def _update(self):
        try:
            if os.path.getsize(self.journal.path) == self._read:
                return
            file = open(self.journal.path, 'rb')
        except FileNotFoundError:
            return
        with file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b'\n'):   # it is being written
                    break
                self._read += len(line)
                entry = _parse(line)
                if entry is not None and entry.get('status') == 'done':
                    self._entries.setdefault(entry['output']['path'], []).append(entry)
