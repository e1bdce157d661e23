# Licensed under a 3-clause BSD style license - see LICENSE
"""
``astropy-n2v split``.
"""

import math

import click

from ..utils.names import counted
from .common import Reporter, verbosity_options

__all__ = ['command']


@click.command('split')
@click.argument('manifest', metavar='MANIFEST')
@click.option('-o', '--output', required=True, metavar='SPLIT', type=click.Path(), help='File to write (JSON).')
@click.option('--fractions', nargs=3, type=float, default=(0.70, 0.15, 0.15), show_default=True,
              metavar='TRAIN VALIDATION TEST', help='Fractions of the files; they add up to 1.')
@click.option('--seed', type=click.IntRange(min=0), default=42, show_default=True, help='Seed of the draw.')
@click.option('--stratify', is_flag=True, help='Reach the fractions for each telescope, instrument and filter.')
@click.option('--separation', type=click.FloatRange(min=0, min_open=True), metavar='DEGREES',
              help='Distance below which the middles of two frames are in one field; by default half of the sum of '
                   'their sides.')
@click.option('--by', type=click.Choice(['field', 'frame']), default='field', show_default=True,
              help='What stays together: frames of one field of the sky, or only images of one file.')
@click.option('--columns', metavar='TABLE', type=click.Path(),
              help='Also write the manifest with the columns field and split: .ecsv, .csv or .parquet.')
@click.option('--overwrite', is_flag=True, help='Replace existing files.')
@verbosity_options
@click.pass_context
def command(ctx, manifest, output, fractions, seed, stratify, separation, by, columns, overwrite):
    """
    Split the frames of a manifest into training, validation and test.

    Frames of one field of the sky stay together: frames of one file or one content, frames that
    overlap on the sky, and frames of one OBJECT where there is no WCS. The same seed gives the same
    split.

    \b
    Example:
      astropy-n2v split manifest.ecsv -o split.json
    """
    from ..collections import read_manifest, split_manifest, write_manifest
    from ..collections.tables import check_manifest_format
    from ..io.paths import describe_error
    with Reporter.of(ctx) as report:
        try:
            if columns:
                check_manifest_format(columns)
            table = read_manifest(manifest)
            split = split_manifest(table, fractions, seed=seed, stratify=stratify, separation=separation, by=by)
            split.write(output, overwrite=overwrite)
            if columns:
                for name in ('field', 'split'):
                    table[name] = split.column(table, name)
                write_manifest(table, columns, overwrite=overwrite)
        except (OSError, ValueError, ImportError) as error:
            raise click.ClickException(describe_error(error)) from error
        counts = split.counts()
        for name, n in counts.items():
            fields = {frame['field'] for frame in split.frames if frame['split'] == name}
            share = n / len(split.frames)
            report.result(f'{name:<10} {counted(n, "file"):>12} of {counted(len(fields), by)} ({share:.1%})')
        used = table[split.column(table) != '']
        unknown = {path for path, ra, name in zip(*(used[name].tolist() for name in ('path', 'ra', 'object')))
                   if math.isnan(ra) and not name}
        if unknown and by == 'field':
            report.say(f'{counted(len(unknown), "file")} without WCS and OBJECT: each counts as a field of its own')
        left = len(set(table['path'].tolist())) - len(split.frames)
        if left:
            report.say(f'left out, as they cannot be used: {counted(left, "file")}: astropy-n2v check {manifest}')
