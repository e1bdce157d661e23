# Licensed under a 3-clause BSD style license - see LICENSE
"""
Results of single frames on disk, so that what is finished is not computed again.
"""

import dataclasses
import hashlib
import json
import logging
from pathlib import Path

import numpy as np
from astropy.nddata import NDData, NDUncertainty
from astropy.table import Table

from ...utils.atomic_files import atomic_write
from .report import table_from_dict, table_to_dict
from .task import Measures

__all__ = ['FrameStore', 'hash_of']

log = logging.getLogger(__name__)

_FORMAT = '6'


def hash_of(*values):
    """
    Make a key of data and options.

    Parameters
    ----------
    *values
        Frames, arrays, tables, numbers, text, data classes, and containers of these. A function counts by its name.

    Returns
    -------
    str
        40 hexadecimal digits.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.validation.report.cache import hash_of
    >>> hash_of(np.zeros(3), 'a') == hash_of(np.zeros(3), 'a')
    True
    >>> hash_of(np.zeros(3)) == hash_of(np.zeros(4))
    False
    """
    digest = hashlib.sha256()
    for value in values:
        _update(digest, value)
    return digest.hexdigest()[:40]


def _update(digest, value):
    """Add a value to a hash."""
    if isinstance(value, NDData):
        value = (value.data, value.mask, value.uncertainty, str(value.unit), str(value.wcs), str(dict(value.meta)))
    elif isinstance(value, NDUncertainty):
        value = value.uncertainty_type, value.array, str(value.unit)
    elif isinstance(value, Table):
        value = {name: value[name] for name in value.colnames}
    elif dataclasses.is_dataclass(value):
        value = {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
    if isinstance(value, np.ndarray):
        digest.update(f'array {value.shape} {value.dtype}'.encode() + np.ascontiguousarray(value).tobytes())
        for part in (getattr(value, 'unit', None), getattr(value, 'mask', None)):
            if part is not None:
                _update(digest, np.asarray(part) if np.ndim(part) else str(part))
    elif isinstance(value, dict):
        _update(digest, sorted(value.items()))
    elif isinstance(value, (list, tuple)):
        digest.update(f'{len(value)} items;'.encode())
        for part in value:
            _update(digest, part)
    else:
        name = f'{value.__module__}.{value.__qualname__}' if hasattr(value, '__qualname__') else repr(value)
        digest.update(f'{type(value).__name__} {name};'.encode())


class FrameStore:
    """
    A directory of finished frames.

    Parameters
    ----------
    directory : str or path-like or None
        The directory; it is made when the first result is kept. None keeps nothing.
    """

    def __init__(self, directory):
        self.directory = None if directory is None else Path(directory)

    def load(self, key):
        """Return the measures of a frame by its key, or None if it is not finished."""
        if self.directory is None:
            return None
        path = self.directory / f'{key}.json'
        try:
            content = json.loads(path.read_text(encoding='utf-8'))
            if content['format'] != _FORMAT or content['key'] != key:
                return None
            tables = {name: table_from_dict(table) for name, table in content['tables'].items()}
            with np.load(path.with_suffix('.npz')) as archive:
                images = {name: archive[name] for name in archive.files}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            # A damaged record costs time, not the result.
            log.warning('%s cannot be used and is computed again: %s', path, error)
            return None
        if 'sigma' in images:
            images['sigma'] = float(images['sigma'])
        return Measures(tables, content['reasons'], images)

    def save(self, key, measures):
        """Keep the measures of a frame."""
        if self.directory is None:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / f'{key}.json'
        with atomic_write(path.with_suffix('.npz'), overwrite=True) as temporary:
            np.savez_compressed(temporary, **measures.images)
        content = {'format': _FORMAT, 'key': key, 'reasons': measures.reasons,
                   'tables': {name: table_to_dict(table) for name, table in measures.tables.items()}}
        # Last: where it is, the rest is.
        with atomic_write(path, overwrite=True) as temporary:
            temporary.write_text(json.dumps(content, allow_nan=False), encoding='utf-8')
