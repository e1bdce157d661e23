# Licensed under a 3-clause BSD style license - see LICENSE
"""
Tables of sources with a stated share of false entries.
"""

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.table import Table
from astropy.wcs import WCS
from scipy.ndimage import gaussian_filter

from astropy_n2v import detect, noise_autocorrelation
from astropy_n2v.simulate import make_scene
from astropy_n2v.sources import RepeatedFrames, expected_false, false_scores, threshold_at_share
from astropy_n2v.validation import match_sources


@pytest.fixture(scope='module')
def scene():
    return make_scene('survey', (192, 192), seed=11)


@pytest.fixture(scope='module')
def frame(scene):
    frame = scene.observe(seed=12)
    frame.wcs = WCS(naxis=2)
    frame.wcs.wcs.ctype = 'RA---TAN', 'DEC--TAN'
    frame.wcs.wcs.crval, frame.wcs.wcs.crpix, frame.wcs.wcs.cdelt = (150, 2), (96, 96), (-1e-4, 1e-4)
    return frame


def smooth(frame):
    """Return a denoiser that takes no time."""
    return CCDData(gaussian_filter(frame.data, 1.3), unit=frame.unit, wcs=frame.wcs,
                   uncertainty=StdDevUncertainty(np.full(frame.shape, 3.0)))


@pytest.fixture(scope='module')
def table(frame, scene):
    return detect(frame, smooth(frame), psf=scene.psf, denoiser=smooth, n_frames=2)


def test_table_says_what_it_is(table, frame):
    assert table.colnames == ['id', 'x', 'y', 'ra', 'dec', 'flux', 'flux_err', 'snr', 'significance', 'false_share',
                              'flag']
    assert table['x'].unit == u.pix and table['ra'].unit == u.deg and table['flux'].unit == frame.unit
    assert table.meta['false_rate'] == 0.05
    assert table.meta['n_frames'] == 2
    assert (np.diff(table['significance']) <= 0).all()
    assert (table['significance'] >= table.meta['threshold']).all()


def test_sources_are_found_where_they_are(table, scene):
    bright = scene.catalog[(scene.catalog['kind'] == 'star') & (scene.catalog['flux'] > 1500)]
    assert len(bright) >= 3
    assert match_sources(table, bright, 2.0).tp == len(bright)


def test_share_of_false_entries_is_what_was_asked_for(table, frame, scene):
    assert (table['false_share'] <= 0.05).all()
    purer = detect(frame, smooth(frame), psf=scene.psf, denoiser=smooth, n_frames=2, false_rate=0.01)
    assert len(purer) < len(table)


def test_fluxes_are_those_of_the_original(table, frame, scene):
    matches = match_sources(table, scene.catalog, 1.5)
    stars = np.asarray(scene.catalog['kind'] == 'star')[matches.truth] & (table['flag'] == 0)[matches.detected]
    pulls = ((table['flux'] - 0)[matches.detected] - scene.catalog['flux'][matches.truth])[stars]
    pulls = np.asarray(pulls / table['flux_err'][matches.detected][stars])
    assert abs(np.median(pulls)) < 1
    # The same from a result that has lost all of its light.
    dim = smooth(frame)
    dim.data = dim.data / 2
    again = detect(frame, dim, psf=scene.psf, denoiser=lambda ccd: dim, n_frames=1)
    pair = match_sources(table, again, 0.5)
    np.testing.assert_allclose(table['flux'][pair.detected[:5]], again['flux'][pair.truth[:5]], rtol=0.05)


def test_positions_on_the_sky(table, frame):
    sky = frame.wcs.pixel_to_world(table['x'].value, table['y'].value)
    np.testing.assert_allclose(table['ra'], sky.ra.deg)
    np.testing.assert_allclose(table['dec'], sky.dec.deg)


def test_no_sky_on_the_sun(scene):
    frame = scene.observe(seed=12)
    frame.wcs = WCS(naxis=2)
    frame.wcs.wcs.ctype = 'HPLN-TAN', 'HPLT-TAN'
    table = detect(frame, smooth(frame), psf=scene.psf, denoiser=smooth, n_frames=1)
    assert len(table) and 'ra' not in table.colnames


def test_no_sky_without_a_wcs(scene):
    frame = scene.observe(seed=12)
    assert 'ra' not in detect(frame, smooth(frame), psf=3.2, denoiser=smooth, n_frames=1).colnames


def test_nothing_but_noise_has_no_sources(rng):
    counts = []
    for _ in range(3):
        frame = CCDData(rng.normal(100, 3, (128, 128)), unit='adu')
        counts.append(len(detect(frame, smooth(frame), psf=3.0, denoiser=smooth, n_frames=5)))
    assert sum(counts) <= 1


def test_masked_pixels_have_no_sources_and_flag_their_neighbours(frame, scene, table):
    masked = frame.copy()
    x, y = (round(float(table[name][0])) for name in 'xy')
    masked.mask = np.zeros(frame.shape, dtype=bool)
    masked.mask[y, x] = True
    found = detect(masked, smooth(masked), psf=scene.psf, denoiser=smooth, n_frames=1)
    assert not ((np.rint(found['x'].value) == x) & (np.rint(found['y'].value) == y)).any()
    near = np.hypot(found['x'].value - x, found['y'].value - y) < 2
    assert (found['flag'][near] & 2).all()


