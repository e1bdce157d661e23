# Licensed under a 3-clause BSD style license - see LICENSE
"""
Denoisers with known faults, frames to find them on, and the table that says which test must find which.
"""

import numpy as np
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.table import Table
from scipy.ndimage import binary_dilation, gaussian_filter, label, maximum, median_filter, shift
from scipy.signal import fftconvolve

from astropy_n2v import NoiseModel
from astropy_n2v.simulate import make_psf
from astropy_n2v.validation import render_sources

SKY, READNOISE = 200.0, 5.0   # electrons
NOISE = NoiseModel(READNOISE, gain=1.0)
SIGMA = float(np.sqrt(NOISE.variance(SKY)))
PSF = make_psf(3.0, kind='gaussian', half_size=12)
ERROR = 0.2   # of the ideal denoiser, in sigma of the sky

_BLUR = ('flux_bright', 'flux_moderate', 'growth', 'fwhm', 'residual_sources', 'residual_variance', 'residual_white',
         'uncertainty_sources', 'noise_worst', 'removed')

#: The tests that each denoiser must fail; it must fail no other.
FAULTS = {
    'ideal': (),
    # Its single pixels are as noisy as ever, so that detection on them stays behind the matched filter.
    'identity': ('noise_reduction', 'depth'),
    # As wide as the PSF it is the matched filter: no depth is lost. Light that leaves the cores arrives around them,
    # as invented flux.
    'gaussian_blur': (*_BLUR, 'flux_faint', 'invented'),
    # It cuts cores off: a fifth of the flux even of faint stars.
    'median': (*_BLUR, 'flux_faint', 'depth'),
    'bright_gain': ('flux_bright', 'residual_sources', 'uncertainty_sources'),
    # Stars below 5 sigma that noise lifted above it are seen to be missing.
    'removes_faint': ('flux_faint', 'depth', 'removed'),
    # The threshold that keeps detections pure has to be above what is invented.
    'invents': ('invented', 'depth'),
    # A pair of light and shadow at each bright star.
    'shifts': ('centroid', 'residual_variance', 'uncertainty_sources', 'noise_worst', 'invented', 'removed'),
    'sky_offset': ('sky_offset',),
    'half_uncertainty': ('uncertainty_sky', 'uncertainty_sources'),
}


def star_flux(snr):
    """Flux of a star that the matched filter sees at a signal-to-noise ratio, in electrons."""
    return snr * SIGMA / np.sqrt(np.sum(PSF ** 2))


