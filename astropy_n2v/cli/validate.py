# Licensed under a 3-clause BSD style license - see LICENSE
"""
``astropy-n2v validate``.
"""

import click

from .common import (
    HoleType,
    Reporter,
    chosen_extension,
    expand_files,
    former_options,
    given,
    parse_bits,
    verbosity_options,
)

__all__ = ['command']

_POSITIVE = click.FloatRange(min=0, min_open=True)


class _PairType(click.ParamType):
    """Two numbers, such as -12,-6."""

    name = 'bright,faint'

    def convert(self, value, param, ctx):
        """Convert text to a pair."""
        if isinstance(value, tuple):
            return value
        try:
            bright, faint = (float(part) for part in value.split(','))
        except ValueError:
            self.fail(f'{value!r} must be two magnitudes such as -12,-6', param, ctx)
        return bright, faint


@click.command('validate')
@click.argument('files', nargs=-1, required=True, metavar='FILES...')
@click.option('--report', 'report_dir', metavar='DIR', type=click.Path(),
              help='Directory for report.html, report.json, tables and figures. Frames whose results are there are not '
                   'computed again.')
@click.option('--model', metavar='MODEL',
              help="'default' (the shipped weights), 'self', 'adapt', or a file that 'train' wrote.")
@click.option('--truth', multiple=True, metavar='FILE', type=click.Path(),
              help='The noise-free image; repeat it to give one for each of the files.')
@click.option('--reference', multiple=True, metavar='FILE',
              help="A deeper or independent image, aligned by its WCS; repeat it to give one for each of the files. "
                   "'others': the files are aligned exposures, each judged by the others.")
@click.option('--inject', type=click.IntRange(min=0), default=0, show_default=True, metavar='N',
              help='Inject artificial sources into each frame, N times, before it is denoised.')
@click.option('--n-sources', type=click.IntRange(min=1), default=200, show_default=True,
              help='Artificial sources at a time; fewer where they do not fit.')
@click.option('--magnitudes', type=_PairType(),
              help='Brightest and faintest artificial source, -2.5 log10(flux in data units).')
@click.option('--galaxies', type=click.FloatRange(0, 1), help='Fraction of artificial sources that are galaxies.')
@click.option('--psf', metavar='FILE|FWHM',
              help='FITS image of the point-spread function, or its full width at half maximum in pixels; by default '
                   'it is measured on isolated stars.')
@click.option('--threshold', 'thresholds', multiple=True, type=_POSITIVE,
              help='Detection threshold, in units of the error of the matched filter; may be repeated.')
@click.option('--false-rate', type=_POSITIVE, help='False detections per megapixel at which depths are compared.')
@click.option('--confidence', type=click.FloatRange(0.5, 1, max_open=True), help='Confidence of intervals.')
@click.option('--ext', multiple=True, metavar='EXT',
              help='Extension to validate: its number, name, or name,version. May be repeated. By default SCI, or all '
                   'science images.')
@click.option('--ignore-bits', default='0', metavar='BITS',
              help="Bits of the quality extension (DQ) that do no harm: their sum or a list; 'None': all of them.")
