# Licensed under a 3-clause BSD style license - see LICENSE
"""
Validation of denoisers: known faults are found, what the inputs do not allow is said, and nothing is done twice.
"""

import json
import re
import runpy
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.table import Table, vstack
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS
from click.testing import CliRunner
from faults import FAULTS, NOISE, PSF, SIGMA, SKY, Lab, star_flux, star_table
from scipy.ndimage import gaussian_filter

from astropy_n2v.cli import main
from astropy_n2v.containers.container import Container
from astropy_n2v.planes import find_planes
from astropy_n2v.simulate import make_psf, make_scene
from astropy_n2v.validation import Report, render_sources, validate
from astropy_n2v.validation.measures.frames import with_data
from astropy_n2v.validation.measures.images import error_sums
from astropy_n2v.validation.report.cache import FrameStore, hash_of
from astropy_n2v.validation.report.combine import combine_frames
from astropy_n2v.validation.report.tests import TESTS, Measured, Results
from astropy_n2v.validation.report.verdicts import make_checks

QUICK = {'psf': PSF, 'noise': NOISE, 'n_resamples': 100}
NAMES = [test.name for test in TESTS]


@pytest.fixture(scope='module')
def lab():
    return Lab(384)


@pytest.fixture(scope='module')
def small():
    """Two frames of 240 pixels."""
    return Lab(240, 1, 1, seed=3)


@pytest.fixture
def no_figures(monkeypatch):
    """Reports without figures, which take seconds to draw."""
    from astropy_n2v.validation import figures
    monkeypatch.setattr(figures, 'draw_figures', lambda report: [])


class Counting:
    """A denoiser that counts how often it is called."""

    def __init__(self, function):
        self.function, self.calls = function, 0

    def __call__(self, ccd):
        self.calls += 1
        return self.function(ccd)


def check_column_names(report):
    """One name for errors and one for intervals, in all tables."""
    for table_name, table in report.tables.items():
        names = set(table.colnames)
        for name in names:
            stem, _, end = name.rpartition('_')
            assert end not in ('lo', 'hi', 'lower', 'upper', 'error') and name not in ('err', 'error', 'low', 'high'), \
                (table_name, name)
            if end in ('low', 'high'):
                assert {f'{stem}_low', f'{stem}_high'} <= names, (table_name, name)


@pytest.mark.slow
@pytest.mark.parametrize('name', list(FAULTS))
def test_known_faults_are_found_and_no_others(lab, name):
    report = validate(lab.frames, getattr(lab, name), truth=lab.truths, inject=2, n_sources=150, denoiser_name=name,
                      seed=1, **{**QUICK, 'n_resamples': 300})
    assert sorted(report.failed) == sorted(FAULTS[name]), report.summary()
    if name == 'ideal':
        assert {check.verdict for check in report.checks} == {'pass'}, report.summary()


def test_fault_table_names_tests_that_exist():
    named = {test for tests in FAULTS.values() for test in tests}
    assert named <= set(NAMES)
    # All but one fault is something that these denoisers can have: they all return what the frame was.
    assert set(NAMES) - named == {'container'}


def test_registry_says_all_of_each_test():
    assert len(set(NAMES)) == len(NAMES)
    groups = [test.group for test in TESTS]
    assert [group for i, group in enumerate(groups) if group not in groups[:i]] == \
        [group for i, group in enumerate(groups) if not i or group != groups[i - 1]]   # those of a group are together
    for test in TESTS:
        assert test.question.endswith('?') and test.passes.endswith('.') and test.fails.endswith('.')
        assert test.advice.endswith('.') and test.limits.reason.endswith('.') and test.title and test.group
        assert test.limits.low is not None or test.limits.high is not None


def test_documentation_lists_the_tests(tmp_path):
    path = Path(__file__).parents[3] / 'docs' / 'make_tests.py'
    if not path.exists():
        pytest.skip('the documentation is not part of an installation')
    module = runpy.run_path(path)
    module['write_tests'](tmp_path / 'tests.txt')
    lines = (tmp_path / 'tests.txt').read_text().splitlines()
    assert [line.split('``')[1] for line in lines if '* - ``' in line] == NAMES
    assert '      - within ±0.02 pix' in lines and lines.count('      - As for the flux of bright sources.') == 1


def test_registry_says_what_a_test_needs():
    checks = {check.name: check for check in make_checks({}, {'growth': 'no bright source'})}
    for test in TESTS:
        assert checks[test.name].verdict == 'not run' and checks[test.name].reason
    assert checks['growth'].reason == 'no bright source'
    assert checks['depth'].reason == 'this needs injected sources'


def test_rate_of_invented_stars_is_not_negative():
    measure = next(test.measure for test in TESTS if test.name == 'invented')

    def rate(number):
        return measure(Results({'residual_stars': Table({'invented': [number], 'expected': [0.8], 'area': [4.0]})}))

    assert rate(0)[:2] == (0, 0) and rate(0).high == pytest.approx((5.298 - 0.8) / 4, rel=1e-3)   # -ln(0.005)
    assert rate(9).value == pytest.approx(8.2 / 4) and 0 < rate(9).low < rate(9).value < rate(9).high


