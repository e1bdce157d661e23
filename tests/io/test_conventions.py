# Licensed under a 3-clause BSD style license - see LICENSE
"""
Images, uncertainties and masks in the layouts that observatories and packages write.
"""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, InverseVariance, StdDevUncertainty, VarianceUncertainty
from astropy.utils.exceptions import AstropyUserWarning

from astropy_n2v.io import companions, process_fits, read_fits_images, science_hdus
from astropy_n2v.io.conventions import CONVENTIONS, meaning_of_name

SHAPE = (8, 9)


def layout(*names, dtypes=None, headers=None):
    """Write a file with one image per name: '' has none, None is a primary HDU without data, 'SCI,2' has a version."""
    hdus = []
    for i, name in enumerate(names):
        data = None if name is None else np.zeros(SHAPE, dtype=(dtypes or {}).get(name, 'f4'))
        hdu = (fits.ImageHDU if i else fits.PrimaryHDU)(data, fits.Header((headers or {}).get(name, {})))
        name, _, ver = (name or '').partition(',')
        if name:
            hdu.header['EXTNAME'] = name
        if ver:
            hdu.header['EXTVER'] = int(ver)
        hdus.append(hdu)
    return fits.HDUList(hdus)


LAYOUTS = {
    # Who writes it, the extensions, and then number of the images, and uncertainty and mask of the first of them.
    'MUSE': ([None, 'DATA', 'STAT', 'DQ'], [1], 2, 3),
    'MUSE without flags': ([None, 'DATA', 'STAT'], [1], 2, None),
    'X-shooter': (['FLUX', 'ERRS', 'QUAL'], [0], 1, 2),
    'KMOS': ([None, 'IFU.1.DATA', 'IFU.1.NOISE', 'IFU.2.DATA', 'IFU.2.NOISE'], [1, 3], 2, None),
    'KCWI': (['', 'UNCERT', 'MASK', 'FLAGS'], [0], 1, 2),
    'LSST': ([None, 'IMAGE', 'MASK', 'VARIANCE'], [1], 3, 2),
    'DES': ([None, 'SCI', 'MSK', 'WGT'], [1], 3, 2),
    'TESS': ([None, 'CAMERA.CCD 1.2 cal', 'CAMERA.CCD 1.2 uncert'], [1], 2, None),
    'Kepler': ([None, 'MOD.OUT 2.1', 'MOD.OUT 2.2'], [1, 2], None, None),
    'Euclid': ([None, '1-1.E.SCI', '1-1.E.RMS', '1-1.E.FLG', '1-1.F.SCI', '1-1.F.RMS', '1-1.F.FLG'], [1, 4], 2, 3),
    'Euclid NISP': ([None, 'DET11.SCI', 'DET11.RMS', 'DET11.DQ', 'DET12.SCI', 'DET12.RMS', 'DET12.DQ'], [1, 4], 2, 3),
    'LCO': ([None, 'SCI', 'BPM', 'ERR'], [1], 3, 2),
    'Gemini': ([None, 'SCI', 'VAR', 'DQ', 'OBJMASK'], [1], 2, 3),
    'Gemini, two chips': ([None, 'SCI,2', 'VAR,2', 'DQ,2', 'SCI,1', 'VAR,1', 'DQ,1'], [1, 4], 2, 3),
    'JWST': ([None, 'SCI', 'ERR', 'DQ', 'AREA', 'VAR_POISSON', 'VAR_RNOISE', 'VAR_FLAT'], [1], 2, 3),
    'JWST, mosaic': ([None, 'SCI', 'ERR', 'CON', 'WHT', 'VAR_POISSON'], [1], 2, None),
    'NIRISS, padded': ([None, 'SCI     ', 'ERR     ', 'DQ      '], [1], 2, 3),
    'Roman': ([None, 'data', 'err', 'dq', 'var_poisson'], [1], 2, 3),
    'HST': ([None, 'SCI', 'ERR', 'DQ', 'SAMP', 'TIME'], [1], 2, 3),
    'HST, drizzled': ([None, 'SCI', 'WHT', 'CTX'], [1], None, None),
    'MaNGA': ([None, 'FLUX', 'IVAR', 'MASK', 'DISP', 'PREDISP', 'GIMG', 'RIMG', 'GPSF'], [1], 2, 3),
    'MaNGA, maps': ([None, 'FLUX', 'FLUX_IVAR', 'FLUX_MASK', 'STELLAR_VEL', 'STELLAR_VEL_IVAR'], [1], 2, 3),
    'DESI': (['IMAGE', 'IVAR', 'MASK', 'READNOISE'], [0], 1, 2),
    'DESI, coadd': ([None, 'B_FLUX', 'B_IVAR', 'B_MASK', 'R_FLUX', 'R_IVAR', 'R_MASK', 'R_RESOLUTION'], [1, 4], 2, 3),
    'PypeIt': ([None, 'DET01-SCIIMG', 'DET01-IVARRAW', 'DET01-SKYMODEL', 'DET01-OBJMODEL', 'DET01-IVARMODEL',
                'DET01-TILTS', 'DET01-BPMMASK'], [1], 5, 7),
    'GALFIT': ([None, 'INPUT_V', 'MODEL', 'RESIDUAL_V'], [1], None, None),
    'CCDData': (['', 'MASK', 'UNCERT', 'PSFIMAGE'], [0], 2, 1),
    'Herschel': ([None, 'image', 'coverage', 'stDev'], [1], 3, None),
    'Starlink': (['', 'VARIANCE', 'QUALITY'], [0], 1, 2),
    'SOFIA': ([None, 'STOKES I', 'ERROR I', 'STOKES Q', 'ERROR Q', 'BAD PIXEL MASK'], [1, 3], 2, None),
    'photutils': (['', 'BKG', 'BKGRMS'], [0], 2, None),
    'DECam': ([None, 'N4', 'S3'], [1, 2], None, None),
    'WISE': (['INT', 'UNC', 'MSK', 'COV'], [0], 1, 2),
    'SAMI': (['', 'VARIANCE', 'WEIGHT'], [0], 1, None),
    'CALIFA': (['', 'ERROR', 'ERRWEIGHT', 'BADPIX', 'FIBCOVER'], [0], 1, 3),
    'noise maps': (['', 'NOISEMAP', 'BADPIX', 'GOODPIX'], [0], 1, 2),
    'good pixels': (['', 'SIG', 'GOODPIX'], [0], 1, 2),
    'weights of DES': (['', 'WGT', 'BPMASK'], [0], 1, 2),
    'words apart': ([None, 'Science', 'Std_Dev', 'Data Quality', 'Source Mask', 'Read Noise'], [1], 2, 3),
    'more words': ([None, 'FLUX', 'ERROR IMAGE', 'DQ_FLAGS'], [1], 2, 3),
    'words in one': ([None, 'FLUX', 'FLUXERR', 'MASKIMG'], [1], 2, 3),
    'maps': ([None, 'FLUX_MAP', 'variance map', 'pixel flags'], [1], 2, 3),
    'numbers': ([None, 'SCI1', 'ERR1', 'DQ1', 'SCI2', 'ERR2', 'DQ2'], [1, 4], 2, 3),
    'no versions': ([None, 'SCI', 'ERR', 'DQ', 'SCI', 'ERR', 'DQ'], [1, 4], 2, 3),
    'versions that count': ([None, 'SCI,1', 'ERR,2', 'DQ,3'], [1], 2, 3),
    'ODI': ([None, 'xy07', 'OTA33.SCI', 'OTA34.SCI'], [2, 3], None, None),
    'detectors': ([None, 'CCD1', 'chip2', 'AMP3', 'im4', 'Segment00', 'WFI01', 'NRCA1'], list(range(1, 8)), None, None),
    'more detectors': ([None, 'ESO_CCD_#65', 'WIN1.INT1', 'VidInp2'], [2], None, None),
    'CHEOPS': ([None, 'SCI_COR_SubArray', 'DRIFT'], [1], None, None),
    'filters': ([None, 'g', 'F606W', 'Ks', 'EXTINCTION'], [1, 2, 3], None, None),
    'preview': (['', 'ERR', 'DQ', 'PREVIEW', 'SNR', 'S2N', 'SKY'], [0], 1, 2),
    'an unknown image with its error': ([None, 'HORSEHEAD', 'HORSEHEAD_ERR'], [1], 2, None),
    'the only image': ([None, 'ANYTHING'], [1], None, None),
    'the only image besides flags': ([None, 'ANYTHING', 'DQ'], [1], None, 2),
}


