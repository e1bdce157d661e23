# Licensed under a 3-clause BSD style license - see LICENSE
"""
Trails, long-slit spectra, and discs of planets, the Sun and the Moon.
"""

import numpy as np
from scipy.ndimage import gaussian_filter1d

from .nebulae import _check_not_negative, _check_positive, _random_field

__all__ = ['make_disc', 'make_spectrum', 'make_trails']


def _log_uniform(rng, low, high):
    return np.exp(rng.uniform(np.log(low), np.log(high)))


def make_trails(shape, *, amplitude=1.0, width=1.0, n=1, seed=None):
    """
    Make trails of satellites, meteors and asteroids.

    Parameters
    ----------
    shape : tuple of int
        Height and width in pixels.
    amplitude : float, optional
        Brightness of the brightest trail, in electrons per pixel; the others are fainter by up to a factor of ten.
    width : float, optional
        Standard deviation of the profile across a trail, in pixels.
    n : int, optional
        Number of trails. Of three, one is shorter than the frame and one tumbles.
    seed : int or `~numpy.random.Generator`, optional
        Seed of all random numbers.

    Returns
    -------
    `~numpy.ndarray`
        Brightness of shape ``shape``, not negative.

    Raises
    ------
    ValueError
        If ``amplitude`` is negative or ``width`` is not positive.

    Examples
    --------
    >>> from astropy_n2v.simulate import make_trails
    >>> trails = make_trails((64, 64), amplitude=5.0, seed=1)
    >>> bool((trails > 1).sum() < 400)
    True
    """
    _check_not_negative(amplitude=amplitude)
    _check_positive(width=width)
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:shape[0], :shape[1]].astype(float)
    image = np.zeros(shape)
    for i in range(n):
        angle = rng.uniform(0, np.pi)
        along = (x - rng.uniform(0, shape[1])) * np.cos(angle) + (y - rng.uniform(0, shape[0])) * np.sin(angle)
        across = (y - rng.uniform(0, shape[0])) * np.cos(angle) - (x - rng.uniform(0, shape[1])) * np.sin(angle)
        trail = np.exp(-0.5 * (across / width) ** 2)
        if rng.uniform() < 1 / 3:
            half = 0.5 * _log_uniform(rng, 6 * width, max(shape) + 6 * width)
            trail *= 1 / (1 + np.exp(np.clip((np.abs(along) - half) / (0.6 * width), -50, 50)))
        if rng.uniform() < 1 / 3:
            trail *= 1 + rng.uniform(0, 1) * np.sin(2 * np.pi * along / _log_uniform(rng, 10, 200))
        image += (amplitude if i == 0 else amplitude * _log_uniform(rng, 0.1, 1)) * trail
    return image


