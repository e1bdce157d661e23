# Licensed under a 3-clause BSD style license - see LICENSE
"""
Images of galaxies before the point-spread function acts.
"""

import numpy as np
from astropy.modeling.models import Sersic2D

from ..utils.blocks import as_blocks
from .nebulae import _random_field

__all__ = ['make_galaxy']


def make_galaxy(r_eff, *, n=1.0, ellipticity=0.0, theta=0.0, offset=(0.0, 0.0), half_size=None, structure=None,
                contrast=0.6, arms=2, pitch=0.35, oversampling=5, seed=None):
    """
    Make the image of a Sersic profile, smooth or with structure, normalised to sum 1.

    Parameters
    ----------
    r_eff : float
        Half-light radius along the major axis, in samples.
    n : float, optional
        Sersic index: 1 a disc, 4 a bulge.
    ellipticity : float, optional
        One minus the ratio of the axes, in [0, 1).
    theta : float, optional
        Position angle of the major axis in radians, from the x axis.
    offset : tuple of float, optional
        Displacement (x, y) of the centre of the galaxy from the centre of the stamp, in samples.
    half_size : int, optional
        Half the size of the stamp in samples; 5 half-light radii if not given.
    structure : {None, 'spiral', 'clumps'}, optional
        'spiral': logarithmic arms in the plane of the disc; 'clumps': irregular brightness, as
        of star formation, that follows a power law.
    contrast : float, optional
        Amplitude of the arms relative to the mean at their radius, in [0, 1], or standard
        deviation of the logarithm of the brightness of clumps.
    arms : int, optional
        Number of spiral arms.
    pitch : float, optional
        Pitch angle of the arms in radians.
    oversampling : int, optional
        The innermost samples, where the profile is steep, are averages over this many points
        along each axis.
    seed : int or `~numpy.random.Generator`, optional
        Seed of phases and clumps.

    Returns
    -------
    `~numpy.ndarray`
        Stamp of odd size ``2 * half_size + 1`` whose sum is 1.

    Raises
    ------
    ValueError
        If ``r_eff`` or ``n`` is not positive, ``ellipticity`` is not in [0, 1) or ``structure``
        is unknown.

    See Also
    --------
    astropy.modeling.models.Sersic2D : The profile without structure.

    Examples
    --------
    >>> from astropy_n2v.simulate import make_galaxy
    >>> make_galaxy(4.0, structure='spiral', seed=1).shape
    (41, 41)
    """
    if not r_eff > 0:
        raise ValueError(f'r_eff must be positive, got {r_eff}')
    if not n > 0:
        raise ValueError(f'n must be positive, got {n}')
    if not 0 <= ellipticity < 1:
        raise ValueError(f'ellipticity must be in [0, 1), got {ellipticity}')
    if structure not in (None, 'spiral', 'clumps'):
        raise ValueError(f"structure must be None, 'spiral' or 'clumps', got {structure!r}")
    half = int(np.ceil(5 * r_eff)) if half_size is None else int(half_size)
    stamp = draw_galaxy(r_eff, n, ellipticity, theta, offset, half, oversampling, structure, contrast=contrast,
                        arms=arms, pitch=pitch, seed=seed)
    return stamp / stamp.sum()


def draw_galaxy(r_eff, n, ellipticity, theta, offset, half, oversampling, structure=None, *, contrast=0.6, arms=2,
                pitch=0.35, seed=None):
    """Draw a galaxy as `make_galaxy`, without checks and not normalised."""
    x0, y0 = offset
    axis = np.arange(-half, half + 1, dtype=float)
    x, y = np.meshgrid(axis, axis)
    stamp = Sersic2D.evaluate(x, y, 1, r_eff, n, x0, y0, ellipticity, theta)
    if oversampling > 1:
        _average_core(stamp, half, oversampling, r_eff, n, x0, y0, ellipticity, theta)
    if structure:
        rng = np.random.default_rng(seed)
        if structure == 'spiral':
            along = (x - x0) * np.cos(theta) + (y - y0) * np.sin(theta)
            across = ((y - y0) * np.cos(theta) - (x - x0) * np.sin(theta)) / (1 - ellipticity)
            stamp *= _spiral(np.hypot(along, across) / r_eff, np.arctan2(across, along), arms, pitch, contrast, rng)
        else:
            stamp *= np.exp(contrast * _random_field(rng, stamp.shape, rng.uniform(1.5, 3)))
    return stamp


def _average_core(stamp, half, oversampling, r_eff, n, x0, y0, ellipticity, theta):
    """Replace the innermost samples, in place, by averages over finer points."""
    core = min(2, half)
    fine = (np.arange((2 * core + 1) * oversampling) + 0.5) / oversampling - core - 0.5
    # Around the sample with the centre.
    ix, iy = (int(np.clip(round(c), core - half, half - core)) for c in (x0, y0))
    x, y = np.meshgrid(fine + ix - x0, fine + iy - y0)
    # A point may fall on the cusp, whose value does not represent an area: move it to the radius that has the mean
    # over its area.
    x[np.hypot(x, y) < 1e-9] = 1e-9
    away = np.maximum(0.35 / (oversampling * np.hypot(x, y)), 1)
    points = Sersic2D.evaluate(x * away, y * away, 1, r_eff, n, 0, 0, ellipticity, theta)
    means = as_blocks(points, oversampling).mean(axis=(-3, -1))
    stamp[half + iy - core:half + iy + core + 1, half + ix - core:half + ix + core + 1] = means


def _spiral(r, angle, arms, pitch, contrast, rng):
    """Return logarithmic arms of mean 1 at each radius that begin outside the bulge."""
    phase = arms * (angle - np.log(np.maximum(r, 1e-3)) / np.tan(pitch)) + rng.uniform(0, 2 * np.pi)
    # Narrow arms and wide gaps; the mean of exp(c cos) over the circle is I0(c).
    sharpness = rng.uniform(0.5, 2)
    wave = np.exp(sharpness * np.cos(phase)) / np.i0(sharpness) - 1
    return np.maximum(1 + contrast * wave * (1 - np.exp(-(r / 0.4) ** 2)), 0)


def visible_radius(flux, r_eff, n, limit):
    """Return the radius in units of r_eff at which a Sersic profile of a given flux falls below a limit."""
    # b from Ciotti & Bertin (1999, A&A 352, 447), accurate to 1e-3 above n = 0.5.
    b = 2 * n - 1 / 3 + 4 / (405 * n)
    # The total flux over I_e r_eff**2 is near 4 pi n / b for 1 <= n <= 4, within a factor of two.
    ratio = max(flux * b / (4 * np.pi * n * r_eff ** 2) / limit, 1e-3)
    return max(1 + np.log(ratio) / b, 0.0) ** n
