# Licensed under a 3-clause BSD style license - see LICENSE
"""
A fuzz over plausible frames: ``python benchmarks/fuzz.py --n 2000 --seed 40000``.

Random scenes, each with one to three of the defects of ``fuzz_defects.py``. A result has to be no worse than the
frame, with an uncertainty that holds, or a warning or refusal has to name what is at fault; frames whose defects do no
harm have to be denoised in silence, about as well as without. Writes ``results/fuzz.csv``, a row for each defect, and
prints the seeds that failed; ``--show SEED`` looks at one of them, ``--only DEFECT`` plants nothing else (both write no
table).
"""

import argparse
import multiprocessing
import re
import time
import warnings

import numpy as np
import torch
from astropy.utils.exceptions import AstropyUserWarning
from common import write_table
from fuzz_defects import DEFECTS, draw_names
from fuzz_frames import Shot, expose, know

from astropy_n2v import CannotDenoiseError, denoise
from astropy_n2v.simulate import random_scene

__all__ = ['examine', 'judge', 'main', 'make_case', 'summarise']

#: No larger may the rms error become, as a ratio to that of the frame, in a class of at least as many pixels.
LARGEST_ERROR, CLASS_PIXELS = 1.05, 500
#: The share of pixels that the intervals of 95 % have to cover.
LEAST_COVERAGE = 0.85
_SIZES = 128, 192   # pixels
# How a warning names what is at fault in a frame without any defect.
_SCENE = re.compile('noise|uncertainty')
# What is drawn has a seed of its own, so that frames with and without a defect share scene and noise.
_NOISE, _KNOWLEDGE, _NAMES, _SHAPE, _GAIN, _DEFECT = range(1, 7)


def make_case(seed, names=None):
    """
    Make a frame with defects.

    Parameters
    ----------
    seed : int
        Seed of everything.
    names : list of str, optional
        Its defects; by default, one to three are drawn.

    Returns
    -------
    shot : Shot
        The frame and its truth.
    names : list of str
        Its defects.
    """
    def rng(*of):
        return np.random.default_rng((seed, *of))

    names = draw_names(rng(_NAMES)) if names is None else sorted(names, key=lambda name: DEFECTS[name].stage)
    scene = random_scene(tuple(int(n) for n in rng(_SHAPE).integers(*_SIZES, 2)), seed=seed)
    shot = Shot(scene.truth, np.full(scene.truth.shape, scene.sky), scene.readnoise,
                float(np.exp(rng(_GAIN).uniform(np.log(0.1), np.log(10)))))
    # Exposure is stage 1, and what is known of the noise stage 8.
    steps = [(DEFECTS[name].stage, DEFECTS[name].make, (_DEFECT, list(DEFECTS).index(name))) for name in names]
    for _, function, of in sorted([*steps, (1, expose, (_NOISE,)), (8, know, (_KNOWLEDGE,))], key=lambda step: step[0]):
        function(rng(*of), shot)
    return shot, names


def _classes(shot):
    """Pixels by their signal above the sky, in units of its noise."""
    signal = (shot.truth - shot.level) / shot.sky_sigma
    good = ~shot.destroyed
    return {'all': good, 'faint': good & (signal > 1) & (signal < 10), 'bright': good & (signal >= 10),
            'dark': good & (signal < -3)}


def _rms(values):
    # What is not finite is no result.
    with np.errstate(over='ignore', invalid='ignore'):
        mean = np.mean(np.square(values, dtype=float)) if values.size else np.nan
    return float(np.sqrt(mean)) if np.isfinite(mean) or not values.size else np.inf


def judge(shot, image, std):
    """
    Compare a result with the truth.

    Parameters
    ----------
    shot : Shot
        The frame.
    image, std : `~numpy.ndarray`
        The result and its stated uncertainty.

    Returns
    -------
    ratios : dict
        Rms error of the result over that of the frame, in units of the true noise, of each class of pixels that is
        large enough.
    coverage : float
        The share of pixels whose truth is in the interval of 95 %.
    """
    image, data = np.asarray(image, dtype=float), np.asarray(shot.container().data, dtype=float)
    after, before = ((values - shot.truth) / shot.sigma for values in (image, data))
    ratios = {name: _rms(after[select]) / _rms(before[select]) for name, select in _classes(shot).items()
              if np.count_nonzero(select) >= CLASS_PIXELS}
    known = ~shot.destroyed & np.isfinite(std)
    covered = np.abs(image - shot.truth)[known] < 1.96 * np.asarray(std, dtype=float)[known]
    return ratios, float(covered.mean()) if covered.size else np.nan


def _gain(shot, image, where):
    """Rms error of the frame over that of the result, in some pixels."""
    before, after = (_rms(((values - shot.truth) / shot.sigma)[where]) for values in (shot.container().data, image))
    return before / after if after > 0 else np.nan


