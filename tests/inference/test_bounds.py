# Licensed under a 3-clause BSD style license - see LICENSE
"""
The blind prediction stays within what the surrounding data allow.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astropy_n2v import Denoiser, NoiseModel
from astropy_n2v.inference.bounds import bound_prediction
from astropy_n2v.inference.normalization import NormalizedImage


def prepare(data, mask=None, noise=None):
    return NormalizedImage.prepare(np.asarray(data, dtype=float), noise or NoiseModel(1.0), mask)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2 ** 32 - 1), st.sampled_from([-1e30, -1e6, 50.0, 1e6, 1e30, np.inf, np.nan]),
       st.floats(0, 0.99), st.tuples(st.integers(8, 40), st.integers(8, 40)))
def test_nonsense_is_cut_and_its_spread_says_so(seed, nonsense, masked, shape):
    rng = np.random.default_rng(seed)
    data, mask = rng.normal(size=shape), rng.random(shape) < masked
    mask[rng.integers(shape[0]), rng.integers(shape[1])] = False
    image = prepare(data, mask)
    mean, spread = np.zeros((2, *shape), dtype=np.float32)
    wrong = rng.random(shape) < 0.1
    mean[wrong] = nonsense
    bound_prediction(image, mean, spread)
    assert np.abs(mean).max() < 50
    assert np.all(spread[wrong] > 0)


def test_plausible_predictions_stay(rng):
    data = rng.normal(size=(64, 64))
    mean, spread = rng.normal(0, 0.3, (2, 64, 64)).astype('f4')
    before = mean.copy(), spread.copy()
    assert bound_prediction(prepare(data), mean, spread) == 0
    np.testing.assert_array_equal((mean, spread), before)


def test_one_hot_pixel_allows_nothing(rng):
    data = rng.normal(size=(64, 64))
    data[30, 30] = 1e5
    mean, spread = np.zeros((2, 64, 64), dtype=np.float32)
    mean[29:32, 28] = 5e4
    bound_prediction(prepare(data), mean, spread)
    assert mean.max() < 50


@pytest.mark.parametrize('fwhm', [1.5, 2.0, 3.0])
def test_stars_do_not_notice(fwhm, rng, monkeypatch):
    y, x = np.mgrid[:96, :96]
    truth = np.full(y.shape, 100.0)
    for row, column, flux in zip(*rng.uniform(8, 88, (2, 20)), 10 ** rng.uniform(3, 5.5, 20)):
        truth += flux * 0.88 / fwhm ** 2 * np.exp(-2.77 * ((y - row) ** 2 + (x - column) ** 2) / fwhm ** 2)
    data, noise = rng.poisson(truth).astype(float), NoiseModel(3.0, gain=1.0)
    bounded = Denoiser.load('default').predict(data, noise).mean
    monkeypatch.setattr('astropy_n2v.inference.blind_prediction.bound_prediction', lambda *args: 0)
    free = Denoiser.load('default').predict(data, noise).mean
    # Of undersampled peaks the measurement decides.
    assert np.abs(bounded - free).max() < 0.3
    assert (bounded - 100).sum() == pytest.approx((free - 100).sum(), rel=1e-5)
