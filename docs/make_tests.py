# Licensed under a 3-clause BSD style license - see LICENSE
"""
List the tests of a validation with their limits and the reasons for these, as the code has them.

``python docs/make_tests.py FILE``; the documentation does it when it is built.
"""

import sys
from pathlib import Path

from astropy_n2v.validation import Check
from astropy_n2v.validation.report.report import describe_limits
from astropy_n2v.validation.report.tests import TESTS


def make_table():
    """Make a list-table of all tests."""
    lines = ['.. list-table::', '    :header-rows: 1', '    :widths: 22 38 16 34', '',
             '    * - Test', '      - Question', '      - Accepted', '      - Reason']
    for test in TESTS:
        check = Check(test.name, test.title, test.question, 'not run', limits=test.limits[:2])
        unit = f' {test.unit}' if test.unit else ''
        lines += [f'    * - ``{test.name}``', f'      - {test.question}',
                  f'      - {describe_limits(check)}{unit}', f'      - {test.limits.reason}']
    return '\n'.join(lines) + '\n'


def write_tests(path):
    """Write the table into a file."""
    Path(path).write_text(make_table(), encoding='utf-8')


if __name__ == '__main__':
    write_tests(sys.argv[1])
