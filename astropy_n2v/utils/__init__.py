# Licensed under a 3-clause BSD style license - see LICENSE
"""
General helpers: checks of arguments, files, warnings, samples of pixels, the point-spread function.
"""
