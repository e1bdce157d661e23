# Licensed under a 3-clause BSD style license - see LICENSE
"""
Images that are larger than the memory: read, denoised and written by parts, with the results of all others.
"""

import gzip
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty

from astropy_n2v import conf, denoise
from astropy_n2v.batch import denoise_fits
from astropy_n2v.io import paths, process_fits, read_fits_images
from astropy_n2v.io.illegal_cards import add_up
from astropy_n2v.utils import scratch
from astropy_n2v.utils.scratch import scratch_files

pytestmark = pytest.mark.filterwarnings('ignore::astropy.utils.exceptions.AstropyUserWarning')
SHAPE = 96, 80


@pytest.fixture
def small_memory(monkeypatch):
    """Take all images for large ones, and process few rows of them at a time."""
    monkeypatch.setattr(scratch, '_LEAST', 1)
    monkeypatch.setattr(scratch, '_PIXELS', 700)
    monkeypatch.setattr(conf, 'memory_limit', 1e-9)


def white(rng):
    return rng.normal(100, 5, SHAPE).astype('f4')


def correlated(rng):
    noise = rng.normal(0, 5, (SHAPE[0] + 1, SHAPE[1]))
    return (100 + noise[1:] + 0.6 * noise[:-1]).astype('f4')


def sloping(rng):
    return white(rng) + np.linspace(0, 300, SHAPE[0], dtype='f4')[:, None]


def striped(rng):
    return white(rng) + rng.normal(0, 4, (SHAPE[0], 1)).astype('f4')


def incomplete(rng):
    data = white(rng)
    data[:30, :40], data[50:53, 60], data[70, 70] = 0, np.nan, -1e30
    return data


def integers(rng):
    data = np.round(white(rng) + 40000).astype('u2')
    data[20:24, 30:33], data[60, 60] = 65535, 50000
    return data


def photons(rng):
    return rng.poisson(0.2, SHAPE).astype('f4')


def planes(rng):
    return np.stack([white(rng), incomplete(rng)])


def hdus_of(data, kind, rng):
    """Make a file of an image, with all that may belong to it."""
    image = fits.CompImageHDU(data, name='SCI') if kind == 'compressed' else fits.ImageHDU(data, name='SCI')
    image.header['OBJECT'] = 'M 13'
    hdus = [fits.PrimaryHDU(), image]
    if kind == 'errors':
        error = np.full(data.shape, 5, 'f4')
        error[..., 40, 3:9], error[..., 10, 10] = 1e20, 0
        flags = (rng.random(data.shape) < 0.02).astype('i2')
        hdus += [fits.ImageHDU(error, name='ERR'), fits.ImageHDU(flags, name='DQ')]
    return fits.HDUList(hdus)


def assert_same(path, other):
    """Compare two results to the last bit, but for the time when they were made."""
    with warnings.catch_warnings():
        warnings.simplefilter('error')   # of checksums that do not agree
        hdus, others = (fits.open(name, checksum=True) for name in (path, other))
        len(hdus), len(others)
    with hdus, others:
        assert [('CHECKSUM' in hdu.header) for hdu in hdus] == [('CHECKSUM' in hdu.header) for hdu in others]
        assert [hdu.name for hdu in hdus] == [hdu.name for hdu in others]
        for hdu, second in zip(hdus, others):
            for header in hdu.header, second.header:
                for keyword in 'N2VDATE', 'CHECKSUM', 'DATASUM':
                    header.remove(keyword, ignore_missing=True)
            assert repr(hdu.header) == repr(second.header)
            assert (hdu.data is None) == (second.data is None)
            if hdu.data is not None:
                np.testing.assert_array_equal(hdu.data, second.data)


def assert_same_result(path, model, **options):
    """Denoise a file at once and by parts."""
    outputs, messages = (path.with_name('whole.fits'), path.with_name('parts.fits')), []
    for output, limit in zip(outputs, (4.0, 1e-9)):
        with conf.set_temp('memory_limit', limit), warnings.catch_warnings(record=True) as caught:
            denoise_fits(path, output, model, audit='warn', **options)
        messages.append([str(warning.message) for warning in caught])
    assert_same(*outputs)
    assert messages[0] == messages[1]
    assert sorted(file.name for file in path.parent.iterdir()) == sorted([path.name, 'whole.fits', 'parts.fits'])


@pytest.mark.parametrize('kind', ['plain', 'errors', 'compressed'])
@pytest.mark.parametrize('make', [white, correlated, sloping, incomplete, integers, photons, planes])
def test_results_by_parts_are_those_of_the_whole(tmp_path, rng, tiny_denoiser, small_memory, make, kind):
    hdus_of(make(rng), kind, rng).writeto(tmp_path / 'a.fits', checksum=True)
    assert_same_result(tmp_path / 'a.fits', tiny_denoiser)


@pytest.mark.parametrize('make', [correlated, striped, incomplete])
@pytest.mark.parametrize('options', [
    {'full_output': True, 'reject_outliers': True}, {'strength': 0.5, 'fill_masked': True, 'flag_outliers': True},
    {'strength': 0.0}, {'replace_uncertainty': True, 'gain': 2.0, 'readnoise': 5.0}])
def test_options_by_parts(tmp_path, rng, tiny_denoiser, small_memory, make, options):
    tiny_denoiser.whitens = True
    hdus_of(make(rng), 'errors' if 'replace_uncertainty' in options else 'plain', rng).writeto(tmp_path / 'a.fits')
    assert_same_result(tmp_path / 'a.fits', tiny_denoiser, **options)


