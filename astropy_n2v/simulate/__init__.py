# Licensed under a 3-clause BSD style license - see LICENSE
"""
Simulated observations with known truth.
"""

from .detector import *  # noqa: F403
from .extended import *  # noqa: F403
from .galaxies import *  # noqa: F403
from .nebulae import *  # noqa: F403
from .observations import *  # noqa: F403
from .psf import *  # noqa: F403
from .random_scenes import *  # noqa: F403
from .resampling import *  # noqa: F403
from .scenes import *  # noqa: F403
