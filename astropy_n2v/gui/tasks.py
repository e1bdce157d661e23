# Licensed under a 3-clause BSD style license - see LICENSE
"""
Tasks that a page gives to its worker process.

Images are handed over as files in a folder, so that no process copies them.
"""

import json
import shutil
import time
import warnings
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty

from ..io import describe_error, read_fits_images
from ..utils.files import atomic_write
from .files import list_hdus, read_header
from .render import Pyramid

__all__ = ['TASKS']

_OUTPUT = 'result.fits'   # what denoise_fits() writes, until it is saved
# Extensions of the file of a result that are shown, and what the page calls them.
_SHOWN = {'UNCERT': 'uncertainty', 'INNOVATION': 'innovations', 'NOISE': 'noise'}


def hdus(folder, path):
    """List the HDUs of a file, with the header of the first one."""
    return {'hdus': list_hdus(path), 'header': read_header(path, 0)}


def read(folder, path, index, plane):
    """
    Read an image, and make its overviews.

    Parameters
    ----------
    folder : str
        Where images are handed over.
    path : str
        FITS file.
    index : int
        Number of the HDU.
    plane : int
        Number of the plane, for a cube.

    Returns
    -------
    dict
        ``shape``, ``n_planes``, ``unit``, ``wcs`` (None if it is not celestial) and ``header`` as text.
    """
    image = read_fits_images(path, index)[0]
    values = _plane_of(image.data, plane)
    Pyramid.of(values).save(folder, 'input')
    wcs = image.wcs.celestial if image.wcs is not None and image.wcs.has_celestial else None
    return {'shape': values.shape, 'n_planes': int(np.prod(image.shape[:-2])), 'unit': str(image.unit), 'wcs': wcs,
            'header': read_header(path, index)}


def _plane_of(data, plane):
    """A plane of an image or cube."""
    data = np.asarray(data)
    planes = data.reshape(-1, *data.shape[-2:])
    if not 0 <= plane < len(planes):
        raise ValueError(f'plane must be from 0 to {len(planes) - 1}, got {plane}')
    return planes[plane]


def measure(folder, path, index, parameters):
    """
    Find the noise of an image, as `astropy_n2v.denoise` would.

    Parameters
    ----------
    folder, path, index
        As for `read`.
    parameters : dict
        ``gain``, ``readnoise`` and ``satlevel``, those that are given.

    Returns
    -------
    dict
        ``source`` of the noise model in words, ``gain`` (None if the noise does not grow with the signal), ``sigma``
        (noise without light), ``sky`` and ``sky_noise``, in data units; ``masked``, the share of pixels that do not
        count.
    """
    from ..containers.container import Container
    from ..planes import find_planes
    parameters = dict(parameters)
    frame = Container(read_fits_images(path, index)[0], None, parameters.pop('satlevel', None))
    planes, _ = find_planes(frame, indices=frame.planes()[:1], **parameters)
    plane = planes[0]
    noise = plane.data_noise
    level = float(np.median(plane.values[~plane.mask & np.isfinite(plane.values)]))
    return {'source': noise.source, 'gain': None if noise.gain is None else float(np.median(noise.gain)),
            'sigma': float(np.median(noise.sigma)), 'sky': level,
            'sky_noise': float(np.sqrt(np.median(noise.variance(level)))), 'masked': float(np.mean(frame.mask))}


def denoise(folder, path, index, plane, options):
    """
    Denoise an HDU of a file.

    Parameters
    ----------
    folder, path, index, plane
        As for `read`.
    options : dict
        Keywords of `~astropy_n2v.batch.denoise_fits`.

    Returns
    -------
    dict
        ``cards`` of the header of the result that say how it was made, ``seconds``, and ``shown``, the names of the
        pictures that there are.
    """
    from ..batch import denoise_fits
    output, start = Path(folder) / _OUTPUT, time.monotonic()
    done = denoise_fits(path, output, ext=index, overwrite=True, full_output=True, progress_bar=True, **options)
    if done.images and done.images[0].error:
        raise ValueError(done.images[0].error)
    seconds = time.monotonic() - start
    images = _read_result(output, index, plane)
    before = Pyramid.load(folder, 'input').levels[0]
    noise = images.pop('noise')
    with np.errstate(invalid='ignore', divide='ignore'):
        images['residual'] = np.where(noise > 0, (before - images['result']) / noise, np.nan).astype(np.float32)
    for name, values in images.items():
        Pyramid.of(values).save(folder, name)
    with fits.open(output) as file:
        header = file[index].header
        cards = {name: (header[name], header.comments[name]) for name in header if name.startswith('N2V')}
    return {'cards': cards, 'seconds': seconds, 'shown': sorted(images)}


