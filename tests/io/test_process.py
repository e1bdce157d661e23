# Licensed under a 3-clause BSD style license - see LICENSE
"""
FITS files in and out.
"""

import bz2
import gzip
import lzma
import os
import stat
import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, InverseVariance, StdDevUncertainty, VarianceUncertainty
from astropy.utils.exceptions import AstropyUserWarning

from astropy_n2v import CannotDenoiseError
from astropy_n2v.batch import denoise_fits
from astropy_n2v.io import (
    companions,
    merge_headers,
    output_path,
    parse_unit,
    process_fits,
    read_fits_images,
    science_hdus,
    transfer_cards,
)
from astropy_n2v.utils.atomic_files import atomic_write


def halve(ccd, **kwargs):
    """Stands for denoising: half the data, a deviation of one, a card and a line of history."""
    result = ccd.copy()
    result.data = (ccd.data / 2).astype(np.float64 if ccd.data.dtype.itemsize == 8 else np.float32)
    result.uncertainty = StdDevUncertainty(np.ones(ccd.shape, dtype=np.float32))
    result.meta['N2VTEST'] = (kwargs.get('gain') or 0, 'a card')
    result.meta.add_history('halved')
    return result


def image(shape=(12, 16), dtype='f4'):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


@pytest.fixture
def mef(tmp_path):
    """Write a file with two SCI, ERR and DQ extensions, a table, and different gains."""
    primary = fits.PrimaryHDU(header=fits.Header({'RDNOISE': 3.5, 'GAIN': 9.0, 'NEXTEND': 7}))
    hdus = [primary]
    for ver in (1, 2):
        header = fits.Header({'BUNIT': 'COUNTS', 'GAIN': float(ver), 'CD1_1': 0.1, 'CD2_2': 0.2})
        header.add_history('own history')
        hdus.append(fits.ImageHDU(image() + ver, header, name='SCI', ver=ver))
        hdus.append(fits.ImageHDU(np.sqrt(image() + 1), name='ERR', ver=ver))
        hdus.append(fits.ImageHDU(np.zeros((12, 16), dtype='i2'), name='DQ', ver=ver))
        hdus[-1].data[ver, ver] = 16 * ver
    hdus.append(fits.BinTableHDU.from_columns([fits.Column('A', 'J', array=np.arange(3))], name='TAB'))
    path = tmp_path / 'mef.fits'
    fits.HDUList(hdus).writeto(path)
    return path


def raw_hdus(path):
    """Return the bytes of each HDU."""
    with fits.open(path, disable_image_compression=True) as hdus:
        infos = [hdu.fileinfo() for hdu in hdus]
    content = path.read_bytes()
    return [content[info['hdrLoc']:info['datLoc'] + info['datSpan']] for info in infos]


# Choice of HDUs

def hdu_list(*names, shape=(8, 9)):
    return fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU(np.zeros(shape), name=name) for name in names)])


@pytest.mark.parametrize('name', ['ERR', 'DQ', 'SAMP', 'TIME', 'MASK', 'UNCERT', 'WCSDVARR', 'D2IMARR', 'WHT', 'CTX',
                                  'VAR_POISSON'])
def test_companions_are_no_science(name):
    assert science_hdus(hdu_list('CCD1', name)) == [1]


def test_sci_wins_over_other_images():
    assert science_hdus(hdu_list('PREVIEW', 'SCI', 'ERR')) == [2]


def test_all_images_without_sci():
    assert science_hdus(hdu_list('CCD1', 'CCD2')) == [1, 2]


def test_one_dimensional_images_are_no_science():
    hdus = hdu_list('CCD1')
    hdus.append(fits.ImageHDU(np.zeros(20)))
    hdus.append(fits.ImageHDU(np.zeros((1, 20))))
    assert science_hdus(hdus) == [1]


@pytest.mark.parametrize(('ext', 'expected'), [
    (2, [2]), ('2', [2]), ('sci', [1, 4]), ('SCI,2', [4]), (('SCI', 2), [4]), (['ERR,1', 4], [2, 4])])
def test_ext(mef, ext, expected):
    with fits.open(mef) as hdus:
        assert science_hdus(hdus, ext) == expected


@pytest.mark.parametrize(('ext', 'message'), [
    ('NONE', "ext 'NONE' must be the number or name .* 1 \\(SCI,1\\): 12x16"), (99, 'ext 99 must be'),
    ('SCI,3', "ext 'SCI,3' must be"), ('TAB', "ext 'TAB' must be an image .* table"), (0, 'no data')])
def test_ext_that_does_not_exist(mef, ext, message):
    with fits.open(mef) as hdus, pytest.raises(ValueError, match=message):
        science_hdus(hdus, ext)


def test_companions_of_the_same_version(mef):
    with fits.open(mef) as hdus:
        assert companions(hdus, 1) == (2, 3)
        assert companions(hdus, 4) == (5, 6)


def test_no_companions_if_it_is_not_clear_whose(mef):
    assert companions(hdu_list('CCD1', 'CCD2', 'MASK'), 1) == (None, None)
    assert companions(hdu_list('CCD1', 'MASK'), 1) == (None, 2)


def test_companions_of_all_planes_of_a_cube(tmp_path):
    flags = np.zeros((12, 16), dtype='i2')
    flags[3, 4], flags[5, 6] = 16, 32
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(image((2, 12, 16)), name='SCI'),
                  fits.ImageHDU(image() + 1, name='ERR'), fits.ImageHDU(flags, name='DQ')]).writeto(tmp_path / 'a.fits')
    cube, = read_fits_images(tmp_path / 'a.fits', ignore_bits=16)
    np.testing.assert_array_equal(cube.uncertainty.array, np.stack([image() + 1] * 2))
    np.testing.assert_array_equal(cube.mask, np.stack([flags == 32] * 2))


def test_flags_that_have_become_floating_point(tmp_path):
    flags = np.zeros((12, 16), dtype='f4')
    flags[3, 4], flags[5, 6] = 16, 32
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(image(), name='SCI'),
                  fits.ImageHDU(flags, name='DQ')]).writeto(tmp_path / 'a.fits')
    frame, = read_fits_images(tmp_path / 'a.fits', ignore_bits=16)
    np.testing.assert_array_equal(frame.mask, flags == 32)


def test_companion_of_another_shape_is_none():
    hdus = hdu_list('SCI')
    hdus.append(fits.ImageHDU(np.zeros((3, 3)), name='ERR'))
    assert companions(hdus, 1) == (None, None)


# Units and headers

