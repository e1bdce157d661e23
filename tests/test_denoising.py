# Licensed under a 3-clause BSD style license - see LICENSE
"""
denoise(): containers in, containers out, with everything that they held.
"""

import re
import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from astropy import units as u
from astropy.io import fits
from astropy.nddata import (
    CCDData,
    Cutout2D,
    InverseVariance,
    NDData,
    NDDataRef,
    StdDevUncertainty,
    VarianceUncertainty,
)
from astropy.table import Table
from astropy.utils.exceptions import AstropyUserWarning
from astropy.utils.masked import Masked
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st
from models import make_tiny_denoiser
from photutils.psf import CircularGaussianPRF, PSFPhotometry

from astropy_n2v import CannotDenoiseError, Denoiser, NoiseModel, denoise, estimate_noise, train
from astropy_n2v.containers.container import Container
from astropy_n2v.denoiser import Prediction
from astropy_n2v.io import read_fits_images
from astropy_n2v.planes import Plane
from astropy_n2v.provenance import provenance
from astropy_n2v.simulate import make_scene

# Models that are hardly trained disagree with the image, and rightly say so.
untrained = pytest.mark.filterwarnings('ignore:.*innovations have an rms')


def noise_reduction(noisy, result, scene):
    sigma = np.sqrt(scene.noise.variance(scene.truth))
    return np.sqrt(np.mean(((noisy - scene.truth) / sigma) ** 2) / np.mean(((result - scene.truth) / sigma) ** 2))


def test_default_model_on_a_simulated_frame(ccd, scene):
    before = ccd.data.copy()
    result = denoise(ccd)
    assert noise_reduction(ccd.data, result.data, scene) > 4
    np.testing.assert_array_equal(ccd.data, before)
    pull = (result.data - scene.truth) / result.uncertainty.array
    # A field with fewer faint sources than most: the default model's spread is rather too large.
    assert 0.4 < np.sqrt(np.mean(pull ** 2)) < 1.1
    assert result.data.dtype == np.float32


