# Licensed under a 3-clause BSD style license - see LICENSE
"""
The recipe of the shipped weights: ``python tools/train_shipped.py``.

Blind-spot likelihood on simulated *noisy* frames, drawn on the fly; the truth of the
scenes is never used. A run resumes from its checkpoint. Under torchrun several processes
train together: ``torchrun --nproc-per-node 2 tools/train_shipped.py``.
"""

import argparse
import logging
import os
from functools import partial

import numpy as np
import torch
from widening import widen

from astropy_n2v import Denoiser
from astropy_n2v.blind_spot import find_hole
from astropy_n2v.containers.container import Container
from astropy_n2v.io import read_fits_images
from astropy_n2v.networks import BlindSpotUNet
from astropy_n2v.planes import find_planes
from astropy_n2v.simulate import RANDOM_FIELDS, random_observation
from astropy_n2v.training.judgement import held_out_likelihood
from astropy_n2v.training.loop import Trainer
from astropy_n2v.training.patches import PatchSampler, TrainingFrame
from astropy_n2v.training.processes import Processes, end_process

__all__ = ['main', 'random_frame']

SCENE_SIZE = 256
#: Channels by level of the network that is shipped, full resolution first.
WIDTHS = 16, 32, 64, 128, 192
DECODER_WIDTHS = 16, 32, 64, 128


def random_frame(rng, *, correlated=0.0):
    """
    Draw a noisy frame of a random scene.

    Parameters
    ----------
    rng : `~numpy.random.Generator`
        Source of randomness.
    correlated : float, optional
        Share of the frames whose noise is correlated, and is whitened.

    Returns
    -------
    TrainingFrame
        The frame with the noise model that holds for it.
    """
    correlate = correlated > 0 and rng.random() < correlated
    observation = random_observation((SCENE_SIZE, SCENE_SIZE), correlated=correlate, seed=rng)
    return TrainingFrame(observation.data, observation.noise, observation.mask, signal=observation.truth)


def real_frames(paths):
    """
    Read real frames to train on, as `~astropy_n2v.denoise` sees them.

    Parameters
    ----------
    paths : sequence of path
        FITS files with an image each, or ``FILE[EXT]``.

    Returns
    -------
    list of TrainingFrame
        One for each plane that can be denoised.
    """
    frames = []
    for path in paths:
        planes = [plane for ccd in read_fits_images(path) for plane in find_planes(Container(ccd))[0]]
        find_hole(planes)
        frames += [TrainingFrame(plane.values, plane.noise, plane.mask) for plane in planes]
    return frames


class _Stream(PatchSampler):
    """Patches from a pool of frames that is renewed bit by bit."""

    def __init__(self, pool, renew_every, draw, rng, real=(), real_share=0.0, **kwargs):
        super().__init__([draw(rng) for _ in range(pool)], rng=rng, **kwargs)
        self.renew_every, self.draw_frame, self.drawn = renew_every, draw, 0
        self.real, self.real_share = list(real), real_share if real else 0.0

    def draw(self):
        self.drawn += 1
        if self.drawn % self.renew_every == 0:
            oldest = (self.drawn // self.renew_every) % len(self.frames)
            self.frames[oldest] = self.draw_frame(self.rng)
        batch = super().draw()
        for i in np.flatnonzero(self.rng.random(len(batch)) < self.real_share):
            # Any frame as often as any other, whatever its size.
            batch[i] = self._patch(self.real[self.rng.integers(len(self.real))])
        return batch


def _parse(arguments):
    parser = argparse.ArgumentParser(
        description='Train the weights that are shipped with astropy_n2v. A checkpoint is resumed from only with the '
                    'options that it was made with, on the same kinds of scenes; --steps and --minutes may change.')
    parser.add_argument('output', help='file to write, .safetensors; OUTPUT.ckpt is what a run resumes from')
    parser.add_argument('--correlated', type=float, default=0.0, help='share of the frames with correlated noise, '
                        'which is whitened')
    parser.add_argument('--real', nargs='*', default=(), help='real frames to train on, too')
    parser.add_argument('--real-share', type=float, default=0.15, help='share of the patches from real frames')
    parser.add_argument('--init', help='weights to start from; those of a narrower network are widened')
    parser.add_argument('--widths', nargs='+', type=int, default=WIDTHS, help='channels of the encoder by level')
    parser.add_argument('--decoder-widths', nargs='+', type=int, default=DECODER_WIDTHS)
    parser.add_argument('--steps', type=int, default=8000)
    parser.add_argument('--minutes', type=float, help='end the schedule after this time')
    parser.add_argument('--batch-size', type=int, default=4, help='of each process')
    parser.add_argument('--patch-size', type=int, default=160)
    parser.add_argument('--learning-rate', type=float, default=4e-3)
    # Thousands of frames tell of the spread on the sky what a few cannot: with less, the least one stays too large.
    parser.add_argument('--max-gain', type=float, default=24.0, help='by how much the gradient of small spreads is '
                        'raised at most; the less, the more is learned of the means')
    parser.add_argument('--focus', action=argparse.BooleanOptionalAction, default=True, help='let pixels and scenes '
                        'count by what they do to the error of the result, for the plain likelihood')
    parser.add_argument('--pool', type=int, default=48, help='frames to draw patches from, of each process')
    parser.add_argument('--renew-every', type=int, default=2, help='steps after which one frame is drawn anew')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads(), help='of each process')
    parser.add_argument('--seed', type=int, default=20261)
    parser.add_argument('--dtype', choices=('float32', 'float16'), default='float32', help='how to store the weights')
    return parser.parse_args(arguments)


