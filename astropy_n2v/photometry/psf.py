# Licensed under a 3-clause BSD style license - see LICENSE
"""
The point-spread function in all accepted forms: a width, an image, a model.
"""

import numbers
from dataclasses import dataclass, field

import numpy as np
from astropy import units as u
from astropy.modeling import Fittable2DModel

__all__ = ['PSF', 'half_maximum_width', 'psf_model']

# Power index of the Moffat profile of a star of known width alone, also the default of
# `astropy_n2v.simulate.make_psf`. Seeing has 2.5 to 5 (Trujillo et al. 2001, MNRAS 328, 977).
_BETA = 3.0
_NARROWEST, _WIDEST = 0.5, 100.0   # pixels: range of an accepted FWHM


@dataclass(frozen=True, eq=False)
class PSF:
    """
    A point-spread function sampled on pixels.

    Parameters
    ----------
    model : `~astropy.modeling.Fittable2DModel`
        Model with the parameters ``flux``, ``x_0`` and ``y_0``. Its value at an offset is the signal of a
        pixel there (an "effective" PSF: the integration over the pixel is included).
    stamp : `~numpy.ndarray`
        A star of flux 1 at the centre of a pixel; odd size, sum 1.
    fwhm : float
        Full width at half maximum in pixels, of a circle of the area above half maximum.
    fwhm_err : float, optional
        Standard error of the FWHM from the scatter of the stars; NaN if it was not measured.
    n_stars : int, optional
        Number of stars that were measured.
    method : str, optional
        'given', or the method of the measurement.

    Examples
    --------
    >>> from astropy_n2v.simulate import make_psf
    >>> from astropy_n2v.photometry import PSF
    >>> psf = PSF.from_any(make_psf(3.0, half_size=15))
    >>> psf.stamp.shape, round(psf.fwhm, 1)
    ((31, 31), 3.0)
    """

    model: Fittable2DModel = field(repr=False)
    stamp: np.ndarray = field(repr=False)
    fwhm: float
    fwhm_err: float = float('nan')
    n_stars: int = 0
    method: str = 'given'

    @classmethod
    def from_any(cls, psf, *, size=None, **attributes):
        """
        Make a PSF from any of its descriptions.

        Parameters
        ----------
        psf : PSF, float, array_like or `~astropy.modeling.Fittable2DModel`
            A PSF is returned unchanged. Otherwise any argument of ``psf_model``: a FWHM in pixels, the image of a
            star, or a model.
        size : int, optional
            Odd size of the stamp in pixels; by default the size of the array, or eight FWHM.
        **attributes
            Attributes of the PSF: ``fwhm_err``, ``n_stars``, ``method``.

        Returns
        -------
        PSF
            The function with its stamp.

        Raises
        ------
        TypeError
            If ``psf`` has another type.
        ValueError
            If ``psf`` or ``size`` is out of its range.
        """
        if isinstance(psf, cls):
            return psf
        model, width = psf_model(psf)
        if size is None:
            size = min(np.shape(psf)) if np.ndim(psf) == 2 else 2 * int(np.ceil(4 * width)) + 1
        if size % 2 == 0:
            raise ValueError(f'size must be odd, got {size}')
        y, x = np.mgrid[:size, :size] - size // 2
        stamp = model(x.astype(float), y.astype(float))
        model.flux = 1 / stamp.sum()
        return cls(model, stamp / stamp.sum(), width, **attributes)

    def at(self, dx, dy):
        """
        Compute values of a star of flux 1.

        Parameters
        ----------
        dx, dy : array_like
            Offsets from its centre in pixels, of one shape.

        Returns
        -------
        `~numpy.ndarray`
            Signal of pixels there, of this shape.
        """
        return self.model(np.asarray(dx, dtype=float), np.asarray(dy, dtype=float))

    def check_fits(self, shape):
        """
        Check that the stamp is no larger than a frame.

        Parameters
        ----------
        shape : tuple of int
            Shape of the frame.

        Raises
        ------
        ValueError
            If it is larger.
        """
        if any(n > m for n, m in zip(self.stamp.shape, shape)):
            raise ValueError(f'psf must not be larger than the frame, {tuple(shape)}, got a stamp of '
                             f'{self.stamp.shape}: cut it')


