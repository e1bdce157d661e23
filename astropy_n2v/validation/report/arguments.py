# Licensed under a 3-clause BSD style license - see LICENSE
"""
Arguments of a validation: checked, read, and brought onto the grid of the frame.
"""

import logging
import os
from contextlib import suppress
from numbers import Integral, Real
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.nddata import CCDData, NDData

from ...containers.parsing import take_apart
from ...photometry.inputs import as_image
from ...photometry.psf_measurement import PSF, measure_psf
from ...utils.atomic_files import atomic_write
from ...utils.checks import require

__all__ = []

log = logging.getLogger(__name__)


def check_options(**options):
    """Refuse options that make no sense before any work is done."""
    try:
        thresholds = np.atleast_1d(np.asarray(options['thresholds'], dtype=float))
    except (TypeError, ValueError) as error:
        raise type(error)(f'thresholds must be positive numbers, got {options["thresholds"]}') from error
    if not thresholds.size:
        raise ValueError('thresholds must hold at least one number, got an empty list')
    if not (np.isfinite(thresholds).all() and (thresholds > 0).all()):
        raise ValueError(f'thresholds must be positive numbers, got {options["thresholds"]}')
    for name, low in ('inject', 0), ('n_sources', 1), ('n_resamples', 100):
        if not isinstance(options[name], Integral) or options[name] < low:
            raise ValueError(f'{name} must be an integer of at least {low}, got {options[name]!r}')
    for name in 'confidence', 'galaxies', 'radius', 'false_rate':
        if not isinstance(options[name], (Real, type(None))):
            raise TypeError(f'{name} must be a number, got {options[name]!r}')
    if options['magnitudes'] is not None:
        magnitudes = np.asarray(options['magnitudes'])
        require(magnitudes.shape == (2,) and np.isfinite(magnitudes).all() and magnitudes[0] < magnitudes[1],
                'magnitudes', 'be the brightest and the faintest, such as (-12, -6)', options['magnitudes'])
    require(0.5 <= options['confidence'] < 1, 'confidence', 'be from 0.5 to below 1', options['confidence'])
    require(0 <= options['galaxies'] <= 1, 'galaxies', 'be a fraction from 0 to 1', options['galaxies'])
    for name in 'radius', 'false_rate':
        require(options[name] is None or options[name] > 0, name, 'be positive', options[name])
    make = options['detection_image']
    if not (make is None or callable(make) or isinstance(make, str) and make == 'auto'):
        raise TypeError("detection_image must be 'auto', None or a function of a CCDData and a PSF, got "
                        + (repr(make) if isinstance(make, str) else type(make).__name__))
    return {**options, 'thresholds': tuple(sorted(thresholds.tolist()))}


def try_directory(directory):
    """Fail before the work if nothing can be written."""
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError as error:
        raise type(error)(f'cannot make the directory {os.fspath(directory)}: {error.strerror}') from error
    with suppress(_Stop), atomic_write(Path(directory) / 'report.html', overwrite=True):
        raise _Stop


class _Stop(Exception):
    """A file could be opened for writing."""


def is_path(value):
    """Return True if a value names a file."""
    return isinstance(value, (str, os.PathLike))


def read_frames(frames, names):
    """Yield pairs of a name and a frame, or a path to be read later."""
    if isinstance(frames, NDData) or is_path(frames):
        frames = [frames]
    frames = list(frames)
    if not frames:
        raise ValueError('frames must hold at least one frame, got none')
    if names is None:
        names = [os.path.basename(os.fspath(frame)) if is_path(frame) else f'frame {i + 1}'
                 for i, frame in enumerate(frames)]
    elif len(names) != len(frames):
        raise ValueError(f'names must have one name for each of the {len(frames)} frames, got {len(names)}')
    for i, frame in enumerate(frames):
        if not (isinstance(frame, CCDData) or is_path(frame)):
            raise TypeError(f'frames must be CCDData or paths, got {type(frame).__name__} as number {i + 1}')
    # Two frames of one name could not be distinguished in the tables.
    counts = {}
    unique = []
    for name in map(str, names):
        counts[name] = counts.get(name, 0) + 1
        unique.append(name if counts[name] == 1 else f'{name} ({counts[name]})')
    return list(zip(unique, frames))


def one_each(name, value, n):
    """List a value for each frame, from one for all of them or a list."""
    if not isinstance(value, (list, tuple)):
        return [value] * n
    require(len(value) == n, name, f'be one for all frames, or one for each of the {n} frames', len(value))
    return list(value)


def read_image(name, value, i=0, n=1, ext=None):
    """
    Read the image that the i-th of the n images of a file is compared with, given as an image or a path.

    Of a file with many, it is the i-th as well, or the one of ``ext``, or else the first.
    """
    if not is_path(value):
        return value
    from ...io import read_fits_images
    images = read_fits_images(value)
    if ext and len(images) > 1:
        images = read_fits_images(value, ext)
    if n > 1 and len(images) not in (1, n):
        raise ValueError(f'{name} must have one science image, or as many as the frame, {n}, got {len(images)} in '
                         f'{value}')
    return images[min(i, len(images) - 1)]


class NoPSF(Exception):
    """The PSF cannot be measured; the message says why."""


def find_psf(frame):
    """Measure the PSF on the brightest isolated stars."""
    for threshold in 30.0, 10.0:
        try:
            psf = measure_psf(frame, threshold=threshold)
        except ValueError as error:
            log.debug('no PSF: %s', error)
            reason = f'no isolated star above {threshold:g} sigma to measure the point-spread function on'
            continue
        if psf.n_stars >= 3:
            return psf
        reason = f'only {psf.n_stars} isolated stars to measure the point-spread function on'
    raise NoPSF(f'{reason}; give psf')


def given_psf(psf, frame):
    """Make a stamp that fits the frame from a given PSF."""
    if isinstance(psf, Real):
        from ...simulate import make_psf
        require(np.isfinite(psf) and psf > 0, 'psf', 'be an image, a model or a positive FWHM in pixels', psf)
        half = min(int(6 * psf) + 1, (min(frame.shape) - 1) // 2)
        if psf > half:
            raise ValueError(f'psf must not be larger than the frame, {frame.shape}, got a FWHM of {psf:g} pixels')
        psf = make_psf(float(psf), half_size=half)
    psf = PSF.from_any(psf)
    psf.check_fits(frame.shape)
    return psf


def as_array(image, unit, name='image'):
    """Convert an image to floats in a unit, NaN where it is masked."""
    own = take_apart(image, name).unit
    if unit is not None and own not in (None, u.dimensionless_unscaled, unit):
        if not own.is_equivalent(unit):
            raise u.UnitConversionError(f'{name} must have a unit that converts to {unit}, got {own}')
    else:
        unit = None   # nothing to convert
    return as_image(name, image, unit=unit)[0]


def same_grid(first, second):
    """Return True if two images have the same pixels on the sky, to a hundredth of a pixel."""
    if first.shape != second.shape:
        return False
    ny, nx = first.shape
    corners = np.array([[0, nx - 1, 0, nx - 1], [0, 0, ny - 1, ny - 1]], dtype=float)
    try:
        found = second.wcs.world_to_pixel(first.wcs.pixel_to_world(*corners))
    except Exception as error:  # of many libraries; where grids cannot be compared they are not the same
        log.debug('grids cannot be compared: %s', error)
        return False
    return bool(np.allclose(found, corners, atol=0.01))
