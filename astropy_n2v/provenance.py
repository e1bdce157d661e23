# Licensed under a 3-clause BSD style license - see LICENSE
"""
Provenance of a result for its header.
"""

import datetime

import numpy as np

from .containers.cards import CARD_LENGTH
from .noise import GainFrom
from .utils.blocks import sum_blocks
from .utils.robust import MEDIAN_ABSOLUTE
from .utils.sampling import cutouts, subsample
from .utils.scratch import blockwise, count_where

__all__ = ['aperture_factor', 'provenance']

# Text for a gain that no header has.
_ORIGINS = {GainFrom.IMAGE: ', estimated from the image', GainFrom.SET: ', estimated from the set'}
# Pixels up to which a median is over all: more than any detector has, and few enough for the memory.
_MAX_MEDIAN = 1 << 26
_APERTURE = 5   # pixels: side of the square over which errors are summed and compared


def _gain_cards(noise):
    """Make the cards of the gain."""
    origin = _ORIGINS.get(noise.origin.gain, '')
    cards = {'N2VGAIN': (float(np.median(noise.gain)), f'[electron/data unit] gain{origin}')}
    if origin:
        cards['N2VGSRC'] = (noise.origin.gain.value, 'source of the gain, if it is not N2VNSRC')
    return cards


def aperture_factor(mean, std, used):
    """
    Compare the scatter of sums over apertures on the sky with summed variances, as a ratio of deviations.

    Faint structure counts as error, so that the factor is rather too large than too small.

    Parameters
    ----------
    mean, std : `~numpy.ndarray`
        A result and its standard deviation, shape (ny, nx).
    used : `~numpy.ndarray` of bool
        Where they count.

    Returns
    -------
    float or None
        None if there are too few apertures.
    """
    part = cutouts(mean.shape)
    mean, std, used = mean[part], std[part], used[part]
    sums, count = sum_blocks(mean, used, _APERTURE)
    sums[count < _APERTURE ** 2] = np.nan
    # Pixels that do not count may have errors whose square overflows.
    variance = np.square(std, dtype=float, where=used, out=np.zeros(std.shape))
    quoted = np.sqrt(sum_blocks(variance, used, _APERTURE)[0])
    # Neighbouring apertures share the background; their difference has twice the variance.
    difference = np.abs(np.diff(sums, axis=1)) / np.hypot(quoted[:, 1:], quoted[:, :-1])
    difference = difference[np.isfinite(difference)]
    return float(np.median(difference) / MEDIAN_ABSOLUTE) if difference.size >= 30 else None


