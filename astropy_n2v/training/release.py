# Licensed under a 3-clause BSD style license - see LICENSE
"""
Put weights where they are shipped: ``python -m astropy_n2v.training.release MODEL``.

For a copy of the repository that the package is imported from. Without MODEL it only records
the SHA-256 of the files that are there.
"""

import argparse

from .. import weights
from ..denoiser import Denoiser

__all__ = ['main', 'release']


def release(path, *, dtype='float16'):
    """
    Put a model among those that are shipped, in place of the default for its hole.

    Parameters
    ----------
    path : str or path-like
        File that the recipe or `astropy_n2v.Denoiser.save` wrote.
    dtype : {'float16', 'float32'}, optional
        How to store the weights.

    Returns
    -------
    `pathlib.Path`
        The file that was written, such as ``default-3x3.safetensors``. Its SHA-256 is recorded.

    Raises
    ------
    FileNotFoundError
        If there is no such file, or the model has no card: ``default-3x3.md`` must say what it was
        trained on, what it reaches and where it fails.
    ValueError
        If the file is no model, or a weight is beyond the range of ``dtype``.
    """
    denoiser = Denoiser.load(path)
    name = f'default-{denoiser.hole[0]}x{denoiser.hole[1]}'
    card = weights.DIRECTORY / f'{name}.md'
    if not card.exists():
        raise FileNotFoundError(f'{card} must say what the model was trained on, what it reaches and where it fails: '
                                'write it first')
    denoiser.metadata['name'] = name
    target = weights.DIRECTORY / f'{name}.safetensors'
    denoiser.save(target, overwrite=True, dtype=dtype)
    weights.write_checksums()
    return target


def main(arguments=None):
    """Release models; see ``--help``."""
    parser = argparse.ArgumentParser(description='Put models among those that are shipped, and record their SHA-256.')
    parser.add_argument('models', nargs='*', metavar='MODEL', help='file that the recipe wrote; without any, only the '
                        'SHA-256 of the shipped files are recorded')
    parser.add_argument('--dtype', choices=('float16', 'float32'), default='float16', help='how to store the weights')
    options = parser.parse_args(arguments)
    for path in options.models:
        print(f'{path} -> {release(path, dtype=options.dtype)}')
    print(weights.write_checksums().read_text(encoding='utf-8'), end='')


if __name__ == '__main__':
    main()
