# Licensed under a 3-clause BSD style license - see LICENSE
"""
Figures of photometry: scatter, bias, pulls, apertures.
"""

import numpy as np

from .style import (
    COLOURS,
    draw_intervals,
    draw_points,
    finite,
    get_ink,
    say_empty,
    set_plain_asinh,
    set_plain_log,
    takes_axes,
)

__all__ = ['draw_aperture_noise', 'draw_curve_of_growth', 'draw_flux_bias', 'draw_flux_residuals', 'draw_flux_scatter',
           'draw_pulls']


@takes_axes
def draw_flux_scatter(flux, flux_result, *, flux_input=None, labels=('true flux', 'measured flux'), unit='', ax=None):
    """
    Draw fluxes on the result against the expected ones.

    Parameters
    ----------
    flux, flux_result : array_like
        Expected fluxes, and fluxes measured on the result, shape (n,).
    flux_input : array_like, optional
        Fluxes measured on the input.
    labels : tuple of str, optional
        Of the axes.
    unit : str, optional
        Of the fluxes.

    Raises
    ------
    ValueError
        If the lengths differ.

    Notes
    -----
    The correlation in the title is between the fluxes, and dominated by the brightest.

    Examples
    --------
    >>> from astropy_n2v.validation.figures import draw_flux_scatter
    >>> draw_flux_scatter([1, 10, 100], [1.1, 9.0, 101.0]).get_title()
    'correlation 0.9999'
    """
    flux, flux_result, flux_input = finite(flux, flux_result, flux_input)
    if flux.size < 2:
        return say_empty(ax, 'fewer than two sources')
    width = max(float(np.median(np.abs(flux))), 1e-30)
    draw_points(ax, flux, flux_result, flux_input, '.', alpha=0.7)
    ends = [flux.min(), flux.max()]
    ax.plot(ends, ends, '-', color=get_ink(), lw=0.8, label='equal')
    for axis in ax.xaxis, ax.yaxis:
        set_plain_asinh(axis, width)
    suffix = f' ({unit})' if unit else ''
    ax.set(xlabel=labels[0] + suffix, ylabel=labels[1] + suffix,
           title=f'correlation {np.corrcoef(flux, flux_result)[0, 1]:.4f}')
    ax.legend()


@takes_axes
def draw_flux_residuals(snr, residual, *, residual_input=None, ylabel='(measured - true) / error', ax=None):
    """
    Draw residuals of fluxes against signal-to-noise ratio.

    Parameters
    ----------
    snr, residual : array_like
        Signal-to-noise ratios, not from the measurement that is judged, and residuals on the result.
    residual_input : array_like, optional
        Residuals on the input.
    ylabel : str, optional
        Name of the residuals.

    Raises
    ------
    ValueError
        If the lengths differ.

    Examples
    --------
    >>> from astropy_n2v.validation.figures import draw_flux_residuals
    >>> draw_flux_residuals([3, 10, 30], [-0.5, 0.1, 0.0]).get_xscale()
    'log'
    """
    snr, residual, residual_input = finite(snr, residual, residual_input)
    if not snr.size:
        return say_empty(ax, 'no source')
    draw_points(ax, snr, residual, residual_input, '.', alpha=0.7)
    ax.axhline(0, color=get_ink(), lw=0.8)
    set_plain_log(ax.xaxis)
    shown = residual if residual_input is None else np.concatenate([residual, residual_input])
    top = float(np.percentile(np.abs(shown), 99)) * 1.3 or 1.0
    ax.set(xlabel='signal-to-noise ratio on the input', ylabel=ylabel, ylim=(-top, top))
    ax.legend()


@takes_axes
def draw_flux_bias(snr, bias, lower, upper, *, limit=None, label='result', colour='output', ylabel='flux bias',
                   percent=True, ax=None):
    """
    Draw the bias of fluxes in bins of signal-to-noise ratio, with intervals.

    Parameters
    ----------
    snr, bias, lower, upper : array_like
        Signal-to-noise ratios of the bins, bias in each, and the ends of its interval, shape (n,).
    limit : float, optional
        The largest bias that is accepted, drawn as a band.
    label, ylabel : str, optional
        Of the points and of the axis.
    colour : str, optional
        Key of `~astropy_n2v.validation.figures.COLOURS`.
    percent : bool, optional
        Whether to show fractions as percentages.

    Raises
    ------
    ValueError
        If the lengths differ.

    Examples
    --------
    >>> from astropy_n2v.validation.figures import draw_flux_bias
    >>> draw_flux_bias([5, 20], [-0.1, 0], [-0.2, -0.01], [-0.02, 0.01]).get_ylabel()
    'flux bias (%)'
    """
    factor = 100 if percent else 1
    snr, *values = finite(snr, bias, lower, upper)
    if not snr.size:
        return say_empty(ax, 'no bin with enough sources')
    draw_intervals(ax, snr, *(factor * part for part in values), expected=0, color=COLOURS[colour], label=label,
                   limits=None if limit is None else (-factor * limit, factor * limit))
    set_plain_log(ax.xaxis)
    ax.set(xlabel='signal-to-noise ratio on the input', ylabel=f'{ylabel} (%)' if percent else ylabel)
    ax.legend()


