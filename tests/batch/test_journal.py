# Licensed under a 3-clause BSD style license - see LICENSE
"""
The journal of a batch, and what it knows about results.
"""

import json
import os
import threading

import numpy as np
import pytest
from astropy.io import fits
from click.testing import CliRunner

from astropy_n2v import denoise
from astropy_n2v.batch import FileRecord, Journal, denoise_files, latest_entries, read_journal, summary_table
from astropy_n2v.batch.fingerprints import digest, is_unchanged, named_file, plain
from astropy_n2v.batch.journal import KnownResults
from astropy_n2v.cli import main
from astropy_n2v.cli.common import Reporter
from astropy_n2v.cli.denoise import Progress
from astropy_n2v.noise import NoiseModel

pytestmark = pytest.mark.filterwarnings('ignore:the innovations have', 'ignore:the noise of neighbouring')


@pytest.fixture
def frames(tmp_path, rng):
    """Two small frames."""
    (tmp_path / 'in').mkdir()
    paths = [tmp_path / 'in' / f'{name}.fits' for name in 'ab']
    for path in paths:
        fits.writeto(path, rng.normal(100, 5, (32, 40)).astype('f4'))
    return paths


@pytest.fixture(name='denoise')
def run_again(frames, tmp_path, tiny_denoiser):
    """Denoise the frames with a journal, and return the status or the error of each."""
    def run(files=frames, model=tiny_denoiser, **options):
        options = {'skip_existing': True, 'per_frame': True, **options}
        records = denoise_files(files, tmp_path / 'out', model=model, **options)
        return [record.error or record.status for record in records]
    return run


def test_lines(frames, tmp_path, tiny_denoiser):
    records = denoise_files([frames[0], tmp_path / 'none.fits'], tmp_path / 'out', model=tiny_denoiser, per_frame=True,
                            journal=tmp_path / 'j.jsonl', strength=0.5)
    done, failed = read_journal(tmp_path / 'j.jsonl')
    assert (done['status'], failed['status'], failed['error']) == ('done', 'failed', 'No such file or directory')
    assert done['output']['path'] == 'out/a_n2v.fits' and done['model'] == 'tiny' and done['options']['strength'] == 0.5
    assert is_unchanged(done['input'], frames[0]) and is_unchanged(done['output'], records[0].output)
    assert done['images'][0]['noise'] > 0 and done['images'][0]['audit'] and done['seconds'] > 0
    assert any('no BUNIT' in text for text in done['warnings'])
    # The same table from the records and from the journal.
    one, other = summary_table(records), summary_table([done, failed])
    for name in set(one.colnames) - {'output', 'seconds'}:
        assert np.array_equal(one[name], other[name], equal_nan=one[name].dtype.kind == 'f'), name


def test_names_that_are_no_text(tmp_path):
    journal = Journal(tmp_path / 'j')
    journal.append({'path': 'b\udcff.fits', 'noise': float('nan'), 'list': [np.inf]})
    (entry,) = read_journal(tmp_path / 'j')
    assert os.fsencode(entry['path']) == b'b\xff.fits' and entry['noise'] is None and entry['list'] == [None]


def test_line_that_was_cut_off(tmp_path):
    journal = Journal(tmp_path / 'j')
    done = {'status': 'done', 'output': {'path': 'a'}}
    journal.append(done)
    with open(journal.path, 'ab') as file:
        file.write(b'{"journal": 1, "sta')
    known = KnownResults(journal)
    assert known.entry(tmp_path / 'a')['status'] == 'done' and known.entry(tmp_path / 'b') is None
    journal.append({**done, 'output': {'path': 'b'}})
    assert known.entry(tmp_path / 'b')['status'] == 'done'   # it looks again
    assert [entry['output']['path'] for entry in read_journal(journal.path)] == ['a', 'b']


def test_many_writers(tmp_path):
    def write(name):
        journal = Journal(tmp_path / 'j')
        for i in range(50):
            journal.append({'name': name, 'i': i, 'text': 'x' * 5000})

    threads = [threading.Thread(target=write, args=(name,)) for name in 'abc']
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries = read_journal(tmp_path / 'j')
    assert {name: [entry['i'] for entry in entries if entry['name'] == name] for name in 'abc'} == dict.fromkeys(
        'abc', list(range(50)))


