# Licensed under a 3-clause BSD style license - see LICENSE
"""
``astropy-n2v detect``.
"""

import click

from ..utils.names import counted
from .common import Reporter, chosen_extension, expand_files, mask_options, parse_bits, verbosity_options

__all__ = ['command']


@click.command('detect')
@click.argument('files', nargs=-1, required=True, metavar='FILES...')
@click.option('-o', '--output', required=True, metavar='CATALOG', type=click.Path(),
              help='Table to write, of the format that its extension says (.ecsv, .fits, .csv, .vot); for several '
                   'files a directory, in which each gets an ECSV table.')
@click.option('--denoised', metavar='DIR', type=click.Path(),
              help="Directory with the results of 'denoise'; a file that has none there is denoised.")
@click.option('--suffix', default='_n2v', show_default=True, help='Of the names of the results.')
@click.option('--false-rate', type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.05,
              show_default=True, help='Expected share of false entries in a table.')
@click.option('--psf', metavar='FILE|FWHM',
              help='FITS image of the point-spread function, or its full width at half maximum in pixels; by default '
                   'it is measured on isolated stars.')
@click.option('--ext', multiple=True, metavar='EXT',
              help='Extension: its number, name, or name,version. May be repeated. By default SCI, or all science '
                   'images.')
@mask_options
@click.option('--seed', type=click.IntRange(min=0), default=0, show_default=True, help='Seed of the noise drawn.')
@click.option('--overwrite', is_flag=True, help='Replace existing tables.')
@verbosity_options
@click.pass_context
def command(ctx, files, output, denoised, suffix, false_rate, psf, ext, ignore_bits, mask, seed, overwrite):
    """
    Find the sources of FITS files, and measure them.

    FILES are the originals. Sources are found on the denoised images, and their fluxes measured on the original
    ones. The threshold is such that the expected share of false entries is --false-rate.

    \b
    Columns that need a word (more on "Sources and pictures", docs/detect.rst):
      significance  height in the map that sources are found on; not in sigma
      false_share   expected share of false entries among all down to this one
      flag          0, or a sum of 1 (fit beyond the edge), 2 (bad pixels),
                    4 (no local background), 8 (another entry within 1.5 FWHM)

    \b
    Examples:
      astropy-n2v detect frame.fits -o sources.ecsv
      astropy-n2v detect night1/*.fits --denoised denoised -o catalogs --false-rate 0.01
    """
    from ..io.paths import describe_error
    from ..sources.catalogues import catalog_paths, detect_file
    from ..utils.atomic_files import atomic_write
    from .validate import read_psf
    ignore_bits, files = parse_bits(ignore_bits), expand_files(files)
    paths = [chosen_extension(file, ext) for file in files]
    failed = 0
    with Reporter.of(ctx) as report:
        try:
            psf, outputs = read_psf(psf), catalog_paths([path for path, _ in paths], output)
        except (OSError, ValueError) as error:
            raise click.ClickException(describe_error(error)) from error
        for file, (path, own), target in zip(files, paths, outputs):
            report.begin(file)
            try:
                with atomic_write(target, overwrite=overwrite, inputs=[path]) as temporary:
                    table = detect_file(path, denoised, suffix=suffix, ext=own, ignore_bits=ignore_bits, mask=mask,
                                        false_rate=false_rate, psf=psf, seed=seed)
                    table.write(temporary, overwrite=True)
                report.result(f'{file} -> {target}  {counted(len(table), "source")}')
            except (OSError, ValueError, TypeError, RuntimeError) as error:
                failed += 1
                report.error(f'{file}: error: {describe_error(error, path)}')
    if failed:
        ctx.exit(1)