@takes_axes
def draw_pulls(pulls, *, label='result', colour='output', ax=None):
    """
    Draw the distribution of pulls, (measured - true) / stated error, and the expected one.

    Parameters
    ----------
    pulls : array_like
        Pulls of pixels or sources.
    label : str, optional
        Quantity that they are of.
    colour : str, optional
        Key of `~astropy_n2v.validation.figures.COLOURS`.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.validation.figures import draw_pulls
    >>> ax = draw_pulls(np.random.default_rng(0).normal(size=1000))
    >>> ax.get_xlabel()
    'pull'
    """
    pulls, = finite(pulls)
    if not pulls.size:
        return say_empty(ax, 'no pull')
    edges = np.linspace(-5, 5, 51)
    # Those beyond the axis count in its last bins, and in the norm.
    counts = np.histogram(np.clip(pulls, -4.999, 4.999), edges)[0]
    ax.stairs(counts / (pulls.size * np.diff(edges)), edges, color=COLOURS[colour], fill=True, alpha=0.4)
    ax.stairs(counts / (pulls.size * np.diff(edges)), edges, color=COLOURS[colour],
              label=f'{label}: rms {np.sqrt(np.mean(pulls ** 2)):.2f}')
    x = np.linspace(-5, 5, 201)
    # Once, if more than one distribution is drawn.
    label = None if any(line.get_label() == 'normal' for line in ax.lines) else 'normal'
    ax.plot(x, np.exp(-x ** 2 / 2) / np.sqrt(2 * np.pi), color=get_ink(), lw=1, label=label)
    ax.set(xlabel='pull', ylabel='density')
    ax.legend()


@takes_axes
def draw_curve_of_growth(radii, ratio, lower=None, upper=None, *, limit=None, label='result / input', ax=None):
    """
    Draw the flux within apertures of growing radius over the expected flux.

    Parameters
    ----------
    radii, ratio : array_like
        Radii in pixels, and flux over the expected flux, shape (n,).
    lower, upper : array_like, optional
        Ends of the intervals of the ratio.
    limit : float, optional
        The largest deviation from one that is accepted, drawn as a band.
    label : str, optional
        Name of the ratio.

    Raises
    ------
    ValueError
        If the lengths differ.

    Examples
    --------
    >>> from astropy_n2v.validation.figures import draw_curve_of_growth
    >>> draw_curve_of_growth([1, 2, 3], [0.9, 0.99, 1.0]).get_xlabel()
    'aperture radius (pixels)'
    """
    radii, *values = finite(radii, ratio, *(ratio if end is None else end for end in (lower, upper)))
    if not radii.size:
        return say_empty(ax, 'no curve of growth')
    draw_intervals(ax, radii, *values, expected=1, limits=None if limit is None else (1 - limit, 1 + limit),
                   color=COLOURS['output'], label=label)
    ax.set(xlabel='aperture radius (pixels)', ylabel='flux ratio')
    ax.legend()


@takes_axes
def draw_aperture_noise(n_pixels, sigma, sigma_pixel, *, sigma_input=None, ax=None):
    """
    Draw the scatter of empty apertures against their size, and the scatter of noise without correlation.

    Parameters
    ----------
    n_pixels, sigma : array_like
        Pixels in the apertures, and the scatter of their sums on the result, shape (n,).
    sigma_pixel : float
        Standard deviation of a single pixel of the result.
    sigma_input : array_like, optional
        The scatter on the input.

    Raises
    ------
    ValueError
        If the lengths differ.

    Examples
    --------
    >>> from astropy_n2v.validation.figures import draw_aperture_noise
    >>> draw_aperture_noise([1, 9, 25], [1, 6, 15], 1.0).get_yscale()
    'log'
    """
    n_pixels, sigma, sigma_input = finite(n_pixels, sigma, sigma_input)
    if not n_pixels.size:
        return say_empty(ax, 'no empty aperture')
    draw_points(ax, n_pixels, sigma, sigma_input, 'o-')
    ax.plot(n_pixels, sigma_pixel * np.sqrt(n_pixels), '--', lw=1, color=get_ink(),
            label=r'$\sqrt{N}\,\sigma$ of the result')
    for axis in ax.xaxis, ax.yaxis:
        set_plain_log(axis)
    ax.set(xlabel='pixels in the aperture, N', ylabel='scatter of empty apertures')
    ax.legend()
