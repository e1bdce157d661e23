# Licensed under a 3-clause BSD style license - see LICENSE
"""
The blind spot of planes with correlated noise, and warnings where none is large enough.
"""

from dataclasses import replace

import numpy as np

from .exceptions import CannotDenoiseError
from .noise import choose_hole, noise_autocorrelation, stripe_fraction
from .noise.resolve import looks_white
from .noise.views import WHOLE
from .utils.scratch import count_where
from .utils.warn import warn_user

__all__ = ['LAGS', 'autocorrelation_error', 'find_hole', 'own_autocorrelation', 'warn_of_patterns']

# Least fraction of the valid pixels whose right neighbour is valid, too, for a measurement of the autocorrelation. With
# half of the pixels masked at random, white noise appeared correlated over 7 pixels.
_MIN_PAIRED = 0.6
# Largest FWHM, in pixels, of smoothed noise that a hole of 5x5 hides: farther neighbours share a tenth of it.
_MAX_SMOOTHED = 2.4
#: Largest lag at which an autocorrelation is measured, in pixels.
LAGS = 4
_MAX_LAG = 24   # pixels: largest lag for noise that was smoothed
#: Autocorrelation of white noise.
WHITE = np.pad([[1.0]], LAGS)
WHITE.flags.writeable = False


