# Licensed under a 3-clause BSD style license - see LICENSE
"""
Denoiser: saving, loading, predicting; the recalibration.
"""

import hashlib
import json
import os
import pickle
import shutil
import stat
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import safetensors.torch
import torch
from models import make_tiny_denoiser

from astropy_n2v import Denoiser, NoiseModel
from astropy_n2v.denoiser import SelfTrained
from astropy_n2v.inference.blind_prediction import predict_orientations
from astropy_n2v.inference.normalization import NormalizedImage
from astropy_n2v.inference.posterior import keep_counts, return_as_measured
from astropy_n2v.inference.recalibration import Recalibration
from astropy_n2v.utils.sampling import brightness_bins
from astropy_n2v.weights import shipped as weights
from astropy_n2v.weights.storage import serialize


class TestFiles:
    def test_round_trip(self, tiny_denoiser, tmp_path, rng):
        path = tmp_path / 'model.safetensors'
        tiny_denoiser.save(path)
        again = Denoiser.load(path)
        assert again.metadata == tiny_denoiser.metadata
        assert again.hole == tiny_denoiser.hole
        assert again.sha256 == tiny_denoiser.sha256
        data = rng.normal(0, 1, (32, 40))
        np.testing.assert_array_equal(again.predict(data, NoiseModel(1.0)).mean,
                                      tiny_denoiser.predict(data, NoiseModel(1.0)).mean)
        assert [file.name for file in tmp_path.iterdir()] == ['model.safetensors']

    def test_hole_is_kept(self, tmp_path):
        make_tiny_denoiser((1, 3)).save(tmp_path / 'm')
        assert Denoiser.load(tmp_path / 'm').hole == (1, 3)

    @pytest.mark.parametrize('cut', [0, 4, 100, 5000])
    def test_truncated(self, tiny_denoiser, tmp_path, cut):
        path = tmp_path / 'model.safetensors'
        tiny_denoiser.save(path)
        path.write_bytes(path.read_bytes()[:cut])
        with pytest.raises(ValueError, match='truncated'):
            Denoiser.load(path)

    def test_pickle_is_never_executed(self, tmp_path):
        class Evil:
            def __reduce__(self):
                return open, (str(tmp_path / 'was_here'), 'w')

        path = tmp_path / 'evil.safetensors'
        path.write_bytes(pickle.dumps(Evil()))
        with pytest.raises(ValueError, match='not a safetensors file'):
            Denoiser.load(path)
        torch.save({'x': torch.zeros(2)}, path)
        with pytest.raises(ValueError, match='not a safetensors file'):
            Denoiser.load(path)
        assert not (tmp_path / 'was_here').exists()

    def test_of_others(self, tmp_path):
        path = tmp_path / 'other.safetensors'
        safetensors.torch.save_file({'x': torch.zeros(3)}, path)
        with pytest.raises(ValueError, match='was not written by astropy_n2v'):
            Denoiser.load(path)

    @pytest.mark.parametrize('change, match', [
        (dict(architecture='PlainUNet'), "holds the architecture 'PlainUNet', expected 'BlindSpotUNet'"),
        (dict(version=99), 'format version 99'),
        (dict(network={'widths': [3, 3], 'decoder_widths': [3]}), 'do not fit its architecture'),
        (dict(network={'colour': 'red'}), 'do not fit its architecture'),
        (dict(hole=None), 'do not fit its architecture'),
    ])
    def test_of_another_architecture(self, tiny_denoiser, tmp_path, change, match):
        path = tmp_path / 'model.safetensors'
        raw = serialize(tiny_denoiser.network, tiny_denoiser.metadata)
        header = json.loads(raw[8:8 + int.from_bytes(raw[:8], 'little')])
        content = {**json.loads(header['__metadata__']['astropy_n2v']), **change}
        safetensors.torch.save_file(safetensors.torch.load(raw), path, metadata={'astropy_n2v': json.dumps(content)})
        with pytest.raises(ValueError, match=match):
            Denoiser.load(path)

    def test_failed_save_leaves_nothing(self, tiny_denoiser, tmp_path, monkeypatch):
        path = tmp_path / 'model.safetensors'
        path.write_text('older')
        monkeypatch.setattr('os.replace', lambda *args: (_ for _ in ()).throw(OSError('disk full')))
        with pytest.raises(OSError, match='disk full'):
            tiny_denoiser.save(path, overwrite=True)
        assert path.read_text() == 'older' and len(list(tmp_path.iterdir())) == 1


