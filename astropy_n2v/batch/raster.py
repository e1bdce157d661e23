# Licensed under a 3-clause BSD style license - see LICENSE
"""
Denoising of pictures: colour, JPEG, PNG and TIFF.
"""

import warnings
from pathlib import Path

import numpy as np
from astropy.io import fits

from ..config import conf
from ..exceptions import CannotDenoiseError
from ..io.process import FitsResult, ImageResult
from ..io.raster import read_raster, write_raster
from ..noise import NoiseModel
from ..noise.brightness import channel_noise
from ..utils.checks import check_number
from ..utils.warn import warn_user

__all__ = ['denoise_channels', 'denoise_raster']

# The sum of three channels, and two differences, with variances of one for channels of a variance of one.
_MIX = np.array([[1, 1, 1], [1, 0, -1], [0.5, -1, 0.5]]) / np.sqrt([[3], [2], [1.5]])
# The noise of these between which the channels are taken for independent: on simulated pictures of 16 bits, debayered
# or not, it was 0.77 to 1.21, of JPEG 0.05 to 0.5 for a difference and 1.5 to 1.75 for the sum.
_INDEPENDENT = 0.7, 1.35
_OPTIONS = 'strength', 'device', 'tile_size', 'audit'   # of denoise that go with pictures


def denoise_channels(data, model=None, *, mask=None, floor=0.0, strength=1.0, device=None, tile_size=None, audit=None):
    """
    Denoise the channels of a colour image, each by its own noise.

    Parameters
    ----------
    data : array_like
        Channels of shape (n, ny, nx), stretched or not.
    model : str, path or Denoiser, optional
        'default', a path or a `~astropy_n2v.Denoiser`.
    mask : array_like of bool, optional
        True where the data do not count, of the shape of ``data`` or of one channel. They come out as they went in.
    floor : float, optional
        Least noise of a pixel (standard deviation), such as of the rounding.
    strength : float, optional
        From 0 (the data) to 1 (the posterior mean).
    device, tile_size : optional
        As for `astropy_n2v.denoise`.
    audit : {'refuse', 'warn', 'off'}, optional
        'refuse': a channel whose result its own data exclude is returned as it was, with a warning; 'warn': as it is,
        with a warning. By default ``astropy_n2v.conf.audit``.

    Returns
    -------
    result : `~numpy.ndarray`
        Posterior means, float64, of the shape of ``data``.
    errors : list of str
        For each channel why it was not denoised; empty if it was.

    Raises
    ------
    ValueError
        If ``data`` has no channels, or a parameter is out of its range.

    Notes
    -----
    Noise is measured at each brightness, so that a stretch need not be known. It is whitened by its autocorrelation:
    JPEG, debayering and drizzling correlate noise. Three channels whose noise is independent are denoised one by one
    and as their sum and differences, and the result is the mean of both: the sum guides. In pictures of star fields
    the errors of sums and differences alone were larger in red and blue; of the mean they are smaller everywhere.
    Where the noise falls with brightness, the channels' own results prevail.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.batch import denoise_channels
    >>> from astropy_n2v.simulate import make_scene
    >>> scene = make_scene('survey', (64, 64), seed=1)
    >>> picture = np.stack([scene.observe(seed=seed).data for seed in range(3)])
    >>> result, errors = denoise_channels(picture)
    >>> bool(np.std(result - scene.truth) < np.std(picture - scene.truth) / 2), errors
    (True, ['', '', ''])
    """
    from ..denoiser import Denoiser
    data = np.asarray(data, dtype=float)
    if data.ndim != 3 or not len(data):
        raise ValueError(f'data must have the shape (channels, ny, nx), got {data.shape}')
    if data.shape[-1] in (3, 4):
        raise ValueError('data must have the shape (channels, ny, nx); put the axis of the colours first, '
                         f'numpy.moveaxis(data, -1, 0), got {data.shape}')
    check_number('strength', strength, 'between 0 and 1', lambda value: 0 <= value <= 1)
    audit = conf.audit if audit is None else audit
    model = conf.default_model if model is None else model
    denoiser = model if isinstance(model, Denoiser) else Denoiser.load(model)
    bad = ~np.isfinite(data)
    if mask is not None:
        bad |= np.broadcast_to(np.asarray(mask, dtype=bool), data.shape)
    if denoiser.channels > 1:
        return _predict_colours(denoiser, data, bad, strength=strength, device=device, tile_size=tile_size)
    options = {'strength': strength, 'whiten': denoiser.whitens, 'device': device, 'tile_size': tile_size,
               'full_output': False}
    result, errors, noises = data.copy(), [], []
    for n, (values, own) in enumerate(zip(data, bad)):
        name = _names(len(data))[n]
        try:
            noises.append(channel_noise(values, own, floor=floor))
        except CannotDenoiseError as error:
            warn_user(f'{name} passes through as it is: {error}')
            errors.append(str(error))
            continue
        found = denoiser.predict(values, noises[-1], own, audit=audit != 'off', **options)
        errors.append(_judge(name, found.audit, audit))
        if not errors[-1]:
            result[n] = np.where(own, values, found.mean)
    if len(data) == 3 and not any(errors):
        result = _together(data, bad, result, noises, denoiser, options)
    return result, errors


def _predict_colours(denoiser, data, bad, **options):
    """Denoise by a model that sees all channels; its result is not audited, as it has no posterior."""
    noise = channel_noise(data[0], bad[0])
    mean = denoiser.predict(data, noise, bad, full_output=False, **options).mean
    return np.where(bad, data, mean), [''] * len(data)


