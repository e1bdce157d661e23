# Licensed under a 3-clause BSD style license - see LICENSE
"""
Checks of a collection before it is trained on.
"""

import os

import numpy as np
from astropy.table import Table

from .describe import file_hash, file_state
from .fields import find_fields
from .splits import SPLITS

__all__ = ['NOTES', 'check_manifest']

#: Findings of `check_manifest` that follow from what was asked for, and are no faults.
NOTES = 'shared field',

# Shares of an image from which on it is not to be trained on. Borders without data, bad columns and the cores of bright
# stars are less.
_MAX_NONFINITE, _MAX_SATURATED = 0.5, 0.2
# Noise of a frame over the median of those like it that no change of the sky makes, and how many make a median.
_NOISE_FACTOR, _ALIKE = 10.0, 5
# Relative noise below which a large background is no measured one: 1e7 electrons in a pixel.
_LEAST_NOISE = 1e-6


def check_manifest(manifest, split=None, *, hashes=False):
    """
    Check a collection.

    Parameters
    ----------
    manifest : `~astropy.table.Table`
        From `make_manifest`.
    split : Split, optional
        Its split.
    hashes : bool, optional
        If true, calculate the SHA-1 of all files anew; else of those whose size or time has changed.

    Returns
    -------
    `~astropy.table.Table`
        The findings, a row each: ``problem``, ``path``, ``ext``, ``message``. Problems are

        - ``unreadable``: the file could not be read when it was catalogued;
        - ``missing``, ``changed``: the file is not there any more, or has another content than it was catalogued with;
        - ``duplicate``: two files have the same content;
        - ``constant``, ``non-finite``, ``saturated``: all of the image, more than half of it, more than a fifth of it;
        - ``unit``: another one than most frames of the instrument have;
        - ``noise``: not known, none, or ten times as large or small as in frames alike;
        - ``leak``: frames of one field of the sky, or of one content, are in two parts of the split; of one content
          alone if it was made by frame;
        - ``not in split``, ``not in manifest``: the split is of another catalogue.

        One finding is a note (`NOTES`) and no problem:

        - ``shared field``: a field of the sky is in several parts of a split that was made by frame, as it was asked
          for. A row for each such field: what a test measures there holds for other exposures of what the model was
          trained on, and not for other fields.

    Examples
    --------
    >>> from astropy_n2v.collections import check_manifest
    >>> from astropy_n2v.collections.columns import make_table
    >>> print(check_manifest(make_table([{'path': 'gone.fits', 'noise': 5.0}]))['problem', 'path', 'message'])
    problem    path            message
    ------- --------- -------------------------
    missing gone.fits No such file or directory
    """
    found = [*_of_files(manifest, hashes), *_duplicates(manifest), *_of_images(manifest), *_units(manifest),
             *_noises(manifest)]
    if split is not None:
        found += [*_leaks(manifest, split), *_strangers(manifest, split)]
        if split.by == 'frame':
            found += _shared_fields(manifest, split)
    columns = list(zip(*found)) or [[], [], [], []]
    return Table({name: np.array(values, dtype=int if name == 'ext' else str)
                  for name, values in zip(('problem', 'path', 'ext', 'message'), columns)})


def _files(manifest):
    """The first row of each file."""
    rows = {}
    for i, path in enumerate(manifest['path'].tolist()):
        rows.setdefault(path, i)
    return rows


def _of_files(manifest, hashes):
    for path, i in _files(manifest).items():
        row = manifest[i]
        if row['error']:
            yield 'unreadable', path, row['ext'], row['error']
        try:
            same = file_state(path) == {name: row[name] for name in ('bytes', 'mtime')}
            if (hashes or not same) and file_hash(path) != row['sha1']:
                yield 'changed', path, row['ext'], 'its content is another than in the manifest: make that anew'
        except OSError as error:
            if not row['error']:
                yield 'missing', path, row['ext'], error.strerror or str(error)


def _duplicates(manifest):
    first = {}
    for path, i in _files(manifest).items():
        sha1 = manifest['sha1'][i]
        if sha1 and first.setdefault(sha1, path) != path:
            yield 'duplicate', path, manifest['ext'][i], f'it has the content of {first[sha1]}'