class TestShipped:
    """The models that come with the package."""

    @pytest.fixture
    def directory(self, tmp_path, monkeypatch):
        """Copy the shipped models to a directory where they may be spoilt."""
        directory = tmp_path / 'weights'
        shutil.copytree(weights.DIRECTORY, directory)
        monkeypatch.setattr(weights, 'DIRECTORY', directory)
        return directory

    def test_there_is_what_is_promised(self):
        assert weights.model_names() == [weights.DEFAULT] == ['default-1x1']
        path = weights.find_model('default')
        assert path == weights.find_model('default-1x1') and path.stat().st_size < 5e6
        assert path.with_suffix('.md').exists()

    def test_checksums_are_those_of_the_files(self):
        path = weights.find_model('default')
        assert weights.read_checksums() == {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}

    @pytest.mark.parametrize('name', ['default', 'default-1x1'])
    def test_names(self, name):
        denoiser = Denoiser.load(name)
        # Correlated noise is whitened, and the hole for white noise is sufficient.
        assert denoiser.hole == (1, 1) and denoiser.whitens
        assert denoiser.sha256 == weights.read_checksums()['default-1x1.safetensors']

    @pytest.mark.parametrize('name', ['default-3x3', 'nonsense', 'default-1x1.safetensors', ''])
    def test_unknown_name(self, name):
        with pytest.raises(FileNotFoundError, match=r'model must be .* \(default, default-1x1\), got '
                                                    f"'{name}': there is no such file"):
            Denoiser.load(name)

    def test_missing(self, directory, tmp_path, monkeypatch, tiny_denoiser):
        (directory / 'default-1x1.safetensors').unlink()
        monkeypatch.chdir(tmp_path)
        tiny_denoiser.save('default')   # is not taken for it
        with pytest.raises(FileNotFoundError, match='default-1x1.safetensors'):
            Denoiser.load('default')

    def test_a_file_of_the_same_name_needs_its_directory(self, tmp_path, monkeypatch, tiny_denoiser):
        monkeypatch.chdir(tmp_path)
        tiny_denoiser.save('default-1x1')
        assert Denoiser.load('default-1x1').sha256 != tiny_denoiser.sha256
        assert Denoiser.load('./default-1x1').sha256 == tiny_denoiser.sha256

    @pytest.mark.parametrize('name', ['default', 'default-1x1', None])
    def test_damaged(self, directory, name):
        path = directory / 'default-1x1.safetensors'
        make_tiny_denoiser((3, 3)).save(directory / 'other.safetensors')
        weights.write_checksums()
        raw = bytearray(path.read_bytes())
        raw[-3] ^= 1   # one bit of one weight: safetensors cannot notice
        path.write_bytes(raw)
        with pytest.raises(ValueError, match='its SHA-256 is [0-9a-f]{64} and not [0-9a-f]{64} as recorded .* install'):
            Denoiser.load(name or path)
        assert Denoiser.load('other').hole == (3, 3)
        # Recorded, it is what is shipped.
        weights.write_checksums()
        assert Denoiser.load(name or path).hole == (1, 1)

    def test_not_recorded(self, directory, tiny_denoiser):
        tiny_denoiser.save(directory / 'default-9x9.safetensors')
        with pytest.raises(ValueError, match='which is not recorded in SHA256SUMS'):
            Denoiser.load('default-9x9')

    def test_description(self):
        about = weights.describe_model(weights.find_model('default'))
        network = Denoiser.load('default').network
        assert about['parameters'] == sum(weight.numel() for weight in network.state_dict().values())
        assert about['card'].startswith('# default-1x1') and about['summary'] in about['card'].replace('\n', ' ')


