# Licensed under a 3-clause BSD style license - see LICENSE
"""
Scenes and observations drawn from the whole range of telescope images.
"""

from dataclasses import replace

import numpy as np
from scipy.ndimage import convolve

from ..noise import NoiseModel
from .canvas import Canvas
from .detector import DEFECTS, combine_masks, expose, make_flat
from .extended import _log_uniform, make_disc, make_spectrum, make_trails
from .nebulae import make_filaments, make_gradient, make_nebula
from .observations import Observation
from .populations import add_cluster, add_galaxies, add_globular, add_large_galaxy, add_luminous_stars, add_stars
from .resampling import observe_correlated_readout, observe_drizzled, observe_resampled, observe_smoothed
from .scenes import Scene

__all__ = ['RANDOM_FIELDS', 'random_observation', 'random_scene']

#: The fields that `random_scene` draws from, and their probabilities.
RANDOM_FIELDS = {
    'survey': 0.25,       # galaxies and stars
    'stars': 0.06,        # few stars
    'sparse': 0.10,       # stars, galaxies or both, all of them detectable
    'crowded': 0.11,      # crowded stars
    'globular': 0.04,
    'cluster': 0.06,      # a cluster of galaxies
    'galaxy': 0.05,       # a large galaxy in the foreground of a survey field
    'nebula': 0.12,       # power-law nebulosity and stars
    'cirrus': 0.05,       # nebulosity below the noise, with few stars or none
    'filaments': 0.05,    # filaments, most in nebulosity
    'bright_nebula': 0.03,   # nebulosity of hundreds of sigma
    'empty': 0.04,        # sky, or a few faint stars
    'spectrum': 0.025,    # a long-slit spectrum
    'disc': 0.015,        # all or a part of a planet, the Sun or the Moon
}

_MAX_LAG = 6   # pixels: largest lag of the autocorrelation
_LAG_ERROR = 0.005   # standard deviation of the error of a measured correlation


def _random_psfs(rng, fwhm):
    """Draw the keywords of one point-spread function, or of two between which it varies."""
    kind = rng.choice(['moffat', 'gaussian', 'airy', 'pupil'], p=[0.62, 0.16, 0.08, 0.14])
    psf = {'fwhm': fwhm, 'kind': str(kind)}
    if kind == 'pupil':
        psf.update(obstruction=rng.uniform(0.1, 0.45), spikes=int(rng.choice([0, 4, 6], p=[0.2, 0.6, 0.2])),
                   spike_angle=rng.uniform(0, np.pi), vane_width=_log_uniform(rng, 0.008, 0.04))
    elif kind in ('moffat', 'gaussian'):
        psf.update(beta=rng.uniform(2.2, 5), theta=rng.uniform(0, np.pi),
                   ellipticity=rng.uniform(0, 0.12) if rng.uniform() < 0.7 else rng.uniform(0, 0.4))
        if rng.uniform() < 0.15:
            psf.update(spikes=int(rng.choice([4, 6])), spike_angle=rng.uniform(0, np.pi),
                       spike_fraction=_log_uniform(rng, 0.003, 0.06))
    if 'theta' not in psf or rng.uniform() > 0.2:
        return [psf]
    other = {**psf, 'fwhm': fwhm * rng.uniform(0.85, 1.2), 'theta': psf['theta'] + rng.uniform(-0.8, 0.8),
             'ellipticity': min(psf['ellipticity'] + rng.uniform(0, 0.15), 0.5)}
    return [psf, other]


