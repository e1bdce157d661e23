# Licensed under a 3-clause BSD style license - see LICENSE
"""
A table of the sources of a frame, with a stated share of false entries.
"""

import warnings
from functools import partial

import numpy as np
from astropy import units as u
from astropy.nddata import CCDData, NDData, StdDevUncertainty
from astropy.table import Table
from scipy.ndimage import distance_transform_edt
from scipy.signal import fftconvolve
from scipy.spatial import cKDTree

from ..significance import detection_image
from ..utils.checks import check_integer
from ..utils.warn import warn_user
from ..version import __version__
from .false_rates import expected_false, false_scores, hollow_scores, threshold_at_share
from .repeats import RepeatedFrames

__all__ = ['compare_detections', 'detect', 'detect_on_both']

# Significance from which on peaks are looked at, on results and on frames as measured.
_FLOOR, _INPUT_FLOOR = 3.0, 2.0
_AREA = 1_000_000    # pixels of repetitions that are enough for a threshold ...
_MOST_FRAMES = 8     # ... and the most frames for that, of small ones
_FWHM = 3.0          # pixels; of frames that show no star to measure it on
_FEWEST_STARS = 3    # to measure a point-spread function on
_BLENDED = 1.5       # FWHM: nearer sources share their light
# Beside the flags of forced_photometry, whose flag for masked pixels refers to apertures.
_MASK_FLAG, _BLEND_FLAG = 2, 8


def detect(original, clean=None, *, false_rate=0.05, psf=None, denoiser=None, n_frames=None, seed=0):
    """
    Find the sources of a frame on its denoised image, and measure them on the original one.

    Parameters
    ----------
    original : `~astropy.nddata.CCDData`
        The frame as measured, shape (ny, nx).
    clean : `~astropy.nddata.CCDData`, optional
        The frame denoised, with its uncertainty; by default it is denoised.
    false_rate : float, optional
        Expected share of false entries in the table.
    psf : float, array_like, model or PSF, optional
        Point-spread function: its full width at half maximum in pixels, an image of a star of odd size, or a model; by
        default it is measured on isolated stars.
    denoiser : callable, optional
        Function from `~astropy.nddata.CCDData` to denoised `~astropy.nddata.CCDData`, as ``clean`` was made with; by
        default `astropy_n2v.denoise`.
    n_frames : int, optional
        Number of repetitions of the exposure that set the threshold; by default enough for a million pixels.
    seed : int, optional
        Seed of their noise.

    Returns
    -------
    `~astropy.table.Table`
        One row a source, the most significant first: ``id``; ``x`` and ``y`` (pixels, 0 the centre of the first);
        ``ra`` and ``dec`` (ICRS), if the frame has a celestial WCS; ``flux`` and ``flux_err``, of the point-spread
        function fitted at that place to the *original* data, neighbours along; ``snr``, their ratio;
        ``significance``, the height in `~astropy_n2v.detection_image`; ``false_share``, the expected share of false
        entries among the entries at least as significant; and ``flag``, a sum of 1 (the fit reaches beyond the edge),
        2 (masked or saturated pixels within a FWHM, left out of the fit), 4 (no local background), 8 (another entry
        within 1.5 FWHM). With 1 or 4 the flux is NaN; the one of an extended source is less than its total flux.
        Meta: ``threshold``, ``false_rate``, ``n_frames``, ``fwhm``, ``version``.

    Raises
    ------
    TypeError
        If ``original`` or ``clean`` is no `~astropy.nddata.NDData`.
    ValueError
        If ``false_rate`` is not between 0 and 1, shapes do not agree, or ``clean`` has no uncertainty.
    AuditError, CannotDenoiseError
        If the frame cannot be denoised.

    Warns
    -----
    `~astropy.utils.exceptions.AstropyUserWarning`
        If there are too few isolated stars to measure the point-spread function on, and 3 pixels are assumed.

    See Also
    --------
    astropy_n2v.detection_image : The map of significance.
    astropy_n2v.photometry.forced_photometry : Measure fluxes at given positions.

    Notes
    -----
    The exposure is repeated: scenes that the result and its uncertainty allow, with noise drawn from the noise model
    and the autocorrelation of the frame, are denoised in turn (see ``sources.repeats``). Sources
    found there where the frame has nothing are false: peaks of noise, clumps of stars too faint to be found, outskirts
    of sources. Knots of nebulosity are real light but no stars; how many pass for stars is inferred from the hollows
    between them. Filaments as sharp as the point-spread function remain in the table. For the noise, the negative of
    the result would not do: its hollows are not like its peaks.

    Examples
    --------
    >>> from astropy_n2v import detect
    >>> from astropy_n2v.simulate import make_scene
    >>> scene = make_scene('survey', (128, 128), seed=1)
    >>> sources = detect(scene.observe(seed=2), psf=scene.psf, n_frames=1)
    >>> sources.colnames
    ['id', 'x', 'y', 'flux', 'flux_err', 'snr', 'significance', 'false_share', 'flag']
    """
    if not (np.isscalar(false_rate) and 0 < false_rate < 1):
        raise ValueError(f'false_rate must be between 0 and 1, got {false_rate}')
    check_integer('n_frames', n_frames, 1)
    for name, value in (('original', original), ('clean', clean)):
        if not isinstance(value, NDData) and (name == 'original' or value is not None):
            raise TypeError(f'{name} must be CCDData, got {type(value).__name__}')
    clean = (denoiser or _denoise)(original) if clean is None else clean
    search = _Search(original, clean, psf)
    found = search.on_result(clean)
    n_frames = n_frames or search.enough_frames()
    false = search.repeat(found, denoiser, n_frames, seed)[0] if len(found) else []
    expected = partial(expected_false, false=false, n_frames=n_frames, hollows=search.hollows(clean, found))
    threshold, shares = threshold_at_share(found['score'], expected, false_rate)
    keep = np.asarray(found['score']) >= threshold
    table = _measure(original, found[keep], search.frames, search.psf)
    table['significance'], table['false_share'] = np.asarray(found['score'])[keep], shares[keep]
    table['flag'] = table.columns.pop('flag')
    table.meta = {'threshold': threshold, 'false_rate': float(false_rate), 'n_frames': n_frames,
                  'fwhm': float(search.psf.fwhm), 'version': __version__}
    return table


