# Licensed under a 3-clause BSD style license - see LICENSE
"""
Exceptions of the package that callers may want to handle apart from others.
"""

__all__ = ['AuditError', 'CannotDenoiseError']


class CannotDenoiseError(ValueError):
    """
    An image has nothing that could be denoised, whatever the options are.

    It is constant, fully masked, smaller than 8x8 pixels, or has too few valid pixels next to
    each other. In a cube or a file of many images such an image passes through with a warning.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v import CannotDenoiseError, estimate_noise
    >>> try:
    ...     estimate_noise(np.ones((16, 16)))
    ... except CannotDenoiseError as error:
    ...     print(str(error)[:21])
    data is constant (1):
    """


class AuditError(CannotDenoiseError):
    """
    The audit of a result found that its own data exclude it.

    `~astropy_n2v.denoise` raises it unless ``audit`` is 'warn' or 'off'; in a cube or a file of several images that
    image is returned as measured, with a warning.

    Parameters
    ----------
    message : str
        The finding.
    report : `~astropy_n2v.audit.AuditReport`, optional
        All checks.

    Examples
    --------
    >>> from astropy_n2v import AuditError, CannotDenoiseError
    >>> issubclass(AuditError, CannotDenoiseError)
    True
    """

    def __init__(self, message, report=None):
        super().__init__(message)
        self.report = report
