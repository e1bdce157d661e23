# Licensed under a 3-clause BSD style license - see LICENSE
"""
The page: without a browser, through its server, and as a person uses it in Chromium.
"""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from astropy_n2v.gui.settings import Settings
from astropy_n2v.simulate import make_scene

# Panel warns of its own keywords.
pytestmark = pytest.mark.filterwarnings('ignore::PendingDeprecationWarning')
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
    page.worker.close()


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
    tab.set_default_timeout(60000)
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


def circles_are_shown(tab):
    """Return True if the browser shows the sources."""
    return tab.evaluate('''() => {
        for (const model of Bokeh.documents[0]._all_models.values())
            if (model.name === 'result' && model.x_range) return model.renderers[1].visible
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


@pytest.mark.slow
def test_two_tabs_do_not_meddle(browser, address, tab):
    other = browser.new_page()
    other.set_default_timeout(60000)
    other.goto(address + '?theme=dark')
    pick(tab, 'frame.fits')
    pick(other, 'table.fits')
    tab.get_by_text('Found:').wait_for()
    other.get_by_text('table.fits has no image').wait_for()
    other.close()


@pytest.mark.slow
@pytest.mark.skipif(os.name != 'posix', reason='sizes of memory differ')
def test_large_image_is_fluid(browser, tmp_path, rng):
    fits.writeto(tmp_path / 'large.fits', rng.normal(100, 3, (4096, 4096)).astype('f4'))
    with served(tmp_path / 'large.fits') as address:
        tab = browser.new_page(viewport={'width': 1280, 'height': 800})
        tab.set_default_timeout(120000)
        tab.goto(address)
        tab.get_by_text('large.fits: 4096×4096').first.wait_for()
        assert picture_place(tab)[1] <= 292
        box = tab.locator('.bk-Figure').first.bounding_box()
        tab.mouse.move(box['x'] + 150, box['y'] + 150)
        tab.mouse.wheel(0, -1500)
        tab.wait_for_timeout(3000)
        width, n_values = picture_place(tab)
        assert width < 3000 and n_values <= 292
        tab.close()
