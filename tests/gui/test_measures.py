# Licensed under a 3-clause BSD style license - see LICENSE
"""
Histograms, profiles and cut-outs of the visible part.
"""

import numpy as np
import pytest

from astropy_n2v.gui.measures import histogram, profile, stamp
from astropy_n2v.gui.render import Pyramid


@pytest.fixture
def pyramids(rng):
    noise = rng.normal(0, 3, (64, 80))
    return {'input': Pyramid.of(100 + noise), 'result': Pyramid.of(np.full((64, 80), 100.0)),
            'residual': Pyramid.of(noise / 3)}


def test_histogram_is_that_of_the_region(pyramids):
    pyramids['input'].levels[0][:10] = np.nan
    found = histogram(pyramids, ((0, 40), (20, 60)))
    seen = pyramids['input'].levels[0][10:40, 20:60]
    assert found['n'] == seen.size and found['step'] == 1
    assert found['median']['input'] == pytest.approx(np.median(seen))
    assert found['std']['residual'] == pytest.approx(1, abs=0.1) and found['std']['result'] == 0
    assert found['counts']['residual'].sum() == 40 * 40
    assert found['counts']['result'].max() == 1600
    assert found['edges'][0] > seen.min() and found['edges'][-1] < seen.max()   # but for the extremes


def test_histogram_of_a_large_region_takes_every_nth_pixel():
    found = histogram({'input': Pyramid([np.broadcast_to(np.float32(1), (10000, 5000))])}, ((0, 10000), (0, 5000)))
    assert found['step'] == 20 and found['n'] == 500 * 250


def test_histogram_without_finite_pixels():
    found = histogram({'input': Pyramid.of(np.full((8, 8), np.nan))}, ((0, 8), (0, 8)))
    assert found['n'] == 0 and found['counts']['input'].sum() == 0 and np.isnan(found['median']['input'])


def test_profile_reads_the_pixels_under_the_line():
    image = np.arange(100.0).reshape(10, 10)
    found = profile({'input': Pyramid.of(image), 'result': Pyramid.of(-image)}, (1.2, 2), (7.2, 2))
    assert found['input'].tolist() == [21, 22, 23, 24, 25, 26, 27]
    np.testing.assert_array_equal(found['result'], -found['input'])
    assert found['distance'][-1] == 6 and found['x'][0] == 1.2 and set(found['y']) == {2}


def test_profile_beyond_the_image_and_of_a_point():
    pyramids = {'input': Pyramid.of(np.ones((4, 4)))}
    found = profile(pyramids, (-3, 0), (5, 0))
    assert np.isnan(found['input']).sum() == 5
    assert profile(pyramids, (1, 1), (1, 1))['input'].tolist() == [1, 1]


def test_long_profile_has_few_points():
    pyramids = {'input': Pyramid([np.broadcast_to(np.float32(1), (10000, 10000))])}
    assert len(profile(pyramids, (0, 0), (9999, 9999))['distance']) == 1000


def test_stamp_beside_the_image():
    assert np.isnan(stamp(Pyramid.of(np.ones((8, 8))), 100, -50, 3)).all()
