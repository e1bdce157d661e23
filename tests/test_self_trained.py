# Licensed under a 3-clause BSD style license - see LICENSE
"""
Models that were trained on the very frame that they denoise.
"""

import json

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch

from astropy_n2v import Denoiser, NoiseModel, denoise, train
from astropy_n2v.denoiser import SelfTrained
from astropy_n2v.inference.blind_prediction import BlindPredictor, BootstrapPredictor
from astropy_n2v.simulate import make_scene

pytestmark = pytest.mark.filterwarnings('ignore:.*innovations have an rms', 'ignore:.*result')

ADAPT = dict(max_steps=3, batch_size=2, patch_size=32, seed=3)
OPTIONS = {**ADAPT, 'network_options': {'widths': (6, 8, 8), 'decoder_widths': (6, 8), 'head_width': 16}}


@pytest.fixture(scope='module')
def frame():
    return make_scene('survey', (64, 72), seed=1).observe(seed=2)


@pytest.fixture(scope='module')
def other():
    return make_scene('survey', (64, 72), seed=1).observe(seed=3)


@pytest.fixture(scope='module')
def model(frame):
    return train(frame, **OPTIONS)


def same(first, second):
    """Check that two results are the same to the last bit, with all that was found on the way."""
    for name, values in first[1].planes.items():
        np.testing.assert_array_equal(values, getattr(second[1], name), err_msg=name)
    np.testing.assert_array_equal(first[0].data, second[0].data)


def result(frame, model=None, **options):
    return denoise(frame, model, full_output=True, audit='warn', **options)


def test_trained_on_a_frame_is_denoised_as_by_self(frame, model):
    assert isinstance(model, SelfTrained)
    same(result(frame, model), result(frame, 'self', **OPTIONS))


def test_adapted_to_a_frame_is_denoised_as_by_adapt(frame):
    model = train(frame, init='default', **ADAPT)
    assert not isinstance(model, SelfTrained)
    adapted = result(frame, model)
    same(adapted, result(frame, 'adapt', **ADAPT))
    # All pixels as judges would say something else.
    plain = result(frame, Denoiser(model.network, model.metadata))
    assert adapted[1].recalibration.innovation_rms != plain[1].recalibration.innovation_rms


def test_planes_and_types(frame):
    cube = np.stack([np.asarray(frame.data), np.asarray(frame.data)[::-1] + 3]).astype('>f4')
    same([np.ma.array(0), result(cube, train(cube, **OPTIONS))[1]],
         [np.ma.array(0), result(cube, 'self', **OPTIONS)[1]])


def test_saved_and_read_again(frame, model, tmp_path):
    model.save(tmp_path / 'm')
    read = Denoiser.load(tmp_path / 'm')
    assert isinstance(read, SelfTrained) and read.sha256 == model.sha256 and read.name == 'm'
    same(result(frame, read), result(frame, model))


@pytest.mark.parametrize('held_out', [True, False])
def test_another_frame_is_denoised_as_by_a_plain_model(other, model, held_out, tmp_path):
    if held_out:
        model.save(tmp_path / 'm')
        model = Denoiser.load(tmp_path / 'm')
    same(result(other, model), result(other, Denoiser(model.network, model.metadata)))


def test_the_frame_itself_is_not_denoised_as_by_a_plain_model(frame, model):
    own, plain = (result(frame, each)[1] for each in (model, Denoiser(model.network, model.metadata)))
    assert np.abs(own.blind_mean - plain.blind_mean).max() > 0


def test_predictors(model, frame):
    options = dict(tile_size=64, device=torch.device('cpu'), dtype=torch.float32)
    held_out = np.zeros(frame.shape, bool)
    assert type(model._predictor(None, **options)) is BlindPredictor
    assert type(model._predictor(held_out, **options)) is BootstrapPredictor
    assert type(Denoiser(model.network)._predictor(held_out, **options)) is BlindPredictor


def test_arrays_are_recognised_too(model, frame):
    data, noise = np.asarray(frame.data), NoiseModel(5.0, gain=1.0)
    own = model.predict(data, noise)
    given = model.predict(data, noise, held_out=model.held_out.find(data))
    np.testing.assert_array_equal(own.mean, given.mean)


@pytest.mark.parametrize('init', [None, 'default'])
def test_of_several_images_all_pixels_judge(frame, other, init):
    model = train([frame, other], init=init, **ADAPT)
    assert type(model) is Denoiser and model.held_out is None


def test_a_single_image_that_is_left(frame):
    with pytest.warns(UserWarning, match='left out'):
        model = train([np.full((16, 16), 3.0), frame], **OPTIONS)
    assert isinstance(model, SelfTrained)


def test_plain_models_have_plain_files(model, tmp_path):
    Denoiser(model.network, model.metadata).save(tmp_path / 'm')
    with safetensors.safe_open(tmp_path / 'm', 'np') as file:
        assert not [name for name in file.keys() if name.startswith('held_out')]
        assert 'held_out' not in json.loads(file.metadata()['astropy_n2v'])
    assert type(Denoiser.load(tmp_path / 'm')) is Denoiser


@pytest.mark.parametrize('damage', [
    lambda content, weights: content['held_out'].update(more=[8, 8]),
    lambda content, weights: content.update(held_out=[1]),
    lambda content, weights: content.update(held_out={name: [64, 99] for name in content['held_out']}),
    lambda content, weights: content.pop('held_out')])
def test_damaged_files(model, tmp_path, damage):
    model.save(tmp_path / 'm')
    raw = (tmp_path / 'm').read_bytes()
    weights = safetensors.torch.load(raw)
    content = json.loads(json.loads(raw[8:8 + int.from_bytes(raw[:8], 'little')])['__metadata__']['astropy_n2v'])
    damage(content, weights)
    safetensors.torch.save_file(weights, tmp_path / 'm', metadata={'astropy_n2v': json.dumps(content)})
    with pytest.raises(ValueError, match='do not fit'):
        Denoiser.load(tmp_path / 'm')


@pytest.mark.parametrize('given, metadata, expected', [
    (None, {}, 'custom'), (None, {'name': 'tiny'}, 'tiny'), ('own', {'name': 'tiny'}, 'own')])
def test_names(model, given, metadata, expected):
    denoiser = Denoiser(model.network, metadata, name=given)
    assert denoiser.name == expected and f"'{expected}'" in repr(denoiser)
    assert denoiser.metadata == metadata


def test_shipped_models_keep_their_name():
    assert Denoiser.load('default').name == 'default-1x1'


def test_what_metadata_say_is_read_once(model):
    denoiser = Denoiser(model.network, {'whitened': True, 'margin': 40})
    denoiser.metadata.clear()
    assert denoiser.whitens and denoiser.margin == 40
