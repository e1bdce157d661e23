# Licensed under a 3-clause BSD style license - see LICENSE
"""
The command line.
"""

import hashlib
import json
import os
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from click.testing import CliRunner
from models import make_tiny_denoiser

from astropy_n2v import Denoiser, __version__
from astropy_n2v.cli import main
from astropy_n2v.cli.common import expand_files, parse_bits
from astropy_n2v.cli.demo import _KINDS
from astropy_n2v.simulate import SCENE_KINDS
from astropy_n2v.training.options import TRAINING_OPTIONS
from astropy_n2v.weights import shipped as weights


@pytest.fixture
def run():
    def run_main(*arguments):
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        # A traceback is never the answer.
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result
    return run_main


@pytest.fixture
def frames(tmp_path, rng):
    """Three small frames, white noise on a flat sky."""
    paths = [tmp_path / f'{name}.fits' for name in 'abc']
    for path in paths:
        fits.writeto(path, rng.normal(100, 5, (40, 48)).astype('f4'))
    return paths


@pytest.fixture
def model(tmp_path, tiny_denoiser):
    path = tmp_path / 'tiny.safetensors'
    tiny_denoiser.save(path)
    return path


@pytest.fixture
def page():
    """Read a page of the documentation, which is not part of an installation."""
    def read(name):
        path = Path(__file__).parents[2] / name
        if not path.exists():
            pytest.skip('there is no documentation')
        return path.read_text(encoding='utf-8')
    return read


def test_version(run):
    assert run('--version').stdout.strip().endswith(__version__)


def test_help_lists_the_commands(run):
    text = run('--help').stdout
    assert all(name in text for name in ('demo', 'denoise', 'models', 'noise', 'train', '--quiet'))


def test_page_lists_the_commands(page):
    rows = re.findall(r'^``([a-z]+)``  +.*`_?$', page('docs/command_line.rst'), re.MULTILINE)   # a link at the end
    assert sorted(rows) == main.list_commands(None)


def test_help_of_detect_explains_columns(run, page):
    text = run('detect', '--help').stdout
    columns = 'significance', 'false_share', 'flag'
    assert all(f'    {name} ' in text for name in columns)
    (name,) = re.findall(r'docs/\w+\.rst', text)
    assert all(f'``{column}`` is' in page(name) for column in columns)


@pytest.mark.parametrize(('command', 'options'), [
    ('denoise', ['--suffix', '--ext', '--model', '--gain', '--readnoise', '--satlevel', '--hole', '--strength',
                 '--reject-outliers', '--audit', '--uncertainty', '--summary', '--fill-masked', '--tile-size',
                 '--device', '--seed', '--ignore-bits', '--overwrite', '--no-keyword', '--mask', '--full-output',
                 '--noise', '--per-frame', '--journal', '--skip-existing', '--shard', '--files-from', '--catalog',
                 '--where', '--jobs', '--scheduler', '--cosmic-rays', '--flag-outliers', '--replace-uncertainty',
                 '--quantize',
                 *(f'--{name.replace("_", "-")}' for name, option in TRAINING_OPTIONS.items() if option.help)]),
    ('train', ['--init', '--hole', '--max-steps', '--max-time', '--patience', '--min-delta', '--held-out', '--seed',
               '--batch-size', '--patch-size', '--learning-rate', '--checkpoint', '--overwrite', '--mask',
               '--ignore-bits']),
    ('validate', ['--strength', '--hole', '--gain', '--readnoise', '--satlevel']),
    ('noise', ['--output', '--ext', '--satlevel', '--max-frames', '--mask', '--ignore-bits', '--overwrite']),
    ('demo', ['--kind', '--size', '--seed', '--model']), ('models', ['--json']),
    ('summary', ['--table', '--plot', '--overwrite'])])
def test_options(run, command, options):
    text = run(command, '--help').stdout
    assert [option for option in options if option not in text] == []


@pytest.mark.parametrize('arguments', [
    ['denoise'], ['denoise', 'a.fits'], ['denoise', '-o', 'x'], ['nonsense'], ['train', 'a.fits'],
    ['denoise', 'a.fits', '-o', 'x', '--hole', '2'], ['denoise', 'a.fits', '-o', 'x', '--hole', '1x33'],
    ['denoise', 'a.fits', '-o', 'x', '--strength', '2'], ['denoise', 'a.fits', '-o', 'x', '--gain', '-1'],
    ['denoise', 'a.fits', '-o', 'x', '--ignore-bits', '3,5'], ['denoise', 'a.fits', '-o', 'x', '--max-steps', '5'],
    ['denoise', 'a.fits', 'b.fits', '-o', 'x', '--model', 'self', '--checkpoint', 'c'],
    ['denoise', 'a.fits', 'b.fits', '-o', 'x', '--model', 'self', '--log', 'c.csv'],
    ['denoise', 'a.fits', '-o', 'x', '--audit', 'never'], ['denoise', 'a.fits[1]', '-o', 'x', '--ext', '2'],
    ['train', 'a.fits[1]', '-o', 'x', '--ext', '2'], ['validate', 'a.fits[1]', '--ext', '2'],
    ['demo', '--kind', 'nonsense']])
