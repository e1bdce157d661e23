# Licensed under a 3-clause BSD style license - see LICENSE
"""
Self-supervised denoising of astronomical images.

The one function that most need is `denoise`. Torch is imported when it is first needed,
so that importing the package is quick.
"""

import importlib

from .config import conf
from .utils.forking import compute_after_fork
from .version import __version__

__all__ = ['AuditError', 'CannotDenoiseError', 'Denoiser', 'NoiseModel', 'conf', 'denoise', 'detect', 'detection_image',
           'estimate_noise', 'estimate_set_noise', 'noise_autocorrelation', 'train']

compute_after_fork()

# Where each public name lives; __getattr__ imports it on first use.
_MODULES = {
    'AuditError': '.exceptions',
    'CannotDenoiseError': '.exceptions',
    'Denoiser': '.denoiser',
    'NoiseModel': '.noise',
    'denoise': '.denoising',
    'detect': '.sources.detecting',
    'detection_image': '.significance',
    'estimate_noise': '.noise',
    'estimate_set_noise': '.batch.set_noise',
    'noise_autocorrelation': '.noise',
    'train': '.training.train',
}


def __getattr__(name):
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    value = getattr(importlib.import_module(_MODULES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted(__all__ + ['__version__'])
