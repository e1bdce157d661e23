# Licensed under a 3-clause BSD style license - see LICENSE
"""
The model that a user names: a file, one that is shipped, or one that is trained on the data at hand.
"""

import os

from ..denoiser import Denoiser
from .train import train_on_frames

__all__ = ['choose_model']


def choose_model(model, hole, planes, **options):
    """
    Load a model by its name, or train it on planes.

    Parameters
    ----------
    model : str, path or Denoiser
        See `astropy_n2v.denoise`.
    hole : tuple of int or None
        The hole that the user asked for.
    planes : list of Plane
        The planes that 'self' and 'adapt' are trained on.
    **options
        Options of `~astropy_n2v.training.train.train_on_frames`, for these two.

    Returns
    -------
    Denoiser
        The model.

    Raises
    ------
    OSError
        If its file cannot be read.
    TypeError
        If ``model`` is of no known type.
    ValueError
        If the model has another hole than ``hole``.
    """
    if isinstance(model, Denoiser):
        denoiser = model
    elif model in ('self', 'adapt'):
        init = Denoiser.load('default') if model == 'adapt' else None
        if init is not None:
            _check_hole(hole, init)
        frames = [(plane.values, plane.noise, plane.mask) for plane in planes]
        denoiser = train_on_frames(frames, init=init, hole=hole or (1, 1), whiten=hole is None, name=model, **options)
    elif isinstance(model, (str, os.PathLike)):
        denoiser = Denoiser.load(model)
    else:
        raise TypeError("model must be 'default', 'self', 'adapt', a path or a Denoiser, got "
                        f'{type(model).__name__}')
    _check_hole(hole, denoiser)
    return denoiser


def _check_hole(hole, denoiser):
    """Check that a model has the hole that was asked for, if any."""
    if hole not in (None, denoiser.hole):
        given, known = (f'{height}x{width}' for height, width in (hole, denoiser.hole))
        raise ValueError(f"hole must be {known}, as of the model, or not be given, got {given}; model='self' and "
                         'train() train with any hole')
