# Licensed under a 3-clause BSD style license - see LICENSE
"""
Amplifiers: parts of a frame with gains, read noises and pedestals of their own.
"""

from dataclasses import replace

import numpy as np
from scipy.ndimage import find_objects, label

from ..background import background_level
from ..exceptions import CannotDenoiseError

__all__ = ['AmplifierScale', 'amplifier_labels', 'amplifier_regions']

# Most gains of an amplifier map. More different values are a map that varies from pixel to pixel.
_MAX_AMPLIFIERS = 64
_FEW = 1.0   # electrons per pixel of sky, below which single photons are counted


def amplifier_labels(*parameters):
    """
    Number the parts of an image in which some parameters are constant.

    Parts that are not connected get different numbers, even if their parameters are the same.

    Parameters
    ----------
    *parameters : array_like
        Gain, read noise, ...; each broadcasts to the shape of the image.

    Returns
    -------
    `~numpy.ndarray` of int or None
        Numbers from 1 on, in a two-dimensional array that broadcasts to the image. None if there is
        one part only, or if there are too many parts for amplifiers.

    Examples
    --------
    >>> from astropy_n2v.noise import amplifier_labels
    >>> amplifier_labels([1.5, 1.5, 2.0, 1.5]).tolist()
    [[1, 1, 3, 2]]
    """
    parameters = [np.atleast_2d(values) for values in parameters if np.size(values) > 1]
    if not parameters:
        return None
    codes, n_codes = np.zeros((1, 1), dtype=int), 1
    for values in parameters:
        unique, inverse = np.unique(values, return_inverse=True)
        if unique.size > _MAX_AMPLIFIERS:
            return None
        codes, n_codes = codes * unique.size + inverse.reshape(values.shape), n_codes * unique.size
    labels = np.zeros(codes.shape, dtype=np.int16)
    count = 0
    for code in np.unique(codes):
        parts, n = label(codes == code)
        if count + n > _MAX_AMPLIFIERS:
            return None
        labels[parts > 0] = parts[parts > 0] + count
        count += n
    return labels if count > 1 else None


def amplifier_regions(labels, shape):
    """
    Find the boxes of the numbered parts of an image.

    Parameters
    ----------
    labels : `~numpy.ndarray` of int
        From `amplifier_labels`.
    shape : tuple of int
        Shape of the image.

    Yields
    ------
    box : tuple of slice
        The smallest box around a part, in the order of their numbers.
    outside : `~numpy.ndarray` of bool
        True in the box where the part is not.

    Examples
    --------
    >>> from astropy_n2v.noise import amplifier_labels, amplifier_regions
    >>> [box for box, _ in amplifier_regions(amplifier_labels([1.5, 1.5, 2.0]), (9, 3))]
    [(slice(0, 9, None), slice(0, 2, None)), (slice(0, 9, None), slice(2, 3, None))]
    """
    for number, box in enumerate(find_objects(labels), 1):
        box = tuple(slice(0, n) if size == 1 else part for part, n, size in zip(box, shape, labels.shape))
        yield box, np.broadcast_to(labels, shape)[box] != number


class AmplifierScale:
    """
    Map the data of several amplifiers to the scale of the first one.

    Sources and sky are continuous across amplifiers only in electrons above the pedestal of each
    amplifier. A network must see them on such a scale. The map is affine.

    Parameters
    ----------
    image : `~numpy.ndarray`
        Data of shape (ny, nx).
    mask : `~numpy.ndarray` of bool
        True where they do not count.
    noise : NoiseModel
        Its noise, with a gain that varies between amplifiers.
    labels : `~numpy.ndarray` of int
        From `amplifier_labels`.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v import NoiseModel
    >>> from astropy_n2v.noise import AmplifierScale
    >>> image = np.full((9, 4), 100.0) / [1, 1, 2, 2] + [0, 0, 30, 30]
    >>> noise = NoiseModel(1.0, gain=[1.0, 1.0, 2.0, 2.0])
    >>> scale = AmplifierScale.find(image, np.zeros((9, 4), bool), noise)
    >>> scale.forward(image)[0].tolist()
    [100.0, 100.0, 100.0, 100.0]
    """

    def __init__(self, image, mask, noise, labels):
        gains, zeros = (np.broadcast_to(values, image.shape) for values in (noise.gain, noise.zero_point))
        rows = []
        for box, outside in amplifier_regions(labels, image.shape):
            gain, zero = (values[box][~outside][0] for values in (gains, zeros))
            try:
                level = background_level(image[box], mask[box] | outside)
            except CannotDenoiseError:
                level = rows[0][1] if rows else background_level(image, mask)
            if not np.any(noise.sigma) and abs(level - zero) * gain < _FEW:
                level = zero   # single photons are counted from here and must stay whole numbers
            rows.append((gain, level))
        gain, level = np.array(rows).T
        factor = gain / gain[0]
        self.factor = factor[labels - 1]
        self.offset = (level[0] - level * factor)[labels - 1]

    @classmethod
    def find(cls, image, mask, noise):
        """
        Return the map for an image and its noise.

        Parameters
        ----------
        image : `~numpy.ndarray`
            Data of shape (ny, nx).
        mask : `~numpy.ndarray` of bool
            True where they do not count, shape (ny, nx).
        noise : NoiseModel
            Its noise.

        Returns
        -------
        AmplifierScale or None
            None if there is one amplifier only.
        """
        labels = None if np.size(noise.gain) < 2 else amplifier_labels(noise.gain, noise.zero_point)
        return None if labels is None else cls(image, mask, noise, labels)

    def forward(self, image):
        """
        Convert data to the scale of the first amplifier.

        Parameters
        ----------
        image : `~numpy.ndarray`
            Values in data units, shape (ny, nx).

        Returns
        -------
        `~numpy.ndarray`
            Values in units of the first amplifier, of the same shape and type.
        """
        return (image * self.factor + self.offset).astype(image.dtype, copy=False)

    def backward(self, image):
        """
        Convert values on the scale of the first amplifier to data.

        Parameters
        ----------
        image : `~numpy.ndarray`
            Values in units of the first amplifier, shape (ny, nx).

        Returns
        -------
        `~numpy.ndarray`
            Values in data units, of the same shape and type.
        """
        return ((image - self.offset) / self.factor).astype(image.dtype, copy=False)

    def deviation_backward(self, deviation):
        """
        Convert standard deviations on the scale of the first amplifier to data units.

        Parameters
        ----------
        deviation : `~numpy.ndarray`
            Standard deviations in units of the first amplifier, shape (ny, nx).

        Returns
        -------
        `~numpy.ndarray`
            Standard deviations in data units, of the same shape and type.
        """
        return (deviation / self.factor).astype(deviation.dtype, copy=False)

    def noise(self, noise):
        """
        Return the noise on the scale of the first amplifier.

        Parameters
        ----------
        noise : NoiseModel
            Noise of the data.

        Returns
        -------
        NoiseModel
            Noise of what `forward` returns; its gain is a scalar if all amplifiers then have the same.
        """
        noise = noise * self.factor + self.offset
        gain = noise.gain.flat[0]
        return replace(noise, gain=gain) if np.ptp(noise.gain) <= 1e-9 * gain else noise
