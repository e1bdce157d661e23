# Licensed under a 3-clause BSD style license - see LICENSE
"""
Self-supervised training of blind-spot networks.
"""
