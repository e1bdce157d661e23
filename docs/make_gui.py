# Licensed under a 3-clause BSD style license - see LICENSE
"""
Take the pictures of the page for its documentation: ``python docs/make_gui.py [frame] [dark] [large] ...``,
with Playwright and Chromium; without a name, all.
"""

import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from playwright.sync_api import sync_playwright

from astropy_n2v.simulate import make_scene

IMAGES = Path(__file__).parent / 'images'
_QUALITY = 72   # of the JPEG files: there is much noise in them
_PATIENCE = 600000   # milliseconds
# Bokeh's model of the pane of the result.
_PANE = '''[...Bokeh.documents[0]._all_models.values()].find(model => model.name === 'result' && model.x_range)'''


def make_frame(folder):
    """Write a simulated frame with celestial coordinates."""
    ccd = make_scene('survey', (512, 512), seed=3).observe(seed=4)
    ccd.wcs = WCS(naxis=2)
    ccd.wcs.wcs.ctype, ccd.wcs.wcs.crval, ccd.wcs.wcs.cdelt = ('RA---TAN', 'DEC--TAN'), (150, 2), (-7e-5, 7e-5)
    ccd.write(folder / 'frame.fits')


class Photographer:
    """Takes pictures of a tab."""

    def __init__(self, tab):
        self.tab = tab

    def take(self, name):
        """Write a picture of what is seen."""
        self.tab.wait_for_timeout(2000)
        self.tab.screenshot(path=IMAGES / f'gui_{name}.jpg', type='jpeg', quality=_QUALITY)

    def at(self, x, y, pane=1):
        """Where on the screen a place of a pane is, given as shares."""
        box = self.tab.locator('.bk-Figure').nth(pane).bounding_box()
        size = self.tab.evaluate(f'{_PANE}.frame_width')
        return box['x'] + box['width'] - 6 - size * (1 - x), box['y'] + box['height'] - 6 - size * y

    def denoise(self):
        """Open the frame and denoise it."""
        self.tab.get_by_label('File', exact=True).select_option('frame.fits')
        self.tab.get_by_text('Found:').wait_for()
        self.tab.get_by_role('button', name='Denoise').click()
        self.tab.get_by_text('denoised in').wait_for()

    def click_source(self):
        """Click the most significant source that is not at the edge."""
        places = self.tab.evaluate(f'''() => {{
            const pane = {_PANE}
            const {{x, y}} = pane.renderers.find(each => 'colour' in each.data_source.data).data_source.data
            const share = (range, value) => (value - range.start) / (range.end - range.start)
            return Array.from(x, (each, k) => [share(pane.x_range, each), share(pane.y_range, y[k])])
        }}''')
        self.tab.mouse.click(*self.at(*next(place for place in places if 0.15 < min(place) and max(place) < 0.85)))
        self.tab.locator('#stamps').wait_for()


def take_all(photo):
    """Pictures of the page of 1280x800, in the order in which a frame is looked at."""
    tab = photo.tab
    photo.take('empty')
    photo.denoise()
    photo.take('denoised')
    tab.keyboard.press('s')
    tab.get_by_text('Histogram', exact=True).click()
    photo.take('swipe')
    tab.keyboard.press('s')
    tab.keyboard.press('p')
    for place in (0.58, 0.9), (0.42, 0.55):
        tab.mouse.click(*photo.at(*place))
        tab.wait_for_timeout(1000)
    photo.take('profile')
    tab.get_by_role('button', name='Find sources').click()
    tab.get_by_text('sources:').wait_for()
    tab.mouse.move(*photo.at(0.5, 0.5))
    tab.mouse.wheel(0, -300)
    tab.wait_for_timeout(2000)
    photo.click_source()
    photo.take('sources')
    tab.get_by_role('button', name='Analyze').click()
    tab.locator('#analysis').wait_for()
    tab.locator('#analysis').scroll_into_view_if_needed()
    tab.mouse.move(*photo.at(0.5, 0.5))
    tab.mouse.wheel(0, 0)
    tab.locator('#main').evaluate('each => each.scrollTo(0, each.scrollHeight)')
    photo.take('analysis')


def take_large(photo):
    """A picture of a large frame."""
    tab = photo.tab
    tab.get_by_label('File', exact=True).select_option('large.fits')
    tab.get_by_text('measuring').wait_for()
    tab.get_by_role('button', name='Denoise').click()
    tab.get_by_text('Press Denoise again').wait_for()
    photo.take('large')


@contextmanager
def served(folder):
    """Serve the page, and yield its address."""
    command = [sys.executable, '-m', 'astropy_n2v.cli', 'gui', str(folder), '--no-browser']
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def only(name):
    """Denoise the frame and take one picture."""
    return lambda photo: (photo.denoise(), photo.take(name))


# Width and height of the window in pixels, theme, and work.
VISITS = {'frame': (1280, 800, 'light', take_all), 'dark': (1280, 800, 'dark', only('dark')),
          'large': (1280, 800, 'light', take_large), 'tablet': (1024, 768, 'light', only('tablet')),
          'upright': (820, 1180, 'dark', only('upright'))}


def main():
    with tempfile.TemporaryDirectory() as directory, sync_playwright() as driver:
        folder = Path(directory) / 'night1'
        folder.mkdir()
        make_frame(folder)
        tile = make_scene('survey', (500, 500), seed=3).observe(seed=4).data.astype('i2')
        fits.writeto(folder / 'large.fits', np.tile(tile, (20, 20)), fits.Header({'BUNIT': 'electron'}))
        browser = driver.chromium.launch(executable_path=shutil.which('chromium'), args=['--no-sandbox'])
        with served(folder) as address:
            for name in sys.argv[1:] or VISITS:
                width, height, theme, work = VISITS[name]
                context = browser.new_context(viewport={'width': width, 'height': height}, has_touch=width < 1280)
                tab = context.new_page()
                tab.set_default_timeout(_PATIENCE)
                tab.goto(f'{address}?theme={theme}')
                tab.get_by_text('Choose a file.').wait_for()
                work(Photographer(tab))
                context.close()
        browser.close()


if __name__ == '__main__':
    main()
