# Licensed under a 3-clause BSD style license - see LICENSE
"""
The noise that the frames of one instrument, detector, filter, binning and gain setting have in common.
"""

import datetime
import json
import logging
import os
import re
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

import numpy as np
from astropy import units as u
from astropy.io import fits

from ..config import conf
from ..io.conventions import meaning_of_name
from ..io.headers import ADU_LIKE, header_value
from ..utils.atomic_files import atomic_write
from .gains import is_setting

__all__ = ['FrameGroup', 'GroupNoise', 'SetNoise']

log = logging.getLogger(__name__)

_FORMAT = 'astropy_n2v noise of a set of frames'
_VERSION = 1   # version of the file format that is written, and the only one that is read
# Cards that name a detector, a filter and the way in which a detector was read.
_DETECTORS = ('DETECTOR', 'DETNAME', 'DETNAM', 'CCDNAME', 'CCDNUM', 'CCDCHIP', 'CCDID', 'CHIP', 'CHIPID', 'AMPNAME',
              'AMPID')
_FILTERS = 'FILTER', 'FILTER1', 'FILTER2', 'FILTER3', 'FILTERS', 'FILTNAM', 'FILTNAM1', 'PUPIL'
_SETTINGS = 'GAINMODE', 'READMODE', 'READOUTM', 'READOUT', 'READPATT', 'RDMODE', 'CCDSPEED', 'SPEED', 'AMPMODE'
_BINNINGS = (('XBINNING', 'YBINNING'), ('BINAXIS1', 'BINAXIS2'), ('BINX', 'BINY'), ('CCDXBIN', 'CCDYBIN'), ('CCDSUM',),
             ('BINNING',))
# Largest difference of the correlations of a frame and of its set, absolute and in standard errors of the frame. In
# 30 scenes of all kinds of `simulate` (192x192, seeds 7000 to 7020) with equal noise, the median differed by at most
# 0.044.
_AGREEMENT, _ERRORS = 0.08, 4.0
# Largest scatter of the correlations in a group of frames with one correlation, absolute and in units of the scatter
# at far lags. The same scenes had 0.013, and 0.12 if each was shifted by another fraction of a pixel (cubic splines).
_SCATTER, _FAR_SCATTER = 0.05, 4.0
# Lags along columns and rows that are compared, and lags at which hardly any noise is correlated.
_NEAR = np.array([[0, 1, 0, 2], [1, 0, 2, 0]])   # rows, columns, rows, columns
_FAR = np.array([[3, 3, 4, 4, 3, 3, 4, 4], [3, 4, 3, 4, -3, -4, -3, -4]])
# Least number of frames with a measured gain, and largest scatter of their gains as a fraction (median to quartile).
_GAINS, _GAIN_SCATTER = 3, 0.3


def _texts(header, keywords):
    """Return the values of some cards as words, each once, in the order of the keywords."""
    found = []
    for keyword in keywords:
        try:
            text = ' '.join(str(header.get(keyword, '')).split())
        except fits.VerifyError:   # an invalid card
            continue
        if text and text not in found:
            found.append(text)
    return found


def _binning(header):
    for keywords in _BINNINGS:
        numbers = re.findall(r'\d+', ' '.join(_texts(header, keywords)))
        if numbers:
            return 'x'.join(numbers if len(numbers) > 1 else 2 * numbers)
    return ''


def _setting(header):
    """Return cards of the read-out, and the gain; electrons per adu to one digit, since pipelines measure them anew."""
    texts = _texts(header, _SETTINGS)
    name, gain = header_value(header, conf.gain_keywords)
    if is_setting(header, 'GAIN'):
        texts.append(f'GAIN {header_value(header, ["GAIN"])[1]:g}')
    elif name is not None:
        texts.append(f'{name} {gain:.1g}')
    counter, n = header_value(header, conf.ncombine_keywords)
    if counter is not None and n > 1:
        texts.append(f'average of {n:g}')
    return ', '.join(texts)


def _detector(header, shape):
    texts = _texts(header, _DETECTORS)
    name = ' '.join(_texts(header, ['EXTNAME']))
    meaning = meaning_of_name(name)
    own = name if meaning.role in ('detector', None) else ' '.join(meaning.group)
    if own and own.upper() not in (text.upper() for text in texts):
        texts.append(own)
    version = header_value(header, ['EXTVER'])[1]
    if version is not None and version > 1:
        texts.append(f'version {version:g}')
    if not texts and not _texts(header, ['INSTRUME']):
        # Without the name of a camera, frames of different sizes are of different detectors.
        texts.append('x'.join(map(str, shape)) + ' pixels')
    return ', '.join(texts)


