# Licensed under a 3-clause BSD style license - see LICENSE
"""
Finding sources, and the maps to find them on.
"""

import warnings

import numpy as np
import photutils
from astropy import units as u
from astropy.table import Table
from photutils.detection import DAOStarFinder
from photutils.segmentation import SourceCatalog, deblend_sources, detect_sources
from photutils.utils.exceptions import NoDetectionsWarning
from scipy.stats import norm

from ...photometry.frames import frame_arrays, local_maxima, sky_of
from ...photometry.inputs import stated_sigma
from ...photometry.psf_measurement import PSF
from ...photometry.star_fit import StarFit, correlate
from ...utils.checks import require

__all__ = ['detection_maps', 'find_residual_sources', 'find_sources', 'matched_filter']

_METHODS = ('peaks', 'daofind', 'segmentation')


def _source_table(x, y, score, threshold, method, **columns):
    """Make a table of sources by falling score, as all methods return them."""
    order = np.argsort(-np.asarray(score, dtype=float), kind='stable')
    table = Table([np.arange(1, len(order) + 1), np.asarray(x, float)[order] * u.pix,
                   np.asarray(y, float)[order] * u.pix, np.asarray(score, float)[order]],
                  names=('id', 'x', 'y', 'score'), meta={'threshold': float(threshold), 'method': method})
    for name, values in columns.items():
        table[name] = np.asarray(values)[order]
    return table


def _parabola(image, x, y):
    """Find positions of peaks from parabolas through a pixel and its neighbours along each axis."""
    padded = np.pad(image, 1, constant_values=np.nan)   # at the edge there is no parabola
    result = []
    for start, dx, dy in ((x, 1, 0), (y, 0, 1)):
        below, centre, above = (padded[y + 1 + k * dy, x + 1 + k * dx] for k in (-1, 0, 1))
        curvature = 2 * centre - below - above
        with np.errstate(divide='ignore', invalid='ignore'):
            shift = (above - below) / (2 * curvature)
        result.append(start + np.where((curvature > 0) & np.isfinite(shift), np.clip(shift, -0.5, 0.5), 0))
    return result


def _find_peaks(image, bad, threshold, fwhm):
    """Local maxima."""
    box = 3 if fwhm is None else max(3, 2 * int(fwhm / 2) + 1)
    x, y, score = local_maxima(np.where(bad, min(0.0, threshold), image), threshold, box)
    return _source_table(*_parabola(np.where(bad, 0, image), x, y), score, threshold, 'peaks')


def _find_daofind(image, bad, threshold, fwhm):
    """Find sources by DAOStarFinder."""
    if fwhm is None or not (np.isfinite(fwhm) and fwhm > 0):
        raise ValueError(f"fwhm must be a positive number of pixels for method='daofind', got {fwhm}")
    with warnings.catch_warnings(), photutils.use_future_column_names():
        warnings.simplefilter('ignore', NoDetectionsWarning)
        found = DAOStarFinder(threshold, fwhm)(np.where(bad, 0, image), mask=bad if bad.any() else None)
    if found is None:
        return _source_table([], [], [], threshold, 'daofind')
    # The height in the filtered image over the threshold is what DAOFIND calls its magnitude.
    score = threshold * 10 ** (-0.4 * np.asarray(found['daofind_mag']))
    return _source_table(found['x_centroid'], found['y_centroid'], score, threshold, 'daofind')


def _find_segmentation(image, bad, threshold, n_pixels, deblend):
    """Connected pixels, deblended."""
    with warnings.catch_warnings(), photutils.use_future_column_names():
        warnings.simplefilter('ignore')   # nothing found, or too much of it to deblend
        image = np.where(bad, 0, image)
        segments = detect_sources(image, threshold, n_pixels, mask=bad)
        if segments is not None and deblend:
            segments = deblend_sources(image, segments, n_pixels, progress_bar=False)
        if segments is None:
            return _source_table([], [], [], threshold, 'segmentation', n_pixels=np.empty(0, dtype=int))
        catalog = SourceCatalog(image, segments, mask=bad)
        x, y, score = (np.atleast_1d(values) for values in (catalog.x_centroid, catalog.y_centroid,
                                                            catalog.max_value))
        size = np.atleast_1d(catalog.segment_area.value).astype(int)
    good = np.isfinite(x) & np.isfinite(y)
    return _source_table(x[good], y[good], score[good], threshold, 'segmentation', n_pixels=size[good])


