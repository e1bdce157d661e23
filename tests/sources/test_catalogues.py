# Licensed under a 3-clause BSD style license - see LICENSE
"""
Sources of FITS files, and the command that finds them.
"""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from click.testing import CliRunner

from astropy_n2v.cli import main
from astropy_n2v.simulate import make_scene
from astropy_n2v.sources.catalogues import catalog_paths, detect_file, read_pairs


@pytest.fixture
def path(tmp_path):
    path = tmp_path / 'frame.fits'
    make_scene('survey', (96, 96), seed=1).observe(seed=2).write(path)
    return path


def run(*arguments):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    # A traceback is never the answer.
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_results_are_read_where_they_are(path, tmp_path):
    assert read_pairs(path, tmp_path / 'none')[0][1] is None
    result = tmp_path / 'frame_n2v.fits'
    result.write_bytes(path.read_bytes())
    assert read_pairs(path, tmp_path)[0][1].shape == (96, 96)


def test_results_of_other_files_are_refused(path, tmp_path):
    image = fits.ImageHDU(np.ones((16, 16), dtype='f4'), name='SCI')
    other = fits.ImageHDU(np.ones((16, 16), dtype='f4'), name='SCI', ver=2)
    fits.HDUList([fits.PrimaryHDU(), image, other]).writeto(tmp_path / 'frame_n2v.fits')
    with pytest.raises(ValueError, match='must have as many images as .*, got'):
        read_pairs(path, tmp_path)


def test_images_of_one_file_are_told_apart(path, tmp_path):
    data = fits.getdata(path)
    many = tmp_path / 'many.fits'
    fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU(data, name='SCI', ver=n) for n in (1, 2))]).writeto(many)
    table = detect_file(many, psf=3.2, n_frames=1)
    assert set(table['image']) == {1, 2}
    assert 'threshold_2' in table.meta


@pytest.mark.parametrize('name', ['sources.ecsv', 'sources.fits', 'sources.csv'])
def test_the_extension_says_the_format(path, tmp_path, name):
    result = run('detect', path, '-o', tmp_path / name, '--psf', '3.2')
    assert result.exit_code == 0, result.output
    table = Table.read(tmp_path / name)
    assert {'x', 'y', 'flux', 'flux_err', 'snr', 'flag'} <= set(table.colnames)
    assert f'{len(table)} sources' in result.output


def test_denoised_results_are_used(path, tmp_path):
    assert run('denoise', path, '-o', tmp_path / 'out').exit_code == 0
    with fits.open(tmp_path / 'out' / 'frame_n2v.fits', mode='update') as hdus:
        hdus[0].data[:] = np.median(hdus[0].data)   # which would not be so if it were denoised again
    assert run('detect', path, '-o', tmp_path / 'a.ecsv', '--denoised', tmp_path / 'out', '--psf', '3').exit_code == 0
    assert len(Table.read(tmp_path / 'a.ecsv')) == 0


def test_several_files_go_to_a_directory(path, tmp_path):
    second = tmp_path / 'second.fits.gz'
    fits.writeto(second, fits.getdata(path), fits.getheader(path))
    result = run('detect', path, second, tmp_path / 'missing.fits', '-o', tmp_path / 'catalogs', '--psf', '3.2')
    assert result.exit_code == 1
    assert sorted(file.name for file in (tmp_path / 'catalogs').iterdir()) == ['frame.ecsv', 'second.ecsv']
    assert 'missing.fits: error: No such file or directory' in result.output


def test_tables_are_not_replaced(path, tmp_path):
    (tmp_path / 'a.ecsv').write_text('mine')
    assert 'exists' in run('detect', path, '-o', tmp_path / 'a.ecsv').output
    assert (tmp_path / 'a.ecsv').read_text() == 'mine'


def test_names_of_catalogs(tmp_path):
    with pytest.raises(ValueError, match='one of the extensions .*got a.txt'):
        catalog_paths(['a.fits'], 'a.txt')
    with pytest.raises(ValueError, match='two of one name'):
        catalog_paths(['x/a.fits', 'y/a.fits'], tmp_path)
