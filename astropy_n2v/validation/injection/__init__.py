# Licensed under a 3-clause BSD style license - see LICENSE
"""
Artificial sources: drawn, put into real frames, and recovered.
"""
