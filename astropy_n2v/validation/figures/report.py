# Licensed under a 3-clause BSD style license - see LICENSE
"""
All figures of a report.
"""

import io
from dataclasses import dataclass

import numpy as np

from ...utils.checks import require
from ..measures.correlation import autocorrelation_map
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
        Its name, that of its file without the suffix.
    caption : str
        What it shows.
    light : bytes
        The image on white.
    dark : bytes or None
        The image on near black.
    size : tuple of int
        Width and height in pixels.
    wide : bool
        Whether it needs the full width of a page.

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
    """Name, size in inches, caption and drawing function of each figure that the report has tables for."""
    tables = {name: table for name, table in report.tables.items() if len(table)}
    panels = []
    for group in (_image_panels, _metric_panels, _flux_panels, _noise_panels, _recovery_panels, _sweep_panels):
        panels += group(tables, report)
    return panels


_SIZE = (5.0, 3.8)


def _of(report, *names):
    """The sources (catalogue or injected) and the point-spread function of a figure, to end its caption."""
    injected = f'{report.meta.get("n_injected") or ""} injected sources'.strip()
    known = {'injected': injected, 'sources': report.meta.get('sources'), 'psf': report.meta.get('psf')}
    text = '; '.join(known[name] for name in names if known[name])
    return f' {text[0].upper()}{text[1:]}.' if text else ''


def _values(table, name):
    """A column as a plain array."""
    return np.asarray(getattr(table[name], 'value', table[name]))


def _columns(table, *names):
    """Columns as plain arrays: taken when a panel is listed, and not when it is drawn."""
    return [_values(table, name) for name in names]


def _image_panels(tables, report):
    """Panels of the images."""
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
    """Panels of the image metrics."""
    if 'image_metrics' not in tables:
        return []
    table = tables['image_metrics']
    columns = {name: _values(table, name) for name in ('psnr_before', 'psnr_after', 'ssim_before', 'ssim_after')}
    short = table[[name for name in ('frame', *columns) if name in table.colnames]]
    return [
        ('metrics_table', _SIZE, 'Image metrics of each frame, before and after.',
         lambda ax: quality.draw_metrics_table(short, max_rows=8, ax=ax)),
        ('psnr_histogram', _SIZE, 'Peak signal-to-noise ratio of the frames.',
         lambda ax: quality.draw_metric_histogram(columns['psnr_before'], columns['psnr_after'], name='PSNR',
                                                  unit='dB', ax=ax)),
        ('ssim_histogram', _SIZE, 'Structural similarity of the frames.',
         lambda ax: quality.draw_metric_histogram(columns['ssim_before'], columns['ssim_after'], name='SSIM', ax=ax)),
        ('psnr_ssim', _SIZE, 'The two against each other, a point each frame.',
         lambda ax: quality.draw_metric_correlation(columns['psnr_after'], columns['ssim_after'],
                                                    psnr_input=columns['psnr_before'],
                                                    ssim_input=columns['ssim_before'], ax=ax)),
    ]


