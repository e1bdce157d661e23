# Licensed under a 3-clause BSD style license - see LICENSE
"""
The audit: clean results pass, each fault is found by the check that is meant for it.
"""

from types import SimpleNamespace

import numpy as np
import pytest
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from astropy_n2v import Denoiser, NoiseModel
from astropy_n2v.audit import Auditor, AuditReport, Finding, audit_result, deviation, least_unexplained
from astropy_n2v.audit.limits import LIMITS, of_many
from astropy_n2v.audit.sample import choose_cutouts
from astropy_n2v.inference.normalization import Normalization, NormalizedImage
from astropy_n2v.inference.recalibration import Recalibration
from astropy_n2v.simulate import make_scene
from astropy_n2v.validation import residual_statistics

SHAPE = 128, 128
SPREAD = 0.1    # of the blind mean on the sky, in units of the noise


def stars(shape, fluxes, seed=0, width=1.3):
    """Stars at random places, and how much light is in each pixel."""
    rng = np.random.default_rng(seed)
    image = np.zeros(shape)
    for flux in fluxes:
        y, x = (rng.integers(8, n - 8) for n in shape)
        image[y, x] += flux
    return gaussian_filter(image, width)


class Result:
    """A posterior whose moments are exactly right, by construction, and ways to spoil it."""

    def __init__(self, shape=SHAPE, seed=0, *, noise=None, spread=SPREAD, level=100.0, strength=1.0, truth=None,
                 valid=None, blind_error=None, actual_noise=1.0):
        rng = np.random.default_rng(seed)
        self.noise = NoiseModel(5.0) if noise is None else noise
        self.strength = strength
        scene = stars(shape, [3e3] * 12) + level if truth is None else truth
        sigma = np.sqrt(np.broadcast_to(self.noise.variance(scene), shape))
        self.spread = spread * sigma + 0.1 * np.clip(scene - level, 0, None)
        if blind_error is None:
            # The truth scatters about what is foreseen, not the other way round.
            self.blind, self.truth = scene, scene + self.spread * rng.normal(size=shape)
        else:
            self.blind, self.truth = scene + blind_error, scene
        self.sigma = np.sqrt(np.broadcast_to(self.noise.variance(self.blind), shape))
        self.data = self.truth + actual_noise * (self.noise.sample(self.truth, seed=rng) - self.truth)
        self.valid = np.ones(shape, dtype=bool) if valid is None else valid
        self.image = NormalizedImage(self.data, self.valid, self.noise, Normalization(level, float(np.median(sigma))))
        self.combine()

    def combine(self):
        prior, noise = self.spread ** 2, self.sigma ** 2
        share, s = prior / (prior + noise), self.strength
        difference = np.where(self.valid, self.data - self.blind, 0)
        foreseen = self.blind + share * difference
        self.mean = np.where(self.valid, s * foreseen + (1 - s) * self.data, self.blind)
        self.std = np.sqrt(share * noise + (1 - s) ** 2 * noise ** 2 / (prior + noise))
        self.innovation = np.where(self.valid, difference / np.sqrt(prior + noise), np.nan)
        return self

    @property
    def part(self):
        return {'mean': self.mean, 'std': self.std, 'blind_mean': self.blind, 'blind_std': self.spread,
                'innovation': self.innovation, 'outlier': np.zeros(self.mean.shape), 'noise_std': self.sigma}

    def audit(self, recalibration=None, **options):
        prediction = SimpleNamespace(**self.part, recalibration=recalibration)
        return audit_result(self.image, prediction, strength=self.strength, **options)

    def names(self, **options):
        return [finding.name for finding in self.audit(**options)[0].findings]


