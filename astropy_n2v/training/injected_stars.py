# Licensed under a 3-clause BSD style license - see LICENSE
"""
Photometry and depth of stars of known flux that are injected into noisy images, to judge networks by.

The likelihood of pixels hardly depends on stars: there is far more sky. A network that is better on the sky and loses
faint stars would be kept by it alone.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from astropy.nddata import CCDData, StdDevUncertainty
from scipy.ndimage import maximum_filter, minimum_filter

from ..denoiser import Denoiser
from ..inference.normalization import NormalizedImage
from ..photometry.psf import PSF
from ..photometry.star_fit import StarFit
from ..significance import detection_image
from ..utils.sampling import middle_cutout

__all__ = ['InjectedStars', 'StarFigures', 'compare_stars', 'estimate_fwhm']

# Height and width, in pixels, of the parts of images that get stars; in smaller ones they would be too few.
_LEAST_PART, _LARGEST_PART = 128, 256
_MOST_PARTS = 4   # from as many images, at equal distances
# Signal-to-noise ratios of the stars, evenly distributed in the logarithm: from hopeless to certain, as the mean
# completeness measures the depth.
_FAINTEST, _BRIGHTEST = 2.0, 50.0
_MEASURED = 5.0   # signal-to-noise ratio of the faintest stars whose flux counts
_FEWEST = 10   # stars in a part of an image: a share of fewer says nothing
_SPACING = 5.0   # FWHM between stars: neighbours do not overlap where they are measured
_EMPTY = 5.0   # signal-to-noise ratio below which a place counts as empty
_FALSE_SHARE = 0.05   # false detections at the threshold, of the number of stars
_APERTURE = 2.0   # FWHM: radius of the pixels in which a star is fitted together with its background
_WHOLE = 0.7   # least information on a star beside masked pixels, of what there is elsewhere
_SOFT = 0.05   # logarithm of the significance over which a detection becomes certain: one star more is no step then
_CLIPPED = 5.0   # errors of the flux count at most so many standard errors: cosmic rays hit stars
_PEAKS = 200   # brightest peaks whose width is measured
_PEAK = 20.0   # units of the noise: least height of these peaks
_KNOWN = 5   # least number of them
_FWHM = 3.0   # pixels, where there are fewer
_SAMPLES = 200   # bootstrap samples of an interval
_INTERVAL = 2.5, 97.5   # percentiles: a 95 % interval


def estimate_fwhm(z, seen):
    """
    Estimate the width of point sources from the curvature of bright peaks.

    The logarithm of a Gaussian is a parabola, whose curvature does not depend on the place of the peak in its pixel.

    Parameters
    ----------
    z : `~numpy.ndarray`
        Image above the background in units of its noise, shape (ny, nx).
    seen : `~numpy.ndarray` of bool
        True where pixels count.

    Returns
    -------
    float
        Full width at half maximum in pixels: the median of the peaks, between 1 and 10; 3 if they are too few.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.training.injected_stars import estimate_fwhm
    >>> y, x = np.mgrid[:90, :90]
    >>> z = sum(900 * np.exp(-0.444 * ((x - c) ** 2 + (y - c) ** 2)) for c in (15, 30.3, 45.4, 60, 75))
    >>> round(estimate_fwhm(z, np.ones(z.shape, dtype=bool)), 2)
    2.5
    """
    core = z[1:-1, 1:-1]
    sides = np.stack([z[1:-1, :-2], z[1:-1, 2:], z[:-2, 1:-1], z[2:, 1:-1]])
    whole = np.stack([seen[1:-1, :-2], seen[1:-1, 2:], seen[:-2, 1:-1], seen[2:, 1:-1], seen[1:-1, 1:-1]]).all(axis=0)
    # Saturated stars have flat tops.
    peak = (core > _PEAK) & whole & (core == maximum_filter(core, 5)) & (core > sides.max(axis=0)) \
        & (sides.min(axis=0) > 1)
    brightest = np.argsort(-core[peak])[:_PEAKS]
    if brightest.size < _KNOWN:
        return _FWHM
    left, right, below, above = sides[:, peak][:, brightest]
    curvature = np.log(core[peak][brightest] ** 4 / (left * right * below * above)) / 2   # 1 / sigma**2
    return float(np.clip(math.sqrt(8 * math.log(2) / np.median(curvature)), 1, 10))


@dataclass(frozen=True)
class StarFigures:
    """
    Compare the stars of denoised images with the stars of the noisy ones.

    Parameters
    ----------
    errors, noisy_errors : `~numpy.ndarray`
        Error of the flux of each star that is measured, in the denoised and in the noisy image, in units of the
        standard error of the latter, shape (n,).
    losses : `~numpy.ndarray`
        Flux in the denoised image minus the one in the noisy image, over the true flux, shape (n,).
    scores, noisy_scores : `~numpy.ndarray`
        Significance of each star, shape (m,).
    false, noisy_false : `~numpy.ndarray`
        Significance of each detection in as many pixels of nothing but noise.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.training.injected_stars import StarFigures
    >>> figures = StarFigures(errors=np.array([-0.5, 0.5]), noisy_errors=np.array([-1.0, 1.0]),
    ...                       losses=np.array([-0.02, 0.0]), scores=np.array([6.0, 8.0]),
    ...                       noisy_scores=np.array([4.0, 5.0]), false=np.array([3.0]), noisy_false=np.array([3.5]))
    >>> float(figures.flux_error), float(figures.flux_bias)
    (0.5, -0.01)
    """

    errors: np.ndarray
    noisy_errors: np.ndarray
    losses: np.ndarray
    scores: np.ndarray
    noisy_scores: np.ndarray
    false: np.ndarray
    noisy_false: np.ndarray

    @property
    def flux_error(self):
        """Error (rms) of the flux, in units of the rms error in the noisy image."""
        return _rms(self.errors) / _rms(self.noisy_errors)

    @property
    def flux_bias(self):
        """Mean of the flux that is gained, relative to the true one; negative if flux is lost."""
        return float(np.mean(self.losses))

    @property
    def depth(self):
        """Faintest flux that is found in half of the cases, in magnitudes fainter than in the noisy image."""
        span = 2.5 * math.log10(_BRIGHTEST / _FAINTEST)
        return span * (_completeness(self.scores, self.false) - _completeness(self.noisy_scores, self.noisy_false))

    @property
    def cost(self):
        """Logarithm of error and depth, in nats: less is better."""
        return math.log(self.flux_error) - 0.4 * math.log(10) * self.depth

    def sample(self, rng):
        """
        Draw stars and false detections with replacement, for a bootstrap.

        Parameters
        ----------
        rng : `~numpy.random.Generator`
            Source of randomness. With equal states, the same stars of different figures are drawn.

        Returns
        -------
        StarFigures
            Figures of the stars that were drawn, as many as there are.
        """
        # The number of false detections, which depends on the network, last: all else is then drawn alike.
        stars, found, noisy_false, false = (rng.integers(values.size, size=values.size) for values in (
            self.errors, self.scores, self.noisy_false, self.false))
        return StarFigures(self.errors[stars], self.noisy_errors[stars], self.losses[stars], self.scores[found],
                           self.noisy_scores[found], self.false[false], self.noisy_false[noisy_false])


def _rms(errors):
    return math.sqrt(np.mean(np.minimum(np.abs(errors), _CLIPPED) ** 2))


def _completeness(scores, false):
    """Share of the stars that are found at the threshold that lets some false detections pass."""
    allowed = max(1, round(_FALSE_SHARE * scores.size))
    threshold = np.sort(false)[-allowed] if false.size >= allowed else false.min(initial=1e-3)
    return float(np.mean(1 / (1 + (max(threshold, 1e-3) / np.maximum(scores, 1e-3)) ** (1 / _SOFT))))


def compare_stars(figures, others, seed=0):
    """
    Compare two networks by the same stars.

    Parameters
    ----------
    figures, others : StarFigures
        Of the network, and of the other one.
    seed : int, optional
        Seed of the bootstrap.

    Returns
    -------
    error_ratio : tuple of float
        Error of the flux over the error with the other network: value, and ends of its 95 % interval.
    depth : tuple of float
        Magnitudes by which the network finds fainter stars than the other one, likewise.
    """
    samples = []
    for n in range(_SAMPLES):
        # The same stars for both.
        one, other = (both.sample(np.random.default_rng([seed, n])) for both in (figures, others))
        samples.append((one.flux_error / other.flux_error, one.depth - other.depth))
    values = figures.flux_error / others.flux_error, figures.depth - others.depth
    return tuple((value, *map(float, np.percentile(drawn, _INTERVAL))) for value, drawn in zip(values, zip(*samples)))


class InjectedStars:
    """
    Stars of known flux in parts of noisy images, and as many pixels of nothing but noise.

    Parameters
    ----------
    images : iterable of tuple
        Image (2-D array), its `~astropy_n2v.NoiseModel`, and its mask or None.
    whiten : bool, optional
        If true, whiten the noise where it is correlated.
    pixels : int, optional
        Number of pixels that networks are to be applied to, at most; without a part of 128 pixels on a side for half of
        it there are no stars.
    seed : int or list of int, optional
        Seed of places, photons and noise.

    Attributes
    ----------
    n_stars : int
        Number of stars.

    Examples
    --------
    >>> from astropy_n2v import Denoiser
    >>> from astropy_n2v.simulate import make_scene
    >>> from astropy_n2v.training.injected_stars import InjectedStars
    >>> scene = make_scene('survey', (160, 160), seed=1)
    >>> stars = InjectedStars([(scene.observe(seed=2).data, scene.noise, None)], pixels=60_000)
    >>> figures = stars.measure(Denoiser.load('default').network)
    >>> stars.n_stars > 50, -0.2 < figures.flux_bias < 0
    (True, True)
    """

    def __init__(self, images, *, whiten=False, pixels=2 ** 18, seed=0):
        self.whiten = whiten
        rng = np.random.default_rng(seed)
        size = min(_LARGEST_PART, int(math.sqrt(pixels / 2)))
        self._parts = []
        for image in images:
            if size < _LEAST_PART or len(self._parts) * size ** 2 > pixels / 2 - size ** 2:
                break
            part = _Part.of(*image, size, rng)
            if part is not None:
                self._parts.append(part)

    @property
    def n_stars(self):
        """Number of stars."""
        return sum(len(part.flux) for part in self._parts)

    def measure(self, network):
        """
        Denoise the images by a network, and measure their stars.

        Parameters
        ----------
        network : `~torch.nn.Module`
            Blind network.

        Returns
        -------
        StarFigures
            The figures.
        """
        denoiser = Denoiser(network, {'whitened': self.whiten})
        device = next(network.parameters()).device
        found = [part.measure(denoiser, device) for part in self._parts]
        return StarFigures(*(np.concatenate(values) for values in zip(*found)))


class _Part:
    """A part of an image, with stars, and the noise that it would be without light."""

    def __init__(self, image, psf, rng):
        self.noise, self.valid, self.level, self.psf = image.noise, image.valid, image.scaling.level, psf
        variance = np.broadcast_to(self.noise.variance(self.level), image.shape)
        half = psf.stamp.shape[0] // 2
        aperture = np.hypot(*np.mgrid[-half:half + 1, -half:half + 1]) <= _APERTURE * psf.fwhm
        self.fit = StarFit(psf.stamp * aperture, np.where(self.valid, 1 / np.where(variance > 0, variance, np.inf), 0),
                           aperture.astype(float))
        self._least = _WHOLE * np.median(self.fit.information[self.valid])
        self.x, self.y = self._empty_places(image.data, rng)
        self.pixels = np.rint(self.y).astype(int), np.rint(self.x).astype(int)
        self.errors = 1 / np.sqrt(self.fit.information[self.pixels])
        # Faint and bright ones everywhere alike.
        ratio = rng.permutation(np.geomspace(_FAINTEST, _BRIGHTEST, len(self.x)))
        self.flux, self.bright = ratio * self.errors, ratio >= _MEASURED
        photons = self._render(image.shape)
        if self.noise.gain is not None:
            photons = rng.poisson(photons * self.noise.gain) / self.noise.gain
        self.data = np.where(self.valid, image.data + photons, image.data)
        self.blank = _sample_noise(self.noise, self.level, image.shape, rng)
        self.noisy_fluxes = self._fluxes(self.data)
        self.noisy_scores = self._at_stars(self._significance(self.data))
        self.noisy_false = self._peaks(self._significance(self.blank))

    @classmethod
    def of(cls, data, noise, mask, size, rng):
        """Take the middle of an image; None if it has no place for stars."""
        counts = np.isfinite(data) if mask is None else np.isfinite(data) & ~mask
        if min(data.shape) < _LEAST_PART or not counts.any():
            return None
        cut = middle_cutout(counts, size)
        try:
            noise = replace(noise.at(data.shape, *cut), autocorrelation=noise.autocorrelation)
            image = NormalizedImage.prepare(np.asarray(data[cut], dtype=float), noise, ~counts[cut])
        except ValueError:   # without noise here
            return None
        psf = PSF.from_any(estimate_fwhm(image.values(), image.valid))
        if min(image.shape) < psf.stamp.shape[0]:
            return None
        part = cls(image, psf, rng)
        return part if len(part.flux) >= _FEWEST else None

    def _empty_places(self, data, rng):
        """Find places for stars on a grid that is moved at random, where there is nothing yet."""
        width = 2 * round(self.psf.fwhm) + 1
        taken = maximum_filter(self._significance(data), width) > _EMPTY
        taken |= minimum_filter(self.fit.information, width, mode='constant') < self._least
        spacing = _SPACING * self.psf.fwhm
        starts = rng.uniform(spacing / 2, spacing, 2)
        y, x = (grid.ravel() for grid in np.meshgrid(*(np.arange(start, n - spacing / 2, spacing)
                                                       for start, n in zip(starts, data.shape)), indexing='ij'))
        y, x = (values + rng.uniform(-0.5, 0.5, values.size) for values in (y, x))
        empty = ~taken[np.rint(y).astype(int), np.rint(x).astype(int)]
        return x[empty], y[empty]

    def _render(self, shape):
        """Draw the stars."""
        signal = np.zeros(shape)
        half = self.psf.stamp.shape[0] // 2
        for x, y, flux in zip(self.x, self.y, self.flux):
            rows, columns = (np.arange(max(round(c) - half, 0), min(round(c) + half + 1, n))
                             for c, n in zip((y, x), shape))
            offsets = np.meshgrid(columns - x, rows - y)
            signal[np.ix_(rows, columns)] += flux * self.psf.at(*offsets)
        return signal

    def _numerator(self, image):
        return self.fit.numerator(np.where(self.valid, image - self.level, 0))

    def _fluxes(self, image):
        """Measure the fluxes at the places of the stars, each above the background around it."""
        return self._numerator(image)[self.pixels] * self.errors ** 2

    def _significance(self, image):
        """Fit a star at each pixel of a noisy image, in units of the standard error; 0 near masked pixels."""
        information = self.fit.information
        whole = information >= self._least
        return np.where(whole, self._numerator(image) / np.sqrt(np.where(whole, information, 1)), 0)

    def _at_stars(self, significance):
        """Find the largest significance within half a FWHM of each star."""
        return maximum_filter(significance, self._near)[self.pixels]

    def _peaks(self, significance):
        """List the significance of the peaks of an image without stars."""
        return significance[(significance == maximum_filter(significance, self._near)) & (significance > 0)]

    @property
    def _near(self):
        return 2 * round(self.psf.fwhm / 2) + 1

    def measure(self, denoiser, device):
        """Denoise both images and return the fields of `StarFigures`."""
        # Corrections by the innovations differ between images with and without stars.
        results = [denoiser.predict(data, self.noise, ~self.valid, calibrate=False, audit=False, device=device,
                                    full_output=False)
                   for data in (self.data, self.blank)]
        stars, blank = (np.asarray(detection_image(CCDData(
            result.mean, unit='adu', uncertainty=StdDevUncertainty(result.std), mask=~self.valid), self.psf).data)
            for result in results)
        fluxes = self._fluxes(results[0].mean)
        errors = [((values - self.flux) / self.errors)[self.bright] for values in (fluxes, self.noisy_fluxes)]
        losses = ((fluxes - self.noisy_fluxes) / self.flux)[self.bright]
        return *errors, losses, self._at_stars(stars), self.noisy_scores, self._peaks(blank), self.noisy_false


def _sample_noise(noise, level, shape, rng):
    """Draw an image of nothing but noise on the sky, correlated as the noise is."""
    blank = np.broadcast_to(noise.sample(np.full(shape, float(level)), rng), shape)
    correlation = noise.autocorrelation
    if correlation is None:
        return blank
    around = np.zeros(shape)
    middle = [n // 2 for n in correlation.shape]
    around[:correlation.shape[0], :correlation.shape[1]] = correlation
    power = np.fft.fft2(np.roll(around, [-n for n in middle], axis=(0, 1))).real
    return level + np.fft.ifft2(np.fft.fft2(blank - level) * np.sqrt(np.maximum(power, 0))).real
