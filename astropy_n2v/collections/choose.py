# Licensed under a 3-clause BSD style license - see LICENSE
"""
The summary of a catalogue, and samples of it.
"""

import fnmatch
import hashlib
import math
import re

import numpy as np
from astropy.table import Table

from ..utils.checks import check_integer
from .columns import COLUMNS

__all__ = ['calibration_frames', 'count_files', 'select_frames', 'summarize_manifest', 'usable']

# Words of IMAGETYP and the like for frames that are not of the sky, also at the end of others ('DOMEFLAT').
_CALIBRATION = re.compile(r'(bias|zero|dark|flat|\barc)s?\b', re.IGNORECASE)


def usable(manifest):
    """
    Find the images of a catalogue that can be trained on.

    Parameters
    ----------
    manifest : `~astropy.table.Table`
        The catalogue.

    Returns
    -------
    `~numpy.ndarray` of bool
        False for files that cannot be read, images that are constant, or of which no pixel counts.

    Examples
    --------
    >>> from astropy_n2v.collections import usable
    >>> from astropy_n2v.collections.columns import make_table
    >>> usable(make_table([{'path': 'a.fits', 'noise': 5.0}, {'path': 'flat.fits', 'noise': 0.0}])).tolist()
    [True, False]
    """
    noise = np.asarray(manifest['noise'], dtype=float)
    readable = np.array([not error for error in manifest['error']], dtype=bool)
    return readable & np.isfinite(noise) & (noise > 0)


def calibration_frames(manifest):
    """
    Find the images of a catalogue that their headers call frames for calibration.

    Parameters
    ----------
    manifest : `~astropy.table.Table`
        From `make_manifest`.

    Returns
    -------
    `~numpy.ndarray` of bool
        True where ``imagetype`` has a word such as bias, zero, dark, flat ('Dark Frame', 'DOMEFLAT') or arc.

    Examples
    --------
    >>> from astropy_n2v.collections import calibration_frames
    >>> from astropy_n2v.collections.columns import make_table
    >>> names = 'LIGHT', 'Dark Frame', 'domeflat', ''
    >>> calibration_frames(make_table([{'path': 'a.fits', 'imagetype': name} for name in names])).tolist()
    [False, True, True, False]
    """
    return np.array([_CALIBRATION.search(name) is not None for name in manifest['imagetype'].tolist()], dtype=bool)


def count_files(manifest):
    """
    Count the files of a catalogue by their contents.

    Parameters
    ----------
    manifest : `~astropy.table.Table`
        From `make_manifest`.

    Returns
    -------
    dict of int
        Numbers of files ``with images``, ``without images``, and those that ``cannot be read``. They add up to all
        files that were found.

    Examples
    --------
    >>> from astropy_n2v.collections import count_files
    >>> from astropy_n2v.collections.columns import make_table
    >>> manifest = make_table([{'path': 'a.fits', 'ext': 1}, {'path': 'a.fits', 'ext': 2},
    ...                        {'path': 'b.fits', 'error': 'truncated'}])
    >>> count_files(manifest)
    {'with images': 1, 'without images': 0, 'cannot be read': 1}
    """
    files = set(manifest['path'].tolist())
    readable = {path for path, error in zip(manifest['path'].tolist(), manifest['error'].tolist()) if not error}
    return {'with images': len(readable), 'without images': len(manifest.meta.get('without_images', {})),
            'cannot be read': len(files - readable)}


