# Licensed under a 3-clause BSD style license - see LICENSE
"""
Take the pictures of the page for its documentation: ``python docs/make_gui.py``, with Playwright and Chromium.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from astropy.wcs import WCS
from playwright.sync_api import sync_playwright

from astropy_n2v.simulate import make_scene

IMAGES = Path(__file__).parent / 'images'


def make_frame(folder):
    """Write a simulated frame with celestial coordinates."""
    ccd = make_scene('survey', (512, 512), seed=3).observe(seed=4)
    ccd.wcs = WCS(naxis=2)
    ccd.wcs.wcs.ctype, ccd.wcs.wcs.crval, ccd.wcs.wcs.cdelt = ('RA---TAN', 'DEC--TAN'), (150, 2), (-7e-5, 7e-5)
    ccd.write(folder / 'frame.fits')


def take_pictures(address):
    """Open a frame, denoise it and find its sources, and take pictures of it."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which('chromium'), args=['--no-sandbox'])
        tab = browser.new_page(viewport={'width': 1280, 'height': 800})
        tab.set_default_timeout(120000)
        tab.goto(address)
        tab.get_by_label('File', exact=True).select_option('frame.fits')
        tab.get_by_text('Found:').wait_for()
        tab.get_by_role('button', name='Denoise').click()
        tab.get_by_text('denoised in').wait_for()
        tab.wait_for_timeout(2000)
        tab.screenshot(path=IMAGES / 'gui_denoised.jpg', type='jpeg', quality=80)
        tab.get_by_role('button', name='Find sources').click()
        tab.get_by_text('sources:').wait_for()
        box = tab.locator('.bk-Figure').nth(1).bounding_box()
        tab.mouse.move(box['x'] + 178, box['y'] + 165)
        tab.mouse.wheel(0, -300)
        tab.wait_for_timeout(2000)
        tab.mouse.click(box['x'] + 235, box['y'] + 175)   # a star
        tab.wait_for_timeout(1500)
        tab.screenshot(path=IMAGES / 'gui_sources.jpg', type='jpeg', quality=80)
        browser.close()


def main():
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory) / 'night1'
        folder.mkdir()
        make_frame(folder)
        command = [sys.executable, '-m', 'astropy_n2v.cli', 'gui', str(folder), '--no-browser']
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                take_pictures(server.stdout.readline().strip())
            finally:
                server.terminate()


if __name__ == '__main__':
    main()