@pytest.mark.parametrize(('text', 'unit'), [
    (None, 'adu'), ('', 'adu'), ('ADU', 'adu'), ('DN', 'adu'), ('counts/s', 'ct / s'), ('COUNTS', 'ct'),
    ('e-', 'electron'), ('e-/s', 'electron / s'), ('ELECTRONS', 'electron'), ('electrons/s', 'electron / s'),
    ('ADU/s', 'adu / s'), ('Jy/Beam', 'Jy / beam'), ('mJy', 'mJy'), ('MJy/sr', 'MJy / sr'), ('nanomaggy', 'nmgy'),
    ('1e-19 erg / (s cm2)', '1e-19 erg / (s cm2)'), ('UNITLESS', ''), ('K (Tmb)', 'K'),
    ('mag(AB)', 'mag'), ('ABmag', 'mag'), ('mag(ct/s)', 'mag'), ('STMAG', 'mag'), ('dex(K)', 'dex'),
    ('Vega mag', 'mag'), ('m_AB', 'mag'), ('AB mag', 'mag'), ('mAB', 'mag'), ('asinh mag', 'mag'), ('Vega', 'mag'),
    ('luptitudes', 'mag'), ('Magnitudes', 'mag'), ('MAG/ARCSEC^2', 'mag'), ('mmag', 'mag'), ('[mag]', 'mag'),
    ('dB', 'dB'), ('dBm', 'dB'), ('decibel', 'dB'), ('log(Jy)', 'dex'), ('log10 flux', 'dex'), ('ln(ADU)', 'dex'),
    ('-2.5log10(DN)', 'dex'), ('log_10(W/m2)', 'dex'),
    ('nanomaggies', 'nmgy'), ('maggies', 'mgy'), ('magnetogram', ''), ('magnetic field', ''), ('catalog', ''),
    ('Number', ''), ('unknown', ''), ('raw', ''),
    ('photons', 'photon'), ('ph/s', 'photon / s'), ('PHOTON', 'photon'), ('count(s)', 'ct'), ('cps', 'ct / s'),
    ('count rate', 'ct / s'), ('[e-]', 'electron'), ('electron(s)', 'electron'), ('photo-electrons', 'electron'),
    ('ADC counts', 'adu'), ('data numbers', 'adu'), ('MJY/SR', 'MJy / sr'), ('(ct/s)^2', 'ct2 / s2'),
    ('(10**(-20)*erg/s/cm**2/Angstrom)**2', '1e-40 erg2 / (s2 cm4 Angstrom2)'), ('anything else', ''),
    ('ERGS/CM**2/S/A', 'erg / (s cm2 Angstrom)'), ('10**(-17)erg/cm2/s/A', '1e-17 erg / (s cm2 Angstrom)'),
    ('erg s-1 cm-2 A-1', 'erg / (s cm2 Angstrom)'), ('1E-17 erg/s/cm^2/Ang/spaxel', '1e-17 erg / (s cm2 Angstrom pix)'),
    ('1.e-19 erg/s/cm2/A', '1e-19 erg / (s cm2 Angstrom)'), ('erg/s/cm^2/\u00c5', 'erg / (s cm2 Angstrom)'),
    ('FLAM', 'erg / (s cm2 Angstrom)'), ('ERG CM-2 S-1 HZ-1', 'erg / (s cm2 Hz)'), ('A', 'A'), ('mA/cm2', 'mA / cm2'),
    ('w/m2/sr/um', 'W / (m2 sr um)'), ('W/m^2/micron', 'W / (m2 um)'), ('photons/s/cm^2/Ang', 'ph / (s cm2 Angstrom)'),
    ('K (Tb)', 'K'), ('K(CMB)', 'K'), ('uK_CMB', 'uK'), ('KELVIN', 'K'), ('MJy/sr (MIPS)', 'MJy / sr'),
    ('Jy/beam.km/s', 'Jy km / (s beam)'), ('JY/BEAM*KM/S', 'Jy km / (s beam)'), ('JY/B', 'Jy / beam'),
    ('microJy', 'uJy'), ('milli-Janskys', 'mJy'), ('JY/SR', 'Jy / sr'), ('Jy/asec2', 'Jy / arcsec2'),
    ('nmaggie', 'nmgy'), ('GAUSS', 'G'), ('Tesla', 'T'), ('Rayleighs', 'R'), ('KM/S', 'km / s'), ('M/S', 'm / s'),
    ('eps', 'electron / s'), ('DN/coadd', 'adu'), ('sqrt(ct)', 'ct(1/2)'), ('Solar', '')])
def test_parse_unit(text, unit):
    assert parse_unit(text) == u.Unit(unit)


@pytest.mark.parametrize('text', ['ERGS/CM**2/S/A', 'K (Tb)', 'furlongs'])
def test_header_keeps_the_text_of_the_unit(tmp_path, text):
    fits.writeto(tmp_path / 'a.fits', image(), fits.Header({'BUNIT': text}))
    process_fits(tmp_path / 'a.fits', tmp_path / 'b.fits', halve)
    with fits.open(tmp_path / 'b.fits') as hdus:
        assert [hdu.header['BUNIT'] for hdu in hdus] == [text, text]


@pytest.mark.parametrize('text', ['Vega mag', 'log(Jy)', 'luptitudes', 'dB'])
def test_magnitudes_and_logarithms_are_refused(tmp_path, text):
    fits.writeto(tmp_path / 'a.fits', image(), fits.Header({'BUNIT': text}))
    with pytest.raises(u.UnitsError, match='data must be linear in flux'):
        denoise_fits(tmp_path / 'a.fits', tmp_path / 'b.fits')


def test_inherited_cards():
    primary = fits.Header({'GAIN': 2.0, 'EXTNAME': 'TOP'})
    primary.add_history('of the primary')
    merged = merge_headers(fits.Header({'BITPIX': 16, 'BZERO': 32768, 'OBJECT': 'M1'}), primary)
    assert dict(merged) == {'OBJECT': 'M1', 'GAIN': 2.0}
    assert 'GAIN' not in merge_headers(fits.Header({'INHERIT': False}), primary)


# Reading

def test_read_multi_extension(mef):
    first, second = read_fits_images(mef)
    assert (first.unit, first.header['GAIN'], second.header['GAIN'], first.header['RDNOISE']) == (u.ct, 1, 2, 3.5)
    assert np.array_equal(first.data, image() + 1)
    assert isinstance(first.uncertainty, StdDevUncertainty)
    assert np.flatnonzero(first.mask).tolist() == [17] and np.flatnonzero(second.mask).tolist() == [34]


def test_ignore_bits(mef):
    first, second = read_fits_images(mef, ignore_bits=16)
    assert not first.mask.any() and second.mask.any()
    assert not any(ccd.mask.any() for ccd in read_fits_images(mef, ignore_bits='16,32'))
    assert read_fits_images(mef, ignore_bits=None)[0].mask is None


def test_warning_if_flags_mask_most_of_the_image(mef):
    with fits.open(mef, mode='update') as hdus:
        hdus['DQ', 1].data[:8] |= 64
    with pytest.warns(AstropyUserWarning, match=r'DQ,1 masks 67 % .* bits 64 \(67 %\), 16 \(1 %\)'):
        read_fits_images(mef, 'SCI,1')
    assert read_fits_images(mef, 'SCI,1', ignore_bits=64)[0].mask.sum() == 1


@pytest.mark.parametrize(('name', 'utype', 'cls'), [
    ('UNCERT', 'VarianceUncertainty', VarianceUncertainty), ('UNCERT', 'InverseVariance', InverseVariance),
    ('UNCERT', None, StdDevUncertainty), ('VAR', None, VarianceUncertainty), ('IVAR', None, InverseVariance)])
def test_kinds_of_uncertainty(tmp_path, name, utype, cls):
    header = fits.Header({'UTYPE': utype} if utype else {})
    path = tmp_path / 'a.fits'
    fits.HDUList([fits.PrimaryHDU(image()), fits.ImageHDU(image() + 1, header, name=name)]).writeto(path)
    (ccd,) = read_fits_images(path)
    assert type(ccd.uncertainty) is cls


def test_uncertainty_in_a_unit_that_does_not_fit(tmp_path):
    path = tmp_path / 'a.fits'
    fits.HDUList([fits.PrimaryHDU(image(), fits.Header({'BUNIT': 'adu'})),
                  fits.ImageHDU(image() + 1, fits.Header({'BUNIT': 'K'}), name='ERR')]).writeto(path)
    with pytest.warns(AstropyUserWarning, match='ERR,1 has the unit K'):
        (ccd,) = read_fits_images(path)
    assert ccd.uncertainty.unit == u.adu


