# Licensed under a 3-clause BSD style license - see LICENSE
"""
Results in other programs: ``python benchmarks/readers.py [FOLDER] [--model default|tiny] [--keep OUT]``.

Denoises all FITS files below a folder, by default below ASTROPY_N2V_TEST_DATA, in one command, ``astropy-n2v denoise
FOLDER -o OUT --per-frame``, and reads each result with

* astropy: ``verify``, and CHECKSUM and DATASUM of each HDU that has them;
* fitsverify (Debian package ``fitsverify``): no more errors than it finds in the input, whose cards are kept;
* fitsio: the arrays, number types and columns that astropy reads;
* source-extractor (Debian package ``source-extractor``): detection on each image, with UNCERT as weight map. Files that
  are compressed, which it does not read, are decompressed before. Stated errors of fluxes in an aperture must be those
  that follow from UNCERT.

Prints each failure and a line for each program; exits with 1 if there is a failure. Programs that are not installed are
left out, and said to be.
"""

import argparse
import bz2
import gzip
import importlib.util
import lzma
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from astropy.io import ascii as ascii_table
from astropy.io import fits
from batches import load_model

from astropy_n2v.batch import JOURNAL_NAME, latest_entries, read_journal

__all__ = ['check_astropy', 'check_fitsio', 'check_fitsverify', 'check_results', 'check_source_extractor', 'main']

_APERTURE = 5   # pixels across
_SAME = 0.1   # part by which errors in an aperture may differ: source-extractor divides pixels at its edge


def check_astropy(path, source):
    """
    Verify a file with astropy.

    Parameters
    ----------
    path, source : path
        The result, and its input.

    Returns
    -------
    int
        How many HDUs were read.

    Raises
    ------
    AssertionError, OSError, Warning
        If it is not as it should be; the same for all checks.
    """
    with warnings.catch_warnings(), fits.open(path, checksum=True) as hdus:
        warnings.filterwarnings('error', '.*(Checksum|Datasum) verification failed')
        hdus.verify('exception')
        return len([hdu.data for hdu in hdus])


def check_fitsverify(path, source):
    """Compare the errors that fitsverify finds with those in the input; return how many are new (none)."""
    before, after = (_fitsverify(file) for file in (source, path))
    new = after - before
    assert not new, f'{sum(new.values())} errors: {"; ".join(new)[:300]}'
    return 1


def _fitsverify(path):
    """Count the errors of each kind in a file."""
    with tempfile.TemporaryDirectory() as folder:
        plain = _decompressed(path, Path(folder))
        done = subprocess.run(['fitsverify', '-e', plain], text=True, errors='replace', stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
    # Cards that were added before others change the numbers of these.
    found = Counter(re.sub(r'#\d+', '', text) for text in re.findall(r'^\*\*\* Error: *(.*)', done.stdout, re.M))
    assert sum(found.values()) >= done.returncode, f'{done.returncode} errors that it does not describe'
    return found


def check_fitsio(path, source):
    """Compare the arrays and tables of fitsio with those of astropy; return how many."""
    import fitsio
    count = 0
    with tempfile.TemporaryDirectory() as folder:
        plain = _decompressed(path, Path(folder))
        with fits.open(plain, uint=True) as hdus, fitsio.FITS(os.fspath(plain)) as others:
            assert len(hdus) == len(others)
            for i, (hdu, other) in enumerate(zip(hdus, others)):
                count += 1
                if isinstance(hdu, (fits.BinTableHDU, fits.TableHDU)):
                    assert other.get_colnames() == hdu.columns.names, f'columns of HDU {i}'
                    assert other.get_nrows() == len(hdu.data), f'rows of HDU {i}'
                elif hdu.data is not None:
                    data = other.read()
                    assert np.array_equal(data, hdu.data, equal_nan=hdu.data.dtype.kind == 'f'), f'data of HDU {i}'
    return count


def check_source_extractor(path, source):
    """Detect sources on each denoised image with UNCERT as weight map; return the number of images (planes of none)."""
    count = 0
    with tempfile.TemporaryDirectory() as folder:
        plain = _without_tiles(_decompressed(path, Path(folder)), Path(folder))
        with fits.open(plain) as hdus:
            names = [(hdu.name, hdu.ver) for hdu in hdus]
            for i, hdu in enumerate(hdus):
                if 'N2VSIGMA' in hdu.header and hdu.header['NAXIS'] == 2 and ('UNCERT', hdu.ver) in names:
                    j = names.index(('UNCERT', hdu.ver))
                    _check_errors(_detect(plain, i, j, Path(folder)), hdus[j].data)
                    count += 1
    return count


def _detect(path, image, deviation, folder):
    """Run source-extractor on an HDU with another as weight map, as the documentation does; return its table."""
    columns, table = folder / 'columns.param', folder / 'sources.cat'
    columns.write_text('X_IMAGE\nY_IMAGE\nFLUX_APER(1)\nFLUXERR_APER(1)\nFLAGS\n')
    command = ['source-extractor', f'{path}[{image}]', '-WEIGHT_TYPE', 'MAP_RMS', '-WEIGHT_IMAGE',
               f'{path}[{deviation}]', '-RESCALE_WEIGHTS', 'N', '-GAIN_KEY', 'none', '-GAIN', '0', '-PHOT_APERTURES',
               str(_APERTURE), '-PARAMETERS_NAME', columns, '-FILTER', 'N', '-CATALOG_NAME', table,
               '-VERBOSE_TYPE', 'QUIET']
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors='replace')
    assert done.returncode == 0, f'source-extractor on HDU {image}: {done.stderr.strip()[-300:]}'
    return ascii_table.read(table, format='sextractor')


