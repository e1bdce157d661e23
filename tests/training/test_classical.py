# Licensed under a 3-clause BSD style license - see LICENSE
"""
Noise2Void as it was first: plain U-Net, hidden pixels, no uncertainty.
"""

import csv

import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.nddata import CCDData

from astropy_n2v import CannotDenoiseError, Denoiser, NoiseModel, denoise, train
from astropy_n2v.batch import denoise_channels, denoise_fits
from astropy_n2v.denoiser import ClassicalDenoiser
from astropy_n2v.networks import UNet
from astropy_n2v.training import monitor
from astropy_n2v.training.classical import STRATEGIES, Masking, train_classical
from astropy_n2v.training.masked_patches import BlockPatches, MaskedPatches

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
        (('other',), "strategy must be one of 'uniform', 'median', 'struct', 'n2v', 'n2v2', 'structn2v', got 'other'"),
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
        patches = MaskedPatches([(rng.normal(size=(1, *valid.shape)), valid)], Masking(), 32, 4, 0.2, rng)
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


def test_numbers_of_numpy_do_not_damage_the_checkpoint(frame, tmp_path):
    """Torch reads no others than those of Python back."""
    numbers = {'masked': np.float64(0.1), 'roi_size': np.int64(5), 'seed': np.int64(1)}
    first, again = (train_classical(frame, checkpoint=tmp_path / 'state', **numbers, **TINY) for _ in range(2))
    assert first.sha256 == again.sha256


def test_stars_do_not_judge(frame):
    with pytest.raises(TypeError, match="'star_share' is no keyword of classical strategies"):
        train_classical(frame, star_share=0.1, **TINY)


@pytest.mark.parametrize('arguments, match', [
    ({'max_steps': 0}, 'max_steps must be a positive integer, got 0'), ({'masked': 1.0}, 'masked must be between 0'),
    ({'learning_rate': 0.0}, 'learning_rate must be positive')])
def test_bad_options(frame, arguments, match):
    with pytest.raises(ValueError, match=match):
        train_classical(frame, **arguments)
    with pytest.raises(ValueError, match='images must hold at least one'):
        train_classical([])


class TestColours:
    """Models that see several channels together."""

    @pytest.fixture
    def picture(self, rng):
        return rng.normal([[[100]], [[300]], [[900]]], [[[5]], [[10]], [[20]]], (3, 48, 56))

    @pytest.fixture
    def model(self, picture):
        return train_classical(picture, channels=3, **TINY)

    def test_channels_lose_the_same_pixels(self, rng):
        patch = np.arange(2 * 15 * 17.0).reshape(2, 15, 17)
        for arguments in ('uniform', 5), ('median', 5), ('struct', 5, np.ones((1, 3))):
            hidden = Masking(*arguments).hide(patch, np.array([[7, 8], [0, 0]]), rng)
            changed = hidden != patch
            np.testing.assert_array_equal(changed[0], changed[1])
            # Of the same neighbours.
            np.testing.assert_array_equal(hidden[1] - hidden[0], patch[1] - patch[0])

    def test_denoise(self, picture, model, tmp_path):
        mask = np.zeros(picture.shape, dtype=bool)
        mask[1, 3, 4] = True
        ccd = CCDData(picture, unit='adu', mask=mask)
        result, prediction = denoise(ccd, model, full_output=True)
        assert result.uncertainty is None and np.isnan(prediction.std).all()
        np.testing.assert_array_equal(result.mask, mask)
        assert result.data[mask] == picture[mask] and np.isfinite(result.data).all()
        np.testing.assert_allclose(result.data.mean(axis=(1, 2)), (100, 300, 900), rtol=0.01)
        direct = model.predict(picture, NoiseModel(5.0), mask).mean
        np.testing.assert_allclose(result.data[~mask], direct[~mask], rtol=1e-6)
        model.save(tmp_path / 'm.safetensors')
        loaded = Denoiser.load(tmp_path / 'm.safetensors')
        assert loaded.channels == 3
        np.testing.assert_array_equal(denoise(ccd, loaded).data, result.data)

    def test_each_channel_is_used(self, picture, model):
        changed = picture.copy()
        changed[2] += 50 * np.eye(48, 56)
        before, after = (model.predict(data, NoiseModel(5.0)).mean for data in (picture, changed))
        assert np.any(before[0] != after[0])

    def test_cube_of_pictures(self, picture, model):
        cube = np.stack([picture, picture[:, ::-1]])
        result = denoise(cube, model)
        np.testing.assert_allclose(result[0], denoise(picture, model), rtol=1e-5)

    def test_denoise_channels(self, picture, model):
        bad = np.zeros(picture.shape, dtype=bool)
        bad[:, 5, 5] = True
        result, errors = denoise_channels(picture, model, mask=bad, strength=0.5)
        assert errors == [''] * 3 and np.array_equal(result[bad], picture[bad])
        whole = denoise_channels(picture, model, mask=bad)[0]
        np.testing.assert_allclose(result, (picture + whole) / 2, atol=1e-3)

    def test_tiles_are_the_whole(self, picture, model):
        large = np.tile(picture, (1, 3, 3))
        whole, tiles = (model.predict(large, NoiseModel(5.0), tile_size=size).mean for size in (512, 96))
        np.testing.assert_allclose(tiles, whole, atol=2e-3)

    def test_flat_poisson_channels_keep_their_means(self, rng):
        frame = rng.poisson(np.array([0.05, 3, 50])[:, None, None], (3, 96, 96)).astype(float)
        model = train_classical(frame, channels=3, **{**TINY, 'max_steps': 20})
        result = model.predict(frame, NoiseModel(0.0, gain=1.0)).mean
        np.testing.assert_allclose(result.mean(axis=(1, 2)), frame.mean(axis=(1, 2)), rtol=0.01)

    def test_numbers_of_channels_that_disagree(self, frame, picture, model, recwarn):
        ask = r'the model takes images of 3 channels, shape \(..., 3, ny, nx\), got '
        for data, found in ((frame, 'an image of one plane'), (np.stack([frame] * 4), '4 that can be denoised')):
            with pytest.raises(CannotDenoiseError, match=ask + found):
                denoise(data, model)
            with pytest.raises(CannotDenoiseError, match=ask + found):
                train_classical(data, channels=3, **TINY)
        constant = picture.copy()
        constant[0] = 7
        with pytest.raises(CannotDenoiseError, match=ask + '2 that can be denoised'):
            denoise(constant, model)
        for data in frame, np.stack([frame] * 4):
            with pytest.raises(ValueError, match=r'data must have the shape \(3, ny, nx\), as the model has 3 ch'):
                model.predict(data)
        with pytest.raises(ValueError, match=r'data must have the shape \(3, ny, nx\)'):
            denoise_channels(picture[:2], model)
        with pytest.raises(ValueError, match='data must be two-dimensional, got 3 dimensions'):
            train_classical(frame, **TINY).predict(picture)

    def test_a_model_of_one_channel_takes_planes_one_by_one(self, picture):
        assert denoise(picture, train_classical(picture, **TINY)).shape == picture.shape


