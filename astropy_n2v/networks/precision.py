# Licensed under a 3-clause BSD style license - see LICENSE
"""
In which floating-point numbers the network is computed.
"""

import torch

from ..config import conf

__all__ = ['select_dtype', 'supports_bfloat16']


def supports_bfloat16(device):
    """
    Tell if a device multiplies numbers of type bfloat16 in hardware, and so faster than float32.

    Parameters
    ----------
    device : `torch.device`
        Where to compute.

    Returns
    -------
    bool
        True for GPUs that do, and for x86 processors with AVX512-BF16, and so for those with AMX.
    """
    if device.type == 'cuda':
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == 'cpu' and torch.cpu._is_avx512_bf16_supported()


def select_dtype(device):
    """
    Choose the type of numbers in which a network predicts, by ``conf.precision``.

    Parameters
    ----------
    device : `torch.device`
        Where to compute.

    Returns
    -------
    `torch.dtype`
        As ``conf.precision`` says; for 'auto' bfloat16 where the device has it in hardware, else float32.

    Examples
    --------
    >>> import torch
    >>> from astropy_n2v import conf
    >>> from astropy_n2v.networks.precision import select_dtype
    >>> with conf.set_temp('precision', 'float32'):
    ...     select_dtype(torch.device('cpu'))
    torch.float32
    """
    if conf.precision == 'auto':
        return torch.bfloat16 if supports_bfloat16(device) else torch.float32
    return {'float32': torch.float32, 'bfloat16': torch.bfloat16}[conf.precision]
