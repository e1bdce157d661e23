# Licensed under a 3-clause BSD style license - see LICENSE
"""
Hash all that a result depends on: its input, the model, the options and the noise of the set.
"""

import dataclasses
import hashlib
import json
import os
import pickle
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.nddata import NDUncertainty

from ..io import split_extension

__all__ = []


def hash_file(path):
    """Return the SHA-256 of a file, as hexadecimal digits."""
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def file_state(path):
    """Return size, time of modification and hash of a file, as the journal has them."""
    status = os.stat(path)
    return {'size': status.st_size, 'mtime_ns': status.st_mtime_ns, 'sha256': hash_file(path)}


def is_unchanged(state, path, trust_time=True):
    """
    Check if a file is unchanged.

    Its size and time are compared first, and its hash if the time differs or is not to be trusted.
    """
    try:
        status = os.stat(path)
        if status.st_size != state['size']:
            return False
        return trust_time and status.st_mtime_ns == state['mtime_ns'] or hash_file(path) == state['sha256']
    except OSError:
        return False


def digest(value):
    """Return a hash of options, which is the same in each run."""
    return hashlib.sha256(json.dumps(plain(value), sort_keys=True).encode()).hexdigest()


def plain(value):
    """Turn a value of options into what JSON has; arrays and files become hashes of their content."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, u.Quantity):
        return [plain(value.value), str(value.unit)]
    if isinstance(value, u.UnitBase):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        array = np.ascontiguousarray(value)
        return ['array', str(array.dtype), list(array.shape), hashlib.sha256(array.tobytes()).hexdigest()]
    if isinstance(value, NDUncertainty):
        return [type(value).__name__, plain(value.array), str(value.unit)]
    if isinstance(value, os.PathLike):
        return f'sha256 {hash_file(value)}'
    if isinstance(value, dict):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return f'pickle {hashlib.sha256(pickle.dumps(value)).hexdigest()}'   # never read again


def named_file(value):
    """Take an option such as ``mask``, which names a file or an extension of each input: a path if it is a file."""
    if not isinstance(value, (str, os.PathLike)):
        return value
    path, ext = split_extension(value)
    return [Path(path), ext] if os.path.isfile(path) else os.fspath(value)