def _identity(options, init, processes):
    """What the training depends on, and what may not change while it is interrupted."""
    budget = ('output', 'steps', 'minutes', 'threads', 'dtype')
    identity = {name: value for name, value in vars(options).items() if name not in budget}
    # In a form that does not tell tuples from lists. The shares of the fields are the code's.
    return {**identity, 'init': init and init.sha256, 'widths': list(options.widths),
            'decoder_widths': list(options.decoder_widths), 'processes': processes.size,
            'fields': dict(RANDOM_FIELDS)}


def main(arguments=None):
    """Train and write weights; see ``--help``."""
    options = _parse(arguments)
    with Processes.of_torchrun() as processes:
        first = processes.rank == 0
        logging.basicConfig(level=logging.INFO if first else logging.WARNING, format='%(asctime)s %(message)s')
        torch.set_num_threads(options.threads)
        denoiser = _train(options, processes)
        if first:
            denoiser.save(options.output, overwrite=True, dtype=options.dtype)


def _train(options, processes):
    torch.manual_seed(options.seed)   # the same in all processes: it makes the weights
    network = BlindSpotUNet(widths=options.widths, decoder_widths=options.decoder_widths)
    init = Denoiser.load(options.init) if options.init else None
    if init:
        wider = widen(init.network, widths=options.widths, decoder_widths=options.decoder_widths)
        network.load_state_dict(wider.state_dict())
    network.to(processes.device)
    rank = processes.rank
    rng = np.random.default_rng((options.seed, 2, rank) if rank else options.seed)
    sampler = _Stream(options.pool, options.renew_every, partial(random_frame, correlated=options.correlated), rng,
                      real=real_frames(options.real), real_share=options.real_share,
                      patch_size=options.patch_size, batch_size=options.batch_size)
    trainer = Trainer(network, sampler, max_steps=options.steps,
                      max_time=options.minutes and 60 * options.minutes, learning_rate=options.learning_rate,
                      judge=None if rank else _make_judge(options), judge_every=250, keep='last',
                      warm_start=init is not None, ema_decay=0.998, max_gain=options.max_gain, focus=options.focus,
                      processes=processes)
    trainer.run(checkpoint=os.fspath(options.output) + '.ckpt', identity=_identity(options, init, processes))
    metadata = {'trained_on': 'simulated noisy frames, astropy_n2v.simulate.random_observation',
                'steps': trainer.step, 'seconds': round(trainer.elapsed), 'seed': options.seed,
                'held_out_likelihood': trainer.history[-1][1] if rank == 0 else None}
    # White noise is what whitened noise is.
    metadata['whitened'] = True
    if options.real:
        metadata['trained_on'] += f', and {len(options.real)} real frames'
    if processes.size > 1:
        metadata['processes'] = processes.size
    return Denoiser(network.cpu(), metadata=metadata)


def _make_judge(options):
    """The likelihood of frames that are never trained on."""
    judged = [random_frame(np.random.default_rng((options.seed, 1, i)), correlated=options.correlated).planes
              for i in range(24)]
    return lambda candidate: held_out_likelihood(candidate, judged, [planes[2] for planes in judged])


if __name__ == '__main__':
    main()
    end_process()
