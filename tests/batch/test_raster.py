# Licensed under a 3-clause BSD style license - see LICENSE
"""
Denoising of pictures.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.utils.exceptions import AstropyUserWarning
from click.testing import CliRunner
from scipy.ndimage import convolve

from astropy_n2v import denoise
from astropy_n2v.batch import denoise_channels, denoise_fits, denoise_raster, raster
from astropy_n2v.cli import main
from astropy_n2v.containers.container import Container
from astropy_n2v.exceptions import CannotDenoiseError
from astropy_n2v.io.raster import RasterImage, read_raster, write_raster
from astropy_n2v.noise.brightness import channel_noise, picture_noise, relative_noise
from astropy_n2v.noise.pictures import is_colour_cube
from astropy_n2v.planes import find_planes
from astropy_n2v.simulate import make_psf, make_scene

pytest.importorskip('PIL')
pytest.importorskip('tifffile')

# Parts of the light of a scene that the channels see.
COLOURS = (1.0, 0.6, 0.3)


def observe(seed=1, n=96):
    """Make a linear star field in three colours: noise-free, and with the noise of photons."""
    scene = make_scene('survey', (n, n), seed=seed)
    truth = np.stack([colour * (scene.truth - scene.sky) + scene.sky for colour in COLOURS])
    return scene, truth, np.random.default_rng(seed).poisson(truth).astype(float)


def stretch(values):
    """Stretch as an amateur's program does: the sky to 0.1, faint light lifted."""
    return np.clip(np.arcsinh((values - 150) / 100) / np.arcsinh(100) * 0.9, 0, 1)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / 'picture.png'
    write_raster(path, RasterImage(np.rint(stretch(observe()[2]) * 65535).astype('u2'),
                                   np.full((96, 96), 65535, dtype='u2')))
    return path


def rms(values):
    return np.sqrt(np.mean(values ** 2, axis=(1, 2)))


def test_stretched_pictures_of_16_bits(path, tmp_path):
    done = denoise_raster(path, tmp_path / 'out.png')
    assert done.denoised == ['red', 'green', 'blue'] and done.unchanged == []
    before, after, truth = read_raster(path), read_raster(tmp_path / 'out.png'), stretch(observe()[1]) * 65535
    assert after.data.dtype == np.uint16
    np.testing.assert_array_equal(after.alpha, before.alpha)
    assert (rms(after.data - truth) < 0.4 * rms(before.data - truth)).all()


@pytest.mark.parametrize('name', ['a.jpg', 'a.tif'])
def test_other_kinds(tmp_path, name):
    _, truth, noisy = observe()
    kind = 'JPEG' if name == 'a.jpg' else 'TIFF'
    values = stretch(noisy) * 255
    first = RasterImage(np.rint(values).astype('u1') if kind == 'JPEG' else (values / 255).astype('f4'), None, kind)
    write_raster(tmp_path / name, first)
    denoise_raster(tmp_path / name, tmp_path / f'out_{name}')
    scale = 255 if kind == 'JPEG' else 1
    before, after = (read_raster(tmp_path / file).data for file in (name, f'out_{name}'))
    assert after.dtype == first.data.dtype
    assert (rms(after - stretch(truth) * scale) < 0.75 * rms(before - stretch(truth) * scale)).all()


@pytest.mark.parametrize('stretched', [False, True])
def test_stars_keep_their_colour(rng, stretched):
    psf = make_psf(3.0, half_size=16)
    truth = np.full((3, 128, 128), 200.0)
    for y, x in ((40, 40), (40, 90), (90, 60)):
        truth[:, y - 16:y + 17, x - 16:x + 17] += 1e6 * np.multiply.outer(COLOURS, psf)
    noisy = rng.poisson(truth).astype(float)
    data = np.arcsinh((noisy - 150) / 100) if stretched else noisy
    result, _ = denoise_channels(data)
    after = 150 + 100 * np.sinh(result) if stretched else result
    for y, x in ((40, 40), (40, 90), (90, 60)):
        light = (after - 200)[:, y - 5:y + 6, x - 5:x + 6].sum(axis=(1, 2))
        known = (truth - 200)[:, y - 5:y + 6, x - 5:x + 6].sum(axis=(1, 2))
        np.testing.assert_allclose(light / light[0], known / known[0], rtol=0.01)


