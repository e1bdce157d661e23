# Licensed under a 3-clause BSD style license - see LICENSE
"""
Correlated noise: what it is made of, and that its noise model is right.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astropy_n2v.noise import choose_hole, noise_autocorrelation
from astropy_n2v.simulate import (
    KERNELS,
    make_scene,
    observe_correlated_readout,
    observe_drizzled,
    observe_resampled,
    observe_smoothed,
    random_observation,
)
from astropy_n2v.simulate.resampling import _interpolate, _positions

seeds = st.integers(0, 2 ** 32)
FLAT = np.full((160, 170), 100.0)


def autocorrelation(z, dy, dx):
    return np.mean(z[:z.shape[0] - dy, :z.shape[1] - dx] * z[dy:, dx:]) / np.mean(z ** 2)


class TestInterpolation:
    @pytest.mark.parametrize('kernel', KERNELS)
    def test_values_and_squares(self, kernel, rng):
        plane = rng.normal(size=(40, 44))
        y, x = _positions((20, 24), 0.1, 0.9, (18.3, 20.7))
        (values,), squares = _interpolate([plane], y, x, kernel)
        # Of unit impulses: the weights themselves.
        total = 0
        for row in range(40):
            for column in range(44):
                impulse = np.zeros(plane.shape)
                impulse[row, column] = 1
                if np.hypot(row - 18.3, column - 20.7) < 4:
                    (weights,), _ = _interpolate([impulse], y[8:12, 10:14], x[8:12, 10:14], kernel)
                    total = total + weights ** 2
        np.testing.assert_allclose(squares[9:11, 11:13], total[1:3, 1:3], rtol=0.02)
        (ones,), _ = _interpolate([np.ones(plane.shape)], y, x, kernel)
        np.testing.assert_allclose(ones, 1)

    @pytest.mark.parametrize('kernel, places', [('bilinear', 12), ('cubic', 12)])
    def test_planes_are_reproduced(self, kernel, places):
        rows, columns = np.indices((40, 44))
        y, x = _positions((20, 24), 0.2, 1.0, (19.0, 21.0))
        (values,), _ = _interpolate([2.0 * rows - 3.0 * columns], y, x, kernel)
        np.testing.assert_allclose(values, 2 * y - 3 * x, atol=10.0 ** -places * 10)

    def test_shift_has_one_row_and_column(self):
        y, x = _positions((20, 24), 0.0, 1.0, (3.2, 4.0))
        assert y.shape == (20, 1) and x.shape == (1, 24)


class TestNoiseModel:
    @given(st.sampled_from(sorted(KERNELS)), st.integers(1, 4), st.floats(-0.1, 0.1), st.floats(0.7, 1.2),
           st.floats(0, 20), seeds)
    @settings(max_examples=12, deadline=None)
    def test_resampled(self, kernel, n_exposures, rotation, scale, readnoise, seed):
        frame = observe_resampled(FLAT, kernel=kernel, n_exposures=n_exposures, rotation=rotation, scale=scale,
                                  readnoise=readnoise, seed=seed)
        assert frame.innovation.var() == pytest.approx(1, abs=0.07)
        np.testing.assert_allclose(frame.truth, 100)

    @given(st.integers(2, 9), st.floats(0.5, 1), st.floats(0.4, 1.1), st.floats(0, 20), seeds)
    @settings(max_examples=12, deadline=None)
    def test_drizzled(self, n_exposures, pixfrac, scale, readnoise, seed):
        frame = observe_drizzled(FLAT, n_exposures=n_exposures, pixfrac=pixfrac, scale=scale, readnoise=readnoise,
                                 seed=seed)
        good = ~frame.mask
        assert frame.innovation[good].var() == pytest.approx(1, abs=0.12 if scale < 0.7 else 0.08)
        np.testing.assert_allclose(frame.truth[good], 100)
        assert np.isnan(frame.data[frame.mask]).all()

    @pytest.mark.parametrize('make', [
        lambda truth: observe_resampled(truth, kernel='lanczos3', n_exposures=2, readnoise=5, seed=1),
        lambda truth: observe_resampled(truth, rotation=0.05, readnoise=5, seed=1),
        lambda truth: observe_drizzled(truth, readnoise=5, seed=1),
        lambda truth: observe_smoothed(truth, readnoise=5, seed=1),
        lambda truth: observe_correlated_readout(truth, readnoise=15, seed=1)])
    def test_with_sources(self, make):
        truth = make_scene('survey', (160, 170), seed=4).truth
        frame = make(truth)
        assert frame.innovation.var() == pytest.approx(1, abs=0.05)
        # Sources are where they were, and keep their light.
        inner = (slice(12, -12),) * 2
        assert frame.truth[inner].sum() == pytest.approx(truth[inner].sum(), rel=2e-3)
        assert np.corrcoef(frame.truth[inner].ravel(), truth[inner].ravel())[0, 1] > 0.99

    def test_exposures_average(self):
        one, four = (observe_resampled(FLAT, n_exposures=n, readnoise=10, seed=2).noise for n in (1, 4))
        assert np.mean(one.variance(100) / four.variance(100)) == pytest.approx(4, rel=0.6)

    def test_random(self):
        variances = []
        for seed in range(16):
            observation = random_observation((96, 100), correlated=True, seed=seed)
            z = observation.innovation[~observation.defects]
            variances.append(z.var())
            assert abs(z.mean()) < 0.12
            assert observation.mask.mean() < 0.3
        assert np.mean(variances) == pytest.approx(1, abs=0.03)
        assert np.std(variances) < 0.06
        again = random_observation((96, 100), correlated=True, seed=seed)
        np.testing.assert_array_equal(again.data, observation.data)


class TestAutocorrelation:
    def test_smoothed(self):
        z = observe_smoothed(FLAT, sigma=(0.0, 0.7), seed=1).innovation
        # Of a Gaussian that smooths: a Gaussian of sqrt(2) times the width.
        kernel = np.exp(-0.5 * (np.arange(-4, 5) / 0.7) ** 2)
        expected = np.correlate(kernel, kernel, 'full')[9:11] / np.sum(kernel ** 2)
        assert autocorrelation(z, 0, 1) == pytest.approx(expected[0], abs=0.03)
        assert autocorrelation(z, 0, 2) == pytest.approx(expected[1], abs=0.03)
        assert autocorrelation(z, 1, 0) == pytest.approx(0, abs=0.03)

    def test_bilinear(self):
        # One exposure shifted by f has the weights 1 - f and f.
        frame = observe_resampled(FLAT, readnoise=30, seed=3)
        share = np.unique(np.round(frame.noise.sigma ** 2 / 30 ** 2, 12))
        assert share.size == 1
        z = frame.innovation
        rho = autocorrelation(z, 1, 0), autocorrelation(z, 0, 1)
        # (1 - 2p)(1 - 2q) is the share, p / (1 - 2p) and q / (1 - 2q) the correlations, p = f(1 - f).
        p, q = (r / (1 + 2 * r) for r in rho)
        assert (1 - 2 * p) * (1 - 2 * q) == pytest.approx(share[0], rel=0.04)
        assert max(abs(autocorrelation(z, 2, 0)), abs(autocorrelation(z, 0, 2))) < 0.03

    def test_drizzled(self):
        # Drops that fill their pixels, on pixels half as large: each is shared by two.
        z = observe_drizzled(FLAT, n_exposures=2, pixfrac=1.0, scale=0.5, seed=1).innovation
        assert 0.4 < autocorrelation(z, 0, 1) < 0.8
        fine = observe_drizzled(FLAT, n_exposures=9, pixfrac=0.6, scale=1.0, seed=1).innovation
        assert autocorrelation(fine, 0, 1) < 0.3

    def test_readout_along_rows(self):
        z = observe_correlated_readout(FLAT * 0, readnoise=10, length=0.7, seed=1).innovation
        kernel = np.exp(-0.5 * (np.arange(-4, 5) / 0.7) ** 2)
        expected = np.correlate(kernel, kernel, 'full')[9] / np.sum(kernel ** 2)
        assert autocorrelation(z, 0, 1) == pytest.approx(expected, abs=0.03)
        assert autocorrelation(z, 1, 0) == pytest.approx(0, abs=0.03)

    def test_measured_on_the_frame(self):
        frame = observe_smoothed(make_scene('survey', (256, 256), seed=3).truth, readnoise=5, sigma=(0.0, 0.5), seed=1)
        assert choose_hole(noise_autocorrelation(frame.data)) == (1, 3)


class TestDefects:
    defects = dict(cosmic_rays=5, hot_pixels=10, bad_columns=1)

    @pytest.mark.parametrize('make', [observe_resampled, observe_drizzled, observe_smoothed])
    def test_flagged_ones_do_no_harm(self, make):
        truth = np.full((80, 84), 100.0)
        frame = make(truth, readnoise=3, flagged='all', seed=2, **self.defects)
        assert np.abs(frame.innovation[~frame.mask]).max() < 6
        np.testing.assert_array_equal(frame.mask, frame.defects)

    @pytest.mark.parametrize('make', [observe_resampled, observe_drizzled, observe_smoothed])
    def test_others_are_known(self, make):
        truth = np.full((80, 84), 100.0)
        frame = make(truth, readnoise=3, seed=2, **self.defects)
        assert not frame.mask.any() and frame.defects.any()
        assert np.abs(frame.innovation[~frame.defects]).max() < 6 < np.abs(frame.innovation[frame.defects]).max()

    def test_mean_of_the_good_exposures(self):
        truth = np.full((80, 84), 100.0)
        frame = observe_drizzled(truth, n_exposures=6, flagged='all', seed=2, **self.defects)
        assert not frame.mask.any()
        lone = frame.noise.gain < 0.8 * np.median(frame.noise.gain)
        assert lone.any() and frame.innovation[lone].std() < 1.3

    def test_saturated_pixels_are_nowhere_good(self):
        truth = np.full((60, 60), 50.0)
        truth[29:32, 30:33] = 1e5
        for make in (observe_resampled, observe_drizzled):
            frame = make(truth, satlevel=3e4, flagged='saturated', seed=1)
            assert frame.mask[30, 31] and frame.mask.sum() < 80


@pytest.mark.parametrize('call, match', [
    (lambda: observe_resampled(FLAT, kernel='nearest'), "kernel must be one of 'bilinear', .* got 'nearest'"),
    (lambda: observe_resampled(FLAT, scale=0), 'scale must be positive, got 0'),
    (lambda: observe_drizzled(FLAT, n_exposures=0), 'n_exposures must be positive, got 0'),
    (lambda: observe_drizzled(FLAT, pixfrac=1.5), r'pixfrac must be in \(0, 1\], got 1.5'),
    (lambda: observe_smoothed(FLAT, sigma=-1), 'sigma must not be negative, got -1'),
    (lambda: observe_correlated_readout(FLAT, readnoise=-1), 'readnoise must not be negative, got -1'),
    (lambda: observe_smoothed(FLAT, flagged='dust'), "flagged must be 'all' or some of"),
])
def test_bad_arguments(call, match):
    with pytest.raises(ValueError, match=match):
        call()
