# Licensed under a 3-clause BSD style license - see LICENSE
"""
FITS files that break rules, and those that cannot be read.
"""

import errno
import gzip
import io
import warnings
import zipfile

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty, VarianceUncertainty
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astropy_n2v import denoise
from astropy_n2v.io import open_decompressed, process_fits, read_fits_images

CARDS = {
    'newline in a text': b"ORIGIN  = 'CASA 4.7.0-REL (r38335)\n'",
    'newline in a comment': b"ORIGIN  = 'CASA' / a\nb",
    'tab': b"OBJECT  = 'M\t31'",
    'NUL behind a text': b"OBJECT  = 'M31'\0\0\0\0",
    'NUL in history': b'HISTORY abc\0\0\0',
    'newline in history': b'HISTORY abc\n',
    'newline in a comment card': b'COMMENT abc\ndef',
    'DEL': b"OBJECT  = 'M31\x7f'",
    'newline behind a number': b'EXPTIME = 30.0\n',
    'NUL for a value': b'OBJECT  = \0',
    'hierarch': b"HIERARCH ESO DET CHIP NAME = 'a\tb' / c\x01",
    'Latin': b"OBSERVER= 'Andr\xe9'",
    'UTF-8': "OBSERVER= 'André'".encode(),
    'in a keyword': b"OB\tJECT = 'M31'",
    'NUL card': bytes(80),
    'long text': b"LONGTEXT= 'abc\t&'".ljust(80) + b"CONTINUE  'def\n'",
    'no keyword': b'        abc\n',
}


def halve(ccd, **kwargs):
    result = CCDData(np.asarray(ccd.data / 2, dtype='f4'), unit=ccd.unit, meta=ccd.meta.copy(),
                     uncertainty=StdDevUncertainty(np.ones(ccd.shape, dtype='f4')))
    result.meta['N2VTEST'] = 1
    result.meta.add_history('halved')
    return result


def header_cards(content, start=0):
    """Return the cards of the first header that begins at or after a byte, without blank ones at its end."""
    cards = []
    while content[start:start + 80].rstrip() != b'END':
        cards.append(content[start:start + 80])
        start += 80
    return cards


