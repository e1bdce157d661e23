# Licensed under a 3-clause BSD style license - see LICENSE
"""
Autocorrelation of the noise, and the hole that it calls for.
"""

import numpy as np
from scipy.ndimage import binary_dilation, gaussian_filter

from ..exceptions import CannotDenoiseError
from ..utils.sampling import cutouts
from .blocks import block_means, occupied, valid_image
from .differences import ORDERS, correlation_of_differences, high_pass, pairs, typical_products
from .smoothing import smoothed_noise

__all__ = ['choose_hole', 'noise_autocorrelation']

# Least correlation of neighbours that are hidden together. At 0.05, four neighbours predict 1 % of the noise
# variance.
_MIN_CORRELATION = 0.06
_MAX_HOLE = 9   # pixels: height and width of a hole, at most
# Least ratio of the correlation in differences of high order to the measured one. Oversampled noise has somewhat
# less power at high frequencies.
_CONFIRMED = 0.6
# Structure: the quarter of an image with the least structure has less than the first factor of the correlation in
# the half with the most, and the structure of the two differs by the second factor. Of 30 frames resampled along both
# axes, 4 had a smaller ratio along one; of 9 random scenes that passed for correlated, 8.
_QUIET_SHARE, _UNEVEN = 0.7, 1.5
# Least correlation of pixels three apart that is due to structure. Measurements scatter by half of it.
_MIN_STRUCTURE = 0.015
# Pixels along each axis of the nine parts of a large image that are used. A lag is then measured to 0.003.
_CUTOUT = 128
# Height and width, in pixels, of the blocks that are sorted by their structure, and their least number.
_QUIET_BLOCK, _LEAST_BLOCKS = 16, 32


def _sky_residual(image, sigma):
    """Subtract the large-scale structure from an image; NaN on sources."""
    valid = good = np.isfinite(image)
    filled = occupied(image)
    # Faint sources appear in a smoothed image before they appear in single pixels. Where photons are few, only
    # averages of about ten of them are significant.
    blur = max(1.5, np.sqrt(10 / (4 * np.pi * max(filled, 1e-3))))
    for _ in range(3):
        # Without masked pixels the weights are one.
        weight, wide_weight = ((1.0, 1.0) if good.all() else
                               (gaussian_filter(good.astype(float), width) for width in (sigma, 4 * blur)))
        smooth = gaussian_filter(np.where(good, image, 0), sigma) / np.maximum(weight, 1e-6)
        residual = np.where(valid & (weight > 0.1), image - smooth, np.nan)
        rms = np.sqrt(np.nanmean(np.where(good, residual, np.nan) ** 2))
        if not rms > 0:
            break
        background = gaussian_filter(np.where(good, image, 0), 4 * blur) / np.maximum(wide_weight, 1e-6)
        blurred = gaussian_filter(np.where(good, image - background, 0), blur)
        sources = blurred > 3 * np.sqrt(np.mean(blurred[good] ** 2))
        if filled > 0.5:
            sources |= np.abs(residual) > 5 * rms
        fewer = good & ~binary_dilation(sources, iterations=3)
        if fewer.sum() < 0.15 * valid.sum():
            break
        good = fewer
    return np.where(good, residual, np.nan)


def noise_autocorrelation(data, mask=None, *, max_lag=4):
    """
    Measure the autocorrelation of the noise between neighbouring pixels of the sky.

    Sources are masked, and structure larger than some pixels is subtracted. The median over parts of the
    sky makes the result robust against faint sources. Where the result could still be smooth, bright
    structure, it is checked against differences of high order, which contain noise alone. Noise that was
    smoothed over two pixels or more is measured on the sky without this subtraction; see
    `~astropy_n2v.noise.smoothed_noise`.

    Parameters
    ----------
    data : array_like, `~astropy.units.Quantity` or `~astropy.nddata.NDData`
        Image of shape (ny, nx).
    mask : array_like of bool, optional
        True where the data are not to be used, in addition to the mask of an NDData.
    max_lag : int, optional
        The largest lag in pixels.

    Returns
    -------
    `~numpy.ndarray`
        Shape (2 max_lag + 1, 2 max_lag + 1); the centre is lag 0, where the value is 1.

    Raises
    ------
    ValueError
        If ``data`` is not two-dimensional.
    CannotDenoiseError
        If ``data`` has no valid pixels, or is constant.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v import noise_autocorrelation
    >>> noise = np.random.default_rng(0).normal(size=(256, 257))
    >>> rho = noise_autocorrelation(noise[:, 1:] + noise[:, :-1])
    >>> bool(abs(rho[4, 5] - 0.5) < 0.03)
    True
    """
    image = valid_image(data, mask)
    return autocorrelation_of(image, lambda: smoothed_noise(image), max_lag)


