# Licensed under a 3-clause BSD style license - see LICENSE
import sys

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import CCDData, NDData, StdDevUncertainty

from astropy_n2v import conf, denoise
from astropy_n2v.containers.lazy import from_dask, is_dask, to_dask
from astropy_n2v.utils import scratch

da = pytest.importorskip('dask.array')

pytestmark = pytest.mark.filterwarnings('ignore::astropy.utils.exceptions.AstropyUserWarning')


@pytest.fixture
def image(rng):
    return rng.normal(100, 5, (64, 80)).astype('f4')


@pytest.mark.parametrize('limit', [4.0, 1e-9])
def test_dask_arrays_in_and_out(image, tiny_denoiser, monkeypatch, limit):
    monkeypatch.setattr(scratch, '_LEAST', 1)
    lazy = da.from_array(image, chunks=(30, 40))
    expected, planes = denoise(image, tiny_denoiser, full_output=True)
    with conf.set_temp('memory_limit', limit):
        result, parts = denoise(lazy, tiny_denoiser, full_output=True)
    assert is_dask(result) and result.chunks == lazy.chunks and is_dask(parts.blind_mean)
    np.testing.assert_array_equal(result.compute(), expected)
    np.testing.assert_array_equal(parts.std[:10].compute(), planes.std[:10])


def test_the_kind_of_result_can_be_chosen(image, tiny_denoiser, monkeypatch):
    lazy, expected = da.from_array(image, chunks=(30, 40)), denoise(image, tiny_denoiser)
    back = denoise(lazy, tiny_denoiser, return_type='numpy')
    assert type(back) is np.ndarray and np.array_equal(back, expected)
    assert np.array_equal(denoise(image, tiny_denoiser, return_type='dask').compute(), expected)
    with monkeypatch.context() as patch, pytest.raises(ImportError):
        patch.setitem(sys.modules, 'dask.array', None)
        denoise(image, None, return_type='dask')   # before the model is looked at
    with pytest.raises(ValueError, match="return_type must be 'dask', 'numpy' or None, got 'xarray'"):
        denoise(image, tiny_denoiser, return_type='xarray')


def test_containers_of_dask_arrays(image, tiny_denoiser, rng):
    mask, error = rng.random(image.shape) < 0.1, np.full(image.shape, 5, 'f4')
    lazy = [da.from_array(array, chunks=(30, 40)) for array in (image, mask, error)]
    frame = NDData(lazy[0], mask=lazy[1], uncertainty=StdDevUncertainty(lazy[2]), meta={'OBJECT': 'M 13'})
    expected = denoise(NDData(image, mask=mask, uncertainty=StdDevUncertainty(error)), tiny_denoiser)
    result = denoise(frame, tiny_denoiser)
    assert is_dask(result) and is_dask(result.uncertainty.array) and is_dask(result.mask)
    assert result.meta['OBJECT'] == 'M 13' and result.uncertainty.uncertainty_type == 'std'
    np.testing.assert_array_equal(result.data.compute(), expected.data)
    np.testing.assert_array_equal(result.uncertainty.array.compute(), expected.uncertainty.array)
    np.testing.assert_array_equal(result.mask.compute(), expected.mask)
    assert is_dask(frame) and is_dask(frame.mask)   # as it was


def test_other_data_stay_as_they_are(image):
    ccd = CCDData(image, unit='adu')
    assert from_dask(image) is image and from_dask(ccd) is ccd and not is_dask(ccd)
    assert to_dask(ccd).data.shape == image.shape


def test_chunks_are_computed_one_at_a_time(image):
    computed = []

    def slowly(block, block_info=None):
        computed.append(block.shape)
        return block

    lazy = da.from_array(image, chunks=(30, 40)).map_blocks(slowly, dtype=image.dtype, meta=np.zeros((0, 0), 'f4'))
    np.testing.assert_array_equal(from_dask(lazy), image)
    assert len(computed) == 6 and max(computed) == (30, 40)


def test_masked_chunks_keep_their_mask(image, tiny_denoiser, rng):
    mask = rng.random(image.shape) < 0.1
    image[mask] = 5000
    expected = denoise(np.ma.MaskedArray(image, mask), tiny_denoiser)
    lazy = da.ma.masked_array(da.from_array(image, chunks=(30, 40)), da.from_array(mask, chunks=(30, 40)))
    result = denoise(lazy, tiny_denoiser)
    assert is_dask(result)
    np.testing.assert_array_equal(np.ma.getmaskarray(result.compute()), mask)
    np.testing.assert_array_equal(np.ma.getdata(result.compute()), expected.data)


def test_shapes_must_be_known(image, tiny_denoiser):
    lazy = da.from_array(image, chunks=(30, 40))
    with pytest.raises(ValueError, match=r'dask array of known shape, see its compute_chunk_sizes'):
        denoise(lazy[lazy[:, 0] > 0], tiny_denoiser)


def test_units_that_dask_loses_are_refused(image, tiny_denoiser):
    with pytest.raises(TypeError, match="dask array of Quantity.*unit='adu'"):
        denoise(da.from_array(image * u.adu, chunks=32, asarray=False), tiny_denoiser)
