# Licensed under a 3-clause BSD style license - see LICENSE
import numpy as np
import pytest

from astropy_n2v.utils.blocks import as_blocks, sum_blocks


@pytest.mark.parametrize('shape, size', [((7, 9), 3), ((8, 8), (2, 4)), ((2, 7, 5), (3, 2)), ((3, 3), 5)])
@pytest.mark.parametrize('pad', [False, True])
def test_blocks_are_those_cut_one_by_one(shape, size, pad, rng):
    image = rng.normal(size=shape)
    height, width = np.broadcast_to(size, 2)
    found = as_blocks(image, size, pad=pad)
    ny, nx = (-(-n // m) if pad else n // m for n, m in zip(shape[-2:], (height, width)))
    assert found.shape == (*shape[:-2], ny, height, nx, width)
    for i in range(ny):
        for j in range(nx):
            one = image[..., i * height:(i + 1) * height, j * width:(j + 1) * width]
            np.testing.assert_array_equal(found[..., i, :one.shape[-2], j, :one.shape[-1]], one)
            assert found[..., i, :, j, :].sum() == pytest.approx(one.sum())


def test_sums_of_pixels_that_count(rng):
    image = rng.normal(size=(11, 13))
    image[2, 3] = np.nan
    good = np.isfinite(image) & (rng.uniform(size=image.shape) < 0.7)
    total, count = sum_blocks(image, good, 4, pad=True)
    assert total.shape == (3, 4) and count.sum() == good.sum()
    assert total[0, 0] == pytest.approx(image[:4, :4][good[:4, :4]].sum())
    assert total[2, 3] == pytest.approx(image[8:, 12:][good[8:, 12:]].sum())
    np.testing.assert_array_equal(sum_blocks(image, good, 4)[1], count[:2, :3])
