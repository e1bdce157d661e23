# Licensed under a 3-clause BSD style license - see LICENSE
"""
Many files: each is denoised, and one that fails does not stop the others.
"""

import logging
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from ..io import ImageResult, describe_error, output_path, split_extension
from ..io.process import refusal_cards
from ..io.raster import is_raster
from ..noise import SetNoise
from .fits import denoise_fits

__all__ = ['FileRecord', 'denoise_files']

log = logging.getLogger(__name__)

_NAMED_MODELS = ('default', 'self', 'adapt')
_NOISE_FILE = 'n2v-noise.json'
# Keywords that the noise of a set is estimated with, too.
_OF_FRAMES = ('ignore_bits', 'mask', 'uncertainty', 'satlevel')


@dataclass
class FileRecord:
    """
    What became of a file.

    Parameters
    ----------
    path : `pathlib.Path`
        The input, as it was given: with an extension in brackets, it may be.
    output : `pathlib.Path`
        The file that was to be written.
    status : {'running', 'done', 'failed'}
        How far it is.
    error : str
        Why it failed; empty if it did not.
    seconds : float
        How long it took.
    denoised, unchanged : list of str
        HDUs whose data were replaced, and those that were chosen but passed through.
    images : list of `~astropy_n2v.io.ImageResult`
        The outcome of each image; see `~astropy_n2v.batch.summary_table`. A file that failed has one, without an
        HDU.

    Examples
    --------
    >>> from astropy_n2v.batch import FileRecord
    >>> FileRecord('a.fits', 'out/a_n2v.fits').status
    'running'
    """

    path: Path
    output: Path
    status: str = 'running'
    error: str = ''
    seconds: float = 0.0
    denoised: list = field(default_factory=list)
    unchanged: list = field(default_factory=list)
    images: list = field(default_factory=list)


def denoise_files(files, output_dir, *, suffix='_n2v', model=None, ext=None, noise=None, per_frame=False,
                  overwrite=False, callback=None, **kwargs):
    """
    Denoise many FITS files.

    The autocorrelation of the noise, and the gain where no header has it, are estimated once for all files, before the
    first is denoised; see `astropy_n2v.estimate_set_noise`.

    Parameters
    ----------
    files : list of path
        FITS files; ``name.fits[EXT]`` is one extension of a file, such as ``name.fits[SCI,1]``.
    output_dir : str or path-like
        Directory for the results; it is made if there is none.
    suffix : str, optional
        Added to the stem of the names, see `~astropy_n2v.io.output_path`.
    model : str, path or Denoiser, optional
        See `astropy_n2v.denoise`.
    ext : int, str, tuple or list of these, optional
        See `~astropy_n2v.io.science_hdus`; for all files.
    noise : SetNoise, NoiseModel, str or path-like, optional
        The noise of the set of frames, or the file of it, such as an earlier run wrote; or of each image. By default,
        that of a set is estimated if there are several files, and written to ``n2v-noise.json`` in ``output_dir``
        (``n2v-noise-2.json`` and so on, rather than to a file that exists, unless ``overwrite`` is true).
    per_frame : bool, optional
        If true, measure autocorrelation and gain on each image by itself.
    overwrite : bool, optional
        Whether to replace existing results. None of ``files`` is ever replaced.
    callback : callable, optional
        Called with the `FileRecord` of a file when it is begun, and again when it has ended.
    **kwargs
        Other keywords of `~astropy_n2v.batch.denoise_fits`.

    Returns
    -------
    list of FileRecord
        One for each file, in their order. A file that failed says why.

    Raises
    ------
    OSError
        If the directory cannot be made, or ``model`` or ``noise`` cannot be read.
    TypeError
        If ``files`` is one path.
    ValueError
        If ``suffix``, ``model`` or ``noise`` cannot be used at all, ``per_frame`` is true with ``noise``, or there is
        an extension in the name of a file as well as in ``ext``.

    See Also
    --------
    astropy_n2v.batch.summary_table : Make a table of what is returned.

    Examples
    --------
    >>> import tempfile
    >>> from astropy_n2v.batch import denoise_files
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     records = denoise_files(['missing.fits'], directory)
    >>> [(record.status, record.error) for record in records]
    [('failed', 'No such file or directory')]
    """
    if isinstance(files, (str, os.PathLike)):
        raise TypeError(f'files must be a list of paths, got {files!r}')
    if per_frame and noise is not None:
        raise ValueError('per_frame must not be true with noise, which is that of the set of frames')
    if isinstance(noise, (str, os.PathLike)):
        noise = SetNoise.read(noise)   # once, and before all else
    records, sources = [], []
    for name in files:
        path, own = split_extension(name)
        if own is not None and ext is not None:
            raise ValueError(f'ext must not be given, as {os.fspath(name)} names an extension itself; got {ext!r}')
        records.append(FileRecord(Path(name), output_path(path, output_dir, suffix)))
        sources.append((path, ext if own is None else own))
    files = [path for path, _ in sources]
    if isinstance(model, (str, os.PathLike)) and model not in _NAMED_MODELS:
        from ..denoiser import Denoiser
        name = os.path.basename(os.fspath(model))
        model = Denoiser.load(model)   # once, and not for each image
        model.metadata['name'] = name
    try:
        os.makedirs(output_dir, exist_ok=True)
    except OSError as error:
        raise type(error)(f'cannot make the directory {os.fspath(output_dir)}: {error.strerror}') from error
    # Pictures say nothing of the noise that the frames have in common.
    inputs = [record.path for record, (path, _) in zip(records, sources) if not is_raster(path)]
    if noise is None and not per_frame and len({split_extension(path)[0] for path in inputs}) > 1:
        noise = _estimate_noise(inputs, Path(output_dir), ext=ext, overwrite=overwrite,
                                **{name: value for name, value in kwargs.items() if name in _OF_FRAMES})
    taken = set()
    for record, (path, chosen) in zip(records, sources):
        if callback is not None:
            callback(record)
        start = time.monotonic()
        name = os.path.normcase(os.path.abspath(record.output))
        try:
            if name in taken:
                raise ValueError(f'another file of this run is written to {record.output} as well; several extensions '
                                 'of one file are chosen by ext (--ext)')
            result = denoise_fits(path, record.output, model, ext=chosen, noise=noise, overwrite=overwrite,
                                  protect=files, **kwargs)
            taken.add(name)
            record.denoised, record.unchanged, record.images = result.denoised, result.unchanged, result.images
            record.status = 'done'
        except Exception as error:  # whatever is wrong with one file, the others are not to blame
            record.error = describe_error(error, path)
            record.images = [ImageResult('', record.error, refusal_cards(error))]
            record.status = 'failed'
            log.debug('%s failed', record.path, exc_info=True)
        record.seconds = time.monotonic() - start
        if callback is not None:
            callback(record)
    return records


def _estimate_noise(files, directory, *, overwrite, **options):
    """Estimate the noise of a set of files, and write it; None if it could not be measured on any."""
    from .set_noise import estimate_set_noise
    noise = estimate_set_noise(files, **options)
    if not any(group.n_frames for group in noise.groups):
        return None
    path, n = directory / _NOISE_FILE, 1
    while os.path.lexists(path) and not overwrite:
        n += 1
        path = directory / f'{Path(_NOISE_FILE).stem}-{n}.json'
    noise.write(path, overwrite=overwrite)
    log.info('the noise of the set was written to %s', path)
    return noise
