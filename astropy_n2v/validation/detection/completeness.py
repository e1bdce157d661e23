# Licensed under a 3-clause BSD style license - see LICENSE
"""
Completeness against magnitude: what was found, and what theory allows to find.
"""


import numpy as np
from astropy import units as u
from astropy.table import Table
from scipy.special import expit

from ...photometry.inputs import as_floats
from ...utils.checks import require
from ..measures.inputs import check_bins
from ..measures.statistics import binomial_interval

__all__ = ['matched_filter_depth', 'matched_filter_snr', 'measure_completeness']

_LOGIT90 = np.log(9)   # from 50 to 90 % along a logistic curve, in units of its width


def wilson_interval(k, n, confidence=0.95):
    """Compute the Wilson interval of fractions: arrays of its two ends, NaN where there was no trial."""
    some = np.asarray(n) > 0
    _, low, high = binomial_interval(np.where(some, k, 0), n, confidence=confidence, method='wilson')
    return np.where(some, low, np.nan), np.where(some, high, np.nan)


def check_fraction(name, value):
    """Raise ValueError unless a number lies between 0 and 1."""
    require(np.isscalar(value) and 0 < value < 1, name, 'be between 0 and 1', value)


def _magnitudes(mag, detected):
    """Convert magnitudes and detections to arrays that agree."""
    mag = as_floats(getattr(mag, 'value', mag))
    detected = np.asarray(detected)
    if mag.ndim != 1 or detected.shape != mag.shape:
        raise ValueError(f'mag and detected must be one-dimensional and of one length, got {mag.shape} and '
                         f'{detected.shape}')
    if mag.size == 0:
        raise ValueError('mag must hold at least one source, got none')
    if not np.isfinite(mag).all():
        raise ValueError(f'mag must be finite, got {np.sum(~np.isfinite(mag))} values that are not')
    return mag, detected.astype(bool)


def measure_completeness(mag, detected, *, bins=10, confidence=0.95):
    """
    Measure the completeness in bins of magnitude.

    Parameters
    ----------
    mag : array_like
        Magnitudes of the sources that were there, shape (n,).
    detected : array_like of bool
        Which of them were found.
    bins : int or array_like, optional
        Number of bins of equal width, or their edges; sources outside are left out.
    confidence : float, optional
        Confidence level of the intervals.

    Returns
    -------
    `~astropy.table.Table`
        One row a bin, with ``mag_low``, ``mag_high`` (its edges), ``mag`` (mean of its sources; the
        centre of an empty one), ``n``, ``n_detected``, ``completeness``, ``completeness_low`` and
        ``completeness_high`` (Wilson's binomial interval, `astropy.stats.binom_conf_interval`);
        NaN in empty bins.

    Raises
    ------
    ValueError
        If the arrays do not agree, are empty, or ``bins`` are not increasing.

    Examples
    --------
    >>> from astropy_n2v.validation import measure_completeness
    >>> table = measure_completeness([20.1, 20.2, 22.3, 22.4], [True, True, True, False], bins=[20, 21, 23])
    >>> table['completeness'].tolist()
    [1.0, 0.5]
    """
    mag, detected = _magnitudes(mag, detected)
    check_fraction('confidence', confidence)
    require(np.ndim(bins) or bins >= 1, 'bins', 'be a positive number or edges', bins)
    edges = np.histogram_bin_edges(mag, check_bins(bins) if np.ndim(bins) else bins)
    n, _ = np.histogram(mag, edges)
    k, _ = np.histogram(mag[detected], edges)
    total, _ = np.histogram(mag, edges, weights=mag)
    some = n > 0
    centre = np.where(some, total / np.maximum(n, 1), (edges[1:] + edges[:-1]) / 2)
    low, high = wilson_interval(k, n, confidence)
    fraction = np.where(some, k / np.maximum(n, 1), np.nan)
    return Table([edges[:-1] * u.mag, edges[1:] * u.mag, centre * u.mag, n, k, fraction, low, high],
                 names=('mag_low', 'mag_high', 'mag', 'n', 'n_detected', 'completeness', 'completeness_low',
                        'completeness_high'),
                 meta={'confidence': confidence, 'interval': 'Wilson'})


