# Licensed under a 3-clause BSD style license - see LICENSE
"""
Gradients of the background: found where there are any, and taken off before an image is denoised.
"""

import functools

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from hypothesis import given, settings
from hypothesis import strategies as st

from astropy_n2v import Denoiser, NoiseModel, denoise, estimate_noise
from astropy_n2v.background import Gradient, _has_few_photons
from astropy_n2v.inference.normalization import Normalization
from astropy_n2v.simulate import make_nebula, make_scene

SHAPE = 256, 288


def whole(shape=SHAPE):
    return tuple(slice(0, n) for n in shape)


def slope(amplitude, shape=SHAPE, kind='linear'):
    """Make a surface of zero mean, whose range is the amplitude."""
    y, x = (np.linspace(-0.5, 0.5, n) for n in shape)
    surface = np.add.outer(y, 0.5 * x) if kind == 'linear' else -np.add.outer(y ** 2, x ** 2)
    return amplitude * (surface - surface.mean()) / np.ptp(surface)


@functools.cache
def field(seed=3, shape=SHAPE):
    """Stars and faint galaxies on a flat sky of no level, in units of the noise."""
    scene = make_scene('survey', shape, seed=seed)
    return (scene.truth - scene.sky) / np.sqrt(scene.noise.variance(scene.sky))


class TestFit:
    @settings(max_examples=25, deadline=None)
    @given(amplitude=st.floats(6, 100), kind=st.sampled_from(['linear', 'vignetting']), pedestal=st.floats(-1e4, 1e5),
           unit=st.sampled_from([1e-12, 1.0, 1e6]), dtype=st.sampled_from(['f8', '>f4']), holes=st.booleans())
    def test_is_found_to_a_small_part_of_the_noise(self, amplitude, kind, pedestal, unit, dtype, holes):
        rng = np.random.default_rng(1)
        truth = slope(amplitude, kind=kind)
        data = field() + truth + pedestal + rng.normal(size=SHAPE)
        mask = None
        if holes:
            data[40:90, 100:200] = np.nan
            mask = np.zeros(SHAPE, dtype=bool)
            mask[:, 30:60] = True
            data[mask] = 1e30
        data = (unit * data).astype(dtype)
        found = Gradient.fit(data, mask, unit * pedestal, unit).at(*whole()) / unit
        # Sources that are too faint to be clipped raise the level of all of it.
        difference = found - truth
        assert abs(difference.mean()) < 0.15
        assert np.std(difference) < 0.08

    @pytest.mark.parametrize('image', [
        'flat', 'survey', 'crowded', 'nebula', 'small', 'narrow', 'mostly masked', 'one strip'])
    def test_other_images_have_none(self, image):
        rng = np.random.default_rng(1)
        data, mask = rng.normal(size=SHAPE), None
        if image in ('survey', 'crowded'):
            scene = make_scene(image, SHAPE, seed=2)
            data = (scene.observe(seed=3).data - scene.sky) / np.sqrt(scene.noise.variance(scene.sky))
        elif image == 'nebula':
            data += make_nebula(SHAPE, amplitude=10.0, seed=4)
        elif image == 'small':
            data = data[:120, :120] + slope(50, (120, 120))
        elif image == 'narrow':
            data = data[:100] + slope(50)[:100]
        else:
            data += slope(50) if image != 'flat' else 0
            if image == 'mostly masked':
                mask = rng.uniform(size=SHAPE) < 0.8
            elif image == 'one strip':
                mask = np.ones(SHAPE, dtype=bool)
                mask[:130] = False
                mask[:, 100:] = True
        assert Gradient.fit(data, mask, 0.0, 1.0) is None

    @pytest.mark.parametrize('low, high', [(0.3, 1.0), (1.0, 3.0), (20.0, 60.0)])
    def test_few_photons(self, low, high):
        shape = 1024, 1024
        truth = np.broadcast_to(np.linspace(low, high, shape[1]), shape)
        data = np.random.default_rng(2).poisson(truth).astype(float)
        level = float(data.mean())
        found = level + Gradient.fit(data, None, level, np.sqrt(level)).at(*whole(shape))
        assert np.abs(found - truth).max() < 0.08 * np.sqrt(level)
        assert abs(np.mean(found - truth)) < 0.01 * np.sqrt(level)

    def test_every_other_column_is_masked(self):
        shape = 2200, 2000   # of so many pixels a sample is taken
        data = slope(30, shape) + np.random.default_rng(0).normal(size=shape)
        mask = np.zeros(shape, dtype=bool)
        mask[:, ::2] = True
        found = Gradient.fit(data, mask, 0.0, 1.0).at(*whole(shape))
        assert np.std(found - slope(30, shape)) < 0.03

    def test_slices_and_indices_agree(self):
        gradient = Gradient.fit(slope(30) + np.random.default_rng(0).normal(size=SHAPE), None, 0.0, 1.0)
        image = gradient.at(*whole())
        y, x = np.array([3, 200, 77]), np.array([0, 287, 5])
        np.testing.assert_allclose(gradient.at(y, x), image[y, x], rtol=1e-12)
        np.testing.assert_allclose(gradient.at(slice(20, 30), slice(7, 90)), image[20:30, 7:90], rtol=1e-12)

    def test_does_not_run_away_where_nothing_is_known(self):
        data = slope(20) + np.random.default_rng(0).normal(size=SHAPE)
        data[200:] = np.nan
        image = Gradient.fit(data, None, 0.0, 1.0).at(*whole())
        assert np.ptp(image) < 45


