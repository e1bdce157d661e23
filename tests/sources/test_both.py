# Licensed under a 3-clause BSD style license - see LICENSE
"""
Sources of a frame and of its result, side by side.
"""

import numpy as np
import pytest

from astropy_n2v import denoise
from astropy_n2v.sources import compare_detections, detect_on_both


@pytest.fixture(scope='module')
def found(scene):
    """Numbers and tables of the same search."""
    frame = scene.observe(seed=6)
    clean = denoise(frame)
    options = {'false_rate': 0.5, 'psf': scene.psf, 'n_frames': 1}
    return compare_detections(frame, clean, **options), detect_on_both(frame, clean, **options)


def test_tables_have_the_sources_that_are_counted(found):
    counts, tables = found
    for row in counts:
        table = tables[row['image']]
        assert len(table) == row['n'] > 0
        assert table.meta['threshold'] == row['threshold'] and table.meta['n_false'] == row['n_false']
        assert np.all(table['significance'] >= row['threshold'])
        assert {'x', 'y', 'flux', 'flux_err', 'snr', 'flag'} <= set(table.colnames)


def test_sources_of_both_are_matched(found):
    _, tables = found
    one, other = tables.values()
    for table, others in (one, other), (other, one):
        distance = np.min(np.hypot(table['x'].value[:, None] - others['x'].value,
                                   table['y'].value[:, None] - others['y'].value), axis=1)
        np.testing.assert_array_equal(table['matched'], distance <= table.meta['fwhm'])
    assert one['matched'].any()
