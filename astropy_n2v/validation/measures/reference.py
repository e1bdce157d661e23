# Licensed under a 3-clause BSD style license - see LICENSE
"""
References from the sky: a deeper image, or other exposures, aligned and on one scale.
"""

from dataclasses import dataclass

import numpy as np
from astropy.nddata import CCDData, NDData
from astropy.wcs.utils import proj_plane_pixel_area
from scipy.ndimage import convolve

from ...photometry.inputs import as_image
from ...utils.blocks import as_blocks
from ...utils.checks import require
from .inputs import as_images
from .statistics import robust_scatter

__all__ = ['LinearScale', 'align_reference', 'fit_scale']

_CELL = 4   # pixels; the scale is fitted to means over cells of this size


@dataclass(frozen=True)
class LinearScale:
    """
    The linear relation between a reference and a frame: frame = slope * reference + offset.

    Parameters
    ----------
    slope, slope_err : float
        Ratio of the flux scales and its standard error.
    offset, offset_err : float
        In the unit of the frame.
    n : int
        Number of cells that it rests on.

    Examples
    --------
    >>> from astropy_n2v.validation import LinearScale
    >>> LinearScale(2.0, 0.1, 1.0, 0.1, 100).apply([[1.0]])
    array([[3.]])
    """

    slope: float
    slope_err: float
    offset: float
    offset_err: float
    n: int

    def apply(self, reference):
        """
        Put a reference on the scale of the frame.

        Parameters
        ----------
        reference : `~astropy.nddata.CCDData` or array_like
            An image.

        Returns
        -------
        `~astropy.nddata.CCDData` or `~numpy.ndarray`
            A copy, uncertainty included.
        """
        if not isinstance(reference, NDData):
            return self.slope * np.asarray(reference, dtype=float) + self.offset
        result = reference.multiply(self.slope, handle_meta='first_found')
        return CCDData(result.data + self.offset, unit=getattr(result, 'unit', None) or '', wcs=reference.wcs,
                       mask=reference.mask, meta=reference.meta, uncertainty=result.uncertainty)


def align_reference(reference, frame, *, pixel_values='flux', method='exact', min_coverage=0.99):
    """
    Resample a reference to the grid of a frame.

    Parameters
    ----------
    reference, frame : `~astropy.nddata.CCDData`
        Images with celestial WCS.
    pixel_values : {'flux', 'surface_brightness'}, optional
        Kind of the values of the reference: flux per pixel (counts, electrons, nanomaggies), which is scaled
        by the ratio of the pixel areas so that sources keep their flux, or surface brightness
        (per solid angle), which stays.
    method : {'exact', 'adaptive', 'interp'}, optional
        `reproject.reproject_exact` (areas of overlap), `reproject.reproject_adaptive` (Gaussian
        kernel that conserves flux) or `reproject.reproject_interp` (bilinear; the fastest, the worst
        for undersampled images).
    min_coverage : float, optional
        Pixels with less of their area covered by the reference are masked.

    Returns
    -------
    `~astropy.nddata.CCDData`
        On the grid of ``frame``, masked where there is no reference. It has no uncertainty: resampling
        correlates the noise of neighbouring pixels, and no single number per pixel says how.

    Raises
    ------
    ValueError
        If an image has no WCS, they do not overlap, or a parameter is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.nddata import CCDData
    >>> from astropy.wcs import WCS
    >>> from astropy_n2v.validation import align_reference
    >>> wcs = WCS(naxis=2)
    >>> wcs.wcs.ctype, wcs.wcs.crpix, wcs.wcs.cdelt = ['RA---TAN', 'DEC--TAN'], [8, 8], [-1e-4, 1e-4]
    >>> deep = CCDData(np.ones((16, 16)), unit='adu', wcs=wcs)
    >>> float(align_reference(deep, deep).data[8, 8].round(6))
    1.0
    """
    import reproject
    methods = {'exact': reproject.reproject_exact, 'adaptive': reproject.reproject_adaptive,
               'interp': reproject.reproject_interp}
    require(method in methods, 'method', f'be one of {", ".join(map(repr, methods))}', method)
    if pixel_values not in ('flux', 'surface_brightness'):
        raise ValueError(f"pixel_values must be 'flux' or 'surface_brightness', got {pixel_values!r}")
    require(0 < min_coverage <= 1, 'min_coverage', 'be in (0, 1]', min_coverage)
    for name, image in ('reference', reference), ('frame', frame):
        if getattr(image, 'wcs', None) is None or not image.wcs.has_celestial:
            raise ValueError(f'{name} must have a celestial WCS, got {getattr(image, "wcs", None)}')
    values, unit = as_image('reference', reference)
    factor = 1.0
    if pixel_values == 'flux':
        factor = proj_plane_pixel_area(frame.wcs.celestial) / proj_plane_pixel_area(reference.wcs.celestial)
    options = {'boundary_mode': 'ignore', 'bad_value_mode': 'strict'} if method == 'adaptive' else {}
    data, footprint = methods[method]((values, reference.wcs.celestial), frame.wcs.celestial, shape_out=frame.shape,
                                      **options)
    bad = ~(np.isfinite(data) & (footprint >= min_coverage))
    if bad.all():
        raise ValueError('reference must overlap with frame, but covers no pixel of it')
    return CCDData(np.where(bad, np.nan, data * factor), unit=unit or '', mask=bad, wcs=frame.wcs,
                   meta={'pixel_values': pixel_values, 'method': method, 'area_ratio': float(factor)})


