# Licensed under a 3-clause BSD style license - see LICENSE
"""
The commands for collections: manifest, split, check, train --manifest, preview --manifest; what they print and their
exit statuses.
"""

import json
import re
import shlex
import textwrap
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from click.testing import CliRunner
from PIL import Image

from astropy_n2v import Denoiser
from astropy_n2v.cli import main
from astropy_n2v.collections import read_manifest

QUICK = ['--max-steps', '2', '--patch-size', '32', '--batch-size', '2']
PAGE = Path(__file__).resolve().parents[2] / 'docs' / 'collections.rst'


@pytest.fixture
def run():
    def run_main(*arguments):
        return CliRunner().invoke(main, list(map(str, arguments)))

    return run_main


@pytest.fixture
def night(tmp_path, rng):
    """Eight frames of four fields, in two filters."""
    (tmp_path / 'night').mkdir()
    for n in range(8):
        header = fits.Header({'INSTRUME': 'CAM', 'FILTER': 'gr'[n % 2], 'OBJECT': f'field {n // 2}',
                              'EXPTIME': 10.0 * n})
        fits.writeto(tmp_path / 'night' / f'{n}.fits', rng.normal(500, 10, (48, 48)).astype('f4'), header)
    return tmp_path


@pytest.fixture
def prepared(run, night):
    """Make manifest and split of a collection."""
    assert run('manifest', night / 'night', '-o', night / 'm.ecsv').exit_code == 0
    assert run('split', night / 'm.ecsv', '-o', night / 's.json').exit_code == 0
    return night


def test_manifest(run, night):
    result = run('manifest', night / 'night', '-o', night / 'm.ecsv')
    assert result.exit_code == 0, result.output
    assert '8 files, 8 of them read now: 8 with images, 0 without images, 0 cannot be read' in result.output
    assert 'm.ecsv: 8 images of 8 files\n' in result.output
    assert len(re.findall('CAM +[gr] +adu +4 +4', result.output)) == 2
    state = (night / 'm.ecsv').stat().st_mtime_ns
    again = run('manifest', night / 'night', '-o', night / 'm.ecsv')
    assert '8 files, 0 of them read now' in again.output
    assert (night / 'm.ecsv').stat().st_mtime_ns == state
    (night / 'night' / '7.fits').unlink()
    assert '7 files, 0 of them read now' in run('manifest', night / 'night', '-o', night / 'm.ecsv').output
    assert len(read_manifest(night / 'm.ecsv')) == 7
    anew = run('manifest', night / 'night', '-o', night / 'm.ecsv', '--overwrite')
    assert '7 of them read now' in anew.output


def test_sample(run, night):
    result = run('manifest', night / 'night', '-o', night / 'm.csv', '--where', 'filter=G', '--where', 'exptime=20..')
    assert result.exit_code == 0 and read_manifest(night / 'm.csv')['exptime'].tolist() == [20, 40, 60]
    run('manifest', night / 'night', '-o', night / 'm.csv', '--sample', '2', '--seed', '3')
    assert len(read_manifest(night / 'm.csv')) == 2


def test_calibration_frames_are_said(run, night):
    for n, name in enumerate(('BIAS', 'Dark Frame', 'light')):
        fits.setval(night / 'night' / f'{n}.fits', 'IMAGETYP', value=name)
    result = run('manifest', night / 'night', '-o', night / 'm.ecsv')
    assert result.exit_code == 0 and '2 images for calibration' in result.output
    assert '(BIAS, Dark Frame)' in result.output
    result = run('manifest', night / 'night', '-o', night / 'm.ecsv', '--where', 'imagetype=light*')
    assert 'for calibration' not in result.output and 'm.ecsv: 1 image of 1 file, as chosen' in result.output


def test_unreadable_file(run, night):
    (night / 'night' / 'junk.fits').write_bytes(b'junk')
    result = run('manifest', night / 'night', '-o', night / 'm.ecsv')
    assert result.exit_code == 1 and 'junk.fits: error: ' in result.output
    assert '8 images of 8 files' in result.output and '1 cannot be read' in result.output
    result = run('check', night / 'm.ecsv')
    assert result.exit_code == 1 and 'unreadable' in result.output


