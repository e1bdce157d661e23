# Licensed under a 3-clause BSD style license - see LICENSE
"""
Catalogues of artificial sources: where they lie, and what they are.
"""

import numpy as np
from astropy import units as u
from astropy.table import Table
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

from ...photometry.inputs import position_array
from ...utils.checks import require

__all__ = ['TooManySourcesError', 'draw_sources', 'injection_positions']


class TooManySourcesError(ValueError):
    """
    So many artificial sources do not fit on the frame.

    Examples
    --------
    >>> from astropy_n2v.validation import TooManySourcesError, injection_positions
    >>> try:
    ...     injection_positions((64, 64), 100, spacing=20)
    ... except TooManySourcesError as error:
    ...     print(type(error).__name__)
    TooManySourcesError
    """


def injection_positions(shape, n, *, spacing, mask=None, avoid=None, avoid_radius=None, border=0, seed=None):
    """
    Choose sub-pixel positions for artificial sources, on a jittered grid.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the frame in pixels.
    n : int
        Number of positions.
    spacing : float
        The smallest distance between two of them, in pixels. The grid has a pitch of 1.5 times
        that, a random origin, and each position moves by up to a quarter of ``spacing`` along
        each axis.
    mask : array_like of bool, optional
        True where no source may lie: bad pixels, or those that real sources cover.
    avoid : `~astropy.table.Table` or array_like, optional
        Positions of sources to keep away from (columns ``x`` and ``y``, or shape (n, 2)).
    avoid_radius : float, optional
        How far, in pixels; by default ``spacing``. From masked pixels half of that.
    border : float, optional
        Distance from the edges of the frame in pixels.
    seed : int or `~numpy.random.Generator`, optional
        Seed of the positions.

    Returns
    -------
    `~astropy.table.Table`
        ``x`` and ``y`` in pixels.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    TooManySourcesError
        If ``n`` positions do not fit.

    Examples
    --------
    >>> from astropy_n2v.validation import injection_positions
    >>> positions = injection_positions((200, 200), 30, spacing=15, seed=1)
    >>> len(positions)
    30
    """
    require(n >= 1, 'n', 'be at least 1', n)
    require(spacing > 0, 'spacing', 'be a positive number of pixels', spacing)
    rng = np.random.default_rng(seed)
    avoid_radius = spacing if avoid_radius is None else avoid_radius
    ny, nx = shape
    pitch, jitter = 1.5 * spacing, 0.25 * spacing
    require(min(ny, nx) - 1 - 2 * border >= 0, 'border', f'leave a part of the frame, {tuple(shape)}', border)
    axes = []
    for size in (ny, nx):
        length = size - 1 - 2 * border
        # As many columns as fit; what is left over is the play of the origin.
        count = max(1, int((length - 2 * jitter) // pitch) + 1)
        play = max(0.0, length - (count - 1) * pitch - 2 * jitter)
        axes.append(border + min(jitter, length / 2) + rng.uniform(0, play) + pitch * np.arange(count))
    y, x = (grid.ravel() for grid in np.meshgrid(*axes, indexing='ij'))
    allowed = _allowed_test(shape, mask, avoid, avoid_radius, border)
    place, found = np.stack([x, y], axis=1), np.zeros(x.size, dtype=bool)
    chosen = np.full(place.shape, np.nan)
    for _ in range(8):   # another jitter for those that hit something
        todo = np.flatnonzero(~found)
        trial = place[todo] + rng.uniform(-jitter, jitter, (todo.size, 2))
        good = allowed(trial)
        chosen[todo[good]], found[todo[good]] = trial[good], True
    if found.sum() < n:
        raise TooManySourcesError(
            f'n must be at most {found.sum()} for a frame of {tuple(shape)} with spacing={spacing:g}, '
            f'border={border:g} and what is to be avoided, got {n}')
    pick = rng.permutation(np.flatnonzero(found))[:n]
    return Table({'x': chosen[pick, 0] * u.pix, 'y': chosen[pick, 1] * u.pix})


def _allowed_test(shape, mask, avoid, avoid_radius, border):
    """Make the function of positions (n, 2) that allows those where sources may lie."""
    distance = None
    if mask is not None:
        mask = np.asarray(mask, dtype=bool)
        require(mask.shape == tuple(shape), 'mask', f'have the shape of the frame, {tuple(shape)}', mask.shape)
        if mask.any():
            distance = distance_transform_edt(~mask)
    others = None if avoid is None else position_array('avoid', avoid)
    tree = cKDTree(others) if others is not None and len(others) else None

    def allowed(xy):
        x, y = xy.T
        good = (x >= border) & (y >= border) & (x <= shape[1] - 1 - border) & (y <= shape[0] - 1 - border)
        if distance is not None:
            column = np.clip(np.rint(x), 0, shape[1] - 1).astype(int)
            row = np.clip(np.rint(y), 0, shape[0] - 1).astype(int)
            good &= distance[row, column] > avoid_radius / 2
        if tree is not None:
            good &= tree.query(xy)[0] > avoid_radius
        return good
    return allowed


def draw_sources(positions, magnitudes, *, zeropoint=0.0, galaxies=0.0, r_eff=(1.0, 5.0), unit=None, seed=None):
    """
    Draw the brightness and the shape of artificial sources.

    Parameters
    ----------
    positions : `~astropy.table.Table` or array_like
        Columns ``x`` and ``y``, or shape (n, 2), in pixels.
    magnitudes : tuple of float
        The brightest and the faintest; they are uniform between.
    zeropoint : float, optional
        Magnitude of a source of flux 1.
    galaxies : float, optional
        The fraction of galaxies, from 0 to 1; the others are stars.
    r_eff : tuple of float, optional
        Smallest and largest half-light radius of galaxies along the major axis, in pixels,
        uniform in the logarithm.
    unit : `~astropy.units.Unit`, optional
        Unit of the flux, and of the frame.
    seed : int or `~numpy.random.Generator`, optional
        Seed of everything.

    Returns
    -------
    `~astropy.table.Table`
        ``id``, ``kind`` ('star' or 'galaxy'), ``x``, ``y``, ``mag``, ``flux`` (total), and for
        galaxies ``r_eff``, ``sersic_n`` (1 or 4 with probabilities 0.7 and 0.3), ``ellipticity``
        and ``theta``; NaN for stars.

    Raises
    ------
    ValueError
        If ``magnitudes`` are not in order, or ``galaxies`` or ``r_eff`` are out of range.

    Examples
    --------
    >>> from astropy_n2v.validation import draw_sources
    >>> sources = draw_sources([[10, 12], [30, 7]], (20, 20.5), zeropoint=25, seed=0)
    >>> bool((sources['flux'] <= 100).all())
    True
    """
    xy = position_array('positions', positions)
    bright, faint = magnitudes
    if not (np.isfinite([bright, faint]).all() and bright <= faint):
        raise ValueError(f'magnitudes must be the brightest and the faintest, in this order, got {magnitudes}')
    require(0 <= galaxies <= 1, 'galaxies', 'be a fraction from 0 to 1', galaxies)
    require(0 < r_eff[0] <= r_eff[1], 'r_eff', 'be the smallest and the largest radius, positive', r_eff)
    rng, n = np.random.default_rng(seed), len(xy)
    mag = rng.uniform(bright, faint, n)
    galaxy = rng.uniform(size=n) < galaxies

    def only_galaxies(values):
        return np.where(galaxy, values, np.nan)
    table = Table({
        'id': np.arange(1, n + 1), 'kind': np.where(galaxy, 'galaxy', 'star'), 'x': xy[:, 0] * u.pix,
        'y': xy[:, 1] * u.pix, 'mag': mag * u.mag, 'flux': 10 ** (-0.4 * (mag - zeropoint)),
        'r_eff': only_galaxies(np.exp(rng.uniform(*np.log(r_eff), n))) * u.pix,
        'sersic_n': only_galaxies(np.where(rng.uniform(size=n) < 0.7, 1.0, 4.0)),
        'ellipticity': only_galaxies(rng.uniform(0, 0.7, n)), 'theta': only_galaxies(rng.uniform(0, np.pi, n)) * u.rad},
        meta={'zeropoint': float(zeropoint)})
    table['flux'].unit = unit
    return table
