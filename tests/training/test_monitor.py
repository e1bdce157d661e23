# Licensed under a 3-clause BSD style license - see LICENSE
"""
Progress of a training on the screen and in files.
"""

import signal
import sys
from types import ModuleType

import pytest
from astropy.table import Table

from astropy_n2v import train
from astropy_n2v.training import monitor
from astropy_n2v.training.interruption import TrainingInterrupted
from astropy_n2v.training.loop import Trainer
from astropy_n2v.visualization import plot_training

OPTIONS = dict(hole=1, batch_size=1, patch_size=32, network_options=dict(widths=(6, 8), decoder_widths=(6,),
                                                                         head_width=8))


@pytest.fixture
def frame(scene):
    return scene.observe(seed=1)


def test_lines_of_text(frame, scene, monkeypatch):
    monkeypatch.setattr(monitor, '_LINES_EVERY', 0.0)
    lines = []
    train(frame, noise=scene.noise, max_steps=4, max_time=3000, progress_bar=lines.append, **OPTIONS)
    assert len(lines) == 4
    for text in ('training: step 2 of 4 (50 %), loss ', ', held-out ', ' s of 50 min, ', ' left'):
        assert text in lines[1]


def test_bar_has_step_and_loss(frame, scene, capsys):
    train(frame, noise=scene.noise, max_steps=3, progress_bar=True, **OPTIONS)
    assert 'training: 100%' in capsys.readouterr().err


def test_log_and_curves(frame, scene, tmp_path):
    train(frame, noise=scene.noise, max_steps=24, patience=None, log=tmp_path / 'log.csv', **OPTIONS)
    table = Table.read(tmp_path / 'log.csv', format='ascii.csv')
    assert tuple(table.colnames) == monitor.LOG_COLUMNS
    assert list(table['step']) == list(range(1, 25))   # each is judged
    assert (tmp_path / 'log.png').read_bytes().startswith(b'\x89PNG')


def test_resumed_training_goes_on_with_its_log(frame, scene, tmp_path, monkeypatch):
    options = {'noise': scene.noise, 'max_steps': 40, 'checkpoint': tmp_path / 'state', **OPTIONS}
    train(frame, **{**options, 'checkpoint': None}, log=tmp_path / 'whole.csv')
    original, done = Trainer._train_step, []

    def step(self, fraction):
        done.append(self.step)
        if self.step == 24:
            signal.raise_signal(signal.SIGTERM)
        return original(self, fraction)

    monkeypatch.setattr(Trainer, '_train_step', step)
    with pytest.raises(TrainingInterrupted):
        train(frame, log=tmp_path / 'log.csv', **options)
    with open(tmp_path / 'log.csv', 'a') as file:
        file.write('26,1.0,0.5,0.1,\n27,1')   # after the state was saved, and in the middle of a row
    train(frame, log=tmp_path / 'log.csv', **options)
    assert done == list(range(40))
    whole, log = (Table.read(tmp_path / name, format='ascii.csv') for name in ('whole.csv', 'log.csv'))
    assert list(log['step']) == list(whole['step'])
    assert list(log['held_out']) == list(whole['held_out'])


def test_other_files_are_not_overwritten(frame, scene, tmp_path):
    (tmp_path / 'frame.fits').write_bytes(b'SIMPLE  =                    T')
    with pytest.raises(FileExistsError, match='log must be a new file or .*, got .*frame.fits'):
        train(frame, noise=scene.noise, max_steps=1, log=tmp_path / 'frame.fits', **OPTIONS)
    with pytest.raises(FileNotFoundError, match='log must be in a directory that exists, got .*nowhere'):
        train(frame, noise=scene.noise, max_steps=1, log=tmp_path / 'nowhere' / 'log.csv', **OPTIONS)
    assert (tmp_path / 'frame.fits').read_bytes() == b'SIMPLE  =                    T'


def test_tensorboard_gets_the_same_values(frame, scene, tmp_path, monkeypatch):
    values = []

    class Writer:
        def __init__(self, folder, purge_step):
            assert folder == str(tmp_path / 'log.tensorboard') and purge_step == 1

        def add_scalar(self, name, value, step):
            values.append((name, step))

        def close(self):
            values.append('closed')

    board = ModuleType('torch.utils.tensorboard')
    board.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', board)
    monkeypatch.setattr(monitor.importlib.util, 'find_spec', lambda name: board)
    train(frame, noise=scene.noise, max_steps=1, log=tmp_path / 'log.csv', **OPTIONS)
    assert values == [*((name, 1) for name in monitor.LOG_COLUMNS[1:5]), 'closed']   # no stars


def test_durations():
    assert [monitor._duration(seconds) for seconds in (3.2, 99, 170, 9000)] == ['3 s', '99 s', '3 min', '2.5 h']


def test_curves_leave_out_what_was_not_measured():
    figure = plot_training([1, 2, 3], [3, 2, 1], [float('nan'), 2, float('nan')])
    assert [len(line.get_xdata()) for line in figure.axes[0].lines] == [3, 1]
