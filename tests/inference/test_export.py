# Licensed under a 3-clause BSD style license - see LICENSE
"""
Networks in the format ONNX.
"""

import warnings

import numpy as np
import pytest
import torch
from models import make_tiny_denoiser

from astropy_n2v import Denoiser
from astropy_n2v.denoiser import ClassicalDenoiser
from astropy_n2v.inference import export
from astropy_n2v.inference.export import INPUTS, OUTPUTS
from astropy_n2v.networks import UNet, blind_moments, network_inputs


@pytest.mark.slow
def test_onnxruntime_gives_the_same_result(tmp_path, rng):
    pytest.importorskip('onnx')
    pytest.importorskip('onnxscript')
    runtime = pytest.importorskip('onnxruntime')
    model, path = make_tiny_denoiser(), tmp_path / 'm.onnx'
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')   # of the packages, about each other
        model.export_onnx(path, license='CC0-1.0')
        session = runtime.InferenceSession(path)
    cards = session.get_modelmeta().custom_metadata_map
    assert cards['license'] == 'CC0-1.0' and cards['sha256'] == model.sha256 and cards['hole'] == '[1, 1]'
    step = int(cards['alignment'])
    for shape in (2 * step, 3 * step), (8 * step, 5 * step):   # of the example, and another
        shape = (1, 1, *shape)
        planes = [rng.normal(size=shape), rng.random(shape) < 0.9, rng.uniform(0.5, 1, shape),
                  rng.uniform(0, 0.1, shape), rng.uniform(-9, -5, shape)]
        planes = [plane.astype('f4') for plane in planes]
        with torch.no_grad():
            mean, log_spread = blind_moments(model.network(network_inputs(*map(torch.from_numpy, planes))))
        found = session.run(list(OUTPUTS), dict(zip(INPUTS, planes)))
        np.testing.assert_allclose(found[0], mean.numpy(), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found[1], log_spread.exp().numpy(), rtol=1e-4)


@pytest.mark.parametrize(('metadata', 'given', 'expected'), [
    ({}, None, 'not stated'), ({'license': 'MIT'}, None, 'MIT'), ({'license': 'MIT'}, 'CC0-1.0', 'CC0-1.0')])
def test_licence(tmp_path, monkeypatch, metadata, given, expected):
    monkeypatch.setattr('astropy_n2v.denoiser.onnx_model', lambda network, cards: cards['license'].encode())
    model = make_tiny_denoiser()
    model.metadata.update(metadata)
    model.export_onnx(tmp_path / 'm.onnx', license=given)
    assert (tmp_path / 'm.onnx').read_text() == expected
    with pytest.raises(FileExistsError):
        model.export_onnx(tmp_path / 'm.onnx')


def test_licence_of_a_shipped_model(tmp_path, monkeypatch):
    monkeypatch.setattr('astropy_n2v.denoiser.onnx_model', lambda network, cards: cards['license'].encode())
    Denoiser.load('default').export_onnx(tmp_path / 'm.onnx')
    assert (tmp_path / 'm.onnx').read_text() == 'BSD-3-Clause'


def test_without_the_packages(tmp_path, monkeypatch):
    monkeypatch.setattr(export.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(ImportError, match='onnxscript: pip install'):
        make_tiny_denoiser().export_onnx(tmp_path / 'm.onnx')
    assert not (tmp_path / 'm.onnx').exists()


def test_classical_networks_are_not_exported(tmp_path):
    with pytest.raises(NotImplementedError, match='blind-spot networks'):
        ClassicalDenoiser(UNet(levels=2, base=4), {'scale': [0.0, 1.0]}).export_onnx(tmp_path / 'm.onnx')
