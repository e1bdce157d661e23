# Licensed under a 3-clause BSD style license - see LICENSE
"""
The catalogue of a collection of frames.
"""

import logging
import multiprocessing
import os
import re
from concurrent.futures import ProcessPoolExecutor

from ..io.raster import is_raster
from ..utils.checks import check_integer
from .columns import make_table
from .describe import describe_file, file_state

__all__ = ['find_images', 'make_manifest']

log = logging.getLogger(__name__)

_FITS = re.compile(r'\.(fits?|fts|fz)(\.fz)?(\.(gz|bz2|xz))?$', re.IGNORECASE)
# A process needs a second to start; so many files it describes in that time.
_FILES_PER_PROCESS = 50
_CHUNK = 16   # files that a process is given at a time


def find_images(roots):
    """
    Find the files of a collection: FITS files, compressed or not, and raster images.

    Parameters
    ----------
    roots : str, path-like, or list of them
        Directories, which are searched with all directories in them, or files.

    Returns
    -------
    list of str
        Paths, sorted, each once, with the paths of directories that cannot be searched. Names that begin with a dot are
        left out;  links to directories are followed.

    Raises
    ------
    FileNotFoundError
        If a root does not exist.
    ValueError
        If there is no image in any of them.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from astropy_n2v.collections import find_images
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     for name in ('b.fits.fz', 'a.png', 'notes.txt'):
    ...         (Path(directory) / name).touch()
    ...     [Path(path).name for path in find_images(directory)]
    ['a.png', 'b.fits.fz']
    """
    roots = [roots] if isinstance(roots, (str, os.PathLike)) else list(roots)
    if not roots:
        raise ValueError('roots must name at least one directory or file, got none')
    found = {}
    for root in map(os.fspath, roots):
        if not os.path.lexists(root):
            raise FileNotFoundError(2, 'No such file or directory', root)
        for path in _files_below(root) if os.path.isdir(root) else [root]:
            found.setdefault(os.path.abspath(path), path)
    if not found:
        raise ValueError('roots must have a FITS file or a raster image (PNG, JPEG, TIFF), got none in '
                         f'{", ".join(map(os.fspath, roots))}')
    return sorted(found.values())


def _files_below(root):
    """Yield the images below a directory, and the directories that cannot be searched."""
    seen, refused = set(), []
    for directory, folders, names in os.walk(root, followlinks=True, onerror=refused.append):
        state = os.stat(directory)
        if (state.st_dev, state.st_ino) in seen:   # a link to a directory above
            folders.clear()
            continue
        seen.add((state.st_dev, state.st_ino))
        folders[:] = sorted(folder for folder in folders if not folder.startswith('.'))
        paths = (os.path.join(directory, name) for name in names
                 if not name.startswith('.') and (_FITS.search(name) or is_raster(name)))
        # Pipes and devices would be waited for; links that lead nowhere are reported.
        yield from (path for path in paths if os.path.isfile(path) or not os.path.exists(path))
    yield from (error.filename for error in refused)


def make_manifest(roots, *, known=None, processes=1, progress=None):
    """
    Catalogue a collection of frames.

    Of each file the SHA-1, and of each image in it what its header says and what a look at its pixels shows:
    background, noise and its correlation, share of the pixels that do not count. Of images larger than 2048 pixels the
    middle is looked at.

    Parameters
    ----------
    roots : str, path-like, or list of them
        Directories, which are searched with all directories in them, or files: see `find_images`.
    known : `~astropy.table.Table`, optional
        An earlier catalogue. Files whose size and time of change are as in it are not read again.
    processes : int, optional
        Number of processes that read files. More than one need the caller to be a script that guards its start by
        ``if __name__ == '__main__':``, as everywhere in Python.
    progress : callable, optional
        Called with the numbers of files that have been read and that are to be read.

    Returns
    -------
    `~astropy.table.Table`
        A row for each science image, see `~astropy_n2v.io.science_hdus`, and one with an ``error`` for each file or
        directory that cannot be read. Sorted by path and extension. Files without any image, such as tables, have no
        row; ``meta['without_images']`` has their sizes and times of change by path.

    Raises
    ------
    FileNotFoundError
        If a root does not exist.
    ValueError
        If there is no image, or ``processes`` is not positive.

    See Also
    --------
    write_manifest : Write a catalogue to a file.
    summarize_manifest : Summarize a catalogue by telescope, instrument, filter and unit.
    select_frames : Take a sample of a catalogue.
    check_manifest : Check a collection.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from astropy_n2v.collections import make_manifest
    >>> from astropy_n2v.simulate import make_scene
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     for n in range(2):
    ...         make_scene('survey', (64, 64), seed=n).observe(seed=n).write(Path(directory) / f'{n}.fits')
    ...     manifest = make_manifest(directory)
    >>> len(manifest), bool(manifest['noise'].min() > 1)
    (2, True)
    """
    processes = check_integer('processes', processes, 1)
    before = {} if known is None else _by_path(known)
    # Before they are read, so that those that change meanwhile are read again the next time.
    states = {path: _state(path) for path in find_images(roots)}
    found, paths = {}, []
    for path, state in states.items():
        known_state, rows = before.get(os.path.abspath(path), (None, []))
        if state is not None and state == known_state:
            found[path] = [{**row, 'path': path} for row in rows]
        else:
            paths.append(path)
    found.update(zip(paths, _describe(paths, processes, progress)))
    rows = [row for rows in found.values() for row in rows]
    table = make_table(sorted(rows, key=lambda row: (row['path'], row.get('ext', -1))))
    table.meta['without_images'] = {path: states[path] for path, rows in sorted(found.items()) if not rows}
    return table


def _by_path(manifest):
    """The state of each file of a catalogue, and its rows."""
    found = {os.path.abspath(path): (state, []) for path, state in manifest.meta.get('without_images', {}).items()}
    columns = [manifest[name].tolist() for name in manifest.colnames]
    for values in zip(*columns):
        row = dict(zip(manifest.colnames, values))
        state = {name: row[name] for name in ('bytes', 'mtime')}
        found.setdefault(os.path.abspath(row['path']), (state, []))[1].append(row)
    return found


def _state(path):
    """The state of a file; None if it is gone, or cannot be reached."""
    try:
        return file_state(path)
    except OSError:
        return None


def _describe(paths, processes, progress):
    """Describe files, in their order."""
    processes = min(processes, 1 + len(paths) // _FILES_PER_PROCESS)
    if processes == 1:
        yield from _counted(map(describe_file, paths), len(paths), progress)
        return
    # Processes that are forked would inherit the threads of libraries in a state that they cannot go on from.
    with ProcessPoolExecutor(processes, multiprocessing.get_context('spawn')) as pool:
        yield from _counted(pool.map(describe_file, paths, chunksize=_CHUNK), len(paths), progress)


def _counted(results, total, progress):
    for done, rows in enumerate(results, 1):
        if progress is not None:
            progress(done, total)
        yield rows
