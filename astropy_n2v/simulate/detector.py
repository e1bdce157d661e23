# Licensed under a 3-clause BSD style license - see LICENSE
"""
Effects of a detector on a scene: photon noise, read noise, defects.
"""

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData
from scipy.ndimage import gaussian_filter

__all__ = ['DEFECTS', 'add_bleed_trails', 'add_cosmic_rays', 'make_flat', 'observe']

#: The defects of a frame that `observe` can flag in its mask.
DEFECTS = ('cosmic_rays', 'hot_pixels', 'bad_columns', 'saturated')


def add_cosmic_rays(image, n, *, amplitude=1000.0, seed=None):
    """
    Add cosmic-ray hits: short, straight tracks without a point-spread function.

    Parameters
    ----------
    image : `~numpy.ndarray`
        Image of shape (ny, nx); it is not modified.
    n : int
        Number of hits.
    amplitude : float, optional
        Median charge of a hit, in the unit of the image; hits scatter log-normally by a
        factor of three around it.
    seed : int or `~numpy.random.Generator`, optional
        Seed of positions, directions and charges.

    Returns
    -------
    image : `~numpy.ndarray`
        Image with hits, float64.
    mask : `~numpy.ndarray`
        Boolean, True where a hit left charge.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.simulate import add_cosmic_rays
    >>> image, mask = add_cosmic_rays(np.zeros((32, 32)), 3, seed=0)
    >>> bool((image[mask] > 0).all())
    True
    """
    rng = np.random.default_rng(seed)
    hits = np.zeros(image.shape)
    for _ in range(n):
        length = rng.exponential(4) + 0.1
        angle = rng.uniform(0, np.pi)
        steps = np.linspace(0, 1, int(4 * length) + 1)
        y = np.floor(rng.uniform(0, image.shape[0]) + steps * length * np.sin(angle)).astype(int)
        x = np.floor(rng.uniform(0, image.shape[1]) + steps * length * np.cos(angle)).astype(int)
        inside = (y >= 0) & (y < image.shape[0]) & (x >= 0) & (x < image.shape[1])
        np.add.at(hits, (y[inside], x[inside]), amplitude * rng.lognormal(0, np.log(3)) / len(steps))
    return image + hits, hits > 0


def add_bleed_trails(image, full_well):
    """
    Let charge beyond the full well spill along the columns.

    Half of the excess charge of a pixel moves up and half down, to the next pixels that are not full. Charge
    that reaches an edge is lost.

    Parameters
    ----------
    image : `~numpy.ndarray`
        Electrons, shape (ny, nx); it is not modified.
    full_well : float
        Electrons that a pixel can hold.

    Returns
    -------
    image : `~numpy.ndarray`
        Image with trails, float64, nowhere above ``full_well``.
    mask : `~numpy.ndarray`
        Boolean, True where pixels are full or hold charge of other pixels.

    Raises
    ------
    ValueError
        If ``full_well`` is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.simulate import add_bleed_trails
    >>> image, mask = add_bleed_trails(np.array([[0.0], [0.0], [250.0], [0.0], [0.0]]), 100)
    >>> image.ravel().tolist()
    [0.0, 75.0, 100.0, 75.0, 0.0]
    """
    if not full_well > 0:
        raise ValueError(f'full_well must be positive, got {full_well}')
    image = np.asarray(image, dtype=float)
    result = np.minimum(image, full_well)
    columns = np.flatnonzero((image > full_well).any(axis=0))
    if columns.size:
        wells = result[:, columns]
        half = (image[:, columns] - wells) / 2
        for rows in (range(len(image)), range(len(image) - 1, -1, -1)):
            carried = np.zeros(columns.size)
            for y in rows:
                stays = np.minimum(full_well - wells[y], carried)
                wells[y] += stays
                carried += half[y] - stays
        result[:, columns] = np.minimum(wells, full_well)
    return result, (result >= full_well) | (result > np.minimum(image, full_well))


