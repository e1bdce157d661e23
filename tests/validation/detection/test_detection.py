# Licensed under a 3-clause BSD style license - see LICENSE
"""
Finding sources, maps, and sweeps of the threshold.
"""

import numpy as np
import pytest
from astropy.nddata import CCDData, StdDevUncertainty
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from astropy_n2v import NoiseModel
from astropy_n2v.simulate import make_psf, make_scene
from astropy_n2v.validation import (
    combine_sweeps,
    detection_maps,
    draw_sources,
    find_residual_sources,
    find_sources,
    flip_frame,
    inject_sources,
    injection_positions,
    make_noise_frame,
    matched_filter,
    noise_detections,
    run_denoiser,
    sweep_thresholds,
)

FWHM = 3.0
PSF_STAMP = make_psf(FWHM, half_size=12)


@pytest.fixture(scope='module')
def stars():
    """White noise of 1 with isolated stars of 34 sigma, and where they are."""
    ccd = make_noise_frame((300, 320), 1.0, level=10.0, seed=1)
    sources = draw_sources(injection_positions(ccd.shape, 40, spacing=20, border=15, seed=2), (-5.6, -5.6), seed=3)
    return inject_sources(ccd, sources, PSF_STAMP, gain=np.inf), sources


@pytest.mark.parametrize('method', ['peaks', 'daofind', 'segmentation'])
def test_each_method_finds_the_stars(stars, method):
    ccd, sources = stars
    image = matched_filter(ccd, PSF_STAMP) if method == 'peaks' else ccd.data - 10
    threshold = {'peaks': 6, 'daofind': 4, 'segmentation': 2.5}[method]
    sweep = sweep_thresholds(image, [threshold], truth=sources, radius=2.0, method=method, fwhm=FWHM)
    assert sweep['recall'][0] > 0.95 and sweep['precision'][0] > 0.95
    found = find_sources(image, threshold, method=method, fwhm=FWHM)
    assert (np.diff(found['score']) <= 0).all() and (found['score'] > threshold).all()
    assert found['x'].unit == 'pix' and found['id'].tolist() == list(range(1, len(found) + 1))


@pytest.mark.parametrize('method', ['peaks', 'daofind', 'segmentation'])
def test_nothing_found_is_an_empty_table(method):
    found = find_sources(np.zeros((40, 40)), 5.0, method=method, fwhm=FWHM)
    assert len(found) == 0 and {'id', 'x', 'y', 'score'} <= set(found.colnames)


def test_positions_are_sub_pixel(stars):
    ccd, sources = stars
    found = find_sources(matched_filter(ccd, PSF_STAMP), 10, fwhm=FWHM)
    separation = np.hypot(np.subtract.outer(found['x'].value, sources['x'].value),
                          np.subtract.outer(found['y'].value, sources['y'].value)).min(axis=1)
    assert np.median(separation) < 0.2


@pytest.mark.parametrize('method', ['peaks', 'daofind'])
def test_scores_are_thresholds(stars, method):
    """Detections at a threshold are the ones with a higher score at a lower threshold."""
    image = matched_filter(stars[0], PSF_STAMP) if method == 'peaks' else stars[0].data - 10
    low, high = (find_sources(image, threshold, method=method, fwhm=FWHM) for threshold in (3.0, 4.5))
    assert low['score'][low['score'] > 4.5].tolist() == pytest.approx(high['score'].tolist())


def test_masked_sources_are_not_found(stars):
    ccd, _ = stars
    image = matched_filter(ccd, PSF_STAMP)
    half = np.zeros(image.shape, dtype=bool)
    half[:, :160] = True
    for method in ('peaks', 'daofind', 'segmentation'):
        assert (find_sources(image, 6, method=method, fwhm=FWHM, mask=half)['x'].value > 158.5).all()
    image[:, :160] = np.nan
    assert (find_sources(image, 6, fwhm=FWHM)['x'].value > 158.5).all()


def test_a_plateau_is_one_peak():
    image = np.zeros((20, 20))
    image[5:8, 5:9] = 4.0
    assert len(find_sources(image, 3.0)) == 1


