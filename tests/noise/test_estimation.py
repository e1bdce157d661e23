# Licensed under a 3-clause BSD style license - see LICENSE
"""
Noise: the model, its estimate from an image, and where it is taken from.
"""

import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, InverseVariance, StdDevUncertainty, VarianceUncertainty
from astropy.stats import SigmaClip
from astropy.utils.exceptions import AstropyUserWarning
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from astropy_n2v import NoiseModel, conf, estimate_noise, noise_autocorrelation
from astropy_n2v.background import clipped_mean
from astropy_n2v.blind_spot import find_hole, warn_of_patterns
from astropy_n2v.containers.container import Container
from astropy_n2v.containers.deviations import Deviations
from astropy_n2v.io.headers import header_value
from astropy_n2v.noise import choose_hole, gain_value, noise_from_deviation, resolve_noise, stripe_fraction
from astropy_n2v.planes import find_planes
from astropy_n2v.simulate import SCENE_KINDS, make_scene


def sky_sigma(noise, level):
    return float(np.sqrt(np.median(noise.variance(level))))


class TestNoiseModel:
    def test_variance(self):
        noise = NoiseModel(3.0, gain=2.0, zero_point=100)
        np.testing.assert_allclose(noise.variance(np.array([50.0, 100.0, 300.0])), [9, 9, 109])

    def test_shift_and_scale(self):
        noise = NoiseModel(3.0, gain=2.0, zero_point=10.0)
        assert (noise + 5).variance(105.0) == noise.variance(100.0)
        assert (noise * 1e-12).variance(100e-12) == pytest.approx(1e-24 * noise.variance(100.0))

    @pytest.mark.parametrize('kwargs, match', [
        (dict(sigma=-1), 'sigma must be finite and not negative, got -1'),
        (dict(sigma=np.nan), 'sigma must be finite'),
        (dict(sigma=1, gain=0), 'gain must be finite and positive, got 0'),
        (dict(sigma=1, gain=-2.0), 'gain must be finite and positive'),
        (dict(sigma=0), 'sigma must be positive somewhere'),
        (dict(sigma=1, zero_point=np.inf), 'zero_point must be finite'),
    ])
    def test_bad_parameters(self, kwargs, match):
        with pytest.raises(ValueError, match=match):
            NoiseModel(**kwargs)

    def test_units(self):
        noise = NoiseModel(3000 * u.mJy, gain=2 * u.electron / u.Jy, zero_point=1 * u.Jy)
        assert (noise.sigma, noise.gain, noise.zero_point) == (3000, 0.002, 1000)
        with pytest.raises(u.UnitsError, match='per that unit, got sigma in adu, gain in adu / electron'):
            NoiseModel(3 * u.adu, gain=2 * u.adu / u.electron)

    def test_single_precision_is_kept_but_not_calculated_with(self):
        noise = NoiseModel(np.full((4, 5), 1e-25, dtype=np.float32))
        assert noise.sigma.dtype == np.float32
        np.testing.assert_allclose(noise.variance(0.0), 1e-50, rtol=1e-5)
        assert noise.at((4, 5), slice(2), slice(2)).sigma.dtype == np.float64

    def test_shapes(self):
        noise = NoiseModel(np.ones((4, 1)), gain=np.full(5, 2.0))
        noise.check_shape((4, 5))
        with pytest.raises(ValueError, match='gain must broadcast'):
            noise.check_shape((4, 6))
        assert noise.at((4, 5), slice(0, 2), slice(1, 3)).variance(0).shape == (2, 2)