def test_other_files_are_no_journals(tmp_path):
    (tmp_path / 'j').write_text('{"a": 1}\n[]\n')
    with pytest.raises(ValueError, match='j is not a journal of astropy_n2v'):
        read_journal(tmp_path / 'j')
    (tmp_path / 'empty').touch()
    assert read_journal(tmp_path / 'empty') == []


@pytest.mark.parametrize(('name', 'reason'), [('none/j', 'there is no folder .*none'), ('folder', 'it is a folder')])
def test_journal_that_cannot_be_written(frames, tmp_path, name, reason):
    """Found at the start: no file was opened."""
    (tmp_path / 'folder').mkdir()
    with pytest.raises(OSError, match=f'cannot write the journal .*{name}: {reason}'):
        denoise_files(frames, tmp_path / 'out', journal=tmp_path / name, callback=pytest.fail)
    assert list((tmp_path / 'out').iterdir()) == []


def test_journal_that_may_not_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr('os.access', lambda path, mode: False)
    with pytest.raises(PermissionError, match='cannot write the journal .*j: writing is not allowed'):
        Journal(tmp_path / 'j').check()


def test_folder_of_the_journal_is_missing(frames, tmp_path):
    arguments = ['denoise', frames[0], '-o', tmp_path / 'out', '--journal', tmp_path / 'none' / 'j']
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 1
    assert f'Error: cannot write the journal {tmp_path / "none" / "j"}: there is no folder' in result.output


def test_disk_fails_under_the_journal(frames, tmp_path, tiny_denoiser, caplog, monkeypatch):
    def fail(descriptor, line):
        raise OSError(5, 'Input/output error')

    monkeypatch.setattr('astropy_n2v.batch.journal._append', fail)
    (record,) = denoise_files(frames[:1], tmp_path / 'out', model=tiny_denoiser, journal=tmp_path / 'j')
    assert record.status == 'failed' and 'cannot write the journal' in record.error
    assert list((tmp_path / 'out').iterdir()) == [] and 'cannot write the journal' in caplog.text


def test_second_run_skips(denoise, frames, tmp_path):
    assert denoise() == ['done', 'done']
    before = (tmp_path / 'out' / 'a_n2v.fits').stat().st_mtime_ns
    assert denoise() == ['skipped', 'skipped']
    os.utime(frames[0])   # another time, the same content
    assert denoise(overwrite=True) == ['skipped', 'skipped']
    assert (tmp_path / 'out' / 'a_n2v.fits').stat().st_mtime_ns == before
    (tmp_path / 'out' / 'b_n2v.fits').unlink()
    assert denoise() == ['skipped', 'done']
    assert len(read_journal(tmp_path / 'out' / 'n2v-journal.jsonl')) == 3
    (tmp_path / 'out').rename(tmp_path / 'elsewhere')
    (tmp_path / 'elsewhere').rename(tmp_path / 'out')
    assert denoise() == ['skipped', 'skipped']


def test_input_that_changed(denoise, frames, rng):
    denoise()
    fits.writeto(frames[0], rng.normal(100, 5, (32, 40)).astype('f4'), overwrite=True)
    first, second = denoise()
    assert 'a.fits is not what it was made from: use overwrite (--overwrite)' in first and second == 'skipped'
    assert denoise(overwrite=True) == ['done', 'skipped']


def test_other_input_of_the_same_time_and_size(denoise, frames, tmp_path, rng):
    denoise()
    other = tmp_path / 'a.fits'
    fits.writeto(other, rng.normal(100, 5, (32, 40)).astype('f4'))
    status = os.stat(frames[0])
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert 'is not what it was made from' in denoise([other])[0]
    other.write_bytes(frames[0].read_bytes())
    assert denoise([other]) == ['skipped']


@pytest.mark.parametrize('options, expected', [
    ({'strength': 0.5}, 'options are not those'),
    ({'noise': NoiseModel(5.0), 'per_frame': False}, 'noise of the set is'),
    ({'ext': 0}, 'options are not those'), ({'device': 'cpu', 'progress_bar': False}, 'skipped')])
def test_other_options(denoise, options, expected):
    denoise()
    assert all(expected in status for status in denoise(**options))


def test_other_model(denoise, tmp_path, tiny_denoiser):
    from models import make_tiny_denoiser
    denoise()
    assert 'model is not' in denoise(model=make_tiny_denoiser(seed=1))[0]
    # The same weights, whatever the file is called.
    tiny_denoiser.save(tmp_path / 'm.safetensors')
    assert denoise(model=tmp_path / 'm.safetensors') == ['skipped', 'skipped']


