# Licensed under a 3-clause BSD style license - see LICENSE
"""
Pictures side by side: a frame, its denoised image, their difference in units of the noise, and the uncertainty.
"""

import warnings

import numpy as np
from astropy.nddata import NDData, StdDevUncertainty

from .stretches import shared_norm

__all__ = ['PANELS', 'image_of', 'plot_denoised', 'residual_in_sigma']

#: Pictures that can be shown, and what they are.
PANELS = {
    'input': 'the frame as measured',
    'result': 'denoised, on the same scale',
    'residual': 'input minus result, in units of the noise of each pixel',
    'uncertainty': 'standard deviation of the result',
    'truth': 'the noise-free image, if it is known',
}
#: Standard deviations at which the colours of the residual end.
RESIDUAL = 5.0
_WIDTH = 4.2       # inches, of a panel
_MARKED = 500      # sources that are circled, of the most significant


def image_of(data, name='ccd'):
    """
    Convert an image to values, NaN where they are masked.

    Parameters
    ----------
    data : `~astropy.nddata.NDData` or array_like
        Image of shape (ny, nx).
    name : str, optional
        Of the parameter, for the message of an error.

    Returns
    -------
    `~numpy.ndarray`
        Float64.

    Raises
    ------
    ValueError
        If it is not two-dimensional.

    Examples
    --------
    >>> from astropy_n2v.visualization import image_of
    >>> image_of([[1, 2], [3, 4]]).dtype
    dtype('float64')
    """
    values = np.array(data.data if isinstance(data, NDData) else data, dtype=float)
    if values.ndim != 2:
        raise ValueError(f'{name} must be two-dimensional, got shape {values.shape}')
    mask = getattr(data, 'mask', None) if isinstance(data, NDData) else None
    if mask is not None:
        values[np.broadcast_to(np.asarray(mask, dtype=bool), values.shape)] = np.nan
    return values


