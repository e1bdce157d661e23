# Licensed under a 3-clause BSD style license - see LICENSE
"""
JPEG, PNG and TIFF on the page.
"""

import numpy as np
import pytest

from astropy_n2v.gui import tasks
from astropy_n2v.gui.render import Pyramid
from astropy_n2v.io.raster import RasterImage, read_raster, write_raster


@pytest.fixture
def picture(tmp_path, rng):
    path = tmp_path / 'm31.png'
    values = rng.normal(20000, 900, (3, 96, 128))
    values[1] += 3000
    write_raster(path, RasterImage(values.astype('u2')))
    return path


def test_picture_is_read_denoised_shown_and_saved(tmp_path, picture):
    folder = tmp_path / 'handed'
    folder.mkdir()
    found = tasks.hdus(folder, picture)
    assert [hdu.label for hdu in found['hdus']] == ['picture'] and '3 channel(s) of uint16, 128×96' in found['header']
    read = tasks.read(folder, picture, 0, 1)
    assert read['kind'] == 'PNG' and read['n_planes'] == 3 and read['shape'] == (96, 128)
    # The first row of a picture is its top, the first one of the page the bottom.
    np.testing.assert_array_equal(Pyramid.load(folder, 'input').levels[0], read_raster(picture).data[1, ::-1])
    noise = tasks.measure(folder, picture, 0, {})
    assert noise['sigma'] == pytest.approx(900, rel=0.1) and noise['gain'] is None
    done = tasks.denoise(folder, picture, 0, {'strength': 0.9})
    assert done['cards']['N2VSTREN'][0] == 0.9 and done['cards']['N2VAUDIT'][0] == 'ok'
    assert tasks.show(folder, picture, 0, 1) == ['residual', 'result']
    assert Pyramid.load(folder, 'residual').levels[0].std() == pytest.approx(0.9, abs=0.15)
    target = tmp_path / 'saved' / 'm31_n2v.png'
    tasks.save_fits(folder, target, False, picture)
    np.testing.assert_array_equal(Pyramid.load(folder, 'result').levels[0], read_raster(target).data[1, ::-1])
    tasks.save_png(folder, tmp_path / 'compared.png', False, picture, 0, 1, None, None)
    assert (tmp_path / 'compared.png').exists()


def test_channel_that_is_not_there(tmp_path, picture):
    with pytest.raises(ValueError, match='plane must be from 0 to 2, got 3'):
        tasks.read(tmp_path, picture, 0, 3)


def test_transparent_pixels_do_not_count(tmp_path, rng):
    values, alpha = rng.normal(20000, 900, (3, 96, 128)), np.full((96, 128), 65535, dtype='u2')
    values[:, :60], alpha[:60] = 1000, 0
    write_raster(tmp_path / 'a.png', RasterImage(values.astype('u2'), alpha))
    found = tasks.measure(tmp_path, tmp_path / 'a.png', 0, {})
    assert found['masked'] == 60 / 96 and found['sigma'] == pytest.approx(900, rel=0.1)
    assert found['sky'] == pytest.approx(20000, rel=0.01)
