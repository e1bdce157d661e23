# Licensed under a 3-clause BSD style license - see LICENSE
"""
Time and peak memory by the size of the frame: ``python benchmarks/speed.py``.

Writes ``results/speed.csv``. Every measurement has a process of its own, so that the peak of its memory is its own;
what the interpreter holds with the libraries loaded, the weights read and the frame made is subtracted. The second
of two calls is timed where that is quick; BM3D is measured in the same run with as many cores.

``python benchmarks/speed.py --against CHECKOUT`` compares with another checkout of this package instead: the two take
turns, in processes of their own, and the time of the processor is counted, which other programs disturb least.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from common import Frame, Recorder, make_frame, measured, parse
from peers import METHODS

__all__ = ['compare', 'frame_of', 'main', 'measure']

SIZES = 512, 1024, 2048, 4096
PEER_SIZES = 512, 1024
ADAPT_SIZES = 1024,
HERE = Path(__file__).resolve().parent.parent
PAIRS = 5   # of runs with one checkout and the other


def frame_of(size):
    """A survey field: 512 pixels simulated, repeated, and observed anew."""
    small = make_frame('survey', 7000, min(size, 512))
    repeat = -(-size // small.data.shape[0])
    scene = small.scene
    scene.truth = np.tile(scene.truth, (repeat, repeat))[:size, :size]
    return Frame(scene.observe(seed=1), small.noise, small.psf, scene)


def measure(method, size):
    """Seconds, seconds of the processor and MiB of one method at one size, in this process."""
    # Everything is loaded before memory is judged.
    METHODS[method](frame_of(64))
    frame = frame_of(size)
    if method.startswith('ours'):
        del frame.scene
    start = time.process_time()
    _, seconds, memory = measured(METHODS[method], frame)
    processor = time.process_time() - start
    if seconds < 10:
        start = time.process_time()
        _, again, _ = measured(METHODS[method], frame)
        seconds, processor = min(seconds, again), min(processor, time.process_time() - start)
    return {'seconds': seconds, 'processor_seconds': processor, 'peak_mb': memory}


def _measure_apart(method, size, threads, checkout):
    """The same in a process of its own, with the package of some checkout."""
    path = os.pathsep.join([str(checkout), os.environ.get('PYTHONPATH', '')])
    done = subprocess.run([sys.executable, __file__, '--threads', str(threads), '--one', method, str(size)],
                          env={**os.environ, 'PYTHONPATH': path}, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(checkout, sizes, threads):
    """Print how many times faster this checkout is than another, and the memory of both, in the median of pairs."""
    for size in sizes:
        pairs = [[_measure_apart('ours', size, threads, path) for path in (checkout, HERE)] for _ in range(PAIRS)]
        ratio = np.median([other['processor_seconds'] / own['processor_seconds'] for other, own in pairs])
        memory = [np.median([run['peak_mb'] for run in runs]) for runs in zip(*pairs)]
        print(f'{size}: {ratio:.2f} times faster; {memory[0]:.0f} MiB before, {memory[1]:.0f} MiB now', flush=True)


def main(argv=None):
    sizes = {'nargs': '*', 'type': int}
    arguments = parse(__doc__, argv, options={
        'sizes': {**sizes, 'default': SIZES}, 'peer-sizes': {**sizes, 'default': PEER_SIZES},
        'adapt-sizes': {**sizes, 'default': ADAPT_SIZES, 'help': "of model='adapt'"},
        'against': {'metavar': 'CHECKOUT', 'help': 'directory of a checkout to compare with'},
        'one': {'nargs': 2, 'metavar': ('METHOD', 'SIZE'), 'help': argparse.SUPPRESS}})
    if arguments.one:
        print(json.dumps(measure(arguments.one[0], int(arguments.one[1]))))
        return
    if arguments.against:
        compare(Path(arguments.against).resolve(strict=True), arguments.sizes, arguments.threads)
        return
    table = Recorder('speed')
    for method, sizes in (('ours', arguments.sizes), ('ours, adapt', arguments.adapt_sizes),
                          ('bm3d', arguments.peer_sizes)):
        for size in sizes:
            row = _measure_apart(method, size, arguments.threads, HERE)
            del row['processor_seconds']
            table.add(method=method, size=size, **row, megapixel_per_s=size ** 2 / 1e6 / row['seconds'])


if __name__ == '__main__':
    main()
