# Licensed under a 3-clause BSD style license - see LICENSE
"""
Pictures: JPEG, PNG and TIFF, with all that they hold.
"""

import zlib
from dataclasses import replace

import numpy as np
import pytest

from astropy_n2v.io import raster
from astropy_n2v.io.raster import RasterImage, is_raster, read_raster, write_raster

pytest.importorskip('PIL')
pytest.importorskip('tifffile')


def picture(rng, n, dtype, alpha=False, kind='PNG'):
    values = rng.uniform(0, 1, (n + alpha, 17, 23))
    values = (values * np.iinfo(dtype).max if np.dtype(dtype).kind == 'u' else values).astype(dtype)
    return RasterImage(values[:n], values[n] if alpha else None, kind)


@pytest.mark.parametrize(('kind', 'name', 'dtype'), [
    ('PNG', 'a.png', 'u1'), ('PNG', 'a.png', 'u2'), ('TIFF', 'a.tif', 'u1'), ('TIFF', 'a.TIFF', 'u2'),
    ('TIFF', 'a.tif', 'f4')])
@pytest.mark.parametrize('n', [1, 3])
@pytest.mark.parametrize('alpha', [False, True])
def test_all_bits_stay(rng, tmp_path, kind, name, dtype, n, alpha):
    first = picture(rng, n, dtype, alpha, kind)
    write_raster(tmp_path / name, first)
    second = read_raster(tmp_path / name)
    assert second.data.dtype == np.dtype(dtype) and second.kind == kind
    np.testing.assert_array_equal(second.data, first.data)
    assert (second.alpha is not None) == alpha
    if alpha:
        np.testing.assert_array_equal(second.alpha, first.alpha)


@pytest.mark.parametrize('kind', [0, 1, 2, 3, 4])
def test_filters_of_png(rng, kind):
    # As the specification of PNG defines them, written out byte by byte.
    image = rng.integers(0, 256, (5, 12), dtype=np.uint8)
    step, lines = 6, []
    for y in range(5):
        line = [kind]
        for x in range(12):
            a = int(image[y, x - step]) if x >= step else 0
            b = int(image[y - 1, x]) if y else 0
            c = int(image[y - 1, x - step]) if y and x >= step else 0
            paeth = min((a, b, c), key=lambda value, p=a + b - c: abs(p - value))
            line.append((int(image[y, x]) - (0, a, b, (a + b) // 2, paeth)[kind]) % 256)
        lines.append(line)
    np.testing.assert_array_equal(raster._unfilter(np.array(lines, dtype=np.uint8), step), image)


def test_other_chunks_of_png_stay(rng, tmp_path):
    first = replace(picture(rng, 3, 'u2'), extras={'chunks': [(b'gAMA', b'\0\0\xb1\x8f'), (b'tEXt', b'Title\0M51')]})
    write_raster(tmp_path / 'a.png', first)
    assert read_raster(tmp_path / 'a.png').extras == first.extras


def test_exif_and_profile_of_jpeg_stay(tmp_path, rng):
    image_module = pytest.importorskip('PIL.Image')
    cms = pytest.importorskip('PIL.ImageCms')
    exif = image_module.Exif()
    exif[271] = 'Seestar'
    profile = cms.ImageCmsProfile(cms.createProfile('sRGB')).tobytes()
    image_module.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(
        tmp_path / 'a.jpg', exif=exif, icc_profile=profile, dpi=(300, 300))
    write_raster(tmp_path / 'b.jpg', read_raster(tmp_path / 'a.jpg'))
    with image_module.open(tmp_path / 'b.jpg') as image:
        assert image.getexif()[271] == 'Seestar'
        assert image.info['icc_profile'] == profile
        assert image.info['dpi'] == (300, 300)


def test_tags_of_tiff_stay(tmp_path, rng):
    tifffile = pytest.importorskip('tifffile')
    tifffile.imwrite(tmp_path / 'a.tif', rng.integers(0, 99, (8, 9, 3)).astype('u2'), photometric='rgb',
                     compression='zlib', resolution=(300, 300), resolutionunit='INCH', iccprofile=b'profile',
                     extratags=[(315, 's', 0, 'An astronomer', True)])
    write_raster(tmp_path / 'b.tif', read_raster(tmp_path / 'a.tif'))
    with tifffile.TiffFile(tmp_path / 'b.tif') as file:
        page = file.pages[0]
        assert page.compression == 8
        assert page.tags[34675].value == b'profile'
        assert page.tags[315].value == 'An astronomer'
        assert page.tags[282].value == (300, 1)


def test_values_are_cut_and_rounded():
    image = RasterImage(np.zeros((1, 1, 3), dtype='u1')).with_values([[[-4.0, 7.6, 300.0]]])
    assert image.data.tolist() == [[[0, 8, 255]]]
    assert RasterImage(np.zeros((1, 1, 2), dtype='f4')).with_values([[[-4.0, 7.5]]]).data.tolist() == [[[-4, 7.5]]]


def test_damaged_files_are_reported(tmp_path, rng):
    write_raster(tmp_path / 'a.png', picture(rng, 3, 'u2'))
    content = (tmp_path / 'a.png').read_bytes()
    (tmp_path / 'a.png').write_bytes(content[:len(content) // 2])
    with pytest.raises(OSError, match='truncated'):
        read_raster(tmp_path / 'a.png')
    (tmp_path / 'a.tif').write_bytes(b'no picture')
    with pytest.raises(OSError, match='no TIFF file'):
        read_raster(tmp_path / 'a.tif')
    (tmp_path / 'a.jpg').write_bytes(b'no picture')
    with pytest.raises(OSError, match='cannot identify'):
        read_raster(tmp_path / 'a.jpg')


def test_interlaced_png_of_16_bits_is_refused(tmp_path, rng):
    write_raster(tmp_path / 'a.png', picture(rng, 3, 'u2'))
    content = bytearray((tmp_path / 'a.png').read_bytes())
    content[28] = 1
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, 'big')
    (tmp_path / 'a.png').write_bytes(content)
    with pytest.raises(ValueError, match='must not be interlaced'):
        read_raster(tmp_path / 'a.png')


def test_missing_package_is_named(tmp_path, monkeypatch, rng):
    write_raster(tmp_path / 'a.tif', picture(rng, 3, 'u2', kind='TIFF'))
    monkeypatch.setitem(__import__('sys').modules, 'tifffile', None)
    with pytest.raises(ImportError, match=r"needs tifffile.*pip install 'astropy-n2v\[raster\]'"):
        read_raster(tmp_path / 'a.tif')


def test_names():
    assert [is_raster(name) for name in ('a.jpg', 'a.JPEG', 'a.png', 'a.tif', 'a.fits', 'a.fits.gz')] == 4 * [True] + [
        False, False]
    with pytest.raises(ValueError, match='must be a picture'):
        read_raster('a.gif')