def test_masked_and_white_pixels_stay(tmp_path):
    values = np.random.default_rng(1).normal(100, 5, (3, 64, 64)).round().astype('u1')
    values[:, 10, 10] = 255
    alpha = np.full((64, 64), 255, dtype='u1')
    alpha[20, 20] = 0
    write_raster(tmp_path / 'a.png', RasterImage(values, alpha))
    denoise_raster(tmp_path / 'a.png', tmp_path / 'b.png')
    after = read_raster(tmp_path / 'b.png').data
    assert (after[:, 10, 10] == 255).all()
    np.testing.assert_array_equal(after[:, 20, 20], values[:, 20, 20])


def test_strength_0_is_the_picture(path, tmp_path):
    denoise_raster(path, tmp_path / 'out.png', strength=0)
    np.testing.assert_allclose(read_raster(tmp_path / 'out.png').data.astype(int), read_raster(path).data, atol=1)


def test_command_takes_pictures(path, tmp_path):
    result = CliRunner().invoke(main, ['denoise', str(path), '-o', str(tmp_path / 'out')])
    assert result.exit_code == 0, result.output
    assert (tmp_path / 'out' / 'picture_n2v.png').exists()
    assert 'red, green, blue' in result.output


@pytest.mark.parametrize(('options', 'message'), [
    ({'gain': 2.0}, 'gain does not go with pictures, got 2.0'), ({'model': 'self'}, "got 'self'"),
    ({'full_output': True}, 'full_output does not go'), ({'mask': np.zeros((96, 96), dtype=bool)}, 'mask does not go')])
