# Licensed under a 3-clause BSD style license - see LICENSE
"""
How pure and complete the tables of ``detect`` are: ``python benchmarks/detect.py``.

Writes ``results/detect.csv``: for each kind of field how many of the entries are true at 5 % expected false ones, with
the point-spread function measured on the frame and nothing else known; how many of the stars of 2 sigma or more are
found; and how many are found on the map of ``detection.py``, with the true point-spread function, above the threshold
at which just 5 % are false by the truth. Sources are matched as in ``detection.py``. Survey fields are also observed
with the correlated noise of ``correlated.py``. ``--rates``: other expected shares of false entries.
"""

import warnings

import numpy as np
from astropy.stats import binom_conf_interval
from astropy.utils.exceptions import AstropyUserWarning
from common import Recorder, make_frame, parse
from correlated import correlate
from detection import find_peaks, known_sources, match

from astropy_n2v import denoise, detect, detection_image

__all__ = ['CORRELATED', 'judge', 'main', 'observe']

#: Kinds of correlated noise, see ``correlated.FILTERS``.
CORRELATED = 'rows, +0.3', 'lanczos shift', 'bilinear shift', 'drizzle-like'
#: Seeds that nothing else has: on those before, constants of ``detect`` were fixed.
FIRST_SEED = 7400
_FALSE = 0.05   # of the detections on the map


def observe(kind, seed, size):
    """Make a frame of a kind of field, or of a survey field with a kind of correlated noise."""
    if kind in CORRELATED:
        return correlate(make_frame('survey', seed, size), kind, seed)
    return make_frame(kind, seed, size)


def judge(frame, rates=(0.05,)):
    """
    Detect the sources of a frame.

    Parameters
    ----------
    frame : Frame
        The observation.
    rates : sequence of float, optional
        Expected shares of false entries.

    Returns
    -------
    entries : list of tuple of int
        For each of the rates, how many entries are true, how many there are, and how many stars have one.
    scores, true, stars : `~numpy.ndarray`
        Scores of the detections on the map of ``detection.py``, and if they are sources; scores of the stars, minus
        infinity for those without a detection.
    """
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', AstropyUserWarning)   # nebulae have few stars for a point-spread function
        clean = denoise(frame.ccd)
        table = detect(frame.ccd, clean, false_rate=max(rates))
    table['score'] = table['significance']
    sources, entries = known_sources(frame), []
    for rate in rates:
        true, stars = _matched(table[np.asarray(table['false_share']) <= rate], sources, frame)
        entries.append((int(true.sum()), len(true), int(np.isfinite(stars).sum())))
    found, _ = find_peaks(detection_image(clean, frame.psf).data, frame)
    true, stars = _matched(found, sources, frame)
    return entries, np.asarray(found['score']), true, stars


def _matched(found, sources, frame):
    """Check if detections are sources, and score the stars, minus infinity for those without a detection."""
    matches = match(found, sources, frame)
    true, scores = np.zeros(len(found), dtype=bool), np.full(len(sources), -np.inf)
    true[matches.detected] = True
    scores[matches.truth] = np.asarray(found['score'])[matches.detected]
    return true, scores[np.asarray(sources['kind'] == 'star')]


def completeness_at(scores, true, stars):
    """Compute the share of stars above the lowest threshold at which no more than 5 % of the detections are false."""
    order = np.argsort(-scores)
    passing = np.flatnonzero(np.cumsum(~true[order]) <= _FALSE * np.arange(1, len(order) + 1))
    return np.mean(stars >= scores[order[passing[-1]]]) if passing.size else 0.0


def main(argv=None):
    arguments = parse(__doc__, argv, n_seeds=4, size=512, first_seed=FIRST_SEED,
                      flags={'white': 'no correlated noise'},
                      options={'rates': {'nargs': '+', 'type': float, 'default': [0.05]}})
    table = Recorder('detect', f'{arguments.size}x{arguments.size} pixels, seeds {arguments.first_seed} to '
                               f'{arguments.seeds[-1]}')
    for kind in (*arguments.kinds, *(() if arguments.white else CORRELATED)):
        judged = [judge(observe(kind, seed, arguments.size), arguments.rates) for seed in arguments.seeds]
        scores, true, stars = (np.concatenate(parts) for parts in zip(*(found for _, *found in judged)))
        for rate, parts in zip(arguments.rates, zip(*(entries for entries, *_ in judged))):
            n_true, n, n_stars = np.sum(parts, axis=0)
            low, high = binom_conf_interval(n_true, n, interval='wilson')
            table.add(kind=kind, false_rate=rate, seeds=len(judged), entries=int(n), purity=float(n_true / n),
                      purity_low=float(low), purity_high=float(high), completeness=float(n_stars / len(stars)),
                      completeness_of_map=float(completeness_at(scores, true, stars)))


if __name__ == '__main__':
    main()
