# Licensed under a 3-clause BSD style license - see LICENSE
"""
The correlation of the noise after denoising, and the scatter of sums over apertures that follows from it.
"""

import numpy as np
from astropy.table import Table, vstack
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.stats import chi2 as chi2_distribution

from ...photometry.inputs import noise_sigma, set_units, stated_sigma
from ...utils.blocks import sum_blocks
from .background import choose_sky
from .inputs import as_images, block_labels, smooth_good
from .statistics import Bootstrap, robust_scatter

__all__ = ['aperture_error_factor', 'aperture_noise', 'autocorrelation', 'autocorrelation_map']

_MIN_APERTURES = 10
_MAX_RANGE = 8   # pixels; of the correlation of errors
_IN_DATA_UNITS = 'sigma', 'sigma_err', 'sigma_low', 'sigma_high', 'sigma_white', 'sigma_before', 'quoted'


def _deviation(values, sky, truth, scale):
    """An image minus the truth, or minus its own smooth background; and the good pixels."""
    good = sky & np.isfinite(values)
    return np.where(good, values - (smooth_good(values, good, scale) if truth is None else truth), 0), good


def aperture_noise(image, *, noise=None, sizes=(1, 2, 3, 5, 7, 9, 13), select=None, truth=None, mask=None,
                   confidence=0.6827, n_resamples=1000, seed=None):
    """
    Measure the scatter of sums over empty square apertures, relative to independent pixels.

    Parameters
    ----------
    image : `~astropy.nddata.CCDData` or array_like
        Usually the output of a denoiser.
    noise : float or array_like, optional
        Standard deviation stated for each pixel; by default the uncertainty of ``image``, if it
        has one.
    sizes : sequence of int, optional
        Widths of the apertures in pixels.
    select : array_like of bool, optional
        True on sky; by default `sky_pixels` of the truth, or of ``image``.
    truth : array_like, optional
        The truth: then errors are measured, not scatter. Without it, sources that are too faint to
        be left out add to the scatter.
    mask : array_like of bool, optional
        True where pixels do not count.
    confidence, n_resamples, seed : optional
        As in `bootstrap_interval`.

    Returns
    -------
    `~astropy.table.Table`
        For each size that fits at least ten times: size, area, n, sigma (robust scatter of sums), sigma_err,
        sigma_low, sigma_high, sigma_white (sqrt(area) times the scatter of pixels), factor (sigma / sigma_white),
        quoted (median root of the summed variances), and factor_quoted with _err, _low, _high: the scatter of
        sums over their quoted errors, by which an error from summed variances is to be
        multiplied. ``meta``: sigma_pixel, alpha and beta of ``sigma = sigma_pixel * alpha *
        area**beta``; beta is 0.5 for independent pixels.

    Raises
    ------
    ValueError
        If sizes are no positive integers, or no aperture fits.

    Notes
    -----
    Empty apertures after Labbe et al. 2003 (AJ 125, 1107); the power law as in Quadri et al. 2007 (AJ 134, 1103).

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.validation import aperture_noise
    >>> noise = aperture_noise(np.random.default_rng(0).normal(size=(128, 128)), noise=1.0, sizes=(1, 2, 4))
    >>> bool((abs(noise['factor'] - 1) < 0.1).all())
    True
    """
    sizes = list(sizes)
    if not sizes or not all(isinstance(size, (int, np.integer)) and size > 0 for size in sizes):
        raise ValueError(f'sizes must be positive integers, at least one, got {sizes}')
    (values, true), unit = as_images(mask, image=image, truth=truth)
    if noise is None:
        stated = stated_sigma(image)
    else:
        stated = noise_sigma(noise, image, unit=unit)
    sigma = robust_scatter(np.diff(values, axis=1)) / np.sqrt(2)
    sky = choose_sky(select, values.shape, values if true is None else true, sigma)
    deviation, good = _deviation(values, sky, true, 3.0 * max(sizes))
    if stated is not None:
        good &= np.isfinite(stated)
    bootstrap = Bootstrap(confidence, n_resamples, seed).started()
    one = robust_scatter(deviation[good])
    rows = []
    for size in sorted(sizes):
        sums, count = sum_blocks(deviation, good, size, pad=True)
        whole = count == size ** 2
        if whole.sum() < _MIN_APERTURES:
            continue
        # Sums next to each other have errors in common.
        labels = block_labels(sums.shape, max(1, 4 * _MAX_RANGE // size))[whole]
        estimate = bootstrap.interval(sums[whole], 'scatter', groups=labels)
        row = {'size': size, 'area': size ** 2, 'n': int(whole.sum()), **estimate.columns('sigma'),
               'sigma_white': one * size}
        quoted = np.full(whole.sum(), np.nan) if stated is None \
            else np.sqrt(sum_blocks(np.square(stated), good, size, pad=True)[0][whole])
        factor = bootstrap.interval(sums[whole] / quoted, 'scatter', groups=labels)
        rows.append({**row, 'factor': row['sigma'] / row['sigma_white'], 'quoted': float(np.median(quoted)),
                     **factor.columns('factor_quoted')})
    if not rows:
        raise ValueError(f'sizes must fit on the sky at least {_MIN_APERTURES} times, got {sizes} for an image of '
                         f'{values.shape}')
    table = Table(rows=rows, meta={'confidence': confidence, 'sigma_pixel': float(one)})
    positive = table['sigma'] > 0
    if positive.sum() > 1:
        beta, log_alpha = np.polyfit(np.log(table['area'][positive]), np.log(table['sigma'][positive] / one), 1)
        table.meta.update(alpha=float(np.exp(log_alpha)), beta=float(beta))
    return set_units(table, unit, _IN_DATA_UNITS)


def combine_apertures(tables):
    """
    Average the tables of `aperture_noise` of several frames.

    The scatter is a median, of which there are no sums: the scatters of frames are averaged by the number of apertures,
    and errors and half widths of intervals of independent frames add in quadrature.

    Parameters
    ----------
    tables : list of `~astropy.table.Table`
        With the same columns. Sizes that are missing in some are averaged over the others.

    Returns
    -------
    `~astropy.table.Table`
        A row for each size.
    """
    rows = []
    for size in sorted({int(size) for table in tables for size in table['size']}):
        members = [row for table in tables for row in table if row['size'] == size]
        n = np.array([member['n'] for member in members])
        row = {'size': size, 'area': size ** 2, 'n': int(n.sum()), **_pool(members, 'sigma'),
               **_pool(members, 'factor_quoted')}
        for name in 'sigma_white', 'quoted', 'sigma_before':
            row[name] = float(np.average([member[name] for member in members], weights=n))
        rows.append({**row, 'factor': row['sigma'] / row['sigma_white']})
    return set_units(Table(rows=rows)[tables[0].colnames], tables[0]['sigma'].unit, _IN_DATA_UNITS)


def _pool(members, name):
    """Average an estimate over rows of tables, value and interval of the same ones."""
    ends = name, f'{name}_err', f'{name}_low', f'{name}_high'
    good = [member for member in members if np.isfinite([member[end] for end in ends]).all()] or members
    weight = np.array([member['n'] for member in good], dtype=float)
    weight /= weight.sum()
    value, error, low, high = (np.array([member[end] for member in good], dtype=float) for end in ends)
    centre = float(np.sum(weight * value))
    error, below, above = (float(np.hypot.reduce(weight * part)) for part in (error, value - low, high - value))
    return dict(zip(ends, (centre, error, centre - below, centre + above)))


def aperture_error_factor(apertures, area):
    """
    Compute the factor from the root of summed pixel variances to the error of a flux on the sky.

    Parameters
    ----------
    apertures : `~astropy.table.Table`
        From `aperture_noise`.
    area : float or array_like
        Number of pixels in the aperture, within the range of the table.

    Returns
    -------
    float or `~numpy.ndarray`
        The factor, interpolated in the logarithm of the area; against the stated uncertainties
        where the table has them, else against independent pixels.

    Raises
    ------
    ValueError
        If ``area`` is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.validation import aperture_error_factor, aperture_noise
    >>> table = aperture_noise(np.random.default_rng(0).normal(size=(128, 128)), sizes=(1, 2, 4))
    >>> bool(abs(aperture_error_factor(table, 7.1) - 1) < 0.1)
    True
    """
    known, wanted = np.asarray(apertures['area'], dtype=float), np.asarray(area, dtype=float)
    if not ((wanted >= known.min()) & (wanted <= known.max())).all():
        raise ValueError(f'area must be between {known.min():g} and {known.max():g} pixels, got {area}')
    column = 'factor_quoted' if np.isfinite(apertures['factor_quoted']).all() else 'factor'
    return np.interp(np.log(wanted), np.log(known), np.asarray(apertures[column]))[()]


def autocorrelation(image, *, truth=None, select=None, mask=None, max_lag=8):
    """
    Measure the autocorrelation of the noise of an image on the sky.

    Parameters
    ----------
    image : `~astropy.nddata.CCDData` or array_like
        An image, for instance the output of a denoiser.
    truth : array_like, optional
        The truth, which is subtracted; else a smooth background is, on a scale of 48 pixels or 6 ``max_lag``.
    select : array_like of bool, optional
        True on sky; by default `sky_pixels` of the truth, or of ``image``.
    mask : array_like of bool, optional
        True where pixels do not count.
    max_lag : int, optional
        The largest lag in pixels.

    Returns
    -------
    `~astropy.table.Table`
        For each lag of the upper half plane: dy, dx, correlation, correlation_err (its scatter for white noise,
        ``n**-0.5``), significance, n (pairs). ``meta``: max_lag, variance, chi2, n_lags and p_value of the
        hypothesis of white noise, and effective_area, the sum of all correlations: the variance
        of the mean of many pixels is that many times larger than for independent pixels.

    Raises
    ------
    ValueError
        If ``max_lag`` is not positive, or larger than the image.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.validation import autocorrelation
    >>> noise = np.random.default_rng(0).normal(size=(128, 129))
    >>> table = autocorrelation(noise[:, 1:] + noise[:, :-1], max_lag=2)
    >>> bool(abs(table['correlation'][(table['dy'] == 0) & (table['dx'] == 1)][0] - 0.5) < 0.03)
    True
    """
    (values, true), unit = as_images(mask, image=image, truth=truth)
    if not 0 < max_lag < min(values.shape):
        raise ValueError(f'max_lag must be positive and smaller than the image, {values.shape}, got {max_lag}')
    sigma = robust_scatter(np.diff(values, axis=1)) / np.sqrt(2)
    sky = choose_sky(select, values.shape, values if true is None else true, sigma)
    deviation, good = _deviation(values, sky, true, max(48.0, 6.0 * max_lag))
    table = correlate(deviation, good, max_lag)
    table.meta['variance_unit'] = '' if unit is None else str(unit ** 2)
    return table


def correlate(deviation, good, max_lag):
    """Make the table of `autocorrelation` from deviations that are to be white."""
    deviation = np.where(good, deviation - (deviation[good].mean() if good.any() else 0), 0)
    shape = [next_fast_len(n + max_lag, real=True) for n in deviation.shape]
    products, pairs = (irfft2(np.abs(rfft2(part, shape)) ** 2, shape) for part in (deviation, good.astype(float)))
    variance = products[0, 0] / max(pairs[0, 0], 1)
    dy, dx = (part.ravel() for part in np.mgrid[0:max_lag + 1, -max_lag:max_lag + 1])
    half = (dy > 0) | (dx > 0)
    dy, dx = dy[half], dx[half]
    n = np.round(pairs[dy, dx])
    with np.errstate(divide='ignore', invalid='ignore'):
        # An image that was not changed has no residual, and that is not correlated.
        correlation = products[dy, dx] / n / variance if variance > 0 else np.zeros(n.shape)
        error = 1 / np.sqrt(n)
    z = correlation / error
    total = float(np.nansum(z ** 2))
    table = Table({'dy': dy, 'dx': dx, 'correlation': correlation, 'correlation_err': error,
                   'significance': z, 'n': n.astype(int)},
                  meta={'max_lag': max_lag, 'variance': float(variance), 'chi2': total, 'n_lags': int(z.size),
                        'p_value': float(chi2_distribution.sf(total, z.size)),
                        'effective_area': float(1 + 2 * np.nansum(correlation))})
    return set_units(table, 'pix', ('dy', 'dx'))


def combine_autocorrelations(tables):
    """Join the tables of several frames: correlations add by their numbers of pairs."""
    parts = vstack(list(tables), join_type='exact', metadata_conflicts='silent')
    lags, place = np.unique(np.stack([parts['dy'], parts['dx']], axis=1), axis=0, return_inverse=True)
    n = np.bincount(place.ravel(), parts['n'])
    with np.errstate(divide='ignore', invalid='ignore'):
        correlation = np.bincount(place.ravel(), np.nan_to_num(parts['correlation'] * parts['n'])) / n
        error = 1 / np.sqrt(n)
    table = Table({'dy': lags[:, 0], 'dx': lags[:, 1], 'correlation': correlation, 'correlation_err': error,
                   'significance': correlation / error, 'n': n.astype(int)})
    return set_units(table, 'pix', ('dy', 'dx'))


def autocorrelation_map(table):
    """
    Make an image of an autocorrelation.

    Parameters
    ----------
    table : `~astropy.table.Table`
        From `autocorrelation` or `residual_whiteness`.

    Returns
    -------
    `~numpy.ndarray`
        Shape (2 max_lag + 1, 2 max_lag + 1); the centre is lag 0, where the value is 1.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.validation import autocorrelation, autocorrelation_map
    >>> table = autocorrelation(np.random.default_rng(0).normal(size=(64, 64)), max_lag=2)
    >>> autocorrelation_map(table).shape
    (5, 5)
    """
    dy, dx = (np.asarray(table[name]).astype(int) for name in ('dy', 'dx'))
    half = int(max(np.abs(dy).max(), np.abs(dx).max()))
    result = np.full((2 * half + 1, 2 * half + 1), np.nan)
    result[half, half] = 1
    result[half + dy, half + dx] = result[half - dy, half - dx] = np.asarray(table['correlation'])
    return result
