# Licensed under a 3-clause BSD style license - see LICENSE
"""
How good a result is: measures, and figures of them.
"""

from .background import *  # noqa: F403
from .correlation import *  # noqa: F403
from .exposures import *  # noqa: F403
from .flux import *  # noqa: F403
from .metrics import *  # noqa: F403
from .photometry import *  # noqa: F403
from .reference import *  # noqa: F403
from .residuals import *  # noqa: F403
from .shapes import *  # noqa: F403
from .statistics import *  # noqa: F403
from .uncertainty import *  # noqa: F403
