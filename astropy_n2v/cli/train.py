# Licensed under a 3-clause BSD style license - see LICENSE
"""
``astropy-n2v train``.
"""

import time
from contextlib import contextmanager, nullcontext
from pathlib import Path

import click

from ..utils.names import counted
from .classical import classical_options, describe_error_of, take_classical, training_function
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
@click.argument('files', nargs=-1, metavar='[FILES...]')
@click.option('-o', '--output', required=True, metavar='MODEL', type=click.Path(),
              help='File to write the model to, such as mycamera.safetensors.')
@click.option('--manifest', metavar='MANIFEST', type=click.Path(),
              help='Catalogue of frames to train on in place of FILES (astropy-n2v manifest); needs --split.')
@click.option('--split', metavar='SPLIT', type=click.Path(),
              help='Which of them to train on, and which judge (astropy-n2v split).')
@click.option('--workers', type=click.IntRange(min=0), help='With --manifest: processes that read ahead.')
@click.option('--ext', multiple=True, metavar='EXT',
              help='Extension to train on: its number, name, or name,version. May be repeated. By default SCI, or all '
                   'science images.')
@mask_options
@click.option('--init', metavar='MODEL',
              help="Model to start from: 'default' (the shipped weights) or a file.  [default: none]")
@click.option('--gain', type=_POSITIVE,
              help='Electrons per data unit, for all images.  [default: of the header or the image]')
@click.option('--readnoise', type=click.FloatRange(min=0),
              help='Read noise in electrons, for all images.  [default: of the header or the image]')
@click.option('--satlevel', type=float, help='Data at or above it are saturated.  [default: of the header or the data]')
@click.option('--hole', type=HoleType(),
              help='What the network does not see around a pixel; by default correlated noise is whitened instead.')
@training_options
@classical_options
@click.option('--device', help="'auto', 'cpu', 'cuda', ...  [default: astropy_n2v.conf.device]")
@click.option('--seed', type=int, help='Seed of weights and patches.  [default: 0]')
@click.option('--overwrite', is_flag=True, help='Replace an existing model.')
@verbosity_options
@click.pass_context
def command(ctx, files, output, manifest, split, workers, ext, mask, ignore_bits, init, gain, readnoise, satlevel,
            overwrite, **options):
    """
    Train a model on FITS files. No clean images are needed.

    With --manifest and --split, on the frames of a catalogue, which need not fit into memory: parts
    of them are read when they are needed.

    A file that cannot be read, or an image that has nothing to train on, is reported and left
    out; the exit status is 1 then.

    Ctrl-C and SIGTERM save the state of the training, which is also saved at least every two minutes; the same command
    goes on from there. By default the state is in MODEL.checkpoint, which is removed once MODEL is written.

    Under torchrun, several processes train the model together: on several GPUs, or on the cores of several machines.

    \b
    Examples:
      astropy-n2v train night1/*.fits -o mycamera.safetensors --init default
      astropy-n2v train --manifest manifest.ecsv --split split.json -o mycamera.safetensors
      torchrun --nproc-per-node 2 -m -- astropy_n2v.cli train night1/*.fits -o mycamera.safetensors
      astropy-n2v train night1/*.fits -o plain.safetensors --strategy n2v2
    """
    from ..io.paths import describe_error
    ignore_bits = parse_bits(ignore_bits)
    classical = take_classical(options, init=init, gain=gain, readnoise=readnoise, workers=workers)
    if manifest or split or workers is not None:
        if files or not (manifest and split):
            raise click.UsageError('--manifest, --split and --workers go together, and without FILES.')
        if ext or mask:
            raise click.UsageError('--ext and --mask do not go with --manifest, which names the images.')
        loading = {} if classical else {'workers': workers or 0}
        _train_collection(ctx, manifest, split, output, overwrite, loading, classical, ignore_bits=ignore_bits,
                          **given(init=init, gain=gain, readnoise=readnoise, satlevel=satlevel, **options))
        return
    if not files:
        raise click.UsageError("Missing argument 'FILES...', or --manifest and --split.")
    temporary_state = _take_state(output, options)
    files = expand_files(files)
    paths = [chosen_extension(file, ext)[0] for file in files]
    failed = 0
    with _joined(ctx) as (report, first):
        try:
            # Entered first: a model that cannot be written is not worth hours of training.
            with _model_file(output, overwrite, paths, first) as temporary:
                images, names = [], []
                for file in files:
                    report.begin(file)
                    try:
                        found = _read_images(file, ext, ignore_bits=ignore_bits, mask=mask)
                    except (OSError, ValueError, TypeError, ImportError) as error:
                        failed += 1
                        report.error(f'{file}: error: {describe_error(error, file)}')
                        continue
                    images += found
                    names += [file] if len(found) == 1 else [f'{file}, image {n}' for n in range(1, len(found) + 1)]
                report.begin('')
                if not images:
                    raise click.ClickException('no image to train on')
                report.say(f'training on {counted(len(images), "image")} of {counted(len(files) - failed, "file")}')
                start = time.monotonic()
                train = training_function(classical, of_collection=False)
                denoiser = _run(train, images, names=names, progress_bar=report.progress_bar or report.say, **classical,
                                **given(init=init, gain=gain, readnoise=readnoise, satlevel=satlevel, **options))
                if first:
                    denoiser.save(temporary, overwrite=True)
        except (OSError, ValueError, TypeError) as error:
            raise click.ClickException(describe_error(error)) from error
        if first:
            _finish(report, output, denoiser, time.monotonic() - start, temporary_state)
            failed += len(images) - denoiser.metadata['images']
    _leave(ctx, 1 if failed and first else 0)


