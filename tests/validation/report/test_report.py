# Licensed under a 3-clause BSD style license - see LICENSE
"""
The report of a validation: verdicts, files, page, figures.
"""

import json
import re

import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable, Table
from hypothesis import given
from hypothesis import strategies as st

from astropy_n2v.validation import REPORT_SCHEMA, VERDICTS, Check, Report, judge_interval
from astropy_n2v.validation import figures as drawing
from astropy_n2v.validation.figures.report import _panels as panels_of
from astropy_n2v.validation.report.report import describe_limits, format_number

META = {'denoiser': 'mine <b>', 'version': '1', 'created': '2026-01-01T00:00:00+00:00', 'seed': 3,
        'frames': [{'name': 'a & b', 'status': 'done', 'audit': 'warning: <noise>'},
                   {'name': 'd', 'status': 'done', 'audit': 'ok'},
                   {'name': 'c', 'status': 'failed', 'error': 'no such file'}],
        'options': {'confidence': 0.99}, 'notes': ['1 of 2 frames could not be validated.'],
        'advice': ['Multiply by 3.'], 'compared_with': 'truth'}


def make_report(seed=0):
    """Make a report with all tables for figures."""
    rng = np.random.default_rng(seed)
    n = 200
    snr = 10 ** rng.uniform(0.4, 2.5, n)
    true = snr * 10
    threshold = np.array([3.0, 4.0, 5.0])
    lags = np.array([(y, x) for y in range(4) for x in range(-3, 4) if (y, x) > (0, 0)])
    y, x = np.mgrid[16:128:32, 16:160:32].reshape(2, -1)

    def bins(**columns):
        table = Table(columns)
        for name in [name for name in columns if name not in ('snr', 'radius', 'brightness_low', 'n')]:
            table[f'{name}_low'], table[f'{name}_high'] = table[name] - 0.02, table[name] + 0.02
        return table
    sources = Table({'frame': ['a'] * n, 'snr': snr, 'flux_true': true, 'flux_before': rng.normal(true, 10),
                     'flux_after': rng.normal(true, 5), 'flux_before_err': np.full(n, 10.0),
                     'flux_after_err': np.full(n, 3.0)})
    bias = bins(snr=[20.0, 4, 12, 60], n=[200, 50, 100, 50], bias=[-0.02, -0.2, -0.03, 0.0],
                scatter_before=np.ones(4), scatter_after=np.full(4, 0.8))
    sweep = Table({'image': np.repeat(['raw', 'matched filter', 'denoised'], 3), 'threshold': np.tile(threshold, 3),
                   'tp': [60, 50, 40, 80, 70, 60, 85, 75, 62], 'fp': [90, 20, 3, 30, 2, 0, 20, 2, 0],
                   'fn': [40, 50, 60, 20, 30, 40, 15, 25, 38]})
    mag = np.arange(5.0)
    tables = {
        'image_metrics': Table({'frame': ['a', 'b', 'c'], 'psnr_before': [20, 21, 22.0],
                                'psnr_after': [30, 31, 33.0] * u.dB,
                                'ssim_before': [0.5, 0.6, 0.6], 'ssim_after': [0.9, 0.92, 0.93]}),
        'sources': sources, 'flux_bias': bias, 'growth': bins(radius=[1.0, 2, 3], ratio=[0.97, 1.0, 1.0]),
        'noise_by_brightness': bins(brightness_low=[-np.inf, -np.inf, 1, 3, 10], noise_reduction=[7.0, 9, 4, 2, 1.2]),
        'pulls': Table({'kind': ['sky'] * 500 + ['sources'] * 500, 'pull': rng.normal(size=1000)}),
        'aperture_noise': Table({'area': [1, 4, 9, 25], 'sigma': [1, 3.5, 7, 18.0], 'sigma_before': [5, 10, 15, 25.0]}),
        'residual_autocorrelation': Table({'dy': lags[:, 0], 'dx': lags[:, 1], 'correlation': rng.normal(0, 0.01, 24)}),
        'sky_cells': Table({'frame': ['a'] * x.size, 'x': x, 'y': y, 'offset_sigma': rng.normal(0, 0.01, x.size)}),
        'completeness': Table({'image': np.repeat(['matched filter', 'denoised'], 5), 'mag': np.tile(mag, 2),
                               'completeness': [1, 0.9, 0.5, 0.1, 0] * 2, 'completeness_low': [0.9, 0.8, 0.4, 0, 0] * 2,
                               'completeness_high': [1, 1, 0.6, 0.2, 0.1] * 2}),
        'depth': Table({'image': ['matched filter', 'denoised'], 'm50': [2.0, 2.1], 'm90': [1.0, 1.1]}),
        'recovered_flux': Table({'image': ['denoised'] * 2, 'snr': [4.0, 20], 'bias': [-0.2, 0.0],
                                 'bias_low': [-0.3, -0.01], 'bias_high': [-0.1, 0.01]}),
        'sweep': sweep}
    checks = [Check('growth', 'Curve of growth', 'Is flux <kept>?', 'fail', 'Profiles have changed.', -0.03,
                    (-0.04, -0.02), (-0.01, 0.01), n=50, reason='At a radius of 1.0 px.'),
              Check('noise_reduction', 'Gain', 'Is it nearer?', 'pass', 'It is nearer.', 7.0, (6.9, 7.1), (1.1, None)),
              Check('depth', 'Depth', 'As deep?', 'inconclusive', value=0.0, interval=(-0.2, 0.2), limits=(-0.1, None),
                    unit='mag', reason='More would decide.'),
              Check('fwhm', 'Width', 'Kept?', 'not run', limits=(-0.02, 0.02), reason='no bright source')]
    images = {name: rng.normal(100, 5, (60, 80)) for name in ('before', 'after', 'truth')} | {'sigma': 5.0}
    return Report(checks, tables, dict(META), images)


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    report = make_report()
    directory = tmp_path_factory.mktemp('report')
    report.write(directory)
    return report, directory


