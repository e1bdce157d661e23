# Licensed under a 3-clause BSD style license - see LICENSE
"""
The noise that the frames of a set have in common.
"""

import json
import logging

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.utils.exceptions import AstropyUserWarning
from click.testing import CliRunner

from astropy_n2v import NoiseModel, denoise, estimate_set_noise
from astropy_n2v.batch.many import denoise_files
from astropy_n2v.batch.set_noise import _middle
from astropy_n2v.batch.summary import summary_table
from astropy_n2v.blind_spot import find_hole
from astropy_n2v.cli import main
from astropy_n2v.containers.container import Container
from astropy_n2v.io import read_fits_images
from astropy_n2v.noise import FrameGroup, GroupNoise, SetNoise
from astropy_n2v.planes import find_planes
from astropy_n2v.simulate import make_scene

pytestmark = pytest.mark.filterwarnings('ignore:the innovations have', 'ignore:the noise of neighbouring')

CARDS = {'INSTRUME': 'CAM', 'FILTER': 'r', 'XBINNING': 2, 'YBINNING': 2}


def correlation(rows=0.0, columns=0.0):
    """Autocorrelation of neighbours along rows and along columns."""
    result = np.zeros((9, 9))
    result[4, 3:6] = rows, 1, rows
    result[3:6:2, 4] = columns
    return result


def set_of(rows=0.0, columns=0.0, **parameters):
    """Make a set of one group of ten frames."""
    return SetNoise([GroupNoise(FrameGroup.of(CARDS), correlation(rows, columns), n_frames=10, **parameters)])


def noise_along_rows(rng, share, shape=(128, 128)):
    """Noise of unit variance and a correlation of share / (1 + share**2) along rows."""
    noise = rng.normal(size=(shape[0], shape[1] + 1))
    return (noise[:, 1:] + share * noise[:, :-1]) / np.hypot(1, share)


def make_files(directory, rng, names='abc', share=0.0, sigma=5.0, **cards):
    """Frames of a flat sky."""
    paths = [directory / f'{name}.fits' for name in names]
    for path in paths:
        data = 100 + sigma * noise_along_rows(rng, share)
        fits.writeto(path, data.astype('f4'), fits.Header({**CARDS, **cards}))
    return paths


@pytest.fixture
def white(tmp_path, rng):
    (tmp_path / 'in').mkdir()
    return make_files(tmp_path / 'in', rng)


@pytest.fixture
def run():
    def run_main(*arguments):
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result
    return run_main


# Groups

@pytest.mark.parametrize(('cards', 'expected'), [
    ({'XBINNING': 2, 'YBINNING': 3}, '2x3'), ({'CCDSUM': '1 1'}, '1x1'), ({'BINNING': '2x2'}, '2x2'),
    ({'BINNING': 4}, '4x4'), ({}, '')])
def test_binning(cards, expected):
    assert FrameGroup.of(cards).binning == expected


@pytest.mark.parametrize(('cards', 'expected'), [
    ({'GAIN': 3.98}, 'GAIN 4'), ({'GAIN': 4.15}, 'GAIN 4'), ({'GAIN': 1.4}, 'GAIN 1'),
    ({'GAIN': 100, 'EGAIN': 0.5}, 'GAIN 100'),
    ({'READOUTM': 'Fast', 'READMODE': 'Fast', 'GAIN': 2.0}, 'Fast, GAIN 2'),
    ({'NCOMBINE': 8}, 'average of 8'), ({}, '')])
def test_setting(cards, expected):
    assert FrameGroup.of(cards).setting == expected


def test_detector():
    assert FrameGroup.of({'EXTNAME': 'SCI', 'EXTVER': 2, 'DETECTOR': 'UVIS'}).detector == 'UVIS, version 2'
    assert FrameGroup.of({'EXTNAME': 'CAMERA.CCD 7 sci', 'INSTRUME': 'X'}).detector == 'CAMERA CCD 7'
    # Where nothing is known, at least the size.
    assert FrameGroup.of({}, shape=(100, 200)).detector == '100x200 pixels'
    assert FrameGroup.of({'INSTRUME': 'X'}, shape=(100, 200)).detector == ''


def test_units_of_converters_are_one():
    units = [FrameGroup.of({}, unit).unit for unit in (None, u.adu, u.DN, u.ct, u.dimensionless_unscaled, u.electron)]
    assert units == ['adu'] * 5 + ['electron']


