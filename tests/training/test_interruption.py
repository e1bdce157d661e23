# Licensed under a 3-clause BSD style license - see LICENSE
"""
Trainings that are interrupted, and resumed to the weights of one that was not.
"""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from astropy.io import fits
from models import flat_weights

from astropy_n2v import Denoiser, NoiseModel
from astropy_n2v.networks import BlindSpotUNet
from astropy_n2v.training import loop
from astropy_n2v.training.interruption import Interruption, TrainingInterrupted
from astropy_n2v.training.loop import Trainer
from astropy_n2v.training.patches import PatchSampler, TrainingFrame
from astropy_n2v.utils import atomic_files
from astropy_n2v.utils.atomic_files import _temporary_name

# A training in a process of its own that is slow enough to be killed, and saves often: on a frame, or on a folder of
# frames that are read by another process all the time.
SCRIPT = """
import sys, numpy as np
from astropy_n2v import NoiseModel, train
from astropy_n2v.training import loop

if __name__ == '__main__':
    state, model, steps, folder, amp = sys.argv[1:]
    loop._SAVE_AFTER = 0.2
    options = dict(noise=NoiseModel(5.0), max_steps=int(steps), batch_size=2, patch_size=32, checkpoint=state, amp=amp,
                   network_options=dict(widths=(6, 8), decoder_widths=(6,), head_width=8))
    if folder == 'none':
        trained = train(np.random.default_rng(1).normal(100, 5, (64, 64)), **options)
    else:
        from astropy_n2v.collections import make_manifest, split_manifest
        from astropy_n2v.training.collection import train_collection
        manifest = make_manifest(folder)
        trained = train_collection(manifest, split_manifest(manifest), block_size=48, loading=dict(
            pool=2, patches_per_block=4, workers=1), **options)
    trained.save(model)
"""


def make_trainer(max_steps=8, **options):
    torch.manual_seed(0)
    network = BlindSpotUNet(widths=(6, 8), decoder_widths=(6,), head_width=8)
    data = np.random.default_rng(1).normal(size=(64, 64))
    sampler = PatchSampler([TrainingFrame(data, NoiseModel(1.0))], 32, 2, np.random.default_rng(0))
    return Trainer(network, sampler, max_steps=max_steps, judge_every=3, **{'judge': lambda candidate: 0.0, **options})


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signal_saves_and_resumes_to_the_same_weights(tmp_path, number):
    whole = make_trainer()
    whole.run()
    first = make_trainer()
    first.progress = lambda fraction, value: os.kill(os.getpid(), number) if first.step == 5 else None
    before = signal.getsignal(number)
    match = rf'\({number.name}\) after step 6; its state is in .*state, '
    with pytest.raises(TrainingInterrupted, match=match) as caught:
        first.run(tmp_path / 'state')
    assert (caught.value.signal_number, caught.value.step) == (number, 6)
    assert signal.getsignal(number) is before
    second = make_trainer()
    steps = []
    second.progress = lambda fraction, value: steps.append(second.step)
    second.run(tmp_path / 'state')
    assert steps == [7, 8]
    for a, b in zip(whole.network.parameters(), second.network.parameters()):
        assert torch.equal(a, b)


@pytest.mark.parametrize('amp', ['float32', 'bfloat16', 'float16'])
def test_resumed_in_any_precision(tmp_path, amp):
    whole = make_trainer(amp=amp)
    whole.precision.scaler.set_growth_interval(2)   # so that the scale changes
    whole.run(tmp_path / 'whole')
    first = make_trainer(amp=amp)
    first.precision.scaler.set_growth_interval(2)
    first.progress = lambda fraction, value: signal.raise_signal(signal.SIGINT) if first.step == 3 else None
    with pytest.raises(TrainingInterrupted):
        first.run(tmp_path / 'state')
    second = make_trainer(amp=amp)
    second.run(tmp_path / 'state')
    for a, b in zip(whole.network.parameters(), second.network.parameters()):
        assert torch.equal(a, b)
    states = [torch.load(tmp_path / name, weights_only=True)['scaler'] for name in ('whole', 'state')]
    assert states[0] == states[1]
    if amp == 'float16':
        assert states[0]['scale'] != torch.amp.GradScaler('cpu').get_scale()


def test_leftovers_of_killed_trainings_are_removed(tmp_path):
    ended = subprocess.Popen([sys.executable, '-c', ''])
    ended.wait()
    host = _temporary_name(tmp_path / 'state').name.split('.')[-2].rpartition('-')[0]
    names = [f'.state.0123abcd.{host}-{pid}.part' for pid in (ended.pid, os.getppid())]
    names += [f'.state.0123abcd.elsewhere-{ended.pid}.part', 'other.part']
    for name in names:
        (tmp_path / name).write_bytes(b'')
    make_trainer(2).run(tmp_path / 'state')
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names[1:], 'state'])


def test_state_is_on_the_disk_before_it_replaces_the_last(tmp_path, monkeypatch):
    done = []
    for name in ('_sync', '_rename'):
        function = getattr(atomic_files, name)
        monkeypatch.setattr(atomic_files, name, lambda *arguments, name=name, function=function: (
            done.append(name), function(*arguments)))
    make_trainer(1).run(tmp_path / 'state')
    assert done == ['_sync', '_rename', '_sync']


