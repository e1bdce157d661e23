# Licensed under a 3-clause BSD style license - see LICENSE
"""
Scenes drawn from the whole range of what telescopes see.
"""

import numpy as np

from .canvas import Canvas
from .nebulae import make_filaments, make_gradient, make_nebula
from .populations import add_cluster, add_galaxies, add_globular, add_large_galaxy, add_luminous_stars
from .scenes import Scene

__all__ = ['RANDOM_FIELDS', 'random_scene']

#: The fields that `random_scene` draws from, and how often.
RANDOM_FIELDS = {
    'survey': 0.36,       # galaxies and stars
    'stars': 0.08,        # few stars
    'crowded': 0.15,      # many
    'globular': 0.04,
    'cluster': 0.06,      # of galaxies
    'galaxy': 0.05,       # a large one in the foreground of a survey field
    'nebula': 0.14,       # power-law nebulosity and stars
    'filaments': 0.05,    # filaments, most in nebulosity
    'bright_nebula': 0.03,   # nebulosity of hundreds of sigma
    'empty': 0.04,        # sky, or a few faint stars
}


def _log_uniform(rng, low, high):
    return np.exp(rng.uniform(np.log(low), np.log(high)))


def _random_psfs(rng, fwhm):
    """Keywords of one point-spread function or of two between which it varies."""
    kind = rng.choice(['moffat', 'gaussian', 'airy', 'pupil'], p=[0.62, 0.16, 0.08, 0.14])
    psf = {'fwhm': fwhm, 'kind': str(kind)}
    if kind == 'pupil':
        psf.update(obstruction=rng.uniform(0.1, 0.45), spikes=int(rng.choice([0, 4, 6], p=[0.2, 0.6, 0.2])),
                   spike_angle=rng.uniform(0, np.pi))
    elif kind in ('moffat', 'gaussian'):
        psf.update(beta=rng.uniform(2.2, 5), theta=rng.uniform(0, np.pi),
                   ellipticity=rng.uniform(0, 0.12) if rng.uniform() < 0.7 else rng.uniform(0, 0.4))
        if rng.uniform() < 0.15:
            psf.update(spikes=int(rng.choice([4, 6])), spike_angle=rng.uniform(0, np.pi),
                       spike_fraction=_log_uniform(rng, 0.003, 0.06))
    if 'theta' not in psf or rng.uniform() > 0.2:
        return [psf]
    other = {**psf, 'fwhm': fwhm * rng.uniform(0.85, 1.2), 'theta': psf['theta'] + rng.uniform(-0.8, 0.8),
             'ellipticity': min(psf['ellipticity'] + rng.uniform(0, 0.15), 0.5)}
    return [psf, other]


def _populate(canvas, rng, kind, sigma):
    """Stars and galaxies of a field."""
    area = np.prod(canvas.shape)
    low, brightest = _log_uniform(rng, 0.1, 2) * sigma, _log_uniform(rng, 300, 3e5) * sigma
    if kind == 'empty':
        if rng.uniform() < 0.6:
            add_luminous_stars(canvas, rng, _log_uniform(rng, 1e-5, 1e-3), low, 30 * sigma, 1.0, reference=3 * sigma)
        return
    density = {'crowded': (4e-3, 0.15), 'globular': (1e-4, 1e-2), 'nebula': (1e-4, 1e-2), 'filaments': (1e-4, 1e-2)}
    stars = _log_uniform(rng, *density.get(kind, (1.5e-4, 4e-3)))
    if 'nebula' in kind and rng.uniform() < 0.12:
        stars = 0
    add_luminous_stars(canvas, rng, stars, low, brightest, rng.uniform(0.4, 1.0), reference=3 * sigma)
    if kind == 'globular':
        add_globular(canvas, rng, _log_uniform(rng, 0.015, 0.3) * area, sigma, low, brightest, rng.uniform(0.5, 1.0))
    if kind == 'cluster':
        add_cluster(canvas, rng, sigma, richness=_log_uniform(rng, 2e-4, 1.2e-3) * area,
                    r_core=rng.uniform(0.06, 0.2) * min(canvas.shape))
    if kind == 'galaxy':
        for _ in range(int(rng.integers(1, 3))):
            add_large_galaxy(canvas, rng, sigma)
    if kind in ('survey', 'cluster', 'galaxy'):
        add_galaxies(canvas, rng, _log_uniform(rng, 3e-4, 4e-3), _log_uniform(rng, 1, 6) * sigma,
                     _log_uniform(rng, 300, 3e4) * sigma, rng.uniform(0.6, 1.1), _log_uniform(rng, 1, 5), sigma,
                     reference=10 * sigma)


