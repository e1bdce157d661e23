# Licensed under a 3-clause BSD style license - see LICENSE
"""
Point-spread functions, artificial sources, recovery, and depth at equal false-detection rate.
"""

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import CCDData, InverseVariance, StdDevUncertainty, VarianceUncertainty
from astropy.table import Table
from astropy.utils.exceptions import AstropyUserWarning
from scipy.ndimage import gaussian_filter, label, shift
from scipy.spatial.distance import pdist

from astropy_n2v import NoiseModel
from astropy_n2v.photometry import PSF, measure_psf
from astropy_n2v.simulate import make_psf, make_scene
from astropy_n2v.validation import (
    Recovery,
    bootstrap_interval,
    compare_depth,
    draw_sources,
    find_residual_sources,
    inject_and_recover,
    inject_realisations,
    inject_sources,
    injection_positions,
    make_noise_frame,
    matched_filter,
    matched_filter_depth,
    measure_completeness,
    noise_detections,
    render_sources,
    threshold_at_false_rate,
    threshold_at_purity,
)

STAMP = make_psf(3.0, half_size=12)
SIGMA = 10.0


@pytest.fixture(scope='module')
def sky():
    """White noise on 100 electrons of sky."""
    return make_noise_frame((360, 360), SIGMA, level=100.0, unit='electron', seed=1)


def _changed(ccd, data):
    result = ccd.copy()
    result.data = data
    result.uncertainty = None
    return result


def identity(ccd):
    return _changed(ccd, ccd.data.copy())


def remove_faint(ccd):
    """Sets to the sky whatever does not belong to a peak of 5 sigma."""
    significance = matched_filter(ccd, STAMP, sigma=SIGMA, background=100.0)
    groups, _ = label(gaussian_filter(np.where(significance > 5, 1.0, 0.0), 2) > 1e-3)
    keep = groups > 0
    return _changed(ccd, np.where(keep, ccd.data, 100.0))


def invent(ccd):
    """Adds stars of 8 sigma, 200 a megapixel, at places that depend on the frame."""
    rng = np.random.default_rng(int(abs(ccd.data[0, 0]) * 1e3))
    n = int(200e-6 * ccd.data.size)
    mag = matched_filter_depth(STAMP, SIGMA, 8.0)
    xy = rng.uniform(20, np.array(ccd.shape[::-1]) - 20, (n, 2))
    # Of noise that is left it leaves a third, as denoisers do.
    less = 100 + (ccd.data - 100) / 3
    return _changed(ccd, np.maximum(less, 0) + render_sources(draw_sources(xy, (mag, mag), seed=1), ccd.shape, STAMP))


def move(ccd):
    return _changed(ccd, shift(ccd.data, (0, 0.1), order=3, mode='nearest'))


