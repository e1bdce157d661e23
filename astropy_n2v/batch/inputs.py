# Licensed under a 3-clause BSD style license - see LICENSE
"""
Which files a batch is about: names, patterns, folders, lists, rows of a catalogue, and the share of a job.
"""

import glob
import os
import re
from pathlib import Path
from typing import NamedTuple

from ..io import split_extension
from .row_filter import select_rows

__all__ = ['InputFile', 'find_inputs', 'parse_shard', 'read_catalog', 'read_list', 'take_shard']

_FITS_NAME = re.compile(r'.+\.(fits?|fts)(\.(fz|gz|bz2|xz))?', re.IGNORECASE | re.DOTALL)
# Names that schedulers have for the number of a job in an array, the first number, the step between numbers, and the
# number of jobs or the last number.
_ARRAYS = (
    ('SLURM_ARRAY_TASK_ID', 'SLURM_ARRAY_TASK_MIN', 'SLURM_ARRAY_TASK_STEP', 'SLURM_ARRAY_TASK_COUNT', None),
    ('SGE_TASK_ID', 'SGE_TASK_FIRST', 'SGE_TASK_STEPSIZE', None, 'SGE_TASK_LAST'),
    ('LSB_JOBINDEX', None, 'LSB_JOBINDEX_STEP', None, 'LSB_JOBINDEX_END'),
)


class InputFile(NamedTuple):
    """
    A file to be denoised, and the folder of its result, below the folder of all results.

    Parameters
    ----------
    path : str
        The file; with an extension in brackets, it may be.
    folder : str, optional
        A relative path.

    Examples
    --------
    >>> import os
    >>> from astropy_n2v.batch import InputFile
    >>> os.fspath(InputFile('night1/a.fits', 'night1'))
    'night1/a.fits'
    """

    path: str
    folder: str = ''

    def __fspath__(self):
        return self.path


def find_inputs(names, exclude=None):
    """
    Find the files that names, patterns and folders stand for.

    Parameters
    ----------
    names : iterable of path
        Files; patterns with ``*``, ``?`` and ``[]``; both may have an extension in brackets; and folders, which stand
        for all FITS files below them (``.fits``, ``.fit``, ``.fts``, compressed ones included; nothing hidden, and no
        links to folders).
    exclude : path, optional
        A folder that is left out where it lies below one of ``names``, such as the folder of the results.

    Returns
    -------
    list of InputFile
        Those of patterns and folders are sorted. A pattern that fits nothing stays, and will be reported as a file that
        is missing. The results of files in a folder keep their place below it.

    Raises
    ------
    ValueError
        If there is no FITS file in a folder.

    Examples
    --------
    >>> from astropy_n2v.batch import find_inputs
    >>> find_inputs(['a.fits', 'nothing-like-this-*.fits'])
    [InputFile(path='a.fits', folder=''), InputFile(path='nothing-like-this-*.fits', folder='')]
    """
    found = []
    for name in map(os.fspath, names):
        path, ext = split_extension(name)
        if os.path.isdir(path):
            found += _files_below(path, '' if ext is None else f'[{ext}]', exclude)
        elif os.path.lexists(path) or not glob.has_magic(name):
            found.append(InputFile(name))
        else:
            # The brackets may be part of the pattern, or hold the extension of all files that fit it.
            fitting = sorted(glob.glob(name))
            if not fitting and ext is not None and glob.has_magic(path):
                fitting = [f'{file}[{ext}]' for file in sorted(glob.glob(path))]
            found += map(InputFile, fitting or [name])
    return found


def _files_below(folder, ext, exclude):
    """List the FITS files below a folder."""
    left_out = None if exclude is None else os.path.realpath(exclude)
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith('.')
                            and os.path.realpath(os.path.join(place, name)) != left_out)
        below = os.path.relpath(place, folder)
        found += [InputFile(os.path.join(place, name) + ext, '' if below == '.' else below)
                  for name in sorted(files) if _FITS_NAME.fullmatch(name) and not name.startswith('.')]
    if not found:
        raise ValueError(f'there is no FITS file in the folder {folder}')
    return found


