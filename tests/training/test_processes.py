# Licensed under a 3-clause BSD style license - see LICENSE
"""
Several processes of torchrun that train one network.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from models import flat_weights

from astropy_n2v import Denoiser, NoiseModel
from astropy_n2v.collections import make_manifest, split_manifest, write_manifest
from astropy_n2v.networks import BlindSpotUNet
from astropy_n2v.simulate import make_scene
from astropy_n2v.training import collection
from astropy_n2v.training.classical import train_classical
from astropy_n2v.training.loop import Trainer
from astropy_n2v.training.patches import PatchSampler, TrainingFrame
from astropy_n2v.training.processes import Processes

TINY = dict(widths=(6, 8), decoder_widths=(6,), head_width=8)
# Options; rank and step at which a process gets SIGTERM, or -1; and where to write the rest, each process its own.
PROGRAM = """
import json, signal, sys
import torch
from astropy_n2v import train
from astropy_n2v.simulate import make_scene
from astropy_n2v.training.interruption import TrainingInterrupted
from astropy_n2v.training.loop import Trainer
from astropy_n2v.training.patches import PatchSampler
from astropy_n2v.training.processes import Processes, end_process

options, rank, step, output = json.loads(sys.argv[1]), *map(int, sys.argv[2:4]), sys.argv[4]
processes, batches = Processes.joined(), []
own = options.pop('second', {})
options |= own if processes.rank else {}
draw, run_step = PatchSampler.draw, Trainer._train_step


def recorded(self):
    batches.append(draw(self))
    return batches[-1]


def step_with_signal(self, fraction):
    if (processes.rank, self.step) == (rank, step):
        signal.raise_signal(signal.SIGTERM)
    return run_step(self, fraction)


PatchSampler.draw, Trainer._train_step = recorded, step_with_signal
scenes = [make_scene('survey', (96, 96), seed=n) for n in range(4)]
try:
    model = train([scene.observe(seed=n) for n, scene in enumerate(scenes)], noise=scenes[0].noise, hole=1, **options)
except TrainingInterrupted as interrupted:
    print(f'{processes.rank}: {interrupted}')
    end_process()
