# Licensed under a 3-clause BSD style license - see LICENSE
"""
Simulated scenes: what they promise about truth, noise and catalogue.
"""

import numpy as np
import pytest
from astropy import units as u
from photutils.aperture import CircularAperture, aperture_photometry

from astropy_n2v.simulate import SCENE_KINDS, add_cosmic_rays, make_psf, make_scene, observe, random_scene


@pytest.mark.parametrize('kind', SCENE_KINDS)
def test_kinds(kind):
    scene = make_scene(kind, (96, 120), seed=1)
    assert scene.truth.shape == (96, 120)
    assert scene.truth.min() >= scene.sky
    assert scene.psf.sum() == pytest.approx(1)
    assert set(scene.catalog.colnames) == {'kind', 'x', 'y', 'flux'}
    np.testing.assert_array_equal(make_scene(kind, (96, 120), seed=1).truth, scene.truth)
    assert not np.array_equal(make_scene(kind, (96, 120), seed=2).truth, scene.truth)


def test_catalog_gives_position_and_flux():
    scene = make_scene('survey', (256, 256), seed=4)
    stars = scene.catalog[scene.catalog['kind'] == 'star'][:3]
    for row in stars:
        if min(row['x'], row['y'], 255 - row['x'], 255 - row['y']) < 12:
            continue
        y, x = np.mgrid[-1:2, -1:2]
        cy, cx = round(row['y']), round(row['x'])
        cut = scene.truth[cy - 1:cy + 2, cx - 1:cx + 2] - scene.sky
        assert abs((cut * x).sum() / cut.sum() + cx - row['x']) < 0.3
        flux = aperture_photometry(scene.truth - scene.sky, CircularAperture([(row['x'], row['y'])], 10))
        assert flux['aperture_sum'][0] == pytest.approx(row['flux'], rel=0.15)


def test_random_scenes_vary_and_are_valid():
    skies = []
    for seed in range(12):
        scene = random_scene((48, 56), seed=seed)
        assert np.isfinite(scene.truth).all() and scene.truth.min() >= 0
        skies.append(scene.sky)
    assert max(skies) / min(skies) > 30


@pytest.mark.parametrize('kind', ['moffat', 'gaussian', 'airy'])
@pytest.mark.parametrize('oversampling', [1, 3])
def test_psf_has_its_width(kind, oversampling):
    psf = make_psf(6.0, kind=kind, oversampling=oversampling)
    profile = psf[psf.shape[0] // 2]
    width = np.interp(-0.5, -profile[profile.size // 2:] / profile.max(), np.arange(profile.size // 2 + 1))
    assert 2 * width / oversampling == pytest.approx(6.0, rel=0.03)


def test_noise_is_what_it_is_said_to_be():
    truth = np.full((300, 300), 400.0)
    ccd = observe(truth, gain=2.0, readnoise=15.0, bias=1000, seed=1)
    assert ccd.unit == u.adu
    assert ccd.data.mean() == pytest.approx(1200, abs=0.5)
    assert ccd.data.std() == pytest.approx(25 / 2, rel=0.02)
    assert ccd.header['GAIN'] == 2.0 and ccd.header.comments['RDNOISE'].startswith('[electron]')
    np.testing.assert_array_equal(observe(truth, gain=2.0, readnoise=15.0, bias=1000, seed=1).data, ccd.data)


def test_defects():
    truth = np.full((100, 100), 100.0)
    plain = observe(truth, seed=3).data
    spoiled = observe(truth, seed=3, cosmic_rays=5, hot_pixels=5, satlevel=500).data
    assert 5 < np.sum(spoiled > plain + 50) < 400
    assert spoiled.max() == 500
    image, mask = add_cosmic_rays(np.zeros((50, 50)), 4, seed=1)
    assert mask.any() and np.all((image > 0) == mask)


@pytest.mark.parametrize('call, match', [
    (lambda: make_scene('zoo'), "kind must be one of 'survey', .* got 'zoo'"),
    (lambda: make_psf(-1), 'fwhm must be positive, got -1'),
    (lambda: make_psf(3, kind='box'), "kind must be 'moffat', 'gaussian', 'airy' or 'pupil', got 'box'"),
    (lambda: make_psf(3, ellipticity=1), 'ellipticity must be in'),
    (lambda: observe(np.full((3, 3), -1.0)), 'truth must not be negative, got a minimum of -1'),
    (lambda: observe(np.ones((3, 3)), gain=0), 'gain must be positive, got 0'),
    (lambda: observe(np.ones((3, 3)), readnoise=-1), 'readnoise must not be negative, got -1'),
])
def test_bad_arguments(call, match):
    with pytest.raises(ValueError, match=match):
        call()
