# Licensed under a 3-clause BSD style license - see LICENSE
"""
Pictures of frames before and after denoising.
"""

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.table import Table
from astropy.visualization import AsinhStretch, LinearStretch
from astropy.wcs import WCS

from astropy_n2v.simulate import make_scene
from astropy_n2v.visualization import image_of, plot_denoised, residual_in_sigma, shared_norm, show


@pytest.fixture
def wcs():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = 'RA---TAN', 'DEC--TAN'
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = (150, 2), (32, 24), (-1e-4, 1e-4)
    return wcs


@pytest.fixture
def pair(rng, wcs):
    """Make a frame with noise of 3 adu around 100, and a result that states it."""
    shape = 48, 64
    frame = CCDData(rng.normal(100, 3, shape), unit='adu', wcs=wcs)
    return frame, CCDData(np.full(shape, 100.0), unit='adu', wcs=wcs,
                          uncertainty=StdDevUncertainty(np.full(shape, 0.3)))


def titles(figure):
    return [ax.get_title() for ax in figure.axes if ax.get_title()]


def images(figure):
    return [ax.images[0] for ax in figure.axes if ax.images]


def test_all_panels_of_a_frame(pair):
    figure = plot_denoised(*pair, truth=np.full((48, 64), 100.0))
    assert titles(figure) == ['input', 'result', 'input - result', 'uncertainty', 'truth']
    figure.canvas.draw()


def test_input_and_result_share_one_scale(pair):
    first, second = images(plot_denoised(*pair, panels=['input', 'result']))
    assert first.norm is second.norm


def test_axes_are_celestial_where_there_is_a_wcs(pair):
    assert hasattr(plot_denoised(*pair).axes[0], 'coords')
    assert not hasattr(plot_denoised(pair[0].data, pair[1].data).axes[0], 'coords')


def test_units_are_on_the_scales(pair):
    labels = [ax.get_xlabel() for ax in plot_denoised(pair[0].data * u.adu, pair[1].data).axes]
    assert 'noise standard deviations' in labels
    assert [ax.get_xlabel() for ax in plot_denoised(*pair).axes].count('adu') == 3


def test_a_cutout_has_the_scale_of_the_frame(pair):
    whole = images(plot_denoised(*pair))[0]
    part = images(plot_denoised(*pair, cutout=(slice(10, 20), slice(5, 25))))[0]
    assert part.get_array().shape == (10, 20)
    assert part.norm.vmin == whole.norm.vmin


def test_sources_are_circled_on_input_and_result(pair):
    figure = plot_denoised(*pair, sources=Table({'x': [30.0], 'y': [12.0]}), cutout=(slice(8, 40), slice(20, 50)))
    circled = [ax for ax in figure.axes if ax.collections and ax.get_title() in ('input', 'result')]
    assert len(circled) == 2
    assert circled[0].collections[0].get_offsets().tolist() == [[10.0, 4.0]]


@pytest.mark.parametrize(('options', 'message'), [
    ({'panels': ['noise']}, 'panels must be some of .*got .noise.'), ({'panels': ['truth']}, 'panels must be some of'),
    ({'truth': np.ones((3, 3))}, 'one shape'), ({'stretch': 'log'}, 'stretch must be one of')])
def test_bad_options(pair, options, message):
    with pytest.raises(ValueError, match=message):
        plot_denoised(*pair, **options)


def test_residual_is_in_units_of_the_noise():
    scene = make_scene('nebula', (128, 128), seed=1)
    residual = residual_in_sigma(scene.observe(seed=2), scene.truth)
    bright = scene.truth > np.percentile(scene.truth, 80)
    assert residual[~bright].std() == pytest.approx(1, abs=0.1)
    assert residual[bright].std() == pytest.approx(1, abs=0.1)


def test_masked_pixels_are_blank(pair):
    frame, result = pair
    frame.mask = np.zeros(frame.shape, dtype=bool)
    frame.mask[4, 5] = True
    assert np.isnan(image_of(frame)[4, 5])
    assert np.isnan(residual_in_sigma(frame, result)[4, 5])
    assert np.isfinite(frame.data[4, 5])