@pytest.mark.parametrize('limits, values, expected', [
    # Surely beyond the limits, and the most of these; a wide interval that reaches farther is no proof.
    ((-1, 1), [(0, -9, 9), (2, 1.5, 2.5), (-3, -3.5, -2)], 2), ((-1, 1), [(0, -2, 2), (0.9, 0.8, 1)], 0),
    ((None, 1.15), [(1.0, 0.9, 1.2), (1.1, 1.05, 1.12)], 0), ((0.95, None), [(0.5, 0.4, 0.6), (0.3, 0.1, 0.99)], 0),
    ((0.95, None), [(2, 1.9, 2.1), (1, 0.9, 1.1)], 1)])
def test_worst_of_several(limits, values, expected):
    bounds = tuple(end if limit is None else limit for limit, end in zip(limits, (-np.inf, np.inf)))
    found = [Measured(*value) for value in values]
    assert Results({}, limits=bounds).worst(found) is found[expected]


def test_small_frame_shows_a_blur(small):
    report = validate(small.frames, small.gaussian_blur, truth=small.truths, denoiser_name='blur', **QUICK)
    check_column_names(report)
    assert {'flux_moderate', 'growth', 'residual_sources', 'noise_worst'} <= set(report.failed)
    assert report['depth'].verdict == 'not run' and 'injected' in report['depth'].reason
    assert report.meta['denoiser'] == 'blur'


def test_flux_fails_if_one_way_to_measure_it_does():
    bins = {'snr_low': [5.0], 'snr_high': [30.0], 'n': [50]}
    tables = {'sources': Table({'flux_true': [1.0]}),
              'flux_bias': vstack([Table({**bins, 'snr_low': [-np.inf]}), Table(bins)]),
              'recovered_flux': Table({**bins, 'image': ['denoised'], 'bias': [-0.2], 'bias_low': [-0.25],
                                       'bias_high': [-0.15]})}
    for name in 'bias', 'bias_truth':
        for end, value in ('', 0.0), ('_low', -0.01), ('_high', 0.01):
            tables['flux_bias'][name + end] = value
    check = {check.name: check for check in make_checks(tables, {})}['flux_moderate']
    assert check.verdict == 'fail' and check.value == -0.2 and 'injected' in check.reason
    tables['recovered_flux']['bias_high'] = 0.1   # not surely: then that which is known best
    check = {check.name: check for check in make_checks(tables, {})}['flux_moderate']
    assert check.verdict == 'pass' and check.value == 0


def test_pulls_of_the_figure_are_those_of_the_verdict(small):
    report = validate(small.frames[0], small.gaussian_blur, truth=small.truths[0], denoiser_name='blur', **QUICK)
    pulls = report.tables['pulls']
    for kind in 'sky', 'sources':
        rms = np.sqrt(np.mean(np.asarray(pulls['pull'])[pulls['kind'] == kind] ** 2))
        assert rms == pytest.approx(report[f'uncertainty_{kind}'].value, rel=0.2)


def test_without_truth_tests_say_what_they_need(small):
    report = validate(small.frames[0], small.ideal, **QUICK)
    assert report.meta['denoiser'] == 'ideal'
    for name in ('noise_reduction', 'noise_worst', 'uncertainty_sky', 'uncertainty_sources'):
        assert report[name].verdict == 'not run' and 'needs a truth' in report[name].reason
    # Stars that the noise of the frame has made faint cannot tell a bias.
    assert report['flux_faint'].verdict == 'not run'
    assert report['sky_offset'].verdict in ('pass', 'inconclusive')


def test_result_that_lost_something(small):
    def lose(ccd):
        result = CCDData(np.where(np.arange(ccd.shape[1]) == 60, np.nan, ccd.data), unit='adu')
        return result
    frame = small.frames[0].copy()
    frame.mask = np.zeros(frame.shape, dtype=bool)
    frame.mask[5, 5] = True
    frame.wcs = WCS(naxis=2)
    report = validate(frame, lose, **QUICK)
    assert report['container'].verdict == 'fail'
    for text in ('unit (electron became adu)', 'WCS', 'mask', 'pixels'):
        assert text in report['container'].reason


