# Licensed under a 3-clause BSD style license - see LICENSE
"""
Files in several processes, and where an executor sends them.
"""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from astropy.io import fits

from astropy_n2v import conf
from astropy_n2v.batch import denoise_files, read_journal
from astropy_n2v.batch.jobs import _Schedule, count_cores
from astropy_n2v.batch.records import FileRecord
from astropy_n2v.batch.work import Job

pytestmark = pytest.mark.filterwarnings('ignore:the innovations have', 'ignore:the noise of neighbouring')


@pytest.fixture
def frames(tmp_path, rng):
    """Four small frames."""
    (tmp_path / 'in').mkdir()
    paths = [tmp_path / 'in' / f'{name}.fits' for name in 'abcd']
    for path in paths:
        fits.writeto(path, rng.normal(100, 5, (32, 40)).astype('f4'))
    return paths


@pytest.fixture
def model(tmp_path, tiny_denoiser):
    path = tmp_path / 'tiny.safetensors'
    tiny_denoiser.save(path)
    return path


def same_data(records, others):
    return all(np.array_equal(fits.getdata(one.output, ext), fits.getdata(other.output, ext))
               for one, other in zip(records, others) for ext in (0, 1))


def test_several_processes(frames, tmp_path, model, caplog):
    fits.writeto(frames[3], np.ones((32, 40)), overwrite=True)
    calls = []
    alone = denoise_files(frames, tmp_path / 'alone', model=model)
    caplog.clear()
    together = denoise_files(frames, tmp_path / 'together', model=model, n_jobs=2, journal=tmp_path / 'j',
                             callback=lambda record: calls.append(record.status))
    assert [record.status for record in together] == ['done', 'done', 'done', 'failed']
    assert together[3].error == alone[3].error and same_data(alone[:3], together[:3])
    assert calls.count('running') == 4 and len(calls) == 8
    assert 'a.fits: no BUNIT' in caplog.text   # as of one process
    entries = read_journal(tmp_path / 'j')
    assert len({entry['pid'] for entry in entries}) == 2 and os.getpid() not in {entry['pid'] for entry in entries}


def test_executors(frames, tmp_path, tiny_denoiser, monkeypatch):
    monkeypatch.chdir(tmp_path)
    alone = denoise_files(frames, 'alone', model=tiny_denoiser, per_frame=True)
    with conf.set_temp('audit', 'off'), ProcessPoolExecutor(2, get_context('spawn')) as executor:
        records = denoise_files([os.path.relpath(path) for path in frames], 'out', model=tiny_denoiser,
                                executor=executor, per_frame=True)
    assert [record.error for record in records] == [''] * 4 and same_data(alone, records)
    assert str(records[0].output) == 'out/a_n2v.fits'


def test_executor_of_threads(frames, tmp_path, tiny_denoiser):
    with ThreadPoolExecutor(1) as executor:
        records = denoise_files(frames[:2], tmp_path / 'out', model=tiny_denoiser, executor=executor, n_jobs=2)
    assert [record.status for record in records] == ['done', 'done']


def test_dask(frames, tmp_path, model):
    pytest.importorskip('distributed')
    from astropy_n2v.batch import open_cluster
    alone = denoise_files(frames, tmp_path / 'alone', model=model, per_frame=True)
    with open_cluster('local', 2) as (executor, link):
        records = denoise_files(frames, tmp_path / 'out', model=model, executor=executor, per_frame=True,
                                journal=tmp_path / 'j')
    assert [record.error for record in records] == [''] * 4 and same_data(alone, records)
    assert os.getpid() not in {entry['pid'] for entry in read_journal(tmp_path / 'j')}


def test_no_scheduler_at_an_address(frames, tmp_path):
    pytest.importorskip('distributed')
    from click.testing import CliRunner

    from astropy_n2v.cli import main
    result = CliRunner().invoke(main, ['denoise', str(frames[0]), '-o', str(tmp_path), '--scheduler', 'nonsense://x'])
    assert result.exit_code == 1 and 'nonsense' in result.stderr


def test_two_files_with_one_result(frames, tmp_path, model):
    (tmp_path / 'other').mkdir()
    other = tmp_path / 'other' / 'a.fits'
    other.write_bytes(frames[0].read_bytes())
    records = denoise_files([frames[0], other, frames[1]], tmp_path / 'out', model=model, n_jobs=2, per_frame=True)
    assert [record.status for record in records] == ['done', 'failed', 'done']
    assert 'another file of this run is written to' in records[1].error


