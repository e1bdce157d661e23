# Licensed under a 3-clause BSD style license - see LICENSE
"""
What a detector makes of a scene: photon noise, read noise, defects.
"""

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData

__all__ = ['add_cosmic_rays', 'observe']


def add_cosmic_rays(image, n, *, amplitude=1000.0, seed=None):
    """
    Add cosmic-ray hits: short, straight tracks without a point-spread function.

    Parameters
    ----------
    image : `~numpy.ndarray`
        Image of shape (ny, nx); it is not modified.
    n : int
        Number of hits.
    amplitude : float, optional
        Median charge of a hit, in the unit of the image; hits scatter log-normally by a
        factor of three around it.
    seed : int or `~numpy.random.Generator`, optional
        Seed of positions, directions and charges.

    Returns
    -------
    image : `~numpy.ndarray`
        Image with hits, float64.
    mask : `~numpy.ndarray`
        Boolean, True where a hit left charge.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.simulate import add_cosmic_rays
    >>> image, mask = add_cosmic_rays(np.zeros((32, 32)), 3, seed=0)
    >>> bool((image[mask] > 0).all())
    True
    """
    rng = np.random.default_rng(seed)
    hits = np.zeros(image.shape)
    for _ in range(n):
        length = rng.exponential(4) + 0.1
        angle = rng.uniform(0, np.pi)
        steps = np.linspace(0, 1, int(4 * length) + 1)
        y = np.floor(rng.uniform(0, image.shape[0]) + steps * length * np.sin(angle)).astype(int)
        x = np.floor(rng.uniform(0, image.shape[1]) + steps * length * np.cos(angle)).astype(int)
        inside = (y >= 0) & (y < image.shape[0]) & (x >= 0) & (x < image.shape[1])
        np.add.at(hits, (y[inside], x[inside]), amplitude * rng.lognormal(0, np.log(3)) / len(steps))
    return image + hits, hits > 0


def observe(truth, *, gain=1.0, readnoise=0.0, bias=0.0, cosmic_rays=0, hot_pixels=0, satlevel=None, seed=None):
    """
    Observe a scene: Poisson noise of its electrons, read noise, and defects of the detector.

    Parameters
    ----------
    truth : array_like
        Expected number of electrons in each pixel, shape (ny, nx), not negative.
    gain : float, optional
        Electrons per adu.
    readnoise : float, optional
        Read noise in electrons (Gaussian).
    bias : float, optional
        Pedestal in adu.
    cosmic_rays : int, optional
        Number of cosmic-ray hits.
    hot_pixels : int, optional
        Number of pixels with additional charge.
    satlevel : float, optional
        Level in adu at which pixels saturate, bias included.
    seed : int or `~numpy.random.Generator`, optional
        Seed of the noise.

    Returns
    -------
    `~astropy.nddata.CCDData`
        The noisy frame, float32, in adu, or in electrons if ``gain`` is 1 and ``bias`` 0;
        header cards GAIN and RDNOISE hold what was used.

    Raises
    ------
    ValueError
        If ``truth`` is negative somewhere, ``gain`` is not positive or ``readnoise`` is
        negative.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.simulate import observe
    >>> ccd = observe(np.full((32, 32), 100.0), gain=2.0, readnoise=3.0, bias=500, seed=0)
    >>> ccd.unit
    Unit("adu")
    """
    truth = np.asarray(truth, dtype=float)
    if not gain > 0:
        raise ValueError(f'gain must be positive, got {gain}')
    if not readnoise >= 0:
        raise ValueError(f'readnoise must not be negative, got {readnoise}')
    if truth.min() < 0:
        raise ValueError(f'truth must not be negative, got a minimum of {truth.min()}')
    rng = np.random.default_rng(seed)
    electrons = rng.poisson(truth) + rng.normal(0, 1, truth.shape) * readnoise
    sigma = np.sqrt(np.median(truth) + readnoise ** 2)
    if cosmic_rays:
        electrons, _ = add_cosmic_rays(electrons, cosmic_rays, amplitude=100 * sigma, seed=rng)
    if hot_pixels:
        y, x = rng.integers(0, truth.shape[0], hot_pixels), rng.integers(0, truth.shape[1], hot_pixels)
        electrons[y, x] += sigma * 10 ** rng.uniform(1, 3, hot_pixels)
    data = electrons / gain + bias
    if satlevel is not None:
        data = np.minimum(data, satlevel)
    unit = u.electron if gain == 1 and bias == 0 else u.adu
    ccd = CCDData(data.astype(np.float32), unit=unit, header=fits.Header())
    ccd.header['GAIN'] = (float(gain), '[electron/adu] gain')
    ccd.header['RDNOISE'] = (float(readnoise), '[electron] read noise')
    return ccd
