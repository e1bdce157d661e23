# Licensed under a 3-clause BSD style license - see LICENSE
"""
Figures. Matplotlib is imported when one is drawn.
"""

import numpy as np

from ...utils.checks import require
from ...visualization.stretches import shared_norm, sky_of

__all__ = ['draw_comparison']


def draw_comparison(noisy, result, truth=None, *, sigma=None, titles=('before', 'after', 'truth'), residual=False,
                    axes=None):
    """
    Draw an image before and after denoising, and the truth if it is known, all with the same stretch.

    Parameters
    ----------
    noisy, result : array_like
        Images of shape (ny, nx).
    truth : array_like, optional
        The truth.
    sigma : float, optional
        Noise of the sky, which sets the scale; by default measured on ``noisy``.
    titles : sequence of str, optional
        Of the images.
    residual : bool, optional
        Whether to draw also before minus after, linearly from -5 to 5 ``sigma``.
    axes : sequence of `~matplotlib.axes.Axes`, optional
        One for each panel; by default a new figure is made.

    Returns
    -------
    `~matplotlib.figure.Figure`
        The figure of the panels.

    Raises
    ------
    ValueError
        If shapes do not agree, or there are too few ``axes``.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.validation.figures import draw_comparison
    >>> noisy = np.random.default_rng(0).normal(size=(16, 16))
    >>> figure = draw_comparison(noisy, noisy / 3)
    >>> len(figure.axes)
    2
    """
    from matplotlib.figure import Figure

    images = [np.asarray(image, dtype=float) for image in (noisy, result, truth) if image is not None]
    if len({image.shape for image in images}) != 1 or images[0].ndim != 2:
        raise ValueError(f'images must be two-dimensional and of one shape, got {[image.shape for image in images]}')
    panels = len(images) + bool(residual)
    if axes is None:
        height, width = images[0].shape
        # No pyplot: its figures live until they are closed.
        figure = Figure(figsize=(4 * panels, 4 * height / width + 0.4), layout='constrained')
        axes = figure.subplots(1, panels, squeeze=False)[0]
    axes = np.ravel(axes)
    require(len(axes) >= panels, 'axes', f'have one for each of the {panels} panels', len(axes))
    sigma = sky_of(images[0])[1] if sigma is None or not sigma > 0 else float(sigma)
    norm = shared_norm(images[0], sigma=sigma, top=images[-1])
    for ax, image, title in zip(axes, images, titles):
        ax.imshow(image, origin='lower', cmap='gray', norm=norm, interpolation='nearest')
        ax.set_title(title)
    if residual:
        ax = axes[len(images)]
        ax.imshow((images[0] - images[1]) / sigma, origin='lower', cmap='RdBu_r', vmin=-5, vmax=5,
                  interpolation='nearest')
        ax.set_title(f'{titles[0]} - {titles[1]}')
    for ax in axes[:panels]:
        ax.set_xticks([])
        ax.set_yticks([])
    return axes[0].figure
