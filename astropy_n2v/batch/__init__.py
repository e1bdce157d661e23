# Licensed under a 3-clause BSD style license - see LICENSE
"""
Denoise FITS files: one, many, or all of a night, and keep books of it.
"""

from .cluster import *  # noqa: F403
from .cosmic_rays import *  # noqa: F403
from .fits import *  # noqa: F403
from .inputs import *  # noqa: F403
from .journal import *  # noqa: F403
from .many import *  # noqa: F403
from .night import *  # noqa: F403
from .preview import *  # noqa: F403
from .raster import *  # noqa: F403
from .records import *  # noqa: F403
from .row_filter import *  # noqa: F403
from .set_noise import *  # noqa: F403
from .summary import *  # noqa: F403
