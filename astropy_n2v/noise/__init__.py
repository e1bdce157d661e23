# Licensed under a 3-clause BSD style license - see LICENSE
"""
The noise of an image: the noise model, its estimation from the image, and the choice among stated values.
"""

from .amplifier_edges import *  # noqa: F403
from .amplifiers import *  # noqa: F403
from .correlation import *  # noqa: F403
from .estimation import *  # noqa: F403
from .gains import *  # noqa: F403
from .model import *  # noqa: F403
from .origin import *  # noqa: F403
from .parameters import *  # noqa: F403
from .patterns import *  # noqa: F403
from .phases import *  # noqa: F403
from .photons import *  # noqa: F403
from .quantisation import *  # noqa: F403
from .resolve import *  # noqa: F403
from .sets import *  # noqa: F403
from .sky import *  # noqa: F403
from .smoothing import *  # noqa: F403
from .stripes import *  # noqa: F403
from .transfer import *  # noqa: F403
from .uncertainty import *  # noqa: F403
from .uncertainty_checks import *  # noqa: F403
