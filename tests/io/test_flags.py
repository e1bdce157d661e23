# Licensed under a 3-clause BSD style license - see LICENSE
"""
Masks from quality planes, and BLANK pixels.
"""

import logging
import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from hypothesis import given, settings
from hypothesis import strategies as st

from astropy_n2v.io import process_fits, read_fits_images
from astropy_n2v.io.flags import named_bits

SHAPE = (24, 32)
LSST = {f'MP_{name}': bit for bit, name in enumerate(
    ['BAD', 'SAT', 'INTRP', 'CR', 'EDGE', 'DETECTED', 'DETECTED_NEGATIVE', 'SUSPECT', 'NO_DATA', 'CROSSTALK',
     'BRIGHT_OBJECT', 'NOT_DEBLENDED', 'UNMASKEDNAN', 'CLIPPED', 'SENSOR_EDGE', 'INEXACT_PSF', 'INJECTED'])}
LSST_BAD = {'BAD', 'SAT', 'INTRP', 'CR', 'SUSPECT', 'NO_DATA', 'UNMASKEDNAN'}


def write(path, flags, *, name='DQ', header=None, primary=None, data=None, science='SCI', more=()):
    """Write a file with an image and its flags."""
    if data is None:
        data = np.random.default_rng(0).normal(100, 5, SHAPE).astype('f4')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', fits.verify.VerifyWarning)   # keywords of more than eight characters
        hdus = [fits.PrimaryHDU(header=fits.Header(primary or {})), fits.ImageHDU(data, name=science),
                fits.ImageHDU(flags, fits.Header(header or {}), name=name)]
        hdus += [fits.ImageHDU(data, name=other) for other in more]
        fits.HDUList(hdus).writeto(path, overwrite=True)
    return path


def mask_of(path, **kwargs):
    (ccd,) = read_fits_images(path, **kwargs)
    return ccd.mask


def ramp(dtype, bits):
    """Flags with one bit in each of the first pixels."""
    flags = np.zeros(SHAPE, dtype=dtype)
    flags.flat[:bits] = [1 << bit for bit in range(bits)]
    return flags


# Names of bits

@pytest.mark.parametrize('dtype', ['i4', 'u4', 'i8'])
def test_lsst(tmp_path, dtype, caplog):
    caplog.set_level(logging.INFO)
    path = write(tmp_path / 'a.fits', ramp(dtype, len(LSST)), name='MASK', header=LSST, science='IMAGE')
    bad = [name.removeprefix('MP_') in LSST_BAD for name in LSST]
    assert mask_of(path).ravel()[:len(LSST)].tolist() == bad
    assert np.count_nonzero(mask_of(path)) == len(LSST_BAD)
    assert 'MASK,1: bad are BAD, SAT, INTRP, CR, SUSPECT, NO_DATA, UNMASKEDNAN; EDGE, DETECTED, ' in caplog.text


@settings(max_examples=30, deadline=None)
@given(numbers=st.permutations(range(31)))
def test_names_count_and_not_numbers(tmp_path_factory, numbers):
    header = dict(zip(LSST, numbers))
    path = write(tmp_path_factory.getbasetemp() / 'a.fits', ramp('i4', 31), name='MASK', header=header)
    unnamed = set(range(31)) - set(header.values())
    bad = {header[f'MP_{name}'] for name in LSST_BAD} | unnamed
    assert set(np.flatnonzero(mask_of(path))) == bad


def test_ignored_bits_by_name(tmp_path):
    path = write(tmp_path / 'a.fits', ramp('i4', 17), name='MASK', header=LSST)
    assert not mask_of(path, ignore_bits='SAT,MP_CR').ravel()[[1, 3]].any()
    assert not mask_of(path, ignore_bits=['sat', 8]).ravel()[[1, 3]].any()
    assert not mask_of(path, ignore_bits=10).ravel()[[1, 3]].any()
    with pytest.raises(ValueError, match="ignore_bits must be .* names of bits of MASK,1, got 'CLOUD'; .*BAD, S"):
        mask_of(path, ignore_bits='CLOUD')


