# Licensed under a 3-clause BSD style license - see LICENSE
"""
Checks of arguments that several functions have.
"""

import difflib
import numbers

import numpy as np

__all__ = ['TRAINING_OPTIONS', 'check_integer', 'check_number', 'check_training_options', 'parse_hole']

#: What `astropy_n2v.train` takes besides what it shares with `astropy_n2v.denoise`.
TRAINING_OPTIONS = ('max_steps', 'max_time', 'patch_size', 'batch_size', 'learning_rate', 'patience', 'min_delta',
                    'held_out', 'checkpoint', 'network_options')


def check_integer(name, value, minimum):
    """
    Check that an argument is an integer from some minimum on, or None.

    Returns
    -------
    int or None
        As files can hold it.

    Raises
    ------
    ValueError
        If it is not.
    """
    if value is None:
        return None
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)) or value < minimum:
        kind = {0: 'a non-negative integer', 1: 'a positive integer'}.get(minimum, f'an integer from {minimum} on')
        raise ValueError(f'{name} must be {kind}, got {value!r}')
    return int(value)


def check_number(name, value, accepted, valid):
    """
    Check that an argument is a real number of which a condition holds, or None.

    Parameters
    ----------
    name : str
        Name of the argument.
    value : object
        What was given.
    accepted : str
        What is accepted, to complete the sentence "It must be ...".
    valid : callable
        The condition.

    Returns
    -------
    float or None
        As files can hold it.

    Raises
    ------
    ValueError
        If it is not.
    """
    if value is None:
        return None
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real) or not valid(value):
        raise ValueError(f'{name} must be {accepted}, got {value!r}')
    return float(value)


def check_training_options(options):
    """
    Check the names of options of training.

    Parameters
    ----------
    options : iterable of str
        The names.

    Raises
    ------
    TypeError
        If there is no such option.
    """
    for name in options:
        if name not in TRAINING_OPTIONS:
            close = difflib.get_close_matches(name, TRAINING_OPTIONS, 1)
            hint = f' (do you mean {close[0]}?)' if close else ''
            raise TypeError(f'{name!r} is no keyword{hint}; options of training are {", ".join(TRAINING_OPTIONS)}')


def parse_hole(hole):
    """
    A hole as a pair of odd numbers.

    Parameters
    ----------
    hole : int, tuple of int or None
        Height and width, or both in one.

    Returns
    -------
    tuple of int or None
        Height and width.

    Raises
    ------
    ValueError
        If it is anything else.
    """
    if hole is None:
        return None
    pair = (hole, hole) if np.ndim(hole) == 0 else tuple(hole)
    if len(pair) != 2 or not all(isinstance(size, (int, np.integer)) and size % 2 == 1 and 1 <= size <= 31
                                 for size in pair):
        raise ValueError(f'hole must be an odd number of pixels from 1 to 31, or a pair of them, got {hole!r}')
    return int(pair[0]), int(pair[1])