def test_finished_frames_are_not_computed_again(small, tmp_path, no_figures):
    denoiser = Counting(small.ideal)
    first = validate(small.frames[:1], denoiser, denoiser_name='ideal', report_dir=tmp_path, **QUICK)
    assert denoiser.calls == 1
    with pytest.raises(FileExistsError, match='overwrite'):
        validate(small.frames, denoiser, denoiser_name='ideal', report_dir=tmp_path, **QUICK)
    assert denoiser.calls == 1
    again = validate(small.frames, denoiser, denoiser_name='ideal', report_dir=tmp_path, overwrite=True, **QUICK)
    assert denoiser.calls == 2   # of the frame that is new
    assert [frame['resumed'] for frame in again.meta['frames']] == [True, False]
    alone = validate(small.frames[:1], denoiser, denoiser_name='ideal', report_dir=tmp_path, overwrite=True, **QUICK)
    assert denoiser.calls == 2 and alone.checks == first.checks
    assert set(alone.images) == set(first.images)
    # Another option, another denoiser, a damaged record: computed anew.
    validate(small.frames[:1], denoiser, denoiser_name='ideal', report_dir=tmp_path, overwrite=True,
             **{**QUICK, 'radius': 4.0})
    validate(small.frames[:1], denoiser, denoiser_name='other', report_dir=tmp_path, overwrite=True, **QUICK)
    assert denoiser.calls == 4
    for path in tmp_path.glob('finished/*.json'):
        path.write_text('{')
    validate(small.frames[:1], denoiser, denoiser_name='ideal', report_dir=tmp_path, overwrite=True, **QUICK)
    assert denoiser.calls == 5
    jsonschema = pytest.importorskip('jsonschema')
    from astropy_n2v.validation import REPORT_SCHEMA
    jsonschema.validate(json.loads((tmp_path / 'report.json').read_text()), REPORT_SCHEMA)
    assert Report.read(tmp_path)['sky_offset'].verdict == alone['sky_offset'].verdict


def test_injection_on_a_small_frame_and_its_progress(small):
    denoiser = Counting(small.ideal)
    # Many more than fit, so that fewer are injected.
    report = validate(small.frames[1], denoiser, inject=2, n_sources=500, seed=5, **QUICK)
    assert 5 <= report.meta['n_injected'] / 2 < 100
    assert denoiser.calls == 1 + 1 + 2   # the frame, the flipped frame, and the injections
    assert {'raw', 'matched filter', 'denoised'} <= set(report.tables['injected']['image'])
    assert len(report.tables['recovered_flux'])
    check_column_names(report)
    same = validate(small.frames[1], denoiser, inject=2, n_sources=500, seed=5, **QUICK)
    assert same.checks == report.checks


def test_map_to_detect_on_is_used(small):
    def significance(ccd, psf):
        assert psf.ndim == 2
        return CCDData((ccd.data - SKY) / SIGMA, unit='')
    report = validate(small.frames[1], small.ideal, inject=1, n_sources=40, detection_image=significance, **QUICK)
    assert 'detection image' in report.tables['injected']['image'].tolist()


def test_depth_is_that_of_the_deepest_way_to_detect_on_the_result(small):
    known = {**QUICK, 'inject': 1, 'n_sources': 40}
    report = validate(small.frames[1], small.ideal, **known)
    gains = dict(zip(report.tables['depth']['image'], report.tables['depth']['gain']))
    assert set(gains) == {'raw', 'matched filter', 'denoised', 'denoised / uncertainty', 'detection image'}
    best = max(('denoised', 'denoised / uncertainty', 'detection image'), key=gains.get)
    assert report['depth'].value == gains[best] and f'on the {best} map' in report['depth'].reason
    # Its interval allows for having chosen one of three.
    assert report.tables['depth'].meta['confidence'] == pytest.approx(1 - 0.01 / 3)

    # Where no uncertainty is stated, or users would not use the map, it is not made.
    def state_nothing(ccd):
        return CCDData(small.ideal(ccd).data, unit=ccd.unit)
    for report, names in ((validate(small.frames[1], state_nothing, **known), set()),
                          (validate(small.frames[1], small.ideal, detection_image=None, **known),
                           {'denoised / uncertainty'})):
        assert set(report.tables['depth']['image']) == {'raw', 'matched filter', 'denoised', *names}


def test_denoisers_are_judged_by_the_same_injected_sources(small):
    """Whatever the options are that have nothing to do with them."""
    tables = [validate(small.frames[1], denoiser, inject=1, n_sources=10, magnitudes=(-10, -6), seed=4,
                       **{**QUICK, **options}).tables['injected']
              for denoiser, options in ((small.ideal, {}), (small.identity, {'thresholds': [3]}))]
    places = [np.unique(np.stack([table['x'], table['y'], table['flux']]), axis=1) for table in tables]
    np.testing.assert_array_equal(*places)


def test_gain_is_that_of_the_photon_noise(small):
    """Data in units of four electrons: the noise of a bright star is half of that of as many electrons."""
    known = {'psf': PSF, 'n_resamples': 100, 'truth': small.truths[0]}
    errors = []
    for gain in 1.0, 4.0:
        report = validate(CCDData(small.frames[0].data, unit='electron'), small.identity, gain=gain, **known)
        assert report.tables['frames']['noise_source'][0].startswith('gain')
        sources = report.tables['sources']
        errors.append(np.asarray(sources['flux_before_err'])[np.argmax(sources['flux_true'])])
    assert 1.2 < errors[0] / errors[1] <= 2


