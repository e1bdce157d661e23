# Licensed under a 3-clause BSD style license - see LICENSE
"""
Where a noise model is from.
"""

from dataclasses import dataclass, replace
from enum import Enum, IntEnum

__all__ = ['GainFrom', 'Origin', 'SizeFrom']


class SizeFrom(IntEnum):
    """
    How the size of the noise is known; where amplifiers differ, the largest value is that of the frame.

    Examples
    --------
    >>> from astropy_n2v.noise import SizeFrom
    >>> max(SizeFrom.STATEMENT, SizeFrom.IMAGE).name
    'IMAGE'
    """

    #: A user, a header or an uncertainty states it.
    STATEMENT = 0
    #: The image is one of counted photons, and its noise follows from their number.
    PHOTONS = 1
    #: It was measured on the image itself.
    IMAGE = 2


class GainFrom(Enum):
    """
    How it is known how the noise grows with the signal.

    Examples
    --------
    >>> from astropy_n2v import NoiseModel
    >>> NoiseModel(3.0, gain=2.0).origin.gain.name
    'STATEMENT'
    """

    #: A user, a header, an uncertainty or the unit of the data states it.
    STATEMENT = 'statement'
    #: Nothing states it: it is as the image shows, or unknown.
    IMAGE = 'image'
    #: As ``IMAGE``, of data in counts that do not have the noise of counted photons.
    COUNTS = 'counts'
    #: The median over a set of frames.
    SET = 'set'


@dataclass(frozen=True)
class Origin:
    """
    Where a noise model is from.

    Parameters
    ----------
    name : str, optional
        Who or what the noise is from, for headers and messages. Nothing is decided on it.
    size : SizeFrom, optional
        How the size of the noise is known.
    gain : GainFrom, optional
        How its growth with the signal is known.
    details : tuple of str, optional
        What to add to ``name``, such as the cards of a header.

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
        """The origin in words."""
        return ', '.join((self.name, *self.details))

    def but(self, *details, **changes):
        """Return an origin with more details and other values of some parameters."""
        return replace(self, details=(*self.details, *details), **changes)
