# Licensed under a 3-clause BSD style license - see LICENSE
"""
How well a network foresees pixels that it was not trained on, alone and compared with another network.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from ..networks import negative_log_likelihood, network_inputs
from ..utils.sampling import middle_cutout
from .patches import likelihood_noise, split_planes

__all__ = ['Comparison', 'compare_networks', 'held_out_likelihood', 'judge_network']

_JUDGED_SIZE = 768   # pixels along each axis
_JUDGED_FRAMES = 8   # of all, at equal distances
_BLOCK = 32          # pixels along each axis, of the blocks whose scatter is the error of a comparison
_INTERVAL = 1.96     # standard errors on either side of a 95 % interval


@dataclass(frozen=True)
class Comparison:
    """
    A network compared with another one on the same held-out pixels.

    Parameters
    ----------
    difference : float
        Negative log-likelihood a pixel, in nats, minus the one of the other network: negative if it is better.
    interval : float
        Half the width of the 95 % interval of the difference, from its scatter over blocks of the frames.
    pixels : int
        Number of pixels.

    Examples
    --------
    >>> from astropy_n2v.training.judgement import Comparison
    >>> print(Comparison(-0.0123, 0.0034, 5000).describe('default'))
    better than the default on 5000 held-out pixels of these frames: negative log-likelihood lower by 0.0123 +- 0.0034 \
(95 % interval)
    """

    difference: float
    interval: float
    pixels: int

    @property
    def better(self):
        """True if the network is better than the other one, and not by chance."""
        return self.difference + self.interval < 0

    def describe(self, other):
        """Say in a sentence, without its beginning, how the network compares with one of some name."""
        verdict = 'better' if self.better else 'not better'
        # At least two digits of the interval.
        digits = 4 if self.interval == 0 else min(max(4, 1 - math.floor(math.log10(self.interval))), 9)
        return (f'{verdict} than the {other} on {self.pixels} held-out pixels of these frames: negative log-likelihood '
                f'{"lower" if self.difference < 0 else "higher"} by {abs(self.difference):.{digits}f} +- '
                f'{self.interval:.{digits}f} '
                '(95 % interval)')


def judge_network(network, frames):
    """
    Judge a network by the held-out pixels of frames, of large ones on cut-outs.

    Parameters
    ----------
    network : `~torch.nn.Module`
        Blind network.
    frames : list of TrainingFrame
        Frames with held-out pixels.

    Returns
    -------
    float
        Mean negative log-likelihood a pixel, values being in units of the sky noise.
    """
    total = count = 0.0
    for planes, weight in _judged_parts(frames):
        n = float(weight.sum())
        total += n * held_out_likelihood(network, planes[None], weight[None])
        count += n
    return total / max(count, 1)


def compare_networks(network, other, frames):
    """
    Compare two networks by the same held-out pixels.

    Parameters
    ----------
    network, other : `~torch.nn.Module`
        Blind networks.
    frames : list of TrainingFrame
        Frames with held-out pixels.

    Returns
    -------
    Comparison or None
        None if the pixels are too few blocks to say how far chance goes.
    """
    differences, counts = [], []
    for planes, weight in _judged_parts(frames):
        both = [_likelihoods(candidate, planes, weight, _BLOCK) for candidate in (network, other)]
        for (value, count), (reference, _) in zip(*both):
            differences.append(value - reference)
            counts.append(count)
    n, total = len(counts), sum(counts)
    if n < 2:
        return None
    difference = float(np.average(differences, weights=counts))
    deviations = np.multiply(counts, np.subtract(differences, difference))
    error = np.sqrt(np.sum(deviations ** 2) * n / (n - 1)) / total
    return Comparison(difference, float(_INTERVAL * error), int(round(total)))


def held_out_likelihood(network, planes, weight):
    """
    Compute the mean negative log-likelihood of the pixels held out.

    Parameters
    ----------
    network : `~torch.nn.Module`
        Blind network.
    planes : tensor
        Planes of frames, shape (n, 7, height, width).
    weight : tensor
        Weight of each pixel in the judgement, shape (n, height, width).

    Returns
    -------
    float
        In nats for each pixel, values being in units of the sky noise.
    """
    total = count = 0.0
    for frame, counts in zip(planes, weight):
        for value, n in _likelihoods(network, frame, counts):
            total += value * n
            count += n
    return total / count


def _judged_parts(frames):
    """Planes and weights of the parts of frames that judge."""
    for frame in frames[::max(1, len(frames) // _JUDGED_FRAMES)]:
        if frame.held_out.any():
            cut = middle_cutout(frame.held_out.numpy(), _JUDGED_SIZE)
            yield frame.planes[:, *cut], frame.held_out[cut]


def _likelihoods(network, frame, weight, block=None):
    """Mean negative log-likelihood and number of the pixels in each block of a frame, by default in all of it."""
    network.eval()
    device = next(network.parameters()).device
    # Zero planes beyond the end of the frame, as a patch that hangs over the edge has.
    pad = [-n % network.alignment for n in frame.shape[1:]]
    frame = torch.nn.functional.pad(frame, (0, pad[1], 0, pad[0]))
    weight = torch.nn.functional.pad(weight, (0, pad[1], 0, pad[0]))[None, None]
    planes = split_planes(frame[None])
    noise = {name: planes[name] for name in ('v0', 'slope', 'zero')}
    found = []
    with torch.inference_mode():
        output = network.predict(network_inputs(planes['z'], planes['seen'], **noise).to(device)).cpu()
        height, width = weight.shape[2:]
        for y in range(0, height, block or height):
            for x in range(0, width, block or width):
                part = ..., slice(y, y + (block or height)), slice(x, x + (block or width))
                count = float(weight[part].sum())
                if count > 0:
                    _, value = negative_log_likelihood(
                        output[part], planes['z'][part], weight[part],
                        **{name: values[part] for name, values in likelihood_noise(planes).items()})
                    found.append((float(value), count))
    return found
