# Licensed under a 3-clause BSD style license - see LICENSE
"""
Splits of a collection into training, validation and test, of which no field of the sky is in two.
"""

import hashlib
import json
import math
import os
from dataclasses import dataclass, field

import numpy as np

from ..utils.atomic_files import atomic_write
from ..utils.checks import check_integer
from .choose import usable
from .fields import find_fields
from .tables import relative_path

__all__ = ['SPLITS', 'Split', 'split_manifest']

#: Names of the parts of a split.
SPLITS = 'train', 'validation', 'test'
_FORMAT = 'astropy_n2v split of a collection'
_VERSION = 1   # of the format of the files that are written, and the only one that is read
# Fractions and what they add up to may differ by rounding.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Split:
    """
    A split of a collection.

    Parameters
    ----------
    frames : list of dict
        Of each file its ``path``, ``sha1``, number of its ``field``, and in which ``split`` it is.
    seed : int
        Seed that it was drawn with.
    fractions : tuple of float
        Fractions that were asked for.
    by : {'field', 'frame'}
        The unit that stayed together.

    See Also
    --------
    split_manifest : Make one.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from astropy_n2v.collections import Split, split_manifest
    >>> from astropy_n2v.collections.columns import make_table
    >>> manifest = make_table([{'path': f'{n}.fits', 'sha1': str(n), 'noise': 5.0} for n in range(10)])
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     split_manifest(manifest).write(Path(directory) / 's.json')
    ...     split = Split.read(Path(directory) / 's.json')
    >>> split.seed, split.by, split.counts()
    (42, 'field', {'train': 7, 'validation': 2, 'test': 1})
    """

    frames: list = field(repr=False)
    seed: int = 42
    fractions: tuple = (0.7, 0.15, 0.15)
    by: str = 'field'

    def column(self, manifest, name='split'):
        """
        Make a column for a catalogue.

        Parameters
        ----------
        manifest : `~astropy.table.Table`
            The catalogue.
        name : {'split', 'field'}, optional
            Which column.

        Returns
        -------
        `~numpy.ndarray`
            The part that each row is in, empty for files that are in none; or the number of its field, or -1.
        """
        known = {os.path.abspath(frame['path']): frame[name] for frame in self.frames}
        default = '' if name == 'split' else -1
        return np.array([known.get(os.path.abspath(path), default) for path in manifest['path'].tolist()],
                        dtype=str if name == 'split' else int)

    def rows(self, manifest, name):
        """
        Choose the rows of a catalogue that are in a part.

        Parameters
        ----------
        manifest : `~astropy.table.Table`
            The catalogue.
        name : {'train', 'validation', 'test'}
            Which part.

        Returns
        -------
        `~astropy.table.Table`
            Its rows, without images that cannot be used (`usable`).

        Raises
        ------
        ValueError
            If there is no such part, or it has no image.
        """
        if name not in SPLITS:
            raise ValueError(f'split must be one of {", ".join(SPLITS)}, got {name!r}')
        rows = manifest[(self.column(manifest) == name) & usable(manifest)]
        if not len(rows):
            raise ValueError(f'the split {name} must have at least one image that is in the manifest and can be used, '
                             'got none')
        return rows

    def counts(self):
        """
        Count the files of each part.

        Returns
        -------
        dict of str to int
            Numbers of files by the names of the parts.
        """
        return {name: sum(frame['split'] == name for frame in self.frames) for name in SPLITS}

    def write(self, path, *, overwrite=False):
        """
        Write a file, as text (JSON).

        Parameters
        ----------
        path : str or path-like
            The file; paths of frames below its directory are written relative to it.
        overwrite : bool, optional
            Whether to replace an existing file.

        Raises
        ------
        OSError
            If the file exists, or cannot be written.
        """
        directory = os.path.dirname(os.path.abspath(path))
        frames = [{**frame, 'path': relative_path(frame['path'], directory)} for frame in self.frames]
        head = {'format': _FORMAT, 'version': _VERSION, 'seed': self.seed, 'fractions': list(self.fractions),
                'by': self.by, 'counts': self.counts()}
        lines = ',\n'.join(f'  {json.dumps(frame)}' for frame in frames)
        with atomic_write(path, overwrite=overwrite) as temporary:
            with open(temporary, 'w', encoding='utf-8') as file:
                file.write(f'{json.dumps(head)[:-1]}, "frames": [\n{lines}\n]}}\n')

    @classmethod
    def read(cls, path):
        """
        Read a file that `write` made.

        Parameters
        ----------
        path : str or path-like
            The file.

        Returns
        -------
        Split
            The split.

        Raises
        ------
        OSError
            If the file cannot be read.
        ValueError
            If it was not written by this package, by a newer version of it, or is damaged.
        """
        name = os.fspath(path)
        with open(path, encoding='utf-8') as file:
            try:
                content = json.load(file)
            except (ValueError, RecursionError) as error:
                raise ValueError(f'{name} is no split (JSON), or it is truncated: {error}') from error
        if not isinstance(content, dict) or content.get('format') != _FORMAT:
            raise ValueError(f'{name} is no split: it was not written by Split.write() or astropy-n2v split')
        if content.get('version') != _VERSION:
            raise ValueError(f'{name} has format version {content.get("version")!r}, this version of astropy_n2v reads '
                             f'{_VERSION}')
        directory = os.path.dirname(name)
        try:
            frames = [{'path': os.path.join(directory, frame['path']), 'sha1': str(frame['sha1']),
                       'field': int(frame['field']), 'split': str(frame['split'])} for frame in content['frames']]
            return cls(frames, int(content['seed']), tuple(map(float, content['fractions'])), str(content['by']))
        except (KeyError, TypeError, ValueError) as error:
            reason = f'{error} is missing' if isinstance(error, KeyError) else error
            raise ValueError(f'{name} is damaged: {reason}') from error


