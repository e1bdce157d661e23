# Licensed under a 3-clause BSD style license - see LICENSE
"""
Planes of a container and their noise.

``noise/resolve.py`` decides the noise of a plane, ``blind_spot.py`` its blind spot. The planes of a *result* (mean,
standard deviation, ...) are listed in ``inference/prediction.py``.
"""

import logging
import warnings
from dataclasses import dataclass, replace

import numpy as np
from astropy import units as u

from .blind_spot import autocorrelation_error, own_autocorrelation
from .config import conf
from .containers.parsing import CompleteMask
from .exceptions import CannotDenoiseError
from .io.headers import ADU_LIKE, header_value
from .noise import (
    AmplifierScale,
    FrameGroup,
    GainFrom,
    GroupNoise,
    NoiseModel,
    Patterns,
    SetNoise,
    SkySample,
    find_patterns,
)
from .noise.pictures import is_colour_cube, is_debayered_nebula, noise_of_picture, stretched_noise, was_stretched
from .noise.resolve import resolve_sky
from .noise.stripes import announces_mosaic
from .noise.views import WHOLE, part_of, pixels_of, split_views
from .utils.scratch import blocks, blockwise, empty
from .utils.warn import warn_user

__all__ = ['Plane', 'find_planes', 'group_channels', 'not_counted']

log = logging.getLogger(__name__)


@dataclass
class Plane:
    """
    A two-dimensional image with its noise, as the input of a network.

    Parameters
    ----------
    index : tuple of int
        Index of the plane in the frame.
    values : `~numpy.ndarray`
        Data of shape (ny, nx).
    noise : NoiseModel
        Noise of ``values``.
    mask : `~numpy.ndarray` of bool
        True where they do not count.
    data_noise : NoiseModel
        The noise of the original data; the noise of ``values`` differs if these are on another scale.
    amplifiers : AmplifierScale or None
        The scale of ``values``.
    view : tuple of slice
        Index of its pixels in the plane: all of them, one colour filter, one phase of an interpolation, or one
        amplifier.
    group : GroupNoise or None
        The set of frames whose autocorrelation ``noise`` has; None if it was measured on the plane itself.
    patterns : Patterns or None
        Offsets that were subtracted from the whole plane.
    sample : SkySample or None
        Earlier measurements of the sky; see ``sky``.
    picture : bool
        True if ``noise`` is from `~astropy_n2v.noise.pictures.noise_of_picture`, with its autocorrelation.
    """

    index: tuple
    values: np.ndarray
    noise: NoiseModel
    mask: np.ndarray
    data_noise: NoiseModel
    amplifiers: AmplifierScale = None
    view: tuple = WHOLE
    patterns: Patterns = None
    group: GroupNoise = None
    sample: SkySample = None
    picture: bool = False

    @property
    def sky(self):
        """Sample of the sky of ``values``, a `~astropy_n2v.noise.SkySample`."""
        if self.sample is None or self.sample.values is not self.values:
            self.sample = SkySample(self.values, not_counted(self.values, self.mask))
        return self.sample

    def following(self, group):
        """
        Use the autocorrelation of a set of frames, unless the plane contradicts it, in which case a warning is issued.

        Parameters
        ----------
        group : GroupNoise or None
            The group of the frame.

        Returns
        -------
        Plane
            The plane itself if the group has no autocorrelation.
        """
        if group is None:
            return self
        if not group.agrees:
            log.info('the autocorrelation of the noise is measured on the image: %s: %s', group.group.text, group.text)
            return self
        own = own_autocorrelation(self)
        if own is not None and own.shape != group.autocorrelation.shape:
            log.info('the autocorrelation of the noise is measured on the image, which was smoothed')
            return self
        reason = None if own is None else group.contradiction(own, lambda: autocorrelation_error(self))
        if reason is not None:
            warn_user(f'the noise of this frame disagrees with its set: {reason}. Its own is used')
            return self
        log.info('the autocorrelation of the noise is from a %s: %s', group.source, group.group.text)
        noise, data_noise = (replace(noise, autocorrelation=group.autocorrelation)
                             for noise in (self.noise, self.data_noise))
        return replace(self, noise=noise, data_noise=data_noise, group=group)

    @property
    def pixels(self):
        """Name of its pixels in a mosaic; 'all' also for the pixels of an amplifier."""
        return pixels_of(self.view)

    def with_growth(self, report):
        """
        Let the noise grow with the signal as an audit found, if the noise was measured on the image.

        Blocks of the image show the photon noise only where enough of them have a signal and no structure.

        Parameters
        ----------
        report : AuditReport or None
            The audit of a prediction.

        Returns
        -------
        Plane or None
            None if the audit found no growth.
        """
        noise = self.noise
        if (report is None or report.growth is None or noise.origin.gain is not GainFrom.IMAGE
                or noise.gain is not None or self.amplifiers is not None or np.ndim(noise.sigma)):
            return None
        variance, slope = report.growth
        # The photon share of the noise of the sky does not matter: the sum is unchanged.
        floor = 0.1 * variance
        zero = self.sky.level - (variance - floor) / slope
        noise = replace(noise, sigma=float(np.sqrt(floor)), gain=1 / slope, zero_point=zero)
        return replace(self, noise=noise, data_noise=replace(noise, autocorrelation=self.data_noise.autocorrelation))

    def restore(self, prediction, strength=1.0):
        """
        Convert a prediction to the scale of the data; below full strength, restore a part of the patterns.

        Parameters
        ----------
        prediction : Prediction
            Prediction of this plane. Its arrays may be changed.
        strength : float, optional
            From 0 (the data) to 1 (the posterior).

        Returns
        -------
        Prediction
            The prediction on the scale of the data.
        """
        if self.amplifiers is not None:
            prediction = prediction.rescale(self.amplifiers.backward, self.amplifiers.deviation_backward)
        if self.patterns is not None:
            for rows, model, deviation in self.patterns.blocks(self.view):
                prediction.mean[rows] += (1 - strength) * model
                prediction.std[rows] = np.hypot(prediction.std[rows], strength * deviation)
        return prediction

    def allow_for_leak(self, prediction):
        """
        Correct a prediction for noise that a pixel has in common with neighbours outside of the hole.

        The blind prediction follows a part of this noise, which is missing in the innovations. Only the rest is
        averaged out by combining prediction and measurement. The measurement therefore gets a larger weight, and the
        error is larger.

        Parameters
        ----------
        prediction : Prediction
            Prediction of this plane.

        Returns
        -------
        Prediction
            With another mean and standard deviation; ``prediction`` itself if the innovations are not too small.
        """
        share = 1 - prediction.recalibration.innovation_rms ** 2
        if not share > 0:
            return prediction
        shape, dtype = prediction.mean.shape, prediction.mean.dtype
        mean, std = empty(shape, dtype), empty(shape, dtype)
        for (rows,) in blocks(shape):
            own, error, values = prediction.mean[rows], prediction.std[rows], self.values[rows]
            variance = self.noise.at(shape, rows, slice(None)).variance(own)
            # Weight of the measurement in the combination; the noise may be zero where no light is expected.
            weight = np.ones(variance.shape)
            np.divide(error ** 2, variance, out=weight, where=variance > 0)
            weight = np.clip(weight, 0, 1)
            shrunk = weight + (1 - weight) * (1 - share)
            change = np.where(self.mask[rows] | ~np.isfinite(values), 0, values - own)
            mean[rows] = own + weight * share / shrunk * change
            std[rows] = np.sqrt(error ** 2 * (1 - share) / shrunk + share * variance)
        return replace(prediction, mean=mean, std=std)


