# Licensed under a 3-clause BSD style license - see LICENSE
"""
Where a noise model is from, and what depends on that.
"""

from types import SimpleNamespace

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData

from astropy_n2v import NoiseModel, denoise, estimate_noise
from astropy_n2v.containers.container import Container
from astropy_n2v.noise import GainFrom, Origin, SizeFrom, SkySample, noise_from_deviation, resolve_noise, scaled_noise
from astropy_n2v.noise.resolve import looks_white
from astropy_n2v.planes import find_planes

NAMES = 'mine', 'my image', 'image', 'level measured by me', 'image, photon counts', 'image, gain of the set'


@pytest.fixture
def image(rng):
    return rng.normal(100, 5, (128, 128))


def no_mask(image):
    return np.zeros(image.shape, dtype=bool)


@pytest.mark.parametrize('source', NAMES)
@pytest.mark.parametrize('right', [True, False])
def test_words_of_a_user_do_not_say_if_noise_is_white(image, source, right):
    noise = NoiseModel(5.0 if right else 8.0, source=source)
    assert looks_white(SkySample(image, no_mask(image)), noise) is right


@pytest.mark.parametrize('source', NAMES)
def test_noise_of_a_user_does_not_grow_by_an_audit(image, source):
    report = SimpleNamespace(growth=(25.0, 0.5))
    plane, = find_planes(Container(image), noise=NoiseModel(5.0, source=source))[0]
    assert plane.with_growth(report) is None
    plane, = find_planes(Container(image))[0]
    assert float(plane.with_growth(report).noise.gain) == 2


@pytest.mark.parametrize('source', ['mine', 'image'])
def test_card_of_a_gain_of_a_user(image, source):
    result = denoise(CCDData(image, unit='adu', header=fits.Header()), noise=NoiseModel(1.0, 4.0, source=source))
    assert result.header['N2VNSRC'] == source and result.header.comments['N2VGAIN'] == '[electron/data unit] gain'


def test_source_is_made_from_the_origin():
    noise = NoiseModel(3.0)
    assert noise.source == noise.origin.text == 'given'
    made = noise.of_origin(Origin('image', SizeFrom.IMAGE).but('header GAIN').but('RDNOISE', gain=GainFrom.SET))
    assert made.source == 'image, header GAIN, RDNOISE' and made.sigma == 3
    assert (made.origin.size, made.origin.gain) == (SizeFrom.IMAGE, GainFrom.SET)
    named = NoiseModel(3.0, source='mine')
    assert named.source == 'mine' and named.origin == Origin()
    # Words may be changed: they are only read.
    assert (named + 1.0).source == 'mine' and (made * 2.0).origin == made.origin


def test_origins(image, rng):
    def origin(data=image, **options):
        found = resolve_noise(np.asarray(data, dtype=float), np.zeros(data.shape, dtype=bool), **options).origin
        return found.size.name, found.gain.name

    assert origin() == ('IMAGE', 'IMAGE')
    assert origin(set_gain=3.0) == ('IMAGE', 'SET')
    assert origin(header={'GAIN': 4.0}, unit=u.adu) == ('IMAGE', 'STATEMENT')
    assert origin(unit=u.electron) == ('IMAGE', 'STATEMENT')
    assert origin(unit=u.count) == ('IMAGE', 'COUNTS')
    assert origin(gain=4.0) == ('IMAGE', 'STATEMENT')
    assert origin(gain=5.0, readnoise=5 * np.sqrt(5)) == ('STATEMENT', 'STATEMENT')
    assert origin(deviation=np.full(image.shape, 5.0)) == ('STATEMENT', 'STATEMENT')
    assert origin(noise=NoiseModel(5.0)) == ('STATEMENT', 'STATEMENT')
    counts = rng.poisson(1.0, (128, 128))
    assert origin(counts) == ('PHOTONS', 'STATEMENT')
    assert origin(counts, deviation=np.sqrt(np.maximum(counts, 1.0))) == ('PHOTONS', 'STATEMENT')
    assert origin(counts, gain=1.0) == ('PHOTONS', 'STATEMENT')


def test_size_of_amplifiers_is_that_which_is_known_least(image):
    gain = np.ones(image.shape)
    gain[:, 64:] = 2.0
    data = np.where(gain > 1, image, np.random.default_rng(1).poisson(1.0, image.shape))
    noise = resolve_noise(data, no_mask(data), gain=gain)
    assert noise.origin.size is SizeFrom.IMAGE and noise.source == 'gain, level measured'


def test_scaled_uncertainty_counts_as_measured(image):
    noise = scaled_noise(noise_from_deviation(image, no_mask(image), np.full(image.shape, 2.0)), 2.5)
    assert noise.source == 'uncertainty x 2.5, measured' and noise.origin.size is SizeFrom.IMAGE
    assert not looks_white(SkySample(image, no_mask(image)), noise)


def test_estimate_that_is_given_proves_nothing(image):
    assert not looks_white(SkySample(image, no_mask(image)), estimate_noise(image))
