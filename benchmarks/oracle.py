# Licensed under a 3-clause BSD style license - see LICENSE
"""
How much could be gained at all: ``python benchmarks/oracle.py --minutes 60 --checkpoint oracle.ckpt``.

The oracle is the shipped network with its hole open and *clean* targets: a second path shows it each pixel and its
neighbours, and it is trained on to come near the truth of the scenes that the recipe draws. It starts as what
`astropy_n2v.denoise` does. A run resumes from its checkpoint. Writes ``results/oracle.csv``: noise reduction of both
on fields that neither has seen, and the share of the oracle's gain that is reached without clean targets.
"""

import math
import os
import time

import numpy as np
import torch
from common import Recorder, make_frames, parse
from peers import denoise_ours
from quality import judge
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from astropy_n2v import Denoiser
from astropy_n2v.inference.normalization import Normalization
from astropy_n2v.networks import blind_moments, network_inputs
from astropy_n2v.networks.precision import supports_bfloat16
from astropy_n2v.simulate import random_scene
from astropy_n2v.training.optimizer import Optimizer
from astropy_n2v.training.patches import PatchSampler, TrainingFrame, split_planes

__all__ = ['Oracle', 'Stream', 'clean_frame', 'main', 'restore', 'train']

SCENE_SIZE = 256   # pixels on a side; as in tools/train_shipped.py
_EPS = 1e-4   # variance in units of that of the sky below which nothing more is to be gained


class Oracle(nn.Module):
    """
    A blind-spot network with its hole open.

    Parameters
    ----------
    network : `~torch.nn.Module`
        The blind network, with the 1x1 convolution ``join`` that brings its branches together.
    width : int, optional
        Channels of the open path.
    """

    def __init__(self, network, width=32):
        super().__init__()
        self.network = network
        channels = network.config['in_channels']
        self.open = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.LeakyReLU(0.1),
                                  nn.Conv2d(width, network.join.out_channels, 1))
        # At first nothing comes through.
        nn.init.zeros_(self.open[-1].weight)
        nn.init.zeros_(self.open[-1].bias)

    def forward(self, planes):
        """Mean and variance of the truth, in units of the sky noise, from the planes of frames."""
        part = split_planes(planes[:, :6])
        noise = {name: part[name] for name in ('v0', 'slope', 'zero')}
        inputs = network_inputs(part['z'], part['seen'], **noise)
        # The join has channels last.
        opened = self.open(inputs).permute(0, 2, 3, 1)
        hook = self.network.join.register_forward_hook(lambda module, args, output: output + opened)
        try:
            mean, log_spread = blind_moments(self.network(inputs))
        finally:
            hook.remove()
        prior = torch.exp(2 * log_spread)
        variance = part['v0'] + part['slope'] * (mean.detach() - part['zero']).clamp(min=0)
        total = (prior + variance).clamp(min=1e-12)
        return (mean * variance + part['z'] * prior) / total, prior * variance / total


def clean_frame(scene, data):
    """Planes of a frame as the recipe trains on, and as a seventh the truth in the same units."""
    frame = TrainingFrame(data, scene.noise)
    scaling = Normalization.from_image(data, scene.noise, ~np.isfinite(data)).at(*(slice(0, n) for n in data.shape))
    truth = torch.from_numpy(scaling.forward(scene.truth).astype(np.float32))
    frame.planes = torch.cat([frame.planes, truth[None]])
    return frame, scaling


