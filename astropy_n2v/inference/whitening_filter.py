# Licensed under a 3-clause BSD style license - see LICENSE
"""
The filter that makes correlated noise white, so that a network with a hole of one pixel can remove it.

Noise that is stationary and correlated is white noise after a linear filter. The zero-phase filter W with the
response :math:`1 / \\sqrt P`, where P is the power spectrum of the noise, makes it white again: the classical first
step of the matched filter.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.ndimage import gaussian_filter, label
from scipy.signal import oaconvolve

from ..noise.correlation import check_lags
from ..utils.sampling import row_blocks, with_halo
from ..utils.scratch import empty, zeros

__all__ = ['Whitening', 'convolve_rows', 'convolve_valid']

# Least share of the variance of the noise that others foresee, the sum of the squared correlations, that is worth a
# filter: as of 0.055 with each of the four nearest pixels. On exposures of M 13, of 0.009, the filter spread
# misreadings of the detector by more than it gained.
_LEAST = 0.012
# A lag counts from this many standard deviations of its measurement on white noise on, and from this correlation on.
_SIGNIFICANT, _LEAST_LAG = 3.0, 0.015
# More lags than up to this one, in pixels, are not measured one by one but taken from a model of the noise.
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
_FILL_REACH = 3   # pixels: radius of the kernel, which is cut off there
# Standard deviations from which on the scatter of the pixels around unknown ones is more than their noise: once in
# 30000. Noise that passed for a star came back as measured at the edges of frames, where it was detected as one.
_CERTAIN = 4.0
# Standard deviation of a Gaussian that has the correlation of the errors of blind predictions, in pixels.
_ERROR_WIDTH = 1.5
# The filter makes smooth structure fainter where noise is correlated positively, and the network surer that there is
# none: by this power of P(0) its variance was too small on fields of seeds 9100 to 9102 and 9300, with noise from
# rows of 0.3 to a beam of 7 pixels.
_MORE_SURE = 0.35
# Least variance of the noise of an unknown pixel, in units of the variance on the sky: as in ``normalization.py``.
_LEAST_NOISE = 1e-3
# FWHM of the source whose peak decides how much of the signal the filter leaves, in pixels.
_SOURCE_FWHM = 2.5


def _gaussian(height, width):
    """Power of a Gaussian of standard deviations in pixels along columns and rows, on the grid of spectra."""
    axis = 2 * np.pi * np.fft.fftfreq(_GRID)
    return np.exp(-(axis[:, None] * height) ** 2 - (axis[None, :] * width) ** 2)


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
    >>> from astropy_n2v.inference.whitening_filter import Whitening
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
        # Where correlation grows with the distance it comes from pick-up, whose lines no short filter takes out.
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
    def _fill_errors(self):
        """Variance of the noise around its local mean, and of the error of this mean for an unknown pixel."""
        reach = len(self.correlation) // 2
        delta = np.pad([[1.0]], reach)
        line = gaussian_filter(delta, _FILL, mode='constant', truncate=3)
        line[reach, reach] = 0
        line /= line.sum()
        common = np.sum(line * gaussian_filter(self.correlation, _FILL, mode='constant', truncate=3))
        return float(max(1 - common, 0)), float(max(1 - 2 * np.sum(line * self.correlation) + common, 0))

    @cached_property
    def _error_power(self):
        """Power spectrum of smooth errors, on the grid of spectra, with mean 1."""
        # Where a beam is broader than that, so are they, along either axis.
        middle = len(self.correlation) // 2
        widths = (np.sum(line) / np.sqrt(4 * np.pi) for line in (self.correlation[:, middle], self.correlation[middle]))
        power = _gaussian(*(max(_ERROR_WIDTH, width) for width in widths))
        return power / power.mean()

    @cached_property
    def smooth_share(self):
        """Variance of smooth errors after the way back over the variance before."""
        return float(max(self.power[0, 0], 1) ** _MORE_SURE * np.mean(self.power * self._error_power))

    @cached_property
    def smooth_weights(self):
        """
        Return the weights of the variances before the way back in the one of smooth errors after it, as a kernel.

        Errors e of standard deviation s and correlation r become the sum of k e, of variance sum(k k' r s s'), of which
        each pixel has the part k sum(k' r) s ** 2 where s varies slowly.
        """
        spread = np.fft.fftshift(np.fft.ifft2(np.sqrt(self.power) * self._error_power).real)
        reach, middle = len(self.inverse) // 2, _GRID // 2
        inner = slice(middle - reach, middle + reach + 1)
        weights = np.maximum(self.inverse * spread[inner, inner], 0)
        return weights / weights.sum()

    @cached_property
    def peak_share(self):
        """How much of the peak of a point source the filter leaves."""
        weight = np.sqrt(_gaussian(*[_SOURCE_FWHM / 2.3548] * 2))
        return float(np.sum(weight / np.sqrt(self.power)) / np.sum(weight))

    def filter(self, values):
        """Filter an array of shape (ny, nx); the result lacks the reach of the kernel on each side."""
        return convolve_valid(values, self.kernel)

    def lacking(self, shape):
        """
        Draw the noise that is added where the noise of an image has hardly any power, so that it is white.

        Without it neighbours would foresee each other's noise. It is always the same.
        """
        reach = self.complement.shape[0] // 2
        rng, width = np.random.default_rng(_SEED), shape[1] + 2 * reach
        result = empty(shape, np.float32)
        white = rng.normal(size=(2 * reach, width))
        for rows in row_blocks(shape[0]):
            white = np.concatenate([white[len(white) - 2 * reach:], rng.normal(size=(rows.stop - rows.start, width))])
            result[rows] = convolve_rows(white, self.complement)
        return result

    def fill(self, values, known, parameters):
        """
        Fill unknown values with a local mean, in place.

        Parameters
        ----------
        values : `~numpy.ndarray`
            Image in units of the sky noise above its background, shape (ny, nx); unknown values are changed.
        known : `~numpy.ndarray` of bool
            True where they are known.
        parameters : list of float or `~numpy.ndarray`
            Those of the noise, of that shape; see `NormalizedImage.noise_parameters`.

        Returns
        -------
        variance : `~numpy.ndarray`
            Variance of the error of the filled values, of that shape; 0 where values are known.
        structure : `~numpy.ndarray`
            The part of it that is due to structure, in units of the variance of the noise of the pixel.
        """
        variance, structure = zeros(values.shape, np.float32), zeros(values.shape, np.float32)
        # Values are changed behind the block that is read next.
        above = values[:0]
        for rows in row_blocks(len(values)):
            wide, inner = with_halo(rows, _FILL_REACH, len(values))
            part = values[wide].copy()
            part[inner.start - len(above):inner.start] = above
            above = part[inner][-_FILL_REACH:].copy()
            own = [value if np.ndim(value) == 0 else value[wide] for value in parameters]
            filled = self._fill_rows(part, known[wide], own)
            for target, new in zip((values, variance, structure), filled):
                target[rows] = new[inner]
        return variance, structure

    def _fill_rows(self, values, known, parameters):
        """Fill the unknown values of some rows; return these, and the variances as `fill` does."""
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
        scatter, error = self._fill_errors
        v0, slope, zero = (value if np.ndim(value) == 0 else value[near] for value in parameters)
        noise = np.maximum(v0 + slope * np.maximum(mean - zero, 0), _LEAST_NOISE)
        # The weights squared are a Gaussian, too.
        squared = gaussian_filter(seen, _FILL / np.sqrt(2), mode='constant', truncate=4)[near]
        freedom = 4 * np.pi * _FILL ** 2 * weight ** 2 / (squared * np.sum(self.correlation ** 2))
        structure[near] = np.maximum((square[near] / weight - mean ** 2) / noise - scatter * _chance(freedom), 0)
        variance[near] = noise * (structure[near] + error + (1 - error) * (1 - weight))
        return values, variance, structure


def _chance(freedom):
    """Factor by which a variance of so many degrees of freedom exceeds the true one by chance (Wilson & Hilferty)."""
    spread = np.sqrt(2 / (9 * freedom))
    return (1 - spread ** 2 + _CERTAIN * spread) ** 3


def convolve_valid(values, kernel):
    """
    Convolve an image, in blocks of rows.

    Parameters
    ----------
    values : `~numpy.ndarray`
        Image of shape (ny, nx).
    kernel : `~numpy.ndarray`
        Kernel of odd height and width.

    Returns
    -------
    `~numpy.ndarray`
        Float32; smaller by the reach of the kernel on each side.
    """
    reach = kernel.shape[0] // 2
    ny, nx = (n - 2 * reach for n in values.shape)
    result = empty((ny, nx), dtype=np.float32)
    for rows in row_blocks(ny):
        result[rows] = convolve_rows(values[rows.start:rows.stop + 2 * reach], kernel)
    return result


def convolve_rows(values, kernel):
    """Convolve a block of rows; see `convolve_valid`."""
    return oaconvolve(values.astype(float), kernel, mode='valid').astype(np.float32)