@pytest.mark.parametrize('make', [white, incomplete])
def test_compression_with_loss_by_parts(tmp_path, rng, tiny_denoiser, small_memory, make):
    hdus_of(make(rng), 'compressed', rng).writeto(tmp_path / 'a.fits', checksum=True)
    assert_same_result(tmp_path / 'a.fits', tiny_denoiser, quantize=16)


@pytest.mark.parametrize('tile', [(2, 32, 80), (3, 5, 33)])
@pytest.mark.parametrize('quantize', [None, 16])
def test_tiles_of_several_planes_by_parts(tmp_path, rng, small_memory, tile, quantize):
    data = np.stack([white(rng), incomplete(rng), white(rng)])
    hdus = [fits.PrimaryHDU(), fits.CompImageHDU(data, name='SCI', tile_shape=tile)]
    fits.HDUList(hdus).writeto(tmp_path / 'a.fits', checksum=True)
    for name, limit in ('whole.fits', 4.0), ('parts.fits', 1e-9):
        with conf.set_temp('memory_limit', limit):
            process_fits(tmp_path / 'a.fits', tmp_path / name, lambda ccd: ccd, quantize=quantize)
    assert_same(tmp_path / 'whole.fits', tmp_path / 'parts.fits')


def test_blank_integers_by_parts(tmp_path, rng, tiny_denoiser, small_memory):
    data = np.round(white(rng)).astype('i2')
    data[80:, 5] = -32768
    fits.PrimaryHDU(data, fits.Header({'BLANK': -32768})).writeto(tmp_path / 'a.fits')
    assert_same_result(tmp_path / 'a.fits', tiny_denoiser)
    with scratch_files(tmp_path):
        (image,) = read_fits_images(tmp_path / 'a.fits')
    assert np.isnan(image.data).sum() == 16


def test_compressed_files_by_parts(tmp_path, rng, tiny_denoiser, small_memory, monkeypatch):
    hdus_of(white(rng), 'plain', rng).writeto(tmp_path / 'a.fits')
    (tmp_path / 'a.fits.gz').write_bytes(gzip.compress((tmp_path / 'a.fits').read_bytes()))
    (tmp_path / 'a.fits').unlink()
    monkeypatch.setattr(paths, '_IN_MEMORY', 1)
    assert_same_result(tmp_path / 'a.fits.gz', tiny_denoiser)


def test_forbidden_cards_by_parts(tmp_path, rng, tiny_denoiser, small_memory):
    hdus_of(white(rng), 'plain', rng).writeto(tmp_path / 'a.fits', checksum=True)
    content = (tmp_path / 'a.fits').read_bytes().replace(b"'M 13", b"'M\x0013")
    (tmp_path / 'a.fits').write_bytes(content)
    denoise_fits(tmp_path / 'a.fits', tmp_path / 'b.fits', tiny_denoiser)
    content = (tmp_path / 'b.fits').read_bytes()
    start = content.index(b'XTENSION')
    image = content[start:content.index(b'XTENSION', start + 1)]
    assert b"'M\x0013" in image and add_up(np.frombuffer(image, '>u4')) == 0xffffffff


def test_arrays_by_parts(rng, tiny_denoiser, small_memory, tmp_path):
    ccd = CCDData(white(rng), unit='adu', uncertainty=StdDevUncertainty(np.full(SHAPE, 5.0)),
                  mask=rng.random(SHAPE) < 0.1)
    before = ccd.copy()
    with conf.set_temp('scratch_directory', os.fspath(tmp_path)):
        parts, planes = denoise(ccd, tiny_denoiser, full_output=True)
    with conf.set_temp('memory_limit', 4.0):
        whole, others = denoise(ccd, tiny_denoiser, full_output=True)
    np.testing.assert_array_equal(parts.data, whole.data)
    np.testing.assert_array_equal(parts.uncertainty.array, whole.uncertainty.array)
    np.testing.assert_array_equal(parts.mask, whole.mask)
    for name, values in planes.planes.items():
        np.testing.assert_array_equal(values, getattr(others, name))
    np.testing.assert_array_equal(ccd.data, before.data)
    assert not list(tmp_path.iterdir()) and parts.data.flags.writeable


def test_a_full_disk_leaves_nothing(tmp_path, rng, tiny_denoiser, small_memory, monkeypatch):
    hdus_of(white(rng), 'plain', rng).writeto(tmp_path / 'a.fits')

    def refuse(*arguments):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(scratch.os, 'posix_fallocate', refuse)
    with pytest.raises(OSError, match='No space left'):
        denoise_fits(tmp_path / 'a.fits', tmp_path / 'b.fits', tiny_denoiser)
    assert [file.name for file in tmp_path.iterdir()] == ['a.fits']


@pytest.mark.skipif('ASTROPY_N2V_TEST_DATA' not in os.environ, reason='real images are needed')
@pytest.mark.parametrize('name', ['ccdproc', 'nomtam_m13'])
def test_real_images_by_parts(tmp_path, tiny_denoiser, small_memory, monkeypatch, name):
    monkeypatch.setattr(scratch, '_PIXELS', 30_000)
    folder = Path(os.environ['ASTROPY_N2V_TEST_DATA']) / name
    path = min((path for path in folder.rglob('*.fit*') if path.stat().st_size > 200_000),
               key=lambda path: path.stat().st_size)
    (tmp_path / path.name).write_bytes(path.read_bytes())
    assert_same_result(tmp_path / path.name, tiny_denoiser)