@pytest.mark.parametrize('name', LAYOUTS)
def test_layouts(tmp_path, name):
    names, science, uncertainty, mask = LAYOUTS[name]
    layout(*names).writeto(tmp_path / 'a.fits')
    with fits.open(tmp_path / 'a.fits') as hdus:
        assert science_hdus(hdus) == science
        assert companions(hdus, science[0]) == (uncertainty, mask)


def test_companions_of_each_of_several_images():
    assert companions(layout(*LAYOUTS['Euclid'][0]), 4) == (5, 6)
    assert companions(layout(*LAYOUTS['no versions'][0]), 4) == (5, 6)
    # It is not clear to which of the two the mask belongs.
    assert companions(layout(None, 'SCI', 'SCI', 'DQ'), 1) == (None, None)


def test_every_line_of_the_table_counts():
    for role, names, _ in CONVENTIONS:
        for name in names.split():
            assert meaning_of_name(name).role == role


@pytest.mark.parametrize('name', ['MODEL_FLUX', 'SCI_BKG', 'GIMG', 'EMLINE_FLUX', 'X', 'CHI2', 'A_V', 'D2IMARR',
                                  'EXTINCTION', 'ERR', 'IMAGE_MASK', 'mask_safe', 'FLUX_ERR', 'OBJECT_MASK'])
