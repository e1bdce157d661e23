# Licensed under a 3-clause BSD style license - see LICENSE
"""
Work on one file, in the process that denoises it.
"""

import logging
import os
import secrets
import socket
import time
import warnings
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import NamedTuple

from astropy.utils.exceptions import AstropyUserWarning

from ..config import conf
from ..io import ImageResult, describe_error
from ..io.process import refusal_cards
from ..utils.names import printable
from ..version import __version__
from .fingerprints import digest, file_state, hash_file, named_file, plain
from .fits import denoise_fits
from .records import FileRecord
from .summary import image_values

__all__ = []

log = logging.getLogger(__name__)

_TRAINED = 'self', 'adapt'   # models that each image has for itself
# Options on which no result depends.
_NO_MATTER = 'device', 'progress_bar', 'memory_limit', 'scratch_directory'


class Job(NamedTuple):
    """A file to be denoised: its place in the batch, path, extensions, result, and the folder of all results."""

    number: int
    name: str
    path: str
    ext: object
    output: str
    folder: str

    @property
    def key(self):
        """Return the key of the result, which jobs with one result share."""
        return os.path.normcase(os.path.abspath(self.output))


class Work:
    """
    All that the files of a batch have in common; it can be sent to other processes and machines.

    Parameters
    ----------
    model : str, path, Denoiser or None
        See `astropy_n2v.denoise`.
    noise : SetNoise, NoiseModel or None
        The noise of the set.
    overwrite : bool
        If true, replace existing results.
    journal : Journal or None
        Where the outcome of each file is written.
    options : dict
        Other keywords of `~astropy_n2v.batch.denoise_fits`.

    Raises
    ------
    OSError, ValueError
        If the model is a file that cannot be used.
    """

    def __init__(self, model, noise, overwrite, journal, options):
        self.token = secrets.token_hex(8)
        self.process = socket.gethostname(), os.getpid()
        self.model = conf.default_model if model is None else model
        self.noise, self.overwrite, self.journal, self.options = noise, overwrite, journal, options
        # Settings of this process, which others do not know.
        self.settings = {name: getattr(conf, name) for name in conf.keys()}
        self._denoiser = None
        self._digests = {}
        if isinstance(self.model, (str, os.PathLike)) and self.model not in ('default', *_TRAINED):
            self.denoiser()   # an error of the batch, and not of each file

    def __getstate__(self):
        """Each process loads a model of a file by itself, once."""
        loaded = isinstance(self.model, (str, os.PathLike))
        return {**vars(self), '_denoiser': None if loaded else self._denoiser, '_digests': {}}

    def denoiser(self):
        """Return the model as `astropy_n2v.denoise` takes it; a file is read once."""
        if self._denoiser is None:
            self._denoiser = self.model
            if isinstance(self.model, (str, os.PathLike)) and self.model not in _TRAINED:
                from ..denoiser import Denoiser
                self._denoiser = Denoiser.load(self.model)
        return self._denoiser

    def apply_settings(self):
        """Take over the settings of the process that made this, if it was another one, and draw no bars there."""
        if self.process != (socket.gethostname(), os.getpid()):
            for name, value in self.settings.items():
                setattr(conf, name, value)
            self.options = {**self.options, 'progress_bar': False}   # several bars would overwrite each other

    def fingerprint(self, ext):
        """Hash all that results depend on, but for their input."""
        if 'model' not in self._digests:
            settings = {name: value for name, value in self.settings.items() if name not in _NO_MATTER}
            options = {name: named_file(value) if name in ('mask', 'uncertainty') else value
                       for name, value in self.options.items() if name not in _NO_MATTER}
            self._digests = {'model': self._model_digest(), 'options': digest([settings, options]),
                             'noise': digest(getattr(self.noise, 'groups', self.noise))}
        return {**self._digests, 'options': digest([self._digests['options'], ext])}

    def _model_digest(self):
        if self.model == 'self':
            return 'self'
        if self.model in ('default', 'adapt'):
            from ..weights import find_model
            return f'{"adapt " * (self.model == "adapt")}{hash_file(find_model("default"))}'
        return self.denoiser().sha256

    def description(self, job):
        """Describe model and options for the journal."""
        given = {name: value for name, value in self.options.items() if value is not None}
        options = {'ext': job.ext, **given, 'overwrite': self.overwrite}
        named = self.model if isinstance(self.model, (str, os.PathLike)) else self.model.name
        return {'model': os.fspath(named), 'fingerprint': self.fingerprint(job.ext),
                'options': {name: os.fspath(value) if isinstance(value, os.PathLike) else plain(value)
                            for name, value in options.items()}}


