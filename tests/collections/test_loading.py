# Licensed under a 3-clause BSD style license - see LICENSE
"""
Sections of files, blocks of collections, tiles on disk.
"""

import pickle
import tempfile
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from astropy_n2v.collections import CollectionBlocks, TileStore, make_manifest, read_section, write_tiles
from astropy_n2v.io import read_fits_images

CUT = slice(24, 60), slice(36, 90)


@pytest.fixture
def counts(rng):
    """Make whole numbers, as a detector gives them."""
    return np.rint(rng.normal(1000, 20, (96, 128))).astype('u2')


def same(ccd, whole, key=CUT):
    assert np.array_equal(ccd.data, whole.data[key], equal_nan=True) and ccd.unit == whole.unit
    for name in ('mask', 'uncertainty'):
        part, all_of_it = (getattr(getattr(image, name), 'array', getattr(image, name)) for image in (ccd, whole))
        assert (part is None) == (all_of_it is None)
        assert part is None or np.array_equal(part, all_of_it[key])


@pytest.mark.parametrize('kind', ['plain', 'float', 'rice', 'gzip', 'bz2', 'blank'])
def test_section_is_a_part_of_the_image(tmp_path, counts, kind):
    name = {'gzip': 'a.fits.gz', 'bz2': 'a.fits.bz2'}.get(kind, 'a.fits')
    if kind == 'rice':
        fits.CompImageHDU(counts, compression_type='RICE_1', tile_shape=(16, 32)).writeto(tmp_path / name)
    elif kind == 'blank':
        data = counts.astype('i2')
        data[30:40, 50] = -1
        fits.writeto(tmp_path / name, data, fits.Header({'BLANK': -1}))
    else:
        fits.writeto(tmp_path / name, counts.astype('f4') if kind == 'float' else counts)
    (whole,) = read_fits_images(tmp_path / name)
    ccd = read_section(tmp_path / name, 1 if kind == 'rice' else 0, CUT)
    same(ccd, whole)
    assert kind != 'blank' or np.isnan(ccd.data).sum() == 10


def test_section_with_error_and_flags(tmp_path, counts, rng):
    flags = (rng.random(counts.shape) < 0.1).astype('i2')
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(counts.astype('f4'), name='SCI'),
                  fits.ImageHDU(np.sqrt(counts).astype('f4'), name='ERR'),
                  fits.ImageHDU(flags, name='DQ')]).writeto(tmp_path / 'a.fits')
    (whole,) = read_fits_images(tmp_path / 'a.fits')
    assert whole.mask is not None and whole.uncertainty is not None
    same(read_section(tmp_path / 'a.fits', 1, CUT), whole)


def test_section_of_a_cube_with_one_mask_for_all_planes(tmp_path, counts, rng):
    cube = rng.normal(size=(3, *counts.shape)).astype('f4')
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(cube, name='SCI'),
                  fits.ImageHDU((counts > 1020).astype('u1'), name='MASK')]).writeto(tmp_path / 'a.fits')
    (whole,) = read_fits_images(tmp_path / 'a.fits')
    ccd = read_section(tmp_path / 'a.fits', 1, (2, *CUT))
    same(ccd, whole, (2, *CUT))
    assert ccd.mask.any()


def test_section_of_a_raster_image(tmp_path, counts):
    Image.fromarray(counts).save(tmp_path / 'a.png')
    assert np.array_equal(read_section(tmp_path / 'a.png', 0, CUT).data, counts[CUT])


@pytest.mark.parametrize('compressed', [False, True])
def test_nothing_else_is_read(tmp_path, counts, compressed, monkeypatch):
    hdu = fits.CompImageHDU(counts, tile_shape=(16, 32)) if compressed else fits.ImageHDU(counts)
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / 'a.fits')

    def fail(self):
        raise AssertionError('all of the data are read')

    kind = fits.CompImageHDU if compressed else fits.ImageHDU
    monkeypatch.setattr(kind, 'data', property(fail))
    assert read_section(tmp_path / 'a.fits', 1, CUT).shape == (36, 54)


