# Licensed under a 3-clause BSD style license - see LICENSE
"""
Photometry before and after: known faults are seen, and nothing else is.
"""

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.table import Table, vstack
from hypothesis import given, settings
from hypothesis import strategies as st
from photutils.aperture import CircularAperture, aperture_photometry
from photutils.psf import CircularGaussianPRF, ImagePSF, PSFPhotometry
from scipy.ndimage import gaussian_filter, maximum_filter, shift

from astropy_n2v.photometry import FluxOperator, forced_photometry, psf_fwhm
from astropy_n2v.photometry.inputs import noise_sigma
from astropy_n2v.simulate import make_psf, make_scene
from astropy_n2v.validation import (
    compare_fluxes,
    compare_growth,
    compare_shapes,
    compare_total_flux,
    flux_bias,
    flux_correlation,
    shape_change,
)
from astropy_n2v.validation.measures.shapes import _fit


class Field:
    """Isolated stars of known flux on the sky of a scene, observed, and denoised ideally."""

    def __init__(self):
        scene = make_scene('survey', (64, 64), seed=1)
        self.noise, self.psf, self.sky = scene.noise, scene.psf, scene.sky
        rng = np.random.default_rng(2)
        y, x = np.mgrid[20:300:28, 20:300:28]
        self.x, self.y = (grid.ravel() + rng.uniform(-0.5, 0.5, grid.size) for grid in (x, y))
        # S/N from about 2 to about 200, in steps known beforehand.
        self.flux = np.repeat([150, 400, 1000, 3000, 40000], 20)
        model, self.truth = ImagePSF(scene.psf), np.full((308, 308), self.sky)
        for x, y, flux in zip(self.x, self.y, self.flux):
            part = np.s_[int(y) - 13:int(y) + 14, int(x) - 13:int(x) + 14]
            rows, columns = np.mgrid[part]
            self.truth[part] += np.maximum(model.evaluate(columns, rows, flux, x, y), 0)
        self.sigma = np.sqrt(self.noise.variance(self.truth))
        self.positions = Table({'x': self.x, 'y': self.y})
        self.observe(rng)

    def observe(self, rng):
        self.before = self.truth + self.sigma * rng.normal(size=self.truth.shape)
        # A prediction from the surroundings, with known errors, and its posterior with the data.
        spread = 0.3 * self.sigma
        variance = 1 / (1 / self.sigma ** 2 + 1 / spread ** 2)
        guess = self.truth + spread * rng.normal(size=self.truth.shape)
        self.after = variance * (guess / spread ** 2 + self.before / self.sigma ** 2)
        self.std = np.sqrt(variance)

    def ccd(self, data, std):
        return CCDData(data, unit='electron', uncertainty=StdDevUncertainty(std))

    def compare(self, after, **kwargs):
        options = {'truth': self.truth, 'psf': self.psf, 'noise': self.noise, **kwargs}
        return compare_fluxes(self.ccd(self.before, self.sigma), self.ccd(after, self.std), self.positions, **options)


@pytest.fixture(scope='module')
def field():
    return Field()


def z(row, name, expected=0.0):
    return float((row[name] - expected) / row[f'{name}_err'])


def test_aperture_fluxes_are_those_of_photutils(field):
    table = forced_photometry(field.before, field.positions, radius=4.2, annulus=None, noise=2.0)
    apertures = CircularAperture(np.stack([field.x, field.y], axis=1), 4.2)
    assert np.allclose(table['flux'], aperture_photometry(field.before, apertures)['aperture_sum'])
    weights = [mask.data for mask in apertures.to_mask(method='exact')]
    assert np.allclose(table['flux_err'], [2 * np.sqrt(np.sum(weight ** 2)) for weight in weights])


def test_psf_fluxes_are_those_of_photutils(field):
    positions = field.positions[60:70]
    model = CircularGaussianPRF(fwhm=3.0)
    table = forced_photometry(field.before - field.sky, positions, method='psf', psf=model, radius=2.4, annulus=None,
                              noise=field.sigma)
    model.x_0.fixed = model.y_0.fixed = True
    init = Table({'x_init': positions['x'], 'y_init': positions['y']})
    expected = PSFPhotometry(model, (5, 5), aperture_radius=3)(field.before - field.sky, error=field.sigma,
                                                               init_params=init)
    # A circle of 21 pixels there, a square of 25 here.
    assert np.all(np.abs(table['flux'] - expected['flux_fit']) < 0.8 * expected['flux_err'])
    assert np.allclose(table['flux_err'], expected['flux_err'], rtol=0.1)


