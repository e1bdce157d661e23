# Licensed under a 3-clause BSD style license - see LICENSE
"""
Is a model that is trained on the frames of a telescope better on its other frames? ``python benchmarks/own_model.py``.

Exposures of ARCSAT, reduced with bias, dark and flat of their night, go through the five commands of a collection:
manifest, split, check, train, preview. They are of one field, so that the split is by frame. The exposures of the test
are then denoised by the default model and by the one that was trained, and each is compared with two halves of the
other exposures of test and validation, as in ``exposures.py``: exposures that were trained on are no reference, as a
network may have kept some of their noise.

Writes ``results/own_model.csv``; with ``--likelihood``, where no stars judge the training,
``results/own_model_likelihood.csv``. Needs the environment variable ASTROPY_N2V_TEST_DATA. Training takes ten minutes
of a processor, and is resumed where it was interrupted; with ``--folder`` a model that is there is not trained again.
"""

import json
import subprocess
import sys
import tempfile
import warnings
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from common import parse, real_images, say, write_table
from exposures import Series, interval, measure_exposure, read_arcsat

from astropy_n2v import Denoiser, denoise

__all__ = ['compare', 'main', 'run_commands', 'write_reduced']

_SIZE = 1024   # pixels: height and width of the detector
_FRACTIONS = '0.6', '0.1', '0.3'   # of training, validation and test: each of the test is judged by all others of it
_FEWEST = 200   # pixels of a bin in all exposures: fewer are a few stars


def write_reduced(exposures, folder, raw):
    """
    Write reduced exposures as FITS files, with the headers of the raw ones.

    Parameters
    ----------
    exposures : list of tuple
        From `exposures.read_arcsat`.
    folder, raw : path
        Where to, and the folder of the real images.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, ccd, _ in exposures:
        header = fits.getheader(raw / 'arcsat' / f'light_g_{name[-2:]}.fits.gz')
        for keyword in 'BSCALE', 'BZERO':
            header.remove(keyword, ignore_missing=True)
        header['BUNIT'] = 'adu'
        fits.writeto(folder / f'{name}.fits', np.asarray(ccd.data, dtype=np.float32), header, overwrite=True,
                     output_verify='fix')


def run_commands(folder, train):
    """
    Run the five commands in a folder that has the frames in ``reduced``.

    Parameters
    ----------
    folder : path
        The folder.
    train : sequence of str
        Further arguments of ``train``.
    """
    split = ['--manifest', 'manifest.ecsv', '--split', 'split.json']
    commands = [['manifest', 'reduced', '-o', 'manifest.ecsv'],
                ['split', 'manifest.ecsv', '-o', 'split.json', '--by', 'frame', '--fractions', *_FRACTIONS,
                 '--overwrite'],
                ['check', 'manifest.ecsv', *split[2:]],
                ['train', *split, '-o', 'own.safetensors', *train],
                ['preview', *split, '--model', 'own.safetensors', '-n', '2', '-o', 'pictures', '--overwrite']]
    for command in commands:
        if command[0] == 'train' and (folder / 'own.safetensors').exists():
            continue
        print('astropy-n2v', *command, flush=True)
        subprocess.run([sys.executable, '-m', 'astropy_n2v.cli', *command], cwd=folder, check=True)


def compare(exposures, split, models):
    """
    Compare models on the exposures of the test.

    Parameters
    ----------
    exposures : list of tuple
        From `exposures.read_arcsat`.
    split : dict
        Name of the part by the name of the exposure.
    models : dict
        Models by their names, the one that the others are compared with first.

    Returns
    -------
    list of dict
        A row for each kind of pixels and model.
    """
    def clean(name, ccd, noise):
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', AstropyUserWarning)
            return np.asarray(denoise(ccd, models[name], noise=noise).data, dtype=float)

    unseen = [exposure for exposure in exposures if split[exposure[0]] != 'train']
    series = Series('ARCSAT', unseen, margin=16, in_turn=False, gradient=True)
    parts = [measure_exposure(series, i, list(models), clean)[0] for i, (name, _, _) in enumerate(unseen)
             if split[name] == 'test']
    reference = next(iter(models))
    rows = []
    for name in models:
        for pixels in dict.fromkeys(pixels for _, pixels in parts[0]):
            before, other, after, count = (
                np.concatenate([part[method, pixels][column] for part in parts])
                for method, column in (('noisy', 0), (reference, 0), (name, 0), (name, 1)))
            if count.sum() < _FEWEST:
                continue
            row = {'model': name, 'pixels': pixels, 'exposures': len(parts), 'n_pixels': int(count.sum())}
            row.update(zip(('ratio', 'low', 'high'), interval(before, after)))
            row.update(zip(('than_default', 'than_low', 'than_high'),
                           interval(other, after) if name != reference else (np.nan,) * 3))
            rows.append(row)
    return rows


def main(argv=None):
    arguments = parse(__doc__, argv, flags={'likelihood': 'judge the training by the likelihood alone'}, options={
        'folder': {'type': Path, 'help': 'where to work and to keep the model'},
        'init': {'default': 'default', 'help': "model to start from; 'none': from nothing"},
        'steps': {'type': int, 'default': 300, 'help': 'training steps'}})
    raw = real_images()
    exposures = read_arcsat(raw, _SIZE)
    place = nullcontext(arguments.folder) if arguments.folder else tempfile.TemporaryDirectory()
    with place as folder:
        folder = Path(folder)
        write_reduced(exposures, folder / 'reduced', raw)
        init = [] if arguments.init == 'none' else ['--init', arguments.init]
        stars = ['--star-share', '0'] if arguments.likelihood else []
        run_commands(folder, ['--max-steps', str(arguments.steps), *init, *stars])
        own = Denoiser.load(folder / 'own.safetensors')
        split = {Path(frame['path']).stem: frame['split']
                 for frame in json.loads((folder / 'split.json').read_text())['frames']}
    rows = compare(exposures, split, {'default': Denoiser.load('default'), 'own': own})
    for row in rows:
        say(row)
    print(f'The model is {own.metadata["against_default"]}.')
    name = 'own_model_likelihood' if arguments.likelihood else 'own_model'
    write_table(rows, name, f'{arguments.steps} steps from {arguments.init}; validation frames: '
                            f'{own.metadata["against_default"]}')


if __name__ == '__main__':
    main()