@pytest.mark.parametrize('form', ['ecsv', 'csv'])
def test_counts_add_up(run, night, form):
    """Files of tables have no row. They are counted, and read once, where the format can keep a list of them."""
    for n in range(3):
        Table({'x': [n]}).write(night / 'night' / f't{n}.fits')
    (night / 'night' / 'junk.fits').write_bytes(b'junk')
    output = run('manifest', night / 'night', '-o', night / f'm.{form}').output
    assert '12 files, 12 of them read now: 8 with images, 3 without images, 1 cannot be read' in output
    n = 0 if form == 'ecsv' else 3
    assert f'12 files, {n} of them read now: 8 with images, 3 without' in run(
        'manifest', night / 'night', '-o', night / f'm.{form}').output
    (night / 'night' / 't0.fits').unlink()
    (night / 'night' / 't1.fits').rename(night / 'night' / 't9.fits')
    assert '11 files, ' in run('manifest', night / 'night', '-o', night / f'm.{form}').output
    output = run('manifest', night / 'night', '-o', night / f'm.{form}', '--where', 'filter=g').output
    assert '8 with images, 2 without images' in output and '4 images of 4 files, as chosen' in output


def test_split(run, night):
    run('manifest', night / 'night', '-o', night / 'm.ecsv')
    result = run('split', night / 'm.ecsv', '-o', night / 's.json', '--columns', night / 'c.csv', '--stratify')
    assert result.exit_code == 0, result.output
    assert re.search(r'train +4 files of 2 fields \(50.0%\)', result.output)
    content = json.loads((night / 's.json').read_text())
    assert content['seed'] == 42 and content['fractions'] == [0.7, 0.15, 0.15]
    assert sorted(set(read_manifest(night / 'c.csv')['split'].tolist())) == ['test', 'train', 'validation']
    assert 'exists' in run('split', night / 'm.ecsv', '-o', night / 's.json').output


def test_files_of_no_known_field(run, tmp_path, rng):
    for n in range(4):
        fits.writeto(tmp_path / f'{n}.fits', rng.normal(500, 10, (48, 48)))
    run('manifest', tmp_path, '-o', tmp_path / 'm.ecsv')
    result = run('split', tmp_path / 'm.ecsv', '-o', tmp_path / 's.json')
    assert result.exit_code == 0 and '4 files without WCS and OBJECT' in result.output
    result = run('split', tmp_path / 'm.ecsv', '-o', tmp_path / 's.json', '--overwrite', '--by', 'frame')
    assert 'neither' not in result.output and 'of 2 frames' in result.output
    (tmp_path / 'junk.fits').write_bytes(b'junk')   # in no part
    run('manifest', tmp_path, '-o', tmp_path / 'm.ecsv')
    result = run('split', tmp_path / 'm.ecsv', '-o', tmp_path / 's.json', '--overwrite')
    assert '4 files without WCS and OBJECT: each' in result.output and 'cannot be used: 1 file:' in result.output


def test_check(run, prepared):
    result = run('check', prepared / 'm.ecsv', '--split', prepared / 's.json', '--hashes')
    assert result.exit_code == 0 and result.output == '8 images: 0 problems\n'
    (prepared / 'night' / '0.fits').unlink()
    result = run('check', prepared / 'm.ecsv', '--split', prepared / 's.json')
    assert result.exit_code == 1 and re.search(r'missing +\S+0.fits', result.output) and '1 problem\n' in result.output


def test_check_of_a_split_by_frame(run, prepared):
    """Shared fields are said, and no reason for the exit status 1."""
    run('split', prepared / 'm.ecsv', '-o', prepared / 's.json', '--by', 'frame', '--overwrite')
    result = run('check', prepared / 'm.ecsv', '--split', prepared / 's.json')
    assert result.exit_code == 0 and re.search(r'shared field +\S+.fits.*other fields', result.output)
    assert re.search(r'8 images: 0 problems, (1 note|[2-4] notes)\n', result.output)
    (prepared / 'night' / '0.fits').unlink()
    result = run('check', prepared / 'm.ecsv', '--split', prepared / 's.json')
    assert result.exit_code == 1 and '8 images: 1 problem, ' in result.output


def test_options_of_training(run, prepared):
    text = ' '.join(run('train', '--help').output.split())
    assert '--amp [auto|float32|bfloat16|float16]' in text and '[default: auto]' in text
    assert '[default: 0.05, or 0 for a single image]' in text
    frames = ['--manifest', prepared / 'm.ecsv', '--split', prepared / 's.json', '-o', prepared / 'm.safetensors']
    result = run('train', *frames, '--amp', 'float8')
    assert result.exit_code == 2 and "'float8' is not one of" in result.output
    result = run('train', *frames, *QUICK, '--amp', 'float16', '--star-share', '0')
    assert result.exit_code == 0, result.output


