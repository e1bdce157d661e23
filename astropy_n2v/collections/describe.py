# Licensed under a 3-clause BSD style license - see LICENSE
"""
The rows of a catalogue for one file.
"""

import hashlib
import logging
import math
import os
import re
import warnings

import numpy as np

from ..background import background_level
from ..containers.parsing import measured
from ..containers.saturation import saturated_pixels
from ..exceptions import CannotDenoiseError
from ..io.axes import check_sky_last
from ..io.headers import merge_headers
from ..io.paths import describe_error
from ..io.raster import is_raster
from ..io.reading import read_image
from ..io.select import hdu_label, science_hdus
from ..io.source import FitsSource
from ..noise import SkySample
from ..noise.estimation import sky_noise
from ..noise.views import WHOLE, is_mosaic, lattice
from ..utils.names import printable
from .headers import exposure_cards, sky_position, stored_type
from .loading import cut_areas
from .raster import read_picture

__all__ = ['describe_file', 'file_hash', 'file_state']

log = logging.getLogger(__name__)

# Height and width, in pixels, of the middle of an image that is measured, as for the noise of a set.
_LARGEST = 2048
_CHUNK = 1 << 20   # bytes that are hashed at a time
# Characters that a table in a text file does not give back: what readers take for the end of a line, and bytes of names
# that are not UTF-8.
_LOST = re.compile('[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029\ud800-\udfff]')


def file_hash(path):
    """Calculate the SHA-1 of a file, as text."""
    digest = hashlib.sha1(usedforsecurity=False)
    with open(path, 'rb') as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def file_state(path):
    """Read size and time of the last change of a file, which say that it is the one that was read."""
    state = os.stat(path)
    return {'bytes': state.st_size, 'mtime': state.st_mtime_ns}


def describe_file(path):
    """
    Describe the images of a file.

    Parameters
    ----------
    path : str
        FITS file or raster image.

    Returns
    -------
    list of dict
        A row for each science image; one with an ``error`` if the file cannot be read; none for a file without images,
        such as one of tables.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from astropy_n2v.collections.describe import describe_file
    >>> from astropy_n2v.simulate import make_scene
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = Path(directory) / 'a.fits'
    ...     make_scene('survey', (64, 64), seed=1).observe(seed=1).write(path)
    ...     (row,) = describe_file(path)
    >>> row['shape'], row['unit'], row['dtype']
    ('64x64', 'electron', 'float32')
    """
    path = os.fspath(path)
    row = {'path': path}
    if _LOST.search(path):
        return [{'path': _LOST.sub(lambda found: ascii(found[0])[1:-1], path),
                 'error': 'its name has characters that a table cannot hold, here with a backslash: rename the file'}]
    try:
        if os.path.isdir(path):
            os.listdir(path)   # raises the reason why it could not be searched
        row |= file_state(path)
        row['sha1'] = file_hash(path)
        row['id'] = row['sha1'][:12]
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')   # what deserves a warning does so when the image is used
            return [{**row, **image} for image in (_raster_images if is_raster(path) else _fits_images)(path)]
    except Exception as error:   # whatever is wrong with one file, the others are not to blame
        return [{**row, 'error': describe_error(error, path)}]


def _raster_images(path):
    picture = read_picture(path)
    return [{'ext': 0, 'shape': 'x'.join(map(str, picture.shape)), 'dtype': picture.data.dtype.name, 'unit': 'adu',
             **_measurements(picture[_middle(picture.shape)])[0]}]


def _fits_images(path):
    with FitsSource(path, quiet=True) as source:
        hdus = source.hdus
        if not any(getattr(hdu, 'is_image', False) and len(hdu.shape) > 1 for hdu in hdus):
            log.info('%s has no image', printable(path))
            return []
        return [_fits_image(source, i) for i in science_hdus(hdus)]


def _fits_image(source, index):
    hdus = source.hdus
    hdu = hdus[index]
    header = merge_headers(hdu.header, hdus[0].header if index else None)
    if 'N2VVERS' in header:
        return {'ext': index, 'error': 'a result of astropy_n2v (N2VVERS), and no frame to train on'}
    try:
        check_sky_last(hdu, hdu_label(hdu, index))
    except ValueError as error:   # of this image, and not of others of the file
        return {'ext': index, 'error': str(error)}
    middle = _middle(hdu.shape)
    ccd = read_image(source, index, 0, section=middle)
    cut_areas(ccd, hdu.shape[-2:], middle[-2:])
    values, sky = _measurements(ccd)
    return {'ext': index, 'shape': 'x'.join(map(str, hdu.shape)), 'dtype': stored_type(hdu.header),
            **exposure_cards(header, sky), **sky_position(header, hdus, hdu.shape[-2:]), **values}


def _middle(shape):
    """Index of the middle of the middle plane of an image."""
    plane = np.unravel_index(math.prod(shape[:-2]) // 2, shape[:-2]) if len(shape) > 2 else ()
    starts = [max(0, n - _LARGEST) // 2 for n in shape[-2:]]
    return (*map(int, plane), *(slice(start, min(start + _LARGEST, n)) for start, n in zip(starts, shape[-2:])))


def _measurements(ccd):
    """Measure an image: columns of its row, and its noise or None."""
    image = measured(ccd)
    finite = np.isfinite(image.values)
    mask = image.mask | ~finite
    integers = ccd.data.dtype if ccd.data.dtype.kind in 'iu' and ccd.data.dtype.itemsize < 4 else None
    saturated, _ = saturated_pixels(image.values, ~finite, image.header, image.unit,
                                    largest=None if integers is None else np.iinfo(integers).max)
    row = {'saturated': 0.0 if saturated is None else float(np.mean(saturated)),
           'nonfinite': float(1 - np.mean(finite)), 'masked': float(np.mean(mask))}
    valid = image.values[finite]
    if valid.size and valid.min() == valid.max():
        return {**row, 'background': float(valid[0]), 'noise': 0.0}, None
    if mask.all():
        return row, None
    # The levels of the colours of a mosaic differ by more than their noise.
    views = lattice(2) if is_mosaic(image.values, mask, image.header) else [WHOLE]
    try:
        skies = [SkySample(image.values[view], mask[view]) for view in views]
        noises = [sky_noise(sky) for sky in skies]
        correlations = [sky.autocorrelation if noise.autocorrelation is None else noise.autocorrelation
                        for sky, noise in zip(skies, noises)]
    except CannotDenoiseError:
        return {**row, 'background': float(background_level(image.values, mask))}, None
    correlation = np.median(correlations, axis=0)
    middle = correlation.shape[0] // 2
    row |= {'background': float(np.mean([noise.background for noise in noises])),
            'noise': float(np.median([noise.deviation for noise in noises])),
            'rho_x': float(correlation[middle, middle + 1]), 'rho_y': float(correlation[middle + 1, middle])}
    return row, noises[0]