class Lab:
    """
    Frames of known truth and noise, and denoisers of them.

    The ideal denoiser knows the noise that was drawn, so that it serves frames with injected sources as well.

    Parameters
    ----------
    size : int
        Height and width of frames.
    n_fields, n_sparse : int
        Frames with stars of all brightness, and frames that leave room for injections.
    """

    def __init__(self, size=384, n_fields=2, n_sparse=2, seed=1):
        self.frames, self.truths, self.noises, self.invented = [], [], [], []
        for i in range(n_fields + n_sparse):
            rng = np.random.default_rng((seed, i))
            truth, midpoints = self._draw(rng, size, i < n_fields)
            data = rng.poisson(truth) + rng.normal(0, READNOISE, truth.shape)
            self.truths.append(truth)
            self.noises.append(data - truth)
            self.invented.append(midpoints)
            self.frames.append(CCDData(data, unit='electron', meta={'FRAME': i},
                                       uncertainty=StdDevUncertainty(np.sqrt(NOISE.variance(truth)))))

    @staticmethod
    def _draw(rng, size, crowded, spacing=24):
        """Stars on a jittered grid, and places between them."""
        axis = np.arange(spacing, size - spacing + 1, spacing)
        y, x = (grid.ravel() for grid in np.meshgrid(axis, axis, indexing='ij'))
        # So many that the threshold of pure detections has to be above them beyond doubt.
        between = np.stack([x, y], axis=1)[rng.permutation(x.size)[:12]] + spacing / 2 - 0.3
        if not crowded:
            x, y = x[:2], y[:2]
        snr = np.exp(rng.uniform(np.log(2.5), np.log(600), x.size))
        stars = star_table(x + rng.uniform(-2, 2, x.size), y + rng.uniform(-2, 2, y.size), star_flux(snr))
        return SKY + render_sources(stars, (size, size), PSF), between

    def clean(self, ccd):
        """Remove the noise of a frame; the photon noise of sources that were injected later stays."""
        noise = self.noises[ccd.meta['FRAME']]
        data = np.asarray(ccd.data, dtype=float)
        # A frame upside down has its noise upside down.
        upright = np.sum((data - np.median(data)) * noise * (np.abs(noise) < 5 * SIGMA)) > 0
        return data - noise if upright else data + noise

    def finish(self, ccd, clean, error=ERROR, stated=1.0):
        """Make a result with white errors, and state them."""
        rng = np.random.default_rng(abs(int(1e6 * float(np.sum(ccd.data)))) % 2 ** 32)
        result = ccd.copy()
        result.data = clean + rng.normal(0, error * SIGMA, clean.shape)
        result.uncertainty = StdDevUncertainty(np.full(clean.shape, stated * error * SIGMA))
        return result

    def ideal(self, ccd):
        return self.finish(ccd, self.clean(ccd))

    @staticmethod
    def identity(ccd):
        return ccd.copy()

    @staticmethod
    def _filtered(ccd, data, factor):
        result = ccd.copy()
        result.data = data
        result.uncertainty = StdDevUncertainty(np.full(data.shape, factor * SIGMA))
        return result

    def gaussian_blur(self, ccd, width=1.27):
        return self._filtered(ccd, gaussian_filter(np.asarray(ccd.data, dtype=float), width),
                              1 / (2 * np.sqrt(np.pi) * width))

    def median(self, ccd):
        return self._filtered(ccd, median_filter(np.asarray(ccd.data, dtype=float), 3), 0.408)

    def bright_gain(self, ccd):
        """Adds 1 % to stars of 40 sigma and more."""
        clean = self.clean(ccd)
        bright = binary_dilation(clean - SKY > star_flux(40) * PSF.max(), iterations=7)
        return self.finish(ccd, clean + 0.01 * np.where(bright, clean - SKY, 0))

    def removes_faint(self, ccd):
        """Removes what the matched filter sees below 5 sigma."""
        clean = self.clean(ccd)
        significance = fftconvolve(clean - SKY, PSF, mode='same') / np.sqrt(np.sum(PSF ** 2)) / SIGMA
        islands, n = label(significance > 0.3)
        height = maximum(significance, islands, np.arange(1, n + 1))
        faint = np.append(False, np.asarray(height) < 5)[islands]
        return self.finish(ccd, np.where(binary_dilation(faint, iterations=2), SKY, clean))

    def invents(self, ccd):
        """Adds stars of 10 sigma where there is nothing."""
        places = self.invented[ccd.meta['FRAME']]
        stars = star_table(*places.T, np.full(len(places), star_flux(10)))
        return self.finish(ccd, self.clean(ccd) + render_sources(stars, ccd.shape, PSF))

    def shifts(self, ccd):
        return self.finish(ccd, shift(self.clean(ccd), (0, 0.1), mode='nearest'))

    def sky_offset(self, ccd):
        return self.finish(ccd, self.clean(ccd) + 0.05 * SIGMA)

    def half_uncertainty(self, ccd):
        return self.finish(ccd, self.clean(ccd), stated=0.5)


def star_table(x, y, flux):
    """Stars as the functions that draw and inject make them."""
    n = len(x)
    return Table({'id': np.arange(1, n + 1), 'kind': np.full(n, 'star'), 'x': x, 'y': y, 'flux': flux,
                  'r_eff': np.zeros(n), 'sersic_n': np.zeros(n), 'ellipticity': np.zeros(n), 'theta': np.zeros(n)})
