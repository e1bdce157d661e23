# Licensed under a 3-clause BSD style license - see LICENSE
"""
Measure the visible part of an image: histograms, profiles along lines, cut-outs.
"""

import base64
import io

import numpy as np

from .render import colour

__all__ = ['histogram', 'picture_url', 'profile', 'stamp']

_BINS = 64         # of a histogram
_SAMPLE = 512      # pixels on a side of the region of a histogram; of larger regions every n-th
_TAILS = 0.2, 99.8     # percentiles of the input between which the bins are
_POINTS = 1000     # of a profile: more than a screen shows
_REACH = 8.0       # standard deviations, of histograms in units of the noise


def histogram(pyramids, cutout):
    """
    Count values of the visible region.

    Parameters
    ----------
    pyramids : dict of Pyramid
        'input', and 'result' and 'residual' if there are.
    cutout : tuple of tuple
        Rows and columns, first and last plus one.

    Returns
    -------
    dict
        ``edges`` of the bins of input and result, ``sigma_edges`` of the bins of the residual; ``counts``, ``median``
        and ``std`` of the finite values, each by name; ``n``, the number of pixels that were counted, and
        ``step``: every n-th in both directions is.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.gui.measures import histogram
    >>> from astropy_n2v.gui.render import Pyramid
    >>> found = histogram({'input': Pyramid.of(np.arange(100.0).reshape(10, 10))}, ((0, 5), (0, 10)))
    >>> found['n'], found['median']['input']
    (50, 24.5)
    """
    (top, bottom), (left, right) = cutout
    step = max(1, -(-max(bottom - top, right - left) // _SAMPLE))
    values = {name: np.asarray(pyramids[name].levels[0][top:bottom:step, left:right:step], dtype=float)
              for name in ('input', 'result', 'residual') if name in pyramids}
    values = {name: part[np.isfinite(part)] for name, part in values.items()}
    low, high = np.percentile(values['input'], _TAILS) if values['input'].size else (0.0, 1.0)
    high = high if high > low else low + 1
    edges, sigma_edges = np.linspace(low, high, _BINS + 1), np.linspace(-_REACH, _REACH, _BINS + 1)
    counts = {name: np.histogram(part, sigma_edges if name == 'residual' else edges)[0]
              for name, part in values.items()}
    return {'edges': edges, 'sigma_edges': sigma_edges, 'counts': counts, 'n': int(values['input'].size), 'step': step,
            'median': {name: float(np.median(part)) if part.size else np.nan for name, part in values.items()},
            'std': {name: float(np.std(part)) if part.size else np.nan for name, part in values.items()}}


def profile(pyramids, start, end):
    """
    Read the pixels along a line.

    Parameters
    ----------
    pyramids : dict of Pyramid
        Images of one shape, by name.
    start, end : tuple of float
        Positions in pixels, x and y.

    Returns
    -------
    dict of `~numpy.ndarray`
        ``distance`` from the start, ``x`` and ``y``, all in pixels, and the value of the nearest pixel of each image by
        its name, NaN outside; about a pixel apart, 1000 at most.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.gui.measures import profile
    >>> from astropy_n2v.gui.render import Pyramid
    >>> found = profile({'input': Pyramid.of(np.eye(4))}, (0, 0), (3, 0))
    >>> found['distance'].tolist(), found['input'].tolist()
    ([0.0, 1.0, 2.0, 3.0], [1.0, 0.0, 0.0, 0.0])
    """
    start, end = np.asarray(start, dtype=float), np.asarray(end, dtype=float)
    length = float(np.hypot(*(end - start)))
    share = np.linspace(0, 1, int(np.clip(round(length), 1, _POINTS - 1)) + 1)
    x, y = (start[i] + share * (end[i] - start[i]) for i in (0, 1))
    rows, columns = (np.floor(place + 0.5).astype(int) for place in (y, x))
    found = {'distance': share * length, 'x': x, 'y': y}
    for name, pyramid in pyramids.items():
        ny, nx = pyramid.shape
        inside = (rows >= 0) & (rows < ny) & (columns >= 0) & (columns < nx)
        found[name] = np.full(len(share), np.nan)
        found[name][inside] = pyramid.levels[0][rows[inside], columns[inside]]
    return found


def stamp(pyramid, x, y, half):
    """
    Cut out the surroundings of a place.

    Parameters
    ----------
    pyramid : Pyramid
        The image.
    x, y : float
        The place, in pixels.
    half : int
        Pixels on each side of the middle one.

    Returns
    -------
    `~numpy.ndarray`
        Shape (2 half + 1, 2 half + 1), NaN outside of the image.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.gui.measures import stamp
    >>> from astropy_n2v.gui.render import Pyramid
    >>> stamp(Pyramid.of(np.arange(9.0).reshape(3, 3)), 0.2, 1, 1)
    array([[nan,  0.,  1.],
           [nan,  3.,  4.],
           [nan,  6.,  7.]])
    """
    i, j = int(np.floor(y + 0.5)), int(np.floor(x + 0.5))
    result = np.full((2 * half + 1, 2 * half + 1), np.nan)
    ny, nx = pyramid.shape
    rows, columns = slice(max(i - half, 0), min(i + half + 1, ny)), slice(max(j - half, 0), min(j + half + 1, nx))
    part = pyramid.levels[0][rows, columns]
    if part.size:
        y0, x0 = rows.start - (i - half), columns.start - (j - half)
        result[y0:y0 + part.shape[0], x0:x0 + part.shape[1]] = part
    return result


def picture_url(values, norm, colour_map):
    """
    Colour values, and write them as the address of a picture.

    Parameters
    ----------
    values : `~numpy.ndarray`
        Shape (ny, nx), the first row at the bottom.
    norm : `~astropy.visualization.ImageNormalize`
        Scale from values to brightness.
    colour_map : str
        As for `astropy_n2v.gui.render.colour`.

    Returns
    -------
    str
        A PNG, as ``data:`` address.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.gui.measures import picture_url
    >>> from astropy_n2v.gui.render import find_norm
    >>> values = np.arange(4.0).reshape(2, 2)
    >>> picture_url(values, find_norm(values, values), 'gray')[:22]
    'data:image/png;base64,'
    """
    from PIL import Image
    content = io.BytesIO()
    Image.fromarray(colour(values, norm, colour_map)[::-1]).save(content, 'PNG')
    return 'data:image/png;base64,' + base64.b64encode(content.getvalue()).decode()
