# Licensed under a 3-clause BSD style license - see LICENSE
"""
The weights that are shipped with the package, and models as files.
"""

from .shipped import *  # noqa: F403
