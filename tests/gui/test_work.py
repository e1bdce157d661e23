# Licensed under a 3-clause BSD style license - see LICENSE
"""
The process that works for a page.
"""

import json
import time

import numpy as np
import pytest
from astropy.io import fits

from astropy_n2v.gui import tasks
from astropy_n2v.gui.render import Pyramid
from astropy_n2v.gui.work import ProgressStream, Worker


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
    tasks.save_json(folder, tmp_path / 'a.json', False, {'gain': np.float64(2)})
    assert json.loads((tmp_path / 'a.json').read_text()) == {'gain': 2.0}


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
