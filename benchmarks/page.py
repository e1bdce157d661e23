# Licensed under a 3-clause BSD style license - see LICENSE
"""
The page of the documentation, from the tables: ``python benchmarks/page.py`` writes ``docs/benchmarks.rst``.

A test sees to it that the page says what the tables say.
"""

from pathlib import Path

import numpy as np
from common import KINDS, RESULTS, read_table

__all__ = ['main', 'make_page']

PAGE = Path(__file__).parents[1] / 'docs' / 'benchmarks.rst'
_INTRODUCTION = '''\
Every table was measured by one command of ``benchmarks/`` in the repository, which is named above it; the machine is
named below it. Scenes and seeds are used for nothing else: neither for training nor for tuning. This page is written
from the tables by ``python benchmarks/page.py``.

The fields are 512x512 pixels and of the kinds that `~astropy_n2v.simulate.make_scene` draws: *survey*, *crowded*,
*nebula*, *low_counts* and *sky_limited*. Truth, noise and point-spread function are known. The peers are told
the noise, as we are. Those for Gaussian noise of one width get the frame after the generalised Anscombe transform,
and the exact unbiased inverse is taken of what they return. Where a peer has a parameter, several values stated
beforehand are peers of their own, so that the *best peer* has been chosen with the truth at hand.
'''


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


def _section(title, text, *parts, level='='):
    return '\n'.join([title, level * len(title), '', *([text.strip(), ''] if text else []), *parts])


def _machine(table):
    comments = table.meta.get('comments', [])
    return f'*Measured on: {comments[0]}.*\n' if comments else ''


def _mean(table, column, **where):
    select = np.ones(len(table), dtype=bool)
    for name, value in where.items():
        select &= np.asarray(table[name] == value)
    values = np.ma.filled(np.ma.asarray(table[column][select], dtype=float), np.nan)
    return values.mean() if values.size else np.nan


def _unique(column):
    return list(dict.fromkeys(column.tolist()))


def _by_kind(table, column):
    """Rows of methods, columns of kinds, and the ratios that the comparison is about."""
    kinds = [kind for kind in KINDS if kind in set(table['kind'])]
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


def _quality(folder):
    table = read_table('quality', folder)
    if table is None:
        return ''
    text = '''``python benchmarks/quality.py --n-seeds 2``

How many times smaller the rms error is than on the noisy frame, in units of the true noise of each pixel, mean over
fields. First all pixels; then faint structure, which are those pixels whose *true* signal above the sky is 1 to 10
times the noise of the sky; and bright pixels, above 30 times.'''
    parts = []
    for column, title in (('nr', 'All pixels'), ('nr_faint', 'Faint structure, 1-10 sigma'),
                          ('nr_bright', 'Bright pixels, more than 30 sigma')):
        parts += [_section(title, '', _by_kind(table, column), level='-')]
    kinds = [kind for kind in KINDS if kind in set(table['kind'])]
    columns = 'offset', 'sky_offset', 'rms_pull', 'coverage_68', 'coverage_95'
    rows = [(kind, *(_mean(table, column, kind=kind, method='ours') for column in columns)) for kind in kinds]
    parts.append(_section('Offset and stated uncertainty', '''
Mean of (result - truth) in units of the noise, over the frame and over sky that was chosen on the result (within one
sigma of its median); rms of (result - truth) / stated uncertainty, and how much of the truth lies within 1 and 1.96
of it.''', _table(('', *columns), rows), level='-'))
    bins = read_table('uncertainty', folder)
    if bins is not None:
        header = 'sigma above the sky', *kinds
        edges = sorted(set(zip(bins['from_sigma'].tolist(), bins['to_sigma'].tolist())))
        rows = []
        for low, high in edges:
            row = []
            for kind in kinds:
                part = bins[(bins['kind'] == kind) & (bins['from_sigma'] == low)]
                row.append(np.sqrt(np.average(part['rms_pull'] ** 2, weights=part['pixels'])) if len(part) else np.nan)
            rows.append((f'{_number(low)} to {_number(high)}'.replace('-inf to', 'below').replace('to inf', 'and more'),
                         *row))
        parts.append('The rms pull by the brightness of the *result*:\n\n' + _table(header, rows))
    methods = _unique(table['method'])
    seconds = {method: np.mean([_mean(table, 'seconds', kind=kind, method=method) for kind in kinds])
               for method in methods}
    rows = [(method, seconds[method], seconds[method] / seconds.get('bm3d', np.nan),
             max(_mean(table, 'peak_mb', kind=kind, method=method) for kind in kinds)) for method in methods]
    parts.append(_section('Cost', 'Seconds a frame, as a ratio to BM3D, and by how many MiB memory grew.',
                          _table(('', 'seconds', 'ratio to bm3d', 'MiB'), rows), _machine(table), level='-'))
    return _section('Quality on simulated fields', text, *parts)


