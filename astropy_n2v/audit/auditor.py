# Licensed under a 3-clause BSD style license - see LICENSE
"""
The audit of a result, row by row.
"""

from dataclasses import replace

import numpy as np

from ..noise.model import BROAD_WEIGHT
from ..utils.sampling import row_blocks
from .findings import AuditReport
from .flux import Totals, check_boxes
from .growth import noise_growth
from .innovations import check_calibration, check_innovations
from .lags import check_sky, check_whiteness
from .pixels import least_unexplained, unexplained
from .ranges import PixelCounts, check_dark
from .residuals import check_slopes, check_stated, check_variance
from .sample import Sample
from .uncertainty import enlargement

__all__ = ['Auditor', 'audit_result']

# Largest outlier probability of a pixel that is used to judge the prediction.
_FORESEEABLE = 0.1
# Least outlier probability of a pixel that could not be predicted.
_UNFORESEEN = 0.5
_ROWS = 64   # rows of the image that are checked at a time


class Auditor:
    """
    Check a result against its own data, while it is computed.

    Nothing but the frame itself is needed. Checks by pixel use all pixels; checks by bin, block and lag use cut-outs of
    at most 250,000 pixels.

    Parameters
    ----------
    image : NormalizedImage
        The data, where they count, their noise and the level of the background.
    strength : float, optional
        Strength, as given to `~astropy_n2v.denoise`.
    held_out : `~numpy.ndarray` of bool, optional
        True for pixels that the model was not trained on; by default all.
    outlier_share : float, optional
        The prior outlier share that the probabilities of positive outliers are based on. The pixels that judge the
        prediction are the same for any share.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v import Denoiser, NoiseModel
    >>> from astropy_n2v.audit import Auditor
    >>> from astropy_n2v.inference.normalization import NormalizedImage
    >>> data = np.random.default_rng(0).normal(100.0, 5.0, (64, 64))
    >>> noise = NoiseModel(5.0)
    >>> result = Denoiser.load('default').predict(data, noise)
    >>> auditor = Auditor(NormalizedImage.prepare(data, noise))
    >>> returned = auditor.rows(slice(0, 64), vars(result))
    >>> auditor.report().summary()
    'ok'
    """

    def __init__(self, image, *, strength=1.0, held_out=None, outlier_share=BROAD_WEIGHT):
        self.image, self.strength, self.held_out = image, strength, held_out
        self.n_valid = int(np.count_nonzero(image.valid))
        self.limit = least_unexplained(self.n_valid)
        self.sample = Sample(image.valid)
        self.bright_foreseeable = _at_share(_FORESEEABLE, outlier_share)
        self.totals, self.counts, self.n_dark = Totals(), PixelCounts(self.limit), 0

    def rows(self, rows, part, exempt=None):
        """
        Check some rows of the result.

        Parameters
        ----------
        rows : slice
            The rows, with start and stop.
        part : dict of `~numpy.ndarray`
            ``mean``, ``std``, ``blind_mean``, ``blind_std``, ``innovation``, ``outlier`` and ``noise_std`` of these
            rows, in data units, as from ``posterior_of_rows``. It is not changed.
        exempt : `~numpy.ndarray` of bool, optional
            True for pixels that were replaced on purpose.

        Returns
        -------
        `~numpy.ndarray` of bool
            True for pixels that noise does not explain. They should be returned as measured, with their own noise.
        """
        columns = slice(0, self.image.shape[1])
        image = self.image.part(rows, columns)
        valid = image.valid if exempt is None else image.valid & ~exempt
        mean, noise_std = part['mean'], part['noise_std']
        finite = np.isfinite(mean) & np.isfinite(part['std'])
        known = valid & finite
        removed = np.where(known, image.data - np.where(known, mean, 0).astype(float), 0)
        index, deviations, bad = unexplained(removed, noise_std, mean, image.noise, self.limit)
        returned = valid & ~finite
        returned[tuple(axis[bad] for axis in index)] = True
        removed[returned] = 0
        signal = part['blind_mean'] - image.scaling.level
        self.counts.add(valid & ~finite, known, mean, noise_std, signal, index, deviations)
        counted = known & ~returned
        self.totals.add(counted, removed, signal, noise_std, part['blind_std'], self.strength)
        self.n_dark += int(np.count_nonzero(known & (part['outlier'] > _UNFORESEEN) & (part['innovation'] < 0)))
        foreseeable = np.where(part['innovation'] > 0, self.bright_foreseeable, _FORESEEABLE)
        used = counted & (part['outlier'] < foreseeable) & np.isfinite(part['innovation'])
        if self.sample.meets(rows):
            third = 0
            if image.noise.gain is not None:
                photon = np.square(noise_std, dtype=float) - np.square(image.noise.sigma, dtype=float)
                third = image.noise.slope * np.maximum(photon, 0)
            held_out = used if self.held_out is None else used & np.asarray(self.held_out)[rows]
            self.sample.fill(rows, removed=removed, signal=signal, noise=noise_std,
                             third=np.broadcast_to(third, used.shape), spread=part['blind_std'], std=part['std'],
                             z=np.where(used, part['innovation'], 0), valid=valid, used=used, held_out=held_out)
        return returned

    def report(self, *, recalibration=None, hole=(1, 1), correlation=None):
        """
        Compile the report after all rows were checked.

        Parameters
        ----------
        recalibration : Recalibration, optional
            The correction of the blind prediction.
        hole : tuple of int, optional
            Height and width of the hole of the model.
        correlation : `~numpy.ndarray`, optional
            Measured autocorrelation of the noise, of an odd number of lags along each axis with 1 in the middle. By
            default the noise is taken to be white if the hole is one pixel, and its correlation is unknown otherwise.

        Returns
        -------
        AuditReport
            All checks, and the factors that enlarge the uncertainty.
        """
        with np.errstate(invalid='ignore', divide='ignore', over='ignore'):
            return self._report(recalibration, hole, correlation)

    def _report(self, recalibration, hole, correlation):
        sample, strength, scaling = self.sample, self.strength, self.image.scaling
        white = tuple(hole) == (1, 1) and correlation is None
        by_variance, by_innovation = check_variance(sample, strength), check_innovations(sample)
        sky, stated = check_sky(sample, white), check_stated(sample, strength)
        corrections = check_calibration(recalibration, sample, scaling.scale)
        checks = (*self.counts.checks(self.image), check_dark(self.n_dark, self.counts.n), *self.totals.checks(sample),
                  *check_boxes(sample, strength), *by_variance.checks, *check_slopes(sample),
                  *check_whiteness(sample, white, correlation), *by_innovation.checks, sky, stated, *corrections)
        levels, factors = enlargement(by_variance, by_innovation, sky, stated, corrections[0], scaling)
        report = AuditReport(checks, levels, factors, self.counts.n_returned)
        # With a larger hole, structure was mistaken for noise in about half of the cases.
        if tuple(hole) == (1, 1) and self.image.noise.gain is None:
            report = replace(report, growth=noise_growth(sample, recalibration, scaling.scale))
        return report


