# Licensed under a 3-clause BSD style license - see LICENSE
"""
Background, residuals and uncertainties: known faults are seen, and nothing else is.
"""

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from scipy.ndimage import gaussian_filter, median_filter

from astropy_n2v.simulate import make_scene
from astropy_n2v.validation import (
    aperture_error_factor,
    aperture_noise,
    autocorrelation,
    autocorrelation_map,
    judge_uncertainty,
    judge_uncertainty_by_halves,
    residual_correlation,
    residual_statistics,
    residual_whiteness,
    sky_offset,
    sky_pixels,
    summarize_sky_offset,
)


class Observation:
    """A scene observed, and denoised ideally: the posterior of the data and of surroundings with known errors."""

    def __init__(self):
        self.scene = make_scene('survey', (256, 256), seed=3)
        self.truth, self.noise = self.scene.truth, self.scene.noise
        rng = np.random.default_rng(4)
        self.sigma = np.sqrt(self.noise.variance(self.truth))
        self.sky = float(np.sqrt(self.noise.variance(self.scene.sky)))
        self.before = self.ccd(self.truth + self.sigma * rng.normal(size=self.truth.shape), self.sigma)
        spread = 0.3 * self.sigma
        variance = 1 / (1 / self.sigma ** 2 + 1 / spread ** 2)
        guess = self.truth + spread * rng.normal(size=self.truth.shape)
        self.after = self.ccd(variance * (guess / spread ** 2 + self.before.data / self.sigma ** 2), np.sqrt(variance))

    def ccd(self, data, std):
        return CCDData(data, unit='electron', uncertainty=StdDevUncertainty(std))

    def changed(self, data):
        return self.ccd(data, self.after.uncertainty.array)


@pytest.fixture(scope='module')
def seen():
    return Observation()


def z(row, name, expected=0.0):
    return 0.0 if row[name] == expected else float((row[name] - expected) / row[f'{name}_err'])


def test_sky_pixels(seen):
    for image in seen.truth, seen.after:
        sky = sky_pixels(image, sigma=seen.sky)
        assert 0.6 < sky.mean() < 0.99
        # Pixels are not chosen on their own noise.
        assert abs(np.mean(seen.before.data[sky] - seen.truth[sky])) < 0.02 * seen.sky
        bright = gaussian_filter(seen.truth, 2) - seen.scene.sky > seen.sky
        assert not (sky & bright).any()
    gradient = np.linspace(0, 20 * seen.sky, 256)
    assert sky_pixels(seen.after.data + gradient, sigma=seen.sky).mean() > 0.5


def test_sky_offset(seen):
    def offset(after, **kwargs):
        cells = sky_offset(seen.before, after, noise=seen.noise, **kwargs)
        return cells, summarize_sky_offset(cells, seed=1)[0]
    for truth in None, seen.truth:
        cells, total = offset(seen.after, truth=truth)
        assert len(cells) == 64 and cells['offset'].unit == 'electron'
        assert abs(z(total, 'offset')) < 3 and abs(total['worst_significance']) < 4
        assert total['scatter'] == pytest.approx(1, abs=0.3)
        _, total = offset(seen.after.data + 0.05 * seen.sky, truth=truth)
        assert total['offset'] == pytest.approx(0.05, abs=0.015) and z(total, 'offset') > 6
    _, total = offset(seen.before)
    assert total['offset'] == 0 and total['worst'] == 0 and total['worst_significance'] == 0
    local = seen.after.data.copy()
    local[64:96, 160:192] += 0.3 * seen.sky
    cells, total = offset(local, truth=seen.truth)
    worst = cells[np.argmax(np.abs(cells['offset_sigma']))]
    assert (worst['x'], worst['y']) == (175.5, 79.5) and total['worst_significance'] > 8


def test_mesh_of_odd_images(seen):
    cells = sky_offset(seen.before.data[:101, :77], seen.after.data[:101, :77], noise=seen.noise)
    assert len(cells) == 12 and cells['n'].max() <= 32 ** 2


def test_aperture_noise_of_independent_pixels(seen):
    halved = seen.ccd(seen.after.data, seen.after.uncertainty.array / 2)
    for image, factor in (seen.before, 1), (seen.after, 1), (halved, 2):
        table = aperture_noise(image, truth=seen.truth, seed=1)
        assert all(abs(row['sigma'] - row['sigma_white']) < 3.5 * row['sigma_err'] for row in table[1:])
        assert all(abs(z(row, 'factor_quoted', factor)) < 3.5 for row in table)
        assert table.meta['beta'] == pytest.approx(0.5, abs=0.03)


