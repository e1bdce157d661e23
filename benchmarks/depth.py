# Licensed under a 3-clause BSD style license - see LICENSE
"""
How deep a map of significance is: matching, purity, completeness and their paired bootstrap.
"""

import numpy as np
from common import psf_fwhm
from scipy.ndimage import gaussian_filter, maximum_filter, median_filter
from scipy.optimize import minimize
from scipy.signal import fftconvolve
from scipy.spatial import cKDTree

__all__ = ['Detections', 'bootstrap_depth', 'depth', 'find_peaks', 'logistic_half', 'match_peaks', 'matched_filter',
           'threshold_at']

_BLOCK = 128   # pixels: what is drawn in the bootstrap


def matched_filter(frame, local=False):
    """
    Significance of a star at each pixel of the noisy frame: the matched filter, with noise and sky known.

    With ``local`` the background is the smoothed median within 6 FWHM instead, and the noise that of its level.
    """
    if local:
        fwhm = psf_fwhm(frame.psf)
        background = gaussian_filter(median_filter(frame.data, 2 * int(3 * fwhm) + 1), fwhm)
        sigma = np.sqrt(frame.noise.variance(background))
    else:
        background, sigma = frame.scene.sky, frame.sky_sigma
    kernel = frame.psf / np.sqrt((frame.psf ** 2).sum())
    pad = kernel.shape[0] // 2
    padded = np.pad((frame.data - background) / sigma, pad, mode='reflect')
    return fftconvolve(padded, kernel[::-1, ::-1], mode='same')[pad:-pad, pad:-pad]


def find_peaks(image, floor):
    """Local maxima in 3x3 pixels above ``floor``, one pixel from the edge: x, y (parabolic) and height."""
    inner = np.zeros(image.shape, dtype=bool)
    inner[1:-1, 1:-1] = True
    y, x = np.nonzero((image == maximum_filter(image, 3)) & (image > floor) & inner)
    height = image[y, x]
    shift = []
    for before, after in ((image[y, x - 1], image[y, x + 1]), (image[y - 1, x], image[y + 1, x])):
        curvature = np.maximum(2 * height - before - after, 1e-30)
        shift.append(np.clip((after - before) / (2 * curvature), -0.5, 0.5))
    return x + shift[0], y + shift[1], height


def match_peaks(peaks, sources, radius):
    """
    Match peaks to sources, the highest peak first, each to the brightest source left within ``radius``.

    Parameters
    ----------
    peaks : tuple of `~numpy.ndarray`
        x, y and height.
    sources : tuple of `~numpy.ndarray`
        x, y and flux.
    radius : float
        In pixels.

    Returns
    -------
    scores : `~numpy.ndarray`
        Height of the peak of each source; minus infinity for none.
    matched : `~numpy.ndarray` of bool
        Whether each peak has a source.
    """
    x, y, height = peaks
    flux = np.asarray(sources[2])
    scores = np.full(len(flux), -np.inf)
    matched = np.zeros(len(height), dtype=bool)
    if not len(flux) or not len(height):
        return scores, matched
    near = cKDTree(np.column_stack(sources[:2])).query_ball_point(np.column_stack([x, y]), radius)
    free = np.ones(len(flux), dtype=bool)
    for i in np.argsort(-height):
        candidates = [j for j in near[i] if free[j]]
        if candidates:
            j = max(candidates, key=flux.__getitem__)
            free[j], matched[i], scores[j] = False, True, height[i]
    return scores, matched


