# Licensed under a 3-clause BSD style license - see LICENSE
"""
Pictures of frames before and after denoising, for documentation, reports and notebooks.
"""

from .curves import *  # noqa: F403
from .panels import *  # noqa: F403
from .stretches import *  # noqa: F403
from .viewers import *  # noqa: F403
