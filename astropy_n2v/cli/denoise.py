# Licensed under a 3-clause BSD style license - see LICENSE
"""
``astropy-n2v denoise``.
"""

from contextlib import contextmanager, nullcontext
from pathlib import Path

import click

from ..utils.names import counted
from .common import (
    HoleType,
    Reporter,
    chosen_extension,
    former_options,
    given,
    mask_options,
    one_or_list,
    parse_bits,
    training_options,
    verbosity_options,
)

__all__ = ['command']


@click.command('denoise')
@click.argument('files', nargs=-1, metavar='[FILES...]')
@click.option('-o', '--output-dir', required=True, metavar='DIR', type=click.Path(),
              help='Directory for the results; it is made if it does not exist.')
@click.option('--files-from', metavar='FILE', type=click.File('rb'),
              help="File with names of further files, one in each line, or with zero bytes after each; '-' is standard "
                   'input.')
@click.option('--catalog', metavar='TABLE', type=click.Path(),
              help='Table with further files (ECSV, CSV, ...): their names, relative to it, are in a column path.')
@click.option('--where', metavar='CONDITION',
              help="Rows of the catalogue, such as \"filter == 'r' and exptime > 100\".")
@click.option('--shard', metavar='I/N', callback=lambda ctx, param, value: parse_share(value),
              help="Denoise the I-th of N shares of the files, from 1; 'auto': the share of this job in an array of "
                   'Slurm, Grid Engine or LSF.')
@click.option('--jobs', type=click.IntRange(min=1), default=1, show_default=True,
              help='Files that are denoised at the same time, each in a process of its own; they share the cores.')
@click.option('--scheduler', metavar='ADDRESS',
              help="Run on Dask distributed: the address of a scheduler, or 'local' for --jobs workers on this "
                   'machine.')
@click.option('--skip-existing', is_flag=True,
              help='Pass over files whose results are there and current by the journal: input, model, options and '
                   'noise of the set are the same.')
@click.option('--journal', metavar='FILE', type=click.Path(),
              help='File to which a line (JSON) is appended for each file. By default n2v-journal.jsonl among the '
                   "results; 'none': no journal.")
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
              help="Noise of the set of frames, from 'noise' or an earlier run. By default the noise of several files "
                   'is estimated first, and written to n2v-noise.json among the results.')
@click.option('--per-frame', is_flag=True,
              help='Measure the autocorrelation of the noise and the gain on each image by itself.')
@click.option('--satlevel', multiple=True, type=float,
              help='Data at or above it are saturated. Repeat it to give one for each extension.')
@click.option('--hole', type=HoleType(),
              help="Pixels that the network does not see: any hole with 'self', else the hole of the model. By default "
                   'correlated noise is whitened instead.')
@click.option('--strength', type=click.FloatRange(0, 1), default=1.0, show_default=True,
              help='From 0 (the data) to 1 (the posterior mean).')
@click.option('--reject-outliers', is_flag=True, default=None,
              help='Replace single pixels, dark or bright, that no star can have made, by the prediction from their '
                   'surroundings.')
@click.option('--fill-masked', is_flag=True, help='Fill masked pixels with the prediction from their surroundings.')
@click.option('--cosmic-rays', is_flag=True, default=None,
              help='Mask cosmic rays first, as L.A.Cosmic finds them.')
@mask_options
@click.option('--uncertainty', metavar='UNCERTAINTY',
              help='An uncertainty in place of the one of the files: a FITS file, FILE[EXT], or the name or number of '
                   'an extension of the files themselves.')
@click.option('--audit', type=click.Choice(['refuse', 'warn', 'off']),
              help="Treatment of a result that its own data exclude: write none ('refuse'), write it with a warning "
                   "('warn'), or make no audit.")
@click.option('--full-output', is_flag=True,
              help='Append BLIND and SPREAD (mean and deviation of each pixel given its surroundings alone), '
                   'INNOVATION, OUTLIER and NOISE extensions, too.')
@click.option('--flag-outliers', is_flag=True, default=None,
              help='Append N2VDQ, whose bits are 1: did not count, 2: outlier, 4: masked by --cosmic-rays.')
@click.option('--replace-uncertainty', is_flag=True, default=None,
              help='Write the uncertainty of the result in place of the one in the file (ERR, ...), in its kind and '
                   'unit. By default both are there.')
@click.option('--quantize', type=click.FloatRange(min=0, min_open=True),
              help='Compress images that are compressed tile by tile with loss: steps into which their noise is '
                   'divided, such as 16. By default nothing is lost.')
