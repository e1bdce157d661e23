# Licensed under a 3-clause BSD style license - see LICENSE
"""
Inference of the posterior of each pixel of an image in units of its noise, in the order of the steps.
"""
