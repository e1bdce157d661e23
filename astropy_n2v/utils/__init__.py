# Licensed under a 3-clause BSD style license - see LICENSE
"""
Helpers that know nothing of images of the sky: checks of arguments, files, warnings, samples of pixels.
"""
