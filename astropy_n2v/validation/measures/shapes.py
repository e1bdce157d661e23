# Licensed under a 3-clause BSD style license - see LICENSE
"""
Positions and sizes of sources, before and after.
"""

import numpy as np
from astropy.table import Table
from scipy.special import ndtr

from ...photometry.inputs import as_positions, set_units
from ...utils.checks import require
from .inputs import SNR_BINS, check_bins, compared_images
from .statistics import Bootstrap
from .tables import estimate_rows

__all__ = ['compare_shapes', 'shape_change']

_FWHM = np.sqrt(8 * np.log(2))   # of a Gaussian, in its standard deviations


def _gaussian(parameters, offset):
    """Circular Gaussians integrated over pixels, and their derivatives by flux, x, y, width and background."""
    flux, x, y, width, background = (value[:, None] for value in parameters.T)
    parts = []
    for centre in x, y:
        low, high = ((offset[None] + step - centre) / width for step in (-0.5, 0.5))
        density = [np.exp(-edge ** 2 / 2) / np.sqrt(2 * np.pi) for edge in (low, high)]
        parts.append((ndtr(high) - ndtr(low), (density[0] - density[1]) / width,
                      (density[0] * low - density[1] * high) / width))
    (in_x, by_x, width_x), (in_y, by_y, width_y) = parts

    def outer(along_y, along_x):
        return (along_y[:, :, None] * along_x[:, None, :]).reshape(len(flux), -1)

    shape = outer(in_y, in_x)
    slopes = [shape, flux * outer(in_y, by_x), flux * outer(by_y, in_x),
              flux * (outer(in_y, width_x) + outer(width_y, in_x)), np.ones(shape.shape)]
    return flux * shape + background, np.stack(slopes, axis=-1)


def _levenberg_marquardt(stamps, weights, start, offset, iterations=40):
    """Fit all stamps at once; return the parameters, their covariance and whether each has converged."""
    parameters = start.copy()
    damping = np.full(len(start), 1e-2)
    model, slopes = _gaussian(parameters, offset)
    chi2 = np.sum(weights * (stamps - model) ** 2, axis=1)
    done = np.zeros(len(start), dtype=bool)
    for _ in range(iterations):
        matrix = np.einsum('npi,np,npj->nij', slopes, weights, slopes)
        gradient = np.einsum('npi,np->ni', slopes, weights * (stamps - model))
        diagonal = np.einsum('nii->ni', matrix)
        ridge = damping[:, None] * diagonal + 1e-12 * diagonal.max(axis=1, keepdims=True) + 1e-300
        step = np.linalg.solve(matrix + ridge[:, :, None] * np.eye(5), gradient[..., None])[..., 0]
        # No more than half a width at once.
        limit = 0.5 * parameters[:, 3]
        step[:, 1:4] = np.clip(step[:, 1:4], -limit[:, None], limit[:, None])
        trial = parameters + step
        trial[:, 3] = np.maximum(trial[:, 3], 0.2)
        trial_model, trial_slopes = _gaussian(trial, offset)
        trial_chi2 = np.sum(weights * (stamps - trial_model) ** 2, axis=1)
        better = trial_chi2 <= chi2
        done |= better & (np.abs(step[:, 1:4]).max(axis=1) < 1e-5)
        parameters[better], model[better], slopes[better] = trial[better], trial_model[better], trial_slopes[better]
        chi2 = np.where(better, trial_chi2, chi2)
        damping = np.clip(np.where(better, damping / 5, damping * 5), 1e-9, 1e9)
        if done.all():
            break
    matrix = np.einsum('npi,np,npj->nij', slopes, weights, slopes)
    covariance = np.linalg.pinv(matrix, hermitian=True)
    return parameters, covariance, done


