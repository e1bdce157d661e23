# Licensed under a 3-clause BSD style license - see LICENSE
"""
The way of the data from denoise() to the network: few functions, and no part of the package is entered twice.
"""

import sys
from pathlib import Path

import numpy as np
import pytest

import astropy_n2v
from astropy_n2v import denoise

PACKAGE = str(Path(astropy_n2v.__file__).parent)
MAX_FUNCTIONS = 12


def holds(value, size, depth=2):
    """Check if a value is, or has among its attributes or items, an image of so many pixels."""
    if isinstance(value, np.ndarray) or hasattr(value, 'numel'):
        return int(np.prod(value.shape)) >= size
    if isinstance(value, (list, tuple)):
        return any(holds(item, size, depth) for item in value)
    inside = getattr(value, '__dict__', {})
    return depth > 0 and any(holds(item, size, depth - 1) for item in list(inside.values()))


def follow(function, size, last='BlindSpotUNet.predict'):
    """
    List the functions of the package that data pass on the way from a function to the call of the last one.

    These are all that wait for the last one, and those that they called before and that returned an image.
    """
    calls, open_calls, found = [], [], []

    def trace(frame, event, value):
        code = frame.f_code
        if found or not code.co_filename.startswith(PACKAGE):
            return
        if event == 'call':
            module = '.'.join(Path(code.co_filename).relative_to(PACKAGE).with_suffix('').parts)
            call = {'name': (module, code.co_qualname), 'image': False,
                    'parent': open_calls[-1] if open_calls else None}
            calls.append(call)
            open_calls.append(call)
            if code.co_qualname == last:
                found.extend(open_calls)
        elif event == 'return':
            made = frame.f_locals.get('self') if code.co_name == '__init__' else value
            open_calls.pop()['image'] = holds(made, size)

    sys.setprofile(trace)
    try:
        function()
    finally:
        sys.setprofile(None)
    waiting = [id(call) for call in found]
    way = [call['name'] for call in calls if id(call) in waiting
           or call['image'] and call['parent'] is not None and id(call['parent']) in waiting]
    return [name for name in dict.fromkeys(way) if not name[1].endswith('>')]   # no comprehensions


@pytest.mark.parametrize('correlated', [False, True])
def test_way_to_the_network(ccd, correlated):
    data = np.asarray(ccd.data)
    if correlated:
        noise = np.random.default_rng(1).normal(0, 60, data.shape)
        data = data + noise + np.roll(noise, 1, axis=0)
    denoise(data)   # imports
    way = follow(lambda: denoise(data), data.size)
    modules = [module for i, (module, _) in enumerate(way) if i == 0 or way[i - 1][0] != module]
    assert len(way) <= MAX_FUNCTIONS + correlated, way
    assert len(modules) == len(set(modules)), modules
    assert modules[0] == 'denoising' and way[-1] == ('networks.blindspot', 'BlindSpotUNet.predict')
    # Nothing is missing: whoever follows the data meets these.
    for name in 'Container.__init__', 'find_planes', 'predict_planes', 'Denoiser.predict', 'NormalizedImage.prepare':
        assert name in [function for _, function in way]
    assert ('whiten_image' in [function for _, function in way]) == correlated
