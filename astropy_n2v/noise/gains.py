# Licensed under a 3-clause BSD style license - see LICENSE
"""
The gain of a header, checked against the image.
"""

import logging
import math
import re

import numpy as np

from ..config import conf
from ..io.headers import header_value
from ..utils.warn import warn_user

__all__ = ['doubt_gain', 'header_gain', 'is_setting']

log = logging.getLogger(__name__)

# Cameras whose GAIN is a setting, in 0.1 dB or in the maker's steps, and the cards that name them.
_SETTERS = re.compile(r'\b(ZWO|ASI ?\d{2,4}|ASIAIR|QHY|Seestar|ToupTek|ATR\d{2}|Player ?One|SVBONY|Altair|DWARF)', re.I)
_NAMES = 'INSTRUME', 'CREATOR', 'SWCREATE', 'CAMERA', 'TELESCOP'
# Integer GAIN in electrons per adu beyond which the card is a setting: cameras with one electron per step have a
# smaller one.
_LARGE_INTEGER = 25
# Noise in electrons: the least of a detector that does not count (qCMOS: 0.27), the largest of a full well (1e6).
_LEAST, _MOST = 0.1, 1000.0
# Largest plausible read noise in electrons: in general, for an integer GAIN, and for values that a driver has
# multiplied to fill 16 bits. CCDs have 2 to 20, raw infrared frames up to 50.
_READNOISE, _READNOISE_INTEGER, _READNOISE_PADDED = 50.0, 30.0, 15.0
# Pixel response of a raw frame: its fixed-pattern noise as a fraction of the signal.
_PIXEL_RESPONSE = 0.01
# Electrons that 65535 adu may correspond to: from EMCCDs to deep wells.
_FULL_WELL = 200.0, 4e6
# Largest factor between the gain of a header and a measured one, and standard errors of the latter.
_FACTOR, _ERRORS = 3.0, 10.0
# Steps of values of 14 to 10 bits that fill 16 bits.
_PADDED = 4, 8, 16, 32, 64


def is_setting(header, name):
    """
    Recognise a GAIN card that holds the setting of a camera, not electrons per adu.

    Parameters
    ----------
    header : mapping
        FITS header or dictionary.
    name : str
        Keyword of the gain.

    Returns
    -------
    bool
        True for a ``GAIN`` without decimals beside an ``EGAIN`` or an ``OFFSET``, of a camera known for it, or
        larger than 25.

    Examples
    --------
    >>> from astropy_n2v.noise import is_setting
    >>> is_setting({'GAIN': 100}, 'GAIN'), is_setting({'GAIN': 1.9}, 'GAIN')
    (True, False)
    """
    value = header_value(header, [name])[1]
    if name != 'GAIN' or value is None or value != round(value):
        return False
    makers = ' '.join(str(header[key]) for key in _NAMES if key in header)
    return value > _LARGE_INTEGER or 'EGAIN' in header or 'OFFSET' in header or bool(_SETTERS.search(makers))


def doubt_gain(sky, gain, *, readnoise=None, most=_READNOISE, exposures=1):
    """
    Give the reason why an image contradicts a gain.

    Parameters
    ----------
    sky : SkyNoise
        The noise that was measured on the image.
    gain : float
        Electrons per data unit.
    readnoise : float, optional
        Read noise in electrons that a header states.
    most : float, optional
        Read noise in electrons of an exposure beyond which the gain is doubted.
    exposures : float, optional
        Number of exposures of which the data are the average.

    Returns
    -------
    str or None
        None if the image does not contradict it.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.noise import doubt_gain, measure_sky
    >>> sky = measure_sky(np.random.default_rng(0).poisson(200, (128, 128)) / 0.25)
    >>> doubt_gain(sky, 0.25) is None
    True
    >>> doubt_gain(sky, 100.0)
    'the noise of the sky would be 5.7e+03 electrons, more than a full well has'
    """
    if not sky.allows(gain):
        return 'bright parts of the image have less noise than their photons would have'
    electrons = sky.deviation * gain
    stated = readnoise is not None and 0.5 < electrons / readnoise < 2
    if electrons < _LEAST and not stated:
        return f'the noise of the sky would be {electrons:.2g} electrons, less than any detector has'
    if electrons > _MOST * math.sqrt(exposures):
        return f'the noise of the sky would be {electrons:.2g} electrons, more than a full well has'
    photons = sky.background * gain
    # The photons of a sky that was subtracted are not known.
    if sky.background > 10 * sky.deviation:
        rest = electrons ** 2 - photons - (_PIXEL_RESPONSE * photons) ** 2
        most = max(most, 0 if readnoise is None else 2 * readnoise) * math.sqrt(exposures)
        if rest > most ** 2:
            return (f'the noise of the sky would be {electrons:.3g} electrons, of which photons explain '
                    f'{math.sqrt(photons):.3g} and no read-out the rest')
    slope, error = sky.slope()
    if slope > _ERRORS * error and gain * slope > _FACTOR:
        return f'the noise of bright parts of the image implies a gain of {1 / slope:.3g}'
    return None