class TestPSF:
    def test_measured_among_galaxies(self):
        scene = make_scene('survey', (400, 400), seed=4)
        psf = measure_psf(scene.observe(seed=4))
        assert psf.fwhm == pytest.approx(3.24, abs=0.15) and psf.n_stars >= 5 and 0 < psf.fwhm_err < 0.1
        half, middle = psf.stamp.shape[0] // 2, scene.psf.shape[0] // 2
        truth = scene.psf[middle - half:middle + half + 1, middle - half:middle + half + 1]
        assert np.abs(psf.stamp - truth / truth.sum()).max() < 0.06 * truth.max()

    def test_effective(self):
        ccd = make_noise_frame((256, 256), 1.0, unit='electron', seed=1)
        positions = injection_positions(ccd.shape, 30, spacing=27, border=14, seed=2)
        psf = measure_psf(inject_sources(ccd, draw_sources(positions, (-11, -10), seed=3), STAMP, gain=1, seed=4),
                          method='epsf', size=25)
        assert psf.fwhm == pytest.approx(PSF.from_any(STAMP).fwhm, abs=0.15) and psf.n_stars == 30
        assert np.abs(psf.stamp - STAMP).max() < 0.08 * STAMP.max() and psf.method == 'epsf'

    def test_gaussian_of_gaussian_stars(self):
        psf = PSF.from_any(make_psf(2.8, kind='gaussian', half_size=12))
        ccd = make_noise_frame((200, 200), 1.0, unit='electron', seed=1)
        positions = injection_positions(ccd.shape, 12, spacing=30, border=15, seed=2)
        ccd = inject_sources(ccd, draw_sources(positions, (-10, -9), seed=3), psf, gain=np.inf)
        found = measure_psf(ccd, method='gaussian', size=21)
        assert found.fwhm == pytest.approx(psf.fwhm, abs=0.06) and found.n_stars == 12
        given = measure_psf(ccd, method='moffat', stars=positions[:3], size=21)
        assert given.n_stars == 3

    def test_real_frame(self, data_path):
        ccd = CCDData.read(next((data_path / 'sfft_decam').glob('DEC-OBS04a*.fits')), unit='adu')
        psf = measure_psf(ccd, method='moffat')
        assert 2 < psf.fwhm < 8 and psf.n_stars >= 3

    @pytest.mark.parametrize(('options', 'message'), [
        ({'method': 'psfex'}, "method must be one of 'epsf', 'moffat', 'gaussian', got 'psfex'"),
        ({'size': 10}, 'size must be odd and at least 5, got 10'),
        ({'n_stars': 0}, 'n_stars must be at least 1, got 0'),
        ({'method': 'epsf'}, r'ccd must show at least 16 isolated stars higher than 30.0 sigma .* got 0')])
    def test_errors(self, sky, options, message):
        with pytest.raises(ValueError, match=message):
            measure_psf(sky, **options)


class TestPositions:
    def test_distances(self):
        mask = np.zeros((300, 400), dtype=bool)
        mask[100:150, 50:300] = True
        avoid = [[350.0, 250.0], [200.0, 200.0]]
        table = injection_positions(mask.shape, 60, spacing=18, mask=mask, avoid=avoid, avoid_radius=30, border=9,
                                    seed=1)
        xy = np.stack([table['x'].value, table['y'].value], axis=1)
        assert len(xy) == 60 and pdist(xy).min() >= 18
        assert (xy >= 9).all() and (xy <= np.array([390, 290])).all()
        assert not mask[np.rint(xy[:, 1]).astype(int), np.rint(xy[:, 0]).astype(int)].any()
        assert all(np.hypot(*(xy - place).T).min() > 30 for place in avoid)
        # All phases of a pixel.
        phase = (xy + 0.5) % 1
        assert phase.min() < 0.1 and phase.max() > 0.9 and abs(phase.mean() - 0.5) < 0.1

    def test_reproducible(self):
        one, two, other = (injection_positions((99, 99), 9, spacing=12, seed=seed) for seed in (3, 3, 4))
        assert one['x'].tolist() == two['x'].tolist() != other['x'].tolist()

    @pytest.mark.parametrize(('arguments', 'options', 'message'), [
        (((64, 64), 200), {'spacing': 18},
         r'n must be at most \d+ for a frame of \(64, 64\) with spacing=18.* got 200'),
        (((64, 64), 0), {'spacing': 18}, 'n must be at least 1, got 0'),
        (((64, 64), 1), {'spacing': 0}, 'spacing must be a positive number of pixels, got 0'),
        (((64, 64), 1), {'spacing': 9, 'border': 40}, r'border must leave a part of the frame, \(64, 64\), got 40'),
        (((64, 64), 1), {'spacing': 9, 'mask': np.ones((64, 64), dtype=bool)}, 'n must be at most 0'),
        (((64, 64), 1), {'spacing': 9, 'mask': np.ones(3)}, 'mask must have the shape of the frame')])
    def test_errors(self, arguments, options, message):
        with pytest.raises(ValueError, match=message):
            injection_positions(*arguments, **options)