def test_names_that_are_not_known_to_be_science(name):
    assert meaning_of_name(name).role not in ('science', 'detector', 'unnamed')


def test_nothing_is_known():
    with pytest.raises(ValueError, match=r'no science image .* such as --ext "CONFUSED,1"; it has 0 \(PRIMARY,1\): no '
                                         r'data; 1 \(CONF,1\): 8x9; 2 \(CONFUSED,1\): 8x9; 3 \(DISTURBED,1\): 8x9'):
        science_hdus(layout(None, 'CONF', 'CONFUSED', 'DISTURBED'))
    assert science_hdus(layout(None, 'CONF', 'CONFUSED', 'DISTURBED'), 'CONFUSED,1') == [2]


@pytest.mark.parametrize('name', ['DQ', 'ERR', 'WHT', 'PSFIMAGE', 'MASK'])
def test_companion_alone_is_no_science(name):
    with pytest.raises(ValueError, match=f'such as --ext "{name},1"'):
        science_hdus(layout(None, name))


def test_integers_without_a_name_behind_an_image():
    hdus = layout(None, '', '')
    hdus[2] = fits.ImageHDU(np.zeros(SHAPE, dtype='i2'))
    assert science_hdus(hdus) == [1]
    hdus[1] = fits.ImageHDU(np.zeros(SHAPE, dtype='u2'))
    assert science_hdus(hdus) == [1, 2]


def test_images_without_a_name_behind_one_in_the_primary(caplog):
    hdus = layout('', '')
    with caplog.at_level('INFO', 'astropy_n2v'):
        assert science_hdus(hdus) == [0]
    assert 'not known to be science, left as they are: 1' in caplog.text
    assert science_hdus(hdus, 1) == [1]
    hdus[1].data = np.zeros((30, 31))
    assert science_hdus(hdus) == [0, 1]