def test_usage_errors(run, arguments):
    result = run(*arguments)
    assert result.exit_code == 2
    assert 'Error' in result.stderr


def test_denoise(run, frames, model, tmp_path):
    result = run('denoise', frames[0], '-o', tmp_path / 'out', '--model', model, '--suffix', '_clean')
    assert result.exit_code == 0, result.stderr
    assert f'{frames[0]} -> {tmp_path / "out" / "a_clean.fits"}  HDU 0 (PRIMARY,1)' in result.stdout
    with fits.open(tmp_path / 'out' / 'a_clean.fits') as hdus:
        assert hdus[0].header['N2VMODEL'] == 'tiny.safetensors' and hdus[1].name == 'UNCERT'


def test_denoise_with_the_default_model(run, frames, tmp_path):
    assert run('denoise', frames[0], '-o', tmp_path).exit_code == 0
    assert fits.getdata(tmp_path / 'a_n2v.fits').std() < fits.getdata(frames[0]).std() / 2


def test_denoise_with_training(run, frames, tmp_path):
    result = run('denoise', frames[0], '-o', tmp_path, '--model', 'self', '--max-steps', '2', '--seed', '3')
    assert result.exit_code == 0, result.stderr
    assert fits.getheader(tmp_path / 'a_n2v.fits')['N2VMODEL'] == 'self'


def test_denoise_with_all_options_of_training(run, frames, tmp_path):
    options = ['--max-steps', '3', '--max-time', '60', '--patch-size', '32', '--batch-size', '1', '--learning-rate',
               '1e-3', '--patience', '2', '--min-delta', '0.1', '--held-out', '0.2']
    result = run('denoise', frames[0], '-o', tmp_path, '--model', 'adapt', *options, '--checkpoint', tmp_path / 'state')
    assert result.exit_code == 0, result.stderr
    assert 'no BUNIT: the data are taken to be in adu' in result.stderr


def test_denoise_with_mask_and_full_output(run, frames, model, tmp_path):
    mask = np.zeros((40, 48), dtype='u1')
    mask[7, 8:11] = 1
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(mask, name='BAD')]).writeto(tmp_path / 'bad.fits')
    result = run('denoise', frames[0], '-o', tmp_path, '--model', model, '--mask', f'{tmp_path / "bad.fits"}[BAD]',
                 '--full-output')
    assert result.exit_code == 0, result.stderr
    with fits.open(tmp_path / 'a_n2v.fits') as hdus:
        assert [hdu.name for hdu in hdus[1:]] == ['MASK', 'UNCERT', 'BLIND', 'SPREAD', 'INNOVATION', 'OUTLIER', 'NOISE']
        np.testing.assert_array_equal(np.isnan(hdus['INNOVATION'].data), mask)
        np.testing.assert_array_equal(hdus['MASK'].data, mask)
    result = run('denoise', frames[0], '-o', tmp_path, '--model', model, '--overwrite', '--mask', 'NONE')
    assert result.exit_code == 1 and "mask must be a file or an extension, got 'NONE'" in result.stderr


def test_all_masked_extension_passes_through(run, frames, model, tmp_path):
    path = tmp_path / 'mef.fits'
    fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU(fits.getdata(frames[0]), name='SCI', ver=ver) for ver in (1, 2)),
                  fits.ImageHDU(np.ones((40, 48), dtype='i2'), name='DQ', ver=2)]).writeto(path)
    result = run('denoise', path, '-o', tmp_path, '--model', model)
    assert result.exit_code == 0, result.stderr
    assert 'HDU 1 (SCI,1); unchanged: 2 (SCI,2)' in result.stdout
    assert 'HDU 2 (SCI,2) passes through as it is: data has no valid pixel' in result.stderr
    result = run('denoise', path, '-o', tmp_path, '--model', model, '--ext', 'SCI,2', '--overwrite')
    assert result.exit_code == 1 and 'data has no valid pixel' in result.stderr


