# Licensed under a 3-clause BSD style license - see LICENSE
"""
Whiten correlated noise, so that a network with a hole of one pixel can remove it.

Noise that is stationary and correlated is white noise after a linear filter. The zero-phase filter W with the
response :math:`1 / \\sqrt P`, where P is the power spectrum of the noise, makes it white again: the classical first
step of the matched filter. The network is shown W y. The posterior mean is linear, so that the noise that is found
there, filtered back with :math:`W^{-1}`, is the noise of the image.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.ndimage import gaussian_filter, label, median_filter
from scipy.signal import oaconvolve

from ..noise import NoiseModel
from ..noise.correlation import check_lags
from ..noise.quantisation import ROUNDED
from .normalization import Normalization, NormalizedImage
from .outliers import single_pixel_outliers

__all__ = ['Whitened', 'Whitening', 'whiten_image']

# Least share of the variance of the noise that others foresee, the sum of the squared correlations, that is worth a
# filter: as of 0.055 with each of the four nearest pixels. On exposures of M 13, of 0.009, the filter spread
# misreadings of the detector by more than it gained.
_LEAST = 0.012
# A lag counts from this many standard deviations of its measurement on white noise on, and from this correlation on.
_SIGNIFICANT, _LEAST_LAG = 3.0, 0.015
# More lags than up to this one, in pixels, are not measured one by one but those of a model of the noise.
_MAX_MEASURED = 8
_LEAST_REACH = 4   # pixels, at which noise of detectors, resampling and drizzling is not correlated any more
# Power below which noise is not amplified any more, in units of its mean.
_FLOOR = 0.05
# Of the noise that is added: none that a simulation is likely to have.
_SEED = 0x57484954
_GRID = 64   # pixels; on which spectra are computed
_MAX_REACH = 15   # pixels
# Share of a kernel, as the sum of its absolute values, that may be cut off. The image comes back exactly in any case:
# only the noise that is removed goes through the filter and back.
_CUT = 3e-3
# Width of the Gaussian that fills masked pixels, in pixels; only the filter sees these values.
_FILL = 1.0
# Standard deviations from which on the scatter of the pixels around unknown ones is more than their noise: once in
# 30000. Noise that passed for a star came back as measured at the edges of frames, where it was detected as one.
_CERTAIN = 4.0
# Variance that structure of unknown pixels in the reach of the filter may add to a pixel, in units of the noise;
# beyond, it comes back as measured. With 8, the parts of stars beside masks were lowered by 7 standard deviations.
_MOST_ADDED = 1.0
# That of unknown pixels themselves, beyond which they become their local mean: there is a star in it.
_STAR = 8.0
# And from which on the measurement may be better than the result.
_MUCH_ADDED = 0.3
# A pixel noisier than its surroundings by this factor is not seen by the filter, which would spread its noise.
_NOISIER = 3.0
# Standard deviation of a Gaussian that has the correlation of the errors of blind predictions, in pixels.
_ERROR_WIDTH = 1.5
# The filter makes smooth structure fainter where noise is correlated positively, and the network surer that there is
# none: by this power of P(0) its variance was too small on fields of seeds 9100 to 9102 and 9300, with noise from
# rows of 0.3 to a beam of 7 pixels.
_MORE_SURE = 0.35
# FWHM of the source whose peak decides how much of the signal the filter leaves, in pixels.
_SOURCE_FWHM = 2.5
_ROWS = 256


def _frequencies():
    """Squared spatial frequency, in radians per pixel, on the grid of spectra."""
    axis = 2 * np.pi * np.fft.fftfreq(_GRID)
    return axis[:, None] ** 2 + axis[None, :] ** 2


def _compact(response):
    """The kernel of a real, symmetric response, cut where little is left; odd height and width."""
    kernel = np.fft.fftshift(np.fft.ifft2(response).real)
    centre = _GRID // 2
    size = np.abs(kernel)
    for reach in range(1, _MAX_REACH + 1):
        inner = slice(centre - reach, centre + reach + 1)
        if size.sum() - size[inner, inner].sum() < _CUT * size.sum():
            break
    return kernel[inner, inner]


@dataclass(frozen=True, eq=False)
class Whitening:
    """
    A filter that makes correlated noise white, and the way back.

    Parameters
    ----------
    correlation : `~numpy.ndarray`
        Autocorrelation of the noise: an odd number of lags along each axis, 1 in the middle, 0 where not significant.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.inference.whitening import Whitening
    >>> rho = np.array([[0, 0, 0], [0.3, 1, 0.3], [0, 0, 0]])
    >>> whitening = Whitening.find(rho, 10**6)
    >>> white = np.random.default_rng(1).normal(size=(256, 257))
    >>> noise = whitening.filter(white[:, 1:] + white[:, :-1] / 3)
    >>> bool(abs(np.mean(noise[:, 1:] * noise[:, :-1])) < 0.02)
    True
    >>> Whitening.find(np.pad([[1.0]], 1), 10**6) is None
    True
    """

    correlation: np.ndarray

    @classmethod
    def find(cls, correlation, n_pixels):
        """
        Make the filter for a measured autocorrelation.

        Parameters
        ----------
        correlation : array_like or None
            From `~astropy_n2v.noise_autocorrelation`: an odd number of lags along each axis, 1 in the middle. Lags of
            more than 31 pixels do not count.
        n_pixels : int
            Number of pixels that it was measured on.

        Returns
        -------
        Whitening or None
            None if the noise does not differ from white noise significantly.

        Raises
        ------
        ValueError
            If ``correlation`` is not square with an odd number of lags.
        """
        if correlation is None:
            return None
        correlation = check_lags(correlation)
        reach = correlation.shape[0] // 2
        if reach >= _GRID // 2:
            inner = slice(reach - _GRID // 2 + 1, reach + _GRID // 2)
            correlation, reach = correlation[inner, inner].copy(), _GRID // 2 - 1
        if _LEAST_REACH <= reach <= _MAX_MEASURED:
            # Common to all lags is structure, or too much of it that was subtracted.
            common = np.median(np.concatenate([correlation[0], correlation[-1], correlation[:, 0], correlation[:, -1]]))
            correlation = (correlation - common) / (1 - common)
        distance = np.abs(np.indices(correlation.shape) - reach).max(axis=0)
        least = max(_LEAST_LAG, _SIGNIFICANT / np.sqrt(max(n_pixels, 1))) if reach <= _MAX_MEASURED else 0
        counts = np.abs(correlation) > least
        # Noise that reaches far has no gaps in between; structure does.
        groups, _ = label(counts | (distance <= 1), structure=np.ones((3, 3)))
        correlation[~counts | (groups != groups[reach, reach])] = 0
        # Where correlation grows with the distance it is that of pick-up, whose lines no short filter takes out.
        for lags in (correlation, correlation.T):
            if reach > 1 and abs(lags[reach + 2, reach]) > abs(lags[reach + 1, reach]):
                lags[np.arange(len(lags)) != reach] = 0
        correlation[reach, reach] = 1
        return cls(correlation) if np.sum(correlation ** 2) > 1 + _LEAST else None

    @cached_property
    def _measured(self):
        """Power spectrum of the noise as measured, with mean 1 if it is nowhere negative."""
        lags = np.zeros((_GRID, _GRID))
        index = np.arange(len(self.correlation)) - len(self.correlation) // 2
        lags[np.ix_(index, index)] = self.correlation
        power = np.maximum(np.fft.fft2(lags).real, 0)
        return power / power.mean()

    @cached_property
    def power(self):
        """
        Power spectrum of the noise as it is divided out, shape (64, 64), the frequency 0 first.

        It is positive, and smooth where it comes near to the floor, so that the kernel is short.
        """
        return 0.5 * (self._measured + np.sqrt(self._measured ** 2 + 4 * _FLOOR ** 2))

    @property
    def is_broad(self):
        """True for the noise of a beam, which was not measured lag by lag."""
        return len(self.correlation) // 2 > _MAX_MEASURED

    @cached_property
    def kernel(self):
        """The filter, of odd height and width."""
        return _compact(1 / np.sqrt(self.power))

    @cached_property
    def inverse(self):
        """The kernel of the way back."""
        return _compact(np.sqrt(self.power))

    @cached_property
    def complement(self):
        """The kernel that makes, of white noise, the noise that is lacking where the power is below the floor."""
        return _compact(np.sqrt(np.maximum(1 - self._measured / self.power, 0)))

    @cached_property
    def fill_errors(self):
        """Variance of the noise around its local mean, and of the error of this mean for an unknown pixel."""
        reach = len(self.correlation) // 2
        delta = np.pad([[1.0]], reach)
        line = gaussian_filter(delta, _FILL, mode='constant', truncate=3)
        line[reach, reach] = 0
        line /= line.sum()
        common = np.sum(line * gaussian_filter(self.correlation, _FILL, mode='constant', truncate=3))
        return float(max(1 - common, 0)), float(max(1 - 2 * np.sum(line * self.correlation) + common, 0))

    @cached_property
    def smooth_share(self):
        """Variance of smooth errors after the way back over the variance before."""
        # Where a beam is broader than that, so are they.
        power = self.power[0, 0]
        width = max(_ERROR_WIDTH, np.sqrt(power / (4 * np.pi)))
        weight = np.exp(-_frequencies() * width ** 2)
        return float(max(power, 1) ** _MORE_SURE * np.sum(self.power * weight) / np.sum(weight))

    @cached_property
    def peak_share(self):
        """How much of the peak of a point source the filter leaves."""
        weight = np.exp(-0.5 * _frequencies() * (_SOURCE_FWHM / 2.3548) ** 2)
        return float(np.sum(weight / np.sqrt(self.power)) / np.sum(weight))

    def filter(self, values):
        """Filter an array of shape (ny, nx); the result lacks the reach of the kernel on each side."""
        return _filtered(values, self.kernel)

    def lacking(self, shape):
        """
        Draw the noise that is added where the noise of an image has hardly any power, so that it is white.

        Without it neighbours would foresee each other's noise. It is always the same.
        """
        reach = self.complement.shape[0] // 2
        white = np.random.default_rng(_SEED).normal(size=[n + 2 * reach for n in shape])
        return _filtered(white, self.complement)


def whiten_image(image):
    """
    Whiten an image where its noise is correlated, as far as is known.

    Parameters
    ----------
    image : NormalizedImage
        The image; the autocorrelation is that of its noise.

    Returns
    -------
    Whitened or None
        The whitened image and the way back. None where the noise is white, or of another kind: of few photons, or of
        less than half a step of the quantisation.
    """
    rounded = image.scaling.sky_noise < ROUNDED * np.max(image.noise.quantum)
    if image.scaling.few_photons or rounded:
        return None
    whitening = Whitening.find(image.noise.autocorrelation, np.count_nonzero(image.valid))
    return None if whitening is None else Whitened.make(image, whitening)


def _filtered(values, kernel):
    """Convolve in blocks of rows; the result is smaller by the reach of the kernel on each side. Float32."""
    reach = kernel.shape[0] // 2
    ny, nx = (n - 2 * reach for n in values.shape)
    result = np.empty((ny, nx), dtype=np.float32)
    for start in range(0, ny, _ROWS):
        stop = min(start + _ROWS, ny)
        result[start:stop] = oaconvolve(values[start:stop + 2 * reach].astype(float), kernel, mode='valid')
    return result


def _fill(values, known, whitening, parameters):
    """
    Fill unknown values with a local mean, in place.

    Return the variance of the error of this mean, and the part of it that is due to structure in units of the noise.
    """
    seen = known.astype(np.float32)
    smooth, weight, square = (gaussian_filter(v, _FILL, mode='constant', truncate=3) for v in (
        np.where(known, values, 0), seen, np.where(known, values, 0) ** 2))
    near = ~known & (weight > 1e-3)
    mean, weight = smooth[near] / weight[near], weight[near]
    values[~known] = 0
    values[near] = mean
    variance, structure = np.zeros((2, *values.shape), dtype=np.float32)
    # Far from all that is known, the background and its noise.
    variance[~known] = 1
    scatter, error = whitening.fill_errors
    v0, slope, zero = (value if np.ndim(value) == 0 else value[near] for value in parameters)
    noise = v0 + slope * np.maximum(mean - zero, 0)
    # The weights squared are a Gaussian, too.
    squared = gaussian_filter(seen, _FILL / np.sqrt(2), mode='constant', truncate=4)[near] / (4 * np.pi * _FILL ** 2)
    freedom = weight ** 2 / (squared * np.sum(whitening.correlation ** 2))
    structure[near] = np.maximum((square[near] / weight - mean ** 2) / noise - scatter * _chance(freedom), 0)
    variance[near] = noise * (structure[near] + error + (1 - error) * (1 - weight))
    return variance, structure


def _chance(freedom):
    """Factor by which a variance of so many degrees of freedom exceeds the true one by chance (Wilson & Hilferty)."""
    spread = np.sqrt(2 / (9 * freedom))
    return (1 - spread ** 2 + _CERTAIN * spread) ** 3


@dataclass(frozen=True, eq=False)
class Whitened:
    """
    A whitened image with a border, and the way back.

    Parameters
    ----------
    whitening : Whitening
        The filter.
    image : NormalizedImage
        The image as it is.
    white : NormalizedImage
        The whitened one, in units of the sky noise, larger by ``pad`` pixels on each side. Its noise is white.
    filled : `~numpy.ndarray`
        The image in units of the sky noise that was filtered, with all pixels filled, of the same shape.
    lacking : `~numpy.ndarray`
        The noise that was added to the whitened image where it had none, of the same shape.
    added : `~numpy.ndarray`
        Variance that unknown pixels add, of the same shape.
    unreliable : `~numpy.ndarray` of bool
        True where structure in unknown pixels adds too much, of the same shape: nothing is removed there.
    parameters : list of float or `~numpy.ndarray`
        Those of the noise before the filter; see `NormalizedImage.noise_parameters`. Unknown pixels have that of the
        sky.
    alone : `~numpy.ndarray` of bool or None
        True for pixels that count but that the filter did not see.
    """

    whitening: Whitening
    image: NormalizedImage
    white: NormalizedImage
    filled: np.ndarray
    lacking: np.ndarray
    added: np.ndarray
    unreliable: np.ndarray
    parameters: list
    alone: np.ndarray

    @classmethod
    def make(cls, image, whitening):
        """
        Whiten an image.

        Parameters
        ----------
        image : NormalizedImage
            The image; its noise is that of the pixels as they are.
        whitening : Whitening
            The filter.

        Returns
        -------
        Whitened
            The whitened image and the way back.
        """
        pad = whitening.inverse.shape[0] // 2
        reach = whitening.kernel.shape[0] // 2
        parameters = [_edge(value, pad + reach, image.shape) for value in image.noise_parameters()]
        alone = image.valid & ~image.seen
        alone |= single_pixel_outliers(image) | _noisier(image)
        known = np.pad(image.valid & ~alone, pad + reach)
        if np.ndim(parameters[0]):
            # Junk errors of pixels that are not seen must not drown the digits of their neighbours.
            parameters[0] = np.where(known, parameters[0], 1)
        filled = np.pad(np.where(image.valid & ~alone, image.values(), 0).astype(np.float32), pad + reach)
        added, structure = (np.maximum(_filtered(variance, whitening.kernel ** 2), 0)
                            for variance in _fill(filled, known, whitening, parameters))
        inner = (slice(reach, known.shape[0] - reach), slice(reach, known.shape[1] - reach))
        v0, slope, zero = parameters = [value if np.ndim(value) == 0 else value[inner] for value in parameters]
        lacking = whitening.lacking(added.shape)
        lacking *= np.sqrt(v0 + slope * np.maximum(-zero, 0))
        gain = whitening.peak_share / slope if np.any(slope > 0) else None
        noise = NoiseModel(np.sqrt(v0 + added).astype(np.float32), gain, whitening.peak_share * zero,
                           source=image.noise.source, relative_error=image.noise.relative_error)
        unreliable = structure > np.where(known[inner], _MOST_ADDED, _STAR)
        white = NormalizedImage(whitening.filter(filled) + lacking, known[inner] & ~unreliable, noise,
                                Normalization(0.0, 1.0))
        return cls(whitening, image, white, filled[inner], lacking, added, unreliable, parameters,
                   alone if alone.any() else None)

    @property
    def pad(self):
        """Pixels by which the whitened image is larger on each side."""
        return (self.white.shape[0] - self.image.shape[0]) // 2

    def inside(self, values):
        """Cut the border off."""
        pad = self.pad
        return values[pad:values.shape[0] - pad, pad:values.shape[1] - pad]

    def with_signal(self, blind_mean):
        """
        Let the photon noise follow the blind prediction on its way back.

        Parameters
        ----------
        blind_mean : `~numpy.ndarray`
            Blind mean of the whitened image.

        Returns
        -------
        NormalizedImage
            The whitened image, with the noise of each pixel.
        """
        if self.white.noise.gain is None:
            return self.white
        signal = _filtered(np.pad(blind_mean, self.pad), self.whitening.inverse)
        sigma = np.sqrt(self.variance(signal)).astype(np.float32)
        return replace(self.white, noise=replace(self.white.noise, sigma=sigma, gain=None, zero_point=0.0))

    def variance(self, signal):
        """Variance of the noise of the whitened image where the image has a signal, in units of the sky noise."""
        v0, slope, zero = self.parameters
        return v0 + self.added + slope * np.maximum(signal - zero, 0)

    def outside(self, held_out):
        """Pixels that judge the prediction, of the larger image; None is all."""
        return None if held_out is None else np.pad(held_out, self.pad)

    def prediction(self, white, *, strength, full_output, dtype):
        """
        Turn the prediction of the whitened image into one of the image.

        Parameters
        ----------
        white : Prediction
            Of the whitened image, with all its arrays.
        strength : float
            From 0 (the data) to 1 (the posterior).
        full_output : bool
            Whether to keep more than mean and standard deviation.
        dtype : type
            Of the arrays.

        Returns
        -------
        Prediction
            In data units. Blind mean and spread, innovation and outliers are those of the whitened image.
        """
        z, std = self.backward(white.mean, white.std, white.noise_std)
        image = self.image
        mean = image.backward(z.astype(float))
        std = std.astype(float)
        noise = np.sqrt(image.noise_variance(z))
        # Where the filter lacks too much around, the measurement itself is better.
        added, unreliable = self.inside(self.added), self.inside(self.unreliable)
        better = image.valid & (unreliable | (std > noise) & (added > _MUCH_ADDED))
        if self.alone is not None:
            better |= self.alone & (noise < _NOISIER)
        std = np.where(unreliable, np.maximum(std, np.sqrt(added)), std)
        # No result is worse than the measurement, which is part of it.
        std = np.where(better | image.valid & (std > noise), noise, std)
        std = np.where(image.valid, np.sqrt(std ** 2 + (1 - strength) ** 2 * np.maximum(noise ** 2 - std ** 2, 0)), std)
        data = np.where(image.valid, image.data, mean)
        mean = np.where(better, data, data + strength * (mean - data))
        scale = image.scaling.scale
        result = {'mean': mean.astype(dtype), 'std': (std * scale).astype(dtype)}
        if full_output:
            result.update({name: self.inside(getattr(white, name)).astype(dtype) for name in ('innovation', 'outlier')})
            result['blind_mean'] = image.backward(self.inside(white.blind_mean).astype(float)).astype(dtype)
            result['blind_std'] = (self.inside(white.blind_std) * scale).astype(dtype)
            result['noise_std'] = (noise * scale).astype(dtype)
        names = ('mean', 'std', 'blind_mean', 'blind_std', 'innovation', 'outlier', 'noise_std')
        return replace(white, **{name: result.get(name) for name in names}, scaling=image.scaling,
                       whitening=self.whitening, audit=self._in_data_units(white.audit))

    def _in_data_units(self, report):
        """The growth of the noise with the signal that an audit found, for the image as it is."""
        if report is None or report.growth is None:
            return report
        variance, slope = report.growth
        scale = self.image.scaling.scale
        return replace(report, growth=(variance * scale ** 2, slope * scale * self.whitening.peak_share))

    def backward(self, mean, std, noise_std):
        """
        Bring the posterior back.

        Parameters
        ----------
        mean, std, noise_std : `~numpy.ndarray`
            Posterior mean, its standard deviation and that of the noise, of the whitened image.

        Returns
        -------
        mean, std : `~numpy.ndarray`
            Of the image, in units of the sky noise, float32.
        """
        whitening = self.whitening
        # Where the measurement says all, errors are independent; where the surroundings do, they are smooth.
        own = np.square(std / noise_std)
        # Without a measurement, the prediction is combined with the fill.
        unknown = ~self.white.valid
        own[unknown] /= 1 + own[unknown]
        # Where a star is in part masked or beyond the edge no prediction knows of it, as it saw nothing around.
        own[self.unreliable] = 1
        own = np.minimum(own, 1)
        data = self.white.data
        mean = np.where(unknown, mean + own * (data - mean), mean)
        # The noise that was added went into the posterior as far as the measurement did.
        removed = data - mean - (1 - own) * self.lacking
        result = self.inside(self.filled) - _filtered(removed, whitening.inverse)
        square = whitening.inverse ** 2
        square /= square.sum()
        variance = (_filtered(np.square(own), square) * self.image.noise_variance(result)
                    + _filtered(np.square(std) * (1 - own), square) * whitening.smooth_share)
        return result, np.sqrt(np.maximum(variance, 0))


def _edge(value, pad, shape):
    """A parameter of the noise for the larger image."""
    if np.ndim(value) == 0:
        return value
    return np.pad(np.broadcast_to(value, shape), pad, mode='edge')


def _noisier(image):
    """Find single pixels that are much noisier than their surroundings."""
    v0 = image.noise_parameters()[0]
    if np.ndim(v0) == 0:
        return np.zeros(image.shape, dtype=bool)
    sigma = np.sqrt(np.broadcast_to(v0, image.shape))
    return sigma > _NOISIER * median_filter(sigma, 5, mode='nearest')