class TestEstimate:
    @pytest.mark.parametrize('kind', SCENE_KINDS)
    def test_sky_noise_of_scenes(self, kind):
        scene = make_scene(kind, (384, 384), seed=21)
        noise = estimate_noise(scene.observe(seed=22).data)
        sky = np.quantile(scene.truth, 0.3)
        limit = 0.08 if kind == 'nebula' else 0.05
        assert sky_sigma(noise, sky) == pytest.approx(sky_sigma(scene.noise, sky), rel=limit)

    @pytest.mark.parametrize('mean', [0.05, 0.3, 2, 50])
    def test_photon_starved_frames(self, mean, rng):
        noise = estimate_noise(rng.poisson(mean, (384, 384)), gain=1.0)
        assert sky_sigma(noise, mean) == pytest.approx(np.sqrt(mean), rel=0.06)

    @settings(max_examples=15, deadline=None)
    @given(scale=st.sampled_from([1e-12, 1e-19, 1.0, 1e6]), offset=st.floats(-1e3, 1e3), seed=st.integers(0, 99))
    def test_any_scale_and_offset(self, scale, offset, seed):
        data = np.random.default_rng(seed).normal(offset, 1, (96, 96)) * scale
        assert sky_sigma(estimate_noise(data), offset * scale) == pytest.approx(scale, rel=0.1)

    def test_photon_transfer_finds_the_gain_of_a_nebula(self):
        scene = make_scene('nebula', (512, 512), seed=3)
        ccd = scene.observe(seed=4, gain=2.5)
        noise = estimate_noise(ccd.data)
        assert float(noise.gain) == pytest.approx(2.5, rel=0.2)

    def test_hot_pixels_and_masked_pixels_do_not_count(self, rng):
        data = rng.normal(0, 2, (256, 256))
        data[rng.integers(0, 256, 60), rng.integers(0, 256, 60)] = 1e4
        data[:50] *= 10
        mask = np.zeros(data.shape, dtype=bool)
        mask[:50] = True
        data[200, 200] = np.nan
        assert sky_sigma(estimate_noise(data, mask), 0.0) == pytest.approx(2, rel=0.05)

    def test_correlated_noise(self, rng):
        data = gaussian_filter(rng.normal(0, 1, (300, 300)), 0.7)
        assert sky_sigma(estimate_noise(data), 0.0) == pytest.approx(data.std(), rel=0.08)

    @pytest.mark.parametrize('beta, fwhm, amplitude', [(2.5, 3.5, 100), (3.0, 2.1, 100), (3.0, 7.0, 1000),
                                                       (3.5, 3.5, 1000)])
    def test_bright_smooth_nebulosity_is_no_correlated_noise(self, beta, fwhm, amplitude, rng):
        """Turbulent clouds, seen through a telescope, at a signal-to-noise ratio of up to a thousand."""
        shape = (320, 320)
        frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None])
        frequency[0, 0] = np.inf
        blur = np.exp(-0.5 * (2 * np.pi * np.where(np.isfinite(frequency), frequency, 0) * fwhm / 2.355) ** 2)
        phase = np.exp(2j * np.pi * rng.random(frequency.shape))
        clouds = np.fft.irfft2(frequency ** (-beta / 2) * blur * phase, shape)
        truth = amplitude * np.exp(0.7 * clouds / clouds.std())
        white = rng.normal(0, 1.6, (shape[0], shape[1] + 1))
        data = truth + white[:, 1:]
        assert sky_sigma(estimate_noise(data), np.median(truth)) == pytest.approx(1.6, rel=0.08)
        assert choose_hole(noise_autocorrelation(data)) == (1, 1)
        # And correlated noise is still seen where there are clouds as well.
        assert choose_hole(noise_autocorrelation(truth + white[:, 1:] + 0.8 * white[:, :-1]))[1] == 3

    @pytest.mark.parametrize('seed', range(3))
    @pytest.mark.parametrize('fwhm', [1.3, 1.6])
    def test_sharp_structure_is_no_correlated_noise(self, fwhm, seed):
        """Undersampled filaments and crowds, brighter in some parts than in others."""
        rng = np.random.default_rng(seed)
        sharp = gaussian_filter(rng.exponential(size=(160, 160)) ** 2 - 2, fwhm / 2.355)
        truth = sharp / sharp.std() * np.exp(30 * gaussian_filter(rng.normal(size=(160, 160)), 12))
        white = rng.normal(size=(161, 160))
        assert choose_hole(noise_autocorrelation(truth + white[1:])) == (1, 1)
        assert choose_hole(noise_autocorrelation(truth + (white[1:] + white[:-1]) / np.sqrt(2)))[0] == 3

    def test_error_of_the_estimate(self, rng):
        """Structure that the kernel does not remove differs from block to block, noise does not."""
        white = rng.normal(size=(192, 192))
        assert estimate_noise(white).relative_error == pytest.approx(0.03)
        sharp = gaussian_filter(rng.exponential(size=white.shape) ** 2, 0.6)
        sharp *= np.exp(30 * gaussian_filter(rng.normal(size=white.shape), 12))
        assert estimate_noise(white + 3 * sharp).relative_error > 0.15

    def test_containers(self, rng):
        data = rng.normal(0, 2, (128, 128))
        spoiled = data.copy()
        spoiled[:40] *= 50
        mask = np.zeros(data.shape, dtype=bool)
        mask[:40] = True
        for kind in (CCDData(spoiled, unit='adu', mask=mask), np.ma.MaskedArray(spoiled, mask)):
            assert sky_sigma(estimate_noise(kind), 0.0) == pytest.approx(2, rel=0.06)
            assert abs(noise_autocorrelation(kind)[4, 5]) < 0.05
        assert sky_sigma(estimate_noise(data * u.adu), 0.0) == pytest.approx(2, rel=0.06)

    @pytest.mark.parametrize('data, match', [
        (np.full((32, 32), 7.0), 'constant'),
        (np.full((32, 32), np.nan), 'no valid pixel'),
        (np.zeros(32), 'two-dimensional'),
        (np.eye(4), 'at least 8x8'),
    ])
    def test_bad_images(self, data, match):
        with pytest.raises(ValueError, match=match):
            estimate_noise(data)

    @pytest.mark.filterwarnings('ignore:data has .* pixels in strips without light')   # overscan
    def test_real_frames(self, data_path):
        raw = fits.getdata(data_path / 'ccdproc' / 'a8280271.fits')
        assert sky_sigma(estimate_noise(raw), 300.3) == pytest.approx(7.3, rel=0.05)
        decam = fits.getdata(data_path / 'sfft_decam' / 'DEC-OBS04a.mini.fits')
        assert sky_sigma(estimate_noise(decam), 0) == pytest.approx(32.8, rel=0.06)
        galex = fits.getdata(data_path / 'blast' / 'GALEX_NUV.fits')
        assert np.mean(galex == 0) > 0.5
        # Sixty in a hundred pixels are zero, most others hold a photon: sky noise is Poisson noise.
        photon = np.median(galex[(galex > 0) & (galex < 0.01)])
        noise = estimate_noise(galex)
        assert 0.4 < float(noise.zero_point) / photon < 0.55   # photons in a pixel of sky
        assert sky_sigma(noise, noise.zero_point) == pytest.approx(np.sqrt(noise.zero_point * photon), rel=0.08)