@click.option('--tile-size', type=click.IntRange(min=1), help='Height and width of tiles in pixels.')
@click.option('--device', help="'auto', 'cpu', 'cuda', ...")
@click.option('--seed', type=int, help="Seed of training, for the models 'self' and 'adapt'.")
@training_options
@click.option('--overwrite', is_flag=True, help='Replace existing results; inputs are never replaced.')
@click.option('--summary', metavar='FILE', type=click.Path(),
              help='Table to write (ECSV): how each image was denoised, and why it was not.')
@click.option('--preview', is_flag=True,
              help='Draw each image before and after, and write the picture (PNG) beside the result.')
@click.option('--no-keyword', is_flag=True, help='Write nothing to the headers about how the results were made.')
@former_options
@verbosity_options
@click.pass_context
def command(ctx, files, output_dir, files_from, catalog, where, shard, jobs, scheduler, skip_existing, journal, suffix,
            ext, model, gain, readnoise, noise, per_frame, satlevel, hole, strength, reject_outliers, fill_masked, mask,
            ignore_bits, uncertainty, audit, full_output, tile_size, device, seed, overwrite, summary, no_keyword,
            cosmic_rays, flag_outliers, replace_uncertainty, quantize, preview, **training):
    """
    Denoise FITS files.

    FILES are files, patterns, and folders, which stand for all FITS files below them.

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
      astropy-n2v denoise night1 -o denoised --jobs 8 --skip-existing
      astropy-n2v denoise --files-from list.txt -o denoised --noise noise.json --shard auto
    """
    from ..batch.inputs import take_shard
    from ..batch.journal import JOURNAL_NAME
    from ..batch.many import denoise_files
    from ..batch.summary import write_summary
    from ..config import conf
    from ..denoiser import Denoiser
    from ..io.paths import describe_error
    from ..utils.atomic_files import atomic_write
    training = given(**training)
    if training and (model or conf.default_model) not in ('self', 'adapt'):
        names = ', '.join(f'--{name.replace("_", "-")}' for name in training)
        raise click.UsageError(f'options of training ({names}) go with --model self or --model adapt.')
    if noise is not None and per_frame:
        raise click.UsageError('--per-frame does not go with --noise.')
    ignore_bits = parse_bits(ignore_bits)
    files = collect_files(files, files_from, catalog, where, output_dir)
    journal = None if journal == 'none' else journal or Path(output_dir) / JOURNAL_NAME
    for name in 'checkpoint', 'log':
        if name in training and len(files) > 1:
            raise click.UsageError(f'--{name} goes with one file: it belongs to the training on that file.')
    paths = [chosen_extension(file, ext)[0] for file in files]
    total = len(take_shard(files, shard))
    with Reporter.of(ctx) as report:
        try:
            # Before the work, and not after it.
            if (model or conf.default_model) not in ('default', 'self', 'adapt'):
                Denoiser.load(model or conf.default_model)
            writing = nullcontext() if summary is None else atomic_write(summary, overwrite=overwrite, inputs=paths)
            with writing as table, _open_cluster(scheduler, jobs, report) as executor:
                if len(files) > 1 and noise is None and not per_frame and not (skip_existing or shard):
                    report.say('measuring the noise that the frames have in common')
                draw = Drawing(ext, ignore_bits, mask, overwrite) if preview else None
                records = denoise_files(
                    files, output_dir, suffix=suffix, model=model, noise=noise, per_frame=per_frame,
                    overwrite=overwrite, skip_existing=skip_existing, shard=shard, journal=journal,
                    n_jobs=1 if executor else jobs, executor=executor, callback=Progress(report, total, draw),
                    ext=list(ext) or None, ignore_bits=ignore_bits, mask=mask, uncertainty=uncertainty,
                    gain=one_or_list(gain), readnoise=one_or_list(readnoise), satlevel=one_or_list(satlevel), hole=hole,
                    strength=strength, fill_masked=fill_masked, full_output=full_output, tile_size=tile_size,
                    device=device, seed=seed, progress_bar=report.progress_bar, add_keyword=not no_keyword,
                    **given(audit=audit, reject_outliers=reject_outliers, cosmic_rays=cosmic_rays,
                            flag_outliers=flag_outliers, replace_uncertainty=replace_uncertainty, quantize=quantize),
                    **training)
                if summary is not None:
                    write_summary(records, table, overwrite=True)
        except (ImportError, OSError, ValueError) as error:
            raise click.ClickException(describe_error(error)) from error
        done, skipped = (sum(record.status == status for record in records) for status in ('done', 'skipped'))
        if len(records) > 1:
            current = f', {skipped} {"was" if skipped == 1 else "were"} there and current' if skipped else ''
            report.result(f'{done} of {counted(len(records), "file")} denoised{current}')
    if done + skipped < len(records):
        ctx.exit(1)


