# Licensed under a 3-clause BSD style license - see LICENSE
"""
An audit of results against the data that they were made of, without any truth.
"""

from .auditor import *
from .findings import *
from .pixels import *