class TestContainers:
    @pytest.fixture
    def full(self, ccd):
        """Make a frame with everything that a CCDData can hold."""
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = 'RA---TAN-SIP', 'DEC--TAN-SIP'
        wcs.wcs.crval = 10, 20
        wcs.wcs.crpix = 50, 60
        wcs.wcs.cdelt = -1e-4, 1e-4
        from astropy.wcs import Sip
        wcs.sip = Sip(np.array([[0, 0, 1e-6], [0, 1e-6, 0], [1e-6, 0, 0]]), np.zeros((3, 3)), None, None, (50, 60))
        header = fits.Header()
        header['OBJECT'] = ('M 13', 'what it is')
        header['COMMENT'] = 'a comment'
        header['HISTORY'] = 'bias subtracted'
        header['HIERARCH ESO TEL AIRM'] = 1.2
        mask = np.zeros(ccd.shape, dtype=bool)
        mask[10:12, 30:33] = True
        sigma = np.sqrt(np.full(ccd.shape, 225.0))
        return CCDData(ccd.data, unit='electron', wcs=wcs, header=header, mask=mask, psf=np.ones((3, 3)) / 9,
                       uncertainty=StdDevUncertainty(sigma), flags=np.ones(ccd.shape, dtype=int))

    def test_ccddata_keeps_everything(self, full):
        header = full.header.copy()
        result = denoise(full)
        assert type(result) is CCDData
        assert result.unit == full.unit
        np.testing.assert_array_equal(result.mask, full.mask)
        np.testing.assert_array_equal(result.flags, full.flags)
        np.testing.assert_array_equal(result.psf, full.psf)
        assert result.wcs.sip.a_order == 2
        assert repr(result.wcs.to_header(relax=True)) == repr(full.wcs.to_header(relax=True))
        kept = [card for card in result.header.cards if not card.keyword.startswith('N2V')]
        assert [str(card) for card in kept[:len(header)]] == [str(card) for card in header.cards]
        assert result.header.comments['OBJECT'] == 'what it is'
        assert result.uncertainty.uncertainty_type == 'std'
        assert result.uncertainty.parent_nddata is result
        # The input is as it was, and nothing is shared.
        assert full.header == header
        result.header['OBJECT'] = 'changed'
        result.mask[:] = True
        assert full.header['OBJECT'] == 'M 13' and not full.mask.all()
        assert np.all(full.uncertainty.array == 15)

    def test_result_can_be_written_and_read(self, full, tmp_path):
        result = denoise(full)
        result.write(tmp_path / 'x.fits')
        again = CCDData.read(tmp_path / 'x.fits')
        np.testing.assert_array_equal(again.data, result.data)
        np.testing.assert_array_equal(again.uncertainty.array, result.uncertainty.array)
        assert again.header['N2VHOLE'] == '1x1'

    @pytest.mark.parametrize('cls', [NDData, NDDataRef])
    def test_nddata_with_plain_meta(self, cls, ccd):
        data = cls(ccd.data, unit='electron', meta={'observer': 'me', 'HISTORY': ['older']})
        result = denoise(data)
        assert type(result) is cls
        assert result.meta['observer'] == 'me'
        assert result.meta['HISTORY'][0] == 'older' and len(result.meta['HISTORY']) == 3
        assert data.meta == {'observer': 'me', 'HISTORY': ['older']}
        assert isinstance(result.uncertainty, StdDevUncertainty)

    def test_quantity_array_and_masked_array(self, ccd):
        quantity = denoise(ccd.data * u.electron)
        assert quantity.unit == u.electron and quantity.dtype == np.float32
        array = denoise(ccd.data, noise=NoiseModel(15.0))
        assert type(array) is np.ndarray
        masked = denoise(np.ma.masked_greater(ccd.data, 1000), noise=NoiseModel(15.0))
        assert isinstance(masked, np.ma.MaskedArray)
        np.testing.assert_array_equal(masked.mask, ccd.data > 1000)

    def test_mask_of_a_masked_array_is_not_shared(self, ccd):
        data = np.ma.masked_greater(ccd.data, 1000)
        before = data.mask.copy()
        result = denoise(data, noise=NoiseModel(5.0, gain=1.0))
        result.mask[1, 1] = True
        np.testing.assert_array_equal(data.mask, before)

    def test_model_name_that_is_not_ascii(self, ccd, tmp_path):
        make_tiny_denoiser().save(tmp_path / 'modèle.safetensors')
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', AstropyUserWarning)
            result = denoise(ccd, tmp_path / 'modèle.safetensors', noise=NoiseModel(5.0, gain=1.0), hole=1)
        assert result.header['N2VMODEL'] == 'mod?le.safetensors'

    def test_full_output(self, ccd):
        result, prediction = denoise(ccd, full_output=True)
        np.testing.assert_array_equal(prediction.std, result.uncertainty.array)
        for name in ('blind_mean', 'blind_std', 'innovation', 'outlier', 'noise_std'):
            assert getattr(prediction, name).shape == ccd.shape
        assert 0.9 < prediction.innovation.std() < 1.1

    def test_provenance(self, ccd):
        from astropy_n2v import Denoiser, __version__
        result = denoise(ccd, noise=NoiseModel(5.0, gain=1.0), strength=0.75)
        header = result.header
        assert header['N2VVERS'] == __version__
        assert Denoiser.load('default').sha256.startswith(header['N2VSHA'])
        assert header['N2VNSRC'] == 'given' and header['N2VGAIN'] == 1 and header['N2VSIG0'] == 5
        assert header['N2VSTREN'] == 0.75
        assert header['N2VAPFAC'] > 1
        assert any('do not sum variances' in line for line in header['HISTORY'])
        assert 'N2VVERS' not in denoise(ccd, add_keyword=False).header
        with pytest.warns(AstropyUserWarning) as caught:
            denoise(result, noise=NoiseModel(5.0, gain=1.0))
        assert 'denoised before' in str(caught[0].message)

    @untrained
    def test_cards_of_an_earlier_result_do_not_stay(self, ccd, tiny_denoiser):
        ccd.header.update({'N2VGRAD': 3.0, 'N2VAPFAC': 2.0})
        small = CCDData(ccd.data[:16, :16], unit='electron', header=ccd.header)
        result = denoise(small, tiny_denoiser, noise=NoiseModel(5.0, gain=1.0), hole=1)
        # Too small for apertures, so nothing refers to them.
        assert 'N2VGRAD' not in result.header and 'N2VAPFAC' not in result.header
        assert any('do not sum variances' in line for line in result.header['HISTORY'])
        assert not any('N2VAPFAC' in line for line in result.header['HISTORY'])

    @untrained
    def test_extremes_in_the_header_are_those_of_the_result(self, ccd, tiny_denoiser):
        ccd.header.update({'DATAMIN': float(ccd.data.min()), 'DATAMAX': float(ccd.data.max())})
        result = denoise(ccd, tiny_denoiser, noise=NoiseModel(5.0, gain=1.0), hole=1)
        assert result.header['DATAMIN'] == result.data.min() and result.header['DATAMAX'] == result.data.max()
        ccd.data[3, 4], ccd.data[5, 6] = np.inf, np.nan
        result = denoise(ccd, tiny_denoiser, noise=NoiseModel(5.0, gain=1.0), hole=1)
        assert result.header['DATAMAX'] == result.data[np.isfinite(result.data)].max()

    @untrained
    def test_what_is_said_of_one_plane_names_it(self, scene, tiny_denoiser):
        cube = np.stack([scene.observe(seed=i).data[:64, :64] for i in range(2)])
        cube[1] += np.random.default_rng(0).normal(0, 60, cube[1].shape)
        with pytest.warns(AstropyUserWarning) as caught:
            result = denoise(CCDData(cube, unit='electron'), tiny_denoiser, noise=NoiseModel(5.0, gain=1.0), hole=1)
        assert any('plane (1,): the innovations have an rms' in str(warning.message) for warning in caught)
        assert 'astropy_n2v: cards N2V* describe plane (0,)' in result.header['HISTORY']

    @untrained
    def test_cube_is_processed_plane_by_plane(self, scene, tiny_denoiser):
        cube = np.stack([scene.observe(seed=i).data[:64, :64] for i in range(3)])
        noise = NoiseModel(5.0, gain=1.0)
        result, prediction = denoise(cube[None], tiny_denoiser, noise=noise, hole=1, full_output=True)
        assert result.shape == prediction.innovation.shape == (1, 3, 64, 64)
        for i in range(3):
            np.testing.assert_array_equal(result[0, i], denoise(cube[i], tiny_denoiser, noise=noise, hole=1))

    @untrained
    @pytest.mark.parametrize('kind, reason', [('constant', 'constant'), ('nan', 'no valid pixel'),
                                              ('scattered', 'too few valid pixels next to each other')])
    def test_plane_of_a_cube_that_cannot_be_denoised_passes_through(self, scene, tiny_denoiser, kind, reason):
        cube = np.stack([scene.observe(seed=1).data[:64, :64]] * 2)
        if kind == 'scattered':
            keep = cube[1, ::3, ::3].copy()
            cube[1] = np.nan
            cube[1, ::3, ::3] = keep
        else:
            cube[1] = {'constant': 7, 'nan': np.nan}[kind]
        with pytest.warns(AstropyUserWarning, match=rf'plane \(1,\) passes through .*{reason}'):
            result = denoise(NDData(cube), tiny_denoiser, hole=1)
        np.testing.assert_array_equal(result.data[1], cube[1])
        assert np.all(np.isnan(result.uncertainty.array[1])) and np.isfinite(result.uncertainty.array[0]).all()
        with pytest.raises(CannotDenoiseError, match='no plane that can be denoised'), warnings.catch_warnings():
            warnings.simplefilter('ignore', AstropyUserWarning)
            denoise(cube[1:])

    @untrained
    def test_gains_of_the_planes_of_a_cube(self, rng, tiny_denoiser):
        gain = np.array([1.0, 4.0]).reshape(2, 1, 1)
        cube = rng.poisson(400, (2, 64, 64)) / gain
        _, prediction = denoise(cube, tiny_denoiser, gain=gain, readnoise=0.0, hole=1, full_output=True)
        np.testing.assert_allclose(np.median(prediction.noise_std, axis=(1, 2)), 20 / gain.ravel(), rtol=0.1)


