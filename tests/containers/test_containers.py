# Licensed under a 3-clause BSD style license - see LICENSE
"""
Tests of how images are taken apart: all kinds of containers, in all functions.
"""

import logging
import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, InverseVariance, NDData, StdDevUncertainty, VarianceUncertainty
from astropy.utils.exceptions import AstropyUserWarning
from astropy.utils.masked import Masked
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st
from models import make_tiny_denoiser

from astropy_n2v import NoiseModel, denoise, detection_image, estimate_noise
from astropy_n2v.containers.container import Container
from astropy_n2v.containers.deviations import Deviations
from astropy_n2v.containers.parsing import CompleteMask, celestial_order, extend_mask, measured, merge_mask, take_apart
from astropy_n2v.noise import noise_autocorrelation
from astropy_n2v.noise.blocks import valid_image
from astropy_n2v.photometry.frames import frame_arrays
from astropy_n2v.photometry.inputs import as_image
from astropy_n2v.planes import find_planes
from astropy_n2v.validation.report.arguments import as_array

NOISE = NoiseModel(5.0)
# Of a model that was never trained.
pytestmark = pytest.mark.filterwarnings('ignore:.*the innovations have')


def image_of(seed=0, shape=(64, 64), level=100.0):
    return np.random.default_rng(seed).normal(level, 5, shape).astype(np.float32)


def container(kind, data, mask):
    """Put the image into a container of some kind."""
    swapped = data.astype(data.dtype.newbyteorder('S'))
    return {
        'Masked': lambda: Masked(data, mask=mask),
        'Masked Quantity': lambda: Masked(data * u.adu, mask=mask),
        'MaskedArray': lambda: np.ma.MaskedArray(data, mask=mask),
        'big-endian MaskedArray': lambda: np.ma.MaskedArray(swapped, mask=mask),
        'NDData': lambda: NDData(data, mask=mask),
        'NDData of MaskedArray': lambda: NDData(np.ma.MaskedArray(data, mask=mask)),
        'CCDData': lambda: CCDData(data, unit='adu', mask=mask),
        'CCDData with flags': lambda: CCDData(data, unit='adu', mask=mask.astype('u2') * 4),
        'array with NaN': lambda: np.where(mask, np.nan, data),
        'Quantity with NaN': lambda: np.where(mask, np.nan, data) * u.adu,
        'list of lists': lambda: np.where(mask, np.nan, data).tolist(),
    }[kind]()


KINDS = ['Masked', 'Masked Quantity', 'MaskedArray', 'big-endian MaskedArray', 'NDData', 'NDData of MaskedArray',
         'CCDData', 'CCDData with flags', 'array with NaN', 'Quantity with NaN', 'list of lists']


def masked_numbers(image):
    """Numbers of pixels that each of the ways into the package leaves out."""
    frame = Container(image)
    return {
        'denoise, train': np.count_nonzero(frame.mask | ~np.isfinite(frame.values)),
        'estimate_noise': np.count_nonzero(np.isnan(valid_image(image, None))),
        'measures': np.count_nonzero(np.isnan(as_image('data', image)[0])),
        'detection': np.count_nonzero(frame_arrays(image)[1]),
        'validate': np.count_nonzero(np.isnan(as_array(image, None))),
    }


@settings(max_examples=25, deadline=None)
@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 5), rows=st.integers(0, 20))
def test_all_functions_agree_about_all_containers(kind, seed, rows):
    data, mask = image_of(seed), np.zeros((64, 64), dtype=bool)
    mask[7:7 + rows] = mask[:, 3] = True
    data[mask] = np.random.default_rng(seed).uniform(0, 1e5, data.shape)[mask]   # what is masked is junk
    image = container(kind, data, mask)
    assert set(masked_numbers(image).values()) == {mask.sum()}, masked_numbers(image)
    expected = estimate_noise(np.where(mask, np.nan, data))
    assert float(estimate_noise(image).sigma) == pytest.approx(float(expected.sigma), rel=1e-6)
    plane = find_planes(Container(image))[0][0]
    assert float(plane.data_noise.sigma) == pytest.approx(float(expected.sigma), rel=1e-6)
    np.testing.assert_allclose(noise_autocorrelation(image), noise_autocorrelation(np.where(mask, np.nan, data)))


