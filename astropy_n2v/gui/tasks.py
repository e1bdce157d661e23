# Licensed under a 3-clause BSD style license - see LICENSE
"""
Tasks that a page gives to its worker process.

Images are handed over as files in a folder, so that no process copies them.
"""

import json
import shutil
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
from astropy.nddata import CCDData, StdDevUncertainty

from ..io import describe_error, output_path, read_fits_images
from ..io.raster import is_raster
from ..utils.atomic_files import atomic_write
from . import frames, pictures
from .folder import Hdu, list_hdus, read_header
from .render import Pyramid

__all__ = ['TASKS']

_RESULT, _ANALYSIS = 'result', 'analysis'   # folders of files that are not saved yet


def _kind(path):
    """Choose the module for files of this kind."""
    return pictures if is_raster(path) else frames


def hdus(folder, path):
    """List the HDUs of a file, with the header of the first one; a picture has one."""
    if is_raster(path):
        shape, text = pictures.describe(path)
        return {'hdus': [Hdu(0, 'picture', shape, True, True)], 'header': text}
    return {'hdus': list_hdus(path), 'header': read_header(path, 0)}


def read(folder, path, index, plane):
    """
    Read an image, and make its overviews.

    Parameters
    ----------
    folder : str
        Where images are handed over.
    path : str
        FITS file or picture.
    index : int
        Number of the HDU.
    plane : int
        Number of the plane, for a cube, or channel.

    Returns
    -------
    dict
        ``shape``, ``n_planes``, ``unit``, ``wcs`` (None if it does not lead to ICRS), ``header`` as text, and ``kind``,
        such as 'FITS'.
    """
    return _kind(path).read(folder, path, index, plane)


def measure(folder, path, index, parameters, plane=0):
    """
    Find the noise of a plane, as `astropy_n2v.denoise` would.

    Parameters
    ----------
    folder, path : str
        As for `read`.
    index : int
        As for `read`.
    parameters : dict
        ``gain``, ``readnoise`` and ``satlevel``, those that are given.
    plane : int, optional
        As for `read`; each plane of a cube has noise of its own.

    Returns
    -------
    dict
        ``source`` of the noise model in words, ``gain`` (None if the noise does not grow with the signal), ``sigma``
        (noise without light), ``sky`` and ``sky_noise``, in data units; ``masked``, the share of pixels that do not
        count.
    """
    return _kind(path).measure(path, index, parameters, plane)


def denoise(folder, path, index, options):
    """
    Denoise an HDU of a file.

    Parameters
    ----------
    folder, path : str
        As for `read`.
    index : int
        As for `read`.
    options : dict
        Keywords of `~astropy_n2v.batch.denoise_fits`.

    Returns
    -------
    dict
        ``cards`` of the header of the result that say how it was made, and ``seconds``.
    """
    shutil.rmtree(Path(folder) / _RESULT, ignore_errors=True)
    (Path(folder) / _RESULT).mkdir()
    start = time.monotonic()
    cards = _kind(path).denoise(path, _result(folder, path), index, options)
    return {'cards': cards, 'seconds': time.monotonic() - start}


def _result(folder, path):
    """Find the path of the result of a file until it is saved."""
    return output_path(path, Path(folder) / _RESULT)


def show(folder, path, index, plane):
    """
    Make the pictures of the result that `denoise` has made.

    Parameters
    ----------
    folder, path : str
        As for `read`.
    index, plane : int
        As for `read`.

    Returns
    -------
    list of str
        Names of the pictures that there are.
    """
    return _kind(path).show(folder, path, _result(folder, path), index, plane)