def test_sections_of_real_files(data_path):
    for path in sorted((data_path / 'nomtam_m13').glob('*.fits*'))[:5]:
        for ext in (0, 1):
            with fits.open(path) as hdus:
                if ext >= len(hdus) or not hdus[ext].is_image or hdus[ext].shape == ():
                    continue
            (whole,) = read_fits_images(path, ext)
            same(read_section(path, ext, (slice(100, 131), slice(7, 90))), whole, (slice(100, 131), slice(7, 90)))


def test_parts_that_the_header_names(tmp_path, rng):
    data = rng.normal(500, 20, (96, 128)).astype('f4')
    data[:, 112:] = rng.normal(100, 3, (96, 16))
    cards = fits.Header({'DATASEC': '[1:112,1:96]', 'BIASSEC': '[113:128,1:96]', 'TRIMSEC': '[1:500,1:96]'})
    fits.writeto(tmp_path / 'a.fits', data, cards)
    ccd = read_section(tmp_path / 'a.fits', 0, (slice(32, 96), slice(64, 128)))
    assert ccd.header['DATASEC'] == '[1:48,1:64]' and ccd.header['BIASSEC'] == '[49:64,1:64]'
    assert ccd.header['TRIMSEC'] == '[1:500,1:96]'   # of another frame
    ccd = read_section(tmp_path / 'a.fits', 0, (slice(0, 64), slice(0, 64)))
    assert 'DATASEC' not in ccd.header and 'BIASSEC' not in ccd.header and ccd.mask is None
    assert read_section(tmp_path / 'a.fits', 0, (slice(0, 64), slice(112, 128))).mask.all()
    # An overscan that is all of the frame is none, as for denoise().
    fits.writeto(tmp_path / 'b.fits', data, fits.Header({'BIASSEC': '[1:128,1:96]'}))
    assert read_section(tmp_path / 'b.fits', 0, (slice(0, 64), slice(0, 64))).mask is None


@pytest.fixture
def collection(tmp_path, rng):
    """Make a large image, a small one, and one of two planes."""
    for name, shape in ('large', (300, 200)), ('small', (40, 50)), ('cube', (2, 64, 150)):
        fits.writeto(tmp_path / f'{name}.fits', rng.normal(500, 10, shape).astype('f4'))
    return make_manifest(tmp_path)


def test_an_epoch_has_all_images(collection):
    blocks = CollectionBlocks(collection, block_size=100)
    images = [blocks.place(n)[0] for n in range(len(blocks))]
    names = {i: path.rpartition('/')[2] for i, (path, _, _) in enumerate(blocks.images)}
    assert sorted(names[i] for i in images) == ['cube.fits'] * 4 + ['large.fits'] * 6 + ['small.fits']
    assert {section[0] for image, section in map(blocks.place, range(len(blocks))) if names[image] == 'cube.fits'} \
        == {0, 1}


def test_all_pixels_are_seen_in_time_and_mosaics_keep_their_phase(collection):
    blocks = CollectionBlocks(collection, block_size=100)
    large = next(i for i, (path, _, _) in enumerate(blocks.images) if 'large' in path)
    seen = np.zeros((300, 200), dtype=int)
    for n in range(6 * len(blocks)):
        image, section = blocks.place(n)
        if image == large:
            seen[section] += 1
            assert all(part.start % 12 == 0 and 100 <= part.stop - part.start <= 112 for part in section)
    assert seen.min() > 0


def test_order_follows_from_the_seed(collection):
    def places(**options):
        blocks = CollectionBlocks(collection, block_size=100, **options)
        return [blocks.place(n) for n in range(2 * len(blocks))]

    assert places() == places(seed=0) != places(seed=1)
    n = len(places()) // 2
    assert places()[:n] != places()[n:]
    blocks = CollectionBlocks(collection, block_size=100)
    other = pickle.loads(pickle.dumps(blocks))
    assert [other.place(n) for n in (17, 3)] == [blocks.place(n) for n in (17, 3)]
    assert np.array_equal(other.planes(3)[0].values, blocks.planes(3)[0].values)


