# Licensed under a 3-clause BSD style license - see LICENSE
"""
Artificial stars and galaxies in real frames.
"""

import numpy as np
from astropy import units as u
from astropy.nddata import CCDData, InverseVariance, VarianceUncertainty
from scipy.signal import fftconvolve

from ...noise.resolve import gain_value
from ...photometry.frames import frame_arrays
from ...photometry.inputs import as_floats, position_array
from ...photometry.psf_measurement import PSF
from ...simulate.galaxies import draw_galaxy
from ...utils.checks import require
from ..measures.frames import with_data
from .catalogue import draw_sources, injection_positions

__all__ = ['inject_realisations', 'inject_sources', 'render_sources']

_COLUMNS = ('kind', 'x', 'y', 'flux')
_FINE = 4   # samples of a galaxy along a pixel


def _fine_psf(psf):
    """The PSF on a grid that is finer than pixels."""
    half = psf.stamp.shape[0] // 2
    offsets = np.arange(-half * _FINE, half * _FINE + 1) / _FINE
    return psf.at(*np.meshgrid(offsets, offsets))


def _galaxy_stamp(kernel, dx, dy, r_eff, sersic_n, ellipticity, theta):
    """Draw a galaxy of flux 1, of a finely sampled PSF, with its centre at (dx, dy) in the central pixel."""
    half = int(np.clip(np.ceil((6 if sersic_n < 2 else 10) * r_eff), 4, 60))
    profile = draw_galaxy(_FINE * r_eff, sersic_n, ellipticity, theta, (_FINE * dx, _FINE * dy), _FINE * half, 9)
    # Whole pixels of the sum of the two half sizes; the model of the PSF holds the integration over a pixel.
    return fftconvolve(profile / profile.sum(), kernel, mode='full')[::_FINE, ::_FINE]


