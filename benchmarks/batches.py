# Licensed under a 3-clause BSD style license - see LICENSE
"""
What a batch costs: ``python benchmarks/batches.py WHAT [--size N ...] [--model NAME] [--count N] [--seed N]``.

Prints one line of figures each:

* ``journal``: 5,000 small files with the denoising itself left out: milliseconds that the journal adds to each, and
  seconds of a second run with ``skip_existing``;
* ``overhead``: time of `denoise_files` against that of `denoise` of the same arrays in memory;
* ``jobs``: throughput of two processes against one with one thread, taking turns, and what the seconds of the processor
  allow where other programs use the cores as well;
* ``memory``: peak of anonymous memory (RssAnon) of a process that denoises one file, by its size, in its own process;
  with ``--limit`` in place of ``conf.memory_limit`` (GiB), ``--compressed`` of a file that is compressed by tiles;
* ``mutants``: ``--count`` damaged files (10,000), of ``--seed``: results, messages, and what should not be;
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
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from astropy.io import fits

__all__ = ['main']

_SAMPLING = 0.02   # seconds between two looks at the memory
_FILES, _FRAMES = 5000, 6   # small files of the journal; frames of overhead and throughput
_KILLS, _MUTANTS = 20, 10000
_TURNS = 3   # of one process and two
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


def write_large(path, size, compressed, seed=7000):
    """Write such a frame with little memory, also one that is compressed by tiles."""
    from astropy_n2v.io.writing import write_hdu
    from astropy_n2v.utils.sampling import row_blocks
    from astropy_n2v.utils.scratch import empty, scratch_files
    rng, folder = np.random.default_rng(seed), path.parent
    with scratch_files(folder), open(path, 'wb') as out:
        data = empty((size, size), np.float32)
        for rows in row_blocks(size):
            data[rows] = rng.normal(100, 5, (rows.stop - rows.start, size)) + np.linspace(0, 20, size)
        header = fits.Header({'BUNIT': 'adu'})
        image = fits.CompImageHDU(data, header, compression_type='GZIP_2', quantize_level=0) if compressed else \
            fits.ImageHDU(data, header)
        for hdu in fits.PrimaryHDU(), image:
            write_hdu(hdu, True, out, folder)


def load_model(name):
    """The shipped model, or one of few weights, untrained, or of none: their results mean nothing (no audit)."""
    from astropy_n2v import Denoiser
    if name == 'default':
        return Denoiser.load('default')
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'tests'))
    from models import make_tiny_denoiser
    model = make_tiny_denoiser()
    if name == 'none':
        import torch

        # The background everywhere: what is left is the time, and the memory, of all but the network.
        model.network.predict = lambda inputs, inner, dtype: torch.tensor([0.0, -3.0]).reshape(1, 2, 1, 1).expand(
            1, 2, *(part.stop - part.start for part in inner))
    return model


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
    """One process with one thread against two, taking turns."""
    from astropy_n2v.batch import denoise_files
    paths = write_frames(folder / 'in', 4 * _FRAMES, size)
    file = folder / 'm.safetensors'
    model.save(file)
    # In a process of its own, as the two are, so that all that is loaded is loaded by the same means.
    runs = {1: [], 2: []}
    for turn in range(_TURNS):
        for n_jobs in runs:
            ends, before, start = [], _processor_seconds(), time.perf_counter()

            def note(record, ends=ends):
                if record.status == 'done':
                    ends.append(time.perf_counter())

            with _pool_of(n_jobs) as executor:
                denoise_files(paths, folder / f'{n_jobs}-{turn}', model=file, n_jobs=n_jobs, executor=executor,
                              per_frame=True, callback=note)
            seconds, ends = time.perf_counter() - start, sorted(ends)
            # Since each process has its first file behind it: without their start.
            steady = (len(ends) - n_jobs) / (ends[-1] - ends[n_jobs - 1])
            runs[n_jobs].append((len(paths) / seconds, steady, ends[0] - start,
                                 (_processor_seconds() - before) / len(paths)))
    one, two = (np.median(runs[n_jobs], axis=0) for n_jobs in runs)
    print(f'{size}x{size}, {len(paths)} frames, median of {_TURNS} turns: {3600 * one[0]:.0f} frames an hour by one '
          f'process, {3600 * two[0]:.0f} by two, {two[0] / one[0]:.2f} times as many; after their first files '
          f'{two[1] / one[1]:.2f} times; first file after {one[2]:.1f} and {two[2]:.1f} s; {one[3]:.2f} and '
          f'{two[3]:.2f} s of the processor a frame, which allow {2 * one[3] / two[3]:.2f} times on two cores that '
          f'nobody else uses (load of the machine {os.getloadavg()[0]:.1f})')


def _pool_of(n_jobs):
    """An executor for one process of a thread; none for two, which `denoise_files` makes itself."""
    from contextlib import nullcontext
    from multiprocessing import get_context
    return ProcessPoolExecutor(1, get_context('spawn'), _use_one_thread) if n_jobs == 1 else nullcontext()


def _use_one_thread():
    """Keep torch to one thread in this process."""
    import torch
    torch.set_num_threads(1)


def _processor_seconds():
    """Seconds of this process and of those that it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def anonymous_memory():
    """RssAnon of this process, in MiB."""
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith('RssAnon'):
            return int(line.split()[1]) / 1024
    return float('nan')