def _doubt_header(sky, name, gain, readnoise, exposures):
    """Return the reason not to use the gain of a header, or None; raw integers must satisfy more conditions."""
    whole = sky.steps is not None and sky.steps.uniform and sky.steps.step == round(sky.steps.step)
    if whole and not _FULL_WELL[0] < 65535 * gain < _FULL_WELL[1] * exposures:
        return f'a converter of 16 bits would hold {65535 * gain:.2g} electrons'
    most = _READNOISE
    if name == 'GAIN' and gain == round(gain):
        most = _READNOISE_INTEGER
    if whole and sky.steps.step in _PADDED:
        most = _READNOISE_PADDED
    return doubt_gain(sky, gain, readnoise=readnoise, most=most, exposures=exposures)


def header_gain(sky, header):
    """
    Find the gain and the read noise of a header, and check them against the image.

    The gain of an average of n exposures is n times the gain of one of them, since a data unit corresponds
    to n times as many electrons; the read noises add in quadrature. Where values of 12 bits fill 16, the
    gain may apply to the value before it was multiplied.

    Parameters
    ----------
    sky : SkyNoise or None
        The noise that was measured on the image; None for no check.
    header : mapping
        FITS header or dictionary.

    Returns
    -------
    name : str or None
        The cards that were used; None if none is used, with a warning.
    gain, readnoise : float or None
        In electrons per data unit, and in electrons.

    Examples
    --------
    >>> from astropy_n2v.noise import header_gain
    >>> header_gain(None, {'GAIN': 2.0, 'NCOMBINE': 4, 'RDNOISE': 5.0})
    ('GAIN x NCOMBINE', 8.0, 10.0)
    """
    keywords = list(conf.gain_keywords)
    name, gain = header_value(header, keywords)
    if name is not None and is_setting(header, name):
        setting = f'{name} = {gain:g}'
        name, gain = header_value(header, [keyword for keyword in keywords if keyword != name])
        if name is None:
            _warn_unused(sky, setting, 'it is a setting of the camera, not electrons per adu')
    if name is None:
        return None, None, None
    readnoise = header_value(header, conf.readnoise_keywords)[1]
    label, combined, readnoise, exposures = _of_average(sky, header, name, gain, readnoise)
    reason = None if sky is None else _doubt_header(sky, name, combined, readnoise, exposures)
    if reason is None:
        return label, combined, readnoise
    step = sky.steps.step if sky.steps is not None and sky.steps.uniform else 0
    if step in _PADDED and _doubt_header(sky, name, combined / step, readnoise, exposures) is None:
        log.info('the gain of the header (%s = %g) is divided by %g, the step between the values', name, gain, step)
        return f'{label} / {step:g}', combined / step, readnoise
    _warn_unused(sky, f'{name} = {gain:g}', reason)
    return None, None, None


def _warn_unused(sky, card, reason):
    slope = 0.0 if sky is None else sky.measured_slope()
    instead = f'A gain of {1 / slope:.3g} is measured' if slope else \
        'The image does not show how its noise grows with the signal, and bright sources are noisier than assumed'
    warn_user(f'the gain of the header ({card}) is not used: {reason}. {instead}; give gain if you know it')


def _of_average(sky, header, name, gain, readnoise):
    """Return name, gain and read noise of an average of exposures that the header counts, and their number."""
    counter, n = header_value(header, conf.ncombine_keywords)
    if counter is None or n <= 1:
        return name, gain, readnoise, 1
    slope = 0.0 if sky is None else float(sky.slope()[0])
    if slope and abs(math.log(1 / slope / gain)) < abs(math.log(1 / slope / (gain * n))):
        warn_user(f'{counter} = {n:g} of the header is not used: the noise of bright parts calls for a gain of '
                  f'{1 / slope:.3g}, nearer to {name} = {gain:g} than to {n:g} times as much. The exposures may '
                  f'have been added, or {name} may already be the gain of their average')
        return name, gain, readnoise, 1
    readnoise = None if readnoise is None else readnoise * np.sqrt(n)
    return f'{name} x {counter}', gain * n, None if readnoise is None else float(readnoise), n
