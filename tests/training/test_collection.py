# Licensed under a 3-clause BSD style license - see LICENSE
"""
Training on collections: patches from blocks, augmentation, repeatability, resuming, memory.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from astropy.io import fits
from models import flat_weights

from astropy_n2v import NoiseModel
from astropy_n2v.collections import CollectionBlocks, make_manifest, split_manifest
from astropy_n2v.simulate import make_scene
from astropy_n2v.training.augmentation import rotate_patch, thin_patch
from astropy_n2v.training.collection import train_collection
from astropy_n2v.training.patches import TrainingFrame
from astropy_n2v.training.streaming import StreamSampler, source_cells

TINY = dict(widths=(6, 8), decoder_widths=(6,), head_width=8)
OPTIONS = dict(max_steps=6, batch_size=2, patch_size=32, network_options=TINY)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Six frames of as many fields."""
    path = tmp_path_factory.mktemp('frames')
    for n in range(6):
        make_scene('survey', (96, 128), seed=n).observe(seed=n).write(path / f'{n}.fits')
    return path


@pytest.fixture(scope='module')
def manifest(folder):
    return make_manifest(folder)


@pytest.fixture(scope='module')
def split(manifest):
    return split_manifest(manifest)


@pytest.fixture
def blocks(manifest):
    return CollectionBlocks(manifest, block_size=64)


def sampler_of(blocks, seed=0, **options):
    return StreamSampler(blocks, 32, 2, np.random.default_rng(seed), **{'pool': 3, 'patches_per_block': 4, **options})


def draws(sampler, n):
    return torch.stack([sampler.draw() for _ in range(n)])


class TestStream:
    def test_seed_gives_the_same_patches(self, blocks):
        one, same = (draws(sampler_of(blocks), 12) for _ in range(2))
        assert torch.equal(one, same) and one.shape == (12, 2, 7, 32, 32)
        assert not torch.equal(one, draws(sampler_of(blocks, 1), 12))

    def test_processes_that_read_ahead_change_nothing(self, blocks):
        assert torch.equal(draws(sampler_of(blocks, workers=2), 12), draws(sampler_of(blocks), 12))

    @pytest.mark.parametrize('n', [0, 1, 2, 7, 8, 30])
    def test_resumed(self, blocks, n):
        sampler = sampler_of(blocks)
        draws(sampler, n) if n else None
        resumed = sampler_of(blocks, 99)
        resumed.state = sampler.state
        assert torch.equal(draws(resumed, 9), draws(sampler, 9))

    def test_pool_is_renewed_and_does_not_grow(self, blocks):
        sampler = sampler_of(blocks)
        seen = {}   # frames that are kept, so that none gets the identity of another
        for _ in range(2 * len(blocks)):
            sampler.draw()
            assert len(sampler.frames) == 3
            seen |= {id(frame): frame for frame in sampler.frames}
        assert sampler.renew_every == 2 and len(seen) >= 3 + len(blocks) - 1

    def test_collection_that_fits_into_the_pool_is_read_once(self, blocks, monkeypatch):
        sampler = sampler_of(blocks, pool=100)
        monkeypatch.setattr(blocks, 'planes', None)
        draws(sampler, 100)
        assert len(sampler.frames) == len(blocks)

    def test_global_random_state_stays(self, blocks):
        before = torch.random.get_rng_state()
        draws(sampler_of(blocks), 3)
        assert torch.equal(torch.random.get_rng_state(), before)

    def test_patches_are_flipped_turned_and_shifted_by_whole_pixels(self, tmp_path):
        """All eight orientations of a patch, at any place, and its pixels as they are."""
        fits.writeto(tmp_path / 'a.fits', np.random.default_rng(0).normal(500, 10, (64, 72)).astype('f4'))
        sampler = sampler_of(CollectionBlocks(make_manifest(tmp_path), block_size=96), thinning=0, whiten=False)
        (frame,) = sampler.frames
        whole = np.pad(frame.planes[0].numpy(), 32)
        windows = np.lib.stride_tricks.sliding_window_view(whole, (32, 32))
        found, places = set(), set()
        for patch in draws(sampler, 40)[:, :, 0].reshape(-1, 32, 32).numpy():
            ways = {(turns, flip): np.rot90(patch[:, ::-1] if flip else patch, -turns)
                    for turns in range(4) for flip in (False, True)}
            hits = [(way, place) for way, image in ways.items()
                    for place in np.argwhere(windows[..., 16, 16] == image[16, 16])
                    if np.array_equal(windows[tuple(place)], image)]
            ((way, place),) = hits
            found.add(way)
            places.add(tuple(place % 2))
        assert len(found) == 8 and len(places) == 4

    def test_sources_are_seen_more_often(self, tmp_path, rng):
        data = rng.normal(100, 5, (256, 256))
        data[40:48, 200:208] += 200
        fits.writeto(tmp_path / 'a.fits', data)
        blocks = CollectionBlocks(make_manifest(tmp_path))
        share = [float((draws(sampler_of(blocks, source_share=share, thinning=0), 40)[:, :, 0] > 20).any((2, 3))
                       .float().mean()) for share in (0.0, 0.5, 1.0)]
        assert share[0] < 0.15 and 0.35 < share[1] < 0.75 and share[2] > 0.8

    def test_noise_alone_is_no_source(self, rng):
        frame = TrainingFrame(rng.normal(100, 5, (512, 512)), NoiseModel(5.0))
        assert len(source_cells(frame)) <= 1

    def test_noise_of_neighbours_stays_independent(self, tmp_path, rng):
        fits.writeto(tmp_path / 'a.fits', rng.normal(100, 5, (256, 256)))
        blocks = CollectionBlocks(make_manifest(tmp_path))

        def correlation(**options):
            z = draws(sampler_of(blocks, thinning=0, **options), 60)[:, :, 0, 6:-6, 6:-6].double()
            return float((z[..., 1:] * z[..., :-1]).mean() / (z ** 2).mean())

        assert abs(correlation()) < 0.02
        # The reason why small rotations and shifts are off.
        assert correlation(rotation=5.0, shift=0.5) > 0.05

    @pytest.mark.parametrize(('options', 'message'), [
        ({'pool': 0}, 'pool must be a positive integer'), ({'workers': -1}, 'workers must be a non-negative integer'),
        ({'source_share': 2}, 'source_share must be between 0 and 1'), ({'thinning': -1}, 'thinning must be between'),
        ({'rotation': -1}, 'rotation must be a number from 0 on'),
        ({'patches_per_block': 0}, 'patches_per_block must be a positive integer')])
    def test_bad_options(self, blocks, options, message):
        with pytest.raises(ValueError, match=message):
            sampler_of(blocks, **options)