@pytest.mark.skipif(getattr(os, 'geteuid', lambda: 1)() == 0, reason='the superuser may write anywhere')
def test_directory_without_write_permission(run, frames, model, tmp_path):
    out = tmp_path / 'out'
    out.mkdir(mode=0o555)
    result = run('denoise', frames[0], '-o', out, '--model', model)
    assert result.exit_code == 1 and f'cannot write to the directory {out}: Permission denied' in result.stderr


def test_one_bad_file(run, frames, model, tmp_path):
    frames[1].write_bytes(frames[1].read_bytes()[:4000])
    result = run('denoise', *frames, '-o', tmp_path / 'out', '--model', model)
    assert result.exit_code == 1
    assert f'{frames[1]}: error: is truncated' in result.stderr
    assert '2 of 3 files denoised' in result.stdout
    names = ['a_n2v.fits', 'c_n2v.fits', 'n2v-journal.jsonl']
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == names


def test_options_of_denoise(run, frames, model, tmp_path):
    fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU(fits.getdata(path), name='SCI', ver=i + 1)
                                       for i, path in enumerate(frames))]).writeto(tmp_path / 'mef.fits')
    result = run('denoise', tmp_path / 'mef.fits', '-o', tmp_path, '--model', model, '--ext', 'SCI,1', '--ext', '3',
                 '--gain', '2', '--gain', '4', '--readnoise', '5', '--satlevel', '1000', '--strength', '0.5',
                 '--tile-size', '64', '--ignore-bits', '16,32', '--fill-masked', '--device', 'cpu', '--hole', '1x1')
    assert result.exit_code == 0, result.stderr
    with fits.open(tmp_path / 'mef_n2v.fits') as hdus:
        assert [hdu.header.get('N2VGAIN') for hdu in hdus[1:4]] == [2, None, 4]
        assert hdus[3].header['N2VSTREN'] == 0.5
        assert [hdu.ver for hdu in hdus[4:]] == [1, 3]


def test_no_keyword(run, frames, model, tmp_path):
    assert run('denoise', frames[0], '-o', tmp_path, '--model', model, '--no-keyword').exit_code == 0
    assert set(fits.getheader(tmp_path / 'a_n2v.fits')) - set(fits.getheader(frames[0])) == set()


def test_overwrite(run, frames, model, tmp_path):
    arguments = ('denoise', frames[0], '-o', tmp_path, '--model', model)
    assert run(*arguments).exit_code == 0
    result = run(*arguments)
    assert result.exit_code == 1 and 'exists' in result.stderr and '--overwrite' in result.stderr
    assert run(*arguments, '--overwrite').exit_code == 0


@pytest.mark.parametrize('arguments', [('denoise', '-o', 'out'), ('validate',)])
def test_options_that_once_were(run, frames, arguments):
    result = run(*arguments, frames[0], '--negative-sources')
    assert result.exit_code == 2 and 'no option any more: what was measured is kept' in result.stderr
    assert 'negative' not in run(arguments[0], '--help').output


def test_names_with_control_characters(run, frames, model, tmp_path):
    """One message is one line, whatever the names."""
    night = tmp_path / 'night'
    night.mkdir()
    good, bad = frames[0].rename(night / 'a\nb\x1b[31m.fits'), night / 'bad\nfile.fits'
    bad.write_text('hello')
    results = [run('denoise', night, '-o', tmp_path / 'out', '--model', model, '--summary', tmp_path / 'summary.ecsv'),
               run('denoise', night, '-o', tmp_path / 'out', '--model', model, '--skip-existing'),
               run('denoise', good, '-o', tmp_path / 'out', '--model', model), run('summary', tmp_path / 'out'),
               run('manifest', night, '-o', tmp_path / 'manifest.ecsv'), run('check', tmp_path / 'manifest.ecsv'),
               run('preview', night, '-o', tmp_path / 'out', '--model', model),
               run('noise', night, '-o', tmp_path / 'noise.json'),
               run('train', night, '-o', tmp_path / 'new.safetensors', '--max-steps', '1'),
               run('detect', night, '-o', tmp_path / 'found', '--model', model)]
    for result in results:
        lines = (result.stdout + result.stderr).splitlines()
        assert not [line for line in lines if line.startswith(('b\x1b', 'file.fits')) or not line.isprintable()], lines
    assert any(f'{night}/a\\nb\\x1b[31m.fits -> ' in line for line in results[0].stdout.splitlines())
    for result in results[:2]:
        assert f'{night}/bad\\nfile.fits: error: is not a FITS file' in result.stderr
    assert 'a\\nb\\x1b[31m_n2v.fits exists' in results[2].stderr


