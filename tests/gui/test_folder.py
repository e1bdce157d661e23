# Licensed under a 3-clause BSD style license - see LICENSE
"""
Files below one folder.
"""

import os

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from astropy_n2v.gui.folder import Folder, OutsideError, list_hdus, read_header


@pytest.fixture
def tree(tmp_path):
    """Make a folder with frames, beside a file that it must not show."""
    (tmp_path / 'top' / 'night').mkdir(parents=True)
    fits.writeto(tmp_path / 'secret.fits', np.ones((16, 16)))
    fits.writeto(tmp_path / 'top' / 'b.fits.gz', np.ones((16, 16)))
    fits.writeto(tmp_path / 'top' / 'night' / 'a.FITS', np.ones((16, 16)))
    (tmp_path / 'top' / 'notes.txt').write_text('none')
    (tmp_path / 'top' / '.hidden.fits').write_text('none')
    return tmp_path / 'top'


def test_folders_and_files_are_listed(tree):
    folder = Folder(tree)
    assert folder.entries() == (['night'], ['b.fits.gz'])
    assert folder.entries('night') == ([], ['a.FITS'])
    assert folder.find('night/a.FITS') == tree.resolve() / 'night' / 'a.FITS'


def test_a_file_stands_for_its_folder(tree):
    folder = Folder(tree / 'b.fits.gz')
    assert folder.first == 'b.fits.gz' and folder.root == tree.resolve()


@pytest.mark.parametrize('name', ['..', '../secret.fits', 'night/../../secret.fits', '/etc/passwd', 'night/..',
                                  '..\\secret.fits', 'a\0.fits'])
def test_paths_that_lead_out_are_refused(tree, name):
    with pytest.raises(OutsideError, match='leads out of the folder'):
        Folder(tree).find(name)


@pytest.mark.skipif(os.name != 'posix', reason='links need rights elsewhere')
def test_links_are_refused(tree):
    (tree / 'link.fits').symlink_to(tree.parent / 'secret.fits')
    (tree / 'up').symlink_to(tree.parent)
    folder = Folder(tree)
    assert folder.entries() == (['night'], ['b.fits.gz'])
    for name in 'link.fits', 'up/secret.fits', 'up':
        with pytest.raises(OutsideError):
            folder.find(name)


def test_hdus_are_listed(tmp_path):
    path = tmp_path / 'a.fits'
    hdus = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.ones((16, 24)), name='SCI'),
                         fits.ImageHDU(np.ones((16, 24), dtype='i2'), name='DQ'), fits.table_to_hdu(Table({'x': [1]}))])
    hdus.writeto(path)
    found = list_hdus(path)
    assert [(hdu.label, hdu.is_image, hdu.is_science) for hdu in found] == [
        ('0 (PRIMARY,1)', False, False), ('1 (SCI,1)', True, True), ('2 (DQ,1)', True, False), ('3', False, False)]
    assert "EXTNAME = 'SCI" in read_header(path, 1)


def test_table_alone_has_no_image(tmp_path):
    path = tmp_path / 'table.fits'
    Table({'x': [1.0, 2.0]}).write(path)
    assert not any(hdu.is_image for hdu in list_hdus(path))


def test_truncated_file_says_so(tmp_path):
    path = tmp_path / 'a.fits'
    fits.writeto(path, np.ones((64, 64)))
    path.write_bytes(path.read_bytes()[:6000])
    with pytest.raises(OSError, match='truncated'):
        list_hdus(path)
    assert 'truncated' in read_header(path, 0)