class TestClean:
    @settings(max_examples=15, deadline=None)
    @given(seed=st.integers(0, 10 ** 6), strength=st.sampled_from([1.0, 0.7, 0.2]),
           noise=st.sampled_from([(5.0, None, 0.0), (3.0, 2.0, 0.0), (0.0, 1.0, 0.0), (1.0, 0.3, 60.0)]),
           spread=st.floats(0.03, 1.5), shape=st.sampled_from([(64, 64), (100, 40), (128, 128)]))
    def test_passes(self, seed, strength, noise, spread, shape):
        result = Result(shape, seed, noise=NoiseModel(*noise), spread=spread, strength=strength)
        report, returned = result.audit()
        assert report.summary() == 'ok' and report.worst == 'ok' and report.message() == ''
        assert report.factor == 1 and not returned.any()
        assert report.enlarge(result.mean, result.std) is result.std

    @pytest.mark.parametrize('kind', ['survey', 'crowded', 'low_counts'])
    def test_default_model(self, kind):
        scene = make_scene(kind, (96, 96), seed=3)
        data = np.asarray(scene.observe(seed=4).data)
        prediction = Denoiser.load('default').predict(data, scene.noise)
        report, returned = audit_result(NormalizedImage.prepare(data, scene.noise), prediction)
        assert report.summary() == 'ok' and not returned.any()

    def test_variance_is_that_of_the_validation(self):
        result = Result(level=100.0)
        checks = {check.name: check.value for check in result.audit()[0].checks}
        after = CCDData(result.mean, unit='adu', uncertainty=StdDevUncertainty(result.std))
        table = residual_statistics(CCDData(result.data, unit='adu'), after, noise=result.noise, seed=1)
        assert table['excess'][1] == pytest.approx(checks['removed variance (below 1 sigma)'] ** 2, rel=0.01)

    def test_nothing_is_removed(self):
        report, returned = Result(strength=0.0).audit()
        assert report.summary() == 'ok' and not returned.any()

    @pytest.mark.parametrize('shape', [(8, 8), (8, 300), (1, 40)])
    def test_few_pixels(self, shape):
        """Checks that cannot decide are not made, and find nothing."""
        report, _ = Result(shape, truth=np.full(shape, 100.0)).audit()
        assert report.summary() == 'ok'
        checks = {check.name: check.consequence for check in report.checks}
        assert checks['removed flux (sources)'] == 'not checked' and checks['pixels'] == 'ok'

    @pytest.mark.parametrize('share', [0.05, 0.5])
    def test_masked(self, share):
        rng = np.random.default_rng(1)
        result = Result((160, 160), valid=rng.uniform(size=(160, 160)) < share)
        result.data[~result.valid] = np.nan
        result.blind[5, 5], result.valid[5, 5] = np.nan, False
        assert result.combine().names() == []

    def test_photons(self):
        """Accept single counts where counts are few."""
        for seed, level in enumerate((1e-3, 0.05, 1.0)):
            truth = np.full((200, 200), level)
            result = Result(truth.shape, seed, noise=NoiseModel(0.0, gain=1.0), truth=truth, level=level)
            assert result.names() == []

    @pytest.mark.parametrize('share, expected', [(0.0005, []), (0.004, ['dark pixels'])])
    def test_dark_pixels_that_are_kept_are_noted(self, share, expected):
        result = Result((160, 160))
        dark = np.random.default_rng(2).uniform(size=result.mean.shape) < share
        result.data[dark] -= 8 * result.sigma[dark]
        result.mean[dark], result.std[dark] = result.data[dark], result.sigma[dark]
        result.innovation[dark] = -8
        part = result.part | {'outlier': dark.astype(float)}
        report, _ = audit_result(result.image, SimpleNamespace(**part, recalibration=None))
        assert [finding.name for finding in report.findings] == expected
        assert report.worst == ('note' if expected else 'ok')
        assert 'reject_outliers' in report.message() or not expected
        # Bright ones are stars and cosmic rays.
        part['innovation'] = np.where(dark, 8, part['innovation'])
        assert audit_result(result.image, SimpleNamespace(**part, recalibration=None))[0].findings == ()

    def test_rows_and_whole_agree(self):
        result = Result((150, 130))
        result.mean[100, 7] += 100
        auditor = Auditor(result.image)
        returned = [auditor.rows(rows, {name: values[rows] for name, values in result.part.items()})
                    for rows in (slice(0, 70), slice(70, 99), slice(99, 150))]
        report, whole = result.audit()
        np.testing.assert_array_equal(np.concatenate(returned), whole)
        for own, other in zip(auditor.report().checks, report.checks):
            assert own.name == other.name and own.consequence == other.consequence
            np.testing.assert_allclose(own.value, other.value, rtol=1e-6)

    def test_input_is_not_changed(self):
        result = Result()
        before = {name: values.copy() for name, values in result.part.items()}
        result.mean[3, 4] = before['mean'][3, 4] = np.nan
        result.audit()
        for name, values in result.part.items():
            np.testing.assert_array_equal(values, before[name])