def test_train(run, prepared):
    result = run('train', '--manifest', prepared / 'm.ecsv', '--split', prepared / 's.json', '-o',
                 prepared / 'm.safetensors', *QUICK)
    assert result.exit_code == 0, result.output
    assert 'training on 4 files, judged by 2' in result.output and 'trained on 4 images' in result.output
    assert Denoiser.load(prepared / 'm.safetensors').metadata['images'] == 4


def test_preview(run, prepared, tiny_denoiser):
    """Files of the test only, so many of them; those of one name in two folders have a picture each."""
    (prepared / 'more').mkdir()
    tiny_denoiser.save(prepared / 't.safetensors')
    split = json.loads((prepared / 's.json').read_text())
    test = [frame for frame in split['frames'] if frame['split'] == 'test']
    moved = f'more/{Path(test[0]["path"]).name}'
    (prepared / test[1]['path']).rename(prepared / moved)
    split['frames'] = [test[0], {**test[1], 'path': moved}]
    (prepared / 's.json').write_text(json.dumps(split))
    assert run('manifest', prepared / 'night', prepared / 'more', '-o', prepared / 'm.ecsv').exit_code == 0
    arguments = ['preview', '--manifest', prepared / 'm.ecsv', '--split', prepared / 's.json', '--model',
                 prepared / 't.safetensors']
    result = run(*arguments, '-o', prepared / 'all')
    assert result.exit_code == 0, result.output
    name = Path(test[0]['path']).stem + '.png'
    assert sorted(path.relative_to(prepared / 'all').as_posix() for path in (prepared / 'all').rglob('*.png')) == [
        f'more/{name}', f'night/{name}']
    result = run(*arguments, '-o', prepared / 'one', '-n', '1')
    assert result.exit_code == 0 and len(list((prepared / 'one').rglob('*.png'))) == 1


def test_previews_in_a_folder_that_is_shared(run, tmp_path, tiny_denoiser, rng):
    tiny_denoiser.save(tmp_path / 'model.safetensors')
    for name in 'n1/a.fits', 'n1/deep/a.fits', 'n2/a.fits':
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        fits.writeto(tmp_path / name, rng.normal(100, 5, (40, 48)).astype('f4'))
    out = '-o', tmp_path / 'out', '--model', tmp_path / 'model.safetensors'
    result = run('preview', tmp_path / 'n1', tmp_path / 'n2', *out, '--overwrite')
    assert result.exit_code == 1
    assert f'n2/a.fits: error: the pictures of {tmp_path}/n1/a.fits have the same name' in result.output
    assert {str(path.relative_to(tmp_path / 'out')) for path in (tmp_path / 'out').rglob('*.png')} == {
        'a.png', 'deep/a.png'}
    result = run('preview', tmp_path / 'n2', *out)
    assert result.exit_code == 1 and 'a.png exists' in result.output
    assert run('preview', tmp_path / 'n2', *out, '--overwrite').exit_code == 0


def test_preview_of_the_images_of_a_file(run, tmp_path, tiny_denoiser, rng):
    """Draw the images of the manifest, and report a file that is gone."""
    tiny_denoiser.save(tmp_path / 't.safetensors')
    for n in range(4):
        images = [fits.ImageHDU(rng.normal(500, 10, (48, 48)).astype('f4'), name='SCI', ver=ver) for ver in (1, 2, 3)]
        images[2].data[:] = 7   # constant: not usable
        fits.HDUList([fits.PrimaryHDU(), *images]).writeto(tmp_path / f'{n}.fits')
    run('manifest', tmp_path, '-o', tmp_path / 'm.ecsv')
    run('split', tmp_path / 'm.ecsv', '-o', tmp_path / 's.json', '--fractions', '0', '0', '1')
    (tmp_path / '3.fits').unlink()
    result = run('preview', '--manifest', tmp_path / 'm.ecsv', '--split', tmp_path / 's.json', '--model',
                 tmp_path / 't.safetensors', '-o', tmp_path / 'out')
    assert result.exit_code == 1 and '3.fits: error: ' in result.output
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == [
        f'{n}-{image}.png' for n in range(3) for image in (1, 2)]


