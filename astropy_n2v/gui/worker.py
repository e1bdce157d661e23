# Licensed under a 3-clause BSD style license - see LICENSE
"""
A process that does the work of a page, so that the page never waits: one task at a time, which can be cancelled.
"""

import re
import sys
import tempfile
from multiprocessing import get_context
from threading import Lock
from typing import NamedTuple

__all__ = ['Message', 'Worker']

# The text that progress bars write to standard error.
_PERCENT = re.compile(r'(\d{1,3})%\|')
_PATIENCE = 2.0   # seconds that a process is given to end


class Message(NamedTuple):
    """Message of a worker on a task: how far it is (percent), or how it ended."""

    kind: str
    task: str
    value: object
    warnings: list


class Worker:
    """
    A process that runs tasks; it starts with the first, and lives until it is closed or a task is cancelled.

    Attributes
    ----------
    folder : str
        Where images are handed over; it is removed when the worker is closed.
    task : str
        Name of the task that runs, or ''.

    Examples
    --------
    >>> from astropy_n2v.gui.worker import Worker
    >>> worker = Worker()
    >>> worker.task, worker.poll()
    ('', [])
    >>> worker.close()
    """

    def __init__(self):
        self._directory = tempfile.TemporaryDirectory(prefix='astropy-n2v-')
        self.folder, self.task = self._directory.name, ''
        self._process = self._pipe = None

    def start(self, task, *arguments):
        """
        Begin a task.

        Parameters
        ----------
        task : str
            Name of a function of ``tasks.py``.
        *arguments
            Its arguments after the folder.

        Raises
        ------
        RuntimeError
            If another one runs.
        """
        if self.task:
            raise RuntimeError(f'{self.task} is running: wait or cancel it')
        if self._process is None or not self._process.is_alive():
            # Spawned: the page has threads, which a fork would not survive.
            context = get_context('spawn')
            self._pipe, other = context.Pipe()
            self._process = context.Process(target=serve, args=(other,), daemon=True)
            self._process.start()
            other.close()
        self.task = task
        self._pipe.send((task, (self.folder, *arguments)))

    def poll(self):
        """
        Collect the messages of the worker since the last call; it does not wait.

        Returns
        -------
        list of Message
            Of the kinds 'progress', 'done' and 'failed'.
        """
        messages = []
        try:
            while self.task and self._pipe.poll():
                message = Message(*self._pipe.recv())
                messages.append(message)
                if message.kind != 'progress':
                    self.task = ''
        except (EOFError, OSError):
            messages.append(Message('failed', self.task, 'the process that denoises has ended; perhaps there was too '
                                    'little memory', []))
            self._stop()
        return messages

    def cancel(self):
        """End the task that runs, at once; return its name."""
        task = self.task
        if task:
            self._stop()
        return task

    def _stop(self):
        """End the process."""
        self.task = ''
        if self._process is not None:
            self._process.terminate()
            self._process.join(_PATIENCE)
            if self._process.is_alive():
                self._process.kill()
                self._process.join(_PATIENCE)
            self._pipe.close()
            self._process = self._pipe = None

    def close(self):
        """End the process, and remove the folder."""
        self._stop()
        self._directory.cleanup()


class ProgressStream:
    """
    Standard error of a worker: it finds the percentages of progress bars, and shows nothing.

    Parameters
    ----------
    report : callable
        Called with each percentage that is new.
    """

    def __init__(self, report):
        self._report, self._last = report, None

    def write(self, text):
        """Look for percentages."""
        found = _PERCENT.findall(text)
        if found and found[-1] != self._last:
            self._last = found[-1]
            self._report(int(found[-1]))
        return len(text)

    def flush(self):
        """Do nothing: nothing is kept."""

    def isatty(self):
        """Return that it is no terminal."""
        return False


def serve(pipe):
    """
    Run the tasks that come through a pipe, until it is closed.

    Parameters
    ----------
    pipe : `multiprocessing.connection.Connection`
        Names and arguments come in, the fields of a `Message` go out.
    """
    from .tasks import run
    lock = Lock()   # tqdm has a thread that writes, too

    def send(*message):
        with lock:
            pipe.send(message)

    while True:
        try:
            task, arguments = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        sys.stderr = ProgressStream(lambda percent, task=task: send('progress', task, percent, []))
        try:
            kind, value, messages = run(task, arguments)
        finally:
            sys.stderr = sys.__stderr__
        send(kind, task, value, messages)
