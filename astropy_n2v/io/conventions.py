# Licensed under a 3-clause BSD style license - see LICENSE
"""
Conventions for the extensions of FITS files: the names of images, uncertainties and masks.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from astropy.io.fits import VerifyError

__all__ = []

KINDS = ('std', 'var', 'ivar')   # of uncertainties
MASKS = ('bad', 'good')          # what is not zero is bad, or good

_BACKGROUND = 'BKGRMS BACKGROUNDRMS SKYRMS SKYSIGMA'
# One line for each convention: role, names (words written together), and who writes them. Of several extensions that
# fit an image, the one that comes first here is taken. To support a new observatory, add a line.
CONVENTIONS = (
    ('science', 'SCI SCIENCE SCIIMG', 'HST, JWST, Gemini, DES, Euclid, LCO, PypeIt'),
    ('science', 'DATA', 'MUSE, KMOS and other ESO instruments, Roman'),
    ('science', 'FLUX', 'X-shooter, MaNGA, SOFIA'),
    ('science', 'IMAGE IMG', 'LSST, HSC, DESI, Herschel'),
    ('science', 'CAL', 'TESS'),
    ('science', 'INT INTENSITY', 'WISE, GALEX, CRIRES'),
    ('science', 'SIGNAL STOKES', 'Herschel, SOFIA'),
    ('science', 'INPUT', 'GALFIT'),
    ('science', 'COUNTS', 'gamma-ray and X-ray maps'),
    ('science', 'COADD MOSAIC STACK CUBE DATACUBE', 'many'),
    ('std', 'UNCERT', 'CCDData, ccdproc, KCWI, TESS, this package'),
    ('std', 'ERR ERROR ERRS ERRORS', 'HST, JWST, Roman, LCO, X-shooter, CALIFA, corgidrp'),
    ('std', 'STDDEV STDEV STD STDERR SD', 'Herschel, FIFI-LS'),
    ('std', 'SIGMA SIG SIGMAMAP', 'many'),
    ('std', 'UNC UNCERTAINTY UNCERTAINTIES', 'WISE, Spitzer'),
    ('std', 'RMS RMSMAP', 'Euclid, drizzled mosaics'),
    ('std', 'ERRMAP ERRORMAP NOISEMAP SIGMAIMAGE', 'many'),
    ('var', 'VAR VARIANCE VARIANCES VARMAP', 'Gemini, LSST, Starlink, SAMI'),
    ('var', 'STAT', 'MUSE and other instruments of the ESO HDRL'),
    ('var', 'SIGMASQ SIGMASQUARED', 'many'),
    ('ivar', 'IVAR INVVAR INVERSEVARIANCE INVVARIANCE', 'MaNGA, DESI, Legacy Surveys'),
    ('ivar', 'IVARMODEL IVARRAW', 'PypeIt'),
    ('ivar', 'WGT', 'DES'),
    ('std', 'NOISE', 'KMOS, this package'),
    ('std', _BACKGROUND, 'photutils, SExtractor: noise of the background alone'),
    ('bad', 'DQ DATAQUALITY DQF DQI DQMASK DQMAP', 'HST, JWST, Gemini, MUSE'),
    ('bad', 'MASK MSK', 'CCDData, LSST, DES, KCWI, MaNGA, DESI, WISE'),
    ('bad', 'BPM BPMASK BPMMASK BADPIXELMASK BADPIXMASK', 'LCO, PypeIt'),
    ('bad', 'BADPIX BADPIXEL BADPIXELS BADPIXMAP BADPIXELMAP BADMASK', 'CALIFA'),
    ('bad', 'QUAL QUALITY QUALITYMASK QUALMASK QF', 'X-shooter, Starlink'),
    ('bad', 'FLG FLAG FLAGS FLAGMAP PIXMASK PIXELMASK', 'Euclid, Herschel, KCWI'),
    ('bad', 'PIXELDQ GROUPDQ', 'JWST ramps'),
    ('good', 'GOODPIX GOODPIXELS GOODPIXEL GOODMASK GOOD GPM VALID VALIDMASK VALIDITY', 'PypeIt and others'),
    ('other', 'SAMP NSAMP TIME EXP EXPMAP EXPOSURE EXPTIME WHT WEIGHT WEIGHTS WEIGHTMAP CTX CON CONTEXT HDRLET AREA',
     'HST, JWST: drizzled weights are no inverse variances'),
    ('other', 'WCSDVARR', 'distortion tables'),
    ('other', 'PSF PSFIMAGE GPSF RPSF KERNEL APERTURE SEGM SEG SEGMAP SEGMENTATION CHISQ', 'CCDData and others'),
    ('other', 'OBJMASK OBJECTMASK SOURCEMASK STARMASK SKYMASK CLEANMASK', 'masks of what is there, not of what is bad'),
    ('other', 'COVERAGE COV CVG COVAR CONF CONFIDENCE HITS NHIT NCOMB NIMG FIBCOVER', 'Herschel, WISE, CASU, SAMI'),
    ('other', 'MODEL RESIDUAL RESIDUALS RESID COMPONENT', 'GALFIT'),
    ('other', 'SNR SN STON SIGNIFICANCE BKG BACKGROUND', 'photutils and others'),
    ('other', 'READNOISE ERRWEIGHT DISP PREDISP WAVE WAVELENGTH LAMBDA WAVEIMG SKYMODEL', 'DESI, CALIFA, MaNGA'),
    ('other', 'BLIND SPREAD INNOVATION OUTLIER', 'this package'),
)

# Names of detectors, chips, amplifiers, channels and quadrants, besides numbers and single letters.
_DETECTORS = set(
    'CCD CCDID CCDNUM CHIP LBCCHIP AMP AMPLIFIER DET DETECTOR IM EXT EXTENSION PRIMARY SCA WFI OTA XY SEGMENT CHAN '
    'CHANNEL QUAD QUADRANT WIN WINDOW ESO VIDINP TILE ARRAY CAM CAMERA CELL SENSOR RAFT FPA HDU MOD MODULE OUT NRCA '
    'NRCB NRCALONG NRCBLONG NRS NIS MIRIMAGE UVIS WFC WF PC IFU ARM BLUE RED UVB VIS NIR NUV FUV SW LW FRAME TL TR BL '
    'BR UL UR LL LR FN FS'.split())
_BAND = re.compile(r'[UGRIZYBVJHK]|KS|F\d{3,4}[A-Z]{1,2}')
# Words that do not say to which image an uncertainty or a mask belongs.
_FILLERS = {'MAP', 'PLANE', 'PIX', 'PIXEL', 'PIXELS', 'THE', 'OF'}
# Names that astropy gives to HDUs that have none.
_UNNAMED = {'', 'PRIMARY', 'COMPRESSEDIMAGE'}

# The meaning that cards other than EXTNAME give an HDU. HDUCLASn: ESO (data products) and OGIP (X-ray astronomy);
# HDUCLAS3 says which kind of error it is. PRODTYPE: pipelines of NOAO, with images, masks and weights in files of their
# own. UTYPE: astropy.
_HDUCLAS2 = {'DATA': 'science', 'TOTAL': 'science', 'NET': 'science', 'ERROR': 'std', 'QUALITY': 'bad',
             'BKG': 'other', 'PREDICTED': 'other', 'EXPOSURE': 'other', 'VIGNET': 'other'}
_HDUCLAS3 = {'MSE': 'var', 'RMSE': 'std', 'INVMSE': 'ivar', 'INVRMSE': 'other'}
_PRODTYPE = {'DQMASK': 'bad', 'WTMAP': 'ivar', 'WEIGHT': 'ivar', 'EXPMAP': 'other'}
_UTYPE = {'STDDEVUNCERTAINTY': 'std', 'VARIANCEUNCERTAINTY': 'var', 'INVERSEVARIANCE': 'ivar'}

_ROLES, _RANKS = {}, {}
for _role, _names, _ in CONVENTIONS:
    for _name in _names.split():
        _ROLES[_name] = _role
        _RANKS[_name] = len(_RANKS)


class Meaning(NamedTuple):
    """
    The meaning of an HDU by its name or its cards.

    Parameters
    ----------
    role : str or None
        'science', 'std', 'var', 'ivar', 'bad', 'good', 'other', 'detector' or 'unnamed'; None if it is not known.
    group : tuple of str
        Other words of the name: extensions that belong together have them in common.
    rank : int
        Its place in the table: the lower one takes precedence.
    """

    role: str
    group: tuple = ()
    rank: int = 10 ** 6


@lru_cache(maxsize=1024)
def meaning_of_name(name):
    """
    Look up the name of an extension.

    Parameters
    ----------
    name : str
        EXTNAME.

    Returns
    -------
    Meaning
        Its role, and to which group of extensions it belongs.

    Examples
    --------
    >>> from astropy_n2v.io.conventions import meaning_of_name
    >>> meaning_of_name('CAMERA.CCD 1.2 uncert')[:2]
    ('std', ('CAMERA', 'CCD', '1', '2'))
    >>> meaning_of_name('VAR_POISSON')[:2], meaning_of_name('GIMG').role
    (('var', ('POISSON',)), None)
    """
    words = _words(name)
    if ''.join(words) in _UNNAMED:
        return Meaning('unnamed')
    found, rest = _find_known(words)
    if found is None:
        return Meaning('detector' if _is_detector(words) else None, words)
    role = _ROLES[found]
    alike = [kind for kinds in (KINDS, MASKS) for kind in kinds if role in kinds]
    rest = tuple(word for word in rest if _ROLES.get(word) not in ('science', *alike) and word not in _FILLERS)
    if role == 'science' and not all(_is_neutral(word) for word in rest):
        return Meaning(None, words)
    return Meaning(role, rest, _RANKS[found])


def _words(name):
    """Split a name into words and numbers; FLUXERR and ERRIMG become ERR."""
    return tuple(map(_plain, re.findall(r'[A-Z]+|\d+', name.upper())))


def _plain(word):
    if word in _ROLES:
        return word
    stem = re.sub('(IMG|IMAGE|MAP|PLANE)$', '', word)
    if stem in _ROLES:
        return stem
    endings = [word[len(name):] for name, role in _ROLES.items() if role == 'science' and word.startswith(name)]
    return next((ending for ending in endings if _ROLES.get(ending) in (*KINDS, *MASKS)), word)


def is_background_noise(name):
    """Check if an uncertainty is by its name the noise of the background, and not of sources."""
    return _find_known(_words(name))[0] in _BACKGROUND.split()


def _find_known(words):
    """Find the longest run of words that is in the table, and the words around it."""
    for length in range(len(words), 0, -1):
        runs = [(''.join(words[i:i + length]), words[:i] + words[i + length:]) for i in range(len(words) - length + 1)]
        runs = [run for run in runs if run[0] in _ROLES]
        if runs:
            # FLUX_ERR is an error, MODEL_IMAGE a model, and an error of the model is neither of an image.
            order = {**dict.fromkeys((*KINDS, *MASKS), 0), 'other': 1, 'science': 2}
            return min(runs, key=lambda run: order[_ROLES[run[0]]])
    return None, words


def _is_neutral(word):
    return word.isdigit() or len(word) == 1 or word in _DETECTORS or _BAND.fullmatch(word) is not None


def _is_detector(words):
    if _BAND.fullmatch(''.join(words)):
        return True
    letters = [word for word in words if not word.isdigit()]
    named = any(word in _DETECTORS for word in words)
    return all(map(_is_neutral, words)) and (named or len(letters) <= 1 and len(words) > len(letters))


def meaning_of(hdu, primary=None):
    """
    Find the meaning of an HDU from its cards and its name.

    Parameters
    ----------
    hdu : HDU
        The HDU.
    primary : `~astropy.io.fits.Header`, optional
        Primary header of its file.

    Returns
    -------
    Meaning
        Its role, and to which group of extensions it belongs.
    """
    named = meaning_of_name(hdu.name)
    role = role_of_cards(hdu.header, primary)
    if role is None or role == 'science' and named.role in (*KINDS, *MASKS, 'other'):
        return named
    rank = named.rank if named.role == role else 10 ** 5
    return named._replace(role=role, rank=rank)


def role_of_cards(header, primary=None):
    """
    Find the role that cards other than EXTNAME give to an HDU.

    Parameters
    ----------
    header : `~astropy.io.fits.Header`
        Header of the HDU.
    primary : `~astropy.io.fits.Header`, optional
        Primary header of its file.

    Returns
    -------
    str or None
        None if they say nothing.
    """
    role = _HDUCLAS2.get(card_text(header, 'HDUCLAS2'))
    if role == 'std':
        role = _HDUCLAS3.get(card_text(header, 'HDUCLAS3'), role)
    role = role or _UTYPE.get(card_text(header, 'UTYPE'))
    for cards in (header, primary):
        role = role or (cards is not None and _PRODTYPE.get(card_text(cards, 'PRODTYPE'))) or None
    return role or _ROLES.get(card_text(header, 'EXTTYPE'))


def card_text(header, keyword):
    """
    Read a card as text in capitals.

    Parameters
    ----------
    header : `~astropy.io.fits.Header`
        The header.
    keyword : str
        Its keyword.

    Returns
    -------
    str
        Empty if the card is missing or cannot be parsed.
    """
    try:
        return str(header.get(keyword, '')).strip().upper()
    except VerifyError:
        return ''
