# Licensed under a 3-clause BSD style license - see LICENSE
"""
The noise of an image: what is known of it, and what the image itself tells.
"""

import copy
import warnings
from dataclasses import dataclass, replace

import numpy as np
from astropy.stats import SigmaClip
from scipy.ndimage import binary_dilation, gaussian_filter
from scipy.optimize import nnls

from .scaling import background_level, subsample

__all__ = ['NoiseModel', 'choose_hole', 'estimate_noise', 'noise_autocorrelation']

# Neighbouring pixels whose noise has at least this correlation are to be hidden together. At 0.05,
# four neighbours let 1 % of the noise variance be foreseen.
_MIN_CORRELATION = 0.06
_MAX_HOLE = 9


@dataclass(frozen=True, eq=False)
class NoiseModel:
    """
    Gaussian noise plus photon noise that grows with the signal.

    The variance of a pixel whose true value is x is
    ``sigma**2 + max(x - zero_point, 0) / gain``.

    Parameters
    ----------
    sigma : float or array_like
        Standard deviation of the noise where there is no light (read noise), in data units;
        scalar, or an array that broadcasts to the data.
    gain : float or array_like, optional
        Electrons per data unit; `None` if the noise does not grow with the signal.
    zero_point : float or array_like, optional
        The data value at which there is no light: a bias pedestal, or minus the sky that was
        subtracted.
    source : str, optional
        Where the model comes from; it is recorded in headers.
    relative_error : float, optional
        How accurately the variance is known. What an image says about its own prediction is
        believed only beyond this.

    Raises
    ------
    ValueError
        If ``sigma`` is negative or not finite, or ``gain`` is not positive, or the variance
        would be zero everywhere.

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
    source: str = 'given'
    relative_error: float = 0.003

    def __post_init__(self):
        sigma, zero_point = np.asarray(self.sigma, dtype=float), np.asarray(self.zero_point, dtype=float)
        if not (np.isfinite(sigma).all() and (sigma >= 0).all()):
            raise ValueError(f'sigma must be finite and not negative, got {self.sigma}')
        if not np.isfinite(zero_point).all():
            raise ValueError(f'zero_point must be finite, got {self.zero_point}')
        if self.gain is not None:
            gain = np.asarray(self.gain, dtype=float)
            if not (np.isfinite(gain).all() and (gain > 0).all()):
                raise ValueError(f'gain must be finite and positive, got {self.gain}')
            object.__setattr__(self, 'gain', gain)
        elif not (sigma > 0).any():
            raise ValueError('sigma must be positive somewhere if there is no gain, got 0')
        object.__setattr__(self, 'sigma', sigma)
        object.__setattr__(self, 'zero_point', zero_point)

    @property
    def slope(self):
        """Growth of the variance with the signal, in data units: 1 / gain, or 0."""
        return np.asarray(0.0) if self.gain is None else 1 / self.gain

    def variance(self, signal):
        """
        Variance of the noise of pixels with a given true value.

        Parameters
        ----------
        signal : float or array_like
            True values in data units.

        Returns
        -------
        float or `~numpy.ndarray`
            Variance in data units squared.
        """
        return self.sigma ** 2 + self.slope * np.maximum(signal - self.zero_point, 0)

    def check_shape(self, shape):
        """
        Check that the parameters broadcast to an image.

        Raises
        ------
        ValueError
            If they do not.
        """
        for name in ('sigma', 'gain', 'zero_point'):
            value = getattr(self, name)
            try:
                np.broadcast_to(0 if value is None else value, shape)
            except ValueError:
                raise ValueError(f'{name} must broadcast to the shape of the data, {shape}, got an array of shape '
                                 f'{np.shape(value)}') from None

    def at(self, shape, y, x):
        """The noise of the pixels [y, x] of an image of a given shape."""
        def part(value):
            return value if value is None or np.ndim(value) == 0 else np.broadcast_to(value, shape)[y, x]
        # A copy, since a part alone may have no noise at all.
        view = copy.copy(self)
        for name in ('sigma', 'gain', 'zero_point'):
            object.__setattr__(view, name, part(getattr(self, name)))
        return view

    def unusable(self, shape, level):
        """Where the variance of the noise at a level is zero; None if nowhere."""
        variance = self.variance(level)
        if np.all(variance > 0):
            return None
        return np.broadcast_to(~(variance > 0), shape)

    def __add__(self, constant):
        """The noise of the data with a constant added."""
        return replace(self, zero_point=self.zero_point + constant)

    def __mul__(self, factor):
        """The noise of the data multiplied by a positive factor."""
        if not factor > 0:
            raise ValueError(f'a noise model can be multiplied by positive factors only, got {factor}')
        gain = None if self.gain is None else self.gain / factor
        return replace(self, sigma=self.sigma * factor, gain=gain, zero_point=self.zero_point * factor)

    def __repr__(self):
        def text(value):
            return f'{float(value):.6g}' if np.ndim(value) == 0 else f'array of shape {np.shape(value)}'
        gain = 'None' if self.gain is None else text(self.gain)
        return (f'NoiseModel(sigma={text(self.sigma)}, gain={gain}, zero_point={text(self.zero_point)}, '
                f'source={self.source!r})')


def _valid_image(data, mask):
    """Data as a float array with NaN where it does not count."""
    data = np.asarray(data)
    if data.ndim != 2:
        raise ValueError(f'data must be two-dimensional, got {data.ndim} dimensions')
    if mask is None:
        mask = np.zeros(data.shape, dtype=bool)
    elif np.shape(mask) != data.shape:
        raise ValueError(f'mask must have the shape of data, {data.shape}, got {np.shape(mask)}')
    image = np.where(np.asarray(mask, dtype=bool), np.nan, data.astype(float))
    image[~np.isfinite(image)] = np.nan
    if not np.isfinite(image).any():
        raise ValueError('data has no valid pixel: all are masked or not finite')
    return image


def _laplacian(image):
    """
    Response to the kernel [[1, -2, 1], [-2, 4, -2], [1, -2, 1]] / 6.

    Unit response to white noise, none to gradients, little to what a point-spread function has
    smoothed (Immerkaer 1996, Computer Vision and Image Understanding 64, 300).
    """
    rows = image[:-2] - 2 * image[1:-1] + image[2:]
    return (rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]) / 6


def _block_means(values, size):
    """Means over blocks; NaN where less than half of a block is finite."""
    ny, nx = (max(n // size, 1) for n in values.shape)
    size_y, size_x = min(size, values.shape[0]), min(size, values.shape[1])
    blocks = values[:ny * size_y, :nx * size_x].reshape(ny, size_y, nx, size_x)
    good = np.isfinite(blocks)
    count = good.sum(axis=(1, 3))
    total = np.where(good, blocks, 0).sum(axis=(1, 3))
    return np.where(2 * count >= size_y * size_x, total / np.maximum(count, 1), np.nan).ravel()


def _lower_mode(values):
    """
    Mean of the undisturbed part of variances of which some are disturbed upwards.

    Returns the mean and the scatter of single values. The cube root of a variance is nearly
    normal (Wilson & Hilferty 1931, PNAS 17, 684), so what lies low tells what should lie high.
    """
    roots = np.sort(np.cbrt(values))
    for _ in range(50):
        centre = np.median(roots)
        scatter = centre - np.quantile(roots, 0.159)
        fewer = roots[roots <= centre + 2.5 * scatter]
        if fewer.size == roots.size:
            break
        roots = fewer
    return centre ** 3 + 3 * centre * scatter ** 2, 3 * centre ** 2 * scatter


def _occupied(image):
    """Fraction of the pixels that do not have the most common value: small if photons are few."""
    values, counts = np.unique(subsample(image[np.isfinite(image)], 100_000), return_counts=True)
    return 1 - counts.max() / counts.sum()


def _reject_outliers(squares, size=16, threshold=25.0):
    """Squared responses with those far above the others in their block, as of hot pixels, set to NaN."""
    ny, nx = (-(-n // size) for n in squares.shape)
    padded = np.full((ny * size, nx * size), np.nan)
    padded[:squares.shape[0], :squares.shape[1]] = squares
    blocks = padded.reshape(ny, size, nx, size)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', RuntimeWarning)  # blocks without a valid pixel
        typical = np.nanmedian(blocks, axis=(1, 3), keepdims=True) / 0.455
    # Where most responses are zero, the others are no outliers.
    outlier = (blocks > threshold * typical) & (typical > 0)
    return np.where(outlier, np.nan, blocks).reshape(padded.shape)[:squares.shape[0], :squares.shape[1]]


def _block_variances(image):
    """Level and noise variance in blocks just large enough to have a stable variance."""
    squares = _laplacian(image) ** 2
    if _occupied(image) > 0.5:
        squares = _reject_outliers(squares)
    inner = image[1:-1, 1:-1]
    for size in (8, 16, 32, 64):
        variance, level = _block_means(squares, size), _block_means(inner, size)
        good = np.isfinite(variance) & np.isfinite(level)
        level, variance = level[good], variance[good]
        if variance.size == 0:
            continue
        centre, scatter = _lower_mode(variance)
        # Photon-starved blocks of few pixels often hold no event at all.
        if variance.size < 32 or (centre > 0 and scatter < 0.45 * centre):
            break
    return level, variance, size


def _photon_transfer(level, variance, sky, sky_variance):
    """Slope of the noise variance with the level, or 0 if the image does not show one."""
    above = level > sky + 2 * np.sqrt(sky_variance)
    n_bins = min(12, above.sum() // 25)
    if n_bins < 3:
        return 0.0
    order = np.argsort(level[above])
    rows = []
    for part in np.array_split(order, n_bins):
        centre, scatter = _lower_mode(variance[above][part])
        rows.append((level[above][part].mean() - sky, centre - sky_variance,
                     max(scatter, 0.2 * sky_variance) / np.sqrt(part.size)))
    x, excess, error = np.array(rows).T
    # What is left of a source in the Laplacian grows with the square of its signal.
    scale = x.max()
    design = np.stack([x / scale, (x / scale) ** 2], axis=1) / error[:, None]
    coefficients, _ = nnls(design, excess / error)
    uncertainty = 1 / np.sqrt(np.sum(design[:, 0] ** 2))
    if coefficients[0] < 5 * uncertainty:
        return 0.0
    slope = coefficients[0] / scale
    # No part of the image can be darker than no light at all.
    return slope if slope * (sky - np.quantile(level, 0.02)) < sky_variance else 0.0


def estimate_noise(data, mask=None, *, gain=None, readnoise=None):
    """
    Estimate the noise of an image from the image itself.

    Sources, crowding, nebulosity and gradients hardly matter: the noise is measured in small
    blocks on what a Laplacian leaves of the image, and the blocks that sources disturb are
    left out. It does not matter either if most pixels are zero.

    Parameters
    ----------
    data : array_like
        Image of shape (ny, nx).
    mask : array_like of bool, optional
        True where the data are not to be used.
    gain : float or array_like, optional
        Electrons per data unit, if known. Otherwise the growth of the noise with the signal is
        measured, where the image shows it.
    readnoise : float or array_like, optional
        Read noise in electrons, if known (with ``gain``): it tells which part of the sky's
        noise is photon noise.

    Returns
    -------
    NoiseModel
        The noise, in data units; it holds at the level of the sky by measurement.

    Raises
    ------
    ValueError
        If ``data`` is not two-dimensional or smaller than 8x8, has no valid pixels, or is
        constant.

    See Also
    --------
    noise_autocorrelation : Whether the noise of neighbouring pixels is correlated.

    Notes
    -----
    The block statistics are a variant of the photon transfer curve (Janesick 2007, "Photon
    Transfer"); the kernel is that of Immerkaer (1996). Where the noise is correlated between
    neighbours the response of the kernel is corrected for the measured autocorrelation.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v import estimate_noise
    >>> image = np.random.default_rng(0).normal(100, 5, (256, 256))
    >>> noise = estimate_noise(image)
    >>> bool(abs(noise.variance(100) ** 0.5 / 5 - 1) < 0.03)
    True
    """
    image = _valid_image(data, mask)
    if min(image.shape) < 8:
        raise ValueError(f'data must be at least 8x8 pixels to estimate its noise, got {image.shape}')
    low, high = np.nanmin(image), np.nanmax(image)
    if low == high:
        raise ValueError(f'data is constant ({low:g}): its noise cannot be estimated, give noise or gain and readnoise')
    # Units in which squares neither overflow nor vanish; the spread of a constant part is no matter.
    unit = np.nanstd(image)
    sky = background_level(image)
    image = (image - sky) / unit
    level, variance, size = _block_variances(image)
    if variance.size == 0 or not variance.max() > 0:
        raise ValueError('data has too few valid pixels next to each other to estimate its noise')
    # Not simply the lower levels: where photons are few, those are the blocks that caught none.
    darkest = level <= max(np.quantile(level, 0.7), np.median(level) + 5 * np.sqrt(np.median(variance)) / size)
    sky_variance, _ = _lower_mode(variance[darkest])
    if not sky_variance > 0:
        sky_variance = variance.mean()
    # A disturbed Laplacian cannot make the noise larger than the spread below the sky.
    response = _laplacian_response(image)
    below = image[image < 0]
    limit = 1.1 * np.mean(subsample(below) ** 2) * response if below.size > 100 else np.inf
    if _occupied(image) > 0.5:
        sky_variance = min(sky_variance, limit)
    sky_level = level[darkest].mean()
    if gain is None:
        slope = _photon_transfer(level, variance, sky_level, sky_variance)
    else:
        slope = 1 / (np.asarray(gain, dtype=float) * unit)
    sky_variance = sky_variance / response
    # In electrons: slope has the unit of 1 / gain, and the read noise is given in electrons.
    if gain is not None and readnoise is not None:
        floor = (np.asarray(readnoise, dtype=float) * slope) ** 2
    else:
        floor = 0.1 * sky_variance
    if not np.any(slope > 0):
        floor = sky_variance
    floor = np.minimum(floor, sky_variance)
    with np.errstate(divide='ignore', invalid='ignore'):
        zero = sky_level - np.where(slope > 0, (sky_variance - floor) / slope, 0)
    if gain is None and slope > 0:
        gain = 1 / (slope * unit)
    return NoiseModel(np.sqrt(floor) * unit, gain,
                      zero * unit + sky, source='measured', relative_error=0.03)


def _sky_residual(image, sigma):
    """What is left of the sky after its large-scale structure; NaN on sources."""
    valid = good = np.isfinite(image)
    occupied = _occupied(image)
    # Faint sources show in a smoothed image before they show in single pixels; where photons are
    # few, only averages of about ten of them say anything.
    blur = max(1.5, np.sqrt(10 / (4 * np.pi * max(occupied, 1e-3))))
    for _ in range(3):
        weight = gaussian_filter(good.astype(float), sigma)
        smooth = gaussian_filter(np.where(good, image, 0), sigma) / np.maximum(weight, 1e-6)
        residual = np.where(valid & (weight > 0.1), image - smooth, np.nan)
        rms = np.sqrt(np.nanmean(np.where(good, residual, np.nan) ** 2))
        if not rms > 0:
            break
        background = gaussian_filter(np.where(good, image, 0), 4 * blur) \
            / np.maximum(gaussian_filter(good.astype(float), 4 * blur), 1e-6)
        blurred = gaussian_filter(np.where(good, image - background, 0), blur)
        sources = blurred > 3 * np.sqrt(np.mean(blurred[good] ** 2))
        if occupied > 0.5:
            sources |= np.abs(residual) > 5 * rms
        fewer = good & ~binary_dilation(sources, iterations=3)
        if fewer.sum() < 0.15 * valid.sum():
            break
        good = fewer
    return np.where(good, residual, np.nan)


def _products(residual, lag_y, lag_x):
    """Products of pixels a lag apart, shape of the residual; NaN where one is missing."""
    ny, nx = residual.shape
    first = residual[:ny - lag_y, max(0, -lag_x):nx - max(0, lag_x)]
    second = residual[lag_y:, max(0, lag_x):nx - max(0, -lag_x)]
    return first * second


def noise_autocorrelation(data, mask=None, *, max_lag=4):
    """
    Autocorrelation of the noise between neighbouring pixels, measured on the sky.

    Sources are masked, structure larger than some pixels is subtracted, and the typical
    (median) part of the sky decides, so that faint sources hardly count.

    Parameters
    ----------
    data : array_like
        Image of shape (ny, nx).
    mask : array_like of bool, optional
        True where the data are not to be used.
    max_lag : int, optional
        The largest lag in pixels.

    Returns
    -------
    `~numpy.ndarray`
        Shape (2 max_lag + 1, 2 max_lag + 1); the centre is lag 0, where the value is 1.

    Raises
    ------
    ValueError
        If ``data`` is not two-dimensional, or has no valid pixels, or is constant.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v import noise_autocorrelation
    >>> noise = np.random.default_rng(0).normal(size=(256, 257))
    >>> rho = noise_autocorrelation(noise[:, 1:] + noise[:, :-1])
    >>> bool(abs(rho[4, 5] - 0.5) < 0.03)
    True
    """
    image = _valid_image(data, mask)
    image = image - np.nanmean(image)
    scale = np.nanstd(image)
    if not scale > 0:
        raise ValueError('data is constant: its noise has no autocorrelation')
    # As small as leaves a noise that is correlated over a few pixels recognisable.
    sigma = 2.5
    residual = _sky_residual(image / scale, sigma)
    half = max(max_lag, 5)
    covariance = np.zeros((2 * half + 1, 2 * half + 1))
    for lag_y in range(half + 1):
        for lag_x in range(-half, half + 1):
            if lag_y < residual.shape[0] and abs(lag_x) < residual.shape[1]:
                value = _typical_product(residual, lag_y, lag_x)
                covariance[half + lag_y, half + lag_x] = value
                covariance[half - lag_y, half - lag_x] = value
    covariance = _subtract_structure(_undo_high_pass(covariance, sigma))
    variance = covariance[half, half]
    if not variance > 0:
        covariance = np.zeros(covariance.shape)
        covariance[half, half] = variance = 1.0
    inner = slice(half - max_lag, half + max_lag + 1)
    return np.clip(covariance[inner, inner] / variance, -1, 1)


def _subtract_structure(covariance):
    """
    Subtract the autocovariance of what is no noise: nebulosity, unresolved sources.

    It varies smoothly, so that its values at small lags continue those at larger lags, where
    the noise has none.
    """
    half = covariance.shape[0] // 2
    lag = np.hypot(*np.indices(covariance.shape) - half)
    near, far = (lag > 2.9) & (lag < 3.7), (lag > 3.9) & (lag < 5.1)
    at_near, at_far = covariance[near].mean(), covariance[far].mean()
    if not at_near > at_far > 0:
        return covariance
    slope = (at_near - at_far) / (lag[far].mean() - lag[near].mean())
    structure = np.where(lag < 5, np.maximum(at_near + slope * (lag[near].mean() - lag), 0), 0)
    if structure.max() > 0.9 * covariance[half, half]:
        return covariance
    return covariance - structure


def _typical_product(residual, lag_y, lag_x):
    """Mean product of pixels a lag apart, over blocks without the extreme ones."""
    products = _products(residual, lag_y, lag_x)
    values = _block_means(products, 32)
    values = values[np.isfinite(values)]
    if values.size < 16:
        values = products[np.isfinite(products)]
        return values.mean() if values.size else 0.0
    return SigmaClip(sigma=2.5, maxiters=10)(values, masked=False).mean()


def _undo_high_pass(covariance, sigma):
    """
    The autocovariance of noise from that of the noise minus its local Gaussian mean.

    The latter is the former convolved with a known function; what is zero beyond the largest
    lag can be solved for.
    """
    half = covariance.shape[0] // 2
    axis = np.arange(-2 * half, 2 * half + 1)
    squared = axis[:, None] ** 2 + axis[None, :] ** 2
    response = (np.exp(-squared / (4 * sigma ** 2)) / (4 * np.pi * sigma ** 2)
                - 2 * np.exp(-squared / (2 * sigma ** 2)) / (2 * np.pi * sigma ** 2))
    response[2 * half, 2 * half] += 1
    y, x = np.indices(covariance.shape).reshape(2, -1)
    matrix = response[y[:, None] - y[None, :] + 2 * half, x[:, None] - x[None, :] + 2 * half]
    return np.linalg.solve(matrix, covariance.ravel()).reshape(covariance.shape)


def _laplacian_response(image):
    """Variance of the Laplacian of the noise over that of the noise, 1 for white noise."""
    correlation = noise_autocorrelation(image, max_lag=2)
    line = np.array([1, -4, 6, -4, 1]) / 6
    response = np.sum(correlation * np.outer(line, line))
    # Noise that is so smooth that the Laplacian sees nothing of it is beyond this estimate.
    return min(max(response, 0.02), 3.0)


def choose_hole(correlation, *, threshold=_MIN_CORRELATION):
    """
    The smallest hole that hides the neighbours whose noise is correlated.

    Parameters
    ----------
    correlation : `~numpy.ndarray`
        From `noise_autocorrelation`.
    threshold : float, optional
        Correlations of this size or larger count.

    Returns
    -------
    tuple of int
        Height and width of the hole, odd.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.noise import choose_hole
    >>> rho = np.array([[0.0, 0.0, 0.0], [0.4, 1.0, 0.4], [0.0, 0.0, 0.0]])
    >>> choose_hole(rho)
    (1, 3)
    """
    centre = correlation.shape[0] // 2
    large = np.abs(correlation) >= threshold
    # Farther neighbours have a smaller say in the prediction.
    distance = np.abs(np.indices(correlation.shape) - centre).max(axis=0)
    large &= (distance < 2) | (np.abs(correlation) >= 1.5 * threshold)
    hole = []
    for line in (large[:, centre], large[centre]):
        reach = 0
        # Only an unbroken run of correlated lags: beyond, it is structure and not noise.
        while reach < centre and line[centre + reach + 1]:
            reach += 1
        hole.append(min(2 * reach + 1, _MAX_HOLE))
    if centre and (large[centre + 1, centre + 1] or large[centre + 1, centre - 1]):
        hole = [max(size, 3) for size in hole]
    return tuple(hole)