def make_flat(shape, *, error=0.005, vignetting=0.0, smooth=0.0, seed=None):
    """
    Make the residual of a flat field after an imperfect correction.

    Parameters
    ----------
    shape : tuple of int
        Height and width in pixels.
    error : float, optional
        Standard deviation of the relative response of single pixels.
    vignetting : float, optional
        Relative loss of light in the corners.
    smooth : float, optional
        Standard deviation of a smooth error of the relative response.
    seed : int or `~numpy.random.Generator`, optional
        Seed of the responses.

    Returns
    -------
    `~numpy.ndarray`
        Relative response of shape ``shape``, around 1 and not negative.

    Raises
    ------
    ValueError
        If one of the errors is negative.

    Examples
    --------
    >>> from astropy_n2v.simulate import make_flat
    >>> flat = make_flat((128, 128), error=0.01, seed=0)
    >>> round(float(flat.std()), 3)
    0.01
    """
    for name, value in (('error', error), ('vignetting', vignetting), ('smooth', smooth)):
        if not value >= 0:
            raise ValueError(f'{name} must not be negative, got {value}')
    rng = np.random.default_rng(seed)
    flat = 1 + error * rng.standard_normal(shape)
    if smooth:
        field = gaussian_filter(rng.standard_normal(shape), max(shape) / 8, mode='wrap')
        flat += smooth * (field - field.mean()) / max(field.std(), np.finfo(float).tiny)
    if vignetting:
        y, x = (np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape)
        flat *= 1 - vignetting * (y[:, None] ** 2 + x ** 2) / 2
    return np.maximum(flat, 0)


def observe(truth, *, gain=1.0, readnoise=0.0, bias=0.0, flat=None, cosmic_rays=0, hot_pixels=0, bad_columns=0,
            satlevel=None, bleed=False, quantize=False, flagged=(), seed=None):
    """
    Observe a scene: Poisson noise of its electrons, read noise, and defects of the detector.

    Parameters
    ----------
    truth : array_like
        Expected number of electrons in each pixel, shape (ny, nx), not negative.
    gain : float, optional
        Electrons per adu.
    readnoise : float, optional
        Read noise in electrons (Gaussian).
    bias : float, optional
        Pedestal in adu.
    flat : array_like, optional
        Relative response of the pixels that remains after calibration: see `make_flat`.
    cosmic_rays : int, optional
        Number of cosmic-ray hits.
    hot_pixels : int, optional
        Number of pixels with additional charge.
    bad_columns : int, optional
        Number of columns, or parts of one, that are dead, weak or bright.
    satlevel : float, optional
        Level in adu at which pixels saturate, bias included.
    bleed : bool, optional
        If true, charge above the saturation level runs along the columns.
    quantize : bool, optional
        If true, adu are rounded to integers.
    flagged : str or sequence of str, optional
        Defects that are flagged in the mask of the frame: of `DEFECTS`, or 'all'. The others are
        in the data only.
    seed : int or `~numpy.random.Generator`, optional
        Seed of the noise.

    Returns
    -------
    `~astropy.nddata.CCDData`
        The noisy frame, float32, in adu, or in electrons if ``gain`` is 1 and ``bias`` 0;
        header cards GAIN and RDNOISE hold the values used. The mask is `None` without defects to
        flag.

    Raises
    ------
    ValueError
        If ``truth`` is negative or not finite somewhere, ``flat`` of another shape, ``gain`` is not
        positive, ``readnoise`` is negative, ``bleed`` is set without ``satlevel``, or ``flagged``
        has unknown names.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.simulate import observe
    >>> ccd = observe(np.full((32, 32), 100.0), gain=2.0, readnoise=3.0, bias=500, seed=0)
    >>> ccd.unit
    Unit("adu")
    >>> spoiled = observe(np.full((32, 32), 100.0), bad_columns=1, flagged='bad_columns', seed=0)
    >>> bool(spoiled.mask.any())
    True
    """
    flagged = check_flagged(flagged)
    data, masks = expose(truth, gain=gain, readnoise=readnoise, bias=bias, flat=flat, cosmic_rays=cosmic_rays,
                         hot_pixels=hot_pixels, bad_columns=bad_columns, satlevel=satlevel, bleed=bleed,
                         quantize=quantize, seed=seed)
    unit = u.electron if gain == 1 and bias == 0 else u.adu
    ccd = CCDData(data.astype(np.float32), unit=unit, header=fits.Header())
    if flagged:
        ccd.mask = combine_masks(masks, flagged, data.shape)
    ccd.header['GAIN'] = (float(gain), '[electron/adu] gain')
    ccd.header['RDNOISE'] = (float(readnoise), '[electron] read noise')
    return ccd


