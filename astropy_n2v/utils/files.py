# Licensed under a 3-clause BSD style license - see LICENSE
"""
Write files that are whole or not there.
"""

import os
import secrets
from contextlib import contextmanager
from pathlib import Path

__all__ = ['atomic_write']


@contextmanager
def atomic_write(path, *, overwrite=False, inputs=()):
    """
    Write a file under a temporary name, and give it its own when it is complete.

    The temporary file is made on entry, so that a directory that cannot be written to is
    noticed before any work is done.

    Parameters
    ----------
    path : str or path-like
        File to be written.
    overwrite : bool, optional
        Whether an existing file may be replaced.
    inputs : iterable of path, optional
        Files that must not be replaced in any case.

    Yields
    ------
    `pathlib.Path`
        Name to write to, in the same directory. It is renamed if the block ends without an
        exception, else removed.

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
    >>> from astropy_n2v.utils.files import atomic_write
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
    # Random: of two writers of one file, and of one that was killed, each has its own.
    temporary = path.with_name(f'.{path.stem}.{secrets.token_hex(4)}.part{path.suffix}')
    try:
        # Not tempfile.mkstemp: its files are readable by their owner alone, and stay so.
        open(temporary, 'xb').close()
    except OSError as error:
        raise type(error)(f'cannot write to the directory {path.parent}: {error.strerror or error}') from error
    try:
        yield temporary
        _refuse_existing(path, overwrite)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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
