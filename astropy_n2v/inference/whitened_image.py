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
from ..utils.sampling import row_blocks, with_halo
from ..utils.scratch import blockwise, empty, zeros
from .normalization import Normalization, NormalizedImage
from .outliers import single_pixel_outliers
from .whitening_filter import Whitening, convolve_rows, convolve_valid

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
# Behind a beam, pixels above this signal, in units of the noise of the sky, come back as measured, in part, if less
# than this share of the variance of their noise is removed. Fixed on a crowded and a survey field, seed 9100, beams of
# 3.5 and 5 pixels.
_BRIGHT, _LEAST_GAIN = 5.0, 0.1


def whiten_image(image):
    """
    Whiten an image where its noise is correlated, as far as is known.

    Parameters
    ----------
    image : NormalizedImage
        The image, whose noise has the autocorrelation.

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
    frame : NormalizedImage
        The part of it without the border, which the network sees. Beside masked pixels it is less certain than it says,
        beside the edge of an array it is not.
    filled : `~numpy.ndarray`
        The image in units of the sky noise that was filtered, with all pixels filled, of the same shape.
    lacking : `~numpy.ndarray`
        The noise that was added to the whitened image where it had none, of the same shape.
    added : `~numpy.ndarray`
        Variance that unknown pixels add, of the same shape.
    unreliable : `~numpy.ndarray` of bool
        True where structure in unknown pixels adds too much, of the same shape: nothing is removed there.
    parameters : list of float or `~numpy.ndarray`
        Parameters of the noise before the filter; see `NormalizedImage.noise_parameters`. Unknown pixels have the
        noise of the sky.
    alone : `~numpy.ndarray` of bool or None
        True for pixels that count but that the filter did not see.
    """

    whitening: Whitening
    image: NormalizedImage
    white: NormalizedImage
    frame: NormalizedImage
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
            The image, with the noise of the pixels as they are.
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
        alone, known, filled = _seen_by_filter(image, pad + reach)
        if np.ndim(parameters[0]):
            # Junk errors of pixels that are not seen must not drown the digits of their neighbours.
            blockwise(lambda v0, seen: np.where(seen, v0, 1), parameters[0], known, out=parameters[0])
        added, structure = (_positive(convolve_valid(variance, whitening.kernel ** 2))
                            for variance in whitening.fill(filled, known, parameters))
        inner = (slice(reach, known.shape[0] - reach), slice(reach, known.shape[1] - reach))
        v0, slope, zero = parameters = [value if np.ndim(value) == 0 else value[inner] for value in parameters]
        lacking = whitening.lacking(added.shape)
        blockwise(lambda values, v0, slope, zero: values * np.sqrt(v0 + slope * np.maximum(-zero, 0)), lacking,
                  *(np.broadcast_to(value, lacking.shape) for value in parameters), out=lacking)
        gain = whitening.peak_share / slope if np.any(slope > 0) else None
        sigma = blockwise(lambda own, more: np.sqrt(own + more), np.broadcast_to(v0, added.shape), added,
                          dtype=np.float32)
        noise = NoiseModel(sigma, gain, whitening.peak_share * zero, origin=image.noise.origin,
                           relative_error=image.noise.relative_error)
        unreliable = blockwise(lambda size, seen: size > np.where(seen, _MOST_ADDED, _STAR), structure, known[inner])
        white = whitening.filter(filled)
        blockwise(np.add, white, lacking, out=white)
        valid = blockwise(lambda seen, bad: seen & ~bad, known[inner], unreliable)
        white = NormalizedImage(white, valid, noise, Normalization(0.0, 1.0))
        frame = white.part(*(slice(pad, n - pad) for n in white.shape))
        return cls(whitening, image, white, frame, filled[inner], lacking, added, unreliable, parameters,
                   alone if alone.any() else None)

    @property
    def pad(self):
        """Number of pixels by which the whitened image is larger on each side."""
        return (self.white.shape[0] - self.image.shape[0]) // 2

    def inside(self, values):
        """Cut the border off."""
        pad = self.pad
        return values[pad:values.shape[0] - pad, pad:values.shape[1] - pad]

    def beyond(self, prediction):
        """Continue what was predicted of the frame beyond its edges."""
        return _edge(prediction, self.pad, self.image.shape)

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
        signal = convolve_valid(_padded(blind_mean, self.pad), self.whitening.inverse)
        v0, slope, zero = (np.broadcast_to(value, signal.shape) for value in self.parameters)
        # The signal of the pixels, and their noise in its place.
        sigma = blockwise(lambda *values: np.sqrt(_variance(*values)), v0, self.added, slope, zero, signal, out=signal)
        return replace(self.white, noise=replace(self.white.noise, sigma=sigma, gain=None, zero_point=0.0))

    def variance(self, signal):
        """Variance of the noise of the whitened image where the image has a signal, in units of the sky noise."""
        v0, slope, zero = self.parameters
        return _variance(v0, self.added, slope, zero, signal)

    def outside(self, held_out):
        """Select the pixels of the larger image that judge the prediction; None is all."""
        return None if held_out is None else _padded(held_out, self.pad)

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
            In data units. Blind mean and spread, innovation and outliers refer to the whitened image.
        """
        planes = {name: empty(self.image.shape, dtype) for name in white.names(full_output)}
        for rows in row_blocks(self.image.shape[0]):
            for name, values in self._rows(white, rows, strength, full_output).items():
                planes[name][rows] = values.astype(dtype)
        return replace(white.without_planes(), **planes, scaling=self.image.scaling, whitening=self.whitening,
                       audit=self._in_data_units(white.audit))

    def _rows(self, white, rows, strength, full_output):
        """Return some rows of the planes of a prediction in data units; see `prediction`."""
        z, std = self.backward(white.mean, white.std, white.noise_std, rows)
        image = self.image.part(rows, slice(0, self.image.shape[1]))
        mean = image.backward(z.astype(float))
        std = std.astype(float)
        noise = np.sqrt(image.noise_variance(z))
        # Where the filter lacks too much around, the measurement itself is better.
        added, unreliable = self.inside(self.added)[rows], self.inside(self.unreliable)[rows]
        better = image.valid & (unreliable | (std > noise) & (added > _MUCH_ADDED))
        if self.alone is not None:
            better |= self.alone[rows] & (noise < _NOISIER)
        std = np.where(unreliable, np.maximum(std, np.sqrt(added)), std)
        share = strength * self._trusted(z, std / noise)
        # No result is worse than the measurement, which is part of it.
        std = np.where(better | image.valid & (std > noise), noise, std)
        std = np.where(image.valid, np.sqrt(std ** 2 + (1 - strength) ** 2 * np.maximum(noise ** 2 - std ** 2, 0)), std)
        data = np.where(image.valid, image.data, mean)
        mean = np.where(better, data, data + share * (mean - data))
        scale = image.scaling.scale
        result = {'mean': mean, 'std': std * scale}
        if full_output:
            seen = replace(white, mean=None, std=None, noise_std=None).map(lambda values: self.inside(values)[rows])
            seen = seen.rescale(lambda values: image.backward(values.astype(float)), lambda values: values * scale)
            result = {**seen.planes, **result, 'noise_std': noise * scale}
        return result

    def _trusted(self, z, error):
        """
        Return the share of the result that replaces the measurement, by signal and error in units of the noise.

        Without the beam the network sees sources narrower than they are, and those in crowds are unlike all that it
        has learned: bright ones came out up to 1.3 times worse than they were measured.
        """
        if not self.whitening.is_broad:
            return 1.0
        return np.where(z < _BRIGHT, 1.0, np.clip((1 - error ** 2) / _LEAST_GAIN, 0, 1))

    def _in_data_units(self, report):
        """The growth of the noise with the signal that an audit found, for the image as it is."""
        if report is None or report.growth is None:
            return report
        variance, slope = report.growth
        scale = self.image.scaling.scale
        return replace(report, growth=(variance * scale ** 2, slope * scale * self.whitening.peak_share))

    def backward(self, mean, std, noise_std, rows=None):
        """
        Bring the posterior back.

        Parameters
        ----------
        mean, std, noise_std : `~numpy.ndarray`
            Posterior mean, its standard deviation and the standard deviation of the noise, of the whitened image.
        rows : slice, optional
            Rows of the image, with start and stop; by default all.

        Returns
        -------
        mean : `~numpy.ndarray`
            Posterior mean of these rows, in units of the sky noise, float32.
        std : `~numpy.ndarray`
            Its standard deviation, likewise.
        """
        rows = slice(0, self.image.shape[0]) if rows is None else rows
        whitening, wide = self.whitening, slice(rows.start, rows.stop + 2 * self.pad)
        mean, std, noise_std = (values[wide] for values in (mean, std, noise_std))
        # Where the measurement says all, errors are independent; where the surroundings do, they are smooth.
        own = np.square(std / noise_std)
        # Without a measurement, the prediction is combined with the fill.
        unknown = ~self.white.valid[wide]
        own[unknown] /= 1 + own[unknown]
        # Where a star is in part masked or beyond the edge no prediction knows of it, as it saw nothing around.
        own[self.unreliable[wide]] = 1
        own = np.minimum(own, 1)
        data = self.white.data[wide]
        mean = np.where(unknown, mean + own * (data - mean), mean)
        # The noise that was added went into the posterior as far as the measurement did.
        removed = data - mean - (1 - own) * self.lacking[wide]
        result = self.inside(self.filled)[rows] - convolve_rows(removed, whitening.inverse)
        square = whitening.inverse ** 2
        square /= square.sum()
        image = self.image.part(rows, slice(0, self.image.shape[1]))
        variance = (convolve_rows(np.square(own), square) * image.noise_variance(result)
                    + convolve_rows(np.square(std) * (1 - own), whitening.smooth_weights) * whitening.smooth_share)
        return result, np.sqrt(np.maximum(variance, 0))


def _edge(value, pad, shape):
    """Continue the values of an image beyond its edges, where they are not the same for all pixels."""
    if np.ndim(value) == 0:
        return value
    result = empty([n + 2 * pad for n in shape], np.result_type(value))
    columns = np.clip(np.arange(-pad, shape[1] + pad), 0, shape[1] - 1)
    value = np.broadcast_to(value, shape)
    for rows in row_blocks(len(result)):
        result[rows] = value[np.clip(np.arange(rows.start, rows.stop) - pad, 0, shape[0] - 1)][:, columns]
    return result


def _padded(values, pad):
    """Add a border of zeros."""
    result = zeros([n + 2 * pad for n in values.shape], values.dtype)
    result[pad:result.shape[0] - pad, pad:result.shape[1] - pad] = values
    return result


def _positive(values):
    """Replace what rounding made negative by zero, in place."""
    return np.maximum(values, 0, out=values)


def _variance(v0, added, slope, zero, signal):
    """Variance of the noise of the whitened image where the image has a signal, in units of the sky noise."""
    return v0 + added + slope * np.maximum(signal - zero, 0)


def _seen_by_filter(image, pad):
    """Find the pixels that count but are not shown to the filter; with a border, those that are, and their values."""
    alone = single_pixel_outliers(image, frequent=False)   # those that the filter would spread
    noisier = _noisier(image)
    known, filled = (zeros([n + 2 * pad for n in image.shape], dtype) for dtype in (bool, np.float32))
    for rows in row_blocks(image.shape[0]):
        part = image.part(rows, slice(0, image.shape[1]))
        alone[rows] |= part.valid & ~part.seen
        if noisier is not None:
            alone[rows] |= noisier[rows]
        inner = slice(rows.start + pad, rows.stop + pad), slice(pad, pad + image.shape[1])
        known[inner] = part.valid & ~alone[rows]
        filled[inner] = np.where(known[inner], part.values(), 0)
    return alone, known, filled


def _noisier(image):
    """Find single pixels that are much noisier than their surroundings; None if all have the same noise."""
    v0 = image.noise_parameters()[0]
    if np.ndim(v0) == 0:
        return None
    v0, result = np.broadcast_to(v0, image.shape), empty(image.shape, bool)
    for rows in row_blocks(image.shape[0]):
        wide, inner = with_halo(rows, 2, image.shape[0])
        sigma = np.sqrt(v0[wide])
        result[rows] = (sigma > _NOISIER * median_filter(sigma, 5, mode='nearest'))[inner]
    return result
