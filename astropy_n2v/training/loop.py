# Licensed under a 3-clause BSD style license - see LICENSE
"""
The training loop: likelihood, schedule, averaged weights, early stopping, checkpoints.
"""

import copy
import logging
import math
import os
import time

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..networks import negative_log_likelihood, network_inputs
from ..noise.model import BROAD_WEIGHT
from ..utils.atomic_files import atomic_write, remove_leftovers
from .checkpoints import check_identity
from .interruption import Interruption, TrainingInterrupted
from .judgement import Judgement
from .mixed_precision import MixedPrecision
from .optimizer import Optimizer
from .patches import likelihood_noise, split_planes
from .processes import Processes

__all__ = ['Trainer']

log = logging.getLogger(__name__)

# Seconds after which the state is saved: half of the two minutes of work that may be lost, as steps and judgements of
# large images take long, too.
_SAVE_AFTER = 60.0


class Trainer:
    """
    Trains a blind network on patches of noisy frames.

    Parameters
    ----------
    network : `~torch.nn.Module`
        The network; its weights are changed.
    sampler : PatchSampler
        Where batches come from.
    max_steps : int
        Number of steps; the learning rate follows a cosine from a short warm-up to zero.
    max_time : float, optional
        Seconds after which to stop. Where time is what ends the training, the learning rate
        follows time, and the weights are not repeatable.
    learning_rate : float, optional
        Peak learning rate.
    patience, min_delta : int, float, optional
        Stop after this many judgements that did not improve the best by ``min_delta``.
    judge : callable, optional
        Called with a network, returns a `~astropy_n2v.training.judgement.Judgement`, whose score is to be minimised, or
        a number as its likelihood.
    judge_every : int, optional
        Steps between judgements.
    keep : {'best', 'last'}, optional
        Which weights are kept: those that were judged best, or those at the end. Where patches never come
        again there is nothing to overfit, and few frames judge worse than the whole training.
    warm_start : bool, optional
        True if the network has been trained before.
    ema_decay : float, optional
        Decay of the average of the weights.
    max_gain, focus : float, bool, optional
        As in `~astropy_n2v.networks.negative_log_likelihood`.
    amp : {'auto', 'float32', 'bfloat16', 'float16'}, optional
        As in `~astropy_n2v.training.mixed_precision.MixedPrecision`.
    progress : callable, optional
        Called with (fraction done, latest judgement or None) after each step; ``step``, ``elapsed``, ``loss`` and
        ``rate`` of the trainer are of this step.
    processes : Processes, optional
        Those that train the same network with samplers of their own. Time and judgement of the
        first count, and only the first needs ``judge``.
    """

    def __init__(self, network, sampler, *, max_steps, max_time=None, learning_rate=4e-3, weight_decay=1e-4,
                 patience=None, min_delta=0.0, judge=None, judge_every=100, keep='best', warm_start=False,
                 ema_decay=0.99, max_gain=12.0, focus=False, amp='auto', progress=None, processes=None):
        self.network = network
        self.sampler = sampler
        self.max_steps = max_steps
        self.max_time = max_time
        self.learning_rate = learning_rate
        self.patience = patience
        self.min_delta = min_delta
        self.judge = judge
        self.judge_every = judge_every
        self.keep = keep
        self.warm_start = warm_start
        self.max_gain, self.focus = max_gain, focus
        self.progress = progress
        self.device = next(network.parameters()).device
        self.precision = MixedPrecision(self.device, amp)
        self.optimizer = Optimizer(network, weight_decay)
        self.processes = processes or Processes()
        self.parallel = self.processes.parallel(network)
        self.average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(ema_decay))
        self.step = 0
        self.elapsed = 0.0
        self.loss = math.nan
        self.rate = 0.0
        self.history = []
        self.best = math.inf
        self.best_figures = None
        self.best_state = None
        self.stale = 0

    def _fraction(self):
        fraction = self.step / self.max_steps
        if self.max_time:
            fraction = max(fraction, self.elapsed / self.max_time)
        return min(fraction, 1.0)

    def _rate(self, fraction):
        warm_up = 0.03
        if fraction < warm_up:
            return max(fraction / warm_up, 0.02)
        return 0.5 * (1 + math.cos(math.pi * (fraction - warm_up) / (1 - warm_up))) + 1e-3

    def _losses(self, fraction):
        """Draw a batch, and compute the loss to minimise and the one to show."""
        planes = split_planes(self.sampler.draw().to(self.device))
        noise = {name: planes[name] for name in ('v0', 'slope', 'zero')}
        with self.precision.autocast(fraction):
            output = self.parallel(network_inputs(planes['z'], planes['seen'], **noise))
        # At first a star is unforeseeable to the network; it must not be dismissed for that.
        broad = BROAD_WEIGHT if self.warm_start or fraction > 0.15 else 0.0
        return negative_log_likelihood(output, planes['z'], planes['weight'], broad_weight=broad,
                                       max_gain=self.max_gain, focus=self.focus, **likelihood_noise(planes))

    def _train_step(self, fraction):
        self.network.train()
        loss, shown = self._losses(fraction)
        self.network.zero_grad(set_to_none=True)
        self.precision.backward(loss, self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        if torch.isfinite(norm):
            self.rate = self.learning_rate * self._rate(fraction)
            self.optimizer.step(self.rate)
            self.average.update_parameters(self.network)
        self.precision.update()
        self.loss = float(shown)

    def _judgement(self, network):
        """Judge a network; return the score and the figures."""
        judgement = self.judge(network)
        if not isinstance(judgement, Judgement):
            judgement = Judgement(judgement)
        return judgement.score, judgement.figures

    def _judge(self):
        """Judge the averaged weights, and keep the best."""
        value, figures = self._judgement(self.average.module)
        self.history.append((self.step, *figures.values()))
        log.info('step %d: %s', self.step, ', '.join(f'{name} {figure:.5f}' for name, figure in figures.items()))
        improved = value < self.best - self.min_delta
        if value < self.best:
            self.best, self.best_figures = value, figures
            self.best_state = copy.deepcopy(self.average.module.state_dict())
        self.stale = 0 if improved else self.stale + 1

    def _is_done(self):
        return self._fraction() >= 1 or (self.patience is not None and self.stale >= self.patience)

    def run(self, checkpoint=None, checkpoint_every=200, identity=None):
        """
        Train to the end of the budget; the network is left with the averaged weights.

        Parameters
        ----------
        checkpoint : path, optional
            File to resume from, if it exists, and to save to. It holds the random state of each
            process.
        checkpoint_every : int, optional
            Steps between saves. Besides, the state is saved every minute, after the last step, and when SIGINT (Ctrl-C)
            or SIGTERM ends the training, whichever of the processes gets it. Temporary files of processes that were
            killed are removed from its directory.
        identity : dict, optional
            All that the training depends on: a checkpoint of another one is refused.

        Raises
        ------
        TrainingInterrupted
            If a signal came and there is a checkpoint: once the step is done and the state is saved.
        ValueError
            If the checkpoint is damaged or of another training, or processes have other options or another checkpoint.
        """
        self.identity = identity or {}
        # One that ended or saved at another step would leave the others waiting.
        self.processes.check_same('frames and options', (
            self.identity, self.max_steps, self.max_time, self.patience, checkpoint is None, checkpoint_every))
        if checkpoint and not os.path.isdir(os.path.dirname(os.path.abspath(checkpoint))):
            raise FileNotFoundError(f'checkpoint must be in a directory that exists, got {os.fspath(checkpoint)}')
        if checkpoint and self.processes.first:
            remove_leftovers(os.path.dirname(os.path.abspath(checkpoint)))
        if checkpoint and os.path.exists(checkpoint):
            self._load(checkpoint)
        self.processes.check_same('checkpoint', self.step)
        if self.judge and self.warm_start and self.step == 0:
            self._judge()
        # Without a checkpoint there is nothing to be saved, and signals do as they always do.
        with Interruption(checkpoint is not None, patient=self.processes.size > 1) as interruption:
            self._run_steps(interruption, checkpoint, checkpoint_every)
        if self.judge:
            self._judge()
        best = self.judge and self.keep == 'best'
        self.network.load_state_dict(self.best_state if best else self.average.module.state_dict())
        self.processes.copy_weights(self.network)
        self.network.eval()

    def _run_steps(self, interruption, checkpoint, checkpoint_every):
        """Take steps until the budget or the patience is used up, or a signal comes."""
        start, saved = time.monotonic() - self.elapsed, self.elapsed
        done, signal = self._is_done(), 0
        while not (done or signal):
            self._train_step(self._fraction())
            self.step += 1
            if self.judge and self.step % self.judge_every == 0:
                self._judge()
            self.elapsed = time.monotonic() - start
            # All processes must take the same steps, whatever their clocks and judgements say.
            self.elapsed, done = self.processes.share(self.elapsed, self._is_done())
            signal = self.processes.largest(interruption.signal)
            done = done or self._fraction() >= 1
            if self.progress:
                self.progress(self._fraction(), self.history[-1][1] if self.history else None)
            if checkpoint and (done or signal or self.step % checkpoint_every == 0
                               or self.elapsed - saved > _SAVE_AFTER):
                self._save(checkpoint)
                saved = self.elapsed
        if signal and not done:
            raise TrainingInterrupted(signal, self.step, checkpoint)

    def _save(self, path):
        random_states = self.processes.gather(self.sampler.state)
        if not self.processes.first:
            return
        state = {'identity': self.identity, 'network': self.network.state_dict(), 'average': self.average.state_dict(),
                 'optimizer': self.optimizer.state_dict(), 'step': self.step, 'elapsed': self.elapsed,
                 'history': self.history, 'best': self.best, 'best_figures': self.best_figures,
                 'best_state': self.best_state, 'stale': self.stale,
                 'judge_every': self.judge_every, 'scaler': self.precision.scaler.state_dict(), 'rng': random_states}
        with atomic_write(path, overwrite=True) as temporary:
            torch.save(state, temporary)

    def _load(self, path):
        # weights_only: a checkpoint is data and must not be able to run code.
        try:
            state = torch.load(path, weights_only=True, map_location='cpu')
            saved = state.get('identity', {})
        except Exception as error:
            raise ValueError(f'checkpoint {path} cannot be resumed from: it is damaged ({error})') from error
        check_identity(path, saved, self.identity)
        try:
            self.network.load_state_dict(state['network'])
            self.average.load_state_dict(state['average'])
            self.optimizer.load_state_dict(state['optimizer'])
            if state.get('scaler'):   # empty where nothing is scaled
                self.precision.scaler.load_state_dict(state['scaler'])
            self.sampler.state = state['rng'][self.processes.rank]
            for name in ('step', 'elapsed', 'history', 'best', 'best_state', 'stale'):
                setattr(self, name, state[name])
            self.best_figures = state.get('best_figures')
        except Exception as error:
            # torch raises whatever the damage happens to cause.
            raise ValueError(f'checkpoint {path} cannot be resumed from: it is damaged, or of another '
                             f'network ({error})') from error
        before = state.get('judge_every', self.judge_every)
        if self.judge and self.best_state is not None and before != self.judge_every:
            # With another budget other stars judge, whose scores differ from the ones before.
            best = copy.deepcopy(self.average.module)
            best.load_state_dict(self.best_state)
            self.best, self.best_figures = self._judgement(best)
