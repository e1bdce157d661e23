# Licensed under a 3-clause BSD style license - see LICENSE
"""
All steps from an image to its prediction, in their order: normalization, network, recalibration, posterior.

`~astropy_n2v.Denoiser.predict` in ``denoiser.py`` calls it.
"""

import logging
from dataclasses import replace

import numpy as np

from ..audit import Auditor, severity
from ..noise.model import BROAD_WEIGHT
from ..utils.sampling import row_blocks
from ..utils.scratch import empty, zeros
from .blank_sky import variance_factor
from .posterior import add_rounding, keep_counts, posterior_of_rows, recalibrate, return_as_measured
from .prediction import Prediction

__all__ = ['infer', 'infer_whitened']

log = logging.getLogger(__name__)

_WHITE = np.pad([[1.0]], 2)   # autocorrelation of white noise
_DOUBTFUL = 0.1   # largest difference of the rms of innovations from 1 for whitened noise
_ROWS = 64   # rows of the image for which the posterior is computed at a time


def infer(image, predictor, *, whitened=None, held_out=None, calibrate=True, strength=1.0, audit=True,
          full_output=True, dtype=np.float32):
    """
    Predict an image from its surroundings, and combine the prediction with the data.

    Parameters
    ----------
    image : NormalizedImage
        The image.
    predictor : BlindPredictor
        Predictor of the pixels.
    whitened : Whitened, optional
        The whitening of ``image``, if its noise was whitened.
    held_out : `~numpy.ndarray` of bool, optional
        True for pixels that may judge the prediction; by default all.
    calibrate, strength, audit, full_output : optional
        See `astropy_n2v.Denoiser.predict`.
    dtype : type, optional
        Type of the arrays of the result.

    Returns
    -------
    Prediction
        The prediction in data units.
    """
    mean, spread = predictor.predict(image if whitened is None else whitened.frame)
    if whitened is not None:
        mean, spread = whitened.beyond(mean), whitened.beyond(spread)
        image = whitened.with_signal(mean)
    spread = predictor.correct_spread(image, mean, spread)
    recalibration = recalibrate(image, mean, spread, held_out)
    hole = predictor.network.hole
    # Whitened noise keeps a correlation due to errors of the measured autocorrelation, as large as the difference on
    # an empty sky.
    if held_out is None and hole == (1, 1) and whitened is None:
        recalibration = replace(recalibration, blank_sky=variance_factor(image, mean, spread, recalibration))
    applied, auditor, report = recalibration if calibrate else None, None, None
    if audit:
        share = recalibration.outlier_share if calibrate else BROAD_WEIGHT
        auditor = Auditor(image, strength=strength, held_out=held_out, outlier_share=share)
    planes = {name: empty(image.shape, dtype=dtype) for name in Prediction.names(full_output)}
    returned = _combine(image, mean, spread, planes, auditor, recalibration=applied, strength=strength)
    if image.scaling.few_photons and strength > 0:
        keep_counts(image, planes['mean'], planes['std'], returned)
    if auditor is not None:
        # For whitened noise, the autocorrelation is too uncertain to separate faint light from it.
        report = auditor.report(recalibration=applied, hole=hole, correlation=None if whitened is None else _WHITE)
        planes['std'] = report.enlarge(planes['mean'], planes['std'], keep=returned)
    return Prediction(**planes, scaling=image.scaling, recalibration=recalibration, audit=report,
                      precision=str(predictor.dtype).removeprefix('torch.'))


def _combine(image, mean, spread, planes, auditor, **options):
    """Fill planes with the posterior, some rows at a time; return the pixels that are returned as measured."""
    returned = zeros(image.shape, dtype=bool)
    for rows in row_blocks(image.shape[0], _ROWS):
        part = posterior_of_rows(image, mean, spread, rows, **options)
        if auditor is not None:
            returned[rows] = auditor.rows(rows, part)
            return_as_measured(image, rows, part, returned[rows])
        if np.any(image.noise.quantum):
            # After the audit: the removed noise is reduced by the error of the prediction, but not by this error.
            add_rounding(image, rows, part)
        for name, values in planes.items():
            values[rows] = part[name]
    return returned


def infer_whitened(whitened, predictor, *, held_out=None, strength=1.0, full_output=True, dtype=np.float32, **options):
    """
    Predict an image whose noise was whitened, unless the data contradict the filter.

    Parameters
    ----------
    whitened : Whitened
        The whitened image with its inverse map.
    predictor : BlindPredictor
        Predictor of the pixels.
    held_out, strength, full_output, dtype : optional
        See `infer`.
    **options
        See `infer`.

    Returns
    -------
    Prediction
        Prediction of the original image, in data units. Its ``whitening`` is None if the filter was not used.
    """
    white = infer(whitened.white, predictor, whitened=whitened, held_out=whitened.outside(held_out), **options)
    result = whitened.prediction(white, strength=strength, full_output=full_output, dtype=dtype)
    if _is_doubtful(result):
        # The filter is wrong if structure passes for correlated noise.
        result = min(result, infer(whitened.image, predictor, held_out=held_out, strength=strength,
                                   full_output=full_output, dtype=dtype, **options), key=_gravity)
        if result.whitening is None:
            log.info('the noise is not whitened: the data contradict the autocorrelation that was measured')
    return result


def _is_doubtful(prediction):
    """Check if innovations or the audit contradict a prediction."""
    grave = prediction.audit is not None and prediction.audit.worst in ('warning', 'refusal')
    return grave or abs(prediction.recalibration.innovation_rms - 1) > _DOUBTFUL


def _gravity(prediction):
    """Return a key that orders predictions by the evidence against them."""
    audit = prediction.audit
    found = (0, 0) if audit is None else (severity(audit), len(audit.findings))
    return *found, abs(prediction.recalibration.innovation_rms - 1)