@given(st.floats(-5, 5), st.floats(0, 3), st.floats(-3, 0), st.floats(0, 3))
def test_verdict_by_interval(value, half, low, high):
    verdict = judge_interval(value, (value - half, value + half), (low, high))
    inside = low <= value - half and value + half <= high
    outside = value + half < low or value - half > high
    assert verdict == ('pass' if inside else 'fail' if outside else 'inconclusive')


@pytest.mark.parametrize('limits, expected', [((None, 2), 'fail'), ((2, None), 'pass'), ((None, None), 'pass'),
                                              ((0, 2.95), 'inconclusive')])
def test_open_limits(limits, expected):
    assert judge_interval(3, (2.9, 3.1), limits) == expected


def test_no_verdict_without_value():
    assert judge_interval(np.nan, (0, 1), (0, 2)) == 'not run'
    assert judge_interval(1, (0, np.inf), (0, 2)) == 'not run'
    with pytest.raises(ValueError, match='limits must be'):
        judge_interval(1, (0, 2), (3, 1))


def test_check_refuses_other_verdicts():
    with pytest.raises(ValueError, match="'pass', 'fail'.*got 'good'"):
        Check('a', 'A', 'Is it?', 'good')


def test_summary_counts_and_lookup():
    report = make_report()
    assert report.counts() == {verdict: 1 for verdict in VERDICTS}
    assert not report.passed and report.failed == ['growth']
    assert report['depth'].verdict == 'inconclusive'
    with pytest.raises(KeyError, match='no check .sky'):
        report['sky']
    lines = report.summary().splitlines()
    assert len(lines) == 6 and 'no bright source' in lines[-2]
    assert lines[-1] == 'audit         a & b: warning: <noise>'
    table = report.check_table()
    assert table['verdict'].tolist() == ['fail', 'pass', 'inconclusive', 'not run']
    assert table['n'].tolist() == [50, -1, -1, -1]


def test_json_follows_the_schema(written):
    jsonschema = pytest.importorskip('jsonschema')
    content = json.loads((written[1] / 'report.json').read_text())
    jsonschema.Draft202012Validator.check_schema(REPORT_SCHEMA)
    jsonschema.Draft202012Validator(REPORT_SCHEMA).validate(content)
    for spoil in (lambda c: c.pop('checks'), lambda c: c['checks'][0].update(verdict='fine'),
                  lambda c: c.update(schema_version='1.0'), lambda c: c['checks'][0].update(more=1)):
        wrong = json.loads(json.dumps(content))
        spoil(wrong)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft202012Validator(REPORT_SCHEMA).validate(wrong)


def test_read_gives_back_what_was_written(written):
    report, directory = written
    again = Report.read(directory)
    assert again.checks == report.checks
    assert again.meta == json.loads(json.dumps(report.meta))
    assert set(again.tables) == set(report.tables)
    for name, table in report.tables.items():
        other = again.tables[name]
        assert other.colnames == table.colnames
        for column in table.colnames:
            assert other[column].unit == table[column].unit
            if np.asarray(table[column]).dtype.kind == 'f':
                np.testing.assert_array_equal(np.asarray(other[column]), np.asarray(table[column]))
            else:
                assert list(other[column]) == list(table[column])