def _flux_panels(tables, report):
    """Panels of the photometry."""
    panels, of = [], _of(report, 'sources', 'psf')
    if 'sources' in tables:
        true, before, after, error, error_after, snr = _columns(
            tables['sources'], 'flux_true', 'flux_before', 'flux_after', 'flux_before_err', 'flux_after_err', 'snr')
        known = bool(np.isfinite(true).any())
        expected = true if known else before
        # What the points are compared with need not have been free of noise.
        compared = report.meta.get('compared_with', 'truth') if known else 'input'
        panels += [
            ('flux_scatter', _SIZE, f'Flux of the same apertures on the result, and on the {compared}.{of}',
             lambda ax: flux.draw_flux_scatter(expected, after, flux_input=before if known else None,
                                               labels=(f'flux on the {compared}', 'measured flux'), ax=ax)),
            ('flux_residuals', _SIZE, f'Flux minus that of the {compared}, in units of the error on the input.{of}',
             lambda ax: flux.draw_flux_residuals(snr, (after - expected) / error,
                                                 residual_input=(before - expected) / error if known else None,
                                                 ylabel=f'(flux - {compared}) / error', ax=ax))]
        if known and np.isfinite(error_after).any():
            pulls = (after - true) / error_after
            panels.append(('flux_pulls', _SIZE, 'Flux errors on the result in units of the stated error, if variances '
                           'of pixels are summed. Wider than the curve, because errors are correlated between pixels; '
                           f'to its left where faint sources lose flux.{of}',
                           lambda ax: flux.draw_pulls(pulls, ax=ax)))
    if 'flux_bias' in tables:
        bins = tables['flux_bias'][1:]
        panels.append(('flux_bias', _SIZE, 'What the result adds to or takes from the flux, by signal-to-noise '
                       f'ratio.{of}',
                       lambda ax: flux.draw_flux_bias(*_columns(bins, 'snr', 'bias', 'bias_low', 'bias_high'),
                                                      ax=ax)))
        if np.isfinite(_values(bins, 'scatter_after')).any():
            def draw_scatter(ax):
                for when, colour in ('before', 'input'), ('after', 'output'):
                    flux.draw_flux_bias(*_columns(
                        bins, 'snr', f'scatter_{when}', f'scatter_{when}_low', f'scatter_{when}_high'),
                        label={'before': 'input', 'after': 'result'}[when], colour=colour,
                        ylabel='scatter (errors of the input)', percent=False, ax=ax)
            panels.append(('flux_scatter_snr', _SIZE, 'Scatter of fluxes about what they should be, by '
                           f'signal-to-noise ratio.{of}', draw_scatter))
    if 'growth' in tables:
        growth = tables['growth']
        panels.append(('curve_of_growth', _SIZE, 'Flux in apertures of growing radius, bright sources: the result over '
                       f'what it should be.{of}', lambda ax: flux.draw_curve_of_growth(
                           *_columns(growth, 'radius', 'ratio', 'ratio_low', 'ratio_high'),
                           limit=report['growth'].limits[1], label='result / expected', ax=ax)))
    return panels


def _noise_panels(tables, report):
    """Panels of noise, uncertainty and sky."""
    panels = []
    if 'noise_by_brightness' in tables:
        bins = tables['noise_by_brightness'][1:]
        signal = np.where(np.isfinite(_values(bins, 'brightness_low')), _values(bins, 'brightness_low'), 0.0)
        panels.append(('noise_reduction', _SIZE, 'How many times smaller the error of a pixel is, by the brightness '
                       'from which a bin begins.', lambda ax: quality.draw_noise_reduction(
                           signal, *_columns(bins, 'noise_reduction', 'noise_reduction_low', 'noise_reduction_high'),
                           ax=ax)))
    if 'pulls' in tables:
        kinds, pulls = _columns(tables['pulls'], 'kind', 'pull')

        def draw_pulls(ax):
            for kind, colour in ('sky', 'output'), ('sources', 'matched'):
                if (kinds == kind).any():
                    flux.draw_pulls(pulls[kinds == kind], label=kind, colour=colour, ax=ax)
        panels.append(('pixel_pulls', _SIZE, 'Errors of pixels in units of the stated uncertainty.', draw_pulls))
    if 'aperture_noise' in tables:
        area, sigma, sigma_before = _columns(tables['aperture_noise'], 'area', 'sigma', 'sigma_before')
        panels.append(('aperture_noise', _SIZE, 'Scatter of the sums in empty apertures. Above the dashed line errors '
                       'are correlated, and summed variances are too small.', lambda ax: flux.draw_aperture_noise(
                           area, sigma, float(sigma[0]), sigma_input=sigma_before, ax=ax)))
    for name, caption in (('residual_autocorrelation', 'Autocorrelation of input minus result on the sky. It should be '
                           'that of the noise.'),
                          ('output_autocorrelation', 'Autocorrelation of what is left of the noise in the result.')):
        if name in tables:
            panels.append((name, _SIZE, caption, lambda ax, table=tables[name]: quality.draw_autocorrelation(
                autocorrelation_map(table), ax=ax)))
    if 'sky_cells' in tables:
        table = tables['sky_cells']
        table = table[_values(table, 'frame') == _values(table, 'frame')[0]]
        offset, extent = _cell_map(table)
        panels.append(('sky_offset', _SIZE, 'Offset of the sky over the first frame, in units of the noise of a pixel.',
                       lambda ax: quality.draw_sky_offset(offset, extent=extent, ax=ax)))
    return panels


