# Licensed under a 3-clause BSD style license - see LICENSE
"""
The prediction of a network that sees all pixels, and says nothing of its errors.
"""

from dataclasses import dataclass

import numpy as np
import torch

from .tiling import Tiling

__all__ = ['LinearScale', 'predict_plain']


@dataclass(frozen=True)
class LinearScale:
    """
    Mean and standard deviation of the pixels that a network was trained on, which scale its input and its output.

    Parameters
    ----------
    mean, deviation : float, or `~numpy.ndarray` of shape (channels, 1, 1)
        In data units.

    Examples
    --------
    >>> from astropy_n2v.inference.plain import LinearScale
    >>> LinearScale(100.0, 5.0).forward(110.0), LinearScale(100.0, 5.0).backward(2.0)
    (2.0, 110.0)
    """

    mean: float
    deviation: float

    def forward(self, data):
        """Convert from data units."""
        return (data - self.mean) / self.deviation

    def backward(self, z):
        """Convert to data units."""
        return z * self.deviation + self.mean


def predict_plain(network, scale, data, valid, *, tile_size, device, progress=None):
    """
    Predict an image tile by tile.

    Parameters
    ----------
    network : UNet
        The network.
    scale : LinearScale
        The options of its training.
    data : `~numpy.ndarray`
        Image of shape (ny, nx), or (channels, ny, nx).
    valid : `~numpy.ndarray` of bool
        True where the data count, of the same shape; elsewhere the network sees the mean.
    tile_size : int
        Largest height and width of a tile, in pixels.
    device : `torch.device`
        Where to compute.
    progress : callable, optional
        Called with the fraction done.

    Returns
    -------
    `~numpy.ndarray`
        In data units, float32 or float64 as ``data``.
    """
    z = np.where(valid, scale.forward(np.where(valid, data, 0).astype(float)), 0)
    planes = z.reshape(-1, *z.shape[-2:])
    tiling = Tiling(z.shape[-2:], tile_size, network.receptive_radius, alignment=network.alignment)
    beyond = [(0, n - m) for n, m in zip(tiling.padded_shape, z.shape[-2:])]
    padded = np.pad(planes, [(0, 0), *beyond], mode='symmetric')
    result = np.zeros(padded.shape)
    network.to(device).eval()
    for i, tile in enumerate(tiling):
        inputs = torch.from_numpy(padded[:, tile.y, tile.x].astype(np.float32))[None].to(device)
        with torch.inference_mode():
            result[:, tile.y, tile.x] += tile.weight * network(inputs)[0].cpu().numpy()
        if progress:
            progress((i + 1) / len(tiling))
    result = result[:, :z.shape[-2], :z.shape[-1]].reshape(z.shape)
    return scale.backward(result).astype(np.result_type(data.dtype, np.float32), copy=False)
