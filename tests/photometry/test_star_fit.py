# Licensed under a 3-clause BSD style license - see LICENSE
import numpy as np
import pytest

from astropy_n2v.photometry.star_fit import StarFit
from astropy_n2v.simulate import make_psf

STAR = make_psf(2.0, kind='gaussian', half_size=3)


@pytest.mark.parametrize('background', [False, True])
@pytest.mark.parametrize('y, x', [(8, 9), (1, 2), (15, 16)])
def test_fits_are_those_made_one_by_one(background, y, x, rng):
    weights = rng.uniform(0.2, 1, (16, 18)) * (rng.uniform(size=(16, 18)) < 0.9)
    data = rng.normal(10, 3, weights.shape)
    aperture = (np.hypot(*np.mgrid[-3:4, -3:4]) <= 3).astype(float) if background else None
    star = STAR * aperture if background else STAR
    fit = StarFit(star, weights, aperture)
    # The part of the star that lies in the image.
    rows, columns = (np.arange(max(i - 3, 0), min(i + 4, n)) for i, n in zip((y, x), weights.shape))
    own = np.ix_(rows - y + 3, columns - x + 3)
    design = [star[own].ravel()] + ([aperture[own].ravel()] if background else [])
    design, w = np.stack(design, axis=-1), weights[np.ix_(rows, columns)].ravel()
    covariance = np.linalg.inv(design.T @ (design * w[:, None]))
    flux = covariance @ design.T @ (w * data[np.ix_(rows, columns)].ravel())
    assert fit.information[y, x] == pytest.approx(1 / covariance[0, 0], rel=1e-8)
    assert (fit.numerator(data) / fit.information)[y, x] == pytest.approx(flux[0], rel=1e-8)