def test_cards_that_cannot_be_parsed_say_nothing():
    header = fits.Header.fromstring("FILTER  = 'r".ljust(80) + "INSTRUME= 'X       '".ljust(80))
    assert FrameGroup.of(header).instrument == 'X'


def test_group_of_a_real_frame(data_path):
    (ccd,) = read_fits_images(data_path / 'legacypipe' / 'mzlsbass2' / 'ksb_170430_055945_ooi_r_ls9.CCD4.fits')
    group = FrameGroup.of(ccd.header, ccd.unit, ccd.shape)
    assert group.instrument == 'Steward 2.3 m (bok), 90prime' and group.filter == 'bokr' and group.binning == '1x1'
    assert 'ccd4' in group.detector


# Files of it

def test_file_and_back(tmp_path):
    written = SetNoise([
        GroupNoise(FrameGroup('CAM', filter='r'), correlation(0.2), 0.01 * np.ones((9, 9)), 3, 1.9, 0.1, 'all',
                   ('a', 'b')),
        GroupNoise(FrameGroup('CAM', filter='g'))])
    written.write(tmp_path / 'noise.json')
    first, second = SetNoise.read(tmp_path / 'noise.json').groups
    assert first.group == written.groups[0].group and first.frames == ('a', 'b') and first.pixels == 'all'
    assert np.array_equal(first.autocorrelation, correlation(0.2)) and (first.gain, first.n_frames) == (1.9, 3)
    assert second.autocorrelation is None and second.gain is None and second.n_frames == 0
    with pytest.raises(FileExistsError, match='exists'):
        written.write(tmp_path / 'noise.json')
    written.write(tmp_path / 'noise.json', overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ['noise.json']


@pytest.mark.parametrize(('content', 'message'), [
    ('SIMPLE  =', 'no file of the noise of a set'), ('', 'no file of the noise of a set'),
    ('[1, 2]', 'not written by'), ('{"format": "other", "version": 1}', 'not written by')])
def test_foreign_file(tmp_path, content, message):
    path = tmp_path / 'other.json'
    path.write_text(content)
    with pytest.raises(ValueError, match=f'other.json is {message}|other.json.*{message}'):
        SetNoise.read(path)


def test_binary_file(tmp_path, white):
    with pytest.raises(ValueError, match='a.fits is no file of the noise'):
        SetNoise.read(white[0])


@pytest.mark.parametrize(('change', 'message'), [
    ({'autocorrelation': [[1.0]]}, 'shape'),
    ({'autocorrelation': (2 * correlation()).tolist()}, 'with 1 in the middle'),
    ({'autocorrelation': 'x'}, 'array of numbers'),
    ({'autocorrelation': (np.triu(np.full((9, 9), 0.1)) + 0.9 * correlation()).tolist()}, 'symmetric'),
    ({'gain': -1.0}, 'gain must be finite and positive'), ({'gain': 'x'}, 'gain must be a number'),
    ({'n_frames': -3}, 'n_frames must be'), ({'filter': 3}, 'described by strings'), ({'nonsense': 3}, 'nonsense')])
def test_damaged_file(tmp_path, change, message):
    path = tmp_path / 'noise.json'
    set_of(0.2).write(path)
    content = json.loads(path.read_text())
    content['groups'][0].update(change)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f'noise.json is damaged: .*{message}'):
        SetNoise.read(path)


def test_file_of_another_version_or_without_a_part(tmp_path):
    path = tmp_path / 'noise.json'
    set_of(0.2).write(path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, 'version': 2}))
    with pytest.raises(ValueError, match='noise.json has format version 2, this version of astropy_n2v reads 1'):
        SetNoise.read(path)
    del content['groups'][0]['unit']
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="noise.json is damaged: 'unit' is missing"):
        SetNoise.read(path)


def test_group_twice():
    with pytest.raises(ValueError, match='CAM, r, 2x2, adu twice'):
        SetNoise(set_of().groups + set_of().groups)


# Measured

def test_median_of_the_frames(tmp_path, rng):
    files = make_files(tmp_path, rng, 'abcde', share=0.3)
    (group,) = estimate_set_noise(files).groups
    assert group.n_frames == 5 and sorted(group.frames) == [path.name for path in files] and group.agrees
    assert group.group == FrameGroup('CAM', filter='r', binning='2x2')
    assert abs(group.autocorrelation[4, 5] - 0.3 / 1.09) < 0.02 and abs(group.autocorrelation[5, 4]) < 0.02
    assert 0 < group.scatter[4, 5] < 0.03