def test_neighbours_are_flagged(rng):
    y, x = np.mgrid[:64, :64]
    image = sum(500 * np.exp(-0.5 * ((x - cx) ** 2 + (y - cy) ** 2) / 1.3 ** 2)
                for cx, cy in ((20, 20), (24, 20), (45, 45)))
    frame = CCDData(image + rng.normal(100, 3, image.shape), unit='adu')
    found = detect(frame, frame_with_uncertainty(frame), psf=3.06, n_frames=1, denoiser=frame_with_uncertainty)
    alone = np.hypot(found['x'].value - 45, found['y'].value - 45) < 1
    assert (found['flag'][alone] & 8 == 0).all() and (found['flag'][~alone][:2] & 8 == 8).all()


def frame_with_uncertainty(frame):
    result = frame.copy()
    result.uncertainty = StdDevUncertainty(np.full(frame.shape, 3.0))
    return result


def test_without_stars_a_width_is_assumed(rng):
    frame = CCDData(rng.normal(100, 3, (96, 96)), unit='adu')
    with pytest.warns(UserWarning, match='too few isolated stars.*3 pixels is assumed'):
        detect(frame, smooth(frame), denoiser=smooth, n_frames=1)


@pytest.mark.parametrize(('options', 'error', 'message'), [
    ({'false_rate': 0}, ValueError, 'false_rate must be between 0 and 1, got 0'),
    ({'false_rate': 1.2}, ValueError, 'false_rate must be'), ({'n_frames': 0}, ValueError, 'n_frames must be'),
    ({'psf': 300.0}, ValueError, 'psf must be .*got 300'), ({'clean': np.ones((4, 4))}, TypeError, 'clean must be'),
    ({'original': np.ones((4, 4))}, TypeError, 'original must be CCDData, got ndarray')])
def test_bad_options(frame, options, error, message):
    with pytest.raises(error, match=message):
        detect(**{'original': frame, 'clean': smooth(frame), 'psf': 3.0, 'denoiser': smooth, **options})


def test_results_without_uncertainty_are_refused(frame):
    clean = smooth(frame)
    clean.uncertainty = None
    with pytest.raises(ValueError, match='clean must have an uncertainty'):
        detect(frame, clean, psf=3.0, denoiser=smooth)


def test_results_of_another_shape_are_refused(frame):
    with pytest.raises(ValueError, match='of one shape'):
        detect(frame, smooth(frame[:64, :64]), psf=3.0, denoiser=smooth)


def test_repetitions_have_the_noise_of_the_frame(frame):
    repeats = RepeatedFrames(frame, smooth(frame))
    repeats.deviation[:] = 0
    first, second = repeats.draw(1), repeats.draw(2)
    pull = (first.data - repeats.scene) / repeats.sigma
    assert pull.std() == pytest.approx(1, abs=0.02)
    assert not np.array_equal(first.data, second.data)
    np.testing.assert_array_equal(first.data, repeats.draw(1).data)
    assert first.unit == frame.unit and first.header == frame.header


def test_repetitions_have_the_autocorrelation_of_the_frame(rng):
    white = rng.normal(size=(256, 257))
    frame = CCDData(100 + 3 * (white[:, 1:] + white[:, :-1]) / np.sqrt(2), unit='adu')
    flat = CCDData(np.full(frame.shape, 100.0), unit='adu', uncertainty=StdDevUncertainty(np.zeros(frame.shape)))
    rho = noise_autocorrelation(RepeatedFrames(frame, flat).draw(1))
    assert rho[4, 5] == pytest.approx(0.5, abs=0.05)
    assert rho[5, 4] == pytest.approx(0, abs=0.05)


def test_repetitions_depart_from_the_result_by_its_uncertainty(frame, scene):
    repeats = RepeatedFrames(frame, smooth(frame), scene.psf)
    repeats.deviation[:] = 40.0
    pull = (repeats.draw(1).data - repeats.scene) / np.hypot(40.0, repeats.sigma)
    assert pull.std() == pytest.approx(1, abs=0.1)


def test_correlated_noise_has_larger_errors_of_flux(rng, scene):
    noise = gaussian_filter(rng.normal(size=scene.truth.shape), 0.7)
    correlated = CCDData(scene.truth + 15 * noise / noise.std(), unit='electron')
    white = CCDData(scene.truth + rng.normal(0, 15, scene.truth.shape), unit='electron')
    errors = [np.nanmedian(detect(frame, smooth(frame), psf=scene.psf, denoiser=smooth, n_frames=1,
                                  false_rate=0.5)['flux_err'])
              for frame in (correlated, white)]
    assert 1.3 < errors[0] / errors[1] < 3.5


def test_each_source_is_a_counterpart_once():
    found = Table({'x': [5.0], 'y': [5.0], 'score': [20.0]})
    twice = Table({'x': [5.0, 6.0], 'y': [5.0, 5.0], 'score': [9.0, 12.0]})
    assert false_scores(twice, found, 3.0).tolist() == [9.0]
    assert false_scores(twice, found[:0], 3.0).tolist() == [9.0, 12.0]
    assert false_scores(twice[:0], found, 3.0).tolist() == []


def test_expected_number_of_none():
    assert expected_false([1.0], [], 4).tolist() == [0.2]


def test_threshold_of_nothing():
    threshold, shares = threshold_at_share([], lambda t: t, 0.1)
    assert threshold == np.inf and shares.size == 0
    threshold, shares = threshold_at_share([3.0], lambda t: np.ones(np.shape(t)), 0.1)
    assert threshold == np.inf and shares.tolist() == [1.0]