def source_stamps(sources, psf, size=None):
    """
    Yield images of sources of flux 1: index, first row, first column and the stamp.

    ``size`` cuts the stamps of stars to an odd size.
    """
    half = (psf.stamp.shape[0] if size is None else min(size, psf.stamp.shape[0])) // 2
    x, y = np.asarray(sources['x'], dtype=float), np.asarray(sources['y'], dtype=float)
    ix, iy = np.rint(x).astype(int), np.rint(y).astype(int)
    stars = np.asarray(sources['kind']) == 'star'
    row, column = np.mgrid[-half:half + 1, -half:half + 1].astype(float)
    for block in np.array_split(np.flatnonzero(stars), max(1, stars.sum() // 256)):
        values = psf.at(column - (x - ix)[block, None, None], row - (y - iy)[block, None, None])
        for i, stamp in zip(block, values):
            yield i, iy[i] - half, ix[i] - half, stamp
    kernel = None if stars.all() else _fine_psf(psf)
    for i in np.flatnonzero(~stars):
        shape = (float(sources[name][i]) for name in ('r_eff', 'sersic_n', 'ellipticity', 'theta'))
        stamp = _galaxy_stamp(kernel, x[i] - ix[i], y[i] - iy[i], *shape)
        yield i, iy[i] - stamp.shape[0] // 2, ix[i] - stamp.shape[1] // 2, stamp


def overlap(y0, x0, stamp, shape):
    """Find the slices of the frame and of a stamp where they overlap."""
    ys = slice(max(y0, 0), max(min(y0 + stamp.shape[0], shape[0]), 0))
    xs = slice(max(x0, 0), max(min(x0 + stamp.shape[1], shape[1]), 0))
    return (ys, xs), (slice(ys.start - y0, max(ys.stop - y0, 0)), slice(xs.start - x0, max(xs.stop - x0, 0)))


def render_sources(sources, shape, psf):
    """
    Make the noise-free image of sources.

    Parameters
    ----------
    sources : `~astropy.table.Table`
        Columns ``kind``, ``x``, ``y`` and ``flux``, and for galaxies ``r_eff``, ``sersic_n``,
        ``ellipticity`` and ``theta``: as `draw_sources` makes it.
    shape : tuple of int
        Height and width of the image.
    psf : PSF, `~numpy.ndarray` or model
        The point-spread function.

    Returns
    -------
    `~numpy.ndarray`
        The image; the flux belongs to the whole stamp, which may reach over the edge.

    Raises
    ------
    ValueError
        If columns are missing or the PSF is larger than the frame.

    Examples
    --------
    >>> from astropy_n2v.simulate import make_psf
    >>> from astropy_n2v.validation import draw_sources, render_sources
    >>> sources = draw_sources([[30.2, 31.4]], (20, 20), zeropoint=25, seed=0)
    >>> bool(abs(render_sources(sources, (64, 64), make_psf(3.0, half_size=15)).sum() - 100) < 0.2)
    True
    """
    psf = PSF.from_any(psf)
    psf.check_fits(shape)
    missing = set(_COLUMNS) - set(sources.colnames)
    require(not missing, 'sources', f'have the columns {", ".join(_COLUMNS)}', sources.colnames)
    position_array('sources', sources)
    image = np.zeros(shape)
    flux = as_floats(sources['flux'])
    if not np.isfinite(flux).all():
        raise ValueError(f'sources must have finite fluxes, got {np.sum(~np.isfinite(flux))} that are not')
    for i, y0, x0, stamp in source_stamps(sources, psf):
        where, part = overlap(y0, x0, stamp, shape)
        image[where] += flux[i] * stamp[part]
    return image


def _electrons_per_unit(ccd, gain, noise):
    """The gain that photon noise follows; None for none at all."""
    if gain is not None:
        return None if np.isscalar(gain) and gain == np.inf else gain_value(gain, getattr(ccd, 'unit', None))
    if noise is not None:
        return noise.gain
    if getattr(ccd, 'unit', None) == u.electron:
        return np.asarray(1.0)
    raise ValueError(f'gain (electrons per data unit) or noise must be given for a frame in '
                     f'{getattr(ccd, "unit", None)}, so that sources get their Poisson noise; gain=inf injects without')


def inject_sources(ccd, sources, psf, *, gain=None, noise=None, seed=None):
    """
    Inject sources into a frame, with the photon noise that they bring.

    Parameters
    ----------
    ccd : `~astropy.nddata.CCDData`
        The frame, before it is denoised; it is not modified.
    sources : `~astropy.table.Table`
        As `draw_sources` makes it, in the unit of the frame.
    psf : PSF, `~numpy.ndarray` or model
        The point-spread function.
    gain : float, array_like or `~astropy.units.Quantity`, optional
        Electrons per data unit, for an average of N frames N times the gain of one; infinite to
        inject without photon noise. By default the gain of ``noise``, or 1 for frames in electrons.
    noise : `~astropy_n2v.NoiseModel`, optional
        Noise of the frame; only its gain is used.
    seed : int or `~numpy.random.Generator`, optional
        Seed of the photons.

    Returns
    -------
    `~astropy.nddata.CCDData`
        The frame with the sources; its uncertainty has grown by their photon noise. Masked pixels
        stay as they are. Integers become float64.

    Raises
    ------
    ValueError
        If the gain is not known.

    Notes
    -----
    The frame has the noise of its sky and its read-out already. Sums of Poisson variates are
    Poisson: drawing the photons of the sources alone gives exactly the noise of a brighter scene.

    Examples
    --------
    >>> from astropy_n2v.simulate import make_scene
    >>> from astropy_n2v.validation import draw_sources, inject_sources
    >>> scene = make_scene('survey', (128, 128), seed=1)
    >>> ccd = scene.observe(seed=2)
    >>> sources = draw_sources([[60.3, 70.8]], (-10, -10), seed=3)
    >>> added = inject_sources(ccd, sources, scene.psf, seed=4).data.sum() - ccd.data.sum()
    >>> bool(abs(added - 10000) < 500)
    True
    """
    _, bad = frame_arrays(ccd)
    gain = _electrons_per_unit(ccd, gain, noise)
    image = render_sources(sources, bad.shape, psf)
    flux = np.asarray(sources['flux'])
    if not (np.isfinite(flux) & (flux >= 0)).all():
        raise ValueError(f'sources must have finite fluxes that are not negative, got a minimum of {np.min(flux)}')
    # A measured PSF may be negative in its wings: photons are not.
    expected = np.where(bad, 0, image)
    photons = expected
    if gain is not None:
        electrons = np.maximum(expected, 0) * gain
        photons = np.random.default_rng(seed).poisson(electrons) / gain + np.minimum(expected, 0)
    data = np.asarray(ccd.data)
    grown = None if gain is None else _grow_uncertainty(ccd, np.maximum(expected, 0) / gain)
    return with_data(ccd, np.where(bad, data, data + photons), grown)


def _grow_uncertainty(ccd, added):
    """The uncertainty of a frame after variance was added, in the unit of the data squared."""
    uncertainty = getattr(ccd, 'uncertainty', None)
    if uncertainty is None or uncertainty.array is None or uncertainty.uncertainty_type == 'unknown':
        return None
    values = np.asarray(uncertainty.array)
    kind = values.dtype if values.dtype.kind == 'f' else float
    power = 2 if isinstance(uncertainty, (VarianceUncertainty, InverseVariance)) else 1
    if uncertainty.unit is not None and ccd.unit is not None:
        base = uncertainty.unit ** (1 / (-2 if isinstance(uncertainty, InverseVariance) else power))
        added = added * ccd.unit.to(base) ** 2
    if isinstance(uncertainty, InverseVariance):
        values = values / (1 + values.astype(float) * added)
    elif isinstance(uncertainty, VarianceUncertainty):
        values = values + added
    else:
        values = np.sqrt(values.astype(float) ** 2 + added)
    return type(uncertainty)(values.astype(kind), unit=uncertainty.unit)


def inject_realisations(ccd, psf, *, n_realisations=10, n_sources=200, magnitudes, zeropoint=0.0, galaxies=0.0,
                        gain=None, noise=None, spacing=None, avoid=None, mask=None, seed=None):
    """
    Inject many sets of sources into a frame, one set at a time.

    Parameters
    ----------
    ccd : `~astropy.nddata.CCDData`
        The frame.
    psf : PSF, `~numpy.ndarray` or model
        The point-spread function.
    n_realisations : int, optional
        Number of sets.
    n_sources : int, optional
        Number of sources in a set.
    magnitudes, zeropoint, galaxies : optional
        As for `draw_sources`.
    gain, noise : optional
        As for `inject_sources`.
    spacing : float, optional
        As for `injection_positions`; by default six FWHM of the PSF.
    avoid, mask : optional
        Where no source may lie, as for `injection_positions`, besides the mask of ``ccd``.
    seed : int or `~numpy.random.Generator`, optional
        Seed of everything. The k-th set does not depend on how many there are.

    Yields
    ------
    injected : `~astropy.nddata.CCDData`
        The frame with sources.
    sources : `~astropy.table.Table`
        The sources that were injected.

    Raises
    ------
    ValueError
        If ``n_realisations`` is not positive or the sources do not fit the frame.

    Examples
    --------
    >>> from astropy_n2v.simulate import make_scene
    >>> from astropy_n2v.validation import inject_realisations
    >>> scene = make_scene('survey', (128, 128), seed=1)
    >>> for injected, sources in inject_realisations(scene.observe(seed=2), scene.psf, n_realisations=2,
    ...                                              n_sources=9, magnitudes=(-8, -5), seed=3):
    ...     print(injected.shape, len(sources))
    (128, 128) 9
    (128, 128) 9
    """
    psf = PSF.from_any(psf)
    require(n_realisations >= 1, 'n_realisations', 'be at least 1', n_realisations)
    _, bad = frame_arrays(ccd, mask)
    psf.check_fits(bad.shape)
    spacing = 6 * psf.fwhm if spacing is None else spacing
    parent = np.random.default_rng(seed)
    for _ in range(n_realisations):
        rng = parent.spawn(1)[0]
        positions = injection_positions(bad.shape, n_sources, spacing=spacing, mask=bad, avoid=avoid,
                                        border=spacing / 4, seed=rng)
        sources = draw_sources(positions, magnitudes, zeropoint=zeropoint, galaxies=galaxies,
                               unit=ccd.unit if isinstance(ccd, CCDData) else None, seed=rng)
        yield inject_sources(ccd, sources, psf, gain=gain, noise=noise, seed=rng), sources