@click.option('--gain', type=_POSITIVE, help='Electrons per data unit.')
@click.option('--readnoise', type=click.FloatRange(min=0), help='Read noise in electrons.')
@click.option('--satlevel', type=float, help='Data at or above it are saturated.')
@click.option('--hole', type=HoleType(), help='What the network does not see around a pixel.')
@click.option('--strength', type=click.FloatRange(0, 1), help='From 0 (the data) to 1 (the posterior mean).')
@click.option('--device', help="'auto', 'cpu', 'cuda', ...")
@click.option('--seed', type=click.IntRange(min=0), default=0, show_default=True, help='Seed of all that is random.')
@click.option('--strict', is_flag=True, help='Exit with status 1 if a test fails.')
@click.option('--overwrite', is_flag=True, help='Replace an earlier report.')
@former_options
@verbosity_options
@click.pass_context
def command(ctx, files, report_dir, model, truth, reference, psf, thresholds, ext, ignore_bits, gain, readnoise,
            satlevel, hole, strength, device, seed, strict, overwrite, **options):
    """
    Find out whether flux and detections survive denoising.

    Makes all tests that the inputs allow, and prints the verdicts: pass, fail, inconclusive (the
    data do not decide), or not run. With --report, writes one HTML page with all of it, and
    tables and figures.

    \b
    Examples:
      astropy-n2v validate night1/*.fits --inject 3 --report validation
      astropy-n2v validate exposures/*.fits --reference others --report validation
    """
    from ..io import read_fits_images
    from ..io.paths import describe_error
    from ..validation import validate
    from ..validation.report.arguments import read_image
    ignore_bits = parse_bits(ignore_bits)
    files = expand_files(files)
    with Reporter.of(ctx) as report:
        others = list(reference) == ['others']
        truths, references = (_one_each('--truth', truth, len(files)),
                              _one_each('--reference', () if others else reference, len(files)))
        frames, names, bad = [], [], []
        guides = {'truth': [], 'reference': []}
        for file, paths in zip(files, zip(truths, references)):
            report.begin(file)
            try:
                source, own = chosen_extension(file, ext)
                images = read_fits_images(source, own, ignore_bits=ignore_bits)
                # With only one image, validate() reports a guide that cannot be read.
                found = [[path if len(images) == 1 and not own else read_image(name, path, i, len(images), own or [])
                          for i in range(len(images))] for name, path in zip(guides, paths)]
                for name, more in zip(guides, found):
                    guides[name] += more
                frames += images
                names += [f'{file}[{n + 1}]' if len(images) > 1 else file for n in range(len(images))]
            except (OSError, ValueError, TypeError) as error:
                bad.append(file)
                report.error(f'{file}: error: {describe_error(error, file)}')
        report.begin('')
        if not frames:
            raise click.ClickException('no frame to validate')
        try:
            denoiser, name = _make_denoiser(model, **given(gain=gain, readnoise=readnoise, satlevel=satlevel,
                                                           hole=hole, strength=strength, device=device, seed=seed))
            result = validate(
                frames, denoiser, names=names, denoiser_name=name, report_dir=report_dir, overwrite=overwrite,
                truth=guides['truth'] if truth else None,
                reference='others' if others else guides['reference'] if reference else None,
                psf=read_psf(psf), gain=gain, readnoise=readnoise, satlevel=satlevel, seed=seed,
                progress_bar=report.progress_bar, **given(thresholds=thresholds or None, **options))
        except (OSError, ValueError, TypeError) as error:
            raise click.ClickException(describe_error(error)) from error
        failed_frames = [frame for frame in result.meta['frames'] if frame['status'] == 'failed']
        for frame in failed_frames:
            report.error(f'{frame["name"]}: error: {frame["error"]}')
        report.result(*result.summary().splitlines())
        for advice in result.meta['advice']:
            report.result(advice)
        if report_dir is not None:
            import os
            report.result(f'report: {os.path.join(report_dir, "report.html")}')
    if bad or failed_frames or (strict and not result.passed):
        ctx.exit(1)


def read_psf(text):
    """Read a width or the image of a file; None without either."""
    if text is None:
        return None
    try:
        width = float(text)
    except ValueError:
        from ..io import read_fits_images
        return read_fits_images(text)[0].data
    if not 0 < width < float('inf'):
        raise ValueError(f'--psf must be a file or a positive number of pixels, got {text}')
    return width


def _one_each(option, values, n):
    """A file for each of the n files of the command line, from none, one or n."""
    if len(values) < 2:
        return [*values, None][:1] * n
    if len(values) != n:
        raise click.UsageError(f'{option} must be given once, or once for each of the {n} files, got {len(values)}')
    return values


def _make_denoiser(model, **options):
    """A denoiser and a name that changes whenever it does."""
    import hashlib
    import os

    from ..config import conf
    from ..denoising import denoise
    from ..version import __version__
    model = model or conf.default_model
    name = f'denoise, model {os.path.basename(model)}'
    identity = f'{__version__} {sorted(options.items())}'
    if model not in ('default', 'self', 'adapt'):
        from ..denoiser import Denoiser
        model = Denoiser.load(model)   # once, and not for each frame
        identity += model.sha256
    elif model != 'self':
        from ..weights import read_checksums
        identity += str(sorted(read_checksums().items()))
    digest = hashlib.sha256(identity.encode()).hexdigest()[:10]
    return (lambda ccd: denoise(ccd, model, **options)), f'{name} ({digest})'
