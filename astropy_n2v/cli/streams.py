# Licensed under a 3-clause BSD style license - see LICENSE
"""
Standard streams that a run of hours does not stumble over, and its end by a signal.
"""

import errno
import os
import signal
import sys
import threading
from contextlib import contextmanager

__all__ = ['SafeStream', 'safe_streams']


class SafeStream:
    """
    A text stream that remembers failures in place of raising them.

    Parameters
    ----------
    stream : file object or None
        Where text goes; None if it is closed.

    Attributes
    ----------
    error : OSError or None
        Why text was lost; later text is dropped.
    """

    def __init__(self, stream):
        self._stream = stream
        self.error = None

    def __getattr__(self, name):
        if name == 'buffer':   # which click would write to by itself
            raise AttributeError(name)
        return getattr(self._stream, name)

    @property
    def encoding(self):
        """Encoding of the stream."""
        return getattr(self._stream, 'encoding', None) or 'utf-8'

    def isatty(self):
        """Ask if it is a terminal."""
        return self._stream is not None and self._stream.isatty()

    def write(self, text):
        """Write text; characters that the encoding lacks, such as in odd file names, become backslash escapes."""
        try:
            text.encode(self.encoding, getattr(self._stream, 'errors', None) or 'strict')
        except UnicodeEncodeError:
            text = text.encode(self.encoding, 'backslashreplace').decode(self.encoding)
        if text:
            self._call('write', text)
        return len(text)

    def flush(self):
        """Flush the stream."""
        if self._stream is not None:
            self._call('flush')

    def _call(self, name, *arguments):
        if self.error is not None:
            return
        try:
            if self._stream is None:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            getattr(self._stream, name)(*arguments)
        except (OSError, ValueError) as error:
            self.error = error
            self._discard()

    def _discard(self):
        """Send what is left in buffers nowhere, lest Python complains of it at its end."""
        try:
            descriptor = self._stream.fileno()
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, descriptor)
            os.close(null)
        except (AttributeError, OSError, ValueError):   # no file of the system
            pass


def _open_descriptors():
    """Open the standard descriptors that are closed, lest a result gets the number of one."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


@contextmanager
def _exiting_on_signals():
    """End by SystemExit when the process is asked to end, so that unfinished files are removed."""
    def end(number, frame):
        sys.exit(128 + number)

    names = ('SIGTERM', 'SIGHUP') if threading.current_thread() is threading.main_thread() else ()
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    # Not what is ignored, as by nohup.
    before = {number: signal.signal(number, end) for number in numbers
              if signal.getsignal(number) is signal.SIG_DFL}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def safe_streams():
    """
    Keep failing standard streams from ending what runs meanwhile; end with status 1 then.

    Raises
    ------
    SystemExit
        With a status that is not zero if text was lost, which is said on the other stream.
    """
    _open_descriptors()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = streams = [SafeStream(stream) for stream in before]
    status = None
    try:
        with _exiting_on_signals():
            yield
    except SystemExit as end:
        status = end.code or 0
    finally:
        lost = _report_losses(*streams)
        sys.stdout, sys.stderr = before
    if status is not None or lost:
        sys.exit(status or int(lost))


def _report_losses(stdout, stderr):
    """Say on the other stream what could not be written; return if there was anything."""
    for stream in stdout, stderr:
        stream.flush()
    for stream, other, name in (stdout, stderr, 'standard output'), (stderr, stdout, 'standard error'):
        if stream.error is not None:
            other.write(f'Error: cannot write to {name}: {getattr(stream.error, "strerror", None) or stream.error}\n')
            other.flush()
    return stdout.error is not None or stderr.error is not None
