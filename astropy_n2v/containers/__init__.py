# Licensed under a 3-clause BSD style license - see LICENSE
"""
Take images of any kind apart, find the pixels that do not count, and build the same kind again.
"""
