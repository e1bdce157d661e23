# Licensed under a 3-clause BSD style license - see LICENSE
"""
Training: patches, schedule, early stopping, checkpoints, repeatability.
"""

import inspect
from dataclasses import replace
import os
import shutil
import subprocess
import sys
import textwrap
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.utils.exceptions import AstropyUserWarning
from conftest import make_tiny_denoiser
from scipy.ndimage import binary_dilation

from astropy_n2v import CannotDenoiseError, Denoiser, NoiseModel, denoise, train
from astropy_n2v import weights as shipped
from astropy_n2v.utils.checks import TRAINING_OPTIONS
from astropy_n2v.networks import BlindSpotUNet
from astropy_n2v.training import recipe, release, repeat
from astropy_n2v.training.loop import Trainer
from astropy_n2v.training.patches import PatchSampler, TrainingFrame, split_planes
from astropy_n2v.training.train import train_on_frames

TINY = dict(widths=(6, 8), decoder_widths=(6,), head_width=8)
OPTIONS = dict(max_steps=10, batch_size=2, patch_size=32, network_options=TINY)


@pytest.fixture
def frame(scene):
    return scene.observe(seed=1)


def weights(denoiser):
    return torch.cat([value.flatten() for value in denoiser.network.state_dict().values()])


def test_training_lowers_the_likelihood_of_held_out_pixels(frame, scene):
    few, more = (train(frame, noise=scene.noise, hole=1, **{**OPTIONS, 'max_steps': n}) for n in (1, 80))
    assert more.metadata['held_out_likelihood'] < few.metadata['held_out_likelihood'] - 0.02
    assert more.metadata['steps'] == 80


def test_seed_gives_the_same_weights(frame, scene):
    first, second, other = (train(frame, noise=scene.noise, hole=1, seed=seed, **OPTIONS) for seed in (1, 1, 2))
    assert torch.equal(weights(first), weights(second))
    assert not torch.equal(weights(first), weights(other))
    assert first.sha256 == second.sha256


def test_training_does_not_touch_the_global_seed(frame, scene):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    train(frame, noise=scene.noise, hole=1, **OPTIONS)
    assert torch.rand(1) == expected


def test_several_frames_and_shapes(scene):
    frames = [scene.observe(seed=1), scene.observe(seed=2).data[:40, :70], scene.observe(seed=3).data.astype('>f4')]
    denoiser = train(frames, noise=scene.noise, hole=(1, 3), **OPTIONS)
    assert denoiser.hole == (1, 3) and denoiser.metadata['frames'] == 3


def test_correlated_noise_is_whitened(rng):
    noise = rng.normal(size=(160, 161))
    frame = noise[:, 1:] + noise[:, :-1]
    denoiser = train(frame, **OPTIONS)
    assert denoiser.hole == (1, 1) and denoiser.whitens
    other = train(frame, hole=(1, 3), **OPTIONS)
    assert other.hole == (1, 3) and not other.whitens


def test_frame_with_correlated_noise(rng):
    noise = rng.normal(size=(128, 129))
    correlation = np.zeros((3, 3))
    correlation[1] = 0.4, 1, 0.4
    data = 100 + 5 * (noise[:, 1:] + 0.5 * noise[:, :-1]) / np.sqrt(1.25)
    given = NoiseModel(5.0, autocorrelation=correlation)
    frame = TrainingFrame(data, given, held_out=0.1, rng=rng)
    pad = (frame.planes.shape[1] - 128) // 2
    assert pad > 0 and frame.judged.shape == (128, 128) and frame.judged.mean() == pytest.approx(0.1, abs=0.03)
    planes = {name: values[0, 0].numpy() for name, values in split_planes(frame.planes[None]).items()}
    inner = slice(pad + 8, -pad - 8)
    z = planes['z'][inner, inner]
    assert z.std() == pytest.approx(1, abs=0.03) and abs(np.mean(z[:, 1:] * z[:, :-1])) < 0.03
    # Nothing is trained on outside of the image.
    assert planes['weight'][:pad].sum() == planes['weight'][:, -pad:].sum() == 0
    signal = TrainingFrame(data, replace(given, gain=0.1), signal=np.full(data.shape, 120.0)).planes[-1]
    # 20 above zero in units of sigma: at least read noise and photons.
    assert np.all(signal.numpy()[inner, inner] > 0)


