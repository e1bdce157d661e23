# Licensed under a 3-clause BSD style license - see LICENSE
"""
The spread of a network that learned from a single frame, and what it is made from.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import make_tiny_denoiser
from scipy.ndimage import convolve, convolve1d

from astropy_n2v import Denoiser, NoiseModel, noise_autocorrelation
from astropy_n2v.denoiser import SelfTrained
from astropy_n2v.inference.bootstrap import SpreadCorrection, bootstrap_spread, correlated_normal
from astropy_n2v.inference.normalization import NormalizedImage
from astropy_n2v.simulate import make_scene
from astropy_n2v.utils.sampling import middle_cutout


def rms(values):
    return np.sqrt(np.mean(np.square(values)))


class TestSpreadCorrection:
    def fit(self, rng, slope, least, scatter=0.7, n=40_000):
        mean, noise = rng.exponential(3, n), np.full(n, 4.0)
        spread = 0.3 * rng.lognormal(0, scatter, n)
        true = np.sqrt(slope * spread ** 2 + least * noise)
        correction = SpreadCorrection.fit(true * rng.normal(size=n), mean, spread, noise)
        return true, correction.apply(mean, spread, noise)

    @pytest.mark.parametrize('slope, least', [(1.0, 0.0), (0.3, 0.01), (4.0, 0.001), (0.0, 0.02)])
    def test_true_spread_is_found(self, rng, slope, least):
        true, found = self.fit(rng, slope, least)
        assert np.median(np.abs(found / true - 1)) < 0.05
        assert rms(true / found) == pytest.approx(1, abs=0.05)

    def test_parts_differ_by_brightness(self, rng):
        mean = np.repeat([0.0, 100.0], 20_000) + rng.normal(size=40_000)
        true = np.where(mean < 50, 0.1, 2.0)
        ones = np.ones(mean.size)
        found = SpreadCorrection.fit(true * rng.normal(size=mean.size), mean, ones, ones).apply(mean, ones, ones)
        # Between the brightest sky and the faintest star it is interpolated.
        assert np.quantile(np.abs(found / true - 1), 0.9) < 0.15

    def test_few_pixels_say_nothing(self, rng):
        assert SpreadCorrection.fit(*rng.uniform(1, 2, (4, 150))) is None

    def test_no_error_at_all(self):
        """Accept a frame of constants that are predicted exactly."""
        ones = np.ones(500)
        found = SpreadCorrection.fit(0 * ones, ones, ones, ones).apply(ones, ones, ones)
        assert np.isfinite(found).all() and found.max() < 0.1


class TestNoise:
    def test_correlation_is_as_asked_for(self, rng):
        profile = np.array([0.0, 0.3, 1.0, 0.3, 0.0])
        noise = correlated_normal(np.outer(profile, profile), (300, 401), rng)
        assert noise.shape == (300, 401) and noise.std() == pytest.approx(1, abs=0.02)
        assert np.mean(noise[:, 1:] * noise[:, :-1]) == pytest.approx(0.3, abs=0.02)
        assert np.mean(noise[1:, 1:] * noise[:-1, :-1]) == pytest.approx(0.09, abs=0.02)
        # Opposite edges are no neighbours.
        assert abs(np.mean(noise[0] * noise[-1])) < 4 / np.sqrt(401)

    @given(st.integers(1, 3), st.tuples(st.integers(1, 12), st.integers(1, 12)))
    @settings(max_examples=20, deadline=None)
    def test_any_shape(self, reach, shape):
        correlation = np.full((2 * reach + 1,) * 2, 0.4)
        correlation[reach, reach] = 1
        noise = correlated_normal(correlation, shape, np.random.default_rng(1))
        assert noise.shape == shape and np.isfinite(noise).all()

    def test_sample_has_the_variance_of_the_model(self, rng):
        signal = np.repeat([100.0, 101.0, 150.0], 40_000).reshape(3, -1)
        noise = NoiseModel(2.0, gain=np.array([[0.5], [2.0], [4.0]]), zero_point=100.0)
        data = noise.sample(signal, rng)
        np.testing.assert_allclose(data.mean(axis=1), signal[:, 0], atol=0.1)
        np.testing.assert_allclose(data.var(axis=1), noise.variance(signal)[:, 0], rtol=0.03)

    def test_sample_counts_photons(self):
        data = NoiseModel(0.0, gain=2.0, zero_point=-1.0).sample(np.full((50, 50), -0.8), seed=3)
        np.testing.assert_array_equal(np.unique(np.round((data + 1) * 2, 9)) % 1, 0)
        # Below the zero point there is no light.
        np.testing.assert_array_equal(NoiseModel(0.0, gain=2.0).sample(np.full(9, -5.0), seed=3), -5.0)

    def test_sample_beyond_counting(self):
        data = NoiseModel(0.0, gain=1.0).sample(np.full(4000, 1e24), seed=1)
        assert (data - 1e24).std() == pytest.approx(1e12, rel=0.1)

    def test_sample_of_any_shape(self):
        assert NoiseModel(1.0, gain=1.0).sample(100.0, seed=0).shape == ()
        for noise in NoiseModel(np.ones((3, 1))), NoiseModel(1.0, gain=np.ones((3, 1))):
            data = noise.sample(np.full(4, 100.0), seed=0)
            assert data.shape == (3, 4) and np.unique(data).size > 3
        assert np.isnan(NoiseModel(1.0, gain=1.0).sample([np.nan, 3.0], seed=0)).tolist() == [True, False]

    def test_variance_of_what_is_no_correlation(self, rng):
        profile = np.array([0.8, 1.0, 0.8])
        noise = correlated_normal(np.outer(profile, profile), (200, 200), rng)
        assert noise.std() == pytest.approx(1, abs=0.05)

    def test_seed(self):
        noise, signal = NoiseModel(1.0, gain=1.0), np.full((5, 5), 3.0)
        np.testing.assert_array_equal(noise.sample(signal, 7), noise.sample(signal, 7))
        assert (noise.sample(signal, 7) != noise.sample(signal, 8)).any()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 50), st.integers(0, 1600))
def test_cutout_lies_inside_around_what_counts(height, width, size, chosen):
    counts = np.zeros((height, width), dtype=bool)
    pixel = np.unravel_index(chosen % counts.size, counts.shape)
    counts[pixel] = True
    part = counts[middle_cutout(counts, size)]
    assert part.shape == (min(size, height), min(size, width)) and part.any()


class TestWrongSpread:
    """The wrong errors that a network states for its training frame are corrected."""

    def denoiser(self, name, factor):
        denoiser = Denoiser.load(name)
        with torch.no_grad():
            denoiser.network.head[-1].bias[1] += np.log(factor)
        return SelfTrained(denoiser.network, denoiser.metadata)

    @pytest.mark.parametrize('factor', [0.3, 3.0])
    def test_white_noise(self, factor):
        scene = make_scene('survey', (128, 160), seed=4)
        data, held_out = scene.observe(seed=5).data, np.random.default_rng(6).random((128, 160)) < 0.1
        denoiser = self.denoiser('default', factor)
        pull = [rms((result.mean - scene.truth) / result.std) for result in (
            denoiser.predict(data, scene.noise, held_out=kept, calibrate=False) for kept in (None, held_out))]
        assert not 0.6 < pull[0] < 1.6
        assert 0.75 < pull[1] < 1.3

    def test_correlated_noise(self, rng):
        scene = make_scene('survey', (128, 160), seed=4)
        noise = rng.normal(size=scene.truth.shape)
        for axis in 0, 1:
            noise = convolve1d(noise, [0.25, 0.5, 0.25], axis=axis, mode='wrap')
        sigma = np.sqrt(scene.noise.variance(scene.sky))
        data = scene.truth + sigma * noise / noise.std()
        correlation = noise_autocorrelation(data)
        assert correlation[4, 5] > 0.3
        result = self.denoiser('default', 0.3).predict(data, NoiseModel(sigma, autocorrelation=correlation),
                                                       held_out=rng.random(data.shape) < 0.1, calibrate=False)
        assert 0.7 < rms((result.mean - scene.truth) / result.std) < 1.3

    @pytest.mark.parametrize('hole, shared', [((1, 1), 0.0), ((3, 3), 0.5)])
    def test_a_larger_hole_is_for_correlated_noise(self, hole, shared, rng):
        noise = rng.normal(size=(129, 161))
        noise = (noise[1:, 1:] + noise[1:, :-1] + noise[:-1, 1:] + noise[:-1, :-1]) / 2
        around = np.pad(np.zeros((3, 3)), 1, constant_values=1 / 16)
        seen = []

        def predict(image):
            seen.append(image.values())
            return convolve(seen[-1], around, mode='wrap'), np.full(image.shape, 0.1)

        image = NormalizedImage.prepare(100 + 5 * noise, NoiseModel(5.0))
        mean, spread = predict(image)
        found = np.median(bootstrap_spread(image, mean, spread, hole, predict))
        drawn = seen[1] - mean
        assert np.mean(drawn[:, 1:] * drawn[:, :-1]) / drawn.var() == pytest.approx(shared, abs=0.05)
        if shared:
            assert found == pytest.approx(rms(mean), rel=0.15)

    def test_transients_and_masked_pixels_do_not_count(self, rng):
        data = rng.poisson(100.0, (96, 96)).astype(float)
        spoilt = data.copy()
        spoilt[20, 30], spoilt[50:60, 40:50] = 5e3, np.nan
        noise, held_out = NoiseModel(1.0, gain=1.0), rng.random((96, 96)) < 0.1
        denoiser = self.denoiser('default', 3.0)
        stds = [denoiser.predict(image, noise, held_out=held_out).std for image in (data, spoilt)]
        far = np.ones(data.shape, dtype=bool)
        far[10:30, 20:40] = far[45:65, 35:55] = False
        assert np.median(stds[1][far]) == pytest.approx(np.median(stds[0][far]), rel=0.25)
        assert np.isfinite(stds[1]).all()

    def test_photons_alone(self, rng):
        """Without read noise there is no noise at all where no light is expected."""
        truth = np.full((64, 64), 0.02)
        truth[30:33, 30:33] += 20
        result = self.denoiser('default', 1.0).predict(rng.poisson(truth).astype(float), NoiseModel(0.0, gain=1.0),
                                                       held_out=rng.random(truth.shape) < 0.1)
        assert np.isfinite(result.mean).all() and np.isfinite(result.std).all()

    def test_nothing_to_measure_a_correlation_on(self, rng):
        data = np.full((32, 32), np.nan)
        data[7, 9] = 3.0
        model = SelfTrained(make_tiny_denoiser((3, 3)).network)
        result = model.predict(data, NoiseModel(1.0), held_out=np.isfinite(data))
        assert np.isfinite(result.std[7, 9])

    def test_extreme_pixel_breaks_nothing(self, rng):
        data = rng.poisson(100.0, (64, 64)).astype(float)
        data[30, 30] = 1e30
        result = self.denoiser('default', 3.0).predict(data, NoiseModel(1.0, gain=1.0),
                                                       held_out=rng.random(data.shape) < 0.1)
        assert np.isfinite(result.std).all() and result.mean[30, 30] == pytest.approx(1e30)
