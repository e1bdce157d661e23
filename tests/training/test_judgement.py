# Licensed under a 3-clause BSD style license - see LICENSE
"""
Judgement of networks by held-out pixels.
"""

import numpy as np
import pytest
from models import make_tiny_denoiser

from astropy_n2v import Denoiser, train
from astropy_n2v.training.judgement import Comparison, compare_networks, judge_network
from astropy_n2v.training.patches import TrainingFrame


@pytest.fixture
def frames(scene):
    rng = np.random.default_rng(0)
    return [TrainingFrame(scene.observe(seed=n).data, scene.noise, held_out=0.2, rng=rng) for n in range(2)]


def test_default_is_better_than_an_untrained_network(frames):
    tiny, default = make_tiny_denoiser().network, Denoiser.load('default').network
    worse, better = compare_networks(tiny, default, frames), compare_networks(default, tiny, frames)
    assert better.better and not worse.better
    assert better.difference == -worse.difference and better.interval == worse.interval > 0
    assert better.pixels == sum(int(frame.held_out.sum()) for frame in frames)
    # The mean over the blocks is the mean over the pixels.
    assert better.difference == pytest.approx(judge_network(default, frames) - judge_network(tiny, frames), abs=1e-5)


def test_network_is_not_better_than_itself(frames):
    network = make_tiny_denoiser().network
    comparison = compare_networks(network, network, frames)
    assert comparison.difference == comparison.interval == 0 and not comparison.better


def test_one_block_says_nothing_of_chance(scene):
    frame = TrainingFrame(scene.observe(seed=1).data[:30, :30], scene.noise, held_out=0.2,
                          rng=np.random.default_rng(0))
    network = make_tiny_denoiser().network
    assert compare_networks(network, network, [frame]) is None


def test_difference_by_chance_is_not_better():
    text = Comparison(-0.001, 0.002, 100).describe('default')
    assert text.startswith('not better than the default at predicting held-out pixels of these frames, which does not '
                           'show if its results are nearer to the sky (compare repeated exposures)')
    assert 'likelihood of 100 pixels lower by 0.0010 +- 0.0020' in text
    assert 'higher by 0.000300 +- 0.000012' in Comparison(3e-4, 1.2e-5, 100).describe('default')


def test_trained_model_says_how_it_compares(scene):
    options = dict(noise=scene.noise, max_steps=1, batch_size=1, patch_size=32,
                   network_options=dict(widths=(6, 8), decoder_widths=(6,), head_width=8))
    model = train(scene.observe(seed=1), **options)
    assert model.metadata['against_default'].startswith('not better than the default at predicting ')
    # With another hole the likelihoods are of other tasks.
    assert 'against_default' not in train(scene.observe(seed=1), hole=3, **options).metadata