def test_dark_pixels_that_the_result_does_not_follow_are_told_of(small, rng):
    """A frame with dead pixels fails the level of its sky, and the report says why."""
    frame = small.frames[0].copy()
    frame.data.flat[rng.choice(frame.data.size, frame.data.size // 200, replace=False)] -= 8 * SIGMA

    def mends(ccd):
        return small.finish(ccd, small.truths[0])

    report = validate(frame, mends, truth=small.truths[0], **QUICK)
    row = report.tables['frames'][0]
    assert row['dark'] == pytest.approx(1 / 200, rel=0.1) and row['dark_level'] == pytest.approx(0.04, rel=0.2)
    assert any('darker than the result' in note for note in report.meta['notes'])
    clean = validate(small.frames[0], mends, truth=small.truths[0], **QUICK)
    assert not any('darker' in note for note in clean.meta['notes'])


def test_audit_of_each_result_is_told(small, tmp_path, no_figures):
    def audited(ccd):
        result = small.ideal(ccd)
        second = np.array_equal(ccd.data, small.frames[1].data)
        result.meta['N2VAUDIT'] = 'warning: noise' if second else 'ok'
        return result

    for resumed in False, True:   # from the header, and from what was kept
        report = validate(small.frames, audited, names=['a', 'b'], report_dir=tmp_path, overwrite=resumed,
                          denoiser_name='audited', **QUICK)
        assert report.meta['frames'][1]['resumed'] is resumed
        assert report.audits() == Report.read(tmp_path).audits() == {'a': 'ok', 'b': 'warning: noise'}
        assert 'audit         b: warning: noise' in report.summary()
        page = (tmp_path / 'report.html').read_text()
        assert '1 of 2 agree with them' in page and '<li>b: warning: noise</li>' in page
    plain = validate(small.frames[0], small.ideal, **QUICK)
    assert plain.audits() == {} and 'audit' not in plain.summary()


def test_frame_that_fails_does_not_stop_the_others(small, tmp_path, caplog):
    report = validate([small.frames[0], tmp_path / 'missing.fits'], small.ideal, names=['good', 'bad'], **QUICK)
    assert [frame['status'] for frame in report.meta['frames']] == ['done', 'failed']
    assert 'No such file' in report.meta['frames'][1]['error']
    assert '1 of 2 frames could not be validated.' in report.meta['notes']
    assert 'bad' in caplog.text
    with pytest.raises(FileNotFoundError):
        validate(tmp_path / 'missing.fits', small.ideal, **QUICK)


def test_denoiser_that_fails_does_not_stop_the_other_frames(small):
    def denoise(ccd):
        if ccd.meta['FRAME'] == 0:
            raise RuntimeError('out of memory')
        return ccd.copy()
    report = validate(small.frames, denoise, **QUICK)
    assert [frame['status'] for frame in report.meta['frames']] == ['failed', 'done']
    assert 'out of memory' in report.meta['frames'][0]['error']


def test_images_of_one_file_have_each_its_truth(small, tmp_path):
    images = small.frames[0].data[:120], small.frames[0].data[120:]
    truths = small.truths[0][:120], small.truths[0][120:]

    def write(name, parts):
        header = fits.Header({'BUNIT': 'electron'})
        fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU(part, header, name='SCI', ver=i + 1)
                                           for i, part in enumerate(parts))]).writeto(tmp_path / name)
        return tmp_path / name
    frame, truth, three = write('a.fits', images), write('t.fits', truths), write('three.fits', [*truths, truths[0]])

    def nothing(ccd):
        return ccd.copy()
    options = {**QUICK, 'psf': 3.0}
    report = validate(frame, nothing, truth=truth, **options)
    apart = validate([small.frames[0][:120], small.frames[0][120:]], nothing, truth=list(truths), **options)
    assert report['noise_reduction'].value == pytest.approx(apart['noise_reduction'].value)
    with pytest.raises(ValueError, match='truth must have one science image, or as many as the frame, 2, got 3 in .*'):
        validate(frame, nothing, truth=three, **options)
    runner = CliRunner()
    command = ['validate', str(frame), '--model', 'default', '--psf', '3', '--report', str(tmp_path / 'report')]
    result = runner.invoke(main, [*command, '--truth', str(truth)])
    assert result.exit_code == 0, result.output
    kept = Report.read(tmp_path / 'report')
    assert [frame['status'] for frame in kept.meta['frames']] == ['done', 'done']
    assert kept['noise_reduction'].value > 3
    result = runner.invoke(main, [*command, '--truth', str(three), '--overwrite'])
    assert result.exit_code == 1 and 'truth must have one science image' in result.output, result.output


def test_files_as_frames_and_truth(small, tmp_path):
    CCDData(small.frames[0].data, unit='electron').write(tmp_path / 'a.fits')
    CCDData(small.truths[0], unit='electron').write(tmp_path / 't.fits')
    report = validate(tmp_path / 'a.fits', lambda ccd: ccd.copy(), truth=tmp_path / 't.fits', **QUICK)
    assert report.meta['frames'][0]['name'] == 'a.fits'
    assert report['noise_reduction'].verdict == 'fail'
    assert report['noise_reduction'].value == pytest.approx(1)


