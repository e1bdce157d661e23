# Licensed under a 3-clause BSD style license - see LICENSE
"""
Figures of image metrics and of noise.
"""

import numpy as np

from .style import COLOURS, draw_intervals, finite, get_ink, say_empty, set_plain_log, takes_axes

__all__ = ['draw_autocorrelation', 'draw_metric_correlation', 'draw_metric_histogram', 'draw_metrics_table',
           'draw_noise_reduction', 'draw_sky_offset']


@takes_axes
def draw_metrics_table(table, *, max_rows=20, ax=None):
    """
    Draw a table of metrics, an image each row.

    Parameters
    ----------
    table : `~astropy.table.Table`
        The table.
    max_rows : int, optional
        Rows beyond are left out, and their number is given.

    Examples
    --------
    >>> from astropy.table import Table
    >>> from astropy_n2v.validation.figures import draw_metrics_table
    >>> ax = draw_metrics_table(Table({'frame': ['a', 'b'], 'psnr': [30.1, 29.5]}))
    >>> len(ax.tables)
    1
    """
    ax.axis('off')
    if not len(table):
        return say_empty(ax, 'no image')

    def text(value):
        return f'{value:.4g}' if isinstance(value, (float, np.floating)) else str(value)
    rows = [[text(value) for value in row] for row in table[:max_rows].iterrows()]
    drawn = ax.table(rows, colLabels=[name.replace('_', '\n') for name in table.colnames], loc='center')
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(8)
    drawn.scale(1, 1.3)
    for (row, _), cell in drawn.get_celld().items():
        cell.set(facecolor='none', edgecolor=COLOURS['input'], linewidth=0.4)
        cell.set_height(cell.get_height() * (1.8 if row == 0 else 1))
        cell.get_text().set_color(get_ink())
    if len(table) > max_rows:
        ax.set_title(f'{len(table) - max_rows} more images')


@takes_axes
def draw_metric_histogram(before, after, *, name, unit='', ax=None):
    """
    Draw the distribution of a metric over images, before and after denoising.

    Parameters
    ----------
    before, after : array_like
        The metric of each image.
    name : str
        Of the metric, such as 'PSNR'.
    unit : str, optional
        Its unit.

    Examples
    --------
    >>> from astropy_n2v.validation.figures import draw_metric_histogram
    >>> draw_metric_histogram([20, 21], [30, 31], name='PSNR', unit='dB').get_xlabel()
    'PSNR (dB)'
    """
    before, after = (finite(values)[0] for values in (before, after))
    both = np.concatenate([before, after])
    if not both.size:
        return say_empty(ax, 'no image')
    low, high = both.min(), both.max()
    margin = 0.05 * (high - low) or 0.5
    edges = np.linspace(low - margin, high + margin, int(np.clip(2 * np.sqrt(both.size), 12, 40)) + 1)
    for values, colour, label in (before, 'input', 'before'), (after, 'output', 'after'):
        ax.hist(values, edges, color=COLOURS[colour], alpha=0.6, label=f'{label}: median {np.median(values):.4g}')
    ax.yaxis.get_major_locator().set_params(integer=True)
    ax.set(xlabel=f'{name} ({unit})' if unit else name, ylabel='images')
    ax.legend()


@takes_axes
def draw_metric_correlation(psnr, ssim, *, psnr_input=None, ssim_input=None, ax=None):
    """
    Draw SSIM against PSNR, an image each point.

    Parameters
    ----------
    psnr, ssim : array_like
        Of the results.
    psnr_input, ssim_input : array_like, optional
        Of the inputs.

    Notes
    -----
    The correlation in the title is between the results; of two images it is left out.

    Examples
    --------
    >>> from astropy_n2v.validation.figures import draw_metric_correlation
    >>> draw_metric_correlation([20, 25, 30], [0.5, 0.7, 0.9]).get_title()
    'correlation 1.00'
    """
    psnr, ssim = finite(psnr, ssim)
    if psnr_input is not None and ssim_input is not None:
        ax.plot(psnr_input, ssim_input, 'o', ms=5, color=COLOURS['input'], label='before')
    ax.plot(psnr, ssim, 'o', ms=5, color=COLOURS['output'], label='after')
    if psnr.size > 2 and np.ptp(psnr) > 0 and np.ptp(ssim) > 0:
        ax.set_title(f'correlation {np.corrcoef(psnr, ssim)[0, 1]:.2f}')
    ax.set(xlabel='PSNR (dB)', ylabel='SSIM')
    ax.legend()