def test_choice_does_not_depend_on_order_or_directory(tmp_path, rng):
    first, second = tmp_path / 'first', tmp_path / 'second'
    first.mkdir()
    files = make_files(first, rng, 'abcdefg')
    chosen = estimate_set_noise(files, max_frames=3).groups[0]
    assert chosen.n_frames == 3
    first.rename(second)
    again = estimate_set_noise([second / path.name for path in files[::-1]], max_frames=3).groups[0]
    assert again.frames == chosen.frames and np.array_equal(again.autocorrelation, chosen.autocorrelation)
    # And stays if a frame is missing that was not chosen.
    left = [second / path.name for path in files if path.name in {*chosen.frames}]
    assert estimate_set_noise(left, max_frames=3).groups[0].frames == chosen.frames


def test_groups_are_kept_apart(tmp_path, rng):
    files = make_files(tmp_path, rng, 'abc', share=0.5) + make_files(tmp_path, rng, 'def', FILTER='g')
    noise = estimate_set_noise(files)
    found = {group.group.filter: group.autocorrelation[4, 5] for group in noise.groups}
    assert found['r'] == pytest.approx(0.4, abs=0.03) and found['g'] == pytest.approx(0.0, abs=0.02)


def test_unreadable_files_are_left_out(white, caplog):
    white[1].write_bytes(b'nothing')
    errors = []
    with caplog.at_level(logging.INFO, 'astropy_n2v'):
        noise = estimate_set_noise([*white, 'missing.fits'], on_error=lambda path, error: errors.append(str(path)))
    assert noise.groups[0].n_frames == 2
    assert sorted(errors) == sorted([str(white[1]), 'missing.fits'])
    assert 'missing.fits is left out' in caplog.text and 'from a set of 2 frames' in caplog.text


def test_frames_that_cannot_be_measured(tmp_path, rng):
    for name in 'ab':
        fits.writeto(tmp_path / f'{name}.fits', rng.normal(size=(20, 20)))
    (group,) = estimate_set_noise([tmp_path / 'a.fits', tmp_path / 'b.fits']).groups
    assert group.autocorrelation is None and group.n_frames == 0 and not group.agrees
    assert 'could not be measured' in group.text


def test_bad_arguments(white):
    with pytest.raises(TypeError, match='files must be a list of paths'):
        estimate_set_noise('a.fits')
    with pytest.raises(ValueError, match='max_frames'):
        estimate_set_noise(white, max_frames=0)
    with pytest.raises(ValueError, match='names an extension itself'):
        estimate_set_noise(['a.fits[1]'], ext=1)


def test_gain_is_measured_where_no_header_has_it(tmp_path):
    scene = make_scene('globular', (384, 384), seed=5)
    for n in range(3):
        data = (scene.observe(seed=n).data / 2).astype('f4')
        fits.writeto(tmp_path / f'{n}.fits', data, fits.Header(CARDS))
        fits.writeto(tmp_path / f'{n}g.fits', data[:200, :200], fits.Header({**CARDS, 'GAIN': 2.0}))
    noise = estimate_set_noise(sorted(tmp_path.iterdir()))
    found = {group.group.setting: group.gain for group in noise.groups}
    assert found['GAIN 2'] is None and 1.4 < found[''] < 2.8
    (plane,) = planes_of(data, noise)
    assert plane.noise.source == 'image, gain of the set' and float(plane.noise.gain) == found['']


def test_noise_that_reaches_farther_in_some_frames():
    wide = np.pad(correlation(0.3), 3)
    group = GroupNoise.of(FrameGroup(), 'all', ['a', 'b', 'c'], [correlation(0.28), wide, correlation(0.3)], [])
    assert group.autocorrelation.shape == (15, 15) and group.autocorrelation[7, 8] == 0.3 and group.agrees
    assert group.contradiction(correlation(0.3), None) is None


def test_gains_that_do_not_agree():
    group = FrameGroup()
    assert GroupNoise.of(group, 'all', [], [], [1.0, 1.1, 1.2]).gain == pytest.approx(1.1)
    assert GroupNoise.of(group, 'all', [], [], [1.0, 3.0, 9.0]).gain is None
    assert GroupNoise.of(group, 'all', [], [], [1.0, 1.1]).gain is None


def test_mosaics_are_measured_colour_by_colour(tmp_path, rng):
    levels = np.tile([[100.0, 200.0], [200.0, 50.0]], (80, 80))
    for name in 'ab':
        fits.writeto(tmp_path / f'{name}.fits', rng.normal(levels, 5).astype('f4'), fits.Header({'BAYERPAT': 'RGGB'}))
    noise = estimate_set_noise([tmp_path / 'a.fits', tmp_path / 'b.fits'])
    assert [group.pixels for group in noise.groups] == ['0::2, 0::2', '0::2, 1::2', '1::2, 0::2', '1::2, 1::2']