def _populate(canvas, rng, kind, sigma):
    """Add stars and galaxies of a field."""
    area = np.prod(canvas.shape)
    # The noise of the sky hardly determines how far below the limit sources extend: some fields have few of them.
    low, brightest = _log_uniform(rng, 0.1, 5) * sigma, _log_uniform(rng, 300, 3e5) * sigma
    if kind == 'empty':
        if rng.uniform() < 0.6:
            add_luminous_stars(canvas, rng, _log_uniform(rng, 1e-5, 1e-3), low, 30 * sigma, 1.0, reference=3 * sigma)
        return
    if kind == 'sparse':
        _add_visible(canvas, rng, sigma)
        return
    if kind == 'spectrum':
        return
    density = {'crowded': (4e-3, 0.15), 'globular': (1e-4, 1e-2), 'nebula': (1e-4, 1e-2), 'filaments': (1e-4, 1e-2),
               'cirrus': (2e-5, 2e-3)}
    stars = _log_uniform(rng, *density.get(kind, (1.5e-4, 4e-3)))
    if 'nebula' in kind and rng.uniform() < 0.12 or kind == 'cirrus' and rng.uniform() < 0.4:
        stars = 0
    add_luminous_stars(canvas, rng, stars, low, brightest, rng.uniform(0.4, 1.0), reference=3 * sigma)
    if kind == 'globular':
        add_globular(canvas, rng, _log_uniform(rng, 0.015, 0.3) * area, sigma, low, brightest, rng.uniform(0.5, 1.0))
    if kind == 'cluster':
        add_cluster(canvas, rng, sigma, richness=_log_uniform(rng, 2e-4, 1.2e-3) * area,
                    r_core=rng.uniform(0.06, 0.2) * min(canvas.shape))
    if kind == 'galaxy':
        for _ in range(int(rng.integers(1, 3))):
            add_large_galaxy(canvas, rng, sigma)
    if kind in ('survey', 'cluster', 'galaxy'):
        add_galaxies(canvas, rng, _log_uniform(rng, 3e-4, 4e-3), _log_uniform(rng, 1, 15) * sigma,
                     _log_uniform(rng, 300, 3e4) * sigma, rng.uniform(0.6, 1.1), _log_uniform(rng, 1, 5), sigma,
                     reference=10 * sigma)


def _add_visible(canvas, rng, sigma):
    """Add detectable sources only, as in short exposures; the sky between them is empty."""
    faintest, ratio, index = _log_uniform(rng, 5, 60), _log_uniform(rng, 3, 3000), rng.uniform(0.1, 1.0)

    def fluxes(width):
        """Draw fluxes of sources of a full width at half maximum, above a signal-to-noise ratio."""
        low = faintest * sigma * np.sqrt(4 * np.pi) * width / 2.355
        return low, min(low * ratio, max(3e5 * sigma, 3 * low))

    draw = rng.uniform()
    if draw < 0.8:
        add_stars(canvas, rng, _log_uniform(rng, 5e-5, 5e-3), *fluxes(canvas.fwhm), index)
    if draw > 0.6:
        radii = _log_uniform(rng, 1, 5)
        low, high = fluxes(np.hypot(canvas.fwhm, 2 * radii))
        add_galaxies(canvas, rng, _log_uniform(rng, 1e-4, 1.5e-3), low, high, index, radii, sigma, reference=low)


def _diffuse(rng, shape, kind, sigma):
    """Draw nebulosity, filaments and other diffuse light, or None."""
    image = None
    if kind == 'cirrus':
        contrast = _log_uniform(rng, 0.1, 1)
        image = make_nebula(shape, amplitude=_log_uniform(rng, 0.1, 3) * sigma / contrast, index=rng.uniform(2, 3.6),
                            contrast=contrast, seed=rng)
    elif 'nebula' in kind or (kind == 'filaments' and rng.uniform() < 0.7) or rng.uniform() < 0.06:
        low, high = {'nebula': (1.5, 60), 'bright_nebula': (60, 600), 'filaments': (0.5, 30)}.get(kind, (0.3, 10))
        image = make_nebula(shape, amplitude=_log_uniform(rng, low, high) * sigma, index=rng.uniform(2.5, 3.8),
                            contrast=rng.uniform(0.2, 1.5), seed=rng)
    if kind == 'filaments' or ('nebula' in kind and rng.uniform() < 0.25):
        ridges = make_filaments(shape, amplitude=_log_uniform(rng, 2, 300) * sigma, width=_log_uniform(rng, 1, 10),
                                n=int(rng.integers(1, 4)), index=rng.uniform(3.8, 5), seed=rng)
        image = ridges if image is None else image + ridges
    extended = None
    if kind == 'spectrum':
        extended = make_spectrum(shape, amplitude=_log_uniform(rng, 3, 1000) * sigma, width=_log_uniform(rng, 0.5, 3),
                                 n_lines=int(_log_uniform(rng, 1, 60)), n_traces=int(rng.integers(0, 8)), seed=rng)
    elif kind == 'disc':
        extended = make_disc(shape, amplitude=_log_uniform(rng, 5, 1000) * sigma,
                             contrast=_log_uniform(rng, 0.01, 0.3), seed=rng)
    elif rng.uniform() < 0.05:
        extended = make_trails(shape, amplitude=_log_uniform(rng, 0.5, 100) * sigma, width=_log_uniform(rng, 0.3, 3),
                               n=1 + int(rng.poisson(0.5)), seed=rng)
    return extended if image is None else image if extended is None else image + extended