def test_matched_filter_of_white_noise_is_normal(rng):
    significance = matched_filter(rng.normal(50, 3, (400, 400)), PSF_STAMP)
    assert significance.std() == pytest.approx(1, abs=0.03)
    assert np.mean(significance > 2) == pytest.approx(norm.sf(2), rel=0.2)


def test_matched_filter_weighs_by_the_noise(rng):
    """Where the noise doubles, the significance of the noise is unchanged; masked pixels do not matter."""
    sigma = np.where(np.arange(300) < 150, 1.0, 4.0) * np.ones((200, 1))
    data = rng.normal(0, 1, sigma.shape) * sigma
    data[50:60, 20:30] = np.nan
    mask = np.zeros(data.shape, dtype=bool)
    data[100:110, 200:210], mask[100:110, 200:210] = 1e6, True
    significance = matched_filter(data, PSF_STAMP, sigma=sigma, background=0, mask=mask)
    for part in (significance[:, :140], significance[:, 160:]):
        assert part.std() == pytest.approx(1, abs=0.06)
    assert np.abs(significance).max() < 7
    model = matched_filter(np.where(np.isfinite(data), data, 0), PSF_STAMP, sigma=NoiseModel(sigma), background=0,
                           mask=mask | ~np.isfinite(data))
    np.testing.assert_allclose(model, significance, atol=1e-9)


def test_maps_share_their_unit(stars):
    """A star has the same score in all of them, within the noise."""
    ccd, sources = stars
    smooth = ccd.copy()
    smooth.uncertainty = StdDevUncertainty(np.full(ccd.shape, 0.5))
    maps = detection_maps(ccd, smooth, PSF_STAMP, extra={'ten': lambda noisy, denoised: np.full(noisy.shape, 10.0)})
    assert list(maps) == ['raw', 'matched filter', 'denoised', 'denoised / uncertainty', 'ten']
    y, x = (np.rint(sources[name].value).astype(int) for name in ('y', 'x'))
    expected = 10 ** (0.4 * 5.6) * np.sqrt(np.sum(PSF_STAMP ** 2))
    scores = {name: np.median(image[y, x]) for name, image in maps.items()}
    assert scores['matched filter'] == pytest.approx(expected, rel=0.08)
    assert scores['raw'] == pytest.approx(expected, rel=0.15)   # the centre is not always that of a pixel
    np.testing.assert_allclose(maps['denoised'], maps['raw'])
    inside = maps['raw'] != 0
    np.testing.assert_allclose((maps['denoised / uncertainty'] * 0.5)[inside],
                               (ccd.data - 10)[inside], atol=0.6)


def test_flip(ccd):
    flipped = flip_frame(ccd, 200.0)
    np.testing.assert_allclose(flipped.data, 400 - ccd.data, rtol=1e-6)
    assert flipped.header == ccd.header and flipped.data.dtype == ccd.data.dtype
    integers = CCDData(np.array([[3, 5]], dtype=np.uint16), unit='adu')
    assert flip_frame(integers, 2.0).data.tolist() == [[1.0, -1.0]]


def test_false_rates_of_flipped_and_blank_frames_agree():
    """On white noise, and both with what is found there, which is all false."""
    frames = [make_noise_frame((512, 512), 5.0, level=100.0, seed=seed) for seed in (5, 6)]
    images = [matched_filter(frame, PSF_STAMP) for frame in (frames[0], flip_frame(frames[0]), frames[1])]
    # Twelve comparisons: each may fail once in a thousand times.
    sweeps = [sweep_thresholds(images[0], [2.5, 3.0], truth=[], confidence=0.999),
              *(sweep_thresholds(images[0], [2.5, 3.0], blank=image, confidence=0.999) for image in images[1:])]
    for one in sweeps:
        for other in sweeps:
            assert (one['false_per_megapixel_low'] < other['false_per_megapixel_high']).all()
    assert sweeps[0]['false_per_megapixel'].unit == '1 / Mpix'
    assert [sweep.meta['false_from'] for sweep in sweeps] == ['truth', 'blank', 'blank']