def test_large_images_are_measured_in_their_middle(tmp_path, rng, monkeypatch):
    levels = np.tile([[100.0, 200.0], [200.0, 50.0]], (80, 90))
    fits.writeto(tmp_path / 'a.fits', rng.normal(levels, 5).astype('f4'), fits.Header({'BAYERPAT': 'RGGB'}))
    monkeypatch.setattr('astropy_n2v.batch.set_noise._LARGEST', 132)
    shapes = []
    monkeypatch.setattr('astropy_n2v.batch.set_noise.own_autocorrelation',
                        lambda plane: shapes.append((plane.values.shape, round(np.median(plane.values), -1))))
    assert len(estimate_set_noise([tmp_path / 'a.fits']).groups) == 4
    assert shapes == [((66, 66), 100), ((66, 66), 200), ((66, 66), 200), ((66, 66), 50)]


def test_the_header_of_the_middle_is_about_the_middle(monkeypatch, rng):
    monkeypatch.setattr('astropy_n2v.batch.set_noise._LARGEST', 132)
    header = fits.Header({'DATASEC': '[41:120,1:130]', 'BIASSEC': '[1:40,1:160]'})
    ccd = CCDData(rng.normal(size=(160, 180)), unit='adu', header=header)
    middle = _middle(ccd)   # from row 12 and column 24
    assert middle.shape == (132, 132)
    assert middle.header['DATASEC'] == '[17:96,1:118]' and middle.header['BIASSEC'] == '[1:16,1:132]'
    small = CCDData(rng.normal(size=(130, 130)), unit='adu', header=fits.Header({'DATASEC': '[41:120,1:130]'}))
    assert _middle(small) is small and small.header['DATASEC'] == '[41:120,1:130]'


def test_frames_that_differ_have_no_autocorrelation_in_common(tmp_path, rng):
    files = make_files(tmp_path, rng, 'abc', share=0.5) + make_files(tmp_path, rng, 'def')
    noise = estimate_set_noise(files)
    (group,) = noise.groups
    assert not group.agrees and 'do not agree' in group.text
    planes, _ = find_planes(Container(read_fits_images(files[-1])[0]), noise=noise)
    assert planes[0].group is None and find_hole(planes) == (1, 1)


# Used

def planes_of(data, noise, unit=u.adu, **cards):
    return find_planes(Container(CCDData(data, unit=unit, meta={**CARDS, **cards})), noise=noise)[0]


def test_autocorrelation_is_that_of_the_set_and_the_level_that_of_the_frame(rng):
    # Of the frames alone, the hole would be of one pixel.
    noise = set_of(0.07)
    for sigma in (3, 9):
        planes = planes_of(50 + sigma * noise_along_rows(rng, 0.04), noise)
        assert np.array_equal(planes[0].noise.autocorrelation, correlation(0.07))
        assert float(planes[0].noise.sigma) == pytest.approx(sigma, rel=0.05)
        assert planes[0].group is noise.groups[0] and find_hole(planes) == (1, 3)


def test_too_few_pixels_follow_the_set(rng):
    planes = planes_of(rng.normal(size=(32, 32)), set_of(0.3))
    assert find_hole(planes) == (1, 3)


def test_frame_that_contradicts_its_set(rng):
    data = 100 + 5 * noise_along_rows(rng, 0.5)
    with pytest.warns(AstropyUserWarning, match=r'one pixel along rows is 0\.(39|4\d) \+- 0\.0\d, 0\.00 in its set of '
                                                r'10 frames\. Its own is used'):
        planes = planes_of(data, set_of())
    assert planes[0].group is None and abs(planes[0].noise.autocorrelation[4, 5] - 0.4) < 0.03


def test_uncertain_measurement_does_not_contradict():
    group = set_of(0.0).groups[0]
    assert group.contradiction(correlation(0.2), lambda: np.full((9, 9), 0.02)) is not None
    assert group.contradiction(correlation(0.2), lambda: np.full((9, 9), 0.06)) is None
    # Nor is an error needed where there is hardly a difference.
    assert group.contradiction(correlation(0.05), None) is None
    assert 'columns' in group.contradiction(correlation(0.0, 0.2), lambda: np.full((9, 9), 0.02))


