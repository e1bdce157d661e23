# Licensed under a 3-clause BSD style license - see LICENSE
"""
Prevent deadlocks of torch in forked processes.
"""

import os
import sys

__all__ = ['compute_after_fork']


def compute_after_fork():
    """
    Limit torch to one thread in processes that are forked from now on.

    A fork copies the memory of a process, but none of its threads. After torch has computed with several threads, in
    this package or in others, its OpenMP runtime in the child waits for them forever. A single thread avoids this.
    Spawned processes, and processes forked before the import of torch, are not affected.
    """
    if hasattr(os, 'register_at_fork'):   # not on Windows
        os.register_at_fork(after_in_child=_use_one_thread)


def _use_one_thread():
    # Not imported here: a torch that is not in memory has not computed.
    torch = sys.modules.get('torch')
    if hasattr(torch, 'set_num_threads'):   # may be absent while torch is being imported
        torch.set_num_threads(1)
