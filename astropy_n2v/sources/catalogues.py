# Licensed under a 3-clause BSD style license - see LICENSE
"""
Catalogues of sources of files on disk: reads pairs of frame and result, and names the catalogues.

``sources/detecting.py`` detects.
"""

import os
from pathlib import Path

import numpy as np
from astropy.table import vstack

from ..io import output_path, read_fits_images
from .detecting import detect

__all__ = ['catalog_paths', 'detect_file', 'read_pairs']

_FORMATS = '.ecsv', '.fits', '.csv', '.vot', '.xml', '.hdf5', '.html'


def read_pairs(path, denoised=None, *, suffix='_n2v', ext=None, **options):
    """
    Read the images of a file, and the images of its result if it exists.

    Parameters
    ----------
    path : str or path-like
        FITS file as measured.
    denoised : str or path-like, optional
        Directory with the result of `~astropy_n2v.batch.denoise_fits`.
    suffix : str, optional
        Of the name of the result, see `~astropy_n2v.io.output_path`.
    ext : int, str, tuple or list of these, optional
        Which HDUs: see `~astropy_n2v.io.science_hdus`.
    **options
        Other keywords of `~astropy_n2v.io.read_fits_images`, for the file as measured.

    Returns
    -------
    list of tuple
        Image and result, which is `None` if there is no file for it.

    Raises
    ------
    OSError
        If a file cannot be read.
    ValueError
        If the result has another number of images.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from astropy_n2v.simulate import make_scene
    >>> from astropy_n2v.sources.catalogues import read_pairs
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = Path(directory) / 'a.fits'
    ...     make_scene('survey', (32, 32), seed=1).observe(seed=2).write(path)
    ...     ((image, result),) = read_pairs(path, directory)
    >>> image.shape, result
    ((32, 32), None)
    """
    images = read_fits_images(path, ext, **options)
    result = None if denoised is None else output_path(path, denoised, suffix)
    if result is None or not result.exists():
        return [(image, None) for image in images]
    results = read_fits_images(result, ext)
    if len(results) != len(images):
        raise ValueError(f'{result} must have as many images as {os.fspath(path)}, {len(images)}, got {len(results)}')
    return list(zip(images, results))


def detect_file(path, denoised=None, *, suffix='_n2v', ext=None, ignore_bits=0, mask=None, **options):
    """
    Find the sources of a FITS file on its denoised images, and measure them on the original ones.

    Parameters
    ----------
    path : str or path-like
        FITS file as measured.
    denoised : str or path-like, optional
        Directory with the result of `~astropy_n2v.batch.denoise_fits`; without one, or a file there, images are
        denoised.
    suffix, ext, ignore_bits, mask : optional
        As for `read_pairs`.
    **options
        Other keywords of `astropy_n2v.detect`.

    Returns
    -------
    `~astropy.table.Table`
        As of `astropy_n2v.detect`; of several images with the column ``image``, 1 for the first.

    Raises
    ------
    OSError, ValueError
        As `read_pairs` and `astropy_n2v.detect`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from astropy_n2v.simulate import make_scene
    >>> from astropy_n2v.sources.catalogues import detect_file
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = Path(directory) / 'a.fits'
    ...     make_scene('survey', (96, 96), seed=1).observe(seed=2).write(path)
    ...     'flux' in detect_file(path, psf=3.2, n_frames=1).colnames
    True
    """
    pairs = read_pairs(path, denoised, suffix=suffix, ext=ext, ignore_bits=ignore_bits, mask=mask)
    tables = [detect(image, result, **options) for image, result in pairs]
    if len(tables) == 1:
        return tables[0]
    for n, table in enumerate(tables, 1):
        table.add_column(np.full(len(table), n), name='image', index=0)
        table.meta = {f'{name}_{n}': value for name, value in table.meta.items()}
    return vstack(tables)


def catalog_paths(files, output):
    """
    Name the catalogs of files.

    Parameters
    ----------
    files : list of str or path-like
        FITS files.
    output : str or path-like
        The table of one file, or the directory for the tables of several, which is made.

    Returns
    -------
    list of `pathlib.Path`
        One for each file.

    Raises
    ------
    ValueError
        If the extension of a table is of no known format, or two files have one name.

    Examples
    --------
    >>> from astropy_n2v.sources.catalogues import catalog_paths
    >>> [path.as_posix() for path in catalog_paths(['night1/a.fits'], 'a.ecsv')]
    ['a.ecsv']
    """
    output = Path(output)
    if len(files) == 1 and not output.is_dir():
        if output.suffix.lower() not in _FORMATS:
            raise ValueError(f'the catalog must be a file with one of the extensions {", ".join(_FORMATS)}, got '
                             f'{output}')
        return [output]
    paths = [output_path(file, output, '').with_suffix('.ecsv') for file in files]
    paths = [path.with_name(path.name.replace('.fits.ecsv', '.ecsv')) for path in paths]
    if len(set(paths)) < len(paths):
        raise ValueError('files must have different names, as their catalogs go to one directory; got two of one name')
    output.mkdir(parents=True, exist_ok=True)
    return paths
