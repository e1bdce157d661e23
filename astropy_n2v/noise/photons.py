# Licensed under a 3-clause BSD style license - see LICENSE
"""
Images of counted photons, with Poisson noise alone.
"""

import numpy as np
from astropy import units as u
from scipy.ndimage import median_filter, uniform_filter
from scipy.stats import chi2, norm

from ..utils.blocks import as_blocks
from ..utils.sampling import cutouts
from .model import NoiseModel
from .origin import Origin, SizeFrom
from .quantisation import find_steps

__all__ = ['COUNTING', 'PHOTONS', 'dispersion', 'photon_noise']

#: Detail of the origin of a noise model of counted photons.
PHOTONS = 'photon counts'
#: Units of counts; many observatories write the first for adu.
COUNTING = u.count, u.photon, u.electron
# Photons per pixel up to which small integers of any unit may be photons.
_FEW = 10.0
# Tolerance of the dispersion, expected to be one: standard errors; fraction below, where only another origin than
# counts explains it; fraction above, where faint sources do.
_ERRORS, _BELOW, _ABOVE = 4.0, 0.05, 0.1
# Where most pixels are empty, pairs of photons are mostly from sources.
_ABOVE_IF_EMPTY = 0.6   # fraction by which the dispersion may exceed one
# Least fraction of empty pixels for integers to be photons without further evidence.
_EMPTY = 0.9


def dispersion(counts, valid):
    """
    Compare the scatter between neighbours with the scatter of counts, by the counts of a pair.

    Of n photons in two neighbours, the number in the first is binomial for any brightness, so that the
    mean square of the difference is n. A selection by n and by the pixels around the pair does not change
    this.

    Parameters
    ----------
    counts : `~numpy.ndarray` of int
        Numbers of shape (ny, nx).
    valid : `~numpy.ndarray` of bool
        True where they count.

    Returns
    -------
    list of tuple of float
        Mean square difference over its expectation, and its standard error, for pairs that hold 2, 3, and
        more photons, as far as such pairs exist. Pairs are almost independent.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.noise import dispersion
    >>> counts = np.random.default_rng(0).poisson(0.5, (128, 128))
    >>> [bool(abs(ratio - 1) < 4 * error) for ratio, error in dispersion(counts, counts >= 0)]
    [True, True, True]
    """
    counts = np.where(valid, counts, 0).astype(float)
    around = 30 * uniform_filter(counts, (5, 6), mode='constant')
    # Centred on the right pixel of a pair, the middle of a box of even width.
    first, second = counts[:, :-1], counts[:, 1:]
    total = first + second
    around = around[:, 1:] - total
    both = valid[:, :-1] & valid[:, 1:]
    if not both.any():
        return []
    typical = np.median(around[both])
    both &= around <= typical + 4 * np.sqrt(typical) + 1
    sky = typical / 14   # mean counts in two pixels
    both &= (total > 1) & (total <= max(sky + 5 * np.sqrt(sky), 6))
    # Every other pair, so that no pixel belongs to two.
    both[:, 1::2] = False
    total, square = total[both], (first - second)[both] ** 2
    groups = []
    for part in (total == 2, total == 3, total > 3):
        if part.any():
            n = total[part]
            groups.append((square[part].sum() / n.sum(), np.sqrt(np.sum(2 * n * (n - 1))) / n.sum()))
    return groups


def _on_grid(image, valid, steps):
    """Convert an image of uniform steps to counts, with their step and zero; None if it cannot be one of counts."""
    lowest = image[valid].min()
    # Zero itself is on the grid; or the emptiest pixels are the most common ones.
    zero = 0.0 if abs(np.round(steps.offset / steps.step) * steps.step - steps.offset) < 0.05 * steps.step else lowest
    if lowest < zero - 0.5 * steps.step or zero and lowest < steps.offset - 0.5 * steps.step:
        return None
    counts = np.round((image - zero) / steps.step)
    # A few different pixels in a constant image are not photons.
    return None if zero and np.count_nonzero(counts[valid]) < 20 else (counts, steps.step, zero)


def _terms(y, x, shape, degree=4):
    """Return the terms of a polynomial in the coordinates of pixels."""
    y, x = 2 * y / shape[0] - 1, 2 * x / shape[1] - 1
    return np.stack([y ** i * x ** j for i in range(degree + 1) for j in range(degree + 1 - i)], axis=-1)


