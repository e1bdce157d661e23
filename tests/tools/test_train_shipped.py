# Licensed under a 3-clause BSD style license - see LICENSE
"""
The recipe of the shipped weights: its files, its checkpoints, its processes.
"""

import os
import shutil
import subprocess
import sys
import textwrap

import pytest
import torch
import train_shipped as recipe
from models import flat_weights

from astropy_n2v import Denoiser
from astropy_n2v.training.loop import Trainer


@pytest.mark.parametrize('correlated', [0, 0.5])
def test_recipe_trains_from_nothing_and_from_weights(correlated, tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, 'SCENE_SIZE', 48)
    output = tmp_path / 'model.safetensors'
    options = f'--correlated {correlated} --patch-size 32 --batch-size 2 --pool 2 --threads 1'.split()
    recipe.main([str(output), '--steps', '2', *options])
    first = Denoiser.load(output)
    assert first.hole == (1, 1) and first.whitens
    assert first.metadata['steps'] == 2
    second = tmp_path / 'second.safetensors'
    recipe.main([str(second), '--steps', '3', '--init', str(output), *options])
    assert Denoiser.load(second).metadata['steps'] == 3


def test_recipe_takes_real_frames(scene, tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, 'SCENE_SIZE', 48)
    path, output = tmp_path / 'frame.fits', tmp_path / 'model.safetensors'
    scene.observe(seed=3).write(path)
    recipe.main([str(output), '--steps', '1', '--real', str(path), str(path), '--real-share', '0.5',
                 *'--patch-size 32 --batch-size 4 --pool 2 --threads 1 --widths 6 8 --decoder-widths 6'.split()])
    assert Denoiser.load(output).metadata['trained_on'].endswith('and 2 real frames')


