# Licensed under a 3-clause BSD style license - see LICENSE
"""
Fluxes before and after denoising: ``python benchmarks/photometry.py``.

Writes ``results/photometry.csv``: bias and scatter of aperture fluxes of stars by signal-to-noise ratio; and
``results/unforeseen.csv``: the share that is kept of single-pixel transients and of stars narrower than two pixels.
``--trained`` measures the latter of ``model='self'``, trained on the frame that they are planted in (minutes each), and
writes ``results/unforeseen_trained.csv``.
"""

import numpy as np
from astropy.table import vstack
from common import Frame, make_frame, make_frames, parse, write_table
from peers import run_method
from scipy.ndimage import maximum_filter
from scipy.spatial import cKDTree

from astropy_n2v.photometry import psf_fwhm
from astropy_n2v.simulate import make_psf
from astropy_n2v.validation import bootstrap_interval, compare_fluxes, flux_bias, robust_scatter

__all__ = ['SNR_BINS', 'isolated_stars', 'kept', 'main', 'measure', 'plant', 'summarise']

SNR_BINS = 5, 10, 30, np.inf
METHODS = 'ours', 'wavelet sym4', 'bm3d'
NARROW = 0.9, 1.2, 1.6   # FWHM in pixels
_HALF = 3                # half size of the box of a planted object


def isolated_stars(frame):
    """Select the stars that the rest of the catalogue leaves alone: less than a fifth of their flux in 2.5 FWHM."""
    catalog = frame.scene.catalog
    xy, flux = np.column_stack([catalog['x'], catalog['y']]), np.asarray(catalog['flux'], dtype=float)
    near = cKDTree(xy).query_ball_point(xy, 2.5 * psf_fwhm(frame.psf))
    others = np.array([flux[indices].sum() for indices in near]) - flux
    return catalog[(catalog['kind'] == 'star') & (others < 0.2 * flux)]


def measure(frame, image):
    """Measure the fluxes of isolated stars before and after, from `astropy_n2v.validation.compare_fluxes`."""
    # With the rest of the catalogue as positions, rings would be chosen on the truth, and seem too bright afterwards.
    fluxes = compare_fluxes(frame.data, image, isolated_stars(frame), truth=frame.truth, psf=frame.psf,
                            noise=frame.sigma)
    return fluxes[fluxes['flag'] == 0]


def _ratio_of_scatter(after, before, axis=-1):
    with np.errstate(divide='ignore', invalid='ignore'):
        return robust_scatter(after, axis) / robust_scatter(before, axis)


def summarise(fluxes):
    """
    Summarise the bias and the scatter of fluxes by signal-to-noise ratio.

    Parameters
    ----------
    fluxes : `~astropy.table.Table`
        From `measure`.

    Returns
    -------
    list of dict
        For each bin of ten stars at least, ``bias``, the median of (after - before) / true, and ``scatter``, the ratio
        of the robust scatter of (after - true) / error of before to that of (before - true) / error of before; each
        with its error.
    """
    rows = []
    for row in flux_bias(fluxes, bins=SNR_BINS, seed=1)[1:]:
        part = fluxes[(fluxes['snr'] >= row['snr_low']) & (fluxes['snr'] < row['snr_high'])]
        if len(part) >= 10:
            after, before = (np.asarray((part[f'flux_{name}'] - part['flux_true']) / part['flux_before_err'])
                             for name in ('after', 'before'))
            scatter = bootstrap_interval((after, before), _ratio_of_scatter, seed=1)
            rows.append({'snr_from': row['snr_low'], 'snr_to': row['snr_high'], 'stars': len(part),
                         'bias': row['bias'], 'bias_error': row['bias_err'], 'scatter': scatter.value,
                         'scatter_error': scatter.error})
    return rows


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
    """Measure the share of the planted flux of each object that an image has above the truth without it."""
    def cut(values, box):
        return values[box][_HALF - half:_HALF + half + 1, _HALF - half:_HALF + half + 1].sum()
    return np.array([cut(image - truth, box) / cut(added, box) for box in places])


def _fluxes(arguments, methods):
    pooled = {}
    for kind, _, frame in make_frames(arguments):
        for name in methods:
            fluxes = measure(frame, run_method(name, frame)['image'])
            for group in (kind, 'all'):
                pooled.setdefault((group, name), []).append(fluxes)
    rows = [{'kind': kind, 'method': name, **row}
            for (kind, name), parts in sorted(pooled.items(), key=lambda item: item[0][0] == 'all')
            for row in summarise(vstack(parts, metadata_conflicts='silent'))]
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
    arguments = parse(__doc__, argv, n_seeds=8, size=512,
                      flags={'trained': "measure model='self' on transients and narrow stars"})
    if arguments.trained:
        _unforeseen(arguments, arguments.methods or ['ours, self'], 'unforeseen_trained', together=True)
        return
    methods = arguments.methods or METHODS
    _fluxes(arguments, methods)
    _unforeseen(arguments, [name for name in methods if name != 'bm3d'], 'unforeseen')


if __name__ == '__main__':
    main()