def test_reference_on_another_grid(small):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = 'RA---TAN', 'DEC--TAN'
    wcs.wcs.crpix, wcs.wcs.cdelt, wcs.wcs.crval = (120, 120), (-1e-4, 1e-4), (30, 10)
    frame = CCDData(small.frames[0], wcs=wcs)
    frame.uncertainty = small.frames[0].uncertainty
    shifted = wcs.deepcopy()
    shifted.wcs.crpix += 3
    reference = CCDData(np.roll(small.truths[0], 3, axis=(0, 1)), wcs=shifted, unit='electron')
    report = validate(frame, small.gaussian_blur, reference=reference, **QUICK)
    assert report.meta['compared_with'] == 'reference'
    assert 'flux_bright' in report.failed
    away = shifted.deepcopy()
    away.wcs.crval = 80, -40
    with pytest.raises(ValueError, match='overlap'):
        validate(frame, small.gaussian_blur, reference=CCDData(reference.data, wcs=away, unit='electron'), **QUICK)


def test_exposures_judge_each_other():
    rng = np.random.default_rng(2)
    y, x = np.mgrid[20:120:20, 20:120:20].reshape(2, -1)
    truth = SKY + render_sources(star_table(x, y, np.full(x.size, star_flux(60))), (140, 140), PSF)
    frames = [CCDData(rng.normal(truth, SIGMA), unit='electron') for _ in range(4)]
    noisy = [frame.data for frame in frames]

    def halve(ccd):
        """Takes half of the noise away."""
        i = [data is ccd.data or np.array_equal(data, ccd.data) for data in noisy].index(True)
        return CCDData(0.5 * (noisy[i] + truth), unit='electron')
    report = validate(frames, halve, reference='others', denoiser_name='half', **QUICK)
    assert report['noise_reduction'].verdict == 'pass'
    assert report['noise_reduction'].value == pytest.approx(2, rel=0.15)
    with pytest.raises(ValueError, match="at least four aligned exposures, got 3"):
        validate(frames[:3], halve, reference='others', **QUICK)


def test_frames_without_sources_say_so(rng):
    """The other tests are made."""
    frame = CCDData(rng.normal(SKY, SIGMA, (96, 96)), unit='electron')
    known = {'denoiser_name': 'copy', **QUICK}
    for options, reason in (({}, 'no source found on the result above 50 sigma; give a truth'),
                            ({'truth': np.full((96, 96), SKY)}, 'no source found on the truth above 3 sigma'),
                            ({'catalog': [Table({'x': [500.0], 'y': [3.0]})]}, 'no source of the catalog lies on'),
                            ({'psf': None}, 'no isolated star above 10 sigma .*; give psf')):
        report = validate(frame, lambda ccd: ccd.copy(), **{**known, **options})
        assert report['growth'].verdict == 'not run' and re.match(reason, report['growth'].reason)
        assert report['sky_offset'].verdict in ('pass', 'inconclusive')
    assert report['depth'].reason == report['growth'].reason
    assert report['flux_bright'].reason == 'fewer than 5 sources above 30 sigma with a known flux'


def test_reference_of_another_unit_is_scaled(small):
    """A level that no unit relates to that of the frame."""
    reference = CCDData(3e-8 * (small.truths[0] + 40), unit='Jy')
    report = validate(small.frames[0], small.ideal, reference=reference, **QUICK)
    other = validate(small.frames[0], small.ideal, reference=CCDData(small.truths[0], unit='electron'), **QUICK)
    assert report['flux_bright'].value == pytest.approx(other['flux_bright'].value, abs=1e-4)


def test_reference_that_does_not_overlap(small):
    frame, reference = small.frames[0].copy(), CCDData(small.truths[0], unit='electron')
    for image, place in (frame, 10.0), (reference, 50.0):
        image.wcs = WCS(naxis=2)
        image.wcs.wcs.ctype, image.wcs.wcs.crval = ('RA---TAN', 'DEC--TAN'), (place, 0.0)
        image.wcs.wcs.cdelt, image.wcs.wcs.crpix = (-1e-4, 1e-4), (120, 120)
    with pytest.raises(ValueError, match='reference must overlap with frame, but covers no pixel of it'):
        validate(frame, small.ideal, reference=reference, **QUICK)