def split_manifest(manifest, fractions=(0.70, 0.15, 0.15), *, seed=42, stratify=False, separation=None, by='field'):
    """
    Split a collection into training, validation and test.

    All frames of a field stay together, see `find_fields`: a model that was trained on a field knows its sources, and
    what it does there shows nothing.

    Parameters
    ----------
    manifest : `~astropy.table.Table`
        From `make_manifest`. Files that cannot be used are in no part, see `usable`.
    fractions : tuple of float, optional
        Fractions of the files for training, validation and test; they add up to 1. As fields stay whole, they are
        reached as far as the fields allow.
    seed : int, optional
        Seed of the draw. It depends on the content of the files, and not on their order or names.
    stratify : bool, optional
        If true, reach the fractions for each combination of telescope, instrument and filter.
    separation : float, optional
        See `find_fields`.
    by : {'field', 'frame'}, optional
        'frame': only images of one file, or of files of the same content, stay together, as for exposures of a single
        field. A test then shows how good a model is on other exposures of what it has seen, and not on other fields.

    Returns
    -------
    Split
        The split.

    Raises
    ------
    ValueError
        If fractions are negative or do not add up to 1, or there are fewer fields than parts.

    Examples
    --------
    >>> from astropy_n2v.collections import split_manifest
    >>> from astropy_n2v.collections.columns import make_table
    >>> manifest = make_table([{'path': f'{n}.fits', 'sha1': str(n), 'noise': 5.0, 'object': f'field {n % 10}'}
    ...                        for n in range(20)])
    >>> split = split_manifest(manifest)
    >>> split.counts()
    {'train': 14, 'validation': 4, 'test': 2}
    """
    fractions = _check_fractions(fractions)
    seed = check_integer('seed', seed, 0)
    table = manifest[usable(manifest)]
    fields = find_fields(table, separation=separation, by=by)
    names = [name for name, fraction in zip(SPLITS, fractions) if fraction > 0]
    members = _members(table, fields, seed)
    if len(members) < len(names):
        what = 'fields of the sky' if by == 'field' else 'different files'
        raise ValueError(f'manifest must have at least {len(names)} {what}, one for each of '
                         f'{", ".join(names)}, got {len(members)} with {len(table)} usable frames: give more frames, a '
                         "fraction of 0, or, to divide the exposures of one field, by='frame' (--by frame)")
    wanted = dict(zip(SPLITS, fractions))
    parts = _allocate(members, {name: wanted[name] for name in names}, _strata(table, fields) if stratify else None)
    frames = {}
    for path, sha1, number in zip(table['path'].tolist(), table['sha1'].tolist(), fields.tolist()):
        frames[path] = {'path': path, 'sha1': sha1, 'field': number, 'split': parts[number]}
    return Split(list(frames.values()), seed, fractions, by)


def _check_fractions(fractions):
    try:
        fractions = tuple(map(float, fractions))
    except (TypeError, ValueError):
        fractions = ()
    if len(fractions) != len(SPLITS) or not all(0 <= fraction <= 1 for fraction in fractions) \
            or abs(math.fsum(fractions) - 1) > _ROUNDING:
        raise ValueError(f'fractions must be three numbers from 0 to 1, for {", ".join(SPLITS)}, that add up to 1, got '
                         f'{fractions}')
    return fractions


def _members(table, fields, seed):
    """The files of each field; fields with many files first, those with equally many in an order that is drawn."""
    members = {}
    for path, sha1, number in zip(table['path'].tolist(), table['sha1'].tolist(), fields.tolist()):
        members.setdefault(number, {})[path] = sha1
    return dict(sorted(members.items(), key=lambda item: (
        -len(item[1]), hashlib.sha256(f'{seed} {min(item[1].values())}'.encode()).hexdigest(), item[0])))


def _strata(table, fields):
    """Telescope, instrument and filter of each field: the most frequent ones of its frames."""
    found = {}
    for number, *key in zip(fields.tolist(), *(table[name].tolist() for name in ('telescope', 'instrument', 'filter'))):
        found.setdefault(number, []).append(tuple(key))
    return {number: max(sorted(set(keys)), key=keys.count) for number, keys in found.items()}


def _allocate(members, fractions, strata=None):
    """
    Give each field to the part that lacks most files: of all that there are, or stratum by stratum, of those so far.

    So each stratum is divided in proportion, and what is lacking in one that is small is made up for in the next.
    """
    counts = {number: len(files) for number, files in members.items()}
    order = list(members) if strata is None else sorted(members, key=lambda number: strata[number])
    total = sum(counts.values()) if strata is None else 0
    given, parts = dict.fromkeys(fractions, 0), {}
    for left, number in zip(range(len(order), 0, -1), order):
        if strata is not None:
            total += counts[number]
        # The last fields are for the parts that would have none.
        empty = [name for name, n in given.items() if n == 0]
        choice = empty if left <= len(empty) else list(fractions)
        # Rounding errors must not decide.
        name = max(choice, key=lambda name: round(fractions[name] * total - given[name], 6))
        parts[number] = name
        given[name] += counts[number]
    return parts
