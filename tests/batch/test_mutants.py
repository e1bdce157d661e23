# Licensed under a 3-clause BSD style license - see LICENSE
"""
Damaged files give results or messages, and nothing else.
"""

import time

import numpy as np
import pytest
from astropy.nddata import StdDevUncertainty
from mutants import make_seeds, mutate

from astropy_n2v.batch import denoise_files

_N_MUTANTS = 200


@pytest.mark.filterwarnings('ignore')
def test_damaged_files(tmp_path, tiny_denoiser, monkeypatch):
    def copy(ccd, *arguments, **options):
        result = ccd.copy()
        result.uncertainty = StdDevUncertainty(np.ones(ccd.shape, dtype='f4'))
        return result

    monkeypatch.setattr('astropy_n2v.denoising.denoise', copy)   # files are the matter here, and not their images
    seeds = make_seeds()
    paths = []
    for n in range(_N_MUTANTS):
        rng = np.random.default_rng((20, n))
        paths.append(tmp_path / f'{n}.fits')
        paths[-1].write_bytes(mutate(seeds[n % len(seeds)], rng))
    start = time.monotonic()
    records = denoise_files(paths, tmp_path / 'out', model=tiny_denoiser, per_frame=True)
    assert time.monotonic() - start < 300
    assert 20 < sum(record.status == 'done' for record in records) < 100
    # Errors that nobody foresaw begin with their type.
    assert [record.error for record in records if record.error.split(':')[0].endswith('Error')] == []
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == sorted(
        record.output.name for record in records if record.status == 'done')


@pytest.mark.parametrize('keyword, value', [
    ('NAXIS', 2147483647), ('NAXIS2', -32), ('PCOUNT', -2880), ('ZVAL2', -32), ('ZVAL2', 2147483647)])
def test_endless_headers_and_crashes(tmp_path, keyword, value):
    content = bytearray(make_seeds()[3])
    start = content.index(keyword.encode().ljust(8) + b'=', 2880)
    content[start + 10:start + 30] = str(value).encode().rjust(20)
    (tmp_path / 'a.fits').write_bytes(content)
    (record,) = denoise_files([tmp_path / 'a.fits'], tmp_path / 'out')
    assert record.error == f'has a header with {keyword} = {value}, which FITS does not allow'
