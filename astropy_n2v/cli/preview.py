# Licensed under a 3-clause BSD style license - see LICENSE
"""
``astropy-n2v preview``.
"""

import click

from .common import Reporter, chosen_extension, expand_files, mask_options, parse_bits, verbosity_options

__all__ = ['command']


@click.command('preview')
@click.argument('files', nargs=-1, required=True, metavar='FILES...')
@click.option('-o', '--output-dir', required=True, metavar='DIR', type=click.Path(),
              help='Directory for the pictures; it is made if there is none.')
@click.option('--model', metavar='MODEL',
              help="'default', 'self', 'adapt', one that 'models' lists, or a file that 'train' wrote.")
@click.option('-n', '--number', type=click.IntRange(min=1), default=10, show_default=True,
              help='Files to denoise: so many of all, at equal distances.')
@click.option('--size', type=click.IntRange(min=16), default=512, show_default=True,
              help='Largest height and width that are shown, in pixels: the middle of larger images.')
@click.option('--stretch', type=click.Choice(['asinh', 'zscale', 'linear']), default='asinh', show_default=True,
              help='From values to brightness, the same for input and result.')
@click.option('--ext', multiple=True, metavar='EXT',
              help='Extension: its number, name, or name,version. May be repeated. By default SCI, or all science '
                   'images.')
@mask_options
@click.option('--device', help="'auto', 'cpu', 'cuda', ...")
@click.option('--overwrite', is_flag=True, help='Replace existing pictures.')
@verbosity_options
@click.pass_context
def command(ctx, files, output_dir, model, number, size, stretch, ext, ignore_bits, mask, device, overwrite):
    """
    Draw FITS files before and after denoising, side by side.

    Input, result, residual and uncertainty of each image in a picture (PNG). Nothing else is written.

    \b
    Example:
      astropy-n2v preview night2/*.fits --model mycamera.safetensors -n 5 -o pictures
    """
    from ..batch.preview import preview_file
    from ..denoiser import Denoiser
    from ..io.files import describe_error
    ignore_bits, files = parse_bits(ignore_bits), expand_files(files)
    chosen = [files[i * len(files) // number] for i in range(number)] if number < len(files) else files
    failed = 0
    with Reporter.of(ctx) as report:
        try:
            if model not in (None, 'self', 'adapt'):
                model = Denoiser.load(model)   # once for all files
        except (OSError, ValueError) as error:
            raise click.ClickException(describe_error(error)) from error
        for file in chosen:
            report.begin(file)
            try:
                path, extensions = chosen_extension(file, ext)
                for picture in preview_file(path, output_dir, model, ext=extensions, ignore_bits=ignore_bits, mask=mask,
                                            size=size, stretch=stretch, overwrite=overwrite, device=device,
                                            progress_bar=report.progress_bar):
                    report.result(f'{file} -> {picture}')
            except (OSError, ValueError, TypeError) as error:
                failed += 1
                report.error(f'{file}: error: {describe_error(error, file)}')
    if failed:
        ctx.exit(1)
