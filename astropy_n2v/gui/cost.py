# Licensed under a 3-clause BSD style license - see LICENSE
"""
Estimate the time and the memory that denoising takes, to warn before a large image is begun.
"""

import os
from math import prod

__all__ = ['Cost', 'free_memory']

# Until an image of the page was denoised: seconds for a pixel on two cores (38 s of the processor for 4096x4096), and
# bytes of memory for a pixel and in any case. All measured with benchmarks/batches.py.
_SECONDS, _BYTES, _BASE = 1.2e-6, 51, 0.25e9
# Bytes of memory for a pixel and in any case where arrays are in temporary files, from 0.71 GiB for 10,000x10,000
# pixels and 1.1 GiB for 20,000x20,000.
_BYTES_FILES, _BASE_FILES = 1.4, 0.62e9
_FEWEST = 1e6   # pixels of images that the time is learnt from: of smaller ones, the loading of the model prevails
# Least seconds, and least share of the free memory, of which the page warns.
_LONG, _MUCH = 120.0, 0.5


def free_memory():
    """Find how many bytes of memory are free, None if that is not known."""
    try:
        with open('/proc/meminfo', encoding='ascii') as file:
            found = dict(line.split(':') for line in file)
        return int(found['MemAvailable'].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        pass
    try:
        return os.sysconf('SC_AVPHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    except (AttributeError, OSError, ValueError):
        return None


class Cost:
    """
    Time and memory that denoising takes; the time is learnt from images that were denoised.

    Examples
    --------
    >>> from astropy_n2v.gui.cost import Cost
    >>> Cost().warning((256, 256), 1, free=8e9)
    ''
    >>> Cost().warning((10000, 10000), 1, free=8e9)
    '10000×10000 pixels take about 2 minutes and 5.3 GB of memory (8.0 GB are free)'
    >>> Cost().warning((10000, 10000), 1, free=8e9, in_files=True)
    '10000×10000 pixels take about 2 minutes and 0.8 GB of memory (8.0 GB are free), with temporary files'
    """

    def __init__(self):
        self._rate = _SECONDS

    def learn(self, shape, n_planes, seconds):
        """Estimate the time for a pixel anew, from an image of a million pixels or more that took some seconds."""
        if prod(shape) * n_planes >= _FEWEST:
            self._rate = seconds / (prod(shape) * n_planes)

    def warning(self, shape, n_planes, free=None, in_files=False):
        """
        Word the time and the memory that an image will take.

        Parameters
        ----------
        shape : tuple of int
            Of a plane.
        n_planes : int
            Number of planes.
        free : float, optional
            Bytes of memory that are free; by default it is asked for.
        in_files : bool, optional
            Arrays are in temporary files, see `astropy_n2v.utils.scratch`.

        Returns
        -------
        str
            Empty if it takes less than two minutes and less than half of the free memory.
        """
        n = prod(shape)
        seconds = self._rate * n * n_planes
        memory = _BASE_FILES + _BYTES_FILES * n if in_files else _BASE + _BYTES * n
        free = free_memory() if free is None else free
        short = free is not None and memory > free
        if seconds < _LONG and not (free is not None and memory > _MUCH * free):
            return ''
        planes = f'{n_planes} planes of ' if n_planes > 1 else ''
        time = f'{seconds / 60:.0f} minutes' if seconds >= 90 else f'{seconds:.0f} s'
        known = '' if free is None else f' ({free / 1e9:.1f} GB are free)'
        return (f'{planes}{shape[1]}×{shape[0]} pixels take about {time} and {memory / 1e9:.1f} GB of memory{known}'
                + (', with temporary files' if in_files else '')
                + (': that is too little, and it may fail' if short else ''))
