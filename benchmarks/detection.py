# Licensed under a 3-clause BSD style license - see LICENSE
"""
How deep one can detect at equal purity: ``python benchmarks/detection.py``.

Detections on each map are matched to the catalogue of simulated fields, and judged by
`astropy_n2v.validation.compare_depth`, as those of injected sources are. Writes ``results/detection.csv``: for each
kind of field the threshold at 5 % false detections, the significance of an isolated star that is found half of the
time, and how many magnitudes deeper than the matched filter on the noisy frame that is; and
``results/false_detections.csv``: detections per megapixel of pure noise above these thresholds.
"""

import warnings

import numpy as np
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.table import Table, vstack
from astropy.utils.exceptions import AstropyUserWarning
from common import Frame, Recorder, make_frame, parse, write_table
from peers import run_method
from scipy.ndimage import gaussian_filter, median_filter

from astropy_n2v import NoiseModel, detection_image
from astropy_n2v.photometry import psf_fwhm
from astropy_n2v.simulate import Scene, make_psf
from astropy_n2v.validation import (
    Recovery,
    compare_depth,
    find_sources,
    match_sources,
    matched_filter,
    matched_filter_snr,
    noise_detections,
)

__all__ = ['MAPS', 'NOISES', 'compare', 'find_peaks', 'known_sources', 'main', 'match', 'recover', 'significance']

#: Maps: the matched filter above the known sky, and above the local background, whichever is deeper; and ours.
MAPS = 'matched filter', 'matched filter, local sky', 'ours'
#: Noise without sources and the kernel that it went through: an exposure moved by a third of a pixel and a half, by
#: linear interpolation.
NOISES = {'white': None, 'correlated': np.outer([1 / 3, 2 / 3, 0], [1 / 2, 1 / 2, 0])}
_FALSE = 0.05     # of the detections
_FAINTEST = 2.0   # significance of an isolated star below which a source of the catalogue is no detection
_CONFIDENCE = 0.6827


def significance(name, frame):
    """
    Make a map of a frame.

    Parameters
    ----------
    name : str
        One of `MAPS`, or a method of ``peers.py``, whose result is filtered like ours, with a deviation of 1.
    frame : Frame
        The observation.

    Returns
    -------
    `~numpy.ndarray`
        The map.
    """
    if name.startswith('matched filter'):
        background = frame.scene.sky
        if name.endswith('local sky'):
            fwhm = psf_fwhm(frame.psf)
            background = gaussian_filter(median_filter(frame.data, 2 * int(3 * fwhm) + 1), fwhm)
        return matched_filter(frame.ccd, frame.psf, sigma=frame.noise, background=background)
    result = run_method(name, frame)
    std = np.full(frame.data.shape, frame.sky_sigma) if result['std'] is None else result['std']
    clean = CCDData(result['image'], unit=frame.ccd.unit, uncertainty=StdDevUncertainty(std))
    return detection_image(clean, frame.psf).data


def known_sources(frame):
    """Select the sources of the catalogue of 2 sigma or more, with the significance ``snr`` of an isolated star."""
    catalog = frame.scene.catalog.copy()
    catalog['snr'] = np.asarray(matched_filter_snr(catalog['flux'], frame.psf, frame.sky_sigma))
    return catalog[catalog['snr'] > _FAINTEST]


def find_peaks(image, frame):
    """Find detections on a map of a frame, and the least score that they may have."""
    floor = max(float(np.median(image)), 1e-3)
    found = find_sources(image, floor, fwhm=psf_fwhm(frame.psf))
    # A star beyond the edge has its maximum at the edge.
    x, y = np.rint([found['x'], found['y']])
    return found[(x > 0) & (y > 0) & (x < image.shape[1] - 1) & (y < image.shape[0] - 1)], floor


def match(found, sources, frame):
    """Match detections to sources."""
    return match_sources(found, sources, max(1.5, 0.75 * psf_fwhm(frame.psf)))


