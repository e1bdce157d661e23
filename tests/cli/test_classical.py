# Licensed under a 3-clause BSD style license - see LICENSE
"""
Classical strategies on the command line.
"""

import signal

import numpy as np
import pytest
from astropy.io import fits
from click.testing import CliRunner

from astropy_n2v import Denoiser
from astropy_n2v.cli import main
from astropy_n2v.denoiser import ClassicalDenoiser
from astropy_n2v.training.options import CLASSICAL_DEFAULTS

TINY = ['--levels', '2', '--base', '4', '--max-steps', '2', '--patch-size', '32', '--batch-size', '2']


@pytest.fixture
def run():
    return lambda *arguments: CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def frames(tmp_path, rng):
    paths = [tmp_path / f'{name}.fits' for name in 'abcdef']
    for path in paths:
        fits.writeto(path, rng.normal(100, 5, (40, 48)).astype('f4'), fits.Header({'BUNIT': 'adu'}))
    return paths


@pytest.fixture
def colours(tmp_path, rng):
    paths = [tmp_path / f'{name}.fits' for name in 'rst']
    for path in paths:
        fits.writeto(path, rng.normal([[[100]], [[300]], [[900]]], 5, (3, 40, 48)).astype('f4'),
                     fits.Header({'BUNIT': 'adu'}))
    return paths


@pytest.fixture
def catalogue(run, tmp_path):
    """Make a manifest and a split of the files in a folder, and return the options that name them."""
    def make():
        assert run('manifest', tmp_path, '-o', tmp_path / 'm.ecsv', '--processes', '1').exit_code == 0
        result = run('split', tmp_path / 'm.ecsv', '-o', tmp_path / 's.json', '--fractions', '0.5', '0.5', '0')
        assert result.exit_code == 0, result.output
        return ['--manifest', tmp_path / 'm.ecsv', '--split', tmp_path / 's.json']
    return make


@pytest.mark.parametrize('options, strategy, hole, config', [
    (['n2v'], 'uniform', (1, 1), {'top_skip': True, 'blur_pool': False, 'batch_norm': False}),
    (['n2v2', '--batch-norm', '--upsampling', 'bilinear'], 'median', (1, 1),
     {'top_skip': False, 'blur_pool': True, 'batch_norm': True, 'upsampling': 'bilinear'}),
    (['structn2v', '--struct', '5x5'], 'struct', (5, 5), {'levels': 2, 'base': 4})])
def test_train_on_files_and_denoise(run, frames, tmp_path, options, strategy, hole, config):
    model = tmp_path / 'm.safetensors'
    arguments = ['train', *frames[:2], '-o', model, '--strategy', *options, *TINY]
    result = run(*arguments, '--masked', '0.05', '--roi-size', '9')
    assert result.exit_code == 0, result.output
    assert all(text in result.stdout for text in ('trained on 2 images', '2 steps', 'held-out squared error'))
    loaded = Denoiser.load(model)
    assert isinstance(loaded, ClassicalDenoiser) and loaded.hole == hole and loaded.metadata['strategy'] == strategy
    assert {name: loaded.network.config[name] for name in config} == config
    assert run('denoise', frames[0], '-o', tmp_path / 'out', '--model', model).exit_code == 0
    with fits.open(tmp_path / 'out' / 'a_n2v.fits') as hdus:
        assert len(hdus) == 1 and hdus[0].header['N2VMODEL'] == 'm.safetensors'
    # The state is gone, and the model is not replaced.
    assert not list(tmp_path.glob('*.checkpoint'))
    assert run(*arguments).exit_code == 1


def test_the_same_seed_gives_the_same_model(run, frames, tmp_path):
    hashes = []
    for name, seed in ('a', 1), ('b', 1), ('c', 2):
        run('train', frames[0], '-o', tmp_path / f'{name}.safetensors', '--strategy', 'n2v', *TINY, '--seed', seed)
        hashes.append(Denoiser.load(tmp_path / f'{name}.safetensors').sha256)
    assert hashes[0] == hashes[1] != hashes[2]


