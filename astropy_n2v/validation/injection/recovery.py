# Licensed under a 3-clause BSD style license - see LICENSE
"""
Injection and recovery: what becomes of artificial sources.
"""

from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.table import Table, vstack

from ...photometry.psf_measurement import PSF
from ...utils.checks import require
from ..detection.completeness import matched_filter_depth
from ..measures.frames import run_denoiser
from .search import Search, blank_frames, check_blank, false_table
from .sources import inject_realisations

__all__ = ['Recovery', 'inject_and_recover']

#: The maps of the frame before it is denoised.
MAPS_BEFORE = ('raw', 'matched filter')


@dataclass(frozen=True, eq=False)
class Recovery:
    """
    Injected sources, their detections, and detections where nothing is.

    Parameters
    ----------
    injected : `~astropy.table.Table`
        A row for each source in each map: ``image`` (name of the map), ``frame`` (number of the
        realisation), ``id``, ``kind``, ``x``, ``y``, ``mag``, ``flux``, ``r_eff``; ``score`` of the
        highest detection within the radius (NaN: none above the floor), ``score_before`` of one
        that was there without the injection, ``dx`` and ``dy`` (found minus injected, pixels);
        ``flux_found``, the flux fitted at the injected position, and ``flux_change``, that minus
        the same on the frame without injections. Meta: ``area`` (megapixels searched, all
        realisations), ``radius`` (pixels), ``fwhm`` (pixels), ``zeropoint``, ``floor`` (the lowest
        score that was looked for, by map).
    false : `~astropy.table.Table`
        A row for each detection where nothing is: ``image``, ``frame``, ``x``, ``y``, ``score``.
        Meta: ``area`` (megapixels), ``blank`` (what kind of frames: 'flip', 'noise', 'given' or
        'none').

    Examples
    --------
    >>> from astropy_n2v.simulate import make_scene
    >>> from astropy_n2v.validation import inject_and_recover
    >>> scene = make_scene('survey', (160, 160), seed=1)
    >>> recovery = inject_and_recover(scene.observe(seed=2), lambda ccd: ccd, scene.psf, n_realisations=2, n_sources=4,
    ...                               seed=3)
    >>> 0 < recovery.area < 2 * 160 ** 2 / 1e6
    True
    """

    injected: Table
    false: Table

    @property
    def images(self):
        """Return the names of the maps."""
        return list(dict.fromkeys(self.injected['image'].tolist()))

    @property
    def area(self):
        """Area in which injected sources were looked for, in megapixels, all realisations together."""
        return float(self.injected.meta['area'])

    @property
    def false_area(self):
        """Area in which false detections were counted, in megapixels."""
        return float(self.false.meta['area'])

    @classmethod
    def stack(cls, recoveries):
        """
        Join the recoveries of several frames.

        Parameters
        ----------
        recoveries : list of Recovery
            Made with the same maps.

        Returns
        -------
        Recovery
            Realisations are numbered on; areas are summed.

        Raises
        ------
        ValueError
            If there is no Recovery, or they do not have the same maps.
        """
        recoveries = list(recoveries)
        if not recoveries:
            raise ValueError('recoveries must hold at least one Recovery, got none')
        first, tables = recoveries[0], []
        for other in recoveries[1:]:
            if other.images != first.images:
                raise ValueError(f'recoveries must have the same maps, got {first.images} and {other.images}')
        for name in ('injected', 'false'):
            parts, start = [], 0
            for recovery in recoveries:
                part = getattr(recovery, name).copy()
                part['frame'] += start
                start = part['frame'].max() + 1 if len(part) else start + 1
                parts.append(part)
            table = vstack(parts, metadata_conflicts='silent')
            table.meta['area'] = sum(part.meta['area'] for part in parts)
            tables.append(table)
        floors = [recovery.injected.meta['floor'] for recovery in recoveries]
        tables[0].meta['floor'] = {image: max(floor[image] for floor in floors) for image in first.images}
        return cls(*tables)