def test_aperture_noise_of_correlated_pixels():
    rng = np.random.default_rng(1)
    image = gaussian_filter(rng.normal(size=(512, 512)), 1.5, mode='wrap')
    sigma = 1 / (2 * np.sqrt(np.pi) * 1.5)
    table = aperture_noise(image, noise=sigma, select=np.ones(image.shape, dtype=bool), sizes=(1, 3, 8, 16), seed=1)
    assert table['sigma_white'][2] == pytest.approx(8 * sigma, rel=0.05)
    # Large apertures collect the noise that was there before smoothing.
    lag = np.subtract.outer(np.arange(16), np.arange(16))
    expected = np.exp(-lag ** 2 / (4 * 1.5 ** 2)).sum() * sigma
    assert table['sigma'][3] == pytest.approx(expected, rel=0.08)
    assert table['factor'][3] == pytest.approx(expected / 16 / sigma, rel=0.08)
    assert table.meta['beta'] > 0.6
    assert aperture_error_factor(table, 64) == table['factor_quoted'][2]
    between = aperture_error_factor(table, [9, 30])
    assert table['factor_quoted'][1] == between[0] < between[1] < table['factor_quoted'][2]
    with pytest.raises(ValueError, match='area must be between 1 and 256 pixels, got 400'):
        aperture_error_factor(table, 400)


def test_autocorrelation(seen):
    rng = np.random.default_rng(0)
    white = autocorrelation(rng.normal(size=(200, 180)), max_lag=5)
    assert white.meta['p_value'] > 1e-3 and np.std(white['significance']) == pytest.approx(1, abs=0.25)
    noise = rng.normal(size=(200, 183))
    rows = autocorrelation(noise[:, 1:-1] + noise[:, :-2] + noise[:, 2:], max_lag=4)
    rho = autocorrelation_map(rows)
    assert rho[4, 4:7] == pytest.approx([1, 2 / 3, 1 / 3], abs=0.02) and abs(rho[5, 4]) < 0.03
    assert np.array_equal(rho, rho[::-1, ::-1])
    assert rows.meta['effective_area'] == pytest.approx(3, abs=0.6) and rows.meta['p_value'] < 1e-10
    result = autocorrelation(seen.after, truth=seen.truth)
    assert result.meta['p_value'] > 1e-3
    assert result.meta['variance'] == pytest.approx(np.mean(seen.after.uncertainty.array ** 2), rel=0.05)
    assert autocorrelation(gaussian_filter(seen.before.data, 1), truth=seen.truth)['correlation'].max() > 0.5


def test_autocorrelation_with_masked_pixels():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(200, 181))
    image = noise[:, 1:] + noise[:, :-1]
    image[rng.uniform(size=image.shape) < 0.3] = np.nan
    rho = autocorrelation_map(autocorrelation(image, select=np.isfinite(image), max_lag=2))
    assert rho[2, 3] == pytest.approx(0.5, abs=0.03) and abs(rho[3, 2]) < 0.03


def test_residuals_of_an_ideal_result(seen):
    table = residual_statistics(seen.before, seen.after, noise=seen.noise, brightness=seen.truth, seed=1)
    for row in table[table['n'] > 300]:
        assert abs(z(row, 'mean')) < 3.5 and abs(z(row, 'excess', 1)) < 3.5
        assert row['expected_ratio'] == pytest.approx(1 - 0.09 / 1.09)
    white = residual_whiteness(seen.before, seen.after, noise=seen.noise, brightness=seen.truth)
    assert white.meta['p_value'] > 1e-3
    for row in residual_correlation(seen.before, seen.after, brightness=seen.truth, noise=seen.noise, seed=1):
        assert abs(row['value'] / row['value_err']) < 3.5


def test_residuals_of_the_identity(seen):
    table = residual_statistics(seen.before, seen.before, noise=seen.noise, seed=1)
    assert (table['mean'][table['n'] > 0] == 0).all() and (table['variance_ratio'][table['n'] > 0] == 0).all()
    assert residual_whiteness(seen.before, seen.before, noise=seen.noise).meta['p_value'] == 1
    assert (residual_correlation(seen.before, seen.before, noise=seen.noise)['value'] == 0).all()


def test_residuals_of_an_offset(seen):
    table = residual_statistics(seen.before, seen.after.data + 0.05 * seen.sky, noise=seen.noise,
                                brightness=seen.truth, seed=1)
    assert table['mean'][0] == pytest.approx(-0.05, abs=0.015) and z(table[0], 'mean') < -6


@pytest.mark.parametrize('blur', [lambda image: gaussian_filter(image, 1.5), lambda image: median_filter(image, 5)])
def test_residuals_of_filters(seen, blur):
    after = seen.changed(blur(seen.before.data))
    table = residual_statistics(seen.before, after, noise=seen.noise, brightness=seen.truth, seed=1)
    bright = table[table['brightness_low'] == 3][0]
    assert bright['variance_ratio'] > 1.5 and z(bright, 'excess', 1) > 3
    assert residual_whiteness(seen.before, after, noise=seen.noise).meta['p_value'] < 1e-6
    share = residual_correlation(seen.before, after, brightness=seen.truth, noise=seen.noise, seed=1)[2]
    assert share['measure'] == 'share' and share['value'] / share['value_err'] > 4