def residual_in_sigma(ccd, result):
    """
    Subtract a denoised image from its frame, in units of the noise.

    Parameters
    ----------
    ccd : `~astropy.nddata.NDData` or array_like
        The frame, shape (ny, nx).
    result : `~astropy.nddata.NDData` or array_like
        The frame denoised.

    Returns
    -------
    `~numpy.ndarray`
        ``(ccd - result) / sigma``, with the noise that `astropy_n2v.denoise` finds for the frame, taken at the result:
        of standard deviation 1 where all noise was removed. NaN where either is masked.

    Raises
    ------
    ValueError
        If the shapes do not agree.
    CannotDenoiseError
        If the noise of the frame cannot be found out.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.visualization import residual_in_sigma
    >>> frame = np.random.default_rng(0).normal(100, 3, (64, 64))
    >>> bool(abs(residual_in_sigma(frame, np.full((64, 64), 100.0)).std() - 1) < 0.1)
    True
    """
    from ..containers.container import Container
    from ..planes import find_planes
    before, after = image_of(ccd, 'ccd'), image_of(result, 'result')
    if before.shape != after.shape:
        raise ValueError(f'result must have the shape of ccd, {before.shape}, got {after.shape}')
    residual = np.full(before.shape, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')   # they came when the frame was denoised
        planes, _ = find_planes(Container(ccd))
    for plane in planes:
        sigma = np.sqrt(plane.data_noise.variance(np.where(np.isfinite(after), after, 0)[plane.view]))
        part = before[plane.view] - after[plane.view]
        residual[plane.view] = np.divide(part, sigma, out=np.full(part.shape, np.nan), where=sigma > 0)
    return residual


def _deviation(result):
    """Standard deviation of a result; None if it states none."""
    uncertainty = getattr(result, 'uncertainty', None)
    if uncertainty is None or uncertainty.array is None:
        return None
    return np.asarray(uncertainty.represent_as(StdDevUncertainty).array, dtype=float)


def plot_denoised(ccd, result, truth=None, *, panels=None, stretch='asinh', sources=None, cutout=None, figure=None):
    """
    Plot a frame beside its denoised image, all on one scale.

    Parameters
    ----------
    ccd : `~astropy.nddata.CCDData` or array_like
        The frame, shape (ny, nx).
    result : `~astropy.nddata.CCDData` or array_like
        The frame denoised.
    truth : array_like, optional
        The noise-free image.
    panels : sequence of str, optional
        Of `PANELS`; by default all that there are data for.
    stretch : {'asinh', 'zscale', 'linear'}, optional
        See `STRETCHES`; input, result and truth share it.
    sources : `~astropy.table.Table`, optional
        With columns ``x`` and ``y`` in pixels, to be circled on input and result, such as `astropy_n2v.detect` returns.
    cutout : tuple of slice, optional
        Rows and columns to be shown; scales are as for the whole frame.
    figure : `~matplotlib.figure.Figure` or `~matplotlib.figure.SubFigure`, optional
        Where to draw; by default a new figure is made.

    Returns
    -------
    `~matplotlib.figure.Figure` or `~matplotlib.figure.SubFigure`
        With celestial axes (`~astropy.visualization.wcsaxes.WCSAxes`) if the frame has a celestial WCS. Its colours
        are distinct for the colour-blind.

    Raises
    ------
    ValueError
        If shapes do not agree, or a panel is unknown or has no data.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.visualization import plot_denoised
    >>> noisy = np.random.default_rng(0).normal(size=(32, 32))
    >>> figure = plot_denoised(noisy, noisy / 3, panels=['input', 'result', 'residual'])
    >>> [ax.get_title() for ax in figure.axes if ax.get_title()]
    ['input', 'result', 'input - result']
    """
    images = {'input': image_of(ccd, 'ccd'), 'result': image_of(result, 'result')}
    if truth is not None:
        images['truth'] = image_of(truth, 'truth')
    if len({image.shape for image in images.values()}) > 1:
        raise ValueError('ccd, result and truth must have one shape, got '
                         + ', '.join(str(image.shape) for image in images.values()))
    deviation = _deviation(result)
    known = {**images, 'residual': ccd, **({} if deviation is None else {'uncertainty': deviation})}
    panels = [name for name in PANELS if name in known] if panels is None else list(panels)
    for name in panels:
        if name not in known:
            raise ValueError(f'panels must be some of {", ".join(map(repr, known))} for these data, got {name!r}')
    norm = shared_norm(images['input'], stretch=stretch, top=images['result'])
    shape = images['input'].shape
    cutout = (slice(0, shape[0]), slice(0, shape[1])) if cutout is None else cutout
    height, width = images['input'][cutout].shape
    if figure is None:
        from matplotlib.figure import Figure
        # No pyplot: its figures live until they are closed.
        figure = Figure(figsize=(_WIDTH * len(panels), (_WIDTH - 0.9) * height / width + 0.9), layout='constrained')
    wcs = getattr(ccd, 'wcs', None)
    wcs = wcs.slice(cutout) if wcs is not None and getattr(wcs, 'has_celestial', False) and wcs.naxis == 2 else None
    unit = getattr(ccd, 'unit', None) if isinstance(ccd, NDData) else None
    for i, name in enumerate(panels):
        ax = figure.add_subplot(1, len(panels), i + 1, **({} if wcs is None else {'projection': wcs}))
        values = residual_in_sigma(ccd, result) if name == 'residual' else known[name]
        drawn = _draw_panel(ax, name, values[cutout], norm)
        label = 'noise standard deviations' if name == 'residual' else str(unit or '')
        figure.colorbar(drawn, ax=ax, orientation='horizontal', shrink=0.9, pad=0.02, label=label,
                        ticks=None if name in ('residual', 'uncertainty') else _ticks(norm))
        _tidy(ax, first=i == 0, celestial=wcs is not None)
        if sources is not None and name in ('input', 'result'):
            _circle(ax, sources, cutout)
    return figure


def _draw_panel(ax, name, values, norm):
    """Draw one picture; return the quantity of its colour scale."""
    options = {'origin': 'lower', 'interpolation': 'nearest' if max(values.shape) < 1000 else 'antialiased'}
    ax.set_title('input - result' if name == 'residual' else name)
    if name == 'residual':
        return ax.imshow(values, cmap='RdBu_r', vmin=-RESIDUAL, vmax=RESIDUAL, **options)
    if name == 'uncertainty':
        finite = values[np.isfinite(values)]
        low, high = np.percentile(finite, [1, 99]) if finite.size else (0, 1)
        return ax.imshow(values, cmap='viridis', vmin=low, vmax=high if high > low else low + 1, **options)
    return ax.imshow(values, cmap='gray', norm=norm, **options)


def _ticks(norm):
    """Choose values for a scale of colours, of two digits and far enough from each other on any stretch."""
    values = [float(norm.inverse(place)) for place in (0.06, 0.35, 0.64, 0.93)]
    step = 10 ** np.floor(np.log10(max(np.ptp(values), np.finfo(float).tiny)) - 1)
    return np.unique(np.round(np.divide(values, step)) * step)


def _tidy(ax, *, first, celestial):
    """Sky coordinates on the first panel, on others none; pixels are no coordinates to be read off."""
    ax.grid(False)
    if not celestial:
        ax.set_xticks([])
        ax.set_yticks([])
        return
    for i, coordinate in enumerate(ax.coords):
        coordinate.set_ticklabel(size=7, exclude_overlapping=True)
        coordinate.set_auto_axislabel(False)
        coordinate.set_ticks(number=4)
        if i and not first:
            coordinate.set_ticklabel_visible(False)


def _circle(ax, sources, cutout):
    """Circle sources, in pixels of the cut-out."""
    y0, x0 = (part.start or 0 for part in cutout)
    x, y = (np.asarray(sources[name], dtype=float)[:_MARKED] - zero for name, zero in (('x', x0), ('y', y0)))
    limits = ax.get_xlim(), ax.get_ylim()
    # Orange is seen on grey by all kinds of colour vision.
    ax.scatter(x, y, s=60, facecolors='none', edgecolors='#e08a1e', linewidths=0.8)
    ax.set_xlim(limits[0])
    ax.set_ylim(limits[1])