def detect(folder, path, index, plane, false_rate, seed):
    """
    Find the sources of input and result, at the same expected share of false ones.

    Parameters
    ----------
    folder, path : str
        As for `read`.
    index, plane : int
        As for `read`; pictures have no noise model that repetitions could be drawn from.
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
    frame, clean = _pair(folder, path, index, plane)
    return detect_on_both(frame, clean, false_rate=false_rate, seed=seed)


def _pair(folder, path, index, plane):
    """Read the plane as measured and its result, with an uncertainty if one is known."""
    shown = {name: np.array(Pyramid.load(folder, name).levels[0]) for name in ('input', 'result')}
    if is_raster(path):
        return tuple(CCDData(shown[name], unit='') for name in ('input', 'result'))
    frame = read_fits_images(path, index)[0]
    if frame.data.ndim > 2:
        frame = frames.take_plane(frame, plane)
    std = np.array(Pyramid.load(folder, 'uncertainty').levels[0])
    return frame, CCDData(shown['result'], unit=frame.unit, wcs=frame.wcs, mask=frame.mask,
                          uncertainty=StdDevUncertainty(std))


def analyze(folder, path, index, options):
    """
    Compare a frame with its result, as ``astropy-n2v analyze`` does.

    Parameters
    ----------
    folder, path : str
        As for `read`.
    index : int
        As for `read`.
    options : dict
        ``truth`` and ``false_rate`` of `~astropy_n2v.sources.analyze_files`.

    Returns
    -------
    dict
        ``summary``; ``checks``, a list of the tests as they go into JSON, with ``result`` in words; and ``detections``,
        a row (a dict) for input and result.
    """
    from ..sources import analyze_files
    from ..validation.report.report import describe_result
    target = Path(folder) / _ANALYSIS
    shutil.rmtree(target, ignore_errors=True)
    report = analyze_files([path], target, denoised=_result(folder, path).parent, ext=index, progress_bar=True,
                           **options)
    rows = [dict(zip(report.tables['detections'].colnames, row)) for row in report.tables['detections']]
    checks = [{**check.to_dict(), 'result': describe_result(check)} for check in report.checks]
    return {'summary': report.summary(), 'checks': checks, 'detections': rows}


def save_fits(folder, target, overwrite, path):
    """Copy the result to a file of the user; return its name."""
    return _save(target, overwrite, lambda temporary: shutil.copyfile(_result(folder, path), temporary))


def save_report(folder, target, overwrite):
    """Copy the report of the analysis to a folder of the user; return the name of its page."""
    from ..validation.report.report import refuse_existing
    source, target = Path(folder) / _ANALYSIS, Path(target)
    files = sorted(path.relative_to(source) for path in source.rglob('*') if path.is_file())
    refuse_existing(target, files, overwrite)
    for file in files:
        _save(target / file, overwrite, partial(shutil.copyfile, source / file))
    return str(target / 'report.html')


def save_json(folder, target, overwrite, content):
    """Write parameters and measures of the result to a file of the user; return its name."""
    text = json.dumps(content, indent=1, default=_plain)
    return _save(target, overwrite, lambda temporary: Path(temporary).write_text(text + '\n', encoding='utf-8'))


def _plain(value):
    """Turn a value that JSON does not know into a number, or else into text."""
    return value.item() if isinstance(value, np.generic) else str(value)


def save_png(folder, target, overwrite, path, index, plane, cutout, sources):
    """Write a picture of input, result, residual and uncertainty to a file of the user; return its name."""
    from ..visualization import plot_denoised
    frame, clean = _pair(folder, path, index, plane)
    figure = plot_denoised(frame, clean, cutout=cutout and tuple(slice(*ends) for ends in cutout), sources=sources)
    return _save(target, overwrite, lambda temporary: figure.savefig(temporary, dpi=110, format='png'))


def _save(target, overwrite, write):
    """Write a file that is whole or not there."""
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(target, overwrite=overwrite) as temporary:
        write(temporary)
    return str(target)


#: Tasks that a worker can be asked for, by name.
TASKS = {function.__name__: function for function in (hdus, read, measure, denoise, show, detect, analyze, save_fits,
                                                      save_json, save_png, save_report)}


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
        warnings.simplefilter('always', UserWarning)   # the one of astropy is a subclass
        try:
            kind, value = 'done', TASKS[name](*arguments)
        except Exception as error:   # the page says so, and the worker lives on
            kind, value = 'failed', describe_error(error)
    return kind, value, list(dict.fromkeys(str(warning.message) for warning in caught))
