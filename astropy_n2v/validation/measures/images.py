# Licensed under a 3-clause BSD style license - see LICENSE
"""
Measures of a denoised image against the truth.
"""

import numpy as np
from astropy.table import Table
from scipy.ndimage import binary_erosion

from ...background import background_level
from ...photometry.inputs import check_sigma, set_units
from ...utils.checks import require
from .inputs import BRIGHTNESS_BINS, as_images, brightness_in_sigma, check_bins, compared_images
from .statistics import Bootstrap
from .tables import estimate_sums, image_sums

__all__ = ['image_metrics', 'mean_absolute_error', 'mean_offset', 'mean_squared_error', 'noise_reduction',
           'noise_reduction_by_brightness', 'peak_signal_noise_ratio', 'structural_similarity']

_WINDOW = 11   # pixels; of SSIM


def _selected(good, select):
    """The pixels that count, of those that are good."""
    select = good if select is None else np.asarray(select, dtype=bool)
    require(select.shape == good.shape, 'select', f'have the shape of truth, {good.shape}', select.shape)
    return good & select


#: Columns of `noise_reduction_by_brightness`: the sums of `error_sums` whose ratios, or roots of these, they are.
ERROR_COLUMNS = {'rms_before': ('square_before', 'n', 'root'), 'rms_after': ('square_after', 'n', 'root'),
                 'offset': ('error', 'n'), 'noise_reduction': ('square_before', 'square_after', 'root')}


def _residuals(truth, sigma, select, **images):
    """Compute errors of images in units of the noise, at the pixels where all of them are known."""
    truth = np.asarray(truth, dtype=float)
    for name, image in images.items():
        require(np.shape(image) == truth.shape, name, f'have the shape of truth, {truth.shape}', np.shape(image))
    sigma = check_sigma('sigma', sigma, truth.shape)
    residuals = [(np.asarray(image, dtype=float) - truth) / sigma for image in images.values()]
    good = _selected(np.logical_and.reduce([np.isfinite(residual) for residual in residuals]), select)
    return [residual[good] for residual in residuals]


def noise_reduction(noisy, result, truth, sigma, *, select=None):
    """
    Compute the factor by which a result is nearer to the truth than the data were.

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
    before, after = _residuals(truth, sigma, select, noisy=noisy, result=result)
    if before.size == 0:
        return float('nan')
    with np.errstate(divide='ignore', invalid='ignore'):
        return float(np.sqrt(np.mean(before ** 2) / np.mean(after ** 2)))


def mean_offset(result, truth, sigma, *, select=None):
    """
    Compute the mean difference between a result and the truth, in units of the noise.

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
    (residual,) = _residuals(truth, sigma, select, result=result)
    return float(residual.mean()) if residual.size else float('nan')


def _common(image, truth, select, mask):
    """Image and truth, and where they count."""
    (true, values), _ = as_images(mask, truth=truth, image=image)
    return values, true, _selected(np.isfinite(values), select)


def mean_squared_error(image, truth, *, select=None, mask=None):
    """
    Compute the mean of the squared differences between an image and the truth.

    Parameters
    ----------
    image, truth : `~astropy.nddata.CCDData` or array_like
        Images of one shape and unit.
    select : array_like of bool, optional
        True where pixels count; those that are masked or not finite never do.
    mask : array_like of bool, optional
        True where pixels do not count.

    Returns
    -------
    float
        In units of the data squared; NaN if no pixel counts.

    Raises
    ------
    ValueError
        If shapes do not agree.

    Examples
    --------
    >>> from astropy_n2v.validation import mean_squared_error
    >>> mean_squared_error([[1.0, 4.0]], [[0.0, 1.0]])
    5.0
    """
    values, true, good = _common(image, truth, select, mask)
    return float(np.mean((values - true)[good] ** 2)) if good.any() else float('nan')


def mean_absolute_error(image, truth, *, select=None, mask=None):
    """
    Compute the mean of the absolute differences between an image and the truth.

    Parameters
    ----------
    image, truth : `~astropy.nddata.CCDData` or array_like
        Images of one shape and unit.
    select, mask : optional
        As for `mean_squared_error`.

    Returns
    -------
    float
        In units of the data; NaN if no pixel counts.

    Examples
    --------
    >>> from astropy_n2v.validation import mean_absolute_error
    >>> mean_absolute_error([[1.0, 4.0]], [[0.0, 1.0]])
    2.0
    """
    values, true, good = _common(image, truth, select, mask)
    return float(np.mean(np.abs(values - true)[good])) if good.any() else float('nan')