def test_frame_of_no_group(rng):
    with pytest.warns(AstropyUserWarning, match=r'no frames of this group \(CAM, z, 2x2, adu\)'):
        planes = planes_of(rng.normal(size=(64, 64)), set_of(0.3), FILTER='z')
    assert planes[0].group is None


def test_gain_of_the_set(rng):
    data = rng.normal(100, 5, (128, 128))
    (plane,) = planes_of(data, set_of(gain=8.0))
    assert plane.noise.source == 'image, gain of the set' and float(plane.noise.gain) == 8.0
    # A gain of a header or of the user comes first; an impossible gain is not used.
    header = {**CARDS, 'GAIN': 8.0}
    noise = SetNoise([GroupNoise(FrameGroup.of(header), correlation(), gain=5.0, n_frames=3)])
    (plane,) = planes_of(data, noise, GAIN=8.0)
    assert plane.noise.source == 'image, header GAIN' and float(plane.noise.gain) == 8.0
    frame = Container(CCDData(data, unit=u.adu, meta=CARDS))
    assert float(find_planes(frame, noise=set_of(gain=8.0), gain=4.0)[0][0].noise.gain) == 4.0
    assert planes_of(data, set_of(gain=1e6))[0].noise.source == 'image'


def test_denoise_says_where_it_is_from(tmp_path, rng, tiny_denoiser, caplog):
    path = tmp_path / 'noise.json'
    set_of(0.05, gain=8.0).write(path)
    ccd = CCDData(rng.normal(100, 5, (128, 128)), unit=u.adu, meta=fits.Header(CARDS))
    with caplog.at_level(logging.INFO, 'astropy_n2v'):
        result = denoise(ccd, tiny_denoiser, noise=path)
    assert result.header['N2VCORR'] == 'set of 10 frames'
    assert result.header['N2VGAIN'] == 8 and 'estimated from the set' in result.header.comments['N2VGAIN']
    assert 'is from a set of 10 frames: CAM, r, 2x2, adu' in caplog.text
    assert denoise(ccd, tiny_denoiser).header['N2VCORR'] == 'image'
    assert denoise(ccd, tiny_denoiser, noise=NoiseModel(5.0)).header['N2VCORR'] == 'image'


def test_noise_of_another_kind(rng, tiny_denoiser, tmp_path):
    data = rng.normal(size=(32, 32))
    with pytest.raises(TypeError, match='noise must be a NoiseModel, a SetNoise or the path of its file, got float'):
        denoise(data, tiny_denoiser, noise=3.0)
    with pytest.raises(FileNotFoundError):
        denoise(data, tiny_denoiser, noise=tmp_path / 'none.json')


# Batches

def test_batch_measures_first(white, tmp_path, tiny_denoiser):
    out = tmp_path / 'out'
    records = denoise_files(white, out, model=tiny_denoiser)
    assert [record.status for record in records] == ['done'] * 3
    assert SetNoise.read(out / 'n2v-noise.json').groups[0].n_frames == 3
    assert [fits.getheader(record.output)['N2VCORR'] for record in records] == ['set of 3 frames'] * 3


def test_white_noise_comes_out_as_frame_by_frame(white, tmp_path, tiny_denoiser):
    first = denoise_files(white, tmp_path / 'set', model=tiny_denoiser)
    second = denoise_files(white, tmp_path / 'own', model=tiny_denoiser, per_frame=True)
    assert not (tmp_path / 'own' / 'n2v-noise.json').exists()
    for one, other in zip(first, second):
        assert fits.getheader(other.output)['N2VCORR'] == 'image'
        assert np.allclose(fits.getdata(one.output), fits.getdata(other.output), rtol=1e-6)


def test_shards_of_a_set_come_out_alike(white, tmp_path, tiny_denoiser):
    together = denoise_files(white, tmp_path / 'together', model=tiny_denoiser)
    alone = denoise_files(white[1:2], tmp_path / 'alone', model=tiny_denoiser,
                          noise=tmp_path / 'together' / 'n2v-noise.json')
    assert np.array_equal(fits.getdata(together[1].output), fits.getdata(alone[0].output))
    assert not (tmp_path / 'alone' / 'n2v-noise.json').exists()


def test_single_file_is_no_set(white, tmp_path, tiny_denoiser):
    (record,) = denoise_files(white[:1], tmp_path / 'out', model=tiny_denoiser)
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['a_n2v.fits']
    assert fits.getheader(record.output)['N2VCORR'] == 'image'


