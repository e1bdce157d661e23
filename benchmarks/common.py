# Licensed under a 3-clause BSD style license - see LICENSE
"""
Share observations with known truth, options, timing, memory and tables among the benchmarks.
"""

import argparse
import os
import platform
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from astropy.io import ascii as ascii_table
from astropy.nddata import CCDData
from astropy.table import Table

from astropy_n2v import NoiseModel
from astropy_n2v.simulate import make_scene

__all__ = ['FIRST_SEED', 'KINDS', 'RESULTS', 'Frame', 'Recorder', 'machine', 'make_frame', 'make_frames', 'measured',
           'parse', 'read_table', 'real_images', 'say', 'stored_rows', 'use_threads', 'write_table']

RESULTS = Path(__file__).parent / 'results'
KINDS = 'survey', 'crowded', 'nebula', 'low_counts', 'sky_limited'
#: Seeds from here on belong to the benchmarks: no training, test or tuning has seen them.
FIRST_SEED = 7000


@dataclass
class Frame:
    """
    An observation, and all that a method is allowed to know of it.

    Parameters
    ----------
    ccd : `~astropy.nddata.CCDData`
        The noisy frame.
    noise : `~astropy_n2v.NoiseModel`
        Its noise, in the unit of the data.
    psf : `~numpy.ndarray`
        The point-spread function.
    scene : `~astropy_n2v.simulate.Scene`, optional
        What was observed; methods do not look at it.
    power : `~numpy.ndarray`, optional
        Power spectrum of the noise at the frequencies of `numpy.fft.fft2`, mean 1; only for a method that says so.
    truth_std : float, optional
        Standard deviation of the noise that is left in the truth.
    """

    ccd: CCDData
    noise: NoiseModel
    psf: np.ndarray
    scene: object = field(default=None, repr=False)
    power: np.ndarray = field(default=None, repr=False)
    truth_std: float = None

    @property
    def data(self):
        """The image, float64."""
        return np.asarray(self.ccd.data, dtype=float)

    @property
    def truth(self):
        """The noise-free image."""
        return self.scene.truth

    @property
    def sigma(self):
        """True standard deviation of the noise of each pixel."""
        return np.sqrt(self.noise.variance(self.truth))

    @property
    def sky_sigma(self):
        """True standard deviation of the noise of the sky."""
        return float(np.sqrt(self.noise.variance(self.scene.sky)))


def make_frame(kind, seed, size=512):
    """
    Observe a scene of a kind; the noise has a seed of its own that follows from ``seed``.

    Parameters
    ----------
    kind : str
        One of `astropy_n2v.simulate.SCENE_KINDS`.
    seed : int
        Seed of the scene.
    size : int, optional
        Height and width in pixels.

    Returns
    -------
    Frame
        The observation.
    """
    scene = make_scene(kind, (size, size), seed=seed)
    return Frame(scene.observe(seed=(seed, 1)), scene.noise, scene.psf, scene)


def make_frames(arguments):
    """Observe a scene of each kind and seed that `parse` returned; yield kind, seed and frame."""
    for kind in arguments.kinds:
        for seed in arguments.seeds:
            yield kind, seed, make_frame(kind, seed, arguments.size)


def _reset_peak():
    try:
        with open('/proc/self/clear_refs', 'w') as file:
            file.write('5')
    except OSError:
        pass


def _memory(name):
    """VmRSS or VmHWM of this process in MiB; NaN where there is no /proc."""
    try:
        with open('/proc/self/status') as file:
            return next(int(line.split()[1]) / 1024 for line in file if line.startswith(name))
    except (OSError, StopIteration):
        return float('nan')


def measured(function, *args, **kwargs):
    """
    Call a function; return its result, the seconds it took, and the MiB that memory grew by at its peak.
    """
    _reset_peak()
    before = _memory('VmRSS')
    start = time.perf_counter()
    result = function(*args, **kwargs)
    seconds = time.perf_counter() - start
    return result, seconds, max(_memory('VmHWM') - before, 0.0)


def _processor():
    try:
        with open('/proc/cpuinfo') as file:
            return next(line.split(':')[1].strip() for line in file if line.startswith('model name'))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def machine():
    """Describe the machine and the weights that a table is measured with."""
    import torch

    from astropy_n2v import Denoiser
    return (f'{_processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}, '
            f'default model {Denoiser.load("default").sha256[:12]}')


def write_table(rows, name, note=None):
    """
    Write a table to ``results/NAME.csv``, the machine noted in its first line.

    Parameters
    ----------
    rows : list of dict
        The rows.
    name : str
        Name of the table.
    note : str, optional
        More to note.
    """
    table = Table(rows=rows)
    for column in table.itercols():
        if column.dtype.kind == 'f':
            column.info.format = '.4g'
    table.meta['comments'] = [f'{machine()}{"; " + note if note else ""}']
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f'{name}.csv'
    part = path.with_suffix('.part')
    ascii_table.write(table, part, format='csv', comment='# ', overwrite=True)
    os.replace(part, path)
    return table