def compare_detections(original, clean, *, false_rate=0.05, psf=None, denoiser=None, n_frames=None, seed=0):
    """
    Count the sources found on a frame and on its denoised image, at the same expected share of false ones.

    Parameters
    ----------
    original, clean : `~astropy.nddata.CCDData`
        The frame as measured, shape (ny, nx), and denoised, with its uncertainty.
    false_rate, psf, denoiser, n_frames, seed : optional
        As for `astropy_n2v.detect`.

    Returns
    -------
    `~astropy.table.Table`
        A row for the ``image`` 'input' and one for 'result': ``n``, the number of entries; ``n_false``, how many of
        these are expected to be false; ``threshold``, of the significance of a star above its local background, on the
        input in units of the noise, on the result as of `astropy_n2v.detection_image`.

    Raises
    ------
    TypeError, ValueError
        As `astropy_n2v.detect`.

    Examples
    --------
    >>> from astropy_n2v import denoise
    >>> from astropy_n2v.simulate import make_scene
    >>> from astropy_n2v.sources import compare_detections
    >>> ccd = make_scene('survey', (96, 96), seed=1).observe(seed=2)
    >>> compare_detections(ccd, denoise(ccd), psf=3.2, n_frames=1)['image'].tolist()
    ['input', 'result']
    """
    search = _Search(original, clean, psf)
    rows = []
    for name, found, threshold, expected in search.on_both(original, clean, false_rate, denoiser, n_frames, seed):
        n = int(np.sum(np.asarray(found['score']) >= threshold))
        rows.append((name, n, float(expected(threshold)) if n else 0.0, threshold))
    return Table(rows=rows, names=('image', 'n', 'n_false', 'threshold'))


def detect_on_both(original, clean, *, false_rate=0.05, psf=None, denoiser=None, n_frames=None, seed=0):
    """
    Find the sources of a frame and of its denoised image, at the same expected share of false ones.

    Parameters
    ----------
    original, clean : `~astropy.nddata.CCDData`
        The frame as measured, shape (ny, nx), and denoised, with its uncertainty.
    false_rate, psf, denoiser, n_frames, seed : optional
        As for `astropy_n2v.detect`.

    Returns
    -------
    dict of `~astropy.table.Table`
        'input' and 'result': the columns of `astropy_n2v.detect` but ``false_share``, with fluxes measured on the
        original frame in both; and ``matched``, true where the other table has a source within a FWHM. Meta:
        ``threshold``, ``n_false`` (how many are expected to be false), ``fwhm``.

    Raises
    ------
    TypeError, ValueError
        As `astropy_n2v.detect`.

    See Also
    --------
    astropy_n2v.sources.compare_detections : The numbers alone.

    Examples
    --------
    >>> from astropy_n2v import denoise
    >>> from astropy_n2v.simulate import make_scene
    >>> from astropy_n2v.sources import detect_on_both
    >>> ccd = make_scene('survey', (96, 96), seed=1).observe(seed=2)
    >>> tables = detect_on_both(ccd, denoise(ccd), psf=3.2, n_frames=1)
    >>> sorted(tables), 'matched' in tables['input'].colnames
    (['input', 'result'], True)
    """
    search, tables = _Search(original, clean, psf), {}
    for name, found, threshold, expected in search.on_both(original, clean, false_rate, denoiser, n_frames, seed):
        found = found[np.asarray(found['score']) >= threshold]
        table = _measure(original, found, search.frames, search.psf)
        table['significance'] = np.asarray(found['score'])
        table.meta = {'threshold': threshold, 'n_false': float(expected(threshold)) if len(found) else 0.0,
                      'fwhm': float(search.psf.fwhm)}
        tables[name] = table
    for table, other in (tables.values(), reversed(tables.values())):
        table['matched'] = _near(table, other, search.psf.fwhm)
    return tables


