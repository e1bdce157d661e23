# Licensed under a 3-clause BSD style license - see LICENSE
"""
Training: patches, schedule, early stopping, checkpoints, repeatability.
"""

import numpy as np
import pytest
import torch

from astropy_n2v import Denoiser, NoiseModel, train
from astropy_n2v.networks import BlindSpotUNet
from astropy_n2v.training.loop import Trainer
from astropy_n2v.training.patches import PatchSampler, TrainingFrame, split_planes

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


def test_correlated_noise_grows_the_hole(rng):
    noise = rng.normal(size=(160, 161))
    denoiser = train(noise[:, 1:] + noise[:, :-1], **OPTIONS)
    assert denoiser.hole == (1, 3)


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


def test_early_stopping_keeps_the_best():
    torch.manual_seed(0)
    network = BlindSpotUNet(**TINY)
    rng = np.random.default_rng(0)
    sampler = PatchSampler([TrainingFrame(rng.normal(size=(64, 64)), NoiseModel(1.0))], 32, 2, rng)
    values = iter([3.0, 2.0, 2.5, 2.5, 2.5, 2.5, 2.5])
    states = []

    def judge(candidate):
        states.append(candidate.join.weight.clone())
        return next(values)

    trainer = Trainer(network, sampler, max_steps=1000, patience=2, min_delta=0.1, judge=judge, judge_every=1)
    trainer.run()
    assert trainer.step == 4
    assert trainer.best == 2.0
    assert torch.equal(network.join.weight, states[1])


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


def test_damaged_checkpoint_is_an_error(frame, scene, tmp_path):
    (tmp_path / 'state').write_bytes(b'nonsense')
    with pytest.raises(ValueError, match='cannot be resumed from'):
        train(frame, noise=scene.noise, hole=1, checkpoint=tmp_path / 'state', **OPTIONS)


@pytest.mark.parametrize('kwargs, match', [
    (dict(max_steps=0), 'max_steps must be a positive integer, got 0'),
    (dict(batch_size=1.5), 'batch_size must be a positive integer, got 1.5'),
    (dict(max_time=-1), 'max_time must be positive, got -1'),
    (dict(learning_rate=0.0), None),
    (dict(held_out=1.0), 'held_out must be between 0 and 1, got 1.0'),
    (dict(patch_size=1), 'patch_size must be at least 2'),
    (dict(hole=4), 'hole must be an odd number'),
    (dict(seed=-3), None),
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
