# Licensed under a 3-clause BSD style license - see LICENSE
"""
The map of significance.
"""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, InverseVariance, NDData, StdDevUncertainty, VarianceUncertainty
from astropy.wcs import WCS
from photutils.psf import GaussianPRF

from astropy_n2v import denoise, detection_image
from astropy_n2v.photometry.psf import PSF as AnyPSF
from astropy_n2v.simulate import make_psf

FWHM = 3.0
PSF = make_psf(FWHM, kind='gaussian', half_size=8)


def stars(shape=(80, 90), flux=300.0, level=100.0, places=((20, 30), (60, 70))):
    data = np.full(shape, level)
    for y, x in places:
        data[y - 8:y + 9, x - 8:x + 9] += flux * PSF
    return data


def make_ccd(data, std=1.0, **kwargs):
    return CCDData(data, unit='adu', uncertainty=StdDevUncertainty(np.full(data.shape, std)), **kwargs)


def test_least_squares_fit_of_a_star():
    """Far from edges, the value equals an explicit fit of star and background."""
    data = stars() + np.random.default_rng(1).normal(0, 1, (80, 90))
    value = detection_image(make_ccd(data, 2.0), PSF).data[20, 30]
    y, x = np.mgrid[-8:9, -8:9]
    inside = np.hypot(y, x) <= 1.25 * FWHM
    star = PSF[inside] / PSF[inside].sum()
    design = np.column_stack([star, np.ones(star.size)])
    (flux, _), *_ = np.linalg.lstsq(design, data[12:29, 22:39][inside], rcond=None)
    error = 2.0 * np.sqrt(np.linalg.inv(design.T @ design)[0, 0])
    assert value == pytest.approx(flux / error, rel=1e-6)


def test_stars_are_the_peaks():
    result = detection_image(make_ccd(stars()), FWHM)
    for y, x in ((20, 30), (60, 70)):
        assert result.data[y, x] == result.data[y - 5:y + 6, x - 5:x + 6].max() > 30
    assert abs(result.data[40, 5]) < 1e-6


def test_width_and_image_of_psf_agree():
    ccd = make_ccd(stars())
    assert np.allclose(detection_image(ccd, PSF), detection_image(ccd, FWHM * u.pix), atol=0.5)


def test_any_kind_of_psf():
    ccd = make_ccd(stars())
    expected = detection_image(ccd, PSF)
    for psf in (AnyPSF.from_any(PSF), GaussianPRF(x_fwhm=2.9, y_fwhm=2.9)):
        assert np.allclose(detection_image(ccd, psf), expected, atol=0.3)


def test_wider_stamp_does_not_matter():
    ccd = make_ccd(stars())
    wide = make_psf(FWHM, kind='gaussian', half_size=20)
    assert np.allclose(detection_image(ccd, PSF), detection_image(ccd, wide), rtol=1e-3, atol=1e-3)


def test_constants_and_planes_are_no_sources():
    y, x = np.mgrid[:60, :70]
    result = detection_image(make_ccd(1e4 + 3.0 * y - 2.0 * x), PSF)
    assert np.abs(result.data[8:-8, 8:-8]).max() < 1e-5


def test_unit_and_scale_do_not_matter():
    data = stars() + np.random.default_rng(1).normal(0, 1, (80, 90))
    first = detection_image(make_ccd(data), PSF)
    second = detection_image(make_ccd(data * 1e-17, 1e-17), PSF)
    assert np.allclose(first, second, atol=1e-6)
    assert first.unit == u.dimensionless_unscaled


@pytest.mark.parametrize('kind', [VarianceUncertainty, InverseVariance])
def test_kinds_of_uncertainty(kind):
    ccd = make_ccd(stars(), 3.0)
    expected = detection_image(ccd, PSF)
    ccd.uncertainty = ccd.uncertainty.represent_as(kind)
    assert np.allclose(detection_image(ccd, PSF), expected)


def test_unit_of_the_uncertainty():
    ccd = CCDData(stars(), unit='Jy')
    ccd.uncertainty = StdDevUncertainty(np.full(ccd.shape, 1000.0), unit='mJy')
    assert np.allclose(detection_image(ccd, PSF), detection_image(make_ccd(stars()), PSF))


def test_header_and_wcs_are_kept_and_input_is_not_modified():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = 'RA---TAN', 'DEC--TAN'
    wcs.wcs.crval = 10.0, 20.0
    header = fits.Header({'OBJECT': 'M 13', 'BUNIT': 'adu'})
    ccd = make_ccd(stars(), wcs=wcs, meta=header)
    before = ccd.copy()
    result = detection_image(ccd, PSF)
    assert result.wcs is not None and np.allclose(result.wcs.wcs.crval, (10, 20))
    assert result.meta['OBJECT'] == 'M 13' and 'significance' in str(result.meta['HISTORY'])
    assert np.array_equal(ccd.data, before.data) and ccd.meta['BUNIT'] == 'adu'
    assert 'HISTORY' not in ccd.meta and result.uncertainty is None
    assert detection_image(make_ccd(stars(), meta={'a': 1}), PSF).meta['a'] == 1


