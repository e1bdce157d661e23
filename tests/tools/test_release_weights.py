# Licensed under a 3-clause BSD style license - see LICENSE
"""
How weights come to be shipped.
"""

import shutil

import pytest
import release_weights as release
import torch
from models import flat_weights, make_tiny_denoiser

from astropy_n2v import Denoiser
from astropy_n2v.weights import shipped


def make_whitening_denoiser(hole=(1, 1)):
    denoiser = make_tiny_denoiser(hole)
    return Denoiser(denoiser.network, {**denoiser.metadata, 'whitened': True})


class TestRelease:
    """How weights come to be shipped."""

    @pytest.fixture
    def directory(self, tmp_path, monkeypatch):
        """Copy the shipped models to a directory where they may be changed."""
        directory = tmp_path / 'weights'
        shutil.copytree(shipped.DIRECTORY, directory)
        monkeypatch.setattr(shipped, 'DIRECTORY', directory)
        return directory

    @pytest.fixture
    def trained(self, tmp_path):
        """File of a model that could be shipped."""
        make_whitening_denoiser().save(tmp_path / 'trained.safetensors')
        return tmp_path / 'trained.safetensors'

    def test_model_is_shipped_in_half_precision(self, directory, trained):
        path = release.release(trained)
        assert path == directory / 'default-1x1.safetensors'
        denoiser = Denoiser.load('default')
        expected = flat_weights(make_tiny_denoiser())
        assert torch.equal(flat_weights(denoiser), expected.half().float())
        assert denoiser.metadata['name'] == 'default-1x1'
        assert shipped.describe_model(path)['dtype'] == 'float16'

    def test_command(self, directory, trained, capsys):
        release.main([str(trained), '--dtype', 'float32'])
        assert torch.equal(flat_weights(Denoiser.load('default')), flat_weights(make_tiny_denoiser()))
        assert capsys.readouterr().out.splitlines()[1:] == (directory / 'SHA256SUMS').read_text().splitlines()

    def test_checksums_alone(self, directory, tiny_denoiser):
        tiny_denoiser.save(directory / 'default-1x1.safetensors', overwrite=True)
        with pytest.raises(ValueError, match='is not the model that is shipped'):
            Denoiser.load('default')
        release.main([])
        assert Denoiser.load('default').sha256 == tiny_denoiser.sha256

    def test_no_model_without_a_card(self, directory, trained):
        (directory / 'default-1x1.md').unlink()
        before = shipped.read_checksums()
        with pytest.raises(FileNotFoundError, match='default-1x1.md must say what the model was trained on'):
            release.release(trained)
        release.main([])
        assert shipped.read_checksums() == before

    @pytest.mark.parametrize('model, found', [(make_tiny_denoiser, '1x1, whitens False'),
                                              (lambda: make_whitening_denoiser((3, 3)), '3x3, whitens True')])
    def test_no_model_that_the_default_cannot_be(self, directory, tmp_path, model, found):
        model().save(tmp_path / 'trained.safetensors')
        with pytest.raises(ValueError, match=f'that is to see whitened images, got .*: a hole of {found}'):
            release.release(tmp_path / 'trained.safetensors')
        assert shipped.read_checksums()['default-1x1.safetensors'] == Denoiser.load('default').sha256
