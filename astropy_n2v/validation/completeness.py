# Licensed under a 3-clause BSD style license - see LICENSE
"""
Completeness against magnitude: what was found, and what theory allows to find.
"""

from dataclasses import dataclass, field

import numpy as np
from astropy import units as u
from astropy.stats import binom_conf_interval
from astropy.table import Table
from scipy.special import expit, ndtr

__all__ = ['CompletenessFit', 'fit_completeness', 'matched_filter_completeness', 'matched_filter_depth',
           'matched_filter_snr', 'measure_completeness']


def binomial_interval(k, n, confidence=0.95):
    """The Wilson interval of a fraction; NaN of nothing. Arrays of one shape come back for the two ends."""
    k, n = np.asarray(k), np.asarray(n)
    low, high = np.full(n.shape, np.nan), np.full(n.shape, np.nan)
    some = n > 0
    if some.any():
        low[some], high[some] = binom_conf_interval(k[some], n[some], confidence_level=confidence, interval='wilson')
    return low, high


def check_fraction(name, value):
    """Raise ValueError unless a number lies between 0 and 1."""
    if not (np.isscalar(value) and 0 < value < 1):
        raise ValueError(f'{name} must be between 0 and 1, got {value}')


def _magnitudes(mag, detected):
    mag = np.asarray(getattr(mag, 'value', mag), dtype=float)
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
        One row a bin, with ``mag_lo``, ``mag_hi`` (its edges), ``mag`` (mean of its sources; the
        centre of an empty one), ``n``, ``n_detected``, ``completeness``, ``completeness_lo`` and
        ``completeness_hi`` (Wilson's binomial interval, `astropy.stats.binom_conf_interval`);
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
    if np.ndim(bins) == 0:
        if not bins >= 1:
            raise ValueError(f'bins must be a positive number or edges, got {bins}')
    elif np.size(bins) < 2 or not (np.diff(bins) > 0).all():
        raise ValueError(f'bins must be at least two increasing edges, got {bins}')
    edges = np.histogram_bin_edges(mag, bins)
    n, _ = np.histogram(mag, edges)
    k, _ = np.histogram(mag[detected], edges)
    total, _ = np.histogram(mag, edges, weights=mag)
    some = n > 0
    centre = np.where(some, total / np.maximum(n, 1), (edges[1:] + edges[:-1]) / 2)
    low, high = binomial_interval(k, n, confidence)
    fraction = np.where(some, k / np.maximum(n, 1), np.nan)
    return Table([edges[:-1] * u.mag, edges[1:] * u.mag, centre * u.mag, n, k, fraction, low, high],
                 names=('mag_lo', 'mag_hi', 'mag', 'n', 'n_detected', 'completeness', 'completeness_lo',
                        'completeness_hi'),
                 meta={'confidence': confidence, 'interval': 'Wilson'})


@dataclass(frozen=True)
class CompletenessFit:
    """
    A logistic curve through single detections: ``1 / (1 + exp((mag - m50) / width))``.

    Parameters
    ----------
    m50, m50_error : float
        Magnitude of 50 % completeness and its standard error.
    m90, m90_error : float
        Magnitude of 90 % completeness and its standard error.
    width, width_error : float
        Scale of the fall, in magnitudes.
    n, n_detected : int
        Sources that were there, and found.
    """

    m50: float
    m50_error: float
    m90: float
    m90_error: float
    width: float
    width_error: float
    n: int = field(repr=False)
    n_detected: int = field(repr=False)

    def __call__(self, mag):
        """Completeness at magnitudes."""
        return expit((self.m50 - np.asarray(mag)) / self.width)


def logistic_fit(mag, detected, weights=None):
    raise NotImplementedError


def fit_completeness(mag, detected, *, errors='hessian', n_bootstrap=200, seed=None):
    """
    Fit a logistic curve to the completeness, by maximum likelihood on the single sources.

    Parameters
    ----------
    mag : array_like
        Magnitudes of the sources that were there, shape (n,).
    detected : array_like of bool
        Which of them were found.
    errors : {'hessian', 'bootstrap'}, optional
        Errors from the curvature of the likelihood, or from resampled sources.
    n_bootstrap : int, optional
        Number of samples of the bootstrap.
    seed : int or `~numpy.random.Generator`, optional
        Seed of the bootstrap.

    Returns
    -------
    CompletenessFit
        50 and 90 % completeness magnitudes with standard errors.

    Raises
    ------
    ValueError
        If the arrays do not agree, all sources were found or none was, or ``errors`` is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.validation import fit_completeness
    >>> rng = np.random.default_rng(0)
    >>> mag = rng.uniform(18, 24, 2000)
    >>> fit = fit_completeness(mag, rng.uniform(size=2000) < 1 / (1 + np.exp((mag - 21) / 0.3)))
    >>> bool(abs(fit.m50 - 21) < 3 * fit.m50_error)
    True
    """
    raise NotImplementedError


def matched_filter_snr(flux, psf, sigma):
    """
    The expected significance of a star in the matched filter, in white noise.

    Parameters
    ----------
    flux : float or array_like
        Total flux of the star.
    psf : `~numpy.ndarray`
        Image of a star of flux 1.
    sigma : float
        Noise of a pixel, in the unit of ``flux``.

    Returns
    -------
    float or `~numpy.ndarray`
        ``flux * sqrt(sum(psf**2)) / sigma`` (King 1983, PASP 95, 163).

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.validation import matched_filter_snr
    >>> float(matched_filter_snr(10.0, np.full((2, 2), 0.25), 1.0))
    5.0
    """
    raise NotImplementedError


def matched_filter_completeness(mag, psf, sigma, threshold, *, zeropoint=0.0):
    """Completeness of the matched filter at the positions of the stars, ``Phi(S/N - threshold)``."""
    raise NotImplementedError


def matched_filter_depth(psf, sigma, threshold, *, zeropoint=0.0):
    """Magnitude at which half of the stars exceed the threshold in the matched filter: S/N = threshold."""
    raise NotImplementedError
