# Licensed under a 3-clause BSD style license - see LICENSE
"""
Simulated observations with known truth.
"""

from .detector import *  # noqa: F403
from .scenes import *  # noqa: F403
