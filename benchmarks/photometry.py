# Licensed under a 3-clause BSD style license - see LICENSE
"""
What denoising does to fluxes: ``python benchmarks/photometry.py``.

Writes ``results/photometry.csv``: bias and scatter of aperture fluxes of stars by signal-to-noise ratio; and
``results/unforeseen.csv``: what is left of single-pixel transients and of stars narrower than two pixels. ``--trained``
measures the latter of ``model='self'``, trained on the frame that they are planted in (minutes each), and writes
``results/unforeseen_trained.csv``.
"""

import numpy as np
from common import Frame, make_frame, parse, psf_fwhm, write_table
from peers import run_method
from photutils.aperture import CircularAperture, aperture_photometry
from scipy.ndimage import maximum_filter
from scipy.spatial import cKDTree

from astropy_n2v.simulate import make_psf

__all__ = ['SNR_BINS', 'aperture_sums', 'isolated_stars', 'kept', 'main', 'plant', 'summarise']

SNR_BINS = (5, 10), (10, 30), (30, np.inf)
METHODS = 'ours', 'wavelet sym4', 'bm3d'
NARROW = 0.9, 1.2, 1.6   # FWHM in pixels
_HALF = 3                # half size of the box of a planted object


def aperture_sums(image, x, y, radius):
    """Sums of an image over circles."""
    table = aperture_photometry(image, CircularAperture(np.column_stack([x, y]), r=radius))
    return np.asarray(table['aperture_sum'], dtype=float)


def isolated_stars(frame):
    """
    Stars that the rest of the catalogue leaves alone: less than a fifth of their flux within 2.5 FWHM.

    Parameters
    ----------
    frame : Frame
        The observation.

    Returns
    -------
    x, y, flux, snr : `~numpy.ndarray`
        Position, true flux within an aperture of radius FWHM, and its ratio to the noise in it.
    """
    catalog, fwhm = frame.scene.catalog, psf_fwhm(frame.psf)
    x, y, flux = (np.asarray(catalog[name], dtype=float) for name in ('x', 'y', 'flux'))
    near = cKDTree(np.column_stack([x, y])).query_ball_point(np.column_stack([x, y]), 2.5 * fwhm)
    others = np.array([flux[indices].sum() for indices in near]) - flux
    height, width = frame.data.shape
    edge = 3 * fwhm
    good = ((np.asarray(catalog['kind']) == 'star') & (others < 0.2 * flux) & (x > edge) & (y > edge)
            & (x < width - edge) & (y < height - edge))
    centre = frame.psf.shape[0] // 2
    inside = aperture_sums(frame.psf / frame.psf.sum(), [centre], [centre], fwhm)[0]
    x, y, flux = x[good], y[good], flux[good] * inside
    if not len(x):
        return x, y, flux, flux
    return x, y, flux, flux / np.sqrt(aperture_sums(frame.sigma ** 2, x, y, fwhm))


def _spread(values):
    return 1.4826 * np.median(np.abs(values - np.median(values, axis=-1, keepdims=True)), axis=-1)


def summarise(true, truth, noisy, result, n_bootstrap=300):
    """
    Bias and scatter of a set of stars, with bootstrap errors.

    Parameters
    ----------
    true : `~numpy.ndarray`
        True fluxes in the aperture.
    truth, noisy, result : `~numpy.ndarray`
        Aperture sums in the noise-free image, in the noisy frame and in the result.
    n_bootstrap : int, optional
        Number of draws.

    Returns
    -------
    dict
        ``bias``, the median of (result - noisy) / true, and ``scatter``, the ratio of the robust scatter of (result -
        truth) / true to that of (noisy - truth) / true; each with its error.
    """
    draws = np.random.default_rng(1).integers(0, len(true), (n_bootstrap, len(true)))
    difference, before, after = (result - noisy) / true, (noisy - truth) / true, (result - truth) / true
    with np.errstate(divide='ignore', invalid='ignore'):
        ratios = _spread(after[draws]) / _spread(before[draws])
    return {'stars': len(true), 'bias': np.median(difference),
            'bias_error': np.median(difference[draws], axis=1).std(),
            'scatter': _spread(after) / _spread(before),
            'scatter_error': ratios[np.isfinite(ratios)].std()}


def _stamp(kind, rng):
    """A planted object of peak 1 with a random position within its pixel."""
    stamp = np.zeros((2 * _HALF + 1,) * 2)
    if kind == 'transient':
        stamp[_HALF, _HALF] = 1
        return stamp
    size = len(stamp)
    fine = make_psf(kind, half_size=_HALF + 2, oversampling=5)
    dy, dx = rng.integers(-2, 3, 2)
    start = (len(fine) - 5 * size) // 2
    cut = fine[start - dy:start - dy + 5 * size, start - dx:start - dx + 5 * size]
    stamp = cut.reshape(size, 5, size, 5).sum(axis=(1, 3))
    return stamp / stamp.max()