def _recovery_panels(tables, report):
    """Panels of injected sources."""
    panels, of = [], _of(report, 'injected', 'psf')
    if 'completeness' in tables:
        table = tables['completeness']
        names = _values(table, 'image')
        curves = {name: tuple(_values(table, column)[names == name] for column in
                              ('mag', 'completeness', 'completeness_low', 'completeness_high'))
                  for name in dict.fromkeys(names.tolist())}
        panels.append(('completeness', _SIZE, 'Share of injected sources that are found, each map at the threshold '
                       f'of an equal share (or rate) of false detections.{of}',
                       lambda ax: detection.draw_completeness(curves, fits=_fits(tables), ax=ax)))
    if 'recovered_flux' in tables:
        recovered = tables['recovered_flux']

        def draw_recovered(ax):
            for image, colour in ('matched filter', 'matched'), ('denoised', 'output'):
                rows = recovered[_values(recovered, 'image') == image]
                flux.draw_flux_bias(*_columns(rows, 'snr', 'bias', 'bias_low', 'bias_high'), label=image,
                                    colour=colour, ax=ax)
        panels.append(('recovered_flux', _SIZE, 'Flux of injected sources: what is found minus what was put in, of '
                       f'all of them, detected or not.{of}', draw_recovered))
    return panels


def _sweep_panels(tables, report):
    """Panels of detections against the threshold."""
    if 'sweep' not in tables:
        return []
    table = tables['sweep']
    names = _values(table, 'image')
    curves = {name: tuple(_values(table, column)[names == name] for column in ('threshold', 'tp', 'fp', 'fn'))
              for name in dict.fromkeys(names.tolist())}
    # Each at its best threshold: one threshold for all would compare different rates of false detections.
    best = {name: np.nanargmax(np.nan_to_num(2 * tp / np.maximum(2 * tp + fp + fn, 1)))
            for name, (_, tp, fp, fn) in curves.items()}
    counts = {name: [int(column[best[name]]) for column in curve[1:]] for name, curve in curves.items()}
    main = next((name for name in ('detection image', 'denoised') if name in curves), next(iter(curves)))
    # Without a truth or a reference, injected sources are counted.
    of = _of(report, 'sources' if report.meta.get('compared_with') in ('truth', 'reference') else 'injected', 'psf')
    return [
        ('precision_recall', _SIZE, 'Precision against recall, with thresholds: in units of the error of the matched '
         f'filter on the input, or of the map itself (detection image, over uncertainty).{of}',
         lambda ax: detection.draw_precision_recall(curves, ax=ax)),
        ('threshold_scores', _SIZE, f'Precision, recall and F1 against the threshold: {main}.{of}',
         lambda ax: detection.draw_threshold_scores(*curves[main], ax=ax)),
        ('threshold_counts', _SIZE, f'Sources found, falsely found and missed against the threshold: {main}.{of}',
         lambda ax: detection.draw_threshold_counts(*curves[main], ax=ax)),
        ('best_f1', _SIZE, f'The best F1 of each way to detect, and where it is reached.{of}',
         lambda ax: detection.draw_best_f1(curves, ax=ax)),
        ('confusion', _SIZE, f'Sources found, missed and falsely found at the best F1: {main}.{of}',
         lambda ax: detection.draw_confusion(*counts[main], ax=ax)),
        ('detection_summary', _SIZE, f'Precision, recall and F1, each way at its best threshold.{of}',
         lambda ax: detection.draw_detection_summary(list(counts), *np.transpose(list(counts.values())), ax=ax)),
    ]


def _fits(tables):
    """Magnitude of half completeness and width of the logistic curve, by the name of the map."""
    if 'depth' not in tables:
        return {}
    table = tables['depth']
    # A logistic curve falls from 90 to 50 % over ln 9 widths.
    return {name: (m50, (m50 - m90) / np.log(9)) for name, m50, m90 in
            zip(*(_values(table, column).tolist() for column in ('image', 'm50', 'm90')))}


def _cell_map(table):
    """A table with a row per mesh cell as a map, and its extent in pixels."""
    x, y = _values(table, 'x'), _values(table, 'y')
    columns, rows = np.unique(x), np.unique(y)
    offset, n = _values(table, 'offset_sigma'), _values(table, 'n') if 'n' in table.colnames else np.ones(len(table))
    offset = np.where(n >= 0.25 * n.max(), offset, np.nan)   # a few pixels tell nothing, but would set the scale
    cells = np.full((rows.size, columns.size), np.nan)
    cells[np.searchsorted(rows, y), np.searchsorted(columns, x)] = offset
    step = [np.median(np.diff(axis)) if axis.size > 1 else 32 for axis in (columns, rows)]
    return cells, (columns[0] - step[0] / 2, columns[-1] + step[0] / 2, rows[0] - step[1] / 2, rows[-1] + step[1] / 2)