class FrameGroup(NamedTuple):
    """
    The group of frames with equal noise that a frame belongs to.

    Parameters
    ----------
    instrument, detector, filter, binning, setting : str
        From the cards of a header; empty without a card. ``setting`` is the mode of the read-out, the gain (to
        one digit, unless it is a setting of the camera) and the number of exposures that were averaged.
    unit : str
        Unit of the data.

    Examples
    --------
    >>> from astropy_n2v.noise import FrameGroup
    >>> FrameGroup.of({'INSTRUME': 'DECam', 'EXTNAME': 'S4', 'FILTER': 'z', 'CCDSUM': '1 1', 'GAIN': 3.98}).text
    'DECam, S4, z, 1x1, GAIN 4, adu'
    """

    instrument: str = ''
    detector: str = ''
    filter: str = ''
    binning: str = ''
    setting: str = ''
    unit: str = 'adu'

    @classmethod
    def of(cls, header, unit=None, shape=()):
        """
        Find the group of a frame.

        Parameters
        ----------
        header : mapping
            FITS header or dictionary.
        unit : `~astropy.units.Unit`, optional
            Unit of the data. None, adu, count and DN are synonyms.
        shape : tuple of int, optional
            Shape of the image, which is used where no card names the instrument or the detector.

        Returns
        -------
        FrameGroup
            The group.
        """
        counted = unit in (None, u.dimensionless_unscaled, *ADU_LIKE)
        return cls(', '.join(_texts(header, ['TELESCOP', 'INSTRUME'])), _detector(header, shape),
                   ', '.join(_texts(header, _FILTERS)), _binning(header), _setting(header),
                   'adu' if counted else str(unit))

    @property
    def text(self):
        """All entries, in one line."""
        return ', '.join(part for part in self if part)


