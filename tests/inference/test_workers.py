# Licensed under a 3-clause BSD style license - see LICENSE
import multiprocessing
import os
from concurrent.futures import BrokenExecutor, CancelledError, Future, ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
import torch
from astropy.io import fits

from astropy_n2v import NoiseModel, denoise
from astropy_n2v.batch import denoise_files, denoise_fits

pytestmark = pytest.mark.filterwarnings('ignore::astropy.utils.exceptions.AstropyUserWarning')
TILE = 128   # pixels: six tiles of the image


@pytest.fixture
def image(rng):
    return rng.normal(100, 5, (200, 300)).astype('f4')


class Late:
    """An executor that runs what was submitted when its result is asked for, and counts what waits."""

    def __init__(self, error=None):
        self.waiting, self.most, self.cancelled, self.error = 0, 0, 0, error
        self._max_workers = 2

    def submit(self, function, *arguments):
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        future = Future()
        future.result = lambda: self._run(function, arguments)
        future.cancel = self._cancel
        return future

    def _run(self, function, arguments):
        self.waiting -= 1
        if self.error:
            raise self.error
        return function(*arguments)

    def _cancel(self):
        self.cancelled += 1


def test_tiles_on_workers_give_the_same_result(image, tiny_denoiser):
    expected = tiny_denoiser.predict(image, NoiseModel(5.0), tile_size=TILE)
    with ThreadPoolExecutor(3) as executor:
        found = tiny_denoiser.predict(image, NoiseModel(5.0), tile_size=TILE, executor=executor)
        np.testing.assert_array_equal(denoise(image, tiny_denoiser, tile_size=TILE, executor=executor, audit='off'),
                                      denoise(image, tiny_denoiser, tile_size=TILE, audit='off'))
    for name, values in expected.planes.items():
        np.testing.assert_array_equal(values, getattr(found, name))


@pytest.mark.slow
def test_tiles_in_other_processes(image, tiny_denoiser):
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context('spawn')) as executor:
        found = tiny_denoiser.predict(image, NoiseModel(5.0), tile_size=TILE, executor=executor)
    expected = tiny_denoiser.predict(image, NoiseModel(5.0), tile_size=TILE)
    np.testing.assert_allclose(found.mean, expected.mean, atol=1e-3)


@pytest.mark.slow
def test_tiles_on_dask(image, tiny_denoiser):
    pytest.importorskip('distributed')
    from astropy_n2v.batch import open_cluster
    with open_cluster('local', n_jobs=2) as (executor, _):
        found = tiny_denoiser.predict(image, NoiseModel(5.0), tile_size=TILE, executor=executor)
    expected = tiny_denoiser.predict(image, NoiseModel(5.0), tile_size=TILE)
    np.testing.assert_allclose(found.mean, expected.mean, atol=1e-3)


def test_few_tiles_are_in_memory_at_a_time(image, tiny_denoiser):
    executor, fractions = Late(), []
    tiny_denoiser.predict(image, NoiseModel(5.0), tile_size=TILE, executor=executor, progress=fractions.append)
    assert executor.most == 4 and executor.waiting == 0
    assert fractions == sorted(fractions) and fractions[-1] == 1 and len(fractions) > 4


def test_errors_of_workers_end_it(image, tiny_denoiser):
    executor = Late(error=RuntimeError('no memory'))
    with pytest.raises(RuntimeError, match='no memory'):
        tiny_denoiser.predict(image, NoiseModel(5.0), tile_size=TILE, executor=executor)
    assert executor.cancelled == executor.waiting > 0


@pytest.mark.parametrize('how', ['shut down', 'broken', 'dying', 'cancelled'])
def test_executors_that_do_not_work(image, tiny_denoiser, tmp_path, how):
    """The error names the parameter; of files, each has its own."""
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    if how == 'broken':
        executor = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context('spawn'))
        with pytest.raises(BrokenExecutor):
            executor.submit(os._exit, 1).result()
    elif how in ('dying', 'cancelled'):
        executor = Late(error=BrokenExecutor('gone') if how == 'dying' else CancelledError())
    kind, message = ((OSError, 'executor has lost tiles') if isinstance(executor, Late) else
                     (ValueError, 'executor must take functions, got <concurrent'))
    fits.writeto(tmp_path / 'a.fits', image)
    for call in (lambda: denoise(image, tiny_denoiser, executor=executor),
                 lambda: denoise_fits(tmp_path / 'a.fits', tmp_path / 'b.fits', tiny_denoiser, executor=executor)):
        with pytest.raises(kind, match=message):
            call()
    if how in ('shut down', 'broken'):
        (record,) = denoise_files([tmp_path / 'a.fits'], tmp_path, model=tiny_denoiser, executor=executor)
        assert record.error.startswith('the executor did not take it')


@pytest.mark.parametrize('function', [denoise, lambda image, model, executor: model.predict(image, executor=executor)])
def test_what_is_no_executor(image, tiny_denoiser, function):
    with pytest.raises(TypeError, match='executor must be a concurrent.futures.Executor, .* got 4'):
        function(image, tiny_denoiser, executor=4)


def test_workers_use_their_processors(image, tiny_denoiser, monkeypatch):
    monkeypatch.setattr('astropy_n2v.denoiser.select_device', lambda device: torch.device('cuda', 0))
    found = tiny_denoiser.predict(image, NoiseModel(5.0), tile_size=TILE, executor=Late())
    assert found.device == 'cpu'
