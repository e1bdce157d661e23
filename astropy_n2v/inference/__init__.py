# Licensed under a 3-clause BSD style license - see LICENSE
"""
From an image in units of its noise to the posterior of each pixel, in the order of the steps.
"""
