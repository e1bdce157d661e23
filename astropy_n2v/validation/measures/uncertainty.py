# Licensed under a 3-clause BSD style license - see LICENSE
"""
Stated uncertainty of a result against its errors.
"""

import numpy as np

from ...photometry.inputs import noise_sigma, stated_sigma
from ...utils.checks import require
from .inputs import BRIGHTNESS_BINS, as_images, brightness_in_sigma, check_bins, smoothed
from .statistics import Bootstrap
from .tables import estimate_sums, image_sums

__all__ = ['judge_uncertainty', 'judge_uncertainty_by_halves']

#: Columns of `judge_uncertainty`: the sums of `pull_sums` whose ratios, or roots of these, they are.
PULL_COLUMNS = {'mean_pull': ('pull', 'n'), 'rms_pull': ('square', 'n', 'root'), 'coverage68': ('in68', 'n'),
                'coverage95': ('in95', 'n')}

#: Columns of `judge_uncertainty_by_halves`, of the sums of `halves_sums`.
HALVES_COLUMNS = {'square_pull': ('product', 'n'), 'rms_pull': ('product', 'n', 'root')}


def _stated(result, uncertainty, unit):
    """Find the stated standard deviation of each pixel."""
    if uncertainty is not None:
        return noise_sigma(uncertainty, result, unit=unit)
    stated = stated_sigma(result)
    if stated is None:
        raise ValueError('uncertainty must be given if result states none, got None')
    return stated


def _level(image, stated, sigma, good):
    """Measure the brightness of the valid pixels of an image in units of the noise of the sky, and that noise."""
    sigma = stated if sigma is None else sigma
    require(np.all(np.asarray(sigma)[np.isfinite(sigma)] > 0), 'sigma', 'be positive', sigma)
    return brightness_in_sigma(np.where(good, image, np.nan), np.broadcast_to(sigma, image.shape))


def judge_uncertainty(result, truth, *, uncertainty=None, truth_std=None, sigma=None, brightness=None,
                      bins=BRIGHTNESS_BINS, mask=None, confidence=0.6827, n_resamples=1000, seed=None):
    """
    Measure errors in units of the stated uncertainty, by brightness.

    Parameters
    ----------
    result : `~astropy.nddata.CCDData` or array_like
        An image with uncertainties.
    truth : `~astropy.nddata.CCDData` or array_like
        The truth, or an independent reference whose noise is known.
    uncertainty : float or array_like, optional
        Stated standard deviations; by default the uncertainty of ``result``.
    truth_std : float or array_like, optional
        Noise of a reference, added in quadrature; by default its uncertainty, if it has one.
    sigma : float or array_like, optional
        Noise of the input, the unit of brightness; by default the stated uncertainty of the sky.
    brightness : array_like, optional
        Image that says how bright a pixel is; by default ``result``, smoothed by 2 pixels.
    bins : sequence of float, optional
        Edges in units of ``sigma`` above the sky.
    mask : array_like of bool, optional
        True where pixels do not count.
    confidence, n_resamples, seed : optional
        As in `bootstrap_interval`; blocks of pixels are resampled.

    Returns
    -------
    `~astropy.table.Table`
        First a row for all pixels, then one for each bin: brightness_low, brightness_high, n, and
        with _err, _low, _high mean_pull, rms_pull, coverage68 and coverage95 (fractions of errors within 1
        and 1.96 stated standard deviations, which outliers hardly change).

    Raises
    ------
    ValueError
        If there is no uncertainty, or shapes do not agree.

    Notes
    -----
    A posterior is a statement on all images that would give this result, so errors are judged at a given result.
    At a given truth even the exact posterior has other errors: too small ones where the truth is the most
    common, and of one sign elsewhere.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.validation import judge_uncertainty
    >>> result = np.random.default_rng(0).normal(size=(64, 64))
    >>> table = judge_uncertainty(result, 0 * result, uncertainty=0.5, bins=[-1, 1], seed=1)
    >>> bool(abs(table['rms_pull'][0] - 2) < 0.1)
    True
    """
    sums = pull_sums(result, truth, uncertainty=uncertainty, truth_std=truth_std, sigma=sigma, brightness=brightness,
                     bins=bins, mask=mask)
    return estimate_sums(sums, PULL_COLUMNS, Bootstrap(confidence, n_resamples, seed))


