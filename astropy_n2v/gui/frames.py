# Licensed under a 3-clause BSD style license - see LICENSE
"""
Read, measure, denoise and show FITS files, a strip of a plane at a time, so that large ones need little memory.
"""

import numpy as np
from astropy.io import fits
from astropy.nddata import CCDData
from tqdm import tqdm

from ..io import hdu_label, read_fits_images, science_hdus
from ..io.axes import check_sky_last
from ..io.reading import read_image
from ..io.source import FitsSource
from .folder import read_header
from .render import Pyramid

__all__ = ['denoise', 'measure', 'read', 'show', 'take_plane']

_ROWS = 1024   # of a strip: with 10,000 columns, 40 MB
# Extensions of the file of a result that are shown, and their names on the page.
_SHOWN = {'UNCERT': 'uncertainty', 'INNOVATION': 'innovations', 'NOISE': 'noise'}


def read(folder, path, index, plane):
    """
    Read an image, and make its overviews; see `astropy_n2v.gui.tasks.read`.

    Of a file that is not compressed as a whole no more than a strip is in memory.
    """
    from ..sources.detecting import sky_wcs
    with FitsSource(path, quiet=True) as source:
        science_hdus(source.hdus, index)   # raises an error that names the reason otherwise
        check_sky_last(source.hdus[index], hdu_label(source.hdus[index], index))
        shape = source.hdus[index].shape
        place = _plane_index(shape, plane)
        # From the first corner on: the part and the image have one WCS.
        corner = read_image(source, index, None, wcs=True, section=(*place, slice(0, 2), slice(0, 2)))

        def strips():
            for start in range(0, shape[-2], _ROWS):
                section = *place, slice(start, min(start + _ROWS, shape[-2])), slice(0, shape[-1])
                yield start, read_image(source, index, None, section=section).data

        _write(folder, 'input', shape[-2:], strips())
    return {'shape': tuple(shape[-2:]), 'n_planes': int(np.prod(shape[:-2], dtype=int)), 'unit': str(corner.unit),
            'wcs': sky_wcs(corner.wcs), 'header': read_header(path, index), 'kind': 'FITS'}


def _plane_index(shape, plane):
    """Convert the number of a plane to its index in the axes before rows and columns."""
    n = int(np.prod(shape[:-2], dtype=int))
    if not 0 <= plane < n:
        raise ValueError(f'plane must be from 0 to {n - 1}, got {plane}')
    return tuple(int(i) for i in np.unravel_index(plane, shape[:-2])) if len(shape) > 2 else ()


def take_plane(frame, plane):
    """Take a plane of a cube with its mask and uncertainty; of the WCS, the celestial part is kept."""
    place = _plane_index(frame.shape, plane)
    uncertainty = frame.uncertainty
    if uncertainty is not None:
        uncertainty = type(uncertainty)(np.broadcast_to(uncertainty.array, frame.shape)[place], unit=uncertainty.unit)
    mask = None if frame.mask is None else np.broadcast_to(frame.mask, frame.shape)[place]
    wcs = frame.wcs.celestial if frame.wcs is not None and frame.wcs.has_celestial else None
    return CCDData(frame.data[place], unit=frame.unit, meta=frame.meta, wcs=wcs, mask=mask, uncertainty=uncertainty)


def _write(folder, name, shape, strips):
    """Write an image that comes in strips, with its overviews."""
    bar = tqdm(strips, total=-(-shape[0] // _ROWS))
    Pyramid.write(folder, name, shape, bar)


def measure(path, index, parameters, plane):
    """Find the noise of a plane; see `astropy_n2v.gui.tasks.measure`."""
    from ..containers.container import Container
    from ..planes import find_planes, not_counted
    parameters = dict(parameters)
    frame = Container(read_fits_images(path, index)[0], None, parameters.pop('satlevel', None))
    place = _plane_index(frame.shape, plane)
    found = find_planes(frame, indices=[place], **parameters)[0][0]
    noise = found.data_noise
    masked = float(np.mean(not_counted(frame.values[place], frame.mask[place])))
    level = float(np.median(found.values[~found.mask & np.isfinite(found.values)]))
    return {'source': noise.source, 'gain': None if noise.gain is None else float(np.median(noise.gain)),
            'sigma': float(np.median(noise.sigma)), 'sky': level,
            'sky_noise': float(np.sqrt(np.median(noise.variance(level)))), 'masked': masked}


def denoise(path, output, index, options):
    """Denoise an HDU of a file to another file; return the cards on how, as name: (value, comment)."""
    from ..batch import denoise_fits
    done = denoise_fits(path, output, ext=index, overwrite=True, full_output=True, progress_bar=True, **options)
    if done.images and done.images[0].error:
        raise ValueError(done.images[0].error)
    with fits.open(output) as file:
        header = file[index].header
        return {name: (header[name], header.comments[name]) for name in header if name.startswith('N2V')}


def show(folder, path, output, index, plane):
    """Make the pictures of a result; return their names. One image is in memory at a time, and of others strips."""
    with fits.open(output) as file:
        shape = file[index].shape
        place = _plane_index(shape, plane)
        # Of extensions of one name, the last is the one that was appended.
        found = {name: max(i for i, hdu in enumerate(file) if hdu.name == extension)
                 for extension, name in _SHOWN.items() if extension in file}
        noise = found.pop('noise')

        def strips(number):
            for start in range(0, shape[-2], _ROWS):
                rows = slice(start, min(start + _ROWS, shape[-2]))
                yield start, _section(file[number], place, rows)

        for name, number in {'result': index, **found}.items():
            _write(folder, name, shape[-2:], strips(number))
        before, after = (Pyramid.load(folder, name).levels[0] for name in ('input', 'result'))
        _write(folder, 'residual', shape[-2:], _residuals(before, after, strips(noise)))
    return sorted(['residual', 'result', *found])


def _section(hdu, place, rows):
    """Read rows of a plane of an HDU, which may lack axes of one element."""
    n = len(hdu.shape) - 2
    place = (0,) * (n - len(place)) + (place[-n:] if n else ())
    part = hdu.section[(*place, rows)] if hasattr(hdu, 'section') else hdu.data[(*place, rows)]
    return np.asarray(part)


def _residuals(before, after, noise):
    """Compute input minus result in standard deviations of the noise, a strip at a time."""
    for start, sigma in noise:
        rows = slice(start, start + len(sigma))
        with np.errstate(invalid='ignore', divide='ignore'):
            yield start, np.where(sigma > 0, (before[rows] - after[rows]) / sigma, np.nan).astype(np.float32)
