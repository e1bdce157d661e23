# Licensed under a 3-clause BSD style license - see LICENSE
"""
Arrays of the size of an image: in memory or, of images that are larger than it, in files that are mapped into it.

The same functions process both, some rows at a time, so that the results are the same to the last bit. Mapped pages
belong to a file, which the system writes out and forgets when memory is needed for something else.
"""

import math
import mmap
import os
import tempfile
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from ..config import conf

__all__ = ['blocks', 'blockwise', 'copy_where', 'count_where', 'empty', 'every', 'fits_memory', 'full', 'is_large',
           'scratch_files', 'scratch_for', 'zeros']

_FOLDER = ContextVar('folder', default=None)
_LEAST = 1 << 22   # bytes: smaller arrays stay in memory, where a page more or less does not matter
# Memory that denoising takes, in bytes for each pixel of an image; measured on white noise, with an uncertainty.
_BYTES = 55
_PIXELS = 1 << 21   # pixels that are processed at a time: few enough for the temporary arrays, and enough for speed


@contextmanager
def scratch_files(folder):
    """
    Allocate large arrays in files for as long as the context lasts.

    Parameters
    ----------
    folder : str, path or None
        Where there is room for them. None: they are allocated in memory, as usual.

    Yields
    ------
    None
        The files have no name: they vanish with the arrays, also if the process is killed.

    Examples
    --------
    >>> import tempfile
    >>> from astropy_n2v.utils.scratch import scratch_files, zeros
    >>> with tempfile.TemporaryDirectory() as folder, scratch_files(folder):
    ...     image = zeros((2048, 2048), float)
    >>> float(image[1000, 1000])
    0.0
    """
    token = _FOLDER.set(None if folder is None else os.fspath(folder))
    try:
        yield
    finally:
        _FOLDER.reset(token)


def fits_memory(shape):
    """Check if `astropy_n2v.conf` allows the memory that the denoising of an image of a shape takes."""
    return math.prod(shape) * _BYTES <= conf.memory_limit * 2 ** 30


def scratch_for(shape, folder=None):
    """
    Allocate arrays in files if the denoising of an image would take more memory than `astropy_n2v.conf` allows.

    Parameters
    ----------
    shape : tuple of int
        Its shape.
    folder : str or path, optional
        Where there is room for the files, if ``conf.scratch_directory`` does not say it; by default the temporary
        directory of the system.

    Returns
    -------
    context manager
        As `scratch_files`. A context in which there is one already is left as it is.

    Examples
    --------
    >>> from astropy_n2v.utils.scratch import is_large, scratch_for
    >>> with scratch_for((20000, 20000)):
    ...     is_large((20000, 20000), float)
    True
    """
    if _FOLDER.get() is not None or fits_memory(shape):
        return scratch_files(_FOLDER.get())
    return scratch_files(conf.scratch_directory or folder or tempfile.gettempdir())


def is_large(shape, dtype):
    """Check if `empty` would allocate an array in a file."""
    return _FOLDER.get() is not None and math.prod(shape) * np.dtype(dtype).itemsize >= _LEAST


def empty(shape, dtype):
    """Allocate an array with arbitrary values, as `numpy.empty`."""
    return _mapped(shape, dtype) if is_large(shape, dtype) else np.empty(shape, dtype)


def zeros(shape, dtype):
    """Allocate an array of zeros, as `numpy.zeros`."""
    return _mapped(shape, dtype) if is_large(shape, dtype) else np.zeros(shape, dtype)


def full(shape, value, dtype):
    """Allocate an array of one value, as `numpy.full`."""
    array = empty(shape, dtype)
    array[...] = value
    return array


def _mapped(shape, dtype):
    """Map a new file without a name, whose bytes are zero, into memory."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    with tempfile.TemporaryFile(dir=_FOLDER.get()) as file:
        if hasattr(os, 'posix_fallocate'):
            os.posix_fallocate(file.fileno(), 0, size)   # a full disk is an error here, and not a crash later on
        else:
            file.truncate(size)
        return np.frombuffer(mmap.mmap(file.fileno(), size), dtype).reshape(shape)


def blocks(shape):
    """
    Divide an array into blocks of rows, plane by plane.

    Parameters
    ----------
    shape : tuple of int
        Its shape; with less than two axes, it is one block.

    Yields
    ------
    tuple
        Index of a block: index of the plane, and a slice of rows.

    Examples
    --------
    >>> from astropy_n2v.utils.scratch import blocks
    >>> list(blocks((2, 3, 4)))
    [(0, slice(0, 3, None)), (1, slice(0, 3, None))]
    """
    if len(shape) < 2:
        yield (Ellipsis,)
        return
    *first, height, width = shape
    step = max(1, _PIXELS // max(width, 1))
    for index in np.ndindex(*first):
        for start in range(0, height, step):
            yield *index, slice(start, min(start + step, height))


def blockwise(function, *arrays, dtype=bool, out=None):
    """
    Apply a function of single pixels to arrays, some rows at a time.

    Parameters
    ----------
    function : callable
        Takes a block of each array, and returns one of the result.
    *arrays : `~numpy.ndarray`
        Of one shape.
    dtype : type, optional
        Type of the result.
    out : `~numpy.ndarray`, optional
        Where to put the result; it may be one of the arrays.

    Returns
    -------
    `~numpy.ndarray`
        Of that shape.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.utils.scratch import blockwise
    >>> blockwise(np.isnan, np.array([[1.0, np.nan]])).tolist()
    [[False, True]]
    """
    arrays = [np.asarray(array) for array in arrays]
    if out is None:
        out = empty(arrays[0].shape, dtype)
    for index in blocks(arrays[0].shape):
        out[index] = function(*(array[index] for array in arrays))
    return out


def count_where(function, *arrays):
    """Count the pixels for which a function, as for `blockwise`, is true."""
    arrays = [np.asarray(array) for array in arrays]
    found = (function(*(array[index] for array in arrays)) for index in blocks(arrays[0].shape))
    return sum(int(np.count_nonzero(part)) for part in found)


def every(function, *arrays):
    """Check if a function, as for `blockwise`, is true for all pixels."""
    arrays = [np.asarray(array) for array in arrays]
    return all(np.all(function(*(array[index] for array in arrays))) for index in blocks(arrays[0].shape))


def copy_where(where, source, target):
    """Copy the pixels of an array for which a mask is true, in place."""
    for index in blocks(target.shape):
        np.copyto(target[index], source[index], where=where[index], casting='unsafe')
