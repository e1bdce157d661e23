# Licensed under a 3-clause BSD style license - see LICENSE
"""
``astropy-n2v denoise``.
"""

import click

from .common import HoleType, Reporter, expand_files, given, one_or_list, verbosity_options

__all__ = ['command']


@click.command('denoise')
@click.argument('files', nargs=-1, required=True, metavar='FILES...')
@click.option('-o', '--output-dir', required=True, metavar='DIR', type=click.Path(),
              help='Directory for the results; it is made if there is none.')
@click.option('--suffix', default='_n2v', show_default=True, help='Added to the names of the results.')
@click.option('--ext', multiple=True, metavar='EXT',
              help="Extension to denoise: its number, name, or name,version. May be repeated. By default SCI, or all "
                   "science images.")
@click.option('--model', metavar='MODEL',
              help="'default' (the shipped weights), 'self' (train on each image, minutes), 'adapt' (fine-tune the "
                   "default on it), or a file that 'train' wrote.")
@click.option('--gain', multiple=True, type=click.FloatRange(min=0, min_open=True),
              help='Electrons per data unit. Repeat it to give one for each extension.')
@click.option('--readnoise', multiple=True, type=click.FloatRange(min=0),
              help='Read noise in electrons. Repeat it to give one for each extension.')
@click.option('--satlevel', multiple=True, type=float,
              help='Data at or above it are saturated. Repeat it to give one for each extension.')
@click.option('--hole', type=HoleType(),
              help='What the network does not see around a pixel; by default it follows the correlation of the noise.')
@click.option('--strength', type=click.FloatRange(0, 1), default=1.0, show_default=True,
              help='From 0 (the data) to 1 (the posterior mean).')
@click.option('--fill-masked', is_flag=True, help='Fill masked pixels with the prediction from their surroundings.')
@click.option('--ignore-bits', default='0', metavar='BITS',
              help="Bits of the quality extension (DQ) that do no harm: their sum or a list, such as 16,64; "
                   "'None': all of them.")
@click.option('--tile-size', type=click.IntRange(min=1), help='Height and width of tiles in pixels.')
@click.option('--device', help="'auto', 'cpu', 'cuda', ...")
@click.option('--seed', type=int, help="Seed of training, for the models 'self' and 'adapt'.")
@click.option('--max-steps', type=click.IntRange(min=1), help="Steps of training, for the models 'self' and 'adapt'.")
@click.option('--max-time', type=click.FloatRange(min=0, min_open=True),
              help="Seconds of training, for the models 'self' and 'adapt'.")
@click.option('--overwrite', is_flag=True, help='Replace existing results; inputs are never replaced.')
@click.option('--no-keyword', is_flag=True, help='Write nothing to the headers about how the results were made.')
@verbosity_options
@click.pass_context
def command(ctx, files, output_dir, suffix, ext, model, gain, readnoise, satlevel, hole, strength, fill_masked,
            ignore_bits, tile_size, device, seed, max_steps, max_time, overwrite, no_keyword):
    """
    Denoise FITS files.

    The science images of each file are replaced, every other extension stays as it was, and
    the standard deviation of the result is appended as UNCERT. The error and quality extensions
    of the same version serve as uncertainty and mask.

    \b
    Example:
      astropy-n2v denoise night1/*.fits -o denoised --gain 1.9 --readnoise 5
    """
    from ..batch import denoise_files, describe_error
    from ..config import conf
    training = given(max_steps=max_steps, max_time=max_time)
    if training and (model or conf.default_model) not in ('self', 'adapt'):
        raise click.UsageError("--max-steps and --max-time go with --model self or --model adapt.")
    ignore_bits = _parse_bits(ignore_bits)
    files = expand_files(files)
    with Reporter.of(ctx) as report:
        begun = []

        def show(record):
            if record.status == 'running':
                begun.append(record)
                report.begin(record.path)
                report.say(f'[{len(begun)}/{len(files)}] {record.path}')
            elif record.status == 'failed':
                report.error(f'{record.path}: error: {record.error}')
            else:
                unchanged = f'; unchanged: {", ".join(record.unchanged)}' if record.unchanged else ''
                report.result(f'{record.path} -> {record.output}  HDU {", ".join(record.denoised)}{unchanged}  '
                              f'{record.seconds:.1f} s')

        try:
            records = denoise_files(
                files, output_dir, suffix=suffix, model=model, overwrite=overwrite, callback=show,
                ext=list(ext) or None, ignore_bits=ignore_bits, gain=one_or_list(gain),
                readnoise=one_or_list(readnoise), satlevel=one_or_list(satlevel), hole=hole, strength=strength,
                fill_masked=fill_masked, tile_size=tile_size, device=device, seed=seed,
                progress_bar=report.progress_bar, add_keyword=not no_keyword, **training)
        except (OSError, ValueError) as error:
            raise click.ClickException(describe_error(error)) from error
        done = sum(record.status == 'done' for record in records)
        if len(records) > 1:
            report.result(f'{done} of {len(records)} files denoised')
    if done < len(records):
        ctx.exit(1)


def _parse_bits(text):
    from astropy.nddata.bitmask import interpret_bit_flags
    try:
        return interpret_bit_flags(text)
    except (ValueError, TypeError) as error:
        raise click.BadParameter(f'{text!r} must be a sum of powers of two, a list of them, or None: {error}',
                                 param_hint='--ignore-bits') from error
