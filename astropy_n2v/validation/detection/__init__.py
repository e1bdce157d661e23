# Licensed under a 3-clause BSD style license - see LICENSE
"""
Detection of sources: maps, matching, thresholds, depth and completeness.
"""
