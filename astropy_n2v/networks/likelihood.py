# Licensed under a 3-clause BSD style license - see LICENSE
"""
The formulas of likelihood and posterior of a pixel, given the output of a blind network.

``inference/posterior.py`` applies the posterior to a whole image; the losses of training are the likelihood.

All quantities are in units of the sky noise above the background. A network has two
outputs ``(a, c)`` for each pixel: the blind mean is ``mu = sinh(a)`` and the blind
spread ``sigma_p = exp(c) cosh(a)``, which spans many decades of flux.
The noise is ``sigma_n**2 = v0 + slope * E[max(x - zero, 0)]``, its expectation over the
true values ``x`` that mean and spread allow (`expected_photon_variance`). It is always
built from the blind prediction and never from the noisy pixel: a variance that carries
the fluctuation of its own pixel biases fluxes low.

The prior of the true value, given its context, is a Gaussian plus, with weight
``BROAD_WEIGHT``, a much broader distribution: a transient, a cosmic ray or a star that is
narrower than a pixel cannot be predicted from its surroundings.
"""

import math

import torch
from torch.nn import functional as F

from ..noise.model import BROAD_WEIGHT

__all__ = ['blind_moments', 'expected_photon_variance', 'negative_log_likelihood', 'network_inputs',
           'posterior_moments']

# Scale of the broad component, in units of the total spread. The wings of its Cauchy profile are wider than any
# Gaussian, so that the scale hardly matters.
_BROAD_SCALE = 10.0
# Distance from zero photons, in spreads, within which the positivity of the photon noise matters.
_NEAR_ZERO = 6.0
# Least variance of the posterior, in units of the noise, that weights an image: smaller ones get no larger weight.
_LEAST_ERROR = 3e-3
# Weight of the outlier probability of neighbours: unpredictable objects are seldom one pixel wide.
_NEIGHBOUR_WEIGHT = 0.3


def network_inputs(z, valid, v0, slope, zero):
    """
    Stack the input channels of the network.

    Parameters
    ----------
    z : tensor
        Image above the background in units of the sky noise, shape (n, 1, height, width).
    valid : tensor
        1 at pixels that the network may use, else 0; same shape.
    v0, slope, zero : tensor
        Parameters of the noise, which broadcast to the shape of ``z``.

    Returns
    -------
    tensor
        Shape (n, 4, height, width): asinh of the signal, logarithm of the local noise at
        the level of the background, Poisson slope, validity. All are 0 where ``valid`` is:
        as outside of the image.

    Examples
    --------
    >>> import torch
    >>> from astropy_n2v.networks import network_inputs
    >>> z, valid = torch.full((1, 1, 8, 8), 1.1752), torch.ones(1, 1, 8, 8)
    >>> inputs = network_inputs(z, valid, *torch.tensor([1.0, 0.1, 0.0]))
    >>> inputs.shape, round(float(inputs[0, 0, 0, 0]), 3)
    (torch.Size([1, 4, 8, 8]), 1.0)
    """
    sky_variance = v0 + slope * torch.clamp(-zero, min=0)
    # Where the noise at the level of the background is zero, it is positive above.
    local = 0.5 * torch.log(sky_variance.clamp(min=1e-6))
    poisson = 0.25 * torch.log(slope + 1e-3) + 1
    seen = valid > 0
    channels = [torch.asinh(z), local.expand_as(z), poisson.expand_as(z), torch.ones_like(z)]
    # where, not a product: invalid pixels may be NaN.
    return torch.cat([torch.where(seen, channel, 0) for channel in channels], dim=1)


def blind_moments(output):
    """
    Convert the outputs of a network to the blind mean and the logarithm of the blind spread.

    Parameters
    ----------
    output : tensor
        Shape (n, 2, height, width).

    Returns
    -------
    mean : tensor
        Blind mean, shape (n, 1, height, width).
    log_spread : tensor
        Logarithm of the blind spread, of the same shape.

    Examples
    --------
    >>> import torch
    >>> from astropy_n2v.networks import blind_moments
    >>> mean, log_spread = blind_moments(torch.zeros(1, 2, 4, 4))
    >>> float(mean.max()), float(log_spread.exp().max())
    (0.0, 1.0)
    """
    a, c = output.chunk(2, dim=1)
    # Bounds for squares in float32, far beyond real images.
    a, c = a.clamp(-30, 30), c.clamp(-12, 12)
    log_cosh = a.abs() + F.softplus(-2 * a.abs()) - math.log(2)
    return torch.sinh(a), c + log_cosh


