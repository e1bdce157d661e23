# Licensed under a 3-clause BSD style license - see LICENSE
"""
Noise that was smoothed by a beam, a convolution or a fine grid.
"""

from dataclasses import dataclass

import numpy as np
from scipy.fft import next_fast_len
from scipy.ndimage import binary_dilation, gaussian_filter, zoom

from ..utils.blocks import as_blocks
from ..utils.sampling import coprime_step
from .blocks import as_image, sample
from .differences import high_pass, products_of_differences, white_variance

__all__ = ['SmoothedNoise', 'smoothed_noise']

_BLOCK = 32   # pixels: height and width of a block whose power spectrum is taken
_MIN_BLOCKS = 6   # least number of blocks for a spectrum
_MAX_BLOCKS = 128   # most blocks whose power spectra are averaged, spread over the image
# Edges of the rings of spatial frequency, in cycles per pixel.
_RINGS = (0.06, 0.1, 0.15, 0.2, 0.4, 0.5, 0.72)
# Least ratio of the noise power between 0.4 and 0.5 cycles per pixel to the power above, which is 1 for a detector.
# It was at most 1.5 in 200 random scenes; it is 8 for noise smoothed to a FWHM of 2 pixels.
_MIN_DECLINE = 2.0
# Least ratio of the power at low and at the highest frequencies, without and with a floor of white noise. It is 1300
# for noise smoothed to 2 pixels; a hole is sufficient up to there.
_MIN_RATIO, _MIN_RATIO_FLOOR = 300.0, 60.0
# Beyond this ratio an image has no noise of single pixels.
_NO_NOISE = 1e4
_MIN_FWHM = 1.6   # pixels: FWHM of smoothed noise, at least
_MAX_LAG = 40   # pixels: largest lag of the autocorrelation
# Pixels along each axis that are used; fewer where the measurement often fails, as in nebulae.
_CUTOUT, _CUTOUT_FLOOR = 512, 256
_MAX_FWHM = 24.0   # pixels: FWHM of smoothed noise, at most
_CLIP = 3.5   # threshold of sources above the sky, in units of the scatter below it
# Smoothing of the subtracted background in FWHM, and the fraction of the variance that this subtracts.
_REACH, _LOST = 4.0, 0.033
# Noise that was smoothed along one axis: orders of the differences across it, and the largest ratio of the variances
# that they show, each in units of white noise. It was 1.1 at most in 64 simulated fields, and 13 and more in real
# images that were smoothed along both axes.
_ORDERS, _EQUAL = (2, 4, 8), 1.25
# Least correlation of neighbours along it, as of a FWHM of 2.5 pixels, up to which the method of few lags suffices.
_LEAST_ALONG = 0.8
# Least autocorrelation at half the lag of one half for a Gaussian, which has 0.84; it is 0.75 for a moving average. On
# nebulae, where it is measured worst, it was 0.79 to 0.86 for Gaussians and 0.71 to 0.79 for averages of 9 pixels.
_GAUSSIAN = 0.79
_MOST_WHITE = 0.06   # largest share of white noise in the variance of such noise
_FAR = 2.5   # FWHM from which on such noise is not correlated any more
_NOT_CORRELATED = 0.15   # largest mean correlation there, of which stripes and spectra have more


