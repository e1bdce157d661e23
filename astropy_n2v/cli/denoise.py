# Licensed under a 3-clause BSD style license - see LICENSE
"""
``astropy-n2v denoise``.
"""

from contextlib import nullcontext

import click

from .common import (
    HoleType,
    Reporter,
    chosen_extension,
    expand_files,
    given,
    mask_options,
    one_or_list,
    parse_bits,
    training_options,
    verbosity_options,
)

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
@click.option('--noise', metavar='FILE', type=click.Path(),
              help="Noise of the set of frames, from 'noise' or an earlier run. By default that of several files is "
                   'estimated first, and written to n2v-noise.json among the results.')
@click.option('--per-frame', is_flag=True,
              help='Measure the autocorrelation of the noise and the gain on each image by itself.')
@click.option('--satlevel', multiple=True, type=float,
              help='Data at or above it are saturated. Repeat it to give one for each extension.')
@click.option('--hole', type=HoleType(),
              help="What the network does not see around a pixel: any with 'self', else that of the model. By default "
                   'correlated noise is whitened instead.')
@click.option('--strength', type=click.FloatRange(0, 1), default=1.0, show_default=True,
              help='From 0 (the data) to 1 (the posterior mean).')
@click.option('--reject-outliers', is_flag=True, default=None,
              help='Replace single pixels, dark or bright, that no star can have made, by the prediction from their '
                   'surroundings.')
@click.option('--fill-masked', is_flag=True, help='Fill masked pixels with the prediction from their surroundings.')
@mask_options
@click.option('--uncertainty', metavar='UNCERTAINTY',
              help='An uncertainty in place of the one of the files: a FITS file, FILE[EXT], or the name or number of '
                   'an extension of the files themselves.')
@click.option('--audit', type=click.Choice(['refuse', 'warn', 'off']),
              help="What to do with a result that its own data exclude: write none ('refuse'), write it with a warning "
                   "('warn'), or make no audit.")
@click.option('--full-output', is_flag=True,
              help='Append BLIND and SPREAD (mean and deviation of each pixel given its surroundings alone), '
                   'INNOVATION, OUTLIER and NOISE extensions, too.')
@click.option('--tile-size', type=click.IntRange(min=1), help='Height and width of tiles in pixels.')
@click.option('--device', help="'auto', 'cpu', 'cuda', ...")
@click.option('--seed', type=int, help="Seed of training, for the models 'self' and 'adapt'.")
@training_options
@click.option('--overwrite', is_flag=True, help='Replace existing results; inputs are never replaced.')
@click.option('--summary', metavar='FILE', type=click.Path(),
              help='Table to write (ECSV): how each image was denoised, and why it was not.')
@click.option('--no-keyword', is_flag=True, help='Write nothing to the headers about how the results were made.')
@verbosity_options
@click.pass_context
def command(ctx, files, output_dir, suffix, ext, model, gain, readnoise, noise, per_frame, satlevel, hole, strength,
            reject_outliers, fill_masked, mask, ignore_bits, uncertainty, audit, full_output, tile_size, device, seed,
            overwrite, summary, no_keyword, **training):
    """
    Denoise FITS files.

    The science images of each file are replaced, every other extension stays as it was, and
    the standard deviation of the result is appended as UNCERT. The error and quality extensions
    of the same version serve as uncertainty and mask. Pictures (JPEG, PNG, TIFF) come out as
    pictures. FILE[EXT] is one extension of a file, such as 'frame.fits[SCI,1]'. The options of training (--max-steps to
    --checkpoint) go with --model self or --model adapt.

    \b
    Examples:
      astropy-n2v denoise night1/*.fits -o denoised --gain 1.9 --readnoise 5
      astropy-n2v denoise 'frame.fits[SCI,1]' -o denoised --model self --max-time 300
      astropy-n2v denoise *.fits -o denoised --mask badpixels.fits --summary denoised.ecsv
      astropy-n2v denoise night2/*.fits -o denoised --noise night1-noise.json
    """
    from ..batch.files import denoise_files
    from ..batch.summary import describe_images, write_summary
    from ..config import conf
    from ..io.files import describe_error
    from ..utils.files import atomic_write
    training = given(**training)
    if training and (model or conf.default_model) not in ('self', 'adapt'):
        names = ', '.join(f'--{name.replace("_", "-")}' for name in training)
        raise click.UsageError(f'options of training ({names}) go with --model self or --model adapt.')
    if noise is not None and per_frame:
        raise click.UsageError('--per-frame does not go with --noise.')
    ignore_bits = parse_bits(ignore_bits)
    files = expand_files(files)
    if 'checkpoint' in training and len(files) > 1:
        raise click.UsageError('--checkpoint goes with one file, whose training it can resume.')
    paths = [chosen_extension(file, ext)[0] for file in files]
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
                              f'{record.seconds:.1f} s  {describe_images(record.images)}')

        try:
            # Before the work, and not after it.
            writing = nullcontext() if summary is None else atomic_write(summary, overwrite=overwrite, inputs=paths)
            with writing as table:
                if len(files) > 1 and noise is None and not per_frame:
                    report.say('measuring the noise that the frames have in common')
                records = denoise_files(
                    files, output_dir, suffix=suffix, model=model, noise=noise, per_frame=per_frame,
                    overwrite=overwrite, callback=show, ext=list(ext) or None, ignore_bits=ignore_bits, mask=mask,
                    uncertainty=uncertainty, gain=one_or_list(gain), readnoise=one_or_list(readnoise),
                    satlevel=one_or_list(satlevel), hole=hole, strength=strength, fill_masked=fill_masked,
                    full_output=full_output, tile_size=tile_size, device=device, seed=seed,
                    progress_bar=report.progress_bar, add_keyword=not no_keyword,
                    **given(audit=audit, reject_outliers=reject_outliers), **training)
                if summary is not None:
                    write_summary(records, table, overwrite=True)
        except (OSError, ValueError) as error:
            raise click.ClickException(describe_error(error)) from error
        done = sum(record.status == 'done' for record in records)
        if len(records) > 1:
            report.result(f'{done} of {len(records)} files denoised')
    if done < len(records):
        ctx.exit(1)
