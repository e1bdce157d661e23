# Licensed under a 3-clause BSD style license - see LICENSE
"""
The tests of a validation, one object each. To add one, write its measure and append it to `TESTS`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from ..detection.thresholds import poisson_rate
from ..injection.recovery import MAPS_BEFORE
from ..measures.background import summarize_sky_offset
from ..measures.tables import values_of
from .combine import FLUX_BINS
from .remarks import describe_psf, describe_sources

__all__ = ['TESTS', 'Limits', 'Measured', 'NotMeasured', 'Results', 'Test']


class NotMeasured(Exception):
    """There is nothing to judge; the message says why."""


class Measured(NamedTuple):
    """A value, the ends of its interval, the number of items that it rests on, and remarks for readers."""

    value: float
    low: float
    high: float
    n: int = 0
    note: str = ''

    @property
    def known(self):
        """True if value and interval are finite."""
        return all(map(math.isfinite, self[:3]))


class Limits(NamedTuple):
    """The lowest and the highest value that a test accepts (None: no limit), and the reason for them."""

    low: float | None
    high: float | None
    reason: str


@dataclass(frozen=True)
class Results:
    """
    All that was measured on the frames, for a test to choose from.

    Parameters
    ----------
    tables : dict of `~astropy.table.Table`
        From `~astropy_n2v.validation.report.combine.combine_frames`.
    reasons : dict of str
        Why tables are missing, by their names.
    limits : tuple of float
        The lowest and the highest value that the test accepts; infinite without a limit.
    confidence : float
        Confidence of the intervals.
    """

    tables: dict
    reasons: dict = field(default_factory=dict)
    limits: tuple = (-math.inf, math.inf)
    confidence: float = 0.99

    def table(self, name, otherwise=None):
        """Return a table; raise NotMeasured with the reason, or else ``otherwise``, if it is missing or empty."""
        table = self.tables.get(name)
        if table is None or not len(table):
            raise NotMeasured(self.reasons.get(name, otherwise))
        return table

    def beyond(self, measured):
        """Return how far the whole interval lies beyond the limits; not positive if a part is within them."""
        return max(self.limits[0] - measured.high, measured.low - self.limits[1])

    def worst(self, found):
        """Return the value that is surely beyond the limits by most, or else one that may be."""
        sure = [measured for measured in found if self.beyond(measured) > 0]
        if sure:
            return max(sure, key=self.beyond)
        return max(found, key=lambda measured: max(self.limits[0] - measured.low, measured.high - self.limits[1]))


@dataclass(frozen=True)
class Test:
    """
    A test of a validation.

    Parameters
    ----------
    name : str
        Its name in code, such as 'flux_bright'.
    group : str
        The heading that it stands under in a report.
    title, question : str
        Its name for people, and the question that it answers.
    passes, fails : str
        Meaning of either for measurements on the result.
    limits : Limits
        Values that are accepted by default, with the reason.
    measure : callable
        Function from `Results` to `Measured`. It raises `NotMeasured` if there is nothing to judge.
    advice : str
        Step to take if it fails.
    unit : str
        Of the value.
    needs : str
        Arguments that have to be given besides the frames.
    decided_by : str
        Step that would decide an inconclusive test.
    """

    __test__ = False   # pytest: this is no test of the package

    name: str
    group: str
    title: str
    question: str
    passes: str
    fails: str
    limits: Limits
    measure: Callable
    advice: str = ''
    unit: str = ''
    needs: str = ''
    decided_by: str = 'more frames'


def _row(table, i, name, note=''):
    """Value, interval and number of a statistic in a row."""
    value, low, high = (float(values_of(table, column)[i]) for column in (name, f'{name}_low', f'{name}_high'))
    return Measured(value, low, high, int(values_of(table, 'n')[i]) if 'n' in table.colnames else 0, note)


def _enough(found, least, otherwise):
    """Keep what is known of at least so many items; raise NotMeasured if nothing is."""
    found = [measured for measured in found if measured.known and measured.n >= least]
    if not found:
        raise NotMeasured(otherwise)
    return found


def _with_psf(tables):
    """The point-spread function for a sentence."""
    psf = describe_psf(tables)
    return f'; {psf}' if psf else ''


def _describe_bin(table, i):
    """Describe a bin of brightness."""
    low, high = (float(values_of(table, name)[i]) for name in ('brightness_low', 'brightness_high'))
    if not math.isfinite(low):
        return f'pixels below {high:g} sigma'
    return f'pixels above {low:g} sigma' if not math.isfinite(high) else f'pixels of {low:g} to {high:g} sigma'


def _container(results):
    """Count the frames whose results lost something."""
    table = results.table('container')
    lost = [f'{frame}: {what}' for frame, what in zip(values_of(table, 'frame'), values_of(table, 'lost')) if what]
    return Measured(len(lost), len(lost), len(lost), len(table), '; '.join(lost[:5]))


def _flux(which):
    """Make a measure of the flux bias in one of the bins of signal-to-noise ratio."""
    low, high = FLUX_BINS[which], FLUX_BINS[which + 1]

    def measure(results):
        tables, found = results.tables, []
        if 'flux_bias' in tables:
            table = tables['flux_bias']
            known = np.isfinite(values_of(tables['sources'], 'flux_true')).any()
            # Without a truth, the noise of the input has chosen which sources are faint.
            if known or which == 2:
                rows = np.flatnonzero(values_of(table, 'snr_low')[1:] == low) + 1
                names = ('bias', 'bias_truth') if known else ('bias',)
                note = f'Measured by forced photometry; of {describe_sources(tables)}. '
                found += [_row(table, i, name, note) for i in rows for name in names]
        if 'recovered_flux' in tables:
            table = tables['recovered_flux']
            rows = np.flatnonzero((values_of(table, 'image') == 'denoised') & (values_of(table, 'snr_low') == low))
            found += [_row(table, i, 'bias', f'Measured on injected stars{_with_psf(tables)}. ') for i in rows]
        snr = f'above {low:g}' if math.isinf(high) else f'of {low:g} to {high:g}'
        found = _enough(found, 5, f'fewer than 5 sources {snr} sigma with a known flux')
        # Within an aperture and by the profile of a star, a fault may show in one of them only: the measure that is
        # surely beyond the limits counts, else the one with the narrowest interval.
        worst = max(found, key=results.beyond)
        return worst if results.beyond(worst) > 0 else min(found, key=lambda measured: measured.high - measured.low)
    return measure


def _bright(results):
    """The bright sources for a sentence."""
    return f'bright ones of {describe_sources(results.tables) or "the sources"}'


def _growth(results):
    """Take the change of the flux within the radius where it is worst."""
    table = results.table('growth', 'no bright source')
    found = [_row(table, i, 'ratio', f'The largest change, at a radius of {radius:.1f} px; {_bright(results)}. ')
             for i, radius in enumerate(values_of(table, 'radius'))]
    found = _enough(found, 0, 'no bright source')
    return results.worst([Measured(value - 1, low - 1, high - 1, n, note) for value, low, high, n, note in found])


def _position(results):
    """Take the larger of the shifts along both axes."""
    table = results.table('shape_change', 'no bright source')
    found = [_row(table, 0, name, f'Along {name[1:]}; {_bright(results)}. ') for name in ('dx', 'dy')]
    return max(_enough(found, 5, _FEW_SHAPES), key=lambda measured: abs(measured.value))


def _width(results):
    """Take the relative change of the width."""
    found = [_row(results.table('shape_change', 'no bright source'), 0, 'fwhm_ratio', f'Of {_bright(results)}. ')]
    value, low, high, n, note = _enough(found, 5, _FEW_SHAPES)[0]
    return Measured(value - 1, low - 1, high - 1, n, note)


_FEW_SHAPES = 'fewer than 5 bright sources whose shape could be fitted'


def _sky_offset(results):
    """Take the mean offset of the sky."""
    cells = results.table('sky_cells', 'no sky')
    offset = _row(summarize_sky_offset(cells, confidence=results.confidence, seed=0), 0, 'offset')
    return offset._replace(n=len(cells))


def _residual_sources(results):
    """Take the share of the signal in what was removed."""
    table = results.table('residual_correlation')
    return _row(table, int(np.flatnonzero(values_of(table, 'measure') == 'share')[0]), 'value')


def _residual_variance(results):
    """Take what was removed over the noise, at the brightness where it is worst."""
    table = results.table('residual_statistics')
    found = [_row(table, i, 'variance_ratio', f'At {_describe_bin(table, i)}. ') for i in range(1, len(table))]
    # A variance is known to a tenth with a thousand pixels; fewer show only large faults.
    found = [item for item in found if item.n >= 1000 or (item.n >= 100 and results.beyond(item) > 0)]
    return results.worst(_enough(found, 0, 'no bin of brightness with 1000 pixels'))


def _residual_white(results):
    """Take the worst difference between the correlations of what was removed and of the noise."""
    table = results.table('residual_autocorrelation', 'nothing was taken away')
    noise = results.table('noise_autocorrelation')
    own = dict(zip(zip(values_of(noise, 'dy').tolist(), values_of(noise, 'dx').tolist()),
                   values_of(noise, 'correlation')))
    lags = list(zip(values_of(table, 'dy').tolist(), values_of(table, 'dx').tolist()))
    difference = values_of(table, 'correlation') - np.array([own.get(lag, 0.0) for lag in lags])
    if not np.isfinite(difference).any():
        raise NotMeasured('too little sky')
    i = int(np.nanargmax(np.abs(difference)))
    # The worst of many lags, each with its own scatter.
    reach = norm.isf((1 - results.confidence) / (2 * len(lags))) * float(values_of(table, 'correlation_err')[i])
    value = float(difference[i])
    note = f'The largest difference, at lag (y, x) = ({lags[i][0]:g}, {lags[i][1]:g}). '
    return Measured(value, value - reach, value + reach, values_of(table, 'n')[i], note)


def _pulls(select):
    """Make a measure of the errors of pixels over their stated uncertainty, of the bins that ``select`` is true for."""
    def measure(results):
        table = results.table('uncertainty')
        rows = [i for i in range(1, len(table)) if select(float(values_of(table, 'brightness_low')[i]))]
        # Rows are left out where the other exposures cannot judge them.
        few = results.reasons.get('uncertainty', 'fewer than 50 such pixels')
        found = _enough([_row(table, i, 'rms_pull') for i in rows], 50, few)[0]
        note = 'The root mean square of error over stated uncertainty. '
        if not results.limits[0] <= found.value <= results.limits[1]:
            note += 'Below 1 it is stated too large. ' if found.value < 1 else 'Above 1 it is stated too small. '
        return found._replace(note=note)
    return measure


def _noise_reduction(results):
    """Take the noise reduction of the sky, and note it for faint and bright pixels, which one number would hide."""
    table = results.table('gain')
    gains = values_of(table, 'noise_reduction')
    others = [f'{gains[i]:.3g} for {_describe_bin(table, i)}' for i in range(1, len(table)) if np.isfinite(gains[i])]
    return _row(table, 0, 'noise_reduction', f'For {_describe_bin(table, 0)}; {", ".join(others)}. ' if others else '')


def _noise_worst(results):
    """Take the noise reduction at the brightness where it is worst."""
    table = results.table('noise_by_brightness')
    found = [_row(table, i, 'noise_reduction', f'At {_describe_bin(table, i)}. ') for i in range(1, len(table))]
    return results.worst(_enough(found, 100, 'no bin of brightness with 100 pixels'))


def _depth(results):
    """Take the gain in depth of the deepest map of the result."""
    table, psf = results.table('depth'), _with_psf(results.tables)
    found = [_row(table, i, 'gain', f'Measured on the {name} map, the deepest of the result, for '
                  f'injected sources{psf}; positive is deeper. ')
             for i, name in enumerate(values_of(table, 'image').tolist()) if name not in MAPS_BEFORE]
    return max(_enough(found, 0, 'no magnitude of half completeness: nothing or everything was found'),
               key=lambda measured: measured.value)


def _stars(kind):
    """Make a measure of the rate of invented or removed stars."""
    def measure(results):
        table = results.table('residual_stars')
        number, expected, area = (values_of(table, name).sum() for name in (kind, 'expected', 'area'))
        _, lower, upper = (count.value[0] for count in poisson_rate(number, 1.0, results.confidence))
        # Noise alone makes a few; where it makes more than are found, the rest is zero, and not less.
        rates = [max(count - expected, 0.0) / area for count in (number, lower, upper)]
        return Measured(*rates, number, f'{number:d} in {area:.3g} megapixels, where noise alone makes {expected:.2g}; '
                        f'the value is the rest{_with_psf(results.tables)}. ')
    return measure


_FRAME, _FLUX, _SHAPE, _SKY, _RESIDUAL, _ERRORS, _GAIN, _DETECTION = (
    'The frame', 'Flux', 'Positions and shapes', 'Sky', 'What was removed', 'Uncertainty', 'Gain', 'Detection')
_TRUTH = 'a truth or a reference'
_ANY_TRUTH = 'a truth, a reference of known noise, or other exposures'
_INJECTED = 'more frames or more injected sources'

#: All tests, in the order of the report.
TESTS = (
    Test('container', _FRAME, 'Unit, WCS, mask and pixels kept', 'Does the result keep what the frame was?',
         passes='Unit, WCS and mask are as in the frame, and no pixel was lost.',
         fails='Something of the frame was lost.', advice='Copy it from the frame before the result takes its place.',
         limits=Limits(None, 0, 'Nothing may be lost.'), measure=_container),
    Test('flux_bright', _FLUX, 'Flux of bright sources', f'Is the flux of sources above {FLUX_BINS[2]} sigma kept?',
         passes='Bright sources can be measured on the result.',
         fails='Photometry of bright sources on the result is biased.', advice='Measure them on the input.',
         limits=Limits(-0.005, 0.005, 'Photometry is calibrated to half a percent on good nights.'),
         measure=_flux(2), decided_by=_INJECTED),
    Test('flux_moderate', _FLUX, 'Flux of moderately bright sources',
         f'Is the flux of sources of {FLUX_BINS[1]} to {FLUX_BINS[2]} sigma kept?',
         passes='Sources well above the noise can be measured on the result.',
         fails='Photometry of these sources on the result is biased.',
         advice='Find them on the result, and measure them on the input at the positions found.',
         limits=Limits(-0.03, 0.03, 'The error of a single source at the bright end, 30 sigma, is 3 %.'),
         measure=_flux(1), needs='a truth, a reference or injected sources', decided_by=_INJECTED),
    Test('flux_faint', _FLUX, 'Flux of faint sources',
         f'Is the flux of sources of {FLUX_BINS[0]} to {FLUX_BINS[1]} sigma kept?',
         passes='On average even faint sources keep their flux.',
         fails='Faint sources do not keep their flux, as expected of a result that shrinks towards the background.',
         advice='Find them on the result, and measure them on the input at the positions found.',
         limits=Limits(-0.1, 0.1, 'Half of the error of a single source at the bright end, 5 sigma.'),
         measure=_flux(0), needs='a truth, a reference or injected sources', decided_by=_INJECTED),
    Test('growth', _FLUX, 'Curve of growth', 'Do bright sources keep their flux within apertures of all radii?',
         passes='Profiles are kept, so that aperture corrections hold.',
         fails='Profiles have changed: aperture corrections and PSF models of the input do not fit the result.',
         advice='Derive aperture corrections and PSF models from the image that is measured.',
         limits=Limits(-0.01, 0.01, 'Aperture corrections are known to about one percent.'), measure=_growth),
    Test('centroid', _SHAPE, 'Positions', 'Are bright sources where they were?',
         passes='Astrometry on the result is as on the input.', fails='Sources have moved.',
         advice='Do not measure positions on the result.', unit='pix',
         limits=Limits(-0.02, 0.02, 'The error of the position of a star of 3 pixels at 60 sigma.'),
         measure=_position),
    Test('fwhm', _SHAPE, 'Width of stars', 'Do bright sources keep their width?',
         passes='The point-spread function is kept.', fails='The point-spread function has changed.',
         advice='Measure it, and shapes, on the input.',
         limits=Limits(-0.02, 0.02, 'A width off by 2 % makes fluxes of PSF photometry wrong by about as much.'),
         measure=_width),
    Test('sky_offset', _SKY, 'Level of the sky', 'Is the sky where it was?',
         passes='The background is kept.',
         fails='The background has moved, which adds up over large apertures and low surface brightness.',
         advice='Subtract the background that is measured on the result.', unit='sigma',
         limits=Limits(-0.02, 0.02, 'It adds less than the noise of the input to apertures of up to 2500 pixels.'),
         measure=_sky_offset),
    Test('residual_sources', _RESIDUAL, 'Sources in what was removed', 'Is input minus result free of sources?',
         passes='What was removed is not signal.', fails='A share of the signal is in what was removed, or was added.',
         advice='See the residual figure.',
         limits=Limits(-0.005, 0.005, 'As for the flux of bright sources.'), measure=_residual_sources),
    Test('residual_variance', _RESIDUAL, 'Size of what was removed',
         'Is input minus result no larger than the noise, at any brightness?',
         passes='No more was removed than there was noise.',
         fails='More was changed than the noise explains: signal was removed or made up, or the noise is larger than '
               'stated.',
         advice='Give noise, gain or an uncertainty, if the noise of bright pixels was not known.',
         limits=Limits(None, 1.15, 'Noise models are known to some percent, their variance to twice as much.'),
         measure=_residual_variance),
    Test('residual_white', _RESIDUAL, 'Correlation of what was removed',
         'Is input minus result correlated as the noise of the input is?',
         passes='What was removed looks like noise.', fails='What was removed has structure that noise has not.',
         advice='See the figure of its autocorrelation.',
         limits=Limits(-0.05, 0.05, 'Noise of smaller correlations is called white.'), measure=_residual_white),
    Test('uncertainty_sky', _ERRORS, 'Uncertainty of the sky', 'Are errors of sky pixels as large as stated?',
         passes='The stated uncertainty of single sky pixels can be used.',
         fails='The stated uncertainty of sky pixels is wrong: errors are this many times as large.',
         advice='Multiply it by this factor.',
         limits=Limits(0.9, 1.1, 'Errors of errors of a tenth change a chi-square by a fifth.'),
         measure=_pulls(lambda low: not math.isfinite(low)), needs=_TRUTH),
    Test('uncertainty_sources', _ERRORS, 'Uncertainty of sources',
         'Are errors of pixels in sources as large as stated?',
         passes='The stated uncertainty of single pixels of sources can be used.',
         fails='The stated uncertainty of pixels of sources is wrong: errors are this many times as large.',
         advice='Multiply it by this factor.',
         limits=Limits(0.8, 1.25, 'Pixels of sources differ more from each other than pixels of the sky.'),
         measure=_pulls(lambda low: low >= 3), needs=_TRUTH),
    Test('noise_reduction', _GAIN, 'Gain on the sky',
         'How many times nearer to the truth is the sky of the result than the sky of the input?',
         passes='The sky of the result is nearer to the truth.',
         fails='There is no gain: the sky of the result is not nearer to the truth.',
         advice='Use the input.',
         limits=Limits(1.1, None, 'As much as a fifth more of exposure time would give.'),
         measure=_noise_reduction, needs=_ANY_TRUTH),
    Test('noise_worst', _GAIN, 'Gain at the worst brightness',
         'Is the result at no brightness farther from the truth than the input?',
         passes='At no brightness is the result worse than the data.',
         fails='At some brightness the result is worse than the data.', advice='See the figure for which.',
         limits=Limits(0.95, None, 'Loses no more than a tenth of exposure time.'), measure=_noise_worst,
         needs=_ANY_TRUTH),
    Test('depth', _DETECTION, 'Depth',
         'With as few false detections, are sources found as faint as by the matched filter on the input?',
         passes='Detection on the result is as deep as the matched filter on the input, or deeper.',
         fails='Detection on the result is shallower than the matched filter on the input.',
         advice='Detect on the input.', unit='mag',
         limits=Limits(-0.1, None, 'As much as a fifth of exposure time.'), measure=_depth,
         needs='injected sources', decided_by=_INJECTED),
    Test('invented', _DETECTION, 'Invented sources', 'Are there stars in the result that the input cannot have had?',
         passes='No source was made up that would stand out of the noise of the input.',
         fails='The result shows sources that are not in the input.', advice='Do not trust single detections.',
         unit='per Mpix', limits=Limits(None, 10.0, 'One percent of a thousand sources in a megapixel.'),
         measure=_stars('invented')),
    Test('removed', _DETECTION, 'Removed sources', 'Are there stars in the input that the result has lost?',
         passes='No source was lost that stands out of the noise of the input.',
         fails='Sources that stand out of the noise of the input are missing or weaker in the result.',
         advice='Look for bright sources on the input.',
         unit='per Mpix', limits=Limits(None, 10.0, 'One percent of a thousand sources in a megapixel.'),
         measure=_stars('removed')),
)