def _check_errors(table, deviation):
    """Compare the errors of fluxes in apertures with those that follow from the deviations of their pixels."""
    y, x = np.indices((_APERTURE + 2, _APERTURE + 2)) - (_APERTURE + 1) / 2
    for row in table[table['FLAGS'] == 0]:
        # Pixels count from 1.
        column, line = int(round(row['X_IMAGE'])) - 1, int(round(row['Y_IMAGE'])) - 1
        half = (_APERTURE + 1) // 2
        part = deviation[line - half:line + half + 1, column - half:column + half + 1]
        if part.shape != y.shape or not np.isfinite(part).all():
            continue
        inside = np.hypot(x - (row['X_IMAGE'] - 1 - column), y - (row['Y_IMAGE'] - 1 - line)) < _APERTURE / 2
        least, most = (np.sqrt(np.pi / 4) * _APERTURE * extreme(part[inside]) for extreme in (np.min, np.max))
        error = row['FLUXERR_APER']
        assert least * (1 - _SAME) <= error <= most * (1 + _SAME), f'error {error}, UNCERT says {least} to {most}'


def _decompressed(path, folder):
    """Decompress a file that is compressed as a whole."""
    modules = {'.gz': gzip, '.bz2': bz2, '.xz': lzma}
    path = Path(path)
    if path.suffix.lower() not in modules:
        return path
    plain = folder / 'plain.fits'
    with modules[path.suffix.lower()].open(path) as file, open(plain, 'wb') as out:
        shutil.copyfileobj(file, out)
    return plain


def _without_tiles(path, folder):
    """Decompress images that are compressed tile by tile; they keep their numbers."""
    with fits.open(path) as hdus:
        if not any(isinstance(hdu, fits.CompImageHDU) for hdu in hdus):
            return path
        plain = fits.HDUList([fits.ImageHDU(hdu.data, hdu.header) if isinstance(hdu, fits.CompImageHDU) else hdu
                              for hdu in hdus])
        plain.writeto(folder / 'images.fits', output_verify='ignore')
    return folder / 'images.fits'


#: What checks a file, and the program or module that it needs.
CHECKS = {'astropy': (check_astropy, 'astropy', 'HDUs verified'),
          'fitsverify': (check_fitsverify, 'fitsverify', 'files without an error that their inputs have not'),
          'fitsio': (check_fitsio, 'fitsio', 'HDUs read as by astropy'),
          'source-extractor': (check_source_extractor, 'source-extractor', 'images with UNCERT as weight map')}


def check_results(entries, folder):
    """
    Check the results of a batch.

    Parameters
    ----------
    entries : list of dict
        Lines of its journal.
    folder : path
        The folder of the journal.

    Returns
    -------
    counts : dict
        For each program that is installed, how much it read.
    failures : list of str
        What it found.
    """
    found = {name: check for name, (check, needed, _) in CHECKS.items()
             if shutil.which(needed) or importlib.util.find_spec(needed.replace('-', '_'))}
    counts, failures = dict.fromkeys(found, 0), []
    for entry in entries:
        output = Path(folder) / entry['output']['path']
        for name, check in found.items():
            try:
                counts[name] += check(output, entry['input']['real_path'])
            except Exception as error:   # of many kinds, from many readers
                failures.append(f'{output.name}, {name}: {type(error).__name__}: {error}')
    return counts, failures


def main(arguments=None):
    """Denoise a folder and check the results; return the number of failures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('folder', nargs='?', default=os.environ.get('ASTROPY_N2V_TEST_DATA'))
    parser.add_argument('--model', choices=['default', 'tiny'], default='default',
                        help='tiny: a network of few weights, without training, and no audit of its results')
    parser.add_argument('--keep', metavar='OUT', help='folder for the results; those that are there and current stay')
    options = parser.parse_args(arguments)
    if not options.folder:
        parser.error('give a folder, or set ASTROPY_N2V_TEST_DATA to it')
    with tempfile.TemporaryDirectory() as temporary:
        out, model = options.keep or Path(temporary) / 'out', ['--model', 'default']
        if options.model == 'tiny':
            model = ['--model', Path(temporary) / 'tiny.safetensors', '--audit', 'off']
            load_model('tiny').save(model[1])
        subprocess.run([sys.executable, '-m', 'astropy_n2v.cli', 'denoise', options.folder, '-o', out, '--per-frame',
                        '--skip-existing', *model, '-q'], stderr=subprocess.DEVNULL)
        entries = latest_entries(read_journal(Path(out) / JOURNAL_NAME))
        done = [entry for entry in entries if entry['status'] == 'done']
        counts, failures = check_results(done, out)
    failures += [] if done else ['no file was denoised']
    print(f'{len(done)} of {len(entries)} files denoised; the others:')
    for entry in entries:
        if entry['status'] != 'done':
            print(f'  {Path(entry["input"]["path"]).name}: {entry["error"]}')
    for name, (_, _, what) in CHECKS.items():
        print(f'{name}: {counts[name]} {what}' if name in counts else f'{name} is not installed')
    print('\n'.join(['failures:', *failures]) if failures else 'no failure')
    return len(failures)


if __name__ == '__main__':
    sys.exit(main() > 0)
