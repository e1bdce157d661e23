# Licensed under a 3-clause BSD style license - see LICENSE
"""
The process that works for a page.
"""

import json
import time
import tracemalloc

import numpy as np
import pytest
from astropy.io import fits

from astropy_n2v.gui import tasks
from astropy_n2v.gui.render import Pyramid
from astropy_n2v.gui.worker import ProgressStream, Worker
from astropy_n2v.simulate import make_scene
from astropy_n2v.validation import VERDICTS, Report
from astropy_n2v.validation.report.report import describe_result


@pytest.fixture
def frame(tmp_path, ccd):
    path = tmp_path / 'frame.fits'
    ccd.write(path)
    return str(path)


@pytest.fixture
def worker():
    worker = Worker()
    yield worker
    worker.close()


def wait(worker, seconds=120):
    """Collect messages until the task has ended."""
    messages, end = [], time.monotonic() + seconds
    while worker.task and time.monotonic() < end:
        messages += worker.poll()
        time.sleep(0.02)
    assert not worker.task, 'it does not end'
    return messages


def test_image_is_read_by_another_process(worker, frame, ccd):
    worker.start('read', frame, 0, 0)
    with pytest.raises(RuntimeError, match='read is running'):
        worker.start('read', frame, 0, 0)
    message = wait(worker)[-1]
    assert message.kind == 'done' and message.value['shape'] == ccd.shape and message.value['n_planes'] == 1
    np.testing.assert_array_equal(Pyramid.load(worker.folder, 'input').levels[0], ccd.data.astype(np.float32))


def test_error_is_a_line_and_the_worker_lives_on(worker, tmp_path, frame):
    worker.start('read', str(tmp_path / 'none.fits'), 0, 0)
    assert wait(worker)[-1][:3] == ('failed', 'read', f'{tmp_path / "none.fits"}: No such file or directory')
    worker.start('read', frame, 0, 0)
    assert wait(worker)[-1].kind == 'done'


def test_cancelled_task_ends_and_another_begins(worker, frame):
    worker.start('denoise', frame, 0, {'model': 'self', 'max_time': 1000})
    process = worker._process
    time.sleep(0.5)
    assert worker.cancel() == 'denoise'
    assert not process.is_alive() and worker.poll() == []
    worker.start('read', frame, 0, 0)
    assert wait(worker)[-1].kind == 'done'


def test_dead_process_is_a_failure(worker, frame):
    worker.start('read', frame, 0, 0)
    worker._process.kill()
    message = wait(worker)[-1]
    assert message.kind == 'failed' and 'memory' in message.value


def test_folder_is_removed(tmp_path):
    from pathlib import Path
    worker = Worker()
    folder = Path(worker.folder)
    assert folder.exists()
    worker.close()
    assert not folder.exists()


def test_percentages_of_bars_are_found():
    found = []
    stream = ProgressStream(found.append)
    for text in '\rdenoising:   5%|#    | 0.05/1', '\rdenoising:   5%|#  ', 'hello 30%', '\rdenoising: 100%|####|':
        stream.write(text)
    assert found == [5, 100]


def test_noise_is_that_of_denoise(tmp_path, frame):
    kind, found, messages = tasks.run('measure', (str(tmp_path), frame, 0, {'gain': 2.0, 'readnoise': 5.0}))
    assert kind == 'done' and found['gain'] == 2.0 and found['sigma'] == 2.5
    assert found['sky_noise'] > 2.5
    assert 'the sky noise according to gain and readnoise is' in messages[0]


@pytest.mark.parametrize('plane, sigma', [(0, 2), (1, 8)])
def test_noise_of_a_plane_is_its_own(tmp_path, rng, plane, sigma):
    cube = np.stack([rng.normal(100, noise, (96, 96)) for noise in (2, 8)]).astype('f4')
    cube[1, :24] = np.nan
    fits.writeto(tmp_path / 'cube.fits', cube)
    found = tasks.measure(tmp_path, tmp_path / 'cube.fits', 0, {}, plane)
    assert found['sky_noise'] == pytest.approx(sigma, rel=0.1)
    assert found['masked'] == (0.25 if plane else 0)


def test_what_is_shown_is_what_is_written(tmp_path, frame, ccd):
    folder = str(tmp_path)
    assert tasks.run('read', (folder, frame, 0, 0))[0] == 'done'
    kind, value, _ = tasks.run('denoise', (folder, frame, 0, {'strength': 0.9}))
    assert kind == 'done', value
    assert value['cards']['N2VSTREN'][0] == 0.9
    assert tasks.run('show', (folder, frame, 0, 0))[:2] == ('done', [
        'innovations', 'residual', 'result', 'uncertainty'])
    target = tmp_path / 'saved' / 'frame_n2v.fits'
    assert tasks.save_fits(folder, target, False, frame) == str(target)
    with fits.open(target) as hdus:
        np.testing.assert_array_equal(hdus[0].data, Pyramid.load(folder, 'result').levels[0])
        np.testing.assert_array_equal(hdus['UNCERT'].data, Pyramid.load(folder, 'uncertainty').levels[0])
        residual = (ccd.data - hdus[0].data) / hdus['NOISE'].data
    np.testing.assert_allclose(Pyramid.load(folder, 'residual').levels[0], residual, atol=1e-4)
    kind, message, _ = tasks.run('save_fits', (folder, target, False, frame))
    assert kind == 'failed' and 'exists' in message
    tasks.save_png(folder, tmp_path / 'a.png', False, frame, 0, 0, ((0, 64), (0, 80)), None)
    assert (tmp_path / 'a.png').read_bytes()[1:4] == b'PNG'
    known = {'gain': np.float64(2), 'n': np.int64(3), 'sigma': np.float32(0.5), 'ok': np.bool_(True)}
    tasks.save_json(folder, tmp_path / 'a.json', False, known)
    assert json.loads((tmp_path / 'a.json').read_text()) == {'gain': 2.0, 'n': 3, 'sigma': 0.5, 'ok': True}


