# Licensed under a 3-clause BSD style license - see LICENSE
"""
Figures, each drawn into axes that are given, and all of a report together. Matplotlib is imported when one is drawn.
"""

from .detection import *  # noqa: F403
from .flux import *  # noqa: F403
from .images import *  # noqa: F403
from .quality import *  # noqa: F403
from .report import *  # noqa: F403
from .style import *  # noqa: F403
