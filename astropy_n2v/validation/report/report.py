# Licensed under a 3-clause BSD style license - see LICENSE
"""
The report of a validation: verdicts, numbers, tables and figures, and the files that hold them.
"""

import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.table import Table

from ...utils.atomic_files import atomic_write
from ...utils.checks import require
from .schema import SCHEMA_NAME, SCHEMA_VERSION

__all__ = ['VERDICTS', 'Check', 'Report', 'judge_interval']

#: Verdicts that a check can end with.
VERDICTS = ('pass', 'fail', 'inconclusive', 'not run')


def judge_interval(value, interval, limits):
    """
    Judge a measured value by its interval: a test of equivalence.

    Parameters
    ----------
    value : float
        The estimate.
    interval : tuple of float
        Confidence interval of the estimate.
    limits : tuple of float or None
        Lowest and highest value that is acceptable; None where there is no limit.

    Returns
    -------
    str
        'pass' if all of the interval is acceptable, 'fail' if none of it is, 'inconclusive' if the data do not decide,
        'not run' if there is no value.

    Raises
    ------
    ValueError
        If the limits are in the wrong order.

    Examples
    --------
    >>> from astropy_n2v.validation import judge_interval
    >>> judge_interval(0.01, (0.008, 0.012), (-0.005, 0.005))
    'fail'
    >>> judge_interval(0.001, (-0.001, 0.003), (-0.005, 0.005))
    'pass'
    >>> judge_interval(0.004, (-0.001, 0.009), (-0.005, 0.005))
    'inconclusive'
    """
    low = -math.inf if limits[0] is None else limits[0]
    high = math.inf if limits[1] is None else limits[1]
    require(low <= high, 'limits', 'be (lowest, highest)', limits)
    lower, upper = interval
    if not all(math.isfinite(number) for number in (value, lower, upper)):
        return 'not run'
    if upper < low or lower > high:
        return 'fail'
    return 'pass' if low <= lower and upper <= high else 'inconclusive'


@dataclass
class Check:
    """
    One test of a validation, and how it ended.

    Parameters
    ----------
    name : str
        Its name, such as 'flux_bright'.
    title : str
        Its name for people.
    question : str
        The question that it answers.
    verdict : {'pass', 'fail', 'inconclusive', 'not run'}
        How it ended.
    meaning : str, optional
        Meaning for measurements on the result, in plain words.
    value : float, optional
        The measured value.
    interval : tuple of float, optional
        Its confidence interval.
    limits : tuple of float or None, optional
        The lowest and the highest acceptable value.
    unit : str, optional
        Of value, interval and limits.
    n : int, optional
        Number of sources, pixels, ... that the value rests on.
    reason : str, optional
        Why it was not run, or why it is inconclusive.
    group : str, optional
        The heading that it stands under.
    advice : str, optional
        Remedy of a failure.

    Examples
    --------
    >>> from astropy_n2v.validation import Check
    >>> Check('flux_bright', 'Flux of bright sources', 'Is it kept?', 'not run', reason='no bright source').ran
    False
    """

    name: str
    title: str
    question: str
    verdict: str
    meaning: str = ''
    value: float | None = None
    interval: tuple | None = None
    limits: tuple = (None, None)
    unit: str = ''
    n: int | None = None
    reason: str = ''
    group: str = ''
    advice: str = ''

    def __post_init__(self):
        require(self.verdict in VERDICTS, 'verdict', f'be one of {", ".join(map(repr, VERDICTS))}', self.verdict)

    @property
    def ran(self):
        """True if it was run."""
        return self.verdict != 'not run'

    def to_dict(self):
        """
        Convert the fields to what JSON can hold.

        Returns
        -------
        dict
            As in the schema of the report.
        """
        return _plain({**vars(self), 'interval': (None, None) if self.interval is None else self.interval})


