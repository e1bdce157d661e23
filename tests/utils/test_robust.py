# Licensed under a 3-clause BSD style license - see LICENSE
import numpy as np
import pytest
from scipy.stats import chi2, norm

from astropy_n2v.utils.robust import MEDIAN_ABSOLUTE, MEDIAN_SQUARE, robust_std


def test_medians_are_those_of_a_normal_distribution():
    assert MEDIAN_ABSOLUTE == pytest.approx(norm.ppf(0.75), rel=1e-4)
    assert MEDIAN_SQUARE == pytest.approx(chi2.median(1), rel=1e-3)


def test_outliers_hardly_change_the_scatter():
    values = np.random.default_rng(0).normal(3, 2, (100, 100)).astype('f4')
    values[:2] = 1e6
    assert robust_std(values) == pytest.approx(2, rel=0.05)
    assert isinstance(robust_std(values), float)
