# Licensed under a 3-clause BSD style license - see LICENSE
"""
Many files in one run.
"""

import os
import subprocess
import sys

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from click.testing import CliRunner

from astropy_n2v import CannotDenoiseError
from astropy_n2v.batch import FileRecord, denoise_files, find_inputs
from astropy_n2v.batch.summary import describe_images, image_values, summary_table, write_summary
from astropy_n2v.cli import main
from astropy_n2v.io import ImageResult, describe_error
from astropy_n2v.utils.atomic_files import atomic_write

pytestmark = pytest.mark.filterwarnings('ignore:the innovations have', 'ignore:the noise of neighbouring')


@pytest.fixture
def frames(tmp_path, rng):
    """Three small frames."""
    directory = tmp_path / 'in'
    directory.mkdir()
    paths = [directory / f'{name}.fits' for name in 'abc']
    for path in paths:
        fits.writeto(path, rng.normal(100, 5, (32, 40)).astype('f4'))
    return paths


def test_bad_file_does_not_stop_the_others(frames, tmp_path, tiny_denoiser):
    frames[1].write_bytes(b'nothing')
    records = denoise_files(frames, tmp_path / 'out', model=tiny_denoiser)
    assert [record.status for record in records] == ['done', 'failed', 'done']
    assert 'is not a FITS file' in records[1].error and str(frames[1]) not in records[1].error
    assert records[0].denoised == ['0 (PRIMARY,1)'] and records[0].seconds > 0 and records[0].error == ''
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['a_n2v.fits', 'c_n2v.fits']


def test_same_output_twice(frames, tmp_path, tiny_denoiser):
    other = tmp_path / 'a.fits'
    other.write_bytes(frames[0].read_bytes())
    first, second = denoise_files([frames[0], other], tmp_path / 'out', model=tiny_denoiser, overwrite=True)
    assert first.status == 'done'
    assert second.status == 'failed' and 'another file of this run is written to' in second.error
    assert 'the folder that both are in' in second.error


def test_same_name_in_two_folders(frames, tmp_path, tiny_denoiser):
    for night in ('night1', 'night2'):
        (tmp_path / 'both' / night).mkdir(parents=True)
        (tmp_path / 'both' / night / 'a.fits').write_bytes(frames[0].read_bytes())
    records = denoise_files(find_inputs([tmp_path / 'both']), tmp_path / 'out', model=tiny_denoiser)
    assert [record.status for record in records] == ['done', 'done']
    assert all((tmp_path / 'out' / night / 'a_n2v.fits').exists() for night in ('night1', 'night2'))


def test_no_input_is_overwritten(frames, tmp_path, tiny_denoiser):
    (record,) = denoise_files(frames[:1], frames[0].parent, suffix='', model=tiny_denoiser, overwrite=True)
    assert 'would overwrite its input' in record.error
    # Nor is the input of another file.
    other = frames[0].with_name('a_n2v.fits')
    frames[1].rename(other)
    before = other.read_bytes()
    first, second = denoise_files([frames[0], other], other.parent, model=tiny_denoiser, overwrite=True)
    assert 'would overwrite its input' in first.error and second.status == 'done'
    assert other.read_bytes() == before


def test_existing_output(frames, tmp_path, tiny_denoiser):
    for expected in ('done', 'failed'):
        (record,) = denoise_files(frames[:1], tmp_path, model=tiny_denoiser)
        assert record.status == expected
    assert 'exists' in record.error
    (record,) = denoise_files(frames[:1], tmp_path, model=tiny_denoiser, overwrite=True)
    assert record.status == 'done'


def test_callback(frames, tmp_path, tiny_denoiser):
    calls = []
    denoise_files(frames[:2], tmp_path, model=tiny_denoiser,
                  callback=lambda record: calls.append((record.path.name, record.status)))
    assert calls == [('a.fits', 'running'), ('a.fits', 'done'), ('b.fits', 'running'), ('b.fits', 'done')]


def test_model_from_a_file(frames, tmp_path, tiny_denoiser):
    tiny_denoiser.save(tmp_path / 'mine.safetensors')
    (record,) = denoise_files(frames[:1], tmp_path, model=tmp_path / 'mine.safetensors')
    header = fits.getheader(record.output)
    assert header['N2VMODEL'] == 'mine.safetensors' and header['N2VSHA'] == tiny_denoiser.sha256[:16]


def test_bad_model_is_an_error_of_the_run(frames, tmp_path):
    with pytest.raises(FileNotFoundError, match='none.safetensors'):
        denoise_files(frames, tmp_path / 'out', model='none.safetensors')
    assert not (tmp_path / 'out').exists()


def test_directory_that_cannot_be_made(frames, tmp_path, tiny_denoiser):
    (tmp_path / 'file').touch()
    for directory in (tmp_path / 'file', tmp_path / 'file' / 'out'):
        with pytest.raises(OSError, match='cannot make the directory'):
            denoise_files(frames, directory, model=tiny_denoiser)


