# Licensed under a 3-clause BSD style license - see LICENSE
"""
File format of models: weights as safetensors, everything else as JSON in its header; nothing is executed.

The shipped models are in ``weights/shipped.py``.
"""

import json
from dataclasses import dataclass

import numpy as np
import safetensors
import safetensors.torch
import torch

from ..inference.held_out import HeldOut
from ..networks import BlindSpotUNet, UNet, isolated_rng

__all__ = ['DTYPES', 'StoredModel', 'parse', 'serialize']

_FORMAT = 'astropy_n2v blind-spot model'
_FORMAT_VERSION = 1   # of the files that are written, and the only one that is read
#: Types of numbers that weights are stored in.
DTYPES = {'float32': torch.float32, 'float16': torch.float16}
# Networks by the names that files have for them.
_ARCHITECTURES = {'BlindSpotUNet': BlindSpotUNet, 'UNet': UNet}
_HELD_OUT = 'held_out.'   # start of the names of tensors that hold pixels, not weights


@dataclass(frozen=True, eq=False)
class StoredModel:
    """
    The content of a file.

    Parameters
    ----------
    network : BlindSpotUNet
        The network; its weights are float32, whatever they were stored in.
    metadata : dict
        Information on it.
    dtype : {'float32', 'float16'}
        Type of numbers that its weights were stored in.
    held_out : HeldOut or None
        Pixels that it was not trained on, of frames that it was trained on.
    self_trained : bool
        True if it was trained on nothing but these frames.
    """

    network: BlindSpotUNet
    metadata: dict
    dtype: str
    held_out: HeldOut = None
    self_trained: bool = False


def serialize(network, metadata, dtype='float32', *, held_out=None, self_trained=False):
    """
    Make the content of a file that holds a model.

    Parameters
    ----------
    network : BlindSpotUNet
        The network.
    metadata : dict
        Information on it; must be representable as JSON.
    dtype : {'float32', 'float16'}, optional
        How to store the weights.
    held_out, self_trained : optional
        See `StoredModel`.

    Returns
    -------
    bytes
        The content.

    Raises
    ------
    ValueError
        If there is no such ``dtype``, or a weight is beyond its range.

    See Also
    --------
    parse : Read it back.
    """
    if dtype not in DTYPES:
        raise ValueError(f'dtype must be {" or ".join(map(repr, DTYPES))}, got {dtype!r}')
    content = {'format': _FORMAT, 'version': _FORMAT_VERSION, 'architecture': type(network).__name__,
               'network': network.config, 'hole': list(network.hole), 'metadata': metadata}
    weights = {name: _cast(name, tensor.detach().cpu().contiguous(), dtype)
               for name, tensor in network.state_dict().items()}
    if held_out is not None:
        content['held_out'] = {name: list(shape) for name, shape in held_out.shapes.items()}
        content['self_trained'] = bool(self_trained)
        weights.update({_HELD_OUT + name: torch.from_numpy(bits) for name, bits in held_out.bits.items()})
    return safetensors.torch.save(weights, metadata={'astropy_n2v': json.dumps(content, sort_keys=True)})


def _cast(name, tensor, dtype):
    """A weight as it is to be stored."""
    cast = tensor.to(DTYPES[dtype])
    lost = torch.isfinite(tensor) & ~torch.isfinite(cast)
    if lost.any():
        raise ValueError(f"dtype must be 'float32' for these weights, got {dtype!r}: {name} has the value "
                         f'{float(tensor[lost][0]):.4g}, {dtype} holds {torch.finfo(cast.dtype).max:.4g} at most')
    return cast


def parse(raw, name):
    """
    Read the model from the content of a file.

    Parameters
    ----------
    raw : bytes
        The content.
    name : str or path-like
        Name of the file in errors.

    Returns
    -------
    StoredModel
        The model.

    Raises
    ------
    ValueError
        If the file is truncated, is no model of this package, or holds another architecture.

    Examples
    --------
    >>> from astropy_n2v.weights.storage import parse, serialize
    >>> from astropy_n2v.networks import BlindSpotUNet
    >>> raw = serialize(BlindSpotUNet(widths=(4, 8), decoder_widths=(4,)), {'camera': 'mine'}, 'float16')
    >>> stored = parse(raw, 'mine.safetensors')
    >>> stored.metadata, stored.dtype
    ({'camera': 'mine'}, 'float16')
    """
    try:
        weights = safetensors.torch.load(raw)
        size = int.from_bytes(raw[:8], 'little')
        header = json.loads(raw[8:8 + size])
    except (safetensors.SafetensorError, ValueError) as error:
        raise ValueError(f'{name} is not a safetensors file, or it is truncated: {error}') from error
    try:
        content = json.loads(header['__metadata__']['astropy_n2v'])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f'{name} was not written by astropy_n2v') from error
    if not isinstance(content, dict) or not isinstance(content.get('metadata', {}), dict):
        raise ValueError(f'{name} was not written by astropy_n2v')
    if content.get('format') != _FORMAT or content.get('architecture') not in _ARCHITECTURES:
        raise ValueError(f'{name} holds the architecture {content.get("architecture")!r}, expected '
                         f'{" or ".join(map(repr, _ARCHITECTURES))}')
    if content.get('version') != _FORMAT_VERSION:
        raise ValueError(f'{name} has format version {content.get("version")!r}, this version of astropy_n2v reads '
                         f'{_FORMAT_VERSION}')
    try:
        hole = tuple(content['hole'])
        if len(hole) != 2 or not all(isinstance(n, int) and n % 2 == 1 and n > 0 for n in hole):
            raise ValueError(f'hole {hole}')
        with isolated_rng():   # of weights that are replaced
            blind = {'hole': hole} if content['architecture'] == 'BlindSpotUNet' else {}
            network = _ARCHITECTURES[content['architecture']](**content['network'], **blind)
        held_out = _take_held_out(weights, content.get('held_out'))
        network.load_state_dict(weights, strict=True)
    except (AttributeError, RuntimeError, TypeError, KeyError, ValueError) as error:
        raise ValueError(f'{name} holds weights that do not fit its architecture: {error}') from error
    half = all(tensor.dtype == torch.float16 for tensor in weights.values())
    return StoredModel(network, content.get('metadata') or {}, 'float16' if half else 'float32', held_out,
                       held_out is not None and bool(content.get('self_trained')))


def _take_held_out(weights, shapes):
    """Take the pixels that were held out from the tensors of a file; None if it has none."""
    if shapes is None:
        return None
    bits = {name: weights.pop(_HELD_OUT + name).numpy() for name in shapes}
    shapes = {name: tuple(int(n) for n in shape) for name, shape in shapes.items()}
    for name, (ny, nx) in shapes.items():
        if bits[name].dtype != np.uint8 or bits[name].shape != (-(-ny * nx // 8),):
            raise ValueError(f'pixels held out of {ny}x{nx}')
    return HeldOut(shapes, bits)
