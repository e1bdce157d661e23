# Licensed under a 3-clause BSD style license - see LICENSE
"""
Populations of stars and galaxies: their numbers, fluxes and positions.
"""

import numpy as np

from .galaxies import draw_galaxy, visible_radius

# Galaxies fainter than this many sigma of the sky are copies of a few stamps, for speed.
_FAINT = 60
_TEMPLATES = 24
_MOST_STARS = 0.6   # stars per pixel, at most; fainter stars are a smooth background


def power_law(rng, n, low, high, index):
    """Draw ``n`` fluxes between ``low`` and ``high`` with N(>F) proportional to F**-index."""
    return low * (1 - rng.uniform(size=n) * (1 - (high / low) ** -index)) ** (-1 / index)


def add_stars(canvas, rng, per_pixel, low, high, index):
    """Add stars at random positions with a power-law luminosity function; ``per_pixel`` in all."""
    n = rng.poisson(per_pixel * canvas.area)
    canvas.add_stars(*canvas.random_positions(rng, n), power_law(rng, n, low, high, index))


def add_luminous_stars(canvas, rng, per_pixel, low, high, index, *, reference):
    """Add stars, ``per_pixel`` of them brighter than ``reference``, with fluxes down to ``low``."""
    low = max(low, reference * (per_pixel / _MOST_STARS) ** (1 / index))
    add_stars(canvas, rng, per_pixel * (reference / low) ** index, low, high, index)


def add_globular(canvas, rng, n, sigma, low, high, index):
    """Add a globular cluster: ``n`` stars whose surface density is a King (1962) profile."""
    height, width = canvas.shape
    core = min(canvas.shape) * rng.uniform(0.04, 0.15)
    limit = 12 * core
    n = rng.poisson(n)
    # Inverse of the cumulative number of 1 / (1 + (r / core)**2) out to the limit.
    r = core * np.sqrt((1 + (limit / core) ** 2) ** rng.uniform(size=n) - 1)
    angle = rng.uniform(0, 2 * np.pi, n)
    x0, y0 = rng.uniform(0.2, 0.8) * width, rng.uniform(0.2, 0.8) * height
    canvas.add_stars(x0 + r * np.cos(angle), y0 + r * np.sin(angle), power_law(rng, n, low, high, index))


def _components(rng):
    """Draw the components of a galaxy: a disc, sometimes with a bulge, or an early type."""
    theta, ellipticity = rng.uniform(0, np.pi), rng.uniform(0, 0.75)
    if rng.uniform() < 0.6:
        bulge = rng.uniform(0, 0.4)
        disc = [(1 - bulge, 1.0, 1.0, ellipticity, theta)]
        return disc + [(bulge, 3.0, 2.0, ellipticity / 2, theta)] if bulge > 0.1 else disc
    return [(1.0, 1.0, rng.uniform(1.5, 4), ellipticity / 1.5, theta)]


def _structure(rng):
    """Draw the structure of a disc of some size."""
    draw = rng.uniform()
    if draw < 0.4:
        return {'structure': 'spiral', 'contrast': rng.uniform(0.3, 1), 'arms': int(rng.integers(2, 5)),
                'pitch': rng.uniform(0.2, 0.5), 'seed': rng}
    if draw < 0.75:
        return {'structure': 'clumps', 'contrast': rng.uniform(0.3, 1.2), 'seed': rng}
    return {}


def add_galaxies(canvas, rng, per_pixel, low, high, index, radii, sigma=None, *, reference=None):
    """
    Add galaxies of a field, with a power-law luminosity function.

    Without ``sigma`` each is drawn separately, smooth, and ``per_pixel`` is their number. With ``sigma``, the noise
    of the sky, ``per_pixel`` is the number of galaxies brighter than ``reference``. They are then drawn to the
    radius where they are visible, large discs have structure, and faint galaxies are copies of a few.
    """
    if sigma is not None:
        per_pixel = per_pixel * (reference / low) ** index
    n = rng.poisson(per_pixel * canvas.area)
    x, y = canvas.random_positions(rng, n)
    flux = power_law(rng, n, low, high, index)
    r_eff = np.clip(rng.lognormal(np.log(radii), 0.5, n) * (flux / low) ** 0.15, 0.7, 40)
    bright = np.ones(n, dtype=bool)
    if sigma is not None:
        bright = flux > _FAINT * sigma
        _add_faint(canvas, rng, x[~bright], y[~bright], flux[~bright], r_eff[~bright], sigma)
    for i in np.flatnonzero(bright):
        components, limit, structure = _components(rng), None, {}
        if sigma is not None:
            limit = 0.02 * sigma
            if components[0][2] == 1.0 and r_eff[i] > 3:
                structure = _structure(rng)
        canvas.add_galaxy(x[i], y[i], flux[i], r_eff[i], components, limit=limit, **structure)


