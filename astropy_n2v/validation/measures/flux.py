# Licensed under a 3-clause BSD style license - see LICENSE
"""
Flux of sources before and after denoising.
"""

import numpy as np
from astropy.table import Table
from scipy.stats import rankdata

from ...background import background_level
from ...photometry.forced import FluxOperator, fluxes_in_circles
from ...photometry.inputs import as_floats, set_units, stated_sigma
from ...utils.checks import require
from .inputs import SNR_BINS, as_images, check_bins, compared_images
from .statistics import Bootstrap
from .tables import estimate_rows

__all__ = ['compare_fluxes', 'compare_growth', 'compare_total_flux', 'flux_bias', 'flux_correlation']


def compare_fluxes(before, after, positions, *, truth=None, true_flux=None, method='aperture', radius=None, psf=None,
                   annulus='auto', noise=None, mask=None):
    """
    Measure the fluxes of sources before and after, by one set of weights on one set of pixels.

    Parameters
    ----------
    before, after : `~astropy.nddata.CCDData` or array_like
        Input and output of a denoiser, of one shape and unit.
    positions : `~astropy.table.Table` or array_like
        Columns x and y, or shape (n, 2) with x, y; 0 is the centre of the first pixel.
    truth : `~astropy.nddata.CCDData` or array_like, optional
        The image without noise, or a deeper one on the same grid and scale.
    true_flux : array_like, optional
        Instead: fluxes from a catalogue, in the unit of the images. Its apertures and neighbours
        may differ from those here.
    method, radius, psf, annulus : optional
        As for `~astropy_n2v.photometry.forced_photometry`.
    noise : `~astropy_n2v.NoiseModel`, float or array_like, optional
        Noise of ``before``; by default its uncertainty, else measured.
    mask : array_like of bool, optional
        True where pixels do not count.

    Returns
    -------
    `~astropy.table.Table`
        For each source: id, x, y, flux_before, flux_before_err, flux_after, flux_after_err (from the summed variances
        that ``after`` states; NaN without), flux_true, flux_true_err (of a reference with an uncertainty, else 0),
        snr and flag (see `~astropy_n2v.photometry.forced_photometry`). ``meta`` has method, radius, annulus, and
        ``snr_from``: 'truth', 'catalogue' or 'before'.

    Raises
    ------
    ValueError
        If shapes do not agree, there are no positions, or a parameter is out of its range.

    Notes
    -----
    The S/N is the true flux over the noise of ``before``. Without truth it comes from
    ``before`` itself: sources are then sorted by the noise that is judged, and the ones of low S/N
    lie on negative fluctuations, which any denoiser raises. Below 10 such bins say nothing.

    Examples
    --------
    >>> from astropy_n2v.simulate import make_scene
    >>> from astropy_n2v.validation import compare_fluxes
    >>> scene = make_scene('survey', (96, 96), seed=1)
    >>> ccd = scene.observe(seed=2)
    >>> sources = compare_fluxes(ccd, ccd, scene.catalog, truth=scene.truth, psf=scene.psf, noise=scene.noise)
    >>> sources.meta['snr_from']
    'truth'
    """
    (first, second, third), sigma, unit = compared_images(before, after, truth, noise, mask)
    valid = np.isfinite(first) & np.isfinite(sigma)
    operator = FluxOperator(first.shape, positions, method=method, radius=radius, psf=psf, annulus=annulus,
                            weights=1 / sigma ** 2, valid=valid)
    n = len(operator.x)
    stated, reference = stated_sigma(after), stated_sigma(truth)
    flux_before, err_before = operator.flux(first), operator.error(sigma)
    true, origin = np.full(n, np.nan), 'before'
    if true_flux is not None:
        true, origin = np.asarray(getattr(true_flux, 'value', true_flux), dtype=float), 'catalogue'
        require(true.shape == (n,), 'true_flux', f'have one value for each of the {n} positions', true.shape)
    elif third is not None:
        true, origin = operator.flux(third), 'truth'
    table = Table({'id': np.arange(1, n + 1), 'x': operator.x, 'y': operator.y,
                   'flux_before': flux_before, 'flux_before_err': err_before, 'flux_after': operator.flux(second),
                   'flux_after_err': np.full(n, np.nan) if stated is None else operator.error(stated),
                   'flux_true': true, 'flux_true_err': np.zeros(n) if reference is None else operator.error(reference),
                   'snr': (flux_before if origin == 'before' else true) / err_before, 'flag': operator.flag},
                  meta={'method': method, 'radius': operator.radius, 'annulus': operator.annulus, 'snr_from': origin})
    set_units(table, 'pix', 'xy')
    return set_units(table, unit, ('flux_before', 'flux_before_err', 'flux_after', 'flux_after_err', 'flux_true',
                                   'flux_true_err'))


