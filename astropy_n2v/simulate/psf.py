# Licensed under a 3-clause BSD style license - see LICENSE
"""
Point-spread functions.
"""

import numpy as np
from astropy.modeling.models import AiryDisk2D, Gaussian2D, Moffat2D
from scipy.fft import fft2, next_fast_len
from scipy.ndimage import gaussian_filter
from scipy.special import expit

from ..utils.checks import check_integer

__all__ = ['make_psf']

_HALF_PSF = 48   # half size, in pixels, of the stamp of a point-spread function
# Wavelengths over which a broad filter averages, in units of the central one.
_BAND = (0.88, 0.96, 1.04, 1.12)
_JITTER = 0.1   # jitter of the pointing, in units of the FWHM


def make_psf(fwhm, *, kind='moffat', beta=3.0, ellipticity=0.0, theta=0.0, spikes=0, spike_angle=0.0,
             spike_fraction=0.02, vane_width=0.02, obstruction=0.3, oversampling=1, half_size=_HALF_PSF):
    """
    Make the image of a point source, normalised to sum 1.

    Parameters
    ----------
    fwhm : float
        Full width at half maximum in pixels (of the major axis for an elliptical one).
    kind : {'moffat', 'gaussian', 'airy', 'pupil'}, optional
        The profile: a model of `astropy.modeling`, or 'pupil', the diffraction pattern of a
        telescope with a central obstruction and the vanes of a spider over a broad filter.
    beta : float, optional
        Power index of the Moffat profile.
    ellipticity : float, optional
        One minus the ratio of the axes, in [0, 1); not for 'airy' and 'pupil'.
    theta : float, optional
        Position angle of the major axis in radians, from the x axis.
    spikes : int, optional
        Number of diffraction spikes: 4 for a spider of two crossed vanes, 6 for three. For
        'pupil' the vanes themselves diffract; to other profiles spikes are added.
    spike_angle : float, optional
        Direction of the first spike in radians, from the x axis.
    spike_fraction : float, optional
        Fraction of the light in spikes; not for 'pupil'.
    vane_width : float, optional
        Thickness of a vane in units of the aperture, in [0, 1); only for 'pupil'.
    obstruction : float, optional
        Diameter of the central obstruction in units of the aperture, in [0, 1); only for
        'pupil'.
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
        If ``fwhm`` is not positive, ``kind`` is unknown, ``spikes`` is odd or negative, or a
        fraction is outside its range.

    Examples
    --------
    >>> from astropy_n2v.simulate import make_psf
    >>> psf = make_psf(3.0, half_size=12)
    >>> psf.shape
    (25, 25)
    >>> spiked = make_psf(1.5, kind='pupil', spikes=4, half_size=24)
    >>> bool(spiked[24, 34:44].mean() > 2 * spiked[31, 31])
    True
    """
    if not fwhm > 0:
        raise ValueError(f'fwhm must be positive, got {fwhm}')
    for name, value in (('ellipticity', ellipticity), ('spike_fraction', spike_fraction),
                        ('vane_width', vane_width), ('obstruction', obstruction)):
        if not 0 <= value < 1:
            raise ValueError(f'{name} must be in [0, 1), got {value}')
    if spikes < 0 or spikes % 2:
        raise ValueError(f'spikes must be an even number, or 0, got {spikes}')
    for name, value in (('half_size', half_size), ('oversampling', oversampling)):
        check_integer(name, value, 1)
    half = half_size * oversampling
    if kind == 'pupil':
        return _diffract(fwhm * oversampling, half, obstruction, spikes, spike_angle, vane_width)
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
        raise ValueError(f"kind must be 'moffat', 'gaussian', 'airy' or 'pupil', got {kind!r}")
    psf = psf / psf.sum()
    if spikes and spike_fraction:
        psf = (1 - spike_fraction) * psf + spike_fraction * _lay_spikes(x, y, fwhm, half_size, spikes, spike_angle)
    return psf


def _lay_spikes(x, y, fwhm, half_size, spikes, angle):
    """Return narrow rays of sum 1, as wide as the seeing, that fall off as 1 / r**2 and end smoothly."""
    rays = np.zeros(x.shape)
    sigma = fwhm / np.sqrt(8 * np.log(2))
    for i in range(spikes // 2):
        direction = angle + 2 * np.pi * i / spikes
        along = x * np.cos(direction) + y * np.sin(direction)
        across = y * np.cos(direction) - x * np.sin(direction)
        rays += np.exp(-0.5 * (across / sigma) ** 2) / (1 + (along / (2.5 * fwhm)) ** 2)
    rays *= _taper(np.hypot(x, y), half_size)
    return rays / rays.sum()


def _taper(r, half_size):
    """Return 1 inside, decreasing to zero at the edge of the stamp, so that no edge is visible."""
    return 0.5 * (1 + np.cos(np.pi * np.clip(r / half_size * 2.5 - 1.5, 0, 1)))


def _pupil(diameter, obstruction, spikes, angle, vane_width):
    """Return the aperture with soft edges, of a diameter in samples, on the smallest grid that holds it."""
    half = int(diameter / 2) + 4
    y, x = np.mgrid[-half:half + 1, -half:half + 1]
    r = np.hypot(x, y)
    # Edges one sample wide, so that an aperture of any diameter can be drawn.
    pupil = expit(4 * (diameter / 2 - r))
    if obstruction:
        pupil -= expit(4 * (obstruction * diameter / 2 - r))
    vane = vane_width * diameter
    for i in range(spikes // 2):
        # A vane diffracts light across itself. One thinner than a sample dims the sample.
        direction = angle + 2 * np.pi * i / spikes
        distance = np.abs(x * np.cos(direction) + y * np.sin(direction))
        pupil *= 1 - min(1, vane) * np.clip(max(vane, 1) / 2 + 0.5 - distance, 0, 1)
    return pupil


def _diffract(fwhm, half, obstruction, spikes, angle, vane_width):
    """Return the diffraction pattern with ``fwhm`` samples, averaged over a filter; sum 1."""
    size = next_fast_len(max(2 * half + 2, int(30 * fwhm)), real=True)
    psf = np.zeros((2 * half + 1, 2 * half + 1))
    # Fitted to these patterns, jitter included: the obstruction makes the core narrower.
    resolution = fwhm / (1.025 - 0.388 * obstruction ** 1.756)
    centred = np.arange(-half, half + 1) % size
    for wavelength in _BAND:
        pupil = _pupil(size / (resolution * wavelength), obstruction, spikes, angle, vane_width)
        pattern = np.abs(fft2(pupil, s=(size, size))) ** 2
        psf += pattern[np.ix_(centred, centred)] / pattern.sum()
    # A little jitter of the pointing.
    psf = gaussian_filter(psf, _JITTER * fwhm)
    y, x = np.mgrid[-half:half + 1, -half:half + 1]
    psf *= _taper(np.hypot(x, y), half)
    return psf / psf.sum()