def test_flipped_frame_shows_holes_but_no_sources():
    scene = make_scene('sky_limited', (256, 256), seed=3)
    ccd = scene.observe(seed=4)
    image, flipped = (matched_filter(frame, scene.psf) for frame in (ccd, flip_frame(ccd)))
    assert image.max() > 50 and flipped.max() < 8


def test_sweep_counts():
    image = np.zeros((50, 50))
    truth = [[10, 10], [30, 12], [20, 40]]
    for value, (x, y) in zip((9.0, 5.0, 3.0), truth):
        image[y, x] = value
    image[45, 5] = 4.0   # false
    sweep = sweep_thresholds(image, [2, 3.5, 4.5, 20], truth=truth, radius=1.5)
    assert sweep['tp'].tolist() == [3, 2, 2, 0] and sweep['fp'].tolist() == [1, 1, 0, 0]
    assert sweep['fn'].tolist() == [0, 1, 1, 3]
    assert sweep['f1'].tolist() == pytest.approx([6 / 7, 2 / 3, 0.8, 0])
    assert sweep['false_per_megapixel'].value.tolist() == pytest.approx([400, 400, 0, 0])
    total = combine_sweeps([sweep, sweep])
    assert total['tp'].tolist() == [6, 4, 4, 0] and total['f1'].tolist() == sweep['f1'].tolist()
    assert (total['recall_high'] - total['recall_low'] < sweep['recall_high'] - sweep['recall_low']).all()
    # Against blanks only: what is more than there is false.
    blank = np.zeros((50, 100))
    blank[10, 10] = 4.0
    sweep = sweep_thresholds(image, [2, 4.5], blank=blank)
    assert sweep['fp'].tolist() == [0.5, 0] and sweep['tp'].tolist() == [3.5, 2]
    assert np.isnan(sweep['recall']).all()


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000))
def test_sweep_is_consistent(seed):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0, 59, (rng.integers(0, 6), 2))
    sweep = sweep_thresholds(rng.normal(0, 1, (60, 60)), [1.5, 2.5, 3.5], truth=truth, radius=2.0)
    assert (sweep['tp'] + sweep['fp'] == sweep['n_detected']).all()
    assert (sweep['tp'] + sweep['fn'] == len(truth)).all()
    assert (np.diff(sweep['n_detected']) <= 0).all()
    assert ((sweep['precision_low'] <= sweep['precision']) | np.isnan(sweep['precision'])).all()


def test_noise_detections_are_those_of_the_field():
    """The peaks of a smooth Gaussian field (Adler 1981), white or not."""
    from astropy_n2v.validation.detection.maps import _expected_peaks
    counts = noise_detections(lambda ccd: ccd, PSF_STAMP, 2.0, thresholds=[3.0, 3.5], shape=(512, 512), n_frames=3,
                              seed=1)
    row = counts[(counts['image'] == 'matched filter') & (counts['threshold'] == 3.5)][0]
    assert row['per_megapixel_low'] < _expected_peaks(PSF_STAMP, 3.5) * 1.1 and row['per_megapixel_high'] > 60
    assert counts.meta['correlated'] is False
    correlated = noise_detections(lambda ccd: ccd, PSF_STAMP, 2.0, thresholds=[3.5], n_frames=1, seed=1,
                                  kernel=np.ones((2, 2)))
    assert correlated[correlated['image'] == 'matched filter']['n'][0] > 10 * row['n'] and correlated.meta['correlated']


def test_sources_to_be_ignored_are_neither_found_nor_false():
    image = np.zeros((40, 40))
    for x, y, height in (10, 10, 9.0), (25, 10, 6.0), (10, 30, 7.0), (30, 30, 5.0):
        image[y, x] = height
    truth, ignore = [(10, 10), (20, 20)], [(25, 11), (10, 10)]
    plain = sweep_thresholds(image, [4], truth=truth)[0]
    sweep = sweep_thresholds(image, [4], truth=truth, ignore=ignore)[0]
    assert (plain['tp'], plain['fp'], plain['fn']) == (1, 3, 1)
    # True sources stay true, even near one of them.
    assert (sweep['tp'], sweep['fp'], sweep['fn'], sweep['n_detected']) == (1, 2, 1, 3)
    assert sweep['precision'] == pytest.approx(1 / 3)


