# Licensed under a 3-clause BSD style license - see LICENSE
"""
The weights that are shipped with the package: what there is, and whether it is intact.

Each model is ``NAME.safetensors`` with its card, ``NAME.md``. ``SHA256SUMS`` holds what the files
should be, in the format of ``sha256sum``; `write_checksums` writes it.
"""

import hashlib
import json
import math
import warnings
from pathlib import Path

from astropy.utils.exceptions import AstropyUserWarning

__all__ = ['check_integrity', 'default_models', 'describe_model', 'find_default', 'find_model', 'largest_hole',
           'model_names', 'read_checksums', 'write_checksums']

#: Where they lie.
DIRECTORY = Path(__file__).parent
_CHECKSUMS = 'SHA256SUMS'
_DTYPES = {'F16': 'float16', 'F32': 'float32'}


def default_models():
    """
    The default models that are shipped.

    Returns
    -------
    dict
        Paths by the hole (height, width) that the model has.

    Examples
    --------
    >>> from astropy_n2v.weights import default_models
    >>> (1, 1) in default_models()
    True
    """
    models = {}
    for path in sorted(DIRECTORY.glob('default-*.safetensors')):
        height, width = path.stem.split('-')[1].split('x')
        models[int(height), int(width)] = path
    return models


def find_default(hole):
    """
    Find the default model for a hole.

    Parameters
    ----------
    hole : tuple of int
        Height and width of the hole that is needed.

    Returns
    -------
    `pathlib.Path`
        The model with the smallest hole that covers it; if none does, that with the largest
        hole, with a warning.
    """
    models = default_models()
    if not models:
        raise FileNotFoundError('no weights were shipped with this installation of astropy_n2v')
    covering = [size for size in models if size[0] >= hole[0] and size[1] >= hole[1]]
    if covering:
        return models[min(covering, key=lambda size: size[0] * size[1])]
    largest = largest_hole(hole)
    warnings.warn(f'the noise calls for a hole of {hole[0]}x{hole[1]} pixels, but the largest hole of the default '
                  f'models is {largest[0]}x{largest[1]}: correlated noise will be taken for structure. '
                  "model='self' trains with any hole", AstropyUserWarning, stacklevel=2)
    return models[largest]


def largest_hole(hole):
    """
    Limit a hole to that of the largest default model if none covers it.

    Parameters
    ----------
    hole : tuple of int
        Height and width of the hole that is needed.

    Returns
    -------
    tuple of int
        The hole, or the largest that there is.

    Examples
    --------
    >>> from astropy_n2v.weights import largest_hole
    >>> largest_hole((1, 3)), largest_hole((9, 3))
    ((1, 3), (5, 5))
    """
    sizes = default_models()
    if not sizes or any(size[0] >= hole[0] and size[1] >= hole[1] for size in sizes):
        return hole
    return max(sizes, key=lambda size: size[0] * size[1])


def model_names():
    """
    Names of the shipped models.

    Returns
    -------
    list of str
        ``'default'``, which stands for whichever default model fits the noise, is not among them.

    Examples
    --------
    >>> from astropy_n2v.weights import model_names
    >>> 'default-3x3' in model_names()
    True
    """
    return sorted(path.stem for path in DIRECTORY.glob('*.safetensors'))


def find_model(name, hole=None):
    """
    Find a shipped model by its name.

    Parameters
    ----------
    name : str
        One of `model_names`, or 'default'.
    hole : tuple of int, optional
        For 'default': height and width of the hole that is needed; by default one pixel.

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
    if name == 'default':
        return find_default(hole or (1, 1))
    return DIRECTORY / f'{name}.safetensors' if name in model_names() else None


def describe_model(path):
    """
    Tell what a shipped model is, without torch.

    Parameters
    ----------
    path : `pathlib.Path`
        From `find_model` or `default_models`.

    Returns
    -------
    dict
        Its ``name``, ``hole`` (height and width), number of ``parameters``, the ``dtype`` that they
        are stored in, ``size`` in bytes, ``sha256``, ``summary`` (the first paragraph of its card),
        ``card`` (all of it) and ``path``.

    Raises
    ------
    ValueError
        If the file is not what was shipped.

    Examples
    --------
    >>> from astropy_n2v.weights import describe_model, find_model
    >>> describe_model(find_model('default-3x3'))['hole']
    [3, 3]
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
    What the shipped models should be.

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
    Check that a model is what was shipped.

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
        If it is a shipped model, and not what was shipped.
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
    Record what the shipped models are: for those who replace them.

    ``python -m astropy_n2v.training.release`` does it.

    Returns
    -------
    `pathlib.Path`
        The file that was written.
    """
    path = DIRECTORY / _CHECKSUMS
    sums = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in DIRECTORY.glob('*.safetensors')}
    path.write_text(''.join(f'{sums[name]}  {name}\n' for name in sorted(sums)), encoding='utf-8')
    return path