def test_later_signals_are_ignored_where_they_come_twice():
    with Interruption(patient=True) as interruption:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert interruption.signal == signal.SIGINT


def test_without_a_checkpoint_signals_do_as_ever():
    trainer = make_trainer()
    trainer.progress = lambda fraction, value: signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as caught:
        trainer.run()
    assert not isinstance(caught.value, TrainingInterrupted) and trainer.step == 1


def test_second_signal_ends_at_once():
    with pytest.raises(KeyboardInterrupt), Interruption() as interruption:
        signal.raise_signal(signal.SIGINT)
        assert interruption.signal == signal.SIGINT
        signal.raise_signal(signal.SIGINT)


def test_signals_are_left_alone_outside_of_the_main_thread():
    found = []

    def enter():
        with Interruption() as interruption:
            found.append(interruption.enabled)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [False]


def test_state_is_saved_by_time(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, '_SAVE_AFTER', 100.0)
    clock = iter(range(0, 10000, 40))
    monkeypatch.setattr(loop.time, 'monotonic', lambda: next(clock))
    trainer, saved = make_trainer(12), []
    monkeypatch.setattr(trainer, '_save', lambda path: saved.append(trainer.step))
    trainer.run(tmp_path / 'state')
    assert saved == [3, 6, 9, 12]
    monkeypatch.undo()
    assert loop._SAVE_AFTER <= 120


def test_time_that_was_used_counts(tmp_path, monkeypatch):
    clock = iter(range(0, 10000, 10))
    monkeypatch.setattr(loop.time, 'monotonic', lambda: next(clock))
    first = make_trainer(1000, max_time=100.0)
    first.progress = lambda fraction, value: signal.raise_signal(signal.SIGINT) if first.step == 4 else None
    with pytest.raises(TrainingInterrupted):
        first.run(tmp_path / 'state')
    second, fractions = make_trainer(1000, max_time=100.0), []
    second.progress = lambda fraction, value: fractions.append(fraction)
    second.run(tmp_path / 'state')
    assert fractions == pytest.approx([0.6, 0.7, 0.8, 0.9, 1.0])


def test_training_out_of_patience_is_not_resumed(tmp_path):
    values = iter([3.0, 4.0, 4.0, 4.0, 4.0])
    first = make_trainer(1000, patience=2, judge=lambda candidate: next(values))
    first.run(tmp_path / 'state')
    second = make_trainer(1000, patience=2, judge=lambda candidate: 4.0)
    second.run(tmp_path / 'state')
    assert first.step == second.step == 9
    for a, b in zip(first.network.parameters(), second.network.parameters()):
        assert torch.equal(a, b)


def test_best_weights_are_judged_again_with_another_budget(tmp_path):
    """Of another budget, other stars judge."""
    first = make_trainer(6, judge=lambda candidate: 1.0)
    first.run(tmp_path / 'state')
    values, judged = iter([5.0, 6.0, 6.0, 6.0]), []

    def judge(candidate):
        judged.append(candidate.join.weight.clone())
        return next(values)

    second = make_trainer(9, judge=judge)
    second.judge_every = 4
    second.run(tmp_path / 'state')
    assert torch.equal(judged[0], first.network.join.weight) and second.best == 5
    assert second.best_figures == {'held_out': 5.0}
    assert torch.equal(second.network.join.weight, first.network.join.weight)


@pytest.mark.slow
@pytest.mark.parametrize(('number', 'collection', 'amp'), [
    (signal.SIGKILL, False, 'auto'), (signal.SIGINT, False, 'float16'), (signal.SIGKILL, True, 'bfloat16'),
    (signal.SIGINT, True, 'float16'), (signal.SIGTERM, True, 'auto')])
def test_killed_process_resumes_to_the_same_weights(tmp_path, number, collection, amp):
    state, folder, program = tmp_path / 'state', tmp_path / 'frames', tmp_path / 'program.py'
    program.write_text(SCRIPT)
    steps = '100' if amp == 'float16' else '200'
    if collection:
        folder.mkdir()
        for n in range(4):
            data = np.random.default_rng(n).normal(100, 5, (96, 96)).astype('f4')
            fits.writeto(folder / f'{n}.fits', data, fits.Header({'OBJECT': f'field {n}'}))

    def start(name, checkpoint):
        command = [sys.executable, program, checkpoint, tmp_path / name, steps, folder if collection else 'none', amp]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True,
                                env={**os.environ, 'OMP_NUM_THREADS': '1'})

    process = start('killed', state)
    deadline = time.monotonic() + 300
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    if number == signal.SIGKILL:
        process.kill()
    else:
        os.killpg(process.pid, number)   # as a terminal and batch systems do: processes that read ahead get it, too
    _, error = process.communicate(timeout=300)
    assert process.returncode != 0 and not (tmp_path / 'killed').exists()
    assert number == signal.SIGKILL or 'from which the same call resumes it' in error
    assert torch.load(state, weights_only=True)['step'] < int(steps)
    for name, checkpoint in (('resumed', state), ('whole', tmp_path / 'other')):
        process = start(name, checkpoint)
        _, error = process.communicate(timeout=300)
        assert process.returncode == 0, error
    resumed, whole = (flat_weights(Denoiser.load(tmp_path / name)) for name in ('resumed', 'whole'))
    assert torch.equal(resumed, whole)
    assert not list(tmp_path.glob('.*.part'))
