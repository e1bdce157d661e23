# Licensed under a 3-clause BSD style license - see LICENSE
"""
The noise of an image, estimated from the image alone.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from ..exceptions import CannotDenoiseError
from ..utils.robust import MEDIAN_SQUARE
from ..utils.sampling import subsample
from .blocks import block_means, occupied
from .correlation import choose_hole, short_autocorrelation
from .differences import high_pass, white_variance
from .model import NoiseModel
from .origin import Origin, SizeFrom
from .quantisation import ROUNDED, Steps
from .sky import SkySample
from .smoothing import SmoothedNoise
from .transfer import star_slope

__all__ = ['SkyNoise', 'allows_gain', 'estimate_noise', 'measure_sky']

# Origin of an estimate. The gain of a model that a user passes on stays as it is.
_MEASURED = Origin('measured', SizeFrom.IMAGE)
# Least relative error of the variance of the sky; the statistical error is smaller.
_LEAST_ERROR = 0.03
# Number of pixels over which the squares of a Laplacian of white noise are correlated: the sum of the squares of the
# autocorrelation of its kernel.
_SHARED = (35 / 18) ** 2
# Least variance in units of the photon noise that a right gain implies, in the median of so many bright blocks; with
# fewer blocks, less by the error of a median. Of 1,880 simulated fields of stars with right gains, the least ratio is
# 0.6 with 10 blocks, and 0.37 with 3. A real stack of DECam, whose header has the gain of one frame, has 0.38 with 7.
_LEAST_PHOTONS, _ENOUGH_BLOCKS = 0.4, 4
_ACROSS = 4   # order of the differences across an axis along which the noise was smoothed
_ERROR_SMOOTHED = 0.05   # relative error of the variance of noise that was smoothed


def _laplacian(image):
    """
    Convolve with the kernel [[1, -2, 1], [-2, 4, -2], [1, -2, 1]] / 6.

    The response to white noise is one, to gradients zero, and to anything that a point-spread function has
    smoothed it is small (Immerkaer 1996, Computer Vision and Image Understanding 64, 300).
    """
    rows = image[:-2] - 2 * image[1:-1] + image[2:]
    return (rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]) / 6


def _lower_mode(values):
    """
    Average the undisturbed part of variances of which some are too large.

    Returns the mean and the scatter of single values. The cube root of a variance is nearly normal
    (Wilson & Hilferty 1931, PNAS 17, 684), so that its lower half determines the distribution.
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