def test_other_ways_to_name_bits():
    header = fits.Header([('MSKNAM00', 'DETECTOR'), ('MSKVAL00', 4), ('MSKNAM01', 'no value'),
                          ('BIT01', 1, 'CONTAINS SEXTRACTOR DETECTION'), ('BIT08', 8, 'SATURATED'), ('BIT09', 9)])
    assert named_bits(header) == {'DETECTOR': 4, 'CONTAINS SEXTRACTOR DETECTION': 2, 'SATURATED': 256}


def test_detections_of_ztf(tmp_path):
    header = fits.Header([('BIT01', 1, 'CONTAINS SEXTRACTOR DETECTION'), ('BIT08', 8, 'SATURATED')])
    path = write(tmp_path / 'a.fits', ramp('i2', 9), name='MASK', header=header)
    assert mask_of(path).ravel()[:9].tolist() == [True, False] + 7 * [True]


# JWST, Roman and others

@pytest.mark.parametrize('primary', [{'TELESCOP': 'JWST'}, {'TELESCOP': 'ROMAN'}, {'OBSERVAT': 'James Webb'}])
def test_do_not_use(tmp_path, primary):
    path = write(tmp_path / 'a.fits', ramp('u4', 32), primary=primary)
    assert np.flatnonzero(mask_of(path)).tolist() == [0]
    assert not mask_of(path, ignore_bits=1).any()


def test_do_not_use_by_what_is_in_the_file(tmp_path):
    path = write(tmp_path / 'a.fits', ramp('u4', 32), more=['VAR_POISSON', 'VAR_RNOISE'])
    assert np.flatnonzero(mask_of(path)).tolist() == [0]
    flags = ramp('u4', 31)
    flags[0, 31] = (1 << 31) | 1   # a reference pixel
    assert np.flatnonzero(mask_of(write(tmp_path / 'a.fits', flags))).tolist() == [0, 31]
    flags[0, 31] = 1 << 31         # not so in flags of others
    assert np.count_nonzero(mask_of(write(tmp_path / 'a.fits', flags))) == 32


@pytest.mark.parametrize('primary', [{}, {'TELESCOP': 'HST'}, {'OBSERVER': 'Roman Jwst'}])
def test_all_bits_of_others(tmp_path, primary):
    assert np.count_nonzero(mask_of(write(tmp_path / 'a.fits', ramp('i4', 16), primary=primary))) == 16


def test_stars_of_des(tmp_path):
    path = write(tmp_path / 'a.fits', ramp('i2', 14), name='MSK', primary={'INSTRUME': 'DECam'})
    assert mask_of(path).ravel()[:14].tolist() == [bit != 5 for bit in range(14)]


def test_bits_of_starlink(tmp_path):
    path = write(tmp_path / 'a.fits', ramp('u1', 8), name='QUALITY', header={'BADBITS': 5})
    assert np.flatnonzero(mask_of(path)).tolist() == [0, 2]


def test_highest_bit(tmp_path):
    flags = np.zeros(SHAPE, dtype='i2')
    flags[3, 4] = -32768
    path = write(tmp_path / 'a.fits', flags)
    assert np.count_nonzero(mask_of(path)) == 1 and not mask_of(path, ignore_bits=32768).any()


# Sense

@pytest.fixture
def bad():
    return np.random.default_rng(1).random(SHAPE) < 0.02


def test_good_pixels(tmp_path, bad):
    path = write(tmp_path / 'a.fits', (~bad).astype('u1'), name='GOODPIX')
    np.testing.assert_array_equal(mask_of(path), bad)