def recover(frame, names):
    """
    Match the detections on maps of a frame to its catalogue, as if its stars had been injected.

    Parameters
    ----------
    frame : Frame
        The observation.
    names : sequence of str
        Maps, see `significance`.

    Returns
    -------
    `~astropy_n2v.validation.Recovery`
        The stars of the catalogue with the scores of their detections, and magnitudes relative to an isolated star of
        a significance of 1; and the detections that are no source. Galaxies count for neither.
    """
    sources, area = known_sources(frame), frame.data.size / 1e6
    star = np.flatnonzero(sources['kind'] == 'star')
    stars, false, floors = [], [], {}
    for name in names:
        found, floors[name] = find_peaks(significance(name, frame), frame)
        matches = match(found, sources, frame)
        score = np.full(len(sources), np.nan)
        score[matches.truth] = found['score'][matches.detected]
        rest = found['x', 'y', 'score'][matches.unmatched_detected]
        stars.append(Table({'id': star, 'mag': -2.5 * np.log10(sources['snr'][star]), 'score': score[star],
                            'score_before': np.full(len(star), np.nan)}))
        false.append(rest)
        for table in stars[-1], rest:
            table['image'], table['frame'] = np.full(len(table), name, dtype='U32'), np.zeros(len(table), dtype=int)
    injected, false = (vstack(parts, metadata_conflicts='silent') for parts in (stars, false))
    injected.meta, false.meta = {'area': area, 'floor': floors}, {'area': area, 'blank': 'catalogue'}
    return Recovery(injected, false)


def compare(recovery):
    """Compare the depth of the maps of `recover` with the deeper one of the matched filters."""
    filters = [name for name in recovery.images if name.startswith('matched filter')]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', AstropyUserWarning)   # in nebulae no threshold may be pure enough
        tables = [compare_depth(recovery, purity=1 - _FALSE, reference=name, confidence=_CONFIDENCE, seed=1)
                  for name in filters]
    depth = [np.nan_to_num(table['m50'][table['image'] == name][0], nan=-np.inf)
             for name, table in zip(filters, tables)]
    return tables[int(np.argmax(depth))]


def _sources(arguments, names):
    """Record the depth of each map by kind, and return the thresholds."""
    table, thresholds = Recorder('detection', f'{arguments.size}x{arguments.size} pixels'), {}
    for kind in arguments.kinds:
        depths = compare(Recovery.stack([recover(make_frame(kind, seed, arguments.size), names)
                                         for seed in arguments.seeds]))
        for row in depths:
            thresholds[kind, row['image']] = row['threshold']
            table.add(kind=kind, map=row['image'], seeds=len(arguments.seeds), stars=int(row['n']),
                      threshold=float(row['threshold']), snr_50=float(10 ** (-0.4 * row['m50'])),
                      deeper_mag=float(row['gain']), error_mag=float(row['gain_high'] - row['gain_low']) / 2,
                      reference=row['image'] == depths.meta['reference'])
    return thresholds


def _noise(arguments, names, thresholds):
    """Write how many detections above thresholds there are where there is nothing but noise."""
    noise, shape, sky = NoiseModel(5.0, gain=1.0), (arguments.size, arguments.size), 200.0
    scene = Scene(np.full(shape, sky), sky, 5.0, make_psf(3.2, half_size=16), None)
    maps = {name: lambda ccd, _, name=name: significance(name, Frame(ccd, noise, scene.psf, scene)) for name in names}
    finite = {value for value in thresholds.values() if np.isfinite(value)}
    rows = []
    for kind, kernel in NOISES.items():
        # The maps have their denoiser with them.
        counts = noise_detections(lambda ccd: ccd, scene.psf, noise, thresholds=list(finite), shape=shape, level=sky,
                                  n_frames=len(arguments.seeds), kernel=kernel, unit='electron', extra=maps,
                                  confidence=_CONFIDENCE, seed=arguments.first_seed)
        for (field, name), threshold in thresholds.items():
            row = counts[(counts['image'] == name) & (counts['threshold'] == threshold)]
            rows += [{'noise': kind, 'threshold_of': field, 'map': name, **{
                column: float(row[column].value[0]) for column in counts.colnames[3:]}}] if len(row) else []
    write_table(rows, 'false_detections', f'{arguments.size}x{arguments.size} pixels')


def main(argv=None):
    arguments = parse(__doc__, argv, n_seeds=8, size=512)
    names = [*MAPS, *(arguments.methods or [])]
    _noise(arguments, names, _sources(arguments, names))


if __name__ == '__main__':
    main()