def expose(truth, *, gain=1.0, readnoise=0.0, bias=0.0, flat=None, cosmic_rays=0, hot_pixels=0, bad_columns=0,
           satlevel=None, bleed=False, quantize=False, seed=None):
    """Return data of `observe`, float64, and the masks of all defects by name."""
    truth = np.asarray(truth, dtype=float)
    if not gain > 0:
        raise ValueError(f'gain must be positive, got {gain}')
    if not readnoise >= 0:
        raise ValueError(f'readnoise must not be negative, got {readnoise}')
    if not (np.isfinite(truth).all() and truth.size and truth.min() >= 0):
        raise ValueError('truth must be finite and not negative, got '
                         + (f'values from {truth.min()} to {truth.max()}' if truth.size else 'no pixel'))
    if np.shape(flat) not in ((), truth.shape):
        raise ValueError(f'flat must have the shape of truth, {truth.shape}, got {np.shape(flat)}')
    if bleed and satlevel is None:
        raise ValueError('bleed needs satlevel, the level at which pixels saturate, got None')
    rng = np.random.default_rng(seed)
    masks = {}
    electrons = rng.poisson(truth if flat is None else truth * flat)
    if bleed:
        electrons, masks['saturated'] = add_bleed_trails(electrons, (satlevel - bias) * gain)
    electrons = electrons + rng.normal(0, 1, truth.shape) * readnoise
    sigma = np.sqrt(np.median(truth) + readnoise ** 2)
    if cosmic_rays:
        electrons, masks['cosmic_rays'] = add_cosmic_rays(electrons, cosmic_rays, amplitude=100 * sigma, seed=rng)
    if hot_pixels:
        y, x = rng.integers(0, truth.shape[0], hot_pixels), rng.integers(0, truth.shape[1], hot_pixels)
        electrons[y, x] += sigma * 10 ** rng.uniform(1, 3, hot_pixels)
        masks['hot_pixels'] = np.zeros(truth.shape, dtype=bool)
        masks['hot_pixels'][y, x] = True
    if bad_columns:
        masks['bad_columns'] = _spoil_columns(electrons, bad_columns, sigma, rng)
    data = electrons / gain + bias
    if satlevel is not None:
        full = data >= satlevel
        masks['saturated'] = full | masks.get('saturated', False)
        data = np.minimum(data, satlevel)
    return np.rint(data) if quantize else data, masks


def combine_masks(masks, names, shape):
    """Return where one of some named masks is set; missing masks are empty."""
    combined = np.zeros(shape, dtype=bool)
    for name in names:
        combined |= masks.get(name, False)
    return combined


def check_flagged(flagged):
    """Return the names of the defects to flag; raise an error for unknown ones."""
    names = DEFECTS if flagged == 'all' else (flagged,) if isinstance(flagged, str) else tuple(flagged)
    for name in names:
        if name not in DEFECTS:
            raise ValueError(f"flagged must be 'all' or some of {', '.join(map(repr, DEFECTS))}, got {name!r}")
    return names


def _spoil_columns(electrons, n, sigma, rng):
    """Spoil columns, in place: dead, weak or bright, whole or from a row to the end; return where they are."""
    mask = np.zeros(electrons.shape, dtype=bool)
    height, width = electrons.shape
    for x in rng.integers(0, width, n):
        start = 0 if rng.uniform() < 0.6 else int(rng.integers(0, height))
        part = (slice(start, None), x) if rng.uniform() < 0.5 else (slice(None, height - start), x)
        draw = rng.uniform()
        if draw < 0.3:
            electrons[part] = 0
        elif draw < 0.6:
            electrons[part] *= rng.uniform(0.2, 0.95)
        else:
            electrons[part] += sigma * 10 ** rng.uniform(0, 2.5)
        mask[part] = True
    return mask