def test_zero_and_nan_uncertainties_are_no_mask(tmp_path):
    path, error = tmp_path / 'a.fits', image()
    error[0, 1] = np.nan
    fits.HDUList([fits.PrimaryHDU(image()), fits.ImageHDU(error, name='ERR')]).writeto(path)
    assert read_fits_images(path)[0].mask is None


def test_broken_wcs_does_not_stop_it(tmp_path):
    header = fits.Header({'CTYPE1': 'RA---TAN', 'CTYPE2': 'DEC--XXX', 'CRVAL1': 'north', 'CD1_1': 0.0})
    fits.writeto(tmp_path / 'a.fits', image(), header)
    process_fits(tmp_path / 'a.fits', tmp_path / 'b.fits', halve)
    (ccd,) = read_fits_images(tmp_path / 'a.fits')
    assert ccd.wcs is None
    assert fits.getheader(tmp_path / 'b.fits')['CRVAL1'] == 'north'


def test_wcs_is_read(tmp_path):
    header = fits.Header({'CTYPE1': 'RA---TAN', 'CTYPE2': 'DEC--TAN', 'CRVAL1': 10.0, 'CD1_1': -0.1, 'CD2_2': 0.1})
    fits.writeto(tmp_path / 'a.fits', image(), header)
    assert read_fits_images(tmp_path / 'a.fits')[0].wcs.wcs.crval[0] == 10


# Names and temporary files

@pytest.mark.parametrize(('name', 'expected'), [
    ('a.fits', 'a_n2v.fits'), ('a.b.fit', 'a.b_n2v.fit'), ('a.fits.fz', 'a_n2v.fits.fz'),
    ('a.fits.gz', 'a_n2v.fits.gz'), ('a.fits.bz2', 'a_n2v.fits.bz2'), ('a.FITS', 'a_n2v.FITS')])
def test_output_path(name, expected):
    assert output_path(f'in/{name}', 'out').as_posix() == f'out/{expected}'


def test_suffix_with_a_directory():
    with pytest.raises(ValueError, match="suffix must be part of a file name.*'/x'"):
        output_path('a.fits', 'out', '/x')


def test_replacing_leaves_nothing_behind_on_failure(tmp_path):
    (tmp_path / 'a').write_text('old')
    with pytest.raises(RuntimeError), atomic_write(tmp_path / 'a', overwrite=True) as temporary:
        temporary.write_text('half')
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ['a']
    assert (tmp_path / 'a').read_text() == 'old'


def test_directory_that_cannot_be_written_to(tmp_path, monkeypatch):
    def refuse(path, mode='r'):
        raise PermissionError(13, 'Permission denied', str(path))

    # The superuser may write anywhere, so the refusal is feigned.
    monkeypatch.setattr('astropy_n2v.utils.atomic_files.open', refuse, raising=False)
    with pytest.raises(PermissionError, match=f'cannot write to the directory {tmp_path}: Permission denied'):
        with atomic_write(tmp_path / 'a'):
            pytest.fail('nothing must be done before it is clear that it can be written')


def test_replacing_keeps_the_usual_permissions(tmp_path):
    (tmp_path / 'usual').touch()
    with atomic_write(tmp_path / 'a') as temporary:
        temporary.write_text('x')
    assert stat.S_IMODE(os.stat(tmp_path / 'a').st_mode) == stat.S_IMODE(os.stat(tmp_path / 'usual').st_mode)


def test_two_writers_of_one_file(tmp_path):
    with atomic_write(tmp_path / 'a', overwrite=True) as first, atomic_write(tmp_path / 'a', overwrite=True) as second:
        first.write_text('one')
        second.write_text('two')
    assert (tmp_path / 'a').read_text() == 'one' and [path.name for path in tmp_path.iterdir()] == ['a']


def test_replacing_does_not_overwrite_what_came_meanwhile(tmp_path):
    with pytest.raises(FileExistsError, match='exists'), atomic_write(tmp_path / 'a'):
        (tmp_path / 'a').write_text('of somebody else')
    assert (tmp_path / 'a').read_text() == 'of somebody else'


# Writing

def test_multi_extension_in_place(mef, tmp_path):
    output = tmp_path / 'out.fits'
    result = process_fits(mef, output, halve)
    assert result.denoised == ['1 (SCI,1)', '4 (SCI,2)'] and result.unchanged == []
    before, after = raw_hdus(mef), raw_hdus(output)
    assert len(after) == len(before) + 2
    assert [i for i in range(len(before)) if before[i] != after[i]] == [1, 4]
    with fits.open(output) as hdus:
        assert np.array_equal(hdus['SCI', 2].data, (image() + 2) / 2)
        assert hdus['SCI', 1].header['CD2_2'] == 0.2
        assert [hdu.name for hdu in hdus[-2:]] == ['UNCERT', 'UNCERT'] and [hdu.ver for hdu in hdus[-2:]] == [1, 2]
        assert hdus['UNCERT', 2].header['BUNIT'] == 'COUNTS'
        assert hdus['UNCERT', 2].header['UTYPE'] == 'StdDevUncertainty'
        assert np.array_equal(hdus['UNCERT', 2].data, np.ones((12, 16)))


def test_cards_that_are_there_several_times():
    before = fits.Header([('ANNOTATE', 'a'), ('FILE', 'bias1'), ('FILE', 'bias2'), ('ANNOTATE', 'b')])
    header, after = before.copy(), before.copy()
    transfer_cards(before, after, header)
    assert [tuple(card) for card in header.cards] == [tuple(card) for card in before.cards]
    after['FILE', 1] = 'bias3'
    after.append(('ANNOTATE', 'c'), end=True)
    transfer_cards(before, after, header)
    assert [header['FILE', i] for i in range(2)] == ['bias1', 'bias3']
    assert [header['ANNOTATE', i] for i in range(3)] == ['a', 'b', 'c']


def test_cards_of_an_earlier_result_do_not_stay(tmp_path):
    header = fits.Header({'N2VGRAD': 3.0, 'GAIN': 2.0, 'DATAMAX': 1.0})
    data = np.random.default_rng(0).normal(100, 5, (64, 64)).astype(np.float32)
    fits.writeto(tmp_path / 'a.fits', data, header)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        denoise_fits(tmp_path / 'a.fits', tmp_path / 'b.fits', hole=1)
    after = fits.getheader(tmp_path / 'b.fits')
    assert 'N2VGRAD' not in after and 'N2VSKY' in after and after['GAIN'] == 2 and after['DATAMAX'] > 50


@pytest.mark.parametrize('card', ['TIMEX   = 12:30:00', 'GAIN    = 1,9'])
def test_card_that_is_none_stays(tmp_path, card):
    fits.writeto(tmp_path / 'a.fits', image(), fits.Header({'OTHER': 1}))
    raw = (tmp_path / 'a.fits').read_bytes()
    (tmp_path / 'a.fits').write_bytes(raw.replace(b'OTHER   =                    1', card.encode().ljust(30)))
    process_fits(tmp_path / 'a.fits', tmp_path / 'b.fits', halve)
    # As text, which astropy makes of it.
    assert fits.getheader(tmp_path / 'b.fits')[card[:8].strip()] == card[10:]
    np.testing.assert_array_equal(fits.getdata(tmp_path / 'b.fits'), image() / 2)