@pytest.mark.usefixtures('float32')
class TestNumbers:
    @untrained
    @settings(max_examples=25, deadline=None)
    @given(shape=st.tuples(st.integers(8, 70), st.integers(8, 70)), seed=st.integers(0, 1000),
           dtype=st.sampled_from(['>i2', '<i4', '>u2', '<u2', '>f4', '<f8', '>f8', '<f2', 'u1',
                                  np.longdouble]))
    def test_any_shape_type_and_byte_order(self, shape, seed, dtype):
        data = np.random.default_rng(seed).poisson(100, shape).astype(dtype)
        before = data.copy()
        warnings.simplefilter('ignore', AstropyUserWarning)   # noise of so few pixels is a matter of chance
        result = denoise(data, make_tiny_denoiser(), noise=NoiseModel(10.0), hole=1)
        assert result.shape == shape
        assert result.dtype == (np.float64 if np.dtype(dtype).kind == 'f' and np.dtype(dtype).itemsize >= 8
                                else np.float32)
        assert np.isfinite(result).all()
        np.testing.assert_array_equal(data, before)
        reference = denoise(before.astype(np.float64), make_tiny_denoiser(), noise=NoiseModel(10.0), hole=1)
        np.testing.assert_allclose(result, reference, rtol=1e-6)

    @pytest.mark.parametrize('constant', [-1e4, 123.456, 1e6])
    def test_a_constant_shifts_the_result(self, ccd, constant):
        data = ccd.data.astype(np.float64)
        noise = NoiseModel(5.0, gain=1.0)
        result = denoise(data, noise=noise) + constant
        shifted = denoise(data + constant, noise=noise + constant)
        assert np.max(np.abs(shifted - result)) < 1e-4 * 15
        # In float32 the data themselves are rounded.
        single = denoise((data + constant).astype(np.float32), noise=noise + constant)
        limit = np.maximum(1e-4 * 15, 4 * np.spacing(np.abs(result).astype(np.float32)))
        assert np.all(np.abs(single - result) <= limit + np.spacing(np.float32(abs(constant))))

    @pytest.mark.parametrize('factor', [1e-12, 1e6])
    def test_a_factor_multiplies_the_result(self, ccd, factor):
        noise = NoiseModel(5.0, gain=1.0)
        result, before = denoise(ccd.data, noise=noise, full_output=True)
        scaled, after = denoise((ccd.data.astype(np.float64) * factor).astype(np.float32), noise=noise * factor,
                                full_output=True)
        np.testing.assert_allclose(scaled, result * factor, rtol=1e-4)
        np.testing.assert_allclose(after.std, before.std * factor, rtol=1e-3)

    def test_strength(self, ccd, scene):
        noise = NoiseModel(5.0, gain=1.0)
        data = CCDData(ccd.data.astype(float), unit='electron')
        none, half, full = (denoise(data, noise=noise, strength=s) for s in (0, 0.5, 1))
        np.testing.assert_allclose(none.data, data.data, rtol=1e-12)
        np.testing.assert_allclose(half.data, (none.data + full.data) / 2, rtol=1e-9)
        sky = np.abs(scene.truth - scene.sky) < 2
        np.testing.assert_allclose(none.uncertainty.array[sky], 15, rtol=0.05)
        assert np.all(half.uncertainty.array <= none.uncertainty.array * 1.001)

    def test_strength_0_is_the_data_bit_for_bit(self, ccd):
        for data in (ccd.data.astype('f4'), ccd.data, (10 * ccd.data).astype('u2')):
            frame = CCDData(data, unit='adu')
            np.testing.assert_array_equal(denoise(frame, strength=0, gain=np.full(data.shape, 1.3)).data, data)

    def test_outliers_are_rejected_from_the_data_themselves(self, rng):
        data = rng.normal(100, 5, (64, 64))
        data[20, 30] = 900
        result = denoise(data, noise=NoiseModel(5.0), strength=0, reject_outliers=True)
        assert abs(result[20, 30] - 100) < 5
        data[20, 30] = result[20, 30]
        np.testing.assert_allclose(result, data, rtol=1e-12)

    def test_leak_of_photons_where_there_is_no_light(self):
        data = np.full((8, 8), 2.0)
        plane = Plane((), data, NoiseModel(0.0, gain=1.0), np.zeros(data.shape, bool), None)
        prediction = Prediction(np.zeros((8, 8)), np.zeros((8, 8)), recalibration=SimpleNamespace(innovation_rms=0.8))
        prediction = plane.allow_for_leak(prediction)
        assert np.isfinite(prediction.mean).all() and np.isfinite(prediction.std).all()

    def test_cold_pixels_are_kept_or_replaced(self, scene, rng):
        data = scene.observe(seed=4).data.astype(np.float32)
        y, x = rng.integers(3, np.array(data.shape) - 3, (12, 2)).T
        cold = data.copy()
        cold[y, x] -= np.float32(20 * np.sqrt(scene.noise.variance(scene.sky)))
        kept, clean = (denoise(image, noise=scene.noise, hole=1) for image in (cold, data))
        replaced, parts = denoise(cold, noise=scene.noise, hole=1, reject_outliers=True, full_output=True)
        sigma = np.sqrt(scene.noise.variance(scene.truth))[y, x]
        dark = cold[y, x] < scene.sky - 16 * sigma
        assert dark.sum() >= 8
        np.testing.assert_allclose(kept[y, x][dark], cold[y, x][dark], atol=0.5 * sigma.max())
        # About as near to the truth as if nothing had been there.
        found = dark & (replaced - cold > 100)[y, x]
        assert found.sum() >= dark.sum() - 2   # by their noise, neighbours may resemble those of a star
        assert np.all(parts.outlier[y, x][found] == 1)
        assert np.all(np.abs(replaced[y, x] - clean[y, x])[found] < 1.5 * sigma[found])
        assert parts.n_rejected >= found.sum()

    @pytest.mark.parametrize('fwhm', [2, 4])
    @pytest.mark.parametrize('depth', [0.2, 0.9])
    def test_dark_structure_keeps_its_depth(self, fwhm, depth, rng):
        """Globules in front of a nebula."""
        y, x = np.mgrid[:128, :128]
        truth = np.full((128, 128), 2000.0)
        centres = [(16 + 32 * i, 16 + 32 * j) for i in range(4) for j in range(4)]
        for row, column in centres:
            truth -= depth * 2000 * np.exp(-4 * np.log(2) * ((x - column) ** 2 + (y - row) ** 2) / fwhm ** 2)
        data = rng.poisson(truth) + rng.normal(0, 5, truth.shape)
        result = denoise(data, noise=NoiseModel(5.0, gain=1.0), hole=1)
        lost = [image[row, column] for row, column in centres for image in (2000 - result, 2000 - truth)]
        assert sum(lost[::2]) == pytest.approx(sum(lost[1::2]), rel=0.1)

    @pytest.mark.parametrize('mean', [0.05, 0.5, 5, 50])
    def test_flat_poisson_frames_keep_their_mean(self, mean, rng):
        data = rng.poisson(mean, (512, 512)).astype(np.float32)
        result = denoise(data, noise=NoiseModel(0.0, gain=1.0), hole=1)
        assert result.mean(dtype=float) == pytest.approx(data.mean(dtype=float), rel=0.01)

    def test_stale_gain_of_the_header_is_not_used(self, scene):
        data = scene.observe(seed=4).data.astype(float) * 1e-9
        with pytest.warns(AstropyUserWarning, match='gain of the header .* is not used'):
            result = denoise(CCDData(data, unit='adu', meta=fits.Header({'GAIN': 2.0})))
        assert 'GAIN' not in result.header['N2VNSRC']
        star = np.unravel_index(np.argmax(scene.truth), scene.truth.shape)
        assert result.data[star] == pytest.approx(data[star], rel=0.05)

    def test_noise_that_vanishes_at_the_background(self, rng):
        data = rng.poisson(100, (64, 64)).astype(float)
        zero = np.where(np.arange(64) < 32, 0.0, 200.0)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', AstropyUserWarning)
            result = denoise(data, noise=NoiseModel(0.0, gain=1.0, zero_point=zero), hole=1)
        assert np.isfinite(result).all()

    def test_result_is_repeatable(self, ccd):
        np.testing.assert_array_equal(denoise(ccd).data, denoise(ccd).data)

    @untrained
    @pytest.mark.parametrize('dtype', ['<i4', '>i8'])
    def test_integers_beyond_single_precision(self, ccd, tiny_denoiser, dtype):
        noise = NoiseModel(5.0, gain=1.0)
        data = np.rint(ccd.data)
        wide = denoise(data.astype(dtype) + 10 ** 8, tiny_denoiser, noise=noise + 1e8, hole=1)
        assert wide.dtype == np.float64
        np.testing.assert_allclose(wide - 1e8, denoise(data, tiny_denoiser, noise=noise, hole=1), atol=1e-3)
        assert denoise(data.astype(dtype), tiny_denoiser, noise=noise, hole=1).dtype == np.float32