def test_mask_of_another_content(denoise, tmp_path):
    mask = np.zeros((32, 40), 'u1')
    fits.writeto(tmp_path / 'bad.fits', mask)
    denoise(mask=tmp_path / 'bad.fits')
    assert denoise(mask=str(tmp_path / 'bad.fits')) == ['skipped', 'skipped']
    mask[0, 0] = 1
    fits.writeto(tmp_path / 'bad.fits', mask, overwrite=True)
    assert 'options are not' in denoise(mask=tmp_path / 'bad.fits')[0]


def test_results_that_nobody_knows(denoise, tmp_path):
    denoise()
    (tmp_path / 'out' / 'n2v-journal.jsonl').unlink()
    assert 'n2v-journal.jsonl does not know it: use overwrite' in denoise()[0]
    assert denoise(overwrite=True) == ['done', 'done']
    with open(tmp_path / 'out' / 'a_n2v.fits', 'ab') as file:
        file.write(b'x')
    assert 'it was changed since it was made' in denoise()[0]


def test_noise_of_the_set_is_taken_again(frames, denoise, tmp_path, rng):
    for path in frames:
        fits.writeto(path, rng.normal(100, 5, (64, 64)).astype('f4'), overwrite=True)
    assert denoise(per_frame=False) == ['done', 'done']
    fits.writeto(tmp_path / 'in' / 'c.fits', rng.normal(100, 9, (64, 64)).astype('f4'))
    assert denoise([*frames, tmp_path / 'in' / 'c.fits'], per_frame=False) == ['skipped', 'skipped', 'done']
    assert [path.name for path in (tmp_path / 'out').glob('*.json')] == ['n2v-noise.json']


def test_input_that_changes_meanwhile(denoise, frames, tmp_path, monkeypatch):
    from astropy_n2v import denoising
    function = denoising.denoise

    def change(*arguments, **options):
        with open(frames[0], 'ab') as file:
            file.write(bytes(2880))
        return function(*arguments, **options)

    monkeypatch.setattr(denoising, 'denoise', change)
    assert denoise(frames[:1]) == ['changed while it was denoised']
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['n2v-journal.jsonl']


def test_digests_of_options():
    values = [None, True, 1.5, 'a', np.float32(2), np.arange(3), np.arange(3.0), [1, {'b': 2}], NoiseModel(5.0),
              NoiseModel(6.0), {1, 2}, 3j]
    assert len({digest(value) for value in values}) == len(values)
    assert digest(np.arange(6)[::2]) == digest(np.array([0, 2, 4])) and json.dumps(plain(values))
    assert named_file('SCI') == 'SCI'


def test_two_runs_at_the_same_time(frames, tmp_path, tiny_denoiser, monkeypatch):
    """The other run is faster by a hair with the first file."""
    options = {'model': tiny_denoiser, 'per_frame': True, 'skip_existing': True}
    other = []

    def slow(ccd, *arguments, **keywords):
        if not other:
            other.append(None)
            other[0] = denoise_files(frames[:1], tmp_path / 'out', **options)[0]
        return denoise(ccd, *arguments, **keywords)

    monkeypatch.setattr('astropy_n2v.denoising.denoise', slow)
    records = denoise_files(frames, tmp_path / 'out', **options)
    assert other[0].status == 'done' and [record.status for record in records] == ['skipped', *['done'] * (
        len(frames) - 1)]
    entries = read_journal(tmp_path / 'out' / 'n2v-journal.jsonl')
    assert {entry['status'] for entry in latest_entries(entries)} == {'done'}
    again = denoise_files(frames, tmp_path / 'out', **options)
    assert {record.status for record in again} == {'skipped'}
    assert again[0].entry['output']['mtime_ns'] == records[0].output.stat().st_mtime_ns


def test_numbers_of_files_that_another_run_finishes(capsys):
    records = [FileRecord(f'{name}.fits', f'out/{name}.fits', 'running') for name in 'ab']
    progress = Progress(Reporter(), 2)
    for record in records:
        progress(record)
    records[0].status = 'skipped'
    progress(records[0])
    assert capsys.readouterr().err.splitlines() == ['[1/2] a.fits', '[2/2] b.fits',
                                                    '[1/2] a.fits is there and current']
