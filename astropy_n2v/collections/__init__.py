# Licensed under a 3-clause BSD style license - see LICENSE
"""
Collections of frames: a catalogue of them, splits that do not leak, checks, and patches cut straight from the files.
"""

from .checks import *  # noqa: F403
from .choose import *  # noqa: F403
from .fields import *  # noqa: F403
from .loading import *  # noqa: F403
from .manifest import *  # noqa: F403
from .splits import *  # noqa: F403
from .tables import *  # noqa: F403
