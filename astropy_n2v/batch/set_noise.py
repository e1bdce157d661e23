# Licensed under a 3-clause BSD style license - see LICENSE
"""
The noise of a set of files, measured once for all of them.
"""

import hashlib
import logging
import os
import warnings

import numpy as np

from ..blind_spot import LAGS, own_autocorrelation
from ..collections.loading import cut_areas
from ..containers.container import Container
from ..io.axes import plane_shape
from ..io.headers import merge_headers, parse_unit
from ..io.paths import describe_error, split_extension
from ..io.process import values_per_image
from ..io.reading import read_image
from ..io.select import science_hdus
from ..io.source import FitsSource
from ..noise import FrameGroup, GainFrom, GroupNoise, SetNoise
from ..noise.sets import same_size
from ..planes import find_planes
from ..utils.checks import check_integer
from ..utils.names import printable

__all__ = ['estimate_set_noise']

log = logging.getLogger(__name__)

_MOST_PLANES = 3   # of a frame that are measured
# Height and width, in pixels, of the middle of an image that is measured. White noise leaves an error of 0.0005 there.
_LARGEST = 2048
_PERIODS = 12   # pixels; a multiple of the periods of mosaics and interpolated frames


def estimate_set_noise(files, *, ext=None, ignore_bits=0, mask=None, uncertainty=None, satlevel=None, max_frames=50,
                       on_error=None):
    """
    Estimate the noise that the frames of a set have in common.

    Frames of one instrument, detector, filter, binning and gain setting (`~astropy_n2v.noise.FrameGroup`) are a group.
    Of each group the autocorrelation of the noise is measured on some frames and its median taken, and so is the gain
    where neither header nor unit have it. A choice that is made for each frame by itself, such as the hole, may
    jump from frame to frame of one night. It does not if the result of this function is given as ``noise``.

    Parameters
    ----------
    files : list of path
        FITS files; ``name.fits[EXT]`` is one extension of a file, such as ``name.fits[SCI,1]``.
    ext, ignore_bits, mask, uncertainty : optional
        See `~astropy_n2v.io.read_fits_images`; for all files.
    satlevel : optional
        See `astropy_n2v.denoise`. Lists or tuples have one entry for each image of a file.
    max_frames : int, optional
        Number of frames of a group that are measured. They are chosen by a hash of the names of the files, so that
        neither the order of the files nor the directory matters.
    on_error : callable, optional
        Called with a path and an exception for each file that cannot be read. It is left out in any case.

    Returns
    -------
    SetNoise
        The noise of all groups; groups without a frame that could be measured have no autocorrelation.

    Raises
    ------
    TypeError
        If ``files`` is one path.
    ValueError
        If ``max_frames`` is no positive integer, or there is an extension in the name of a file as well as in ``ext``.

    See Also
    --------
    astropy_n2v.noise_autocorrelation : Measure one image.

    Notes
    -----
    Warnings of a frame come when it is denoised, and not here.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from astropy_n2v import estimate_set_noise
    >>> from astropy_n2v.simulate import make_scene
    >>> scene = make_scene('survey', (128, 128), seed=1)
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     files = [Path(directory) / f'{n}.fits' for n in range(3)]
    ...     for n, path in enumerate(files):
    ...         scene.observe(seed=n).write(path)
    ...     noise = estimate_set_noise(files)
    ...     noise.write(Path(directory) / 'noise.json')
    >>> noise.groups[0].n_frames, bool(abs(noise.groups[0].autocorrelation[4, 5]) < 0.05)
    (3, True)
    """
    check_integer('max_frames', max_frames, 1)
    reading = {'ignore_bits': ignore_bits, 'mask': mask}
    if uncertainty is not None:
        reading['uncertainty'] = uncertainty
    groups = {}
    for path, chosen in _by_hash(files, ext):
        try:
            with FitsSource(path, quiet=True) as source:
                _measure_file(source, chosen, reading, satlevel, groups, max_frames)
        except Exception as error:   # whatever is wrong with one file, the others are not to blame
            log.info('%s is left out: %s', printable(path), describe_error(error, path))
            if on_error is not None:
                on_error(path, error)
    noise = SetNoise([part for group in groups.values() for part in group.noise()])
    for part in noise.groups:
        log.info('%s: %s', part.group.text, part.text)
    return noise