def find_sources(image, threshold, *, method='peaks', fwhm=None, mask=None, n_pixels=5, deblend=True):
    """
    Find sources on a significance map or on an image.

    Parameters
    ----------
    image : array_like or `~astropy.nddata.NDData`
        Significance map, or an image whose background is subtracted; its mask and what is not
        finite is left out.
    threshold : float
        In the units of ``image``. For 'daofind', of an image in units of its white noise, it is in
        standard deviations of the image filtered by the finder's own kernel, which is small and
        sums to zero: a star has a lower score than in the matched filter.
    method : {'peaks', 'daofind', 'segmentation'}, optional
        'peaks': local maxima, for a map that is filtered already. 'daofind':
        `photutils.detection.DAOStarFinder` (Stetson 1987, PASP 99, 191). 'segmentation': connected
        pixels above the threshold, deblended (`photutils.segmentation`), for extended sources.
    fwhm : float, optional
        Of stars in pixels: for 'daofind' the width of the kernel, for 'peaks' the smallest
        distance of two maxima is about half of it.
    mask : array_like of bool, optional
        True where not to look.
    n_pixels : int, optional
        For 'segmentation', the smallest number of connected pixels.
    deblend : bool, optional
        For 'segmentation', whether to part what touches.

    Returns
    -------
    `~astropy.table.Table`
        ``id``, ``x``, ``y`` (pixels, 0 the centre of the first pixel) and ``score``, the height in
        the units of the threshold, the highest first; ``n_pixels`` for 'segmentation'. Empty
        without sources.

    Raises
    ------
    ValueError
        If ``method`` is unknown, ``threshold`` is not positive, or ``fwhm`` is missing.

    See Also
    --------
    matched_filter : A significance map.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.validation import find_sources
    >>> image = np.zeros((20, 20))
    >>> image[8, 11] = 7.0
    >>> sources = find_sources(image, 5.0)
    >>> sources['x'].tolist(), sources['y'].tolist(), sources['score'].tolist()
    ([11.0], [8.0], [7.0])
    """
    require(method in _METHODS, 'method', f'be one of {", ".join(map(repr, _METHODS))}', method)
    check_threshold(threshold)
    data, bad = frame_arrays(image, mask, name='image')
    if method == 'peaks':
        return _find_peaks(data, bad, threshold, fwhm)
    if method == 'daofind':
        return _find_daofind(data, bad, threshold, fwhm)
    require(n_pixels >= 1, 'n_pixels', 'be at least 1', n_pixels)
    return _find_segmentation(data, bad, threshold, n_pixels, deblend)


def check_threshold(threshold):
    """Raise ValueError unless a threshold is a positive number."""
    if not (np.isscalar(threshold) and np.isfinite(threshold) and threshold > 0):
        raise ValueError(f'threshold must be a positive number, got {threshold}')