def _fit(values, sigma, positions, fwhm):
    """
    Fit circular Gaussians to sources, in squares of 3 ``fwhm`` and with weights from ``sigma``.

    Returns a table with id, x, y (given), x_fit, y_fit, x_err, y_err, fwhm, fwhm_err, flux, flux_err and flag: 1 too
    near to the edge, 2 masked pixels, 4 no fit within one ``fwhm`` and with a width of the right order. Where there is
    a flag, results are NaN.
    """
    x, y = as_positions(positions)
    require(fwhm > 0, 'fwhm', 'be positive', fwhm)
    size = 2 * int(np.ceil(1.5 * fwhm)) + 1
    require(size <= min(values.shape), 'fwhm', f'be less than a third of the image, {values.shape}', fwhm)
    half = size // 2
    offset = np.arange(-half, half + 1.0)
    ix, iy = np.round(x).astype(int), np.round(y).astype(int)
    flag = np.where((ix < half) | (iy < half) | (ix >= values.shape[1] - half) | (iy >= values.shape[0] - half), 1, 0)
    use = np.flatnonzero(flag == 0)
    columns = np.full((8, x.size), np.nan)
    if use.size:
        window = np.arange(-half, half + 1)
        at = (iy[use, None, None] + window[:, None], ix[use, None, None] + window)
        stamps, errors = (image[at].reshape(use.size, -1) for image in (values, sigma))
        good = np.isfinite(stamps) & np.isfinite(errors)
        flag[use] |= np.where(good.mean(axis=1) < 0.75, 2, 0)
        weights = np.where(good, 1 / np.where(good, errors, 1) ** 2, 0)
        stamps = np.where(good, stamps, 0)
        border = np.ma.masked_array(stamps, ~good)[:, np.hypot(*np.meshgrid(offset, offset)).ravel() > 0.85 * half]
        background = np.ma.filled(np.ma.median(border, axis=1), 0.0)
        start = np.stack([np.where(good, stamps - background[:, None], 0).sum(axis=1), x[use] - ix[use],
                          y[use] - iy[use], np.full(use.size, fwhm / _FWHM), background], axis=1)
        fitted, covariance, done = _levenberg_marquardt(stamps, weights, start, offset)
        error = np.sqrt(np.maximum(np.einsum('nii->ni', covariance), 0))
        columns[:, use] = (fitted[:, 1] + ix[use], fitted[:, 2] + iy[use], error[:, 1], error[:, 2],
                           fitted[:, 3] * _FWHM, error[:, 3] * _FWHM, fitted[:, 0], error[:, 0])
        moved = np.hypot(fitted[:, 1] + ix[use] - x[use], fitted[:, 2] + iy[use] - y[use])
        width = fitted[:, 3] * _FWHM / fwhm
        flag[use] |= np.where(done & (moved < fwhm) & (width < 4) & (width > 0.25) & (fitted[:, 0] > 0), 0, 4)
    columns[:, flag > 0] = np.nan
    names = ('x_fit', 'y_fit', 'x_err', 'y_err', 'fwhm', 'fwhm_err', 'flux', 'flux_err')
    table = Table({'id': np.arange(1, x.size + 1), 'x': x, 'y': y, **dict(zip(names, columns)), 'flag': flag},
                  meta={'fit_size': size})
    return set_units(table, 'pix', ('x', 'y', *names[:6]))