class TestInjection:
    def test_galaxies_have_their_flux_and_size(self):
        sources = Table({'kind': ['galaxy', 'galaxy'], 'x': [80.3, 240.7], 'y': [80.6, 79.8], 'flux': [100.0, 100.0],
                         'r_eff': [6.0, 5.0], 'sersic_n': [1.0, 4.0], 'ellipticity': [0.0, 0.0], 'theta': [0.0, 0.0]})
        image = render_sources(sources, (160, 320), make_psf(1.5, half_size=6, kind='gaussian'))
        y, x = np.mgrid[:160, :320]
        for row in sources:
            half = image[:, :160] if row['x'] < 160 else image[:, 160:]
            assert half.sum() == pytest.approx(100, rel=0.01)
            inside = np.hypot(x - row['x'], y - row['y']) < row['r_eff']
            assert image[inside].sum() == pytest.approx(50, abs=3)

    def test_star_reaches_over_the_edge(self):
        sources = draw_sources([[0.0, 30.0]], (-5, -5), seed=1)
        image = render_sources(sources, (64, 64), STAMP)
        assert 50 < image.sum() < 65

    def test_photon_noise_of_the_source_and_no_more(self, sky):
        """The variance of the injected part is its expectation over the gain."""
        sky = sky[:100, :120]
        sources = draw_sources([[30.2, 29.7], [80.4, 60.1]], (-10, -10), seed=1)
        model = render_sources(sources, sky.shape, STAMP)
        added = np.array([inject_sources(sky, sources, STAMP, gain=2.0, seed=seed).data - sky.data
                          for seed in range(200)])
        bright = model > 20
        assert np.mean((added - model)[:, bright]) == pytest.approx(0, abs=0.05 * np.sqrt(model[bright].mean()))
        assert np.mean(added.var(axis=0)[bright] / (model[bright] / 2)) == pytest.approx(1, abs=0.05)
        assert np.abs(added[:, model < 1e-9]).max() == 0
        np.testing.assert_allclose(inject_sources(sky, sources, STAMP, gain=np.inf).data - sky.data, model, atol=1e-3)

    @pytest.mark.parametrize('kind', [StdDevUncertainty, VarianceUncertainty, InverseVariance])
    def test_uncertainty_grows(self, kind):
        variance = np.full((40, 40), 9.0)
        ccd = CCDData(np.zeros((40, 40)), unit='adu')
        ccd.uncertainty = StdDevUncertainty(np.sqrt(variance), unit='adu').represent_as(kind)
        result = inject_sources(ccd, draw_sources([[20, 20]], (-8, -8), seed=1), STAMP, gain=4 * u.electron / u.adu)
        expected = variance + render_sources(draw_sources([[20, 20]], (-8, -8), seed=1), (40, 40), STAMP) / 4
        assert type(result.uncertainty) is kind and result.uncertainty.unit == ccd.uncertainty.unit
        np.testing.assert_allclose(result.uncertainty.represent_as(VarianceUncertainty).array, expected, rtol=1e-6)
        assert ccd.uncertainty.represent_as(VarianceUncertainty).array.max() == pytest.approx(9.0)

    def test_frame_is_kept(self):
        ccd = CCDData(np.full((40, 40), 7, dtype=np.uint16), unit='adu', mask=np.zeros((40, 40), dtype=bool))
        ccd.mask[18:22] = True
        ccd.header['OBJECT'] = 'M13'
        result = inject_sources(ccd, draw_sources([[20, 20]], (-8, -8), seed=1), STAMP, noise=NoiseModel(3.0, gain=2))
        assert result.header['OBJECT'] == 'M13' and result.data.dtype == float and (ccd.data == 7).all()
        assert (result.data[18:22] == 7).all() and result.data[23, 20] > 7

    def test_realisations_are_a_generator_and_reproducible(self, sky):
        options = {'n_sources': 20, 'magnitudes': (-9, -6), 'seed': 5}
        many = inject_realisations(sky, STAMP, n_realisations=100_000, **options)
        first = [next(many) for _ in range(2)]
        again = list(inject_realisations(sky, STAMP, n_realisations=2, **options))
        for (one, sources), (two, others) in zip(first, again):
            np.testing.assert_array_equal(one.data, two.data)
            assert sources['x'].tolist() == others['x'].tolist()
        assert first[0][1]['x'].tolist() != first[1][1]['x'].tolist()
        assert first[0][1]['flux'].unit == u.electron

    @pytest.mark.parametrize(('options', 'message'), [
        ({'magnitudes': (5, 3)}, r'magnitudes must be .* got \(5, 3\)'),
        ({'galaxies': 2}, 'galaxies must be a fraction from 0 to 1, got 2'),
        ({'r_eff': (0, 3)}, r'r_eff must be .* got \(0, 3\)')])
    def test_errors_of_the_draw(self, options, message):
        with pytest.raises(ValueError, match=message):
            draw_sources([[1, 1]], **{'magnitudes': (1, 2), **options})

    def test_errors(self, sky):
        sources = draw_sources([[20, 20]], (-8, -8), seed=1)
        with pytest.raises(ValueError, match=r'gain \(electrons per data unit\) or noise must be given .* adu'):
            inject_sources(CCDData(np.ones((40, 40)), unit='adu'), sources, STAMP)
        with pytest.raises(ValueError, match=r'psf must not be larger than the frame, \(20, 20\)'):
            inject_sources(sky[:20, :20], sources, STAMP)
        with pytest.raises(ValueError, match='sources must have the columns kind, x, y, flux'):
            render_sources(Table({'x': [1], 'y': [1]}), (40, 40), STAMP)
        with pytest.raises(ValueError, match='n must be at most'):
            next(inject_realisations(sky, STAMP, n_sources=5000, magnitudes=(1, 2)))
        with pytest.raises(ValueError, match='n_realisations must be at least 1, got 0'):
            next(inject_realisations(sky, STAMP, n_realisations=0, magnitudes=(1, 2)))


