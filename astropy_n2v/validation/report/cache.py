# Licensed under a 3-clause BSD style license - see LICENSE
"""
Results of single frames on disk, so that what is finished is not computed again.
"""

import dataclasses
import functools
import hashlib
import json
import logging
import os
import pickle
import types
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.modeling import Model
from astropy.nddata import NDData, NDUncertainty
from astropy.table import Table

from ...utils.files import atomic_write
from .report import table_from_dict, table_to_dict
from .task import Measures

__all__ = ['FrameStore', 'fingerprint']

log = logging.getLogger(__name__)

_FORMAT = '5'


def fingerprint(*values):
    """
    A hash of inputs and options: it changes if any of them does.

    Parameters
    ----------
    *values
        Frames, arrays, tables, numbers, text, functions (their code, defaults and what they enclose count), containers
        of these, and all that can be pickled. Of anything else the hash is never the same twice.

    Returns
    -------
    str
        40 hexadecimal digits.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.validation.report.cache import fingerprint
    >>> fingerprint(np.zeros(3), 'a') == fingerprint(np.zeros(3), 'a')
    True
    >>> fingerprint(np.zeros(3)) == fingerprint(np.zeros(4))
    False
    """
    digest = hashlib.sha256()
    for value in values:
        _update(digest, value, set())
    return digest.hexdigest()[:40]


def _update(digest, value, functions):
    """Add a value to a hash; functions are those it is part of."""
    if isinstance(value, u.Quantity):
        parts = ['quantity', value.value, str(value.unit)]
    elif isinstance(value, np.ma.MaskedArray):
        parts = ['masked', value.data, np.ma.getmaskarray(value)]
    elif isinstance(value, np.ndarray) and value.dtype.kind != 'O':
        digest.update(f'array {value.shape} {value.dtype}'.encode())
        digest.update(np.ascontiguousarray(value).tobytes())
        return
    elif isinstance(value, NDUncertainty):
        parts = ['uncertainty', value.uncertainty_type, value.array, str(value.unit)]
    elif isinstance(value, NDData):
        wcs = getattr(value, 'wcs', None)
        parts = ['frame', value.data, value.mask, value.uncertainty, str(value.unit),
                 None if wcs is None else str(wcs), str(dict(value.meta))]
    elif isinstance(value, Table):
        parts = ['table', {name: value[name] for name in value.colnames},
                 [str(getattr(value[name], 'unit', None)) for name in value.colnames]]
    elif isinstance(value, dict):
        parts = [item for key in sorted(value, key=str) for item in (str(key), value[key])]
    elif isinstance(value, (list, tuple)):
        parts = [f'{len(value)} items', *value]
    elif isinstance(value, types.FunctionType):
        parts = ['function', value.__module__, value.__qualname__]
        if id(value) not in functions:   # it may enclose itself
            functions = functions | {id(value)}
            parts += [value.__code__, value.__defaults__, value.__kwdefaults__,
                      [_content(cell) for cell in value.__closure__ or ()]]
    elif isinstance(value, types.CodeType):
        parts = ['code', value.co_code.hex(), value.co_names, value.co_consts]
    elif isinstance(value, functools.partial):
        parts = ['partial', value.func, value.args, value.keywords]
    elif isinstance(value, types.MethodType):
        parts = ['method', value.__func__, value.__self__]
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = [type(value).__name__, *(getattr(value, item.name) for item in dataclasses.fields(value))]
    elif isinstance(value, Model):
        # The bytes of their pickles change from one to the next.
        parts = ['model', type(value).__qualname__, repr(value), value.parameters,
                 *(getattr(value, name, None) for name in ('data', 'oversampling', 'origin', 'grid_xypos'))]
    elif value is None or isinstance(value, (bool, int, float, complex, str, bytes, np.generic)):
        digest.update(f'{type(value).__name__} {value!r};'.encode())
        return
    else:
        digest.update(_pickled(value))
        return
    for part in parts:
        _update(digest, part, functions)


def _content(cell):
    try:
        return cell.cell_contents
    except ValueError:   # not assigned yet
        return None


def _pickled(value):
    try:
        return pickle.dumps(value)
    except Exception:   # whatever its class raises
        # Better to compute something again than to take it for something else.
        return os.urandom(16)


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
        """The measures of a frame by its fingerprint, or None if it is not finished."""
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
