# Licensed under a 3-clause BSD style license - see LICENSE
"""
Write the page of the documentation from the tables: ``python benchmarks/page.py`` writes ``docs/benchmarks.rst``.

The text is in ``page.rst``, in which three directives are replaced. What follows ``.. section: NAME``, up to the next
one, is left out unless ``results/NAME.csv`` exists. ``.. table: NAME`` is that table: of the columns that follow, each
with its label, else as `_TABLES` makes it. ``.. machine: NAME`` is what it was measured on. A test checks that the
page agrees with the tables.
"""

import re
from functools import partial
from pathlib import Path

import numpy as np
from common import KINDS, RESULTS, read_table

__all__ = ['main', 'make_page']

PAGE = Path(__file__).parents[1] / 'docs' / 'benchmarks.rst'
TEMPLATE = Path(__file__).with_name('page.rst')


def _number(value):
    if isinstance(value, (str, np.str_)):
        return str(value)
    if isinstance(value, (bool, np.bool_)):
        return 'yes' if value else ''
    if np.ma.is_masked(value) or not np.isfinite(value):
        return '' if np.ma.is_masked(value) or np.isnan(value) else 'inf' if value > 0 else '-inf'
    if isinstance(value, (int, np.integer)) or abs(value) >= 1000:
        return f'{value:.0f}'
    return f'{value:.3g}' if abs(value) >= 0.01 or value == 0 else f'{value:.4f}'


def _table(header, rows):
    """A table of reStructuredText."""
    lines = ['.. csv-table::', '    :header-rows: 1', '']
    for row in [header, *rows]:
        lines.append('    ' + ', '.join('"' + _number(value) + '"' for value in row))
    return '\n'.join(lines) + '\n'


def _mean(table, column, **where):
    select = np.ones(len(table), dtype=bool)
    for name, value in where.items():
        select &= np.asarray(table[name] == value)
    values = np.ma.filled(np.ma.asarray(table[column][select], dtype=float), np.nan)
    return values.mean() if values.size else np.nan


def _unique(column):
    return list(dict.fromkeys(column.tolist()))


def _kinds(table):
    return [kind for kind in KINDS if kind in set(table['kind'])]


def _rms(table, column, **where):
    squares = table[[column, *where]].copy()
    squares[column] = np.ma.filled(np.ma.asarray(squares[column], dtype=float), np.nan) ** 2
    return np.sqrt(_mean(squares, column, **where))


def _by_kind(column, table):
    """Rows of methods, columns of kinds, and the ratios of ours to the peers."""
    kinds = _kinds(table)
    methods = _unique(table['method'])
    values = {method: np.array([_mean(table, column, kind=kind, method=method) for kind in kinds])
              for method in methods}
    rows = [(method, *values[method], '') for method in methods]
    ours, peers = values.get('ours'), [method for method in methods if method != 'ours']
    if ours is not None and peers:
        if 'bm3d' in peers:
            ratio = ours / values['bm3d']
            rows.append(('**ours / bm3d**', *ratio, ratio.mean()))
        ratio = ours / np.max([values[method] for method in peers], axis=0)
        rows.append(('**ours / best peer**', *ratio, ratio.mean()))
    return _table(('', *kinds, 'mean'), rows)


def _stated(table):
    columns = 'offset', 'sky_offset', 'rms_pull', 'coverage_68', 'coverage_95'
    return _table(('', *columns), [(kind, *(_mean(table, column, kind=kind, method='ours') for column in columns))
                                   for kind in _kinds(table)])


def _pulls(table):
    """Rms pull by the brightness of the result, a column for each kind."""
    rows = []
    for low, high in sorted(set(zip(table['brightness_low'].tolist(), table['brightness_high'].tolist()))):
        parts = [table[(table['kind'] == kind) & (table['brightness_low'] == low)] for kind in _kinds(table)]
        name = f'{_number(low)} to {_number(high)}'.replace('-inf to', 'below').replace('to inf', 'and more')
        rows.append((name, *(np.sqrt(np.average(part['rms_pull'] ** 2, weights=part['n'])) if len(part) else np.nan
                             for part in parts)))
    return _table(('sigma above the background', *_kinds(table)), rows)


def _cost(table):
    methods, kinds = _unique(table['method']), _kinds(table)
    seconds = {method: np.mean([_mean(table, 'seconds', kind=kind, method=method) for kind in kinds])
               for method in methods}
    return _table(('', 'seconds', 'ratio to bm3d', 'MiB'), [
        (method, seconds[method], seconds[method] / seconds.get('bm3d', np.nan),
         max(_mean(table, 'peak_mb', kind=kind, method=method) for kind in kinds)) for method in methods])


def _photometry(table):
    return _table(('', 'method', 'S/N', 'stars', 'bias (%)', 'error', 'scatter', 'error'), [
        (row['kind'], row['method'], f'{row["snr_from"]}-{_number(row["snr_to"])}'.replace('-inf', ' and more'),
         row['stars'], 100 * row['bias'], 100 * row['bias_error'], row['scatter'], row['scatter_error'])
        for row in table])