def test_noise_frame(rng):
    noise = NoiseModel(3.0, gain=2.0)
    ccd = make_noise_frame((300, 300), noise, level=50.0, seed=1)
    assert ccd.data.std() == pytest.approx(np.sqrt(noise.variance(50.0)), rel=0.02)
    assert ccd.data.mean() == pytest.approx(50, abs=0.1)
    smooth = make_noise_frame((300, 300), 3.0, kernel=[[0.5, 1, 0.5]], seed=1).data
    assert smooth.std() == pytest.approx(3, rel=0.03)
    assert np.mean(smooth[:, 1:] * smooth[:, :-1]) / 9 == pytest.approx(2 / 3, abs=0.03)
    one, two = (make_noise_frame((9, 9), 1.0, seed=4) for _ in range(2))
    np.testing.assert_array_equal(one.data, two.data)


def test_residual_sources(stars):
    ccd, sources = stars
    changed = ccd.copy()
    invented = draw_sources([[100.3, 150.4]], (-4.2, -4.2), seed=1)   # nine sigma
    changed.data = inject_sources(ccd, invented, PSF_STAMP, gain=np.inf).data
    first = sources[:1]
    changed.data = changed.data - (inject_sources(ccd, first, PSF_STAMP, gain=np.inf).data - ccd.data)
    table = find_residual_sources(ccd, changed, PSF_STAMP)
    assert sorted(table['kind']) == ['invented', 'removed']
    for kind, source in (('invented', invented), ('removed', first)):
        row = table[table['kind'] == kind][0]
        assert np.hypot(row['x'] - source['x'][0], row['y'] - source['y'][0]) < 0.6
        assert (row['score'] > 0) == (kind == 'invented')
    # All of the noise away is what is expected.
    ideal = ccd.copy()
    ideal.data = np.full(ccd.shape, 10.0)
    noise = make_noise_frame(ccd.shape, 1.0, level=10.0, seed=1)
    clean = find_residual_sources(noise, ideal, PSF_STAMP, threshold=3.0)
    assert len(clean) == pytest.approx(clean.meta['expected'], rel=0.5)
    assert len(find_residual_sources(noise, ideal, PSF_STAMP, sigma=NoiseModel(1.0))) == 0


def test_real_frame(data_path):
    ccd = CCDData.read(next((data_path / 'sfft_decam').glob('DEC-OBS04a*.fits')), unit='adu')
    significance = matched_filter(ccd, make_psf(4.0, half_size=12))
    sweep = sweep_thresholds(significance, [4, 6, 10],
                             blank=matched_filter(flip_frame(ccd), make_psf(4.0, half_size=12)))
    assert sweep['n_detected'][-1] > 5 and sweep['precision'][-1] > 0.8


NOISE = make_noise_frame((40, 40), 1.0, seed=0)


