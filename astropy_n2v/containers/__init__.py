# Licensed under a 3-clause BSD style license - see LICENSE
"""
Parse images of any kind, find the pixels that do not count, and build results of the same kind.
"""