def test_models_of_galfit_without_names():
    hdus = fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU(np.zeros(SHAPE), fits.Header({'OBJECT': text}))
                                              for text in ('m51.fits[1:9,1:8]', 'model', 'residual map'))])
    assert science_hdus(hdus) == [1]


def test_bytes_without_a_name_behind_integers():
    hdus = layout(None, '', '', dtypes={'': 'u2'})
    assert science_hdus(hdus) == [1, 2]
    hdus[2] = fits.ImageHDU(np.zeros(SHAPE, dtype='u1'))
    assert science_hdus(hdus) == [1]


@pytest.mark.parametrize('name', ['Euclid', 'DECam', 'TESS', 'MUSE', 'KCWI', 'no versions'])
def test_uncertainty_of_the_result_is_found_again(tmp_path, name):
    layout(*LAYOUTS[name][0]).writeto(tmp_path / 'a.fits')
    levels = iter([3, 4])

    def denoised(ccd):
        return CCDData(ccd, uncertainty=StdDevUncertainty(np.full(ccd.shape, next(levels))))

    process_fits(tmp_path / 'a.fits', tmp_path / 'b.fits', denoised)
    for level, ccd in zip([3, 4], read_fits_images(tmp_path / 'b.fits')):
        assert type(ccd.uncertainty) is StdDevUncertainty
        np.testing.assert_array_equal(ccd.uncertainty.array, level)


def test_chosen_image_has_companions_of_its_own():
    hdus = layout(None, 'FLUX', 'ERR', 'HALPHA', 'HALPHA_ERR', 'HALPHA_MASK', 'MODEL')
    assert companions(hdus, 3) == (4, 5)
    assert companions(hdus, 6) == (None, None)


# Cards

def test_eso_cards():
    headers = {'A': {'HDUCLASS': 'ESO', 'HDUCLAS1': 'IMAGE', 'HDUCLAS2': 'DATA', 'ERRDATA': 'B', 'QUALDATA': 'C'},
               'B': {'HDUCLAS2': 'ERROR', 'HDUCLAS3': 'MSE', 'SCIDATA': 'A'},
               'C': {'HDUCLAS2': 'QUALITY', 'HDUCLAS3': 'FLAG32BIT', 'SCIDATA': 'A'}}
    hdus = layout(None, 'A', 'B', 'C', headers=headers)
    assert science_hdus(hdus) == [1]
    # Named in the cards, whatever the names say.
    hdus = layout(None, 'SCIENCE', 'ERR', 'PHOTERR', headers={
        'SCIENCE': {'ERRDATA': 'PHOTERR'}, 'PHOTERR': {'HDUCLAS2': 'ERROR', 'SCIDATA': 'SCIENCE'}})
    assert companions(hdus, 1)[0] == 2   # the names do not belong together
    hdus = layout(None, 'DATA', 'ERR', 'STAT', headers={'DATA': {'ERRDATA': 'STAT'}})
    assert companions(hdus, 1)[0] == 3
    hdus = layout(None, 'DATA', 'ERR', headers={'ERR': {'SCIDATA': 'OTHER'}})
    assert companions(hdus, 1)[0] is None


@pytest.mark.parametrize(('cards', 'cls'), [
    ({'HDUCLAS2': 'ERROR', 'HDUCLAS3': 'MSE'}, VarianceUncertainty),
    ({'HDUCLAS2': 'ERROR', 'HDUCLAS3': 'RMSE'}, StdDevUncertainty),
    ({'HDUCLAS2': 'ERROR', 'HDUCLAS3': 'INVMSE'}, InverseVariance),
    ({'EXTTYPE': 'VARIANCE'}, VarianceUncertainty), ({'PRODTYPE': 'wtmap'}, InverseVariance),
    ({'UTYPE': 'VarianceUncertainty'}, VarianceUncertainty)])
