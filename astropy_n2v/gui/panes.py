# Licensed under a 3-clause BSD style license - see LICENSE
"""
Pictures side by side that move together. The browser is sent the visible part at its own resolution, never an image.
"""

import numpy as np
from astropy.visualization import ImageNormalize, LinearStretch
from bokeh.events import MouseLeave, MouseMove, Pan, PanStart, RangesUpdate, Tap
from bokeh.models import ColumnDataSource, CrosshairTool, Range1d, Span, TapTool
from bokeh.plotting import figure

from ..visualization.panels import RESIDUAL
from .render import colour

__all__ = ['PANES', 'Panes']

#: Panes by name, and their titles.
PANES = {'input': 'input', 'result': 'result', 'residual': 'residual (σ): input − result',
         'uncertainty': 'uncertainty of the result', 'innovations': 'innovations (σ): not foreseen'}
# Columns by the number of panes, and pixels of the screen: the narrowest pane that is of use, the widest, the frame of
# one, the margin above and below a pane, and the room that is taken until the browser says how much there is.
_COLUMNS = {1: 1, 2: 2, 3: 3, 4: 3, 5: 3}
_NARROWEST, _WIDEST, _FRAME, _ABOVE, _ROOM = 210, 1200, 14, 130, (952, 800, 1)
# Colours of sources that both lists have, and one only; orange and blue are seen by all kinds of colour vision.
_MATCHED, _ALONE = '#e69f00', '#56b4e9'
_WHEEL = 20    # milliseconds after which a turn of the wheel is reported; Bokeh would wait for half a second
_ZOOM = 1.6    # of a key
_SHARE = 0.2   # of the visible width or height, by which a key moves