def random_scene(shape=(256, 256), *, seed=None):
    """
    Draw a scene from the whole range of seeing, sampling, density, sky and read noise.

    Sky is log-uniform from 0.05 to 10\\ :sup:`4` electrons, read noise from 0.5 to 20 electrons
    or none (half of the scenes with less than one electron of sky, 15 % of the others), the width
    of the point-spread function from 0.9 to 8 pixels; in most fields, luminosity functions extend far
    below the limit of detection. The kind of field is drawn from `RANDOM_FIELDS`.

    Parameters
    ----------
    shape : tuple of int, optional
        Height and width in pixels.
    seed : int or `~numpy.random.Generator`, optional
        Seed of all random numbers.

    Returns
    -------
    Scene
        Truth in electrons, catalogue and point-spread function.

    See Also
    --------
    random_observation : Draw a scene with noise, defects and masks.

    Examples
    --------
    >>> from astropy_n2v.simulate import random_scene
    >>> random_scene((48, 64), seed=3).truth.shape
    (48, 64)
    """
    rng = np.random.default_rng(seed)
    sky = _log_uniform(rng, 0.05, 1e4)
    # Frames with less than one electron of sky are mostly from detectors that count photons.
    readnoise = 0.0 if rng.uniform() < (0.5 if sky < 1 else 0.15) else _log_uniform(rng, 0.5, 20)
    sigma = np.sqrt(sky + readnoise ** 2)
    fwhm = rng.uniform(0.9, 1.8) if rng.uniform() < 0.2 else _log_uniform(rng, 1.8, 8)
    kind = str(rng.choice(list(RANDOM_FIELDS), p=list(RANDOM_FIELDS.values())))
    canvas = Canvas(shape, fwhm)
    _populate(canvas, rng, kind, sigma)
    diffuse = _diffuse(rng, shape, kind, sigma)
    # Diffuse light is convolved with the point-spread function, except for a pure power law.
    convolved = rng.uniform() < 0.6
    if diffuse is not None and convolved:
        canvas.add_diffuse(diffuse)
    image, stamps = canvas.render(psfs=_random_psfs(rng, fwhm))
    if diffuse is not None and not convolved:
        image = image + diffuse
    if rng.uniform() < 0.25:
        image = image + make_gradient(shape, amplitude=_log_uniform(rng, 0.2, 20) * sigma,
                                      curvature=rng.uniform(0, 2), seed=rng)
    return Scene(image + sky, float(sky), float(readnoise), sum(stamps) / len(stamps), canvas.catalog(), kind,
                 tuple(stamps) if len(stamps) > 1 else None)


def _random_defects(rng, truth, sigma):
    """Draw keywords of `expose` for defects, and the names of the flagged ones."""
    options, flagged = {}, []
    if rng.uniform() < 0.35:
        options['cosmic_rays'] = int(rng.poisson(_log_uniform(rng, 1, 15)))
        flagged += ['cosmic_rays'] if rng.uniform() < 0.5 else []
    if rng.uniform() < 0.3:
        options['hot_pixels'] = int(rng.poisson(_log_uniform(rng, 1, 40)))
        flagged += ['hot_pixels'] if rng.uniform() < 0.5 else []
    if rng.uniform() < 0.15:
        options['bad_columns'] = int(rng.integers(1, 5))
        flagged += ['bad_columns'] if rng.uniform() < 0.7 else []
    if rng.uniform() < 0.4:
        # Never more than a few per cent of the frame, for any scene.
        full_well = max(np.median(truth) + _log_uniform(rng, 100, 3e4) * sigma, np.quantile(truth, 0.985))
        options.update(satlevel=full_well + 5 * np.sqrt(full_well), bleed=bool(rng.uniform() < 0.6))
        flagged.append('saturated')
    return options, flagged