def test_raster_images(run, tmp_path, tiny_denoiser, rng):
    """They are catalogued, trained on and drawn as FITS files are."""
    tiny_denoiser.save(tmp_path / 't.safetensors')
    (tmp_path / 'night').mkdir()
    for n, (name, channels) in enumerate([('a.png', 3), ('b.jpg', 3), ('c.tif', 1), ('d.png', 1), ('e.png', 4)]):
        values = np.clip(rng.normal(90 + n, 8, (48, 48, channels)), 0, 255).astype('u1')
        values[..., 3:] = 255
        Image.fromarray(values[..., 0] if channels == 1 else values).save(tmp_path / 'night' / name)
    result = run('manifest', tmp_path / 'night', '-o', tmp_path / 'm.ecsv')
    assert result.exit_code == 0 and '5 with images' in result.output, result.output
    result = run('split', tmp_path / 'm.ecsv', '-o', tmp_path / 's.json', '--fractions', '0.2', '0.2', '0.6')
    assert result.exit_code == 0, result.output
    catalogue = ['--manifest', tmp_path / 'm.ecsv', '--split', tmp_path / 's.json']
    result = run('train', *catalogue, '-o', tmp_path / 'm.safetensors', *QUICK)
    assert result.exit_code == 0, result.output
    pictures = [tmp_path / 'night' / name for name in ('a.png', 'b.jpg')]
    result = run('train', *pictures, '-o', tmp_path / 'p.safetensors', *QUICK)
    assert result.exit_code == 0 and 'trained on 2 images' in result.output, result.output
    result = run('preview', *catalogue, '--model', tmp_path / 't.safetensors', '-o', tmp_path / 'out')
    assert result.exit_code == 0, result.output
    test = [Path(frame['path']).name for frame in json.loads((tmp_path / 's.json').read_text())['frames']
            if frame['split'] == 'test']
    assert len(test) == 3
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == sorted(f'{name}.png' for name in test)
    result = run('preview', tmp_path / 'night' / 'a.png', '--mask', 'BAD', '-o', tmp_path / 'masked')
    assert result.exit_code == 1 and 'mask does not go with pictures' in result.output


def test_training_without_the_library_for_pictures_says_what_is_missing(run, tmp_path, monkeypatch):
    def read_picture(path):
        raise ImportError("reading PNG needs PIL, which is not installed: pip install 'astropy-n2v[raster]'")

    monkeypatch.setattr('astropy_n2v.collections.raster.read_picture', read_picture)
    (tmp_path / 'a.png').write_bytes(b'')
    result = run('train', tmp_path / 'a.png', '-o', tmp_path / 'm.safetensors')
    assert result.exit_code == 1 and 'reading PNG needs PIL' in result.output


@pytest.mark.parametrize(('arguments', 'message'), [
    (['manifest', 'empty', '-o', 'x.ecsv'], 'must have a FITS file or a raster image'),
    (['manifest', 'gone', '-o', 'x.ecsv'], 'No such file or directory'),
    (['manifest', 'night', '-o', 'x.txt'], 'must be a file .ecsv, .csv, .parquet'),
    (['manifest', 'night', '-o', 'bad.csv'], 'lacks the columns'),
    (['manifest', 'night', '-o', 'x.ecsv', '--where', 'filter'], 'must be COLUMN=PATTERN'),
    (['manifest', 'night', '-o', 'x.ecsv', '--where', 'colour=g'], 'where must name columns'),
    (['split', 'bad.csv', '-o', 'x.json'], 'lacks the columns'),
    (['split', 'm.ecsv', '-o', 'x.json', '--fractions', '0.7', '0.2', '0.2'], 'add up to 1'),
    (['check', 'm.ecsv', '--split', 'm.ecsv'], 'is no split'),
    (['check', 'gone.ecsv'], 'No such file'),
    (['train', '-o', 'x.safetensors'], "Missing argument 'FILES...'"),
    (['train', '--manifest', 'm.ecsv', '-o', 'x.safetensors'], '--manifest, --split and --workers go together'),
    (['train', 'a.fits', '--manifest', 'm.ecsv', '--split', 's.json', '-o', 'x.safetensors'], 'without FILES'),
    (['train', '--manifest', 'm.ecsv', '--split', 's.json', '--ext', 'SCI', '-o', 'x.safetensors'], '--ext and --mask'),
    (['train', '--manifest', 'm.ecsv', '--split', 's.json', '--held-out', '0.1', '-o', 'x.safetensors'],
     '--held-out does not go'),
    (['train', '--manifest', 'm.ecsv', '--split', 's.json', '-o', 's.json'], 'overwrite its input'),
    (['preview', '-o', 'x'], "Missing argument 'FILES...'"),
    (['preview', '--manifest', 'm.ecsv', '-o', 'x'], '--manifest and --split go together'),
    (['preview', 'a.fits', '--manifest', 'm.ecsv', '--split', 's.json', '-o', 'x'], 'without FILES'),
    (['preview', '--manifest', 'm.ecsv', '--split', 's.json', '--ext', 'SCI', '-o', 'x'], '--ext and --mask'),
    (['preview', '--manifest', 'bad.csv', '--split', 's.json', '-o', 'x'], 'lacks the columns'),
    (['preview', '--manifest', 'm.ecsv', '--split', 'm.ecsv', '-o', 'x'], 'is no split'),
    (['preview', '--manifest', 'm.ecsv', '--split', 'none.json', '-o', 'x'], 'test must have at least one image'),
    (['preview', '--manifest', 'gone.ecsv', '--split', 's.json', '-o', 'x'], 'No such file'),
])
def test_bad_input(run, prepared, monkeypatch, arguments, message):
    (prepared / 'empty').mkdir()
    (prepared / 'bad.csv').write_text('path,noise\na.fits,3\n')
    content = json.loads((prepared / 's.json').read_text())
    content['frames'] = [frame for frame in content['frames'] if frame['split'] != 'test']
    (prepared / 'none.json').write_text(json.dumps(content))
    monkeypatch.chdir(prepared)
    result = run(*arguments)
    assert result.exit_code in (1, 2) and message in result.output.replace('\n', ' '), result.output
    assert 'Traceback' not in result.output


