# Licensed under a 3-clause BSD style license - see LICENSE
"""
Kinds of options, and streams of messages, which the commands share.
"""

import logging
import os
import re
import sys
import warnings
from contextlib import contextmanager

import click

from ..training.options import FORMER_KEYWORDS, TRAINING_OPTIONS
from ..utils.checks import MAX_HOLE, parse_hole
from ..utils.names import printable

__all__ = ['HoleType', 'Reporter', 'chosen_extension', 'expand_files', 'find_files', 'former_options', 'given',
           'mask_options', 'one_or_list', 'parse_bits', 'training_options', 'verbosity_options']


class HoleType(click.ParamType):
    """A hole: an odd number of pixels, or height and width such as 1x3."""

    name = '1|3|1x3|...'

    def convert(self, value, param, ctx):
        """Convert text to (height, width)."""
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r'\s*(\d+)(?:\s*[xX,]\s*(\d+))?\s*', str(value))
        try:
            return parse_hole([int(size) for size in match.groups(match.group(1))] if match else ())
        except ValueError:
            self.fail(f'{value!r} must be an odd number of pixels up to {MAX_HOLE}, or height and width such as 1x3',
                      param, ctx)


def expand_files(patterns):
    """
    Expand the patterns that the shell left as they are.

    Parameters
    ----------
    patterns : iterable of str
        See `~astropy_n2v.batch.find_inputs`.

    Returns
    -------
    list of str
        Names; a pattern that fits nothing stays, and will be reported as a file that is missing.

    Raises
    ------
    click.UsageError
        If there is no FITS file in a folder.

    Examples
    --------
    >>> from astropy_n2v.cli.common import expand_files
    >>> expand_files(['a.fits', 'nothing-like-this-*.fits'])
    ['a.fits', 'nothing-like-this-*.fits']
    """
    return [file.path for file in find_files(patterns)]


def find_files(patterns):
    """Expand patterns as `expand_files`, to names with the folders that their results keep."""
    from ..batch.inputs import find_inputs
    try:
        return find_inputs(patterns)
    except ValueError as error:
        raise click.UsageError(printable(error)) from error


def one_or_list(values):
    """Return None, the value or the list of values of an option that may be repeated."""
    return None if not values else values[0] if len(values) == 1 else list(values)


def given(**options):
    """Select the options that have a value, so that the library's own defaults hold for the others."""
    return {name: value for name, value in options.items() if value is not None}


def training_options(function):
    """Add the options of training: all of the library's TRAINING_OPTIONS that make sense here."""
    for name, option in reversed(TRAINING_OPTIONS.items()):
        if option.help is None:
            continue
        text_kind = (click.Choice(option.choices), None) if option.choices else (click.Path(), 'FILE')
        kind, metavar = {
            int: (click.IntRange(min=option.low), None), str: text_kind,
            float: (click.FloatRange(option.low, option.high, min_open=not option.closed,
                                     max_open=option.high is not None), None)}[option.kind]
        default = option.unset if option.default is None else option.default if option.choices else \
            f'{option.default:g}'
        text = option.help if default is None else f'{option.help}  [default: {default}]'
        function = click.option(f'--{name.replace("_", "-")}', type=kind, metavar=metavar, help=text)(function)
    return function


def chosen_extension(name, ext):
    """
    Find path and extensions of a file from its name and from --ext.

    Parameters
    ----------
    name : str
        Such as ``frame.fits`` or ``frame.fits[SCI,1]``.
    ext : sequence of str
        Values of --ext.

    Returns
    -------
    path : str
        The file.
    ext : list of str or None
        For `~astropy_n2v.io.read_fits_images`.

    Raises
    ------
    click.UsageError
        If both name extensions.
    """
    from ..io import split_extension
    path, own = split_extension(name)
    if own is not None and ext:
        raise click.UsageError(f'--ext does not go with {printable(name)}, which names an extension itself.')
    return path, [own] if own is not None else list(ext) or None


def former_options(function):
    """Say what to do without options that once were."""
    def refuse(ctx, param, value):
        if value:
            raise click.UsageError(f'{param.opts[0]} is no option any more: {FORMER_KEYWORDS[param.name]}.')

    for name in FORMER_KEYWORDS:
        function = click.option(f'--{name.replace("_", "-")}', is_flag=True, hidden=True, expose_value=False,
                                callback=refuse)(function)
    return function


def mask_options(function):
    """Add the options that say which pixels are bad."""
    function = click.option(
        '--ignore-bits', default='0', metavar='BITS',
        help="Bits of the quality extension (DQ) that do no harm: their sum or a list, such as 16,64, or names that "
             "the file gives them, such as INTRP; 'None': all of them.")(function)
    return click.option(
        '--mask', metavar='MASK',
        help='A further mask, not zero where pixels are bad: a FITS file, FILE[EXT], or the name or number of an '
             'extension of the files themselves.')(function)


def parse_bits(text):
    """Turn text into bits; names of bits stay text, as each file has its own."""
    from astropy.nddata.bitmask import interpret_bit_flags
    if text.strip().lower() != 'none' and re.search('[A-Za-z]', text):
        return text
    try:
        return interpret_bit_flags(text)
    except (ValueError, TypeError) as error:
        raise click.BadParameter(f'{text!r} must be a sum of powers of two, a list of them, or None: {error}',
                                 param_hint='--ignore-bits') from error