def psf_model(psf):
    """
    Make a model of a point-spread function from any of its descriptions.

    Parameters
    ----------
    psf : PSF, float, `~astropy.units.Quantity`, array_like or `~astropy.modeling.Fittable2DModel`
        A number is a FWHM in pixels, of a Moffat profile with a power index of 3. An array is the image of a star
        on the pixels of the frame, centred, of odd size. It is interpolated by a cubic spline, which requires a FWHM
        of 2 pixels or more. A model has ``flux``, ``x_0`` and ``y_0``, like the models of `photutils.psf`. Narrow PSFs
        require one, such as an oversampled ``ImagePSF``.

    Returns
    -------
    model : `~astropy.modeling.Fittable2DModel`
        A star of flux 1 at the position (0, 0); for a PSF, its model.
    fwhm : float
        Full width at half maximum in pixels, see `half_maximum_width`.

    Raises
    ------
    TypeError
        If ``psf`` has another type.
    ValueError
        If a FWHM is not between 0.5 and 100 pixels, or an array is not a centred image of odd size with a
        positive sum.

    Examples
    --------
    >>> from astropy_n2v.photometry.psf import psf_model
    >>> model, fwhm = psf_model(3.0)
    >>> round(float(model(1.5, 0) / model(0, 0)), 6)
    0.5
    """
    if isinstance(psf, PSF):
        return psf.model, psf.fwhm
    if isinstance(psf, Fittable2DModel):
        missing = {'flux', 'x_0', 'y_0'} - set(psf.param_names)
        if missing:
            raise TypeError(f'psf must be a model with the parameters flux, x_0 and y_0, got {psf.param_names}')
        model = psf.copy()
        model.flux, model.x_0, model.y_0 = 1, 0, 0
        return model, half_maximum_width(model)
    if isinstance(psf, u.Quantity):
        psf = psf.to_value(u.pix if psf.unit == u.pix else u.dimensionless_unscaled)
    if not isinstance(psf, (numbers.Real, np.ndarray, list, tuple)):
        raise TypeError('psf must be a FWHM in pixels, an image, a PSF or a model of astropy.modeling, got '
                        f'{type(psf).__name__}')
    psf = np.asarray(psf, dtype=float)
    if psf.ndim == 0:
        return _moffat(float(psf)), float(psf)
    model = _stamp_model(psf)
    return model, half_maximum_width(model)


def _moffat(fwhm):
    """Make the model of a star of known width alone."""
    from photutils.psf import MoffatPSF
    if not _NARROWEST <= fwhm <= _WIDEST:
        raise ValueError(f'psf must be an image or a FWHM between {_NARROWEST:g} and {_WIDEST:g} pixels, got {fwhm}')
    return MoffatPSF(flux=1, x_0=0, y_0=0, alpha=fwhm / (2 * np.sqrt(2 ** (1 / _BETA) - 1)), beta=_BETA)


def _stamp_model(stamp):
    """Make a model that interpolates the image of a star."""
    from photutils.psf import ImagePSF
    if stamp.ndim != 2 or any(n % 2 == 0 for n in stamp.shape):
        raise ValueError(f'psf must be an image of odd sizes, got an array of shape {stamp.shape}')
    if not np.isfinite(stamp).all() or not stamp.sum() > 0:
        raise ValueError(f'psf must be finite with a positive sum, got a sum of {stamp.sum()}')
    # Over all bright pixels, since the image of a star out of focus is a ring.
    centre = [np.mean(index) - n // 2 for index, n in zip(np.nonzero(stamp > stamp.max() / 2), stamp.shape)]
    if max(map(abs, centre)) > 1:
        raise ValueError(f'psf must be centred, got one whose bright part is {centre[1]:.1f} pixels to the right and '
                         f'{centre[0]:.1f} up in a stamp of {stamp.shape}')
    # The spline needs 4 samples along each axis.
    padded = np.pad(stamp, max(0, (5 - min(stamp.shape)) // 2 + 1))
    return ImagePSF(padded / stamp.sum(), flux=1, x_0=0, y_0=0)


def half_maximum_width(model):
    """
    Measure the width of a point-spread function.

    Parameters
    ----------
    model : callable
        Function that returns values at arrays of x and y, in pixels from the centre.

    Returns
    -------
    float
        Full width at half maximum in pixels: diameter of the circle with the area that lies above half of the
        maximum, counted on a grid of 0.1 pixels, or of at least 40 points across.

    Raises
    ------
    ValueError
        If it does not fall below half of its maximum within 128 pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.photometry.psf import half_maximum_width
    >>> round(half_maximum_width(lambda x, y: np.exp(-4 * np.log(2) * (x ** 2 + y ** 2) / 2.5 ** 2)), 2)
    2.5
    """
    half, step = 4.0, 0.1
    for _ in range(6):
        grid = np.arange(-half, half + step / 2, step)
        x, y = np.meshgrid(grid, grid)
        values = model(x, y)
        above = values > values.max() / 2
        if above.any() and not (above[0].any() or above[-1].any() or above[:, 0].any() or above[:, -1].any()):
            return float(2 * step * np.sqrt(above.sum() / np.pi))
        half, step = 2 * half, 2 * step
    raise ValueError('psf must fall below half of its maximum within 128 pixels, got one that does not')
