# Licensed under a 3-clause BSD style license - see LICENSE
"""
Residuals of a denoiser: before minus after.

It should be noise: of mean zero, with no more than the variance of the noise, white, and unrelated to sources.
"""

import numpy as np
from astropy.table import Table
from scipy.stats import rankdata

from ...audit import removed_share
from ...background import background_level
from ...photometry.inputs import noise_sigma, stated_sigma
from ...utils.checks import require
from .correlation import correlate
from .inputs import BRIGHTNESS_BINS, as_images, block_labels, brightness_in_sigma, check_bins
from .statistics import Bootstrap
from .tables import block_sums, estimate_sums, image_sums

__all__ = ['residual_correlation', 'residual_statistics', 'residual_whiteness']

#: Columns of `residual_statistics`: the sums of `residual_sums` whose ratios they are.
RESIDUAL_COLUMNS = {'mean': ('z', 'n'), 'variance_ratio': ('square', 'n'), 'expected_ratio': ('expected', 'stated'),
                    'excess': ('square_stated', 'expected')}


def _prepare(before, after, noise, brightness, mask):
    """Residual in units of the noise, noise, and the image that says how bright pixels are."""
    (first, second, bright), unit = as_images(mask, before=before, after=after, brightness=brightness)
    bright = second if bright is None else bright
    sigma = noise_sigma(noise, before, bright, unit=unit)
    return (first - second) / sigma, sigma, bright


def residual_statistics(before, after, *, noise=None, brightness=None, bins=BRIGHTNESS_BINS, mask=None,
                        confidence=0.6827, n_resamples=1000, seed=None):
    """
    Estimate mean and variance of the residual, relative to the noise, by brightness.

    Parameters
    ----------
    before, after : `~astropy.nddata.CCDData` or array_like
        Images of one shape and unit.
    noise : `~astropy_n2v.NoiseModel`, float or array_like, optional
        Noise of ``before``; by default its uncertainty, else measured.
    brightness : array_like, optional
        Image that says how bright a pixel is: the truth or a reference; by default ``after``. Never ``before``:
        bright pixels would be those with positive noise.
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
        their standard errors and intervals (_err, _low, _high) mean (in units of the noise),
        variance_ratio (mean square over the noise variance), expected_ratio (1 - stated variance
        over noise variance; NaN if ``after`` states none) and excess (the ratio of these two).

    Raises
    ------
    ValueError
        If shapes do not agree or bins do not increase.

    Notes
    -----
    More than the noise variance means that signal was taken away, too. The expected ratio is
    `~astropy_n2v.audit.removed_share`, as in the audit of a result.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.validation import residual_statistics
    >>> noise = np.random.default_rng(0).normal(size=(64, 64))
    >>> table = residual_statistics(noise, 0 * noise, noise=1.0, bins=[-1, 1], seed=1)
    >>> bool(abs(table['variance_ratio'][0] - 1) < 0.1)
    True
    """
    sums = residual_sums(before, after, noise=noise, brightness=brightness, bins=bins, mask=mask)
    return estimate_sums(sums, RESIDUAL_COLUMNS, Bootstrap(confidence, n_resamples, seed))


def residual_sums(before, after, *, noise=None, brightness=None, bins=BRIGHTNESS_BINS, mask=None):
    """Sum over blocks the terms of `residual_statistics`, to be combined over frames."""
    bins = check_bins(bins)
    z, sigma, bright = _prepare(before, after, noise, brightness, mask)
    level, sky = brightness_in_sigma(bright, sigma)
    stated = stated_sigma(after)
    expected = np.full(z.shape, np.nan) if stated is None else removed_share(stated, sigma)
    good = np.isfinite(z) & np.isfinite(level)
    known = np.isfinite(expected)
    values = {'z': z, 'square': z ** 2, 'expected': expected, 'stated': known.astype(float),
              'square_stated': np.where(known, z ** 2, 0)}
    return image_sums(values, level, bins, good,
                      {'sigma_sky': sky, 'brightness': 'after' if brightness is None else 'given'})