def _columns(sources, *names):
    """Return the columns of a table of sources as arrays."""
    missing = [name for name in names if name not in sources.colnames]
    if missing:
        raise ValueError(f'sources must be a table from compare_fluxes, got one without {missing}')
    return [as_floats(sources[name]) for name in names]


def flux_bias(sources, *, bins=SNR_BINS, confidence=0.6827, n_resamples=1000, seed=None):
    """
    Measure bias and scatter of fluxes after denoising, by S/N.

    Parameters
    ----------
    sources : `~astropy.table.Table`
        From `compare_fluxes`.
    bins : sequence of float, optional
        Edges of bins of S/N.
    confidence, n_resamples, seed : optional
        As in `bootstrap_interval`.

    Returns
    -------
    `~astropy.table.Table`
        First a row for all sources, then one for each bin: snr_low, snr_high, n, snr (median), and
        with their standard errors and intervals (_err, _low, _high):

        * bias: median of (F_after - F_before) / F_true, with F_before for lack of a true flux
        * bias_sigma: median of (F_after - F_before) / flux_before_err
        * bias_truth: median of (F_after - F_true) / F_true
        * scatter_before, scatter_after: robust, of (F - F_true) / flux_before_err
        * pull_before, pull_after: median of (F - F_true) / quoted error, and their rms as
          pull_rms_before, pull_rms_after

        Columns that need a true flux are NaN without.

    Examples
    --------
    >>> from astropy_n2v.simulate import make_scene
    >>> from astropy_n2v.validation import compare_fluxes, flux_bias
    >>> scene = make_scene('crowded', (64, 64), seed=1)
    >>> ccd = scene.observe(seed=2)
    >>> sources = compare_fluxes(ccd, ccd, scene.catalog, truth=scene.truth, psf=scene.psf, noise=scene.noise)
    >>> float(flux_bias(sources, seed=3)['bias'][0])
    0.0
    """
    bins = check_bins(bins, SNR_BINS)
    before, err_before, after, err_after, true, err_true, snr = _columns(
        sources, 'flux_before', 'flux_before_err', 'flux_after', 'flux_after_err', 'flux_true', 'flux_true_err', 'snr')
    scale = np.where(np.isfinite(true), true, before)
    with np.errstate(divide='ignore', invalid='ignore'):
        values = {'bias': (after - before) / scale, 'bias_sigma': (after - before) / err_before,
                  'truth': (after - true) / true,
                  'before': (before - true) / err_before, 'after': (after - true) / err_before,
                  'pull_before': (before - true) / np.hypot(err_before, err_true),
                  'pull_after': (after - true) / np.hypot(err_after, err_true)}
    measures = {'bias': ('bias', 'median'), 'bias_sigma': ('bias_sigma', 'median'), 'bias_truth': ('truth', 'median'),
                'scatter_before': ('before', 'scatter'), 'scatter_after': ('after', 'scatter'),
                'pull_before': ('pull_before', 'median'), 'pull_after': ('pull_after', 'median'),
                'pull_rms_before': ('pull_before', 'rms'), 'pull_rms_after': ('pull_after', 'rms')}
    good = np.isfinite(after - before) & np.isfinite(snr)
    table = estimate_rows({name: value[good] for name, value in values.items()}, snr[good], bins, measures,
                          Bootstrap(confidence, n_resamples, seed), prefix='snr', centre='snr')
    table.meta.update(sources.meta)
    return table


def _pearson(x, y, axis=-1):
    """Compute Pearson's correlation along an axis."""
    dx, dy = x - x.mean(axis=axis, keepdims=True), y - y.mean(axis=axis, keepdims=True)
    with np.errstate(divide='ignore', invalid='ignore'):
        return np.sum(dx * dy, axis=axis) / np.sqrt(np.sum(dx ** 2, axis=axis) * np.sum(dy ** 2, axis=axis))


def _spearman(x, y, axis=-1):
    """Compute Spearman's correlation along an axis."""
    return _pearson(rankdata(x, axis=axis), rankdata(y, axis=axis), axis=axis)


def _line(x, y, weight, axis=-1):
    """Slope and intercept of the weighted least-squares line."""
    total = weight.sum(axis=axis, keepdims=True)
    mean_x = (weight * x).sum(axis=axis, keepdims=True) / total
    mean_y = (weight * y).sum(axis=axis, keepdims=True) / total
    with np.errstate(divide='ignore', invalid='ignore'):
        slope = (weight * (x - mean_x) * (y - mean_y)).sum(axis=axis) / (weight * (x - mean_x) ** 2).sum(axis=axis)
    return slope, mean_y.squeeze(axis) - slope * mean_x.squeeze(axis)