def test_lists_catalogues_and_shares(run, frames, model, tmp_path):
    (tmp_path / 'list').write_text(f'{frames[0]}\n')
    (tmp_path / 'night.csv').write_text('path,filter\nb.fits,r\nc.fits,g\n')
    arguments = ['denoise', '-o', tmp_path / 'out', '--model', model, '--per-frame', '--files-from', tmp_path / 'list',
                 '--catalog', tmp_path / 'night.csv', '--where', "filter == 'r'", '--skip-existing']
    result = run(*arguments, '--shard', '2/2')
    assert result.exit_code == 0, result.stderr
    assert f'[1/1] {frames[1]}' in result.stderr
    result = run(*arguments, '--journal', tmp_path / 'out' / 'n2v-journal.jsonl')
    assert result.exit_code == 0 and '1 of 2 files denoised, 1 was there and current' in result.stdout
    assert f'[2/2] {frames[1]} is there and current' in result.stderr
    for options, message in (['--shard', '3/2'], "shard must be 'i/n'"), (['--where', 'n > 1'], '--where goes with'), (
            [], "Missing argument 'FILES...', --files-from or --catalog"):
        result = run('denoise', '-o', tmp_path / 'out', *options)
        assert result.exit_code == 2 and message in result.stderr
    result = run(*arguments[:-3], '--where', 'airmass < 2')
    assert result.exit_code == 1 and 'there is no column airmass' in result.stderr
    result = run('denoise', '-o', tmp_path / 'out', tmp_path / 'out' / 'none')
    assert result.exit_code == 1 and 'No such file or directory' in result.stderr


def test_input_is_not_overwritten(run, frames, model, tmp_path):
    before = frames[0].read_bytes()
    result = run('denoise', frames[0], '-o', tmp_path, '--suffix', '', '--model', model, '--overwrite')
    assert result.exit_code == 1 and 'would overwrite its input' in result.stderr
    assert frames[0].read_bytes() == before


def test_output_directory_that_cannot_be_made(run, frames, model, tmp_path):
    result = run('denoise', frames[0], '-o', frames[1] / 'out', '--model', model)
    assert result.exit_code == 1 and 'cannot make the directory' in result.stderr


def test_missing_model(run, frames, tmp_path):
    result = run('denoise', frames[0], '-o', tmp_path, '--model', tmp_path / 'none.safetensors')
    assert result.exit_code == 1 and 'none.safetensors' in result.stderr


def test_shipped_model_by_name(run, frames, tmp_path):
    assert run('denoise', frames[0], '-o', tmp_path, '--model', 'default-1x1').exit_code == 0
    header = fits.getheader(tmp_path / 'a_n2v.fits')
    assert (header['N2VMODEL'], header['N2VHOLE']) == ('default-1x1', '1x1')
    assert Denoiser.load('default-1x1').sha256.startswith(header['N2VSHA'])
    result = run('denoise', frames[0], '-o', tmp_path, '--model', 'default-3x3', '--overwrite')
    assert result.exit_code == 1
    assert "(default, default-1x1), got 'default-3x3': there is no such file" in result.stderr


def test_patterns_that_the_shell_left(run, frames, model, tmp_path):
    assert expand_files([str(tmp_path / '*.fits')]) == [str(path) for path in frames]
    result = run('denoise', tmp_path / '[ab].fits', tmp_path / 'x*.fits', '-o', tmp_path / 'out', '--model', model)
    assert result.exit_code == 1 and '2 of 3 files denoised' in result.stdout
    assert 'x*.fits: error: No such file' in result.stderr


def test_quiet(run, frames, model, tmp_path):
    for where in (['--quiet', 'denoise'], ['denoise', '--quiet']):
        result = run(*where, frames[0], tmp_path / 'none.fits', '-o', tmp_path, '--model', model, '--overwrite')
        assert result.stdout == ''
        assert result.stderr == f'{tmp_path / "none.fits"}: error: No such file or directory\n'


def test_verbose(run, frames, model, tmp_path):
    arguments = ('denoise', frames[0], '-o', tmp_path, '--model', model, '--overwrite')
    said, more, nothing = (run(*options, *arguments).stderr for options in ([], ['-v'], ['--quiet']))
    for text in (said, more):
        assert 'warning: a.fits: no BUNIT: the data are taken to be in adu' in text
    assert 'info: HDU 0 (PRIMARY,1): 40x48' in more and 'info:' not in said and nothing == ''


