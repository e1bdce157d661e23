# Licensed under a 3-clause BSD style license - see LICENSE
"""
Cosmic rays that are masked before an image is denoised.
"""

import numpy as np
from astropy import units as u
from astropy.nddata import CCDData
from scipy.ndimage import median_filter

from ..containers.parsing import celestial_order
from ..exceptions import CannotDenoiseError
from ..noise import estimate_noise
from ..utils.warn import warn_user

__all__ = ['mask_cosmic_rays']

_MEDIAN = 5   # pixels on a side of the median that stands for the light of the sky where a cosmic ray is
# Fraction of the pixels. Of the real frames that the package is developed with (512x512 pixels of their middle), those
# whose stars are wider than two pixels have less: DECam, ARCSAT and KELT up to 0.003, the HST FOC 0.023, the core of
# M13 0.046. Beyond it are images as sharp as their pixels or with smooth noise: 2MASS 0.07 and 0.08, NICMOS 0.08 and
# 0.1, Kepler 0.12, WISE 0.18 and 0.53.
_TOO_MANY = 0.05


def mask_cosmic_rays(ccd):
    """
    Mask the cosmic rays of an image, as L.A.Cosmic finds them.

    Parameters
    ----------
    ccd : `~astropy.nddata.CCDData`
        Image, shape (..., ny, nx); each plane of a cube is searched by itself. Its noise is estimated
        from the image: an uncertainty that was computed from the data is too large just where a cosmic ray is.

    Returns
    -------
    ccd : `~astropy.nddata.CCDData`
        The same data with a mask of its own.
    n_masked : int
        How many pixels were masked for cosmic rays.

    Warns
    -----
    `~astropy.utils.exceptions.AstropyUserWarning`
        If they are so many that stars must be among them.

    See Also
    --------
    ccdproc.cosmicray_lacosmic : Does the work (van Dokkum 2001, PASP 113, 1420).

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.nddata import CCDData
    >>> from astropy_n2v.batch import mask_cosmic_rays
    >>> data = np.random.default_rng(0).normal(100.0, 5.0, (64, 64))
    >>> data[20, 30] += 500.0
    >>> clean, n_masked = mask_cosmic_rays(CCDData(data, unit='adu'))
    >>> bool(clean.mask[20, 30]), n_masked < 10
    (True, True)
    """
    data = np.asarray(ccd.data, dtype=np.float64)
    bad = ~np.isfinite(data)
    if ccd.mask is not None:
        bad |= np.broadcast_to(ccd.mask, data.shape)
    found = np.zeros(data.shape, dtype=bool)
    order = celestial_order(ccd) or range(data.ndim)
    views = [array.transpose(order) for array in (data, bad, found)]
    for plane in np.ndindex(views[0].shape[:-2]):
        views[2][plane] = _find(views[0][plane], views[1][plane])
    result = CCDData(ccd.data, unit=ccd.unit, meta=ccd.meta, wcs=ccd.wcs, uncertainty=ccd.uncertainty, flags=ccd.flags,
                     mask=found if ccd.mask is None else found | ccd.mask)
    n_masked = int((found & ~bad).sum())
    if n_masked > _TOO_MANY * (~bad).sum():
        warn_user(f'{n_masked / (~bad).sum():.1%} of the pixels are masked as cosmic rays: stars of a pixel '
                  'or two in width are mistaken for them. Look at the mask, or leave the option out (--cosmic-rays)')
    return result, n_masked


def _find(data, bad):
    """Find cosmic rays in a plane."""
    if bad.all():
        return np.zeros(data.shape, dtype=bool)
    from ccdproc import cosmicray_lacosmic
    try:
        noise = estimate_noise(data, bad, correlated=False)
    except CannotDenoiseError:   # which denoise() will say
        return np.zeros(data.shape, dtype=bool)
    level = np.median(data[~bad])
    filled = np.where(bad, level, data)
    variance = np.broadcast_to(noise.variance(median_filter(filled, _MEDIAN)), data.shape)
    # In units of the noise: float32 has no squares of fluxes of 1e-19.
    sigma = float(np.sqrt(np.median(variance)))
    if not sigma > 0:
        return np.zeros(data.shape, dtype=bool)
    image = CCDData(((filled - level) / sigma).astype(np.float32), unit=u.electron, mask=bad)
    result = cosmicray_lacosmic(image, invar=(variance / sigma ** 2).astype(np.float32), satlevel=np.inf,
                                gain=1 * u.dimensionless_unscaled, readnoise=0 * u.electron)
    return result.mask & ~bad