class StarFilter:
    """
    The matched filter of one sky; all that depends on its noise alone is computed once.

    ``fit`` is the weighted least-squares fit of a star at each pixel, ``error`` the error of its flux.
    """

    def __init__(self, psf, bad, background, sigma):
        self.psf = PSF.from_any(psf)
        self.psf.check_fits(bad.shape)
        self.bad, self.background, self.sigma = bad, background, sigma
        self.fit = StarFit(self.psf.stamp, np.where(bad, 0, 1 / np.broadcast_to(sigma, bad.shape) ** 2))
        # Near masks and edges too little of a star is left to separate it from its neighbours.
        covered = correlate((~bad).astype(float), self.psf.stamp ** 2)
        self.useful = covered > 0.25 * np.sum(self.psf.stamp ** 2)
        self.error = 1 / np.sqrt(np.where(self.useful, self.fit.information, np.inf))
        self.error[~self.useful] = np.inf

    def significance(self, data, background=None):
        """Compute the significance of a star at each pixel of an image."""
        background = self.background if background is None else background
        excess = np.where(self.bad | ~np.isfinite(data), 0, data - background)
        return np.where(self.useful, self.fit.numerator(excess) * np.where(self.useful, self.error, 0), 0.0)

    def peak_significance(self, data):
        """Divide the flux of a star with a given central pixel by the error that the filter would have."""
        excess = np.where(self.bad | ~np.isfinite(data), 0, data - self.background)
        peak = self.psf.stamp[tuple(n // 2 for n in self.psf.stamp.shape)]
        return excess / peak / self.error


def matched_filter(data, psf, *, sigma=None, background=None, mask=None):
    """
    Compute the significance of a star at each pixel: the matched filter.

    Parameters
    ----------
    data : `~astropy.nddata.NDData` or array_like
        The frame, shape (ny, nx).
    psf : PSF, `~numpy.ndarray` or model
        The point-spread function: anything that `~astropy_n2v.photometry.PSF.from_any` takes.
    sigma : float, array_like or `~astropy_n2v.NoiseModel`, optional
        Standard deviation of the noise of the *sky* in each pixel; by default measured on a mesh.
        A noise model is taken at the background.
    background : float or array_like, optional
        To be subtracted; by default measured on a mesh of sigma-clipped boxes of 64 pixels.
    mask : array_like of bool, optional
        True where the data are not to be used.

    Returns
    -------
    `~numpy.ndarray`
        Flux over its error, shape (ny, nx); 0 where there is not enough data.

    Raises
    ------
    ValueError
        If the PSF is larger than the frame or shapes do not agree.

    Notes
    -----
    With weights ``w = 1 / sigma**2``, the map is ``sum(p w d) / sqrt(sum(p**2 w))`` over the
    pixels around each; in white noise no linear filter finds isolated stars better, and the map
    has unit variance (North 1943; Zackay & Ofek 2017, ApJ 836, 187). In correlated noise the unit
    is not a standard deviation: compare at equal false-detection rate.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.simulate import make_psf
    >>> from astropy_n2v.validation import matched_filter
    >>> noise = np.random.default_rng(0).normal(0, 3, (128, 128))
    >>> significance = matched_filter(noise, make_psf(2.5, half_size=10), sigma=3.0, background=0.0)
    >>> bool(abs(significance.std() - 1) < 0.05)
    True
    """
    data, bad, background, sigma = sky_of(data, mask, sigma, background)
    return StarFilter(psf, bad, background, sigma).significance(data)


def detection_maps(noisy, denoised, psf, *, sigma=None, background=None, mask=None, extra=None):
    """
    Compute the maps on which detection is compared, before and after denoising.

    Parameters
    ----------
    noisy, denoised : `~astropy.nddata.CCDData`
        The frame before and after.
    psf : PSF, `~numpy.ndarray` or model
        The point-spread function.
    sigma, background, mask : optional
        Of the noisy frame, as for `matched_filter`; they serve all maps.
    extra : dict, optional
        Further maps: functions ``f(noisy, denoised)`` that return one, by their names.

    Returns
    -------
    dict of `~numpy.ndarray`
        'raw' and 'denoised': the flux of a star whose central pixel is the one of the image,
        over the error of the flux in the matched filter; 'matched filter': of the noisy frame.
        These three have the same unit, so that 5 in any of them claims a star that the matched
        filter sees at 5 sigma. 'denoised / uncertainty', in its own unit, if the denoised frame
        has an uncertainty.

    Raises
    ------
    ValueError
        If the frames or the maps differ in shape.

    Examples
    --------
    >>> from astropy_n2v.simulate import make_scene
    >>> from astropy_n2v.validation import detection_maps
    >>> scene = make_scene('survey', (128, 128), seed=1)
    >>> ccd = scene.observe(seed=2)
    >>> list(detection_maps(ccd, ccd, scene.psf))
    ['raw', 'matched filter', 'denoised']
    """
    data, bad, background, sigma = sky_of(noisy, mask, sigma, background)
    return maps_of(StarFilter(psf, bad, background, sigma), noisy, denoised, extra)


def maps_of(star_filter, noisy, denoised, extra=None):
    """Compute the maps of `detection_maps` by a filter that is set up."""
    before = np.asarray(noisy.data, dtype=float)
    after = np.asarray(denoised.data, dtype=float)
    require(after.shape == before.shape, 'denoised', f'have the shape of noisy, {before.shape}', after.shape)
    maps = {'raw': star_filter.peak_significance(before), 'matched filter': star_filter.significance(before),
            'denoised': star_filter.peak_significance(after)}
    stated = stated_sigma(denoised)
    if stated is not None:
        excess = np.where(star_filter.bad, 0, after - star_filter.background)
        good = np.isfinite(stated) & np.isfinite(excess) & star_filter.useful
        maps['denoised / uncertainty'] = np.where(good, excess / np.where(good, stated, 1), 0.0)
    for name, function in (extra or {}).items():
        values = np.array(function(noisy, denoised), dtype=float)
        require(values.shape == before.shape, f'extra[{name!r}]',
                f'return a map of the shape of the frame, {before.shape}', values.shape)
        maps[name] = np.where(np.isfinite(values) & star_filter.useful, values, 0.0)
    return maps


def find_residual_sources(noisy, denoised, psf, *, threshold=5.0, sigma=None, mask=None):
    """
    Find stars that a denoiser invented or removed, without any truth.

    Parameters
    ----------
    noisy, denoised : `~astropy.nddata.CCDData`
        The frame before and after.
    psf : PSF, `~numpy.ndarray` or model
        The point-spread function.
    threshold : float, optional
        In standard deviations of the matched filter.
    sigma : float, array_like or `~astropy_n2v.NoiseModel`, optional
        Noise of each pixel. A noise model is taken at the denoised data, so that the photon noise
        of sources counts; by default the sky's is measured, and bright sources should be masked.
    mask : array_like of bool, optional
        True where the data are not to be used.

    Returns
    -------
    `~astropy.table.Table`
        ``x``, ``y``, ``score`` (positive: the denoiser added flux; negative: it took some away)
        and ``kind`` ('invented' or 'removed'). Meta: ``threshold``, ``area`` (megapixels) and
        ``expected``, the number that white noise alone makes, both kinds together, if the
        denoiser removes all of it.

    Raises
    ------
    ValueError
        If shapes do not agree or the PSF is larger than the frame.

    Notes
    -----
    Changes that are larger than the noise allows are not noise: the matched filter of
    denoised minus noisy sees the removed noise, and has a variance of one or less.

    Examples
    --------
    >>> from astropy_n2v.simulate import make_scene
    >>> from astropy_n2v.validation import find_residual_sources
    >>> scene = make_scene('survey', (128, 128), seed=1)
    >>> ccd = scene.observe(seed=2)
    >>> len(find_residual_sources(ccd, ccd, scene.psf))
    0
    """
    check_threshold(threshold)
    after, other = frame_arrays(denoised, mask, name='denoised')
    if hasattr(sigma, 'variance'):
        sigma = np.sqrt(sigma.variance(np.where(np.isfinite(after), after, 0)))
    data, bad, _, sigma = sky_of(noisy, mask, sigma)
    require(after.shape == data.shape, 'denoised', f'have the shape of noisy, {data.shape}', after.shape)
    star_filter = StarFilter(psf, bad | other, 0.0, sigma)
    change = star_filter.significance(after - np.where(np.isfinite(data), data, 0))
    parts = []
    for sign, kind in ((1, 'invented'), (-1, 'removed')):
        part = find_sources(sign * change, threshold, fwhm=star_filter.psf.fwhm)
        part['score'] *= sign
        part['kind'] = np.full(len(part), kind, dtype='U8')
        parts.append(part)
    area = float(np.sum(star_filter.useful & ~star_filter.bad) / 1e6)
    found = {name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in ('x', 'y', 'score', 'kind')}
    table = Table(found, meta={'threshold': float(threshold), 'area': area,
                               'expected': _expected_peaks(star_filter.psf.stamp, threshold) * area * 2})
    table['x'].unit = table['y'].unit = u.pix
    return table


def _expected_peaks(stamp, threshold):
    """
    Compute the peaks per megapixel above a threshold in white noise behind the filter.

    The expected Euler characteristic of the excursion set of a smooth Gaussian field (Adler 1981,
    "The Geometry of Random Fields"), at most what single pixels give.
    """
    norm2 = np.sum(stamp ** 2)
    gradient = np.sqrt(np.sum(np.gradient(stamp, axis=0) ** 2) * np.sum(np.gradient(stamp, axis=1) ** 2)) / norm2
    density = gradient * threshold * np.exp(-threshold ** 2 / 2) / (2 * np.pi) ** 1.5
    return 1e6 * float(min(density, norm.sf(threshold)))