def test_cubes_are_no_pictures():
    with pytest.raises(ValueError, match='ccd must be two-dimensional'):
        image_of(np.zeros((3, 4, 4)), 'ccd')


def test_asinh_spans_the_sky_and_the_stars(rng):
    image = rng.normal(100, 3, (100, 100))
    image[:20, 0] = 5000
    norm = shared_norm(image, top=image)
    assert norm.vmin == pytest.approx(91, abs=1)
    assert norm.vmax == pytest.approx(5000, rel=0.01)
    # Two standard deviations above the sky are well apart from it.
    assert norm(106.0) - norm(100.0) > 0.05


@pytest.mark.parametrize('stretch', ['zscale', 'linear'])
def test_linear_scales(rng, stretch):
    norm = shared_norm(rng.normal(100, 3, (64, 64)), stretch=stretch)
    assert norm.vmin < 100 < norm.vmax
    assert isinstance(norm.stretch, LinearStretch)


@pytest.mark.parametrize('stretch', ['asinh', 'zscale', 'linear'])
def test_constant_images_have_a_scale(stretch):
    norm = shared_norm(np.full((16, 16), 7.0), stretch=stretch)
    assert norm.vmax > norm.vmin


def test_no_scale_of_nothing():
    with pytest.raises(ValueError, match='must have a finite value'):
        shared_norm(np.full((4, 4), np.nan))
    with pytest.raises(ValueError, match='sigma must be positive'):
        shared_norm(np.ones((4, 4)), sigma=0)


class Viewer:
    """Record the calls to a viewer of the astro-image-display-api."""

    def __init__(self):
        self.images, self.cuts, self.stretches, self.maps, self.catalogs = {}, {}, {}, {}, {}

    def load_image(self, data, image_label=None):
        self.images[image_label] = data

    def set_cuts(self, cuts, image_label=None):
        self.cuts[image_label] = cuts

    def set_stretch(self, stretch, image_label=None):
        self.stretches[image_label] = stretch

    def set_colormap(self, name, image_label=None):
        self.maps[image_label] = name

    def load_catalog(self, table, x_colname='x', y_colname='y', catalog_label=None):
        self.catalogs[catalog_label] = table


def test_show_writes_to_a_viewer(pair):
    viewer = show(*pair, Viewer(), sources=Table({'x': [1.0], 'y': [2.0]}))
    assert sorted(viewer.images) == ['input', 'residual', 'result'] and list(viewer.images)[-1] == 'result'
    assert viewer.images['input'] is pair[0]
    assert viewer.cuts['input'] == viewer.cuts['result']
    assert viewer.cuts['residual'] == (-5, 5)
    assert isinstance(viewer.stretches['result'], AsinhStretch)
    assert isinstance(viewer.stretches['residual'], LinearStretch)
    assert viewer.images['residual'].wcs is pair[0].wcs
    assert len(viewer.catalogs['sources']) == 1


@pytest.mark.parametrize(('module', 'name'), [('astro_image_display_api.image_viewer_logic', 'ImageViewerLogic'),
                                              ('astrowidgets.ginga', 'ImageWidget')])
def test_show_writes_to_real_viewers(pair, module, name):
    viewer = show(*pair, getattr(pytest.importorskip(module), name)(), sources=Table({'x': [1.0], 'y': [2.0]}))
    assert sorted(viewer.image_labels) == ['input', 'residual', 'result']
    np.testing.assert_array_equal(viewer.get_image(image_label='result').data, pair[1].data)
    cuts = viewer.get_cuts(image_label='residual')
    assert (cuts.vmin, cuts.vmax) == (-5, 5)
    assert len(viewer.get_catalog(catalog_label='sources')) == 1


def test_show_refuses_what_is_no_viewer(pair):
    with pytest.raises(TypeError, match='set_cuts.* got object without load_image'):
        show(*pair, object())


def test_show_draws_without_a_viewer(pair):
    pyplot = pytest.importorskip('matplotlib.pyplot')
    pyplot.switch_backend('agg')
    figure = show(*pair)
    assert 'result' in titles(figure)
    pyplot.close(figure)
