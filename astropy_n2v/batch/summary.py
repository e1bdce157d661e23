# Licensed under a 3-clause BSD style license - see LICENSE
"""
How files were denoised: in a line each, and as a table.
"""

import math

import numpy as np
from astropy.table import Table

from ..utils.atomic_files import atomic_write
from ..utils.names import printable

__all__ = ['describe_images', 'image_values', 'summary_table', 'write_summary']

# Columns that are read from cards.
_TEXTS = {'model': 'N2VMODEL', 'device': 'N2VDEV', 'hole': 'N2VHOLE', 'noise_source': 'N2VNSRC',
          'correlation_source': 'N2VCORR', 'gain_source': 'N2VGSRC', 'audit': 'N2VAUDIT'}
_NUMBERS = {'noise': 'N2VSIGMA', 'gain': 'N2VGAIN', 'masked': 'N2VMASK', 'noise_after': 'N2VNOUT'}
_DESCRIPTIONS = {
    'file': 'input', 'output': 'file that was written', 'hdu': 'number and name of the image',
    'status': 'denoised, unchanged, skipped or failed', 'error': 'why it was not denoised', 'model': 'denoising model',
    'device': 'where the network was computed',
    'hole': 'height and width of the hole in pixels', 'noise': 'noise at the background level before, in data units',
    'noise_source': 'where the noise model is from',
    'correlation_source': 'where the autocorrelation of the noise is from', 'gain': 'electrons per data unit',
    'gain_source': 'where the gain is from', 'masked': 'share of the pixels that did not count',
    'noise_after': 'median stated standard deviation of the result, in data units', 'audit': 'findings of the audit',
    'seconds': 'time that the file took',
}


def image_values(image):
    """
    Read the columns of an image from the cards of its result.

    Parameters
    ----------
    image : `~astropy_n2v.io.ImageResult`
        The image.

    Returns
    -------
    dict
        ``hdu``, ``error`` and the columns of `summary_table` that say how it was denoised; columns that are not
        known are empty or NaN.

    Examples
    --------
    >>> from astropy.io import fits
    >>> from astropy_n2v.batch import image_values
    >>> from astropy_n2v.io import ImageResult
    >>> image_values(ImageResult('1 (SCI,1)', '', fits.Header({'N2VSIGMA': 5.1})))['noise']
    5.1
    """
    cards = image.cards
    row = {name: str(cards.get(keyword, '')) for name, keyword in _TEXTS.items()}
    row |= {name: float(cards.get(keyword, math.nan)) for name, keyword in _NUMBERS.items()}
    if not row['gain_source'] and not math.isnan(row['gain']):
        row['gain_source'] = row['noise_source']
    return {'hdu': image.hdu, 'error': image.error, **row}


def _rows(record):
    """The rows of a file, from its record or its line in a journal."""
    if isinstance(record, dict):
        status, images = record['status'], record['images']
        file, output = record['input']['path'], record['output']['path']
    else:
        status, file, output = record.status, str(record.path), str(record.output)
        images = [image_values(image) for image in record.images] or record.entry.get('images', [])
    seconds = record['seconds'] if isinstance(record, dict) else record.seconds
    common = {'file': _name(file), 'output': '' if status == 'failed' else _name(output), 'seconds': round(seconds, 3)}
    for image in images or [{}]:
        row = {**dict.fromkeys(_DESCRIPTIONS, ''), **dict.fromkeys(_NUMBERS, math.nan), **image, **common}
        row['status'] = status if status != 'done' else 'unchanged' if row['error'] else 'denoised'
        yield {name: math.nan if value is None else value for name, value in row.items()}


