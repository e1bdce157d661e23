# Licensed under a 3-clause BSD style license - see LICENSE
"""
Write files that are either complete or absent.

Names of results and compressed files are in ``io/paths.py``.
"""

import errno
import os
import re
import secrets
import socket
import tempfile
from contextlib import contextmanager
from pathlib import Path

__all__ = ['atomic_write', 'process_is_alive', 'remove_leftovers', 'temporary_file']

# Largest number of bytes of the file name, and of the host name, in the name of a temporary file; file systems allow
# 255 in all.
_LONGEST_STEM, _LONGEST_HOST = 120, 40
# Names of the temporary files of `atomic_write`, with random digits, host and process.
_TEMPORARY = re.compile(r'\..*\.[0-9a-f]{8}\.(?P<host>[\w-]+)-(?P<pid>\d+)\.part(\.[^.]*)?', re.DOTALL)


@contextmanager
def atomic_write(path, *, overwrite=False, inputs=()):
    """
    Write a file under a temporary name, and rename it when it is complete.

    The temporary file is created on entry, so that a directory without write permission raises an error before
    any work is done.

    Parameters
    ----------
    path : str or path-like
        File to be written.
    overwrite : bool, optional
        If true, replace an existing file.
    inputs : iterable of path, optional
        Files that must not be replaced in any case.

    Yields
    ------
    `pathlib.Path`
        Name to write to, in the same directory. The file is written to the disk and renamed if the block ends without
        an exception, otherwise removed. Its name contains host and process, so that `remove_leftovers` can remove it
        if the process was killed.

    Raises
    ------
    FileExistsError
        If the file exists and ``overwrite`` is false.
    ValueError
        If the file is one of the inputs.
    OSError
        If the directory cannot be written to.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from astropy_n2v.utils.atomic_files import atomic_write
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     with atomic_write(Path(directory) / 'a.txt') as temporary:
    ...         _ = temporary.write_text('complete')
    ...     [file.name for file in Path(directory).iterdir()]
    ['a.txt']
    """
    path = Path(path)
    for other in inputs:
        if _same_file(path, other):
            raise ValueError(f'output would overwrite its input {os.fspath(other)}: choose another directory or suffix')
    _refuse_existing(path, overwrite)
    temporary = _temporary_name(path)
    try:
        # tempfile.mkstemp is not used: its files stay readable by their owner alone.
        open(temporary, 'xb').close()
    except OSError as error:
        raise type(error)(f'cannot write to the directory {path.parent}: {error.strerror or error}') from error
    try:
        yield temporary
        _sync(temporary)
        _rename(temporary, path, overwrite)
        if os.name == 'posix':   # a rename changes an entry of the directory
            _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_file(folder):
    """
    Open a temporary file that is removed when it is closed, or by `remove_leftovers` if the process was killed.

    Parameters
    ----------
    folder : str or path-like
        Its directory.

    Returns
    -------
    file object
        Open for reading and writing of bytes; its ``name`` can be opened, too.

    Raises
    ------
    OSError
        If the directory cannot be written to.

    Examples
    --------
    >>> import os
    >>> import tempfile
    >>> from astropy_n2v.utils.atomic_files import temporary_file
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     with temporary_file(directory) as file:
    ...         _ = file.write(b'some bytes')
    ...     os.listdir(directory)
    []
    """
    return tempfile.NamedTemporaryFile(dir=folder, prefix=f'{_temporary_name(Path("data")).name}.')


def _host():
    return os.fsencode(re.sub(r'[^\w-]', '_', socket.gethostname(), flags=re.ASCII))[:_LONGEST_HOST].decode()


def _temporary_name(path):
    """Name a temporary file after its owner, with random digits, so that each of several writers has its own."""
    stem = os.fsdecode(os.fsencode(path.stem)[:_LONGEST_STEM])
    return path.with_name(f'.{stem}.{secrets.token_hex(4)}.{_host()}-{os.getpid()}.part{path.suffix}')


def _sync(path):
    """Wait until a file or directory is on the disk, on file systems that support it."""
    descriptor = os.open(path, os.O_RDONLY if os.name == 'posix' else os.O_RDWR)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _rename(temporary, path, overwrite):
    """Rename a complete file; without ``overwrite``, keep a file that another process wrote in the meantime."""
    _refuse_existing(path, overwrite)
    if not overwrite:
        try:
            os.link(temporary, path)   # unlike a rename, it never replaces a file
            return
        except FileExistsError:
            _refuse_existing(path, overwrite)
        except OSError:   # file systems without links
            pass
    os.replace(temporary, path)


def process_is_alive(pid):
    """
    Check if a process of this host runs.

    Parameters
    ----------
    pid : int
        Number of the process.

    Returns
    -------
    bool
        True also if the answer cannot be determined.

    Examples
    --------
    >>> import os
    >>> from astropy_n2v.utils.atomic_files import process_is_alive
    >>> process_is_alive(os.getpid())
    True
    """
    if os.name != 'posix':   # on other systems, signal 0 may end a process
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:   # a process of another user
        pass
    return True


def remove_leftovers(directory):
    """
    Remove the temporary files of processes of this host that were killed.

    Parameters
    ----------
    directory : str or path-like
        Directory of `atomic_write`. Files of other hosts, and of running processes, are kept.

    Returns
    -------
    list of `pathlib.Path`
        The files that were removed.

    Examples
    --------
    >>> import tempfile
    >>> from astropy_n2v.utils.atomic_files import remove_leftovers
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     remove_leftovers(directory)
    []
    """
    removed = []
    for entry in os.scandir(directory):
        match = _TEMPORARY.fullmatch(entry.name)
        if match is None or match['host'] != _host() or process_is_alive(int(match['pid'])):
            continue
        try:
            os.unlink(entry.path)
        except OSError:   # another run has removed it, or it belongs to another user
            continue
        removed.append(Path(entry.path))
    return removed


def _same_file(path, other):
    try:
        return os.path.samefile(path, other)
    except OSError:  # one of them does not exist
        return os.path.realpath(path) == os.path.realpath(other)


def _refuse_existing(path, overwrite):
    if path.is_dir():
        raise IsADirectoryError(f'{path} is a directory, expected the name of a file')
    if not overwrite and os.path.lexists(path):
        raise FileExistsError(f'{path} exists: use overwrite (--overwrite) to replace it')
