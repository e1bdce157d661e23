# Licensed under a 3-clause BSD style license - see LICENSE
"""
Measures and figures.
"""

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import CCDData
from astropy.table import vstack
from skimage import metrics as skimage_metrics

from astropy_n2v.simulate import make_scene
from astropy_n2v.validation import (
    image_metrics,
    mean_absolute_error,
    mean_offset,
    mean_squared_error,
    noise_reduction,
    noise_reduction_by_brightness,
    peak_signal_noise_ratio,
    structural_similarity,
)
from astropy_n2v.validation.figures import draw_comparison


@pytest.fixture
def images(rng):
    truth = rng.uniform(10, 100, (40, 50))
    noise = rng.normal(size=truth.shape)
    return truth + 4 * noise, truth + noise, truth


def test_noise_reduction(images):
    assert noise_reduction(*images, 4.0) == pytest.approx(4)


def test_noise_reduction_weighs_by_sigma(images):
    noisy, result, truth = images
    sigma = np.ones(truth.shape)
    noisy, result = noisy.copy(), result.copy()
    noisy[0], result[0] = truth[0] + 1e6, truth[0] + 1e6
    sigma[0] = 1e9
    assert noise_reduction(noisy, result, truth, sigma) == pytest.approx(4, rel=1e-3)


def test_select_and_nan(images):
    noisy, result, truth = images
    result = result.copy()
    result[:, 0] = np.nan
    result[:, 1] = truth[:, 1] + 100
    select = np.ones(truth.shape, dtype=bool)
    select[:, 1] = False
    assert noise_reduction(noisy, result, truth, 1.0, select=select) == pytest.approx(4)
    assert mean_offset(result, truth, 2.0, select=~select) == pytest.approx(50)


def test_extremes(images):
    noisy, _, truth = images
    assert noise_reduction(noisy, truth, truth, 1.0) == np.inf
    none = np.zeros(truth.shape, dtype=bool)
    assert np.isnan(noise_reduction(noisy, noisy, truth, 1.0, select=none))
    assert np.isnan(mean_offset(noisy, truth, 1.0, select=none))


@pytest.mark.parametrize(('change', 'message'), [
    ({'noisy': np.zeros(3)}, 'noisy must have the shape of truth'),
    ({'result': np.zeros((1, 1))}, 'result must have the shape of truth'),
    ({'sigma': 0.0}, 'sigma must be positive'),
    ({'sigma': np.ones(50)}, 'sigma must be a number or have the shape'),
    ({'select': np.ones(3, dtype=bool)}, 'select must have the shape')])
def test_errors(images, change, message):
    arguments = dict(zip(('noisy', 'result', 'truth'), images), sigma=1.0)
    with pytest.raises(ValueError, match=message):
        noise_reduction(**{**arguments, **change})


def test_panels_share_the_stretch(images, tmp_path):
    figure = draw_comparison(*images, residual=True)
    shown = [ax.images[0] for ax in figure.axes]
    assert [ax.get_title() for ax in figure.axes] == ['before', 'after', 'truth', 'before - after']
    assert len({id(panel.norm) for panel in shown[:3]}) == 1 and shown[3].norm is not shown[0].norm
    figure.savefig(tmp_path / 'a.png')
    assert (tmp_path / 'a.png').stat().st_size > 1000


def test_given_axes(images):
    from matplotlib.figure import Figure
    figure = Figure()
    axes = figure.subplots(1, 2)
    assert draw_comparison(*images[:2], axes=axes) is figure
    with pytest.raises(ValueError, match='one for each of the 3 panels, got 2'):
        draw_comparison(*images, axes=axes)


def test_images_of_different_shapes(images):
    with pytest.raises(ValueError, match='of one shape'):
        draw_comparison(images[0], images[1][:5])


def test_constant_image():
    assert draw_comparison(np.zeros((8, 8)), np.zeros((8, 8))).axes


def test_errors_and_psnr(images):
    noisy, result, truth = images
    assert mean_squared_error(noisy, truth) == pytest.approx(16, rel=0.1)
    assert mean_absolute_error(noisy, truth) == pytest.approx(4 * np.sqrt(2 / np.pi), rel=0.1)
    options = {'data_range': (10, 100)}
    expected = 10 * np.log10(90 ** 2 / mean_squared_error(noisy, truth))
    assert peak_signal_noise_ratio(noisy, truth, **options) == pytest.approx(expected)
    assert peak_signal_noise_ratio(noisy, truth, **options) == pytest.approx(
        skimage_metrics.peak_signal_noise_ratio(truth, noisy, data_range=90))
    gain = peak_signal_noise_ratio(result, truth, **options) - peak_signal_noise_ratio(noisy, truth, **options)
    assert gain == pytest.approx(20 * np.log10(4))
    assert peak_signal_noise_ratio(truth, truth, **options) == np.inf
    asinh = peak_signal_noise_ratio(noisy, truth, stretch='asinh', scale=4.0, **options)
    assert asinh == pytest.approx(skimage_metrics.peak_signal_noise_ratio(
        np.arcsinh((truth - 10) / 4), np.arcsinh((noisy - 10) / 4), data_range=np.arcsinh(90 / 4)))