def _stretched(values, true, data_range, stretch, scale):
    """Both images stretched, and the length of the range."""
    require(np.shape(data_range) == (2,), 'data_range', 'be a lower and a higher value', data_range)
    low, high = (float(getattr(end, 'value', end)) for end in data_range)
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ValueError(f'data_range must be a lower and a higher value, got {data_range}')
    if stretch == 'linear':
        return values, true, high - low
    require(stretch == 'asinh', 'stretch', "be 'linear' or 'asinh'", stretch)
    require(scale is not None and scale > 0, 'scale', "be positive for the stretch 'asinh'", scale)
    return np.arcsinh((values - low) / scale), np.arcsinh((true - low) / scale), float(np.arcsinh((high - low) / scale))


def peak_signal_noise_ratio(image, truth, *, data_range, stretch='linear', scale=None, select=None, mask=None):
    """
    Compute the peak signal-to-noise ratio, 10 log10(range**2 / mean squared error).

    Parameters
    ----------
    image, truth : `~astropy.nddata.CCDData` or array_like
        Images of one shape and unit.
    data_range : tuple of float
        The lowest and the highest value that count as the range of the data. Nothing is clipped
        to it. There is no default: astronomical images have no natural range, and figures with
        different ranges cannot be compared.
    stretch : {'linear', 'asinh'}, optional
        Compare the values, or asinh((value - lowest) / ``scale``), in which faint parts count as well.
    scale : float, optional
        Of 'asinh': where it turns from linear to logarithmic, such as the noise of the sky.
    select, mask : optional
        As for `mean_squared_error`.

    Returns
    -------
    float
        In decibels; infinite if the image is the truth, NaN if no pixel counts.

    Raises
    ------
    ValueError
        If shapes do not agree or a parameter is out of its range.

    Examples
    --------
    >>> from astropy_n2v.validation import peak_signal_noise_ratio
    >>> peak_signal_noise_ratio([[1.0, -1.0]], [[0.0, 0.0]], data_range=(0, 100))
    40.0
    """
    values, true, good = _common(image, truth, select, mask)
    values, true, length = _stretched(values, true, data_range, stretch, scale)
    if not good.any():
        return float('nan')
    with np.errstate(divide='ignore'):
        return float(10 * np.log10(length ** 2 / np.mean((values - true)[good] ** 2)))


def structural_similarity(image, truth, *, data_range, stretch='linear', scale=None, select=None, mask=None):
    """
    Compute the mean structural similarity index (SSIM).

    Parameters
    ----------
    image, truth : `~astropy.nddata.CCDData` or array_like
        Images of one shape and unit.
    data_range : tuple of float
        The lowest and the highest value that count as the range of the data, as for `peak_signal_noise_ratio`.
    stretch, scale, select, mask : optional
        As for `peak_signal_noise_ratio`.

    Returns
    -------
    float
        1 if the image is the truth; NaN if no pixel has a whole window of valid pixels.

    Raises
    ------
    ValueError
        If shapes do not agree, a parameter is out of its range, or the image is smaller than the
        window of 11x11 pixels.

    Notes
    -----
    By `skimage.metrics.structural_similarity` with the conventions of Wang et al. 2004 (IEEE Transactions on Image
    Processing 13, 600): a Gaussian window of 1.5 pixels, K1 = 0.01, K2 = 0.03. Windows with
    pixels that do not count are left out.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.validation import structural_similarity
    >>> image = np.random.default_rng(0).normal(size=(32, 32))
    >>> structural_similarity(image, image, data_range=(-3, 3))
    1.0
    """
    from skimage.metrics import structural_similarity as ssim
    values, true, good = _common(image, truth, select, mask)
    require(min(true.shape) >= _WINDOW, 'image', f'be at least {_WINDOW} pixels wide', true.shape)
    values, true, length = _stretched(values, true, data_range, stretch, scale)
    usable = binary_erosion(good, np.ones((_WINDOW, _WINDOW)))
    if not usable.any():
        return float('nan')
    _, index = ssim(np.where(good, true, 0), np.where(good, values, 0), data_range=length, gaussian_weights=True,
                    sigma=1.5, use_sample_covariance=False, full=True)
    return float(index[usable].mean())


