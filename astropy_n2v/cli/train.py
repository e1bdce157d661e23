# Licensed under a 3-clause BSD style license - see LICENSE
"""
``astropy-n2v train``.
"""

import time

import click

from .common import (
    HoleType,
    Reporter,
    chosen_extension,
    expand_files,
    given,
    mask_options,
    parse_bits,
    training_options,
    verbosity_options,
)

__all__ = ['command']

_POSITIVE = click.FloatRange(min=0, min_open=True)


@click.command('train')
@click.argument('files', nargs=-1, required=True, metavar='FILES...')
@click.option('-o', '--output', required=True, metavar='MODEL', type=click.Path(),
              help='File to write the model to, such as mycamera.safetensors.')
@click.option('--ext', multiple=True, metavar='EXT',
              help='Extension to train on: its number, name, or name,version. May be repeated. By default SCI, or all '
                   'science images.')
@mask_options
@click.option('--init', metavar='MODEL',
              help="Model to start from: 'default' (the shipped weights) or a file.")
@click.option('--gain', type=_POSITIVE, help='Electrons per data unit, for all images.')
@click.option('--readnoise', type=click.FloatRange(min=0), help='Read noise in electrons, for all images.')
@click.option('--satlevel', type=float, help='Data at or above it are saturated.')
@click.option('--hole', type=HoleType(),
              help='What the network does not see around a pixel; by default correlated noise is whitened instead.')
@training_options
@click.option('--device', help="'auto', 'cpu', 'cuda', ...")
@click.option('--seed', type=int, help='Seed of weights and patches.')
@click.option('--overwrite', is_flag=True, help='Replace an existing model.')
@verbosity_options
@click.pass_context
def command(ctx, files, output, ext, mask, ignore_bits, init, gain, readnoise, satlevel, overwrite, **options):
    """
    Train a model on FITS files. No clean images are needed.

    A file that cannot be read, or an image that has nothing to train on, is reported and left
    out; the exit status is 1 then.

    \b
    Example:
      astropy-n2v train night1/*.fits -o mycamera.safetensors --init default
    """
    from ..io import read_fits_images
    from ..io.files import describe_error
    from ..utils.files import atomic_write
    ignore_bits = parse_bits(ignore_bits)
    files = expand_files(files)
    paths = [chosen_extension(file, ext)[0] for file in files]
    failed = 0
    with Reporter.of(ctx) as report:
        try:
            # Entered first: a model that cannot be written is not worth hours of training.
            with atomic_write(output, overwrite=overwrite, inputs=paths) as temporary:
                images, names = [], []
                for file in files:
                    report.begin(file)
                    try:
                        found = read_fits_images(*chosen_extension(file, ext), ignore_bits=ignore_bits, mask=mask)
                    except (OSError, ValueError, TypeError) as error:
                        failed += 1
                        report.error(f'{file}: error: {describe_error(error, file)}')
                        continue
                    images += found
                    names += [file] if len(found) == 1 else [f'{file}, image {n}' for n in range(1, len(found) + 1)]
                report.begin('')
                if not images:
                    raise click.ClickException('no image to train on')
                report.say(f'training on {len(images)} images of {len(files) - failed} files')
                start = time.monotonic()
                from ..training.train import train
                denoiser = train(images, names=names, progress_bar=report.progress_bar,
                                 **given(init=init, gain=gain, readnoise=readnoise, satlevel=satlevel, **options))
                denoiser.save(temporary, overwrite=True)
        except (OSError, ValueError, TypeError) as error:
            raise click.ClickException(describe_error(error)) from error
        metadata = denoiser.metadata
        failed += len(images) - metadata['images']
        report.result(f'{output}: trained on {metadata["images"]} images in {time.monotonic() - start:.0f} s, '
                      f'{metadata.get("steps")} steps, hole {denoiser.hole[0]}x{denoiser.hole[1]}, held-out negative '
                      f'log-likelihood {metadata.get("held_out_likelihood", float("nan")):.4f}, '
                      f'SHA-256 {denoiser.sha256[:16]}')
    if failed:
        ctx.exit(1)
