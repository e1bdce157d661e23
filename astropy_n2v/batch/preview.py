# Licensed under a 3-clause BSD style license - see LICENSE
"""
Pictures of files before and after denoising.
"""

import re
import warnings
from pathlib import Path

import numpy as np
from astropy.nddata import CCDData

from ..denoising import denoise
from ..io import read_fits_images
from ..utils.files import atomic_write

__all__ = ['preview_file', 'preview_result']

_ENDING = re.compile(r'\.(fits?|fts)(\.(gz|bz2|xz|zip|z|fz))?$', re.IGNORECASE)
_DPI = 100   # pixels an inch, of the pictures


def preview_file(path, output_dir, model=None, *, ext=None, ignore_bits=0, mask=None, size=512, stretch='asinh',
                 overwrite=False, **options):
    """
    Denoise the images of a FITS file, and write a picture of each: input, result, residual and uncertainty.

    Parameters
    ----------
    path : str or path-like
        FITS file.
    output_dir : str or path-like
        Directory for the pictures, ``NAME.png``, or ``NAME-1.png`` and so on of several images; it is made if there is
        none.
    model : str, path or Denoiser, optional
        See `astropy_n2v.denoise`.
    ext, ignore_bits, mask : optional
        See `~astropy_n2v.io.read_fits_images`.
    size : int, optional
        Largest height and width in pixels that are shown: the middle of larger images.
    stretch : {'asinh', 'zscale', 'linear'}, optional
        See `~astropy_n2v.visualization.STRETCHES`.
    overwrite : bool, optional
        If true, replace existing pictures.
    **options
        Other keywords of `astropy_n2v.denoise`.

    Returns
    -------
    list of `pathlib.Path`
        The pictures.

    Raises
    ------
    FileExistsError
        If a picture exists and ``overwrite`` is false.
    OSError
        If a file cannot be read or written.
    ValueError
        If the file has no such image, or it cannot be denoised.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from astropy_n2v.batch import preview_file
    >>> from astropy_n2v.simulate import make_scene
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = Path(directory) / 'frame.fits'
    ...     make_scene('survey', (64, 64), seed=1).observe(seed=2).write(path)
    ...     [picture.name for picture in preview_file(path, directory)]
    ['frame.png']
    """
    images = read_fits_images(path, ext, ignore_bits=ignore_bits, mask=mask)
    return _draw(((image, denoise(image, model, **options)) for image in images), len(images),
                 Path(output_dir) / Path(path).name, size, stretch, overwrite)


def preview_result(path, result, *, ext=None, ignore_bits=0, mask=None, size=512, stretch='asinh', overwrite=False):
    """
    Write a picture of each image of a FITS file and of its denoised file, beside the latter.

    Parameters
    ----------
    path, result : str or path-like
        FITS files, before and after.
    ext, ignore_bits, mask, size, stretch, overwrite : optional
        See `preview_file`.

    Returns
    -------
    list of `pathlib.Path`
        The pictures.

    Raises
    ------
    FileExistsError
        If a picture exists and ``overwrite`` is false.
    OSError
        If a file cannot be read or written.
    ValueError
        If the files have no such image, or not as many of them.
    """
    before = read_fits_images(path, ext, ignore_bits=ignore_bits, mask=mask)
    after = read_fits_images(result, ext)
    if len(before) != len(after):
        raise ValueError(f'result must have as many images as {path}, {len(before)}, got {len(after)}')
    return _draw(zip(before, after), len(before), result, size, stretch, overwrite)


def _draw(pairs, count, name, size, stretch, overwrite):
    """Write the pictures of some images, under names that follow from the name of a file."""
    from ..visualization import plot_denoised  # each process of a batch would wait for matplotlib
    name = Path(name)
    stem, written = _ENDING.sub('', name.name), []
    name.parent.mkdir(parents=True, exist_ok=True)
    for number, pair in enumerate(pairs, 1):
        path = name.with_name(f'{stem}.png' if count == 1 else f'{stem}-{number}.png')
        before, after = map(_first_plane, pair)
        with atomic_write(path, overwrite=overwrite) as temporary, warnings.catch_warnings():
            warnings.simplefilter('ignore')   # of WCS that astropy completes by itself, and of what denoising said
            figure = plot_denoised(before, after, stretch=stretch, cutout=_middle(before.shape, size))
            figure.suptitle(path.stem)
            figure.savefig(temporary, format='png', dpi=_DPI)
        written.append(path)
    return written


def _middle(shape, size):
    """Rows and columns of the middle of an image."""
    return tuple(slice((n - min(n, size)) // 2, (n - min(n, size)) // 2 + min(n, size)) for n in shape)


def _first_plane(image):
    """The image itself, or the first plane of a cube, whose coordinates are left out."""
    if image.data.ndim == 2:
        return image
    first = (0,) * (image.data.ndim - 2)
    deviation = None if image.uncertainty is None else type(image.uncertainty)(
        np.asarray(image.uncertainty.array)[first])
    return CCDData(image.data[first], unit=image.unit, mask=None if image.mask is None else image.mask[first],
                   uncertainty=deviation, header=image.header)
