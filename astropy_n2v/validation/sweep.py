# Licensed under a 3-clause BSD style license - see LICENSE
"""
Detections against threshold, true and false.
"""

__all__ = ['best_f1', 'combine_sweeps', 'make_noise_frame', 'noise_detections', 'sweep_thresholds']


def sweep_thresholds(image, thresholds, *, truth=None, blank=None, radius=3.0, method='peaks', fwhm=None, mask=None,
                     matching='mutual', confidence=0.95, **find_options):
    """
    Precision, recall and counts for each threshold -> Table.

    image: significance map (or image in units of its noise). truth: table of true sources or of those of a deeper
    reference (x, y). blank: source-free or sign-flipped map, or a list of them: if given, false positives are counted
    there (scaled by area).

    Columns: ``threshold``, ``n_detected``, ``tp``, ``fp``, ``fn``, ``precision``, ``precision_lo``, ``precision_hi``,
    ``recall``, ``recall_lo``, ``recall_hi``, ``f1``, ``false_per_megapixel``, ``false_per_megapixel_lo``,
    ``false_per_megapixel_hi`` (1 / Mpix). Meta: ``area`` (Mpix), ``false_from`` ('truth' or 'blank'), ``radius``,
    ``matching``, ``method``, ``confidence``.
    """
    raise NotImplementedError


def combine_sweeps(tables):
    """Sweeps of several frames as one: counts are summed, rates computed again -> Table (same columns)."""
    raise NotImplementedError


def best_f1(sweep):
    """The row of a sweep with the largest F1 -> dict of its columns (None if no F1 is defined)."""
    raise NotImplementedError


def make_noise_frame(shape, noise, *, level=0.0, kernel=None, unit='adu', seed=None):
    """A source-free frame of white or (with a smoothing kernel) correlated noise -> CCDData."""
    raise NotImplementedError


def noise_detections(denoiser, psf, noise, *, thresholds=(3.0, 4.0, 5.0, 6.0), shape=(512, 512), n_frames=4, level=0.0,
                     kernel=None, unit='adu', confidence=0.95, extra=None, seed=None):
    """
    Detections per megapixel on pure noise -> Table: ``image`` (name of the map), ``threshold``, ``n``,
    ``per_megapixel``, ``per_megapixel_lo``, ``per_megapixel_hi`` (1 / Mpix). Meta: ``area`` (Mpix), ``correlated``.
    """
    raise NotImplementedError