class TestPixels:
    @pytest.mark.parametrize('sign', [-1, 1])
    def test_unexplained_are_returned(self, sign):
        result = Result()
        result.mean[10, 20] += sign * 9 * result.sigma[10, 20]
        report, returned = result.audit()
        assert np.argwhere(returned).tolist() == [[10, 20]]
        assert report.worst == 'returned' and report.n_returned == 1
        assert 'returned as measured' in report.message()

    def test_what_was_replaced_on_purpose_is_not(self):
        result = Result()
        result.mean[10, 20] += 100 * result.sigma[10, 20]
        exempt = np.zeros(SHAPE, dtype=bool)
        exempt[10, 20] = True
        auditor = Auditor(result.image)
        assert not auditor.rows(slice(0, SHAPE[0]), result.part, exempt).any()
        assert auditor.report().summary() == 'ok'

    def test_not_finite_is_refused(self):
        result = Result()
        result.mean[4, 5] = np.nan
        report, returned = result.audit()
        assert report.worst == 'refusal' and returned[4, 5] and returned.sum() == 1
        assert 'not finite' in report.message()

    def test_not_finite_where_masked(self):
        result = Result(valid=np.arange(SHAPE[1]) != 7 * np.ones((SHAPE[0], 1)))
        result.mean[:, 7] = np.nan
        assert result.names() == []

    def test_many_are_refused(self):
        result = Result()
        result.mean[::7, ::7] += 20 * result.sigma[::7, ::7]
        assert result.audit()[0].worst == 'refusal'

    def test_exploded(self):
        """Refuse a single pixel far outside of the range of the data, which would be returned."""
        result = Result()
        result.mean[60, 60] = 5e9
        report, returned = result.audit()
        assert report.worst == 'refusal' and returned[60, 60]
        assert 'range' in [finding.name for finding in report.findings]

    def test_more_than_chance_has(self):
        """Several between 5 sigma and the limit."""
        result = Result()
        result.data[20:100:20, 50] = result.mean[20:100:20, 50] + 5.3 * result.sigma[20:100:20, 50]
        report, returned = result.audit()
        assert not returned.any()
        assert 'explained (faint, above)' in [finding.name for finding in report.findings]

    def test_limit_grows_with_the_image(self):
        assert least_unexplained(10) == 5 < least_unexplained(1e4) < least_unexplained(1e8) < 8

    def test_deviation_of_photons(self):
        """Give the deviation of photons the probability of a Gaussian deviation of its size."""
        from scipy.stats import norm, poisson
        for expected, count in ((0.01, 2), (0.5, 6), (20.0, 50)):
            z = float(deviation(np.array(count - expected), expected, expected))
            assert z == pytest.approx(norm.isf(poisson.sf(count - 1, expected)), abs=0.6)


class TestFlux:
    def test_offset(self):
        result = Result()
        result.mean += 0.1 * 5
        assert {'flux (all)', 'flux (sky)'} <= set(result.names())
        assert result.audit()[0].findings[0].value == pytest.approx(0.1, abs=0.02)

    def test_large_offset_is_refused(self):
        result = Result()
        result.mean += 0.7 * 5
        assert result.audit()[0].worst == 'refusal'

    def test_share_of_sources(self):
        result = Result(truth=100 + stars(SHAPE, [2e5] * 30), spread=0.3)
        result.mean = 100 + 0.98 * (result.mean - 100)
        assert 'flux (sources)' in result.names()

    @pytest.mark.parametrize('sign', [-1, 1])
    def test_star(self, sign):
        """Find a star that was erased, or invented."""
        result = Result(truth=np.full(SHAPE, 100.0))
        result.mean += sign * stars(SHAPE, [15 * 5 * 4.6], seed=2)
        assert any(name.startswith('flux in boxes') for name in result.names())

    def test_part_of_the_image(self):
        result = Result()
        result.mean[64:, 64:] += 0.35 * 5
        assert 'flux in boxes (33)' in result.names()

    @pytest.mark.parametrize('spoil', [lambda mean: gaussian_filter(mean, 1.0), lambda mean: np.roll(mean, 1, axis=1)],
                             ids=['blur', 'shift'])
    def test_structure_is_displaced(self, spoil):
        result = Result(truth=100 + stars(SHAPE, [5e3] * 20))
        result.mean = spoil(result.mean)
        assert result.audit()[0].worst != 'ok'