class Detections:
    """
    What one map found in frames of one kind, by blocks of sky.

    Attributes
    ----------
    n_blocks : int
        Number of blocks in all frames so far.
    """

    def __init__(self):
        self.peak_score, self.peak_good, self.peak_block = [], [], []
        self.star_magnitude, self.star_score, self.star_block = [], [], []
        self.n_blocks = 0

    def add(self, image, frame, radius, faintest=2.0):
        """
        Find and match the peaks of the map of a frame.

        Parameters
        ----------
        image : `~numpy.ndarray`
            The map of significance.
        frame : Frame
            The observation.
        radius : float
            Matching radius in pixels.
        faintest : float, optional
            Sources fainter than this significance, were they isolated stars, are no detection.
        """
        catalog = frame.scene.catalog
        snr = catalog['flux'] / (frame.sky_sigma / np.sqrt((frame.psf ** 2).sum()))
        catalog, snr = catalog[snr > faintest], np.asarray(snr[snr > faintest])
        sources = tuple(np.asarray(catalog[name], dtype=float) for name in ('x', 'y', 'flux'))
        peaks = find_peaks(image, np.percentile(image, 50))
        scores, matched = match_peaks(peaks, sources, radius)
        columns = -(-image.shape[1] // _BLOCK)

        def block(x, y):
            return (self.n_blocks + (np.clip(y, 0, image.shape[0] - 1) // _BLOCK) * columns
                    + np.clip(x, 0, image.shape[1] - 1) // _BLOCK).astype(int)

        self.peak_score.append(peaks[2])
        self.peak_good.append(matched)
        self.peak_block.append(block(*peaks[:2]))
        star = np.asarray(catalog['kind'] == 'star')
        self.star_magnitude.append(-2.5 * np.log10(snr[star]))
        self.star_score.append(scores[star])
        self.star_block.append(block(sources[0][star], sources[1][star]))
        self.n_blocks += columns * -(-image.shape[0] // _BLOCK)

    def arrays(self):
        """Peaks (score, matched, block) and stars (magnitude, score, block)."""
        return (tuple(map(np.concatenate, (self.peak_score, self.peak_good, self.peak_block))),
                tuple(map(np.concatenate, (self.star_magnitude, self.star_score, self.star_block))))


def threshold_at(scores, good, weight=None, false_rate=0.05):
    """The lowest threshold above which no more than a fraction ``false_rate`` of the peaks is false."""
    order = np.argsort(-scores)
    weight = np.ones(len(scores)) if weight is None else weight
    total = np.cumsum(weight[order])
    false = np.cumsum((weight * ~good)[order])
    passing = np.nonzero((false <= false_rate * total) & (total > 0))[0]
    return scores[order[passing[-1]]] if passing.size else np.inf


def logistic_half(magnitude, found, weight=None):
    """Magnitude at which half are found, from a logistic fit of maximum likelihood."""
    weight = np.ones(len(magnitude)) if weight is None else weight
    centre = np.median(magnitude)

    def cost(parameters):
        z = np.exp(parameters[1]) * (magnitude - centre - parameters[0])
        return (weight * np.logaddexp(0, np.where(found, z, -z))).sum()

    best = min((minimize(cost, (start, 1.0), method='Nelder-Mead', options={'maxiter': 400}) for start in (-1.0, 1.0)),
               key=lambda fit: fit.fun)
    return centre + best.x[0]


def depth(detections, multiplicity=None):
    """Threshold at 5 % false detections, and the magnitude at which half of the stars are found; infinite for none."""
    (score, good, peak_block), (magnitude, star_score, star_block) = detections.arrays()
    weights = (None, None) if multiplicity is None else (multiplicity[peak_block], multiplicity[star_block])
    threshold = threshold_at(score, good, weights[0])
    if not np.isfinite(threshold):   # no threshold is pure enough
        return threshold, -np.inf
    return threshold, logistic_half(magnitude, star_score >= threshold, weights[1])


def bootstrap_depth(first, second, n=100, seed=1):
    """Standard deviation of the difference of depth of two maps of the same frames, blocks of sky redrawn."""
    rng = np.random.default_rng(seed)
    differences = []
    for _ in range(n):
        multiplicity = np.bincount(rng.integers(0, first.n_blocks, first.n_blocks), minlength=first.n_blocks)
        differences.append(np.subtract(depth(first, multiplicity)[1], depth(second, multiplicity)[1]))
    differences = np.array(differences)
    return float(differences.std()) if np.isfinite(differences).all() else np.nan
