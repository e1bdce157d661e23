# Licensed under a 3-clause BSD style license - see LICENSE
"""
Blocks of random numbers, as in files that were damaged.
"""

import numpy as np
import pytest
from astropy.utils.exceptions import AstropyUserWarning

from astropy_n2v import denoise
from astropy_n2v.containers.damage import damaged_blocks
from astropy_n2v.containers.parsing import measured

BLOCK = slice(21, 40), slice(9, 44)


def floats_of_random_bits(rng, shape):
    values = rng.integers(0, 2 ** 32, shape, dtype=np.uint32).view(np.float32)
    return np.where(np.isfinite(values), values, 0)


DAMAGE = {
    'huge': lambda rng, shape: rng.uniform(-1e19, 1e19, shape),
    'large': lambda rng, shape: rng.uniform(-1e5, 1e5, shape),
    'positive': lambda rng, shape: rng.uniform(0, 1e6, shape),
    'random bits': floats_of_random_bits,
    'other byte order': lambda rng, shape: rng.normal(100, 5, shape).astype('f4').byteswap().astype('f8'),
}


def sky(rng, shape=(96, 96)):
    return rng.normal(100, 5, shape).astype('f4')


def star(fwhm, peak, shape=(96, 96)):
    y, x = np.indices(shape)
    return peak * np.exp(-4 * np.log(2) * ((y - 40.3) ** 2 + (x - 50.4) ** 2) / fwhm ** 2)


def find(image):
    return damaged_blocks(image, np.zeros(image.shape, dtype=bool))


@pytest.mark.parametrize('kind', DAMAGE)
def test_blocks_of_random_numbers_are_found(rng, kind):
    image = sky(rng)
    image[BLOCK] = DAMAGE[kind](rng, image[BLOCK].shape)
    damaged, places = find(image)
    assert damaged[BLOCK].mean() > 0.95 and np.count_nonzero(damaged) == np.count_nonzero(damaged[BLOCK])
    (place,) = places
    for found, true in zip(place, BLOCK):
        assert abs(found.start - true.start) <= 3 and abs(found.stop - true.stop) <= 3


@pytest.mark.parametrize('fwhm', [1.2, 2.5, 8])
@pytest.mark.parametrize('peak', [1e5, 1e9])
def test_bright_stars_are_no_damage(rng, fwhm, peak):
    light = star(fwhm, peak)
    image = sky(rng) + rng.poisson(light)
    assert find(image) == (None, [])
    assert find(np.minimum(image, 65535.0)) == (None, [])   # saturated
    assert find(image - np.roll(image, (1, 2), (0, 1))) == (None, [])   # a difference of images


@pytest.mark.parametrize('factor', [400, 3000])
def test_large_noise_is_no_damage(rng, factor):
    """Keep the values of parts that are much noisier, as the edges of a mosaic of exposures."""
    image = rng.normal(100, 5, (128, 128))
    image[:, 96:] += factor * rng.normal(0, 5, (128, 32))
    image[:16, :16] += factor * rng.normal(0, 5, (16, 16))
    assert find(image)[0] is None


def test_bright_areas_and_mosaics_are_no_damage(rng):
    y, x = np.indices((96, 96))
    disc = 1e5 * ((y - 48) ** 2 + (x - 48) ** 2 < 30 ** 2)
    assert find(rng.poisson(disc) + rng.normal(0, 3, disc.shape)) == (None, [])
    colours = np.where((y + x) % 2, 1, np.where(y % 2, 0.2, 0.5)) * star(30, 1e6)
    assert find(rng.poisson(colours) + rng.normal(0, 3, disc.shape)) == (None, [])
    assert find(np.full((16, 16), np.nan)) == find(np.zeros((16, 16))) == (None, [])


def test_image_that_is_mostly_such_numbers_is_as_it_is(rng):
    image = sky(rng)
    image[:40] = rng.uniform(-1e6, 1e6, image[:40].shape)
    assert find(image) == (None, [])


def test_the_rest_is_denoised(rng, tiny_denoiser):
    image = sky(rng)
    clean = image.copy()
    image[BLOCK] = rng.uniform(-1e8, 1e8, image[BLOCK].shape)
    with pytest.warns(AstropyUserWarning, match=r'random numbers \(rows 21 to 39, columns 9 to 43\).* do not count'):
        result = denoise(image, tiny_denoiser, audit='off')
    np.testing.assert_array_equal(result[BLOCK], image[BLOCK])
    mask = np.zeros(image.shape, dtype=bool)
    mask[BLOCK] = True
    np.testing.assert_array_equal(result[~mask], denoise(clean, tiny_denoiser, audit='off', mask=mask)[~mask])


def test_plane_of_a_cube_is_named(rng):
    cube = np.stack([sky(rng), sky(rng)])
    cube[1][BLOCK] = rng.uniform(-1e8, 1e8, cube[1][BLOCK].shape)
    with pytest.warns(AstropyUserWarning, match=r'plane \(1,\), rows 21'):
        assert not measured(cube).mask[0].any()
