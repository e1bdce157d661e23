# Licensed under a 3-clause BSD style license - see LICENSE
"""
Results of single frames on disk, so that what is finished is not computed again.
"""

import dataclasses
import hashlib
import json
import logging
import types
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.nddata import NDData, NDUncertainty
from astropy.table import Table

from ..io.files import replacing
from .report import table_from_dict, table_to_dict
from .task import Measures

__all__ = ['FrameStore', 'fingerprint']

log = logging.getLogger(__name__)

_FORMAT = '4'


def fingerprint(*values):
    """
    A hash of inputs and options: it changes if any of them does.

    Parameters
    ----------
    *values
        Frames, arrays, tables, numbers, text, functions (their name and code count), and containers of these.

    Returns
    -------
    str
        40 hexadecimal digits.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.validation.store import fingerprint
    >>> fingerprint(np.zeros(3), 'a') == fingerprint(np.zeros(3), 'a')
    True
    >>> fingerprint(np.zeros(3)) == fingerprint(np.zeros(4))
    False
    """
    digest = hashlib.sha256()
    for value in values:
        _update(digest, value)
    return digest.hexdigest()[:40]


def _update(digest, value):
    """Add a value to a hash."""
    if isinstance(value, u.Quantity):
        parts = ['quantity', value.value, str(value.unit)]
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
        parts = ['table', {name: np.asarray(value[name]) for name in value.colnames}]
    elif isinstance(value, dict):
        parts = [item for key in sorted(value, key=str) for item in (str(key), value[key])]
    elif isinstance(value, (list, tuple)):
        parts = [f'{len(value)} items', *value]
    elif isinstance(value, types.FunctionType):
        code = value.__code__
        parts = ['function', value.__module__, value.__qualname__, code.co_code.hex(),
                 [str(constant) for constant in code.co_consts if not isinstance(constant, types.CodeType)]]
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = [type(value).__name__, *(getattr(value, item.name) for item in dataclasses.fields(value))]
    elif callable(value):
        parts = ['callable', getattr(value, '__module__', ''), getattr(value, '__qualname__', type(value).__qualname__)]
    else:
        digest.update(f'{type(value).__name__} {value!r};'.encode())
        return
    for part in parts:
        _update(digest, part)


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
        with replacing(path.with_suffix('.npz'), overwrite=True) as temporary:
            np.savez_compressed(temporary, **measures.images)
        content = {'format': _FORMAT, 'key': key, 'reasons': measures.reasons,
                   'tables': {name: table_to_dict(table) for name, table in measures.tables.items()}}
        # Last: where it is, the rest is.
        with replacing(path, overwrite=True) as temporary:
            temporary.write_text(json.dumps(content, allow_nan=False), encoding='utf-8')
