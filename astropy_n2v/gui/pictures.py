# Licensed under a 3-clause BSD style license - see LICENSE
"""
Read, measure, denoise and show JPEG, PNG and TIFF: channels are planes, with the first row at the bottom as in FITS.
"""

import numpy as np

from ..io.raster import read_raster
from .render import Pyramid

__all__ = ['denoise', 'measure', 'read', 'show']

_ROUNDING = 1 / np.sqrt(12)   # standard deviation of the rounding to integers, in steps


def read_channels(path):
    """Read a picture: its values, shape (n, ny, nx), turned so that the first row is the last one; and itself."""
    picture = read_raster(path)
    return picture.data[:, ::-1], picture


def describe(path):
    """Describe a picture: its shape, and kind, type, size and extras as text."""
    values, picture = read_channels(path)
    extras = ', '.join(sorted(picture.extras)) or 'nothing'
    alpha = 'yes' if picture.alpha is not None else 'no'
    text = (f'{picture.kind} of {values.shape[0]} channel(s) of {values.dtype}, {values.shape[2]}×{values.shape[1]} '
            f'pixels\nopacity (alpha): {alpha}\nkept along: {extras}')
    return values.shape, text


def read(folder, path, index, plane):
    """Read a channel, and make its overviews; see `astropy_n2v.gui.tasks.read`."""
    values, picture = read_channels(path)
    if not 0 <= plane < len(values):
        raise ValueError(f'plane must be from 0 to {len(values) - 1}, got {plane}')
    _write(folder, 'input', values[plane])
    return {'shape': values.shape[1:], 'n_planes': len(values), 'unit': '', 'wcs': None, 'kind': picture.kind,
            'header': describe(path)[1]}


def _write(folder, name, values):
    Pyramid.write(folder, name, values.shape, [(0, np.asarray(values))])


def _noise(values, picture):
    """Measure the noise of a channel, and find the pixels that do not count."""
    from ..noise.brightness import channel_noise
    integers = values.dtype.kind in 'ui'
    bad = values >= picture.top if integers else ~np.isfinite(values)
    if picture.alpha is not None:
        bad |= picture.alpha[::-1] == 0
    return channel_noise(values, bad, floor=_ROUNDING if integers else 0.0), bad


def measure(path, index, parameters, plane):
    """Find the noise of a channel; see `astropy_n2v.gui.tasks.measure`."""
    values, picture = read_channels(path)
    noise, bad = _noise(values[plane], picture)
    sigma = float(np.median(noise.sigma))
    return {'source': 'the picture', 'gain': None, 'sigma': sigma, 'sky': float(np.median(values[plane][~bad])),
            'sky_noise': sigma, 'masked': float(np.mean(bad))}


def denoise(path, output, index, options):
    """Denoise a picture to another file; return cards like the ones of FITS files."""
    from ..batch import denoise_fits
    done = denoise_fits(path, output, overwrite=True, **options)
    refused = '; '.join(f'{image.hdu}: {image.error}' for image in done.images if image.error)
    cards = {name: (value, '') for name, value in done.images[0].cards.items()}
    return {**cards, 'N2VSTREN': (options.get('strength', 1.0), ''), 'N2VAUDIT': (refused or 'ok', 'all channels')}


def show(folder, path, output, index, plane):
    """Make the pictures of a result, of which no uncertainty is known; return their names."""
    values, picture = read_channels(path)
    after = read_channels(output)[0][plane].astype(float)
    noise, _ = _noise(values[plane], picture)
    sigma = np.broadcast_to(noise.sigma, after.shape)
    _write(folder, 'result', after.astype(np.float32))
    with np.errstate(invalid='ignore', divide='ignore'):
        residual = np.where(sigma > 0, (values[plane] - after) / sigma, np.nan)
    _write(folder, 'residual', residual.astype(np.float32))
    return ['residual', 'result']
