# Licensed under a 3-clause BSD style license - see LICENSE
"""
The stages of the shipped weights, from nothing.
"""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import train_all_shipped as repeat
import train_shipped as recipe
from models import flat_weights

from astropy_n2v import Denoiser
from astropy_n2v.weights import shipped


class TestRepeat:
    """The shipped weights, from nothing."""

    OPTIONS = '--patch-size 32 --batch-size 2 --pool 2 --renew-every 1000 --widths 6 8 --decoder-widths 6 --steps 2'

    @pytest.fixture
    def stages(self, monkeypatch):
        """Two short stages, in this process; of those that the recipe was asked for, name and what it starts from."""
        monkeypatch.setattr(recipe, 'SCENE_SIZE', 48)
        monkeypatch.setattr(repeat, 'STAGES', (('first', None, self.OPTIONS),
                                               ('second', 'first', self.OPTIONS)))
        trained = []

        def run(command, check):
            assert check and command[:2] == [sys.executable, recipe.__file__]
            options = recipe._parse(command[2:])
            trained.append((Path(options.output).stem, options.init and Path(options.init).stem))
            recipe.main(command[2:])

        monkeypatch.setattr(subprocess, 'run', run)
        return trained

    def test_each_stage_starts_from_another(self, stages, tmp_path):
        repeat.main([str(tmp_path / 'all'), '--threads', '1'])
        first, second = (Denoiser.load(tmp_path / 'all' / f'{name}.safetensors') for name in ('first', 'second'))
        assert second.whitens and first.whitens
        assert first.sha256 != second.sha256
        assert stages == [('first', None), ('second', 'first')]

    def test_finished_stages_are_not_trained_again(self, stages, tmp_path):
        repeat.main([str(tmp_path), '--threads', '1', '--stages', 'first'])
        repeat.main([str(tmp_path), '--threads', '1'])
        repeat.main([str(tmp_path), '--threads', '1'])
        assert stages == [('first', None), ('second', 'first')]

    def test_shipped_weights(self):
        made = [name for name, _, _ in repeat.STAGES]
        assert made[-1] == shipped.DEFAULT
        for i, (_, start, training) in enumerate(repeat.STAGES):
            starts = {start} - {None} if training else set(start)
            assert starts <= set(made[:i])
            options = recipe._parse(['output', *(training or '').split()])
        model = Denoiser.load('default')
        assert model.whitens
        assert model.network.config['widths'] == list(options.widths)
        assert model.network.config['decoder_widths'] == list(options.decoder_widths)

    def test_mean_of_stages(self, stages, tmp_path, monkeypatch):
        monkeypatch.setattr(repeat, 'STAGES', (*repeat.STAGES, ('mean', ('first', 'second'), None)))
        repeat.main([str(tmp_path), '--threads', '1'])
        first, second, mean = (Denoiser.load(tmp_path / f'{name}.safetensors') for name in ('first', 'second', 'mean'))
        torch.testing.assert_close(flat_weights(mean), (flat_weights(first) + flat_weights(second)) / 2)
        assert mean.metadata['mean_of'] == [first.sha256, second.sha256] and mean.whitens is second.whitens

    @pytest.mark.parametrize('options, match', [('--stages third', "invalid choice: 'third'"),
                                                ('--stages last', '--stages must include longest, which last starts'),
                                                ('--stages mean', 'must include longest and last'),
                                                ('--processes 0', '--processes must be at least 1, got 0')])
    def test_bad_options(self, tmp_path, capsys, options, match):
        with pytest.raises(SystemExit):
            repeat.main([str(tmp_path), *options.split()])
        assert match in capsys.readouterr().err

    @pytest.mark.slow
    def test_several_processes(self, tmp_path, monkeypatch):
        monkeypatch.setattr(repeat, 'STAGES', (('first', None, self.OPTIONS), ('second', 'first', self.OPTIONS)))
        repeat.main([str(tmp_path), '--processes', '2', '--threads', '1'])
        assert Denoiser.load(tmp_path / 'second.safetensors').metadata['processes'] == 2
