# Licensed under a 3-clause BSD style license - see LICENSE
"""
Show the progress of a training on standard error, and write it to files.
"""

import csv
import importlib
import importlib.util
import os
import time

from tqdm import tqdm

from ..visualization.curves import plot_training
from .judgement import FIGURES

__all__ = ['LOG_COLUMNS', 'Monitor']

#: Columns of the log: steps, seconds of training, negative log-likelihood of the pixels trained on (a mean since the
#: last row), learning rate; and where it was judged, negative log-likelihood of the pixels held out, and of injected
#: stars the error of the flux, its mean relative bias, and the depth, see
#: `~astropy_n2v.training.injected_stars.StarFigures`.
LOG_COLUMNS = 'step', 'seconds', 'loss', 'learning_rate', *FIGURES

_LINES_EVERY = 10.0   # s between lines of text
_ROWS_EVERY = 10      # steps between rows of the log


def _duration(seconds):
    """Write a time such as 45 s, 3 min or 2.5 h."""
    if seconds < 100:
        return f'{seconds:.0f} s'
    return f'{seconds / 60:.0f} min' if seconds < 6000 else f'{seconds / 3600:.1f} h'


class Monitor:
    """
    Shows and records the progress of a training.

    Parameters
    ----------
    trainer : `~astropy_n2v.training.loop.Trainer`
        The training; the monitor is to be its ``progress``.
    show : bool or callable, optional
        True for a progress bar on standard error; a function is called with a line of text after the first step, and
        then every ten seconds.
    log : path, optional
        CSV file to write, with `LOG_COLUMNS`. A training that is resumed continues it. At the end learning curves are
        drawn to a file of the same name that ends in ``.png``; and if TensorBoard is installed, it gets the same values
        in a folder that ends in ``.tensorboard``.
    quantity : str, optional
        Name of the loss, for the label of the curves.

    Raises
    ------
    FileExistsError
        If ``log`` is a file that is no log of a training.
    FileNotFoundError
        If ``log`` is in no directory that exists.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from astropy_n2v.training.monitor import Monitor
    >>> trainer = SimpleNamespace(step=70, max_steps=700, max_time=None, elapsed=20.0, loss=0.5, rate=4e-3, history=[])
    >>> with Monitor(trainer, show=print) as monitor:
    ...     monitor(0.1, 0.25)
    training: step 70 of 700 (10 %), loss 0.5000, held-out 0.2500, 20 s, 3 min left
    """

    def __init__(self, trainer, *, show=False, log=None, quantity='negative log-likelihood a pixel'):
        self.trainer = trainer
        self._say = show if callable(show) else None
        self._bar = tqdm(total=100, disable=self._say is not None or not show, desc='training', unit='%',
                         bar_format='{l_bar}{bar}| [{elapsed}<{remaining}{postfix}]')
        self._said = None
        self._log = None if log is None else _Log(log, quantity)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._bar.close()
        if self._log is not None:
            self._log.close()

    def __call__(self, fraction, judgement):
        """Note a step: the fraction of the budget that is used, and the latest judgement or None."""
        if self._said is None:
            self._bar.n = self._bar.initial = 100 * fraction   # not all of it may have been done in this run
        now = time.monotonic()
        if self._say is not None and (self._said is None or now - self._said >= _LINES_EVERY):
            self._say(self._line(fraction, judgement))
            self._said = now
        elif self._said is None:
            self._said = now
        self._bar.set_postfix_str(self._state(judgement), refresh=False)
        self._bar.update(100 * fraction - self._bar.n)
        if self._log is not None:
            self._log.note(self.trainer)

    def _state(self, judgement):
        trainer = self.trainer
        held_out = '' if judgement is None else f', held-out {judgement:.4f}'
        return f'step {trainer.step} of {trainer.max_steps}, loss {trainer.loss:.4f}{held_out}'

    def _line(self, fraction, judgement):
        trainer = self.trainer
        steps, *rest = self._state(judgement).split(', ')
        budget = '' if trainer.max_time is None else f' of {_duration(trainer.max_time)}'
        left = _duration(trainer.elapsed * (1 - fraction) / max(fraction, 1e-9))
        return (f'training: {steps} ({100 * fraction:.0f} %), {", ".join(rest)}, {_duration(trainer.elapsed)}{budget}, '
                f'{left} left')


class _Log:
    """The log of a training as CSV, curves and, where it is installed, TensorBoard."""

    def __init__(self, path, quantity):
        self.path, self.quantity = os.fspath(path), quantity
        if not os.path.isdir(os.path.dirname(os.path.abspath(self.path))):
            raise FileNotFoundError(f'log must be in a directory that exists, got {self.path}')
        self.rows = self._read()
        self._file = self._board = None
        self._losses = []
        self._judged = 0

    def _read(self):
        """Read the rows that there are already."""
        if not os.path.exists(self.path):
            return []
        with open(self.path, newline='', encoding='utf-8', errors='replace') as file:
            rows = csv.reader(file)
            if tuple(next(rows, LOG_COLUMNS)) != LOG_COLUMNS:
                raise FileExistsError(f'log must be a new file or the log of a training, got {self.path}')
            # A process that was killed may have left a part of a row.
            return [row for row in rows if len(row) == len(LOG_COLUMNS)]

    def _open(self, step):
        """Begin with the rows up to the step that the training is resumed from; of a new one without rows."""
        self.rows = [row for row in self.rows if int(row[0]) < step]
        self._file = open(self.path, 'w', newline='', encoding='utf-8')
        self._writer = csv.writer(self._file, lineterminator='\n')
        self._writer.writerows([LOG_COLUMNS, *self.rows])
        if importlib.util.find_spec('tensorboard') is not None:
            board = importlib.import_module('torch.utils.tensorboard')
            self._board = board.SummaryWriter(f'{os.path.splitext(self.path)[0]}.tensorboard', purge_step=step)

    def note(self, trainer):
        """Note a step."""
        if self._file is None:
            self._open(trainer.step)
            self._judged = sum(row[0] < trainer.step for row in trainer.history)
        self._losses.append(trainer.loss)
        judged = len(trainer.history) > self._judged
        if not judged and trainer.step % _ROWS_EVERY:
            return
        self._judged = len(trainer.history)
        values = [trainer.elapsed, sum(self._losses) / len(self._losses), trainer.rate,
                  *(trainer.history[-1][1:] if judged else [])]
        self._losses = []
        row = [str(trainer.step), *(f'{value:.6g}' for value in values)]
        row += [''] * (len(LOG_COLUMNS) - len(row))
        self.rows.append(row)
        self._writer.writerow(row)
        self._file.flush()
        if self._board is not None:
            for name, value in zip(LOG_COLUMNS[1:], values):
                self._board.add_scalar(name, value, trainer.step)

    def close(self):
        """Draw the curves."""
        if self._file is None:
            return
        self._file.close()
        if self._board is not None:
            self._board.close()
        if self.rows:
            columns = {name: [float(value or 'nan') for value in values]
                       for name, values in zip(LOG_COLUMNS, zip(*self.rows))}
            figure = plot_training(columns['step'], columns['loss'], columns['held_out'],
                                   flux_error=columns['flux_error'], depth=columns['depth'], quantity=self.quantity)
            figure.savefig(f'{os.path.splitext(self.path)[0]}.png', dpi=120)
