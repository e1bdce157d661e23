# Licensed under a 3-clause BSD style license - see LICENSE
"""
All figures of a report.
"""

import io
from dataclasses import dataclass

import numpy as np

from ...utils.checks import require
from ..detection.thresholds import detection_scores
from ..measures.correlation import autocorrelation_map
from ..measures.tables import values_of
from . import detection, flux, quality
from .images import draw_comparison
from .style import figure_style

__all__ = ['DrawnFigure', 'draw_figures', 'draw_overview']


@dataclass(frozen=True)
class DrawnFigure:
    """
    A figure as PNG.

    Parameters
    ----------
    name : str
        Its name, which is the name of its file without the suffix.
    caption : str
        Text below it.
    light : bytes
        The image on white.
    dark : bytes or None
        The image on near black.
    size : tuple of int
        Width and height in pixels.
    wide : bool
        True if it needs the full width of a page.

    Examples
    --------
    >>> from astropy.table import Table
    >>> from astropy_n2v.validation import Report
    >>> from astropy_n2v.validation.figures import draw_figures
    >>> metrics = Table({'frame': ['a'], 'psnr_before': [20.0], 'psnr_after': [30.0], 'ssim_before': [0.5],
    ...                  'ssim_after': [0.9]})
    >>> [figure.name for figure in draw_figures(Report([], {'image_metrics': metrics}), dark=False, dpi=40)]
    ['metrics_table', 'psnr_histogram', 'ssim_histogram', 'psnr_ssim']
    """

    name: str
    caption: str
    light: bytes
    dark: bytes | None
    size: tuple
    wide: bool = False


def draw_figures(report, *, dark=True, dpi=110):
    """
    Draw all figures that the tables of a report allow.

    Parameters
    ----------
    report : `~astropy_n2v.validation.Report`
        The report.
    dark : bool, optional
        Whether to draw each a second time for dark pages.
    dpi : float, optional
        Pixels per inch.

    Returns
    -------
    list of DrawnFigure
        The figures.

    Examples
    --------
    >>> from astropy.table import Table
    >>> from astropy_n2v.validation import Report
    >>> from astropy_n2v.validation.figures import draw_figures
    >>> draw_figures(Report([], {'empty': Table()}))
    []
    """
    drawn = []
    for name, size, caption, draw in _panels(report):
        images = []
        for theme in ('light', 'dark') if dark else ('light',):
            with figure_style(theme):
                images.append(_render(draw, size, dpi))
        drawn.append(DrawnFigure(name, caption, images[0][0], images[1][0] if dark else None, images[0][1],
                                 wide=size[0] > 6))
    return drawn


def draw_overview(report, *, columns=4):
    """
    Draw all panels of a report into one figure.

    Parameters
    ----------
    report : `~astropy_n2v.validation.Report`
        The report.
    columns : int, optional
        Panels side by side.

    Returns
    -------
    `~matplotlib.figure.Figure`
        The figure; without a panel if the tables of the report allow none.

    Raises
    ------
    ValueError
        If ``columns`` is not positive.

    Examples
    --------
    >>> from astropy.table import Table
    >>> from astropy_n2v.validation import Report
    >>> from astropy_n2v.validation.figures import draw_overview
    >>> metrics = Table({'frame': ['a'], 'psnr_before': [20.0], 'psnr_after': [30.0], 'ssim_before': [0.5],
    ...                  'ssim_after': [0.9]})
    >>> len(draw_overview(Report([], {'image_metrics': metrics})).axes)
    4
    """
    from matplotlib.figure import Figure
    require(columns >= 1, 'columns', 'be positive', columns)
    panels = [panel for panel in _panels(report) if panel[1][0] <= 6]
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.6 * columns, 3.7 * max(rows, 1)), layout='constrained')
    for i, (_, _, _, draw) in enumerate(panels):
        draw(figure.add_subplot(rows, columns, i + 1))
    return figure


def _render(draw, size, dpi):
    """Draw a panel, and encode it."""
    from matplotlib.figure import Figure
    figure = Figure(figsize=size, layout='constrained')
    draw(figure.subplots() if size[0] <= 6 else figure)
    stream = io.BytesIO()
    figure.savefig(stream, format='png', dpi=dpi)
    return stream.getvalue(), tuple(int(round(length * dpi)) for length in figure.get_size_inches())


