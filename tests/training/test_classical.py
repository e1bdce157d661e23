# Licensed under a 3-clause BSD style license - see LICENSE
"""
Noise2Void as it was first: plain U-Net, hidden pixels, no uncertainty.
"""

import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.nddata import CCDData

from astropy_n2v import Denoiser, NoiseModel, denoise
from astropy_n2v.batch import denoise_fits
from astropy_n2v.denoiser import ClassicalDenoiser
from astropy_n2v.networks import UNet
from astropy_n2v.training.classical import STRATEGIES, Masking, _Patches, train_classical

TINY = dict(max_steps=3, patch_size=32, batch_size=2, network_options={'levels': 2, 'base': 4})


def struct_of(strategy):
    return np.ones((1, 3)) if strategy == 'struct' else None


@pytest.fixture
def frame(rng):
    return rng.normal(100, 5, (48, 56))


class TestNetwork:
    @pytest.mark.parametrize('options', [{}, {'batch_norm': True}, {'upsampling': 'bilinear'},
                                         {'blur_pool': True, 'top_skip': False}])
    def test_receptive_radius(self, options):
        torch.manual_seed(0)
        network = UNet(levels=3, base=3, **options).eval()
        radius = network.receptive_radius
        x = torch.randn(1, 1, 16, 2 * radius + 32)
        with torch.no_grad():
            before = network(x)
            x[..., 16] += 10
            changed = (network(x) - before).abs().amax(dim=(0, 1, 2)) > 0
        assert changed[16] and changed[:16].sum() > 4
        assert not changed[16 + radius + 1:].any()

    def test_original(self):
        network = UNet(3, 3)
        assert network.config['levels'] == 4 and network.config['base'] == 48
        assert network(torch.zeros(1, 3, 16, 8)).shape == (1, 3, 16, 8)

    @pytest.mark.parametrize('arguments, match', [
        ({'upsampling': 'nearest'}, "upsampling must be 'transposed' or 'bilinear', got 'nearest'"),
        ({'levels': 1}, 'levels must be at least 2')])
    def test_bad_options(self, arguments, match):
        with pytest.raises(ValueError, match=match):
            UNet(**arguments)
        with pytest.raises(ValueError, match='height and width must be multiples of 8'):
            UNet()(torch.zeros(1, 1, 12, 16))


class TestMasking:
    patch = np.arange(15.0 * 17).reshape(15, 17)
    corners = np.array([[0, 0], [7, 8], [14, 16]])

    def test_uniform_takes_a_neighbour_and_never_the_pixel(self, rng):
        masking = Masking('uniform', 5)
        drawn = {float(masking.hide(self.patch, self.corners, rng)[7, 8]) for _ in range(500)}
        neighbours = set(self.patch[5:10, 6:11].ravel()) - {self.patch[7, 8]}
        assert drawn == neighbours

    def test_only_the_coordinates_are_replaced(self, rng):
        for strategy in 'uniform', 'median':
            hidden = Masking(strategy, 3).hide(self.patch, self.corners, rng)
            changed = np.argwhere(hidden != self.patch)
            assert set(map(tuple, changed)) <= set(map(tuple, self.corners)) and len(changed)

    def test_median_leaves_out_the_pixel(self, rng):
        patch = np.zeros((5, 5))
        patch[2, 2] = 9
        assert Masking('median', 3).hide(patch, np.array([[2, 2]]), rng)[2, 2] == 0
        patch[1:4, 1:4] = [[1, 2, 3], [4, 100, 5], [6, 7, 8]]
        assert Masking('median', 3).hide(patch, np.array([[2, 2]]), rng)[2, 2] == 4.5

    def test_hole_hides_all_pixels_under_it(self, rng):
        hidden = Masking('struct', 7, np.ones((5, 5))).hide(self.patch, np.array([[7, 8], [0, 0]]), rng)
        assert not np.isin(hidden[5:10, 6:11], self.patch[5:10, 6:11]).any()
        assert np.count_nonzero(hidden != self.patch) <= 25 + 9

    def test_mask_of_any_shape(self, rng):
        cross = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]])
        hidden = Masking('struct', 5, cross).hide(self.patch, np.array([[7, 8]]), rng)
        np.testing.assert_array_equal((hidden != self.patch)[6:9, 7:10], cross == 1)

    @pytest.mark.parametrize('arguments, match', [
        (('other',), "strategy must be one of 'uniform', 'median', 'struct', got 'other'"),
        (('uniform', 4), 'roi_size must be odd, got 4'), (('struct',), 'struct must be given with the strategy'),
        (('uniform', 5, np.ones((3, 3))), 'struct must be given with the strategy'),
        (('struct', 5, np.ones((2, 3))), 'struct must be a two-dimensional mask of odd'),
        (('struct', 5, np.eye(3)[::-1] * 0), 'true in the middle'),
        (('struct', 5, np.ones((5, 5))), 'got a mask that covers all')])
    def test_bad_masks(self, arguments, match):
        with pytest.raises(ValueError, match=match):
            Masking(*arguments)

    def test_masked_pixels_are_never_chosen(self, rng):
        valid = np.ones((40, 20), dtype=bool)
        valid[10:30] = False
        patches = _Patches([(rng.normal(size=valid.shape), valid)], Masking(), 32, 4, 0.2, rng)
        inputs, targets, chosen = patches.draw()
        assert inputs.shape == targets.shape == chosen.shape == (4, 1, 32, 32)
        # Everything but the chosen pixels is as it was.
        assert torch.equal(inputs[chosen == 0], targets[chosen == 0])
        assert 0 < chosen.mean() < 0.2 and chosen.sum() <= 0.3 * 4 * 20 * 20


