# Licensed under a 3-clause BSD style license - see LICENSE
"""
Standard deviation that an image states for each pixel, parsed from any kind of uncertainty.

``noise/uncertainty.py`` makes the noise model of it.
"""

import numpy as np
from astropy import units as u
from astropy.nddata import InverseVariance, NDUncertainty, VarianceUncertainty
from scipy.ndimage import uniform_filter

from ..utils.robust import MEDIAN_ABSOLUTE
from ..utils.sampling import row_blocks, subsample, subsample_where
from ..utils.scratch import blocks, blockwise, count_where, empty
from ..utils.warn import warn_user

__all__ = ['Deviations']

_LEAST = 0.01   # least fraction of pixels with a usable deviation
# Huge and large deviations in units of the typical one. A pixel with a large deviation has a weight of less than 1e-3.
# Between the two, a deviation is used where the data of the pixel exceed it significantly (photon noise of bright
# pixels), and where such pixels lie together and scatter accordingly (mosaics of very different depth).
_HUGE, _BIG = 1e5, 30.0
_SIGNIFICANT = 5.0    # least distance of the data of a bright pixel from the median, in units of its deviation
_TINY = 1e-6          # in units of the typical deviation; smaller values are taken as zero
_TOGETHER = 0.6       # least mean fraction of large deviations in the 3x3 pixels around them, if they lie together
_SCATTER = 0.3, 3.0   # range of the robust scatter, in units of the deviation, that agrees with it
# A plane is the root of negative data if more than this fraction of all pixels at their level has no deviation, and
# if their median is within this many typical deviations of the median of the data.
_DARK, _NEAR = 0.9, 8.0