def flux_correlation(sources, *, against=None, confidence=0.6827, n_resamples=1000, seed=None):
    """
    Measure how closely fluxes after denoising follow the earlier or the true ones.

    Parameters
    ----------
    sources : `~astropy.table.Table`
        From `compare_fluxes`.
    against : {'truth', 'before'}, optional
        What to compare with; by default the truth, if there is one.
    confidence, n_resamples, seed : optional
        As in `bootstrap_interval`.

    Returns
    -------
    `~astropy.table.Table`
        For each measure: measure, value, value_err, value_low, value_high, expected, n. Measures: 'pearson' (the
        brightest sources decide), 'pearson_log' (of the logarithms of positive fluxes),
        'spearman', and 'slope' and 'intercept' of the line fitted with weights 1 / flux_before_err**2.

    Raises
    ------
    ValueError
        If there are fewer than three sources with fluxes, or no true fluxes for 'truth'.

    Examples
    --------
    >>> from astropy_n2v.simulate import make_scene
    >>> from astropy_n2v.validation import compare_fluxes, flux_correlation
    >>> scene = make_scene('crowded', (64, 64), seed=1)
    >>> ccd = scene.observe(seed=2)
    >>> sources = compare_fluxes(ccd, ccd, scene.catalog, psf=scene.psf, noise=scene.noise)
    >>> flux_correlation(sources)['value'].round(3).tolist()
    [1.0, 1.0, 1.0, 1.0, 0.0]
    """
    before, err, after, true = _columns(sources, 'flux_before', 'flux_before_err', 'flux_after', 'flux_true')
    if against is None:
        against = 'truth' if np.isfinite(true).any() else 'before'
    require(against in ('truth', 'before'), 'against', "be 'truth' or 'before'", against)
    x = true if against == 'truth' else before
    good = np.isfinite(x) & np.isfinite(after) & np.isfinite(err)
    require(good.sum() >= 3, 'sources', f'hold at least three with fluxes {against} and after', good.sum())
    x, after, weight = x[good], after[good], 1 / err[good] ** 2
    positive = (x > 0) & (after > 0)
    bootstrap, rows = Bootstrap(confidence, n_resamples, seed).started(), []
    logs = tuple(np.log10(part[positive]) for part in (x, after))
    for name, arrays, function, expected in (
            ('pearson', (x, after), _pearson, 1.0), ('pearson_log', logs, _pearson, 1.0),
            ('spearman', (x, after), _spearman, 1.0),
            ('slope', (x, after, weight), lambda *parts, axis: _line(*parts, axis=axis)[0], 1.0),
            ('intercept', (x, after, weight), lambda *parts, axis: _line(*parts, axis=axis)[1], 0.0)):
        estimate = bootstrap.interval(arrays, function)
        rows.append({'measure': name, **estimate.columns('value'), 'expected': expected, 'n': estimate.n})
    return Table(rows=rows, meta={'confidence': confidence, 'against': against, **sources.meta})


def compare_growth(before, after, positions, radii, *, truth=None, annulus='auto', mask=None, confidence=0.6827,
                   n_resamples=1000, seed=None):
    """
    Measure curves of growth before and after, which show if flux moves inwards or outwards.

    Parameters
    ----------
    before, after : `~astropy.nddata.CCDData` or array_like
        Images of one shape and unit.
    positions : `~astropy.table.Table` or array_like
        Isolated, bright sources.
    radii : array_like
        Increasing radii in pixels.
    truth : array_like, optional
        The truth or a deeper reference.
    annulus, mask : optional
        As for `~astropy_n2v.photometry.forced_photometry`.
    confidence, n_resamples, seed : optional
        As in `bootstrap_interval`.

    Returns
    -------
    `~astropy.table.Table`
        For each radius: radius, growth_before, growth_after, growth_true (medians over sources of
        the flux over the total: the true, or the former flux within the largest radius), change
        (median of F_after - F_before over that total) with change_err, change_low, change_high, n.

    Raises
    ------
    ValueError
        If shapes do not agree, there are no positions or radii do not increase.

    Examples
    --------
    >>> from astropy_n2v.simulate import make_scene
    >>> from astropy_n2v.validation import compare_growth
    >>> scene = make_scene('survey', (96, 96), seed=1)
    >>> ccd = scene.observe(seed=2)
    >>> compare_growth(ccd, ccd, scene.catalog[:4], [1, 2, 4])['change'].tolist()
    [0.0, 0.0, 0.0]
    """
    shares = growth_shares(before, after, positions, radii, truth=truth, annulus=annulus, mask=mask)
    table = estimate_growth(shares, Bootstrap(confidence, n_resamples, seed))
    table.remove_columns(['rank'])
    return table


