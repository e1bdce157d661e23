# Licensed under a 3-clause BSD style license - see LICENSE
"""
Amplifiers with gains and pedestals of their own.
"""

import re
from contextlib import nullcontext

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import CCDData
from astropy.utils.exceptions import AstropyUserWarning
from hypothesis import given, settings
from hypothesis import strategies as st

from astropy_n2v import NoiseModel, denoise
from astropy_n2v.noise import AmplifierScale, amplifier_labels, amplifier_regions, resolve_noise
from astropy_n2v.simulate import make_scene

GAIN, READNOISE, BIAS = (1.0, 2.5), (4.0, 9.0), (1000.0, 420.0)


@pytest.fixture(scope='module')
def raw():
    """Make a raw frame of two amplifiers side by side: gain, read noise, truth and data in adu."""
    scene = make_scene('survey', (160, 192), seed=31)
    rng = np.random.default_rng(32)
    gain, readnoise, bias = (np.repeat(values, 96) for values in (GAIN, READNOISE, BIAS))
    electrons = rng.poisson(scene.truth) + readnoise * rng.normal(size=scene.truth.shape)
    return gain, readnoise, scene.truth / gain + bias, np.round(electrons / gain + bias).astype(np.uint16)


@pytest.mark.parametrize('with_readnoise', [True, False])
def test_each_amplifier_has_its_level_and_its_noise(raw, with_readnoise):
    gain, readnoise, truth, data = raw
    data = data.astype(float)
    options = dict(readnoise=readnoise) if with_readnoise else {}
    with pytest.warns(AstropyUserWarning, match='gain and readnoise in') if with_readnoise else nullcontext() as caught:
        noise = resolve_noise(data, np.zeros(data.shape, bool), gain=gain, **options)
    assert 'level measured' in noise.source
    if with_readnoise:
        assert [re.search(r'\[.*\]', str(w.message)).group() for w in caught] == ['[0:160, 0:96]', '[0:160, 96:192]']
    for half in (slice(0, 96), slice(96, 192)):
        sky = np.median(truth[:, half])
        expected = np.sqrt((sky - BIAS[half.start > 0]) / gain[half][0] + (readnoise[half][0] / gain[half][0]) ** 2)
        variance = np.broadcast_to(noise.variance(sky), data.shape)[:, half]
        assert np.sqrt(np.median(variance)) == pytest.approx(expected, rel=0.05)
        # And it grows with the signal as the gain says.
        more = np.broadcast_to(noise.variance(sky + 1000), data.shape)[:, half]
        assert np.median(more - variance) == pytest.approx(1000 / gain[half][0], rel=0.01)


def test_result_has_no_step_between_amplifiers(raw):
    gain, readnoise, truth, data = raw
    with pytest.warns(AstropyUserWarning, match='gain and readnoise in'):
        result, prediction = denoise(CCDData(data, unit='adu'), gain=gain * u.electron / u.adu,
                                     readnoise=readnoise * u.electron, full_output=True)
    sigma = prediction.noise_std
    residual = (result.data - truth) / sigma
    noisy = (data - truth) / sigma
    assert np.sqrt(np.mean(noisy ** 2)) == pytest.approx(1, abs=0.06)
    assert np.sqrt(np.mean(residual ** 2)) < 0.3
    # As good beside the edge as elsewhere, and each half keeps its mean.
    assert np.sqrt(np.mean(residual[:, 90:102] ** 2)) < 0.35
    for half in (slice(0, 96), slice(96, 192)):
        assert abs(np.mean((result.data - data.astype(float))[:, half] / sigma[:, half])) < 0.05
    pull = (result.data - truth) / result.uncertainty.array
    assert 0.85 < np.mean(np.abs(pull) < 1.96) <= 1


def test_amplifier_without_a_valid_pixel(raw):
    gain, readnoise, _, data = raw
    mask = np.zeros(data.shape, dtype=bool)
    mask[:, 96:] = True
    noise = resolve_noise(data.astype(float), mask, gain=gain)
    assert np.isfinite(noise.variance(1000.0)).all()


def test_labels():
    assert amplifier_labels(2.0, 5.0) is None and amplifier_labels(np.full(9, 2.0)) is None
    assert amplifier_labels(np.linspace(1, 2, 500)) is None   # a map of sensitivity
    # Two of one gain that do not touch; a read noise of another shape.
    assert amplifier_labels([1.0, 2.0, 1.0]).tolist() == [[1, 3, 2]]
    labels = amplifier_labels([1.0, 2.0], [[3.0], [4.0]])
    assert sorted(labels.ravel()) == [1, 2, 3, 4]
    boxes = [box for box, outside in amplifier_regions(amplifier_labels([[1.0], [2.0]]), (2, 30))]
    assert boxes == [(slice(0, 1), slice(0, 30)), (slice(1, 2), slice(0, 30))]


@settings(max_examples=20, deadline=None)
@given(gains=st.lists(st.floats(0.1, 10), min_size=2, max_size=4), seed=st.integers(0, 99))
def test_scale_and_back(gains, seed):
    rng = np.random.default_rng(seed)
    gain = np.repeat(gains, 12)
    image = rng.normal(100, 5, (16, gain.size)) + 50 * rng.random()
    noise = NoiseModel(3.0, gain=gain, zero_point=20.0)
    scale = AmplifierScale.find(image, np.zeros(image.shape, bool), noise)
    if scale is None:
        assert np.ptp(gains) == 0
        return
    np.testing.assert_allclose(scale.backward(scale.forward(image)), image, rtol=1e-9)
    np.testing.assert_allclose(scale.noise(noise).variance(scale.forward(image)),
                               noise.variance(image) * scale.factor ** 2, rtol=1e-9)
    assert np.ndim(scale.noise(noise).gain) == 0


def test_steps_are_those_of_each_amplifier():
    gain = np.repeat([1.0, 4.0], 16)
    noise = NoiseModel(np.hypot(0.2, 1 / np.sqrt(12)), gain=gain, zero_point=100.0, quantum=1.0)
    scale = AmplifierScale.find(100 + np.zeros((16, 32)), np.zeros((16, 32), dtype=bool), noise)
    error, scaled = (model.rounding_error(np.full((16, 32), 100.0)) for model in (noise, scale.noise(noise)))
    np.testing.assert_allclose(scale.deviation_backward(scaled), error)
    assert error[0, 0] > 0.1 and scale.noise(noise).at((16, 32), slice(0, 2), slice(30, 32)).quantum.shape == (2, 2)


def test_counted_photons_stay_whole_numbers(rng):
    counts, gain = rng.poisson(0.05, (64, 64)).astype(float), np.repeat([1.0, 3.0], 32)
    noise = NoiseModel(0.0, gain=gain, zero_point=np.repeat([0.0, 7.0], 32))
    data = counts / gain + noise.zero_point
    scale = AmplifierScale.find(data, np.zeros((64, 64), dtype=bool), noise)
    np.testing.assert_allclose(scale.forward(data), counts, atol=1e-9)
    assert resolve_noise(counts / gain, np.zeros((64, 64), dtype=bool), noise=NoiseModel(0.0, gain=gain)).sigma == 0
    # Of many photons the sky is to be continuous, even if the pedestals that are given are somewhat off.
    bright = rng.poisson(100, (64, 64)) / gain + np.repeat([0.0, 10.0], 32)
    scaled = AmplifierScale.find(bright, np.zeros((64, 64), dtype=bool), noise).forward(bright)
    assert abs(scaled[:, 32:].mean() - scaled[:, :32].mean()) < 1