class TestAutocorrelation:
    @pytest.mark.parametrize('kind', SCENE_KINDS)
    def test_scenes_with_white_noise_need_the_smallest_hole(self, kind):
        data = make_scene(kind, (512, 512), seed=11).observe(seed=12).data
        assert choose_hole(noise_autocorrelation(data)) == (1, 1)

    def test_known_correlation(self, rng):
        white = rng.normal(size=(400, 401))
        rho = noise_autocorrelation(0.9 * white[:, 1:] + 0.1 ** 0.5 * white[:, :-1])
        expected = 0.9 * 0.1 ** 0.5 / (0.81 + 0.1)
        assert rho[4, 5] == pytest.approx(expected, abs=0.02)
        np.testing.assert_allclose(rho, rho[::-1, ::-1], atol=1e-9)
        assert rho[5, 4] == pytest.approx(0, abs=0.02)
        assert choose_hole(rho) == (1, 3)

    def test_resampled_scene(self):
        data = gaussian_filter(make_scene('survey', (384, 384), seed=1).observe(seed=2).data, 0.5)
        assert choose_hole(noise_autocorrelation(data)) == (3, 3)

    @pytest.mark.parametrize('shape', [(3,), (3, 5), (4, 4)])
    def test_hole_of_no_correlation(self, shape):
        with pytest.raises(ValueError, match='correlation must be a square array'):
            choose_hole(np.zeros(shape))

    def test_constant_is_an_error(self):
        with pytest.raises(ValueError, match='constant'):
            noise_autocorrelation(np.zeros((64, 64)))

    @pytest.mark.filterwarnings('ignore:data has .* pixels in strips without light')   # overscan
    def test_real_frames(self, data_path):
        drizzled = noise_autocorrelation(fits.getdata(data_path / 'xdf_hst' / 'xdf_hst_wfc3ir_60mas_f160w_sci.fits'))
        assert drizzled[4, 5] > 0.3
        for name, hole in [('xdf_hst/xdf_hst_wfc3ir_60mas_f105w_sci.fits', (3, 3)), ('blast/2MASS_J.fits', (5, 5)),
                           ('petrofit_a2744/abell_2744_cd_galaxy_f105w.fits.gz', (3, 3)),
                           ('petrofit_a2744/abell_2744_dwarf_galaxy_f105w.fits.gz', (3, 3)),
                           ('galsim/147246.0_150.416558_1.998697_masknoise.fits', (3, 3)),
                           ('m13_blue/M13_blue_0001.fits', (1, 1)), ('sfft_decam/DEC-OBS18a.mini.fits', (1, 1))]:
            assert choose_hole(noise_autocorrelation(fits.getdata(data_path / name))) == hole, name
        raw = noise_autocorrelation(fits.getdata(data_path / 'ccdproc' / 'a8280271.fits'))
        assert choose_hole(raw) == (1, 1)