def test_kind_of_uncertainty_by_cards(tmp_path, cards, cls):
    fits.HDUList([fits.PrimaryHDU(np.ones(SHAPE)),
                  fits.ImageHDU(np.full(SHAPE, 2.0), fits.Header(cards), name='ERR')]).writeto(tmp_path / 'a.fits')
    (ccd,) = read_fits_images(tmp_path / 'a.fits')
    assert type(ccd.uncertainty) is cls


@pytest.mark.parametrize('prodtype', ['dqmask', 'wtmap', 'expmap'])
def test_masks_and_weights_in_files_of_their_own(prodtype):
    hdus = layout(None, 'N4')
    hdus[0].header['PRODTYPE'] = prodtype
    with pytest.raises(ValueError, match='--ext "N4,1"'):
        science_hdus(hdus)


def test_background_of_x_ray_images():
    headers = {name: {'HDUCLASS': 'OGIP', 'HDUCLAS1': 'IMAGE', 'HDUCLAS2': name} for name in ('TOTAL', 'BKG')}
    assert science_hdus(layout(None, 'TOTAL', 'BKG', headers=headers)) == [1]


# Uncertainties

@pytest.mark.parametrize(('name', 'cls'), [
    ('STAT', VarianceUncertainty), ('ERRS', StdDevUncertainty), ('WGT', InverseVariance), ('stDev', StdDevUncertainty),
    ('VARIANCE', VarianceUncertainty), ('RMS', StdDevUncertainty), ('INV_VAR', InverseVariance)])
def test_kinds_by_name(tmp_path, name, cls):
    layout('', name).writeto(tmp_path / 'a.fits')
    (ccd,) = read_fits_images(tmp_path / 'a.fits')
    assert type(ccd.uncertainty) is cls


def test_unit_says_what_the_name_does_not(tmp_path):
    hdus = layout('', 'ERROR', headers={'': {'BUNIT': 'adu'}, 'ERROR': {'BUNIT': '(adu)**2'}})
    hdus.writeto(tmp_path / 'a.fits')
    (ccd,) = read_fits_images(tmp_path / 'a.fits')
    assert type(ccd.uncertainty) is VarianceUncertainty and ccd.uncertainty.unit == u.adu ** 2


def test_unit_of_the_data_at_a_variance_is_a_copy(tmp_path):
    layout('', 'VAR', headers={'': {'BUNIT': 'adu'}, 'VAR': {'BUNIT': 'adu'}}).writeto(tmp_path / 'a.fits')
    with pytest.warns(AstropyUserWarning, match='VAR,1 has the unit adu, which does not fit data in adu'):
        (ccd,) = read_fits_images(tmp_path / 'a.fits')
    assert type(ccd.uncertainty) is VarianceUncertainty and ccd.uncertainty.unit == u.adu ** 2


def test_noise_of_the_background_alone(tmp_path):
    layout('', 'BKG_RMS').writeto(tmp_path / 'a.fits')
    with pytest.warns(AstropyUserWarning, match='BKG_RMS,1 is by its name the noise of the background alone'):
        read_fits_images(tmp_path / 'a.fits')


def test_uncertainty_with_an_axis_more(tmp_path):
    flags = np.zeros((1, *SHAPE), dtype='u2')
    flags[0, 3, 4] = 1
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.ones(SHAPE), name='SCI'),
                  fits.ImageHDU(np.ones((1, *SHAPE)), name='ERR'),
                  fits.ImageHDU(flags, name='DQ')]).writeto(tmp_path / 'a.fits')
    (ccd,) = read_fits_images(tmp_path / 'a.fits')
    assert ccd.uncertainty.array.shape == SHAPE and np.flatnonzero(ccd.mask).tolist() == [31]


