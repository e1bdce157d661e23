# Licensed under a 3-clause BSD style license - see LICENSE
"""
Let processes that are forked after torch has computed compute as well.
"""

import functools
import os

__all__ = ['compute_after_fork']


@functools.cache
def compute_after_fork():
    """
    Give forked processes one thread of torch from now on.

    A fork copies the memory of a process, but none of its threads. Where torch has computed with several, its OpenMP
    runtime waits for them in the child, for ever. With one thread it needs no others. Processes that are spawned
    are not concerned.
    """
    if hasattr(os, 'register_at_fork'):   # not on Windows
        os.register_at_fork(after_in_child=_use_one_thread)


def _use_one_thread():
    import torch   # in memory: whoever asked for this uses it
    torch.set_num_threads(1)