class TestStripes:
    @pytest.mark.parametrize('kind', SCENE_KINDS)
    def test_scenes_without_stripes_have_none(self, kind):
        scene = make_scene(kind, (256, 256), seed=2)
        assert stripe_fraction(scene.observe(seed=3).data) == (0, 0)

    @pytest.mark.parametrize('axis', [0, 1])
    @pytest.mark.parametrize('kind', ['survey', 'nebula'])
    def test_stripes_are_seen(self, kind, axis, rng):
        scene = make_scene(kind, (256, 256), seed=2)
        sigma = np.sqrt(np.median(scene.noise.variance(scene.truth)))
        stripes = 0.3 * sigma * rng.normal(size=(256, 1))
        data = scene.observe(seed=3).data + (stripes if axis == 0 else stripes.T)
        found = stripe_fraction(data)
        assert found[axis] == pytest.approx(0.09 / 1.09, rel=0.35) and found[1 - axis] == 0

    def test_warning_of_what_is_not_taken_off(self, rng):
        plane = find_planes(Container(rng.normal(size=(256, 256))))[0][0]
        plane.values = plane.values + 0.3 * rng.normal(size=(256, 1))
        with pytest.warns(AstropyUserWarning, match='whole rows share .* longer than any hole'):
            warn_of_patterns([plane])

    @pytest.mark.parametrize('axis', [0, 1])
    def test_spectra_are_no_stripes(self, axis, rng):
        """Light along rows, up to an inclination of two pixels."""
        y, x = np.indices((160, 150))
        light = sum(flux * np.exp(-(y - start - tilt * x / 150) ** 2 / (2 * width ** 2))
                    for start, tilt, flux, width in ((30, 1, 60, 1.5), (90, 0, 5, 2), (120, 2, 300, 1.2)))
        data = rng.normal(light, 1 + np.sqrt(light))
        assert stripe_fraction(data if axis == 0 else data.T) == (0, 0)
        striped = data + 0.5 * rng.normal(size=(160, 1))
        assert stripe_fraction(striped if axis == 0 else striped.T)[axis] == pytest.approx(0.2, rel=0.4)

    def test_small_frames_tell_nothing(self, rng):
        assert stripe_fraction(rng.normal(size=(64, 20)) + 3 * rng.normal(size=(64, 1))) == (0, 0)
        with pytest.raises(ValueError, match='constant'):
            stripe_fraction(np.ones((100, 100)))

    @pytest.mark.filterwarnings('ignore:data has .* pixels in strips without light')   # overscan
    def test_real_frames_have_none(self, data_path):
        for name in ('ccdproc/a8280271.fits', 'sfft_decam/DEC-OBS04a.mini.fits', 'm13_blue/M13_blue_0001.fits',
                     'panoptes/pole.fits', 'blast/WISE_W1.fits', 'blast/GALEX_NUV.fits', 'blast/2MASS_J.fits',
                     'xdf_hst/xdf_hst_wfc3ir_60mas_f160w_sci.fits', 'astropy_misc/gc_2mass_k.fits'):
            assert stripe_fraction(fits.getdata(data_path / name)) == (0, 0), name