class TestHalfPrecision:
    def test_half_the_size_and_nearly_the_same_result(self, tmp_path, scene):
        full = Denoiser.load('default')
        # The shipped weights are rounded already.
        with torch.no_grad():
            for weight in full.network.parameters():
                weight *= 1.0003
        full.save(tmp_path / 'full', dtype='float32')
        full.save(tmp_path / 'half', dtype='float16')
        assert (tmp_path / 'half').stat().st_size < 0.52 * (tmp_path / 'full').stat().st_size
        half = Denoiser.load(tmp_path / 'half')
        assert {weight.dtype for weight in half.network.state_dict().values()} == {torch.float32}
        assert half.metadata == full.metadata and half.hole == full.hole
        data = scene.observe(seed=1).data
        results = [denoiser.predict(data, scene.noise, calibrate=False) for denoiser in (full, half)]
        difference = (results[1].mean - results[0].mean) / results[0].std
        # Far below what the result is uncertain by.
        assert 0 < np.sqrt(np.mean(difference ** 2)) < 0.02

    def test_sha256_is_that_of_the_file(self, tiny_denoiser, tmp_path):
        tiny_denoiser.save(tmp_path / 'half', dtype='float16')
        half = Denoiser.load(tmp_path / 'half')
        sha256 = hashlib.sha256((tmp_path / 'half').read_bytes()).hexdigest()
        assert half.sha256 == sha256 != tiny_denoiser.sha256
        # Saved again it is the same file, unless asked for another.
        half.save(tmp_path / 'again')
        assert hashlib.sha256((tmp_path / 'again').read_bytes()).hexdigest() == sha256
        half.save(tmp_path / 'full', dtype='float32')
        assert Denoiser.load(tmp_path / 'full').sha256 != sha256

    def test_weights_in_memory_stay(self, tiny_denoiser, tmp_path):
        before = {name: weight.clone() for name, weight in tiny_denoiser.network.state_dict().items()}
        tiny_denoiser.save(tmp_path / 'half', dtype='float16')
        assert all(torch.equal(weight, before[name]) for name, weight in tiny_denoiser.network.state_dict().items())

    def test_weight_beyond_the_range(self, tiny_denoiser, tmp_path):
        with torch.no_grad():
            tiny_denoiser.network.join.weight[0, 0] = 1e5
        with pytest.raises(ValueError, match="dtype must be 'float32' for these weights, got 'float16': join.weight "
                                             r'has the value 1e\+05, float16 holds 6.55e\+04 at most'):
            tiny_denoiser.save(tmp_path / 'half', dtype='float16')
        assert not list(tmp_path.iterdir())
        tiny_denoiser.save(tmp_path / 'full')

    @pytest.mark.parametrize('dtype', ['float64', 'half', torch.float16, ''])
    def test_other_types(self, tiny_denoiser, tmp_path, dtype):
        with pytest.raises(ValueError, match="dtype must be 'float32' or 'float16', got"):
            tiny_denoiser.save(tmp_path / 'm', dtype=dtype)


class TestSave:
    def test_existing_file_is_not_replaced_unasked(self, tiny_denoiser, tmp_path):
        path = tmp_path / 'm.safetensors'
        path.write_bytes(b'dear to somebody')
        with pytest.raises(FileExistsError, match='m.safetensors exists: use overwrite'):
            tiny_denoiser.save(path)
        assert path.read_bytes() == b'dear to somebody'
        tiny_denoiser.save(path, overwrite=True)
        assert Denoiser.load(path).sha256 == tiny_denoiser.sha256

    @pytest.mark.skipif(os.name != 'posix', reason='there are no such permissions')
    @pytest.mark.parametrize('umask', [0o022, 0o077])
    def test_umask_is_honoured(self, tiny_denoiser, tmp_path, umask):
        before = os.umask(umask)
        try:
            tiny_denoiser.save(tmp_path / 'm')
        finally:
            os.umask(before)
        assert stat.S_IMODE(os.stat(tmp_path / 'm').st_mode) == 0o666 & ~umask


