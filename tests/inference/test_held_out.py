# Licensed under a 3-clause BSD style license - see LICENSE
"""
Pixels held out of training, found again by the frame.
"""

import numpy as np
import pytest

from astropy_n2v.inference.held_out import HeldOut, fingerprint


@pytest.fixture
def frames(rng):
    return [(rng.normal(size=shape).astype('f4'), rng.random(shape) < 0.1) for shape in ((600, 13), (9, 17), (9, 17))]


def test_each_frame_has_its_pixels(frames):
    held_out = HeldOut.of(frames)
    for data, pixels in frames:
        np.testing.assert_array_equal(held_out.find(data), pixels)


@pytest.mark.parametrize('change', [lambda data: data.astype('>f8'), lambda data: np.asfortranarray(data)])
def test_type_and_order_of_bytes_do_not_matter(frames, change):
    data, pixels = frames[0]
    np.testing.assert_array_equal(HeldOut.of(frames).find(change(data)), pixels)


def test_other_frames_are_not_found(frames):
    held_out, other = HeldOut.of(frames), frames[0][0].copy()
    other[-1, -1] += 1
    assert held_out.find(other) is None and held_out.find(frames[1][0].T) is None
    assert HeldOut().find(other) is None


def test_values_that_are_not_finite_identify_a_frame(frames):
    data = frames[0][0].copy()
    data[3] = np.nan
    assert fingerprint(data) == fingerprint(data.copy()) != fingerprint(frames[0][0])