def _run(shot):
    """The result, and what was said: a list of messages, and the exception if there was one."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        try:
            result, error = denoise(shot.container(), **shot.options), None
        except Exception as exception:   # any, so that the fuzz goes on
            result, error = None, exception
    messages = [str(item.message) for item in caught if issubclass(item.category, AstropyUserWarning)]
    return result, messages, error


def _named(messages, names):
    """Whether one of some messages names one of some defects."""
    text = ' '.join(messages).lower()
    return any(word in text for name in names for word in DEFECTS[name].words)


def examine(seed, names=None):
    """
    Denoise a frame with defects, and judge the result.

    Parameters
    ----------
    seed : int
        Seed of the frame.
    names : list of str, optional
        Its defects; by default, they are drawn.

    Returns
    -------
    dict
        ``failures`` names what the result is worse in than it may be, without a word that names it: classes of pixels,
        'coverage', or 'raised' for an exception that is no refusal. ``unexpected`` are the messages that no defect
        calls for, ``gain`` is the rms error of the frame over that of the result, and ``gain_ratio`` that gain over the
        gain without any defect, where all are harmless. ``reference`` is the frame without defects.
    """
    shot, names = make_case(seed, names)
    result, messages, error = _run(shot)
    said = [*messages, str(error)] if error is not None else messages
    right = [name for name in names if DEFECTS[name].said]
    row = {'seed': seed, 'names': names, 'messages': messages, 'error': error, 'ratios': {}, 'coverage': np.nan,
           'refused': isinstance(error, CannotDenoiseError), 'gain': np.nan, 'gain_ratio': np.nan,
           'harmless': all(DEFECTS[name].harmless for name in names),
           'unexpected': [message for message in said if not _named([message], right)]}
    wrong = []
    if result is not None:
        row['ratios'], row['coverage'] = judge(shot, result.data, result.uncertainty.array)
        wrong = [name for name, ratio in row['ratios'].items() if not ratio <= LARGEST_ERROR]
        wrong += ['coverage'] if row['coverage'] < LEAST_COVERAGE else []
        row['gain'] = _gain(shot, result.data, _comparable(shot))
    elif not row['refused']:
        wrong = ['raised']
    row['wrong'] = wrong
    row['failures'] = [] if wrong != ['raised'] and _named(said, names) else wrong
    if names and (row['harmless'] or row['failures']):
        row['reference'] = reference = _reference(seed, shot)
        row['gain_ratio'] = row['gain'] / reference['gain'] if row['harmless'] else np.nan
        if reference['wrong'] and _SCENE.search(' '.join(said)):
            # The scene is at fault: what says so is right.
            row['failures'] = row['unexpected'] = []
    return row


def _comparable(shot):
    """Pixels in which a frame can be compared with the one without defects."""
    return ~shot.destroyed if shot.foreign is None else ~shot.destroyed & ~shot.foreign


def _reference(seed, shot):
    """The same frame without a defect; its gain is that in the pixels in which the two can be compared."""
    bare, _ = make_case(seed, [])
    result, messages, error = _run(bare)
    refused = isinstance(error, CannotDenoiseError)
    row = {'messages': messages, 'refused': refused, 'gain': np.nan, 'wrong': [] if refused else ['raised']}
    if result is not None:
        ratios, coverage = judge(bare, result.data, result.uncertainty.array)
        row['gain'] = _gain(bare, result.data, _comparable(shot))
        row['wrong'] = [name for name, ratio in ratios.items() if not ratio <= LARGEST_ERROR]
        row['wrong'] += ['coverage'] if coverage < LEAST_COVERAGE else []
    return row


def _count(rows, test):
    return sum(bool(test(row)) for row in rows)


def summarise(rows):
    """
    Count, by defect.

    Parameters
    ----------
    rows : list of dict
        From `examine`.

    Returns
    -------
    list of dict
        A row for each defect, whatever else the frame has, then for all frames, for those with harmless defects only,
        and for the latter without them. ``error`` and ``coverage`` are failures, of which ``unnamed`` came with a
        warning that names something else; ``harmless_frames`` have no harmful defect, and ``false_alarms`` are those
        of them with a warning or refusal that nothing calls for.
    """
    parts = {name: [row for row in rows if name in row['names']] for name in DEFECTS}
    parts['all'], parts['harmless'] = rows, [row for row in rows if row['harmless']]
    table = []
    for name, part in parts.items():
        alone = [row for row in part if row['harmless']]
        ratios = [row['gain_ratio'] for row in alone if np.isfinite(row['gain_ratio'])]
        if part or name == 'harmless':
            table.append({
                'defect': name, 'frames': len(part), 'refused': _count(part, lambda row: row['refused']),
                'warned': _count(part, lambda row: row['messages'] and not row['refused']),
                'error': _count(part, lambda row: set(row['failures']) - {'coverage'}),
                'coverage': _count(part, lambda row: 'coverage' in row['failures']),
                'unnamed': _count(part, lambda row: row['failures'] and row['messages']),
                'harmless_frames': len(alone), 'said': _count(alone, lambda row: row['messages'] or row['error']),
                'false_alarms': _count(alone, lambda row: row['unexpected']),
                'gain_ratio': float(np.median(ratios)) if ratios else np.nan})
    bare = [row['reference'] for row in rows if row['harmless'] and 'reference' in row]
    return [*table, _count_bare(bare)] if bare else table


def _count_bare(rows):
    """The row of frames without any defect, of which every warning is a false alarm unless the result is wrong."""
    silent = [row for row in rows if not row['messages']]
    said = _count(rows, lambda row: row['messages'] or row['refused'])
    return {
        'defect': 'none', 'frames': len(rows), 'refused': _count(rows, lambda row: row['refused']),
        'warned': _count(rows, lambda row: row['messages'] and not row['refused']),
        'error': _count(silent, lambda row: set(row['wrong']) - {'coverage'}),
        'coverage': _count(silent, lambda row: 'coverage' in row['wrong']), 'unnamed': 0, 'harmless_frames': len(rows),
        'said': said, 'false_alarms': said - _count(rows, lambda row: row['messages'] and row['wrong']),
        'gain_ratio': 1.0}


def _line(row):
    ratios = ' '.join(f'{name} {ratio:.3g}' for name, ratio in row['ratios'].items())
    verdict = ', '.join(row['failures'] or row['wrong']) or 'right'
    return (f'{row["seed"]} [{", ".join(row["names"])}]: {verdict}; {ratios}; coverage {row["coverage"]:.3f}; '
            f'gain ratio {row["gain_ratio"]:.2f}'
            + ('; so it is without a defect' if row['failures'] and row.get('reference', {}).get('wrong') else ''))


def _show(seed, names):
    shot, names = make_case(seed, names)
    data = shot.container()
    print(f'{data.data.shape} {data.data.dtype}, unit {data.unit}, header {dict(data.meta)}, '
          f'{type(data.uncertainty).__name__}, options {shot.options}')
    print(f'destroyed {shot.destroyed.mean():.3f}, noise of the sky {shot.sky_sigma:.4g}, gain {shot.gain:.4g}, '
          f'data from {np.nanmin(data.data):.4g} to {np.nanmax(data.data):.4g}, median {np.nanmedian(data.data):.4g}')
    print('pixels:', {name: int(select.sum()) for name, select in _classes(shot).items()})
    row = examine(seed, names)
    print(_line(row))
    for message in row['messages']:
        print('  warning:', message)
    if row['error'] is not None:
        print(f'  {type(row["error"]).__name__}:', row['error'])
    if 'reference' in row:
        print('  without a defect:', row['reference'])


def _use_one_thread():
    # Not use_threads() of common.py, which would keep all processes to the same core.
    torch.set_num_threads(1)


def _job(arguments):
    return examine(*arguments)


def _examine_all(tasks, jobs):
    """Rows in the order of the tasks."""
    if jobs == 1:
        _use_one_thread()
        yield from map(_job, tasks)
        return
    # Not forked: torch has threads.
    with multiprocessing.get_context('spawn').Pool(jobs, _use_one_thread) as pool:
        yield from pool.imap(_job, tasks, chunksize=4)
        pool.close()
        pool.join()


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--n', type=int, default=2000, help='number of frames')
    parser.add_argument('--seed', type=int, default=40000, help='seed of the first')
    parser.add_argument('--jobs', type=int, default=1, help='processes, each of one thread')
    parser.add_argument('--only', choices=list(DEFECTS), action='append', help='plant this defect and no other')
    parser.add_argument('--show', type=int, metavar='SEED', help='say everything about one frame')
    arguments = parser.parse_args(argv)
    if arguments.show is not None:
        _show(arguments.show, arguments.only)
        return
    rows, start = [], time.monotonic()
    tasks = [(seed, arguments.only) for seed in range(arguments.seed, arguments.seed + arguments.n)]
    for row in _examine_all(tasks, arguments.jobs):
        rows.append(row)
        if row['failures'] or row['harmless'] and row['unexpected']:
            print(_line(row), *(f'  | {message}' for message in row['unexpected'] or row['messages']), sep='\n',
                  flush=True)
    table = summarise(rows)
    for line in table:
        print(*(f'{name} {value:.3g}' if isinstance(value, float) else f'{name} {value}'
                for name, value in line.items()))
    print(f'failed: {_count(rows, lambda row: row["failures"])} of {len(rows)}, {time.monotonic() - start:.0f} s')
    harmless = next(line for line in table if line['defect'] == 'harmless')
    print(f'harmless: {100 * harmless["false_alarms"] / max(harmless["frames"], 1):.1f} % false alarms (at most 5), '
          f'ratio of the gain {harmless["gain_ratio"]:.3f} (at least 0.9)')
    if not arguments.only:
        write_table(table, 'fuzz', f'{arguments.n} frames from seed {arguments.seed} on')


if __name__ == '__main__':
    main()
