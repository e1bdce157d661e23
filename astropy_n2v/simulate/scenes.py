# Licensed under a 3-clause BSD style license - see LICENSE
"""
Scenes whose truth is known: stars, galaxies, nebulosity and sky.

Everything is drawn on a finer grid, convolved there with the point-spread function and
binned to pixels, so that pixels integrate the light that falls on them.
"""

from dataclasses import dataclass, field

import numpy as np
from astropy.convolution import discretize_model
from astropy.modeling.models import AiryDisk2D, Gaussian2D, Moffat2D, Sersic2D
from astropy.table import Table
from scipy.signal import fftconvolve

__all__ = ['SCENE_KINDS', 'Scene', 'make_psf', 'make_scene', 'random_scene']

_MARGIN = 24   # pixels around the frame in which sources are drawn, too: their light falls in
_HALF_PSF = 48   # half size, in pixels, of the stamp of a point-spread function


@dataclass
class Scene:
    """
    A noise-free scene and what is needed to observe it.

    Parameters
    ----------
    truth : `~numpy.ndarray`
        Expected number of electrons in each pixel, sky included, shape (ny, nx).
    sky : float
        The part of ``truth`` that is uniform sky, in electrons.
    readnoise : float
        Read noise in electrons.
    psf : `~numpy.ndarray`
        The point-spread function on the pixels of the scene, sum 1.
    catalog : `~astropy.table.Table`
        Sources with columns ``kind`` ('star' or 'galaxy'), ``x``, ``y`` (pixels, 0 the
        centre of the first pixel) and ``flux`` (electrons).
    kind : str
        What the scene shows.
    """

    truth: np.ndarray
    sky: float
    readnoise: float
    psf: np.ndarray
    catalog: Table = field(repr=False)
    kind: str = 'custom'

    @property
    def noise(self):
        """The `~astropy_n2v.NoiseModel` that holds exactly for this scene, in electrons."""
        from ..noise import NoiseModel
        return NoiseModel(self.readnoise, gain=1.0)

    def observe(self, seed=None, **kwargs):
        """
        Observe the scene once: see `~astropy_n2v.simulate.observe`.

        Parameters
        ----------
        seed : int or `~numpy.random.Generator`, optional
            Seed of the noise.
        **kwargs
            Further keywords of `~astropy_n2v.simulate.observe`.

        Returns
        -------
        `~astropy.nddata.CCDData`
            The noisy frame.
        """
        from .detector import observe
        return observe(self.truth, readnoise=self.readnoise, seed=seed, **kwargs)


def make_psf(fwhm, *, kind='moffat', beta=3.0, ellipticity=0.0, theta=0.0, oversampling=1, half_size=_HALF_PSF):
    """
    Make the image of a point source, normalised to sum 1.

    Parameters
    ----------
    fwhm : float
        Full width at half maximum in pixels (of the major axis for an elliptical one).
    kind : {'moffat', 'gaussian', 'airy'}, optional
        The profile.
    beta : float, optional
        Power index of the Moffat profile.
    ellipticity : float, optional
        One minus the ratio of the axes, in [0, 1); not for 'airy'.
    theta : float, optional
        Position angle of the major axis in radians, from the x axis.
    oversampling : int, optional
        Number of samples along a pixel.
    half_size : int, optional
        Half the size of the stamp in pixels.

    Returns
    -------
    `~numpy.ndarray`
        Stamp of odd size ``2 * half_size * oversampling + 1``.

    Raises
    ------
    ValueError
        If ``fwhm`` is not positive or ``kind`` is unknown.

    Examples
    --------
    >>> from astropy_n2v.simulate import make_psf
    >>> psf = make_psf(3.0, half_size=12)
    >>> psf.shape
    (25, 25)
    """
    if not fwhm > 0:
        raise ValueError(f'fwhm must be positive, got {fwhm}')
    if not 0 <= ellipticity < 1:
        raise ValueError(f'ellipticity must be in [0, 1), got {ellipticity}')
    half = half_size * oversampling
    y, x = np.mgrid[-half:half + 1, -half:half + 1] / oversampling
    major = x * np.cos(theta) + y * np.sin(theta)
    minor = (y * np.cos(theta) - x * np.sin(theta)) / (1 - ellipticity)
    if kind == 'moffat':
        psf = Moffat2D.evaluate(major, minor, 1.0, 0.0, 0.0, fwhm / (2 * np.sqrt(2 ** (1 / beta) - 1)), beta)
    elif kind == 'gaussian':
        sigma = fwhm / np.sqrt(8 * np.log(2))
        psf = Gaussian2D.evaluate(major, minor, 1.0, 0.0, 0.0, sigma, sigma, 0.0)
    elif kind == 'airy':
        # The first zero of the Airy pattern is at 1.1857 FWHM.
        psf = AiryDisk2D(1.0, 0.0, 0.0, 1.1857 * fwhm)(major, minor)
    else:
        raise ValueError(f"kind must be 'moffat', 'gaussian' or 'airy', got {kind!r}")
    return psf / psf.sum()