class TestPatches:
    """Where patches come from."""

    def test_mask_of_structure_keeps_its_direction(self, rng):
        """Patches are turned by half a turn only: noise along a diagonal stays along it."""
        z = np.add.outer(np.arange(64.0), 100 * np.arange(64.0))[None]
        patches = MaskedPatches([(z, np.ones((64, 64), dtype=bool))], Masking('struct', 5, np.eye(3)), 16, 16, 0.1, rng)
        _, targets, _ = patches.draw()
        steps = torch.stack([targets[:, 0, 1, 0] - targets[:, 0, 0, 0], targets[:, 0, 0, 1] - targets[:, 0, 0, 0]])
        assert {tuple(step) for step in steps.T.tolist()} == {(1, 100), (-1, -100)}

    @pytest.mark.parametrize('n_blocks, reads', [(3, 3), (10, 4 + 5)])
    def test_blocks_are_renewed_and_resumed(self, n_blocks, reads):
        read = []

        def block(n):
            read.append(n)
            return [(np.full((1, 32, 32), n % n_blocks, dtype=np.float32), np.ones((32, 32), dtype=bool))]

        def make(seed=0):
            return BlockPatches(block, n_blocks, Masking(), 32, 2, 0.1, np.random.default_rng(seed), pool=4,
                                patches_per_block=4)

        patches = make()
        for n in range(12):
            if n == 7:
                state = patches.state
            drawn = patches.draw()
        assert len(read) == reads
        resumed = make(seed=1)
        resumed.state = state
        for _ in range(5):
            again = resumed.draw()
        assert all(torch.equal(*both) for both in zip(drawn, again))

    def test_no_pixel_counts(self, rng):
        with pytest.raises(ValueError, match='pixels that count, got none: the masks cover all'):
            MaskedPatches([(np.zeros((1, 32, 32)), np.zeros((32, 32), dtype=bool))], Masking(), 32, 2, 0.1, rng)


def test_masks_that_cover_all(frame, recwarn):
    covered = np.ma.masked_array(frame, mask=True)
    with pytest.raises(CannotDenoiseError, match='data has no valid pixel: all are masked'):
        train_classical(covered, **TINY)
    with pytest.raises(CannotDenoiseError, match='images must hold at least one that can be denoised'):
        train_classical([covered, covered], **TINY)
    assert '0: the image is left out: data has no valid pixel' in str(recwarn[0].message)
    assert train_classical([covered, frame], **TINY).metadata['images'] == 1
    with pytest.raises(ValueError, match='held_out must leave some pixels to judge by'):
        train_classical(frame, held_out=1e-9, **TINY)


def test_models_of_another_architecture(frame, tmp_path, tiny_denoiser):
    plain = train_classical(frame, **TINY)
    with pytest.raises(ValueError, match='init must be a blind-spot model, got <ClassicalDenoiser'):
        train(frame, init=plain, max_steps=1)
    # Weights of one network under the name of another.
    wrong = ClassicalDenoiser(UNet(levels=2, base=6), plain.metadata)
    wrong.network.config = plain.network.config
    wrong.save(tmp_path / 'm.safetensors')
    with pytest.raises(ValueError, match='m.safetensors holds weights that do not fit its architecture'):
        Denoiser.load(tmp_path / 'm.safetensors')


def test_log_and_curves(frame, tmp_path, monkeypatch):
    def plot(*columns, original=monitor.plot_training, **options):
        figures.append(original(*columns, **options))
        return figures[-1]

    figures = []
    monkeypatch.setattr(monitor, 'plot_training', plot)
    train_classical(frame, log=tmp_path / 'log.csv', **{**TINY, 'max_steps': 40})
    rows = list(csv.DictReader((tmp_path / 'log.csv').read_text().splitlines()))
    assert 0 < float(rows[-1]['held_out']) < 2 and (tmp_path / 'log.png').exists()
    assert figures[0].axes[0].get_ylabel() == 'squared error / variance of the data'
