# Licensed under a 3-clause BSD style license - see LICENSE
"""
How fluid the page is: ``python benchmarks/interactive.py [--size N] [--denoise]``, with Playwright and Chromium.

Opens a frame of N x N pixels of noise in headless Chromium and prints seconds from the choice of the file to its
picture and, with ``--denoise``, from the result (all of whose files are complete) to its picture. Then, of a dozen
zooms with the wheel, milliseconds from the turn to the first picture (of half resolution) and to the sharp one, as
the browser has them, median and worst, and milliseconds of processor time that the server took for each.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from astropy.io import fits

__all__ = ['main']

_ZOOMS, _PAUSE = 12, 1500        # turns of the wheel, milliseconds between them
_PATIENCE = 1800000   # milliseconds for a frame to be denoised
# The data of the picture of a pane, as Bokeh has them in the browser.
_SOURCE = '''[...Bokeh.documents[0]._all_models.values()]
    .find(model => model.name === NAME && model.x_range).renderers[0].data_source'''
_HAS = f'{_SOURCE}.data.image.length > 0'
# Note from now on when a picture comes, and how wide it is.
_WATCH = f'''window.pictures = [];
    {_SOURCE}.properties.data.change.connect(() => window.pictures.push([performance.now(),
                                                                        {_SOURCE}.data.image[0].shape[1]]))'''


def processor_time(pid):
    """Read the seconds of processor time of a process."""
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def of(expression, name):
    """Make an expression of the browser about a pane."""
    return expression.replace('NAME', repr(name))


def measure_views(tab, denoise):
    """Print the seconds until the frame is seen and, if it is denoised, until its result is."""
    start = time.monotonic()
    tab.get_by_label('File', exact=True).select_option('frame.fits')
    tab.wait_for_function(of(_HAS, 'input'))
    print(f'opened: its picture is there after {time.monotonic() - start:.2f} s')
    tab.get_by_text('Found:').wait_for()
    if denoise:
        tab.get_by_role('button', name='Denoise').click()
        if tab.get_by_text('Press Denoise again').is_visible():
            tab.get_by_role('button', name='Denoise').click()
        tab.get_by_text('drawing ...').wait_for()
        start = time.monotonic()
        tab.wait_for_function(of(_HAS, 'result'))
        print(f'denoised: its picture is there {time.monotonic() - start:.2f} s after the result')


def measure_zooms(tab, pid):
    """Print the milliseconds from the turns of the wheel to pictures."""
    box = tab.locator('.bk-Figure').first.bounding_box()
    tab.mouse.move(box['x'] + 150, box['y'] + 150)
    tab.wait_for_timeout(_PAUSE)
    tab.evaluate(of(_WATCH, 'input'))
    first, sharp, work = [], [], []
    for k in range(_ZOOMS):
        tab.evaluate('window.pictures.length = 0')
        before, start = processor_time(pid), tab.evaluate('performance.now()')
        tab.mouse.wheel(0, -300 if k < _ZOOMS // 2 else 300)
        tab.wait_for_timeout(_PAUSE)
        pictures = tab.evaluate('window.pictures')
        work.append(1000 * (processor_time(pid) - before))
        first.append(pictures[0][0] - start)
        sharp.append(pictures[-1][0] - start)
    for text, values in (('first picture', first), ('sharp picture', sharp), ('processor of the server', work)):
        print(f'zoom: {text} {np.median(values):.0f} ms, at worst {max(values):.0f} ms')


def main(arguments=None):
    from playwright.sync_api import sync_playwright
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--size', type=int, default=4096)
    parser.add_argument('--denoise', action='store_true')
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        tile = np.random.default_rng(1).normal(100, 3, (1024, 1024)).astype('f4')
        n = -(-options.size // 1024)
        fits.writeto(Path(folder) / 'frame.fits', np.tile(tile, (n, n))[:options.size, :options.size])
        command = [sys.executable, '-m', 'astropy_n2v.cli', 'gui', folder, '--no-browser']
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                browser = driver.chromium.launch(executable_path=shutil.which('chromium'), args=['--no-sandbox'])
                tab = browser.new_page(viewport={'width': 1280, 'height': 800})
                tab.set_default_timeout(_PATIENCE)
                tab.goto(server.stdout.readline().strip())
                tab.get_by_text('Choose a file.').wait_for()
                print(f'{options.size}x{options.size} pixels, load of the machine {os.getloadavg()[0]:.1f}')
                measure_views(tab, options.denoise)
                measure_zooms(tab, server.pid)
                browser.close()
            finally:
                server.terminate()


if __name__ == '__main__':
    main()
