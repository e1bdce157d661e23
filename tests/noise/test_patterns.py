# Licensed under a 3-clause BSD style license - see LICENSE
"""
Noise that is not white: smoothed, interpolated, of mosaics and of several amplifiers.
"""

import io
import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, NDData, StdDevUncertainty
from astropy.utils.exceptions import AstropyUserWarning
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import convolve, gaussian_filter, gaussian_filter1d, uniform_filter1d, zoom

from astropy_n2v import NoiseModel, denoise, estimate_noise, noise_autocorrelation
from astropy_n2v.blind_spot import find_hole
from astropy_n2v.containers.container import Container
from astropy_n2v.noise import (
    amplifier_edges,
    choose_hole,
    has_compression_blocks,
    interpolation_period,
    mosaic_contrast,
    smoothed_noise,
)
from astropy_n2v.noise.views import WHOLE, part_of, split_views
from astropy_n2v.planes import find_planes
from astropy_n2v.simulate import make_scene, random_scene


def make_beam_map(fwhm, n_sources=30, size=160, seed=0, sigma=1.0):
    """Data and truth of a radio map: sources and noise of the size of the beam."""
    rng = np.random.default_rng(seed)
    points = np.zeros((size, size))
    points[rng.integers(0, size, n_sources), rng.integers(0, size, n_sources)] = 10 ** rng.uniform(0, 2.5, n_sources)
    width = fwhm / 2.355
    truth = gaussian_filter(points, width) * 2 * np.pi * width ** 2
    noise = gaussian_filter(rng.normal(size=(size, size)), width, mode='wrap')
    return (sigma * (truth + noise / noise.std())).astype(np.float32), sigma * truth


def observe_scanned(kind, fwhm, axis, shape=(224, 240), seed=5300):
    """Data that were smoothed along one axis with their photon noise, truth, and noise of each pixel."""
    truth = np.full(shape, 400.0) if kind == 'empty' else make_scene(kind, shape, seed=seed).truth
    white = np.random.default_rng(seed).normal(size=shape) * np.sqrt(truth)
    width = fwhm / 2.355
    truth, noise = (gaussian_filter1d(values, width, axis=axis) for values in (truth, white))
    return truth + noise, truth, np.sqrt(truth / (np.sqrt(4 * np.pi) * width))


def make_sky(size=128, seed=3, level=400.0):
    """Make a field of stars with photon noise: truth and data."""
    rng = np.random.default_rng(seed)
    points = np.zeros((size, size))
    points[rng.integers(0, size, 20), rng.integers(0, size, 20)] = 10 ** rng.uniform(2.5, 4, 20)
    truth = level + gaussian_filter(points, 1.4)
    return truth, rng.poisson(truth) + rng.normal(0, 3, truth.shape)


def debayer(raw):
    """Red and green planes of an RGGB mosaic, interpolated bilinearly."""
    y, x = np.indices(raw.shape) % 2
    red, green = (y == 0) & (x == 0), y != x
    of_red, of_green = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 4, np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]]) / 4
    return np.stack([convolve(np.where(red, raw, 0), of_red, mode='mirror'),
                     convolve(np.where(green, raw, 0), of_green, mode='mirror')])


def gain_and_coverage(result, std, data, truth):
    error = result - truth
    return np.std(data - truth) / np.std(error), np.mean(np.abs(error) < 1.96 * std)


def plain_scene(seed):
    return np.asarray(random_scene((128, 128), seed=seed).observe(seed=seed + 500).data)


