# Licensed under a 3-clause BSD style license - see LICENSE
"""
The catalogue: what is found, what is read again, files of all kinds, tables in all formats, samples.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from PIL import Image

from astropy_n2v.collections import (
    count_files,
    find_images,
    make_manifest,
    read_manifest,
    select_frames,
    summarize_manifest,
    write_manifest,
)
from astropy_n2v.collections.columns import COLUMNS, make_table
from astropy_n2v.collections.describe import describe_file
from astropy_n2v.containers.container import Container
from astropy_n2v.io import read_fits_images
from astropy_n2v.planes import find_planes

HEADER = {'TELESCOP': 'T1', 'INSTRUME': 'CAM', 'FILTER': 'r', 'OBJECT': 'M 51', 'EXPTIME': 30.0, 'GAIN': 1.9,
          'RDNOISE': 5.0, 'DATE-OBS': '2025-03-01T04:05:06', 'IMAGETYP': 'light', 'CTYPE1': 'RA---TAN',
          'CTYPE2': 'DEC--TAN', 'CRVAL1': 202.5, 'CRVAL2': 47.2, 'CRPIX1': 32.5, 'CRPIX2': 24.5, 'CDELT1': -1e-4,
          'CDELT2': 1e-4}


@pytest.fixture
def noisy(rng):
    """Sky of 500 adu."""
    return rng.normal(500, 12, (48, 64)).astype('f4')


@pytest.fixture
def night(tmp_path, rng):
    """Write a directory of frames."""
    folder = tmp_path / 'night'
    (folder / 'deep').mkdir(parents=True)
    for n, name in enumerate(['a.fits', 'b.fits', 'deep/c.fits']):
        fits.writeto(folder / name, rng.normal(500, 10 + n, (48, 64)).astype('f4'), fits.Header(HEADER))
    return folder


def row_of(path):
    (row,) = describe_file(path)
    assert not row.get('error')
    return row


def test_columns(tmp_path, noisy):
    noisy[:4] = np.nan
    fits.writeto(tmp_path / 'a.fits', noisy, fits.Header(HEADER))
    row = row_of(tmp_path / 'a.fits')
    expected = {'telescope': 'T1', 'instrument': 'CAM', 'filter': 'r', 'object': 'M 51', 'exptime': 30.0, 'gain': 1.9,
                'readnoise': 5.0, 'date': '2025-03-01T04:05:06.000', 'imagetype': 'light', 'unit': 'adu', 'ext': 0,
                'shape': '48x64', 'dtype': 'float32', 'bytes': (tmp_path / 'a.fits').stat().st_size}
    assert {name: row[name] for name in expected} == expected
    assert row['id'] == row['sha1'][:12] and len(row['sha1']) == 40
    assert row['ra'] == pytest.approx(202.5, abs=1e-9) and row['dec'] == pytest.approx(47.2, abs=1e-9)
    assert row['pixel_scale'] == pytest.approx(0.36)
    assert row['noise'] == pytest.approx(12, rel=0.1) and row['background'] == pytest.approx(500, abs=2)
    assert abs(row['rho_x']) < 0.1 and abs(row['rho_y']) < 0.1
    assert [row['nonfinite'], row['masked']] == pytest.approx([4 / 48] * 2) and row['saturated'] == 0


def test_header_is_not_believed_in_other_units(tmp_path, noisy):
    fits.writeto(tmp_path / 'a.fits', noisy, fits.Header({**HEADER, 'BUNIT': 'electron'}))
    assert 'gain' not in row_of(tmp_path / 'a.fits')


def test_correlated_noise_along_rows(tmp_path, rng):
    noise = rng.normal(0, 10, (128, 129))
    fits.writeto(tmp_path / 'a.fits', noise[:, 1:] + noise[:, :-1])
    row = row_of(tmp_path / 'a.fits')
    assert row['rho_x'] == pytest.approx(0.5, abs=0.1) and abs(row['rho_y']) < 0.1


def test_extensions_with_mask_and_error(tmp_path, noisy):
    flags = np.zeros(noisy.shape, dtype='i2')
    flags[:12] = 4
    hdus = [fits.PrimaryHDU(header=fits.Header({'INSTRUME': 'CAM'}))]
    for version in (1, 2):
        hdus += [fits.ImageHDU(noisy, name='SCI', ver=version), fits.ImageHDU(noisy ** 0, name='ERR', ver=version),
                 fits.ImageHDU(flags, name='DQ', ver=version)]
    fits.HDUList(hdus).writeto(tmp_path / 'a.fits')
    rows = describe_file(tmp_path / 'a.fits')
    assert [row['ext'] for row in rows] == [1, 4]
    assert all(row['masked'] == pytest.approx(0.25) and row['instrument'] == 'CAM' for row in rows)
    assert rows[0]['id'] == rows[1]['id']


@pytest.mark.parametrize('name', ['a.fits.gz', 'a.fits.bz2', 'a.fits.fz', 'a.FIT'])
def test_kinds_of_files(tmp_path, noisy, name):
    data = np.rint(noisy).astype('u2')
    if name.endswith('.fz'):
        fits.CompImageHDU(data, compression_type='RICE_1').writeto(tmp_path / name)
    else:
        fits.writeto(tmp_path / name, data)
    (row,) = make_manifest(tmp_path)
    assert (row['shape'], row['dtype'], row['error']) == ('48x64', 'uint16', '')
    assert row['noise'] == pytest.approx(12, rel=0.1)


@pytest.mark.parametrize(('name', 'mode', 'shape'), [
    ('a.png', 'L', '48x64'), ('a.jpg', 'RGB', '3x48x64'), ('a.tif', 'I;16', '48x64'), ('b.png', 'RGBA', '3x48x64')])
def test_raster_images(tmp_path, noisy, name, mode, shape):
    array = np.clip(noisy / 4, 0, 255).astype('u1')
    if mode == 'I;16':
        Image.fromarray(np.rint(noisy).astype('u2')).save(tmp_path / name)
    else:
        Image.fromarray(array).convert(mode).save(tmp_path / name)
    (row,) = make_manifest(tmp_path)
    assert (row['shape'], row['ext'], row['unit'], row['error']) == (shape, 0, 'adu', '')
    assert row['noise'] > 0.2


def test_large_image_is_measured_in_its_middle(tmp_path, rng, monkeypatch):
    monkeypatch.setattr('astropy_n2v.collections.describe._LARGEST', 32)
    data = np.full((96, 100), np.nan)
    data[32:64, 34:66] = rng.normal(100, 5, (32, 32))
    fits.writeto(tmp_path / 'a.fits', data)
    row = row_of(tmp_path / 'a.fits')
    assert row['nonfinite'] == 0 and row['shape'] == '96x100'


def test_overscan_of_a_large_image_is_not_sought_in_its_middle(tmp_path, rng, monkeypatch):
    monkeypatch.setattr('astropy_n2v.collections.describe._LARGEST', 48)
    data = rng.normal(500, 20, (48, 144))
    data[:, 48:60] -= 20   # the sky is not flat
    data[:, :12] = rng.normal(100, 5, (48, 12))
    fits.writeto(tmp_path / 'a.fits', data, fits.Header({'BIASSEC': '[1:12,1:48]', 'DATASEC': '[13:144,1:48]'}))
    assert row_of(tmp_path / 'a.fits')['masked'] == 0


def test_saturated_and_constant(tmp_path, rng):
    data = rng.normal(1000, 30, (64, 64))
    data[:32] = 65535
    fits.writeto(tmp_path / 'a.fits', np.rint(data).astype('u2'))
    fits.writeto(tmp_path / 'b.fits', np.full((64, 64), 7.0))
    assert row_of(tmp_path / 'a.fits')['saturated'] == pytest.approx(0.5, abs=0.02)
    assert row_of(tmp_path / 'b.fits')['noise'] == 0


def test_unreadable_files_have_rows_that_say_why(night):
    content = (night / 'a.fits').read_bytes()
    (night / 'short.fits').write_bytes(content[:len(content) // 2])
    (night / 'junk.fits').write_bytes(b'no image at all')
    (night / 'junk.png').write_bytes(b'no image at all')
    Table({'x': [1, 2]}).write(night / 'table.fits')
    (night / 'notes.txt').write_text('dark night')
    manifest = make_manifest(night)
    errors = {Path(row['path']).name: row['error'] for row in manifest}
    assert set(errors) == {'a.fits', 'b.fits', 'c.fits', 'short.fits', 'junk.fits', 'junk.png'}
    assert 'truncated' in errors['short.fits'] and 'not a FITS file' in errors['junk.fits']
    assert 'is no PNG file, or it is damaged' in errors['junk.png'] and not errors['a.fits']


def test_search(night):
    os.symlink(night, night / 'deep' / 'loop')
    (night / '.hidden.fits').write_bytes(b'')
    names = [Path(path).name for path in find_images([night, night / 'a.fits'])]
    assert names == ['a.fits', 'b.fits', 'c.fits']


def test_hostile_names(night, noisy):
    """Names that no table gives back are reported; others survive."""
    for name in ('two\nlines.fits', ' blank, "quoted".fits', 'back\\slash.fits'):
        fits.writeto(night / name, noisy)
    for name in ('return\r.fits', 'byte\udcff.fits'):
        (night / name).write_bytes((night / 'a.fits').read_bytes())
    manifest = make_manifest(night)
    errors = [row['path'] for row in manifest if 'rename the file' in row['error']]
    assert [os.path.basename(path) for path in errors] == ['byte\\udcff.fits', 'return\\r.fits']
    for form in ('ecsv', 'csv'):
        write_manifest(manifest, night / f'm.{form}')
        read = read_manifest(night / f'm.{form}')
        assert sum(map(os.path.exists, read['path'].tolist())) == 6
        assert make_manifest(night, known=read)['sha1'].tolist() == manifest['sha1'].tolist()


def test_what_is_no_file(night, monkeypatch):
    """Pipes are left alone, links that lead nowhere and directories that cannot be searched are reported."""
    os.mkfifo(night / 'pipe.fits')
    os.symlink('gone', night / 'dangling.fits')
    (night / 'folder.fits').mkdir()
    scandir, listdir = os.scandir, os.listdir

    def refuse(function):
        def refused(path):
            if os.fspath(path).endswith('deep'):
                raise PermissionError(13, 'Permission denied', path)
            return function(path)
        return refused

    monkeypatch.setattr('os.scandir', refuse(scandir))
    monkeypatch.setattr('os.listdir', refuse(listdir))
    manifest = make_manifest(night)
    errors = {os.path.basename(row['path']): row['error'] for row in manifest}
    assert errors == {'a.fits': '', 'b.fits': '', 'dangling.fits': 'No such file or directory',
                      'deep': 'Permission denied'}


def test_file_that_vanishes(night, monkeypatch):
    """It is reported, and the others are catalogued."""
    def describe(path):
        Path(path).unlink() if path.endswith('b.fits') else None
        return describe_file(path)

    monkeypatch.setattr('astropy_n2v.collections.manifest.describe_file', describe)
    assert make_manifest(night)['error'].tolist() == ['', 'No such file or directory', '']


def test_files_without_images_are_not_read_again(night, monkeypatch):
    for name in ('t1.fits', 't2.fits'):
        Table({'x': [1, 2]}).write(night / name)
    write_manifest(make_manifest(night), night / 'm.ecsv')
    known = read_manifest(night / 'm.ecsv')
    assert [os.path.basename(path) for path in known.meta['without_images']] == ['t1.fits', 't2.fits']
    assert count_files(known) == {'with images': 3, 'without images': 2, 'cannot be read': 0}
    Table({'x': [1, 2, 3]}).write(night / 't2.fits', overwrite=True)
    os.utime(night / 't2.fits', ns=(0, 0))
    read = []
    monkeypatch.setattr('astropy_n2v.collections.manifest.describe_file', lambda path: read.append(path) or [])
    assert count_files(make_manifest(night, known=known))['without images'] == 2
    assert [os.path.basename(path) for path in read] == ['t2.fits']


def test_cube_whose_planes_are_not_its_last_axes(tmp_path, rng):
    fits.writeto(tmp_path / 'a.fits', rng.normal(100, 5, (32, 32, 16)).astype('f4'),
                 fits.Header({'CTYPE1': 'WAVE', 'CTYPE2': 'RA---TAN', 'CTYPE3': 'DEC--TAN'}))
    error = describe_file(tmp_path / 'a.fits')[0]['error']
    assert 'NAXIS1, WAVE' in error and 'numpy.moveaxis(data, 2, 0)' in error, error


def test_mosaic_is_measured_colour_by_colour(tmp_path, rng):
    """The noise of the pixels, and not the differences between the colours."""
    data = rng.normal(500, 10, (128, 128))
    for number, level in enumerate((0, 300, 300, 150)):
        data[number // 2::2, number % 2::2] += level
    fits.writeto(tmp_path / 'a.fits', np.rint(data).astype('u2'), fits.Header({'BAYERPAT': 'RGGB'}))
    fits.writeto(tmp_path / 'b.fits', np.rint(data).astype('u2'))
    for name in 'ab':
        row = row_of(tmp_path / f'{name}.fits')
        assert row['noise'] == pytest.approx(10, rel=0.05) and row['background'] == pytest.approx(687.5, abs=2)
        assert abs(row['rho_x']) < 0.1 and abs(row['rho_y']) < 0.1


def test_noise_of_a_real_mosaic_is_that_of_denoise(data_path):
    """The median of the noise of its colours; differences between them are three times as large."""
    path = data_path / 'panoptes' / 'tiny.fits'
    planes, _ = find_planes(Container(read_fits_images(path)[0]))
    assert len(planes) == 4
    assert row_of(path)['noise'] == pytest.approx(np.median([plane.noise.sigma for plane in planes]))


def test_nothing_to_catalogue(tmp_path):
    with pytest.raises(ValueError, match='roots must have a FITS file or a raster image .*, got none in'):
        make_manifest(tmp_path)
    with pytest.raises(FileNotFoundError, match='gone'):
        make_manifest(tmp_path / 'gone')
    with pytest.raises(ValueError, match='roots must name'):
        make_manifest([])
    with pytest.raises(ValueError, match='processes must be a positive integer'):
        make_manifest(tmp_path, processes=0)


def test_unchanged_files_are_not_read_again(night, noisy, monkeypatch):
    first = make_manifest(night)
    fits.writeto(night / 'a.fits', noisy, overwrite=True)
    fits.writeto(night / 'new.fits', noisy)
    (night / 'b.fits').unlink()
    read = []

    def describe(path):
        read.append(Path(path).name)
        return describe_file(path)

    monkeypatch.setattr('astropy_n2v.collections.manifest.describe_file', describe)
    second = make_manifest(night, known=first)
    assert read == ['a.fits', 'new.fits']
    assert [Path(path).name for path in second['path']] == ['a.fits', 'c.fits', 'new.fits']
    assert second['sha1'][1] == first['sha1'][2] and second['sha1'][0] != first['sha1'][0]
    assert second.colnames == list(COLUMNS) and second['exptime'].unit == 's'


def test_processes_give_the_same(tmp_path, noisy):
    for n in range(60):
        fits.writeto(tmp_path / f'{n}.fits', noisy + n)
    script = ('import sys\nfrom astropy_n2v.collections import make_manifest, write_manifest\n'
              'if __name__ == "__main__":\n'
              '    done = []\n'
              '    manifest = make_manifest(sys.argv[1], processes=2, progress=lambda *n: done.append(n))\n'
              '    assert done[-1] == (60, 60) and len(done) == 60\n'
              '    write_manifest(manifest, sys.argv[2])\n')
    (tmp_path / 'script.py').write_text(script)
    subprocess.run([sys.executable, tmp_path / 'script.py', tmp_path, tmp_path / 'm.csv'], check=True)
    write_manifest(make_manifest(tmp_path), tmp_path / 'n.csv')
    first, second = (read_manifest(tmp_path / name) for name in ('m.csv', 'n.csv'))
    for name in first.colnames:
        if first[name].dtype.kind == 'f':   # sums round otherwise where arrays lie otherwise in memory
            np.testing.assert_allclose(first[name], second[name], rtol=1e-9)
        else:
            assert first[name].tolist() == second[name].tolist()


@pytest.mark.parametrize('form', ['ecsv', 'csv', 'parquet'])
def test_formats(night, form):
    if form == 'parquet':
        pytest.importorskip('pyarrow')
    (night / 'junk.fits').write_bytes(b'no image at all')
    manifest = make_manifest(night)
    manifest['id'][0] = '12345678e901'   # no number, whatever it looks like
    manifest['night'] = 'first'
    write_manifest(manifest, night / f'm.{form}')
    read = read_manifest(night / f'm.{form}')
    for name in manifest.colnames:
        assert read[name].tolist() == pytest.approx(manifest[name].tolist(), nan_ok=True) \
            if manifest[name].dtype.kind == 'f' else read[name].tolist() == manifest[name].tolist()
    with pytest.raises(OSError, match='exists'):
        write_manifest(manifest, night / f'm.{form}')


def test_manifest_and_frames_move_together(night, tmp_path):
    write_manifest(make_manifest(night), night / 'm.ecsv')
    shutil.move(night, tmp_path / 'elsewhere')
    read = read_manifest(tmp_path / 'elsewhere' / 'm.ecsv')
    assert all(os.path.exists(path) for path in read['path'])
    write_manifest(read, tmp_path / 'elsewhere' / 'deep' / 'm.ecsv')
    again = read_manifest(tmp_path / 'elsewhere' / 'deep' / 'm.ecsv')
    assert all(os.path.exists(path) for path in again['path'])


@pytest.mark.parametrize(('name', 'content', 'message'), [
    ('m.ecsv', 'path,noise\na.fits,3\n', 'm.ecsv is no manifest'),
    ('m.csv', 'path,noise\na.fits,3\n', 'lacks the columns id, sha1, ext'),
    ('m.csv', 'path,noise\na.fits\n', 'different numbers of columns'),
    ('m.csv', '', 'it is empty'),
    ('m.txt', '', 'must be a file .ecsv, .csv, .parquet'),
])
def test_files_that_are_no_manifest(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_manifest(tmp_path / name)


def test_column_of_another_type(tmp_path):
    table = make_table([{'path': 'a.fits'}])
    table['noise'] = ['loud']
    table.write(tmp_path / 'm.csv')
    with pytest.raises(ValueError, match='column noise must hold values of the type float'):
        read_manifest(tmp_path / 'm.csv')
    with pytest.raises(FileNotFoundError):
        read_manifest(tmp_path / 'gone.ecsv')


def test_summary(night, rng):
    fits.writeto(night / 'g.fits', rng.normal(100, 5, (48, 64)), fits.Header({**HEADER, 'FILTER': 'g'}))
    (night / 'junk.fits').write_bytes(b'no image at all')
    summary = summarize_manifest(make_manifest(night))
    assert summary['filter'].tolist() == ['', 'g', 'r']
    assert summary['files'].tolist() == [1, 1, 3] and summary['unreadable'].tolist() == [1, 0, 0]
    assert summary['exptime'].tolist() == [0, 30, 90]
    assert len(summarize_manifest(make_table([]))) == 0


class TestSelect:
    manifest = make_table([{'path': f'{n // 2}.fits', 'ext': n % 2, 'sha1': f'{n // 2:x}', 'filter': 'gri'[n % 3],
                            'exptime': 10.0 * n, 'object': f'NGC {n}'} for n in range(12)])

    @pytest.mark.parametrize(('where', 'expected'), [
        ({'filter': 'G'}, [0, 3, 6, 9]), ({'object': 'ngc 1*'}, [1, 10, 11]), ({'exptime': '30..50'}, [3, 4, 5]),
        ({'exptime': '90..'}, [9, 10, 11]), ({'exptime': '..10'}, [0, 1]), ({'exptime': 20}, [2]),
        ({'filter': '[gr]', 'exptime': '100..'}, [10])])
    def test_rules(self, where, expected):
        assert select_frames(self.manifest, where)['exptime'].tolist() == [10 * n for n in expected]

    @pytest.mark.parametrize(('where', 'message'), [
        ({'colour': 'g'}, "columns of the manifest, got 'colour'"), ({'exptime': 'long'}, 'range such as'),
        ({'filter': 'z'}, 'leaves none')])
    def test_bad_rules(self, where, message):
        with pytest.raises(ValueError, match=message):
            select_frames(self.manifest, where)

    def test_random_sample_of_files(self):
        one, two, other = (select_frames(self.manifest, n=3, seed=seed) for seed in (1, 1, 2))
        assert len(set(one['path'].tolist())) == 3 and len(one) == 6
        assert one['path'].tolist() == two['path'].tolist() != other['path'].tolist()
        shuffled = select_frames(self.manifest[::-1], n=3, seed=1)
        assert set(shuffled['path'].tolist()) == set(one['path'].tolist())
        assert len(select_frames(self.manifest, n=100)) == 12


def test_real_frames(data_path):
    manifest = make_manifest([data_path / 'sfft_decam' / 'DEC-OBS04a.mini.fits', data_path / 'drizzlepac_flc',
                              data_path / 'nomtam_m13', data_path / 'rgb_jpeg', data_path / 'kepler'])
    rows = {f'{Path(row["path"]).name}[{row["ext"]}]': row for row in manifest}
    decam = rows['DEC-OBS04a.mini.fits[0]']
    assert decam['filter'].startswith('i DECam') and decam['exptime'] == 330
    assert decam['pixel_scale'] == pytest.approx(0.262, abs=0.001) and decam['noise'] == pytest.approx(32, abs=1)
    assert rows['sample_ipppssoot_flc.fits[1]']['unit'] == 'electron'
    # The same image in five ways.
    plain = [row for name, row in rows.items() if 'm13' in name]
    assert len(plain) >= 4 and len({row['shape'] for row in plain}) == 1
    assert rows['hubble_deep_field.jpg[0]']['shape'].startswith('3x')