class TestPredict:
    def test_errors(self, tiny_denoiser):
        with pytest.raises(ValueError, match='two-dimensional'):
            tiny_denoiser.predict(np.zeros((2, 8, 8)), NoiseModel(1.0))
        with pytest.raises(ValueError, match='mask must have the shape'):
            tiny_denoiser.predict(np.zeros((16, 16)), NoiseModel(1.0), np.zeros((2, 2)))
        with pytest.raises(ValueError, match='no valid pixel'):
            tiny_denoiser.predict(np.zeros((16, 16)), NoiseModel(1.0), np.ones((16, 16)))
        with pytest.raises(ValueError, match='gain must broadcast'):
            tiny_denoiser.predict(np.zeros((16, 16)), NoiseModel(1.0, gain=np.ones(5)))

    def test_pixels_without_noise_count_as_masked(self, tiny_denoiser, rng):
        data = rng.normal(0, 1, (32, 32))
        sigma = np.ones(data.shape)
        sigma[4:6, 4:6] = 0
        mask = sigma == 0
        without = tiny_denoiser.predict(data, NoiseModel(sigma))
        masked = tiny_denoiser.predict(data, NoiseModel(1.0), mask)
        # Neither seen nor used.
        np.testing.assert_allclose(without.mean[~mask], masked.mean[~mask], atol=1e-6)
        assert np.isnan(without.innovation[mask]).all() and np.isfinite(without.mean).all()

    def test_rounding_adds_nothing_to_the_noise(self, tiny_denoiser, rng):
        noise = NoiseModel(np.hypot(0.2, 1 / np.sqrt(12)), quantum=1.0)
        data = np.round(rng.normal(100.3, 0.2, (32, 32)))
        result = tiny_denoiser.predict(data, noise, strength=0.0, audit=False)
        np.testing.assert_allclose(result.std, noise.sigma)
        result = tiny_denoiser.predict(data, noise, audit=False)
        assert (result.std >= np.minimum(noise.rounding_error(100.3), noise.sigma) - 1e-6).all()

    def test_sum_of_few_photons(self, rng):
        data = rng.poisson(0.02, (100, 40)).astype('f4')
        image = NormalizedImage.prepare(data, NoiseModel(0.0, gain=1.0))
        mean, std = np.full(data.shape, 0.01, dtype='f4'), rng.uniform(0.05, 0.1, data.shape).astype('f4')
        returned = np.zeros(data.shape, dtype=bool)
        returned[70, 30], mean[70, 30], std[70, 30] = True, 3, 2
        keep_counts(image, mean, std, returned)
        assert mean.sum() == pytest.approx(data.sum(), rel=1e-4) and mean[70, 30] == 3

    def test_pixels_that_are_returned_have_their_noise(self):
        image = NormalizedImage.prepare(np.full((8, 8), 16.0), NoiseModel(3.0, gain=1.0))
        part = {'mean': np.full((8, 8), np.nan), 'std': np.full((8, 8), np.nan), 'blind_mean': np.full((8, 8), np.nan)}
        return_as_measured(image, slice(0, 8), part, np.ones((8, 8), dtype=bool))
        assert (part['mean'] == 16).all() and (part['std'] == 5).all()

    def test_progress_reaches_one(self, tiny_denoiser, rng):
        fractions = []
        tiny_denoiser.predict(rng.normal(0, 1, (150, 150)), NoiseModel(1.0), tile_size=112, progress=fractions.append)
        assert len(fractions) > 1 and fractions[-1] == 1 and sorted(fractions) == fractions

    def test_progress_counts_the_bootstrap(self, tiny_denoiser, rng):
        data, fractions = rng.normal(0, 1, (150, 150)), []
        model = SelfTrained(tiny_denoiser.network)
        model.predict(data, NoiseModel(1.0), held_out=rng.random(data.shape) < 0.1, progress=fractions.append)
        # A model that was trained on these data alone predicts three times.
        assert fractions == pytest.approx([1 / 3, 1])

    @pytest.mark.slow
    @pytest.mark.parametrize('frame, options', [
        ('image', 'noise=NoiseModel(1.0)'),
        ('CCDData(image, unit="adu", mask=image > 5, uncertainty=StdDevUncertainty(np.ones_like(image)))', 'hole=1')])
    def test_memory_is_bounded(self, frame, options):
        code = textwrap.dedent(f'''
            import sys
            sys.path[:] = {sys.path!r}
            import resource, numpy as np, torch, scipy.ndimage
            from astropy.nddata import CCDData, StdDevUncertainty
            import astropy_n2v.denoising, astropy_n2v.denoiser
            from astropy_n2v import NoiseModel, denoise
            base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            image = np.random.default_rng(0).standard_normal((4096, 4096), dtype=np.float32)
            denoise({frame}, {options})
            print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) / 1024 ** 2)
        ''')
        output = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
        assert float(output.stdout) < 1.2   # GiB, input and output included


