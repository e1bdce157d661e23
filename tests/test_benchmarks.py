# Licensed under a 3-clause BSD style license - see LICENSE
"""
The benchmarks work, and the page of the documentation says what their tables say.
"""

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.nddata import CCDData
from astropy.table import Table, vstack
from scipy.ndimage import gaussian_filter

from astropy_n2v import NoiseModel
from astropy_n2v.validation import Recovery

FOLDER = Path(__file__).parents[1] / 'benchmarks'
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason='the benchmarks are not part of an installation')


def load(name):
    """Load a module of the benchmarks, which are scripts beside each other."""
    sys.path.insert(0, str(FOLDER))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(FOLDER))


@pytest.fixture(scope='module')
def frame():
    return load('common').make_frame('survey', 5, 96)


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Tables go to a folder of their own; the number of threads stays."""
    common = load('common')
    monkeypatch.setattr(common, 'RESULTS', tmp_path)
    monkeypatch.setattr(common, 'use_threads', lambda n: None)
    return tmp_path


def test_page_is_that_of_the_tables():
    page = load('page')
    assert page.PAGE.read_text(encoding='utf-8') == page.make_page(), 'run python benchmarks/page.py'


def test_page_without_tables(tmp_path):
    assert 'Benchmarks' in load('page').make_page(tmp_path)


def test_table_round_trip(results):
    common = load('common')
    common.write_table([{'kind': 'survey', 'nr': 1.23456}, {'kind': 'a, b', 'nr': np.nan}], 'test', 'a note')
    table = common.read_table('test', results)
    assert table['kind'].tolist() == ['survey', 'a, b'] and table['nr'][0] == 1.235
    assert 'a note' in table.meta['comments'][0] and 'default model' in table.meta['comments'][0]
    assert common.read_table('none', results) is None


def test_memory_and_time():
    array, seconds, memory = load('common').measured(np.ones, 20_000_000)
    assert len(array) == 20_000_000 and seconds > 0
    assert not memory < 125   # NaN where it cannot be known


@pytest.mark.parametrize('level', [0.3, 2.0, 20.0, 3000.0])
@pytest.mark.parametrize('readnoise', [0.0, 3.0])
def test_anscombe(level, readnoise, rng):
    """Give the noise a variance of one where the counts allow it, and invert the mean without bias."""
    gain, zero = 2.0, 100.0
    electrons = rng.poisson(level, 200_000) + rng.normal(0, readnoise, 200_000)
    transform = load('peers').Anscombe(NoiseModel(readnoise / gain, gain=gain, zero_point=zero))
    values = transform.forward(electrons / gain + zero)
    if level >= 2 and (level >= 20 or readnoise):
        assert values.std() == pytest.approx(1, abs=0.06)
    error = np.sqrt((level + readnoise ** 2) / 200_000)
    assert (transform.backward(values.mean()) - zero) * gain == pytest.approx(level, abs=5 * error)


def test_anscombe_without_gain():
    transform = load('peers').Anscombe(NoiseModel(4.0))
    assert transform.forward(8.0) == 2 and transform.backward(2.0) == 8


def test_starlet(rng):
    """White noise goes; a star stays."""
    starlet = load('peers').starlet
    image = rng.normal(0, 1, (96, 96))
    y, x = np.mgrid[:96, :96]
    star = 40 * np.exp(-((y - 48) ** 2 + (x - 48) ** 2) / 5)
    assert starlet(image, 4.0).std() < 0.15
    assert np.abs(starlet(star + image, 4.0) - star)[40:57, 40:57].max() < 4


@pytest.mark.parametrize('name', ['ours', 'median 3', 'gaussian 0.5', 'psf filter', 'starlet 4'])
def test_methods(frame, name):
    result = load('peers').run_method(name, frame)
    assert result['image'].shape == frame.data.shape and np.isfinite(result['image']).all()
    assert result['seconds'] > 0 and (result['std'] is not None) == (name == 'ours')
    # Flux is kept, whatever becomes of noise.
    assert np.mean(result['image']) == pytest.approx(np.mean(frame.truth), rel=0.05)


def test_quality(frame):
    quality = load('quality')
    pulls = quality.judge_pulls(frame, frame.data, frame.sigma)
    row = quality.judge(frame, frame.data, pulls)
    assert row['nr'] == row['nr_faint'] == row['nr_bright'] == 1
    assert row['rms_pull'] == pytest.approx(1, abs=0.03) and row['coverage_95'] == pytest.approx(0.95, abs=0.01)
    assert np.isnan(quality.judge(frame, frame.data)['rms_pull'])
    half = frame.truth + (frame.data - frame.truth) / 2
    assert quality.judge(frame, half)['nr'] == pytest.approx(2)
    assert pulls['n'][0] == frame.data.size >= sum(pulls['n'][1:]) and len(pulls) >= 3
    # What counts as the truth has errors of its own.
    noisy = replace(frame, truth_std=frame.sky_sigma)
    assert quality.judge_pulls(noisy, frame.data, frame.sigma)['rms_pull'][0] == pytest.approx(np.sqrt(0.5), abs=0.03)


def test_quality_table(results):
    load('quality').main(['--kinds', 'survey', '--n-seeds', '1', '--size', '64', '--methods', 'ours', 'median 3'])
    table = load('common').read_table('quality', results)
    assert table['method'].tolist() == ['ours', 'median 3']
    assert 'ours / best peer' in load('page').make_page(results)


def test_photometry(frame):
    """Isolated stars above their surroundings; the summary is of bias and scatter."""
    photometry = load('photometry')
    stars = photometry.isolated_stars(frame)
    assert len(stars) and set(stars['kind']) == {'star'}
    fluxes = photometry.measure(frame, frame.truth)
    assert 0 < len(fluxes) <= len(stars) and np.allclose(fluxes['flux_after'], fluxes['flux_true'])
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 10, 400)
    fluxes = Table({'flux_true': np.full(400, 100.0), 'flux_before': 100 + noise, 'flux_after': 97 + noise / 2,
                    'flux_before_err': np.full(400, 10.0), 'flux_after_err': np.full(400, 5.0),
                    'flux_true_err': np.zeros(400), 'snr': np.full(400, 10.0)}, meta={'snr_from': 'truth'})
    (row,) = photometry.summarise(fluxes)
    assert row['stars'] == 400 and row['scatter'] == pytest.approx(0.5) and row['scatter_error'] < 0.1
    assert row['bias'] == pytest.approx(-0.03, abs=4 * row['bias_error'])


def test_photometry_table(results, monkeypatch):
    photometry = load('photometry')
    monkeypatch.setattr(photometry, 'NARROW', (1.2,))
    photometry.main(['--kinds', 'crowded', '--n-seeds', '2', '--size', '128', '--methods', 'median 3'])
    common = load('common')
    assert set(common.read_table('photometry', results)['kind']) == {'crowded', 'all'}
    assert set(common.read_table('unforeseen', results)['planted']) == {'transient', 'FWHM 1.2'}
    assert 'Photometry' in load('page').make_page(results)


@pytest.mark.parametrize('kind', ['transient', 0.9, 1.6])
def test_planted(frame, kind, rng):
    photometry = load('photometry')
    planted, added, places = photometry.plant(frame, [kind], rng, n=5)
    assert len(places) == 5
    assert sorted(added[box].max() for box in places)[0] == pytest.approx(30 * frame.sky_sigma)
    half = 0 if kind == 'transient' else 2
    share = photometry.kept(frame.truth + 0.9 * added, frame.truth, added, places, half)
    assert np.allclose(share, 0.9)
    # It has been observed, with noise.
    assert photometry.kept(planted.data, frame.truth, added, places, half).mean() == pytest.approx(1, abs=0.2)


def test_planted_in_turns(frame, rng):
    photometry = load('photometry')
    _, added, places = photometry.plant(frame, ['transient', 0.9], rng, n=4)
    assert len(places) == 8
    assert [np.count_nonzero(added[box]) == 1 for box in places] == 4 * [True, False]


def test_stars_of_the_catalogue_are_recovered(frame):
    """Bright ones are found on each map, and galaxies count for nothing; a scaled map is as deep."""
    detection = load('detection')
    recovery = detection.recover(frame, ['matched filter', 'matched filter, local sky'])
    stars = recovery.injected[recovery.injected['image'] == 'matched filter']
    n_stars = np.count_nonzero(frame.scene.catalog['kind'] == 'star')
    assert 0 < len(stars) <= n_stars < len(frame.scene.catalog)
    bright = stars['mag'] < -2.5 * np.log10(20)
    assert bright.any() and np.isfinite(stars['score'][bright]).mean() > 0.9
    assert recovery.area == recovery.false_area == pytest.approx(frame.data.size / 1e6)
    assert len(recovery.false) and recovery.false['score'].max() < stars['score'][bright].max()


def test_depth_against_the_deeper_filter(frame):
    """Find maps that differ by a factor equally deep, with certainty; the reference is the deeper of the two."""
    detection = load('detection')
    recovery = Recovery.stack([detection.recover(load('common').make_frame('survey', seed, 160), detection.MAPS[:1])
                               for seed in (5, 6)])
    copies = []
    for name, factor in (('matched filter, local sky', 0.5), ('ours', 7.0)):
        injected, false = recovery.injected.copy(), recovery.false.copy()
        for table in injected, false:
            table['image'] = name
            table['score'] = factor * table['score']
        copies.append((injected, false))
    # The copy has lost every other star.
    copies[0][0]['score'][::2] = np.nan
    floors = {name: factor * recovery.injected.meta['floor']['matched filter']
              for name, factor in zip(detection.MAPS, (1, 0.5, 7))}
    injected, false = (vstack(parts, metadata_conflicts='silent')
                       for parts in zip((recovery.injected, recovery.false), *copies))
    injected.meta, false.meta = {**recovery.injected.meta, 'floor': floors}, recovery.false.meta
    depths = detection.compare(Recovery(injected, false))
    assert depths.meta['reference'] == 'matched filter'
    plain, local, ours = depths
    assert ours['gain'] == ours['gain_low'] == ours['gain_high'] == 0
    assert ours['threshold'] == pytest.approx(7 * plain['threshold']) and local['gain'] < -0.1


def test_tables_of_sources(results):
    detect, common = load('detect'), load('common')
    detect.main(['--kinds', 'survey', '--white', '--n-seeds', '1', '--size', '128'])
    table = common.read_table('detect', results)
    assert table['kind'].tolist() == ['survey'] and table['entries'][0] > 3 and table['purity'][0] > 0.7


def test_completeness_is_at_the_threshold_of_the_truth():
    detect = load('detect')
    scores, true = np.arange(100.0, 0, -1), np.arange(100) % 25 < 24
    true[60:] = False
    # Of the first 61, 3 are false, of 62, 4.
    stars = np.array([90.0, 40.0, 39.0, -np.inf])
    assert detect.completeness_at(scores, true, stars) == 0.5
    assert detect.completeness_at(scores, np.zeros(100, bool), stars) == 0


def test_detection_tables(results):
    detection, common = load('detection'), load('common')
    detection.main(['--kinds', 'survey', '--n-seeds', '2', '--size', '192'])
    depths, false = (common.read_table(name, results) for name in ('detection', 'false_detections'))
    assert depths['map'].tolist() == list(detection.MAPS) and sum(depths['reference'] == 'True') == 1
    assert set(false['noise']) == {'white', 'correlated'}
    # Stated as those of white noise, correlated noise has many peaks above the thresholds.
    counts = {noise: false['per_megapixel'][(false['noise'] == noise) & (false['map'] == 'matched filter')].sum()
              for noise in ('white', 'correlated')}
    assert counts['correlated'] > counts['white'] + 100
    assert 'Detections on pure noise' in load('page').make_page(results)


def test_options(results, capsys):
    """Options that a benchmark does not have are none."""
    parse = load('common').parse
    small = ['--threads', '1']
    arguments = parse('text', [*small, '--n-seeds', '3', '--deep'], n_seeds=1, size=64, kinds=['nebula'],
                      first_seed=9, flags={'deep': 'deeper'}, options={'minutes': {'type': float, 'default': 2.0}})
    assert list(arguments.seeds) == [9, 10, 11] and arguments.kinds == ['nebula'] and arguments.size == 64
    assert arguments.deep and arguments.minutes == 2
    arguments = parse('text', small, methods=['ours'], choices={'images': {'a': 1, 'b': 2}})
    assert arguments.images == ['a', 'b'] and arguments.methods == ['ours'] and not hasattr(arguments, 'seeds')
    with pytest.raises(SystemExit):
        parse('text', [*small, '--kinds', 'survey'])
    assert 'unrecognized arguments: --kinds' in capsys.readouterr().err


def test_cross_product_is_the_error(rng):
    """Measure the error of an exposure, whatever the noise of the references is."""
    exposures = load('exposures')
    truth = rng.uniform(0, 50, (256, 256))
    image, first, second = (truth + sigma * rng.normal(size=truth.shape) for sigma in (3, 5, 8))
    select = np.ones(truth.shape, dtype=bool)
    before, count = exposures.block_products(image, first, second, select)
    assert before.sum() / count.sum() == pytest.approx(9, abs=0.6) and len(before) == 64
    after, _ = exposures.block_products(truth + (image - truth) / 2, first, second, select)
    ratio, low, high = exposures.interval(before, after)
    assert low < 4 < high and low < ratio < high


def test_level_of_exposures(rng):
    exposures = load('exposures')
    y, x = np.mgrid[:200, :256]
    stars = 500 * (rng.random((200, 256)) > 0.995)
    stars = gaussian_filter(stars.astype(float), 2)
    reference = 100 + stars + rng.normal(0, 0.1, stars.shape)
    image = 20 + 0.9 * stars + 0.05 * x + rng.normal(0, 0.1, stars.shape)
    scale, offset = exposures.match_level(image, reference)
    assert scale == pytest.approx(0.9, rel=0.03)
    assert np.abs(scale * reference + offset - image)[20:-20, 20:-20].mean() < 1.5


def test_exposures_are_aligned(data_path):
    """Find the stars of M 13 at the shifts that are stated."""
    exposures = load('exposures')
    frames = exposures.read_m13(data_path, 256)
    first, last = (np.asarray(ccd.data, dtype=float) for _, ccd, _ in (frames[0], frames[4]))
    smooth = [gaussian_filter(image - np.median(image), 2) for image in (first, last)]
    cut = slice(64, -64), slice(64, -64)

    def correlation(drift):
        return np.corrcoef(smooth[0][cut].ravel(), exposures.align(smooth[1], drift)[cut].ravel())[0, 1]

    right = correlation(np.subtract(frames[0][2], frames[4][2]))
    assert right > 0.8 and right > correlation(np.subtract(frames[4][2], frames[0][2])) + 0.3


def test_exposures_of_arcsat_are_reduced_and_aligned(data_path):
    """Dark and flat are taken off, and the stars are where they are said to be."""
    exposures = load('exposures')
    smooth = []
    for name, ccd, drift in exposures.read_arcsat(data_path, 512, (7, 11)):   # far from each other
        assert ccd.data.shape == (512, 512) and ccd.uncertainty is None and name in ('arcsat_07', 'arcsat_11')
        image = np.asarray(ccd.data)
        assert abs(np.median(image)) < 30   # a sky of some adu, without the 1,350 of the bias
        image = gaussian_filter(image - np.median(image), 2)
        smooth.append((np.clip(image, 20, 400), drift))
    (first, place), (second, other) = smooth
    cut = slice(16, -16), slice(16, -16)

    def correlation(drift):
        return np.corrcoef(first[cut].ravel(), exposures.align(second, drift)[cut].ravel())[0, 1]

    assert correlation(np.subtract(place, other)) > 0.95 > 0.8 > correlation((0, 0))


def star_field(rng, n=60, size=320, peak=3.0):
    """Stars of one peak, FWHM 3.5 pixels, on a grid, and their places."""
    y, x = np.mgrid[:size, :size]
    places = rng.permutation([(i, j) for i in range(20, size - 19, 35) for j in range(20, size - 19, 35)])[:n]
    return sum(peak * np.exp(-((y - i) ** 2 + (x - j) ** 2) / 4.4) for i, j in places), places


def test_faint_stars_of_exposures(rng):
    """Find the stars that both halves show, and measure their mean without the noise of the half they are found in."""
    exposures = load('exposures')
    truth, places = star_field(rng)
    hot = np.zeros(truth.shape)
    hot[37, 37] = 50
    first, second = (truth + 0.35 * rng.normal(size=truth.shape) for _ in range(2))
    found = exposures.faint_stars(first + hot, second, 1.0)
    assert len(found) == pytest.approx(len(places), abs=1)
    assert not (found == 37).all(axis=1).any()
    stars = exposures.cut_outs(second, found)
    assert stars.shape == (len(found), 15, 15) and np.median(stars[:, 0]) == pytest.approx(0, abs=0.1)
    row = exposures.profile(stars)
    assert row['centre'] == pytest.approx(3, abs=0.3) and row['ring'] == ''
    for name, distance in ('neighbours', 1), ('diagonals', 2):
        assert row[name] == pytest.approx(np.exp(-distance / 4.4), abs=4 * row[f'{name}_error'])
    stars[:, 7, 7] /= 2
    assert exposures.profile(stars)['ring'] == 'yes'


@pytest.mark.parametrize('field', ['04', '18'])
def test_faint_stars_of_real_exposures_have_no_ring(data_path, field):
    """Averaged over places that other exposures give, results have the profile of the stars, without a dark ring."""
    exposures = load('exposures')
    series = exposures.Series(field, exposures.read_decam(data_path, field))
    _, stars = exposures.measure(series, ['ours, as read'])
    reference, result = (exposures.profile(stars[name]) for name in ('reference', 'ours, as read'))
    assert result['centre'] > 0.5 * reference['centre'] and len(stars['reference']) > 50
    assert 1 > result['neighbours'] > result['diagonals'] > 0.5
    for part in 'neighbours', 'diagonals':
        assert result[part] == pytest.approx(reference[part], abs=0.1)
    assert stars['ours, as read'].mean(axis=0).min() > -0.1 * result['centre']


def test_mean_of_series(rng):
    """Compute the geometric mean, with a narrower interval than its parts have."""
    exposures = load('exposures')
    before = rng.uniform(0.5, 1.5, (2, 100))
    series = [(before[0], before[0] / 2 * rng.uniform(0.5, 1.5, 100)),
              (before[1], before[1] / 8 * rng.uniform(0.5, 1.5, 100))]
    ratio, low, high = exposures.mean_interval(series)
    assert low < ratio < high and ratio == pytest.approx(4, rel=0.1)
    parts = [exposures.interval(*part) for part in series]
    assert np.log(high / low) < min(np.log(upper / lower) for _, lower, upper in parts)


def test_worse_than_the_exposure(rng):
    """Call a method worse that adds noise, but not one that does nothing."""
    exposures = load('exposures')
    blocks = rng.uniform(0.5, 1.5, 200)
    count = np.full(200, 10.0)
    part = {(method, 'sky'): (factor * blocks, count)
            for method, factor in (('noisy', 1.0), ('ours', 1.5), ('bm3d', 1.0), ('ours, hole of 1', 0.5))}
    rows = {row['method']: row for row in exposures.make_rows('a field', [part])}
    assert rows['ours']['worse'] == 'yes' and rows['bm3d']['worse'] == rows['ours, hole of 1']['worse'] == ''
    assert rows['ours']['than_hole_1'] == pytest.approx(1 / 3) and rows['ours']['mse_after'] > 0.1
    mean = exposures.make_rows('mean', [part, {**part, ('ours', 'sky'): (blocks / 2, count)}])[0]
    assert mean['method'] == 'ours' and mean['ratio'] == pytest.approx(np.sqrt(2 / 1.5))
    assert mean['n_pixels'] == 4000 and np.isnan(mean['mse_after'])


def test_stored_rows_are_replaced(results):
    common = load('common')
    common.write_table([{'a': 1, 'b': 'x', 'value': 1.0}, {'a': 1, 'b': 'y', 'value': np.nan}], 'test')
    rows = common.stored_rows('test', [{'a': 1, 'b': 'x', 'value': 3.0}, {'a': 2, 'b': 'x', 'value': 4.0}], ('a', 'b'))
    assert [(row['a'], row['b']) for row in rows] == [(1, 'x'), (1, 'y'), (2, 'x')]
    assert rows[0]['value'] == 3 and np.isnan(rows[1]['value'])
    common.write_table(rows, 'test')
    assert len(common.read_table('test', results)) == 3
    assert common.stored_rows('none', rows[:1], ('a',)) == rows[:1]


LAGS = {'white': (0, 0), 'rows, -0.2': (0, -0.2), 'rows, +0.3': (0, 0.3), 'lanczos shift': (0.19, 0.11),
        'bilinear shift': (0.36, 0.36), 'drizzle-like': (2 / 3, 2 / 3)}


@pytest.mark.parametrize('kind', LAGS)
def test_correlated_noise(kind):
    """Check the variance, the stated correlation and the spectrum of the noise."""
    correlated = load('correlated')
    noise = correlated.correlated_noise(kind, (500, 600), 5)
    assert noise.var() == pytest.approx(1, abs=0.02)
    along = np.mean(noise[1:] * noise[:-1]), np.mean(noise[:, 1:] * noise[:, :-1])
    np.testing.assert_allclose(along, LAGS[kind], atol=0.015)
    power = correlated.noise_power(kind, noise.shape)
    assert power.mean() == pytest.approx(1)
    lags = np.fft.ifft2(power).real * power.size / power.sum()
    np.testing.assert_allclose([lags[1, 0], lags[0, 1]], LAGS[kind], atol=0.006)


def test_limit_of_linear_theory(frame):
    """Expect one for white noise; for smooth scenes the noise at low frequencies counts."""
    correlated = load('correlated')
    limits = {kind: correlated.linear_limit(correlated.correlate(frame, kind, 5)) for kind in LAGS}
    assert limits['white'] == pytest.approx(1)
    assert 0.75 < limits['rows, -0.2'] < 1 < limits['rows, +0.3'] < limits['drizzle-like'] < 8 / 3


def test_correlated_frames(frame):
    """Check the variance of all kinds against the noise model in each pixel."""
    correlated = load('correlated')
    for kind in ('white', 'drizzle-like'):
        observed = correlated.correlate(frame, kind, 5)
        assert np.std((observed.data - frame.truth) / frame.sigma) == pytest.approx(1, abs=0.06)
        assert observed.noise is frame.noise and observed.power.shape == frame.data.shape


def test_bm3d_of_a_known_spectrum(frame):
    """Told that noise is white, it is BM3D; told how it is correlated, it is better."""
    pytest.importorskip('bm3d')
    correlated, run_method = load('correlated'), load('peers').run_method
    error = {}
    for kind in ('white', 'drizzle-like'):
        observed = correlated.correlate(frame, kind, 5)
        images = [run_method(method, observed)['image'] for method in ('bm3d', 'bm3d, known spectrum')]
        error[kind] = [np.std((image - frame.truth) / frame.sigma) for image in images]
    assert error['white'][1] == pytest.approx(error['white'][0], rel=1e-3)
    assert error['drizzle-like'][1] < 0.8 * error['drizzle-like'][0]


def test_correlated_table(results, monkeypatch):
    correlated, common = load('correlated'), load('common')
    monkeypatch.setattr(correlated, 'FILTERS', {kind: correlated.FILTERS[kind] for kind in ('white', 'bilinear shift')})
    small = ['--kinds', 'survey', '--n-seeds', '1', '--size', '64', '--methods']
    correlated.main([*small, 'ours', 'median 3'])
    table = common.read_table('correlated', results)
    assert table['method'].tolist() == 2 * ['ours', 'median 3'] and table['ratio_all'][0] == 1
    assert np.isfinite(table['pull'][::2]).all() and np.isnan(table['pull'][1::2]).all()
    # One method anew.
    correlated.main([*small, 'median 3'])
    again = common.read_table('correlated', results)
    assert again['method'].tolist() == table['method'].tolist()
    np.testing.assert_allclose(again['ratio_all'], table['ratio_all'], rtol=2e-3)
    assert 'Correlated noise' in load('page').make_page(results)


def test_validation_of_a_large_frame(results):
    load('validation').main(['--quick', '--size', '160'])
    table = load('common').read_table('validation', results)
    assert 'Depth' in table['test'] and set(table['verdict']) <= {'pass', 'fail', 'inconclusive', 'not run'}


def test_skies_without_sources(results):
    load('empty_sky').main(['--first-seed', '37046', '--n-seeds', '3', '--size', '256'])
    table = load('common').read_table('empty_sky', results)
    assert 1 <= len(table) <= 3
    assert np.all(table['rms_pull_before'] < table['rms_pull_after'])
    assert 'Skies without sources' in load('page').make_page(results)


def test_faint_stars(results):
    """Expect a right posterior by what is predicted, which cannot be right by the truth."""
    load('faint_stars').main(['--populations', 'all brightnesses', '--first-seed', '37100', '--n-seeds', '2',
                              '--size', '160'])
    table = load('common').read_table('faint_stars', results)
    for name in ('truth', 'result', 'stated deviation', 'signal-to-noise ratio'):
        assert table['n'][table['sorted_by'] == name].sum() == 2 * 160 ** 2
    by_truth, by_result = (table[(table['sorted_by'] == name) & (table['low'] >= 0.5) & (table['high'] <= 4)]
                           for name in ('truth', 'result'))
    assert by_truth['rms_pull'].max() > 1.2 * by_result['rms_pull'].max()


def test_stars_of_a_ratio():
    frame = load('faint_stars').make_stars(5, 5.001, 2000, 64, 3)
    signal = frame.truth - frame.scene.sky
    n = np.random.default_rng(3)
    width, n_stars = n.uniform(1.6, 3.5) / 2.3548, n.poisson(2000 * 64 ** 2 / 1e6)
    flux = 5 * frame.sky_sigma * np.sqrt(4 * np.pi) * width
    assert 0.5 * n_stars * flux < signal.sum() <= 1.001 * n_stars * flux


def test_tiled_frame_for_speed():
    frame = load('speed').frame_of(700)
    assert frame.data.shape == (700, 700) and isinstance(frame.ccd, CCDData)


def test_real_images_as_truth(data_path, results):
    """Add thirty times the noise of the image."""
    real = load('real_scenes')
    image = np.random.default_rng(1).normal(50, 2, (200, 200))
    scene = real.make_scene(image, 400.0, 5.0)
    assert scene.truth.std() == pytest.approx(np.sqrt(425) / 30, rel=0.05)
    assert np.percentile(scene.truth, 20) == pytest.approx(400)
    for path in real.IMAGES.values():
        frame = real.observe(data_path / path, 'low counts')
        assert np.isfinite(frame.data).all() and max(frame.data.shape) <= 512
        assert frame.truth.std() > 1.1 * frame.sky_sigma / 30
    real.main(['--images', 'XDF, F105W', '--methods', 'ours', 'median 3', '--size', '96'])
    table = load('common').read_table('real_scenes', results)
    assert len(table) == 4 and table['nr'].min() > 1
    assert 'XDF, F105W' in load('page').make_page(results)


def test_scenes_of_other_makers(results):
    other = load('other_scenes')
    for name, make in other.SCENES.items():
        signal = make()
        assert min(signal.shape) >= 300 and signal.min() > -0.2
        # The sky, a slope on it or light all over.
        fills = name in ('slope', 'vignetting', 'Sersic galaxies', 'long slit') or 'cirrus' in name
        assert fills or np.median(signal) < 1
    other.main(['--scenes', 'Gaussian stars', '--methods', 'ours', 'median 3'])
    table = load('common').read_table('other_scenes', results)
    assert len(table) == 4 and table['nr'].min() > 1
    ours, median = (table['nr'][table['method'] == method].mean() for method in ('ours', 'median 3'))
    assert ours > 1.5 * median
    assert 'Gaussian stars' in load('page').make_page(results)


def test_oracle_begins_as_ours_and_learns(tmp_path):
    oracle, common, torch = load('oracle'), load('common'), importlib.import_module('torch')
    torch.manual_seed(1)
    network = importlib.import_module('astropy_n2v').Denoiser.load('default').network
    model = oracle.Oracle(network)
    frame = common.make_frame('survey', 5, 64)
    ours, _ = load('peers').denoise_ours(frame)
    start = oracle.restore(model, frame)
    error = [np.std((image - frame.truth) / frame.sigma) for image in (ours, start)]
    assert error[1] == pytest.approx(error[0], rel=0.2)
    stream = oracle.Stream(np.random.default_rng(1), pool=2, patch_size=32, batch_size=2, size=64)
    checkpoint = tmp_path / 'a.ckpt'
    _, steps, seconds = oracle.train(model, stream, 0.005, checkpoint)
    assert steps and checkpoint.exists()
    # The hole is open now.
    planes = stream.draw()[:1].requires_grad_()
    model(planes)[0][0, 0, 16, 16].backward()
    assert planes.grad[0, 0, 16, 16] != 0
    # Spent time counts, so that nothing is left to do.
    _, again, _ = oracle.train(oracle.Oracle(network), stream, 0.005, checkpoint)
    assert again == steps


# Of one count a pixel the noise is measured too low, which is warned about.
@pytest.mark.filterwarnings('ignore:the sky noise according to')
def test_flat_frames(results):
    quality = load('quality')
    # Of 0.05 counts a frame of 256x256 pixels has 3,277, and its mean scatters by 1.7 % itself.
    quality.main(['--flat', '--size', '512', '--methods', 'ours'])
    table = load('common').read_table('flat', results)
    assert table['counts'].tolist() == list(quality.FLAT_COUNTS)
    np.testing.assert_allclose(table['mean_ratio'], 1, atol=0.01)


def test_classical_strategies_against_careamics(results, frame, data_path):
    """Ours only: CAREamics has an environment of its own."""
    benchmark, common = load('careamics_n2v'), load('common')
    benchmark.main(['--methods', 'ours n2v', 'ours n2v2', '--n-seeds', '1', '--first-seed', '5', '--kinds', 'survey',
                    '--size', '96', '--steps', '2', '--base', '4', '--levels', '2'])
    table = common.read_table('careamics_n2v', results)
    assert table['method'].tolist() == ['ours n2v', 'ours n2v2'] and all(np.isfinite(table['nr_sky']))
    assert all(table['processor_s'] > 0)
    exposures = common.read_table('careamics_n2v_exposures', results)
    assert {'sky', 'faint sources'} <= set(exposures['pixels'].tolist()) and all(exposures['ratio'] > 0)


def test_careamics_is_told_what_to_do(monkeypatch, tmp_path):
    """Its script gets options as JSON; the image goes and comes as a file."""
    peers = load('peers')
    script = tmp_path / 'python'
    script.write_text('#!/bin/sh\nprintf %s "$5" > ' + str(tmp_path / 'options') + '\ncp "$3" "$4"\n')
    script.chmod(0o755)
    monkeypatch.setenv('CAREAMICS_PYTHON', str(script))
    image = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(peers.train_careamics(image, 'n2v', num_epochs=3), image)
    assert (tmp_path / 'options').read_text() == '{"num_epochs": 3}'
    monkeypatch.delenv('CAREAMICS_PYTHON')
    with pytest.raises(RuntimeError, match='CAREAMICS_PYTHON must name the Python'):
        peers.train_careamics(image, 'n2v')


def test_own_model_goes_through_the_five_commands(data_path, tmp_path):
    own_model = load('own_model')
    scene = load('common').make_scene('survey', (64, 64), seed=5)
    exposures = [(f'arcsat_{n:02d}', scene.observe(seed=n), (0, 0)) for n in range(2, 12)]
    own_model.write_reduced(exposures, tmp_path / 'reduced', data_path)
    own_model.run_commands(tmp_path, ['--init', 'default', '--max-steps', '1', '--patch-size', '32'])
    assert (tmp_path / 'own.safetensors').exists() and len(list((tmp_path / 'pictures').rglob('*.png'))) == 2
    model = (tmp_path / 'own.safetensors').read_bytes()
    own_model.run_commands(tmp_path, ['--nonsense'])   # a model that is there stays
    assert (tmp_path / 'own.safetensors').read_bytes() == model


def test_own_model_is_compared_on_exposures_that_it_has_not_seen(data_path, monkeypatch):
    """Twice the same model: no difference, and none but the exposures of the test are denoised."""
    own_model = load('own_model')
    scene = load('common').make_scene('survey', (128, 128), seed=5)
    exposures = [(f'arcsat_{n:02d}', scene.observe(seed=n), (0, 0)) for n in range(2, 9)]
    parts = 'train', 'train', 'validation', 'validation', 'validation', 'test', 'test'
    seen, denoise = [], own_model.denoise
    monkeypatch.setattr(own_model, 'denoise',
                        lambda ccd, *rest, **more: seen.append(ccd) or denoise(ccd, *rest, **more))
    default = importlib.import_module('astropy_n2v').Denoiser.load('default')
    rows = own_model.compare(exposures, {name: part for (name, _, _), part in zip(exposures, parts)},
                             {'default': default, 'own': default})
    assert {id(ccd) for ccd in seen} == {id(exposures[n][1]) for n in (5, 6)}
    sky = {row['model']: row for row in rows if row['pixels'] == 'sky'}
    assert sky['own']['ratio'] == sky['default']['ratio'] > 5 and sky['own']['exposures'] == 2
    assert sky['own']['than_default'] == sky['own']['than_low'] == 1 and np.isnan(sky['default']['than_default'])


def test_audit(results):
    """Few frames, one of each of the main kinds, with all faults."""
    audit = load('audit')
    audit.main(['--n-seeds', '2', '--first-seed', '5'])
    common = load('common')
    checks, faults = common.read_table('audit', results), common.read_table('audit_faults', results)
    assert 'flux (all)' in checks['check'] and not checks['findings'].sum()
    assert faults['fault'].tolist() == list(audit.FAULTS)


def test_tail_limit(rng):
    """Expect an exponential tail to exceed ln(1000) once in 1,000."""
    tail_limit = load('audit').tail_limit
    assert tail_limit(rng.exponential(size=100_000), 100_000, 1e-3) == pytest.approx(np.log(1000), abs=0.2)
    assert np.isnan(tail_limit([1.0, 2.0], 100, 1e-3))


def test_page_has_the_faults_of_the_audit():
    """Compare how often each planted fault was found with the documentation."""
    table = load('common').read_table('audit_faults')
    page = (FOLDER.parent / 'docs' / 'audit.rst').read_text(encoding='utf-8')
    for row in table:
        line = next(line for line in page.splitlines() if line.startswith(f'{row["fault"]}  '))
        assert line.split()[-2:] == [f'{100 * row[size]:.0f}' for size in ('small', 'large')]


def test_numbers_are_tuned_for_a_while():
    tuned = load('tuned_numbers')
    from astropy_n2v.inference import bounds, recalibration
    from astropy_n2v.noise import model
    before = model.BROAD_WEIGHT
    with tuned.changed('astropy_n2v.noise.model', 'BROAD_WEIGHT', 2):
        assert model.BROAD_WEIGHT == recalibration.BROAD_WEIGHT == 2 * before
    assert model.BROAD_WEIGHT is recalibration.BROAD_WEIGHT is before
    with tuned.changed('astropy_n2v.inference.bounds', '_WIDENING', 0.5):
        assert bounds._WIDENING == 1.5
    assert bounds._WIDENING == 3
    assert tuned.scaled(((1, -3), [0.5, 0]), 0.5) == ((1, -1), [0.25, 0])


def test_tuned_numbers(results, monkeypatch):
    tuned = load('tuned_numbers')
    monkeypatch.setattr(tuned, 'RESULTS', results)
    monkeypatch.setattr(tuned, 'use_threads', lambda n: None)
    for _ in range(2):   # the second time, all is there
        tuned.main(['--n', '2', '--only', 'bounds._WIDENING'])
    rows = (results / 'tuned_numbers.csv').read_text().splitlines()
    assert rows[0].startswith('module,name,factor,frames,changed') and len(rows) == 3
    assert rows[1].startswith('astropy_n2v.inference.bounds,_WIDENING,0.5,2,')


def test_numbers_that_change_nothing_are_tried_on_more_frames(results, monkeypatch):
    tuned = load('tuned_numbers')
    monkeypatch.setattr(tuned, 'RESULTS', results)
    monkeypatch.setattr(tuned, 'use_threads', lambda n: None)
    monkeypatch.setattr(tuned, 'make_case', lambda seed: (seed, []))
    monkeypatch.setattr(tuned, '_outcome', lambda seed: seed)
    monkeypatch.setattr(tuned, '_compare', lambda before, after: {
        'frames': len(before), 'changed': sum(seed >= tuned.FURTHER_SEED for seed in after), 'mean_error': 1,
        'largest_error': 1, 'coverage': 0, 'messages': 0})
    for _ in range(2):
        tuned.main(['--n', '2', '--more', '3', '--only', 'bounds._WIDENING'])
        rows = tuned._read(results / 'tuned_numbers.csv')
        assert {(row['frames'], row['changed']) for row in rows.values()} == {('5', '3')}


def test_outcomes_that_differ_are_counted():
    tuned = load('tuned_numbers')
    image = np.zeros((4, 4))
    before = [(image, {'all': 0.2}, 0.95, False), (image, {'all': 0.5, 'faint': 0.8}, 0.9, False),
              (None, {}, np.nan, 'CannotDenoiseError')]
    after = [before[0], (image + 1, {'all': 0.5, 'faint': 1.2}, 0.7, True), before[2]]
    assert tuned._compare(before, after) == {'frames': 3, 'changed': 1, 'mean_error': '1.145',
                                             'largest_error': '1.500', 'coverage': '-0.200', 'messages': 1}


def test_loading(results, tmp_path):
    loading = load('loading')
    first, again = loading.catalogue(tmp_path / 'a', 4, 64, 1)
    assert first['what'].startswith('catalogue of 4 files') and 0 < again['seconds'] < first['seconds']
    (row,) = loading.patches(tmp_path / 'b', 'fz', 0, 2, 128, 3)
    assert row['patches_per_second'] == pytest.approx(24 / row['seconds'])
    (row,) = loading.training(tmp_path / 'c', 4, 64)
    assert row['what'] == 'training on 4 frames of 64x64' and not row['peak_mb'] < 0
