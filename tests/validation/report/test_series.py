# Licensed under a 3-clause BSD style license - see LICENSE
"""
Series of exposures: those that are not aligned are recognised, those that are, are judged by each other.
"""

import numpy as np
import pytest
from astropy.nddata import CCDData, StdDevUncertainty
from faults import NOISE, PSF, SIGMA, SKY, star_flux, star_table
from scipy.ndimage import gaussian_filter, shift

from astropy_n2v.validation import render_sources, validate
from astropy_n2v.validation.report.series import find_misaligned, find_shift


def make_exposures(rng, shifts, snr=60):
    """Exposures of the same stars, moved by shifts along x and y."""
    x, y = rng.uniform(15, 115, (2, 25))
    frames = []
    for dx, dy in shifts:
        truth = SKY + render_sources(star_table(x + dx, y + dy, np.full(x.size, star_flux(snr))), (130, 130), PSF)
        sigma = np.sqrt(NOISE.variance(truth))
        frames.append(CCDData(rng.normal(truth, sigma), unit='electron', uncertainty=StdDevUncertainty(sigma)))
    return frames


@pytest.mark.parametrize('expected', [(0, 0), (3, -2), (0.8, 0), (-11.5, 20)])
def test_shift_is_measured(expected, rng):
    first, second = make_exposures(rng, [(0, 0), expected], snr=20)
    dy, dx = find_shift(second.data, first.data)
    assert (dx, dy) == pytest.approx(expected, abs=0.2)


def test_noise_has_no_shift(rng):
    for width in 0, 1.5:   # white, and correlated between pixels
        for _ in range(4):
            images = [gaussian_filter(rng.normal(size=(200, 220)), width) for _ in range(2)]
            assert find_shift(*images) is None


def test_defects_of_the_detector_do_not_hide_a_shift(rng):
    frames = make_exposures(rng, [(0, 0), (4, 0)], snr=30)
    hot = rng.uniform(size=frames[0].shape) < 0.01
    dy, dx = find_shift(*(frame.data + 50 * SIGMA * hot for frame in frames[::-1]))
    assert (dx, dy) == pytest.approx((4, 0), abs=0.3)


def test_aligned_exposures_of_other_seeing_and_level_are_aligned(rng):
    frames = make_exposures(rng, [(0, 0)] * 3)
    frames[1].data = gaussian_filter(frames[1].data, 1.0) + 40
    frames[2].data *= 1.3
    assert find_misaligned(frames) == ''


def test_series_that_is_not_aligned_is_not_judged(rng):
    frames = make_exposures(rng, [(0, 0), (0, 0), (2.5, -1), (0, 0)])
    report = validate(frames, lambda ccd: ccd.copy(), reference='others', psf=PSF, noise=NOISE, n_resamples=100)
    for name in 'noise_reduction', 'noise_worst', 'uncertainty_sky':
        assert report[name].verdict == 'not run'
        assert 'exposure 3 is shifted against the first one by 2.5 pixels in x and -1.0 in y' in report[name].reason
    assert any('not aligned' in note for note in report.meta['notes'])
    assert report['sky_offset'].verdict in ('pass', 'inconclusive')   # what each frame shows by itself is judged


def test_gain_by_brightness_is_told_first(rng):
    """A denoiser that takes the noise of the sky away, and moves the stars."""
    frames = make_exposures(rng, [(0, 0)] * 4)

    def denoise(ccd):
        data = gaussian_filter(ccd.data, 4)
        bright = gaussian_filter(ccd.data, 2) > SKY + SIGMA
        return CCDData(np.where(bright, shift(ccd.data, (0, 1), mode='nearest'), data), unit=ccd.unit)
    report = validate(frames, denoise, reference='others', psf=PSF, noise=NOISE, n_resamples=100)
    sky, faint, bright = report.tables['gain']['noise_reduction']
    assert sky > 1.5 > 1 > bright
    assert report['noise_reduction'].value == sky and report['noise_worst'].verdict == 'fail'
    assert f'{sky:.3g} on the sky' in report.meta['headline'] and report.meta['headline'] in report.summary()
    assert f'{bright:.3g} for pixels above 10 sigma' in report['noise_reduction'].reason
