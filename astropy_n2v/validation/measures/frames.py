# Licensed under a 3-clause BSD style license - see LICENSE
"""
Run denoisers on frames, on flipped ones too.
"""


import numpy as np
from astropy.nddata import CCDData, NDData

from ...photometry.frames import as_background, frame_arrays, mesh_background
from ...utils.checks import require

__all__ = ['flip_frame', 'run_denoiser']


def run_denoiser(denoiser, ccd):
    """
    Run a denoiser and check its result.

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
    background = mesh_background(data, bad)[0] if background is None else as_background(background, data.shape)
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
