# Licensed under a 3-clause BSD style license - see LICENSE
"""
Noise2Void as it was first: a plain U-Net, from whose input some pixels are hidden.

Pixels that are drawn at random are replaced, and the network learns to predict what was there; only these count in the
loss. It states no uncertainty, and does not use the measurement of the pixel itself. For comparison: the blind-spot
networks of `astropy_n2v.train` learn from all pixels at once, and know the noise.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from ..containers.container import Container
from ..denoiser import ClassicalDenoiser, select_device
from ..inference.plain import LinearScale, predict_plain
from ..networks import UNet, isolated_rng
from ..planes import find_planes
from ..utils.checks import check_integer, check_number

__all__ = ['STRATEGIES', 'Masking', 'train_classical']

#: Strategies by name, and by what they replace a pixel.
STRATEGIES = {
    'uniform': 'by a neighbour that is drawn at random (N2V, Krull et al. 2019, arXiv:1811.10980)',
    'median': 'by the median of its neighbours (N2V2, Hoeck et al. 2022, arXiv:2211.08512)',
    'struct': 'by a neighbour, and with it all pixels under a mask around it (structN2V, Broaddus et al. 2020)',
}


@dataclass(frozen=True, eq=False)
class Masking:
    """
    How pixels are hidden.

    Parameters
    ----------
    strategy : {'uniform', 'median', 'struct'}
        See ``STRATEGIES``.
    roi_size : int
        Odd height and width of the neighbourhood that replacements come from, in pixels.
    struct : array_like of bool, optional
        For 'struct': the mask, of odd height and width, with the pixel itself in the middle; ``np.ones((5, 5))`` is a
        hole of 5x5 pixels, ``np.ones((1, 9))`` is for noise that is correlated along rows.

    Raises
    ------
    ValueError
        If there is no such strategy, or the neighbourhood or the mask is none.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.training.classical import Masking
    >>> patch, rng = np.arange(81.0).reshape(9, 9), np.random.default_rng(0)
    >>> hidden = Masking('struct', 5, np.ones((1, 3))).hide(patch, np.array([[4, 4]]), rng)
    >>> np.argwhere(hidden != patch).tolist()
    [[4, 3], [4, 4], [4, 5]]
    """

    strategy: str = 'uniform'
    roi_size: int = 11
    struct: object = None

    def __post_init__(self):
        if self.strategy not in STRATEGIES:
            raise ValueError(f'strategy must be one of {", ".join(map(repr, STRATEGIES))}, got {self.strategy!r}')
        if check_integer('roi_size', self.roi_size, 3) % 2 == 0:
            raise ValueError(f'roi_size must be odd, got {self.roi_size}')
        if (self.struct is None) == (self.strategy == 'struct'):
            raise ValueError("struct must be given with the strategy 'struct', and with no other, got "
                             f'{self.struct!r} and {self.strategy!r}')
        radius = self.roi_size // 2
        sources = np.ones((self.roi_size, self.roi_size), dtype=bool)
        sources[radius, radius] = False
        covered = np.zeros((1, 2), dtype=int)
        if self.struct is not None:
            struct = np.asarray(self.struct, dtype=bool)
            if struct.ndim != 2 or not all(n % 2 for n in struct.shape) or not struct[tuple(n // 2 for n in
                                                                                            struct.shape)]:
                raise ValueError('struct must be a two-dimensional mask of odd height and width that is true in the '
                                 f'middle, got shape {struct.shape}')
            covered = np.argwhere(struct) - [n // 2 for n in struct.shape]
            inside = covered[np.all(np.abs(covered) <= radius, axis=1)] + radius
            sources[tuple(inside.T)] = False
            if not sources.any():
                raise ValueError(f'struct must leave pixels of the neighbourhood of {self.roi_size}x{self.roi_size} '
                                 'pixels (roi_size) to replace others by, got a mask that covers all')
        # Offsets of the pixels that replacements come from, and of those that are replaced.
        object.__setattr__(self, 'sources', np.argwhere(sources) - radius)
        object.__setattr__(self, 'covered', covered)

    def hide(self, patch, coordinates, rng):
        """
        Replace pixels of a patch.

        Parameters
        ----------
        patch : `~numpy.ndarray`
            Shape (height, width); it is not changed.
        coordinates : `~numpy.ndarray` of int
            Rows and columns of the pixels to be hidden, shape (n, 2).
        rng : `~numpy.random.Generator`
            Source of randomness.

        Returns
        -------
        `~numpy.ndarray`
            The patch without them.
        """
        hidden, last = patch.copy(), np.subtract(patch.shape, 1)

        def reflected(places):
            return tuple(np.moveaxis(last - np.abs(last - np.abs(places)), -1, 0))

        if self.strategy == 'median':
            hidden[tuple(coordinates.T)] = np.median(patch[reflected(coordinates[:, None] + self.sources)], axis=1)
            return hidden
        places = coordinates[:, None] + self.covered
        inside = np.all((places >= 0) & (places <= last), axis=-1)
        # Each pixel under the mask by another neighbour of the pixel in its middle.
        drawn = coordinates[:, None] + self.sources[rng.integers(len(self.sources), size=inside.shape)]
        hidden[tuple(places[inside].T)] = patch[reflected(drawn[inside])]
        return hidden


class _Patches:
    """Patches of scaled frames, with hidden pixels; borders of frames are reflected into patches that are larger."""

    def __init__(self, frames, masking, size, batch_size, masked, rng):
        padding = [[(0, max(size - n, 0)) for n in z.shape] for z, _ in frames]
        self.frames = [(np.pad(z, pad, mode='symmetric'), np.pad(valid, pad))
                       for (z, valid), pad in zip(frames, padding)]
        self.masking, self.size, self.batch_size, self.masked, self.rng = masking, size, batch_size, masked, rng
        weights = np.array([valid.sum() for _, valid in frames], dtype=float)
        self.share = weights / weights.sum()
        # Noise that is correlated along rows must stay along rows.
        self.turns = 4 if masking.struct is None else 1

    def draw(self):
        """Draw inputs, targets and the mask of the coordinates that count; each of shape (n, 1, size, size)."""
        parts = [self._patch() for _ in range(self.batch_size)]
        return (torch.from_numpy(np.stack(plane).astype(np.float32))[:, None] for plane in zip(*parts))

    def _patch(self):
        rng, size = self.rng, self.size
        for _ in range(20):   # a patch without a pixel that counts teaches nothing
            z, valid = self.frames[rng.choice(len(self.frames), p=self.share)]
            y, x = (int(rng.integers(n - size + 1)) for n in z.shape)
            part = slice(y, y + size), slice(x, x + size)
            if valid[part].any():
                break
        turn, flip = int(rng.integers(self.turns)), 1 - 2 * int(rng.integers(2))
        z, valid = (np.rot90(plane[part], turn)[::flip] for plane in (z, valid))
        coordinates = np.argwhere((rng.random(z.shape) < self.masked) & valid)
        chosen = np.zeros(z.shape, dtype=bool)
        chosen[tuple(coordinates.T)] = True
        return self.masking.hide(z, coordinates, rng), z, chosen


def train_classical(images, strategy='uniform', *, struct=None, roi_size=11, masked=0.02, max_steps=2000,
                    patch_size=64, batch_size=16, learning_rate=4e-4, seed=0, device=None, network_options=None):
    """
    Train a plain U-Net by one of the classical strategies.

    Parameters
    ----------
    images : image or list of images
        Frames as `astropy_n2v.denoise` takes them.
    strategy : {'uniform', 'median', 'struct'}, optional
        See ``STRATEGIES``. With 'median' the network has blur pooling and no top skip, as in N2V2.
    struct, roi_size : optional
        See ``Masking``.
    masked : float, optional
        Fraction of the pixels of a patch that are hidden.
    max_steps, patch_size, batch_size, seed : int, optional
        Steps, height and width of patches in pixels, patches in a step, seed of weights and patches.
    learning_rate : float, optional
        Peak learning rate; it falls to zero along a cosine.
    device : str, optional
        By default `astropy_n2v.conf.device`.
    network_options : dict, optional
        Options of `~astropy_n2v.networks.UNet`.

    Returns
    -------
    ClassicalDenoiser
        It takes the place of a `~astropy_n2v.Denoiser`; results have no uncertainty.

    Raises
    ------
    ValueError
        If an option is out of its range.
    CannotDenoiseError
        If an image cannot be denoised.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v import denoise
    >>> from astropy_n2v.training.classical import train_classical
    >>> frame = np.random.default_rng(0).normal(100, 5, (48, 48))
    >>> model = train_classical(frame, max_steps=2, patch_size=32, batch_size=2,
    ...                         network_options={'levels': 2, 'base': 4})
    >>> denoise(frame, model).shape
    (48, 48)
    """
    masking = Masking(strategy, roi_size, struct)
    for name, value in (('max_steps', max_steps), ('patch_size', patch_size), ('batch_size', batch_size)):
        check_integer(name, value, 1)
    check_number('masked', masked, 'between 0 and 1', lambda value: 0 < value < 1)
    check_number('learning_rate', learning_rate, 'positive', lambda value: value > 0)
    defaults = {'blur_pool': True, 'top_skip': False} if strategy == 'median' else {}
    with isolated_rng(check_integer('seed', seed, 0)):
        network = UNet(**{**defaults, **(network_options or {})})
    device = select_device(device)
    frames = []
    for image in images if isinstance(images, (list, tuple)) else [images]:
        for plane in find_planes(Container(image))[0]:
            valid = np.isfinite(plane.values) if plane.mask is None else np.isfinite(plane.values) & ~plane.mask
            frames.append((np.asarray(plane.values), valid))
    if not frames:
        raise ValueError('images must hold at least one image, got none')
    pixels = np.concatenate([data[valid] for data, valid in frames]).astype(float)
    scale = LinearScale(float(pixels.mean()), float(pixels.std()))
    scaled = [(np.where(valid, scale.forward(np.where(valid, data, 0).astype(float)), 0), valid)
              for data, valid in frames]
    size = -(-patch_size // network.alignment) * network.alignment
    patches = _Patches(scaled, masking, size, batch_size, masked, np.random.default_rng(seed))
    _run(network.to(device), patches, max_steps, learning_rate, device)
    _centre(network, scale, frames, device)
    metadata = {'name': f'classical {strategy}', 'strategy': strategy, 'frames': len(frames), 'seed': seed,
                'steps': max_steps, 'scale': [scale.mean, scale.deviation],
                'hole': [1, 1] if struct is None else list(np.shape(struct))}
    return ClassicalDenoiser(network.cpu(), metadata)


def _run(network, patches, max_steps, learning_rate, device):
    """Take the steps: squared error of the pixels that are hidden."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate)
    network.train()
    for step in range(max_steps):
        inputs, targets, chosen = (plane.to(device) for plane in patches.draw())
        loss = (chosen * (network(inputs) - targets) ** 2).sum() / chosen.sum().clamp(min=1)
        for group in optimizer.param_groups:
            group['lr'] = learning_rate * 0.5 * (1 + math.cos(math.pi * step / max_steps))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()


def _centre(network, scale, frames, device):
    """
    Move the last bias so that predictions of the frames have the mean of the data, as the least squared error has.

    Few steps do not get there: a hundredth of a sky of 0.05 photons is a five-hundredth of its noise.
    """
    total = count = 0
    for data, valid in frames:
        predicted = predict_plain(network, scale, data.astype(float), valid, tile_size=1024, device=device)
        total += float((data - predicted)[valid].sum())
        count += int(valid.sum())
    with torch.no_grad():
        network.last.bias += total / count / scale.deviation