@contextmanager
def collect_warnings(record, silent):
    """Add warnings, also logged ones, to a record; with ``silent``, show them nowhere."""
    logger = logging.getLogger('astropy_n2v')
    handler = _Collector(record.messages)
    propagate = logger.propagate
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            show = warnings.showwarning
            if silent:
                logger.propagate = False
                warnings.simplefilter('ignore')
                warnings.simplefilter('always', AstropyUserWarning)

            def collect(message, category, *place, **more):
                if issubclass(category, AstropyUserWarning):
                    record.warnings.append(str(message))
                if not silent:
                    show(message, category, *place, **more)

            warnings.showwarning = collect
            yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


class _Collector(logging.Handler):
    """Keeps messages of warnings."""

    def __init__(self, messages):
        super().__init__(logging.WARNING)
        self.messages = messages

    def emit(self, record):
        self.messages.append(record.getMessage())


def denoise_job(work, job, silent=False):
    """
    Denoise a file and write its outcome to the journal.

    Parameters
    ----------
    work : Work
        Model, noise and options of all files.
    job : Job
        The file.
    silent : bool, optional
        If true, show no warnings, but return them.

    Returns
    -------
    FileRecord
        Its outcome. No error is raised: whatever is wrong with one file, the others are not to blame.
    """
    record = FileRecord(job.name, job.output)
    start = time.monotonic()
    with collect_warnings(record, silent):
        try:
            _denoise(work, job, record, start)
        except Exception as error:
            record.seconds = time.monotonic() - start
            fail(record, error, job, work)
            log.debug('%s failed', printable(job.path), exc_info=True)
    return record


def _denoise(work, job, record, start):
    """Denoise a file. Its line is in the journal before its result has a name: no result is unknown."""
    before = None if work.journal is None else file_state(job.path)
    _make_folder(job)

    def complete(temporary, result):
        record.denoised, record.unchanged, record.images = result.denoised, result.unchanged, result.images
        record.status, record.seconds = 'done', time.monotonic() - start
        if work.journal is None:
            return
        after = os.stat(job.path)
        if (after.st_size, after.st_mtime_ns) != (before['size'], before['mtime_ns']):
            raise OSError(f'{job.path} changed while it was denoised')
        record.entry = journal_entry(record, job, work, before, file_state(temporary))
        work.journal.append(record.entry)

    denoise_fits(job.path, job.output, work.denoiser(), ext=job.ext, noise=work.noise, overwrite=work.overwrite,
                 complete=complete, **work.options)
    record.seconds = time.monotonic() - start


def _make_folder(job):
    """Make the folder of a result, unless a link leads it out of the folder of all results."""
    folder = os.path.dirname(job.output)
    top = os.path.realpath(job.folder)
    if os.path.commonpath([top, os.path.realpath(folder)]) != top:
        raise ValueError(f'{folder} leads out of the folder of the results, {job.folder}')
    os.makedirs(folder or '.', exist_ok=True)


def journal_entry(record, job, work, before=None, after=None):
    """
    Make the line of a journal of a record.

    Parameters
    ----------
    record : FileRecord
        The outcome of the file.
    job : Job
        The file.
    work : Work
        Model, noise and options of all files of the batch.
    before, after : dict, optional
        States of input and result.

    Returns
    -------
    dict
        The line.
    """
    host, pid = socket.gethostname(), os.getpid()
    return {'time': datetime.now(UTC).isoformat(timespec='milliseconds'), 'status': record.status,
            'input': {'path': os.fspath(job.name), 'real_path': os.path.realpath(job.path), **(before or {})},
            'output': {'path': work.journal.name(job.output), **(after or {})},
            'error': record.error, 'seconds': round(record.seconds, 3),
            'images': [image_values(image) for image in record.images],
            'warnings': [*record.messages, *record.warnings],
            **work.description(job), 'version': __version__, 'host': host, 'pid': pid}


def fail(record, error, job, work):
    """Say in a record and in the journal why a file failed."""
    record.error = error if isinstance(error, str) else describe_error(error, job.path)
    record.images = [ImageResult('', record.error, refusal_cards(error))]
    record.denoised, record.unchanged = [], []
    record.status, record.entry = 'failed', {}
    if work.journal is not None:
        try:
            record.entry = journal_entry(record, job, work)
            work.journal.append(record.entry)
        except OSError as lost:   # the disk is full, perhaps; the caller has the record
            log.warning('%s', lost.strerror or lost)