def test_noise_of_an_image_is_measured_once(collection):
    blocks = CollectionBlocks(collection, block_size=100)
    noises = {}
    for n in range(2 * len(blocks)):
        (plane,) = blocks.planes(n)
        image, section = blocks.place(n)
        noises.setdefault((image, section[:-2]), set()).add(id(plane.noise))
    assert all(len(found) == 1 for found in noises.values())
    assert blocks._own_noise.cache_info().misses == len(noises) == 4
    assert float(plane.noise.variance(500)) == pytest.approx(100, rel=0.1)


def test_uncertainty_is_the_noise(tmp_path, rng):
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(rng.normal(500, 10, (96, 96)), name='SCI'),
                  fits.ImageHDU(np.full((96, 96), 10.5), name='ERR')]).writeto(tmp_path / 'a.fits')
    (plane,) = CollectionBlocks(make_manifest(tmp_path), block_size=64).planes(0)
    assert plane.noise.source == 'uncertainty'
    assert np.median(np.sqrt(plane.noise.variance(500))) == pytest.approx(10.5, rel=0.01)


def test_given_noise(collection):
    (plane,) = CollectionBlocks(collection, block_size=100, gain=1.0, readnoise=3.0).planes(0)
    assert plane.noise.gain == pytest.approx(1.0)


def test_block_without_anything_to_train_on(tmp_path, rng):
    data = rng.normal(500, 10, (64, 128))
    data[:, :80] = np.nan
    fits.writeto(tmp_path / 'a.fits', data)
    blocks = CollectionBlocks(make_manifest(tmp_path), block_size=64)
    found = {blocks.place(n)[1][1].start: blocks.planes(n) for n in range(2)}
    assert found[min(found)] == [] and len(found[max(found)]) == 1


def test_bad_options(collection):
    with pytest.raises(ValueError, match='at least one row'):
        CollectionBlocks(collection[:0])
    with pytest.raises(ValueError, match='block_size must be an integer from 32 on'):
        CollectionBlocks(collection, block_size=8)


def test_file_that_is_gone(collection, tmp_path):
    blocks = CollectionBlocks(collection, block_size=100)
    for name in ('large', 'small', 'cube'):
        (tmp_path / f'{name}.fits').unlink()
    with pytest.raises(FileNotFoundError):
        blocks.planes(0)


