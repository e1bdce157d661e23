# Licensed under a 3-clause BSD style license - see LICENSE
"""
Which files a batch is about.
"""

import io

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table

from astropy_n2v.batch import (
    InputFile,
    denoise_files,
    find_inputs,
    parse_shard,
    read_catalog,
    read_list,
    select_rows,
    take_shard,
)


@pytest.fixture
def tree(tmp_path):
    """Folders of files that are FITS files by their names, and others."""
    for name in ('in/b.fits', 'in/a.FIT.gz', 'in/n2/c.fts', 'in/n2/d.fits.fz', 'in/n2/.e.fits', 'in/notes.txt',
                 'in/.git/f.fits', 'in/out/g.fits', 'b.fits'):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / 'in' / 'link').symlink_to(tmp_path / 'in' / 'n2')
    return tmp_path


def test_folders(tree):
    found = find_inputs([tree / 'b.fits', tree / 'in'], exclude=tree / 'in' / 'out')
    assert found == [InputFile(str(tree / 'b.fits')), *(InputFile(str(tree / 'in' / name), folder) for name, folder in (
        ('a.FIT.gz', ''), ('b.fits', ''), ('n2/c.fts', 'n2'), ('n2/d.fits.fz', 'n2')))]
    assert find_inputs([f'{tree}/in/n2[1]'])[0] == InputFile(f'{tree}/in/n2/c.fts[1]')
    assert find_inputs([f'{tree}/in/n2/*.f*'])[0] == InputFile(f'{tree}/in/n2/c.fts')
    with pytest.raises(ValueError, match='no FITS file in the folder .*git'):
        (tree / 'in' / '.git' / 'f.fits').unlink()
        find_inputs([tree / 'in' / '.git'])


def test_results_keep_their_place(tree, tmp_path):
    records = denoise_files(find_inputs([tree / 'in' / 'n2']) + find_inputs([tree / 'in']), tmp_path / 'o')
    outputs = [record.output.relative_to(tmp_path / 'o').as_posix() for record in records]
    assert outputs[:2] == ['c_n2v.fts', 'd_n2v.fits.fz'] and 'n2/c_n2v.fts' in outputs


@pytest.mark.parametrize('folder', ['..', 'link', 'link/below'])
def test_nothing_is_written_elsewhere(tree, tmp_path, folder):
    (tmp_path / 'o').mkdir()
    (tmp_path / 'o' / 'link').symlink_to(tree / 'in')
    before = sorted(tmp_path.rglob('*'))
    (record,) = denoise_files([InputFile(str(tree / 'b.fits'), folder)], tmp_path / 'o')
    assert 'leads out of the folder of the results' in record.error and sorted(tmp_path.rglob('*')) == before


def test_names_with_folders_stay_in_the_folder_of_the_results(tmp_path):
    names = ['../../x.fits', '/etc/x.fits', '..', 'a/../../y.fits']
    for record in denoise_files(names, tmp_path / 'o', per_frame=True):
        assert record.output.parent == tmp_path / 'o' and record.output.name not in ('.', '..')


def test_lists():
    assert read_list(io.BytesIO(b'a.fits\r\n b.fits\n\nc\xff.fits')) == ['a.fits', ' b.fits', 'c\udcff.fits']
    assert read_list(io.BytesIO(b'a\nb.fits\0c.fits\0')) == ['a\nb.fits', 'c.fits']


def test_shards():
    files = list(range(10))
    shares = [take_shard(files, (i, 3)) for i in (1, 2, 3)]
    assert sorted(sum(shares, [])) == files and max(map(len, shares)) - min(map(len, shares)) == 1
    assert take_shard(files, None) == files
    for text in ('0/3', '4/3', '1', 'a/b', '-1/2', '1/0'):
        with pytest.raises(ValueError, match=f"shard must be 'i/n' .* got '{text}'"):
            parse_shard(text)


