# Licensed under a 3-clause BSD style license - see LICENSE
"""
Training: patches, schedule, early stopping, checkpoints, repeatability.
"""

import inspect
import os
import re
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from astropy.utils.exceptions import AstropyUserWarning
from models import flat_weights
from scipy.ndimage import binary_dilation

from astropy_n2v import CannotDenoiseError, Denoiser, NoiseModel, denoise, train
from astropy_n2v.networks import BlindSpotUNet
from astropy_n2v.training.loop import Trainer
from astropy_n2v.training.options import TRAINING_OPTIONS
from astropy_n2v.training.patches import PatchSampler, TrainingFrame, split_planes
from astropy_n2v.training.train import train_on_frames

TINY = dict(widths=(6, 8), decoder_widths=(6,), head_width=8)
OPTIONS = dict(max_steps=10, batch_size=2, patch_size=32, network_options=TINY)


@pytest.fixture
def frame(scene):
    return scene.observe(seed=1)


def test_training_lowers_the_likelihood_of_held_out_pixels(frame, scene):
    few, more = (train(frame, noise=scene.noise, hole=1, **{**OPTIONS, 'max_steps': n}) for n in (1, 80))
    assert more.metadata['held_out_likelihood'] < few.metadata['held_out_likelihood'] - 0.02
    assert more.metadata['steps'] == 80


def test_seed_gives_the_same_flat_weights(frame, scene):
    first, second, other = (train(frame, noise=scene.noise, hole=1, seed=seed, **OPTIONS) for seed in (1, 1, 2))
    assert torch.equal(flat_weights(first), flat_weights(second))
    assert not torch.equal(flat_weights(first), flat_weights(other))
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
    assert pad > 0 and frame.held_out_pixels.shape == (128, 128)
    assert frame.held_out_pixels.mean() == pytest.approx(0.1, abs=0.03)
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
    torch.testing.assert_close(flat_weights(denoiser), flat_weights(init), atol=1e-6, rtol=0)
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


def test_checkpoint_resumes_to_the_same_flat_weights(tmp_path):
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


def test_options_are_documented():
    text = inspect.getdoc(train_on_frames)
    documented = re.findall(r'^(\w[\w, ]*) : ', text[text.index('max_steps'):text.index('Returns')], re.MULTILINE)
    assert sorted(', '.join(documented).split(', ')) == sorted(TRAINING_OPTIONS)
    assert [name for name in TRAINING_OPTIONS if f'``{name}``' not in inspect.getdoc(train)] == []


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
    def test_shapes_and_flat_weights(self, size):
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


def test_end_of_a_process():
    """That of torchrun ends at once, with nothing left unsaid; any other goes on."""
    code = ('import os, sys; from astropy_n2v.training.processes import end_process; '
            'print("said", end=""); end_process(); print(", and more", end="")')
    for environment, said in (({}, 'said, and more'), ({'TORCHELASTIC_RUN_ID': '1'}, 'said')):
        result = subprocess.run([sys.executable, '-c', code], env={**os.environ, **environment}, text=True,
                                capture_output=True, check=True)
        assert result.stdout == said