def expected_photon_variance(mean, spread, slope, zero):
    """
    Compute the variance of the photon noise of a pixel of which only mean and spread are known.

    It is the expectation of ``slope * max(x - zero, 0)`` over a Gaussian. This is the value at the mean, unless the
    mean is within some spreads of zero photons. There it must not vanish: the measurement would then have to equal
    the truth.

    Parameters
    ----------
    mean, spread : tensor
        Mean and standard deviation of the true value.
    slope, zero : tensor
        Growth of the variance with the signal, and the value at which the signal is zero;
        shapes that broadcast.

    Returns
    -------
    tensor
        Variance, in the units of ``spread`` squared.

    Examples
    --------
    >>> import torch
    >>> from astropy_n2v.networks import expected_photon_variance
    >>> expected_photon_variance(*torch.tensor([[9.0, 0.0], [1.0, 1.0], [2.0, 2.0], [0.0, 0.0]]))
    tensor([18.0000,  0.7979])
    """
    excess, spread = torch.broadcast_tensors(mean - zero, spread)
    expected = excess.clamp(min=0)
    # The tail beyond is smaller than the resolution of float32, and slow to compute.
    near = excess < _NEAR_ZERO * spread
    if near.any():
        excess, spread = excess[near], spread[near]
        t = excess / spread
        density = torch.exp(-0.5 * t ** 2) / math.sqrt(2 * math.pi)
        # Rounding could make it negative far below zero.
        expected[near] = (excess * torch.special.ndtr(t) + spread * density).clamp(min=0).to(expected.dtype)
    return slope * expected


def _surprise(difference, variance, slope, photon_variance):
    """
    Compute the squared innovation in units of its variance, corrected for the skewness of photon noise.

    It is the deviance of a shifted Poisson distribution with the variance and the third moment of the
    innovation: two electrons where 0.05 are expected are not a five-sigma event.
    """
    x = (difference * slope * photon_variance / variance ** 2).clamp(min=-1 + 1e-6)
    series = 1 - x / 3 + x ** 2 / 6
    exact = 2 * ((1 + x) * torch.log1p(x) - x) / torch.where(x == 0, 1, x ** 2)
    return difference ** 2 / variance * torch.where(x.abs() < 0.02, series, exact)


def _log_densities(difference, variance, slope, photon_variance):
    """Return log densities of the innovation: Gaussian (skewness-corrected exponent) and broad component."""
    log_narrow = -0.5 * (_surprise(difference, variance, slope, photon_variance)
                         + torch.log(2 * math.pi * variance))
    scale = _BROAD_SCALE * variance.sqrt()
    log_broad = -torch.log(math.pi * scale * (1 + (difference / scale) ** 2))
    return log_narrow, log_broad


def negative_log_likelihood(output, z, weight, v0, slope, zero, *, broad_weight=BROAD_WEIGHT, max_gain=12.0,
                            focus=False):
    """
    Compute the mean negative log-likelihood of the image given the blind prediction of each pixel.

    Parameters
    ----------
    output : tensor
        Output of the network, shape (n, 2, height, width).
    z, weight : tensor
        The image in units of the sky noise and the weight of each pixel, shape (n, 1,
        height, width); pixels of weight 0 may be NaN.
    v0, slope, zero : tensor
        Parameters of the noise, which broadcast to the shape of ``z``.
    broad_weight : float, optional
        Weight of the broad component.
    max_gain : float, optional
        Largest factor by which gradients are raised. The likelihood hardly depends on a spread that is a small
        part of the total, and would learn it last. The zeros of the gradient do not change. With a larger factor,
        more of the noise of few pixels gets into the weights.
    focus : bool, optional
        If true, ``loss`` weights the error of the posterior: each pixel by the share of the noise in its total
        variance, and each image by the inverse of the mean of the rest, the variance of its posterior in units of
        the noise. If the stated spread is right, it is then the gradient of the logarithm of this variance.
        Otherwise pixels much brighter than the noise, for which the measurement is sufficient, and images full of
        them dominate the gradient. The optimum is equal, as the weights depend on the blind prediction alone.

    Returns
    -------
    loss : tensor
        A scalar that has the gradients for the training: the gradients of the mixture with a fixed
        responsibility of its broad component. Up to a constant its value is ``likelihood``.
    likelihood : tensor
        A scalar without these gradients.

    Examples
    --------
    >>> import torch
    >>> from astropy_n2v.networks import negative_log_likelihood
    >>> z, noise = torch.zeros(1, 1, 4, 4), torch.tensor([1.0, 0.0, 0.0])   # variance 1, no photon noise
    >>> good, bad = (negative_log_likelihood(torch.full((1, 2, 4, 4), a), z, torch.ones_like(z), *noise)[1]
    ...              for a in (0.0, 2.0))
    >>> bool(good < bad)
    True
    """
    mean, log_spread = blind_moments(output)
    counts = weight > 0
    z = torch.where(counts, z, mean.detach())
    photon = expected_photon_variance(mean.detach(), log_spread.detach().exp(), slope, zero)
    prior = torch.exp(2 * log_spread.detach())
    gain = ((prior + v0 + photon) / prior).clamp(max=max_gain)
    c = output[:, 1:]
    log_spread = log_spread + (gain - 1) * (c - c.detach())
    variance = torch.exp(2 * log_spread) + v0 + photon
    difference = z - mean
    total = weight.sum().clamp(min=1e-12)
    focused = weight * _focus(weight, prior, v0 + photon) if focus else weight
    narrow = -0.5 * (difference ** 2 / variance + torch.log(2 * math.pi * variance))
    if not broad_weight:
        return -(focused * narrow).sum() / total, -(weight * narrow).sum().detach() / total
    exponent, broad = _log_densities(difference, variance, slope, photon)
    log_narrow = math.log1p(-broad_weight) + exponent.detach()
    log_broad = math.log(broad_weight) + broad
    responsibility = torch.sigmoid(log_broad.detach() - log_narrow)
    loss = -(focused * ((1 - responsibility) * narrow + responsibility * broad)).sum() / total
    likelihood = -(weight * torch.logaddexp(log_narrow, log_broad.detach())).sum() / total
    return loss, likelihood.detach()


