# Licensed under a 3-clause BSD style license - see LICENSE
"""
The floating-point type of the computation of the network.
"""

import torch

from ..config import conf

__all__ = ['select_dtype', 'supports_bfloat16']


def supports_bfloat16(device):
    """
    Check if a device multiplies numbers of type bfloat16 in hardware, and therefore faster than float32.

    Parameters
    ----------
    device : `torch.device`
        Device of the computation.

    Returns
    -------
    bool
        True for GPUs with this support, and for x86 processors with AVX512-BF16, which includes those with AMX.
    """
    if device.type == 'cuda':
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == 'cpu' and torch.cpu._is_avx512_bf16_supported()


def select_dtype(device):
    """
    Choose the floating-point type in which a network predicts, by ``conf.precision``.

    Parameters
    ----------
    device : `torch.device`
        Device of the computation.

    Returns
    -------
    `torch.dtype`
        The type in ``conf.precision``; for 'auto' bfloat16 where the device supports it in hardware, else float32.

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
