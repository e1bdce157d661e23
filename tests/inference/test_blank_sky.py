# Licensed under a 3-clause BSD style license - see LICENSE
"""
The spread on a sky without sources: smaller where neighbouring pixels say so, and only there.
"""

import numpy as np
import pytest
from astropy.io import fits
from scipy.ndimage import gaussian_filter

from astropy_n2v import Denoiser, NoiseModel
from astropy_n2v.inference.blank_sky import blank_fraction, variance_factor
from astropy_n2v.inference.normalization import NormalizedImage
from astropy_n2v.inference.recalibration import Recalibration
from astropy_n2v.simulate import make_scene

SHAPE = 400, 420


@pytest.fixture(scope='module')
def default():
    return Denoiser.load('default')


def sky(light, seed=0, fwhm=2.5):
    """Light of faint sources of a given rms, in units of the noise, and what is observed of it."""
    rng = np.random.default_rng(seed)
    truth = gaussian_filter(rng.normal(size=SHAPE), fwhm / 2.355)
    truth *= light / truth.std()
    return truth, truth + rng.normal(size=SHAPE)


def factor_of(data, mean, spread=0.1):
    image = NormalizedImage.prepare(data, NoiseModel(1.0))
    return variance_factor(image, image.scaling.forward(mean), np.full(data.shape, spread), Recalibration.neutral())


class TestFactor:
    @pytest.mark.parametrize('rms', [0.03, 0.05, 0.08])
    def test_is_that_of_the_errors_where_there_is_no_light(self, rms):
        _, data = sky(0)
        wrong = rms * gaussian_filter(np.random.default_rng(1).normal(size=SHAPE), 2) / 0.141
        factor, weight = factor_of(data, wrong)
        assert weight == 1
        # Never too small, and too large by no more than light that neighbours do not rule out.
        assert (rms / 0.1) ** 2 * 0.9 < factor < (rms / 0.1) ** 2 + 0.25

    def test_light_that_is_not_foreseen_counts(self):
        truth, data = sky(0.05)
        factor, weight = factor_of(data, 0 * truth)
        assert weight > 0.5 and 0.15 < factor < 0.5   # 0.25 is right

    def test_of_nothing_at_all(self):
        factor, weight = factor_of(sky(0)[1], np.zeros(SHAPE))
        assert weight == 1 and 0.1 <= factor < 0.4

    def test_sky_with_sources_stays_as_it_is(self):
        truth, data = sky(0.1, fwhm=4)
        # A third of the light is foreseen.
        factor, weight = factor_of(data, 0.35 * truth)
        assert weight < 0.2

    def test_too_little_sky(self):
        _, data = sky(0)
        assert factor_of(data[:50, :50], np.zeros((50, 50))) == (1.0, 0.0)
        bright = np.zeros(SHAPE)
        bright[::10, ::10] = 20
        assert factor_of(data + bright, bright) == (1.0, 0.0)

    def test_sources_of_single_pixels(self):
        """Neighbours share nothing of them, so that nothing is known of fainter ones."""
        _, data = sky(0)
        mean = 0.05 * gaussian_filter(np.random.default_rng(1).normal(size=SHAPE), 2) / 0.141
        sharp = mean.copy()
        sharp[::50, ::50] = 20
        assert factor_of(data + sharp - mean, sharp)[0] > factor_of(data, mean)[0] + 0.2

    def test_masked_and_infinite_pixels_do_not_count(self):
        _, data = sky(0)
        mean = 0.05 * gaussian_filter(np.random.default_rng(1).normal(size=SHAPE), 2) / 0.141
        expected = factor_of(data, mean)
        data[::40] = np.nan
        data[:, 7] = np.inf
        assert np.abs(np.subtract(factor_of(data, mean), expected)).max() < 0.1


class TestShare:
    def test_of_sources_and_their_surroundings(self):
        mean = np.zeros((60, 60))
        mean[30, 30], mean[5, 50] = 5.0, 0.75
        share = blank_fraction(mean)
        assert share[30, 38] == 0 and share[30, 39] == 1 and share[5, 50] == share[10, 45] == 0.5

    def test_calibration_follows_it(self):
        mean = np.zeros((40, 60))
        mean[20, 5] = 10
        ones = np.ones(mean.shape)
        recalibration = Recalibration(np.zeros(1), np.zeros(1), np.full(1, 4.0), 1.0, blank_sky=(0.25, 1.0))
        _, spread = recalibration.apply(mean, ones, ones)
        assert spread[20, 50] == 0.5 and spread[20, 5] == 2
        half = Recalibration(np.zeros(1), np.zeros(1), np.full(1, 4.0), 1.0, blank_sky=(0.25, 0.5))
        np.testing.assert_allclose(half.apply(mean, ones, ones)[1][20, 50], 1.0)


class TestDenoiser:
    def test_empty_frame(self, default):
        data = np.random.default_rng(3).normal(100, 5, (512, 512))
        result = default.predict(data, NoiseModel(5.0))
        factor, weight = result.recalibration.blank_sky
        assert weight > 0.9 and factor < 0.7
        with_spread = default.predict(data, NoiseModel(5.0), calibrate=False)
        assert np.median(result.std) < 0.85 * np.median(with_spread.std)
        assert np.std(result.mean - 100) <= np.std(with_spread.mean - 100)

    @pytest.mark.parametrize('kind', ['survey', 'crowded', 'nebula'])
    def test_fields_with_faint_sources(self, default, kind):
        scene = make_scene(kind, (384, 384), seed=2)
        result = default.predict(scene.observe(seed=3).data, scene.noise)
        assert result.recalibration.blank_sky[1] < 0.2

    def test_tiled_equals_untiled(self, default):
        data = np.random.default_rng(3).normal(100, 5, (400, 700))
        one, tiled = (default.predict(data, NoiseModel(5.0), tile_size=size) for size in (1024, 320))
        assert np.abs(one.mean - tiled.mean).max() < 1e-5 * 5
        np.testing.assert_allclose(one.std, tiled.std, rtol=1e-4)

    def test_not_on_what_the_model_was_trained_on(self, default):
        data = np.random.default_rng(3).normal(100, 5, (256, 256))
        held_out = np.random.default_rng(0).random(data.shape) < 0.05
        assert default.predict(data, NoiseModel(5.0), held_out=held_out).recalibration.blank_sky == (1.0, 0.0)

    def test_real_frames_are_not_empty(self, default, data_path):
        data = fits.getdata(data_path / 'blast' / 'SDSS_r.fits').astype(float)
        assert default.predict(data).recalibration.blank_sky[1] == 0
