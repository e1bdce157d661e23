# Licensed under a 3-clause BSD style license - see LICENSE
"""
The page: the state of one session, and what happens when something is clicked.
"""

from dataclasses import asdict
from functools import partial
from html import escape

import numpy as np
import panel as pn

from ..io import output_path
from ..version import __version__
from .files import Folder
from .panes import PANES, Panes, deviation_norm, uncertainty_norm
from .render import Pyramid, find_norm
from .widgets import Keys, Widgets
from .work import Worker

__all__ = ['Page']

_POLL = 100       # milliseconds between looks at what the worker says
_SETTLE = 120     # milliseconds without a move after which pictures are sharp again
# What a key does, for people.
KEYS = ('b: blink input and result · o: sources · d: denoise · Esc: cancel · + −: zoom · arrows: move · f: all · '
        '1: pixel by pixel')


class Page:
    """
    One page in one browser.

    Parameters
    ----------
    path : str or path-like, optional
        Folder whose files may be read and written, or a file in it, which is opened.
    dark : bool, optional
        If true, draw on dark ground.

    Raises
    ------
    FileNotFoundError
        If there is no such folder or file.
    """

    def __init__(self, path='.', dark=False):
        self.folder, self.dark = Folder(path), dark
        self._queue = []
        self.path = self.image = self.result = self.found = None
        self.pyramids, self.tables, self.used = {}, {}, None
        self._blinked, self._pending, self._sharp, self._pointed = False, False, None, None
        self._quiet = False   # while widgets are filled by the page itself
        self.widgets = Widgets(self.folder)
        self.panes = Panes(self._moved, self._point, self._tap)
        self.worker = Worker()
        self._connect()
        self.keys = Keys()
        self.keys.param.watch(lambda event: _soon(partial(self.press, event.new.partition(' ')[0])), 'pressed')
        self._list_folder('')
        if self.folder.first:
            self.widgets.file.value = self.folder.first

    def _connect(self):
        """Say what each widget does."""
        w = self.widgets
        for widget, action in ((w.folder, self._enter), (w.file, self._pick), (w.hdu, self._choose),
                               (w.plane, self._choose), (w.panes, self._arrange)):
            widget.param.watch(lambda event, action=action: self._quiet or _soon(partial(action, event.new)), 'value')
        for button, action in ((w.denoise, self.denoise), (w.cancel, self.cancel), (w.detect, self.detect),
                               (w.fits, self.save_fits), (w.png, self.save_png), (w.json, self.save_json),
                               (w.fit, self._fit), (w.blink, self._blink)):
            button.on_click(lambda event, action=action: _soon(action))
        for widget in w.stretch, w.cuts, w.low, w.high, w.colours:
            widget.param.watch(lambda event: self._quiet or _soon(partial(self._rescale, event.obj)), 'value')
        for widget in (*w.parameters.values(), w.target):
            widget.param.watch(lambda event: self._say_code(), 'value')
        w.overlay.param.watch(lambda event: _soon(self._show_sources), 'value')

    # What is picked.

    def _list_folder(self, name):
        """Show the contents of a folder."""
        folders, files = self.folder.entries(name)
        up = {'.. (up)': name.rpartition('/')[0]} if name else {}
        below = {f'{each}/': f'{name}/{each}'.lstrip('/') for each in folders}
        self._fill(self.widgets.folder, {f'{name or self.folder.root.name}/': name, **up, **below}, name)
        self._fill(self.widgets.file, {'choose a file ...': '',
                                       **{each: f'{name}/{each}'.lstrip('/') for each in files}}, '')

    def _fill(self, widget, options, value):
        """Give a menu other entries, without doing what they do."""
        self._quiet = True
        widget.param.update(options=options, value=value)
        self._quiet = False

    def _enter(self, name):
        try:
            self._list_folder(name)
        except OSError as error:
            self.widgets.say(str(error), bad=True)

    def _pick(self, name):
        """Open a file."""
        if not name:
            return
        self._forget()
        try:
            self.path = self.folder.find(name)
        except OSError as error:
            self.widgets.say(str(error), bad=True)
            return
        self.image = None
        self._ask('hdus', str(self.path))

    def _choose(self, _):
        """Read the HDU and plane that are chosen."""
        if self.path is None or self.widgets.hdu.value is None:
            return
        self._forget()
        self._ask('read', str(self.path), self.widgets.hdu.value, self.widgets.plane.value or 0)

    def _forget(self):
        """Drop what belonged to another image."""
        self.worker.cancel()
        self._queue.clear()
        self.found = None
        self._forget_result()
        self.pyramids = {}
        self._draw()

    def _forget_result(self):
        self.result, self.used, self.tables, self._blinked = None, None, {}, False
        self.pyramids = {name: pyramid for name, pyramid in self.pyramids.items() if name == 'input'}
        self.widgets.cards.object = self.widgets.sources.object = ''
        self._show_sources()

    # What the worker does.

    def _ask(self, task, *arguments):
        """Ask for a task when those before have ended."""
        self._queue.append((task, arguments))
        self.poll()

    def poll(self):
        """Look at what the worker says, and give it what is next."""
        for message in self.worker.poll():
            if message.kind == 'progress':
                self.widgets.advance(message.task, message.value)
                continue
            if message.warnings:
                self.widgets.warn(message.warnings)
            if message.kind == 'failed':
                self._queue.clear()
                self.widgets.say(f'{message.task}: {message.value}', bad=True)
            else:
                getattr(self, f'_after_{message.task}', self._after_saving)(message.value)
        if not self.worker.task and self._queue:
            task, arguments = self._queue.pop(0)
            self.widgets.advance(task, 0)
            self.worker.start(task, *arguments)
        self.widgets.working(self.worker.task, self.image is not None, self.result is not None)

    def _after_hdus(self, value):
        images = [hdu for hdu in value['hdus'] if hdu.is_image]
        self.widgets.header.object = _preformatted(value['header'])
        options = {f'{hdu.label}  {"×".join(map(str, hdu.shape[::-1]))}': hdu.index for hdu in images}
        best = next((hdu.index for hdu in images if hdu.is_science), images[0].index if images else None)
        self._fill(self.widgets.hdu, options, best)
        if best is None:
            self._draw()
            self.widgets.say(f'{self.path.name} has no image, but {len(value["hdus"])} HDUs of other kinds', bad=True)
        else:
            self._fill_plane(0, 0)
            self._choose(best)

    def _fill_plane(self, value, end):
        self._quiet = True
        self.widgets.plane.param.update(value=value, start=0, end=end, visible=end > 0)
        self._quiet = False

    def _after_read(self, value):
        self.image = value
        self._fill_plane(self.widgets.plane.value or 0, value['n_planes'] - 1)
        self.pyramids = {'input': Pyramid.load(self.worker.folder, 'input')}
        self.widgets.header.object = _preformatted(value['header'])
        self.widgets.say(self._about())
        self._fit()
        self._rescale()
        self._say_code()
        self._ask('measure', str(self.path), self.widgets.hdu.value, {})

    def _about(self):
        """Name, size and unit of the image."""
        ny, nx = self.image['shape']
        return f'{self.path.name}: {nx}×{ny} pixels, in {self.image["unit"]}'

    def _after_measure(self, value):
        self.found = value
        self.widgets.show_found(value, self.image['unit'])
        self.widgets.say(self._about())

    def denoise(self):
        """Denoise the image with the parameters of the page."""
        if self.image is None or 'denoise' in (self.worker.task, *(task for task, _ in self._queue)):
            return
        try:
            settings = self.widgets.settings(self.folder)
        except (ValueError, OSError) as error:
            self.widgets.say(str(error), bad=True)
            return
        self._forget_result()
        self._draw()
        self.widgets.warn([])
        self.used = settings
        self._ask('denoise', str(self.path), self.widgets.hdu.value, self.widgets.plane.value or 0, settings.options())

    def _after_denoise(self, value):
        self.result = value
        self.pyramids |= {name: Pyramid.load(self.worker.folder, name) for name in value['shown']}
        self.widgets.say(f'denoised in {value["seconds"]:.1f} s; audit: {value["cards"]["N2VAUDIT"][0]}')
        rows = ''.join(f'<tr><td><code>{name}</code></td><td>{escape(str(card))}</td><td>{escape(comment)}</td></tr>'
                       for name, (card, comment) in value['cards'].items())
        self.widgets.cards.object = f'<table>{rows}</table>'
        self._rescale()

    def cancel(self):
        """End what the worker does."""
        self._queue.clear()
        task = self.worker.cancel()
        if task:
            self.widgets.say(f'{task} was cancelled')
        self.poll()

    def detect(self):
        """Find the sources of input and result."""
        if self.result is not None:
            self._ask('detect', str(self.path), self.widgets.hdu.value, self.widgets.false_rate.value, 0)

    def _after_detect(self, tables):
        self.tables = tables
        counts = ', '.join(f'{len(table)} on the {name} ({table.meta["n_false"]:.1f} expected to be false)'
                           for name, table in tables.items())
        self.widgets.say(f'sources: {counts}')
        self.widgets.overlay.value = True
        self._show_sources()

    # What is saved.

    def _target(self, suffix='', extension=None):
        """Where a file of the result goes, below the folder of the page."""
        target = output_path(self.path, self.folder.find(self.widgets.target.value), suffix or '_n2v')
        target = target if extension is None else target.with_name(f'{self.path.name.split(".")[0]}_n2v{extension}')
        return self.folder.find(target.relative_to(self.folder.root).as_posix())

    def _save(self, task, extension, *arguments):
        if self.result is None:
            return
        try:
            target = self._target(extension=extension)
        except (OSError, ValueError) as error:
            self.widgets.say(str(error), bad=True)
            return
        self._ask(task, str(target), self.widgets.overwrite.value, *arguments)

    def save_fits(self):
        """Save the file that `~astropy_n2v.batch.denoise_fits` has made."""
        self._save('save_fits', None)

    def save_png(self):
        """Save a picture of what is seen."""
        shown = self.tables.get('result') if self.widgets.overlay.value else None
        self._save('save_png', '.png', str(self.path), self.widgets.hdu.value, self.panes.cutout(), shown)

    def save_json(self):
        """Save what is known of the result."""
        if self.result is not None:
            sources = {name: {'n': len(table), **table.meta} for name, table in self.tables.items()}
            self._save('save_json', '.json', {
                'version': __version__, 'file': str(self.path), 'hdu': self.widgets.hdu.value,
                'plane': self.widgets.plane.value or 0, 'parameters': asdict(self.used), 'found': self.found,
                'cards': {name: value for name, (value, _) in self.result['cards'].items()},
                'seconds': self.result['seconds'], 'sources': sources, 'warnings': self.widgets.warnings})

    def _after_saving(self, name):
        self.widgets.say(f'saved {name}')

    def _say_code(self):
        """Show the command line and the lines of Python that do the same."""
        if self.path is None or self.image is None:
            return
        try:
            settings, target = self.used or self.widgets.settings(self.folder), self._target()
        except (ValueError, OSError):
            return
        index = self.widgets.hdu.value
        self.widgets.code.object = _preformatted(f'{settings.command(self.path, target.parent, index)}\n\n'
                                                 f'{settings.snippet(self.path, target, index)}')

    # What is seen.

    def _arrange(self, names):
        self.panes.arrange(names)
        for name, pane in self.frames.items():
            pane.visible = name in names
        self._draw()

    def _fit(self):
        if self.image is not None:
            self.panes.fit(self.image['shape'])
            self._draw()

    def _rescale(self, widget=None):
        """Find the common scale of input and result."""
        if 'input' not in self.pyramids:
            return
        w = self.widgets
        if widget in (w.low, w.high):
            self._fill_cuts(w.low.value, w.high.value, 'by hand')
        sample = self.pyramids['input'].sample()
        top = self.pyramids['result'].sample() if 'result' in self.pyramids else sample
        cuts = (w.low.value, w.high.value) if w.cuts.value == 'by hand' else w.cuts.value
        try:
            norm = find_norm(sample, top, cuts=cuts, stretch=w.stretch.value)
        except (ValueError, TypeError) as error:
            w.say(str(error), bad=True)
            return
        self._fill_cuts(norm.vmin, norm.vmax, w.cuts.value)
        self.panes.norms = {'input': norm, 'result': norm, 'residual': deviation_norm(),
                            'innovations': deviation_norm()}
        if 'uncertainty' in self.pyramids:
            self.panes.norms['uncertainty'] = uncertainty_norm(self.pyramids['uncertainty'].sample())
        self._draw()

    def _fill_cuts(self, low, high, cuts):
        self._quiet = True
        w = self.widgets
        w.low.value, w.high.value, w.cuts.value = *(None if v is None else float(f'{v:.6g}') for v in (low, high)), cuts
        self._quiet = False

    def _moved(self):
        """Draw coarsely at once, and sharply when nothing has moved for a while."""
        if not self._pending:
            self._pending = True
            pn.state.execute(self._draw_coarsely, schedule=True)

    def _draw_coarsely(self):
        self._pending = False
        self._draw(coarse=True)
        document = pn.state.curdoc
        if document is not None and document.session_context is not None:
            if self._sharp is not None:
                document.remove_timeout_callback(self._sharp)
            self._sharp = document.add_timeout_callback(self._draw_sharply, _SETTLE)
        else:
            self._draw()

    def _draw_sharply(self):
        self._sharp = None
        self._draw()

    def _draw(self, coarse=False):
        """Draw the panes that are shown."""
        for name in self.widgets.panes.value:
            image = 'input' if name == 'result' and self._blinked else name
            norm = self.panes.norms.get(name)
            pyramid = self.pyramids.get(image) if norm is not None else None
            colours = 'RdBu_r' if name in ('residual', 'innovations') else (
                'viridis' if name == 'uncertainty' else self.widgets.colours.value)
            self.panes.draw(name, pyramid, norm, colours, coarse)

    def _blink(self):
        """Show the input in the pane of the result, or the result again."""
        if self.result is not None:
            self._blinked = not self._blinked
            self.panes.figures['result'].title.text = 'result: INPUT (blink)' if self._blinked else PANES['result']
            self._draw()

    def _show_sources(self):
        self.panes.show_sources(self.tables, self.widgets.overlay.value)

    def _tap(self, name, number):
        """Show what is known of a source."""
        row = self.tables[name][number]
        self.widgets.sources.object = _describe_source(name, row)

    def _point(self, x, y):
        """Show the values under the cursor; of many moves, the last."""
        waiting, self._pointed = self._pointed is not None, (x, y)
        if not waiting:
            pn.state.execute(self._show_values, schedule=True)

    def _show_values(self):
        (x, y), self._pointed = self._pointed, None
        if x is None or self.image is None:
            self.widgets.values.object = Widgets.NO_VALUES
            return
        sky = ''
        if self.image['wcs'] is not None:
            place = self.image['wcs'].pixel_to_world(x, y).icrs
            sky = '' if not np.isfinite(place.ra.deg) else escape(place.to_string('hmsdms', precision=2))
        units = {name: 'σ' if name in ('residual', 'innovations') else self.image['unit'] for name in PANES}
        rows = ''.join(f'<tr><td>{name}</td><td style="text-align:right">{pyramid.value(x, y):.5g}</td>'
                       f'<td>{escape(units[name])}</td></tr>' for name, pyramid in self._in_order())
        self.widgets.values.object = (f'<div id="cursor">x {x:.1f}, y {y:.1f} pixels<br>{sky or "no sky position"}'
                                      f'<table>{rows}</table></div>')

    def _in_order(self):
        return [(name, self.pyramids[name]) for name in PANES if name in self.pyramids]

    def press(self, key):
        """Do what a key stands for."""
        actions = {'b': self._blink, 'd': self.denoise, 'Escape': self.cancel, 'f': self._fit,
                   'o': lambda: self.widgets.overlay.param.update(value=not self.widgets.overlay.value)}
        moves = {'+': lambda: self.panes.zoom(True), '=': lambda: self.panes.zoom(True),
                 '-': lambda: self.panes.zoom(False), '1': self.panes.full_size,
                 'ArrowLeft': lambda: self.panes.move(-1, 0), 'ArrowRight': lambda: self.panes.move(1, 0),
                 'ArrowUp': lambda: self.panes.move(0, 1), 'ArrowDown': lambda: self.panes.move(0, -1)}
        if key in actions:
            actions[key]()
        elif key in moves:
            moves[key]()
            self._draw()

    # What it is made of.

    def parts(self):
        """List the parts of the menu and of the pictures."""
        theme = 'dark_minimal' if self.dark else 'light_minimal'
        self.frames = {name: pn.pane.Bokeh(figure, theme=theme, margin=2) for name, figure in
                       self.panes.figures.items()}
        pictures = pn.FlexBox(*self.frames.values(), self.widgets.beside, sizing_mode='stretch_width')
        keys = pn.pane.HTML(f'<small>Keys: {KEYS}</small>', margin=(0, 8))
        self.start()
        return self.widgets.menu(), [self.widgets.status, pictures, keys, self.widgets.tabs, self.keys]

    def layout(self):
        """Lay out the page without a frame, for notebooks."""
        menu, main = self.parts()
        return pn.Row(pn.Column(*menu, width=300, scroll=True, height=800),
                      pn.Column(*main, sizing_mode='stretch_width'))

    def start(self):
        """Look at the worker from time to time, until the session ends."""
        pn.state.add_periodic_callback(lambda: _soon(self.poll), period=_POLL)
        if pn.state.curdoc is not None and pn.state.curdoc.session_context is not None:
            pn.state.on_session_destroyed(lambda context: self.worker.close())
        if self.path is not None or self._queue:
            self.poll()


def _soon(action):
    """Do something while the document is locked: models of Bokeh must not change at other times, as on a click."""
    document = pn.state.curdoc
    if document is None or document.session_context is None:
        action()
    else:
        document.add_next_tick_callback(action)


def _preformatted(text):
    """Text of a fixed width, as HTML."""
    return f'<pre style="margin:0;white-space:pre-wrap;overflow-wrap:anywhere">{escape(text)}</pre>'


def _describe_source(name, row):
    """Describe a source in HTML."""
    position = f', {row["ra"]:.6f}°, {row["dec"]:.6f}°' if 'ra' in row.colnames else ''
    unit = row.columns['flux'].unit or ''
    matched = 'on both images' if row['matched'] else f'on the {name} only'
    return (f'<div id="source">Source {row["id"]} of the {name}, found {matched}: x {row["x"]:.1f}, y {row["y"]:.1f} '
            f'pixels{position}<br>flux {row["flux"]:.5g} ± {row["flux_err"]:.3g} {escape(str(unit))} (on the input), '
            f'S/N {row["snr"]:.1f}, significance {row["significance"]:.1f}, flag {row["flag"]}</div>')
