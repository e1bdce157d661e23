# Licensed under a 3-clause BSD style license - see LICENSE
import gc
import os
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from astropy_n2v import conf
from astropy_n2v.utils import scratch
from astropy_n2v.utils.sampling import subsample, subsample_where
from astropy_n2v.utils.scratch import blocks, blockwise, copy_where, count_where, every, full, scratch_for, zeros


def open_files(folder):
    """Files without a name that this process has open or mapped below a folder."""
    return [line for line in Path('/proc/self/maps').read_text().splitlines() if os.fspath(folder) in line]


@pytest.mark.skipif(not os.path.exists('/proc/self/maps'), reason='maps of memory are needed')
def test_large_arrays_are_files_without_a_name(tmp_path):
    with scratch.scratch_files(tmp_path):
        large, small = zeros((1024, 2048), float), zeros((8, 8), float)
    assert len(open_files(tmp_path)) == 1 and not list(tmp_path.iterdir())
    large[3, 4] = small[5, 6] = 7
    assert large.sum() == small.sum() == 7 and large.flags.writeable
    del large
    gc.collect()
    assert not open_files(tmp_path)


def test_memory_is_used_as_usual_without_need(tmp_path):
    for context in nullcontext(), scratch.scratch_files(None), scratch_for((64, 64), tmp_path):
        with context:
            assert not scratch.is_large((4096, 4096), float)
    with conf.set_temp('memory_limit', 1e-6), scratch_for((64, 64), tmp_path):
        assert scratch.is_large((4096, 4096), float)
        with scratch_for((8, 8), '/nowhere'):   # of an image in memory that belongs to the large one
            assert zeros((4096, 4096), bool).shape == (4096, 4096)
    assert not scratch.is_large((4096, 4096), float)


def test_the_folder_can_be_set(tmp_path):
    with conf.set_temp('memory_limit', 1e-6), conf.set_temp('scratch_directory', os.fspath(tmp_path / 'none')), \
            scratch_for((64, 64), tmp_path), pytest.raises(FileNotFoundError):
        zeros((4096, 4096), bool)


def test_a_full_disk_is_an_error_and_no_crash(tmp_path):
    with scratch.scratch_files(tmp_path), pytest.raises(OSError):
        zeros((1 << 24, 1 << 32), float)


@pytest.mark.parametrize('shape', [(7, 9), (2, 3, 5), (11,), (), (0, 4)])
def test_blocks_cover_an_array_once(shape, monkeypatch):
    monkeypatch.setattr(scratch, '_PIXELS', 18)
    array = np.zeros(shape)
    for index in blocks(shape):
        array[index] += 1
    assert (array == 1).all()
    assert (blockwise(lambda part: part + 1, array, dtype=float) == 2).all()


def test_functions_of_pixels_take_blocks(monkeypatch):
    monkeypatch.setattr(scratch, '_PIXELS', 18)
    image = np.random.default_rng(0).normal(size=(7, 9))
    where = image > 0
    assert count_where(np.logical_not, where) == np.count_nonzero(~where)
    assert every(lambda part: part > image.min() - 1, image) and not every(lambda part: part > 0, image)
    target = full(image.shape, 3, np.float32)
    copy_where(where, image, target)
    np.testing.assert_array_equal(target, np.where(where, image, 3).astype('f4'))


@pytest.mark.parametrize('size', [1, 3, 10, 63])
def test_a_sample_of_selected_pixels_needs_no_more_memory(size, monkeypatch):
    monkeypatch.setattr(scratch, '_PIXELS', 18)
    image = np.random.default_rng(0).normal(size=(7, 9))
    for where in image > 0, image > 9, image < 9:
        np.testing.assert_array_equal(subsample_where(image, where, size), subsample(image[where], size))
