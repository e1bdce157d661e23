# Licensed under a 3-clause BSD style license - see LICENSE
"""Correlated noise that is whitened before the network sees it."""

import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.utils.exceptions import AstropyUserWarning
from hypothesis import given, settings
from hypothesis import strategies as st
from models import make_tiny_denoiser
from scipy.ndimage import binary_dilation, convolve, convolve1d, gaussian_filter

from astropy_n2v import Denoiser, NoiseModel, denoise, detection_image
from astropy_n2v.inference.normalization import Normalization, NormalizedImage
from astropy_n2v.inference.whitened_image import whiten_image
from astropy_n2v.inference.whitening_filter import Whitening
from astropy_n2v.simulate import make_scene

SHAPE = 192, 208
KERNELS = {
    'read-out': np.array([[0, 1, -0.209]]),
    'rows': np.array([[0, 1, 0.333]]),
    'bilinear': np.outer([0, 0.75, 0.25], [0, 0.75, 0.25]),
    'sharpened': np.array([[0, -0.1, 0], [-0.1, 1, -0.1], [0, -0.1, 0]]),
}

# An image moved by a third of a pixel and a half, by linear interpolation.
HALF = np.outer([1 / 3, 2 / 3, 0], [1 / 2, 1 / 2, 0])


def correlated(kernel, shape=SHAPE, seed=0):
    """Noise of unit variance and its exact autocorrelation."""
    kernel = np.atleast_2d(kernel)
    kernel = kernel / np.sqrt(np.sum(kernel ** 2))
    noise = convolve(np.random.default_rng(seed).normal(size=shape), kernel, mode='wrap')
    lags = np.zeros((9, 9))
    for dy in range(-4, 5):
        for dx in range(-4, 5):
            moved = np.zeros_like(kernel)
            ny, nx = kernel.shape
            if abs(dy) < ny and abs(dx) < nx:
                moved[max(dy, 0):ny + min(dy, 0), max(dx, 0):nx + min(dx, 0)] = \
                    kernel[max(-dy, 0):ny - max(dy, 0), max(-dx, 0):nx - max(dx, 0)]
            lags[4 + dy, 4 + dx] = np.sum(moved * kernel)
    return noise, lags


def lag(values, dy, dx):
    first, second = values[dy:, dx:], values[:values.shape[0] - dy, :values.shape[1] - dx]
    return np.mean(first * second) / np.mean(values ** 2)


@pytest.fixture(scope='module')
def denoiser():
    return Denoiser.load('default')


