# Licensed under a 3-clause BSD style license - see LICENSE
"""
Change patches beyond flips and quarter turns.
"""

import math

import numpy as np
import torch
from scipy.ndimage import affine_transform

__all__ = ['rotate_patch', 'thin_patch']

_Z, _SEEN, _WEIGHT, _V0, _SLOPE, _ZERO, _VARIANCE = range(7)   # planes of a patch, as in ``patches.py``
# Variance beyond which a binomial distribution is as a Gaussian one, which is drawn twenty times as fast.
_GAUSSIAN = 25.0
_EVERY = 16   # pixels of a patch that stand for the others
_VISIBLE = 0.999   # share of a rotated pixel that valid pixels make


def thin_patch(planes, share, rng):
    """
    Let a patch have been exposed for a share of the time, with the noise that it had then.

    Each electron is kept with the probability ``share`` (binomial thinning): of a Poisson distribution a Poisson
    distribution is left. All but electrons (read noise, fractions) is multiplied by ``share``. So the parameters of
    the noise, which change along, hold as before; data that are multiplied would be too noisy for their signal, or not
    noisy enough.

    Parameters
    ----------
    planes : tensor
        A patch of shape (7, height, width), in units of the noise of its sky, without whitened noise.
    share : float
        Between 0 and 1.
    rng : `~numpy.random.Generator`
        Source of randomness.

    Returns
    -------
    tensor
        The patch in units of its new noise; the same if its noise does not grow with the signal.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from astropy_n2v.training.augmentation import thin_patch
    >>> rng = np.random.default_rng(0)
    >>> planes = torch.zeros((7, 64, 64))
    >>> planes[0] = torch.from_numpy((rng.poisson(100, (64, 64)) - 100) / 10)   # 100 electrons, noise 10
    >>> planes[1:3], planes[4], planes[5] = 1, 0.1, -10
    >>> bool(0.95 < thin_patch(planes, 0.5, rng)[0].std() < 1.05)
    True
    """
    z, seen, _, v0, slope, zero, _ = planes.double().numpy()
    counted = (seen > 0) & (slope > 0)
    if not counted.any():
        return planes
    with np.errstate(divide='ignore', invalid='ignore'):
        electrons = np.where(counted, (z - zero) / slope, 0)
    kept = share * electrons + _binomial_noise(np.maximum(np.rint(electrons), 0), share, rng)
    # The sky, at z = 0 before, and its noise. Of the median pixel, as the scale of a patch is one.
    typical_v0, typical_slope, typical_zero = (float(np.median(values[counted][::_EVERY]))
                                               for values in (v0, slope, zero))
    sky = typical_zero * (1 - share)
    scale = math.sqrt(share ** 2 * typical_v0 + share * typical_slope * max(-typical_zero, 0))
    if not scale > 0:
        return planes
    result = planes.clone()
    changed = {_Z: (zero + slope * kept - sky) / scale, _V0: share ** 2 * v0 / scale ** 2, _SLOPE: slope / scale,
               _ZERO: (zero - sky) / scale}
    for plane, values in changed.items():
        result[plane] = torch.from_numpy(np.where(counted, values, result[plane].numpy()))
    return result


def _binomial_noise(numbers, share, rng):
    """Draw how many of some electrons are kept, less the mean of that."""
    deviation = np.sqrt(share * (1 - share) * numbers)
    noise = deviation * rng.standard_normal(numbers.shape)
    few = deviation ** 2 < _GAUSSIAN
    noise[few] = rng.binomial(numbers[few].astype(np.int64), share) - share * numbers[few]
    return noise


def rotate_patch(planes, angle, shift=(0.0, 0.0)):
    """
    Rotate a patch by any angle and shift it by fractions of a pixel, by cubic splines.

    Interpolation correlates the noise of neighbouring pixels. A blind-spot network then learns to predict the noise of
    a pixel from its neighbours, which share it, and to let it pass. It is here for comparison, and off by default;
    flips, quarter turns and shifts by whole pixels leave the noise as it is.

    Parameters
    ----------
    planes : tensor
        A patch of shape (7, height, width).
    angle : float
        In degrees.
    shift : tuple of float, optional
        Along columns and rows, in pixels.

    Returns
    -------
    tensor
        The patch; pixels from outside of it are not seen.

    Examples
    --------
    >>> import torch
    >>> from astropy_n2v.training.augmentation import rotate_patch
    >>> planes = torch.ones(7, 32, 32)
    >>> rotated = rotate_patch(planes, 5.0)
    >>> float(rotated[1, 16, 16]), float(rotated[1, 0, 0])   # in the middle it is seen, in the corner not
    (1.0, 0.0)
    """
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    matrix = np.array([[cosine, -sine], [sine, cosine]])
    middle = (np.array(planes.shape[1:]) - 1) / 2
    offset = middle - matrix @ (middle + np.asarray(shift, dtype=float))
    orders = {_Z: 3, _SEEN: 1, _WEIGHT: 1}
    outside = {_V0: 1.0}
    rotated = np.stack([affine_transform(plane, matrix, offset, order=orders.get(i, 0), mode='constant',
                                         cval=outside.get(i, 0.0)) for i, plane in enumerate(planes.numpy())])
    for plane in (_SEEN, _WEIGHT):
        rotated[plane] = rotated[plane] > _VISIBLE
    rotated[_Z] *= rotated[_SEEN]
    return torch.from_numpy(rotated.astype(np.float32))