@dataclass(frozen=True, eq=False)
class GroupNoise:
    """
    The noise that the frames of a group have in common.

    Parameters
    ----------
    group : FrameGroup
        The group.
    autocorrelation : `~numpy.ndarray` or None
        Median of the autocorrelations of the frames, 1 in the middle, shape (9, 9); None if it could not be measured on
        any frame.
    scatter : `~numpy.ndarray` or None
        Half of the range that holds the middle two thirds of the frames, of the same shape; None for fewer than two.
    n_frames : int
        Number of frames that were measured.
    gain, gain_scatter : float or None
        Median of the gains, in electrons per data unit, that were measured on the frames, and half the range that holds
        half of them. None if headers have the gain, or if the measured gains do not agree.
    pixels : str
        'all', or a name for some pixels of a mosaic or an interpolated frame.
    frames : tuple of str
        Names of the files.

    Raises
    ------
    ValueError
        If a value is impossible for noise.

    Examples
    --------
    >>> from astropy_n2v.noise import FrameGroup, GroupNoise
    >>> group = FrameGroup.of({'INSTRUME': 'DECam', 'FILTER': 'z'})
    >>> GroupNoise(group, n_frames=12, gain=3.9, gain_scatter=0.1).group.filter
    'z'
    """

    group: FrameGroup
    autocorrelation: np.ndarray = None
    scatter: np.ndarray = None
    n_frames: int = 0
    gain: float = None
    gain_scatter: float = None
    pixels: str = 'all'
    frames: tuple = ()

    def __post_init__(self):
        if isinstance(self.n_frames, bool) or not isinstance(self.n_frames, int) or self.n_frames < 0:
            raise ValueError(f'n_frames must be a number of frames, got {self.n_frames!r}')
        for name in ('autocorrelation', 'scatter'):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _square(name, value))
        correlation = self.autocorrelation
        if correlation is not None:
            centre = correlation.shape[0] // 2
            if correlation[centre, centre] != 1 or np.abs(correlation).max() > 1 \
                    or not np.allclose(correlation, correlation[::-1, ::-1]):
                raise ValueError('autocorrelation must be symmetric and between -1 and 1, with 1 in the middle, got '
                                 f'{correlation[centre, centre]:g} there')
        if self.gain is not None and not (np.isfinite(self.gain) and self.gain > 0):
            raise ValueError(f'gain must be finite and positive, got {self.gain}')

    @classmethod
    def of(cls, group, pixels, names, correlations, gains):
        """
        Combine the measurements of several frames by their median.

        Parameters
        ----------
        group : FrameGroup
            The group.
        pixels : str
            'all', or a name for some pixels of a mosaic or an interpolated frame.
        names : list of str
            Names of their files.
        correlations : list of `~numpy.ndarray`
            Their autocorrelations.
        gains : list of float
            The gains of all frames on which one could be measured.

        Returns
        -------
        GroupNoise
            Their noise.
        """
        correlation = scatter = gain = gain_scatter = None
        if correlations:
            correlations = same_size(correlations)
            correlation = np.round(np.median(correlations, axis=0), 5)
        if len(correlations) > 1:
            scatter = np.round(0.5 * np.ptp(np.quantile(correlations, [0.16, 0.84], axis=0), axis=0), 5)
        if len(gains) >= _GAINS:
            low, middle, high = (float(value) for value in np.quantile(gains, [0.25, 0.5, 0.75]))
            if high - low < 2 * _GAIN_SCATTER * middle:
                gain, gain_scatter = middle, 0.5 * (high - low)
            else:
                log.info('%s: measured gains from %.3g to %.3g do not agree, none is used', group.text, low, high)
        return cls(group, correlation, scatter, len(correlations), gain, gain_scatter, pixels, tuple(names))

    @property
    def source(self):
        """Number of frames, for a header."""
        return f'set of {self.n_frames} frame{"s" * (self.n_frames != 1)}'

    @property
    def text(self):
        """The measured values, in one line."""
        if self.autocorrelation is None:
            return 'the autocorrelation could not be measured'
        rows, columns = _at(self.autocorrelation, _NEAR)[:2]
        doubt = '' if self.agrees else ' (not used: the frames do not agree)'
        gain = '' if self.gain is None else f', gain {self.gain:.3g} +- {self.gain_scatter:.2g}'
        return (f'autocorrelation of neighbours along rows {rows:.3f}, along columns {columns:.3f}, from a '
                f'{self.source}{doubt}{gain}')

    @property
    def agrees(self):
        """
        True if the frames have one autocorrelation; False if, for example, they were resampled differently.

        The frames disagree if their correlations at one or two pixels along an axis scatter by more than 0.05 and by
        more than four times the scatter where hardly any noise is correlated: three or four pixels along both axes.
        """
        if self.autocorrelation is None or self.scatter is None:
            return self.autocorrelation is not None
        far = _at(self.scatter, _FAR).mean()
        return bool(_at(self.scatter, _NEAR).max() <= max(_SCATTER, _FAR_SCATTER * far))

    def contradiction(self, own, error):
        """
        Compare the autocorrelations of a frame and of its group.

        Parameters
        ----------
        own : `~numpy.ndarray`
            Autocorrelation that was measured on the frame, shape (9, 9).
        error : callable
            Function that returns the standard errors of ``own``; it is called only where they matter.

        Returns
        -------
        str or None
            Where they differ by more than the error and by more than 0.08, with numbers. The nearest two neighbours
            along both axes are compared.
        """
        own, of_set = _at(own, _NEAR), _at(self.autocorrelation, _NEAR)
        difference = np.abs(own - of_set)
        if not (difference > _AGREEMENT).any():
            return None
        errors = _at(error(), _NEAR)
        excess = difference / np.maximum(_AGREEMENT, _ERRORS * errors)
        worst = int(np.argmax(excess))
        if excess[worst] <= 1:
            return None
        where = 'one pixel along rows', 'one pixel along columns', 'two pixels along rows', 'two pixels along columns'
        return (f'its autocorrelation at {where[worst]} is {own[worst]:.2f} +- {errors[worst]:.2f}, '
                f'{of_set[worst]:.2f} in its {self.source}')