def _together(data, bad, result, noises, denoiser, options):
    """
    Denoise sum and differences of three channels, too, and take the mean of both results.

    Light that is common to the channels stands out of the noise of their sum. Where the channels share noise, as in a
    JPEG, their own results are better and stay; so do bright parts, of whose noise less is known.
    """
    sizes = np.array([np.median(noise.sigma) for noise in noises])[:, None, None]
    ratios = np.array([np.broadcast_to(noise.sigma, data.shape[1:]) for noise in noises]) / sizes
    any_bad = bad.any(axis=0)
    mixed = np.tensordot(_MIX, np.where(bad, 0, data) / sizes, 1)
    sigmas = np.sqrt(np.tensordot(_MIX ** 2, ratios ** 2, 1))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')   # they came with the channels
        try:
            measured = [channel_noise(values, any_bad) for values in mixed]
        except CannotDenoiseError:   # channels that are equal have no differences
            return result
        if any(not _INDEPENDENT[0] < np.median(noise.sigma) < _INDEPENDENT[1] for noise in measured):
            return result
        models = [NoiseModel(sigma, autocorrelation=noise.autocorrelation) for sigma, noise in zip(sigmas, measured)]
        found = [denoiser.predict(values, model, any_bad, audit=False, **options).mean
                 for values, model in zip(mixed, models)]
    other = np.tensordot(_MIX.T, np.stack(found), 1) * sizes
    # At most the mean of both, also on the sky of pictures that are bright in most parts: their median noise is less.
    weight = np.where(any_bad, 0, np.minimum(np.mean(ratios ** 2, axis=0), 1) / 2)
    return result + weight * (other - result)


def _names(n):
    """Name so many channels."""
    return {1: ('grey',), 3: ('red', 'green', 'blue')}.get(n, tuple(f'channel {i + 1}' for i in range(n)))


def _judge(name, report, audit):
    """Warn of what an audit found; return why the channel is not to be denoised."""
    if report is None or report.worst not in ('warning', 'refusal'):
        return ''
    if report.worst == 'refusal' and audit == 'refuse':
        warn_user(f'{name} passes through as it is, as its data exclude the result: {report.message(None)}')
        return report.message(None)
    warn_user(f'{name}: {report.message(None)}')
    return ''


def raster_options(**options):
    """Select the keywords of `denoise_fits` that make sense for pictures; raise ValueError if another one is given."""
    ignored = 'seed', 'progress_bar', 'noise'   # of other files of the same run, or of no effect
    known = {name: options.pop(name) for name in _OPTIONS if name in options}
    given = [name for name, value in options.items()
             if name not in ignored and value is not None and value is not False]
    if given:
        raise ValueError(f'{given[0]} does not go with pictures, got {options[given[0]]!r}')
    return known


def denoise_raster(path, output, model=None, *, overwrite=False, protect=(), complete=None, **options):
    """
    Denoise a picture: JPEG, PNG or TIFF.

    Parameters
    ----------
    path, output : str or path-like
        The picture, and the file to write, of the same kind.
    model : str, path or Denoiser, optional
        See `denoise_channels`.
    overwrite : bool, optional
        If true, replace an existing result.
    protect : iterable of path, optional
        Files that are never replaced, as the input.
    complete : callable, optional
        Called with the temporary file when it is complete, and the result, before the file has its name.
    **options
        ``strength``, ``device``, ``tile_size`` and ``audit`` of `denoise_channels`.

    Returns
    -------
    FitsResult
        The outcome; for HDUs stand the channels.

    Raises
    ------
    ImportError
        If Pillow or tifffile, the extra ``raster``, is not installed.
    OSError, ValueError
        If the picture cannot be read, the result not written, or no channel can be denoised.

    Notes
    -----
    The values are denoised as they are stored. Made linear, where the file said sRGB, their noise grew twentyfold from
    the sky to the middle of a galaxy, and the middles of galaxies were lost. Bits for each channel, alpha, EXIF, ICC
    profile and resolution stay. Values at the top are saturated, and stay as they are.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from astropy_n2v.batch import denoise_raster
    >>> from astropy_n2v.io.raster import RasterImage, write_raster
    >>> noise = np.random.default_rng(0).normal(8000, 500, (3, 96, 96))
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = Path(directory) / 'a.png'
    ...     write_raster(path, RasterImage(noise.astype('u2')))
    ...     denoise_raster(path, Path(directory) / 'b.png').denoised
    ['red', 'green', 'blue']
    """
    picture = read_raster(path)
    if isinstance(model, str) and model in ('self', 'adapt'):
        raise ValueError(f"model must be 'default' or a file for pictures, got {model!r}")
    integers = picture.data.dtype.kind in 'ui'
    bad = picture.data >= picture.top if integers else ~np.isfinite(picture.data)
    if picture.alpha is not None:
        bad |= picture.alpha == 0
    floor = 1 / np.sqrt(12) if integers else 0.0
    result, errors = denoise_channels(picture.data, model, mask=bad, floor=floor, **options)
    names = _names(len(result))
    if all(errors):
        raise CannotDenoiseError(f'no channel can be denoised: {errors[0]}')
    images = [ImageResult(name, error, _cards(model)) for name, error in zip(names, errors)]
    done = FitsResult(Path(output), [name for name, error in zip(names, errors) if not error],
                      [name for name, error in zip(names, errors) if error], images)
    write_raster(output, picture.with_values(result), overwrite=overwrite, inputs=[path, *protect],
                 complete=complete and (lambda temporary: complete(temporary, done)))
    return done


def _cards(model):
    """Describe a channel for the summary of a file."""
    name = conf.default_model if model is None else getattr(model, 'name', str(model))
    return fits.Header([('N2VMODEL', name), ('N2VHOLE', '1x1'), ('N2VNSRC', 'image')])