def test_init_is_where_training_starts(frame, scene):
    init = Denoiser.load('default')
    denoiser = train(frame, noise=scene.noise, init=init, max_steps=1, batch_size=1, patch_size=32, learning_rate=1e-12)
    torch.testing.assert_close(weights(denoiser), weights(init), atol=1e-6, rtol=0)
    assert denoiser.metadata['init_sha256'] == init.sha256
    with pytest.raises(ValueError, match='hole must be'):
        train(frame, noise=scene.noise, init=init, hole=7, **OPTIONS)


def test_time_ends_training(frame, scene):
    denoiser = train(frame, noise=scene.noise, hole=1, **{**OPTIONS, 'max_steps': 100_000}, max_time=1.0)
    assert 0 < denoiser.metadata['steps'] < 100_000


def test_frames_of_single_and_of_double_precision_are_the_same(scene):
    data = scene.observe(seed=2).data.astype(np.float32) + np.float32(1e5)
    noise = NoiseModel(5.0, gain=1.0) + 1e5
    for single, double in zip(TrainingFrame(data, noise).planes, TrainingFrame(data.astype(float), noise).planes):
        assert torch.equal(single, double)


@pytest.mark.parametrize('keep', ['best', 'last'])
def test_early_stopping_keeps_the_best_or_the_last(keep):
    torch.manual_seed(0)
    network = BlindSpotUNet(**TINY)
    rng = np.random.default_rng(0)
    sampler = PatchSampler([TrainingFrame(rng.normal(size=(64, 64)), NoiseModel(1.0))], 32, 2, rng)
    values = iter([3.0, 2.0, 2.5, 2.5, 2.5, 2.5, 2.5])
    states = []

    def judge(candidate):
        states.append(candidate.join.weight.clone())
        return next(values)

    trainer = Trainer(network, sampler, max_steps=1000, patience=2, min_delta=0.1, judge=judge, judge_every=1,
                      keep=keep)
    trainer.run()
    assert trainer.step == 4
    assert trainer.best == 2.0
    assert torch.equal(network.join.weight, states[1 if keep == 'best' else -1])


def test_checkpoint_resumes_to_the_same_weights(tmp_path):
    def trainer():
        torch.manual_seed(0)
        network = BlindSpotUNet(**TINY)
        rng = np.random.default_rng(0)
        data = np.random.default_rng(1).normal(size=(64, 64))
        sampler = PatchSampler([TrainingFrame(data, NoiseModel(1.0))], 32, 2, rng)
        return Trainer(network, sampler, max_steps=8, judge=lambda candidate: 0.0, judge_every=4)

    whole = trainer()
    whole.run()
    first = trainer()
    first.progress = lambda fraction, value: (_ for _ in ()).throw(KeyboardInterrupt) if first.step == 5 else None
    with pytest.raises(KeyboardInterrupt):
        first.run(tmp_path / 'state', checkpoint_every=2)
    second = trainer()
    second.run(tmp_path / 'state', checkpoint_every=2)
    assert second.step == 8
    for a, b in zip(whole.network.parameters(), second.network.parameters()):
        assert torch.equal(a, b)
    assert not (tmp_path / 'state.part').exists()


def test_checkpoint_of_few_steps_and_numpy_options(frame, tmp_path):
    path, options = tmp_path / 'state', {**OPTIONS, 'learning_rate': np.float32(1e-3), 'held_out': np.float64(0.1),
                                         'patience': None, 'network_options': {**TINY, 'widths': np.array([6, 8])}}
    first = train(frame, seed=np.int64(3), checkpoint=path, **{**options, 'max_steps': np.int64(4)})
    assert path.exists()
    resumed = train(frame, seed=3, checkpoint=path, **options)
    assert first.metadata['steps'] == 4 and resumed.metadata['steps'] == 10
    first.save(tmp_path / 'm.safetensors')
    assert Denoiser.load(tmp_path / 'm.safetensors').sha256 == first.sha256


