# Licensed under a 3-clause BSD style license - see LICENSE
"""
The fuzz over plausible frames: it knows the truth about its frames, and some of them are denoised.
"""

import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.utils.exceptions import AstropyUserWarning
from test_benchmarks import FOLDER, load, results  # noqa: F401

from astropy_n2v import CannotDenoiseError

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason='the benchmarks are not part of an installation')
DEFECTS = list(load('fuzz_defects').DEFECTS) if Path(FOLDER).is_dir() else []


class Result:
    """The part of the result of denoise() that the fuzz examines."""

    def __init__(self, data, std):
        self.data, self.uncertainty = data, type('', (), {'array': std})


@pytest.fixture
def fuzz(monkeypatch):
    """Return the fuzz for small frames."""
    module = load('fuzz')
    monkeypatch.setattr(module, '_SIZES', (64, 80))
    monkeypatch.setattr(module, '_use_one_thread', lambda: None)
    return module


@pytest.mark.parametrize('name', DEFECTS)
def test_truth_and_noise_are_known(fuzz, name):
    for seed in range(3):
        shot, names = fuzz.make_case(seed, [name])
        error = ((shot.data - shot.truth) / shot.sigma)[~shot.destroyed]
        assert names == [name] and shot.destroyed.mean() < 0.85
        if name != 'counts':   # few of them are there
            tolerance = 0.2 if name in ('smoothed', 'quantised') else 0.1
            assert np.sqrt(np.mean(error ** 2)) == pytest.approx(1, abs=tolerance)
        assert shot.container().data.shape == shot.truth.shape == shot.level.shape


def test_frames_repeat(fuzz):
    (first, names), (second, _) = fuzz.make_case(5), fuzz.make_case(5)
    assert np.array_equal(first.data, second.data) and 1 <= len(names) <= 3
    # Scene and noise stay if a defect is left out.
    shot, bare = (fuzz.make_case(5, names)[0] for names in (['units'], []))
    np.testing.assert_allclose((shot.data - shot.truth) / shot.sigma, (bare.data - bare.truth) / bare.sigma, atol=1e-6)


def test_defects_that_go_together():
    defects = load('fuzz_defects')
    drawn = [defects.draw_names(np.random.default_rng(seed)) for seed in range(300)]
    assert {name for names in drawn for name in names} == set(DEFECTS) and {len(names) for names in drawn} == {1, 2, 3}
    assert all(len(apart.intersection(names)) < 2 for names in drawn for apart in defects._APART)
    harmless = [all(defects.DEFECTS[name].harmless for name in names) for names in drawn]
    assert np.mean(harmless) == pytest.approx(1 / 3, abs=0.1)


def test_judgement(fuzz):
    shot, _ = fuzz.make_case(4, [])
    data = shot.container().data
    for factor in (0.5, 1.2):
        ratios, coverage = fuzz.judge(shot, shot.truth + factor * (data - shot.truth), shot.sigma)
        assert ratios == {name: pytest.approx(factor, rel=1e-3) for name in ratios} and 'all' in ratios
    assert coverage == pytest.approx(0.90, abs=0.02)   # 1.2 times the noise that is stated
    data[5, 5] = np.nan
    assert fuzz.judge(shot, data, shot.sigma)[0]['all'] == np.inf
    shot.destroyed[5, 5] = True
    assert fuzz.judge(shot, data, shot.sigma)[0]['all'] == 1


@pytest.mark.parametrize('factor, message, failures', [
    (0.5, None, []), (1.2, None, ['all']), (1.2, 'the moon is full', ['all']), (1.2, 'there are Stripes', []),
    (1.04, None, [])])
def test_failures_are_named_or_silent(fuzz, monkeypatch, factor, message, failures):
    def denoise(frame, **options):
        if message:
            warnings.warn(message, AstropyUserWarning, stacklevel=1)
        return Result(shot.truth + factor * (frame.data - shot.truth), 2 * shot.sigma)

    shot, _ = fuzz.make_case(2, ['stripes'])
    monkeypatch.setattr(fuzz, 'denoise', denoise)
    row = fuzz.examine(2, ['stripes'])
    assert [name for name in row['failures'] if name == 'all'] == failures
    assert row['messages'] == [message] * bool(message)
    table = {line['defect']: line for line in fuzz.summarise([row])}
    assert table['stripes']['error'] == table['all']['error'] == len(failures)
    assert table['stripes']['unnamed'] == (message == 'the moon is full') and 'fill' not in table


