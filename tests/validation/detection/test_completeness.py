# Licensed under a 3-clause BSD style license - see LICENSE
"""
Completeness: intervals, logistic fits and theory.
"""

import numpy as np
import pytest
from astropy import units as u
from scipy.special import expit, ndtr

from astropy_n2v.photometry import PSF
from astropy_n2v.simulate import make_psf
from astropy_n2v.validation import (
    draw_sources,
    inject_and_recover,
    inject_sources,
    injection_positions,
    make_noise_frame,
    matched_filter,
    matched_filter_depth,
    matched_filter_snr,
    measure_completeness,
)
from astropy_n2v.validation.detection.completeness import logistic_fit


def _sources(rng, n=1000, m50=21.0, width=0.2):
    mag = rng.uniform(m50 - 2, m50 + 2, n)
    return mag, rng.uniform(size=n) < expit((m50 - mag) / width)


def test_bins(rng):
    mag, detected = _sources(rng)
    table = measure_completeness(mag * u.mag, detected, bins=[19, 20, 21, 22, 30])
    assert table['n'].sum() == 1000 and table['mag'].unit == u.mag
    inside = (mag >= 20) & (mag < 21)
    assert table['n_detected'][1] == detected[inside].sum()
    assert table['mag'][1] == pytest.approx(mag[inside].mean())
    assert (table['completeness_low'] <= table['completeness']).all()
    assert (table['completeness_high'] >= table['completeness']).all()
    empty = measure_completeness(mag, detected, bins=[10, 11, 30])
    assert np.isnan(empty['completeness'][0]) and np.isnan(empty['completeness_low'][0]) and empty['mag'][0] == 10.5


@pytest.mark.parametrize('confidence', [0.6827, 0.95])
def test_binomial_intervals_cover_at_their_rate(rng, confidence):
    """Of a binomial variate no interval covers exactly; over a range of completeness Wilson's does on average."""
    n, repeats = 40, 4000
    truth = rng.uniform(0.05, 0.95, repeats)
    detected = rng.uniform(size=(repeats, n)) < truth[:, None]
    mag = np.repeat(np.arange(repeats, dtype=float), n)
    table = measure_completeness(mag, detected.ravel(), bins=np.arange(repeats + 1) - 0.5, confidence=confidence)
    covered = (table['completeness_low'] <= truth) & (truth <= table['completeness_high'])
    assert np.mean(covered) == pytest.approx(confidence, abs=0.015)


def test_errors_of_the_fit_cover_at_their_rate():
    pulls = []
    for seed in range(300):
        m50, width, covariance = logistic_fit(*_sources(np.random.default_rng(seed), 400))
        to90 = np.array([1, -np.log(9)])
        pulls.append([(m50 - 21) / np.sqrt(covariance[0, 0]), (width - 0.2) / np.sqrt(covariance[1, 1]),
                      (to90 @ [m50 - 21, width - 0.2]) / np.sqrt(to90 @ covariance @ to90)])
    assert np.mean(np.abs(pulls) < 1, axis=0) == pytest.approx([0.68] * 3, abs=4 * np.sqrt(0.22 / 300))
    assert np.abs(np.mean(pulls, axis=0)).max() < 0.1 + 3 / np.sqrt(300)


def test_sharp_edge_has_a_fit():
    mag = np.linspace(20, 22, 201)
    m50, width, covariance = logistic_fit(mag, mag < 21.005)
    assert m50 == pytest.approx(21.005, abs=0.01) and 0 < width < 0.05 and np.isfinite(covariance).all()


def test_nothing_falls():
    assert np.isnan(logistic_fit(np.arange(40.0), np.arange(40) > 20)[0])


def expected_completeness(mag, psf, sigma, threshold, position='known'):
    """
    What theory expects of the matched filter in white noise, at the place of a star or at its peak there.

    The square of the peak exceeds that of the value at the star by a chi-square of two degrees of freedom.
    """
    snr = matched_filter_snr(10 ** (-0.4 * np.asarray(getattr(mag, 'value', mag))), psf, sigma)
    if position == 'known':
        return ndtr(snr - threshold)
    gain, weight = np.polynomial.laguerre.laggauss(24)   # half of that chi-square is exponential
    level = np.sqrt(np.maximum(threshold ** 2 - 2 * gain, 0))
    return np.sum(weight * ndtr(np.asarray(snr)[..., None] - level), axis=-1)[()]


def test_snr_is_that_of_the_least_squares_flux(rng):
    psf = make_psf(3.0, half_size=12)
    noise = rng.normal(0, 2.0, (4000, *psf.shape))
    scatter = np.std(np.sum(noise * psf, axis=(1, 2)) / np.sum(psf ** 2))
    assert matched_filter_snr(100.0, psf, 2.0) == pytest.approx(100 / scatter, rel=0.04)
    assert matched_filter_snr(10 ** (-0.4 * (matched_filter_depth(psf, 2.0, 6.0, zeropoint=25) - 25)), psf, 2.0) == \
        pytest.approx(6)