def not_counted(values, mask):
    """
    Find the pixels that do not count: masked ones, and those that are not finite.

    Parameters
    ----------
    values : `~numpy.ndarray`
        Data.
    mask : CompleteMask
        True where they are masked, of the same shape.

    Returns
    -------
    CompleteMask
        Of that shape.
    """
    return blockwise(lambda part, bad: bad | ~np.isfinite(part), values, mask).view(CompleteMask)


def find_planes(frame, *, noise=None, gain=None, readnoise=None, indices=None):
    """
    Find the planes of a frame that can be denoised, with their noise.

    Parameters
    ----------
    frame : Container
        The frame.
    noise, gain, readnoise : optional
        See `astropy_n2v.denoise`.
    indices : list of tuple of int, optional
        Indices of the planes; by default all.

    Returns
    -------
    planes : list of Plane
        Planes that can be denoised.
    rejected : list of tuple of int
        Indices of the other planes; a warning is issued for each.

    Raises
    ------
    CannotDenoiseError
        If no plane can be denoised.
    """
    planes, rejected = [], []
    of_set = noise if isinstance(noise, SetNoise) else None
    given = {'noise': noise if of_set is None else None, 'gain': gain, 'readnoise': readnoise}
    stretched = _is_stretched(frame)
    for i in frame.planes() if indices is None else indices:
        values, mask = frame.values[i], frame.mask[i]
        bad = not_counted(values, mask)
        parameters = {name: _of_plane(frame, name, value, i) for name, value in given.items()}
        parameters['deviation'] = frame.deviations.plane(i)
        try:
            if bad.all():
                raise CannotDenoiseError('data has no valid pixel: all are masked or not finite')
            # A set of frames knows nothing of the noise at each brightness.
            picture = _as_picture(frame, i, SkySample(values, bad), parameters, stretched)
            if picture is not None:
                planes.append(picture)
                continue
            patterns = find_patterns(values, bad, frame.header)
            if patterns is not None:
                log.info('%staken off: %s', f'plane {i}: ' if i else '', patterns.describe())
                values = patterns.remove(values)
            views = split_views(values, bad, frame.header, parameters, f'plane {i}: ' if i else '')
            found = _find_parts(frame, i, values, views, bad, parameters, patterns, of_set)
        except CannotDenoiseError as error:
            # The error concerns the whole call for a single image, but not for one plane of many.
            if i == ():
                raise
            warn_user(f'plane {i} passes through as it is: {error}')
            rejected.append(i)
            continue
        planes += found
    if not planes:
        raise CannotDenoiseError('data has no plane that can be denoised: all are constant or masked')
    return planes, rejected