class TestMasks:
    @untrained
    @pytest.mark.parametrize('dtype', ['u1', '>u2', '<i2'])
    def test_integers_that_were_cut_off(self, ccd, tiny_denoiser, dtype):
        top = np.iinfo(dtype).max
        data = np.minimum(0.3 * ccd.data, 200).astype(dtype)
        data[50:52, 60:63] = top
        result = denoise(CCDData(data, unit='adu'), tiny_denoiser, noise=NoiseModel(5.0), hole=1)
        assert np.all(result.data[data == top] == top) and np.isnan(result.uncertainty.array[data == top]).all()
        assert np.isfinite(result.uncertainty.array[data < top]).all()
        # Where it is so common that it is no saturation, it is a region without data.
        data[:, :90] = top
        with pytest.warns(AstropyUserWarning, match=f'in regions of one constant value .{top:g}'):
            result = denoise(CCDData(data, unit='adu'), tiny_denoiser, noise=NoiseModel(5.0), hole=1)
        np.testing.assert_array_equal(result.mask, data == top)
        np.testing.assert_array_equal(np.isnan(result.uncertainty.array), data == top)

    def test_masked_nan_and_saturated_pixels_come_out_as_they_went_in(self, ccd):
        data = ccd.data.copy()
        data[3, 4] = np.nan
        data[5, 6] = np.inf
        data[50:54, 60:64] = 65535
        mask = np.zeros(data.shape, dtype=bool)
        mask[20:24, 30] = True
        frame = CCDData(data, unit='electron', mask=mask, uncertainty=StdDevUncertainty(np.full(data.shape, 15.0)))
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', AstropyUserWarning)
            result = denoise(frame, satlevel=60000)
            filled = denoise(frame, satlevel=60000 * u.electron, fill_masked=True)
        verbatim = mask | ~np.isfinite(data) | (data == 65535)
        np.testing.assert_array_equal(result.data[verbatim], data[verbatim])
        assert np.all(result.uncertainty.array[mask] == 15)
        assert np.isnan(result.uncertainty.array[3, 4])
        assert np.isfinite(filled.data).all() and np.isfinite(filled.uncertainty.array).all()
        assert np.all(np.abs(filled.data[verbatim] - 200) < 100)
        np.testing.assert_array_equal(filled.data[~verbatim], result.data[~verbatim])

    def test_mask_shields_its_neighbours(self, ccd):
        noise = NoiseModel(5.0, gain=1.0)
        mask = np.zeros(ccd.shape, dtype=bool)
        mask[40:60, 70:72] = True
        spoiled = ccd.data.copy()
        spoiled[mask] = 1e6
        np.testing.assert_array_equal(denoise(spoiled, noise=noise, mask=mask)[~mask],
                                      denoise(ccd.data, noise=noise, mask=mask)[~mask])

    @pytest.mark.filterwarnings('ignore:the innovations')
    @pytest.mark.parametrize('fill, dtype', [(-np.finfo('f8').max, 'f8'), (1e60, '>f8'), (-1.6e38, 'f4')])
    def test_fill_values_do_not_count(self, ccd, tiny_denoiser, fill, dtype):
        bad = np.zeros(ccd.shape, dtype=bool)
        bad[10:14, 20], bad[:, 50] = True, True
        noise = NoiseModel(15.0)
        masked = denoise(CCDData(ccd.data, unit='electron', mask=bad), tiny_denoiser, noise=noise, hole=1)
        frame = CCDData(np.where(bad, fill, ccd.data.astype(float)).astype(dtype), unit='electron')
        with pytest.warns(AstropyUserWarning, match=f'data has {bad.sum()} values such as .*taken for fill values'):
            result = denoise(frame, tiny_denoiser, noise=noise, hole=1)
        np.testing.assert_array_equal(result.data[bad], frame.data[bad])
        np.testing.assert_allclose(result.data[~bad], masked.data[~bad], rtol=1e-4)

    def test_saturation_level_that_single_precision_rounds(self, ccd, tiny_denoiser):
        # The nearest number that float32 has is below it.
        data = np.minimum(ccd.data, np.float32(300.3))
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', AstropyUserWarning)
            result = denoise(data, tiny_denoiser, noise=NoiseModel(5.0, gain=1.0), hole=1, satlevel=300.3)
        top = data == data.max()
        assert top.sum() > 10 and float(data.max()) < 300.3
        np.testing.assert_array_equal(result[top], data[top])

    def test_saturation_level_of_a_unit_that_was_changed(self, scene):
        frame = scene.observe(seed=3, gain=2.0)
        frame.header['SATURATE'] = 20.0
        with pytest.warns(AstropyUserWarning, match='SATURATE = 20 of the header is not used: 100 % of the pixels'):
            result = denoise(frame)
        assert np.isfinite(result.uncertainty.array).all()

    def test_saturation_level_of_the_header(self, scene):
        frame = scene.observe(seed=3, gain=2.0, satlevel=200)
        frame.header['SATURATE'] = 199.0
        frame.header['RDNOISE'] = 5.0
        result = denoise(frame)
        saturated = frame.data >= 199
        assert saturated.any()
        np.testing.assert_array_equal(result.data[saturated], frame.data[saturated])

    def test_zero_inverse_variance_masks(self, ccd):
        ivar = np.full(ccd.shape, 1 / 225.0)
        ivar[:10] = 0
        result = denoise(CCDData(ccd.data, unit='electron', uncertainty=InverseVariance(ivar)))
        np.testing.assert_array_equal(result.data[:10], ccd.data[:10])
        assert np.isnan(result.uncertainty.array[:10]).all()

    def test_variance_with_another_unit(self, ccd):
        variance = VarianceUncertainty(np.full(ccd.shape, 225.0) * 1e6, unit=u.mJy ** 2)
        result, prediction = denoise(CCDData(ccd.data, unit=u.Jy, uncertainty=variance), full_output=True)
        np.testing.assert_allclose(prediction.noise_std, 15, rtol=1e-5)