def test_existing_file_of_the_noise_stays(white, tmp_path, tiny_denoiser):
    out = tmp_path / 'out'
    denoise_files(white, out, model=tiny_denoiser)
    before = (out / 'n2v-noise.json').read_bytes()
    denoise_files(white[:2], out, model=tiny_denoiser, suffix='_again')
    assert (out / 'n2v-noise.json').read_bytes() == before
    assert SetNoise.read(out / 'n2v-noise-2.json').groups[0].n_frames == 2
    denoise_files(white[:2], out, model=tiny_denoiser, overwrite=True)
    assert SetNoise.read(out / 'n2v-noise.json').groups[0].n_frames == 2


def test_bad_noise_is_an_error_of_the_run(white, tmp_path, tiny_denoiser):
    with pytest.raises(ValueError, match='a.fits is no file of the noise'):
        denoise_files(white, tmp_path / 'out', model=tiny_denoiser, noise=white[0])
    with pytest.raises(ValueError, match='per_frame must be false with noise.*, got True'):
        denoise_files(white, tmp_path / 'out', model=tiny_denoiser, noise=set_of(), per_frame=True)
    assert not (tmp_path / 'out').exists()


def test_summary_says_where_it_is_from(white, tmp_path, tiny_denoiser):
    table = summary_table(denoise_files(white[:2], tmp_path / 'out', model=tiny_denoiser))
    assert list(table['correlation_source']) == ['set of 2 frames'] * 2 and list(table['device']) == ['cpu'] * 2


def test_commands(run, white, tmp_path, tiny_denoiser):
    model, noise, out = tmp_path / 'tiny.safetensors', tmp_path / 'noise.json', tmp_path / 'out'
    tiny_denoiser.save(model)
    result = run('noise', *white, '-o', noise)
    assert result.exit_code == 0 and 'CAM, r, 2x2, adu: autocorrelation of neighbours along rows' in result.stdout
    assert run('noise', *white, '-o', noise).exit_code == 1
    result = run('denoise', white[0], '-o', out, '--model', model, '--noise', noise)
    assert result.exit_code == 0 and fits.getheader(out / 'a_n2v.fits')['N2VCORR'] == 'set of 3 frames'
    result = run('denoise', *white[1:], '-o', out, '--model', model, '--per-frame')
    assert result.exit_code == 0 and fits.getheader(out / 'b_n2v.fits')['N2VCORR'] == 'image'
    assert not list(out.glob('*.json')) and 'in common' not in result.stderr
    result = run('denoise', *white, '-o', out, '--model', model, '--overwrite')
    assert 'measuring the noise that the frames have in common' in result.stderr
    assert (out / 'n2v-noise.json').exists()


def test_commands_report_what_is_wrong(run, white, tmp_path):
    assert run('denoise', *white, '-o', tmp_path, '--noise', 'x.json', '--per-frame').exit_code == 2
    result = run('denoise', *white, '-o', tmp_path, '--noise', 'x.json')
    assert result.exit_code == 1 and 'x.json' in result.stderr
    result = run('denoise', *white, '-o', tmp_path, '--noise', white[0])
    assert result.exit_code == 1 and 'is no file of the noise of a set' in result.stderr
    result = run('noise', white[0], 'none.fits', '-o', tmp_path / 'noise.json')
    assert result.exit_code == 1 and 'none.fits: error: No such file' in result.stderr
    assert SetNoise.read(tmp_path / 'noise.json').groups[0].n_frames == 1
    result = run('noise', 'none.fits', '-o', tmp_path / 'other.json')
    assert result.exit_code == 1 and 'could not be measured on any image' in result.stderr
    assert not (tmp_path / 'other.json').exists()


def test_real_frames_of_one_night(data_path, tmp_path):
    files = []
    for path in sorted((data_path / 'm13_blue').glob('*.fits'))[:3]:
        data, header = fits.getdata(path, header=True)
        for part in (slice(0, 160), slice(500, 660)):
            files.append(tmp_path / f'{path.stem}_{part.start}.fits')
            fits.writeto(files[-1], data[part, 600:760], header)
    noise = estimate_set_noise(files)
    (group,) = noise.groups
    assert group.n_frames == 6 and group.agrees and group.group.instrument == 'Orion SSDSI'
    planes = [find_planes(Container(read_fits_images(path)[0]), noise=noise)[0] for path in files]
    assert len({find_hole(found) for found in planes}) == 1
    levels = [float(found[0].noise.sigma) for found in planes]
    assert len(set(levels)) == 6