def _random_flat(rng, scene, sigma):
    """Draw the response of single pixels, or None, its error, and the smooth response."""
    error, flat, smooth = 0.0, None, 1.0
    if rng.uniform() < 0.3:
        # Below the photon noise, as in any acceptable flat field.
        error = min(_log_uniform(rng, 1e-4, 0.01), 0.4 * sigma / max(np.median(scene.truth), 1e-3))
        flat = make_flat(scene.truth.shape, error=error, seed=rng)
    if rng.uniform() < 0.2:
        smooth = make_flat(scene.truth.shape, error=0, vignetting=rng.uniform(0, 0.05),
                           smooth=_log_uniform(rng, 1e-3, 0.01), seed=rng)
    return flat, error, smooth


def random_observation(shape=(256, 256), *, correlated=False, seed=None):
    """
    Draw a scene and observe it with a random detector.

    Gain and its quantisation, errors of the flat field, cosmic rays, hot pixels, bad columns and saturated stars
    with their bleed trails occur in some of the frames. Saturated pixels are always flagged, other defects in
    about half of the frames.

    Parameters
    ----------
    shape : tuple of int, optional
        Height and width in pixels.
    correlated : bool, optional
        If true, correlate the noise in any way that detectors, resampling and drizzling do, except for rounded data.
        The autocorrelation of ``noise`` is the true one with a measurement error.
    seed : int or `~numpy.random.Generator`, optional
        Seed of all random numbers.

    Returns
    -------
    Observation
        Data, truth, noise model and masks.

    Examples
    --------
    >>> from astropy_n2v.simulate import random_observation
    >>> observation = random_observation((64, 64), seed=5)
    >>> good = ~observation.defects
    >>> bool(abs(observation.innovation[good].std() - 1) < 0.1)
    True
    """
    rng = np.random.default_rng(seed)
    scene = random_scene(shape, seed=rng)
    sigma = np.sqrt(np.median(scene.truth) + scene.readnoise ** 2)
    flat, error, smooth = _random_flat(rng, scene, sigma)
    truth = scene.truth * smooth
    options, flagged = _random_defects(rng, truth, sigma)
    if correlated and rng.uniform() < 0.5:
        observation = _correlated_frame(rng, truth, scene.readnoise, {**options, 'flagged': flagged})
        observation.kind = scene.kind
        return _with_autocorrelation(observation, rng)
    gain = _log_uniform(rng, 0.1, 10)
    if 'satlevel' in options:
        options['satlevel'] /= gain
    quantize = bool(rng.uniform() < 0.3 and sigma > 2 and gain < 0.7 * sigma)
    data, masks = expose(truth, gain=gain, readnoise=scene.readnoise, flat=flat, quantize=quantize, seed=rng, **options)
    # The error of the flat field is computed at the level of the sky; rounding has a variance of 1/12.
    variance = (scene.readnoise ** 2 + (error * np.median(truth)) ** 2) / gain ** 2 + quantize / 12
    noise = NoiseModel(np.sqrt(variance), gain=gain, source='simulated')
    observation = Observation(data, truth / gain, noise, combine_masks(masks, flagged, shape),
                              combine_masks(masks, DEFECTS, shape), scene.kind)
    return _filter_noise(observation, rng) if correlated and not quantize else observation


