# Licensed under a 3-clause BSD style license - see LICENSE
"""
Whiten an image whose noise is correlated, and bring its prediction back.

The network is shown W y, where W makes the noise of the image y white. The posterior mean is linear, so that the noise
that is found there, filtered back with :math:`W^{-1}`, is the noise of the image.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import median_filter

from ..noise import NoiseModel
from ..noise.quantisation import ROUNDED
from .normalization import Normalization, NormalizedImage
from .outliers import single_pixel_outliers
from .whitening_filter import Whitening, convolve_valid

__all__ = ['Whitened', 'whiten_image']

# Variance that structure of unknown pixels in the reach of the filter may add to a pixel, in units of the noise;
# beyond, it comes back as measured. With 8, the parts of stars beside masks were lowered by 7 standard deviations.
_MOST_ADDED = 1.0
# That of unknown pixels themselves, beyond which they become their local mean: there is a star in it.
_STAR = 8.0
# And from which on the measurement may be better than the result.
_MUCH_ADDED = 0.3
# A pixel noisier than its surroundings by this factor is not seen by the filter, which would spread its noise.
_NOISIER = 3.0


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
        added, structure = (np.maximum(convolve_valid(variance, whitening.kernel ** 2), 0)
                            for variance in whitening.fill(filled, known, parameters))
        inner = (slice(reach, known.shape[0] - reach), slice(reach, known.shape[1] - reach))
        v0, slope, zero = parameters = [value if np.ndim(value) == 0 else value[inner] for value in parameters]
        lacking = whitening.lacking(added.shape)
        lacking *= np.sqrt(v0 + slope * np.maximum(-zero, 0))
        gain = whitening.peak_share / slope if np.any(slope > 0) else None
        noise = NoiseModel(np.sqrt(v0 + added).astype(np.float32), gain, whitening.peak_share * zero,
                           origin=image.noise.origin, relative_error=image.noise.relative_error)
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
        signal = convolve_valid(np.pad(blind_mean, self.pad), self.whitening.inverse)
        sigma = np.sqrt(self.variance(signal)).astype(np.float32)
        return replace(self.white, noise=replace(self.white.noise, sigma=sigma, gain=None, zero_point=0.0))

    def variance(self, signal):
        """Variance of the noise of the whitened image where the image has a signal, in units of the sky noise."""
        v0, slope, zero = self.parameters
        return v0 + self.added + slope * np.maximum(signal - zero, 0)

    def outside(self, held_out):
        """Select the pixels of the larger image that judge the prediction; None is all."""
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
            seen = replace(white, mean=None, std=None, noise_std=None).map(self.inside).rescale(
                lambda values: image.backward(values.astype(float)), lambda values: values * scale)
            result = {**seen.map(lambda values: values.astype(dtype)).planes, **result,
                      'noise_std': (noise * scale).astype(dtype)}
        return replace(white.without_planes(), **result, scaling=image.scaling, whitening=self.whitening,
                       audit=self._in_data_units(white.audit))

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
        result = self.inside(self.filled) - convolve_valid(removed, whitening.inverse)
        square = whitening.inverse ** 2
        square /= square.sum()
        variance = (convolve_valid(np.square(own), square) * self.image.noise_variance(result)
                    + convolve_valid(np.square(std) * (1 - own), square) * whitening.smooth_share)
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
