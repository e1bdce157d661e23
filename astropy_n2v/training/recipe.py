# Licensed under a 3-clause BSD style license - see LICENSE
"""
The recipe of the shipped weights: ``python -m astropy_n2v.training.recipe``.

Blind-spot likelihood on simulated *noisy* frames, drawn on the fly; the truth of the
scenes is never used. A run resumes from its checkpoint.
"""

import argparse
import logging
import os

import numpy as np
import torch

from ..networks import BlindSpotUNet, widen
from ..simulate import random_observation
from .loop import Trainer
from .patches import PatchSampler, TrainingFrame

__all__ = ['main', 'random_frame']

SCENE_SIZE = 256
#: Channels of the shipped networks by level, full resolution first.
WIDTHS = 16, 32, 64, 96, 96
DECODER_WIDTHS = 16, 32, 64, 96


def random_frame(rng, *, hole=1):
    """
    Draw a noisy frame of a random scene.

    Parameters
    ----------
    rng : `~numpy.random.Generator`
        Source of randomness.
    hole : int, optional
        Height and width of the square around a pixel beyond which its noise is not correlated;
        above 1 the frame has been resampled, drizzled or the like.

    Returns
    -------
    TrainingFrame
        The frame with the noise model that holds for it.
    """
    observation = random_observation((SCENE_SIZE, SCENE_SIZE), hole=hole, seed=rng)
    return TrainingFrame(observation.data, observation.noise, observation.mask)


class _Stream(PatchSampler):
    """Patches from a pool of frames that is renewed bit by bit."""

    def __init__(self, pool, renew_every, hole, rng, **kwargs):
        super().__init__([random_frame(rng, hole=hole) for _ in range(pool)], rng=rng, **kwargs)
        self.renew_every, self.hole, self.drawn = renew_every, hole, 0

    def draw(self):
        self.drawn += 1
        if self.drawn % self.renew_every == 0:
            oldest = (self.drawn // self.renew_every) % len(self.frames)
            self.frames[oldest] = random_frame(self.rng, hole=self.hole)
        return super().draw()


def main(arguments=None):
    """Train and write weights; see ``--help``."""
    parser = argparse.ArgumentParser(description='Train the weights that are shipped with astropy_n2v.')
    parser.add_argument('output', help='file to write, .safetensors; OUTPUT.ckpt is what a run resumes from')
    parser.add_argument('--hole', type=int, default=1, help='hole in pixels; above 1 the noise is correlated')
    parser.add_argument('--init', help='weights to start from; those of a narrower network are widened')
    parser.add_argument('--widths', nargs='+', type=int, default=WIDTHS, help='channels of the encoder by level')
    parser.add_argument('--decoder-widths', nargs='+', type=int, default=DECODER_WIDTHS)
    parser.add_argument('--steps', type=int, default=8000)
    parser.add_argument('--minutes', type=float, help='end the schedule after this time')
    parser.add_argument('--batch-size', type=int, default=8)
    parser.add_argument('--patch-size', type=int, default=96)
    parser.add_argument('--learning-rate', type=float, default=4e-3)
    parser.add_argument('--pool', type=int, default=48, help='frames to draw patches from')
    parser.add_argument('--renew-every', type=int, default=2, help='steps after which one frame is drawn anew')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--seed', type=int, default=20261)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format='%(asctime)s %(message)s')
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)

    from ..denoiser import Denoiser
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    network = BlindSpotUNet(widths=options.widths, decoder_widths=options.decoder_widths, hole=2 * (options.hole,))
    if options.init:
        start = Denoiser.load(options.init).network
        network.load_state_dict(widen(start, widths=options.widths, decoder_widths=options.decoder_widths).state_dict())
    network.to(device)
    judged = [random_frame(np.random.default_rng((options.seed, 1, i)), hole=options.hole) for i in range(24)]
    batch = torch.stack([frame.planes for frame in judged])

    def judge(candidate):
        from .train import held_out_likelihood
        return held_out_likelihood(candidate, batch, batch[:, 2])

    sampler = _Stream(options.pool, options.renew_every, options.hole, rng, patch_size=options.patch_size,
                      batch_size=options.batch_size)
    trainer = Trainer(network, sampler, max_steps=options.steps,
                      max_time=options.minutes and 60 * options.minutes, learning_rate=options.learning_rate,
                      judge=judge, judge_every=250, warm_start=bool(options.init), ema_decay=0.998)
    trainer.run(checkpoint=os.fspath(options.output) + '.ckpt')
    metadata = {'trained_on': 'simulated noisy frames, astropy_n2v.simulate.random_observation',
                'steps': trainer.step, 'seconds': round(trainer.elapsed), 'seed': options.seed,
                'held_out_likelihood': trainer.best}
    Denoiser(network.cpu(), metadata=metadata).save(options.output, overwrite=True)


if __name__ == '__main__':
    main()