class TestSmoothed:
    @settings(max_examples=12, deadline=None)
    @given(fwhm=st.floats(1.9, 6), n_sources=st.integers(0, 60), seed=st.integers(0, 99),
           sigma=st.sampled_from([1e-19, 1e-4, 30.0]))
    def test_noise_is_measured(self, fwhm, n_sources, seed, sigma):
        data, _ = make_beam_map(fwhm, n_sources, seed=seed, sigma=sigma)
        found = smoothed_noise(data)
        assert found.sigma == pytest.approx(sigma, rel=0.12) and found.fwhm == pytest.approx(fwhm, rel=0.15)
        if found.certain:
            noise = estimate_noise(data)
            assert np.sqrt(noise.variance(0.0)) == pytest.approx(sigma, rel=0.12)

    @pytest.mark.parametrize('step', [0.3, 1.0])
    def test_quantised(self, step):
        data, _ = make_beam_map(4.0)
        data = np.round(data / step) * step
        assert np.sqrt(estimate_noise(data).variance(0.0)) == pytest.approx(1, rel=0.1)

    def test_masked_pixels(self, rng):
        data, _ = make_beam_map(3.0)
        mask = rng.random(data.shape) < 0.05
        data[mask] = 1e6
        assert smoothed_noise(data, mask).sigma == pytest.approx(1, rel=0.08)

    def test_gain_of_a_smoothed_image(self):
        truth = np.full((192, 192), 900.0)
        data = gaussian_filter(np.random.default_rng(0).poisson(truth).astype(float), 4 / 2.355)
        noise = estimate_noise(data, gain=1.0)
        # Each pixel is the average of so many.
        assert float(noise.gain) == pytest.approx(4 * np.pi * (4 / 2.355) ** 2, rel=0.1)
        assert noise.variance(900.0) == pytest.approx(data.var(), rel=0.1)

    @pytest.mark.parametrize('fwhm', [2.5, 3.5, 6])
    def test_result_is_better_and_its_uncertainty_right(self, fwhm):
        data, truth = make_beam_map(fwhm, size=192)
        for uncertainty in (None, StdDevUncertainty(np.ones(data.shape))):
            with pytest.warns(AstropyUserWarning) as caught:
                result = denoise(NDData(data, uncertainty=uncertainty, meta=fits.Header()))
            text = ' '.join(str(w.message) for w in caught)
            assert f'correlated noise: it is as of an image smoothed to a FWHM of {fwhm:.0f}'[:-1] in text
            assert 'sky noise according to' not in text and 'innovations' not in text
            # Said once.
            assert 'calls for a hole' not in text
            gain, coverage = gain_and_coverage(result.data, result.uncertainty.array, data, truth)
            assert gain > {2.5: 3.0, 3.5: 1.6, 6: 1.1}[fwhm] and 0.9 < coverage < 1

    @pytest.mark.parametrize('photons', [False, True])
    def test_bright_pixels_of_a_crowd_are_no_worse_than_measured(self, photons):
        scene = make_scene('crowded', (192, 192), seed=43)
        rng = np.random.default_rng(44)
        noise = rng.normal(0, np.sqrt(scene.sky + scene.readnoise ** 2), scene.truth.shape)
        data = (rng.poisson(scene.truth) if photons else scene.truth) + noise
        data, truth = (gaussian_filter(values.astype(float), 5 / 2.355) for values in (data, scene.truth))
        with pytest.warns(AstropyUserWarning, match='but not for photon noise, which is unknown without gain'):
            result = denoise(data)
        order = np.argsort(truth.ravel())
        for part in order[-3700:-740], order[-740:]:   # a tenth, and the brightest 2 %
            before, after = (np.sqrt(np.mean((image.ravel()[part] - truth.ravel()[part]) ** 2))
                             for image in (data, result))
            assert after < 1.06 * before

    @pytest.mark.parametrize('axis', [0, 1])
    @pytest.mark.parametrize('kind', ['empty', 'survey', 'nebula'])
    @pytest.mark.parametrize('fwhm', [3.0, 5.0, 8.0])
    def test_smoothed_along_one_axis(self, fwhm, kind, axis):
        data, truth, sigma = observe_scanned(kind, fwhm, axis)
        found = smoothed_noise(data)
        assert found.axes == (axis,) and found.certain and found.fwhm == pytest.approx(fwhm, rel=0.15)
        level = np.median(truth)
        assert np.sqrt(estimate_noise(data).variance(level)) == pytest.approx(np.median(sigma), rel=0.12)
        lags = found.lags(2)
        assert np.count_nonzero(lags) == 5 and np.ptp(lags, axis=1 - axis).max() > 0.3

    def test_moving_average_along_one_axis(self):
        noise = uniform_filter1d(np.random.default_rng(1).normal(size=(192, 256)), 9)[:, 32:-32]
        found = smoothed_noise(noise)
        assert found.sigma == pytest.approx(noise.std(), rel=0.05) and not found.is_gaussian
        noise = gaussian_filter1d(np.random.default_rng(1).normal(size=(192, 192)), 3)
        assert smoothed_noise(noise).is_gaussian
        # A part that was not smoothed.
        assert not smoothed_noise(noise + 0.35 * noise.std() * np.random.default_rng(2).normal(size=noise.shape)
                                  ).is_gaussian

    def test_gain_along_one_axis(self):
        truth = np.linspace(400.0, 4000.0, 256)[:, None] * np.ones(256)
        data = gaussian_filter1d(np.random.default_rng(0).poisson(truth).astype(float), 4 / 2.355)
        n = np.sqrt(4 * np.pi) * 4 / 2.355   # pixels that were averaged
        noise = estimate_noise(data, gain=1.0, readnoise=10.0)
        assert float(noise.gain) == pytest.approx(n, rel=0.1)
        assert float(noise.sigma) == pytest.approx(10 / np.sqrt(n), rel=0.1)
        assert noise.variance(500.0) == pytest.approx(500 / n, rel=0.25)

    @pytest.mark.parametrize('fwhm, axis', [(5.0, 1), (6.0, 0)])
    def test_noise_along_one_axis_is_removed(self, fwhm, axis):
        data, truth, _ = observe_scanned('survey', fwhm, axis)
        with pytest.warns(AstropyUserWarning) as caught:
            result = denoise(NDData(data, meta=fits.Header()))
        assert any('correlated noise: it is as of an image smoothed' in str(w.message) for w in caught)
        gain, coverage = gain_and_coverage(result.data, result.uncertainty.array, data, truth)
        assert gain > 2.5 and 0.93 < coverage < 1

    def test_what_is_not_smoothed_along_one_axis(self, rng):
        white = rng.normal(size=(192, 192))
        stripes = white + 3 * rng.normal(size=(192, 1))
        # The light of many spectra, some pixels wide, with the noise of each pixel.
        rows = np.arange(192)
        spectra = 100 * np.exp(-0.5 * ((rows % 6 - 2.5) / 0.9) ** 2)[:, None] * np.ones(192) + white
        beam = gaussian_filter(white, 2.0)
        for image in (white, stripes, spectra, beam):
            found = smoothed_noise(image)
            assert found is None or found.axes == (0, 1)

    @pytest.mark.parametrize('factor', [0.6, 1.6])
    def test_wrong_noise_of_a_beam_is_warned_of(self, factor):
        data, _ = make_beam_map(3.5, size=192)
        with pytest.warns(AstropyUserWarning) as caught:
            denoise(NDData(data), noise=NoiseModel(factor))
        assert any('sky noise according to the given' in str(w.message) for w in caught)

    def test_structure_without_noise_is_warned_of(self, rng):
        """Warn of an image without power at high frequencies, as of a photographic plate, whose noise is not known."""
        data = gaussian_filter(rng.exponential(size=(128, 128)) ** 2, 3.0)
        assert not smoothed_noise(data).certain
        with pytest.warns(AstropyUserWarning) as caught:
            denoise(data)
        assert any('no noise at the highest spatial frequencies' in str(w.message) for w in caught)

    def test_white_noise_is_none(self):
        for seed in range(25):
            assert smoothed_noise(plain_scene(seed)) is None

    def test_hole_of_small_correlations_far_away(self):
        line = np.array([0.02, 0.1, 0.34, 0.77, 1, 0.77, 0.34, 0.1, 0.02])
        assert choose_hole(line[:, None] * line) == (5, 5)

    @pytest.mark.filterwarnings('ignore:data has .* pixels in')
    def test_real_frames(self, data_path):
        for name in ('ccdproc/a8280271.fits', 'sfft_decam/Stack-DEC-OBS04.fits', 'astropy_ws/w5.fits',
                     'xdf_hst/xdf_hst_wfc3ir_60mas_f160w_sci.fits', 'blast/SDSS_r.fits', 'hst_foc/foc.fits'):
            assert smoothed_noise(fits.getdata(data_path / name)) is None, name
        assert smoothed_noise(fits.getdata(data_path / 'blast/2MASS_J.fits')).fwhm == pytest.approx(2.3, abs=0.1)
        wise = fits.getdata(data_path / 'blast/WISE_W1.fits')
        assert noise_autocorrelation(wise)[4, 5] > 0.9 and smoothed_noise(wise).sigma > 0.05