def test_psf_fluxes_of_blended_stars_are_exact():
    psf = make_psf(3.0, half_size=20)
    model = ImagePSF(psf)
    y, x = np.mgrid[:60, :60]
    image = 7 + model.evaluate(x, y, 1000, 28.3, 30.1) + model.evaluate(x, y, 300, 30.9, 31.2)
    table = forced_photometry(image, [(28.3, 30.1), (30.9, 31.2)], method='psf', psf=psf, noise=1.0,
                              annulus=(18, 26))
    assert np.allclose(table['flux'], [1000, 300], rtol=0.01)


def test_errors_of_fluxes_are_right(field):
    for method in 'aperture', 'psf':
        pulls = field.compare(field.after, method=method)
        scatter = np.std((pulls['flux_before'] - pulls['flux_true']) / pulls['flux_before_err'])
        assert scatter == pytest.approx(1, abs=0.22)   # three standard errors of 100 sources
        after = np.std((pulls['flux_after'] - pulls['flux_true']) / pulls['flux_after_err'])
        assert after == pytest.approx(1, abs=0.22)


@settings(max_examples=20, deadline=None)
@given(a=st.floats(-5, 5), b=st.floats(-1e4, 1e4), seed=st.integers(0, 99))
def test_fluxes_are_linear_and_ignore_the_background(a, b, seed):
    image = np.random.default_rng(seed).normal(size=(40, 40))
    operator = FluxOperator(image.shape, [(20.2, 19.7), (12, 25)], radius=3)
    assert np.allclose(operator.flux(a * image + b), a * operator.flux(image), atol=1e-6)


def test_flags(field):
    mask = np.zeros(field.before.shape, dtype=bool)
    mask[100, 100] = True
    table = forced_photometry(field.before, [(0, 50), (100, 100), (200, 200), (-50, 3)], radius=4, mask=mask,
                              noise=field.noise)
    assert table['flag'].tolist()[:3] == [1, 2, 0] and table['flag'][3] & 1
    assert np.isnan(table['flux']).tolist() == [True, True, False, True]


def test_identity_has_no_bias_and_no_gain(field):
    bias = flux_bias(field.compare(field.before), seed=1)
    used = bias[bias['n'] > 0]
    assert np.all(used['bias'] == 0) and np.allclose(used['scatter_after'], used['scatter_before'])


def test_ideal_result_is_unbiased_and_better(field):
    bias = flux_bias(field.compare(field.after), seed=1)
    used = bias[bias['n'] > 0]
    assert len(used) == 6 and used['n'][0] == 100
    for row in used:
        assert abs(z(row, 'bias')) < 3.5 and abs(z(row, 'bias_truth')) < 3.5 and abs(z(row, 'pull_after')) < 3.5
        assert row['pull_rms_after'] == pytest.approx(1, abs=0.5)
    assert used['scatter_after'][0] < 0.4 * used['scatter_before'][0]


def test_one_percent_on_bright_stars(field):
    bright = field.truth - field.sky > 30 * np.sqrt(field.noise.variance(field.sky))
    fault = field.after + 0.01 * np.where(bright, field.truth - field.sky, 0)
    bias = flux_bias(field.compare(fault), seed=1)
    assert bias['bias'][-1] == pytest.approx(0.01, abs=0.003) and z(bias[-1], 'bias') > 4
    assert all(abs(z(row, 'bias')) < 3.5 for row in bias[1:-1] if row['n'])
    slope = {row['measure']: row for row in flux_correlation(field.compare(fault), seed=1)}['slope']
    assert (slope['value'] - 1) / slope['value_err'] > 6


def test_blur_and_removed_sources(field):
    bias = flux_bias(field.compare(gaussian_filter(field.before, 1.5)), seed=1)
    assert all(z(row, 'bias') < -2.5 and row['bias'] < -0.1 for row in bias if row['n'])
    assert z(bias[-1], 'bias') < -100
    removed = np.where(gaussian_filter(field.truth - field.sky, 1) < 30, field.sky, field.after)
    bias = flux_bias(field.compare(removed), seed=1)
    assert bias['bias'][1] < -0.5 and z(bias[1], 'bias_truth') < -5


