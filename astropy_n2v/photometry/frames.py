# Licensed under a 3-clause BSD style license - see LICENSE
"""
Arrays, background, noise and peaks of a frame.
"""

import warnings

import numpy as np
from photutils.background import Background2D, MADStdBackgroundRMS
from scipy.ndimage import label, maximum_filter

from ..noise import NoiseModel
from ..utils.checks import require
from .inputs import check_sigma, image_array

__all__ = ['as_background', 'frame_arrays', 'local_maxima', 'mesh_background', 'sky_of']


def frame_arrays(frame, mask=None, name='ccd'):
    """Convert a frame to floats, and mark the pixels without a valid value."""
    data, bad, _ = image_array(frame, mask, name)
    if bad.all():
        raise ValueError(f'{name} has no valid pixel: all are masked or not finite')
    return np.asarray(data, dtype=float), bad


def mesh_background(data, bad, box_size=64):
    """Measure background and noise of the sky of a frame, both of its shape, on a mesh of sigma-clipped boxes."""
    box = tuple(min(box_size, n) for n in data.shape)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')   # boxes without enough sky are interpolated
        mesh = Background2D(data, box, mask=bad if bad.any() else None, filter_size=3, exclude_percentile=80,
                            bkgrms_estimator=MADStdBackgroundRMS())
        background, rms = np.asarray(mesh.background, dtype=float), np.asarray(mesh.background_rms, dtype=float)
    positive = rms > 0
    if not positive.any():
        raise ValueError('sigma must be given for a frame whose sky has no noise, got None and a measured noise of 0')
    return background, np.where(positive, rms, np.median(rms[positive]))


def as_background(background, shape):
    """Convert a given background, of all pixels or of each."""
    background = np.asarray(getattr(background, 'value', background), dtype=float)
    require(background.shape in ((), shape), 'background', f'be a number or have the shape of the data, {shape}',
            background.shape)
    return background


def sky_of(frame, mask=None, sigma=None, background=None):
    """
    Return background and noise of the sky, as given or measured.

    ``sigma`` may be a number, an array or a NoiseModel, which is taken at the background.
    """
    data, bad = frame_arrays(frame, mask)
    if background is None or sigma is None:
        measured = mesh_background(data, bad)
    background = measured[0] if background is None else as_background(background, data.shape)
    if sigma is None:
        sigma = measured[1]
    elif isinstance(sigma, NoiseModel):
        sigma = np.sqrt(sigma.variance(background))
    sigma = check_sigma('sigma', sigma, data.shape, 'a number, a NoiseModel')
    return data, bad | ~np.isfinite(sigma), background, np.where(np.isfinite(sigma), sigma, 1.0)


def local_maxima(image, threshold, box_size=3):
    """Find columns, rows and values of the local maxima above a threshold; of a plateau only the first pixel."""
    peak = (image > threshold) & (image == maximum_filter(image, box_size, mode='constant', cval=-np.inf))
    plateau, _ = label(peak, np.ones((3, 3)))
    y, x = np.nonzero(peak)
    _, first = np.unique(plateau[y, x], return_index=True)
    y, x = y[first], x[first]
    return x, y, image[y, x]
