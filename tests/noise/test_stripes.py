# Licensed under a 3-clause BSD style license - see LICENSE
"""
Patterns of the read-out: detection, subtraction, and separation from light.
"""

import logging
import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.utils.exceptions import AstropyUserWarning

from astropy_n2v import denoise
from astropy_n2v.blind_spot import warn_of_patterns
from astropy_n2v.containers.container import Container
from astropy_n2v.noise import Patterns, find_patterns
from astropy_n2v.planes import find_planes
from astropy_n2v.simulate import make_scene, random_scene
from astropy_n2v.simulate import random_scenes as simulate_random

SIZE, SKY, READNOISE = 512, 200.0, 5.0
SIGMA = np.sqrt(SKY + READNOISE ** 2)


@pytest.fixture(scope='module')
def field():
    """Make a survey field."""
    return make_scene('survey', (SIZE, SIZE), seed=11).truth


def make_light(name):
    """Make light that must not be mistaken for a pattern."""
    y, x = np.indices((SIZE, SIZE))
    return SIGMA * {'none': 0 * y,
                    'galaxy': 100 * np.exp(-np.hypot(x - 240, 1.4 * (y - 270)) / 24),
                    'trail': 20 * np.exp(-0.5 * ((y - 200.3) / 1.4) ** 2),
                    'gradient': 20 * (y / SIZE + 0.3 * x / SIZE + 0.5 * (y / SIZE) ** 2),
                    'step': np.where(x < SIZE // 2, 0, 5)}[name]


def observe(truth, seed):
    rng = np.random.default_rng(seed)
    return rng.poisson(truth) + rng.normal(0, READNOISE, truth.shape)


@pytest.fixture(scope='module')
def striped():
    """Truth and data of a field with offsets of rows."""
    truth = make_scene('survey', (256, 256), seed=3).truth
    return truth, observe(truth, 5) + 0.5 * SIGMA * np.random.default_rng(4).normal(size=(256, 1))


def row_means(error):
    return np.std(error.mean(axis=1))


class TestOffsets:
    @pytest.mark.parametrize('name', ['none', 'galaxy', 'trail', 'gradient', 'step'])
    @pytest.mark.parametrize('axis', ['rows', 'columns'])
    def test_are_removed_and_light_is_not(self, field, name, axis):
        light = make_light(name)
        truth = field + light
        data = observe(truth, 6)
        assert Patterns.find(data) is None and Patterns.find(data.T) is None
        before, after = [], []
        for seed in range(2):
            offsets = 0.5 * SIGMA * np.random.default_rng(seed).normal(size=(SIZE, 1))
            striped = data + offsets
            found = Patterns.find(striped if axis == 'rows' else striped.T)
            assert [stripes.axis for stripes in found.stripes] == [axis]
            assert found.stripes[0].amplitude == pytest.approx(0.5 * SIGMA, rel=0.15)
            model = np.broadcast_to(found.model() if axis == 'rows' else found.model().T, truth.shape)
            before.append(row_means(striped - truth))
            with warnings.catch_warnings():
                warnings.simplefilter('ignore', AstropyUserWarning)
                result = denoise(striped if axis == 'rows' else striped.T, audit='warn')
            result = result if axis == 'rows' else result.T
            after.append(row_means(result - truth))
        assert np.sqrt(np.mean(np.square(after))) < np.sqrt(np.mean(np.square(before))) / 5
        if name in ('galaxy', 'trail', 'step'):
            # Residuals of the offsets, of either sign, in flux and in the width of a trail.
            left = offsets - model if name != 'trail' else -model
            weight = light - light.mean()   # on the background
            assert abs(np.sum(left * weight) / np.sum(light * weight)) < 0.005
        if name == 'trail':
            y = np.arange(SIZE)[:, None] - 200.3
            assert abs(np.sum(model * light * (y ** 2 - 1.4 ** 2 / 2)) / np.sum(light ** 2 * 1.4 ** 2)) < 0.005

    @pytest.mark.parametrize('amplitude', [0.2, 3.0])
    def test_error_is_stated(self, amplitude, rng):
        offsets = amplitude * rng.normal(size=(SIZE, 1))
        found = Patterns.find(rng.normal(size=(SIZE, SIZE)) + offsets)
        assert np.std(found.model() - offsets) == pytest.approx(np.mean(found.deviation()), rel=0.4)

    def test_parts_of_rows(self, rng):
        """Offsets of the parts of rows of two amplifiers are found separately."""
        offsets = np.repeat(rng.normal(size=(256, 2)), 128, axis=1)
        data = rng.normal(size=(256, 256))
        found = Patterns.find(data + offsets)
        assert len(found.stripes) == 1 and found.stripes[0].edges == (0, 128, 256)
        assert np.std(found.remove(data + offsets) - data) < 0.25

    def test_rows_and_columns(self, rng):
        data = rng.normal(size=(256, 200)).astype('f4')
        striped = data + (0.5 * rng.normal(size=(256, 1)) + rng.normal(size=200)).astype('f4')
        found = Patterns.find(striped)
        clean = found.remove(striped)
        assert [stripes.axis for stripes in found.stripes] == ['rows', 'columns'] and clean.dtype == np.float32
        assert np.std(clean - data - np.mean(clean - data)) < 0.3
        assert 'offsets of rows, rms 0.' in found.describe()

    @pytest.mark.parametrize(('width', 'seed'), [(0.6, 2), (1.0, 1), (1.0, 5), (1.5, 6), (1.5, 7)])
    def test_lines_of_the_night_sky_are_light(self, width, seed):
        """Keep lines of a long-slit spectrum, which whole columns share, out of the offsets."""
        rng = np.random.default_rng(seed)
        x, spectrum = np.arange(512), np.zeros(512)
        for height, centre in zip(rng.exponential(3, 150), rng.uniform(0, 512, 150)):
            spectrum += height * np.exp(-0.5 * ((x - centre) / width) ** 2)
        data = observe(np.broadcast_to(SKY + SIGMA * spectrum, (256, 512)), 3)
        assert Patterns.find(data) is None and Patterns.find(data.T) is None

    @pytest.mark.parametrize('seed', [95023, 95030, 95035, 95044])
    def test_lines_that_repeat_by_chance_are_light(self, seed, monkeypatch):
        monkeypatch.setattr(simulate_random, 'RANDOM_FIELDS', {'spectrum': 1.0})
        observation = simulate_random.random_observation((200, 300), seed=seed)
        assert Patterns.find(observation.data, observation.mask) is None

    def test_masked_pixels(self, rng):
        data = rng.normal(size=(256, 256)) + 0.5 * rng.normal(size=(256, 1))
        mask = rng.random(data.shape) < 0.1
        mask[:, 30:60] = True
        mask[100:110] = True
        spoiled = np.where(mask, 1e6, data)
        spoiled[5, 5] = np.nan
        model = Patterns.find(spoiled, mask).model()
        expected = Patterns.find(data).model()
        usable = ~mask.all(axis=1)
        assert np.std((model - expected)[usable]) < 0.15 and np.abs(model[~usable]).max() == 0

    def test_bad_input(self):
        with pytest.raises(ValueError, match='values must be two-dimensional, got 3 dimensions'):
            Patterns.find(np.zeros((2, 64, 64)))
        with pytest.raises(ValueError, match='mask must have the shape of values'):
            Patterns.find(np.zeros((64, 64)), np.zeros((64, 65)))


class TestPeriods:
    @pytest.mark.parametrize('period, amplitude', [(2, 0.05), (2, 3.0), (8, 0.2), (3, 0.3)])
    def test_found(self, period, amplitude, rng):
        pattern = rng.normal(size=period)
        pattern = amplitude * ((pattern - pattern.mean()) / pattern.std())[np.arange(256) % period]
        found = find_patterns(rng.normal(size=(256, 256)) + pattern, np.zeros((256, 256), bool), {})
        assert [(stripes.axis, stripes.period) for stripes in found.stripes] == [('columns', period)]
        assert np.std(found.model() - pattern) < 0.02

    def test_mosaic_is_none(self, rng):
        data = rng.normal(size=(256, 256))
        data[::2, ::2] += 5
        assert find_patterns(data, np.zeros(data.shape, bool), {}) is None
        columns = rng.normal(size=(256, 256)) + 5 * (np.arange(256) % 2)
        assert find_patterns(columns, np.zeros(data.shape, bool), {'BAYERPAT': 'RGGB'}) is None

    def test_photons_and_coarse_steps_have_none(self, rng):
        """Nothing is subtracted from counts, and rounded noise does not show its offsets."""
        offsets = 0.3 * rng.normal(size=(256, 1))
        assert find_patterns(np.round(rng.normal(0, 0.3, (256, 256)) + offsets), np.zeros((256, 256), bool), {}) is None


class TestLight:
    @pytest.mark.parametrize('seed', range(40))
    def test_scenes_have_no_patterns(self, seed):
        assert Patterns.find(random_scene((128, 128), seed=400 + seed).observe(seed=seed).data) is None

    @pytest.mark.parametrize('name', ['ccdproc/a8280271.fits', 'sfft_decam/DEC-OBS04a.mini.fits', 'blast/SDSS_r.fits',
                                      'm13_blue/M13_blue_0001.fits', 'hst_nicmos/image.fits', 'astropy_ws/w5.fits'])
    def test_real_frames(self, name, data_path):
        with fits.open(data_path / name) as hdus:
            image = next(hdu.data for hdu in hdus if hdu.data is not None)
        assert Patterns.find(np.asarray(image, float)) is None

    def test_pattern_of_a_real_detector(self, data_path):
        """Find a read-out pattern with a period of 16 rows, at some hundredths of the noise."""
        image = fits.getdata(data_path / 'arcsat' / 'light_g_03.fits.gz')
        found = find_patterns(image.astype(float), np.zeros(image.shape, bool), {})
        assert [(stripes.axis, stripes.period) for stripes in found.stripes] == [('rows', 16)]


class TestDenoise:
    def test_result_has_no_stripes(self, striped, caplog):
        truth, data = striped
        mask = np.zeros(data.shape, bool)
        mask[50, 60:70] = True
        with warnings.catch_warnings(), caplog.at_level(logging.INFO, 'astropy_n2v'):
            warnings.simplefilter('error', AstropyUserWarning)
            result = denoise(CCDData(data, unit='electron', mask=mask, header=fits.Header()))
        assert row_means(result.data - truth) < row_means(data - truth) / 5
        assert 'taken off: offsets of rows, rms 0.' in caplog.text
        assert 'taken off: offsets of rows, rms 0.' in str(result.header['HISTORY'])
        assert result.header['N2VSIGMA'] == pytest.approx(SIGMA, rel=0.05)
        np.testing.assert_array_equal(result.data[mask], data[mask])
        pull = ((result.data - truth) / result.uncertainty.array)[~mask]
        assert 0.6 < np.sqrt(np.mean(pull ** 2)) < 1.2   # of few rows, the error of the offsets is rather overstated

    def test_strength(self, striped):
        _, data = striped
        full, half, none = (denoise(data, strength=strength, noise=None, gain=1.0) for strength in (1.0, 0.5, 0.0))
        np.testing.assert_array_equal(none, data)
        np.testing.assert_allclose(half, (full + data) / 2, atol=0.01 * SIGMA)

    def test_planes(self, striped):
        _, data = striped
        plane, = find_planes(Container(np.round(data)), gain=1.0)[0]
        assert plane.noise.quantum == 1 and plane.patterns.stripes[0].axis == 'rows'
        with warnings.catch_warnings():
            warnings.simplefilter('error', AstropyUserWarning)
            warn_of_patterns([plane])