class TestFilter:
    @pytest.mark.parametrize('name', KERNELS)
    def test_noise_becomes_white(self, name):
        noise, rho = correlated(KERNELS[name], (400, 400))
        whitening = Whitening.find(rho, noise.size)
        white = whitening.filter(noise)
        white = white + whitening.lacking(white.shape)
        assert white.std() == pytest.approx(1, abs=0.02)
        for shift in (0, 1), (1, 0), (1, 1), (0, 2), (2, 0):
            assert abs(lag(white, *shift)) < 0.015

    @pytest.mark.parametrize('fwhm', [1.8, 2.8, 4.0])
    def test_noise_without_power_at_high_frequencies(self, fwhm):
        """Add the noise that an image smoothed by a beam lacks."""
        line = np.exp(-2 * np.log(2) * (np.arange(-24, 25) / fwhm) ** 2)
        noise = gaussian_filter(np.random.default_rng(1).normal(size=(400, 400)), fwhm / 2.3548, mode='wrap')
        noise /= noise.std()
        whitening = Whitening.find(line[:, None] * line[None, :], noise.size)
        only = whitening.filter(noise)
        assert abs(lag(only, 0, 1)) > 0.1
        white = only + whitening.lacking(only.shape)
        assert white.std() == pytest.approx(1, abs=0.06)
        assert max(abs(lag(white, 0, 1)), abs(lag(white, 1, 0)), abs(lag(white, 1, 1))) < 0.05

    @given(st.lists(st.floats(-0.45, 0.45), min_size=4, max_size=4), st.integers(0, 3))
    @settings(max_examples=25, deadline=None)
    def test_any_kernel(self, taps, seed):
        kernel = np.array([[0, 0, 0], [0, 1, taps[0]], [taps[1], taps[2], taps[3]]])
        noise, rho = correlated(kernel, (256, 256), seed)
        whitening = Whitening.find(rho, noise.size)
        if abs(rho[4, 6]) > abs(rho[4, 5]) or abs(rho[6, 4]) > abs(rho[5, 4]):
            return   # as pick-up, which is left alone
        if whitening is None:
            rho[4, 4] = 0
            assert np.sum(rho[np.abs(rho) > 0.015] ** 2) < 0.0125
            return
        assert whitening.power.min() > 0
        white = whitening.filter(noise)
        white = white + whitening.lacking(white.shape)
        assert white.std() == pytest.approx(1, abs=0.04)
        assert max(abs(lag(white, 0, 1)), abs(lag(white, 1, 0))) < 0.05

    def test_white_noise_is_left_alone(self):
        assert Whitening.find(None, 1000) is None
        rho = np.pad([[1.0]], 4)
        assert Whitening.find(rho, 10 ** 6) is None
        rho[4, [3, 5]] = 0.07
        assert Whitening.find(rho, 10 ** 6) is None
        rho[4, [3, 5]] = 0.08
        assert Whitening.find(rho, 10 ** 6) is not None
        # Of so few pixels this is known no better.
        assert Whitening.find(rho, 1000) is None

    def test_lags_that_cannot_be_used(self):
        with pytest.raises(ValueError, match=r'odd number of lags along each axis, got the shape \(3, 4\)'):
            Whitening.find(np.ones((3, 4)), 1000)
        # Of more lags than there are in the spectrum, the near ones count.
        line = np.exp(-2 * np.log(2) * (np.arange(-40, 41) / 4) ** 2)
        wide = Whitening.find(line[:, None] * line, 10 ** 6)
        near = Whitening.find((line[:, None] * line)[9:-9, 9:-9], 10 ** 6)
        np.testing.assert_array_equal(wide.kernel, near.kernel)

    def test_far_lags_are_structure(self):
        rho = np.pad([[1.0]], 4)
        rho[[0, 8], [4, 4]] = rho[[1, 7], [0, 8]] = 0.3
        assert Whitening.find(rho, 10 ** 6) is None
        # So is pick-up, which is correlated more with pixels two rows away than with the next ones.
        rho[[2, 6], 4], rho[[3, 5], 4] = 0.16, -0.12
        assert Whitening.find(rho, 10 ** 6) is None
        rho[4, [3, 5]] = 0.2
        found = Whitening.find(rho, 10 ** 6).correlation
        assert np.count_nonzero(found) == 3 and found[4, 3] > 0.15

    def test_weights_of_smooth_errors(self):
        """Sum the products of all pairs of pixels."""
        _, rho = correlated(HALF)
        whitening = Whitening.find(rho, 10 ** 6)
        weights, kernel = whitening.smooth_weights, whitening.inverse
        assert weights.shape == kernel.shape and weights.sum() == pytest.approx(1)
        y, x = np.indices(kernel.shape).reshape(2, -1)
        together = np.exp(-((y[:, None] - y) ** 2 + (x[:, None] - x) ** 2) / (4 * 1.5 ** 2))   # of errors
        by_pairs = kernel.ravel() * (together @ kernel.ravel())
        np.testing.assert_allclose(weights.ravel(), np.maximum(by_pairs, 0) / np.maximum(by_pairs, 0).sum(), atol=0.01)
        # Neighbours have a larger part than of independent errors.
        independent = kernel ** 2 / np.sum(kernel ** 2)
        middle = len(kernel) // 2
        assert weights[middle, middle + 1] > 1.5 * independent[middle, middle + 1]

    def test_the_data_come_back_where_nothing_is_removed(self):
        noise, rho = correlated(KERNELS['rows'])
        data = 1000 + 50 * noise
        image = NormalizedImage.prepare(data, NoiseModel(50.0, autocorrelation=rho))
        whitened = whiten_image(image)
        white = whitened.white
        # As of a measurement that says all.
        z, std = whitened.backward(white.data, np.ones(white.shape), np.ones(white.shape))
        inner = (slice(12, -12),) * 2
        np.testing.assert_allclose(image.backward(z)[inner], data[inner], atol=1e-3)
        np.testing.assert_allclose(std[inner], np.sqrt(image.noise_variance(0.0)), rtol=0.03)


