# Licensed under a 3-clause BSD style license - see LICENSE
"""
Catalogues as files: ECSV, CSV and parquet.
"""

import csv
import logging
import os
from pathlib import Path

import numpy as np
from astropy.table import Table

from ..utils.atomic_files import atomic_write
from .columns import COLUMNS, make_table, missing_columns

__all__ = ['read_manifest', 'write_manifest']

log = logging.getLogger(__name__)

# Formats of catalogues by the ends of their names.
_FORMATS = {'.ecsv': 'ascii.ecsv', '.csv': 'ascii.csv', '.parquet': 'parquet'}


def check_manifest_format(path):
    """
    Find the format of a catalogue from the name of its file.

    Parameters
    ----------
    path : str or path-like
        The file: ``.ecsv``, ``.csv`` or ``.parquet``.

    Returns
    -------
    str
        Name of the format.

    Raises
    ------
    ValueError
        If it is another one.
    ImportError
        If it is parquet, and pyarrow is not installed.

    Examples
    --------
    >>> from astropy_n2v.collections.tables import check_manifest_format
    >>> check_manifest_format('night.ecsv')
    'ascii.ecsv'
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _FORMATS:
        raise ValueError(f'a manifest must be a file {", ".join(_FORMATS)}, got {os.fspath(path)}')
    if suffix == '.parquet':
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise ImportError(f'{os.fspath(path)} needs pyarrow: pip install "astropy-n2v[parquet]", or take '
                              '.ecsv') from error
    return _FORMATS[suffix]


def relative_path(path, directory):
    """Express a path relative to a directory above it, so that both can be moved together; else make it absolute."""
    path, directory = os.path.abspath(path), os.path.abspath(directory)
    inside = os.path.commonpath([path, directory]) == directory
    text = Path(os.path.relpath(path, directory) if inside else path).as_posix()
    return f'./{text}' if text[0].isspace() else text   # tables lose blanks at the beginning


def write_manifest(manifest, path, *, overwrite=False):
    """
    Write a catalogue.

    Parameters
    ----------
    manifest : `~astropy.table.Table`
        From `make_manifest`.
    path : str or path-like
        ``.ecsv``; or ``.csv`` or ``.parquet``, which have neither units nor descriptions, nor the list of files without
        images. Paths of files below its directory are written relative to it.
    overwrite : bool, optional
        If true, replace an existing file.

    Raises
    ------
    OSError
        If the file exists or cannot be written.
    ValueError
        If its format is not known.
    ImportError
        If it is parquet, and pyarrow is not installed.

    See Also
    --------
    read_manifest : Read it.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from astropy_n2v.collections import read_manifest, write_manifest
    >>> from astropy_n2v.collections.columns import make_table
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = Path(directory) / 'm.ecsv'
    ...     write_manifest(make_table([{'path': 'a.fits', 'exptime': 30}]), path)
    ...     read_manifest(path)['exptime'].tolist()
    [30.0]
    """
    form = check_manifest_format(path)
    directory = os.path.dirname(os.path.abspath(path))
    table = manifest.copy()
    table.meta = _renamed(manifest.meta, lambda name: relative_path(name, directory))
    table['path'] = np.array([relative_path(name, directory) for name in manifest['path']], dtype=str)
    table['path'].description = COLUMNS['path'].description
    with atomic_write(path, overwrite=overwrite) as temporary:
        if form == 'parquet':
            _write_parquet(table, temporary)
        else:
            table.write(temporary, format=form, overwrite=True)


def _renamed(meta, rename):
    """Copy the list of files without images from the metadata of a catalogue, under other names."""
    files = meta.get('without_images')
    return {'without_images': {rename(name): dict(state) for name, state in files.items()}} if files else {}


def _write_parquet(table, path):
    # Not Table.write, which needs pandas as well.
    import pyarrow
    from pyarrow import parquet
    parquet.write_table(pyarrow.table({name: table[name].tolist() for name in table.colnames}), path)


def _read_parquet(path):
    from pyarrow import parquet
    return Table(parquet.read_table(path).to_pydict())


def _read_ecsv(path):
    return Table.read(path, format='ascii.ecsv')


def _read_csv(path):
    with open(path, newline='', encoding='utf-8') as file:
        rows = list(csv.reader(file))
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        raise ValueError('its rows have different numbers of columns' if rows else 'it is empty')
    return Table(rows=rows[1:], names=rows[0], dtype=[str] * len(rows[0])) if rows[1:] else Table(names=rows[0])


def _values(name, column, path):
    """The values of a column as they are in memory."""
    kind, masked = COLUMNS[name].kind, np.ma.getmaskarray(np.ma.asarray(column))
    try:
        values = [COLUMNS[name].unknown if hidden or value is None else value
                  for value, hidden in zip(column.tolist(), masked)]
        return [kind(COLUMNS[name].unknown if kind is not str and value == '' else value) for value in values]
    except (TypeError, ValueError) as error:
        raise ValueError(f'{path}: the column {name} must hold values of the type {kind.__name__}: {error}') from error


def read_manifest(path):
    """
    Read a catalogue.

    Parameters
    ----------
    path : str or path-like
        A file that `write_manifest` made, or any table with its columns: ``.ecsv``, ``.csv`` or ``.parquet``.

    Returns
    -------
    `~astropy.table.Table`
        The catalogue; paths that are relative in the file are so to its directory, and here to the current one.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no table, columns are missing, or hold values of another type.
    ImportError
        If it is parquet, and pyarrow is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from astropy_n2v.collections import make_manifest, read_manifest, write_manifest
    >>> from astropy_n2v.simulate import make_scene
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     make_scene('survey', (64, 64), seed=1).observe(seed=1).write(Path(directory) / 'a.fits')
    ...     write_manifest(make_manifest(directory), Path(directory) / 'm.csv')
    ...     manifest = read_manifest(Path(directory) / 'm.csv')
    >>> manifest['shape'].tolist(), manifest['bytes'].unit
    (['64x64'], Unit("byte"))
    """
    form = check_manifest_format(path)
    name = os.fspath(path)
    if os.path.isdir(path) or not os.path.exists(path):
        open(path).close()   # raises the error of the system
    try:
        table = {'ascii.csv': _read_csv, 'parquet': _read_parquet}.get(form, _read_ecsv)(path)
    except OSError:
        raise
    except Exception as error:   # readers of tables raise whatever the damage happens to cause
        raise ValueError(f'{name} is no manifest, or it is damaged: {" ".join(str(error).split())}') from error
    missing = missing_columns(table)
    if missing:
        raise ValueError(f'{name} is no manifest: it lacks the columns {", ".join(missing)}')
    columns = {column: _values(column, table[column], name) for column in COLUMNS}
    directory = os.path.dirname(name)
    columns['path'] = [os.path.join(directory, value) for value in columns['path']]
    others = {column: table[column].tolist() for column in table.colnames if column not in COLUMNS}
    names = [*columns, *others]
    manifest = make_table(dict(zip(names, values)) for values in zip(*columns.values(), *others.values()))
    try:
        manifest.meta = _renamed(table.meta, lambda name: os.path.join(directory, name))
    except (AttributeError, TypeError, ValueError):
        log.info('%s has a list of files without images that cannot be understood', name)
    return manifest