class TestInterpolated:
    def test_debayered_frame(self):
        truth, raw = make_sky()
        data, clean = debayer(raw), debayer(truth)
        with pytest.warns(AstropyUserWarning, match='interpolated noise: .* period of 2 pixels'):
            result, prediction = denoise(data, full_output=True)
        for plane in range(2):
            sky = clean[plane] < 410
            gain, coverage = gain_and_coverage(*(values[plane][sky] for values in
                                                 (result, prediction.std, data, clean)))
            assert gain > 4 and coverage > 0.93
            gain, _ = gain_and_coverage(*(values[plane] for values in (result, prediction.std, data, clean)))
            assert gain > 1.2

    @pytest.mark.parametrize('factor, order, grid', [(2, 0, True), (2, 1, True), (2, 1, False), (2, 3, True),
                                                     (3, 1, True), (4, 1, True)])
    def test_enlarged_frame(self, factor, order, grid, rng):
        data = zoom(rng.normal(size=(100, 100)), factor, order=order, grid_mode=grid, mode='grid-mirror' if grid else
                    'mirror')
        assert interpolation_period(data) == factor

    @settings(max_examples=10, deadline=None)
    @given(seed=st.integers(0, 999))
    def test_scenes_have_no_period(self, seed):
        assert interpolation_period(plain_scene(seed)) == 1

    @pytest.mark.parametrize('mean', [1e-4, 1e-3, 0.01, 0.1, 1.0])
    def test_photon_starved_frames_have_no_pattern(self, mean, rng):
        for size in (64, 128, 300):
            counts = rng.poisson(mean, (size, size))
            assert interpolation_period(counts) == 1 and amplifier_edges(counts) == ([], [])
            assert smoothed_noise(counts) is None and interpolation_period(np.round(rng.normal(size=(size, size)))) == 1

    def test_no_period(self, rng):
        white = rng.normal(size=(130, 130))
        # Neither a smoothed image nor one shifted by half a pixel repeats itself, nor odd and even columns.
        assert interpolation_period(gaussian_filter(white, 1.0)) == interpolation_period(white[1:] + white[:-1]) == 1
        assert interpolation_period(white * np.where(np.arange(130) % 2, 1.0, 1.05)) == 1
        assert interpolation_period(np.zeros((130, 130))) == interpolation_period(white[:20, :20]) == 1

    @pytest.mark.filterwarnings('ignore:data has .* pixels in')
    def test_real_frames(self, data_path):
        for name in ('ccdproc/a8280271.fits', 'nomtam_m13/m13.fits', 'kepler/kplr-ffi_ch01_test.fits',
                     'xdf_hst/xdf_hst_wfc3ir_60mas_f160w_sci.fits', 'm13_blue/M13_blue_0001.fits',
                     'hst_foc/foc.fits', 'astropy_misc/gc_2mass_k.fits'):
            with fits.open(data_path / name) as hdus:
                image = next(hdu.data for hdu in hdus if hdu.data is not None)
            assert interpolation_period(image) == 1, name


