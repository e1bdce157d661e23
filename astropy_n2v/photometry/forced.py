# Licensed under a 3-clause BSD style license - see LICENSE
"""
Forced photometry: the same positions, apertures and weights on any image.

A flux here is a linear function of the pixels, the same for every image on a grid. So the flux of the
truth is exactly what the flux of the noisy image is on average, neighbours and all.
"""

import numpy as np
from astropy.table import Table
from photutils.aperture import CircularAnnulus, CircularAperture
from scipy.sparse import csr_array
from scipy.spatial import cKDTree

from ..utils.checks import require
from .inputs import as_image, as_positions, noise_sigma, set_units
from .psf import psf_model

__all__ = ['FluxOperator', 'forced_photometry', 'psf_fwhm']


def psf_fwhm(psf):
    """
    Measure the full width at half maximum of a point-spread function.

    Parameters
    ----------
    psf : PSF, array_like or `~astropy.modeling.Fittable2DModel`
        Anything that `PSF.from_any` takes, such as the image of a star with the peak in the centre.

    Returns
    -------
    float
        In pixels: the diameter of the circle with the area above half of the maximum.

    Raises
    ------
    TypeError, ValueError
        If it is no image of odd size with a positive sum, and none of the others.

    Examples
    --------
    >>> from astropy_n2v.simulate import make_psf
    >>> from astropy_n2v.photometry import psf_fwhm
    >>> round(psf_fwhm(make_psf(3.0, half_size=12)), 1)
    3.0
    """
    return psf_model(psf)[1]


def _check_fits(psf, fwhm, shape):
    """Raise ValueError if the image of a star is larger than images: its far wings may be, its core may not."""
    if np.ndim(psf) == 2 and any(min(size, 4 * fwhm) > n for size, n in zip(np.shape(psf), shape)):
        raise ValueError(f'psf must not be larger than the image, {tuple(shape)}, got {np.shape(psf)} with a FWHM of '
                         f'{fwhm:.3g} pixels')