@pytest.mark.parametrize('kind', ['array with NaN', 'CCDData', 'Masked Quantity'])
def test_fill_values_count_nowhere(kind):
    data = image_of()
    data[5:8, 9] = -1e30
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', AstropyUserWarning)
        numbers = masked_numbers(container(kind, data, np.zeros(data.shape, bool)))
        noise = estimate_noise(data)
    assert set(numbers.values()) == {3}
    assert float(noise.sigma) == pytest.approx(5, rel=0.1)


def test_damaged_block_leaves_the_noise_as_it_is(rng):
    data = image_of().astype('f4')
    data[10:14] = np.frombuffer(rng.bytes(data[10:14].nbytes), 'f4').reshape(data[10:14].shape)
    with pytest.warns(AstropyUserWarning, match='random numbers|far from all others'), np.errstate(all='ignore'):
        noise = estimate_noise(data)
    assert float(noise.sigma) == pytest.approx(5, rel=0.2)


def test_detection_image_leaves_out_what_is_masked():
    data = image_of(shape=(40, 40))
    data[20, 20] = 1e30
    uncertainty = StdDevUncertainty(np.full(data.shape, 5.0))
    significance = detection_image(CCDData(data, unit='adu', uncertainty=uncertainty), 3.0)
    assert significance.mask[20, 20] and np.isfinite(significance.data).all()
    assert np.abs(significance.data).max() < 20


class TestTakeApart:
    def test_parts_share_their_arrays(self):
        data = image_of()
        assert take_apart(CCDData(data, unit='adu', copy=False)).values is data
        parts = take_apart(Masked(data << u.Jy, mask=data > 110))
        assert parts.unit == u.Jy and np.shares_memory(parts.values, data)
        np.testing.assert_array_equal(parts.mask, data > 110)

    @pytest.mark.parametrize('data', [np.array(['a']), [object()], np.array([1j])])
    def test_no_numbers(self, data):
        with pytest.raises(TypeError, match='picture must be'):
            take_apart(data, 'picture')

    def test_masks_are_merged(self):
        mask = np.zeros((2, 3, 4), dtype=bool)
        merge_mask(mask, np.eye(3, 4) > 0, 'mask')
        assert mask.sum() == 6
        with pytest.raises(ValueError, match=r'flags must have the shape of the data, \(2, 3, 4\), got \(4, 3\)'):
            merge_mask(mask, np.ones((4, 3)), 'flags')
        with pytest.raises(TypeError, match='flags must be of bool or numbers'):
            merge_mask(mask, np.full((3, 4), 'x'), 'flags')

    def test_complete_masks_are_not_looked_at_again(self):
        data = image_of()
        data[:16, :16] = 0
        with pytest.warns(AstropyUserWarning, match=r'256 pixels in regions of one constant value \(0\)'):
            mask = measured(data).mask
        assert type(mask) is CompleteMask and mask.sum() == 256
        assert type(mask | ~np.isfinite(data)) is CompleteMask
        valid_image(data, mask)   # no second warning
        assert measured(data, mask & False).mask.sum() == 0


class TestExtendMask:
    def test_nothing_to_add(self):
        assert extend_mask(None, np.zeros((2, 2), bool)) is None
        own = np.eye(2, dtype='u1')
        np.testing.assert_array_equal(extend_mask(own, own.astype(bool)), own)

    @settings(max_examples=50, deadline=None)
    @given(dtype=st.sampled_from(['u1', 'i2', '>i4', 'u8', 'i8']), seed=st.integers(0, 100))
    def test_flags_keep_their_bits(self, dtype, seed):
        rng = np.random.default_rng(seed)
        own = rng.integers(0, 2 ** rng.integers(1, 8), (5, 6)).astype(dtype)
        added = rng.random(own.shape) < 0.3
        result = extend_mask(own, added)
        assert result.dtype == own.dtype
        np.testing.assert_array_equal(result.astype(bool), own.astype(bool) | added)
        np.testing.assert_array_equal(result[own != 0], own[own != 0])
        new = result[(own == 0) & added]
        assert not new.size or np.unique(new).size == 1
        used = int(np.bitwise_or.reduce(own, axis=None))
        assert not new.size or used == np.iinfo(own.dtype).max or not used & int(new[0])


