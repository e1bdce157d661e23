# Licensed under a 3-clause BSD style license - see LICENSE
"""
``astropy-n2v preview``.
"""

import os
from pathlib import Path

import click

from .common import Reporter, chosen_extension, find_files, mask_options, parse_bits, verbosity_options

__all__ = ['command']


@click.command('preview')
@click.argument('files', nargs=-1, metavar='[FILES...]')
@click.option('-o', '--output-dir', required=True, metavar='DIR', type=click.Path(),
              help='Directory for the pictures; it is made if it does not exist.')
@click.option('--manifest', metavar='MANIFEST', type=click.Path(),
              help='Catalogue of frames to draw in place of FILES (astropy-n2v manifest); needs --split.')
@click.option('--split', metavar='SPLIT', type=click.Path(),
              help='Its part for the test is drawn, which no training has seen (astropy-n2v split).')
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
def command(ctx, files, output_dir, manifest, split, model, number, ext, mask, ignore_bits, **options):
    """
    Draw files before and after denoising, side by side.

    Input, result, residual and uncertainty of each image in a PNG; of a picture (JPEG, PNG, TIFF)
    the mean of its colours, without uncertainty. Nothing else is written.

    Several runs may share a directory: a picture that is there stays as it is, and its file counts as failed, unless
    --overwrite replaces it. In one run, files of the same name need folders of their own, as those below a folder in
    FILES have, which the pictures keep; the second of two in one place is refused, with --overwrite, too.

    With --manifest and --split, frames of a catalogue that are for the test; pictures keep the folders of the files.

    \b
    Examples:
      astropy-n2v preview night2/*.fits --model mycamera.safetensors -n 5 -o pictures
      astropy-n2v preview --manifest manifest.ecsv --split split.json --model mycamera.safetensors -o pictures
    """
    from ..batch.preview import picture_stem, preview_file
    from ..denoiser import Denoiser
    from ..io.paths import describe_error
    reading = {'ignore_bits': parse_bits(ignore_bits), 'mask': mask}
    failed = 0
    with Reporter.of(ctx) as report:
        try:
            inputs = _find_inputs(files, manifest, split, ext, mask)
            if model not in (None, 'self', 'adapt'):
                model = Denoiser.load(model)   # once for all files
        except (OSError, ValueError, ImportError) as error:
            raise click.ClickException(describe_error(error)) from error
        taken = {}
        for i in range(min(number, len(inputs))):
            file, path, extensions, folder = inputs[i * len(inputs) // min(number, len(inputs))]
            report.begin(file)
            try:
                first = taken.setdefault(os.path.join(folder, picture_stem(path)), file)
                if first is not file:
                    raise ValueError(f'the pictures of {first} have the same name: draw them to different directories')
                for picture in preview_file(path, Path(output_dir) / folder, model, ext=extensions,
                                            progress_bar=report.progress_bar, **reading, **options):
                    report.result(f'{file} -> {picture}')
            except (OSError, ValueError, TypeError) as error:
                failed += 1
                report.error(f'{file}: error: {describe_error(error, file)}')
    if failed:
        ctx.exit(1)


def _find_inputs(files, manifest, split, ext, mask):
    """Name, path, extensions and folder of the pictures, of each file."""
    if not (manifest or split):
        if not files:
            raise click.UsageError("Missing argument 'FILES...', or --manifest and --split.")
        return [(file.path, *chosen_extension(file.path, ext), file.folder) for file in find_files(files)]
    if files or not (manifest and split):
        raise click.UsageError('--manifest and --split go together, and without FILES.')
    if ext or mask:
        raise click.UsageError('--ext and --mask do not go with --manifest, which names the images.')
    return _find_tests(manifest, split)


def _find_tests(manifest, split):
    """The same of the files of a catalogue that are for the test."""
    from ..collections import Split, read_manifest
    from ..io.raster import is_raster
    rows, extensions = Split.read(split).rows(read_manifest(manifest), 'test'), {}
    for path, number in zip(rows['path'].tolist(), rows['ext'].tolist()):
        extensions.setdefault(path, []).append(number)
    # Nights may have files of the same name.
    folders = [os.path.dirname(os.path.abspath(path)) for path in extensions]
    top = os.path.commonpath(folders)
    return [(path, path, None if is_raster(path) else numbers, os.path.relpath(folder, top))
            for (path, numbers), folder in zip(extensions.items(), folders)]