class TestMosaic:
    def test_colour_by_colour(self):
        truth, _ = make_sky()
        y, x = np.indices(truth.shape) % 2
        truth = truth * np.where(y != x, 1.0, np.where(y == 0, 0.6, 0.4))
        data = np.random.default_rng(1).poisson(truth).astype(float)
        with warnings.catch_warnings():
            warnings.simplefilter('error', AstropyUserWarning)
            result, prediction = denoise(CCDData(data, unit='electron'), full_output=True)
        assert result.shape == data.shape and np.isfinite(prediction.std).all()
        for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
            view = slice(row, None, 2), slice(column, None, 2)
            gain, coverage = gain_and_coverage(result.data[view], prediction.std[view], data[view], truth[view])
            assert gain > 1.5 and coverage > 0.93
            np.testing.assert_allclose(result.data[view].mean(), data[view].mean(), rtol=0.005)

    def test_masked_pixels_come_out_as_they_went_in(self):
        _, data = make_sky(128)
        data[::2, ::2] += 200
        mask = np.zeros(data.shape, dtype=bool)
        mask[10:13, 20:25] = True
        data[30, 31] = np.nan
        result = denoise(CCDData(data, unit='electron', mask=mask))
        np.testing.assert_array_equal(result.data[mask], data[mask])
        assert np.array_equal(np.isnan(result.data), np.isnan(data))

    @pytest.mark.parametrize('card', [{}, {'BAYERPAT': 'RGGB'}])
    def test_card_alone_is_no_mosaic(self, card):
        _, data = make_sky(128)
        assert split_views(data, np.zeros(data.shape, bool), card, {}) == [WHOLE]
        # A faint one counts where the header announces it.
        data[::2, ::2] += 7
        assert len(split_views(data, np.zeros(data.shape, bool), card, {})) == (4 if card else 1)

    def test_arrays_of_gain_and_noise(self):
        _, data = make_sky(128)
        data[::2, 1::2] += 300
        gain = np.full(data.shape, 1.0)
        planes, _ = find_planes(Container(data), gain=gain)
        assert [plane.values.shape for plane in planes] == [(64, 64)] * 4
        assert find_hole(planes) == (1, 1)
        np.testing.assert_array_equal(part_of(np.arange(128.0), data.shape, planes[1].view)[0],
                                      np.arange(1.0, 128, 2))

    def test_real_frame(self, data_path):
        data = fits.getdata(data_path / 'panoptes' / 'pole.fits')
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', AstropyUserWarning)
            result = denoise(data)
        # Differences of neighbours of one colour have lost their noise, and the pattern of colours is kept.
        for image in (data.astype(float), result):
            assert mosaic_contrast(image) > 3
        rough, smooth = (np.median(np.abs(image[:, 2:] - image[:, :-2])) for image in (data.astype(float), result))
        assert smooth < 0.4 * rough
        for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
            assert np.mean(result[row::2, column::2]) == pytest.approx(np.mean(data[row::2, column::2]), rel=2e-3)