class TestRecipe:
    """Its files, its checkpoints, its processes."""

    OPTIONS = ('--patch-size 32 --batch-size 2 --pool 2 --renew-every 1000 --threads 1 --widths 6 8 '
               '--decoder-widths 6 --steps 2')

    @pytest.fixture(scope='class')
    @classmethod
    def finished(cls, tmp_path_factory):
        """Directory of a run of two steps: its model m and m.ckpt."""
        directory = tmp_path_factory.mktemp('finished')
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(recipe, 'SCENE_SIZE', 48)
            patch.setattr(Trainer.run, '__defaults__', (None, 2, None))   # saves every second step
            recipe.main([str(directory / 'm'), *cls.OPTIONS.split()])
        return directory

    @pytest.fixture
    def run(self, finished, tmp_path, monkeypatch):
        """Run the recipe again."""
        shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
        monkeypatch.setattr(recipe, 'SCENE_SIZE', 48)
        monkeypatch.setattr(Trainer.run, '__defaults__', (None, 2, None))

        def run_recipe(options=''):
            recipe.main([str(tmp_path / 'm'), *self.OPTIONS.split(), *options.split()])
            return Denoiser.load(tmp_path / 'm')
        return run_recipe

    def test_half_precision(self, run, tmp_path):
        full = Denoiser.load(tmp_path / 'm')
        size = (tmp_path / 'm').stat().st_size
        half = run('--dtype float16')   # resumes at its end
        assert half.metadata == full.metadata
        assert torch.equal(flat_weights(half), flat_weights(full).half().float())
        assert not torch.equal(flat_weights(half), flat_weights(full))
        assert (tmp_path / 'm').stat().st_size < size - 2 * len(flat_weights(full)) + 100

    def test_budget_may_change(self, run):
        assert run('--steps 4 --minutes 5 --threads 2').metadata['steps'] == 4

    @pytest.mark.parametrize('change, match', [
        ('--correlated 0.3', 'correlated 0.0 and not 0.3'), ('--seed 3', 'seed 20261 and not 3'),
        ('--widths 6 10', r'widths \[6, 8\] and not \[6, 10\]'),
        ('--decoder-widths 8', r'decoder_widths \[6\] and not \[8\]'), ('--patch-size 48', 'patch_size 32 and not 48'),
        ('--batch-size 3', 'batch_size 2 and not 3'), ('--learning-rate 1e-3', 'learning_rate 0.004 and not 0.001'),
        ('--pool 3', 'pool 2 and not 3'),
        ('--max-gain 12', 'max_gain 24.0 and not 12.0'), ('--no-focus', 'focus True and not False'),
        ('--renew-every 2', 'renew_every 1000 and not 2'),
        ('--init INIT', "init None and not '[0-9a-f]{64}'")])
    def test_checkpoint_of_other_options_is_an_error(self, run, tmp_path, change, match):
        before = Denoiser.load(tmp_path / 'm')
        shutil.copy(tmp_path / 'm', tmp_path / 'init')
        with pytest.raises(ValueError, match=f'm.ckpt is of another training and cannot be resumed from .*{match}'):
            run(change.replace('INIT', str(tmp_path / 'init')))
        assert Denoiser.load(tmp_path / 'm').sha256 == before.sha256

    def test_checkpoint_from_other_weights_is_an_error(self, run, tmp_path):
        (tmp_path / 'm.ckpt').unlink()
        shutil.copy(tmp_path / 'm', tmp_path / 'init')
        init = f'--init {tmp_path / "init"}'
        run(init)
        shutil.copy(tmp_path / 'm', tmp_path / 'init')
        with pytest.raises(ValueError, match="init '[0-9a-f]{64}' and not '[0-9a-f]{64}'"):
            run(init)

    def test_checkpoint_of_other_scenes_is_an_error(self, run, monkeypatch):
        monkeypatch.setattr(recipe, 'RANDOM_FIELDS', {'empty': 1.0})
        with pytest.raises(ValueError, match="fields {'survey': .*} and not {'empty': 1.0}"):
            run()

    def test_checkpoint_that_does_not_say_what_it_is_of(self, run, tmp_path):
        state = torch.load(tmp_path / 'm.ckpt', weights_only=True)
        torch.save({**state, 'identity': {}}, tmp_path / 'm.ckpt')
        with pytest.raises(ValueError, match='m.ckpt does not say of which training it is'):
            run()

    @pytest.mark.slow
    def test_processes_train_one_network(self, tmp_path):
        """Two processes agree; killed and resumed, they end with the same weights."""
        code = textwrap.dedent(f'''
            import itertools, os, signal, sys
            sys.path[:] = {sys.path!r}
            import torch
            import train_shipped as recipe
            from astropy_n2v.training.loop import Trainer

            recipe.SCENE_SIZE = 48
            # The first judgement, after three steps, is the best.
            recipe._make_judge = lambda options: lambda candidate, values=itertools.count(): next(values)
            run, step = Trainer.run, Trainer._train_step
            output, rank, deadly_step = sys.argv[1], os.environ['RANK'], int(os.environ['DEADLY_STEP'])

            def train_step(self, fraction):
                if (rank, self.step) == ('1', deadly_step):
                    os.kill(os.getpid(), signal.SIGKILL)
                return step(self, fraction)

            def train(self, checkpoint, identity):
                self.judge_every, self.keep = 3, 'best'
                run(self, checkpoint, 2, identity)
                torch.save({{'network': self.network.state_dict(), 'average': self.average.state_dict(),
                            'drawn': self.sampler.draw()}}, f'{{output}}.{{rank}}')

            Trainer.run, Trainer._train_step = train, train_step
            recipe.main(sys.argv[1:])
            recipe.end_process()
        ''')
        (tmp_path / 'program.py').write_text(code)

        def torchrun(name, deadly_step=-1):
            command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2',
                       tmp_path / 'program.py', tmp_path / name, *self.OPTIONS.split(), '--steps', '6']
            return subprocess.run(command, capture_output=True, text=True,
                                  env={**os.environ, 'DEADLY_STEP': str(deadly_step)})

        def states(name):
            return [torch.load(tmp_path / f'{name}.{rank}', weights_only=True) for rank in (0, 1)]

        def same(first, second):
            return all(torch.equal(first[name], second[name]) for name in first)

        result = torchrun('whole')
        assert result.returncode == 0, result.stderr
        whole = states('whole')
        assert same(whole[0]['network'], whole[1]['network']) and same(whole[0]['average'], whole[1]['average'])
        # The best of what the first judged, and not the last.
        assert not torch.equal(whole[1]['network']['join.weight'], whole[1]['average']['module.join.weight'])
        # Each sees frames of its own.
        assert not torch.equal(whole[0]['drawn'], whole[1]['drawn'])
        metadata = Denoiser.load(tmp_path / 'whole').metadata
        assert metadata['processes'] == 2 and metadata['steps'] == 6

        result = torchrun('killed', deadly_step=5)
        assert result.returncode != 0 and not (tmp_path / 'killed').exists()
        assert torch.load(tmp_path / 'killed.ckpt', weights_only=True)['step'] == 4
        result = torchrun('killed')
        assert result.returncode == 0, result.stderr
        killed = states('killed')
        for first, second in zip(whole, killed):
            assert same(first['network'], second['network']) and torch.equal(first['drawn'], second['drawn'])

        # Of two processes, it is not what one alone would go on with.
        arguments = [str(tmp_path / 'killed'), *self.OPTIONS.split(), '--steps', '8']
        with pytest.raises(ValueError, match='processes 2 and not 1'):
            recipe.main(arguments)
