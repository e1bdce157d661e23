# Licensed under a 3-clause BSD style license - see LICENSE
"""
Judge networks by pixels that they were not trained on and by injected stars, alone and against another network.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from ..networks import negative_log_likelihood, network_inputs
from ..utils.sampling import middle_cutout
from .injected_stars import compare_stars
from .patches import likelihood_noise, split_planes

__all__ = ['FIGURES', 'Comparison', 'Judgement', 'compare_networks', 'held_out_likelihood', 'judge_network']

_JUDGED_SIZE = 768   # pixels along each axis
_JUDGED_FRAMES = 8   # of all, at equal distances
_BLOCK = 32          # pixels along each axis, of the blocks whose scatter is the error of a comparison
_INTERVAL = 1.96     # standard errors on either side of a 95 % interval
# Nats of the likelihood of a pixel that one nat of the cost of stars is worth: stars that are 2 % worse outweigh 0.001,
# a difference that late judgements of a training have. Not tuned: in one training on simulated fields, of 240 steps,
# the same weights were chosen with 0 to 0.1.
_STARS = 0.05

#: Figures of a judgement, as logs name them.
FIGURES = 'held_out', 'flux_error', 'flux_bias', 'depth'


@dataclass(frozen=True)
class Judgement:
    """
    How good a network is on held-out pixels, and on injected stars if there are any.

    Parameters
    ----------
    likelihood : float
        Mean negative log-likelihood of the held-out pixels, in nats.
    flux_error, flux_bias, depth, cost : float, optional
        As of `~astropy_n2v.training.injected_stars.StarFigures`; NaN without stars.

    Examples
    --------
    >>> from astropy_n2v.training.judgement import Judgement
    >>> Judgement(1.25).score, Judgement(1.25, flux_error=0.9, flux_bias=-0.02, depth=0.2, cost=-0.3).score
    (1.25, 1.235)
    """

    likelihood: float
    flux_error: float = math.nan
    flux_bias: float = math.nan
    depth: float = math.nan
    cost: float = math.nan

    @classmethod
    def of(cls, network, frames, stars=None):
        """Judge a network by held-out pixels of frames, and by `~astropy_n2v.training.injected_stars.InjectedStars`."""
        likelihood = judge_network(network, frames)
        if stars is None or not stars.n_stars:
            return cls(likelihood)
        figures = stars.measure(network)
        return cls(likelihood, figures.flux_error, figures.flux_bias, figures.depth, figures.cost)

    @property
    def figures(self):
        """The figures by their names in `FIGURES`, without stars only the first."""
        values = self.likelihood, self.flux_error, self.flux_bias, self.depth
        return dict(zip(FIGURES, values[:1] if math.isnan(self.cost) else values))

    @property
    def score(self):
        """The figure to minimise: likelihood and cost of the stars."""
        return self.likelihood if math.isnan(self.cost) else self.likelihood + _STARS * self.cost


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
    stars : tuple, optional
        From `~astropy_n2v.training.injected_stars.compare_stars`, and the number of stars.

    Examples
    --------
    >>> from astropy_n2v.training.judgement import Comparison
    >>> print(Comparison(-0.0123, 0.0034, 5000).describe('default'))
    better than the default at predicting held-out pixels of these frames, which does not show if its results are \
nearer to the sky (compare repeated exposures): negative log-likelihood of 5000 pixels lower by 0.0123 +- 0.0034 (95 % \
interval)
    """

    difference: float
    interval: float
    pixels: int
    stars: tuple = None

    @property
    def better(self):
        """True if the network is better than the other one, and not by chance, and no worse on stars."""
        return self.difference + self.interval < 0 and not self.worse_on_stars

    @property
    def worse_on_stars(self):
        """True if fluxes or depth of injected stars are worse, and not by chance."""
        if self.stars is None:
            return False
        ratio, depth, _ = self.stars
        return ratio[1] > 1 or depth[2] < 0

    def describe(self, other):
        """Say in a sentence, without its beginning, how the network compares with one of some name."""
        verdict = 'better' if self.better else 'not better'
        task = 'measuring injected stars in' if self.worse_on_stars else 'predicting held-out pixels of'
        # At least two digits of the interval.
        digits = 4 if self.interval == 0 else min(max(4, 1 - math.floor(math.log10(self.interval))), 9)
        # The likelihood grew, and halves of repeated exposures showed larger errors, in a training on 10 exposures.
        text = (f'{verdict} than the {other} at {task} these frames, which does not show if its results are nearer to '
                f'the sky (compare repeated exposures): negative log-likelihood of {self.pixels} pixels '
                f'{"lower" if self.difference < 0 else "higher"} by {abs(self.difference):.{digits}f} +- '
                f'{self.interval:.{digits}f} (95 % interval)')
        if self.stars is None:
            return text
        (ratio, *ratios), (depth, *depths), n_stars = self.stars
        return (f'{text}; on {n_stars} injected stars errors of the flux are {ratio:.3f} of its own '
                f'({ratios[0]:.3f} to {ratios[1]:.3f}), and detection is {abs(depth):.2f} mag '
                f'{"deeper" if depth > 0 else "less deep"} ({depths[0]:+.2f} to {depths[1]:+.2f})')


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


def compare_networks(network, other, frames, stars=None):
    """
    Compare two networks by the same held-out pixels, and by the same stars.

    Parameters
    ----------
    network, other : `~torch.nn.Module`
        Blind networks.
    frames : list of TrainingFrame
        Frames with held-out pixels.
    stars : InjectedStars, optional
        Stars in such frames.

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
    compared = None
    if stars is not None and stars.n_stars:
        compared = (*compare_stars(stars.measure(network), stars.measure(other)), stars.n_stars)
    return Comparison(difference, float(_INTERVAL * error), int(round(total)), compared)


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
    """Choose the parts of frames that judge; return their planes and weights."""
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
