# Licensed under a 3-clause BSD style license - see LICENSE
"""
What the measures have in common: columns with errors and intervals out.
"""

import numpy as np
from astropy.table import Table

from .statistics import bootstrap_interval

__all__ = ['estimate_columns', 'estimate_rows', 'set_units']


def estimate_columns(name, estimate):
    """
    An estimate as columns of a row.

    Parameters
    ----------
    name : str
        Of the column of the value.
    estimate : Estimate
        The estimate.

    Returns
    -------
    dict
        Value, standard error and ends of the interval: ``name``, ``name_err``, ``name_low``, ``name_high``.
    """
    return {name: estimate.value, f'{name}_err': estimate.error, f'{name}_low': estimate.low,
            f'{name}_high': estimate.high}


def estimate_rows(values, brightness, bins, measures, *, prefix='brightness', labels=None, centre=None,
                  confidence=0.6827, n_resamples=1000, seed=None):
    """
    A table with a row for everything and one for each bin, each measure with its interval.

    Parameters
    ----------
    values : dict of `~numpy.ndarray`
        By name.
    brightness : `~numpy.ndarray`
        What the bins are of.
    bins : `~numpy.ndarray`
        Edges.
    measures : dict
        Name of the column to ``(name of values, or a tuple of them, statistic)``.
    prefix : str, optional
        Of the columns of the edges.
    labels : `~numpy.ndarray`, optional
        Groups that are resampled together.
    centre : str, optional
        Column for the median of ``brightness`` in the bin.
    confidence, n_resamples, seed
        Of `~astropy_n2v.validation.bootstrap_interval`.

    Returns
    -------
    `~astropy.table.Table`
        Columns ``prefix_low``, ``prefix_high``, n, ``centre``, and for each measure those
        of `estimate_columns`.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for low, high in [(-np.inf, np.inf), *zip(bins[:-1], bins[1:])]:
        inside = np.ones(brightness.shape, dtype=bool) if low == -np.inf and high == np.inf \
            else (brightness >= low) & (brightness < high)
        row = {f'{prefix}_low': low, f'{prefix}_high': high, 'n': int(inside.sum())}
        if centre:
            row[centre] = float(np.nanmedian(brightness[inside])) if np.isfinite(brightness[inside]).any() else np.nan
        for column, (names, statistic) in measures.items():
            names = (names,) if isinstance(names, str) else names
            parts = tuple(values[name][inside] for name in names)
            estimate = bootstrap_interval(parts if len(parts) > 1 else parts[0], statistic,
                                          groups=None if labels is None else labels[inside],
                                          confidence=confidence, n_resamples=n_resamples, seed=rng)
            row.update(estimate_columns(column, estimate))
        rows.append(row)
    return Table(rows=rows, meta={'confidence': confidence})


def set_units(table, unit, columns):
    """
    Set the unit of those columns that a table has.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Changed in place, and returned.
    unit : `~astropy.units.Unit` or None
        The unit.
    columns : iterable of str
        Names.

    Returns
    -------
    `~astropy.table.Table`
        The table.
    """
    for name in columns:
        if name in table.colnames and unit is not None:
            table[name].unit = unit
    return table