class TestVariance:
    @pytest.mark.parametrize('factor, word', [(0.7, 'smaller'), (1.4, 'larger')])
    def test_noise_is_wrong(self, factor, word):
        report, _ = Result(actual_noise=factor).audit()
        found = [finding for finding in report.findings if finding.name.startswith('removed variance')]
        assert found and f'noise is {word}' in found[0].message
        assert found[0].value == pytest.approx(factor, abs=0.1)
        assert 'where the signal is below 1 sigma is' in found[0].message
        assert report.factor > 1   # either way the statement cannot be trusted

    def test_gross_noise_is_refused(self):
        assert Result(actual_noise=3.0).audit()[0].worst == 'refusal'

    def test_gain_is_wrong(self):
        """Find a wrong gain: the sky agrees, bright parts do not."""
        y, x = np.mgrid[:SHAPE[0], :SHAPE[1]]
        truth = 100 + 4000 * (x > 64)
        right, wrong = NoiseModel(5.0, gain=1.0, zero_point=100.0), NoiseModel(5.0, gain=4.0, zero_point=100.0)
        result = Result(truth=truth, noise=wrong, blind_error=0.0, spread=0.05)
        result.spread[:] = 2.0
        result.data[:] = right.sample(truth, seed=1)
        report, _ = result.combine().audit()
        assert any('gain' in finding.message for finding in report.findings)
        assert not any('-inf' in finding.name for finding in report.findings)
        enlarged = report.enlarge(result.mean, result.std) / result.std
        assert np.median(enlarged[:, :60]) == 1 and np.median(enlarged[:, 70:]) > 1.4

    def test_position(self):
        """Noise that differs from place to place."""
        result = Result()
        result.data[:32, :32] += np.random.default_rng(5).normal(0, 5, (32, 32))
        assert 'innovations (blocks)' in result.combine().names()

    def test_structure(self):
        """Find a spread that is too small where the image is steep."""
        truth = 100 + 300 * np.sin(np.arange(128) / 2) * np.ones((128, 1)) * (np.arange(128)[:, None] > 64)
        result = Result(truth=truth, spread=0.5)
        result.spread[65:] /= 3
        result.noise = NoiseModel(5.0)
        names = result.combine().names()
        assert any('gradient' in name for name in names)
        assert result.audit()[0].factor > 1.2

    def test_masks(self):
        valid = np.ones(SHAPE, dtype=bool)
        valid[::8, ::4] = False
        result = Result(valid=valid)
        result.data[1::8] += np.random.default_rng(5).normal(0, 7, result.data[1::8].shape)
        assert 'innovations (next to masked pixels)' in result.combine().names()

    def test_only_judged_pixels_judge(self):
        """Judge by other pixels than a model was trained on, which agree with it too well."""
        held_out = np.random.default_rng(2).uniform(size=SHAPE) < 0.2
        result = Result()
        result.data = np.where(held_out, result.data, result.blind + 0.7 * (result.data - result.blind))
        result.image = result.image.observed(result.data)
        assert any('removed variance' in name for name in result.combine().names())
        assert not any('variance' in name or 'innovations' in name for name in result.names(held_out=held_out))