def test_coverage(fuzz, monkeypatch):
    shot, _ = fuzz.make_case(2, ['stripes'])
    monkeypatch.setattr(fuzz, 'denoise', lambda frame: Result(frame.data, shot.sigma / 2))
    assert fuzz.examine(2, ['stripes'])['failures'] == ['coverage']


@pytest.mark.parametrize('error, refused, failures', [
    (CannotDenoiseError('it is constant'), True, []), (ZeroDivisionError('0'), False, ['raised'])])
def test_exceptions(fuzz, monkeypatch, error, refused, failures):
    def denoise(frame, **options):
        raise error

    monkeypatch.setattr(fuzz, 'denoise', denoise)
    row = fuzz.examine(2, ['units'])
    assert row['refused'] == refused and row['failures'] == failures and row['unexpected'] == [str(error)]


@pytest.mark.parametrize('name, message, alarms', [
    ('units', '5 pixels are masked', 1), ('fill', '5 pixels are masked', 0), ('fill', 'the moon is full', 1)])
def test_false_alarms(fuzz, monkeypatch, name, message, alarms):
    def denoise(frame, **options):
        warnings.warn(message, AstropyUserWarning, stacklevel=1)
        return Result(frame.data, frame.data)

    monkeypatch.setattr(fuzz, 'denoise', denoise)
    monkeypatch.setattr(fuzz, 'judge', lambda *args: ({'all': 1.0}, 0.95))
    row = fuzz.examine(2, [name])
    assert len(row['unexpected']) == alarms and row['gain_ratio'] == 1
    line = fuzz.summarise([row])[0]
    assert line['said'] == 1 and line['false_alarms'] == alarms


@pytest.mark.parametrize('message, failures', [('the noise is larger than said', []), ('fill values', ['all'])])
def test_scene_at_fault(fuzz, monkeypatch, message, failures):
    """Accept a warning of a frame that is wrong without any defect."""
    def denoise(frame, **options):
        warnings.warn(message, AstropyUserWarning, stacklevel=1)
        return Result(frame.data, frame.data)

    monkeypatch.setattr(fuzz, 'denoise', denoise)
    monkeypatch.setattr(fuzz, 'judge', lambda *args: ({'all': 1.2}, 0.95))
    row = fuzz.examine(2, ['units'])
    assert row['failures'] == failures and len(row['unexpected']) == len(failures)
    line = fuzz.summarise([row])[-1]
    assert line['defect'] == 'none' and line['warned'] == 1 and line['false_alarms'] == 0


def test_table(fuzz, results, capsys):  # noqa: F811
    fuzz.main(['--n', '1', '--only', 'bias'])
    fuzz.main(['--show', '9001', '--only', 'units'])
    assert load('common').read_table('fuzz', results) is None and 'noise of the sky' in capsys.readouterr().out
    fuzz.main(['--n', '3'])
    table = load('common').read_table('fuzz', results)
    assert table['frames'][table['defect'] == 'all'] == 3
    assert 'Frames with defects' in load('page').make_page(results)


# One frame a defect, and some with several, of those that were once wrong without a word.
@pytest.mark.parametrize('seed, names', [
    (8002, ['trails']), (8010, ['dark structure']), (8004, ['counts']), (8017, ['smoothed']), (8006, ['shifted']),
    (8015, ['upsampled']), (8001, ['debayered']), (8003, ['step']), (8006, ['stripes']), (8002, ['hot columns']),
    (8002, ['huge pixels']), (8001, ['bias']), (8003, ['pedestal']), (8011, ['quantised']), (8001, ['zeros']),
    (8013, ['fill']), (8029, ['gain']), (9232, ['junk errors']), (9206, ['units', 'fill']),
    (9004, ['dark structure', 'huge pixels', 'junk errors'])])
def test_sample(seed, names):
    """Get a right result or a named fault; denoise harmless defects in silence."""
    row = load('fuzz').examine(seed, names)
    assert not row['failures'], row
    if row['harmless']:
        assert not row['unexpected'] and row['gain_ratio'] > 0.75, row