def test_snr_from_the_judged_noise_misleads():
    """Sources chosen as faint on the noisy image are those that noise made faint: an ideal result looks biased."""
    field, rng = Field(), np.random.default_rng(5)
    wrong, right = [], []
    for _ in range(6):
        field.observe(rng)
        wrong.append(field.compare(field.after, truth=None))
        right.append(field.compare(field.after, truth=None, true_flux=field.flux))
    wrong, right = (flux_bias(vstack(tables, metadata_conflicts='silent'), bins=[-9, 1, 9999], seed=1)
                    for tables in (wrong, right))
    assert wrong.meta['snr_from'] == 'before' and right.meta['snr_from'] == 'catalogue'
    assert np.isnan(wrong['bias_truth']).all() and wrong['n'][1] > 30
    assert z(wrong[1], 'bias_sigma') > 4 and abs(z(right[0], 'bias_sigma')) < 3


def test_flux_correlation(field):
    table = flux_correlation(field.compare(field.after), seed=1)
    values = dict(zip(table['measure'], table['value']))
    assert values['pearson'] > 0.999 and values['spearman'] > 0.9 and values['pearson_log'] > 0.95
    assert abs(values['slope'] - 1) < 0.01
    noisy = flux_correlation(field.compare(field.before), against='truth', seed=1)
    assert noisy['value'][2] < values['spearman']
    with pytest.raises(ValueError, match="against must be 'truth' or 'before', got 'after'"):
        flux_correlation(field.compare(field.after), against='after')
    with pytest.raises(ValueError, match='at least three'):
        flux_correlation(field.compare(field.after)[:2])


def test_growth(field):
    bright = field.positions[80:]
    radii = [1, 2, 4, 8]
    fine = compare_growth(field.before, field.after, bright, radii, truth=field.truth, seed=1)
    assert all(abs(z(row, 'change')) < 3.5 for row in fine)
    assert np.allclose(fine['growth_after'], fine['growth_true'], atol=0.01)
    blurred = compare_growth(field.before, gaussian_filter(field.before, 1.0), bright, radii, seed=1)
    assert blurred['change'][0] < -0.03 and abs(blurred['change'][-1]) < 0.02
    alone = compare_growth(field.truth, field.truth, bright, radii)
    assert np.allclose(alone['growth_before'], fine['growth_true'], atol=1e-3)


def test_total_flux(field):
    table = compare_total_flux(field.before, field.after, truth=field.truth, noise=field.noise)
    assert table['comparison'].tolist() == ['after - before', 'before - truth', 'after - truth']
    assert (np.abs(table['significance']) < 4).all()
    sigma = np.sqrt(field.noise.variance(field.sky))
    offset = compare_total_flux(field.before, field.after + 0.05 * sigma, noise=field.noise)
    assert offset['significance'][0] > 8
    assert compare_total_flux(field.before, field.before, noise=1.0)['difference'][0] == 0


def test_shift_and_width(field):
    def change(after):
        return shape_change(compare_shapes(field.before, after, field.positions, fwhm=3.2, truth=field.truth,
                                           snr=field.flux / 100, noise=field.noise), bins=[20, 1000], seed=1)[-1]
    fine = change(field.after)
    assert fine['n'] > 35 and abs(z(fine, 'dx')) < 3.5 and abs(z(fine, 'fwhm_ratio', 1)) < 3.5
    moved = change(shift(field.after, (0, 0.1), order=3, mode='nearest'))
    assert moved['dx'] == pytest.approx(0.1, abs=0.02) and z(moved, 'dx') > 8 and abs(z(moved, 'dy')) < 3.5
    wide = change(gaussian_filter(field.after, 1.0))
    assert wide['fwhm_ratio'] > 1.15 and z(wide, 'fwhm_ratio', 1) > 6 and abs(z(wide, 'dx')) < 3.5


def test_shapes_of_gaussians_are_exact():
    y, x = np.mgrid[:40, :40]
    image = 100 + CircularGaussianPRF(flux=900, x_0=20.3, y_0=18.9, fwhm=3.7)(x, y)
    noise = np.ones(image.shape)
    table = _fit(image, noise, [(20, 19)], 3.0)
    assert np.allclose([table[name][0] for name in ('x_fit', 'y_fit', 'fwhm', 'flux')], [20.3, 18.9, 3.7, 900],
                       atol=1e-3)
    far = _fit(image, noise, [(20, 19), (1, 1), (30, 30)], 3.0)
    assert far['flag'].tolist() == [0, 1, 4] and np.isnan(far['x_fit'][1:]).all()