def summary_table(records):
    """
    Make a table of how files were denoised.

    Parameters
    ----------
    records : list of `~astropy_n2v.batch.FileRecord` or of dict
        From `~astropy_n2v.batch.denoise_files` or `~astropy_n2v.batch.read_journal`.

    Returns
    -------
    `~astropy.table.Table`
        One row for each image, and one for each file that failed. Columns: file, output, hdu, status ('denoised',
        'unchanged', 'skipped' or 'failed'), error, model, device, hole, noise (at the background level, before),
        noise_source, correlation_source, gain (electrons per data unit), gain_source, masked (share of the pixels),
        noise_after (median stated standard deviation), audit, and seconds. Texts that are not known are empty, numbers
        NaN.

    Examples
    --------
    >>> import tempfile
    >>> from astropy_n2v.batch import denoise_files
    >>> from astropy_n2v.batch import summary_table
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     table = summary_table(denoise_files(['missing.fits'], directory))
    >>> print(table['file', 'status', 'error'])
        file     status           error
    ------------ ------ -------------------------
    missing.fits failed No such file or directory
    """
    rows = [row for record in records for row in _rows(record)]
    table = Table({name: np.array([_printable(row[name]) for row in rows],
                                  dtype=float if name in _NUMBERS or name == 'seconds' else str)
                   for name in _DESCRIPTIONS})
    for name, text in _DESCRIPTIONS.items():
        table[name].description = text
    return table


def _printable(value):
    """Make a value fit for a line in UTF-8; names of files may be bytes of any kind."""
    if not isinstance(value, str):
        return value
    return ' '.join(value.encode('utf-8', 'backslashreplace').decode().splitlines())


def _name(path):
    """Escape a name that has more than one line; others may be looked up as they are."""
    return printable(path) if len(str(path).splitlines()) > 1 else str(path)


def write_summary(records, path, *, overwrite=False, inputs=()):
    """
    Write the table of `summary_table` in the format ECSV.

    Parameters
    ----------
    records : list of `~astropy_n2v.batch.FileRecord`
        From `~astropy_n2v.batch.denoise_files`.
    path : str or path-like
        File to be written; `~astropy.table.Table.read` reads it with ``format='ascii.ecsv'``.
    overwrite : bool, optional
        If true, replace an existing file.
    inputs : iterable of path, optional
        Files that must not be replaced in any case.

    Raises
    ------
    OSError
        If the file exists or cannot be written.
    ValueError
        If it is one of the inputs.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from astropy.table import Table
    >>> from astropy_n2v.batch import FileRecord, write_summary
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     write_summary([FileRecord('a.fits', 'out/a.fits', 'failed', 'no image')], Path(directory) / 's.ecsv')
    ...     table = Table.read(Path(directory) / 's.ecsv', format='ascii.ecsv')
    >>> len(table)
    1
    """
    with atomic_write(path, overwrite=overwrite, inputs=inputs) as temporary:
        summary_table(records).write(temporary, format='ascii.ecsv', overwrite=True)


def describe_images(images):
    """
    Say in one line how the images of a file were denoised.

    Parameters
    ----------
    images : list of `~astropy_n2v.io.ImageResult`
        Of a file. Where they differ, a number is given as a range, and a text for each.

    Returns
    -------
    str
        Model, hole, noise before and after, gain, share of masked pixels and findings of the audit; empty if there
        is no image.

    Examples
    --------
    >>> from astropy.io import fits
    >>> from astropy_n2v.batch import describe_images
    >>> from astropy_n2v.io import ImageResult
    >>> cards = fits.Header({'N2VMODEL': 'default-1x1', 'N2VHOLE': '1x1'})
    >>> 'default-1x1' in describe_images([ImageResult('1 (SCI,1)', '', cards)])
    True
    """
    rows = [image_values(image) for image in images if not image.error]
    if not rows:
        return ''

    def text(name):
        return ' | '.join(dict.fromkeys(row[name] for row in rows if row[name]))

    def number(name, form='.4g'):
        found = [format(value, form) for value in sorted(row[name] for row in rows) if not math.isnan(value)]
        return '' if not found else found[0] if found[0] == found[-1] else f'{found[0]} to {found[-1]}'

    after = f' -> {number("noise_after")}' if number('noise_after') else ''
    parts = [f'model {text("model")}, hole {text("hole")}', f'noise {number("noise")}{after} ({text("noise_source")})']
    if number('gain'):
        parts.append(f'gain {number("gain")} ({text("gain_source")})')
    if number('masked'):
        parts.append(f'masked {number("masked", ".2%")}')
    if 'set' in text('correlation_source'):
        parts.append(f'autocorrelation {text("correlation_source")}')
    if text('audit'):
        parts.append(f'audit {text("audit")}')
    return ', '.join(parts)
