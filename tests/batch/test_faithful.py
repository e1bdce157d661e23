# Licensed under a 3-clause BSD style license - see LICENSE
"""
Contents of the files that are written, by option.
"""

import bz2
import gzip
import io
import lzma
import shutil
import subprocess
import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.utils.exceptions import AstropyUserWarning

from astropy_n2v import denoise
from astropy_n2v.batch import denoise_fits, mask_cosmic_rays
from astropy_n2v.io import output_path, paths
from astropy_n2v.io.paths import describe_error, open_decompressed
from astropy_n2v.simulate import make_scene

pytestmark = pytest.mark.filterwarnings('ignore:the innovations have', 'ignore:the noise of neighbouring')


@pytest.fixture
def data(rng):
    return rng.normal(100, 5, (48, 64)).astype('f4')


def write(path, data, **extensions):
    """Write a file with a checksum, its image in SCI."""
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(data, name='SCI')]
    hdus += [fits.ImageHDU(array, name=name) for name, array in extensions.items()]
    fits.HDUList(hdus).writeto(path, checksum=True)


@pytest.mark.parametrize('name, power', [('ERR', 1), ('VAR', 2), ('IVAR', -2)])
def test_uncertainty_is_replaced(tmp_path, data, tiny_denoiser, name, power):
    write(tmp_path / 'a.fits', data, **{name: np.full(data.shape, 5.0 ** power, 'f4'), 'DQ': np.zeros((48, 64), 'i2')})
    denoise_fits(tmp_path / 'a.fits', tmp_path / 'kept.fits', tiny_denoiser)
    denoise_fits(tmp_path / 'a.fits', tmp_path / 'new.fits', tiny_denoiser, replace_uncertainty=True)
    with fits.open(tmp_path / 'kept.fits') as kept, fits.open(tmp_path / 'new.fits', checksum=True) as new:
        assert [hdu.name for hdu in kept] == ['PRIMARY', 'SCI', name, 'DQ', 'UNCERT']
        assert [hdu.name for hdu in new] == ['PRIMARY', 'SCI', name, 'DQ']
        assert np.all(kept[name].data == np.float32(5.0 ** power))
        np.testing.assert_allclose(new[name].data, kept['UNCERT'].data ** power, rtol=1e-5)
        assert np.array_equal(kept['SCI'].data, new['SCI'].data) and 'CHECKSUM' in new[name].header
        assert f'uncertainty of the result is in {name},1' in str(new['SCI'].header['HISTORY'])


def test_uncertainty_before_its_image_stays(tmp_path, data, tiny_denoiser):
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.full(data.shape, 5.0), name='ERR'),
                  fits.ImageHDU(data, name='SCI')]).writeto(tmp_path / 'a.fits')
    with pytest.warns(UserWarning, match='ERR,1 comes before its image and stays'):
        denoise_fits(tmp_path / 'a.fits', tmp_path / 'b.fits', tiny_denoiser, replace_uncertainty=True)
    with fits.open(tmp_path / 'b.fits') as hdus:
        assert [hdu.name for hdu in hdus] == ['PRIMARY', 'ERR', 'SCI', 'UNCERT'] and np.all(hdus['ERR'].data == 5)


def test_compression_with_and_without_loss(tmp_path, data, tiny_denoiser):
    compressed = fits.CompImageHDU(data, compression_type='RICE_1')
    fits.HDUList([fits.PrimaryHDU(), compressed]).writeto(tmp_path / 'a.fits.fz')
    denoise_fits(tmp_path / 'a.fits.fz', tmp_path / 'exact.fits.fz', tiny_denoiser)
    denoise_fits(tmp_path / 'a.fits.fz', tmp_path / 'small.fits.fz', tiny_denoiser, quantize=16)
    with fits.open(tmp_path / 'exact.fits.fz') as exact, fits.open(tmp_path / 'small.fits.fz') as small:
        assert np.array_equal(exact[1].data, denoise(CCDData(fits.getdata(tmp_path / 'a.fits.fz'), unit='adu'),
                                                     tiny_denoiser).data)
        difference = small[1].data - exact[1].data
        assert 0 < difference.std() < exact[1].data.std() / 16 and small[1].compression_type == 'RICE_1'
        assert np.array_equal(small['UNCERT'].data, exact['UNCERT'].data)


@pytest.mark.parametrize('ending, pack', [('.fz', None), ('.gz', gzip.compress), ('.bz2', bz2.compress),
                                          ('.xz', lzma.compress)])