def test_gain_that_cannot_be_read(tmp_path):
    data = np.random.default_rng(0).normal(100, 5, (64, 64)).astype(np.float32)
    fits.writeto(tmp_path / 'a.fits', data, fits.Header({'GAIN': 19.0}))
    raw = (tmp_path / 'a.fits').read_bytes()
    (tmp_path / 'a.fits').write_bytes(raw.replace(b'GAIN    =                 19.0', b'GAIN    = 1,9                 '))
    denoise_fits(tmp_path / 'a.fits', tmp_path / 'b.fits', hole=1)
    header = fits.getheader(tmp_path / 'b.fits')
    assert header['GAIN'] == '1,9' and header['N2VNSRC'] in ('image', 'measured')


def test_only_new_cards_are_written(mef, tmp_path):
    process_fits(mef, tmp_path / 'out.fits', halve, per_image={'gain': [1.5, 2.5]})
    before, after = (fits.getheader(path, 'SCI', 2) for path in (mef, tmp_path / 'out.fits'))
    assert set(after) - set(before) == {'N2VTEST'}
    assert after['N2VTEST'] == 2.5 and after.comments['N2VTEST'] == 'a card'
    assert list(after['HISTORY']) == [
        'own history', 'halved', 'astropy_n2v: standard deviation of the result is in UNCERT,2',
        'astropy_n2v: ERR,2 is the uncertainty before denoising']


def test_no_provenance(mef, tmp_path):
    process_fits(mef, tmp_path / 'out.fits', halve, provenance=False)
    assert list(fits.getheader(tmp_path / 'out.fits', 'SCI')['HISTORY']) == ['own history', 'halved']


def test_chosen_extension_only(mef, tmp_path):
    process_fits(mef, tmp_path / 'out.fits', halve, ext='SCI,2')
    before, after = raw_hdus(mef), raw_hdus(tmp_path / 'out.fits')
    assert [i for i in range(len(before)) if before[i] != after[i]] == [4]


def test_uncertainty_of_the_input_is_not_that_of_the_result(tmp_path):
    path, output = tmp_path / 'a.fits', tmp_path / 'b.fits'
    mask = np.zeros(image().shape, dtype=bool)
    mask[3, 4] = True
    CCDData(image(), unit='adu', mask=mask, uncertainty=VarianceUncertainty(image() + 1)).write(path)
    process_fits(path, output, halve)
    assert raw_hdus(output)[1] == raw_hdus(path)[1]
    for read in CCDData.read, lambda path: read_fits_images(path)[0]:
        ccd = read(output)
        assert isinstance(ccd.uncertainty, StdDevUncertainty)
        np.testing.assert_array_equal(ccd.uncertainty.array, 1)
    with fits.open(output) as hdus:
        assert [(hdu.name, hdu.ver) for hdu in hdus[1:]] == [('MASK', 1), ('UNCERT', 1), ('UNCERT_IN', 1)]
        np.testing.assert_array_equal(hdus['UNCERT_IN'].data, image() + 1)
        assert hdus['UNCERT_IN'].header['UTYPE'] == 'VarianceUncertainty'
        assert 'UNCERT_IN,1 is the uncertainty before denoising' in str(hdus[0].header['HISTORY'])


@pytest.mark.parametrize('before', [True, False])
def test_uncertainty_is_not_taken_for_that_of_another_image(tmp_path, before):
    names = [('SCI', 1), ('SCI', 2)]
    names.insert(0 if before else 1, ('UNCERT', 1))
    fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU(image() + i, name=name, ver=ver)
                                       for i, (name, ver) in enumerate(names))]).writeto(tmp_path / 'a.fits')
    process_fits(tmp_path / 'a.fits', tmp_path / 'b.fits', lambda ccd: CCDData(
        ccd, uncertainty=StdDevUncertainty(np.full(ccd.shape, ccd.data[0, 0]))))
    second = read_fits_images(tmp_path / 'b.fits')[1]
    np.testing.assert_array_equal(second.uncertainty.array, second.data[0, 0])


def test_ccddata_reads_the_result(tmp_path):
    path, output = tmp_path / 'a.fits', tmp_path / 'b.fits'
    CCDData(image(), unit='adu').write(path)
    process_fits(path, output, halve)
    ccd = CCDData.read(output)
    assert ccd.unit == u.adu and np.array_equal(ccd.uncertainty.array, np.ones((12, 16)))
    assert isinstance(ccd.uncertainty, StdDevUncertainty)


@pytest.mark.parametrize('dtype', ['u2', 'i4', 'f4', 'f8'])
def test_types_of_data(tmp_path, dtype):
    path, output = tmp_path / 'a.fits', tmp_path / 'b.fits'
    header = fits.Header({'OBJECT': 'M1'})
    if dtype == 'i4':
        header['BLANK'] = -1
    fits.writeto(path, image(dtype=dtype), header)
    process_fits(path, output, halve)
    data, header = fits.getdata(output, header=True)
    assert data.dtype.kind == 'f' and (data.dtype.itemsize == 8) == (dtype in ('i4', 'f8'))
    assert np.array_equal(data, image() / 2)
    assert not {'BZERO', 'BSCALE', 'BLANK'} & set(header) and header['OBJECT'] == 'M1'


def test_blank_pixels_are_nan(tmp_path):
    data = image(dtype='i2')
    data[2, 3] = -99
    fits.writeto(tmp_path / 'a.fits', data, fits.Header({'BLANK': -99}))
    (ccd,) = read_fits_images(tmp_path / 'a.fits')
    assert np.isnan(ccd.data[2, 3]) and np.isnan(ccd.data).sum() == 1


def write_scaled(path, stored, blank=None, compress=False, **scaling):
    """Write stored numbers, of which some are BLANK, with BSCALE and BZERO of any type."""
    hdu = (fits.CompImageHDU if compress else fits.ImageHDU)(stored)
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    with fits.open(path, mode='update', disable_image_compression=True, do_not_scale_image_data=True) as hdus:
        hdus[1].header.update(scaling)
        if blank is not None:
            hdus[1].header['BLANK'] = blank
    return path


@pytest.mark.parametrize('compress', [False, True], ids=['plain', 'compressed'])
@pytest.mark.parametrize('blank', [None, 7])
@pytest.mark.parametrize('dtype', ['u1', 'i2', 'i4', 'i8'])
@pytest.mark.parametrize('scale, zero', [(0.5, 3.7), (1.0, 3.7), (0.5, -128), (1.0, -128.0), (1.3, -128.0), (2, 1)])
def test_scaled_integers(tmp_path, dtype, scale, zero, blank, compress):
    if compress and dtype == 'i8':
        pytest.skip('not compressed so')
    stored = np.arange(192).reshape(12, 16).astype(dtype)
    path = write_scaled(tmp_path / 'in.fits', stored, blank, compress, BSCALE=scale, BZERO=zero)
    expected = scale * stored.astype(float) + zero
    if blank is not None:
        expected[stored == blank] = np.nan
    (ccd,) = read_fits_images(path, 1)
    np.testing.assert_allclose(ccd.data, expected, rtol=1e-6, atol=1e-4)
    process_fits(path, tmp_path / 'out.fits', halve, ext=1)
    with fits.open(tmp_path / 'out.fits') as hdus:
        assert not {'BSCALE', 'BZERO', 'BLANK'} & set(hdus[1].header)
        np.testing.assert_allclose(hdus[1].data, expected / 2, rtol=1e-6, atol=1e-4)


def test_cube(tmp_path):
    fits.writeto(tmp_path / 'a.fits', image((3, 12, 16)))
    process_fits(tmp_path / 'a.fits', tmp_path / 'b.fits', halve)
    assert np.array_equal(fits.getdata(tmp_path / 'b.fits'), image((3, 12, 16)) / 2)