def compare_shapes(before, after, positions, *, fwhm, truth=None, snr=None, noise=None, mask=None):
    """
    Measure positions and widths of sources before and after, with equal weights.

    Parameters
    ----------
    before, after : `~astropy.nddata.CCDData` or array_like
        Images of one shape and unit.
    positions : `~astropy.table.Table` or array_like
        Columns x and y, or shape (n, 2) with x, y.
    fwhm : float
        Full width at half maximum in pixels, where fits start.
    truth : array_like, optional
        The truth or a deeper reference, to compare with instead of ``before``.
    snr : array_like, optional
        Signal-to-noise ratio of each source, as from `compare_fluxes`; by default the fitted flux
        of the truth or ``before`` over the noise under it.
    noise : `~astropy_n2v.NoiseModel`, float or array_like, optional
        Noise of ``before``.
    mask : array_like of bool, optional
        True where pixels do not count.

    Returns
    -------
    `~astropy.table.Table`
        For each source: id, x, y, snr; dx, dy, shift: after minus truth, or minus before if there
        is no truth; dx_before, dy_before: before minus truth (0 without); fwhm_before,
        fwhm_after, fwhm_true, fwhm_ratio (after over truth, or over before).

    Raises
    ------
    ValueError
        If shapes do not agree or there are no positions.

    Notes
    -----
    A Gaussian is no good model of most point-spread functions: compare widths with each other, not with
    those measured otherwise. It is integrated over pixels, with a constant background, as
    `photutils.psf.CircularGaussianPRF`; all sources are fitted at once (Levenberg-Marquardt), some hundred
    times faster than one by one.

    Examples
    --------
    >>> from astropy_n2v.simulate import make_scene
    >>> from astropy_n2v.validation import compare_shapes
    >>> scene = make_scene('crowded', (64, 64), seed=1)
    >>> ccd = scene.observe(seed=2)
    >>> shapes = compare_shapes(ccd, ccd, scene.catalog[:4], fwhm=3.0, noise=scene.noise)
    >>> float(abs(shapes['dx']).max())
    0.0
    """
    (first, second, third), sigma, _ = compared_images(before, after, truth, noise, mask)
    tables = [_fit(image, sigma, positions, fwhm) for image in (first, second)]
    tables.append(tables[0] if third is None else _fit(third, sigma, positions, fwhm))
    was, now, true = tables
    result = was['id', 'x', 'y']
    result.meta = {'compared_with': 'before' if third is None else 'truth', **was.meta}
    if snr is None:
        # Noise of a matched filter with a Gaussian.
        at = tuple(np.clip(np.round(was[name]).astype(int), 0, n - 1) for name, n in zip('yx', first.shape))
        snr = true['flux'] / (sigma[at] * fwhm * 1.5053)
    snr = np.asarray(snr, dtype=float)
    require(snr.shape == (len(result),), 'snr', f'have one value for each of the {len(result)} positions', snr.shape)
    result['snr'] = snr
    for axis in 'xy':
        result[f'd{axis}'] = now[f'{axis}_fit'] - true[f'{axis}_fit']
        result[f'd{axis}_before'] = was[f'{axis}_fit'] - true[f'{axis}_fit']
    result['shift'] = np.hypot(result['dx'], result['dy'])
    result['fwhm_before'], result['fwhm_after'] = was['fwhm'], now['fwhm']
    result['fwhm_true'] = true['fwhm'] if third is not None else np.nan
    result['fwhm_ratio'] = np.asarray(now['fwhm'] / true['fwhm'])
    result['fwhm_ratio_before'] = np.asarray(was['fwhm'] / true['fwhm'])
    return set_units(result, 'pix', ('fwhm_true', 'shift'))


def shape_change(sources, *, bins=SNR_BINS, confidence=0.6827, n_resamples=1000, seed=None):
    """
    Measure the shift of centroids and the change of widths against S/N.

    Parameters
    ----------
    sources : `~astropy.table.Table`
        From `compare_shapes`.
    bins : sequence of float, optional
        Edges of bins of S/N.
    confidence, n_resamples, seed : optional
        As in `bootstrap_interval`.

    Returns
    -------
    `~astropy.table.Table`
        First a row for all, then one for each bin: snr_low, snr_high, n, snr (median), and with
        _err, _low, _high dx, dy (medians, pixels), fwhm_ratio (median), scatter_dx, scatter_dy
        (robust), scatter_dx_before, scatter_dy_before.

    Examples
    --------
    >>> from astropy_n2v.simulate import make_scene
    >>> from astropy_n2v.validation import compare_shapes, shape_change
    >>> scene = make_scene('crowded', (64, 64), seed=1)
    >>> ccd = scene.observe(seed=2)
    >>> shapes = compare_shapes(ccd, ccd, scene.catalog[:4], fwhm=3.0, noise=scene.noise)
    >>> float(shape_change(shapes, bins=[10, 100])['fwhm_ratio'][0])
    1.0
    """
    bins = check_bins(bins, SNR_BINS)
    values = {name: np.asarray(sources[name], dtype=float)
              for name in ('dx', 'dy', 'dx_before', 'dy_before', 'fwhm_ratio')}
    measures = {'dx': ('dx', 'median'), 'dy': ('dy', 'median'), 'fwhm_ratio': ('fwhm_ratio', 'median'),
                'scatter_dx': ('dx', 'scatter'), 'scatter_dy': ('dy', 'scatter'),
                'scatter_dx_before': ('dx_before', 'scatter'), 'scatter_dy_before': ('dy_before', 'scatter')}
    fitted = np.isfinite(values['dx']) & np.isfinite(values['fwhm_ratio'])
    table = estimate_rows({name: value[fitted] for name, value in values.items()},
                          np.asarray(sources['snr'], dtype=float)[fitted], bins, measures,
                          Bootstrap(confidence, n_resamples, seed), prefix='snr', centre='snr')
    table.meta.update(sources.meta)
    return set_units(table, 'pix', [f'{name}{end}' for name in measures if name != 'fwhm_ratio'
                                    for end in ('', '_err', '_low', '_high')])
