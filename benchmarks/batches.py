# Licensed under a 3-clause BSD style license - see LICENSE
"""
What a batch costs: ``python benchmarks/batches.py WHAT [--size N ...] [--model default|tiny]``.

Prints one line of figures each:

* ``journal``: 5,000 small files with the denoising itself left out: milliseconds that the journal adds to each, and
  seconds of a second run with ``skip_existing``;
* ``overhead``: time of `denoise_files` against that of `denoise` of the same arrays in memory;
* ``jobs``: throughput of two processes against one with one thread;
* ``memory``: peak of anonymous memory (RssAnon) of a process that denoises one file, by its size, in its own process;
* ``mutants``: 10,000 damaged files: results, messages, and what should not be;
* ``kills``: a batch of two processes of which the first, a worker or all are killed at random moments, again and again,
  until it is done: are all results whole, and those of a quiet run?
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from astropy.io import fits

__all__ = ['main']

_SAMPLING = 0.02   # seconds between two looks at the memory
_FILES, _FRAMES = 5000, 6   # small files of the journal; frames of overhead and throughput
_KILLS, _MUTANTS = 20, 10000
_VICTIMS = 'the batch', 'a worker', 'all'


def write_frames(folder, n, size, seed=7000):
    """Write frames of white noise and a gradient; what is in them does not matter for time and memory."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for i in range(n):
        rng = np.random.default_rng((seed, i))
        path = folder / f'{i:05d}.fits'
        data = rng.normal(100, 5, (size, size)).astype('f4')
        data += np.linspace(0, 20, size, dtype='f4')
        fits.writeto(path, data)
        paths.append(path)
    return paths


def load_model(name):
    """The shipped model, or one of few weights, untrained: its results mean nothing."""
    from astropy_n2v import Denoiser, conf
    if name == 'default':
        return Denoiser.load('default')
    conf.audit = 'off'
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'tests'))
    from models import make_tiny_denoiser
    return make_tiny_denoiser()


def measure_journal(folder, model):
    """Files that are copied, with and without a journal, and a second run."""
    from astropy.nddata import StdDevUncertainty

    from astropy_n2v import denoising
    from astropy_n2v.batch import denoise_files
    paths = write_frames(folder / 'in', _FILES, 32)

    def copy(ccd, *arguments, full_output=False, **options):
        result = ccd.copy()
        result.uncertainty = StdDevUncertainty(np.ones(ccd.shape, dtype='f4'))
        return result

    denoising.denoise = copy
    seconds = []
    for name, journal in ('a', None), ('b', folder / 'b' / 'n2v-journal.jsonl'):
        start = time.perf_counter()
        records = denoise_files(paths, folder / name, model=model, per_frame=True, journal=journal)
        seconds.append(time.perf_counter() - start)
        assert {record.status for record in records} == {'done'}
    start = time.perf_counter()
    records = denoise_files(paths, folder / 'b', model=model, per_frame=True, skip_existing=True)
    assert {record.status for record in records} == {'skipped'}
    print(f'{_FILES} files: {1000 * seconds[0] / _FILES:.2f} ms a file without a journal, '
          f'{1000 * (seconds[1] - seconds[0]) / _FILES:.2f} ms more with one; second run '
          f'{time.perf_counter() - start:.1f} s')


def measure_overhead(folder, model, size):
    """Files against arrays, taking turns."""
    from astropy.nddata import CCDData

    from astropy_n2v import denoise
    from astropy_n2v.batch import denoise_files
    paths = write_frames(folder / 'in', _FRAMES, size)
    arrays = [CCDData(fits.getdata(path), unit='adu') for path in paths]
    denoise(arrays[0], model)
    in_memory = in_files = 0.0
    for path, array in zip(paths, arrays):
        start = time.process_time()
        denoise(array, model)
        in_memory += time.process_time() - start
        start = time.process_time()
        denoise_files([path], folder / 'out', model=model, journal=folder / 'j')
        in_files += time.process_time() - start
    print(f'{size}x{size}: {in_memory / _FRAMES:.2f} s of the processor in memory, {in_files / _FRAMES:.2f} s from '
          f'file to file, overhead {100 * (in_files / in_memory - 1):.1f} %')


def measure_jobs(folder, model, size):
    """One process with one thread against two."""
    import torch

    from astropy_n2v.batch import denoise_files
    paths = write_frames(folder / 'in', 2 * _FRAMES, size)
    torch.set_num_threads(1)
    rates = []
    for n_jobs in 1, 2:
        start = time.perf_counter()
        denoise_files(paths, folder / str(n_jobs), model=model, n_jobs=n_jobs, per_frame=True)
        rates.append(len(paths) / (time.perf_counter() - start))
    print(f'{size}x{size}: {3600 * rates[0]:.0f} frames an hour by one process, {3600 * rates[1]:.0f} by two, '
          f'{rates[1] / rates[0]:.2f} times as many (load of the machine {os.getloadavg()[0]:.1f})')


def anonymous_memory():
    """RssAnon of this process, in MiB."""
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith('RssAnon'):
            return int(line.split()[1]) / 1024
    return float('nan')