def _block_minimum(image, positive):
    """Return the faintest pixel with light of its block, about ten per block, at each such pixel."""
    size = int(np.clip(np.sqrt(10 / np.mean(positive)), 32, max(min(image.shape) // 2, 32)))
    height, width = (min(size, n) for n in image.shape)
    one = as_blocks(np.where(positive, image, np.inf), (height, width)).min(axis=(-3, -1))
    ny, nx = one.shape
    one = np.where(np.isfinite(one), one, np.median(one[np.isfinite(one)]))
    one = median_filter(one, 3, mode='nearest')
    y, x = np.nonzero(positive)
    return one[np.minimum(y // height, ny - 1), np.minimum(x // width, nx - 1)]


def _divided(image, valid):
    """Find counts that were divided by a smoothly varying exposure; zeros are exact."""
    positive = valid & (image > 0)
    if (image[valid] < 0).any() or np.mean(positive[valid]) > 0.95 or positive.sum() < 50:
        return None
    values, one = image[positive], _block_minimum(image, positive)
    terms = _terms(*np.nonzero(positive), image.shape)
    for _ in range(4):
        number = np.maximum(np.round(values / one), 1)
        fitted = (number < 4.5) & (np.abs(values / one - number) < 0.3)
        if fitted.sum() < 0.3 * values.size:
            return None
        fit = np.linalg.lstsq(terms[fitted], np.log(values / number)[fitted], rcond=None)[0]
        one = np.exp(terms @ fit)
    few = values / one < 4.5
    number = np.round(values / one)
    if few.sum() < 0.3 * values.size or np.mean(np.abs(values / one - number)[few] < 0.05 * number[few]) < 0.97:
        return None
    counts = np.zeros(image.shape)
    counts[positive] = number
    return counts, float(np.median(one)), 0.0


def photon_noise(image, mask, unit=None):
    """
    Find the noise of an image of counted photons.

    Parameters
    ----------
    image : `~numpy.ndarray`
        Data of shape (ny, nx): numbers of photons, times a constant, or divided by an exposure that
        varies smoothly.
    mask : `~numpy.ndarray` of bool
        True where they do not count.
    unit : `~astropy.units.Unit`, optional
        Unit of the data. Only in count, photon or electron may a pixel of sky hold many photons; in
        other units such an image cannot be distinguished from one with a pedestal.

    Returns
    -------
    NoiseModel or None
        Photon noise only; 1 / gain is the value of one photon. None if the image does not have the
        noise of counts.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.noise import photon_noise
    >>> counts = np.random.default_rng(0).poisson(0.05, (128, 128))
    >>> photon_noise(counts / 50, np.zeros(counts.shape, bool))
    NoiseModel(sigma=0, gain=50, zero_point=0, source='image, photon counts')
    >>> photon_noise(np.round(counts + np.hypot(*np.indices(counts.shape))), np.zeros(counts.shape, bool)) is None
    True
    """
    part = cutouts(image.shape)
    image, valid = image[part].astype(float, copy=False), ~mask[part] & np.isfinite(image[part])
    if valid.sum() < 64:
        return None
    steps = find_steps(image, ~valid)
    if steps is not None and steps.uniform:
        found = _on_grid(image, valid, steps)
    else:
        found = _divided(np.where(valid, image, 0), valid)
    if found is None:
        return None
    counts, step, zero = found
    # Many photons per pixel are accepted only for integers in a unit of counts.
    if not (unit in COUNTING and step == 1 and not zero):
        if np.median(counts[valid]) > _FEW or not (counts[valid] == 0).any():
            return None
    if not _is_poisson(counts, valid, unit in COUNTING):
        return None
    origin = Origin('image', SizeFrom.PHOTONS, details=(PHOTONS,))
    return NoiseModel(0.0, 1 / step, zero, origin=origin, relative_error=0.01)


def _is_poisson(counts, valid, counting):
    empty = np.mean(counts[valid] == 0)
    groups = dispersion(counts, valid)
    # With too few pairs, the number of empty pixels decides.
    if not groups or min(error for _, error in groups) > 0.3:
        if not (empty > _EMPTY or counting):
            return False
    above = _ABOVE_IF_EMPTY if empty > 0.7 else _ABOVE
    if counting and empty > _EMPTY:
        above = np.inf
    return all(-max(_ERRORS * error, _BELOW) < ratio - 1 < max(_most_by_chance(error), above)
               for ratio, error in groups)


def _most_by_chance(error):
    """Return the excess of a dispersion over one as rare as so many standard errors: that of few pairs is skewed."""
    freedom = 2 / error ** 2
    return chi2.isf(norm.sf(_ERRORS), freedom) / freedom - 1
