# Licensed under a 3-clause BSD style license - see LICENSE
"""
References: alignment, scale, and exposures judged by each other.
"""

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.wcs import WCS
from scipy.ndimage import gaussian_filter

from astropy_n2v.photometry import forced_photometry
from astropy_n2v.simulate import make_scene
from astropy_n2v.validation import LinearScale, align_reference, fit_scale, judge_exposures


def make_wcs(shape, scale, angle=0.0, ra=150.0):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ['RA---TAN', 'DEC--TAN'], [ra, 2.0]
    wcs.wcs.crpix = [(shape[1] + 1) / 2, (shape[0] + 1) / 2]
    wcs.wcs.cdelt = np.array([-1, 1]) * scale
    wcs.wcs.pc = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return wcs


def star_on(wcs, shape, fwhm, flux=1000.0):
    """Make a star at one place and of one size on the sky, as flux per pixel."""
    x0, y0 = wcs.wcs_world2pix([[150.0005, 2.0003]], 0)[0]
    sigma = fwhm / 2.3548 / abs(wcs.wcs.cdelt[0])
    y, x = np.mgrid[:shape[0], :shape[1]]
    return flux / (2 * np.pi * sigma ** 2) * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * sigma ** 2)), (x0, y0)


@pytest.mark.parametrize('method', ['exact', 'adaptive', 'interp'])
def test_alignment_keeps_flux(method):
    frame_wcs, deep_wcs = make_wcs((64, 64), 1e-4), make_wcs((150, 150), 5e-5, angle=0.4)
    image, place = star_on(frame_wcs, (64, 64), 4e-4)
    deep, _ = star_on(deep_wcs, (150, 150), 4e-4)
    frame = CCDData(image, unit='adu', wcs=frame_wcs)
    aligned = align_reference(CCDData(deep, unit='adu', wcs=deep_wcs), frame, method=method)
    assert aligned.shape == frame.shape and aligned.unit == 'adu' and aligned.wcs is frame.wcs
    assert aligned.meta['area_ratio'] == pytest.approx(4)
    flux = forced_photometry(np.where(aligned.mask, 0, aligned.data), [place], radius=10, noise=1.0)['flux'][0]
    assert flux == pytest.approx(1000, rel=0.01)
    bright = align_reference(CCDData(deep, unit='adu', wcs=deep_wcs), frame, method=method,
                             pixel_values='surface_brightness')
    assert np.nanmax(bright.data) == pytest.approx(np.nanmax(aligned.data) / 4)
    # Resampling does not move a star.
    near = ~aligned.mask & (image > 0.3 * image.max())
    y, x = np.nonzero(near)
    assert np.average(x, weights=aligned.data[near]) == pytest.approx(np.average(x, weights=image[near]), abs=0.03)


def test_alignment_masks_what_is_not_covered():
    frame = CCDData(np.ones((40, 40)), unit='adu', wcs=make_wcs((40, 40), 1e-4))
    data = np.ones((20, 20))
    data[10, 10] = np.nan
    aligned = align_reference(CCDData(data, unit='adu', wcs=make_wcs((20, 20), 1e-4)), frame)
    # The invalid pixel takes along those that share an edge or a corner with it, within rounding.
    assert 1600 - 400 < aligned.mask.sum() <= 1600 - 400 + 9 and aligned.mask[20, 20]
    assert np.allclose(aligned.data[~aligned.mask], 1)


@pytest.mark.parametrize(('change', 'message'), [
    ({'reference': CCDData(np.ones((8, 8)), unit='adu', wcs=make_wcs((8, 8), 1e-4, ra=151.0))},
     'reference must overlap with frame'),
    ({'reference': CCDData(np.ones((8, 8)), unit='adu')}, 'reference must have a celestial WCS, got None'),
    ({'frame': CCDData(np.ones((8, 8)), unit='adu')}, 'frame must have a celestial WCS, got None'),
    ({'method': 'magic'}, "method must be one of 'exact', 'adaptive', 'interp', got 'magic'"),
    ({'pixel_values': 'counts'}, "pixel_values must be 'flux' or 'surface_brightness', got 'counts'"),
    ({'min_coverage': 0}, 'min_coverage must be in \\(0, 1\\], got 0')])