def pull_sums(result, truth, *, bins=BRIGHTNESS_BINS, **options):
    """Sum over blocks of pixels for `judge_uncertainty`; `find_pulls` takes the options."""
    bins = check_bins(bins)
    pull, level, meta = find_pulls(result, truth, **options)
    parts = {'pull': pull, 'square': pull ** 2, 'in68': np.abs(pull) <= 1, 'in95': np.abs(pull) <= 1.959964}
    return image_sums(parts, level, bins, np.isfinite(pull), meta)


def find_pulls(result, truth, *, uncertainty=None, truth_std=None, sigma=None, brightness=None, mask=None):
    """Compute pulls and brightness of the pixels of a result, with the parameters of `judge_uncertainty`."""
    (values, true, bright), unit = as_images(mask, result=result, truth=truth, brightness=brightness)
    stated = _stated(result, uncertainty, unit)
    known = noise_sigma(truth_std, truth, unit=unit) if truth_std is not None else stated_sigma(truth)
    pull = (values - true) / (stated if known is None else np.hypot(stated, known))
    level, sky = _level(smoothed(values) if bright is None else bright, stated, sigma, np.isfinite(pull))
    return pull, level, {'sigma_sky': sky, 'compared_with': 'truth' if known is None else 'reference'}


def judge_uncertainty_by_halves(result, first, second, *, uncertainty=None, sigma=None, brightness=None,
                                bins=BRIGHTNESS_BINS, mask=None, confidence=0.6827, n_resamples=1000, seed=None):
    """
    Estimate the mean square error in units of the stated variance, from two references of unknown noise.

    Parameters
    ----------
    result : `~astropy.nddata.CCDData` or array_like
        An image with uncertainties.
    first, second : `~astropy.nddata.CCDData` or array_like
        References of the same scene with noise that is independent of each other and of the
        result: the means of two disjoint halves of the other exposures.
    uncertainty, sigma : optional
        As for `judge_uncertainty`.
    brightness : array_like, optional
        Image that says how bright a pixel is; by default ``result``, smoothed by 2 pixels.
        Not one of the references: their noise would no longer average out.
    bins, mask, confidence, n_resamples, seed : optional
        As for `judge_uncertainty`.

    Returns
    -------
    `~astropy.table.Table`
        First a row for all pixels, then one for each bin: brightness_low, brightness_high, n, and with
        _err, _low, _high square_pull, the mean of (result - first)(result - second) / stated
        variance, and rms_pull, its root (NaN where negative).

    Raises
    ------
    ValueError
        If there is no uncertainty, or shapes do not agree.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.validation import judge_uncertainty_by_halves
    >>> result, first, second = np.random.default_rng(0).normal(size=(3, 64, 64))
    >>> table = judge_uncertainty_by_halves(result, first, second, uncertainty=1.0, bins=[-1, 1], seed=1)
    >>> bool(abs(table['rms_pull'][0] - 1) < 0.1)
    True
    """
    sums = halves_sums(result, first, second, uncertainty=uncertainty, sigma=sigma, brightness=brightness, bins=bins,
                       mask=mask)
    return estimate_sums(sums, HALVES_COLUMNS, Bootstrap(confidence, n_resamples, seed))


def halves_sums(result, first, second, *, uncertainty=None, sigma=None, brightness=None, bins=BRIGHTNESS_BINS,
                mask=None):
    """Sum over blocks the terms of `judge_uncertainty_by_halves`, to be combined over exposures."""
    bins = check_bins(bins)
    (values, one, two, bright), unit = as_images(mask, result=result, first=first, second=second,
                                                 brightness=brightness)
    stated = _stated(result, uncertainty, unit)
    product = (values - one) * (values - two) / stated ** 2
    good = np.isfinite(product)
    level, sky = _level(smoothed(values) if bright is None else bright, stated, sigma, good)
    return image_sums({'product': product}, level, bins, good, {'sigma_sky': sky, 'compared_with': 'halves'})