@pytest.mark.parametrize('options, error, match', [
    ({'truth': np.ones((5, 6))}, ValueError, r'truth must have the shape of the frame, \(240, 240\), got \(5, 6\)'),
    ({'truth': np.ones((2, 2)), 'reference': np.ones((2, 2))}, ValueError, 'must not both be given'),
    ({'truth': [1, 2]}, ValueError, 'truth must be one for all frames, or one for each of the 1 frames, got 2'),
    ({'reference': CCDData(np.ones((5, 6)), unit='electron')}, ValueError, r'reference must have the shape'),
    ({'reference': np.ones((5, 6))}, TypeError, 'reference must be CCDData or a path, got ndarray'),
    ({'psf': make_psf(3.0, half_size=130)}, ValueError, 'psf must not be larger than the frame'),
    ({'thresholds': []}, ValueError, 'thresholds must hold at least one number, got an empty list'),
    ({'thresholds': [3, -1]}, ValueError, 'thresholds must be positive'),
    ({'thresholds': ['low']}, ValueError, r"thresholds must be positive numbers, got \['low'\]"),
    ({'truth': np.full((240, 240), np.nan)}, ValueError, 'truth must have a valid pixel'),
    ({'truth': CCDData(np.ones((240, 240)), unit='s')}, ValueError, 'truth must have a unit that .* electron, got s'),
    ({'reference': CCDData(np.full((240, 240), np.nan), unit='adu')}, ValueError, 'reference must have a valid pixel'),
    ({'psf': -1}, ValueError, 'psf must be .* a positive FWHM in pixels, got -1'),
    ({'psf': np.nan}, ValueError, 'psf must be .* a positive FWHM in pixels, got nan'),
    ({'psf': 200.0}, ValueError, r'psf must not be larger than the frame, \(240, 240\), got a FWHM of 200 pixels'),
    ({'psf': 'star.fits'}, TypeError, 'psf must be a FWHM in pixels, an image, a PSF or a model'),
    ({'catalog': Table({'ra': [1.0]})}, ValueError, r"catalog must have the columns x and y, got \['ra'\]"),
    ({'catalog': np.array([[np.nan, 1]])}, ValueError, 'catalog must be finite, got 1 positions that are not'),
    ({'magnitudes': (-6, -12)}, ValueError, r'magnitudes must be the brightest and the faintest.* got \(-6, -12\)'),
    ({'magnitudes': 3}, ValueError, 'magnitudes must be the brightest and the faintest.* got 3'),
    ({'inject': 'all'}, ValueError, "inject must be an integer of at least 0, got 'all'"),
    ({'confidence': 'high'}, TypeError, "confidence must be a number, got 'high'"),
    ({'gain': -1, 'noise': None}, ValueError, 'gain must be finite and positive, got -1'),
    ({'limits': {'depth': 3}}, ValueError, r"limits\['depth'\] must be the lowest and the highest number, .* got 3"),
    ({'limits': {'fwhm': (1, -1)}}, ValueError, r"limits\['fwhm'\] must be .* got \(1, -1\)"),
    ({'inject': -1}, ValueError, 'inject must be an integer of at least 0, got -1'),
    ({'n_sources': 0}, ValueError, 'n_sources must be an integer of at least 1, got 0'),
    ({'n_resamples': 10}, ValueError, 'n_resamples must be an integer of at least 100, got 10'),
    ({'confidence': 1.0}, ValueError, 'confidence must be from 0.5 to below 1, got 1.0'),
    ({'galaxies': 2}, ValueError, 'galaxies must be a fraction'),
    ({'radius': 0}, ValueError, 'radius must be positive, got 0'),
    ({'detection_image': 3}, TypeError, "detection_image must be 'auto', None or a function of .*, got int"),
    ({'detection_image': 'peaks'}, TypeError, "detection_image must be 'auto', None or a function of .*, got 'peaks'"),
    ({'limits': {'fluxes': (0, 1)}}, ValueError, 'limits must be for tests among container, .* got fluxes'),
    ({'names': ['a', 'b']}, ValueError, 'names must have one name for each of the 1 frames, got 2')])
def test_bad_input(small, options, error, match):
    with pytest.raises(error, match=match):
        validate(small.frames[0], small.ideal, **{**QUICK, **options})


def test_more_bad_input(small, tmp_path):
    with pytest.raises(TypeError, match='denoiser must be a function.*got str'):
        validate(small.frames[0], 'default')
    with pytest.raises(ValueError, match='frames must hold at least one frame'):
        validate([], small.ideal)
    with pytest.raises(TypeError, match='frames must be CCDData or paths, got ndarray as number 1'):
        validate([np.ones((9, 9))], small.ideal)
    with pytest.raises(ValueError, match='two-dimensional'):
        validate(CCDData(np.ones((3, 9, 9)), unit='adu'), small.ideal)
    with pytest.raises(TypeError, match='denoiser must return CCDData, got ndarray'):
        validate(small.frames[0], lambda ccd: ccd.data, **QUICK)
    (tmp_path / 'file').write_text('')
    with pytest.raises(OSError, match='cannot make the directory'):
        validate(small.frames[0], small.ideal, report_dir=tmp_path / 'file' / 'report', **QUICK)


def test_frame_without_sources_says_so():
    rng = np.random.default_rng(0)
    frame = CCDData(rng.normal(SKY, SIGMA, (128, 128)), unit='electron')

    def denoise(ccd):
        return CCDData(gaussian_filter(ccd.data, 5), unit=ccd.unit)
    report = validate(frame, denoise, **{**QUICK, 'psf': None})
    assert report['flux_bright'].verdict == report['centroid'].verdict == 'not run'
    assert 'give psf' in report['centroid'].reason
    report = validate(frame, denoise, truth=np.full(frame.shape, SKY), **QUICK)
    assert 'no source found on the truth above 3 sigma' in report['centroid'].reason
    assert report['noise_reduction'].verdict == 'pass'


def test_limits_can_be_changed(small):
    report = validate(small.frames[0], small.gaussian_blur, truth=small.truths[0], limits={'growth': (-1, 1)}, **QUICK)
    assert report['growth'].verdict == 'pass' and report['growth'].limits == (-1, 1)
    # Without a limit on one side or both, nothing fails there.
    report = validate(small.frames[0], small.gaussian_blur, truth=small.truths[0], **QUICK,
                      limits={name: (None, None) for name in NAMES})
    assert not report.failed and report['flux_moderate'].verdict == report['uncertainty_sky'].verdict == 'pass'
    assert [check.name for check in make_checks({}, {})] == NAMES


