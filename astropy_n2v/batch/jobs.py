# Licensed under a 3-clause BSD style license - see LICENSE
"""
Many files at the same time: in this process, in several, or where an executor sends them.
"""

import logging
import os
import pickle
import signal
import threading
from collections import deque
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context, parent_process
from pathlib import Path

from ..io import describe_error
from .one_file import denoise_job

__all__ = []

log = logging.getLogger(__name__)

# Files that an executor has at a time: more than it has workers, few enough for a million not to be in memory.
_IN_FLIGHT = 1000
# Runs in which the process ended before a file is to blame: in the first, others ran at the same time.
_MOST_DEATHS = 2
_CANCELLED = OSError('it was cancelled: the executor was shut down, or has lost its workers')

_works = {}   # of this process: the work that its initializer got, or the last one that it was sent
# Warnings and their filters belong to a process: of several threads of an executor, one works at a time.
_one_at_a_time = threading.Lock()


def count_cores():
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


class _InProcess(Executor):
    """Runs a call at once."""

    def submit(self, function, /, *args, **kwargs):
        future = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def _set_up_process(work, threads):
    """Prepare a process for its files."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)   # Ctrl-C goes to all processes; the first one ends the others
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import torch
    torch.set_num_threads(threads)
    _keep(work)


def _end_with_parent():
    """End this process when the one that made it was killed; else it would wait for files for ever."""
    parent_process().join()
    os._exit(1)


def _keep(work):
    work.apply_settings()
    _works.clear()
    _works[work.token] = work


def run_kept(token, job):
    """Denoise a file in a process that has its work already."""
    return denoise_job(_works[token], job, silent=True)


def run_sent(work, job):
    """Denoise a file where an executor sends it; the model that it needs is loaded once in a process."""
    with _one_at_a_time:
        if work.token not in _works:
            _keep(work)
        return denoise_job(_works[work.token], job, silent=True)


class _Processes:
    """
    A pool of spawned processes that is made again when one of them dies.

    Parameters
    ----------
    work : Work
        Model, noise and options of all files; each process gets them once.
    n_jobs : int
        How many processes.
    """

    def __init__(self, work, n_jobs):
        try:
            pickle.dumps(work)
        except Exception as error:   # of many kinds, from whatever an object does
            raise TypeError('model and options must be such that they can be sent to other processes (n_jobs): '
                            f'{error}') from error
        self.work = work
        self.n_jobs = n_jobs
        self.pool = None

    def submit(self, job):
        """Hand a file over."""
        if self.pool is None:
            threads = max(1, count_cores() // self.n_jobs)
            self.pool = ProcessPoolExecutor(self.n_jobs, get_context('spawn'), _set_up_process, (self.work, threads))
        return self.pool.submit(run_kept, self.work.token, job)

    def restart(self):
        """Leave a pool that is broken."""
        if self.pool is not None:
            self.pool.shutdown(wait=True, cancel_futures=True)
            self.pool = None

    def end(self, orderly):
        """End the processes, in the midst of their files if it has to be."""
        if self.pool is not None and not orderly:
            for process in list((getattr(self.pool, '_processes', None) or {}).values()):
                process.terminate()
        self.restart()


class _Borrowed:
    """An executor that belongs to somebody else."""

    def __init__(self, work, executor):
        self.work = work
        self.executor = executor

    def submit(self, job):
        """Hand a file over, by names that hold in every directory."""
        path, output, folder = map(os.path.abspath, (job.path, job.output, job.folder))
        job = job._replace(path=path, output=Path(output), folder=folder)
        try:
            return self.executor.submit(run_sent, self.work, job)
        except Exception as error:   # it is shut down, or cannot send what it is given
            future = Future()
            future.set_exception(OSError(f'the executor did not take it: {describe_error(error)}'))
            return future

    def restart(self):
        """Do nothing: the executor belongs to the caller."""

    def end(self, orderly):
        """Do nothing: the executor belongs to the caller."""


class _Here:
    """This process."""

    def __init__(self, work):
        self.work = work

    def submit(self, job):
        """Denoise a file."""
        return _InProcess().submit(denoise_job, self.work, job)

    def restart(self):
        """Do nothing: this process does not die."""

    def end(self, orderly):
        """Do nothing: there is no pool to shut down."""


def run_jobs(jobs, work, begin, finish, n_jobs=1, executor=None):
    """
    Denoise files.

    Parameters
    ----------
    jobs : iterable of Job
        The files. Of two with the same result, the second waits for the first.
    work : Work
        Model, noise and options of all files.
    begin : callable
        Called with a job before it is begun; if it returns false, the job is passed over.
    finish : callable
        Called with a job and its `~astropy_n2v.batch.FileRecord`, or the exception that its process met.
    n_jobs : int, optional
        How many processes. With an executor, how many files it has at a time; 1: a thousand.
    executor : concurrent.futures.Executor, optional
        Where to run.
    """
    if executor is not None:
        place, window = _Borrowed(work, executor), _IN_FLIGHT if n_jobs == 1 else n_jobs
    else:
        place, window = (_Here(work) if n_jobs == 1 else _Processes(work, n_jobs)), n_jobs
    orderly = False
    try:
        _Schedule(jobs, place, window, begin, finish).run()
        orderly = True
    finally:
        place.end(orderly)


class _Schedule:
    """Which file comes next."""

    def __init__(self, jobs, place, window, begin, finish):
        self.queue = deque(jobs)
        self.place, self.window, self.begin, self.finish = place, window, begin, finish
        self.running = {}    # by future
        self.waiting = {}    # for another file with the same result; by that
        self.suspects = deque()   # in whose time a process died
        self.deaths = {}

    def run(self):
        """Run all."""
        while self.queue or self.running or self.suspects:
            self._submit()
            if self.running:
                done, _ = wait(self.running, return_when=FIRST_COMPLETED)
                self._collect(done)

    def _submit(self):
        if self.suspects:   # one by one, to see which is to blame
            if not self.running:
                self._hand_over(self.suspects.popleft())
            return
        while self.queue and len(self.running) < self.window and not self.suspects:
            job = self.queue.popleft()
            if job.key in self.waiting:
                self.waiting[job.key].append(job)
            elif self.begin(job):
                self.waiting[job.key] = []
                self._hand_over(job)

    def _hand_over(self, job):
        try:
            self.running[self.place.submit(job)] = job
        except BrokenExecutor as error:   # a process died between two files
            self._note_death(job, error)

    def _collect(self, done):
        broken = []
        for future in done:
            job = self.running.pop(future)
            error = _CANCELLED if future.cancelled() else future.exception()
            if isinstance(error, BrokenExecutor):
                broken.append((job, error))
            else:
                self._end(job, future.result() if error is None else error)
        for job, error in broken:
            self._note_death(job, error)

    def _note_death(self, job, error):
        self.place.restart()
        self.deaths[job.number] = self.deaths.get(job.number, 0) + 1
        if self.deaths[job.number] < _MOST_DEATHS:
            self.suspects.append(job)
        else:
            self._end(job, error)

    def _end(self, job, outcome):
        self.finish(job, outcome)
        self.queue.extendleft(reversed(self.waiting.pop(job.key, [])))
