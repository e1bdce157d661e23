# Licensed under a 3-clause BSD style license - see LICENSE
"""
Standard streams that cannot be written to, or cannot print a name.
"""

import errno
import io
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from astropy.io import fits

from astropy_n2v.cli.streams import SafeStream, safe_streams

_RUN = [sys.executable, '-c', f'import sys; sys.path[:] = {sys.path!r}; from astropy_n2v.cli import main; main()']


class FullDevice(io.StringIO):
    """Raises when it is written to, or flushed."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def write(self, text):
        if self.at == 'write':
            raise OSError(errno.ENOSPC, 'No space left on device')
        return super().write(text)

    def flush(self):
        if self.at == 'flush':
            raise BrokenPipeError(errno.EPIPE, 'Broken pipe')


@pytest.mark.parametrize(('encoding', 'errors', 'text', 'expected'), [
    ('utf-8', 'strict', 'a_\udcff.fits', b'a_\\udcff.fits'),
    ('utf-8', 'surrogateescape', 'a_\udcff.fits', b'a_\xff.fits'),
    ('ascii', 'strict', 'é', b'\\xe9'), ('latin-1', 'strict', 'é_日', b'\xe9_\\u65e5'),
    ('utf-8', 'strict', 'é', b'\xc3\xa9'),
    ('ascii', 'replace', 'é', b'?')])
def test_text_that_cannot_be_encoded(encoding, errors, text, expected):
    raw = io.BytesIO()
    stream = SafeStream(io.TextIOWrapper(raw, encoding=encoding, errors=errors))
    stream.write(text)
    stream.flush()
    assert raw.getvalue() == expected and stream.error is None


@pytest.mark.parametrize('broken', ['stdout', 'stderr'])
@pytest.mark.parametrize('make', [lambda: FullDevice('write'), lambda: FullDevice('flush'), lambda: None])
def test_lost_text_is_told_on_the_other_stream(monkeypatch, broken, make):
    other = io.StringIO()
    monkeypatch.setattr(sys, broken, make())
    monkeypatch.setattr(sys, 'stderr' if broken == 'stdout' else 'stdout', other)
    reached = []
    with pytest.raises(SystemExit) as end, safe_streams():
        for _ in range(3):
            print('text', file=getattr(sys, broken), flush=True)
            reached.append(1)
    assert end.value.code == 1 and len(reached) == 3
    name = {'stdout': 'output', 'stderr': 'error'}[broken]
    assert other.getvalue().startswith(f'Error: cannot write to standard {name}: ')
    assert other.getvalue().count('\n') == 1


def test_status_of_a_failure_stays():
    with pytest.raises(SystemExit) as end, safe_streams():
        sys.exit(2)
    assert end.value.code == 2
    with safe_streams():
        assert isinstance(sys.stdout, SafeStream)
    assert not isinstance(sys.stdout, SafeStream)


def test_closed_stream_that_is_not_needed(monkeypatch):
    monkeypatch.setattr(sys, 'stderr', None)
    with safe_streams():
        print('text')


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='there is no /dev/full')
@pytest.mark.parametrize('arguments', [['models'], ['--help'], ['--version'], ['models', '--help']])
def test_full_device(arguments):
    with open('/dev/full', 'w') as full:
        done = subprocess.run([*_RUN, *arguments], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == 'Error: cannot write to standard output: No space left on device\n'


@pytest.mark.skipif(os.name != 'posix', reason='closes descriptors by the shell')
def test_closed_streams():
    for closed in '>&-', '2>&-', '>&- 2>&-':
        done = subprocess.run(['sh', '-c', f'"$@" {closed}', 'sh', *_RUN, 'models'], capture_output=True, text=True)
        assert done.returncode == (0 if closed == '2>&-' else 1)
        message = 'Error: cannot write to standard output: Bad file descriptor\n'
        assert done.stderr == (message if closed == '>&-' else '')


@pytest.mark.skipif(sys.platform in ('win32', 'darwin'), reason='names of files are Unicode there')
def test_name_that_cannot_be_printed(tmp_path, rng, tiny_denoiser):
    names = [b'bad_\xff.fits', 'Galaxie_é_日.fits'.encode(), b'c.fits']
    for name in names:
        fits.writeto(os.path.join(tmp_path, os.fsdecode(name)), rng.normal(100, 5, (32, 40)).astype('f4'))
    tiny_denoiser.save(tmp_path / 'm.safetensors')
    done = subprocess.run([*_RUN, 'denoise', *names, '-o', 'out', '--model', 'm.safetensors'], cwd=tmp_path,
                          capture_output=True, env={**os.environ, 'PYTHONIOENCODING': 'utf-8:strict'})
    assert done.returncode == 0 and b'3 of 3 files denoised' in done.stdout
    assert b'bad_\\udcff.fits -> out' in done.stdout and 'Galaxie_é_日.fits -> out'.encode() in done.stdout
    assert b'bad_\xff_n2v.fits' in os.listdir(os.fsencode(tmp_path / 'out'))


@pytest.mark.skipif(os.name != 'posix', reason='sends a signal')
def test_nothing_is_left_when_the_process_is_asked_to_end(tmp_path):
    fits.writeto(tmp_path / 'a.fits', np.random.default_rng(0).normal(100, 5, (64, 64)).astype('f4'))
    process = subprocess.Popen([*_RUN, 'denoise', 'a.fits', '-o', 'out', '--model', 'self'], cwd=tmp_path,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    end = time.monotonic() + 60
    while not (tmp_path / 'out').exists() or not list((tmp_path / 'out').iterdir()):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert list((tmp_path / 'out').iterdir()) == []