def _at_share(probability, share):
    """Convert an outlier probability from the prior share `share` to the default prior."""
    odds = probability / (1 - probability) * share / (1 - share) * (1 - BROAD_WEIGHT) / BROAD_WEIGHT
    return odds / (1 + odds)


def audit_result(image, prediction, *, strength=1.0, held_out=None, **options):
    """
    Check a complete result against its own data.

    Parameters
    ----------
    image : NormalizedImage
        The data, where they count, their noise and the level of the background.
    prediction : `~astropy_n2v.denoiser.Prediction`
        The result, with all its arrays.
    strength, held_out : optional
        See `Auditor`.
    **options
        ``hole`` and ``correlation``, see `Auditor.report`.

    Returns
    -------
    report : AuditReport
        All checks.
    returned : `~numpy.ndarray` of bool
        True for pixels that should be returned as measured.

    Raises
    ------
    ValueError
        If the prediction has no blind mean.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v import Denoiser, NoiseModel
    >>> from astropy_n2v.audit import audit_result
    >>> from astropy_n2v.inference.normalization import NormalizedImage
    >>> data = np.random.default_rng(0).normal(100, 5, (96, 96))
    >>> prediction = Denoiser.load('default').predict(data, NoiseModel(5.0), audit=False)
    >>> report, returned = audit_result(NormalizedImage.prepare(data, NoiseModel(5.0)), prediction)
    >>> report.worst, int(returned.sum())
    ('ok', 0)
    """
    names = 'mean', 'std', 'blind_mean', 'blind_std', 'innovation', 'outlier', 'noise_std'
    missing = [name for name in names if getattr(prediction, name) is None]
    if missing:
        raise ValueError(f'prediction must have all its arrays, got one without {", ".join(missing)}')
    share = BROAD_WEIGHT if prediction.recalibration is None else prediction.recalibration.outlier_share
    auditor = Auditor(image, strength=strength, held_out=held_out, outlier_share=share)
    returned = np.zeros(image.shape, dtype=bool)
    for rows in row_blocks(image.shape[0], _ROWS):
        returned[rows] = auditor.rows(rows, {name: getattr(prediction, name)[rows] for name in names})
    return auditor.report(recalibration=prediction.recalibration, **options), returned