class TestAmplifiers:
    def make_raw(self, shape=(128, 192)):
        """Truth and data of two amplifiers in adu."""
        truth, _ = make_sky(192, level=200.0)
        truth = truth[:shape[0]]
        rng = np.random.default_rng(5)
        gain, bias = (np.where(np.arange(192) < 96, *values) for values in ((1.0, 2.5), (1000.0, 1350.0)))
        return truth / gain + bias, (rng.poisson(truth) + rng.normal(0, 5, truth.shape)) / gain + bias

    def test_step_is_no_structure(self):
        truth, data = self.make_raw()
        with pytest.warns(AstropyUserWarning, match='level or noise has a step at column 96'):
            result, prediction = denoise(CCDData(data, unit='adu'), full_output=True)
        for part in (slice(0, 96), slice(96, 192), slice(92, 100)):
            gain, coverage = gain_and_coverage(*(values[:, part] for values in
                                                 (result.data, prediction.std, data, truth)))
            assert gain > 2.5 and coverage > 0.93

    def test_edges(self):
        _, data = self.make_raw()
        assert amplifier_edges(data) == ([], [96]) and amplifier_edges(data.T) == ([96], [])
        rng = np.random.default_rng(0)
        quadrants = rng.normal(size=(128, 160))
        quadrants[64:] += 2
        quadrants[:, 80:] += 1
        assert amplifier_edges(quadrants) == ([64], [80])
        # An overscan between two amplifiers, masked.
        gap = np.insert(data, [96] * 20, np.nan, axis=1)
        assert amplifier_edges(gap) == ([], [116])
        # Noise alone.
        noisy = rng.normal(size=(256, 256)) * np.where(np.arange(256) < 128, 1.0, 1.6)
        (rows, columns) = amplifier_edges(noisy)
        assert rows == [] and len(columns) == 1 and abs(columns[0] - 128) < 3

    def test_what_the_user_says_counts(self):
        _, data = self.make_raw()
        gain = np.where(np.arange(192) < 96, 1.0, 2.5)
        assert split_views(data, np.zeros(data.shape, bool), {}, {'gain': gain}) == [WHOLE]

    @settings(max_examples=15, deadline=None)
    @given(seed=st.integers(0, 999))
    def test_scenes_have_no_step(self, seed):
        assert amplifier_edges(plain_scene(seed)) == ([], [])

    @pytest.mark.parametrize('axis', [0, 1])
    @pytest.mark.parametrize('rows', [(0, 50), (40, 100), (60, 128)])
    def test_noise_of_a_source_beside_the_middle(self, rng, rows, axis):
        """Photons of a nebula that ends there, but does not reach along all of the image."""
        image = rng.normal(0, 1, (128, 128))
        image[slice(*rows), 64:] *= 4
        assert amplifier_edges(image if axis else image.T) == ([], [])
        image[:, 64:] *= 2
        image[slice(*rows), 64:] /= 4
        rows, columns = amplifier_edges(image if axis else image.T)
        assert len(columns if axis else rows) == 1 and not (rows if axis else columns)

    def test_slopes_and_lines_are_no_steps(self, rng):
        data = rng.normal(size=(128, 128))
        slope = data + 0.5 * np.arange(128)
        line = data.copy()
        line[:, 64] += 20
        star = data.copy()
        star[40:60, 64:] += 20
        for image in (data, slope, line, star, np.zeros((128, 128)), data[:40, :40]):
            assert amplifier_edges(image) == ([], [])

    @pytest.mark.filterwarnings('ignore:data has .* pixels in')
    def test_real_frames(self, data_path):
        for name in ('ccdproc/a8280271.fits', 'sfft_decam/DEC-OBS04a.mini.fits', 'blast/WISE_W1.fits',
                     'm13_blue/M13_blue_0001.fits', 'properimage/aligned_eso085-030-004.fit', 'hst_foc/foc.fits'):
            assert amplifier_edges(fits.getdata(data_path / name)) == ([], []), name


