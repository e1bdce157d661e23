# Licensed under a 3-clause BSD style license - see LICENSE
"""
Injected stars that judge networks: photometry, depth, and the choice of the best weights.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from astropy.table import Table
from models import make_tiny_denoiser

from astropy_n2v import Denoiser, NoiseModel, train
from astropy_n2v.denoiser import Prediction
from astropy_n2v.simulate import make_psf, make_scene
from astropy_n2v.training import train as training
from astropy_n2v.training.injected_stars import InjectedStars, StarFigures, compare_stars, estimate_fwhm
from astropy_n2v.training.judgement import Comparison, Judgement
from astropy_n2v.training.train import train_on_frames

NOISE = NoiseModel(5.0, gain=2.0)
TINY = dict(widths=(6, 8), decoder_widths=(6,), head_width=8)


def sky(seed, shape=(192, 192)):
    return NOISE.sample(np.full(shape, 100.0), np.random.default_rng(seed))


@pytest.fixture(scope='module')
def stars():
    return InjectedStars([(sky(n), NOISE, None) for n in range(2)], pixels=2 * 2 * 192 ** 2, seed=1)


def measure(stars, monkeypatch, function):
    """Measure stars as if a network turned images into what a function of image and noise makes of them."""
    def predict(self, data, noise, mask, **options):
        mean, std = function(data)
        return replace(Prediction.empty(data.shape, np.float32, False), mean=mean, std=std)

    monkeypatch.setattr(Denoiser, 'predict', predict)
    return stars.measure(make_tiny_denoiser().network)


def test_noisy_image_is_the_reference(stars, monkeypatch):
    figures = measure(stars, monkeypatch, lambda data: (data, np.full(data.shape, 9.0)))
    assert figures.flux_error == pytest.approx(1) and figures.flux_bias == pytest.approx(0, abs=1e-9)
    # On average the errors are the standard errors, if the photons of bright stars are few.
    faint = np.abs(figures.noisy_errors) < 4
    assert figures.noisy_errors[faint].std() == pytest.approx(1.1, abs=0.2)
    # The filter for denoised images, which is narrower, is somewhat less deep on noise.
    assert -0.5 < figures.depth < 0 and stars.n_stars > 100


def test_lost_flux_is_seen(stars, monkeypatch):
    def shrunk(data):
        return 100 + 0.8 * (data - 100), np.full(data.shape, 9.0)

    figures = measure(stars, monkeypatch, shrunk)
    assert figures.flux_bias == pytest.approx(-0.2, abs=0.02) and figures.flux_error > 1.2
    # A constant factor does not change what is found.
    assert figures.depth == pytest.approx(measure(stars, monkeypatch, lambda data: (data, np.full(data.shape, 9.0)))
                                          .depth, abs=1e-6)


def test_smoothest_image_finds_nothing(stars, monkeypatch):
    rng = np.random.default_rng(0)
    flat = measure(stars, monkeypatch, lambda data: (rng.normal(100, 0.01, data.shape), np.full(data.shape, 0.01)))
    assert flat.flux_bias == pytest.approx(-1, abs=0.1) and flat.depth < -1.5
    assert flat.cost > 1.5


def test_default_is_deeper_than_the_noisy_image(scene):
    image = [(scene.observe(seed=1).data, scene.noise, None)]
    judged = InjectedStars(image, pixels=2 * 128 ** 2, seed=3)
    default, tiny = (judged.measure(model.network) for model in (Denoiser.load('default'), make_tiny_denoiser()))
    assert default.depth > tiny.depth and default.cost < tiny.cost
    same = judged.measure(Denoiser.load('default').network)
    assert (same.flux_error, same.depth) == (default.flux_error, default.depth)


def test_correlated_noise_is_injected_correlated():
    correlation = np.zeros((3, 3))
    correlation[1] = 0.4, 1, 0.4
    noise = NoiseModel(5.0, autocorrelation=correlation)
    judged = InjectedStars([(sky(0), noise, None)], whiten=True, pixels=2 * 128 ** 2)
    blank = judged._parts[0].blank - judged._parts[0].level
    assert blank.std() == pytest.approx(5, rel=0.1)
    for axis, expected in ((0, 0.0), (1, 0.4)):
        assert (blank * np.roll(blank, 1, axis=axis)).mean() / blank.var() == pytest.approx(expected, abs=0.05)


def test_masked_parts_get_no_stars():
    data, mask = sky(0), np.zeros((192, 192), dtype=bool)
    mask[:, :96] = True
    data[:96] = np.nan
    (part,) = InjectedStars([(data, NOISE, mask)], pixels=2 * 192 ** 2)._parts
    assert len(part.flux) and part.x.min() > 96 and part.y.min() > 96
    assert np.isnan(part.data[:96]).all()


def test_no_room_for_stars():
    assert InjectedStars([(sky(0, (120, 200)), NOISE, None)]).n_stars == 0
    assert InjectedStars([(sky(0), NOISE, None)], pixels=32_000).n_stars == 0
    assert InjectedStars([(np.full((199, 199), np.nan), NOISE, None)]).n_stars == 0
    crowd = np.zeros((128, 128))
    crowd[::8, ::8] = 500   # nothing is empty
    assert InjectedStars([(sky(0, (128, 128)) + crowd, NOISE, None)]).n_stars == 0
    sigma = np.full((600, 600), 5.0)
    sigma[150:450, 150:450] = 0   # where the part is
    assert InjectedStars([(sky(0, (600, 600)), NoiseModel(sigma), None)]).n_stars == 0


def test_time_limits_the_pixels():
    images = [(sky(n), NOISE, None) for n in range(5)]
    for pixels in (33_000, 60_000, 300_000):
        parts = InjectedStars(images, pixels=pixels)._parts
        assert 0.5 * pixels < 2 * sum(part.data.size for part in parts) <= pixels or pixels == 300_000   # at most four


@pytest.mark.parametrize('fwhm', [1.5, 2.4, 4.0])
def test_width_of_stars(fwhm, rng):
    image = np.zeros((200, 200))
    psf = make_psf(fwhm, kind='gaussian', half_size=12)
    for y in range(20, 190, 20):
        for x in range(20, 190, 20):
            image[y - 12:y + 13, x - 12:x + 13] += 2000 * fwhm ** 2 * psf
    z = np.minimum(image + rng.normal(size=image.shape), 3000)
    assert estimate_fwhm(z, np.ones(z.shape, dtype=bool)) == pytest.approx(fwhm, rel=0.1)
    assert estimate_fwhm(rng.normal(size=(99, 99)), np.ones((99, 99), dtype=bool)) == 3


def figures(error, score, seed=0):
    rng = np.random.default_rng(seed)
    errors, scores = rng.normal(size=200), np.geomspace(1, 20, 200)
    return StarFigures(error * errors, errors, 0 * errors, score * scores, scores, rng.random(300) * 5,
                       rng.random(300) * 5)


def test_comparison_has_intervals():
    ratio, depth = compare_stars(figures(0.9, 1.1), figures(1.0, 1.0))
    assert ratio[0] == pytest.approx(0.9, abs=0.01) and ratio[1] <= ratio[0] <= ratio[2] < 1
    assert depth[1] < depth[0] < depth[2] and depth[0] > 0.05
    assert compare_stars(figures(1, 1), figures(1, 1)) == ((1, 1, 1), (0, 0, 0))


def test_networks_of_other_numbers_of_false_detections_are_compared_on_the_same_draws():
    few, more = (replace(figures(1, 1), false=np.linspace(1, 4, n)) for n in (20, 31))
    one, other = (each.sample(np.random.default_rng(3)) for each in (few, more))
    for name in ('noisy_errors', 'noisy_scores', 'noisy_false'):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_network_that_loses_stars_is_not_better():
    good = ((0.98, 0.95, 1.01), (0.1, -0.1, 0.3), 99)
    better = Comparison(-0.01, 0.001, 5000, good)
    assert better.better and better.describe('default').endswith(
        'on 99 injected stars errors of the flux are 0.980 of its own (0.950 to 1.010), and detection is 0.10 mag '
        'deeper (-0.10 to +0.30)')
    for stars in (((1.1, 1.05, 1.2), good[1], 99), (good[0], (-0.2, -0.3, -0.1), 99)):
        worse = Comparison(-0.01, 0.001, 5000, stars)
        assert not worse.better and worse.describe('default').startswith(
            'not better than the default at measuring injected stars in these frames, which does not show')


def test_best_weights_are_chosen_by_stars_too(monkeypatch):
    """Of two judgements with nearly the same likelihood, the one that keeps stars."""
    values = iter([Judgement(1.200, 1.0, 0.0, 0.0, 0.0), Judgement(1.199, 1.2, -0.2, -0.3, 0.5)])
    states = []

    def judge(network, frames, stars):
        states.append(network.join.weight.clone())
        return next(values)

    monkeypatch.setattr(training.Judgement, 'of', judge)
    monkeypatch.setitem(training._JUDGEMENTS, 'scratch', 1)
    frames = [(sky(0), NOISE, None)]
    model = train_on_frames(frames, max_steps=2, batch_size=1, patch_size=32, network_options=TINY)
    assert torch.equal(model.network.join.weight, states[0])
    assert model.metadata['held_out_likelihood'] == 1.2 and model.metadata['star_flux_error'] == 1.0


def test_training_is_judged_by_stars(tmp_path, monkeypatch):
    monkeypatch.setattr(training, '_JUDGEMENTS', {'scratch': 2, 'init': 2})
    frames = [make_scene('survey', (128, 128), seed=n).observe(seed=n) for n in range(2)]
    model = train(frames, max_steps=10, batch_size=8, patch_size=32, star_share=0.99, network_options=TINY, hole=1,
                  log=tmp_path / 'log.csv')
    table = Table.read(tmp_path / 'log.csv', format='ascii.csv')
    assert list(table['step']) == [5, 10]
    for name in ('flux_error', 'flux_bias', 'depth'):
        assert np.isfinite(np.asarray(table[name], dtype=float)).all()
        assert np.isfinite(model.metadata[f'star_{name}'])
    assert 'injected stars errors of the flux are' in model.metadata['against_default']
    # A single image is judged by its likelihood alone, as with model='self'.
    alone = train(frames[0], max_steps=10, batch_size=8, patch_size=32, network_options=TINY, hole=1)
    assert 'star_depth' not in alone.metadata