def test_warnings_name_their_file_and_do_not_pile_up(run, model, tmp_path, rng):
    # A quality plane that masks most of the image, three times.
    hdus = fits.HDUList([fits.PrimaryHDU()])
    for ver in (1, 2, 3):
        flags = np.zeros((96, 100), dtype='i2')
        flags[:72] = 4
        hdus.append(fits.ImageHDU(rng.normal(100, 5, flags.shape).astype('f4'), name='SCI', ver=ver))
        hdus.append(fits.ImageHDU(flags, name='DQ', ver=ver))
    path = tmp_path / 'mef.fits'
    hdus.writeto(path)
    result = run('denoise', path, '-o', tmp_path, '--model', model)
    assert result.exit_code == 0, result.stderr
    assert result.stderr.count(f'{path}: warning: DQ,1 masks 75 % of the image') == 1
    assert 'DQ,2' not in result.stderr and 'more warnings like those above' in result.stderr
    assert 'Traceback' not in result.stderr


def test_warnings_of_many_files_are_said_once(run, frames, model, tmp_path):
    for path in frames:
        fits.setval(path, 'GAIN', value=100)   # a setting of the camera
    arguments = ('denoise', *frames, '-o', tmp_path / 'out', '--model', model, '--overwrite')
    said = run(*arguments).stderr
    assert said.count('warning: a.fits: no BUNIT: the data are taken to be in adu') == 1
    assert 'b.fits: no BUNIT' not in said
    assert ('2 more warnings like those above in 3 files; -v shows them: warning: no BUNIT: the data are taken to be '
            'in adu\n') in said
    assert said.count('the gain of the header') == 2   # the first, and how many more
    brackets = [f'{path}[0]' for path in frames]
    assert run('denoise', *brackets, *arguments[4:]).stderr.count('no BUNIT') == 2
    more = run('-v', *arguments).stderr
    assert more.count('no BUNIT: the data are taken') == 3 and 'more warnings' not in more


@pytest.fixture
def two_images(tmp_path, frames):
    """Write a file of two images of different sizes."""
    path = tmp_path / 'mef.fits'
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(fits.getdata(frames[0]), name='SCI', ver=1),
                  fits.ImageHDU(fits.getdata(frames[1])[:32], name='SCI', ver=2)]).writeto(path)
    return path


def test_extension_in_the_name(run, two_images, frames, model, tmp_path):
    result = run('denoise', f'{two_images}[SCI,2]', frames[0], '-o', tmp_path, '--model', model)
    assert result.exit_code == 0, result.stderr
    assert f'{two_images}[SCI,2] -> {tmp_path / "mef_n2v.fits"}  HDU 2 (SCI,2)' in result.stdout
    result = run('denoise', f'{two_images}[7]', f'{tmp_path}/none.fits[1]', '-o', tmp_path, '--model', model,
                 '--overwrite')
    assert result.exit_code == 1 and f"{two_images}[7]: error: ext '7' must be the number or name" in result.stderr
    assert 'none.fits[1]: error: No such file or directory' in result.stderr
    result = run('denoise', f'{two_images}[1]', '-o', tmp_path / 'new', '--model', model, '--ext', '2')
    assert result.exit_code == 2 and '--ext does not go with' in result.stderr and not (tmp_path / 'new').exists()


def test_file_of_that_very_name_comes_first(run, two_images, model, tmp_path):
    odd = two_images.with_name('mef.fits[2]')
    odd.write_bytes(two_images.read_bytes())
    result = run('denoise', odd, '-o', tmp_path / 'out', '--model', model, '--ext', 'SCI,1')
    assert result.exit_code == 0, result.stderr
    assert 'HDU 1 (SCI,1)' in result.stdout


def test_extension_behind_a_pattern(frames, tmp_path):
    assert expand_files([f'{tmp_path}/[ab].fits[0]']) == [f'{path}[0]' for path in frames[:2]]
    assert expand_files([f'{frames[0]}[SCI,1]']) == [f'{frames[0]}[SCI,1]']


def test_train_on_an_extension_in_the_name(run, two_images, tmp_path):
    result = run('train', f'{two_images}[SCI,1]', '-o', tmp_path / 'm.safetensors', '--max-steps', '1', '--patch-size',
                 '32', '--batch-size', '1')
    assert result.exit_code == 0 and 'trained on 1 image in' in result.stdout
    result = run('train', f'{two_images}[1]', '-o', two_images, '--overwrite')
    assert result.exit_code == 1 and 'would overwrite its input' in result.stderr


def test_line_of_a_file(run, frames, two_images, model, tmp_path):
    result = run('denoise', frames[0], two_images, '-o', tmp_path, '--model', model, '--no-keyword', '--gain', '1.9')
    first, second = result.stdout.splitlines()[:2]
    assert 's  model tiny.safetensors, hole 1x1, noise ' in first and ', gain 1.9 (gain' in first
    assert ' to ' in second   # the noise of two images
    with fits.open(tmp_path / 'a_n2v.fits') as hdus:
        assert 'N2VMODEL' not in hdus[0].header