def noise_reduction_by_brightness(before, after, truth, *, noise=None, bins=BRIGHTNESS_BINS, mask=None,
                                  confidence=0.6827, n_resamples=1000, seed=None):
    """
    Estimate the factor by which errors are smaller than before, by the brightness of the truth.

    Parameters
    ----------
    before, after, truth : `~astropy.nddata.CCDData` or array_like
        Images of one shape and unit.
    noise : `~astropy_n2v.NoiseModel`, float or array_like, optional
        Noise of ``before``; by default its uncertainty, else measured.
    bins : sequence of float, optional
        Edges, in units of the noise of the sky above the sky.
    mask : array_like of bool, optional
        True where pixels do not count.
    confidence, n_resamples, seed : optional
        As in `bootstrap_interval`; blocks of pixels are resampled.

    Returns
    -------
    `~astropy.table.Table`
        First a row for all pixels, then one for each bin: brightness_low, brightness_high, n, and with
        _err, _low, _high rms_before, rms_after, offset (mean error after), all in units of the noise of
        the pixels, and noise_reduction (rms_before / rms_after).

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.validation import noise_reduction_by_brightness
    >>> noise = np.random.default_rng(0).normal(size=(64, 64))
    >>> table = noise_reduction_by_brightness(noise, noise / 4, 0 * noise, noise=1.0, bins=[-1, 1])
    >>> float(table['noise_reduction'][0])
    4.0
    """
    return estimate_sums(error_sums(before, after, truth, noise=noise, bins=bins, mask=mask), ERROR_COLUMNS,
                         Bootstrap(confidence, n_resamples, seed))


def error_sums(before, after, truth, *, noise=None, bins=BRIGHTNESS_BINS, mask=None):
    """Sum over blocks the terms of `noise_reduction_by_brightness`, to be combined over frames."""
    bins = check_bins(bins)
    (first, second, true), sigma, _ = compared_images(before, after, truth, noise, mask)
    level, sky = brightness_in_sigma(true, sigma)
    was, now = (first - true) / sigma, (second - true) / sigma
    values = {'square_before': was ** 2, 'square_after': now ** 2, 'error': now}
    return image_sums(values, level, bins, np.isfinite(was), {'sigma_sky': sky})


def image_metrics(before, after, truth, *, noise=None, data_range=None, stretch='asinh', scale=None, name='',
                  mask=None):
    """
    Compute the usual metrics of an image before and after, against the truth, as one row of a table.

    Parameters
    ----------
    before, after, truth : `~astropy.nddata.CCDData` or array_like
        Images of one shape and unit. The truth is not the noisy image: against that, doing nothing would be best.
    noise : `~astropy_n2v.NoiseModel`, float or array_like, optional
        Noise of ``before``; by default its uncertainty, else measured.
    data_range : tuple of float, optional
        For PSNR and SSIM; by default from the background to the 99.9th percentile of the truth.
    stretch : {'asinh', 'linear'}, optional
        For PSNR and SSIM.
    scale : float, optional
        Of 'asinh'; by default the noise of the sky.
    name : str, optional
        Of the image.
    mask : array_like of bool, optional
        True where pixels do not count.

    Returns
    -------
    `~astropy.table.Table`
        One row: name, n_pixels, mse_before, mse_after, mae_before, mae_after, psnr_before,
        psnr_after (dB), ssim_before, ssim_after, noise_reduction, offset (mean error after in units of
        the noise), and data_low, data_high, stretch, scale: what PSNR and SSIM refer to. Rows
        of several images can be stacked by `astropy.table.vstack`.

    Raises
    ------
    ValueError
        If shapes do not agree or a parameter is out of its range.

    Examples
    --------
    >>> from astropy_n2v.simulate import make_scene
    >>> from astropy_n2v.validation import image_metrics
    >>> scene = make_scene('survey', (64, 64), seed=1)
    >>> ccd = scene.observe(seed=2)
    >>> row = image_metrics(ccd, scene.truth, scene.truth, noise=scene.noise, name='a')
    >>> float(row['ssim_after'][0]), bool(row['ssim_before'][0] < 0.9)
    (1.0, True)
    """
    (first, second, true), sigma, unit = compared_images(before, after, truth, noise, mask)
    _, sky = brightness_in_sigma(true, sigma)
    if data_range is None:
        low = background_level(true)
        data_range = (low, max(np.nanpercentile(true, 99.9), low + sky))
    scale = sky if scale is None else scale
    display = {'data_range': data_range, 'stretch': stretch, 'scale': scale}
    row = {'name': name, 'n_pixels': int(np.isfinite(first).sum())}
    for column, function, options in (('mse', mean_squared_error, {}), ('mae', mean_absolute_error, {}),
                                      ('psnr', peak_signal_noise_ratio, display),
                                      ('ssim', structural_similarity, display)):
        for which, image in ('before', first), ('after', second):
            row[f'{column}_{which}'] = function(image, true, **options)
    row['noise_reduction'] = noise_reduction(first, second, true, sigma)
    row['offset'] = mean_offset(second, true, sigma)
    row.update(data_low=float(data_range[0]), data_high=float(data_range[1]), stretch=stretch, scale=float(scale))
    table = Table(rows=[row])
    set_units(table, unit, ('mae_before', 'mae_after', 'data_low', 'data_high', 'scale'))
    set_units(table, None if unit is None else unit ** 2, ('mse_before', 'mse_after'))
    return set_units(table, 'dB', ('psnr_before', 'psnr_after'))
