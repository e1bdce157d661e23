# Licensed under a 3-clause BSD style license - see LICENSE
"""
Names of files in messages.
"""

import re

__all__ = ['printable']

# Characters that end a line or command a terminal.
_CONTROL = re.compile('[\x00-\x1f\x7f-\x9f\u2028\u2029]')


def printable(name):
    """
    Write a name in one line.

    Parameters
    ----------
    name : str or path-like
        Name of a file, or a text with such.

    Returns
    -------
    str
        The name, with escapes as in a string of Python in place of line breaks and other control characters.

    Examples
    --------
    >>> from astropy_n2v.utils.names import printable
    >>> print(printable('night 1/a\\nb.fits'))
    night 1/a\\nb.fits
    """
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], str(name))
