# Licensed under a 3-clause BSD style license - see LICENSE
"""
Pictures of the visible part of an image.
"""

import time

import numpy as np
import pytest

from astropy_n2v.gui.render import CUTS, STRETCHES, Pyramid, colour, find_norm


def test_overviews_are_means_of_blocks(rng):
    image = rng.normal(size=(512, 640))
    levels = Pyramid.of(image).levels
    assert [level.shape for level in levels] == [(512, 640), (256, 320), (128, 160)]
    np.testing.assert_allclose(levels[2], image.reshape(128, 4, 160, 4).mean(axis=(1, 3)))


def test_overviews_skip_what_is_not_finite():
    image = np.ones((600, 601))
    image[:2, :2] = [[np.nan, 3], [5, np.inf]]
    image[10:12, 10:12] = np.nan
    level = Pyramid.of(image).levels[1]
    assert level.shape == (300, 301)
    assert level[0, 0] == 4
    assert np.isnan(level[5, 5]) and np.isnan(level).sum() == 1
    assert level[0, 300] == 1   # half of its block is not there


def test_overviews_of_integers_are_no_integers():
    assert Pyramid.of(np.arange(90000, dtype='>i2').reshape(300, 300)).levels[1].dtype == np.float32


def test_saved_pyramid_is_read_from_disk(tmp_path, rng):
    image = rng.normal(size=(300, 300))
    Pyramid.write(tmp_path, 'input', image.shape, [(0, image[:100]), (100, image[100:])])
    loaded = Pyramid.load(tmp_path, 'input')
    assert isinstance(loaded.levels[0], np.memmap) and len(loaded.levels) == 2
    np.testing.assert_array_equal(loaded.levels[0], image)


@pytest.mark.parametrize('shape', [(64, 64), (4096, 4096), (1000, 5000)])
@pytest.mark.parametrize('zoom', [1, 1.7, 3.1, 10, 200])
def test_work_is_bounded_by_the_screen(shape, zoom):
    # The image is never touched: a picture of 4096x4096 costs what one of 600x600 does.
    image = np.broadcast_to(np.float32(1), shape)
    levels = [image]
    while max(levels[-1].shape) > 256:
        levels.append(np.broadcast_to(np.float32(1), tuple(-(-n // 2) for n in levels[-1].shape)))
    pyramid, size = Pyramid(levels), (300, 280)
    ny, nx = shape
    viewport = nx / 3 - nx / zoom / 2, nx / 3 + nx / zoom / 2, ny / 2 - ny / zoom / 2, ny / 2 + ny / zoom / 2
    picture = pyramid.render(viewport, size)
    assert picture.n_touched <= (2 * size[0] + 4) * (2 * size[1] + 4)
    assert picture.values.shape[0] <= size[1] and picture.values.shape[1] <= size[0]
    while_dragging = pyramid.render(viewport, (size[0] // 2, size[1] // 2))
    assert while_dragging.n_touched <= (size[0] + 4) * (size[1] + 4)


def test_picture_is_in_its_place():
    image = np.zeros((1024, 1024), dtype=np.float32)
    image[600:616, 300:316] = 1
    pyramid = Pyramid.of(image)
    for viewport in (-0.5, 1023.5, -0.5, 1023.5), (250.2, 390.7, 500.1, 700.9), (298, 320, 598, 620):
        values, extent, _ = pyramid.render(viewport, (256, 256))
        left, right, bottom, top = extent
        assert left <= viewport[0] and right >= viewport[1] and bottom <= viewport[2] and top >= viewport[3]
        y, x = np.nonzero(values > 0.5)
        height, width = (top - bottom) / values.shape[0], (right - left) / values.shape[1]
        assert abs(left + (x.mean() + 0.5) * width - 307.5) < width
        assert abs(bottom + (y.mean() + 0.5) * height - 607.5) < height


def test_magnified_pixels_are_sent_once():
    picture = Pyramid.of(np.arange(64.0).reshape(8, 8)).render((1.2, 3.4, 0.0, 2.0), (300, 300))
    assert picture.values.tolist() == [[1, 2, 3], [9, 10, 11], [17, 18, 19]]
    assert picture.extent == (0.5, 3.5, -0.5, 2.5)


def test_nothing_to_be_seen_beside_the_image():
    assert Pyramid.of(np.zeros((8, 8))).render((10, 20, 0, 5), (100, 100)) is None


def test_value_of_a_pixel():
    pyramid = Pyramid.of(np.arange(12.0).reshape(3, 4))
    assert pyramid.value(2.4, 0.6) == 6
    assert np.isnan(pyramid.value(-0.6, 0))
    assert np.isnan(pyramid.value(0, 2.5))


def test_large_images_are_sampled():
    assert max(Pyramid.of(np.zeros((3000, 1000))).sample().shape) <= 512


@pytest.mark.parametrize('stretch', STRETCHES)
@pytest.mark.parametrize('cuts', [*CUTS, (90.0, 200.0)])
def test_brightness_grows_with_the_value(cuts, stretch, rng):
    sample = rng.normal(100, 3, (100, 100))
    norm = find_norm(sample, sample, cuts=cuts, stretch=stretch)
    values = np.linspace(norm.vmin, norm.vmax, 20)
    brightness = np.asarray(norm(values))
    assert np.all(np.diff(brightness) > 0)
    assert brightness[0] == pytest.approx(0, abs=1e-6) and brightness[-1] == pytest.approx(1)


def test_cuts_must_increase():
    with pytest.raises(ValueError, match='cuts must be two increasing numbers, got 5 and 5'):
        find_norm(np.ones((4, 4)), np.ones((4, 4)), cuts=(5, 5))


def test_what_is_beyond_the_cuts_has_the_last_colours():
    values = np.array([[-5.0, 5.0, -np.inf]])
    norm = find_norm(values, values, cuts=(0, 1), stretch='linear')
    assert colour(values, norm)[0].tolist() == [[0, 0, 0, 255], [255, 255, 255, 255], [0, 0, 0, 0]]


def test_pictures_of_a_large_image_take_little_time():
    # Five panes of 4096x4096 at the resolution of a screen: in processor time, as others may use the machine.
    rng = np.random.default_rng(0)
    pyramid = Pyramid.of(rng.normal(100, 3, (4096, 4096)).astype('f4'))
    norm = find_norm(pyramid.sample(), pyramid.sample())
    for half in 2048, 700, 150, 20:
        start = time.process_time()
        for _ in range(5):
            colour(pyramid.render((2048 - half, 2048 + half, 2000 - half, 2000 + half), (303, 303)).values, norm)
        assert time.process_time() - start < 0.3, half


def test_all_values_are_all_finite_ones():
    sample = np.array([[0.0, 1.0], [5.0, np.inf]])
    norm = find_norm(sample, sample, cuts='all')
    assert (norm.vmin, norm.vmax) == (0, 5)


def test_empty_cuts_are_refused():
    with pytest.raises(ValueError, match='cuts must be two increasing numbers, got None and 5'):
        find_norm(np.ones((2, 2)), np.ones((2, 2)), cuts=(None, 5))