@pytest.mark.parametrize('environment, expected', [
    ({'SLURM_ARRAY_TASK_ID': '7', 'SLURM_ARRAY_TASK_MIN': '3', 'SLURM_ARRAY_TASK_COUNT': '3',
      'SLURM_ARRAY_TASK_STEP': '2'}, (3, 3)),
    ({'SLURM_ARRAY_TASK_ID': '0', 'SLURM_ARRAY_TASK_MIN': '0', 'SLURM_ARRAY_TASK_COUNT': '16'}, (1, 16)),
    ({'SGE_TASK_ID': '5', 'SGE_TASK_FIRST': '1', 'SGE_TASK_LAST': '9', 'SGE_TASK_STEPSIZE': '2'}, (3, 5)),
    ({'LSB_JOBINDEX': '2', 'LSB_JOBINDEX_END': '4', 'LSB_JOBINDEX_STEP': '1', 'SGE_TASK_ID': 'undefined'}, (2, 4))])
def test_share_of_an_array_of_jobs(monkeypatch, environment, expected):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert parse_shard('auto') == expected


def test_no_array_of_jobs():
    with pytest.raises(ValueError, match='Slurm, Grid Engine or LSF, got none'):
        parse_shard('auto')


@pytest.mark.parametrize('ending', ['ecsv', 'csv', 'txt'])
def test_catalogue(tmp_path, ending):
    path = tmp_path / f'night.{ending}'
    table = Table({'path': ['a.fits', 'sub/b.fits', '/c.fits'], 'filter': ['r', 'g', 'r'], 'exptime': [30, 300, 300]})
    table.write(path, format={'ecsv': 'ascii.ecsv', 'csv': 'ascii.csv'}.get(ending, 'ascii'))
    assert read_catalog(path) == [f'{tmp_path}/a.fits', f'{tmp_path}/sub/b.fits', '/c.fits']
    assert read_catalog(path, "filter == 'r' and exptime > 100") == ['/c.fits']


def test_tables_that_are_no_catalogue(tmp_path):
    (tmp_path / 'a.csv').write_text('name,exptime\na.fits,3\n')
    with pytest.raises(ValueError, match="a.csv must have a column 'path' with the paths of files, got name, exptime"):
        read_catalog(tmp_path / 'a.csv')
    (tmp_path / 'b.ecsv').write_text('nothing')
    with pytest.raises(ValueError, match='b.ecsv is no table that can be read'):
        read_catalog(tmp_path / 'b.ecsv')
    with pytest.raises(FileNotFoundError):
        read_catalog(tmp_path / 'c.csv')


TABLE = Table({'filter': ['r', 'g', 'i'], 'exptime': [300.0, 300.0, 10.0], 'n': [1, 2, 3], 'ok': [True, False, True],
               'seeing': MaskedColumn([1.0, 2.0, 3.0], mask=[False, True, False])})


@pytest.mark.parametrize('where, expected', [
    ("filter == 'r'", [1, 0, 0]), ("filter != 'r' and exptime >= 300", [0, 1, 0]), ('10 < exptime <= 300', [1, 1, 0]),
    ("filter in ('r', 'i')", [1, 0, 1]), ("not filter in ['r']", [0, 1, 1]), ('n not in (1, 2)', [0, 0, 1]),
    ('n == -1 or n == 3', [0, 0, 1]), ('seeing > 0', [1, 0, 1]), ('seeing not in [1]', [0, 0, 1]), ('ok', [1, 0, 1]),
    ('ok == True', [1, 0, 1]), ('n < exptime', [1, 1, 1]), ('1 < 2', [1, 1, 1]), ('n in ()', [0, 0, 0])])
def test_conditions(where, expected):
    assert select_rows(TABLE, where).tolist() == [bool(value) for value in expected]


@pytest.mark.parametrize('where', [
    '__import__("os").system("true")', 'filter.__class__ == 1', 'exptime[0] > 1', 'exptime + 1 > 2', 'airmass < 2',
    'exptime', "exptime > 'a'", 'n =', '', 'lambda: 1', '[n for n in n]', 'n is 1', 'n in exptime', 'n == None',
    '(' * 5000 + 'n' + ')' * 5000, 'not ' * 2400 + 'ok', 'n == 1' + ' or n == 1' * 2000, 'n := 1', '{n: 1} == n'])
@pytest.mark.filterwarnings('ignore::SyntaxWarning')
def test_conditions_that_are_none(where):
    with pytest.raises(ValueError, match='where must be comparisons of columns'):
        select_rows(TABLE, where)


def test_empty_table():
    assert select_rows(TABLE[:0], "filter == 'r'").shape == (0,) and np.array_equal(select_rows(TABLE[:0], 'ok'), [])