def verbosity_options(function):
    """Add --quiet and -v, which work before and after the name of the command."""
    def store(ctx, param, value):
        settings = ctx.ensure_object(dict)
        settings[param.name] = max(value, settings.get(param.name, value))

    function = click.option('--quiet', '-q', is_flag=True, expose_value=False, callback=store,
                            help='Report errors only.')(function)
    return click.option('--verbose', '-v', count=True, expose_value=False, callback=store,
                        help='Tell more on standard error; -vv yet more.')(function)


# In which warnings of one kind may differ.
_NUMBER = re.compile(r'[-+]?\d[\d.]*(?:[eE][-+]?\d+)?|\b(?:nan|inf)\b')
_LONGEST = 120   # characters of a warning that is quoted


class _Handler(logging.Handler):
    """Gives log messages to a reporter."""

    def __init__(self, reporter):
        super().__init__()
        self.reporter = reporter

    def emit(self, record):
        text = f'{record.levelname.lower()}: {record.getMessage()}'
        if record.levelno == logging.WARNING:
            self.reporter.warn(text)
        else:
            self.reporter.write(text)
        if record.exc_info:
            for line in logging.Formatter().formatException(record.exc_info).splitlines():
                self.reporter.write(line)


class Reporter:
    """
    Writes results to standard output, and all else to standard error.

    Parameters
    ----------
    quiet : bool, optional
        Only errors are reported.
    verbose : int, optional
        1 to show the log, 2 to show details.
    """

    def __init__(self, quiet=False, verbose=0):
        self.quiet = bool(quiet)
        self.verbose = 0 if quiet else verbose
        self.file = ''
        self._names = []
        self._kinds = {}

    @classmethod
    @contextmanager
    def of(cls, ctx):
        """Return the reporter of a command, which shows warnings and log messages while it is in use."""
        reporter = cls(**{'quiet': False, 'verbose': 0, **ctx.ensure_object(dict)})
        logger = logging.getLogger('astropy_n2v')
        handler, level = _Handler(reporter), logger.level
        logger.setLevel(logging.ERROR if reporter.quiet else
                        {0: logging.WARNING, 1: logging.INFO}.get(reporter.verbose, logging.DEBUG))
        logger.addHandler(handler)
        try:
            with warnings.catch_warnings():
                reporter._catch_warnings()
                yield reporter
                reporter._count_warnings()
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)

    def _catch_warnings(self):
        from astropy.io.fits.verify import VerifyWarning
        from astropy.utils.exceptions import AstropyUserWarning
        warnings.simplefilter('always' if self.verbose > 1 else 'ignore')
        if not self.quiet:
            warnings.simplefilter('always', AstropyUserWarning)
            # Cards that do not follow the standard are the business of whoever wrote them.
            if not self.verbose:
                warnings.simplefilter('ignore', VerifyWarning)
                warnings.filterwarnings('ignore', 'The following header keyword is invalid', AstropyUserWarning)
        warnings.showwarning = self._show_warning

    def _show_warning(self, message, category, filename, lineno, file=None, line=None):
        prefix = f'{self.file}: ' if self.file else ''
        self.warn(f'{prefix}warning: {" ".join(str(message).split())}')

    def warn(self, text):
        """Report a warning; of those that differ in numbers and names of files only, the first."""
        anonymous = text
        for name in self._names:
            anonymous = anonymous.replace(f'{name}: ', '')
        first, files = self._kinds.setdefault(_NUMBER.sub('#', anonymous), (anonymous, []))
        files.append(self.file)
        if len(files) == 1 or self.verbose:
            self.say(text)

    def _count_warnings(self):
        """Say how often warnings came that were said once."""
        for first, files in self._kinds.values():
            more, n_files = len(files) - 1, len(set(files))
            if more and not self.verbose:
                where = f' in {n_files} files' if n_files > 1 else ''
                text = first if len(first) <= _LONGEST else f'{first[:_LONGEST]}...'
                self.say(f'{more} more warning{"s" * (more > 1)} like those above{where}; -v shows them: {text}')
        self._kinds.clear()

    def begin(self, file):
        """Name the file that warnings are about from now on."""
        from ..io import split_extension
        self.file = str(file)
        # Longest first: as the command line has it, without its directory, and without an extension in brackets.
        names = self.file, os.path.basename(self.file), os.path.basename(split_extension(file)[0])
        self._names = [name for name in names if name]

    @property
    def progress_bar(self):
        """True if progress bars are to be drawn: where somebody looks."""
        return not self.quiet and sys.stderr.isatty()

    def say(self, text):
        """Write a remark to standard error."""
        if not self.quiet:
            self.write(text)

    def write(self, text):
        """Write a line to standard error, above a progress bar if there is one."""
        from tqdm import tqdm
        tqdm.write(printable(text), file=sys.stderr)

    def error(self, text):
        """Report an error on standard error, even if quiet."""
        click.echo(printable(text), err=True)

    def result(self, *lines):
        """Print lines of a result on standard output."""
        if not self.quiet:
            click.echo('\n'.join(map(printable, lines)))