def test_read_refuses_what_is_no_report(tmp_path):
    path = tmp_path / 'report.json'
    with pytest.raises(OSError):
        Report.read(path)
    path.write_text('{"a": 1}')
    with pytest.raises(ValueError, match='not a validation report'):
        Report.read(tmp_path)
    path.write_text('{"schema": "astropy_n2v.validation.report", "schema_version": "7.0"}')
    with pytest.raises(ValueError, match='this version reads'):
        Report.read(tmp_path)


def test_tables_in_ecsv(written):
    report, directory = written
    metrics = QTable.read(directory / 'tables' / 'image_metrics.ecsv')
    assert metrics['psnr_after'].unit == u.dB
    assert set(path.stem for path in (directory / 'tables').iterdir()) == {'checks', *report.tables}


def test_nothing_is_overwritten(tmp_path, monkeypatch):
    monkeypatch.setattr(drawing, 'draw_figures', lambda report: [])   # they take seconds
    report = make_report()
    first, second = tmp_path / 'first', tmp_path / 'second'
    report.write(first)
    before = (first / 'report.json').read_bytes()
    with pytest.raises(FileExistsError, match='--overwrite'):
        report.write(first)
    # One file in the way, and nothing at all is written.
    second.mkdir()
    (second / 'report.html').write_text('mine')
    with pytest.raises(FileExistsError):
        report.write(second)
    assert [path.name for path in second.iterdir()] == ['report.html']
    report.write(first, overwrite=True)
    assert (first / 'report.json').read_bytes() == before
    assert not list(tmp_path.rglob('*.part*'))


def test_page_is_one_small_file_for_light_and_dark(written):
    page = (written[1] / 'report.html').read_text()
    assert len(page) < 5e6
    # Dark on a screen only, and what has not been scrolled to is printed, too.
    assert page.count('prefers-color-scheme: dark') == page.count('screen and (prefers-color-scheme: dark)')
    assert 'loading=' not in page
    assert 'prefers-color-scheme: dark' in page and '@media print' in page and 'name="viewport"' in page
    # Nothing is fetched from anywhere.
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert page.count('<source media="screen and (prefers-color-scheme: dark)"') == page.count('<img ') > 15
    # Text is text, and no markup.
    assert 'mine &lt;b&gt;' in page and 'Is flux &lt;kept&gt;?' in page and 'a &amp; b' in page and '<b>' not in page
    assert 'a &amp; b: warning: &lt;noise&gt;' in page and '1 of 2 agree with them' in page
    for text in ('1 fail', 'Multiply by 3.', 'no such file', 'within ±0.01', 'no bright source', 'More would decide.'):
        assert text in page


def test_page_without_failures():
    from astropy_n2v.validation.report.page import render_page
    check = Check('a', 'A', 'Is it?', 'pass', value=1.0, interval=(0.9, 1.1))
    assert 'All tests that could be run passed.' in render_page(Report([check], {}, META), [])
    assert 'No test could be run.' in render_page(Report([Check('a', 'A', '?', 'not run')], {}, META), [])


def test_all_figures_of_a_report():
    report = make_report()
    figures = drawing.draw_figures(report, dpi=40)
    names = [figure.name for figure in figures]
    assert len(names) == len(set(names)) >= 22
    for figure in figures:
        assert figure.light.startswith(b'\x89PNG') and figure.dark.startswith(b'\x89PNG')
        assert figure.light != figure.dark and figure.caption
    assert {'metrics_table', 'psnr_histogram', 'ssim_histogram', 'psnr_ssim', 'flux_scatter', 'flux_residuals',
            'confusion', 'detection_summary', 'precision_recall', 'threshold_scores', 'threshold_counts', 'best_f1',
            'completeness', 'flux_bias', 'pixel_pulls', 'curve_of_growth', 'aperture_noise', 'sky_offset',
            'residual_autocorrelation'} <= set(names)
    # Together: a panel each, but for the images, and a colour bar each for the two maps.
    assert len(drawing.draw_overview(report).axes) == len(figures) - 1 + 2
    with pytest.raises(ValueError, match='columns must be positive, got 0'):
        drawing.draw_overview(report, columns=0)


def test_captions_say_which_sources_and_which_psf():
    report = make_report()
    report.meta |= {'sources': '82 sources of the catalog', 'psf': 'PSF of FWHM 3.0 pixels, given', 'n_injected': 60}
    captions = {name: caption for name, _, caption, _ in panels_of(report)}
    for name in 'flux_scatter', 'flux_bias', 'curve_of_growth', 'precision_recall':
        assert captions[name].endswith(' 82 sources of the catalog; PSF of FWHM 3.0 pixels, given.')
    for name in 'completeness', 'recovered_flux':
        assert captions[name].endswith(' 60 injected sources; PSF of FWHM 3.0 pixels, given.')
    report.meta['compared_with'] = ''   # without a truth, what was injected is detected
    captions = {name: caption for name, _, caption, _ in panels_of(report)}
    assert captions['best_f1'].endswith(' 60 injected sources; PSF of FWHM 3.0 pixels, given.')


