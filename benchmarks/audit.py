# Licensed under a 3-clause BSD style license - see LICENSE
"""
The audit of results: ``python benchmarks/audit.py``.

Results of small frames of all kinds, of known noise, are audited as they are, and with faults planted in them. Writes
``results/audit.csv``, a row for each check: how many frames it was made on, how many findings it had, the largest
significances, and where an exponential tail, fitted to the largest hundredth of them, has one false finding in 1,000
frames over all checks together, by which the limits were set; and ``results/audit_faults.csv``, a row for each fault:
on how many frames it is found, and by which checks.
"""

from collections import Counter, defaultdict
from types import SimpleNamespace

import numpy as np
from common import parse, write_table
from scipy.ndimage import gaussian_filter

from astropy_n2v import Denoiser, NoiseModel
from astropy_n2v.audit import audit_result
from astropy_n2v.inference.normalization import NormalizedImage
from astropy_n2v.inference.whitened_image import whiten_image
from astropy_n2v.simulate import SCENE_KINDS, make_scene, random_observation

__all__ = ['FAULTS', 'clean_case', 'main', 'plant', 'tail_limit']

SIZES = (64, 64), (64, 96), (100, 128), (128, 128), (192, 192), (256, 256)
#: Kinds of frames, by their seed.
FRAMES = 'random', 'scene', 'quantised', 'masked', 'photons', 'random', 'scene', 'correlated'
_RATE = 1e-3
#: Faults that are planted, and in words.
FAULTS = {
    'sources x 0.98': 'flux above the background lowered by 2 %',
    'all x 0.98': 'the whole result lowered by 2 %, with its background',
    'offset': '0.1 sigma of the sky added',
    'star erased': 'a star of a signal-to-noise ratio of 10 and a FWHM of 3 pixels',
    'bright star erased': 'the same, of 20',
    'star invented': 'a star of a signal-to-noise ratio of 10 and a FWHM of 3 pixels',
    'bright star invented': 'the same, of 20',
    'blur': 'the result convolved with a Gaussian of 1 pixel',
    'uncertainty halved': 'where the signal is above 3 sigma, the result as it is',
    'spread halved': 'there, the spread of the blind prediction, and the result that follows',
    'structure invented': 'fluctuations of 0.2 sigma over 2 pixels in the blind prediction',
    'tile shifted': 'a quarter of the result, by one pixel',
    'tile offset': '0.3 sigma of the sky added to a quarter of the result',
}


def clean_case(seed, denoiser):
    """
    Make a frame, and predict it with its true noise.

    Parameters
    ----------
    seed : int
        Also says what kind of a frame it is.
    denoiser : Denoiser
        The model.

    Returns
    -------
    kind : str
        One of `FRAMES`.
    image : NormalizedImage
        The frame; whitened, where its noise is correlated.
    result : dict of `~numpy.ndarray`
        Its prediction, with its calibration.
    """
    rng = np.random.default_rng((seed, 2))
    kind, shape = FRAMES[seed % len(FRAMES)], SIZES[rng.integers(len(SIZES))]
    mask = None
    if kind == 'scene':
        scene = make_scene(list(SCENE_KINDS)[rng.integers(len(SCENE_KINDS))], shape, seed=seed)
        data, noise = np.asarray(scene.observe(seed=(seed, 1)).data), scene.noise
    elif kind == 'photons':
        scene = make_scene(list(SCENE_KINDS)[rng.integers(len(SCENE_KINDS))], shape, seed=seed)
        truth = scene.truth / scene.truth.mean() * 10 ** rng.uniform(-1, 1)
        data, noise = rng.poisson(truth).astype(float), NoiseModel(0.0, gain=1.0)
    else:
        observation = random_observation((256, 256) if kind == 'masked' else shape, correlated=kind == 'correlated',
                                         seed=seed)
        data, noise, mask = observation.data, observation.noise, observation.mask
        if kind == 'quantised':
            step = np.sqrt(np.median(noise.variance(observation.truth))) * rng.uniform(0.3, 1.5)
            data = np.round(data / step) * step
            noise = NoiseModel(np.sqrt(noise.sigma ** 2 + step ** 2 / 12), gain=noise.gain, zero_point=noise.zero_point)
        if kind == 'masked':
            # All but a corner of a twentieth of the image.
            outside = np.ones(data.shape, dtype=bool)
            outside[:57, :57] = False
            mask = outside if mask is None else mask | outside
    image = NormalizedImage.prepare(np.asarray(data, dtype=float), noise, mask)
    whitened = whiten_image(image)
    if whitened is not None:
        # As the audit sees it: the photon noise follows the blind prediction.
        white = whitened.white
        blind = denoiser.predict(white.data, white.noise, ~white.valid, audit=False).blind_mean
        noise = whitened.with_signal(blind).noise
        image = NormalizedImage.prepare(white.data, noise, ~white.valid)
    return kind, image, vars(denoiser.predict(image.data, noise, ~image.valid))


def _audited(image, result):
    report, _ = audit_result(image, SimpleNamespace(**result))
    return report


def _stars(shape, rng, scale, ratio):
    """Draw a star of a signal-to-noise ratio, by its point-spread function."""
    y, x = np.mgrid[:shape[0], :shape[1]]
    centre = [rng.uniform(4, n - 5) for n in shape]
    star = np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (2 * (3 / 2.355) ** 2))
    return ratio * scale * star / np.sqrt(np.sum(star ** 2))


