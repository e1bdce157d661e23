# Licensed under a 3-clause BSD style license - see LICENSE
"""
Menus, buttons and texts of the page.
"""

from html import escape

import panel as pn

from .panes import PANES
from .render import COLOUR_MAPS, CUTS, STRETCHES
from .settings import Settings

__all__ = ['Widgets']

# Names of tasks, for people.
_DOING = {'hdus': 'opening', 'read': 'reading', 'measure': 'measuring the noise', 'denoise': 'denoising',
          'show': 'drawing', 'detect': 'finding sources', 'analyze': 'analyzing'}
_WIDTH = 256   # pixels of the screen, of the menu
# Arrows and the open tab in the colour of text, which Panel and Bokeh draw in black on dark ground, too.
_STYLE = """
select.bk-input { background-size: 5px 5px, 5px 5px !important; background-repeat: no-repeat !important;
    background-position: right 13px center, right 8px center !important; background-image:
    linear-gradient(45deg, transparent 50%, currentColor 50%),
    linear-gradient(135deg, currentColor 50%, transparent 50%) !important }
.bk-spin-btn { color: inherit }
.bk-spin-btn-up:before { border-bottom-color: currentColor !important }
.bk-spin-btn-down:before { border-top-color: currentColor !important }
.bk-tab.bk-active { color: inherit }
"""