def test_fewer_fields_than_parts(run, night):
    run('manifest', night / 'night', '-o', night / 'm.ecsv', '--where', 'object=field [01]')
    result = run('split', night / 'm.ecsv', '-o', night / 's.json')
    assert result.exit_code == 1 and 'at least 3 fields of the sky' in result.output


def test_commands_of_the_page(run, tmp_path, monkeypatch):
    """Run the tutorial as it is written, on fewer and smaller frames."""
    text = PAGE.read_text(encoding='utf-8')
    code = textwrap.dedent(text.split('.. code-block:: python\n\n')[1].split('\n\n\n')[0])
    monkeypatch.chdir(tmp_path)
    exec(compile(code.replace('256, 256', '48, 48').replace('range(24)', 'range(8)'), str(PAGE), 'exec'), {})
    commands = re.findall(r'^    \$ astropy-n2v (.+)$', text, re.MULTILINE)
    names = [command.split()[0] for command in commands]
    assert names == ['manifest', 'split', 'check', 'train', 'preview']
    for command in commands:
        arguments = shlex.split(command)
        if arguments[0] == 'train':
            arguments = [entry for entry in arguments if not entry.startswith('--max-time')] + QUICK
        result = run(*arguments)
        assert result.exit_code == 0, (command, result.output)
    assert Denoiser.load('mycamera.safetensors').metadata['images'] > 1
    test = [frame['path'] for frame in json.loads(Path('split.json').read_text())['frames']
            if frame['split'] == 'test']
    assert sorted(path.stem for path in Path('pictures').rglob('*.png')) == sorted(Path(path).stem for path in test)


def test_pipeline_on_real_frames(run, data_path, tmp_path):
    """Frames of a field each of four instruments: raw, compressed, resampled, without WCS."""
    result = run('manifest', data_path / 'sfft_decam' / 'DEC-OBS04*.fits', data_path / 'properimage',
                 data_path / 'arcsat' / 'light_g_0[12].fits.gz', data_path / 'ccdproc' / 'a8280271.fits', '-o',
                 tmp_path / 'm.ecsv', '--processes', '1')
    assert result.exit_code == 0 and 'm.ecsv: 10 images of 10 files' in result.output, result.output
    result = run('split', tmp_path / 'm.ecsv', '-o', tmp_path / 's.json', '--columns', tmp_path / 'c.ecsv')
    assert result.exit_code == 0, result.output
    table = read_manifest(tmp_path / 'c.ecsv')
    by_instrument = {'sfft_decam': 5, 'arcsat': 2}
    for name, n in by_instrument.items():
        rows = [name in path for path in table['path'].tolist()]
        assert sum(rows) == n and len(set(table['split'][rows].tolist())) == 1
    result = run('check', tmp_path / 'm.ecsv', '--split', tmp_path / 's.json')
    assert result.exit_code == 0, result.output
    result = run('train', '--manifest', tmp_path / 'm.ecsv', '--split', tmp_path / 's.json', '-o',
                 tmp_path / 'm.safetensors', *QUICK)
    assert result.exit_code == 0, result.output