def _by_hash(files, ext):
    """Sort paths and extensions in an order that depends on the names of the files alone."""
    if isinstance(files, (str, os.PathLike)):
        raise TypeError(f'files must be a list of paths, got {files!r}')
    sources = {}
    for name in files:
        path, own = split_extension(name)
        if own is not None and ext is not None:
            raise ValueError(f'ext must not be given, as {os.fspath(name)} names an extension itself; got {ext!r}')
        digest = hashlib.sha256(os.path.basename(path).encode('utf-8', 'surrogateescape')).hexdigest()
        sources[digest, path, str(own)] = path, ext if own is None else own
    return [sources[key] for key in sorted(sources)]


class _Group:
    """Measurements on the frames of a group, for each kind of pixels."""

    def __init__(self, key):
        self.key = key
        self.tried = 0
        self.parts = {}

    def add(self, name, planes):
        """Add a frame: the median of its planes."""
        for pixels in dict.fromkeys(plane.pixels for plane in planes):
            names, correlations, gains = self.parts.setdefault(pixels, ([], [], []))
            own = [plane for plane in planes if plane.pixels == pixels]
            found = [own_autocorrelation(plane) for plane in own]
            # Smoothed noise has more lags, and is as the beam of each frame.
            found = [correlation for correlation in found
                     if correlation is not None and len(correlation) == 2 * LAGS + 1]
            if found:
                names.append(name)
                correlations.append(np.median(same_size(found), axis=0))
            measured = [float(plane.data_noise.gain) for plane in own if self._has_measured_gain(plane.data_noise)]
            if measured:
                gains.append(float(np.median(measured)))

    def _has_measured_gain(self, noise):
        """Check if a gain is from the image alone. In other units than adu, it differs from exposure to exposure."""
        return noise.origin.gain is GainFrom.IMAGE and noise.gain is not None and self.key.unit == 'adu'

    def noise(self):
        """Combine the measurements: one noise for each kind of pixels."""
        parts = self.parts or {'all': ([], [], [])}
        return [GroupNoise.of(self.key, pixels, *values) for pixels, values in parts.items()]


def _middle(ccd):
    """The middle of a large image, with a header that is about it; mosaics keep their phase."""
    shape = ccd.shape[-2:]
    if max(shape) <= _LARGEST:
        return ccd
    starts = [max(0, n - _LARGEST) // 2 // _PERIODS * _PERIODS for n in shape]
    cut = tuple(slice(start, min(start + _LARGEST, n)) for start, n in zip(starts, shape))
    middle = ccd[(..., *cut)]
    cut_areas(middle, shape, cut)
    return middle


def _measure_file(source, ext, reading, satlevel, groups, max_frames):
    """Measure the images of a file whose groups have not enough frames yet."""
    chosen = science_hdus(source.hdus, ext)
    levels = values_per_image({'satlevel': satlevel}, chosen)
    for i, own in zip(chosen, levels):
        hdu = source.hdus[i]
        header = merge_headers(hdu.header, source.hdus[0].header if i else None)
        key = FrameGroup.of(header, parse_unit(header.get('BUNIT')), plane_shape(hdu))
        group = groups.setdefault(key, _Group(key))
        if group.tried == max_frames:
            continue
        group.tried += 1
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            frame = Container(_middle(read_image(source, i, wcs=len(hdu.shape) > 2, **reading)), **own)
            indices = frame.planes()
            planes, _ = find_planes(frame, indices=indices[::max(1, len(indices) // _MOST_PLANES)][:_MOST_PLANES])
            group.add(os.path.basename(source.path), planes)