@pytest.mark.parametrize(('good', 'dtype'), [(1, 'u1'), (9, 'u1'), (255, 'u1'), (-1, 'i2'), (1, 'f4')])
def test_value_of_nearly_all_pixels_is_good(tmp_path, bad, good, dtype):
    flags = np.where(bad, 0, good).astype(dtype)
    flags[5, 6] = 2   # another value is bad as well
    bad[5, 6] = True
    path = write(tmp_path / 'a.fits', flags, name='MASK')
    with pytest.warns(AstropyUserWarning, match=rf'MASK,1 is {good} in 9.* % of the image, which looks like data'):
        np.testing.assert_array_equal(mask_of(path), bad)


@pytest.mark.parametrize('share', [0.15, 0.3, 0.45])
def test_scattered_bad_pixels_that_are_zero(tmp_path, share):
    bad = np.random.default_rng(2).random(SHAPE) < share
    path = write(tmp_path / 'a.fits', (~bad).astype('u1'), name='MASK')
    with pytest.warns(AstropyUserWarning, match='MASK,1 is 1 in .* which looks like data'):
        np.testing.assert_array_equal(mask_of(path), bad)


def test_gaps_between_slits_are_not_turned_round(tmp_path):
    gaps = np.zeros(SHAPE, dtype='u1')
    gaps[:, :10] = gaps[:, 16:26] = 4
    with pytest.warns(AstropyUserWarning, match=r'MASK,1 masks 62 % of the image, most by the bits 4 \(62 %\)'):
        np.testing.assert_array_equal(mask_of(write(tmp_path / 'a.fits', gaps, name='MASK')), gaps > 0)


def test_value_of_good_pixels_of_osiris(tmp_path, bad):
    flags = np.where(bad, 1, 9).astype('u1')
    keck = write(tmp_path / 'a.fits', flags, primary={'TELESCOP': 'Keck I', 'INSTRUME': 'OSIRIS'})
    np.testing.assert_array_equal(mask_of(keck), bad)
    flags[5:] = 1
    keck = write(tmp_path / 'a.fits', flags, primary={'TELESCOP': 'Keck I', 'CURRINST': 'OSIRIS'})
    with pytest.warns(AstropyUserWarning, match='DQ,1 masks 79 % of the image: good is what is 9'):
        np.testing.assert_array_equal(mask_of(keck), flags == 1)


def test_mask_of_everything(tmp_path):
    path = write(tmp_path / 'a.fits', np.ones(SHAPE, dtype='u1'), name='MASK')
    with pytest.warns(AstropyUserWarning, match=r'MASK,1 masks 100 % of the image.*give its inverse as mask'):
        assert mask_of(path).all()
    assert not mask_of(path, ignore_bits=1).any()


@pytest.mark.parametrize('fill', [0, np.nan])
def test_mask_of_what_is_no_data(tmp_path, fill):
    data = np.random.default_rng(0).normal(100, 5, SHAPE).astype('f4')
    outside = np.ones(SHAPE, dtype=bool)
    outside[5:9] = False
    # The field is small, and the mask says so.
    path = write(tmp_path / 'a.fits', outside.astype('u1'), name='MASK', data=np.where(outside, fill, data))
    with pytest.warns(AstropyUserWarning, match='MASK,1 masks 83 % of the image, most by the bits 1'):
        np.testing.assert_array_equal(mask_of(path), outside)
    # The corners are empty, and the mask marks the field.
    path = write(tmp_path / 'a.fits', outside.astype('u1'), name='MASK', data=np.where(outside, data, fill))
    with pytest.warns(AstropyUserWarning, match='MASK,1 is 1 in 83.3 % of the image, which looks like data'):
        np.testing.assert_array_equal(mask_of(path), ~outside)


def test_most_of_an_image_masked_by_many_bits(tmp_path):
    flags = 1 << np.random.default_rng(1).integers(0, 8, SHAPE).astype('i4')
    with pytest.warns(AstropyUserWarning, match='DQ,1 masks 100 % of the image, most by the bits'):
        assert mask_of(write(tmp_path / 'a.fits', flags)).all()