SPECTRUM_FIRST = {
    'celestial': {'CTYPE1': 'WAVE', 'CTYPE2': 'RA---TAN', 'CTYPE3': 'DEC--TAN'},
    'spectral only': {'CTYPE1': 'LAMBDA', 'CTYPE2': 'X', 'CTYPE3': 'Y'},
}


@pytest.mark.parametrize('cards', SPECTRUM_FIRST.values(), ids=SPECTRUM_FIRST)
@pytest.mark.parametrize('n', [3, 10])
def test_planes_of_a_cube_with_the_spectrum_first(tmp_path, rng, tiny_denoiser, innovations_ignored, cards, n):
    planes = rng.normal(100, 5, (n, 40, 48)).astype('f4')
    fits.writeto(tmp_path / 'usual.fits', planes)
    fits.writeto(tmp_path / 'first.fits', np.moveaxis(planes, 0, -1).copy(), fits.Header(cards))
    for name in 'usual', 'first':
        denoise_fits(tmp_path / f'{name}.fits', tmp_path / f'{name}_n2v.fits', tiny_denoiser, audit='off',
                     cosmic_rays=True)
    result = fits.getdata(tmp_path / 'first_n2v.fits')
    assert result.shape == (40, 48, n)
    np.testing.assert_array_equal(np.moveaxis(result, -1, 0), fits.getdata(tmp_path / 'usual_n2v.fits'))


def test_axes_are_named_if_no_plane_is_an_image(tmp_path):
    fits.writeto(tmp_path / 'in.fits', image((40, 48, 3)), fits.Header({'CTYPE1': 'RGB'}))
    with pytest.raises(ValueError, match=r'40 \(NAXIS3\), 48 \(NAXIS2\), 3 \(NAXIS1, RGB\).*moveaxis\(data, 2, 0\)'):
        process_fits(tmp_path / 'in.fits', tmp_path / 'out.fits', halve)


def test_companions_of_another_shape_are_named(tmp_path, caplog):
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(image(), name='SCI'), fits.ImageHDU(image((12, 8)), name='ERR'),
                  fits.ImageHDU(np.zeros((12, 16), 'i2'), name='DQ')]).writeto(tmp_path / 'a.fits')
    (ccd,) = read_fits_images(tmp_path / 'a.fits')
    assert ccd.uncertainty is None and ccd.mask is not None
    assert 'HDU 2 (ERR,1) is not used: its shape, (12, 8), differs from (12, 16) of HDU 1 (SCI,1)' in caplog.text


@pytest.mark.parametrize('kind', [fits.ImageHDU, fits.CompImageHDU])
def test_sum_of_the_data_that_does_not_agree(tmp_path, caplog, kind):
    path = tmp_path / 'a.fits'
    hdus = fits.HDUList([fits.PrimaryHDU(), kind(image(dtype='i2'), name='SCI'), fits.ImageHDU(image(), name='OTHER')])
    hdus.writeto(path, checksum=True)
    read_fits_images(path)
    assert 'DATASUM' not in caplog.text
    with fits.open(path, disable_image_compression=True) as hdus:
        start, right = hdus[1].fileinfo()['datLoc'], hdus[1].header['DATASUM']
    content = path.read_bytes()
    if kind is fits.ImageHDU:
        content = content[:start + 7] + bytes([content[start + 7] ^ 64]) + content[start + 8:]
    else:   # whose data could not be read
        content = content.replace(f"DATASUM = '{right}".encode(), f"DATASUM = '{int(right) ^ 1}".encode())
    path.write_bytes(content)
    read_fits_images(path)
    assert 'DATASUM of HDU 1 (SCI,1) does not agree with its data: they are damaged' in caplog.text


def test_random_groups_are_named(tmp_path):
    groups = fits.GroupData(image((3, 12, 16)), bitpix=-32, parnames=['a'], pardata=[np.zeros(3)])
    fits.HDUList([fits.GroupsHDU(groups)]).writeto(tmp_path / 'a.fits')
    with pytest.raises(ValueError, match='it has 0 .*random groups, which are not read$'):
        read_fits_images(tmp_path / 'a.fits')


def test_checksums_are_updated_where_there_were_any(tmp_path):
    path, output = tmp_path / 'a.fits', tmp_path / 'b.fits'
    hdus = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(image(), name='SCI')])
    hdus[1].add_checksum()
    hdus.writeto(path)
    process_fits(path, output, halve)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        with fits.open(output, checksum=True) as hdus:
            assert hdus[1].header['DATASUM'] != fits.getheader(path, 1)['DATASUM']
            assert 'CHECKSUM' not in hdus[0].header


def test_lossless_compression(tmp_path, rng):
    path, output = tmp_path / 'a.fits.fz', tmp_path / 'b.fits.fz'
    noise = rng.normal(1000, 10, (24, 32)).astype('f4')
    hdu = fits.CompImageHDU(noise, fits.Header({'BUNIT': 'adu', 'CD1_1': 0.5}), name='CCD1', compression_type='RICE_1')
    fits.HDUList([fits.PrimaryHDU(), hdu, fits.CompImageHDU(image(dtype='i2'), name='OTHER')]).writeto(path)
    seen = []

    def remember(ccd, **kwargs):
        result = halve(ccd)
        result.data[3, 4] = np.nan
        result.uncertainty.array[3, 4] = np.nan
        seen.append(result)
        return result

    process_fits(path, output, remember, ext='CCD1')
    assert raw_hdus(path)[2] == raw_hdus(output)[2]
    with fits.open(output) as hdus:
        assert isinstance(hdus['CCD1'], fits.CompImageHDU) and isinstance(hdus['UNCERT'], fits.CompImageHDU)
        assert np.array_equal(hdus['CCD1'].data, seen[0].data, equal_nan=True)
        assert np.array_equal(hdus['UNCERT'].data, seen[0].uncertainty.array, equal_nan=True)
        assert hdus['CCD1'].header['CD1_1'] == 0.5


@pytest.mark.parametrize(('suffix', 'compress', 'magic'), [
    ('.fits.gz', gzip.compress, b'\x1f\x8b'), ('.fits.bz2', bz2.compress, b'BZh'),
    ('.fits.xz', lzma.compress, b'\xfd7zXZ')])
def test_compressed_files(tmp_path, suffix, compress, magic):
    path = tmp_path / f'a{suffix}'
    fits.writeto(tmp_path / 'plain.fits', image())
    path.write_bytes(compress((tmp_path / 'plain.fits').read_bytes()))
    output = output_path(path, tmp_path)
    process_fits(path, output, halve)
    assert output.read_bytes().startswith(magic)
    assert np.array_equal(fits.getdata(output), image() / 2)


def test_last_block_without_padding(mef, tmp_path):
    content = mef.read_bytes()
    mef.write_bytes(content.rstrip(b'\0'))
    process_fits(mef, tmp_path / 'out.fits', halve)
    mef.write_bytes(content)
    assert raw_hdus(tmp_path / 'out.fits')[7] == raw_hdus(mef)[7]


def test_constant_extension_passes_through(mef, tmp_path):
    def refuse(ccd, **kwargs):
        if ccd.header['EXTVER'] == 1:
            raise CannotDenoiseError('data is constant')
        return halve(ccd)

    with pytest.warns(AstropyUserWarning, match=r'HDU 1 \(SCI,1\) passes through as it is: data is constant'):
        result = process_fits(mef, tmp_path / 'out.fits', refuse)
    assert result.denoised == ['4 (SCI,2)'] and result.unchanged == ['1 (SCI,1)']
    assert raw_hdus(tmp_path / 'out.fits')[1] == raw_hdus(mef)[1]
    with pytest.raises(ValueError, match='constant'):
        process_fits(mef, tmp_path / 'out2.fits', refuse, ext='SCI,1')


