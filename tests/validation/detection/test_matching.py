# Licensed under a 3-clause BSD style license - see LICENSE
"""
One-to-one matching.
"""

from itertools import permutations

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from astropy_n2v.validation import match_sources

POINTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=6)


def _brute_force(first, second, radius):
    """The largest number of pairs, and their smallest sum of distances, by trying all."""
    if len(first) > len(second):
        first, second = second, first
    best = (0, 0.0)
    for order in permutations(range(len(second)), len(first)):
        distance = [np.hypot(*np.subtract(first[i], second[j])) for i, j in enumerate(order)]
        allowed = [d for d in distance if d <= radius]
        best = max(best, (len(allowed), -sum(allowed)))
    return best[0], -best[1]


@settings(deadline=None, max_examples=60)
@given(POINTS, POINTS, st.sampled_from([0.5, 1.0, 1.5, 2.3]))
def test_each_source_is_used_once(first, second, radius):
    for method in ('mutual', 'optimal'):
        matches = match_sources(first, second, radius, method=method)
        assert len(set(matches.detected)) == len(set(matches.truth)) == len(matches) == matches.tp
        assert (matches.separation <= radius).all()
        assert matches.tp + matches.fp == len(first) and matches.tp + matches.fn == len(second)
        assert sorted([*matches.detected, *matches.unmatched_detected]) == list(range(len(first)))
        assert sorted([*matches.truth, *matches.unmatched_truth]) == list(range(len(second)))
        for i, j, distance in zip(matches.detected, matches.truth, matches.separation):
            assert np.hypot(*np.subtract(first[i], second[j])) == pytest.approx(distance)


@settings(deadline=None, max_examples=60)
@given(POINTS, POINTS, st.sampled_from([1.0, 1.5, 2.3]))
def test_optimal_is_the_best_of_all(first, second, radius):
    number, total = _brute_force(first, second, radius)
    matches = match_sources(first, second, radius, method='optimal')
    assert matches.tp == number
    assert matches.separation.sum() == pytest.approx(total)
    assert match_sources(first, second, radius).tp <= number


def test_mutual_nearest_leaves_what_optimal_pairs():
    detected, truth = [[0.0, 0.0], [1.0, 0.0]], [[0.9, 0.0], [2.5, 0.0]]
    assert match_sources(detected, truth, 2.0).tp == 1
    assert match_sources(detected, truth, 2.0, method='optimal').tp == 2


def test_many_detections_of_one_source_are_false():
    matches = match_sources([[5, 5], [5.5, 5], [4.8, 5.3]], [[5, 5]], 3.0)
    assert (matches.tp, matches.fp, matches.fn) == (1, 2, 0)
    assert matches.detected.tolist() == [0]


def test_ties_go_to_the_first():
    matches = match_sources([[0, 0]], [[1, 0], [-1, 0], [0, 1]], 1.0)
    assert matches.truth.tolist() == [0]
    matches = match_sources([[1, 0], [-1, 0]], [[0, 0]], 1.0)
    assert matches.detected.tolist() == [0]


@pytest.mark.parametrize('method', ['mutual', 'optimal'])
def test_empty_lists(method):
    some = Table({'x': [1.0], 'y': [2.0]})
    for first, second, expected in ((None, some, (0, 0, 1)), (some, some[:0], (0, 1, 0)), ([], None, (0, 0, 0)),
                                    (some, [[50, 50]], (0, 1, 1))):
        matches = match_sources(first, second, 2.0, method=method)
        assert (matches.tp, matches.fp, matches.fn) == expected


def test_many_sources(rng):
    truth = rng.uniform(0, 2000, (5000, 2))
    order = rng.permutation(5000)
    for method in ('mutual', 'optimal'):
        matches = match_sources(truth[order] + rng.normal(0, 0.05, (5000, 2)), truth, 3.0, method=method)
        assert np.mean(order[matches.detected] == matches.truth) > 0.99


@pytest.mark.parametrize(('arguments', 'options', 'message'), [
    (([[0, 0]], [[0, 0]], 0), {}, 'radius must be a positive number of pixels, got 0'),
    (([[0, 0]], [[0, 0]], np.nan), {}, 'radius must be a positive number of pixels, got nan'),
    (([[0, 0]], [[0, 0]], 1), {'method': 'nearest'}, "method must be 'mutual' or 'optimal', got 'nearest'"),
    (([[0, 0, 0]], [[0, 0]], 1), {}, r'detected must be a table .* got shape \(1, 3\)'),
    ((Table({'a': [1]}), [[0, 0]], 1), {}, r"detected must have the columns x and y, got \['a'\]"),
    (([[0, 0]], [[0, np.nan]], 1), {}, 'truth must be finite, got 1 positions that are not')])
def test_errors(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        match_sources(*arguments, **options)