def _panels(report):
    """List name, size in inches, caption and drawing function of each figure that the report has tables for."""
    tables = {name: table for name, table in report.tables.items() if len(table)}
    panels = []
    for group in (_image_panels, _metric_panels, _flux_panels, _noise_panels, _recovery_panels, _sweep_panels):
        panels += group(tables, report)
    return panels


_SIZE = (5.0, 3.8)


def _of(report, *names):
    """Describe the sources (catalogue or injected) and the point-spread function of a figure, to end its caption."""
    injected = f'{report.meta.get("n_injected") or ""} injected sources'.strip()
    known = {'injected': injected, 'sources': report.meta.get('sources'), 'psf': report.meta.get('psf')}
    text = '; '.join(known[name] for name in names if known[name])
    return f' {text[0].upper()}{text[1:]}.' if text else ''


def _panel(name, caption, draw, /, *arrays, **options):
    """Make a panel of one axes: a function that draws, and what it draws."""
    return name, _SIZE, caption, lambda ax: draw(*arrays, ax=ax, **options)


def _columns(table, *names):
    """Take columns of a table as arrays."""
    return [values_of(table, name) for name in names]


def _interval(table, name):
    """Take an estimate and its interval from a table."""
    return _columns(table, name, f'{name}_low', f'{name}_high')


def _curves(table, *names):
    """Take columns of a table for each map of the detection."""
    maps = values_of(table, 'image')
    return {name: [column[maps == name] for column in _columns(table, *names)] for name in dict.fromkeys(maps.tolist())}


def _image_panels(tables, report):
    """List the panels of the images."""
    images = report.images
    if 'before' not in images:
        return []

    def draw(figure):
        shown = [images['before'], images['after'], images.get('truth')]
        titles = ('input', 'result', report.meta.get('compared_with', 'truth'))
        axes = figure.subplots(1, sum(image is not None for image in shown) + 1)
        draw_comparison(*shown, sigma=images.get('sigma'), titles=titles, residual=True, axes=axes)
    panels = 3 + ('truth' in images)
    ny, nx = images['before'].shape
    return [('comparison', (3.1 * panels, 3.1 * ny / nx + 0.4),
             'A part of the first frame: input, result, what they are compared with (where there is something), and '
             'input minus result from -5 to 5 sigma. No source should show in the last.', draw)]


def _metric_panels(tables, report):
    """List the panels of the image metrics."""
    if 'image_metrics' not in tables:
        return []
    table, names = tables['image_metrics'], ('psnr_before', 'psnr_after', 'ssim_before', 'ssim_after')
    psnr_before, psnr_after, ssim_before, ssim_after = _columns(table, *names)
    short = table[[name for name in ('frame', *names) if name in table.colnames]]
    return [
        _panel('metrics_table', 'Image metrics of each frame, before and after.', quality.draw_metrics_table, short,
               max_rows=8),
        _panel('psnr_histogram', 'Peak signal-to-noise ratio of the frames.', quality.draw_metric_histogram,
               psnr_before, psnr_after, name='PSNR', unit='dB'),
        _panel('ssim_histogram', 'Structural similarity of the frames.', quality.draw_metric_histogram,
               ssim_before, ssim_after, name='SSIM'),
        _panel('psnr_ssim', 'The two against each other, a point each frame.', quality.draw_metric_correlation,
               psnr_after, ssim_after, psnr_input=psnr_before, ssim_input=ssim_before),
    ]


