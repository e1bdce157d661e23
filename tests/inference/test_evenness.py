# Licensed under a 3-clause BSD style license - see LICENSE
"""
The spread where faint structure fills the sky.
"""

import numpy as np
import pytest

from astropy_n2v import Denoiser, NoiseModel
from astropy_n2v.inference.evenness import even_spread
from astropy_n2v.inference.normalization import NormalizedImage


def clouds(beta, seed, shape=(144, 130), fwhm=2.5):
    """Turbulent clouds of 0.4 sigma, seen through a telescope, and the same with noise."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1]))
    blur = np.exp(-0.5 * (2 * np.pi * frequency * fwhm / 2.355) ** 2)
    frequency[0, 0] = np.inf
    phase = np.exp(2j * np.pi * rng.random(frequency.shape))
    truth = np.fft.irfft2(frequency ** (-beta / 2) * blur * phase, shape)
    truth *= 0.4 / truth.std()
    return truth, truth + rng.normal(size=shape)


@pytest.mark.parametrize('beta', [2.2, 3.0, 3.4])
def test_uncertainty_of_clouds_below_the_noise(beta):
    truth, data = clouds(beta, seed=1)
    result = Denoiser.load('default').predict(data, NoiseModel(1.0))
    covered = np.abs(result.mean - truth) < 1.96 * result.std
    assert 0.85 < covered.mean() < 0.97
    assert np.sqrt(np.mean((result.mean - truth) ** 2)) < 0.2


@pytest.fixture
def spread(rng):
    return rng.uniform(0.02, 0.1, (70, 67)).astype(np.float32)


def test_flat_sky_keeps_its_spread(rng, spread):
    image = NormalizedImage.prepare(rng.normal(size=spread.shape), NoiseModel(1.0))
    assert even_spread(image, rng.normal(0, 0.02, spread.shape), spread) is spread


def test_spread_is_raised_to_that_of_the_pixels_around(rng, spread):
    image = NormalizedImage.prepare(rng.normal(size=spread.shape), NoiseModel(1.0))
    mean = rng.normal(0, 0.3, spread.shape)
    spread[40:, :30] = 0.2
    spread[10, 10] = 3.0   # not foreseen at all
    result = even_spread(image, mean, spread)
    assert result.dtype == spread.dtype and (result >= spread).all()
    assert result[10, 10] == spread[10, 10] and (result == spread).mean() > 0.2
    typical = np.sqrt(np.mean(spread[:20, 20:] ** 2))
    np.testing.assert_allclose(result[:20, 20:].min(), typical, rtol=0.1)
    assert result[55:, :20].max() < 0.21


def test_noise_that_varies(rng, spread):
    """Compare the spread of a mosaic in units of the noise of each pixel."""
    sigma = np.where(np.arange(spread.shape[1]) < 33, 1.0, 3.0) * np.ones(spread.shape)
    image = NormalizedImage.prepare(rng.normal(size=spread.shape) * sigma, NoiseModel(sigma))
    mean = (rng.normal(0, 0.3, spread.shape) * sigma).astype(np.float32)
    result = even_spread(image, mean, (spread * sigma).astype(np.float32)) / sigma
    np.testing.assert_allclose(result.min(), np.sqrt(np.mean(spread ** 2)), rtol=0.25)
