# Licensed under a 3-clause BSD style license - see LICENSE
"""
The point-spread function in the forms in which it is given.
"""

import numpy as np
import pytest
from astropy import units as u
from astropy.modeling.models import Gaussian2D
from photutils.psf import GaussianPRF, ImagePSF, MoffatPSF

from astropy_n2v.photometry.psf import PSF, half_maximum_width, psf_model
from astropy_n2v.simulate import make_psf


def test_kinds_agree():
    fine = make_psf(3.0, half_size=12, oversampling=3, kind='gaussian')
    given = [PSF.from_any(make_psf(3.0, half_size=12, kind='gaussian')),
             PSF.from_any(ImagePSF(fine, flux=7, x_0=4, y_0=2, oversampling=3), size=25),
             PSF.from_any(GaussianPRF(flux=3, x_fwhm=2.94, y_fwhm=2.94), size=25)]
    for psf in given:
        assert psf.fwhm == pytest.approx(3.0, abs=0.1) and psf.stamp.sum() == pytest.approx(1)
        np.testing.assert_allclose(psf.stamp, given[0].stamp, atol=0.03 * given[0].stamp.max())
    assert PSF.from_any(given[0]) is given[0]


@pytest.mark.parametrize('width', [3, 3.0, np.float32(3), np.array(3.0), 3 * u.pix, u.Quantity(3.0)])
def test_a_width_is_of_a_moffat_profile(width):
    psf = PSF.from_any(width, size=25)
    assert psf.fwhm == 3
    np.testing.assert_allclose(psf.stamp, make_psf(3.0, half_size=12), atol=1e-12)


@pytest.mark.parametrize('fwhm', [1.8, 3.0, 6.5, 40.0])
def test_width(fwhm):
    model = MoffatPSF(alpha=fwhm / (2 * np.sqrt(2 ** (1 / 2.5) - 1)), beta=2.5, x_0=3.2, y_0=-1)
    assert psf_model(model)[1] == pytest.approx(fwhm, rel=0.01)
    assert psf_model(make_psf(fwhm, half_size=int(4 * fwhm)))[1] == pytest.approx(fwhm, rel=0.02)


def test_width_is_that_of_the_area():
    y, x = np.mgrid[-20:21, -20:21]
    sigma = np.array([2.0, 4.5]) / np.sqrt(8 * np.log(2))
    assert psf_model(np.exp(-0.5 * ((x / sigma[0]) ** 2 + (y / sigma[1]) ** 2)))[1] == pytest.approx(3.0, rel=0.02)


def test_model_of_unit_flux_in_the_middle():
    for psf in (GaussianPRF(flux=9, x_0=7, y_0=2, x_fwhm=3, y_fwhm=3), 5 * make_psf(3.0, kind='gaussian')):
        model, _ = psf_model(psf)
        y, x = np.mgrid[-12:13, -12:13].astype(float)
        values = model(x, y)
        assert values.sum() == pytest.approx(1, abs=1e-6) and values.argmax() == values.size // 2
        assert getattr(psf, 'flux', 9) == 9


def test_psf_has_the_size_of_the_image():
    assert PSF.from_any(make_psf(2.0, half_size=9)).stamp.shape == (19, 19)
    assert PSF.from_any(np.ones((3, 3))).stamp == pytest.approx(np.full((3, 3), 1 / 9))


def test_star_out_of_focus():
    y, x = np.mgrid[-15:16, -15:16]
    ring = np.exp(-0.5 * (np.hypot(x, y + 0.3) - 6) ** 2)
    assert PSF.from_any(ring).fwhm == pytest.approx(np.sqrt(4 / np.pi * 2 * np.pi * 6 * 2.355), rel=0.03)
    with pytest.raises(ValueError, match=r'bright part is 0.0 pixels to the right and 2.5 up'):
        PSF.from_any(np.roll(ring, 3, axis=0))


def test_sub_pixel_flux_is_conserved():
    psf = PSF.from_any(make_psf(2.5, half_size=15))
    y, x = np.mgrid[-14:15, -14:15]
    for dx, dy in ((0.5, 0.5), (0.2, -0.4)):
        assert psf.at(x - dx, y - dy).sum() == pytest.approx(1, abs=0.005)


@pytest.mark.parametrize(('psf', 'message'), [
    (0.4, 'psf must be an image or a FWHM between 0.5 and 100 pixels, got 0.4'), (np.inf, 'FWHM between 0.5 and 100'),
    (np.ones((4, 5)), r'psf must be an image of odd sizes, got an array of shape \(4, 5\)'),
    (np.ones(5), 'odd sizes'), (-np.ones((5, 5)), 'psf must be finite with a positive sum, got a sum of -25')])
def test_errors(psf, message):
    with pytest.raises(ValueError, match=message):
        psf_model(psf)


@pytest.mark.parametrize(('psf', 'message'), [
    ('wide', 'psf must be a FWHM in pixels, an image, a PSF or a model of astropy.modeling, got str'),
    (None, 'got NoneType'), (Gaussian2D(), 'psf must be a model with the parameters flux, x_0 and y_0')])
def test_type_errors(psf, message):
    with pytest.raises(TypeError, match=message):
        psf_model(psf)


def test_other_errors():
    with pytest.raises(u.UnitConversionError):
        psf_model(3 * u.arcsec)
    with pytest.raises(ValueError, match='size must be odd, got 4'):
        PSF.from_any(3.0, size=4)
    with pytest.raises(ValueError, match='psf must fall below half of its maximum within 128 pixels'):
        half_maximum_width(lambda x, y: np.ones_like(x))
