# Licensed under a 3-clause BSD style license - see LICENSE
"""
Time and peak memory by the size of the frame: ``python benchmarks/speed.py``.

Writes ``results/speed.csv``. Every measurement has a process of its own, so that the peak of its memory is its own;
what the interpreter holds with the libraries loaded, the weights read and the frame made is subtracted. The second
of two calls is timed where that is quick; BM3D is measured in the same run with as many cores.
"""

import argparse
import json
import subprocess
import sys

import numpy as np

from common import Frame, make_frame, measured, use_threads, write_table
from peers import METHODS

__all__ = ['frame_of', 'main', 'measure']

SIZES = 512, 1024, 2048, 4096
PEER_SIZES = 512, 1024
ADAPT_SIZES = 1024,


def frame_of(size):
    """A survey field: 512 pixels simulated, repeated, and observed anew."""
    small = make_frame('survey', 7000, min(size, 512))
    repeat = -(-size // small.data.shape[0])
    scene = small.scene
    scene.truth = np.tile(scene.truth, (repeat, repeat))[:size, :size]
    return Frame(scene.observe(seed=1), small.noise, small.psf, scene)


def measure(method, size):
    """Seconds and MiB of one method at one size, in this process."""
    # Everything is loaded before memory is judged.
    METHODS[method](frame_of(64))
    frame = frame_of(size)
    if method.startswith('ours'):
        del frame.scene
    _, seconds, memory = measured(METHODS[method], frame)
    if seconds < 10:
        _, again, _ = measured(METHODS[method], frame)
        seconds = min(seconds, again)
    return {'seconds': seconds, 'peak_mb': memory}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--sizes', nargs='+', type=int, default=SIZES)
    parser.add_argument('--peer-sizes', nargs='+', type=int, default=PEER_SIZES)
    parser.add_argument('--adapt-sizes', nargs='*', type=int, default=ADAPT_SIZES, help="of model='adapt'")
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--one', nargs=2, metavar=('METHOD', 'SIZE'), help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    use_threads(arguments.threads)
    if arguments.one:
        print(json.dumps(measure(arguments.one[0], int(arguments.one[1]))))
        return
    rows = []
    for method, sizes in (('ours', arguments.sizes), ('ours, adapt', arguments.adapt_sizes),
                          ('bm3d', arguments.peer_sizes)):
        for size in sizes:
            done = subprocess.run([sys.executable, __file__, '--threads', str(arguments.threads), '--one', method,
                                   str(size)], capture_output=True, text=True, check=True)
            row = json.loads(done.stdout.splitlines()[-1])
            rows.append({'method': method, 'size': size, **row, 'megapixel_per_s': size ** 2 / 1e6 / row['seconds']})
            print(*rows[-1].values(), flush=True)
            write_table(rows, 'speed')


if __name__ == '__main__':
    main()
