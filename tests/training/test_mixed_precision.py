# Licensed under a 3-clause BSD style license - see LICENSE
"""
Training in numbers of 16 bits.
"""

import numpy as np
import pytest
import torch

from astropy_n2v import NoiseModel, train
from astropy_n2v.networks import BlindSpotUNet, isolated_rng
from astropy_n2v.networks.precision import supports_bfloat16
from astropy_n2v.training.loop import Trainer
from astropy_n2v.training.mixed_precision import MixedPrecision
from astropy_n2v.training.patches import PatchSampler, TrainingFrame

TINY = dict(widths=(6, 8), decoder_widths=(6,), head_width=8)
CPU = torch.device('cpu')


def make_trainer(amp, max_steps=8):
    with isolated_rng(0):
        network = BlindSpotUNet(**TINY)
    frame = TrainingFrame(np.random.default_rng(1).normal(size=(64, 64)), NoiseModel(1.0))
    return Trainer(network, PatchSampler([frame], 32, 2, np.random.default_rng(0)), max_steps=max_steps, amp=amp)


def weights(trainer):
    return torch.cat([value.flatten() for value in trainer.network.state_dict().values()])


@pytest.mark.parametrize(('amp', 'dtype'), [('float32', torch.float32), ('bfloat16', torch.bfloat16),
                                            ('float16', torch.float16)])
def test_branches_are_computed_in_the_numbers_asked_for(amp, dtype):
    trainer, branches, heads = make_trainer(amp), [], []
    trainer.network.branch.register_forward_hook(lambda module, inputs, output: branches.append(output.dtype))
    trainer.network.head.register_forward_hook(lambda module, inputs, output: heads.append(output.dtype))
    trainer.run()
    # Two calls a step; the last quarter is in float32.
    assert branches == 12 * [dtype] + 4 * [torch.float32]
    assert heads == 8 * [torch.float32]
    assert {value.dtype for value in trainer.network.state_dict().values()} == {torch.float32}


def test_default_is_what_the_processor_has():
    assert MixedPrecision(CPU).dtype == (torch.bfloat16 if supports_bfloat16(CPU) else None)


@pytest.mark.parametrize('amp', ['bfloat16', 'float16'])
def test_weights_are_nearly_those_of_single_precision(amp):
    exact, coarse = make_trainer('float32'), make_trainer(amp)
    start = weights(exact)
    exact.run()
    coarse.run()
    moved = weights(exact) - start
    assert float((weights(coarse) - weights(exact)).norm()) < 0.2 * float(moved.norm())


def test_gradients_of_half_precision_are_scaled():
    trainer, scales = make_trainer('float16', 4), []
    scaler = trainer.precision.scaler
    scale = scaler.scale
    scaler.scale = lambda loss: scales.append(scaler.get_scale()) or scale(loss)
    trainer.run()
    assert scales[0] == 65536
    # What steps the weights is not scaled.
    assert float(torch.nn.utils.get_total_norm([value.grad for value in trainer.network.parameters()])) < 1.01
    assert not make_trainer('bfloat16').precision.scaler.is_enabled()


def test_step_that_overflows_is_left_out():
    trainer = make_trainer('float16')
    torch.nn.init.normal_(trainer.network.head[-1].weight)   # else no gradient reaches the branches
    trainer.precision.scaler = torch.amp.GradScaler('cpu', init_scale=2.0 ** 120)
    before = weights(trainer)
    trainer._train_step(0.1)
    assert torch.equal(weights(trainer), before)
    assert trainer.precision.scaler.get_scale() == 2.0 ** 119
    trainer.precision.scaler = torch.amp.GradScaler('cpu')
    trainer._train_step(0.1)
    assert not torch.equal(weights(trainer), before)


def test_device_that_cannot(monkeypatch):
    monkeypatch.setattr(torch.amp, 'is_autocast_available', lambda kind: False)
    with pytest.raises(ValueError, match="amp must be 'float32' on a device of type cpu, got 'float16'"):
        MixedPrecision(CPU, 'float16')


def test_option(scene):
    with pytest.raises(ValueError, match="amp must be one of auto, float32, bfloat16, float16, got 'float8'"):
        train(scene.observe(seed=1), amp='float8')