class TestThinning:
    @pytest.mark.parametrize('share', [0.3, 0.9])
    @pytest.mark.parametrize('signal', [0, 40, 400])
    def test_noise_is_as_its_parameters_say(self, rng, share, signal):
        noise = NoiseModel(3.0, gain=2.0, zero_point=50.0)
        data = np.full((256, 256), 100.0)   # the sky
        data[:, 128:] += signal
        scale = np.sqrt(noise.variance(100.0))
        z = (noise.sample(data, rng) - 100) / scale
        constants = [1, 1, noise.sigma ** 2 / scale ** 2, noise.slope / scale, (50 - 100) / scale, 0]
        planes = torch.from_numpy(np.stack([z, *(np.full(z.shape, float(value)) for value in constants)]))
        z, _, _, v0, slope, zero, _ = thin_patch(planes.float(), share, rng).double().numpy()
        sky, bright = z[:, :128], z[:, 128:]
        mean = bright.mean() - sky.mean()
        assert sky.mean() == pytest.approx(0, abs=0.05) and sky.std() == pytest.approx(1, rel=0.03)
        expected = v0[0, 0] + slope[0, 0] * max(mean - zero[0, 0], 0)
        assert bright.var() == pytest.approx(expected, rel=0.03)
        # The signal falls in electrons by that share.
        per_electron = slope[0, 0]
        assert mean / per_electron == pytest.approx(share * signal * 2.0, rel=0.02, abs=0.5)

    def test_multiplied_data_would_not_be(self, rng):
        noise = NoiseModel(0.0, gain=1.0)
        planes = TrainingFrame(noise.sample(np.full((256, 256), 100.0), rng), noise).planes
        thinned = thin_patch(planes, 0.25, rng)
        # Of 25 electrons the noise is 5, and 2.5 if those of 100 are multiplied.
        assert float(thinned[4, 0, 0]) == pytest.approx(0.2, rel=0.05)
        assert float(thinned[0].std()) == pytest.approx(1, rel=0.03)

    def test_pixels_that_are_not_seen_and_noise_without_photons_stay(self, rng):
        planes = TrainingFrame(rng.normal(100, 5, (64, 64)), NoiseModel(5.0)).planes
        assert torch.equal(thin_patch(planes, 0.5, rng), planes)
        data = rng.poisson(100, (64, 64)).astype(float)
        data[:8] = np.nan
        planes = TrainingFrame(data, NoiseModel(0.0, gain=1.0)).planes
        thinned = thin_patch(planes, 0.5, rng)
        assert torch.equal(thinned[:, :8], planes[:, :8]) and not torch.equal(thinned[0, 8:], planes[0, 8:])


