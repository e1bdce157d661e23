# Licensed under a 3-clause BSD style license - see LICENSE
"""
The planes of a prediction.
"""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from models import make_tiny_denoiser

from astropy_n2v import NoiseModel
from astropy_n2v.denoiser import Prediction
from astropy_n2v.inference.prediction import PLANES, PlaneKind

EXPECTED = ['mean', 'std', 'blind_mean', 'blind_std', 'innovation', 'outlier', 'noise_std']


@pytest.fixture
def prediction():
    return Prediction(**{name: np.full((4, 6), float(i)) for i, name in enumerate(EXPECTED)}, n_rejected=3)


def test_planes_are_listed_in_order(prediction):
    assert list(PLANES) == Prediction.names() == list(prediction.planes) == EXPECTED
    assert Prediction.names(full_output=False) == ['mean', 'std']


def test_arrays_are_planes_and_nothing_else_is():
    result = make_tiny_denoiser().predict(np.random.default_rng(0).normal(size=(16, 16)), NoiseModel(1.0))
    assert [name for name, value in vars(result).items() if isinstance(value, np.ndarray)] == EXPECTED


def test_nothing_is_assigned(prediction):
    with pytest.raises(FrozenInstanceError):
        prediction.mean = np.zeros((4, 6))


def test_rescaling_moves_values_and_multiplies_deviations(prediction):
    result = prediction.rescale(lambda values: 10 * values + 1, lambda values: 10 * values)
    assert [values[0, 0] for values in result.planes.values()] == [1, 10, 21, 30, 4, 5, 60]
    assert result.n_rejected == 3 and prediction.mean[0, 0] == 0
    without = Prediction(np.ones(2), np.ones(2)).rescale(lambda values: 2 * values, lambda values: 3 * values)
    assert list(without.planes) == ['mean', 'std'] and without.blind_mean is None


def test_units():
    assert [name for name, plane in PLANES.items() if not plane.kind.has_unit] == ['innovation', 'outlier']
    assert {plane.kind for plane in PLANES.values()} == set(PlaneKind)


def test_parts_are_filled_in(prediction):
    whole = Prediction.empty((2, 4, 12), np.float32)
    whole.fill(prediction, (1,), (slice(None), slice(1, None, 2)))
    for name, values in whole.planes.items():
        assert values.dtype == np.float32 and np.isnan(values[0]).all() and np.isnan(values[1, :, ::2]).all()
        np.testing.assert_array_equal(values[1, :, 1::2], getattr(prediction, name))


def test_without_planes(prediction):
    assert prediction.without_planes().planes == {} and prediction.without_planes().n_rejected == 3
    assert list(prediction.map(np.transpose).planes.values())[3].shape == (6, 4)
