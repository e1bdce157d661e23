# Licensed under a 3-clause BSD style license - see LICENSE
"""
Name the training that a checkpoint belongs to.
"""

import hashlib

import numpy as np

__all__ = ['check_identity', 'pixels_identity', 'training_identity']


def _digest(*arrays):
    digest = hashlib.sha256()
    for array in arrays:
        array = np.ascontiguousarray(array)
        digest.update(f'{array.dtype.str}{array.shape}'.encode())
        digest.update(array)
    return digest.hexdigest()[:16]


def pixels_identity(arrays):
    """
    Digest arrays that a training depends on.

    Parameters
    ----------
    arrays : list of array_like
        Their types, shapes and values count.

    Returns
    -------
    str
        16 hexadecimal digits.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.training.checkpoints import pixels_identity
    >>> pixels_identity([np.zeros(3)]) == pixels_identity([np.zeros(4)])
    False
    """
    return _digest(*arrays)


def training_identity(frames, **options):
    """
    Describe all that a training depends on, and that may not change while it is interrupted.

    Parameters
    ----------
    frames : list of tuple
        Image, noise and mask or None of each frame.
    **options
        Options of the training; values that JSON can represent.

    Returns
    -------
    dict
        A digest of data and noise each, and the options.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v import NoiseModel
    >>> from astropy_n2v.training.checkpoints import training_identity
    >>> training_identity([(np.zeros((8, 8)), NoiseModel(1.0), None)], seed=3)
    {'data': '...', 'noise': '...', 'seed': 3}
    """
    data = [_digest(image, False if mask is None else mask) for image, _, mask in frames]
    noise = [_digest(noise.sigma, noise.slope, noise.zero_point) for _, noise, _ in frames]
    # In a form in which tuples equal lists.
    options = {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
    return {'data': _digest(data), 'noise': _digest(noise), **options}


def check_identity(path, saved, identity):
    """
    Check that a checkpoint is of the training that is to be resumed.

    Parameters
    ----------
    path : path
        The checkpoint, for the message.
    saved, identity : dict
        From `training_identity`, of the checkpoint and of the training.

    Raises
    ------
    ValueError
        If they differ; it says in what.
    """
    if identity and not saved:
        raise ValueError(f'checkpoint {path} does not say of which training it is, and cannot be resumed from: '
                         'remove it, or name another file')
    differences = []
    for name in [*identity, *(name for name in saved if name not in identity)]:
        before, now = saved.get(name), identity.get(name)
        if before != now:
            digest = name in ('data', 'noise')
            differences.append(f'other {name}' if digest else f'{name} {before!r} and not {now!r}')
    if differences:
        raise ValueError(f'checkpoint {path} is of another training and cannot be resumed from '
                         f'({", ".join(differences)}): remove it, or name another file')
