# Licensed under a 3-clause BSD style license - see LICENSE
"""
The noise of an image, estimated from the image alone.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from ..exceptions import CannotDenoiseError
from ..utils.robust import MEDIAN_SQUARE
from ..utils.sampling import subsample
from .blocks import block_means, occupied
from .correlation import choose_hole, short_autocorrelation
from .model import NoiseModel
from .origin import Origin, SizeFrom
from .quantisation import ROUNDED, Steps
from .sky import SkySample
from .smoothing import SmoothedNoise
from .transfer import star_slope

__all__ = ['SkyNoise', 'allows_gain', 'estimate_noise', 'measure_sky']

# Of a model that a user passes on, the gain is to stay as it is.
_MEASURED = Origin('measured', SizeFrom.IMAGE)
# Relative error of the variance of the sky, at least: it has enough pixels for the statistical error to be less.
_LEAST_ERROR = 0.03
# Number of pixels that share the noise in the squares of a Laplacian of white noise: the sum of the squares of the
# autocorrelation of its kernel.
_SHARED = (35 / 18) ** 2


def _laplacian(image):
    """
    Response to the kernel [[1, -2, 1], [-2, 4, -2], [1, -2, 1]] / 6.

    Unit response to white noise, none to gradients, little to what a point-spread function has
    smoothed (Immerkaer 1996, Computer Vision and Image Understanding 64, 300).
    """
    rows = image[:-2] - 2 * image[1:-1] + image[2:]
    return (rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]) / 6


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


def _reject_outliers(squares, size=16, threshold=25.0):
    """Squared responses with those far above the others in their block, as of hot pixels, set to NaN."""
    ny, nx = (-(-n // size) for n in squares.shape)
    padded = np.full((ny * size, nx * size), np.nan)
    padded[:squares.shape[0], :squares.shape[1]] = squares
    blocks = padded.reshape(ny, size, nx, size)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', RuntimeWarning)  # blocks without a valid pixel
        typical = np.nanmedian(blocks, axis=(1, 3), keepdims=True) / MEDIAN_SQUARE
    # Where most responses are zero, the others are no outliers.
    outlier = (blocks > threshold * typical) & (typical > 0)
    return np.where(outlier, np.nan, blocks).reshape(padded.shape)[:squares.shape[0], :squares.shape[1]]


def _spread_below(values, step):
    """Mean square of the values below zero, infinite if they are few; of rounded ones, over what was rounded."""
    low = subsample(values[values < 0.5 * step])
    if low.size <= 100:
        return np.inf
    if not step:
        return np.mean(low ** 2)
    # One that zero lies within counts with the part below.
    split = low > -0.5 * step
    share = np.where(split, 0.5 - low / step, 1.0)
    square = np.where(split, (0.5 * step - low) ** 3 / (3 * step), low ** 2 + step ** 2 / 12)
    return square.sum() / share.sum()


def _block_variances(image):
    """Level and noise variance in blocks just large enough to have a stable variance; and the scatter of squares."""
    squares = _laplacian(image) ** 2
    inner = image[1:-1, 1:-1]
    if occupied(image) > 0.5:
        squares = _reject_outliers(squares)
        # The level of the pixels whose variance it is: a hot pixel has no photon noise.
        inner = np.where(np.isfinite(squares), inner, np.nan)
    for size in (8, 16, 32, 64):
        variance, level = block_means(squares, size), block_means(inner, size)
        good = np.isfinite(variance) & np.isfinite(level)
        level, variance = level[good], variance[good]
        if variance.size == 0:
            continue
        centre, scatter = _lower_mode(variance)
        # Photon-starved blocks of few pixels often hold no event at all.
        if variance.size < 32 or (centre > 0 and scatter < 0.45 * centre):
            break
    # Squares scatter by twice their squared mean, and those of few photons by more.
    with np.errstate(divide='ignore', invalid='ignore'):
        ratio = (block_means(squares ** 2, size) / block_means(squares, size) ** 2)[good]
    chance = max(2.0, np.median(ratio[np.isfinite(ratio)]) - 1) if np.isfinite(ratio).any() else 2.0
    return level, variance, size, chance


def _photon_transfer(level, variance, sky, sky_variance):
    """Slope of the noise variance with the level, 0 if the image does not show one; and its error."""
    above = level > sky + 2 * np.sqrt(sky_variance)
    n_bins = min(12, above.sum() // 25)
    if n_bins < 3:
        return 0.0, np.inf
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
        return 0.0, uncertainty / scale
    slope = coefficients[0] / scale
    # No part of the image can be darker than no light at all.
    if slope * (sky - np.quantile(level, 0.02)) >= sky_variance:
        return 0.0, uncertainty / scale
    return slope, uncertainty / scale


@dataclass
class SkyNoise:
    """
    The noise of the sky of an image, and how it grows in blocks of other levels.

    Parameters
    ----------
    level, variance : `~numpy.ndarray`
        Level above the sky, and variance of what a Laplacian leaves, in blocks, in ``scale``.
    scale : float
        Unit of levels, in data units.
    background : float
        Level of the sky in data units.
    sky_level, sky_variance : float
        Mean level of the sky's blocks, and the variance that they have in common.
    response : float
        Variance of the Laplacian of the noise over that of the noise.
    size : int
        Height and width of the blocks in pixels.
    steps : Steps or None
        The quantisation of the data.
    image : `~numpy.ndarray` or None
        Level of all pixels above the background, in ``scale``; None if most are empty.
    smoothed : SmoothedNoise or None
        The noise of an image that was smoothed, which a Laplacian does not see.
    autocorrelation : `~numpy.ndarray` or None
        Autocorrelation of the noise, if it was measured.
    relative_error : float
        How accurately the variance of the sky is known.
    """

    level: np.ndarray
    variance: np.ndarray
    scale: float
    background: float
    sky_level: float
    sky_variance: float
    response: float
    size: int
    steps: Steps = None
    image: np.ndarray = None
    smoothed: SmoothedNoise = None
    relative_error: float = _LEAST_ERROR
    autocorrelation: np.ndarray = None

    @property
    def deviation(self):
        """Noise of the sky in data units."""
        if self.smoothed is not None:
            return self.smoothed.sigma
        return float(np.sqrt(self.sky_variance / self.response)) * self.scale

    def measured_slope(self):
        """Growth of the variance with the signal in data units, from blocks or else from stars, or 0."""
        slope = float(self.slope()[0])
        if not slope and self.image is not None and self.smoothed is None:
            slope = self.scale * star_slope(self.image, self.deviation / self.scale)
        return slope

    def slope(self):
        """Growth of the variance with the signal in data units, 0 if blocks do not show it; and its error."""
        if self.smoothed is not None:
            return 0.0, np.inf
        slope, error = _photon_transfer(self.level, self.variance, self.sky_level, self.sky_variance)
        return slope * self.scale, error * self.scale

    def model(self, gain=None, readnoise=None):
        """The noise model, with the gain as it is known, or else as measured; see `~astropy_n2v.estimate_noise`."""
        if self.smoothed is not None:
            return _of_smoothed(self.smoothed, self.background, gain, readnoise)
        if gain is None:
            slope = self.measured_slope() / self.scale
        else:
            slope = 1 / (np.asarray(gain, dtype=float) * self.scale)
        sky_variance = self.sky_variance / self.response
        # In electrons: slope has the unit of 1 / gain, and the read noise is given in electrons.
        if gain is not None and readnoise is not None:
            floor = (np.asarray(readnoise, dtype=float) * slope) ** 2
        else:
            floor = 0.1 * sky_variance
        if not np.any(slope > 0):
            floor = sky_variance
        floor = np.minimum(floor, sky_variance)
        with np.errstate(divide='ignore', invalid='ignore'):
            zero = self.sky_level - np.where(slope > 0, (sky_variance - floor) / slope, 0)
        if gain is None and slope > 0:
            gain = 1 / (slope * self.scale)
        return NoiseModel(np.sqrt(floor) * self.scale, gain, zero * self.scale + self.background, origin=_MEASURED,
                          relative_error=self.relative_error, quantum=0.0 if self.steps is None else self.steps.step,
                          autocorrelation=self.autocorrelation)

    def allows(self, gain):
        """Whether the bright blocks have at least the photon noise that a gain implies."""
        if self.variance.size == 0:
            return True
        typical, _ = _lower_mode(self.variance)
        implied = self.level / (gain * self.scale)
        # Where photons should dominate. What a Laplacian leaves of sources only adds to the noise.
        bright = (implied > 4 * typical) & (self.level > 5 * np.sqrt(typical) / self.size)
        if bright.sum() < 3:
            return True
        return bool(np.median(self.variance[bright] / implied[bright]) > 0.4 * self.response)


def measure_sky(data, mask=None, *, correlated=True):
    """
    Measure the noise of the sky of an image, and of blocks of other levels.

    Parameters
    ----------
    data, mask, correlated
        See `~astropy_n2v.estimate_noise`.

    Returns
    -------
    SkyNoise

    Raises
    ------
    ValueError
        If ``data`` is not two-dimensional.
    CannotDenoiseError
        If ``data`` is smaller than 8x8, has no valid pixels or too few next to each other, or is
        constant.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.noise import measure_sky
    >>> sky = measure_sky(np.random.default_rng(0).normal(100, 5, (256, 256)))
    >>> bool(abs(sky.deviation / 5 - 1) < 0.03), sky.allows(1.0)
    (True, True)
    """
    return sky_noise(SkySample.of(data, mask), correlated=correlated)


def sky_noise(sample, *, correlated=True):
    """Measure the noise of the sky of a SkySample; see `measure_sky`."""
    sample = sample.cutouts()
    image = sample.image()
    if min(image.shape) < 8:
        raise CannotDenoiseError(f'data must be at least 8x8 pixels to estimate its noise, got {image.shape}')
    low, high = np.nanmin(image), np.nanmax(image)
    if low == high:
        raise CannotDenoiseError(f'data is constant ({low:g}): its noise cannot be estimated, give noise, or gain and '
                                 'readnoise')
    # Units in which squares neither overflow nor vanish; the spread of a constant part is no matter.
    scale = np.nanstd(image)
    background = sample.level
    # Steps of photons are no rounding.
    steps = sample.steps if sample.steps is not None and sample.photons() is None else None
    smoothed = sample.smoothed if correlated else None
    image = (image - background) / scale
    level, variance, size, chance = _block_variances(image)
    if variance.size == 0 or not variance.max() > 0:
        raise CannotDenoiseError('data has too few valid pixels next to each other to estimate its noise')
    # Not simply the lower levels: where photons are few, those are the blocks that caught none.
    darkest = level <= max(np.quantile(level, 0.7), np.median(level) + 5 * np.sqrt(np.median(variance)) / size)
    sky_variance, scatter = _lower_mode(variance[darkest])
    # Blocks that differ by more than chance have structure that the Laplacian does not remove, all of them, it may be.
    excess = (scatter / sky_variance) ** 2 - chance * _SHARED / size ** 2 if sky_variance > 0 else 0.0
    relative_error = min(np.sqrt(max(excess, _LEAST_ERROR ** 2)), 1.0)
    response, correlation = _laplacian_response(image) if correlated else (1.0, None)
    if steps is not None and sky_variance < (ROUNDED * steps.step / scale) ** 2:
        # Neighbours of one level are rounded alike: what they have in common a Laplacian does not see.
        sky_variance, response = max(sky_variance, (steps.step / scale) ** 2 / 12), 1.0
    elif not sky_variance > 0:
        sky_variance = variance.mean()
    # A disturbed Laplacian cannot make the noise larger than the spread below the sky.
    filled = occupied(image) > 0.5
    if filled:
        spread = _spread_below(image[np.isfinite(image)], 0.0 if steps is None else steps.step / scale)
        sky_variance = min(sky_variance, 1.1 * spread * response)
    if smoothed is not None and not smoothed.certain:
        smoothed = None
    return SkyNoise(level, variance, scale, background, level[darkest].mean(), sky_variance, response, size,
                    steps, image if filled else None, smoothed, relative_error,
                    autocorrelation=correlation if smoothed is None else None)


def estimate_noise(data, mask=None, *, gain=None, readnoise=None, correlated=True):
    """
    Estimate the noise of an image from the image itself.

    Sources, crowding, nebulosity and gradients hardly matter: the noise is measured in small
    blocks on what a Laplacian leaves of the image, and the blocks that sources disturb are
    left out. It does not matter either if most pixels are zero.

    Parameters
    ----------
    data : array_like, `~astropy.units.Quantity` or `~astropy.nddata.NDData`
        Image of shape (ny, nx), at least 8x8. The mask of an NDData counts, its uncertainty does
        not.
    mask : array_like of bool, optional
        True where the data are not to be used.
    gain : float or array_like, optional
        Electrons per data unit, if known; scalar, or an array that broadcasts to ``data``.
        Otherwise the growth of the noise with the signal is measured, where the image shows it.
    readnoise : float or array_like, optional
        Read noise in electrons, if known (with ``gain``): it tells which part of the sky's
        noise is photon noise.
    correlated : bool, optional
        Whether to correct for the measured autocorrelation of the noise, or to take it to be white.

    Returns
    -------
    NoiseModel
        The noise, in data units (numbers); it holds at the level of the sky by measurement.

    Raises
    ------
    ValueError
        If ``data`` is not two-dimensional.
    CannotDenoiseError
        If ``data`` is smaller than 8x8, has no valid pixels or too few next to each other, or is
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
    return measure_sky(data, mask, correlated=correlated).model(gain, readnoise)