def test_errors_of_shapes_are_right(field):
    table = compare_shapes(field.before, field.before, field.positions[80:], fwhm=3.2, truth=field.truth,
                           noise=field.noise)
    errors = _fit(field.before, noise_sigma(field.noise, field.before), field.positions[80:], 3.2)
    pulls = np.concatenate([table['dx_before'] / errors['x_err'], table['dy_before'] / errors['y_err']])
    assert np.std(pulls) == pytest.approx(1, abs=0.35)   # three standard errors of 40 values


def test_psf_fwhm():
    for fwhm in 1.8, 3.0, 6.5:
        assert psf_fwhm(make_psf(fwhm, half_size=30)) == pytest.approx(fwhm, rel=0.05)


@pytest.mark.parametrize(('change', 'message'), [
    ({'positions': np.zeros((0, 2))}, 'positions must hold at least one source, got none'),
    ({'positions': [(np.nan, 1)]}, 'positions must be finite'),
    ({'positions': [1, 2, 3]}, 'positions must be a table with the columns x and y or of shape'),
    ({'positions': Table({'a': [1]})}, "positions must have the columns x and y, got \\['a'\\]"),
    ({'truth': np.ones((5, 5))}, 'truth must have the shape of before, .*got \\(5, 5\\)'),
    ({'psf': make_psf(90, half_size=200)}, 'psf must not be larger than the image, .*got \\(401, 401\\)'),
    ({'psf': np.zeros((5, 5))}, 'psf must be finite with a positive sum'),
    ({'psf': None}, 'radius or psf must be given'),
    ({'psf': None, 'method': 'psf'}, "psf must be given for method 'psf'"),
    ({'radius': -1}, 'radius must be a positive number of pixels, got -1'),
    ({'method': 'magic'}, "method must be 'aperture' or 'psf', got 'magic'"),
    ({'annulus': (8, 3)}, 'annulus must be an inner and a larger outer radius, got \\(8, 3\\)'),
    ({'noise': 0.0}, 'noise must be positive'),
    ({'mask': np.ones((2, 2))}, 'mask must have the shape of the data'),
    ({'true_flux': [1.0]}, 'true_flux must have one value for each of the 100 positions'),
    ({'mask': np.ones((308, 308))}, 'no valid pixel in common')])
def test_errors(field, change, message):
    arguments = {'before': field.before, 'after': field.after, 'positions': field.positions, 'truth': field.truth,
                 'psf': field.psf, 'noise': field.noise, **change}
    with pytest.raises(ValueError, match=message):
        compare_fluxes(**arguments)


def test_more_errors(field):
    with pytest.raises(ValueError, match='radii must be positive and increase'):
        compare_growth(field.before, field.after, field.positions, [3, 1])
    with pytest.raises(ValueError, match='fwhm must be positive, got 0'):
        compare_shapes(field.before, field.after, field.positions, fwhm=0)
    with pytest.raises(ValueError, match='fwhm must be less than a third of the image, .* got 200'):
        compare_shapes(field.before, field.after, field.positions, fwhm=200)
    with pytest.raises(ValueError, match='bins must be at least two increasing edges, got \\[3\\]'):
        flux_bias(field.compare(field.after), bins=[3])
    with pytest.raises(ValueError, match="got one without .'flux_before'"):
        flux_bias(Table({'x': [1]}))


def test_units_and_their_conversion(field):
    sources = compare_fluxes(field.ccd(field.before, field.sigma), CCDData(field.before / 1000, unit='1000 electron'),
                             field.positions, psf=field.psf)
    assert sources['flux_after'].unit == 'electron' and sources['x'].unit == 'pix'
    assert np.allclose(sources['flux_after'], sources['flux_before'])


def test_real_frame(data_path):
    """Photometry of a real exposure against another of the same field, and of a blurred one."""
    frames = [fits.getdata(data_path / f'sfft_decam/DEC-OBS04{letter}.mini.fits').astype(float) for letter in 'ab']
    smooth = gaussian_filter(frames[1] - np.median(frames[1]), 2)
    peaks = np.argwhere((smooth > 40) & (smooth == maximum_filter(smooth, 9)))
    positions = peaks[:, ::-1]
    identity = compare_fluxes(frames[0], frames[0], positions, truth=frames[1], radius=4)
    assert len(identity) > 10 and np.nanmax(np.abs(identity['flux_after'] - identity['flux_before'])) == 0
    values = flux_correlation(identity, seed=1)
    assert values['value'][0] > 0.98
    blurred = flux_bias(compare_fluxes(frames[0], gaussian_filter(frames[0], 2), positions, truth=frames[1], radius=4),
                        seed=1)
    assert z(blurred[0], 'bias') < -4