@pytest.mark.parametrize('form', ['npy', 'zarr'])
class TestTiles:
    def store(self, tmp_path, form, data, **options):
        if form == 'zarr':
            pytest.importorskip('zarr')
        fits.writeto(tmp_path / 'a.fits', data)
        write_tiles(make_manifest(tmp_path), tmp_path / 'tiles', form=form, **options)
        return TileStore(tmp_path / 'tiles')

    def test_tiles_are_parts_of_the_image(self, tmp_path, form, counts):
        store = self.store(tmp_path, form, counts, size=64, stride=32)
        seen = np.zeros(counts.shape, dtype=int)
        for i in range(len(store)):
            y, x = store.place(i)
            assert np.array_equal(store.data(i), counts[y:y + 64, x:x + 64]) and store.data(i).dtype == np.uint16
            seen[y:y + 64, x:x + 64] += 1
        assert len(store) == 6 and seen.min() == 1
        assert store.image(0)['path'].endswith('a.fits')

    def test_last_tiles_end_with_the_image(self, tmp_path, form, counts):
        store = self.store(tmp_path, form, counts[:90, :50], size=64, stride=60)
        assert [store.place(i) for i in range(len(store))] == [(0, 0), (26, 0)]
        assert store.data(1).shape == (64, 50)

    def test_normalization_is_inverted_exactly(self, tmp_path, form, rng):
        # Five decades, negative values, and pixels that do not count.
        data = (rng.normal(3, 5, (96, 96)) + 10 ** rng.uniform(-2, 5, (96, 96)) * (rng.random((96, 96)) < 0.1))
        data = data.astype('f4')
        data[10, 10:20] = np.nan
        store = self.store(tmp_path, form, data, size=64, stride=32)
        for i in range(len(store)):
            z, bad = store.normalized(i), store.mask(i)
            back = store.denormalized(i, z).astype('f4')
            assert np.array_equal(back[~bad], store.data(i)[~bad]) and np.isnan(z[bad]).all()
        assert store.mask(0).sum() >= 10

    def test_files_of_one_content_and_files_that_cannot_be_read(self, tmp_path, form, counts):
        fits.writeto(tmp_path / 'b.fits', counts)
        (tmp_path / 'c.fits').write_bytes(b'junk')
        store = self.store(tmp_path, form, counts, size=64, stride=64)
        assert [Path(image['path']).name for image in store.images] == ['a.fits', 'b.fits']
        assert np.array_equal(store.data(0), store.data(len(store) // 2))

    def test_options(self, tmp_path, form, counts):
        with pytest.raises(ValueError, match='stride must be at most size'):
            self.store(tmp_path, form, counts, size=16, stride=17)


@settings(max_examples=40, deadline=None)
@given(dtype=st.sampled_from(['u1', 'i2', 'u2', 'i4', 'f4', 'f8']), planes=st.integers(0, 2),
       height=st.integers(8, 70), width=st.integers(8, 70), size=st.integers(12, 40), step=st.floats(0.4, 1),
       level=st.integers(0, 200), noise=st.floats(0.5, 50), holes=st.booleans(), seed=st.integers(0, 99))
def test_images_come_back_from_tiles_exactly(dtype, planes, height, width, size, step, level, noise, holes, seed):
    """Of any type and shape: integers and single precision to the last bit, double to its rounding errors."""
    rng = np.random.default_rng(seed)
    shape = (planes, height, width)[planes == 0:]
    kind = np.dtype(dtype)
    data = rng.normal(level, noise, shape)
    if kind.kind in 'iu':
        data = np.rint(np.clip(data, np.iinfo(kind).min, np.iinfo(kind).max))
    elif holes:
        data[..., :3, 2:5] = np.nan
    data = data.astype(kind)
    with tempfile.TemporaryDirectory() as directory:
        fits.writeto(Path(directory) / 'a.fits', data)
        store = write_tiles(make_manifest(directory), Path(directory) / 'tiles', size=size,
                            stride=max(1, round(step * size)))
        seen = np.zeros(shape, dtype=bool)
        for i in range(len(store)):
            tile, z, bad = store.data(i), store.normalized(i), store.mask(i)
            key = *store.image(i)['plane'], *(slice(start, start + n) for start, n in zip(store.place(i), tile.shape))
            assert tile.dtype == kind and np.array_equal(tile, data[key], equal_nan=True)
            back = store.denormalized(i, z)
            assert np.array_equal(np.isnan(back), bad) and not np.isnan(tile[~bad].astype(float)).any()
            if dtype == 'f8':
                assert np.allclose(back[~bad], tile[~bad], rtol=0, atol=8 * np.spacing(np.nanmax(np.abs(data))))
            else:
                back = np.rint(back) if kind.kind in 'iu' else back
                assert np.array_equal(back[~bad].astype(kind), tile[~bad])
            seen[key] = True
        assert seen.all()


def test_directories_that_are_no_store(tmp_path, counts):
    with pytest.raises(OSError):
        TileStore(tmp_path)
    (tmp_path / 'tiles.json').write_text('{"format": "other", "version": 1}')
    with pytest.raises(ValueError, match='is no store of tiles'):
        TileStore(tmp_path)
    fits.writeto(tmp_path / 'a.fits', counts)
    with pytest.raises(ValueError, match="form must be 'npy' or 'zarr'"):
        write_tiles(make_manifest(tmp_path), tmp_path / 'tiles', form='hdf5')
    with pytest.raises(FileExistsError):
        write_tiles(make_manifest(tmp_path), tmp_path)
