# Licensed under a 3-clause BSD style license - see LICENSE
"""
Tiles cover the image, their weights sum to one, and nothing shows where they meet.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astropy_n2v import Denoiser, conf
from astropy_n2v.inference.tiling import Tiling


@settings(max_examples=100, deadline=None)
@given(height=st.integers(1, 700), width=st.integers(1, 700), margin=st.integers(0, 60),
       alignment=st.sampled_from([1, 4, 16]), extra=st.integers(0, 200))
def test_weights_sum_to_one_and_vanish_at_interior_edges(height, width, margin, alignment, extra):
    tiling = Tiling((height, width), 2 * margin + 16 + 2 * alignment + extra, margin, alignment=alignment)
    total = np.zeros(tiling.padded_shape)
    count = 0
    for tile in tiling:
        count += 1
        total[tile.y, tile.x] += tile.weight
        for part, weight, length in ((tile.y, tile.weight_y, total.shape[0]), (tile.x, tile.weight_x, total.shape[1])):
            assert part.start % alignment == part.stop % alignment == 0
            if part.start > 0:
                assert np.all(weight[:margin] == 0)
            if part.stop < length:
                assert np.all(weight[len(weight) - margin:] == 0)
    assert count == len(tiling)
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_tile_that_is_all_margin_is_an_error():
    with pytest.raises(ValueError, match='tile_size must be at least'):
        Tiling((500, 500), 64, 40, alignment=16)


@pytest.mark.parametrize('precision, shape', [('float32', (331, 417)), ('float32', (517, 300)),
                                              ('bfloat16', (331, 417))])
def test_tiled_equals_untiled(precision, shape):
    from astropy_n2v.simulate import make_scene
    scene = make_scene('survey', shape, seed=8)
    data = scene.observe(seed=9).data
    denoiser = Denoiser.load('default')
    smallest = 2 * denoiser.margin + 64
    with conf.set_temp('precision', precision):
        whole = denoiser.predict(data, scene.noise, tile_size=2048)
        tiled = denoiser.predict(data, scene.noise, tile_size=smallest)
    sigma = np.sqrt(scene.noise.variance(scene.truth))
    limit = np.maximum(1e-5 * sigma, 4 * np.spacing(np.abs(whole.mean)))
    assert np.all(np.abs(tiled.mean - whole.mean) <= limit)
    np.testing.assert_allclose(tiled.std, whole.std, rtol=1e-4)


def test_inner_part_of_a_tile_is_what_has_weight():
    tiling = Tiling((100, 300), 128, 24, alignment=16)
    count = np.zeros(tiling.padded_shape)
    for tile in tiling:
        assert np.all(tile.weight[tile.inner] > 0)
        assert tile.weight[tile.inner].sum() == pytest.approx(tile.weight.sum())
        count[tile.inner_y, tile.inner_x] += 1
    assert count.min() == 1


def test_tiles_are_no_larger_than_their_number_needs():
    tiling = Tiling((2048, 2048), 1344, 123, alignment=16)
    assert len(tiling) == 4
    assert {tile.y.stop - tile.y.start for tile in tiling} == {1168}