def test_uncertainty(seen):
    table = judge_uncertainty(seen.after, seen.truth, sigma=seen.sky, seed=1)
    for row in table[table['n'] > 200]:
        assert abs(z(row, 'rms_pull', 1)) < 3.5 and abs(z(row, 'mean_pull')) < 3.5
        for name, share in ('coverage68', 0.6827), ('coverage95', 0.95):
            # Errors of pixels are independent here.
            assert abs(row[name] - share) < 3.5 * np.sqrt(share * (1 - share) / row['n'])
    halved = judge_uncertainty(seen.ccd(seen.after.data, seen.after.uncertainty.array / 2), seen.truth,
                               sigma=seen.sky, seed=1)
    for row in halved[halved['n'] > 200]:
        assert row['rms_pull'] == pytest.approx(2, abs=0.2) and z(row, 'rms_pull', 1) > 10
        assert row['coverage68'] == pytest.approx(0.383, abs=0.05)
    assert halved['coverage95'][0] == pytest.approx(0.673, abs=0.01)


def test_an_exact_posterior_is_right_at_any_brightness():
    rng = np.random.default_rng(5)
    blocks = rng.normal(size=(64, 64))
    noisy = blocks + 0.7 * rng.normal(size=blocks.shape)
    mean, std = noisy / (1 + 0.49), np.sqrt(0.49 / (1 + 0.49))
    truth, result = (np.kron(image, np.ones((16, 16))) for image in (blocks, mean))
    options = {'uncertainty': std, 'sigma': 1.0, 'bins': [-9, -1, 0, 1, 9], 'seed': 1}
    for row in judge_uncertainty(result, truth, **options):
        assert row['rms_pull'] == pytest.approx(1, abs=0.06) and abs(row['mean_pull']) < 0.12
    # Not so at a given truth.
    table = judge_uncertainty(result, truth, brightness=truth, **options)
    assert table['mean_pull'][1] > 0.5 and table['mean_pull'][-1] < -0.5 and table['rms_pull'][2] < 0.9


def test_uncertainty_against_references(seen):
    rng = np.random.default_rng(8)
    first, second = (seen.truth + 0.3 * seen.sky * rng.normal(size=seen.truth.shape) for _ in range(2))
    by_one = judge_uncertainty(seen.after, first, truth_std=0.3 * seen.sky, sigma=seen.sky, seed=1)
    assert by_one.meta['compared_with'] == 'reference'
    by_two = judge_uncertainty_by_halves(seen.after, first, second, sigma=seen.sky, seed=1)
    for table in by_one, by_two:
        for row in table[table['n'] > 300]:
            assert abs(z(row, 'rms_pull', 1)) < 3.5
    wrong = judge_uncertainty_by_halves(seen.after, first, second, sigma=seen.sky, seed=1,
                                        uncertainty=seen.after.uncertainty.array / 2)
    assert wrong['rms_pull'][0] == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize(('call', 'message'), [
    (lambda s: sky_offset(s.before, s.after, mesh=20), 'mesh must be a multiple of 8 pixels, got 20'),
    (lambda s: sky_offset(s.before, s.after, truth=np.ones((3, 3))), 'truth must have the shape of before'),
    (lambda s: sky_offset(s.before, s.after, select=np.ones((3, 3))), 'select must have the shape of the image'),
    (lambda s: sky_offset(s.before, s.after, select=np.zeros((256, 256))), 'select must be True .*, got none'),
    (lambda s: aperture_noise(s.after, sizes=()), 'sizes must be positive integers, at least one, got \\[\\]'),
    (lambda s: aperture_noise(s.after, sizes=[200]), 'sizes must fit on the sky at least 10 times, got \\[200\\]'),
    (lambda s: autocorrelation(s.after, max_lag=0), 'max_lag must be positive and smaller than the image'),
    (lambda s: residual_statistics(s.before, s.after, bins=()), 'bins must be at least two increasing edges, got'),
    (lambda s: judge_uncertainty(s.after.data, s.truth), 'uncertainty must be given if result states none'),
    (lambda s: judge_uncertainty(s.after, s.truth, sigma=-1), 'sigma must be positive, got -1'),
    (lambda s: judge_uncertainty(s.after, s.truth[:5]), 'truth must have the shape of result'),
    (lambda s: residual_whiteness(s.before, s.after.data[None]), 'after must be two-dimensional'),
    (lambda s: residual_whiteness(s.before, s.after, select=np.ones(3)), 'select must have the shape')])
def test_errors(seen, call, message):
    with pytest.raises(ValueError, match=message):
        call(seen)


def test_a_real_frame(data_path):
    """Smoothing a real frame correlates its noise and takes signal away; nothing does neither."""
    frame = fits.getdata(data_path / 'sfft_decam/DEC-OBS18a.mini.fits').astype(float)
    blurred = gaussian_filter(frame, 1.5)
    sharp, soft = (aperture_noise(image, sizes=(1, 3, 5), seed=1) for image in (frame, blurred))
    assert sharp['factor'][2] < 2 < soft['factor'][2]
    total = summarize_sky_offset(sky_offset(frame, blurred), seed=1)[0]
    assert abs(total['offset']) < 0.02
    total = summarize_sky_offset(sky_offset(frame, blurred + 0.05 * total.meta['sigma']), seed=1)[0]
    assert total['offset'] == pytest.approx(0.05, abs=0.02)
    share = residual_correlation(frame, blurred, seed=1)[2]
    assert share['value'] / share['value_err'] > 3