def test_summary(run, frames, two_images, model, tmp_path):
    from astropy.table import Table
    frames[1].write_bytes(b'nothing')
    path = tmp_path / 'summary.ecsv'
    arguments = ('denoise', frames[0], frames[1], two_images, '-o', tmp_path / 'out', '--model', model, '--summary',
                 path)
    result = run(*arguments)
    assert result.exit_code == 1 and '2 of 3 files denoised' in result.stdout
    table = Table.read(path, format='ascii.ecsv')
    assert list(table['status']) == ['denoised', 'failed', 'denoised', 'denoised']
    assert list(table['hdu'].filled('')) == ['0 (PRIMARY,1)', '', '1 (SCI,1)', '2 (SCI,2)']
    assert 'is not a FITS file' in table['error'][1] and (table['noise'][[0, 2, 3]] > 0).all()
    assert table['model'][3] == 'tiny.safetensors' and table['noise'].description
    # It is refused before the work.
    before = path.read_bytes()
    result = run(*arguments[:-2], '--summary', path)
    assert result.exit_code == 1 and 'summary.ecsv exists' in result.stderr and '->' not in result.stdout
    result = run(*arguments[:-2], '--summary', frames[0], '--overwrite')
    assert result.exit_code == 1 and 'would overwrite its input' in result.stderr
    assert path.read_bytes() == before


def test_options_reach_the_library(run, frames, tmp_path, monkeypatch):
    calls = []

    def denoise_fits(path, output, model, **options):
        calls.append(options)
        raise ValueError('enough')

    monkeypatch.setattr('astropy_n2v.batch.one_file.denoise_fits', denoise_fits)
    run('denoise', frames[0], '-o', tmp_path, '--audit', 'warn', '--reject-outliers', '--uncertainty', 'e.fits[ERR]')
    run('denoise', frames[0], '-o', tmp_path)
    assert calls[0]['audit'] == 'warn' and calls[0]['reject_outliers'] is True
    assert calls[0]['uncertainty'] == 'e.fits[ERR]' and calls[1]['uncertainty'] is None
    assert not {'audit', 'reject_outliers'} & set(calls[1])


def test_train(run, frames, tmp_path):
    model = tmp_path / 'mine.safetensors'
    arguments = ['train', *frames, '-o', model, '--max-steps', '2', '--patch-size', '32', '--batch-size', '2', '--hole',
                 '1x3', '--seed', '1', '--learning-rate', '1e-3', '--patience', '3', '--held-out', '0.2']
    result = run(*arguments)
    assert result.exit_code == 0, result.stderr
    assert f'{model}: trained on 3 images' in result.stdout and 'hole 1x3' in result.stdout
    assert Denoiser.load(model).hole == (1, 3)
    before = model.read_bytes()
    result = run(*arguments)
    assert result.exit_code == 1 and 'exists' in result.stderr and model.read_bytes() == before
    # The same seed gives the same weights.
    assert run(*arguments, '--overwrite').exit_code == 0
    assert model.read_bytes() == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith('.')]


def test_train_help_has_the_defaults(run):
    text = ' '.join(run('train', '--help').stdout.split())
    for default in ('700, or 100 where', '96', '8', '0.0001', '0.1', 'no limit', '0.004, or 0.0003'):
        assert f'[default: {default}' in text


def test_train_that_is_interrupted_says_how_to_resume(run, frames, tmp_path, monkeypatch):
    from astropy_n2v.training.loop import Trainer
    original, steps = Trainer._train_step, []

    def step(self, fraction):
        steps.append(self.step)
        if steps == [0, 1]:
            signal.raise_signal(signal.SIGTERM)
        return original(self, fraction)

    monkeypatch.setattr(Trainer, '_train_step', step)
    model = tmp_path / 'm.safetensors'
    arguments = ['train', frames[0], '-o', model, '--max-steps', '3', '--patch-size', '32', '--batch-size', '1',
                 '--init', 'default', '--log', tmp_path / 'log.csv']
    result = run(*arguments)
    assert result.exit_code == 128 + signal.SIGTERM and not model.exists()
    assert (f'interrupted after step 2; to go on from there, run the same command again (the state is in '
            f'{model}.checkpoint)') in result.stderr
    result = run(*arguments)
    assert result.exit_code == 0 and steps == [0, 1, 2], result.stderr
    assert 'training: step 3 of 3 (100 %), loss ' in result.stderr
    assert f'{model} is ' in result.stdout and 'better than the default at predicting ' in result.stdout
    assert sorted(path.name for path in tmp_path.glob('[ml]*')) == ['log.csv', 'log.png', 'm.safetensors']


