# Licensed under a 3-clause BSD style license - see LICENSE
"""
Networks in the format ONNX, for programs without torch.
"""

import importlib.util
import warnings

import torch

from ..networks import blind_moments, network_inputs

__all__ = ['INPUTS', 'OUTPUTS', 'onnx_model']

#: Inputs and outputs of an exported model, arrays of float32 of shape (1, 1, height, width).
INPUTS, OUTPUTS = ('z', 'valid', 'v0', 'slope', 'zero'), ('mean', 'spread')


class _Blind(torch.nn.Module):
    """From a normalised image and its noise to blind mean and spread."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, z, valid, v0, slope, zero):
        mean, log_spread = blind_moments(self.network(network_inputs(z, valid, v0, slope, zero)))
        return mean, torch.exp(log_spread)


def onnx_model(network, cards):
    """
    Convert a blind-spot network to ONNX.

    Parameters
    ----------
    network : BlindSpotUNet
        The network, on the CPU.
    cards : dict of str
        Metadata of the file.

    Returns
    -------
    bytes
        The content of a file. Inputs are `INPUTS`, as in `~astropy_n2v.networks.network_inputs`; outputs are `OUTPUTS`,
        in units of the sky noise. Height and width must be multiples of the alignment of the network.

    Raises
    ------
    ImportError
        If onnx or onnxscript are not installed.
    """
    if not all(importlib.util.find_spec(name) for name in ('onnx', 'onnxscript')):
        raise ImportError("export_onnx() needs onnx and onnxscript: pip install 'astropy-n2v[onnx]'")
    step = network.alignment
    example = tuple(torch.rand(1, 1, 2 * step, 3 * step) for _ in INPUTS)
    sizes = {2: step * torch.export.Dim('rows'), 3: step * torch.export.Dim('columns')}
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')   # of torch about itself
        program = torch.onnx.export(_Blind(network).eval(), example, dynamo=True, verbose=False, optimize=False,
                                    dynamic_shapes=(sizes,) * len(INPUTS), input_names=list(INPUTS),
                                    output_names=list(OUTPUTS))
    model = program.model_proto
    for key, value in cards.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    return model.SerializeToString()