def test_options_of_frames(path, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        denoise_fits(path, tmp_path / 'out.png', **options)


def test_pictures_are_not_replaced(path, tmp_path):
    with pytest.raises(ValueError, match='would overwrite its input'):
        denoise_raster(path, path, overwrite=True)
    (tmp_path / 'out.png').write_text('mine')
    with pytest.raises(FileExistsError):
        denoise_raster(path, tmp_path / 'out.png')


def test_channels_gain_together(monkeypatch):
    _, truth, noisy = observe(seed=7, n=128)
    picture, known = stretch(noisy), stretch(truth)
    together, _ = denoise_channels(picture)
    monkeypatch.setattr(raster, '_together', lambda data, bad, result, *_: result)
    apart, _ = denoise_channels(picture)
    mix = raster._MIX[1:]
    errors = [[*rms(result - known), *rms(np.tensordot(mix, result - known, 1))] for result in (together, apart)]
    assert (np.array(errors[0]) < errors[1]).all()
    assert np.mean(np.array(errors[0]) / errors[1]) < 0.95


def test_weights_of_both_results(tiny_denoiser):
    """In a picture that is bright in the most part, the noise of the sky is larger than the median."""
    level = 200 + 1000 / (1 + np.exp(-(np.arange(96) - 38) / 4)) * np.ones((96, 1))
    photons = np.random.default_rng(3).poisson(level, (3, 96, 96))
    noises = [channel_noise(plane) for plane in stretch(photons)]
    assert all(noise.sigma.max() > 1.2 * np.median(noise.sigma) for noise in noises)
    own = np.zeros((3, 96, 96)), np.ones((3, 96, 96))   # the result is linear in the one of the channels
    first, second = (raster._together(stretch(photons), np.zeros(photons.shape, bool), result, noises, tiny_denoiser,
                                      {'strength': 1.0, 'full_output': False}) for result in own)
    weights = 1 - (second - first)
    assert np.max(weights) == pytest.approx(0.5) and 0 < np.min(weights) < 0.4


@pytest.mark.parametrize('kind', ['grey', 'common noise'])
def test_channels_of_common_noise_stay_apart(monkeypatch, rng, kind):
    noise = rng.normal(100, 5, (1, 64, 64)) + np.zeros((3, 1, 1))
    picture = noise if kind == 'grey' else noise + rng.normal(0, 1, (3, 64, 64))
    together, errors = denoise_channels(picture)
    monkeypatch.setattr(raster, '_together', lambda data, bad, result, *_: result)
    np.testing.assert_array_equal(together, denoise_channels(picture)[0])
    assert errors == ['', '', '']


def test_constant_channels_pass_through(rng):
    data = rng.normal(100, 5, (3, 64, 64))
    data[1] = 7
    with pytest.warns(UserWarning, match='green passes through as it is'):
        result, errors = denoise_channels(data)
    assert (result[1] == 7).all()
    assert [bool(error) for error in errors] == [False, True, False]


def test_shape_of_channels():
    with pytest.raises(ValueError, match=r'shape \(channels, ny, nx\), got \(4, 4\)'):
        denoise_channels(np.zeros((4, 4)))
    with pytest.raises(ValueError, match=r'moveaxis\(data, -1, 0\), got \(64, 64, 3\)'):
        denoise_channels(np.zeros((64, 64, 3)))


def test_noise_of_galaxies_is_not_their_structure(rng):
    y, x = np.mgrid[:128, :128]
    galaxy = 200 / (1 + ((x - 64) ** 2 + (y - 64) ** 2) / 20)
    ratio = relative_noise(galaxy + rng.normal(20, 2, galaxy.shape))
    assert ratio.max() <= 1


@pytest.mark.parametrize(('kernel', 'rho'), [([[1.0]], 0.0), ([[1.0, 1.0]], 0.5)])
def test_noise_on_a_slope(rng, kernel, rho):
    noise = convolve(rng.normal(size=(128, 128)), np.array(kernel) / np.sqrt(np.sum(kernel)))
    model = picture_noise(5 * noise + 3 * np.arange(128))
    assert np.median(model.sigma) == pytest.approx(5, rel=0.1)
    assert model.autocorrelation[2, 3] == pytest.approx(rho, abs=0.1)


def test_neighbours_of_masked_pixels_do_not_count(rng):
    """Noise of one size, with masked pixels among the bright ones."""
    image, mask = rng.normal(np.repeat([[10.0], [200.0]], 64, axis=0), 1, (128, 128)), np.zeros((128, 128), bool)
    mask[64:] = rng.random((64, 128)) < 0.05
    assert abs(np.median(relative_noise(image, mask)[72:]) - 1) < 0.1


def test_pictures_with_masked_pixels_in_all_blocks_are_denoised(rng):
    picture, mask = np.rint(rng.normal(100, 5, (64, 64))).astype('u1'), rng.random((64, 64)) < 0.12
    kernel = np.ones((2, 2)) / 4
    picture = np.rint(convolve(picture.astype(float), kernel)).astype('u1')   # correlated: measured on blocks
    with pytest.warns(AstropyUserWarning, match='correlat'):
        result = denoise(CCDData(picture, unit='', mask=mask), audit='warn')
    assert np.std(np.asarray(result.data)[~mask]) < 0.8 * np.std(picture[~mask].astype(float))


def test_noise_has_a_floor(rng):
    noise = channel_noise(rng.normal(50, 1, (64, 64)), floor=3.0)
    assert noise.sigma.min() == 3.0


# Parts of a galaxy are like nothing that the noise of the sky explains.
@pytest.mark.filterwarnings('ignore:.*innovations:astropy.utils.exceptions.AstropyUserWarning')
@pytest.mark.skipif('ASTROPY_N2V_TEST_DATA' not in os.environ, reason='no real images')
def test_galaxies_of_the_hubble_deep_field_stay(tmp_path):
    image_module = pytest.importorskip('PIL.Image')
    path = Path(os.environ['ASTROPY_N2V_TEST_DATA']) / 'rgb_jpeg' / 'hubble_deep_field.jpg'
    with image_module.open(path) as image:
        image.crop((300, 300, 460, 460)).save(tmp_path / 'a.png')
    denoise_raster(tmp_path / 'a.png', tmp_path / 'b.png')
    before, after = (read_raster(tmp_path / name).data.astype(float) for name in ('a.png', 'b.png'))
    bright = before.mean(axis=0) > 80
    assert np.abs(after[:, bright].mean(axis=1) / before[:, bright].mean(axis=1) - 1).max() < 0.01
    sky = before.mean(axis=0) < 30
    assert (after[:, sky].std(axis=1) < 0.8 * before[:, sky].std(axis=1)).all()


def test_cubes_of_fits_have_the_noise_of_each_plane(tmp_path):
    scene, truth, noisy = observe(seed=5)
    noisy[2] += np.random.default_rng(6).normal(0, 40, noisy[2].shape)
    fits.writeto(tmp_path / 'rgb.fits', noisy.astype('f4'))
    denoise_fits(tmp_path / 'rgb.fits', tmp_path / 'out.fits')
    after = fits.getdata(tmp_path / 'out.fits')
    assert after.shape == truth.shape
    assert (rms(after - truth) < 0.4 * rms(noisy - truth)).all()
    uncertainty = np.median(fits.getdata(tmp_path / 'out.fits', 'UNCERT'), axis=(1, 2))
    assert uncertainty[2] > 1.5 * uncertainty[0]


@pytest.mark.parametrize('dtype', ['f4', 'u2'])
@pytest.mark.parametrize('header', [{}, {'CTYPE3': 'RGB', 'EGAIN': 0.24, 'HISTORY': 'Asinh Transformation: (50)'}])
def test_stretched_cubes_of_fits_are_pictures(tmp_path, monkeypatch, dtype, header):
    monkeypatch.setattr(raster, '_together', lambda data, bad, result, *_: result)   # cubes go plane by plane
    _, truth, noisy = observe(seed=5, n=128)
    picture = stretch(noisy)
    picture[:, 5, 5] = 1.0
    scale = 65535 if dtype == 'u2' else 1
    fits.writeto(tmp_path / 'rgb.fits', (picture * scale).astype(dtype), fits.Header(list(header.items())))
    denoise_fits(tmp_path / 'rgb.fits', tmp_path / 'out.fits')
    after = fits.getdata(tmp_path / 'out.fits') / scale
    expected, _ = denoise_channels(picture)
    # But for saturated pixels, and what is near.
    assert np.mean(np.abs(after - expected) > 0.1 * np.std(picture - stretch(truth))) < 0.01


@pytest.mark.parametrize('header', [{'CTYPE3': 'FREQ'}, {'CUNIT3': 'nm'}, {'CDELT3': 0.5}])
def test_cubes_of_spectra_are_no_pictures(header):
    assert not is_colour_cube((3, 64, 64), header) and is_colour_cube((3, 64, 64), {'CTYPE3': 'RGB'})


@pytest.mark.parametrize('kind', ['survey', 'nebula'])
def test_linear_cubes_are_not_stretched(kind):
    scene = make_scene(kind, (128, 128), seed=4)
    planes = np.random.default_rng(4).poisson(np.multiply.outer(COLOURS, scene.truth)).astype(float)
    for cube in planes, planes / planes.max():
        frame = Container(cube)
        assert not any(plane.picture for plane in find_planes(frame)[0])


def test_colours_come_first(rng):
    with pytest.raises(CannotDenoiseError, match=r'axis first, numpy.moveaxis\(data, -1, 0\), got \(64, 48, 3\)'):
        denoise(rng.normal(size=(64, 48, 3)))


def test_nebulosity_of_jpeg_does_not_get_worse(tmp_path):
    image_module = pytest.importorskip('PIL.Image')
    scene = make_scene('nebula', (128, 128), seed=2)
    values = [np.clip(0.05 + 0.15 * np.arcsinh((image - scene.sky) / 20), 0, 1) * 255
              for image in (scene.truth, np.random.default_rng(3).poisson(8 * scene.truth) / 8)]
    image_module.fromarray(np.rint(values[1]).astype('u1')).save(tmp_path / 'a.jpg', quality=92)
    with pytest.warns(UserWarning, match='nebulosity fills the picture'):
        result, _ = denoise_channels(before := read_raster(tmp_path / 'a.jpg').data.astype(float))
    assert rms(result - values[0])[0] <= rms(before - values[0])[0]


def test_sets_of_stretched_cubes_are_pictures(tmp_path):
    paths = []
    for seed in range(2):
        paths.append(tmp_path / f'{seed}.fits')
        fits.writeto(paths[-1], stretch(observe(seed=seed, n=64)[2]).astype('f4'), fits.Header([('HISTORY', 'GHS')]))
    result = CliRunner().invoke(main, ['denoise', *map(str, paths), '-o', str(tmp_path / 'out')])
    assert result.exit_code == 0, result.output
    assert 'HDU 0' in result.output and 'autocorrelation set' not in result.output
