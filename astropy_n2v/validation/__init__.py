# Licensed under a 3-clause BSD style license - see LICENSE
"""
How good a result is: measures, and figures of them.
"""

from .metrics import *  # noqa: F403

# Detection: find, match, sweep, inject, recover.
from .artificial import *  # noqa: F403
from .completeness import *  # noqa: F403
from .depth import *  # noqa: F403
from .detection import *  # noqa: F403
from .frames import *  # noqa: F403
from .injection import *  # noqa: F403
from .matching import *  # noqa: F403
from .psf import *  # noqa: F403
from .recovery import *  # noqa: F403
from .sweep import *  # noqa: F403
