# Licensed under a 3-clause BSD style license - see LICENSE
"""
Time and memory that large images take.
"""

from astropy_n2v.gui.cost import Cost, free_memory


def test_small_images_cost_nothing():
    assert Cost().warning((2048, 2048), 1, free=4e9) == ''


def test_memory_is_said_where_it_is_scarce():
    assert 'that is too little' in Cost().warning((4096, 4096), 1, free=0.5e9)
    assert '1.1 GB of memory (1.5 GB are free)' in Cost().warning((4096, 4096), 1, free=1.5e9)


def test_memory_is_less_where_arrays_are_in_files():
    warning = Cost().warning((20000, 20000), 1, free=8e9, in_files=True)
    assert '1.2 GB of memory (8.0 GB are free), with temporary files' in warning
    assert '20.6 GB of memory (8.0 GB are free): that is too little' in Cost().warning((20000, 20000), 1, free=8e9)


def test_time_is_learnt():
    cost = Cost()
    cost.learn((1000, 1000), 1, 100.0)
    assert '2 planes of 1000×1000 pixels take about 3 minutes' in cost.warning((1000, 1000), 2, free=64e9)


def test_small_images_teach_no_time():
    cost = Cost()
    cost.learn((64, 64), 1, 10.0)   # most of which is the loading of the model
    assert cost.warning((2048, 2048), 1, free=64e9) == ''


def test_free_memory_is_known_here():
    assert free_memory() > 1 << 20
