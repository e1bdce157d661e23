# Licensed under a 3-clause BSD style license - see LICENSE
"""
Single pixels that no point-spread function can have made.
"""

import numpy as np
import pytest
from scipy.special import erf

from astropy_n2v import NoiseModel
from astropy_n2v.inference.normalization import NormalizedImage
from astropy_n2v.inference.outliers import single_pixel_outliers

NOISE = NoiseModel(5.0, gain=1.0)


def field(fwhm, rng, n=150, shape=(256, 256)):
    """Stars of Gaussian profile integrated over the pixels, a third of them in the middle of one."""
    truth = np.full(shape, 200.0)
    sigma = fwhm / 2.3548
    for i, (y, x, flux) in enumerate(zip(*rng.uniform(5, shape[0] - 6, (2, n)), 10 ** rng.uniform(2, 6.5, n))):
        y, x = (round(y), round(x)) if i % 3 == 0 else (y, x)
        profiles = [np.diff(erf((np.arange(size + 1) - 0.5 - c) / sigma / np.sqrt(2))) / 2
                    for size, c in zip(shape, (y, x))]
        truth += flux * np.outer(*profiles)
    return truth


def find(data, mask=None):
    return single_pixel_outliers(NormalizedImage.prepare(data, NOISE, mask))


@pytest.mark.parametrize('fwhm', [1.0, 1.1, 1.2, 1.3, 1.4, 1.6, 2.5])
@pytest.mark.parametrize('sign', [1, -1])
def test_stars_stay(fwhm, sign, rng):
    """Dark ones, too, as of difference images."""
    truth = field(fwhm, rng)
    noise = rng.normal(0, np.sqrt(truth + 25))
    assert not find(sign * (truth - 200) + 200 + noise).any()


def test_a_sharp_star_among_broad_ones_stays(rng):
    truth = field(4.0, rng, n=40) + field(1.2, rng, n=5) - 200
    assert not find(rng.poisson(truth) + rng.normal(0, 5, truth.shape)).any()


@pytest.mark.parametrize('sign', [1, -1])
@pytest.mark.parametrize('fwhm', [1.2, 3.0])
def test_single_pixels_are_found(fwhm, sign, rng):
    truth = field(fwhm, rng, n=40)
    y, x = np.mgrid[8:250:24, 8:250:24].reshape(2, -1)
    data = rng.poisson(truth) + rng.normal(0, 5, truth.shape)
    data[y, x] += sign * 30 * np.sqrt(truth[y, x] + 25)
    found = find(data)
    assert found[y, x].mean() > 0.8
    found[y, x] = False
    assert found.sum() <= 1


def test_frequent_misreadings_are_found(rng):
    """Find small ones, too, and those beside each other, where noise alone would make far fewer."""
    truth = rng.normal(200, 15, (256, 256))
    misread = rng.random(truth.shape) < 0.01
    found = find(truth - misread * rng.uniform(75, 110, truth.shape))   # 5 to 7 standard deviations
    assert found[misread].mean() > 0.9
    assert found[~misread].sum() < 0.1 * misread.sum()
    small = truth - misread * 60   # 4 standard deviations
    image = NormalizedImage.prepare(small, NOISE)
    assert single_pixel_outliers(image)[misread].mean() > 0.5
    assert single_pixel_outliers(image, frequent=False)[misread].mean() < 0.3
    # As many stars of a difference image, dark or bright, are none.
    truth = field(2.5, rng, n=400) - 200
    for sign in 1, -1:
        assert not find(200 + sign * truth + rng.normal(0, np.sqrt(truth + 225))).any()


@pytest.mark.parametrize('shape', [(1, 2), (2, 1), (2, 2), (1, 12), (3, 3)])
def test_several_pixels_stay(shape, rng):
    data = rng.normal(200, 15, (128, 128))
    for y in range(8, 120, 20):
        for x in range(8, 110, 20):
            data[y:y + shape[0], x:x + shape[1]] += 600
    assert not find(data).any()


def test_pixels_beside_masked_ones_stay(rng):
    """Keep pixels beside masked ones, which the event may have spanned, too."""
    data = rng.normal(200, 15, (64, 64))
    data[30, 30] += 1000
    mask = np.zeros(data.shape, dtype=bool)
    assert find(data, mask)[30, 30]
    mask[30, 31] = True
    assert not find(data, mask).any()