class TestSources:
    def resolve(self, image, **kwargs):
        return resolve_noise(np.asarray(image, dtype=float), np.zeros(np.shape(image), dtype=bool), **kwargs)

    def test_order(self, rng):
        image = rng.normal(100, 10, (128, 128))
        variance = np.full(image.shape, 100.0)
        noise = NoiseModel(10.0, source='mine')
        assert self.resolve(image, noise=noise, gain=1.0, readnoise=0.0, deviation=np.sqrt(variance)).source == 'mine'
        assert self.resolve(image, gain=1.0, readnoise=0.0, deviation=np.sqrt(variance)).source == 'gain+readnoise'
        assert self.resolve(image, deviation=np.sqrt(variance)).source == 'uncertainty'
        assert self.resolve(image).source == 'image'
        assert self.resolve(image, header={'GAIN': '1.0'}, unit=u.adu).source == 'image, header GAIN'
        # After gain correction the card is stale.
        stale = self.resolve(image, header={'GAIN': 7.0}, unit=u.electron)
        assert stale.gain == 1 and stale.source == 'image, electrons'
        assert self.resolve(image, header={'GAIN': 7.0}, unit=u.nJy).source == 'image'

    def test_pedestal_makes_the_formula_wrong(self, rng):
        image = 1000 + rng.normal(0, 5, (128, 128))
        with pytest.warns(AstropyUserWarning, match='sky noise according to gain and readnoise is 32'):
            noise = self.resolve(image, gain=1.0, readnoise=5.0)
        assert sky_sigma(noise, 1000) == pytest.approx(5, rel=0.05)
        assert float(noise.slope) == 1

    def test_map_of_read_noise(self, rng):
        readnoise = rng.uniform(4, 6, (128, 128))
        noise = self.resolve(rng.poisson(100, (128, 128)) + rng.normal(0, readnoise), gain=1.0, readnoise=readnoise)
        assert noise.source == 'gain+readnoise'
        np.testing.assert_allclose(noise.sigma, readnoise)

    def test_disagreeing_noise_model_warns(self, rng):
        with pytest.warns(AstropyUserWarning, match='noise model is 2, but'):
            self.resolve(rng.normal(0, 1, (128, 128)), noise=NoiseModel(2.0))

    def test_amplifiers(self, rng):
        gain = np.repeat([1.0, 4.0], 64)
        image = rng.poisson(200, (128, 128)) / gain
        noise = self.resolve(image, gain=gain, readnoise=0.0)
        assert noise.slope.shape == (128,)
        with pytest.raises(ValueError, match='gain must broadcast to the shape of the data'):
            self.resolve(image, gain=np.ones(3))

    def observe_average(self, n, average=True):
        """Observe n exposures of a bright nebula in adu, averaged or added."""
        scene = make_scene('nebula', (320, 320), seed=3)
        frames = [scene.observe(seed=i, gain=2.0).data.astype(float) for i in range(n)]
        return scene, np.mean(frames, axis=0) if average else np.sum(frames, axis=0)

    def test_gain_of_an_average(self):
        scene, data = self.observe_average(4)
        noise = self.resolve(data, header={'GAIN': 2.0, 'NCOMBINE': 4, 'RDNOISE': 5.0}, unit=u.adu)
        assert noise.source == 'image, header GAIN x NCOMBINE, RDNOISE' and noise.gain == 8
        bright = np.quantile(scene.truth, 0.99)
        assert sky_sigma(noise, bright / 2) == pytest.approx(np.sqrt(scene.noise.variance(bright) / 4) / 2, rel=0.1)

    def test_sum_that_calls_itself_combined(self):
        _, data = self.observe_average(4, average=False)
        with pytest.warns(AstropyUserWarning, match=r'NCOMBINE = 4 of the header is not used'):
            noise = self.resolve(data, header={'GAIN': 2.0, 'NCOMBINE': 4}, unit=u.adu)
        assert noise.gain == 2

    def test_keywords_of_averages_are_configurable(self, rng):
        with conf.set_temp('ncombine_keywords', ['NFRAMES']):
            noise = self.resolve(rng.normal(100, 3, (64, 64)), header={'GAIN': 2.0, 'NFRAMES': 3}, unit=u.adu)
        assert noise.gain == 6

    def test_counts_are_like_adu(self, rng):
        image = rng.poisson(400, (128, 128)) / 2.0
        for unit in (u.count, u.DN):
            assert self.resolve(image, gain=2 * u.electron / u.adu, unit=unit).gain == 2
            assert self.resolve(image, header={'GAIN': 2.0}, unit=unit).source == 'image, header GAIN'

    def test_gain_units(self):
        assert gain_value(2 * u.electron / u.adu, u.adu) == 2
        assert gain_value(2 * u.electron / u.adu, None) == 2
        with pytest.raises(u.UnitsError, match='gain must be in electron / adu'):
            gain_value(2 * u.adu / u.electron, u.adu)
        with pytest.raises(ValueError, match='gain must be finite and positive, got -2'):
            gain_value(-2, u.adu)

    def test_readnoise_needs_gain(self, rng):
        with pytest.raises(ValueError, match='readnoise is in electrons and needs gain'):
            self.resolve(rng.normal(size=(64, 64)), readnoise=5.0, unit=u.nJy)

    def test_header_values(self):
        assert header_value({'GAIN': ' 2.5 e/ADU'}, ['EGAIN', 'GAIN']) == ('GAIN', 2.5)
        assert header_value({'EGAIN': 0.158, 'GAIN': 45}, ['EGAIN', 'GAIN']) == ('EGAIN', 0.158)
        assert header_value({'GAIN': 'unknown', 'RON': 0}, ['GAIN', 'RON']) == (None, None)

    @pytest.mark.parametrize('cls, values', [(StdDevUncertainty, 3.0), (VarianceUncertainty, 9.0),
                                             (InverseVariance, 1 / 9)])
    def test_uncertainty_types_and_units(self, cls, values):
        power = {StdDevUncertainty: 1, VarianceUncertainty: 2, InverseVariance: -2}[cls]
        array = np.full((4, 4), values)
        deviations = Deviations(cls(array * (1e3 ** power), unit=u.mJy ** power), (4, 4), u.Jy)
        np.testing.assert_allclose(deviations.at((slice(1, 3), 2)), [3, 3], rtol=1e-12)
        assert deviations.plane(()).dtype == np.float32 and deviations.zero_weight is None or power < 0

    def test_zero_inverse_variance_is_masked(self):
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            deviations = Deviations(InverseVariance(np.array([[0.0, 1.0]])), (1, 2), None)
            deviation = deviations.plane(())
        assert deviations.zero_weight.tolist() == [[True, False]] and np.isnan(deviation[0, 0])

    def test_uncertainty_of_another_shape_or_unit(self):
        with pytest.raises(ValueError, match='uncertainty must have the shape of the data'):
            Deviations(StdDevUncertainty(np.ones((3, 3))), (4, 4), None)
        with pytest.raises(u.UnitsError, match='uncertainty must have a unit that fits data in Jy, got K'):
            Deviations(StdDevUncertainty(np.ones((4, 4)), unit=u.K), (4, 4), u.Jy)

    @pytest.mark.parametrize('background', [200.0, 0.0])
    def test_plane_computed_from_the_data_is_rebuilt(self, background, rng):
        """Rebuild a plane from ccdproc.create_deviation, which has NaN at negative pixels."""
        truth = np.full((256, 256), 200.0)
        truth[100:140, 100:140] += 1000
        image = rng.poisson(truth) + rng.normal(0, 5, truth.shape) - (200 - background)
        if background:
            variance = np.maximum(image, 0) + 25
            expected = truth + 25
        else:
            # The sky's noise is in the constant; what remains of the data adds to it where positive.
            variance = np.maximum(image, 0) + 225
            expected = truth - 200 + 225
        variance[5, 7] = np.nan
        noise = self.resolve(image, deviation=np.sqrt(variance))
        assert 'rebuilt' in noise.source
        model = noise.variance(truth - (200 - background))
        np.testing.assert_allclose(np.median(model[110:130, 110:130]), np.median(expected[110:130, 110:130]), rtol=0.1)
        np.testing.assert_allclose(np.median(model[:90]), np.median(expected[:90]), rtol=0.1)
        # The essential condition: it no longer follows the noise of its own pixel.
        difference = (image - truth)[:90]
        slope = np.polyfit(difference.ravel(), model[:90].ravel(), 1)[0]
        assert abs(slope) < 0.05

    def test_static_plane_is_used_as_it_is(self, rng):
        sigma = np.where(np.arange(128) < 64, 2.0, 5.0) * np.ones((128, 1))
        noise = self.resolve(rng.normal(0, sigma), deviation=sigma)
        assert noise.source == 'uncertainty'
        np.testing.assert_allclose(noise.sigma, sigma)

    @pytest.mark.parametrize('unit', [1e-20, 1.0, 1e12])
    @pytest.mark.parametrize('factor, rebuilt', [(1.0, True), (0.7, False), (1.5, False)])
    def test_smooth_plane_of_photons(self, factor, rebuilt, unit):
        """Errors of the expected light, not of the pixel's own count."""
        scene = make_scene('survey', (128, 128), seed=4)
        sigma = np.sqrt(scene.noise.variance(scene.truth))
        deviation = unit * factor * sigma
        image = unit * np.asarray(scene.observe(seed=5).data, dtype=float)
        noise = noise_from_deviation(image, np.zeros(image.shape, dtype=bool), deviation.astype('f4'))
        assert ('rebuilt' in noise.source) == rebuilt and np.ndim(noise.sigma) == (0 if rebuilt else 2)
        if rebuilt:
            np.testing.assert_allclose(np.sqrt(noise.variance(unit * scene.truth)), deviation, rtol=0.1)
            # Pixels with errors of another origin keep them.
            deviation[5, 6] *= 50
            noise = noise_from_deviation(image, np.zeros(image.shape, dtype=bool), deviation.astype('f4'))
            assert 'rebuilt' in noise.source and noise.sigma[5, 6] == deviation[5, 6].astype('f4')

    def test_smooth_plane_that_no_pixel_agrees_with(self, rng):
        image = np.where(rng.random((64, 64)) < 0.5, -1000.0, 1000.0)
        deviation = np.sqrt(np.linspace(1, 2, 64, dtype='f4'))[:, None] * np.ones(64, dtype='f4')
        assert noise_from_deviation(image, np.zeros(image.shape, dtype=bool), deviation).source == 'uncertainty'

    def test_useless_plane_falls_back_to_the_image(self, rng):
        with pytest.warns(AstropyUserWarning, match='hardly any finite, positive value'):
            noise = self.resolve(rng.normal(0, 3, (128, 128)), deviation=np.full((128, 128), np.nan))
        assert noise.source == 'image'


