# Licensed under a 3-clause BSD style license - see LICENSE
"""
`denoise_files`: many files, each of which is denoised; one that fails does not stop the others.

``batch/fits.py`` denoises one FITS file, ``batch/raster.py`` one picture; ``io/`` reads and writes them.
"""

import logging
import os
from concurrent.futures import BrokenExecutor, Executor
from pathlib import Path

from ..io import describe_error, output_path, split_extension
from ..io.raster import is_raster
from ..noise import SetNoise
from ..utils.atomic_files import remove_leftovers
from ..utils.checks import check_integer
from ..utils.names import printable
from ..utils.warn import warn_user
from .fingerprints import is_unchanged
from .inputs import take_shard
from .jobs import run_jobs
from .journal import JOURNAL_NAME, Journal, KnownResults
from .one_file import Job, Work, fail
from .records import FileRecord

__all__ = ['denoise_files']

log = logging.getLogger(__name__)

_NOISE_FILE = 'n2v-noise.json'
# Keywords that the noise of a set is estimated with, too.
_OF_FRAMES = ('ignore_bits', 'mask', 'uncertainty', 'satlevel')


def denoise_files(files, output_dir, *, suffix='_n2v', model=None, ext=None, noise=None, per_frame=False,
                  overwrite=False, skip_existing=False, shard=None, n_jobs=1, executor=None, journal=None,
                  callback=None, **kwargs):
    """
    Denoise many FITS files.

    The autocorrelation of the noise, and the gain where no header has it, are estimated once for all files, before the
    first is denoised; see `astropy_n2v.estimate_set_noise`.

    Parameters
    ----------
    files : list of path
        FITS files; ``name.fits[EXT]`` is one extension of a file, such as ``name.fits[SCI,1]``.
    output_dir : str or path-like
        Directory for the results; it is made if it does not exist.
    suffix : str, optional
        Added to the stem of the names, see `~astropy_n2v.io.output_path`.
    model : str, path or Denoiser, optional
        See `astropy_n2v.denoise`.
    ext : int, str, tuple or list of these, optional
        See `~astropy_n2v.io.science_hdus`; for all files.
    noise : SetNoise, NoiseModel, str or path-like, optional
        The noise of the set of frames, or the file of it, such as an earlier run wrote; or of each image. By default,
        the noise of the set is estimated if there are several files, and written to ``n2v-noise.json`` in
        ``output_dir`` (``n2v-noise-2.json`` and so on, rather than to a file that exists, unless ``overwrite`` is
        true). With ``skip_existing`` or ``shard``, and without ``overwrite``, a ``n2v-noise.json`` that is there is
        taken.
    per_frame : bool, optional
        If true, measure autocorrelation and gain on each image by itself.
    overwrite : bool, optional
        If true, replace existing results. None of ``files`` is ever replaced.
    skip_existing : bool, optional
        If true, pass over files whose result is there and current: the journal knows it, and input, model, options and
        noise of the set are the same. A result that is not current, or not known, is replaced with ``overwrite``, and
        else an error of its file.
    shard : tuple of int, optional
        ``(i, n)``: denoise the i-th of n shares, from 1, of ``files``. The noise is measured on all of them.
    n_jobs : int, optional
        Number of processes, which share the cores. They are spawned: a script needs ``if __name__ == '__main__':``.
        With an executor, how many files it is given at a time (1: a thousand).
    executor : concurrent.futures.Executor, optional
        Where to run in place of processes that are made here, such as ``dask.distributed.Client.get_executor()``. Its
        workers must see the files under the same names. Threads of one process take turns, as they share
        Python's warnings. Files that it does not take, or loses, fail; it is never shut down here.
    journal : str, path-like or `~astropy_n2v.batch.Journal`, optional
        File to which a line is appended for each file; with ``skip_existing``, ``n2v-journal.jsonl`` in ``output_dir``
        by default, else none.
    callback : callable, optional
        Called with the `FileRecord` of a file when it is begun, and again when it has ended; once if it is skipped.
    **kwargs
        Other keywords of `~astropy_n2v.batch.denoise_fits`.

    Returns
    -------
    list of FileRecord
        One for each file, in their order. A file that failed says why.

    Raises
    ------
    OSError
        If the directory cannot be made, the journal cannot be written, or ``model`` or ``noise`` cannot be read.
    TypeError
        If ``files`` is one path, ``executor`` is no executor, or model and options cannot be sent to other processes.
    ValueError
        If ``suffix``, ``model`` or ``noise`` cannot be used at all, ``per_frame`` is true with ``noise``, or there is
        an extension in the name of a file as well as in ``ext``.

    See Also
    --------
    astropy_n2v.batch.summary_table : Make a table of the records.
    astropy_n2v.batch.find_inputs : Find the files that names, patterns and folders stand for.

    Examples
    --------
    >>> import tempfile
    >>> from astropy_n2v.batch import denoise_files
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     records = denoise_files(['missing.fits'], directory)
    >>> [(record.status, record.error) for record in records]
    [('failed', 'No such file or directory')]
    """
    if isinstance(files, (str, os.PathLike)):
        raise TypeError(f'files must be a list of paths, got {files!r}')
    if per_frame and noise is not None:
        raise ValueError(f'per_frame must be false with noise, which describes the set of frames, got {per_frame!r}')
    check_integer('n_jobs', n_jobs, 1)
    if executor is not None and not isinstance(executor, Executor):
        raise TypeError('executor must be a concurrent.futures.Executor, such as ProcessPoolExecutor(8) or, of Dask, '
                        f'client.get_executor(), got {executor!r}')
    if isinstance(noise, (str, os.PathLike)):
        noise = SetNoise.read(noise)   # once, and before all else
    if journal is None and skip_existing:
        journal = Path(output_dir) / JOURNAL_NAME
    if journal is not None and not isinstance(journal, Journal):
        journal = Journal(journal)
    jobs = _make_jobs(files, output_dir, suffix, ext)
    work = Work(model, noise, overwrite, journal, kwargs)
    try:
        os.makedirs(output_dir, exist_ok=True)
    except OSError as error:
        raise type(error)(f'cannot make the directory {os.fspath(output_dir)}: {error.strerror}') from error
    if journal is not None:
        journal.check()
    # Pictures say nothing of the noise that the frames have in common.
    frames = [job for job in jobs if not is_raster(job.path)]
    if noise is None and not per_frame and len({job.path for job in frames}) > 1:
        known = (skip_existing or shard is not None) and not overwrite
        work.noise = _noise_of_set(frames, Path(output_dir), ext, kwargs, overwrite=overwrite, known=known)
    batch = _Batch(work, [job.path for job in jobs], take_shard(jobs, shard), skip_existing, callback,
                   n_jobs > 1 or executor is not None)
    batch.remove_leftovers()
    try:
        run_jobs(batch.jobs, work, batch.begin, batch.finish, n_jobs, executor)
    finally:
        batch.remove_leftovers()   # of processes that were ended
    return list(batch.records.values())


