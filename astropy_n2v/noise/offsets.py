# Licensed under a 3-clause BSD style license - see LICENSE
"""
Offsets that whole rows share, told from light: by all sections of a row alike, from row to row at random.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_dilation, convolve1d, gaussian_filter1d, uniform_filter1d

__all__ = ['Offsets', 'find_offsets']

# Sections of a row in pixels, at least, and their number at most: divisible by 16, so that quarters have quarters.
_SECTION, _MOST_SECTIONS, _LEAST_SECTIONS = 16, 32, 4
_MIN_ROWS = 32
# Cubic B-spline, of which each scale takes the double of the last.
_SPLINE = np.array([1, 4, 6, 4, 1]) / 16
# The largest scale has a standard deviation of so many rows less than there are: beyond it, offsets of rows and the
# background of the sky are not told apart. White offsets have 1.5 % of their variance there.
_LARGEST = 26
# Standard errors from which on offsets are beyond doubt. Chance has a part in 1e6 beyond 5.
_CERTAIN = 5.0
# Least share of the covariance of sections side by side that sections far apart must have.
_FLAT = 0.5
# Growth of the power density of stripes from one octave to the next, at most: that of 1/f noise. Of the sky it is more.
_GROWTH = 2.0
# Rows that stand out by so much, in robust standard deviations, are light along a row.
_OUTLIER, _EDGE = 6.0, 2.5
_WIDTHS = (0, 1, 2, 4, 8)   # rows: of light along a row
# Period, at most, and periods that a pattern must have at least.
_LONGEST, _REPEATED = 64, 8
_LEAST_PERIODIC = 0.02   # amplitude in units of the noise


@dataclass
class Offsets:
    """
    Offsets of the rows of an image.

    Parameters
    ----------
    values, error : `~numpy.ndarray`
        Offset of each row and standard deviation of its error, of shape (rows,).
    amplitude : float
        Standard deviation of the offsets.
    period : int
        Number of rows after which they repeat; 0 if they do not.
    """

    values: np.ndarray
    error: np.ndarray
    amplitude: float
    period: int = 0

    @property
    def expected(self):
        """Rms of the errors."""
        return float(np.sqrt(np.mean(self.error ** 2)))


def section_edges(width):
    """First columns of the sections that rows are divided into, and the end of the last."""
    n = min(_MOST_SECTIONS, width // _SECTION)
    n = n // 16 * 16 if n >= 16 else n // 4 * 4
    return np.linspace(0, width, n + 1).astype(int)


def _split(profiles, n_scales):
    """Differences between scales of profiles along the first axis, that between the last scale and a cubic left out."""
    bands = []
    for scale in range(n_scales):
        kernel = np.zeros(4 * 2 ** scale + 1)
        kernel[::2 ** scale] = _SPLINE
        smooth = convolve1d(profiles, kernel, axis=0, mode='reflect')
        bands.append(profiles - smooth)
        profiles = smooth
    return bands


def _white_norms(n_scales):
    """Variances of white noise of unit variance in each of the bands of `_split`."""
    line = np.zeros((16 * 2 ** n_scales + 1, 1))
    line[len(line) // 2] = 1
    return [float(np.sum(band ** 2)) for band in _split(line, n_scales)]


def _filled(means, good):
    """Section means with those of too few pixels replaced by the others of their row, or by neighbouring rows."""
    usable = good.any(axis=1)
    if not usable.any():
        return np.zeros(means.shape)
    means = np.where(good, means, np.nan)
    levels = _nanmedian(means, 0)
    levels = np.where(np.isfinite(levels), levels, np.nanmedian(levels))
    means = means - levels
    rows = np.full(len(means), np.nan)
    rows[usable] = np.nanmedian(means[usable], axis=1)
    at = np.arange(len(rows))
    rows = np.interp(at, at[usable], rows[usable])
    return np.where(good, means, rows[:, None])


def _nanmedian(values, axis):
    result = np.full(values.shape[1 - axis], np.nan)
    some = np.isfinite(values).any(axis=axis)
    result[some] = np.nanmedian(values[:, some] if axis == 0 else values[some], axis=axis)
    return result


def _without_cubic(profiles):
    x = np.linspace(-1, 1, len(profiles))
    return profiles - np.polynomial.legendre.legval(x, np.polynomial.legendre.legfit(x, profiles, 3)).T


def _around(values, inner, outer):
    """
    Means over windows of rows without their middle.

    Weights from a value itself would favour what agrees with the others, and make independent sections agree.
    """
    if outer < 2 * inner:
        return np.broadcast_to(values.mean(axis=0), values.shape)
    wide, narrow = (uniform_filter1d(values, size, axis=0, mode='reflect') for size in (outer, inner))
    return np.maximum(outer * wide - inner * narrow, 0) / (outer - inner)


class _Common:
    """
    What the sections of a row have in common in one band of scales.

    Parameters
    ----------
    band : `~numpy.ndarray`
        Of shape (rows, sections).
    good : `~numpy.ndarray` of bool
        Where sections were measured.
    reach : int
        Rows over which the band is correlated.
    """

    def __init__(self, band, good, reach):
        residual = band - np.median(band, axis=1, keepdims=True)
        # Where a section has sources or nebulosity it scatters more, and counts less.
        local = _around(residual ** 2, 4 * reach + 1, min(16 * reach + 1, len(band)))
        self.weight = np.where(good, 1 / np.maximum(local, 0.3 * np.median(local) + np.finfo(float).tiny), 0)
        self.band, self.reach = band, reach
        self.mean = self._mean(slice(None))[0]

    def _mean(self, sections):
        weight = self.weight[:, sections]
        total = weight.sum(axis=1)
        return (weight * self.band[:, sections]).sum(axis=1) / np.maximum(total, np.finfo(float).tiny), total

    def variances(self, light):
        """Variance that far sections share, its standard error, that of near ones, and that of the mean."""
        n = self.band.shape[1]
        quarters = [self._mean(slice(i * n // 4, (i + 1) * n // 4)) for i in range(4)]
        far = self._covariance([(quarters[a], quarters[b]) for a, b in ((0, 2), (0, 3), (1, 3))], light)
        near = self._covariance([(quarters[a], quarters[a + 1]) for a in range(3)], light)
        total = np.mean(self.mean[~light] ** 2) if (~light).any() else 0.0
        return far[0], far[1], near[0], float(total)

    def _covariance(self, pairs, light):
        weight = sum(a[1] * b[1] for a, b in pairs)[~light]
        product = sum(a[0] * b[0] * a[1] * b[1] for a, b in pairs)[~light]
        total = weight.sum()
        if not total > 0:
            return 0.0, np.inf
        value = product.sum() / total
        scatter = (product - value * weight) ** 2
        return float(value), float(np.sqrt(self.reach * scatter.sum()) / total)


def _robust(values):
    """Standard deviation from the median of the absolute deviations."""
    return float(np.median(np.abs(values - np.median(values)))) / 0.6745


def _light_along(profile):
    """Rows with light of their own, as of a trail or a spectrum along them: far from what the others have."""
    light = np.zeros(len(profile), dtype=bool)
    for width in _WIDTHS:
        smooth = gaussian_filter1d(profile, width) if width else profile
        scatter = _robust(smooth)
        if not scatter > 0:
            continue
        core = np.abs(smooth) > _OUTLIER * scatter
        if not core.any():
            continue
        # As far as it can be seen, and some more.
        wide = np.abs(smooth) > _EDGE * scatter
        core = binary_dilation(core, iterations=-1, mask=wide | core) if (wide & ~core).any() else core
        light |= binary_dilation(core, iterations=2 + 2 * width)
    return light


def find_offsets(means, good, noise):
    """
    Find the offsets of rows from the means of their sections.

    Parameters
    ----------
    means : `~numpy.ndarray`
        Mean of each section of each row, of shape (rows, sections).
    good : `~numpy.ndarray` of bool
        Where they are of enough pixels.
    noise : float
        Of a pixel, in the unit of the means.

    Returns
    -------
    Offsets or None
        None where no offsets are beyond doubt.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.noise.offsets import find_offsets
    >>> rng = np.random.default_rng(0)
    >>> means = rng.normal(size=(256, 16)) / 4
    >>> find_offsets(means, np.ones(means.shape, bool), 1.0) is None
    True
    >>> stripes = 0.5 * rng.normal(size=256)
    >>> found = find_offsets(means + stripes[:, None], np.ones(means.shape, bool), 1.0)
    >>> bool(np.std(found.values - stripes) < 0.12)
    True
    """
    n_rows, n_sections = means.shape
    if n_rows < _MIN_ROWS or n_sections < _LEAST_SECTIONS or good.mean() < 0.3:
        return None
    profiles = _without_cubic(_filled(means, good))
    n_scales = max(1, int(np.log2(np.sqrt(3) * n_rows / _LARGEST)))
    bands = [_Common(band, good, 2 ** scale) for scale, band in enumerate(_split(profiles, n_scales))]
    light = _light_along(sum(band.mean for band in bands)) | ~good.any(axis=1)
    if light.mean() > 0.5:
        return None
    if light.any():
        # Without it, nothing of it remains in the bands beside it.
        at = np.arange(n_rows)
        profiles = np.stack([np.interp(at, at[~light], profile[~light]) for profile in profiles.T], axis=1)
        bands = [_Common(band, good, 2 ** scale) for scale, band in enumerate(_split(profiles, n_scales))]
    if not _is_certain(profiles, good, light):
        return None
    return _shrunk(bands, light, n_scales)


def _is_certain(profiles, good, light):
    """Whether rows have offsets at the highest frequencies, of which sources have next to nothing."""
    order = 4
    middle = slice(order // 2, len(profiles) - order // 2)
    differences = np.diff(profiles, order, axis=0) / np.sqrt(70)
    near_light = binary_dilation(light, iterations=order // 2)[middle]
    if near_light.all():
        return False
    # Neighbouring differences are correlated.
    far, error, near, _ = _Common(differences, good[middle], 3).variances(near_light)
    return far > _CERTAIN * error and far > _FLAT * near


def _shrunk(bands, light, n_scales):
    """Offsets from their bands, each as far as it is more than chance."""
    norms = _white_norms(n_scales)
    values, error, density = np.zeros(len(light)), 0.0, np.inf
    for band, norm in zip(bands, norms):
        far, _, near, total = band.variances(light)
        shared = max(min(far, density * _GROWTH * norm), 0.0) if far > _FLAT * near or density == np.inf else 0.0
        density = shared / norm
        weight = min(shared / total, 1.0) if total > 0 else 0.0
        values += weight * band.mean
        error += shared * (1 - weight)
    amplitude = np.sqrt(max(bands[0].variances(light)[0], 0) / norms[0])
    # What they have on scales that are left to the sky.
    coarse = amplitude ** 2 / (2 * np.sqrt(np.pi * (4 ** n_scales - 1) / 3))
    deviation = np.where(light, amplitude, np.sqrt(error + coarse))
    return Offsets(np.where(light, 0, values), deviation, float(amplitude))
