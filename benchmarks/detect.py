# Licensed under a 3-clause BSD style license - see LICENSE
"""
Whether the tables of ``detect`` are as pure as they say: ``python benchmarks/detect.py``.

Writes ``results/detect.csv``: for each kind of field how many of the entries are true at 5 % expected false ones, with
the point-spread function measured on the frame and nothing else known; how many of the stars of 2 sigma or more are
found; and the same at the threshold at which just 5 % are false by the truth. Sources are matched as in
``detection.py``. Survey fields are also observed with the correlated noise of ``correlated.py``.
"""

import numpy as np
from astropy.stats import binom_conf_interval
from common import make_frame, parse, psf_fwhm, stored_rows, write_table
from correlated import correlate
from depth import match_peaks, threshold_at

from astropy_n2v import denoise, detect

__all__ = ['CORRELATED', 'judge', 'main', 'observe']

#: Kinds of correlated noise, see ``correlated.FILTERS``.
CORRELATED = 'rows, +0.3', 'lanczos shift', 'bilinear shift', 'drizzle-like'
_FAINTEST = 2.0   # significance of an isolated star, below which there is no source to be found
_ALL = 0.5        # share of false entries of the table from which the threshold of the truth is chosen


def observe(kind, seed, size):
    """A frame of a kind of field, or of a survey field with a kind of correlated noise."""
    if kind in CORRELATED:
        return correlate(make_frame('survey', seed, size), kind, seed)
    return make_frame(kind, seed, size)


def judge(frame, false_rate=0.05):
    """
    Detect the sources of a frame.

    Parameters
    ----------
    frame : Frame
        The observation.
    false_rate : float, optional
        Expected share of false entries.

    Returns
    -------
    score, true : `~numpy.ndarray`
        Of all entries of a longer table: significance, and whether there is a source.
    stars : `~numpy.ndarray`
        Significance of the entry of each star, minus infinity for none.
    threshold : float
        That of ``false_rate``.
    """
    table = detect(frame.ccd, denoise(frame.ccd), false_rate=_ALL)
    catalog = frame.scene.catalog
    snr = np.asarray(catalog['flux'] / (frame.sky_sigma / np.sqrt((frame.psf ** 2).sum())))
    catalog = catalog[snr > _FAINTEST]
    sources = tuple(np.asarray(catalog[name], dtype=float) for name in ('x', 'y', 'flux'))
    peaks = tuple(np.asarray(table[name], dtype=float) for name in ('x', 'y', 'significance'))
    scores, true = match_peaks(peaks, sources, 0.6 * psf_fwhm(frame.psf))
    chosen = np.asarray(table['false_share']) <= false_rate
    threshold = peaks[2][chosen].min() if chosen.any() else np.inf
    return peaks[2], true, scores[np.asarray(catalog['kind'] == 'star')], threshold


def main(argv=None):
    arguments = parse(__doc__, argv, n_seeds=4, flags={'white': 'no correlated noise'})
    rows = []
    for kind in (*arguments.kinds, *(() if arguments.white else CORRELATED)):
        n_true, n, best, found = [], [], [], []
        for seed in arguments.seeds:
            score, true, stars, threshold = judge(observe(kind, seed, arguments.size))
            keep = score >= threshold
            n_true.append(int(true[keep].sum()))
            n.append(int(keep.sum()))
            ideal = threshold_at(score, true)
            found.append(np.mean(stars >= threshold))
            best.append(np.mean(stars >= ideal))
        low, high = binom_conf_interval(sum(n_true), sum(n), interval='wilson')
        rows.append({'kind': kind, 'seeds': len(n), 'entries': sum(n), 'purity': sum(n_true) / sum(n),
                     'purity_low': low, 'purity_high': high, 'completeness': np.mean(found),
                     'completeness_at_5_percent': np.mean(best)})
        print(*rows[-1].values(), flush=True)
        write_table(stored_rows('detect', rows, ('kind',)), 'detect', f'{arguments.size}x{arguments.size} pixels')


if __name__ == '__main__':
    main()