def _flux_panels(tables, report):
    """List the panels of the photometry."""
    panels, of = [], _of(report, 'sources', 'psf')
    if 'sources' in tables:
        true, before, after, error, error_after, snr = _columns(
            tables['sources'], 'flux_true', 'flux_before', 'flux_after', 'flux_before_err', 'flux_after_err', 'snr')
        known = bool(np.isfinite(true).any())
        expected = true if known else before
        # The values that the points are compared with need not have been free of noise.
        compared = report.meta.get('compared_with', 'truth') if known else 'input'
        panels += [
            _panel('flux_scatter', f'Flux of the same apertures on the result, and on the {compared}.{of}',
                   flux.draw_flux_scatter, expected, after, flux_input=before if known else None,
                   labels=(f'flux on the {compared}', 'measured flux')),
            _panel('flux_residuals', f'Flux minus flux of the {compared}, in units of the error on the input.{of}',
                   flux.draw_flux_residuals, snr, (after - expected) / error, ylabel=f'(flux - {compared}) / error',
                   residual_input=(before - expected) / error if known else None)]
        if known and np.isfinite(error_after).any():
            panels.append(_panel(
                'flux_pulls', 'Flux errors on the result in units of the stated error, if variances of pixels are '
                'summed. Wider than the curve, because errors are correlated between pixels; to its left where faint '
                f'sources lose flux.{of}', flux.draw_pulls, (after - true) / error_after))
    if 'flux_bias' in tables:
        bins = tables['flux_bias'][1:]
        snr = values_of(bins, 'snr')
        panels.append(_panel('flux_bias', 'Flux that the result adds or takes away, by signal-to-noise ratio.'
                             f'{of}', flux.draw_flux_bias, snr, *_interval(bins, 'bias')))
        if np.isfinite(values_of(bins, 'scatter_after')).any():
            def draw_scatter(*, ax):
                for label, name, colour in ('input', 'scatter_before', 'input'), ('result', 'scatter_after', 'output'):
                    flux.draw_flux_bias(snr, *_interval(bins, name), label=label, colour=colour, percent=False,
                                        ylabel='scatter (errors of the input)', ax=ax)
            panels.append(_panel('flux_scatter_snr', 'Scatter of fluxes about what they should be, by signal-to-noise '
                                 f'ratio.{of}', draw_scatter))
    if 'growth' in tables:
        growth = tables['growth']
        panels.append(_panel('curve_of_growth', 'Flux in apertures of growing radius, bright sources: the result over '
                             f'what it should be.{of}', flux.draw_curve_of_growth, values_of(growth, 'radius'),
                             *_interval(growth, 'ratio'), limit=report['growth'].limits[1], label='result / expected'))
    return panels


def _noise_panels(tables, report):
    """List the panels of noise, uncertainty and sky."""
    panels = []
    if 'noise_by_brightness' in tables:
        bins = tables['noise_by_brightness'][1:]
        signal = values_of(bins, 'brightness_low')
        panels.append(_panel('noise_reduction', 'How many times smaller the error of a pixel is, by the brightness '
                             'from which a bin begins.', quality.draw_noise_reduction,
                             np.where(np.isfinite(signal), signal, 0.0), *_interval(bins, 'noise_reduction')))
    if 'pulls' in tables:
        kinds, pulls = _columns(tables['pulls'], 'kind', 'pull')

        def draw_pulls(*, ax):
            for kind, colour in ('sky', 'output'), ('sources', 'matched'):
                if (kinds == kind).any():
                    flux.draw_pulls(pulls[kinds == kind], label=kind, colour=colour, ax=ax)
        panels.append(_panel('pixel_pulls', 'Errors of pixels in units of the stated uncertainty.', draw_pulls))
    if 'aperture_noise' in tables:
        area, sigma, before = _columns(tables['aperture_noise'], 'area', 'sigma', 'sigma_before')
        panels.append(_panel('aperture_noise', 'Scatter of the sums in empty apertures. Above the dashed line errors '
                             'are correlated, and summed variances are too small.', flux.draw_aperture_noise,
                             area, sigma, float(sigma[0]), sigma_input=before))
    for name, caption in (('residual_autocorrelation', 'Autocorrelation of input minus result on the sky. It should be '
                           'the autocorrelation of the noise.'),
                          ('output_autocorrelation', 'Autocorrelation of what is left of the noise in the result.')):
        if name in tables:
            panels.append(_panel(name, caption, quality.draw_autocorrelation, autocorrelation_map(tables[name])))
    if 'sky_cells' in tables:
        frames = values_of(tables['sky_cells'], 'frame')
        offset, extent = _cell_map(tables['sky_cells'][frames == frames[0]])
        panels.append(_panel('sky_offset', 'Offset of the sky over the first frame, in units of the noise of a pixel.',
                             quality.draw_sky_offset, offset, extent=extent))
    return panels