def test_alignment_errors(change, message):
    image = CCDData(np.ones((16, 16)), unit='adu', wcs=make_wcs((16, 16), 1e-4))
    with pytest.raises(ValueError, match=message):
        align_reference(**{'reference': image, 'frame': image, **change})


@pytest.fixture(scope='module')
def scene():
    return make_scene('crowded', (192, 192), seed=5)


@pytest.mark.parametrize('with_second', [False, True])
def test_scale(scene, with_second):
    """The noise of the reference does not lower the slope, outliers and offsets do no harm."""
    rng = np.random.default_rng(2)
    pulls = []
    for seed in range(6):
        frame = 2.5 * scene.truth + 40 + 30 * rng.normal(size=scene.truth.shape)
        frame[50:54, 60:70] += 1e5
        reference, second = (scene.observe(seed=10 * seed + i).data for i in range(2))
        scale = fit_scale(reference, frame, second=second if with_second else None)
        assert scale.slope == pytest.approx(2.5, rel=0.03) and scale.slope_err < 0.03
        pulls += [(scale.slope - 2.5) / scale.slope_err]
        assert abs(np.median(scale.apply(reference) - frame)) < 3
    assert np.sqrt(np.mean(np.square(pulls))) < 2


def test_scale_by_offset_only(scene):
    frame = scene.truth + 7
    scale = fit_scale(scene.observe(seed=1), frame, fit_slope=False)
    assert scale.slope == 1 and scale.slope_err == 0 and abs(scale.offset - 7) < 4 * scale.offset_err < 2


def test_apply_keeps_what_an_image_holds(scene):
    ccd = scene.observe(seed=1)
    ccd.mask = np.zeros(ccd.shape, dtype=bool)
    scaled = LinearScale(2.0, 0.1, 3.0, 0.1, 9).apply(ccd)
    assert np.allclose(scaled.data, 2 * ccd.data + 3) and scaled.unit == ccd.unit and scaled.mask is not None


def test_scale_errors():
    with pytest.raises(ValueError, match='frame must have the shape of reference'):
        fit_scale(np.ones((32, 32)), np.ones((16, 16)))
    with pytest.raises(ValueError, match='at least 12 pixels wide, got \\(8, 8\\)'):
        fit_scale(np.ones((8, 8)), np.ones((8, 8)))
    with pytest.raises(ValueError, match='at least 16 cells'):
        fit_scale(np.ones((12, 12)), np.ones((12, 12)))


@pytest.fixture(scope='module')
def series():
    scene = make_scene('survey', (160, 160), seed=8)
    rng = np.random.default_rng(9)
    sigma = np.sqrt(scene.noise.variance(scene.truth))
    frames = [scene.truth + sigma * rng.normal(size=sigma.shape) for _ in range(5)]
    # Results with a fifth of the error, which is correlated.
    rough = [gaussian_filter(rng.normal(size=sigma.shape), 1) * 2 * np.sqrt(np.pi) for _ in frames]
    results = [scene.truth + 0.2 * sigma * noise for noise in rough]
    return scene, frames, results, float(np.sqrt(scene.noise.variance(scene.sky)))


@pytest.mark.parametrize('with_selection', [False, True])
def test_exposures(series, with_selection):
    scene, frames, results, sigma = series
    table = judge_exposures(frames, results, noise=sigma, seed=1, selection=scene.truth if with_selection else None)
    assert len(table) == 5 * 6
    faint = table[table['brightness_high'] == 1]
    for row in faint:
        assert abs(row['mse_before'] - 1) < 4 * row['mse_before_err'] + 0.02
        assert abs(row['mse_after'] - 0.04) < 4 * row['mse_after_err'] and row['mse_after_err'] < 0.02
    # All together, the estimate is right within a few percent of the noise.
    assert np.mean(faint['mse_after']) == pytest.approx(0.04, abs=0.01)
    assert np.all(faint['ratio'] > 8)
    some = table[(table['brightness_low'] == 1) & (table['n'] > 200)]
    assert len(some) and np.mean(some['mse_after']) == pytest.approx(0.05, abs=0.03)


