# Licensed under a 3-clause BSD style license - see LICENSE
"""
``astropy-n2v summary``.
"""

import numpy as np
import pytest
from astropy.table import Table
from click.testing import CliRunner

from astropy_n2v.batch import Journal, find_unusual
from astropy_n2v.cli import main


@pytest.fixture
def journal(tmp_path):
    """Write the journal of six files: one failed, one failed at first, one is noisier than the others."""
    journal = Journal(tmp_path / 'n2v-journal.jsonl')

    def add(name, noise=5.0, error=''):
        image = {'hdu': '0', 'error': error} if error else {
            'hdu': '0', 'error': '', 'noise': noise, 'noise_after': noise / 8, 'masked': 0.01, 'audit': 'ok'}
        journal.append({'status': 'failed' if error else 'done', 'error': error, 'seconds': 1.5, 'images': [image],
                        'input': {'path': name}, 'output': {'path': f'{name}_n2v'}})

    add('a', error='no space')
    for name in 'abcde':
        add(name, 9.0 if name == 'c' else 5.0)
    add('f', error='is truncated')
    return journal.path


def run(*arguments):
    result = CliRunner().invoke(main, ['summary', *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_summary(journal, tmp_path):
    result = run(tmp_path, '--table', tmp_path / 't.ecsv', '--plot', tmp_path / 'p.png')
    assert result.exit_code == 1
    assert result.stdout.splitlines() == ['6 files: 5 done, 1 failed; 9.0 s of work', 'failed: f: is truncated',
                                          'unusual: c, HDU 0: noise 9 (median 5)']
    assert (tmp_path / 'p.png').read_bytes().startswith(b'\x89PNG')
    table = Table.read(tmp_path / 't.ecsv', format='ascii.ecsv')
    assert list(table['status']) == 5 * ['denoised'] + ['failed'] and np.isnan(table['noise'][5])
    result = run(journal, '--table', tmp_path / 't.ecsv')
    assert result.exit_code == 1 and 't.ecsv exists' in result.stderr
    assert run(journal, '--plot', journal, '--overwrite').stderr.startswith('Error: output would overwrite its input')


def test_journals_together(journal, tmp_path):
    assert run(journal, journal).stdout.startswith('12 files: 10 done, 2 failed')


def test_no_journal(tmp_path):
    result = run(tmp_path)
    assert result.exit_code == 1 and 'n2v-journal.jsonl: No such file' in result.stderr and 'Errno' not in result.stderr


def test_unusual_images():
    numbers = {'noise': [5.0] * 6, 'noise_after': [0.5] * 5 + [2.0], 'masked': [0.01] * 4 + [0.2, np.nan],
               'audit': ['ok', 'warning: flux', '', 'off', 'ok', 'ok']}
    assert find_unusual(Table(numbers)) == [
        '', 'audit warning: flux', '', '', 'masked share 0.2 (median 0.01)',
        'noise reduced by a factor of 2.5 (median 10)']
    assert find_unusual(Table(numbers)[:4]) == ['', 'audit warning: flux', '', '']   # too few to know
