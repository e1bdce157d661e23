# Licensed under a 3-clause BSD style license - see LICENSE
"""
Files that are whole or not there.
"""

import errno
import os
import subprocess
import sys

import pytest

from astropy_n2v.utils.atomic_files import atomic_write, process_is_alive, remove_leftovers, temporary_file


@pytest.fixture
def dead():
    """Return the number of a process that has ended."""
    process = subprocess.Popen([sys.executable, '-c', ''])
    process.wait()
    return process.pid


@pytest.mark.skipif(os.name != 'posix', reason='processes cannot be asked there')
def test_leftovers_of_dead_processes_go(tmp_path, dead):
    with atomic_write(tmp_path / 'a.b.fits') as mine:
        (tmp_path / mine.name.replace(str(os.getpid()), str(dead))).touch()
        (tmp_path / mine.name.replace(f'-{os.getpid()}', f'-elsewhere-{dead}')).touch()   # of another host
        (tmp_path / '.hidden.part.fits').touch()
        assert [path.name for path in remove_leftovers(tmp_path)] == [mine.name.replace(str(os.getpid()), str(dead))]
        assert len(list(tmp_path.iterdir())) == 3
    assert not process_is_alive(dead) and process_is_alive(1)


@pytest.mark.skipif(os.name != 'posix', reason='processes cannot be asked there')
def test_temporary_files_of_dead_processes_go(tmp_path, dead):
    with temporary_file(tmp_path) as mine:
        name = os.path.basename(mine.name)
        assert remove_leftovers(tmp_path) == []
        (tmp_path / name.replace(f'-{os.getpid()}.', f'-{dead}.')).touch()
        assert len(remove_leftovers(tmp_path)) == 1
    assert list(tmp_path.iterdir()) == []


def test_long_names(tmp_path):
    name = 'é' * 122 + '.fits'   # 249 bytes
    with atomic_write(tmp_path / name) as temporary:
        temporary.write_text('x')
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_first_of_two_writers_wins(tmp_path, monkeypatch):
    # The other one's file appears after the last look, before the name is given.
    monkeypatch.setattr('astropy_n2v.utils.atomic_files._sync', lambda path: (tmp_path / 'a').write_text('other'))
    looks = []
    from astropy_n2v.utils import atomic_files
    look = atomic_files._refuse_existing
    monkeypatch.setattr(atomic_files, '_refuse_existing',
                        lambda *arguments: looks.append(1) or (len(looks) == 2 or look(*arguments)))
    with pytest.raises(FileExistsError, match='a exists'), atomic_write(tmp_path / 'a') as temporary:
        temporary.write_text('mine')
    assert (tmp_path / 'a').read_text() == 'other' and len(looks) == 3


def test_file_system_without_links(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.EPERM, 'Operation not permitted')

    monkeypatch.setattr(os, 'link', refuse)
    with atomic_write(tmp_path / 'a') as temporary:
        temporary.write_text('x')
    assert [path.name for path in tmp_path.iterdir()] == ['a']


def test_file_that_does_not_reach_the_disk_does_not_appear(tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, 'fsync', fail)
    with pytest.raises(OSError, match='Input/output error'), atomic_write(tmp_path / 'a') as temporary:
        temporary.write_text('x')
    assert list(tmp_path.iterdir()) == []
