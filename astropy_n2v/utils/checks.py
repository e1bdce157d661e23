# Licensed under a 3-clause BSD style license - see LICENSE
"""
Checks of arguments that several functions have.
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


@dataclass(frozen=True)
class TrainingOption:
    """
    Describe an option of training: its values, and its text on the command line.

    Parameters
    ----------
    kind : type
        The type int, float, str for a path, or dict.
    default : object, optional
        The value where none is given; None where it depends on others.
    low, high : float, optional
        The range of numbers; without its ends, but for ``low`` where ``closed`` is true.
    closed : bool, optional
        Accept ``low`` itself.
    help : str, optional
        The text on the command line, which does not have the option without one.
    unset : str, optional
        The text on the command line for the default, where that is None.
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
        Check a value of the option, or None.

        Returns
        -------
        object
            As files can hold it.

        Raises
        ------
        ValueError
            If it is a number out of its range, or none.
        """
        if self.kind is int:
            return check_integer(name, value, self.low)
        if self.kind is not float:
            return value
        accepted = f'between {self.low:g} and {self.high:g}' if self.high is not None else \
            f'a number from {self.low:g} on' if self.closed else 'positive'
        return check_number(name, value, accepted, lambda value: (self.closed and value == self.low) or (
            value > self.low and (self.high is None or value < self.high)))


#: Options of `astropy_n2v.train` besides those that it shares with `astropy_n2v.denoise`.
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
    dict
        All options: values as files can hold them, and defaults.

    Raises
    ------
    TypeError
        If there is no such option.
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
    if len(pair) != 2 or not all(isinstance(size, (int, np.integer)) and size % 2 == 1 and 1 <= size <= MAX_HOLE
                                 for size in pair):
        raise ValueError(f'hole must be an odd number of pixels from 1 to {MAX_HOLE}, or a pair of them, got '
                         f'{hole!r}')
    return int(pair[0]), int(pair[1])