def test_masks_from_files(run, frames, tmp_path):
    cross = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]])
    np.savetxt(tmp_path / 'mask.txt', cross)
    fits.writeto(tmp_path / 'mask.fits', cross.astype('u1'))
    models = []
    for name in 'mask.txt', 'mask.fits':
        models.append(tmp_path / f'{name}.safetensors')
        result = run('train', frames[0], '-o', models[-1], '--strategy', 'structn2v', '--struct', tmp_path / name,
                     *TINY)
        assert result.exit_code == 0, result.output
    first, second = map(Denoiser.load, models)
    assert first.hole == (3, 3) and first.sha256 == second.sha256


def test_train_on_a_catalogue(run, frames, catalogue, tmp_path):
    where = catalogue()
    result = run('train', *where, '-o', tmp_path / 'm.safetensors', '--strategy', 'n2v2', *TINY)
    assert result.exit_code == 0, result.output
    assert 'training on 3 files, judged by 3' in result.stderr and 'trained on 3 images' in result.stdout
    assert Denoiser.load(tmp_path / 'm.safetensors').metadata['strategy'] == 'median'


def test_colours(run, colours, tmp_path):
    model = tmp_path / 'colour.safetensors'
    result = run('train', *colours, '-o', model, '--strategy', 'n2v', '--channels', '3', *TINY)
    assert result.exit_code == 0, result.output
    assert Denoiser.load(model).channels == 3
    assert run('denoise', colours[0], '-o', tmp_path / 'out', '--model', model).exit_code == 0
    clean = fits.getdata(tmp_path / 'out' / 'r_n2v.fits')
    assert clean.shape == (3, 40, 48) and np.allclose(clean.mean(axis=(1, 2)), (100, 300, 900), atol=2)


def test_colours_of_a_catalogue(run, colours, catalogue, tmp_path):
    where = catalogue()
    result = run('train', *where, '-o', tmp_path / 'm.safetensors', '--strategy', 'n2v', '--channels', '3', *TINY)
    assert result.exit_code == 0, result.output
    assert Denoiser.load(tmp_path / 'm.safetensors').channels == 3


def test_pictures(run, tmp_path, rng):
    Image = pytest.importorskip('PIL.Image')
    pytest.importorskip('tifffile')
    picture = rng.normal((60, 120, 180), 8, (40, 48, 3)).clip(0, 254).astype('u1')
    Image.fromarray(picture).save(tmp_path / 'p.png')
    model = tmp_path / 'colour.safetensors'
    result = run('train', tmp_path / 'p.png', '-o', model, '--strategy', 'n2v', '--channels', '3', *TINY)
    assert result.exit_code == 0, result.output
    result = run('denoise', tmp_path / 'p.png', '-o', tmp_path / 'out', '--model', model)
    assert result.exit_code == 0, result.output
    clean = np.asarray(Image.open(tmp_path / 'out' / 'p_n2v.png'))
    assert clean.shape == picture.shape and np.all(clean.std(axis=(0, 1)) < picture.std(axis=(0, 1)))
    assert '--ext and --mask do not go' in run('train', tmp_path / 'p.png', '--ext', '1', '-o', tmp_path / 'x').output


def test_interrupted_training_goes_on(run, frames, tmp_path, monkeypatch):
    """The model is the one of a training that was not interrupted."""
    from astropy_n2v.training.classical import _ClassicalTrainer
    original, steps = _ClassicalTrainer._train_step, []

    def step(self, fraction):
        steps.append(self.step)
        if steps == [0, 1]:
            signal.raise_signal(signal.SIGTERM)
        return original(self, fraction)

    arguments = ['train', frames[0], '--strategy', 'n2v', *TINY, '--max-steps', '4']
    assert run(*arguments, '-o', tmp_path / 'whole.safetensors').exit_code == 0
    monkeypatch.setattr(_ClassicalTrainer, '_train_step', step)
    model = tmp_path / 'm.safetensors'
    result = run(*arguments, '-o', model)
    assert result.exit_code == 128 + signal.SIGTERM and 'interrupted after step 2' in result.stderr
    result = run(*arguments, '-o', model)
    assert result.exit_code == 0 and steps == [0, 1, 2, 3], result.output
    assert Denoiser.load(model).sha256 == Denoiser.load(tmp_path / 'whole.safetensors').sha256


