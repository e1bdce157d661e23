# Licensed under a 3-clause BSD style license - see LICENSE
"""
Predict the planes of a container one after the other, audit them, and combine the results.

``planes.py`` finds the planes and their noise; ``denoising.py`` builds the container of the result.
"""

import logging
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from .audit import AuditReport, severity
from .exceptions import AuditError
from .inference.prediction import Prediction
from .noise.quantisation import ROUNDED
from .planes import group_channels, not_counted
from .utils.scratch import blocks, blockwise, copy_where
from .utils.warn import warn_user

__all__ = ['predict_planes', 'restore_verbatim']

log = logging.getLogger(__name__)


def predict_planes(frame, planes, denoiser, *, leaks=False, strength=1.0, audit='warn', full_output=True,
                   progress_bar=False, **options):
    """
    Predict all planes of a container.

    Parameters
    ----------
    frame : Container
        The container.
    planes : list of Plane
        Its planes that can be denoised; consecutive ones may be parts of one plane.
    denoiser : Denoiser
        The model.
    leaks : bool, optional
        If true, a pixel has noise in common with neighbours outside of the hole, and the prediction follows it.
    strength : float, optional
        From 0 (the data) to 1 (the posterior).
    audit : {'refuse', 'warn', 'off'}, optional
        See `astropy_n2v.denoise`.
    full_output, progress_bar : bool, optional
        See `astropy_n2v.denoise`.
    **options
        ``whiten``, ``reject_outliers``, ``tile_size``, ``device`` and ``executor`` of `astropy_n2v.Denoiser.predict`.

    Returns
    -------
    prediction : Prediction
        Prediction of all planes. Its rejected pixels are from all planes, and its audit is the gravest one; all other
        attributes are from the first plane.
    planes : list of Plane
        The planes with the noise used.
    refused : list of tuple of int
        Indices of the planes to be returned as measured.

    Raises
    ------
    AuditError
        If the data of a single image exclude its prediction, and ``audit`` is 'refuse'.
    CannotDenoiseError
        If the planes are not those that the model sees together.
    """
    from tqdm import tqdm
    # The prediction of a single image is the result.
    single = len(planes) == 1 and not frame.shape[:-2]
    channels = None if denoiser.channels == 1 else _Channels(planes, denoiser.channels)
    together = None if single else Prediction.empty(frame.shape, frame.dtype, full_output)
    first, used, n_rejected, judgements = None, [], 0, _Judgements(audit)
    with tqdm(total=len(planes), disable=not progress_bar, desc='denoising', unit='plane') as bar:
        for n, plane in enumerate(planes):
            def progress(fraction, n=n):
                bar.update(n + fraction - bar.n)

            predict = partial(denoiser.predict, audit=audit != 'off', strength=strength, full_output=full_output,
                              progress=progress, **options)
            prediction = predict(plane.values, plane.noise, plane.mask) if channels is None else \
                channels.predict(plane, predict)
            grown = plane.with_growth(prediction.audit)
            if grown is not None:
                again = predict(grown.values, grown.noise, grown.mask)
                if _agrees_better(again, prediction):
                    prediction, plane = again, grown
            used.append(plane)
            is_last = n + 1 == len(planes) or planes[n + 1].index != plane.index   # the last part of its plane
            judgements.add(plane, prediction, leaks, is_last)
            if leaks:
                prediction = plane.allow_for_leak(prediction)
            prediction = plane.restore(prediction, strength)
            if together is not None:
                together.fill(prediction, plane.index, plane.view)
            n_rejected += prediction.n_rejected
            first = first or (prediction if single else prediction.without_planes())
    result = first if single else replace(first, **together.planes)
    result = result.map(lambda values: values if values.dtype == frame.dtype else
                        blockwise(lambda part: part, values, dtype=frame.dtype))
    return replace(result, n_rejected=n_rejected, audit=judgements.worst), used, judgements.refused


class _Channels:
    """Predictions of planes that a model sees together, each kept until it is asked for."""

    def __init__(self, planes, channels):
        self._groups = group_channels(planes, channels)
        self._found = {}

    def predict(self, plane, predict):
        """Return the prediction of a plane, from a function that predicts all channels."""
        if id(plane) not in self._found:
            group = next(group for group in self._groups if any(other is plane for other in group))
            prediction = predict(np.stack([other.values for other in group]), group[0].noise,
                                 np.stack([np.asarray(other.mask) for other in group]))
            for n, other in enumerate(group):
                self._found[id(other)] = prediction.map(lambda values, n=n: values[n])
        return self._found.pop(id(plane))


def _agrees_better(again, prediction):
    """Check if the data agree at least equally well with a prediction for noise that grows with the signal."""
    before, after = ((severity(audit), len(audit.findings)) for audit in (prediction.audit, again.audit))
    return after <= before and not again.audit.blames_noise


