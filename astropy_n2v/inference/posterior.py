# Licensed under a 3-clause BSD style license - see LICENSE
"""
Combine the prior of each pixel of an image with its measurement.

The formula is `posterior_moments` in ``networks/likelihood.py``; here are blocks of rows, recalibration, rounding, and
pixels that are returned as measured. ``inference/pipeline.py`` calls it after the network.
"""

from dataclasses import replace

import numpy as np
import torch
from scipy.special import expit, logit

from ..networks import expected_photon_variance, posterior_moments
from ..noise.model import BROAD_WEIGHT
from ..utils.sampling import coprime_step, row_blocks
from .blank_sky import REACH
from .recalibration import Recalibration

__all__ = ['add_rounding', 'keep_counts', 'posterior', 'posterior_of_rows', 'recalibrate', 'return_as_measured']

_MAX_CALIBRATION = 1_000_000   # pixels: largest sample for the recalibration
_ITERATIONS = 4   # iterations of the outlier share, each from the odds of the last one
# Largest fraction of pixels that cannot be predicted from their surroundings, such as stars narrower than a pixel.
_MAX_UNFORESEEABLE = 0.003
_ROWS = 64   # rows of an image that are summed at a time


def _tensors(shape, values):
    return [torch.from_numpy(np.broadcast_to(value, shape).copy()) for value in values]


def posterior(image, blind_mean, blind_spread, *, recalibration=None, strength=1.0):
    """
    Combine the blind prediction of an image with its data.

    Parameters
    ----------
    image : NormalizedImage
        The image.
    blind_mean, blind_spread : `~numpy.ndarray`
        Mean and spread of each pixel given its surroundings alone, in units of the sky noise.
    recalibration : Recalibration, optional
        Correction of the two; by default no correction.
    strength : float, optional
        From 0 (the data) to 1 (the posterior).

    Returns
    -------
    dict of `~numpy.ndarray`
        ``mean``, ``std``, ``blind_mean``, ``blind_std``, ``innovation``, ``outlier`` and ``noise_std`` see
        `Prediction`, in data units.
    """
    parameters = [np.asarray(value, dtype=float) for value in image.noise_parameters()]
    mean, spread = blind_mean.astype(float), blind_spread.astype(float)
    v0, slope, zero = parameters
    photon = expected_photon_variance(*(torch.as_tensor(value) for value in (mean, spread, slope, zero))).numpy()
    # Offsets are in units of the noise of typical pixels: at most three times this noise is used for a pixel.
    mean, spread = (recalibration or Recalibration.neutral()).apply(mean, spread, np.minimum(v0, 9) + photon)
    tensors = _tensors(image.shape, (image.values(), image.valid, mean, spread, *parameters))
    weight = BROAD_WEIGHT if recalibration is None else recalibration.outlier_share
    result, variance, innovation, outlier, noise_variance = (
        values.numpy() for values in posterior_moments(*tensors, strength=strength, bright_weight=weight))
    scale = image.scaling.scale
    return {'mean': image.backward(result), 'std': np.sqrt(variance) * scale,
            'blind_mean': image.backward(mean), 'blind_std': spread * scale, 'innovation': innovation,
            'outlier': outlier, 'noise_std': np.sqrt(noise_variance) * scale}


def posterior_of_rows(image, blind_mean, blind_spread, rows, **options):
    """
    Apply `posterior` to some rows of an image.

    Parameters
    ----------
    image : NormalizedImage
        The image.
    blind_mean, blind_spread : `~numpy.ndarray`
        See `posterior`.
    rows : slice
        The rows, with start and stop.
    **options
        See `posterior`.

    Returns
    -------
    dict of `~numpy.ndarray`
        Planes as from `posterior`, for these rows.
    """
    halo = slice(max(rows.start - REACH, 0), min(rows.stop + REACH, image.shape[0]))
    part = posterior(image.part(halo, slice(0, image.shape[1])), blind_mean[halo], blind_spread[halo], **options)
    inner = slice(rows.start - halo.start, rows.stop - halo.start)
    return {name: values[inner] for name, values in part.items()}