def test_page_says_first_what_matters():
    from astropy_n2v.validation.report.page import render_page
    report = make_report()
    report.meta |= {'headline': 'Errors are smaller by factors of 150 on the sky.', 'sources': '82 sources of <it>'}
    report.checks[0].group, report.checks[0].advice = 'Flux', 'Do otherwise.'
    page = render_page(report, [])
    places = [page.index(text) for text in ('150 on the sky', 'Measured: 82 sources of &lt;it&gt;.', '<h3>Flux</h3>')]
    assert places == sorted(places)
    assert 'Do otherwise.' in page and report.summary().splitlines()[1] == report.meta['headline']


def test_each_figure_is_drawn_of_its_own_table():
    axes = {ax.get_ylabel(): ax for ax in drawing.draw_overview(make_report()).axes}
    curves = [line for line in axes['completeness'].lines if line.get_marker() == 'o']
    assert len(curves) == 2
    for line in curves:
        assert list(line.get_xdata()) == [0, 1, 2, 3, 4] and list(line.get_ydata()) == [1, 0.9, 0.5, 0.1, 0]


def test_names_of_maps_beside_each_other_do_not_run_together():
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    names = ['raw', 'matched filter', 'denoised', 'denoised / uncertainty', 'detection image']
    curves = {name: ([3, 5], [90, 80], [20, 1], [10, 20]) for name in names}
    for ax in (drawing.draw_best_f1(curves), drawing.draw_detection_summary(names, *[[50] * 5] * 3)):
        renderer = FigureCanvasAgg(ax.figure).get_renderer()
        ax.figure.draw(renderer)
        boxes = [label.get_window_extent(renderer) for label in ax.get_xticklabels()]
        assert all(left.x1 < right.x0 for left, right in zip(boxes, boxes[1:]))


def test_ticks_of_fluxes_do_not_run_together():
    ax = drawing.draw_flux_scatter([-2000, 5, 300, 500, 900, 2e5], [-2000, 9, 310, 490, 950, 2e5])
    ticks = ax.get_xticks()
    assert 0 in ticks and 3 <= len(ticks) <= 13 and np.diff(np.arcsinh(np.sort(ticks) / 400)).min() > 1


def test_figures_draw_into_given_axes_and_leave_settings_alone():
    import matplotlib
    from matplotlib.figure import Figure
    before = dict(matplotlib.rcParams)
    with drawing.figure_style('dark'):
        ax = Figure().subplots()
        assert drawing.draw_pulls([0.1, -0.2], ax=ax) is ax
    assert dict(matplotlib.rcParams) == before
    with pytest.raises(ValueError, match="theme must be 'light' or 'dark', got 'blue'"):
        with drawing.figure_style('blue'):
            pass


@pytest.mark.parametrize('draw', [
    lambda: drawing.draw_flux_scatter([], []), lambda: drawing.draw_flux_residuals([], []),
    lambda: drawing.draw_flux_bias([], [], [], []), lambda: drawing.draw_pulls([np.nan]),
    lambda: drawing.draw_curve_of_growth([], []), lambda: drawing.draw_aperture_noise([], [], 1.0),
    lambda: drawing.draw_metrics_table(Table({'a': []})), lambda: drawing.draw_sky_offset([[np.nan]]),
    lambda: drawing.draw_metric_histogram([], [], name='PSNR'), lambda: drawing.draw_best_f1({}),
    lambda: drawing.draw_noise_reduction([np.nan], [1.0])])
def test_figures_of_nothing_say_so(draw):
    assert len(draw().texts) == 1


def test_flux_scatter_of_arrays_that_do_not_agree():
    with pytest.raises(ValueError, match='same length'):
        drawing.draw_flux_scatter([1, 2], [1, 2, 3])


def test_numbers_and_limits_in_words():
    assert format_number(None) == format_number(np.nan) == '–'
    assert format_number(12345.6) == '12346' and format_number(0.01234) == '0.0123'
    check = Check('a', 'A', '?', 'not run')
    for limits, text in (((None, None), 'no limit'), ((None, 2), 'at most 2'), ((1, None), 'at least 1'),
                         ((-1, 1), 'within ±1'), ((0.9, 1.1), '0.9 to 1.1')):
        check.limits = limits
        assert describe_limits(check) == text