@contextmanager
def _joined(ctx):
    """Join the processes of torchrun, if any; yield a reporter, and if this is the one that reports and writes."""
    from ..training.processes import Processes
    with Processes.of_torchrun() as processes:
        if not processes.first:
            ctx.ensure_object(dict)['quiet'] = True
        with Reporter.of(ctx) as report:
            yield report, processes.first


def _leave(ctx, status=0):
    """End the command with an exit status, and the process if torchrun started it."""
    from ..training.processes import end_process
    if not status:
        end_process()
    ctx.exit(status)


def _model_file(output, overwrite, inputs, first):
    """Open the file that a model is written to, by the first of the processes."""
    from ..utils.atomic_files import atomic_write
    return atomic_write(output, overwrite=overwrite, inputs=inputs) if first else nullcontext()


def _read_images(file, ext, **options):
    """Read the images of a file."""
    from ..collections.raster import read_picture
    from ..io import read_fits_images
    from ..io.raster import is_raster
    if not is_raster(file):
        return read_fits_images(*chosen_extension(file, ext), **options)
    if ext or options['mask']:
        raise ValueError('is a picture, with which --ext and --mask do not go')
    return [read_picture(file)]


def _take_state(output, options):
    """Let a training keep its state beside its model unless a file is named; return the name of such a file."""
    own = None if options.get('checkpoint') else f'{output}.checkpoint'
    if own:
        options['checkpoint'] = own
    return own


def _finish(report, output, denoiser, seconds, temporary_state):
    """Say how a model was trained, and remove a state that nobody asked for."""
    if temporary_state:
        Path(temporary_state).unlink(missing_ok=True)
    metadata = denoiser.metadata
    report.result(f'{output}: trained on {counted(metadata["images"], "image")} in {seconds:.0f} s, '
                  f'{metadata.get("steps")} steps, hole {denoiser.hole[0]}x{denoiser.hole[1]}, '
                  f'{describe_error_of(metadata)}, SHA-256 {denoiser.sha256[:16]}')
    if 'against_default' in metadata:
        report.result(f'{output} is {metadata["against_default"]}')


def _train_collection(ctx, manifest, split, output, overwrite, loading, classical, held_out=None, **options):
    """Train on the frames of a catalogue."""
    from ..collections import Split, read_manifest
    from ..io.paths import describe_error
    if held_out is not None:
        raise click.UsageError('--held-out does not go with --manifest: the validation frames are held out.')
    temporary_state = _take_state(output, options)
    with _joined(ctx) as (report, first):
        try:
            table, parts = read_manifest(manifest), Split.read(split)
            with _model_file(output, overwrite, [manifest, split], first) as temporary:
                counts = parts.counts()
                report.say(f'training on {counted(counts["train"], "file")}, judged by {counts["validation"]}')
                start = time.monotonic()
                train_collection = training_function(classical, of_collection=True)
                denoiser = _run(train_collection, table, parts, progress_bar=report.progress_bar or report.say,
                                loading=loading, **classical, **options)
                if first:
                    denoiser.save(temporary, overwrite=True)
        except (OSError, ValueError, TypeError, ImportError) as error:
            raise click.ClickException(describe_error(error)) from error
        if first:
            _finish(report, output, denoiser, time.monotonic() - start, temporary_state)
    _leave(ctx)


def _run(function, *data, **options):
    """Train; where a signal ends it, say how to resume, and exit as a shell expects it."""
    from ..training.interruption import TrainingInterrupted
    try:
        return function(*data, **options)
    except TrainingInterrupted as interrupted:
        click.echo(f'interrupted after step {interrupted.step}; to go on from there, run the same command again (the '
                   f'state is in {interrupted.checkpoint})', err=True)
        # Of a process that a signal ended.
        raise SystemExit(128 + interrupted.signal_number) from interrupted