def _make_jobs(files, output_dir, suffix, ext):
    """Find out where the result of each file goes."""
    jobs = []
    for number, name in enumerate(files):
        path, own = split_extension(name)
        if own is not None and ext is not None:
            raise ValueError(f'ext must not be given, as {os.fspath(name)} names an extension itself; got {ext!r}')
        folder = Path(output_dir) / getattr(name, 'folder', '')
        jobs.append(Job(number, Path(name), path, ext if own is None else own, output_path(path, folder, suffix),
                        output_dir))
    return jobs


def _noise_of_set(jobs, directory, ext, options, *, overwrite, known):
    """Measure the noise of a set of files, or read it: jobs of an array that begin together go by one file."""
    path = directory / _NOISE_FILE
    if known and path.exists():
        return SetNoise.read(path)
    options = {name: value for name, value in options.items() if name in _OF_FRAMES}
    try:
        return _estimate_noise([job.name for job in jobs], path, ext=ext, overwrite=overwrite, next_name=not known,
                               **options)
    except FileExistsError:   # another job was faster
        return SetNoise.read(path)


def _estimate_noise(files, path, *, overwrite, next_name, **options):
    """Estimate the noise of a set of files, and write it; None if it could not be measured on any."""
    from .set_noise import estimate_set_noise
    noise = estimate_set_noise(files, **options)
    if not any(group.n_frames for group in noise.groups):
        return None
    first, n = path, 1
    while next_name and os.path.lexists(path) and not overwrite:
        n += 1
        path = first.with_stem(f'{first.stem}-{n}')
    noise.write(path, overwrite=overwrite)
    log.info('the noise of the set was written to %s', printable(path))
    return noise


