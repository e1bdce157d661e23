# Licensed under a 3-clause BSD style license - see LICENSE
"""
The noise model.
"""

import copy
from dataclasses import dataclass, replace

import numpy as np
from astropy import units as u

from ..utils.scratch import blockwise, every
from .origin import Origin

__all__ = ['NoiseModel']

#: Prior probability that a pixel value cannot be predicted from its neighbours: a residual of five sigma is then as
#: likely an outlier as not.
BROAD_WEIGHT = 5e-5
# Names of the parameters that may differ from pixel to pixel.
_OF_PIXELS = 'sigma', 'gain', 'zero_point', 'quantum'


def _as_float(value):
    """Return a float array; single precision, as of whole planes, is kept."""
    value = np.asarray(value)
    return value if value.dtype == np.float32 and value.ndim else value.astype(float)


def _without_units(sigma, gain, zero_point):
    """Return numbers from Quantities, all in the unit of sigma."""
    given = {name: value.unit for name, value in (('sigma', sigma), ('gain', gain), ('zero_point', zero_point))
             if isinstance(value, u.Quantity)}
    if not given:
        return sigma, gain, zero_point
    unit = given.get('sigma') or given.get('zero_point') or u.electron / given['gain']
    try:
        sigma, zero_point = (value.to_value(unit) if isinstance(value, u.Quantity) else value
                             for value in (sigma, zero_point))
        gain = gain.to_value(u.electron / unit) if 'gain' in given else gain
    except u.UnitsError:
        units = ', '.join(f'{name} in {unit}' for name, unit in given.items())
        raise u.UnitsError(f'sigma and zero_point must be in one unit, and gain in electron per that unit, got '
                           f'{units}') from None
    return sigma, gain, zero_point