def _filter_noise(observation, rng):
    """Correlate the noise as electronics, beams and other filters do, at constant variance."""
    draw = rng.uniform()
    if draw < 0.45:
        # Along rows or columns, positive or negative.
        line = np.array([rng.normal(0, 0.06) * (rng.uniform() < 0.3), rng.uniform(-0.35, 0.5), 1, 0, 0])
        kernel = line[None, :] if rng.uniform() < 0.8 else line[:, None]
    elif draw < 0.7:
        kernel = rng.uniform(-0.15, 0.4, (3, 3)) * rng.uniform(0.2, 1)
        kernel[1, 1] = 1
    else:
        # A beam, and a separate interpolation along each axis.
        sigma = _log_uniform(rng, 0.35, 1.7) * (rng.uniform(0.7, 1.4, 2) if rng.uniform() < 0.5 else np.ones(2))
        axis = np.arange(-6, 7)
        kernel = np.exp(-0.5 * (axis[:, None] / sigma[0]) ** 2) * np.exp(-0.5 * (axis[None, :] / sigma[1]) ** 2)
    kernel /= np.sqrt(np.sum(kernel ** 2))
    noise = observation.noise
    # Single-pixel events are not smoothed.
    events = observation.defects | ~np.isfinite(observation.data)
    deviation = np.sqrt(noise.variance(observation.truth))
    white = np.where(events, rng.normal(size=events.shape), (observation.data - observation.truth) / deviation)
    data = observation.truth + deviation * convolve(white, kernel, mode='wrap')
    observation.data = np.where(events, observation.data, data).astype(observation.data.dtype)
    return _with_autocorrelation(observation, rng)


def _with_autocorrelation(observation, rng):
    """Return the autocorrelation of the noise with a measurement error."""
    z = np.clip(np.where(observation.defects, 0, np.nan_to_num(observation.innovation)), -5, 5)
    size = 2 * _MAX_LAG + 1
    power = np.abs(np.fft.fft2(z, [n + _MAX_LAG for n in z.shape])) ** 2
    lags = np.fft.fftshift(np.fft.ifft2(power).real)
    middle = [n // 2 - _MAX_LAG for n in lags.shape]
    lags = lags[middle[0]:middle[0] + size, middle[1]:middle[1] + size]
    error = rng.normal(0, _LAG_ERROR, lags.shape)
    correlation = lags / lags[_MAX_LAG, _MAX_LAG] + (error + error[::-1, ::-1]) / np.sqrt(2)
    correlation[_MAX_LAG, _MAX_LAG] = 1
    observation.noise = replace(observation.noise, autocorrelation=np.clip(correlation, -1, 1))
    return observation


def _correlated_frame(rng, truth, readnoise, options):
    """Draw one of the ways in which exposures with correlated noise are taken and processed."""
    draw = rng.uniform()
    if draw < 0.3:
        sigma = rng.uniform(0.3, 0.85, 2) * ((0, 1) if rng.uniform() < 0.2 else (1, 1))
        return observe_smoothed(truth, readnoise=readnoise, sigma=tuple(sigma), seed=rng, **options)
    if draw < 0.4 and readnoise ** 2 > 0.3 * np.median(truth):
        return observe_correlated_readout(truth, readnoise=readnoise, length=rng.uniform(0.3, 1.0), seed=rng,
                                          **options)
    if draw < 0.75:
        kernel = str(rng.choice(['bilinear', 'cubic', 'lanczos3'], p=[0.45, 0.2, 0.35]))
        turned = rng.uniform() < 0.4
        scale = rng.uniform(0.75, 1.15) if turned and rng.uniform() < 0.5 else 1.0
        return observe_resampled(truth, readnoise=readnoise, kernel=kernel, scale=scale, seed=rng,
                                 rotation=rng.normal(0, 0.02) if turned else 0.0,
                                 **_exposures(int(rng.integers(1, 3 if turned else 6)), scale, options))
    scale = rng.uniform(0.45, 1.0)
    return observe_drizzled(truth, readnoise=readnoise, pixfrac=rng.uniform(0.5, 1.0), seed=rng, scale=scale,
                            **_exposures(int(rng.integers(2, 9)), scale, options))


def _exposures(n, scale, options):
    """Divide the defects of a frame among its exposures, and adapt their full well."""
    if 'satlevel' in options:
        # A pixel of the detector holds the light of 1 / scale**2 pixels of the result.
        options = {**options, 'satlevel': options['satlevel'] / scale ** 2}
    shared = {name: -(-options[name] // n) for name in ('cosmic_rays', 'hot_pixels') if name in options}
    if n > 2:
        shared['bad_columns'] = 0
    return {**options, **shared, 'n_exposures': n}
