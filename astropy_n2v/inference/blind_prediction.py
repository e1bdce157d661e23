# Licensed under a 3-clause BSD style license - see LICENSE
"""
Compute the blind mean and spread of each pixel of an image, tile by tile.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch

from ..networks import network_inputs
from ..utils.scratch import zeros
from .bootstrap import BOOTSTRAP_SIZE, bootstrap_spread
from .bounds import bound_prediction
from .evenness import even_spread
from .tiling import Tiling
from .workers import apply_network, predict_orientations

__all__ = ['BlindPredictor', 'BootstrapPredictor', 'predict_orientations']

_LEAST_LOCAL = 0.2   # units of the typical noise: least noise of a pixel in the input of the network


@dataclass(frozen=True, eq=False)
class BlindPredictor:
    """
    A network with all parameters of its application to an image.

    Parameters
    ----------
    network : BlindSpotUNet
        The network.
    margin : int
        Width in pixels of the border at interior edges of a tile where the prediction is not used.
    tile_size : int
        Largest height and width of a tile, in pixels.
    device : `torch.device`
        Device of the computation.
    dtype : `torch.dtype`
        Floating-point type of the network.
    progress : callable, optional
        Called with the fraction done.
    executor : concurrent.futures.Executor, optional
        Where the network is computed, tile by tile; by default on ``device``.
    """

    network: torch.nn.Module
    margin: int
    tile_size: int
    device: torch.device
    dtype: torch.dtype
    progress: object = None
    executor: object = None

    #: True if predictions are averaged over all orientations of the image.
    oriented: ClassVar[bool] = False

    def predict(self, image):
        """
        Predict each pixel of an image from its surroundings.

        Parameters
        ----------
        image : NormalizedImage
            The image.

        Returns
        -------
        mean, spread : `~numpy.ndarray`
            In units of the sky noise, float32.
        """
        mean, spread = self._predict_tiles(image)
        noisy = image.unsupported()
        while noisy is not None:
            # Parts of a mosaic that are far noisier than the rest are predicted again on the scale of their own noise.
            again = image.on_scale(image.noise_scale(noisy))
            factor = np.float32(again.scaling.scale / image.scaling.scale)
            for values, new in zip((mean, spread), self._predict_tiles(again)):
                values[noisy] = factor * new[noisy]
            left = again.unsupported()
            noisy = None if left is None else left & noisy
            noisy = None if noisy is None or not noisy.any() else noisy
        bound_prediction(image, mean, spread)
        return mean, spread

    def _predict_tiles(self, image):
        """Predict an image tile by tile."""
        mean, spread = (zeros(image.shape, dtype=np.float32) for _ in range(2))
        tiling = Tiling(image.shape, self.tile_size, self.margin, alignment=self.network.alignment)
        network = self.network.to(self.device)
        tiles = ((_inputs(image, tile).to(self.device), tile.inner) for tile in tiling)
        predicted = apply_network(network, tiles, dtype=self.dtype, oriented=self.oriented, executor=self.executor)
        for i, (tile, (blind, deviation)) in enumerate(zip(tiling, predicted, strict=True)):
            target = mean[tile.inner_y, tile.inner_x]
            cut = (slice(target.shape[0]), slice(target.shape[1]))
            weight = tile.weight[tile.inner][cut]
            target += weight * blind[cut]
            spread[tile.inner_y, tile.inner_x] += weight * deviation[cut]
            if self.progress:
                self.progress((i + 1) / len(tiling))
        return mean, spread

    def correct_spread(self, image, mean, spread):
        """
        Correct the spread, unless this requires residuals.

        Parameters
        ----------
        image : NormalizedImage
            The image, with the noise for ``mean``.
        mean, spread : `~numpy.ndarray`
            From `predict`.

        Returns
        -------
        `~numpy.ndarray`
            The corrected spread.
        """
        return even_spread(image, mean, spread)


class BootstrapPredictor(BlindPredictor):
    """
    The prediction of a network that was trained on the image alone.

    Predictions of such a network scatter between orientations and from pixel to pixel. The prediction is therefore a
    mean over all orientations, and its spread is from the errors in repeated observations of the result.
    """

    oriented = True

    def predict(self, image):
        """Predict each pixel of an image, see `BlindPredictor.predict`."""
        # The bootstrap predicts a cut-out two more times.
        share = 1 / (1 + 2 * min(1, BOOTSTRAP_SIZE ** 2 / image.data.size))
        report = self.progress and (lambda fraction: self.progress(share * fraction))
        return BlindPredictor.predict(replace(self, progress=report), image)

    def correct_spread(self, image, mean, spread):
        """Correct the spread by the errors in repeated observations of the result."""
        spread = bootstrap_spread(image, mean, spread, self.network.hole, replace(self, progress=None).predict)
        if self.progress:
            self.progress(1.0)
        return spread


def _inputs(image, tile):
    """Cut out a tile of an image as the input of the network, padded to its full size."""
    image, shape = image.part(tile.y, tile.x), (tile.y.stop - tile.y.start, tile.x.stop - tile.x.start)

    def padded(values):
        plane = np.zeros(shape, dtype=np.float32)
        plane[:image.shape[0], :image.shape[1]] = values
        return torch.from_numpy(plane)[None, None]
    with np.errstate(over='ignore'):
        v0, slope, zero = image.noise_parameters()
        if np.ndim(v0):
            # Pixels far deeper than the typical one are outside of the training data of the network.
            v0 = np.maximum(v0, _LEAST_LOCAL ** 2)
        seen, z, *parameters = (padded(values) for values in (image.seen, image.values(), v0, slope, zero))
    return network_inputs(z, seen, *parameters)
