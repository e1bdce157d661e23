# Licensed under a 3-clause BSD style license - see LICENSE
"""
``astropy-n2v analyze``.
"""

import os

import click

from ..utils.names import counted
from .common import Reporter, expand_files, mask_options, parse_bits, verbosity_options

__all__ = ['command']


@click.command('analyze')
@click.argument('files', nargs=-1, required=True, metavar='FILES...')
@click.option('-o', '--output-dir', required=True, metavar='DIR', type=click.Path(),
              help='Directory for report.html, report.json, tables and pictures; it is made if it does not exist.')
@click.option('--denoised', metavar='DIR', type=click.Path(),
              help="Directory with the results of 'denoise'; a file that has none there is denoised.")
@click.option('--suffix', default='_n2v', show_default=True, help='Of the names of the results.')
@click.option('--truth', multiple=True, metavar='FILE', type=click.Path(),
              help='The noise-free image; repeat it to give one for each of the files.')
@click.option('--psf', metavar='FILE|FWHM',
              help='FITS image of the point-spread function, or its full width at half maximum in pixels; by default '
                   'it is measured on isolated stars.')
@click.option('--false-rate', type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.05,
              show_default=True, help='Expected share of false sources at which those before and after are counted.')
@click.option('--ext', multiple=True, metavar='EXT',
              help='Extension: its number, name, or name,version. May be repeated. By default SCI, or all science '
                   'images.')
@mask_options
@click.option('--seed', type=click.IntRange(min=0), default=0, show_default=True, help='Seed of all that is random.')
@click.option('--overwrite', is_flag=True, help='Replace an earlier report.')
@verbosity_options
@click.pass_context
def command(ctx, files, output_dir, denoised, suffix, truth, psf, false_rate, ext, ignore_bits, mask, seed, overwrite):
    """
    Compare FITS files with their denoised images.

    FILES are the originals. Says how many sources are found before and after at the same expected share of false
    ones, how noise, background and fluxes changed, whether the noise model holds, and, with --truth, how large the
    errors are. Writes a page, all numbers as JSON, and pictures side by side.

    \b
    Examples:
      astropy-n2v analyze frame.fits -o analysis
      astropy-n2v analyze night1/*.fits --denoised denoised -o analysis
    """
    from ..io.paths import describe_error
    from ..sources.analysis import analyze_files
    from .validate import read_psf
    ignore_bits, files = parse_bits(ignore_bits), expand_files(files)
    with Reporter.of(ctx) as report:
        try:
            result = analyze_files(
                files, output_dir, denoised=denoised, suffix=suffix, ext=list(ext) or None, ignore_bits=ignore_bits,
                mask=mask, truth=(truth[0] if len(truth) == 1 else list(truth)) or None, psf=read_psf(psf),
                false_rate=false_rate, seed=seed, overwrite=overwrite, progress_bar=report.progress_bar)
        except (OSError, ValueError, TypeError) as error:
            raise click.ClickException(describe_error(error)) from error
        report.result(*result.summary().splitlines())
        for row in result.tables['detections']:
            report.result(f'{row["frame"]}: {counted(row["n"], "source")} on the {row["image"]}, '
                          f'{row["n_false"]:.1f} of them expected to be false')
        report.result(f'report: {os.path.join(output_dir, "report.html")}')