def test_keywords_reach_denoise(frames, tmp_path, tiny_denoiser):
    (record,) = denoise_files(frames[:1], tmp_path, model=tiny_denoiser, strength=0.0, add_keyword=False)
    data, header = fits.getdata(record.output, header=True)
    assert np.array_equal(data, fits.getdata(frames[0])) and 'N2VVERS' not in header


def test_record_of_a_file_not_begun():
    assert FileRecord('a', 'b').denoised == []


def test_unforeseen_errors_tell_their_type():
    assert describe_error(KeyError('x'), 'a.fits') == "KeyError: 'x'"
    assert describe_error(MemoryError()) == 'MemoryError: MemoryError'
    assert describe_error(OSError('a.fits is truncated: 3 bytes'), 'a.fits') == 'is truncated: 3 bytes'
    assert describe_error(OSError('in/a\nb.fits is\n truncated'), 'in/a\nb.fits') == 'is truncated'
    assert describe_error(OSError('out/a\nb_n2v.fits\n exists'), 'in/a\nb.fits') == 'out/a\\nb_n2v.fits exists'
    assert describe_error(FileNotFoundError(2, 'No such file', 'c\n.fits'), 'a.fits') == 'c\\n.fits: No such file'
    assert describe_error(FileNotFoundError(2, 'No such file', 'b.fits'), 'a.fits') == 'b.fits: No such file'
    assert describe_error(FileNotFoundError(2, 'cannot write the journal j: No such file')) == (
        'cannot write the journal j: No such file')


def test_torch_is_not_imported():
    setup = f'import sys; sys.path[:] = {sys.path!r}; import astropy_n2v.io, astropy_n2v.batch, '
    code = setup + 'astropy_n2v.validation, astropy_n2v.validation.figures; print("torch" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout.strip() == 'False'


def test_file_that_failed_takes_no_name(frames, tmp_path, tiny_denoiser):
    records = denoise_files([tmp_path / 'missing' / 'a.fits', frames[0]], tmp_path / 'out', model=tiny_denoiser)
    assert [record.status for record in records] == ['failed', 'done']


def test_one_path_is_no_list(frames, tmp_path):
    with pytest.raises(TypeError, match='files must be a list of paths, got .*a.fits'):
        denoise_files(str(frames[0]), tmp_path / 'out')


def test_extension_in_a_name(frames, tmp_path, tiny_denoiser):
    first, second = denoise_files([f'{frames[0]}[0]', frames[1]], tmp_path, model=tiny_denoiser)
    assert (first.status, second.status) == ('done', 'done') and first.output == tmp_path / 'a_n2v.fits'
    with pytest.raises(ValueError, match=r"ext must not be given, as .*a.fits\[0\] names an extension itself; got 1"):
        denoise_files([f'{frames[0]}[0]'], tmp_path, ext=1, model=tiny_denoiser)


def test_extension_in_a_name_does_not_unprotect_the_file(frames, tiny_denoiser):
    (record,) = denoise_files([f'{frames[0]}[0]'], frames[0].parent, suffix='', model=tiny_denoiser, overwrite=True)
    assert 'would overwrite its input' in record.error


CARDS = fits.Header([('N2VMODEL', 'default-1x1'), ('N2VHOLE', '1x1'), ('N2VSIGMA', 5.123456), ('N2VNSRC', 'header'),
                     ('N2VGAIN', 1.9, '[electron/data unit] gain'), ('N2VMASK', 0.0123), ('N2VNOUT', 0.54321),
                     ('N2VAUDIT', 'ok')])


def test_line_about_an_image():
    image = ImageResult('0', '', CARDS)
    line = ('model default-1x1, hole 1x1, noise 5.123 -> 0.5432 (header), gain 1.9 (header), masked 1.23%, audit ok')
    assert describe_images([image]) == line
    refused = ImageResult('1', 'too odd', fits.Header())
    assert describe_images([image, refused, image]) == line and describe_images([refused]) == ''


def test_line_about_several_images():
    other = CARDS.copy()
    other['N2VSIGMA'], other['N2VAUDIT'] = 6.0, 'warning: flux'
    other['N2VGAIN'], other['N2VGSRC'] = 2.5, 'image'
    line = describe_images([ImageResult('1', '', CARDS), ImageResult('2', '', other)])
    assert 'noise 5.123 to 6 -> 0.5432' in line and 'gain 1.9 to 2.5 (header | image)' in line
    assert 'audit ok | warning: flux' in line


def test_line_without_cards_of_the_audit():
    cards = fits.Header([('N2VMODEL', 'm'), ('N2VHOLE', '1x1'), ('N2VSIGMA', 5.0), ('N2VNSRC', 'image')])
    assert describe_images([ImageResult('0', '', cards)]) == 'model m, hole 1x1, noise 5 (image)'


