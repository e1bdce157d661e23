# Licensed under a 3-clause BSD style license - see LICENSE
"""
The shipped weights from nothing, with one command: ``python tools/train_all_shipped.py FOLDER``.

The stages are those that the shipped weights went through, the steps of several runs with the same options taken
together. The model card says how long each run took, and where simulator and likelihood still changed on the way:
weights of the same kind come out, not the same bits. A stage that is finished is not trained again,
one that was interrupted resumes from its checkpoint.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import torch

from astropy_n2v import Denoiser
from astropy_n2v.weights import DEFAULT

__all__ = ['STAGES', 'average', 'main']

#: The script that trains one stage.
RECIPE = Path(__file__).with_name('train_shipped.py')
_MIDDLE = '--widths 16 32 64 96 96 --decoder-widths 16 32 64 96 --no-focus --max-gain'
#: Name of the weights that a stage makes, of those it starts from, and the options of the recipe. Without options,
#: they are the mean of several (Wortsman et al. 2022, arXiv:2203.05482).
STAGES = (
    ('narrow', None, '--widths 12 24 48 64 64 --decoder-widths 16 32 48 64 --steps 8300 '
                     '--patch-size 96 --batch-size 8 --no-focus --max-gain 12'),
    ('wide', 'narrow', f'--steps 5300 --patch-size 128 --batch-size 5 --learning-rate 2e-3 --seed 20262 {_MIDDLE} 12'),
    ('longer', 'wide', f'--steps 5600 --patch-size 128 --batch-size 5 --learning-rate 7e-4 --seed 20266 {_MIDDLE} 12'),
    ('larger-patches', 'longer', f'--steps 7400 --learning-rate 1e-3 --seed 20270 {_MIDDLE} 12'),
    ('photons', 'larger-patches', f'--steps 7500 --learning-rate 1e-3 --seed 20271 {_MIDDLE} 12'),
    ('longest', 'photons', f'--steps 11300 --learning-rate 1e-3 --seed 20311 {_MIDDLE} 12'),
    ('last', 'longest', f'--steps 4800 --learning-rate 8e-4 --seed 20321 {_MIDDLE} 60'),
    ('mean', ('longest', 'last'), None),
    (DEFAULT, 'mean', '--steps 10541 --learning-rate 1e-3 --seed 20412'),
)


def main(arguments=None):
    """Train all stages; see ``--help``."""
    parser = argparse.ArgumentParser(description='Train the weights that are shipped with astropy_n2v, from nothing.')
    parser.add_argument('folder', type=Path, help='where to write the weights of each stage, and checkpoints')
    parser.add_argument('--stages', nargs='+', choices=[name for name, _, _ in STAGES], help='only these')
    parser.add_argument('--processes', type=int, default=1, help='that train together under torchrun, one a GPU')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads(), help='of each process')
    options = parser.parse_args(arguments)
    if options.processes < 1:
        parser.error(f'--processes must be at least 1, got {options.processes}')
    options.folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable]
    if options.processes > 1:
        command += ['-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', str(options.processes)]
    for name, start, training in STAGES:
        output = _weights(options.folder, name)
        if output.exists() or options.stages and name not in options.stages:
            continue
        starts = [] if start is None else [start] if training else list(start)
        missing = [other for other in starts if not _weights(options.folder, other).exists()]
        if missing:
            parser.error(f'--stages must include {" and ".join(missing)}, which {name} starts from and which '
                         f'{options.folder} does not have')
        print(f'stage {name}', flush=True)
        starts = [_weights(options.folder, other) for other in starts]
        if training is None:
            average(starts).save(output)
            continue
        init = [option for path in starts for option in ('--init', str(path))]
        # A process of its own: one torchrun cannot set up its processes a second time.
        subprocess.run([*command, str(RECIPE), str(output), *init, *training.split(),
                        '--threads', str(options.threads)], check=True)


def average(paths):
    """
    The mean of models, weight by weight.

    Parameters
    ----------
    paths : sequence of path
        Models of one architecture, all of which were trained on from the same weights.

    Returns
    -------
    Denoiser
        With what is known of the last.
    """
    models = [Denoiser.load(path) for path in paths]
    states = [model.network.state_dict() for model in models]
    mean = {name: torch.stack([state[name] for state in states]).mean(dim=0) for name in states[0]}
    models[-1].network.load_state_dict(mean)
    return Denoiser(models[-1].network, {**models[-1].metadata, 'mean_of': [model.sha256 for model in models]})


def _weights(folder, name):
    return folder / f'{name}.safetensors'


if __name__ == '__main__':
    main()
