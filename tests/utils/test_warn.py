# Licensed under a 3-clause BSD style license - see LICENSE
import warnings

import numpy as np
import pytest
from astropy.nddata import CCDData
from astropy.utils.exceptions import AstropyUserWarning

from astropy_n2v import NoiseModel, denoise, estimate_noise
from astropy_n2v.io.process import _naming
from astropy_n2v.noise import resolve_noise
from astropy_n2v.utils.warn import warn_user


def image(seed=0):
    return np.random.default_rng(seed).normal(100, 5, (64, 64))


def filled():
    data = image()
    data[:10, :10] = -1e30
    return data


@pytest.mark.parametrize('function', [
    lambda: denoise(image(), noise=NoiseModel(20.0)),
    lambda: denoise(CCDData(image(), unit='adu'), gain=1.0, readnoise=30.0),
    lambda: denoise(np.stack([image(), np.full((64, 64), 3.0)])),
    lambda: denoise(filled()),
    lambda: denoise(CCDData(image(), unit='adu', meta={'GAIN': 1e-4})),
    lambda: denoise(CCDData(image(), unit='adu', meta={'N2VVERS': '1'})),
    lambda: denoise(CCDData(image(), unit='adu', meta={'SATURATE': 90.0})),
    lambda: estimate_noise(filled()),
    lambda: resolve_noise(image(), np.zeros((64, 64), bool), noise=NoiseModel(20.0))])
def test_warnings_name_the_line_of_the_caller(function):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        function()
    caught = [warning for warning in caught if issubclass(warning.category, AstropyUserWarning)]
    assert caught and {warning.filename for warning in caught} == {__file__}


def test_frames_of_other_packages_in_between_do_not_count():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        namespace = {'__name__': 'astropy_n2v.cli', 'naming': _naming, 'warn_user': warn_user}
        exec('def run():\n    with naming("SCI,1"):\n        warn_user("noisy")\n', namespace)
        namespace['run']()
    assert str(caught[0].message) == 'noisy [HDU SCI,1]' and caught[0].filename == __file__


def test_a_warning_keeps_its_category():
    with pytest.warns(FutureWarning, match='^later$'):
        warn_user(FutureWarning('later'))
