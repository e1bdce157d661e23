# Licensed under a 3-clause BSD style license - see LICENSE
"""
Measurements of the sky of a plane, each quantity once.
"""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from astropy_n2v import NoiseModel, noise_autocorrelation
from astropy_n2v.background import background_level
from astropy_n2v.blind_spot import find_hole, warn_of_patterns
from astropy_n2v.containers.container import Container
from astropy_n2v.noise import SkySample, estimation, find_steps, measure_sky, photon_noise, resolve, sky, smoothed_noise
from astropy_n2v.noise.blocks import valid_image
from astropy_n2v.planes import find_planes


@pytest.fixture
def image(rng):
    return np.round(rng.normal(100, 5, (96, 128)))


@pytest.fixture
def calls(monkeypatch):
    """Record the names of the functions that measure a whole plane, as they are called."""
    names = []

    def count(module, name):
        function = getattr(module, name)

        def counted(*args, **kwargs):
            names.append(name)
            return function(*args, **kwargs)
        monkeypatch.setattr(module, name, counted)

    for name in 'background_level', 'find_steps', 'photon_noise', 'smoothed_noise', 'autocorrelation_of':
        count(sky, name)
    count(estimation, '_block_variances')
    count(resolve, '_in_units_of')
    return names


def test_sample_measures_as_the_functions_do(image):
    mask = image > 112
    sample = SkySample(image, mask)
    assert sample.level == background_level(image, mask)
    assert sample.steps == find_steps(image, mask)
    assert sample.photons() is photon_noise(image, mask) is None
    np.testing.assert_array_equal(sample.autocorrelation, noise_autocorrelation(image, mask))
    smooth = gaussian_filter(image, 3)
    assert SkySample(smooth, mask).smoothed.sigma == smoothed_noise(smooth, mask).sigma
    np.testing.assert_array_equal(sample.image(), valid_image(image, mask))
    assert SkySample.of(image).level == background_level(image)


def test_some_parts_stand_for_a_large_image(rng):
    image = rng.normal(100, 5, (64, 1500)).astype('f4')
    image[10, 10] = np.nan
    sample = SkySample(image, np.zeros(image.shape, dtype=bool))
    parts = sample.cutouts()
    assert parts.values.shape == (64, 1344) and np.isnan(parts.values[10, 10]) and parts.mask[10, 10]
    assert parts.level == background_level(valid_image(image, None)) != sample.level
    small = SkySample(image[:, :1000], np.zeros((64, 1000), dtype=bool))
    assert small.cutouts() is small
    assert measure_sky(image).background == parts.level


def test_nothing_is_measured_twice(image, calls):
    planes, _ = find_planes(Container(image))
    find_hole(planes)
    warn_of_patterns(planes)
    assert planes[0].noise.source == 'image'
    for name in 'background_level', 'find_steps', 'smoothed_noise', '_block_variances':
        assert calls.count(name) == 1, name


@pytest.mark.parametrize('given', [{'noise': NoiseModel(5.0)}, {'gain': 100.0, 'readnoise': 500.0}])
def test_given_noise_is_compared_once(image, given, calls):
    image = image - 100 * ('noise' not in given) + 0.3 * np.random.default_rng(1).normal(size=image.shape)
    planes, _ = find_planes(Container(image), **given)
    assert find_hole(planes) == (1, 1)
    assert planes[0].noise.origin.size.name == 'STATEMENT'
    assert calls.count('_in_units_of') == calls.count('_block_variances') == 1


def test_another_noise_is_compared_anew(image):
    sample = SkySample(image, np.zeros(image.shape, dtype=bool))
    assert [resolve.looks_white(sample, NoiseModel(sigma)) for sigma in (5.0, 8.0, 5.0)] == [True, False, True]
    assert not resolve.looks_white(sample, NoiseModel(np.full(image.shape, 8.0)))


def test_part_without_a_pixel_has_the_noise_that_was_given(rng):
    gain = np.ones((64, 128))
    gain[:, 64:] = 2.0
    image = rng.normal(0, 5, gain.shape)
    image[:, 64:] = np.nan
    noise = resolve.resolve_noise(image, np.isnan(image), gain=gain, readnoise=5.0)
    assert noise.source == 'gain+readnoise' and np.unique(noise.sigma).tolist() == [2.5, 5]


def test_sample_of_a_plane_follows_its_values(image):
    plane, = find_planes(Container(image))[0]
    assert plane.sky.level == pytest.approx(100, abs=0.5)
    plane.values = image + 50
    assert plane.sky.level == pytest.approx(150, abs=0.5)
