# Licensed under a 3-clause BSD style license - see LICENSE
"""
Sources: found on the denoised frame, measured on the original one.
"""

from .analysis import *  # noqa: F403
from .catalogues import *  # noqa: F403
from .detecting import *  # noqa: F403
from .false_rates import *  # noqa: F403
from .repeats import *  # noqa: F403