class TestMaskOfTheResult:
    def check(self, image, **options):
        result = denoise(image, make_tiny_denoiser(), noise=NOISE, hole=1, **options)
        mask = np.zeros(result.data.shape, bool) if result.mask is None else np.asarray(result.mask, bool)
        assert np.isfinite(result.uncertainty.array[~mask]).all()
        return result, mask

    def test_no_mask_if_all_pixels_count(self):
        assert self.check(CCDData(image_of(), unit='adu'))[0].mask is None

    def test_what_was_masked_on_the_way_is_masked(self, rng):
        data = image_of()
        data[3, 4], data[30:34, 30:34] = np.nan, 60000
        given = np.zeros(data.shape, bool)
        given[50] = True
        result, mask = self.check(CCDData(data, unit='adu', meta=fits.Header({'SATURATE': 50000})), mask=given)
        expected = given | ~np.isfinite(data) | (data == 60000)
        np.testing.assert_array_equal(mask, expected)
        np.testing.assert_array_equal(result.data[expected], data[expected])

    def test_filled_pixels_count_again(self):
        data = image_of()
        data[3, 4], data[30:34, 30:34] = np.nan, 60000
        own = np.zeros(data.shape, bool)
        own[50] = True
        result, mask = self.check(CCDData(data, unit='adu', mask=own, meta=fits.Header({'SATURATE': 50000})),
                                  fill_masked=True)
        np.testing.assert_array_equal(mask, own)
        assert np.isfinite(result.data).all() and np.isfinite(result.uncertainty.array).all()

    def test_flags_keep_dtype_and_bits(self):
        data, flags = image_of(), np.zeros((64, 64), dtype='u2')
        data[3, 4], flags[9, 9], flags[10, 10] = np.nan, 64, 1
        result, _ = self.check(NDData(data, unit='adu', mask=flags))   # CCDData makes any mask bool
        assert result.mask.dtype == flags.dtype
        assert result.mask[9, 9] == 64 and result.mask[10, 10] == 1 and result.mask[3, 4] == 2
        assert np.count_nonzero(result.mask) == 3

    @pytest.mark.parametrize('make', [np.ma.MaskedArray, Masked])
    def test_masked_arrays(self, make):
        data = image_of()
        data[3, 4] = np.nan
        own = np.zeros(data.shape, bool)
        own[9] = True
        result = denoise(make(data, mask=own), make_tiny_denoiser(), noise=NOISE, hole=1)
        np.testing.assert_array_equal(np.asarray(result.mask), own | np.isnan(data))