@dataclass
class Report:
    """
    Verdicts, tables and images of a validation.

    Parameters
    ----------
    checks : list of Check
        The tests.
    tables : dict of `~astropy.table.Table`
        The numbers behind them, by name.
    meta : dict, optional
        Subject and manner of the validation: ``denoiser``, ``frames``, ``seed``, ``options``, ``version``, ...
    images : dict of `~numpy.ndarray`, optional
        Small images that the figures show, by name.

    Examples
    --------
    >>> from astropy.table import Table
    >>> from astropy_n2v.validation import Check, Report
    >>> check = Check('gain', 'Noise', 'Is there less?', 'pass', value=5.0, interval=(4.5, 5.5), limits=(1.1, None))
    >>> report = Report([check], {'numbers': Table({'a': [1, 2]})}, {'denoiser': 'mine'})
    >>> report.passed
    True
    >>> print(report.summary())
    mine: 1 pass
    pass          Noise: 5 (4.5 to 5.5), at least 1.1
    """

    checks: list
    tables: dict = field(default_factory=dict)
    meta: dict = field(default_factory=dict)
    images: dict = field(default_factory=dict, repr=False)

    def __getitem__(self, name):
        """The check of a name."""
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(f'no check {name!r}; there are {", ".join(check.name for check in self.checks)}')

    @property
    def passed(self):
        """True if no test failed."""
        return not self.failed

    @property
    def failed(self):
        """The names of the tests that failed."""
        return [check.name for check in self.checks if check.verdict == 'fail']

    def counts(self):
        """
        Count the tests by verdict.

        Returns
        -------
        dict of int
            Verdicts that did not occur are left out.
        """
        numbers = {verdict: sum(check.verdict == verdict for check in self.checks) for verdict in VERDICTS}
        return {verdict: number for verdict, number in numbers.items() if number}

    def audits(self):
        """
        List the findings of the audits of the results, by the name of the frame.

        Returns
        -------
        dict of str
            By the name of the frame, 'ok' or the findings, from the header of the result (see
            `astropy_n2v.audit.AuditReport.summary`).
        """
        return {frame['name']: frame['audit'] for frame in self.meta.get('frames', []) if frame.get('audit')}

    def summary(self):
        """
        Write all verdicts in a few lines of text, with the gain by brightness and findings of audits.

        Returns
        -------
        str
            A line for each test.
        """
        lines = [f'{self.meta.get("denoiser", "denoiser")}: ' + ', '.join(f'{n} {v}' for v, n in self.counts().items())]
        lines += [self.meta['headline']] if self.meta.get('headline') else []
        lines += [f'{check.verdict:<13} {check.title}: {describe_result(check)}' for check in self.checks]
        lines += [f'audit         {name}: {found}' for name, found in self.audits().items() if found != 'ok']
        return '\n'.join(lines)

    def check_table(self):
        """
        List the tests in a table.

        Returns
        -------
        `~astropy.table.Table`
            One row each: name, verdict, value, interval, limits, unit, number of data and meaning.
        """
        rows = [(check.name, check.verdict, *_numbers(check), check.unit, -1 if check.n is None else check.n,
                 check.reason or f'{check.meaning} {check.advice}'.strip()) for check in self.checks]
        names = ('name', 'verdict', 'value', 'lower', 'upper', 'lowest', 'highest', 'unit', 'n', 'meaning')
        return Table(rows=rows or None, names=names, dtype=('U32', 'U13', *5 * [float], 'U16', int, 'U500'))

    def to_dict(self):
        """
        Convert the report to numbers, text, lists and dicts, ready for JSON.

        Returns
        -------
        dict
            It follows `~astropy_n2v.validation.REPORT_SCHEMA`. NaN is None; infinite values in tables are text.
        """
        return {'schema': SCHEMA_NAME, 'schema_version': SCHEMA_VERSION, 'meta': _plain(self.meta),
                'passed': self.passed, 'checks': [check.to_dict() for check in self.checks],
                'tables': {name: table_to_dict(table) for name, table in self.tables.items()}}

    def write(self, directory, *, overwrite=False):
        """
        Write the report: ``report.html``, ``report.json``, ``tables/*.ecsv`` and ``figures/*.png``.

        Each file is written under a temporary name and renamed when it is complete.

        Parameters
        ----------
        directory : str or path-like
            Directory for the files; it is made if it does not exist.
        overwrite : bool, optional
            If true, replace the files of an earlier report.

        Returns
        -------
        `pathlib.Path`
            The page.

        Raises
        ------
        FileExistsError
            If one of the files exists and ``overwrite`` is false; then none is written.
        OSError
            If the directory cannot be written to.
        """
        from ..figures import draw_figures
        from .page import render_page
        directory = Path(directory)
        figures = draw_figures(self)
        contents = {'report.json': json.dumps(self.to_dict(), indent=1, allow_nan=False) + '\n'}
        contents |= {f'figures/{figure.name}.png': figure.light for figure in figures}
        tables = {f'tables/{name}.ecsv': table for name, table in {'checks': self.check_table(), **self.tables}.items()}
        # Last, so that who sees the page finds what it speaks of.
        contents['report.html'] = render_page(self, figures)
        refuse_existing(directory, [*contents, *tables], overwrite)
        for part in ('tables', 'figures'):
            os.makedirs(directory / part, exist_ok=True)
        for name, table in tables.items():
            with atomic_write(directory / name, overwrite=overwrite) as temporary:
                table.write(temporary, format='ascii.ecsv', overwrite=True)
        for name, content in contents.items():
            with atomic_write(directory / name, overwrite=overwrite) as temporary:
                if isinstance(content, bytes):
                    temporary.write_bytes(content)
                else:
                    temporary.write_text(content, encoding='utf-8')
        return directory / 'report.html'

    @classmethod
    def read(cls, path):
        """
        Read a report that `write` wrote; images are not part of it.

        Parameters
        ----------
        path : str or path-like
            The directory, or ``report.json`` in it.

        Returns
        -------
        Report
            The report.

        Raises
        ------
        OSError
            If there is no such file.
        ValueError
            If it is no report, or of a later version.
        """
        path = Path(path)
        path = path / 'report.json' if path.is_dir() else path
        try:
            content = json.loads(path.read_text(encoding='utf-8'))
            name, version = content['schema'], content['schema_version']
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f'{path} is not a validation report: {error}') from error
        if name != SCHEMA_NAME or version.split('.')[0] != SCHEMA_VERSION.split('.')[0]:
            raise ValueError(f'{path} has the schema {name} {version}; this version reads {SCHEMA_NAME} '
                             f'{SCHEMA_VERSION}')
        checks = [Check(**{**check, 'interval': None if check['interval'][0] is None else tuple(check['interval']),
                           'limits': tuple(check['limits'])}) for check in content['checks']]
        tables = {name: table_from_dict(table) for name, table in content['tables'].items()}
        return cls(checks, tables, content['meta'])


