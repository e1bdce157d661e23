# Licensed under a 3-clause BSD style license - see LICENSE
"""
Tests of pixels that hold no measurement: fill values, regions of one value, overscan, saturation.
"""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.utils.exceptions import AstropyUserWarning
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from astropy_n2v.containers.container import Container
from astropy_n2v.containers.nodata import constant_regions, fill_values, quantisation_step
from astropy_n2v.containers.overscan import overscan
from astropy_n2v.containers.parsing import measured
from astropy_n2v.containers.saturation import saturated_pixels

SHAPE = 160, 176
Y, X = np.mgrid[:SHAPE[0], :SHAPE[1]]
NOTHING = np.zeros(SHAPE, dtype=bool)


def sky(rng, level=200.0, sigma=15.0, stars=20):
    image = rng.normal(level, sigma, SHAPE)
    for _ in range(stars):
        y, x = rng.uniform(0, SHAPE[0]), rng.uniform(0, SHAPE[1])
        image += sigma * rng.uniform(3, 500) * np.exp(-((X - x) ** 2 + (Y - y) ** 2) / 2 / 1.7 ** 2)
    return image.astype(np.float32)


def footprint(share, angle):
    """Outside of a rotated square, with so large a share of all pixels."""
    c, s = np.cos(angle), np.sin(angle)
    dx, dy = X - SHAPE[1] / 2, Y - SHAPE[0] / 2
    distance = np.maximum(np.abs(dx * c + dy * s), np.abs(dy * c - dx * s))
    return distance > np.quantile(distance, 1 - share)


def anything_found(image):
    """Numbers of pixels that are found not to be data, without a header."""
    mask = ~np.isfinite(image)
    parts = fill_values(image, mask), constant_regions(image, mask)[0], overscan(image, mask, {})
    return [0 if found is None else np.count_nonzero(found) for found in parts]


