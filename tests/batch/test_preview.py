# Licensed under a 3-clause BSD style license - see LICENSE
"""
Pictures of files before and after denoising.
"""

import numpy as np
import pytest
from astropy.io import fits
from click.testing import CliRunner
from PIL import Image

from astropy_n2v import visualization as module
from astropy_n2v.batch import denoise_raster, preview_file, preview_result
from astropy_n2v.cli import main


@pytest.fixture
def frame(tmp_path, rng):
    path = tmp_path / 'frame.fits.gz'
    fits.writeto(path, rng.normal(100, 5, (40, 48)).astype('f4'), fits.Header({'BUNIT': 'adu'}))
    return path


@pytest.fixture
def drawn(monkeypatch):
    """Record the arguments of the figures that are drawn."""
    calls, original = [], module.plot_denoised

    def plot(before, after, **options):
        calls.append((before, after, options))
        return original(before, after, **options)

    monkeypatch.setattr(module, 'plot_denoised', plot)
    return calls


def run(*arguments):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_picture_has_the_four_panels(frame, tmp_path, tiny_denoiser, drawn):
    written = preview_file(frame, tmp_path / 'out', tiny_denoiser, size=32, stretch='zscale')
    assert written == [tmp_path / 'out' / 'frame.png'] and written[0].read_bytes().startswith(b'\x89PNG')
    ((before, after, options),) = drawn
    np.testing.assert_array_equal(before.data, fits.getdata(frame))
    assert after.uncertainty is not None
    assert options == {'stretch': 'zscale', 'cutout': (slice(4, 36), slice(8, 40))}
    with pytest.raises(FileExistsError):
        preview_file(frame, tmp_path / 'out', tiny_denoiser)
    assert preview_file(frame, tmp_path / 'out', tiny_denoiser, overwrite=True) == written


def test_images_of_a_file_and_planes_of_a_cube(tmp_path, rng, tiny_denoiser, drawn):
    cube = rng.normal(100, 5, (2, 32, 40)).astype('f4')
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(cube, name='SCI'), fits.ImageHDU(cube[1], name='SCI', ver=2)]
                 ).writeto(tmp_path / 'mosaic.fits')
    written = preview_file(tmp_path / 'mosaic.fits', tmp_path, tiny_denoiser)
    assert [path.name for path in written] == ['mosaic-1.png', 'mosaic-2.png']
    np.testing.assert_array_equal(drawn[0][0].data, cube[0])
    assert drawn[0][1].uncertainty.array.shape == (32, 40)


def test_command(frame, tmp_path, tiny_denoiser, rng):
    model = tmp_path / 'm.safetensors'
    tiny_denoiser.save(model)
    files = []
    for n in range(4):
        files.append(tmp_path / f'f{n}.fits')
        fits.writeto(files[-1], rng.normal(100, 5, (40, 48)).astype('f4'))
    result = run('preview', *files, '--model', model, '-n', '2', '-o', tmp_path / 'out')
    assert result.exit_code == 0, result.stderr
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['f0.png', 'f2.png']
    assert f'{files[2]} -> {tmp_path / "out" / "f2.png"}' in result.stdout
    files[0].write_bytes(b'nonsense')
    result = run('preview', *files, '--model', model, '-o', tmp_path / 'more')
    assert result.exit_code == 1 and f'{files[0]}: error: ' in result.stderr
    assert sorted(path.name for path in (tmp_path / 'more').iterdir()) == ['f1.png', 'f2.png', 'f3.png']
    result = run('preview', files[1], '--model', tmp_path / 'none', '-o', tmp_path / 'more')
    assert result.exit_code == 1 and 'there is no such file' in result.stderr


def test_denoise_with_preview(frame, tmp_path, tiny_denoiser, drawn):
    model = tmp_path / 'm.safetensors'
    tiny_denoiser.save(model)
    arguments = 'denoise', frame, '-o', tmp_path / 'out', '--model', model, '--preview'
    result = run(*arguments)
    assert result.exit_code == 0 and f'pictures: {tmp_path / "out" / "frame_n2v.png"}' in result.stderr
    ((before, after, _),) = drawn
    np.testing.assert_array_equal(before.data, fits.getdata(frame))
    np.testing.assert_array_equal(after.data, fits.getdata(tmp_path / 'out' / 'frame_n2v.fits.gz'))
    assert after.uncertainty is not None
    (tmp_path / 'out' / 'frame_n2v.fits.gz').unlink()
    result = run(*arguments)
    assert result.exit_code == 0 and 'warning: no picture: ' in result.stderr


def test_raster_images(tmp_path, rng, tiny_denoiser, drawn):
    """The mean of the colours before and after, as they are stored, the right way up."""
    values = rng.normal(90, 8, (48, 40, 3)).clip(0, 255).astype('u1')
    values[:4] //= 2   # the top
    values = np.concatenate([values, np.full((48, 40, 1), 255, dtype='u1')], axis=2)
    values[40:, :, 3] = 0
    Image.fromarray(values).save(tmp_path / 'a.png')
    assert preview_file(tmp_path / 'a.png', tmp_path / 'out', tiny_denoiser) == [tmp_path / 'out' / 'a.png.png']
    denoise_raster(tmp_path / 'a.png', tmp_path / 'b.png', tiny_denoiser)
    assert preview_result(tmp_path / 'a.png', tmp_path / 'b.png') == [tmp_path / 'b.png.png']
    for before, after, _ in drawn:
        np.testing.assert_allclose(before.data, values[::-1, :, :3].mean(axis=2))   # drawn from bottom to top
        assert before.mask[:8].all() and not before.mask[8:].any() and after.uncertainty is None
        assert 0 < np.std((after.data - before.data)[8:]) < 8
    np.testing.assert_array_equal(drawn[0][1].data, drawn[1][1].data)


def test_options_of_fits_files_do_not_go_with_pictures(tmp_path, rng):
    Image.fromarray(rng.normal(90, 8, (48, 40)).clip(0, 255).astype('u1')).save(tmp_path / 'a.png')
    for name, value in ('ext', 'SCI'), ('mask', np.zeros((48, 40), dtype=bool)), ('gain', 2.0):
        with pytest.raises(ValueError, match=f'{name} does not go with pictures, got '):
            preview_file(tmp_path / 'a.png', tmp_path / 'out', **{name: value})
    with pytest.raises(ValueError, match='ext does not go with pictures'):
        preview_result(tmp_path / 'a.png', tmp_path / 'a.png', ext='SCI')


def test_result_must_fit(frame, tmp_path):
    fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU(np.ones((8, 8)), name='SCI', ver=n) for n in (1, 2))]
                 ).writeto(tmp_path / 'two.fits')
    with pytest.raises(ValueError, match='result must have as many images as .*frame.fits.gz, 1, got 2'):
        preview_result(frame, tmp_path / 'two.fits')
