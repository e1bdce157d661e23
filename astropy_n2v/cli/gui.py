# Licensed under a 3-clause BSD style license - see LICENSE
"""
``astropy-n2v gui``.
"""

import click

from .common import Reporter, verbosity_options

__all__ = ['command']


@click.command('gui')
@click.argument('path', default='.', type=click.Path(exists=True))
@click.option('--port', type=click.IntRange(0, 65535), default=0,
              help='Port on 127.0.0.1; by default one that is free.')
@click.option('--no-browser', is_flag=True, help='Open no browser; the address is printed.')
@click.option('--max-upload', type=click.FloatRange(min=0), default=2048, show_default=True, metavar='MB',
              help='Size of the files that a page takes from its browser; 0 for none.')
@verbosity_options
@click.pass_context
def command(ctx, path, port, no_browser, max_upload):
    """
    Open a page to denoise FITS files and pictures, look at them and judge.

    PATH is the folder whose files the page may read and write, or a file in it; by default the
    current folder. The page is for the browsers of this machine. Its address holds a secret
    token: whoever has it can read and write these files. Ctrl-C ends it.

    \b
    Examples:
      astropy-n2v gui night1
      astropy-n2v gui frame.fits --no-browser --port 5006
    """
    from ..gui import serve
    with Reporter.of(ctx) as report:
        try:
            serve(path, port=port, browser=not no_browser, started=report.result, max_upload=max_upload)
        except (ImportError, OSError) as error:
            raise click.ClickException(str(error)) from error
