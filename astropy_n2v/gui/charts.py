# Licensed under a 3-clause BSD style license - see LICENSE
"""
Curves beside the pictures: histograms of the visible part, and profiles along a line.
"""

import numpy as np
from bokeh.layouts import column
from bokeh.models import ColumnDataSource
from bokeh.plotting import figure

__all__ = ['Histogram', 'Profile']

# Blue and orange are distinct for all kinds of colour vision; grey is the expectation.
_COLOURS = {'input': '#56b4e9', 'result': '#e69f00', 'residual': '#56b4e9', 'innovations': '#e69f00',
            'expected': '#888888'}
_HEIGHTS = 124, 114   # pixels of the screen: of the upper and the lower one


def _axes(height, **options):
    """Make an empty figure of the size of a card."""
    axes = figure(height=height, sizing_mode='stretch_width', toolbar_location=None, tools='', min_border=2, **options)
    for axis in axes.axis:
        axis.major_label_text_font_size = axis.axis_label_text_font_size = '10px'
        axis.axis_label_text_font_style, axis.axis_label_standoff = 'normal', 2
    axes.xaxis.ticker.desired_num_ticks = 4
    axes.yaxis.ticker.desired_num_ticks = 4
    axes.grid.grid_line_alpha = 0.3
    return axes


def _legend(axes):
    """Make the legend small, and put it above the curves, which it would hide."""
    legend = axes.legend[0]
    legend.label_text_font_size, legend.padding, legend.spacing, legend.margin = '10px', 0, 8, 0
    legend.glyph_height = legend.glyph_width = legend.label_height = 12
    legend.background_fill_alpha, legend.border_line_alpha, legend.orientation = 0, 0, 'horizontal'
    axes.add_layout(legend, 'above')


class _Chart:
    """Two figures, one above the other."""

    def __init__(self, upper, lower):
        self.upper, self.lower = upper, lower
        self.layout = column(upper, lower, sizing_mode='stretch_width')

    def _lines(self, axes, sources, **options):
        for name, source in sources.items():
            axes.line('x', 'y', source=source, color=_COLOURS[name], legend_label=name, line_width=1.3, **options)
        _legend(axes)


class Histogram(_Chart):
    """Counts of input and result in units of the data, and of the residual in units of the noise."""

    def __init__(self):
        upper, lower = (_axes(height, y_axis_type='log', y_axis_label='pixels') for height in _HEIGHTS)
        lower.xaxis.axis_label = 'residual (σ)'
        super().__init__(upper, lower)
        self.sources = {name: ColumnDataSource({'x': [], 'y': []})
                        for name in ('input', 'result', 'residual', 'expected')}
        for axes, names in (upper, ('input', 'result')), (lower, ('residual', 'expected')):
            self._lines(axes, {name: self.sources[name] for name in names})

    def show(self, found, unit):
        """Show the counts of `astropy_n2v.gui.measures.histogram`; None for nothing."""
        counts = {} if found is None else dict(found['counts'])
        self.upper.xaxis.axis_label = unit or 'values as stored'
        if 'residual' in counts:
            edges = found['sigma_edges']
            middles = (edges[1:] + edges[:-1]) / 2
            normal = np.exp(-middles ** 2 / 2) / np.sqrt(2 * np.pi) * np.diff(edges)
            counts['expected'] = counts['residual'].sum() * normal
        for name, source in self.sources.items():
            if name not in counts:
                source.data = {'x': [], 'y': []}
                continue
            edges = found['sigma_edges' if name in ('residual', 'expected') else 'edges']
            # Steps; on a logarithmic axis there is no zero.
            source.data = {'x': np.repeat(edges, 2)[1:-1], 'y': np.maximum(np.repeat(counts[name], 2), 0.5)}


class Profile(_Chart):
    """Values along a line: input and result in units of the data, residual and innovations in units of the noise."""

    def __init__(self):
        upper, lower = (_axes(height) for height in _HEIGHTS)
        lower.yaxis.axis_label, lower.xaxis.axis_label = 'σ', 'pixels from the first point'
        super().__init__(upper, lower)
        self.sources = {name: ColumnDataSource({'x': [], 'y': []})
                        for name in ('input', 'result', 'residual', 'innovations')}
        self.band = ColumnDataSource({'x': [], 'low': [], 'high': []})
        upper.varea('x', 'low', 'high', source=self.band, color=_COLOURS['result'], fill_alpha=0.3)
        for axes, names in (upper, ('input', 'result')), (lower, ('residual', 'innovations')):
            self._lines(axes, {name: self.sources[name] for name in names})

    def show(self, found, unit):
        """Show the values of `astropy_n2v.gui.measures.profile`; None for nothing."""
        found = found or {}
        self.upper.yaxis.axis_label = unit or 'values as stored'
        for name, source in self.sources.items():
            known = name in found
            source.data = {'x': found['distance'] if known else [], 'y': found[name] if known else []}
        known = 'result' in found and 'uncertainty' in found
        self.band.data = {'x': found['distance'] if known else [],
                          'low': found['result'] - found['uncertainty'] if known else [],
                          'high': found['result'] + found['uncertainty'] if known else []}