def return_as_measured(image, rows, part, returned):
    """
    Replace the result by the data and their noise where the noise does not explain it, in place.

    Parameters
    ----------
    image : NormalizedImage
        The image.
    rows : slice
        The rows.
    part : dict of `~numpy.ndarray`
        Their posterior, see `posterior`.
    returned : `~numpy.ndarray` of bool
        True for the pixels of these rows that are returned as measured.
    """
    if not returned.any():
        return
    own = image.part(rows, slice(0, image.shape[1]))
    data = own.data[returned]
    part['mean'][returned] = data
    noise = own.noise.at(own.shape, *np.nonzero(returned))
    # A blind mean that is not finite does not predict the photons.
    part['std'][returned] = np.sqrt(noise.variance(np.fmax(data, part['blind_mean'][returned])))


def add_rounding(image, rows, part):
    """
    Add the rounding error that neighbours of one level have in common, in place; averages do not remove it.

    Parameters
    ----------
    image : NormalizedImage
        The image.
    rows : slice
        The rows.
    part : dict of `~numpy.ndarray`
        Their posterior, see `posterior`.
    """
    own = image.part(rows, slice(0, image.shape[1]))
    std, noise = part['std'], part['noise_std']
    larger = np.hypot(std, own.noise.rounding_error(part['mean']))
    # The noise of a pixel includes it already: the error of a measurement is not larger.
    part['std'] = np.where(own.valid, np.minimum(larger, np.maximum(std, noise)), larger)


def keep_counts(image, mean, std, returned):
    """
    Keep the sum of the counts of few photons, in place.

    The pixels with the largest errors are adjusted, except for pixels that are returned as measured.

    Parameters
    ----------
    image : NormalizedImage
        The image.
    mean, std : `~numpy.ndarray`
        Mean and standard deviation of the posterior, in data units; ``mean`` is changed.
    returned : `~numpy.ndarray` of bool
        True for pixels that are returned as measured.
    """
    def weight(rows):
        return np.where(image.valid[rows] & ~returned[rows], np.square(std[rows], dtype=float), 0)

    parts = row_blocks(len(mean), _ROWS)
    missing = sum(np.sum(values[rows][image.valid[rows]], dtype=float) * sign
                  for rows in parts for values, sign in ((image.data, 1), (mean, -1)))
    variance = sum(weight(rows).sum() for rows in parts)
    if variance > 0:
        for rows in parts:
            mean[rows] += (missing / variance * weight(rows)).astype(mean.dtype)


def recalibrate(image, blind_mean, blind_spread, held_out=None):
    """
    Compare the blind prediction with the data on a sample of pixels.

    Parameters
    ----------
    image : NormalizedImage
        The image.
    blind_mean, blind_spread : `~numpy.ndarray`
        See `posterior`.
    held_out : array_like of bool, optional
        True for pixels that may judge the spread; by default all.

    Returns
    -------
    Recalibration
        Corrections from the innovations.
    """
    valid = image.valid
    index = np.arange(0, valid.size, coprime_step(np.count_nonzero(valid) // _MAX_CALIBRATION, valid.shape[1]))
    index = index[valid.ravel()[index]]
    if index.size == 0:
        return Recalibration.neutral()
    pixels = np.unravel_index(index, valid.shape)
    sample = image.part(*pixels)
    y, mean, spread = sample.values(), blind_mean[pixels].astype(float), blind_spread[pixels].astype(float)
    y_, *others = (values[None] for values in _tensors(y.shape, (y, mean, spread, *sample.noise_parameters())))
    _, _, _, outlier, variance = posterior_moments(y_, torch.ones_like(y_, dtype=torch.bool), *others,
                                                   suspect_neighbours=False)
    weight, outlier = _unforeseeable(outlier[0].numpy(), y > mean)
    recalibration = Recalibration.fit(y - mean, mean, spread, variance[0].numpy(), 1 - outlier,
                                  held_out=None if held_out is None else np.asarray(held_out)[pixels],
                                  relative_error=image.noise.relative_error)
    return replace(recalibration, outlier_share=weight)


def _unforeseeable(outlier, bright):
    """
    Estimate the fraction of unpredictable bright pixels, and the probability of each pixel to be one of them.

    The expectation-maximisation algorithm starts from the probabilities at the prior share. Stars narrower than a
    pixel are bright; pixels that are too dark do not make them more likely.
    """
    outlier = outlier.astype(float)
    odds = logit(outlier[bright]) - logit(BROAD_WEIGHT)
    share = BROAD_WEIGHT
    for _ in range(_ITERATIONS if odds.size else 0):
        share = min(max(float(outlier[bright].mean()), BROAD_WEIGHT), _MAX_UNFORESEEABLE)
        outlier[bright] = expit(odds + logit(share))
    return share, outlier
