# Licensed under a 3-clause BSD style license - see LICENSE
"""
Common inputs of the measures of validation: noise of pixels, positions.
"""

import numpy as np
import pytest
from astropy.table import Table

from astropy_n2v import NoiseModel
from astropy_n2v.photometry.inputs import noise_sigma, position_array
from astropy_n2v.simulate import make_psf
from astropy_n2v.validation import draw_sources, measure_completeness, render_sources


@pytest.mark.parametrize('counts', [1, 5, 50])
def test_photon_noise_does_not_go_with_the_noise_of_the_pixel(rng, counts):
    """Else the mean of noise over its standard deviation would not be 0."""
    noise = NoiseModel(1.0, gain=1.0)
    data = rng.poisson(counts, (500, 500)) + rng.normal(0, 1, (500, 500))
    pulls = (data - counts) / noise_sigma(noise, data)
    assert abs(pulls.mean()) < 4 / 500
    assert np.std(pulls) == pytest.approx(1, abs=0.03)
    # Nor at the edges, where there are fewer neighbours.
    edge = np.concatenate([pulls[0], pulls[-1], pulls[1:-1, 0], pulls[1:-1, -1]])
    assert abs(edge.mean()) < 4 / np.sqrt(edge.size)


def test_noise_follows_the_surroundings_and_leaves_out_what_is_not_known():
    noise = NoiseModel(2.0, gain=1.0)
    data = np.full((20, 30), 12.0)
    data[:, 20:] = 96.0
    data[5, 5] = 1e6       # a cosmic ray has the noise of its surroundings
    data[10, 10] = np.nan
    sigma = noise_sigma(noise, data)
    assert sigma[5, 5] == pytest.approx(4) and sigma[10, 10] == pytest.approx(4)
    assert sigma[0, 0] == pytest.approx(4) and sigma[-1, -1] == pytest.approx(10)
    # A single pixel contains no information on its noise.
    assert np.isnan(noise_sigma(noise, np.where(np.indices((9, 9)).sum(axis=0) == 0, 1.0, np.nan))[0, 0])


def test_positions_of_nothing():
    assert position_array('truth', None).shape == position_array('truth', []).shape == (0, 2)


def test_masked_entries_are_no_sources():
    masked = Table({'x': np.ma.array([1.0, 5.0], mask=[False, True]), 'y': [1.0, 2.0]})
    for sources in masked, np.ma.array([[1.0, 1.0], [5.0, 2.0]], mask=[[0, 0], [1, 0]]):
        with pytest.raises(ValueError, match='truth must be finite, got 1 positions that are not'):
            position_array('truth', sources)
    with pytest.raises(ValueError, match='mag must be finite, got 1 values'):
        measure_completeness(np.ma.array([20.0, -99.0], mask=[False, True]), [True, False])
    stars = draw_sources([[30.2, 31.4], [12.0, 13.0]], (20, 20), zeropoint=25, seed=0)
    for name, match in ('x', 'sources must be finite'), ('flux', 'sources must have finite fluxes'):
        broken = stars.copy()
        broken[name][1] = np.nan
        with pytest.raises(ValueError, match=match):
            render_sources(broken, (64, 64), make_psf(3.0, half_size=15))
