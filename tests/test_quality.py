# Licensed under a 3-clause BSD style license - see LICENSE
"""
Least quality of the default model on scenes with known truth; the figures are in benchmarks/.
"""

import numpy as np
import pytest

from astropy_n2v import NoiseModel, denoise
from astropy_n2v.simulate import make_scene
from astropy_n2v.validation import noise_reduction


@pytest.fixture(scope='module', params=['survey', 'crowded', 'nebula', 'low_counts'])
def case(request):
    """Return a scene, its observation, and its denoised observation."""
    scene = make_scene(request.param, (256, 256), seed=71)
    noisy = scene.observe(seed=72)
    return scene, noisy.data, *denoise(noisy, noise=scene.noise, hole=1, full_output=True)


def test_no_brightness_is_worse_than_the_input(case):
    scene, noisy, clean, parts = case
    sigma = np.sqrt(scene.noise.variance(scene.truth))
    order = np.argsort(parts.blind_mean.ravel())
    for part in [*np.array_split(order, 20), order[-300:]]:
        select = np.isin(np.arange(order.size), part).reshape(noisy.shape)
        assert noise_reduction(noisy, clean.data, scene.truth, sigma, select=select) > 1


def test_mean_and_sky_are_kept(case):
    scene, noisy, clean, parts = case
    residual = (clean.data - scene.truth) / np.sqrt(scene.noise.variance(scene.truth))
    # The mean of the noise itself is known to 1/256 only.
    assert abs(residual.mean()) < 0.02
    sky = np.abs(clean.data - parts.scaling.level) < parts.scaling.scale
    assert abs(residual[sky].mean()) < 0.025


def test_stated_uncertainty_covers_the_truth(case):
    scene, _, clean, _ = case
    pull = (clean.data - scene.truth) / clean.uncertainty.array
    assert 0.9 < np.mean(np.abs(pull) < 1.96) < 0.995


@pytest.mark.parametrize('sign', [1, -1])
def test_what_nobody_could_foresee_is_kept(sign, rng):
    """Transients of one pixel, bright or dark."""
    data = rng.normal(0, 1, (160, 160))
    yy, xx = np.mgrid[10:150:20, 10:150:20].reshape(2, -1)
    data[yy, xx] += 30 * sign
    clean = denoise(data, noise=NoiseModel(1.0), hole=1)
    assert np.mean(clean[yy, xx] * sign) == pytest.approx(30, abs=1)
    clean[yy, xx] = 0
    # And nothing around it is disturbed.
    assert np.sqrt(np.mean(clean ** 2)) < 0.2


def test_pure_noise_stays_empty(rng):
    clean = denoise(rng.normal(0, 1, (256, 256)), noise=NoiseModel(1.0))
    assert clean.std() < 0.1
    assert np.sum(np.abs(clean) > 2) <= 2


@pytest.mark.parametrize('counts', [0.05, 0.5, 5, 50])
def test_flat_frames_keep_their_mean(counts, rng):
    data = rng.poisson(counts, (256, 256)).astype(np.float32)
    clean = denoise(data, noise=NoiseModel(0.0, gain=1.0), hole=1)
    assert clean.mean(dtype=float) == pytest.approx(data.mean(dtype=float), rel=0.01)