class TestErrors:
    @pytest.mark.parametrize('unit', [u.mag, u.ABmag, u.mag / u.arcsec ** 2, u.dex])
    def test_magnitudes(self, ccd, unit):
        with pytest.raises(u.UnitsError, match=re.escape(f'data must be linear in flux, got the unit {unit}')):
            denoise(NDData(ccd.data, unit=unit))

    @untrained
    def test_mosaic_of_colour_filters_is_no_error(self, ccd, tiny_denoiser):
        data = ccd.data.copy()
        data[::2, ::2] += 60
        noise = NoiseModel(5.0, gain=1.0)
        # Each kind of pixel is an image of its own.
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', AstropyUserWarning)
            result = denoise(data, tiny_denoiser, noise=noise, hole=1)
            part = denoise(data[1::2, ::2], tiny_denoiser, noise=noise, hole=1)
        np.testing.assert_array_equal(result[1::2, ::2], part)

    @pytest.mark.parametrize('kwargs, error, match', [
        (dict(mask=np.zeros((3, 3), bool)), ValueError, r'mask must have the shape of the data, \(128, 160\), got'),
        (dict(mask=np.ones((128, 160), bool)), ValueError, 'no valid pixel'),
        (dict(gain=-1.0), ValueError, 'gain must be finite and positive, got -1'),
        (dict(gain=1 * u.adu / u.electron), u.UnitsError, 'gain must be in electron / electron'),
        (dict(readnoise=-2), ValueError, 'readnoise must be finite and not negative, got -2'),
        (dict(readnoise=2 * u.m), u.UnitsError, 'readnoise must be in electron, got m'),
        (dict(hole=2), ValueError, 'hole must be an odd number of pixels .* got 2'),
        (dict(hole=(1, 99)), ValueError, 'hole must be an odd number'),
        (dict(hole='big'), ValueError, 'hole must be an odd number'),
        (dict(strength=1.5), ValueError, 'strength must be between 0 and 1, got 1.5'),
        (dict(tile_size=-5), ValueError, 'tile_size must be a positive integer, got -5'),
        (dict(tile_size=32), ValueError, 'tile_size must be at least'),
        (dict(device='abacus'), ValueError, "device must be 'auto', 'cpu' or .* got 'abacus'"),
        (dict(device='cuda:97'), ValueError, "device must be 'auto', 'cpu' or .* got 'cuda:97' "),
        (dict(noise=3.0), TypeError, 'noise must be a NoiseModel, a SetNoise or the path of its file, got float'),
        (dict(satlevel=5 * u.m), u.UnitsError, None),
        (dict(model=3), TypeError, "model must be 'default', 'self', 'adapt', a path or a Denoiser, got int"),
        (dict(model='no_such_file.safetensors'), FileNotFoundError, 'no_such_file'),
        (dict(max_steps=3), TypeError, "training options go with model='self' or 'adapt'"),
        (dict(strenght=0.5), TypeError, r"'strenght' is no keyword \(do you mean strength\?\); options of training"),
        (dict(negative_sources=True), TypeError, "'negative_sources' is no keyword any more: what was measured"),
        (dict(model='self', max_stepps=3), TypeError, r"'max_stepps' is no keyword \(do you mean max_steps\?\)"),
        (dict(strength='a'), ValueError, "strength must be between 0 and 1, got 'a'"),
        (dict(seed=-1), ValueError, 'seed must be a non-negative integer, got -1'),
        (dict(seed=1.5), ValueError, 'seed must be a non-negative integer, got 1.5'),
        (dict(satlevel='high'), ValueError, "satlevel must be a number, or an array .* got 'high'"),
        (dict(satlevel=np.nan), ValueError, 'satlevel must be finite, got nan'),
        (dict(satlevel=-1e5), ValueError, 'satlevel must be above the data, got -100000.0'),
        (dict(gain='two'), ValueError, "gain must be a number or an array of numbers, got 'two'"),
        (dict(gain=np.ones((3, 1, 1))), ValueError, r'gain must broadcast to the shape of the data, \(128, 160\)'),
        (dict(hole=3), ValueError, "hole must be 1x1, as of the model, or not be given, got 3x3; model='self' and "),
        (dict(hole=(1, 3), model='adapt'), ValueError, 'hole must be 1x1, as of the model, .* got 1x3'),
    ])
    def test_bad_arguments(self, ccd, kwargs, error, match):
        with pytest.raises(error, match=match):
            denoise(ccd, **kwargs)

    @pytest.mark.parametrize('data, error, match', [
        (np.zeros(10), ValueError, 'at least two dimensions'),
        (np.zeros((0, 10)), ValueError, 'must not be empty'),
        (np.zeros((4, 100)), ValueError, 'at least 8x8'),
        (np.zeros((10, 10), complex), TypeError, 'must be real numbers'),
        (np.full((32, 32), 5.0), ValueError, 'constant'),
        (np.full((32, 32), np.nan), ValueError, 'no valid pixel'),
    ])
    def test_bad_data(self, data, error, match):
        with pytest.raises(error, match=match):
            denoise(data)

    def test_uncertainty_of_the_wrong_shape(self, ccd):
        ccd.uncertainty = StdDevUncertainty(np.ones((5, 5)))
        with pytest.raises(ValueError, match='uncertainty must have the shape of the data'):
            denoise(ccd)

    def test_gain_in_adu_per_electron(self, scene):
        with pytest.raises(u.UnitsError, match='gain must be in electron / adu for data in adu, got adu / electron'):
            denoise(scene.observe(gain=2.0), gain=2 * u.adu / u.electron)

    def test_hole_of_another_model(self, ccd, tiny_denoiser):
        for own, other in ((1, 1), (3, 3)), ((3, 3), (1, 1)):
            match = f'hole must be {own[0]}x{own[1]}, as of the model, .* got {other[0]}x{other[1]}'
            with pytest.raises(ValueError, match=match):
                denoise(ccd, make_tiny_denoiser(own), hole=other)

    def test_wrong_noise_is_said_once(self, rng):
        with pytest.warns(AstropyUserWarning) as caught:
            denoise(rng.normal(0, 1, (128, 128)), noise=NoiseModel(1.5))
        assert sum(str(w.message).count('the innovations have an rms') for w in caught) == 1

    def test_parts_of_a_plane_say_the_same_once(self, rng):
        # Four colours, all with a noise that is overstated.
        data = rng.normal(0, 1, (256, 256)) + np.tile([[0, 9], [20, 30]], (128, 128))
        with pytest.warns(AstropyUserWarning) as caught:
            denoise(data, noise=NoiseModel(1.5))
        assert sum('the innovations have an rms' in str(w.message) for w in caught) == 1

    def test_noise_of_a_beam_is_not_taken_for_smaller_noise(self, data_path):
        # WISE pixels are much smaller than its beam.
        with pytest.warns(AstropyUserWarning) as caught:
            result = denoise(fits.getdata(data_path / 'blast' / 'WISE_W1.fits'), full_output=True)[1]
        text = ' '.join(str(w.message) for w in caught)
        assert 'correlated noise' in text and 'smaller' not in text
        assert result.audit.summary() == 'ok' and result.recalibration.innovation_rms > 0.85

    def test_stars_that_fill_a_frame_do_not_judge_its_noise(self, data_path):
        with pytest.warns(AstropyUserWarning) as caught:
            ccd, = read_fits_images(data_path / 'hst_nicmos' / 'image.fits')
            denoise(ccd)
        text = ' '.join(str(w.message) for w in caught)
        assert 'sources fill the image' in text and 'innovations' not in text

    @pytest.mark.parametrize('known', [False, True])
    def test_photon_noise_that_blocks_do_not_show(self, known):
        """Learn the growth of the noise from the prediction where too few blocks of the image have a signal."""
        rng = np.random.default_rng(0)
        y, x = np.indices((128, 128))
        truth = 4 + 30 * np.exp(-((y - 60) ** 2 + (x - 70) ** 2) / 2 / 9 ** 2)
        data, true_noise = 0.5 * rng.normal(rng.poisson(truth), 1), 0.5 * np.sqrt(truth + 1)
        given = estimate_noise(data)
        assert given.gain is None
        _, found = denoise(data, noise=given if known else None, full_output=True, audit='warn')
        ratio = found.noise_std / true_noise
        # Noise that was given stays.
        assert ratio[60, 70] == pytest.approx(0.38 if known else 1, abs=0.1) and np.median(ratio) > 0.95

    def test_wrong_noise_model_warns(self, rng):
        data = rng.normal(0, 1, (256, 256))
        with pytest.warns(AstropyUserWarning) as caught:
            denoise(data, noise=NoiseModel(1.5))
        text = ' '.join(str(w.message) for w in caught)
        assert re.search(r'innovations have an rms of 0\.6[67]', text)
        # Once, however many checks of the audit find it.
        assert len(caught) == 2 and text.count('noise is smaller') == 1
        assert re.search(r'model is 1\.5, but (0\.9|1)', text)


