# Licensed under a 3-clause BSD style license - see LICENSE
"""
Several processes that train one network: ``torchrun --nproc-per-node N -m -- astropy_n2v.cli train ...``.
"""

import atexit
import gc
import os
import sys
from contextlib import contextmanager

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

__all__ = ['Processes', 'end_process']


def end_process():
    """
    End a process that torchrun started, at once; of any other, do nothing.

    Threads of the process group may still run when an interpreter ends, and then abort it now and then.
    """
    if distributed.is_torchelastic_launched():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _leave():
    """Leave the other processes, if this one has joined them."""
    if distributed.is_initialized():
        # Objects in a cycle of references that still use the group would outlive it.
        gc.collect()
        distributed.destroy_process_group()


class Processes:
    """
    The processes that train one network together, each on batches of its own.

    Values that all must agree on come from the first. Of one process, which is the default, every
    method leaves things as they are.

    Parameters
    ----------
    rank : int, optional
        Number of this process, from 0.
    size : int, optional
        Number of processes.
    device : `torch.device`, optional
        Where this process computes; by default a GPU where there is one.

    Examples
    --------
    >>> from astropy_n2v.training.processes import Processes
    >>> with Processes.of_torchrun() as processes:   # not started by torchrun: one process
    ...     processes.size, processes.share(1.5, False), processes.largest(3), processes.gather('mine')
    (1, (1.5, False), 3, ['mine'])
    """

    def __init__(self, rank=0, size=1, device=None):
        self.rank, self.size = rank, size
        self.device = device or torch.device('cuda' if torch.cuda.is_available() else 'cpu')

    @classmethod
    @contextmanager
    def of_torchrun(cls):
        """Join the processes that torchrun started, or take this one alone."""
        processes = cls._join() if distributed.is_torchelastic_launched() else cls()
        try:
            yield processes
        finally:
            _leave()

    @classmethod
    def joined(cls):
        """
        Return the processes that torchrun started, or this one alone.

        They stay together until this process ends: torchrun sets up its processes only once.

        Returns
        -------
        Processes
            As of `of_torchrun`, if this process is in it.
        """
        if not distributed.is_torchelastic_launched():
            return cls()
        if not distributed.is_initialized():
            atexit.register(_leave)
        return cls._join()

    @classmethod
    def _join(cls):
        """Join the processes that torchrun started, unless that has been done."""
        device = None
        if torch.cuda.is_available():
            local, n = int(os.environ['LOCAL_RANK']), int(os.environ['LOCAL_WORLD_SIZE'])
            if n > torch.cuda.device_count():
                raise ValueError(f'--nproc-per-node must be at most {torch.cuda.device_count()}, the number of GPUs, '
                                 f'got {n}')
            device = torch.device('cuda', local)
            torch.cuda.set_device(device)
        if not distributed.is_initialized():
            distributed.init_process_group('gloo' if device is None else 'nccl')
        return cls(distributed.get_rank(), distributed.get_world_size(), device)

    @property
    def first(self):
        """True for the process that judges, reports and writes."""
        return self.rank == 0

    def parallel(self, network):
        """Wrap a network so that its gradients are the mean of all processes."""
        return network if self.size == 1 else DistributedDataParallel(network)

    def share(self, *values):
        """Copy numbers from the first process to all others."""
        if self.size == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.broadcast(tensor, 0)
        return tuple(type(value)(shared) for value, shared in zip(values, tensor.tolist()))

    def largest(self, value):
        """Return the largest of the numbers that the processes have."""
        if self.size == 1:
            return value
        tensor = torch.tensor(value, dtype=torch.float64, device=self.device)
        distributed.all_reduce(tensor, distributed.ReduceOp.MAX)
        return type(value)(tensor.item())

    def gather(self, value):
        """Gather the values that all processes have in a list."""
        values = [value]
        if self.size > 1:
            values *= self.size
            distributed.all_gather_object(values, value)
        return values

    def check_same(self, name, value):
        """Raise a ValueError in all processes if something that has a name is not the same in all of them."""
        if any(other != value for other in self.gather(value)):
            raise ValueError(f'{name} must be the same in all processes, got others in some of them')

    def copy_weights(self, network):
        """Give a network the weights that it has in the first process."""
        if self.size > 1:
            for weight in network.state_dict().values():
                shared = weight.contiguous()
                distributed.broadcast(shared, 0)
                weight.copy_(shared)
