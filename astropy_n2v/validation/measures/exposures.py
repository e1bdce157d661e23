# Licensed under a 3-clause BSD style license - see LICENSE
"""
Exposures of a series, each judged by the others.
"""

import numpy as np
from astropy.table import vstack

from ...photometry.inputs import noise_sigma, set_units
from ...utils.checks import require
from .inputs import as_images, block_labels, check_bins, smooth_good
from .reference import fit_scale
from .statistics import Bootstrap
from .tables import block_sums, estimate_sums

__all__ = ['judge_exposures']

_EXPOSURE_BINS = (-np.inf, 1, 3, 10, 30, np.inf)

#: Columns of `judge_exposures`: the sums of `exposure_sums` whose ratios they are.
EXPOSURE_COLUMNS = {'mse_before': ('before', 'n'), 'mse_after': ('after', 'n'), 'ratio': ('before', 'after'),
                    'offset': ('offset', 'n')}


def _splits(others, selection):
    """Choose triples of images: two references and the one that pixels are selected on."""
    if selection is not None:
        return [(np.mean(others[::2], axis=0), np.mean(others[1::2], axis=0), selection)]
    thirds = [np.mean(others[i::3], axis=0) for i in range(3)]
    return [(thirds[i], thirds[(i + 1) % 3], thirds[(i + 2) % 3]) for i in range(3)]


def judge_exposures(frames, results, *, noise=None, scale='offset', selection=None, smoothing=2.0,
                    bins=_EXPOSURE_BINS, mask=None, confidence=0.6827, n_resamples=1000, seed=None):
    """
    Judge each exposure of a series, before and after denoising, by the others.

    Parameters
    ----------
    frames : sequence of `~astropy.nddata.CCDData` or array_like
        Aligned exposures of one scene, at least four (three with ``selection``), each of which was
        not resampled together with the others.
    results : sequence of `~astropy.nddata.CCDData` or array_like
        The frames, each denoised for itself.
    noise : `~astropy_n2v.NoiseModel`, float or array_like, optional
        Noise of a frame; by default its uncertainty, else measured. It is a unit only: no noise is subtracted.
    scale : {'offset', 'linear', None}, optional
        'offset' shifts the other frames to the background of the one; 'linear' also scales them to its fluxes, by
        `fit_scale` between the frames before denoising.
    selection : array_like, optional
        Independent image that says how bright pixels are.
    smoothing : float, optional
        Standard deviation in pixels of the Gaussian that it, or what takes its place, is smoothed with.
    bins : sequence of float, optional
        Edges of the bins of brightness, in units of the noise of the sky above the sky.
    mask : array_like of bool, optional
        True where pixels do not count.
    confidence, n_resamples, seed : optional
        As in `bootstrap_interval`; blocks of pixels are resampled.

    Returns
    -------
    `~astropy.table.Table`
        For each exposure (0, 1, ...) first a row for all pixels, then one for each bin: exposure,
        brightness_low, brightness_high, n, and with _err, _low, _high mse_before, mse_after (mean
        square errors in units of the squared noise of the sky), ratio (of these two), and offset
        (mean of after minus the others, in units of the noise).

    Raises
    ------
    ValueError
        If there are too few frames, lists differ in length or images in shape.

    Notes
    -----
    The mean of (image - A)(image - B), with A and B references of independent noise, is the mean square
    error of the image. The other exposures are dealt out to three groups; each in turn says how
    bright pixels are while the two others are A and B. If pixels were selected on A and B themselves, at given
    brightness their errors would be of opposite sign, and the mean too small.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.validation import judge_exposures
    >>> frames = np.random.default_rng(0).normal(size=(4, 64, 64))
    >>> table = judge_exposures(frames, frames / 2, noise=1.0, bins=[-1, 1], seed=1)
    >>> table['mse_after'][table['n'] > 0].round(1).tolist()[0]
    0.2
    """
    sums = exposure_sums(frames, results, noise=noise, scale=scale, selection=selection, smoothing=smoothing,
                         bins=bins, mask=mask)
    table = estimate_exposures(sums, Bootstrap(confidence, n_resamples, seed))
    table.meta['scale'] = scale
    return table


def estimate_exposures(sums, bootstrap):
    """Make the table of `judge_exposures` from the sums over blocks of each exposure."""
    bootstrap, tables = bootstrap.started(), []
    for i, part in enumerate(sums):
        table = estimate_sums(part, EXPOSURE_COLUMNS, bootstrap)
        table.add_column(np.full(len(table), i), 0, 'exposure')
        table['n'] //= part.meta['splits']
        table['sigma'] = part.meta['sigma']
        table.meta = {'confidence': bootstrap.confidence}
        tables.append(set_units(table, part.meta['unit'], ['sigma']))
    return vstack(tables)


def exposure_sums(frames, results, *, noise=None, scale='offset', selection=None, smoothing=2.0, bins=_EXPOSURE_BINS,
                  mask=None):
    """Sum over blocks the terms of `judge_exposures`, a table for each exposure."""
    bins = check_bins(bins)
    frames, results = list(frames), list(results)
    fewest = 4 if selection is None else 3
    require(len(frames) >= fewest, 'frames',
            f'be at least {fewest} {"without" if selection is None else "with"} selection', len(frames))
    require(len(results) == len(frames), 'results', f'be as many as frames, {len(frames)}', len(results))
    require(scale in ('offset', 'linear', None), 'scale', "be 'offset', 'linear' or None", scale)
    named = {f'frames[{i}]': frame for i, frame in enumerate(frames)}
    named.update({f'results[{i}]': result for i, result in enumerate(results)})
    images, unit = as_images(mask, **named, selection=selection)
    before, after, selection = images[:len(frames)], images[len(frames):-1], images[-1]
    tables = []
    for i, (frame, result) in enumerate(zip(before, after)):
        others = [other for j, other in enumerate(before) if j != i]
        if scale:
            others = [fit_scale(other, frame, fit_slope=scale == 'linear').apply(other) for other in others]
        sigma = float(np.nanmedian(noise_sigma(noise, frames[i], unit=unit)))
        sums = _exposure_sums(frame / sigma, result / sigma, [other / sigma for other in others],
                              None if selection is None else selection / sigma, smoothing, bins)
        sums.meta.update(sigma=sigma, unit=unit)
        tables.append(sums)
    return tables


def _exposure_sums(frame, result, others, selection, smoothing, bins):
    """Sum over one exposure, all images in units of its noise."""
    good = np.isfinite(frame)
    labels = block_labels(frame.shape)
    parts = {name: [] for name in ('before', 'after', 'offset', 'level', 'label')}
    for first, second, third in _splits(others, selection):
        smooth = smooth_good(third, good, smoothing)
        parts['level'].append((smooth - np.median(smooth[good]))[good])
        parts['before'].append(((frame - first) * (frame - second))[good])
        parts['after'].append(((result - first) * (result - second))[good])
        parts['offset'].append((result - (first + second) / 2)[good])
        parts['label'].append(labels[good])
    splits = len(parts['level'])
    parts = {name: np.concatenate(values) for name, values in parts.items()}
    level, label = parts.pop('level'), parts.pop('label')
    sums = block_sums(parts, level, bins, label)
    sums.meta['splits'] = splits
    return sums