@pytest.mark.parametrize('kind, dtype', [('RICE_1', 'i2'), ('RICE_1', 'f4'), ('GZIP_1', 'f4'), ('GZIP_2', 'f8'),
                                         ('HCOMPRESS_1', 'i2'), ('HCOMPRESS_1', 'f4'), ('PLIO_1', 'i2')])
def test_each_compression_in_and_out(tmp_path, data, tiny_denoiser, kind, dtype, ending, pack):
    path = tmp_path / f'a.fits{ending}'
    other = fits.CompImageHDU(np.arange(60, dtype='i2').reshape(6, 10), name='OTHER', compression_type='RICE_1')
    image = fits.CompImageHDU(data.astype(dtype), name='SCI', compression_type=kind, tile_shape=(16, 64))
    content = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), image, other]).writeto(content, checksum=True)
    path.write_bytes(pack(content.getvalue()) if pack else content.getvalue())
    before = fits.getdata(path, 'SCI').astype('f8' if dtype == 'f8' else 'f4')
    expected = denoise(CCDData(before, unit='adu'), tiny_denoiser)
    output = output_path(path, tmp_path)
    denoise_fits(path, output, tiny_denoiser, ext='SCI')
    denoise_fits(path, tmp_path / 'rounded.fits', tiny_denoiser, ext='SCI', quantize=16)
    assert output.name == f'a_n2v.fits{ending}' and output.read_bytes()[:2] == path.read_bytes()[:2]
    for file in output, tmp_path / 'rounded.fits':   # of the HDUs as they are stored
        with warnings.catch_warnings(), fits.open(file, disable_image_compression=True, checksum=True) as hdus:
            warnings.simplefilter('error')
            assert [('CHECKSUM' in hdu.header, hdu.verify_checksum(), hdu.verify_datasum()) for hdu in hdus[:3]] == \
                3 * [(True, 1, 1)]
    with fits.open(output) as exact, fits.open(tmp_path / 'rounded.fits') as rounded:
        assert np.array_equal(exact['SCI'].data, expected.data)
        assert np.array_equal(exact['UNCERT'].data, expected.uncertainty.array)
        assert np.array_equal(exact['OTHER'].data, other.data)
        assert rounded['SCI'].compression_type == (kind if kind != 'PLIO_1' else 'RICE_1')
        assert 0 < np.std(rounded['SCI'].data - expected.data) < np.std(expected.data) / 16


def test_flags(tmp_path, tiny_denoiser):
    ccd = make_scene('survey', (64, 80), seed=1).observe(seed=2)
    data = np.array(ccd.data, dtype='f4')
    data[30, 40] += 5000
    data[10, 10] = np.nan
    fits.writeto(tmp_path / 'a.fits', data)
    denoise_fits(tmp_path / 'a.fits', tmp_path / 'b.fits', flag_outliers=True)
    denoise_fits(tmp_path / 'a.fits', tmp_path / 'c.fits', flag_outliers=True, cosmic_rays=True)
    flags, header = fits.getdata(tmp_path / 'b.fits', 'N2VDQ'), fits.getheader(tmp_path / 'b.fits')
    assert flags[10, 10] == 1 and flags[30, 40] == 2 and (flags == 0).mean() > 0.97 and 'N2VNCR' not in header
    assert 'OUTLIER' not in [hdu[1] for hdu in fits.info(tmp_path / 'b.fits', output=False)]
    flags, header = fits.getdata(tmp_path / 'c.fits', 'N2VDQ'), fits.getheader(tmp_path / 'c.fits')
    assert flags[10, 10] == 1 and flags[30, 40] == 5 and header['N2VNCR'] == (flags & 4 > 0).sum()
    assert fits.getdata(tmp_path / 'c.fits')[30, 40] == data[30, 40]


@pytest.mark.parametrize('scale', [1.0, 1e-19, 1e12])
def test_cosmic_rays_of_any_scale(scale, rng):
    ccd = make_scene('crowded', (96, 96), seed=3).observe(seed=4)
    data = np.array(ccd.data, dtype=float)
    where = rng.integers(4, 92, (2, 15))
    data[tuple(where)] += 40 * float(np.std(data[:20, :20]))
    given = np.zeros(data.shape, dtype=bool)
    given[0] = True
    masked, n = mask_cosmic_rays(CCDData(data * scale, unit='adu', mask=given))
    assert masked.mask[tuple(where)].mean() > 0.85 and masked.mask[0].all()
    assert n == (masked.mask & ~given).sum() < 120


