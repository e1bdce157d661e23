# Licensed under a 3-clause BSD style license - see LICENSE
"""
Measures of a denoised image against the truth.
"""

import numpy as np

__all__ = ['image_metrics', 'mean_absolute_error', 'mean_offset', 'mean_squared_error', 'noise_reduction',
           'noise_reduction_by_brightness', 'peak_signal_noise_ratio', 'structural_similarity']


def _residuals(images, truth, sigma, select):
    """Residuals in units of the noise, where all of them are finite."""
    truth = np.asarray(truth, dtype=float)
    images = [(name, np.asarray(image, dtype=float)) for name, image in images]
    for name, image in images:
        if image.shape != truth.shape:
            raise ValueError(f'{name} must have the shape of truth, {truth.shape}, got {image.shape}')
    sigma = np.asarray(sigma, dtype=float)
    if not (sigma[np.isfinite(sigma)] > 0).all() or not np.isfinite(sigma).any():
        raise ValueError('sigma must be positive')
    if sigma.shape not in ((), truth.shape):
        raise ValueError(f'sigma must be a number or have the shape of truth, {truth.shape}, got {sigma.shape}')
    residuals = [(image - truth) / sigma for _, image in images]
    good = np.logical_and.reduce([np.isfinite(residual) for residual in residuals])
    if select is not None:
        select = np.asarray(select, dtype=bool)
        if select.shape != truth.shape:
            raise ValueError(f'select must have the shape of truth, {truth.shape}, got {select.shape}')
        good &= select
    return [residual[good] for residual in residuals]


def noise_reduction(noisy, result, truth, sigma, *, select=None):
    """
    How many times nearer to the truth a result is than the data were.

    Parameters
    ----------
    noisy, result, truth : array_like
        Images of the same shape and unit.
    sigma : float or array_like
        Standard deviation of the noise of ``noisy``, in the same unit; a number, or an image.
    select : array_like of bool, optional
        True where pixels count; by default all do. Pixels that are not finite never count.

    Returns
    -------
    float
        ``rms((noisy - truth) / sigma) / rms((result - truth) / sigma)``; NaN if no pixel counts,
        infinite if the result is the truth.

    Raises
    ------
    ValueError
        If shapes do not agree or ``sigma`` is not positive.

    Examples
    --------
    >>> from astropy_n2v.validation import noise_reduction
    >>> noise_reduction([[1.0, -1.0]], [[0.5, -0.5]], [[0.0, 0.0]], 1.0)
    2.0
    """
    before, after = _residuals([('noisy', noisy), ('result', result)], truth, sigma, select)
    if before.size == 0:
        return float('nan')
    with np.errstate(divide='ignore', invalid='ignore'):
        return float(np.sqrt(np.mean(before ** 2) / np.mean(after ** 2)))


def mean_offset(result, truth, sigma, *, select=None):
    """
    Mean difference between a result and the truth, in units of the noise.

    Parameters
    ----------
    result, truth : array_like
        Images of the same shape and unit.
    sigma : float or array_like
        Standard deviation of the noise of the data, in the same unit.
    select : array_like of bool, optional
        True where pixels count; by default all do. Pixels that are not finite never count.

    Returns
    -------
    float
        The offset; NaN if no pixel counts.

    Raises
    ------
    ValueError
        If shapes do not agree or ``sigma`` is not positive.

    Examples
    --------
    >>> from astropy_n2v.validation import mean_offset
    >>> mean_offset([[1.0, 3.0]], [[0.0, 0.0]], 2.0)
    1.0
    """
    (residual,) = _residuals([('result', result)], truth, sigma, select)
    return float(residual.mean()) if residual.size else float('nan')


def mean_squared_error(image, truth, *, select=None, mask=None):
    """Float, in data units squared."""
    raise NotImplementedError


def mean_absolute_error(image, truth, *, select=None, mask=None):
    """Float, in data units."""
    raise NotImplementedError


def peak_signal_noise_ratio(image, truth, *, data_range, stretch='linear', scale=None, mask=None):
    """Decibels; ``data_range`` is (low, high) in data units; stretch 'linear' or 'asinh' (of (x - low) / scale)."""
    raise NotImplementedError


def structural_similarity(image, truth, *, data_range, stretch='linear', scale=None, mask=None):
    """Mean SSIM of Wang et al. 2004 (Gaussian window of 1.5 pixels)."""
    raise NotImplementedError


def noise_reduction_by_brightness(before, after, truth, *, noise=None, bins=None, brightness=None, mask=None,
                                  confidence=0.6827, n_resamples=1000, seed=None):
    """Table, a row per brightness bin and first one of all: brightness_low, brightness_high (sigma of the sky), n,
    noise_reduction, rms_before, rms_after, offset (each in noise sigma, with _low, _high)."""
    raise NotImplementedError


def image_metrics(before, after, truth, *, noise=None, data_range=None, stretch='asinh', name='', mask=None):
    """Table of one row: name, n_pixels, and for before and after: mse_, mae_, psnr_, ssim_; noise_reduction, offset
    (sigma). meta: data_range, stretch, scale."""
    raise NotImplementedError