def _surroundings(cells):
    """Average the eight cells around each; NaN at the border and next to invalid ones."""
    return convolve(cells, (np.ones((3, 3)) - np.outer([0, 1, 0], [0, 1, 0])) / 8, mode='constant', cval=np.nan)


def fit_scale(reference, frame, *, second=None, fit_slope=True, mask=None):
    """
    Fit the flux scale and the offset between a reference and a frame on one grid.

    Parameters
    ----------
    reference, frame : `~astropy.nddata.CCDData` or array_like
        Images of one shape.
    second : array_like, optional
        Another reference with independent noise.
    fit_slope : bool, optional
        Whether to fit the slope, or the offset only.
    mask : array_like of bool, optional
        True where pixels do not count.

    Returns
    -------
    LinearScale
        So that ``frame = slope * reference + offset``.

    Raises
    ------
    ValueError
        If shapes do not agree, or too few pixels are valid.

    Notes
    -----
    A least-squares slope is too small if the reference has noise. This one is the estimate with an instrumental
    variable (Wald 1940, Annals of Mathematical Statistics 11, 284): cov(frame, z) / cov(reference, z), where z is the
    brightness of ``second`` or else of the surroundings of each cell of 4x4 pixels, whose noise is
    independent of both. Cells are weighted by the scatter at their brightness, outliers left out.

    Examples
    --------
    >>> from astropy_n2v.simulate import make_scene
    >>> from astropy_n2v.validation import fit_scale
    >>> scene = make_scene('crowded', (96, 96), seed=1)
    >>> scale = fit_scale(scene.observe(seed=2), 2 * scene.truth + 30)
    >>> bool(abs(scale.slope - 2) < 4 * scale.slope_err)
    True
    """
    (x, y, z), _ = as_images(mask, reference=reference, frame=frame, second=second)
    require(min(x.shape) >= 3 * _CELL, 'reference', f'be at least {3 * _CELL} pixels wide', x.shape)
    x, y, z = (None if image is None else as_blocks(image, _CELL).mean(axis=(-3, -1)) for image in (x, y, z))
    z = _surroundings(x) if z is None else z
    good = np.isfinite(x) & np.isfinite(y) & np.isfinite(z)
    require(good.sum() >= 16, 'reference and frame',
            f'share at least 16 cells of {_CELL}x{_CELL} valid pixels', good.sum())
    x, y, z = x[good], y[good], z[good]
    order = np.argsort(z)
    x, y, z = x[order], y[order], z[order]
    keep, slope = np.ones(x.size, dtype=bool), 1.0
    if fit_slope:
        slope = robust_scatter(y) / max(robust_scatter(x), 1e-300)
    for _ in range(10):
        residual = y - slope * x
        # The scatter at similar brightness, which photon noise makes larger for brighter cells.
        parts = np.array_split(np.arange(x.size), max(1, min(12, x.size // 40)))
        spread = np.concatenate([np.full(part.size, robust_scatter(residual[part])) for part in parts])
        spread = np.maximum(spread, 1e-9 * max(np.abs(y).max(), 1e-300))
        offset = np.sum((residual / spread ** 2)[keep]) / np.sum(spread[keep] ** -2.0)
        weight = keep / spread ** 2
        dz = z - np.sum(weight * z) / weight.sum()
        if fit_slope:
            slope = np.sum(weight * dz * y) / np.sum(weight * dz * x)
        residual = y - slope * x - offset
        # Clip on the median of each part: bright sources that vary, not all of the bright end.
        centre = np.concatenate([np.full(part.size, np.median(residual[part])) for part in parts])
        keep = np.abs(residual - centre) < 4 * spread
    weight = keep / spread ** 2
    offset = np.sum(weight * (y - slope * x)) / weight.sum()
    residual = y - slope * x - offset
    scale = abs(np.sum(weight * dz * x))
    slope_err = np.sqrt(np.sum((weight * dz * residual) ** 2)) / scale if fit_slope else 0.0
    offset_err = np.hypot(np.sqrt(np.sum((weight * residual) ** 2)) / weight.sum(),
                          slope_err * np.sum(weight * x) / weight.sum())
    return LinearScale(float(slope), float(slope_err), float(offset), float(offset_err), int(keep.sum()))