def inject_and_recover(ccd, denoiser, psf, *, n_realisations=10, n_sources=200, magnitudes=None, zeropoint=0.0,
                       galaxies=0.0, gain=None, noise=None, sigma=None, blank='flip', n_blank=1, radius=None,
                       max_false_rate=1000.0, spacing=None, avoid_sources=True, mask=None, extra=None, progress=None,
                       seed=None):
    """
    Inject sources into a frame, denoise it, and search for them.

    The denoiser runs once on the frame as it is, once for each blank frame, and once for each
    realisation; only one of them is held in memory.

    Parameters
    ----------
    ccd : `~astropy.nddata.CCDData`
        The frame.
    denoiser : callable
        Function from `~astropy.nddata.CCDData` to `~astropy.nddata.CCDData`.
    psf : PSF, `~numpy.ndarray` or model
        The point-spread function: given, or from `~astropy_n2v.photometry.measure_psf`.
    n_realisations, n_sources : int, optional
        Number of sets, and of sources in each.
    magnitudes : tuple of float, optional
        The brightest and the faintest; by default 2.5 mag brighter to 1.5 mag fainter than what
        the matched filter sees at 5 sigma.
    zeropoint, galaxies : float, optional
        As for `draw_sources`.
    gain, noise : optional
        For the photon noise of the sources: as for `inject_sources`.
    sigma : float, array_like or `~astropy_n2v.NoiseModel`, optional
        Noise of the sky, the unit of the maps; by default measured on a mesh.
    blank : {'flip', 'noise'}, list of `~astropy.nddata.CCDData` or None, optional
        Where false detections are counted: on the frame turned upside down (`flip_frame`), on
        white noise of its background and ``sigma``, on frames without sources, or not at all.
    n_blank : int, optional
        Number of frames for 'noise'.
    radius : float, optional
        How far from its place a source may be found, in pixels; by default 0.75 FWHM, at least 1.5.
    max_false_rate : float, optional
        Scores are kept down to this many false detections per megapixel.
    spacing : float, optional
        As for `injection_positions`; by default six FWHM.
    avoid_sources : bool, optional
        Whether to keep away from what the matched filter sees at 5 sigma on the frame.
    mask : array_like of bool, optional
        True where nothing is injected or counted, besides the mask of ``ccd``.
    extra : dict, optional
        Further maps, as for `detection_maps`.
    progress : callable, optional
        It is called with the number of denoised frames, and how many there will be.
    seed : int or `~numpy.random.Generator`, optional
        Seed of everything.

    Returns
    -------
    Recovery
        The sources that were injected and found, and the false detections.

    Raises
    ------
    ValueError
        If the sources or the PSF do not fit the frame, or the gain is not known.
    TypeError
        If the denoiser does not return `~astropy.nddata.CCDData`.

    See Also
    --------
    compare_depth : Depth at equal false-detection rate.
    measure_completeness : Completeness by magnitude.

    Examples
    --------
    >>> from astropy_n2v.simulate import make_scene
    >>> from astropy_n2v.validation import inject_and_recover
    >>> scene = make_scene('survey', (160, 160), seed=1)
    >>> recovery = inject_and_recover(scene.observe(seed=2), lambda ccd: ccd, scene.psf, n_realisations=1,
    ...                               n_sources=8, seed=3)
    >>> recovery.images, len(recovery.injected)
    (['raw', 'matched filter', 'denoised'], 24)
    """
    psf = PSF.from_any(psf)
    radius = max(1.5, 0.75 * psf.fwhm) if radius is None else radius
    spacing = 6 * psf.fwhm if spacing is None else spacing
    require(0 < radius < spacing / 2, 'radius', f'be positive and less than half of spacing, {spacing / 2:g}', radius)
    require(max_false_rate > 0, 'max_false_rate', 'be positive', max_false_rate)
    n_blanks, kind = check_blank(blank, n_blank)
    search = Search(ccd, psf, mask, sigma, extra, radius)
    if search.covered.all():
        raise ValueError(f'psf must leave room on the frame, {search.covered.shape}: all of it is masked, covered by '
                         f'sources or near the edge for a stamp of {psf.stamp.shape}')
    if magnitudes is None:
        limit = matched_filter_depth(psf, float(np.median(search.sigma)), 5.0, zeropoint=zeropoint)
        magnitudes = limit - 2.5, limit + 1.5
    total, done = 1 + n_blanks + n_realisations, 0

    def tick():
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    # Before anything is denoised, so that what does not fit is known at once.
    noise_rng, source_rng = np.random.default_rng(seed).spawn(2)
    realisations = inject_realisations(
        ccd, psf, n_realisations=n_realisations, n_sources=n_sources, magnitudes=magnitudes, zeropoint=zeropoint,
        galaxies=galaxies, gain=gain, noise=noise, spacing=spacing,
        mask=search.covered if avoid_sources else search.filter.bad | ~search.filter.useful, seed=source_rng)
    first = next(realisations)
    base = run_denoiser(denoiser, ccd)
    base_maps = search.maps(ccd, base)
    tick()
    if kind == 'none':
        floors = dict.fromkeys(base_maps, 3.0)
        false = Table(names=('image', 'frame', 'x', 'y', 'score'), dtype=('U64', int, float, float, float),
                      units={'x': u.pix, 'y': u.pix}, meta={'area': 0.0})
    else:
        false, floors = false_table(denoiser, blank_frames(blank, search, n_blank, noise_rng), max_false_rate, tick)
    false.meta['blank'] = kind
    before = {name: search.catalog(image, floors[name]) for name, image in base_maps.items()}
    del base_maps
    parts = []
    for number, (injected, sources) in enumerate(_chain(first, realisations)):
        denoised = run_denoiser(denoiser, injected)
        fluxes = search.fluxes([injected, denoised, ccd, base], sources)
        for name, image in search.maps(injected, denoised).items():
            found = search.score(search.catalog(image, floors[name]), sources)
            parts.append(_rows(name, number, sources, found, search.score(before[name], sources)[0], fluxes, ccd))
        tick()
    table = vstack(parts, metadata_conflicts='silent')
    table.meta = {'area': search.area * n_realisations, 'radius': float(radius), 'fwhm': float(psf.fwhm),
                  'zeropoint': float(zeropoint), 'floor': floors}
    return Recovery(table, false)


def _chain(first, others):
    """
    Put an item before others.

    Yields
    ------
    object
        The item, then the others.
    """
    yield first
    yield from others


def _rows(name, number, sources, found, before, fluxes, ccd):
    """The rows of one map and one realisation."""
    rows = sources['id', 'kind', 'x', 'y', 'mag', 'flux', 'r_eff'].copy()
    rows['kind'] = rows['kind'].astype('U6')
    rows.add_column(np.full(len(rows), number), 0, 'frame')
    rows.add_column(np.full(len(rows), name, dtype='U64'), 0, 'image')
    rows['score'], rows['score_before'] = found[0], before
    rows['dx'], rows['dy'] = found[1] * u.pix, found[2] * u.pix
    after = 0 if name in MAPS_BEFORE else 1
    rows['flux_found'], rows['flux_change'] = fluxes[after], fluxes[after] - fluxes[after + 2]
    for column in ('flux_found', 'flux_change'):
        rows[column].unit = ccd.unit
    return rows
