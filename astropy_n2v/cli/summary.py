# Licensed under a 3-clause BSD style license - see LICENSE
"""
``astropy-n2v summary``.
"""

import os
from collections import Counter

import click

from ..utils.names import counted
from .common import Reporter, verbosity_options

__all__ = ['command']


@click.command('summary')
@click.argument('journals', nargs=-1, required=True, metavar='JOURNAL...', type=click.Path())
@click.option('--table', metavar='FILE', type=click.Path(),
              help='Table to write (ECSV): one row for each image, as denoise --summary writes it.')
@click.option('--plot', metavar='FILE', type=click.Path(),
              help='Figure to write (PNG, PDF, ...): noise before and after, masked pixels and time of each image.')
@click.option('--overwrite', is_flag=True, help='Replace existing files.')
@verbosity_options
@click.pass_context
def command(ctx, journals, table, plot, overwrite):
    """
    Sum up how a batch of FITS files was denoised.

    JOURNAL is a file that denoise wrote (n2v-journal.jsonl among the results), or the folder of
    the results; several are taken together. Of files that were denoised repeatedly the last time
    counts. Printed are counts, each failure, and images that are not like the others. The exit
    status is 1 if a file failed.

    \b
    Example:
      astropy-n2v summary denoised --table night1.ecsv --plot night1.png
    """
    from ..batch.journal import JOURNAL_NAME, read_journal
    from ..batch.night import find_unusual, latest_entries, plot_night
    from ..batch.summary import summary_table, write_summary
    from ..io.paths import describe_error
    from ..utils.atomic_files import atomic_write
    journals = [os.path.join(path, JOURNAL_NAME) if os.path.isdir(path) else path for path in journals]
    with Reporter.of(ctx) as report:
        try:
            entries = [entry for path in journals for entry in latest_entries(read_journal(path))]
            rows = summary_table(entries)
            if table is not None:
                write_summary(entries, table, overwrite=overwrite, inputs=journals)
            if plot is not None:
                with atomic_write(plot, overwrite=overwrite, inputs=journals) as temporary:
                    plot_night(rows, temporary)
        except (OSError, ValueError) as error:
            raise click.ClickException(describe_error(error)) from error
        counts = Counter(entry['status'] for entry in entries)
        seconds = sum(entry['seconds'] for entry in entries)
        report.result(f'{counted(len(entries), "file")}: {counts["done"]} done, {counts["failed"]} failed; '
                      f'{seconds:.1f} s of work')
        for entry in entries:
            if entry['status'] == 'failed':
                report.result(f'failed: {entry["input"]["path"]}: {entry["error"]}')
        for row, reason in zip(rows, find_unusual(rows)):
            if reason and row['status'] != 'failed':
                report.result(f'unusual: {row["file"]}, HDU {row["hdu"]}: {reason}')
    if counts['failed']:
        ctx.exit(1)