def test_table(tmp_path):
    records = [FileRecord('a.fits', 'out/a.fits', 'done', seconds=1.23456, images=[
        ImageResult('1', '', CARDS), ImageResult('2', 'too\nodd', fits.Header())]),
        FileRecord('b_\udcff.fits', 'out/b.fits', 'failed', 'no image', images=[
            ImageResult('', 'no image', fits.Header([('N2VAUDIT', 'refusal: flux')]))])]
    table = summary_table(records)
    assert list(table['status']) == ['denoised', 'unchanged', 'failed'] and list(table['file']) == [
        'a.fits', 'a.fits', 'b_\\udcff.fits']
    assert table['noise'][0] == 5.123456 and np.isnan(table['noise'][1:]).all() and table['error'][1] == 'too odd'
    assert list(table['output']) == ['out/a.fits', 'out/a.fits', ''] and table['gain_source'][0] == 'header'
    assert list(table['audit']) == ['ok', '', 'refusal: flux']
    write_summary(records, tmp_path / 'a.ecsv')
    read = Table.read(tmp_path / 'a.ecsv', format='ascii.ecsv')
    assert read.colnames == table.colnames and np.array_equal(read['masked'], table['masked'], equal_nan=True)
    with pytest.raises(FileExistsError, match='a.ecsv exists'):
        write_summary(records, tmp_path / 'a.ecsv')
    assert len(summary_table([])) == 0


def test_audit_of_a_file_that_was_refused(frames, tmp_path, tiny_denoiser, monkeypatch):
    class Report:
        def summary(self):
            return 'refusal: flux'

    def refuse(*args, **kwargs):
        error = CannotDenoiseError('the data exclude the result')
        error.report = Report()
        raise error

    monkeypatch.setattr('astropy_n2v.denoising.denoise', refuse)
    records = denoise_files([frames[0], tmp_path / 'none.fits'], tmp_path / 'out', model=tiny_denoiser)
    table = summary_table(records)
    assert list(table['status']) == ['failed', 'failed'] and list(table['audit']) == ['refusal: flux', '']
    assert list(table['error']) == ['the data exclude the result', 'No such file or directory']
    assert list((tmp_path / 'out').iterdir()) == []


def test_leftovers_of_killed_runs_are_removed(frames, tmp_path, tiny_denoiser):
    out = tmp_path / 'out'
    out.mkdir()
    process = subprocess.Popen([sys.executable, '-c', ''])
    process.wait()
    with atomic_write(out / 'a_n2v.fits') as mine:
        dead = out / mine.name.replace(f'-{os.getpid()}.', f'-{process.pid}.')
        dead.touch()
        (record,) = denoise_files(frames[1:2], out, model=tiny_denoiser)
        assert record.status == 'done' and not dead.exists() and mine.exists()


@pytest.mark.parametrize('overwrite', [False, True])
def test_another_batch_in_the_same_folder(frames, tmp_path, tiny_denoiser, overwrite):
    def meanwhile(record):
        if record.status == 'running':
            record.output.parent.mkdir(exist_ok=True)
            record.output.write_text('of another batch')

    (record,) = denoise_files(frames[:1], tmp_path / 'out', model=tiny_denoiser, overwrite=overwrite,
                              callback=meanwhile)
    assert record.status == ('done' if overwrite else 'failed')
    assert (record.output.read_bytes() == b'of another batch') is not overwrite
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['a_n2v.fits']


def test_unreadable_and_vanished_files(frames, tmp_path, tiny_denoiser):
    frames[0].unlink()
    frames[0].mkdir()

    def vanish(record):
        if record.status == 'running' and record.path == frames[1]:
            frames[1].unlink()

    records = denoise_files(frames, tmp_path / 'out', model=tiny_denoiser, callback=vanish, journal=tmp_path / 'j')
    assert [record.error for record in records] == ['Is a directory', 'No such file or directory', '']


def test_source_of_the_gain_is_no_text_for_people():
    cards = fits.Header([('N2VGAIN', 1.5, 'gain; not estimated from the set'), ('N2VGSRC', 'header')])
    assert image_values(ImageResult('0', '', cards))['gain_source'] == 'header'


def test_missing_model_is_found_first(frames, tmp_path, monkeypatch):
    monkeypatch.setattr('astropy_n2v.batch.set_noise.estimate_set_noise', pytest.fail)
    monkeypatch.setattr('astropy_n2v.batch.cluster.open_cluster', pytest.fail)
    result = CliRunner().invoke(main, ['denoise', *map(str, frames), '-o', str(tmp_path / 'out'), '--model', 'none.x',
                                       '--scheduler', 'local'])
    assert result.exit_code == 1 and result.stderr.startswith('Error: model must be a file'), result.output
    assert not (tmp_path / 'out').exists()