def test_sense_of_the_mask_of_a_cube(tmp_path, bad):
    data = np.random.default_rng(0).normal(100, 5, (2, *SHAPE)).astype('f4')
    path = write(tmp_path / 'a.fits', (~bad).astype('u1'), name='MASK', data=data)
    with pytest.warns(AstropyUserWarning, match='which looks like data'):
        np.testing.assert_array_equal(mask_of(path), np.stack([bad, bad]))


def test_sense_of_a_mask_from_elsewhere(tmp_path, bad):
    fits.writeto(tmp_path / 'a.fits', np.random.default_rng(0).normal(100, 5, SHAPE))
    fits.writeto(tmp_path / 'mask.fits', (~bad).astype('u1'))
    with pytest.warns(AstropyUserWarning, match='which looks like data'):
        np.testing.assert_array_equal(mask_of(tmp_path / 'a.fits', mask=tmp_path / 'mask.fits'), bad)
    # An array is what it is.
    assert np.mean(mask_of(tmp_path / 'a.fits', mask=~bad)) > 0.9


# BLANK

ZERO = {'u2': 1 << 15, 'u4': 1 << 31, 'i1': -128}


def write_blank(path, data, blank, compressed):
    """Write integers with a BLANK card, which astropy does not write."""
    hdu = (fits.CompImageHDU if compressed else fits.ImageHDU)(data)
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path, overwrite=True)
    with fits.open(path, mode='update', do_not_scale_image_data=True, disable_image_compression=True) as hdus:
        hdus[1].header['BLANK'] = blank


@settings(max_examples=40, deadline=None)
@given(dtype=st.sampled_from(['u1', 'i1', 'i2', 'u2', 'i4', 'u4']), compressed=st.booleans(),
       value=st.sampled_from(['lowest', 'highest', 'zero', 'usual']))
def test_blank(tmp_path_factory, dtype, compressed, value):
    info = np.iinfo(dtype)
    blank = {'lowest': info.min, 'highest': info.max, 'zero': max(0, info.min), 'usual': 77}[value]
    data = np.random.default_rng(0).integers(20, 60, SHAPE).astype(dtype)
    bad = np.zeros(SHAPE, dtype=bool)
    bad[3:6, 4:9] = bad[10, 11] = True
    data[bad] = blank
    path, output = (tmp_path_factory.getbasetemp() / name for name in ('blank.fits', 'result.fits'))
    write_blank(path, data, blank - ZERO.get(dtype, 0), compressed)
    (ccd,) = read_fits_images(path)
    np.testing.assert_array_equal(np.isnan(ccd.data), bad)
    np.testing.assert_array_equal(ccd.data[~bad], data[~bad])
    process_fits(path, output, lambda ccd: ccd, overwrite=True)
    with fits.open(output) as hdus:
        np.testing.assert_array_equal(np.isnan(hdus[1].data), bad)
        assert 'BLANK' not in hdus[1].header


def test_blank_that_no_pixel_has(tmp_path):
    data = np.arange(24 * 32, dtype='u2').reshape(SHAPE)
    write_blank(tmp_path / 'a.fits', data, 32767, False)
    (ccd,) = read_fits_images(tmp_path / 'a.fits')
    np.testing.assert_array_equal(ccd.data, data)
    assert ccd.data.dtype.kind == 'u'


def test_blank_zero_of_scaled_integers(tmp_path):
    data = np.arange(24 * 32, dtype='i2').reshape(SHAPE)
    fits.writeto(tmp_path / 'a.fits', data)
    with fits.open(tmp_path / 'a.fits', mode='update', do_not_scale_image_data=True) as hdus:
        hdus[0].header.update({'BSCALE': 0.5, 'BZERO': 1000.3, 'BLANK': 0})
    (ccd,) = read_fits_images(tmp_path / 'a.fits')
    assert np.flatnonzero(np.isnan(ccd.data)).tolist() == [0]