def logistic_fit(mag, detected, weights=None):
    """
    Fit a logistic curve, ``expit(a - b * (mag - centre))``, and the covariance of its coefficients.

    The likelihood is penalised as by Firth (1993, Biometrika 80, 27), so that it has a maximum
    even where no magnitude holds both found and lost sources.

    Returns ``m50, width, covariance`` (of m50 and width); NaN where nothing falls.
    """
    weights = np.ones(mag.size) if weights is None else np.asarray(weights, dtype=float)
    centre, scale = mag.mean(), max(mag.std(), 1e-12)
    design = np.stack([np.ones(mag.size), (centre - mag) / scale], axis=1)
    found = detected.astype(float)

    def penalised(beta):
        eta = design @ beta
        p = expit(eta)
        information = (design * (weights * p * (1 - p))[:, None]).T @ design
        determinant = np.linalg.det(information)
        likelihood = np.sum(weights * (found * eta - np.logaddexp(0, eta)))
        return likelihood + 0.5 * np.log(max(determinant, 1e-300)), p, information

    beta = np.array([0.0, 2.0])
    value, p, information = penalised(beta)
    for _ in range(100):
        try:
            inverse = np.linalg.inv(information)
        except np.linalg.LinAlgError:
            return np.nan, np.nan, np.full((2, 2), np.nan)
        leverage = weights * p * (1 - p) * np.sum((design @ inverse) * design, axis=1)
        step = inverse @ (design.T @ (weights * (found - p) + leverage * (0.5 - p)))
        step *= min(1.0, 3.0 / np.abs(step).max()) if np.abs(step).max() > 0 else 1.0
        for _ in range(12):
            new = penalised(beta + step)
            if new[0] >= value - 1e-9:
                break
            step = step / 2
        beta, (value, p, information) = beta + step, new
        if np.abs(step).max() < 1e-6 * np.abs(beta).max():
            break
    a, b = beta
    if not b > 1e-6:
        return np.nan, np.nan, np.full((2, 2), np.nan)
    jacobian = np.array([[scale / b, -scale * a / b ** 2], [0, -scale / b ** 2]])
    return centre + scale * a / b, scale / b, jacobian @ np.linalg.inv(information) @ jacobian.T


def _unit_snr(psf, sigma):
    """Significance of a star of flux 1."""
    from ...photometry.psf_measurement import PSF
    require(np.isscalar(sigma) and np.isfinite(sigma) and sigma > 0, 'sigma', 'be a positive number', sigma)
    return np.sqrt(np.sum(PSF.from_any(psf).stamp ** 2)) / sigma


def matched_filter_snr(flux, psf, sigma):
    """
    Compute the expected significance of a star in the matched filter, in white noise.

    Parameters
    ----------
    flux : float or array_like
        Total flux of the star.
    psf : PSF, `~numpy.ndarray` or model
        The point-spread function: anything that `~astropy_n2v.photometry.PSF.from_any` takes.
    sigma : float
        Standard deviation of the noise of a pixel, in the unit of ``flux``.

    Returns
    -------
    float or `~numpy.ndarray`
        ``flux * sqrt(sum(psf**2)) / sigma``: the noise of the sky only, as a detection asks
        whether there is anything but sky (King 1983, PASP 95, 163).

    Raises
    ------
    ValueError
        If ``sigma`` is not positive.

    Examples
    --------
    >>> from astropy_n2v.simulate import make_psf
    >>> from astropy_n2v.validation import matched_filter_snr
    >>> bool(abs(matched_filter_snr(45.2, make_psf(3.0, kind='gaussian'), 2.0) - 5.0) < 0.02)
    True
    """
    return np.asarray(flux, dtype=float)[()] * _unit_snr(psf, sigma)


def matched_filter_depth(psf, sigma, threshold, *, zeropoint=0.0):
    """
    Compute the magnitude at which theory expects the matched filter to find half of the stars.

    Parameters
    ----------
    psf : PSF, `~numpy.ndarray` or model
        The point-spread function.
    sigma : float
        Standard deviation of the noise of a pixel.
    threshold : float
        In standard deviations of the filtered noise.
    zeropoint : float, optional
        Magnitude of a star of flux 1.

    Returns
    -------
    float
        Where the expected significance is ``threshold``.

    Raises
    ------
    ValueError
        If ``sigma`` or ``threshold`` is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.validation import matched_filter_depth
    >>> psf = np.zeros((3, 3))
    >>> psf[1, 1] = 1
    >>> float(matched_filter_depth(psf, 20.0, 5.0))
    -5.0
    """
    require(np.isscalar(threshold) and threshold > 0, 'threshold', 'be a positive number', threshold)
    return zeropoint - 2.5 * np.log10(threshold / _unit_snr(psf, sigma))
