# Licensed under a 3-clause BSD style license - see LICENSE
"""
Stars of an image: the point-spread function, and fluxes at given positions.
"""

from .forced import *  # noqa: F403
from .psf import *  # noqa: F403
from .psf_measurement import *  # noqa: F403
