# Licensed under a 3-clause BSD style license - see LICENSE
"""
Continue the training of a network with more channels than it had.
"""

import torch

from astropy_n2v.networks import BlindSpotUNet

__all__ = ['widen']


def widen(network, **options):
    """
    Make a network with more channels that says exactly the same.

    New channels start at random and nothing listens to them yet (Chen, Goodfellow & Shlens
    2016, arXiv:1511.05641, widen by copies instead, which noise must tell apart).

    Parameters
    ----------
    network : BlindSpotUNet
        The network to start from.
    **options
        Options of `BlindSpotUNet` that differ from those of ``network``: ``widths`` and
        ``decoder_widths``, of as many levels and nowhere narrower. The width of the decoder
        at full resolution must stay.

    Returns
    -------
    BlindSpotUNet
        The wider network.

    Raises
    ------
    ValueError
        If the options ask for anything else.

    Examples
    --------
    >>> import torch
    >>> from astropy_n2v.networks import BlindSpotUNet
    >>> from widening import widen
    >>> network = BlindSpotUNet(widths=(4, 8), decoder_widths=(4,))
    >>> wider = widen(network, widths=(6, 12))
    >>> image = torch.randn(1, 4, 16, 16)
    >>> bool(torch.allclose(network(image), wider(image)))
    True
    """
    old = network.config
    wider = BlindSpotUNet(**{**old, **options}, hole=network.hole)
    new = wider.config
    for name in ('in_channels', 'out_channels', 'head_width'):
        if old[name] != new[name]:
            raise ValueError(f'{name} must stay {old[name]}, got {new[name]}')
    for name in ('widths', 'decoder_widths'):
        if len(old[name]) != len(new[name]) or any(n < o for o, n in zip(old[name], new[name])):
            raise ValueError(f'{name} must have the levels of {old[name]} and be nowhere narrower, got {new[name]}')
    if old['decoder_widths'][:1] != new['decoder_widths'][:1]:
        raise ValueError(f'decoder_widths must start with {old["decoder_widths"][0]} as before, '
                         f'got {new["decoder_widths"]}')
    sources = network.state_dict()
    with torch.no_grad():
        for name, target in wider.state_dict().items():
            source = sources[name]
            target[:len(source)] = 0 if target.ndim > 1 else source
            if target.ndim > 1:
                for before, after in _inputs(name, old, new, source, target):
                    target[:len(source), after] = source[:, before]
    return wider


def _inputs(name, old, new, source, target):
    """Slices of the input channels of a kernel, before and after."""
    parts = name.split('.')
    if parts[:2] == ['branch', 'decoder'] and parts[3] == '0':
        # What comes from below, then what is skipped to.
        level = len(old['widths']) - 2 - int(parts[2])
        coarse_old, coarse_new = ((config['decoder_widths'] + [config['widths'][-1]])[level + 1]
                                  for config in (old, new))
        return [(slice(0, coarse_old), slice(0, coarse_old)),
                (slice(coarse_old, None), slice(coarse_new, coarse_new + source.shape[1] - coarse_old))]
    return [(slice(None), slice(0, source.shape[1]))]
