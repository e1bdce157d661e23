# Licensed under a 3-clause BSD style license - see LICENSE
"""
The fine grid that collects sources before the convolution with the point-spread function.
"""

import numpy as np
from astropy.table import Table
from scipy.fft import ifft, irfft, next_fast_len, rfft2
from scipy.signal import fftconvolve

from ..utils.blocks import as_blocks
from .galaxies import draw_galaxy, visible_radius
from .psf import make_psf

_MARGIN = 24   # pixels: width of the border in which sources are drawn, too, since their light reaches the frame


class Canvas:
    """
    A field that collects sources before the convolution with the point-spread function.

    Stars and small galaxies are drawn on a grid finer than the pixels, and diffuse light on the pixels
    themselves.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the frame in pixels.
    fwhm : float
        Width of the point-spread function, on which the sampling of the grid depends.
    """

    def __init__(self, shape, fwhm):
        self.shape = shape
        self.fwhm = fwhm
        self.oversampling = 5 if fwhm < 1.5 else 3 if fwhm < 4 else 2
        self.fine = np.zeros([(n + 2 * _MARGIN) * self.oversampling for n in shape])
        self.coarse = None
        self._rows = []

    @property
    def area(self):
        """Area in pixels in which sources are drawn."""
        return np.prod([n + 2 * _MARGIN for n in self.shape])

    def random_positions(self, rng, n):
        """Draw ``n`` positions x, y in the frame and its margin."""
        y = rng.uniform(-_MARGIN, self.shape[0] - 1 + _MARGIN, n)
        x = rng.uniform(-_MARGIN, self.shape[1] - 1 + _MARGIN, n)
        return x, y

    def add_stars(self, x, y, flux):
        """Add point sources, catalogued."""
        self._add_points(x, y, flux)
        self._record('star', x, y, flux)

    def _add_points(self, x, y, flux):
        fx, fy = self._fine(x), self._fine(y)
        ix, iy = np.floor(fx).astype(int), np.floor(fy).astype(int)
        for dy in (0, 1):
            for dx in (0, 1):
                weight = np.abs(1 - dx - (fx - ix)) * np.abs(1 - dy - (fy - iy))
                inside = ((0 <= ix + dx) & (ix + dx < self.fine.shape[1]) & (0 <= iy + dy)
                          & (iy + dy < self.fine.shape[0]))
                np.add.at(self.fine, (iy[inside] + dy, ix[inside] + dx), (flux * weight)[inside])

    def add_galaxy(self, x, y, flux, r_eff, components, *, limit=None, **structure):
        """
        Add a galaxy of one or more Sersic components, catalogued as one source.

        ``components`` are tuples (fraction of the flux, ratio of ``r_eff`` to its half-light radius, n, ellipticity,
        theta); ``structure`` applies to the first component (see `make_galaxy`). Without ``limit`` they extend to 8
        half-light radii, with it to the radius where they are fainter than ``limit``.
        """
        for fraction, shrink, n, ellipticity, theta in components:
            self._add_sersic(x, y, fraction * flux, r_eff / shrink, n, ellipticity, theta, limit, **structure)
            structure = {}
        total = sum(component[0] for component in components)
        self._record('galaxy', [x], [y], [flux if np.isclose(total, 1, rtol=1e-9) else flux * total])

    def _add_sersic(self, x, y, flux, r_eff, n, ellipticity, theta, limit, **structure):
        broad = limit is not None and r_eff > 4
        step = 1 if broad else self.oversampling
        if limit is None:
            half = int(min(8 * r_eff, 80) * step) + 1
        else:
            radius = r_eff * visible_radius(flux, r_eff, n, limit)
            half = int(np.clip(radius, 2.5 * r_eff, max(self.shape)) * step) + 2
        cx, cy = (float((np.asarray(position) + _MARGIN + 0.5) * step - 0.5) for position in (x, y))
        ix, iy = int(round(cx)), int(round(cy))
        stamp = draw_galaxy(r_eff * step, n, ellipticity, theta, (cx - ix, cy - iy), half,
                            1 if limit is None else 5, **structure)
        if broad and self.coarse is None:
            self.coarse = np.zeros([size + 2 * _MARGIN for size in self.shape])
        paste(self.coarse if broad else self.fine, stamp, iy, ix, flux / stamp.sum())

    def add_faint_galaxies(self, x, y, flux, templates):
        """Add galaxies that are copies of a few stamps on the fine grid, catalogued."""
        fx, fy = np.round(self._fine(x)).astype(int), np.round(self._fine(y)).astype(int)
        for i in range(len(flux)):
            paste(self.fine, templates[i % len(templates)], fy[i], fx[i], flux[i])
        self._record('galaxy', x, y, flux)

    def add_diffuse(self, image):
        """Add light of the frame that varies slowly from pixel to pixel."""
        if self.coarse is None:
            self.coarse = np.zeros([n + 2 * _MARGIN for n in self.shape])
        self.coarse += np.pad(image, _MARGIN, mode='reflect' if min(image.shape) > _MARGIN else 'edge')

    def _fine(self, position):
        return (np.asarray(position) + _MARGIN + 0.5) * self.oversampling - 0.5

    def _record(self, kind, x, y, flux):
        self._rows.append((np.full(len(x), kind, dtype='U6'), *(np.asarray(c, dtype=float) for c in (x, y, flux))))

    def catalog(self):
        """List the sources in the frame, brightest first."""
        columns = zip(*self._rows) if self._rows else ([], [], [], [])
        types = ('U6', float, float, float)
        kind, x, y, flux = (np.concatenate([np.empty(0, t), *c]) for c, t in zip(columns, types))
        inside = (x > -0.5) & (x < self.shape[1] - 0.5) & (y > -0.5) & (y < self.shape[0] - 0.5)
        order = np.flatnonzero(inside)[np.argsort(flux[inside])[::-1]]
        table = Table([kind[order], x[order], y[order], flux[order]], names=('kind', 'x', 'y', 'flux'))
        table['flux'].unit = 'electron'
        return table

    def render(self, *, psfs, fast=True):
        """
        Convolve the field, bin it to pixels and cut out the frame.

        Parameters
        ----------
        psfs : list of dict
            Keywords of `make_psf`, for one point-spread function, or for the point-spread functions of the left
            and of the right edge of the frame, between which it varies linearly.
        fast : bool, optional
            If true, use the fast method, which has different rounding errors. Scenes of the slow method stay
            reproducible to the last bit.

        Returns
        -------
        image : `~numpy.ndarray`
            The frame without sky.
        stamps : list of `~numpy.ndarray`
            The point-spread functions on pixels.
        """
        step = self.oversampling
        image, stamps = 0, []
        for i, psf in enumerate(psfs):
            kernel = make_psf(oversampling=step, **psf)
            stamps.append(_bin_kernel(kernel, step))
            fine, coarse = self.fine, self.coarse
            if len(psfs) > 1:
                fine, coarse = (plane if plane is None else plane * self._weight(plane.shape[1], i)
                                for plane in (fine, coarse))
            if fast:
                image = image + _convolve_and_bin(fine, kernel, step)
            else:
                image = image + _bin(fftconvolve(fine, kernel, mode='same'), step)
            if coarse is not None:
                image = image + fftconvolve(coarse, stamps[-1], mode='same')
        image = np.maximum(image[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN], 0)
        return image, stamps

    def _weight(self, size, i):
        """Return the weight of the left (0) or right (1) point-spread function in each column of a plane."""
        step = size // (self.shape[1] + 2 * _MARGIN)
        x = (np.arange(size) + 0.5) / step - 0.5 - _MARGIN
        right = np.clip(x / max(self.shape[1] - 1, 1), 0, 1)
        return right if i else 1 - right