@untrained
class TestSelf:
    OPTIONS = dict(max_steps=12, batch_size=2, patch_size=48, seed=3)

    def test_seed_repeats(self, ccd):
        first, second = (denoise(ccd, 'self', **self.OPTIONS) for _ in range(2))
        np.testing.assert_array_equal(first.data, second.data)
        assert first.header['N2VMODEL'] == 'self'
        assert first.header['N2VSHA'] == second.header['N2VSHA']

    def test_adapt_is_never_worse_on_held_out_pixels(self, ccd, scene):
        result = denoise(ccd, 'adapt', **self.OPTIONS)
        default = denoise(ccd)
        assert result.header['N2VMODEL'] == 'adapt'
        ratio = noise_reduction(ccd.data, result.data, scene) / noise_reduction(ccd.data, default.data, scene)
        assert ratio > 0.9

    def test_defects_do_not_ruin_it(self, scene):
        data = scene.observe(seed=8, cosmic_rays=15, hot_pixels=20).data
        mask = np.zeros(data.shape, dtype=bool)
        mask[:, 77] = True
        data[:, 77] = 1e5
        data[90:95, 20:25] = np.nan
        model = train(data, mask=mask, noise=scene.noise, hole=1, max_steps=60, patch_size=48, batch_size=4)
        clean = denoise(data, model, noise=scene.noise, mask=mask, hole=1)
        sky = (scene.truth < 205) & ~mask & np.isfinite(clean) & (np.abs(data - scene.truth) < 75)
        assert np.std((clean - scene.truth)[sky]) < 0.5 * np.std((data - scene.truth)[sky])


class TestRealFrames:
    @pytest.mark.parametrize('name, hdu', [
        ('ccdproc/a8280271.fits', 0), ('sfft_decam/DEC-OBS04a.mini.fits', 0), ('nomtam_m13/m13_rice.fits', 1),
        ('blast/GALEX_NUV.fits', 0), ('blast/2MASS_J.fits', 0), ('astropy_misc/gc_bolocam_gps.fits', 0),
        ('hst_foc/foc.fits', 0), ('galsim/147246.0_150.416558_1.998697_masknoise.fits', 0)])
    def test_image_alone(self, data_path, name, hdu):
        data = fits.getdata(data_path / name, hdu)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', AstropyUserWarning)
            result, prediction = denoise(data, full_output=True)
        finite = np.isfinite(data)
        np.testing.assert_array_equal(np.isfinite(result), finite)
        assert np.all(prediction.std[finite & np.isfinite(prediction.std)] >= 0)
        # Flux is kept: over the frame the change is far below the noise, and what does not count stays.
        change = ((result.astype(float) - data) / prediction.noise_std)[finite & np.isfinite(prediction.std)]
        assert abs(change.mean()) < 0.03

    @untrained
    @pytest.mark.filterwarnings('ignore:data has .* pixels in')   # overscan, rows that an alignment left empty
    @pytest.mark.parametrize('name, raw', [('panoptes/pole.fits', True), ('panoptes/solved.fits.fz', True),
                                           ('ccdproc/a8280271.fits', False), ('blast/SDSS_r.fits', False),
                                           ('properimage/aligned_eso085-030-004.fit', False)])
    def test_mosaics(self, data_path, name, raw):
        from astropy_n2v.noise import mosaic_contrast
        with fits.open(data_path / name) as hdus:
            image = next(hdu.data for hdu in hdus if hdu.data is not None)
        assert (mosaic_contrast(image) > 3) == raw

    def test_raw_frame_with_gain_and_overscan(self, data_path):
        """Use the measured noise on a frame with a bias pedestal, where the formula from the level is wrong."""
        data = CCDData.read(data_path / 'ccdproc' / 'a8280271.fits', unit='adu')
        with pytest.warns(AstropyUserWarning, match='16576 pixels in strips without light'):
            result = denoise(data)
        # The header says TRIMSEC = [17:528,1:520]; that the last eight rows are dark, too, is measured.
        expected = np.ones(data.shape, bool)
        expected[:512, 16:528] = False
        np.testing.assert_array_equal(result.mask, expected)
        assert result.header['N2VNSRC'] == 'image, header GAIN, RDNOISE'
        assert result.header['N2VSIGMA'] == pytest.approx(7.3, rel=0.1)
        assert result.header['N2VGAIN'] == pytest.approx(1.9)

    def test_nicmos_with_its_uncertainty(self, data_path):
        with fits.open(data_path / 'hst_nicmos' / 'image.fits') as hdus:
            data, error, quality = (hdus[name].data for name in ('SCI', 'ERR', 'DQ'))
        frame = CCDData(data, unit='adu/s', uncertainty=StdDevUncertainty(error), mask=quality > 0)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', AstropyUserWarning)
            result = denoise(frame)
        np.testing.assert_array_equal(result.data[quality > 0], data[quality > 0])
        assert result.header['N2VNSRC'].startswith('uncertainty')

    def test_decam_exposures_come_nearer_to_each_other(self, data_path):
        frames = [fits.getdata(data_path / 'sfft_decam' / f'DEC-OBS04{letter}.mini.fits') for letter in 'abcde']
        gains = []
        for i, frame in enumerate(frames):
            others = np.mean([other for j, other in enumerate(frames) if j != i], axis=0)
            with warnings.catch_warnings():
                warnings.simplefilter('ignore', AstropyUserWarning)
                result = denoise(frame)
            sky = np.abs(others) < 30
            faint = (others > 50) & (others < 300)
            gains.append([np.mean((frame - others)[select] ** 2) / np.mean((result - others)[select] ** 2)
                          for select in (sky, faint)])
            assert min(gains[-1]) > 1
        # The mean of the others has noise of its own: a perfect result would reach about 5.
        assert np.mean(gains) > 2