def test_warnings_come_with_the_result(tmp_path, frame):
    tasks.run('read', (str(tmp_path), frame, 0, 0))
    _, _, messages = tasks.run('denoise', (str(tmp_path), frame, 0, {'gain': 0.001, 'readnoise': 1.0}))
    assert any('noise' in message for message in messages)


def test_planes_of_a_cube(tmp_path, rng):
    path = tmp_path / 'cube.fits'
    cube = rng.normal(100, 3, (3, 64, 64)).astype('f4')
    fits.writeto(path, cube)
    assert tasks.read(str(tmp_path), path, 0, 2)['n_planes'] == 3
    np.testing.assert_array_equal(Pyramid.load(tmp_path, 'input').levels[0], cube[2])
    with pytest.raises(ValueError, match='plane must be from 0 to 2, got 3'):
        tasks.read(str(tmp_path), path, 0, 3)


@pytest.mark.parametrize('types', [('HPLN-TAN', 'HPLT-TAN'), ('MALN-CAR', 'MALT-CAR')])
def test_sun_and_planets_have_no_sky_position(tmp_path, types):
    path = tmp_path / 'disk.fits'
    fits.writeto(path, np.ones((16, 24)), fits.Header({'CTYPE1': types[0], 'CTYPE2': types[1]}))
    assert tasks.read(tmp_path, path, 0, 0)['wcs'] is None


def test_large_image_is_read_in_strips(tmp_path):
    path = tmp_path / 'large.fits'
    fits.writeto(path, np.broadcast_to(np.float32(1), (8192, 2048)))
    tracemalloc.start()
    tasks.read(str(tmp_path), path, 0, 0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40e6   # of 67 MB
    assert Pyramid.load(tmp_path, 'input').shape == (8192, 2048)


@pytest.mark.parametrize('name', ['frame.fits.gz', 'frame.fits.fz'])
def test_compressed_file_is_saved_as_what_it_was(tmp_path, ccd, name):
    path = tmp_path / name
    if name.endswith('.gz'):
        ccd.write(path)
    else:
        fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(ccd.data.astype('f4'))]).writeto(path)
    index = 0 if name.endswith('.gz') else 1
    folder = tmp_path / 'handed'
    folder.mkdir()
    tasks.read(folder, path, index, 0)
    tasks.denoise(folder, path, index, {})
    tasks.show(folder, path, index, 0)
    target = tmp_path / 'saved' / name
    tasks.save_fits(folder, target, False, path)
    assert target.read_bytes()[:2] == path.read_bytes()[:2]
    with fits.open(target) as hdus:
        np.testing.assert_array_equal(hdus[index].data, Pyramid.load(folder, 'result').levels[0])


def test_planes_of_a_cube_are_shown_and_searched(tmp_path):
    path = tmp_path / 'cube.fits'
    scene = make_scene('survey', (96, 96), seed=1)
    cube = np.stack([scene.observe(seed=seed).data for seed in (1, 2)]).astype('f4')
    fits.writeto(path, cube, fits.Header({'BUNIT': 'electron'}))
    tasks.read(str(tmp_path), path, 0, 1)
    tasks.denoise(str(tmp_path), path, 0, {})
    tasks.show(str(tmp_path), path, 0, 1)
    with fits.open(tmp_path / 'result' / 'cube_n2v.fits') as hdus:
        np.testing.assert_array_equal(Pyramid.load(tmp_path, 'result').levels[0], hdus[0].data[1])
        np.testing.assert_array_equal(Pyramid.load(tmp_path, 'uncertainty').levels[0], hdus['UNCERT'].data[1])
    frame, clean = tasks._pair(tmp_path, path, 0, 1)
    np.testing.assert_array_equal(frame.data, cube[1])
    assert clean.uncertainty is not None and str(clean.unit) == 'electron'


@pytest.mark.slow
def test_analysis_is_that_of_the_command(tmp_path, frame):
    folder = tmp_path / 'handed'
    folder.mkdir()
    tasks.read(folder, frame, 0, 0)
    tasks.denoise(folder, frame, 0, {})
    kind, found, _ = tasks.run('analyze', (folder, frame, 0, {'false_rate': 0.1}))
    assert kind == 'done', found
    assert {check['verdict'] for check in found['checks']} <= set(VERDICTS)
    assert [row['image'] for row in found['detections']] == ['input', 'result']
    page = tasks.save_report(folder, tmp_path / 'saved', False)
    known = Report.read(page.replace('report.html', 'report.json'))
    assert [{**check.to_dict(), 'result': describe_result(check)} for check in known.checks] == found['checks']
    assert (tmp_path / 'saved' / 'frame.png').exists() and (tmp_path / 'saved' / 'tables' / 'checks.ecsv').exists()
    assert tasks.run('save_report', (folder, tmp_path / 'saved', False))[0] == 'failed'   # there is one
