# Licensed under a 3-clause BSD style license - see LICENSE
"""
Networks and the likelihood that they are trained with.
"""

from .blindspot import *  # noqa: F403
from .likelihood import *  # noqa: F403
from .unet import *  # noqa: F403
