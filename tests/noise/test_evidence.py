# Licensed under a 3-clause BSD style license - see LICENSE
"""
Gain, photons, quantisation and uncertainty planes, as far as the image agrees with them.
"""

import warnings

import ccdproc
import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.utils.exceptions import AstropyUserWarning
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from astropy_n2v import NoiseModel, denoise, estimate_noise
from astropy_n2v.noise import (
    SkySample,
    describes_depth,
    find_steps,
    header_gain,
    is_setting,
    measure_sky,
    neighbour_correlation,
    photon_noise,
    resolve_noise,
)
from astropy_n2v.noise.resolve import looks_white
from astropy_n2v.noise.transfer import star_slope
from astropy_n2v.simulate import SCENE_KINDS, make_scene


def no_mask(image):
    return np.zeros(np.shape(image), dtype=bool)


def resolve(image, **kwargs):
    return resolve_noise(np.asarray(image, dtype=float), no_mask(image), **kwargs)


def resolve_with_warnings(image, **kwargs):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        noise = resolve(image, **kwargs)
    return noise, [str(warning.message) for warning in caught]


def sky_sigma(noise, level):
    return float(np.sqrt(np.median(noise.variance(level))))


def x_ray_field(background, seed, width=2.0, shape=(160, 160)):
    """Expected photons of a background with sources of up to twenty at their peak."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape)
    peaks, ys, xs = 10 ** rng.uniform(-1, 1.3, 12), rng.uniform(0, shape[0], 12), rng.uniform(0, shape[1], 12)
    sources = sum(peak * np.exp(-((y - y0) ** 2 + (x - x0) ** 2) / (2 * width ** 2))
                  for peak, y0, x0 in zip(peaks, ys, xs))
    return background + sources, rng


def star_field(level, seed, shape=(160, 160), readnoise=2.0):
    """Electrons of a sky with stars."""
    rng = np.random.default_rng(seed)
    truth = np.zeros(shape)
    truth[rng.integers(0, shape[0], 20), rng.integers(0, shape[1], 20)] = 1e5 * 10 ** -rng.uniform(0, 2.5, 20)
    truth = level + gaussian_filter(truth, 1.3)
    return rng.poisson(truth) + rng.normal(0, readnoise, shape)


class TestPhotons:
    @settings(max_examples=25, deadline=None)
    @given(logarithm=st.floats(-4, 0.7), seed=st.integers(0, 999), width=st.sampled_from([0.8, 2.0, 4.0]),
           unit=st.sampled_from([None, u.count, u.photon, u.electron, u.dimensionless_unscaled]),
           dtype=st.sampled_from(['i4', 'f4']), vignetting=st.floats(0, 0.8))
    def test_counts_have_gain_one(self, logarithm, seed, width, unit, dtype, vignetting):
        truth, rng = x_ray_field(10 ** logarithm, seed, width)
        y, x = np.indices(truth.shape) / truth.shape[0] - 0.5
        counts = rng.poisson(truth * (1 - 2 * vignetting * (x ** 2 + y ** 2))).astype(dtype)
        noise = resolve(counts, unit=unit)
        assert (noise.sigma, noise.gain, noise.zero_point) == (0, 1, 0)
        assert noise.source == 'image, photon counts' and noise.quantum == 0

    @settings(max_examples=15, deadline=None)
    @given(logarithm=st.floats(-3, 0.5), exposure=st.floats(1e-3, 1e5), seed=st.integers(0, 99))
    def test_scaled_counts(self, logarithm, exposure, seed):
        truth, rng = x_ray_field(10 ** logarithm, seed)
        noise = resolve((rng.poisson(truth) / exposure).astype('f4'), unit=u.ct / u.s)
        assert float(noise.gain) == pytest.approx(exposure, rel=1e-4)

    @pytest.mark.parametrize('background', [0.003, 0.05, 0.5])
    def test_counts_over_an_exposure_map(self, background):
        truth, rng = x_ray_field(background, 1, shape=(256, 256))
        y, x = np.indices(truth.shape) / 256 - 0.5
        exposure = 40 * (1 - (x ** 2 + y ** 2))
        noise = resolve((rng.poisson(truth * exposure / 40) / exposure).astype('f4'))
        assert noise.source == 'image, photon counts'
        assert float(noise.gain) == pytest.approx(np.median(exposure), rel=0.12)

    def test_real_photons(self, data_path):
        galex = fits.getdata(data_path / 'blast' / 'GALEX_NUV.fits')
        noise = resolve(galex)
        assert noise.source == 'image, photon counts'
        one = galex[(galex > 0) & (galex < 0.01)]
        assert float(noise.gain) == pytest.approx(1 / np.median(one), rel=0.02)

    @settings(max_examples=20, deadline=None)
    @given(sigma=st.floats(0.4, 3), level=st.floats(0, 6), seed=st.integers(0, 99))
    def test_rounded_and_clipped_noise_is_none_of_photons(self, sigma, level, seed):
        image = np.round(np.random.default_rng(seed).normal(level, sigma, (288, 288)))
        assert photon_noise(np.maximum(image, 0), no_mask(image)) is None
        assert photon_noise(image, no_mask(image), u.count) is None

    @settings(max_examples=15, deadline=None)
    @given(gain=st.one_of(st.floats(0.3, 0.9), st.floats(1.15, 5)), pedestal=st.sampled_from([0, 300]),
           seed=st.integers(0, 99))
    def test_counts_that_are_adu(self, gain, pedestal, seed):
        assume(abs(300 / gain ** 2 / (300 / gain + pedestal) - 1) > 0.2)   # with luck, an offset makes it so
        electrons = np.random.default_rng(seed).poisson(300, (128, 128))
        noise = resolve(np.round(electrons / gain + pedestal), unit=u.count)
        assert noise.source == 'image, not Poisson'
        assert sky_sigma(noise, 300 / gain + pedestal) == pytest.approx(np.sqrt(300) / gain, rel=0.08)

    def test_many_counts_need_a_unit_that_says_so(self, rng):
        image = rng.poisson(300, (128, 128))
        assert resolve(image, unit=u.count).source == 'image, photon counts'
        assert resolve(image, unit=u.adu).source == 'image'

    def test_stated_errors_of_counts(self, rng):
        counts = rng.poisson(0.05, (128, 128))
        with pytest.warns(AstropyUserWarning, match='the uncertainty .* it is not used'):
            noise = resolve(counts, deviation=1 + np.sqrt(counts + 0.75), unit=u.ct)
        assert noise.source == 'image, photon counts'
        # Roots of the counts say the right thing, if not of pixels without any.
        noise = resolve(counts, deviation=np.where(counts > 0, np.sqrt(counts), np.nan), unit=u.ct)
        assert noise.source == 'uncertainty, photon counts' and noise.sigma == 0 and noise.gain == 1

    @pytest.mark.parametrize('background', [0.05, 0.13, 0.3])
    def test_right_errors_of_counts(self, background):
        truth, rng = x_ray_field(background, 3)
        noise = resolve(rng.poisson(truth), deviation=np.sqrt(truth), unit=u.ct)
        assert noise.source.startswith('uncertainty') and ' x ' not in noise.source and noise.quantum == 0

    def test_steps_that_may_be_rounding(self, rng):
        """Steps of two electrons, according to the header."""
        data = rng.poisson(0.05, (128, 128)) * 16
        with pytest.warns(AstropyUserWarning, match='multiples of 16, .* If they were rounded'):
            resolve(data, unit=u.adu, header={'GAIN': 0.125})
        assert resolve(data, unit=u.adu, header={'GAIN': 1 / 16}).source == 'image, photon counts'

    @pytest.mark.parametrize('background', [1e-3, 0.05, 1.0])
    def test_noise_of_counts_is_white(self, background):
        truth, rng = x_ray_field(background, 3)
        counts = rng.poisson(truth).astype(float)
        assert looks_white(SkySample(counts, no_mask(counts)), resolve(counts))

    @pytest.mark.parametrize('background', [1e-3, 0.05, 1.0])
    def test_given_gain_of_counts(self, background):
        truth, rng = x_ray_field(background, 5)
        image = rng.poisson(truth)
        for options, source in ((dict(gain=1.0), 'gain, photon counts'),
                                (dict(gain=1.0, readnoise=0.0), 'gain+readnoise, photon counts'),
                                (dict(noise=NoiseModel(0.0, gain=1.0)), 'given')):
            noise, said = resolve_with_warnings(image, **options)
            assert (noise.sigma, noise.gain, noise.zero_point, noise.source) == (0, 1, 0, source) and not said

    @pytest.mark.parametrize('sigma', [0.003, 0.03, 0.2])
    def test_single_photons_do_not_refute_a_given_noise(self, sigma, rng):
        image = rng.normal(0, sigma, (160, 160))
        image[rng.integers(0, 160, 40), rng.integers(0, 160, 40)] += rng.poisson(1, 40) + 1
        for options in (dict(noise=NoiseModel(sigma, gain=1.0)), dict(gain=1.0, readnoise=sigma)):
            noise, said = resolve_with_warnings(image, **options)
            assert noise.sigma == sigma and not said
        with pytest.warns(AstropyUserWarning, match='noise model is'):
            resolve(image, noise=NoiseModel(3 * sigma, gain=1.0))

    @pytest.mark.parametrize('divisor', [300.0, 65535.0])
    def test_electrons_that_are_none(self, divisor):
        image = star_field(200, 1) / divisor
        with pytest.warns(AstropyUserWarning, match='data are not taken to be in electron: .* electrons|less noise'):
            noise = resolve(image, unit=u.electron)
        assert noise.source == 'image'
        assert sky_sigma(noise, 200 / divisor) == pytest.approx(np.sqrt(204) / divisor, rel=0.08)

    @pytest.mark.parametrize('readnoise', [0.05, 0.27, 1.0])
    def test_dark_frames_of_quiet_detectors(self, readnoise, rng):
        image = rng.poisson(0.003, (128, 128)) + rng.normal(0, readnoise, (128, 128))
        image[rng.integers(0, 128, 10), rng.integers(0, 128, 10)] += rng.uniform(5, 3000, 10)
        noise = resolve(image, unit=u.electron, header={'RDNOISE': readnoise})
        assert noise.gain == 1 and sky_sigma(noise, 0) == pytest.approx(readnoise, rel=0.1)


class TestQuantisation:
    @settings(max_examples=30, deadline=None)
    @given(steps=st.floats(0.6, 8), scale=st.sampled_from([1e-19, 1 / 65535, 0.37, 1.0, 16.0, 1e5]),
           offset=st.floats(-200, 200), seed=st.integers(0, 99))
    def test_step_is_found_in_floats(self, steps, scale, offset, seed):
        image = np.round(np.random.default_rng(seed).normal(20, steps, (100, 100))) * scale + offset * scale
        found = find_steps(image.astype('f4'), no_mask(image))
        assert found.uniform and found.step == pytest.approx(scale, rel=1e-4)

    def test_continuous_values_have_no_step(self, rng, data_path):
        for image in (rng.normal(0, 1, (128, 128)), rng.normal(1e3, 1, (128, 128)).astype('f4'),
                      np.repeat(rng.normal(0, 1, (64, 128)), 2, axis=0),
                      fits.getdata(data_path / 'sfft_decam' / 'DEC-OBS04a.mini.fits'),
                      fits.getdata(data_path / 'hst_nicmos' / 'image.fits', 1)):
            assert find_steps(image, no_mask(image)) is None

    @pytest.mark.parametrize('factor, level', [(10, 100.3), (2, 1000.0), (40, 300.0)])
    def test_steps_of_a_square_root(self, factor, level, rng):
        image = rng.normal(level, np.sqrt(level) / 2, (128, 128))
        found = find_steps(np.round(np.sqrt(image * factor)) ** 2 / factor, no_mask(image))
        assert not found.uniform
        for value in (level, 4 * level):
            assert found.at(value) == pytest.approx(2 * np.sqrt(value / factor), rel=0.01)

    def test_bright_parts_of_a_square_root(self, rng):
        image = np.where(np.arange(128) < 20, 1000, 100) + rng.normal(0, 5, (128, 128))
        with pytest.warns(AstropyUserWarning, match='quantised in grow with the level'):
            resolve(np.round(np.sqrt(image * 10)) ** 2 / 10)

    @settings(max_examples=25, deadline=None)
    @given(sigma=st.floats(0.06, 0.35), level=st.floats(100, 101), scale=st.sampled_from([1.0, 16.0, 1e-3]),
           seed=st.integers(0, 99))
    def test_noise_below_the_step(self, sigma, level, scale, seed):
        truth = level + np.linspace(0, 0.2, 96)
        image = np.round(truth + np.random.default_rng(seed).normal(0, sigma, (96, 96)))
        image[3, 3] += 1
        with pytest.warns(AstropyUserWarning, match='quantised in steps of'):
            noise = resolve(image * scale)
        assert noise.quantum == pytest.approx(scale)
        assert sky_sigma(noise, level * scale) >= 0.999 * scale / np.sqrt(12)

    def test_plateaus_do_not_show_how_the_noise_grows(self, rng):
        """Only the rounding error of sums remains of a plateau."""
        image = np.round(100 + np.linspace(0, 3, 128) + rng.normal(0, 0.1, (128, 128))) - 101.4417070795
        assert star_slope(image, 0.3) == 0

    @settings(max_examples=15, deadline=None)
    @given(sigma=st.floats(0.55, 5), level=st.floats(0, 1), seed=st.integers(0, 99))
    def test_rounding_is_counted_once(self, sigma, level, seed):
        image = np.round(500 + level + np.random.default_rng(seed).normal(0, sigma, (160, 160)))
        noise, said = resolve_with_warnings(image)
        assert sky_sigma(noise, 500) == pytest.approx(np.sqrt(sigma ** 2 + 1 / 12), rel=0.06) and not said

    @pytest.mark.parametrize('sigma', [0.0, 0.1, 0.2, 0.3, 0.5])
    def test_rounding_error_that_neighbours_share(self, sigma, rng):
        levels = np.linspace(0, 1, 101)[:-1]
        averages = np.round(levels + rng.normal(0, sigma, (20000, 100))).mean(axis=0)
        model = NoiseModel(np.sqrt(sigma ** 2 + 1 / 12), quantum=1.0)
        assert float(model.rounding_error(0.0)) == pytest.approx(np.sqrt(np.mean((averages - levels) ** 2)), abs=0.005)
        assert float((model * 3.0).rounding_error(0.0)) == pytest.approx(3 * float(model.rounding_error(0.0)))

    def test_given_noise_below_the_step(self, rng):
        image = np.round(100 + rng.normal(0, 0.2, (96, 96)))
        noise, said = resolve_with_warnings(image, noise=NoiseModel(0.2))
        assert noise.sigma == 0.2 and noise.quantum == 1
        assert any('quantised in steps of 1' in text for text in said)

    def test_bad_quantum(self):
        with pytest.raises(ValueError, match='quantum must be finite and not negative, got -1'):
            NoiseModel(1.0, quantum=-1)


class TestHeaderGain:
    @pytest.mark.parametrize('cards, setting', [
        ({'GAIN': 100}, True), ({'GAIN': 100.0}, True), ({'GAIN': 1.9}, False), ({'GAIN': 2}, False),
        ({'GAIN': 5, 'OFFSET': 10}, True), ({'GAIN': 0.25, 'OFFSET': 10}, False), ({'GAIN': 5, 'EGAIN': 0.0}, True),
        ({'GAIN': 1, 'INSTRUME': 'ZWO ASI2600MM Pro'}, True), ({'GAIN': 4, 'CREATOR': 'ZWO Seestar S50'}, True),
        ({'GAIN': 10, 'INSTRUME': 'QHY600M'}, True), ({'GAIN': 1.5, 'INSTRUME': 'QHY600M'}, False),
    ])
    def test_settings(self, cards, setting):
        assert is_setting(cards, 'GAIN') is setting

    @settings(max_examples=25, deadline=None)
    @given(gain=st.floats(0.15, 0.7), level=st.floats(100, 1000), card=st.integers(26, 500),
           pedestal=st.integers(0, 500), seed=st.integers(0, 99))
    def test_setting_is_not_believed(self, gain, level, card, pedestal, seed):
        image = np.round(star_field(level, seed) / gain + pedestal)
        with pytest.warns(AstropyUserWarning, match=f'header .GAIN = {card}. is not used: it is a setting'):
            noise = resolve(image, header={'GAIN': card}, unit=u.adu)
        assert noise.source == 'image'
        believed = resolve(image, header={'GAIN': card, 'EGAIN': gain}, unit=u.adu)
        assert believed.source == 'image, header EGAIN' and float(believed.gain) == pytest.approx(gain)

    @pytest.mark.parametrize('card', [1, 5, 12.0, 20])
    def test_noise_that_no_readout_has(self, card):
        image = np.round(star_field(200, 3) / 0.25)
        with pytest.warns(AstropyUserWarning, match='no read-out the rest|than a full well'):
            assert resolve(image, header={'GAIN': card}, unit=u.adu).source == 'image'

    @settings(max_examples=20, deadline=None)
    @example(gain=4.75, level=20, readnoise=1, pedestal=0, subtracted=False, seed=0)   # three bright blocks
    @given(gain=st.floats(0.5, 8), level=st.floats(25, 2000), readnoise=st.floats(1, 20), pedestal=st.sampled_from(
        [0, 300, 2000]), subtracted=st.booleans(), seed=st.integers(0, 99))
    def test_right_gains_are_believed(self, gain, level, readnoise, pedestal, subtracted, seed):
        image = star_field(level, seed, readnoise=readnoise) / gain + pedestal
        image = image - np.median(image) if subtracted else np.round(image)
        noise, said = resolve_with_warnings(image, header={'GAIN': gain, 'RDNOISE': readnoise}, unit=u.adu)
        assert noise.source == 'image, header GAIN, RDNOISE' and float(noise.gain) == gain
        assert not [text for text in said if 'gain' in text]

    @pytest.mark.parametrize('gain', [1.0, 4.75])
    def test_right_gains_of_faint_skies_are_mostly_believed(self, gain):
        """One frame in a hundred has a few bright blocks that happen to be less noisy, and is warned of."""
        refused = 0
        for seed in range(100):
            image = np.round(star_field(20, seed, readnoise=1) / gain)
            noise, said = resolve_with_warnings(image, header={'GAIN': gain, 'RDNOISE': 1.0}, unit=u.adu)
            if noise.source != 'image, header GAIN, RDNOISE':
                refused += 1
                assert any('gain' in text for text in said)
        assert refused <= 1

    @settings(max_examples=15, deadline=None)
    @given(padding=st.sampled_from([4, 16]), gain=st.floats(1.5, 4), level=st.floats(300, 1000),
           seed=st.integers(0, 99))
    def test_values_of_few_bits_that_fill_sixteen(self, padding, gain, level, seed):
        image = np.round(star_field(level, seed) / gain) * padding
        noise, _ = resolve_with_warnings(image, header={'EGAIN': gain}, unit=u.adu)
        # Four times the noise that photons explain may be due to the read-out.
        if padding == 16:
            assert noise.source == 'image, header EGAIN / 16'
        if noise.source.startswith('image, header EGAIN /'):
            assert float(noise.gain) == pytest.approx(gain / padding)
        right = resolve(image, header={'EGAIN': gain / padding}, unit=u.adu)
        assert right.source == 'image, header EGAIN'

    @pytest.mark.parametrize('factor, cards', [(1 / 65535, {'EGAIN': 0.25}), (1 / 65535, {'GAIN': 2.0}),
                                               (1 / 300, {'GAIN': 1.5}), (1 / 300, {'EGAIN': 0.25})])
    def test_gain_of_other_units(self, factor, cards):
        image = star_field(200, 4) / 0.25 * factor
        with pytest.warns(AstropyUserWarning, match='of the header .* is not used: '):
            assert resolve(image, header=cards).source == 'image'

    def test_stale_gain_of_electrons(self):
        with pytest.warns(AstropyUserWarning, match='GAIN = 6.2. is not used'):
            resolve(star_field(200, 5), header={'GAIN': 6.2}, unit=u.adu)

    def test_gain_that_photon_noise_contradicts(self):
        scene = make_scene('nebula', (256, 256), seed=3)
        image = scene.observe(seed=4, gain=0.5).data - 1e4   # of which the level proves nothing
        with pytest.warns(AstropyUserWarning, match=r'implies a gain of 0\.\d+. A gain of 0\.\d+ is measured'):
            noise = resolve(image, header={'EGAIN': 2.3}, unit=u.adu)
        assert 0.25 < float(noise.gain) < 0.75

    def test_given_gain_is_used_and_warned_of(self):
        image = star_field(200, 6) / 1000
        with pytest.warns(AstropyUserWarning, match='given gain .2. is used, but'):
            assert resolve(image, gain=2.0).gain == 2

    def test_without_an_image(self):
        assert header_gain(None, {'GAIN': 2.0, 'NCOMBINE': 4}) == ('GAIN x NCOMBINE', 8.0, None)


class TestStars:
    @pytest.mark.parametrize('kind', ['globular', 'low_counts', 'varying'])
    @pytest.mark.parametrize('gain', [0.25, 3.0])
    def test_gain_of_star_fields(self, kind, gain):
        scene = make_scene(kind, (384, 384), seed=5)
        noise = resolve(scene.observe(seed=6).data / gain + 500, unit=u.adu)
        assert 0.5 < float(noise.gain) / gain < 2
        noise, said = resolve_with_warnings(scene.observe(seed=6).data / gain + 500, header={'GAIN': 100}, unit=u.adu)
        assert 0.5 < float(noise.gain) / gain < 2 and 'is measured' in said[0]

    @pytest.mark.parametrize('fwhm', [1.6, 2.0])
    def test_noise_that_does_not_grow(self, fwhm, rng):
        truth = np.zeros((256, 256))
        truth[rng.integers(0, 256, 60), rng.integers(0, 256, 60)] = 2e5 * 10 ** -rng.uniform(0, 2.5, 60)
        image = gaussian_filter(truth, fwhm / 2.355, truncate=9) + rng.normal(0, 14, truth.shape)
        assert resolve(image).gain is None


class TestPlanes:
    @settings(max_examples=15, deadline=None)
    @given(factor=st.one_of(st.floats(0.05, 0.6), st.floats(1.7, 20)), seed=st.integers(0, 99))
    def test_contradicted_plane_is_not_used(self, factor, seed):
        image = np.random.default_rng(seed).normal(100, 3, (128, 128))
        with pytest.warns(AstropyUserWarning, match='it is not used.*create_deviation'):
            noise = resolve(image, deviation=np.full(image.shape, 3 * factor))
        assert noise.source == 'image' and sky_sigma(noise, 100) == pytest.approx(3, rel=0.06)

    @pytest.mark.parametrize('factor, warned', [(0.75, True), (0.92, False), (1.1, False), (1.35, True)])
    def test_plane_within_the_limit_is_used(self, factor, warned, rng):
        noise, said = resolve_with_warnings(rng.normal(100, 3, (128, 128)), deviation=np.full((128, 128), 3 * factor))
        assert noise.source == 'uncertainty' and bool(said) is warned

    @settings(max_examples=15, deadline=None)
    @given(counts=st.floats(0.02, 2), step=st.sampled_from([1e-12, 0.3, 5.0]), seed=st.integers(0, 99))
    @example(counts=0.124027, step=1e-12, seed=5)   # a single pair of pixels with many photons
    def test_plane_of_few_photons(self, counts, step, seed):
        """Most pixels are empty, and their steps are photons: neither refutes the errors."""
        y, x = np.indices((128, 128))
        truth = counts * (1 + 5 * np.exp(-((y - 60) ** 2 + (x - 50) ** 2) / 200))
        image = step * np.random.default_rng(seed).poisson(truth)
        noise, said = resolve_with_warnings(image, deviation=step * np.sqrt(truth))
        assert noise.source == 'uncertainty, photon counts' and not said
        np.testing.assert_allclose(np.sqrt(noise.variance(step * truth)), step * np.sqrt(truth), rtol=1e-4)
        _, said = resolve_with_warnings(image, deviation=3 * step * np.sqrt(truth))
        assert said

    @settings(max_examples=10, deadline=None)
    @given(factor=st.sampled_from([0.1, 0.4, 3.0]), ratio=st.floats(1.5, 5), seed=st.integers(0, 99))
    def test_shape_of_a_plane_is_kept(self, factor, ratio, seed):
        sigma = np.where(np.arange(160) < 70, 2.0, 2.0 * ratio) * np.ones((160, 1))
        image = np.random.default_rng(seed).normal(50, sigma)
        with pytest.warns(AstropyUserWarning, match='varies over the image as the noise does'):
            noise = resolve(image, deviation=sigma * factor)
        assert 'measured' in noise.source
        np.testing.assert_allclose(noise.sigma, sigma, rtol=0.1)

    def test_plane_that_follows_sources(self, rng):
        image = rng.normal(0, 1, (128, 128))
        image[40:60, 40:60] += 100
        sigma = 0.1 + 0.01 * np.abs(image)
        assert not describes_depth(image, no_mask(image), NoiseModel(sigma))

    @pytest.mark.parametrize('width', [0.5, 0.7])
    def test_weight_map_of_a_resampled_image(self, width, rng):
        image = gaussian_filter(rng.normal(0, 1, (256, 256)), width)
        assert neighbour_correlation(image, no_mask(image))[1] == pytest.approx(1 / image.std(), rel=0.25)
        with pytest.warns(AstropyUserWarning, match='pixels are correlated'):
            noise = resolve(image, deviation=np.ones(image.shape))
        assert float(np.median(noise.sigma)) == pytest.approx(image.std(), rel=0.15)

    @pytest.mark.parametrize('kind', SCENE_KINDS)
    def test_right_planes_of_scenes_are_believed(self, kind):
        scene = make_scene(kind, (256, 256), seed=21)
        deviation = np.sqrt(scene.noise.variance(scene.truth)) * np.ones(scene.truth.shape)
        noise, said = resolve_with_warnings(scene.observe(seed=22).data, deviation=deviation, unit=u.electron)
        assert noise.source.startswith('uncertainty') and 'measured' not in noise.source and not said

    def test_crowded_field_does_not_refute(self, data_path):
        with fits.open(data_path / 'hst_nicmos' / 'image.fits') as hdus:
            data, error, quality = (hdus[name].data for name in ('SCI', 'ERR', 'DQ'))
        deviation = np.where(error > 0, error, np.nan).astype('f4')
        with pytest.warns(AstropyUserWarning, match='sky noise according to the uncertainty'):
            noise = resolve_noise(data.astype(float), quality > 0, deviation=deviation)
        assert noise.source == 'uncertainty'

    def test_given_noise_only_warns(self, rng):
        with pytest.warns(AstropyUserWarning, match='noise model is 30'):
            assert resolve(rng.normal(0, 3, (96, 96)), noise=NoiseModel(30.0)).sigma == 30


class TestReduction:
    gain, readnoise = 1.33 * u.electron / u.adu, 15.3 * u.electron   # of pairs of flats and of biases

    def read(self, data_path, kind, number):
        part = slice(384, 640)
        frames = [fits.getdata(data_path / 'arcsat' / f'{kind}_{i:02d}.fits.gz')[part, part]
                  for i in range(1, number + 1)]
        return [CCDData(frame.astype(float), unit='adu') for frame in frames]

    def average(self, frames):
        variance = sum(frame.uncertainty.array ** 2 for frame in frames)
        return CCDData(np.mean([frame.data for frame in frames], axis=0), unit='adu',
                       uncertainty=StdDevUncertainty(np.sqrt(variance) / len(frames)))

    @pytest.mark.parametrize('deviation', [False, True])
    def test_ordinary_flow(self, deviation, data_path):
        """Bias, dark and flat of a real telescope, with and without the noise of the raw frames."""
        bias = ccdproc.Combiner(self.read(data_path, 'bias', 5)).average_combine()

        def prepare(frame, with_deviation=True):
            frame = ccdproc.subtract_bias(frame, bias)
            return ccdproc.create_deviation(frame, gain=self.gain, readnoise=self.readnoise, disregard_nan=True) \
                if with_deviation else frame
        dark = self.average([prepare(frame) for frame in self.read(data_path, 'dark', 5)])
        exposure = dict(dark_exposure=30 * u.s, data_exposure=30 * u.s)
        flat = self.average([ccdproc.subtract_dark(prepare(frame), dark, **exposure)
                             for frame in self.read(data_path, 'flat_g', 3)])
        lights = [ccdproc.flat_correct(ccdproc.subtract_dark(prepare(frame, deviation), dark, **exposure), flat)
                  for frame in self.read(data_path, 'light_g', 18)]
        # Of one exposure against the others, without what all share; and that.
        scatter = np.median(np.std([light.data for light in lights], axis=0, ddof=1))
        true = np.hypot(scatter, np.median(dark.uncertainty.array))
        noise, said = resolve_with_warnings(lights[0].data, deviation=lights[0].uncertainty.array, unit=u.adu)
        assert sky_sigma(noise, np.median(lights[0].data)) == pytest.approx(true, rel=0.1)
        assert bool(said) is not deviation
        if not deviation:
            assert 'create_deviation' in said[0] and noise.source == 'image'


def test_estimate_says_the_step(rng):
    image = np.round(rng.normal(100, 3, (64, 64)))
    assert estimate_noise(image).quantum == 1 and measure_sky(image).steps.step == 1
    assert estimate_noise(rng.normal(100, 3, (64, 64))).quantum == 0


def test_denoised_counts_say_so(rng):
    result = denoise(CCDData(rng.poisson(0.5, (64, 64)).astype('f4'), unit='ct'))
    assert result.meta['N2VNSRC'] == 'image, photon counts' and result.meta['N2VGAIN'] == 1