def test_warnings_name_the_extension(mef, tmp_path):
    def complain(ccd, **kwargs):
        warnings.warn(f'not good: {ccd.header["EXTVER"]}', AstropyUserWarning, stacklevel=2)
        return halve(ccd)

    with pytest.warns(AstropyUserWarning) as caught:
        process_fits(mef, tmp_path / 'out.fits', complain)
    assert [str(w.message) for w in caught] == ['not good: 1 [HDU 1 (SCI,1)]', 'not good: 2 [HDU 4 (SCI,2)]']


def test_small_images_are_chosen_by_name_only(tmp_path):
    hdus = hdu_list('CCD1')
    hdus.append(fits.ImageHDU(np.zeros((4, 30)), name='STRIP'))
    assert science_hdus(hdus) == [1] and science_hdus(hdus, 'STRIP') == [2]
    with pytest.raises(ValueError, match='no science image of at least 8x8 pixels; .*4x30'):
        science_hdus(fits.HDUList([fits.PrimaryHDU(), hdus[2]]))
    hdus.writeto(tmp_path / 'a.fits')
    with pytest.raises(CannotDenoiseError, match='at least 8x8'):
        denoise_fits(tmp_path / 'a.fits', tmp_path / 'b.fits', ext='STRIP')


def test_further_extensions(mef, tmp_path):
    def both(ccd, **kwargs):
        return halve(ccd), {'BLIND': (np.zeros(ccd.shape, 'f4'), True, 'A blind mean')}

    output = tmp_path / 'out.fits'
    process_fits(mef, output, both)
    with fits.open(output) as hdus:
        assert [(hdu.name, hdu.ver) for hdu in hdus[-4:]] == [
            ('UNCERT', 1), ('BLIND', 1), ('UNCERT', 2), ('BLIND', 2)]
        assert hdus['BLIND', 2].header['BUNIT'] == 'COUNTS' and 'A blind mean' in str(hdus['BLIND', 2].header)
        assert science_hdus(hdus) == [1, 4]


def masking(*pixels):
    """Stands for a result in which further pixels do not count."""
    def function(ccd, **kwargs):
        result = halve(ccd)
        result.mask = np.zeros(ccd.shape, dtype=bool) if ccd.mask is None else ccd.mask.copy()
        result.mask.flat[list(pixels)] = True
        return result
    return function


@pytest.mark.parametrize('kind', [fits.ImageHDU, fits.CompImageHDU])
def test_pixels_that_did_not_count_are_masked_in_the_file(tmp_path, kind):
    fits.HDUList([fits.PrimaryHDU(), kind(image((32, 32)), name='SCI')]).writeto(tmp_path / 'a.fits')
    process_fits(tmp_path / 'a.fits', tmp_path / 'b.fits', masking(5, 9))
    with fits.open(tmp_path / 'b.fits') as hdus:
        assert [hdu.name for hdu in hdus[1:]] == ['SCI', 'MASK', 'UNCERT'] and hdus['MASK'].data.dtype == np.uint8
        assert 'pixels that did not count are 1 in MASK,1' in str(hdus['SCI'].header['HISTORY'])
        assert science_hdus(hdus) == [1]
    for ccd in CCDData.read(tmp_path / 'b.fits', hdu=1, unit='adu'), *read_fits_images(tmp_path / 'b.fits'):
        assert np.flatnonzero(ccd.mask).tolist() == [5, 9]


def test_mask_of_the_input_stays(mef, tmp_path):
    # No more than the flags of the file say, and more than they say.
    process_fits(mef, tmp_path / 'b.fits', masking(17), ext='SCI,1')
    with fits.open(tmp_path / 'b.fits') as hdus:
        assert 'MASK' not in [hdu.name for hdu in hdus]
    process_fits(mef, tmp_path / 'c.fits', masking(17))
    with fits.open(tmp_path / 'c.fits') as hdus:
        assert [(hdu.name, hdu.ver) for hdu in hdus[-3:]] == [('UNCERT', 1), ('MASK', 2), ('UNCERT', 2)]
        assert np.flatnonzero(hdus['MASK', 2].data).tolist() == [17, 34]
    for path, name in (('d.fits', 'MASK'), ('e.fits', 'MASK_N2V')):
        with fits.open(mef) as hdus:
            if name == 'MASK_N2V':
                hdus.append(fits.ImageHDU(np.zeros((12, 16), dtype='u1'), name='MASK', ver=2))
            hdus.writeto(tmp_path / path)
        process_fits(tmp_path / path, tmp_path / f'out_{path}', masking(3), ext='SCI,2', provenance=False)
        with fits.open(tmp_path / f'out_{path}') as hdus:
            mask = hdus[name, 2].data
            assert 3 in np.flatnonzero(mask)
            assert 'did not count' not in str(hdus['SCI', 2].header['HISTORY'])


def test_mask_from_elsewhere_is_in_the_result(mef, mask_file, tmp_path):
    process_fits(mef, tmp_path / 'b.fits', masking(), mask=mask_file)
    with fits.open(tmp_path / 'b.fits') as hdus:
        assert np.flatnonzero(hdus['MASK', 1].data).tolist() == [17, 86]


def test_result_of_each_image(mef, tmp_path, tiny_denoiser):
    def refuse(ccd, **kwargs):
        if ccd.header['EXTVER'] == 1:
            error = CannotDenoiseError('too odd')
            error.report = Report()
            raise error
        return halve(ccd)

    class Report:
        def summary(self):
            return 'refusal: flux'

    for checksum in True, False:
        with fits.open(mef) as hdus:
            hdus.writeto(tmp_path / 'a.fits', checksum=checksum, overwrite=True)
        with pytest.warns(AstropyUserWarning, match='passes through as it is: too odd'):
            done = process_fits(tmp_path / 'a.fits', tmp_path / 'b.fits', refuse, overwrite=True)
        assert [(each.hdu, each.error, dict(each.cards)) for each in done.images] == [
            ('1 (SCI,1)', 'too odd', {'N2VAUDIT': 'refusal: flux'}), ('4 (SCI,2)', '', {'N2VTEST': 0})]
        with fits.open(tmp_path / 'b.fits', checksum=True) as hdus:
            assert hdus[1].header['N2VAUDIT'] == 'refusal: flux' and 'N2VAUDIT' not in hdus[4].header
            np.testing.assert_array_equal(hdus[1].data, fits.getdata(mef, 1))
        with pytest.warns(AstropyUserWarning, match='passes through'):
            process_fits(tmp_path / 'a.fits', tmp_path / 'b.fits', refuse, overwrite=True, provenance=False)
        assert raw_hdus(tmp_path / 'b.fits')[1] == raw_hdus(tmp_path / 'a.fits')[1]


@pytest.mark.usefixtures('innovations_ignored')
def test_how_it_was_made_is_returned_if_it_is_not_written(tmp_path, ccd, tiny_denoiser):
    ccd.meta.add_history('own')
    ccd.write(tmp_path / 'a.fits')
    written, silent = (denoise_fits(tmp_path / 'a.fits', tmp_path / f'{n}.fits', tiny_denoiser, add_keyword=bool(n))
                       for n in (1, 0))
    cards = [{**result.images[0].cards, 'N2VDATE': ''} for result in (written, silent)]
    assert cards[0] == cards[1] and cards[0]['N2VMODEL'] == 'tiny'
    header = fits.getheader(tmp_path / '0.fits')
    assert not [name for name in header if name.startswith('N2V')] and list(header['HISTORY']) == ['own']