def _trained(folder):
    table = read_table('quality_trained', folder)
    if table is None:
        return ''
    columns = ('kind', 'seed', 'method', 'nr', 'nr_faint', 'nr_bright', 'offset', 'sky_offset', 'rms_pull',
               'coverage_95', 'seconds')
    rows = [tuple(row[name] for name in columns) for row in table]
    return _section('What is trained on the frame', '''
``python benchmarks/quality.py --trained --n-seeds 1 --kinds survey crowded nebula low_counts``

Our ``model='self'``, and CAREamics N2V and N2V2 (after the Anscombe transform; 100 epochs, its defaults otherwise),
trained on each frame; BM3D in the same run.''',
                    _table(('kind', 'seed', 'method', 'all', 'faint', 'bright', 'offset', 'sky offset', 'rms pull',
                            '95 %', 'seconds'), rows),
                    _machine(table))


def _plain(folder, name, title, text, columns):
    """A section that shows a table as it is: columns are (name in the file, name in the page)."""
    table = read_table(name, folder)
    if table is None:
        return ''
    rows = [tuple(row[column] for column, _ in columns) for row in table]
    return _section(title, text, _table([label for _, label in columns], rows), _machine(table))


def _photometry(folder):
    table = read_table('photometry', folder)
    if table is None:
        return ''
    rows = [(row['kind'], row['method'], f'{row["snr_from"]}-{_number(row["snr_to"])}'.replace('-inf', ' and more'),
             row['stars'], 100 * row['bias'], 100 * row['bias_error'], row['scatter'], row['scatter_error'])
            for row in table]
    return _section('Photometry', '''
``python benchmarks/photometry.py --n-seeds 4``

Stars that no other source is near, in apertures with a radius of one FWHM, by signal-to-noise ratio in that aperture:
the bias is the median of (flux of the result - flux of the noisy frame) / true flux, in per cent; the scatter is that
of (flux - truth) / true flux, robust, as a ratio to that on the noisy frame. Errors are from the bootstrap.''',
                    _table(('', 'method', 'S/N', 'stars', 'bias (%)', 'error', 'scatter', 'error'), rows),
                    _machine(table))


def _other_truths(folder, name, title, text):
    """A table of scenes of other makers: how much less noise than before and than with the peers."""
    table = read_table(name, folder)
    if table is None:
        return ''
    methods = _unique(table['method'])
    rows, ratios = [], []
    for image in _unique(table['image']):
        for noise in _unique(table['noise']):
            nr = {method: _mean(table, 'nr', image=image, noise=noise, method=method) for method in methods}
            ratios.append((nr['ours'] / nr.get('bm3d', np.nan),
                           nr['ours'] / max(value for method, value in nr.items() if method != 'ours')))
            faint, bright = (_mean(table, column, image=image, noise=noise, method='ours')
                             / _mean(table, column, image=image, noise=noise, method='bm3d')
                             for column in ('nr_faint', 'nr_bright'))
            own = [_mean(table, column, image=image, noise=noise, method='ours')
                   for column in ('offset', 'rms_pull', 'coverage_95')]
            rows.append((image, noise, *nr.values(), *ratios[-1], faint, bright, *own))
    rows.append(('**mean**', '', *[''] * len(methods), *np.mean(ratios, axis=0)))
    header = ('', 'noise', *methods, 'ours / bm3d', 'ours / best peer', 'faint, ours / bm3d', 'bright, ours / bm3d',
              'offset', 'rms pull', '95 %')
    return _section(title, text + '''
How many times smaller the rms error is than on the noisy frame, over all pixels; the ratio to BM3D also in faint and
bright pixels, of which some images have few or none; and for ours the mean offset in sigma, the rms pull and the
coverage of 95 %.
''', _table(header, rows), _machine(table))