def _diffuse(rng, shape, kind, sigma):
    """Nebulosity and filaments, or None."""
    image = None
    if 'nebula' in kind or (kind == 'filaments' and rng.uniform() < 0.7) or rng.uniform() < 0.06:
        low, high = {'nebula': (1.5, 60), 'bright_nebula': (60, 600), 'filaments': (0.5, 30)}.get(kind, (0.3, 10))
        image = make_nebula(shape, amplitude=_log_uniform(rng, low, high) * sigma, index=rng.uniform(2.5, 3.8),
                            contrast=rng.uniform(0.2, 1.5), seed=rng)
    if kind == 'filaments' or ('nebula' in kind and rng.uniform() < 0.25):
        ridges = make_filaments(shape, amplitude=_log_uniform(rng, 2, 300) * sigma, width=_log_uniform(rng, 1, 10),
                                n=int(rng.integers(1, 4)), index=rng.uniform(2.9, 3.9), seed=rng)
        image = ridges if image is None else image + ridges
    return image


def random_scene(shape=(256, 256), *, seed=None):
    """
    Draw a scene from the whole range of seeing, sampling, density, sky and read noise.

    Sky is log-uniform from 0.05 to 10\\ :sup:`4` electrons, read noise from 0 to 20 electrons,
    the width of the point-spread function from 0.9 to 8 pixels; luminosity functions reach far
    below the limit of detection. What the scene shows is drawn from `RANDOM_FIELDS`.

    Parameters
    ----------
    shape : tuple of int, optional
        Height and width in pixels.
    seed : int or `~numpy.random.Generator`, optional
        Seed of everything.

    Returns
    -------
    Scene
        Truth in electrons, catalogue and point-spread function.

    See Also
    --------
    random_observation : one with noise, defects and masks, too.

    Examples
    --------
    >>> from astropy_n2v.simulate import random_scene
    >>> random_scene((48, 64), seed=3).truth.shape
    (48, 64)
    """
    rng = np.random.default_rng(seed)
    sky = _log_uniform(rng, 0.05, 1e4)
    readnoise = 0.0 if rng.uniform() < 0.15 else _log_uniform(rng, 0.5, 20)
    sigma = np.sqrt(sky + readnoise ** 2)
    fwhm = rng.uniform(0.9, 1.8) if rng.uniform() < 0.2 else _log_uniform(rng, 1.8, 8)
    kind = str(rng.choice(list(RANDOM_FIELDS), p=list(RANDOM_FIELDS.values())))
    canvas = Canvas(shape, fwhm)
    _populate(canvas, rng, kind, sigma)
    diffuse = _diffuse(rng, shape, kind, sigma)
    # Light passes through the point-spread function, unless it is meant to have a pure power law.
    convolved = rng.uniform() < 0.6
    if diffuse is not None and convolved:
        canvas.add_diffuse(diffuse)
    image, stamps = canvas.render(psfs=_random_psfs(rng, fwhm))
    if diffuse is not None and not convolved:
        image = image + diffuse
    if rng.uniform() < 0.25:
        image = image + make_gradient(shape, amplitude=_log_uniform(rng, 0.2, 20) * sigma,
                                      curvature=rng.uniform(0, 2), seed=rng)
    return Scene(image + sky, float(sky), float(readnoise), sum(stamps) / len(stamps), canvas.catalog(), kind,
                 tuple(stamps) if len(stamps) > 1 else None)
