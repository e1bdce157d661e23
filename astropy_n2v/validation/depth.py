# Licensed under a 3-clause BSD style license - see LICENSE
"""
Depth at equal false-detection rate.
"""

__all__ = ['compare_depth', 'threshold_at_false_rate', 'threshold_at_purity']


def threshold_at_false_rate(false_scores, area, rate):
    """Lowest threshold with at most ``rate`` false detections per megapixel; area in Mpix -> float."""
    raise NotImplementedError


def threshold_at_purity(scores, false_scores, purity, *, area_ratio=1.0):
    """Lowest threshold at which the purity is reached -> float (inf if never)."""
    raise NotImplementedError


def compare_depth(recovery, *, false_rate=None, purity=None, reference='matched filter', n_bootstrap=200,
                  confidence=0.95, seed=None):
    """
    50 % completeness magnitude of each map at equal false-detection rate (``false_rate`` per megapixel) or equal
    ``purity`` -> Table, one row a map.

    Columns: ``image``, ``threshold``, ``false_per_megapixel`` (1 / Mpix), ``purity``, ``n``, ``n_detected``, ``m50``,
    ``m50_lo``, ``m50_hi``, ``m90``, ``m90_lo``, ``m90_hi``, ``gain``, ``gain_lo``, ``gain_hi`` (mag; m50 minus that
    of the reference, paired bootstrap). Meta: ``reference``, ``false_rate`` or ``purity``, ``confidence``,
    ``n_bootstrap``, ``seed``.
    """
    raise NotImplementedError