model.save(f'{output}.{processes.rank}', overwrite=True)
torch.save(batches[0], f'{output}.{processes.rank}.batch')
end_process()
"""


@pytest.fixture
def torchrun(tmp_path):
    """Run the program with options in some processes."""
    (tmp_path / 'program.py').write_text(PROGRAM)

    def run(name, options, *, processes=2, rank=-1, step=-1, fails=False):
        start = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', str(processes)]
        result = subprocess.run([*start, tmp_path / 'program.py', json.dumps(options), str(rank), str(step),
                                 tmp_path / name], capture_output=True, text=True, env=environment(), timeout=600)
        assert bool(result.returncode) == fails, result.stderr
        return result.stderr if fails else result.stdout

    return run


def environment():
    return {**os.environ, 'OMP_NUM_THREADS': '1'}


def test_this_process_alone():
    processes = Processes.joined()
    assert (processes.rank, processes.size, processes.first) == (0, 1, True)
    assert processes.largest(3) == 3 and processes.share(2.5, True) == (2.5, True)


def test_another_training_in_a_process_is_an_error_in_all(monkeypatch):
    monkeypatch.setattr(Processes, 'gather', lambda self, value: [{'seed': 1}, {'seed': 2}])
    for identity in ({'seed': 1}, {'seed': 2}):
        with pytest.raises(ValueError, match='must be the same in all processes'):
            Processes().check_same('frames and options', identity)


def run_trainer(gather, checkpoint, max_steps=2, **options):
    """Train, with another way to gather values of processes."""
    processes = Processes()
    processes.gather = gather
    sampler = PatchSampler([TrainingFrame(np.ones((32, 32)), NoiseModel(1.0))], 32, 1, np.random.default_rng(0))
    Trainer(BlindSpotUNet(**TINY), sampler, max_steps=max_steps, processes=processes, **options).run(checkpoint)


@pytest.mark.parametrize('other, name', [
    ({'max_steps': 3}, 'frames and options'), ({'max_time': 60.0}, 'frames and options'),
    ({'patience': 5}, 'frames and options'), ({'checkpoint': None}, 'frames and options'), ({}, 'checkpoint')])
def test_other_budget_or_checkpoint_in_a_process_is_an_error(tmp_path, other, name):
    """They would wait for each other without end."""
    first = []
    run_trainer(lambda value: first.append(value) or [value], tmp_path / 'first')
    run_trainer(lambda value: [value], tmp_path / 'second')   # resumed from, on a machine that does not see the first
    with pytest.raises(ValueError, match=f'^{name} must be the same in all processes'):
        run_trainer(lambda value: [first.pop(0), value], **{'checkpoint': tmp_path / 'second', **other})


def test_classical_model_has_the_figures_of_the_first_process(monkeypatch, rng):
    class Second(Processes):
        def gather(self, value):
            return [{**value, 'held_out_error': 0.5} if isinstance(value, dict) else value]

    called = []
    monkeypatch.setattr(Processes, 'joined', lambda: called.append('joined') or Second(rank=1))
    monkeypatch.setattr('astropy_n2v.training.classical.select_device',
                        lambda device: called.append('device') or torch.device('cpu'))
    model = train_classical(rng.normal(100, 5, (48, 48)), max_steps=1, patch_size=32, batch_size=1,
                            network_options={'levels': 2, 'base': 4})
    assert model.metadata['held_out_error'] == 0.5
    # A process chooses its device once it knows its number.
    assert called == ['joined', 'device']


def test_processes_read_other_blocks(tmp_path, monkeypatch):
    """Each trains on blocks in an order of its own, is judged by the same, and belongs to the same checkpoint."""
    for n in range(6):
        make_scene('survey', (64, 64), seed=n).observe(seed=n).write(tmp_path / f'{n}.fits')
    manifest = make_manifest(tmp_path)
    found = []

    def train_on_frames(frames, processes, **options):
        found.append(frames)
        return Denoiser.load('default')

    monkeypatch.setattr(collection, 'train_on_frames', train_on_frames)
    for rank in (0, 1):
        monkeypatch.setattr(Processes, 'joined', classmethod(lambda cls, rank=rank: cls(rank, 2)))
        collection.train_collection(manifest, split_manifest(manifest), seed=5)
    first, second = found
    assert [block.place(n) for block in (first.training,) for n in range(8)] != \
        [block.place(n) for block in (second.training,) for n in range(8)]
    assert first.validation.seed == second.validation.seed == 5
    assert first.identity(seed=5) == second.identity(seed=5)


@pytest.mark.slow
def test_two_processes_train_as_well_as_one(torchrun, tmp_path):
    options = dict(max_steps=1000, patience=None, batch_size=8, patch_size=32,
                   network_options=dict(widths=(8, 16, 16), decoder_widths=(8, 16), head_width=16))
    torchrun('two', options)
    torchrun('one', options, processes=1)
    models = [Denoiser.load(tmp_path / name) for name in ('one.0', 'two.0', 'two.1')]
    assert torch.equal(*map(flat_weights, models[1:]))
    assert models[1].metadata == models[2].metadata and models[1].metadata['processes'] == 2
    assert 'against_default' in models[1].metadata
    # Together they see as many patches as one, and other ones.
    batches = [torch.load(tmp_path / f'{name}.batch') for name in ('one.0', 'two.0', 'two.1')]
    assert [len(batch) for batch in batches] == [8, 4, 4] and not torch.equal(*batches[1:])
    errors = [[], []]
    for n in range(6):   # of fields that neither has seen
        scene = make_scene('survey', (96, 96), seed=20 + n)
        for found, model in zip(errors, models):
            mean = model.predict(scene.observe(seed=n).data, scene.noise, audit=False).mean
            found.append(np.mean((mean - scene.truth) ** 2 / scene.noise.variance(scene.truth)))
    one, two = (np.sqrt(np.mean(found)) for found in errors)
    assert two == pytest.approx(one, rel=0.02) and one < 0.2


@pytest.mark.slow
def test_signal_to_one_process_ends_all_and_they_resume(torchrun, tmp_path):
    options = dict(max_steps=12, batch_size=4, patch_size=32, network_options=TINY)
    torchrun('whole', options)
    options = {**options, 'checkpoint': str(tmp_path / 'state')}
    said = torchrun('resumed', options, rank=1, step=6)
    assert {line[:2] for line in said.splitlines()} == {'0:', '1:'}
    assert said.count('training was interrupted (SIGTERM) after step 7') == 2
    assert not (tmp_path / 'resumed.0').exists()
    assert torch.load(tmp_path / 'state', weights_only=True)['step'] == 7
    torchrun('resumed', options)
    whole, *resumed = (flat_weights(Denoiser.load(tmp_path / name)) for name in ('whole.0', 'resumed.0', 'resumed.1'))
    assert torch.equal(whole, resumed[0]) and torch.equal(whole, resumed[1])


@pytest.mark.slow
def test_processes_with_other_budgets_end(torchrun):
    options = dict(max_steps=4, batch_size=4, patch_size=32, network_options=TINY, second={'max_steps': 2})
    assert 'frames and options must be the same in all processes' in torchrun('other', options, fails=True)


@pytest.mark.slow
def test_command_in_two_processes(tmp_path):
    for n in range(6):
        make_scene('survey', (96, 96), seed=n).observe(seed=n).write(tmp_path / f'{n}.fits')
    manifest = make_manifest(tmp_path)
    write_manifest(manifest, tmp_path / 'm.ecsv')
    split_manifest(manifest).write(tmp_path / 's.json')
    start = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2', '-m',
             '--', 'astropy_n2v.cli', 'train']   # else torchrun takes --log for an option of its own
    training = ['--max-steps', '4', '--patch-size', '32', '--batch-size', '2', '--log', tmp_path / 'log.csv']
    for frames in (['--manifest', tmp_path / 'm.ecsv', '--split', tmp_path / 's.json', '--workers', '1'],
                   [tmp_path / '0.fits', tmp_path / '1.fits']):
        result = subprocess.run([*start, *frames, '-o', tmp_path / 'model', '--overwrite', *training],
                                capture_output=True, text=True, env=environment())
        assert result.returncode == 0, result.stderr
        assert result.stdout.count('model: trained on ') == 1 and result.stdout.count('than the default') == 1
        assert result.stderr.count('training: step 1 of 4') == 1
        assert Denoiser.load(tmp_path / 'model').metadata['processes'] == 2
        assert not (tmp_path / 'model.checkpoint').exists()
    # So it is with a classical strategy.
    classical = ['--strategy', 'n2v', '--levels', '2', '--base', '4', '--overwrite', *training[:6]]
    result = subprocess.run([*start, tmp_path / '0.fits', '-o', tmp_path / 'model', *classical],
                            capture_output=True, text=True, env=environment())
    assert result.returncode == 0 and result.stdout.count('model: trained on 1 image in') == 1, result.stderr
    # One that cannot go on ends all.
    result = subprocess.run([*start, tmp_path / '0.fits', '-o', tmp_path / 'model'], capture_output=True, text=True,
                            env=environment())
    assert result.returncode != 0 and 'use overwrite' in result.stderr
