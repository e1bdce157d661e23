# Licensed under a 3-clause BSD style license - see LICENSE
"""
The network predicts in bfloat16 where that is fast, and the results are the same on average.
"""

import numpy as np
import pytest
import torch
from models import make_tiny_denoiser

from astropy_n2v import Denoiser, NoiseModel, conf, denoise
from astropy_n2v.inference.blind_prediction import BlindPredictor
from astropy_n2v.inference.normalization import Normalization, NormalizedImage
from astropy_n2v.networks import precision
from astropy_n2v.networks.blindspot import _rounded
from astropy_n2v.simulate import make_scene

CPU = torch.device('cpu')


@pytest.mark.parametrize('supported, expected', [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_takes_what_the_processor_has(monkeypatch, supported, expected):
    monkeypatch.setattr(precision, 'supports_bfloat16', lambda device: supported)
    assert precision.select_dtype(CPU) == expected
    for name in 'float32', 'bfloat16':
        with conf.set_temp('precision', name):
            assert precision.select_dtype(CPU) == getattr(torch, name)


def test_only_known_devices_have_bfloat16():
    assert precision.supports_bfloat16(CPU) == torch.cpu._is_avx512_bf16_supported()
    assert not precision.supports_bfloat16(torch.device('meta'))


def test_unknown_precision_is_refused():
    with pytest.raises(TypeError, match='float16'):
        with conf.set_temp('precision', 'float16'):
            pass


@pytest.mark.parametrize('name', ['float32', 'bfloat16'])
def test_card_and_result_say_which_was_used(ccd, tiny_denoiser, name):
    with conf.set_temp('precision', name):
        result, parts = denoise(ccd, tiny_denoiser, full_output=True)
    assert result.header['N2VPREC'] == parts.precision == name


def test_card_of_a_processor_without_bfloat16(ccd, tiny_denoiser, monkeypatch):
    monkeypatch.setattr(precision, 'supports_bfloat16', lambda device: False)
    assert denoise(ccd, tiny_denoiser).header['N2VPREC'] == 'float32'


def test_bfloat16_changes_no_brightness_on_average():
    # With the first block in bfloat16, too, bright pixels would be 0.5 % fainter.
    scene = make_scene('crowded', (192, 192), seed=77)
    data, denoiser = scene.observe(seed=1).data, Denoiser.load('default')
    results = []
    for name in 'float32', 'bfloat16':
        with conf.set_temp('precision', name):
            results.append(denoiser.predict(data, scene.noise))
    exact, rounded = results
    brightness = (exact.blind_mean - exact.scaling.sky) / exact.scaling.sky_noise
    counts = []
    for low, high in zip((-1, 1, 3, 10, 30), (1, 3, 10, 30, 100)):
        part = (low <= brightness) & (brightness < high)
        counts.append(np.count_nonzero(part))
        difference = (rounded.mean - exact.mean)[part] / exact.scaling.sky_noise
        assert abs(difference.mean()) < 0.02
        assert abs(np.mean(rounded.std[part] / exact.std[part]) - 1) < 0.02
        blind = (rounded.blind_mean / exact.blind_mean)[part] - 1
        assert abs(blind.mean()) < 1e-3
    assert min(counts) > 20
    assert not np.array_equal(exact.mean, rounded.mean)


def test_rounded_kernels_keep_their_response_to_smooth_images():
    torch.manual_seed(0)
    kernel = torch.randn(24, 32, 2, 3)
    kernel[:12, :, :, 2] = 0
    rounded = _rounded(kernel, torch.bfloat16)
    assert rounded.dtype == torch.bfloat16 and torch.all((rounded == 0) == (kernel == 0))
    torch.testing.assert_close(rounded.float(), kernel, rtol=0, atol=0.05)
    lost, lost_one_by_one = ((values.float() - kernel).sum(dim=(2, 3)).square().mean().sqrt()
                             for values in (rounded, kernel.to(torch.bfloat16)))
    assert lost < 0.2 * lost_one_by_one
    assert _rounded(kernel, torch.float32) is kernel


@pytest.mark.parametrize('hole', [(1, 1), (3, 1)])
def test_prediction_in_bfloat16_does_not_see_its_own_pixel(hole, rng):
    denoiser, pixel = make_tiny_denoiser(hole), (30, 41)
    data = rng.normal(100, 5, (50, 67))
    image = NormalizedImage(data, np.ones(data.shape, dtype=bool), NoiseModel(5.0), Normalization(100.0, 5.0))
    changed = data.copy()
    changed[pixel] += 300
    predictor = BlindPredictor(denoiser.network, denoiser.margin, tile_size=512, device=CPU, dtype=torch.bfloat16)
    first, second = (predictor.predict(image.observed(values)) for values in (data, changed))
    difference = np.abs(np.subtract(first, second)).max(axis=0)
    rows, columns = np.indices(data.shape)
    hidden = (abs(rows - pixel[0]) <= hole[0] // 2) & (abs(columns - pixel[1]) <= hole[1] // 2)
    assert np.all(difference[hidden] == 0)
    assert np.count_nonzero(difference) > 100