def test_some_pixel_must_judge(frame):
    with pytest.raises(ValueError, match='held_out must leave some pixels to judge by, got 1e-09'):
        train(frame, held_out=1e-9, **OPTIONS)


def test_checkpoint_in_no_directory_is_an_error_at_once(frame, tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, '_train_step', lambda *arguments: pytest.fail('trained'))
    with pytest.raises(FileNotFoundError, match='checkpoint must be in a directory that exists, got .*nowhere'):
        train(frame, checkpoint=tmp_path / 'nowhere' / 'state', **OPTIONS)


def test_same_seed_gives_the_same_weights_in_threads(frame):
    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(train, frame, seed=5, **{**OPTIONS, 'max_steps': 2}) for _ in range(3)]
        found = [job.result().network.state_dict() for job in jobs]
    alone = train(frame, seed=5, **{**OPTIONS, 'max_steps': 2}).network.state_dict()
    for state in found:   # torch adds up gradients in another order
        torch.testing.assert_close(state, alone, rtol=1e-3, atol=1e-4)


def test_damaged_checkpoint_is_an_error(frame, scene, tmp_path):
    (tmp_path / 'state').write_bytes(b'nonsense')
    with pytest.raises(ValueError, match='cannot be resumed from'):
        train(frame, noise=scene.noise, hole=1, checkpoint=tmp_path / 'state', **OPTIONS)


@pytest.mark.parametrize('change, match', [
    (dict(seed=2), 'seed 1 and not 2'), (dict(learning_rate=1e-3), r'learning_rate 0.004 and not 0.001'),
    (dict(held_out=0.2), 'held_out 0.1 and not 0.2'), (dict(hole=3), r'hole \[1, 1\] and not \[3, 3\]'),
    (dict(noise=NoiseModel(7.0)), r'\(other noise\)'), (dict(batch_size=3), 'batch_size 2 and not 3'),
    (dict(mask=np.eye(128, 160, dtype=bool)), r'\(other data\)')])
def test_checkpoint_of_another_training_is_an_error(frame, scene, tmp_path, monkeypatch, change, match):
    monkeypatch.setattr(Trainer.run, '__defaults__', (None, 2, None))   # saves every second step
    options = {**OPTIONS, 'noise': scene.noise, 'hole': 1, 'seed': 1, 'max_steps': 4,
               'checkpoint': tmp_path / 'state'}
    train(frame, **options)
    with pytest.raises(ValueError, match=f'state is of another training and cannot be resumed from .*{match}'), \
            warnings.catch_warnings():
        warnings.simplefilter('ignore')
        train(frame, **{**options, **change})
    # A larger budget is no other training.
    assert train(frame, **{**options, 'max_steps': 6}).metadata['steps'] == 6


def test_images_that_cannot_be_trained_on_are_left_out(frame, scene):
    flat = np.full((40, 40), 3.0)
    with pytest.warns(AstropyUserWarning, match='^flat.fits: the image is left out: data is constant'):
        denoiser = train([frame.data, flat], names=['good.fits', 'flat.fits'], hole=1, **OPTIONS)
    assert denoiser.metadata['images'] == 1
    with pytest.raises(CannotDenoiseError, match='constant'):
        train(flat)
    with pytest.raises(CannotDenoiseError, match='images must hold at least one that can'), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        train([flat, flat])