@pytest.fixture
def mask_file(tmp_path):
    """Write a file with a mask that is bad at one pixel."""
    mask = np.zeros((12, 16), dtype='u1')
    mask[5, 6] = 1
    path = tmp_path / 'mask.fits'
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(mask, name='BAD')]).writeto(path)
    return path


def test_mask_from_elsewhere(mef, mask_file):
    for mask in (mask_file, f'{mask_file}[BAD]', f'{mask_file}[1]', fits.getdata(mask_file)):
        first, second = read_fits_images(mef, mask=mask)
        assert np.flatnonzero(first.mask).tolist() == [17, 86] and np.flatnonzero(second.mask).tolist() == [34, 86]
    # An extension of the file itself, with an equal version.
    with fits.open(mef, mode='append') as hdus:
        for ver in (1, 2):
            hdus.append(fits.ImageHDU((image() == ver + 60).astype('u1'), name='HOT', ver=ver))
    first, second = read_fits_images(mef, mask='HOT')
    assert np.flatnonzero(first.mask).tolist() == [17, 61] and np.flatnonzero(second.mask).tolist() == [34, 62]


@pytest.mark.parametrize(('mask', 'error', 'message'), [
    ('NOTHING', ValueError, "mask must be a file or an extension, got 'NOTHING': ext 'NOTHING' must be"),
    ('none.fits[1]', FileNotFoundError, 'none.fits'),
    (np.zeros((3, 4)), ValueError, r'mask must have the shape of the data, \(12, 16\), got \(3, 4\) from an array')])
def test_mask_that_does_not_fit(mef, mask, error, message):
    with pytest.raises(error, match=message):
        read_fits_images(mef, mask=mask)


def test_full_output_and_mask_of_denoise_fits(tmp_path, ccd, tiny_denoiser, innovations_ignored):
    path, output = tmp_path / 'a.fits', tmp_path / 'b.fits'
    ccd.write(path)
    mask = np.zeros(ccd.shape, dtype=bool)
    mask[10:12, 20] = True
    denoise_fits(path, output, tiny_denoiser, full_output=True, mask=mask)
    with fits.open(output) as hdus:
        assert [hdu.name for hdu in hdus[1:]] == ['MASK', 'UNCERT', 'BLIND', 'SPREAD', 'INNOVATION', 'OUTLIER', 'NOISE']
        np.testing.assert_array_equal(hdus[0].data[mask], ccd.data[mask])
        np.testing.assert_array_equal(hdus['MASK'].data, mask)
        np.testing.assert_array_equal(np.isnan(hdus['INNOVATION'].data), mask)
        assert hdus['BLIND'].header['BUNIT'] == 'electron' and 'BUNIT' not in hdus['INNOVATION'].header


def test_missing_unit_is_reported(mef, tmp_path, caplog):
    fits.writeto(tmp_path / 'raw.fits', image())
    (ccd,) = read_fits_images(tmp_path / 'raw.fits')
    assert ccd.unit == u.adu
    assert [record.getMessage() for record in caplog.records] == [
        'raw.fits: no BUNIT: the data are taken to be in adu']
    caplog.clear()
    fits.writeto(tmp_path / 'odd.fits', image(), fits.Header({'BUNIT': 'furlongs'}))
    read_fits_images(tmp_path / 'odd.fits')
    assert "BUNIT 'furlongs' is no known unit" in caplog.text
    caplog.clear()
    read_fits_images(mef)
    assert caplog.records == []


def test_number_of_gains(mef, tmp_path):
    with pytest.raises(ValueError, match='gain must have one value, or one for each of the 2 images.*got 3'):
        process_fits(mef, tmp_path / 'out.fits', halve, per_image={'gain': [1, 2, 3]})


# Failures

def test_file_without_image(tmp_path):
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(
        [fits.Column('A', 'J', array=np.arange(3))], name='TAB')]).writeto(tmp_path / 'a.fits')
    with pytest.raises(ValueError, match=r'no science image of at least 8x8 .* no data; 1 \(TAB,1\): table'):
        process_fits(tmp_path / 'a.fits', tmp_path / 'b.fits', halve)
    assert [path.name for path in tmp_path.iterdir()] == ['a.fits']


@pytest.mark.parametrize(('place', 'keep'), [('data', 100), ('data', 0), ('header', 1000)])
def test_truncated_file(mef, tmp_path, place, keep):
    with fits.open(mef) as hdus:
        info = hdus['SCI', 2].fileinfo()
    start = info['datLoc' if place == 'data' else 'hdrLoc']
    mef.write_bytes(mef.read_bytes()[:start + keep])
    with pytest.raises(OSError, match='truncated'):
        process_fits(mef, tmp_path / 'out.fits', halve)
    assert not (tmp_path / 'out.fits').exists()


def test_truncated_gzip(tmp_path):
    path = tmp_path / 'a.fits.gz'
    fits.writeto(path, image((64, 64)))
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(OSError, match='truncated'):
        read_fits_images(path)


@pytest.mark.parametrize('content', [b'', b'not a FITS file' * 1000])
def test_no_fits_file(tmp_path, content):
    (tmp_path / 'a.fits').write_bytes(content)
    with pytest.raises(OSError, match='a.fits is not a FITS file'):
        read_fits_images(tmp_path / 'a.fits')


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match='missing.fits'):
        process_fits(tmp_path / 'missing.fits', tmp_path / 'b.fits', halve)
    assert list(tmp_path.iterdir()) == []


def test_existing_output(mef, tmp_path):
    output = tmp_path / 'out.fits'
    output.write_text('precious')
    with pytest.raises(FileExistsError, match='out.fits exists: use overwrite'):
        process_fits(mef, output, halve)
    assert output.read_text() == 'precious'
    process_fits(mef, output, halve, overwrite=True)
    assert fits.getdata(output).shape == (12, 16)


@pytest.mark.parametrize('link', [None, 'symlink', 'hardlink'])
def test_input_is_never_overwritten(mef, tmp_path, link):
    before, output = mef.read_bytes(), mef
    if link:
        output = tmp_path / 'link.fits'
        output.symlink_to(mef) if link == 'symlink' else os.link(mef, output)
    with pytest.raises(ValueError, match='output would overwrite its input'):
        process_fits(mef, output, halve, overwrite=True)
    assert mef.read_bytes() == before


def test_unwritable_directory(mef, tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(OSError, match='cannot write to the directory .*file'):
        process_fits(mef, tmp_path / 'file' / 'out.fits', halve)
    with pytest.raises(OSError, match='cannot write to the directory .*nowhere'):
        process_fits(mef, tmp_path / 'nowhere' / 'out.fits', halve)


def test_nothing_is_left_after_a_failure(mef, tmp_path):
    def fail(ccd, **kwargs):
        raise RuntimeError('broken')

    with pytest.raises(RuntimeError, match='broken'):
        process_fits(mef, tmp_path / 'out.fits', fail)
    assert [path.name for path in tmp_path.iterdir()] == ['mef.fits']


# The real thing

@pytest.fixture
def innovations_ignored():
    """Ignore that an untrained model finds wrong noise."""
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'the innovations have', AstropyUserWarning)
        warnings.filterwarnings('ignore', 'the noise of neighbouring pixels', AstropyUserWarning)
        yield


@pytest.mark.usefixtures('innovations_ignored')
def test_denoise_fits(tmp_path, ccd, tiny_denoiser):
    path, output = tmp_path / 'a.fits', tmp_path / 'b.fits'
    ccd.write(path)
    denoise_fits(path, output, tiny_denoiser)
    with fits.open(output) as hdus:
        assert hdus[0].header['N2VMODEL'] == 'tiny' and 'UNCERT,1' in str(hdus[0].header['HISTORY'])
        assert np.isfinite(hdus[0].data).all() and (hdus['UNCERT'].data > 0).all()
        assert not np.array_equal(hdus[0].data, ccd.data)