@pytest.mark.parametrize('bad', [np.nan, np.inf, 1e30])
def test_bad_pixels_do_not_spread(bad):
    """Masked pixels leave the fit of a star beside them what it is."""
    data = stars(places=((20, 30),))
    clean = detection_image(make_ccd(data), PSF)
    data[22, 31] = data[50:58, 50:60] = bad
    mask = np.zeros(data.shape, dtype=bool)
    mask[22, 31] = mask[50:58, 50:60] = True
    result = detection_image(make_ccd(data, mask=mask if bad == 1e30 else None), PSF)
    assert np.isfinite(result.data).all()
    assert result.mask[22, 31] and result.mask[53, 55] and not result.mask[20, 30]
    assert result.data[53, 55] == 0
    assert 0.8 < result.data[20, 30] / clean.data[20, 30] < 1.01
    assert np.abs(result.data[46:62, 46:64]).max() < 1e-6


def test_local_background_beside_masked_pixels():
    """Missing pixels do not cause a source where the local background differs from the frame's."""
    data = np.full((60, 90), 100.0)
    data[:, 60:] = 1000
    mask = np.zeros(data.shape, dtype=bool)
    mask[28:32, 74:76] = True
    result = detection_image(make_ccd(data, mask=mask), PSF)
    assert np.abs(result.data[:, 66:]).max() < 1e-6


def test_edges():
    """Find a star at the edge, and invent nothing there."""
    data = np.full((60, 60), 1000.0)
    data[:9, 20:37] += 300 * PSF[8:]
    result = detection_image(make_ccd(data), PSF)
    assert result.data[0, 28] > 10
    assert np.abs(result.data[:, 50:]).max() < 1e-6 and np.abs(result.data[50:]).max() < 1e-6


def test_sources_do_not_raise_the_deviation_of_the_sky():
    data, std = stars(), np.ones((80, 90))
    std[15:26, 25:36] = 8
    ccd = CCDData(data, unit='adu', uncertainty=StdDevUncertainty(std))
    assert np.allclose(detection_image(ccd, PSF), detection_image(make_ccd(data), PSF))


def test_deviation_follows_the_sky():
    data = stars((80, 200), places=((40, 30), (40, 170)))
    std = np.ones(data.shape)
    std[:, 100:] = 4
    result = detection_image(CCDData(data, unit='adu', uncertainty=StdDevUncertainty(std)), PSF)
    assert result.data[40, 30] / result.data[40, 170] == pytest.approx(4, rel=0.05)


def test_vanishing_deviation_has_a_floor():
    data = stars() + np.random.default_rng(1).normal(0, 1e-3, (80, 90))
    std = np.ones(data.shape)
    std[:, :45] = 0
    result = detection_image(CCDData(data, unit='adu', uncertainty=StdDevUncertainty(std)), PSF)
    assert np.isfinite(result.data).all() and np.abs(result.data[30:50, :40]).max() < 0.2
    assert np.isfinite(detection_image(make_ccd(data, 0.0), PSF).data).all()


def test_pure_noise_stays_below_stars(rng):
    """At a threshold that finds stars of ten sigma there is nothing in noise."""
    data = rng.normal(200, 10, (200, 200))
    noise = denoise(CCDData(data, unit='adu'))
    planted = data.copy()
    planted[92:109, 92:109] += 10 * 10 / np.sqrt((PSF ** 2).sum()) * PSF
    found = detection_image(denoise(CCDData(planted, unit='adu')), PSF)
    assert found.data[98:103, 98:103].max() > 2 * detection_image(noise, PSF).data.max()


def test_real_frame(data_path):
    ccd = CCDData.read(data_path / 'sfft_decam' / 'DEC-OBS04a.mini.fits', unit='adu')
    clean = denoise(ccd)
    result = detection_image(clean, 4.0)
    assert result.shape == ccd.shape and result.wcs is not None
    # The brightest stars of the frame are the highest peaks.
    y, x = np.unravel_index(np.argmax(result.data), result.shape)
    assert ccd.data[y - 2:y + 3, x - 2:x + 3].max() > np.percentile(ccd.data, 99)


@pytest.mark.parametrize(('psf', 'message'), [
    (0.0, 'psf must be an image or a FWHM between 0.5 and 100 pixels, got 0.0'),
    (np.nan, 'FWHM between'),
    (np.ones((4, 5)), 'odd sizes'),
    (np.ones(5), 'odd sizes'),
    (np.zeros((5, 5)), 'positive sum'),
    (np.full((5, 5), np.nan), 'finite')])
def test_bad_psf(psf, message):
    with pytest.raises(ValueError, match=message):
        detection_image(make_ccd(stars()), psf)


def test_bad_input():
    with pytest.raises(TypeError, match='ccd must be a CCDData'):
        detection_image(stars(), PSF)
    with pytest.raises(ValueError, match='two-dimensional, got 3'):
        detection_image(make_ccd(np.zeros((3, 8, 8))), PSF)
    with pytest.raises(ValueError, match='must have an uncertainty'):
        detection_image(NDData(stars()), PSF)
    with pytest.raises(ValueError, match='no valid pixel'):
        detection_image(make_ccd(np.full((8, 8), np.nan)), PSF)
    ccd = make_ccd(stars())
    ccd.uncertainty.array = ccd.uncertainty.array[:5]
    with pytest.raises(ValueError, match='the uncertainty of ccd must have the shape'):
        detection_image(ccd, PSF)