def autocorrelation_of(image, find_smoothed, max_lag):
    """Measure the autocorrelation of the noise of an image with NaN, given a function that finds smoothed noise."""
    if not np.nanstd(image) > 0:
        raise CannotDenoiseError('data is constant: its noise has no autocorrelation')
    smoothed = find_smoothed()
    if smoothed is not None and smoothed.certain:
        # The correlation length exceeds the range of the method below.
        return smoothed.lags(max_lag)
    return short_autocorrelation(image, max_lag)


def short_autocorrelation(image, max_lag):
    """Measure the autocorrelation of noise that is correlated over few pixels, without NaN."""
    parts = image[cutouts(image.shape, _CUTOUT)]
    # Use all of an image that is mostly masked.
    image = parts if np.count_nonzero(np.isfinite(parts)) > 0.5 * parts.size else image
    image = image - np.nanmean(image)
    scale = np.nanstd(image)
    # The smallest width at which noise that is correlated over a few pixels remains recognisable.
    sigma = 2.5
    residual = _sky_residual(image / scale, sigma)
    half = max(max_lag, 5)
    covariance = np.zeros((2 * half + 1, 2 * half + 1))
    # Opposite lags are equal.
    lags = [(y, x) for y in range(half + 1) for x in range(-half, half + 1)
            if (y > 0 or x >= 0) and y < residual.shape[0] and abs(x) < residual.shape[1]]
    for (lag_y, lag_x), value in zip(lags, typical_products(residual, lags)):
        covariance[half + lag_y, half + lag_x] = covariance[half - lag_y, half - lag_x] = value
    covariance = _subtract_structure(_undo_high_pass(covariance, sigma))
    variance = covariance[half, half]
    if not variance > 0:
        covariance = np.zeros(covariance.shape)
        covariance[half, half] = variance = 1.0
    correlation = _without_nebulosity(np.clip(covariance / variance, -1, 1), image)
    inner = slice(half - max_lag, half + max_lag + 1)
    return correlation[inner, inner]


def _without_nebulosity(correlation, image):
    """
    Return a correlation if differences of high order confirm it, else the correlation of these differences.

    Structure that a telescope has imaged has no power at the highest spatial frequency. White noise has equal
    power at all frequencies. The correlation of noise along one axis does not depend on the frequency along the
    other. The correlation of noise along rows is therefore found in its high-order differences along columns.
    """
    if choose_hole(correlation) == (1, 1):
        return correlation
    centre = max_lag = correlation.shape[0] // 2
    lines = [correlation_of_differences(values, range(max_lag + 1)) for values in (image, image.T)]
    if any(line is None for line in lines):
        return correlation
    uneven = [_grows_with_structure(values) for values in (image, image.T)]
    for line, structure in zip(lines, uneven):
        line[1:] *= not structure
    found = correlation[centre, centre + 1], correlation[centre + 1, centre]
    if not any(uneven) and all(abs(line[1]) >= _CONFIRMED * abs(value) for line, value in zip(lines, found)):
        return correlation
    rows, columns = (np.concatenate([line[:0:-1], line]) for line in lines)
    return np.clip(columns[:, None] * rows[None, :], -1, 1)