class Panes:
    """
    Figures with common axes.

    Parameters
    ----------
    moved : callable
        Called without arguments when another part is visible.
    pointed : callable
        Called with x and y in pixels of the image, or None twice, when the cursor has moved.
    tapped : callable
        Called with the name of a pane and the number of a source that was clicked.
    clicked : callable
        Called with x and y in pixels of the image where a pane was clicked.
    divided : callable
        Called without arguments when the divider was moved.
    """

    def __init__(self, moved, pointed, tapped, clicked, divided):
        self.x_range, self.y_range = Range1d(0, 1), Range1d(0, 1)
        self.shape = 1, 1
        self._lines = [Span(dimension=dimension, line_width=1, line_color='#888888', line_dash='dotted')
                       for dimension in ('height', 'width')]
        self._pictures, self._sources, self.figures, self.norms = {}, {}, {}, {}
        self._line = ColumnDataSource({'x': [], 'y': []})
        for name in PANES:
            self._add(name, moved, pointed, clicked)
        for name in 'input', 'result':
            self._add_sources(name, tapped)
        self._add_divider(divided)
        self.arrange(list(PANES))

    def _add(self, name, moved, pointed, clicked):
        """Make a pane."""
        pane = figure(x_range=self.x_range, y_range=self.y_range, title=PANES[name], toolbar_location=None, name=name,
                      tools='pan,wheel_zoom', active_scroll='wheel_zoom', min_border=6, output_backend='canvas',
                      lod_timeout=_WHEEL)
        pane.grid.visible = False
        pane.axis.visible = False
        pane.title.text_font_size = '12px'
        pane.add_tools(CrosshairTool(overlay=self._lines))
        source = ColumnDataSource({'image': [], 'x': [], 'y': [], 'dw': [], 'dh': []})
        pane.image_rgba(image='image', x='x', y='y', dw='dw', dh='dh', source=source)
        pane.on_event(RangesUpdate, lambda event: moved())
        pane.on_event(MouseMove, lambda event: pointed(event.x, event.y))
        pane.on_event(MouseLeave, lambda event: pointed(None, None))
        pane.on_event(Tap, lambda event: clicked(event.x, event.y))
        # The line of a profile, on light and dark ground.
        for colour_name, width in ('black', 3), ('#ffd54f', 1.5):
            pane.line('x', 'y', source=self._line, line_color=colour_name, line_width=width)
        pane.scatter('x', 'y', source=self._line, size=7, fill_color='#ffd54f', line_color='black')
        self.figures[name], self._pictures[name] = pane, source

    def _add_sources(self, name, tapped):
        """Add the circles of sources to a pane."""
        source = ColumnDataSource({'x': [], 'y': [], 'colour': []})
        circles = self.figures[name].scatter('x', 'y', source=source, size=13, fill_alpha=0, line_color='colour',
                                             line_width=1.5, nonselection_line_alpha=1)
        circles.visible = False
        self.figures[name].add_tools(TapTool(renderers=[circles]))
        source.selected.on_change('indices', lambda attr, old, new: new and tapped(name, new[0]))
        self._sources[name] = source, circles

    def _add_divider(self, divided):
        """Add the line between input and result to the pane of the result; dragging there moves it."""
        self.share = 0.5
        self.divider = Span(dimension='height', location=0.5, visible=False, line_width=4, line_color='#ffd54f')
        pane = self.figures['result']
        pane.add_layout(self.divider)

        def drag(event):
            left, right, _, _ = self.viewport
            if self.divider.visible and event.x is not None:
                self.place_divider((event.x - left) / (right - left))
                divided()

        for event in PanStart, Pan:
            pane.on_event(event, drag)

    def divide(self, visible):
        """Show the divider, or do not; where it is, dragging moves it and not the picture."""
        toolbar = self.figures['result'].toolbar
        self.divider.visible = visible
        toolbar.active_drag = None if visible else toolbar.tools[0]
        if visible:
            self.place_divider()

    def place_divider(self, share=None):
        """Put the divider at a share of the width; by default where it was, after the panes have moved."""
        self.share = self.share if share is None else min(max(share, 0.0), 1.0)
        left, right, _, _ = self.viewport
        self.divider.location = left + self.share * (right - left)

    def draw_line(self, points):
        """Draw the line of a profile, from none to two points."""
        self._line.data = {'x': [x for x, _ in points], 'y': [y for _, y in points]}

    def arrange(self, names, room=_ROOM):
        """
        Make the panes that are shown as large as there is room for.

        Parameters
        ----------
        names : list of str
            Those that are shown.
        room : tuple, optional
            Width and height that there are, in pixels of the browser, and how many of the screen one of these is.
        """
        width, height, self.ratio = room
        columns = _COLUMNS.get(len(names), 3)
        while columns > 1 and width / columns - _FRAME < _NARROWEST:
            columns -= 1
        size = min(width / columns - _FRAME, max(height - _ABOVE, _NARROWEST))
        self.size = int(np.clip(size, _NARROWEST, _WIDEST))
        for pane in self.figures.values():
            pane.frame_width = pane.frame_height = self.size

    def fit(self, shape):
        """Show the whole of an image of a shape."""
        ny, nx = self.shape = shape
        half = max(ny, nx) / 2 * 1.02
        self._look_at((nx - 1) / 2, (ny - 1) / 2, half)

    def _look_at(self, x, y, half):
        """Show a square."""
        self.x_range.update(start=x - half, end=x + half)
        self.y_range.update(start=y - half, end=y + half)

    @property
    def viewport(self):
        """Left, right, bottom and top of the visible part, in pixels of the image."""
        return self.x_range.start, self.x_range.end, self.y_range.start, self.y_range.end

    def zoom(self, inwards):
        """Zoom by a step."""
        left, right, bottom, top = self.viewport
        self._look_at((left + right) / 2, (bottom + top) / 2, (right - left) / 2 * (1 / _ZOOM if inwards else _ZOOM))

    def full_size(self):
        """Show a pixel of the image as one of the screen."""
        left, right, bottom, top = self.viewport
        self._look_at((left + right) / 2, (bottom + top) / 2, self.size / 2)

    def move(self, x, y):
        """Move by a step."""
        left, right, bottom, top = self.viewport
        step = _SHARE * (right - left)
        self._look_at((left + right) / 2 + x * step, (bottom + top) / 2 + y * step, (right - left) / 2)

    def cutout(self):
        """Find the visible rows and columns, as pairs of first and last plus one; None if the image is out of sight."""
        left, right, bottom, top = self.viewport
        ends = [(int(np.clip(np.floor(low + 0.5), 0, n)), int(np.clip(np.ceil(high + 0.5), 0, n)))
                for low, high, n in zip((bottom, left), (top, right), self.shape)]
        return ends if all(high - low >= 2 for low, high in ends) else None

    def draw(self, name, pyramid, norm, colour_map, coarse=False, other=None):
        """
        Render the visible part of an image.

        Parameters
        ----------
        name : str
            Of the pane.
        pyramid : Pyramid or None
            The image; None for an empty pane.
        norm : `~astropy.visualization.ImageNormalize`
            Scale from values to brightness.
        colour_map : str
            Name of a colour map.
        coarse : bool, optional
            If true, at half of the resolution of the screen.
        other : Pyramid, optional
            Image left of the divider, of the same shape.
        """
        size = int(self.size * self.ratio) // (2 if coarse else 1)
        picture = None if pyramid is None else pyramid.render(self.viewport, (size, size))
        if picture is None:
            self._pictures[name].data = {'image': [], 'x': [], 'y': [], 'dw': [], 'dh': []}
            return
        left, right, bottom, top = picture.extent
        values = picture.values
        if other is not None:
            place = round((self.divider.location - left) / (right - left) * values.shape[1])
            place = int(np.clip(place, 0, values.shape[1]))
            values = np.hstack([other.render(self.viewport, (size, size)).values[:, :place], values[:, place:]])
        rgba = np.ascontiguousarray(colour(values, norm, colour_map)).view(np.uint32)[..., 0]
        self._pictures[name].data = {'image': [rgba], 'x': [left], 'y': [bottom], 'dw': [right - left],
                                     'dh': [top - bottom]}

    def show_sources(self, tables, visible):
        """
        Circle sources.

        Parameters
        ----------
        tables : dict of `~astropy.table.Table`
            For input and result, or empty.
        visible : bool
            If true, show them.
        """
        for name, (source, circles) in self._sources.items():
            circles.visible = visible
            table = tables.get(name, ())
            if len(table) != len(source.data['x']) or not len(table):
                source.selected.indices = []
            if not len(table):
                source.data = {'x': [], 'y': [], 'colour': []}
                continue
            source.data = {'x': np.asarray(table['x'], dtype=float), 'y': np.asarray(table['y'], dtype=float),
                           'colour': np.where(table['matched'], _MATCHED, _ALONE)}


def deviation_norm():
    """Make the scale of pictures in standard deviations."""
    return ImageNormalize(vmin=-RESIDUAL, vmax=RESIDUAL, stretch=LinearStretch(), clip=True)


def uncertainty_norm(sample):
    """Make the scale of the uncertainty: all but the extremes."""
    finite = sample[np.isfinite(sample)]
    low, high = np.percentile(finite, [1, 99]) if finite.size else (0, 1)
    return ImageNormalize(vmin=low, vmax=high if high > low else low + 1, stretch=LinearStretch(), clip=True)