def paste(plane, stamp, iy, ix, flux):
    """Add ``flux`` times a stamp, centred on [iy, ix], to the part of it that lies in a plane."""
    hy, hx = stamp.shape[0] // 2, stamp.shape[1] // 2
    y0, x0 = iy - hy, ix - hx
    ys = slice(max(y0, 0), min(y0 + stamp.shape[0], plane.shape[0]))
    xs = slice(max(x0, 0), min(x0 + stamp.shape[1], plane.shape[1]))
    if ys.start < ys.stop and xs.start < xs.stop:
        plane[ys, xs] += flux * stamp[ys.start - y0:ys.stop - y0, xs.start - x0:xs.stop - x0]


def _bin(image, step):
    return as_blocks(image, step).sum(axis=(-3, -1))


def _convolve_and_bin(fine, kernel, step):
    """
    Compute ``_bin(fftconvolve(fine, kernel, mode='same'), step)`` inside the margin.

    The padding is just sufficient to keep the frame free of light that wraps around, and rows are binned before
    the inverse transform.
    """
    half = kernel.shape[0] // 2
    padded = [step * next_fast_len(-(-(n + max(half - _MARGIN * step, 0)) // step), real=True) for n in fine.shape]
    padded = [max(n, step * -(-kernel.shape[0] // step)) for n in padded]
    rolled = np.zeros(padded)
    rolled[:kernel.shape[0], :kernel.shape[1]] = kernel
    spectrum = rfft2(fine, s=padded)
    spectrum *= rfft2(np.roll(rolled, (-half, -half), axis=(0, 1)))
    frequency = np.arange(padded[0])[:, None] / padded[0]
    spectrum *= sum(np.exp(2j * np.pi * frequency * j) for j in range(step)) / step
    # Sampling every step-th row folds the spectrum.
    spectrum = spectrum.reshape(step, padded[0] // step, -1).sum(axis=0)
    rows = irfft(ifft(spectrum, axis=0), n=padded[1], axis=1)
    image = rows.reshape(rows.shape[0], -1, step).sum(axis=2)
    return image[:fine.shape[0] // step, :fine.shape[1] // step]


def _bin_kernel(kernel, step):
    """Bin the kernel to pixels like the image, around its central sample; sum 1."""
    half = (kernel.shape[0] - 1) // (2 * step)
    size = (2 * half - 1) * step
    # For an even number of samples per pixel, average the two binnings that are nearly centred.
    pads = {(step - 1) // 2, step // 2}
    parts = [kernel[step - i:step - i + size, step - j:step - j + size] for i in pads for j in pads]
    stamp = _bin(sum(parts), step)
    return stamp / stamp.sum()