def test_dark_readings_of_a_real_camera(data_path):
    """Half a per cent of the pixels of these exposures are too dark by 5 to 10 sigma, each time others."""
    frame = fits.getdata(data_path / 'm13_blue' / 'M13_blue_0001.fits')[200:712, 400:912].astype(np.float32)
    _, prediction = denoise(frame, hole=1, full_output=True)
    assert prediction.audit.summary() == 'note: dark pixels'
    # Single readings, darker than a sharp dark star could be by its noise.
    dark = prediction.innovation < -7
    assert dark.sum() >= 20

    def excess(image):
        return ((image - prediction.blind_mean) / prediction.noise_std)[dark]

    assert np.median(excess(denoise(frame, hole=1))) < -6
    replaced, parts = denoise(frame, hole=1, reject_outliers=True, full_output=True)
    assert np.median(np.abs(excess(replaced))) < 0.3
    assert np.mean(parts.outlier[dark] == 1) > 0.8
    # Weaker ones are as frequent as noise has none.
    assert np.mean(parts.outlier[prediction.innovation < -5] == 1) > 0.6


@pytest.mark.parametrize('sigma', [3.0, 5.0])
def test_coarse_steps_are_warned_of_as_such(sigma, rng):
    truth = 100.3 + 200 * np.exp(-np.hypot(*np.mgrid[-80:80, -80:80]) ** 2 / 18)
    data = 20 * np.round((truth + rng.normal(0, sigma, truth.shape)) / 20)
    with pytest.warns(AstropyUserWarning) as caught:
        result, parts = denoise(data, full_output=True)
    text = ' '.join(str(w.message) for w in caught)
    assert 'quantised in steps of 20' in text and 'innovations' not in text
    assert np.mean(np.abs(result - truth) < 1.96 * parts.std) > 0.85


@pytest.mark.parametrize('share', [0.5, 0.8])
def test_a_scattered_mask_is_no_correlation(share, rng):
    scene = make_scene('survey', (160, 160), seed=11)
    ccd = CCDData(scene.observe(seed=12), mask=rng.random((160, 160)) < share)
    assert denoise(ccd, noise=scene.noise).header['N2VHOLE'] == '1x1'


class TestFewPhotons:
    """Frames with fewer photons than in training."""

    @pytest.mark.parametrize('background', [1e-4, 1e-3, 0.01, 0.1])
    def test_counts_are_kept_and_the_error_falls(self, background, rng):
        y, x = np.mgrid[:160, :160]
        truth = np.full(y.shape, background)
        for row, column, peak in zip(*rng.uniform(10, 150, (2, 12)), 10 ** rng.uniform(-0.5, 1.3, 12)):
            truth += peak * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 8)
        counts = rng.poisson(truth)
        result, parts = denoise(counts.astype('f4'), noise=NoiseModel(0.0, gain=1.0), hole=1, full_output=True)
        assert result.sum(dtype=float) == pytest.approx(counts.sum(), rel=0.01)
        assert np.mean((counts - truth) ** 2) > 3 * np.mean((result - truth) ** 2)
        assert result.max() < 1.2 * counts.max()
        assert np.mean(((result - truth) / parts.std) ** 2) < 4

    def test_single_events_on_an_empty_frame(self, rng):
        counts = np.zeros((128, 128), dtype='f4')
        counts[tuple(rng.integers(0, 128, (2, 29)))] = 1
        result = denoise(counts, noise=NoiseModel(0.0, gain=1.0), hole=1)
        assert result.max() <= 1.01 and result.min() > -0.1
        assert result.sum(dtype=float) == pytest.approx(counts.sum(), rel=0.01)

    @pytest.mark.filterwarnings('ignore::astropy.utils.exceptions.AstropyUserWarning')
    @pytest.mark.parametrize('sigma', [0.003, 0.02, 0.1])
    def test_read_noise_far_below_an_electron(self, sigma, rng):
        data = rng.normal(0, sigma, (128, 128))
        data[tuple(rng.integers(0, 128, (2, 20)))] += 3
        result = denoise(data, noise=NoiseModel(sigma, gain=1.0), hole=1)
        assert result.max() < 1.1 * data.max() and abs(result).mean() < abs(data).mean()


class TestUnevenDepth:
    """Error planes that are right and vary by large factors."""

    @pytest.mark.parametrize('factor', [10, 100, 1000])
    @pytest.mark.parametrize('where', ['pixels', 'columns', 'quarter'])
    def test_noisy_pixels_do_not_disturb_deep_ones(self, factor, where, rng):
        scene = make_scene('survey', (128, 128), seed=3)
        noisy = np.zeros(scene.truth.shape, dtype=bool)
        if where == 'pixels':
            noisy[tuple(rng.integers(0, 128, (2, 160)))] = True
        elif where == 'columns':
            noisy[:, 5::32] = True
        else:
            noisy[:, 96:] = True
        sigma = np.where(noisy, 15.0 * factor, 15.0)
        draw = rng.normal(size=sigma.shape)
        even = denoise(scene.truth + 15 * draw, noise=NoiseModel(15.0), hole=1)
        result, parts = denoise(scene.truth + sigma * draw, noise=NoiseModel(sigma), hole=1, full_output=True)
        deep = ~noisy
        error = np.sqrt(np.mean((result - scene.truth)[deep] ** 2))
        assert error < 1.3 * np.sqrt(np.mean((even - scene.truth)[deep] ** 2))
        pull = ((result - scene.truth) / parts.std)
        assert np.sqrt(np.mean(pull[noisy] ** 2)) < 1.6
        assert np.sqrt(np.mean(pull[deep] ** 2)) < 1.3
        # Even the noisy part gains: it is as noisy as the surroundings say, and not more.
        assert np.sqrt(np.mean((result - scene.truth)[noisy] ** 2)) < 0.2 * 15 * factor


class TestConstantPlanes:
    @pytest.mark.parametrize('options', [{'noise': NoiseModel(5.0)}, {'gain': 1.0, 'readnoise': 5.0}])
    @pytest.mark.parametrize('constant', ['all', 'first plane', 'one pixel'])
    def test_noise_that_is_given_needs_no_estimate(self, ccd, tiny_denoiser, options, constant):
        data, mask = np.full((64, 64), 100.0, dtype='f4'), None
        if constant == 'first plane':
            data = np.stack([data, np.asarray(ccd.data[:64, :64])])
        elif constant == 'one pixel':
            mask = np.ones(data.shape, dtype=bool)
            mask[30, 30] = False
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', AstropyUserWarning)
            result = denoise(data, tiny_denoiser, mask=mask, hole=1, **options)
        assert result.shape == data.shape and np.isfinite(result).all()