def _other_truths(table):
    """Noise reduction by image and noise, and the ratios of ours to the peers."""
    methods = _unique(table['method'])
    rows, ratios = [], []
    for image in _unique(table['image']):
        for noise in _unique(table['noise']):
            nr, faint, bright = ({method: _mean(table, column, image=image, noise=noise, method=method)
                                  for method in methods} for column in ('nr', 'nr_faint', 'nr_bright'))
            ratios.append((nr['ours'] / nr.get('bm3d', np.nan),
                           nr['ours'] / max(value for method, value in nr.items() if method != 'ours')))
            own = [_mean(table, column, image=image, noise=noise, method='ours')
                   for column in ('offset', 'rms_pull', 'coverage_95')]
            rows.append((image, noise, *nr.values(), *ratios[-1],
                         *(part['ours'] / part.get('bm3d', np.nan) for part in (faint, bright)), *own))
    rows.append(('**mean**', '', *[''] * len(methods), *np.mean(ratios, axis=0)))
    return _table(('', 'noise', *methods, 'ours / bm3d', 'ours / best peer', 'faint, ours / bm3d',
                   'bright, ours / bm3d', 'offset', 'rms pull', '95 %'), rows)


def _correlated(table):
    return _table(('noise', 'method', 'all', 'faint', 'bright', 'limit'), [
        (noise, method, *(_mean(table, column, noise=noise, method=method)
                          for column in ('ratio_all', 'ratio_faint', 'ratio_bright', 'limit')))
        for noise in _unique(table['noise']) for method in _unique(table['method'])])


def _correlated_pulls(table):
    pulls = [name for name in table.colnames if name.startswith('pull')]
    labels = [name.replace('pull_below_', 'below ').replace('pull_', 'from ') for name in pulls[1:]]
    return _table(('noise', 'method', 'all pixels', *labels), [
        (noise, method, *(_rms(table, column, noise=noise, method=method) for column in pulls))
        for noise in _unique(table['noise']) for method in _unique(table['method']) if method.startswith('ours')])


def _exposures(table):
    columns = ('field', 'pixels', 'method', 'mse_before', 'mse_after', 'ratio', 'low', 'high', 'than_bm3d',
               'than_bm3d_low', 'than_bm3d_high', 'than_hole_1', 'than_hole_1_low', 'than_hole_1_high')
    header = ('', 'pixels', 'method', 'before (adu²)', 'after', *sum(
        ((name, 'from', 'to') for name in ('times smaller', 'than BM3D', 'than hole of 1')), ()))
    return _table(header, [tuple(row[name] for name in columns) for row in table
                           if row['pixels'] in ('sky', 'faint sources')])


def _exposures_by_brightness(table):
    bins = [name for name in _unique(table['pixels']) if name != 'faint sources']
    cells = {(row['field'], row['method'], row['pixels']):
             f'{_number(row["ratio"])} ({_number(row["low"])}-{_number(row["high"])})'
             + (' **worse**' if row['worse'] == 'yes' else '') for row in table}
    return _table(('', 'method', *bins), [
        (field, method, *(cells.get((field, method, name), '') for name in bins))
        for field, method in dict.fromkeys((field, method) for field, method, _ in cells)])


#: Tables that are not shown as they are: functions that make them, by the name of the directive.
_TABLES = {
    **{f'quality {column}': partial(_by_kind, column) for column in ('nr', 'nr_faint', 'nr_bright')},
    'quality uncertainty': _stated, 'quality cost': _cost, 'uncertainty': _pulls, 'photometry': _photometry,
    'real_scenes': _other_truths, 'other_scenes': _other_truths, 'correlated': _correlated,
    'correlated pulls': _correlated_pulls, 'exposures': _exposures, 'exposures brightness': _exposures_by_brightness}


def _fill(folder, directive):
    """Replace a directive of the template."""
    kind, name, lines = directive.groups()
    table = read_table(name.split()[0], folder)
    if kind == 'machine':
        return f'*Measured on: {table.meta["comments"][0]}.*\n'
    if not lines:
        return _TABLES[name](table)
    columns = dict(line.strip().split(':') for line in lines.splitlines())
    return _table([label.strip() for label in columns.values()], [tuple(row[name] for name in columns)
                                                                  for row in table])


def make_page(folder=RESULTS):
    """
    Write the page.

    Parameters
    ----------
    folder : path, optional
        Where the tables are.

    Returns
    -------
    str
        The page in reStructuredText.
    """
    first, *parts = re.split(r'^\.\. section: (\w+)\n\n', TEMPLATE.read_text(encoding='utf-8'), flags=re.MULTILINE)
    text = first + ''.join(part for name, part in zip(parts[::2], parts[1::2]) if read_table(name, folder) is not None)
    return re.sub(r'^\.\. (table|machine): (.+)\n((?:    .+\n)*)', partial(_fill, folder), text, flags=re.MULTILINE)


def main():
    PAGE.write_text(make_page(), encoding='utf-8')


if __name__ == '__main__':
    main()