def test_train_from_a_model(run, frames, model, tmp_path):
    result = run('train', frames[0], '-o', tmp_path / 'more.safetensors', '--init', model, '--max-steps', '2',
                 '--patch-size', '32')
    assert result.exit_code == 0, result.stderr
    assert Denoiser.load(tmp_path / 'more.safetensors').network.config == Denoiser.load(model).network.config


def test_train_with_a_bad_file(run, frames, tmp_path):
    frames[1].write_bytes(b'nothing')
    options = ['-o', tmp_path / 'm.safetensors', '--max-steps', '1', '--patch-size', '32', '--batch-size', '1']
    result = run('train', *frames, *options)
    assert result.exit_code == 1 and f'{frames[1]}: error: is not a FITS file' in result.stderr
    assert 'trained on 2 images' in result.stdout and (tmp_path / 'm.safetensors').exists()
    result = run('train', frames[1], '--overwrite', *options)
    assert result.exit_code == 1 and 'no image to train on' in result.stderr


def test_train_leaves_out_a_constant_frame(run, frames, tmp_path):
    fits.writeto(frames[1], np.full((40, 48), 3.0), overwrite=True)
    options = ['-o', tmp_path / 'm.safetensors', '--max-steps', '1', '--patch-size', '32', '--batch-size', '1']
    result = run('train', frames[0], frames[1], *options)
    assert result.exit_code == 1 and f'{frames[1]}: the image is left out: data is constant' in result.stderr
    assert 'trained on 1 image in' in result.stdout and (tmp_path / 'm.safetensors').exists()
    result = run('train', frames[1], '--overwrite', *options)
    assert result.exit_code == 1 and 'Error: data is constant' in result.stderr


def test_train_does_not_overwrite_a_frame(run, frames):
    before = frames[0].read_bytes()
    result = run('train', *frames, '-o', frames[0], '--overwrite', '--max-steps', '1')
    assert result.exit_code == 1 and 'would overwrite its input' in result.stderr
    assert frames[0].read_bytes() == before


class TestModels:
    """The command models."""

    def test_list(self, run):
        result = run('models')
        assert result.exit_code == 0 and result.stderr == ''
        path = weights.find_model('default')
        assert result.stdout.startswith('default-1x1\n  The default model')
        assert hashlib.sha256(path.read_bytes()).hexdigest() in result.stdout
        assert f'{path.stat().st_size / 1e6:.2f} MB' in result.stdout

    def test_json(self, run):
        listed = json.loads(run('models', '--json').stdout)
        assert [(model['name'], model['hole']) for model in listed] == [('default-1x1', [1, 1])]
        assert listed[0] == json.loads(run('models', 'default-1x1', '--json').stdout)
        assert Denoiser.load(listed[0]['path']).sha256 == listed[0]['sha256']

    def test_card(self, run):
        path = weights.find_model('default-1x1')
        assert run('models', 'default-1x1').stdout == path.with_suffix('.md').read_text()
        assert run('models', 'default').stdout == run('models', 'default-1x1').stdout

    def test_unknown_name(self, run):
        result = run('models', 'default-3x3')
        assert result.exit_code == 1
        assert "NAME must be one of default, default-1x1, got 'default-3x3'" in result.stderr

    def test_damaged(self, run, tmp_path, monkeypatch):
        directory = tmp_path / 'weights'
        shutil.copytree(weights.DIRECTORY, directory)
        monkeypatch.setattr(weights, 'DIRECTORY', directory)
        make_tiny_denoiser().save(directory / 'other.safetensors')
        (directory / 'other.md').write_text('# other\n\nAnother model.\n')
        weights.write_checksums()
        (directory / 'default-1x1.safetensors').write_bytes(b'nothing')
        for options in ([], ['--json'], ['default-1x1'], ['default-1x1', '--json']):
            result = run('models', *options)
            assert result.exit_code == 1
            assert result.stderr.startswith('default-1x1: error: ') and 'install astropy_n2v again' in result.stderr
        assert [model['name'] for model in json.loads(run('models', '--json').stdout)] == ['other']


def test_kinds_of_the_demo():
    assert tuple(SCENE_KINDS) == _KINDS