def _recovery_panels(tables, report):
    """List the panels of injected sources."""
    panels, of = [], _of(report, 'injected', 'psf')
    if 'completeness' in tables:
        curves = _curves(tables['completeness'], 'mag', 'completeness', 'completeness_low', 'completeness_high')
        panels.append(_panel('completeness', 'Share of injected sources that are found, each map at the threshold '
                             f'of an equal share (or rate) of false detections.{of}', detection.draw_completeness,
                             curves, fits=_fits(tables)))
    if 'recovered_flux' in tables:
        recovered = _curves(tables['recovered_flux'], 'snr', 'bias', 'bias_low', 'bias_high')

        def draw_recovered(*, ax):
            for image, colour in ('matched filter', 'matched'), ('denoised', 'output'):
                flux.draw_flux_bias(*recovered.get(image, [[]] * 4), label=image, colour=colour, ax=ax)
        panels.append(_panel('recovered_flux', 'Flux of injected sources: what is found minus what was put in, of '
                             f'all of them, detected or not.{of}', draw_recovered))
    return panels


def _sweep_panels(tables, report):
    """Make panels of precision and recall against the threshold."""
    if 'sweep' not in tables:
        return []
    curves = _curves(tables['sweep'], 'threshold', 'tp', 'fp', 'fn')
    best = {name: np.nanargmax(np.nan_to_num(detection_scores(*curve[1:])[2])) for name, curve in curves.items()}
    counts = {name: [int(column[best[name]]) for column in curve[1:]] for name, curve in curves.items()}
    main = next((name for name in ('detection image', 'denoised') if name in curves), next(iter(curves)))
    # Without a truth, injected sources are detected.
    of = _of(report, 'sources' if report.meta.get('compared_with') in ('truth', 'reference') else 'injected', 'psf')
    return [
        _panel('precision_recall', 'Precision against recall, with thresholds: in units of the error of the matched '
               f'filter on the input, or of the map itself (detection image, over uncertainty).{of}',
               detection.draw_precision_recall, curves),
        _panel('threshold_scores', f'Precision, recall and F1 against the threshold: {main}.{of}',
               detection.draw_threshold_scores, *curves[main]),
        _panel('threshold_counts', f'Sources found, falsely found and missed against the threshold: {main}.{of}',
               detection.draw_threshold_counts, *curves[main]),
        _panel('best_f1', f'The best F1 of each way to detect, and where it is reached.{of}', detection.draw_best_f1,
               curves),
        _panel('confusion', f'Sources found, missed and falsely found at the best F1: {main}.{of}',
               detection.draw_confusion, *counts[main]),
        _panel('detection_summary', f'Precision, recall and F1, each way at its best threshold.{of}',
               detection.draw_detection_summary, list(counts), *np.transpose(list(counts.values()))),
    ]


def _fits(tables):
    """Magnitude of half completeness and width of the logistic curve, by the name of the map."""
    if 'depth' not in tables:
        return {}
    table = tables['depth']
    # A logistic curve falls from 90 to 50 % over ln 9 widths.
    return {name: (m50, (m50 - m90) / np.log(9)) for name, m50, m90 in zip(*_columns(table, 'image', 'm50', 'm90'))}


def _cell_map(table):
    """A table with a row per mesh cell as a map, and its extent in pixels."""
    x, y, offset = _columns(table, 'x', 'y', 'offset_sigma')
    columns, rows = np.unique(x), np.unique(y)
    n = values_of(table, 'n') if 'n' in table.colnames else np.ones(len(table))
    offset = np.where(n >= 0.25 * n.max(), offset, np.nan)   # means of few pixels would set the scale
    cells = np.full((rows.size, columns.size), np.nan)
    cells[np.searchsorted(rows, y), np.searchsorted(columns, x)] = offset
    step = [np.median(np.diff(axis)) if axis.size > 1 else 32 for axis in (columns, rows)]
    return cells, (columns[0] - step[0] / 2, columns[-1] + step[0] / 2, rows[0] - step[1] / 2, rows[-1] + step[1] / 2)