def read_list(stream):
    """
    Read a list of files.

    Parameters
    ----------
    stream : file object
        Binary; a name in each line, or names with a zero byte after each, as ``find -print0`` writes them.

    Returns
    -------
    list of str
        The names.

    Examples
    --------
    >>> import io
    >>> from astropy_n2v.batch import read_list
    >>> read_list(io.BytesIO(b'a.fits\\n\\nb c.fits\\n'))
    ['a.fits', 'b c.fits']
    """
    content = stream.read()
    names = content.split(b'\0') if b'\0' in content else content.splitlines()
    return [os.fsdecode(name) for name in names if name.strip()]


def read_catalog(path, where=None, column='path'):
    """
    Read the files that a catalogue lists.

    Parameters
    ----------
    path : str or path-like
        A table with a column of paths, in a format of text that astropy recognizes (ECSV, CSV, ...). Paths are relative
        to its folder.
    where : str, optional
        Which rows: see `select_rows`.
    column : str, optional
        Name of the column.

    Returns
    -------
    list of str
        The files, in the order of the rows.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is no table or has no such column, or ``where`` cannot be understood.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from astropy_n2v.batch import read_catalog
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = Path(directory) / 'night1.csv'
    ...     _ = path.write_text('path,filter,exptime\\n/data/a.fits,r,300\\n/data/b.fits,g,300\\n')
    ...     read_catalog(path, "filter == 'r' and exptime > 100")
    ['/data/a.fits']
    """
    from astropy.table import Table
    name = os.fspath(path)
    try:
        table = Table.read(path, format='ascii.ecsv' if name.lower().endswith('.ecsv') else 'ascii')
    except OSError:
        raise
    except Exception as error:   # of many kinds, from many readers
        raise ValueError(f'{name} is no table that can be read: {" ".join(str(error).split())[:200]}') from error
    if column not in table.colnames:
        raise ValueError(f'{name} must have a column {column!r} with the paths of files, got '
                         f'{", ".join(table.colnames)}')
    if where is not None:
        table = table[select_rows(table, where)]
    folder = Path(path).parent
    return [os.fspath(folder / str(value)) for value in table[column]]


def parse_shard(text):
    """
    Read the share of the files that a job denoises.

    Parameters
    ----------
    text : str
        ``'3/16'`` is the third of sixteen shares; ``'auto'`` is the share of this job in an array of Slurm, Grid Engine
        or LSF.

    Returns
    -------
    tuple of int
        Number, from 1, and how many there are.

    Raises
    ------
    ValueError
        If it is neither.

    Examples
    --------
    >>> from astropy_n2v.batch import parse_shard
    >>> parse_shard('3/16')
    (3, 16)
    """
    if text == 'auto':
        return _own_share(os.environ)
    match = re.fullmatch(r'\s*(\d{1,9})\s*/\s*(\d{1,9})\s*', text)
    number, count = map(int, match.groups()) if match else (0, 0)
    if not 1 <= number <= count:
        raise ValueError(f"shard must be 'i/n' with i from 1 to n, such as '3/16', or 'auto', got {text!r}")
    return number, count


def _own_share(environment):
    for own, first, step, count, last in _ARRAYS:
        try:
            number = int(environment[own])
            first = int(environment[first]) if first else 1
            step = int(environment.get(step, 1))
            total = int(environment[count]) if count else (int(environment[last]) - first) // step + 1
        except (KeyError, ValueError):   # another scheduler, or a job that is in no array
            continue
        share = (number - first) // step + 1
        if 1 <= share <= total:
            return share, total
    raise ValueError("shard 'auto' must be used in an array of jobs of Slurm, Grid Engine or LSF, got none: use "
                             "'i/n'")


def take_shard(files, shard):
    """
    Take the share of a job: of ``n``, each n-th file.

    Parameters
    ----------
    files : list
        The same for all jobs.
    shard : tuple of int or None
        Number, from 1, and how many there are; None: all files.

    Returns
    -------
    list
        The share.

    Examples
    --------
    >>> from astropy_n2v.batch import take_shard
    >>> take_shard(['a', 'b', 'c', 'd', 'e'], (2, 3))
    ['b', 'e']
    """
    if shard is None:
        return files
    number, count = shard
    return files[number - 1::count]