def _correlated(folder):
    table = read_table('correlated', folder)
    if table is None:
        return ''
    ratios = 'ratio_all', 'ratio_faint', 'ratio_bright', 'limit'
    pulls = [name for name in table.colnames if name.startswith('pull')]
    noises, methods = _unique(table['noise']), _unique(table['method'])
    rows = [(noise, method, *(_mean(table, column, noise=noise, method=method) for column in ratios))
            for noise in noises for method in methods]
    pull_rows = [(noise, method, *(_rms(table, column, noise=noise, method=method) for column in pulls))
                 for noise in noises for method in methods if method.startswith('ours')]
    header = [name.replace('pull_below_', 'below ').replace('pull_', 'from ') for name in pulls]
    header[0] = 'all pixels'
    return _section('Correlated noise', '''
``python benchmarks/correlated.py``

Noise that read-out or resampling has correlated, with the same variance in each pixel as white noise: neighbours along
rows by -0.2 (read-out) and by 0.3; both ways as after a Lanczos shift by a third and a quarter of a pixel (0.19 and
0.11), a bilinear shift by 0.3 pixels (0.36) and drizzling (0.67: bilinear by half a pixel, twice). The rms error of
all, faint (1-10 sigma) and bright pixels (above 30) is given in units of that of ours on *white* noise of the same
scene, mean over survey, crowded and sky-limited fields. With positive correlation there is more noise at the scales of
sources, so that an error as on white noise is out of reach, with negative there is less: *limit* is the same ratio for
the best linear filter, to which spectra of scene and noise are known. No method is told the correlation but "bm3d,
known spectrum"; ours measures it on each frame. *Hole of 1* is ours with ``hole=1``.''',
                    _table(('noise', 'method', 'all', 'faint', 'bright', 'limit'), rows),
                    'The rms of (result - truth) / stated uncertainty, by the brightness of the result in sigma:\n',
                    _table(('noise', 'method', *header), pull_rows), _machine(table))


def _stripes(folder):
    return _plain(folder, 'stripes', 'Stripes', '''
``python benchmarks/stripes.py --kinds survey crowded --first-seed 7002 --n-seeds 2``

Rows or columns with offsets of half the noise of the sky. The rms of the row means of the error, in electrons: of the
frame, after the offsets have been taken off, and of the result; how many times smaller it is; and the relative error of
the flux of a galaxy, a trail along a row and a step between amplifiers that lie on the field, in frame and result.''',
                  [('field', 'field'), ('light', 'with'), ('axis', 'offsets of'), ('row_means_input', 'frame'),
                   ('row_means_taken_off', 'taken off'), ('row_means_result', 'result'), ('smaller', 'times smaller'),
                   ('flux_input', 'flux, frame'), ('flux_result', 'flux, result')])


def _rms(table, column, **where):
    squares = table[[column, *where]].copy()
    squares[column] = np.ma.filled(np.ma.asarray(squares[column], dtype=float), np.nan) ** 2
    return np.sqrt(_mean(squares, column, **where))


def _exposures(folder):
    table = read_table('exposures', folder)
    if table is None:
        return ''
    main = 'sky', 'faint sources'
    columns = ('field', 'pixels', 'method', 'mse_before', 'mse_after', 'ratio', 'low', 'high', 'than_bm3d',
               'than_bm3d_low', 'than_bm3d_high', 'than_hole_1', 'than_hole_1_low', 'than_hole_1_high')
    rows = [tuple(row[name] for name in columns) for row in table if row['pixels'] in main]
    header = ('', 'pixels', 'method', 'before (adu²)', 'after', *sum(
        ((name, 'from', 'to') for name in ('times smaller', 'than BM3D', 'than hole of 1')), ()))
    bins = [name for name in _unique(table['pixels']) if name != 'faint sources']
    cells = {(row['field'], row['method'], row['pixels']):
             f'{_number(row["ratio"])} ({_number(row["low"])}-{_number(row["high"])})'
             + (' **worse**' if row['worse'] == 'yes' else '') for row in table}
    by_brightness = [(field, method, *(cells.get((field, method, name), '') for name in bins))
                     for field, method in dict.fromkeys((field, method) for field, method, _ in cells)]
    return _section('Repeated exposures', '''
``python benchmarks/exposures.py``

Real exposures, each denoised alone and judged by the others. The mean square error is the mean of (result - A)
(result - B), with A and B the means of two halves of the others, whose noise is independent. Sky and faint sources are
chosen on the smoothed mean of the others. All methods get the same estimate of the noise, but "as read", which is
``denoise(ccd)`` with what the header says; "hole of 1" is ours with ``hole=1``. *Times smaller* is the mean square
error before over that after, with the interval of 95 % from the bootstrap over blocks of sky; *than BM3D* is that of
BM3D over that of the method, both drawn together, and *than hole of 1* likewise. The mean of all is the geometric
one. In the exposures of M 13 half a per cent of the pixels are misread, too dark by 5 to 10 sigma, each time others.
They are measurements like others unless ``reject_outliers`` says that they are not, and most of the error that is left;
BM3D averages them with their neighbours. The frames of ARCSAT are reduced with bias, dark and flat of their night.''',
                    _table(header, rows), '''\
How many times smaller the mean square error is by the smoothed signal of the others, in sigma of an exposure, and the
interval; *worse* is what is worse than the exposure beyond its interval. Seeing differs between exposures, which is
most of the error of bright pixels, before and after.
''', _table(('', 'method', *bins), by_brightness), _machine(table))


