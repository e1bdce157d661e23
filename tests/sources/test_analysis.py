# Licensed under a 3-clause BSD style license - see LICENSE
"""
The analysis of frames and their results, and the command that makes it.
"""

import json

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from click.testing import CliRunner
from scipy.ndimage import gaussian_filter

from astropy_n2v.cli import main
from astropy_n2v.simulate import make_scene
from astropy_n2v.sources import analyze_files, compare_detections
from astropy_n2v.validation import REPORT_SCHEMA, Report


@pytest.fixture
def scene():
    return make_scene('survey', (96, 96), seed=1)


@pytest.fixture
def paths(tmp_path, scene):
    """Write a frame, its result, and its truth without a unit."""
    frame, result, truth = tmp_path / 'frame.fits', tmp_path / 'out' / 'frame_n2v.fits', tmp_path / 'truth.fits'
    ccd = scene.observe(seed=2)
    ccd.write(frame)
    result.parent.mkdir()
    image = fits.PrimaryHDU(gaussian_filter(ccd.data, 1.0), ccd.to_hdu()[0].header)
    fits.HDUList([image, fits.ImageHDU(np.full(ccd.shape, 4, dtype='f4'), name='UNCERT')]).writeto(result)
    fits.writeto(truth, scene.truth.astype('f4'))
    return frame, result, truth


def run(*arguments):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    # A traceback is never the answer.
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_command_writes_page_numbers_and_picture(paths, tmp_path):
    jsonschema = pytest.importorskip('jsonschema')
    frame, result, truth = paths
    done = run('analyze', frame, '--denoised', result.parent, '--truth', truth, '--psf', '3.2', '-o', tmp_path / 'a')
    assert done.exit_code == 0, done.output
    assert 'sources on the input' in done.output and 'sources on the result' in done.output
    content = json.loads((tmp_path / 'a' / 'report.json').read_text())
    jsonschema.validate(content, REPORT_SCHEMA)
    assert {'detections', 'image_metrics'} <= set(content['tables'])
    assert content['tables']['detections']['columns']['image']['values'] == ['input', 'result']
    assert (tmp_path / 'a' / 'frame.png').read_bytes().startswith(b'\x89PNG')
    assert '<html' in (tmp_path / 'a' / 'report.html').read_text()


def test_results_that_are_there_are_taken(paths, tmp_path):
    frame, result, _ = paths
    with fits.open(result, mode='update') as hdus:
        hdus[0].data *= 1.5
    report = analyze_files([frame], tmp_path / 'a', denoised=result.parent, psf=3.2)
    assert report['flux_bright'].verdict != 'pass'
    assert Report.read(tmp_path / 'a').tables['detections']['frame'].tolist() == ['frame'] * 2


def test_reports_are_not_replaced(paths, tmp_path):
    (tmp_path / 'report.json').write_text('mine')
    with pytest.raises(FileExistsError, match='--overwrite'):
        analyze_files([paths[0]], tmp_path)


def test_number_of_truths(paths, tmp_path):
    with pytest.raises(ValueError, match='truth must be one file, or one for each of the 1 files, got 2'):
        analyze_files([paths[0]], tmp_path / 'a', truth=[paths[2], paths[2]])


def test_missing_files_are_reported(tmp_path):
    assert 'No such file' in run('analyze', tmp_path / 'none.fits', '-o', tmp_path / 'a').output


def test_result_shows_more_sources_at_the_same_share(scene):
    def denoiser(ccd):
        # As good as the truth, with a little noise.
        error = np.random.default_rng(1).normal(0, 1, ccd.shape)
        return CCDData(0.9 * scene.truth + 0.1 * np.asarray(ccd.data) + error, unit=ccd.unit,
                       uncertainty=StdDevUncertainty(np.full(ccd.shape, 2.0)))

    frame = scene.observe(seed=2)
    table = compare_detections(frame, denoiser(frame), psf=scene.psf, denoiser=denoiser, n_frames=4)
    counts = dict(zip(table['image'], table['n']))
    assert counts['result'] >= counts['input'] > 0
    assert (table['n_false'] <= 0.05 * table['n']).all()
