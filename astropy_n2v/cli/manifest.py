# Licensed under a 3-clause BSD style license - see LICENSE
"""
``astropy-n2v manifest``.
"""

import os

import click

from ..utils.names import counted
from .common import Reporter, expand_files, verbosity_options

__all__ = ['command']


def _cores():
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def _rules(ctx, param, values):
    """Parse rules COLUMN=VALUE to a dictionary."""
    rules = {}
    for value in values:
        name, equals, rule = value.partition('=')
        if not equals:
            raise click.BadParameter(f'{value!r} must be COLUMN=PATTERN or COLUMN=LOW..HIGH', ctx, param)
        rules[name.strip()] = rule.strip()
    return rules


@click.command('manifest')
@click.argument('roots', nargs=-1, required=True, metavar='ROOT...')
@click.option('-o', '--output', required=True, metavar='MANIFEST', type=click.Path(),
              help='File to write: .ecsv, .csv or .parquet. If it exists, files that have not changed are not read '
                   'again.')
@click.option('--where', multiple=True, metavar='RULE', callback=_rules,
              help='Keep images of which COLUMN=PATTERN holds, or COLUMN=LOW..HIGH of numbers. May be repeated.')
@click.option('--sample', type=click.IntRange(min=1), metavar='N', help='Keep N files, drawn at random.')
@click.option('--seed', type=click.IntRange(min=0), default=0, show_default=True, help='Seed of the sample.')
@click.option('--processes', type=click.IntRange(min=1), help='Processes that read files; by default one a core.')
@click.option('--overwrite', is_flag=True, help='Make an existing manifest anew, and read all files.')
@verbosity_options
@click.pass_context
def command(ctx, roots, output, where, sample, seed, processes, overwrite):
    """
    Catalogue frames: a table with a row for each image.

    ROOT is a directory, which is searched with all directories in it, or a file. FITS files,
    compressed or not, and raster images are catalogued: SHA-1, shape, unit, instrument, filter,
    exposure, place on the sky, background, noise and its correlation, shares of bad pixels.

    A file that cannot be read is reported, and has a row that says why; the exit status is 1 then.

    \b
    Examples:
      astropy-n2v manifest night1 night2 -o manifest.ecsv
      astropy-n2v manifest night1 -o sample.ecsv --where 'filter=g*' --where exptime=20.. --sample 50
    """
    from tqdm import tqdm

    from ..collections import (
        calibration_frames,
        count_files,
        make_manifest,
        read_manifest,
        select_frames,
        summarize_manifest,
        write_manifest,
    )
    from ..collections.tables import check_manifest_format
    from ..io.paths import describe_error
    read = 0
    with Reporter.of(ctx) as report:
        try:
            check_manifest_format(output)   # before the work, and not after it
            known = read_manifest(output) if os.path.exists(output) and not overwrite else None
            with tqdm(disable=not report.progress_bar, desc='reading', unit='file') as bar:
                def progress(done, total):
                    nonlocal read
                    read, bar.total = total, total
                    bar.update(done - bar.n)

                manifest = make_manifest(expand_patterns(roots), known=known, progress=progress,
                                         processes=processes or _cores())
            found = count_files(manifest)
            if where or sample:
                manifest = select_frames(manifest, where, n=sample, seed=seed)
            if read or where or sample or known is None or count_files(known) != found:
                write_manifest(manifest, output, overwrite=True)
        except (OSError, ValueError, ImportError) as error:
            raise click.ClickException(describe_error(error)) from error
        failed = manifest[[bool(error) for error in manifest['error']]]
        for path, error in zip(failed['path'], failed['error']):
            report.error(f'{path}: error: {error}')
        report.result(*summarize_manifest(manifest).pformat(max_lines=-1, max_width=-1))
        report.result(f'{counted(sum(found.values()), "file")}, {read} of them read now: '
                      + ', '.join(f'{n} {name}' for name, n in found.items()))
        kept = count_files(manifest)
        report.result(f'{output}: {counted(len(manifest) - len(failed), "image")} of '
                      f'{counted(kept["with images"], "file")}'
                      + (', as chosen' if where or sample else ''))
        calibration = manifest['imagetype'][calibration_frames(manifest)].tolist()
        if calibration:
            report.say(f'{counted(len(calibration), "image")} for calibration, as the headers say '
                       f'({", ".join(sorted(set(calibration)))}), would be trained on: choose others by --where, '
                       "such as 'imagetype=light*'")
    if len(failed):
        ctx.exit(1)


def expand_patterns(roots):
    """Expand patterns, but no directories: these are searched for raster images, too."""
    return [path for root in roots for path in ([root] if os.path.isdir(root) else expand_files([root]))]
