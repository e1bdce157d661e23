# Licensed under a 3-clause BSD style license - see LICENSE
"""
``astropy-n2v demo``.
"""

import click

from .common import Reporter, verbosity_options

__all__ = ['command']

# Those of astropy_n2v.simulate.SCENE_KINDS, without its imports.
_KINDS = ('survey', 'crowded', 'nebula', 'low_counts', 'sky_limited', 'cluster', 'globular', 'filaments',
          'undersampled', 'varying')


@click.command('demo')
@click.option('-o', '--output-dir', default='n2v_demo', show_default=True, metavar='DIR', type=click.Path(),
              help='Directory for the files.')
@click.option('--kind', type=click.Choice(_KINDS), default='survey', show_default=True, help='What the scene shows.')
@click.option('--size', type=click.IntRange(min=32), default=512, show_default=True,
              help='Height and width in pixels.')
@click.option('--seed', type=click.IntRange(min=0), default=1, show_default=True, help='Seed of scene and noise.')
@click.option('--model', metavar='MODEL',
              help="'default', 'self' (train on this image, minutes), 'adapt', one that 'models' lists, or a file that "
                   "'train' wrote.")
@click.option('--device', help="'auto', 'cpu', 'cuda', ...")
@click.option('--overwrite', is_flag=True, help='Replace the files of an earlier demo.')
@verbosity_options
@click.pass_context
def command(ctx, output_dir, kind, size, seed, model, device, overwrite):
    """
    Denoise a simulated observation and show how much it gains.

    Writes noisy.fits, denoised.fits (with UNCERT), truth.fits and the figure comparison.png,
    and prints how much nearer to the truth the result is than the observation.
    """
    import os
    from pathlib import Path

    from ..batch.fits import denoise_fits
    from ..io.paths import describe_error
    from ..simulate import make_scene
    directory = Path(output_dir)
    names = {name: directory / name for name in ('noisy.fits', 'truth.fits', 'denoised.fits', 'comparison.png')}
    with Reporter.of(ctx) as report:
        try:
            os.makedirs(directory, exist_ok=True)
            _refuse_existing(names.values(), overwrite)
            report.say(f'simulating: {kind}, {size}x{size} pixels')
            scene = make_scene(kind, (size, size), seed=seed)
            _write_observation(scene, seed, names, overwrite)
            report.say('denoising')
            denoise_fits(names['noisy.fits'], names['denoised.fits'], model, overwrite=overwrite, device=device,
                         seed=seed, progress_bar=report.progress_bar)
            for line in _judge(scene, names, overwrite):
                report.result(line)
        except (OSError, ValueError) as error:
            raise click.ClickException(describe_error(error)) from error
        report.result('files: ' + ', '.join(str(path) for path in names.values()))


def _refuse_existing(paths, overwrite):
    """Fail before the work, and not after half of it."""
    for path in paths:
        if path.exists() and not overwrite:
            raise FileExistsError(f'{path} exists: use --overwrite to replace it')


def _write_observation(scene, seed, names, overwrite):
    """Write a noisy observation of a scene, and the truth."""
    import numpy as np
    from astropy.io import fits

    from ..utils.atomic_files import atomic_write
    # Not the generator of the scene: its noise must not repeat the draws of the sources.
    noisy = scene.observe(seed=np.random.default_rng((seed, 1)))
    with atomic_write(names['noisy.fits'], overwrite=overwrite) as temporary:
        noisy.write(temporary, format='fits', overwrite=True)
    with atomic_write(names['truth.fits'], overwrite=overwrite) as temporary:
        fits.writeto(temporary, scene.truth.astype(np.float32), fits.Header({'BUNIT': 'electron'}), overwrite=True)


def _judge(scene, names, overwrite):
    """
    Draw the figure, and measure the gain of the result.

    Yields
    ------
    str
        Lines of text.
    """
    import numpy as np
    from astropy.io import fits

    from ..utils.atomic_files import atomic_write
    from ..validation import mean_offset, noise_reduction
    from ..validation.figures import draw_comparison
    noisy, result = (fits.getdata(names[name]) for name in ('noisy.fits', 'denoised.fits'))
    deviation = fits.getdata(names['denoised.fits'], 'UNCERT')
    truth = scene.truth
    sigma = np.sqrt(scene.noise.variance(truth))
    sky_sigma = float(np.sqrt(scene.noise.variance(scene.sky)))
    with atomic_write(names['comparison.png'], overwrite=overwrite) as temporary:
        figure = draw_comparison(noisy, result, truth, sigma=sky_sigma, residual=True)
        figure.savefig(temporary, format='png', dpi=100)
    signal = (truth - scene.sky) / sky_sigma
    bins = {'all pixels': None, 'faint pixels (signal 1 to 10 sigma)': (signal > 1) & (signal < 10),
            'bright pixels (signal above 30 sigma)': signal > 30}
    yield 'noise reduction, rms(noisy - truth) / rms(denoised - truth):'
    for name, select in bins.items():
        gain = noise_reduction(noisy, result, truth, sigma, select=select)
        yield f'  {name:<40}' + ('none' if np.isnan(gain) else f'{gain:.2f}')
    yield f'|mean(denoised - truth)|: {abs(mean_offset(result, truth, sigma)):.4f} sigma'
    yield f'rms((denoised - truth) / stated deviation): {np.sqrt(np.mean(((result - truth) / deviation) ** 2)):.3f}'