class TestCalibration:
    def simulate(self, rng, offset=0.0, factor=1.0, n=100_000):
        mean = rng.exponential(2, n)
        spread = np.full(n, 0.7)
        x = mean + 0.7 * np.sqrt(factor) * rng.normal(size=n)
        y = x + rng.normal(size=n)
        return y - (mean - offset * np.sqrt(1.49)), mean - offset * np.sqrt(1.49), spread, np.ones(n), np.ones(n)

    def test_right_prediction_is_left_alone(self, rng):
        arguments = self.simulate(rng)
        recalibration = Recalibration.fit(*arguments)
        mean, spread = recalibration.apply(*arguments[1:4])
        assert np.abs(mean - arguments[1]).max() < 0.05
        assert np.abs(spread - 0.7).max() < 0.05
        assert recalibration.innovation_rms == pytest.approx(1, abs=0.01)

    def test_offset_and_spread_are_found(self, rng):
        arguments = self.simulate(rng, offset=0.3, factor=2.0)
        mean, spread = Recalibration.fit(*arguments).apply(*arguments[1:4])
        assert np.mean(arguments[0] + arguments[1] - mean) == pytest.approx(0, abs=0.02)
        assert np.median(spread) == pytest.approx(0.7 * np.sqrt(2), rel=0.03)

    def test_no_edge_decides(self, rng):
        """That a rounding error lets two pixels change places moves no correction."""
        difference, mean, *others = self.simulate(rng, offset=0.3, factor=2.0, n=5000)
        order = np.argsort(mean)
        # Two pixels that differ in all but brightness change places at each twentieth.
        last, first = order[249::250][:-1], order[250::250]
        difference[last], difference[first] = 5.0, -5.0
        moved = mean.copy()
        moved[last], moved[first] = mean[first], mean[last]
        before, after = (Recalibration.fit(difference, values, *others).offset for values in (mean, moved))
        assert np.abs(after - before).max() < 1e-3

    @pytest.mark.parametrize('n', [200, 250, 399, 1000, 4000, 33333])
    def test_bins_share_out_all_pixels(self, rng, n):
        mean = rng.normal(size=n)
        bins, counts = brightness_bins(mean), np.zeros(n)
        for _, part, weight in bins:
            counts[part] += weight
            assert weight.sum() >= 100
        np.testing.assert_allclose(counts, 1)
        assert np.all(np.diff([middle for middle, *_ in bins]) > 0)

    def test_few_pixels_change_nothing(self, rng):
        arguments = [values[:50] for values in self.simulate(rng, offset=1.0)]
        mean, spread = Recalibration.fit(*arguments).apply(*arguments[1:4])
        np.testing.assert_array_equal(mean, arguments[1])
        np.testing.assert_array_equal(spread, arguments[2])

    def test_spread_is_judged_by_contrast(self, rng):
        """Tolerate a noise model that is wrong by 2 per cent where the spread is 1 per cent of the variance."""
        spread = rng.choice([0.02, 0.25], 400_000, p=[0.8, 0.2])
        mean, noise, weight = rng.uniform(-0.3, 0.3, spread.size), np.ones(spread.size), np.ones(spread.size)
        for factor in 0.4, 1.0, 2.0:
            difference = rng.normal(0, np.sqrt(1.02 + factor * spread ** 2))
            fitted = Recalibration.fit(difference, mean, spread, noise, weight, relative_error=0.03).factor
            # Known to a tenth, it is drawn a fifth of the way to 1.
            np.testing.assert_allclose(fitted, 1 + 0.8 * (factor - 1), atol=0.2)

    @pytest.mark.parametrize('share, ratio, wrong', [(0.01, 1.3, True), (0.01, 0.8, True), (0.01, 1.05, False),
                                                     (0.9, 1.3, False), (0.9, 1.6, True), (0.4, 0.85, False)])
    def test_noise_is_contradicted_by_noise(self, rng, share, ratio, wrong):
        """Blame the spread of the prediction where it makes most of the innovations."""
        n = 20_000
        noise, spread = np.full(n, 1 - share), np.full(n, np.sqrt(share))
        fitted = Recalibration.fit(rng.normal(0, ratio, n), rng.uniform(0, 10, n), spread, noise, np.ones(n))
        assert fitted.share == pytest.approx(share) and fitted.innovation_rms == pytest.approx(ratio, rel=0.02)
        assert fitted.contradicts_noise == wrong
        assert not Recalibration.neutral().contradicts_noise

    def test_noise_that_is_overstated_does_not_take_the_spread_away(self, rng):
        """Keep the spread where all pixels are equally uncertain, and nearly zero would explain innovations as well."""
        mean, spread, ones = rng.uniform(-5, 5, 30_000), np.full(30_000, 0.45), np.ones(30_000)
        difference = rng.normal(0, np.sqrt(0.6 + spread ** 2))
        fitted = Recalibration.fit(difference, mean, spread, ones, ones, relative_error=0.1).factor
        assert fitted.min() > 0.5