def read_table(name, folder=RESULTS):
    """Read a table of ``results/``; None if it has not been measured."""
    path = Path(folder) / f'{name}.csv'
    return ascii_table.read(path, format='csv', comment='#') if path.exists() else None


def stored_rows(name, rows, keys):
    """
    Read the rows of a table in ``results/`` and replace some of them, so that one method can be measured anew.

    Parameters
    ----------
    name : str
        Name of the table, which may not exist yet.
    rows : list of dict
        New rows: in the place of those with the same ``keys``, else at the end.
    keys : sequence of str
        Columns by which a row is known.

    Returns
    -------
    list of dict
        All rows.
    """
    table = read_table(name, RESULTS)
    stored = [] if table is None else [dict(zip(table.colnames, row)) for row in table]
    return list({tuple(row[key] for key in keys): row for row in (*stored, *rows)}.values())


class Recorder:
    """
    Rows of a table, printed as they come and written to ``results/`` each time.

    Parameters
    ----------
    name, note : str, optional
        As for `write_table`.
    keys : sequence of str, optional
        Columns by which the rows of an earlier run are known, which stay unless they are measured anew; by default
        none stays.
    finish : callable, optional
        Function that completes all rows before they are written.
    """

    def __init__(self, name, note=None, keys=None, finish=list):
        self.name, self.note, self.keys, self.finish, self.rows = name, note, keys, finish, []

    def add(self, **row):
        """Print a row, and write the table with it."""
        say(row)
        self.rows.append(row)
        rows = stored_rows(self.name, self.rows, self.keys) if self.keys else self.rows
        write_table(self.finish(rows), self.name, self.note)


def say(row):
    """Print a row, with the names of its real numbers."""
    print(*(f'{name} {value:.3g}' if isinstance(value, float) else value for name, value in row.items()), flush=True)


def parse(description, argv=None, *, n_seeds=None, size=None, kinds=KINDS, first_seed=FIRST_SEED, methods=None,
          choices=None, flags=None, options=None):
    """
    Parse the options of a benchmark.

    Parameters
    ----------
    description : str
        Description of the benchmark.
    argv : list of str, optional
        Arguments; by default those of the command line.
    n_seeds : int, optional
        Default number of scenes of each kind; without it the benchmark has no simulated kinds.
    size : int, optional
        Default height and width of the images in pixels; without it they cannot be chosen.
    kinds : sequence of str, optional
        Default kinds.
    first_seed : int, optional
        Default seed of the first scene of each kind.
    methods : sequence of str, optional
        Default methods.
    choices : dict, optional
        Further options that take several values, by default all: name and values.
    flags : dict, optional
        Further options without a value: name and help.
    options : dict, optional
        Further options: name and keywords of `argparse.ArgumentParser.add_argument`.

    Returns
    -------
    `argparse.Namespace`
        The options, and ``seeds`` of the scenes of each kind.
    """
    options = dict(options or {})
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--methods', nargs='+', default=methods, help='methods to measure')
    parser.add_argument('--threads', type=int, default=2, help='cores and threads, the same for all methods')
    if n_seeds is not None:
        parser.add_argument('--kinds', nargs='+', default=list(kinds), choices=KINDS)
        options['first-seed'] = {'type': int, 'default': first_seed}
        options['n-seeds'] = {'type': int, 'default': n_seeds, 'help': 'scenes of each kind'}
    if size is not None:
        options['size'] = {'type': int, 'default': size, 'help': 'height and width in pixels'}
    for name, values in (choices or {}).items():
        parser.add_argument(f'--{name}', nargs='+', default=list(values), choices=values)
    for name, text in (flags or {}).items():
        parser.add_argument(f'--{name}', action='store_true', help=text)
    for name, keywords in options.items():
        parser.add_argument(f'--{name}', **keywords)
    arguments = parser.parse_args(argv)
    if n_seeds is not None:
        arguments.seeds = range(arguments.first_seed, arguments.first_seed + arguments.n_seeds)
    use_threads(arguments.threads)
    return arguments


def real_images():
    """Return the folder of real images; without one the benchmark ends."""
    folder = os.environ.get('ASTROPY_N2V_TEST_DATA')
    if not folder:
        raise SystemExit('ASTROPY_N2V_TEST_DATA must name the directory of real images')
    return Path(folder)


def use_threads(n):
    """Keep this process and its children to n cores, and torch to as many threads."""
    import torch
    os.environ['OMP_NUM_THREADS'] = str(n)
    torch.set_num_threads(n)
    if hasattr(os, 'sched_setaffinity'):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:n])