class Deviations:
    """
    The standard deviation of each pixel, from an uncertainty of any kind, computed in parts.

    Parameters
    ----------
    uncertainty : `~astropy.nddata.NDUncertainty` or None
        Standard deviation, variance or inverse variance, with or without a unit.
    shape : tuple of int
        Shape of the data.
    unit : `~astropy.units.Unit` or None
        Unit of the data.

    Raises
    ------
    ValueError
        If the uncertainty does not have the shape of the data.
    `~astropy.units.UnitsError`
        If its unit is not compatible with the unit of the data.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.nddata import VarianceUncertainty
    >>> from astropy_n2v.containers.deviations import Deviations
    >>> deviations = Deviations(VarianceUncertainty(np.full((2, 3), 9.0)), (2, 3), None)
    >>> deviations.at((0, slice(None))).tolist()
    [3.0, 3.0, 3.0]
    """

    def __init__(self, uncertainty, shape, unit):
        self.array = self.junk = None
        if uncertainty is None or uncertainty.array is None:
            return
        if not isinstance(uncertainty, NDUncertainty) or uncertainty.uncertainty_type == 'unknown':
            warn_user(f'uncertainty of type {uncertainty.uncertainty_type!r} is not used: its meaning is not '
                      'known')
            return
        if np.shape(uncertainty.array) != tuple(shape):
            raise ValueError(f'uncertainty must have the shape of the data, {tuple(shape)}, got '
                             f'{np.shape(uncertainty.array)}')
        self.array = np.asarray(uncertainty.array)
        self.power = 1.0
        if isinstance(uncertainty, InverseVariance):
            self.power = -0.5
        elif isinstance(uncertainty, VarianceUncertainty):
            self.power = 0.5
        self.factor = 1.0
        if uncertainty.unit is not None and unit is not None:
            try:
                self.factor = (uncertainty.unit ** self.power).to(unit)
            except u.UnitsError:
                raise u.UnitsError(f'uncertainty must have a unit that fits data in {unit}, got '
                                   f'{uncertainty.unit}') from None

    def __bool__(self):
        return self.array is not None

    @property
    def zero_weight(self):
        """Return where the uncertainty gives data no weight (zero inverse variance), or None."""
        return blockwise(lambda part: part == 0, self.array) if self and self.power < 0 else None

    def transpose(self, order):
        """Bring the axes into the order of the data."""
        if self:
            self.array = self.array.transpose(order)

    def find_junk(self, values, mask):
        """
        Find pixels whose stated deviation marks them as without information.

        It is infinite, zero, negative, not a number, or huge. An exception is a plane that was computed as the root of
        data that noise made negative: these pixels are valid. `plane` is NaN at the pixels found afterwards.

        Parameters
        ----------
        values : `~numpy.ndarray`
            The data.
        mask : `~numpy.ndarray` of bool
            True where they do not count for other reasons; same shape.

        Returns
        -------
        junk : `~numpy.ndarray` of bool or None
            Same shape; None without such pixels.
        reason : str
            Description of the deviations of these pixels, for messages.

        Examples
        --------
        >>> import numpy as np
        >>> from astropy.nddata import StdDevUncertainty
        >>> from astropy_n2v.containers.deviations import Deviations
        >>> error = np.ones((8, 8))
        >>> error[3, 4] = 1e30
        >>> deviations = Deviations(StdDevUncertainty(error), (8, 8), None)
        >>> junk, reason = deviations.find_junk(np.zeros((8, 8)), np.zeros((8, 8), bool))
        >>> np.argwhere(junk).tolist(), reason
        ([[3, 4]], 'larger than 30 times the typical one')
        """
        if not self:
            return None, ''
        typical = self._typical(mask)
        if typical is None:   # for example a plane of zeros
            self.junk = self.zero_weight
            return (self.junk, 'of zero inverse variance') if self.junk is not None else (None, '')
        big, none = self._beyond(_BIG * typical), self._without(_TINY * typical)
        reasons = []
        if big.any():
            big = self._unbelievable(values, mask, big, typical)
            if big.any():
                reasons.append(f'larger than {_BIG:g} times the typical one')
        if none.any():
            root = self._is_root_of_negative(values, mask, none, typical)
            if root is not None:
                blockwise(lambda own, other: own & ~other, none, root, out=none)
            if none.any():
                reasons.append('zero, negative or not finite')
        junk = blockwise(np.logical_or, big, none)
        self.junk = junk if junk.any() else None
        return self.junk, ' or '.join(reasons)

    def _typical(self, mask):
        """Return the median of the deviations that are not huge, or None if there are hardly any."""
        flat = subsample(self.array, 100_000)
        values = Deviations.at(self._of(flat), slice(None))[~subsample(mask, 100_000)]
        known = np.sort(values[np.isfinite(values)])
        if known.size < max(1, _LEAST * values.size):
            return None
        # The 5th percentile belongs to a good pixel even where most pixels are bad.
        return float(np.median(known[known <= _HUGE * known[known.size // 20]]))

    def _of(self, array):
        """Convert another array to deviations, by the type of the uncertainty."""
        part = Deviations(None, (), None)
        part.array, part.power, part.factor = array, self.power, self.factor
        return part

    def _beyond(self, limit):
        """Return where the deviation is above a limit, without an array of deviations."""
        with np.errstate(over='ignore', invalid='ignore'):
            native = self._native(limit)
            return blockwise((lambda part: part > native) if self.power > 0 else
                             (lambda part: (part < native) & (part > 0)), self.array)

    def _without(self, limit):
        """Return where the deviation is not a positive number, infinite, or below a limit."""
        with np.errstate(over='ignore', invalid='ignore'):
            native = self._native(limit)
            return blockwise((lambda part: ~((part >= native) & np.isfinite(part))) if self.power > 0 else
                             (lambda part: ~((part > 0) & (part <= native) & np.isfinite(part))), self.array)

    def _native(self, deviation):
        """Convert a deviation to the value that the array holds for it."""
        return float(np.float64(deviation / self.factor) ** (1 / self.power))   # infinity in place of an error

    def _unbelievable(self, values, mask, big, typical):
        """Return the pixels with large deviations that do not scatter accordingly, or do not lie together."""
        huge = self._beyond(_HUGE * typical)
        rest = np.flatnonzero(blockwise(lambda large, beyond, bad, part: large & ~(beyond | bad) & np.isfinite(part),
                                        big, huge, mask, values))
        if not rest.size:
            return big
        usual = blockwise(lambda large, bad, part: ~(large | bad) & np.isfinite(part), big, mask, values)
        usual = subsample_where(values, usual, 100_000)
        centre = float(np.median(usual)) if usual.size else 0.0
        pull = np.abs(values.ravel()[rest] - centre) / self.at(np.unravel_index(rest, values.shape))
        # Not by ravel, which copies an array with reordered axes.
        big.flat[rest[pull > _SIGNIFICANT]] = False
        rest, pull = rest[pull <= _SIGNIFICANT], pull[pull <= _SIGNIFICANT]
        if rest.size < 64 or not _SCATTER[0] < np.median(pull) / MEDIAN_ABSOLUTE < _SCATTER[1]:
            return big
        here = np.zeros(big.shape, dtype=bool)
        here.ravel()[rest] = True
        around = np.mean([uniform_filter(plane.astype(np.float32), 3)[plane].mean()
                          for plane in here.reshape(-1, *here.shape[-2:]) if plane.any()])
        return huge if around > _TOGETHER else big

    def _is_root_of_negative(self, values, mask, none, typical):
        """Return where a plane has no value because noise made the data negative; None if nowhere."""
        if self.power < 0:
            return None
        with np.errstate(invalid='ignore'):
            counts = blockwise(lambda part, bad: np.isfinite(part) & ~bad, values, mask)
            # An infinite or negative deviation is not a root.
            root = blockwise(lambda own, part, value, good: own & (np.isnan(part) | (part == 0)) & (value <= 0) & good,
                             none, self.array, values, counts)
        candidates, missing = np.count_nonzero(root), count_where(np.logical_and, none, counts)
        if candidates < max(4, (1 - _DARK) * missing):
            return None
        middle = float(np.median(subsample_where(values, root, 100_000)))
        with np.errstate(invalid='ignore'):
            below = blockwise(lambda part, good: good & (part <= min(middle, 0)), values, counts)
        known = subsample_where(values, blockwise(lambda good, bad: good & ~bad, counts, none), 100_000)
        near = known.size and middle > np.median(known) - _NEAR * typical
        return root if near and count_where(np.logical_and, below, none) > _DARK * np.count_nonzero(below) else None

    def at(self, index):
        """
        Return the standard deviation of some pixels.

        Parameters
        ----------
        index : tuple, slice or `~numpy.ndarray` of bool
            Index of the pixels in the data.

        Returns
        -------
        `~numpy.ndarray`
            Float64, in the unit of the data; NaN where it is not known.
        """
        values = self.array[index].astype(float)
        with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
            values = self.factor * (values if self.power == 1 else values ** self.power)
            values[~(np.isfinite(values) & (values > 0))] = np.nan
        return values

    def plane(self, index):
        """
        Return the standard deviation of a plane, in single precision.

        Parameters
        ----------
        index : tuple of int
            Index of the plane.

        Returns
        -------
        `~numpy.ndarray` or None
            Shape (ny, nx), float32; NaN where it is not known or unusable. None if there is no uncertainty. Do not
            modify it: it may be a view of the uncertainty.
        """
        if not self:
            return None
        own, junk = self.array[index], None if self.junk is None else self.junk[index]
        if junk is not None and not junk.any():
            junk = None
        if junk is None and self.power == self.factor == 1 and own.dtype == np.float32 and own.dtype.isnative \
                and all(np.isfinite(own[i]).all() and own[i].min() > 0 for i in blocks(own.shape)):
            return own
        height, width = own.shape
        plane = empty((height, width), dtype=np.float32)
        with np.errstate(over='ignore'):
            for rows in row_blocks(height):
                plane[rows] = self.at((*index, rows))
                # Values out of the range of single precision.
                plane[rows][~(np.isfinite(plane[rows]) & (plane[rows] > 0))] = np.nan
                if junk is not None:
                    plane[rows][junk[rows]] = np.nan
        return plane
