# Licensed under a 3-clause BSD style license - see LICENSE
"""
The optimizer: Muon for the kernels of convolutions, AdamW for the rest.
"""

import torch

__all__ = ['Optimizer']


class Optimizer:
    """
    Muon for matrices, AdamW for everything else.

    Muon (Jordan 2024; `torch.optim.Muon`) makes the update of a matrix orthogonal.

    Parameters
    ----------
    network : `~torch.nn.Module`
        The network to train; it must stay on its device.
    weight_decay : float
        Decoupled weight decay.

    Examples
    --------
    >>> from torch import nn
    >>> from astropy_n2v.training.optimizer import Optimizer
    >>> layer = nn.Linear(4, 3)
    >>> optimizer = Optimizer(layer, weight_decay=1e-4)
    >>> before = layer.weight.detach().clone()
    >>> layer(layer.weight).square().sum().backward()
    >>> optimizer.step(learning_rate=0.01)
    >>> bool((layer.weight != before).any())
    True
    """

    def __init__(self, network, weight_decay):
        kernels = [p for p in network.parameters() if p.ndim > 1 and min(p.shape[:2]) > 2]
        others = [p for p in network.parameters() if not any(p is kernel for kernel in kernels)]
        #: All parameters, as optimizers of torch list them.
        self.param_groups = [{'params': [*kernels, *others]}]
        # A kernel as the matrix that it is for a single pixel; both share their memory.
        self._matrices = [(kernel, kernel.detach().view(len(kernel), -1)) for kernel in kernels]
        self._parts = [torch.optim.AdamW(others, betas=(0.9, 0.99), weight_decay=weight_decay)]
        if kernels:
            # With this adjustment the learning rates of both mean the same.
            self._parts.append(torch.optim.Muon([matrix for _, matrix in self._matrices], weight_decay=weight_decay,
                                                adjust_lr_fn='match_rms_adamw'))

    def step(self, learning_rate):
        """Change the weights by their gradients."""
        for kernel, matrix in self._matrices:
            matrix.grad = None if kernel.grad is None else kernel.grad.reshape(matrix.shape)
        for part in self._parts:
            for group in part.param_groups:
                group['lr'] = learning_rate
            part.step()

    def state_dict(self):
        """Return the state, to resume from."""
        return [part.state_dict() for part in self._parts]

    def load_state_dict(self, state):
        """Resume from what `state_dict` gave."""
        for part, part_state in zip(self._parts, state, strict=True):
            part.load_state_dict(part_state)