def _recover(sky, denoiser, **options):
    return inject_and_recover(sky, denoiser, STAMP, **{'n_realisations': 3, 'n_sources': 110, 'sigma': SIGMA,
                                                       'blank': 'noise', 'n_blank': 3, 'seed': 7, **options})


@pytest.fixture(scope='module')
def recoveries(sky):
    return {denoiser.__name__: _recover(sky, denoiser) for denoiser in (identity, remove_faint, invent, move)}


class TestFaults:
    """Each fault is seen by the measure that is meant to see it; the identity is not."""

    def test_gain_at_equal_false_rate(self, recoveries):
        depth = {}
        for name, recovery in recoveries.items():
            table = compare_depth(recovery, false_rate=20, n_bootstrap=60, reference='raw', seed=1)
            depth[name] = table[table['image'] == 'denoised'][0]
        assert depth['identity']['gain'] == depth['identity']['gain_low'] == depth['identity']['gain_high'] == 0
        # At an equal false rate it keeps only brighter sources.
        assert depth['invent']['gain_high'] < -0.02 and depth['invent']['false_per_megapixel'] <= 20

    def test_removed_sources_are_missed(self, recoveries, sky):
        """At its own false rate such a denoiser has lost what the filter of the data still shows."""
        deep = {}
        for name in ('identity', 'remove_faint'):
            recovery = recoveries[name]
            rows = recovery.injected[(recovery.injected['image'] == 'denoised')]
            response = rows['flux_change'] / rows['flux']
            faint = np.abs(rows['mag'] - matched_filter_depth(STAMP, SIGMA, 3.5)) < 0.4
            bright = rows['mag'] < matched_filter_depth(STAMP, SIGMA, 10)
            deep[name] = np.mean(response[faint]), np.mean(response[bright])
        assert deep['identity'] == pytest.approx((1, 1), abs=0.03)
        assert deep['remove_faint'][0] < 0.5 and deep['remove_faint'][1] == pytest.approx(1, abs=0.1)
        table = compare_depth(recoveries['remove_faint'], purity=0.95, n_bootstrap=30, seed=1)
        lost = table[table['image'] == 'denoised'][0]
        assert lost['gain_high'] < 0

    @pytest.mark.parametrize(('denoiser', 'kind'), [(identity, None), (move, None), (invent, 'invented')])
    def test_residual_sources(self, sky, denoiser, kind):
        table = find_residual_sources(sky, denoiser(sky), STAMP, sigma=SIGMA)
        expected = 200e-6 * sky.data.size
        assert np.sum(table['kind'] == 'removed') <= 1
        if kind:
            assert np.sum(table['kind'] == kind) > 0.8 * expected
        else:
            assert np.sum(table['kind'] == 'invented') == 0

    def test_residuals_show_removed_sources(self, sky):
        sources = draw_sources(injection_positions(sky.shape, 40, spacing=30, border=15, seed=1),
                               [matched_filter_depth(STAMP, SIGMA, 12)] * 2, seed=2)
        frame = inject_sources(sky, sources, STAMP, seed=3)
        erased = _changed(frame, np.full(frame.shape, 100.0))
        table = find_residual_sources(frame, erased, STAMP, sigma=SIGMA)
        assert np.sum(table['kind'] == 'removed') >= 40 and np.sum(table['kind'] == 'invented') <= 1

    def test_invented_sources_on_noise(self):
        rate = {}
        for denoiser in (identity, invent):
            table = noise_detections(denoiser, STAMP, SIGMA, thresholds=[6.0], shape=(300, 300), n_frames=2,
                                     level=100.0, extra={'filtered': lambda noisy, denoised: matched_filter(
                                         denoised, STAMP, sigma=SIGMA, background=100.0)}, seed=1)
            rate[denoiser.__name__] = table[table['image'] == 'filtered'][0]
        assert rate['identity']['n'] == 0
        assert rate['invent']['per_megapixel_low'] > rate['identity']['per_megapixel_high']

    def test_shift(self, recoveries):
        offsets = {}
        for name in ('identity', 'move'):
            rows = recoveries[name].injected
            rows = rows[(rows['image'] == 'denoised') & (rows['score'] > 20)]
            offsets[name] = {axis: bootstrap_interval(rows[axis], 'mean', seed=1) for axis in ('dx', 'dy')}
            assert not offsets[name]['dy'].differs(0, n_sigma=3.5)
        # The same sources and the same noise: they differ by the shift alone.
        assert not offsets['identity']['dx'].differs(0, n_sigma=3.5)
        assert offsets['move']['dx'].value - offsets['identity']['dx'].value == pytest.approx(0.1, abs=0.03)
        assert offsets['move']['dx'].significance() > 4


