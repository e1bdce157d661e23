# Licensed under a 3-clause BSD style license - see LICENSE
"""
Offsets that all pixels of a row share and that are random from row to row, separated from light.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.ndimage import (
    binary_dilation,
    binary_propagation,
    convolve1d,
    find_objects,
    gaussian_filter1d,
    label,
    median_filter,
    uniform_filter1d,
)
from scipy.optimize import least_squares
from scipy.stats import chi2

from ..utils.robust import robust_std

__all__ = ['Offsets', 'find_offsets']

# Least width of a section of a row in pixels; largest number, divisible by 16 so that quarters have quarters; least.
_SECTION, _MOST_SECTIONS, _LEAST_SECTIONS = 16, 32, 4
_MIN_ROWS = 32   # fewest rows of an image in which offsets are searched
# Cubic B-spline; the width doubles from one scale to the next.
_SPLINE = np.array([1, 4, 6, 4, 1]) / 16
# Rows of the image over rows of the largest scale (standard deviation). Beyond it, offsets and the background of the
# sky cannot be separated. White offsets have 1.5 % of their variance there.
_LARGEST = 13
# Significance of offsets in standard errors. Chance exceeds 5 in one case of 1e6.
_CERTAIN = 5.0
# Significance in standard errors of the scatter of the offsets, so that they are not due to a few rows alone.
_SEVERAL = 3.0
# Least covariance of sections far apart over the covariance of adjacent sections.
_FLAT = 0.5
# Largest growth of the power density of stripes per octave: 2 for 1/f noise. The sky has more.
_GROWTH = 2.0
# Growth between the two finest scales beyond which it is light, and its significance in standard errors. Gaussian
# lines of a standard deviation of 0.6 pixels grow by 4, lines of one pixel by 50.
_LIGHT, _SURELY = 3.0, 2.0
# Outliers of row profiles due to light along a row, in robust standard deviations: of a row, of a smoothed profile,
# whose scatter is less certain, and of adjacent rows that belong to the light.
_OUTLIER, _BROAD, _EDGE = 5.0, 7.0, 2.5
_WIDTHS = (0, 1, 2, 4)   # rows: smoothing of the profile in which light along a row is searched
_MEDIAN = 61   # rows of the running median that light along a row is compared with
# Fits of profiles across light along rows: their largest number and rows, largest residual in units of the offsets,
# number of parameters, and rows of background on each side.
_MOST_FITTED, _WIDEST, _FITS, _PARAMETERS, _BESIDE = 10, 80, 1.5, 5, 3
_SCALES = 4   # largest number of scales in which a periodic pattern is searched
_FINE = 2   # number of finest scales, almost free of nebulosity, in which a periodic pattern must be seen
_ALIKE = 0.5   # least fraction of the pattern of the image that each part must show
# Largest period in rows, and least number of periods.
_LONGEST, _REPEATED = 16, 8
_CHANCE = np.log(1e-7)   # logarithm of the largest probability that a period is due to chance
_LEAST_PERIODIC = 0.02   # least amplitude of a periodic pattern in units of the noise


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
        """Expected rms of the errors."""
        return float(np.sqrt(np.mean(self.error ** 2)))


def section_edges(width):
    """Return the first columns of the sections that rows are divided into, and the end of the last."""
    n = min(_MOST_SECTIONS, width // _SECTION)
    n = n // 16 * 16 if n >= 16 else n // 4 * 4
    return np.linspace(0, width, n + 1).astype(int)


def _split(profiles, n_scales):
    """Split profiles along the first axis into differences of scales; the coarsest is relative to a cubic."""
    bands = []
    for scale in range(n_scales):
        kernel = np.zeros(4 * 2 ** scale + 1)
        kernel[::2 ** scale] = _SPLINE
        smooth = convolve1d(profiles, kernel, axis=0, mode='reflect')
        bands.append(profiles - smooth)
        profiles = smooth
    return bands


def _white_norms(n_scales):
    """Return the variances of white noise of unit variance in each of the bands of `_split`."""
    line = np.zeros((16 * 2 ** n_scales + 1, 1))
    line[len(line) // 2] = 1
    return [float(np.sum(band ** 2)) for band in _split(line, n_scales)]


def _filled(means, good):
    """Replace section means of too few pixels by the other sections of their row, or by neighbouring rows."""
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


def _cubic(profiles):
    """Fit cubics along the columns: the sky may follow them, so they are not offsets even if all sections agree."""
    x, typical = np.linspace(-1, 1, len(profiles)), np.median(profiles, axis=1)
    used = np.ones(len(x), dtype=bool)
    for _ in range(5):
        rest = typical - np.polynomial.Legendre.fit(x[used], typical[used], 3, domain=[-1, 1])(x)
        within = np.abs(rest) <= 4 * robust_std(rest)
        if np.count_nonzero(within) < 0.3 * len(x):   # rounded: most are equal
            break
        used = within
    coefficients = np.polynomial.legendre.legfit(x[used], profiles[used], 3)
    return np.polynomial.legendre.legval(x, coefficients).T


def _around(values, inner, outer):
    """
    Average over windows of rows without their middle.

    Weights from a value itself would favour values that agree, and make independent sections appear correlated.
    """
    if outer < 2 * inner:
        return np.broadcast_to(values.mean(axis=0), values.shape)
    wide, narrow = (uniform_filter1d(values, size, axis=0, mode='reflect') for size in (outer, inner))
    return np.maximum(outer * wide - inner * narrow, 0) / (outer - inner)


class _Common:
    """
    The signal that the sections of a row share in one band of scales.

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
        # A section with sources or nebulosity scatters more and gets a lower weight.
        local = _around(residual ** 2, 4 * reach + 1, min(16 * reach + 1, len(band)))
        typical = float(np.median(local)) or 1.0
        self.weight = np.where(good, 1 / np.maximum(local / typical, 0.3) ** 2, 0)
        self.band, self.reach = band, reach
        self.mean = self._mean(slice(None))[0]

    def _mean(self, sections):
        weight = self.weight[:, sections]
        total = weight.sum(axis=1)
        return (weight * self.band[:, sections]).sum(axis=1) / np.maximum(total, np.finfo(float).tiny), total

    def mean_of(self, sections):
        """Average some of the sections."""
        return self._mean(sections)[0]

    def average(self, profiles):
        """Average other profiles over the sections, with the weights of the band."""
        total = self.weight.sum(axis=1)
        return (self.weight * profiles).sum(axis=1) / np.maximum(total, np.finfo(float).tiny)

    def variances(self, light):
        """Return the variance that far sections share, its error, the variance of near ones, and of the mean."""
        n = self.band.shape[1]
        quarters = [self._mean(slice(i * n // 4, (i + 1) * n // 4)) for i in range(4)]
        far = self._covariance([(quarters[a], quarters[b]) for a, b in ((0, 2), (0, 3), (1, 3))], light)
        near = self._covariance([(quarters[a], quarters[a + 1]) for a in range(3)], light)
        total = np.mean(self.mean[~light] ** 2) if (~light).any() else 0.0
        return far[0], far[1], near[0], float(total)

    def chance(self, light):
        """Return the standard error of the shared variance of far sections if none is shared, from differences."""
        first, second, third, fourth = (self._mean(slice(i * n // 4, (i + 1) * n // 4))
                                        for n in [self.band.shape[1]] for i in range(4))
        weight = (first[1] * fourth[1])[~light]
        product = ((first[0] - second[0]) * (third[0] - fourth[0]))[~light] / 2 * weight
        total = weight.sum()
        return float(np.sqrt(self.reach * np.sum(product ** 2)) / total) if total > 0 else np.inf

    def _covariance(self, pairs, light):
        weight = sum(a[1] * b[1] for a, b in pairs)[~light]
        product = sum(a[0] * b[0] * a[1] * b[1] for a, b in pairs)[~light]
        total = weight.sum()
        if not total > 0:
            return 0.0, np.inf
        value = product.sum() / total
        scatter = (product - value * weight) ** 2
        return float(value), float(np.sqrt(self.reach * scatter.sum()) / total)


def _light_along(profile):
    """Find rows with light of their own, as of a trail or a spectrum along them: outliers among the rows."""
    light = np.zeros(len(profile), dtype=bool)
    # A median, since it does not spread the light to rows beside it.
    profile = profile - median_filter(profile, _MEDIAN, mode='nearest')
    for width in _WIDTHS:
        smooth = gaussian_filter1d(_bridged(profile, light), width) if width else profile
        scatter = robust_std(smooth)
        core = np.abs(smooth) > (_BROAD if width > 1 else _OUTLIER) * scatter
        if not scatter > 0 or not core.any():
            continue
        # As far as the light is visible, and a margin.
        core = binary_propagation(core, mask=core | (np.abs(smooth) > _EDGE * scatter))
        light |= binary_dilation(core, iterations=2 + width)
    return light


def _bridged(profiles, light):
    """Replace some rows of profiles along the first axis by straight lines."""
    if not light.any() or light.all():
        return profiles
    at = np.arange(len(light))
    rows = [np.interp(at, at[~light], profile[~light]) for profile in np.atleast_2d(profiles.T)]
    return np.reshape(np.transpose(rows), profiles.shape)


def find_offsets(means, good, noise):
    """
    Find the offsets of rows from the means of their sections.

    Parameters
    ----------
    means : `~numpy.ndarray`
        Mean of each section of each row, of shape (rows, sections).
    good : `~numpy.ndarray` of bool
        Where means are of enough pixels.
    noise : float
        Noise of a pixel, in the unit of the means.

    Returns
    -------
    Offsets or None
        None where offsets are not significant.

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
    profiles = _filled(means, good)
    n_scales = max(1, int(np.log2(np.sqrt(3) * n_rows / _LARGEST)))
    period, pattern = _find_period(profiles, good, n_scales, noise)
    profiles = profiles - pattern[:, None]
    found = _find_random(profiles, good, n_scales)
    if found is None:
        if not period:
            return None
        found = Offsets(np.zeros(n_rows), np.full(n_rows, 0.0), 0.0)
    if period:
        chance = noise * np.sqrt(period / (good.mean() * n_rows * n_sections * _SECTION))
        found = Offsets(found.values + pattern, np.hypot(found.error, chance),
                        float(np.hypot(found.amplitude, np.std(pattern))), period)
    return found


def _find_random(profiles, good, n_scales):
    """Find offsets without a period; None if not significant."""
    profiles = profiles - _cubic(profiles)
    finest = _common_bands(profiles, good, 1)[0]
    light = _light_along(finest.average(profiles)) | ~good.any(axis=1)
    if light.mean() > 0.5:
        return None
    # Bridged, the light does not affect the rows beside it.
    bridged = _bridged(profiles, light)
    cubic = _cubic(bridged)
    bridged = bridged - cubic
    if not _is_certain(bridged, good, light):
        return None
    bands = _common_bands(bridged, good, n_scales)
    if _is_light(bands, light):
        return None
    found = _shrunk(bands, light, n_scales)
    if light.any():
        smooth = bands[0].average(bridged) - sum(band.mean for band in bands)
        _separate_light(bands[0].average(profiles - cubic) - smooth, light & good.any(axis=1), found)
    return found


def _common_bands(profiles, good, n_scales):
    return [_Common(band, good, 2 ** scale) for scale, band in enumerate(_split(profiles, n_scales))]


def _separate_light(profile, light, found):
    """
    Subtract a smooth profile across the rows from the offsets of rows with light of their own, if it fits.

    The residual of a fit of amplitude, centre, width, shape and background is orthogonal to these parameters.
    """
    regions, n = label(binary_dilation(light, iterations=_BESIDE))   # with some background
    if n > _MOST_FITTED:
        return
    for region in find_objects(regions):
        values = profile[region]
        if not 2 * _PARAMETERS < values.size <= _WIDEST:
            continue
        rest = values - _fit_moffat(values)
        freedom = (values.size - _PARAMETERS) / values.size
        if np.sqrt(np.mean(rest ** 2) / freedom) < _FITS * found.amplitude:
            found.values[region] = rest
            found.error[region] = np.hypot(np.median(found.error), found.amplitude * np.sqrt(1 - freedom))


def _fit_moffat(values):
    """Fit a Moffat profile and a constant by least squares."""
    x = np.arange(values.size)
    base = 0.5 * (values[0] + values[-1])
    centre = int(np.argmax(np.abs(values - base)))
    height = values[centre] - base
    width = max(abs((values - base).sum() / height) / 2, 0.7)

    def profile(p):
        return p[0] + p[1] * height * (1 + ((x - p[2]) / p[3]) ** 2 * p[4]) ** (-1 / p[4])

    bounds = [-np.inf, 0, -1, 0.3, 0.01], [np.inf, 3, values.size, values.size, 1]
    start = [base, 1, centre, np.clip(width, 0.4, values.size - 1), 0.3]
    fit = least_squares(lambda p: profile(p) - values, start, bounds=bounds, x_scale=[abs(height), 1, 1, 1, 0.3])
    return profile(fit.x)


def _find_period(profiles, good, n_scales, noise):
    """Find the period of a pattern that repeats along the first axis, and the pattern; 0 and zeros if none."""
    n = len(profiles)
    none = 0, np.zeros(n)
    bands = _common_bands(profiles, good, min(n_scales, _SCALES))
    fine = bands[:_FINE]
    mean = sum(band.mean for band in fine)
    limit = 10 * robust_std(mean)
    mean = np.clip(mean, -limit, limit)
    periods = np.arange(2, min(_LONGEST, n // _REPEATED) + 1)
    power = np.array([np.sum(_folded(mean, period)[np.arange(n) % period] ** 2) / (period - 1) for period in periods])
    # Half of the periods may be multiples of the true one.
    typical = np.quantile(power, 0.3)
    if not typical > 0:
        return none
    # Sources cover several rows, so that fewer phases are independent.
    freedom = np.maximum((periods - 1) / 3, 1)
    excess = (power - typical) * (periods - 1)
    best = int(periods[np.argmax(excess >= 0.8 * excess.max())])
    pattern = _folded(mean, best)
    # The pattern must be equal in each quarter: top, bottom, left and right.
    quarter, middle = n // 4 // best * best, profiles.shape[1] // 2
    quarters = [mean[i * quarter:(i + 1) * quarter] for i in range(4)]
    beside = [sum(band.mean_of(part) for band in fine) for part in (slice(middle), slice(middle, None))]
    for parts in quarters, beside:
        # Medians over the repeats are robust against a few bright lines of a spectrum.
        folded = [_folded(part, best, np.median) for part in parts]
        if any(np.sum(a * b) < _ALIKE * np.sum(pattern ** 2) for a, b in combinations(folded, 2)):
            return none
    if chi2.logsf(power[best - 2] / typical * freedom[best - 2], freedom[best - 2]) > _CHANCE:
        return none
    pattern = _folded(np.clip(sum(band.mean for band in bands), -limit, limit), best)
    # A constant is not an offset between rows.
    pattern = pattern - pattern.mean()
    return (best, pattern[np.arange(n) % best]) if np.std(pattern) > _LEAST_PERIODIC * noise else none


def _folded(profile, period, average=np.mean):
    """Average each phase over the repeats."""
    return np.array([average(profile[phase::period]) for phase in range(period)])


def _is_certain(profiles, good, light):
    """Check if rows have offsets at the highest frequencies, where sources have almost no power."""
    order = 4
    middle = slice(order // 2, len(profiles) - order // 2)
    differences = np.diff(profiles, order, axis=0) / np.sqrt(70)
    near_light = binary_dilation(light, iterations=order // 2)[middle]
    if near_light.all():
        return False
    # Neighbouring differences are correlated.
    common = _Common(differences, good[middle], 3)
    far, error, near, _ = common.variances(near_light)
    return far > max(_CERTAIN * common.chance(near_light), _SEVERAL * error, _FLAT * near)


def _is_light(bands, light):
    """
    Check if the common signal of rows is light along them, as the lines of the night sky in a spectrum.

    Light was smoothed by a point-spread function. Its power between neighbouring rows is far less than its power
    between rows two apart. Read-out offsets have equal power there, and 1/f noise at most twice as much.
    """
    (fine, fine_error), (coarse, coarse_error) = (
        (value / norm, error / norm) for band, norm in zip(bands, _white_norms(2))
        for value, error, *_ in [band.variances(light)])
    return coarse - _LIGHT * max(fine, 0) > _SURELY * np.hypot(coarse_error, _LIGHT * fine_error)


def _shrunk(bands, light, n_scales):
    """Sum the bands of the offsets, each shrunk by the share of its variance that is due to chance."""
    norms = _white_norms(n_scales)
    values, error, density = np.zeros(len(light)), 0.0, None
    for band, norm in zip(bands, norms):
        far, chance, near, total = band.variances(light)
        shared = max(far, 0.0)
        if density is not None:
            # As on the scale before, unless the difference is significant: there are few independent rows.
            expected = density * norm
            chance = np.hypot(chance, expected * np.sqrt(2 * band.reach / len(light)))
            alike = abs(far - expected) < 2 * chance
            shared = expected if alike else min(shared, _GROWTH * expected) if far > _FLAT * near else 0.0
        density = shared / norm
        weight = min(shared / total, 1.0) if total > 0 else 0.0
        values += weight * band.mean
        error += shared * (1 - weight)
    amplitude = np.sqrt(max(bands[0].variances(light)[0], 0) / norms[0])
    # The share of the offsets on scales that remain in the sky.
    coarse = amplitude ** 2 / (2 * np.sqrt(np.pi * (4 ** n_scales - 1) / 3))
    deviation = np.where(light, amplitude, np.sqrt(error + coarse))
    return Offsets(np.where(light, 0, values), deviation, float(amplitude))