@takes_axes
def draw_noise_reduction(signal, reduction, lower=None, upper=None, *, ax=None):
    """
    Draw how many times smaller the error is, against brightness.

    Parameters
    ----------
    signal, reduction : array_like
        Brightness of the bins in units of the sky noise, and rms error before over after, shape (n,).
    lower, upper : array_like, optional
        Ends of its interval.

    Notes
    -----
    Below one the result is worse than the data.

    Examples
    --------
    >>> from astropy_n2v.validation.figures import draw_noise_reduction
    >>> draw_noise_reduction([0, 3, 30], [8.0, 3.0, 1.4]).get_ylabel()
    'error before / after'
    """
    lower, upper = (reduction if end is None else np.where(np.isfinite(end), end, reduction) for end in (lower, upper))
    signal, *values = finite(signal, reduction, lower, upper)
    if not signal.size:
        return say_empty(ax, 'no bin with enough pixels')
    draw_intervals(ax, signal, *values, expected=1, color=COLOURS['output'])
    ax.set_xscale('asinh', linear_width=1)
    ticks = np.array([0, 1, 3, 10, 30, 100, 300, 1000])
    ax.set_xticks(ticks[ticks <= 1.5 * max(signal.max(), 1)], minor=False)
    ax.xaxis.set_major_formatter('{x:g}')
    ax.set_xticks([], minor=True)
    set_plain_log(ax.yaxis)
    ax.set(xlabel='signal of the pixel (sigma of the sky)', ylabel='error before / after')


@takes_axes
def draw_autocorrelation(correlation, *, title='', ax=None):
    """
    Draw an autocorrelation map.

    Parameters
    ----------
    correlation : array_like
        Shape (2 n + 1, 2 n + 1), the centre is lag zero.
    title : str, optional
        Of the axes.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.validation.figures import draw_autocorrelation
    >>> draw_autocorrelation(np.eye(3)).get_xlabel()
    'lag in x (pixels)'
    """
    correlation = np.array(correlation, dtype=float)
    half = correlation.shape[0] // 2
    off_centre = correlation.copy()
    off_centre[half, half] = np.nan
    top = _draw_map(ax, off_centre, 'correlation', (-half - 0.5, half + 0.5, -half - 0.5, half + 0.5))
    # The centre is one by definition; it would hide the rest.
    if half <= 3:
        for y, x in np.ndindex(correlation.shape):
            if np.isfinite(off_centre[y, x]):
                ax.text(x - half, y - half, f'{off_centre[y, x]:.2f}', ha='center', va='center', fontsize=7,
                        color='#ffffff' if abs(off_centre[y, x]) > 0.6 * top else '#1d232b')
    ax.set(xlabel='lag in x (pixels)', ylabel='lag in y (pixels)', title=title)


@takes_axes
def draw_sky_offset(offset, *, extent=None, title='', ax=None):
    """
    Draw a map of the offset of the sky.

    Parameters
    ----------
    offset : array_like
        Offset of each mesh in units of the sky noise, shape (ny, nx); NaN where there is no sky.
    extent : tuple of float, optional
        Left, right, bottom and top in pixels.
    title : str, optional
        Of the axes.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.validation.figures import draw_sky_offset
    >>> len(draw_sky_offset(np.zeros((4, 4))).images)
    1
    """
    offset = np.asarray(offset, dtype=float)
    if not np.isfinite(offset).any():
        return say_empty(ax, 'no sky')
    _draw_map(ax, offset, 'offset (sigma)', extent)
    ax.set(xlabel='x (pixels)', ylabel='y (pixels)', title=title)


def _draw_map(ax, values, label, extent):
    """Draw a map on a scale from blue to red about zero, and return the end of the scale."""
    top = max(float(np.nanmax(np.abs(values))), 0.02) if np.isfinite(values).any() else 1.0
    image = ax.imshow(values, origin='lower', cmap='RdBu_r', vmin=-top, vmax=top, extent=extent,
                      interpolation='nearest')
    ax.grid(False)
    ax.figure.colorbar(image, ax=ax, label=label)
    return top
