# Licensed under a 3-clause BSD style license - see LICENSE
"""
The weights that are shipped with the package.
"""

import warnings
from pathlib import Path

from astropy.utils.exceptions import AstropyUserWarning

__all__ = ['default_models', 'find_default']


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
    for path in sorted(Path(__file__).parent.glob('default-*.safetensors')):
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
    largest = max(models, key=lambda size: size[0] * size[1])
    warnings.warn(f'the noise calls for a hole of {hole[0]}x{hole[1]} pixels, but the largest hole of the default '
                  f'models is {largest[0]}x{largest[1]}: correlated noise will be taken for structure. '
                  "model='self' trains with any hole", AstropyUserWarning, stacklevel=2)
    return models[largest]
