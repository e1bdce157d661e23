# Licensed under a 3-clause BSD style license - see LICENSE
"""
The verdicts of the tests.
"""

import math
from numbers import Real

from .report import Check, judge_interval
from .tests import TESTS, NotMeasured, Results

__all__ = ['make_checks']


def make_checks(tables, reasons, *, limits=None, confidence=0.99):
    """
    Judge the measured values.

    Parameters
    ----------
    tables : dict of `~astropy.table.Table`
        From `~astropy_n2v.validation.report.combine.combine_frames`.
    reasons : dict of str
        Why tables are missing, by their names.
    limits : dict, optional
        Limits in place of the defaults in `~astropy_n2v.validation.report.tests.TESTS`, by the name of the test.
    confidence : float, optional
        Confidence of the intervals.

    Returns
    -------
    list of Check
        One for each test.

    Raises
    ------
    ValueError
        If ``limits`` has a test that there is not, or one is no pair of numbers in order.

    Examples
    --------
    >>> from astropy_n2v.validation.report.verdicts import make_checks
    >>> checks = make_checks({}, {'container': 'no frame'})
    >>> checks[0].name, checks[0].verdict, checks[0].reason
    ('container', 'not run', 'no frame')
    """
    limits = limits or {}
    names = [test.name for test in TESTS]
    unknown = set(limits) - set(names)
    if unknown:
        raise ValueError(f'limits must be for tests among {", ".join(names)}, got {", ".join(sorted(unknown))}')
    for name, pair in limits.items():
        if not (isinstance(pair, (tuple, list)) and len(pair) == 2
                and all(end is None or isinstance(end, Real) and not math.isnan(end) for end in pair)
                and (None in pair or pair[0] <= pair[1])):
            raise ValueError(f'limits[{name!r}] must be the lowest and the highest number, None for none, got {pair}')
    return [_judge(test, tables, reasons, tuple(limits.get(test.name, test.limits[:2])), confidence) for test in TESTS]


def _judge(test, tables, reasons, limits, confidence):
    """Make the check of one test."""
    known = {'name': test.name, 'title': test.title, 'question': test.question, 'group': test.group,
             'limits': limits, 'unit': test.unit}
    bounds = tuple(end if given is None else given for given, end in zip(limits, (-math.inf, math.inf)))
    try:
        value, low, high, n, note = test.measure(Results(tables, reasons, bounds, confidence))
    except NotMeasured as missing:
        reason = missing.args[0] or (f'this needs {test.needs}' if test.needs else 'not measured')
        return Check(verdict='not run', reason=reason, **known)
    value, interval = float(value), (float(low), float(high))
    verdict = judge_interval(value, interval, limits)
    if verdict == 'not run':
        return Check(verdict=verdict, reason='too few data for an interval', **known)
    if verdict == 'inconclusive':
        note = f'{note}The interval reaches over the limit: {test.decided_by} would decide.'
    return Check(verdict=verdict, meaning={'pass': test.passes, 'fail': test.fails}.get(verdict, ''),
                 advice=test.advice if verdict == 'fail' else '', value=value, interval=interval, n=int(n),
                 reason=note.strip(), **known)
