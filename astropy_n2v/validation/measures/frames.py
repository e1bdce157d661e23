# Licensed under a 3-clause BSD style license - see LICENSE
"""
Arrays, background, noise and peaks of a frame, for the validation of detections.
"""

import warnings

import numpy as np
from astropy.nddata import CCDData, NDData
from photutils.background import Background2D, MADStdBackgroundRMS
from scipy.ndimage import label, maximum_filter

from ...noise import NoiseModel
from ...utils.checks import require
from .inputs import check_sigma, image_array

__all__ = ['flip_frame', 'run_denoiser']


def frame_arrays(frame, mask=None, name='ccd'):
    """Convert a frame to floats, and mark the pixels without a valid value."""
    data, bad, _ = image_array(frame, mask, name)
    if bad.all():
        raise ValueError(f'{name} has no valid pixel: all are masked or not finite')
    return np.asarray(data, dtype=float), bad


def mesh_background(data, bad, box_size=64):
    """Background and noise of the sky of a frame, both of its shape, on a mesh of sigma-clipped boxes."""
    box = tuple(min(box_size, n) for n in data.shape)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')   # boxes without enough sky are interpolated
        mesh = Background2D(data, box, mask=bad if bad.any() else None, filter_size=3, exclude_percentile=80,
                            bkgrms_estimator=MADStdBackgroundRMS())
        background, rms = np.asarray(mesh.background, dtype=float), np.asarray(mesh.background_rms, dtype=float)
    positive = rms > 0
    if not positive.any():
        raise ValueError('sigma must be given for a frame whose sky has no noise: the one measured is 0')
    return background, np.where(positive, rms, np.median(rms[positive]))


def _as_background(background, shape):
    """Convert a given background, of all pixels or of each."""
    background = np.asarray(getattr(background, 'value', background), dtype=float)
    require(background.shape in ((), shape), 'background', f'be a number or have the shape of the data, {shape}',
            background.shape)
    return background


def sky_of(frame, mask=None, sigma=None, background=None):
    """
    Background and noise of the sky: those given, or measured ones.

    ``sigma`` may be a number, an array or a NoiseModel, which is taken at the background.
    """
    data, bad = frame_arrays(frame, mask)
    if background is None or sigma is None:
        measured = mesh_background(data, bad)
    background = measured[0] if background is None else _as_background(background, data.shape)
    if sigma is None:
        sigma = measured[1]
    elif isinstance(sigma, NoiseModel):
        sigma = np.sqrt(sigma.variance(background))
    sigma = check_sigma('sigma', sigma, data.shape, 'a number, a NoiseModel')
    return data, bad | ~np.isfinite(sigma), background, np.where(np.isfinite(sigma), sigma, 1.0)


def local_maxima(image, threshold, box_size=3):
    """Columns, rows and values of the local maxima above a threshold; of a plateau only the first pixel."""
    peak = (image > threshold) & (image == maximum_filter(image, box_size, mode='constant', cval=-np.inf))
    plateau, _ = label(peak, np.ones((3, 3)))
    y, x = np.nonzero(peak)
    _, first = np.unique(plateau[y, x], return_index=True)
    y, x = y[first], x[first]
    return x, y, image[y, x]


def run_denoiser(denoiser, ccd):
    """
    Run a denoiser and check what comes back.

    Parameters
    ----------
    denoiser : callable
        Function from `~astropy.nddata.CCDData` to `~astropy.nddata.CCDData`.
    ccd : `~astropy.nddata.CCDData`
        The frame.

    Returns
    -------
    `~astropy.nddata.CCDData`
        The result.

    Raises
    ------
    TypeError
        If the denoiser is not callable or returns something else.
    ValueError
        If the result has another shape or holds no number.

    Examples
    --------
    >>> from astropy_n2v.simulate import make_scene
    >>> from astropy_n2v.validation import run_denoiser
    >>> ccd = make_scene('survey', (32, 32), seed=1).observe(seed=2)
    >>> run_denoiser(lambda ccd: ccd.copy(), ccd).shape
    (32, 32)
    """
    if not callable(denoiser):
        raise TypeError(f'denoiser must be a function from CCDData to CCDData, got {type(denoiser).__name__}')
    result = denoiser(ccd)
    if not isinstance(result, NDData):
        raise TypeError(f'denoiser must return CCDData, got {type(result).__name__}')
    require(np.shape(result.data) == np.shape(ccd.data), 'denoiser',
            f'return data of the shape of its input, {np.shape(ccd.data)}', np.shape(result.data))
    if not np.isfinite(result.data).any():
        raise ValueError('denoiser must return finite data, got none')
    return result


def flip_frame(ccd, background=None):
    """
    Turn a frame upside down about its background.

    All detections on it are false: sources have become holes, and the noise of the sky
    is as likely up as down. The flip comes before the denoiser, which is not symmetric. Photon
    noise is: at few counts it is skewed, and the flipped sky shows fewer high peaks.

    Parameters
    ----------
    ccd : `~astropy.nddata.CCDData`
        The frame.
    background : float or array_like, optional
        The level to turn it about, in the unit of the data; by default measured on a mesh.

    Returns
    -------
    `~astropy.nddata.CCDData`
        ``2 * background - data``, with everything else of the frame.

    Raises
    ------
    ValueError
        If ``background`` does not have the shape of the data.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.nddata import CCDData
    >>> from astropy_n2v.validation import flip_frame
    >>> flip_frame(CCDData(np.array([[9.0, 12.0]]), unit='adu'), 10.0).data.tolist()
    [[11.0, 8.0]]
    """
    data, bad = frame_arrays(ccd)
    background = mesh_background(data, bad)[0] if background is None else _as_background(background, data.shape)
    return with_data(ccd, 2 * background - data)


def with_data(ccd, data, uncertainty=None):
    """Copy a frame with other data (float32 stays float32)."""
    result = ccd.copy() if isinstance(ccd, CCDData) else CCDData(np.asarray(ccd, dtype=float), unit='')
    kind = np.asarray(result.data).dtype
    # Integers would round and wrap around.
    result.data = data.astype(np.float32 if kind.itemsize == 4 and kind.kind == 'f' else float)
    if uncertainty is not None:
        result.uncertainty = uncertainty
    return result
