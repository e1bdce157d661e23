# Licensed under a 3-clause BSD style license - see LICENSE
"""
Let processes that are forked after torch has computed compute as well.
"""

import os
import sys

__all__ = ['compute_after_fork']


def compute_after_fork():
    """
    Give processes that are forked from now on one thread of torch.

    A fork copies the memory of a process, but none of its threads. Where torch has computed with several, by this
    package or by others, its OpenMP runtime waits for them in the child, for ever. With one thread it needs no others.
    Processes that are spawned, and those forked before torch is imported, are not concerned.
    """
    if hasattr(os, 'register_at_fork'):   # not on Windows
        os.register_at_fork(after_in_child=_use_one_thread)


def _use_one_thread():
    # Not imported here: where it is not in memory it has not computed.
    torch = sys.modules.get('torch')
    if hasattr(torch, 'set_num_threads'):   # it is there while torch is being imported, too
        torch.set_num_threads(1)
