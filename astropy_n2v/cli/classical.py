# Licensed under a 3-clause BSD style license - see LICENSE
"""
The classical strategies of ``astropy-n2v train``: their options, and what follows from them.
"""

import os
import re

import click

from ..training.options import CLASSICAL_DEFAULTS
from .common import given

__all__ = ['classical_options', 'describe_error_of', 'take_classical', 'training_function']

_NAMES = 'n2v', 'n2v2', 'structn2v'
_DEFAULTS = ', '.join(f'--{name.replace("_", "-")} {value:g}' for name, value in CLASSICAL_DEFAULTS.items())
# Options of a strategy, by their names in Python.
_OPTIONS = 'strategy', 'struct', 'roi_size', 'masked', 'channels', 'levels', 'base', 'batch_norm', 'upsampling'


class _StructType(click.ParamType):
    """A mask of structN2V: height and width such as 1x9, or a file."""

    name = 'HxW|FILE'

    def convert(self, value, param, ctx):
        """Convert text to an array."""
        import numpy as np
        if not isinstance(value, str):
            return value
        match = re.fullmatch(r'(\d+)[xX](\d+)', value)
        if match:
            return np.ones(tuple(map(int, match.groups())), dtype=bool)
        if not os.path.exists(value):
            self.fail(f'{value!r} must be height and width such as 1x9, or a file that exists', param, ctx)
        try:
            if re.search(r'\.(fits?|fts)(\.(gz|bz2|fz))?$', value, re.IGNORECASE):
                from astropy.io import fits  # a mask of few pixels is no science image
                return np.asarray(fits.getdata(value)) != 0
            return np.loadtxt(value, ndmin=2) != 0
        except (OSError, ValueError, IndexError) as error:
            self.fail(f'{value!r} must be a FITS image or a table of 0 and 1 as text: {error}', param, ctx)


def classical_options(function):
    """Add the options of classical strategies."""
    options = [
        click.option('--strategy', type=click.Choice(_NAMES),
                     help='Train a plain U-Net as Noise2Void was first, for comparison: pixels are hidden and replaced '
                          'by a neighbour (n2v), by the median of their neighbours (n2v2), or together with all pixels '
                          'under a mask (structn2v). Its results have no uncertainty. Other options then have the '
                          f'defaults {_DEFAULTS}.  [default: a blind-spot network]'),
        click.option('--struct', type=_StructType(),
                     help='With structn2v: the mask, as height and width (5x5 is a hole, 1x9 for noise along rows) or '
                          'as a file of it, FITS or text.'),
        click.option('--roi-size', type=click.IntRange(min=3),
                     help='With --strategy: height and width in pixels of the neighbourhood that replacements come '
                          'from.  [default: 11]'),
        click.option('--masked', type=click.FloatRange(0, 1, min_open=True, max_open=True),
                     help='With --strategy: fraction of the pixels that are hidden.  [default: 0.02]'),
        click.option('--channels', type=click.Choice(('1', '3')),
                     help='With --strategy: planes that the network sees together; 3 for colours.  [default: 1]'),
        click.option('--levels', type=click.IntRange(min=2),
                     help='With --strategy: levels of resolution of the U-Net.  [default: 4]'),
        click.option('--base', type=click.IntRange(min=1),
                     help='With --strategy: channels of the U-Net at full resolution.  [default: 48]'),
        click.option('--batch-norm', is_flag=True, default=None,
                     help='With --strategy: normalise over the batch.  [default: no]'),
        click.option('--upsampling', type=click.Choice(('transposed', 'bilinear')),
                     help='With --strategy: by transposed convolutions, or by interpolation.  [default: transposed]')]
    for option in reversed(options):
        function = option(function)
    return function


def take_classical(options, **others):
    """
    Take the options of a classical strategy out of the options of the command.

    Parameters
    ----------
    options : dict
        Options of the command; the ones for strategies are removed.
    **others
        Options that do not go with a strategy.

    Returns
    -------
    dict
        Keywords of `~astropy_n2v.training.classical.train_classical`; empty without a strategy.

    Raises
    ------
    click.UsageError
        If options do not go together.
    """
    own = given(**{name: options.pop(name) for name in _OPTIONS})
    if 'strategy' not in own:
        if own:
            raise click.UsageError(f'--{next(iter(own)).replace("_", "-")} goes with --strategy only.')
        return {}
    for name in given(**others, hole=options.get('hole'), star_share=options.get('star_share')):
        raise click.UsageError(f'--{name.replace("_", "-")} does not go with --strategy: a plain U-Net is trained from '
                               'nothing, does not know the noise, and is judged by hidden pixels alone.')
    if 'channels' in own:
        own['channels'] = int(own['channels'])
    network = {name: own.pop(name) for name in ('levels', 'base', 'batch_norm', 'upsampling') if name in own}
    return {**own, 'network_options': network}


def training_function(classical, of_collection):
    """Import the function that trains: a classical one if there are options of a strategy."""
    if classical:
        from ..training.classical import train_classical, train_classical_collection
        return train_classical_collection if of_collection else train_classical
    if of_collection:
        from ..training.collection import train_collection
        return train_collection
    from ..training.train import train
    return train


def describe_error_of(metadata):
    """Say how well a model predicts pixels that it was not trained on."""
    if 'held_out_error' in metadata:
        return f'held-out squared error {metadata["held_out_error"]:.4f} of the variance of the data'
    return f'held-out negative log-likelihood {metadata.get("held_out_likelihood", float("nan")):.4f}'