def test_ssim(images):
    noisy, result, truth = images
    expected = skimage_metrics.structural_similarity(truth, noisy, data_range=90, gaussian_weights=True, sigma=1.5,
                                                     use_sample_covariance=False)
    found = structural_similarity(noisy, truth, data_range=(10, 100))
    assert found == pytest.approx(expected, abs=0.02)
    assert found < structural_similarity(result, truth, data_range=(10, 100)) < 1
    # Masked values have no effect, whatever they are.
    spoilt = noisy.copy()
    spoilt[3:5, 4] = np.nan
    spoilt[20, 20] = 1e30
    mask = spoilt > 1e20
    clean = structural_similarity(noisy, truth, data_range=(10, 100), mask=mask | np.isnan(spoilt))
    assert structural_similarity(spoilt, truth, data_range=(10, 100), mask=mask) == clean
    assert np.isnan(structural_similarity(noisy, truth, data_range=(10, 100), select=np.eye(40, 50, dtype=bool)))


def test_noise_reduction_by_brightness():
    scene = make_scene('survey', (128, 128), seed=2)
    sigma = np.sqrt(scene.noise.variance(scene.truth))
    noise = np.random.default_rng(1).normal(size=sigma.shape)
    level = (scene.truth - scene.sky) / np.sqrt(scene.noise.variance(scene.sky))
    before, after = scene.truth + sigma * noise, scene.truth + sigma * noise / np.where(level < 1, 5, 2)
    table = noise_reduction_by_brightness(before, after, scene.truth, noise=scene.noise, seed=1)
    faint, next_one = table[1], table[2]
    assert faint['noise_reduction'] == pytest.approx(5, rel=0.05)
    assert next_one['noise_reduction'] == pytest.approx(2, rel=0.2)
    assert faint['rms_before'] == pytest.approx(1, abs=0.05) and abs(faint['offset']) < 4 * faint['offset_err']
    assert faint['noise_reduction_low'] <= faint['noise_reduction'] <= faint['noise_reduction_high']


def test_image_metrics(images):
    noisy, result, truth = (CCDData(image, unit='adu') for image in images)
    noisy.mask = np.zeros(noisy.shape, dtype=bool)
    noisy.mask[0] = True
    noisy.data[0] = 1e9
    rows = [image_metrics(noisy, result, truth, noise=4.0, name=name) for name in 'ab']
    table = vstack(rows)
    assert table['name'].tolist() == ['a', 'b'] and table['n_pixels'][0] == 39 * 50
    assert table['noise_reduction'][0] == pytest.approx(4) and table['mse_before'][0] == pytest.approx(16, rel=0.1)
    assert table['mse_after'].unit == 'adu2' and table['mae_after'].unit == 'adu' and table['psnr_after'].unit == 'dB'
    assert table['psnr_after'][0] > table['psnr_before'][0] and table['ssim_after'][0] > table['ssim_before'][0]
    assert abs(table['offset'][0]) < 0.02
    fixed = image_metrics(noisy, result, truth, noise=4.0, data_range=(0, 50), stretch='linear')
    assert (fixed['data_low'][0], fixed['data_high'][0], fixed['stretch'][0]) == (0, 50, 'linear')


@pytest.mark.parametrize(('change', 'message'), [
    ({'data_range': (3, 1)}, 'data_range must be a lower and a higher value, got \\(3, 1\\)'),
    ({'stretch': 'log'}, "stretch must be 'linear' or 'asinh', got 'log'"),
    ({'stretch': 'asinh', 'scale': None}, "scale must be positive for the stretch 'asinh', got None"),
    ({'truth': np.zeros((3, 3))}, 'image must have the shape of truth, \\(3, 3\\)'),
    ({'image': np.zeros((5, 5)), 'truth': np.zeros((5, 5))}, 'image must be at least 11 pixels wide')])
def test_metric_errors(images, change, message):
    with pytest.raises(ValueError, match=message):
        structural_similarity(**{'image': images[0], 'truth': images[2], 'data_range': (0, 1), **change})


def test_other_units(images):
    noisy, _, truth = images
    assert mean_squared_error(u.Quantity(noisy, 'adu'), u.Quantity(truth / 1000, '1000 adu')) == pytest.approx(
        mean_squared_error(noisy, truth) / 1e6)
    with pytest.raises(u.UnitConversionError):
        mean_squared_error(u.Quantity(noisy, 'adu'), u.Quantity(truth, 's'))


@pytest.mark.parametrize('data_range', [3.0, (1, 2, 3), (2, 1)])
def test_range_that_is_none(data_range):
    with pytest.raises(ValueError, match='data_range must be a lower and a higher value, got'):
        peak_signal_noise_ratio(np.eye(4), np.eye(4), data_range=data_range)