class TestPrediction:
    def test_invented_structure(self):
        """Fluctuations of the blind mean that the data do not have."""
        rng = np.random.default_rng(3)
        error = gaussian_filter(rng.normal(size=SHAPE), 1) / 0.28 * 0.25 * 5
        result = Result(blind_error=error)
        names = result.names()
        assert 'innovations and blind mean (sky)' in names and 'sky uncertainty' in names
        report, _ = result.audit()
        enlarged = report.enlarge(result.mean, result.std) / result.std
        assert np.median(enlarged) == pytest.approx(2.5, abs=0.6)

    def test_sky_is_not_checked_where_noise_is_not_white(self):
        for options in ({'hole': (3, 3)}, {'correlation': np.eye(3)[1:2].repeat(3, axis=0)}):
            checks = {check.name: check for check in Result().audit(**options)[0].checks}
            assert checks['sky uncertainty'].consequence == 'not checked'

    def test_correlated_noise(self):
        result = Result()
        noise = np.random.default_rng(4).normal(size=SHAPE)
        noise = noise + 0.5 * np.roll(noise, 1, axis=1)
        result.data = result.truth + 5 * noise / noise.std()
        result.image = result.image.observed(result.data)
        assert 'correlation (0, 1)' in result.combine().names()
        measured = np.zeros((3, 3))
        measured[1] = 0.4, 1, 0.4
        assert not any('correlation' in name for name in result.names(correlation=measured))

    @pytest.mark.parametrize('hole', [(3, 3), (1, 3)])
    def test_correlation_unknown(self, hole):
        report, _ = Result().audit(hole=hole)
        assert all(check.consequence == 'not checked' for check in report.checks if check.name[:11] == 'correlation')

    def test_stated_uncertainty(self):
        result = Result()
        result.std = np.where(result.truth > 130, 0.5, 1) * result.std
        report, _ = result.audit()
        assert report.findings[0].name == 'stated uncertainty' and report.factor == pytest.approx(2, rel=0.05)

    @pytest.mark.parametrize('factor, offset, name', [
        (9.0, 0.0, 'correction (spread)'), (0.1, 0.0, 'correction (spread)'), (1.0, -0.8, 'correction (mean)')])
    def test_correction(self, factor, offset, name):
        recalibration = Recalibration(np.array([-1.0, 100.0]), np.full(2, offset), np.full(2, factor), 1.0)
        report, _ = Result().audit(recalibration)
        assert [finding.name for finding in report.findings] == [name] and report.worst == 'note'
        small = Recalibration(np.array([-1.0, 100.0]), np.full(2, offset / 4), np.full(2, factor ** 0.3), 1.0)
        assert Result().audit(small)[0].worst == 'ok'

    @pytest.mark.parametrize('rms, word', [(1.3, 'larger'), (0.8, 'smaller')])
    def test_noise_before_correction(self, rms, word):
        """Find wrong noise that a correction has hidden."""
        recalibration = Recalibration(np.array([-1.0, 100.0]), np.zeros(2), np.ones(2), rms)
        report, _ = Result().audit(recalibration)
        assert [finding.name for finding in report.findings] == ['noise']
        assert f'noise is {word}' in report.message() and report.factor == max(rms, 1)
        # Where innovations are no noise, they do not judge it.
        assert Result(spread=0.6).audit(recalibration)[0].summary() == 'ok'


class TestGrowth:
    """Noise that grows with the signal, where the noise model has none of it."""

    def galaxies(self, noise, actual):
        y, x = np.indices((128, 128))
        truth = 100.0 + sum(60 * np.exp(-((y - 40) ** 2 + (x - at) ** 2) / 2 / 9 ** 2) for at in (30, 90))
        result = Result((128, 128), noise=noise, truth=truth, spread=0.1, blind_error=0.0)
        result.data = actual.sample(truth, seed=1)
        result.image = result.image.observed(result.data)
        return result.combine()

    def test_is_measured(self):
        actual = NoiseModel(3.0, gain=0.5, zero_point=90.0)
        report, _ = self.galaxies(NoiseModel(np.sqrt(actual.variance(100.0))), actual).audit()
        variance, slope = report.growth
        assert variance == pytest.approx(actual.variance(100.0), rel=0.1) and slope == pytest.approx(2, rel=0.2)

    @pytest.mark.parametrize('noise, actual', [
        (NoiseModel(5.0), NoiseModel(5.0)), (NoiseModel(5.0), NoiseModel(7.0)),
        (NoiseModel(3.0, gain=0.5), NoiseModel(3.0, gain=0.4))])
    def test_is_none(self, noise, actual):
        assert self.galaxies(noise, actual).audit()[0].growth is None


