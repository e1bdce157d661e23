# Licensed under a 3-clause BSD style license - see LICENSE
"""
Files from the browser.
"""

import stat

import pytest

from astropy_n2v.gui.uploads import Uploads, clean_name


@pytest.fixture
def uploads():
    uploads = Uploads(1000)
    yield uploads
    uploads.close()


@pytest.mark.parametrize('name, expected', [
    ('a.fits', 'a.fits'), ('/etc/../m 31.FIT', 'm 31.FIT'), ('C:\\night\\a.tif', 'a.tif'), ('..fits.fits', 'fits.fits'),
    ('.hidden.jpg', 'hidden.jpg'), ('a\0;b|c.fits.gz', 'a__b_c.fits.gz'), ('été.png', 'été.png'),
    ('\N{FULLWIDTH FULL STOP}\N{FULLWIDTH FULL STOP}/a.fits', 'a.fits'),
    ('x' * 300 + '.fits.gz', 'x' * 92 + '.fits.gz')])
def test_names_are_made_harmless(name, expected):
    assert clean_name(name) == expected


@pytest.mark.parametrize('name', ['', '..', '/', 'a.txt', 'a.fits.exe', '.fits', '..\\..', None])
def test_names_of_other_kinds_are_refused(name):
    with pytest.raises(ValueError, match='a file to upload must be FITS'):
        clean_name(name)


def test_file_comes_in_parts_to_a_private_folder(uploads):
    uploads.begin('../a.fits', 6)
    assert uploads.add(b'SIM') == '' and uploads.share == 0.5 and uploads.files == {}
    assert uploads.add(b'PLE') == 'a.fits'
    path = uploads.files['a.fits']
    assert path.read_bytes() == b'SIMPLE'
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    uploads.close()
    assert not path.parent.exists() and uploads.files == {}


def test_file_of_the_same_name_is_replaced(uploads):
    for content in b'aaa', b'bb':
        uploads.begin('a.fits', len(content))
        uploads.add(content)
    assert uploads.files['a.fits'].read_bytes() == b'bb' and len(uploads.files) == 1


def test_sizes_are_limited(uploads):
    with pytest.raises(ValueError, match='a page takes 0 MB in all'):
        uploads.begin('a.fits', 1001)
    uploads.begin('a.fits', 600)
    uploads.add(bytes(600))
    with pytest.raises(ValueError, match='of which 0 MB are used'):
        uploads.begin('b.fits', 600)
    uploads.begin('a.fits', 700)   # in place of the first
    for size in 0, -1, True, None, 'many', 2.5:
        with pytest.raises(ValueError, match='is empty'):
            uploads.begin('b.fits', size)


def test_full_disk(uploads, monkeypatch):
    monkeypatch.setattr('shutil.disk_usage', lambda path: type('Usage', (), {'free': 1 << 20})())
    with pytest.raises(OSError, match='are free for temporary files'):
        uploads.begin('a.fits', 10)


def test_more_than_was_said_is_refused(uploads):
    uploads.begin('a.fits', 4)
    with pytest.raises(ValueError, match='not have the size that was announced'):
        uploads.add(b'12345')
    with pytest.raises(ValueError, match='no upload has begun'):
        uploads.add(b'1')
    assert uploads.files == {}


@pytest.mark.parametrize('part', [None, 10 ** 12, 'text', b'', [1, 2]])
def test_parts_that_are_no_bytes_are_refused(uploads, part):
    uploads.begin('a.fits', 4)
    with pytest.raises(ValueError, match='not have the size that was announced'):
        uploads.add(part)


def test_dropped_file_leaves_nothing(uploads):
    uploads.begin('a.fits', 4)
    uploads.add(b'12')
    folder = uploads._path().parent
    uploads.drop()
    assert list(folder.iterdir()) == []
