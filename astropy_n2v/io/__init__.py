# Licensed under a 3-clause BSD style license - see LICENSE
"""
Images in files: reading them, and writing them back with all that is around them.
"""

from .headers import *  # noqa: F403
from .paths import *  # noqa: F403
from .process import *  # noqa: F403
from .reading import *  # noqa: F403
from .select import *  # noqa: F403