class Widgets:
    """
    All widgets of a page; `~astropy_n2v.gui.page.Page` gives them their actions.

    Parameters
    ----------
    folder : Folder
        The folder of the page.
    """

    NO_VALUES = '<div id="cursor">Move the cursor over a picture, or touch it, to read its values.</div>'
    NO_SOURCE = '<div>Find sources, and click one of the circles.</div>'
    NO_HISTOGRAM = '<div>Of what is seen: nothing yet.</div>'
    NO_PROFILE = '<div id="profile">Press Profile (key p), and click twice in a picture.</div>'

    def __init__(self, folder):
        self.warnings, self.quiet = [], False   # quiet: while the page itself fills them
        self.upload = None   # the page puts it there
        self._make_picking()
        self._make_parameters()
        self._make_view()
        self._make_saving()
        self._make_texts()

    def _make_picking(self):
        self.folder = pn.widgets.Select(label='Folder', width=_WIDTH)
        self.file = pn.widgets.Select(label='File', width=_WIDTH)
        self.hdu = pn.widgets.Select(label='HDU', options={}, width=_WIDTH)
        self.plane = pn.widgets.IntInput(label='Plane of the cube', value=0, visible=False, width=_WIDTH)

    def _make_parameters(self):
        half = (_WIDTH - 10) // 2
        number = {'value': None, 'width': half, 'placeholder': 'as found'}
        self.parameters = {
            'model': pn.widgets.Select(label='Model', options=['default', 'self', 'adapt', 'file'], width=half),
            'strength': pn.widgets.FloatInput(label='Strength (0 to 1)', value=1.0, start=0, end=1, step=0.1,
                                              width=half),
            'file': pn.widgets.TextInput(label='File of the model', width=_WIDTH, visible=False),
            'gain': pn.widgets.FloatInput(label='Gain (e⁻ / data unit)', **number),
            'readnoise': pn.widgets.FloatInput(label='Read noise (e⁻)', **number),
            'satlevel': pn.widgets.FloatInput(label='Saturation (data unit)', **number),
            'reject_outliers': pn.widgets.Checkbox(label='replace outliers'),
            'fill_masked': pn.widgets.Checkbox(label='fill masked pixels')}
        model, file = self.parameters['model'], self.parameters['file']
        model.param.watch(lambda event: file.param.update(visible=event.new == 'file'), 'value')
        self.found = pn.pane.HTML('', width=_WIDTH)
        self.denoise = pn.widgets.Button(label='Denoise', color='primary', disabled=True, width=half)
        self.cancel = pn.widgets.Button(label='Cancel', disabled=True, width=half)
        self.progress = pn.indicators.Progress(value=0, max=100, width=_WIDTH, visible=False)

    def _make_view(self):
        half = (_WIDTH - 10) // 2
        self.panes = pn.widgets.MultiChoice(label='Pictures', options=list(PANES), value=list(PANES), width=_WIDTH)
        self.stretch = pn.widgets.Select(label='Stretch', options=list(STRETCHES), width=half)
        self.cuts = pn.widgets.Select(label='Cuts', options=[*CUTS, 'by hand'], width=half)
        self.low = pn.widgets.FloatInput(label='Lowest', value=None, width=half)
        self.high = pn.widgets.FloatInput(label='Highest', value=None, width=half)
        self.colours = pn.widgets.Select(label='Colours', options=list(COLOUR_MAPS), width=half)
        self.fit = pn.widgets.Button(label='Show all', width=half)
        self.blink = pn.widgets.Button(label='Blink', width=half)
        self.line = pn.widgets.Button(label='Profile', width=half)
        self.swipe = pn.widgets.Checkbox(label='swipe')
        self.false_rate = pn.widgets.FloatInput(label='Share of false sources', value=0.05, start=0.001, end=0.5,
                                                step=0.01, width=half)
        self.detect = pn.widgets.Button(label='Find sources', disabled=True, width=half)
        self.overlay = pn.widgets.Checkbox(label='circle sources', value=False)
        self.truth = pn.widgets.TextInput(label='Noise-free image (file, if there is one)', width=_WIDTH)
        self.analyze = pn.widgets.Button(label='Analyze', disabled=True, width=half)
        self.report = pn.widgets.Button(label='Save report', disabled=True, width=half)

    def _make_saving(self):
        third = (_WIDTH - 20) // 3
        self.target = pn.widgets.TextInput(label='Folder of results', value='denoised', width=_WIDTH)
        self.overwrite = pn.widgets.Checkbox(label='replace files that exist')
        self.fits, self.png, self.json = (
            pn.widgets.Button(label=name, disabled=True, width=third, margin=(5, 4, 5, 10))
            for name in ('Save FITS', 'Save PNG', 'Save JSON'))

    def _make_texts(self):
        self.status = pn.pane.Alert('Choose a file.', alert_type='light', margin=(0, 8, 4, 8), css_classes=['status'],
                                    styles={'padding': '4px 10px'}, stylesheets=['p { margin: 0 }'],
                                    sizing_mode='stretch_width')
        self.values = pn.pane.HTML(self.NO_VALUES, sizing_mode='stretch_width', min_height=118,
                                   styles={'font-size': '12px', 'line-height': '1.15'})
        self.header, self.cards, self.code, self.alerts, self.analysis = (
            pn.pane.HTML('', sizing_mode='stretch_width') for _ in range(5))
        self.sources, self.histogram_text, self.line_text = (
            pn.pane.HTML(text, sizing_mode='stretch_width', styles={'font-size': '12px', 'line-height': '1.2'})
            for text in (self.NO_SOURCE, self.NO_HISTOGRAM, self.NO_PROFILE))
        self.tabs = pn.Tabs(('How it was made', pn.Column(self.alerts, self.cards, sizing_mode='stretch_width')),
                            ('Header', self.header), ('As code', self.code), ('Analysis', self.analysis),
                            sizing_mode='stretch_width')

    def place_charts(self, histogram, line):
        """
        Put charts, which are no widgets, beside the pictures.

        Parameters
        ----------
        histogram, line : object
            Objects that Panel shows.
        """
        legend = pn.pane.HTML('<small><span style="color:#e69f00">◯</span> on both images &nbsp; '
                              '<span style="color:#56b4e9">◯</span> on one only</small>')
        self.inspector = pn.Tabs(
            ('Source', pn.Column(legend, self.sources, sizing_mode='stretch_width')),
            ('Histogram', pn.Column(histogram, self.histogram_text, sizing_mode='stretch_width')),
            ('Profile', pn.Column(line, self.line_text, sizing_mode='stretch_width')), sizing_mode='stretch_width')
        self._style(self.inspector, self.tabs, *vars(self).values(), *self.parameters.values())
        self.beside = pn.Column(self.values, self.inspector, width=290, margin=(4, 2))

    def _style(self, *widgets):
        """Give menus, fields with numbers and tabs colours that are seen on light and dark ground."""
        for widget in widgets:
            if isinstance(widget, (pn.widgets.Select, pn.widgets.FloatInput, pn.widgets.IntInput, pn.Tabs)):
                widget.stylesheets = [_STYLE]

    def menu(self):
        """List the parts of the menu, from top to bottom."""
        p = self.parameters

        def title(text):
            return pn.pane.HTML(f'<b>{text}</b>', margin=(8, 10, 0, 10))

        return [self.folder, self.file, self.upload, self.hdu, self.plane, title('Denoise'),
                pn.Row(p['model'], p['strength']), p['file'], pn.Row(p['gain'], p['readnoise']), pn.Row(p['satlevel']),
                pn.Row(p['reject_outliers'], p['fill_masked']), self.found, pn.Row(self.denoise, self.cancel),
                self.progress, title('Look'), pn.Row(self.stretch, self.cuts), pn.Row(self.low, self.high),
                pn.Row(self.colours), pn.Row(self.fit, self.blink), pn.Row(self.line, self.swipe), self.panes,
                title('Sources'), pn.Row(self.false_rate), pn.Row(self.detect, self.overlay), title('Judge'),
                self.truth, pn.Row(self.analyze, self.report), title('Save'), self.target, self.overwrite,
                pn.Row(self.fits, self.png, self.json)]

    def fill(self, widget, **values):
        """Give a menu or field other contents, without its action."""
        self.quiet = True
        widget.param.update(**values)
        self.quiet = False

    def fill_cuts(self, low, high, cuts):
        """Show the lowest and the highest value, and how they were found."""
        for widget, value in (self.low, low), (self.high, high):
            self.fill(widget, value=None if value is None else float(f'{value:.6g}'))
        self.fill(self.cuts, value=cuts)

    def fit_kind(self, kind):
        """Enable the parameters that a kind of file has: pictures are denoised by their brightness alone."""
        picture = kind != 'FITS'
        for name in 'gain', 'readnoise', 'satlevel', 'reject_outliers', 'fill_masked':
            self.parameters[name].disabled = picture
        self.fits.label = f'Save {kind}'
        self.plane.label = 'Channel' if picture else 'Plane of the cube'

    def settings(self, folder, picture=False):
        """
        Read the parameters.

        Parameters
        ----------
        folder : Folder
            Where the file of a model is.
        picture : bool, optional
            If true, the settings for pictures alone.

        Returns
        -------
        Settings
            The parameters.

        Raises
        ------
        OSError
            If the model is not in the folder.
        """
        values = {name: widget.value for name, widget in self.parameters.items() if not (picture and widget.disabled)}
        file = values.pop('file')
        if values['model'] == 'file':
            values['model'] = str(folder.find(file))
        return Settings(**values)

    def show_found(self, found, unit):
        """Show the noise that was found, which holds unless it is given."""
        unit, gain, p = escape(unit), found['gain'], self.parameters
        p['gain'].placeholder = 'none' if gain is None else f'{gain:.4g}'
        p['readnoise'].placeholder = 'as found' if gain is None else f'{found["sigma"] * gain:.4g}'
        gain = 'it does not grow with the signal' if gain is None else f'gain {gain:.4g} e⁻ / {unit}'
        self.found.object = (
            f'<small id="found">Found: {escape(found["source"])}; {gain}; without light {found["sigma"]:.4g} {unit}; '
            f'at the sky ({found["sky"]:.5g} {unit}) {found["sky_noise"]:.4g} {unit}; '
            f'{100 * found["masked"]:.2g} % of the pixels do not count</small>')

    def say(self, text, bad=False):
        """Show a message in the status line."""
        self.status.param.update(object=escape(text), alert_type='danger' if bad else 'light')

    def warn(self, messages):
        """Add to the warnings that are shown; an empty list removes them."""
        self.warnings = list(dict.fromkeys([*self.warnings, *messages])) if messages else []
        self.alerts.object = ''.join(f'<p>⚠ {escape(message)}</p>' for message in self.warnings)

    def advance(self, task, percent):
        """Show how far a task is."""
        self.progress.value = max(int(percent), 1)
        self.say(f'{_DOING.get(task, "saving")} ... {percent} %' if percent else f'{_DOING.get(task, "saving")} ...')

    def show_analysis(self, found):
        """Show the tests of an analysis, and how many sources there are before and after."""
        colours = {'pass': '#2b94d6', 'fail': '#e06c1a'}   # on light and dark ground
        rows = ''.join(
            f'<tr><td style="color:{colours.get(check["verdict"], "inherit")};white-space:nowrap;padding-right:10px">'
            f'{check["verdict"]}</td><td style="padding-right:10px">{escape(check["title"])}</td><td>'
            f'{escape(check["result"])}{_sentence(check)}</td></tr>' for check in found['checks'])
        counts = '; '.join(f'{row["n"]} sources on the {row["image"]}, {row["n_false"]:.1f} of them expected to be '
                           'false' for row in found['detections'])
        self.analysis.object = (f'<div id="analysis"><p>{escape(found["summary"].splitlines()[0])}</p><p>{counts}</p>'
                                f'<table>{rows}</table></div>')

    def working(self, task, has_image, has_result, has_report, picture):
        """Enable the buttons whose actions can be done now."""
        self.progress.visible = bool(task)
        self.cancel.disabled = not task
        self.denoise.disabled = not has_image or task == 'denoise'
        busy = not has_result or task in ('denoise', 'show', 'detect', 'analyze')
        for button in self.fits, self.png, self.json:
            button.disabled = busy
        for button in self.detect, self.analyze:
            button.disabled = busy or picture
        self.report.disabled = busy or not has_report


def _sentence(check):
    """Word the meaning of the result of a test, unless there is nothing else."""
    meaning = check['meaning'] if check['value'] is not None else ''
    return f'<br><small>{escape(meaning)}</small>' if meaning else ''