def _grows_with_structure(image):
    """
    Check if high-order differences are correlated along rows where there is structure, and less elsewhere.

    The correlation of noise is constant over the image. Structure sharper than the pixels sample (stars in a crowd,
    filaments) has power at the highest frequencies, too, but more of it in some blocks than in others.
    """
    differences = high_pass(image, ORDERS[0])
    good = np.isfinite(image)
    smooth = gaussian_filter(np.where(good, image, 0), 1.5) / np.maximum(gaussian_filter(good.astype(float), 1.5), 1e-6)
    smooth = np.where(good, smooth, np.nan)[ORDERS[0] // 2:][:differences.shape[0]]
    squares, products, mean, square = (block_means(values[:, :-1], _QUIET_BLOCK) for values in (
        differences ** 2, np.pad(np.multiply(*pairs(differences, 0, 1)), [(0, 0), (0, 1)]), smooth, smooth ** 2))
    enough = np.isfinite(squares + products + mean)
    if np.count_nonzero(enough) < _LEAST_BLOCKS:
        return False
    squares, products = squares[enough], products[enough]
    structure = np.sqrt(np.maximum(square - mean ** 2, 0))[enough]
    order = np.argsort(structure)
    quiet, loud = order[:order.size // 4], order[order.size // 2:]
    in_quiet, in_loud = (np.median(products[part]) / np.median(squares[part]) for part in (quiet, loud))
    uneven = np.median(structure[loud]) > _UNEVEN * np.median(structure[quiet])
    return bool(uneven and in_loud > 0 and in_quiet < _QUIET_SHARE * in_loud)


def _subtract_structure(covariance):
    """
    Subtract the autocovariance of nebulosity and unresolved sources.

    It varies smoothly, so that its values at small lags follow from larger lags, where the noise has no
    autocovariance.
    """
    half = covariance.shape[0] // 2
    lag = np.hypot(*np.indices(covariance.shape) - half)
    near, far = (lag > 2.9) & (lag < 3.7), (lag > 3.9) & (lag < 5.1)
    # Medians, since interpolated noise is correlated over three pixels, but along the axes only.
    at_near, at_far = np.median(covariance[near]), np.median(covariance[far])
    if not at_near > at_far > 0 or at_near < _MIN_STRUCTURE * covariance[half, half]:
        return covariance
    slope = (at_near - at_far) / (lag[far].mean() - lag[near].mean())
    structure = np.where(lag < 5, np.maximum(at_near + slope * (lag[near].mean() - lag), 0), 0)
    if structure.max() > 0.9 * covariance[half, half]:
        return covariance
    return covariance - structure


def _undo_high_pass(covariance, sigma):
    """
    Recover the autocovariance of noise from its autocovariance after a local Gaussian mean was subtracted.

    The latter is the former convolved with a known function. The equations are solved for values up to the
    largest lag; those beyond it are zero.
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


def check_lags(correlation):
    """
    Check the shape of an autocorrelation.

    Parameters
    ----------
    correlation : array_like
        Lags along both axes, shape (2 n + 1, 2 n + 1).

    Returns
    -------
    `~numpy.ndarray`
        A copy of it in double precision.

    Raises
    ------
    ValueError
        If it is not square with an odd number of lags.
    """
    correlation = np.array(correlation, dtype=float)
    if correlation.ndim != 2 or correlation.shape[0] != correlation.shape[1] or correlation.shape[0] % 2 == 0:
        raise ValueError('correlation must be a square array with an odd number of lags along each axis, got the shape '
                         f'{correlation.shape}')
    return correlation


def choose_hole(correlation, *, threshold=_MIN_CORRELATION):
    """
    Choose the smallest hole that hides the neighbours whose noise is correlated.

    Parameters
    ----------
    correlation : `~numpy.ndarray`
        From `~astropy_n2v.noise_autocorrelation`.
    threshold : float, optional
        Least absolute value of a correlation that is hidden.

    Returns
    -------
    tuple of int
        Height and width of the hole, odd.

    Raises
    ------
    ValueError
        If ``correlation`` is not square with an odd number of lags.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.noise import choose_hole
    >>> rho = np.array([[0.0, 0.0, 0.0], [0.4, 1.0, 0.4], [0.0, 0.0, 0.0]])
    >>> choose_hole(rho)
    (1, 3)
    """
    correlation = check_lags(correlation)
    centre = correlation.shape[0] // 2
    large = np.abs(correlation) >= threshold
    # Farther neighbours have a smaller weight in the prediction.
    distance = np.abs(np.indices(correlation.shape) - centre).max(axis=0)
    large &= np.abs(correlation) >= threshold * (1 + 0.5 * np.clip(distance - 1, 0, 2))
    hole = []
    for line in (large[:, centre], large[centre]):
        reach = 0
        # Only an unbroken run of correlated lags: beyond a gap it is structure.
        while reach < centre and line[centre + reach + 1]:
            reach += 1
        hole.append(min(2 * reach + 1, _MAX_HOLE))
    if centre and (large[centre + 1, centre + 1] or large[centre + 1, centre - 1]):
        hole = [max(size, 3) for size in hole]
    return tuple(hole)