@pytest.mark.usefixtures('innovations_ignored')
def test_denoise_fits_with_a_constant_extension(tmp_path, ccd, tiny_denoiser):
    path, output = tmp_path / 'a.fits', tmp_path / 'b.fits'
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(ccd.data, name='SCI', ver=1),
                  fits.ImageHDU(np.zeros((32, 32)), name='SCI', ver=2)]).writeto(path)
    with pytest.warns(AstropyUserWarning, match='passes through'):
        result = denoise_fits(path, output, tiny_denoiser, gain=[1.0, 1.0], add_keyword=False)
    assert result.unchanged == ['2 (SCI,2)']
    assert 'HISTORY' not in fits.getheader(output, 1)


# Real files

REAL = {
    'ccdproc/a8280271.fits': [0], 'm13_blue/M13_blue_0001.fits': [0], 'sfft_decam/DEC-OBS04a.mini.fits': [0],
    'hst_nicmos/image.fits': [1], 'hst_nicmos/nic2_drz.fits': [1], 'drizzlepac_flc/sample_ipppssoot_flc.fits': [1, 4],
    'panoptes/solved.fits.fz': [1], 'panoptes/noheader.fits': [0], 'nomtam_m13/m13.fits': [0],
    'nomtam_m13/m13_gzip.fits': [1], 'nomtam_m13/m13_hcomp.fits': [1], 'nomtam_m13/m13_plio.fits': [1],
    'nomtam_m13/m13_rice.fits': [1], 'nomtam_m13/m13real_rice.fits': [1], 'astropy_misc/l1448_13co.fits': [0],
    'astropy_misc/gc_2mass_k.fits': [0], 'astropy_misc/reprojected_sdss_r.fits.bz2': [0],
    'legacypipe/mzlsbass2/ksb_170430_055945_ooi_r_ls9.CCD4.fits': [1], 'kepler/kplr-ffi_ch01_test.fits': [1],
    'astropy_ws/combined_bias.fit.gz': [0], 'astropy_ws/pix.fits.gz': [0], 'blast/SDSS_r.fits': [0],
}


def plain_bytes(path):
    return gzip.decompress(path.read_bytes()) if path.suffix == '.gz' else (
        bz2.decompress(path.read_bytes()) if path.suffix == '.bz2' else path.read_bytes())


@pytest.mark.parametrize('name', REAL)
def test_real_files(data_path, tmp_path, name):
    path = data_path / name
    output = output_path(path, tmp_path)
    seen = []

    def remember(ccd, **kwargs):
        seen.append(halve(ccd))
        return seen[-1]

    result = process_fits(path, output, remember)
    assert [int(label.split()[0]) for label in result.denoised] == REAL[name]
    # Plain copies, so that what is compressed around them does not matter.
    one, two = tmp_path / 'one.fits', tmp_path / 'two.fits'
    one.write_bytes(plain_bytes(path))
    two.write_bytes(plain_bytes(output))
    before, after = raw_hdus(one), raw_hdus(two)
    with fits.open(one) as hdus:
        replaced = [i for i, hdu in enumerate(hdus) if i in REAL[name] or hdu.name == 'UNCERT']
    assert [i for i in range(len(before)) if before[i] != after[i]] == replaced
    assert len(after) == len(before) + len(REAL[name])
    with warnings.catch_warnings():
        # CHECKSUM must hold for the written HDUs; the others keep their CHECKSUM.
        warnings.filterwarnings('error', '.*(Checksum|Datasum) verification failed', AstropyUserWarning)
        with fits.open(one) as old, fits.open(two, checksum=True) as new:
            for n, i in enumerate(REAL[name]):
                assert type(new[i]) is type(old[i])
                header = new[i].header.copy()
                assert np.array_equal(new[i].data, seen[n].data, equal_nan=True)
                volatile = {'BITPIX', 'BZERO', 'BSCALE', 'BLANK', 'CHECKSUM', 'DATASUM', 'EXTEND', 'N2VTEST', 'HISTORY',
                            'SIMPLE', 'XTENSION', 'PCOUNT', 'GCOUNT', 'NAXIS', 'NAXIS1', 'NAXIS2', 'NAXIS3', ''}
                for keyword in set(old[i].header) - volatile:
                    assert header[keyword] == old[i].header[keyword]
                    # Compressed images get a comment of astropy's at their name.
                    if keyword != 'EXTNAME':
                        assert header.comments[keyword] == old[i].header.comments[keyword]
                assert set(header) - set(old[i].header) <= volatile


def test_real_file_without_image(data_path, tmp_path):
    with pytest.raises(ValueError, match='no science image'):
        process_fits(data_path / 'kepler' / 'tpf_test_00.fits', tmp_path / 'b.fits', halve)


def test_nicmos_companions(data_path):
    (ccd,) = read_fits_images(data_path / 'hst_nicmos' / 'image.fits')
    assert ccd.unit == u.ct / u.s and ccd.uncertainty.unit == u.ct / u.s
    assert 0 < ccd.mask.mean() < 0.02
    assert ccd.header['INSTRUME'] == 'NICMOS' and ccd.wcs is not None


@pytest.mark.usefixtures('innovations_ignored')
@pytest.mark.filterwarnings('ignore:data has .* pixels in strips without light')   # overscan
def test_denoise_a_raw_frame(data_path, tmp_path, tiny_denoiser):
    denoise_fits(data_path / 'ccdproc' / 'a8280271.fits', tmp_path / 'b.fits', tiny_denoiser)
    header = fits.getheader(tmp_path / 'b.fits')
    assert header['BITPIX'] == -32 and header['N2VGAIN'] == pytest.approx(1.9)


def test_extension_by_a_numpy_number(mef):
    with fits.open(mef) as hdus:
        assert science_hdus(hdus, np.int64(4)) == [4]


@pytest.mark.parametrize('checksum', [True, False])
@pytest.mark.parametrize('kind', [fits.ImageHDU, fits.CompImageHDU])
def test_checksum_if_there_was_one(tmp_path, kind, checksum):
    fits.HDUList([fits.PrimaryHDU(), kind(image((32, 32)), name='SCI')]).writeto(tmp_path / 'a.fits', checksum=checksum)
    process_fits(tmp_path / 'a.fits', tmp_path / 'b.fits', halve)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        with fits.open(tmp_path / 'b.fits', checksum=True) as hdus:
            np.testing.assert_array_equal(hdus[1].data, image((32, 32)) / 2)
    with fits.open(tmp_path / 'b.fits', disable_image_compression=True) as hdus:
        assert ('CHECKSUM' in hdus[1].header) == checksum


def test_blocks_that_never_arrived(tmp_path, rng):
    """Zeros inside an image are no data: they stay zeros, and are masked in the file."""
    data = np.round(rng.normal(200, 15, (64, 64))).astype('i2')
    data[16:32, 16:32] = 0
    fits.writeto(tmp_path / 'a.fits', data, fits.Header({'BUNIT': 'DN'}))
    with pytest.warns(AstropyUserWarning, match='256 pixels in regions of one constant value'):
        denoise_fits(tmp_path / 'a.fits', tmp_path / 'b.fits')
    result, mask = (fits.getdata(tmp_path / 'b.fits', ext) for ext in (0, 'MASK'))
    assert not result[16:32, 16:32].any()
    np.testing.assert_array_equal(mask == 1, data == 0)