def residual_whiteness(before, after, *, noise=None, brightness=None, select=None, mask=None, max_lag=4):
    """
    Measure the autocorrelation of the removed signal, in units of the noise.

    Parameters
    ----------
    before, after : `~astropy.nddata.CCDData` or array_like
        Images of one shape and unit.
    noise : `~astropy_n2v.NoiseModel`, float or array_like, optional
        Noise of ``before``; by default its uncertainty, else measured.
    brightness : array_like, optional
        Signal that the photon noise grows with; by default ``after``.
    select : array_like of bool, optional
        True where pixels count; by default all do, with sources.
    mask : array_like of bool, optional
        True where pixels do not count.
    max_lag : int, optional
        The largest lag in pixels.

    Returns
    -------
    `~astropy.table.Table`
        As from `autocorrelation`.

    Raises
    ------
    ValueError
        If shapes do not agree or ``max_lag`` is out of range.

    Notes
    -----
    An average over m pixels leaves correlations of about -1/m in the residual of white noise: small negative ones are
    what denoising means. Positive ones show structure that was taken away.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.validation import residual_whiteness
    >>> noise = np.random.default_rng(0).normal(size=(64, 64))
    >>> table = residual_whiteness(noise, 0 * noise, noise=1.0)
    >>> bool(table.meta['p_value'] > 0.001)
    True
    """
    z, _, _ = _prepare(before, after, noise, brightness, mask)
    require(0 < max_lag < min(z.shape), 'max_lag', f'be positive and smaller than the image, {z.shape}', max_lag)
    good = np.isfinite(z)
    if select is not None:
        select = np.asarray(select, dtype=bool)
        require(select.shape == z.shape, 'select', f'have the shape of before, {z.shape}', select.shape)
        good &= select
    return correlate(np.where(good, z, 0), good, max_lag)


def _standardized(values):
    """Scale values to mean 0 and rms 1."""
    deviation = values - values.mean()
    rms = np.sqrt(np.mean(deviation ** 2))
    return deviation / rms if rms > 0 else np.zeros(values.shape)


def residual_correlation(before, after, *, brightness=None, noise=None, mask=None, confidence=0.6827,
                         n_resamples=1000, seed=None):
    """
    Estimate the correlation of the residual with the brightness of sources.

    Parameters
    ----------
    before, after : `~astropy.nddata.CCDData` or array_like
        Images of one shape and unit.
    brightness : array_like, optional
        The truth or an independent reference; by default ``after``.
    noise : `~astropy_n2v.NoiseModel`, float or array_like, optional
        Noise of ``before``; by default its uncertainty, else measured.
    mask : array_like of bool, optional
        True where pixels do not count.
    confidence, n_resamples, seed : optional
        As in `bootstrap_interval`; blocks of pixels are resampled.

    Returns
    -------
    `~astropy.table.Table`
        For each measure: measure, value, value_err, value_low, value_high, n. Measures: 'pearson' and
        'spearman', of the residual in units of the noise with the brightness in the same units, and
        'share', the share of the signal found in the residual: the slope of the residual with the brightness above the
        background, weighted by the inverse variance of the noise.

    Raises
    ------
    ValueError
        If shapes do not agree.

    Examples
    --------
    >>> from astropy_n2v.simulate import make_scene
    >>> from astropy_n2v.validation import residual_correlation
    >>> scene = make_scene('survey', (96, 96), seed=1)
    >>> ccd = scene.observe(seed=2).data
    >>> table = residual_correlation(ccd, 0.9 * ccd + 0.1 * scene.sky, brightness=scene.truth, noise=scene.noise)
    >>> bool(abs(table['value'][2] - 0.1) < 0.02)
    True
    """
    sums = residual_correlation_sums(before, after, brightness=brightness, noise=noise, mask=mask)
    return estimate_correlation(sums, Bootstrap(confidence, n_resamples, seed))


def residual_correlation_sums(before, after, *, brightness=None, noise=None, mask=None):
    """Sum over blocks the terms of `residual_correlation`, to be combined over frames."""
    z, sigma, bright = _prepare(before, after, noise, brightness, mask)
    good = np.isfinite(z) & np.isfinite(bright)
    signal = ((bright - background_level(bright)) / sigma)[good]
    z = z[good]
    values = {'pearson': _standardized(z) * _standardized(signal),
              'spearman': _standardized(rankdata(z)) * _standardized(rankdata(signal)),
              'product': z * signal, 'power': signal ** 2}
    sums = block_sums(values, signal, (), block_labels(sigma.shape)[good])
    sums.meta['brightness'] = 'after' if brightness is None else 'given'
    return sums


def estimate_correlation(sums, bootstrap):
    """Make the table of `residual_correlation` from sums over blocks: where there is no signal, there is no share."""
    bootstrap, rows = bootstrap.started(), []
    for name, (top, bottom) in {'pearson': ('pearson', 'n'), 'spearman': ('spearman', 'n'),
                                'share': ('product', 'power')}.items():
        estimate = bootstrap.ratio(sums[top], sums[bottom], sums['block'], n=int(np.sum(sums['n'])))
        rows.append({'measure': name, **estimate.columns('value'), 'n': estimate.n})
    return Table(rows=rows, meta={'confidence': bootstrap.confidence, **sums.meta})