class TestRecovery:
    def test_tables(self, sky):
        seen = []
        recovery = _recover(sky, identity, n_realisations=2, n_sources=50, galaxies=0.3, zeropoint=30,
                            progress=lambda done, total: seen.append((done, total)))
        assert seen == [(k, 6) for k in range(1, 7)]
        assert recovery.images == ['raw', 'matched filter', 'denoised']
        rows = recovery.injected
        assert len(rows) == 3 * 2 * 50 and set(rows['frame']) == {0, 1} and set(rows['kind']) == {'star', 'galaxy'}
        np.testing.assert_allclose(rows['flux'], 10 ** (-0.4 * (rows['mag'].value - 30)))
        found = np.isfinite(rows['score'])
        assert np.hypot(rows['dx'], rows['dy'])[found].max() <= rows.meta['radius']
        # Nothing of the empty sky is left out but what is too near to the edge.
        assert recovery.area == pytest.approx(2 * sky.data.size / 1e6, rel=0.02)
        assert recovery.false_area == pytest.approx(1.5 * recovery.area)
        bright = (rows['image'] == 'matched filter') & (rows['mag'] < np.percentile(rows['mag'], 20))
        assert np.median(rows['flux_found'][bright] / rows['flux'][bright]) == pytest.approx(1, abs=0.05)
        filtered = rows[rows['image'] == 'matched filter']
        table = measure_completeness(filtered['mag'], filtered['score'] > 5, bins=4)
        assert table['n'].sum() == 100 and rows['dx'].unit == u.pix and rows['mag'].unit == u.mag
        assert table['completeness'][0] > table['completeness'][-1]

    def test_same_seed_same_result(self, sky):
        one, two = (_recover(sky, identity, n_realisations=1, n_sources=30, n_blank=1) for _ in range(2))
        assert one.injected['score'].tolist() == pytest.approx(two.injected['score'].tolist(), nan_ok=True)
        assert one.false['score'].tolist() == two.false['score'].tolist()

    def test_matched_filter_beats_the_raw_frame(self, sky):
        """By 0.9 mag for a seeing of 3 pixels, from theory of the filter alone."""
        table = compare_depth(_recover(sky, identity), false_rate=20, n_bootstrap=50, seed=1)
        raw, filtered, denoised = table
        assert filtered['gain'] == 0 and raw['gain'] == denoised['gain'] and -1.2 < raw['gain'] < -0.6
        assert raw['gain_low'] < raw['gain'] < raw['gain_high'] < 0
        assert (table['m50_low'] <= table['m50']).all() and (table['m90'] < table['m50']).all()
        assert (table['false_per_megapixel'] <= 20).all() and table['m50'].unit == u.mag

    def test_intervals_are_paired(self, sky):
        """Two maps that are nearly the same differ by less than either is uncertain."""
        recovery = _recover(sky, identity, extra={'wide': lambda noisy, denoised: matched_filter(
            noisy, make_psf(3.2, half_size=12), sigma=SIGMA, background=100.0)})
        wide = compare_depth(recovery, false_rate=40, n_bootstrap=60, seed=1)[-1]
        assert wide['gain_low'] <= 0.02 and wide['gain_high'] >= -0.05
        # Independent ones would differ by 1.4 times as much.
        assert wide['gain_high'] - wide['gain_low'] < wide['m50_high'] - wide['m50_low']

    def test_kinds_of_blank_frames(self, sky):
        blanks = [make_noise_frame(sky.shape, SIGMA, level=100.0, unit='electron', seed=k) for k in (11, 12)]
        thresholds = []
        for blank in ('flip', 'noise', blanks):
            recovery = _recover(sky, identity, blank=blank, n_realisations=1, n_sources=30)
            assert recovery.false.meta['blank'] == (blank if isinstance(blank, str) else 'given')
            score = recovery.false['score'][recovery.false['image'] == 'matched filter']
            thresholds.append(threshold_at_false_rate(score, recovery.false_area, 100))
        assert np.ptp(thresholds) < 0.4
        none = _recover(sky, identity, blank=None, n_realisations=1, n_sources=30)
        assert len(none.false) == 0 and none.false_area == 0

    def test_stack(self, sky):
        one = _recover(sky, identity, n_realisations=2, n_sources=30, n_blank=1)
        both = Recovery.stack([one, one])
        assert both.area == pytest.approx(2 * one.area) and both.false_area == pytest.approx(2 * one.false_area)
        assert len(both.injected) == 2 * len(one.injected) and set(both.injected['frame']) == {0, 1, 2, 3}
        assert compare_depth(both, n_bootstrap=5, seed=1)['n'].tolist() == [120] * 3

    def test_uncertainty_and_extra_maps(self, sky):
        def denoiser(ccd):
            result = identity(ccd)
            result.uncertainty = StdDevUncertainty(np.full(ccd.shape, SIGMA))
            return result
        recovery = _recover(sky, denoiser, n_realisations=1, n_sources=30, n_blank=1,
                            extra={'smooth': lambda noisy, denoised: gaussian_filter(denoised.data - 100.0, 1.3)})
        assert recovery.images[-2:] == ['denoised / uncertainty', 'smooth']
        table = compare_depth(recovery, false_rate=40, n_bootstrap=5, seed=1)
        assert table['gain'][-1] == pytest.approx(0, abs=0.3)

    def test_nothing_left_to_find(self, sky):
        recovery = _recover(sky, lambda ccd: _changed(ccd, np.full(ccd.shape, 90.0)), n_realisations=1, n_sources=30,
                            n_blank=1)
        with pytest.warns(AstropyUserWarning, match="m50 of 'denoised' is not known: 0 of 30"):
            table = compare_depth(recovery, false_rate=40, n_bootstrap=5, seed=1)
        assert np.isnan(table['m50'][2]) and np.isnan(table['gain'][2]) and np.isfinite(table['m50'][1])

    def test_thresholds(self):
        assert threshold_at_false_rate([], 1.0, 5.0, floor=2.5) == 2.5
        assert threshold_at_false_rate([5, 4, 3], 1.0, 3.0, floor=2.5) == 2.5
        assert threshold_at_purity([], [5, 4, 3], 0.9) == np.inf
        assert threshold_at_purity([9.0], [5, 4, 3], 0.9) == 5
        # Twice as many false ones where the sources were.
        assert threshold_at_purity([6.0] * 4, [5, 4, 3], 0.7, area_ratio=2) == 5

    @pytest.mark.parametrize(('options', 'message'), [
        ({'blank': 'sky'}, "blank must be 'flip', 'noise', .* got 'sky'"),
        ({'blank': []}, "blank must be 'flip', 'noise', .* got list"),
        ({'n_blank': 0}, 'n_blank must be at least 1, got 0'),
        ({'radius': 50}, 'radius must be positive and less than half of spacing, .* got 50'),
        ({'max_false_rate': 0}, 'max_false_rate must be positive, got 0'),
        ({'n_sources': 5000}, 'n must be at most')])
    def test_errors(self, sky, options, message):
        with pytest.raises(ValueError, match=message):
            _recover(sky, pytest.fail, **options)

    def test_errors_of_the_comparison(self, sky):
        recovery = _recover(sky, identity, n_realisations=1, n_sources=30, n_blank=1, max_false_rate=200)
        for options, message in (({'false_rate': 5, 'purity': 0.9}, 'false_rate or purity must be given, not both'),
                                 ({'false_rate': 0.1}, 'false_rate must be at least .* got 0.1'),
                                 ({'false_rate': 5000}, 'false_rate must be at most .* got 5000'),
                                 ({'purity': 5}, 'purity must be between 0 and 1, got 5'),
                                 ({'n_bootstrap': 1}, 'n_bootstrap must be at least 2, got 1'),
                                 ({'reference': 'hst'}, "reference must be one of 'raw', .* got 'hst'")):
            with pytest.raises(ValueError, match=message):
                compare_depth(recovery, **options)
        with pytest.raises(ValueError, match='recoveries must hold at least one'):
            Recovery.stack([])
        none = _recover(sky, identity, blank=None, n_realisations=1, n_sources=30)
        with pytest.raises(ValueError, match='recovery must have false detections'):
            compare_depth(none)

    def test_real_frame(self, data_path):
        ccd = CCDData.read(next((data_path / 'sfft_decam').glob('DEC-OBS04a*.fits')), unit='adu')
        psf = measure_psf(ccd, method='moffat')
        recovery = inject_and_recover(ccd, lambda ccd: _changed(ccd, gaussian_filter(ccd.data, psf.fwhm / 2.355)), psf,
                                      n_realisations=4, n_sources=20, gain=4.0, spacing=3 * psf.fwhm, seed=1)
        table = compare_depth(recovery, false_rate=60, n_bootstrap=20, seed=1)
        # A Gaussian of the seeing is nearly the matched filter.
        assert table['gain'][2] == pytest.approx(0, abs=0.25)
        assert table['gain'][0] < -0.3
