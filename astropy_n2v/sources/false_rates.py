# Licensed under a 3-clause BSD style license - see LICENSE
"""
How many entries of a list of sources are false: by repetitions of the exposure, and by the hollows of diffuse light.
"""

import numpy as np
from scipy.spatial import cKDTree

__all__ = ['expected_false', 'false_scores', 'hollow_scores', 'threshold_at_share']

# Significance in the frame from which on a detection in a repetition is nothing new: half of the lowest threshold at
# which 5 % of the entries were false on simulated fields.
_KNOWN = 6.0
# Largest distance of a match, in units of the FWHM and in pixels, whichever is more: as of injected sources, and as in
# the detection benchmark. With 0.6 FWHM, half of the false entries asked for were found on survey fields.
_RADIUS, _LEAST_RADIUS = 0.75, 1.5
# A hollow within so many FWHM of a peak so many times as high as it is deep is the ring that the filter makes of a
# source.
_REACH, _HIGHER = 4.0, 2.0
# Emission is skewed: of knots of nebulosity as many are so many times as high as there are hollows of a depth. Fixed on
# simulated nebulae that no benchmark uses: with 1.5, 8 % of the entries were false where 5 % were allowed.
_SKEWNESS = 1.7


def _match(found, known, radius):
    """For each of some detections, the highest first, the score of its counterpart, each used once; 0 for none."""
    scores = np.zeros(len(found))
    if not len(found) or not len(known):
        return scores
    tree = cKDTree(np.column_stack([known['x'], known['y']]))
    near = tree.query_ball_point(np.column_stack([found['x'], found['y']]), radius)
    other, free = np.asarray(known['score'], dtype=float), np.ones(len(known), dtype=bool)
    for i in np.argsort(-np.asarray(found['score'], dtype=float), kind='stable'):
        candidates = [j for j in near[i] if free[j]]
        if candidates:
            best = max(candidates, key=other.__getitem__)
            free[best], scores[i] = False, other[best]
    return scores


def false_scores(repeated, found, fwhm):
    """
    Select the scores of false detections in a repetition of an exposure.

    Parameters
    ----------
    repeated, found : `~astropy.table.Table`
        Sources in the repetition, and in the frame whose denoised scene it was drawn from; columns ``x``, ``y`` and
        ``score``.
    fwhm : float
        Of the point-spread function, in pixels.

    Returns
    -------
    `~numpy.ndarray`
        Scores of those for which the frame has nothing of a significance of 6 within 0.75 FWHM, or 1.5 pixels if that
        is more.

    Examples
    --------
    >>> from astropy.table import Table
    >>> from astropy_n2v.sources import false_scores
    >>> found = Table({'x': [5.0, 20.0], 'y': [5.0, 20.0], 'score': [12.0, 4.0]})
    >>> repeated = Table({'x': [5.5, 20.0, 40.0], 'y': [5.0, 20.0, 7.0], 'score': [11.0, 10.0, 9.0]})
    >>> false_scores(repeated, found, 3.0).tolist()
    [10.0, 9.0]
    """
    score = np.asarray(repeated['score'], dtype=float)
    return score[_match(repeated, found, max(_RADIUS * fwhm, _LEAST_RADIUS)) < _KNOWN]


def hollow_scores(hollows, found, fwhm):
    """
    Score the hollows of diffuse light, to estimate how many of its knots pass for sources.

    Parameters
    ----------
    hollows, found : `~astropy.table.Table`
        Sources on the negative of a map, and on the map; columns ``x``, ``y`` and ``score``.
    fwhm : float
        Of the point-spread function, in pixels.

    Returns
    -------
    `~numpy.ndarray`
        Depths of those that are not the ring which the filter makes around a source.

    Examples
    --------
    >>> from astropy.table import Table
    >>> from astropy_n2v.sources import hollow_scores
    >>> found = Table({'x': [5.0], 'y': [5.0], 'score': [50.0]})
    >>> hollows = Table({'x': [9.0, 40.0], 'y': [5.0, 40.0], 'score': [8.0, 6.0]})
    >>> hollow_scores(hollows, found, 3.0).tolist()
    [6.0]
    """
    depth = np.asarray(hollows['score'], dtype=float)
    if not len(found) or not depth.size:
        return depth
    height, tree = np.asarray(found['score'], dtype=float), cKDTree(np.column_stack([found['x'], found['y']]))
    near = tree.query_ball_point(np.column_stack([hollows['x'], hollows['y']]), _REACH * fwhm)
    ring = [bool(np.any(height[indices] > _HIGHER * one)) for indices, one in zip(near, depth)]
    return depth[~np.array(ring)]


def _above(scores, thresholds):
    """How many scores are above each threshold."""
    return len(scores) - np.searchsorted(np.sort(scores), thresholds, side='right')


def expected_false(thresholds, false, n_frames, hollows=()):
    """
    Compute the expected number of false sources of a frame above each of several thresholds.

    Parameters
    ----------
    thresholds : array_like
        Thresholds.
    false : array_like
        Scores of false detections in all repetitions, from `false_scores`.
    n_frames : int
        Number of repetitions.
    hollows : array_like, optional
        Depths of the hollows of diffuse light, from `hollow_scores`.

    Returns
    -------
    `~numpy.ndarray`
        ``(k + 1) / (n_frames + 1)`` of k in the repetitions, so that none is no proof; and as many knots of nebulosity
        as there are hollows deeper than the threshold over 1.7, without those twice as deep, which are no tail of
        a distribution but the surroundings of large sources.

    Examples
    --------
    >>> from astropy_n2v.sources import expected_false
    >>> expected_false([5.0, 10.0], [6.0, 7.0, 11.0], 3).tolist()
    [1.0, 0.5]
    """
    thresholds = np.asarray(thresholds, dtype=float)
    depth = thresholds / _SKEWNESS
    return (_above(false, thresholds) + 1) / (n_frames + 1) + _above(hollows, depth) - _above(hollows, 2 * depth)


def threshold_at_share(scores, expected, share):
    """
    Find the lowest threshold above which the expected share of false sources is small enough.

    Parameters
    ----------
    scores : array_like
        Scores of the detections.
    expected : callable
        Function from thresholds to expected numbers of false sources.
    share : float
        The largest share.

    Returns
    -------
    threshold : float
        Sources of this score or more count; infinite if no source does.
    shares : `~numpy.ndarray`
        For each source, the least share of false ones in any list that has it.

    Examples
    --------
    >>> from astropy_n2v.sources import threshold_at_share
    >>> threshold, shares = threshold_at_share([9.0, 5.0, 7.0], lambda t: 0.1 + 0.2 * (t < 6), 0.06)
    >>> threshold, shares.tolist()
    (7.0, [0.05, 0.1, 0.05])
    """
    scores = np.asarray(scores, dtype=float)
    if not scores.size:
        return np.inf, np.empty(0)
    order = np.argsort(-scores, kind='stable')
    # Just below each score, so that it counts itself.
    share_at = expected(np.nextafter(scores[order], -np.inf)) / np.arange(1, scores.size + 1)
    least = np.minimum.accumulate(share_at[::-1])[::-1]
    shares = np.empty(scores.size)
    shares[order] = np.minimum(least, 1)
    passing = np.flatnonzero(least <= share)
    return (float(scores[order[passing[-1]]]) if passing.size else np.inf), shares
