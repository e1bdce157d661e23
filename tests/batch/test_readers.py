# Licensed under a 3-clause BSD style license - see LICENSE
"""
Results in other programs, by the checks of ``benchmarks/readers.py``.
"""

import importlib
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from astropy_n2v import conf
from astropy_n2v.batch import denoise_fits
from astropy_n2v.simulate import make_scene

FOLDER = Path(__file__).parents[2] / 'benchmarks'
pytestmark = [pytest.mark.skipif(not FOLDER.is_dir(), reason='the benchmarks are not part of an installation'),
              pytest.mark.filterwarnings('ignore:the innovations have', 'ignore:the noise of neighbouring')]


@pytest.fixture(scope='module')
def readers():
    sys.path.insert(0, str(FOLDER))
    try:
        return importlib.import_module('readers')
    finally:
        sys.path.remove(str(FOLDER))


def needs(program):
    return pytest.mark.skipif(not shutil.which(program), reason=f'needs {program}')


@pytest.fixture(params=['a.fits', 'a.fits.gz', 'a.fits.bz2', 'a.fits.fz'])
def files(request, tmp_path):
    """A frame with a table, of each kind of compression, and its result."""
    data = make_scene('survey', (96, 128), seed=1).observe(seed=2).data.astype('f4')
    kind = fits.CompImageHDU if request.param.endswith('.fz') else fits.ImageHDU
    table = fits.BinTableHDU.from_columns([fits.Column('A', 'J', array=np.arange(3))], name='TAB')
    path, output = tmp_path / request.param, tmp_path / f'out{"".join(Path(request.param).suffixes)}'
    fits.HDUList([fits.PrimaryHDU(), kind(data, name='SCI'), table]).writeto(path, checksum=True)
    denoise_fits(path, output)
    return output, path


def test_astropy(readers, files):
    assert readers.check_astropy(*files) == 4


@needs('fitsverify')
def test_fitsverify(readers, files, tmp_path):
    assert readers.check_fitsverify(*files) == 1


@needs('fitsverify')
@pytest.mark.parametrize('keyword', [b'object', b'NAXIS'])
def test_errors_that_fitsverify_finds(readers, tmp_path, keyword):
    fits.writeto(tmp_path / 'a.fits', np.zeros((4, 4)), fits.Header({'OBJECT': 'M31'}))
    content = (tmp_path / 'a.fits').read_bytes()
    (tmp_path / 'b.fits').write_bytes(content.replace(keyword.upper().ljust(8), keyword.lower().ljust(8), 1))
    with pytest.raises(AssertionError, match='1 errors'):
        readers.check_fitsverify(tmp_path / 'b.fits', tmp_path / 'a.fits')
    assert readers.check_fitsverify(tmp_path / 'a.fits', tmp_path / 'b.fits') == 1


def test_fitsio(readers, files):
    pytest.importorskip('fitsio')
    assert readers.check_fitsio(*files) == 4


@needs('source-extractor')
def test_source_extractor(readers, files):
    assert readers.check_source_extractor(*files) == 1


def test_wrong_errors_are_found(readers):
    table = Table({'X_IMAGE': [10.0], 'Y_IMAGE': [12.0], 'FLUXERR_APER': [5 * np.sqrt(np.pi / 4) * 2.0], 'FLAGS': [0]})
    readers._check_errors(table, np.full((20, 20), 2.0))
    with pytest.raises(AssertionError, match='UNCERT says'):
        readers._check_errors(table, np.full((20, 20), 3.0))


def test_audit_stays_on(readers):
    before = conf.audit
    readers.load_model('tiny')
    assert conf.audit == before != 'off'


def test_results_that_are_not_there_are_a_failure(readers, tmp_path, capsys):
    (tmp_path / 'a.fits').write_bytes(b'nothing')
    assert readers.main([str(tmp_path), '--model', 'tiny']) == 1
    assert '0 of 1 files denoised' in (printed := capsys.readouterr().out) and 'no file was denoised' in printed


@pytest.mark.slow
def test_real_images(readers, data_path, tmp_path, capsys):
    """Some files of each kind, by the command that the page of the documentation has for all of them."""
    for name in 'hst_nicmos', 'kepler', 'panoptes':
        shutil.copytree(data_path / name, tmp_path / name)
    failures = readers.main([str(tmp_path), '--model', 'tiny'])
    printed = capsys.readouterr().out
    assert failures == 0 and 'no failure' in printed, printed