def _block_medians(blocks):
    """Return the median of each block without its NaN. `numpy.nanmedian` takes four times as long."""
    ny, height, nx, width = blocks.shape
    ordered = np.sort(blocks.transpose(0, 2, 1, 3).reshape(ny, nx, height * width), axis=2)   # NaN last
    count = np.count_nonzero(~np.isnan(ordered), axis=2, keepdims=True)
    middle = [np.take_along_axis(ordered, np.maximum(i, 0), axis=2) for i in ((count - 1) // 2, count // 2)]
    return ((middle[0] + middle[1]) / 2)[:, None]


def _reject_outliers(squares, size=16, threshold=25.0):
    """Set squared responses that are outliers of their block, as of hot pixels, to NaN."""
    ny, nx = (-(-n // size) for n in squares.shape)
    padded = np.full((ny * size, nx * size), np.nan)
    padded[:squares.shape[0], :squares.shape[1]] = squares
    blocks = padded.reshape(ny, size, nx, size)
    typical = _block_medians(blocks) / MEDIAN_SQUARE
    # Where most responses are zero, the others are not outliers.
    outlier = (blocks > threshold * typical) & (typical > 0)
    return np.where(outlier, np.nan, blocks).reshape(padded.shape)[:squares.shape[0], :squares.shape[1]]


def _spread_below(values, step):
    """Return the mean square of values below zero, infinite if they are few; of rounded values, over the interval."""
    low = subsample(values[values < 0.5 * step])
    if low.size <= 100:
        return np.inf
    if not step:
        return np.mean(low ** 2)
    # A value whose interval contains zero counts with its part below.
    split = low > -0.5 * step
    share = np.where(split, 0.5 - low / step, 1.0)
    square = np.where(split, (0.5 * step - low) ** 3 / (3 * step), low ** 2 + step ** 2 / 12)
    return square.sum() / share.sum()


def _differences_across(image, axis):
    """Return differences across an axis, with a response of one to white noise, and the pixels in their middle."""
    rows = image if axis else image.T
    half = _ACROSS // 2
    found = high_pass(rows, _ACROSS) / np.sqrt(white_variance(_ACROSS)), rows[half:-half]
    return found if axis else [values.T for values in found]


def _block_variances(image, axis=None):
    """
    Return level and noise variance of blocks just large enough for a stable variance, and the scatter of squares.

    Noise that was smoothed along an axis is seen by differences across it.
    """
    response, inner = (_laplacian(image), image[1:-1, 1:-1]) if axis is None else _differences_across(image, axis)
    squares = response ** 2
    if occupied(image) > 0.5:
        squares = _reject_outliers(squares)
        # The level of the same pixels as the variance: a hot pixel has no photon noise.
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
    # Squares scatter by twice their squared mean, and squares of few photons by more.
    with np.errstate(divide='ignore', invalid='ignore'):
        ratio = (block_means(squares ** 2, size) / block_means(squares, size) ** 2)[good]
    chance = max(2.0, np.median(ratio[np.isfinite(ratio)]) - 1) if np.isfinite(ratio).any() else 2.0
    return level, variance, size, chance


def _photon_transfer(level, variance, sky, sky_variance):
    """Fit the slope of the noise variance with the level, 0 if it is not significant; return it and its error."""
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
    # The residual of a source in the Laplacian grows with the square of its signal.
    scale = x.max()
    design = np.stack([x / scale, (x / scale) ** 2], axis=1) / error[:, None]
    coefficients, _ = nnls(design, excess / error)
    uncertainty = 1 / np.sqrt(np.sum(design[:, 0] ** 2))
    if coefficients[0] < 5 * uncertainty:
        return 0.0, uncertainty / scale
    slope = coefficients[0] / scale
    # No part of the image can be darker than zero light.
    if slope * (sky - np.quantile(level, 0.02)) >= sky_variance:
        return 0.0, uncertainty / scale
    return slope, uncertainty / scale


@dataclass
class SkyNoise:
    """
    The noise of the sky of an image, and its growth with the level of blocks.

    Parameters
    ----------
    level, variance : `~numpy.ndarray`
        Level above the sky, and variance of the Laplacian, in blocks, in ``scale``.
    scale : float
        Unit of levels, in data units.
    background : float
        Level of the sky in data units.
    sky_level, sky_variance : float
        Mean level of the blocks of the sky, and the variance that they have in common.
    response : float
        Variance of the Laplacian of the noise over the variance of the noise.
    size : int
        Height and width of the blocks in pixels.
    steps : Steps or None
        The quantisation of the data.
    image : `~numpy.ndarray` or None
        Level of all pixels above the background, in ``scale``; None if most are empty.
    smoothed : SmoothedNoise or None
        The noise of an image that was smoothed along both axes, to which a Laplacian does not respond.
    relative_error : float
        Relative error of the variance of the sky.
    autocorrelation : `~numpy.ndarray` or None
        Autocorrelation of the noise, if it was measured.
    n_averaged : float
        Number of pixels over which photons were averaged, along one axis.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.noise import measure_sky
    >>> sky = measure_sky(np.random.default_rng(0).normal(100, 5, (128, 128)))
    >>> round(sky.background), round(sky.deviation)
    (100, 5)
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
    n_averaged: float = 1.0

    @property
    def deviation(self):
        """Noise of the sky in data units."""
        if self.smoothed is not None:
            return self.smoothed.sigma
        return float(np.sqrt(self.sky_variance / self.response)) * self.scale

    def measured_slope(self):
        """
        Measure the growth of the variance with the signal on blocks, or else on stars.

        Returns
        -------
        float
            In data units, 1 / gain; 0 if neither shows it.
        """
        slope = float(self.slope()[0])
        if not slope and self.image is not None and self.smoothed is None:
            slope = self.scale * star_slope(self.image, self.deviation / self.scale)
        return slope

    def slope(self):
        """
        Measure the growth of the variance with the signal on blocks.

        Returns
        -------
        slope : float
            The growth in data units, 1 / gain; 0 if blocks do not show it.
        error : float
            Its standard error in data units.
        """
        if self.smoothed is not None:
            return 0.0, np.inf
        slope, error = _photon_transfer(self.level, self.variance, self.sky_level, self.sky_variance)
        return slope * self.scale, error * self.scale

    def model(self, gain=None, readnoise=None):
        """
        Return the noise model, with the gain as given, or else as measured.

        Parameters
        ----------
        gain : float or array_like, optional
            In electrons per data unit, see `~astropy_n2v.estimate_noise`. By default it is measured.
        readnoise : float or array_like, optional
            In electrons; it has no effect without ``gain``.

        Returns
        -------
        NoiseModel
            Its noise at the level of the sky is the one that was measured.
        """
        if self.smoothed is not None:
            return _of_smoothed(self.smoothed, self.background, gain, readnoise)
        if gain is None:
            slope = self.measured_slope() / self.scale
        else:
            slope = 1 / (np.asarray(gain, dtype=float) * self.n_averaged * self.scale)
        sky_variance = self.sky_variance / self.response
        # In electrons: slope has the unit of 1 / gain, and the read noise is given in electrons.
        if gain is not None and readnoise is not None:
            floor = (np.asarray(readnoise, dtype=float) * slope) ** 2 * self.n_averaged
        else:
            floor = 0.1 * sky_variance
        if not np.any(slope > 0):
            floor = sky_variance
        floor = np.minimum(floor, sky_variance)
        with np.errstate(divide='ignore', invalid='ignore'):
            zero = self.sky_level - np.where(slope > 0, (sky_variance - floor) / slope, 0)
        if gain is not None:
            gain = gain if self.n_averaged == 1 else np.asarray(gain, dtype=float) * self.n_averaged
        elif slope > 0:
            gain = 1 / (slope * self.scale)
        return NoiseModel(np.sqrt(floor) * self.scale, gain, zero * self.scale + self.background, origin=_MEASURED,
                          relative_error=self.relative_error, quantum=0.0 if self.steps is None else self.steps.step,
                          autocorrelation=self.autocorrelation)

    def allows(self, gain):
        """
        Check if the bright blocks have at least the photon noise that a gain implies.

        Parameters
        ----------
        gain : float
            In electrons per data unit.

        Returns
        -------
        bool
            True as well if there are too few bright blocks to judge by.
        """
        if self.variance.size == 0:
            return True
        typical, _ = _lower_mode(self.variance)
        implied = self.level / (gain * self.n_averaged * self.scale)
        # Where photons should dominate. Residuals of sources in the Laplacian only add to the noise.
        bright = (implied > 4 * typical) & (self.level > 5 * np.sqrt(typical) / self.size)
        n = bright.sum()
        if n < 3:
            return True
        least = _LEAST_PHOTONS * min(1, np.sqrt(n / _ENOUGH_BLOCKS))
        return bool(np.median(self.variance[bright] / implied[bright]) > least * self.response)


def measure_sky(data, mask=None, *, correlated=True):
    """
    Measure the noise of the sky of an image, and of blocks of other levels.

    Parameters
    ----------
    data : array_like, `~astropy.units.Quantity` or `~astropy.nddata.NDData`
        Image of shape (ny, nx).
    mask : array_like of bool, optional
        True where the data are not to be used, see `~astropy_n2v.estimate_noise`.
    correlated : bool, optional
        If true, look for noise that neighbouring pixels share, see `~astropy_n2v.estimate_noise`.

    Returns
    -------
    SkyNoise
        The noise of the sky, and of blocks at other levels.

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
    # Units in which squares neither overflow nor vanish; the spread of a constant part does not matter.
    scale = np.nanstd(image)
    background = sample.level
    # Steps of single photons are not rounding.
    steps = sample.steps if sample.steps is not None and sample.photons() is None else None
    smoothed = sample.smoothed if correlated else None
    if smoothed is not None and not smoothed.certain:
        smoothed = None
    along = smoothed if smoothed is not None and smoothed.along_one else None
    image = (image - background) / scale
    level, variance, size, chance = _block_variances(image, None if along is None else along.axes[0])
    if variance.size == 0 or not variance.max() > 0:
        raise CannotDenoiseError('data has too few valid pixels next to each other to estimate its noise')
    # Not simply the lower levels: where photons are few, these are the blocks without any.
    darkest = level <= max(np.quantile(level, 0.7), np.median(level) + 5 * np.sqrt(np.median(variance)) / size)
    sky_variance, scatter = _lower_mode(variance[darkest])
    # Blocks that differ by more than chance contain structure that the Laplacian does not remove, perhaps all of them.
    excess = (scatter / sky_variance) ** 2 - chance * _SHARED / size ** 2 if sky_variance > 0 else 0.0
    relative_error = min(np.sqrt(max(excess, _LEAST_ERROR ** 2)), 1.0)
    response, correlation = _laplacian_response(image) if correlated and along is None else (1.0, None)
    if steps is not None and sky_variance < (ROUNDED * steps.step / scale) ** 2:
        # Neighbours of one level are rounded alike: a Laplacian removes this common error.
        sky_variance, response = max(sky_variance, (steps.step / scale) ** 2 / 12), 1.0
    elif not sky_variance > 0:
        sky_variance = variance.mean()
    # The noise cannot be larger than the spread below the sky, even if the Laplacian is disturbed.
    filled = occupied(image) > 0.5
    if filled:
        spread = _spread_below(image[np.isfinite(image)], 0.0 if steps is None else steps.step / scale)
        sky_variance = min(sky_variance, 1.1 * spread * response)
    common = level, variance, scale, background, level[darkest].mean(), sky_variance, response, size, steps
    if along is not None:
        return SkyNoise(*common, relative_error=_ERROR_SMOOTHED, n_averaged=along.n_averaged)
    return SkyNoise(*common, image if filled else None, smoothed, relative_error,
                    autocorrelation=correlation if smoothed is None else None)


def estimate_noise(data, mask=None, *, gain=None, readnoise=None, correlated=True):
    """
    Estimate the noise of an image from the image itself.

    Sources, crowding, nebulosity and gradients hardly matter: the noise is measured in small blocks of the
    Laplacian of the image, and blocks that sources disturb are left out. Images of which most pixels are
    zero are allowed.

    Parameters
    ----------
    data : array_like, `~astropy.units.Quantity` or `~astropy.nddata.NDData`
        Image of shape (ny, nx), at least 8x8. The mask of an NDData is used, its uncertainty is not.
    mask : array_like of bool, optional
        True where the data are not to be used.
    gain : float or array_like, optional
        Electrons per data unit, if known; scalar, or an array that broadcasts to ``data``.
        Otherwise the growth of the noise with the signal is measured, where the image shows it.
    readnoise : float or array_like, optional
        Read noise in electrons, if known (with ``gain``): it separates the photon noise of the sky from
        other noise.
    correlated : bool, optional
        If true, correct for the measured autocorrelation of the noise; otherwise the noise is taken to be white.

    Returns
    -------
    NoiseModel
        The noise, in data units (numbers). At the level of the sky its value is the measured one.

    Raises
    ------
    ValueError
        If ``data`` is not two-dimensional.
    CannotDenoiseError
        If ``data`` is smaller than 8x8, has no valid pixels or too few next to each other, or is
        constant.

    See Also
    --------
    noise_autocorrelation : Measure the correlation of the noise of neighbouring pixels.

    Notes
    -----
    The block statistics are a variant of the photon transfer curve (Janesick 2007, "Photon
    Transfer"); the kernel is from Immerkaer (1996). Where the noise is correlated between
    neighbours, the response of the kernel is corrected for the measured autocorrelation.

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
    """Return the noise of a smoothed image, given its size on the sky."""
    sigma = smoothed.sigma
    if gain is None:
        return NoiseModel(sigma, origin=_MEASURED, relative_error=_ERROR_SMOOTHED)
    # Number of pixels over which the smoothing averages photons.
    n = smoothed.n_averaged
    gain = np.asarray(gain, dtype=float) * n
    floor = 0.1 * sigma ** 2 if readnoise is None else np.square(readnoise, dtype=float) * n / gain ** 2
    floor = np.minimum(floor, sigma ** 2)
    return NoiseModel(np.sqrt(floor), gain, sky - (sigma ** 2 - floor) * gain, origin=_MEASURED,
                      relative_error=_ERROR_SMOOTHED)


def allows_gain(data, mask, gain):
    """
    Check if the bright parts of an image have at least the photon noise that a gain implies.

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
    Return the variance of the Laplacian of the noise over the variance of the noise, 1 for white noise.

    The second value is the autocorrelation it is computed from, which is slow to measure.
    """
    full = short_autocorrelation(image, max_lag=4)
    correlation = full[2:-2, 2:-2]
    if choose_hole(correlation) == (1, 1):
        return 1.0, full   # a small correlation may also be structure
    line = np.array([1, -4, 6, -4, 1]) / 6
    response = np.sum(correlation * np.outer(line, line))
    # Noise so smooth that the Laplacian hardly responds to it is beyond this estimate.
    return min(max(response, 0.02), 3.0), full
