# Licensed under a 3-clause BSD style license - see LICENSE
"""
Options of training: their values, their ranges and their help on the command line.
"""

import difflib
from dataclasses import dataclass

from ..utils.checks import check_integer, check_number

__all__ = ['CLASSICAL_DEFAULTS', 'FORMER_KEYWORDS', 'TRAINING_OPTIONS', 'TrainingOption', 'check_training_options']


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
    choices : tuple of str, optional
        The values of a text that is no path.
    """

    kind: type
    default: object = None
    low: float = 0
    high: float = None
    closed: bool = False
    help: str = None
    unset: str = None
    choices: tuple = None

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
            If it is out of range, not a number, or none of the choices.
        """
        if self.kind is int:
            return check_integer(name, value, self.low)
        if self.choices and value not in (None, *self.choices):
            raise ValueError(f'{name} must be one of {", ".join(self.choices)}, got {value!r}')
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
    'star_share': TrainingOption(float, high=1, closed=True, unset='0.05, or 0 for a single image',
                                 help='Share of the time in which injected stars judge: flux and depth, beside the '
                                      'likelihood of pixels.'),
    'amp': TrainingOption(str, 'auto', choices=('auto', 'float32', 'bfloat16', 'float16'),
                          help="Numbers in which most of the training is computed: 'auto' is bfloat16 where the "
                               'processor has it, else float32; float16, with scaled gradients, is for GPUs.'),
    'checkpoint': TrainingOption(str, help='File to save the state of the training to, and to resume from.'),
    'log': TrainingOption(str, help='CSV file to write losses to; learning curves are drawn beside it, as PNG.',
                          unset='none'),
    'network_options': TrainingOption(dict),
}

#: Defaults of the classical strategies, where they are others.
CLASSICAL_DEFAULTS = {'max_steps': 2000, 'patch_size': 64, 'batch_size': 16, 'learning_rate': 4e-3}

#: Keywords that once were, and how to do without; on the command line, with hyphens.
FORMER_KEYWORDS = {'negative_sources': 'what was measured is kept without it, whether dark or bright: leave it out'}


def check_training_options(options, others=()):
    """
    Check options of training.

    Parameters
    ----------
    options : dict
        Their names and values.
    others : iterable of str, optional
        Other keywords of the function that has them, which one may have meant.

    Returns
    -------
    dict
        All options: given values, as types that files can hold, and defaults.

    Raises
    ------
    TypeError
        If an option does not exist.
    ValueError
        If a number is out of its range.

    Examples
    --------
    >>> from astropy_n2v.training.options import check_training_options
    >>> checked = check_training_options({'max_steps': 20})
    >>> checked['max_steps'], checked['batch_size']
    (20, 8)
    """
    for name in options:
        if name not in TRAINING_OPTIONS:
            if name in FORMER_KEYWORDS:
                raise TypeError(f'{name!r} is no keyword any more: {FORMER_KEYWORDS[name]}')
            close = difflib.get_close_matches(name, [*others, *TRAINING_OPTIONS], 1)
            hint = f' (do you mean {close[0]}?)' if close else ''
            raise TypeError(f'{name!r} is no keyword{hint}; options of training are {", ".join(TRAINING_OPTIONS)}')
    return {name: option.check(name, options.get(name, option.default)) for name, option in TRAINING_OPTIONS.items()}