class _Batch:
    """
    The files of a run, and what became of them.

    Parameters
    ----------
    work : Work
        Model, noise and options of all files.
    inputs : list of str
        Files that must not be replaced.
    jobs : list of Job
        Those to be denoised.
    skip_existing : bool
        If true, pass over results that are there and current.
    callback : callable or None
        See `denoise_files`.
    elsewhere : bool
        True if other processes denoise the files, whose warnings nobody has seen yet.
    """

    def __init__(self, work, inputs, jobs, skip_existing, callback, elsewhere):
        self.work = work
        self.jobs = jobs
        self.records = {job.number: FileRecord(job.name, job.output) for job in jobs}
        self.callback = callback or (lambda record: None)
        self.known = KnownResults(work.journal) if skip_existing else None
        self.elsewhere = elsewhere
        self.taken = set()
        self.inputs = {os.path.realpath(path): path for path in inputs}
        self.same = {}
        for path in self.inputs.values():
            try:
                status = os.stat(path)
            except OSError:   # it does not exist, and its job will say so
                continue
            self.same[status.st_dev, status.st_ino] = path

    def remove_leftovers(self):
        """Remove unfinished files of processes that were killed."""
        for folder in {job.output.parent for job in self.jobs}:
            if folder.is_dir():
                for path in remove_leftovers(folder):
                    log.info('%s, which a run left that was killed, is removed', printable(path))

    def begin(self, job):
        """Prepare a file; return if there is anything to do."""
        record = self.records[job.number]
        try:
            self._protect(job.output)
            reason = self._reason_to_skip(job, record)
        except (OSError, ValueError) as error:
            self.callback(record)
            fail(record, error, job, self.work)
            reason = None
        if reason == 'current':
            record.status = 'skipped'
        if record.status == 'running':
            self.callback(record)
            return True
        self.callback(record)
        return False

    def _protect(self, output):
        """Refuse to replace an input."""
        try:
            status = os.stat(output)
            found = self.same.get((status.st_dev, status.st_ino))
        except OSError:
            found = self.inputs.get(os.path.realpath(output))
        if found is not None:
            raise ValueError(f'output would overwrite its input {found}: choose another directory or suffix')

    def _reason_to_skip(self, job, record):
        """Return 'current' if the result is there; raise an error if there is another one that must stay."""
        if job.key in self.taken:
            raise ValueError(f'another file of this run is written to {job.output} as well: give the folder that both '
                             'are in, or denoise them to different directories; several extensions of one file are '
                             'chosen by ext (--ext)')
        if self.known is None or not os.path.lexists(job.output):
            return None
        entry = self.known.entry(job.output)
        reason = _reason_to_redo(entry, job, self.work)
        if not reason:
            record.entry = entry
            self.taken.add(job.key)
            return 'current'
        if not self.work.overwrite:
            raise FileExistsError(f'{job.output} exists, but {reason}: use overwrite (--overwrite) to replace it')
        return None

    def finish(self, job, outcome):
        """Take the outcome of a file down."""
        record = self.records[job.number]
        if isinstance(outcome, FileRecord):
            vars(record).update({**vars(outcome), 'path': record.path, 'output': record.output})
        else:
            if isinstance(outcome, BrokenExecutor):
                outcome = OSError('the process that worked on it died: it was killed, or memory did not suffice')
            elif not isinstance(outcome, OSError):   # errors of the file itself are in its record
                outcome = OSError(f'the executor failed: {describe_error(outcome)}')
            fail(record, outcome, job, self.work)
        if record.status == 'failed' and self.known is not None:
            self._look_for_another(job, record)
        if record.status == 'done':
            self.taken.add(job.key)
        self.callback(record)
        if self.elsewhere:
            for text in record.messages:
                log.warning('%s', text)
            for text in record.warnings:
                warn_user(text)

    def _look_for_another(self, job, record):
        """Take the result of another run, which was faster, for one that is there and current."""
        try:
            entry = self.known.entry(job.output)
            if entry is None or _reason_to_redo(entry, job, self.work):
                return
            self.work.journal.append(entry)   # the last line about a file counts
        except (OSError, ValueError):
            return
        vars(record).update({**vars(FileRecord(record.path, record.output, 'skipped')), 'entry': entry})


def _reason_to_redo(entry, job, work):
    """Say why a result is not current; empty if it is."""
    if entry is None:
        return f'{work.journal.path} does not know it'
    for name, value in work.fingerprint(job.ext).items():
        if entry['fingerprint'].get(name) != value:
            what = {'noise': 'noise of the set'}.get(name, name)
            return f'{what} {"are not those" if name == "options" else "is not that"} of the run that made it'
    if not is_unchanged(entry['output'], job.output):
        return 'it was changed since it was made'
    source = entry['input']
    if not is_unchanged(source, job.path, trust_time=source['real_path'] == os.path.realpath(job.path)):
        return f'{job.path} is not what it was made from'
    return ''