class Stream(PatchSampler):
    """Patches with truth, from a pool of the recipe's scenes that is renewed bit by bit."""

    def __init__(self, rng, pool=48, renew_every=2, patch_size=160, batch_size=3, size=SCENE_SIZE):
        self.size, self.renew_every, self.drawn = size, renew_every, 0
        super().__init__([self._frame(rng) for _ in range(pool)], patch_size, batch_size, rng, mask_probability=0.0)

    def _frame(self, rng):
        scene = random_scene((self.size, self.size), seed=rng)
        return clean_frame(scene, scene.observe(rng).data.astype(float))[0]

    def draw(self):
        self.drawn += 1
        if self.drawn % self.renew_every == 0:
            self.frames[(self.drawn // self.renew_every) % len(self.frames)] = self._frame(self.rng)
        return super().draw()


def _loss(oracle, planes):
    mean, variance = oracle(planes)
    variance = variance + _EPS
    weight, truth = planes[:, 2:3], planes[:, 6:7]
    return (weight * ((truth - mean) ** 2 / variance + torch.log(variance))).sum() / weight.sum().clamp(min=1)


def train(oracle, stream, minutes, checkpoint=None, learning_rate=7e-4):
    """
    Train for a time, which ends the schedule; a checkpoint is resumed from and written every minute.

    Returns
    -------
    oracle : Oracle
        With averaged weights.
    steps, seconds : int, float
        Spent in all.
    """
    optimizer = Optimizer(oracle, weight_decay=1e-4)
    average = AveragedModel(oracle, multi_avg_fn=get_ema_multi_avg_fn(0.998))
    step, elapsed, fast = 0, 0.0, supports_bfloat16(torch.device('cpu'))
    if checkpoint and os.path.exists(checkpoint):
        state = torch.load(checkpoint, weights_only=True)
        oracle.load_state_dict(state['oracle'])
        average.load_state_dict(state['average'])
        optimizer.load_state_dict(state['optimizer'])
        step, elapsed = state['step'], state['elapsed']
        stream.rng.bit_generator.state = state['rng']

    def save():
        if checkpoint:
            torch.save({'oracle': oracle.state_dict(), 'average': average.state_dict(),
                        'optimizer': optimizer.state_dict(), 'step': step, 'elapsed': elapsed,
                        'rng': stream.rng.bit_generator.state}, f'{checkpoint}.part')
            os.replace(f'{checkpoint}.part', checkpoint)

    start, saved = time.monotonic() - elapsed, time.monotonic()
    while elapsed < 60 * minutes:
        fraction = min(1, elapsed / (60 * minutes))
        # As in the recipe: what is twice as fast is too coarse to finish on.
        with torch.autocast('cpu', dtype=torch.bfloat16, enabled=fast and fraction < 0.75):
            loss = _loss(oracle, stream.draw())
        oracle.zero_grad(set_to_none=True)
        loss.backward()
        if torch.isfinite(nn.utils.clip_grad_norm_(oracle.parameters(), 1.0)):
            optimizer.step(learning_rate * (0.5 + 0.5 * math.cos(math.pi * fraction)) + 1e-6)
            average.update_parameters(oracle)
        step += 1
        elapsed = time.monotonic() - start
        if time.monotonic() - saved > 60:
            save()
            saved = time.monotonic()
    save()
    return (average.module if step else oracle), step, elapsed


def restore(oracle, frame):
    """Apply the oracle to an observation, in its unit."""
    planes, scaling = clean_frame(frame.scene, frame.data)
    planes = planes.planes
    step = oracle.network.alignment
    height, width = planes.shape[1:]
    padded = nn.functional.pad(planes, (0, -width % step, 0, -height % step))
    with torch.inference_mode():
        mean = oracle.eval()(padded[None])[0]
    return scaling.backward(mean[0, 0, :height, :width].numpy().astype(float))


def main(argv=None):
    arguments = parse(__doc__, argv, n_seeds=2, size=512, options={
        'minutes': {'type': float, 'default': 60.0, 'help': 'of training in all, earlier runs included'},
        'checkpoint': {'default': 'oracle.ckpt'}, 'seed': {'type': int, 'default': 20999, 'help': 'of the training'}})
    torch.manual_seed(arguments.seed)
    oracle = Oracle(Denoiser.load('default').network)
    stream = Stream(np.random.default_rng(arguments.seed))
    oracle, steps, seconds = train(oracle, stream, arguments.minutes, arguments.checkpoint)
    table = Recorder('oracle', f'{steps} steps in {seconds / 60:.0f} minutes')
    for kind, seed, frame in make_frames(arguments):
        ours, best = (judge(frame, image) for image in (denoise_ours(frame)[0], restore(oracle, frame)))
        row = {'kind': kind, 'seed': seed}
        for name in 'nr', 'nr_faint', 'nr_bright':
            row |= {f'{name}_ours': ours[name], f'{name}_oracle': best[name],
                    f'{name}_share': ours[name] / best[name]}
        # The share of the noise's mean square error that is removed.
        table.add(**row, removed_share=(1 - ours['nr'] ** -2) / (1 - best['nr'] ** -2))


if __name__ == '__main__':
    main()