class _Canvas:
    """A finely sampled field that collects sources before the point-spread function acts."""

    def __init__(self, shape, fwhm):
        self.shape = shape
        self.oversampling = 5 if fwhm < 1.5 else 3 if fwhm < 4 else 2
        self.fine = np.zeros([(n + 2 * _MARGIN) * self.oversampling for n in shape])
        self.rows = []

    def random_positions(self, rng, n):
        y = rng.uniform(-_MARGIN, self.shape[0] - 1 + _MARGIN, n)
        x = rng.uniform(-_MARGIN, self.shape[1] - 1 + _MARGIN, n)
        return x, y

    def _fine(self, position):
        return (np.asarray(position) + _MARGIN + 0.5) * self.oversampling - 0.5

    def add_stars(self, x, y, flux):
        fx, fy = self._fine(x), self._fine(y)
        ix, iy = np.floor(fx).astype(int), np.floor(fy).astype(int)
        for dy in (0, 1):
            for dx in (0, 1):
                weight = np.abs(1 - dx - (fx - ix)) * np.abs(1 - dy - (fy - iy))
                inside = ((0 <= ix + dx) & (ix + dx < self.fine.shape[1]) & (0 <= iy + dy)
                          & (iy + dy < self.fine.shape[0]))
                np.add.at(self.fine, (iy[inside] + dy, ix[inside] + dx), (flux * weight)[inside])
        self.rows += [('star', *row) for row in zip(x, y, flux)]

    def add_galaxy(self, x, y, flux, r_eff, n, ellipticity, theta):
        step = self.oversampling
        half = int(min(8 * r_eff, 80) * step) + 1
        cx, cy = float(self._fine(x)), float(self._fine(y))
        ix, iy = int(round(cx)), int(round(cy))
        model = Sersic2D(amplitude=1, r_eff=r_eff * step, n=n, x_0=cx - ix, y_0=cy - iy, ellip=ellipticity,
                         theta=theta)
        stamp = discretize_model(model, (-half, half + 1), (-half, half + 1))
        total = stamp.sum()
        y0, x0 = iy - half, ix - half
        ys = slice(max(y0, 0), min(y0 + stamp.shape[0], self.fine.shape[0]))
        xs = slice(max(x0, 0), min(x0 + stamp.shape[1], self.fine.shape[1]))
        if ys.start < ys.stop and xs.start < xs.stop:
            self.fine[ys, xs] += flux / total * stamp[ys.start - y0:ys.stop - y0, xs.start - x0:xs.stop - x0]
        self.rows.append(('galaxy', x, y, flux))

    def render(self, **psf):
        """Convolve, bin and cut; return the image, the point-spread function and the catalogue."""
        step = self.oversampling
        kernel = make_psf(oversampling=step, **psf)
        image = fftconvolve(self.fine, kernel, mode='same')
        ny, nx = (n // step for n in image.shape)
        image = image.reshape(ny, step, nx, step).sum(axis=(1, 3))
        image = np.maximum(image[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN], 0)
        # The same binning, around the central sample.
        pad = (step - 1) // 2 + (step % 2 == 0)
        size = (2 * _HALF_PSF - 1) * step
        cut = kernel[step - pad:step - pad + size, step - pad:step - pad + size]
        stamp = cut.reshape(2 * _HALF_PSF - 1, step, 2 * _HALF_PSF - 1, step).sum(axis=(1, 3))
        catalog = Table(rows=self.rows or None, names=('kind', 'x', 'y', 'flux'), dtype=('U6', float, float, float))
        inside = ((catalog['x'] > -0.5) & (catalog['x'] < self.shape[1] - 0.5)
                  & (catalog['y'] > -0.5) & (catalog['y'] < self.shape[0] - 0.5))
        catalog = catalog[inside]
        catalog.sort('flux', reverse=True)
        catalog['flux'].unit = 'electron'
        return image, stamp / stamp.sum(), catalog


def _power_law(rng, n, low, high, index):
    """``n`` fluxes between ``low`` and ``high`` with N(>F) proportional to F**-index."""
    return low * (1 - rng.uniform(size=n) * (1 - (high / low) ** -index)) ** (-1 / index)


def _add_stars(canvas, rng, per_pixel, low, high, index):
    n = rng.poisson(per_pixel * np.prod([n + 2 * _MARGIN for n in canvas.shape]))
    canvas.add_stars(*canvas.random_positions(rng, n), _power_law(rng, n, low, high, index))


def _add_galaxies(canvas, rng, per_pixel, low, high, index, radii):
    n = rng.poisson(per_pixel * np.prod([n + 2 * _MARGIN for n in canvas.shape]))
    x, y = canvas.random_positions(rng, n)
    flux = _power_law(rng, n, low, high, index)
    r_eff = np.clip(rng.lognormal(np.log(radii), 0.5, n) * (flux / low) ** 0.15, 0.7, 40)
    for i in range(n):
        # A disc, now and then with a bulge, or an early type.
        theta, ellipticity = rng.uniform(0, np.pi), rng.uniform(0, 0.75)
        if rng.uniform() < 0.6:
            bulge = rng.uniform(0, 0.4)
            canvas.add_galaxy(x[i], y[i], flux[i] * (1 - bulge), r_eff[i], 1.0, ellipticity, theta)
            if bulge > 0.1:
                canvas.add_galaxy(x[i], y[i], flux[i] * bulge, r_eff[i] / 3, 2.0, ellipticity / 2, theta)
                # One source, not two: the catalogue has its total flux.
                del canvas.rows[-2:]
                canvas.rows.append(('galaxy', x[i], y[i], flux[i]))
        else:
            canvas.add_galaxy(x[i], y[i], flux[i], r_eff[i], rng.uniform(1.5, 4), ellipticity / 1.5, theta)


def _random_field(rng, shape, index):
    """A Gaussian random field of unit variance with power spectrum k**-index."""
    ky = np.fft.fftfreq(2 * shape[0])[:, None]
    kx = np.fft.rfftfreq(2 * shape[1])[None, :]
    k = np.hypot(ky, kx)
    k[0, 0] = np.inf
    # Twice the size of the frame, so that opposite edges do not match.
    spectrum = np.fft.rfft2(rng.standard_normal((2 * shape[0], 2 * shape[1]))) * k ** (-index / 2)
    image = np.fft.irfft2(spectrum, s=(2 * shape[0], 2 * shape[1]))[:shape[0], :shape[1]]
    return (image - image.mean()) / image.std()


def _nebula(rng, shape, amplitude, index=3.0, contrast=0.8):
    """Log-normal nebulosity: everywhere positive, filamentary where ``contrast`` is large."""
    cloud = np.exp(contrast * _random_field(rng, shape, index))
    return amplitude * cloud / cloud.mean()


#: The fixed kinds of `make_scene` and what they show.
SCENE_KINDS = {
    'survey': 'galaxies and stars as in a deep extragalactic survey: sky 200 electrons, read noise 5',
    'crowded': 'a dense star field: sky 150 electrons, read noise 5',
    'nebula': 'nebulosity with a power-law spectrum, and stars: sky 100 electrons, read noise 5',
    'low_counts': 'a survey field with 2 electrons of sky and read noise 3',
    'sky_limited': 'faint galaxies and stars on 5000 electrons of sky, read noise 5',
}


def make_scene(kind='survey', shape=(512, 512), *, seed=None):
    """
    Make a scene of one of the kinds in `SCENE_KINDS`.

    Parameters
    ----------
    kind : str, optional
        'survey', 'crowded', 'nebula', 'low_counts' or 'sky_limited'.
    shape : tuple of int, optional
        Height and width in pixels.
    seed : int or `~numpy.random.Generator`, optional
        Seed of positions, fluxes and shapes.

    Returns
    -------
    Scene
        Truth in electrons, catalogue and point-spread function.

    Raises
    ------
    ValueError
        If ``kind`` is unknown.

    Examples
    --------
    >>> from astropy_n2v.simulate import make_scene
    >>> scene = make_scene('survey', (64, 64), seed=1)
    >>> scene.truth.shape
    (64, 64)
    >>> ccd = scene.observe(seed=2)
    >>> ccd.unit
    Unit("electron")
    """
    if kind not in SCENE_KINDS:
        raise ValueError(f'kind must be one of {", ".join(map(repr, SCENE_KINDS))}, got {kind!r}')
    rng = np.random.default_rng(seed)
    fwhm = {'survey': 3.2, 'crowded': 3.0, 'nebula': 2.8, 'low_counts': 3.0, 'sky_limited': 3.5}[kind]
    sky, readnoise = {'survey': (200, 5), 'crowded': (150, 5), 'nebula': (100, 5), 'low_counts': (2, 3),
                      'sky_limited': (5000, 5)}[kind]
    sigma = np.sqrt(sky + readnoise ** 2)
    canvas = _Canvas(shape, fwhm)
    if kind == 'crowded':
        _add_stars(canvas, rng, 0.02, 2 * sigma, 5000 * sigma, 0.7)
    elif kind == 'nebula':
        _add_stars(canvas, rng, 0.001, 5 * sigma, 5000 * sigma, 0.6)
    else:
        _add_stars(canvas, rng, 0.0012, 3 * sigma, 1e4 * sigma, 0.55)
        _add_galaxies(canvas, rng, 0.0015, 10 * sigma, 5000 * sigma, 0.9, 2.2)
    image, psf, catalog = canvas.render(fwhm=fwhm, kind='moffat', beta=3.0, ellipticity=0.05, theta=0.6)
    if kind == 'nebula':
        image = image + _nebula(rng, shape, 10 * sigma)
    return Scene(image + sky, float(sky), float(readnoise), psf, catalog, kind)


def random_scene(shape=(256, 256), *, seed=None):
    """
    Draw a scene from the whole range of seeing, sampling, density, sky and read noise.

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

    Examples
    --------
    >>> from astropy_n2v.simulate import random_scene
    >>> random_scene((48, 64), seed=3).truth.shape
    (48, 64)
    """
    rng = np.random.default_rng(seed)
    sky = 10 ** (rng.uniform(-1.3, 0.7) if rng.uniform() < 0.3 else rng.uniform(0.7, 4))
    readnoise = 0.0 if rng.uniform() < 0.15 else 10 ** rng.uniform(-0.3, 1.2)
    sigma = np.sqrt(sky + readnoise ** 2)
    fwhm = rng.uniform(0.9, 1.8) if rng.uniform() < 0.2 else np.exp(rng.uniform(np.log(1.8), np.log(8)))
    canvas = _Canvas(shape, fwhm)
    draw = rng.uniform()
    stars = 0.5 * 10 ** rng.uniform(-3.5, -2.3)
    if draw < 0.25:
        stars = 10 ** rng.uniform(-2.5, -1)
    if draw < 0.97:
        brightest = 10 ** rng.uniform(2.5, 5) * sigma
        _add_stars(canvas, rng, stars, 1.5 * sigma, brightest, rng.uniform(0.4, 1.1))
    if 0.25 <= draw < 0.85:
        _add_galaxies(canvas, rng, 10 ** rng.uniform(-3.5, -2.5), 4 * sigma, 10 ** rng.uniform(2.5, 4.5) * sigma,
                      rng.uniform(0.6, 1.1), 10 ** rng.uniform(0, 0.7))
    kind = rng.choice(['moffat', 'gaussian', 'airy'], p=[0.65, 0.2, 0.15])
    image, psf, catalog = canvas.render(fwhm=fwhm, kind=kind, beta=rng.uniform(2.3, 5),
                                        ellipticity=rng.uniform(0, 0.25), theta=rng.uniform(0, np.pi))
    if rng.uniform() < 0.25:
        image = image + _nebula(rng, shape, 10 ** rng.uniform(-0.5, 1.7) * sigma, rng.uniform(2.5, 3.8),
                                rng.uniform(0.2, 1.2))
    if rng.uniform() < 0.3:
        y, x = np.mgrid[:shape[0], :shape[1]] / max(shape) - 0.5
        slope = sigma * 10 ** rng.uniform(-0.5, 1.0)
        gradient = slope * (rng.uniform(-1, 1) * x + rng.uniform(-1, 1) * y)
        image = image + gradient - gradient.min()
    return Scene(image + sky, float(sky), float(readnoise), psf, catalog, 'random')
