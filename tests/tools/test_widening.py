# Licensed under a 3-clause BSD style license - see LICENSE
"""
Wider networks predict as those that they are made of.
"""

import pytest
import torch
from widening import widen

from astropy_n2v.networks import BlindSpotUNet


class TestWiden:
    @pytest.mark.parametrize('options', [
        {'widths': (9, 12, 20)}, {'decoder_widths': (6, 11)}, {'widths': (6, 8, 20), 'decoder_widths': (6, 16)}, {}])
    def test_says_the_same_and_can_learn(self, options):
        torch.manual_seed(1)
        network = BlindSpotUNet(widths=(6, 8, 12), decoder_widths=(6, 9), head_width=8, hole=(1, 3))
        torch.nn.init.normal_(network.head[-1].weight)
        wider = widen(network, **options)
        image = torch.randn(2, 4, 16, 24)
        torch.testing.assert_close(wider(image), network(image), atol=1e-6, rtol=1e-5)
        assert wider.hole == (1, 3) and wider.config == network.config | {k: list(v) for k, v in options.items()}
        # The new channels have a gradient, although their output has no weight yet.
        wider(image).square().sum().backward()
        assert all((p.grad != 0).any() for p in wider.parameters())

    @pytest.mark.parametrize('options, match', [
        ({'widths': (4, 8, 12)}, 'widths must have the levels of .* and be nowhere narrower, got .4, 8, 12.'),
        ({'widths': (6, 8), 'decoder_widths': (6,)}, 'widths must have the levels'),
        ({'decoder_widths': (7, 9)}, 'decoder_widths must start with 6'),
        ({'head_width': 16}, 'head_width must stay 8, got 16')])
    def test_anything_else_is_an_error(self, options, match):
        network = BlindSpotUNet(widths=(6, 8, 12), decoder_widths=(6, 9), head_width=8)
        with pytest.raises(ValueError, match=match):
            widen(network, **options)