class FluxOperator:
    """
    Forced photometry at fixed positions as a linear operator on images of one shape.

    Parameters
    ----------
    shape : tuple of int
        Of the images.
    positions : `~astropy.table.Table` or array_like
        Columns x and y, or shape (n, 2) with x, y; 0 is the centre of the first pixel.
    method : {'aperture', 'psf'}, optional
        Sums in circles, or weighted fits of the point-spread function, neighbours fitted along.
    radius : float, optional
        Of the circle, or of the pixels fitted; by default 1 or 1.5 FWHM of ``psf``.
    psf : array_like or `~astropy.modeling.Fittable2DModel`, optional
        Image of a point source (sum 1, centred), or a model such as in `photutils.psf`.
    annulus : tuple of float, 'auto' or None, optional
        Inner and outer radius of the ring whose mean is the local background; pixels near other
        positions are left out. None subtracts none.
    weights : `~numpy.ndarray`, optional
        Inverse variances for fits, of ``shape``.
    valid : `~numpy.ndarray` of bool, optional
        False where pixels do not count.

    Raises
    ------
    ValueError
        If a parameter is out of its range, or ``psf`` is larger than the images.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.photometry import FluxOperator
    >>> operator = FluxOperator((21, 21), [(10, 10)], radius=3)
    >>> operator.flux(np.ones((21, 21))).round(6)
    array([0.])
    """

    def __init__(self, shape, positions, *, method='aperture', radius=None, psf=None, annulus='auto', weights=None,
                 valid=None):
        require(method in ('aperture', 'psf'), 'method', "be 'aperture' or 'psf'", method)
        if method == 'psf' and psf is None:
            raise ValueError("psf must be given for method 'psf', got None")
        self.shape, self.method = tuple(shape), method
        self.x, self.y = as_positions(positions)
        self.valid = np.ones(shape, dtype=bool) if valid is None else valid
        model, fwhm = (None, None) if psf is None else psf_model(psf)
        if psf is not None:
            _check_fits(psf, fwhm, shape)
        if radius is None:
            if fwhm is None:
                raise ValueError('radius or psf must be given, got neither')
            radius = fwhm * (1.0 if method == 'aperture' else 1.5)
        if not (np.ndim(radius) == 0 and np.isfinite(radius) and radius > 0):
            raise ValueError(f'radius must be a positive number of pixels, got {radius}')
        self.radius = float(radius)
        self.annulus = self._check_annulus(annulus)
        masks = CircularAperture(np.stack([self.x, self.y], axis=-1), self.radius).to_mask(method='exact')
        if method == 'aperture':
            rows = [self._overlap(mask) for mask in masks]
        else:
            rows = self._fit_rows(model, np.ones(shape) if weights is None else weights)
        self.flag = np.array([(1 if beyond else 0) for _, _, beyond in rows])
        blind = np.array([not self.valid.ravel()[index].all() for index, _, _ in rows])
        self.flag |= np.where(blind, 2, 0)
        self._sum = self._matrix([(index, weight) for index, weight, _ in rows])
        self.area = np.array([weight.sum() for _, weight, _ in rows])   # response to a constant
        self._ring = self._background_rows(masks)
        self._total = self._sum if self._ring is None else csr_array(
            self._sum - csr_array((self.area, (np.arange(len(self.x)),) * 2)) @ self._ring)

    def _check_annulus(self, annulus):
        """Find the radii of the ring of the background; raise ValueError if they are no such radii."""
        if annulus is None:
            return None
        if isinstance(annulus, str) and annulus == 'auto':
            annulus = (1.5 * self.radius + 2, 2.5 * self.radius + 5)
        inner, outer = (float(r) for r in annulus)
        require(0 < inner < outer, 'annulus', 'be an inner and a larger outer radius', annulus)
        return inner, outer

    def _overlap(self, mask):
        """Flat indices and weights of the pixels of a mask, and whether it goes beyond the edge."""
        large, small = mask.get_overlap_slices(self.shape)
        if large is None:
            return np.zeros(0, dtype=int), np.zeros(0), True
        weight = mask.data[small]
        y, x = np.nonzero(weight)
        beyond = weight.sum() < 0.999 * mask.data.sum()
        return (y + large[0].start) * self.shape[1] + x + large[1].start, weight[y, x], beyond

    def _fit_rows(self, model, weights):
        """For each source the pixels and their weights in its fitted flux."""
        xy = np.stack([self.x, self.y], axis=-1)
        neighbours = cKDTree(xy).query_ball_point(xy, 2 * self.radius)
        circles = CircularAperture(xy, self.radius).to_mask(method='center')
        usable = self.valid & np.isfinite(weights) & (weights > 0)
        rows = []
        for i, circle in enumerate(circles):
            index, _, beyond = self._overlap(circle)
            inside = index[usable.ravel()[index]]
            y, x = np.divmod(inside, self.shape[1])
            others = [i] + [j for j in neighbours[i] if j != i]
            templates = np.stack([model(x - self.x[j], y - self.y[j]) for j in others], axis=-1)
            root = np.sqrt(weights.ravel()[inside])[:, None]
            if inside.size <= len(others):
                rows.append((index, np.full(index.size, np.nan), beyond))
                continue
            # A neighbour that is not seen in these pixels must not make the fit degenerate.
            inverse = np.linalg.pinv(templates * root, rcond=1e-4)
            rows.append((inside, inverse[0] * root[:, 0], beyond))
        return rows

    def _background_rows(self, masks):
        """Find pixels and weights of the local background of each source."""
        if self.annulus is None:
            return None
        xy = np.stack([self.x, self.y], axis=-1)
        sources = np.zeros(self.shape, dtype=bool)
        for mask in masks:
            large, small = mask.get_overlap_slices(self.shape)
            if large is not None:
                sources[large] |= mask.data[small] > 0
        clear = (self.valid & ~sources).ravel()
        rows = []
        for i, ring in enumerate(CircularAnnulus(xy, *self.annulus).to_mask(method='center')):
            index, _, _ = self._overlap(ring)
            inside = index[clear[index]]
            if inside.size < 8:
                # Crowded: better a ring with neighbours than none.
                inside = index[self.valid.ravel()[index]]
            if inside.size < 8:
                self.flag[i] |= 4
            rows.append((inside, np.full(inside.size, 1 / max(inside.size, 1))))
        return self._matrix(rows)

    def _matrix(self, rows):
        """A sparse matrix of pixels and weights."""
        indptr = np.concatenate([[0], np.cumsum([index.size for index, _ in rows])])
        return csr_array((np.concatenate([weight for _, weight in rows]),
                          np.concatenate([index for index, _ in rows]), indptr),
                         shape=(len(rows), int(np.prod(self.shape))))

    def flux(self, image):
        """
        Sum the fluxes on an image.

        Parameters
        ----------
        image : `~numpy.ndarray`
            Values of the given shape.

        Returns
        -------
        `~numpy.ndarray`
            Shape (n,); NaN where pixels beyond the edge or masked ones are involved.
        """
        return np.where(self.flag & 7, np.nan, self._total @ np.where(self.valid, image, 0).ravel())

    def background(self, image):
        """
        Measure the local background of each position on an image.

        Parameters
        ----------
        image : `~numpy.ndarray`
            Values of the given shape.

        Returns
        -------
        `~numpy.ndarray`
            Per pixel, shape (n,); 0 if none is subtracted, NaN where it is not known.
        """
        if self._ring is None:
            return np.zeros(len(self.x))
        return np.where(self.flag & 4, np.nan, self._ring @ np.where(self.valid, image, 0).ravel())

    def error(self, sigma):
        """
        Propagate independent errors of pixels to the fluxes.

        Parameters
        ----------
        sigma : `~numpy.ndarray`
            Standard deviation of each pixel, of the given shape.

        Returns
        -------
        `~numpy.ndarray`
            Standard deviations, shape (n,); NaN where the flux is.
        """
        return np.where(self.flag & 7, np.nan, self._propagate(self._total, sigma))

    def background_error(self, sigma):
        """
        Propagate independent errors of pixels to the local background.

        Parameters
        ----------
        sigma : `~numpy.ndarray`
            As for `error`.

        Returns
        -------
        `~numpy.ndarray`
            Standard deviation of the background of a pixel, shape (n,); 0 if none is subtracted.
        """
        return np.zeros(len(self.x)) if self._ring is None else self._propagate(self._ring, sigma)

    def _propagate(self, matrix, sigma):
        """Propagate independent errors of pixels through a matrix."""
        return np.sqrt(matrix.multiply(matrix) @ np.where(self.valid, sigma, 0).ravel() ** 2)


