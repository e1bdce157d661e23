# Licensed under a 3-clause BSD style license - see LICENSE
"""
The frames of the fuzz, from the exposure to what a user knows of them.
"""

from dataclasses import dataclass, field

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.nddata import NDData, StdDevUncertainty

from astropy_n2v import NoiseModel

__all__ = ['Shot', 'expose', 'know']


@dataclass
class Shot:
    """
    A frame on its way from the scene to the user, and the truth about it.

    Parameters
    ----------
    truth : `~numpy.ndarray`
        Expected values; in electrons until the exposure, then in data units.
    level : `~numpy.ndarray`
        The part of it that is sky.
    readnoise, gain : float
        In electrons and electrons per adu; the gain is that of the camera, whatever is done to the data later.
    """

    truth: np.ndarray
    level: np.ndarray
    readnoise: float
    gain: float
    data: np.ndarray = None
    #: True standard deviation of the noise of each pixel.
    sigma: np.ndarray = None
    #: The same as a NoiseModel, where there is a simple one.
    noise: NoiseModel = None
    #: Pixels that hold no measurement any more.
    destroyed: np.ndarray = None
    #: Pixels with light that was not there without the defect: what can be gained there is another question.
    foreign: np.ndarray = None
    unit: str = 'adu'
    dtype: str = 'f4'
    header: dict = field(default_factory=dict)
    uncertainty: object = None
    mask: np.ndarray = None
    #: Keywords of `denoise`.
    options: dict = field(default_factory=dict)

    @property
    def sky_sigma(self):
        """Noise of the sky: little of a frame is darker."""
        return float(np.percentile(self.sigma, 10))

    def scale(self, factor=1.0, offset=0.0):
        """Bring the data to another scale."""
        for name in 'data', 'truth', 'level':
            setattr(self, name, getattr(self, name) * factor + offset)
        self.sigma = self.sigma * factor
        if self.noise is not None:
            self.noise = NoiseModel(self.noise.sigma * factor, self.noise.gain / factor,
                                    self.noise.zero_point * factor + offset)

    def resample(self, rows, columns):
        """Combine pixels linearly: matrices from old to new rows and columns, the weights of each adding up to 1."""
        self.data, self.truth, self.level = (rows @ image @ columns.T for image in (self.data, self.truth, self.level))
        self.sigma = np.sqrt(rows ** 2 @ self.sigma ** 2 @ (columns ** 2).T)
        self.noise = None

    def spoil(self, where, values):
        """Put in values that have nothing to do with the scene."""
        self.data = self.data.copy()
        self.data[where] = values
        self.destroyed = self.destroyed | where

    def container(self):
        """The frame as a user has it."""
        values = self.data
        if np.dtype(self.dtype).kind in 'iu':
            limits = np.iinfo(self.dtype)
            fits_in = np.isfinite(values).all() and limits.min <= values.min() and values.max() <= limits.max
            values = values.astype(self.dtype if fits_in else 'f4')
        else:
            values = values.astype(self.dtype)
        unit = None if self.unit is None else u.Unit(self.unit)
        return NDData(values, unit=unit, uncertainty=self.uncertainty, mask=self.mask, meta=fits.Header(self.header))


def expose(rng, shot):
    """Photon noise of the electrons, read noise, and conversion to data units."""
    electrons = rng.poisson(shot.truth) + shot.readnoise * rng.standard_normal(shot.truth.shape)
    shot.data, shot.sigma = electrons, np.sqrt(shot.truth + shot.readnoise ** 2)
    shot.noise, shot.destroyed = NoiseModel(shot.readnoise, 1.0), np.zeros(shot.truth.shape, dtype=bool)
    shot.scale(1 / shot.gain)


def know(rng, shot):
    """One of the ways in which the truth about the noise is known, or nothing."""
    card = {'GAIN': shot.gain} if shot.unit in ('adu', 'electron') else {}
    if shot.unit == 'adu' and rng.uniform() < 0.5:
        card['RDNOISE'] = shot.readnoise
    draw = rng.uniform()
    if draw < 0.3:
        shot.header.update(card)
    elif draw < 0.45 and shot.noise is not None:
        shot.options['gain'] = float(shot.noise.gain)
    elif draw < 0.65:
        shot.uncertainty = StdDevUncertainty(shot.sigma)
    elif draw < 0.75:
        shot.options['noise'] = NoiseModel(shot.sigma) if shot.noise is None else shot.noise
