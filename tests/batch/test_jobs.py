# Licensed under a 3-clause BSD style license - see LICENSE
"""
Files in several processes, and where an executor sends them.
"""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
import warnings
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from astropy.io import fits

from astropy_n2v import conf
from astropy_n2v.batch import denoise_files, read_journal
from astropy_n2v.batch.jobs import _Schedule, count_cores
from astropy_n2v.batch.one_file import Job
from astropy_n2v.batch.records import FileRecord

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


def test_threads_take_turns(frames, tmp_path, tiny_denoiser, recwarn):
    shown = warnings.showwarning
    fits.writeto(frames[0], np.ones((32, 40)), overwrite=True)
    alone = denoise_files(frames, tmp_path / 'alone', model=tiny_denoiser, per_frame=True)
    with ThreadPoolExecutor(4) as executor:
        records = denoise_files(frames, tmp_path / 'out', model=tiny_denoiser, executor=executor, per_frame=True)
    assert [record.status for record in records] == ['failed', 'done', 'done', 'done'] and warnings.showwarning is shown
    assert same_data(alone[1:], records[1:])
    assert [record.warnings for record in records] == [record.warnings for record in alone]


class Refusing(Executor):
    """Takes some files, and meets an error with others: at once or later."""

    def __init__(self, error, n_taken=1, later=False):
        self.error, self.n_taken, self.later = error, n_taken, later

    def submit(self, function, /, *arguments):
        future = Future()
        if self.n_taken:
            self.n_taken -= 1
            future.set_result(function(*arguments))
        elif self.later and self.error is None:
            future.cancel()
            future.set_running_or_notify_cancel()
        elif self.later:
            future.set_exception(self.error)
        else:
            raise self.error
        return future


@pytest.mark.parametrize('executor, reason', [
    (Refusing(RuntimeError('cannot schedule new futures after shutdown')),
     'the executor did not take it: RuntimeError: cannot schedule new futures after shutdown'),
    (Refusing(BrokenExecutor('a process ended')), 'the executor did not take it: BrokenExecutor: a process ended'),
    (Refusing(pickle.PicklingError('no lambda'), later=True), 'the executor failed: PicklingError: no lambda'),
    (Refusing(None, later=True), 'it was cancelled: the executor was shut down, or has lost its workers'),
    (Refusing(BrokenExecutor(), later=True), 'the process that worked on it died: it was killed, or memory did not '
                                             'suffice')])
def test_executors_that_fail(frames, tmp_path, tiny_denoiser, executor, reason):
    records = denoise_files(frames, tmp_path / 'out', model=tiny_denoiser, executor=executor, per_frame=True,
                            journal=tmp_path / 'j')
    assert [record.error for record in records] == ['', *[reason] * 3]
    assert [entry['error'] for entry in read_journal(tmp_path / 'j')] == ['', *[reason] * 3]
    # The second run finishes.
    with ThreadPoolExecutor(1) as executor:
        records = denoise_files(frames, tmp_path / 'out', model=tiny_denoiser, executor=executor, per_frame=True,
                                journal=tmp_path / 'j', skip_existing=True)
    assert [record.status for record in records] == ['skipped', *['done'] * 3]


def test_executor_that_is_shut_down(frames, tmp_path, tiny_denoiser):
    with ProcessPoolExecutor(1, get_context('spawn')) as executor:
        pass
    records = denoise_files(frames[:2], tmp_path, model=tiny_denoiser, executor=executor, per_frame=True)
    assert ['cannot schedule new futures after shutdown' in record.error for record in records] == [True, True]


def test_executor_whose_process_dies(frames, tmp_path, tiny_denoiser):
    with ProcessPoolExecutor(1, get_context('spawn')) as executor:
        executor.submit(os._exit, 1)
        records = denoise_files(frames[:2], tmp_path, model=tiny_denoiser, executor=executor, per_frame=True)
    assert {record.status for record in records} == {'failed'}
    assert ['died' in record.error or 'BrokenProcessPool' in record.error for record in records] == [True, True]


