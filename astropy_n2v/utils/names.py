# Licensed under a 3-clause BSD style license - see LICENSE
"""
Names and numbers in messages.
"""

import re

__all__ = ['counted', 'printable']

# Characters that end a line or command a terminal.
_CONTROL = re.compile('[\x00-\x1f\x7f-\x9f\u2028\u2029]')


def counted(number, noun):
    """
    Write a number with its noun.

    Parameters
    ----------
    number : int
        The number.
    noun : str
        The noun in the singular, of which the plural ends with s.

    Returns
    -------
    str
        Both.

    Examples
    --------
    >>> from astropy_n2v.utils.names import counted
    >>> counted(1, 'file'), counted(0, 'file'), counted(12, 'file')
    ('1 file', '0 files', '12 files')
    """
    return f'{number} {noun}{"" if number == 1 else "s"}'


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
