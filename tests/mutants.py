# Licensed under a 3-clause BSD style license - see LICENSE
"""
FITS files with random damage, for tests and benchmarks.
"""

import io

import numpy as np
from astropy.io import fits

__all__ = ['make_seeds', 'mutate']

_BLOCK, _CARD = 2880, 80   # bytes
# Values that break programs: too large, negative, none, of another kind.
_VALUES = (b'0', b'-1', b'1', b'99999999999', b'2147483647', b'1e30', b'nan', b"'x'", b'T', b'', b'65536', b'-32',
           b'16', b"'\xff\x00'", b'1.5')


def make_seeds():
    """Small files of the kinds that there are: images, several extensions, tables, compressed tiles."""
    rng = np.random.default_rng(0)
    data = rng.normal(100, 5, (24, 32)).astype('f4')
    lists = [
        [fits.PrimaryHDU(data, fits.Header({'BUNIT': 'adu', 'GAIN': 1.9, 'CRVAL1': 10.0, 'CTYPE1': 'RA---TAN'}))],
        [fits.PrimaryHDU((data * 10).astype('u2'))],
        [fits.PrimaryHDU(), fits.ImageHDU(data, name='SCI'), fits.ImageHDU(np.full((24, 32), 5.0), name='ERR'),
         fits.ImageHDU(np.zeros((24, 32), 'i2'), name='DQ'),
         fits.BinTableHDU.from_columns([fits.Column('A', 'J', array=np.arange(3))], name='TAB')],
        [fits.PrimaryHDU(), fits.CompImageHDU(data, compression_type='RICE_1', tile_shape=(8, 32))],
        [fits.PrimaryHDU(), fits.CompImageHDU((data * 10).astype('i2'), compression_type='GZIP_1')],
        [fits.PrimaryHDU(np.stack([data, data]))],
    ]
    seeds = []
    for hdus in lists:
        buffer = io.BytesIO()
        fits.HDUList(hdus).writeto(buffer, checksum=True)
        seeds.append(buffer.getvalue())
    return seeds


def mutate(seed, rng):
    """
    Damage a file.

    Parameters
    ----------
    seed : bytes
        The file.
    rng : `~numpy.random.Generator`
        Decides where and how, one to three times.

    Returns
    -------
    bytes
        The damaged file.
    """
    content = bytearray(seed)
    for _ in range(rng.integers(1, 4)):
        _DAMAGES[rng.integers(len(_DAMAGES))](content, rng)
    return bytes(content)


def _change_bytes(content, rng):
    for _ in range(rng.integers(1, 20)):
        if content:
            content[rng.integers(len(content))] = rng.integers(256)


def _cut(content, rng):
    del content[rng.integers(len(content) + 1):]


def _drop_block(content, rng):
    start = _BLOCK * rng.integers(len(content) // _BLOCK + 1)
    del content[start:start + _BLOCK]


def _repeat_block(content, rng):
    start = _BLOCK * rng.integers(len(content) // _BLOCK + 1)
    content[start:start] = content[start:start + _BLOCK]


def _cards(content):
    return [i for i in range(0, len(content) - _CARD + 1, _CARD) if content[i + 8:i + 10] == b'= ']


def _change_value(content, rng):
    cards = _cards(content)
    if cards:
        start = int(rng.choice(cards))
        value = _VALUES[rng.integers(len(_VALUES))]
        content[start + 10:start + _CARD] = value.rjust(20).ljust(_CARD - 10)


def _swap_cards(content, rng):
    cards = _cards(content)
    if len(cards) > 1:
        one, other = (int(i) for i in rng.choice(cards, 2, replace=False))
        content[one:one + _CARD], content[other:other + _CARD] = content[other:other + _CARD], content[one:one + _CARD]


def _drop_card(content, rng):
    cards = _cards(content)
    if cards:
        start = int(rng.choice(cards))
        content[start:start + _CARD] = b' ' * _CARD


# Values of cards decide most, so they are changed most often.
_DAMAGES = (_change_bytes, _cut, _drop_block, _repeat_block, _change_value, _change_value, _change_value, _swap_cards,
            _drop_card)