class TestStatedErrors:
    def found(self, data, uncertainty, **options):
        frame = Container(CCDData(data, unit='adu', uncertainty=uncertainty, **options))
        return np.asarray(frame.mask), frame

    @pytest.mark.parametrize('junk', [np.inf, np.nan, 0, -1, 1e4, 1e10, 1e20, 1e30, 3e38])
    @pytest.mark.parametrize('kind', [StdDevUncertainty, VarianceUncertainty])
    def test_they_mask_pixels(self, junk, kind, rng, caplog):
        data, bad = image_of(), rng.random((64, 64)) < 0.02
        data[bad] = rng.uniform(-1e3, 1e3, bad.sum())
        error = np.where(bad, junk, 25.0 if kind is VarianceUncertainty else 5.0).astype('f4')
        if kind is VarianceUncertainty and junk == 1e4:
            error[bad] = 1e8
        with caplog.at_level(logging.INFO, 'astropy_n2v'):
            mask, frame = self.found(data, kind(error))
        np.testing.assert_array_equal(mask, bad)
        assert f'{bad.sum()} pixels count as masked: their stated errors are' in caplog.text
        expected = find_planes(Container(CCDData(data, unit='adu', mask=bad, uncertainty=kind(
            np.where(bad, np.median(error[~bad]), error)))))[0][0]
        noise = find_planes(frame)[0][0].noise
        np.testing.assert_allclose(noise.sigma, expected.noise.sigma, rtol=1e-5)

    def test_inverse_variance(self, rng):
        data, bad = image_of(), rng.random((64, 64)) < 0.02
        for junk in 0, -1, np.nan, np.inf, 1e-30:
            mask, _ = self.found(data, InverseVariance(np.where(bad, junk, 0.04)))
            np.testing.assert_array_equal(mask, bad)

    def test_even_where_they_are_the_majority(self, rng):
        bad = rng.random((64, 64)) < 0.7
        mask, _ = self.found(image_of(), StdDevUncertainty(np.where(bad, 1e30, 5.0)))
        np.testing.assert_array_equal(mask, bad)

    def test_root_of_negative_data_is_the_fault_of_the_plane(self, rng):
        data = rng.normal(3, 6, (64, 64))
        with np.errstate(invalid='ignore'):
            error = np.sqrt(data)
        assert np.isnan(error).mean() > 0.2
        mask, frame = self.found(data, StdDevUncertainty(error))
        assert not mask.any()
        with pytest.warns(AstropyUserWarning, match='the sky noise according to the uncertainty'):
            assert np.isfinite(find_planes(frame)[0][0].noise.sigma).all()
        counts = rng.poisson(1.0, (64, 64)).astype(float)   # zero counts with an error of zero
        assert not self.found(counts, StdDevUncertainty(np.sqrt(counts)))[0].any()

    def test_plane_without_any_error(self):
        for value in 0, np.nan:
            mask, frame = self.found(image_of(), StdDevUncertainty(np.full((64, 64), value)))
            assert not mask.any()
            with pytest.warns(AstropyUserWarning, match='hardly any finite, positive value'):
                assert find_planes(frame)[0][0].noise.source == 'image'

    def test_shallow_part_of_a_mosaic_is_measured(self, rng):
        error = np.where(np.arange(64) < 50, 1.0, 80.0) * np.ones((64, 1))
        data = 100 + error * rng.normal(size=error.shape)
        assert not self.found(data, StdDevUncertainty(error))[0].any()
        # Where the data do not scatter so much, the errors are made up.
        assert self.found(100 + rng.normal(size=error.shape), StdDevUncertainty(error))[0].sum() == 64 * 14

    def test_photon_noise_of_bright_stars_is_believed(self, rng):
        y, x = np.mgrid[:64, :64]
        truth = 1.0 + 1e6 * np.exp(-((x - 30) ** 2 + (y - 30) ** 2) / 8)
        error = np.sqrt(truth + 1)
        assert error.max() > 500 * np.median(error)
        assert not self.found(truth + error * rng.normal(size=truth.shape), StdDevUncertainty(error))[0].any()
        # Whatever the order of the axes in memory.
        cube = np.repeat(error[:, :, None], 3, axis=2)
        deviations = Deviations(StdDevUncertainty(cube), cube.shape, u.adu)
        deviations.transpose((2, 0, 1))
        values = np.broadcast_to(truth, (3, 64, 64))
        assert deviations.find_junk(values, np.zeros(values.shape, bool)) == (None, '')


