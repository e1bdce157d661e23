# Licensed under a 3-clause BSD style license - see LICENSE
"""
The background after denoising: where it is, and its level.
"""

import numpy as np
from astropy.table import Table
from scipy.ndimage import binary_dilation

from ...photometry.inputs import as_image, set_units
from ...utils.blocks import sum_blocks
from ...utils.checks import require
from .inputs import compared_images, smooth_good
from .statistics import Bootstrap, robust_scatter

__all__ = ['sky_offset', 'sky_pixels', 'summarize_sky_offset']

_SUBBLOCK = 8        # pixels; means over blocks of this size have nearly independent errors


def sky_pixels(image, *, sigma=None, mask=None, smoothing=2.0, threshold=3.0, grow=3, scale=32.0):
    """
    Find the pixels where an image shows sky and no source.

    Parameters
    ----------
    image : `~astropy.nddata.CCDData` or array_like
        An image whose noise is not that which is judged: truth, reference or the output. Choosing pixels on a
        noisy image leaves those with negative fluctuations.
    sigma : float, optional
        Noise of a pixel of the input. Nothing fainter counts as source than what a smoothed image with this noise
        would show.
    mask : array_like of bool, optional
        True where pixels do not count.
    smoothing : float, optional
        Standard deviation of the Gaussian that the image is smoothed with, in pixels.
    threshold : float, optional
        How far above the background sources are, in units of the scatter of the smoothed image.
    grow : int, optional
        Pixels by which sources are grown.
    scale : float, optional
        Scale in pixels on which the background varies.

    Returns
    -------
    `~numpy.ndarray` of bool
        True on sky.

    Raises
    ------
    ValueError
        If no sky is left.

    Examples
    --------
    >>> from astropy_n2v.simulate import make_scene
    >>> from astropy_n2v.validation import sky_pixels
    >>> scene = make_scene('survey', (128, 128), seed=1)
    >>> sky = sky_pixels(scene.truth, sigma=15.0)
    >>> bool(0.5 < sky.mean() < 1 and abs(scene.truth[sky].mean() - scene.sky) < 1)
    True
    """
    values, _ = as_image('image', image, mask)
    valid = sky = np.isfinite(values)
    values = np.where(valid, values, 0) - (np.median(values[valid]) if valid.any() else 0)
    floor = 0.0 if sigma is None else float(sigma) / (2 * np.sqrt(np.pi) * smoothing)
    for _ in range(5):
        if not sky.any():
            break
        excess = smooth_good(values, valid, smoothing) - smooth_good(values, sky, scale)
        limit = threshold * max(robust_scatter(excess[sky]), floor)
        sources = binary_dilation(excess > limit, iterations=grow) if grow else excess > limit
        sky = valid & ~sources
    if not sky.any():
        raise ValueError('image has no sky: sources cover all valid pixels')
    return sky


def choose_sky(select, shape, image, sigma):
    """Return given sky pixels, or choose them on an image."""
    if select is None:
        return sky_pixels(image, sigma=float(np.nanmedian(sigma)))
    select = np.asarray(select, dtype=bool)
    require(select.shape == shape, 'select', f'have the shape of the image, {shape}', select.shape)
    if not select.any():
        raise ValueError('select must be True for at least one pixel, got none')
    return select