def _near(table, other, reach):
    """For each source of a table, if another one has a source within reach, in pixels."""
    if not len(table) or not len(other):
        return np.zeros(len(table), dtype=bool)
    places, others = (np.column_stack([each['x'].value, each['y'].value]) for each in (table, other))
    return cKDTree(others).query(places)[0] <= reach


class _Search:
    """How sources of one frame are looked for: on its result, on the frame itself, and on repetitions of both."""

    def __init__(self, original, clean, psf):
        self.psf = _point_spread(psf, original)
        self.frames = RepeatedFrames(original, clean, self.psf.stamp)
        # Of a maximum on the edge, nothing says that it is one.
        self.mask = np.pad(self.frames.mask[1:-1, 1:-1], 1, constant_values=True)

    def enough_frames(self):
        """Compute the number of repetitions for a threshold."""
        return int(np.clip(-(-_AREA // self.frames.scene.size), 1, _MOST_FRAMES))

    def on_result(self, image):
        """Find the sources of a denoised image."""
        return self._peaks(image, _FLOOR)

    def on_input(self, frame):
        """Find the sources of a frame that is not denoised, on its matched filter above the local background."""
        sigma = StdDevUncertainty(self.frames.sigma, copy=False)
        return self._peaks(CCDData(np.asarray(frame.data, dtype=float), unit='', uncertainty=sigma), _INPUT_FLOOR)

    def hollows(self, clean, found):
        """Measure the depths of the hollows between the knots of a nebula, on a denoised image."""
        return hollow_scores(self._peaks(clean, _FLOOR, sign=-1), found, self.psf.fwhm)

    def on_both(self, original, clean, false_rate, denoiser, n_frames, seed):
        """Yield name, sources, threshold and expected number of false ones, of the input and of the result."""
        known = self.on_result(clean)
        lists = self.on_input(original), known
        n_frames = n_frames or self.enough_frames()
        false = self.repeat(known, denoiser, n_frames, seed)[::-1]
        hollows = self.hollows(clean, known)
        for name, found, scores in zip(('input', 'result'), lists, false):
            # Of frames as measured, the hollows of nebulosity are not seen for the noise.
            expected = partial(expected_false, false=scores, n_frames=n_frames,
                               hollows=hollows if name == 'result' else ())
            threshold, _ = threshold_at_share(found['score'], expected, false_rate)
            yield name, found, threshold, expected

    def _peaks(self, image, floor, sign=1):
        from ..validation import find_sources
        significance = detection_image(image, self.psf.stamp)
        return find_sources(sign * significance.data, floor, mask=significance.mask | self.mask)

    def repeat(self, found, denoiser, n_frames, seed):
        """Score false detections in repetitions of the exposure, on their results and on themselves."""
        denoiser = denoiser or partial(_denoise, audit='warn')
        rng, scores = np.random.default_rng(seed), ([], [])
        for _ in range(n_frames):
            frame = self.frames.draw(rng)
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')   # they came when the frame was denoised
                repeated = self.on_result(denoiser(frame)), self.on_input(frame)
            for sources, part in zip(repeated, scores):
                part.append(false_scores(sources, found, self.psf.fwhm))
        return [np.concatenate(part) for part in scores]


def _denoise(frame, **options):
    from ..denoising import denoise
    return denoise(frame, **options)


def _point_spread(psf, frame):
    """Take the PSF that was given, or measure it on the frame."""
    from ..photometry import PSF, measure_psf
    from ..simulate import make_psf
    if psf is None:
        for threshold in 30.0, 10.0:
            try:
                measured = measure_psf(frame, threshold=threshold)
            except ValueError:
                continue
            if measured.n_stars >= _FEWEST_STARS:
                return measured
        warn_user(f'too few isolated stars to measure the point-spread function on: a FWHM of {_FWHM:g} pixels is '
                  'assumed; give psf')
        psf = _FWHM
    if np.ndim(psf) == 0 and not isinstance(psf, PSF) and not callable(psf):
        fwhm = float(getattr(psf, 'value', psf))
        if not 0.5 <= fwhm <= 100:
            raise ValueError(f'psf must be an image, a model or a FWHM between 0.5 and 100 pixels, got {psf}')
        half = min(int(6 * fwhm) + 1, (min(np.shape(frame.data)) - 1) // 2)
        psf = make_psf(fwhm, half_size=half)
    return PSF.from_any(psf)


def _correlated_error(correlation, stamp):
    """By how much correlated noise raises the error of the flux of a star."""
    overlap = fftconvolve(stamp, stamp[::-1, ::-1], mode='full')
    centre, reach = [n // 2 for n in overlap.shape], min(correlation.shape[0] // 2, min(overlap.shape) // 2)
    middle = correlation.shape[0] // 2
    lags = correlation[middle - reach:middle + reach + 1, middle - reach:middle + reach + 1]
    part = overlap[centre[0] - reach:centre[0] + reach + 1, centre[1] - reach:centre[1] + reach + 1]
    return np.sqrt(max(np.sum(lags * part) / overlap[centre[0], centre[1]], 0.01))


def _measure(original, found, frames, psf):
    """Measure positions and fluxes of sources on the original frame."""
    from ..photometry import forced_photometry
    x, y = (np.asarray(found[name], dtype=float) for name in ('x', 'y'))
    unit = getattr(original, 'unit', None) or u.dimensionless_unscaled
    columns = {'id': np.arange(1, len(found) + 1), 'x': x * u.pix, 'y': y * u.pix, **_sky(original.wcs, x, y)}
    flux, error, flag = np.empty(0), np.empty(0), np.empty(0, dtype=int)
    if len(found):
        values = np.where(frames.mask, np.nan, frames.values)
        fluxes = forced_photometry(values, np.column_stack([x, y]), method='psf', psf=psf.stamp,
                                   noise=np.where(frames.sigma > 0, frames.sigma, np.nan))
        flux, flag = np.asarray(fluxes['flux']), np.array(fluxes['flag'])
        error = np.asarray(fluxes['flux_err']) * _correlated_error(frames.correlation, psf.stamp)
        tree = cKDTree(np.column_stack([x, y]))
        crowd = np.array([len(near) for near in tree.query_ball_point(tree.data, _BLENDED * psf.fwhm)])
        flag |= np.where(crowd > 1, _BLEND_FLAG, 0)
        if frames.mask.any():
            distance = distance_transform_edt(~frames.mask)[np.rint(y).astype(int), np.rint(x).astype(int)]
            flag |= np.where(distance <= psf.fwhm, _MASK_FLAG, 0)
    with np.errstate(invalid='ignore', divide='ignore'):
        columns |= {'flux': flux * unit, 'flux_err': error * unit, 'snr': flux / error}
    return Table({**columns, 'flag': flag})


def _sky(wcs, x, y):
    """Right ascension and declination, if a WCS has them."""
    celestial = sky_wcs(wcs)
    if celestial is None:
        return {}
    sky = celestial.pixel_to_world(x, y).icrs
    return {'ra': sky.ra.to(u.deg), 'dec': sky.dec.to(u.deg)}


def sky_wcs(wcs):
    """
    Select the celestial axes of a WCS, if they lead to right ascension and declination.

    Parameters
    ----------
    wcs : `~astropy.wcs.WCS` or None
        Any WCS.

    Returns
    -------
    `~astropy.wcs.WCS` or None
        Of two axes; None for the longitude and latitude of the Sun or of a planet, too.

    Examples
    --------
    >>> from astropy.wcs import WCS
    >>> from astropy_n2v.sources.detecting import sky_wcs
    >>> wcs = WCS(naxis=2)
    >>> wcs.wcs.ctype = 'GLON-TAN', 'GLAT-TAN'
    >>> sky_wcs(wcs).naxis
    2
    >>> wcs.wcs.ctype = 'HPLN-TAN', 'HPLT-TAN'
    >>> sky_wcs(wcs) is None
    True
    """
    if wcs is None or not getattr(wcs, 'has_celestial', False):
        return None
    celestial = wcs.celestial
    try:
        return celestial if hasattr(celestial.pixel_to_world(0, 0), 'icrs') else None
    except (TypeError, ValueError):   # on a body without radii
        return None
