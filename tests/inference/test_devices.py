# Licensed under a 3-clause BSD style license - see LICENSE
"""
Accelerators: tiles that are computed together, and memory that does not suffice. There need not be any.
"""

import logging

import numpy as np
import pytest
import torch
from models import make_tiny_denoiser

from astropy_n2v import NoiseModel, conf, denoise
from astropy_n2v.inference import blind_prediction
from astropy_n2v.inference.blind_prediction import BlindPredictor
from astropy_n2v.inference.normalization import NormalizedImage
from astropy_n2v.inference.tiling import Tiling

CPU, GPU = torch.device('cpu'), torch.device('cuda:0')
_MARGIN = 24


class Accelerator(torch.nn.Module):
    """A network on an accelerator with memory for so many pixels, which computes on the CPU in truth."""

    def __init__(self, network, pixels, error):
        super().__init__()
        self.network, self.pixels, self.error = network, pixels, error
        self.device, self.seen = None, []

    def __getattr__(self, name):
        return super().__getattr__(name) if name == 'network' else getattr(self.network, name)

    def to(self, device):
        self.device = device
        return self

    def predict(self, x, inner=None, dtype=None):
        self.seen.append((self.device.type, len(x), max(x.shape[2:])))
        if self.device.type != 'cpu' and x.shape[0] * x.shape[2] * x.shape[3] > self.pixels:
            raise self.error
        return self.network.predict(x, inner, dtype)


@pytest.fixture
def image():
    data = np.random.default_rng(1).normal(100, 5, (224, 288)).astype('f4')
    return NormalizedImage.prepare(data, NoiseModel(5.0), None)


@pytest.fixture
def network(monkeypatch):
    """Make a network whose inputs need not be moved."""
    monkeypatch.setattr(blind_prediction, '_move', lambda tensor, device: tensor)
    return make_tiny_denoiser().network


def predictor(network, device=GPU, **options):
    return BlindPredictor(network, _MARGIN, **{'tile_size': 128, 'device': device, 'dtype': torch.float32, **options})


def test_tiles_together_are_as_one_by_one(network, image):
    one = predictor(network, CPU).predict(image)
    accelerator = Accelerator(network, 10 ** 9, None)
    fractions = []
    together = predictor(accelerator, progress=fractions.append).predict(image)
    for a, b in zip(one, together):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    n = len(Tiling(image.shape, 128, _MARGIN, alignment=network.alignment))
    assert [seen[:2] for seen in accelerator.seen] == [('cuda', n)] and n > 4 and fractions == [1.0]
    several = predictor(Accelerator(network, 10 ** 9, None), tiles_at_once=2)
    several.predict(image)
    assert {seen[1] for seen in several.network.seen} == {1, 2} if n % 2 else {2}


ERRORS = [torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB'),
          RuntimeError('MPS backend out of memory'), RuntimeError('cuBLAS: CUBLAS_STATUS_ALLOC_FAILED')]


@pytest.mark.parametrize('error', ERRORS)
def test_smaller_tiles_where_memory_does_not_suffice(network, image, error, caplog, recwarn):
    accelerator = Accelerator(network, 128 * 128, error)
    own = predictor(accelerator, tile_size=256)
    with caplog.at_level(logging.INFO, 'astropy_n2v'):
        mean, spread = own.predict(image)
    one = predictor(network, CPU, tile_size=128).predict(image)
    assert np.array_equal(mean, one[0]) and np.array_equal(spread, one[1])
    assert own.device == GPU and own.tile_size == 128 and not recwarn
    assert [message for message in caplog.messages if 'memory of cuda:0' in message] == [
        'memory of cuda:0 does not suffice for several tiles: they are computed one by one',
        'memory of cuda:0 does not suffice for tiles of 256 pixels: tiles of 128 pixels are tried']
    before = len(accelerator.seen)
    own.predict(image)   # it remembers
    assert {seen[2] for seen in accelerator.seen[before:]} <= set(range(129))


@pytest.mark.parametrize('error', ERRORS)
def test_cpu_where_no_tile_fits(network, image, error, float32):
    accelerator = Accelerator(network, 0, error)
    own = predictor(accelerator, tile_size=256)
    with pytest.warns(UserWarning, match='memory of cuda:0 does not suffice for tiles of .* is denoised on the CPU'):
        mean, spread = own.predict(image)
    assert own.device == CPU and accelerator.seen[-1][0] == 'cpu'
    one = predictor(network, CPU, tile_size=own.tile_size).predict(image)
    assert np.array_equal(mean, one[0]) and np.array_equal(spread, one[1])


def test_other_errors_are_raised(network, image):
    with pytest.raises(RuntimeError, match='device-side assert'):
        predictor(Accelerator(network, 0, RuntimeError('device-side assert triggered'))).predict(image)


def test_memory_of_the_cpu_itself(network, image, monkeypatch):
    def fail(*arguments):
        raise RuntimeError('DefaultCPUAllocator: out of memory')

    monkeypatch.setattr(network, 'predict', fail)
    with pytest.raises(RuntimeError, match='DefaultCPUAllocator'):
        predictor(network, CPU).predict(image)


@pytest.mark.filterwarnings('ignore:the innovations have')
def test_the_header_says_where(monkeypatch, ccd, network):
    monkeypatch.setattr('astropy_n2v.denoiser.select_device', lambda device: GPU)
    monkeypatch.setattr('astropy_n2v.denoiser.select_dtype', lambda device: torch.float32)
    for pixels, expected in (10 ** 9, 'cuda:0'), (0, 'cpu'):
        model = make_tiny_denoiser()
        accelerator = Accelerator(model.network, pixels, ERRORS[0])
        monkeypatch.setattr(model, '_predictor', lambda held_out, **options: BlindPredictor(  # noqa: B023
            accelerator, _MARGIN, **options))   # noqa: B023
        with conf.set_temp('audit', 'off'):
            if pixels:
                result = denoise(ccd, model)
            else:
                with pytest.warns(UserWarning, match='is denoised on the CPU'):
                    result = denoise(ccd, model)
        assert result.header['N2VDEV'] == expected
