# Licensed under a 3-clause BSD style license - see LICENSE
"""
Batches on Dask distributed.
"""

import logging
from contextlib import contextmanager

from .jobs import count_cores

__all__ = ['open_cluster']

log = logging.getLogger(__name__)

_RETRIES = 2   # times that a file is tried again whose worker died, by Dask itself


@contextmanager
def open_cluster(address, n_jobs=1):
    """
    Open a connection to a scheduler of Dask distributed, or a cluster of this machine.

    Parameters
    ----------
    address : str
        Address of a scheduler, such as ``'tcp://10.0.0.1:8786'``, or ``'local'``: workers on this machine, which end
        with the connection.
    n_jobs : int, optional
        Number of local workers; each is a process, and they share the cores.

    Yields
    ------
    executor : concurrent.futures.Executor
        For ``denoise_files(..., executor=)``. Files of a worker that dies are given to others.
    link : str
        Address of the dashboard; empty without a dashboard.

    Raises
    ------
    ImportError
        If ``dask[distributed]`` is not installed.
    OSError
        If there is no scheduler at the address.

    Examples
    --------
    >>> from astropy_n2v.batch import denoise_files, open_cluster
    >>> with open_cluster('local', n_jobs=4) as (executor, link):    # doctest: +SKIP
    ...     denoise_files(['a.fits', 'b.fits'], 'denoised', executor=executor)
    """
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise ImportError("batches on Dask need dask[distributed]: pip install 'astropy-n2v[distributed]'") from error
    if address != 'local':
        with Client(address, timeout='30s') as client:
            yield client.get_executor(retries=_RETRIES), client.dashboard_link or ''
        return
    threads = max(1, count_cores() // n_jobs)
    # Workers are spawned, so that what they read from the environment is in time for OpenMP.
    environment = {name: str(threads) for name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS')}
    with dask.config.set({'distributed.nanny.pre-spawn-environ': environment}):
        with LocalCluster(n_workers=n_jobs, threads_per_worker=1, dashboard_address=':0', silence_logs=logging.ERROR,
                          memory_limit=None) as cluster, Client(cluster) as client:
            yield client.get_executor(retries=_RETRIES), client.dashboard_link or ''