def _at(array, lags):
    """Return the values at some lags."""
    return array[tuple(lags + array.shape[0] // 2)]


def same_size(correlations):
    """Pad autocorrelations to the largest number of lags among them; smoothed noise has more lags."""
    largest = max(correlation.shape[0] for correlation in correlations)
    return [np.pad(correlation, (largest - correlation.shape[0]) // 2) for correlation in correlations]


def _square(name, value):
    try:
        value = np.array(value, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f'{name} must be an array of numbers, got {value!r:.60}') from None
    if value.ndim != 2 or value.shape[0] != value.shape[1] or value.shape[0] % 2 == 0 or value.shape[0] < 9 \
            or not np.isfinite(value).all():
        raise ValueError(f'{name} must be a finite, square array with an odd number of lags, 9 or more, got shape '
                         f'{value.shape}')
    return value


@dataclass(frozen=True, eq=False)
class SetNoise:
    """
    The noise of a set of frames, group by group, which `~astropy_n2v.denoise` takes as ``noise``.

    All frames of a group get one autocorrelation of the noise, and one gain where no header has it. The level of the
    noise is measured on each frame. `~astropy_n2v.estimate_set_noise` creates it.

    Parameters
    ----------
    groups : list of GroupNoise
        The groups.
    name : str, optional
        The file from which it was read, for messages.

    Raises
    ------
    ValueError
        If a group occurs twice.

    See Also
    --------
    astropy_n2v.estimate_set_noise : Measure it.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.noise import FrameGroup, GroupNoise, SetNoise
    >>> white = np.zeros((9, 9))
    >>> white[4, 4] = 1
    >>> noise = SetNoise([GroupNoise(FrameGroup('CAM', filter='r'), white, n_frames=12)])
    >>> noise.for_frame({'INSTRUME': 'CAM', 'FILTER': 'r'}).source
    'set of 12 frames'
    >>> noise.for_frame({'INSTRUME': 'CAM', 'FILTER': 'g'}) is None
    True
    """

    groups: list = field(default_factory=list)
    name: str = ''

    def __post_init__(self):
        known = {}
        for group in self.groups:
            if known.setdefault((group.group, group.pixels), group) is not group:
                raise ValueError(f'groups must differ, got {group.group.text} twice')
        object.__setattr__(self, '_known', known)

    def for_frame(self, header, unit=None, shape=(), pixels='all'):
        """
        Look up the noise of the group of a frame.

        Parameters
        ----------
        header : mapping
            FITS header or dictionary.
        unit, shape : optional
            See `FrameGroup.of`.
        pixels : str, optional
            Name of the pixels, see `GroupNoise`.

        Returns
        -------
        GroupNoise or None
            None if the set has no such group.
        """
        return self._known.get((FrameGroup.of(header, unit, shape), pixels))

    def write(self, path, *, overwrite=False):
        """
        Write a file, as text (JSON).

        Parameters
        ----------
        path : str or path-like
            The file. It appears when it is complete.
        overwrite : bool, optional
            If true, replace an existing file.

        Raises
        ------
        OSError
            If the file exists, or cannot be written.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> from astropy_n2v.noise import SetNoise
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     SetNoise([]).write(Path(directory) / 'noise.json')
        ...     SetNoise.read(Path(directory) / 'noise.json').groups
        []
        """
        from ..version import __version__
        date = datetime.datetime.now(datetime.UTC).strftime('%Y-%m-%dT%H:%M:%S')
        content = {'format': _FORMAT, 'version': _VERSION, 'written_by': f'astropy_n2v {__version__}', 'date': date,
                   'groups': [_as_json(group) for group in self.groups]}
        text = json.dumps(content, indent=1).replace('\n     ', ' ').replace('\n    ]', ']')
        with atomic_write(path, overwrite=overwrite) as temporary:
            with open(temporary, 'w', encoding='utf-8') as file:
                file.write(text + '\n')

    @classmethod
    def read(cls, path):
        """
        Read a file that `write` created.

        Parameters
        ----------
        path : str or path-like
            The file.

        Returns
        -------
        SetNoise
            The noise.

        Raises
        ------
        OSError
            If the file cannot be read.
        ValueError
            If the file is damaged, or was written by a newer version of this package or by other software.
        """
        name = os.fspath(path)
        with open(path, encoding='utf-8') as file:
            try:
                content = json.load(file)
            except (ValueError, RecursionError) as error:
                raise ValueError(f'{name} is no file of the noise of a set (JSON), or it is truncated: '
                                 f'{error}') from error
        if not isinstance(content, dict) or content.get('format') != _FORMAT:
            raise ValueError(f'{name} is no file of the noise of a set: it was not written by estimate_set_noise() or '
                             'astropy-n2v noise')
        if content.get('version') != _VERSION:
            raise ValueError(f'{name} has format version {content.get("version")!r}, this version of astropy_n2v reads '
                             f'{_VERSION}')
        try:
            return cls([_from_json(entry) for entry in content['groups']], os.path.basename(name))
        except (KeyError, TypeError, ValueError) as error:
            reason = f'{error} is missing' if isinstance(error, KeyError) else error
            raise ValueError(f'{name} is damaged: {reason}') from error


def _as_json(noise):
    entry = {**noise.group._asdict(), **asdict(noise)}
    del entry['group']
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in entry.items()}


def _from_json(entry):
    entry = dict(entry)
    group = {name: entry.pop(name) for name in FrameGroup._fields}
    if not all(isinstance(text, str) for text in group.values()):
        raise ValueError(f'a group must be described by strings, got {group}')
    gain = entry['gain']
    if gain is not None and (isinstance(gain, bool) or not isinstance(gain, (int, float))):
        raise ValueError(f'gain must be a number, got {gain!r}')
    return GroupNoise(FrameGroup(**group), **{**entry, 'frames': tuple(entry['frames'])})