def summarize_manifest(manifest):
    """
    Summarize a catalogue by telescope, instrument, filter and unit.

    Parameters
    ----------
    manifest : `~astropy.table.Table`
        From `make_manifest`.

    Returns
    -------
    `~astropy.table.Table`
        A row for each combination: numbers of files, of images, and of those that cannot be read; total exposure time
        in seconds; medians of background, noise and larger correlation of neighbours; size in MB.

    Examples
    --------
    >>> from astropy_n2v.collections import summarize_manifest
    >>> from astropy_n2v.collections.columns import make_table
    >>> rows = [{'path': f'{n}.fits', 'instrument': 'CAM', 'filter': 'r', 'exptime': 30} for n in range(3)]
    >>> summary = summarize_manifest(make_table(rows))
    >>> summary['instrument', 'files', 'exptime'].as_array().tolist()
    [('CAM', 3, 90.0)]
    """
    names = 'telescope', 'instrument', 'filter', 'unit'
    groups = {}
    for i, key in enumerate(zip(*(manifest[name].tolist() for name in names))):
        groups.setdefault(key, []).append(i)
    rows = []
    for key in sorted(groups):
        part = manifest[groups[key]]
        sizes = dict(zip(part['path'].tolist(), part['bytes'].tolist()))
        rho = np.fmax(part['rho_x'], part['rho_y'])
        rows.append((*key, len(sizes), len(part), sum(map(bool, part['error'])), float(np.nansum(part['exptime'])),
                     *(_median(values) for values in (part['background'], part['noise'], rho)),
                     sum(sizes.values()) / 1e6))
    table = Table(rows=rows or None, names=[*names, 'files', 'images', 'unreadable', 'exptime', 'background', 'noise',
                                            'rho', 'megabytes'])
    for name in ('exptime', 'background', 'noise', 'rho', 'megabytes'):
        table[name].info.format = '.4g'
    return table


def _median(values):
    values = np.asarray(values, dtype=float)
    values = values[np.isfinite(values)]
    return float(np.median(values)) if values.size else math.nan


def select_frames(manifest, where=None, *, n=None, seed=0):
    """
    Take a sample of a catalogue, by rules or at random.

    Parameters
    ----------
    manifest : `~astropy.table.Table`
        From `make_manifest`.
    where : dict, optional
        Name of a column and what its values must be: of texts a pattern with ``*``, ``?`` and ``[]``, capitals or not;
        of numbers a number, or a range such as ``'10..60'``, ``'..0.3'`` or ``'5..'``. All must hold.
    n : int, optional
        Number of files that are drawn from the others; all if there are not more.
    seed : int, optional
        Seed of the draw. It depends on the content of the files, and not on their order or names.

    Returns
    -------
    `~astropy.table.Table`
        The rows that were chosen, in the order of the catalogue; all images of a file that was drawn.

    Raises
    ------
    ValueError
        If there is no such column, a range cannot be read, or no row is left.

    Examples
    --------
    >>> from astropy_n2v.collections import select_frames
    >>> from astropy_n2v.collections.columns import make_table
    >>> manifest = make_table([{'path': f'{n}.fits', 'sha1': str(n), 'filter': 'gri'[n], 'exptime': 30 * n}
    ...                        for n in range(3)])
    >>> select_frames(manifest, {'filter': '[gr]', 'exptime': '20..'})['path'].tolist()
    ['1.fits']
    >>> len(select_frames(manifest, n=2))
    2
    """
    n, seed = check_integer('n', n, 1), check_integer('seed', seed, 0)
    chosen = np.ones(len(manifest), dtype=bool)
    for name, rule in (where or {}).items():
        if name not in manifest.colnames:
            raise ValueError(f'where must name columns of the manifest, got {name!r}; it has '
                             f'{", ".join(manifest.colnames)}')
        chosen &= _matches(manifest, name, rule)
    if not chosen.any():
        raise ValueError(f'where must leave some of the {len(manifest)} images of the manifest, got {where}, which '
                         'leaves none')
    table = manifest[chosen]
    if n is None:
        return table
    files = dict(zip(table['path'].tolist(), table['sha1'].tolist()))
    drawn = sorted(files, key=lambda path: _draw(seed, files[path], path))[:n]
    return table[np.isin(table['path'], drawn)]


def _draw(seed, *texts):
    """Give a key by which files are ordered to draw some of them."""
    return hashlib.sha256(f'{seed} {texts[0]}'.encode()).hexdigest(), *texts


def _matches(manifest, name, rule):
    """Select the values of a column that follow a rule."""
    kind = COLUMNS[name].kind if name in COLUMNS else str
    if kind is str:
        pattern = str(rule).casefold()
        return np.array([fnmatch.fnmatchcase(str(value).casefold(), pattern) for value in manifest[name].tolist()],
                        dtype=bool)
    low, dots, high = str(rule).partition('..')
    try:
        low = float(low) if low.strip() or not dots else -math.inf
        high = (float(high) if high.strip() else math.inf) if dots else low
    except ValueError:
        raise ValueError(f'where must give {name} as a number or a range such as 10..60, got {rule!r}') from None
    values = np.asarray(manifest[name], dtype=float)
    return (values >= low) & (values <= high)
