# Licensed under a 3-clause BSD style license - see LICENSE
"""
One scale from values to brightness for all pictures of a frame.
"""

import numpy as np

from ..background import background_level
from ..utils.robust import MEDIAN_ABSOLUTE

__all__ = ['STRETCHES', 'shared_norm', 'sky_of']

#: Stretches by name, and what they do.
STRETCHES = {
    'asinh': 'linear within two standard deviations of the sky, then logarithmic, up to the 99.9th percentile',
    'zscale': 'linear between the limits of the zscale algorithm of IRAF',
    'linear': 'linear between the 0.5th and the 99.5th percentile',
}
# In units of the noise of the sky: the lowest value shown below the sky, the least that is shown above it, and the
# width of the linear part of asinh.
_LOW, _HIGH, _LINEAR = 3.0, 10.0, 2.0


def sky_of(values):
    """
    Measure the level and the noise of the sky.

    Parameters
    ----------
    values : `~numpy.ndarray`
        The image; NaN are left out.

    Returns
    -------
    level : float
        Level of the sky.
    sigma : float
        Standard deviation of the values below it, where no source is; 1 if these do not vary.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.visualization import sky_of
    >>> level, sigma = sky_of(np.random.default_rng(0).normal(100, 5, (128, 128)))
    >>> round(float(level)), round(sigma)
    (100, 5)
    """
    level = background_level(values)
    below = values[np.isfinite(values) & (values <= level)]
    sigma = np.median(level - below) / MEDIAN_ABSOLUTE if below.size else 0.0
    return level, float(sigma) if sigma > 0 else 1.0


def shared_norm(image, *, stretch='asinh', sigma=None, top=None):
    """
    Make the scale that all pictures of a frame share, so that they can be compared.

    Parameters
    ----------
    image : array_like
        The noisy image, shape (ny, nx), whose sky sets the scale.
    stretch : {'asinh', 'zscale', 'linear'}, optional
        See `STRETCHES`.
    sigma : float, optional
        Noise of the sky, in the units of ``image``; by default measured on it.
    top : array_like, optional
        The image whose bright end is to be seen, such as the denoised one; by default ``image``. For 'asinh'.

    Returns
    -------
    `~astropy.visualization.ImageNormalize`
        For the ``norm`` of ``imshow``; ``vmin``, ``vmax`` and ``stretch`` serve other viewers.

    Raises
    ------
    ValueError
        If ``stretch`` is unknown, ``sigma`` is not positive, or no value is finite.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.visualization import shared_norm
    >>> norm = shared_norm(np.random.default_rng(0).normal(100, 3, (64, 64)))
    >>> bool(90 < norm.vmin < 93)
    True
    """
    from astropy.visualization import AsinhStretch, ImageNormalize, LinearStretch, PercentileInterval, ZScaleInterval
    if stretch not in STRETCHES:
        raise ValueError(f'stretch must be one of {", ".join(map(repr, STRETCHES))}, got {stretch!r}')
    if sigma is not None and not sigma > 0:
        raise ValueError(f'sigma must be positive, got {sigma}')
    values = np.asarray(image, dtype=float)
    if not np.isfinite(values).any():
        raise ValueError('image must have a finite value, got none')
    if stretch != 'asinh':
        interval = ZScaleInterval() if stretch == 'zscale' else PercentileInterval(99)
        low, high = interval.get_limits(values[np.isfinite(values)])
        return ImageNormalize(vmin=low, vmax=high if high > low else low + 1, stretch=LinearStretch(), clip=False)
    level, measured = sky_of(values)
    sigma = measured if sigma is None else float(sigma)
    bright = values if top is None else np.asarray(top, dtype=float)
    high = max(np.nanpercentile(np.where(np.isfinite(bright), bright, np.nan), 99.9) - level, _HIGH * sigma)
    low = -_LOW * sigma
    # The stretch of astropy is asinh from the lowest value on.
    return ImageNormalize(vmin=level + low, vmax=level + high, stretch=AsinhStretch(_LINEAR * sigma / (high - low)),
                          clip=False)