def _focus(weight, prior, noise):
    """Return the weight of each pixel in the error of the posterior."""
    share = prior / (prior + noise).clamp(min=1e-12)
    of_image = (1, 2, 3)
    error = (weight * share).sum(of_image, keepdim=True) / weight.sum(of_image, keepdim=True).clamp(min=1)
    return (1 - share) / (error + _LEAST_ERROR)


def _largest_neighbour(values):
    """Return the largest of the eight neighbours of each pixel of an image."""
    height, width = values.shape
    padded = F.pad(values, (1, 1, 1, 1))
    shifts = [(y, x) for y in range(3) for x in range(3) if (y, x) != (1, 1)]
    return torch.stack([padded[y:y + height, x:x + width] for y, x in shifts]).amax(dim=0)


def posterior_moments(y, valid, mean, spread, v0, slope, zero, *, bright_weight=BROAD_WEIGHT,
                      strength=1.0, suspect_neighbours=True):
    """
    Combine the blind prediction of each pixel with its own measurement.

    Parameters
    ----------
    y : tensor
        The image, shape (height, width), finite where valid.
    valid : tensor of bool
        True where the measurement is used; elsewhere the result is the blind prediction.
    mean, spread : tensor
        Blind mean and blind spread.
    v0, slope, zero : tensor
        Parameters of the noise, broadcastable.
    bright_weight : float, optional
        Weight of the broad component for pixels brighter than predicted; 5e-5 for other pixels.
    strength : float, optional
        From 0 (the measurement) to 1 (the posterior): position of the Gaussian part between the
        measurement and its posterior mean, with the variance of this combination.
    suspect_neighbours : bool, optional
        If true, the neighbours of an unpredictable pixel are more likely to be unpredictable, too; this
        requires tensors that are images.

    Returns
    -------
    mean, variance : tensor
        Moments of the posterior.
    innovation : tensor
        ``(y - mean) / sqrt(spread**2 + sigma_n**2)``; NaN where not valid.
    responsibility : tensor
        Probability that the pixel was not predictable.
    noise_variance : tensor
        The assumed variance of the noise.

    Examples
    --------
    >>> import torch
    >>> from astropy_n2v.networks import posterior_moments
    >>> y, ones = torch.full((8, 8), 2.0), torch.ones(8, 8)
    >>> mean, variance, *_ = posterior_moments(y, ones.bool(), 0 * ones, ones, *torch.tensor([1.0, 0.0, 0.0]))
    >>> round(float(mean[4, 4]), 2), round(float(variance[4, 4]), 2)   # as far from one as from the other
    (1.0, 0.5)
    """
    y = torch.where(valid, y, mean)
    photon = expected_photon_variance(mean, spread, slope, zero)
    noise = (v0 + photon).clamp(min=1e-12)
    prior = spread ** 2
    total = prior + noise
    difference = y - mean
    log_narrow, log_broad = _log_densities(difference, total, slope, photon)
    odds = log_broad - log_narrow
    broad_weight = torch.where(difference > 0, bright_weight, BROAD_WEIGHT)
    responsibility = torch.sigmoid(odds + torch.logit(broad_weight))
    if suspect_neighbours:
        suspect = _largest_neighbour(torch.where(valid, responsibility, 0))
        weight = torch.maximum(_NEIGHBOUR_WEIGHT * suspect, broad_weight)
        responsibility = torch.sigmoid(odds + torch.logit(weight))
    responsibility = torch.where(valid, responsibility, 0)

    share = torch.where(valid, prior / total, 0)
    remaining = torch.where(valid, strength, 1.0)
    foreseen = y + remaining * (mean + share * difference - y)
    foreseen_variance = prior * (1 - share) + (1 - remaining) ** 2 * noise ** 2 / total
    # An unpredicted value has the uncertainty of its own photons.
    broad_variance = v0 + slope * torch.clamp(torch.maximum(y, mean) - zero, min=0)
    result = foreseen + responsibility * (y - foreseen)
    variance = (foreseen_variance + responsibility * (broad_variance - foreseen_variance)
                + responsibility * (1 - responsibility) * (y - foreseen) ** 2)
    innovation = torch.where(valid, difference / total.sqrt(), torch.nan)
    return result, variance, innovation, responsibility, noise