@contextmanager
def _open_cluster(scheduler, jobs, report):
    """Open the cluster that --scheduler names, and say where its dashboard is; None without one."""
    if scheduler is None:
        yield None
        return
    from ..batch.cluster import open_cluster
    with open_cluster(scheduler, jobs) as (executor, link):
        if link:
            report.say(f'dashboard: {link}')
        yield executor


class Progress:
    """
    Prints what becomes of each file.

    Parameters
    ----------
    report : Reporter
        Where to print.
    total : int
        Number of files.
    draw : callable, optional
        Called with the record of each file that was denoised.
    """

    def __init__(self, report, total, draw=None):
        self.report, self.total, self.draw, self.numbers = report, total, draw, {}

    def __call__(self, record):
        """Print the beginning or the end of a file."""
        from ..batch.summary import describe_images
        self.report.begin(record.path)
        if record.status in ('running', 'skipped'):
            # One that was begun is skipped after all if another run was faster: it keeps its number.
            number = self.numbers.setdefault(id(record), len(self.numbers) + 1)
            skipped = ' is there and current' if record.status == 'skipped' else ''
            self.report.say(f'[{number}/{self.total}] {record.path}{skipped}')
        elif record.status == 'failed':
            self.report.error(f'{record.path}: error: {record.error}')
        else:
            unchanged = f'; unchanged: {", ".join(record.unchanged)}' if record.unchanged else ''
            self.report.result(f'{record.path} -> {record.output}  HDU {", ".join(record.denoised)}{unchanged}  '
                               f'{record.seconds:.1f} s  {describe_images(record.images)}')
            if self.draw is not None:
                self.draw(record, self.report)


class Drawing:
    """
    Draws files before and after they were denoised.

    Parameters
    ----------
    ext, ignore_bits, mask, overwrite : object
        Values of these options.
    """

    def __init__(self, ext, ignore_bits, mask, overwrite):
        self.ext = ext
        self.options = {'ignore_bits': ignore_bits, 'mask': mask, 'overwrite': overwrite}

    def __call__(self, record, report):
        """Draw the images of a file; a picture that cannot be drawn is no reason to stop."""
        from ..batch.preview import preview_result
        from ..io.paths import describe_error
        path, ext = chosen_extension(record.path, self.ext)
        try:
            pictures = preview_result(path, record.output, ext=ext, **self.options)
            report.say(f'pictures: {", ".join(map(str, pictures))}')
        except (OSError, ValueError) as error:
            report.warn(f'{record.path}: warning: no picture: {describe_error(error)}')


def collect_files(names, files_from, catalog, where, output_dir):
    """
    Collect the files that the command line, a list and a catalogue name.

    Parameters
    ----------
    names : list of str
        Files, patterns and folders.
    files_from : file object or None
        A list of further ones.
    catalog, where : str or None
        A catalogue of further ones, and which rows of it.
    output_dir : str
        The folder of the results, which holds no input that is not named.

    Returns
    -------
    list of `~astropy_n2v.batch.InputFile`
        The files.

    Raises
    ------
    click.ClickException
        If there is no file, or a list or folder cannot be used.
    """
    from ..batch.inputs import InputFile, find_inputs, read_catalog, read_list
    from ..io.paths import describe_error
    if where is not None and catalog is None:
        raise click.UsageError('--where goes with --catalog.')
    if not names and files_from is None and catalog is None:
        raise click.UsageError("Missing argument 'FILES...', --files-from or --catalog.")
    try:
        files = find_inputs(names, exclude=output_dir)
        if files_from is not None:
            files += map(InputFile, read_list(files_from))
        if catalog is not None:
            files += map(InputFile, read_catalog(catalog, where))
    except (OSError, ValueError) as error:
        raise click.ClickException(describe_error(error)) from error
    if not files:
        raise click.ClickException('the list or catalogue has no file')
    return files


def parse_share(text):
    """
    Read --shard.

    Parameters
    ----------
    text : str or None
        Its value.

    Returns
    -------
    tuple of int or None
        Number, from 1, and how many there are.

    Raises
    ------
    click.BadParameter
        If it is no share.
    """
    from ..batch.inputs import parse_shard
    try:
        return None if text is None else parse_shard(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