@pytest.mark.parametrize(('function', 'arguments', 'options', 'message'), [
    (find_sources, (np.eye(9), 0), {}, 'threshold must be a positive number, got 0'),
    (find_sources, (np.eye(9), 1), {'method': 'sep'}, "method must be one of .* got 'sep'"),
    (find_sources, (np.eye(9), 1), {'method': 'daofind'}, 'fwhm must be a positive number .* got None'),
    (find_sources, (np.eye(9), 1), {'method': 'segmentation', 'n_pixels': 0}, 'n_pixels must be at least 1, got 0'),
    (find_sources, (np.ones(9), 1), {}, r'image must be two-dimensional, got shape \(9,\)'),
    (find_sources, (np.eye(9), 1), {'mask': np.zeros(3)}, 'mask must have the shape of the data'),
    (find_sources, (np.full((9, 9), np.nan), 1), {}, 'image has no valid pixel'),
    (matched_filter, (np.ones((20, 20)), PSF_STAMP), {'sigma': 1.0, 'background': 0}, 'psf must not be larger than '
     r'the frame, \(20, 20\), got a stamp of \(25, 25\)'),
    (matched_filter, (NOISE, PSF_STAMP), {'sigma': -1.0}, 'sigma must be positive, got a minimum of -1'),
    (matched_filter, (NOISE, PSF_STAMP), {'sigma': np.ones(40)}, 'sigma must be a number, a NoiseModel or have'),
    (matched_filter, (NOISE, PSF_STAMP), {'background': np.ones(3)}, 'background must be a number or have'),
    (matched_filter, (np.ones((40, 40)), PSF_STAMP), {}, 'sigma must be given for a frame whose sky has no noise'),
    (matched_filter, (NOISE, np.ones((4, 4))), {}, r'psf must be an image of odd .* got an array of shape \(4, 4\)'),
    (matched_filter, (NOISE, np.zeros((5, 5))), {}, 'psf must be finite with a positive sum'),
    (matched_filter, (NOISE, np.eye(9)[::-1].cumsum(1)), {}, 'psf must be centred'),
    (flip_frame, (NOISE, np.ones(4)), {}, 'background must be a number or have'),
    (sweep_thresholds, (np.eye(9), []), {'truth': []}, 'thresholds must hold at least one value, got none'),
    (sweep_thresholds, (np.eye(9), [-1, 3]), {'truth': []}, r'thresholds must be positive numbers, got \[-1.0, 3.0\]'),
    (sweep_thresholds, (np.eye(9), [1]), {}, 'truth or blank must be given'),
    (sweep_thresholds, (np.eye(9), [1]), {'blank': []}, 'blank must hold at least one map, got none'),
    (sweep_thresholds, (np.eye(9), [1]), {'truth': [], 'confidence': 2}, 'confidence must be between 0 and 1, got 2'),
    (combine_sweeps, ([],), {}, 'sweeps must hold at least one table'),
    (make_noise_frame, ((0, 4), 1.0), {}, r'shape must be two positive numbers, got \(0, 4\)'),
    (make_noise_frame, ((4, 4), 1.0), {'kernel': [0]}, 'kernel must be a finite two-dimensional array'),
    (noise_detections, (abs, PSF_STAMP, 1.0), {'n_frames': 0}, 'n_frames must be at least 1, got 0'),
    (noise_detections, (abs, PSF_STAMP, 1.0), {'thresholds': []}, 'thresholds must hold'),
    (find_residual_sources, (NOISE, np.ones((3, 3)), PSF_STAMP), {}, r'denoised must have the shape of noisy'),
    (run_denoiser, (lambda ccd: ccd[:3], NOISE), {}, r'denoiser must return data of the shape of its input'),
    (run_denoiser, (lambda ccd: flip_frame(ccd, np.nan), NOISE), {}, 'denoiser must return finite data, got none')])
def test_errors(function, arguments, options, message):
    with pytest.raises(ValueError, match=message):
        function(*arguments, **options)


def test_type_errors():
    with pytest.raises(TypeError, match='denoiser must be a function from CCDData to CCDData, got int'):
        run_denoiser(3, NOISE)
    with pytest.raises(TypeError, match='denoiser must return CCDData, got ndarray'):
        run_denoiser(lambda ccd: ccd.data, NOISE)
    with pytest.raises(TypeError, match='psf must be a FWHM in pixels, an image, a PSF or a model .* got str'):
        matched_filter(NOISE, '3.0')


def test_sweeps_that_differ():
    one, two = (sweep_thresholds(np.eye(9) * 5, [t], truth=[[4, 4]]) for t in (3, 4))
    with pytest.raises(ValueError, match='sweeps must have the same thresholds'):
        combine_sweeps([one, two])
    other = sweep_thresholds(np.eye(9) * 5, [3], blank=np.eye(9))
    with pytest.raises(ValueError, match="sweeps must agree in false_from, got 'truth' and 'blank'"):
        combine_sweeps([one, other])
