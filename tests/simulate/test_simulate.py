# Licensed under a 3-clause BSD style license - see LICENSE
"""
Simulated scenes: what they promise about truth, noise and catalogue.
"""

from collections import Counter

import numpy as np
import pytest
from astropy import units as u
from hypothesis import given, settings
from hypothesis import strategies as st
from photutils.aperture import CircularAperture, aperture_photometry
from photutils.psf import GriddedPSFModel

from astropy_n2v import NoiseModel
from astropy_n2v.simulate import (
    DEFECTS,
    RANDOM_FIELDS,
    SCENE_KINDS,
    Observation,
    add_bleed_trails,
    add_cosmic_rays,
    make_disc,
    make_filaments,
    make_flat,
    make_galaxy,
    make_gradient,
    make_nebula,
    make_psf,
    make_scene,
    make_spectrum,
    make_trails,
    observe,
    random_observation,
    random_scene,
)
from astropy_n2v.simulate import random_scenes as simulate_random
from astropy_n2v.simulate.canvas import Canvas, _bin, _convolve_and_bin
from astropy_n2v.simulate.populations import add_globular, add_luminous_stars

seeds = st.integers(0, 2 ** 32)


def moments(image):
    """Centroid x, y and second moments xx, yy, xy."""
    y, x = np.indices(image.shape)
    total = image.sum()
    cx, cy = (image * x).sum() / total, (image * y).sum() / total
    dx, dy = x - cx, y - cy
    return cx, cy, (image * dx ** 2).sum() / total, (image * dy ** 2).sum() / total, (image * dx * dy).sum() / total


@pytest.mark.parametrize('kind', SCENE_KINDS)
def test_kinds(kind):
    scene = make_scene(kind, (96, 120), seed=1)
    assert scene.truth.shape == (96, 120)
    assert scene.truth.min() >= scene.sky
    assert scene.psf.sum() == pytest.approx(1)
    assert set(scene.catalog.colnames) == {'kind', 'x', 'y', 'flux'}
    np.testing.assert_array_equal(make_scene(kind, (96, 120), seed=1).truth, scene.truth)
    assert not np.array_equal(make_scene(kind, (96, 120), seed=2).truth, scene.truth)


def test_catalog_gives_position_and_flux():
    scene = make_scene('survey', (256, 256), seed=4)
    stars = scene.catalog[scene.catalog['kind'] == 'star'][:3]
    for row in stars:
        if min(row['x'], row['y'], 255 - row['x'], 255 - row['y']) < 12:
            continue
        y, x = np.mgrid[-1:2, -1:2]
        cy, cx = round(row['y']), round(row['x'])
        cut = scene.truth[cy - 1:cy + 2, cx - 1:cx + 2] - scene.sky
        assert abs((cut * x).sum() / cut.sum() + cx - row['x']) < 0.3
        flux = aperture_photometry(scene.truth - scene.sky, CircularAperture([(row['x'], row['y'])], 10))
        assert flux['aperture_sum'][0] == pytest.approx(row['flux'], rel=0.15)


def test_random_scenes_vary_and_are_valid():
    skies = []
    for seed in range(12):
        scene = random_scene((48, 56), seed=seed)
        assert np.isfinite(scene.truth).all() and scene.truth.min() >= 0
        skies.append(scene.sky)
    assert max(skies) / min(skies) > 30