class TestRegions:
    @settings(max_examples=25, deadline=None)
    @given(share=st.floats(0.02, 0.95), angle=st.floats(0, 1.5), value=st.sampled_from([0, -999, 12.5, 2e4]),
           quantised=st.booleans(), level=st.sampled_from([0, 200, 5000]), seed=st.integers(0, 10))
    @example(share=0.0234375, angle=0.0078125, value=0, quantised=False, level=0, seed=0)   # columns in part
    @example(share=0.03, angle=0.03, value=12.5, quantised=True, level=0, seed=0)   # between whole numbers
    @example(share=0.15625, angle=0, value=0, quantised=True, level=0, seed=0)   # lines of a value that was found
    def test_outside_of_a_footprint(self, share, angle, value, quantised, level, seed):
        assume(share > 0.1 or not (quantised and level == value == 0))   # thin wedges of what is a usual value
        image, outside = sky(np.random.default_rng(seed), level), footprint(share, angle)
        image = np.round(image) if quantised else image
        image[outside] = value
        fill = fill_values(image, NOTHING)
        found = NOTHING if fill is None else fill
        regions, constants = constant_regions(image, found)
        found = found if regions is None else found | regions
        assert regions is None or constants == [value]
        # In whole numbers others may have the value by chance, and then corners may not belong to the region.
        tolerance = 0.05 * outside.sum() + 60 if quantised else 0
        assert np.count_nonzero(found != outside) <= tolerance

    @pytest.mark.parametrize('where', [X % 44 < 6, (X // 16 == 3) & (Y // 16 == 4), (X // 8 == 3) & (Y // 8 == 4),
                                       (X == 17) | (Y < 2) | (X == 175), (abs(X - 30) < 5) | (abs(Y - 30) < 5)])
    def test_gaps_blocks_and_lines(self, where, rng):
        for image in sky(rng), np.round(sky(rng)), sky(rng, level=0):
            image[where] = 0
            np.testing.assert_array_equal(constant_regions(image, NOTHING)[0], where)

    def test_two_constants(self, rng):
        image = sky(rng)
        image[:20], image[50:70, 50:70] = 0, -5
        found, constants = constant_regions(image, NOTHING)
        assert found.sum() == 20 * SHAPE[1] + 400 and sorted(constants) == [-5, 0]

    @settings(max_examples=30, deadline=None)
    @given(rate=st.floats(-4, 1), bright=st.floats(0, 4), width=st.floats(2, 60), seed=st.integers(0, 100))
    def test_zeros_of_few_photons_are_data(self, rate, bright, width, seed):
        """Whatever the source: with a sky or almost without, and where the field fades."""
        source = np.exp(-((X - 60) ** 2 + (Y - 90) ** 2) / 2 / width ** 2) + 1e-3
        vignetting = 1 - 0.5 * ((X - 88) ** 2 + (Y - 80) ** 2) / 88 ** 2 / 2
        mean = 10 ** rate * (1 + 10 ** bright * source) * vignetting
        assert anything_found(np.random.default_rng(seed).poisson(mean).astype('f4')) == [0, 0, 0]

    @pytest.mark.parametrize('rate', [0.002, 0.02, 0.5, 5])
    def test_photons_over_their_exposure(self, rate, rng):
        exposure = (1 - 0.5 * np.hypot(X - 88, Y - 80) / 120) * rng.uniform(0.99, 1.01, SHAPE)
        assert anything_found((rng.poisson(rate * exposure) / exposure).astype('f4')) == [0, 0, 0]

    @pytest.mark.parametrize('rate', [0.3, 1, 3])
    def test_outside_of_the_field_of_a_photon_counter(self, rate, rng):
        outside = (X - 88) ** 2 + (Y - 80) ** 2 > 70 ** 2
        found, _ = constant_regions(rng.poisson(np.where(outside, 0, rate)).astype('f4'), NOTHING)
        assert np.mean(found[outside]) > 0.9 and np.mean(found[~outside]) < 0.08

    @settings(max_examples=30, deadline=None)
    @given(sigma=st.sampled_from([0, 0.03, 0.1, 0.2, 0.3, 0.5, 1, 2, 5]), slope=st.sampled_from([0, 0.01, 0.03, 0.2]),
           step=st.sampled_from([1, 16]), star=st.booleans(), seed=st.integers(0, 100))
    def test_coarsely_quantised_images(self, sigma, slope, step, star, seed):
        image = 100 + slope * X + np.random.default_rng(seed).normal(0, 1, SHAPE) * sigma
        image += star * 3000 * np.exp(-((X - 60) ** 2 + (Y - 90) ** 2) / 2 / 3 ** 2)
        assert anything_found((step * np.round(image)).astype('f4')) == [0, 0, 0]

    @pytest.mark.parametrize('make', [
        lambda rng: np.kron(rng.normal(100, 5, (40, 44)), np.ones((4, 4))),
        lambda rng: np.kron(np.round(rng.normal(100, 5, (20, 22))), np.ones((8, 8))),
        lambda rng: np.maximum(rng.normal(0, 5, SHAPE), 0), lambda rng: np.maximum(rng.normal(-8, 5, SHAPE), 0),
        lambda rng: rng.normal(0, 5, SHAPE) * (X > 80) + rng.normal(100, 20, SHAPE) * (X <= 80),
        lambda rng: np.where((X // 40 + Y // 40) % 2, rng.normal(0, 1, SHAPE), rng.normal(0, 9, SHAPE))])
    def test_other_images_that_are_data(self, make, rng):
        assert anything_found(make(rng).astype('f4')) == [0, 0, 0]

    def test_they_are_said_once_and_come_out_as_they_went_in(self, rng):
        cube = np.stack([sky(rng) for _ in range(3)])
        cube[:, :30] = 0
        with pytest.warns(AstropyUserWarning) as caught:
            frame = Container(cube)
        assert len(caught) == 1
        assert f'{3 * 30 * SHAPE[1]} pixels in regions of one constant value (0)' in str(caught[0].message)
        assert frame.mask[:, :30].all() and not frame.mask[:, 30:].any()


class TestFillValues:
    @settings(max_examples=25, deadline=None)
    @given(value=st.sampled_from([-1e30, 1e30, 3.4e38, -3.4e38]), share=st.floats(0.001, 0.98), seed=st.integers(0, 9))
    def test_even_where_they_are_the_majority(self, value, share, seed):
        rng = np.random.default_rng(seed)
        fill, image = rng.random(SHAPE) < share, sky(rng, level=0)
        image[fill] = value
        np.testing.assert_array_equal(fill_values(image, NOTHING), fill)

    def test_repeated_lowest_value(self, rng):
        image = sky(rng)
        image[rng.random(SHAPE) < 0.05] = -32768
        np.testing.assert_array_equal(fill_values(image, NOTHING), image == -32768)
        image = sky(rng)
        image[5, 5] = -32768   # one pixel may be anything
        assert fill_values(image, NOTHING) is None

    @settings(max_examples=20, deadline=None)
    @given(counts=st.floats(0.01, 3), step=st.sampled_from([0.3, 1, 3.5]), seed=st.integers(0, 9))
    def test_repeated_lowest_value_among_few_photons(self, counts, step, seed):
        """Most pixels have none, so that the lower half of the data has no width."""
        rng = np.random.default_rng(seed)
        image = (step * rng.poisson(counts, SHAPE)).astype('f4')
        assert fill_values(image, NOTHING) is None
        fill = rng.random(SHAPE) < 0.05
        image[fill] = -999
        np.testing.assert_array_equal(fill_values(image, NOTHING), fill)

    def test_values_near_the_largest_of_single_precision(self, rng):
        assert fill_values((1e37 * rng.normal(100, 5, SHAPE) / 100).astype('f4'), NOTHING) is None

    def test_faint_wings_of_a_model_are_none(self):
        model = np.exp(-((X - 88.3) ** 2 + (Y - 80.1) ** 2) / 2 / 8.0 ** 2)
        assert model.max() > 1e40 * model.min() and fill_values(model, NOTHING) is None

    @pytest.mark.parametrize('width', [0.4, 0.5, 0.7])
    def test_core_of_a_narrow_model_is_none(self, width):
        """Next to its peak, values fall by large factors from pixel to pixel."""
        assert fill_values(np.exp(-((X - 88) ** 2 + (Y - 80) ** 2) / 2 / width ** 2), NOTHING) is None


class TestOverscan:
    @settings(max_examples=25, deadline=None)
    @given(width=st.integers(6, 20), axis=st.integers(0, 1), end=st.booleans(), step=st.floats(6, 100),
           noise=st.floats(0.1, 0.6), seed=st.integers(0, 9))
    def test_strips_at_an_edge(self, width, axis, end, step, noise, seed):
        rng = np.random.default_rng(seed)
        image, where = sky(rng), NOTHING.copy()
        part = np.s_[-width:] if end else np.s_[:width]
        where[part if axis == 0 else np.s_[:, part]] = True
        image[where] = rng.normal(200 - 15 * step, 15 * noise, where.sum())
        np.testing.assert_array_equal(overscan(image, NOTHING, {}), where)

    def test_between_two_amplifiers(self, rng):
        image = np.where(X < 80, rng.normal(1200, 15, SHAPE), rng.normal(1450, 12, SHAPE))
        image[:, 72:80], image[:, 80:88] = rng.normal(1000, 5, (160, 8)), rng.normal(1350, 3, (160, 8))
        np.testing.assert_array_equal(overscan(image, NOTHING, {}), (X >= 72) & (X < 88))

    @pytest.mark.parametrize('cards', [{'BIASSEC': '[161:176,1:160]'}, {'DATASEC': '[1:160, 1:160]'},
                                       {'TRIMSEC': '[1:160,1:160]'}])
    def test_header(self, cards, rng):
        strip = X >= 160
        # Too little darker to be recognised.
        image = np.where(strip, rng.normal(190, 5, SHAPE), sky(rng))
        assert overscan(image, NOTHING, {}) is None
        np.testing.assert_array_equal(overscan(image, NOTHING, fits.Header(cards)), strip)
        # The card of a frame that was trimmed, or of another.
        assert overscan(sky(rng), NOTHING, cards) is None
        assert overscan(sky(rng), NOTHING, {'BIASSEC': '[177:200,1:160]', 'DATASEC': 'x', 'TRIMSEC': 5}) is None

    def test_what_looks_like_it(self, rng):
        shallow = sky(rng)   # fewer exposures: noisier, at the level of the others
        shallow[:, 160:] = rng.normal(200, 40, (160, 16))
        vignetted = sky(rng) * np.clip(X / 40, 0.2, 1)
        amplifiers = np.where(X < 88, sky(rng), sky(rng) + 300)
        slit = np.where(abs(Y - 80) < 50, sky(rng), sky(rng) - 150)   # as noisy
        for image in shallow, vignetted, amplifiers, slit:
            assert overscan(image.astype('f4'), NOTHING, {}) is None


class TestSaturation:
    def saturated(self, image, header=None, unit=None, **options):
        return saturated_pixels(image, ~np.isfinite(image), header or {}, unit, **options)

    @settings(max_examples=25, deadline=None)
    @given(full=st.sampled_from([4095, 16383, 65520, 30000, 65535 - 312.5]), seed=st.integers(0, 20))
    def test_plateaus_at_the_maximum(self, full, seed):
        rng = np.random.default_rng(seed)
        image = sky(rng, level=0.05 * full, sigma=0.003 * full)
        for x in 40.3, 120.7:
            image += 8 * full * np.exp(-((X - x) ** 2 + (Y - 80.4) ** 2) / 2 / 1.7 ** 2)
        image = np.minimum(image, full).astype('f4')
        found, reason = self.saturated(image)
        np.testing.assert_array_equal(found, image == np.float32(full))
        assert f'the maximum, {full:g}' in reason

    @pytest.mark.parametrize('largest', [4095, 16383, 65520, 65532])
    def test_converters_of_12_and_14_bits(self, largest, rng):
        image = sky(rng, stars=0).astype('u2')
        image[20, 30] = largest   # a single pixel
        mask = measured(image).mask
        assert mask[20, 30] and mask.sum() == 1

    @settings(max_examples=25, deadline=None)
    @given(rate=st.floats(-3, 3), seed=st.integers(0, 50))
    def test_maximum_of_photons_is_no_saturation(self, rate, seed):
        star = 50 * np.exp(-((X - 60) ** 2 + (Y - 90) ** 2) / 2 / 3 ** 2)
        image = np.random.default_rng(seed).poisson(10 ** rate * (1 + star)).astype('f4')
        assert self.saturated(image)[0] is None

    def test_other_maxima_are_none(self, rng):
        image = sky(rng)
        assert self.saturated(image)[0] is None
        image[rng.random(SHAPE) < 0.001] = 9000   # hot pixels of one value, in the dark
        assert self.saturated(image)[0] is None

    def test_levels(self, rng):
        image = sky(rng)
        found, reason = self.saturated(image, {'SATURATE': 1000.0})
        np.testing.assert_array_equal(found, image >= 1000)
        assert reason == 'are at or above SATURATE'
        np.testing.assert_array_equal(self.saturated(image, satlevel=1 * u.kadu, unit=u.adu)[0], image >= 1000)
        assert self.saturated(image, {'SATURATE': 1000.0}, u.electron)[0] is None   # the card is in adu
        with pytest.warns(AstropyUserWarning, match='SATURATE = 10 of the header is not used'):
            assert self.saturated(image, {'SATURATE': 10.0})[0] is None

    def test_it_is_logged(self, rng, caplog):
        image = sky(rng)
        with caplog.at_level('INFO', 'astropy_n2v'):
            mask = measured(CCDData(image, unit='adu', meta={'SATURATE': 1000})).mask
        assert f'{mask.sum()} pixels count as saturated: they are at or above SATURATE' in caplog.text


def test_quantisation_step(rng):
    assert quantisation_step(16 * rng.integers(0, 9, (20, 20))) == 16
    assert quantisation_step(np.ones((3, 3))) == 0 and quantisation_step(np.full((3, 3), np.nan)) == 0
