# Licensed under a 3-clause BSD style license - see LICENSE
"""
``astropy-n2v check``.
"""

import click

from ..utils.names import counted
from .common import Reporter, verbosity_options

__all__ = ['command']


@click.command('check')
@click.argument('manifest', metavar='MANIFEST')
@click.option('--split', metavar='SPLIT', type=click.Path(), help='Also check this split (JSON).')
@click.option('--hashes', is_flag=True,
              help='Read all files and compare their SHA-1; by default of those whose size or time has changed.')
@verbosity_options
@click.pass_context
def command(ctx, manifest, split, hashes):
    """
    Check the frames of a manifest, and that its split does not leak.

    Reported are files that are missing, changed, unreadable or there twice; frames that are
    constant, not finite, saturated, in another unit or of an absurd noise; and fields of the sky
    that are in two parts of the split. The exit status is 1 if there is anything. A split by frame
    shares fields as it was asked to: that is a note, and no reason for the status 1.

    \b
    Example:
      astropy-n2v check manifest.ecsv --split split.json
    """
    from ..collections import NOTES, Split, check_manifest, read_manifest
    from ..io.paths import describe_error
    with Reporter.of(ctx) as report:
        try:
            table = read_manifest(manifest)
            found = check_manifest(table, None if split is None else Split.read(split), hashes=hashes)
        except (OSError, ValueError, ImportError) as error:
            raise click.ClickException(describe_error(error)) from error
        if len(found):
            report.result(*found.pformat(max_lines=-1, max_width=-1, align='<'))
        notes = sum(problem in NOTES for problem in found['problem'].tolist())
        images = sum(not error for error in table['error'].tolist())
        report.result(f'{counted(images, "image")}: {counted(len(found) - notes, "problem")}'
                      + (f', {counted(notes, "note")}' if notes else ''))
    if len(found) > notes:
        ctx.exit(1)