@dataclass(frozen=True, eq=False)
class SmoothedNoise:
    """
    Noise that neighbours share over many pixels.

    Parameters
    ----------
    sigma : float
        Standard deviation on the sky, in data units.
    fwhm : float
        Full width at half maximum, in pixels, of the Gaussian that turns white noise into such noise.
    correlation : `~numpy.ndarray`
        Autocorrelation, square with an odd number of lags; the centre is lag 0.
    certain : bool
        False if it may also be structure.
    axes : tuple of int, optional
        Axes of the image that it was smoothed along.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.ndimage import gaussian_filter
    >>> from astropy_n2v.noise import smoothed_noise
    >>> noise = smoothed_noise(gaussian_filter(np.random.default_rng(0).normal(size=(256, 256)), 3))
    >>> round(noise.fwhm), noise.lags(2).shape
    (7, (5, 5))
    """

    sigma: float
    fwhm: float
    correlation: np.ndarray
    certain: bool
    axes: tuple = (0, 1)

    @property
    def n_averaged(self):
        """Number of pixels over which the smoothing averages photons."""
        return max(1.0, (4 * np.pi * (self.fwhm / 2.355) ** 2) ** (len(self.axes) / 2))

    @property
    def along_one(self):
        """Check if it was smoothed along one axis only."""
        return len(self.axes) == 1

    @property
    def is_gaussian(self):
        """Check if the autocorrelation has the shape of a Gaussian; a moving average has more short lags."""
        line = _line(self.correlation, self.axes)
        half, nearest = np.interp([self.fwhm / np.sqrt(8), 1], np.arange(len(line)), line)
        return bool(half > _GAUSSIAN and nearest > 0.25 ** (1 / self.fwhm ** 2) - _MOST_WHITE)

    def lags(self, max_lag):
        """
        Return the autocorrelation up to a lag.

        Parameters
        ----------
        max_lag : int
            Largest lag along each axis, in pixels.

        Returns
        -------
        `~numpy.ndarray`
            Shape (2 max_lag + 1, 2 max_lag + 1); the centre is lag 0. Lags that were not measured are zero.
        """
        have = self.correlation.shape[0] // 2
        padded = np.pad(self.correlation, max(0, max_lag - have))
        inner = slice(padded.shape[0] // 2 - max_lag, padded.shape[0] // 2 + max_lag + 1)
        return padded[inner, inner]


def smoothed_noise(data, mask=None):
    """
    Measure noise that was smoothed, if there is any.

    A detector adds noise to each pixel, so that an image has equal noise power at the highest spatial
    frequencies and at lower ones. The scatter of the sky between sources is the noise in two cases: these
    frequencies are empty, or an evenly distributed, Gaussian fluctuation is far above them.

    Noise that was smoothed along one axis only, as along a scan or a spectrum, is white along the other. It is what
    differences of high order along this other axis show, in which structure has vanished.

    Parameters
    ----------
    data : array_like, `~astropy.units.Quantity` or `~astropy.nddata.NDData`
        Image of shape (ny, nx).
    mask : array_like of bool, optional
        True where the data are not to be used, in addition to the mask of an NDData.

    Returns
    -------
    SmoothedNoise or None
        None if there is noise of single pixels, or the image is too small.

    Raises
    ------
    ValueError
        If ``data`` is not two-dimensional, or ``mask`` is not of its shape.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.ndimage import gaussian_filter
    >>> from astropy_n2v.noise import smoothed_noise
    >>> white = np.random.default_rng(0).normal(size=(256, 256))
    >>> smoothed_noise(white) is None
    True
    >>> beam = gaussian_filter(white, 4 / 2.355)
    >>> found = smoothed_noise(beam)
    >>> round(found.fwhm, 1), bool(abs(found.sigma / beam.std() - 1) < 0.05)
    (3.9, True)
    """
    data, mask = as_image(data, mask)
    along_one = _smoothed_along_one(data, mask)
    if along_one is not None:
        return along_one
    power = _spectrum(_blocks(data, mask))
    if power is None or not power[-1] > 0:
        return None
    ratio, decline = power[0] / power[-1], power[-2] / power[-1]
    empty = ratio > _MIN_RATIO and decline > _MIN_DECLINE
    if not empty and ratio < _MIN_RATIO_FLOOR:
        return None
    image = _middle(data, mask, _CUTOUT if empty else _CUTOUT_FLOOR)
    scale = np.nanstd(image) if np.isfinite(image).any() else 0.0
    if not scale > 0:
        return None
    guess = _first_guess(power)
    # The power of noise that a Gaussian smoothed declines as a Gaussian; nebulosity above a noise floor declines more
    # slowly.
    found = _measure((image - np.nanmedian(image)) / scale, guess, _MAX_FWHM if empty else 1.6 * guess)
    if found is None:
        return None
    sigma, fwhm, correlation, residual = found
    certain = fwhm >= _MIN_FWHM and _is_noise(residual, fwhm, correlation, empty)
    if not certain and not (empty and ratio > _NO_NOISE):
        return None
    return SmoothedNoise(float(sigma * scale), float(fwhm), correlation, bool(certain))


def _middle(data, mask, size):
    """Return the middle of an image, with NaN where it does not count."""
    return sample(data, mask, tuple(slice(max(0, (n - size) // 2), max(0, (n - size) // 2) + size)
                                    for n in data.shape))


def _smoothed_along_one(data, mask):
    """Measure noise that was smoothed along one axis; None without such noise."""
    image = _middle(data, mask, _CUTOUT)
    for axis, rows in enumerate((image.T, image)):
        found = _smoothed_along_rows(rows)
        if found is not None:
            sigma, fwhm, line = found
            size = len(line)
            correlation = np.zeros((2 * size - 1, 2 * size - 1))
            correlation[size - 1] = np.concatenate([line[:0:-1], line])
            return SmoothedNoise(sigma, fwhm, correlation if axis else correlation.T, True, (axis,))
    return None


def _smoothed_along_rows(image):
    """Return sigma, FWHM, and autocorrelation from lag 0 on of noise smoothed along rows; None for any other."""
    if image.shape[0] < 4 * max(_ORDERS) or image.shape[1] < 2 * _BLOCK or not _smooth_rows(image):
        return None
    lags = range(1, min(_MAX_LAG, image.shape[1] // 3) + 1)
    found = [products_of_differences(image, lags, order) for order in _ORDERS]
    if any(products is None or not products[0] > 0 for products in found):
        return None
    variances = [products[0] / white_variance(order) for order, products in zip(_ORDERS, found)]
    line = np.clip(np.median([products / products[0] for products in found], axis=0), -1, 1)
    if max(variances) > _EQUAL * min(variances) or line[1] < _LEAST_ALONG:
        return None
    below = np.flatnonzero(line < 0.5)
    if below.size == 0:
        return None
    fwhm = _half_width(line, below[0])
    far = line[int(_FAR * fwhm) + 1:]
    if fwhm > _MAX_FWHM or far.size == 0 or far.mean() > _NOT_CORRELATED:
        return None
    return float(np.sqrt(np.median(variances))), float(fwhm), line


def _smooth_rows(image):
    """Check if neighbours along rows differ by little: of white noise, by the root of 2 times its size."""
    differences = high_pass(image, min(_ORDERS))
    size, change = (np.nanmedian(np.abs(v)) if np.isfinite(v).any() else 0.0
                    for v in (differences, np.diff(differences, axis=1)))
    return change < np.sqrt(2 * (1 - _LEAST_ALONG)) * size


def _half_width(line, below):
    """Return the FWHM of the Gaussian for an autocorrelation from lag 0 on and its first lag below one half."""
    last = below - 1
    # The lag of an autocorrelation of one half, times sqrt(2), is the FWHM of the Gaussian.
    return (last + (line[last] - 0.5) / (line[last] - line[below])) * np.sqrt(2)


def _blocks(data, mask):
    """Return blocks evenly spread over an image, with a plane subtracted and missing pixels filled in."""
    step = _BLOCK if data.size > 64 * _BLOCK ** 2 else _BLOCK // 2
    corners = [(y, x) for y in range(0, data.shape[0] - _BLOCK + 1, step)
               for x in range(0, data.shape[1] - _BLOCK + 1, step)]
    corners = corners[::coprime_step(-(-len(corners) // _MAX_BLOCKS), max(1, data.shape[1] // step))]
    blocks = np.array([sample(data, mask, (slice(y, y + _BLOCK), slice(x, x + _BLOCK))) for y, x in corners])
    blocks = blocks.reshape(-1, _BLOCK, _BLOCK)
    good = np.isfinite(blocks)
    some = good.mean(axis=(1, 2)) > 0.7
    blocks, good = blocks[some], good[some]
    if not good.all():
        weight = gaussian_filter(good.astype(float), (0, 1, 1))
        filled = gaussian_filter(np.where(good, blocks, 0), (0, 1, 1)) / np.maximum(weight, 1e-3)
        blocks = np.where(good, blocks, filled)
    axis = np.arange(_BLOCK) - (_BLOCK - 1) / 2
    slopes = [np.tensordot(blocks.mean(axis=2 - n), axis, 1) / np.sum(axis ** 2) for n in (0, 1)]
    return (blocks - blocks.mean(axis=(1, 2), keepdims=True)
            - slopes[0][:, None, None] * axis[:, None] - slopes[1][:, None, None] * axis)


def _spectrum(blocks):
    """Return the power of the quietest blocks in rings of frequency; None if there are too few."""
    if len(blocks) < _MIN_BLOCKS:
        return None
    window = np.hanning(_BLOCK + 2)[1:-1]
    power = np.abs(np.fft.rfft2(blocks * window[:, None] * window)) ** 2
    frequency = np.hypot(np.fft.fftfreq(_BLOCK)[:, None], np.fft.rfftfreq(_BLOCK))
    rings = [power[:, (frequency >= low) & (frequency < high)].mean(axis=1) for low, high in zip(_RINGS, _RINGS[1:])]
    return np.quantile(rings, 0.3, axis=1)


def _first_guess(power):
    """Return the FWHM in pixels of the Gaussian whose power declines as measured at low frequencies."""
    low, high = ((_RINGS[i] + _RINGS[i + 1]) / 2 for i in (0, 2))
    variance = max(np.log(power[0] / power[2]), 0.3) / (4 * np.pi ** 2 * (high ** 2 - low ** 2))
    return 2.355 * np.sqrt(variance)


def _background(image, good, fwhm):
    """Return the background of an image, smoothed over several FWHM, from a coarse grid."""
    step = max(1, int(fwhm))
    padding = [(0, -n % step) for n in image.shape]
    weight = np.pad(good.astype(float), padding)
    values = np.pad(np.where(good, image, 0), padding)
    weight, values = (as_blocks(array, step).mean(axis=(-3, -1)) for array in (weight, values))
    weight, values = (gaussian_filter(array, _REACH * fwhm / step, mode='nearest') for array in (weight, values))
    coarse = values / np.maximum(weight, 1e-3)
    if step > 1:
        coarse = zoom(coarse, step, order=1, mode='nearest', grid_mode=True)
    return coarse[:image.shape[0], :image.shape[1]]


def _sky(image, fwhm):
    """Return the sky, NaN on sources: pixels that exceed a multiple of the scatter below the sky."""
    valid = good = np.isfinite(image)
    background = np.nanmedian(image)
    for _ in range(5):
        residual = image - background
        low, middle = np.quantile(residual[good], [0.159, 0.5])
        bright = residual - middle > _CLIP * (middle - low)
        fewer = valid & ~binary_dilation(bright, iterations=int(np.ceil(fwhm / 2)))
        fewer &= residual - middle > -2 * _CLIP * (middle - low)
        n_before, n_good = good.sum(), fewer.sum()
        if n_good < 0.1 * valid.sum():
            break
        good = fewer
        background = _background(image, good, fwhm)
        if abs(n_good - n_before) < 0.002 * valid.sum():
            break
    return np.where(good, image - background, np.nan)


def _autocovariance(residual, max_lag):
    """Return the autocovariance up to a lag, without NaN."""
    good = np.isfinite(residual)
    values = np.where(good, residual - np.nanmean(residual), 0)
    shape = [next_fast_len(n + max_lag + 1, real=True) for n in residual.shape]
    products, pairs = (np.fft.irfft2(np.abs(np.fft.rfft2(array, shape)) ** 2, shape)
                       for array in (values, good.astype(float)))
    lags = np.ix_(*[np.arange(-max_lag, max_lag + 1)] * 2)
    covariance = products[lags] / np.maximum(pairs[lags], 1)
    # Restore the variance that the subtraction of the background removed.
    return covariance + _LOST * covariance[max_lag, max_lag]


def _line(correlation, axes=(0, 1)):
    """Return the autocorrelation along some axes, on average, from lag 0 on."""
    middle = correlation.shape[0] // 2
    lines = correlation[middle:, middle], correlation[middle, middle:]
    return sum(lines[axis] for axis in axes) / len(axes)


def _measure(image, fwhm, limit):
    """Return sigma, FWHM and autocorrelation of the noise, and the sky; None beyond a limit of the FWHM."""
    for _ in range(5):
        residual = _sky(image, fwhm)
        max_lag = int(min(max(3 * fwhm, 5), _MAX_LAG, min(image.shape) // 3))
        covariance = _autocovariance(residual, max_lag)
        variance = covariance[max_lag, max_lag]
        if not variance > 0:
            return None
        correlation = np.clip(covariance / variance, -1, 1)
        line = _line(correlation)
        below = np.flatnonzero(line < 0.5)
        if below.size == 0:
            wider = 2 * fwhm
        else:
            wider = _half_width(line, below[0])
        if wider > limit:
            return None
        done, fwhm = wider < 1.25 * fwhm, wider
        if done:
            return np.sqrt(variance), fwhm, correlation, residual
    return None


def _is_noise(residual, fwhm, correlation, empty):
    """
    Check if the fluctuation of a sky is Gaussian, without a correlation over long distances.

    Sources too faint to be masked make it skewed, and nebulosity correlates it over long distances. The structures
    in 200 random scenes and in all available real frames had an upper half at least 1.14 times as wide as the lower
    one. Of 600 random scenes with white noise none passed for smoothed.
    """
    share = np.count_nonzero(np.isfinite(residual)) / residual.size
    if share < (0.2 if empty else 0.5):
        return False
    lowest, low, middle, high, highest = np.nanquantile(residual, [0.023, 0.159, 0.5, 0.841, 0.977])
    if not low < middle:
        return False
    n_independent = share * residual.size / (2.3 * fwhm ** 2)
    slack = min(1 / np.sqrt(n_independent), 0.1) * (2.0 if empty else 1.2)
    tail = (middle - lowest) / (middle - low)
    asymmetry = (high - middle) / (middle - low), (highest - middle) / (middle - lowest)
    far = int(2.2 * fwhm) + 1
    line = _line(correlation)
    far = line[far:].mean() if far < line.size - 1 else 0.0
    return bool(abs(tail / 2.0 - 1) < 0.1 + slack and far < 0.12 + slack
                and all(abs(ratio - 1) < 0.09 + slack for ratio in asymmetry))