@pytest.mark.slow
def test_saturated_stars_do_not_ruin_training(scene):
    """Flat tops, and the trails that bleed from them."""
    data = scene.observe(seed=8).data.copy()
    level = np.float32(np.quantile(scene.truth, 0.997))
    data = np.minimum(data, level)
    row, column = np.unravel_index(np.argmax(scene.truth), scene.truth.shape)
    data[:, column] = level
    assert 150 < np.sum(data == level) < 400
    # After half as many steps it is down to the seed whether the slopes of saturated stars are foreseen.
    clean = denoise(data, 'self', noise=scene.noise, hole=1, max_steps=240, patch_size=48, batch_size=4,
                    satlevel=float(level))
    saturated = data >= level
    np.testing.assert_array_equal(clean[saturated], level)
    near = binary_dilation(saturated, iterations=2) & ~saturated
    sky = (scene.truth < 210) & ~saturated
    for where, limit in ((sky, 0.5), (near, 0.75)):
        rms = [np.sqrt(np.mean((image - scene.truth)[where] ** 2 / scene.noise.variance(scene.truth)[where]))
               for image in (clean, data)]
        assert rms[0] < limit * rms[1]


def test_options_have_one_list():
    names = set(inspect.signature(train_on_frames).parameters)
    assert names - {'frames', 'init', 'hole', 'whiten', 'seed', 'device', 'progress_bar'} == set(TRAINING_OPTIONS)


@pytest.mark.parametrize('kwargs, match', [
    (dict(max_steps=0), 'max_steps must be a positive integer, got 0'),
    (dict(batch_size=1.5), 'batch_size must be a positive integer, got 1.5'),
    (dict(max_time=-1), 'max_time must be positive, got -1'),
    (dict(learning_rate=0.0), 'learning_rate must be positive, got 0.0'),
    (dict(min_delta=-1), 'min_delta must be a number from 0 on, got -1'),
    (dict(held_out=1.0), 'held_out must be between 0 and 1, got 1.0'),
    (dict(patch_size=1), 'patch_size must be at least 2'),
    (dict(hole=4), 'hole must be an odd number'),
    (dict(seed=-3), 'seed must be a non-negative integer, got -3'),
])
def test_bad_options(frame, scene, kwargs, match):
    with pytest.raises(ValueError, match=match):
        train(frame, noise=scene.noise, **{**OPTIONS, 'hole': 1, **kwargs})


def test_no_images():
    with pytest.raises(ValueError, match='images must hold at least one image'):
        train([])


class TestPatches:
    def sampler(self, size, data=None, **kwargs):
        rng = np.random.default_rng(3)
        data = rng.normal(size=(50, 61)) if data is None else data
        frame = TrainingFrame(data, NoiseModel(1.0), held_out=0.1, rng=rng)
        return PatchSampler([frame], size, 3, rng, **kwargs)

    @pytest.mark.parametrize('size', [16, 64, 96])
    def test_shapes_and_weights(self, size):
        planes = split_planes(self.sampler(size).draw())
        assert planes['z'].shape == (3, 1, size, size)
        assert torch.all(planes['weight'] <= planes['seen'])
        assert torch.all(planes['v0'] == 1)
        assert planes['weight'].sum() > 0

    def test_masked_and_held_out_pixels_have_no_weight(self):
        data = np.random.default_rng(0).normal(size=(50, 61))
        data[10:20] = np.nan
        frame = TrainingFrame(data, NoiseModel(1.0), held_out=0.2, rng=np.random.default_rng(1))
        z, seen, weight, *_ = frame.planes
        assert torch.isfinite(frame.planes).all()
        assert torch.all(seen[10:20] == 0)
        assert torch.all(weight + frame.held_out == seen)
        assert 0.15 < frame.held_out.sum() / seen.sum() < 0.25

    def test_patches_are_drawn_where_there_are_valid_pixels(self):
        data = np.full((300, 300), np.nan)
        data[200:240, 100:140] = np.random.default_rng(0).normal(size=(40, 40))
        sampler = self.sampler(32, data, mask_probability=0)
        hits = [float(split_planes(sampler.draw())['weight'].sum()) > 0 for _ in range(10)]
        assert np.mean(hits) > 0.5


