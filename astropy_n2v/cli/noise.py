# Licensed under a 3-clause BSD style license - see LICENSE
"""
``astropy-n2v noise``.
"""

import click

from .common import Reporter, chosen_extension, expand_files, mask_options, parse_bits, verbosity_options

__all__ = ['command']


@click.command('noise')
@click.argument('files', nargs=-1, required=True, metavar='FILES...')
@click.option('-o', '--output', required=True, metavar='FILE', type=click.Path(),
              help='File to write (JSON), for denoise --noise FILE.')
@click.option('--ext', multiple=True, metavar='EXT',
              help='Extension to measure: its number, name, or name,version. May be repeated. By default SCI, or all '
                   'science images.')
@click.option('--satlevel', type=float, help='Data at or above it are saturated.')
@click.option('--max-frames', type=click.IntRange(min=1), default=50, show_default=True,
              help='Frames of a group that are measured.')
@mask_options
@click.option('--overwrite', is_flag=True, help='Replace an existing file.')
@verbosity_options
@click.pass_context
def command(ctx, files, output, ext, satlevel, max_frames, mask, ignore_bits, overwrite):
    """
    Measure the noise that FITS files have in common.

    Frames of one instrument, detector, filter, binning and gain setting are a group, whose
    autocorrelation of the noise (and gain, where no header has it) is the median over frames
    that a hash of their names chooses. denoise does the same before it denoises several files;
    with the file that is written here, several runs of it go by one measurement.

    A file that cannot be read is reported and left out; the exit status is 1 then.

    \b
    Example:
      astropy-n2v noise night1/*.fits -o noise.json
      astropy-n2v denoise night1/a*.fits -o denoised --noise noise.json
      astropy-n2v denoise night1/b*.fits -o denoised --noise noise.json
    """
    from ..batch.set_noise import estimate_set_noise
    from ..io.paths import describe_error
    from ..utils.atomic_files import atomic_write
    ignore_bits = parse_bits(ignore_bits)
    files = expand_files(files)
    paths = [chosen_extension(file, ext)[0] for file in files]
    failed = []
    with Reporter.of(ctx) as report:
        def show(path, error):
            failed.append(path)
            report.error(f'{path}: error: {describe_error(error, path)}')

        try:
            # Before the work, and not after it.
            with atomic_write(output, overwrite=overwrite, inputs=paths) as temporary:
                noise = estimate_set_noise(files, ext=list(ext) or None, ignore_bits=ignore_bits, mask=mask,
                                           satlevel=satlevel, max_frames=max_frames, on_error=show)
                if not any(group.n_frames for group in noise.groups):
                    raise click.ClickException('the noise could not be measured on any image')
                noise.write(temporary, overwrite=True)
        except (OSError, ValueError) as error:
            raise click.ClickException(describe_error(error)) from error
        for group in noise.groups:
            report.result(f'{group.group.text}: {group.text}')
    if failed:
        ctx.exit(1)