def forced_photometry(data, positions, *, method='aperture', radius=None, psf=None, annulus='auto', noise=None,
                      signal=None, mask=None):
    """
    Measure fluxes at given positions.

    Parameters
    ----------
    data : `~astropy.nddata.CCDData`, `~astropy.units.Quantity` or array_like
        Image of shape (ny, nx).
    positions : `~astropy.table.Table` or array_like
        Columns x and y, or shape (n, 2) with x, y; 0 is the centre of the first pixel.
    method : {'aperture', 'psf'}, optional
        Sums in circles, or weighted fits of the point-spread function at the fixed position,
        together with neighbours in ``positions``.
    radius : float, optional
        Of the circle, or of the pixels fitted; by default 1 or 1.5 FWHM of ``psf``.
    psf : array_like or `~astropy.modeling.Fittable2DModel`, optional
        Image of a point source (centred), or a model such as in `photutils.psf`.
    annulus : tuple of float, 'auto' or None, optional
        Inner and outer radius of the ring whose mean is the local background ('auto': 1.5 radii
        + 2 and 2.5 radii + 5 pixels), without what is near other positions; None: no background.
    noise : `~astropy_n2v.NoiseModel`, float or array_like, optional
        Noise of the data (standard deviation); by default their uncertainty, else measured.
    signal : array_like, optional
        Image from which a noise model takes the photon noise; by default the smoothed data.
    mask : array_like of bool, optional
        True where pixels do not count.

    Returns
    -------
    `~astropy.table.Table`
        Columns id, x, y, flux, flux_err (of independent pixels), background (per pixel),
        background_err and flag: 1 the circle goes beyond the edge, 2 it has masked pixels, 4 no
        local background. Where there is a flag, flux is NaN. Units are as in the data.

    Raises
    ------
    ValueError
        If there are no positions, or a parameter is out of its range, or ``psf`` is larger than
        the image.

    See Also
    --------
    astropy_n2v.validation.compare_fluxes : Before and after.

    Notes
    -----
    Apertures and models are from photutils. The error is sqrt(sum(w**2 sigma**2)) over all
    pixels involved, also in the ring.

    Examples
    --------
    >>> from astropy_n2v.simulate import make_scene
    >>> from astropy_n2v.photometry import forced_photometry
    >>> scene = make_scene('survey', (96, 96), seed=1)
    >>> fluxes = forced_photometry(scene.observe(seed=2), scene.catalog[:3], radius=4, noise=scene.noise)
    >>> fluxes['flux'].unit
    Unit("electron")
    """
    values, unit = as_image('data', data, mask)
    sigma = noise_sigma(noise, data, None if signal is None else as_image('signal', signal)[0], unit=unit)
    valid = np.isfinite(values) & np.isfinite(sigma)
    operator = FluxOperator(values.shape, positions, method=method, radius=radius, psf=psf, annulus=annulus,
                            weights=1 / sigma ** 2, valid=valid)
    table = Table({'id': np.arange(1, len(operator.x) + 1), 'x': operator.x, 'y': operator.y,
                   'flux': operator.flux(values), 'flux_err': operator.error(sigma),
                   'background': operator.background(values), 'background_err': operator.background_error(sigma),
                   'flag': operator.flag},
                  meta={'method': method, 'radius': operator.radius, 'annulus': operator.annulus})
    return set_units(table, unit, ('flux', 'flux_err', 'background', 'background_err'))


def fluxes_in_circles(images, positions, radii, annulus):
    """Measure fluxes of shape (radius, source) on each image; NaN where pixels are masked."""
    radii = np.asarray(radii, dtype=float)
    if radii.ndim != 1 or radii.size == 0 or not (radii > 0).all() or not (np.diff(radii) > 0).all():
        raise ValueError(f'radii must be positive and increase, got {radii}')
    valid = np.logical_and.reduce([np.isfinite(image) for image in images])
    largest = FluxOperator(valid.shape, positions, radius=radii[-1], annulus=annulus, valid=valid)
    operators = [FluxOperator(valid.shape, positions, radius=radius, annulus=largest.annulus, valid=valid)
                 for radius in radii[:-1]] + [largest]
    return [np.array([operator.flux(image) for operator in operators]) for image in images]
