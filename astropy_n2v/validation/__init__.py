# Licensed under a 3-clause BSD style license - see LICENSE
"""
How good a result is: measures, and figures of them.
"""

from .metrics import *  # noqa: F403
from .report import *  # noqa: F403
from .schema import *  # noqa: F403