@pytest.mark.parametrize('correlated', [0, 0.5])
def test_recipe_trains_from_nothing_and_from_weights(correlated, tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, 'SCENE_SIZE', 48)
    output = tmp_path / 'model.safetensors'
    options = f'--correlated {correlated} --patch-size 32 --batch-size 2 --pool 2 --threads 1'.split()
    recipe.main([str(output), '--steps', '2', *options])
    first = Denoiser.load(output)
    assert first.hole == (1, 1) and first.whitens
    assert first.metadata['steps'] == 2
    second = tmp_path / 'second.safetensors'
    recipe.main([str(second), '--steps', '3', '--init', str(output), *options])
    assert Denoiser.load(second).metadata['steps'] == 3


def test_recipe_takes_real_frames(scene, tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, 'SCENE_SIZE', 48)
    path, output = tmp_path / 'frame.fits', tmp_path / 'model.safetensors'
    scene.observe(seed=3).write(path)
    recipe.main([str(output), '--steps', '1', '--real', str(path), str(path), '--real-share', '0.5',
                 *'--patch-size 32 --batch-size 4 --pool 2 --threads 1 --widths 6 8 --decoder-widths 6'.split()])
    assert Denoiser.load(output).metadata['trained_on'].endswith('and 2 real frames')


class TestRepeat:
    """The shipped weights, from nothing."""

    OPTIONS = '--patch-size 32 --batch-size 2 --pool 2 --renew-every 1000 --widths 6 8 --decoder-widths 6 --steps 2'

    @pytest.fixture
    def stages(self, monkeypatch):
        """Two short stages, in this process; of those that the recipe was asked for, name and what it starts from."""
        monkeypatch.setattr(recipe, 'SCENE_SIZE', 48)
        monkeypatch.setattr(repeat, 'STAGES', (('first', None, self.OPTIONS),
                                               ('second', 'first', self.OPTIONS)))
        trained = []

        def run(command, check):
            assert check and command[:3] == [sys.executable, '-m', recipe.__name__]
            options = recipe._parse(command[3:])
            trained.append((Path(options.output).stem, options.init and Path(options.init).stem))
            recipe.main(command[3:])

        monkeypatch.setattr(subprocess, 'run', run)
        return trained

    def test_each_stage_starts_from_another(self, stages, tmp_path):
        repeat.main([str(tmp_path / 'all'), '--threads', '1'])
        first, second = (Denoiser.load(tmp_path / 'all' / f'{name}.safetensors') for name in ('first', 'second'))
        assert second.whitens and first.whitens
        assert first.sha256 != second.sha256
        assert stages == [('first', None), ('second', 'first')]

    def test_finished_stages_are_not_trained_again(self, stages, tmp_path):
        repeat.main([str(tmp_path), '--threads', '1', '--stages', 'first'])
        repeat.main([str(tmp_path), '--threads', '1'])
        repeat.main([str(tmp_path), '--threads', '1'])
        assert stages == [('first', None), ('second', 'first')]

    def test_shipped_weights(self):
        made = [name for name, _, _ in repeat.STAGES]
        assert made[-1] == shipped.DEFAULT
        for i, (_, start, training) in enumerate(repeat.STAGES):
            starts = {start} - {None} if training else set(start)
            assert starts <= set(made[:i])
            options = recipe._parse(['output', *(training or '').split()])
        model = Denoiser.load('default')
        assert model.whitens
        assert model.network.config['widths'] == list(options.widths)
        assert model.network.config['decoder_widths'] == list(options.decoder_widths)

    def test_mean_of_stages(self, stages, tmp_path, monkeypatch):
        monkeypatch.setattr(repeat, 'STAGES', (*repeat.STAGES, ('mean', ('first', 'second'), None)))
        repeat.main([str(tmp_path), '--threads', '1'])
        first, second, mean = (Denoiser.load(tmp_path / f'{name}.safetensors') for name in ('first', 'second', 'mean'))
        torch.testing.assert_close(weights(mean), (weights(first) + weights(second)) / 2)
        assert mean.metadata['mean_of'] == [first.sha256, second.sha256] and mean.whitens is second.whitens

    @pytest.mark.parametrize('options, match', [('--stages third', "invalid choice: 'third'"),
                                                ('--stages last', '--stages must include longest, which last starts'),
                                                ('--stages mean', 'must include longest and last'),
                                                ('--processes 0', '--processes must be at least 1, got 0')])
    def test_bad_options(self, tmp_path, capsys, options, match):
        with pytest.raises(SystemExit):
            repeat.main([str(tmp_path), *options.split()])
        assert match in capsys.readouterr().err

    def test_end_of_a_process(self):
        """That of torchrun ends at once, with nothing left unsaid; any other goes on."""
        code = ('import os, sys; from astropy_n2v.training.processes import end_process; '
                'print("said", end=""); end_process(); print(", and more", end="")')
        for environment, said in (({}, 'said, and more'), ({'TORCHELASTIC_RUN_ID': '1'}, 'said')):
            result = subprocess.run([sys.executable, '-c', code], env={**os.environ, **environment}, text=True,
                                    capture_output=True, check=True)
            assert result.stdout == said

    @pytest.mark.slow
    def test_several_processes(self, tmp_path, monkeypatch):
        monkeypatch.setattr(repeat, 'STAGES', (('first', None, self.OPTIONS), ('second', 'first', self.OPTIONS)))
        repeat.main([str(tmp_path), '--processes', '2', '--threads', '1'])
        assert Denoiser.load(tmp_path / 'second.safetensors').metadata['processes'] == 2