def refuse_existing(directory, names, overwrite):
    """Raise FileExistsError if one of the files is there and must not be replaced."""
    found = [] if overwrite else [name for name in names if os.path.lexists(Path(directory) / name)]
    if found:
        raise FileExistsError(f'{Path(directory) / found[0]} exists: use overwrite (--overwrite) to replace it')


def describe_result(check):
    """Write value, interval and limit of a check in a line of text."""
    if not check.ran:
        return check.reason
    unit = f' {check.unit}' if check.unit else ''
    text = f'{format_number(check.value)}{unit}'
    if check.interval is not None:
        text += ' ({} to {})'.format(*map(format_number, check.interval))
    return f'{text}, {describe_limits(check)}'


def describe_limits(check):
    """Describe the limits of a check."""
    low, high = check.limits
    if low is None and high is None:
        return 'no limit'
    if low is None:
        return f'at most {format_number(high)}'
    if high is None:
        return f'at least {format_number(low)}'
    if low == -high:
        return f'within ±{format_number(high)}'
    return f'{format_number(low)} to {format_number(high)}'


def format_number(value):
    """Write a number with its significant digits."""
    if value is None or not math.isfinite(value):
        return '–'
    return f'{value:.3g}' if abs(value) < 1000 else f'{value:.0f}'


def table_to_dict(table):
    """Convert a table to a dict of columns, ready for JSON."""
    columns = {}
    for name in table.colnames:
        column = table[name]
        values = column.value if isinstance(column, u.Quantity) else np.ma.getdata(column)
        columns[name] = {'unit': '' if column.unit is None else column.unit.to_string(),
                         'description': column.info.description or '', 'dtype': values.dtype.kind,
                         'values': _plain_column(np.asarray(values))}
    # Of what describes it, numbers and text.
    meta = {str(key): value for key, value in table.meta.items() if isinstance(value, (str, int, float))}
    return {'n_rows': len(table), 'meta': _plain(meta), 'columns': columns}


def table_from_dict(content):
    """Convert the dict of `table_to_dict` back to a table."""
    table = Table(meta=dict(content['meta']))
    for name, column in content['columns'].items():
        kind = {'f': float, 'i': int, 'u': int, 'b': bool}.get(column['dtype'], str)
        values = np.array([np.nan if value is None else value for value in column['values']] if kind is float
                          else column['values'], dtype=kind)
        table[name] = values
        if column['unit']:
            table[name].unit = u.Unit(column['unit'])
        table[name].info.description = column['description'] or None
    return table


def _numbers(check):
    """Value, interval and limits of a check; NaN for None."""
    pair = (None, None) if check.interval is None else check.interval
    return [np.nan if value is None else float(value) for value in (check.value, *pair, *check.limits)]


def _plain_column(values):
    """Convert a column for JSON: NaN becomes None, and what is infinite becomes text that `float` understands."""
    if values.dtype.kind != 'f':
        return _plain(values)
    return [value if math.isfinite(value) else None if math.isnan(value) else str(value) for value in values.tolist()]


def _plain(value):
    """Something as numbers, text, lists and dicts, without anything that JSON does not know."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