@pytest.mark.parametrize('strategy', STRATEGIES)
def test_denoise_takes_the_model(frame, tmp_path, strategy):
    model = train_classical(frame, strategy, struct=struct_of(strategy), **TINY)
    assert isinstance(model, ClassicalDenoiser) and model.hole == ((1, 3) if strategy == 'struct' else (1, 1))
    mask = np.zeros(frame.shape, dtype=bool)
    mask[3, 4] = True
    ccd = CCDData(frame, unit='adu', mask=mask)
    result, prediction = denoise(ccd, model, noise=NoiseModel(5.0), full_output=True)
    assert result.uncertainty is None and np.isnan(prediction.std).all() and prediction.audit is None
    assert result.header['N2VMODEL'] == f'classical {strategy}'
    np.testing.assert_array_equal(result.mask, mask)
    assert result.data[3, 4] == frame[3, 4] and np.isfinite(result.data).all()
    assert result.data[~mask].std() < frame.std()
    model.save(tmp_path / 'm.safetensors')
    loaded = Denoiser.load(tmp_path / 'm.safetensors')
    assert type(loaded) is ClassicalDenoiser and loaded.sha256 == model.sha256
    np.testing.assert_array_equal(denoise(ccd, loaded, noise=NoiseModel(5.0)).data, result.data)


def test_tiles_are_the_whole(frame):
    model = train_classical(frame, **TINY)
    large = np.tile(frame, (3, 3))
    whole, tiles = (model.predict(large, NoiseModel(5.0), tile_size=size).mean for size in (512, 96))
    np.testing.assert_allclose(tiles, whole, atol=1e-3)


def test_files_have_no_uncertainty(frame, tmp_path):
    fits.writeto(tmp_path / 'a.fits', frame.astype('f4'), fits.Header({'BUNIT': 'adu'}))
    denoise_fits(tmp_path / 'a.fits', tmp_path / 'b.fits', train_classical(frame, **TINY))
    with fits.open(tmp_path / 'b.fits') as hdus:
        assert [hdu.name for hdu in hdus] == ['PRIMARY'] and np.isfinite(hdus[0].data).all()


@pytest.mark.parametrize('strategy', STRATEGIES)
@pytest.mark.parametrize('mean', [0.05, 3.0, 50.0])
def test_flat_poisson_frames_keep_their_mean(rng, mean, strategy):
    frame = rng.poisson(mean, (96, 96)).astype(float)
    model = train_classical(frame, strategy, struct=struct_of(strategy), **{**TINY, 'max_steps': 20})
    result = model.predict(frame, NoiseModel(0.0, gain=1.0)).mean
    assert result.mean() == pytest.approx(frame.mean(), rel=0.01)
    other = rng.poisson(mean, (160, 160)).astype(float)
    noise = np.sqrt(mean / other.size + mean / frame.size)
    assert abs(model.predict(other, NoiseModel(0.0, gain=1.0)).mean.mean() - other.mean()) < 0.01 * mean + 3 * noise


def test_same_seed_gives_the_same_weights(frame):
    first, second, other = (train_classical(frame, seed=seed, **TINY) for seed in (1, 1, 2))
    assert first.sha256 == second.sha256 != other.sha256


def test_training_removes_noise(scene):
    frame = scene.observe(seed=1)
    few, more = (train_classical(frame, 'median', **{**TINY, 'max_steps': n}, learning_rate=3e-3) for n in (1, 60))
    rms = [np.sqrt(np.mean((np.asarray(denoise(frame, model).data) - scene.truth) ** 2)) for model in (few, more)]
    assert rms[1] < rms[0]


@pytest.mark.parametrize('arguments, match', [
    ({'max_steps': 0}, 'max_steps must be a positive integer, got 0'), ({'masked': 1.0}, 'masked must be between 0'),
    ({'learning_rate': 0.0}, 'learning_rate must be positive')])
def test_bad_options(frame, arguments, match):
    with pytest.raises(ValueError, match=match):
        train_classical(frame, **arguments)
    with pytest.raises(ValueError, match='images must hold at least one'):
        train_classical([])