def find_hole(planes):
    """
    Find the hole that the autocorrelation of the noise requires, from at most three planes.

    Parameters
    ----------
    planes : list of Plane
        Planes of a frame. The autocorrelation of their noise is set where it was measured.

    Returns
    -------
    tuple of int
        Height and width.
    """
    chosen = sorted({plane.index for plane in planes})
    chosen = chosen[::max(1, len(chosen) // 3)][:3]
    # Parts of a plane may differ: the noise of some is interpolated along rows, of others along columns.
    return tuple(np.max([_hole_of([plane for plane in planes if plane.view == view], chosen)
                         for view in _unique(plane.view for plane in planes)], axis=0).tolist())


def _unique(views):
    """Return distinct views, in order; slices cannot be hashed."""
    found = []
    for view in views:
        if view not in found:
            found.append(view)
    return found


def _hole_of(planes, chosen):
    """Return the hole for the median autocorrelation of some planes, which replaces their own one."""
    found = {plane.index: _autocorrelation_of(plane) for plane in planes if plane.index in chosen}
    known = [correlation for correlation in found.values() if correlation is not None]
    if not known:
        return 1, 1
    # Smoothed noise has more lags; the majority of the planes decides.
    size = int(np.median([len(correlation) for correlation in known]))
    median = np.median([correlation for correlation in known if len(correlation) == size] or known[:1], axis=0)
    for plane in planes:
        own = found.get(plane.index)
        plane.noise = replace(plane.noise, autocorrelation=median if own is None else own)
    return choose_hole(median)


def _autocorrelation_of(plane):
    """Return the autocorrelation of the noise of a plane: from its set of frames, or its own."""
    return own_autocorrelation(plane) if plane.group is None else plane.group.autocorrelation


def own_autocorrelation(plane):
    """
    Measure the autocorrelation of the noise on a plane, unless it was measured with the noise.

    Parameters
    ----------
    plane : Plane
        The plane.

    Returns
    -------
    `~numpy.ndarray` or None
        Shape (9, 9); larger for noise that was smoothed over more lags. It is the autocorrelation of white noise if
        the differences of neighbours agree with white noise of the known size. None if there are too few pixels, or
        too few next to each other.
    """
    if plane.picture:
        return plane.noise.autocorrelation
    mask = plane.sky.mask
    n = mask.size - np.count_nonzero(mask)
    if n < (4000 if plane.view == WHOLE else 2000):
        return None
    if count_where(lambda left, right: ~(left | right), mask[:, 1:], mask[:, :-1]) < _MIN_PAIRED * n:
        return None   # a scattered mask leaves too few neighbours to separate structure from noise
    if looks_white(plane.sky, plane.noise):
        return WHITE
    smoothed = plane.sky.smoothed
    if smoothed is not None and smoothed.certain:
        return _autocorrelation_of_smoothed(smoothed)
    if plane.noise.autocorrelation is not None:   # measured with the noise, on this very plane
        return plane.noise.autocorrelation
    try:
        return plane.sky.autocorrelation
    except CannotDenoiseError:
        return None


def _autocorrelation_of_smoothed(smoothed):
    """Return the autocorrelation of smoothed noise, up to the largest lag that is required."""
    if smoothed.fwhm > _MAX_SMOOTHED and not smoothed.along_one or smoothed.along_one and smoothed.is_gaussian:
        # A Gaussian beam: errors of so many lags would exceed the power at high frequencies.
        lags = np.arange(-_MAX_LAG, _MAX_LAG + 1)
        beam, white = np.exp(-2 * np.log(2) * (lags / smoothed.fwhm) ** 2), (lags == 0).astype(float)
        columns, rows = (beam if axis in smoothed.axes else white for axis in (0, 1))
        return columns[:, None] * rows[None, :]
    lags = smoothed.lags(LAGS)
    # At the largest lags only structure is correlated, not noise.
    structure = max(np.mean(lags[[0, -1]]) + np.mean(lags[:, [0, -1]]), 0) / 2
    return (lags - structure) / (1 - structure)


def autocorrelation_error(plane):
    """Return the standard errors of the autocorrelation of a plane, from its quarters; shape (9, 9)."""
    mask = plane.mask | ~np.isfinite(plane.values)
    half = [n // 2 for n in plane.values.shape]
    quarters = [(rows, columns) for rows in (slice(half[0]), slice(half[0], None))
                for columns in (slice(half[1]), slice(half[1], None))]
    found = []
    for quarter in quarters:
        try:
            found.append(noise_autocorrelation(plane.values[quarter], np.asarray(mask[quarter])))
        except CannotDenoiseError:
            continue
    # The scatter of four quarters may be small by chance.
    white = 1 / np.sqrt(np.count_nonzero(~np.asarray(mask)))
    scatter = np.std(found, axis=0, ddof=1) / np.sqrt(len(found)) if len(found) > 1 else np.ones(WHITE.shape)
    return np.hypot(scatter, white)


def warn_of_patterns(planes, name=''):
    """
    Warn if the first of some planes has stripes beyond any hole, or noise that was smoothed.

    Parameters
    ----------
    planes : list of Plane
        Planes of a frame.
    name : str, optional
        Name of the frame at the start of the warning.
    """
    plane = planes[0]
    smoothed = None if plane.picture else plane.sky.smoothed
    if smoothed is not None:
        _warn_of_smoothing(smoothed, name, plane.noise.gain is None)
    try:
        shares = stripe_fraction(plane.values, plane.mask)
    except CannotDenoiseError:   # a constant image, whose noise was given
        return
    for what, share in zip(('rows', 'columns'), shares):
        if share:
            warn_user(f'{name}whole {what} share {100 * share:.1f} % of the variance of the noise: such stripes '
                      f'are longer than any hole and will be taken for structure. Subtract them before, for '
                      f'example the median of each of the {what}')


def _warn_of_smoothing(smoothed, name, no_gain):
    """Warn, unless smoothed noise can be distinguished from structure."""
    if not smoothed.certain:
        warn_user(f'{name}the image has no noise at the highest spatial frequencies, as if it had been smoothed '
                  'or resampled: correlated noise cannot be distinguished from structure, and may be far larger '
                  'than is assumed. Give noise')
    elif smoothed.fwhm > _MAX_SMOOTHED:
        along = f' along {("columns", "rows")[smoothed.axes[0]]}' if smoothed.along_one else ''
        warn_user(f'{name}correlated noise: it is as of an image smoothed to a FWHM of {smoothed.fwhm:.1f} '
                  f'pixels{along}. Part of it cannot be separated from sources of that size, and stays; the '
                  'uncertainty allows for it'
                  + (', but not for photon noise, which is unknown without gain' if no_gain else ''))
