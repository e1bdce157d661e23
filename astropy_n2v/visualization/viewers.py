# Licensed under a 3-clause BSD style license - see LICENSE
"""
Frame and result in an interactive viewer of a notebook.
"""

import numpy as np
from astropy.nddata import CCDData, NDData
from astropy.visualization import LinearStretch

from .panels import RESIDUAL, image_of, plot_denoised, residual_in_sigma
from .stretches import shared_norm

__all__ = ['show']

_NEEDED = 'load_image', 'set_cuts', 'set_stretch', 'set_colormap'


def show(ccd, result, viewer=None, *, stretch='asinh', sources=None):
    """
    Show a frame and its denoised image.

    Parameters
    ----------
    ccd : `~astropy.nddata.CCDData` or array_like
        The frame, shape (ny, nx).
    result : `~astropy.nddata.CCDData` or array_like
        The frame denoised.
    viewer : object, optional
        A viewer with the interface of `astro-image-display-api
        <https://github.com/astropy/astro-image-display-api>`_, such as those for ginga, bqplot and jdaviz. By default
        the pictures of `plot_denoised` are drawn with matplotlib.
    stretch : {'asinh', 'zscale', 'linear'}, optional
        See `STRETCHES`; frame and result share it.
    sources : `~astropy.table.Table`, optional
        With columns ``x`` and ``y`` in pixels, to be marked.

    Returns
    -------
    object
        The viewer, with the images 'input', 'result' and 'residual' (in units of the noise) and the catalog 'sources';
        or the `~matplotlib.figure.Figure`.

    Raises
    ------
    TypeError
        If the viewer lacks a method of the interface.
    ValueError
        If shapes do not agree.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use('agg')
    >>> import numpy as np
    >>> from astropy_n2v.visualization import show
    >>> noisy = np.random.default_rng(0).normal(size=(32, 32))
    >>> figure = show(noisy, noisy / 3)
    """
    if viewer is None:
        from matplotlib import pyplot
        return plot_denoised(ccd, result, stretch=stretch, sources=sources,
                             figure=pyplot.figure(figsize=(14, 4.6), layout='constrained'))
    missing = [name for name in _NEEDED if not callable(getattr(viewer, name, None))]
    if missing:
        raise TypeError(f'viewer must have the methods {", ".join(_NEEDED)} of the astro-image-display-api, got '
                        f'{type(viewer).__name__} without {", ".join(missing)}')
    norm = shared_norm(image_of(ccd, 'ccd'), stretch=stretch, top=image_of(result, 'result'))
    residual = CCDData(residual_in_sigma(ccd, result), unit='', wcs=getattr(ccd, 'wcs', None))
    # Viewers show what they loaded last.
    for label, image in (('residual', residual), ('input', ccd), ('result', result)):
        viewer.load_image(image if isinstance(image, NDData) else np.asarray(image), image_label=label)
        cuts = (-RESIDUAL, RESIDUAL) if label == 'residual' else (float(norm.vmin), float(norm.vmax))
        viewer.set_cuts(cuts, image_label=label)
        viewer.set_stretch(LinearStretch() if label == 'residual' else norm.stretch, image_label=label)
        viewer.set_colormap('RdBu_r' if label == 'residual' else 'gray', image_label=label)
    if sources is not None:
        viewer.load_catalog(sources, x_colname='x', y_colname='y', catalog_label='sources')
    return viewer