def measure_memory(folder, model, size, limit=None, compressed=False):
    """Peak of the anonymous memory, beyond that before."""
    from astropy_n2v import conf
    from astropy_n2v.batch import denoise_fits
    for path in write_frames(folder / 'small', 1, 64):
        denoise_fits(path, folder / 'small.fits', model)
    path = folder / 'large.fits'
    write_large(path, size, compressed)
    before, peak, ended = anonymous_memory(), [0.0], threading.Event()

    def watch():
        while not ended.wait(_SAMPLING):
            peak[0] = max(peak[0], anonymous_memory())

    thread = threading.Thread(target=watch)
    thread.start()
    start = time.process_time()
    with conf.set_temp('memory_limit', conf.memory_limit if limit is None else limit):
        denoise_fits(path, folder / 'out.fits', model)
    seconds = time.process_time() - start
    ended.set()
    thread.join()
    kind = ' compressed' if compressed else ''
    print(f'{size}x{size}{kind}: {before:.0f} MiB before, {peak[0]:.0f} MiB at the peak, '
          f'{(peak[0] - before) * 2 ** 20 / size ** 2:.1f} bytes a pixel, {seconds:.1f} s of the processor, '
          f'{seconds / size ** 2 * 1e6:.2f} s a million pixels', flush=True)


def measure_mutants(folder, count, seed):
    """Read and write damaged files."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'tests'))
    from collections import Counter

    from mutants import make_seeds, mutate

    from astropy_n2v.io import process_fits
    seeds, counts, slowest = make_seeds(), Counter(), 0.0
    for n in range(count):
        path = folder / 'a.fits'
        path.write_bytes(mutate(seeds[n % len(seeds)], np.random.default_rng((seed, n))))
        start = time.process_time()
        try:
            process_fits(path, folder / 'b.fits', lambda ccd, **options: ccd, overwrite=True)
            counts['done'] += 1
        except (OSError, ValueError):
            counts['refused'] += 1
        except Exception as error:
            counts[type(error).__name__] += 1
        slowest = max(slowest, time.process_time() - start)
    print(f'{count} damaged files of seed {seed}: {dict(counts)}, {slowest:.1f} s at most for one, '
          f'{anonymous_memory():.0f} MiB')


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
    results = sorted(out.glob('[!.]*.fits'))
    for path in results:
        difference = fits.FITSDiff(path, quiet[path.name], ignore_keywords=['N2VDATE'])
        assert difference.identical, difference.report()
    return len(results)


def main(arguments=None):
    """Run one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('what', choices=['journal', 'overhead', 'jobs', 'memory', 'mutants', 'kills'])
    parser.add_argument('--size', type=int, nargs='+', default=[2048], help='height and width of frames')
    parser.add_argument('--limit', type=float, help='for memory: GiB, in place of conf.memory_limit')
    parser.add_argument('--compressed', action='store_true', help='for memory: a file that is compressed by tiles')
    parser.add_argument('--folder', help='for files that are made, and removed; a disk with room')
    parser.add_argument('--model', choices=['default', 'tiny', 'none'], default='default')
    parser.add_argument('--count', type=int, default=_MUTANTS, help='number of mutants')
    parser.add_argument('--seed', type=int, default=7000, help='seed of the mutants')
    options = parser.parse_args(arguments)
    if options.what == 'mutants':
        with tempfile.TemporaryDirectory() as folder:
            measure_mutants(Path(folder), options.count, options.seed)
        return
    from astropy_n2v import conf
    model = load_model(options.model)
    with conf.set_temp('audit', conf.audit if options.model == 'default' else 'off'):
        for size in options.size:
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                measure = globals()[f'measure_{options.what}']
                more = [options.limit, options.compressed] if options.what == 'memory' else []
                measure(Path(folder), model, *([] if options.what == 'journal' else [size]), *more)


if __name__ == '__main__':
    main()
