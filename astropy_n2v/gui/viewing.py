# Licensed under a 3-clause BSD style license - see LICENSE
"""
Show an image on the page: pictures on common scales, values under the cursor, sources, curves.
"""

from functools import partial
from html import escape

import numpy as np
import panel as pn

from .charts import Histogram, Profile
from .measures import histogram, picture_url, profile, stamp
from .panes import PANES, Panes, deviation_norm, uncertainty_norm
from .render import find_norm
from .widgets import Widgets

__all__ = ['Look']

_SETTLE = 120     # milliseconds without a move after which pictures are sharp again
_HALF = 15        # pixels of a cut-out of a source on each side of it
_STEP = 0.05      # of the width, by which a key moves the divider
_SOURCE, _HISTOGRAM, _PROFILE = 0, 1, 2   # places of these beside the pictures
_DEVIATIONS = 'residual', 'innovations'   # pictures in standard deviations of the noise


class Look:
    """
    Pictures, values, sources and curves of one page.

    Parameters
    ----------
    widgets : Widgets
        Widgets of the page.

    Attributes
    ----------
    image : dict or None
        Properties of the image, as the task ``read`` returns them.
    pyramids : dict of Pyramid
        Images that can be shown, by name.
    tables : dict of `~astropy.table.Table`
        Sources of input and result.
    """

    def __init__(self, widgets):
        self.widgets = widgets
        self.image, self.pyramids, self.tables = None, {}, {}
        self._blinked, self._pending, self._sharp, self._pointed = False, False, None, None
        self._drawing, self._line = False, []   # of the line of a profile
        self._room, self._held = None, False   # held: values stay when the cursor leaves
        self.panes = Panes(self._moved, self._point, self._tap, self._click, self._divided)
        self.histogram, self.profile = Histogram(), Profile()

    # Images.

    def forget(self):
        """Show nothing any more."""
        self.image, self.pyramids = None, {}
        self.forget_result()
        self._set_line([])
        self.draw()

    def forget_result(self):
        """Show nothing but the input."""
        self.tables = {}
        self._blinked = False
        self.pyramids = {name: pyramid for name, pyramid in self.pyramids.items() if name == 'input'}
        self.widgets.sources.object, self.widgets.values.object = Widgets.NO_SOURCE, Widgets.NO_VALUES
        self.show_sources()
        self.swipe(False)

    def fit(self):
        """Show the whole image."""
        if self.image is not None:
            self.panes.fit(self.image['shape'])
            self.draw()

    def rescale(self, widget=None):
        """Find the common scale of input and result."""
        if 'input' not in self.pyramids:
            return
        w = self.widgets
        if widget in (w.low, w.high):
            w.fill_cuts(w.low.value, w.high.value, 'by hand')
        sample = self.pyramids['input'].sample()
        top = self.pyramids['result'].sample() if 'result' in self.pyramids else sample
        cuts = (w.low.value, w.high.value) if w.cuts.value == 'by hand' else w.cuts.value
        try:
            norm = find_norm(sample, top, cuts=cuts, stretch=w.stretch.value)
        except (ValueError, TypeError) as error:
            w.say(str(error), bad=True)
            return
        w.fill_cuts(norm.vmin, norm.vmax, w.cuts.value)
        self.panes.norms = {'input': norm, 'result': norm, 'residual': deviation_norm(),
                            'innovations': deviation_norm()}
        if 'uncertainty' in self.pyramids:
            self.panes.norms['uncertainty'] = uncertainty_norm(self.pyramids['uncertainty'].sample())
        self.draw()

    # Drawing.

    def arrange(self, names=None, room=None):
        """Fit the panes that are shown into the room that there is."""
        names = self.widgets.panes.value if names is None else names
        self._room = tuple(room) if room is not None else self._room
        self.panes.arrange(names, *([] if self._room is None else [self._room]))
        self.widgets.beside.width = self.panes.size + 6
        self.draw()

    def _moved(self):
        """Draw coarsely at once, and sharply when nothing has moved for a while."""
        if not self._pending:
            self._pending = True
            pn.state.execute(self._draw_coarsely, schedule=True)

    def _draw_coarsely(self):
        self._pending = False
        self.draw(coarse=True)
        document = pn.state.curdoc
        if document is not None and document.session_context is not None:
            if self._sharp is not None:
                document.remove_timeout_callback(self._sharp)
            self._sharp = document.add_timeout_callback(self._draw_sharply, _SETTLE)
        else:
            self.draw()

    def _draw_sharply(self):
        self._sharp = None
        self.draw()

    def draw(self, coarse=False):
        """Draw the panes that are shown, and count the visible pixels."""
        swiped = self.panes.divider.visible
        if swiped:
            self.panes.place_divider()
        for name in self.widgets.panes.value:
            self._draw_pane(name, coarse, swiped)
        if not coarse:
            self.count()

    def _draw_pane(self, name, coarse=False, swiped=False):
        image = 'input' if name == 'result' and self._blinked else name
        norm = self.panes.norms.get(name)
        pyramid = self.pyramids.get(image) if norm is not None else None
        other = self.pyramids['input'] if name == 'result' and swiped else None
        self.panes.draw(name, pyramid, norm, self._colours(name), coarse, other)

    def _colours(self, name):
        if name in _DEVIATIONS:
            return 'RdBu_r'
        return 'viridis' if name == 'uncertainty' else self.widgets.colours.value

    def blink(self):
        """Show the input in the pane of the result, or the result again."""
        if 'result' in self.pyramids:
            self._blinked = not self._blinked
            self._say_title()
            self.draw()

    def swipe(self, shown):
        """Show the input left of a divider in the pane of the result, or do not."""
        shown = shown and 'result' in self.pyramids
        self.panes.divide(shown)
        self._say_title()
        self.draw()

    def move_divider(self, steps):
        """Move the divider by steps of a twentieth of the width."""
        if self.panes.divider.visible:
            self.panes.place_divider(self.panes.share + steps * _STEP)
            self._divided()

    def _divided(self):
        """Draw the pane of the result after the divider has moved."""
        self._draw_pane('result', swiped=True)

    def _say_title(self):
        title = PANES['result']
        if self._blinked:
            title = 'result: INPUT (blink)'
        elif self.panes.divider.visible:
            title = 'left of the line input, right of it result'
        self.panes.figures['result'].title.text = title

    # Sources.

    def show_sources(self, *_):
        """Circle the sources, if they are to be."""
        self.panes.show_sources(self.tables, self.widgets.overlay.value)

    def _tap(self, name, number):
        """Show position and flux of a source, and its surroundings."""
        if not self._drawing:
            row = self.tables[name][number]
            self.widgets.sources.object = _describe_source(name, row) + self._stamps(row['x'], row['y'])
            self.widgets.inspector.active = _SOURCE

    def _stamps(self, x, y):
        """Cut out input, result and residual around a place, as HTML."""
        side = min((self.panes.size - 30) // 3, 140)   # three beside each other
        pictures = ''.join(
            f'<figure style="margin:0"><img alt="{name} around the source" src="'
            f'{picture_url(stamp(self.pyramids[name], x, y, _HALF), self.panes.norms[name], self._colours(name))}" '
            f'style="width:{side}px;height:{side}px;image-rendering:pixelated"><figcaption style="font-size:11px">'
            f'{name}{" (σ)" if name in _DEVIATIONS else ""}</figcaption></figure>'
            for name in ('input', 'result', 'residual') if name in self.pyramids)
        return (f'<div id="stamps" style="display:flex;flex-wrap:wrap;gap:4px;margin-top:6px">{pictures}</div>'
                f'<small>{2 * _HALF + 1}×{2 * _HALF + 1} pixels around it</small>')

    # Values.

    def _point(self, x, y):
        """Show the values under the cursor; of many moves, the last."""
        if x is None and self._held:   # a finger that is lifted
            self._held = False
            return
        waiting, self._pointed = self._pointed is not None, (x, y)
        if not waiting:
            pn.state.execute(self._show_values, schedule=True)

    def _show_values(self):
        (x, y), self._pointed = self._pointed, None
        if x is None or self.image is None:
            self.widgets.values.object = Widgets.NO_VALUES
            return
        rows = ''.join(f'<tr><td>{name}</td><td style="text-align:right">{pyramid.value(x, y):.5g}</td>'
                       f'<td>{escape(self._unit(name))}</td></tr>' for name, pyramid in self._in_order())
        self.widgets.values.object = (f'<div id="cursor">x {x:.1f}, y {y:.1f} pixels<br>'
                                      f'{self._sky(x, y) or "no sky position"}<table>{rows}</table></div>')

    def _unit(self, name):
        """Name the unit of an image, for people."""
        return 'σ' if name in _DEVIATIONS else self.image['unit']

    def _sky(self, x, y):
        """Word the position on the sky, '' if it is not known."""
        if self.image['wcs'] is None:
            return ''
        place = self.image['wcs'].pixel_to_world(x, y).icrs
        return '' if not np.isfinite(place.ra.deg) else escape(place.to_string('hmsdms', precision=2))

    def _in_order(self):
        return [(name, self.pyramids[name]) for name in PANES if name in self.pyramids]

    # Curves.

    def start_line(self):
        """Wait for two clicks, between which the profile is; or do not any more."""
        if self.image is None:
            return
        self._drawing = not self._drawing
        self._set_line([])
        self.widgets.inspector.active = _PROFILE
        self.widgets.line_text.object = (
            '<div id="profile">Click where the line begins, and where it ends, in any picture.</div>'
            if self._drawing else Widgets.NO_PROFILE)

    def _click(self, x, y):
        """Take an end of the line; else show the values at this place, for fingers, which do not hover."""
        if x is None or self.image is None:
            return
        if not self._drawing:
            self._point(x, y)
            self._held = True
            return
        self._set_line([*self._line, (x, y)])
        if len(self._line) == 2:
            self._drawing = False

    def _set_line(self, points):
        self._line = points
        self.panes.draw_line(points)
        self._show_profile()

    def _show_profile(self):
        """Show the profile along the line, if it has two ends."""
        if len(self._line) < 2:
            self.profile.show(None, '' if self.image is None else self._unit('input'))
            return
        found = profile(self.pyramids, *self._line)
        self.profile.show(found, self._unit('input'))
        ends = [f'x {x:.1f}, y {y:.1f}{" (" + self._sky(x, y) + ")" if self._sky(x, y) else ""}'
                for x, y in self._line]
        length = f'{found["distance"][-1]:.1f} pixels'
        if self.image['wcs'] is not None:
            first, last = (self.image['wcs'].pixel_to_world(*end) for end in self._line)
            length += f', {first.separation(last).arcsec:.4g}″'
        self.widgets.line_text.object = (f'<div id="profile">from {ends[0]}<br>to {ends[1]}<br>{length}; shaded: '
                                         'uncertainty of the result</div>')

    def count(self, *_):
        """Show the histogram of the visible part, if it is open."""
        if self.widgets.inspector.active != _HISTOGRAM:
            return
        cutout = self.panes.cutout() if 'input' in self.pyramids else None
        if cutout is None:
            self.histogram.show(None, '')
            self.widgets.histogram_text.object = Widgets.NO_HISTOGRAM
            return
        found = histogram(self.pyramids, cutout)
        self.histogram.show(found, self._unit('input'))
        right = '<td style="text-align:right">'
        rows = ''.join(f'<tr><td>{name}</td>{right}{found["median"][name]:.5g}</td>{right}{found["std"][name]:.4g}</td>'
                       f'<td>{escape(self._unit(name))}</td></tr>' for name in found['counts'])
        every = '' if found['step'] == 1 else f', every {found["step"]}. of each row and column'
        self.widgets.histogram_text.object = (
            f'<div id="histogram"><table><tr><th></th><th>median</th><th>std. dev.</th><th></th></tr>{rows}</table>'
            f'of {found["n"]} visible pixels{every}</div>')

    # Keys.

    def press(self, key):
        """Do what a key stands for; return if it stands for something."""
        actions = {'b': self.blink, 'f': self.fit, 'p': self.start_line,
                   's': lambda: self.widgets.swipe.param.update(value=not self.widgets.swipe.value),
                   'o': lambda: self.widgets.overlay.param.update(value=not self.widgets.overlay.value),
                   '[': partial(self.move_divider, -1), ']': partial(self.move_divider, 1)}
        moves = {'+': partial(self.panes.zoom, True), '=': partial(self.panes.zoom, True),
                 '-': partial(self.panes.zoom, False), '1': self.panes.full_size,
                 'ArrowLeft': partial(self.panes.move, -1, 0), 'ArrowRight': partial(self.panes.move, 1, 0),
                 'ArrowUp': partial(self.panes.move, 0, 1), 'ArrowDown': partial(self.panes.move, 0, -1)}
        if key in actions:
            actions[key]()
        elif key in moves:
            moves[key]()
            self.draw()
        return key in actions or key in moves


def _describe_source(name, row):
    """Describe a source by position, flux, S/N and flags, as HTML."""
    position = f', {row["ra"]:.6f}°, {row["dec"]:.6f}°' if 'ra' in row.colnames else ''
    unit = row.columns['flux'].unit or ''
    matched = 'on both images' if row['matched'] else f'on the {name} only'
    return (f'<div id="source">Source {row["id"]} of the {name}, found {matched}: x {row["x"]:.1f}, y {row["y"]:.1f} '
            f'pixels{position}<br>flux {row["flux"]:.5g} ± {row["flux_err"]:.3g} {escape(str(unit))} (on the input), '
            f'S/N {row["snr"]:.1f}, significance {row["significance"]:.1f}, flag {row["flag"]}</div>')
