# Licensed under a 3-clause BSD style license - see LICENSE
"""
The weights that are shipped with the package: what there is, and whether it is intact.

Each model is ``NAME.safetensors`` with its card, ``NAME.md``. ``SHA256SUMS`` holds what the files
should be, in the format of ``sha256sum``; `write_checksums` writes it.
"""

import hashlib
import json
import math
from pathlib import Path

__all__ = ['DEFAULT', 'DIRECTORY', 'check_integrity', 'describe_model', 'find_model', 'model_names', 'read_checksums',
           'write_checksums']

#: Name of the default model. Noise that is correlated is whitened before it.
DEFAULT = 'default-1x1'

#: Where they lie.
DIRECTORY = Path(__file__).parent
_CHECKSUMS = 'SHA256SUMS'
_DTYPES = {'F16': 'float16', 'F32': 'float32'}


def model_names():
    """
    List the names of the shipped models.

    Returns
    -------
    list of str
        ``'default'``, which stands for ``DEFAULT``, is not among them.

    Examples
    --------
    >>> from astropy_n2v.weights import model_names
    >>> model_names()
    ['default-1x1']
    """
    return sorted(path.stem for path in DIRECTORY.glob('*.safetensors'))


def find_model(name):
    """
    Find a shipped model by its name.

    Parameters
    ----------
    name : str
        One of `model_names`, or 'default'.

    Returns
    -------
    `pathlib.Path` or None
        None if no shipped model has the name.

    Examples
    --------
    >>> from astropy_n2v.weights import find_model
    >>> find_model('default').name
    'default-1x1.safetensors'
    >>> find_model('mycamera.safetensors') is None
    True
    """
    # The default is a shipped model even where it is missing: the error is to name the file.
    name, known = (DEFAULT, True) if name == 'default' else (name, name in model_names())
    return DIRECTORY / f'{name}.safetensors' if known else None


def describe_model(path):
    """
    Describe a shipped model, without torch.

    Parameters
    ----------
    path : `pathlib.Path`
        From `find_model`.

    Returns
    -------
    dict
        Its ``name``, ``hole`` (height and width), number of ``parameters``, the ``dtype`` that they
        are stored in, ``size`` in bytes, ``sha256``, ``summary`` (the first paragraph of its card),
        ``card`` (all of it) and ``path``.

    Raises
    ------
    ValueError
        If the file is not as it was shipped.

    Examples
    --------
    >>> from astropy_n2v.weights import describe_model, find_model
    >>> describe_model(find_model('default'))['hole']
    [1, 1]
    """
    raw = path.read_bytes()
    sha256 = check_integrity(path, raw)
    header = json.loads(raw[8:8 + int.from_bytes(raw[:8], 'little')])
    content = json.loads(header.pop('__metadata__')['astropy_n2v'])
    card = path.with_suffix('.md').read_text(encoding='utf-8')
    summary = ' '.join(card.split('\n\n')[1].split())
    return {'name': path.stem, 'hole': content['hole'],
            'parameters': sum(math.prod(tensor['shape']) for tensor in header.values()),
            'dtype': '/'.join(sorted({_DTYPES.get(tensor['dtype'], tensor['dtype']) for tensor in header.values()})),
            'size': len(raw), 'sha256': sha256, 'summary': summary, 'card': card, 'path': str(path)}


def read_checksums():
    """
    Read the checksums of the shipped models.

    Returns
    -------
    dict
        SHA-256 by the name of the file.

    Examples
    --------
    >>> from astropy_n2v.weights import read_checksums
    >>> len(read_checksums()['default-1x1.safetensors'])
    64
    """
    lines = (DIRECTORY / _CHECKSUMS).read_text(encoding='utf-8').splitlines()
    return {name: sha256 for sha256, name in (line.split(maxsplit=1) for line in lines)}


def check_integrity(path, raw):
    """
    Check that a model is as it was shipped.

    Parameters
    ----------
    path : path-like
        The file; one that does not lie with the shipped models is whatever its owner wants.
    raw : bytes
        Its content.

    Returns
    -------
    str
        SHA-256 of the content.

    Raises
    ------
    ValueError
        If it is a shipped model, and has changed.

    Examples
    --------
    >>> from astropy_n2v.weights import check_integrity, find_model
    >>> path = find_model('default')
    >>> len(check_integrity(path, path.read_bytes()))
    64
    """
    found = hashlib.sha256(raw).hexdigest()
    path = Path(path).resolve()
    if path.parent == DIRECTORY.resolve():
        expected = read_checksums().get(path.name)
        if found != expected:
            recorded = f'and not {expected} as' if expected else 'which is not'
            raise ValueError(f'{path} is not the model that is shipped with astropy_n2v: its SHA-256 is {found} '
                             f'{recorded} recorded in {_CHECKSUMS}. The file is damaged or was replaced: install '
                             'astropy_n2v again')
    return found


def write_checksums():
    """
    Record the checksums of the shipped models, for maintainers who replace them.

    ``python tools/release_weights.py`` does it.

    Returns
    -------
    `pathlib.Path`
        The file that was written.
    """
    path = DIRECTORY / _CHECKSUMS
    sums = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in DIRECTORY.glob('*.safetensors')}
    path.write_text(''.join(f'{sums[name]}  {name}\n' for name in sorted(sums)), encoding='utf-8')
    return path