@dataclass(frozen=True, eq=False)
class NoiseModel:
    """
    Gaussian noise plus photon noise that grows with the signal.

    The variance of a pixel whose true value is x is
    ``sigma**2 + max(x - zero_point, 0) / gain``.

    Parameters
    ----------
    sigma : float, array_like or `~astropy.units.Quantity`
        Standard deviation of the noise where there is no light (read noise), in data units;
        scalar, or an array that broadcasts to the data. Single precision is kept.
    gain : float, array_like or `~astropy.units.Quantity`, optional
        Electrons per data unit; `None` if the noise does not grow with the signal.
    zero_point : float, array_like or `~astropy.units.Quantity`, optional
        The data value at which there is no light: a bias pedestal, or minus the sky that was
        subtracted.
    source : str, optional
        Where the model is from, as text for headers and messages; by default from ``origin``.
    relative_error : float, optional
        Relative error of the variance. A correction from the innovations of an image is applied only beyond
        this.
    quantum : float or array_like, optional
        Step that the data are quantised in, in data units; 0 if they are not. Its variance, a
        twelfth of its square, is part of ``sigma``, and not added to it.
    autocorrelation : `~numpy.ndarray`, optional
        Autocorrelation of the noise, as from `~astropy_n2v.noise_autocorrelation`. It is given where it was measured
        together with the noise, to save a second measurement. It is dropped if the model is given for another image.
    origin : Origin, optional
        Where the model is from: if its size was measured on the image itself, and how its gain is known. By default
        the user has stated both.

    Raises
    ------
    ValueError
        If ``sigma`` is negative or not finite, or ``gain`` is not positive, or the variance
        would be zero everywhere.
    If the units of Quantities are not compatible. Units are checked and not kept: numbers are in
    the unit of ``sigma``.

    Examples
    --------
    >>> from astropy_n2v import NoiseModel
    >>> noise = NoiseModel(3.0, gain=2.0)
    >>> float(noise.variance(100.0))
    59.0
    """

    sigma: float
    gain: float = None
    zero_point: float = 0.0
    source: str = None
    relative_error: float = 0.003
    quantum: float = 0.0
    autocorrelation: np.ndarray = None
    origin: Origin = Origin()

    def __post_init__(self):
        sigma, gain, zero_point = _without_units(self.sigma, self.gain, self.zero_point)
        sigma, zero_point = _as_float(sigma), _as_float(zero_point)
        if not every(lambda part: np.isfinite(part) & (part >= 0), sigma):
            raise ValueError(f'sigma must be finite and not negative, got {self.sigma}')
        if not every(np.isfinite, zero_point):
            raise ValueError(f'zero_point must be finite, got {self.zero_point}')
        if self.gain is not None:
            gain = _as_float(gain)
            if not every(lambda part: np.isfinite(part) & (part > 0), gain):
                raise ValueError(f'gain must be finite and positive, got {self.gain}')
            object.__setattr__(self, 'gain', gain)
        elif not (sigma > 0).any():
            raise ValueError('sigma must be positive somewhere if there is no gain, got 0')
        if not (np.isfinite(self.quantum).all() and np.all(self.quantum >= 0)):
            raise ValueError(f'quantum must be finite and not negative, got {self.quantum}')
        object.__setattr__(self, 'sigma', sigma)
        object.__setattr__(self, 'zero_point', zero_point)
        if self.source is None:
            object.__setattr__(self, 'source', self.origin.text)

    @property
    def slope(self):
        """Growth of the variance with the signal, in data units: 1 / gain, or 0."""
        return np.asarray(0.0) if self.gain is None else 1 / self.gain

    def variance(self, signal):
        """
        Return the variance of the noise of pixels with a given true value.

        Parameters
        ----------
        signal : float or array_like
            True values in data units.

        Returns
        -------
        float or `~numpy.ndarray`
            Variance in data units squared.
        """
        return np.square(self.sigma, dtype=float) + self.slope * np.maximum(signal - self.zero_point, 0)

    def rounding_error(self, signal):
        """
        Return the rms of the rounding error that pixels of one true value have in common.

        With noise of half a step of the quantisation, or more, the rounding errors of neighbouring pixels are
        independent, so that an average of many removes them. With less noise, the average has an error that no
        comparison of neighbours reveals.

        Parameters
        ----------
        signal : float or array_like
            True values in data units.

        Returns
        -------
        float or `~numpy.ndarray`
            In data units; 0 if ``quantum`` is 0.

        Notes
        -----
        From the Fourier series of the mean rounding error over all true values, whose terms the noise
        damps (Widrow & Kollar 2008, "Quantization Noise").

        Examples
        --------
        >>> import numpy as np
        >>> from astropy_n2v import NoiseModel
        >>> rounded = NoiseModel(np.hypot(0.1, 1 / np.sqrt(12)), quantum=1.0)
        >>> round(float(rounded.rounding_error(100.0)), 2)
        0.19
        """
        if not np.any(self.quantum):
            return np.zeros(np.broadcast_shapes(np.shape(signal), self.sigma.shape, self.zero_point.shape))
        before = np.maximum(self.variance(signal) / self.quantum ** 2 - 1 / 12, 0)
        total = np.where(before == 0, 1 / 12, 0.0)
        # Noise of more than 0.7 steps damps even the first term to 4e-6.
        some = (before > 0) & (before < 0.5)
        total[some] = sum(np.exp(-(2 * np.pi * k) ** 2 * before[some]) / (2 * (np.pi * k) ** 2) for k in range(1, 9))
        return self.quantum * np.sqrt(total)

    def sample(self, signal, seed=None):
        """
        Draw noisy data: photons from the Poisson distribution, the rest from the Gaussian one.

        Parameters
        ----------
        signal : array_like
            True values in data units, of any shape; where they are NaN, the data are NaN.
        seed : int or `~numpy.random.Generator`, optional
            Seed of the noise.

        Returns
        -------
        `~numpy.ndarray`
            Data in the same units, of the shape that ``signal`` and the parameters broadcast to.

        Raises
        ------
        ValueError
            If the shapes do not broadcast.

        Examples
        --------
        >>> import numpy as np
        >>> from astropy_n2v import NoiseModel
        >>> data = NoiseModel(3.0, gain=2.0).sample(np.full((100, 100), 100.0), seed=0)
        >>> bool(abs(data.var() - 59) < 3)
        True
        """
        rng = np.random.default_rng(seed)
        parameters = self.sigma, self.zero_point, 1.0 if self.gain is None else self.gain
        signal, sigma, zero_point, gain = np.broadcast_arrays(np.asarray(signal, dtype=float), *parameters)
        data = signal + rng.normal(size=signal.shape) * sigma
        if self.gain is None:
            return data
        electrons = np.maximum(signal - zero_point, 0) * gain
        # Above the range of integers, the Poisson distribution is Gaussian.
        counted = np.where(electrons < 1e15, electrons, 0)
        photons = np.where(electrons < 1e15, rng.poisson(counted) - counted,
                           np.sqrt(electrons) * rng.normal(size=signal.shape))
        return data + photons / gain

    def check_shape(self, shape):
        """
        Check that the parameters broadcast to an image.

        Parameters
        ----------
        shape : tuple of int
            Shape of the image, (ny, nx).

        Raises
        ------
        ValueError
            If they do not broadcast.
        """
        for name in ('sigma', 'gain', 'zero_point', 'quantum'):
            value = getattr(self, name)
            try:
                np.broadcast_to(0 if value is None else value, shape)
            except ValueError:
                raise ValueError(f'{name} must broadcast to the shape of the data, {shape}, got an array of shape '
                                 f'{np.shape(value)}') from None

    def at(self, shape, y, x):
        """
        Return the noise of some pixels of an image, in double precision.

        Parameters
        ----------
        shape : tuple of int
            Shape of the image, (ny, nx), which the parameters broadcast to.
        y, x : slice or array_like of int
            Indices of the rows and columns, as in ``image[y, x]``.

        Returns
        -------
        NoiseModel
            Parameters that differ between pixels have the shape of ``image[y, x]``; the others stay scalars.
        """
        def part(value):
            if value is None or np.ndim(value) == 0:
                return value
            return np.broadcast_to(value, shape)[y, x].astype(float, copy=False)
        # A copy without checks, since a part alone may have no noise at all.
        view = copy.copy(self)
        for name in _OF_PIXELS:
            object.__setattr__(view, name, part(getattr(self, name)))
        return view

    def map(self, function):
        """
        Replace each parameter that may differ between pixels by a function of it.

        Parameters
        ----------
        function : callable
            Takes the name of a parameter and its value, and returns another value.

        Returns
        -------
        NoiseModel
            A model of its own; this one is not changed.
        """
        return replace(self, **{name: function(name, getattr(self, name)) for name in _OF_PIXELS})

    def of_origin(self, origin):
        """
        Return the model with another origin, and a source that says so.

        Parameters
        ----------
        origin : Origin
            The other origin.

        Returns
        -------
        NoiseModel
            A model of its own; this one is not changed.
        """
        return replace(self, origin=origin, source=None)

    def unusable(self, shape):
        """
        Find pixels whose noise is zero at any level.

        Parameters
        ----------
        shape : tuple of int
            Shape of the image, (ny, nx).

        Returns
        -------
        `~numpy.ndarray` of bool or None
            True at these pixels, shape (ny, nx); None if all pixels have noise.
        """
        if np.ndim(self.slope) == 0:
            none = blockwise(lambda part: part == 0, self.sigma) if self.slope == 0 else np.zeros((), dtype=bool)
        else:
            none = (self.sigma == 0) & (self.slope == 0)
        return np.broadcast_to(none, shape) if none.any() else None

    def __add__(self, constant):
        """Return the noise of the data with a constant added."""
        return replace(self, zero_point=self.zero_point + constant)

    def __mul__(self, factor):
        """Return the noise of the data multiplied by a positive factor, or by one for each pixel."""
        if not np.all(np.asarray(factor) > 0):
            raise ValueError(f'factor must be positive to multiply a noise model, got {factor}')
        gain = None if self.gain is None else self.gain / factor
        return replace(self, sigma=self.sigma * factor, gain=gain, zero_point=self.zero_point * factor,
                       quantum=self.quantum * factor)

    def __repr__(self):
        def text(value):
            return f'{float(value):.6g}' if np.ndim(value) == 0 else f'array of shape {np.shape(value)}'
        gain = 'None' if self.gain is None else text(self.gain)
        return (f'NoiseModel(sigma={text(self.sigma)}, gain={gain}, zero_point={text(self.zero_point)}, '
                f'source={self.source!r})')
