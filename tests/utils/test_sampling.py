# Licensed under a 3-clause BSD style license - see LICENSE
import numpy as np
import pytest
from scipy.ndimage import uniform_filter1d

from astropy_n2v.utils.sampling import row_blocks, with_halo


@pytest.mark.parametrize('n_rows, size', [(1, 4), (4, 4), (5, 4), (600, 64), (300, 256)])
def test_blocks_have_all_rows_once(n_rows, size):
    blocks = row_blocks(n_rows, size)
    assert np.concatenate([np.arange(n_rows)[rows] for rows in blocks]).tolist() == list(range(n_rows))
    assert {rows.stop - rows.start for rows in blocks[:-1]} <= {size}
    assert blocks[-1].stop == n_rows


def test_no_rows():
    assert row_blocks(0) == []


@pytest.mark.parametrize('halo', [0, 2, 9])
@pytest.mark.parametrize('size', [1, 5, 7, 50])
def test_a_filter_in_blocks_with_a_halo_is_that_of_the_whole(halo, size, rng):
    image = rng.normal(size=(23, 3))
    result = np.empty_like(image)
    for rows in row_blocks(len(image), size):
        wide, inner = with_halo(rows, halo, len(image))
        result[rows] = uniform_filter1d(image[wide], 2 * halo + 1, axis=0, mode='constant')[inner]
    np.testing.assert_allclose(result, uniform_filter1d(image, 2 * halo + 1, axis=0, mode='constant'), atol=1e-12)