def _of_images(manifest):
    for row in manifest:
        if row['error']:
            continue
        if row['noise'] == 0:
            yield 'constant', row['path'], row['ext'], f'all pixels are {row["background"]:g}'
        if row['nonfinite'] > _MAX_NONFINITE:
            yield 'non-finite', row['path'], row['ext'], f'{row["nonfinite"]:.0%} of the pixels are NaN or infinite'
        if row['saturated'] > _MAX_SATURATED:
            yield 'saturated', row['path'], row['ext'], f'{row["saturated"]:.0%} of the pixels are saturated'


def _alike(manifest, *names):
    """Group the rows of readable images by instrument and the values of other columns; unknown ones stand alone."""
    groups = {}
    names = 'error', 'telescope', 'instrument', *names
    for i, (error, *key) in enumerate(zip(*(manifest[name].tolist() for name in names))):
        if not error:
            groups.setdefault(tuple(key) if any(key[:2]) else i, []).append(i)
    return groups.values()


def _units(manifest):
    for rows in _alike(manifest):
        units = manifest['unit'][rows].tolist()
        most = max(sorted(set(units)), key=units.count)
        for i, unit in zip(rows, units):
            if unit != most:
                yield ('unit', manifest['path'][i], manifest['ext'][i],
                       f'{unit or "no unit"}, and {most or "no unit"} in most frames of the instrument')


def _noises(manifest):
    for rows in _alike(manifest, 'filter', 'unit', 'imagetype'):
        noise = np.asarray(manifest['noise'][rows], dtype=float)
        known = np.isfinite(noise) & (noise > 0)
        typical = np.median(noise[known]) if np.count_nonzero(known) >= _ALIKE else np.nan
        for i, value, is_known in zip(rows, noise, known):
            place = manifest['path'][i], manifest['ext'][i]
            level = abs(manifest['background'][i])
            if not is_known and value != 0 and not manifest['nonfinite'][i] > _MAX_NONFINITE:
                yield 'noise', *place, 'it cannot be measured: too few pixels count'
            elif is_known and value < _LEAST_NOISE * level:
                yield 'noise', *place, f'{value:.3g}, next to nothing on a level of {level:.6g}'
            elif is_known and not 1 / _NOISE_FACTOR < value / typical < _NOISE_FACTOR and np.isfinite(typical):
                yield 'noise', *place, f'{value:.3g}, and {typical:.3g} in most frames alike'


def _divided_fields(manifest, split, by):
    """Yield the rows and the parts of each field, found anew, whose frames are in several parts."""
    parts = split.column(manifest)
    fields = {}
    for i, (number, part) in enumerate(zip(find_fields(manifest, by=by).tolist(), parts.tolist())):
        if part:
            fields.setdefault(number, []).append(i)
    for rows in fields.values():
        names = parts[rows].tolist()
        if len(set(names)) > 1:
            yield rows, names


def _leaks(manifest, split):
    for rows, names in _divided_fields(manifest, split, split.by):
        most = max(sorted(set(names)), key=names.count)
        other = manifest['path'][rows[names.index(most)]]
        for i, part in zip(rows, names):
            if part != most:
                yield ('leak', manifest['path'][i], manifest['ext'][i],
                       f'it is in {part}, and {other}, of the same {split.by}, in {most}')


def _shared_fields(manifest, split):
    for rows, names in _divided_fields(manifest, split, 'field'):
        first = rows[0]
        parts = [f'{len({manifest["path"][i] for i, part in zip(rows, names) if part == name})} in {name}'
                 for name in SPLITS if name in names]
        yield ('shared field', manifest['path'][first], manifest['ext'][first],
               f'of its field are {", ".join(parts)}, as the split was made by frame: a test does not show how good a '
               'model is on other fields')


def _strangers(manifest, split):
    known = {os.path.abspath(path) for path in manifest['path'].tolist()}
    parts = split.column(manifest).tolist()
    for path, i in _files(manifest).items():
        if not parts[i] and not manifest['error'][i] and manifest['noise'][i] > 0:
            yield 'not in split', path, manifest['ext'][i], 'it is in the manifest, and in no part of the split'
    for frame in split.frames:
        if os.path.abspath(frame['path']) not in known:
            yield 'not in manifest', frame['path'], -1, f'it is in the {frame["split"]} split, and not in the manifest'
