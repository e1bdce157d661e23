# Licensed under a 3-clause BSD style license - see LICENSE
"""
Uncertainties and masks in files beside the images.
"""

import logging

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import InverseVariance, StdDevUncertainty, VarianceUncertainty

from astropy_n2v.batch import denoise_fits
from astropy_n2v.io import read_fits_images
from astropy_n2v.io.neighbours import files_beside, image_beside


def write(folder, *names, value=4.0):
    for name in names:
        fits.writeto(folder / name, np.full((12, 16), value, dtype='f4'), overwrite=True)


@pytest.mark.parametrize(('image', 'other', 'role'), [
    ('skycell.1234.stk.r.unconv.fits', 'skycell.1234.stk.r.unconv.wt.fits', 'var'),
    ('skycell.1234.stk.r.unconv.fits', 'skycell.1234.stk.r.unconv.mask.fits', 'bad'),
    ('coadd.fits', 'coadd.weight.fits', 'ivar'), ('m31_sci.fits', 'm31_rms.fits', 'std'),
    ('ls-image-r.fits.fz', 'ls-invvar-r.fits.fz', 'ivar'), ('c4d_1_ooi_z_v1.fits.fz', 'c4d_1_ood_z_v1.fits.fz', 'bad'),
    ('a-int-3.fits', 'a-unc-3.fits.gz', 'std')])
def test_names_that_belong_together(tmp_path, image, other, role):
    write(tmp_path, image, other, 'another.fits', 'another_sci_2.fits')
    assert files_beside(tmp_path / image) == [(str(tmp_path / other), role)]
    assert image_beside(tmp_path / other) == str(tmp_path / image)
    assert image_beside(tmp_path / image) is None and files_beside(tmp_path / 'another.fits') == []


@pytest.mark.parametrize(('one', 'two'), [
    ('m31.fits', 'm33_rms.fits'), ('a_wht.fits', 'a.fits'), ('rms.fits', 'sci.fits.txt'),
    ('night1_mask.fits', 'night.fits'), ('std.fits', 'obj.fits')])
def test_names_that_do_not(tmp_path, one, two):
    write(tmp_path, one, two)
    assert files_beside(tmp_path / one) == files_beside(tmp_path / two) == []


def test_they_are_named(tmp_path, caplog):
    write(tmp_path, 'a.fits', 'a.wt.fits')
    write(tmp_path, 'a.mask.fits', value=0.0)
    with caplog.at_level(logging.WARNING):
        read_fits_images(tmp_path / 'a.fits')
        read_fits_images(tmp_path / 'a.mask.fits')
    text = caplog.text
    assert f"a.wt.fits seems to have its variances; to use them, give uncertainty='{tmp_path}/a.wt.fits'" in text
    assert f"a.mask.fits seems to be its mask; to use it, give mask='{tmp_path}/a.mask.fits' (--mask)" in text
    assert 'a.mask.fits: by its name, it belongs to a.fits and is no image of the sky' in text
    caplog.clear()
    read_fits_images(tmp_path / 'a.fits', uncertainty=str(tmp_path / 'a.wt.fits'), mask=str(tmp_path / 'a.mask.fits'))
    assert 'seems' not in caplog.text


@pytest.mark.parametrize(('name', 'kind'), [
    ('a.wt.fits', VarianceUncertainty), ('a.weight.fits', InverseVariance), ('a_rms.fits', StdDevUncertainty),
    ('b.fits', StdDevUncertainty)])
def test_name_of_the_file_says_the_kind(tmp_path, name, kind):
    write(tmp_path, 'a.fits', name)
    (ccd,) = read_fits_images(tmp_path / 'a.fits', uncertainty=tmp_path / name)
    assert type(ccd.uncertainty) is kind and ccd.uncertainty.array[0, 0] == 4


def test_stacks_of_pan_starrs_are_not_linear(tmp_path, caplog):
    fits.writeto(tmp_path / 'a.fits', np.zeros((12, 16)), fits.Header({'BSOFTEN': 80.0, 'BOFFSET': 12.0}))
    with pytest.raises(u.UnitsError, match='linear in flux'):
        denoise_fits(tmp_path / 'a.fits', tmp_path / 'b.fits')
    assert 'BOFFSET + 2 * BSOFTEN * sinh(data / 1.0857362)' in caplog.text