def restore_verbatim(frame, planes, rejected, prediction, *, fill_masked=False, exactly=False):
    """
    Restore values that are returned unchanged, with their original uncertainty, in place.

    Parameters
    ----------
    frame : Container
        The data.
    planes : list of Plane
        Its planes that were denoised.
    rejected : list of tuple of int
        Indices of the planes that were not denoised.
    prediction : Prediction
        The result; its mean and standard deviation are changed.
    fill_masked : bool, optional
        If true, pixels that do not count keep their prediction.
    exactly : bool, optional
        If true, all valid pixels become the data, with the standard deviation of the result.
    """
    mean, std = prediction.mean, prediction.std
    verbatim = not_counted(frame.values, frame.mask)
    for plane in planes:
        noiseless = plane.noise.unusable(plane.values.shape)
        if noiseless is not None:
            verbatim[plane.index][plane.view] |= noiseless
        if fill_masked:
            verbatim[plane.index][plane.view] = False
    for i in rejected:
        verbatim[i] = True
    if exactly:
        # The original data, to the last bit: scales of amplifiers and of the noise cause rounding errors.
        valid = blockwise(np.logical_not, not_counted(frame.values, frame.mask))
        copy_where(valid, frame.values, mean)
    for index in blocks(mean.shape):
        own = np.asarray(verbatim[index])
        if own.any():
            values = frame.values[index]
            mean[index][own] = values[own]
            # Infinite where an error without meaning exceeds the number format.
            with np.errstate(over='ignore'):
                std[index][own] = frame.deviations.at(index)[own] if frame.deviations else np.nan
            std[index][own & np.isnan(values)] = np.nan


@dataclass(frozen=True)
class _Judgement:
    """Findings of the audit in a plane or a part of it, and a message on its noise from the innovations."""

    report: AuditReport = None
    noise: str = None

    def gravity(self):
        return 0 if self.report is None else severity(self.report), bool(self.noise)

    def conclude(self, index, audit):
        """Issue the warning or the error; return True if the plane must be returned as measured."""
        where, report, text = f'plane {index}: ' if index else '', self.report, self.noise
        grave = report is not None and report.worst in ('warning', 'refusal')
        refused = grave and report.worst == 'refusal' and audit == 'refuse'
        if report is not None and report.findings:
            log.info('%s%s', where, '; '.join(check.message for check in report.findings))
        if grave:
            # One message for one fault: the audit cannot determine which part of the noise model is wrong.
            text = report.message(None if report.worst == 'refusal' else self.noise)
        if refused and not index:
            raise AuditError(f"the data exclude the result: {text}. audit='warn' (--audit warn) returns it all the "
                             'same', report)
        if refused:
            text = f'returned as measured, as the data exclude the result: {text}'
        if text:
            warn_user(f'{where}{text}')
        return refused


class _Judgements:
    """
    Results of the audit and of the innovations for all planes.

    Parameters
    ----------
    audit : {'refuse', 'warn', 'off'}
        See `astropy_n2v.denoise`.

    Attributes
    ----------
    worst : AuditReport or None
        The gravest report.
    refused : list of tuple of int
        Indices of the planes to be returned as measured.
    """

    def __init__(self, audit):
        self.audit, self.worst, self.refused = audit, None, []
        self._parts = []   # parts of the current plane

    def add(self, plane, prediction, leaks, is_last):
        """Judge the prediction of a part of a plane, and after the last one all parts at once."""
        report, beam = prediction.audit, prediction.whitening is not None and prediction.whitening.is_broad
        if report is not None:
            report = report.without_leak() if leaks else report.without_beam() if beam else report
        self._parts.append(_Judgement(report, _check_innovations(prediction, plane.data_noise, leaks)))
        if not is_last:
            return
        judgement, self._parts = max(self._parts, key=_Judgement.gravity), []
        if judgement.conclude(plane.index, self.audit):
            self.refused.append(plane.index)
        report = judgement.report
        if report is not None and (self.worst is None or severity(report) > severity(self.worst)):
            self.worst = report


def _check_innovations(prediction, noise, leaks):
    """Describe a wrong noise model, as indicated by the innovations; '' if they are not reliable."""
    rms = prediction.recalibration.innovation_rms
    # With few photons, the spread is stated for the fewest photons of the training.
    if not prediction.recalibration.contradicts_noise or prediction.scaling.few_photons:
        return None
    rounded = np.any(noise.quantum) and prediction.scaling.sky_noise < ROUNDED * np.max(noise.quantum)
    if rms < 1 and (leaks or rounded):   # a separate warning exists
        return ''
    size = 'smaller' if rms < 1 else 'larger'
    return (f'the innovations have an rms of {rms:.2f} instead of 1: the noise is {size} than the noise model says '
            f'({noise.source}). Noise {rms:.2f} times as large would agree with the image')