def test_demo(run, model, tmp_path):
    out = tmp_path / 'demo'
    result = run('demo', '-o', out, '--size', '64', '--kind', 'crowded', '--model', model, '--seed', '3')
    assert result.exit_code == 0, result.stderr
    names = ['comparison.png', 'denoised.fits', 'noisy.fits', 'truth.fits']
    assert sorted(path.name for path in out.iterdir()) == names
    for line in ('noise reduction', 'all pixels', 'faint pixels', 'bright pixels', '|mean(denoised - truth)|'):
        assert line in result.stdout
    assert (out / 'comparison.png').read_bytes().startswith(b'\x89PNG')
    result = run('demo', '-o', out, '--size', '64', '--model', model)
    assert result.exit_code == 1 and 'noisy.fits exists' in result.stderr
    assert run('demo', '-o', out, '--size', '64', '--model', model, '--overwrite').exit_code == 0


def test_denoise_real_files(run, data_path, model, tmp_path):
    names = ['ccdproc/a8280271.fits', 'hst_nicmos/image.fits', 'kepler/tpf_test_00.fits', 'hst_foc/foc.fits']
    result = run('denoise', *(data_path / name for name in names), '-o', tmp_path / 'out', '--model', model)
    assert result.exit_code == 1
    assert 'tpf_test_00.fits: error: the file has no science image' in result.stderr
    assert '3 of 4 files denoised' in result.stdout
    # Cards that are not standard are not reported.
    assert 'header keyword is invalid' not in result.stderr


class TestValidate:
    """The command validate."""

    @pytest.fixture
    def field(self, tmp_path):
        """Write a frame with stars, and its truth."""
        from faults import Lab
        lab = Lab(96, 1, 0, seed=2)
        paths = tmp_path / 'field.fits', tmp_path / 'truth.fits'
        for path, data in zip(paths, (lab.frames[0].data, lab.truths[0])):
            fits.writeto(path, data.astype('f4'), fits.Header({'BUNIT': 'electron'}))
        return paths

    def test_report_and_verdicts(self, run, field, model, tmp_path, monkeypatch):
        from astropy_n2v.validation import figures
        monkeypatch.setattr(figures, 'draw_figures', lambda report: [])   # they take seconds
        frame, truth = field
        arguments = ('validate', frame, '--truth', truth, '--model', model, '--psf', 3.0, '--report', tmp_path / 'r')
        result = run(*arguments)
        assert result.exit_code == 0
        assert 'Flux of bright sources' in result.stdout and 'report.html' in result.stdout
        assert (tmp_path / 'r' / 'report.html').exists()
        again = run(*arguments)
        assert again.exit_code == 1 and '--overwrite' in again.stderr
        again = run(*arguments, '--overwrite', '--strict')
        # The untrained model does not preserve stars.
        assert again.exit_code == 1 and 'fail ' in again.stdout
        content = json.loads((tmp_path / 'r' / 'report.json').read_text())
        assert content['meta']['frames'][0]['resumed']
        assert not content['passed']

    def test_bad_file_does_not_stop_the_others(self, run, field, model, tmp_path):
        result = run('validate', tmp_path / 'missing.fits', field[0], '--model', model, '--psf', 3.0)
        assert result.exit_code == 1
        assert 'missing.fits: error: No such file' in result.stderr
        assert 'Level of the sky' in result.stdout

    @pytest.mark.parametrize('arguments, message', [
        (['--magnitudes', '3'], 'two magnitudes'), (['--psf', '-1'], '--psf must be a file or a positive number'),
        (['--truth', 'a.fits', '--truth', 'b.fits'], 'once for each of the 1 files, got 2'),
        (['--reference', 'others'], 'at least four'), (['--truth', 'none.fits'], 'none.fits')])
    def test_bad_options(self, run, field, model, arguments, message):
        result = run('validate', field[0], '--model', model, *arguments)
        assert result.exit_code != 0 and message in result.stderr

    def test_gain_and_read_noise_are_those_of_the_options(self, run, field, model, tmp_path, monkeypatch):
        """Data in electrons, whose header would not be asked for a gain."""
        from astropy_n2v.validation import figures
        monkeypatch.setattr(figures, 'draw_figures', lambda report: [])
        result = run('validate', field[0], '--model', model, '--psf', 3.0, '--gain', 0.5, '--readnoise', 3,
                     '--report', tmp_path / 'r')
        assert result.exit_code == 0
        import json
        tables = json.loads((tmp_path / 'r' / 'report.json').read_text())['tables']
        assert tables['frames']['columns']['noise_source']['values'] == ['gain+readnoise, level measured']

    def test_nothing_to_validate(self, run, tmp_path):
        result = run('validate', tmp_path / 'missing.fits')
        assert result.exit_code == 1 and 'no frame to validate' in result.stderr


def test_names_of_bits_stay_names():
    """Each file has its own."""
    assert parse_bits('INTRP,4') == 'INTRP,4' and parse_bits('16,4') == 20 and parse_bits('None') is None