@pytest.mark.parametrize(('fwhm', 'threshold'), [(2.5, 5.0), (3.5, 5.0), (3.0, 7.0)])
def test_matched_filter_agrees_with_theory(fwhm, threshold):
    """At the places of isolated stars, in white noise."""
    psf, sigma = PSF.from_any(make_psf(fwhm, half_size=12)), 10.0
    expected = matched_filter_depth(psf, sigma, threshold)
    ccd = make_noise_frame((1200, 1200), sigma, level=50.0, unit='electron', seed=1)
    sources = draw_sources(np.rint([list(row) for row in injection_positions(ccd.shape, 1200, spacing=20, border=15,
                                                                             seed=2).as_array()]),
                           (expected - 1, expected + 1), seed=3)
    frame = inject_sources(ccd, sources, psf, gain=np.inf)
    significance = matched_filter(frame, psf, sigma=sigma, background=50.0)
    at = significance[sources['y'].value.astype(int), sources['x'].value.astype(int)]
    m50, _, covariance = logistic_fit(sources['mag'].value, at > threshold)
    assert np.sqrt(covariance[0, 0]) < 0.02
    assert m50 == pytest.approx(expected, abs=0.05)
    # The whole curve, too: the pulls of the binned fractions.
    table = measure_completeness(sources['mag'], at > threshold, bins=10)
    theory = [np.mean(expected_completeness(sources['mag'][(sources['mag'] >= low) & (sources['mag'] <= high)],
                                            psf, sigma, threshold))
              for low, high in zip(table['mag_low'], table['mag_high'])]
    assert np.all((table['completeness_low'] - 0.05 < theory) & (theory < table['completeness_high'] + 0.05))


def test_recovery_agrees_with_theory():
    """With a search for peaks at sub-pixel places, the background and the noise measured, photon noise included."""
    psf, sigma = PSF.from_any(make_psf(3.0, half_size=12)), 10.0
    expected = matched_filter_depth(psf, sigma, 5.0)
    ccd = make_noise_frame((640, 640), sigma, level=100.0, unit='electron', seed=4)
    recovery = inject_and_recover(ccd, lambda ccd: ccd, psf, n_realisations=2, n_sources=350,
                                  magnitudes=(expected - 1, expected + 1), blank=None, seed=5)
    rows = recovery.injected[recovery.injected['image'] == 'matched filter']
    m50, _, covariance = logistic_fit(rows['mag'].value, rows['score'] > 5)
    assert np.sqrt(covariance[0, 0]) < 0.02
    # The same logistic curve through what theory expects of each source at a fitted position.
    chance = expected_completeness(rows['mag'], psf, sigma, 5.0, position='fitted')
    assert m50 == pytest.approx(logistic_fit(rows['mag'].value, chance)[0], abs=0.05)


def test_fitted_position_only_gains():
    psf, mag = make_psf(3.0, half_size=12), np.linspace(-9, -4, 40)
    known, fitted = (expected_completeness(mag, psf, 10.0, 5.0, position=position)
                     for position in ('known', 'fitted'))
    assert (fitted >= known - 1e-9).all() and (fitted <= 1 + 1e-9).all()
    # Monte Carlo of the peak: sqrt((S/N + noise)**2 + chi2)
    rng = np.random.default_rng(0)
    peak = np.sqrt((5 + rng.normal(size=200_000)) ** 2 + rng.chisquare(2, 200_000))
    expected = expected_completeness(matched_filter_depth(psf, 10.0, 5.0), psf, 10.0, 5.0, position='fitted')
    assert np.mean(peak > 5) == pytest.approx(expected, abs=0.004)


@pytest.mark.parametrize(('function', 'arguments', 'options', 'message'), [
    (measure_completeness, ([1.0], [True, False]), {}, r'one length, got \(1,\) and \(2,\)'),
    (measure_completeness, ([], []), {}, 'mag must hold at least one source, got none'),
    (measure_completeness, ([np.nan], [True]), {}, 'mag must be finite, got 1 values'),
    (measure_completeness, ([1.0], [True]), {'bins': [2, 1]}, r'bins must be .* got \[2, 1\]'),
    (measure_completeness, ([1.0], [True]), {'bins': 0}, 'bins must be .* got 0'),
    (measure_completeness, ([1.0], [True]), {'confidence': 95}, 'confidence must be between 0 and 1, got 95'),
    (matched_filter_snr, (1.0, np.ones((3, 3)), 0.0), {}, 'sigma must be a positive number, got 0.0'),
    (matched_filter_depth, (np.ones((3, 3)), 1.0, -5), {}, 'threshold must be a positive number, got -5')])
def test_errors(function, arguments, options, message):
    with pytest.raises(ValueError, match=message):
        function(*arguments, **options)
