# Licensed under a 3-clause BSD style license - see LICENSE
"""
One-to-one matching of source lists.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from ...photometry.inputs import position_array
from ...utils.checks import require

__all__ = ['Matches', 'match_sources']


@dataclass(frozen=True, eq=False)
class Matches:
    """
    Pairs of equal sources in two lists, each source in one pair at most.

    Parameters
    ----------
    detected, truth : `~numpy.ndarray` of int
        Indices into the two lists; the k-th of one belongs to the k-th of the other. Sorted
        by ``detected``.
    separation : `~numpy.ndarray`
        Distance of each pair in pixels.
    n_detected, n_truth : int
        Lengths of the lists.

    Examples
    --------
    >>> from astropy_n2v.validation import match_sources
    >>> matches = match_sources([(3, 4), (9, 9)], [(3, 5)], 2.0)
    >>> matches.tp, matches.fp, matches.fn
    (1, 1, 0)
    """

    detected: np.ndarray
    truth: np.ndarray
    separation: np.ndarray
    n_detected: int
    n_truth: int

    def __len__(self):
        return len(self.detected)

    @property
    def tp(self):
        """Number of true positives: pairs."""
        return len(self.detected)

    @property
    def fp(self):
        """Number of false positives: detections without a true source."""
        return self.n_detected - self.tp

    @property
    def fn(self):
        """Number of false negatives: true sources that were not detected."""
        return self.n_truth - self.tp

    @property
    def unmatched_detected(self):
        """Return the indices of the detections without a true source."""
        return np.setdiff1d(np.arange(self.n_detected), self.detected)

    @property
    def unmatched_truth(self):
        """Return the indices of the true sources that were not detected."""
        return np.setdiff1d(np.arange(self.n_truth), self.truth)


def _pairs_within(first, second, radius):
    """All pairs within a radius, the closest first; ties are broken by the indices."""
    neighbours = cKDTree(first).query_ball_point(second, radius)
    j = np.repeat(np.arange(len(second)), [len(found) for found in neighbours])
    i = np.concatenate([np.asarray(found, dtype=int) for found in neighbours]) if len(j) else np.empty(0, dtype=int)
    distance = np.hypot(*(first[i] - second[j]).T)
    order = np.lexsort((j, i, distance))
    return i[order], j[order], distance[order]


def _mutual_nearest(i, j):
    """The pairs, of those in order of distance, each of whose members has no closer partner."""
    first = np.zeros(i.size, dtype=bool)
    second = np.zeros(i.size, dtype=bool)
    first[np.unique(i, return_index=True)[1]] = True
    second[np.unique(j, return_index=True)[1]] = True
    return np.flatnonzero(first & second)


def _optimal(i, j, distance, n_first, radius):
    """Match as many pairs as possible, of the smallest total distance, group by connected group."""
    n = n_first + (j.max() + 1 if j.size else 0)
    graph = coo_array((np.ones(i.size), (i, n_first + j)), shape=(n, n))
    group = connected_components(graph, directed=False)[1][i]
    order = np.argsort(group, kind='stable')
    chosen = []
    for part in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        if part.size == 1:
            chosen.append(part)
            continue
        (rows, row), (columns, column) = (np.unique(index[part], return_inverse=True) for index in (i, j))
        # One pair more is worth any distance.
        cost = np.full((rows.size, columns.size), (min(rows.size, columns.size) + 1) * (radius + 1.0))
        cost[row, column] = distance[part]
        which = np.full(cost.shape, -1)
        which[row, column] = part
        best = which[linear_sum_assignment(cost)]
        chosen.append(best[best >= 0])
    return np.concatenate(chosen) if chosen else np.empty(0, dtype=int)


def match_sources(detected, truth, radius, *, method='mutual'):
    """
    Match two lists of sources one to one.

    Parameters
    ----------
    detected, truth : `~astropy.table.Table` or array_like
        Tables with the columns ``x`` and ``y``, or arrays of shape (n, 2) of x and y, in
        pixels; `None` counts as an empty list.
    radius : float
        The largest distance of a pair in pixels; a pair at just this distance counts.
    method : {'mutual', 'optimal'}, optional
        'mutual': pairs each of whose members is the nearest of the other. 'optimal': as many
        pairs as possible, and of those the smallest sum of distances (the assignment problem,
        `scipy.optimize.linear_sum_assignment`), better where sources crowd. Of equal
        distances the pair that comes first in the lists wins.

    Returns
    -------
    Matches
        The pairs, and the sources without a partner.

    Raises
    ------
    ValueError
        If ``radius`` is not positive, ``method`` is unknown, or a list has no positions.

    Examples
    --------
    >>> from astropy_n2v.validation import match_sources
    >>> matches = match_sources([[5.0, 5.2], [9.0, 1.0]], [[5.1, 5.0]], 3.0)
    >>> matches.tp, matches.fp, matches.fn
    (1, 1, 0)
    """
    if not (np.isscalar(radius) and np.isfinite(radius) and radius > 0):
        raise ValueError(f'radius must be a positive number of pixels, got {radius}')
    require(method in ('mutual', 'optimal'), 'method', "be 'mutual' or 'optimal'", method)
    first, second = position_array('detected', detected), position_array('truth', truth)
    if len(first) and len(second):
        i, j, distance = _pairs_within(first, second, radius)
    else:
        i, j, distance = np.empty(0, dtype=int), np.empty(0, dtype=int), np.empty(0)
    keep = _mutual_nearest(i, j) if method == 'mutual' else _optimal(i, j, distance, len(first), radius)
    keep = keep[np.argsort(i[keep])]
    return Matches(i[keep], j[keep], distance[keep], len(first), len(second))
