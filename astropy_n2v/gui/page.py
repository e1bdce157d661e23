# Licensed under a 3-clause BSD style license - see LICENSE
"""
The page: the state of one session, and the actions of its buttons and menus.
"""

from dataclasses import asdict
from functools import partial
from html import escape

import panel as pn

from ..io import output_path
from ..utils.scratch import fits_memory
from ..version import __version__
from .components import Chooser, Keys, Screen
from .cost import Cost
from .folder import Folder
from .render import Pyramid
from .settings import judging_command, judging_snippet
from .uploads import MOST, Uploads
from .viewing import Look
from .widgets import Widgets
from .worker import Worker

__all__ = ['Page']

_POLL = 100       # milliseconds between looks for messages of the worker
_UPLOADED = '/uploaded/'   # of files from the browser in the menu; nothing in a folder has such a name
_TRAINED = 'self', 'adapt'   # models that are trained on the image, in a time that hardly depends on its size
# Keys and their actions, for people.
KEYS = ('b: blink input and result · s: swipe, [ ]: move its line · o: sources · p: profile · d: denoise · '
        'Esc: cancel · + −: zoom · arrows: move · f: all · 1: pixel by pixel')


class Page:
    """
    One page in one browser.

    Parameters
    ----------
    path : str or path-like, optional
        Folder whose files may be read and written, or a file in it, which is opened.
    dark : bool, optional
        If true, draw on dark ground.
    max_upload : int, optional
        Bytes that may come from the browser; 0 for none.

    Raises
    ------
    FileNotFoundError
        If there is no such folder or file.
    """

    def __init__(self, path='.', dark=False, max_upload=MOST):
        self.folder = Folder(path)
        self._queue = []
        self.path = self.result = self.found = self.used = self.analysis = None
        self._warned = None   # the file, HDU and plane of whose cost the page has warned, and if with files
        self.widgets = Widgets(self.folder)
        self.look = Look(self.widgets)
        self.worker, self.uploads, self.cost = Worker(), Uploads(max_upload), Cost()
        self.keys = Keys(lambda key: _soon(partial(self.press, key)))
        self.screen = Screen(sizing_mode='stretch_width', height=1, margin=0)
        self.widgets.upload = Chooser(self._upload_begins, self._upload_comes, visible=max_upload > 0, width=256,
                                      height=34, margin=(5, 10))
        self.theme = 'dark_minimal' if dark else 'light_minimal'
        self.widgets.place_charts(*(pn.pane.Bokeh(chart.layout, theme=self.theme, sizing_mode='stretch_width', margin=0)
                                    for chart in (self.look.histogram, self.look.profile)))
        self._connect()
        self._list_folder('')
        if self.folder.first:
            self.widgets.file.value = self.folder.first

    @property
    def image(self):
        """Return the properties of the image that is shown, or None."""
        return self.look.image

    @property
    def panes(self):
        """The pictures."""
        return self.look.panes

    def _connect(self):
        """Connect each widget with its action."""
        w, look = self.widgets, self.look
        for widget, action in ((w.folder, self._enter), (w.file, self._pick), (w.hdu, self._choose),
                               (w.plane, self._choose), (w.panes, self._arrange), (w.swipe, look.swipe),
                               (w.overlay, look.show_sources)):
            widget.param.watch(lambda event, action=action: w.quiet or _soon(partial(action, event.new)), 'value')
        for button, action in ((w.denoise, self.denoise), (w.cancel, self.cancel), (w.detect, self.detect),
                               (w.analyze, self.analyze), (w.fits, self.save_fits), (w.png, self.save_png),
                               (w.json, self.save_json), (w.report, self.save_report), (w.fit, look.fit),
                               (w.blink, look.blink), (w.line, look.start_line)):
            button.on_click(lambda event, action=action: _soon(action))
        for widget in w.stretch, w.cuts, w.low, w.high, w.colours:
            widget.param.watch(lambda event: w.quiet or _soon(partial(look.rescale, event.obj)), 'value')
        for widget in (*w.parameters.values(), w.target, w.overwrite, w.false_rate, w.truth):
            widget.param.watch(lambda event: self._say_code(), 'value')
        w.inspector.param.watch(lambda event: _soon(look.count), 'active')
        self.screen.param.watch(lambda event: _soon(partial(look.arrange, room=event.new)), 'room')

    # Choosing a file.

    def _list_folder(self, name):
        """Show the contents of a folder, and uploaded files."""
        folders, files = self.folder.entries(name)
        up = {'.. (up)': name.rpartition('/')[0]} if name else {}
        below = {f'{each}/': f'{name}/{each}'.lstrip('/') for each in folders}
        self.widgets.fill(self.widgets.folder, options={f'{name or self.folder.root.name}/': name, **up, **below},
                          value=name)
        self.widgets.fill(self.widgets.file, options={
            'choose a file ...': '', **{f'{each} (uploaded)': _UPLOADED + each for each in self.uploads.files},
            **{each: f'{name}/{each}'.lstrip('/') for each in files}}, value='')

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
            self.path = self._find(name)
        except OSError as error:
            self.widgets.say(str(error), bad=True)
            return
        self._ask('hdus', str(self.path))

    def _find(self, name):
        """Find a file of the menu; OutsideError if it is neither in the folder nor uploaded."""
        uploaded = self.uploads.files.get(name.removeprefix(_UPLOADED)) if name.startswith(_UPLOADED) else None
        return self.folder.find(name) if uploaded is None else uploaded

    def _upload_begins(self, name, size):
        """Say if a file may come."""
        try:
            self.uploads.begin(name, size)
        except (ValueError, OSError) as error:
            self.widgets.say(str(error), bad=True)
            return False
        self.widgets.say('uploading ...')
        return True

    def _upload_comes(self, part):
        """Take a part of a file, and open it when it is whole; say if there is more to come."""
        try:
            name = self.uploads.add(part)
        except (ValueError, OSError) as error:
            self.widgets.say(f'the upload has failed: {error}', bad=True)
            self.uploads.drop()
            return False
        if not name:
            self.widgets.say(f'uploading ... {100 * self.uploads.share:.0f} %')
            return True
        self._list_folder(self.widgets.folder.value)
        self.widgets.fill(self.widgets.file, value=_UPLOADED + name)
        self._pick(_UPLOADED + name)
        return False

    def _choose(self, _):
        """Read the HDU and plane that are chosen."""
        if self.path is None or self.widgets.hdu.value is None:
            return
        self._forget()
        self._ask('read', *self._place())

    def _place(self):
        """File, HDU and plane, for tasks."""
        return str(self.path), self.widgets.hdu.value, self.widgets.plane.value or 0

    def _forget(self):
        """Drop the result, measures and pictures of another image."""
        self.worker.cancel()
        self._queue.clear()
        self.found = None
        self._forget_result()
        self.look.forget()

    def _forget_result(self):
        self.result, self.used, self.analysis = None, None, None
        self.widgets.cards.object = self.widgets.analysis.object = ''
        self.look.forget_result()

    # Tasks of the worker.

    def _ask(self, task, *arguments):
        """Ask for a task when those before have ended."""
        self._queue.append((task, arguments))
        self.poll()

    def poll(self):
        """Handle the messages of the worker, and give it the next task."""
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
        self.widgets.working(self.worker.task, self.image is not None, 'result' in self.look.pyramids,
                             self.analysis is not None, self._is_picture())

    def _is_picture(self):
        return self.image is not None and self.image['kind'] != 'FITS'

    def _after_hdus(self, value):
        images = [hdu for hdu in value['hdus'] if hdu.is_image]
        self.widgets.header.object = _preformatted(value['header'])
        options = {f'{hdu.label}  {"×".join(map(str, hdu.shape[::-1]))}': hdu.index for hdu in images}
        best = next((hdu.index for hdu in images if hdu.is_science), images[0].index if images else None)
        self.widgets.fill(self.widgets.hdu, options=options, value=best)
        if best is None:
            self.widgets.say(f'{self.path.name} has no image, but {len(value["hdus"])} HDUs of other kinds', bad=True)
        else:
            self._fill_plane(0, 0)
            self._choose(best)

    def _fill_plane(self, value, end):
        self.widgets.fill(self.widgets.plane, value=value, start=0, end=end, visible=end > 0)

    def _after_read(self, value):
        self.look.image = value
        self.widgets.fit_kind(value['kind'])
        self._fill_plane(self.widgets.plane.value or 0, value['n_planes'] - 1)
        self.look.pyramids = {'input': Pyramid.load(self.worker.folder, 'input')}
        self.widgets.header.object = _preformatted(value['header'])
        self.widgets.say(self._about())
        self.look.fit()
        self.look.rescale()
        self._say_code()
        path, index, plane = self._place()
        self._ask('measure', path, index, {}, plane)

    def _about(self):
        """Name, size and unit of the image."""
        ny, nx = self.image['shape']
        return f'{self.path.name}: {nx}×{ny} pixels, in {self.image["unit"] or "values as stored"}'

    def _after_measure(self, value):
        self.found = value
        self.widgets.show_found(value, self.image['unit'])
        if self._warned is None or self._warned[0] != self._place():   # the warning of its cost must not vanish
            self.widgets.say(self._about())

    def _settings(self):
        return self.widgets.settings(self.folder, self._is_picture())

    def _in_files(self, settings):
        """Check if the image is denoised by parts, with arrays in temporary files."""
        shape = self.image['n_planes'], *self.image['shape']
        return not (self._is_picture() or settings.model in _TRAINED or fits_memory(shape))

    def denoise(self):
        """Denoise the image with the parameters of the page; warn first of the cost of a large one."""
        if self.image is None or 'denoise' in (self.worker.task, *(task for task, _ in self._queue)):
            return
        try:
            settings = self._settings()
        except (ValueError, OSError) as error:
            self.widgets.say(str(error), bad=True)
            return
        in_files = self._in_files(settings)
        costs = self.cost.warning(self.image['shape'], self.image['n_planes'], in_files=in_files)
        if costs and self._warned != (self._place(), in_files):
            self._warned = self._place(), in_files
            self.widgets.say(f'{costs}. Press Denoise again to begin.', bad=True)
            return
        self._forget_result()
        self.look.draw()
        self.widgets.warn([])
        self.used = settings
        self._ask('denoise', str(self.path), self.widgets.hdu.value, settings.options())

    def _after_denoise(self, value):
        self.result = value
        if self.used.model not in _TRAINED:
            self.cost.learn(self.image['shape'], self.image['n_planes'], value['seconds'])
        rows = ''.join(f'<tr><td><code>{name}</code></td><td>{escape(str(card))}</td><td>{escape(comment)}</td></tr>'
                       for name, (card, comment) in value['cards'].items())
        self.widgets.cards.object = f'<table>{rows}</table>'
        self._ask('show', *self._place())

    def _after_show(self, names):
        self.look.pyramids |= {name: Pyramid.load(self.worker.folder, name) for name in names}
        self.widgets.say(f'denoised in {self.result["seconds"]:.1f} s; audit: {self.result["cards"]["N2VAUDIT"][0]}')
        self.look.rescale()
        self.look.swipe(self.widgets.swipe.value)
        self._say_code()

    def cancel(self):
        """End the task of the worker."""
        self._queue.clear()
        task = self.worker.cancel()
        if task:
            self.widgets.say(f'{task} was cancelled')
        self.poll()

    def detect(self):
        """Find the sources of input and result."""
        if self.result is not None:
            self._ask('detect', *self._place(), self.widgets.false_rate.value, 0)

    def _after_detect(self, tables):
        self.look.tables = tables
        counts = ', '.join(f'{len(table)} on the {name} ({table.meta["n_false"]:.1f} expected to be false)'
                           for name, table in tables.items())
        self.widgets.say(f'sources: {counts}')
        self.widgets.overlay.value = True
        self.look.show_sources()

    def analyze(self):
        """Analyze input and result."""
        if self.result is None:
            return
        options = {'false_rate': self.widgets.false_rate.value}
        if self.widgets.truth.value.strip():
            try:
                options['truth'] = str(self._find(self.widgets.truth.value.strip()))
            except OSError as error:
                self.widgets.say(str(error), bad=True)
                return
        self._ask('analyze', str(self.path), self.widgets.hdu.value, options)

    def _after_analyze(self, value):
        self.analysis = value
        self.widgets.show_analysis(value)
        self.widgets.tabs.active = 3
        self.widgets.say(value['summary'].splitlines()[0])

    # Saving.

    def _target(self, suffix='_n2v', extension=None):
        """Find the path of a file of the result, below the folder of the page."""
        target = output_path(self.path, self.folder.find(self.widgets.target.value), suffix)
        target = target if extension is None else target.with_name(f'{self.path.name.split(".")[0]}{extension}')
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
        self._save('save_fits', None, str(self.path))

    def save_png(self):
        """Save a picture of the visible part."""
        shown = self.look.tables.get('result') if self.widgets.overlay.value else None
        self._save('save_png', '_n2v.png' if not self._is_picture() else '_n2v_compared.png', *self._place(),
                   self.panes.cutout(), shown)

    def save_json(self):
        """Save parameters, noise, cards, sources and verdicts of the result."""
        if self.result is not None:
            sources = {name: {'n': len(table), **table.meta} for name, table in self.look.tables.items()}
            self._save('save_json', '_n2v.json', {
                'version': __version__, 'file': str(self.path), 'hdu': self.widgets.hdu.value,
                'plane': self.widgets.plane.value or 0, 'parameters': asdict(self.used), 'found': self.found,
                'cards': {name: value for name, (value, _) in self.result['cards'].items()},
                'seconds': self.result['seconds'], 'sources': sources, 'analysis': self.analysis,
                'warnings': self.widgets.warnings})

    def save_report(self):
        """Save the report of the analysis: a page, JSON, tables and pictures."""
        if self.analysis is not None:
            self._save('save_report', '_analysis')

    def _after_saving(self, name):
        self.widgets.say(f'saved {name}')

    def _say_code(self):
        """Show the command lines and the lines of Python that do the same."""
        if self.path is None or self.image is None:
            return
        try:
            now, target = self._settings(), self._target()
        except (ValueError, OSError):
            return
        # Of an uploaded file only its name means something to its user.
        path = self.path if self.folder.root in self.path.parents else self.path.name
        index, folder, w = self.widgets.hdu.value, target.parent, self.widgets
        blocks = [now.command(path, folder, index, w.overwrite.value)]
        snippets = [now.snippet(path, target, index, w.overwrite.value)]
        if not self._is_picture():
            truth = w.truth.value.strip() and self.folder.root / w.truth.value.strip()
            blocks.append(judging_command(path, folder, index, w.false_rate.value, truth))
            snippets.append(judging_snippet(path, folder, index, w.false_rate.value, truth))
        old = '' if self.used in (None, now) else (
            '# Parameters have changed since. The result shown was made by\n'
            f'{self.used.command(path, folder, index, w.overwrite.value)}\n\n')
        self.widgets.code.object = _preformatted(old + '\n'.join(blocks) + '\n\n' + '\n\n'.join(snippets))

    # Looking.

    def _arrange(self, names):
        for name, pane in self.frames.items():
            pane.visible = name in names
        self.look.arrange(names)

    def press(self, key):
        """Do the action of a key."""
        if key == 'd':
            self.denoise()
        elif key == 'Escape':
            self.cancel()
        else:
            self.look.press(key)

    # Layout.

    def parts(self):
        """List the parts of the menu and of the pictures."""
        self.frames = {name: pn.pane.Bokeh(figure, theme=self.theme, margin=2) for name, figure in
                       self.panes.figures.items()}
        pictures = pn.FlexBox(*self.frames.values(), self.widgets.beside, sizing_mode='stretch_width')
        keys = pn.pane.HTML(f'<small>Keys: {KEYS}</small>', margin=(0, 8))
        self.start()
        return self.widgets.menu(), [self.screen, self.widgets.status, pictures, keys, self.widgets.tabs, self.keys]

    def layout(self):
        """Lay out the page without a frame, for notebooks."""
        menu, main = self.parts()
        return pn.Row(pn.Column(*menu, width=300, scroll=True, height=800),
                      pn.Column(*main, sizing_mode='stretch_width'))

    def start(self):
        """Look at the worker from time to time, until the session ends."""
        pn.state.add_periodic_callback(lambda: _soon(self.poll), period=_POLL)
        if pn.state.curdoc is not None and pn.state.curdoc.session_context is not None:
            pn.state.on_session_destroyed(lambda context: self.close())
        if self.path is not None or self._queue:
            self.poll()

    def close(self):
        """End the process, and remove all temporary files."""
        self.worker.close()
        self.uploads.close()


def _soon(action):
    """Do something while the document is locked: models of Bokeh must not change at other times, as on a click."""
    document = pn.state.curdoc
    if document is None or document.session_context is None:
        action()
    else:
        document.add_next_tick_callback(action)


def _preformatted(text):
    """Format text of a fixed width as HTML."""
    return f'<pre style="margin:0;white-space:pre-wrap;overflow-wrap:anywhere">{escape(text)}</pre>'
