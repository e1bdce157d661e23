# Licensed under a 3-clause BSD style license - see LICENSE
"""
The page: without a browser, through its server, and as a person uses it in Chromium.
"""

import html
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from astropy_n2v import denoise
from astropy_n2v.gui import tasks
from astropy_n2v.gui.panes import PANES
from astropy_n2v.gui.render import COLOUR_MAPS, CUTS, STRETCHES, Pyramid
from astropy_n2v.gui.settings import Settings
from astropy_n2v.io.raster import RasterImage, read_raster, write_raster
from astropy_n2v.simulate import make_scene
from astropy_n2v.sources import detect_on_both
from astropy_n2v.validation.report.schema import SCHEMA_NAME

# Panel warns of its own keywords.
pytestmark = pytest.mark.filterwarnings('ignore::PendingDeprecationWarning')
PATIENCE = 240000   # milliseconds; finding sources takes a tenth of that on a machine that does nothing else
CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Frames, a table, a truncated file, and a secret beside the folder."""
    top = tmp_path_factory.mktemp('page')
    path = top / 'night'
    path.mkdir()
    ccd = make_scene('survey', (300, 320), seed=3).observe(seed=4)
    ccd.wcs = WCS(naxis=2)
    ccd.wcs.wcs.ctype, ccd.wcs.wcs.crval, ccd.wcs.wcs.cdelt = ('RA---TAN', 'DEC--TAN'), (150, 2), (-1e-4, 1e-4)
    ccd.write(path / 'frame.fits')
    Table({'x': [1.0, 2.0]}).write(path / 'table.fits')
    (path / 'broken.fits').write_bytes((path / 'frame.fits').read_bytes()[:100000])
    ccd.write(top / 'secret.fits')
    (path / 'link.fits').symlink_to(top / 'secret.fits')
    return path


@contextmanager
def served(path):
    """Run the command, and yield the address that it prints."""
    process = subprocess.Popen([sys.executable, '-m', 'astropy_n2v.cli', 'gui', str(path), '--no-browser'],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


@pytest.fixture(scope='module')
def address(folder):
    with served(folder) as address:
        yield address


def status(address, **headers):
    """HTTP status of a request."""
    request = urllib.request.Request(address, headers={name.replace('_', '-'): text for name, text in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def settle(page, seconds=120):
    """Let the page work until nothing is left to do."""
    end = time.monotonic() + seconds
    page.poll()
    while (page.worker.task or page._queue) and time.monotonic() < end:
        time.sleep(0.02)
        page.poll()


@pytest.fixture
def page(folder):
    from astropy_n2v.gui.page import Page
    page = Page(folder)
    yield page
    page.close()


def test_code_does_what_the_page_does(tmp_path, folder):
    settings = Settings(strength=0.5, gain=1.0, reject_outliers=True)
    path, output = tmp_path / 'a b.fits', tmp_path / 'out' / 'a b_n2v.fits'
    shutil.copy(folder / 'frame.fits', path)
    exec(settings.snippet(path, tmp_path / 'c.fits', 0), {})
    import shlex

    from click.testing import CliRunner

    from astropy_n2v.cli import main
    result = CliRunner().invoke(main, shlex.split(settings.command(path, output.parent, 0))[1:])
    assert result.exit_code == 0, result.output
    with fits.open(output) as one, fits.open(tmp_path / 'c.fits') as other:
        assert one[0].header['N2VSTREN'] == 0.5 and 'INNOVATION' in one
        np.testing.assert_array_equal(one[0].data, other[0].data)


def test_file_is_picked_and_its_noise_is_found(page):
    assert list(page.widgets.file.options) == ['choose a file ...', 'broken.fits', 'frame.fits', 'table.fits']
    assert page.widgets.denoise.disabled
    page.widgets.file.value = 'frame.fits'
    settle(page)
    assert page.image['shape'] == (300, 320) and page.found['sky_noise'] > 0
    assert not page.widgets.denoise.disabled and page.widgets.fits.disabled
    assert 'SIMPLE' in page.widgets.header.object
    assert '--ext 0' in page.widgets.code.object
    # What the browser has is a picture of the pane, and no image.
    (picture,) = page.panes._pictures['input'].data['image']
    assert picture.dtype == np.uint32 and max(picture.shape) <= page.panes.size


def test_noise_of_the_chosen_plane_is_found(tmp_path, rng):
    from astropy_n2v.gui.page import Page
    fits.writeto(tmp_path / 'cube.fits', np.stack([rng.normal(100, noise, (96, 96)) for noise in (2, 8)]).astype('f4'))
    page = Page(tmp_path / 'cube.fits')
    settle(page)
    assert page.found['sky_noise'] == pytest.approx(2, rel=0.1)
    page.widgets.plane.value = 1
    settle(page)
    assert page.found['sky_noise'] == pytest.approx(8, rel=0.1)
    page.close()


def test_link_is_refused(page):
    page._pick('link.fits')
    assert 'leads out of the folder' in page.widgets.status.object and page.path is None
    page._enter('..')
    assert 'leads out of the folder' in page.widgets.status.object


@pytest.mark.parametrize('name, reason', [('table.fits', 'table.fits has no image'), ('broken.fits', 'is truncated')])
def test_file_without_an_image(page, name, reason):
    page.widgets.file.value = name
    settle(page)
    assert reason in page.widgets.status.object and page.widgets.denoise.disabled
    page.widgets.file.value = 'frame.fits'   # and the page lives on
    settle(page)
    assert not page.widgets.denoise.disabled


def test_results_stay_in_the_folder(page):
    page.widgets.file.value = 'frame.fits'
    settle(page)
    page.result, page.widgets.target.value = {'cards': {}, 'seconds': 1}, '../elsewhere'
    page.save_fits()
    assert 'leads out of the folder' in page.widgets.status.object and not page._queue


def test_cuts_by_hand(page):
    page.widgets.file.value = 'frame.fits'
    settle(page)
    page.widgets.low.value = 100.0
    assert page.widgets.cuts.value == 'by hand' and page.panes.norms['input'].vmin == 100
    page.widgets.cuts.value = 'zscale'
    assert page.widgets.low.value != 100 and page.panes.norms['input'].vmin == pytest.approx(page.widgets.low.value,
                                                                                              rel=1e-4)


def upload(page, name, content):
    """Send a file as the browser does, in parts."""
    if not page._upload_begins(name, len(content)):
        return False
    half = len(content) // 2
    return page._upload_comes(content[:half]) and not page._upload_comes(content[half:])


def code(page):
    """Read the command lines and lines of Python that the page shows."""
    return html.unescape(page.widgets.code.object)


def test_uploaded_file_is_opened_and_its_results_stay_in_the_folder(page, folder):
    assert upload(page, '../../up 1.fits', (folder / 'frame.fits').read_bytes())
    settle(page)
    assert page.path.name == 'up 1.fits' and folder not in page.path.parents
    assert page.widgets.file.value == '/uploaded/up 1.fits' and page.image['shape'] == (300, 320)
    assert page._target() == folder.resolve() / 'denoised' / 'up 1_n2v.fits'
    assert str(page.path.parent) not in code(page) and "'up 1.fits'" in code(page)
    page.widgets.file.value = 'frame.fits'
    settle(page)
    assert page.path.parent == folder.resolve()
    page.widgets.file.value = '/uploaded/up 1.fits'
    settle(page)
    place = page.path.parent
    assert place.exists()
    page.close()
    assert not place.exists()


@pytest.mark.parametrize('name, content, reason', [
    ('table.fits', None, 'table.fits has no image'), ('broken.fits', None, 'is truncated'),
    ('no.fits', b'hello' * 1000, 'no.fits is not a FITS file'), ('no.jpg', b'hello' * 1000, 'cannot identify'),
    ('a.exe', b'MZ', 'a file to upload must be FITS'), ('empty.fits', b'', 'is empty')])
def test_uploads_that_are_no_images(page, folder, name, content, reason):
    upload(page, name, (folder / name).read_bytes() if content is None else content)
    settle(page)
    assert reason in page.widgets.status.object and page.widgets.denoise.disabled


# No JPEG shrinks that much.
@pytest.mark.parametrize('name', ['bomb.fits.gz', 'bomb.png', 'bomb.tif'])
def test_bombs_are_refused(page, tmp_path, monkeypatch, name):
    monkeypatch.setattr('astropy_n2v.io.paths._SMALL', 1 << 20)
    if name.endswith('.gz'):
        fits.writeto(tmp_path / name, np.zeros((2000, 2000), dtype='f4'))
    else:
        kind = {'png': 'PNG', 'tif': 'TIFF'}[name[-3:]]
        picture = RasterImage(np.zeros((3, 3000, 3000), dtype='u1'), None, kind, {'compression': 8})
        write_raster(tmp_path / name, picture if kind == 'TIFF' else replace(picture, extras={}))
    content = (tmp_path / name).read_bytes()
    page.uploads.begin(name, len(content))
    page.uploads.add(content)
    for task, arguments in ('hdus', ()), ('read', (0, 0)):
        kind, message, _ = tasks.run(task, (page.worker.folder, str(page.uploads.files[name]), *arguments))
        assert kind == 'failed' and 'which is no plausible image' in message


def test_large_uploads_are_refused(folder):
    from astropy_n2v.gui.page import Page
    page = Page(folder, max_upload=1000)
    assert not upload(page, 'a.fits', bytes(1001))
    assert 'a page takes 0 MB in all' in page.widgets.status.object
    page.close()


@pytest.mark.parametrize('name', ['/uploaded/none.fits', '/uploaded/../secret.fits', '/uploaded//etc/passwd'])
def test_no_other_file_passes_for_an_upload(page, name):
    page._pick(name)
    assert 'leads out of the folder' in page.widgets.status.object and page.path is None


def test_truth_must_be_in_the_folder(page):
    page.widgets.file.value = 'frame.fits'
    settle(page)
    page.result, page.widgets.truth.value = {'cards': {}, 'seconds': 1}, '../secret.fits'
    page.analyze()
    assert 'leads out of the folder' in page.widgets.status.object and not page._queue


def test_code_follows_all_settings(page):
    page.widgets.file.value = 'frame.fits'
    settle(page)
    w = page.widgets
    w.parameters['strength'].value, w.parameters['fill_masked'].value = 0.5, True
    w.false_rate.value, w.target.value, w.overwrite.value, w.truth.value = 0.1, 'other', True, 'truth.fits'
    for words in ('--strength 0.5 --fill-masked --overwrite', '--false-rate 0.1', '/other/frame_analysis --truth ',
                  'strength=0.5, fill_masked=True, overwrite=True', 'false_rate=0.1', '/other/frame_n2v.fits'):
        assert words in code(page), words
    page.used = w.settings(page.folder)
    w.parameters['gain'].value = 2.0
    rest = code(page).partition('Parameters have changed')[2]
    assert '--gain' not in rest.split('--overwrite')[0] and '--gain 2.0' in rest


def test_large_image_is_denoised_when_it_is_asked_for_twice(page):
    page.widgets.file.value = 'frame.fits'
    settle(page)
    page.image['shape'] = 10000, 10000
    page.denoise()
    assert '10000×10000 pixels take about 2 minutes' in page.widgets.status.object and not page.worker.task
    assert '0.8 GB' in page.widgets.status.object and 'temporary files' in page.widgets.status.object
    page.denoise()
    assert page.worker.task == 'denoise'
    page.cancel()


def test_other_cost_of_a_large_image_is_said_again(page):
    page.widgets.file.value = 'frame.fits'
    settle(page)
    page.image['shape'] = 10000, 10000
    page.denoise()
    page.widgets.parameters['model'].value = 'self'   # which has no temporary files
    page.denoise()
    assert '5.3 GB' in page.widgets.status.object and not page.worker.task


def test_training_teaches_no_time(page):
    page.widgets.file.value = 'frame.fits'
    settle(page)
    page.image['shape'], page.used = (1024, 1024), Settings(model='self')
    page._after_denoise({'cards': {}, 'seconds': 600})
    page.cancel()
    assert page.cost.warning((2048, 2048), 1, free=64e9) == ''


@pytest.fixture
def judged(page, folder):
    """Fill a page with a frame, something like a result, and a source."""
    page.path = folder / 'frame.fits'
    page.look.image = tasks.read(page.worker.folder, page.path, 0, 0)
    page.look.pyramids = {'input': Pyramid.load(page.worker.folder, 'input')}
    page.look.fit()
    values = np.array(page.look.pyramids['input'].levels[0])
    page.look.pyramids |= {'result': Pyramid.of(np.full_like(values, 200)), 'residual': Pyramid.of((values - 200) / 15),
                           'uncertainty': Pyramid.of(np.ones_like(values)), 'innovations': Pyramid.of(values / 300)}
    page.look.rescale()
    return page


def test_profile_between_two_clicks(judged):
    judged.press('p')
    assert judged.look._drawing
    for x, y in (10, 20), (40, 60):
        judged.look._click(x, y)
    assert not judged.look._drawing
    text, charts = judged.widgets.line_text.object, judged.look.profile.sources
    assert '50.0 pixels, 18″' in text and 'from x 10.0, y 20.0 (' in text
    assert charts['input'].data['y'][0] == judged.look.pyramids['input'].value(10, 20)
    assert len(charts['innovations'].data['x']) == 51 and judged.look.profile.upper.yaxis.axis_label == 'electron'
    assert judged.look.profile.band.data['high'][0] == 201
    judged.press('p')   # another one
    assert len(charts['input'].data['x']) == 0


def test_histogram_of_what_is_seen(judged):
    judged.widgets.inspector.active = 1
    assert 'of 96000 visible pixels' in judged.widgets.histogram_text.object
    judged.panes._look_at(100, 100, 10)
    judged.look.draw()
    text = judged.widgets.histogram_text.object
    assert 'residual' in text and 'electron' in text and ' visible pixels' in text and '96000' not in text
    assert sum(judged.look.histogram.sources['residual'].data['y'][::2]) >= 400


def test_swipe_shows_input_and_result(judged):
    shown = judged.panes._pictures
    judged.press('s')
    assert judged.widgets.swipe.value and judged.panes.divider.visible

    def left_columns():
        before, both = (shown[name].data['image'][0] for name in ('input', 'result'))
        return sum((before[:, k] == both[:, k]).all() for k in range(before.shape[1]))

    middle = left_columns()
    judged.press('[')
    assert left_columns() < middle < shown['input'].data['image'][0].shape[1]
    judged.press('s')
    assert left_columns() == 0 and not judged.panes.divider.visible


def test_click_on_a_source_shows_its_surroundings(judged):
    ccd = make_scene('survey', (96, 96), seed=1).observe(seed=2)
    judged.look.tables = detect_on_both(ccd, denoise(ccd), psf=3.2, n_frames=1)
    judged.look._tap('result', 0)
    text = judged.widgets.sources.object
    assert text.count('data:image/png;base64,') == 3 and 'S/N' in text and 'electron (on the input)' in text


def test_stretches_and_colours_change_the_pictures(judged):
    def shown(name):
        return judged.panes._pictures[name].data['image'][0].tobytes()

    w, fixed = judged.widgets, [shown(name) for name in ('residual', 'uncertainty', 'innovations')]
    for widget, values in (w.stretch, STRETCHES), (w.colours, COLOUR_MAPS), (w.cuts, list(CUTS)):
        pictures = set()
        for value in values:
            widget.value = value
            pictures.add((shown('input'), shown('result')))
        assert len(pictures) == len(values)
    assert [shown(name) for name in ('residual', 'uncertainty', 'innovations')] == fixed


def test_values_under_the_cursor_have_units(judged):
    judged.look._pointed = 12.3, 45.6
    judged.look._show_values()
    text = judged.widgets.values.object
    for name in 'input', 'result', 'uncertainty':
        value = judged.look.pyramids[name].value(12.3, 45.6)
        assert f'<td>{name}</td><td style="text-align:right">{value:.5g}</td><td>electron</td>' in text
    assert text.count('<td>σ</td>') == 2 and '09h59m' in text and 'x 12.3, y 45.6 pixels' in text


def test_values_stay_where_a_finger_was(judged):
    judged.look._click(12.3, 45.6)
    judged.look._point(None, None)   # it is lifted
    assert 'x 12.3, y 45.6 pixels' in judged.widgets.values.object
    judged.look._point(20.0, 30.0)
    judged.look._point(None, None)
    assert 'Move the cursor' in judged.widgets.values.object


def test_room_makes_panes_larger_or_fewer_beside_each_other(judged):
    for room, size in ((952, 800, 1), 303), ((714, 768, 1), 224), ((504, 1180, 2), 238), ((2400, 1400, 1), 786):
        judged.look.arrange(room=room)
        assert judged.panes.size == size
    judged.look.arrange(room=(504, 1180, 2))
    assert judged.panes.ratio == 2   # pictures for screens of twice the resolution


def test_page_is_served(address):
    assert address.startswith('http://127.0.0.1:')
    assert status(address) == 200


def test_strangers_are_refused(address):
    host = address.split('/')[2]
    token = address.split('/')[3]
    port = host.partition(':')[2]
    assert len(token) >= 40
    for path in 'page', '', 'static/js/bokeh.min.js', f'{token[:-1]}x/page', f'{token}x/page':
        assert status(f'http://{host}/{path}') == 403, path
    assert status(address, Origin='http://example.org') == 403
    assert status(address, Host=f'example.org:{port}') == 403
    assert status(address, Sec_Fetch_Site='cross-site') == 403
    assert status(f'http://{host}/{token}/../../etc/passwd') in (403, 404)
    upgrade = {'Upgrade': 'websocket', 'Connection': 'Upgrade', 'Sec_WebSocket_Version': '13',
               'Sec_WebSocket_Key': 'dGhlIHNhbXBsZSBub25jZQ=='}
    assert status(f'{address}/ws', Origin='http://example.org', **upgrade) == 403
    assert status(f'http://{host}/page/ws', **upgrade) == 403


def test_missing_folder_is_an_error(tmp_path):
    from click.testing import CliRunner

    from astropy_n2v.cli import main
    assert CliRunner().invoke(main, ['gui', str(tmp_path / 'none')]).exit_code == 2


# As a person does it.

@pytest.fixture(scope='module')
def browser():
    playwright = pytest.importorskip('playwright.sync_api')
    if CHROMIUM is None:
        pytest.skip('Chromium is needed')
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'])
        yield browser
        browser.close()


@pytest.fixture
def tab(browser, address):
    tab = browser.new_page(viewport={'width': 1280, 'height': 800})
    tab.set_default_timeout(PATIENCE)
    tab.foreign = []
    tab.on('request', lambda request: request.url.startswith(('http://127', 'data:', 'blob:')) or
           tab.foreign.append(request.url))
    tab.goto(address)
    tab.get_by_text('Choose a file.').wait_for()
    yield tab
    tab.close()


def pick(tab, name):
    tab.get_by_label('File', exact=True).select_option(name)


def viewport(tab):
    """Read the visible part, as Bokeh has it in the browser."""
    return tab.evaluate('''() => {
        for (const model of Bokeh.documents[0]._all_models.values())
            if (model.name === 'input' && model.x_range) return [model.x_range.start, model.x_range.end]
    }''')


def picture_place(tab):
    """Width of the picture of the input that the browser has, in pixels of the image, and of the picture itself."""
    return tab.evaluate('''() => {
        for (const model of Bokeh.documents[0]._all_models.values())
            if (model.name === 'input' && model.x_range) {
                const data = model.renderers[0].data_source.data
                return [data.dw[0], data.image[0].shape[1]]
            }
    }''')


# If the browser has a picture of the input, as an expression of it.
HAS_PICTURE = '''(() => {
    if (!window.Bokeh?.documents.length) return false
    for (const model of Bokeh.documents[0]._all_models.values())
        if (model.name === 'input' && model.x_range) return model.renderers[0].data_source.data.image.length > 0
})()'''


def circles_are_shown(tab):
    """Return True if the browser shows the sources."""
    return tab.evaluate('''() => {
        for (const model of Bokeh.documents[0]._all_models.values())
            if (model.name === 'result' && model.x_range)
                return model.renderers.find(each => 'colour' in each.data_source.data).visible
    }''')


@pytest.mark.slow
def test_a_frame_from_picking_to_saving(tab, folder):
    pick(tab, 'frame.fits')
    tab.get_by_text('Found:').wait_for()
    tab.get_by_label('Strength').fill('0.75')
    tab.get_by_label('Strength').press('Enter')
    tab.get_by_role('button', name='Denoise').click()
    tab.get_by_text('denoised in').wait_for()
    # Zoom with the wheel: the picture that follows is sharper.
    before = viewport(tab)
    box = tab.locator('.bk-Figure').first.bounding_box()
    tab.mouse.move(box['x'] + 150, box['y'] + 150)
    tab.get_by_text('pixels').first.wait_for()
    tab.mouse.wheel(0, -600)
    tab.wait_for_timeout(1500)
    after = viewport(tab)
    assert after[1] - after[0] < 0.8 * (before[1] - before[0])
    width, n_values = picture_place(tab)
    assert width < 320 and width == pytest.approx(n_values, abs=1)
    assert 'residual' in tab.locator('#cursor').inner_text() and '09h59m' in tab.locator('#cursor').inner_text()
    tab.keyboard.press('f')
    tab.wait_for_timeout(1000)
    assert viewport(tab) == before
    tab.keyboard.press('b')
    tab.wait_for_timeout(500)
    tab.keyboard.press('b')
    tab.get_by_role('button', name='Find sources').click()
    tab.get_by_text('sources:').wait_for()
    tab.wait_for_timeout(500)
    assert circles_are_shown(tab)
    tab.keyboard.press('o')
    tab.wait_for_timeout(500)
    assert not circles_are_shown(tab)
    for kind, ending in ('FITS', '.fits'), ('PNG', '.png'), ('JSON', '.json'):
        tab.get_by_role('button', name=f'Save {kind}').click()
        tab.get_by_text(f'frame_n2v{ending}').first.wait_for()
    with fits.open(folder / 'denoised' / 'frame_n2v.fits') as hdus:
        assert hdus[0].header['N2VSTREN'] == 0.75 and 'UNCERT' in hdus
    known = json.loads((folder / 'denoised' / 'frame_n2v.json').read_text(encoding='utf-8'))
    assert known['parameters']['strength'] == 0.75 and known['sources']['result']['n'] > 0
    assert (folder / 'denoised' / 'frame_n2v.png').read_bytes()[1:4] == b'PNG'
    assert tab.foreign == []   # nothing is fetched from elsewhere


@pytest.mark.slow
def test_keys_typed_in_a_cell_of_a_notebook_are_text(tab):
    pick(tab, 'frame.fits')
    tab.get_by_text('Found:').wait_for()
    tab.evaluate("""() => {
        const cell = document.createElement('div')
        cell.contentEditable = true
        cell.id = 'cell'
        document.body.prepend(cell)
        cell.focus()
    }""")
    before = viewport(tab)
    tab.keyboard.press('+')
    tab.wait_for_timeout(1000)
    assert tab.locator('#cell').inner_text() == '+' and viewport(tab) == before
    tab.evaluate("document.getElementById('cell').remove()")
    tab.keyboard.press('+')
    tab.wait_for_timeout(1000)
    assert viewport(tab) != before


@pytest.mark.slow
def test_cancel(tab):
    pick(tab, 'frame.fits')
    tab.get_by_text('Found:').wait_for()
    tab.get_by_label('Model', exact=True).select_option('self')
    tab.get_by_role('button', name='Denoise').click()
    tab.get_by_text('denoising ...').wait_for()
    tab.get_by_role('button', name='Cancel').click()
    tab.get_by_text('denoise was cancelled').wait_for()
    assert tab.get_by_role('button', name='Save FITS').is_disabled()
    tab.get_by_label('Model', exact=True).select_option('default')
    tab.get_by_role('button', name='Denoise').click()
    tab.get_by_text('denoised in').wait_for()


@pytest.mark.slow
def test_files_that_cannot_be_denoised(tab):
    pick(tab, 'table.fits')
    tab.get_by_text('table.fits has no image').wait_for()
    pick(tab, 'broken.fits')
    tab.get_by_text('truncated').first.wait_for()
    assert tab.get_by_role('button', name='Denoise').is_disabled()


# Where the line of the swipe is, as share of the width, as an expression of the browser; -1 if it is not seen.
DIVIDER = '''(() => {
    for (const model of Bokeh.documents[0]._all_models.values())
        if (model.name === 'result' && model.x_range) {
            const line = model.center.find(each => each.type === 'Span' && each.line_color === '#ffd54f')
            const share = (line.location - model.x_range.start) / (model.x_range.end - model.x_range.start)
            return line.visible ? share : -1
        }
})()'''


def place_of(tab, name, x, y):
    """Where on the screen a place of a pane is, given as shares of its width and height."""
    box = tab.locator('.bk-Figure').nth(list(PANES).index(name)).bounding_box()
    size = tab.evaluate('''name => {
        for (const model of Bokeh.documents[0]._all_models.values())
            if (model.name === name && model.x_range) return model.frame_width
    }''', name)
    return box['x'] + box['width'] - 6 - size * (1 - x), box['y'] + box['height'] - 6 - size * y


def first_source(tab):
    """Where the most significant source of the result is, as shares of the width and height of its pane."""
    return tab.evaluate('''() => {
        for (const model of Bokeh.documents[0]._all_models.values())
            if (model.name === 'result' && model.x_range) {
                const {x, y} = model.renderers.find(each => 'colour' in each.data_source.data).data_source.data
                const share = (range, value) => (value - range.start) / (range.end - range.start)
                return [share(model.x_range, x[0]), share(model.y_range, y[0])]
            }
    }''')


@pytest.mark.slow
def test_uploaded_frame_is_compared_and_judged(tab, folder, tmp_path):
    path = tmp_path / 'my frame.fits'
    shutil.copy(folder / 'frame.fits', path)
    tab.set_input_files('input[type=file]', path)
    tab.get_by_text('Found:').wait_for()
    assert tab.get_by_label('File', exact=True).input_value() == 'my frame.fits (uploaded)'
    tab.get_by_role('button', name='Denoise').click()
    tab.get_by_text('denoised in').wait_for()
    # Swipe: where the line is dragged to, the picture moves not.
    before = viewport(tab)
    tab.keyboard.press('s')
    tab.wait_for_function(f'{DIVIDER} > 0.45')
    tab.mouse.move(*place_of(tab, 'result', 0.5, 0.5))
    tab.mouse.down()
    tab.mouse.move(*place_of(tab, 'result', 0.25, 0.5), steps=4)
    tab.mouse.up()
    tab.wait_for_function(f'Math.abs({DIVIDER} - 0.25) < 0.02')
    assert viewport(tab) == before
    for key in 'sss':   # faster than pictures are drawn
        tab.keyboard.press(key)
    tab.wait_for_function(f'{DIVIDER} < 0')
    # A profile between two clicks.
    tab.get_by_role('button', name='Profile').click()
    tab.get_by_text('Click where the line begins').wait_for()
    for place in (0.3, 0.3), (0.7, 0.6):
        tab.mouse.click(*place_of(tab, 'input', *place))
        tab.wait_for_timeout(600)
    tab.locator('#profile').get_by_text('″').wait_for()
    # Numbers of what is seen.
    tab.get_by_text('Histogram', exact=True).click()
    tab.get_by_text('96000 visible pixels').wait_for()
    # A source, and its surroundings.
    tab.get_by_role('button', name='Find sources').click()
    tab.get_by_text('sources:').wait_for()
    tab.wait_for_timeout(500)
    tab.mouse.click(*place_of(tab, 'result', *first_source(tab)))
    tab.get_by_text('Source 1 of the result').wait_for()
    assert tab.locator('#stamps img').count() == 3 and 'electron (on the input)' in tab.locator('#source').inner_text()
    # The analysis, saved beside the result.
    tab.get_by_role('button', name='Analyze').click()
    tab.locator('#analysis').wait_for()
    tab.get_by_role('button', name='Save report').click()
    tab.get_by_text('report.html').first.wait_for()
    report = folder / 'denoised' / 'my frame_analysis'
    known = json.loads((report / 'report.json').read_text(encoding='utf-8'))
    assert known['schema'] == SCHEMA_NAME and set(known['tables']['detections']['columns']) >= {'image', 'n'}
    assert (report / 'my frame.png').exists() and '<html' in (report / 'report.html').read_text(encoding='utf-8')
    assert tab.foreign == []


@pytest.mark.slow
def test_picture_is_uploaded_and_denoised(tab, tmp_path, rng, folder):
    path = tmp_path / 'm31.png'
    write_raster(path, RasterImage(rng.normal(120, 9, (3, 96, 128)).astype('u1')))
    tab.set_input_files('input[type=file]', path)
    tab.get_by_text('Found: the picture').wait_for()
    assert tab.get_by_label('Gain').is_disabled() and tab.get_by_label('Channel').is_visible()
    tab.get_by_role('button', name='Denoise').click()
    tab.get_by_text('denoised in').wait_for()
    assert tab.get_by_role('button', name='Find sources').is_disabled()
    tab.get_by_role('button', name='Save PNG').first.click()
    tab.get_by_text('saved ').wait_for()
    assert read_raster(folder / 'denoised' / 'm31_n2v.png').data.std() < 5


@pytest.mark.slow
def test_two_tabs_do_not_meddle(browser, address, tab):
    other = browser.new_page()
    other.set_default_timeout(PATIENCE)
    other.goto(address + '?theme=dark')
    pick(tab, 'frame.fits')
    pick(other, 'table.fits')
    tab.get_by_text('Found:').wait_for()
    other.get_by_text('table.fits has no image').wait_for()
    other.close()


@pytest.mark.slow
@pytest.mark.skipif(os.name != 'posix', reason='sizes of memory differ')
@pytest.mark.parametrize('n', [4096, 10000])
def test_large_image_is_fluid(browser, tmp_path, rng, n):
    tile = rng.normal(100, 3, (1000, 1000)).astype('i2')
    fits.writeto(tmp_path / 'large.fits', np.tile(tile, (-(-n // 1000),) * 2)[:n, :n])
    with served(tmp_path / 'large.fits') as address:
        tab = browser.new_page(viewport={'width': 1280, 'height': 800})
        tab.set_default_timeout(PATIENCE)
        tab.goto(address)
        tab.wait_for_function(HAS_PICTURE)   # before its noise is known
        pane = tab.locator('.bk-Figure').first.bounding_box()['width']
        assert picture_place(tab)[1] <= pane < 400   # pixels of the screen
        box = tab.locator('.bk-Figure').first.bounding_box()
        tab.mouse.move(box['x'] + 150, box['y'] + 150)
        tab.mouse.wheel(0, -1500)
        tab.wait_for_timeout(3000)
        width, n_values = picture_place(tab)
        assert width < 0.75 * n and n_values <= pane
        if n == 10000:   # which begins after the warning of its cost only
            tab.get_by_role('button', name='Denoise').click()
            tab.get_by_text('10000×10000 pixels take about').wait_for()
            tab.keyboard.press('Escape')
            tab.get_by_text('was cancelled').wait_for()   # the noise is measured until then
        tab.close()


@pytest.mark.slow
@pytest.mark.parametrize('width, height, touch', [(1280, 800, False), (1024, 768, True), (820, 1180, True)])
@pytest.mark.parametrize('theme', ['light', 'dark'])
def test_nothing_overlaps_or_is_cut_off(browser, address, width, height, touch, theme):
    context = browser.new_context(viewport={'width': width, 'height': height}, has_touch=touch)
    tab = context.new_page()
    tab.set_default_timeout(PATIENCE)
    tab.goto(f'{address}?theme={theme}')
    pick(tab, 'frame.fits')
    tab.get_by_text('Found:').wait_for()
    tab.wait_for_timeout(1000)
    for parts in ('#main', '#sidebar'), ('#main',):
        boxes = [box.bounding_box() for box in tab.locator('.bk-Figure').all() if box.is_visible()]
        assert len([box for box in boxes if box['width'] > 200]) >= 5
        for k, one in enumerate(boxes):
            assert one['x'] + one['width'] <= width + 1
            for other in boxes[:k]:
                assert (one['x'] + one['width'] <= other['x'] + 1 or other['x'] + other['width'] <= one['x'] + 1
                        or one['y'] + one['height'] <= other['y'] + 1 or other['y'] + other['height'] <= one['y'] + 1)
        for part in parts:
            assert tab.locator(part).evaluate('each => each.scrollWidth <= each.clientWidth')
        tab.locator('#sidebar-button').click()   # the same without the menu: pictures take its room
        tab.wait_for_timeout(1500)
    if touch:   # a finger does not hover
        tab.locator('.bk-Figure').first.tap()
        tab.locator('#cursor').get_by_text('electron').first.wait_for(state='attached')
    context.close()
