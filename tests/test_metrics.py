# Licensed under a 3-clause BSD style license - see LICENSE
"""
Measures and figures.
"""

import numpy as np
import pytest

from astropy_n2v.validation import mean_offset, noise_reduction
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
