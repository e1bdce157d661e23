# Licensed under a 3-clause BSD style license - see LICENSE
"""
Training in numbers of 16 bits, which is faster where the hardware has them.
"""

import torch

from ..networks.precision import supports_bfloat16

__all__ = ['MixedPrecision']

# Fraction of the training after which it goes on in float32: numbers of 16 bits are too coarse to finish on. At
# asinh = 8 bfloat16 resolves 3 % of the flux.
_COARSE = 0.75


class MixedPrecision:
    """
    The numbers in which the branches of a network are computed while it is trained.

    Head and likelihood are always computed in float32, and so is everything in the last quarter of a training.
    Gradients of float16, whose least numbers are 6e-8, are computed of a loss that is scaled up; the scale is halved
    when they overflow, and the step is left out (Micikevicius et al. 2018, arXiv:1710.03740).

    Parameters
    ----------
    device : `torch.device`
        Where the network is trained.
    amp : {'auto', 'float32', 'bfloat16', 'float16'}, optional
        'auto' is bfloat16 where the device multiplies such numbers in hardware, else float32. float16 is emulated on
        most CPUs, and then ten times slower than float32.

    Raises
    ------
    ValueError
        If the device cannot do it.

    Examples
    --------
    >>> import torch
    >>> from astropy_n2v.training.mixed_precision import MixedPrecision
    >>> precision = MixedPrecision(torch.device('cpu'), 'bfloat16')
    >>> weight = torch.eye(3)
    >>> with precision.autocast(fraction=0.1):
    ...     (weight @ weight).dtype
    torch.bfloat16
    >>> with precision.autocast(fraction=0.9):
    ...     (weight @ weight).dtype
    torch.float32
    """

    def __init__(self, device, amp='auto'):
        self.device = device
        if amp == 'auto':
            self.dtype = torch.bfloat16 if supports_bfloat16(device) else None
        else:
            self.dtype = {'float32': None, 'bfloat16': torch.bfloat16, 'float16': torch.float16}[amp]
        if self.dtype is not None and not torch.amp.is_autocast_available(device.type):
            raise ValueError(f"amp must be 'float32' on a device of type {device.type}, got {amp!r}")
        # Without scaling, its methods change nothing.
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype is torch.float16)

    def autocast(self, fraction):
        """
        Return the context in which to compute the network.

        Parameters
        ----------
        fraction : float
            Fraction of the training that is done, from 0 to 1.

        Returns
        -------
        `torch.autocast`
            A context manager, which changes nothing in the last quarter of the training.
        """
        return torch.autocast(self.device.type, dtype=self.dtype or torch.bfloat16,
                              enabled=self.dtype is not None and fraction < _COARSE)

    def backward(self, loss, optimizer):
        """
        Compute the gradients of a loss.

        Parameters
        ----------
        loss : tensor
            A scalar.
        optimizer : `torch.optim.Optimizer`
            The optimizer, whose parameters get the gradients. They are not finite after an overflow.
        """
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(optimizer)

    def update(self):
        """Adapt the scale after a step."""
        self.scaler.update()
