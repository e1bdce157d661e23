# Licensed under a 3-clause BSD style license - see LICENSE
"""
Scenes that the package's own simulator did not make: ``python benchmarks/other_scenes.py``.

Their stars, galaxies and nebulae are those of photutils, astropy.modeling and numpy, with point-spread functions,
numbers and luminosities that have nothing to do with `astropy_n2v.simulate`. Noise of photons and read-out is added
as it is to the real images of ``real_scenes.py``: on a bright and on a dark sky.

Writes ``results/other_scenes.csv``.
"""

import numpy as np
from astropy.modeling.models import Sersic2D
from common import Frame, Recorder, parse
from photutils.datasets import make_100gaussians_image, make_model_image, make_model_params
from photutils.psf import AiryDiskPSF, CircularGaussianPRF, MoffatPSF
from quality import compare
from real_scenes import METHODS, NOISE
from scipy.ndimage import gaussian_filter

from astropy_n2v.simulate import Scene, make_psf

__all__ = ['SCENES', 'main', 'observe']

_SIZE = 400
_Y, _X = np.mgrid[:_SIZE, :_SIZE] / _SIZE - 0.5


def _stars(model, n, flux, size, **parameters):
    """Stars of uniformly distributed fluxes."""
    table = make_model_params((_SIZE, _SIZE), n, x_0=(0, _SIZE), y_0=(0, _SIZE), flux=flux, seed=n, **parameters)
    return make_model_image((_SIZE, _SIZE), model, table, model_shape=(size, size))


def _few_stars():
    return _stars(CircularGaussianPRF(fwhm=4), 100, (10, 600), 35)


def _galaxies():
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:_SIZE, :_SIZE]
    image = np.zeros((_SIZE, _SIZE))
    for _ in range(60):
        image += Sersic2D(amplitude=rng.uniform(0.3, 10), r_eff=rng.uniform(3, 25), n=rng.uniform(0.7, 4),
                          x_0=rng.uniform(0, _SIZE), y_0=rng.uniform(0, _SIZE), ellip=rng.uniform(0, 0.7),
                          theta=rng.uniform(0, np.pi))(x, y)
    return gaussian_filter(image, 1.3)


def _cirrus(index, amplitude):
    """A Gaussian random field, periodic."""
    k = np.hypot(np.fft.fftfreq(_SIZE)[:, None], np.fft.rfftfreq(_SIZE)[None])
    k[0, 0] = np.inf
    white = np.fft.rfft2(np.random.default_rng(7).normal(size=(_SIZE, _SIZE)))
    field = gaussian_filter(np.fft.irfft2(white * k ** (-index / 2), s=(_SIZE, _SIZE)), 1.2, mode='wrap')
    return amplitude * (field - field.min()) / field.std()


def _trail():
    across = _SIZE * (_Y - 0.37 * _X) / np.hypot(1, 0.37)
    return _few_stars() + 3 * np.exp(-0.5 * (across / 1.3) ** 2)


def _long_slit():
    rng = np.random.default_rng(3)
    lines = sum(rng.uniform(1, 30) * np.exp(-0.5 * (_SIZE * (_X - rng.uniform(-0.5, 0.5)) / 2) ** 2)
                for _ in range(25))
    return lines + 20 * np.exp(-0.5 * (_SIZE * (_Y - 0.1 * _X ** 2) / 2.5) ** 2) * (1 + 0.3 * np.sin(44 * _X))


def _planet():
    radius2 = (_X ** 2 + _Y ** 2) / 0.3 ** 2
    return gaussian_filter(60 * np.sqrt(np.clip(1 - radius2, 0, 1)) * (1 + 0.1 * np.sin(70 * _Y)), 1.2)


#: What is shown, above the sky and in units of its noise.
SCENES = {
    '100 Gaussians': lambda: (make_100gaussians_image(noise=False) - 5) / 2,
    'Gaussian stars': lambda: _stars(CircularGaussianPRF(fwhm=2.7), 300, (10, 600), 25),
    'Moffat stars': lambda: _stars(MoffatPSF(alpha=3, beta=2.5), 400, (15, 3000), 61),
    'Airy discs': lambda: _stars(AiryDiskPSF(), 60, (200, 8000), 101, radius=(6, 12)),
    'oversampled stars': lambda: _stars(CircularGaussianPRF(fwhm=12), 40, (200, 20000), 81),
    'Sersic galaxies': _galaxies,
    'slope': lambda: _few_stars() + 20 * (_X + 0.5 * _Y + 0.75),
    'vignetting': lambda: _few_stars() + 20 * (0.5 - _X ** 2 - _Y ** 2),
    'cirrus, k**-3': lambda: _cirrus(3.0, 10.0),
    'cirrus, k**-4': lambda: _cirrus(4.0, 10.0),
    'weak cirrus, k**-2.5': lambda: _cirrus(2.5, 0.5),
    'trail': _trail,
    'long slit': _long_slit,
    'planet': _planet,
    'nothing': lambda: np.zeros((_SIZE, _SIZE)),
}


def observe(name, noise):
    """Observe a scene with the noise of a sky."""
    sky, readnoise = NOISE[noise]
    truth = np.maximum(sky + SCENES[name]() * np.sqrt(sky + readnoise ** 2), 0)
    scene = Scene(truth, sky, readnoise, make_psf(2.5), None, 'other')
    return Frame(scene.observe(seed=1), scene.noise, scene.psf, scene)


def main(argv=None):
    arguments = parse(__doc__, argv, methods=METHODS, choices={'scenes': SCENES})
    compare((({'image': name, 'noise': noise}, observe(name, noise)) for name in arguments.scenes for noise in NOISE),
            arguments.methods, Recorder('other_scenes'))


if __name__ == '__main__':
    main()
