# Licensed under a 3-clause BSD style license - see LICENSE
"""
A night at a glance: what failed, what stands out, and a figure of it, from the table of a batch.
"""

import numpy as np

from ..utils.robust import robust_std

__all__ = ['find_unusual', 'latest_entries', 'plot_night']

# Scatters (from the median absolute deviation) from the median of its group beyond which a number stands out.
_UNUSUAL = 5.0
# Part of the median that scatters at least: identical frames have no scatter, and differences of less are nobody's
# concern.
_LEAST_SCATTER = 0.02
_FEWEST = 5   # images of which a median says what is usual


def latest_entries(entries):
    """
    Take the last line of each file from a journal: of runs that were repeated, the end counts.

    Parameters
    ----------
    entries : list of dict
        From `~astropy_n2v.batch.read_journal`.

    Returns
    -------
    list of dict
        One for each result, in the order of their first lines.

    Examples
    --------
    >>> from astropy_n2v.batch import latest_entries
    >>> lines = [{'output': {'path': 'a.fits'}, 'status': status} for status in ('failed', 'done')]
    >>> [entry['status'] for entry in latest_entries(lines)]
    ['done']
    """
    return list({entry['output']['path']: entry for entry in entries}.values())


def find_unusual(table):
    """
    Find images that are not like the others of their batch.

    Parameters
    ----------
    table : `~astropy.table.Table`
        From `~astropy_n2v.batch.summary_table`.

    Returns
    -------
    list of str
        One for each row: why it stands out, empty if it does not. Compared are noise, factor by which it was reduced
        and share of masked pixels, by their deviation from the median in units of the scatter (5 times that from the
        median absolute deviation, with a floor of 2 % of the median). Findings of the audit count as well.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.table import Table
    >>> from astropy_n2v.batch import find_unusual
    >>> noise = np.array([5.0, 5.1, 4.9, 5.0, 9.0, 5.05])
    >>> table = Table({'noise': noise, 'noise_after': noise / 8, 'masked': np.zeros(6), 'audit': 6 * ['ok']})
    >>> find_unusual(table)[3:5]
    ['', 'noise 9 (median 5.025)']
    """
    with np.errstate(divide='ignore', invalid='ignore'):
        numbers = {'noise': table['noise'], 'noise reduced by a factor of': table['noise'] / table['noise_after'],
                   'masked share': table['masked']}
    found = [[f'audit {audit}'] if audit not in ('', 'ok', 'off') else [] for audit in table['audit']]
    for name, values in numbers.items():
        values = np.asarray(values, dtype=float)
        finite = np.isfinite(values)
        if finite.sum() < _FEWEST:
            continue
        middle = np.median(values[finite])
        # Shares are compared in the whole: half a per cent of masked pixels is not 'twice as many' as a quarter.
        floor = _LEAST_SCATTER * (1.0 if name == 'masked share' else abs(middle))
        scatter = max(robust_std(values[finite]), floor)
        for reasons, value in zip(found, values):
            if abs(value - middle) > _UNUSUAL * scatter:
                reasons.append(f'{name} {value:.4g} (median {middle:.4g})')
    return ['; '.join(reasons) for reasons in found]


def plot_night(table, path):
    """
    Plot noise before and after, masked pixels and time of each image, in the order of the batch.

    Parameters
    ----------
    table : `~astropy.table.Table`
        From `~astropy_n2v.batch.summary_table`.
    path : str or path-like
        File to be written; its ending says in which format.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from astropy_n2v.batch import denoise_files, plot_night, summary_table
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     table = summary_table(denoise_files(['missing.fits'], directory))
    ...     plot_night(table, Path(directory) / 'night.png')
    ...     (Path(directory) / 'night.png').stat().st_size > 0
    True
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    figure = Figure(figsize=(9, 8), layout='constrained')   # not pyplot, whose figures and windows are the user's
    FigureCanvasAgg(figure)
    upper, middle, lower = figure.subplots(3, 1, sharex=True)
    number = np.arange(1, len(table) + 1)
    unusual = np.array([bool(text) for text in find_unusual(table)], dtype=bool)
    for name, label in ('noise', 'before'), ('noise_after', 'after'):
        upper.plot(number, table[name], '.', label=label)
    upper.plot(number[unusual], table['noise'][unusual], 'o', mfc='none', color='C3', label='unusual')
    for i in number[table['status'] == 'failed']:
        upper.axvline(i, color='0.7', lw=0.8, zorder=0)
    if np.any(np.asarray(table['noise']) > 0):
        upper.set_yscale('log')
    upper.set_ylabel('noise (unit of the data)')
    upper.legend(title='grey lines: failed')
    middle.plot(number, 100 * np.asarray(table['masked']), '.')
    middle.set_ylabel('masked pixels (%)')
    lower.plot(number, table['seconds'], '.')
    lower.set_ylabel('time of the file (s)')
    lower.set_xlabel('image')
    figure.savefig(path)