class TestResult:
    def observed(self, kind, seed, kernel):
        scene = make_scene(kind, SHAPE, seed=seed)
        noise, rho = correlated(KERNELS[kernel], seed=seed + 1)
        sigma = np.sqrt(np.maximum(scene.truth, 0) + scene.readnoise ** 2)
        return scene, scene.truth + noise * sigma, sigma, NoiseModel(scene.readnoise, gain=1.0, autocorrelation=rho)

    @pytest.mark.parametrize('kernel', KERNELS)
    @pytest.mark.parametrize('kind', ['survey', 'nebula'])
    def test_better_than_without_and_with_honest_errors(self, kind, kernel, denoiser):
        scene, data, sigma, noise = self.observed(kind, 60, kernel)
        result, without = (denoiser.predict(data, noise, whiten=whiten) for whiten in (True, False))
        error, other = (np.sqrt(np.mean(((r.mean - scene.truth) / sigma) ** 2)) for r in (result, without))
        # Where neighbours have opposite noise, an average of them is better than of white noise in any case.
        assert error < (0.7 if kernel == 'bilinear' and kind == 'survey' else 1.03) * other
        assert result.whitening is not None and result.audit.worst != 'refusal'
        pull = (result.mean - scene.truth) / result.std
        assert 0.6 < np.sqrt(np.mean(pull ** 2)) < 1.4
        border = np.ones(SHAPE, dtype=bool)
        border[3:-3, 3:-3] = False
        assert 0.6 < np.sqrt(np.mean(pull[border] ** 2)) < 1.4

    @pytest.mark.parametrize('kernel', ['rows', 'bilinear'])
    def test_errors_at_edges(self, kernel, denoiser):
        """The network, which took the border of the filter for masked pixels, was too certain beside it."""
        squares = []
        for seed in range(66, 70):
            scene, data, _, noise = self.observed('survey', seed, kernel)
            result = denoiser.predict(data, noise)
            squares.append(((result.mean - scene.truth) / result.std) ** 2)
        inner = np.pad(np.ones([n - 2 for n in SHAPE], bool), 1)
        outermost, near = ~inner, ~np.pad(np.ones([n - 6 for n in SHAPE], bool), 3)
        pulls = [np.sqrt(np.mean(np.array(squares)[:, where])) for where in (outermost, near)]
        assert 0.75 < pulls[0] < 1.1 and 0.75 < pulls[1] < 1.2

    def test_network_sees_the_frame_alone(self):
        noise, rho = correlated(HALF)
        whitened = whiten_image(NormalizedImage.prepare(noise, NoiseModel(1.0, autocorrelation=rho)))
        np.testing.assert_array_equal(whitened.frame.data, whitened.inside(whitened.white.data))
        beyond = whitened.beyond(np.arange(noise.size, dtype=np.float32).reshape(SHAPE))
        assert beyond.shape == whitened.white.shape
        assert np.all(beyond[:whitened.pad + 1, :whitened.pad + 1] == 0) and beyond[-1, -1] == noise.size - 1

    def test_masked_pixels_cost_little(self, denoiser):
        scene, data, sigma, noise = self.observed('survey', 61, 'bilinear')
        before = denoiser.predict(data, noise).mean
        cost = []
        for seed in range(4):
            mask = np.random.default_rng(seed).random(SHAPE) < 0.01
            after = denoiser.predict(np.where(mask, 1e6, data), noise, mask)
            cost.append(np.sqrt(np.mean(((after.mean - scene.truth) / sigma)[~mask] ** 2)
                                / np.mean(((before - scene.truth) / sigma)[~mask] ** 2)))
            near = binary_dilation(mask, iterations=3) & ~mask
            assert 0.6 < np.sqrt(np.mean(((after.mean - scene.truth) / after.std)[near] ** 2)) < 1.35
            assert np.abs((after.mean - scene.truth) / sigma)[mask].max() < 5
        assert np.mean(cost) < 1.05

    def test_single_pixels_are_not_spread(self, denoiser):
        scene, data, sigma, noise = self.observed('survey', 62, 'rows')
        plain = denoiser.predict(data, noise)
        hot = np.zeros(SHAPE, dtype=bool)
        hot[np.random.default_rng(6).integers(8, 180, (2, 40)).tolist()[0],
            np.random.default_rng(7).integers(8, 180, 40)] = True
        struck = np.where(hot, data + 80 * sigma, data)
        result = denoiser.predict(struck, noise)
        # Two of them side by side are no single ones, and go through the filter.
        np.testing.assert_allclose(result.mean[hot], struck[hot], rtol=3e-3)
        near = binary_dilation(hot, iterations=4) & ~hot
        errors = [np.sqrt(np.mean(((r.mean - scene.truth) / sigma)[near] ** 2)) for r in (plain, result)]
        assert errors[1] < 1.5 * errors[0]

    def test_noisier_pixels_are_not_spread(self, denoiser):
        scene, data, sigma, noise = self.observed('survey', 63, 'rows')
        noisy = np.random.default_rng(8).random(SHAPE) < 0.01
        factor = np.where(noisy, 10.0, 1.0)
        data = scene.truth + factor * (data - scene.truth)
        deviation = np.sqrt(scene.sky + scene.readnoise ** 2) * factor
        result = denoiser.predict(data, NoiseModel(deviation, autocorrelation=noise.autocorrelation))
        error = (result.mean - scene.truth) / sigma
        near = binary_dilation(noisy, iterations=2) & ~noisy
        far = ~binary_dilation(noisy, iterations=2)
        assert np.sqrt(np.mean(error[near] ** 2)) < 1.6 * np.sqrt(np.mean(error[far] ** 2))
        assert np.sqrt(np.mean(error[noisy] ** 2)) < 2

    @pytest.mark.parametrize('junk', [1e6, 1e30, 1e45])
    def test_junk_errors_are_not_spread(self, junk, denoiser):
        """Add noise to the whitened image without unknown pixels drowning their neighbours."""
        line = np.exp(-2 * np.log(2) * (np.arange(-4, 5) / 1.8) ** 2)
        noise = gaussian_filter(np.random.default_rng(1).normal(size=SHAPE), 1.8 / 2.3548, mode='wrap')
        data = 200 + 5 * noise / noise.std()
        bad = np.random.default_rng(2).random(SHAPE) < 0.01
        model = NoiseModel(np.where(bad, junk, 5.0), autocorrelation=line[:, None] * line)
        data[bad] = 1e5
        data[20, 30], data[50, 60] = np.inf, np.nan
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            result = denoiser.predict(data, model)
        bad[20, 30] = bad[50, 60] = True
        assert np.isfinite(result.mean).all() and np.isfinite(result.std).all()
        assert np.sqrt(np.mean((result.mean - 200)[~bad] ** 2)) < 0.1 * 5
        assert np.abs(result.mean - 200)[binary_dilation(bad, iterations=3) & ~bad].max() < 5 * 5

    def test_bright_undersampled_stars_keep_their_flux(self, denoiser):
        rng = np.random.default_rng(9)
        truth = np.full(SHAPE, 400.0)
        y, x = np.indices(SHAPE)
        stars = [(12 + 24 * i + rng.uniform(-0.5, 0.5), 12 + 24 * j + rng.uniform(-0.5, 0.5))
                 for i in range(7) for j in range(8)]
        for b, a in stars:
            truth += 6000 * np.exp(-((y - b) ** 2 + (x - a) ** 2) / 2 / 0.55 ** 2)   # a FWHM of 1.3 pixels
        noise, rho = correlated(KERNELS['read-out'])
        data = truth + noise * np.sqrt(truth)
        result = denoiser.predict(data, NoiseModel(0.0, gain=1.0, autocorrelation=rho))
        ratios = []
        for b, a in stars:
            near = (abs(y - b) < 4) & (abs(x - a) < 4)
            ratios.append((result.mean - truth)[near].sum() / (truth - 400)[near].sum())
        assert abs(np.mean(ratios)) < 0.01
        core = truth > 1000
        assert np.sqrt(np.mean(((result.mean - truth) / np.sqrt(truth))[core] ** 2)) < 1.05

    def test_bright_stars_at_edges_and_masks(self, denoiser):
        """Half of a star is beyond the edge, or in a mask: of that, no filter and no network know."""
        y, x = np.indices(SHAPE)
        truth = np.full(SHAPE, 400.0)
        for b, a in ((0, 60), (100, 207), (191.4, 30), (1.5, 120), (60, 60), (120, 80), (3, 3)):
            truth += 5000 * np.exp(-((y - b) ** 2 + (x - a) ** 2) / 2 / 1.4 ** 2)
        mask = np.zeros(SHAPE, dtype=bool)
        mask[60:64, 58:66] = mask[118:124, 80:90] = True
        for kernel in KERNELS:
            noise, rho = correlated(KERNELS[kernel])
            data = truth + noise * np.sqrt(truth)
            for model in NoiseModel(0.0, gain=1.0, autocorrelation=rho), NoiseModel(20.0, autocorrelation=rho):
                result = denoiser.predict(data, model, mask)
                error = (result.mean - truth)[~mask] / np.sqrt(truth[~mask])
                assert np.abs(error).max() < 7
                assert np.sqrt(np.mean(error[truth[~mask] > 1000] ** 2)) < 1.2

    def near_unknown(self, mask):
        """Select pixels at the edges or beside masked ones."""
        inside = np.pad(~mask, 1)
        return binary_dilation(~inside, iterations=2)[1:-1, 1:-1] & ~mask

    def test_noise_beside_edges_and_masks_is_no_star(self, denoiser):
        """Two or three high pixels of an image moved by half a pixel were taken for one, and came back as measured."""
        mask = np.random.default_rng(3).random(SHAPE) < 0.01
        near, ratios = self.near_unknown(mask), []
        for seed in range(3):
            noise, rho = correlated(HALF, seed=80 + seed)
            data = 200 + 5 * noise
            result = denoiser.predict(data, NoiseModel(5.0, autocorrelation=rho), mask)
            assert result.whitening is not None and not np.any((result.mean == data)[near])
            error = (result.mean - 200) / 5
            # Half of their surroundings, or a part, is unknown.
            ratios.append(error[near].std() / error[~near & ~mask].std())
            assert ratios[-1] < 1.5
            significance = detection_image(CCDData(result.mean, unit='adu', mask=mask,
                                                   uncertainty=StdDevUncertainty(result.std)), 3.2).data
            significance[2:-2, 2:-2] = 0
            assert significance.max() < 12
        # White noise: 1.06.
        assert np.sqrt(np.mean(np.square(ratios))) < 1.2

    def test_photon_noise_beside_masks_is_no_star(self):
        """Expect five times the scatter around a masked pixel where the noise is five times as large as on the sky."""
        truth = np.where(np.arange(SHAPE[1]) < 130, 400.0, 10_000.0) * np.ones(SHAPE)
        noise, rho = correlated(HALF, seed=84)
        mask = np.random.default_rng(4).random(SHAPE) < 0.01
        mask[:, 120:140] = False
        image = NormalizedImage(truth + noise * np.sqrt(truth), ~mask, NoiseModel(0.0, gain=1.0, autocorrelation=rho),
                                Normalization(400.0, 20.0))
        whitened = whiten_image(image)
        assert not whitened.inside(whitened.unreliable)[:, 150:].any()
        # The error of the local mean is that many times larger, too.
        added = whitened.inside(whitened.added)
        assert added[:, 150:].max() == pytest.approx(25 * added[:, :100].max(), rel=0.3)

    def test_errors_beside_pixels_that_come_back_as_measured(self, denoiser):
        """Count the noise that stays in neighbours, too, as far as the way back mixes them."""
        noise, rho = correlated(HALF)
        y, x = np.indices(SHAPE)
        data = 400 + 20 * noise + 6000 * np.exp(-((y - 100) ** 2 + x ** 2) / 2 / 1.4 ** 2)
        whitened = whiten_image(NormalizedImage.prepare(data, NoiseModel(20.0, autocorrelation=rho)))
        assert whitened.inside(whitened.unreliable)[100, 0]
        white = whitened.white
        std = np.full(white.shape, 0.05, dtype=np.float32)
        _, std = whitened.backward(np.zeros_like(std), std, np.ones_like(std))
        last = np.flatnonzero(whitened.inside(whitened.unreliable)[100])[-1]
        weights = whitened.whitening.inverse[len(whitened.whitening.inverse) // 2]
        beside = weights[len(weights) // 2 + 1] / np.sqrt(np.sum(whitened.whitening.inverse ** 2))
        assert std[100, last] == pytest.approx(1, abs=0.1) and std[100, last + 1] > 0.8 * beside
        assert std[100, 60] < 0.2

    def test_unknown_pixels_of_which_the_prediction_says_nothing(self):
        """They keep the local mean that the filter saw."""
        noise, rho = correlated(HALF)
        y, x = np.indices(SHAPE)
        data = 100 + noise + 15 * np.exp(-((y - 80) ** 2 + (x - 90) ** 2) / 2 / 4 ** 2)
        mask = np.zeros(SHAPE, dtype=bool)
        mask[80, 90] = True
        whitened = whiten_image(NormalizedImage.prepare(data, NoiseModel(1.0, autocorrelation=rho), mask))
        white = whitened.white
        zero = np.zeros(white.shape, dtype=np.float32)
        pixel = whitened.inside(white.data - whitened.lacking)[80, 90]
        for spread, share in (0, 0), (1, 0.5), (1e4, 1):
            std = np.where(white.valid, 0, np.float32(spread))
            z, error = whitened.backward(zero, std, zero + 1)
            assert z[80, 90] == pytest.approx(share * whitened.whitening.inverse.max() * pixel, abs=0.05)
            assert np.isfinite(error).all()

    def test_strength_and_tiles(self, denoiser):
        scene, data, sigma, noise = self.observed('survey', 64, 'bilinear')
        data, sigma = np.tile(data, (2, 2)), np.tile(sigma, (2, 2))
        whole, tiled = (denoiser.predict(data, noise, tile_size=size, audit=False) for size in (None, 304))
        assert np.abs(whole.mean - tiled.mean).max() < 5e-5 * np.median(sigma)
        none, half = (denoiser.predict(data, noise, strength=s, audit=False) for s in (0.0, 0.5))
        np.testing.assert_array_equal(none.mean, data)
        np.testing.assert_allclose(none.std, none.noise_std, rtol=1e-6)
        np.testing.assert_allclose(half.mean, 0.5 * (data + whole.mean), rtol=1e-9)
        assert np.all(half.std <= none.std * (1 + 1e-9)) and np.all(half.std >= 0.999 * whole.std)

    def test_a_model_of_its_own_hole_is_applied_as_it_was_trained(self):
        scene, data, sigma, noise = self.observed('survey', 65, 'bilinear')
        other = make_tiny_denoiser((3, 3))
        assert not other.whitens and other.predict(data, noise).whitening is None


class TestDenoise:
    def frame(self, kernel, seed=70, unit='adu'):
        scene = make_scene('survey', SHAPE, seed=seed)
        noise, _ = correlated(KERNELS[kernel], seed=seed)
        return scene, CCDData(scene.truth + noise * np.sqrt(scene.truth + scene.readnoise ** 2), unit='electron')

    def test_header_says_it(self):
        _, ccd = self.frame('rows')
        result, parts = denoise(ccd, full_output=True)
        header = result.header
        assert header['N2VHOLE'] == '1x1' and header['N2VRHOX'] == pytest.approx(0.3, abs=0.05)
        assert abs(header['N2VRHOY']) < 0.05 and 'whitened image' in str(header['HISTORY'])
        assert parts.whitening is not None and parts.blind_mean.shape == SHAPE
        assert 0.8 < header['N2VZRMS'] < 1.2

    def test_a_hole_that_is_given_whitens_nothing(self):
        _, ccd = self.frame('rows')
        for model, hole, used in (('default', 1, '1x1'), (make_tiny_denoiser((1, 3)), (1, 3), '1x3')):
            with warnings.catch_warnings():
                warnings.simplefilter('ignore', AstropyUserWarning)
                header = denoise(ccd, model, hole=hole, audit='warn').header
            assert header['N2VHOLE'] == used and 'N2VRHOX' not in header

    def test_few_photons_are_warned_of(self):
        """Resampled counts are not whitened; the audit says so."""
        counts = np.random.default_rng(4).poisson(0.02, SHAPE).astype(float)
        data = convolve1d(convolve1d(counts, [0, 0.75, 0.25], axis=0), [0, 0.75, 0.25], axis=1)
        with pytest.warns(AstropyUserWarning, match='the noise is correlated'):
            header = denoise(CCDData(data, unit='adu'), noise=NoiseModel(0.0, gain=1.6), audit='warn').header
        assert 'N2VRHOX' not in header

    def test_planes_and_masked_pixels(self):
        _, first = self.frame('rows')
        _, second = self.frame('rows', seed=71)
        data = np.stack([first.data, second.data])
        data[0, 20, 30] = np.nan
        result = denoise(CCDData(data, unit='adu'))
        assert np.isnan(result.data[0, 20, 30]) and np.isfinite(result.data).sum() == data.size - 1
        single, parts = denoise(second, full_output=True)
        # All planes have one filter, from the median of their autocorrelations.
        assert np.std(result.data[1] - single.data) < 0.2 * np.median(parts.noise_std)

    @pytest.mark.parametrize('model', ['self', 'adapt'])
    def test_models_of_the_frame(self, model):
        scene, ccd = self.frame('rows')
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', AstropyUserWarning)
            result, parts = denoise(ccd, model, max_steps=2, batch_size=1, patch_size=64, full_output=True,
                                    audit='warn')
        assert parts.whitening is not None and result.header['N2VHOLE'] == '1x1'

    def test_integers_of_other_byte_orders(self):
        scene, ccd = self.frame('read-out')
        whole = np.round(ccd.data).astype('>i4')
        result = denoise(whole)
        assert result.dtype == np.float32 and result.shape == SHAPE
        np.testing.assert_allclose(result, denoise(whole.astype('<i4')), rtol=1e-6)

    def test_faint_stars_of_a_real_frame_are_no_rings(self, data_path):
        """Stars known from other exposures, stacked."""
        frames = [fits.getdata(data_path / 'sfft_decam' / f'DEC-OBS18{letter}.mini.fits') for letter in 'abcde']
        stacks = []
        for i, frame in enumerate(frames):
            others = np.mean(frames[:i] + frames[i + 1:], axis=0)
            sigma = 1.4826 * np.median(np.abs(frame - np.median(frame)))
            smooth = gaussian_filter(others, 1)
            peak = (smooth == convolve_max(smooth)) & (smooth > 1.0 * sigma) & (smooth < 5 * sigma)
            peak[:8] = peak[-8:] = peak[:, :8] = peak[:, -8:] = False
            with warnings.catch_warnings():
                warnings.simplefilter('ignore', AstropyUserWarning)
                result = denoise(frame)
            stacks.append(np.mean([[image[y - 3:y + 4, x - 3:x + 4] for image in (result, others)]
                                   for y, x in np.argwhere(peak)], axis=0))
        for star in np.mean(stacks, axis=0):
            star = star - np.median(np.concatenate([star[0], star[-1]]))
            near = np.mean([star[2, 3], star[4, 3], star[3, 2], star[3, 4]])
            diagonal = np.mean([star[2, 2], star[4, 4], star[2, 4], star[4, 2]])
            assert star[3, 3] > near > diagonal > 0


def convolve_max(values):
    """Take the largest value of 3x3 pixels."""
    padded = np.pad(values, 1, mode='edge')
    return np.max([padded[dy:dy + values.shape[0], dx:dx + values.shape[1]] for dy in range(3) for dx in range(3)],
                  axis=0)


def test_masked_pixels_without_a_photon_around():
    """Without read noise, a pixel that no photon is expected in has no noise, against which structure is measured."""
    noise, lags = correlated(KERNELS['rows'])
    truth = np.where(np.arange(SHAPE[0]) < 40, 0.0, 100.0)[:, None]
    mask = np.zeros(SHAPE, dtype=bool)
    mask[10:14, 50:54] = True
    noise_model = NoiseModel(0.0, gain=1.0, autocorrelation=lags)
    image = NormalizedImage.prepare(truth + np.sqrt(truth) * noise, noise_model, mask)
    whitened = whiten_image(image)
    assert np.isfinite(whitened.white.data).all() and np.isfinite(whitened.white.noise.sigma).all()