def test_key_follows_what_it_is_of(small):
    frame = small.frames[0]
    base = hash_of(frame, {'a': 1}, NOISE)
    assert hash_of(frame.copy(), {'a': 1}, NOISE) == base
    changed, masked, other = frame.copy(), frame.copy(), frame.copy()
    changed.data = frame.data + (np.arange(frame.data.size) == 7).reshape(frame.shape)
    masked.mask = np.zeros(frame.shape, dtype=bool)
    other.uncertainty = StdDevUncertainty(2 * frame.uncertainty.array)
    others = [hash_of(image, {'a': 1}, NOISE) for image in (changed, masked, other)]
    others += [hash_of(frame, {'a': 2}, NOISE), hash_of(frame, {'b': 1}, NOISE), hash_of(frame, {'a': 1}, NOISE * 2)]
    assert len({base, *others}) == 7


@pytest.mark.parametrize('first, second', [
    (np.ma.masked_less(np.arange(5.0), 2), np.ma.masked_less(np.arange(5.0), 3)), ([1, [2]], [[1], 2]),
    (Table({'x': [1.0]}), Table({'x': [2.0]})), (Table({'x': [1.0]}), Table({'y': [1.0]})), (2 * u.m, 2 * u.s),
    (np.arange(3) * u.m, np.arange(3) * u.s), (1, 1.0), (None, 'None'), (np.mean, np.median), ('ab', ('a', 'b'))])
def test_key_of_values_that_differ(first, second):
    assert hash_of(first) != hash_of(second) and hash_of(first) == hash_of(first)


def test_injection_follows_data_and_seed_as_ever():
    """The seed of what is injected is a part of this key: if it changes, so do all injected sources."""
    assert hash_of(np.arange(6, dtype='f4').reshape(2, 3), 7)[:8] == '4b1ecdb8'


def test_without_a_name_nothing_is_kept(small, tmp_path, no_figures):
    validate(small.frames[:1], small.ideal, report_dir=tmp_path, **QUICK)
    assert not (tmp_path / 'finished').exists()


def test_frames_are_combined_as_their_pixels_would_be(rng):
    """Of two frames of other size and error, the rms is that of all pixels, and not a mean of two."""
    parts = []
    for size, error in (64, 1.0), (32, 3.0):
        truth = np.zeros((size, size))
        parts.append((rng.normal(truth, 4), rng.normal(truth, error), truth))
    sums = [error_sums(*part, noise=4.0) for part in parts]
    table, _ = combine_frames(['a', 'b'], [{'noise_by_brightness': part} for part in sums],
                              {'confidence': 0.9, 'n_resamples': 200}, 0)
    row = table['noise_by_brightness'][0]
    after = np.concatenate([part[1].ravel() for part in parts]) / 4
    before = np.concatenate([part[0].ravel() for part in parts]) / 4
    assert row['n'] == after.size
    assert row['rms_after'] == pytest.approx(np.sqrt(np.mean(after ** 2)))
    assert row['noise_reduction'] == pytest.approx(np.sqrt(np.mean(before ** 2) / np.mean(after ** 2)))
    assert row['rms_after_low'] < row['rms_after'] < row['rms_after_high']
    assert table['gain']['noise_reduction'][0] == pytest.approx(row['noise_reduction'], rel=0.1)


def test_table_without_a_rule_is_refused():
    with pytest.raises(KeyError, match='new_table'):
        combine_frames(['a'], [{'new_table': Table({'a': [1]})}], {'confidence': 0.9, 'n_resamples': 100}, 0)
    with pytest.raises(ValueError, match='column'):
        combine_frames(['a', 'b'], [{'shapes': Table({'a': [1]})}, {'shapes': Table({'b': [1]})}],
                       {'confidence': 0.9, 'n_resamples': 100}, 0)


def test_results_of_another_denoiser_are_not_taken(small, tmp_path, no_figures):
    for sigma in 0.5, 2.0:
        def blur(ccd, sigma=sigma):
            return CCDData(gaussian_filter(ccd.data, sigma), unit=ccd.unit)
        report = validate(small.frames[0], blur, denoiser_name=f'blur {sigma}', report_dir=tmp_path, overwrite=True,
                          **QUICK)
        assert not report.meta['frames'][0]['resumed']


def test_few_sources_have_no_correlation(small):
    report = validate(small.frames[0], small.ideal, catalog=Table({'x': [30.0], 'y': [30.0]}), **QUICK)
    assert 'flux_correlation' not in report.tables


def test_store_of_nothing():
    assert FrameStore(None).load('a') is None


def test_real_exposure(data_path):
    """A real frame: what it allows is run, and a median filter does not pass."""
    from scipy.ndimage import median_filter
    path = data_path / 'sfft_decam' / 'DEC-OBS04a.mini.fits'

    def denoise(ccd):
        return CCDData(median_filter(np.asarray(ccd.data, dtype=float), 3), unit=ccd.unit)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')   # what astropy thinks of its header
        report = validate(path, denoise, n_resamples=100)
    assert {'flux_bright', 'growth', 'fwhm', 'residual_variance', 'residual_white'} <= set(report.failed)