def test_help_has_the_defaults(run):
    text = ' '.join(run('train', '--help').stdout.split())
    assert all(f'--{name.replace("_", "-")} {value:g}' in text for name, value in CLASSICAL_DEFAULTS.items())
    for default in ('11', '0.02', '4', '48', 'transposed', 'no'):
        assert f'[default: {default}]' in text


@pytest.mark.parametrize('options, message', [
    (['--strategy', 'nonsense'], "'nonsense' is not one of 'n2v', 'n2v2', 'structn2v'"),
    (['--struct', '5x5'], '--struct goes with --strategy only'),
    (['--batch-norm'], '--batch-norm goes with --strategy only'),
    (['--strategy', 'n2v', '--init', 'default'], '--init does not go with --strategy'),
    (['--strategy', 'n2v', '--gain', '2'], '--gain does not go with --strategy'),
    (['--strategy', 'n2v', '--hole', '3'], '--hole does not go with --strategy'),
    (['--strategy', 'n2v', '--star-share', '0.1'], '--star-share does not go with --strategy'),
    (['--strategy', 'n2v', '--workers', '2'], '--workers does not go with --strategy'),
    (['--strategy', 'n2v', '--struct', '5x5'], "struct must be given with the strategy 'struct', and with no other"),
    (['--strategy', 'structn2v'], "struct must be given with the strategy 'struct'"),
    (['--strategy', 'structn2v', '--struct', '4x5'], 'struct must be a two-dimensional mask of odd height and width'),
    (['--strategy', 'structn2v', '--struct', '13x13'], 'got a mask that covers all'),
    (['--strategy', 'structn2v', '--struct', 'gone.txt'], "'gone.txt' must be height and width such as 1x9, or a file"),
    (['--strategy', 'n2v', '--roi-size', '4'], 'roi_size must be odd, got 4'),
    (['--strategy', 'n2v', '--channels', '3'], 'the model takes images of 3 channels')])
def test_bad_options(run, frames, tmp_path, options, message):
    result = run('train', frames[0], '-o', tmp_path / 'x.safetensors', *options)
    assert result.exit_code in (1, 2) and message in ' '.join(result.output.split()), result.output
    assert 'Traceback' not in result.output and not (tmp_path / 'x.safetensors').exists()


def test_channels_of_a_catalogue_that_are_no_colours(run, frames, catalogue, tmp_path):
    result = run('train', *catalogue(), '-o', tmp_path / 'x', '--strategy', 'n2v', '--channels', '3')
    assert result.exit_code == 1 and 'channels must be the number of channels of each image' in result.output
    assert 'has the shape 40x48' in result.output


def test_a_mask_that_covers_all(run, frames, tmp_path):
    fits.writeto(tmp_path / 'all.fits', np.ones((40, 48), dtype='u1'))
    for strategy in ['--strategy', 'n2v'], []:
        result = run('train', *frames[:2], '-o', tmp_path / 'x', '--mask', tmp_path / 'all.fits', *strategy)
        assert result.exit_code == 1 and 'can be denoised, got none' in result.output, result.output
        result = run('train', frames[0], '-o', tmp_path / 'x', '--mask', tmp_path / 'all.fits', *strategy)
        assert result.exit_code == 1 and 'data has no valid pixel: all are masked' in result.output, result.output


def test_states_and_models_of_another_architecture(run, frames, tmp_path, tiny_denoiser):
    """Neither is a state resumed by another network, nor does one train on from the weights of the other."""
    state, plain = tmp_path / 'state', tmp_path / 'plain.safetensors'
    assert run('train', frames[0], '-o', plain, '--strategy', 'n2v', *TINY, '--checkpoint', state).exit_code == 0
    for options in (['--strategy', 'n2v', '--base', '6'], ['--strategy', 'n2v2'], []):
        result = run('train', frames[0], '-o', tmp_path / 'x', *TINY[-6:], *options, '--checkpoint', state)
        assert result.exit_code == 1, result.output
        assert f'checkpoint {state} is of another training and cannot be resumed from' in result.output
    result = run('train', frames[0], '-o', tmp_path / 'x', '--init', plain, '--max-steps', '1')
    assert result.exit_code == 1 and 'init must be a blind-spot model' in result.output, result.output