def plant(name, image, result, rng):
    """
    Plant a fault in a result.

    Parameters
    ----------
    name : str
        One of `FAULTS`.
    image : NormalizedImage
        The frame.
    result : dict
        Its prediction.
    rng : `~numpy.random.Generator`
        Random numbers.

    Returns
    -------
    image, result
        The same with the fault.
    """
    mean, std, noise = (result[key].astype(float) for key in ('mean', 'std', 'noise_std'))
    level = image.scaling.at(slice(0, image.shape[0]), slice(0, image.shape[1])).level
    scale, height, width = image.scaling.scale, image.shape[0] // 2, image.shape[1] // 2
    bright = result['blind_mean'] - level > 3 * noise
    if name == 'sources x 0.98':
        mean = level + 0.98 * (mean - level)
    elif name == 'all x 0.98':
        mean = 0.98 * mean
    elif name == 'offset':
        mean = mean + 0.1 * scale
    elif 'star' in name:
        star = _stars(image.shape, rng, scale, 20 if 'bright' in name else 10)
        if 'erased' in name:
            return image.observed(image.data + star), result
        mean = mean + star
    elif name == 'blur':
        mean = gaussian_filter(mean, 1.0)
    elif name == 'uncertainty halved':
        std = np.where(bright, std / 2, std)
    elif name == 'tile shifted':
        mean[:height, :width] = np.roll(mean[:height, :width], 1, axis=1)
    elif name == 'tile offset':
        mean[:height, :width] += 0.3 * scale
    else:
        return image, _predicted_again(name, image, result, bright, rng)
    return image, {**result, 'mean': mean, 'std': std}


def _predicted_again(name, image, result, bright, rng):
    """Combine another blind prediction with the data."""
    blind, spread, noise = (result[key].astype(float) for key in ('blind_mean', 'blind_std', 'noise_std'))
    if name == 'spread halved':
        spread = np.where(bright, spread / 2, spread)
    else:
        structure = gaussian_filter(rng.normal(size=image.shape), 1.0)
        blind = blind + 0.2 * image.scaling.scale * structure / structure.std()
    total = spread ** 2 + noise ** 2
    share = np.where(image.valid, spread ** 2 / total, 0)
    difference = np.where(image.valid, image.data, blind) - blind
    foreseen = blind + share * difference
    mean = foreseen + result['outlier'] * (blind + difference - foreseen)
    return {**result, 'mean': mean, 'std': np.sqrt(share * noise ** 2), 'blind_mean': blind, 'blind_std': spread,
            'innovation': np.where(image.valid, difference / np.sqrt(total), np.nan)}


def tail_limit(values, n_frames, rate):
    """
    Find the value that an exponential tail exceeds at a rate.

    Parameters
    ----------
    values : array_like
        Values on some of the frames; on the others there were none.
    n_frames : int
        Number of frames.
    rate : float
        Wanted rate per frame.

    Returns
    -------
    float
        The limit; NaN where values are too few.
    """
    values = np.sort(np.asarray(values, dtype=float))[::-1]
    values = values[np.isfinite(values)]
    m = min(max(10, n_frames // 100), values.size - 1)
    if m < 5:
        return np.nan
    return values[m] + np.mean(values[:m] - values[m]) * np.log(m / n_frames / rate)


def _summarise_checks(frames):
    """Make a row for each check and side, from the reports of all frames."""
    measured = defaultdict(list)
    for report in frames:
        for check in report.checks:
            if np.isfinite(check.significance):
                # A difference that does not matter is no finding, however significant.
                matters = abs(check.value - check.expected) > check.limit
                side = 'below' if check.value < check.expected else 'above'
                measured[check.name, side].append((abs(check.significance) if matters else 0.0, check))
    rows, n = [], len(frames)
    names = {name for name, _ in measured}
    for (name, side), values in sorted(measured.items()):
        sizes = sorted((size for size, _ in values), reverse=True)
        rows.append({'check': name, 'side': side, 'frames': len(values), 'threshold': values[0][1].threshold,
                     'largest': sizes[0], 'third': sizes[min(2, len(sizes) - 1)],
                     'tail': tail_limit(sizes, n, _RATE / (2 * len(names))),
                     'findings': sum(check.consequence not in ('ok', 'not checked') for _, check in values)})
    return rows


def main(argv=None):
    arguments = parse(__doc__, argv, n_seeds=1000, size=0, flags={'clean': 'plant no faults'})
    denoiser = Denoiser.load('default')
    reports, found, by = [], defaultdict(list), defaultdict(Counter)
    worst = Counter()
    for seed in arguments.seeds:
        kind, image, result = clean_case(seed, denoiser)
        report = _audited(image, result)
        reports.append(report)
        worst[report.worst] += 1
        if report.worst not in ('ok', 'note'):
            print(seed, kind, image.shape, report.summary(), report.message(), flush=True)
        if arguments.clean or kind not in ('random', 'scene') or report.findings:
            continue
        rng = np.random.default_rng((seed, 3))
        for name in FAULTS:
            spoilt = _audited(*plant(name, image, result, rng))
            large = image.data.size >= 192 ** 2
            found[name, large].append(spoilt.worst not in ('ok', 'note'))
            by[name].update({check.name.split(' (')[0] for check in spoilt.findings})
    note = f'{len(reports)} frames: ' + ', '.join(f'{n} {name}' for name, n in worst.items())
    write_table(_summarise_checks(reports), 'audit', note)
    if found:
        write_table([{'fault': name, 'small': np.mean(found[name, False]), 'large': np.mean(found[name, True]),
                      'frames': len(found[name, False]) + len(found[name, True]),
                      'by': ' / '.join(check for check, _ in by[name].most_common(3))} for name in FAULTS],
                    'audit_faults', '64 to 128 and 192 to 256 pixels')
    print(note)


if __name__ == '__main__':
    main()
