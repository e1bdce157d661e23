# Licensed under a 3-clause BSD style license - see LICENSE
"""
Models for tests.
"""

import torch

from astropy_n2v import Denoiser
from astropy_n2v.networks import BlindSpotUNet


def make_tiny_denoiser(hole=(1, 1), seed=0):
    """Make an untrained model of few weights, whose predictions depend on the data."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = BlindSpotUNet(widths=(6, 8, 8), decoder_widths=(6, 8), head_width=16, hole=hole)
        torch.nn.init.normal_(network.head[-1].weight, std=0.05)
    return Denoiser(network, {'name': 'tiny'})


def flat_weights(denoiser):
    """Concatenate all weights of a model."""
    return torch.cat([value.flatten() for value in denoiser.network.state_dict().values()])