def sky_offset(before, after, *, truth=None, mesh=32, select=None, noise=None, mask=None):
    """
    Measure the change of the sky level in the cells of a mesh.

    Parameters
    ----------
    before, after : `~astropy.nddata.CCDData` or array_like
        Images of one shape and unit.
    truth : array_like, optional
        The truth or a reference, to compare with instead of ``before``.
    mesh : int, optional
        Size of a cell in pixels, a multiple of 8.
    select : array_like of bool, optional
        True on sky; by default `sky_pixels` of the truth or else of ``after``.
    noise : `~astropy_n2v.NoiseModel`, float or array_like, optional
        Noise of ``before``; by default its uncertainty, else measured.
    mask : array_like of bool, optional
        True where pixels do not count.

    Returns
    -------
    `~astropy.table.Table`
        For each cell with sky: x, y (its centre), n (pixels of sky), offset (mean of after -
        before, or of after - truth), offset_err, offset_sigma (offset over the noise of one pixel
        of sky), significance. ``meta``: sigma (that noise), compared_with, mesh.

    Raises
    ------
    ValueError
        If shapes do not agree, ``mesh`` is no multiple of 8, or there is no sky.

    Notes
    -----
    The errors come from the scatter of means over 8x8 pixels within cells, all cells together, so that
    they hold for noise that is correlated over some pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.validation import sky_offset
    >>> noisy = np.random.default_rng(0).normal(size=(64, 64))
    >>> cells = sky_offset(noisy, 0 * noisy + 0.05, noise=1.0, select=np.ones((64, 64), dtype=bool))
    >>> len(cells), cells.meta['compared_with']
    (4, 'before')
    """
    require(mesh >= _SUBBLOCK and mesh % _SUBBLOCK == 0, 'mesh', f'be a multiple of {_SUBBLOCK} pixels', mesh)
    (first, second, third), sigma, unit = compared_images(before, after, truth, noise, mask)
    sky = choose_sky(select, first.shape, second if third is None else third, sigma)
    good = sky & np.isfinite(first) & np.isfinite(sigma)
    if not good.any():
        raise ValueError('select must be True on valid pixels, got none')
    difference = second - (first if third is None else third)
    total, count = sum_blocks(difference, good, mesh, pad=True)
    with np.errstate(divide='ignore', invalid='ignore'):
        mean = total / count
        parts, numbers = sum_blocks(difference, good, _SUBBLOCK, pad=True)
        step = mesh // _SUBBLOCK
        cell_mean = np.repeat(np.repeat(mean, step, axis=0), step, axis=1)[:parts.shape[0], :parts.shape[1]]
        deviation = ((parts / numbers - cell_mean) * np.sqrt(numbers))[numbers >= _SUBBLOCK ** 2 / 4]
    free = max(deviation.size - (count > 0).sum(), 1)
    per_pixel = np.sqrt(np.mean(deviation ** 2) * deviation.size / free) if deviation.size > 1 else np.nan
    y, x = np.nonzero(count)
    one = float(np.median(sigma[good]))
    offset, n = mean[y, x], count[y, x]
    error = per_pixel / np.sqrt(n)
    # A denoiser that changes nothing, or all by one number, has no scatter.
    significance = np.divide(offset, error, out=np.where(offset == 0, 0.0, np.copysign(np.inf, offset)),
                             where=error > 1e-12 * one)
    table = Table({'x': (x + 0.5) * mesh - 0.5, 'y': (y + 0.5) * mesh - 0.5, 'n': n.astype(int), 'offset': offset,
                   'offset_err': error, 'offset_sigma': offset / one, 'significance': significance},
                  meta={'sigma': one, 'mesh': mesh, 'compared_with': 'before' if third is None else 'truth'})
    set_units(table, 'pix', 'xy')
    return set_units(table, unit, ('offset', 'offset_err'))


def summarize_sky_offset(cells, *, confidence=0.6827, n_resamples=1000, seed=None):
    """
    Estimate the offset of the sky over all cells, and find the worst of them.

    Parameters
    ----------
    cells : `~astropy.table.Table`
        From `sky_offset`.
    confidence, n_resamples, seed : optional
        As in `bootstrap_interval`; cells are resampled.

    Returns
    -------
    `~astropy.table.Table`
        One row: offset, offset_err, offset_low, offset_high (mean, in units of the noise of a pixel of sky),
        scatter (standard deviation of the significance of cells, 1 if they differ by chance only),
        worst (largest offset in units of that noise), worst_significance, n (cells).

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.validation import sky_offset, summarize_sky_offset
    >>> noisy = np.random.default_rng(0).normal(size=(64, 64))
    >>> cells = sky_offset(noisy, noisy + 0.05, noise=1.0, select=np.ones((64, 64), dtype=bool))
    >>> float(summarize_sky_offset(cells)['offset'][0])
    0.05
    """
    offset, n, significance = (np.asarray(cells[name], dtype=float) for name in ('offset_sigma', 'n', 'significance'))
    if offset.size == 0:
        raise ValueError('cells must have at least one row, got none')
    estimate = Bootstrap(confidence, n_resamples, seed).interval((offset * n, n), 'ratio')
    # Cells with a few pixels only are never the worst by chance.
    weighty = n >= 0.25 * n.max()
    worst = np.flatnonzero(weighty)[np.argmax(np.abs(offset[weighty]))]
    finite = significance[np.isfinite(significance)]
    row = {**estimate.columns('offset'), 'scatter': float(np.std(finite)) if finite.size else np.nan,
           'worst': offset[worst], 'worst_significance': significance[worst], 'n': offset.size}
    return Table(rows=[row], meta={**cells.meta, 'confidence': confidence})
