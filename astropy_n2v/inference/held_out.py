# Licensed under a 3-clause BSD style license - see LICENSE
"""
The pixels of training frames that a model was not trained on, identified by the data of the frame.
"""

import hashlib
from dataclasses import dataclass, field

import numpy as np

from ..utils.sampling import row_blocks

__all__ = ['HeldOut', 'fingerprint']

_ROWS = 256   # rows of the data that are hashed at a time


def fingerprint(data):
    """
    Identify an image by its values.

    Parameters
    ----------
    data : array_like
        Image of shape (ny, nx).

    Returns
    -------
    str
        SHA-256 of its shape and values, as float64; equal for all types and byte orders that hold the values.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.inference.held_out import fingerprint
    >>> image = np.arange(12.0).reshape(3, 4)
    >>> fingerprint(image) == fingerprint(image.astype('>f4')), fingerprint(image) == fingerprint(image.T)
    (True, False)
    """
    data = np.asarray(data)
    digest = hashlib.sha256(repr(tuple(data.shape)).encode())
    for rows in row_blocks(len(data), _ROWS):
        digest.update(np.ascontiguousarray(data[rows], dtype='<f8'))
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class HeldOut:
    """
    Pixels that a model was not trained on, for each training frame.

    Only these pixels may judge its predictions of that frame. On any other frame all pixels may.

    Parameters
    ----------
    shapes : dict
        Height and width of the frames, by their fingerprints.
    bits : dict
        The pixels, as `numpy.packbits` of an array of bool, by the fingerprints.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.inference.held_out import HeldOut
    >>> image = np.arange(12.0).reshape(3, 4)
    >>> held_out = HeldOut.of([(image, image > 9)])
    >>> held_out.find(image).sum(), held_out.find(image + 1) is None
    (np.int64(2), True)
    """

    shapes: dict = field(default_factory=dict)
    bits: dict = field(default_factory=dict)

    @classmethod
    def of(cls, frames):
        """
        Record the pixels of some frames.

        Parameters
        ----------
        frames : iterable of tuple
            Image and, as an array of bool of the same shape, its pixels that are held out.

        Returns
        -------
        HeldOut
            The pixels of all frames.
        """
        shapes, bits = {}, {}
        for data, pixels in frames:
            name = fingerprint(data)
            shapes[name], bits[name] = tuple(pixels.shape), np.packbits(pixels)
        return cls(shapes, bits)

    def find(self, data):
        """
        Find the pixels of a frame.

        Parameters
        ----------
        data : `~numpy.ndarray`
            Image of shape (ny, nx).

        Returns
        -------
        `~numpy.ndarray` of bool or None
            None if the model was not trained on this frame.
        """
        # Most other frames differ in shape.
        if tuple(data.shape) not in self.shapes.values():
            return None
        name = fingerprint(data)
        if name not in self.bits:
            return None
        return np.unpackbits(self.bits[name], count=data.size).reshape(data.shape).astype(bool)