def test_background_is_no_correlation_of_the_noise(data_path):
    """A raw frame, with vignetting and overscan."""
    from astropy_n2v import denoise
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        report = validate(data_path / 'ccdproc' / 'a8280271.fits', denoise, n_resamples=100)
    assert next(check.verdict for check in report.checks if check.name == 'residual_white') == 'pass'


def test_noise_of_the_result_is_no_signal():
    """A field of faint, blended stars: what the result kept of the noise does not count as a share of the signal."""
    rng = np.random.default_rng(4)
    truth = SKY + 2 * SIGMA * gaussian_filter(rng.normal(size=(160, 160)), 2) * 7
    data = rng.normal(truth, SIGMA)
    kept = truth + 0.5 * (data - truth)
    frame = CCDData(data, unit='electron')
    report = validate(frame, lambda ccd: CCDData(kept, unit='electron'), denoiser_name='half', **QUICK)
    assert report['residual_sources'].verdict == 'inconclusive'
    report = validate(frame, lambda ccd: CCDData(kept, unit='electron'), truth=truth, denoiser_name='half', **QUICK)
    assert abs(report['residual_sources'].value) < 0.02


def test_psf_from_its_width(small):
    report = validate(small.frames[0], small.ideal, truth=small.truths[0], **{**QUICK, 'psf': 3.0})
    assert report.tables['frames']['fwhm'][0] == pytest.approx(3, abs=0.2)


def exposures(widths, rng):
    """Exposures of stars with PSFs of some widths, with uncertainties."""
    y, x = np.mgrid[15:100:14, 15:100:14].reshape(2, -1)
    stars = star_table(x, y, np.full(x.size, star_flux(60)))
    frames = []
    for width in widths:
        truth = SKY + render_sources(stars, (112, 112), make_psf(width, kind='gaussian', half_size=12))
        sigma = np.sqrt(NOISE.variance(truth))
        frames.append(CCDData(rng.normal(truth, sigma), unit='electron', uncertainty=StdDevUncertainty(sigma)))
    return frames


def test_uncertainty_by_other_exposures(rng):
    report = validate(exposures([3.0] * 4, rng), lambda ccd: ccd.copy(), reference='others', **QUICK)
    for name in 'uncertainty_sky', 'uncertainty_sources':
        assert report[name].value == pytest.approx(1, abs=0.1)
        assert report[name].interval[0] < report[name].value < report[name].interval[1]

    def halve(ccd):
        result = ccd.copy()
        result.uncertainty = StdDevUncertainty(ccd.uncertainty.array / 2)
        return result
    report = validate(exposures([3.0] * 4, rng), halve, reference='others', **QUICK)
    assert {'uncertainty_sky', 'uncertainty_sources'} <= set(report.failed)
    # Seeing that varies is no fault of the denoiser.
    report = validate(exposures([2.6, 3.6, 2.6, 3.6], rng), lambda ccd: ccd.copy(), reference='others', **QUICK)
    assert report['uncertainty_sources'].verdict == 'not run'
    assert 'seeing' in report['uncertainty_sources'].reason


@pytest.mark.parametrize('defect', ['none', 'fill values', 'SATURATE', 'satlevel', 'zeros', 'junk errors'])
def test_noise_is_what_denoise_uses(defect, rng):
    scene = make_scene('survey', (96, 96), seed=3)
    ccd = CCDData((scene.observe(seed=4).data / 2 + 300).astype('f4'), unit='adu', meta={'GAIN': 2.0})
    part, options = rng.random(ccd.shape) < 0.03, {}
    if defect == 'fill values':
        ccd.data[part] = -1e30
    elif defect == 'zeros':
        ccd.data[:40] = 0
    elif defect == 'junk errors':
        error = np.full(ccd.shape, 8.0)
        error[part] = 1e20
        ccd.uncertainty = StdDevUncertainty(error)
    elif defect != 'none':
        ccd.data[part] = 5000
        if defect == 'SATURATE':
            ccd.meta['SATURATE'] = 5000
        else:
            options['satlevel'] = 5000
    used, judged = [], []

    def denoiser(frame):
        planes, _ = find_planes(Container(frame, **options))
        used.append(planes[0].data_noise)
        return with_data(frame, frame.data + 0.0)

    def measure(task):
        judged.append(task)
        raise ValueError('enough')

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter('ignore', AstropyUserWarning)
        patch.setattr('astropy_n2v.validation.report.validate.measure_frame', measure)
        with pytest.raises(ValueError, match='enough'):
            validate(ccd, denoiser, psf=scene.psf, **options)
    task = judged[0]
    for name in 'zero_point', 'sigma', 'gain':
        np.testing.assert_array_equal(getattr(task.noise, name), getattr(used[0], name))
    assert np.count_nonzero(task.mask) == {'none': 0, 'zeros': 40 * 96}.get(defect, part.sum())
    # The frame that came in is not changed, and it is what the denoiser was given.
    assert ccd.mask is None
