# Licensed under a 3-clause BSD style license - see LICENSE
"""
Pixels that classical strategies hide from a network, and what they put in their place.
"""

from dataclasses import dataclass

import numpy as np

from ..utils.checks import check_integer

__all__ = ['STRATEGIES', 'STRATEGY_NAMES', 'Masking']

#: Strategies by name, and by what they replace a pixel.
STRATEGIES = {
    'uniform': 'by a neighbour that is drawn at random (N2V, Krull et al. 2019, arXiv:1811.10980)',
    'median': 'by the median of its neighbours (N2V2, Hoeck et al. 2022, arXiv:2211.08512)',
    'struct': 'by a neighbour, and with it all pixels under a mask around it (structN2V, Broaddus et al. 2020)',
}

#: Names of these strategies in the literature.
STRATEGY_NAMES = {'n2v': 'uniform', 'n2v2': 'median', 'structn2v': 'struct'}


@dataclass(frozen=True, eq=False)
class Masking:
    """
    Hides pixels of patches by one of the strategies.

    Parameters
    ----------
    strategy : {'uniform', 'median', 'struct', 'n2v', 'n2v2', 'structn2v'}
        See ``STRATEGIES``; the last three are other names of the first three.
    roi_size : int
        Odd height and width of the neighbourhood that replacements come from, in pixels.
    struct : array_like of bool, optional
        For 'struct': the mask, of odd height and width, with the pixel itself in the middle; ``np.ones((5, 5))`` is a
        hole of 5x5 pixels, ``np.ones((1, 9))`` is for noise that is correlated along rows.

    Raises
    ------
    ValueError
        If there is no such strategy, or neighbourhood or mask cannot be used.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.training.masking import Masking
    >>> patch, rng = np.arange(81.0).reshape(9, 9), np.random.default_rng(0)
    >>> hidden = Masking('struct', 5, np.ones((1, 3))).hide(patch, np.array([[4, 4]]), rng)
    >>> np.argwhere(hidden != patch).tolist()
    [[4, 3], [4, 4], [4, 5]]
    """

    strategy: str = 'uniform'
    roi_size: int = 11
    struct: object = None

    def __post_init__(self):
        object.__setattr__(self, 'strategy', STRATEGY_NAMES.get(self.strategy, self.strategy))
        if self.strategy not in STRATEGIES:
            raise ValueError(f'strategy must be one of {", ".join(map(repr, (*STRATEGIES, *STRATEGY_NAMES)))}, got '
                             f'{self.strategy!r}')
        object.__setattr__(self, 'roi_size', check_integer('roi_size', self.roi_size, 3))
        if self.roi_size % 2 == 0:
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
            Shape (height, width), or (channels, height, width), of which all channels lose the same pixels and get
            values of the same neighbours; it is not changed.
        coordinates : `~numpy.ndarray` of int
            Rows and columns of the pixels to be hidden, shape (n, 2).
        rng : `~numpy.random.Generator`
            Source of randomness.

        Returns
        -------
        `~numpy.ndarray`
            The patch without them.
        """
        hidden, last = patch.copy(), np.subtract(patch.shape[-2:], 1)

        def reflected(places):
            return ..., *np.moveaxis(last - np.abs(last - np.abs(places)), -1, 0)

        if self.strategy == 'median':
            hidden[..., *coordinates.T] = np.median(patch[reflected(coordinates[:, None] + self.sources)], axis=-1)
            return hidden
        places = coordinates[:, None] + self.covered
        inside = np.all((places >= 0) & (places <= last), axis=-1)
        # Each pixel under the mask by another neighbour of the pixel in its middle.
        drawn = coordinates[:, None] + self.sources[rng.integers(len(self.sources), size=inside.shape)]
        hidden[..., *places[inside].T] = patch[reflected(drawn[inside])]
        return hidden
