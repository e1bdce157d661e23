# Licensed under a 3-clause BSD style license - see LICENSE
"""
Tuned numbers at half and at twice their values: ``python benchmarks/tuned_numbers.py``.

Frames of the fuzz, with one to three defects each, are denoised with each number of the package
(``tools/constants.py``) changed, a tuple as a whole. Writes ``results/tuned_numbers.csv``, two rows for each number:
how many of the frames come out otherwise, the mean and the largest factor by which the rms error grows, the largest
change of the coverage of the 95 % intervals, and how many frames are warned of or refused that were not before, or the
other way round. ``--more 64`` tries numbers that change nothing on 64 further frames. A table that is there is
continued: delete it to begin anew.
"""

import argparse
import csv
import functools
import importlib
import math
import pkgutil
import sys
from pathlib import Path

import numpy as np
from common import RESULTS, use_threads
from fuzz import _run, judge, make_case

import astropy_n2v
from astropy_n2v.utils.atomic_files import atomic_write

sys.path.append(str(Path(__file__).parents[1] / 'tools'))

from constants import read_constants  # noqa: E402

__all__ = ['changed', 'main', 'scaled']

FIRST_SEED, N_FRAMES, FURTHER_SEED = 80000, 16, 80100   # no other seeds of the fuzz
COLUMNS = ('module', 'name', 'factor', 'frames', 'changed', 'mean_error', 'largest_error', 'coverage', 'messages')


def scaled(value, factor):
    """
    Multiply a number, or all of a tuple; integers stay integers, and positive ones at least 1.

    Examples
    --------
    >>> scaled((0.5, 3), 0.5), scaled(5, 2)
    ((0.25, 1), 10)
    """
    if isinstance(value, (tuple, list)):
        return type(value)(scaled(part, factor) for part in value)
    if isinstance(value, int):
        return int(math.copysign(max(int(abs(value) * factor), 1), value)) if value else 0
    return value * factor


def _modules():
    for found in pkgutil.walk_packages(astropy_n2v.__path__, 'astropy_n2v.'):
        if not found.name.endswith('__main__'):
            yield importlib.import_module(found.name)


class changed:
    """
    Change a constant of the package wherever it was imported, and the defaults of functions that are it.

    Parameters
    ----------
    module, names : str
        Full name of the module; name of the constant, or names with commas between them.
    factor : float
        By which it is multiplied.
    """

    def __init__(self, module, names, factor):
        self.module, self.names, self.factor = importlib.import_module(module), names.split(', '), factor

    def __enter__(self):
        self.before = []
        for name in self.names:
            old = getattr(self.module, name)
            new = scaled(old, self.factor)
            for module in _MODULES():
                if getattr(module, name, None) is old:
                    self._set(module, name, new)
                for function in vars(module).values():
                    self._set_defaults(function, old, new, module)

    def _set(self, owner, name, value):
        self.before.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    def _set_defaults(self, function, old, new, module):
        # Small integers are one object wherever they stand.
        if getattr(function, '__module__', None) != self.module.__name__ or isinstance(old, int) and abs(old) < 300:
            return
        if any(value is old for value in getattr(function, '__defaults__', None) or ()):
            self._set(function, '__defaults__', tuple(new if value is old else value
                                                      for value in function.__defaults__))

    def __exit__(self, *_):
        for owner, name, value in reversed(self.before):
            setattr(owner, name, value)


_MODULES = functools.cache(lambda: list(_modules()))


def _outcome(shot):
    """Result, error by class of pixels, coverage, and whether there was a message or an error, for one frame."""
    result, messages, error = _run(shot)
    if error is not None:
        return None, {}, math.nan, type(error).__name__
    image = np.asarray(result.data)
    ratios, coverage = judge(shot, image, np.asarray(result.uncertainty.array))
    return image, ratios, coverage, bool(messages)


def _compare(before, after):
    """One row of the table without its first columns."""
    differ, growth, coverage, messages = 0, [], 0.0, 0
    for (image, ratios, covered, said), (other, others, now, says) in zip(before, after):
        same = image is not None and other is not None and np.array_equal(image, other, equal_nan=True)
        messages += said != says
        if same or image is None and other is None:
            growth.append(1.0)
            continue
        differ += 1
        growth += [max([others[name] / ratios[name] for name in ratios if name in others], default=1.0)]
        if np.isfinite(covered) and np.isfinite(now):
            coverage = max(coverage, now - covered, covered - now, key=abs)
    return {'frames': len(before), 'changed': differ, 'mean_error': f'{np.exp(np.mean(np.log(growth))):.3f}',
            'largest_error': f'{max(growth):.3f}', 'coverage': f'{coverage:.3f}', 'messages': messages}


def _vary(module, name, factor, shots, before):
    """Measure all but the first columns of a row."""
    with changed(module, name, float(factor)):
        return _compare(before, [_outcome(shot) for shot in shots])


def _read(path):
    """Read the rows of a table that is there, by their first columns."""
    if not path.exists():
        return {}
    with open(path, encoding='utf-8', newline='') as file:
        return {(row['module'], row['name'], row['factor']): row for row in csv.DictReader(file)}


def _write(path, rows):
    with atomic_write(path, overwrite=True) as temporary, open(temporary, 'w', encoding='utf-8', newline='') as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows.values())


def main(arguments=None):
    """Vary all constants; see ``--help``."""
    parser = argparse.ArgumentParser(description='Vary the tuned numbers of the package.')
    parser.add_argument('--n', type=int, default=N_FRAMES, help='number of frames')
    parser.add_argument('--more', type=int, default=0, help='further frames for numbers that change nothing')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--only', help='constants whose full name has this text')
    options = parser.parse_args(arguments)
    use_threads(options.threads)
    path = RESULTS / 'tuned_numbers.csv'
    rows = _read(path)
    keys = [(constant.module, constant.name, factor)
            for constant in read_constants(Path(astropy_n2v.__file__).parent) for factor in ('0.5', '2')
            if options.only is None or options.only in f'{constant.module}.{constant.name}']

    def measure(first, n, wanted):
        shots = [make_case(seed)[0] for seed in range(first, first + n)] if n else []
        before = [_outcome(shot) for shot in shots]
        for key in filter(wanted, keys if n else []):
            found = _vary(*key, shots, before)
            if key in rows:
                found['frames'] += int(rows[key]['frames'])
            rows[key] = dict(zip(COLUMNS, key)) | found
            _write(path, rows)

    measure(FIRST_SEED, options.n, lambda key: key not in rows)
    measure(FURTHER_SEED, options.more, lambda key: int(rows[key]['frames']) == options.n
            and int(rows[key]['changed']) == int(rows[key]['messages']) == 0)


if __name__ == '__main__':
    main()
