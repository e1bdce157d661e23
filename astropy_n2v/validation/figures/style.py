# Licensed under a 3-clause BSD style license - see LICENSE
"""
Colours and settings that the figures share.
"""

import re
from contextlib import contextmanager
from functools import wraps
from inspect import cleandoc

import numpy as np

from ...utils.checks import require

__all__ = ['COLOURS', 'figure_style']

#: Colours that are distinct on white and on black, and for the colour-blind.
COLOURS = {'input': '#8b919a', 'output': '#3d85c6', 'matched': '#e08a1e', 'truth': '#2f9e74', 'bad': '#cc4c5c'}

_LINES = {'light': ('#1d232b', '#ffffff', '#c9ced6'), 'dark': ('#e4e8ee', '#161a20', '#454c57')}


@contextmanager
def figure_style(theme='light'):
    """
    Set matplotlib up while figures are drawn; afterwards its settings are as they were.

    Parameters
    ----------
    theme : {'light', 'dark'}, optional
        Dark lines on white, or light lines on near black.

    Raises
    ------
    ValueError
        If ``theme`` is neither.

    Examples
    --------
    >>> import matplotlib
    >>> from astropy_n2v.validation.figures import figure_style
    >>> with figure_style('dark'):
    ...     matplotlib.rcParams['text.color']
    '#e4e8ee'
    """
    import matplotlib
    require(theme in _LINES, 'theme', "be 'light' or 'dark'", theme)
    ink, paper, grid = _LINES[theme]
    with matplotlib.rc_context({
            'text.color': ink, 'axes.labelcolor': ink, 'axes.edgecolor': ink, 'axes.titlecolor': ink,
            'xtick.color': ink, 'ytick.color': ink, 'figure.facecolor': paper, 'axes.facecolor': paper,
            'savefig.facecolor': paper, 'legend.facecolor': paper, 'legend.edgecolor': grid, 'grid.color': grid,
            'axes.spines.top': False, 'axes.spines.right': False, 'axes.grid': True, 'grid.linewidth': 0.5,
            'axes.axisbelow': True, 'font.size': 10, 'axes.titlesize': 10.5, 'legend.fontsize': 8.5,
            'legend.framealpha': 0.85, 'axes.linewidth': 0.8}):
        yield


def get_ink():
    """Return the colour of text and reference lines in the present style."""
    import matplotlib
    return matplotlib.rcParams['text.color']


_TAKEN = """ax : `~matplotlib.axes.Axes`, optional
    Where to draw; by default a new figure is made.

Returns
-------
`~matplotlib.axes.Axes`
    The axes.

"""


def takes_axes(draw):
    """Let a function draw into axes that are given or into new ones, and say so in its documentation."""
    @wraps(draw)
    def draw_into(*args, ax=None, **options):
        if ax is None:
            from matplotlib.figure import Figure
            # No pyplot: its figures live until they are closed.
            ax = Figure(figsize=(5, 3.8), layout='constrained').subplots()
        draw(*args, ax=ax, **options)
        return ax
    if draw.__doc__:   # there is none with python -OO
        # Behind the last parameter, before the next section.
        head, tail = re.split(r'\n(?=(?:Raises|Notes|Examples)\n-)', cleandoc(draw.__doc__), maxsplit=1)
        draw_into.__doc__ = head + _TAKEN + tail
    return draw_into


def say_empty(ax, text):
    """Write into empty axes why they are empty."""
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha='center', va='center')


def draw_points(ax, x, result, before, style, **options):
    """Draw values of the result, and before them values of the input if they are known."""
    for label, values in ('input', before), ('result', result):
        if values is not None:
            ax.plot(x, values, style, ms=4, lw=1, label=label,
                    color=COLOURS['output' if label == 'result' else label], **options)


def draw_intervals(ax, x, value, lower, upper, *, fmt='o-', expected=None, limits=None, **options):
    """Draw values with their intervals, the expected value, and the limits of what is accepted."""
    errors = np.clip([value - lower, upper - value], 0, None)
    ax.errorbar(x, value, errors, fmt=fmt, ms=4, lw=1, capsize=3, **options)
    if limits is not None:
        ax.axhspan(*limits, color=COLOURS['truth'], alpha=0.18, lw=0)
    if expected is not None:
        ax.axhline(expected, color=get_ink(), lw=0.8)


def finite(*arrays):
    """Convert arrays of one length, and keep the entries where all of them that are given are finite."""
    arrays = [None if array is None else np.asarray(array, dtype=float).ravel() for array in arrays]
    known = [array for array in arrays if array is not None]
    if len({array.size for array in known}) != 1:
        raise ValueError(f'arrays must have the same length, got {[array.size for array in known]}')
    good = np.logical_and.reduce([np.isfinite(array) for array in known])
    return [None if array is None else array[good] for array in arrays]


def set_plain_log(axis):
    """Make an axis logarithmic, with plain numbers that do not run into each other."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
    getattr(axis.axes, f'set_{axis.axis_name}scale')('log')
    low, high = sorted(axis.get_data_interval())
    narrow = low > 0 and high / low < 60
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
    axis.set_minor_formatter(NullFormatter())


def set_plain_asinh(axis, width):
    """Make an axis linear within a width about zero and logarithmic beyond, with ticks that do not run together."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
    getattr(axis.axes, f'set_{axis.axis_name}scale')('asinh', linear_width=width)
    top = max(np.abs(axis.get_data_interval()).max(), width)
    decades = 10.0 ** np.arange(np.ceil(np.log10(width)), np.floor(np.log10(top)) + 1)
    decades = decades[::-1][::-(-decades.size // 6)] if decades.size else np.array([width])
    axis.set_major_locator(FixedLocator(np.concatenate([-decades, [0], decades])))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'.replace('e+0', 'e')))
