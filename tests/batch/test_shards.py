# Licensed under a 3-clause BSD style license - see LICENSE
"""
The loop over shards of the documentation, and all real images in one command.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from astropy_n2v.batch import denoise_files, find_inputs, read_journal
from astropy_n2v.simulate import make_scene

pytestmark = pytest.mark.filterwarnings('ignore:the innovations have', 'ignore:the noise of neighbouring')


@pytest.fixture
def command(tmp_path):
    """Return a directory with the command, for PATH."""
    directory = tmp_path / 'bin'
    directory.mkdir()
    script = directory / 'astropy-n2v'
    script.write_text(f'#!{sys.executable}\nimport sys\nsys.path[:] = {sys.path!r}\n'
                      'from astropy_n2v.cli import main\nmain()\n')
    script.chmod(0o755)
    return directory


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which('bash') or not shutil.which('xargs'), reason='needs bash and xargs')
def test_loop_over_shards(tmp_path, command, tiny_denoiser):
    (tmp_path / 'night 1').mkdir()
    for n in range(5):
        make_scene('survey', (64, 64), seed=1).observe(seed=n).write(tmp_path / 'night 1' / f'{n}.fits')
    tiny_denoiser.save(tmp_path / 'm.safetensors')
    script = Path(__file__).with_name('shards.sh')
    environment = {**os.environ, 'PATH': f'{command}{os.pathsep}{os.environ["PATH"]}', 'OMP_NUM_THREADS': '1'}
    run = ['bash', script, 'night 1', 'out', '3', '--model', 'm.safetensors', '--audit', 'off']
    for _ in range(2):   # the second time there is nothing to do
        done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert 'is there and current' in done.stderr
    entries = read_journal(tmp_path / 'out' / 'n2v-journal.jsonl')
    assert sorted(entry['input']['path'] for entry in entries) == [f'night 1/{n}.fits' for n in range(5)]
    # The same as in one run.
    files = sorted((tmp_path / 'night 1').iterdir())
    for record in denoise_files(files, tmp_path / 'one', model=tiny_denoiser, noise=tmp_path / 'out' / 'noise.json'):
        assert np.array_equal(fits.getdata(record.output), fits.getdata(tmp_path / 'out' / record.output.name))


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which('snakemake'), reason='needs snakemake')
def test_snakemake(tmp_path, command, tiny_denoiser):
    (tmp_path / 'night1').mkdir()
    for n in range(3):
        make_scene('survey', (64, 64), seed=1).observe(seed=n).write(tmp_path / 'night1' / f'{n}.fits')
    tiny_denoiser.save(tmp_path / 'm.safetensors')
    environment = {**os.environ, 'PATH': f'{command}{os.pathsep}{os.environ["PATH"]}', 'XDG_CACHE_HOME': str(tmp_path)}
    run = ['snakemake', '--snakefile', Path(__file__).with_name('Snakefile'), '--cores', '2', '--config',
           'options=--model m.safetensors --audit off']
    for _ in range(2):   # the second time there is nothing to do
        done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert 'Nothing to be done' in done.stdout + done.stderr
    for record in denoise_files(sorted((tmp_path / 'night1').iterdir()), tmp_path / 'one', model=tiny_denoiser,
                                noise=tmp_path / 'noise.json'):
        assert np.array_equal(fits.getdata(record.output), fits.getdata(tmp_path / 'denoised' / record.output.name))


#: Cards of an image that may change, besides the cards of its number type. astropy shows EXTEND in compressed images.
CHANGES = {'DATAMIN', 'DATAMAX', 'EXTEND'}
#: Files of the test data that have no image of the sky, or none that can be denoised, and a part of the reason.
# Those of the Legacy Surveys are planes of flags, in files of their own.
REFUSED = {
    'kepler/tpf_test_00.fits': 'the file has no science image',
    'legacypipe/mzlsbass2/k4m_160319_075112_ood_zd_ls9.CCD3.fits': 'data is constant (0)',
    'legacypipe/mzlsbass2/ksb_170430_055945_ood_r_ls9.CCD4.fits': 'data is constant (0)',
    'legacypipe/mzlsbass2/ksb_180313_081856_ood_g_ls9.CCD4.fits': 'data is constant (0)',
    'legacypipe/testcase6/c4d_150110_053718_ood_z_ls9.S4.fits': 'too few valid pixels',
    'legacypipe/testcase6/c4d_171113_061941_ood_r_ls9.S4.fits': 'too few valid pixels',
    'legacypipe/testcase6/c4d_181104_072440_ood_g_ls9.S4.fits': 'too few valid pixels',
    'legacypipe/testcase6/c4d_181214_050844_ood_g_ls9.S9.fits': 'too few valid pixels',
    'legacypipe/testcase6/c4d_181215_045000_ood_z_ls9.S9.fits': 'too few valid pixels',
    'legacypipe/testcase6/c4d_181215_051332_ood_r_ls9.S9.fits': 'too few valid pixels',
}


def compare(record):
    """Compare a result with its input, HDU by HDU."""
    changed = {int(label.split()[0]) for label in record.denoised}
    with fits.open(record.path) as one, fits.open(record.output, checksum=True) as other:
        one.verify('silentfix+ignore')
        other.verify('exception')
        for i, (before, after) in enumerate(zip(one, other)):
            if before.name == 'UNCERT':   # it becomes UNCERT_IN
                continue
            if i not in changed:
                difference = fits.HDUDiff(before, after)
                assert difference.identical, difference.report()
                continue
            assert after.shape == before.shape
            assert np.isfinite(after.data).sum() >= np.isfinite(before.data).sum()
            kept = set(before.header) - {'BZERO', 'BSCALE', 'BLANK', 'BITPIX', 'CHECKSUM', 'DATASUM', 'HISTORY', ''}
            assert {keyword for keyword in kept if before.header.get(keyword) != after.header.get(keyword)} <= CHANGES
            pixel = np.array([[0.0, 0.0], before.shape[:-3:-1]])
            sky = [WCS(hdu.header, hdus).celestial.wcs_pix2world(pixel, 0) for hdu, hdus in (
                (before, one), (after, other))] if 'CTYPE1' in before.header else [pixel, pixel]
            np.testing.assert_allclose(*sky, rtol=0, atol=1e-9)


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')
def test_all_real_images(data_path, tmp_path, tiny_denoiser):
    records = denoise_files(find_inputs([data_path]), tmp_path, model=tiny_denoiser, per_frame=True,
                            journal=tmp_path / 'j.jsonl')
    errors = {record.path.relative_to(data_path).as_posix(): record.error for record in records if record.error}
    assert set(errors) == set(REFUSED), errors
    assert not [(name, errors[name]) for name, reason in REFUSED.items() if reason not in errors[name]]
    assert len(records) > 100
    for record in records:
        if record.status == 'done':
            compare(record)
