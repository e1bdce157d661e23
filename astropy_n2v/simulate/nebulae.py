# Licensed under a 3-clause BSD style license - see LICENSE
"""
Diffuse light: nebulosity with a power-law spectrum, filaments, gradients.
"""

import numpy as np
from scipy.ndimage import gaussian_filter

__all__ = ['make_filaments', 'make_gradient', 'make_nebula']


def _random_field(rng, shape, index):
    """Draw a Gaussian random field of unit variance with power spectrum k**-index."""
    ky = np.fft.fftfreq(2 * shape[0])[:, None]
    kx = np.fft.rfftfreq(2 * shape[1])[None, :]
    k = np.hypot(ky, kx)
    k[0, 0] = np.inf
    # Twice the size of the frame, so that opposite edges do not match.
    spectrum = np.fft.rfft2(rng.standard_normal((2 * shape[0], 2 * shape[1]))) * k ** (-index / 2)
    image = np.fft.irfft2(spectrum, s=(2 * shape[0], 2 * shape[1]))[:shape[0], :shape[1]]
    return (image - image.mean()) / image.std()


def make_nebula(shape, *, amplitude=1.0, index=3.0, contrast=0.8, seed=None):
    """
    Make nebulosity: the exponential of a Gaussian random field with a power-law spectrum.

    Column densities of turbulent gas are close to log-normal, and power spectra of Galactic
    cirrus and HII regions have indices between about 2.5 and 3.8 (e.g. Miville-Deschenes et
    al. 2010, A&A 518, L104; Federrath et al. 2010, A&A 512, A81).

    Parameters
    ----------
    shape : tuple of int
        Height and width in pixels.
    amplitude : float, optional
        Mean brightness, in electrons per pixel.
    index : float, optional
        Index of the power spectrum of the logarithm: power goes as k**-index.
    contrast : float, optional
        Standard deviation of the natural logarithm of the brightness.
    seed : int or `~numpy.random.Generator`, optional
        Seed of the field.

    Returns
    -------
    `~numpy.ndarray`
        Brightness of shape ``shape``, everywhere positive, with mean ``amplitude``.

    Raises
    ------
    ValueError
        If ``amplitude`` or ``contrast`` is negative.

    Examples
    --------
    >>> from astropy_n2v.simulate import make_nebula
    >>> float(make_nebula((32, 32), amplitude=50.0, seed=1).mean())
    50.0
    """
    _check_not_negative(amplitude=amplitude, contrast=contrast)
    cloud = np.exp(contrast * _random_field(np.random.default_rng(seed), shape, index))
    return amplitude * cloud / cloud.mean()


def make_filaments(shape, *, amplitude=1.0, width=4.0, n=2, index=4.5, seed=None):
    """
    Make filaments: ridges of constant width along the level lines of random fields.

    The profile across a filament is Plummer-like, (1 + (d / width)**2)**((1 - p) / 2), as in
    Arzoumanian et al. (2011, A&A 529, L6), who find p = 1.5 to 2.5. Here p is 3.5, so that
    filaments stand out, since diffuse light around them is for `make_nebula`.

    Parameters
    ----------
    shape : tuple of int
        Height and width in pixels.
    amplitude : float, optional
        Brightness of the brightest ridge, in electrons per pixel.
    width : float, optional
        Half width of a filament in pixels.
    n : int, optional
        Number of fields whose level lines are drawn.
    index : float, optional
        Index of the power spectrum of the fields; filaments are straighter if it is large.
    seed : int or `~numpy.random.Generator`, optional
        Seed of the fields.

    Returns
    -------
    `~numpy.ndarray`
        Brightness of shape ``shape``, not negative, at most ``amplitude``.

    Raises
    ------
    ValueError
        If ``amplitude`` is negative or ``width`` is not positive.

    Examples
    --------
    >>> from astropy_n2v.simulate import make_filaments
    >>> float(make_filaments((32, 32), amplitude=20.0, seed=1).max())
    20.0
    """
    _check_not_negative(amplitude=amplitude)
    _check_positive(width=width)
    rng = np.random.default_rng(seed)
    image = np.zeros(shape)
    for _ in range(n):
        # A field that is rough on the scale of a filament has no smooth level lines.
        field = gaussian_filter(_random_field(rng, shape, index), max(width, 1.5))
        slope_y, slope_x = np.gradient(field)
        slope = np.hypot(slope_y, slope_x)
        # To first order the distance from the level line; the slope is bounded where it vanishes.
        level = np.quantile(field, rng.uniform(0.25, 0.75))
        distance = np.abs(field - level) / np.hypot(slope, 0.5 * np.median(slope) + np.finfo(float).tiny)
        along = np.exp(1.2 * _random_field(rng, shape, 3.5))
        image += along / (1 + (distance / width) ** 2) ** 1.25
    return amplitude * image / image.max()


def make_gradient(shape, *, amplitude=1.0, curvature=0.0, seed=None):
    """
    Make a gradient of the background, as by the Moon, twilight or amplifier glow.

    Parameters
    ----------
    shape : tuple of int
        Height and width in pixels.
    amplitude : float, optional
        Difference between the brightest and the faintest pixel, in electrons.
    curvature : float, optional
        Weight of the quadratic part relative to the plane.
    seed : int or `~numpy.random.Generator`, optional
        Seed of the directions.

    Returns
    -------
    `~numpy.ndarray`
        Shape ``shape``, from 0 to ``amplitude``.

    Raises
    ------
    ValueError
        If ``amplitude`` is negative.

    Examples
    --------
    >>> from astropy_n2v.simulate import make_gradient
    >>> gradient = make_gradient((8, 9), amplitude=3.0, seed=0)
    >>> float(gradient.min()), float(gradient.max())
    (0.0, 3.0)
    """
    _check_not_negative(amplitude=amplitude)
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:shape[0], :shape[1]] / max(*shape, 2) - 0.5
    a, b, c, d, e = rng.uniform(-1, 1, 5)
    image = a * x + b * y + curvature * (c * x ** 2 + d * y ** 2 + e * x * y)
    image -= image.min()
    return amplitude * image / max(image.max(), np.finfo(float).tiny)


def _check_not_negative(**values):
    for name, value in values.items():
        if not value >= 0:
            raise ValueError(f'{name} must not be negative, got {value}')


def _check_positive(**values):
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f'{name} must be positive, got {value}')
