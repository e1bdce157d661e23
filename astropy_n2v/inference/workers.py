# Licensed under a 3-clause BSD style license - see LICENSE
"""
The network, applied to the tiles of an image: here, or on the workers of an executor.
"""

import os
import pickle
from collections import deque
from concurrent.futures import BrokenExecutor, CancelledError
from functools import lru_cache

import torch

from ..io.paths import describe_error
from ..networks import blind_moments

__all__ = ['apply_network', 'predict_orientations']


def apply_network(network, tiles, *, dtype, oriented=False, executor=None):
    """
    Predict tiles of an image, in their order.

    Parameters
    ----------
    network : BlindSpotUNet
        The network, on its device.
    tiles : iterable of tuple
        For some tiles of one shape each, the input of the network, shape (n, channels, height, width), and rows and
        columns of the inner part.
    dtype : `torch.dtype`
        Floating-point type of the network.
    oriented : bool, optional
        If true, predictions are averaged over all orientations of the image.
    executor : concurrent.futures.Executor, optional
        Where to predict; by default in this process. Its workers need this package, and use their processors.

    Yields
    ------
    mean, spread : `~numpy.ndarray`
        Blind mean and spread of the inner parts, in units of the sky noise, float32, shape (n, ny, nx).
    """
    if executor is not None:
        yield from _on_workers(network, tiles, executor, dtype, oriented)
        return
    for inputs, inner in tiles:
        with torch.inference_mode():
            if oriented:
                mean, log_spread = predict_orientations(network, inputs, inner, dtype)
            else:
                mean, log_spread = blind_moments(network.predict(inputs, inner, dtype))
            mean, spread = mean[:, 0].cpu().numpy(), log_spread.exp()[:, 0].cpu().numpy()
        yield mean, spread


def _on_workers(network, tiles, executor, dtype, oriented):
    """Do as `apply_network` on the workers of an executor."""
    content = pickle.dumps(network.cpu())
    # So many tiles are in memory at a time: a worker has its next one when it is done.
    window = 1 + (getattr(executor, '_max_workers', None) or os.cpu_count() or 1)
    running = deque()
    try:
        for inputs, inner in tiles:
            running.append(_submit(executor, content, inputs.cpu().numpy(), inner, dtype, oriented))
            if len(running) > window:
                yield _wait(running.popleft())
        while running:
            yield _wait(running.popleft())
    finally:
        for future in running:
            future.cancel()


def _submit(executor, *arguments):
    """Hand tiles over."""
    try:
        return executor.submit(_predict_sent, *arguments)
    except Exception as error:   # of many kinds: it is shut down, broken, or cannot send what it is given
        raise ValueError(f'executor must take functions, got {executor!r}, which says: '
                         f'{describe_error(error)}') from error


def _wait(future):
    """Wait for the prediction of tiles."""
    try:
        return future.result()
    except (BrokenExecutor, CancelledError) as error:
        raise OSError(f'executor has lost tiles of the image: it was shut down, or its workers died: '
                      f'{describe_error(error)}') from error


def _predict_sent(content, inputs, inner, dtype, oriented):
    """Predict tiles on a worker."""
    (result,) = apply_network(_received(content), [(torch.from_numpy(inputs), inner)], dtype=dtype, oriented=oriented)
    return result


@lru_cache(maxsize=1)
def _received(content):
    """Unpack the network that the process sent whose executor this is; once, as all tiles have the same."""
    return pickle.loads(content)


def predict_orientations(network, inputs, inner, dtype=torch.float32):
    """
    Average the prediction of the inner part of a tile over all orientations; their scatter adds to the spread.

    Parameters
    ----------
    network : BlindSpotUNet
        The network.
    inputs : tensor
        Its input, shape (n, channels, height, width).
    inner : tuple of slice
        The inner part.
    dtype : `torch.dtype`, optional
        Floating-point type of the network.

    Returns
    -------
    mean : tensor
        Blind mean of the inner part.
    log_spread : tensor
        Logarithm of its spread.
    """
    means, log_spreads = [], []
    # A hole that is not square must keep its orientation.
    for turn in (range(4) if network.hole[0] == network.hole[1] else (0, 2)):
        for flip in [], [3]:
            output = network.predict(torch.rot90(inputs, turn, dims=(2, 3)).flip(flip), dtype=dtype)
            mean, log_spread = blind_moments(torch.rot90(output.flip(flip), -turn, dims=(2, 3))[:, :, *inner])
            means.append(mean)
            log_spreads.append(log_spread)
    means, log_spread = torch.stack(means), torch.stack(log_spreads).mean(dim=0)
    return means.mean(dim=0), 0.5 * torch.log(torch.exp(2 * log_spread) + means.var(dim=0, correction=0))