def plant(frame, kinds, rng, n=30):
    """
    Plant objects with a peak of 30 sigma of the sky at random among the emptiest places, and observe again.

    Parameters
    ----------
    frame : Frame
        The observation without them.
    kinds : list of float or 'transient'
        FWHM of the stars, or single pixels; they take turns.
    rng : `~numpy.random.Generator`
        Draws places, positions within pixels, and the noise.
    n : int, optional
        Number of objects of each kind.

    Returns
    -------
    frame : Frame
        The new observation.
    added : `~numpy.ndarray`
        What was planted.
    places : list of tuple of slice
        The box around each object.
    """
    truth = frame.truth
    brightest = maximum_filter(truth, 17)
    inner = np.zeros(truth.shape, dtype=bool)
    inner[10:-10, 10:-10] = True
    order = np.argsort(np.where(inner, brightest, np.inf), axis=None)[:inner.sum() // 4]
    free, added, places = np.ones(truth.shape, dtype=bool), np.zeros(truth.shape), []
    for y, x in zip(*np.unravel_index(rng.permutation(order), truth.shape)):
        if len(places) == n * len(kinds):
            break
        if not free[y, x]:
            continue
        free[y - 10:y + 11, x - 10:x + 11] = False
        box = slice(y - _HALF, y + _HALF + 1), slice(x - _HALF, x + _HALF + 1)
        added[box] += 30 * frame.sky_sigma * _stamp(kinds[len(places) % len(kinds)], rng)
        places.append(box)
    scene = frame.scene
    ccd = type(scene)(truth + added, scene.sky, scene.readnoise, scene.psf, scene.catalog).observe(seed=rng)
    return Frame(ccd, frame.noise, frame.psf, scene), added, places


def kept(image, truth, added, places, half):
    """Share of the planted flux of each object that an image has above the truth without it."""
    def cut(values, box):
        return values[box][_HALF - half:_HALF + half + 1, _HALF - half:_HALF + half + 1].sum()
    return np.array([cut(image - truth, box) / cut(added, box) for box in places])


def _fluxes(arguments, methods):
    rows = []
    pooled = {}
    for kind in arguments.kinds:
        for seed in arguments.seeds:
            frame = make_frame(kind, seed, arguments.size)
            x, y, true, snr = isolated_stars(frame)
            if not len(x):
                continue
            radius = psf_fwhm(frame.psf)
            truth, noisy = (aperture_sums(image, x, y, radius) for image in (frame.truth, frame.data))
            for name in methods:
                result = aperture_sums(run_method(name, frame)['image'], x, y, radius)
                for group in (kind, 'all'):
                    pooled.setdefault((group, name), []).append((snr, true, truth, noisy, result))
    for (kind, name), parts in sorted(pooled.items(), key=lambda item: item[0][0] == 'all'):
        snr, *sums = (np.concatenate(values) for values in zip(*parts))
        for low, high in SNR_BINS:
            chosen = (snr >= low) & (snr < high)
            if chosen.sum() >= 10:
                rows.append({'kind': kind, 'method': name, 'snr_from': low, 'snr_to': high,
                             **summarise(*(values[chosen] for values in sums))})
    write_table(rows, 'photometry', f'{arguments.size}x{arguments.size} pixels, {len(arguments.seeds)} of each kind')


def _unforeseen(arguments, methods, table, together=False):
    """Measure what is kept of each sort of object, in frames of its own or all ``together``."""
    sorts = [('transient', *NARROW[:1])] if together else [(sort,) for sort in ('transient', *NARROW)]
    rows = []
    for kind in arguments.kinds:
        for planted in sorts:
            shares = {(name, sort): [] for sort in planted for name in ('noisy', *methods)}
            for seed in arguments.seeds[:2]:
                frame, added, places = plant(make_frame(kind, seed, arguments.size), planted,
                                             np.random.default_rng((seed, 3)))
                for name in ('noisy', *methods):
                    image = frame.data if name == 'noisy' else run_method(name, frame)['image']
                    for i, sort in enumerate(planted):
                        half = 0 if sort == 'transient' else 2
                        shares[name, sort].append(kept(image, frame.truth, added, places[i::len(planted)], half))
            for (name, sort), values in shares.items():
                values = np.concatenate(values)
                rows.append({'kind': kind, 'planted': sort if sort == 'transient' else f'FWHM {sort}',
                             'method': name, 'objects': len(values), 'kept': values.mean(),
                             'error': values.std() / np.sqrt(len(values))})
        write_table(rows, table, f'{arguments.size}x{arguments.size} pixels')


def main(argv=None):
    arguments = parse(__doc__, argv, n_seeds=8, flags={'trained': "measure model='self' on what cannot be foreseen"})
    if arguments.trained:
        _unforeseen(arguments, arguments.methods or ['ours, self'], 'unforeseen_trained', together=True)
        return
    methods = arguments.methods or METHODS
    _fluxes(arguments, methods)
    _unforeseen(arguments, [name for name in methods if name != 'bm3d'], 'unforeseen')


if __name__ == '__main__':
    main()