class TestReport:
    def test_pixels_that_keep_their_uncertainty(self):
        report = AuditReport(levels=np.array([0.0, 10.0]), factors=np.array([1.0, 3.0]))
        mean, std = np.array([0.0, 5.0, 20.0, 20.0], dtype='f4'), np.ones(4, dtype='f4')
        assert report.enlarge(mean, std).tolist() == [1, 2, 3, 3] and report.enlarge(mean, std).dtype == np.float32
        assert report.enlarge(mean, std, np.arange(4) == 2).tolist() == [1, 2, 1, 3]

    def test_summary(self):
        names = [f'check {i} (part)' for i in range(9)]
        found = [Finding(name, 2, 1, 9, 0, 5, 'warning', f'{name} is wrong') for name in names]
        report = AuditReport((*found, Finding('last', 2, 1, 9, 0, 5, 'refusal', 'worst')))
        assert report.worst == 'refusal' and report.summary().startswith('refusal: last, check 0, ')
        assert len(report.summary()) <= 68 and report.message().startswith('worst; check 0 (part) is wrong')

    def test_message_has_one_of_each_mechanism(self):
        found = [Finding(name, 2, 1, significance, 0, 5, 'warning', f'[{name}]') for name, significance in (
            ('noise', 9), ('removed variance (1 to 3 sigma)', 20), ('innovations (blocks)', 8), ('flux (sky)', 7),
            ('flux in boxes (9)', 10), ('stated uncertainty', 6))]
        report = AuditReport(tuple(found))
        assert report.message() == ('[removed variance (1 to 3 sigma)]; [flux in boxes (9)] (and 4 other findings, see '
                                    'full_output)')
        assert report.message('so') == 'so; [flux in boxes (9)] (and 2 other findings, see full_output)'
        assert report.message('').startswith('[flux in boxes (9)]; [stated uncertainty] (and 1 other finding, ')
        assert AuditReport(tuple(found[:3])).message('so') == 'so' and AuditReport(tuple(found[:3])).message('') == ''

    def test_table(self):
        report, _ = Result().audit()
        table = report.table()
        assert len(table) == len(report.checks) and set(table['consequence']) <= {'ok', 'not checked'}
        assert len(AuditReport().table()) == 0
        value = Table(table, copy=True)[:1]
        value['value'] = 1 / 3
        assert '0.3333 ' in str(value['name', 'value', 'limit'])

    def test_every_check_has_limits(self):
        names = {check.name for check in Result().audit()[0].checks}
        for name in names - {'pixels', 'range'}:
            assert name in LIMITS or name.split(' (')[0] in LIMITS

    def test_incomplete_prediction(self):
        result = Result()
        result.innovation = None
        with pytest.raises(ValueError, match='got one without innovation'):
            result.audit()


class TestSample:
    @pytest.mark.parametrize('shape', [(64, 64), (500, 500), (1024, 1024), (8, 100_000), (100_000, 8), (300, 3000)])
    def test_cutouts(self, shape):
        starts, size = choose_cutouts(np.ones(shape, dtype=bool))
        assert 1 <= len(starts) <= 9 and len(starts) * size[0] * size[1] <= 250_000
        assert len(set(starts)) == len(starts)
        for y, x in starts:
            assert 0 <= y <= shape[0] - size[0] and 0 <= x <= shape[1] - size[1]

    def test_go_where_the_data_are(self):
        valid = np.zeros((1500, 1500), dtype=bool)
        valid[700:1000, 200:500] = True
        starts, (height, width) = choose_cutouts(valid)
        inside = sum(valid[y:y + height, x:x + width].sum() for y, x in starts)
        assert inside > 0.5 * valid.sum()

    def test_large_image(self):
        result = Result((700, 640), truth=np.full((700, 640), 100.0))
        assert result.names() == []
        result.mean[690, 5] += 50   # outside of all cut-outs
        assert result.audit()[1][690, 5]

    def test_largest_of_many(self):
        rng = np.random.default_rng(0)
        largest = [of_many(np.abs(rng.normal(size=1000)).max(), 1000) for _ in range(300)]
        assert np.mean(np.array(largest) > 2.5) < 0.05