class TestOrientations:
    """Where a network was trained on the very image, it is asked in all orientations."""

    @pytest.mark.parametrize('hole', [(1, 1), (1, 3)])
    def test_mean_does_not_depend_on_the_orientation(self, hole):
        torch.manual_seed(3)
        network = make_tiny_denoiser(hole=hole).network
        inputs = torch.randn(1, 4, 32, 48)
        inner = (slice(0, 32), slice(0, 48))
        mean, log_spread = predict_orientations(network, inputs, inner)
        flipped, flipped_spread = (part.flip([2]) for part in predict_orientations(network, inputs.flip([2]), inner))
        torch.testing.assert_close(flipped, mean, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(flipped_spread, log_spread, atol=1e-5, rtol=1e-4)
        part = predict_orientations(network, inputs, (slice(3, 20), slice(5, 48)))[0]
        torch.testing.assert_close(part, mean[:, :, 3:20, 5:])

    def test_still_blind(self):
        network = make_tiny_denoiser().network
        inputs = torch.randn(1, 4, 32, 32)
        changed = inputs.clone()
        changed[:, :, 16, 16] += 5
        everything = (slice(0, 32), slice(0, 32))
        before, after = (predict_orientations(network, image, everything)[0] for image in (inputs, changed))
        assert before[0, 0, 16, 16] == after[0, 0, 16, 16] and (before != after).any()
