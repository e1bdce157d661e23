# Licensed under a 3-clause BSD style license - see LICENSE
"""
Collections of frames: time of the catalogue, patches a second, memory: ``python benchmarks/loading.py``.

Writes ``results/loading.csv``. A consumer takes patches as fast as they come, as a GPU would. Every measurement has a
process of its own; seconds of the processor are those of all of its processes, which other programs disturb least.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from astropy.io import fits
from common import make_frame, stored_rows, write_table

__all__ = ['catalogue', 'main', 'patches', 'training']

HERE = Path(__file__).resolve()
TINY = {'widths': (6, 8), 'decoder_widths': (6,), 'head_width': 8}


def _write_frames(folder, n, size, form='fits'):
    """Frames of the same scene, each with noise of its own."""
    folder.mkdir(parents=True)
    frame = make_frame('survey', 7000, size)
    rng = np.random.default_rng(1)
    for i in range(n):
        data = np.clip(frame.noise.sample(frame.truth, rng), 0, 65535).round().astype('u2')
        path = folder / f'{i % 100:02d}' / f'{i:05d}.fits{"" if form == "fits" else "." + form}'
        path.parent.mkdir(exist_ok=True)
        header = fits.Header({'OBJECT': f'field {i % 200}', 'INSTRUME': 'CAM', 'FILTER': 'r', 'EXPTIME': 30.0})
        if form == 'fz':
            fits.CompImageHDU(data, header, compression_type='RICE_1').writeto(path)
        else:
            fits.writeto(path, data, header)


def _timed(function, *args, **kwargs):
    """Result, seconds, and seconds of the processor of this process and of those that it has ended."""
    before, start = os.times(), time.perf_counter()
    result = function(*args, **kwargs)
    after = os.times()
    return result, time.perf_counter() - start, sum(after[:4]) - sum(before[:4])


def catalogue(folder, n, size=128, processes=2):
    """Seconds for the catalogue of some files, first and again, reading and writing the table included."""
    from astropy_n2v.collections import make_manifest, read_manifest, write_manifest
    _write_frames(folder / 'frames', n, size)
    path = folder / 'manifest.ecsv'

    def first():
        manifest = make_manifest(folder / 'frames', processes=processes)
        write_manifest(manifest, path)

    def again():
        manifest = make_manifest(folder / 'frames', known=read_manifest(path), processes=processes)
        write_manifest(manifest, path, overwrite=True)

    return [{'what': f'catalogue of {n} files of {size}x{size}, {name}', 'seconds': seconds, 'processor_seconds': used}
            for name, function in (('first', first), ('again', again))
            for _, seconds, used in [_timed(function)]]


def patches(folder, form, workers, n=6, size=2048, batches=400):
    """Patches a second that a consumer gets."""
    from astropy_n2v.collections import CollectionBlocks, make_manifest
    from astropy_n2v.training.streaming import StreamSampler
    _write_frames(folder / 'frames', n, size, form)
    blocks = CollectionBlocks(make_manifest(folder / 'frames'))
    sampler = StreamSampler(blocks, 96, 8, np.random.default_rng(0), pool=16, workers=workers)

    def consume():
        for _ in range(batches):
            sampler.draw()

    consume()   # the noise of all frames is known then
    _, seconds, used = _timed(consume)
    return [{'what': f'patches of 96x96 from .{form} of {size}x{size}, {workers} workers', 'seconds': seconds,
             'processor_seconds': used, 'patches_per_second': 8 * batches / seconds}]


def training(folder, n, size=128):
    """Memory of a training on some frames."""
    from astropy_n2v.collections import make_manifest, split_manifest
    from astropy_n2v.training.collection import train_collection
    _write_frames(folder / 'frames', n, size)
    manifest = make_manifest(folder / 'frames')
    split = split_manifest(manifest, (0.8, 0.2, 0.0))
    options = {'batch_size': 4, 'patch_size': 64, 'network_options': TINY, 'patience': None,
               'loading': {'pool': 8, 'patches_per_block': 16}}
    _, seconds, used = _timed(train_collection, manifest, split, max_steps=100, **options)
    # Of the whole process, libraries and all.
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [{'what': f'training on {n} frames of {size}x{size}', 'seconds': seconds, 'processor_seconds': used,
             'peak_mb': memory}]


def _apart(name, *arguments):
    """A measurement in a process and a directory of its own."""
    folder = Path(tempfile.mkdtemp())
    try:
        command = [sys.executable, HERE, '--one', json.dumps([name, str(folder), *arguments])]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    finally:
        shutil.rmtree(folder)
    return json.loads(output.splitlines()[-1])


def main(arguments=None):
    """Measure all, or what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--files', type=int, default=10000, help='in the catalogue')
    parser.add_argument('--only', choices=('catalogue', 'patches', 'training'))
    parser.add_argument('--one', help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        name, folder, *more = json.loads(options.one)
        rows = {'catalogue': catalogue, 'patches': patches, 'training': training}[name](Path(folder), *more)
        print(json.dumps(rows))
        return
    plan = [('catalogue', options.files), *(('patches', form, workers) for form in ('fits', 'fz', 'gz')
                                            for workers in (0, 2)), ('training', 50), ('training', 500)]
    rows = []
    for entry in plan:
        if options.only in (None, entry[0]):
            rows += [{'seconds': np.nan, 'processor_seconds': np.nan, 'patches_per_second': np.nan, 'peak_mb': np.nan,
                      **row} for row in _apart(*entry)]
            print(rows[-1], flush=True)
    names = 'what', 'seconds', 'processor_seconds', 'patches_per_second', 'peak_mb'
    write_table(stored_rows('loading', [{name: row[name] for name in names} for row in rows], ['what']), 'loading')


if __name__ == '__main__':
    main()