class OtherNDData(NDData):
    """An NDData of another package, with its spectral axis anywhere."""

    def __init__(self, *args, spectral_axis_index=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.spectral_axis_index = spectral_axis_index


def wcs_of(types):
    wcs = WCS(naxis=len(types))
    wcs.wcs.ctype = types
    return wcs


class TestCubes:
    @pytest.mark.parametrize('types, order', [
        (('RA---TAN', 'DEC--TAN', 'WAVE'), None), (('WAVE', 'RA---TAN', 'DEC--TAN'), (2, 0, 1)),
        (('RA---TAN', 'FREQ', 'DEC--TAN'), (1, 0, 2)), (('GLON-CAR', 'GLAT-CAR', 'VRAD'), None),
        (('HPLN-TAN', 'HPLT-TAN', 'TIME'), None), (('TIME', 'HPLN-TAN', 'HPLT-TAN'), (2, 0, 1)),
        (('FREQ', 'LINEAR', 'LINEAR'), (2, 0, 1)), (('', '', ''), None)])
    def test_order_of_axes(self, types, order):
        assert celestial_order(NDData(np.zeros((9, 8, 10)), wcs=wcs_of(types))) == order

    def test_arrays_and_images_have_no_order(self):
        assert celestial_order(np.zeros((3, 4, 5))) is None
        assert celestial_order(NDData(np.zeros((3, 4)), wcs=wcs_of(('WAVE', 'RA---TAN')))) is None
        assert celestial_order(OtherNDData(np.zeros((3, 4, 5)), spectral_axis_index=2)) == (2, 0, 1)
        assert celestial_order(OtherNDData(np.zeros((3, 4, 5)), spectral_axis_index=0)) is None

    def test_rotated_into_the_spectral_axis(self):
        wcs = wcs_of(('RA---TAN', 'DEC--TAN', 'WAVE'))
        wcs.wcs.pc = [[1, 0, 0.1], [0, 1, 0], [0, 0, 1]]
        with pytest.warns(AstropyUserWarning, match='does not single out two axes'):
            assert celestial_order(NDData(np.zeros((9, 8, 10)), wcs=wcs)) is None

    @pytest.mark.parametrize('make', [
        lambda data, **parts: NDData(data, wcs=wcs_of(('WAVE', 'RA---TAN', 'DEC--TAN')), **parts),
        lambda data, **parts: OtherNDData(data, spectral_axis_index=2, **parts)])
    def test_planes_are_images(self, make, rng):
        planes = np.stack([image_of(i, (20, 24), level=100 * i) for i in range(3)])
        planes[1, 2, 3] = np.nan
        mask = np.zeros(planes.shape, bool)
        mask[2, 5] = True
        last = np.moveaxis(planes, 0, -1)
        cube = make(last, unit='adu', mask=np.moveaxis(mask, 0, -1),
                    uncertainty=StdDevUncertainty(np.full(last.shape, 5.0, dtype='f4')))
        tiny = make_tiny_denoiser()
        result = denoise(cube, tiny, hole=1)
        expected = denoise(NDData(planes, unit='adu', mask=mask, uncertainty=StdDevUncertainty(
            np.full(planes.shape, 5.0, dtype='f4'))), tiny, hole=1)
        assert type(result) is type(cube) and result.data.shape == last.shape
        np.testing.assert_array_equal(np.moveaxis(result.data, -1, 0), expected.data)
        np.testing.assert_array_equal(np.moveaxis(result.uncertainty.array, -1, 0), expected.uncertainty.array)
        np.testing.assert_array_equal(np.moveaxis(result.mask, -1, 0), mask | np.isnan(planes))
        # Parameters that vary are in the order of the data, too; a mask may have the shape of an image.
        gain = np.ones(last.shape) * [1, 2, 3]
        frame = Container(cube, mask=np.eye(20, 24) > 0)
        np.testing.assert_array_equal(frame.parameter('gain', gain, (1,)), np.full((20, 24), 2.0))
        assert frame.mask[:, 4, 4].all()

    @pytest.mark.parametrize('earlier', ['level 1', 'level 1\nsecond line', ['a', 'b'], None])
    @pytest.mark.parametrize('key', ['HISTORY', 'history'])
    def test_history_keeps_its_kind(self, earlier, key, tmp_path):
        meta = {'observer': 'me'} if earlier is None else {key: earlier}
        result = denoise(CCDData(image_of(shape=(16, 16)), unit='adu', meta=dict(meta)), make_tiny_denoiser(),
                         noise=NOISE, hole=1)
        key = 'HISTORY' if earlier is None else key
        assert [name for name in result.meta if name.upper() == 'HISTORY'] == [key]
        history = result.meta[key]
        assert isinstance(history, str if earlier is None else type(earlier))
        assert earlier is None or history[:len(earlier)] == earlier
        if earlier in ('level 1', None) and key == 'HISTORY':
            result.write(tmp_path / 'x.fits')
            lines = list(fits.getheader(tmp_path / 'x.fits')['HISTORY'])
            assert lines[-1].startswith('astropy_n2v: errors are correlated') and lines[0][:7] in ('level 1', 'astropy')