_REAL_IMAGES = '''
``python benchmarks/real_scenes.py``

Real images as truth, which no simulator made: scaled so that their own noise is a thirtieth of the noise that is
added, on 400 electrons of sky with a read noise of 5 and on 2 electrons with a read noise of 3.
'''

_OTHER_SCENES = '''
``python benchmarks/other_scenes.py``

Scenes that our simulator did not make: stars, galaxies and nebulae of photutils, astropy.modeling and numpy, slopes of
20 sigma, a trail, a long-slit spectrum, a planet and nothing at all, with the same noise. Lines and edges are what BM3D
is at its best with. The slopes are no independent test: they were looked at while the removal of gradients was made;
nor are the pulls, since the uncertainty of empty skies was looked at on these.
'''


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
    title = 'Benchmarks'
    parts = [
        f'.. Written by benchmarks/page.py from the tables in benchmarks/results: edit those.\n\n{"*" * len(title)}\n'
        f'{title}\n{"*" * len(title)}\n', _INTRODUCTION, _quality(folder),
        _other_truths(folder, 'real_scenes', 'Real images with noise added', _REAL_IMAGES),
        _other_truths(folder, 'other_scenes', 'Scenes of other makers', _OTHER_SCENES),
        _trained(folder), _photometry(folder),
        _plain(folder, 'flat', 'Flat frames', '''
``python benchmarks/quality.py --flat``

Frames of nothing but photon noise: the mean of the result over the mean of the frame.''',
               [('counts', 'counts a pixel'), ('mean_ratio', 'mean after / before')]),
        _plain(folder, 'empty_sky', 'Skies without sources', '''
``python benchmarks/empty_sky.py``

Those of 60 random scenes of which the data say that no source is on some of the sky, with less uncertainty there than
the model states: rms pull, how much of the frame is within 1.96 stated deviations, and the rms error in units of the
noise, before and after this correction.''',
               [('field', ''), ('factor', 'factor of the variance'), ('weight', 'how sure'),
                ('rms_pull_before', 'rms pull before'), ('rms_pull_after', 'after'),
                ('coverage_95_before', '95 % before'), ('coverage_95_after', 'after'),
                ('error_before', 'error before'), ('error_after', 'after')]),
        _plain(folder, 'fuzz', 'Frames with defects', '''
``python benchmarks/fuzz.py``

Random scenes with one to three defects each, by defect, whatever else the frame has. A frame fails in *error* if the
rms error of the result, in units of the true noise, is more than 1.05 times that of the frame over all, faint, bright
or dark pixels (of classes of 500 pixels at least), and in *coverage* if less than 85 % of the truth is within 1.96
stated deviations, unless a warning or a refusal names a defect of the frame; *unnamed* are the failures that came with
some other warning. Frames in which no defect is harmful should be denoised in silence, but for the word that fill
values or empty regions are masked: *false alarms* are all other warnings and refusals. The ratio of the gain is the
median of the noise reduction of such frames over that of the same frames without a defect; the row *none* counts
these.''',
               [('defect', ''), ('frames', 'frames'), ('refused', 'refused'), ('warned', 'warned of'),
                ('error', 'failed in error'), ('coverage', 'failed in coverage'), ('unnamed', 'unnamed'),
                ('harmless_frames', 'without harmful defect'), ('said', 'warned of or refused'),
                ('false_alarms', 'false alarms'), ('gain_ratio', 'ratio of the gain')]),
        _plain(folder, 'unforeseen', 'What cannot be foreseen', '''
``python benchmarks/photometry.py --n-seeds 4``

Single-pixel transients, and stars narrower than two pixels at random places within their pixel, with a peak of 30
sigma of the sky: the share of their flux that is in the result. The first row of each kind is the noisy frame.''',
               [('kind', ''), ('planted', 'planted'), ('method', 'method'), ('kept', 'kept'), ('error', 'error')]),
        _plain(folder, 'unforeseen_trained', "What a model trained on the frame cannot foresee", '''
``python benchmarks/photometry.py --trained --kinds survey --n-seeds 1``

The same for ``model='self'``, where the objects are in the frame that it is trained on.''',
               [('kind', ''), ('planted', 'planted'), ('method', 'method'), ('kept', 'kept'), ('error', 'error')]),
        _plain(folder, 'detection', 'Detection', '''
``python benchmarks/detection.py --n-seeds 4``

Depth at equal purity. On each map local maxima are matched to the catalogue, and the threshold is the lowest with no
more than 5 % false detections. *S/N at 50 %* is the significance of an isolated star on empty sky that is found half
of the time at this threshold. *Deeper* is the difference in magnitudes to the matched filter (above the known sky, or
above the median of the surroundings, whichever is deeper in this kind of field), with its error from paired bootstrap
over blocks of sky. Ours is `~astropy_n2v.detection_image` of the denoised frame.''',
               [('kind', ''), ('map', 'map'), ('stars', 'stars'), ('threshold', 'threshold'),
                ('snr_50', 'S/N at 50 %'), ('deeper_mag', 'deeper (mag)'), ('error_mag', 'error')]),
        _plain(folder, 'false_detections', 'Detections on pure noise', '''
How many peaks a megapixel of noise without sources has above the thresholds of the last table; correlated noise is
that of an exposure which was moved by a part of a pixel.''',
               [('noise', 'noise'), ('threshold_of', 'threshold of'), ('map', 'map'),
                ('per_megapixel', 'detections per megapixel'), ('error', 'error')]),
        _plain(folder, 'validation', 'Validation of a large frame', '''
``python benchmarks/validation.py``

What `astropy_n2v.validation.validate` says of the default model on a simulated survey field, 99 % intervals, and how
long it takes, the denoising included.''',
               [('test', 'test'), ('verdict', 'verdict'), ('value', 'value'), ('low', 'from'), ('high', 'to'),
                ('unit', 'unit')]),
        _correlated(folder),
        _stripes(folder),
        _exposures(folder),
        _plain(folder, 'exposures_stars', 'Faint stars of repeated exposures', '''
``python benchmarks/exposures.py``

Stars with a peak of 1 to 5 sigma of an exposure, averaged over all places and exposures. They are found in half of the
other exposures, and the *reference* is the average of the other half. *Centre* is the peak in sigma above the edges of
squares of 15 pixels, *neighbours* and *diagonals* are the means of the four pixels beside it and of the four beyond,
over the centre. A *ring* is where centre > neighbours > diagonals holds in less than 2.5 % of draws of the stars.''',
               [('field', ''), ('method', 'method'), ('stars', 'stars'), ('centre', 'centre'),
                ('neighbours', 'neighbours'), ('neighbours_error', 'error'), ('diagonals', 'diagonals'),
                ('diagonals_error', 'error'), ('ring', 'ring')]),
        _plain(folder, 'speed', 'Time and memory', '''
``python benchmarks/speed.py``

Height and width of the frame, seconds, and the MiB by which the process grew beyond the libraries and the
frame.''',
               [('method', ''), ('size', 'pixels'), ('seconds', 'seconds'), ('megapixel_per_s', 'megapixel/s'),
                ('peak_mb', 'MiB')]),
        _plain(folder, 'oracle', 'The oracle', '''
``python benchmarks/oracle.py --minutes 42 --n-seeds 2``

The same network with its hole open, trained further with *clean* targets on the scenes of the recipe. The share is
the noise reduction of ours over that of the oracle, which is not corrected by the frame, as ours is; *removed* compares
the part of the mean square error of the noise that is gone. A share above one says that the oracle is no bound there:
it is none in bright pixels. This run was compared with earlier weights than are shipped now, and began with
some that had been trained 75 minutes longer, which the command alone does not repeat.''',
               [('kind', ''), ('seed', 'seed'), ('nr_ours', 'ours'), ('nr_oracle', 'oracle'), ('nr_share', 'share'),
                ('nr_faint_share', 'share, faint'), ('nr_bright_share', 'share, bright'),
                ('removed_share', 'removed')])]
    return '\n'.join(part.rstrip() + '\n' for part in parts if part)


def main():
    PAGE.write_text(make_page(), encoding='utf-8')


if __name__ == '__main__':
    main()