@pytest.mark.parametrize('kind', ['moffat', 'gaussian', 'airy'])
@pytest.mark.parametrize('oversampling', [1, 3])
def test_psf_has_its_width(kind, oversampling):
    psf = make_psf(6.0, kind=kind, oversampling=oversampling)
    profile = psf[psf.shape[0] // 2]
    width = np.interp(-0.5, -profile[profile.size // 2:] / profile.max(), np.arange(profile.size // 2 + 1))
    assert 2 * width / oversampling == pytest.approx(6.0, rel=0.03)


def test_noise_is_what_it_is_said_to_be():
    truth = np.full((300, 300), 400.0)
    ccd = observe(truth, gain=2.0, readnoise=15.0, bias=1000, seed=1)
    assert ccd.unit == u.adu
    assert ccd.data.mean() == pytest.approx(1200, abs=0.5)
    assert ccd.data.std() == pytest.approx(25 / 2, rel=0.02)
    assert ccd.header['GAIN'] == 2.0 and ccd.header.comments['RDNOISE'].startswith('[electron]')
    np.testing.assert_array_equal(observe(truth, gain=2.0, readnoise=15.0, bias=1000, seed=1).data, ccd.data)


def test_innovation_is_not_defined_where_there_is_no_noise():
    data = np.array([[0.0, 5.0]])
    frame = Observation(data, np.array([[0.0, 4.0]]), NoiseModel(0.0, gain=1.0), data > 9, data > 9)
    np.testing.assert_array_equal(frame.innovation, [[np.nan, 0.5]])


def test_defects():
    truth = np.full((100, 100), 100.0)
    plain = observe(truth, seed=3).data
    spoiled = observe(truth, seed=3, cosmic_rays=5, hot_pixels=5, satlevel=500).data
    assert 5 < np.sum(spoiled > plain + 50) < 400
    assert spoiled.max() == 500
    image, mask = add_cosmic_rays(np.zeros((50, 50)), 4, seed=1)
    assert mask.any() and np.all((image > 0) == mask)


class TestScenes:
    @pytest.mark.parametrize('kind, total, value', [
        ('survey', 2389807.115434777, 200.9623868055867), ('crowded', 1941238.812769251, 150.55338939366752),
        ('nebula', 2442905.9232723946, 226.64788381447974), ('low_counts', 42038.72215680673, 2.200425429102695),
        ('sky_limited', 58004658.599072054, 5004.980507980636)])
    def test_figures_were_measured_on_these(self, kind, total, value):
        scene = make_scene(kind, (96, 120), seed=5)
        assert scene.truth.sum() == pytest.approx(total, rel=1e-12)
        assert scene.truth[40, 50] == pytest.approx(value, rel=1e-12)

    @pytest.mark.parametrize('fwhm', [1.2, 3.0, 7.0])
    def test_flux_of_the_catalog_is_in_the_image(self, fwhm):
        canvas = Canvas((120, 130), fwhm)
        canvas.add_stars(np.array([60.3]), np.array([50.8]), np.array([1000.0]))
        canvas.add_galaxy(70.0, 61.0, 500.0, 2.5, [(0.7, 1.0, 1.0, 0.3, 0.5), (0.3, 3.0, 3.0, 0.1, 0.5)], limit=0.01)
        canvas.add_galaxy(55.0, 66.0, 800.0, 6.0, [(1.0, 1.0, 1.0, 0.5, 1.5)], limit=0.01, structure='spiral')
        image, (psf,) = canvas.render(psfs=[{'fwhm': fwhm, 'kind': 'gaussian'}])
        assert list(canvas.catalog()['flux']) == [1000, 800, 500]
        assert image.sum() == pytest.approx(2300, rel=1e-3)

    @pytest.mark.parametrize('fwhm', [1.2, 3.0, 7.0])
    @pytest.mark.parametrize('r_eff', [1.0, 6.0])
    def test_sources_are_where_the_catalog_has_them(self, fwhm, r_eff):
        for add in (lambda canvas: canvas.add_stars(np.array([41.3]), np.array([37.8]), np.array([1e3])),
                    lambda canvas: canvas.add_galaxy(41.3, 37.8, 1e3, r_eff, [(1.0, 1.0, 1.0, 0.2, 0.4)],
                                                     limit=0.01)):
            canvas = Canvas((80, 84), fwhm)
            add(canvas)
            image, (psf,) = canvas.render(psfs=[{'fwhm': fwhm, 'kind': 'gaussian'}])
            np.testing.assert_allclose(moments(image)[:2], (41.3, 37.8), atol=0.02)
            half = psf.shape[0] // 2
            np.testing.assert_allclose(moments(psf)[:2], half, atol=0.02)

    @given(st.integers(1, 60), st.integers(1, 60), st.sampled_from([2, 3, 5]), st.integers(3, 60), seeds)
    @settings(max_examples=15, deadline=None)
    def test_short_way_of_convolution(self, ny, nx, step, half, seed):
        fine = np.random.default_rng(seed).random([(n + 48) * step for n in (ny, nx)])
        kernel = make_psf(2.0, oversampling=step, half_size=half)
        from scipy.signal import convolve
        frame = (slice(24, -24),) * 2
        expected = _bin(convolve(np.pad(fine, half * step), kernel, mode='valid', method='fft'), step)
        np.testing.assert_allclose(_convolve_and_bin(fine, kernel, step)[frame], expected[frame], atol=1e-10)

    def test_many_more_faint_stars_than_bright_ones(self):
        canvas = Canvas((200, 200), 3.0)
        add_luminous_stars(canvas, np.random.default_rng(1), 0.01, 0.2, 1e4, 0.8, reference=3.0)
        flux = canvas.catalog()['flux']
        assert flux.min() < 0.25
        assert np.sum(flux > 3) == pytest.approx(0.01 * 200 ** 2, rel=0.2)
        assert np.sum(flux > 0.6) / np.sum(flux > 6) == pytest.approx(10 ** 0.8, rel=0.2)

    def test_globular_cluster_is_dense_in_the_middle(self):
        scene = make_scene('globular', (200, 200), seed=3)
        x, y = scene.catalog['x'], scene.catalog['y']
        r = np.hypot(x - np.median(x), y - np.median(y))
        assert np.sum(r < 20) / 20 ** 2 > 5 * np.sum((r > 40) & (r < 80)) / (80 ** 2 - 40 ** 2)

    def test_no_star_at_all(self):
        canvas = Canvas((20, 20), 3.0)
        add_globular(canvas, np.random.default_rng(0), 0, 1.0, 0.1, 10, 0.8)
        image, _ = canvas.render(psfs=[{'fwhm': 3.0}])
        assert len(canvas.catalog()) == 0 and image.max() < 1e-12

    def test_varying_psf(self):
        canvas = Canvas((64, 128), 3.0)
        canvas.add_stars(np.array([10.0, 64.0, 117.0]), np.full(3, 32.0), np.full(3, 1e3))
        image, (left, right) = canvas.render(psfs=[{'fwhm': fwhm, 'kind': 'gaussian'} for fwhm in (2.5, 4.0)])
        peaks = [image[32, x] for x in (10, 64, 117)]
        share = np.array([10, 64, 117]) / 127
        np.testing.assert_allclose(peaks, 1e3 * ((1 - share) * left.max() + share * right.max()), rtol=0.02)
        assert image.sum() == pytest.approx(3e3, rel=1e-3)

    def test_psf_as_a_model(self):
        scene = make_scene('varying', (64, 96), seed=1)
        model = scene.psf_model()
        assert isinstance(model, GriddedPSFModel)
        for column, psf in ((0, scene.edge_psfs[0]), (95, scene.edge_psfs[1])):
            half = psf.shape[0] // 2
            model.x_0, model.y_0 = column, 20
            assert model(column, 20) == pytest.approx(psf[half, half], rel=1e-6)
        plain = make_scene('survey', (32, 32), seed=1)
        assert plain.psf_model()(0.0, 0.0) == pytest.approx(plain.psf.max(), rel=1e-6)


class TestPSF:
    @given(st.floats(0.9, 8), st.sampled_from(['moffat', 'gaussian', 'airy', 'pupil']), st.sampled_from([0, 4, 6]),
           st.floats(0, 0.5), st.floats(0, np.pi))
    @settings(max_examples=25, deadline=None)
    def test_range(self, fwhm, kind, spikes, ellipticity, theta):
        psf = make_psf(fwhm, kind=kind, spikes=spikes, ellipticity=ellipticity, theta=theta, half_size=20)
        assert psf.shape == (41, 41) and psf.min() >= 0
        assert psf.sum() == pytest.approx(1)
        assert psf.argmax() == psf.size // 2
        np.testing.assert_allclose(psf, psf[::-1, ::-1], atol=1e-12)

    @pytest.mark.parametrize('fwhm', [1.2, 3.0, 8.0])
    @pytest.mark.parametrize('obstruction', [0, 0.2, 0.45])
    def test_width_of_a_diffraction_pattern(self, fwhm, obstruction):
        step = 8
        psf = make_psf(fwhm, kind='pupil', spikes=4, obstruction=obstruction, oversampling=step,
                       half_size=int(5 * fwhm) + 1)
        half = psf.shape[0] // 2
        profile = (psf[half, half:] + psf[half:, half]) / 2
        width = 2 * np.interp(-0.5, -profile / profile[0], np.arange(half + 1)) / step
        assert width == pytest.approx(fwhm, rel=0.02)

    @pytest.mark.parametrize('kind', ['moffat', 'pupil'])
    @pytest.mark.parametrize('spikes', [4, 6])
    def test_spikes_are_there(self, kind, spikes):
        angle = 0.3
        psf = make_psf(2.0, kind=kind, spikes=spikes, spike_angle=angle, half_size=48, spike_fraction=0.05)
        plain = make_psf(2.0, kind=kind, half_size=48)
        phase = np.linspace(0, 2 * np.pi, 240, endpoint=False)
        # Mean over radii: rings cancel.
        radius = np.arange(15, 25)[:, None]
        rows = np.rint(48 + radius * np.sin(phase + angle)).astype(int)
        columns = np.rint(48 + radius * np.cos(phase + angle)).astype(int)
        ring = psf[rows, columns].mean(axis=0)
        power = np.abs(np.fft.rfft(ring - ring.mean()))
        others = np.delete(power[:30], np.arange(0, 30, spikes))
        assert power[spikes] > 5 * others.max()
        assert ring[0] > 3 * np.median(ring)
        assert ring.std() > 3 * plain[rows, columns].mean(axis=0).std()


class TestGalaxies:
    @given(st.floats(0.5, 12), st.floats(0.5, 4), st.floats(0, 0.8), st.sampled_from([None, 'spiral', 'clumps']), seeds)
    @settings(max_examples=25, deadline=None)
    def test_range(self, r_eff, n, ellipticity, structure, seed):
        galaxy = make_galaxy(r_eff, n=n, ellipticity=ellipticity, structure=structure, seed=seed)
        assert galaxy.sum() == pytest.approx(1) and galaxy.min() >= 0
        np.testing.assert_array_equal(
            make_galaxy(r_eff, n=n, ellipticity=ellipticity, structure=structure, seed=seed), galaxy)

    def test_half_of_the_light_within_the_half_light_radius(self):
        galaxy = make_galaxy(12.0, n=1.0, half_size=120)
        y, x = np.indices(galaxy.shape) - 120
        assert galaxy[np.hypot(x, y) < 12].sum() == pytest.approx(0.5, abs=0.01)

    def test_core_is_averaged(self):
        # The cusp of a bulge is not what its central point is.
        fine = make_galaxy(33.0, n=4, half_size=335, oversampling=20).reshape(61, 11, 61, 11).sum(axis=(1, 3))
        assert make_galaxy(3.0, n=4, half_size=30)[30, 30] == pytest.approx(fine[30, 30], rel=0.05)
        assert make_galaxy(3.0, n=4, half_size=30, oversampling=1)[30, 30] > 1.5 * fine[30, 30]

    def test_arms(self):
        smooth = make_galaxy(10.0)
        spiral = make_galaxy(10.0, structure='spiral', arms=2, contrast=0.8, seed=1)
        assert np.abs(spiral / smooth - 1).max() > 0.5
        # Two arms look the same from the other side.
        np.testing.assert_allclose(spiral, spiral[::-1, ::-1], atol=1e-6)
        clumpy = make_galaxy(10.0, structure='clumps', seed=1)
        assert np.std(np.log(clumpy / smooth)) == pytest.approx(0.6, abs=0.05)


class TestDiffuseLight:
    @given(st.floats(0, 1e4), st.floats(2, 4), st.floats(0, 1.5), seeds)
    @settings(max_examples=15, deadline=None)
    def test_range(self, amplitude, index, contrast, seed):
        nebula = make_nebula((40, 52), amplitude=amplitude, index=index, contrast=contrast, seed=seed)
        assert nebula.min() >= 0 and nebula.mean() == pytest.approx(amplitude)
        filaments = make_filaments((40, 52), amplitude=amplitude, seed=seed)
        assert filaments.min() >= 0 and filaments.max() == pytest.approx(amplitude)
        gradient = make_gradient((40, 52), amplitude=amplitude, curvature=1, seed=seed)
        assert gradient.min() == 0 and gradient.max() == pytest.approx(amplitude)

    @pytest.mark.parametrize('index', [2.5, 3.5])
    def test_power_law(self, index):
        slopes = []
        for seed in range(6):
            field = np.log(make_nebula((128, 128), index=index, seed=seed)) * np.outer(np.hanning(128), np.hanning(128))
            power = np.abs(np.fft.fft2(field)) ** 2
            k = np.hypot(*np.meshgrid(*[np.fft.fftfreq(128)] * 2))
            bands = [power[(k > low) & (k < 1.3 * low)].mean() for low in (0.05, 0.3)]
            slopes.append(np.log(bands[0] / bands[1]) / np.log(6))
        assert np.mean(slopes) == pytest.approx(index, abs=0.2)

    def test_filaments_are_thin(self):
        image = make_filaments((128, 128), width=2, n=1, seed=3)
        assert 0.005 < np.mean(image > 0.2) < 0.15

    @pytest.mark.parametrize('seed', range(3))
    def test_filaments_are_lines(self, seed):
        # Also those that follow a rough field.
        image = make_filaments((128, 128), width=4, n=1, index=3.0, seed=seed)
        assert np.corrcoef(image[:, 1:].ravel(), image[:, :-1].ravel())[0, 1] > 0.95


class TestExtended:
    """Trails, spectra, discs."""

    @given(st.floats(0, 1e4), seeds)
    @settings(max_examples=15, deadline=None)
    def test_range(self, amplitude, seed):
        trails = make_trails((40, 52), amplitude=amplitude, n=3, seed=seed)
        spectrum = make_spectrum((40, 52), amplitude=amplitude, seed=seed)
        disc = make_disc((40, 52), amplitude=amplitude, seed=seed)
        for image in (trails, spectrum, disc):
            assert image.shape == (40, 52)
            assert image.min() >= 0
        assert spectrum.max() == pytest.approx(amplitude)
        assert disc.max() == pytest.approx(amplitude)
        # Three trails may cross.
        assert trails.max() <= 6 * amplitude

    def test_trails_have_the_width_that_is_asked_for(self):
        for seed in range(5):
            image = make_trails((200, 200), width=2.0, n=1, seed=seed)
            # The region above half of the peak is 2.355 widths across.
            rows, columns = np.nonzero(image > 0.5 * image.max())
            assert len(rows) < 6 * np.hypot(200, 200)
            along = np.linalg.svd(np.stack([rows, columns]) - np.mean([rows, columns], axis=1)[:, None])[1]
            assert along[1] / np.sqrt(len(rows)) == pytest.approx(2.355 * 2 / np.sqrt(12), rel=0.15)

    def test_nothing_in_a_spectrum(self):
        assert np.all(make_spectrum((20, 30), n_lines=0, n_traces=0, seed=1) == 0)

    def test_lines_of_the_sky_go_across(self):
        for seed in range(4):
            image = make_spectrum((100, 120), width=1.5, n_traces=0, seed=seed)
            along, across = sorted([np.std(np.diff(image, axis=0)), np.std(np.diff(image, axis=1))])
            assert along < 0.3 * across


class TestDetector:
    @given(st.floats(10, 1e6), st.floats(50, 1e4), seeds)
    @settings(max_examples=25, deadline=None)
    def test_bleeding_keeps_charge(self, charge, full_well, seed):
        rng = np.random.default_rng(seed)
        image = rng.uniform(0, 0.5 * full_well, (400, 5))
        image[200, 2] += min(charge, 90 * full_well)
        bled, mask = add_bleed_trails(image, full_well)
        assert bled.max() <= full_well
        assert bled.sum() == pytest.approx(image.sum(), rel=1e-9)
        np.testing.assert_array_equal(bled[~mask], image[~mask])
        assert not mask[:, [0, 1, 3, 4]].any()
        # One trail without a gap.
        rows = np.flatnonzero(mask[:, 2])
        assert rows.size == 0 or rows[-1] - rows[0] + 1 == rows.size

    def test_saturated_star(self):
        truth = make_scene('survey', (64, 64), seed=1).truth
        truth[30, 20] += 2e5
        plain = observe(truth, satlevel=20000, flagged='saturated', seed=1)
        bled = observe(truth, satlevel=20000, bleed=True, flagged='saturated', seed=1)
        assert plain.mask.sum() == 1
        assert bled.mask[25:36, 20].all() and 9 <= bled.mask.sum() <= 13
        assert bled.data.max() == 20000

    def test_what_is_flagged(self):
        truth = np.full((100, 110), 100.0)
        kwargs = dict(cosmic_rays=4, hot_pixels=6, bad_columns=2, seed=2)
        assert observe(truth, **kwargs).mask is None
        everything = observe(truth, flagged='all', **kwargs)
        spoiled = np.abs(everything.data - observe(truth, seed=2).data) > 1e-3
        assert np.mean(spoiled[everything.mask]) > 0.9 and not spoiled[~everything.mask].any()
        some = observe(truth, flagged=['cosmic_rays', 'hot_pixels'], **kwargs)
        columns = observe(truth, flagged='bad_columns', **kwargs)
        np.testing.assert_array_equal(some.mask | columns.mask, everything.mask)
        np.testing.assert_array_equal(some.data, everything.data)
        assert columns.mask.any(axis=0).sum() <= 2
        assert set(DEFECTS) == {'cosmic_rays', 'hot_pixels', 'bad_columns', 'saturated'}

    def test_flat_field(self):
        flat = make_flat((300, 300), error=0.01, seed=1)
        assert flat.std() == pytest.approx(0.01, rel=0.02) and flat.mean() == pytest.approx(1, abs=1e-3)
        data = observe(np.full((300, 300), 1e6), flat=flat, seed=1).data
        assert data.std() == pytest.approx(np.hypot(1e4, 1e3), rel=0.02)
        smooth = make_flat((64, 64), error=0, smooth=0.01, vignetting=0.1, seed=1)
        assert np.abs(np.diff(smooth)).max() < 5e-3 and smooth[0, 0] < smooth[32, 32]

    def test_whole_adu(self):
        data = observe(np.full((50, 50), 100.0), gain=1.5, readnoise=3.0, quantize=True, seed=1).data
        np.testing.assert_array_equal(data, np.rint(data))


class TestRandom:
    def test_what_is_drawn(self):
        assert sum(RANDOM_FIELDS.values()) == pytest.approx(1)
        scenes = [random_scene((8, 8), seed=seed) for seed in range(60)]
        kinds = Counter(scene.kind for scene in scenes)
        assert set(kinds) <= set(RANDOM_FIELDS)
        for kind, share in RANDOM_FIELDS.items():
            assert abs(kinds[kind] - 60 * share) < 3 * np.sqrt(60 * share) + 1
        sky, readnoise = np.array([(scene.sky, scene.readnoise) for scene in scenes]).T
        assert 0.05 <= sky.min() < 0.3 and 2000 < sky.max() <= 1e4
        few = sky < 1   # photons: most such frames come from detectors that count them
        assert 15 < readnoise.max() <= 20 and 0.05 < np.mean(readnoise[~few] == 0) < 0.3
        assert 0.3 < np.mean(readnoise[few] == 0) < 0.8
        assert 0 < sum(scene.edge_psfs is not None for scene in scenes) < 20

    def test_nothing_is_hidden_in_sparse_fields(self, monkeypatch):
        monkeypatch.setattr(simulate_random, 'RANDOM_FIELDS', {'sparse': 1.0})
        n = 0
        for seed in range(30):
            scene = random_scene((64, 64), seed=seed)
            stars = scene.catalog[scene.catalog['kind'] == 'star']
            sigma = np.sqrt(scene.sky + scene.readnoise ** 2)
            # The signal-to-noise ratio of the matched filter.
            snr = np.asarray(stars['flux']) / sigma * np.sqrt(np.sum(scene.psf ** 2))
            n += len(snr)
            assert np.all(snr > 2.5)
        assert n > 100

    @given(seeds)
    @settings(max_examples=10, deadline=None)
    def test_observation(self, seed):
        observation = random_observation((64, 72), seed=seed)
        assert observation.data.shape == observation.mask.shape == (64, 72)
        assert np.isfinite(observation.data).all() and observation.truth.min() >= 0
        assert not (observation.mask & ~observation.defects).any()
        again = random_observation((64, 72), seed=seed)
        np.testing.assert_array_equal(again.data, observation.data)
        np.testing.assert_array_equal(again.mask, observation.mask)

    def test_noise_model_of_white_noise(self):
        variances = []
        for seed in range(16):
            observation = random_observation((96, 96), seed=seed)
            z = observation.innovation[~observation.defects]
            assert abs(z.mean()) < 0.06
            variances.append(z.var())
        assert np.mean(variances) == pytest.approx(1, abs=0.02)
        assert np.std(variances) < 0.04

    def test_correlated_noise_has_its_autocorrelation(self):
        measured, known = [], []
        for seed in range(12):
            observation = random_observation((128, 128), correlated=True, seed=seed)
            correlation = observation.noise.autocorrelation
            if correlation is None:   # quantised
                continue
            z = np.where(observation.defects, 0, np.clip(observation.innovation, -5, 5))
            middle = len(correlation) // 2
            measured.append(np.mean(z[:, 1:] * z[:, :-1]) / np.mean(z ** 2))
            known.append(correlation[middle, middle + 1])
            assert np.mean(z ** 2) == pytest.approx(1, abs=0.2)
        np.testing.assert_allclose(measured, known, atol=0.03)
        assert np.ptp(known) > 0.3

    def test_noise_of_whole_adu(self):
        observation = random_observation((128, 128), seed=184)
        np.testing.assert_array_equal(observation.data, np.rint(observation.data))
        assert observation.noise.variance(np.median(observation.truth)) < 9
        assert observation.innovation[~observation.defects].var() == pytest.approx(1, abs=0.04)


@pytest.mark.parametrize('call, match', [
    (lambda: make_scene('zoo'), "kind must be one of 'survey', .* got 'zoo'"),
    (lambda: make_psf(-1), 'fwhm must be positive, got -1'),
    (lambda: make_psf(3, kind='box'), "kind must be 'moffat', 'gaussian', 'airy' or 'pupil', got 'box'"),
    (lambda: make_psf(3, ellipticity=1), 'ellipticity must be in'),
    (lambda: make_psf(3, spikes=3), 'spikes must be an even number, or 0, got 3'),
    (lambda: make_psf(3, kind='pupil', obstruction=1), r'obstruction must be in \[0, 1\), got 1'),
    (lambda: make_galaxy(0), 'r_eff must be positive, got 0'),
    (lambda: make_galaxy(1, n=0), 'n must be positive, got 0'),
    (lambda: make_galaxy(1, ellipticity=1), 'ellipticity must be in'),
    (lambda: make_galaxy(1, structure='bar'), "structure must be None, 'spiral' or 'clumps', got 'bar'"),
    (lambda: make_nebula((8, 8), amplitude=-1), 'amplitude must not be negative, got -1'),
    (lambda: make_filaments((8, 8), width=0), 'width must be positive, got 0'),
    (lambda: make_trails((8, 8), width=0), 'width must be positive, got 0'),
    (lambda: make_trails((8, 8), amplitude=-1), 'amplitude must not be negative, got -1'),
    (lambda: make_spectrum((8, 8), width=-1), 'width must be positive, got -1'),
    (lambda: make_spectrum((8, 8), amplitude=-1), 'amplitude must not be negative, got -1'),
    (lambda: make_disc((8, 8), contrast=-1), 'contrast must not be negative, got -1'),
    (lambda: make_flat((8, 8), error=-1), 'error must not be negative, got -1'),
    (lambda: add_bleed_trails(np.ones((3, 3)), 0), 'full_well must be positive, got 0'),
    (lambda: observe(np.ones((3, 3)), bleed=True), 'bleed needs satlevel'),
    (lambda: observe(np.ones((3, 3)), flagged='dust'), "flagged must be 'all' or some of .*, got 'dust'"),
    (lambda: observe(np.full((3, 3), -1.0)), 'truth must be finite and not negative, got values from -1'),
    (lambda: observe(np.ones((3, 3)), gain=0), 'gain must be positive, got 0'),
    (lambda: observe(np.ones((3, 3)), readnoise=-1), 'readnoise must not be negative, got -1'),
])
def test_bad_arguments(call, match):
    with pytest.raises(ValueError, match=match):
        call()


@pytest.mark.parametrize('truth, options, match', [
    ([[1.0, np.nan]], {}, 'truth must be finite and not negative, got values from nan'),
    ([[1.0, np.inf]], {}, 'truth must be finite'),
    ([[1.0, -2.0]], {}, 'truth must be .* not negative, got .* -2.0 to 1.0'),
    ([[]], {}, 'truth must be finite and not negative, got no pixel'),
    (np.ones((4, 5)), {'flat': np.ones((2, 4, 5))}, r'flat must have the shape of truth, \(4, 5\), got \(2, 4, 5\)')])
def test_scenes_that_cannot_be_observed(truth, options, match):
    with pytest.raises(ValueError, match=match):
        observe(truth, seed=0, **options)


@pytest.mark.parametrize('name', ['half_size', 'oversampling'])
def test_psf_has_whole_pixels(name):
    with pytest.raises(ValueError, match=f'{name} must be a positive integer, got 5.5'):
        make_psf(3.0, **{name: 5.5})