def measure_memory(folder, model, size):
    """Peak of the anonymous memory, beyond that before."""
    from astropy_n2v.batch import denoise_fits
    for path in write_frames(folder / 'small', 1, 64):
        denoise_fits(path, folder / 'small.fits', model)
    (path,) = write_frames(folder / 'in', 1, size)
    before, peak, ended = anonymous_memory(), [0.0], threading.Event()

    def watch():
        while not ended.wait(_SAMPLING):
            peak[0] = max(peak[0], anonymous_memory())

    thread = threading.Thread(target=watch)
    thread.start()
    start = time.process_time()
    denoise_fits(path, folder / 'out.fits', model)
    seconds = time.process_time() - start
    ended.set()
    thread.join()
    print(f'{size}x{size}: {before:.0f} MiB before, {peak[0]:.0f} MiB at the peak, '
          f'{(peak[0] - before) * 2 ** 20 / size ** 2:.0f} bytes a pixel, {seconds:.1f} s of the processor', flush=True)


def measure_mutants(folder, model):
    """Read and write damaged files."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'tests'))
    from collections import Counter

    from mutants import make_seeds, mutate

    from astropy_n2v.io import process_fits
    seeds, counts, slowest = make_seeds(), Counter(), 0.0
    for n in range(_MUTANTS):
        path = folder / 'a.fits'
        path.write_bytes(mutate(seeds[n % len(seeds)], np.random.default_rng((7000, n))))
        start = time.process_time()
        try:
            process_fits(path, folder / 'b.fits', lambda ccd, **options: ccd, overwrite=True)
            counts['done'] += 1
        except (OSError, ValueError):
            counts['refused'] += 1
        except Exception as error:
            counts[type(error).__name__] += 1
        slowest = max(slowest, time.process_time() - start)
    print(f'{_MUTANTS} damaged files: {dict(counts)}, {slowest:.1f} s at most for one, {anonymous_memory():.0f} MiB')


def measure_kills(folder, model, size):
    """Kill a batch, one of its processes or all of them at random moments, and let the next run go on."""
    from astropy_n2v import conf
    from astropy_n2v.batch import denoise_files
    paths = write_frames(folder / 'in', 2 * _FRAMES, size)
    file = folder / 'm.safetensors'
    model.save(file)
    quiet = {record.output.name: record.output
             for record in denoise_files(paths, folder / 'quiet', model=file, per_frame=True)}
    command = [sys.executable, '-m', 'astropy_n2v.cli', 'denoise', *paths, '--model', file, '--per-frame',
               '--skip-existing', '--jobs', '2', '--audit', conf.audit, '-q']
    start = time.monotonic()
    subprocess.run([*command, '-o', folder / 'timed'], check=True, stderr=subprocess.DEVNULL)
    longest = time.monotonic() - start
    chance = random.Random(0)
    killed, batches, found = dict.fromkeys(_VICTIMS, 0), 0, []
    while sum(killed.values()) < _KILLS:
        batches += 1
        out = folder / f'out{batches}'
        while True:
            process = subprocess.Popen([*command, '-o', out], stderr=subprocess.DEVNULL, start_new_session=True)
            try:
                # From the imports, before the first file, to the end.
                process.wait(chance.uniform(0, longest) if sum(killed.values()) < _KILLS else None)
            except subprocess.TimeoutExpired:
                killed[_kill(process, chance)] += 1
                process.wait()
                found.append(_compare_results(out, quiet))
            if process.returncode == 0:
                break
        assert _compare_results(out, quiet) == len(quiet), f'{out} lacks files'
        assert not list(out.glob('.*')), 'a temporary file was left'
    kinds = ', '.join(f'{n} of {victim}' for victim, n in killed.items())
    print(f'{sum(killed.values())} kills ({kinds}) in {batches} batches of {len(paths)} files of {size}x{size}, with '
          f'{min(found)} to {max(found)} files done: no result that was there was partial, the next run finished all, '
          'and they are, but for the date, those of a quiet run')


def _kill(process, chance):
    """Kill a batch, one of its workers, or all at once; return which."""
    victim = chance.choice(_VICTIMS)
    workers = []
    for pid in Path(f'/proc/{process.pid}/task/{process.pid}/children').read_text().split():
        try:
            if b'spawn_main' in Path(f'/proc/{pid}/cmdline').read_bytes():
                workers.append(int(pid))
        except OSError:   # it has just ended
            pass
    if victim == 'a worker' and not workers:   # it has none yet, or none any more
        victim = 'the batch'
    if victim == 'all':
        os.killpg(process.pid, signal.SIGKILL)
    else:
        os.kill(chance.choice(workers) if victim == 'a worker' else process.pid, signal.SIGKILL)
    return victim


def _compare_results(out, quiet):
    """Compare the results that are there with those of a quiet run; return how many there are."""
    results = sorted(out.glob('*.fits'))
    for path in results:
        difference = fits.FITSDiff(path, quiet[path.name], ignore_keywords=['N2VDATE'])
        assert difference.identical, difference.report()
    return len(results)


def main(arguments=None):
    """Run one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('what', choices=['journal', 'overhead', 'jobs', 'memory', 'mutants', 'kills'])
    parser.add_argument('--size', type=int, nargs='+', default=[2048], help='height and width of frames')
    parser.add_argument('--model', choices=['default', 'tiny'], default='default')
    options = parser.parse_args(arguments)
    model = load_model(options.model)
    for size in options.size:
        with tempfile.TemporaryDirectory() as folder:
            measure = globals()[f'measure_{options.what}']
            measure(Path(folder), model, *([] if options.what in ('journal', 'mutants') else [size]))


if __name__ == '__main__':
    main()
