# Licensed under a 3-clause BSD style license - see LICENSE
"""
Warnings that refer to the line of the user.
"""

import sys
import warnings

from astropy.utils.exceptions import AstropyUserWarning

__all__ = ['warn_user']


def warn_user(message, category=AstropyUserWarning):
    """
    Issue a warning whose location is the line outside of this package that called it.

    Parameters
    ----------
    message : str or Warning
        The text, or a warning that was caught before, whose own category is kept.
    category : type, optional
        Category of the warning.

    Examples
    --------
    >>> import warnings
    >>> from astropy_n2v.utils.warn import warn_user
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter('always')
    ...     warn_user('the noise is not known')
    >>> str(caught[0].message)
    'the noise is not known'
    """
    package = __name__.partition('.')[0]
    # Frames of other packages, such as contextlib, may lie in between: the caller of the outermost frame is used.
    frame, depth, outermost = sys._getframe(), 1, 1
    while frame is not None:
        if str(frame.f_globals.get('__name__')).partition('.')[0] == package:
            outermost = depth
        frame, depth = frame.f_back, depth + 1
    warnings.warn(message, category, stacklevel=outermost + 1)