def make_spectrum(shape, *, amplitude=1.0, width=2.0, n_lines=20, n_traces=3, seed=None):
    """
    Make a long-slit spectrum: sky lines across it, and traces of stars with their own lines along it.

    Parameters
    ----------
    shape : tuple of int
        Height and width in pixels; wavelength grows with one of them, drawn at random.
    amplitude : float, optional
        Brightness of the brightest line or trace, in electrons per pixel; others are up to 100 times fainter.
    width : float, optional
        Standard deviation of lines and of traces, in pixels.
    n_lines, n_traces : int, optional
        Number of lines of the sky and of traces.
    seed : int or `~numpy.random.Generator`, optional
        Seed of all random numbers.

    Returns
    -------
    `~numpy.ndarray`
        Brightness of shape ``shape``, not negative.

    Raises
    ------
    ValueError
        If ``amplitude`` is negative or ``width`` is not positive.

    Examples
    --------
    >>> from astropy_n2v.simulate import make_spectrum
    >>> make_spectrum((64, 48), amplitude=5.0, seed=1).shape
    (64, 48)
    """
    _check_not_negative(amplitude=amplitude)
    _check_positive(width=width)
    rng = np.random.default_rng(seed)
    flip = rng.uniform() < 0.5
    ny, nx = shape[::-1] if flip else shape
    y, x = np.mgrid[:ny, :nx].astype(float)
    v, u = y / ny - 0.5, x / nx - 0.5
    image = np.zeros((ny, nx))
    # All lines are inclined and bent a little, by the same amount.
    bent = x + rng.normal(0, 4) * v + rng.normal(0, 4) * v ** 2
    for _ in range(n_lines):
        image += _log_uniform(rng, 0.01, 1) * np.exp(-0.5 * ((bent - rng.uniform(-5, nx + 5)) / width) ** 2)
    for _ in range(n_traces):
        middle = rng.uniform(0, ny) + rng.normal(0, 4) * u + rng.normal(0, 4) * u ** 2
        own = width * rng.uniform(0.6, 1.6)
        light = np.exp(0.4 * gaussian_filter1d(rng.standard_normal(nx), 0.15 * nx) * np.sqrt(0.5 * nx))
        for _ in range(int(rng.integers(0, 12))):
            # Absorption lines, or emission lines.
            depth = rng.uniform(-0.9, 0) if rng.uniform() < 0.7 else _log_uniform(rng, 0.3, 10)
            light *= 1 + depth * np.exp(-0.5 * ((np.arange(nx) - rng.uniform(0, nx)) / width) ** 2)
        image += _log_uniform(rng, 0.01, 1) * light / light.max() * np.exp(-0.5 * ((y - middle) / own) ** 2)
    image *= amplitude / max(image.max(), np.finfo(float).tiny)
    return image.T if flip else image


def make_disc(shape, *, amplitude=1.0, contrast=0.1, seed=None):
    """
    Make the disc of a planet, the Sun or the Moon, or the edge of one: darkened to the limb, with bands and spots.

    The limb is darkened as a power of the cosine of the angle of emergence (Hestroffer 1997, A&A 327, 199).

    Parameters
    ----------
    shape : tuple of int
        Height and width in pixels.
    amplitude : float, optional
        Brightness of the brightest part, in electrons per pixel.
    contrast : float, optional
        Standard deviation of the surface features, relative to the brightness.
    seed : int or `~numpy.random.Generator`, optional
        Seed of all random numbers.

    Returns
    -------
    `~numpy.ndarray`
        Brightness of shape ``shape``, not negative; zero outside of the disc.

    Raises
    ------
    ValueError
        If ``amplitude`` or ``contrast`` is negative.

    Examples
    --------
    >>> from astropy_n2v.simulate import make_disc
    >>> disc = make_disc((64, 64), amplitude=50.0, seed=1)
    >>> float(disc.min()), float(disc.max())
    (0.0, 50.0)
    """
    _check_not_negative(amplitude=amplitude, contrast=contrast)
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:shape[0], :shape[1]].astype(float)
    radius = _log_uniform(rng, 0.1, 1.5) * max(shape)
    # The frame shows the edge of a large disc.
    angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0, 1) * max(radius, 0.5 * min(shape))
    y, x = y - 0.5 * shape[0] - distance * np.sin(angle), x - 0.5 * shape[1] - distance * np.cos(angle)
    turn = rng.uniform(0, np.pi)
    pole = (y * np.cos(turn) - x * np.sin(turn)) / (radius * rng.uniform(0.9, 1.0))
    equator = (x * np.cos(turn) + y * np.sin(turn)) / radius
    height = np.sqrt(np.clip(1 - pole ** 2 - equator ** 2, 0, None))
    bands = gaussian_filter1d(rng.standard_normal(200), _log_uniform(rng, 1.5, 8))
    surface = np.interp(pole, np.linspace(-1, 1, 200), bands / bands.std()) * rng.uniform(0, 1)
    surface += _random_field(rng, shape, rng.uniform(2, 3.5))
    image = height ** rng.uniform(0, 0.8) * (height > 0) * np.exp(contrast * surface)
    if rng.uniform() < 0.3:
        # A phase that is not full, unless nothing would be left in the frame.
        light = np.clip(3 * (equator + rng.uniform(-0.7, 0.9)), 0, 1)
        image *= light if np.any(light * image) else 1
    return amplitude * image / max(image.max(), np.finfo(float).tiny)
