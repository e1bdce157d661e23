# Licensed under a 3-clause BSD style license - see LICENSE
"""
Put weights where they are shipped: ``python tools/release_weights.py [MODEL]``.

For a copy of the repository that the package is imported from. Without MODEL it only records
the SHA-256 of the files that are there.
"""

import argparse

from astropy_n2v import Denoiser
from astropy_n2v.weights import shipped as weights

__all__ = ['main', 'release']


def release(path, *, dtype='float16'):
    """
    Put a model in place of the default that is shipped.

    Parameters
    ----------
    path : str or path-like
        File that the recipe or `astropy_n2v.Denoiser.save` wrote.
    dtype : {'float16', 'float32'}, optional
        How to store the weights.

    Returns
    -------
    `pathlib.Path`
        The file that was written. Its SHA-256 is recorded.

    Raises
    ------
    FileNotFoundError
        If there is no such file, or the model has no card, which must say what it was trained on,
        what it reaches and where it fails.
    ValueError
        If the file is no model, the model has a larger hole than one pixel or is not to see whitened
        images, or a weight is beyond the range of ``dtype``.
    """
    denoiser = Denoiser.load(path)
    if denoiser.hole != (1, 1) or not denoiser.whitens:
        raise ValueError(f'path must be that of a model with a hole of 1x1 pixels that is to see whitened images, got '
                         f'{path}: a hole of {denoiser.hole[0]}x{denoiser.hole[1]}, whitens {denoiser.whitens}')
    card = weights.DIRECTORY / f'{weights.DEFAULT}.md'
    if not card.exists():
        raise FileNotFoundError(f'{card} must say what the model was trained on, what it reaches and where it fails: '
                                'write it first')
    denoiser = Denoiser(denoiser.network, {**denoiser.metadata, 'name': weights.DEFAULT})
    target = weights.find_model('default')
    denoiser.save(target, overwrite=True, dtype=dtype)
    weights.write_checksums()
    return target


def main(arguments=None):
    """Release a model; see ``--help``."""
    parser = argparse.ArgumentParser(description='Put a model in place of the default that is shipped, and record its '
                                                 'SHA-256.')
    parser.add_argument('model', nargs='?', metavar='MODEL', help='file that the recipe wrote; without it, only the '
                        'SHA-256 of what is there is recorded')
    parser.add_argument('--dtype', choices=('float16', 'float32'), default='float16', help='how to store the weights')
    options = parser.parse_args(arguments)
    if options.model is not None:
        print(f'{options.model} -> {release(options.model, dtype=options.dtype)}')
    print(weights.write_checksums().read_text(encoding='utf-8'), end='')


if __name__ == '__main__':
    main()
