# Licensed under a 3-clause BSD style license - see LICENSE
"""
Fixtures: real images, small models and frames.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from models import make_tiny_denoiser

from astropy_n2v import conf
from astropy_n2v.simulate import make_scene


@pytest.fixture(scope='session')
def data_path():
    """Directory of real images."""
    path = os.environ.get('ASTROPY_N2V_TEST_DATA')
    if not path:
        pytest.skip('real images are needed: set ASTROPY_N2V_TEST_DATA to their directory')
    return Path(path)


@pytest.fixture
def tiny_denoiser():
    """Make an untrained model, whose results are wrong and would fail an audit."""
    with conf.set_temp('audit', 'off'):
        yield make_tiny_denoiser()


@pytest.fixture
def float32():
    """Predictions that do not change by more than float32 rounds: in bfloat16, an input rounds to this or that side."""
    with conf.set_temp('precision', 'float32'):
        yield


@pytest.fixture(scope='session')
def scene():
    """Make a small survey field."""
    return make_scene('survey', (128, 160), seed=5)


@pytest.fixture
def ccd(scene):
    """Observe the field."""
    return scene.observe(seed=6)


@pytest.fixture
def rng():
    return np.random.default_rng(12345)