def growth_shares(before, after, positions, radii, *, truth=None, annulus='auto', mask=None):
    """
    Measure the curve of growth of each source, as for `compare_growth`, to be combined over frames.

    Returns a table with a row for each source and radius: rank (of the radius), radius, before, after and true, the
    fluxes over the total; true is NaN without a truth.
    """
    (first, second, third), _ = as_images(mask, before=before, after=after, truth=truth)
    images = [first, second] + ([] if third is None else [third])
    fluxes = fluxes_in_circles(images, positions, radii, annulus)
    total = fluxes[-1 if third is not None else 0][-1]
    with np.errstate(divide='ignore', invalid='ignore'):
        shares = [(flux / total).ravel() for flux in fluxes]
    rank = np.repeat(np.arange(len(radii)), total.size)
    table = Table({'rank': rank, 'radius': np.asarray(radii, dtype=float)[rank], 'before': shares[0],
                   'after': shares[1], 'true': shares[2] if third is not None else np.full(rank.size, np.nan)})
    return set_units(table, 'pix', ['radius'])


def estimate_growth(shares, bootstrap, *, against='before'):
    """Make the table of `compare_growth` from the shares of sources; changes are against 'before' or 'true'."""
    bootstrap, rows = bootstrap.started(), []
    columns = {name: as_floats(shares[name]) for name in shares.colnames if name != 'frame'}
    for rank in np.unique(columns['rank']):
        part = {name: column[columns['rank'] == rank] for name, column in columns.items()}
        change = bootstrap.interval(part['after'] - part[against])
        medians = {f'growth_{name}': float(np.median(part[name][np.isfinite(part[name])]))
                   if np.isfinite(part[name]).any() else np.nan for name in ('before', 'after', 'true')}
        rows.append({'rank': int(rank), 'radius': float(np.mean(part['radius'])), **medians,
                     **change.columns('change'), 'n': change.n})
    return set_units(Table(rows=rows, meta={'confidence': bootstrap.confidence}), 'pix', ['radius'])


def compare_total_flux(before, after, *, truth=None, noise=None, mask=None):
    """
    Compare the sums over the whole image.

    Parameters
    ----------
    before, after : `~astropy.nddata.CCDData` or array_like
        Images of one shape and unit.
    truth : array_like, optional
        The truth or a reference.
    noise : `~astropy_n2v.NoiseModel`, float or array_like, optional
        Noise of ``before``.
    mask : array_like of bool, optional
        True where pixels do not count.

    Returns
    -------
    `~astropy.table.Table`
        A row for 'after - before' and, with a truth, for 'before - truth' and 'after - truth':
        comparison, total, total_expected, difference, difference_err (of a sum of independent
        pixels with the noise of ``before``: no denoiser needs to deviate by more), significance,
        relative_difference and relative_difference_err (over the flux above the background,
        ``meta['source_flux']``), n_pixels.

    Raises
    ------
    ValueError
        If shapes do not agree or no pixel is valid.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.validation import compare_total_flux
    >>> image = np.random.default_rng(0).normal(size=(64, 64))
    >>> compare_total_flux(image, image + 0.1, noise=1.0)['significance'].round(1).tolist()
    [6.4]
    """
    (first, second, third), sigma, unit = compared_images(before, after, truth, noise, mask)
    good = np.isfinite(first) & np.isfinite(sigma)
    error = float(np.sqrt(np.sum(sigma[good] ** 2)))
    best = first if third is None else third
    sources = float(np.sum(best[good]) - good.sum() * background_level(best))
    pairs = [('after - before', second, first)]
    if third is not None:
        pairs += [('before - truth', first, third), ('after - truth', second, third)]
    rows = []
    for name, image, expected in pairs:
        # Summed as differences, lest a large background eat the digits.
        difference = float(np.sum((image - expected)[good]))
        rows.append({'comparison': name, 'total': float(image[good].sum()),
                     'total_expected': float(expected[good].sum()), 'difference': difference, 'difference_err': error,
                     'significance': difference / error, 'relative_difference': difference / sources,
                     'relative_difference_err': error / abs(sources), 'n_pixels': int(good.sum())})
    table = Table(rows=rows, meta={'source_flux': sources})
    return set_units(table, unit, ('total', 'total_expected', 'difference', 'difference_err'))
