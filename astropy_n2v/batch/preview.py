# Licensed under a 3-clause BSD style license - see LICENSE
"""
Pictures of files before and after denoising.
"""

import re
import tempfile
import warnings
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.nddata import CCDData

from ..containers.parsing import celestial_order
from ..denoising import denoise
from ..io import read_fits_images
from ..io.raster import is_raster, read_raster
from ..utils.atomic_files import atomic_write
from .raster import denoise_raster, raster_options

__all__ = ['preview_file', 'preview_result']

_ENDING = re.compile(r'\.(fits?|fts)(\.(gz|bz2|xz|zip|z|fz))?$', re.IGNORECASE)
_DPI = 100   # pixels an inch, of the pictures


def preview_file(path, output_dir, model=None, *, ext=None, ignore_bits=0, mask=None, size=512, stretch='asinh',
                 overwrite=False, **options):
    """
    Denoise the images of a file, and write a preview of each: input, result, residual and uncertainty.

    Parameters
    ----------
    path : str or path-like
        FITS file, or a picture (JPEG, PNG, TIFF), of which the mean of the colours is shown, without uncertainty.
    output_dir : str or path-like
        Directory for the previews, ``NAME.png``, or ``NAME-1.png`` and so on of several images; ``x.jpg.png`` of a
        picture ``x.jpg``. It is made if it does not exist.
    model : str, path or Denoiser, optional
        See `astropy_n2v.denoise`.
    ext, ignore_bits, mask : optional
        See `~astropy_n2v.io.read_fits_images`.
    size : int, optional
        Largest height and width in pixels that are shown: the middle of larger images.
    stretch : {'asinh', 'zscale', 'linear'}, optional
        See `~astropy_n2v.visualization.STRETCHES`.
    overwrite : bool, optional
        If true, replace existing previews.
    **options
        Other keywords of `astropy_n2v.denoise`; for a picture, keywords of `~astropy_n2v.batch.denoise_raster`.

    Returns
    -------
    list of `pathlib.Path`
        The previews.

    Raises
    ------
    FileExistsError
        If a preview exists and ``overwrite`` is false.
    OSError
        If a file cannot be read or written.
    ValueError
        If the file has no such image, or it cannot be denoised.

    Examples
    --------
    >>> import tempfile
    >>> from astropy_n2v.batch import preview_file
    >>> from astropy_n2v.simulate import make_scene
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     make_scene('survey', (64, 64), seed=1).observe(seed=2).write(f'{directory}/frame.fits')
    ...     [picture.name for picture in preview_file(f'{directory}/frame.fits', directory)]
    ['frame.png']
    """
    images = _read(path, ext, ignore_bits, mask)
    if is_raster(path):
        pairs = [(images[0], _denoise_picture(path, model, options))]
    else:
        pairs = ((image, denoise(image, model, **options)) for image in images)
    return _draw(pairs, len(images), Path(output_dir) / Path(path).name, size, stretch, overwrite)


def preview_result(path, result, *, ext=None, ignore_bits=0, mask=None, size=512, stretch='asinh', overwrite=False):
    """
    Write a preview of each image of a file and of its denoised file, beside the latter.

    Parameters
    ----------
    path, result : str or path-like
        FITS files or pictures, before and after.
    ext, ignore_bits, mask, size, stretch, overwrite : optional
        See `preview_file`.

    Returns
    -------
    list of `pathlib.Path`
        The previews.

    Raises
    ------
    FileExistsError
        If a preview exists and ``overwrite`` is false.
    OSError
        If a file cannot be read or written.
    ValueError
        If the files have no such image, or not as many of them.

    See Also
    --------
    preview_file : Denoise a file for its preview alone.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from astropy_n2v.batch import denoise_fits, preview_result
    >>> from astropy_n2v.simulate import make_scene
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path, result = (Path(directory) / name for name in ('frame.fits', 'frame_n2v.fits'))
    ...     make_scene('survey', (64, 64), seed=1).observe(seed=2).write(path)
    ...     done = denoise_fits(path, result)
    ...     [picture.name for picture in preview_result(path, result)]
    ['frame_n2v.png']
    """
    before = _read(path, ext, ignore_bits, mask)
    after = _read(result, ext)
    if len(before) != len(after):
        raise ValueError(f'result must have as many images as {path}, {len(before)}, got {len(after)}')
    return _draw(zip(before, after), len(before), result, size, stretch, overwrite)


def _read(path, ext, ignore_bits=0, mask=None):
    """Read the images of a file; of a picture the mean of its colours, from bottom to top as FITS images are."""
    if not is_raster(path):
        return read_fits_images(path, ext, ignore_bits=ignore_bits, mask=mask)
    raster_options(ext=ext, mask=mask)   # an error if there is one
    picture = read_raster(path)
    opacity = None if picture.alpha is None else picture.alpha[::-1] == 0
    return [CCDData(picture.data.mean(axis=0)[::-1], unit=u.adu, mask=opacity)]


def _denoise_picture(path, model, options):
    """Denoise a picture as it would be stored."""
    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
        warnings.simplefilter('ignore')   # of channels that pass through: the picture shows it
        result = Path(directory) / Path(path).name
        denoise_raster(path, result, model, **raster_options(**options))
        return _read(result, None)[0]


def picture_stem(path):
    """Take the part of the name of a file that its pictures have, too."""
    return _ENDING.sub('', Path(path).name)


def _draw(pairs, count, name, size, stretch, overwrite):
    """Write the pictures of some images, under names that follow from the name of a file."""
    from ..visualization import plot_denoised  # each process of a batch would wait for matplotlib
    name = Path(name)
    stem, written = picture_stem(name), []
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
    """Find the rows and columns of the middle of an image."""
    return tuple(slice((n - min(n, size)) // 2, (n - min(n, size)) // 2 + min(n, size)) for n in shape)


def _first_plane(image):
    """The image itself, or the first plane of a cube, whose coordinates are left out."""
    if image.data.ndim == 2:
        return image
    order = celestial_order(image) or range(image.data.ndim)
    first = tuple(0 if axis in order[:-2] else slice(None) for axis in range(image.data.ndim))
    deviation = None if image.uncertainty is None else type(image.uncertainty)(
        np.asarray(image.uncertainty.array)[first])
    return CCDData(image.data[first], unit=image.unit, mask=None if image.mask is None else image.mask[first],
                   uncertainty=deviation, header=image.header)
