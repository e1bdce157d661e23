# Licensed under a 3-clause BSD style license - see LICENSE
"""
Compute the blind mean and spread of each pixel of an image, tile by tile.
"""

import logging
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import torch

from ..networks import network_inputs
from ..networks.precision import select_dtype
from ..utils.scratch import zeros
from ..utils.warn import warn_user
from .bootstrap import BOOTSTRAP_SIZE, bootstrap_spread
from .bounds import bound_prediction
from .evenness import even_spread
from .tiling import Tiling
from .workers import apply_network, predict_orientations

__all__ = ['BlindPredictor', 'BootstrapPredictor', 'predict_orientations']

log = logging.getLogger(__name__)

# Pixels that an accelerator predicts at a time, which keeps it busy where tiles are small. A CPU is busy with one tile.
_AT_ONCE = 2 ** 24
_LEAST_LOCAL = 0.2   # units of the typical noise: least noise of a pixel in the input of the network


@dataclass(eq=False)
class BlindPredictor:
    """
    A network with all parameters of its application to an image.

    Where the memory of an accelerator does not suffice, it goes on with one tile at a time, with smaller tiles, and in
    the end on the CPU; ``tile_size``, ``device`` and ``dtype`` are then the used ones.

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
    tiles_at_once : int, optional
        Number of tiles that are computed together; by default one on a CPU, and as many as keep an accelerator busy.
    executor : concurrent.futures.Executor, optional
        Where the network is computed, tile by tile; by default on ``device``.
    """

    network: torch.nn.Module
    margin: int
    tile_size: int
    device: torch.device
    dtype: torch.dtype
    progress: object = None
    tiles_at_once: int = None
    executor: object = None

    #: True if predictions are averaged over all orientations of the image.
    oriented: ClassVar[bool] = False

    def predict(self, image, share=1.0):
        """
        Predict each pixel of an image from its surroundings.

        Parameters
        ----------
        image : NormalizedImage
            The image.
        share : float, optional
            Part of the progress that this is; nothing is reported of 0.

        Returns
        -------
        mean : `~numpy.ndarray`
            Blind mean in units of the sky noise, float32, of the shape of the image.
        spread : `~numpy.ndarray`
            Blind spread, likewise.
        """
        progress = self.progress and share and (lambda fraction: self.progress(share * fraction))
        mean, spread = self._predict_tiles(image, progress)
        noisy = image.unsupported()
        while noisy is not None:
            # Parts of a mosaic that are far noisier than the rest are predicted again on the scale of their own noise.
            again = image.on_scale(image.noise_scale(noisy))
            factor = np.float32(again.scaling.scale / image.scaling.scale)
            for values, new in zip((mean, spread), self._predict_tiles(again, progress)):
                values[noisy] = factor * new[noisy]
            left = again.unsupported()
            noisy = None if left is None else left & noisy
            noisy = None if noisy is None or not noisy.any() else noisy
        bound_prediction(image, mean, spread)
        return mean, spread

    def _predict_tiles(self, image, progress):
        """Predict an image tile by tile, with less at a time where memory does not suffice."""
        try:
            mean, spread = (zeros(image.shape, dtype=np.float32) for _ in range(2))
            tiling = Tiling(image.shape, self.tile_size, self.margin, alignment=self.network.alignment)
            network, every, count = self.network.to(self.device), list(tiling), self._count_at_once(tiling)
            groups = [every[start:start + count] for start in range(0, len(every), count)]
            # All tiles of an image have the same shape.
            batches = ((_move(torch.cat([_inputs(image, tile) for tile in tiles]), self.device), _common_part(tiles))
                       for tiles in groups)
            predicted = apply_network(network, batches, dtype=self.dtype, oriented=self.oriented,
                                      executor=self.executor)
            done = 0
            for tiles, (blind, deviation) in zip(groups, predicted, strict=True):
                for i, tile in enumerate(tiles):
                    own = tuple(slice(part.start - whole.start, part.stop - whole.start)
                                for part, whole in zip(tile.inner, _common_part(tiles)))
                    _add(tile, mean, blind[i][own])
                    _add(tile, spread, deviation[i][own])
                done += len(tiles)
                if progress:
                    progress(done / len(every))
            return mean, spread
        except RuntimeError as error:
            if self.device.type == 'cpu' or not _is_out_of_memory(error):
                raise
        # Not above: the error holds what was computed in vain.
        del mean, spread
        self._make_do_with_less(image.shape)
        return self._predict_tiles(image, progress)

    def _count_at_once(self, tiling):
        """Return the number of tiles that are computed together."""
        if self.tiles_at_once is not None or self.device.type == 'cpu':
            return self.tiles_at_once or 1
        tile = next(iter(tiling))
        return max(1, _AT_ONCE // (len(tile.weight_y) * len(tile.weight_x)))

    def _make_do_with_less(self, shape):
        """Take one tile at a time, then smaller tiles, then the CPU."""
        size = min(self.tile_size, max(shape))
        if self.tiles_at_once != 1:
            self.tiles_at_once = 1
            log.info('memory of %s does not suffice for several tiles: they are computed one by one', self.device)
        elif size // 2 >= Tiling.least_size(self.margin, self.network.alignment):
            self.tile_size = size // 2
            log.warning('memory of %s does not suffice for tiles of %d pixels: tiles of %d pixels are tried',
                        self.device, size, self.tile_size)
        else:
            warn_user(f'memory of {self.device} does not suffice for tiles of {size} pixels, and smaller ones are not '
                      'possible: the image is denoised on the CPU')
            self.device = torch.device('cpu')
            self.dtype = select_dtype(self.device)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

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
        return super().predict(image, share)

    def correct_spread(self, image, mean, spread):
        """Correct the spread by the errors in repeated observations of the result."""
        spread = bootstrap_spread(image, mean, spread, self.network.hole, partial(super().predict, share=0))
        if self.progress:
            self.progress(1.0)
        return spread


def _is_out_of_memory(error):
    """Check if an error says that the memory of an accelerator does not suffice; not all have a type of their own."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(
        text in str(error) for text in ('out of memory', 'ALLOC_FAILED'))


def _move(tensor, device):
    """Move a tensor to a device."""
    return tensor.to(device)


def _add(tile, whole, part):
    """Add the inner part of a tile, weighed, to its place; what was padded is cut off."""
    target = whole[tile.inner_y, tile.inner_x]
    cut = (slice(target.shape[0]), slice(target.shape[1]))
    target += tile.weight[tile.inner][cut] * part[cut]


def _common_part(tiles):
    """Return the part of tiles that has the inner parts of all of them."""
    return tuple(slice(min(part.start for part in parts), max(part.stop for part in parts))
                 for parts in zip(*(tile.inner for tile in tiles)))


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
