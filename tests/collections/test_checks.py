# Licensed under a 3-clause BSD style license - see LICENSE
"""
Checks: each fault is found, and frames without any pass.
"""

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from astropy_n2v.collections import NOTES, check_manifest, make_manifest, split_manifest


@pytest.fixture
def night(tmp_path, rng):
    """Write a directory of ten frames of five fields."""
    for n in range(10):
        header = fits.Header({'INSTRUME': 'CAM', 'FILTER': 'r', 'OBJECT': f'field {n // 2}', 'BUNIT': 'adu'})
        fits.writeto(tmp_path / f'{n}.fits', rng.normal(500, 10, (32, 32)).astype('f4'), header)
    return tmp_path


def write(path, data, **cards):
    header = {'INSTRUME': 'CAM', 'FILTER': 'r', 'OBJECT': 'field 0', 'BUNIT': 'adu', **cards}
    fits.writeto(path, data.astype('f4'), fits.Header(header), overwrite=True)


def problems(folder, split=None, **options):
    """Return the problems that are found, and the names of the files."""
    found = check_manifest(folder if not isinstance(folder, os.PathLike) else make_manifest(folder), split, **options)
    return sorted((problem, os.path.basename(path)) for problem, path in zip(found['problem'], found['path']))


def test_all_is_well(night):
    manifest = make_manifest(night)
    found = check_manifest(manifest, split_manifest(manifest), hashes=True)
    assert len(found) == 0 and found.colnames == ['problem', 'path', 'ext', 'message']


def test_leak(night):
    manifest = make_manifest(night)
    split = split_manifest(manifest)
    frames = [dict(frame) for frame in split.frames]
    moved = next(frame for frame in frames if frame['split'] == 'test')
    moved['split'] = 'train'
    assert [problem for problem, _ in problems(manifest, replace(split, frames=frames))] == ['leak']


def test_fields_that_a_split_by_frame_shares(night):
    """A note for each field that is in several parts, with how many files of it are in which."""
    manifest = make_manifest(night)
    split = split_manifest(manifest, by='frame')
    found = check_manifest(manifest, split)
    parts = np.array([split.column(manifest) == name for name in ('train', 'validation', 'test')])
    shared = [n for n in range(5) if parts[:, 2 * n:2 * n + 2].any(axis=1).sum() > 1]
    assert shared and set(found['problem'].tolist()) == set(NOTES) == {'shared field'}
    assert [os.path.basename(path) for path in found['path']] == [f'{2 * n}.fits' for n in shared]
    assert all('1 in train' in message and 'other fields' in message for message in found['message'])
    assert len(check_manifest(manifest, split_manifest(manifest))) == 0


def test_file_that_never_could_be_read(night):
    """It is reported once, there or not."""
    os.symlink('gone', night / 'dangling.fits')
    assert problems(night) == [('unreadable', 'dangling.fits')]


def test_duplicate(night):
    shutil.copy(night / '3.fits', night / 'copy.fits')
    assert problems(night) == [('duplicate', 'copy.fits')]
    manifest = make_manifest(night)
    split = split_manifest(manifest)
    parts = dict(zip(manifest['path'].tolist(), split.column(manifest).tolist()))
    assert parts[str(night / '3.fits')] == parts[str(night / 'copy.fits')]


def test_truncated(night):
    content = (night / '3.fits').read_bytes()
    (night / '3.fits').write_bytes(content[:-3000])
    assert problems(night) == [('unreadable', '3.fits')]


def test_changed_and_missing(night, rng):
    manifest = make_manifest(night)
    (night / '1.fits').unlink()
    write(night / '3.fits', rng.normal(500, 10, (32, 32)))
    os.utime(night / '5.fits', ns=(0, 0))   # touched, but the same
    assert problems(manifest) == [('changed', '3.fits'), ('missing', '1.fits')]


def test_content_that_changed_behind_the_same_size_and_time(night):
    manifest = make_manifest(night)
    state = os.stat(night / '3.fits')
    content = bytearray((night / '3.fits').read_bytes())
    content[3000] ^= 1
    (night / '3.fits').write_bytes(content)
    os.utime(night / '3.fits', ns=(state.st_atime_ns, state.st_mtime_ns))
    assert problems(manifest) == []
    assert problems(manifest, hashes=True) == [('changed', '3.fits')]


@pytest.mark.parametrize(('problem', 'make'), [
    ('non-finite', lambda rng: np.full((32, 32), np.nan)),
    ('constant', lambda rng: np.full((32, 32), 3.0)),
    ('noise', lambda rng: rng.normal(500, 1000, (32, 32))),
    ('noise', lambda rng: rng.normal(500, 0.1, (32, 32))),
    ('saturated', lambda rng: np.where(np.arange(32) < 16, 60000, rng.normal(500, 10, (32, 32)))),
])
def test_frames_that_are_not_to_be_trained_on(night, rng, problem, make):
    write(night / '3.fits', make(rng), OBJECT='field 1', SATURATE=60000)
    assert problems(night) == [(problem, '3.fits')]


def test_unit(night, rng):
    write(night / '3.fits', rng.normal(500, 10, (32, 32)), OBJECT='field 1', BUNIT='electron')
    assert problems(night) == [('unit', '3.fits')]
    write(night / '3.fits', rng.normal(500, 10, (32, 32)), OBJECT='field 1', BUNIT='electron', INSTRUME='OTHER')
    assert problems(night) == []


def test_frames_of_unknown_instruments_are_not_compared(night, rng):
    for n in range(10):
        unit = 'electron' if n == 3 else 'adu'
        write(night / f'{n}.fits', rng.normal(500, 300 if n == 4 else 10, (32, 32)), OBJECT=f'field {n // 2}',
              BUNIT=unit)
    assert problems(night) == [('noise', '4.fits'), ('unit', '3.fits')]
    for n in range(10):
        fits.delval(night / f'{n}.fits', 'INSTRUME')
    assert problems(night) == []


def test_results_are_no_frames(night, rng):
    write(night / '3.fits', rng.normal(500, 1, (32, 32)), N2VVERS='1.0')
    assert problems(night) == [('unreadable', '3.fits')]
    manifest = make_manifest(night)
    assert 'N2VVERS' in ''.join(manifest['error'].tolist())
    assert str(night / '3.fits') not in [frame['path'] for frame in split_manifest(manifest).frames]


def test_some_bad_pixels_are_no_problem(night, rng):
    data = rng.normal(500, 10, (32, 32))
    data[:4], data[10:12, 10:12] = np.nan, 60000
    write(night / '3.fits', data, OBJECT='field 1', SATURATE=60000)
    assert problems(night) == []


def test_split_of_another_catalogue(night, rng):
    manifest = make_manifest(night)
    split = split_manifest(manifest)
    (night / '1.fits').unlink()
    write(night / 'new.fits', rng.normal(500, 10, (32, 32)), OBJECT='field 7')
    assert problems(make_manifest(night), split) == [('not in manifest', '1.fits'), ('not in split', 'new.fits')]