def _add_faint(canvas, rng, x, y, flux, r_eff, sigma):
    if not len(flux):
        return
    step = canvas.oversampling
    templates = []
    for radius in rng.choice(r_eff, min(_TEMPLATES, len(flux)), replace=False):
        stamp = 0
        components = _components(rng)
        radius = min(radius, 6.0)
        half = max(visible_radius(_FAINT * sigma, radius, c[2], 0.02 * sigma) * radius / c[1] for c in components)
        half = int(np.clip(half, 2.5 * radius, 25) * step) + 2
        for fraction, shrink, n, ellipticity, theta in components:
            part = draw_galaxy(radius / shrink * step, n, ellipticity, theta, rng.uniform(-0.5, 0.5, 2), half, 5)
            stamp = stamp + fraction * part / part.sum()
        templates.append(stamp)
    canvas.add_faint_galaxies(x, y, flux, templates)


def add_cluster(canvas, rng, sigma, *, richness, r_core):
    """
    Add a cluster of galaxies: a brightest one with a halo, early types around it.

    Members have a surface density 1 / (1 + (r / r_core)**2) and Schechter fluxes.
    """
    height, width = canvas.shape
    x0, y0 = rng.uniform(0.25, 0.75) * width, rng.uniform(0.25, 0.75) * height
    theta, ellipticity = rng.uniform(0, np.pi), rng.uniform(0.1, 0.5)
    bright = sigma * 10 ** rng.uniform(3, 4.5)
    limit = 0.02 * sigma
    # The brightest galaxy and the intracluster light.
    size = max(r_core * rng.uniform(0.2, 0.5), 1.5)
    canvas.add_galaxy(x0, y0, 3 * bright, size, [(1.0, 1.0, rng.uniform(2.5, 4), ellipticity, theta)], limit=limit)
    canvas.add_galaxy(x0, y0, 3 * bright * rng.uniform(0.2, 1), 4 * size, [(1.0, 1.0, 1.0, ellipticity, theta)],
                      limit=limit)
    n = rng.poisson(richness)
    r = r_core * np.sqrt(7.0 ** (2 * rng.uniform(size=n)) - 1)
    angle = rng.uniform(0, 2 * np.pi, n)
    x, y = x0 + r * np.cos(angle), y0 + (1 - ellipticity) * r * np.sin(angle)
    # A Schechter function with slope -1 is a power law with an exponential end.
    flux = bright * np.minimum(10 ** rng.uniform(-3, 0, n), rng.exponential(0.6, n) + 1e-3)
    for i in range(n):
        r_eff = float(np.clip(rng.lognormal(np.log(0.35 * size), 0.35) * (flux[i] / bright) ** 0.25, 0.7, 30))
        if rng.uniform() < 0.75:
            components = [(1.0, 1.0, rng.uniform(1.5, 4), rng.uniform(0, 0.5), rng.uniform(0, np.pi))]
        else:
            components = _components(rng)
        canvas.add_galaxy(x[i], y[i], flux[i], r_eff, components, limit=limit)


def add_large_galaxy(canvas, rng, sigma):
    """Add a galaxy of tens of pixels: bulge and disc with arms or clumps, or an early type."""
    height, width = canvas.shape
    x, y = rng.uniform(0.1, 0.9) * width, rng.uniform(0.1, 0.9) * height
    r_eff = np.exp(rng.uniform(np.log(6), np.log(0.25 * min(canvas.shape) + 6)))
    # Surface brightness of a few to hundreds of sigma.
    flux = sigma * r_eff ** 2 * 10 ** rng.uniform(0.7, 3.2)
    theta, ellipticity = rng.uniform(0, np.pi), rng.uniform(0, 0.7)
    if rng.uniform() < 0.25:
        canvas.add_galaxy(x, y, flux, r_eff, [(1.0, 1.0, rng.uniform(2, 4), ellipticity / 2, theta)],
                          limit=0.02 * sigma)
        return
    bulge = rng.uniform(0, 0.35)
    components = [(1 - bulge, 1.0, 1.0, ellipticity, theta),
                  (bulge, rng.uniform(4, 10), rng.uniform(1, 4), ellipticity / 3, theta)]
    canvas.add_galaxy(x, y, flux, r_eff, components, limit=0.02 * sigma, **_structure(rng))
    # Young clusters and HII regions along the disc are points; their light is added to the galaxy.
    n = rng.poisson(rng.uniform(0, 2) * r_eff)
    r, angle = r_eff / 1.68 * rng.gamma(2, size=n), rng.uniform(0, 2 * np.pi, n)
    along, across = r * np.cos(angle), (1 - ellipticity) * r * np.sin(angle)
    canvas.add_stars(x + along * np.cos(theta) - across * np.sin(theta),
                     y + along * np.sin(theta) + across * np.cos(theta),
                     power_law(rng, n, 0.5 * sigma, max(0.02 * flux, sigma), 0.8))