class TestAutocorrelationOfTheModel:
    """The autocorrelation that was measured with the noise is not measured again, nor believed of another image."""

    @pytest.fixture
    def smoothed(self, rng):
        return gaussian_filter(rng.normal(size=(160, 160)), 0.6)

    def test_is_the_measured_one(self, smoothed):
        plane, = find_planes(Container(smoothed))[0]
        np.testing.assert_allclose(plane.noise.autocorrelation, noise_autocorrelation(smoothed), atol=1e-9)
        assert min(find_hole([plane])) > 1

    def test_is_not_measured_twice(self, smoothed, monkeypatch):
        planes = find_planes(Container(smoothed))[0]
        monkeypatch.setattr('astropy_n2v.noise.sky.autocorrelation_of', None)
        assert min(find_hole(planes)) > 1

    @pytest.mark.filterwarnings('ignore::astropy.utils.exceptions.AstropyUserWarning')
    def test_of_another_image_is_not_used(self, smoothed, rng):
        white = rng.normal(size=(160, 160))
        for image, other, wide in ((white, smoothed, False), (smoothed, white, True)):
            given_noise = estimate_noise(other)
            assert given_noise.autocorrelation is not None
            planes = find_planes(Container(image), noise=given_noise)[0]
            assert planes[0].noise.autocorrelation is None
            assert (max(find_hole(planes)) > 1) == wide


@pytest.mark.parametrize('size', [1, 2, 17, 256])
def test_clipped_mean_is_that_of_astropy(size, rng):
    values = rng.normal(size=size) ** 3
    for sigma in 1.5, 2.5:
        expected = SigmaClip(sigma=sigma, maxiters=10)(values, masked=False).mean()
        assert clipped_mean(values, sigma) == pytest.approx(expected, rel=1e-12, abs=1e-15)