@pytest.fixture
def elsewhere(tmp_path):
    """Write a science file, and files with uncertainties."""
    layout('', 'ERR', 'DEPTH').writeto(tmp_path / 'a.fits')
    for name, cards in (('std', {}), ('VAR', {}), ('weird', {'BUNIT': 'adu2'}), ('weight', {'PRODTYPE': 'wtmap'})):
        fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.full(SHAPE, 2.0), fits.Header(cards), name=name)]).writeto(
            tmp_path / f'{name}.fits')
    layout(None, 'SCI', 'DQ', 'IVAR').writeto(tmp_path / 'many.fits')
    return tmp_path


@pytest.mark.parametrize(('name', 'cls'), [
    ('std.fits', StdDevUncertainty), ('VAR.fits', VarianceUncertainty), ('VAR.fits[1]', VarianceUncertainty),
    ('weird.fits', VarianceUncertainty), ('weight.fits[weight]', InverseVariance), ('many.fits', InverseVariance),
    ('many.fits[SCI]', StdDevUncertainty)])
def test_uncertainty_from_elsewhere(elsewhere, name, cls):
    (ccd,) = read_fits_images(elsewhere / 'a.fits', uncertainty=elsewhere / name)
    assert type(ccd.uncertainty) is cls


def test_uncertainty_from_the_file_itself_or_an_array(elsewhere):
    path = elsewhere / 'a.fits'
    assert type(read_fits_images(path, uncertainty='DEPTH')[0].uncertainty) is StdDevUncertainty
    (ccd,) = read_fits_images(path, uncertainty=np.full(SHAPE, 3.0))
    np.testing.assert_array_equal(ccd.uncertainty.array, 3)
    (ccd,) = read_fits_images(path, uncertainty=VarianceUncertainty(np.full(SHAPE, 3.0), unit=u.adu ** 2))
    assert type(ccd.uncertainty) is VarianceUncertainty


def test_uncertainty_of_all_planes_of_a_cube(tmp_path):
    fits.writeto(tmp_path / 'a.fits', np.zeros((3, *SHAPE)))
    (ccd,) = read_fits_images(tmp_path / 'a.fits', uncertainty=np.full(SHAPE, 3.0))
    assert ccd.uncertainty.array.shape == (3, *SHAPE)


@pytest.mark.parametrize(('uncertainty', 'error', 'message'), [
    ('NOTHING', ValueError, "uncertainty must be a file or an extension, got 'NOTHING'"),
    ('none.fits[1]', FileNotFoundError, 'none.fits'),
    (np.zeros((3, 4)), ValueError, r'uncertainty must have the shape of the data, .* got \(3, 4\) from an array')])
def test_uncertainty_that_does_not_fit(elsewhere, uncertainty, error, message):
    with pytest.raises(error, match=message):
        read_fits_images(elsewhere / 'a.fits', uncertainty=uncertainty)


def test_uncertainty_file_of_another_shape(elsewhere):
    fits.writeto(elsewhere / 'small.fits', np.zeros((3, 4)))
    with pytest.raises(ValueError, match=r'shape of the data, \(8, 9\), got \(3, 4\) from 0 \(PRIMARY,1\) of .*small'):
        read_fits_images(elsewhere / 'a.fits', uncertainty=elsewhere / 'small.fits')


def test_all_that_ccddata_writes_stays(tmp_path):
    mask = np.zeros(SHAPE, dtype=bool)
    mask[2, 3] = True
    CCDData(np.ones(SHAPE), unit='adu', mask=mask, uncertainty=StdDevUncertainty(np.ones(SHAPE)),
            psf=np.full(SHAPE, 0.1)).write(tmp_path / 'a.fits')
    result = process_fits(tmp_path / 'a.fits', tmp_path / 'b.fits', lambda ccd: ccd)
    assert result.denoised == ['0 (PRIMARY,1)']
    with fits.open(tmp_path / 'b.fits') as hdus:
        np.testing.assert_array_equal(hdus['PSFIMAGE'].data, 0.1)
        assert hdus['MASK'].data.dtype.kind in 'iu' and hdus['MASK'].data.sum() == 1
