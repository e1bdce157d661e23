# Licensed under a 3-clause BSD style license - see LICENSE
"""
The command line: ``astropy-n2v``. Each command is a module, imported when it is used.
"""

import importlib

import click

from ..version import __version__
from .common import verbosity_options
from .streams import safe_streams

__all__ = ['main']

# Name and one-line help of the commands, so that --help need not import them.
_COMMANDS = {
    'analyze': 'Compare FITS files with their denoised images.',
    'check': 'Check the frames of a manifest, and that its split does not leak.',
    'demo': 'Denoise a simulated observation and show how much it gains.',
    'denoise': 'Denoise FITS files.',
    'detect': 'Find the sources of FITS files, and measure them.',
    'gui': 'Open a page to denoise FITS files, look at them and judge.',
    'manifest': 'Catalogue frames: a table with a row for each image.',
    'models': 'Name the model that comes with the package.',
    'noise': 'Measure the noise that FITS files have in common.',
    'preview': 'Draw FITS files before and after denoising.',
    'split': 'Split the frames of a manifest into training, validation and test.',
    'summary': 'Sum up how a batch of FITS files was denoised.',
    'train': 'Train a model on FITS files.',
    'validate': 'Find out whether flux and detections survive denoising.',
}


class _LazyGroup(click.Group):
    """A group whose commands live in modules of the same name."""

    def main(self, *args, **kwargs):
        """Run a command; its results are files, and text that cannot be printed is no reason to stop."""
        with safe_streams():
            return super().main(*args, **kwargs)

    def list_commands(self, ctx):
        return sorted(_COMMANDS)

    def get_command(self, ctx, cmd_name):
        if cmd_name not in _COMMANDS:
            return None
        return importlib.import_module(f'.{cmd_name}', __name__).command

    def format_commands(self, ctx, formatter):
        with formatter.section('Commands'):
            formatter.write_dl(sorted(_COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={'help_option_names': ['-h', '--help']})
@click.version_option(__version__, prog_name='astropy-n2v')
@verbosity_options
def main():
    """Denoise astronomical images without clean references, and with honest uncertainties."""
