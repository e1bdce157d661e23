# Licensed under a 3-clause BSD style license - see LICENSE
"""
How good a result is: measures, figures of them, and reports.
"""

from .artificial import *  # noqa: F403
from .background import *  # noqa: F403
from .completeness import *  # noqa: F403
from .correlation import *  # noqa: F403
from .depth import *  # noqa: F403
from .detection import *  # noqa: F403
from .exposures import *  # noqa: F403
from .flux import *  # noqa: F403
from .frames import *  # noqa: F403
from .injection import *  # noqa: F403
from .judge import *  # noqa: F403
from .matching import *  # noqa: F403
from .metrics import *  # noqa: F403
from .noise_frames import *  # noqa: F403
from .photometry import *  # noqa: F403
from .psf import *  # noqa: F403
from .recovery import *  # noqa: F403
from .reference import *  # noqa: F403
from .report import *  # noqa: F403
from .residuals import *  # noqa: F403
from .schema import *  # noqa: F403
from .shapes import *  # noqa: F403
from .statistics import *  # noqa: F403
from .sweep import *  # noqa: F403
from .uncertainty import *  # noqa: F403
