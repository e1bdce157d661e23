# Licensed under a 3-clause BSD style license - see LICENSE
"""
Validate a denoiser on frames: measure each, combine them, judge, and write the report.
"""