def test_stars_as_sharp_as_cosmic_rays_are_warned_of(rng):
    data = rng.normal(100.0, 5.0, (64, 64))
    data[2::4, 2::4] += 500.0
    with pytest.warns(AstropyUserWarning, match='% of the pixels are masked as cosmic rays'):
        mask_cosmic_rays(CCDData(data, unit='adu'))


def test_cosmic_rays_of_images_with_nothing():
    for data in (np.full((32, 32), np.nan), np.zeros((2, 32, 32))):
        assert mask_cosmic_rays(CCDData(data, unit='adu'))[1] == 0


def test_compressed_results_do_not_depend_on_name_and_time(tmp_path, data, tiny_denoiser):
    fits.writeto(tmp_path / 'a.fits', data)   # without CHECKSUM, whose comment has the time
    for name in 'b.fits.gz', 'c.fits.gz', 'd.fits.bz2':
        denoise_fits(tmp_path / 'a.fits', tmp_path / name, tiny_denoiser, add_keyword=False)
    assert (tmp_path / 'b.fits.gz').read_bytes() == (tmp_path / 'c.fits.gz').read_bytes()
    assert np.array_equal(fits.getdata(tmp_path / 'b.fits.gz'), fits.getdata(tmp_path / 'd.fits.bz2'))


def test_decompression_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, '_SMALL', 1 << 20)
    with gzip.open(tmp_path / 'a.fits.gz', 'wb') as file:
        file.write(bytes(1 << 26))
    with pytest.raises(OSError, match='a.fits.gz: 65.* compressed bytes would become .* no plausible image'):
        open_decompressed(tmp_path / 'a.fits.gz')
    with gzip.open(tmp_path / 'b.fits.gz', 'wb') as file:
        file.write(np.random.default_rng(0).bytes(1 << 21))
    assert isinstance(open_decompressed(tmp_path / 'b.fits.gz'), io.BytesIO)


def test_full_disk_is_said(tmp_path, data, tiny_denoiser, monkeypatch):
    from astropy_n2v.batch import denoise_files

    def fail(*arguments, **options):
        raise OSError(28, 'No space left on device')

    write(tmp_path / 'a.fits', data)
    monkeypatch.setattr('astropy_n2v.io.writing._encode', fail)
    (record,) = denoise_files([tmp_path / 'a.fits'], tmp_path / 'out', model=tiny_denoiser)
    assert record.error == 'cannot be written: the disk is full' and list((tmp_path / 'out').iterdir()) == []
    assert describe_error(OSError(30, 'x')) == 'cannot be written: the file system is read-only'


@pytest.fixture
def small_disk(tmp_path):
    """A file system in memory with room for a few hundred kB, where this process may make one."""
    folder = tmp_path / 'small'
    folder.mkdir()
    if not shutil.which('mount') or subprocess.run(
            ['mount', '-t', 'tmpfs', '-o', 'size=300k', 'tmpfs', folder], capture_output=True).returncode:
        pytest.skip('mounting is not permitted')
    yield folder
    subprocess.run(['umount', folder], check=True)


def test_disk_that_is_full(small_disk, tmp_path, rng, tiny_denoiser):
    from astropy_n2v.batch import denoise_files, read_journal
    paths = [tmp_path / f'{name}.fits' for name in 'abcd']
    for path in paths:
        fits.writeto(path, rng.normal(100, 5, (128, 128)).astype('f4'))   # 64 kB, and 128 kB the result
    options = {'model': tiny_denoiser, 'per_frame': True, 'skip_existing': True}
    records = denoise_files(paths, small_disk, **options)
    failed = [record for record in records if record.status == 'failed']
    assert len(failed) in (2, 3) and {record.error for record in failed} == {'cannot be written: the disk is full'}
    done = [record.output for record in records if record.status == 'done']
    assert sorted(path for path in small_disk.iterdir() if path.suffix == '.fits') == sorted(done)
    contents = [path.read_bytes() for path in done]
    subprocess.run(['mount', '-o', 'remount,size=2m', small_disk], check=True)
    again = denoise_files(paths, small_disk, **options)
    assert sorted(record.status for record in again) == sorted(['skipped'] * len(done) + ['done'] * len(failed))
    assert [path.read_bytes() for path in done] == contents
    assert len({entry['output']['path'] for entry in read_journal(small_disk / 'n2v-journal.jsonl')
                if entry['status'] == 'done'}) == 4