def _read_result(output, index, plane):
    """The result and what was written beside it; of extensions of one name, the last is the one that was appended."""
    with fits.open(output, memmap=False) as file:
        found = {name: _plane_of(file[max(i for i, hdu in enumerate(file) if hdu.name == extension)].data, plane)
                 for extension, name in _SHOWN.items() if extension in file}
        return {'result': _plane_of(file[index].data, plane), **found}


def detect(folder, path, index, false_rate, seed):
    """
    Find the sources of input and result, at the same expected share of false ones.

    Parameters
    ----------
    folder, path, index
        As for `read`; the image must have two dimensions.
    false_rate : float
        Expected share of false entries of either list.
    seed : int
        Seed of the noise that is drawn.

    Returns
    -------
    dict
        ``input`` and ``result``, tables of `astropy.table.Table` as of `astropy_n2v.sources.detect_on_both`.
    """
    from ..sources import detect_on_both
    frame, clean = _pair(folder, path, index)
    return detect_on_both(frame, clean, false_rate=false_rate, seed=seed)


def _pair(folder, path, index):
    """The frame and its result."""
    frame = read_fits_images(path, index)[0]
    if frame.data.ndim != 2:
        raise ValueError(f'the image must have two dimensions, got shape {frame.shape}')
    data, std = (np.array(Pyramid.load(folder, name).levels[0]) for name in ('result', 'uncertainty'))
    clean = CCDData(data, unit=frame.unit, wcs=frame.wcs, mask=frame.mask, uncertainty=StdDevUncertainty(std))
    return frame, clean


def save_fits(folder, target, overwrite):
    """Copy the result to a file of the user; return its name."""
    return _save(target, overwrite, lambda temporary: shutil.copyfile(Path(folder) / _OUTPUT, temporary))


def save_json(folder, target, overwrite, content):
    """Write what is known of the result to a file of the user; return its name."""
    text = json.dumps(content, indent=1, default=str)
    return _save(target, overwrite, lambda temporary: Path(temporary).write_text(text + '\n', encoding='utf-8'))


def save_png(folder, target, overwrite, path, index, cutout, sources):
    """Write a picture of input, result, residual and uncertainty to a file of the user; return its name."""
    from ..visualization import plot_denoised
    frame, clean = _pair(folder, path, index)
    figure = plot_denoised(frame, clean, cutout=cutout and tuple(slice(*ends) for ends in cutout), sources=sources)
    return _save(target, overwrite, lambda temporary: figure.savefig(temporary, dpi=110, format='png'))


def _save(target, overwrite, write):
    """Write a file that is whole or not there."""
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(target, overwrite=overwrite) as temporary:
        write(temporary)
    return str(target)


#: What a worker can be asked for, by name.
TASKS = {function.__name__: function for function in (hdus, read, measure, denoise, detect, save_fits, save_json,
                                                      save_png)}


def run(name, arguments):
    """
    Run a task.

    Parameters
    ----------
    name : str
        Of `TASKS`.
    arguments : tuple
        Its arguments.

    Returns
    -------
    kind : {'done', 'failed'}
        How it ended.
    value : object
        The value that it returned, or one line that says why it failed.
    messages : list of str
        Texts of the warnings.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always', UserWarning)   # that of astropy is one
        try:
            kind, value = 'done', TASKS[name](*arguments)
        except Exception as error:   # the page says so, and the worker lives on
            kind, value = 'failed', describe_error(error)
    return kind, value, list(dict.fromkeys(str(warning.message) for warning in caught))
