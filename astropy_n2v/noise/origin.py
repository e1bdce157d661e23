# Licensed under a 3-clause BSD style license - see LICENSE
"""
Origins of a noise model.
"""

from dataclasses import dataclass, replace
from enum import Enum, IntEnum

__all__ = ['GainFrom', 'Origin', 'SizeFrom']


class SizeFrom(IntEnum):
    """
    How the size of the noise is known; a frame of several amplifiers has the largest of their values.

    Examples
    --------
    >>> from astropy_n2v.noise import SizeFrom
    >>> max(SizeFrom.STATEMENT, SizeFrom.IMAGE).name
    'IMAGE'
    """

    #: A user, a header or an uncertainty states it.
    STATEMENT = 0
    #: The image holds counted photons, and its noise follows from their number.
    PHOTONS = 1
    #: It was measured on the image itself.
    IMAGE = 2


class GainFrom(Enum):
    """
    How the growth of the noise with the signal is known.

    Examples
    --------
    >>> from astropy_n2v import NoiseModel
    >>> NoiseModel(3.0, gain=2.0).origin.gain.name
    'STATEMENT'
    """

    #: A user, a header, an uncertainty or the unit of the data states it.
    STATEMENT = 'statement'
    #: Nothing states it: it was measured on the image, or is unknown.
    IMAGE = 'image'
    #: As ``IMAGE``, for data in counts that do not have the noise of counted photons.
    COUNTS = 'counts'
    #: The median over a set of frames.
    SET = 'set'


@dataclass(frozen=True)
class Origin:
    """
    Origin of a noise model.

    Parameters
    ----------
    name : str, optional
        Source of the noise, for headers and messages. No decision depends on it.
    size : SizeFrom, optional
        How the size of the noise is known.
    gain : GainFrom, optional
        How the growth of the noise with the signal is known.
    details : tuple of str, optional
        Text to add to ``name``, such as the cards of a header.

    Examples
    --------
    >>> from astropy_n2v.noise import Origin, SizeFrom
    >>> Origin('gain').but('level measured', size=SizeFrom.IMAGE).text
    'gain, level measured'
    """

    name: str = 'given'
    size: SizeFrom = SizeFrom.STATEMENT
    gain: GainFrom = GainFrom.STATEMENT
    details: tuple = ()

    @property
    def text(self):
        """The origin as text."""
        return ', '.join((self.name, *self.details))

    def but(self, *details, **changes):
        """
        Return an origin with more details and other values of some parameters.

        Parameters
        ----------
        *details : str
            Text to add to ``details``.
        **changes : object
            Other values of ``name``, ``size`` or ``gain``.

        Returns
        -------
        Origin
            An origin of its own; this one is not changed.
        """
        return replace(self, details=(*self.details, *details), **changes)
