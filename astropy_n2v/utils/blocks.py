# Licensed under a 3-clause BSD style license - see LICENSE
"""
Images divided into blocks of pixels.
"""

import numpy as np

__all__ = ['as_blocks', 'sum_blocks']


def as_blocks(images, size, *, pad=False):
    """
    Divide images into blocks.

    Parameters
    ----------
    images : `~numpy.ndarray`
        Shape (..., ny, nx).
    size : int or tuple of int
        Height and width of a block in pixels, or both in one.
    pad : bool, optional
        If true, fill the blocks at the far edges with zeros. By default rows and columns that do not fill a block are
        left out.

    Returns
    -------
    `~numpy.ndarray`
        Shape (..., number of rows of blocks, height, number of columns of blocks, width), to be reduced over the
        axes -3 and -1.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.utils.blocks import as_blocks
    >>> as_blocks(np.arange(15.0).reshape(3, 5), 2).sum(axis=(-3, -1)).tolist()
    [[12.0, 20.0]]
    """
    size = (size, size) if np.ndim(size) == 0 else tuple(size)
    if pad:
        images = np.pad(images, [(0, 0)] * (images.ndim - 2) + [(0, -n % m) for n, m in zip(images.shape[-2:], size)])
    ny, nx = (n // m for n, m in zip(images.shape[-2:], size))
    images = images[..., :ny * size[0], :nx * size[1]]
    return images.reshape(*images.shape[:-2], ny, size[0], nx, size[1])


def sum_blocks(images, good, size, *, pad=False):
    """
    Sum and count the valid pixels of each block.

    Parameters
    ----------
    images : `~numpy.ndarray`
        Shape (..., ny, nx).
    good : `~numpy.ndarray` of bool
        True for the pixels to sum.
    size, pad : optional
        See `as_blocks`.

    Returns
    -------
    total : `~numpy.ndarray` of float
        Sums of the blocks, shape (..., number of rows of blocks, number of columns of blocks).
    count : `~numpy.ndarray` of float
        Numbers of valid pixels, of the same shape.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.utils.blocks import sum_blocks
    >>> image = np.array([[1.0, np.nan, 3.0], [4.0, 5.0, 6.0]])
    >>> total, count = sum_blocks(image, np.isfinite(image), 2, pad=True)
    >>> total.tolist(), count.tolist()
    ([[10.0, 9.0]], [[3.0, 2.0]])
    """
    parts = np.where(good, images, 0).astype(float), np.asarray(good, dtype=float)
    return tuple(as_blocks(part, size, pad=pad).sum(axis=(-3, -1)) for part in parts)
