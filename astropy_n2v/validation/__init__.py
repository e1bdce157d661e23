# Licensed under a 3-clause BSD style license - see LICENSE
"""
How good a result is: measures, figures of them, and reports.
"""

from ..photometry.forced import *  # noqa: F403
from ..photometry.psf_measurement import *  # noqa: F403
from .detection.completeness import *  # noqa: F403
from .detection.depth import *  # noqa: F403
from .detection.maps import *  # noqa: F403
from .detection.matching import *  # noqa: F403
from .detection.noise_frames import *  # noqa: F403
from .detection.thresholds import *  # noqa: F403
from .injection.catalogue import *  # noqa: F403
from .injection.recovery import *  # noqa: F403
from .injection.sources import *  # noqa: F403
from .measures.background import *  # noqa: F403
from .measures.correlation import *  # noqa: F403
from .measures.exposures import *  # noqa: F403
from .measures.flux import *  # noqa: F403
from .measures.frames import *  # noqa: F403
from .measures.images import *  # noqa: F403
from .measures.reference import *  # noqa: F403
from .measures.residuals import *  # noqa: F403
from .measures.shapes import *  # noqa: F403
from .measures.statistics import *  # noqa: F403
from .measures.uncertainty import *  # noqa: F403
from .report.report import *  # noqa: F403
from .report.schema import *  # noqa: F403
from .report.validate import *  # noqa: F403
