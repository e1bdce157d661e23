# Licensed under a 3-clause BSD style license - see LICENSE
"""
Intervals cover at their stated rate.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astropy_n2v.validation import Estimate, binomial_interval, bootstrap_interval, robust_scatter
from astropy_n2v.validation.measures.statistics import Bootstrap


def coverage(statistic, true, *, n, confidence, grouped=False, trials=300):
    """Fraction of intervals that hold the true value, of samples of a normal distribution."""
    rng = np.random.default_rng(11)
    inside, far = 0, 0
    for _ in range(trials):
        values, groups = rng.normal(size=n), None
        if grouped:
            # Ten values each have the same error, as neighbouring pixels may.
            values, groups = np.repeat(values, 10), np.repeat(np.arange(n), 10)
        estimate = bootstrap_interval(values, statistic, groups=groups, confidence=confidence, n_resamples=300,
                                      seed=rng)
        inside += estimate.low <= true <= estimate.high
        far += abs(estimate.significance(true)) > 3
    return inside / trials, far / trials


@pytest.mark.parametrize('confidence', [0.6827, 0.95])
@pytest.mark.parametrize(('statistic', 'true', 'n'), [('mean', 0, 12), ('mean', 0, 60), ('median', 0, 20),
                                                      ('rms', 1, 150)])
def test_bootstrap_coverage(statistic, true, n, confidence):
    rate, false_alarms = coverage(statistic, true, n=n, confidence=confidence)
    # Three standard errors of the simulation, and what the bootstrap is known to lack in small samples.
    assert abs(rate - confidence) < 3 * np.sqrt(confidence * (1 - confidence) / 300) + 0.015
    assert false_alarms < 0.03


@pytest.mark.parametrize('statistic', ['mean', 'median', 'rms', 'scatter'])
def test_bootstrap_of_many_groups(statistic, monkeypatch):
    """Of more groups than are resampled one by one."""
    from astropy_n2v.validation.measures import statistics
    monkeypatch.setattr(statistics, '_MAX_GROUPS', 150)
    true = 0 if statistic in ('mean', 'median') else 1
    rate, _ = coverage(statistic, true, n=400, confidence=0.95, grouped=True, trials=150)
    assert abs(rate - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 150) + 0.015


def test_intervals_of_large_images_take_little_memory():
    import tracemalloc
    values = np.random.default_rng(0).normal(size=200_000)
    groups = np.arange(values.size) // 10
    tracemalloc.start()
    estimate = bootstrap_interval(values, 'mean', groups=groups, n_resamples=1000, seed=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert estimate.error == pytest.approx(1 / np.sqrt(values.size), rel=0.15)
    assert peak < 60e6   # 20000 groups with 1000 weights each would be 160 MB


@pytest.mark.parametrize('statistic', ['mean', 'median', 'rms', 'scatter'])
def test_bootstrap_of_groups(statistic):
    true = 0 if statistic in ('mean', 'median') else 1
    rate, false_alarms = coverage(statistic, true, n=80, confidence=0.6827, grouped=True, trials=150)
    assert 0.55 < rate < 0.86 and false_alarms < 0.04
    rng = np.random.default_rng(3)
    values = np.repeat(rng.normal(size=50), 10)
    alone = bootstrap_interval(values, statistic, seed=1)
    together = bootstrap_interval(values, statistic, groups=np.repeat(np.arange(50), 10), seed=1)
    assert together.error > 1.7 * alone.error and together.value == pytest.approx(alone.value)


def test_interval_of_the_robust_scatter_is_not_too_short():
    rate, false_alarms = coverage('scatter', 1, n=60, confidence=0.6827)
    assert rate > 0.63 and false_alarms < 0.02


def test_ratio():
    rng = np.random.default_rng(0)
    first, second = rng.normal(3, 1, 4000), rng.normal(2, 1, 4000)
    for groups in None, np.arange(4000) // 4:
        assert not bootstrap_interval((first, second), 'ratio', groups=groups, seed=1).differs(1.5)
        assert bootstrap_interval((first, second), 'ratio', groups=groups, seed=1).differs(1.6)


@settings(max_examples=30, deadline=None)
@given(values=st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40), statistic=st.sampled_from(
    ['mean', 'median', 'rms', 'scatter']))
def test_interval_is_ordered(values, statistic):
    estimate = bootstrap_interval(values, statistic, n_resamples=100, seed=0)
    assert estimate.low <= estimate.high and estimate.n == len(values) and estimate.error >= 0


def test_same_seed_same_interval():
    values = np.random.default_rng(0).normal(size=30)
    assert bootstrap_interval(values, seed=4) == bootstrap_interval(values, seed=4)
    assert bootstrap_interval(values, seed=4) != bootstrap_interval(values, seed=5)


def test_nothing_one_value_and_no_scatter():
    assert bootstrap_interval([np.nan]).n == 0 and np.isnan(bootstrap_interval([]).value)
    one = bootstrap_interval([3.0, np.nan])
    assert one.value == 3 and np.isnan(one.low) and np.isnan(one.significance()) and not one.differs()
    same = bootstrap_interval([3.0] * 9, seed=0)
    assert (same.low, same.high, same.error) == (3, 3, 0)
    assert same.significance(3) == 0 and same.significance(2) == np.inf and same.differs(2)


def test_tolerance():
    estimate = Estimate(1.5, 1.4, 1.6, 10)
    assert estimate.differs(1) and not estimate.differs(1, tolerance=0.3) and not estimate.differs(1, n_sigma=6)


@pytest.mark.parametrize('method', ['jeffreys', 'wilson'])
@pytest.mark.parametrize('confidence', [0.6827, 0.95])
def test_binomial_coverage(method, confidence):
    rng = np.random.default_rng(2)
    for n in 15, 100:
        true = rng.uniform(size=30_000)
        _, low, high = binomial_interval(rng.binomial(n, true), n, confidence=confidence, method=method)
        assert np.mean((low <= true) & (true <= high)) == pytest.approx(confidence, abs=0.02)


def test_binomial_extremes():
    fraction, low, high = binomial_interval([0, 7, 0], [7, 7, 0])
    assert fraction[:2].tolist() == [0, 1] and np.isnan(fraction[2])
    assert low[0] == 0 and 0 < high[0] < 0.3 and high[1] == 1 and 0.7 < low[1] < 1
    assert (low[2], high[2]) == (0, 1)
    assert binomial_interval(3, 6)[0] == 0.5


def test_robust_scatter():
    rng = np.random.default_rng(0)
    values = rng.normal(5, 2, (4, 9999))
    values[:, :300] = 1e6
    assert np.allclose(robust_scatter(values, axis=1), 2, rtol=0.06)
    values[:, 5000:] = np.nan
    assert np.allclose(robust_scatter(values, axis=1), 2, rtol=0.15)
    assert np.isnan(robust_scatter([])) and np.isnan(robust_scatter([np.nan]))


@pytest.mark.parametrize('root', [False, True])
def test_ratio_of_sums_is_that_of_values(rng, root):
    groups = np.arange(6000) // 20
    values, weights = rng.normal(3, 1, 6000) ** 2, rng.uniform(1, 2, 6000)
    sums = [np.bincount(groups, part) for part in (values, weights)]
    found = Bootstrap(seed=1).ratio(*sums, np.arange(300), n=6000, root=root)
    expected = bootstrap_interval((values, weights), 'ratio', groups=groups, seed=1)
    power = 0.5 if root else 1
    assert found.value == pytest.approx(expected.value ** power) and found.n == 6000
    assert [found.low, found.high] == pytest.approx([expected.low ** power, expected.high ** power])
    assert found.error == pytest.approx((found.high - found.low) / 2, rel=0.1)


def test_ratio_that_is_not_known():
    nothing = Bootstrap().ratio([0.0], [0.0], [0], n=0)
    assert np.isnan([nothing.value, nothing.low, nothing.high]).all() and nothing.n == 0
    alone = Bootstrap().ratio([2.0], [4.0], [0], n=4)
    assert alone.value == 0.5 and np.isnan(alone.low)
    negative = Bootstrap().ratio([-2.0, -1.0], [4.0, 4.0], [0, 1], n=8, root=True)
    assert np.isnan(negative.value)


@pytest.mark.parametrize(('arguments', 'message'), [
    ({'confidence': 1.0}, 'confidence must be between 0 and 1, got 1.0'),
    ({'n_resamples': 3}, 'n_resamples must be at least 100, got 3'),
    ({'statistic': 'mode'}, "statistic must be callable or one of .*got 'mode'"),
    ({'values': ([1, 2], [1])}, 'values must be arrays of one length, got \\[2, 1\\]'),
    ({'groups': [1]}, 'groups must have the length of values, 3, got 1'),
    ({'groups': [1, 1, 2], 'statistic': np.mean}, 'named statistics only')])
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(**{'values': [1.0, 2.0, 3.0], **arguments})


def test_binomial_errors():
    with pytest.raises(ValueError, match='successes must be between 0 and trials, got 3 of 2'):
        binomial_interval(3, 2)
    with pytest.raises(ValueError, match='confidence must be between 0 and 1, got 68'):
        binomial_interval(1, 2, confidence=68)


def test_settings_of_intervals_are_fixed_and_give_one_stream_of_random_numbers():
    import dataclasses
    settings_of = Bootstrap(0.95, 200, 3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings_of.seed = 4
    values = np.random.default_rng(0).normal(size=40)
    # An integer begins anew for each interval; once started, successive intervals draw other resamples.
    assert settings_of.interval(values, 'mean') == settings_of.interval(values, 'mean')
    started = settings_of.started()
    assert started.interval(values, 'mean') == settings_of.interval(values, 'mean')
    assert started.interval(values, 'mean') != settings_of.interval(values, 'mean')
    assert bootstrap_interval(values, 'mean', **vars(settings_of)) == settings_of.interval(values, 'mean')