class FakePlace:
    """A place where some files end the process."""

    def __init__(self, deadly=(), reluctant=0):
        self.deadly, self.reluctant = deadly, reluctant
        self.submitted, self.restarts = [], 0

    def submit(self, job):
        from concurrent.futures import Future
        if self.reluctant:
            self.reluctant -= 1
            raise BrokenExecutor
        self.submitted.append(job.number)
        future = Future()
        if job.number in self.deadly:
            future.set_exception(BrokenExecutor())
        else:
            future.set_result(FileRecord(job.path, job.output, 'done'))
        return future

    def restart(self):
        self.restarts += 1


@pytest.mark.parametrize('place, failed', [(FakePlace(), []), (FakePlace(deadly=[1]), [1]), (FakePlace((0, 3)), [0, 3]),
                                           (FakePlace(reluctant=1), [])])
def test_schedule(place, failed):
    jobs = [Job(n, str(n), str(n), None, f'out/{n}', 'out') for n in range(5)]
    ended = {}
    _Schedule(jobs, place, 3, lambda job: job.number != 4, lambda job, end: ended.setdefault(job.number, end)).run()
    assert sorted(ended) == [0, 1, 2, 3]   # each, but for the one that was not to be begun
    assert [n for n in ended if isinstance(ended[n], BrokenExecutor)] == failed
    assert all(place.submitted.count(n) == 2 for n in failed)


def test_cores():
    assert 1 <= count_cores() <= os.cpu_count()


# Real processes that are killed

_RUN = [sys.executable, '-c', f'import sys; sys.path[:] = {sys.path!r}; from astropy_n2v.cli import main; main()']
_SIZE = 640   # pixels on a side: a second or so for each file


@pytest.fixture
def night(tmp_path, rng):
    """Frames that take a while."""
    for name in 'abcd':
        fits.writeto(tmp_path / f'{name}.fits', rng.normal(100, 5, (_SIZE, _SIZE)).astype('f4'))
    return tmp_path


def start(night, out, *options):
    command = [*_RUN, 'denoise', '--files-from', '-', '-o', out, '--per-frame', '--skip-existing', *options]
    process = subprocess.Popen(command, cwd=night, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, start_new_session=True)
    process.stdin.write('a.fits\nb.fits\nc.fits\nd.fits\n')
    process.stdin.close()
    process.stdin = None
    return process


def finish(night, out):
    process = start(night, out)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    return output


def parts(night, out='out'):
    return list((night / out).glob('.*.part*')) if (night / out).exists() else []


def wait_for(condition, process):
    end = time.monotonic() + 300
    while not condition():
        assert process.poll() is None and time.monotonic() < end, process.stdout.read()
        time.sleep(0.01)


def workers_of(pid):
    """Processes that a process has spawned to denoise."""
    command = ['ps', '-ww', '-o', 'pid=,args=', '--ppid', str(pid)]   # else lines may be cut
    children = subprocess.run(command, capture_output=True, text=True).stdout
    return [int(line.split()[0]) for line in children.splitlines() if 'spawn_main' in line]


def compare(night, out):
    """Check that the results equal the results of an undisturbed run, without any other files."""
    finish(night, 'quiet')
    names = [f'{name}_n2v.fits' for name in 'abcd']
    assert sorted(path.name for path in (night / out).iterdir()) == [*names, 'n2v-journal.jsonl']
    for name in names:
        with fits.open(night / out / name, checksum=True) as one, fits.open(night / 'quiet' / name) as other:
            assert all(np.array_equal(a.data, b.data) for a, b in zip(one, other)) and len(one) == len(other)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='asks ps')
def test_batch_is_killed(night):
    process = start(night, 'out')
    wait_for(lambda: (night / 'out' / 'a_n2v.fits').exists() and parts(night), process)
    process.kill()
    process.communicate()
    assert len(parts(night)) == 1
    assert 'a.fits is there and current' in finish(night, 'out')
    compare(night, 'out')


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='asks ps')
def test_worker_is_killed(night):
    process = start(night, 'out', '--jobs', '2')
    wait_for(lambda: parts(night), process)
    os.kill(workers_of(process.pid)[0], signal.SIGKILL)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0 and '4 of 4 files denoised' in output
    compare(night, 'out')


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='asks ps')
def test_workers_end_with_their_batch(night):
    process = start(night, 'out', '--jobs', '2')
    wait_for(lambda: parts(night), process)
    workers = workers_of(process.pid)
    process.kill()
    process.communicate(timeout=60)
    end = time.monotonic() + 30
    while any(os.path.exists(f'/proc/{pid}') for pid in workers) and time.monotonic() < end:
        time.sleep(0.05)
    assert len(workers) == 2 and not [pid for pid in workers if os.path.exists(f'/proc/{pid}')]
    finish(night, 'out')
    compare(night, 'out')
