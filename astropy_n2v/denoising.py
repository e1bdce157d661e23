# Licensed under a 3-clause BSD style license - see LICENSE
"""
`denoise`: containers in, containers out, which keep their type and all their contents.

``planes.py`` takes a container apart into planes with their noise, ``assembly.py`` predicts and joins these, by
``denoiser.py``, for arrays.
"""

import importlib
import inspect
import os

import numpy as np
from astropy.nddata import NDData

from .assembly import predict_planes, restore_verbatim
from .blind_spot import find_hole, warn_of_patterns
from .config import conf
from .containers.container import Container
from .containers.lazy import from_dask, is_dask, to_dask
from .noise import SetNoise
from .planes import find_planes
from .provenance import provenance
from .training.options import check_training_options
from .utils.checks import check_executor, check_integer, check_number, parse_hole
from .utils.scratch import scratch_for
from .utils.warn import warn_user

__all__ = ['denoise']


def denoise(data, model=None, *, mask=None, noise=None, gain=None, readnoise=None, satlevel=None, hole=None,
            strength=1.0, fill_masked=False, reject_outliers=False, tile_size=None, device=None, seed=None,
            full_output=False, progress_bar=False, add_keyword=True, audit=None, executor=None, return_type=None,
            **train_options):
    """
    Denoise an astronomical image without a clean reference.

    Each pixel is predicted from its surroundings by a network that cannot see the pixel
    itself, and the prediction is combined with the pixel's own measurement, by Bayes' rule
    with the noise of the frame.

    Parameters
    ----------
    data : `~astropy.nddata.CCDData`, `~astropy.nddata.NDData`, `~astropy.units.Quantity`, array_like, dask array
        Image of shape (ny, nx), at least 8x8, or planes of shape (..., ny, nx) that are processed
        one by one. If a WCS has its celestial axes in another place, planes are taken along these.
        It is not modified. Pixels without a measurement count as masked: non-finite ones, fill values,
        blocks of random numbers as in a damaged file, regions of one constant value, overscan.
    model : str, path or Denoiser, optional
        'default': the weights shipped with the package. 'self': train on this very frame
        (minutes). 'adapt': fine-tune the default on it. Otherwise a file written by
        `Denoiser.save`, or a `Denoiser`. The default is `astropy_n2v.conf.default_model`.
    mask : array_like of bool, optional
        True where the data do not count, in addition to the mask of ``data``.
    noise : NoiseModel, SetNoise, str or path-like, optional
        The noise of the data; or the noise of a set of frames, from `estimate_set_noise` or a file of it. In the
        latter case, autocorrelation and gain are taken from the group of the frame, and all else is measured.
    gain : float, `~astropy.units.Quantity` or array_like, optional
        Electrons per data unit (electron / adu). An array broadcasts to the data; parts with one
        gain are amplifiers, with separate pedestals and sky noise.
    readnoise : float, `~astropy.units.Quantity` or array_like, optional
        Read noise in electrons, in the same forms as ``gain``.
    satlevel : float or `~astropy.units.Quantity`, optional
        Data at or above this level are saturated and count as masked. By default the level is from the
        header (SATURATE), if the data are in adu or have no unit. Without it, integers are saturated at
        the largest value of 8, 12, 14 or 16 bits, and other data where several adjacent pixels have
        exactly the maximum.
    hole : int or tuple of int, optional
        Odd height and width of the hole: the part around a pixel that the network does not see. Any
        hole is possible with 'self'; other models have one hole, which is a pixel for 'default' and
        'adapt'. By default the hole of the model is used, and correlated noise is whitened first if
        the model was trained so. If a hole is given, noise is not whitened.
    strength : float, optional
        From 0 (the data) to 1 (the posterior mean).
    fill_masked : bool, optional
        If true, replace masked, non-finite and saturated pixels by the prediction from their
        surroundings. By default they are returned unchanged.
    reject_outliers : bool, optional
        If true, replace single pixels, dark or bright, that are not compatible with the point-spread
        function of the image by the prediction from their surroundings: cosmic rays that hit one
        pixel, and misreadings. By default all measurements are kept.
    tile_size : int, optional
        Large images are processed in tiles of this height and width, in pixels.
    device : str, optional
        'auto', 'cpu', 'cuda', ...; by default `astropy_n2v.conf.device`.
    seed : int, optional
        Seed of training, for the models 'self' and 'adapt'. By default 0.
    full_output : bool, optional
        If true, also return the prediction with all its planes.
    progress_bar : bool, optional
        If true, show a progress bar on stderr.
    add_keyword : bool, optional
        If true, write the provenance of the result to header or meta.
    audit : {'refuse', 'warn', 'off'}, optional
        Action if the data of the frame exclude the result. 'refuse': raise `AuditError`, or return
        this plane of several as measured, with a warning. 'warn': return it with a warning. 'off':
        make no audit. By default ``astropy_n2v.conf.audit``. Less grave findings cause a warning;
        single pixels that the noise does not explain are returned as measured.
    executor : concurrent.futures.Executor, optional
        Predicts the tiles of a large image, which is most of the work: a process pool, or
        ``dask.distributed.Client.get_executor()``, for example. By default it is done in this process. The
        result does not depend on this if the workers have the processor of this one.
    return_type : {'dask', 'numpy'}, optional
        Kind of the arrays of the result. By default the kind of ``data``. Dask arrays may be larger than the memory:
        the image is then processed through temporary files, see ``astropy_n2v.conf.memory_limit``.
    **train_options
        For the models 'self' and 'adapt': ``max_steps``, ``max_time`` and other options of
        `astropy_n2v.train`.

    Returns
    -------
    result : as ``data``
        Posterior mean, float64 if ``data`` is float64 or has integers of more than 24 bits, else
        float32. For CCDData and NDData
        ``uncertainty`` is the standard deviation of the posterior. Masked and other pixels that are
        returned unchanged keep their uncertainty, or NaN. WCS, header, unit, flags and psf are kept;
        the mask is kept, and extended by the pixels that do not count. NaN uncertainty occurs only
        where the result is masked.
    prediction : `~astropy_n2v.denoiser.Prediction`
        Only with ``full_output``: standard deviation, blind mean and its spread, innovation and
        noise, arrays of the shape of the data; and the report of the audit.

    Raises
    ------
    ValueError
        If shapes do not agree, a number is out of its range, or ``executor`` takes no work.
    AuditError
        If the data of the frame exclude the result, and ``audit`` is 'refuse'.
    CannotDenoiseError
        If all pixels are masked, there are fewer than 8x8, or the noise of a constant image must
        be estimated. Among several planes, such a plane is returned unchanged with a warning.
    OSError
        If a file of the noise or the model cannot be read, or ``executor`` loses its workers.
    TypeError
        If ``data``, ``noise``, ``model`` or ``executor`` have an unknown type, or an option does not exist.
    `~astropy.units.UnitsError`
        If units are not compatible, such as a gain in adu per electron, or data are magnitudes.

    Warns
    -----
    `~astropy.utils.exceptions.AstropyUserWarning`
        If given noise parameters disagree with the image, or the result with its expectation; the
        message states the disagreement and its size.

    See Also
    --------
    train : Train a model on frames.
    estimate_noise : Estimate the noise of an image if nothing is known about it.
    estimate_set_noise : Measure the noise of many frames once.

    Notes
    -----
    The errors of neighbouring pixels of the result are strongly correlated: variances must not
    be summed over an aperture. The card N2VAPFAC holds the measured factor for 5x5 pixels.

    The method is by Laine et al. (2019, arXiv:1901.10277), after Noise2Void (Krull et al.
    2019, arXiv:1811.10980).

    Examples
    --------
    >>> from astropy_n2v import denoise
    >>> from astropy_n2v.simulate import make_scene
    >>> scene = make_scene('survey', (64, 64), seed=1)
    >>> clean = denoise(scene.observe(seed=2))
    >>> clean.unit, clean.uncertainty.uncertainty_type
    (Unit("electron"), 'std')
    """
    from .training.models import choose_model
    model = conf.default_model if model is None else model
    hole = parse_hole(hole)
    check_number('strength', strength, 'between 0 and 1', lambda value: 0 <= value <= 1)
    check_integer('tile_size', tile_size, 1)
    check_integer('seed', seed, 0)
    check_executor(executor)
    audit = _check_audit(audit)
    if return_type not in (None, 'dask', 'numpy'):
        raise ValueError(f"return_type must be 'dask', 'numpy' or None, got {return_type!r}")
    if return_type == 'dask':
        importlib.import_module('dask.array')   # an error now, and not after the work
    check_training_options(train_options, inspect.signature(denoise).parameters)
    if train_options and model not in ('self', 'adapt'):
        raise TypeError(f"{', '.join(train_options)}: training options go with model='self' or 'adapt', got "
                        f'model={model!r}')
    if isinstance(noise, (str, os.PathLike)):
        noise = SetNoise.read(noise)
    with scratch_for(np.shape(data.data if isinstance(data, NDData) else data)):
        frame = Container(from_dask(data) if is_dask(data) else data, mask, satlevel)
        if 'N2VVERS' in frame.header:
            warn_user('the data have been denoised before, according to the header: their noise is correlated and '
                      'differs from the noise model')
        planes, rejected = find_planes(frame, noise=noise, gain=gain, readnoise=readnoise)
        needed = find_hole(planes) if hole is None else hole
        warn_of_patterns(planes)
        denoiser = choose_model(model, hole, planes, seed=seed, device=device, progress_bar=progress_bar,
                                **train_options)
        whiten = hole is None and denoiser.whitens
        leaks = not whiten and not _covers(denoiser.hole, needed)
        if leaks:
            warn_user(f'the noise of neighbouring pixels is correlated and calls for a hole of {needed[0]}x{needed[1]}'
                      f' pixels; the model has {denoiser.hole[0]}x{denoiser.hole[1]} and will take part of the noise '
                      'for structure')
        result, planes, refused = predict_planes(
            frame, planes, denoiser, leaks=leaks, progress_bar=progress_bar, whiten=whiten, strength=strength,
            audit=audit, reject_outliers=reject_outliers, tile_size=tile_size, device=device, full_output=full_output,
            executor=executor)
        # Outliers are rejected from the data themselves, too.
        restore_verbatim(frame, planes, rejected + refused, result, fill_masked=fill_masked,
                         exactly=strength == 0 and not reject_outliers)
        packed, result = _packed(frame, planes, denoiser, result, add_keyword, strength, reject_outliers)
    if return_type == 'dask' or return_type is None and is_dask(data):
        packed, result = to_dask(packed, data), result.map(lambda values: to_dask(values, data))
    return (packed, result) if full_output else packed


def _packed(frame, planes, denoiser, result, add_keyword, strength, reject_outliers):
    """Return a result as the kind of its frame, with its provenance, and the prediction in the order of its axes."""
    cards = history = None
    if add_keyword:
        cards, history = provenance(frame, planes[0], denoiser, result, strength=strength,
                                    rejects_outliers=reject_outliers)
    packed = frame.pack(result.mean, result.std if denoiser.has_posterior else None, cards, history)
    return packed, result.map(frame.original_order)


def _check_audit(audit):
    audit = conf.audit if audit is None else audit
    if audit not in ('refuse', 'warn', 'off'):
        raise ValueError(f"audit must be 'refuse', 'warn' or 'off', got {audit!r}")
    return audit


def _covers(hole, needed):
    """Check if a hole is large enough for correlated noise that is not whitened."""
    return hole[0] >= needed[0] and hole[1] >= needed[1]
