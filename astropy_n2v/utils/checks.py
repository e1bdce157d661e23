# Licensed under a 3-clause BSD style license - see LICENSE
"""
Checks of arguments that several functions accept.
"""

import difflib
import numbers
from dataclasses import dataclass

import numpy as np

__all__ = ['MAX_HOLE', 'TRAINING_OPTIONS', 'TrainingOption', 'check_integer', 'check_number',
           'check_training_options', 'parse_hole']

#: Largest height and width of a hole, in pixels.
MAX_HOLE = 31


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


@dataclass(frozen=True)
class TrainingOption:
    """
    An option of training: its values, and its help on the command line.

    Parameters
    ----------
    kind : type
        Type of the value: int, float, str for a path, or dict.
    default : object, optional
        The default value; None where it depends on other options.
    low, high : float, optional
        Open range of numbers; ``low`` is included if ``closed`` is true.
    closed : bool, optional
        If true, accept ``low`` itself.
    help : str, optional
        Help on the command line; without a text, the command line does not have the option.
    unset : str, optional
        Text on the command line for the default, where that is None.
    """

    kind: type
    default: object = None
    low: float = 0
    high: float = None
    closed: bool = False
    help: str = None
    unset: str = None

    def check(self, name, value):
        """
        Check a value of the option, or accept None.

        Returns
        -------
        object
            The value as a type that files can hold.

        Raises
        ------
        ValueError
            If it is out of range or not a number.
        """
        if self.kind is int:
            return check_integer(name, value, self.low)
        if self.kind is not float:
            return value
        accepted = f'between {self.low:g} and {self.high:g}' if self.high is not None else \
            f'a number from {self.low:g} on' if self.closed else 'positive'
        return check_number(name, value, accepted, lambda value: (self.closed and value == self.low) or (
            value > self.low and (self.high is None or value < self.high)))


#: Options of `astropy_n2v.train` that `astropy_n2v.denoise` does not have.
TRAINING_OPTIONS = {
    'max_steps': TrainingOption(int, low=1, help='Number of training steps.',
                                unset='700, or 100 where training starts from a model'),
    'max_time': TrainingOption(float, help='Seconds after which training ends.', unset='no limit'),
    'patch_size': TrainingOption(int, 96, low=1, help='Height and width of training patches in pixels.'),
    'batch_size': TrainingOption(int, 8, low=1, help='Patches in a training step.'),
    'learning_rate': TrainingOption(float, help='Peak learning rate.',
                                    unset='0.004, or 0.0003 where training starts from a model'),
    'patience': TrainingOption(int, 8, low=1, help='Stop training after that many judgements without improvement.'),
    'min_delta': TrainingOption(float, 1e-4, closed=True, help='What counts as improvement of the likelihood.'),
    'held_out': TrainingOption(float, 0.1, high=1, help='Fraction of the pixels that judge, and are not trained on.'),
    'checkpoint': TrainingOption(str, help='File to save the state of the training to, and to resume from.'),
    'log': TrainingOption(str, help='CSV file to write losses to; learning curves are drawn beside it, as PNG.',
                          unset='none'),
    'network_options': TrainingOption(dict),
}


def check_training_options(options):
    """
    Check options of training.

    Parameters
    ----------
    options : dict
        Their names and values.

    Returns
    -------
    All options: given values, as types that files can hold, and defaults.
        All options: values as files can hold them, and defaults.

    Raises
    ------
    TypeError
        If an option does not exist.
    ValueError
        If a number is out of its range.

    Examples
    --------
    >>> from astropy_n2v.utils.checks import check_training_options
    >>> checked = check_training_options({'max_steps': 20})
    >>> checked['max_steps'], checked['batch_size']
    (20, 8)
    """
    for name in options:
        if name not in TRAINING_OPTIONS:
            close = difflib.get_close_matches(name, TRAINING_OPTIONS, 1)
            hint = f' (do you mean {close[0]}?)' if close else ''
            raise TypeError(f'{name!r} is no keyword{hint}; options of training are {", ".join(TRAINING_OPTIONS)}')
    return {name: option.check(name, options.get(name, option.default)) for name, option in TRAINING_OPTIONS.items()}


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