def make_nebula(size=160, seed=0):
    """Truth and data, from 0 to 1, of nebulosity that has structure at the scale of some pixels."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size))
    light = np.fft.ifft2(np.fft.fft2(rng.normal(size=(size, size))) / np.maximum(frequency, 1 / size) ** 1.5).real
    truth = 0.45 + 0.12 * gaussian_filter(light, 0.8) / light.std()
    return truth, truth + rng.normal(0, 0.008, truth.shape)


def compress(image, quality):
    """An image with 256 levels that went through JPEG."""
    image_module = pytest.importorskip('PIL.Image')
    file = io.BytesIO()
    image_module.fromarray(np.rint(np.clip(image, 0, 1) * 255).astype('u1')).save(file, 'JPEG', quality=quality)
    return np.asarray(image_module.open(file))


class TestPictures:
    @pytest.mark.parametrize('quality', [60, 80])
    def test_blocks_of_jpeg(self, quality):
        data = compress(make_nebula()[1], quality)
        assert has_compression_blocks(data) and has_compression_blocks(data[3:, 5:])
        # Without the blocks, its noise repeats itself after four pixels.
        assert interpolation_period(data) == 1

    @settings(max_examples=10, deadline=None)
    @given(seed=st.integers(0, 999))
    def test_scenes_have_no_blocks(self, seed):
        assert not has_compression_blocks(plain_scene(seed))

    def test_no_blocks(self, rng):
        assert not has_compression_blocks(np.zeros((64, 64))) and not has_compression_blocks(rng.normal(size=(9, 64)))
        stripes = np.where(np.arange(128) % 8, 0.0, 3.0)
        assert not has_compression_blocks(rng.normal(size=(128, 128)) + stripes)
        enlarged = zoom(rng.normal(size=(40, 40)), 4, order=1)
        assert not has_compression_blocks(enlarged) and interpolation_period(enlarged) == 4

    @pytest.mark.filterwarnings('ignore:data has .* pixels in')
    def test_real_frames_have_no_blocks(self, data_path):
        for name in ('ccdproc/a8280271.fits', 'nomtam_m13/m13.fits', 'nomtam_m13/m13_hcomp.fits', 'hst_foc/foc.fits'):
            with fits.open(data_path / name) as hdus:
                assert not has_compression_blocks(next(hdu.data for hdu in hdus if hdu.data is not None)), name

    @pytest.mark.parametrize('kind', ['JPEG', 'JPEG as parts of one', 'debayered'])
    @pytest.mark.parametrize('seed', [0, 1])
    def test_nebulosity_does_not_get_worse(self, kind, seed):
        truth, data = make_nebula(seed=seed)
        if kind == 'debayered':
            truth, data = debayer(truth)[0], debayer(data)[0]
        else:
            data, truth = compress(data, 90), 255 * truth
            if kind != 'JPEG':
                data, truth = (data / 255).astype('f4'), truth / 255
        with pytest.warns(AstropyUserWarning, match='nebulosity fills the picture'):
            result = denoise(data)
        assert np.mean((result - truth) ** 2) <= np.mean((data - truth) ** 2)

    def test_sky_is_denoised(self):
        truth, raw = make_sky()
        data, known = (np.arcsinh((values - 400) / 60) / 8 + 0.1 for values in (raw, truth))
        picture = compress(data, 90) / 255
        error = picture - known
        assert np.std(denoise(picture) - known) < 0.5 * np.std(error)

    def test_counts_and_mosaics_are_no_pictures(self, rng):
        counts = rng.poisson(2.0, (64, 64)).astype('u1')
        assert not find_planes(Container(counts))[0][0].picture
        mosaic = rng.normal(np.where(np.indices((64, 64)).sum(axis=0) % 2, 90, 50), 3).round().astype('u1')
        assert len(find_planes(Container(mosaic))[0]) == 4

    @pytest.mark.parametrize('stated', [{'gain': 1.0}, {'noise': NoiseModel(5.0)}])
    def test_stated_noise_is_used(self, rng, stated):
        data = rng.normal(100, 5, (64, 64)).round().astype('u1')
        assert find_planes(Container(data))[0][0].picture
        assert not find_planes(Container(data), **stated)[0][0].picture
        assert not find_planes(Container(CCDData(data, unit='adu')))[0][0].picture


def test_linear_frame_of_8_bits_is_no_picture():
    """A guide camera: photon noise of stars is that of a frame; once it is stretched, it is a picture."""
    scene = make_scene('survey', (128, 128), seed=20)
    signal = (scene.truth - np.median(scene.truth)) / np.std(scene.observe(seed=1).data - scene.truth)
    photons = np.random.default_rng(7).poisson(np.maximum(36 + 12 * signal, 0))
    frame = np.minimum(photons // 2, 255).astype('u1')
    assert not find_planes(Container(frame))[0][0].picture and not find_planes(Container(frame / 255))[0][0].picture
    assert find_planes(Container(np.rint(np.sqrt(255.0 * frame)).astype('u1')))[0][0].picture