class TestRecipe:
    """Its files, its checkpoints, its processes."""

    OPTIONS = ('--patch-size 32 --batch-size 2 --pool 2 --renew-every 1000 --threads 1 --widths 6 8 '
               '--decoder-widths 6 --steps 2')

    @pytest.fixture(scope='class')
    @classmethod
    def finished(cls, tmp_path_factory):
        """Directory of a run of two steps: its model m and m.ckpt."""
        directory = tmp_path_factory.mktemp('finished')
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(recipe, 'SCENE_SIZE', 48)
            patch.setattr(Trainer.run, '__defaults__', (None, 2, None))   # saves every second step
            recipe.main([str(directory / 'm'), *cls.OPTIONS.split()])
        return directory

    @pytest.fixture
    def run(self, finished, tmp_path, monkeypatch):
        """Run the recipe again."""
        shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
        monkeypatch.setattr(recipe, 'SCENE_SIZE', 48)
        monkeypatch.setattr(Trainer.run, '__defaults__', (None, 2, None))

        def run_recipe(options=''):
            recipe.main([str(tmp_path / 'm'), *self.OPTIONS.split(), *options.split()])
            return Denoiser.load(tmp_path / 'm')
        return run_recipe

    def test_half_precision(self, run, tmp_path):
        full = Denoiser.load(tmp_path / 'm')
        size = (tmp_path / 'm').stat().st_size
        half = run('--dtype float16')   # resumes at its end
        assert half.metadata == full.metadata
        assert torch.equal(weights(half), weights(full).half().float())
        assert not torch.equal(weights(half), weights(full))
        assert (tmp_path / 'm').stat().st_size < size - 2 * len(weights(full)) + 100

    def test_budget_may_change(self, run):
        assert run('--steps 4 --minutes 5 --threads 2').metadata['steps'] == 4

    @pytest.mark.parametrize('change, match', [
        ('--correlated 0.3', 'correlated 0.0 and not 0.3'), ('--seed 3', 'seed 20261 and not 3'),
        ('--widths 6 10', r'widths \[6, 8\] and not \[6, 10\]'),
        ('--decoder-widths 8', r'decoder_widths \[6\] and not \[8\]'), ('--patch-size 48', 'patch_size 32 and not 48'),
        ('--batch-size 3', 'batch_size 2 and not 3'), ('--learning-rate 1e-3', 'learning_rate 0.004 and not 0.001'),
        ('--pool 3', 'pool 2 and not 3'),
        ('--max-gain 12', 'max_gain 24.0 and not 12.0'), ('--no-focus', 'focus True and not False'),
        ('--renew-every 2', 'renew_every 1000 and not 2'),
        ('--init INIT', "init None and not '[0-9a-f]{64}'")])
    def test_checkpoint_of_other_options_is_an_error(self, run, tmp_path, change, match):
        before = Denoiser.load(tmp_path / 'm')
        shutil.copy(tmp_path / 'm', tmp_path / 'init')
        with pytest.raises(ValueError, match=f'm.ckpt is of another training and cannot be resumed from .*{match}'):
            run(change.replace('INIT', str(tmp_path / 'init')))
        assert Denoiser.load(tmp_path / 'm').sha256 == before.sha256

    def test_checkpoint_from_other_weights_is_an_error(self, run, tmp_path):
        (tmp_path / 'm.ckpt').unlink()
        shutil.copy(tmp_path / 'm', tmp_path / 'init')
        init = f'--init {tmp_path / "init"}'
        run(init)
        shutil.copy(tmp_path / 'm', tmp_path / 'init')
        with pytest.raises(ValueError, match="init '[0-9a-f]{64}' and not '[0-9a-f]{64}'"):
            run(init)

    def test_checkpoint_of_other_scenes_is_an_error(self, run, monkeypatch):
        monkeypatch.setattr(recipe, 'RANDOM_FIELDS', {'empty': 1.0})
        with pytest.raises(ValueError, match="fields {'survey': .*} and not {'empty': 1.0}"):
            run()

    def test_checkpoint_that_does_not_say_what_it_is_of(self, run, tmp_path):
        state = torch.load(tmp_path / 'm.ckpt', weights_only=True)
        torch.save({**state, 'identity': {}}, tmp_path / 'm.ckpt')
        with pytest.raises(ValueError, match='m.ckpt does not say of which training it is'):
            run()

    @pytest.mark.slow
    def test_processes_train_one_network(self, tmp_path):
        """Two processes agree; killed and resumed, they end with the same weights."""
        code = textwrap.dedent(f'''
            import itertools, os, signal, sys
            sys.path[:] = {sys.path!r}
            import torch
            from astropy_n2v.training import recipe
            from astropy_n2v.training.loop import Trainer

            recipe.SCENE_SIZE = 48
            # The first judgement, after three steps, is the best.
            recipe._make_judge = lambda options: lambda candidate, values=itertools.count(): next(values)
            run, step = Trainer.run, Trainer._train_step
            output, rank, deadly_step = sys.argv[1], os.environ['RANK'], int(os.environ['DEADLY_STEP'])

            def train_step(self, fraction):
                if (rank, self.step) == ('1', deadly_step):
                    os.kill(os.getpid(), signal.SIGKILL)
                return step(self, fraction)

            def train(self, checkpoint, identity):
                self.judge_every, self.keep = 3, 'best'
                run(self, checkpoint, 2, identity)
                torch.save({{'network': self.network.state_dict(), 'average': self.average.state_dict(),
                            'drawn': self.sampler.draw()}}, f'{{output}}.{{rank}}')

            Trainer.run, Trainer._train_step = train, train_step
            recipe.main(sys.argv[1:])
            recipe.end_process()
        ''')
        (tmp_path / 'program.py').write_text(code)

        def torchrun(name, deadly_step=-1):
            command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2',
                       tmp_path / 'program.py', tmp_path / name, *self.OPTIONS.split(), '--steps', '6']
            return subprocess.run(command, capture_output=True, text=True,
                                  env={**os.environ, 'DEADLY_STEP': str(deadly_step)})

        def states(name):
            return [torch.load(tmp_path / f'{name}.{rank}', weights_only=True) for rank in (0, 1)]

        def same(first, second):
            return all(torch.equal(first[name], second[name]) for name in first)

        result = torchrun('whole')
        assert result.returncode == 0, result.stderr
        whole = states('whole')
        assert same(whole[0]['network'], whole[1]['network']) and same(whole[0]['average'], whole[1]['average'])
        # The best of what the first judged, and not the last.
        assert not torch.equal(whole[1]['network']['join.weight'], whole[1]['average']['module.join.weight'])
        # Each sees frames of its own.
        assert not torch.equal(whole[0]['drawn'], whole[1]['drawn'])
        metadata = Denoiser.load(tmp_path / 'whole').metadata
        assert metadata['processes'] == 2 and metadata['steps'] == 6

        result = torchrun('killed', deadly_step=5)
        assert result.returncode != 0 and not (tmp_path / 'killed').exists()
        assert torch.load(tmp_path / 'killed.ckpt', weights_only=True)['step'] == 4
        result = torchrun('killed')
        assert result.returncode == 0, result.stderr
        killed = states('killed')
        for first, second in zip(whole, killed):
            assert same(first['network'], second['network']) and torch.equal(first['drawn'], second['drawn'])

        # Of two processes, it is not what one alone would go on with.
        arguments = [str(tmp_path / 'killed'), *self.OPTIONS.split(), '--steps', '8']
        with pytest.raises(ValueError, match='processes 2 and not 1'):
            recipe.main(arguments)