class TestScaling:
    def test_parts(self):
        data = 500.0 + slope(300.0) + np.random.default_rng(0).normal(0, 10.0, SHAPE)
        scaling = Normalization.from_image(data, NoiseModel(10.0))
        rest = scaling.at(*whole()).forward(data)
        assert abs(rest.mean()) < 0.05 and rest.std() == pytest.approx(1, abs=0.02)
        np.testing.assert_allclose(scaling.at(*whole()).backward(rest), data)
        part = scaling.at(slice(10, 50), slice(100, 160))
        np.testing.assert_allclose(part.forward(data[10:50, 100:160]), rest[10:50, 100:160])
        # A part of a part.
        part = part.at(slice(5, 10), slice(20, 30))
        np.testing.assert_allclose(part.forward(data[15:20, 120:130]), rest[15:20, 120:130])

    @pytest.mark.parametrize('sky, taken', [(1000.0, True), (3.0, False)])
    def test_is_left_where_photons_become_few(self, sky, taken):
        rng = np.random.default_rng(0)
        level = sky + slope(4 * np.sqrt(sky))
        photons = rng.poisson(np.maximum(level, 0.05)).astype(float)
        scaling = Normalization.from_image(photons, NoiseModel(0.0, gain=1.0))
        assert (scaling.gradient is not None) == taken

    def test_pixels_without_noise_do_not_matter(self):
        sigma = np.ones(SHAPE)
        sigma[:, ::5] = 0
        sigma[0] = 0
        data = slope(30) + np.random.default_rng(0).normal(size=SHAPE)
        assert Normalization.from_image(data, NoiseModel(sigma)).gradient is not None

    def test_masked_parts_do_not_matter(self):
        """Neither a slope into the dark that is masked nor what a polynomial makes of it."""
        level = np.maximum(100 + slope(240.0), 0.5)
        mask = level < 40
        data = np.random.default_rng(0).poisson(level).astype(float)
        noise = NoiseModel(0.0, gain=1.0)
        assert Normalization.from_image(data, noise, mask).gradient is not None
        assert Normalization.from_image(data, noise).gradient is None


class TestDenoise:
    @pytest.mark.parametrize('kind', ['linear', 'vignetting'])
    def test_costs_next_to_nothing(self, kind):
        truth, noise = field(), np.random.default_rng(5).normal(size=SHAPE)
        flat = denoise(truth + noise, noise=NoiseModel(1.0)) - truth
        added = slope(30, kind=kind)
        sloping = denoise(truth + added + noise, noise=NoiseModel(1.0)) - truth - added
        assert np.std(sloping) < 1.05 * np.std(flat)
        assert abs(sloping.mean()) < 0.02

    def test_the_header_tells(self):
        noisy = CCDData(np.random.default_rng(5).normal(slope(30), 1.0), unit='adu')
        assert denoise(noisy).header['N2VGRAD'] == pytest.approx(np.ptp(slope(30)), rel=0.02)
        noisy.data -= slope(30)
        assert 'N2VGRAD' not in denoise(noisy).header

    def test_noise_that_grows_along_it(self):
        truth = 2000.0 + slope(1500.0) + 45 * field()
        noise = NoiseModel(5.0, gain=1.0)
        data = noise.sample(truth, np.random.default_rng(5))
        prediction = Denoiser.load('default').predict(data, noise)
        assert prediction.scaling.gradient is not None
        error = prediction.mean - truth
        sigma = np.sqrt(noise.variance(truth))
        assert np.std(error / sigma) < np.std((data - truth) / sigma) / 6
        np.testing.assert_allclose(prediction.noise_std, sigma, rtol=0.1)
        assert np.std(error / prediction.std) < 1.3
        assert abs(np.mean(error / sigma)) < 0.02

    def test_tiled_equals_untiled(self):
        shape = 340, 420
        data = slope(40, shape) + field(shape=shape) + np.random.default_rng(1).normal(size=shape)
        denoiser = Denoiser.load('default')
        one = denoiser.predict(data, NoiseModel(1.0), tile_size=2048)
        tiled = denoiser.predict(data, NoiseModel(1.0), tile_size=2 * denoiser.margin + 64)
        assert one.scaling.gradient is not None
        np.testing.assert_allclose(tiled.mean, one.mean, rtol=1e-6, atol=1e-5)

    def test_model_of_the_image_itself(self):
        shape = 192, 192
        truth = slope(30, shape) + field(shape=shape)
        data = truth + np.random.default_rng(1).normal(size=shape)
        # So few steps train no model that an audit would pass.
        result, prediction = denoise(data, noise=NoiseModel(1.0), model='self', seed=1, full_output=True, max_steps=40,
                                     audit='off', batch_size=2, patch_size=48,
                                     network_options=dict(widths=(8, 12), decoder_widths=(8,), head_width=16))
        assert prediction.scaling.gradient is not None
        assert np.std(result - truth) < 0.6

    def test_real_frame(self, data_path):
        """Recover a slope that is added to a real frame."""
        with fits.open(data_path / 'sfft_decam' / 'DEC-OBS04a.mini.fits') as hdus:
            data = hdus[0].data.astype(float)
        noise = estimate_noise(data)
        sigma = float(np.sqrt(noise.variance(np.median(data))))
        noise = NoiseModel(sigma)
        added = slope(20 * sigma, data.shape)
        before, after = denoise(data, noise=noise), denoise(data + added, noise=noise)
        difference = (after - added - before) / sigma
        assert np.std(difference) < 0.15 and abs(np.median(difference)) < 0.03


def test_few_photons_are_recognised_by_their_commonest_number(rng):
    found = [_has_few_photons(rng.poisson(mean, 20_000)) for mean in (0.01, 1, 8, 12, 100)]
    assert found == [True, True, True, False, False]
    assert not _has_few_photons(np.zeros(0)) and not _has_few_photons(rng.normal(size=1000))
