# Licensed under a 3-clause BSD style license - see LICENSE
"""
Measures of images and tables of sources: pure functions, each of a denoised image and what it is compared with.
"""
