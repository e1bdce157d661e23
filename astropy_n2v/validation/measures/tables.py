# Licensed under a 3-clause BSD style license - see LICENSE
"""
Tables of estimates: from values, or from sums over blocks of pixels, which can be combined over frames.
"""

import numpy as np
from astropy.table import Table, vstack

from .inputs import block_labels
from .statistics import fold_labels

__all__ = ['block_sums', 'estimate_rows', 'estimate_sums', 'image_sums', 'merge_bins', 'stack_named', 'values_of']


def estimate_rows(values, brightness, bins, measures, bootstrap, *, prefix='brightness', centre=None):
    """
    Make a table with a row for everything and one for each bin, each measure with its interval.

    Parameters
    ----------
    values : dict of `~numpy.ndarray`
        By name.
    brightness : `~numpy.ndarray`
        Quantity that the bins are of.
    bins : `~numpy.ndarray`
        Edges.
    measures : dict
        Name of the column to ``(name of values, statistic)``.
    bootstrap : Bootstrap
        Settings of the intervals.
    prefix : str, optional
        Of the columns of the edges.
    centre : str, optional
        Column for the median of ``brightness`` in the bin.

    Returns
    -------
    `~astropy.table.Table`
        Columns ``prefix_low``, ``prefix_high``, n, ``centre``, and for each measure those
        of `Estimate.columns`.
    """
    bootstrap, rows = bootstrap.started(), []
    for low, high in [(-np.inf, np.inf), *zip(bins[:-1], bins[1:])]:
        inside = _inside(brightness, low, high)
        row = {f'{prefix}_low': low, f'{prefix}_high': high, 'n': int(inside.sum())}
        if centre:
            row[centre] = float(np.nanmedian(brightness[inside])) if np.isfinite(brightness[inside]).any() else np.nan
        for column, (name, statistic) in measures.items():
            row.update(bootstrap.interval(values[name][inside], statistic).columns(column))
        rows.append(row)
    return Table(rows=rows, meta={'confidence': bootstrap.confidence})


def block_sums(values, brightness, bins, labels):
    """
    Sum values of pixels over blocks, of all pixels and of those in each bin of brightness.

    Parameters
    ----------
    values : dict of `~numpy.ndarray`
        By name; those that are not finite add nothing.
    brightness : `~numpy.ndarray`
        Quantity that the bins are of.
    bins : sequence of float
        Edges; none for all pixels only.
    labels : `~numpy.ndarray` of int
        Number of the block of each pixel.

    Returns
    -------
    `~astropy.table.Table`
        For each bin and block with pixels: brightness_low, brightness_high, block, n, and the sums. Those of several
        frames can be stacked, with other numbers for other blocks. A bin without pixels has one row of zeros.
    """
    labels, n_blocks = fold_labels(labels)
    values = {name: np.where(np.isfinite(value), value, 0) for name, value in values.items()}
    parts = []
    for low, high in [(-np.inf, np.inf), *zip(bins[:-1], bins[1:])]:
        inside = _inside(brightness, low, high)
        n = np.bincount(labels[inside], minlength=max(n_blocks, 1))
        used = np.flatnonzero(n) if inside.any() else np.zeros(1, dtype=int)
        part = {'brightness_low': np.full(used.size, low, dtype=float),
                'brightness_high': np.full(used.size, high, dtype=float), 'block': used, 'n': n[used]}
        for name, value in values.items():
            part[name] = np.bincount(labels[inside], value[inside], len(n))[used]
        parts.append(part)
    return Table({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def image_sums(values, brightness, bins, good, meta):
    """
    Sum images over blocks of neighbouring pixels.

    Parameters
    ----------
    values : dict of `~numpy.ndarray`
        By name, shape (ny, nx).
    brightness : `~numpy.ndarray`
        Image that the bins are of, shape (ny, nx).
    bins : sequence of float
        As in `block_sums`.
    good : `~numpy.ndarray` of bool
        Pixels that count.
    meta : dict
        Metadata of the table.

    Returns
    -------
    `~astropy.table.Table`
        As from `block_sums`.
    """
    sums = block_sums({name: value[good] for name, value in values.items()}, brightness[good], bins,
                      block_labels(good.shape)[good])
    sums.meta.update(meta)
    return sums


def _inside(brightness, low, high):
    """Select what lies in a bin; all for the one without ends, also NaN."""
    if low == -np.inf and high == np.inf:
        return np.ones(brightness.shape, dtype=bool)
    return (brightness >= low) & (brightness < high)


def estimate_sums(sums, measures, bootstrap):
    """
    Make a table of estimates from sums over blocks.

    Parameters
    ----------
    sums : `~astropy.table.Table`
        From `block_sums`.
    measures : dict of tuple
        Name of the column to the names of two sums whose ratio it is, or to these and 'root' for the root of the
        ratio. ``('square', 'n')`` is a mean square.
    bootstrap : Bootstrap
        Settings of the intervals.

    Returns
    -------
    `~astropy.table.Table`
        For each bin: brightness_low, brightness_high, n, and for each measure the columns of `Estimate.columns`.
    """
    bootstrap = bootstrap.started()
    columns = {name: np.asarray(sums[name]) for name in sums.colnames}
    bins = list(zip(columns['brightness_low'].tolist(), columns['brightness_high'].tolist()))
    rows = []
    for low, high in dict.fromkeys(bins):
        inside = (columns['brightness_low'] == low) & (columns['brightness_high'] == high)
        part = {name: column[inside] for name, column in columns.items()}
        row = {'brightness_low': low, 'brightness_high': high, 'n': int(part['n'].sum())}
        for name, (top, bottom, *root) in measures.items():
            estimate = bootstrap.ratio(part[top], part[bottom], part['block'], n=row['n'], root=bool(root))
            row.update(estimate.columns(name))
        rows.append(row)
    return Table(rows=rows, meta={**sums.meta, 'confidence': bootstrap.confidence})


def merge_bins(sums, edges):
    """
    Join the sums of narrow bins.

    Parameters
    ----------
    sums : `~astropy.table.Table`
        From `block_sums`.
    edges : sequence of float
        Edges of the wider bins, which have to be edges of the narrow ones, too.

    Returns
    -------
    `~astropy.table.Table`
        The sums of the wider bins.
    """
    low, high = (np.asarray(sums[f'brightness_{end}']) for end in ('low', 'high'))
    wide = np.digitize(low, edges)   # of the lower edges; the bin of all pixels has no upper one
    keep = (wide > 0) & (wide < len(edges)) & (high <= np.asarray(edges)[np.minimum(wide, len(edges) - 1)])
    result = sums[keep]
    result['brightness_low'], result['brightness_high'] = (np.asarray(edges)[wide[keep] - shift] for shift in (1, 0))
    return result


def stack_named(column, names, tables):
    """Stack tables with the name of each in a first column."""
    table = vstack(list(tables), join_type='exact', metadata_conflicts='silent')
    table.add_column(np.repeat(names, [len(part) for part in tables]), 0, column)
    return table


def values_of(table, name):
    """Take a column of a table as a plain array, without unit and mask."""
    column = table[name]
    return np.ma.getdata(np.asarray(getattr(column, 'value', column)))