def group_channels(planes, channels):
    """
    Group the planes that a model of several channels sees together.

    Parameters
    ----------
    planes : list of Plane
        Planes of one frame.
    channels : int
        Channels of the model. They are the third axis from the end of the frame.

    Returns
    -------
    list of list of Plane
        As many planes each: the channels, in order, of the same pixels.

    Raises
    ------
    CannotDenoiseError
        If a plane is without the others.
    """
    if channels == 1:
        return [[plane] for plane in planes]
    groups = []
    for plane in planes:
        same = [group for group in groups if group[0].index[:-1] == plane.index[:-1] and group[0].view == plane.view]
        if same and plane.index:
            same[0].append(plane)
        else:
            groups.append([plane])
    for group in groups:
        if len(group) != channels:
            found = 'an image of one plane' if group[0].index == () else f'{len(group)} that can be denoised'
            raise CannotDenoiseError(f'the model takes images of {channels} channels, shape (..., {channels}, ny, nx), '
                                     f'got {found}')
    return groups


def _of_plane(frame, name, value, index):
    """Return a parameter of the noise, or all of a noise model, for one plane of a frame."""
    if isinstance(value, NoiseModel):
        return value.map(lambda part, values: frame.parameter(part, values, index))
    return frame.parameter(name, value, index)


def _as_picture(frame, index, sky, parameters, stretched):
    """Return a plane of a picture, of whose noise nothing is stated; None for other data, or without a measure."""
    if any(value is not None for value in parameters.values()):
        return None
    noise = None
    try:
        if stretched or is_debayered_nebula(sky):
            noise = stretched_noise(sky)
        elif (frame.unit in (None, u.dimensionless_unscaled) and not announces_mosaic(frame.header)
                and header_value(frame.header, conf.gain_keywords)[0] is None):
            noise = noise_of_picture(sky, eight_bits=frame.source_dtype == np.uint8)
    except CannotDenoiseError as error:   # such as where masked pixels are in most blocks
        log.info('plane %s is not treated as a picture: %s', index, error)
    if noise is None:
        return None
    log.info('plane %s is a picture: its noise is measured at each brightness', index)
    return Plane(index, sky.values, noise, frame.mask[index], noise, sample=sky, picture=True)


def _is_stretched(frame):
    """Check if a frame is a stretched picture of three colours, in no unit that would say otherwise."""
    if frame.unit not in (None, u.dimensionless_unscaled, *ADU_LIKE) or not is_colour_cube(frame.shape, frame.header):
        return False
    return was_stretched([_sky_of(frame, i) for i in frame.planes()], frame.header)


def _sky_of(frame, index):
    """Return the sky of a plane, of which values that are not finite do not count."""
    return SkySample(frame.values[index], not_counted(frame.values[index], frame.mask[index]))


def _find_parts(frame, index, values, views, bad, parameters, patterns, of_set):
    """Return the parts of a plane, with their noise; a warning common to several of them is issued once."""
    if len(views) == 1:
        return [_find_part(frame, index, values, views[0], bad, parameters, patterns, of_set)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        parts = [_find_part(frame, index, values, view, bad, parameters, patterns, of_set) for view in views]
    for message in {str(warning.message): warning.message for warning in caught}.values():
        warn_user(message)
    return parts


def _find_part(frame, index, values, view, bad, parameters, patterns, of_set):
    """Return some pixels of a plane, without its patterns, with their noise."""
    shape = frame.shape[-2:]
    group = None if of_set is None else _group_of(frame, view, of_set)
    values, bad = values[view], bad[view]
    sky = SkySample(values, bad)
    noise = resolve_sky(sky, unit=frame.unit, header=frame.header,
                        set_gain=None if group is None else group.gain,
                        **{name: part_of(value, shape, view) for name, value in parameters.items()})
    if patterns is not None and patterns.step and not np.any(noise.quantum):
        noise = replace(noise, quantum=patterns.step)   # the steps are not visible without the patterns
    amplifiers = AmplifierScale.find(values, bad, noise)
    plane = Plane(index, values, noise, frame.mask[index][view], noise, amplifiers, view, patterns, sample=sky)
    if amplifiers is not None:
        plane.values, plane.noise = amplifiers.forward(values), amplifiers.noise(noise)
    return plane.following(group)


def _group_of(frame, view, of_set):
    """Return the noise of the group of a frame in a set; None, with a warning, if the set has no such group."""
    group = of_set.for_frame(frame.header, frame.unit, frame.shape[-2:], pixels_of(view))
    if group is None:
        known = FrameGroup.of(frame.header, frame.unit, frame.shape[-2:]).text
        warn_user(f'{of_set.name or "noise"} has no frames of this group ({known}): the autocorrelation is '
                  'measured on the frame itself')
    return group