def make_whitening_denoiser(hole=(1, 1)):
    denoiser = make_tiny_denoiser(hole)
    return Denoiser(denoiser.network, {**denoiser.metadata, 'whitened': True})


class TestRelease:
    """How weights come to be shipped."""

    @pytest.fixture
    def directory(self, tmp_path, monkeypatch):
        """A copy of the shipped models that may be changed."""
        directory = tmp_path / 'weights'
        shutil.copytree(shipped.DIRECTORY, directory)
        monkeypatch.setattr(shipped, 'DIRECTORY', directory)
        return directory

    @pytest.fixture
    def trained(self, tmp_path):
        """File of a model that could be shipped."""
        make_whitening_denoiser().save(tmp_path / 'trained.safetensors')
        return tmp_path / 'trained.safetensors'

    def test_model_is_shipped_in_half_precision(self, directory, trained):
        path = release.release(trained)
        assert path == directory / 'default-1x1.safetensors'
        denoiser = Denoiser.load('default')
        expected = weights(make_tiny_denoiser())
        assert torch.equal(weights(denoiser), expected.half().float()) and denoiser.metadata['name'] == 'default-1x1'
        assert shipped.describe_model(path)['dtype'] == 'float16'

    def test_command(self, directory, trained, capsys):
        release.main([str(trained), '--dtype', 'float32'])
        assert torch.equal(weights(Denoiser.load('default')), weights(make_tiny_denoiser()))
        assert capsys.readouterr().out.splitlines()[1:] == (directory / 'SHA256SUMS').read_text().splitlines()

    def test_checksums_alone(self, directory, tiny_denoiser):
        tiny_denoiser.save(directory / 'default-1x1.safetensors', overwrite=True)
        with pytest.raises(ValueError, match='is not the model that is shipped'):
            Denoiser.load('default')
        release.main([])
        assert Denoiser.load('default').sha256 == tiny_denoiser.sha256

    def test_no_model_without_a_card(self, directory, trained):
        (directory / 'default-1x1.md').unlink()
        before = shipped.read_checksums()
        with pytest.raises(FileNotFoundError, match='default-1x1.md must say what the model was trained on'):
            release.release(trained)
        release.main([])
        assert shipped.read_checksums() == before

    @pytest.mark.parametrize('model, found', [(make_tiny_denoiser, '1x1, whitens False'),
                                              (lambda: make_whitening_denoiser((3, 3)), '3x3, whitens True')])
    def test_no_model_that_the_default_cannot_be(self, directory, tmp_path, model, found):
        model().save(tmp_path / 'trained.safetensors')
        with pytest.raises(ValueError, match=f'that is to see whitened images, got .*: a hole of {found}'):
            release.release(tmp_path / 'trained.safetensors')
        assert shipped.read_checksums()['default-1x1.safetensors'] == Denoiser.load('default').sha256
