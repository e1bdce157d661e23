# Licensed under a 3-clause BSD style license - see LICENSE
"""
Processes that are made after torch has computed.
"""

import os
import subprocess
import sys

import pytest

_SCRIPT = '''
import multiprocessing
import sys
import warnings

import numpy as np

sys.path[:] = {path!r}


def work(queue, options):
    warnings.simplefilter('ignore')
    from astropy_n2v import denoise
    frame = np.random.default_rng(0).normal(100, 5, (160, 160)).astype('f4')
    queue.put(denoise(frame, **options))


if __name__ == '__main__':
    import astropy_n2v
    import torch
    torch.set_num_threads(4)
    context = multiprocessing.get_context({method!r})
    queue = context.Queue()
    if {before!r} == 'denoise':
        work(queue, {{}})
        first = queue.get()
    else:
        if {before!r} == 'load':
            astropy_n2v.Denoiser.load('default')
        with torch.inference_mode():   # as users do
            torch.nn.functional.conv2d(torch.ones(4, 8, 128, 128), torch.ones(8, 8, 3, 3)).exp().sum()
    processes = [context.Process(target=work, args=(queue, {options!r})) for _ in range(2)]
    for process in processes:
        process.start()
    results = [queue.get() for _ in processes]
    for process in processes:
        process.join()
    assert np.array_equal(*results)
    if {before!r} == 'denoise' and not {options!r}:
        assert np.array_equal(first, results[0])
    print('done')
'''


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, 'fork'), reason='there is no fork on this system')
@pytest.mark.parametrize(('method', 'before', 'options'), [
    ('fork', 'denoise', {}), ('fork', 'load', {}), ('fork', 'torch', {}),
    ('fork', 'denoise', {'model': 'adapt', 'max_steps': 2}),
    ('spawn', 'denoise', {}), ('forkserver', 'denoise', {})])
def test_denoising_in_processes(tmp_path, method, before, options):
    path = tmp_path / 'script.py'
    path.write_text(_SCRIPT.format(path=sys.path, method=method, before=before, options=options))
    # As users have it: torch takes all cores.
    environment = {name: value for name, value in os.environ.items() if name != 'OMP_NUM_THREADS'}
    done = subprocess.run([sys.executable, path], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == 'done', done.stderr


def test_forked_process_has_one_thread():
    code = (f'import os, sys; sys.path[:] = {sys.path!r}; import torch; torch.set_num_threads(3)\n'
            'import astropy_n2v\n'
            'child = os.fork()\n'
            'if not child: os._exit(torch.get_num_threads())\n'
            'print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), torch.get_num_threads())')
    if not hasattr(os, 'fork'):
        pytest.skip('there is no fork on this system')
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ['1', '3'], done.stderr