def test_exposures_see_an_offset_but_not_that_of_the_frames(series):
    scene, frames, results, sigma = series
    shifted = [frame + 10 * i for i, frame in enumerate(frames)]
    after = [result + 10 * i + 0.1 * sigma for i, result in enumerate(results)]
    table = judge_exposures(shifted, after, noise=sigma, seed=1)
    faint = table[table['brightness_high'] == 1]
    assert np.mean(faint['offset']) == pytest.approx(0.1, abs=0.02)
    assert np.allclose(faint['mse_before'], 1, atol=0.1)
    scaled = judge_exposures([frame * (1 + 0.1 * i) for i, frame in enumerate(frames)],
                             [result * (1 + 0.1 * i) for i, result in enumerate(results)], scale='linear', seed=1)
    assert np.all(scaled[scaled['brightness_high'] == 1]['ratio'] > 8)


def test_selection_on_the_references_would_mislead(series):
    """Why one group of exposures says how bright pixels are and others how wrong they are."""
    scene, frames, results, sigma = series
    first, second = np.mean(frames[1:3], axis=0), np.mean(frames[3:], axis=0)
    flat = np.abs(scene.truth - scene.sky) < 0.1 * sigma
    both = (first + second) / 2 - scene.sky
    select = flat & (np.abs(both - np.median(both)) < 0.1 * sigma)
    product = (results[0] - first) * (results[0] - second)
    assert product[select].mean() < -0.1 * sigma ** 2 and product[flat].mean() > 0


@pytest.mark.parametrize(('change', 'message'), [
    ({'frames': np.zeros((3, 32, 32))}, 'frames must be at least 4 without selection, got 3'),
    ({'frames': []}, 'frames must be at least 4 without selection, got 0'),
    ({'results': np.zeros((2, 32, 32))}, 'results must be as many as frames, 4, got 2'),
    ({'scale': 'log'}, "scale must be 'offset', 'linear' or None, got 'log'"),
    ({'results': np.zeros((4, 30, 30))}, 'results\\[0\\] must have the shape of frames\\[0\\]')])
def test_exposure_errors(change, message):
    frames = np.random.default_rng(0).normal(size=(4, 32, 32))
    with pytest.raises(ValueError, match=message):
        judge_exposures(**{'frames': frames, 'results': frames, **change})


def test_real_exposures(data_path):
    frames = [fits.getdata(data_path / f'sfft_decam/DEC-OBS18{letter}.mini.fits').astype(float) for letter in 'abcde']
    table = judge_exposures(frames, [gaussian_filter(frame, 1.0) for frame in frames], seed=1)
    sky = table[table['brightness_high'] == 1]
    # A blur is good for the sky, and bad for the bright parts.
    assert np.all(sky['ratio'] > 2)
    bright = table[(table['brightness_low'] >= 10) & (table['n'] > 50)]
    assert len(bright) and np.median(bright['mse_after'] / bright['mse_before']) > 1


def test_real_reference(data_path):
    """An exposure on a turned, finer grid comes back on the grid of another with its flux."""
    path = data_path / 'sfft_decam'
    frame, deep = (CCDData.read(path / f'DEC-OBS04{letter}.mini.fits', unit='adu') for letter in 'ab')
    aligned = align_reference(deep, frame)
    scale = fit_scale(aligned, frame)
    assert 0.5 < scale.slope < 2 and scale.slope_err < 0.05
    assert np.corrcoef(gaussian_filter(np.nan_to_num(aligned.data), 1)[8:-8, 8:-8].ravel(),
                       gaussian_filter(frame.data, 1)[8:-8, 8:-8].ravel())[0, 1] > 0.9
