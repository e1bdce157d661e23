# Licensed under a 3-clause BSD style license - see LICENSE
"""
Checks of arguments that several functions accept.
"""

import numbers

import numpy as np

__all__ = ['MAX_HOLE', 'check_executor', 'check_integer', 'check_number', 'parse_hole', 'require']

#: Largest height and width of a hole, in pixels.
MAX_HOLE = 31


def check_executor(executor):
    """
    Check that an executor is None, or takes functions as a `concurrent.futures.Executor` does.

    Raises
    ------
    TypeError
        If it is anything else.
    """
    if executor is not None and not callable(getattr(executor, 'submit', None)):
        raise TypeError('executor must be a concurrent.futures.Executor, such as ProcessPoolExecutor(8) or, of Dask, '
                        f'client.get_executor(), got {executor!r}')


def check_integer(name, value, minimum):
    """
    Check that an argument is None, or an integer not below a minimum.

    Returns
    -------
    int or None
        The argument as a Python int.

    Raises
    ------
    ValueError
        If it is anything else.
    """
    if value is None:
        return None
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)) or value < minimum:
        kind = {0: 'a non-negative integer', 1: 'a positive integer'}.get(minimum, f'an integer from {minimum} on')
        raise ValueError(f'{name} must be {kind}, got {value!r}')
    return int(value)


def check_number(name, value, accepted, valid):
    """
    Check that an argument is None, or a real number that fulfils a condition.

    Parameters
    ----------
    name : str
        Name of the argument.
    value : object
        The argument.
    accepted : str
        Description of accepted values, to complete the sentence "It must be ...".
    valid : callable
        The condition.

    Returns
    -------
    float or None
        The argument as a Python float.

    Raises
    ------
    ValueError
        If it is anything else.
    """
    if value is None:
        return None
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real) or not valid(value):
        raise ValueError(f'{name} must be {accepted}, got {value!r}')
    return float(value)


def parse_hole(hole):
    """
    Convert a hole to a pair of odd numbers.

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
    if len(pair) != 2 or not all(isinstance(size, (int, np.integer)) and size % 2 == 1 and 1 <= size <= MAX_HOLE
                                 for size in pair):
        raise ValueError(f'hole must be an odd number of pixels from 1 to {MAX_HOLE}, or a pair of them, got '
                         f'{hole!r}')
    return int(pair[0]), int(pair[1])


def require(condition, name, accepted, value):
    """
    Raise an error unless a condition on an argument holds.

    Parameters
    ----------
    condition : bool
        The condition.
    name : str
        Name of the argument.
    accepted : str
        Description of accepted values, to complete the sentence "It must".
    value : object
        The argument, or a property of it such as its shape or type.

    Raises
    ------
    ValueError
        If the condition does not hold: "name must accepted, got value".

    Examples
    --------
    >>> from astropy_n2v.utils.checks import require
    >>> spacing = -3
    >>> require(spacing > 0, 'spacing', 'be a positive number of pixels', spacing)
    Traceback (most recent call last):
        ...
    ValueError: spacing must be a positive number of pixels, got -3
    """
    if not condition:
        got = value.__name__ if isinstance(value, type) else repr(value) if isinstance(value, str) else value
        raise ValueError(f'{name} must {accepted}, got {got}')