def break_header(path, card, *, number=-1, last=False):
    """Put bytes in the place of the cards BREAK, or at the end of the header that has them."""
    content = path.read_bytes()
    cards = [card[i:i + 80].ljust(80) for i in range(0, len(card), 80)]
    while (at := content.find(b'BREAK   =')) >= 0:
        start = content.rfind(b'SIMPLE', 0, at) if content.rfind(b'XTENSION=', 0, at) < 0 else \
            content.rfind(b'XTENSION=', 0, at)
        old = header_cards(content, start)
        length = -(-80 * (len(old) + 1) // 2880) * 2880
        i = [c.startswith(b'BREAK   =') for c in old].index(True)
        new = [*old[:i], *old[i + 1:], *cards] if last else [*old[:i], *cards, *old[i + 1:]]
        header = b''.join([*new, b'END'.ljust(80)])
        content = content[:start] + header.ljust(-(-len(header) // 2880) * 2880) + content[start + length:]
    path.write_bytes(content)


def make_file(path, card, *, where='primary', last=False, kind=fits.ImageHDU):
    data = np.arange(1024, dtype='f4').reshape(32, 32)
    header = fits.Header({'BUNIT': 'adu', 'BREAK': 1, 'OTHER': 2})
    header.add_history('first')
    if where == 'primary':
        fits.PrimaryHDU(data, header).writeto(path)
    elif where == 'inherited':
        fits.HDUList([fits.PrimaryHDU(None, header), kind(data, name='SCI')]).writeto(path)
    else:
        fits.HDUList([fits.PrimaryHDU(), kind(data, header, name='SCI'), fits.ImageHDU(data, header, name='OTHER')]
                     ).writeto(path)
    break_header(path, card, last=last)


@pytest.mark.parametrize('last', [True, False])
@pytest.mark.parametrize('where', ['primary', 'extension', 'inherited'])
@pytest.mark.parametrize('kind', CARDS)
def test_forbidden_cards_stay_byte_by_byte(tmp_path, kind, where, last):
    path, output = tmp_path / 'a.fits', tmp_path / 'b.fits'
    make_file(path, CARDS[kind], where=where, last=last)
    assert process_fits(path, output, halve).denoised == ['0 (PRIMARY,1)' if where == 'primary' else '1 (SCI,1)']
    before, after = path.read_bytes(), output.read_bytes()
    start = 2880 if where == 'extension' else 0
    old, new = header_cards(before, start), header_cards(after, start)
    if where == 'inherited':   # the primary HDU is copied as it is
        assert new == old
        return
    while not mended(old[-1]).strip():
        old.pop()   # padding
    own = [c for c in new if c[:8] != b'N2VTEST ' and b'halved' not in c and b'astropy_n2v' not in c]
    skipped = (b'BITPIX', b'EXTEND', b'XTENSION')
    assert [c for c in own if not c.startswith(skipped)] == [c for c in old if not c.startswith(skipped)]
    np.testing.assert_array_equal(read_quietly(output, 0 if where == 'primary' else 1),
                                  np.arange(1024).reshape(32, 32) / 2)


def read_quietly(path, ext=None):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return fits.getdata(path, ext)


def mended(card):
    return bytes(c if 32 <= c < 127 else 32 for c in card)


@pytest.mark.parametrize('kind', CARDS)
def test_forbidden_cards_of_compressed_images(tmp_path, kind):
    path, output = tmp_path / 'a.fits.fz', tmp_path / 'b.fits.fz'
    make_file(path, CARDS[kind], where='extension', kind=fits.CompImageHDU)
    process_fits(path, output, halve, ext='SCI')
    with warnings.catch_warnings(), fits.open(output) as hdus:
        warnings.simplefilter('ignore')
        assert hdus['SCI'].header['N2VTEST'] == 1 and hdus['SCI'].header['OTHER'] == 2
        np.testing.assert_array_equal(hdus['SCI'].data, np.arange(1024).reshape(32, 32) / 2)
    if kind not in ('NUL card', 'no keyword'):   # blank ones, which astropy leaves out of compressed images
        assert CARDS[kind] in output.read_bytes()


@given(text=st.binary(min_size=1, max_size=60), last=st.booleans(),
       where=st.sampled_from(['primary', 'extension', 'inherited']),
       start=st.sampled_from([b"OBJECT  = 'x", b'EXPTIME = 3', b'HISTORY ', b'COMMENT ', b'GAIN    = ', b'']))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_in_a_card(tmp_path, text, where, last, start):
    path, output = tmp_path / 'a.fits', tmp_path / 'b.fits'
    for old in path, output:
        old.unlink(missing_ok=True)
    make_file(path, start + text, where=where, last=last)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')   # some are no cards at all
        process_fits(path, output, halve)
        data = read_quietly(output, 0 if where == 'primary' else 1)
        np.testing.assert_array_equal(data, np.arange(1024).reshape(32, 32) / 2)


def test_forbidden_cards_of_a_compressed_file(tmp_path):
    make_file(tmp_path / 'a.fits', CARDS['tab'])
    (tmp_path / 'a.fits.gz').write_bytes(gzip.compress((tmp_path / 'a.fits').read_bytes()))
    process_fits(tmp_path / 'a.fits.gz', tmp_path / 'b.fits.gz', halve)
    assert CARDS['tab'] in gzip.decompress((tmp_path / 'b.fits.gz').read_bytes())


def test_checksum_of_forbidden_cards(tmp_path):
    path, output = tmp_path / 'a.fits', tmp_path / 'b.fits'
    data = np.arange(1024, dtype='f4').reshape(32, 32)
    for n in range(20):   # sums of many kinds
        fits.PrimaryHDU(data, fits.Header({'BREAK': 1, 'N': n})).writeto(path, checksum=True, overwrite=True)
        break_header(path, CARDS['tab'])
        process_fits(path, output, halve, overwrite=True)
        assert CARDS['tab'] in output.read_bytes()
        # Not by astropy, which mends what it reads: the sum of all words of an HDU is "minus zero".
        total = int(np.frombuffer(output.read_bytes()[:2880 + 5760], '>u4').sum(dtype=np.uint64))
        assert total % 0xffffffff == 0 and total > 0


def test_values_with_forbidden_characters_are_read(tmp_path):
    make_file(tmp_path / 'a.fits', b'GAIN    = 1.9\n')
    assert read_fits_images(tmp_path / 'a.fits')[0].header['GAIN'] == 1.9


@pytest.mark.parametrize('kind', CARDS)
def test_forbidden_cards_of_a_container(kind, tmp_path, tiny_denoiser, rng):
    fits.writeto(tmp_path / 'a.fits', rng.normal(100, 5, (40, 40)).astype('f4'), fits.Header({'BREAK': 1}))
    break_header(tmp_path / 'a.fits', CARDS[kind])
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        with fits.open(tmp_path / 'a.fits') as hdus:
            frame = CCDData(hdus[0].data, unit='adu', meta=hdus[0].header)
        known = len(frame.meta)
        result = denoise(frame, tiny_denoiser)
    assert 'N2VVERS' in result.meta and len(result.meta) > known and len(frame.meta) == known


def compress_lzw(data):
    """Compress as compress(1) does, with codes of nine bits and without learning any."""
    bits = ''.join(f'{byte:09b}'[::-1] for byte in data)
    return b'\x1f\x9d\x90' + bytes(int(bits[i:i + 8][::-1], 2) for i in range(0, len(bits), 8))


@pytest.mark.parametrize(('compress', 'message'), [
    (compress_lzw, 'compressed with compress .*with uncompress or gzip -d'),
    (lambda data: b'\x28\xb5\x2f\xfd' + data, 'compressed with zstd.*zstd -d')])
def test_compression_that_is_not_read(tmp_path, compress, message):
    path = tmp_path / 'a.fits.Z'
    fits.writeto(tmp_path / 'plain.fits', np.ones((16, 16), dtype='f4'))
    path.write_bytes(compress((tmp_path / 'plain.fits').read_bytes()[:5000]))
    with pytest.raises(OSError, match=message):
        process_fits(path, tmp_path / 'b.fits', halve)
    assert not (tmp_path / 'b.fits').exists()


def test_zip(tmp_path):
    fits.writeto(tmp_path / 'plain.fits', np.ones((16, 16), dtype='f4'))
    with zipfile.ZipFile(tmp_path / 'a.zip', 'w') as archive:
        archive.write(tmp_path / 'plain.fits', 'plain.fits')
    with pytest.raises(OSError, match='ZIP archive.*unzip'):
        read_fits_images(tmp_path / 'a.zip')


@pytest.mark.parametrize('compress', [bytes, gzip.compress])
@pytest.mark.parametrize('card', [b'SIMPLE  =                    F / by hand', b'SIMPLE  = F', b'SIMPLE  = F\0'])
def test_files_that_say_they_are_not_standard(tmp_path, card, compress):
    stream = io.BytesIO()
    fits.PrimaryHDU(np.ones((16, 16), dtype='f4')).writeto(stream)
    path = tmp_path / 'a.fits'
    path.write_bytes(compress(card.ljust(80) + stream.getvalue()[80:]))
    for function in (read_fits_images, lambda path: process_fits(path, tmp_path / 'b.fits', halve)):
        with pytest.raises(OSError, match='a.fits says SIMPLE = F: .*change the F in the first card'):
            function(path)


def test_uncertainty_from_elsewhere(tmp_path):
    data = np.arange(1024, dtype='f4').reshape(32, 32)
    fits.writeto(tmp_path / 'a.fits', data)
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(data + 4, name='VAR')]).writeto(tmp_path / 'e.fits')
    seen = []

    def remember(ccd):
        seen.append(ccd.uncertainty)
        return halve(ccd)

    process_fits(tmp_path / 'a.fits', tmp_path / 'b.fits', remember, uncertainty=f'{tmp_path / "e.fits"}[VAR]')
    assert isinstance(seen[0], VarianceUncertainty)
    np.testing.assert_array_equal(seen[0].array, data + 4)
    with pytest.raises(ValueError, match="uncertainty must be a file or an extension, got 'NONE'"):
        process_fits(tmp_path / 'a.fits', tmp_path / 'c.fits', remember, uncertainty='NONE')


def test_full_disk_is_no_damage_of_a_compressed_file(tmp_path, monkeypatch):
    class Full(io.BytesIO):
        def write(self, content):
            raise OSError(errno.ENOSPC, 'No space left on device')

    (tmp_path / 'a.fits.gz').write_bytes(gzip.compress(bytes(1 << 25)))
    monkeypatch.setattr('astropy_n2v.io.paths._IN_MEMORY', 1)
    monkeypatch.setattr('astropy_n2v.io.paths.temporary_file', lambda folder: Full())
    with pytest.raises(OSError, match='No space left') as caught:
        open_decompressed(tmp_path / 'a.fits.gz', tmp_path)
    assert 'damaged' not in str(caught.value)