def _of_smoothed(smoothed, sky, gain, readnoise):
    """The noise of a smoothed image, given its size on the sky."""
    sigma = smoothed.sigma
    if gain is None:
        return NoiseModel(sigma, origin=_MEASURED, relative_error=0.05)
    # Smoothing averages the photons of so many pixels.
    n = max(1.0, 4 * np.pi * (smoothed.fwhm / 2.355) ** 2)
    gain = np.asarray(gain, dtype=float) * n
    floor = 0.1 * sigma ** 2 if readnoise is None else np.square(readnoise, dtype=float) * n / gain ** 2
    floor = np.minimum(floor, sigma ** 2)
    return NoiseModel(np.sqrt(floor), gain, sky - (sigma ** 2 - floor) * gain, origin=_MEASURED, relative_error=0.05)


def allows_gain(data, mask, gain):
    """
    Whether the bright parts of an image have at least the photon noise that a gain implies.

    Parameters
    ----------
    data : array_like
        Image of shape (ny, nx).
    mask : array_like of bool
        True where the data are not to be used.
    gain : float
        Electrons per data unit.

    Returns
    -------
    bool
        False if the gain is stale, as after a conversion of the unit or an average of exposures.

    Raises
    ------
    CannotDenoiseError
        If ``data`` has no valid pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.noise import allows_gain
    >>> electrons = np.random.default_rng(0).poisson(np.where(np.arange(128) < 96, 50, 5000), (128, 128))
    >>> allows_gain(electrons / 2, np.zeros((128, 128), bool), 2.0)
    True
    >>> allows_gain(electrons / 2e6, np.zeros((128, 128), bool), 2.0)
    False
    """
    try:
        return measure_sky(data, mask).allows(gain)
    except CannotDenoiseError:
        if not np.any(np.isfinite(data) & ~mask):
            raise
        return True


def _laplacian_response(image):
    """
    Variance of the Laplacian of the noise over the variance of the noise, 1 for white noise.

    Also the autocorrelation that it follows from, which takes time to measure.
    """
    full = short_autocorrelation(image, max_lag=4)
    correlation = full[2:-2, 2:-2]
    if choose_hole(correlation) == (1, 1):
        return 1.0, full   # what little there is may as well be structure
    line = np.array([1, -4, 6, -4, 1]) / 6
    response = np.sum(correlation * np.outer(line, line))
    # Noise that is so smooth that the Laplacian sees nothing of it is beyond this estimate.
    return min(max(response, 0.02), 3.0), full