@pytest.mark.parametrize('options', [{'n_jobs': 2}, {'executor': 'process pool'}])
def test_what_cannot_be_sent(frames, tmp_path, tiny_denoiser, options):
    cannot = {'model': tiny_denoiser, 'per_frame': True, 'gain': lambda: 1.0}
    if 'n_jobs' in options:
        with pytest.raises(TypeError, match=r'can be sent to other processes \(n_jobs\): .*lambda'):
            denoise_files(frames[:2], tmp_path, **cannot, n_jobs=2)
        return
    with ProcessPoolExecutor(1, get_context('spawn')) as executor:
        records = denoise_files(frames[:2], tmp_path, **cannot, executor=executor)
    assert [record.error.startswith('the executor failed: ') and 'lambda' in record.error for record in records] == \
        [True, True]


@pytest.mark.parametrize('wrong', [4, 'local', object()])
def test_what_is_no_executor(frames, tmp_path, wrong):
    with pytest.raises(TypeError, match='executor must be a concurrent.futures.Executor, such as .*, got '):
        denoise_files(frames, tmp_path, executor=wrong)


@pytest.mark.slow
def test_parsl(frames, tmp_path, model, monkeypatch):
    parsl = pytest.importorskip('parsl')
    from parsl.concurrent import ParslPoolExecutor
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join(sys.path))
    alone = denoise_files(frames, tmp_path / 'alone', model=model, per_frame=True)
    workers = parsl.HighThroughputExecutor(label='n2v', max_workers_per_node=1, cores_per_worker=1, encrypted=False,
                                           address='127.0.0.1')
    with ParslPoolExecutor(parsl.Config(executors=[workers], run_dir=str(tmp_path / 'parsl'))) as executor:
        records = denoise_files(frames, tmp_path / 'out', model=model, executor=executor, per_frame=True,
                                journal=tmp_path / 'j')
    assert [record.error for record in records] == [''] * 4 and same_data(alone, records)
    assert os.getpid() not in {entry['pid'] for entry in read_journal(tmp_path / 'j')}


_ON_MPI = '''
import sys
from mpi4py.futures import MPIPoolExecutor
from astropy_n2v import conf
from astropy_n2v.batch import denoise_files
if __name__ == '__main__':
    conf.audit = 'off'
    with MPIPoolExecutor(1) as executor:
        records = denoise_files(sys.argv[3:], sys.argv[2], model=sys.argv[1], executor=executor, per_frame=True,
                                journal=sys.argv[2] + '.jsonl')
    print([record.error for record in records])
'''


@pytest.mark.slow
def test_mpi(frames, tmp_path, model):
    pytest.importorskip('mpi4py')
    if not shutil.which('mpiexec'):
        pytest.skip('needs mpiexec')
    alone = denoise_files(frames, tmp_path / 'alone', model=model, per_frame=True)
    (tmp_path / 'night.py').write_text(_ON_MPI)
    command = ['mpiexec', '-n', '2', sys.executable, '-m', 'mpi4py.futures', tmp_path / 'night.py', model,
               tmp_path / 'out', *frames]
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path), 'OMPI_ALLOW_RUN_AS_ROOT': '1',
                   'OMPI_ALLOW_RUN_AS_ROOT_CONFIRM': '1'}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    if 'cannot load MPI library' in done.stderr:
        pytest.skip('mpi4py finds no library of MPI')
    assert "['', '', '', '']" in done.stdout, done.stdout + done.stderr
    for record in alone:
        assert np.array_equal(fits.getdata(record.output), fits.getdata(tmp_path / 'out' / record.output.name))
    assert len(read_journal(tmp_path / 'out.jsonl')) == 4


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


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='asks ps')
def test_two_batches_on_one_folder(night):
    processes = [start(night, 'out', '--jobs', '2') for _ in range(2)]
    for process in processes:
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0, output
    assert '4 were there and current' in finish(night, 'out')
    compare(night, 'out')