def test_rotated_patch(rng):
    planes = TrainingFrame(rng.normal(100, 5, (64, 64)), NoiseModel(5.0)).planes
    same = rotate_patch(planes, 0.0)
    assert torch.allclose(same, planes, atol=1e-4)
    quarter = rotate_patch(planes, 90.0)
    assert torch.allclose(quarter[0, 2:-2, 2:-2], torch.rot90(planes[0], -1)[2:-2, 2:-2], atol=1e-3) \
        or torch.allclose(quarter[0, 2:-2, 2:-2], torch.rot90(planes[0], 1)[2:-2, 2:-2], atol=1e-3)
    tilted = rotate_patch(planes, 30.0)
    assert tilted[1, 0, 0] == 0 and tilted[0, 0, 0] == 0 and tilted[1, 32, 32] == 1


class TestTraining:
    def test_seed_gives_the_same_weights(self, manifest, split):
        first, second, other = (train_collection(manifest, split, seed=seed, **OPTIONS) for seed in (1, 1, 2))
        assert torch.equal(flat_weights(first), flat_weights(second))
        assert not torch.equal(flat_weights(first), flat_weights(other))
        assert first.metadata['images'] == 4 and first.metadata['steps'] == 6

    def test_it_learns(self, manifest, split):
        options = {**OPTIONS, 'batch_size': 4, 'patience': None, 'hole': 1}
        few, more = (train_collection(manifest, split, **{**options, 'max_steps': n}) for n in (1, 150))
        assert more.metadata['held_out_likelihood'] < few.metadata['held_out_likelihood'] - 0.02

    def test_resumed_from_a_checkpoint(self, manifest, split, tmp_path, monkeypatch):
        loading = {'pool': 2, 'patches_per_block': 4}
        options = {**OPTIONS, 'max_steps': 12, 'loading': loading, 'block_size': 48}
        whole = train_collection(manifest, split, **options)

        class Stop(Exception):
            pass

        draw = StreamSampler.draw

        def interrupted(self):
            if self.drawn == 7:
                raise Stop
            return draw(self)

        from astropy_n2v.training.loop import Trainer
        run = Trainer.run
        monkeypatch.setattr(Trainer, 'run', lambda self, **kwargs: run(self, checkpoint_every=3, **kwargs))
        monkeypatch.setattr(StreamSampler, 'draw', interrupted)
        with pytest.raises(Stop):
            train_collection(manifest, split, checkpoint=tmp_path / 'c', **options)
        monkeypatch.setattr(StreamSampler, 'draw', draw)
        resumed = train_collection(manifest, split, checkpoint=tmp_path / 'c', **options)
        assert torch.equal(flat_weights(resumed), flat_weights(whole))
        with pytest.raises(ValueError, match='checkpoint .* is of another training .*other data'):
            train_collection(manifest[::-1], split, checkpoint=tmp_path / 'c', **options)

    def test_validation_is_needed(self, manifest):
        with pytest.raises(ValueError, match='the split validation must have at least one image'):
            train_collection(manifest, split_manifest(manifest, (0.8, 0.0, 0.2)), **OPTIONS)

    def test_validation_frames_are_not_trained_on(self, manifest, split, monkeypatch):
        seen = {}

        class Spy(CollectionBlocks):
            def planes(self, n):
                seen.setdefault(len(self.images), set()).add(self.images[self.place(n)[0]][0])
                return super().planes(n)

        monkeypatch.setattr('astropy_n2v.training.collection.CollectionBlocks', Spy)
        train_collection(manifest, split, **OPTIONS)
        parts = dict(zip(manifest['path'].tolist(), split.column(manifest).tolist()))
        assert {parts[path] for path in seen[4]} == {'train'} and {parts[path] for path in seen[1]} == {'validation'}

    def test_options(self, manifest, split):
        with pytest.raises(TypeError, match="'held_out' is no keyword"):
            train_collection(manifest, split, held_out=0.1)
        with pytest.raises(TypeError, match="'max_step' is no keyword"):
            train_collection(manifest, split, max_step=1)

    def test_frames_that_are_gone(self, manifest, split):
        gone = manifest.copy()
        gone['path'] = [path + '.gone' for path in manifest['path'].tolist()]
        frames = [{**frame, 'path': frame['path'] + '.gone'} for frame in split.frames]
        with pytest.raises(FileNotFoundError):
            train_collection(gone, replace(split, frames=frames), **OPTIONS)
