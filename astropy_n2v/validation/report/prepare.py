# Licensed under a 3-clause BSD style license - see LICENSE
"""
From a frame and what is given with it to a task: noise, point-spread function, and the image to compare with.
"""

import copy
from dataclasses import dataclass

import numpy as np
from astropy.nddata import CCDData
from astropy.table import Table

from ...containers.container import Container
from ...photometry.inputs import position_array, stated_sigma
from ...planes import find_planes
from ...utils.checks import require
from ..measures.frames import run_denoiser
from ..measures.reference import align_reference, fit_scale
from .arguments import NoPSF, as_array, find_psf, same_grid
from .cache import hash_of
from .task import FrameTask

__all__ = ['Given', 'Settings', 'measure_noise', 'prepare']


@dataclass(frozen=True)
class Settings:
    """
    Settings of all frames of a validation.

    Parameters
    ----------
    denoiser : callable
        Function from `~astropy.nddata.CCDData` to `~astropy.nddata.CCDData`.
    options : dict
        Those of `~astropy_n2v.validation.validate`.
    noise : dict
        Its parameters noise, gain and readnoise.
    satlevel : float, `~astropy.units.Quantity` or None
        Level of saturation.
    seed : int
        Seed of all that is random.
    """

    denoiser: object
    options: dict
    noise: dict
    satlevel: object
    seed: int


@dataclass(frozen=True)
class Given:
    """
    Truth, reference, catalogue and PSF that are given with a frame; else None.

    Parameters
    ----------
    truth, reference : image or None
        One of them, to compare with.
    catalog : `~astropy.table.Table`, `~numpy.ndarray` or None
        Positions of sources.
    psf : PSF or None
        The point-spread function.
    """

    truth: object = None
    reference: object = None
    catalog: object = None
    psf: object = None

    @property
    def kind(self):
        """The image to compare with, 'truth', 'reference' or None."""
        return 'truth' if self.truth is not None else 'reference' if self.reference is not None else None


def prepare(frame, given, settings, tick):
    """
    Denoise a frame, and find out about its noise and its point-spread function.

    Parameters
    ----------
    frame : `~astropy.nddata.CCDData`
        The frame.
    given : Given
        Truth, reference and catalog that are given with it.
    settings : Settings
        The arguments that hold for all frames.
    tick : callable
        It is called whenever an image has been denoised.

    Returns
    -------
    FrameTask
        All that the measures need.
    """
    if np.ndim(frame.data) != 2:
        raise ValueError(f'frames must be two-dimensional, got the shape {np.shape(frame.data)}')
    # Of its data and not of its place, so that more frames do not change those that are finished; nor of the
    # denoiser, so that all are judged by the same injected sources.
    seed = int(hash_of(np.asarray(frame.data), settings.seed)[:8], 16)
    denoiser = _once(settings.denoiser, frame, tick)
    original, (frame, noise) = frame, measure_noise(frame, settings)
    guide, guide_std = _guide(frame, given)
    catalog = None if given.catalog is None else Table(position_array('catalog', given.catalog), names=('x', 'y'))
    psf, no_psf, origin = given.psf, '', 'given'
    if psf is None:
        try:
            psf = find_psf(frame)
            origin = f'measured on {psf.n_stars} stars'
        except NoPSF as error:
            no_psf, origin = str(error), 'not known'
    return FrameTask(frame, denoiser(original), denoiser, noise, settings.options, psf=psf, truth=guide,
                     kind=given.kind, truth_std=guide_std, catalog=catalog, seed=seed, no_psf=no_psf, psf_origin=origin)


def measure_noise(frame, settings):
    """Mask all pixels of a frame that `astropy_n2v.denoise` does not use, and find the noise that it uses."""
    parsed = Container(frame, satlevel=settings.satlevel)
    planes, _ = find_planes(parsed, **settings.noise)
    if frame.mask is not None or parsed.mask.any():
        frame = copy.copy(frame)
        frame.mask = np.array(parsed.mask, subok=False)
    return frame, planes[0].data_noise


def _guide(frame, given):
    """Return the image to compare with, as an array on the grid of the frame, and its noise."""
    if given.truth is not None:
        values = as_array(given.truth, frame.unit, 'truth')
        require(values.shape == frame.shape, 'truth', f'have the shape of the frame, {frame.shape}', values.shape)
        if not np.isfinite(values).any():
            raise ValueError('truth must have a valid pixel: all are masked or not finite')
        return values, None
    reference = given.reference
    if reference is None:
        return None, None
    if not isinstance(reference, CCDData):
        raise TypeError(f'reference must be CCDData or a path, got {type(reference).__name__}')
    if reference.wcs is not None and frame.wcs is not None and not same_grid(reference, frame):
        reference = align_reference(reference, frame)
    elif reference.shape != frame.shape:
        raise ValueError(f'reference must have the shape of the frame, {frame.shape}, got {reference.shape}, or '
                         'both must have a WCS to align it by')
    values = as_array(reference, None)
    if not np.isfinite(values).any():
        raise ValueError('reference must have a valid pixel on the frame: all are masked or not finite')
    scale = fit_scale(values, as_array(frame, None))   # whatever its unit is
    values = scale.apply(values)
    sigma = stated_sigma(reference)
    return values, None if sigma is None else abs(scale.slope) * sigma


def _once(denoiser, frame, tick):
    """Make a denoiser that does a certain frame only once."""
    results = []

    def denoise(ccd):
        if ccd is frame and results:
            return results[0]
        result = run_denoiser(denoiser, ccd.copy() if ccd is frame else ccd)
        if ccd is frame:
            results.append(result)
        tick()
        return result
    return denoise