def test_noise_model_of_each_plane(ccd, tiny_denoiser):
    cube = np.stack([ccd.data, ccd.data]).astype('f4')
    noise = NoiseModel(np.array([15.0, 30.0])[:, None, None], gain=np.array([1.0, 2.0])[:, None, None])
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', AstropyUserWarning)
        result = denoise(cube, tiny_denoiser, noise=noise, hole=1)
        apart = [denoise(cube[i], tiny_denoiser, noise=NoiseModel(15.0 * (i + 1), gain=i + 1.0), hole=1)
                 for i in range(2)]
    np.testing.assert_array_equal(result, apart)


@untrained
@pytest.mark.parametrize('unit', [u.electron, None])
def test_masked_of_astropy(ccd, tiny_denoiser, unit):
    mask = np.zeros(ccd.shape, dtype=bool)
    mask[20:24, 30] = True
    spoiled = np.where(mask, np.float32(1e6), ccd.data)
    noise = NoiseModel(15.0)
    masked = Masked(spoiled if unit is None else spoiled * unit, mask=mask)
    result = denoise(masked, tiny_denoiser, noise=noise, hole=1)
    assert isinstance(result, Masked) and getattr(result, 'unit', None) == unit
    np.testing.assert_array_equal(result.mask, mask)
    plain = denoise(spoiled, tiny_denoiser, noise=noise, hole=1, mask=mask)
    np.testing.assert_array_equal(result.unmasked.value if unit else result.unmasked, plain)


def test_no_keyword_and_none_of_an_earlier_result(ccd, tiny_denoiser):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', AstropyUserWarning)
        first = denoise(ccd, tiny_denoiser, noise=NoiseModel(15.0), hole=1)
        second = denoise(first, tiny_denoiser, noise=NoiseModel(15.0), hole=1, add_keyword=False)
    assert 'N2VSIGMA' in first.header and not [name for name in second.header if name.startswith('N2V')]


def test_random_numbers_of_others_stay(ccd):
    before = torch.get_rng_state()
    Denoiser.load('default')
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize('data, options, error, match', [
    (Cutout2D(np.ones((20, 20)), (9, 9), 16), {}, TypeError, 'data must be an array, .* got Cutout2D'),
    (np.ones((16, 16)), {'mask': np.full((16, 16), 'False')}, TypeError, 'mask must be of bool or numbers, got .*<U5'),
    (np.random.default_rng(0).normal(size=(32, 32)), {'model': 'adapt', 'network_options': {'widths': (4, 8)}},
     ValueError, 'network_options must not be given with init')])
def test_more_bad_input(data, options, error, match):
    with pytest.raises(error, match=match):
        denoise(data, **options)


class TestEndToEnd:
    """Use a frame and its result as users do."""

    def test_photometry_of_saturated_stars(self, scene, tiny_denoiser):
        """NaN uncertainty does not stop a catalogue, since the result is masked there."""
        star = np.exp(-((np.mgrid[:128, :160] - 64) ** 2).sum(axis=0) / 8)
        counts = np.clip(np.round(scene.observe(seed=4).data + 1e5 * star), 0, 65535).astype('u2')
        result = denoise(CCDData(counts, unit='adu'), tiny_denoiser, noise=NoiseModel(15.0), hole=1)
        np.testing.assert_array_equal(result.mask, counts == 65535)
        np.testing.assert_array_equal(np.isnan(result.uncertainty.array), result.mask)
        stars = Table({'x': [64.0, 30.0], 'y': [64.0, 40.0]})
        photometry = PSFPhotometry(CircularGaussianPRF(fwhm=4.7), (7, 7), aperture_radius=4)
        fluxes = photometry(result, init_params=stars)
        assert np.isfinite(fluxes['flux_err'][1])

    @pytest.mark.parametrize('junk', [np.inf, np.nan, 0, 1e6, 1e30, 1e300])
    def test_junk_where_errors_are_junk_counts_nowhere(self, ccd, tiny_denoiser, junk, rng):
        bad = rng.random(ccd.shape) < 0.02
        data, error = ccd.data.copy(), np.full(ccd.shape, 15.0)
        data[bad] = rng.uniform(-1e4, 1e5, bad.sum())
        masked = denoise(CCDData(data, unit='adu', mask=bad, uncertainty=StdDevUncertainty(error)),
                         tiny_denoiser, hole=1)
        error = np.where(bad, junk, error)
        result = denoise(CCDData(data, unit='adu', uncertainty=StdDevUncertainty(error)), tiny_denoiser, hole=1)
        np.testing.assert_array_equal(result.mask, bad)
        np.testing.assert_array_equal(result.data, masked.data)

    @pytest.mark.parametrize('divisor', [300.0, 65535.0])
    @pytest.mark.parametrize(('unit', 'cards'), [('electron', {}), ('adu', {'GAIN': 80}), ('adu', {'EGAIN': 1.0})])
    def test_frame_that_was_divided(self, ccd, divisor, unit, cards, rng):
        """Neither a unit nor a gain that does not belong to the values makes more of them than there was."""
        data = ccd.data.copy()
        data[tuple(rng.integers(0, 128, (2, 10)))] += 20000
        data = (data / divisor).astype('f4')
        with pytest.warns(AstropyUserWarning, match='gain of the header .* is not used|not taken to be in electron'):
            result = denoise(CCDData(data, unit=unit, meta=fits.Header(cards)))
        assert result.data.max() < 1.02 * data.max() and result.data.min() > data.min()
        assert result.data.sum(dtype=float) == pytest.approx(data.sum(dtype=float), rel=0.01)

    @pytest.mark.parametrize('sigma', [0.1, 0.25])
    def test_noise_below_the_quantisation(self, sigma, rng):
        truth = 100 + np.linspace(0, 3, 128) + np.zeros((128, 1))
        data = np.round(truth + rng.normal(0, sigma, truth.shape)).astype('i2')
        with pytest.warns(AstropyUserWarning) as caught:
            result = denoise(CCDData(data, unit='adu'))
        assert any('quantised in steps of 1' in str(warning.message) for warning in caught)
        error = result.data - truth
        assert np.sqrt(np.mean((error / result.uncertainty.array) ** 2)) < 1.3
        assert np.std(error) < 1.05 * np.std(data - truth)


@pytest.mark.parametrize('n', [2, 44, 45, 68])
def test_card_of_the_audit_fits(ccd, tiny_denoiser, n):
    header = fits.Header()
    plane = Plane((), ccd.data, NoiseModel(1.0), np.zeros(ccd.shape, bool), NoiseModel(1.0))
    prediction = replace(tiny_denoiser.predict(ccd.data, NoiseModel(1.0)),
                         audit=SimpleNamespace(summary=lambda: 'x' * n))
    cards, _ = provenance(Container(ccd), plane, tiny_denoiser, prediction)
    header['N2VAUDIT'] = cards['N2VAUDIT']
    assert fits.Header.fromstring(header.tostring())['N2VAUDIT'] == 'x' * n
