# Licensed under a 3-clause BSD style license - see LICENSE
"""
The version that is installed.
"""

from importlib import metadata

__all__ = ['__version__']

try:
    __version__ = metadata.version('astropy-n2v')
except metadata.PackageNotFoundError:  # a source tree that was not installed
    __version__ = '0+unknown'