def _median(values, used):
    """Return the median of the pixels that count; in a very large image, of a sample of them."""
    if values.size > _MAX_MEDIAN:
        values, used = (subsample(array, _MAX_MEDIAN // 16) for array in (values, used))
    return np.median(values[used])


def provenance(frame, plane, denoiser, prediction, *, strength=1.0, rejects_outliers=False):
    """
    Describe the making of a result, in header cards and lines of history.

    Parameters
    ----------
    frame : Container
        The data.
    plane : Plane
        The first plane that was denoised, with its noise. Cards describe this plane.
    denoiser : Denoiser
        The model.
    prediction : Prediction
        The result, of the shape of the data.
    strength : float, optional
        See `astropy_n2v.denoise`.
    rejects_outliers : bool, optional
        True if measurements of single pixels could be replaced.

    Returns
    -------
    cards : dict
        Value and comment for each keyword.
    history : list of str
        Lines of history.
    """
    from .version import __version__
    noise, scaling, whitening, group = plane.data_noise, prediction.scaling, prediction.whitening, plane.group
    mean, std, masked = prediction.mean[plane.index], prediction.std[plane.index], frame.mask[plane.index]
    used = blockwise(lambda value, error, bad: np.isfinite(value) & np.isfinite(error) & ~bad, mean, std, masked)
    factor = aperture_factor(mean, std, used)
    audit = 'off' if prediction.audit is None else prediction.audit.summary()
    # Cards accept printable ASCII only.
    name, source = (''.join(c if ' ' <= c <= '~' else '?' for c in text)[:60]
                    for text in (denoiser.name, noise.source))
    date = datetime.datetime.now(datetime.UTC).strftime('%Y-%m-%dT%H:%M:%S')
    cards = {
        'N2VVERS': (__version__, 'astropy_n2v version'),
        'N2VMODEL': (name, 'denoising model'),
        'N2VSHA': (denoiser.sha256[:16], 'SHA-256 of the model (first 16 digits)'),
        'N2VHOLE': (f'{denoiser.hole[0]}x{denoiser.hole[1]}', '[pix] hole, height x width'),
        'N2VPREC': (prediction.precision, 'numbers in which the model predicted'),
        'N2VDEV': (prediction.device[:60], 'device that the model predicted on'),
        'N2VSTREN': (float(strength), 'strength: 0 data, 1 posterior mean'),
        'N2VNSRC': (source, 'source of the noise model'),
        'N2VCORR': ('image' if group is None else group.source, 'source of the autocorrelation of the noise'),
        'N2VSKY': (float(scaling.sky), '[data unit] background level'),
        'N2VSIGMA': (float(scaling.sky_noise), '[data unit] noise at the background level'),
        'N2VSIG0': (float(np.median(noise.sigma)), '[data unit] noise without light'),
        'N2VZERO': (float(np.median(noise.zero_point)), '[data unit] level without light'),
    }
    if np.any(noise.quantum):
        cards['N2VQUANT'] = (float(np.median(noise.quantum)), '[data unit] step of the quantisation')
    if scaling.gradient is not None:
        cards['N2VGRAD'] = (scaling.gradient.range, '[data unit] range of a gradient added to N2VSKY')
    if noise.gain is not None:
        cards |= _gain_cards(noise)
    if whitening is not None:
        y, x = (n // 2 for n in whitening.correlation.shape)
        for axis, value in ('X', whitening.correlation[y, x + 1]), ('Y', whitening.correlation[y + 1, x]):
            cards[f'N2VRHO{axis}'] = (round(float(value), 3), f'noise correlation along {axis}, was whitened')
    innovation_rms = prediction.recalibration.innovation_rms
    if np.isfinite(innovation_rms):
        cards['N2VZRMS'] = (round(innovation_rms, 4), 'rms of normalised innovations, 1 expected')
    if factor is not None:
        cards['N2VAPFAC'] = (round(factor, 2), f'scatter of {_APERTURE}x{_APERTURE} sums of sky / stated')
    masked = count_where(lambda bad, value: bad | ~np.isfinite(value), masked, frame.values[plane.index]) / used.size
    cards['N2VMASK'] = (round(float(masked), 6), 'fraction of the pixels that do not count')
    typical = _median(std, used) if used.any() else np.nan
    if np.isfinite(typical):
        cards['N2VNOUT'] = (float(typical), '[data unit] typical noise of the result')
    if rejects_outliers:
        cards['N2VNREJ'] = (prediction.n_rejected, '[pix] single-pixel outliers that were replaced')
    # Up to this length, a card has room for value and comment.
    cards['N2VAUDIT'] = (audit, 'findings of the audit' if len(audit) <= 44 else '')
    cards['N2VDATE'] = (date, 'UTC of denoising')
    # At most 72 characters: longer lines are broken inside words.
    see = ', see N2VAPFAC' if factor is not None else ''
    history = [f'astropy_n2v {__version__}: denoised, model {name}'[:72],
               f'astropy_n2v: errors are correlated, do not sum variances{see}']
    if whitening is not None:
        history.append('astropy_n2v: innovations (N2VZRMS) and audit are of the whitened image')
    if plane.patterns is not None:
        history += [f'astropy_n2v: taken off: {text}'[:CARD_LENGTH] for text in plane.patterns.describe().split('; ')]
    if len(frame.planes()) > 1:
        history.append(f'astropy_n2v: cards N2V* describe plane {plane.index}'[:72])
    return cards, history
